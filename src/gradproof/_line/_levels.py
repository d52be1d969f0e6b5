"""The steps of a ladder: where they stand, and how they are jittered."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gradproof._line._slope import SHARP, Known

Floats = NDArray[np.float64]

EPS64 = 2.0**-52
EPS32 = 2.0**-23


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


def known_levels(known: Known, jitter: np.random.Generator) -> Floats:
    """The levels of a later line, jittered; three of low precision keep their ratios (see `SHARP`)."""
    count = len(known.levels)
    if known.eps > 1e-12 and count == len(SHARP):
        return known.levels * jitter.uniform(0.95, 1.05) * jitter.uniform(0.95, 1.05, count)
    return known.levels * jitter.uniform(0.9, 1.1, count)
