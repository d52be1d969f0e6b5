"""Lists of numbers where an array is meant: what to pass, and the same point with arrays."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, cast

import numpy as np

from gradproof._backends import Array
from gradproof._base import _tree

# Entries that are written out.
_WRITTEN = 6


def as_numbers(value: Any) -> Array | None:
    """A list or tuple of real numbers, at any depth, as an array of floats; None where it is none."""
    if type(value) not in (list, tuple) or not value:
        return None
    leaves = _tree.flatten((value,), ("",), none_is_leaf=True).leaves
    if not leaves or not all(_tree.is_number(leaf.value) for leaf in leaves):
        return None
    try:
        return np.array(value, dtype=np.float64)
    except ValueError:  # rows of different lengths
        return None


def objection(roots: Sequence[Any], leaf: _tree.NamedLeaf) -> str:
    """What to pass in place of the list that an integer is a member of; empty where it is no member of one."""
    if type(leaf.value) is not int:
        return ""
    for depth in range(1, len(leaf.keys)):
        array = as_numbers(_within(roots, leaf.keys[:depth]))
        if array is not None:
            path = leaf.path.removesuffix("".join(f"[{key}]" for key in leaf.keys[depth:]))
            text = " ".join(np.array2string(array, separator=", ").split()).replace(" ,", ",")
            shown = text if array.size <= _WRITTEN else f"{path}, dtype=float"
            return (
                f"`{path}` is a list with integers in it, which have no derivative; pass `np.array({shown})`, or floats"
            )
    return ""


def _within(roots: Sequence[Any], keys: Sequence[Hashable]) -> Any:
    try:
        return _tree.subtree(tuple(roots), keys)
    except LookupError:
        return None


def with_arrays(args: Any, wrt: int | tuple[int, ...] | None, *, numbers: bool) -> tuple[Any, list[str]]:
    """`args` with arrays for lists of numbers, and for `numbers`, in what is differentiated; and what these were."""
    is_tuple = type(args) is tuple
    positional = list(cast("tuple[Any, ...]", args)) if is_tuple else [args]
    said: dict[str, None] = {}

    def replaced(value: Any) -> Any:
        array = as_numbers(value)
        if array is not None:
            said[f"a {type(value).__name__}"] = None
            return array
        if type(value) is float and numbers:
            said["a number"] = None
            return np.array(value)
        if type(value) is dict:
            return {key: replaced(one) for key, one in cast("dict[Any, Any]", value).items()}
        return [replaced(one) for one in cast("list[Any]", value)] if type(value) is list else value

    chosen = (0,) if wrt is None else wrt if isinstance(wrt, tuple) else (wrt,)
    for i in chosen:
        positional[i] = replaced(positional[i])
    return (tuple(positional) if is_tuple else positional[0]), list(said)
