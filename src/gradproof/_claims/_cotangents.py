"""Cotangents u, and what the proofs about <u, f> say about f' as a whole."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf
from gradproof._base._precision import is_double
from gradproof._contracts import row_floor, vanished
from gradproof._prove import Direction, Directions
from gradproof._prove._laws import FIRST_APART
from gradproof._prove._tolerance import low_rounding, saturated_below

Vector = NDArray[np.float64]

# Up to this many outputs every one is proved by itself.
ALONE = 4
# Random cotangents: first, and at most.
FIRST, MOST = FIRST_APART, 12
# In low precision every bound is wide: more cotangents that share their values of f make the most of it.
MOST_LOW = 24
# Outputs whose value is this many times larger, relative to how they move, than that of most outputs: their rounding
# would drown the others.
STEADY = 1e3
# A draw is a few times larger than its weight, a sum of two (times 0.75 and 1.5) a few times larger again.
HEADROOM = 64.0
# The part of a random stream of `Directions` that the engine does not reach.
STREAM = 1 << 20


def rounding(rows: Vector, eps: float, values: Vector | None = None) -> Vector:
    """What rounding may do to each row of a claim, whatever its own size (absolute).

    In float64 that counts where a row is numerically zero beside the others; see `low_rounding` for the rest.
    """
    if is_double(eps):
        return np.where(vanished(rows), row_floor(rows), 0.0)
    return low_rounding(rows, eps, values)


def held(weights: Vector, outputs: Sequence[Leaf]) -> Vector:
    """Weights of cotangents, halved until the outputs' dtypes hold what is drawn with them: float16 ends at 65504."""
    excess = 1.0
    for leaf in outputs:
        if leaf.size and not is_double(leaf.eps):
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
        steady = (ratio > STEADY * max(typical, 1.0)) & (rows > saturated_below(rows, values))
        everything = np.ones(len(values), dtype=bool)
        return weights, [~steady, steady] if steady.any() and not steady.all() else [everything]

    def draw(self, k: int, group: NDArray[np.bool_]) -> Vector:
        """The k-th cotangent (m,) for a group of outputs, 0 on all others."""
        sphere = self._directions.vector(Direction(k, self._all, (1.0,) * len(self._all)))
        g = np.where(group, sphere, 0.0)
        count = int(group.sum())
        return g * self.weights * math.sqrt(count) / float(np.linalg.norm(g))
