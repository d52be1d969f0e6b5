"""Claims that are rounding of nothing, because x is large: terms have cancelled in them.

An elementary function of an argument of size k (exp, log, sin) is no better than k roundings, and a derivative by x,
times the natural size of x, has terms that are larger than what they leave of them by as much again. Where x is large,
automatic differentiation therefore returns 1e-12 for second derivatives that are 0, and f, which does not move at all,
excludes that. The error is the same for all x close by (``log(u) + x - x`` is off by what log(u) loses beside x), so
that no other call of the claim shows it. Hence entries that are no more than that count as 0 once they are what speaks
against a claim: f must still fit 0.

Up to a share of the rest of the claim, the size of x alone is evidence enough. Beyond it f itself has to show that so
many digits are lost: by the noise of its values along the entries that should be 0.
"""

from __future__ import annotations

import dataclasses
import itertools as it
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._base._pieces import is_large
from gradproof._base._precision import EPS64, is_double
from gradproof._claims._around import Around, reach
from gradproof._claims._proved import Proved, is_zero
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem, coarsest_eps
from gradproof._prove._directions import leaf_size
from gradproof._prove._tolerance import EXCUSED, ROUNDINGS, cancelled_zero, lost_digits
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Reasons why nothing is told that a claim of rounding may bring about. (Noise of f is none: it may hide a wrong claim.)
UNTOLD = (Reason.NO_CONVERGENCE, Reason.UNSTABLE)
# Stretches on which noise is looked for, relative to the natural sizes of x: rounding is the same for all x close by
# where a multiple of 2 pi is taken off (the logarithm of a complex number), and further out f may bend.
STRETCHES = (2.0**-12, 2.0**-40)
# Values on a stretch, and the degree of the polynomial that removes what is smooth: of what moves within the natural
# size of x it leaves no more than rounding. Stretches of each length.
POINTS, DEGREE, LINES = 10, 4, 2

# Claims from which on squares overflow: no rounding.
HUGE = 1e150


def is_told(primal: Primal, eps: float) -> bool:
    """Whether such rounding is looked for: among numbers of `eps` that are few."""
    return is_double(eps) and not is_large(primal.point)


def is_huge(claim: Matrix) -> bool:
    """Whether a claim, in natural sizes, is so large that none of it is rounding of anything."""
    return not float(np.max(np.abs(claim), initial=0.0)) < HUGE


def may_be_cancelled(proved: Proved) -> bool:
    """Whether entries that should be 0 may be what speaks against a claim."""
    return proved.says_zero or any(_says_zero(one) for one in proved.findings)


def suspects(proved: Proved) -> set[int]:
    """Leaves of a gradient against which nothing speaks but that f says 0, or that keep it from a verdict."""
    accused = [one for one in proved.findings if one.severity is Severity.ERROR]
    if not accused and proved.verdict is Verdict.INCONCLUSIVE and proved.reason in UNTOLD:
        return {i for i, leaf in enumerate(proved.leaves) if leaf.verdict is Verdict.INCONCLUSIVE}
    says_zero: dict[int, list[bool]] = {}
    for one in accused:
        for i in proved.leaves_of(one):
            says_zero.setdefault(i, []).append(_says_zero(one))
    return {i for i, said in says_zero.items() if all(said)}


def _says_zero(finding: Finding) -> bool:
    """Whether a slope of f that excludes the claim is 0, as far as it is measured."""
    if finding.id != "GP101" or finding.severity is not Severity.ERROR or finding.claimed is None:
        return False
    reference, bar = finding.reference, finding.error_bar
    return reference is not None and bar is not None and is_zero(reference, bar)


def floor_of(
    primal: Primal,
    claim: Matrix,
    *,
    size: Vector,
    weights: Vector,
    pair: tuple[Vector, Vector | Matrix],
    rest: float,
    around: Around,
    seed: int,
) -> Matrix:
    """Up to where entries of a claim may be rounding of 0, as large as these are in natural sizes (m, n) or (1, n).

    Parameters
    ----------
    primal : Primal
        f, all of whose leaves are measured.
    claim : ndarray (m, n)
        In natural sizes.
    size, weights : ndarray (n,), (m,)
        Natural sizes of the inputs, and what outputs count by.
    pair : (ndarray, ndarray)
        How large the two inputs are whose product says how many digits may be lost.
    rest : float
        How large the rest of the claim is.
    around : Around
    seed : int
    """
    capped, free = (np.atleast_2d(cancelled_zero(*pair, EPS64, cap)) * rest for cap in (EXCUSED, math.inf))
    unsettled = (np.abs(claim) > capped) & (np.abs(claim) <= free)
    if not unsettled.any():
        return capped
    shown = _shown_by_noise(primal, size, weights, around, seed)
    return np.minimum(free, np.maximum(capped, shown))


def is_rounding(primal: Primal, one: Mapping[int, Vector], other: Mapping[int, Vector]) -> bool:
    """Whether two gradients, of some leaves each, differ by no more than what may be left of terms that cancel."""
    if not is_told(primal, coarsest_eps(primal.leaves)) or one.keys() != other.keys():
        return False
    sizes = {i: leaf_size(primal.leaves[i], primal.point) * np.ones(one[i].size) for i in one}
    largest = max(float(size.max(initial=0.0)) for size in sizes.values())
    rest = math.hypot(*(float(np.linalg.norm(np.ravel(one[i]) * size)) for i, size in sizes.items()))
    return all(
        float(np.linalg.norm((np.ravel(one[i]) - np.ravel(other[i])) * size))
        <= float(np.max(cancelled_zero(size, np.full(size.shape, largest), EPS64), initial=0.0)) * rest
        for i, size in sizes.items()
    )


