"""What a line tells: its slope, and what that teaches the lines after it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from gradproof._line._estimate import LEAST_THETA, pair
from gradproof._line._jump import jumps, least_jump

Floats = NDArray[np.float64]

# Relative bar at which the first four levels are believed, and the factor granted to the levels after them.
TARGET64, TARGET_LOW = 3e-8, 3e-3
LATER = 30.0
# The t**3 term may be this much larger along a part of a direction than along the directions seen, where it cancels.
TRUST = 100.0
# ... and this many times what f would have if slope and curvature came from one length: f''**2 / f'.
CURVED = 30.0
# Bar of a slope, relative to its size, up to which its t**3 term is taken for one.
CLEAR = 1e-2
# Two levels whose steps have the ratio R: the bar holds 5 standard deviations of the slope's noise and of half the
# jump's, 5 (1 + 1) / sqrt(2) noise / h, and (4 / R)**2 of what the quotient changes between them (see `_estimate`).
PAIR_NOISE, PAIR_RATIO, PAIR_COARSEST = 8.0, 20.0, 0.1
# Below this ratio of two steps the pair's bar holds more than the truncation at four times the fine one.
LEAST_RATIO = 4.0
# In low precision steps are coarse: two of them stay within the length on which phi changes. What the quotients do at
# up to twice the coarse one speaks of the truncation there. Beyond half of the natural size no step goes.
LOW_RATIO, NEARBY, COARSEST = 8.0, 16.0, 0.5
# Three levels, whose ratios stay above 3.1 when they are jittered by a tenth in all: no sample of noise is taken from
# two of them; see `sharp_levels`.
SHARP = np.array([3.5**2, 3.5, 1.0])
SHARP_NOISE, LEAST_THIRD = 10.0, 0.1
# In low precision: natural sizes are those on which f changes, so that its t**3 term may be expected to be of the order
# of (1/4 to 1/6 of) the slope, though it may cancel along the first direction.
LEAST_CUBIC = 0.25

# Noise, in half-ulps of phi, that its own rounding does not explain (as `gradproof._prove._finest.ROUNDED`).
NOISY = 64.0
# Structure is that of few samples of noise where it is so many times smaller than the bar, which it is part of.
NEGLIGIBLE = 30.0
# Bar of a whole ladder, relative to the slope, from which it has left the slope open.
OPEN = 3e-3
# The same on a staircase: the ratios to choose from, and how far a coarse quotient may be off, relative to the slope.
STAIR_RATIOS, VOUCHES = (4.0, 6.0, 10.0, 20.0), 5e-5


@dataclasses.dataclass(frozen=True)
class Tread:
    """The slope of phi between two jumps, with its bar (scalar phi)."""

    value: float
    bar: float


@dataclasses.dataclass(frozen=True)
class Jump:
    """A jump of phi that was closed in on: its size, and its distance from 0 in steps."""

    size: float
    at: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slope:
    """phi'(0) with its bar, and what was seen on the way; arrays (m,) unless said otherwise.

    Attributes
    ----------
    value, bar : the slope and the half-width that covers its error (absolute).
    central_bar : the bar without the share that pays for an undetected kink.
    jump, jump_bar : phi'(0+) - phi'(0-) and its bar.
    noise : standard deviation of one value, at the finest levels.
    structure : (L, m), what unresolved structure may add to the slope at each level (see `Noise`).
    quantum : step of the lattice that all values lie on; 0 where there is none.
    unit : half an ulp of phi.
    f0 : phi(0).
    h, plus, minus : (L,), (L, m), (L, m), the levels (coarse to fine) and the values there.
    level, column : the chosen entry of the Neville table.
    stage : 0 (the first levels were enough) to 3.
    eps : relative precision of the values, as found.
    side : 0, or +1 / -1 where phi exists on that side only.
    trouble : "" or why there is no slope: "not finite", "domain".
    repeats_differ : whether phi(0) changed from one evaluation to the next.
    jumping : whether phi jumps at 0 itself, so that its slope is unknown; empty where no output does.
    step : a jump that was closed in on because fine and coarse steps give two slopes (see `_stairs`), or None.
    tread : the other slope where phi is a staircase: that of all steps finer than a tread; None where it is none.
    stairs : which of many outputs are staircases (see `_many_stairs`); empty where none was looked at.
    in_noise : whether its steps are as coarse as in low precision, because an earlier line was noisy (see `Known`).
    """

    value: Floats
    bar: Floats
    central_bar: Floats
    jump: Floats
    jump_bar: Floats
    noise: Floats
    structure: Floats
    quantum: Floats
    unit: Floats
    f0: Floats
    h: Floats
    plus: Floats
    minus: Floats
    level: NDArray[np.intp]
    column: NDArray[np.intp]
    stage: int
    eps: float
    side: int = 0
    trouble: str = ""
    repeats_differ: bool = False
    jumping: NDArray[np.bool_] = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=bool))
    step: Jump | None = None
    tread: Tread | None = None
    stairs: NDArray[np.bool_] = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=bool))
    in_noise: bool = False

    @property
    def odd(self) -> Floats:
        return (self.plus - self.minus) / 2

    @property
    def even(self) -> Floats:
        return (self.plus + self.minus) / 2 - self.f0

    @property
    def meets_jumps(self) -> bool:
        """Whether some phi was seen to jump, at 0 itself or further out, by more than rounding does."""
        if self.step is not None or self.stairs.any() or self.jumping.any():
            return True
        everywhere = np.zeros(len(self.f0), dtype=np.intp)
        least = least_jump(self.unit, self.noise if self.repeats_differ else 0.0)
        return bool(jumps(self.h, self.plus, self.minus, self.f0, everywhere, least, is_lost=True).any())

    def third(self, row: int = 0) -> float:
        """Size of the t**3 error of D(h) at a level, per unit step (scalar phi)."""
        h = float(self.h[row])
        return abs(float(self.odd[row, 0]) / h - float(self.value[0])) / h**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """What the first direction teaches the later ones.

    curvature, third : sizes of the t**2 term of the even part and the t**3 error of D(h), per unit step.
    finest : the finest step that was seen.
    size : natural size of the slope.
    relative_bar : bar of the first direction relative to its scale.
    relative_third : the largest third relative to the size of its slope, over all directions.
    fourth : size of the t**4 term of the even part, per unit step: low precision, and where the first line drowns.
    drowns : whether the first line, in double precision, has shown noise that is no rounding of f: levels are coarse.
    structure : how steep what the levels do not resolve may be: few levels cannot see it again.
    """

    eps: float
    f0: Floats
    noise: Floats
    levels: Floats
    relative_bar: float
    curvature: float
    third: float
    finest: float
    size: float
    structure: float | Floats
    smooth: bool
    relative_third: float = 0.0
    fourth: float = 0.0
    drowns: bool = False

    @property
    def cubic(self) -> float:
        """The largest t**3 term to allow for along a later line, per unit step."""
        # Natural sizes are those on which f changes: its third derivative is at least of the slope's own size.
        return max(TRUST * self.third, self.size, self._bent(self.curvature, self.size), 1e-300)

    @staticmethod
    def _bent(curvature: float, size: float) -> float:
        """The t**3 term to allow for where the t**2 term is `curvature`: f changes on a length of size / curvature."""
        # (A power of floats that overflows raises, where a product is infinite.)
        return CURVED * curvature * (curvature / size) if size > 0 else 0.0

    @property
    def question_step(self) -> float:
        """The step of a two-point question: minimises its bar within the steps that were seen."""
        best = (5 * float(self.noise[0]) / (2 * math.sqrt(2) * self.cubic)) ** (1 / 3)
        return min(max(best, self.finest), float(self.levels[0]))

    def question_bar(self, step: float, even: float, scale: float) -> float:
        """Bar of a two-point difference at `step`: noise, and a t**3 term.

        even : the even part at `step`. Where it is larger than in the directions seen, so may be the t**3 term.
        scale : natural size of the slope along this part of a direction.
        inf where that leaves little of the question: more than ten times the bar that was expected.
        """
        noise = float(self.noise[0])
        curvature = max(even - 8 * noise, 0.0) / step**2
        size = min(self.size, scale) if scale > 0 else self.size
        expected = 5 * noise / (math.sqrt(2) * step) + self.cubic * step**2
        bar = expected + self._bent(curvature, size) * step**2
        return bar if bar <= 10 * expected and even <= TRUST * self.curvature * step**2 + 8 * noise else math.inf

    def one_sided_bar(self, step: float) -> float:
        """Bar of a one-sided difference at `step`: what `question_bar` lets the even part be, and what a pair has.

        The even part is not seen here, and along the first direction it may have cancelled: it is allowed what it has
        where f changes on its natural sizes.
        """
        noise = float(self.noise[0])
        even = TRUST * max(self.curvature, self.size) * step**2 + 8 * noise
        return even / step + 10 * noise / (math.sqrt(2) * step) + self.cubic * step**2

    def levels_for(self, scale: float) -> Floats:
        """The levels for a direction whose slope is smaller than that of the first: coarser, as noise weighs more."""
        if not self.smooth or not 0 < scale < self.size / 4 or len(self.levels) != 2:
            return self.levels
        coarse, fine = self.levels.tolist()
        noise, third = float(self.noise[0]), self.relative_third * scale
        # Beyond this the quotient at the coarse step is too far off to vouch for that at the fine one.
        most = min(PAIR_COARSEST, math.sqrt(1e-4 * scale / third) if third > 0 else math.inf)
        best = _best_fine_step(noise, third, PAIR_RATIO, fine, most / PAIR_RATIO)
        as_before = _best_fine_step(noise, third, coarse / fine, fine, fine)
        return best.step * np.array([PAIR_RATIO, 1.0]) if best.bar < as_before.bar else self.levels

    def with_line(self, other: Slope, scale: float) -> Known:
        """Know another direction, too: curvature and third derivative are the largest seen."""
        coarse = float(other.h[0])
        if other.side:
            return self
        third = other.third()
        size = max(scale, abs(float(other.value[0])))
        # (What is lost in noise, as along leaves that f does not feel, says nothing of the shape.)
        is_clear = float(other.bar[0]) < CLEAR * size
        if is_clear and 0 < scale < self.size / 4 and third > self.relative_third * size:
            self = dataclasses.replace(self, relative_third=third / size)
        if coarse > 2 * float(self.levels[0]):
            return self
        curvature = abs(float(other.even[0, 0])) / coarse**2
        return dataclasses.replace(self, third=max(self.third, third), curvature=max(self.curvature, curvature))


def learn(first: Slope, relative_bar: float, scale: float) -> Known:
    """What the first direction (scalar phi) teaches the later ones: levels, noise, curvature.

    Two levels are enough where they would have given a good bar in the first direction, too.
    """
    h, level, column = first.h, int(first.level[0]), int(first.column[0])
    # Where steps do not resolve some structure, what changes across a wide gap says nothing of what is left below it.
    hidden = float(np.max(first.structure, initial=0.0)) > 30 * float(first.bar[0])
    pair = None if first.stage == 0 or hidden else _good_pair(first, scale)
    between = levels_between(first, pair.bar) if pair is not None and first.stage == 1 else None
    if first.tread is not None:
        between = _levels_on_stairs(first, max(scale, abs(float(first.value[0]))))
    if first.stage == 0 and len(h) >= 3:
        used = [len(h) - 3, len(h) - 2]
    elif pair is not None:
        used = pair.used
    else:
        # The levels of the chosen entry, and one far finer: fast structure cannot hide.
        used = list(range(max(0, level - max(column, 1)), level + 1))[-3:]
        used += [i for i in range(level + 1, len(h)) if h[i] < h[level] / 20][:1]
    coarse = float(h[used[0]])
    noise = np.maximum(first.noise, 4 * first.unit if first.stage == 0 else first.unit)
    low = low_levels(first, noise, scale) if first.eps > 1e-12 else None
    if low is not None:
        between = low
        used = [int(np.argmin(np.abs(np.log(h / step)))) for step in low.tolist()]
        coarse = float(h[used[0]])
    third, size = first.third(used[0]), max(scale, abs(float(first.value[0])))
    smooth = relative_bar < 1e-5 and (first.stage < 2 or _merely_noisy(first))
    drowns = not smooth and _drowns(first)
    # (It may be steeper in the next direction.)
    structure = 4 * (float(np.max(first.structure, initial=0.0)) if drowns else _unresolved(first, used[-1], size))
    known = Known(
        eps=first.eps,
        f0=first.f0,
        noise=noise,
        levels=h[used] if between is None else between,
        relative_bar=relative_bar,
        curvature=abs(float(first.even[used[0], 0])) / coarse**2,
        third=third,
        finest=float(h[-1]),
        size=size,
        structure=structure,
        relative_third=third / max(size, 1e-300),
        fourth=_fourth(first) if first.eps > 1e-12 or drowns else 0.0,
        smooth=smooth,
        drowns=drowns,
    )
    if not drowns:
        return known
    # Steps as coarse as those of low precision, where a kink that does not show costs more than all else.
    return dataclasses.replace(known, levels=sharp_levels(known, scale, no_kink=False))


def _fourth(first: Slope) -> float:
    """Size of the t**4 term of the even part of a scalar phi, from the two coarsest levels."""
    (a, b), (of_a, of_b) = first.h[:2] ** 2, first.even[:2, 0]
    return abs(float(of_a / a - of_b / b)) / float(a - b)


def _unresolved(first: Slope, row: int, size: float) -> float:
    """How steep the part of a scalar phi may be that few levels, with this one the finest, do not see.

    Where the whole ladder leaves a wide bar that noise does not explain, its levels contradict each other. Those of the
    next direction may do so by as much, and few of them do not show it.
    """
    bent = bool(abs(first.jump[0]) > first.jump_bar[0])
    bar = float((first.central_bar if bent else first.bar)[0])
    noise = float(first.noise[0]) / float(first.h[first.level[0]])
    if first.eps < 1e-12 and first.stage >= 2 and first.tread is None and bar > max(OPEN * size, PAIR_NOISE * noise):
        return bar
    return float(first.structure[row, 0])


def _merely_noisy(first: Slope) -> bool:
    """Whether the whole ladder was asked for, and has shown nothing but a noise that is the same at all steps."""
    bent = np.abs(first.jump) > first.jump_bar
    return first.stage == 2 and not (first.structure.any() or first.quantum.any() or bent.any())


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Two levels of the first direction, coarse and fine, and the bar they give."""

    used: list[int]
    bar: float


