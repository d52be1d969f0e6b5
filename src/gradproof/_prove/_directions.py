"""Directions: small recipes, and the vectors made from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf
from gradproof._base._pieces import LeafSizes, chunks, is_large, is_many
from gradproof._base._precision import is_double

Floats = NDArray[np.float64]

BLOCK = 65_536
# In low precision: sizes of rows, and of entries within a row beside their median, that differ by more are natural
# sizes of their own; and rows (along the last axis) that are too short to have a size.
ROWS_SPAN, ENTRIES_SPAN, LEAST_ROW = 10.0, 100.0, 4
# The same for a lone small entry, unless it is one of many.
LONE_SPAN, MANY = 1e3, 200


@dataclasses.dataclass(frozen=True)
class Digits:
    """Weights (digit + 1) / (base + 1) on entries start .. stop, digit = (i - start) // stride % base; 0 elsewhere.

    A lone wrong entry carries its digit in the ratio of this residual to the plain one.
    """

    start: int
    stop: int
    stride: int
    base: int

    def apply(self, v: Floats) -> Floats:
        digit = np.arange(self.stop - self.start) // self.stride % self.base
        part = np.zeros(len(v))
        part[self.start : self.stop] = v[self.start : self.stop] * ((digit + 1) / (self.base + 1))
        return part


@dataclasses.dataclass(frozen=True)
class Spans:
    """1 on the ranges start .. stop of the flat vector, 0 elsewhere."""

    ranges: tuple[tuple[int, int], ...]

    def apply(self, v: Floats) -> Floats:
        part = np.zeros(len(v))  # its memory is touched only where it is written
        for start, stop in self.ranges:
            part[start:stop] = v[start:stop]
        return part


@dataclasses.dataclass(frozen=True)
class Coin:
    """1 on the half of the entries whose keyed hash bit equals `side`, 0 on the other half."""

    salt: int
    side: int

    def apply(self, v: Floats) -> Floats:
        part = np.zeros(len(v))
        for span in chunks(0, len(v)):
            if v[span].any():
                bits = hash_bits(span.stop - span.start, self.salt, span.start)
                part[span] = v[span] * (bits == self.side)
        return part


@dataclasses.dataclass(frozen=True)
class Slab:
    """1 where index // stride % base lies in low .. high within entries start .. stop (a range along one axis)."""

    start: int
    stop: int
    stride: int
    base: int
    low: int
    high: int

    def apply(self, v: Floats) -> Floats:
        index = np.arange(self.stop - self.start) // self.stride % self.base
        part = np.zeros(len(v))
        part[self.start : self.stop] = v[self.start : self.stop] * ((index >= self.low) & (index < self.high))
        return part


@dataclasses.dataclass(frozen=True)
class Without:
    """0 on single entries, 1 elsewhere."""

    entries: tuple[int, ...]

    def apply(self, v: Floats) -> Floats:
        part = v.copy()
        part[list(self.entries)] = 0.0
        return part


@dataclasses.dataclass(frozen=True)
class Alike:
    """What moves at all moves by the same, and one way: tied entries stay tied. Residuals do not add up."""

    def apply(self, v: Floats) -> Floats:
        moving = v != 0
        size = float(np.sqrt(np.mean(np.square(v[moving])))) if moving.any() else 0.0
        return np.where(moving, size, 0.0)


Part = Digits | Spans | Coin | Slab | Without | Alike


def hash_bits(count: int, salt: int, start: int = 0) -> NDArray[np.uint64]:
    """One pseudo-random bit per index from `start` on (the finaliser of splitmix64, keyed by `salt`)."""
    with np.errstate(over="ignore"):
        z = np.arange(start, start + count, dtype=np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15 + 1) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z >> np.uint64(40)) & np.uint64(1)


@dataclasses.dataclass(frozen=True)
class Direction:
    """The recipe of a direction: small, comparable, and enough to make the same vector anywhere.

    Attributes
    ----------
    stream : int
        Which draw of the sphere.
    group : tuple of int
        Leaves that move.
    scales : tuple of float
        Factor on the natural size of each leaf in `group`.
    floor : float
        0, or for a balanced direction the size of claim times step to which larger ones are reduced, so that entries
        with small claims move by their natural size while the others nearly stand still.
    parts : tuple of Part
        Restrictions of the drawn vector; residuals along parts of one draw add up.
    entry : int
        -1, or the one flat index that moves (then nothing is drawn).
    """

    stream: int
    group: tuple[int, ...]
    scales: tuple[float, ...]
    floor: float = 0.0
    parts: tuple[Part, ...] = ()
    entry: int = -1

    def restricted(self, *parts: Part) -> Direction:
        """Only a part of this direction."""
        return dataclasses.replace(self, parts=self.parts + parts)


