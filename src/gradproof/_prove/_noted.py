"""A slope or an entry as it was measured, kept beside its claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradproof._line import Slope
from gradproof._prove._tolerance import REACH, is_kink

Floats = NDArray[np.float64]


@dataclasses.dataclass(kw_only=True, slots=True)
class Noted:
    """One slope or entry beside its claim; all numbers but `unit` and `size` as they were measured.

    path, entry, output : as in `Comparison`.
    scale : natural size of the slope.
    unit : what the numbers are divided by to be in the user's units.
    slope, column : the ladder, and which output of it; None where there is none.
    size : as in `Ladder`.
    decided : whether the leaf has a verdict: of an undecided one no difference of one-sided slopes is beyond doubt.
    """

    path: str
    entry: tuple[int, ...] | None = None
    output: str
    claimed: float
    value: float
    bar: float
    scale: float
    unit: float = 1.0
    slope: Slope | None = None
    column: int = 0
    size: float = 1.0
    decided: bool = True

    def exceeds(self, rtol: float) -> bool:
        """Whether claim and measurement differ by more than the bar and what is tolerated."""
        return bool(abs(self.value - self.claimed) > self.half_width(rtol) + REACH * rtol * self.scale)

    def half_width(self, rtol: float) -> float:
        """The bar; at a kink, up to the one-sided slopes."""
        jump = self.jump(rtol)
        if not jump or self.slope is None:
            return self.bar
        central, own = float(self.slope.central_bar[self.column]), float(self.slope.jump_bar[self.column])
        return min(self.bar, abs(jump) / 2 + central + own / 2)

    def jump(self, rtol: float) -> float:
        """How far apart the one-sided slopes are where they differ beyond doubt, as `kinked` has it; else 0."""
        slope = self.slope
        if slope is None or slope.side != 0 or not len(slope.h) or not self.decided:
            return 0.0
        jump, bar = float(slope.jump[self.column]), float(slope.jump_bar[self.column])
        return jump if is_kink(jump, bar, REACH * rtol * self.scale) else 0.0


class Named(Protocol):
    """Says of an output, and of an input where that moves alone (else -1), what a slope is of: path, entry, output."""

    def __call__(self, i: int, j: int) -> tuple[str, tuple[int, ...] | None, str]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotedLine:
    """The outputs of a line that deviate most, that with the clearest deviation first; arrays are of these outputs.

    outputs, entry : as `names` takes them.
    slope, column : the ladder of the first of them, as in `Noted`.
    """

    outputs: NDArray[np.intp]
    entry: int
    claimed: Floats
    value: Floats
    bar: Floats
    scale: Floats
    slope: Slope
    column: int
    unit: float
    size: float
    names: Named

    def notes(self) -> Iterator[Noted]:
        """One by one."""
        for k, i in enumerate(self.outputs.tolist()):
            path, entry, output = self.names(i, self.entry)
            yield Noted(
                path=path,
                entry=entry,
                output=output,
                claimed=float(self.claimed[k]),
                value=float(self.value[k]),
                bar=float(self.bar[k]),
                scale=float(self.scale[k]),
                unit=self.unit,
                slope=None if k else self.slope,
                column=self.column,
                size=self.size,
            )


def one_output(slope: Slope, i: int) -> Slope:
    """A slope of one output alone, which keeps nothing of the others."""
    names = ("value", "bar", "central_bar", "jump", "jump_bar", "noise", "quantum", "unit", "f0", "level", "column")
    own = {name: getattr(slope, name)[i : i + 1].copy() for name in names}
    wide = {name: getattr(slope, name)[:, i : i + 1].copy() for name in ("plus", "minus")}
    return dataclasses.replace(slope, **own, **wide, structure=np.zeros((len(slope.h), 1)))
