"""What may differ before anybody is accused: every tolerance of a claim, and the largest bound that is called CORRECT.

Three kinds of numbers stand here. *Derived* ones have their derivation beside them. *Measured* ones name the benchmark
that says how far below (or above) them right claims stay. *Chosen* ones say what they trade.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import EPS32, EPS64, is_double
from gradproof._report import Reason

Floats = NDArray[np.float64]

# An error of relative size rtol cannot make a residual of more than 5 rtol times the scale (5 sigma): this factor
# makes rtol the smallest relative error that is ever called WRONG. Derived.
REACH = 5.0
# The smallest relative error worth an accusation, in float64: where f shows itself smooth, and where it does not.
# Chosen: three times what a ladder aims at (3e-8), so that an unlucky bar accuses nobody of less. Smaller errors pass
# within a stated bound; benchmarks/sensitivity.py shows what is found and benchmarks/restraint.py who is accused.
RTOL64, RTOL64_UNCLEAR = 1e-7, 2e-6
# In float32 the claim is rounded, too. Chosen, at some 300 roundings of it: mistakes below that are not seen in a
# format that would hide them at the next larger layer. benchmarks/low_precision.py counts right claims accused.
RTOL32 = 4e-5
# The same for balanced directions, whose scale is that of the smallest claims: these carry the rounding of larger ones.
# Chosen: a claim of less than a thousandth of the others (in float32, a fiftieth) is held to no more than theirs.
RTOL64_BALANCED, RTOL32_BALANCED = 6e-5, 2e-3
# Below float64 the rounding of a backward pass is that of many operations, whose errors partly cancel: it grows with
# this power of eps, from float32, where it was measured, to 0.016 in float16 and 0.06 in bfloat16.
LOW_GROWTH = 2 / 3
# The same for second differences, whose bars are the square root of those of slopes. Chosen: smaller errors of a
# Hessian pass within its bound, which is wider than this as a rule.
RTOL64_SECOND, RTOL32_SECOND = 1e-5, 1e-2
# A bound above this is not called CORRECT. Chosen: half of it would take more directions, twice of it would pass
# mistakes that a reader calls one (a factor of 1.02); where the bars of low precision are wide, 1 in 20 must do.
LARGEST_BOUND, LARGEST_BOUND_LOW = 1e-2, 5e-2
# A typical entry that is off by this share should be excluded, in an array however large; less than any factor that a
# mistake leaves (2, 1/2, -1), so that one such entry shows. A wish, not a condition: it is worth more directions only.
TYPICAL_ENTRY = 0.3
# The same wish for a block of a Jacobian ends here: chosen, a tenth of the largest bound, at one more look.
TYPICAL_BLOCK = 1e-3
# In low precision the wish is as many times smaller as the largest bound is larger.
TYPICAL_SLACK_LOW = LARGEST_BOUND_LOW / LARGEST_BOUND
# A kink is a difference of the one-sided slopes of so many bars of its own, and of so many tolerances. Chosen: a bar is
# an estimate (benchmarks/honesty.py counts how often one is too small), and a kink accuses nobody: with fewer, noise
# would be called one; with more, small kinks are measured as curvature, and widen bars.
KINK_BARS, KINK_TOLERANCES = 3.0, 10.0
# A deviation of this share of the scale is more than f's own irregularity is suspected of. Chosen: a smaller one takes
# a look at the shape of f (up to 60 evaluations, or 300 further out) before it is believed: benchmarks/solvers.py.
OBVIOUS = 2e-3
# A solver that stops early may leave deviations up to this share of the scale: jumps of f are looked for far out; and
# this is the largest share that a jump beside the point may excuse. Chosen: what is larger is visibly another slope.
SOLVER, LARGEST_JUMP = 2e-4, 0.05
# Roundings of the largest leaf's gradient that any leaf's may be off by: a difference of two terms of that size.
LARGEST_ROUNDINGS = 2.0
# Roundings of a backward pass in the claim's own precision that a named mistake may be hidden by, or that cancelled
# terms leave of a claim that is 0. Measured on saturated tanh, sigmoid, softmax, gelu and others in float32: 2 to 10
# where they begin to saturate, 71 at most.
ROUNDINGS = 64.0
# An entry smaller than this share of its array is held to that: some roundings of the array are as much as a tolerance
# of RTOL64 is of it. Derived.
LEAST = ROUNDINGS * EPS64 / RTOL64
# Roundings of the gradient of the tested leaves that a claim may consist of: terms of their size have cancelled in it.
CANCELLED = ROUNDINGS
# The largest share of the rest of a claim that is excused as the rounding of a zero: a cap, a hundred times RTOL64. It
# is lifted to so many times what f's own noise shows, where that is so many roundings of f. Measured in torch's
# logsumexp of complex numbers of 1e5 to 1e7: 1.4 times at the median, 44 times at most; one number that f returns may
# show a small part of the noise of what it is made of.
EXCUSED, EXCUSED_NOISE, LOST_DIGITS = 1e-5, 256.0, 8.0
# Roundings of f, in the claim's precision, by which a natural step may move it where the claim has underflown to 0.
# Chosen: f that moves by more is felt by its own rounding, and the claim of 0 is held against it.
UNDERFLOWN = 16.0
# Roundings of the absolute sum of an inner product <claim, v>. Chosen: errors of n roundings mostly cancel, and sums
# are taken in parts; the worst case, n / 2 of them, would make a bar of nothing but that.
INNER_PRODUCT = 8.0
# Roundings of a derivative by a complex step: those of f's own operations on imaginary parts, as ROUNDINGS in float32.
COMPLEX_ROUNDINGS = ROUNDINGS
# A claim of zero has no size of its own: it is held to this share of f. Chosen: an f with a large offset may hide a
# slope so small; a larger share would pass as zero what moves f visibly.
OF_VALUE = 1e-3
# What a claim of zero may be off by where f is stationary, relative to how far f moves. Chosen, a hundredth of RTOL64:
# there is no rounding of a claim of 0.
STATIONARY_RTOL = 1e-9
# Rows of a claim in low precision are as good as the rounding of a row of this share of the largest. Chosen: smaller
# rows are looked at as if they had that, and errors in them count by so much less.
ROW_FLOOR = 0.2
# The bar of a slope in double precision is about 1e-11 of f's value. A row of f' below the first share of that value is
# lost in it once a certificate has multiplied it; below the second share of the largest row it is nothing beside that.
BAR_OF_VALUE, ROW_OF_VALUE, ROW_OF_LARGEST = 1e-11, 1e-7, 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """rtol, max_bound: None = derived from precision and behaviour of f; confidence of the certificates.

    claim_eps : relative precision that the claim can be expected to have, where it is coarser than f's own.
    sparing : whether to measure no more than a verdict needs, because an evaluation is dear.
    sees : whether f is known to see its arguments, so that one that stands still is constant.
    rounding : what that may do to a slope, relative to its size, where it is more than usual.
    """

    rtol: float | None
    max_bound: float | None
    confidence: float
    claim_eps: float = 0.0
    sparing: bool = False
    sees: bool = False
    rounding: float = 0.0

    def tolerance(self, eps: float, *, balanced: bool = False) -> float:
        """Return rtol as set by the user or derived from the precision of f and of the claim."""
        if self.rtol is not None:
            return self.rtol
        eps = max(eps, self.claim_eps)
        if is_double(eps):
            return RTOL64_BALANCED if balanced else RTOL64
        usual = (RTOL32_BALANCED if balanced else RTOL32) * max(1.0, eps / EPS32) ** LOW_GROWTH
        return max(usual, self.rounding)

    def second_tolerance(self, eps: float) -> float:
        """The same for second derivatives that are measured by second differences."""
        if self.rtol is not None:
            return self.rtol
        return RTOL64_SECOND if is_double(eps) else RTOL32_SECOND

    def largest_bound(self, eps: float) -> float:
        """Return max_bound as set by the user or derived from the precision of f."""
        if self.max_bound is not None:
            return self.max_bound
        return LARGEST_BOUND if is_double(max(eps, self.claim_eps)) else LARGEST_BOUND_LOW

    def why_wide(self, eps: float) -> Reason:
        """Return what makes a bound wide where nothing else does: f's noise, or the few digits of f or of the claim."""
        return Reason.NOISE if is_double(max(eps, self.claim_eps)) else Reason.PRECISION

    def allowance(
        self,
        eps: float,
        size: float,
        scale: float,
        *,
        balanced: bool = False,
        regularity: float = 0.0,
        cancelled: float = 0.0,
    ) -> float:
        """What a slope may deviate by, beyond its bar, before it speaks against the claim (absolute).

        Parameters
        ----------
        eps : relative precision of f along the line.
        size, scale : natural size of the slope, and of that of the whole group.
        regularity : how smooth f has been found to be: smallest relative error worth an accusation.
        cancelled : rounding of terms that may have cancelled in the claim, see `LARGEST_ROUNDINGS` (absolute).
        """
        return REACH * max(
            self.tolerance(eps, balanced=balanced) * size,
            # What f's own jumps do to a slope does not shrink with the claims that move.
            regularity * max(size, scale),
            LARGEST_ROUNDINGS * cancelled,
            self.rounding * scale,
        )


