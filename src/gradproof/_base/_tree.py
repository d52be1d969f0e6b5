"""Nested parameters <-> named leaves, in the user's own order."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import optree

from gradproof._base._errors import UsageError

Tree = Any  # whatever nesting of containers the user passes

# Custom containers take part if they are registered with optree globally or in this namespace.
NAMESPACE = "gradproof"

_UNSORTED = (optree.PyTreeKind.DICT, optree.PyTreeKind.DEFAULTDICT)


def is_number(value: Any) -> bool:
    """Whether `value` is one real number, of Python or of NumPy; truth values are none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NamedLeaf:
    """A leaf and the way to it.

    Attributes
    ----------
    path : str
        Python source: ``params['W2']``, ``args[0].w[3]``.
    keys : tuple
        What leads to it from the top: position of the argument, then keys and indices.
    value : object
    slot : int
        Its place in the order of `Flat.structure`.
    """

    path: str
    keys: tuple[Hashable, ...]
    value: Any
    slot: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Flat:
    """A tree taken apart: the leaves in the user's order, and what puts values back together."""

    leaves: tuple[NamedLeaf, ...]
    structure: optree.PyTreeSpec


def flatten(trees: tuple[Tree, ...], roots: Sequence[str], *, none_is_leaf: bool = False) -> Flat:
    """Take a tuple of trees apart; `roots` are the names of its members.

    Dictionaries keep the user's insertion order, which optree sorts.

    Raises
    ------
    UsageError
        If the nesting is endless or deeper than optree can follow.
    """
    try:
        accessors, values, structure = optree.tree_flatten_with_accessor(
            cast("Tree", trees), none_is_leaf=none_is_leaf, namespace=NAMESPACE
        )
    except RecursionError as error:
        names = ", ".join(f"`{root}`" for root in roots)
        raise UsageError(f"{names} is nested too deeply, or holds itself.") from error
    leaves: list[NamedLeaf] = []
    for slot in _user_order(trees, structure, 0):
        accessor = accessors[slot]
        root = roots[int(accessor.path[0])]
        leaves.append(NamedLeaf(path=accessor[1:].codify(root), keys=accessor.path, value=values[slot], slot=slot))
    return Flat(leaves=tuple(leaves), structure=structure)


def changed_members(
    trees: tuple[Tree, ...],
    structure: optree.PyTreeSpec,
    values: Sequence[Any],
    is_same: Callable[[Any, Any], bool],
) -> list[int]:
    """Positions of the trees that do not hold `values` at the paths of `structure` any more.

    Neither the objects' identity nor the equality of structures is enough for an accusation: a custom container may
    make its leaves anew, and its metadata may have no notion of equality.
    """
    leaves, now = optree.tree_flatten(cast("Tree", trees), none_is_leaf=structure.none_is_leaf, namespace=NAMESPACE)
    if len(leaves) == len(values) and all(map(operator.is_, leaves, values)) and now.paths() == structure.paths():
        return []
    changed: list[int] = []
    new_start = old_start = 0
    for position, (new, old) in enumerate(zip(now.children(), structure.children(), strict=True)):
        new_stop, old_stop = new_start + new.num_leaves, old_start + old.num_leaves
        pairs = zip(leaves[new_start:new_stop], values[old_start:old_stop], strict=False)
        if new.paths() != old.paths() or not all(one is other or is_same(one, other) for one, other in pairs):
            changed.append(position)
        new_start, old_start = new_stop, old_stop
    return changed


def subtree(tree: Tree, keys: Sequence[Hashable]) -> Tree:
    """Return what lies at `keys` within lists, tuples and mappings; raise LookupError where there is nothing."""
    for key in keys:
        if not isinstance(tree, (list, tuple, Mapping)):
            raise LookupError(key)
        try:
            tree = tree[key]  # pyright: ignore[reportUnknownVariableType, reportArgumentType, reportCallIssue]
        except TypeError as error:
            raise LookupError(key) from error
    return tree  # pyright: ignore[reportUnknownVariableType]


def _user_order(node: Tree, structure: optree.PyTreeSpec, first: int) -> Iterator[int]:
    """Slots of the leaves below `node`, dictionaries read in insertion order.

    `optree.dict_insertion_ordered` does this by a process-wide switch, which two threads would fight over.
    """
    if structure.is_leaf():
        yield first
        return
    if structure.num_nodes - structure.num_leaves == 1 and structure.kind not in _UNSORTED:
        yield from range(first, first + structure.num_leaves)
        return
    parts: list[tuple[optree.PyTreeSpec, int]] = []
    for child in structure.children():
        parts.append((child, first))
        first += child.num_leaves
    if structure.kind in _UNSORTED:
        by_key = dict(zip(structure.entries(), parts, strict=True))
        nodes, parts = node.values(), [by_key[key] for key in node]
    else:
        nodes = optree.tree_flatten_one_level(node, none_is_leaf=structure.none_is_leaf, namespace=NAMESPACE).children
    for child_node, (child, start) in zip(nodes, parts, strict=True):
        yield from _user_order(child_node, child, start)
