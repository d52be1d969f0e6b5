"""What phi looks like near 0: smooth, or jumping from piece to piece.

A solver that stops at a tolerance is smooth within a piece and jumps where its iteration count changes. Within a piece
its slope differs from that of the exact solution, which a correct gradient gives. A kinked f jumps nowhere.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Generator

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Asking = Generator[Floats, Floats, "Shape"]

NODES = 12
# Relative to the interval; they fall between the nodes.
TEST_POINTS = (0.93, -0.77, 0.41)
HALF_WIDTHS = (0.3, 0.06, 0.012)
# A jump of size d at distance t makes the slope within the piece uncertain by up to this many d / t.
REACH = 300.0
# How far out a jump is looked for, in natural sizes of x, and the points that predict the next one.
FAR = 1.5
WINDOW = 9


class ShapeKind(enum.Enum):
    """What a small deviation between claim and slope can be blamed on."""

    SMOOTH = "smooth"
    JUMPS = "jumps"
    UNCLEAR = "unclear"


@dataclasses.dataclass(frozen=True)
class Shape:
    """The kind, and the slope of the polynomial through phi where it is smooth (nan elsewhere)."""

    kind: ShapeKind
    slope: float = math.nan


def shape_near(deviation: float, noise: float, *, far: bool = False) -> Asking:
    """Judge whether phi is smooth enough for `deviation` to be the claim's fault.

    Chebyshev interpolation on shrinking intervals. Where phi is smooth at the widest, its polynomial gives a second,
    independent slope. Where it is smooth only further in, the nearest break is looked for: a jump stays as large as it
    is when it is approached, a kink shrinks.

    Parameters
    ----------
    deviation : |claim - slope| (absolute).
    noise : standard deviation of one value of phi.
    far : look for jumps up to the natural size of x, even where phi is smooth at the widest interval: for deviations as
        small as those that a solver leaves.

    Returns
    -------
    Shape
    """
    misfits: list[float] = []
    for half_width in HALF_WIDTHS:
        nodes = np.cos(math.pi * (np.arange(NODES) + 0.5) / NODES)
        t = half_width * np.concatenate([nodes, TEST_POINTS])
        values = _scalars((yield t))
        if not np.isfinite(values).all():
            continue
        fit = Chebyshev.fit(t[:NODES], values[:NODES], NODES - 1, domain=[-half_width, half_width])
        misfit = float(np.max(np.abs(fit(t[NODES:]) - values[NODES:])))
        if misfit <= 1e-4 * deviation * half_width:
            slope = float(fit.deriv()(0.0))
            if misfits or far:
                limit = FAR if far else HALF_WIDTHS[0]
                if (yield from _jumps(fit, half_width, limit, deviation / REACH, noise)):
                    return Shape(ShapeKind.JUMPS, slope)
            return Shape(ShapeKind.SMOOTH, slope)
        misfits.append(misfit)
    # Rough all the way down: the misfit of dense kinks shrinks at least like the interval, that of jumps does not.
    rough = len(misfits) == len(HALF_WIDTHS) and misfits[-1] > max(misfits) / 3
    if rough and deviation <= REACH * misfits[-1] / HALF_WIDTHS[-1]:
        return Shape(ShapeKind.JUMPS)
    return Shape(ShapeKind.UNCLEAR)


def _jumps(
    fit: Chebyshev, half_width: float, limit: float, steepness: float, noise: float
) -> Generator[Floats, Floats, bool]:
    """Walk outwards from |t| <= half_width, where `fit` holds, for a jump of `steepness` times its distance or more."""
    spacing = half_width / 6
    start = spacing * np.arange(WINDOW)
    windows = {
        side: (side * (start + half_width - start[-1]), fit(side * (start + half_width - start[-1])))
        for side in (1, -1)
    }
    floor = 10 * 2**WINDOW * max(noise, 2.0**-52 * float(np.max(np.abs(windows[1][1]))))
    reach = half_width
    while windows and reach < limit:
        # Steps grow with the distance: structure that far out matters less.
        spacing = max(spacing, reach / 14)
        reach += spacing
        sides = list(windows)
        values = _scalars((yield reach * np.array(sides, dtype=np.float64)))
        for side, value in zip(sides, values.tolist(), strict=True):
            t, seen = windows[side]
            predicted, uncertain = _extrapolated(t, seen, side * reach)
            anomaly = value - predicted
            if not math.isfinite(anomaly):
                del windows[side]
                continue
            if abs(anomaly) > 2 * uncertain + floor:
                size, distance = yield from _approach(t, seen, side * reach, anomaly)
                if size >= max(steepness * distance, floor):
                    return True
            windows[side] = np.append(t[1:], side * reach), np.append(seen[1:], value)
    return False


def _extrapolated(t: Floats, values: Floats, at: float) -> tuple[float, float]:
    """The polynomial through a window, evaluated further out, and what its highest degree contributes there."""
    column = values
    lower = 0.0
    for k in range(1, len(t)):
        lower = float(column[-1])
        column = ((at - t[:-k]) * column[1:] - (at - t[k:]) * column[:-1]) / (t[k:] - t[:-k])
    return float(column[0]), abs(float(column[0]) - lower)


def _approach(t: Floats, values: Floats, bad: float, anomaly: float) -> Generator[Floats, Floats, tuple[float, float]]:
    """Bisect, from the end of a window, for the place where phi leaves its polynomial; size and place of the jump.

    Each step keeps the half in which phi leaves it faster. A kink, and a polynomial that is merely too stiff, leave
    hardly any difference between the ends of the last interval, 2**-12 of the first; a jump leaves all of it.
    """
    good, at_good, at_bad = float(t[-1]), 0.0, anomaly
    for _ in range(12):
        middle = (good + bad) / 2
        found = float(_scalars((yield np.array([middle])))[0]) - _extrapolated(t, values, middle)[0]
        if abs(found - at_good) > abs(at_bad - found):
            bad, at_bad = middle, found
        else:
            good, at_good = middle, found
    size = abs(at_bad - at_good)
    return (size if size > 0.02 * abs(anomaly) else 0.0), abs(bad)


def _scalars(values: Floats) -> Floats:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)[:, 0]
