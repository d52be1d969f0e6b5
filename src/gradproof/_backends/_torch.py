"""Tensors of PyTorch as leaves. Imported only where the user has imported torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gradproof._backends._numpy import Array, Maker, Vector

_KINDS = {
    **dict.fromkeys((torch.float64, torch.float32, torch.float16, torch.bfloat16), "f"),
    **dict.fromkeys((torch.complex128, torch.complex64, torch.complex32), "c"),
    **dict.fromkeys((torch.int64, torch.int32, torch.int16, torch.int8), "i"),
    torch.uint8: "u",
    torch.bool: "b",
}
# What NumPy does not know, and what of NumPy's holds all of its values.
_FOREIGN = {torch.bfloat16: torch.float32, torch.complex32: torch.complex64}
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def is_array(value: object) -> bool:
    """Whether `value` is a tensor."""
    return isinstance(value, torch.Tensor)


def objection(value: Any, path: str) -> str | None:
    """Say why `value` is no leaf that can be differentiated, and what to pass instead; None where it is one."""
    if value.layout is not torch.strided:
        return f"`{path}` is a tensor of layout {value.layout}, which is not supported here; pass `.to_dense()`"
    if value.is_quantized:
        return f"`{path}` is a quantised tensor, which has no derivative; pass `.dequantize()`"
    if value.is_meta:
        return f"`{path}` lies on the meta device and has no values"
    kind = _KINDS.get(value.dtype, "")
    if kind in ("f", "c"):
        return None
    if kind == "":
        return f"`{path}` is of dtype {value.dtype}, which is not supported; pass float32 or float64"
    return f"`{path}` is of dtype {value.dtype}, which has no derivative; pass `{path}.double()`"


def kind_of(value: Any) -> str:
    """Return NumPy's letter for what the entries are; "O" for dtypes that NumPy does not know."""
    return _KINDS.get(value.dtype, "O")


def dtype_of(value: Any) -> str:
    """Return the name of the dtype, such as ``"float32"``."""
    return str(value.dtype).removeprefix("torch.")


def to_vector(value: Any) -> Vector:
    """Return a private float64 copy, flat in C order."""
    tensor = value.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    is_plain = not (tensor.is_neg() or tensor._is_zerotensor())  # pyright: ignore[reportPrivateUsage]
    if tensor.dtype is torch.float64 and tensor.device.type == "cpu" and is_plain:
        return np.array(tensor.numpy(), order="C").reshape(-1)
    tensor = tensor.to(device="cpu", dtype=torch.float64, copy=True)
    return np.asarray(tensor.contiguous().numpy(force=True)).reshape(-1)


def as_vector(value: Any) -> Vector:
    """Return the value in float64, flat in C order; it may share the value's memory."""
    tensor = value.detach().to(device="cpu", dtype=torch.float64)
    return np.asarray(tensor.contiguous().numpy(force=True)).reshape(-1)


def as_numpy(value: Any) -> Array:
    """Return the value as an array, which may share its memory; bfloat16 comes as float32, complex32 as complex64."""
    tensor = value.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype in _FOREIGN:
        tensor = tensor.to(_FOREIGN[tensor.dtype])
    return np.asarray(tensor.numpy(force=True))


def doubled(value: Any) -> Any:
    """Return the value in float64, or complex128."""
    return value.detach().to(torch.complex128 if value.is_complex() else torch.float64)


def maker(value: Any, start: int) -> Maker:
    """Return the function that makes a tensor like `value` from a flat buffer that holds it from `start` on.

    Contiguous tensors of float64 on the CPU are views of the buffer; all others are copies of the same strides.
    """
    stop, shape = start + value.numel(), value.shape
    if value.dtype is torch.float64 and value.device.type == "cpu" and value.is_contiguous():
        return lambda buffer: _tensor(buffer[start:stop]).view(shape)
    like = torch.empty_like(value, requires_grad=False)

    def make(buffer: Vector) -> torch.Tensor:
        return torch.empty_like(like).copy_(_tensor(buffer[start:stop]).view(shape))

    return make


def _tensor(vector: Vector) -> torch.Tensor:
    """Return a view of a flat array."""
    return torch.from_numpy(vector)  # pyright: ignore[reportUnknownMemberType]


def halves(value: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the real and the imaginary part of a complex tensor."""
    tensor = value.detach().resolve_conj()
    return tensor.real.clone(), tensor.imag.clone()


def joined(value: Any, real: Any, imag: Any) -> torch.Tensor:
    """Put two parts together: a complex tensor of the strides of `value`."""
    tensor = torch.empty_like(value, requires_grad=False)
    tensor.real.copy_(real)
    tensor.imag.copy_(imag)
    return tensor


def stacked(value: Any, rows: Array, count: int) -> torch.Tensor:
    """Return a tensor (count, *shape) of the dtype and device of `value`, from (count, size) or (1, size).

    What is the same at all points is so in memory: it has stride 0 along the leading axis.
    """
    # (Rows for all points have been made for this; a lone one may be the user's.)
    own = np.ascontiguousarray(rows) if len(rows) == count > 1 else np.array(rows, order="C")
    tensor = torch.from_numpy(own)  # pyright: ignore[reportUnknownMemberType]
    tensor = tensor.reshape(len(rows), *value.shape).to(device=value.device, dtype=value.dtype)
    return tensor if len(rows) == count else tensor.expand(count, *value.shape)


def working_copy(array: Any) -> Any:
    """Return a tensor of its own memory that f may keep or change: same strides, no history."""
    return array.detach().clone()


def same_bits(one: Any, other: Any) -> bool:
    """Whether two tensors agree in shape, dtype, device and every bit (nan equals itself, -0.0 is not 0.0)."""
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    if one.layout is not torch.strided or other.layout is not torch.strided:
        return one.layout is other.layout and same_bits(one.to_dense(), other.to_dense())
    return torch.equal(as_integers(one), as_integers(other)) if one.numel() else True


def as_integers(tensor: Any) -> Any:
    """The bits of a strided tensor's numbers, as integers of their size."""
    plain = tensor.detach().contiguous()
    plain = torch.view_as_real(plain.resolve_conj()) if plain.is_complex() else plain
    return plain.view(_INTEGERS[plain.element_size()]) if plain.is_floating_point() else plain
