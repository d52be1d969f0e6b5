"""Slopes of all outputs along the lines that tell where a claim is wrong, and which outputs deviate along them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradproof._claims._cotangents import STREAM, held
from gradproof._claims._lines import Line, Lines
from gradproof._claims._proved import is_zero
from gradproof._claims._scene import Scene
from gradproof._prove import Direction, Directions
from gradproof._prove._tolerance import REACH, RTOL64, is_kink

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Outputs that are looked for one by one where only products are known; how many products that may take.
SHOWN, ASKED = 20, 320


class SceneLines:
    """Lines through a scene; `u` is the cotangent whose proof has failed.

    Attributes
    ----------
    seen : list of Line
        Those through all leaves, so far.
    wrong : ndarray of int
        The outputs that deviate along them.
    tolerance : ndarray (m,)
        What each output may deviate by.
    says_zero : bool
        Whether some slope of f that excludes the claim is 0, as far as it is measured.
    """

    def __init__(self, scene: Scene, u: Vector) -> None:
        self.scene, self.claimed, self.u = scene, scene.claimed, u
        self.m = self.claimed.primal.outputs.size
        self.seen: list[Line] = []
        self.wrong = np.zeros(0, dtype=np.intp)
        self.says_zero = False
        self.lines = Lines(
            scene.claimed,
            eps=scene.eps,
            seed=scene.options.seed,
            around=scene.around,
            collector=scene.options.collector,
            samples=scene.samples,
        )
        self.problem = self.lines.problem
        # A row that is claimed to be zero is measured by the size of its output.
        values = np.abs(self.claimed.primal.output_values())
        self.tolerance = REACH * max(scene.rtol, RTOL64) * np.where(scene.rows > 0, scene.rows, values)

    def first(self) -> Line:
        """A line through all leaves: that of the proof, whose values are known, if there is one."""
        if self.scene.looked is None:
            return self.measure(self.random(0))
        return self.lines.again(self.scene.looked[0], self.scene.rows, self.scene.looked[1])

    def second(self) -> Line:
        """Another line through all leaves: one that was measured before, if there is one."""
        return self.scene.against or self.measure(self.random(1))

    def look(self, line: Line) -> None:
        """Note which outputs deviate along a line."""
        self.seen.append(line)
        self.wrong = np.union1d(self.wrong, np.flatnonzero(self.off(line)))

    def random(self, k: int) -> Vector:
        """A direction through all leaves; each contributes alike as far as the claim tells."""
        zero = np.zeros(len(self.problem.point))
        seed, lower, upper = self.scene.options.seed, self.lines.lower, self.lines.upper
        directions = Directions(self.problem.leaves, self.problem.point, zero, seed, lower, upper)
        group = tuple(range(len(self.problem.leaves)))
        scales = [1.0] * len(group)
        if self.claimed.matrix is not None:
            scaled = self.claimed.matrix * self.scene.size
            norms = [float(np.linalg.norm(scaled[:, leaf.start : leaf.stop])) for leaf in self.problem.leaves]
            least = min((norm for norm in norms if norm > 1e-3 * max(norms)), default=1.0)
            scales = [min(1.0, least / norm) if norm > 0 else 1.0 for norm in norms]
        return directions.vector(Direction(STREAM + 8 + k, group, tuple(scales))).copy()

    def measure(self, v: Vector) -> Line:
        return self.lines.measure(v, self.scene.rows)

    def off(self, line: Line) -> Mask:
        """Outputs whose slope along a line the claim does not have."""
        if line.claimed is not None:
            with np.errstate(invalid="ignore"):
                off = line.deviation > line.bar + self.tolerance
        else:
            off = self._halve(line)
        self.says_zero |= any(is_zero(float(line.value[i]), float(line.bar[i])) for i in np.flatnonzero(off))
        return off

    def _halve(self, line: Line) -> Mask:
        """The same where only J^T u can be had: halve the outputs until single ones are left, at most `SHOWN`."""
        off = np.zeros(self.m, dtype=bool)
        signs = np.where(self.u < 0, -1.0, 1.0) / np.where(self.scene.rows > 0, self.scene.rows, 1.0)
        signs = held(signs, self.claimed.primal.outputs.leaves)
        usable = np.flatnonzero(np.isfinite(line.bar) & np.isfinite(line.value))
        todo = [usable]
        asked = 0
        while todo and off.sum() < SHOWN and asked < ASKED:
            part = todo.pop()
            if not len(part):
                continue
            weights = np.zeros(self.m)
            weights[part] = signs[part]
            weights = self.claimed.primal.outputs.rounded(weights)
            asked += 1
            residual = float(weights[part] @ line.value[part]) - float(self.claimed.pull(weights) @ line.v)
            allowed = float(np.abs(weights[part]) @ (line.bar[part]))
            allowed += float(np.linalg.norm(weights[part] * self.tolerance[part]))
            if abs(residual) <= allowed:
                continue
            if len(part) == 1:
                off[part] = True
            else:
                todo += [part[: len(part) // 2], part[len(part) // 2 :]]
        return off

    def entry(self, i: int, line: Line) -> float:
        """Claimed slope of output i along a line."""
        if self.claimed.matrix is not None:
            return float(self.claimed.matrix[i] @ line.v)
        return float(self.claimed.pull(unit(self.m, i)) @ line.v)

    def sides(self, i: int, line: Line) -> tuple[float, float] | None:
        """The one-sided slopes of an output along a line, where it has a kink at the point; else None."""
        found = line.slope
        jump = float(found.jump[i])
        if found.side or not is_kink(jump, float(found.jump_bar[i]), float(self.tolerance[i])):
            return None
        return float(line.value[i]) - jump / 2, float(line.value[i]) + jump / 2


def kinked(scene: Scene) -> list[int]:
    """Outputs that have a kink along the line that a proof has looked along, whose values are known; else none."""
    if scene.looked is None:
        return []
    lines = SceneLines(scene, np.zeros(scene.claimed.primal.outputs.size))
    line = lines.first()
    return [i for i in range(lines.m) if lines.sides(i, line) is not None]


def unit(count: int, i: int) -> Vector:
    u = np.zeros(count)
    u[i] = 1.0
    return u
