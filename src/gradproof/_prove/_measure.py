"""Ask for slopes along directions and set them beside the claim."""

from __future__ import annotations

import dataclasses
import functools as ft
import math
from collections.abc import Callable, Generator, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import EPS64, is_double
from gradproof._line import (
    LOW_RATIO,
    Jump,
    Known,
    Shape,
    Slope,
    Tread,
    coarse_levels,
    pair,
    sharp_levels,
    slope,
)
from gradproof._prove._directions import Direction, Directions, Part
from gradproof._prove._tolerance import COMPLEX_ROUNDINGS, INNER_PRODUCT, UNDERFLOWN, tolerance_at
from gradproof._prove._walks import Walks

Floats = NDArray[np.float64]
Result = TypeVar("Result")
Given = ParamSpec("Given")

# Slopes, and entries measured by a pair of values, that are kept for the reader of a report.
KEPT, KEPT_PAIRS = 256, 48
# Relative to the natural size of what moves in a balanced direction.
BALANCED_LEVELS = (0.1, 0.025, 0.003)


@dataclasses.dataclass(frozen=True)
class Question:
    """Please evaluate f at x + t v for every t in `steps`, v being what `direction` describes; 0 means at x itself.

    `of` says what to evaluate: "f", "reference" (the user's trusted, more precise f), or "complex": the imaginary part
    of f(x + i t v). With `entries` each of these moves by itself in place of v, and the values come entry by entry;
    with `reaches` each moves by that part of its natural size.
    `phase` is what they are for, in a word for people: "proving", "confirming" or "locating".
    """

    direction: Direction
    steps: Floats
    of: str = "f"
    entries: tuple[int, ...] = ()
    phase: str = "proving"
    reaches: tuple[float, ...] = ()


