"""GP205 to GP208: identities that products with a derivative obey whatever f is; they cost no evaluation of f.

A deviation below `LEAST` of the size of the terms is left to the comparison with f: an adjoint that is solved
iteratively is linear only as far as its solver converges. So is what is numerically zero (`floor`, from `vanishing`),
where the terms are rounding themselves, what differs from one call of the claim to the next, and what a cast to fewer
digits on the way explains.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gradproof._contracts._vanishing import vanishing

Vector = NDArray[np.float64]

LEAST = 1e-5
# Rounding of a product of many terms, in machine epsilons of the claim's dtype.
ROUNDING = 1e4
# What is not linear by less than ten times what two calls differ by is random.
RANDOM = 0.1
# Products that differ by less than this share of the terms, that of zeros among them, do not depend on the vector.
SAME = 1e-3
# Up to this share of the terms a product may be rounded to a coarser dtype on the way: 16 roundings of float16. (With
# those of bfloat16 a derivative of JAX passes that is wrong by 5 %, as terms cancel in it.)
COARSE = 16 * 2.0**-11


class Identity(enum.Enum):
    """What a product may not be."""

    VARYING = enum.auto()
    ZERO_AT_ZERO = enum.auto()
    LINEAR = enum.auto()
    SYMMETRIC = enum.auto()
    SYMMETRIC_PRODUCT = enum.auto()
    ADJOINT = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breach:
    """An identity that a claim does not obey.

    keyword : of the claim.
    one, other : the two numbers that should be equal, where there are such.
    entry : the first of two entries that mirror each other, ``(i, j)`` with i < j; None of a product.
    count : how many such pairs there are.
    """

    identity: Identity
    keyword: str
    one: float = 0.0
    other: float = 0.0
    entry: tuple[int, int] | None = None
    count: int = 1


def check_linear(
    keyword: str,
    product: Callable[[Vector], Vector | None],
    one: tuple[Vector, Vector],
    other: tuple[Vector, Vector],
    size: Vector,
    eps: float,
    rounding: float = 0.0,
    *,
    floor: Callable[[], float | Vector] = lambda: 0.0,
    repeat: Callable[[Vector], Vector | None] | None = None,
) -> Breach | None:
    """Check that a product is linear: ``product(a u1 + b u2) == a product(u1) + b product(u2)``, and 0 at 0.

    Parameters
    ----------
    keyword : str
        ``vjp``, ``jvp`` or ``hvp``.
    product : callable
        ``product(u) -> vector``, None where it cannot be had.
    one, other : pairs of ndarray
        Vectors with their products.
    size : ndarray
        Weight of each entry of a product.
    eps : float
        Relative precision of the product.
    rounding : float
        What rounding may do to the weighted products besides, as where terms cancel (absolute).
    floor : callable
        ``floor()``: up to where weighted entries of the products are numerically zero (absolute). Asked for where the
        products seem not to be linear.
    repeat : callable, optional
        `product`, computed once more.
    """
    a, b = 0.75, -1.5  # exact in every precision
    (u1, p1), (u2, p2) = one, other
    both, zero = product(a * u1 + b * u2), product(0.0 * u1)
    if both is None or zero is None:
        return None
    terms = float(np.linalg.norm(size * p1)) + float(np.linalg.norm(size * p2))
    usual = max(LEAST, ROUNDING * eps) * terms
    least = usual + rounding
    residual = both - (a * p1 + b * p2)
    off, at_zero = (float(np.linalg.norm(size * part)) for part in (residual, zero))
    if off <= least and at_zero <= least:
        return None
    lowest = floor()
    off, at_zero = (_beyond(part, size, lowest) for part in (residual, zero))
    if off <= least and at_zero <= least:
        return None
    again = None if repeat is None else repeat(a * u1 + b * u2)
    if again is not None and _beyond(both - again, size, 0.0) > RANDOM * max(off, at_zero):
        return None
    # Rounding to fewer digits on the way, as where f casts down inside, commutes with powers of two and with the sign;
    # what has another degree does not, nor has a constant.
    if at_zero <= least and off <= COARSE * terms:
        pairs = [(product(-2.0 * u), product(u)) for u in (u1, u2, a * u1 + b * u2)]
        if all(_are_scaled(double, single, size, RANDOM * off) for double, single in pairs):
            return None
    # (Outputs with the same derivative have the same product as well, but not that of zeros.)
    if max(float(np.linalg.norm(size * (p1 - known))) for known in (p2, zero)) <= SAME * terms:
        return Breach(identity=Identity.VARYING, keyword=keyword)
    return Breach(identity=Identity.ZERO_AT_ZERO if at_zero > least else Identity.LINEAR, keyword=keyword)


def _are_scaled(double: Vector | None, single: Vector | None, size: Vector, least: float) -> bool:
    """Whether the product with -2 u is -2 times that with u."""
    return double is not None and single is not None and _beyond(double + 2.0 * single, size, 0.0) <= least


def _beyond(entries: Vector, size: Vector, floor: float | Vector) -> float:
    """Norm of weighted entries, as far as each is more than numerically zero."""
    return float(np.linalg.norm(np.maximum(np.abs(size * entries) - floor, 0.0)))


def check_symmetric(
    keyword: str,
    matrix: Vector,
    size: Vector,
    eps: float,
    floor: Callable[[], float] = lambda: 0.0,
) -> Breach | None:
    """Check that a Hessian (n, n) equals its transpose; `size` is the natural size of each entry of x.

    ``floor()`` is up to where entries in natural sizes are numerically zero (absolute).
    """
    scaled = matrix * size[:, None] * size[None, :]
    norms = np.sqrt(np.linalg.norm(scaled, axis=0) * np.linalg.norm(scaled, axis=1))
    apart = np.abs(scaled - scaled.T)
    least = max(1e-6, ROUNDING * eps) * np.sqrt(np.outer(norms, norms))
    if not np.any(apart > least):
        return None
    # (Both are rounding, of the row and the column and of the whole: what is beyond the larger is evidence. Terms that
    # have cancelled within the claim may be larger than all that is left; of what second differences of f could not
    # show beside the whole nobody can say whether it is their rounding.)
    hidden = math.sqrt(eps) * float(norms.max(initial=0.0))
    off = apart - np.maximum(least, max(floor(), vanishing(eps, scaled), hidden))
    if float(off.max()) <= 0:
        return None
    i, j = sorted(int(k) for k in np.unravel_index(np.argmax(off), off.shape))
    return Breach(
        identity=Identity.SYMMETRIC,
        keyword=keyword,
        one=float(matrix[i, j]),
        other=float(matrix[j, i]),
        entry=(i, j),
        count=int((off > 0).sum()) // 2,
    )


def check_symmetric_product(
    keyword: str,
    pairs: list[tuple[Vector, Vector]],
    size: Vector,
    eps: float,
    floor: Callable[[], float] = lambda: 0.0,
) -> Breach | None:
    """Check that ``<u, H v> == <v, H u>`` for vectors and their products; `floor` as in `check_symmetric`."""
    for k, (u, hu) in enumerate(pairs):
        for v, hv in pairs[:k]:
            one, other = float(u @ hv), float(v @ hu)
            terms = float(np.linalg.norm(u / size) * np.linalg.norm(size * hv))
            terms += float(np.linalg.norm(v / size) * np.linalg.norm(size * hu))
            least = max(LEAST / 10, ROUNDING * eps) * terms
            if abs(one - other) > least:
                least += floor() * float(np.linalg.norm(u / size) * np.linalg.norm(v / size))
            if abs(one - other) > least:
                return Breach(identity=Identity.SYMMETRIC_PRODUCT, keyword=keyword, one=one, other=other)
    return None


def check_adjoint(
    keyword: str, forward: float, backward: float, terms: float, eps: float, floor: float = 0.0
) -> Breach | None:
    """Check that ``<u, A v>`` by `matvec` equals ``<A^T u, v>`` by `rmatvec`.

    `terms` is their natural size, `floor` up to where they are numerically zero.
    """
    if abs(forward - backward) <= max(LEAST / 10, ROUNDING * eps) * terms + floor:
        return None
    return Breach(identity=Identity.ADJOINT, keyword=keyword, one=forward, other=backward)
