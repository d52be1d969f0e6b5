"""Whether a function stands still as one of its arrays moves, as a derivative of exactly zero says."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator

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


def stands_still(function: Function, mode: str, place: int, seed: int) -> bool:
    """Whether f keeps its bits within torch's own step of one of its arrays, whose derivative is exactly zero.

    Jumps further away leave a check without an answer, as they do for `torch.ceil` of many entries; nothing but zero
    can be the derivative there, unless f is a staircase whose treads are wider than torch's step.

    Parameters
    ----------
    function : Function
    mode : {"rev", "fwd"}
        In which the derivative is asked for.
    place : int
        Of the array among those that are differentiated.
    seed : int
    """
    generator = np.random.default_rng((seed, 11))
    leaves: tuple[Tensor, ...] = function.arguments[: function.count]
    others = function.arguments[function.count :]
    at_point = as_tuple(function.value(*leaves, *others))
    if mode == "rev":
        us = [normal_like(one, generator) for one in at_point]
        claimed = as_tuple(function.vjp(tuple(us) if len(us) > 1 else us[0], *leaves, *others))[place : place + 1]
    else:
        tangents = [torch.zeros_like(leaf) for leaf in leaves]
        tangents[place] = normal_like(leaves[place], generator)
        claimed = as_tuple(function.jvp(tuple(tangents), *leaves, *others))
    if any(bool((one != 0).any()) for one in claimed):
        return False

    def is_still(moved: Tensor) -> bool:
        values = function.value(*leaves[:place], moved, *leaves[place + 1 :], *others)
        return all(map(_backends.same_bits, as_tuple(values), at_point))

    leaf = leaves[place].detach()
    if all(map(is_still, _joint_moves(leaf, generator))):
        return True
    return leaf.numel() <= FEW and all(map(is_still, _single_moves(leaf)))


def _joint_moves(leaf: Tensor, generator: np.random.Generator) -> Iterator[Tensor]:
    """All entries at once along random directions, relative to their size."""
    size = float(leaf.abs().square().mean().sqrt()) or 1.0 if leaf.numel() else 1.0
    for _ in range(DIRECTIONS):
        along = normal_like(leaf, generator) * size
        for level in range(LEVELS):
            for step in (STEP / FINER**level, -STEP / FINER**level):
                yield leaf + step * along


def _single_moves(leaf: Tensor) -> Iterator[Tensor]:
    """One entry at a time, by torch's step and by a finer one."""
    for unit in (1.0, 1j) if leaf.is_complex() else (1.0,):
        for step in (STEP, -STEP, STEP / FINER, -STEP / FINER):
            for i in range(leaf.numel()):
                moved = leaf.clone(memory_format=torch.contiguous_format)
                moved.view(-1)[i] += step * unit
                yield moved
