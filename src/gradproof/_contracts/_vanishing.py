"""Where a derivative is numerically zero: what the rounding of its own terms may have left of nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import EPS64

Vector = NDArray[np.float64]

# Roundings of the largest term that a derivative which vanishes may hold: every operation of f and of its derivative
# adds some, and cancelling terms leave them all. Measured in 200 draws each, as rows in natural sizes over eps and f:
# softmax or layer norm summed up 1 and 6 at most, the diagonal of corrcoef 2, a 3 x 3 matrix with its inverse 42,
# Q^T Q of 4 x 4 matrices 480 (9 in half of the draws), det(A) det(A^-1) 10,000 (76 in nine of ten).
ROUNDINGS = 4096.0
# The same for a row that is held against f's own differences, which may be exact in rows as small as 1e-12 of others.
ROW_ROUNDINGS = 1024.0


def vanishing(eps: float, *sizes: Vector | float, roundings: float = ROUNDINGS) -> float:
    """Size up to which a derivative is numerically zero.

    Parameters
    ----------
    eps : float
        Relative precision of f and of the claim.
    sizes : ndarray or float
        What the derivative may be rounding of, in the same unit: f over the natural size of x, rows of the Jacobian.
        What is not finite is left out.
    roundings : float
        How many roundings of the largest of them.
    """
    largest = 0.0
    for size in sizes:
        finite = np.abs(np.asarray(size, dtype=np.float64)[np.isfinite(size)])
        largest = max(largest, float(np.max(finite, initial=0.0)))
    return min(roundings * eps, 1.0) * largest


def vanished(rows: Vector) -> NDArray[np.bool_]:
    """Which rows of a Jacobian in float64 are numerically zero beside the others, given their norms."""
    return ~(rows > row_floor(rows))


def row_floor(rows: Vector) -> float:
    """Norm up to which a row of a Jacobian in float64 is numerically zero beside the others."""
    return vanishing(EPS64, rows, roundings=ROW_ROUNDINGS)
