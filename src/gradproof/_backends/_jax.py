"""Arrays of JAX as leaves. Imported only where the user has imported jax."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradproof._backends._jax_tree import require_value
from gradproof._backends._numpy import Array, Maker, Vector

# Entries up to which the array at the point is made once: to compare them costs less than to make it anew.
SMALL = 4096
_KINDS = {
    **dict.fromkeys(("float64", "float32", "float16", "bfloat16"), "f"),
    **dict.fromkeys(("complex128", "complex64"), "c"),
}


def is_array(value: object) -> bool:
    """Whether `value` is an array of JAX."""
    return isinstance(value, jax.Array)


def objection(value: Any, path: str) -> str | None:
    """Say why `value` is no leaf that can be differentiated, and what to pass instead; None where it is one.

    Raises
    ------
    UsageError
        If it has no numbers.
    """
    require_value(value, path)
    kind = kind_of(value)
    if kind in ("f", "c"):
        return None
    if is_key(value):
        return f"`{path}` is a random key, which has no derivative"
    if kind == "O":
        return f"`{path}` is of dtype {value.dtype}, which is not supported; pass float32 or float64"
    return f"`{path}` is of dtype {value.dtype}, which has no derivative; pass `{path}.astype(float)`"


def is_key(value: Any) -> bool:
    """Whether the entries are random keys."""
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def kind_of(value: Any) -> str:
    """Return NumPy's letter for what the entries are; "O" for dtypes that are not supported."""
    name = str(value.dtype)
    if name in _KINDS:
        return _KINDS[name]
    return value.dtype.kind if getattr(value.dtype, "kind", "") in ("i", "u", "b") else "O"


def dtype_of(value: Any) -> str:
    """Return the name of the dtype, such as ``"float32"``."""
    return str(value.dtype)


def to_vector(value: Any) -> Vector:
    """Return a private float64 copy, flat in C order."""
    return np.array(value, dtype=np.float64).reshape(-1)


def as_vector(value: Any) -> Vector:
    """Return the value in float64, flat in C order; it may share the value's memory."""
    return np.asarray(value, dtype=np.float64).reshape(-1)


def as_numpy(value: Any) -> Array:
    """Return the value as an array, which may share its memory; bfloat16 comes as float32."""
    array = np.asarray(value)
    return array.astype(np.float32) if value.dtype == jnp.bfloat16 else array


def doubled(value: Any) -> Any:
    """Return the value in float64, or complex128."""
    with jax.enable_x64(True):
        return value.astype(jnp.complex128 if kind_of(value) == "c" else jnp.float64)


def maker(value: Any, start: int) -> Maker:
    """Return the function that makes an array like `value` from a flat buffer that holds it from `start` on.

    It is a copy, on the devices of `value`; where the buffer holds the numbers of `value`, always the same one, as it
    cannot be changed.
    """
    stop, shape, dtype, sharding = start + value.size, value.shape, value.dtype, value.sharding
    put = jnp.asarray if _is_here(value) else lambda array: jax.device_put(array, sharding)

    def make(buffer: Vector) -> jax.Array:
        # JAX may keep the memory of a NumPy array: it must be one that nobody changes.
        with jax.enable_x64(True) if dtype.itemsize >= 8 else contextlib.nullcontext():
            return put(np.array(buffer[start:stop].reshape(shape), dtype))

    if value.size > SMALL:
        return make
    at_value = to_vector(value).tobytes()
    kept: list[jax.Array] = []

    def make_or_find(buffer: Vector) -> jax.Array:
        if buffer[start:stop].tobytes() != at_value:
            return make(buffer)
        if not kept or kept[0].is_deleted():
            kept[:] = [make(buffer)]
        return kept[0]

    return make_or_find


def _is_here(value: Any) -> bool:
    """Whether `value` lies where JAX puts arrays by itself."""
    return not value.committed


def halves(value: Any) -> tuple[Any, Any]:
    """Return the real and the imaginary part of a complex array."""
    with jax.enable_x64(True):
        return value.real, value.imag


def joined(value: Any, real: Any, imag: Any) -> Any:
    """Put two parts together: a complex array like `value`."""
    with jax.enable_x64(True):
        return jax.lax.complex(real, imag).astype(value.dtype)


def stacked(value: Any, rows: Array, count: int) -> Any:
    """Return an array (count, *shape) of the dtype of `value`, from (count, size) or (1, size)."""
    with jax.enable_x64(True):
        whole = np.broadcast_to(rows.reshape(len(rows), *value.shape), (count, *value.shape))
        array = jnp.array(whole, value.dtype)
        return array if _is_here(value) else jax.device_put(array, next(iter(value.devices())))


def working_copy(array: Any) -> Any:
    """Return the array itself, which nobody can change."""
    return array


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays agree in shape, dtype and every bit (nan equals itself, -0.0 is not 0.0)."""
    if one is other or one.is_deleted() or other.is_deleted():
        return True  # whoever took its memory could not change what others hold
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if is_key(one):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()