Asking = Generator[Question, Floats, Result]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Residual:
    """True minus claimed slope along (a part of) a direction, with its bar (absolute).

    rounding : what the claim's own precision may add, where that is coarser than f's (absolute).
    """

    value: float
    bar: float
    claimed: float
    rounding: float = 0.0

    @property
    def seen(self) -> bool:
        return abs(self.value) > self.bar

    @property
    def clear(self) -> bool:
        """Seen with a margin: one at the edge of its bar is not worth naming."""
        return abs(self.value) > 3 * self.bar

    @property
    def contrast(self) -> float:
        """How many bars the residual holds."""
        return abs(self.value) / max(self.bar, 1e-300) if math.isfinite(self.value) else 0.0

    @property
    def agrees_with_zero(self) -> bool:
        return abs(self.value) <= self.bar

    def __sub__(self, part: Residual) -> Residual:
        """The residual along the rest, given that along a part of the same direction."""
        return Residual(
            value=self.value - part.value,
            bar=self.bar + part.bar,
            claimed=self.claimed - part.claimed,
            rounding=self.rounding + part.rounding,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glance:
    """What a value on one side tells of a residual, and what a second one on the other side completes.

    residual : its bar is some thousand times as wide as that of both values together.
    """

    direction: Direction
    scale: float
    step: float
    plus: float
    residual: Residual


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One slope beside its claim (all absolute).

    claimed : <claim, v>.
    value, bar : the reference slope and its error bar, the claim's own rounding included.
    scale : natural size of the slope: norm of claim times step over the entries that move.
    rounding : as in `Residual`.
    """

    direction: Direction
    slope: Slope
    claimed: float
    value: float
    bar: float
    scale: float
    rounding: float = 0.0

    @property
    def residual(self) -> float:
        """True minus claimed."""
        return self.value - self.claimed

    @property
    def deviation(self) -> float:
        return abs(self.residual)

    @property
    def finite(self) -> bool:
        return math.isfinite(self.value) and math.isfinite(self.bar)

    def tolerance(self, rtol: float) -> float:
        """What deviation from the one-sided slopes is too small to count (absolute)."""
        return tolerance_at(rtol, self.scale, self.value, self.claimed, float(self.slope.jump[0]))

    def as_residual(self) -> Residual:
        return Residual(value=self.residual, bar=self.bar, claimed=self.claimed, rounding=self.rounding)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Excuse:
    """A jump of f that was closed in on, and what it is an excuse for.

    tread : the slope between jumps, where fine steps and coarse ones give two; None where the jump alone excuses a
        deviation.
    on_tread : whether the claim agrees with that slope only.
    """

    measured: Measured
    jump: Jump
    tread: Tread | None = None
    on_tread: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tier:
    """Leaves of similar claims, moved together so that each contributes the same share to the slope.

    Attributes
    ----------
    group : leaf indices.
    scales : factor on the natural size of each; at most 1, so nothing moves further than its natural size.
    shares : norm of claim times step of each leaf, scaled; equal unless a factor of 1 was not enough.
    size : entries that move.
    scale : norm over all of them.
    parts : restrictions of every direction through the group.
    folded : whether some entries lie on a bound of the domain and move inwards only.
    """

    group: tuple[int, ...]
    scales: tuple[float, ...]
    shares: tuple[float, ...]
    size: int
    scale: float
    parts: tuple[Part, ...] = ()
    folded: bool = False

    def direction(self, stream: int, floor: float = 0.0) -> Direction:
        return Direction(stream=stream, group=self.group, scales=self.scales, floor=floor, parts=self.parts)

    def alone(self, index: int, stream: int, floor: float = 0.0) -> Direction:
        """A direction through one leaf of the group, at the same scale."""
        scales = (self.scales[self.group.index(index)],)
        return Direction(stream=stream, group=(index,), scales=scales, floor=floor, parts=self.parts)

    def share(self, index: int) -> float:
        return self.shares[self.group.index(index)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryPairs:
    """True minus claimed slope of single entries with its bar, the claimed one, and the size of the t**3 term; (k,)."""

    value: Floats
    bar: Floats
    claimed: Floats
    third: Floats

    def improved(self, at: NDArray[np.intp], finer: EntryPairs) -> EntryPairs:
        """Take what finer steps say of some entries where it is narrower; nothing is known of those that disagree."""
        value, bar = self.value.copy(), self.bar.copy()
        apart = np.abs(finer.value - value[at]) > finer.bar + bar[at]
        narrower = finer.bar < bar[at]
        value[at] = np.where(narrower, finer.value, value[at])
        bar[at] = np.where(apart, np.inf, np.where(narrower, finer.bar, bar[at]))
        return dataclasses.replace(self, value=value, bar=bar)

    def joined(self, other: EntryPairs, order: NDArray[np.intp]) -> EntryPairs:
        """These and other entries, in the given order."""
        return EntryPairs(
            value=np.concatenate([self.value, other.value])[order],
            bar=np.concatenate([self.bar, other.bar])[order],
            claimed=np.concatenate([self.claimed, other.claimed])[order],
            third=np.concatenate([self.third, other.third])[order],
        )

    def residual(self, k: int) -> Residual:
        return Residual(value=float(self.value[k]), bar=float(self.bar[k]), claimed=float(self.claimed[k]))


def jitter_of(seed: int) -> np.random.Generator:
    """What moves the steps of a meter: what starts with the same one asks for the same first steps."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 1))))


class Meter:
    """Measures slopes and residuals; remembers what the first direction taught."""

    def __init__(
        self, directions: Directions, eps: float, witnesses: Sequence[str] = (), *, resolution: float = 0.0
    ) -> None:
        self.directions = directions
        self.eps = eps
        self.resolution = resolution
        # What the claim's own precision may be off by, relative to the natural size of a slope, where a mistake is
        # named; and one rounding of the largest leaf's slope (absolute): terms of that size may cancel in any other.
        self.rounding = self.claim_floor = 0.0
        # The claim's precision, where it is coarser than f's; what it may do to a slope whose terms cancel (absolute).
        self.claim_eps = self.lost = 0.0
        self.witnesses = tuple(witnesses)
        self.jitter = jitter_of(directions.seed)
        self.known: Known | None = None
        # Smallest relative error worth an accusation, as far as f's own jumps allow.
        self.regularity = 0.0
        # Jumps of f that excuse something, and whether f is a staircase along some direction.
        self.excuses: list[Excuse] = []
        self.on_stairs = False
        # The smallest of their jumps, or the step of a lattice: how far f must move before it shows that it does.
        self.tread = math.inf
        # Whether a ladder has excluded a claim that finer or coarser steps follow: its noise is not all there is.
        self.misled = False
        self.walks = Walks()
        # Wrong entries along which no jump of f was met.
        self.smooth_entries = 0
        # Whether f gave different values at the same point.
        self.random = False
        # Whether any step has changed f by a single bit.
        self.moved = False
        # Whether f has been seen to take values on no lattice.
        self.continuous = False
        # Whether coarse steps may speak for the slope at the point, where claims are tiny.
        self.balances = True
        self.streams = 0
        # Values of f that were asked for.
        self.evaluations = 0
        # What was measured, for the reader of the report.
        self.slopes: list[Measured] = []
        self.pairs: list[tuple[Direction, Residual, float]] = []
        self.phase = "proving"
        self.norms = np.array([self._norm(index) for index in range(len(directions.leaves))])

    def lost_beside(self, value: float) -> float:
        """What the claim's own precision may hide of a slope where f has this value (absolute)."""
        return max(self.lost, UNDERFLOWN * self.claim_eps * abs(value))

    @property
    def precision(self) -> float:
        """Relative precision of f's values, as declared or as found."""
        return self.eps if self.known is None else self.known.eps

    def claimed_steps(self, index: int) -> Floats:
        """|claim| times natural size, for every entry of a leaf."""
        return np.concatenate([np.zeros(0), *self.directions.claimed_steps(index)])

    def _norm(self, index: int) -> float:
        return math.hypot(*(float(np.linalg.norm(steps)) for steps in self.directions.claimed_steps(index)))

    def ripple(self, direction: Direction) -> float:
        """Norm of claim times natural size over the leaves that move, not scaled down by their factors.

        Rounding of x + t v moves f by about eps times this, however little the direction moves them.
        """
        return float(np.linalg.norm(self.norms[list(direction.group)]))

    def balanced_scale(self, tier: Tier, floor: float) -> float:
        """Natural size of the slope along a balanced direction through a group."""
        return math.hypot(
            *(
                float(np.linalg.norm(np.minimum(scale * steps, floor)))
                for index, scale in zip(tier.group, tier.scales, strict=True)
                for steps in self.directions.claimed_steps(index)
            )
        )

    def next_stream(self) -> int:
        self.streams += 1
        return self.streams - 1

    def tier(self, group: Sequence[int]) -> Tier:
        """Equalise the leaves of a group: every one moves so little that its slope is that of the smallest."""
        norms = self.norms[list(group)]
        positive = norms[norms > 0]
        least = float(positive.min()) if positive.size else 1.0
        scales = tuple(min(1.0, least / norm) if norm > 0 else 1.0 for norm in norms.tolist())
        shares = tuple(scale * norm for scale, norm in zip(scales, norms.tolist(), strict=True))
        return Tier(
            group=tuple(group),
            scales=scales,
            shares=shares,
            size=sum(self.directions.leaves[index].size for index in group),
            scale=math.hypot(*shares),
            folded=self.directions.folded(group),
        )

    def slope(
        self,
        direction: Direction,
        scale: float,
        *,
        known: Known | None = None,
        target: float | None = None,
        full: bool = False,
        brief: bool = False,
    ) -> Asking[Measured]:
        """Measure the slope along a direction (see `gradproof._line.slope`)."""
        claimed, absolute = self.directions.slope(direction)
        line = slope(
            self.jitter,
            eps=self.precision,
            scale=scale,
            ripple=self.ripple(direction),
            target=target,
            known=known,
            full=full,
            brief=brief,
            claimed=claimed,
            continuous=self.continuous,
            resolution=self.resolution,
        )
        found = yield from self._along(direction, line)
        self.random |= found.repeats_differ
        moved = bool(np.any(found.plus != found.f0) or np.any(found.minus != found.f0))
        self.moved |= moved
        self.continuous |= moved and not found.trouble and float(found.quantum[0]) == 0
        if self.known is not None and not found.trouble and direction.floor == 0:
            self.known = self.known.with_line(found, scale)
        if moved and float(found.quantum[0]) > 0:
            self.tread = min(self.tread, float(found.quantum[0]))
        # (Where it moves by known steps it may stay on one.)
        hidden = self.tread / float(found.h[0]) if math.isfinite(self.tread) and not moved and len(found.h) else 0.0
        measured = Measured(
            direction=direction,
            slope=found,
            claimed=claimed,
            value=float(found.value[0]),
            bar=max(float(found.bar[0]), hidden) + INNER_PRODUCT * EPS64 * absolute,
            scale=scale,
            rounding=self.rounding * scale,
        )
        if found.tread is not None and found.step is not None:
            self.tread = min(self.tread, abs(found.step.size))
            if not self.on_stairs:
                self.excuses.append(Excuse(measured=measured, jump=found.step, tread=found.tread))
            self.on_stairs = True
        if len(self.slopes) < KEPT or (len(self.slopes) < 2 * KEPT and measured.deviation > measured.bar):
            self.slopes.append(measured)
        return measured

    def is_analytic(self, measured: Measured, value: float) -> Asking[bool]:
        """Whether a complex step whose `value` deviates from the slope is the derivative of f at a coarse step, too.

        ``Im f(x + i h v) / h = f' - h**2 f''' / 6 + ...`` and a central quotient has a plus there: their mean is
        f' to fourth order. Where f drops imaginary parts, as abs and .real do, it lacks half of what these say.
        """
        slope = measured.slope
        if not len(slope.h):
            return False
        step = float(slope.h[0])
        question = Question(measured.direction, np.array([step]), "complex", phase=self.phase)
        imaginary = float(np.asarray((yield question), dtype=np.float64).reshape(-1)[0])
        mean = (imaginary + float(slope.odd[0, 0])) / (2 * step)
        return abs(mean - value) <= 0.25 * abs(value - measured.value)

    def witness(self, measured: Measured) -> Asking[tuple[float, float] | None]:
        """An independent slope along the same direction and its bar (absolute), from the first witness that answers."""
        direction, scale = measured.direction, measured.scale
        _, absolute = self.directions.slope(direction)
        for name in self.witnesses:
            if name == "complex":
                # Squire and Trapp, SIAM Review 40 (1998): f(x + i h v) = f + i h f' - h**2 f'' / 2: no cancellation.
                step = 1e-20
                values = np.asarray(
                    (yield Question(direction, np.array([step]), name, phase=self.phase)), dtype=np.float64
                )
                value = float(values.reshape(-1)[0]) / step
                bar = COMPLEX_ROUNDINGS * EPS64 * (absolute + abs(value) + scale)
            else:
                found = yield from self._along(direction, slope(self.jitter, eps=EPS64, scale=scale), name)
                value, bar = float(found.value[0]), float(found.bar[0]) + INNER_PRODUCT * EPS64 * absolute
            if math.isfinite(value) and math.isfinite(bar):
                return value, bar
        return None

    def shape(self, measured: Measured, *, far: bool) -> Asking[Shape]:
        """Judge whether f is smooth enough along a direction for a small deviation to be the claim's fault."""
        line = self.walks.shape(measured.direction, measured.deviation, measured.scale, measured.slope, far=far)
        return (yield from self._along(measured.direction, line))

    def pair(self, direction: Direction, step: float) -> Asking[tuple[float, float]]:
        """Values at +step and -step."""
        plus, minus = yield from self.values(direction, [step, -step])
        return plus, minus

    def values(self, direction: Direction, steps: Sequence[float]) -> Asking[list[float]]:
        """Values at some steps."""
        self.evaluations += len(steps)
        values = yield Question(direction, np.array(steps), phase=self.phase)
        return np.asarray(values, dtype=np.float64).reshape(len(steps), -1)[:, 0].tolist()

    def known_slope(self, direction: Direction, scale: float) -> Asking[Measured]:
        """Measure a slope with what is known already."""
        return (yield from self.slope(direction, scale, known=self.known))

    @property
    def takes_sharp_slopes(self) -> bool:
        """Whether f is in low precision, and enough of it known to choose three levels."""
        known = self.known
        return known is not None and not is_double(known.eps) and len(known.f0) == 1 and known.size > 0

    def sharp_slope(self, direction: Direction, scale: float, *, no_kink: bool = False) -> Asking[Measured]:
        """Measure a slope as sharply as three levels allow; with what is known where f is in double precision."""
        known = self.known
        if known is not None and self.takes_sharp_slopes:
            known = dataclasses.replace(known, levels=sharp_levels(known, scale, no_kink=no_kink))
        return (yield from self.slope(direction, scale, known=known))

    def evidence(self, direction: Direction, scale: float) -> Asking[Measured]:
        """Measure a slope that is to tell what a mistake is, once it is certain that there is one.

        In low precision its bar pays for no kink at x: none has shown by then, and half of what the one-sided slopes
        may differ by is several times all the rest.
        """
        measured = yield from self.sharp_slope(direction, scale, no_kink=True)
        if not self.takes_sharp_slopes or not measured.finite or measured.slope.side:
            return measured
        _, absolute = self.directions.slope(direction)
        return dataclasses.replace(
            measured, bar=float(measured.slope.central_bar[0]) + INNER_PRODUCT * EPS64 * absolute
        )

    def coarse_slope(self, direction: Direction, scale: float, *, sparing: bool = False) -> Asking[Measured]:
        """Measure a balanced direction at coarse steps only.

        What moves far has small claims there, so truncation is small, while at fine steps the slope would drown in the
        noise of f. Where the coarse steps meet kinks the bar is wide.
        """
        known = self.known
        if known is None or (not is_double(known.eps) and len(known.f0) > 1):
            return (yield from self.slope(direction, scale, known=known, target=1e-5))
        levels = BALANCED_LEVELS[:: 2 if sparing else 1] if is_double(known.eps) else coarse_levels(known, scale)
        coarse = dataclasses.replace(known, levels=np.asarray(levels))
        return (yield from self.slope(direction, scale, known=coarse, brief=True))

    def residual(self, direction: Direction, scale: float) -> Asking[Residual]:
        """True minus claimed, from one calibrated pair; a whole slope where the pair looks odd (see `Known`)."""
        known = self.known
        if direction.floor > 0:
            return (yield from self.coarse_slope(direction, scale)).as_residual()
        if known is not None and known.smooth:
            step = known.question_step * float(self.jitter.uniform(0.85, 1.15))
            plus, minus = yield from self.pair(direction, step)
            found = self._of_pair(known, direction, scale, step, plus, minus)
            if found is not None:
                return found
        return (yield from self.slope(direction, scale, known=known)).as_residual()

    def _of_pair(
        self, known: Known, direction: Direction, scale: float, step: float, plus: float, minus: float
    ) -> Residual | None:
        """The residual that two values tell; None where they look odd."""
        claimed, absolute = self.directions.slope(direction)
        even = abs((plus + minus) / 2 - float(known.f0[0]))
        bar = known.question_bar(step, even, scale) + INNER_PRODUCT * EPS64 * absolute
        if not math.isfinite(bar):
            return None
        value = (plus - minus) / (2 * step) - claimed
        return Residual(value=value, bar=bar, claimed=claimed, rounding=self.rounding * scale)

    def glance(self, direction: Direction, scale: float) -> Asking[Glance | None]:
        """What one value tells of a residual; None where a pair would not be asked for."""
        known = self.known
        if known is None or not known.smooth or direction.floor > 0:
            return None
        step = known.question_step * float(self.jitter.uniform(0.85, 1.15))
        (plus,) = yield from self.values(direction, [step])
        claimed, absolute = self.directions.slope(direction)
        bar = known.one_sided_bar(step) + INNER_PRODUCT * EPS64 * absolute
        value = (plus - float(known.f0[0])) / step - claimed
        residual = Residual(value=value, bar=bar, claimed=claimed, rounding=self.rounding * scale)
        return Glance(direction=direction, scale=scale, step=step, plus=plus, residual=residual)

    def completed(self, glance: Glance) -> Asking[Residual]:
        """The residual of a pair whose first value is known; as `residual`."""
        known, direction, scale = self.known, glance.direction, glance.scale
        if known is not None:
            (minus,) = yield from self.values(direction, [-glance.step])
            found = self._of_pair(known, direction, scale, glance.step, glance.plus, minus)
            if found is not None:
                return found
        return (yield from self.slope(direction, scale, known=known)).as_residual()

    def keep_pair(self, direction: Direction, residual: Residual, scale: float) -> None:
        """Remember what a pair of values has said of an entry."""
        if len(self.pairs) < KEPT_PAIRS:
            self.pairs.append((direction, residual, scale))

    def entries(self, leaf: int, entries: range, scale: float) -> Asking[list[Residual | None]]:
        """`residual` for many single entries of a leaf at once; None where it takes a whole slope."""
        known, directions = self.known, self.directions
        if known is None or not known.smooth:
            return [None] * len(entries)
        step = known.question_step * float(self.jitter.uniform(0.85, 1.15))
        direction = Direction(stream=-1, group=(leaf,), scales=(1.0,), entry=entries[0])
        question = Question(direction, np.array([step, -step]), entries=tuple(entries), phase=self.phase)
        self.evaluations += 2 * len(entries)
        values = np.asarray((yield question), dtype=np.float64).reshape(len(entries), 2)
        found: list[Residual | None] = []
        for entry, (plus, minus) in zip(entries, values.tolist(), strict=True):
            claimed = float(directions.claim[entry]) * directions.entry_size(entry)
            even = abs((plus + minus) / 2 - float(known.f0[0]))
            bar = known.question_bar(step, even, scale) + INNER_PRODUCT * EPS64 * abs(claimed)
            residual = Residual(value=(plus - minus) / (2 * step) - claimed, bar=bar, claimed=claimed)
            found.append(residual if math.isfinite(bar) else None)
        return found

    def entry_pairs(
        self, leaf: int, entries: Sequence[int], reaches: Floats, noise: float, f0: float, scale: float
    ) -> Asking[EntryPairs]:
        """Measure single entries of a leaf at once, each by two levels of its own: low precision.

        reaches : (k,), the fine step of each, relative to its natural size; the coarse one is `LOW_RATIO` times that.
        noise : standard deviation of one value of f.
        scale : natural size of the slope of one entry.
        """
        h = np.array([LOW_RATIO, 1.0]) * self.jitter.uniform(0.9, 1.1, 2)
        direction = Direction(stream=-1, group=(leaf,), scales=(1.0,), entry=entries[0])
        question = Question(
            direction,
            np.concatenate([h, -h]),
            entries=tuple(entries),
            phase=self.phase,
            reaches=tuple(reaches.tolist()),
        )
        self.evaluations += 4 * len(entries)
        values = np.asarray((yield question), dtype=np.float64).reshape(len(entries), 4).T
        plus, minus = values[:2], values[2:]
        self.moved |= bool(np.any(plus != f0) or np.any(minus != f0))
        sigma = np.full(plus.shape, noise)
        odd, even = (plus - minus) / 2, (plus + minus) / 2 - f0
        found = pair(h, odd, even, sigma)
        value, bar = found.value / reaches, found.bar / reaches
        # As in `gradproof._line`: a bar of a quarter of the slope is no more than an order of magnitude.
        bar = np.where(bar > 0.25 * np.maximum(scale, np.abs(value)), 2 * bar, bar)
        claimed = np.array([self.directions.claim[j] * self.directions.entry_size(j) for j in entries])
        bar = np.where(np.isfinite(bar) & np.isfinite(value), bar + INNER_PRODUCT * EPS64 * np.abs(claimed), np.inf)
        change = np.abs(odd[0] / h[0] - odd[1] / h[1]) / reaches
        return EntryPairs(
            value=np.where(np.isfinite(value), value, claimed) - claimed,
            bar=bar,
            claimed=claimed,
            third=np.where(np.isfinite(change), change, np.inf) / (LOW_RATIO * reaches) ** 2,
        )

    def _along(self, direction: Direction, line: Generator[Floats, Floats, Result], of: str = "f") -> Asking[Result]:
        """Turn what a line asks (steps) into questions (direction and steps)."""
        try:
            steps = next(line)
            while True:
                self.evaluations += len(steps)
                values = yield Question(direction, steps, of, phase=self.phase)
                steps = line.send(values)
        except StopIteration as stop:
            return stop.value


def in_phase(
    phase: str,
) -> Callable[
    [Callable[Concatenate[Meter, Given], Asking[Result]]], Callable[Concatenate[Meter, Given], Asking[Result]]
]:
    """Let the questions of what asks a meter say what they are for."""

    def named(
        asks: Callable[Concatenate[Meter, Given], Asking[Result]],
    ) -> Callable[Concatenate[Meter, Given], Asking[Result]]:
        @ft.wraps(asks)
        def asking(meter: Meter, *args: Given.args, **options: Given.kwargs) -> Asking[Result]:
            before, meter.phase = meter.phase, phase
            try:
                return (yield from asks(meter, *args, **options))
            finally:
                meter.phase = before

        return asking

    return named
