"""How what speaks against a linear map is said, beside `_wording`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gradproof._claims._charge import LinearCharge, Scope
from gradproof._claims._claimed import Claimed
from gradproof._claims._wording import claimed_words, pattern_place, pattern_words, whole_path
from gradproof._prove._charge import Charge
from gradproof._prove._wording import (
    NO_SUBGRADIENT,
    ONE_ENTRY,
    SOME_ENTRIES,
    cause_advice,
    cause_words,
    charge_words,
    outside_words,
    quantity_of,
    region_words,
    relative_off,
    subject_of,
    unexplained,
    with_others,
)
from gradproof._report import Finding, Severity

# What is said of a claim that no cause explains, and of what is claimed.
WRONG, OUTPUT = "the derivative is wrong", "the derivative of this output is wrong"
OUTSIDE = "outside the one-sided slopes at several kinks"
TRUE, TRUE_ENTRY = "the true derivative", "the true entry"
UNDECLARED = "missing from the declared sparsity pattern"
# Arrays and outputs that are named in words.
NAMED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Words:
    """Where it is, what it is, and what to do."""

    path: str
    place: str
    kind: str
    quantity: str
    advice: str
    factor: float | None = None
    entries: tuple[tuple[int, ...], ...] = ()


def write_linear(charge: LinearCharge, claimed: Claimed, reproducer: str) -> Finding:
    """What speaks against a linear map as a finding."""
    words = _WRITERS[charge.scope](charge, claimed)
    advice = words.advice if charge.sides is None else NO_SUBGRADIENT
    if charge.count:
        advice = f"{advice} {charge.count} wrong entries in all; the largest are shown."
    return Finding(
        id="GP101" if charge.sides is None else "GP103",
        severity=Severity.ERROR,
        path=words.path,
        entries=words.entries,
        place=words.place,
        kind=words.kind,
        claimed=charge.claimed,
        reference=charge.reference,
        error_bar=charge.error_bar,
        quantity=words.quantity,
        factor=words.factor,
        advice=advice,
        reproducer=reproducer,
    )


def _entry(charge: LinearCharge, claimed: Claimed) -> _Words:
    assert charge.row is not None
    assert charge.column is not None
    path, _, place = claimed.place(charge.row, charge.column)
    kind = ONE_ENTRY if charge.factor is None else claimed_words(charge.factor, TRUE_ENTRY)
    advice = unexplained(subject_of(path), _off(charge, claimed))
    if charge.sides is not None:
        kind = outside_words(*charge.sides)
    elif charge.is_undeclared:
        kind, advice = UNDECLARED, _declare(charge.row, charge.column, claimed)
    return _Words(
        path=path,
        place=place,
        kind=kind,
        quantity="entry",
        advice=advice,
        factor=charge.factor,
        entries=charge.entries,
    )


def _declare(i: int, j: int, claimed: Claimed) -> str:
    return f"The derivative of {claimed.output(i)} is not 0 there: declare entry {[i, j]} and fill it."


def _column(charge: LinearCharge, claimed: Claimed) -> _Words:
    assert charge.row is not None
    assert charge.column is not None
    path, _, place = claimed.place(None, charge.column)
    m = claimed.primal.outputs.size
    return _Words(
        path=path,
        place=place if len(charge.rows) == m else f"in {len(charge.rows)} of {m} outputs",
        kind=SOME_ENTRIES if charge.factor is None else claimed_words(charge.factor, TRUE),
        quantity=claimed.output(charge.row),
        advice="The derivative with respect to this one input is wrong.",
        factor=charge.factor,
    )


def _output(charge: LinearCharge, claimed: Claimed) -> _Words:
    """What the proof of one output says of the claim."""
    source, i = charge.source, charge.row
    assert source is not None
    assert i is not None
    k = source.leaves[0]
    leaf, quantity = claimed.leaves[k], quantity_of(source)
    if claimed.reduced:
        named = source.cause is not None and source.cause.factor is not None and source.index is None
        return _Words(
            path=leaf.path,
            place=_through(i, "", claimed),
            kind=charge_words(source, TRUE, WRONG) if named else OUTPUT,
            quantity=quantity,
            advice=unexplained(subject_of(leaf.path), _off(charge, claimed)),
        )
    if charge.column is not None:
        path, _, place = claimed.place(i, charge.column)
        kind, advice = (
            charge_words(source, TRUE_ENTRY, WRONG),
            unexplained(subject_of(path), _off(charge, claimed)),
        )
        if charge.is_undeclared:
            kind, advice = UNDECLARED, _declare(i, charge.column, claimed)
    else:
        within, region = region_words(source, leaf)
        path = claimed.leaf_path(i, k, within)
        kind = charge_words(source, TRUE, OUTPUT)
        advice = _advice(source, path, _off(charge, claimed))
        place = _through(i, "" if region == "everywhere" else region, claimed)
        if claimed.by_index and region == "everywhere" and claimed.primal.outputs.size > 1:
            place = "whole row"
        others = [claimed.leaf_path(i, k, "") for k in source.leaves[1:]]
        place = with_others(place, others) if others else place
    return _Words(
        path=path,
        place=place,
        kind=kind,
        quantity=quantity,
        advice=advice,
        factor=charge.factor,
        entries=charge.entries,
    )


def _off(charge: LinearCharge, claimed: Claimed, is_whole: bool | None = None) -> float | None:
    """How far a charge is off, relative to the claim; None where a factor is named, or something beside it is right."""
    is_whole = charge.is_whole if is_whole is None else is_whole
    is_plain = charge.factor is None and charge.sides is None
    if is_whole and is_plain and len(claimed.primal.leaves) == 1:
        return relative_off(charge.claimed, charge.reference)
    return None if charge.source is None else charge.source.off


def _advice(source: Charge, path: str, off: float | None) -> str:
    return unexplained(subject_of(path), off) if source.cause is None else cause_advice(source.cause, path)


def _through(i: int, place: str, claimed: Claimed) -> str:
    """A place in the inputs, and the output through which it shows."""
    if claimed.primal.outputs.size == 1:
        return place
    through = claimed.output(i) if claimed.by_index else f"through {claimed.output(i)}"
    return f"{place}, {through}" if place else through


def _mixture(charge: LinearCharge, claimed: Claimed) -> _Words:
    """What the proof of a mixture of all outputs says of the inputs."""
    source = charge.source
    assert source is not None
    k = source.leaves[0]
    within, place = region_words(source, claimed.leaves[k])
    path, is_entry = _input_path(k, within, claimed), source.index is not None
    through = "through all outputs together"
    place = f"{place}, {through}" if place and not is_entry and place != "everywhere" else place or through
    others = [_input_path(k, "", claimed) for k in source.leaves[1:]]
    return _Words(
        path=path,
        place=with_others(place, others) if others else place,
        kind=charge_words(source, TRUE_ENTRY if is_entry else TRUE, WRONG),
        quantity=quantity_of(source),
        advice=_advice(source, path, None),
        factor=charge.factor,
        entries=charge.entries,
    )


def _input_path(k: int, within: str, claimed: Claimed) -> str:
    """A part of a leaf in the user's names; of a Jacobian by one vector, its columns."""
    leaf = claimed.leaves[k]
    if not claimed.by_index or len(claimed.leaves) > 1 or len(leaf.shape) != 1:
        return leaf.path + within
    return f"{claimed.keyword}[:, {within[1:-1]}]" if within else claimed.keyword


