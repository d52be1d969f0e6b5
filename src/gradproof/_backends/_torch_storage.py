"""Inputs that are part of a larger storage, whose function may look beyond them with `as_strided`."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch

Tensor = torch.Tensor


def is_part(x: Any) -> bool:
    """Whether a tensor shares its storage with entries that are not its own."""
    if type(x) not in (Tensor, torch.nn.Parameter) or x.layout is not torch.strided or x.is_meta or x.is_nested:
        return False
    is_expanded = any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))
    return not (is_expanded or x.is_conj() or x.is_neg()) and 0 < x.numel() < _stored(x)


def put_in_place(moved: Tensor, x: Tensor) -> Tensor:
    """Give the values `moved` for x the place that x has: its strides and offset, in a copy of its storage.

    What lies around x is constant. torch differentiates `as_strided` in the same way: its derivative depends on where
    x lies, and is zero with respect to what is not part of x.
    """
    storage = x.detach().as_strided((_stored(x),), (1,), 0).to(moved.dtype)
    place = x.shape, x.stride(), x.storage_offset()
    # (The copy is new at each call, so that func may write into it.)
    return torch.as_strided_scatter(storage, moved, *place).as_strided(*place)


def _stored(x: Tensor) -> int:
    return x.untyped_storage().nbytes() // x.element_size()
