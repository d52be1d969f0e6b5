"""The smallest sizes at which something still fails, also between those that were tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gradproof._kernels._sizes import Sizes

# How many more cases are run for one failure: a cap.
MOST = 60
# How many of the smallest sizes are walked through, and of those in the gap below the smallest one known to fail.
NARROW = 12


def shrunk(first: Sizes, fails: Callable[[Sizes], bool], tried: Mapping[str, Sequence[int]]) -> Sizes:
    """Return the smallest case that fails in the same way, as far as it is found.

    One axis after the other is made smaller, until none can be: first to the sizes that were tried, the smallest
    first; then to the smallest of all; then, in the gap below the size that still fails, by halving. It is exact where
    the sizes in such a gap fail from one on, as at the edge of a block. A smaller failure may hide in a wide gap.

    Parameters
    ----------
    first : Sizes
        A case that fails.
    fails : callable
        Whether another one does; it may be called with the same case again.
    tried : mapping of str to sequence of int
        The sizes of each axis that were tried, in ascending order.
    """
    left = [MOST]

    def still(case: Sizes) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fails(case)

    best, before = first, None
    while best != before:
        before = best
        for axis, _ in first:
            best = _smaller(best, axis, still, tried[axis])
    return best


def _smaller(case: Sizes, axis: str, fails: Callable[[Sizes], bool], tried: Sequence[int]) -> Sizes:
    def at(n: int) -> Sizes:
        return tuple((name, n if name == axis else m) for name, m in case)

    now = dict(case)[axis]
    below = [n for n in tried if n < now]
    # Right at all of those: then among the smallest sizes of all, and in the gap between the last of them and this one.
    last = below[-1] if below else -1
    small = [n for n in range(min(NARROW, now)) if n not in below]
    near = [n for n in range(last + 1, min(last + 1 + NARROW, now)) if n not in small]
    for n in (*below, *small, *near):
        if fails(at(n)):
            return at(n)
    low, high = last + min(NARROW, now - last - 1), now
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(at(middle)) else (middle, high)
    return at(high)
