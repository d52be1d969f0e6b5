"""Where a leaf, or a matrix, is wrong: as structure, and as the cells of a picture."""

from __future__ import annotations

import dataclasses
import itertools as it
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf
from gradproof._prove._charge import Place
from gradproof._prove._directions import Directions
from gradproof._prove._measure import Residual
from gradproof._prove._wording import FEW, few_words
from gradproof._report._evidence import Comparison, TensorMap

Floats = NDArray[np.float64]
Indices = range | NDArray[np.intp]

# Cells along each side of a picture at most, and digits of what is shown by a shade.
CELLS, DIGITS = 64, 3
# The longest side of an array that is shown entry by entry: a cap.
SIDE = 6
# An entry that is off by less than this share of itself, or of the largest one, is not marked: it may be rounding.
MARKED, MARKED_BESIDE = 1e-6, 1e-10
# Places that are named beside it.
NAMED = 4


def entries_words(indices: Iterable[Sequence[int]], count: int) -> str:
    """The first of `count` entries, and how many more there are."""
    return few_words([str(list(index)) for index in it.islice(indices, FEW)], count)


@dataclasses.dataclass(frozen=True)
class Region:
    """The wrong part of a leaf.

    words : the place as a finding says it.
    deviation : |claimed - reference| of every entry, where each was measured.
    entries : the residuals of all entries of a small leaf, each along its own step, where each was measured.
    """

    place: Place
    words: str
    deviation: Floats | None = None
    entries: tuple[Residual, ...] = ()

    def indices(self, leaf: Leaf) -> Indices:
        """Flat indices of the wrong entries."""
        if self.place.entries:
            return np.array([entry.index for entry in self.place.entries], dtype=np.intp)
        if not self.place.box:
            return range(leaf.start, leaf.stop)
        return leaf.start + _within(self.place.box, leaf.shape)


