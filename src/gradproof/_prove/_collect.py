"""What was measured on the way, kept for the reader of a report: see `gradproof._evidence`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._evidence import Comparison, Evidence, Ladder, TensorMap
from gradproof._line import Slope
from gradproof._prove._directions import Direction, Directions
from gradproof._prove._judge import REACH, RTOL64, RTOL64_BALANCED
from gradproof._prove._maps import Region, leaf_map
from gradproof._prove._measure import KEPT, Meter
from gradproof._report import Finding, LeafResult, Severity, Verdict

Floats = NDArray[np.float64]

# What is shown: comparisons that speak against the claim, all of them, ladders, steps of a ladder, maps.
AGAINST, COMPARISONS, LADDERS, STEPS, MAPS = 200, 48, 8, 30, 8
# Ladders where nothing speaks against the claim, and where it cannot be told.
FEW_LADDERS, SOME_LADDERS = 2, 4
# Steps that show both branches of an error.
MANY_STEPS = 4
# Outputs that are shown of a line.
OUTPUTS = 12
# What is tolerated along a balanced direction, compared with others.
BALANCED = RTOL64_BALANCED / RTOL64


@dataclasses.dataclass(kw_only=True, slots=True)
class Noted:
    """One slope or entry beside its claim; all numbers but `unit` and `size` as they were measured.

    path, entry, output : as in `Comparison`.
    scale : natural size of the slope.
    unit : what the numbers are divided by to be in the user's units.
    slope, column : the ladder, and which output of it; None where there is none.
    size : as in `Ladder`.
    """

    path: str
    entry: tuple[int, ...] | None
    output: str
    claimed: float
    value: float
    bar: float
    scale: float
    unit: float
    slope: Slope | None = None
    column: int = 0
    size: float = 1.0

    def exceeds(self, rtol: float) -> bool:
        """Whether claim and measurement differ by more than the bar and what is tolerated."""
        return abs(self.value - self.claimed) > self.bar + REACH * rtol * self.scale

    def jump(self, rtol: float) -> float:
        """How far apart the one-sided slopes are where they differ beyond doubt, as `kinked` has it; else 0."""
        slope = self.slope
        if slope is None or slope.side != 0 or not len(slope.h):
            return 0.0
        jump, bar = float(slope.jump[self.column]), float(slope.jump_bar[self.column])
        return jump if abs(jump) > 3 * bar and abs(jump) > 10 * REACH * rtol * self.scale else 0.0


class Collector:
    """Remembers slopes of one claim, a bounded number of them, and makes `Evidence` of them."""

    def __init__(self) -> None:
        self._noted: list[Noted] = []
        self._maps: list[TensorMap] = []

    def note(self, one: Noted) -> None:
        """Remember a slope or an entry; of very many only those that may speak against the claim."""
        count = len(self._noted)
        if count < KEPT or (count < 2 * KEPT and abs(one.value - one.claimed) > one.bar):
            self._noted.append(one)

    def take(self, meter: Meter) -> None:
        """Remember the slopes of a scalar proof."""
        directions = meter.directions
        sizes: dict[tuple[object, ...], float] = {}
        for one in meter.slopes:
            direction = one.direction
            # Most move the same leaves by as much.
            key = (direction.group, direction.scales, direction.entry)
            if key not in sizes:
                sizes[key] = _size(directions, direction)
            note = _noted(directions, direction, one.claimed, one.value, one.bar, one.scale, one.slope, sizes[key])
            self.note(note)
        for direction, pair, scale in meter.pairs:
            self.note(_noted(directions, direction, pair.claimed, pair.claimed + pair.value, pair.bar, scale))

    def draw(self, regions: Mapping[int, Region], directions: Directions) -> None:
        """Remember leaves as maps, given the wrong part of each."""
        for index, region in list(regions.items())[:MAPS]:
            self.picture(leaf_map(directions.leaves[index], directions.claim, region, directions.unit))

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
        for one in self._noted:
            exceeds = one.exceeds(rtol)
            verdict_here = verdicts.get(one.path, verdict)
            if not exceeds or verdict_here in (Verdict.WRONG, Verdict.INCONCLUSIVE):
                kept.append((one, exceeds and verdict_here is Verdict.WRONG))
        maps = tuple(self._maps)
        self._noted, self._maps = [], []
        return Evidence(
            comparisons=_comparisons(kept, findings),
            ladders=_ladders(kept, verdict, verdicts, findings, rtol),
            maps=maps,
        )


def _noted(
    directions: Directions,
    direction: Direction,
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
        output="",
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
    comparisons: list[Comparison] = []
    ladders: list[Ladder] = []
    maps: list[TensorMap] = []
    for label, part in parts:
        suffix = f" ({label})" if label else ""
        comparisons += [dataclasses.replace(one, path=one.path + suffix) for one in part.comparisons]
        ladders += [dataclasses.replace(one, path=one.path + suffix) for one in part.ladders]
        maps += [dataclasses.replace(one, path=one.path + suffix) for one in part.maps]
    comparisons.sort(key=lambda one: not one.against)
    ladders.sort(key=lambda one: not one.against)
    against = sum(one.against for one in comparisons)
    return Evidence(
        comparisons=tuple(comparisons[: max(min(against, AGAINST), COMPARISONS)]),
        ladders=tuple(ladders[:LADDERS]),
        maps=tuple(maps[:MAPS]),
    )


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


def _comparisons(kept: Sequence[tuple[Noted, bool]], findings: Sequence[Finding]) -> tuple[Comparison, ...]:
    """Those of the findings, then all that speak against the claim, then others in the order they were measured."""
    accused = [_of_finding(one) for one in findings if one.severity is Severity.ERROR and _has_numbers(one)]
    against = [_comparison(one, against=True) for one, against in kept if against]
    others = [_comparison(one, against=False) for one, against in kept if not against and _is_finite(one)]
    first = list(dict.fromkeys([*accused, *against]))[:AGAINST]
    return (*first, *others[: max(COMPARISONS - len(first), 0)])


def _has_numbers(finding: Finding) -> bool:
    return finding.claimed is not None and finding.reference is not None and finding.error_bar is not None


def _of_finding(finding: Finding) -> Comparison:
    assert finding.claimed is not None
    assert finding.reference is not None
    assert finding.error_bar is not None
    entry = finding.entries[0] if len(finding.entries) == 1 else None
    return Comparison(
        path=finding.path.removesuffix(str(list(entry))) if entry else finding.path,
        entry=entry,
        output=finding.quantity if finding.quantity not in ("entry", "slope") else "",
        claimed=finding.claimed,
        reference=finding.reference,
        error_bar=finding.error_bar,
        against=True,
    )


def _is_finite(one: Noted) -> bool:
    return math.isfinite(one.value) and math.isfinite(one.bar) and math.isfinite(one.claimed)


def _comparison(one: Noted, *, against: bool) -> Comparison:
    return Comparison(
        path=one.path,
        entry=one.entry,
        output=one.output,
        claimed=one.claimed / one.unit,
        reference=one.value / one.unit,
        error_bar=one.bar / abs(one.unit),
        against=against,
    )


def _ladders(
    kept: Sequence[tuple[Noted, bool]],
    verdict: Verdict,
    verdicts: Mapping[str, Verdict],
    findings: Sequence[Finding],
    rtol: float,
) -> tuple[Ladder, ...]:
    """Those behind the findings, or else those with the most steps."""
    usable = [(one, against) for one, against in kept if one.slope is not None and len(one.slope.h) > 1]
    usable = [(one, against) for one, against in usable if _is_finite(one) or verdict is not Verdict.CORRECT]
    chosen: list[tuple[Noted, bool]] = []
    if verdict is Verdict.WRONG:
        accused = [one for one in usable if one[1]]
        for finding in findings:
            own = [one for one in accused if _is_about(finding, one[0])]
            if finding.severity is Severity.ERROR and own:
                # That of the very entry rather than of its leaf, and of these the longest.
                chosen.append(max(own, key=lambda one: (one[0].entry in finding.entries, _steps(one[0]))))
        together = [one for one in accused if not one[0].path or not chosen]
        if together:
            chosen.append(max(together, key=lambda one: _steps(one[0])))
    elif verdict is Verdict.NOT_DIFFERENTIABLE:
        bent = [one for one in usable if one[0].jump(rtol)]
        chosen = sorted(bent, key=lambda one: (one[0].entry is None, not one[0].path, -_steps(one[0])))[:SOME_LADDERS]
    most = FEW_LADDERS if verdict is Verdict.CORRECT else SOME_LADDERS
    if not chosen:
        straight = [one for one in usable if verdict is not Verdict.CORRECT or not one[0].jump(rtol)]
        long = [one for one in straight if _steps(one[0]) >= MANY_STEPS] or straight
        chosen = long[:most] if verdict is Verdict.CORRECT else sorted(long, key=lambda one: -_steps(one[0]))[:most]
    different = {id(one[0]): one for one in chosen}
    return tuple(_ladder(one, rtol, against=against) for one, against in list(different.values())[:LADDERS])


def _is_about(finding: Finding, one: Noted) -> bool:
    """Whether a slope is along the leaf that a finding accuses, or a single entry that it names."""
    within = one.path != "" and (finding.path == one.path or finding.path.startswith(one.path + "["))
    return within and (one.entry is None or not finding.entries or one.entry in finding.entries)


def _steps(one: Noted) -> int:
    return 0 if one.slope is None else len(one.slope.h)


def _ladder(one: Noted, rtol: float, *, against: bool) -> Ladder:
    # In plain floats: on few numbers, and in every check, arrays take several times as long.
    slope, k, unit = one.slope, one.column, one.unit
    assert slope is not None
    h, plus, minus = slope.h.tolist(), slope.plus[:, k].tolist(), slope.minus[:, k].tolist()
    if len(h) > STEPS:
        rows = sorted({round(i * (len(h) - 1) / (STEPS - 1)) for i in range(STEPS)})
        h, plus, minus = [h[i] for i in rows], [plus[i] for i in rows], [minus[i] for i in rows]
    f0 = float(slope.f0[k])
    right = tuple((p - f0) / t / unit for t, p in zip(h, plus, strict=True))
    left = tuple((f0 - m) / t / unit for t, m in zip(h, minus, strict=True))
    central = tuple((p - m) / (2 * t) / unit for t, p, m in zip(h, plus, minus, strict=True))
    if slope.side:
        # At the edge of the domain of f.
        right, left = (right, ()) if slope.side > 0 else ((), left)
        central = right or left
    jump = one.jump(rtol) / unit
    if unit < 0:
        right, left, jump = left, right, -jump
    reference, noise = one.value / unit, float(slope.noise[k]) / abs(unit)
    return Ladder(
        path=one.path,
        entry=one.entry,
        output=one.output,
        claimed=one.claimed / unit,
        reference=reference,
        error_bar=one.bar / abs(unit),
        steps=tuple(h),
        differences=central,
        left=left,
        right=right,
        noise=noise,
        curvature=0.0 if slope.side or jump else _curvature(h, central, reference, noise),
        chosen=float(slope.h[slope.level[k]]),
        size=one.size,
        against=against,
        jump=jump,
    )


def _curvature(h: Sequence[float], quotients: Sequence[float], reference: float, noise: float) -> float:
    """The h**2 term of the differences' error, from the steps at which it is no rounding."""
    errors = [(t, abs(quotient - reference)) for t, quotient in zip(h, quotients, strict=True)]
    clear = sorted(off / t**2 for t, off in errors if 10 * noise / t < off < math.inf)
    return clear[len(clear) // 2] if clear else 0.0
