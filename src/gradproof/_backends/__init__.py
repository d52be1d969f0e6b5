"""What differs between array libraries: which values are leaves, how they are copied and made anew.

One module for each library, all with the functions of `Backend`; `of` picks the one that a value belongs to. Every room
that holds the user's arrays uses it; `_prove` and `_line` see flat vectors only. It imports `_base` and `_report`.
"""

from __future__ import annotations

import contextlib
import functools as ft
import importlib
import sys
from typing import Any, Protocol, cast

import numpy as np
import optree

from gradproof._backends import _numpy
from gradproof._backends._numpy import Array as Array
from gradproof._backends._numpy import Maker as Maker
from gradproof._backends._numpy import Matrix as Matrix
from gradproof._backends._numpy import Vector as Vector


class Backend(Protocol):
    """How leaves of one library are looked at, copied and made anew."""

    def is_array(self, value: object) -> bool:
        """Whether `value` has memory of its own that f could change."""
        ...

    def objection(self, value: object, path: str) -> str | None:
        """Say why `value` is no leaf that can be differentiated, and what to pass instead; None where it is one."""
        ...

    def kind_of(self, value: Any) -> str:
        """NumPy's letter for what the entries are: f(loat), c(omplex), i, u, b(ool), O(bject); "" for no number."""
        ...

    def dtype_of(self, value: Any) -> str:
        """Name of the dtype, such as ``"float32"`` or ``"bfloat16"``; a Python float is float64."""
        ...

    def to_vector(self, value: Any) -> Vector:
        """Return a private float64 copy, flat in C order."""
        ...

    def as_vector(self, value: Any) -> Vector:
        """Return the value in float64, flat in C order; it may share the value's memory."""
        ...

    def as_numpy(self, value: Any) -> Array:
        """Return the value as a NumPy array, which may share its memory; bfloat16 comes as float32."""
        ...

    def doubled(self, value: Any) -> Any:
        """Return the same value in float64 (complex128 where it is complex), as an array of its library."""
        ...

    def maker(self, value: Any, start: int) -> Maker:
        """Return the function that makes a leaf like `value` from a flat buffer that holds it from `start` on."""
        ...

    def halves(self, value: Any) -> tuple[Any, Any]:
        """Return the real and the imaginary part of a complex value, as two real values of the same library."""
        ...

    def joined(self, value: Any, real: Any, imag: Any) -> Any:
        """Put two parts together: a complex leaf like `value`."""
        ...

    def stacked(self, value: Any, rows: Array, count: int) -> Any:
        """Return an array (count, *shape) of a leaf's kind, dtype and device, from its values at as many points.

        `rows` are (count, size), or (1, size) where it is the same everywhere; those of a complex leaf are complex.
        """
        ...

    def working_copy(self, array: Any) -> Any:
        """Return a writable copy that f may keep or change."""
        ...

    def same_bits(self, one: Any, other: Any) -> bool:
        """Whether two arrays of this library agree in shape, dtype and every bit."""
        ...


_NUMPY = cast("Backend", _numpy)


def of(value: object) -> Backend:
    """Return the backend of a value: that of torch or JAX for its arrays, NumPy's for everything else.

    A library that the user has not imported can have no arrays here, and is not imported.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
        return _backend("torch")
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, getattr(jax, "Array", ())):
        return _backend("jax")
    return _NUMPY


@ft.cache
def _backend(name: str) -> Backend:
    return cast("Backend", importlib.import_module(f"gradproof._backends._{name}"))


def is_array(value: object) -> bool:
    """Whether `value` is an array of any library that is known here."""
    return of(value).is_array(value)


def copied(tree: Any) -> Any:
    """Return a tree with copies of its arrays, which nobody else can change; sparse matrices are copied, too."""
    if is_array(tree):
        return of(tree).working_copy(tree)
    return optree.tree_map(_copied_leaf, tree, none_is_leaf=True, namespace="gradproof")


def _copied_leaf(leaf: Any) -> Any:
    if is_array(leaf):
        return of(leaf).working_copy(leaf)
    return leaf.copy() if hasattr(leaf, "tocoo") and hasattr(leaf, "copy") else leaf


def digest(tree: Any) -> str:
    """Return what tells the numbers in a tree from others, bit by bit; whatever else it holds does not count."""
    import hashlib  # slow to import

    found = hashlib.blake2b(digest_size=16)
    leaves: list[Any] = optree.tree_leaves(tree, namespace="gradproof")
    for leaf in leaves:
        array: Array
        if is_array(leaf):
            array = of(leaf).as_numpy(leaf)
        elif isinstance(leaf, (np.generic, float, int, complex)):
            array = np.asarray(leaf)
        else:
            continue
        found.update(str((array.dtype, array.shape)).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays are of one library and agree in shape, dtype and every bit."""
    backend = of(one)
    return backend is of(other) and backend.same_bits(one, other)


def same_leaf(one: Any, other: Any) -> bool:
    """Whether two leaves are equal; objects that cannot be compared count as equal, for lack of evidence."""
    if is_array(one) or is_array(other):
        return is_array(one) and is_array(other) and same_bits(one, other)
    try:
        return bool(one == other) or bool(one != one)  # nan equals itself
    except Exception:
        return True


def has_autodiff(args: Any) -> bool:
    """Whether `args` hold arrays of a framework that differentiates by itself."""
    return _framework(args) != ""


def keeper(f: Any, args: Any) -> contextlib.AbstractContextManager[None]:
    """Return the context of a whole check by a framework's autodiff: all is left as it was found; enter it twice."""
    if _framework(args) == "_torch_upcast":
        return importlib.import_module("gradproof._backends._torch_upcast").keeper(f, args)
    return contextlib.nullcontext()


def autodiff(
    f: Any, args: Any, wrt: int | tuple[int, ...] | None, keeper: contextlib.AbstractContextManager[None]
) -> Any:
    """Return f as a framework's autodiff sees it (see `gradproof._claims._modes.Autodiff`), within its `keeper`.

    Raises
    ------
    UsageError
        If nothing can be differentiated.
    FunctionError
        If f raises at the point.
    """
    framework = importlib.import_module(f"gradproof._backends.{_framework(args)}")
    if isinstance(keeper, contextlib.nullcontext):
        return framework.autodiff(f, args, wrt)
    return framework.autodiff(f, args, wrt, keeper=keeper)


def _framework(args: Any) -> str:
    """The module for the framework whose floating arrays are in `args`; empty where there are none."""
    if "torch" in sys.modules and importlib.import_module("gradproof._backends._torch_autodiff").find_tensors(args):
        return "_torch_upcast"
    if "jax" in sys.modules and importlib.import_module("gradproof._backends._jax_tree").has_arrays(args):
        return "_jax_autodiff"
    return ""
