"""Errors of one tensor by region: the whole, its rows, slices along each axis, blocks of these, single entries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._ratio import freedom, scatter

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Box = tuple[tuple[int, int], ...]

# The smallest block of indices along an axis; larger ones are its doublings.
BLOCK = 4
# Wrong entries that are named one by one.
NAMED = 6
# Indices are said as a range where at least this share of it is wrong.
FILLED = 0.75
WHOLE, ENTRIES, ROWS = "whole", "entries", "rows"


@dataclasses.dataclass(frozen=True)
class Kind:
    """Regions of one kind, the errors of the kernel and of the reference in each of them, draw by draw.

    name : "whole", "rows", "axis 0", "axis 0 by 16", ...
    ours, theirs : (draws, regions)
    floor : (regions,) what rounding the result alone makes, in one draw.
    sizes : (regions,) entries of each.
    """

    name: str
    ours: Floats
    theirs: Floats
    floor: Floats
    sizes: Floats


class Tally:
    """Squared errors of one tensor over several draws.

    Parameters
    ----------
    shape : tuple of int
    unit : float
        Unit roundoff of what it is computed in.
    tiny : float
        The smallest positive number of its dtype, whose half is the rounding error near 0.
    """

    def __init__(self, shape: Sequence[int], unit: float, tiny: float) -> None:
        self.shape = tuple(shape)
        self.unit, self._tiny = unit, tiny
        self.draws = 0
        zeros = np.zeros(self.shape)
        # Sums over draws: squares of truth, of kernel, their product, squared errors of kernel and reference, floor.
        self.truth2, self.kernel2, self.product = zeros.copy(), zeros.copy(), zeros.copy()
        self.ours, self.theirs, self.floor = zeros.copy(), zeros.copy(), zeros.copy()
        self.norms: list[tuple[float, float]] = []
        self._sums: dict[str, list[tuple[Floats, Floats]]] = {}
        # Entries where the kernel alone has no number; where the truth has none; where all but the truth overflow.
        self.lost, self.undefined, self.overflown = (np.zeros(self.shape, dtype=bool) for _ in range(3))

    def add(self, truth: Floats, baseline: Floats, kernel: Floats) -> None:
        """Add what one draw has shown."""
        self.draws += 1
        known, same = np.isfinite(truth), np.isfinite(baseline)
        is_number = np.isfinite(kernel)
        self.lost |= known & same & ~is_number
        with np.errstate(invalid="ignore"):
            self.undefined |= ~known & ~((kernel == truth) | (np.isnan(kernel) & np.isnan(truth)))
        self.overflown |= known & ~same & ~is_number
        usable = known & is_number
        truth, kernel = np.where(usable, truth, 0.0), np.where(usable, kernel, 0.0)
        ours = (kernel - truth) ** 2
        theirs = np.where(usable & same, baseline - truth, 0.0) ** 2
        floor = self.rounding(truth)
        for total, new in (
            (self.truth2, truth**2),
            (self.kernel2, kernel**2),
            (self.product, kernel * truth),
            (self.ours, ours),
            (self.theirs, theirs),
            (self.floor, floor),
        ):
            total += new
        self.norms.append((float(ours.sum()), float((truth**2).sum())))
        for name, axes in self._marginals():
            pair = ours.sum(axis=axes).ravel(), theirs.sum(axis=axes).ravel()
            self._sums.setdefault(name, []).append(pair)

    def rounding(self, truth: Floats) -> Floats:
        """The mean square of one rounding of each entry, or of a typical one of its row or column.

        A result near 0 is the difference of terms as large as its neighbours, and errs as they do. In a binade the
        rounding error has the mean square ``(2 unit 2**e)**2 / 12``, so ``unit**2 x**2 / 3`` is no less.
        """
        squares = truth**2
        if truth.ndim >= 2 and truth.size:
            rows = squares.mean(axis=-1, keepdims=True)
            columns = squares.mean(axis=tuple(range(truth.ndim - 1)), keepdims=True)
            squares = np.maximum(squares, np.minimum(rows, columns))
        return (self.unit**2 * squares + (self._tiny / 2) ** 2 * (squares > 0)) / 3

    def _marginals(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The sums that are kept draw by draw, and the axes that each is over."""
        every = tuple(range(len(self.shape)))
        yield WHOLE, every
        if len(every) >= 3:
            yield ROWS, every[-1:]
        if every:
            yield from ((f"axis {axis}", tuple(one for one in every if one != axis)) for axis in every)

    def kinds(self) -> Iterator[Kind]:
        """Every kind of region but single entries."""
        size = math.prod(self.shape)
        for name, axes in self._marginals():
            ours, theirs = (np.stack(column) for column in zip(*self._sums[name], strict=True))
            floor = self.floor.sum(axis=axes).ravel() / self.draws
            sizes = np.full(len(floor), size / max(len(floor), 1))
            if name == "axis 0" and len(self.shape) == 1:
                pass  # single entries, of which only blocks are looked at here
            else:
                yield Kind(name, ours, theirs, floor, sizes)
            if not name.startswith("axis"):
                continue
            length, block = len(floor), BLOCK
            while block < length:
                starts = np.arange(0, length, block)
                parts = (np.add.reduceat(one, starts, axis=-1) for one in (ours, theirs, floor, sizes))
                yield Kind(f"{name} by {block}", *parts)
                block *= 2

    def count(self) -> int:
        """How many regions are looked at."""
        return sum(len(kind.sizes) for kind in self.kinds()) + math.prod(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looked:
    """What the regions of a tensor have shown.

    Attributes
    ----------
    failing : mapping of str to ndarray of bool
        Which regions of each kind err too much; those of single entries have the tensor's shape.
    ratio : float
        The error of the kernel in units of that of the reference: of the whole, or of the worst region that fails.
    noticeable : float
        The smallest error of a single entry that would have been noticed anywhere, relative to a typical entry.
    """

    failing: dict[str, Bools]
    ratio: float
    noticeable: float | None

    @property
    def is_wrong(self) -> bool:
        """Whether any region fails."""
        return any(bool(each.any()) for each in self.failing.values())


def look(tally: Tally, allowed: float, chance: float) -> Looked:
    """Hold all regions of a tensor against what its reference explains.

    Parameters
    ----------
    tally : Tally
    allowed : float
        Of `allowed_ratio`.
    chance : float
        The probability that a right kernel fails anywhere in this tensor, shared out over its regions.
    """
    size = math.prod(tally.shape)
    if not size or not tally.draws:
        return Looked(failing={}, ratio=0.0, noticeable=None)
    share = chance / tally.count()
    failing: dict[str, Bools] = {}
    ratios: list[float] = []
    for kind in tally.kinds():
        ours, theirs = kind.ours.sum(axis=0), kind.theirs.sum(axis=0)
        apart = scatter(freedom(kind.ours, kind.sizes), freedom(kind.theirs, kind.sizes), share)
        failing[kind.name], ratio, _ = _held(ours, theirs, kind.floor * tally.draws, allowed, apart, kind.name)
        ratios.append(ratio)
    one = np.array([float(tally.draws)])
    each = scatter(one, one, share)
    failing[ENTRIES], ratio, limit = _held(tally.ours, tally.theirs, tally.floor, allowed, each, ENTRIES)
    whole, ratios = ratios[0], [*ratios[1:], ratio]
    is_wrong = any(bool(found.any()) for found in failing.values())
    typical = math.sqrt(float(tally.truth2.mean()))
    return Looked(
        failing=failing,
        ratio=max([whole, *ratios]) if is_wrong else whole,
        noticeable=math.sqrt(float(np.max(limit))) / typical if typical else None,
    )


def _held(
    ours: Floats, theirs: Floats, floor: Floats, allowed: float, apart: Floats, name: str
) -> tuple[Bools, float, Floats]:
    """Which regions of a kind err too much, the ratio of the worst of them (of the whole: its own), and the limits.

    No region is accused while the reference errs as much, for its size, in another one of its kind: where rounding
    turns a comparison round (the sign under a ReLU), it does so at other entries in each implementation.
    """
    shape = ours.shape
    ours, theirs, floor = (np.atleast_1d(one) for one in (ours, theirs, floor))
    base = np.maximum(theirs, floor)
    limit = apart * base
    if name != WHOLE:
        relative = theirs[floor > 0] / floor[floor > 0]
        limit = np.maximum(limit, float(relative.max(initial=0.0)) * floor)
    limit = allowed**2 * limit
    fails = ours > limit
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(ours / base)
    shown = ratio if name == WHOLE else ratio[fails]
    worst = float(np.max(shown[~np.isnan(shown)], initial=0.0))
    return fails.reshape(shape), worst, limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Where:
    """The part of a tensor that is wrong: single entries, or a box along the axes, or rows that lie apart.

    Attributes
    ----------
    box : tuple of (int, int)
        A range for each axis.
    entries : tuple of tuple of int
        Wrong entries, where they are few and everything else is right.
    indices : mapping of int to tuple of int
        Along an axis whose wrong indices lie apart: all of them.
    """

    box: Box
    entries: tuple[tuple[int, ...], ...] = ()
    indices: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict[int, tuple[int, ...]])

    def within(self) -> tuple[slice, ...]:
        """The box as an index."""
        return tuple(slice(low, high) for low, high in self.box)

    def marks(self, shape: Sequence[int]) -> Bools:
        """Which entries it is."""
        found = np.zeros(tuple(shape), dtype=bool)
        if self.entries:
            found[tuple(np.array(self.entries).T)] = True
            return found
        found[self.within()] = True
        for axis, indices in self.indices.items():
            kept = np.zeros(shape[axis], dtype=bool)
            kept[list(indices)] = True
            found &= kept.reshape([-1 if one == axis else 1 for one in range(len(shape))])
        return found