def natural_scale(scale: float, value: float, f0: float) -> float:
    """What a slope is relative to: its natural size, or where nothing is claimed what was measured, or a share of f."""
    return scale if scale > 0 else max(abs(value), OF_VALUE * abs(f0))


def irregular(deviation: float, size: float) -> float:
    """How smooth an f is, one of whose jumps makes such a deviation: less cannot be accused."""
    return max(RTOL64_UNCLEAR, deviation / max(size, 1e-300))


@overload
def is_kink(jump: float, bar: float, tolerance: float) -> bool: ...


@overload
def is_kink(jump: Floats, bar: Floats, tolerance: Floats) -> NDArray[np.bool_]: ...


def is_kink(jump: Any, bar: Any, tolerance: Any) -> Any:
    """Whether one-sided slopes differ beyond doubt, given their difference with its bar."""
    size = abs(jump)
    return (size > KINK_BARS * bar) & (size > KINK_TOLERANCES * tolerance)


def tolerance_at(rtol: float, *sizes: float) -> float:
    """What deviation is too small to count beside numbers of these sizes (absolute)."""
    return REACH * rtol * max(abs(size) for size in sizes)


def typical_bound(size: int, largest: float = LARGEST_BOUND) -> float:
    """The bound on an array that excludes a typical entry, of so many, that is wrong; at most the largest."""
    return min(largest, TYPICAL_ENTRY / math.sqrt(size))


