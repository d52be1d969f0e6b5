"""Whether a function stands still around its point, as a derivative of exactly zero says."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from gradproof import _backends
from gradproof._backends._torch_autodiff import normal_like
from gradproof._claims._modes import Function
from gradproof.compat._torch_question import as_tuple

Tensor = torch.Tensor

# torch's own step, from which on steps become finer by `FINER` a level; random directions, each on both sides.
STEP, FINER, LEVELS, DIRECTIONS = 1e-6, 4.0, 6, 4
# Entries up to which each is moved alone, as torch does, where one or the other of them is next to a jump.
FEW = 1000


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
            us = [normal_like(one, generator) for one in at_point]
            claimed = function.vjp(tuple(us) if len(us) > 1 else us[0], *leaves, *others)
        else:
            claimed = function.jvp(tuple(normal_like(leaf, generator) for leaf in leaves), *leaves, *others)
        if any(bool((one != 0).any()) for one in as_tuple(claimed)):
            return False

    def is_still(moved: Sequence[Tensor]) -> bool:
        return all(map(_backends.same_bits, as_tuple(function.value(*moved, *others)), at_point))

    if all(map(is_still, _joint_moves(leaves, generator))):
        return True
    return sum(leaf.numel() for leaf in leaves) <= FEW and all(map(is_still, _single_moves(leaves)))


def _joint_moves(leaves: Sequence[Tensor], generator: np.random.Generator) -> Iterator[list[Tensor]]:
    """All entries at once along random directions, relative to the size of each tensor."""
    sizes = [float(leaf.detach().abs().square().mean().sqrt()) or 1.0 if leaf.numel() else 1.0 for leaf in leaves]
    for _ in range(DIRECTIONS):
        along = [normal_like(leaf, generator) * size for leaf, size in zip(leaves, sizes, strict=True)]
        for level in range(LEVELS):
            for step in (STEP / FINER**level, -STEP / FINER**level):
                yield [leaf.detach() + step * v for leaf, v in zip(leaves, along, strict=True)]


def _single_moves(leaves: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """One entry at a time, by torch's step and by a finer one."""
    for k, leaf in enumerate(leaves):
        for unit in (1.0, 1j) if leaf.is_complex() else (1.0,):
            for step in (STEP, -STEP, STEP / FINER, -STEP / FINER):
                for i in range(leaf.numel()):
                    moved = leaf.detach().clone(memory_format=torch.contiguous_format)
                    moved.view(-1)[i] += step * unit
                    yield [*leaves[:k], moved, *leaves[k + 1 :]]
