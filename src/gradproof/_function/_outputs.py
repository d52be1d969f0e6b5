"""What f returns, seen as one flat vector: arrays, numbers, and nestings of both."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._backends import Matrix, Vector
from gradproof._base import _tree
from gradproof._base._errors import FunctionError
from gradproof._base._leaf import Leaf
from gradproof._function._layout import Layout

NUMBERS = ("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128")


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
    layout : Layout
        What f returns, array by array, and its leaves; `origins` are the former.
    leaves : tuple of Leaf
        In the user's order; paths start with ``output``.
    keys : tuple of tuple
        The way to each array from the top of the tuple that holds all that f returned as its only member.
    size : int
        Entries of all leaves, m.
    eps : float
        Coarsest machine epsilon among the leaves' dtypes.

    Raises
    ------
    FunctionError
        If there is no number among them.
    """

    def __init__(self, returned: Any, name: str) -> None:
        if returned is None:
            raise FunctionError(f"`{name}` returned None; did you forget `return`?")
        self._name = name
        flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
        for leaf in flat.leaves:
            _require_number(leaf.value, leaf.path, name)
        self._structure = flat.structure
        self.keys: tuple[tuple[Hashable, ...], ...] = tuple(leaf.keys for leaf in flat.leaves)
        floats = [_as_float(leaf.value) for leaf in flat.leaves]
        self.layout = Layout(flat.leaves, floats)
        self.leaves: tuple[Leaf, ...] = self.layout.leaves
        self.origins = self.layout.origins
        self.size = sum(leaf.size for leaf in self.leaves)
        if self.size == 0:
            raise FunctionError(f"`{name}` returned no number: there is nothing to differentiate.")
        self.eps = max(leaf.eps for leaf in self.leaves)
        self._makers = self.layout.makers([leaf.start for leaf in self.leaves])
        self._is_lone = len(flat.leaves) == 1 and len(self.keys[0]) == 1
        self._kinds = [_kind(value) for value in floats]
        is_plain = self._is_lone or (type(returned) is tuple and all(len(leaf.keys) == 2 for leaf in flat.leaves))
        self._is_plain = is_plain and all(map(_backends.is_array, floats))

    def read(self, returned: Any) -> Vector:
        """Return the numbers that f returned as a private flat vector (m,).

        Raises
        ------
        FunctionError
            If they have another structure or other shapes than at the point.
        """
        if self._is_plain:
            given = cast("tuple[Any, ...]", (returned,) if self._is_lone else returned)
            if type(given) is tuple and [_kind(value) for value in given] == self._kinds:
                pairs = zip(given, self.origins, strict=True)
                pieces = [piece for value, origin in pairs for piece in origin.vectors(value)]
                return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
        if tuple(leaf.keys for leaf in flat.leaves) != self.keys:
            by_keys = {leaf.keys: leaf for leaf in flat.leaves}
            if set(by_keys) != set(self.keys):
                raise FunctionError(self._differs("another structure", "the one at the point"))
            found = [by_keys[key] for key in self.keys]
        else:
            found = list(flat.leaves)
        pieces = list[Vector]()
        for leaf, at_point in zip(found, self.origins, strict=True):
            _require_number(leaf.value, leaf.path, self._name)
            if np.shape(leaf.value) != at_point.shape:
                raise FunctionError(self._differs(f"shape {np.shape(leaf.value)}", f"shape {at_point.shape}"))
            if not at_point.is_complex and _backends.of(leaf.value).kind_of(leaf.value) == "c":
                there = "real ones at x; return complex numbers everywhere (`.astype(complex)`)"
                raise FunctionError(self._differs("complex numbers", there, at=""))
            pieces += at_point.vectors(leaf.value)
        return np.concatenate(pieces)

    def read_many(self, returned: Any, count: int) -> Matrix:
        """Return the numbers of `count` points, each array with a leading axis for them, as a matrix (count, m).

        Raises
        ------
        FunctionError
            If they have another structure or other shapes than that.
        """
        flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
        by_keys = {leaf.keys: leaf for leaf in flat.leaves}
        if set(by_keys) != set(self.keys):
            raise FunctionError(self._differs("another structure", "the one of a single point"))
        pieces = list[Matrix]()
        for key, origin in zip(self.keys, self.origins, strict=True):
            value = by_keys[key].value
            _require_number(value, by_keys[key].path, self._name)
            if np.shape(value) != (count, *origin.shape):
                expected = f"shape {(count, *origin.shape)}, one of shape {origin.shape} for each of {count} points"
                raise FunctionError(f"`{self._name}` must return arrays of {expected}, got {np.shape(value)}.")
            pieces += [part.reshape(count, -1) for part in origin.vectors(value)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    def _differs(self, here: str, there: str, at: str = " at x") -> str:
        return f"`{self._name}` must return the same structure everywhere, got {here} here and {there}{at}."

    def tree(self, u: Vector) -> Any:
        """Put a flat vector (m,) into fresh arrays and numbers of f's own kinds and dtypes."""
        buffer = u.copy()
        return self._structure.unflatten([make(buffer) for make in self._makers])[0]

    def rounded(self, u: Vector) -> Vector:
        """Round a flat vector to what the outputs' dtypes can hold."""
        buffer = u.copy()
        if all(leaf.dtype in _ROUND for leaf in self.leaves):
            for leaf in self.leaves:
                own = slice(leaf.start, leaf.stop)
                buffer[own] = buffer[own].astype(_ROUND[leaf.dtype])
            return buffer
        made = [make(buffer) for make in self._makers]
        return np.concatenate([piece for origin in self.origins for piece in origin.vectors(made[origin.slot])])

    def leaf_of(self, i: int) -> tuple[Leaf, tuple[int, ...]]:
        """Return the leaf that output i belongs to, and its index there."""
        leaf = next(leaf for leaf in self.leaves if leaf.start <= i < leaf.stop)
        return leaf, tuple(int(k) for k in np.unravel_index(i - leaf.start, leaf.shape)) if leaf.shape else ()

    def path_of(self, i: int) -> str:
        """Output i as Python source, such as ``output[3]``; ``output`` for a lone number."""
        leaf, index = self.leaf_of(i)
        return leaf.path + (str(list(index)) if index else "")


# (No array of a framework needs to be made for these.)
_ROUND = {"float64": np.float64, "float32": np.float32}


def _kind(value: Any) -> tuple[Any, ...]:
    return cast("Any", type(value)), np.shape(value), getattr(value, "dtype", None)


def _as_float(value: Any) -> Any:
    """Integers and booleans as floats of the same shape; floats and complex numbers as they are."""
    backend = _backends.of(value)
    if not isinstance(value, (np.ndarray, np.generic)) and not backend.is_array(value):
        return complex(value) if isinstance(value, complex) else float(value)
    if backend.kind_of(value) in "fc" and backend.dtype_of(value) in NUMBERS:
        return cast("Any", value)
    return backend.doubled(value)


def _require_number(value: Any, path: str, name: str) -> None:
    backend = _backends.of(value)
    kind = backend.kind_of(value)
    if kind == "":
        raise FunctionError(f"`{name}` must return numbers and arrays of them, `{path}` is {type(value).__name__}.")
    if kind not in "fciub":
        dtype = backend.dtype_of(value)
        raise FunctionError(f"`{name}` must return numbers and arrays of them, `{path}` is an array of dtype {dtype}.")
