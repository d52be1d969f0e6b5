"""What a handful of random directions prove about the whole error vector."""

from __future__ import annotations

import math

# The confidence is spent in equal parts over this many looks at the measurements.
LOOKS = 8


def error_bound(largest: float, directions: int, size: int, confidence: float, *, folded: bool = False) -> float:
    """Upper confidence bound on ||D|| from inner products with random directions.

    Every direction u is uniform on the sphere of radius sqrt(size), and |<D, u>| <= `largest` held in all of them.

    Parameters
    ----------
    largest : float
        max_j (|residual_j| + bar_j). (A product of per-direction probabilities is not a p-value: it was violated in
        32 % of cases at a nominal 1 % with four directions; the maximum is exact.)
    directions : int
        How many directions, m.
    size : int
        Entries that moved, n.
    confidence : float
        Of one check; 1 - confidence is divided among `LOOKS` looks.
    folded : bool
        Whether some entries move one way only (their draws are absolute values).

    Returns
    -------
    float
        The smallest b with P(missed | ||D|| > b) <= (1 - confidence) / LOOKS, over the choice of directions.

    Notes
    -----
    <D, u>**2 / (n ||D||**2) follows the Beta(1/2, (n-1)/2) law. For n >= 3 the density of |<D, u>| / ||D|| falls from
    its value kappa at 0, so P(|<D, u>| <= b) <= kappa b / ||D|| with
    kappa = 2 Gamma(n/2) / (sqrt(pi n) Gamma((n-1)/2)), exact for small b; hence ||D|| <= kappa b / p with
    p = ((1 - confidence) / LOOKS)**(1/m). For n = 2 the angle is uniform: ||D|| <= b / (sqrt(2) sin(pi p / 2)).
    For n = 1 a single direction sees everything. Folded draws have a standard deviation of sqrt(1 - 2/pi) = 0.603
    about a mean that may be cancelled, so the density at 0 is at most 1/0.603 = 1.66 times as large: a factor 2 covers
    it.
    """
    if folded:
        return 2 * error_bound(largest, directions, size, confidence)
    if size == 1:
        return largest
    missed = ((1 - confidence) / LOOKS) ** (1 / directions)
    if size == 2:
        return largest / (math.sqrt(2) * math.sin(math.pi * missed / 2))
    kappa = 2 / math.sqrt(math.pi * size) * math.exp(math.lgamma(size / 2) - math.lgamma((size - 1) / 2))
    return kappa * largest / missed