def _whole(charge: LinearCharge, claimed: Claimed) -> _Words:
    pattern = charge.pattern
    assert pattern is not None
    assert charge.row is not None
    kind, advice = pattern_words(pattern)
    return _Words(
        path=whole_path(claimed) if pattern.block is None else claimed.leaves[pattern.block].path,
        place=pattern_place(pattern),
        kind=kind,
        quantity=f"slope of {claimed.output(charge.row)}",
        advice=advice,
        factor=charge.factor,
    )


def _joined(charge: LinearCharge, claimed: Claimed) -> _Words:
    """Parts that one mistake may have: the worst of them is the example."""
    each = [_WRITERS[one.scope](one, claimed) for one in charge.parts]
    worst = each[0]
    at_kinks = all(one.sides is not None for one in charge.parts)
    offs = [_off(one, claimed, charge.is_whole or charge.everywhere) for one in charge.parts]
    same = len({one.kind for one in each}) == 1
    example = f"{worst.path} {worst.place}".strip()
    place = f"in {len(each)} places" + ("" if worst.quantity == "entry" else f", one of them {example}")
    if not any(one.entries for one in charge.parts):
        place = in_outputs(charge.rows, claimed)
    place = "everywhere" if charge.everywhere else place
    path = ", ".join(claimed.leaves[k].path for k in charge.leaves)
    if claimed.by_index:
        path, place = _part_of_matrix(charge.parts, claimed, place)
    return _Words(
        path=path,
        place=place,
        kind=OUTSIDE if at_kinks else worst.kind if same and worst.kind != ONE_ENTRY else WRONG,
        quantity=f"entry {example}" if worst.quantity == "entry" else worst.quantity,
        advice=unexplained(claimed.subject, None if None in offs else max(one for one in offs if one is not None)),
        factor=worst.factor if same else None,
    )


