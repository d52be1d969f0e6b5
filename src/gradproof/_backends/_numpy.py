"""NumPy arrays, NumPy scalars and Python's floats and complex numbers as leaves."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gradproof._base._names import type_name

Array = NDArray[Any]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Maker = Callable[[Vector], Any]  # flat buffer -> one leaf, of the user's own kind


def is_array(value: object) -> TypeGuard[Array]:
    """Whether `value` is a NumPy array (0-d ones too, NumPy scalars not)."""
    return isinstance(value, np.ndarray)


def _is_numpy(value: object) -> TypeGuard[Array]:
    """Whether `value` is a NumPy array or a NumPy scalar, which have the same attributes."""
    return isinstance(value, (np.ndarray, np.generic))


def objection(value: object, path: str) -> str | None:
    """Say why `value` is no leaf that can be differentiated, and what to pass instead; None where it is one."""
    if isinstance(value, (bool, int)):
        fix = f"`float({value})`" if not isinstance(value, bool) else "a float"
        return f"`{path}` is a Python {type(value).__name__}, which has no derivative; pass {fix}"
    if isinstance(value, (float, complex)):
        return None
    if not _is_numpy(value):
        return (
            f"`{path}` is of type {type_name(value)}; only numbers and NumPy float or complex arrays can be "
            f"differentiated: {_instead(value, path)}"
        )
    if type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray):  # np.ma is slow to import
        return f"`{path}` is a masked array, which is not supported; pass `.filled(...)` or `.compressed()`"
    dtype = value.dtype
    if (dtype.kind == "f" and dtype.itemsize <= 8) or (dtype.kind == "c" and dtype.itemsize <= 16):
        return None
    if dtype.kind == "c":
        return f"`{path}` is of dtype {dtype}, which is not supported; pass complex128 (`.astype(complex)`)"
    if dtype.kind in "fV":
        return f"`{path}` is of dtype {dtype}, which is not supported yet; pass float64 (`.astype(float)`)"
    return f"`{path}` is of dtype {dtype}, which has no derivative; pass `{path}.astype(float)`"


def _instead(value: Any, path: str) -> str:
    """What to pass in place of a value of another type."""
    if isinstance(value, type):
        return "pass a value of it"
    if hasattr(value, "to_numpy"):
        return f"pass `{path}.to_numpy()`"
    if hasattr(value, "__float__"):
        return f"pass `float({path})`"
    if dataclasses.is_dataclass(value):
        return f"pass `dataclasses.asdict({path})`, and make a {type(value).__name__} of it inside f"
    if hasattr(value, "named_parameters"):
        return "the parameters of a module are checked by `gradproof.torch.check_module(model, loss, batch)`"
    if inspect.isroutine(value):
        return "the point comes second, and a claim by its keyword, as in `gradproof.check(f, x, grad=df)`"
    if hasattr(value, "toarray"):
        return f"pass `{path}.toarray()`, or the numbers that it stores"
    if hasattr(value, "__array__"):
        return f"pass `np.asarray({path})`"
    if isinstance(value, Collection) and not isinstance(value, (str, bytes)):
        return f"pass an array, such as `np.array(list({path}))`"
    return 'convert it, or register its container with `optree.register_pytree_node(..., namespace="gradproof")`'


def kind_of(value: Any) -> str:
    """Return NumPy's letter for what the entries are; "" where they are no numbers."""
    if _is_numpy(value):
        return value.dtype.kind
    if isinstance(value, bool):
        return "b"
    return next((kind for kind, type_ in (("f", float), ("i", int), ("c", complex)) if isinstance(value, type_)), "")


def dtype_of(value: Any) -> str:
    """Return the name of a leaf's dtype; a Python float is float64."""
    if _is_numpy(value):
        return value.dtype.name
    return "complex128" if isinstance(value, complex) else "float64"


