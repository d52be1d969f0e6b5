"""GP203: a gradient is finite."""

from __future__ import annotations

import math

import numpy as np

from gradproof._backends import Array
from gradproof._report import Finding, Severity

_SHOWN = 3


def check_finite(path: str, gradient: Array) -> Finding | None:
    """Return the finding that names the first entries that are nan or infinite; None where all are finite."""
    is_bad = ~np.isfinite(gradient)
    if not is_bad.any():
        return None
    entries = tuple(tuple(int(i) for i in entry) for entry in np.argwhere(is_bad)[:_SHOWN])
    count = int(is_bad.sum())
    number = complex(gradient[entries[0]])
    first = number.imag if math.isfinite(number.real) else number.real
    how_many = f"in {count} of {gradient.size} entries" if gradient.ndim else "here"
    return Finding(
        id="GP203",
        severity=Severity.ERROR,
        path=path,
        entries=entries if gradient.ndim else (),
        kind=f"the claimed gradient is not finite {how_many}",
        claimed=first,
        quantity="entry",
        advice="look for a division by zero, a log of zero or an overflow on the way back.",
    )