def in_outputs(rows: Sequence[int], claimed: Claimed) -> str:
    """Some of the outputs: few by name, and all from one on by that."""
    m = claimed.primal.outputs.size
    counted = f"in {len(rows)} of {m} outputs"
    if len(rows) == m:
        return counted
    if len(rows) <= NAMED:
        return f"{counted}: {', '.join(claimed.output(i) for i in rows)}"
    from_one_on = rows[-1] == m - 1 and rows[-1] - rows[0] == len(rows) - 1
    return f"{counted}: from {claimed.output(rows[0])} on" if from_one_on else counted


def _part_of_matrix(parts: Sequence[LinearCharge], claimed: Claimed, place: str) -> tuple[str, str]:
    """The block, or the row, of a matrix that all parts lie in, and their place in it."""
    blocks = {_block(one, claimed) for one in parts}
    path = blocks.pop() if len(blocks) == 1 else whole_path(claimed)
    rows, entries = {one.row for one in parts}, {one.entries for one in parts}
    is_row = len(rows) == 1 and None not in rows and all(entries) and len(claimed.leaves) == 1
    index = parts[0].entries[0] if parts[0].entries else ()
    if is_row and len(index) == 2:
        path = f"{path}[{index[0]}]"
        place = "whole row" if len(entries) == claimed.columns else place
    return path, place


def _block(one: LinearCharge, claimed: Claimed) -> str:
    """The block of a matrix that a charge lies in, or the array, where it is about one through all outputs."""
    if one.row is None:
        return _input_path(one.leaves[0], "", claimed)
    if one.scope is Scope.COLUMN and len(claimed.primal.outputs.origins) > 1:
        return claimed.leaves[one.leaves[0]].path
    return claimed.block_of(one.row, one.leaves[0])


def _unknown(charge: LinearCharge, claimed: Claimed) -> _Words:
    """What can be said where no single place or mistake was found."""
    named = ", ".join(claimed.leaves[k].path for k in charge.leaves[:NAMED])
    path = claimed.block_of_rows(charge.rows) if claimed.by_index else named
    kind = WRONG if charge.cause is None else cause_words(charge.cause, TRUE)
    if charge.sides is not None:
        kind = outside_words(*charge.sides)
    if charge.row is None:
        place, quantity = "in a combination of the outputs", "slope"
    else:
        count, m = len(charge.rows), claimed.primal.outputs.size
        place = "everywhere" if charge.everywhere else f"{'at least ' * charge.at_least}{count} of {m} outputs"
        if count <= NAMED and not charge.everywhere:
            place = f"{', '.join(claimed.output(k) for k in charge.rows)}: {place}"
        if count == 1 and claimed.by_index and len(claimed.leaves) == 1 and not charge.everywhere:
            path = claimed.leaf_path(charge.row, 0, "")
        quantity = f"slope of {claimed.output(charge.row)}"
    return _Words(
        path=path,
        place=place,
        kind=kind,
        quantity=quantity,
        advice=unexplained(claimed.subject, charge.off),
        factor=charge.factor,
    )


_WRITERS = {
    Scope.ENTRY: _entry,
    Scope.COLUMN: _column,
    Scope.OUTPUT: _output,
    Scope.MIXTURE: _mixture,
    Scope.WHOLE: _whole,
    Scope.JOINED: _joined,
    Scope.UNKNOWN: _unknown,
}
