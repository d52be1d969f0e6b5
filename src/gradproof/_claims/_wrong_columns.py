"""Columns of a linear map, each measured along one input alone: the entries of it that are wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove
from gradproof._claims._charge import LinearCharge, Scope
from gradproof._claims._lines import Line
from gradproof._claims._marks import Marks
from gradproof._claims._patterns import simple_factor
from gradproof._claims._scene_lines import SHOWN, SceneLines

Indices = NDArray[np.intp]

# Wrong entries of one column up to which each is told by itself.
APART = 2
# What a column leaves of a factor that explains it, relative to the claim.
LEFT = 1e-4


class WrongColumns:
    """The columns of one scene; what is wrong in them is marked, too."""

    def __init__(self, lines: SceneLines, marks: Marks) -> None:
        self.lines, self.marks = lines, marks
        self.claimed = lines.claimed
        self._rounding = _prove.ROUNDINGS * lines.scene.options.claim_eps
        # Lines along single inputs.
        self._alone: dict[int, Line] = {}

    def find(self, columns: Sequence[int]) -> list[LinearCharge]:
        """Measure whole columns of f', one unit direction each, and name the wrong entries."""
        lines = self.lines
        charges: list[LinearCharge] = []
        wrong: list[tuple[float, int, int, Line]] = []
        count = 0
        self.marks.clear()
        self._alone.clear()
        for j in columns:
            v = np.zeros(len(lines.scene.size))
            v[j] = lines.scene.size[j]
            line = self._alone[j] = lines.measure(v)
            rows = np.flatnonzero(lines.off(line))
            count += len(rows)
            bends = any(lines.sides(int(i), line) is not None for i in rows)
            if self.claimed.matrix is not None and len(rows) > APART and not bends and self._is_column(j, line, rows):
                charges.append(self._column(j, line, rows))
                self.marks.column(rows, j)
            else:
                wrong += [(-float(abs(lines.entry(int(i), line) - line.value[i])), int(i), j, line) for i in rows]
        wrong.sort(key=lambda item: item[0])
        if wrong:
            self.marks.entries(*(np.array([item[axis] for item in wrong], dtype=np.intp) for axis in (1, 2)))
        shown = sorted(wrong[: max(SHOWN - len(charges), 1)], key=lambda item: item[1:3])
        found = [self._entry(i, j, line) for _, i, j, line in shown] + charges[:SHOWN]
        if len(found) < len(wrong) + len(charges):
            found[0] = dataclasses.replace(found[0], count=count)
        return found

    def explain(self, lines: Sequence[Line], rows: Sequence[int]) -> bool:
        """Whether the columns that were measured are all that deviates along some lines, in these rows."""
        for line in lines:
            for i in rows:
                left = float(line.value[i]) - self.lines.entry(i, line)
                allowed = float(line.bar[i]) + float(self.lines.tolerance[i])
                for j, own in self._alone.items():
                    share = float(line.v[j]) / float(own.v[j])
                    left -= share * (float(own.value[i]) - self.lines.entry(i, own))
                    allowed += abs(share) * float(own.bar[i])
                if abs(left) > allowed:
                    return False
        return True

    def _is_column(self, j: int, line: Line, rows: Indices) -> bool:
        """Whether one input is wrong in most outputs, or in all that depend on it."""
        assert self.claimed.matrix is not None
        depend = (self.claimed.matrix[:, j] != 0) | (np.abs(line.value) > line.bar)
        return 2 * len(rows) > self.lines.m or len(rows) == int(depend.sum())

    def _owner(self, j: int) -> int:
        """The leaf that an input belongs to."""
        return next(k for k, leaf in enumerate(self.claimed.leaves) if leaf.start <= j < leaf.stop)

    def _entry(self, i: int, j: int, line: Line) -> LinearCharge:
        step = float(line.v[j])
        claimed, reference = self.lines.entry(i, line) / step, float(line.value[i]) / step
        bar = float(line.bar[i]) / abs(step)
        _, index, _ = self.claimed.place(i, j)
        charge = LinearCharge(
            scope=Scope.ENTRY,
            leaves=(self._owner(j),),
            rows=(i,),
            row=i,
            column=j,
            entries=(index,) if index else (),
            is_part=bool(index),
            claimed=claimed,
            reference=reference,
            error_bar=bar,
        )
        sides = self.lines.sides(i, line)
        if sides is not None:
            low, high = sorted(side / step for side in sides)
            return dataclasses.replace(charge, sides=(low, high), error_bar=(high - low) / 2)
        if self.claimed.pattern is not None and claimed == 0 and not self.claimed.pattern[i, j]:
            return dataclasses.replace(charge, is_undeclared=True)
        factor = simple_factor(claimed, reference, bar, rounding=self._rounding)
        return dataclasses.replace(charge, factor=factor)

    def _column(self, j: int, line: Line, rows: Indices) -> LinearCharge:
        assert self.claimed.matrix is not None
        claimed = self.claimed.matrix @ line.v
        i = int(rows[np.argmax(np.abs(claimed - line.value)[rows])])
        slope, bar = float(line.value[i]), float(line.bar[i])
        factor = simple_factor(float(claimed[i]), slope, bar, rounding=self._rounding)
        if factor is not None:
            allowed = (1 + abs(factor)) * line.bar + LEFT * np.abs(claimed)
            factor = None if (np.abs(claimed - factor * line.value) > allowed).any() else factor
        step = float(line.v[j])
        return LinearCharge(
            scope=Scope.COLUMN,
            leaves=(self._owner(j),),
            rows=tuple(rows.tolist()),
            row=i,
            column=j,
            is_part=True,
            factor=factor,
            claimed=float(claimed[i]) / step,
            reference=slope / step,
            error_bar=bar / abs(step),
        )