def _good_pair(first: Slope, scale: float) -> _Pair | None:
    """The two levels, a factor 20 apart, with the narrowest bar; None if it is much wider than the first one."""
    target = TARGET64 if first.eps < 1e-12 else TARGET_LOW
    wide = max(LATER * target * max(scale, abs(float(first.value[0]))) / 3, 1.5 * float(first.bar[0]))
    best: _Pair | None = None
    sigmas = np.tile(np.maximum(first.noise, first.unit), (2, 1))
    odd, even = first.odd, first.even
    for fine in range(1, len(first.h)):
        for coarse in range(fine):
            if first.h[coarse] < 20 * first.h[fine]:
                continue
            rows = [coarse, fine]
            found = pair(first.h[rows], odd[rows], even[rows], sigmas, first.structure[fine])
            covers = abs(float(found.value[0] - first.value[0])) <= float(found.bar[0])
            if float(found.bar[0]) < wide and covers:
                best, wide = _Pair(rows, float(found.bar[0])), float(found.bar[0])
    return best


def levels_between(first: Slope, bar: float = math.inf) -> Floats | None:
    """Two levels, a factor 20 apart, between the measured ones, where noise and truncation (of a scalar phi) balance.

    None where they do not promise half of `bar`, or balance at coarser steps only.
    """
    if len(first.value) > 1 or first.structure.any() or len(first.h) < 3:
        return None
    coarse = float(first.h[0])
    noise = max(float(first.noise[0]), float(first.unit[0]))
    best = _best_fine_step(noise, first.third(), PAIR_RATIO, float(first.h[-1]), coarse)
    if best.step > coarse / PAIR_RATIO or best.bar > bar / 2:
        return None
    return best.step * np.array([PAIR_RATIO, 1.0])


