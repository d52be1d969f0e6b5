"""How much worse than its reference a kernel may be: the law of the ratio of two rounding errors.

Both errors are held against the same truth, and summed as squares over the entries of a region and over the draws. A
kernel is accused where its sum exceeds that of the reference in the kernel's own precision by more than two factors
explain: what another right kernel may lose (`allowed_ratio`), and how far the two sums scatter (`scatter`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A right kernel may round intermediate results that the reference keeps: with r roundings in place of one, each of the
# size of all that the reference rounds, its error has r times the variance. 9 of them make a factor of 3.
ROUNDINGS = 9
# The unit roundoff of float32, in which every right kernel adds up.
SINGLE = 2.0**-24
# The spread of a sum of squares is estimated from few draws: the estimate is taken to be too small by this much. (Of
# 16 normal numbers the variance is below a third of the true one in 1 of 200 cases.)
SPREAD = 3.0
# Halvings of an interval of logarithms: to 1e-9 of its length.
HALVINGS = 30


def allowed_ratio(unit: float, terms: int) -> float:
    """How many times the error of its reference a right kernel may have, in root mean square.

    Besides its roundings a kernel may add up in another order: n terms one after the other in float32 err by
    ``sqrt(n / 2)`` units of float32 (each partial sum is rounded once), which counts where the kernel's own unit is no
    larger.

    Parameters
    ----------
    unit : float
        Unit roundoff of the kernel.
    terms : int
        The largest number of terms of a sum.
    """
    return math.sqrt(ROUNDINGS + terms / 2 * (SINGLE / unit) ** 2)


def freedom(energies: Floats, sizes: Floats) -> Floats:
    """The degrees of freedom that sums of squares have together over their draws.

    A sum of k independent squares has the variance ``2 mean**2 / k``, which gives k back. Errors within a region hang
    together (one row maximum, one statistic), so k is not its number of entries. It is no less than one for each draw.

    Parameters
    ----------
    energies : ndarray (draws, regions)
    sizes : ndarray (regions,)
        Entries of each region.
    """
    mean = energies.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = 2 * mean**2 / (SPREAD * energies.var(axis=0, ddof=1))
    each = np.where(np.isfinite(each), each, sizes)
    return len(energies) * np.clip(each, 1.0, np.maximum(sizes, 1.0))


def scatter(ours: Floats, theirs: Floats, chance: float) -> Floats:
    """What the ratio of two mean squares of normal numbers exceeds with a probability of `chance` at most.

    Chernoff's bound for X / a > f Y / b, X and Y with gamma laws of shapes a and b: minus its logarithm is
    ``(a + b) log((a f + b) / (a + b)) - a log f``. Rounding errors have shorter tails than normal numbers.

    Parameters
    ----------
    ours, theirs : ndarray
        Degrees of freedom, 2 a and 2 b.
    """
    a, b = ours / 2, theirs / 2
    wanted = -math.log(chance)
    low = np.zeros(np.broadcast(a, b).shape)
    high = (wanted + (a + b) * np.log((a + b) / a)) / b + low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        f = np.exp(np.minimum(middle, 300.0))
        said = (a + b) * np.log((a * f + b) / (a + b)) - a * np.log(f)
        is_enough = said >= wanted
        low, high = np.where(is_enough, low, middle), np.where(is_enough, middle, high)
    return np.exp(np.minimum(high, 300.0))


def unseen(draws: int, chance: float) -> float:
    """How many times the measured error the true one is at most, but for a probability of `chance`.

    The error of a gradient is linear in the cotangent, and the norm of its part along a normal cotangent is at worst
    that of a single normal number (an error of rank one). Chernoff's bound for the mean r of so many squares, r < 1:
    ``(r exp(1 - r)) ** (draws / 2)``.
    """
    low, high = 1e-300, 1.0
    for _ in range(2000):
        middle = math.sqrt(low * high)
        if draws / 2 * (math.log(middle) + 1 - middle) > math.log(chance):
            high = middle
        else:
            low = middle
        if high / low < 1 + 1e-9:
            break
    return 1 / math.sqrt(low)
