"""Which of two slopes counts, for many outputs at once that share their steps.

To close in on a jump of each output would take ten values for each. Pairs of values at places all over the interval
where coarse and fine steps part say as much for all outputs together: where an output is a staircase its slope at
almost all of them is that at the point, and yet it rises otherwise across them, so that the rest of the change is made
by what lies between: jumps. Beyond a kink, in a saturation, or where a zone around the point ends, the slopes are
others, and f rises from place to place as they tell.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from gradproof._line._levels import jittered
from gradproof._line._slope import Slope
from gradproof._line._solve import columns
from gradproof._line._stairs import GONE

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
AskingPlaces = Generator[Floats, Floats, tuple[Mask, Mask]]

# Places on both sides, relative to the step that is off, and how many pairs of them must agree: a pair meets a jump in
# one of some ten cases. Slopes of a ripple agree as well as ALIKE (of what fine and coarse steps differ by) in one of
# seven cases at most, in PLACES - MISSES of them in one of 1e5.
PLACES = np.array([0.31, -0.43, 0.67, -0.83, 1.21, -1.57, 2.3, -2.9, 4.3, -5.1])
MISSES, ALIKE = 3, 0.1
# Half the distance of a pair, relative to the same step, at most: where it lies across a kink, its mean is off by half
# of that times the difference of the slopes, and what is told of the way to the next place by a twentieth of them.
PAIR = 1 / 32
# Where steps are added between two levels: the values of a clip that is left at twice the distance show at one of them.
BETWEEN = (1 / 3, 2 / 3)
# A bar, and a difference from it, relative to the slope, from which the finest levels may be a tread's.
WIDE = 1e-3
# How much coarser the level is that shows another plateau.
FARTHER = 3.0
# Ordinary rounding, in half-ulps.
ROUNDING = 4.0
# Levels of different outputs, in factors of a step, that are looked at together: from their geometric mean at least two
# places on either side lie beyond a kink that any of them has met.
TOGETHER = 4.0


def jump_sizes(fine: Slope, off: NDArray[np.intp]) -> Floats:
    """How high each output that is off may jump (m,), 0 for the others: what the first level that meets jumps shows."""
    floor = GONE * fine.noise + fine.bar * fine.h[:, None]
    straight = fine.value * fine.h[:, None]
    sides = np.maximum(np.abs(fine.plus - fine.f0 - straight), np.abs(fine.minus - fine.f0 + straight))
    coarser = np.arange(len(fine.h))[:, None] < fine.level
    met = np.where((sides > floor) & coarser, sides, np.inf).min(axis=0)
    return np.where((off >= 0) & np.isfinite(met), met, 0.0)


def look_between(fine: Slope, off: NDArray[np.intp], apart: Floats, jitter: np.random.Generator) -> AskingPlaces:
    """Say which outputs are staircases, and which are bent (m,): see above. The others may be either.

    Parameters
    ----------
    fine : the slopes that the finest steps give.
    off : (m,), the finest level that leaves each slope; -1 where there is none.
    apart : (m,), what coarse steps differ by from that slope.
    jitter : where places are drawn from.
    """
    like, unlike = np.zeros(len(off), dtype=bool), np.zeros(len(off), dtype=bool)
    todo = off >= 0
    while todo.any():
        met = fine.h[np.maximum(off, 0)]
        some = todo & (met <= TOGETHER * float(np.min(met[todo])))
        todo &= ~some
        far = math.sqrt(float(np.min(met[some])) * float(np.max(met[some])))
        step = min(float(np.min(fine.h[fine.level[some]])), far * PAIR)
        at = far * PLACES * jitter.uniform(0.9, 1.1, len(PLACES))
        slopes, middle = yield from _seen_at(at, step)
        # (Between jumps a slope bends, as everywhere.)
        bend = np.where(np.abs(fine.even[-1]) > GONE * fine.noise, 2 * fine.even[-1] / fine.h[-1] ** 2, 0.0)
        away = np.abs(slopes - fine.value - bend * at[:, None])
        room = ALIKE * np.abs(apart) + fine.bar + GONE * fine.noise / step
        told = some & (room < np.abs(apart) / 2)
        with np.errstate(invalid="ignore"):
            alike = away <= room
            coarse = (np.abs(slopes - fine.value - apart) <= room).sum(axis=0)
        places, middle = np.concatenate([[0.0], at]), np.concatenate([fine.f0[None], middle])
        bent = told & _rises_as_it_slopes(places, middle, np.concatenate([fine.value[None], slopes]), room)
        asked = np.flatnonzero((~alike & bent).any(axis=1))
        if len(asked):
            # Half the step shows a slope again, while a jump is twice as steep there, or gone.
            finer, _ = yield from _seen_at(at[asked], step / 2)
            with np.errstate(invalid="ignore"):
                gone = ~alike[asked] & ~(np.abs(finer - slopes[asked]) <= room)
            slopes[asked] = np.where(gone, math.nan, slopes[asked])
            bent &= _rises_as_it_slopes(places, middle, np.concatenate([fine.value[None], slopes]), room)
        bent &= (~alike & np.isfinite(slopes)).any(axis=0)
        like |= told & (alike.sum(axis=0) >= len(at) - MISSES) & ~bent
        unlike |= told & (bent | (coarse >= len(at) - MISSES))
    return like, unlike


def _seen_at(at: Floats, step: float) -> Generator[Floats, Floats, tuple[Floats, Floats]]:
    """Slopes and values (k, m) at some places."""
    values = columns((yield np.concatenate([at + step, at - step])))
    ahead, behind = values[: len(at)], values[len(at) :]
    return (ahead - behind) / (2 * step), (ahead + behind) / 2


def _rises_as_it_slopes(at: Floats, values: Floats, slopes: Floats, room: Floats) -> Mask:
    """Whether each output (m,) rises from place to place as the slopes on both sides tell, within `room`.

    It does where it bends, or has a kink; a jump makes it rise by more. Beyond the outermost place but one there may be
    no slope to tell by: the step that is off lies within that one.

    at : (k,), places.
    values, slopes : (k, m), what is seen there; nan for a slope that is none.
    room : (m,), what slopes may be off by.
    """
    order = np.argsort(at)
    values, slopes = values[order], slopes[order]
    # Of the nearest places on either side that have a slope.
    rows, none = np.arange(len(at))[:, None], np.isnan(slopes)
    left = np.maximum.accumulate(np.where(none, 0, rows), axis=0)[:-1]
    right = np.minimum.accumulate(np.where(none, len(at) - 1, rows)[::-1], axis=0)[::-1][1:]
    before, after = np.take_along_axis(slopes, left, axis=0), np.take_along_axis(slopes, right, axis=0)
    with np.errstate(invalid="ignore"):
        rise = np.diff(values, axis=0) / np.diff(at[order])[:, None]
        told = (rise >= np.fmin(before, after) - room) & (rise <= np.fmax(before, after) + room)
    told[0] |= none[0]
    told[-1] |= none[-1]
    return np.asarray(told.all(axis=0))


def between_two_values(found: Slope, jitter: np.random.Generator) -> Floats:
    """Steps between those at which an output goes from the value at the point to the only other one that it takes.

    Two values lie on a lattice whatever they are. Where f is saturated at both, those on the way from one to the other
    show that there is none.
    """
    if len(found.f0) == 1 or len(found.h) < 4:
        return np.zeros(0)
    moved = np.stack([found.plus, found.minus]) != found.f0
    values = np.stack([found.plus, found.minus])
    other = np.where(moved, values, -np.inf).max(axis=(0, 1))
    # (What is rounding alone, as outputs that are constant, takes two values as well.)
    is_pair = (~moved | (values == other)).all(axis=(0, 1)) & (np.abs(other - found.f0) > ROUNDING * found.unit)
    # (Levels go from coarse to fine.)
    gaps = np.flatnonzero((moved[:, :-1] & ~moved[:, 1:] & is_pair).any(axis=(0, 2)))
    parts = np.array(BETWEEN)[:, None]
    return jittered((found.h[gaps] ** (1 - parts) * found.h[gaps + 1] ** parts).reshape(-1), jitter)


def with_treads(fine: Slope, off: NDArray[np.intp], size: Floats) -> tuple[Slope, NDArray[np.intp]]:
    """Take the finest levels for a tread where finer levels than the chosen one depart from it and leave a wide bar.

    size : (m,), natural size of each slope.
    """
    last = len(fine.h) - 1
    if last < 4:
        return fine, off
    finest, other = fine.odd[last] / fine.h[last], fine.odd[last - 1] / fine.h[last - 1]
    # (What passes for noise there are jumps; on a tread nothing but rounding is left.)
    noise = ROUNDING * fine.unit
    apart, scatter = np.abs(other - fine.value), GONE * noise / fine.h[last]
    agree = np.abs(finest - other) + scatter < ALIKE * apart
    found = (off < 0) & (fine.bar > WIDE * size) & (apart > WIDE * size) & agree
    if not found.any():
        return fine, off
    return dataclasses.replace(
        fine,
        value=np.where(found, other, fine.value),
        bar=np.where(found, np.abs(finest - other) + scatter, fine.bar),
        noise=np.where(found, noise, fine.noise),
        level=np.where(found, last, fine.level),
    ), np.where(found, last - 2, off)


def merged(fine: Slope, treads: Slope, coarse: Slope, like: Mask, unlike: Mask, off: NDArray[np.intp]) -> Slope:
    """The coarse slope for outputs with jumps, the fine one for the others; a bar for both where nothing tells.

    Where the coarse slope does not exclude that of the tread, a lone jump may have made the difference: the bar holds
    both.
    """
    apart = np.abs(coarse.value - treads.value)
    central = coarse.central_bar + np.where(apart > coarse.central_bar + treads.bar, 0.0, treads.bar)
    straight = (np.abs(coarse.jump) <= coarse.jump_bar) & (np.abs(fine.jump) <= fine.jump_bar)
    kink = np.where(straight, 0.0, 0.5 * (np.abs(coarse.jump) + coarse.jump_bar))
    stairs = like & np.isfinite(coarse.bar)
    open_ = (off >= 0) & ~stairs & ~unlike
    bar = fine.bar + np.where(open_, _between(fine, off), 0.0)
    place = np.searchsorted(-coarse.h, -fine.h)
    structure = np.zeros_like(coarse.plus)
    structure[place] = fine.structure
    return Slope(
        value=np.where(stairs, coarse.value, fine.value),
        bar=np.where(stairs, central + kink, bar),
        central_bar=np.where(stairs, central, np.maximum(fine.central_bar, np.where(open_, bar, 0.0))),
        jump=np.where(stairs, coarse.jump, fine.jump),
        jump_bar=np.where(stairs, coarse.jump_bar, fine.jump_bar),
        noise=np.where(stairs, coarse.noise, fine.noise),
        structure=np.where(stairs, 0.0, structure),
        quantum=fine.quantum,
        unit=fine.unit,
        f0=fine.f0,
        h=coarse.h,
        plus=coarse.plus,
        minus=coarse.minus,
        level=np.where(stairs, coarse.level, place[fine.level]),
        column=np.where(stairs, coarse.column, fine.column),
        stage=max(fine.stage, 2),
        eps=fine.eps,
        repeats_differ=fine.repeats_differ,
        stairs=stairs,
    )


def is_flat_further_out(fine: Slope, off: NDArray[np.intp]) -> Mask:
    """Whether a coarser level shows another plateau (m,), and nothing that grows like h**2 or faster.

    (As it does beside a saturation.)
    """
    rows, each = np.maximum(off, 1), np.arange(len(off))
    away = np.abs(fine.odd - fine.value * fine.h[:, None])
    # (A level next to it may meet two jumps where that meets one.)
    there = np.searchsorted(-fine.h, -FARTHER * fine.h[rows], side="right") - 1
    there = np.clip(there, 0, rows - 1)
    steeper = (fine.h[there] / fine.h[rows]) ** 2
    return np.asarray((off > 0) & (away[there, each] < away[rows, each] * steeper))


def bars_for_both(fine: Slope, off: NDArray[np.intp]) -> Slope:
    """Bars that hold fine and coarse slopes where nothing more is known."""
    return dataclasses.replace(fine, bar=np.where(off > 0, fine.bar + _between(fine, off), fine.bar))


def _between(fine: Slope, off: NDArray[np.intp]) -> Floats:
    """Twice what fine and coarse slopes differ by (m,), at the level that is off; where none is, it says nothing."""
    rows, each = np.maximum(off, 0), np.arange(len(off))
    return np.abs(fine.odd[rows, each] - fine.value * fine.h[rows]) * 2 / fine.h[rows]