def low_levels(first: Slope, noise: Floats, scale: float) -> Floats | None:
    """Two levels for later lines in low precision, where noise and truncation of a scalar phi balance.

    The bar of a pair is ``PAIR_NOISE * noise / h`` and the truncation at 4 h, whatever the ratio of the two steps as
    long as it is 4 or more (see `pair`). The t**3 term is the steepest that the quotients show at steps of about that
    size: farther out phi may do as it likes. None where a level shows structure that its neighbours do not resolve.
    """
    if len(first.value) > 1 or first.side or len(first.h) < 3:
        return None
    h, sigma = first.h, float(noise[0])
    size = max(scale, abs(float(first.value[0])))
    change = np.abs(first.odd[:, 0] / h - float(first.value[0]))
    third = np.maximum(change - 5 * sigma / h, 0.0) / h**2
    structure = first.structure[:, 0]
    best, least = float(h[-1]), math.inf
    steps: list[float] = np.geomspace(float(h[-1]), float(h[0]) / LEAST_RATIO, 40).tolist()
    for fine in steps:
        steepest = max(float(third[h <= NEARBY * fine].max(initial=0.0)), LEAST_CUBIC * size)
        bar = PAIR_NOISE * sigma / fine + steepest * (LEAST_RATIO * fine) ** 2
        bar += float(structure[h <= LOW_RATIO * fine].max(initial=0.0))
        if bar < least:
            best, least = fine, bar
    return np.array([min(LOW_RATIO * best, float(h[0])), best])


