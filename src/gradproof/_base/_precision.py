"""Relative precision of the numbers that f and the claim are made of: machine epsilons, the spacing of floats at 1."""

from __future__ import annotations

# IEEE 754: 52 and 23 bits behind the leading one.
EPS64, EPS32 = 2.0**-52, 2.0**-23
# Between the two: no format has an epsilon near it, and values with as few digits as float32 are far above.
BELOW_DOUBLE = 1e-12


def is_double(eps: float) -> bool:
    """Whether numbers of this relative precision are those of float64, rather than float32 or less."""
    return eps < BELOW_DOUBLE
