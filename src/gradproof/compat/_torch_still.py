"""Whether a function stands still around its point, as a derivative of exactly zero says."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from gradproof import _backends
from gradproof._backends._torch_autodiff import normal_like
from gradproof._claims._modes import Function
from gradproof.compat._torch_question import as_tuple

Tensor = torch.Tensor

# torch's own step, from which on steps become finer by `FINER` a level; random directions, each on both sides.
STEP, FINER, LEVELS, DIRECTIONS = 1e-6, 4.0, 6, 4


def stands_still(function: Function, modes: Iterable[str], seed: int) -> bool:
    """Whether f keeps its bits within torch's own step of the point, while its derivative in each mode is exactly zero.

    Jumps further away leave a check without an answer, as they do for `torch.ceil` of many entries; nothing but zero
    can be the derivative there, unless f is a staircase whose treads are wider than torch's step.
    """
    generator = np.random.default_rng((seed, 11))
    leaves: tuple[Tensor, ...] = function.arguments[: function.count]
    others = function.arguments[function.count :]
    at_point = as_tuple(function.value(*leaves, *others))
    for mode in modes:
        if mode == "rev":
            us = tuple(normal_like(one, generator) for one in at_point)
            claimed = function.vjp(us if len(us) > 1 else us[0], *leaves, *others)
        else:
            claimed = function.jvp(tuple(normal_like(leaf, generator) for leaf in leaves), *leaves, *others)
        if any(bool((one != 0).any()) for one in as_tuple(claimed)):
            return False
    sizes = [float(leaf.detach().abs().square().mean().sqrt()) or 1.0 if leaf.numel() else 1.0 for leaf in leaves]
    for _ in range(DIRECTIONS):
        along = [normal_like(leaf, generator) * size for leaf, size in zip(leaves, sizes, strict=True)]
        for level in range(LEVELS):
            for step in (STEP / FINER**level, -STEP / FINER**level):
                moved: list[Any] = [leaf.detach() + step * v for leaf, v in zip(leaves, along, strict=True)]
                values = as_tuple(function.value(*moved, *others))
                if not all(map(_backends.same_bits, values, at_point)):
                    return False
    return True