def sharp_levels(known: Known, scale: float, *, no_kink: bool) -> Floats:
    """Three levels in low precision for a slope that has to be sharp, where noise and truncation balance.

    The t**3 term is taken out then: the bar is about ten standard deviations of one value over the fine step (see
    `estimate`: 1.1 of the slope's noise, 1.6 of the jump's) and what the slope from the two coarse steps is off by,
    which is t**2 times the product of their squares where quotients go like 1 - t h**2 + (t h**2)**2 - ... Unless
    `no_kink` half of the jump belongs to it, which is off by the t**4 term of the even part times the product of all
    steps.
    """
    size = min(known.size, scale) if scale > 0 else known.size
    noise, third = float(known.noise[0]) / size, max(known.third / known.size, LEAST_THIRD)
    coarse = float(SHARP[0] * SHARP[1]) ** 2
    fine = min((SHARP_NOISE * noise / (4 * coarse * third * third)) ** 0.2, COARSEST / float(SHARP[0]))
    if not no_kink and known.fourth > 0:
        fine = min(fine, (SHARP_NOISE * noise / (3 * float(np.prod(SHARP)) * known.fourth / known.size)) ** 0.25)
    return fine * SHARP


def coarse_levels(known: Known, scale: float) -> Floats:
    """Two levels in low precision for a direction along which f changes by no more than `scale`, and as slowly."""
    return balanced_step(float(known.noise[0]), LEAST_CUBIC * scale) * np.array([LOW_RATIO, 1.0])


