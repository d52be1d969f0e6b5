"""What has been proved so far: leaf by leaf, with all that there is to say, in the user's units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import overload

from gradproof._function._problem import Problem
from gradproof._prove._charge import Cause, Charge, Notice, Place, Statement
from gradproof._prove._directions import Directions
from gradproof._prove._maps import Region
from gradproof._report import LeafResult, Reason, Severity, Verdict


class Ledger:
    """Results, statements and reasons; measurements come in multiplied by the directions' unit and leave without it."""

    def __init__(self, problem: Problem, directions: Directions) -> None:
        self.leaves = problem.leaves
        self.claim = directions.claim
        self.unit = directions.unit
        self.results: dict[int, LeafResult] = {}
        # What speaks against the claim, and what else there is to say, in the order in which it was found.
        self.statements: list[Statement] = []
        # The wrong parts of leaves, by index.
        self.regions: dict[int, Region] = {}
        self.reasons: list[Reason] = []
        # Bounds on the errors of claims of zero, by leaf, in the user's units.
        self.zero_errors: dict[int, float] = {}
        # As in `Meter`.
        self.rounding = 0.0

    def settle(
        self,
        index: int,
        verdict: Verdict,
        *,
        bound: float | None = None,
        deviation: float | None = None,
        estimated: bool = True,
        noticeable: float | None = None,
        note: str = "",
    ) -> None:
        """Record the verdict on one leaf; numbers that are not finite are left out."""
        leaf = self.leaves[index]
        self.results[index] = LeafResult(
            path=leaf.path,
            shape=leaf.shape,
            dtype=leaf.dtype,
            verdict=verdict,
            bound=_finite(bound),
            deviation=_finite(deviation),
            estimated=estimated,
            noticeable=_finite(noticeable),
            note=note,
        )

    def undecided(self, group: Iterable[int], reason: Reason, note: str = "") -> None:
        """Record that nothing can be said of these leaves."""
        self.reasons.append(reason)
        for index in group:
            self.settle(index, Verdict.INCONCLUSIVE, note=note or str(reason))

    def notice(self, notice: Notice) -> None:
        """Record what there is to say besides charges; its claimed, reference and bar come in as measured."""
        self.statements.append(
            dataclasses.replace(
                notice,
                claimed=self.natural(notice.claimed),
                reference=self.natural(notice.reference),
                error_bar=self.natural(notice.error_bar),
            )
        )

    def charge(
        self,
        *,
        leaves: tuple[int, ...],
        claimed: float,
        reference: float,
        error_bar: float,
        place: Place | None = None,
        cause: Cause | None = None,
        entry: bool = False,
        index: tuple[int, ...] | None = None,
        example: tuple[int, ...] | None = None,
        sides: tuple[float, float] | None = None,
        off: float | None = None,
        is_one_of: bool = False,
    ) -> Charge:
        """Record what speaks against the claim."""
        charge = Charge(
            leaves=leaves,
            place=place,
            cause=cause,
            claimed=self.natural(claimed),
            reference=self.natural(reference),
            error_bar=self.natural(error_bar),
            entry=entry,
            index=index,
            example=example,
            sides=sides,
            off=off,
            is_one_of=is_one_of,
        )
        self.statements.append(charge)
        return charge

    def sort_charges(self, since: Mark) -> None:
        """Put the charges that were recorded since into the order of the leaves."""
        recorded = self.statements[since.statements :]
        charges = [one for one in recorded if isinstance(one, Charge)]
        charges.sort(key=_first_leaf)
        others = [one for one in recorded if not isinstance(one, Charge)]
        self.statements[since.statements :] = [*charges, *others]

    def told(self) -> tuple[Statement, ...]:
        """All statements; an error of f's own would show in every array, so that a right one rules it out."""
        if not any(self._is_right(index, result) for index, result in self.results.items()):
            return tuple(self.statements)
        return tuple(dataclasses.replace(one, off=None) if isinstance(one, Charge) else one for one in self.statements)

    def _is_right(self, index: int, result: LeafResult) -> bool:
        leaf = self.leaves[index]
        return result.verdict is Verdict.CORRECT and bool(self.claim[leaf.start : leaf.stop].any())

    def mark(self) -> Mark:
        """Where the ledger stands."""
        return Mark(len(self.statements), dict(self.results), dict(self.regions))

    def rewind(self, mark: Mark) -> None:
        """Take back what was recorded since."""
        del self.statements[mark.statements :]
        self.results, self.regions = dict(mark.results), dict(mark.regions)

    @overload
    def natural(self, number: float) -> float: ...

    @overload
    def natural(self, number: float | None) -> float | None: ...

    def natural(self, number: float | None) -> float | None:
        """A measured number in the user's units."""
        return None if number is None else number / self.unit


@dataclasses.dataclass(frozen=True)
class Mark:
    """Where a ledger stood: how many statements it had, and what else it held."""

    statements: int
    results: dict[int, LeafResult]
    regions: dict[int, Region]


def _first_leaf(charge: Charge) -> int:
    return charge.leaves[0]


def is_error(one: Statement) -> bool:
    """Whether it speaks against the claim."""
    return isinstance(one, Charge) or one.severity is Severity.ERROR


def wide_note(bound: float) -> str:
    """What is still known of a leaf whose bound is too wide to be called CORRECT."""
    if not math.isfinite(bound) or bound >= 1:
        return "the error bar is too wide to tell anything"
    return f"only errors above {bound:.1g} of its norm are excluded"


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(number)
