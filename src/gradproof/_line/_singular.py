"""Singularities closer to 0 than the steps that a slope was taken from, as that of log|t + 1e-9|.

Such a phi is even at all steps that are wider than its distance, so that central quotients agree on a slope of 0. Its
even part, with t and t**2 removed, changes by as much from each level to the next, as noise does. But noise changes its
sign, and is as large in the odd part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradproof._line._jump import CLEAR
from gradproof._line._noise import signed_three_level

Floats = NDArray[np.float64]

# Neighbouring samples of the even part that must have one sign and be of one size, within this factor (those of log|t|
# shrink like a logarithm), and how small those of the odd part must be beside them. Measured on the whole ladder: of
# 1,800,000 lines of pure noise, normal, uniform or on a lattice, 8 look so.
RUN, ALIKE, QUIET = 7, 10.0, 0.1


def unresolved_to(h: Floats, plus: Floats, minus: Floats, f0: Floats, unit: Floats) -> NDArray[np.intp]:
    """The finest level down to which each output of phi looks singular at 0; -1 where it does not (m,).

    Parameters
    ----------
    h : (L,) steps, coarse to fine.
    plus, minus : (L, m)
    f0 : (m,)
    unit : (m,), half an ulp of phi.
    """
    found = np.full(len(f0), -1, dtype=np.intp)
    odd, even = signed_three_level(h, (plus - minus) / 2, (plus + minus) / 2 - f0)
    size = np.abs(even)
    for last in range(RUN + 1, len(h)):
        window = slice(last + 1 - RUN, last + 1)
        if not np.isfinite(size[window]).all():
            continue
        largest, smallest = size[window].max(axis=0), size[window].min(axis=0)
        alike = (np.abs(np.sign(even[window]).sum(axis=0)) == RUN) & (largest <= ALIKE * smallest)
        quiet = np.sum(odd[window] ** 2, axis=0) <= QUIET**2 * np.sum(size[window] ** 2, axis=0)
        found[alike & quiet & (smallest > CLEAR * unit)] = last
    return found
