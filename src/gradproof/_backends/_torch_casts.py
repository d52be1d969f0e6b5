"""Precisions that a function of PyTorch asks for inside, seen or replaced as its operations run."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch
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


class Sixteen(TorchDispatchMode):
    """Sees in which 16-bit dtype a function computes, if in any."""

    seen: torch.dtype | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(first, Tensor) and first.dtype in SIXTEEN:
            self.seen = first.dtype
        return result


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
