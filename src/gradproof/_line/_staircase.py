"""The slope that counts where f is a staircase: fine steps see a tread of it, coarse ones its rise."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from gradproof._line._levels import full_levels, jittered
from gradproof._line._many_stairs import (
    bars_for_both,
    is_flat_further_out,
    jump_sizes,
    look_between,
    merged,
    with_treads,
)
from gradproof._line._slope import Jump, Slope, Tread
from gradproof._line._solve import Ladder, columns
from gradproof._line._stairs import Bend, Step, StepKind, close_in, off_level

Floats = NDArray[np.float64]
Asking = Generator[Floats, Floats, "Slope"]
_AskingBool = Generator[Floats, Floats, bool]
_AskingBeyond = Generator[Floats, Floats, "Beyond"]

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


class Beyond(enum.Enum):
    """What lies beyond a jump: more jumps, something smooth, or what cannot be told."""

    JUMPS = "jumps"
    SMOOTH = "smooth"
    UNKNOWN = "unknown"


def _scattered(step: float | Floats) -> Floats:
    """Up to which step values are scattered by jumps, the first of which this step has met."""
    return np.maximum(step, np.minimum(FURTHER * np.asarray(step), FARTHEST))


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
        values = columns((yield math.copysign(1.0, step.at) * t))[:, 0]
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


def _jumps_again(ladder: Ladder, fine: Slope, coarse: Slope, bend: Bend, step: Step, size: Floats) -> _AskingBool:
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


def on_stairs(ladder: Ladder, fine: Slope, size: Floats, jitter: np.random.Generator) -> Asking:
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


def _past_a_jump(ladder: Ladder, fine: Slope, off: int, size: Floats, jitter: np.random.Generator) -> Asking:
    """The slope that counts where a level leaves that of the finest ones: see `on_stairs`."""
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
    ladder: Ladder, fine: Slope, off: NDArray[np.intp], size: Floats, jitter: np.random.Generator
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
    met = np.where(off >= 0, fine.h[np.maximum(off, 0)], fine.h[-1])
    coarse = ladder.solve(ladder.scatter(jump_sizes(treads, off), _scattered(met)), 2)
    if coarse is None or len(coarse.h) < len(fine.h):
        return bars_for_both(fine, off)
    like, unlike = yield from look_between(treads, off, coarse.value - treads.value, jitter)
    return merged(fine, treads, coarse, like, unlike, off)
