"""Where a matrix was found to be wrong, marked on its picture."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from gradproof._claims._claimed import Claimed
from gradproof._claims._patterns import Pattern
from gradproof._claims._wording import pattern_place, whole_path
from gradproof._prove import Outcome
from gradproof._prove._collect import Collector
from gradproof._prove._maps import entries_words

Indices = NDArray[np.intp]

# Entries that are named in words.
NAMED = 3


@dataclasses.dataclass(frozen=True)
class _Mark:
    """Wrong entries of the matrix: all of some rows and columns, or pairs of them; and their place in words."""

    rows: Indices
    columns: Indices
    words: str
    paired: bool = False


class Marks:
    """What is to be marked on the picture of a claimed matrix."""

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self.m = claimed.primal.outputs.size
        self._marks: list[_Mark] = []

    def clear(self) -> None:
        """Start anew."""
        self._marks.clear()

    def entries(self, rows: Indices, columns: Indices) -> None:
        """Mark single entries."""
        self._marks.append(_Mark(rows, columns, _entries_words(rows, columns), paired=True))

    def column(self, rows: Indices, j: int) -> None:
        """Mark a column in some rows."""
        self._marks.append(_Mark(rows, np.array([j]), f"column {j}"))

    def row(self, i: int, outcome: Outcome) -> None:
        """Mark the part of a row that its own proof has found wrong."""
        for k, region in outcome.regions.items():
            columns = np.asarray(region.indices(self.claimed.leaves[k]))
            few = _entries_words(np.full(len(columns), i), columns)
            self._marks.append(_Mark(np.array([i]), columns, few if region.place.entries else f"row {i}"))

    def inputs(self, k: int, outcome: Outcome) -> None:
        """Mark the part of a leaf that the proof of a mixture has found wrong, in all rows."""
        region = outcome.regions.get(k)
        if region is not None:
            columns = np.asarray(region.indices(self.claimed.leaves[k]))
            self._marks.append(_Mark(np.arange(self.m), columns, region.words))

    def outputs(self, rows: Indices, leaves: tuple[int, ...], *, everywhere: bool) -> None:
        """Mark some rows of some leaves, and nothing else."""
        words = "everywhere" if everywhere else f"{len(rows)} of {self.m} rows"
        self._marks = [
            _Mark(rows, np.arange(leaf.start, leaf.stop), words)
            for k, leaf in enumerate(self.claimed.leaves)
            if not leaves or k in leaves
        ]

    def pattern(self, cause: Pattern) -> None:
        """Mark what a mistake of the whole matrix has changed, and nothing else."""
        matrix = self.claimed.matrix
        assert matrix is not None
        if cause.corrected is not None:
            rows, columns = np.nonzero(cause.corrected != matrix)
            self._marks = [_Mark(rows, columns, pattern_place(cause), paired=True)]
        else:
            block = None if cause.block is None else self.claimed.leaves[cause.block]
            span = range(self.claimed.columns) if block is None else range(block.start, block.stop)
            self._marks = [_Mark(np.arange(self.m), np.array(span), pattern_place(cause))]

    def draw(self, collector: Collector) -> None:
        """Draw what was noted, if there is a picture."""
        matrix = self.claimed.matrix
        if matrix is None or self.claimed.reduced:
            return
        sketch = collector.sketch(whole_path(self.claimed), matrix)
        for mark in self._marks:
            (sketch.mark_entries if mark.paired else sketch.mark)(mark.rows, mark.columns)
            sketch.words.append(mark.words)
        self._marks.clear()


def _entries_words(rows: Indices, columns: Indices) -> str:
    """Some entries of the matrix in words."""
    return entries_words(zip(rows[:NAMED].tolist(), columns[:NAMED].tolist(), strict=True), len(rows))
