"""Cotangents u, and what the proofs about <u, f> say about f' as a whole."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf
from gradproof._contracts import row_floor, vanished
from gradproof._prove import ROUNDINGS, Direction, Directions
from gradproof._prove._certificate import LOOKS, error_bound

Vector = NDArray[np.float64]

# Up to this many outputs every one is proved by itself.
ALONE = 4
# Random cotangents: first, and at most.
FIRST, MOST = 4, 12
# In low precision every bound is wide: more cotangents that share their values of f make the most of it.
MOST_LOW = 24
# Outputs whose value is this many times larger, relative to how they move, than that of most outputs: their rounding
# would drown the others.
STEADY = 1e3
# The bar of a slope in double precision is about 1e-11 of f's value. A row of f' below the first share of that value is
# lost in it once a certificate has multiplied it; below the second share of the largest row it is nothing beside that.
ROUNDED, NOTHING = 1e-7, 1e-6
# Rows of a claim in low precision are as good as the rounding of a row of this share of the largest.
LEAST = 0.2
# A draw is a few times larger than its weight, a sum of two (times 0.75 and 1.5) a few times larger again.
HEADROOM = 64.0
# The part of a random stream of `Directions` that the engine does not reach.
STREAM = 1 << 20


def steadied(rows: Vector, eps: float) -> Vector:
    """Norms of the rows that a claim in low precision can be held to.

    Where terms of the size of other rows cancel in one, as in 1 - tanh(x)**2, its rounding is theirs: rows below
    `LEAST` of the largest are looked at as if they had that.
    """
    if eps < 1e-12:
        return rows
    return np.where(rows > 0, np.maximum(rows, LEAST * float(rows.max(initial=0.0))), rows)


def unsaturated(rows: Vector, values: Vector) -> Vector:
    """Norms of rows, of those where f is saturated as large as rounding of f lets a row be told.

    Where erf(x) has come to 1 - 1e-15, no difference sees its slope, and the bar on it, relative to the slope itself,
    says nothing. Such a row is small beside its value and beside other rows (units make it small beside one only).
    """
    floor = _floor(rows, values)
    return np.where((rows > 0) & (rows < floor), floor, rows)


def _floor(rows: Vector, values: Vector) -> Vector:
    return np.minimum(ROUNDED * np.abs(values), NOTHING * float(rows.max(initial=0.0)))


def rounding(rows: Vector, eps: float, values: Vector | None = None) -> Vector:
    """What rounding may do to each row of a claim, whatever its own size (absolute).

    In float64 that counts where a row is numerically zero beside the others. In low precision terms of the size of the
    largest row may have cancelled in it, or, where all are saturated, of its own value. In `ROUNDINGS` at that size: on
    saturated tanh, sigmoid, softmax, gelu and others in float32, 2 to 10 were measured where they begin to saturate, 71
    at most.
    """
    if eps < 1e-12:
        return np.where(vanished(rows), row_floor(rows), 0.0)
    largest = np.full(len(rows), rows.max(initial=0.0))
    return min(ROUNDINGS * eps, LEAST) * (largest if values is None else np.maximum(largest, np.abs(values)))


def held(weights: Vector, outputs: Sequence[Leaf]) -> Vector:
    """Weights of cotangents, halved until the outputs' dtypes hold what is drawn with them: float16 ends at 65504."""
    excess = 1.0
    for leaf in outputs:
        if leaf.size and leaf.eps > 1e-12:
            largest = float(np.max(np.abs(weights[leaf.start : leaf.stop])))
            excess = max(excess, largest * HEADROOM / float(np.finfo(leaf.numpy_dtype).max))
    return weights if excess <= 1 else weights * 2.0 ** -math.ceil(math.log2(excess))


