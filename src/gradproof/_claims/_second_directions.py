"""Directions along which second differences of f are taken: how far each entry of x moves, and how large H is there."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import STREAM
from gradproof._claims._curves import Curves
from gradproof._prove import Direction, Directions

Vector = NDArray[np.float64]

# Parts of a direction that are looked at where f is not finite along it.
HALVINGS = 64
# Times its natural size that an entry may move along a random direction.
WIDEST = 3.0


class SecondDirections:
    """Random directions through all leaves, scaled to what each of them does to v^T H v.

    Parameters
    ----------
    claimed : Claimed
    directions : Directions
    curves : Curves
    size : (n,) ndarray
        How far each entry of x moves; cut down in place where f is not finite all the way.
    within : float
        What part of its natural size that is.
    """

    def __init__(
        self, claimed: Claimed, directions: Directions, curves: Curves, size: Vector, within: float = 1.0
    ) -> None:
        self._claimed, self._directions, self._curves, self._size = claimed, directions, curves, size
        # What is left of the natural size of an entry, where f is not finite all the way or has kinks on it.
        self._share = np.full(len(size), within)
        self._everything = tuple(range(len(claimed.leaves)))
        self._scales = (1.0,) * len(claimed.leaves)

    def through_all(self, number: int = 0) -> Vector:
        """A direction through all leaves as they are."""
        return self._drawn(number, (1.0,) * len(self._everything))

    def _drawn(self, number: int, scales: tuple[float, ...]) -> Vector:
        return self._directions.vector(Direction(STREAM + number, self._everything, scales)) * self._share

    def random(self, count: int) -> Iterator[Vector]:
        """Directions through all leaves, each scaled by the square root of its own curvature, as claimed."""
        leaves, v = self._claimed.leaves, self.through_all()
        norms: list[float] = []
        for leaf in leaves:
            own = slice(leaf.start, leaf.stop)
            part = np.zeros(len(v))
            part[own] = v[own]
            product = self._claimed.pull(part) if len(leaves) > 1 else part
            norms.append(float(np.linalg.norm((product * self._size)[own])))
        least = min((norm for norm in norms if norm > 1e-6 * max(norms)), default=1.0)
        scales = tuple(min(1.0, max(math.sqrt(least / norm), 1e-3)) if norm > 0 else 1.0 for norm in norms)
        self._scales = scales
        for k in range(count):
            yield self._drawn(8 + k, scales)

    def shares(self) -> list[float]:
        """Norm of H v, in natural sizes and as each leaf is scaled, for a random v through one leaf after the other."""
        leaves = self._claimed.leaves
        v, scaled = self.through_all(), self._size * np.repeat(np.array(self._scales), [leaf.size for leaf in leaves])
        shares: list[float] = []
        for leaf in leaves:
            part = np.zeros(len(v))
            own = slice(leaf.start, leaf.stop)
            part[own] = (v * scaled / self._size)[own]
            shares.append(float(np.linalg.norm(self._claimed.pull(part) * scaled)))
        return shares

    def norm(self) -> float:
        """Of H in natural sizes, as claimed; of products, an estimate."""
        size, matrix = self._size, self._claimed.matrix
        if matrix is not None:
            return float(np.linalg.norm(matrix * size[:, None] * size))
        products = [self._claimed.pull(self.through_all(k)) for k in range(2)]
        return math.sqrt(float(np.mean([np.sum((size * product) ** 2) for product in products])))

    def cut_down(self, v: Vector, *, reach: float) -> bool:
        """Move the entries beside which f is not finite less far, each as far as it allows by itself; whether any is.

        They are found by halving v; `reach` is how far an entry may move along v, in natural sizes.
        """
        widest = 1.19 * self._curves.coarse
        needed = reach * widest
        todo, changed = [np.flatnonzero(v)], False
        for _ in range(HALVINGS):
            if not todo:
                break
            part = todo.pop()
            if self._curves.is_finite(np.where(np.isin(np.arange(len(v)), part), v, 0.0), widest):
                continue
            if len(part) > 1:
                todo += [part[: len(part) // 2], part[len(part) // 2 :]]
                continue
            alone = np.zeros(len(v))
            alone[part] = abs(self._size[part])
            finite = next((widest / 4**k for k in range(8) if self._curves.is_finite(alone, widest / 4**k)), None)
            if finite is not None:
                self._size[part] *= finite / needed
                self._share[part] *= finite / needed
                changed = True
        return changed
