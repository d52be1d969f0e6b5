"""What f returns, seen as one flat vector: arrays, numbers, and nestings of both."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, cast

import numpy as np

from gradproof import _backends, _tree
from gradproof._backends import Vector
from gradproof._errors import FunctionError
from gradproof._leaf import Leaf, slices

FLOATS = ("float16", "bfloat16", "float32", "float64")


class Outputs:
    """The outputs of f at the point, and how to read those that it returns elsewhere.

    Parameters
    ----------
    returned : tree
        What f returned at the point.
    name : str
        f's name in messages.

    Attributes
    ----------
    leaves : tuple of Leaf
        In the user's order; paths start with ``output``.
    keys : tuple of tuple
        The way to each from the top of the tuple that holds all that f returned as its only member.
    size : int
        Entries of all leaves, m.
    eps : float
        Coarsest machine epsilon among the leaves' dtypes.

    Raises
    ------
    FunctionError
        If there is no real number among them.
    """

    def __init__(self, returned: Any, name: str) -> None:
        if returned is None:
            raise FunctionError(f"`{name}` returned None; did you forget `return`?")
        self._name = name
        flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
        for leaf in flat.leaves:
            _require_real(leaf.value, leaf.path, name)
        self._structure = flat.structure
        self._slots = tuple(leaf.slot for leaf in flat.leaves)
        self.keys: tuple[tuple[Hashable, ...], ...] = tuple(leaf.keys for leaf in flat.leaves)
        floats = [_as_float(leaf.value) for leaf in flat.leaves]
        self.leaves: tuple[Leaf, ...] = slices(
            (leaf.path, tuple(np.shape(value)), _backends.of(value).dtype_of(value), math.prod(np.shape(value)))
            for leaf, value in zip(flat.leaves, floats, strict=True)
        )
        self.size = sum(leaf.size for leaf in self.leaves)
        if self.size == 0:
            raise FunctionError(f"`{name}` returned no number: there is nothing to differentiate.")
        self.eps = max(leaf.eps for leaf in self.leaves)
        makers = [_backends.of(value).maker(value, leaf.start) for value, leaf in zip(floats, self.leaves, strict=True)]
        self._makers = list(makers)
        for slot, make in zip(self._slots, makers, strict=True):
            self._makers[slot] = make
        self._lone = self.leaves[0].shape if len(self.leaves) == 1 and len(self.keys[0]) == 1 else None

    def read(self, returned: Any) -> Vector:
        """Return the numbers that f returned as a private flat vector (m,).

        Raises
        ------
        FunctionError
            If they have another structure or other shapes than at the point.
        """
        if self._lone is not None and type(returned) is np.ndarray and returned.dtype.kind == "f":
            if returned.shape != self._lone:
                raise FunctionError(self._differs(f"shape {returned.shape}", f"shape {self._lone}"))
            return _backends.of(returned).to_vector(returned)
        flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
        if tuple(leaf.keys for leaf in flat.leaves) != self.keys:
            by_keys = {leaf.keys: leaf for leaf in flat.leaves}
            if set(by_keys) != set(self.keys):
                raise FunctionError(self._differs("another structure", "the one at the point"))
            found = [by_keys[key] for key in self.keys]
        else:
            found = list(flat.leaves)
        pieces: list[Vector] = []
        for leaf, at_point in zip(found, self.leaves, strict=True):
            _require_real(leaf.value, leaf.path, self._name)
            if np.shape(leaf.value) != at_point.shape:
                raise FunctionError(self._differs(f"shape {np.shape(leaf.value)}", f"shape {at_point.shape}"))
            pieces.append(_backends.of(leaf.value).to_vector(leaf.value))
        return np.concatenate(pieces)

    def _differs(self, here: str, there: str) -> str:
        return f"`{self._name}` must return the same structure everywhere, got {here} here and {there} at x."

    def tree(self, u: Vector) -> Any:
        """Put a flat vector (m,) into fresh arrays and numbers of f's own kinds and dtypes."""
        buffer = u.copy()
        return self._structure.unflatten([make(buffer) for make in self._makers])[0]

    def rounded(self, u: Vector) -> Vector:
        """Round a flat vector to what the outputs' dtypes can hold."""
        buffer = u.copy()
        made = [self._makers[slot](buffer) for slot in self._slots]
        return np.concatenate([_backends.of(value).to_vector(value) for value in made])

    def leaf_of(self, i: int) -> tuple[Leaf, tuple[int, ...]]:
        """Return the leaf that output i belongs to, and its index there."""
        leaf = next(leaf for leaf in self.leaves if leaf.start <= i < leaf.stop)
        return leaf, tuple(int(k) for k in np.unravel_index(i - leaf.start, leaf.shape)) if leaf.shape else ()

    def path_of(self, i: int) -> str:
        """Output i as Python source, such as ``output[3]``; ``output`` for a lone number."""
        leaf, index = self.leaf_of(i)
        return leaf.path + (str(list(index)) if index else "")


def _as_float(value: Any) -> Any:
    """Integers and booleans as floats of the same shape; floats as they are."""
    backend = _backends.of(value)
    if not isinstance(value, (np.ndarray, np.generic)) and not backend.is_array(value):
        return float(value)
    if backend.kind_of(value) == "f" and backend.dtype_of(value) in FLOATS:
        return cast("Any", value)
    return backend.doubled(value)


def _require_real(value: Any, path: str, name: str) -> None:
    backend = _backends.of(value)
    kind = backend.kind_of(value)
    if kind == "c":
        raise FunctionError(f"`{name}` must return real numbers, `{path}` is complex: return `.real` and `.imag`.")
    if kind == "":
        raise FunctionError(f"`{name}` must return numbers and arrays of them, `{path}` is {type(value).__name__}.")
    if kind not in "fiub":
        dtype = backend.dtype_of(value)
        raise FunctionError(f"`{name}` must return numbers and arrays of them, `{path}` is an array of dtype {dtype}.")
