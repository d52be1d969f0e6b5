"""What was measured on the way, kept for the reader of a report: see `gradproof._report._evidence`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._line import Slope
from gradproof._prove._directions import Direction, Directions
from gradproof._prove._maps import Region, Sketch, entries_of, leaf_map
from gradproof._prove._measure import KEPT, Meter
from gradproof._prove._noted import Named, Noted, NotedLine, one_output
from gradproof._prove._thin_out import AGAINST, COMPARISONS, LADDERS, comparisons, ladders
from gradproof._prove._tolerance import RTOL64, RTOL64_BALANCED
from gradproof._report import Finding, LeafResult, Verdict
from gradproof._report._evidence import Comparison, Evidence, Ladder, TensorMap

Floats = NDArray[np.float64]

# Maps that are shown.
MAPS = 8
# Lines of a function with several outputs that are kept, and outputs of each; and more where these may be wrong.
LINES, OUTPUTS = 2, 4
MORE_LINES, MORE_OUTPUTS = 24, 12
# Values of a line of which all outputs are kept: it is faster than to pick one.
SMALL = 4096
# What several outputs together are called.
MIX = "a mix of outputs"
# What is tolerated along a balanced direction, compared with others.
BALANCED = RTOL64_BALANCED / RTOL64


class Collector:
    """Remembers slopes of one claim, a bounded number of them, and makes `Evidence` of them."""

    def __init__(self) -> None:
        self._noted: list[Noted] = []
        self._lines: list[NotedLine] = []
        self._sketches: dict[str, tuple[Sketch, Floats]] = {}
        self._maps: list[TensorMap] = []

    def note(self, one: Noted) -> None:
        """Remember a slope or an entry; of very many only those that may speak against the claim."""
        count = len(self._noted)
        if one.unit == 0:
            return  # an entry that cannot move
        if count < KEPT or (count < 2 * KEPT and abs(one.value - one.claimed) > one.bar):
            self._noted.append(one)

    def line(
        self, v: Floats, claimed: Floats, value: Floats, bar: Floats, scale: Floats, slope: Slope, names: Named
    ) -> None:
        """Remember slopes of all outputs (m,) along v: the first lines, and of later ones what may be wrong."""
        if len(self._lines) >= LINES + MORE_LINES or not len(slope.h):
            return
        with np.errstate(invalid="ignore"):
            contrast = np.abs(value - claimed) / np.maximum(bar, 1e-300)
            contrast[~(contrast >= 0)] = -1.0
        seen = int(np.count_nonzero(contrast > 1))
        if len(self._lines) >= LINES and not seen:
            return
        few = _largest(contrast, min(max(seen, OUTPUTS), MORE_OUTPUTS))
        column = int(few[0])
        if slope.plus.size > SMALL:
            slope, column = one_output(slope, column), 0
        moving = np.flatnonzero(v)
        entry = int(moving[0]) if len(moving) == 1 else -1
        self._lines.append(
            NotedLine(
                outputs=few,
                entry=entry,
                claimed=claimed[few],
                value=value[few],
                bar=bar[few],
                scale=scale[few],
                slope=slope,
                column=column,
                unit=float(v[entry]) if entry >= 0 else 1.0,
                size=float(np.linalg.norm(v)) / math.sqrt(max(len(moving), 1)),
                names=names,
            )
        )

    def sketch(self, path: str, matrix: Floats) -> Sketch:
        """Return the sketch of a claimed matrix, on which to mark what is wrong."""
        if path not in self._sketches:
            self._sketches[path] = Sketch(path, matrix.shape), matrix
        return self._sketches[path][0]

    def take(self, meter: Meter, output: str = "") -> None:
        """Remember the slopes of a scalar proof; `output` is what it is of, where f has several."""
        directions = meter.directions
        sizes: dict[tuple[object, ...], float] = {}
        for one in meter.slopes:
            direction = one.direction
            # Most move the same leaves by as much.
            key = (direction.group, direction.scales, direction.entry)
            if key not in sizes:
                sizes[key] = _size(directions, direction)
            size, slope = sizes[key], one.slope
            self.note(_noted(directions, direction, output, one.claimed, one.value, one.bar, one.scale, slope, size))
        for direction, pair, scale in meter.pairs:
            self.note(_noted(directions, direction, output, pair.claimed, pair.claimed + pair.value, pair.bar, scale))

    def draw(self, regions: Mapping[int, Region], directions: Directions) -> None:
        """Remember leaves as maps, given the wrong part of each."""
        for index, region in list(regions.items())[:MAPS]:
            leaf = directions.leaves[index]
            drawn = leaf_map(leaf, directions.claim, region, directions.unit)
            self.picture(dataclasses.replace(drawn, entries=entries_of(leaf, directions, region.entries)))

    def picture(self, tensor: TensorMap) -> None:
        """Remember a map."""
        if len(self._maps) < MAPS:
            self._maps.append(tensor)

    def evidence(
        self, verdict: Verdict, leaves: Sequence[LeafResult], findings: Sequence[Finding], rtol: float
    ) -> Evidence:
        """What was remembered, thinned out, and forget it.

        A deviation that was not borne out when it was measured again is left out where the claim is not WRONG.
        """
        verdicts = {leaf.path: leaf.verdict for leaf in leaves}
        kept: list[tuple[Noted, bool]] = []
        lines = [one for line in self._lines for one in line.notes()]
        for one in (*lines, *self._noted):
            verdict_here = verdicts.get(one.path, verdict)
            one.decided = verdict_here is not Verdict.INCONCLUSIVE
            exceeds = one.exceeds(rtol)
            if not exceeds or verdict_here in (Verdict.WRONG, Verdict.INCONCLUSIVE):
                kept.append((one, exceeds and verdict_here is Verdict.WRONG))
        drawn = [sketch.picture(matrix) for sketch, matrix in self._sketches.values()]
        maps = (*drawn, *self._maps)[:MAPS]
        self._noted, self._lines, self._sketches, self._maps = [], [], {}, []
        return Evidence(
            comparisons=comparisons(kept, findings, rtol),
            ladders=ladders(kept, verdict, findings, rtol),
            maps=maps,
        )


def _noted(
    directions: Directions,
    direction: Direction,
    output: str,
    claimed: float,
    value: float,
    bar: float,
    scale: float,
    slope: Slope | None = None,
    size: float = 1.0,
) -> Noted:
    entry, unit = None, directions.unit
    if direction.entry >= 0:
        unit *= directions.entry_size(direction.entry)
        entry = _index(directions, direction)
    return Noted(
        path=directions.leaves[direction.group[0]].path if len(direction.group) == 1 else "",
        entry=entry,
        output=output,
        claimed=claimed,
        value=value,
        bar=bar,
        scale=scale * (BALANCED if direction.floor else 1.0),
        unit=unit,
        slope=slope,
        size=size,
    )


def merged(parts: Sequence[tuple[str, Evidence]]) -> Evidence:
    """The evidence of several claims as one; paths of a part with a label name it."""
    if len(parts) == 1:
        return parts[0][1]
    compared: list[Comparison] = []
    climbed: list[Ladder] = []
    maps: list[TensorMap] = []
    for label, part in parts:
        suffix = f" ({label})" if label else ""
        compared += [dataclasses.replace(one, path=one.path + suffix) for one in part.comparisons]
        climbed += [dataclasses.replace(one, path=one.path + suffix) for one in part.ladders]
        maps += [dataclasses.replace(one, path=one.path + suffix) for one in part.maps]
    compared.sort(key=lambda one: not one.against)
    climbed.sort(key=lambda one: not one.against)
    against = sum(one.against for one in compared)
    return Evidence(
        comparisons=tuple(compared[: max(min(against, AGAINST), COMPARISONS)]),
        ladders=tuple(climbed[:LADDERS]),
        maps=tuple(maps[:MAPS]),
    )


def _largest(numbers: Floats, count: int) -> NDArray[np.intp]:
    """Places of the largest numbers, the largest first."""
    if len(numbers) <= SMALL:
        return np.argsort(-numbers, kind="stable")[:count]
    some = np.argpartition(-numbers, count)[:count]
    return some[np.argsort(-numbers[some], kind="stable")]


def _index(directions: Directions, direction: Direction) -> tuple[int, ...]:
    leaf = directions.leaves[direction.group[0]]
    return tuple(int(i) for i in np.unravel_index(direction.entry - leaf.start, leaf.shape)) if leaf.shape else ()


def _size(directions: Directions, direction: Direction) -> float:
    """Root mean square of how far an entry moves at step 1, by and large."""
    if direction.entry >= 0:
        return abs(directions.entry_size(direction.entry))
    square = count = 0.0
    for index, scale in zip(direction.group, direction.scales, strict=True):
        leaf = directions.leaves[index]
        some = directions.natural[leaf.start : min(leaf.stop, leaf.start + KEPT)]
        typical = some if isinstance(some, float) else float(some.sum()) / some.size
        square += leaf.size * (scale * typical) ** 2
        count += leaf.size
    return math.sqrt(square / count) if count else 1.0
