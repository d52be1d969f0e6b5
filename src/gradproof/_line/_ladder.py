"""Choose the steps: few levels first, more only where the first ones do not convince."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._line._estimate import Estimate, estimate, one_sided
from gradproof._line._jump import jumps, least_jump
from gradproof._line._many_stairs import (
    bars_for_both,
    is_flat_further_out,
    jump_sizes,
    look_between,
    merged,
    with_treads,
)
from gradproof._line._noise import Noise, noise, one_sided_noise, unseen_change
from gradproof._line._slope import LATER, SHARP, TARGET64, TARGET_LOW, Jump, Known, Slope, Tread, levels_between
from gradproof._line._stairs import Bend, Step, StepKind, close_in, off_level

Floats = NDArray[np.float64]
Asking = Generator[Floats, Floats, "Slope"]
# A step far finer than the others, and the odd and the even part of phi there.
_Guard = tuple[float, Floats, Floats]
_AskingBool = Generator[Floats, Floats, bool]
_AskingBeyond = Generator[Floats, Floats, "Beyond"]

EPS64 = 2.0**-52
EPS32 = 2.0**-23

# Noise up to this many half-ulps is ordinary rounding.
ROUNDING = 16.0
# The quotient at the third finest level may differ so much, relative to its size, from a slope that is believed. In low
# precision its step is so coarse (0.05 in float32) that truncation alone makes it differ by a hundredth.
PLAUSIBLE, PLAUSIBLE_LOW = 3e-4, 3e-2
# Steps up to which values are taken for scattered by jumps: so many times as wide as the one that met the first, as
# slower parts meet theirs some levels further out. Beyond FARTHEST they may be bent as well.
FURTHER, FARTHEST = 64.0, 0.01
# How many standard deviations the largest of some twenty samples of noise is.
LARGEST = 2.0
# How much faster than with the square of the step an even part grows only where phi jumps (or is not resolved at all).
CURVED = 16.0
# Where beyond a jump phi is looked at, in treads (at no even distances, which a staircase could hide behind), and how
# smooth it has to be there, in jumps: small jumps of other parts of f show, too.
BEYOND, SMOOTH = np.array([0.0, 0.37, 1.13, 2.41, 3.29, 4.83]), 1e-3
# The same over treads so many times as wide; and what a smooth phi may leave, in jumps, where that tells nothing more.
WIDER, UNTOLD = (1.0, 6.0, 36.0), 0.05
# A bar of coarse steps, relative to the slope, from which more of them are worth their cost.
WIDE = 3e-3
# One output of so many may be left with the bar it has.
UNCONTENT = 50


def first_levels(eps: float) -> Floats:
    """Return the four steps of the first stage: coarse, medium, and two near the best one, (3 sigma / f''')**(1/3).

    About .03, 1e-3, 6e-6, 3.6e-6 in float64 and .15, .05, 5e-3, 3e-3 in float32, relative to the natural size of x.
    """
    fine = 0.6 * eps ** (1 / 3)
    return np.array([min(0.03 * (eps / EPS64) ** 0.1, 0.5), min(eps**0.19, 0.25), 1.7 * fine, fine])


def full_levels(eps: float) -> Floats:
    """The whole ladder: from the natural size of x down to where noise drowns everything."""
    if eps < 1e-12:
        ratio, top, bottom = 4.0, 0.25, eps**0.58
    elif eps < 1e-5:
        ratio, top, bottom = 2.5, 0.5, eps**0.68
    else:
        ratio, top, bottom = 1.6, 1.0, eps**0.8
    return top * ratio ** -np.arange(int(math.log(top / bottom) / math.log(ratio)) + 1.0)


def guard_step(finest: float, eps: float) -> float:
    """The step that tells noise from a ripple: as fine as moves x by many ulps, about 1e-11 in float64."""
    return max(finest / 3e5, min(finest / 30, 100 * eps))


def jittered(levels: Floats, jitter: np.random.Generator) -> Floats:
    """Move all levels together and each alone: no period can alias with them, and no ratio of two is a simple fraction.

    (An exact ratio of 1.7 met a quantum at 17:10, and a staircase looked like a straight line.)
    """
    return levels * jitter.uniform(0.85, 1.18) * jitter.uniform(0.94, 1.06, len(levels))


def _known_levels(known: Known, jitter: np.random.Generator) -> Floats:
    """The levels of a later line, jittered; three of low precision keep their ratios (see `SHARP`)."""
    count = len(known.levels)
    if known.eps > 1e-12 and count == len(SHARP):
        return known.levels * jitter.uniform(0.95, 1.05) * jitter.uniform(0.95, 1.05, count)
    return known.levels * jitter.uniform(0.9, 1.1, count)


@dataclasses.dataclass
class _Line:
    """The values seen so far, coarse to fine."""

    f0: Floats
    h: Floats
    plus: Floats
    minus: Floats

    def ask(self, levels: Floats) -> Generator[Floats, Floats, None]:
        """Add levels by asking for both sides of each."""
        values = _columns((yield np.concatenate([levels, -levels])))
        count = len(levels)
        h = np.concatenate([self.h, levels])
        order = np.argsort(-h)
        self.h = h[order]
        self.plus = np.concatenate([self.plus, values[:count]])[order]
        self.minus = np.concatenate([self.minus, values[count:]])[order]

    def finite(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.plus).all(axis=1) & np.isfinite(self.minus).all(axis=1))

    def far_from(self, levels: Floats, factor: float) -> Floats:
        """Those of `levels` that lie more than `factor` away from every measured one: equal steps agree for nothing."""
        distance = np.abs(np.log(levels[:, None] / self.h[None, :])).min(axis=1)
        return levels[distance > math.log(factor)]


def _columns(values: Floats) -> Floats:
    """Values as (k, m), whether phi is scalar or a vector."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def slope(
    jitter: np.random.Generator,
    *,
    eps: float = EPS64,
    scale: float | Floats = 0.0,
    ripple: float = 0.0,
    target: float | None = None,
    known: Known | None = None,
    full: bool = False,
    brief: bool = False,
    claimed: float | None = None,
    continuous: bool = False,
    resolution: float = 0.0,
) -> Asking:
    """Measure phi'(0), asking for few values first and for more only where these do not convince.

    Yields steps (k,), 0 included, is sent the values of phi there, (k,) or (k, m), and returns a `Slope`.

    Parameters
    ----------
    jitter : where the steps' jitter is drawn from.
    eps : relative precision of the values.
    scale : natural size of the slope (absolute); bars are judged relative to the larger of it and the slope.
    ripple : norm of gradient times x over all entries that move (absolute): rounding of x + t v moves phi by about
        eps times this, however small v is.
    target : relative bar that is good enough.
    known : what an earlier direction taught; None for the first.
    full : go through the whole ladder whatever the first levels say.
    brief : stop after the first levels whatever they say; the bar is as wide as it is.
    claimed : a slope; when it lies a thousand bars away, more levels are not worth their cost.
    continuous : whether f is known to take values on no lattice.
    resolution : step of a lattice that the values are known to be rounded to, though they may not show it (absolute).

    Notes
    -----
    Stages: 0, four levels (two for later directions); 1, two more, chosen by what is wrong; 2, the whole ladder;
    3, three finer levels where a kink may sit close to 0. At most about 45 values, and up to 50 more where two
    ranges of steps give two slopes (see `_stairs`).
    """
    hidden = 0.0 if known is None else known.structure
    start = yield from (_start(jitter, eps, target) if known is None else _start_again(jitter, known, target))
    if start.is_undefined:
        return _no_slope(start.line, eps, "not finite")
    line, eps, target, repeats_differ = start.line, start.eps, start.target, start.repeats_differ
    floor = np.maximum(start.floor, 0.5 * resolution)
    ladder = _Ladder(line, eps, np.maximum(scale, ripple), known is None, repeats_differ, continuous)
    guard: _Guard | None = None
    found: Slope | None = None
    result: Slope | None = None
    for stage in range(4):
        with np.errstate(over="ignore", invalid="ignore"):  # f may be as large as it likes
            found = ladder.solve(floor, stage, hidden)
        # Where it may jump at 0, finer steps are to say.
        result = None if found is None else _without_slope_at_jumps(found, floor, claimed, early=stage < 3)
        all_finite = bool(line.finite().all())
        if result is None:
            accepted = stage >= 2
        else:
            accepted = _accept(result, stage, scale, target, floor, guard, all_finite) and (stage >= 2 or not full)
        if accepted or brief or (result is not None and not full and _far_off(result, claimed, scale, floor)):
            break
        if stage == 0 and result is not None and all_finite and not full:
            added = line.far_from(_second_levels(result, scale, target), 1.5)
            noisy = bool((result.noise > _ordinary(result, floor)).any())
            if noisy and len(added):
                guard = yield from _guarded(line, eps)
        elif stage == 2 and result is not None:
            # A kink at 0, or just next to it: look closer. (At whole ratios a straight line lies on a lattice.)
            added = float(result.h[-1]) * jittered(np.array([1 / 4, 1 / 16, 1 / 64]), jitter)
        else:
            added = line.far_from(jittered(full_levels(eps), jitter), 1.5)
        if len(added):
            yield from line.ask(added)
    if found is None or (line.finite().sum() < 4 and found.stage >= 2):
        return _one_sided(line, eps, floor, ladder.scale)
    if result is None or result.jumping.any():
        found = _without_slope_at_jumps(found, floor, claimed)  # (What few levels do not show all do not.)
    if brief or repeats_differ or eps > 1e-12 or found.jumping.any():
        return found
    found = yield from _on_stairs(ladder, found, np.maximum(scale, np.abs(found.value)), jitter)
    # (It is no staircase either, whose slope wider steps would tell.)
    is_lost = found.bar > np.maximum(scale, np.abs(found.value))
    return _without_slope_at_jumps(found, floor, claimed, is_lost=is_lost) if is_lost.any() else found


def _guarded(line: _Line, eps: float) -> Generator[Floats, Floats, _Guard]:
    """Ask whether what looks like noise is that, or a ripple that a far finer step resolves."""
    step = guard_step(float(line.h[-1]), eps)
    pair = _columns((yield np.array([step, -step])))
    return step, (pair[0] - pair[1]) / 2, np.abs((pair[0] + pair[1]) / 2 - line.f0)


@dataclasses.dataclass(frozen=True)
class _Start:
    """The values of the first levels, and what they say of f: its precision, its noise, and what bar is good enough."""

    line: _Line
    eps: float
    target: float
    floor: Floats
    repeats_differ: bool = False
    is_undefined: bool = False


def _start(jitter: np.random.Generator, eps: float, target: float | None) -> Generator[Floats, Floats, _Start]:
    """Ask for the first levels of a first line, and more where they say that f is random, or float32."""
    levels = jittered(first_levels(eps), jitter)
    target = target or (TARGET64 if eps < 1e-12 else TARGET_LOW)
    values = _columns((yield np.concatenate([[0.0, 0.0], levels, -levels])))
    f0, floor = values[0], np.zeros(values.shape[1])
    line = _Line(f0, levels, values[2 : 2 + len(levels)], values[2 + len(levels) :])
    if not np.isfinite(f0).all():
        return _Start(line, eps, target, floor, is_undefined=True)
    if (values[0] != values[1]).any():
        repeats = np.concatenate([values[:2], _columns((yield np.zeros(6)))])
        # 1.3: a standard deviation from eight samples is within 1/1.3 of the truth in 86 % of cases.
        floor, line.f0 = 1.3 * repeats.std(axis=0, ddof=1), repeats.mean(axis=0)
        return _Start(line, eps, target, floor, repeats_differ=True)
    if eps < 1e-12 and _looks_float32(values):
        eps, target = EPS32, TARGET_LOW
        line = _Line(f0, levels[:0], values[:0], values[:0])
        yield from line.ask(jittered(first_levels(eps), jitter))
    return _Start(line, eps, target, floor)


def _start_again(jitter: np.random.Generator, known: Known, target: float | None) -> Generator[Floats, Floats, _Start]:
    """Ask for the levels that an earlier line has shown to be enough."""
    target = max(target or (TARGET64 if known.eps < 1e-12 else TARGET_LOW), 3 * known.relative_bar)
    nothing = np.zeros((0, len(known.f0)))
    line = _Line(known.f0, np.zeros(0), nothing, nothing)
    yield from line.ask(_known_levels(known, jitter))
    return _Start(line, known.eps, target, known.noise)


def _scattered(step: float) -> float:
    """Up to which step values are scattered by jumps, the first of which this step has met."""
    return max(step, min(FURTHER * step, FARTHEST))


@dataclasses.dataclass(frozen=True)
class _Ladder:
    """A line, and what its estimate rests on besides the noise floor: see `_solve`."""

    line: _Line
    eps: float
    scale: Floats | np.float64
    first: bool
    repeats_differ: bool
    continuous: bool

    def scatter(self, jump: float | Floats, farthest: float) -> Floats:
        """The noise of a value (m,) where f jumps, up to a step: a jump, or what many of them add up to."""
        finite = self.line.finite()
        h, plus, minus, f0 = self.line.h[finite], self.line.plus[finite], self.line.minus[finite], self.line.f0
        rounding = _rounding(f0, (plus, minus), self.eps, self.scale)
        seen = noise(h, plus, minus, f0, np.maximum(jump, rounding), rounding[-1], eps=self.eps, continuous=True)
        return np.max(seen.sigma[h <= farthest], axis=0)

    def solve(self, floor: Floats, stage: int, hidden: float | Floats | None = None) -> Slope | None:
        line, eps = self.line, self.eps
        return _solve(line, eps, floor, self.scale, self.first, stage, self.repeats_differ, self.continuous, hidden)


class Beyond(enum.Enum):
    """What lies beyond a jump: more jumps, something smooth, or what cannot be told."""

    JUMPS = "jumps"
    SMOOTH = "smooth"
    UNKNOWN = "unknown"


def _beyond(step: Step, width: float, third: float, jitter: np.random.Generator) -> _AskingBeyond:
    """Whether phi goes on smoothly beyond a jump, where a staircase with treads of this width would jump again.

    A cubic through six values, over some treads, leaves a small part of the jump: those of a staircase are scattered by
    all of it, and those of several at once by the jumps of each. Those of other parts of f may be larger and rarer, so
    that a few widths are tried. What a smooth phi leaves grows like t**4, and is of the order of its t**3 term there,
    as steps are relative to the size of x.
    """
    jump, found = abs(step.jump), Beyond.UNKNOWN
    for wider in WIDER:
        t = 1.1 * abs(step.at) + wider * width * BEYOND * jitter.uniform(0.9, 1.1, len(BEYOND))
        with np.errstate(over="ignore", invalid="ignore"):
            left = float(SMOOTH * jump + third * np.max(t) ** 4)
        if not left <= UNTOLD * jump:
            break  # too far out to tell, or to count
        values = _columns((yield math.copysign(1.0, step.at) * t))[:, 0]
        if not np.isfinite(values).all():
            break
        fitted = np.polynomial.Polynomial.fit(t, values - values[0], 3)
        if np.max(np.abs(values - values[0] - np.asarray(fitted(t)))) > left:
            return Beyond.JUMPS
        found = Beyond.SMOOTH
    return found


def _told(step: Step, third: float) -> float:
    """How far beyond a jump phi may be looked at for the next one, before what is smooth hides it (see `_beyond`)."""
    if third == 0:
        return math.inf
    farthest = ((UNTOLD - SMOOTH) * abs(step.jump) / third) ** 0.25
    return max(farthest - 1.1 * abs(step.at), 0.0) / 1.1


def _is_alone(coarse: Slope, bend: Bend, step: Step) -> bool:
    """Whether no level, up to the coarsest, is off by so much that phi may have jumped a second time."""
    levels, limit = coarse.h[coarse.h > abs(step.at)].tolist(), abs(step.jump) / 2
    for h, plus, minus in zip(levels, coarse.plus, coarse.minus, strict=False):
        here, there = (plus, minus) if step.at > 0 else (minus, plus)
        ahead = bend.beyond(math.copysign(h, step.at), here) - step.jump
        if abs(ahead) > limit or abs(bend.beyond(-math.copysign(h, step.at), there)) > limit:
            return False
    return True


def _jumps_again(ladder: _Ladder, fine: Slope, coarse: Slope, bend: Bend, step: Step, size: Floats) -> _AskingBool:
    """Whether phi jumps again at the finest level that this one jump, taken away, leaves off the slope."""
    half = math.copysign(step.jump / 2, step.jump * step.at)
    without = coarse.odd - np.where(coarse.h > abs(step.at), half, 0.0)[:, None]
    level = np.array([np.count_nonzero(coarse.h > fine.h[fine.level[0]])])
    another = int(off_level(coarse.h, without, fine.value, fine.bar, fine.noise, level, size)[0])
    if another < 0:
        return False
    h = float(coarse.h[another])
    same, opposite = math.copysign(h, step.at), -math.copysign(h, step.at)
    sides = {h: coarse.plus[another], -h: coarse.minus[another]}
    here, there = bend.beyond(same, sides[same]), bend.beyond(opposite, sides[opposite])
    if abs(here - step.jump) >= abs(there):
        second = yield from close_in(step.at, same, (step.jump, here), bend)
    else:
        near = math.copysign(float(fine.h[fine.level[0]]), opposite)
        second = yield from close_in(near, opposite, (0.0, there), bend)
    return second.kind is not StepKind.SMOOTH


def _next_to_a_piece(fine: Slope, j: int) -> int:
    """The finest level that is off, given the finest whose odd part is: jumps on both sides may cancel in that.

    They do not in the even part, which otherwise goes with the square of the step (and so does the noise of what a
    finer level predicts).
    """
    even, noise = np.abs(fine.even[:, 0]), float(fine.noise[0])
    predicted = CURVED * (even[1:] + noise) * (fine.h[:-1] / fine.h[1:]) ** 2
    off = np.flatnonzero(even[:-1] > 8 * noise + predicted)
    return max(j, int(off[-1])) if len(off) else j


def _on_stairs(ladder: _Ladder, fine: Slope, size: Floats, jitter: np.random.Generator) -> Asking:
    """The slope that counts where fine steps give another than coarse ones: that of the coarse ones if phi jumps.

    Parts of f that are rounded more coarsely jump more rarely, and higher: what coarse steps give may be the slope of
    such a tread again.
    """
    off = off_level(fine.h, fine.odd, fine.value, fine.bar, fine.noise, fine.level, size)
    if len(off) > 1:
        return (yield from _many_on_stairs(ladder, fine, off, size, jitter))
    found, tread = fine, None
    while off[0] >= 0:
        found = yield from _past_a_jump(ladder, found, int(off[0]), size, jitter)
        if found.tread is None:
            break
        tread = tread or found.tread
        found = dataclasses.replace(found, tread=None)
        off = off_level(found.h, found.odd, found.value, found.bar, found.noise, found.level, size)
    if tread is None or found.step is None:
        return found
    # Directions after this one rest on steps like these, at which f may scatter by more than this jump.
    scatter = ladder.scatter(found.step.size, float(found.h[found.level[0]])) / LARGEST
    return dataclasses.replace(found, tread=tread, noise=np.maximum(found.noise, scatter))


def _holding(fine: Slope, more: Floats) -> Slope:
    """The slope with a bar that holds what coarse steps allow, too."""
    bar = fine.bar + more
    return dataclasses.replace(fine, bar=bar, central_bar=np.maximum(bar, fine.central_bar))


def _past_a_jump(ladder: _Ladder, fine: Slope, off: int, size: Floats, jitter: np.random.Generator) -> Asking:
    """The slope that counts where a level leaves that of the finest ones: see `_on_stairs`."""
    unknown = np.full_like(fine.bar, np.inf)
    either = dataclasses.replace(fine, bar=unknown, central_bar=unknown)
    j = _next_to_a_piece(fine, off)
    near, far = float(fine.h[j + 1]), float(fine.h[j])
    even = float(fine.even[j + 1, 0])
    bent = even / near**2 if abs(even) > 8 * float(fine.noise[0]) else 0.0
    bend = Bend(float(fine.f0[0]), float(fine.value[0]), bent, float(fine.noise[0]))
    ahead = bend.beyond(near, fine.plus[j + 1]), bend.beyond(far, fine.plus[j])
    behind = bend.beyond(-near, fine.minus[j + 1]), bend.beyond(-far, fine.minus[j])
    if abs(ahead[1] - ahead[0]) >= abs(behind[1] - behind[0]):
        step = yield from close_in(near, far, ahead, bend)
    else:
        step = yield from close_in(-near, -far, behind, bend)
    if step.kind is StepKind.SMOOTH:
        return fine
    if step.kind is StepKind.UNRESOLVED:
        return either
    if fine.stage < 2:
        levels = jittered(full_levels(ladder.eps), jitter)
        added = ladder.line.far_from(levels[levels > far], 1.5)
        if len(added):
            yield from ladder.line.ask(added)
    jump = Jump(abs(step.jump), abs(step.at))
    lone, either = dataclasses.replace(fine, step=jump), dataclasses.replace(either, step=jump)
    scatter = ladder.scatter(abs(step.jump), _scattered(far))
    coarse = ladder.solve(scatter, 2)
    if coarse is not None and (coarse.central_bar > WIDE * size).any():
        # Where jumps and truncation leave little in between, levels half as far apart tell more.
        around = coarse.h[max(int(coarse.level[0]) - 1, 0) : int(coarse.level[0]) + 2]
        yield from ladder.line.ask(np.sqrt(around[:-1] * around[1:]))
        coarse = ladder.solve(scatter, 2)
    if coarse is None or not math.isfinite(float(coarse.bar[0])):
        return either
    third = coarse.third()
    apart = abs(float(coarse.value[0] - fine.value[0]))
    if apart <= float(coarse.central_bar[0] + fine.bar[0]):
        # A lone jump explains what coarse steps see, and so may a staircase: is there another jump?
        is_flat = float(fine.value[0]) == 0  # (the tread of a step function)
        held = either if is_flat else _holding(lone, apart + coarse.central_bar)
        if (yield from _jumps_again(ladder, fine, coarse, bend, step, size)):
            return held
        if _is_alone(coarse, bend, step):
            return lone
        width = max(abs(step.jump) / max(apart, 1e-300), abs(step.at))
        told = math.inf if is_flat else _told(step, third)
        beyond = Beyond.UNKNOWN
        if told > 0:
            beyond = yield from _beyond(step, min(width, told / float(BEYOND[-1])), third, jitter)
        if beyond is Beyond.JUMPS:
            return held
        if told < width:
            # Too small a jump, too far out, to tell whether the next one comes: treads at least so wide leave no more
            # of the slope out than a jump makes over them.
            left_out = abs(step.jump) / told if told > 0 else math.inf
            return _holding(lone, np.minimum(apart + coarse.central_bar, left_out))
        return lone
    # (As wide as this jump asks for, or as the way to it was: jumps of other parts of f may be larger, and rarer.)
    beyond = yield from _beyond(step, max(abs(step.jump) / max(apart, 1e-300), abs(step.at)), third, jitter)
    if beyond is not Beyond.JUMPS:
        # A zone around 0, and another piece of f beyond: where that begins, no slope goes across.
        return lone if beyond is Beyond.SMOOTH else either
    if (np.abs(coarse.jump) <= coarse.jump_bar).all() and (np.abs(fine.jump) <= fine.jump_bar).all():
        # No kink at 0 shows on the tread, whose finer steps would show a smaller one than the coarse steps can.
        coarse = dataclasses.replace(coarse, bar=coarse.central_bar + fine.bar - fine.central_bar)
    tread = Tread(float(fine.value[0]), float(fine.bar[0]))
    return dataclasses.replace(coarse, step=jump, tread=tread)


def _many_on_stairs(
    ladder: _Ladder, fine: Slope, off: NDArray[np.intp], size: Floats, jitter: np.random.Generator
) -> Asking:
    """The same for many outputs at once."""
    if (off >= 0).any():
        off = np.where(is_flat_further_out(fine, off), off, -1)
    treads, off = with_treads(fine, off, size)
    if not (off >= 0).any():
        return fine
    far = float(np.median(fine.h[off[off >= 0]]))
    if fine.stage < 2:
        levels = jittered(full_levels(ladder.eps), jitter)
        added = ladder.line.far_from(levels[levels > far], 1.5)
        if len(added):
            yield from ladder.line.ask(added)
    coarse = ladder.solve(ladder.scatter(jump_sizes(treads, off), _scattered(far)), 2)
    if coarse is None or len(coarse.h) < len(fine.h):
        return bars_for_both(fine, off)
    like, unlike = yield from look_between(treads, off, coarse.value - treads.value, jitter)
    return merged(fine, treads, coarse, like, unlike, off)


def _looks_float32(values: Floats) -> bool:
    """Whether a float64 interface hides float32 values."""
    if not np.isfinite(values).all() or np.abs(values).max() > 1e30 or len(np.unique(values)) < 5:
        return False
    return bool((values == values.astype(np.float32)).all())


def _rounding(f0: Floats, sides: Sequence[Floats], eps: float, scale: Floats | np.float64) -> Floats:
    """Half an ulp of phi at each level (L, m), or of x + t v seen through phi (about eps times the slope).

    It is that of the largest value at this level, at 0 and at all finer levels: what phi does further out says nothing
    of how it is rounded here. (A mean over all levels let one value of 1e204 at a step of 0.26 drown all others.)
    """
    own = np.maximum.reduce([np.abs(values) for values in sides])
    running = np.maximum.accumulate(own[::-1], axis=0)[::-1]
    return 0.5 * eps * np.maximum(np.maximum(np.abs(f0), running), 0.6 * scale)


def _solve(
    line: _Line,
    eps: float,
    floor: Floats,
    scale: Floats | np.float64,
    first: bool,
    stage: int,
    repeats_differ: bool,
    continuous: bool,
    hidden: float | Floats | None,
) -> Slope | None:
    """The estimate from all two-sided levels so far; None if there are fewer than two.

    `hidden` is the steepness of a structure that an earlier direction has shown; None where the noise is known to be
    that of jumps, so that what is gone at finer levels is no structure.
    """
    finite = line.finite()
    if finite.sum() < 2:
        return None
    h, plus, minus = line.h[finite], line.plus[finite], line.minus[finite]
    finest = np.abs(plus[-1] - minus[-1]) / (2 * h[-1])
    rounding = _rounding(line.f0, (plus, minus), eps, np.maximum(scale, finest))
    unit: Floats = rounding[-1]
    # Two samples are no noise estimate: until the ladder is long enough, ordinary rounding is taken to be 4 half-ulps.
    least = 4 * rounding if first and len(h) < 8 else rounding
    seen: Noise = noise(h, plus, minus, line.f0, np.maximum(floor, least), unit, eps=eps, continuous=continuous)
    if hidden is None:
        seen = dataclasses.replace(seen, structure=np.zeros_like(seen.structure))
    elif len(h) < 8:
        # Too few levels to see structure again that an earlier direction has shown.
        seen = dataclasses.replace(seen, structure=np.maximum(seen.structure, hidden))
    odd, even = (plus - minus) / 2, (plus + minus) / 2 - line.f0
    found: Estimate = estimate(h, odd, even, seen, no_kink=not first and len(h) <= 3)
    # Differences between steps bound what is left only where they shrink. A bar of a quarter of the slope says that
    # they hardly do, as steps of low precision may: it is no more than an order of magnitude.
    hardly = found.bar > 0.25 * np.maximum(scale, np.abs(found.value))
    return Slope(
        value=found.value,
        bar=np.where(hardly, 2 * found.bar, found.bar),
        central_bar=found.central_bar,
        jump=found.jump,
        jump_bar=found.jump_bar,
        noise=seen.finest,
        structure=seen.structure,
        quantum=seen.quantum,
        unit=unit,
        f0=line.f0,
        h=h,
        plus=plus,
        minus=minus,
        level=found.level,
        column=found.column,
        stage=stage,
        eps=eps,
        repeats_differ=repeats_differ,
    )


def _without_slope_at_jumps(
    result: Slope,
    floor: Floats,
    claimed: float | None,
    *,
    early: bool = False,
    is_lost: NDArray[np.bool_] | bool = False,
) -> Slope:
    """Where phi jumps at 0 itself, nothing is known of its slope there; see `gradproof._line._jump`."""
    least = least_jump(result.unit, floor)
    values = result.h, result.plus, result.minus, result.f0
    jumping = jumps(*values, result.level, least, claimed, early=early, is_lost=is_lost)
    if not jumping.any():
        return result
    bar = np.where(jumping, np.inf, result.bar)
    return dataclasses.replace(result, bar=bar, central_bar=np.maximum(result.central_bar, bar), jumping=jumping)


def _plausible(result: Slope, size: Floats) -> NDArray[np.bool_]:
    """Whether the quotient at the third finest level agrees with the slope: a lone lucky pair is not believed."""
    low = result.eps > 1e-12
    row = max(-3, -len(result.h)) if not low or len(result.h) != 3 else -2
    third = result.odd[row] / result.h[row]
    with np.errstate(invalid="ignore"):
        return np.abs(third - result.value) <= (PLAUSIBLE_LOW if low else PLAUSIBLE) * size + result.bar


def _stuck(result: Slope, size: Floats) -> NDArray[np.bool_]:
    """Whether phi moves at the coarsest step, by more than a negligible slope would, and not at the finest."""
    return (result.odd[-1] == 0) & (np.abs(result.odd[0]) > 3e-4 * size * result.h[0])


def _ordinary(result: Slope, floor: Floats) -> Floats:
    """Noise that needs no explanation: that of rounding, and what is known from repeats or an earlier direction."""
    return np.maximum(ROUNDING * result.unit, 1.001 * floor)


def _accept(
    result: Slope,
    stage: int,
    scale: float | Floats,
    target: float,
    floor: Floats,
    guard: _Guard | None,
    all_finite: bool,
) -> bool:
    """Whether the estimate of this stage convinces, for every output."""
    if stage == 3:
        return True
    size = np.maximum(scale, np.abs(result.value))
    if stage == 2:
        # Only a bar that is wide although rounding allows a finer step asks for one.
        rounding = result.unit / result.h[-1]
        return not bool(((result.bar > 1e-3 * size) & (rounding < 1e-4 * size)).any())
    good = _plausible(result, size) & ~_stuck(result, size)
    if stage == 0:
        good &= (result.bar <= target * size) & (result.noise <= _ordinary(result, floor))
    else:
        good &= result.bar <= LATER * target * size
        if guard is not None:
            step, odd, even = guard
            moved = np.maximum(np.abs(odd - result.value * step), even)
            good &= (result.noise <= _ordinary(result, floor)) | (moved > 0.3 * result.noise)
    # Of many outputs some look odd by chance: a few in a hundred are not worth more values of all others.
    return all_finite and int(np.count_nonzero(~good)) <= len(good) // UNCONTENT


def _far_off(result: Slope, claimed: float | None, scale: float | Floats, floor: Floats) -> bool:
    """Whether a claimed slope (of a scalar phi) is excluded so clearly that a narrower bar would add nothing.

    What looks like noise may be a ripple, whose slope belongs to that of phi and needs finer steps.
    """
    if claimed is None or (result.noise > _ordinary(result, floor)).any():
        return False
    size = np.maximum(scale, np.abs(result.value))
    deviation = np.abs(result.value - claimed)
    narrow = (result.bar <= 1e-4 * size) & (deviation > 1000 * result.bar) & (deviation > 2e-3 * size)
    return bool((narrow & ~_stuck(result, size) & _plausible(result, size)).all())


def _second_levels(result: Slope, scale: float | Floats, target: float) -> Floats:
    """The levels of stage 1, chosen by what is wrong with stage 0."""
    h = result.h
    size = np.maximum(np.maximum(scale, np.abs(result.value)), 1e-300)
    kink = np.abs(result.jump) > result.jump_bar
    if result.eps > 1e-12 and len(h) <= 3:
        # A later line in low precision: its steps balance noise and truncation of those before, and truncation may be
        # larger here. At much finer steps noise drowns everything.
        levels = [h[-1] / 2, h[-1] / 4]
    elif (kink | ~_plausible(result, size)).any():
        # Two of them near each other, as two neighbours show how noisy phi is there.
        levels = [h[-1] / 7, h[-1] / 29, h[-1] / 49]
    elif np.any(5 * result.noise / h[-1] > target * size):
        between = levels_between(result)
        levels = [4 * h[0], 0.2 * h[0]] if between is None else between.tolist()
    elif len(h) >= 3:
        levels = [math.sqrt(h[0] * h[1]), math.sqrt(h[1] * h[-2])]
    else:
        levels = [4 * h[0], h[-1] / 8]
    return np.array([step for step in levels if step <= 1.0])


def _no_slope(line: _Line, eps: float, trouble: str) -> Slope:
    outputs = len(line.f0)
    nothing, unbounded = np.full(outputs, np.nan), np.full(outputs, np.inf)
    zero = np.zeros(outputs)
    return Slope(
        value=nothing,
        bar=unbounded,
        central_bar=unbounded,
        jump=zero,
        jump_bar=zero,
        noise=zero,
        structure=np.zeros_like(line.plus),
        quantum=zero,
        unit=zero,
        f0=line.f0,
        h=line.h,
        plus=line.plus,
        minus=line.minus,
        level=np.zeros(outputs, dtype=np.intp),
        column=np.zeros(outputs, dtype=np.intp),
        stage=3,
        eps=eps,
        trouble=trouble,
    )


def _one_sided(line: _Line, eps: float, floor: Floats, scale: Floats | np.float64) -> Slope:
    """The slope where phi exists on one side only (the edge of its domain)."""
    plus_ok, minus_ok = np.isfinite(line.plus).all(1), np.isfinite(line.minus).all(1)
    side, values, finite = (1, line.plus, plus_ok) if plus_ok.sum() >= minus_ok.sum() else (-1, line.minus, minus_ok)
    if finite.sum() < 4:
        return _no_slope(line, eps, "domain")
    h, rise = line.h[finite], side * (values[finite] - line.f0)
    sigma = unit = np.maximum(floor, _rounding(line.f0, (values[finite],), eps, scale)[-1])
    seen, settles = one_sided_noise(h, rise)
    sigma = np.maximum(sigma, seen)
    sigma = np.maximum(sigma, 0.5 * unseen_change(h, rise, rise, unit, eps, sigma < 0))
    # Above rounding it is no noise, but what phi does near the edge, and that is as steep as it is at the finest steps.
    irregular = seen > ROUNDING * unit
    edge = h[-3] if len(h) > 4 else h[-1]
    found = one_sided(h, rise, sigma, np.where((h > edge)[:, None] & irregular, 4 * seen / edge, 0.0))
    # No better at finer steps, or far from converged for other reasons than rounding: phi may be as steep as it likes
    # next to the edge.
    wide = (found.bar > 0.05 * np.abs(rise[-1]) / h[-1]) & (found.bar > 40 * unit / h[-1])
    # All samples share the rounding of phi(0), which may be that of larger terms that cancel, and looks like log t.
    steep = wide | ((seen > 4 * ROUNDING * unit) & ~settles)
    bar = np.where(steep, np.inf, found.bar)
    return dataclasses.replace(
        _no_slope(line, eps, "domain" if steep.any() else ""),
        value=found.value,
        bar=bar,
        central_bar=bar,
        noise=sigma,
        unit=sigma,
        h=h,
        plus=line.plus[finite],
        minus=line.minus[finite],
        level=found.level,
        column=found.column,
        side=side,
    )