class Sketch:
    """A tensor of so many rows and columns, in blocks, with marks on what is wrong."""

    def __init__(self, path: str, shape: Sequence[int]) -> None:
        self.path = path
        self.shape = tuple(shape)
        self.columns = self.shape[-1] if self.shape else 1
        self.rows = math.prod(self.shape[:-1])
        self._blocks = tuple(-(-length // CELLS) for length in (self.rows, self.columns))
        cells = [-(-length // block) for length, block in zip((self.rows, self.columns), self._blocks, strict=True)]
        self._marks: Floats = np.zeros((cells[0], cells[1]))
        self.words: list[str] = []

    def mark(self, rows: Indices, columns: Indices) -> None:
        """Mark all entries of some rows and columns."""
        self._marks += np.outer(self._count(rows, 0), self._count(columns, 1))

    def mark_entries(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        """Mark some entries, given one by one."""
        np.add.at(self._marks, (rows // self._blocks[0], columns // self._blocks[1]), 1.0)

    def mark_region(self, region: Region, start: int = 0) -> None:
        """Mark the wrong part of a leaf that starts at this index of the flat vectors."""
        place = region.place
        self.words.append(region.words)
        if place.entries:
            offsets = np.array([entry.index - start for entry in place.entries], dtype=np.intp)
            self.mark_entries(offsets // self.columns, offsets % self.columns)
        elif place.box:
            self.mark(_within(place.box[:-1], self.shape[:-1]), range(*place.box[-1]))
        else:
            self.mark_all()

    def mark_all(self) -> None:
        """Mark every entry."""
        self._marks[:] = math.inf

    def picture(self, claim: Floats, deviation: Floats | None = None, unit: float = 1.0) -> TensorMap:
        """The map of a claim of `unit` times its true size; each entry marked is counted once."""
        whole = np.asarray(claim).reshape(self.rows, self.columns)
        off = () if deviation is None else _rounded(self._largest(deviation.reshape(whole.shape)) / unit)
        places = list(dict.fromkeys(word for word in self.words if word))
        return TensorMap(
            path=self.path,
            shape=self.shape,
            rows=self.rows,
            columns=self.columns,
            claimed=_rounded(self._typical(whole) / unit),
            deviation=off,
            wrong=_rounded(self._shares()),
            place=few_words(places[:NAMED], len(places)),
        )

    def _shares(self) -> Floats:
        """Share of the entries of every cell that are marked."""
        if self._blocks == (1, 1):
            return np.asarray(np.minimum(self._marks, 1.0))
        sizes = np.outer(self._count(range(self.rows), 0), self._count(range(self.columns), 1))
        return np.asarray(np.minimum(self._marks / sizes, 1.0))

    def _count(self, indices: Indices, axis: int) -> Floats:
        """How many of some indices along an axis fall into each block."""
        block, cells = self._blocks[axis], self._marks.shape[axis]
        length = self.columns if axis else self.rows
        if isinstance(indices, range):
            edges = np.array([min(block * k, length) for k in range(cells + 1)])
            return np.diff(np.clip(edges, indices.start, indices.stop)).astype(np.float64)
        return np.bincount(indices // block, minlength=cells).astype(np.float64)

    def _typical(self, whole: Floats) -> Floats:
        """Root mean square of every cell."""
        if self._blocks == (1, 1):
            return np.abs(whole)
        found = np.empty(self._marks.shape)
        for (i, j), part in self._parts(whole):
            found[i, j] = math.sqrt(float(np.einsum("ij,ij->", part, part)) / part.size)
            if found[i, j] == 0 or not math.isfinite(found[i, j]):
                found[i, j] = float(np.max(np.abs(part)))  # its square is no number
        return found

    def _largest(self, whole: Floats) -> Floats:
        """The largest of every cell."""
        if self._blocks == (1, 1):
            return whole
        found = np.empty(self._marks.shape)
        for (i, j), part in self._parts(whole):
            found[i, j] = float(part.max())
        return found

    def _parts(self, whole: Floats) -> Iterator[tuple[tuple[int, int], Floats]]:
        height, width = self._blocks
        for i, j in it.product(*map(range, self._marks.shape)):
            yield (i, j), whole[i * height : (i + 1) * height, j * width : (j + 1) * width]


def _within(box: Sequence[tuple[int, int]], shape: Sequence[int]) -> NDArray[np.intp]:
    """Flat indices of a box."""
    found = np.zeros(1, dtype=np.intp)
    for (low, high), length in zip(box, shape, strict=True):
        found = (found[:, None] * length + np.arange(low, high)).ravel()
    return found


def leaf_map(leaf: Leaf, claim: Floats, region: Region, unit: float = 1.0) -> TensorMap:
    """The map of one leaf with a wrong region."""
    sketch = Sketch(leaf.path, leaf.shape)
    sketch.mark_region(region, leaf.start)
    return sketch.picture(claim[leaf.start : leaf.stop], region.deviation, unit)


def fits(shape: Sequence[int]) -> bool:
    """Whether an array is small enough to be shown entry by entry."""
    return 1 <= len(shape) <= 2 and math.prod(shape) > 1 and max(shape) <= SIDE


def entries_of(leaf: Leaf, directions: Directions, residuals: Sequence[Residual]) -> tuple[Comparison, ...]:
    """Every entry of a leaf as claimed and as measured, in the user's units."""
    found: list[Comparison] = []
    part = directions.claim[leaf.start : leaf.stop]
    least = MARKED_BESIDE * float(np.max(np.abs(part), initial=0.0)) / directions.unit
    for offset, residual in enumerate(residuals):
        claimed = float(directions.claim[leaf.start + offset]) / directions.unit
        step = directions.unit * directions.entry_size(leaf.start + offset)
        value, bar = (residual.value / step, residual.bar / abs(step)) if step else (0.0, 0.0)
        size = max(abs(claimed), abs(claimed + value))
        found.append(
            Comparison(
                path=leaf.path,
                entry=tuple(int(i) for i in np.unravel_index(offset, leaf.shape)),
                claimed=claimed,
                reference=claimed + value,
                error_bar=bar,
                against=bool(residual.clear and abs(value) > max(MARKED * size, least)),
            )
        )
    return tuple(found)


def _rounded(cells: Floats) -> tuple[tuple[float, ...], ...]:
    """Numbers that need not be told apart by more than a shade."""
    return tuple(tuple(float(f"{value:.{DIGITS}g}") for value in row) for row in cells.tolist())
