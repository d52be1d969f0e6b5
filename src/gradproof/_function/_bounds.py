"""The domain of f: bounds that no step may leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends
from gradproof._base import _tree
from gradproof._base._errors import UsageError
from gradproof._function._primal import Primal
from gradproof._report import Finding, Severity

Floats = NDArray[np.float64]

SIDES = ("lower", "upper")


def flat_bounds(primal: Primal, domain: Any) -> tuple[Floats, Floats]:
    """Lower and upper bound of every differentiated entry, (n,) each.

    Parameters
    ----------
    domain : tuple (lower, upper)
        Each None (no bound), a number, or the structure of the differentiated argument with arrays that broadcast to
        its leaves, or None for leaves without a bound.

    Raises
    ------
    UsageError
        If the form does not fit, a bound is nan, a lower one lies above the upper one, or the point lies outside.
    """
    lower, upper = (
        _one_side(primal, side, name, missing)
        for side, name, missing in zip(two_sides(domain), SIDES, (-np.inf, np.inf), strict=True)
    )
    for i in np.flatnonzero(lower > upper)[:1].tolist():
        raise UsageError(
            f"in `domain` lower must not be above upper, but for `{primal.place(i)}` it is {lower[i]} above {upper[i]}."
        )
    for k, entries in primal.layout.left_out.items():
        lower[primal.leaves[k].start + entries], upper[primal.leaves[k].start + entries] = -np.inf, np.inf
    for i in np.flatnonzero(~((lower <= primal.point) & (primal.point <= upper)))[:1].tolist():
        raise UsageError(
            f"the point must lie in the domain, but `{primal.place(i)}` is {primal.point[i]}, "
            f"bounds [{lower[i]}, {upper[i]}]."
        )
    return lower, upper


def two_sides(domain: Any) -> tuple[Any, Any]:
    """The lower and the upper bounds of a `domain`.

    Raises
    ------
    UsageError
        If it is no pair.
    """
    sides = cast("tuple[Any, ...]", domain)
    if not isinstance(domain, tuple) or len(sides) != 2:
        raise UsageError(
            f"`domain` must be a tuple (lower, upper), each None, a number or arrays like the argument{_meant(domain)}."
        )
    return sides[0], sides[1]


def _meant(domain: Any) -> str:
    """What to write for a domain that is no pair in a tuple."""
    if _tree.is_number(domain):
        return f"; one bound is passed as `({domain!r}, None)` or `(None, {domain!r})`"
    if type(domain) not in (list, tuple):
        return f", got {type(domain).__name__}"
    if all(type(one) in (list, tuple) and len(one) == 2 for one in domain):
        return "; pairs for each entry, as SciPy has them, are passed as `tuple(np.transpose(bounds))`, inf for None"
    return f": pass `({domain[0]!r}, {domain[1]!r})`" if len(domain) == 2 else f", got {len(domain)} members"


class Named(Protocol):
    """What names the arrays of a framework's function: see `gradproof._claims._modes.Autodiff`."""

    function: Any

    def roots(self) -> Sequence[str]:
        """The names of all arguments, as Python source."""
        ...

    def pairs(self, tree: Any, root: str) -> Sequence[tuple[str, Any]]:
        """The leaves of a tree with their paths, `root` being that of the whole; None is a leaf."""
        ...


