"""Flat vectors of large problems, kept leaf by leaf as views of arrays that are there already."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf

Vector = NDArray[np.float64]

# From so many entries on (32 MB each) vectors are kept in pieces, and no more evaluations are spent than a verdict
# needs.
LARGE = 4_000_000
# Entries that are worked on at a time, so that temporary arrays stay small.
CHUNK = 1 << 20


class Pieces:
    """A flat vector (n,) in pieces: an index, or a slice within one of them, gives what an array would give."""

    def __init__(self, pieces: Sequence[Vector]) -> None:
        self._pieces = [piece for piece in pieces if piece.size]
        sizes = [piece.size for piece in self._pieces]
        self._starts = [0, *np.cumsum(sizes).tolist()]
        self.size: int = self._starts.pop()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int | slice) -> Any:
        if not isinstance(key, slice):
            i = bisect.bisect_right(self._starts, key) - 1
            return self._pieces[i][key - self._starts[i]]
        start, stop, _ = key.indices(self.size)
        if stop <= start:
            return np.zeros(0)
        i = bisect.bisect_right(self._starts, start) - 1
        first = self._starts[i]
        if stop <= first + self._pieces[i].size:
            return self._pieces[i][start - first : stop - first]
        return self.copy()[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Vector:
        return self.copy()

    def __mul__(self, factor: float) -> Pieces:
        return Pieces([piece * factor for piece in self._pieces])

    def copy(self) -> Vector:
        """The whole as one array."""
        return self.moved(np.empty(self.size))

    def moved(self, out: Vector, v: Vector | None = None, step: float = 0.0) -> Vector:
        """Write x, or x + step v, to an array of the same size."""
        for start, piece in zip(self._starts, self._pieces, strict=True):
            if v is None:
                out[start : start + piece.size] = piece
                continue
            for low in range(0, piece.size, CHUNK // 16):
                part = piece[low : low + CHUNK // 16]
                target = out[start + low : start + low + part.size]
                np.multiply(v[start + low : start + low + part.size], step, out=target)
                target += part
        return out


class LeafSizes:
    """The natural size of every entry, given for each leaf as one number or an array."""

    def __init__(self, leaves: Sequence[Leaf], sizes: Sequence[Vector | float]) -> None:
        self._starts = [leaf.start for leaf in leaves if leaf.size]
        self._sizes = [size for leaf, size in zip(leaves, sizes, strict=True) if leaf.size]
        self._counts = [leaf.size for leaf in leaves if leaf.size]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Vector:
        parts = [np.broadcast_to(size, count) for size, count in zip(self._sizes, self._counts, strict=True)]
        return np.concatenate(parts)

    def __getitem__(self, key: int | slice) -> Any:
        """The size of an entry, or of a slice within one leaf: a number where it is the same for all."""
        first: int = key.start if isinstance(key, slice) else key
        i = bisect.bisect_right(self._starts, first) - 1
        size, start = self._sizes[i], self._starts[i]
        if not isinstance(size, np.ndarray):
            return size
        if isinstance(key, slice):
            return size[key.start - start : key.stop - start]
        return size[key - start]


def is_many(count: int) -> bool:
    """Whether a vector of so many entries is kept in pieces."""
    return count >= LARGE


def joined(vectors: Sequence[Vector]) -> Vector:
    """Put vectors one after the other; large ones stay where they are, as `Pieces`, which do as an array does."""
    if not is_many(sum(vector.size for vector in vectors)):
        return np.concatenate(vectors) if vectors else np.zeros(0)
    return cast("Vector", Pieces(vectors))


def is_large(vector: Vector) -> bool:
    """Whether a vector is kept in pieces."""
    return isinstance(cast("object", vector), Pieces)


def moved(x: Vector, v: Vector, step: float, out: Vector | None) -> Vector:
    """Return x + step v, in `out` if x is in pieces."""
    whole: object = x
    if isinstance(whole, Pieces):
        return whole.moved(np.empty(whole.size) if out is None else out, v, step)
    buffer = v * step
    buffer += x
    return buffer


def at_point(x: Vector, out: Vector) -> Vector:
    """Write x to `out`, and return that."""
    whole: object = x
    if isinstance(whole, Pieces):
        return whole.moved(out)
    out[:] = x
    return out


def chunks(start: int, stop: int) -> Iterator[slice]:
    """Slices of at most `CHUNK` entries that cover a range."""
    for low in range(start, stop, CHUNK):
        yield slice(low, min(low + CHUNK, stop))
