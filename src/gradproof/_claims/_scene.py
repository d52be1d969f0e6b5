"""What is known when a proof of a linear map fails, and what locating makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove
from gradproof._base._leaf import Leaf
from gradproof._claims._around import Around
from gradproof._claims._charge import LinearCharge
from gradproof._claims._claimed import Claimed
from gradproof._claims._lines import Line
from gradproof._function._problem import Samples
from gradproof._prove import Outcome
from gradproof._prove._charge import Notice, Statement

Vector = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known when a proof fails.

    claimed, samples, eps, options, around, reproducer : as in the proof.
    size : (n,), natural size of the entries of the measured leaves; negative where the domain lies on that side.
    rows : (m,), norm of the rows in natural sizes.
    rtol : the smallest relative error worth an accusation.
    looked : the first direction (n,) that was measured, if it goes through all leaves, and the seed of its proof.
    against : a line along which outputs deviate, if one was measured before.
    """

    claimed: Claimed
    samples: Samples
    size: Vector
    rows: Vector
    eps: float
    rtol: float
    options: _prove.Options
    around: Around
    reproducer: str
    looked: tuple[Vector, int] | None = None
    against: Line | None = None


@dataclasses.dataclass(frozen=True)
class Located:
    """What is wrong.

    says_zero : whether some slope of f that excludes the claim is 0, as far as it is measured.
    """

    charges: list[LinearCharge]
    says_zero: bool = False


@dataclasses.dataclass(frozen=True)
class Whole(Located):
    """One mistake of the whole matrix, and the leaves in which it lies."""

    leaves: tuple[int, ...] = ()


def renumbered(outcome: Outcome, part: Sequence[Leaf], whole: Sequence[Leaf]) -> Outcome:
    """What was proved of some leaves, in their order, as of all of them."""
    if len(part) == len(whole):
        return outcome
    paths = [leaf.path for leaf in whole]
    where = [paths.index(leaf.path) for leaf in part]
    starts = [whole[k].start - leaf.start for k, leaf in zip(where, part, strict=True)]

    def anew(one: Statement) -> Statement:
        if isinstance(one, Notice):
            return dataclasses.replace(one, leaf=None if one.leaf is None else where[one.leaf])
        return dataclasses.replace(
            one,
            leaves=tuple(where[k] for k in one.leaves),
            place=None if one.place is None else one.place.moved(starts[one.leaves[0]]),
        )

    statements = tuple(anew(one) for one in outcome.statements)
    regions = {
        where[k]: dataclasses.replace(region, place=region.place.moved(starts[k]))
        for k, region in outcome.regions.items()
    }
    return dataclasses.replace(outcome, statements=statements, regions=regions)
