"""Cotangents u, and what the proofs about <u, f> say about f' as a whole."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._leaf import Leaf
from gradproof._prove import Direction, Directions
from gradproof._prove._certificate import LOOKS, error_bound

Vector = NDArray[np.float64]

# Up to this many outputs every one is proved by itself.
ALONE = 4
# Random cotangents: first, and at most.
FIRST, MOST = 4, 8
# In low precision every bound is wide: more cotangents that share their values of f make the most of it.
MOST_LOW = 24
# Outputs whose value is this many times larger, relative to how they move, than that of most outputs: their rounding
# would drown the others.
STEADY = 1e3
# The part of a random stream of `Directions` that the engine does not reach.
STREAM = 1 << 20


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
        moving = rows > 1e-13 * float(rows.max(initial=0.0))
        typical = float(np.median(rows[moving])) if moving.any() else 1.0
        still = np.where(values != 0, np.abs(values), typical)
        self.weights = 1 / np.where(moving, np.where(rows > 0, rows, 1.0), still)
        ratio = np.where(moving, np.abs(values) * self.weights, 0.0)
        limit = STEADY * max(float(np.median(ratio[moving])) if moving.any() else 1.0, 1.0)
        steady = ratio > limit
        self.groups = [~steady, steady] if steady.any() and not steady.all() else [np.ones(self.size, dtype=bool)]
        named = [dataclasses.replace(leaf, path=f"cotangent of {leaf.path}") for leaf in outputs if leaf.size]
        self._directions = Directions(named, np.zeros(self.size), np.zeros(self.size), seed)
        self._all = tuple(range(len(named)))

    def draw(self, k: int, group: NDArray[np.bool_]) -> Vector:
        """The k-th cotangent (m,) for a group of outputs, 0 on all others."""
        sphere = self._directions.vector(Direction(k, self._all, (1.0,) * len(self._all)))
        g = np.where(group, sphere, 0.0)
        count = int(group.sum())
        return g * self.weights * math.sqrt(count) / float(np.linalg.norm(g))


def spread(count: int, outputs: int, confidence: float) -> float:
    """How much wider the bound on all of f' is than the widest one on f'^T u.

    Let E be the error of f', row by row relative to the weights of the cotangents, and let ``norm(E.T @ g_k) <= b`` for
    `count` cotangents g_k, uniform on the sphere of radius sqrt(outputs). Then ``norm(E) <= spread * b`` in the
    Frobenius norm, with the given confidence.

    Notes
    -----
    P(norm(E.T g) <= t norm(E)) is largest for an E of rank one, for t well below 1 (for quadratic forms in normal
    variables: G. J. Szekely and N. K. Bakirov, "Extremal probabilities for Gaussian quadratic forms", Probab. Theory
    Relat. Fields 126, 2003). For such an E it is the law of <D, g> that `error_bound` uses.
    """
    return error_bound(1.0, count, outputs, confidence)


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
    # error_bound divides 1 - confidence by its looks.
    return error_bound(1.0, 1, outputs, 1 - min(left, 0.999) * LOOKS)
