"""What phi looks like near 0: smooth, kinked, or jumping from piece to piece."""

from __future__ import annotations

import enum
import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NODES = 12
# Relative to the interval; they fall between the nodes.
TEST_POINTS = (0.93, -0.77, 0.41)


class Shape(enum.Enum):
    """What a small deviation between claim and slope can be blamed on."""

    SMOOTH = "smooth"
    JUMPS = "jumps"
    UNCLEAR = "unclear"


def shape_near(deviation: float, scale: float) -> Generator[Floats, Floats, Shape]:
    """Judge whether phi is smooth enough for `deviation` to be the claim's fault.

    Chebyshev interpolation on shrinking intervals: the coefficients of a smooth function fall geometrically; kinks make
    the misfit large; jumps (an iteration count that changes) leave a small misfit whose coefficients stop falling, and
    then deviations up to 100 misfit / interval prove nothing.

    Parameters
    ----------
    deviation : |claim - slope| (absolute).
    scale : natural size of the slope (absolute).

    Returns
    -------
    Shape
    """
    intervals = [0.8] if deviation < 3e-6 * scale else []
    for half_width in [*intervals, 0.3, 0.06, 0.012]:
        nodes = np.cos(math.pi * (np.arange(NODES) + 0.5) / NODES)
        points = np.concatenate([nodes, TEST_POINTS])
        values = np.asarray((yield half_width * points), dtype=np.float64).reshape(len(points), -1)[:, 0]
        if not np.isfinite(values).all():
            continue
        fit = np.polynomial.chebyshev.Chebyshev.fit(nodes, values[:NODES], NODES - 1, domain=[-1, 1])
        misfit = float(np.max(np.abs(fit(points[NODES:]) - values[NODES:])))
        if misfit <= 1e-4 * deviation * half_width:
            return Shape.SMOOTH
        size = np.abs(fit.coef)
        stalled = float(np.max(size[9:12])) > 0.15 * float(np.max(size[6:9]))
        if misfit <= 1e-4 * scale * half_width and deviation <= 100 * misfit / half_width and stalled:
            return Shape.JUMPS
    return Shape.UNCLEAR
