"""The domain of f: bounds that no step may leave."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gradproof import _tree
from gradproof._errors import UsageError
from gradproof._primal import Primal
from gradproof._report import Finding, Severity

Floats = NDArray[np.float64]


def flat_bounds(primal: Primal, domain: Any) -> tuple[Floats, Floats]:
    """Lower and upper bound of every differentiated entry, (n,) each.

    Parameters
    ----------
    domain : tuple (lower, upper)
        Each None (no bound), a number, or the structure of the differentiated argument with arrays that broadcast to
        its leaves.

    Raises
    ------
    UsageError
        If the form does not fit, or the point lies outside.
    """
    sides = cast("tuple[Any, ...]", domain)
    if not isinstance(domain, tuple) or len(sides) != 2:
        raise UsageError("`domain` must be a tuple (lower, upper), each None, a number or arrays like the argument.")
    lower, upper = (
        _one_side(primal, side, name, missing)
        for side, name, missing in zip(sides, ("lower", "upper"), (-np.inf, np.inf), strict=True)
    )
    for k, entries in primal.layout.left_out.items():
        lower[primal.leaves[k].start + entries], upper[primal.leaves[k].start + entries] = -np.inf, np.inf
    for i in np.flatnonzero(~((lower <= primal.point) & (primal.point <= upper)))[:1].tolist():
        raise UsageError(
            f"the point must lie in the domain, but `{primal.place(i)}` is {primal.point[i]}, "
            f"bounds [{lower[i]}, {upper[i]}]."
        )
    return lower, upper


def held(primal: Primal, domain: Any) -> tuple[Finding, ...]:
    """GP420: no step can move what equal bounds hold."""
    if domain is None:
        return ()
    lower, upper = flat_bounds(primal, domain)
    fixed = np.flatnonzero(lower == upper).tolist()
    if not fixed:
        return ()
    places = ", ".join(primal.place(i) for i in fixed[:3]) + (", ..." if len(fixed) > 3 else "")
    number = "1 variable is" if len(fixed) == 1 else f"{len(fixed)} variables are"
    found = Finding(
        id="GP420",
        severity=Severity.NOTE,
        path=primal.leaves[0].path if len(primal.leaves) == 1 else "",
        kind=f"{number} held by equal bounds and not checked: {places}",
        advice="No solver moves them either; widen their bounds to have them checked.",
    )
    return (found,)


def left_out(primal: Primal) -> tuple[Finding, ...]:
    """GP421: entries that are nan or infinite stay what they are, and f ignores them."""
    flat = [primal.leaves[i].start + int(k) for i, entries in primal.layout.left_out.items() for k in entries]
    if not flat:
        return ()
    places = ", ".join(primal.place(i) for i in flat[:3]) + (", ..." if len(flat) > 3 else "")
    number = "1 entry is" if len(flat) == 1 else f"{len(flat):,} entries are"
    found = Finding(
        id="GP421",
        severity=Severity.NOTE,
        path=primal.leaves[0].path if len(primal.leaves) == 1 else "",
        kind=f"{number} nan or infinite and left out: {places}",
        advice="The gradient is checked by all others; what is claimed by these is not looked at.",
    )
    return (found,)


def _one_side(primal: Primal, side: Any, name: str, missing: float) -> Floats:
    flat = np.full(primal.point.size, missing)
    if side is None:
        return flat
    is_number = isinstance(side, (int, float, np.integer, np.floating))
    given = cast("tuple[Any, ...]", side if primal.is_tuple and not is_number else (side,))
    by_path: dict[str, Any] = {}
    if not is_number:
        by_path = {leaf.path: leaf.value for leaf in _tree.flatten(given, primal.roots, none_is_leaf=True).leaves}
    for origin in primal.origins:
        if origin.is_complex and (is_number or by_path.get(origin.path) is not None):
            raise UsageError(
                f"`{origin.path}` is complex, and complex numbers have no order: its bounds in `domain` must be None."
            )
    if is_number:
        flat[:] = float(cast("float", side))
        return flat
    bounded = [leaf for leaf, owner in zip(primal.leaves, primal.layout.owners, strict=True) if not owner.is_complex]
    by_path = {path: value for path, value in by_path.items() if value is not None}
    if set(by_path) != {leaf.path for leaf in bounded}:
        raise UsageError(f"the {name} bounds of `domain` must have the structure of `{', '.join(primal.roots)}`.")
    for leaf in bounded:
        try:
            value = np.broadcast_to(np.asarray(by_path[leaf.path], dtype=np.float64), leaf.shape)
        except ValueError as error:
            raise UsageError(f"the {name} bound of `{leaf.path}` does not broadcast to shape {leaf.shape}.") from error
        flat[leaf.start : leaf.stop] = value.reshape(-1)
    if np.isnan(flat).any():
        raise UsageError(f"the {name} bounds of `domain` must not be nan; use infinity for none.")
    return flat
