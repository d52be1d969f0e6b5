"""The same values in other layouts of memory: what kernels receive, besides fresh contiguous tensors."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

Tensor = torch.Tensor


def transposed(tensor: Tensor) -> Tensor | None:
    """The last two axes swapped in memory, as after ``.mT``."""
    return tensor.mT.contiguous().mT if tensor.dim() > 1 and min(tensor.shape[-2:]) > 1 else None


def sliced(tensor: Tensor) -> Tensor | None:
    """Every other entry of a wider tensor, as after ``[..., ::2]``; what lies between is nan where the dtype has it."""
    if not tensor.dim() or not tensor.numel():
        return None
    wide = _filled(tensor, (*tensor.shape[:-1], 2 * tensor.shape[-1]))
    wide[..., ::2] = tensor
    return wide[..., ::2]


def narrowed(tensor: Tensor) -> Tensor | None:
    """Rows of a wider tensor, as the parts of ``torch.cat`` or ``chunk``: the last axis is dense, rows are apart."""
    if tensor.dim() < 2 or not tensor.numel():
        return None
    wide = _filled(tensor, (*tensor.shape[:-1], tensor.shape[-1] + 3))
    wide[..., 1:-2] = tensor
    return wide[..., 1:-2]


def offset(tensor: Tensor) -> Tensor | None:
    """Contiguous, but one entry into its storage, so that its address is not aligned."""
    if not tensor.numel():
        return None
    wide = _filled(tensor, (tensor.numel() + 1,))
    wide[1:] = tensor.reshape(-1)
    return wide[1:].view(tensor.shape)


def channels_last(tensor: Tensor) -> Tensor | None:
    """The second axis last in memory, as convolutions prefer it: four axes, or five."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if tensor.dim() not in formats or tensor.shape[1] == 1 or not tensor.numel():
        return None
    return tensor.contiguous(memory_format=formats[tensor.dim()])


def expanded(tensor: Tensor) -> Tensor | None:
    """One entry for all, stride 0 along every axis, as the cotangent after ``.sum()``: its values are others."""
    return tensor.reshape(-1)[:1].clone().reshape([1] * tensor.dim()).expand(tensor.shape) if tensor.numel() else None


def repeated(tensor: Tensor) -> Tensor | None:
    """One row for all, stride 0 along the first axis, as the cotangent after ``.sum(0)``: its values are others."""
    if tensor.dim() < 2 or not tensor.numel():
        return None
    return tensor[:1].clone().expand(tensor.shape)


# By name, from the plainest to the strangest. None where a tensor has no such layout other than its own.
LAYOUTS: Mapping[str, Callable[[Tensor], Tensor | None]] = {
    "transposed": transposed,
    "sliced": sliced,
    "narrowed": narrowed,
    "offset": offset,
    "channels_last": channels_last,
    "expanded": expanded,
    "repeated": repeated,
}
# Those that hold other values than the tensor they are made from: compare with a contiguous copy of them.
SHARED = ("expanded", "repeated")


def _filled(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A detached buffer of another shape whose entries are nan, or -1 where the dtype has none."""
    has_nan = tensor.is_floating_point() or tensor.is_complex()
    return torch.full(shape, float("nan") if has_nan else -1, dtype=tensor.dtype, device=tensor.device)