def array_by_array(
    autodiff: Named, domain: Any, args: Any, wrt: int | tuple[int, ...] | None
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A domain in the form of `args` as bounds for every differentiated array of a framework's function.

    Each side is None, a number, or has the structure of the differentiated argument: a tuple of such where `wrt` is
    one, and where it is None and `args` holds several. A number or None stands for all arrays below its place.

    Raises
    ------
    UsageError
        If the form does not fit.
    """
    roots = list(autodiff.roots())
    paths = autodiff.function.names[: autodiff.function.count]
    if wrt is None:
        positions = list(range(len(roots)))
    else:
        positions = [i % len(roots) for i in (wrt if isinstance(wrt, tuple) else (wrt,))]
    with_arrays = [i for i in positions if any(_is_below(path, roots[i]) for path in paths)]
    is_tuple = isinstance(wrt, tuple) or (wrt is None and type(args) is tuple)

    def spread(side: Any, name: str) -> tuple[Any, ...]:
        if side is None or _tree.is_number(side):
            return (side,) * len(paths)
        if is_tuple and isinstance(side, tuple) and len(cast("tuple[Any, ...]", side)) == len(positions):
            trees: dict[int, Any] = dict(zip(positions, cast("tuple[Any, ...]", side), strict=True))
        elif len(with_arrays) == 1 and not isinstance(wrt, tuple):
            trees = {with_arrays[0]: side}
        else:
            names = ", ".join(roots[i] for i in positions)
            raise UsageError(f"the {name} bounds of `domain` must be a tuple of {len(positions)}, for `{names}`.")
        bounds: dict[str, Any] = {}
        for i, tree in trees.items():
            bounds.update(autodiff.pairs(tree, roots[i]))
        found: dict[str, str] = {}
        for path in paths:
            for given in bounds:
                if _is_array(path, given) or (_is_below(path, given) and _is_for_all(bounds[given])):
                    found[path] = given
        needless = [given for given in bounds if given not in found.values() and bounds[given] is not None]
        if len(found) < len(paths) or needless:
            names = ", ".join(roots[i] for i in with_arrays)
            more = f"; `{needless[0]}` is none of its arrays" if needless else ""
            raise UsageError(f"the {name} bounds of `domain` must have the structure of `{names}`{more}.")
        shapes = [tuple(np.shape(array)) for array in autodiff.function.arguments[: len(paths)]]
        return tuple(_shaped(bounds[found[path]], shape, name, path) for path, shape in zip(paths, shapes, strict=True))

    lower, upper = (spread(side, name) for side, name in zip(two_sides(domain), SIDES, strict=True))
    return lower, upper


def by_name(function: Any, domain: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A domain by the names of arrays as bounds for every differentiated array of a framework's function.

    Parameters
    ----------
    function : Function
        Of a framework: see `gradproof._claims._modes.Function`.
    domain : tuple (lower, upper), mapping or callable
        A tuple of numbers or None holds for all arrays. A mapping has such a tuple, or one of arrays, for names; one of
        several arrays stands for those below it, and the longest name counts. A callable gets a name and returns a
        tuple or None.

    Raises
    ------
    UsageError
        If the form does not fit, or a name is that of no array.
    """
    paths = function.names[: function.count]
    if callable(domain):
        given: dict[str, Any] = {path: domain(path) for path in paths}
        found = {path: path for path in paths}
    elif isinstance(domain, Mapping):
        given = {str(name): sides for name, sides in cast("Mapping[Any, Any]", domain).items()}
        fitting = {path: [name for name in given if _is_array(path, name) or _is_below(path, name)] for path in paths}
        found = {path: max(names, key=len) for path, names in fitting.items() if names}
        needless = [name for name in given if not any(name in names for names in fitting.values())]
        if needless:
            raise UsageError(f"`{needless[0]}` in `domain` is none of the arrays `{'`, `'.join(paths)}`.")
    else:
        if not all(side is None or _tree.is_number(side) for side in two_sides(domain)):
            raise UsageError(
                "`domain` must be a tuple (lower, upper) of numbers or None for all arrays; for arrays of bounds pass "
                "a mapping of names to such tuples, or a function of a name."
            )
        given, found = {"": domain}, dict.fromkeys(paths, "")
    shapes = [tuple(np.shape(array)) for array in function.arguments[: len(paths)]]
    sides = [
        two_sides(given[found[path]]) if path in found and given[found[path]] is not None else (None, None)
        for path in paths
    ]
    lower, upper = (
        tuple(_shaped(pair[k], shape, name, path) for pair, shape, path in zip(sides, shapes, paths, strict=True))
        for k, name in enumerate(SIDES)
    )
    return lower, upper


def _shaped(bound: Any, shape: tuple[int, ...], name: str, path: str) -> Any:
    """A bound of one array: None as it is, else an array of its shape."""
    if bound is None:
        return None
    try:
        bound = _backends.of(bound).as_numpy(bound) if _backends.is_array(bound) else bound
        return np.broadcast_to(np.asarray(bound, dtype=np.float64), shape)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the {name} bound of `{path}` does not broadcast to shape {shape}.") from error


def _is_for_all(bound: Any) -> bool:
    return bound is None or _tree.is_number(bound)


def _is_array(path: str, given: str) -> bool:
    """Whether a bound is for this array: a sparse tensor is differentiated by the values that it stores."""
    return path in (given, f"{given}.values()")


def _is_below(path: str, above: str) -> bool:
    """Whether an array lies at a place or below it."""
    return path == above or (path.startswith(above) and path[len(above)] in "[.")


def extended(domain: Any, count: int) -> Any:
    """A domain array by array, for a function of more arrays, which have no bounds."""
    return None if domain is None else tuple((*side, *(None,) * (count - len(side))) for side in domain)


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
    places = primal.places_left_out()
    if not places:
        return ()
    named = ", ".join(places[:3]) + (", ..." if len(places) > 3 else "")
    number = "1 entry is" if len(places) == 1 else f"{len(places):,} entries are"
    found = Finding(
        id="GP421",
        severity=Severity.NOTE,
        path=primal.origins[0].path if len(primal.origins) == 1 else "",
        kind=f"{number} nan or infinite and left out: {named}",
        advice="The gradient is checked by all others; what is claimed by these is not looked at.",
    )
    return (found,)


def _one_side(primal: Primal, side: Any, name: str, missing: float) -> Floats:
    flat = _given_side(primal, side, name, missing)
    if np.isnan(flat).any():
        raise UsageError(f"the {name} bounds of `domain` must not be nan; use infinity for none.")
    return flat


def _given_side(primal: Primal, side: Any, name: str, missing: float) -> Floats:
    flat = np.full(primal.point.size, missing)
    if side is None:
        return flat
    given = cast("tuple[Any, ...]", side if primal.is_tuple and not _tree.is_number(side) else (side,))
    by_path: dict[str, Any] = {}
    if not _tree.is_number(side):
        if primal.is_tuple and not (isinstance(side, tuple) and len(given) == len(primal.roots)):
            raise UsageError(f"the {name} bounds of `domain` must be a tuple of {len(primal.roots)}, like `wrt`.")
        by_path = {leaf.path: leaf.value for leaf in _tree.flatten(given, primal.roots, none_is_leaf=True).leaves}
    for origin in primal.origins:
        if origin.is_complex and (_tree.is_number(side) or by_path.get(origin.path) is not None):
            raise UsageError(
                f"`{origin.path}` is complex, and complex numbers have no order: its bounds in `domain` must be None."
            )
    if _tree.is_number(side):
        flat[:] = float(cast("float", side))
        return flat
    bounded = [leaf for leaf, owner in zip(primal.leaves, primal.layout.owners, strict=True) if not owner.is_complex]
    complex_ones = {origin.path for origin in primal.origins if origin.is_complex}
    if set(by_path) - complex_ones != {leaf.path for leaf in bounded}:
        raise UsageError(f"the {name} bounds of `domain` must have the structure of `{', '.join(primal.roots)}`.")
    for leaf in bounded:
        bound = by_path[leaf.path]
        if bound is None:
            continue
        flat[leaf.start : leaf.stop] = np.ravel(_shaped(bound, leaf.shape, name, leaf.path))
    return flat