def _shown_by_noise(primal: Primal, size: Vector, weights: Vector, around: Around, seed: int) -> float:
    """What f's noise says that rounding may leave of a derivative that is 0, in natural sizes."""
    problem = Problem(primal, {i: np.zeros(leaf.size) for i, leaf in enumerate(primal.leaves)})
    lower, upper = around.sides(primal, problem.measured)
    largest = float(np.abs(primal.output_values() * weights).max(initial=0.0))
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 13))))
    shown = 0.0
    for _, stretch in it.product(range(LINES), STRETCHES):
        v = size * generator.standard_normal(len(size))
        # (At equal distances the values of a sawtooth may lie on a line.)
        steps = stretch * np.sort(generator.uniform(-1.0, 1.0, POINTS))
        first, last = reach(problem.point, v, lower, upper)
        if not first <= steps[0] <= steps[-1] <= last:
            continue
        try:
            values = np.array([problem.outputs(v, float(t))[0] * weights for t in steps])
        except BudgetSpent:
            break
        smooth, _ = np.linalg.qr(np.vander(steps / stretch, DEGREE + 1))
        rough = values - values[0] - smooth @ (smooth.T @ (values - values[0]))
        noise = float(np.sqrt(np.square(rough).sum(axis=0) / (POINTS - DEGREE - 1)).max(initial=0.0))
        # (What is more than elementary functions lose at this x is structure of f.)
        if noise <= ROUNDINGS * EPS64 * max(1.0, float(size.max())) * largest:
            shown = max(shown, lost_digits(noise, largest, float(size.max()), EPS64))
    primal.look_again()
    return shown


def without_cancelled(claim: Matrix, floor: Matrix | Vector) -> Matrix | None:
    """A claim (m, n) with 0 for entries up to a floor; None where there are none."""
    nothing = (np.abs(claim) <= floor) & (claim != 0)
    return np.where(nothing, 0.0, claim) if nothing.any() else None


def settle(
    proved: Proved,
    again: Proved,
    claim: Matrix,
    left: Matrix,
    spans: Mapping[int, slice],
    reproducer: str,
) -> Proved:
    """What was proved of a claim without entries that count as 0, if that speaks less against it.

    Parameters
    ----------
    claim, left : ndarray (m, n)
        The claim, and what is left of it, in the sizes that bounds are relative to.
    spans : mapping of int to slice
        The columns of each measured leaf.
    """
    if _against(again) >= _against(proved):
        return dataclasses.replace(proved, claim_calls=max(proved.claim_calls, again.claim_calls))
    # (What was right with all that is claimed stays so.)
    leaves = [
        before if before.verdict is Verdict.CORRECT else after
        for before, after in zip(proved.leaves, again.leaves, strict=True)
    ]
    told: list[Finding] = []
    for i, own in spans.items():
        nothing = claim[:, own] != left[:, own]
        if not nothing.any() or proved.leaves[i].verdict is Verdict.CORRECT:
            continue
        whole = float(np.linalg.norm(left[:, own]))
        if leaves[i].bound is not None and whole > 0:
            leaves[i] = _widened(leaves[i], float(np.linalg.norm((claim - left)[:, own])) / whole, again.max_bound)
        told.append(
            Finding(
                id="GP410",
                severity=Severity.NOTE,
                path=leaves[i].path,
                kind=f"{int(nothing.sum()):,} of {nothing.size:,} claimed derivatives are rounding, and count as 0",
                advice="Nothing to do: x is so large here that rounding of cancelling terms reaches this size.",
                reproducer=reproducer,
            )
        )
    is_wrong = any(one.severity is Severity.ERROR for one in again.findings)
    verdict = Verdict.WRONG if is_wrong else worst(leaf.verdict for leaf in leaves)
    reason = (again.reason or Reason.NOISE) if verdict is Verdict.INCONCLUSIVE else None
    return dataclasses.replace(
        again,
        verdict=verdict,
        reason=reason,
        leaves=tuple(leaves),
        findings=(*told, *again.findings),
        claim_calls=max(proved.claim_calls, again.claim_calls),
    )


def _widened(leaf: LeafResult, more: float, most: float) -> LeafResult:
    """The bound on all that is claimed, where that on what is left of it is known."""
    assert leaf.bound is not None
    bound = leaf.bound + more
    if leaf.verdict is Verdict.CORRECT and bound > most:
        return dataclasses.replace(leaf, verdict=Verdict.INCONCLUSIVE, bound=bound, note="lost in the claim's rounding")
    return dataclasses.replace(leaf, bound=bound)


def _against(proved: Proved) -> int:
    """How much speaks against a claim."""
    weights = {Verdict.WRONG: 2, Verdict.INCONCLUSIVE: 1}
    return sum(weights.get(one, 0) for one in (proved.verdict, *(leaf.verdict for leaf in proved.leaves)))
