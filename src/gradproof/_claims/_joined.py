"""One mistake, one charge: parts of a linear map that one mistake may have."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Hashable, Sequence

import numpy as np

from gradproof._claims._charge import LinearCharge, Scope
from gradproof._claims._claimed import Claimed
from gradproof._prove._charge import Charge

# Parts that may be wrong each by itself.
FEW = 2
# Wrong entries that are told one by one: a mistake in more of them is one of the whole array.
APART = 5


def together(
    found: list[LinearCharge], claimed: Claimed, accused: Sequence[Charge], wrong: Sequence[int]
) -> list[LinearCharge]:
    """Few charges as they are; many, about single entries or rows, as one for each array and cause that some have.

    `accused` is what the proof of a mixture says, `wrong` are the outputs that lines have shown to deviate.
    """
    if len(found) <= FEW:
        is_whole = _is_everything(found, claimed, {one.leaves[0] for one in found})
        return [dataclasses.replace(one, is_whole=is_whole) for one in found]
    groups: dict[tuple[int, Hashable], list[LinearCharge]] = {}
    for one in found:
        cause = None if one.factor is None else (one.scope, bool(one.entries), one.cause, one.factor)
        groups.setdefault((_array(one, claimed), cause), []).append(one)
    if len(groups) <= FEW:
        return [one for group in groups.values() for one in _as_one(group, claimed, accused, wrong)]
    return _as_one(found, claimed, accused, wrong)


def _array(one: LinearCharge, claimed: Claimed) -> int:
    """The leaf that a charge is about; -1 where it is about a part of a matrix."""
    return -1 if claimed.by_index else one.leaves[0]


def _as_one(
    found: list[LinearCharge], claimed: Claimed, accused: Sequence[Charge], wrong: Sequence[int]
) -> list[LinearCharge]:
    """Charges that one mistake may have, as one if they are many, or about all of a leaf."""
    named = {_array(one, claimed) for one in found}
    # (A charge may be about several leaves alike: one about the first is about all of them.)
    touched = named.union(*(one.leaves for one in accused if one.leaves[0] in named)) - {-1}
    touched = touched or {k for one in accused for k in one.leaves}
    is_of_rows = not any(one.entries for one in found)
    everything = _is_everything(found, claimed, touched)
    in_rows = is_of_rows and len({_part(one, claimed) for one in found}) == 1
    # (What lies between its slopes shows nothing: a mistake of everything may show in a few entries.)
    at_kinks = len(found) > FEW and all(one.sides is not None for one in found)
    if len(found) == 1 or (len(found) <= APART and not everything and not in_rows and not at_kinks):
        return found
    # (At a kink more may be right than where f has one slope.)
    worst = max(found, key=lambda one: (one.sides is None, one.deviation))
    rows_known = all(one.rows for one in found)
    through = sorted({i for one in found for i in one.rows}) if rows_known else list(wrong)
    return [
        LinearCharge(
            scope=Scope.JOINED,
            leaves=tuple(sorted({k for one in found for k in one.leaves} if claimed.by_index else touched)),
            rows=tuple(through),
            at_least=not rows_known,
            is_whole=everything,
            everywhere=everything or (is_of_rows and len(through) == claimed.primal.outputs.size),
            claimed=worst.claimed,
            reference=worst.reference,
            error_bar=worst.error_bar,
            sides=worst.sides,
            parts=(worst, *(one for one in found if one is not worst)),
        )
    ]


def _is_everything(found: Sequence[LinearCharge], claimed: Claimed, touched: Collection[int]) -> bool:
    """Whether charges about single entries are about all entries of some arrays, or of a matrix all that are not 0.

    (Those that are claimed 0, such as all beside a diagonal, may well be right.)
    """
    count = len({(one.leaves[0], one.entries) for one in found})
    if not claimed.by_index:
        return count == sum(claimed.leaves[k].size for k in touched)
    if claimed.matrix is None or not all(one.entries for one in found):
        return False
    return count == int(np.count_nonzero(claimed.matrix))


def _part(one: LinearCharge, claimed: Claimed) -> Hashable:
    """The part of the inputs, and of a matrix the row, that a charge is about."""
    place = None if one.source is None or claimed.reduced else one.source.place
    return one.leaves[0], one.column, None if place is None else place.box, one.row if claimed.by_index else None
