"""Corners of a reference: where its gradient is not unique, the one nearest to the kernel's is taken for the truth.

At a tie of maxima, a ReLU at 0 or a clamp at its bound, the gradients close by are the pieces' own, and any mixture
of them is a valid (Clarke) subgradient. The reference is called in float64 at points so close that a smooth gradient
stands still, and a tie is broken. A kernel's gradient may lie in what these gradients span, within their ranges. Where
they are all the same, it may not move at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._reference._regions import Bools, Floats

Array = NDArray[Any]

# How far the points are, relative to each entry and to a typical one of its array: far above the rounding of float64,
# and so near that a smooth gradient changes by less than a rounding of float32.
NEAR = 2.0**-34
# Points of a draw. So many come first: they lie towards what the kernel has more of than the reference, or the other
# way, by turns. The others lie in any direction; they are asked only where the first have shown another gradient.
FIRST, POINTS = 8, 56
# Singular values below this share of the largest are no directions in which gradients vary.
SINGULAR = 1e-6
# Alternating projections onto spans and ranges.
ROUNDS = 20

# ``gradients(values) -> list``: of the reference in float64, one for each array that is asked about.
Gradients = Callable[[Sequence[Array]], list[Floats]]


def around(
    values: Sequence[Array],
    truth: Sequence[Floats],
    gradients: Gradients,
    towards: Sequence[Array],
    generator: np.random.Generator,
) -> list[Floats] | None:
    """Gradients at points close by, (points, *shape) for each array; None where the first are as at the point.

    Parameters
    ----------
    values : sequence of ndarray
        The inputs.
    truth : sequence of ndarray
        The reference's gradients there.
    gradients : callable
    towards : sequence of ndarray
        The kernel's gradient less the reference's, for each input.
    generator : Generator

    Notes
    -----
    The gradient of a continuous function jumps at a corner by a vector normal to it: what a kernel has that is right on
    the other side points there, or away from there by the sign of the cotangent.
    """
    found: list[list[Floats]] = []
    for number in range(FIRST):
        found.append(gradients(_moved(values, [(-1.0) ** number * one for one in towards], generator)))
        if number == 1 and all(map(_is_near, truth, *found)):
            return None
    found += [gradients(_moved(values, None, generator)) for _ in range(POINTS - FIRST)]
    return [np.stack(same) for same in zip(*found, strict=True)]


def _is_near(truth: Floats, *others: Floats) -> bool:
    """Whether gradients differ from the one at the point by no more than a smooth one may."""
    size = float(np.max(np.abs(truth[np.isfinite(truth)]), initial=0.0))
    return all(bool(np.allclose(one, truth, rtol=0.0, atol=SINGULAR * size, equal_nan=True)) for one in others)


def _moved(values: Sequence[Array], way: Sequence[Array] | None, generator: np.random.Generator) -> list[Array]:
    """A point close by: in any direction, or by the signs of `way` where it is not zero."""
    moved: list[Array] = []
    for i, value in enumerate(values):
        size = np.abs(value[np.isfinite(value)])
        typical = math.sqrt(float(np.mean(size**2))) if size.size else 0.0
        step = generator.uniform(-1, 1, value.shape)
        if way is not None:
            by_sign = np.sign(np.real(way[i]))
            step = np.where(by_sign == 0, step, by_sign * generator.uniform(1, 2, value.shape))
        moved.append(value + NEAR * step * (np.abs(value) + (typical or 1.0)))
    return moved


class Corner:
    """What the gradients around a point leave open for one array.

    Parameters
    ----------
    truth : ndarray
        The reference's gradient at the point.
    nearby : ndarray (points, *shape)
    least : ndarray
        By how much each entry must differ to do so at all.
    """

    def __init__(self, truth: Floats, nearby: Floats, least: Floats) -> None:
        self._shape = truth.shape
        apart = np.abs(nearby - truth)
        finite = np.isfinite(nearby).all(axis=0) & np.isfinite(truth)
        self.varies: Bools = finite & (np.where(finite, apart, 0.0).max(axis=0) > least)
        every = np.concatenate([truth[None], nearby])[:, self.varies]
        self._truth = truth[self.varies]
        self._low, self._high = _ranges(every)
        self._spans = list(self._all_spans(every - self._truth))

    def nearest(self, gradient: Floats) -> Floats:
        """The subgradient that is nearest to a gradient; the truth where there is no other."""
        own = gradient[self.varies]
        found = np.clip(np.where(np.isfinite(own), own, self._truth), self._low, self._high)
        for _ in range(ROUNDS if self._spans else 0):
            for where, basis in self._spans:
                offset = found[where] - self._truth[where]
                found[where] = self._truth[where] + basis @ (basis.T @ offset)
            found = np.clip(found, self._low, self._high)
        # (What the projections round is no error of the gradient, also where that is exactly zero.)
        return np.where(np.abs(found - own) <= SINGULAR**2 * (self._high - self._low), own, found)

    def _all_spans(self, offsets: Floats) -> Iterator[tuple[NDArray[np.intp], Floats]]:
        """Blocks of the varying entries, with a basis of how they vary together where that is not every way."""
        places = np.argwhere(self.varies)
        blocks = [np.arange(len(places))] if len(places) else []
        while blocks:
            block = blocks.pop()
            basis = _basis(offsets[:, block])
            if basis is not None:
                if basis.shape[1] < len(block):
                    yield block, basis
                continue
            spread = np.ptp(places[block], axis=0)
            if not spread.size or not spread.max():
                continue
            along = places[block, int(np.argmax(spread))]
            lower = along <= (along.min() + along.max()) // 2
            blocks += [block[lower], block[~lower]]
        for axis in range(len(self._shape) if len(self._shape) > 1 and len(places) else 0):
            _, line = np.unique(np.delete(places, axis, axis=1), axis=0, return_inverse=True)
            order = np.argsort(line.ravel(), kind="stable")
            for block in np.split(order, np.flatnonzero(np.diff(line.ravel()[order])) + 1):
                basis = _basis(offsets[:, block]) if len(block) > 1 else None
                if basis is not None and basis.shape[1] < len(block):
                    yield block, basis


def _ranges(every: Floats) -> tuple[Floats, Floats]:
    """Between which values each entry lies.

    Of a single corner all values have been seen, many times each. An entry to which many corners contribute has hardly
    two equal values, and its range is wider than was seen: by itself on both sides, which is seven standard deviations
    of a sum of many.
    """
    if not every.size:
        return every[0], every[0]
    low, high = every.min(axis=0), every.max(axis=0)
    width = high - low
    ordered = np.sort(every, axis=0)
    steps = (np.diff(ordered, axis=0) > SINGULAR * width).sum(axis=0)
    wider = np.where(steps > len(every) // 2, width, 0.0)
    return low - wider, high + wider


def _basis(offsets: Floats) -> Floats | None:
    """An orthonormal basis (entries, rank) of what offsets (points, entries) span; None where they are too few."""
    _, values, rows = np.linalg.svd(offsets, full_matrices=False)
    rank = int((values > SINGULAR * values[0]).sum()) if len(values) else 0
    return None if rank > len(offsets) // 2 else rows[:rank].T