def balanced_step(noise: float, third: float) -> float:
    """The fine step of a pair of levels for which noise and truncation at `LEAST_RATIO` times that are least together.

    No coarser than that of a pair whose coarse one is `COARSEST`.
    """
    most = COARSEST / LOW_RATIO
    return min((PAIR_NOISE * noise / (2 * LEAST_RATIO**2 * third)) ** (1 / 3), most) if third > 0 else most


def _drowns(first: Slope) -> bool:
    """Whether the whole ladder has shown much more noise than that of rounding, no stairs and no steeper structure."""
    is_noisy = float(first.noise[0]) > NOISY * float(first.unit[0])
    steepest = float(np.max(first.structure, initial=0.0))
    is_plain = first.tread is None and NEGLIGIBLE * steepest <= float(first.bar[0])
    return first.eps < 1e-12 and first.stage >= 2 and is_noisy and is_plain


def _levels_on_stairs(first: Slope, size: float) -> Floats:
    """Two levels for the directions after one on which phi is a staircase: jumps ask for wide steps.

    The coarse one is as wide as lets its quotient vouch for the slope.
    """
    noise, third = float(first.noise[0]), first.third()
    widest = min(float(first.h[0]), math.sqrt(VOUCHES * size / third) if third > 0 else math.inf)
    narrowest = float(first.h[-1])
    steps = {ratio: _best_fine_step(noise, third, ratio, narrowest, widest / ratio) for ratio in STAIR_RATIOS}
    ratio = min(steps, key=lambda ratio: steps[ratio].bar)
    return steps[ratio].step * np.array([ratio, 1.0])


@dataclasses.dataclass(frozen=True)
class _FineStep:
    """The fine step of a pair, and the bar that the pair may be expected to give."""

    step: float
    bar: float


def _best_fine_step(noise: float, third: float, ratio: float, least: float, most: float) -> _FineStep:
    """The fine step, within two limits, of a pair of levels with the narrowest bar for this noise and t**3 term."""
    steps = np.geomspace(least, max(least, most), 40)
    theta = min(max((4 / ratio) ** 2, LEAST_THETA), 1.0)
    bars = PAIR_NOISE * noise / steps + theta * third * (ratio * steps) ** 2
    best = int(np.argmin(bars))
    return _FineStep(float(steps[best]), float(bars[best]))
