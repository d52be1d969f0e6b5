"""Lines along which jumps of f were looked for in vain, and what they say of other lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from gradproof._line import Shape, ShapeKind, Slope, shape_near
from gradproof._prove._directions import Direction

# Wrong entries along which jumps of f are looked for in vain before others are believed to be wrong without; and how
# many times as large a share of its slope a deviation may be along a line that was looked along as along another.
WALKS, WALKED = 2, 2.0


@dataclasses.dataclass
class Walks:
    """The lines, the deviation along each as a share of its scale, and whether jumps were looked for far out."""

    made: list[tuple[Direction, float, bool]] = dataclasses.field(default_factory=list[tuple[Direction, float, bool]])

    def shape(
        self, line: Direction, deviation: float, scale: float, slope: Slope, *, far: bool
    ) -> Generator[NDArray[np.float64], NDArray[np.float64], Shape]:
        """Judge whether f is smooth enough for a deviation to be the claim's fault; no walk goes where one tells."""
        share = deviation / max(scale, 1e-300)
        walks = not self.tell(line, share, far=far)
        f0, noise = float(slope.f0[0]), float(slope.noise[0])
        shape = yield from shape_near(deviation, f0, noise, far=far, walks=walks)
        if walks and shape.kind is ShapeKind.SMOOTH:
            self.made.append((line, share, far))
        return shape

    def tell(self, line: Direction, share: float, *, far: bool) -> bool:
        """Whether jumps that explain a deviation have been looked for in vain: along all its arrays, or some entries.

        A solver that stops early jumps along every line through what it depends on, and makes a sawtooth of f along
        every entry: jumps that would explain so large a share of the slope elsewhere had shown.
        """
        seen = [one for one, its_share, was_far in self.made if (was_far or not far) and its_share <= WALKED * share]
        if line.entry >= 0:
            return sum(one.entry >= 0 for one in seen) >= WALKS
        return any(one.entry < 0 and not one.parts and {*line.group} <= {*one.group} for one in seen)
