"""Tell which of two slopes counts where fine steps give another than coarse ones.

Where a part of f is rounded (a cast to float32, digits that cancel, a table, a bisection that stops), phi is smooth on
a tread, with a slope that lacks the rounded part, and all steps finer than a tread agree on it. Coarser steps give the
slope that a correct gradient has, each value off by up to the height J of a jump. A ripple or a kink close by makes the
same two plateaus, and there the fine slope is right: only closing in on what phi does between the two tells which.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A level is off where its odd part leaves the slope by more than this many standard deviations of noise ...
SIGMAS = 8.0
# ... and by more than this share of the slope: a tenth of what a direction tolerates.
LEAST = 1e-6
# The odd part of a smooth phi leaves the slope like h**3, so that the next finer level shows it, too. Where that shows
# less than a tenth of it, what the coarser level saw lies between the two.
HIDDEN = 0.1
# Levels of a whole ladder, at least, and how many times more than noise and bar explain a clear deviation is there.
LONG, CLEAR = 12, 10.0
# A plateau of coarse steps: so many levels, whose steps span such a range, agree to this share of what they are off.
AGREE, RANGE, ALIKE = 4, 30.0, 0.1
# It is looked for where the fine slope has a bar wider than this share of it: treads of one width leave a narrow one.
ROUGH = 1e-5
# Jump or not shows while an interval is halved eight times: a jump keeps half of its size. A kink loses 63/64 of it in
# six, and so does all that is smooth, or more.
# What still grows is no jump yet: a pole, or several jumps that cancel in a longer interval.
HALVINGS, KEEPS, GROWS = 8, 0.5, 2.0
SETTLED, SMOOTH = 6, 1 / 32
# A change of so many standard deviations of noise is a change no more.
GONE = 6.0
# Intervals shorter than this, relative to the natural size of x, hold too few roundings of x to be halved.
SHORTEST = 16 * 2.0**-52


class StepKind(enum.Enum):
    """What lies between two points between which phi changes more than its slope says."""

    JUMP = "jump"
    SMOOTH = "smooth"
    UNRESOLVED = "unresolved"


@dataclasses.dataclass(frozen=True)
class Step:
    """What was closed in on: its kind, how much phi changes there on the way outwards, and the step where it does."""

    kind: StepKind
    jump: float
    at: float


def off_level(
    h: Floats, odd: Floats, value: Floats, bar: Floats, noise: Floats, level: NDArray[np.intp], size: Floats
) -> NDArray[np.intp]:
    """The finest level that leaves the slope by what no finer level shows, per output; -1 where there is none.

    Parameters
    ----------
    h : (L,) steps, coarse to fine.
    odd : (L, m)
    value, bar, noise, level : (m,), the slope, its bar, the noise of a value, and the level that the slope rests on.
    size : (m,), natural size of the slope.
    """
    levels, outputs = odd.shape
    found = np.full(outputs, -1, dtype=np.intp)
    step = h[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        away = np.abs(odd - value * step)
        floor = SIGMAS * noise + bar * step
        index: NDArray[np.intp] = np.arange(levels, dtype=np.intp).reshape(levels, 1)
        coarser = index < level
        off = np.asarray((away > floor) & (away > LEAST * size * step) & coarser, dtype=np.bool_)
        # (Most outputs are done with here: the next finer level shows what truncation predicts.)
        less = HIDDEN * away[:-1] * (step[1:] / step[:-1]) ** 3
        hidden = (off[:-1] & (away[1:] <= np.maximum(less, floor[1:]))).any(axis=0)
        worth = hidden | (off.any(axis=0) & (bar > ROUGH * size))
    for k in np.flatnonzero(worth).tolist():
        # (Jumps on both sides may cancel in the finest such level. Where steps are few, two of them are far apart, and
        # the finest that more than truncation leaves off counts.)
        these = off[:, k] if levels >= LONG else off[:, k] & ~_grows(h, away[:, k], floor[:, k])
        for j in np.flatnonzero(these)[: -3 if levels >= LONG else -2 : -1].tolist():
            predicted = HIDDEN * away[j, k] * (h[j + 1 :] / h[j]) ** 3
            is_hidden = (away[j + 1 :, k] <= np.maximum(predicted, floor[j + 1 :, k])).all()
            # What is seen so clearly is worth a look even if bars hide what the next finer level could show: on a whole
            # ladder, and where the next coarser level shows two plateaus in place of something that grows like h**2.
            is_plateau = j > 0 and away[j - 1, k] < away[j, k] * (h[j - 1] / h[j]) ** 2
            is_clear = away[j, k] > CLEAR * floor[j, k] and (levels >= LONG or is_plateau)
            if levels - j > 2 and is_hidden and (is_clear or predicted[0] > floor[j + 1, k]):
                found[k] = j
                break
        rough = found[k] < 0 and bar[k] > ROUGH * size[k] and off[:, k].any()
        far = slice(0, int(level[k]))  # (what finer levels agree on is the slope of a tread that is known already)
        if rough and _is_plateau(h[far], odd[far, k] / h[far], float(value[k]), float(bar[k])):
            # Treads of many widths, as those of several rounded inputs, show at all finer levels.
            found[k] = np.flatnonzero(off[:, k])[-1]
    return found


def _grows(h: Floats, away: Floats, floor: Floats) -> NDArray[np.bool_]:
    """Whether a level is off the slope by no more than truncation makes of what the next finer level is off (L,)."""
    shown = away[1:] > np.maximum(HIDDEN * away[:-1] * (h[1:] / h[:-1]) ** 3, floor[1:])
    return np.append(shown, False)


def _is_plateau(h: Floats, quotients: Floats, value: float, bar: float) -> bool:
    """Whether levels over a wide range of steps agree on another slope, to a small part of what it is away."""
    for last in range(AGREE - 1, len(h)):
        here = quotients[last + 1 - AGREE : last + 1]
        away = float(np.min(np.abs(here - value)))
        if away > bar and float(np.ptp(here)) < ALIKE * away and h[last + 1 - AGREE] > RANGE * h[last]:
            return True
    return False


def close_in(near: float, far: float, beyond: tuple[float, float], bend: Bend) -> Generator[Floats, Floats, Step]:
    """Halve the interval from `near` to `far` until it is clear what phi does there beyond its slope.

    Parameters
    ----------
    near, far : steps on one side of 0.
    beyond : what phi does at both beyond `bend`.
    bend : phi as the finest levels have it.
    """
    a, b = near, far
    at_a, at_b = beyond
    changes = [abs(at_b - at_a)]
    # An interval so many times as long as the distance to 0 may hold as many jumps, and changes that halve with it
    # until one is left.
    crowded = math.ceil(math.log2(max(abs(far / near), 2.0)))
    while abs(b - a) > SHORTEST * max(1.0, abs(b)):
        middle = a + (b - a) / 2
        at_middle = bend.beyond(middle, (yield np.array([middle])))
        if not math.isfinite(at_middle):
            break
        if abs(at_middle - at_a) > abs(at_b - at_middle):
            b, at_b = middle, at_middle
        else:
            a, at_a = middle, at_middle
        changes.append(abs(at_b - at_a))
        kind = kind_of(changes, GONE * bend.noise, crowded)
        # (What changes at the far end alone may be a kink just before it, of which that end shows the beginning.)
        if kind is StepKind.JUMP and b == far and len(changes) <= 2 * HALVINGS:
            continue
        if kind is not None:
            return Step(kind, at_b - at_a, b)
    return Step(StepKind.UNRESOLVED, at_b - at_a, b)


def kind_of(changes: list[float], gone: float, crowded: int) -> StepKind | None:
    """What changes over a halved interval say; None if nothing yet. `crowded` halvings say nothing of a smooth one."""
    if changes[-1] < gone:
        return StepKind.SMOOTH
    if len(changes) > HALVINGS and KEEPS < changes[-1] / changes[-1 - HALVINGS] < GROWS:
        return StepKind.JUMP
    settled = len(changes) > crowded + SETTLED and changes[-1] < SMOOTH * changes[-1 - SETTLED]
    return StepKind.SMOOTH if settled else None


@dataclasses.dataclass(frozen=True)
class Bend:
    """phi as the finest levels have it: ``f0 + slope t + curvature t**2`` (scalar), and the noise of a value."""

    f0: float
    slope: float
    curvature: float
    noise: float

    def beyond(self, t: float, value: Floats) -> float:
        """phi(t) less that."""
        return float(np.asarray(value).reshape(-1)[0]) - self.f0 - t * (self.slope + t * self.curvature)
