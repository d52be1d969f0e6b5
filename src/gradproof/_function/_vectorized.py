"""A function of many points at once, called for one point at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradproof import _backends
from gradproof._base import _tree
from gradproof._base._errors import FunctionError


def one_at_a_time(f: Callable[..., Any], wrt: Sequence[int], name: str) -> Callable[..., Any]:
    """Return the function of a single point, given one that takes and returns a leading axis of points.

    Parameters
    ----------
    f : callable
        Of the arguments, where every array and number in those at the positions `wrt` has a leading axis.
    wrt : sequence of int
    name : str
        f's name in messages.

    Examples
    --------
    >>> import numpy as np
    >>> f = one_at_a_time(lambda x: np.sum(x**2, axis=1), (0,), "f")
    >>> float(f(np.array([3.0, 4.0])))
    25.0
    """

    def alone(*args: Any) -> Any:
        arguments = list(args)
        trees = tuple(arguments[i] for i in wrt)
        flat = _tree.flatten(trees, [f"args[{i}]" for i in wrt])
        values: list[Any] = [None] * len(flat.leaves)
        for leaf in flat.leaves:
            values[leaf.slot] = leaf.value[None] if _backends.is_array(leaf.value) else np.array([leaf.value])
        for i, tree in zip(wrt, flat.structure.unflatten(values), strict=True):
            arguments[i] = tree
        return _first(f(*arguments), name)

    return alone


def _first(returned: Any, name: str) -> Any:
    """What was returned for the only point."""
    flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
    values: list[Any] = [None] * len(flat.leaves)
    for leaf in flat.leaves:
        shape = np.shape(leaf.value)
        if leaf.value is None or shape[:1] != (1,):
            got = "None" if leaf.value is None else f"shape {shape}"
            raise FunctionError(
                f"`{name}` must return a leading axis with one entry for each point, as `vectorized=True` says: for "
                f"one point `{leaf.path}` is of {got}, expected shape (1, ...). Sum over the other axes only, as "
                "`.sum(axis=1)` does for points that are vectors."
            )
        values[leaf.slot] = leaf.value[0]
    return flat.structure.unflatten(values)[0]