class Cotangents:
    """Draws u: each output in proportion to how much it moves, so that all are tested relative to their own size.

    Parameters
    ----------
    outputs : sequence of Leaf
    values : ndarray (m,)
        f at the point.
    rows : ndarray (m,)
        Norm of each row of f', every column times the natural size of its entry; as claimed where the rows are known,
        as measured otherwise.
    seed : int

    Attributes
    ----------
    groups : list of ndarray of bool (m,)
        Outputs that are looked at together.
    weights : ndarray (m,)

    Notes
    -----
    The draws are those of `Directions`: a pure function of (seed, number, path of the output, index), uniform on the
    sphere.
    """

    def __init__(self, outputs: Sequence[Leaf], values: Vector, rows: Vector, seed: int) -> None:
        self.size = len(values)
        weights, self.groups = self.weigh(values, rows)
        self.weights = held(weights, outputs)
        named = [dataclasses.replace(leaf, path=f"cotangent of {leaf.path}") for leaf in outputs if leaf.size]
        self._directions = Directions(named, np.zeros(self.size), np.zeros(self.size), seed)
        self._all = tuple(range(len(named)))

    @staticmethod
    def weigh(values: Vector, rows: Vector) -> tuple[Vector, list[NDArray[np.bool_]]]:
        """Weights and groups of outputs: see the attributes."""
        largest = float(rows.max(initial=0.0))
        moving = ~vanished(rows)
        if moving.all() and largest > 0:
            weights = 1 / rows
            ratio = np.abs(values) * weights
            # Below this none can be far above the median (which takes longer to find).
            typical = 1.0 if ratio.max() <= STEADY else float(np.median(ratio))
        else:
            usual = float(np.median(rows[moving])) if moving.any() else 0.0
            # What is numerically zero must not outweigh the others, nor bring more rounding than one of them may.
            still = np.maximum(np.abs(values) / STEADY, usual)
            weights = 1 / np.where(moving, rows, np.where(still > 1e-300, still, 1.0))
            ratio = np.where(moving, np.abs(values) * weights, 0.0)
            typical = float(np.median(ratio[moving])) if moving.any() else 1.0
        # (Saturated rows do not count by their own size, which is nothing: they are no group of their own.)
        steady = (ratio > STEADY * max(typical, 1.0)) & (rows > _floor(rows, values))
        everything = np.ones(len(values), dtype=bool)
        return weights, [~steady, steady] if steady.any() and not steady.all() else [everything]

    def draw(self, k: int, group: NDArray[np.bool_]) -> Vector:
        """The k-th cotangent (m,) for a group of outputs, 0 on all others."""
        sphere = self._directions.vector(Direction(k, self._all, (1.0,) * len(self._all)))
        g = np.where(group, sphere, 0.0)
        count = int(group.sum())
        return g * self.weights * math.sqrt(count) / float(np.linalg.norm(g))


def spread(count: int, size: int, confidence: float, *, folded: bool = False) -> float:
    """How much wider the bound on a matrix is than the widest one on its products with random vectors.

    Let ``norm(E @ v_k) <= b`` for `count` vectors v_k, uniform on the sphere of radius sqrt(size). Then
    ``norm(E) <= spread * b`` in the Frobenius norm, with the given confidence, for any E with `size` columns. (Rows
    instead of columns for cotangents; `folded` as in `error_bound`.)

    Notes
    -----
    For one row this is `error_bound`. For more, with the singular values and right vectors s_i, d_i of E, its norm
    being 1: ``norm(E v)**2 = sum(p_i z_i**2)``, ``p_i = s_i**2`` of sum 1 and ``z_i = <d_i, v>``, which depend on each
    other but have one law each. Take ``phi(x) = max(0, (3 t**2 - x) / (2 t**2))``: it is convex, and at least 1 for
    ``x <= t**2``. By Markov's and Jensen's inequalities

    ``P(norm(E v) <= t) <= E phi(sum(p_i z_i**2)) <= sum(p_i E phi(z_i**2)) = E phi(z_1**2)``

    and as abs(z_1) has at most the density kappa (see `error_bound`), the right-hand side is at most
    ``kappa * integral of phi(x**2) over x > 0 = sqrt(3) kappa t``: sqrt(3) times what holds for one row. The constant
    is that of the best piecewise linear phi; with Gaussian v the extremal law is known (G. J. Szekely and
    N. K. Bakirov, "Extremal probabilities for Gaussian quadratic forms", Probab. Theory Relat. Fields 126, 2003), and
    numerically one row is the worst case on the sphere, too, but this we can prove. For two columns the density of
    abs(z_1) = sqrt(2) abs(cos(angle)) grows, but stays below 2/pi up to z = 1, beyond which t = 1/sqrt(3) does not go.
    """
    if size == 1:
        return 1.0
    if size == 2:
        missed = ((1 - confidence) / LOOKS) ** (1 / count)
        return (2.0 if folded else 1.0) * math.sqrt(3) * max(2 / (math.pi * missed), 1.0)
    return math.sqrt(3) * error_bound(1.0, count, size, confidence, folded=folded)


def _slack(confidence: float, count: int) -> float:
    """What may go wrong with one of `count` independent proofs."""
    return float((1 - confidence) ** (1 / count))


def apart_confidence(confidence: float) -> float:
    """Return 1 - q, of each of `FIRST` proofs that share no directions: half of what may go wrong with one."""
    return 1 - _slack((1 + confidence) / 2, FIRST) / 2


def spread_apart(count: int, outputs: int, confidence: float) -> float:
    """As `spread`, for proofs that share no directions, each at the confidence `apart_confidence` gives.

    `confidence` is that of this look: half of what may go wrong altogether.
    """
    left = _slack(confidence, count) - _slack(confidence, FIRST) / 2
    if left <= 0:
        return math.inf
    # It divides 1 - confidence by its looks.
    return spread(1, outputs, 1 - min(left, 0.999) * LOOKS)
