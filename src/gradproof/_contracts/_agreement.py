"""Whether two gradients are equal, where both were computed from the same numbers in another way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._backends import Array

# Sums of k terms in another order differ by some sqrt(k) roundings of their terms: rounding errors are independent,
# and four standard deviations cover them. What comes after the sum adds a few.
FEW, SPREAD = 16.0, 4.0
# Whatever the precision and the length of the sums, entries that differ by so much of the largest are not equal.
LARGEST = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allowance:
    """By how much entries of a gradient may differ, in multiples of its size.

    eps : coarsest precision of the computation.
    terms : how many terms a sum may have.
    noise : by how much two equal calls differ, entry by entry, at most (absolute), for each gradient.
    sizes : size of the terms of each gradient, where they are known to be larger than the gradient.
    """

    eps: float
    terms: int
    noise: Sequence[float] = ()
    sizes: Sequence[float] = ()

    def of(self, i: int, size: float) -> float:
        """The absolute difference that gradient i of a size may show."""
        size = max(size, self.sizes[i] if self.sizes else 0.0)
        noise = 10 * self.noise[i] if self.noise else 0.0
        return max(min((FEW + SPREAD * math.sqrt(self.terms)) * self.eps, LARGEST) * size, noise)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Apart:
    """Where a gradient is not equal to another one.

    Attributes
    ----------
    index : int
        Of the gradient.
    entries : tuple of tuple of int
        Those that differ, the first ones.
    count, size : int
        How many do, of how many.
    one, other : float or None
        Their values at the entry that differs most; None for complex ones, and where the shape is another.
    entry : tuple of int
        That entry.
    """

    index: int
    entries: tuple[tuple[int, ...], ...] = ()
    count: int = 0
    size: int = 0
    one: float | None = None
    other: float | None = None
    entry: tuple[int, ...] = ()


# Entries that a finding lists.
SHOWN = 20


def apart(one: Sequence[Array | None], other: Sequence[Array | None], allowance: Allowance) -> Apart | None:
    """Where gradients are first not equal, at entries where the first is finite; None stands for zeros."""
    for i, (a, b) in enumerate(zip(one, other, strict=True)):
        if a is None and b is None:
            continue
        first = np.zeros_like(b) if a is None else a
        second = np.zeros_like(first) if b is None else b
        assert first is not None
        assert second is not None
        if first.shape != second.shape:
            return Apart(index=i)
        found = _entries_apart(i, first, second, allowance)
        if found is not None:
            return found
    return None


def _entries_apart(i: int, first: Array, second: Array, allowance: Allowance) -> Apart | None:
    if first.size == 0 or np.array_equal(first, second):
        return None
    wide = np.complex128 if np.iscomplexobj(first) or np.iscomplexobj(second) else np.float64
    first, second = first.astype(wide), second.astype(wide)
    finite = np.isfinite(first)
    size = float(np.max(np.abs(first[finite]), initial=0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        off: NDArray[np.float64] = np.where(finite, np.abs(second - first), 0.0)
    off = np.where(np.isnan(off), np.inf, off)
    differ = off > allowance.of(i, size)
    if not differ.any():
        return None
    places = np.argwhere(differ)
    worst = tuple(map(int, np.unravel_index(int(np.argmax(off)), off.shape)))
    ours, theirs = complex(first[worst]), complex(second[worst])
    is_real = wide is np.float64
    return Apart(
        index=i,
        entries=tuple(tuple(map(int, place)) for place in places[:SHOWN]),
        count=len(places),
        size=first.size,
        one=ours.real if is_real else None,
        other=theirs.real if is_real else None,
        entry=worst,
    )


def largest_difference(one: Array | None, other: Array | None) -> float:
    """By how much entries differ at most, those that are finite."""
    if one is None or other is None or one.shape != other.shape or not one.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(one.astype(complex) - other.astype(complex))
    return float(np.max(off[np.isfinite(off)], initial=0.0))


def largest(array: Array | None) -> float:
    """The size of the largest finite entry."""
    if array is None or not array.size:
        return 0.0
    sizes = np.abs(array.astype(complex))
    return float(np.max(sizes[np.isfinite(sizes)], initial=0.0))
