"""Values, shapes and memory of tensors as the contracts ask for them."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradproof._backends._torch_autodiff import is_floating
from gradproof._backends._torch_layouts import LAYOUTS

Tensor = torch.Tensor


def laid_out(value: Any, layout: str) -> Any:
    """A floating tensor in a layout, contiguous where that is none or it has no such layout; all else as it is."""
    if not is_floating(value) or value.layout is not torch.strided:
        return value
    made = LAYOUTS[layout](value) if layout else None
    return value.contiguous() if made is None else made


class Precision(TorchDispatchMode):
    """Sees the coarsest precision that anything is computed in."""

    eps = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if is_floating(result):
            self.eps = max(self.eps, torch.finfo(result.dtype).eps)
        return result


def normal_values(tensor: Tensor, generator: torch.Generator) -> Tensor:
    dtype = torch.complex128 if tensor.is_complex() else torch.float64
    return torch.randn(tensor.shape, generator=generator, dtype=dtype).to(dtype=tensor.dtype, device=tensor.device)


def rounded(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """The same tensor, each entry off by up to four roundings."""
    drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
    factor = 1 + 4 * torch.finfo(tensor.dtype).eps * (2 * drawn - 1)
    return (tensor * factor).to(tensor.dtype)


def all_bytes(tensor: Tensor) -> Tensor:
    """All the memory that a tensor is a view of, as a copy; its values where it has none of its own."""
    if tensor.layout is not torch.strided:
        return tensor.to_dense().clone()
    whole = tensor.detach().untyped_storage()
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(whole).clone()  # pyright: ignore[reportCallIssue, reportArgumentType]


def address(tensor: Tensor) -> int:
    """Where the entries of a tensor are, or the tensor itself where that has no memory of its own."""
    is_plain = tensor.layout is torch.strided and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    return tensor.data_ptr() if is_plain and tensor.numel() else id(tensor)


def undefined(output: Tensor) -> Tensor:
    """The same output, to which no cotangent arrives."""
    return torch._C._functions.UndefinedGrad()(output)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]


def shortened(tensor: Tensor, length: int) -> Tensor:
    for axis, own in enumerate(tensor.shape):
        if own == length:
            tensor = tensor.narrow(axis, 0, length - 1)
    return tensor.clone()


def lengthened(tensor: Tensor, length: int) -> Tensor:
    for axis, own in enumerate(tuple(tensor.shape)):
        if own == length:
            tensor = torch.cat([tensor, tensor.flip(axis)], axis)
    return tensor