def cancelled_zero(sizes: Floats, others: Floats, eps: float, cap: float = EXCUSED) -> Floats:
    """What may be left of entries that are 0, relative to the rest of the claim, given how large two inputs are."""
    return np.minimum(ROUNDINGS * eps * np.maximum(1.0, np.abs(sizes)) * np.maximum(1.0, np.abs(others)), cap)


def lost_digits(noise: float, largest: float, size: float, eps: float) -> float:
    """What rounding may leave of a derivative that is 0, as f's noise shows it (absolute, in natural sizes).

    Functions of arguments of size k, which are known to eps k, have values with noise of eps k: more than the rounding
    of their own value. A derivative by such an argument is as noisy, and in natural sizes as many times as x is large.
    """
    return EXCUSED_NOISE * noise * size if noise > LOST_DIGITS * eps * largest else 0.0


def steadied(rows: Floats, eps: float) -> Floats:
    """Norms of the rows that a claim in low precision can be held to.

    Where terms of the size of other rows cancel in one, as in 1 - tanh(x)**2, its rounding is theirs: rows below
    `ROW_FLOOR` of the largest are looked at as if they had that.
    """
    if is_double(eps):
        return rows
    return np.where(rows > 0, np.maximum(rows, ROW_FLOOR * float(rows.max(initial=0.0))), rows)


def unsaturated(rows: Floats, values: Floats) -> Floats:
    """Norms of rows, of those where f is saturated as large as rounding of f lets a row be told.

    Where erf(x) has come to 1 - 1e-15, no difference sees its slope, and the bar on it, relative to the slope itself,
    says nothing. Such a row is small beside its value and beside other rows (units make it small beside one only).
    """
    floor = saturated_below(rows, values)
    return np.where((rows > 0) & (rows < floor), floor, rows)


def saturated_below(rows: Floats, values: Floats) -> Floats:
    """The norm of each row below which f may be saturated there."""
    return np.minimum(ROW_OF_VALUE * np.abs(values), ROW_OF_LARGEST * float(rows.max(initial=0.0)))


def low_rounding(rows: Floats, eps: float, values: Floats | None) -> Floats:
    """What rounding in low precision may do to each row of a claim, whatever its own size (absolute).

    Terms of the size of the largest row may have cancelled in it, or, where all are saturated, of its own value.
    """
    largest = np.full(len(rows), rows.max(initial=0.0))
    return min(ROUNDINGS * eps, ROW_FLOOR) * (largest if values is None else np.maximum(largest, np.abs(values)))