class Directions:
    """Makes vectors from recipes, and knows the natural size of every entry and the claim.

    Parameters
    ----------
    leaves : the leaves, in the order of the flat vectors.
    point, claim : (n,) float64.
    seed : int
    lower, upper : (n,) float64, optional
        The domain: no step leaves it. Natural sizes shrink to half the room there is; an entry that lies on a bound
        moves inwards only (its draw is folded).

    Attributes
    ----------
    natural : (n,), natural size of every entry.
    unit : float
        Power of two by which values of f are multiplied, so that squares of slopes neither overflow nor vanish.
    claim : (n,), the claim times `unit`.

    Notes
    -----
    Entries are normal draws from Philox in blocks of 65,536, keyed by (seed, stream, leaf path, block): any slice,
    worker or resumed run makes the same numbers. Dividing by the norm makes the draw uniform on the sphere.
    """

    def __init__(
        self,
        leaves: Sequence[Leaf],
        point: Floats,
        claim: Floats,
        seed: int,
        lower: Floats | None = None,
        upper: Floats | None = None,
    ) -> None:
        self.leaves = tuple(leaves)
        self.point = point
        self.seed = seed
        self.size = len(point)
        self.large = is_large(point)
        self.bounded = lower is not None or upper is not None
        sizes = [leaf_size(leaf, point) if leaf.size else 1.0 for leaf in self.leaves]
        self.natural = cast("Floats", LeafSizes(self.leaves, sizes)) if self.large else np.empty(self.size)
        if not self.large or self.bounded:
            self.natural = np.concatenate(
                [np.broadcast_to(size, leaf.size) for leaf, size in zip(self.leaves, sizes, strict=True)]
            )
        self.inward = np.zeros(self.size, dtype=np.int8)
        if self.bounded:
            lower = np.full(self.size, -np.inf) if lower is None else lower
            upper = np.full(self.size, np.inf) if upper is None else upper
        # Both or neither.
        self.lower, self.upper = lower, upper
        if lower is not None and upper is not None:
            self.bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
            self._fit_into_domain(lower, upper)
        self.unit = _power_of_two(self.leaves, claim, self.natural)
        self.claim = claim if self.unit == 1 else claim * self.unit
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)
        self._keys = [_key(seed, leaf.path) for leaf in self.leaves]
        self._drawn: dict[Direction, Floats] = {}
        self._latest: tuple[Direction, Floats] | None = None

    def vector(self, direction: Direction) -> Floats:
        """The direction as a flat vector (n,); do not change it."""
        if self._latest is not None and self._latest[0] == direction:
            return self._latest[1]
        if self.large:
            self._latest = None  # gives its memory back
        if direction.entry >= 0:
            v = np.zeros(self.size)
            v[direction.entry] = self.entry_size(direction.entry)
        else:
            v = self._whole(dataclasses.replace(direction, parts=()))
            for part in direction.parts:
                v = part.apply(v)
        self._latest = direction, v
        return v

    def entry_size(self, entry: int) -> float:
        """How far an entry moves by itself, signed where that is possible on one side only."""
        return float(self.natural[entry] * (self.inward[entry] or 1))

    def least_share(self, index: int) -> float:
        """How many times a bound on an array, relative to its norm in natural sizes, an entry may be off.

        Relative to a typical entry of the claim itself; the least weighted one, which moves least. Entries that cannot
        move at all are not meant.
        """
        leaf = self.leaves[index]
        sizes = self.natural[leaf.start : leaf.stop]
        if np.ndim(sizes) == 0:
            return math.sqrt(leaf.size)
        least = float(np.min(sizes, initial=math.inf, where=sizes > 0))
        if not least < float(sizes.max(initial=0.0)):
            return math.sqrt(leaf.size)
        claim = self.claim[leaf.start : leaf.stop]
        whole = float(np.linalg.norm(claim))
        return math.sqrt(leaf.size) * float(np.linalg.norm(claim * sizes)) / (least * whole) if whole else math.inf

    def _fit_into_domain(self, lower: Floats, upper: Floats) -> None:
        below, above = self.point - lower, upper - self.point
        touching = 1e-8 * self.natural
        self.inward[below <= touching] = 1
        self.inward[above <= touching] = -1
        room = np.where(self.inward > 0, above, np.where(self.inward < 0, below, np.minimum(below, above)))
        self.natural = np.minimum(self.natural, room / 2)

    def folded(self, group: Sequence[int]) -> bool:
        """Whether some entries of these leaves lie on a bound."""
        return self.bounded and any(
            self.inward[self.leaves[index].start : self.leaves[index].stop].any() for index in group
        )

    def reach(self, direction: Direction) -> tuple[float, float]:
        """The smallest and the largest t for which x + t v lies in the domain."""
        if not self.bounded or self.lower is None or self.upper is None:
            return -math.inf, math.inf
        v = self.vector(direction)
        with np.errstate(divide="ignore", invalid="ignore"):
            to_lower, to_upper = (self.lower - self.point) / v, (self.upper - self.point) / v
        moving = v != 0
        first, second = np.minimum(to_lower, to_upper)[moving], np.maximum(to_lower, to_upper)[moving]
        return float(np.max(first, initial=-math.inf)), float(np.min(second, initial=math.inf))

    def slope(self, direction: Direction) -> tuple[float, float]:
        """<claim, v>, and the sum of |claim * v| (which bounds the rounding of the former)."""
        v = self.vector(direction)
        if not self.large:
            product = self.claim * v
            return float(product.sum()), float(np.abs(product).sum())
        sums: list[float] = []
        absolute: list[float] = []
        buffer = np.empty(BLOCK)  # stays in the cache
        for index in direction.group:
            leaf = self.leaves[index]
            for low in range(leaf.start, leaf.stop, BLOCK):
                span = slice(low, min(low + BLOCK, leaf.stop))
                product = np.multiply(self.claim[span], v[span], out=buffer[: span.stop - span.start])
                sums.append(float(product.sum()))
                absolute.append(float(np.abs(product, out=product).sum()))
        return math.fsum(sums), math.fsum(absolute)

    def claimed_steps(self, index: int) -> Iterator[Floats]:
        """|claim| times natural size of the entries of a leaf, as many at a time as is good for memory."""
        leaf = self.leaves[index]
        for span in chunks(leaf.start, leaf.stop):
            yield np.abs(self.claim[span]) * self.natural[span]

    def _whole(self, direction: Direction) -> Floats:
        if direction in self._drawn:
            return self._drawn[direction]
        if self.large:
            self._drawn.clear()
        v = np.zeros(self.size)
        count, square = 0, 0.0
        for index in direction.group:
            leaf = self.leaves[index]
            u = v[leaf.start : leaf.stop]
            self._normal(index, direction.stream, u)
            count += u.size
            square += float(u @ u)
        radius = math.sqrt(count / square)
        for index, scale in zip(direction.group, direction.scales, strict=True):
            leaf = self.leaves[index]
            u = v[leaf.start : leaf.stop]
            if self.bounded:
                inward = self.inward[leaf.start : leaf.stop]
                np.copyto(u, np.abs(u) * inward, where=inward != 0)
            u *= radius * scale * self.natural[leaf.start : leaf.stop]
            if direction.floor > 0:
                low = 0
                for claimed in self.claimed_steps(index):
                    start, stop = leaf.start + low, leaf.start + low + claimed.size
                    part, size, step = u[low : low + claimed.size], scale * self.natural[start:stop], scale * claimed
                    # No bound comes from here: what has a small claim moves by half its size or more, lest it be
                    # missed.
                    least = np.copysign(np.maximum(np.abs(part), size / 2), part)
                    np.copyto(part, least, where=step <= direction.floor)
                    part *= direction.floor / np.maximum(step, direction.floor)
                    low += claimed.size
        # The failing direction is asked for again and again while a mistake is being located: keep two.
        while len(self._drawn) >= 2:
            del self._drawn[next(iter(self._drawn))]
        self._drawn[direction] = v
        return v

    def _normal(self, leaf: int, stream: int, out: Floats) -> None:
        state = self._bits.state
        state["state"]["key"][:] = self._keys[leaf]
        state["buffer_pos"], state["has_uint32"] = 4, 0
        for block in range(-(-len(out) // BLOCK)):
            state["state"]["counter"][:] = (0, block, stream, 0)
            self._bits.state = state
            self._generator.standard_normal(out=out[block * BLOCK : (block + 1) * BLOCK])


def _key(seed: int, path: str) -> NDArray[np.uint64]:
    """Two words that seed and path determine (NumPy keeps `SeedSequence` the same in all versions)."""
    entropy = (seed, int.from_bytes(path.encode(), "little"))
    return np.asarray(np.random.SeedSequence(entropy).generate_state(2, np.uint64), dtype=np.uint64)


def _power_of_two(leaves: Sequence[Leaf], claim: Floats, natural: Floats) -> float:
    """1, or the power of two that brings slopes of 1e60 and more, or 1e-60 and less, near 1."""
    largest = 0.0
    for leaf in leaves:
        for span in chunks(leaf.start, leaf.stop):
            largest = max(largest, float(np.max(np.abs(claim[span]) * natural[span])))
    if largest == 0 or 1e-60 < largest < 1e60 or not math.isfinite(largest):
        return 1.0
    return 2.0 ** min(max(-round(math.log2(largest)), -1000), 1000)  # 2.0**1024 overflows


def leaf_size(leaf: Leaf, point: Floats) -> Floats | float:
    """`natural_size` of a leaf of a flat vector; of a complex array for either of its parts.

    In low precision steps are so coarse that what is small beside the rest of its array would move by many times its
    own size: rows, or entries, whose sizes differ have natural sizes of their own.
    """
    x = point[leaf.start : leaf.stop] if leaf.moduli is None else leaf.moduli
    if is_double(leaf.eps) or is_many(leaf.size):
        return natural_size(x)
    return natural_size_in_rows(x, leaf.shape)


def natural_size_in_rows(x: Floats, shape: Sequence[int]) -> Floats | float:
    """`natural_size` by row (along the last axis) where rows differ by `ROWS_SPAN`, by entry where those of a row do.

    One small entry says nothing of scales (the smallest of 100 draws around zero lies a hundred times below their
    median half of the time), a tenth of them does. Rows of fewer than `LEAST_ROW` entries are taken together.
    """
    length = shape[-1] if shape else 1
    rows = np.abs(x).reshape(-1, length if length >= LEAST_ROW else x.size)
    largest = rows.max(axis=1, keepdims=True)
    one = np.where(largest > 0, largest, 1.0)
    sizes = largest * np.sqrt(np.mean(np.square(rows / one), axis=1, keepdims=True))
    moving = sizes[sizes > 0]
    if moving.size == 0:
        return 1.0
    by_entry, medians = _spans_decades(rows)
    if not by_entry.any() and moving.max() <= ROWS_SPAN * moving.min():
        return _rms(rows)
    sizes = np.where(sizes > 0, sizes, float(np.median(moving)))
    own = np.where(rows > 0, rows, medians[:, None])
    return np.where(by_entry[:, None] & (largest > 0), own, sizes).reshape(-1)


def _spans_decades(rows: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Whether the entries of each row span decades, and the median of those that are not 0."""
    ordered = np.sort(rows, axis=1)
    zeros = np.count_nonzero(ordered == 0, axis=1)
    count = rows.shape[1] - zeros
    last = rows.shape[1] - 1
    each = np.arange(len(rows))
    smallest = ordered[each, np.minimum(zeros, last)]
    tenth = ordered[each, np.minimum(zeros + count // 10, last)]
    median = ordered[each, np.minimum(zeros + count // 2, last)]
    lone = (median > LONE_SPAN * smallest) & (count < MANY)
    return (count > 1) & (lone | (median > ENTRIES_SPAN * tenth) | (ordered[:, -1] > ENTRIES_SPAN * median)), median


def _rms(size: Floats) -> float:
    """Root mean square, without overflow; 0 where all are 0."""
    largest = float(size.max(initial=0.0))
    return largest * math.sqrt(float(np.mean((size / largest) ** 2))) if largest > 0 else 0.0


def steady_norm(v: Floats) -> float:
    """Euclidean norm, without overflow."""
    largest = float(np.abs(v).max(initial=0.0))
    return largest * float(np.linalg.norm(v / largest)) if 0 < largest < math.inf else largest


def natural_size(x: Floats) -> Floats | float:
    """How far an entry may reasonably move: the leaf's root mean square, or each |x_i| where they span decades.

    1 where the leaf is 0; the median of the others for a zero entry among entries that span more than 1e3.
    """
    size = np.abs(x)
    nonzero = size[size > 0] if (size == 0).any() else size
    if nonzero.size == 0:
        return 1.0
    largest = float(nonzero.max())
    if nonzero.size > 1:
        median = float(np.median(nonzero))
        if largest > 1e3 * median or (median > LONE_SPAN * float(nonzero.min()) and nonzero.size < MANY):
            return np.where(size > 0, size, median)
    return largest * math.sqrt(float(np.mean((x / largest) ** 2)))
