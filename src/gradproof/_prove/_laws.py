"""What a handful of random directions prove about a whole error: the laws from which every bound is taken.

All of them rest on one density: for a unit vector e and u uniform on the sphere of radius sqrt(n), n >= 3, that of
|<e, u>| falls from its value kappa at 0 (see `error_bound`).
"""

from __future__ import annotations

import math

# The confidence is spent in equal parts over this many looks at the measurements: after two directions (where an
# evaluation is dear) or three, and after each one more up to nine. In low precision up to 24 directions share these: it
# is measured, not derived, that their looks, which see the same lines, need no part of their own
# (benchmarks/calibration.py: 24 violations in 27,989 bounds at a confidence of 0.99, 0.09 %).
LOOKS = 8
# A folded draw has the density of a Gaussian about a mean that may be cancelled, with a standard deviation of
# sqrt(1 - 2/pi) = 0.603 in place of 1: at 0 it is at most 1/0.603 = 1.66 times as large, and this covers it.
FOLDED = 2.0
# Entries off the diagonal are halves of sums of three measurements: 3/2 of the largest error.
BY_POLARIZATION = 1.5
# Cotangents that share no directions are drawn in two looks: after so many, and at most twice that.
FIRST_APART = 4
# What may go wrong with one proof ends below 1, where a confidence would be 0 or less: a cap.
MOST_LEFT = 0.999


def shared(confidence: float, *parts: float) -> float:
    """The confidence of each of so many statements that must all hold: what may go wrong is divided among them."""
    left = 1 - confidence
    for count in parts:
        left /= count
    return 1 - left


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
    For n = 1 a single direction sees everything. For folded draws see `FOLDED`.
    """
    if folded:
        return FOLDED * error_bound(largest, directions, size, confidence)
    if size == 1:
        return largest
    missed = ((1 - confidence) / LOOKS) ** (1 / directions)
    if size == 2:
        return largest / (math.sqrt(2) * math.sin(math.pi * missed / 2))
    return kappa(size) * largest / missed


def kappa(size: int) -> float:
    """Largest density of |<e, u>| for a unit vector e and u uniform on the sphere of radius sqrt(size), size >= 3."""
    return 2 / math.sqrt(math.pi * size) * math.exp(math.lgamma(size / 2) - math.lgamma((size - 1) / 2))


def spread(count: int, size: int, confidence: float, *, folded: bool = False) -> float:
    """How much wider the bound on a matrix is than the widest one on its products with random vectors.

    Let ``norm(E @ v_k) <= b`` for `count` vectors v_k, uniform on the sphere of radius sqrt(size). Then
    ``norm(E) <= spread * b`` in the Frobenius norm, with the given confidence, for any E with `size` columns. (Rows
    instead of columns for cotangents; `folded` as in `error_bound`.)

    Notes
    -----
    For one row this is `error_bound`. For more, with the singular values and right vectors s_i, d_i of E, its norm
    being 1: ``norm(E v)**2 = sum(p_i z_i**2)``, ``p_i = s_i**2`` of sum 1 and ``z_i = <d_i, v>``, which depend on each
    other but have one law each. Take ``phi(x) = max(0, (3 t**2 - x) / (2 t**2))``: it is convex, and at least 1 for
    ``x <= t**2``. By Markov's and Jensen's inequalities

    ``P(norm(E v) <= t) <= E phi(sum(p_i z_i**2)) <= sum(p_i E phi(z_i**2)) = E phi(z_1**2)``

    and as abs(z_1) has at most the density kappa (see `error_bound`), the right-hand side is at most
    ``kappa * integral of phi(x**2) over x > 0 = sqrt(3) kappa t``: sqrt(3) times what holds for one row. The constant
    is that of the best piecewise linear phi; with Gaussian v the extremal law is known (G. J. Szekely and
    N. K. Bakirov, "Extremal probabilities for Gaussian quadratic forms", Probab. Theory Relat. Fields 126, 2003), and
    numerically one row is the worst case on the sphere, too, but this we can prove. For two columns the density of
    abs(z_1) = sqrt(2) abs(cos(angle)) grows, but stays below 2/pi up to z = 1, beyond which t = 1/sqrt(3) does not go.
    """
    if size == 1:
        return 1.0
    if size == 2:
        missed = ((1 - confidence) / LOOKS) ** (1 / count)
        return (FOLDED if folded else 1.0) * math.sqrt(3) * max(2 / (math.pi * missed), 1.0)
    return math.sqrt(3) * error_bound(1.0, count, size, confidence, folded=folded)


def _slack(confidence: float, count: int) -> float:
    """What may go wrong with one of `count` independent proofs."""
    return float((1 - confidence) ** (1 / count))


def apart_confidence(confidence: float) -> float:
    """Return 1 - q, of each of `FIRST_APART` proofs that share no directions: half of what may go wrong with one."""
    return 1 - _slack((1 + confidence) / 2, FIRST_APART) / 2


def spread_apart(count: int, outputs: int, confidence: float) -> float:
    """As `spread`, for proofs that share no directions, each at the confidence `apart_confidence` gives.

    `confidence` is that of this look: half of what may go wrong altogether.
    """
    left = _slack(confidence, count) - _slack(confidence, FIRST_APART) / 2
    if left <= 0:
        return math.inf
    # It divides 1 - confidence by its looks.
    return spread(1, outputs, 1 - min(left, MOST_LEFT) * LOOKS)


def adjoint_bound(worst: float, pairs: int, m: int, n: int, delta: float) -> float:
    """The bound on the norm of E (m, n), for |<u, E v>| <= `worst` with so many independent random pairs u and v.

    Notes
    -----
    Let e be the norm of E. A pair misses it if |E^T u| < t e, of probability at most kappa_m t, or if |<E^T u, v>| <= b
    although |E^T u| >= t e, of probability at most kappa_n b / (t e). With the best t both together are
    2 sqrt(kappa_m kappa_n b / e), and K pairs miss with the K-th power of it: e is below
    4 kappa_m kappa_n b / delta**(2/K) with probability 1 - delta. For m = 1 there is no u, and `error_bound` holds.
    """
    if m == 1:
        return error_bound(worst, pairs, n, 1 - delta)
    return 4 * _kappa(m) * _kappa(n) * worst / delta ** (2 / pairs)


def _kappa(size: int) -> float:
    return kappa(size) if size > 2 else 1.0


def curvature_bound(largest: float, count: int, n: int, confidence: float, *, folded: bool = False) -> float:
    """The bound on a symmetric error from |v^T E v| <= `largest` along `count` random directions: twice the law."""
    return error_bound(1.0, count, n, confidence, folded=folded) ** 2 * largest


def polarized_bound(largest: float, n: int) -> float:
    """The bound on the norm of a symmetric error (n, n) whose entries were taken from second differences, all of them.

    Each is below `BY_POLARIZATION` times the largest of those, and there are n**2.
    """
    return BY_POLARIZATION * largest * n
