"""Which tensors of a batch are differentiated where a check is about parameters and inputs together."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import torch

from gradproof._backends._torch_autodiff import is_floating
from gradproof._base import _tree
from gradproof._base._away import is_from_handler

Tensor = torch.Tensor


def marked(batch: Any, value: Callable[[Any], Tensor], *, has_parameters: bool) -> Any:
    """Return the batch, in which exactly those floating tensors require grad that are to be differentiated.

    Those that require grad as they come; if none does, those that the value is differentiable in, as far as torch
    says. Where these are all that there is to differentiate and there are none either, all floating ones.

    Parameters
    ----------
    batch : any
    value : callable
        ``value(batch) -> tensor`` of one entry.
    has_parameters : bool
        Whether anything else is differentiated.
    """
    flat = _tree.flatten((batch,), ("batch",), none_is_leaf=True)
    leaves = flat.leaves
    floating = [i for i, leaf in enumerate(leaves) if is_floating(leaf.value)]
    if any(leaves[i].value.requires_grad for i in floating):
        return batch

    def with_grad(chosen: Collection[int]) -> tuple[Any, list[Tensor]]:
        values: list[Any] = [None] * len(leaves)
        for i, leaf in enumerate(leaves):
            is_chosen = i in chosen
            values[leaf.slot] = leaf.value.detach().requires_grad_() if is_chosen else leaf.value
        return flat.structure.unflatten(values)[0], [values[leaves[i].slot] for i in sorted(chosen)]

    def reached(chosen: list[int]) -> list[int]:
        """Those of some tensors that have a gradient; whatever f or its backward raises, torch has none for it."""
        given, tensors = with_grad(chosen)
        with torch.enable_grad():
            returned = value(given)
            if not returned.requires_grad:
                return []
            gradients = torch.autograd.grad(returned.sum(), tensors, allow_unused=True)
        found = cast("Sequence[Tensor | None]", gradients)
        return [i for i, gradient in zip(chosen, found, strict=True) if gradient is not None]

    def alone(i: int) -> list[int]:
        try:
            return reached([i])
        except Exception as error:
            if is_from_handler(error):
                raise
            return []

    try:
        differentiable = reached(floating)
    except Exception as error:
        if is_from_handler(error):
            raise
        differentiable = [i for one in floating for i in alone(one)]
    if not differentiable and not has_parameters:
        differentiable = floating
    return with_grad(differentiable)[0]