def locate(looked: Looked, tally: Tally) -> Where:
    """Say where a tensor is wrong, from the regions that fail.

    A wrong entry makes the slices that it lies in fail, one along each axis, and no others: the indices of failing
    slices, rows and entries along an axis are those of what is wrong. Where truth and kernel are both zero, nothing
    could be: what is wrong everywhere else is wrong everywhere.
    """
    shape = tally.shape
    if not shape:
        return Where(box=())
    entries = looked.failing[ENTRIES]
    marked = [tuple(int(i) for i in one) for one in np.argwhere(entries)[: NAMED + 1]]
    wrong = [_along(looked, shape, axis) for axis in range(len(shape))]
    box: list[tuple[int, int]] = []
    apart: dict[int, tuple[int, ...]] = {}
    for axis, indices in enumerate(wrong):
        idle = _idle(tally, axis)
        found = np.flatnonzero(indices | idle if (indices | idle).all() else indices)
        low, high = int(found[0]), int(found[-1]) + 1
        box.append((low, high))
        if len(found) < FILLED * (high - low):
            apart[axis] = tuple(found.tolist())
    where = Where(box=tuple(box), indices=apart)
    if 0 < len(marked) <= NAMED and len(marked) >= FILLED * where.marks(shape).sum() and len(marked) < math.prod(shape):
        return Where(box=where.box, entries=tuple(marked))
    if apart and all(len(one) > NAMED for one in apart.values()):
        return Where(box=where.box)
    return where


def _idle(tally: Tally, axis: int) -> Bools:
    """Indices along an axis at which kernel and truth are no more than rounding beside the others."""
    others = tuple(one for one in range(len(tally.shape)) if one != axis)
    size = (tally.truth2 + tally.kernel2).mean(axis=others)
    return size <= tally.unit**2 * size.max()


def _along(looked: Looked, shape: tuple[int, ...], axis: int) -> Bools:
    """Which indices along an axis are wrong; all where nothing tells."""
    others = tuple(one for one in range(len(shape)) if one != axis)
    found: Bools = np.array(looked.failing[ENTRIES].any(axis=others))
    slices = looked.failing.get(f"axis {axis}")
    if slices is not None:
        found |= slices
    rows = looked.failing.get(ROWS)
    if rows is not None and axis < len(shape) - 1:
        found |= rows.reshape(shape[:-1]).any(axis=tuple(one for one in others if one < len(shape) - 1))
    if found.any():
        return found
    block = BLOCK
    while block < shape[axis]:
        blocks = looked.failing[f"axis {axis} by {block}"]
        if blocks.any():
            return np.repeat(blocks, block)[: shape[axis]]
        block *= 2
    return np.ones(shape[axis], dtype=bool)
