"""Arguments of a JAX function <-> named leaves, as `jax.tree_util` sees them: modules of Equinox and Flax, too."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradproof._base._errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Named:
    """A leaf: its name as Python source, the position of its argument, and its value."""

    path: str
    position: int
    value: Any


def flatten(positional: tuple[Any, ...], roots: Sequence[str]) -> tuple[list[Named], Any]:
    """Take a tuple of arguments apart, in JAX's order, and return what puts values back together."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(positional)
    leaves: list[Named] = []
    for keys, value in pairs:
        position = int(keys[0].idx)
        leaves.append(Named(path=roots[position] + jax.tree_util.keystr(keys[1:]), position=position, value=value))
    return leaves, structure


def require_values(leaves: Sequence[Named]) -> None:
    """See that every array has numbers, which those of a function that JAX is tracing have not, nor deleted ones.

    Raises
    ------
    UsageError
        Naming an array that has none, or because JAX traces whatever is computed here.
    """
    for leaf in leaves:
        if isinstance(leaf.value, jax.Array):
            require_value(leaf.value, leaf.path)
    if is_tracer(jnp.asarray(np.zeros(()))):
        raise UsageError(
            "nothing can be checked inside a function that JAX traces (`jax.jit`, `jax.vmap`, `jax.lax.scan`): no "
            "value is computed there. Check it outside."
        )


def require_value(value: Any, path: str) -> None:
    """See that an array has numbers.

    Raises
    ------
    UsageError
        If it has none.
    """
    if is_tracer(value):
        raise UsageError(
            f"`{path}` has no value, because JAX is tracing the function that the check is called in (`jax.jit`, "
            "`jax.grad`, `jax.vmap`, `jax.lax.scan`). Check it outside, at a point that has values."
        )
    if value.is_deleted():
        raise UsageError(
            f"`{path}` was deleted: a function jitted with `donate_argnums` took its memory, or `.delete()` did. Pass "
            "an array that still exists."
        )


def is_tracer(value: object) -> bool:
    """Whether `value` stands for an array in a function that JAX is tracing."""
    return isinstance(value, jax.core.Tracer)  # pyright: ignore[reportAttributeAccessIssue]


def _is_none(value: object) -> bool:
    return value is None


def pairs(given: Any, root: str) -> list[tuple[str, Any]]:
    """The leaves of a tree with their paths, `root` being that of the whole; None is a leaf."""
    found, _ = jax.tree_util.tree_flatten_with_path(given, is_leaf=_is_none)
    return [(root + jax.tree_util.keystr(keys), value) for keys, value in found]


def chosen(leaves: Sequence[Named], wrt: int | tuple[int, ...] | None, count: int) -> list[int]:
    """Indices of the leaves that are differentiated: floating arrays, and a number that `wrt` names.

    A Python float within an argument is as often a rate or an epsilon as a parameter.

    Raises
    ------
    UsageError
        If `wrt` is no position, or names an array that has no derivative.
    """
    if wrt is None:
        return [i for i, leaf in enumerate(leaves) if is_floating(leaf.value)]
    positions = wrt if isinstance(wrt, tuple) else (wrt,)
    for i in positions:
        if not -count <= i < count:
            raise UsageError(f"`wrt` names argument {i}, but `args` holds {count}.")
    allowed = {i % count for i in positions}
    return [
        i
        for i, leaf in enumerate(leaves)
        if leaf.position in allowed
        and (is_floating(leaf.value) or (isinstance(leaf.value, (float, complex)) and _is_lone(leaves, leaf.position)))
    ]


def _is_lone(leaves: Sequence[Named], position: int) -> bool:
    """Whether an argument is one leaf."""
    return sum(leaf.position == position for leaf in leaves) == 1


def is_floating(value: object) -> bool:
    """Whether `value` is an array of JAX or NumPy with real or complex entries."""
    return isinstance(value, (jax.Array, np.ndarray, np.generic)) and jnp.issubdtype(value.dtype, jnp.inexact)


def floating(outputs: Any) -> tuple[jax.Array, ...]:
    """All floating arrays and numbers in a tree, as arrays."""
    leaves = jax.tree_util.tree_leaves(outputs)
    found = (leaf for leaf in leaves if is_floating(leaf) or isinstance(leaf, (float, complex)))
    return tuple(leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf) for leaf in found)


def has_arrays(args: Any) -> bool:
    """Whether there is a floating array of JAX anywhere in `args`."""
    return any(isinstance(leaf, jax.Array) and is_floating(leaf) for leaf in jax.tree_util.tree_leaves(args))
