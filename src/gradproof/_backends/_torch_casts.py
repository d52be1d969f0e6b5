"""Precisions that a function of PyTorch asks for inside, seen or replaced as its operations run."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import optree
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Tensor = torch.Tensor

SIXTEEN = (torch.bfloat16, torch.float16)
# Bits of the mantissa of float32 that TF32 drops.
DROPPED = 13
_PRODUCTS = frozenset(
    {
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "addbmm",
        "mv",
        "addmv",
        "dot",
        "convolution",
        "convolution_backward",
        "_scaled_dot_product_flash_attention_for_cpu",
    }
)


def is_low(dtype: Any) -> bool:
    """Whether a dtype is one of floats below float64."""
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype != torch.float64


class Wide(TorchDispatchMode):
    """Computes in float64 whatever a function asks to compute in less: `x.float()`, `sum(dtype=torch.float32)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if is_low(kwargs.get("dtype")):
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


class Autocasts(TorchFunctionMode):
    """Sees in which 16-bit dtype a function computes under autocast, if in any.

    (Where operations are dispatched, autocast is done already.)
    """

    seen: torch.dtype | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype in SIXTEEN and torch.is_autocast_enabled(result.device.type):
            self.seen = result.dtype
        return result


class SingleInside(TorchDispatchMode):
    """Computes every operation on 16-bit tensors in float32, and rounds its result: what a right kernel may do.

    PyTorch's own operations on the CPU do not: some add up in 16 bits, and some do not run at all. Views and writes in
    place are left as they are. Of an operation with several results the first is rounded, the others are statistics.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_view = any(argument.alias_info is not None for argument in func._schema.arguments)
        given = [one for one in optree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]  # pyright: ignore[reportArgumentType]
        low = next((one.dtype for one in given if one.dtype in SIXTEEN), None)
        if is_view or low is None or func.overloadpacket.__name__ in ("_to_copy", "clone", "copy", "detach"):
            return func(*args, **kwargs)
        is_mixed = any(one.dtype in (torch.float32, torch.float64) and one.dim() for one in given)
        args, kwargs = optree.tree_map(_single, (args, kwargs), none_is_leaf=True)  # pyright: ignore[reportArgumentType]
        result = func(*args, **kwargs)
        if is_mixed or kwargs.get("dtype") is not None:
            return result
        if isinstance(result, tuple):
            return (_rounded(result[0], low), *result[1:])
        return _rounded(result, low)


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in SIXTEEN else value


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype == torch.float32 else value


class ShortProducts(TorchDispatchMode):
    """Rounds the operands of matrix products and convolutions in float32 as TF32 does, to 10 bits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _PRODUCTS:
            args = tuple(shortened(one) if isinstance(one, Tensor) else one for one in args)
        return func(*args, **(kwargs or {}))


def shortened(tensor: Tensor) -> Tensor:
    """A float32 tensor with mantissas of 10 bits, rounded to nearest."""
    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    half = 1 << (DROPPED - 1)
    even = (bits >> DROPPED) & 1
    rounded = ((bits + (half - 1) + even) & -(1 << DROPPED)).view(torch.float32)
    return torch.where(tensor.isfinite(), rounded, tensor).reshape(tensor.shape)