def to_vector(value: Any) -> Vector:
    """Return a private float64 copy, flat in C order."""
    return np.array(value, dtype=np.float64, subok=False).reshape(-1)


def as_vector(value: Any) -> Vector:
    """Return the value in float64, flat in C order; it may share the value's memory."""
    return np.asarray(value, dtype=np.float64).reshape(-1)


def as_numpy(value: Any) -> Array:
    """Return the value as an array, which may share its memory."""
    return np.asarray(value)


def doubled(value: Any) -> Array:
    """Return the value in float64, or complex128."""
    return np.asarray(value, dtype=np.complex128 if kind_of(value) == "c" else np.float64)


def maker(value: Any, start: int) -> Maker:
    """Return the function that makes a leaf like `value` from a flat buffer that holds it from `start` on.

    Arrays of native float64 in C order are views of the buffer; all others are copies.
    """
    if not _is_numpy(value):
        return lambda buffer: buffer.item(start)
    dtype = value.dtype
    if not is_array(value):
        return lambda buffer: dtype.type(buffer[start])
    stop, shape = start + value.size, value.shape
    kind = type(value)
    is_native = dtype == np.float64 and dtype.isnative
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    if is_native and not is_fortran and kind in (np.ndarray, np.memmap):
        if value.ndim == 1:
            return lambda buffer: buffer[start:stop]
        return lambda buffer: buffer[start:stop].reshape(shape)

    def make(buffer: Vector) -> Array:
        array = buffer[start:stop].reshape(shape).astype(dtype, order="F" if is_fortran else "C", copy=not is_native)
        return array if kind in (np.ndarray, np.memmap) else array.view(kind)

    return make


def halves(value: Any) -> tuple[Any, Any]:
    """Return the real and the imaginary part of a complex value: arrays, or scalars of its kind."""
    if is_array(value):
        return np.array(np.real(np.asarray(value)), order="C"), np.array(np.imag(np.asarray(value)), order="C")
    return value.real, value.imag


def joined(value: Any, real: Any, imag: Any) -> Any:
    """Put two parts together: a complex leaf of the kind, dtype and memory order of `value`."""
    if not _is_numpy(value):
        return complex(real, imag)
    if not is_array(value):
        parts = np.empty((), value.dtype)
        parts.real, parts.imag = real, imag
        return parts[()]
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    array = np.empty(value.shape, value.dtype, order="F" if is_fortran else "C")
    array.real, array.imag = real, imag
    return array if type(value) in (np.ndarray, np.memmap) else array.view(type(value))


def stacked(value: Any, rows: Array, count: int) -> Array:
    """Return an array (count, *shape) of the dtype and subclass of `value`, from (count, size) or (1, size)."""
    array = np.empty((count, *np.shape(value)), dtype_of(value))
    array[:] = rows.reshape(len(rows), *np.shape(value))
    return array.view(type(value)) if is_array(value) and type(value) not in (np.ndarray, np.memmap) else array


def working_copy(array: Array) -> Array:
    """Return a writable copy that f may keep or change: same subclass, same memory order."""
    return np.array(array, order="K", subok=True)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays agree in shape, dtype and every bit (nan equals itself, -0.0 is not 0.0)."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.hasobject:
        return all(a is b for a, b in zip(one.flat, other.flat, strict=True))
    if one.dtype.kind == "f" and one.dtype.itemsize <= 8:
        bits = f"u{one.dtype.itemsize}"
        return np.array_equal(one.view(bits), other.view(bits))
    if one.dtype.kind in "biu":
        return np.array_equal(one, other)
    return one.tobytes() == other.tobytes()


def share_memory(one: Array, other: Array) -> bool:
    """Whether two arrays overlap; False where the exact answer would take too long."""
    try:
        return np.shares_memory(one, other, max_work=10_000)  # pyright: ignore[reportArgumentType]  (stubs know -1, 0)
    except np.exceptions.TooHardError:
        return False
