"""Whether a function stands still as one of its arrays moves, as a derivative of zero says."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from gradproof import _backends
from gradproof._backends._torch_autodiff import normal_like
from gradproof._base._precision import EPS64
from gradproof._claims._autodiff import Function
from gradproof._contracts import vanishing
from gradproof.compat._torch_question import as_tuple

Tensor = torch.Tensor

# torch's own step, from which on steps become finer by `FINER` a level; random directions, each on both sides.
STEP, FINER, LEVELS, DIRECTIONS = 1e-6, 4.0, 6, 4
# Steps, relative to the size of an array, within which a value that is rounding must stay rounding. Where the widest
# meet something else (a branch, entries much larger than the others), the narrower ones have to stay within 16 of the
# 4096 roundings: moving less, they would not see as small a slope.
WIDE = (1.0, 1e-3, 1e-6)
LEAST_SHARE = 16 / 4096
# ... and a second derivative as much more: where f is steep, its terms are larger than f over the size of x, and leave
# more where they cancel (entries of 1e4 in logcumsumexp: 12 to 18 times).
MAGNIFIED = 1 / LEAST_SHARE
# Entries up to which each is moved alone, as torch does, where one or the other of them is next to a jump.
FEW = 1000


def stands_still(function: Function, mode: str, place: int, seed: int, terms: float = 0.0) -> bool:
    """Whether f keeps its value as one of its arrays moves, as its derivative says: to the bit, or up to rounding.

    To the bit within torch's own step, where the derivative is exactly zero. Jumps further away leave a check without
    an answer, as they do for `torch.ceil` of many entries; nothing but zero can be the derivative there, unless f is a
    staircase whose treads are wider than torch's step. Where f jumps at the point itself and is the same all around it,
    as where a target is compared with 1, zero is the limit of the derivatives nearby.

    Up to rounding (see `_contracts.vanishing`) as far as the array is large, where the derivative is no more than
    rounding either: all terms of f cancel, as those of a softmax that is summed up. A derivative that is rounding of
    the inputs will do where f keeps its bits as far as the array is large: of f, which may be 0, it cannot be told.

    Parameters
    ----------
    function : Function
    mode : {"rev", "fwd"}
        In which the derivative is asked for.
    place : int
        Of the array among those that are differentiated.
    seed : int
    terms : float
        Size of what the values are the sum of, where these terms may cancel.
    """
    generator = np.random.default_rng((seed, 11))
    leaves: tuple[Tensor, ...] = function.arguments[: function.count]
    moving = _Moving(function=function, place=place, at_point=as_tuple(function.value(*function.arguments)))
    leaf, at_point = leaves[place].detach(), moving.at_point
    claimed = _claimed(moving, mode, generator)
    floor = _floor((*at_point, *leaves), at_point, terms)

    def stays_near(steps: Sequence[float], share: float) -> bool:
        return all(moving.is_near(moved, floor * share) for moved in _joint_moves(leaf, generator, steps))

    def stays_still(moves: Iterator[Tensor]) -> bool:
        return all(map(moving.is_still, moves))

    # (A random cotangent has entries of about 1, and adds up the rounding of all outputs.)
    scale = _rms(leaf) / math.sqrt(max(1, sum(one.numel() for one in at_point))) if mode == "rev" else 1.0
    largest = max(float((one.abs() * scale).max()) if one.numel() else 0.0 for one in claimed)
    if largest <= floor and stays_near(WIDE, 1.0):
        return True
    if largest <= (MAGNIFIED if terms else 1.0) * floor and stays_near(WIDE[1:], LEAST_SHARE):
        return True
    if largest <= _floor(leaves, leaves) and stays_still(_joint_moves(leaf, generator, WIDE)):
        return True
    if any(bool((one != 0).any()) for one in claimed):
        return False
    steps = [STEP / FINER**level for level in range(LEVELS)]
    if stays_still(_joint_moves(leaf, generator, steps)):
        return True
    if leaf.numel() <= FEW and stays_still(_single_moves(leaf)):
        return True
    # All around the point f is the same, and only at the point itself it is not.
    around = [moving.values(moved) for moved in _joint_moves(leaf, generator, steps)]
    first = around[0]
    return first is not None and all(one is not None and all(map(_backends.same_bits, one, first)) for one in around)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Moving:
    """A function as one of its arrays moves.

    Attributes
    ----------
    function : Function
    place : int
        Of the array among those that are differentiated.
    at_point : tuple of Tensor
        Values of f where nothing has moved.
    """

    function: Function
    place: int
    at_point: tuple[Tensor, ...]

    def values(self, moved: Tensor) -> tuple[Tensor, ...] | None:
        """Values of f there; None where it is not defined."""
        arguments = self.function.arguments
        try:
            return as_tuple(self.function.value(*arguments[: self.place], moved, *arguments[self.place + 1 :]))
        except Exception:
            return None

    def is_near(self, moved: Tensor, floor: float) -> bool:
        """Whether no value has moved by more than `floor`."""
        values = self.values(moved)
        if values is None:
            return False
        changes = zip(values, self.at_point, strict=True)
        return all(one.shape == other.shape and bool(((one - other).abs() <= floor).all()) for one, other in changes)

    def is_still(self, moved: Tensor) -> bool:
        """Whether all values are the same to the bit."""
        values = self.values(moved)
        return values is not None and all(map(_backends.same_bits, values, self.at_point))


def _claimed(moving: _Moving, mode: str, generator: np.random.Generator) -> tuple[Tensor, ...]:
    """The derivative along a random cotangent or, with respect to the one array, along a random tangent."""
    function, place = moving.function, moving.place
    if mode == "rev":
        us = [normal_like(one, generator) for one in moving.at_point]
        cotangent = tuple(us) if len(us) > 1 else us[0]
        return as_tuple(function.vjp(cotangent, *function.arguments))[place : place + 1]
    leaves: tuple[Tensor, ...] = function.arguments[: function.count]
    tangents = [torch.zeros_like(leaf) for leaf in leaves]
    tangents[place] = normal_like(leaves[place], generator) * _rms(leaves[place].detach())
    return as_tuple(function.jvp(tuple(tangents), *function.arguments))


def _floor(tensors: Sequence[Tensor], values: Sequence[Tensor], terms: float = 0.0) -> float:
    """Up to where values are numerically zero; 0 in lower precision, where that would say little."""
    if any(torch.finfo(one.dtype).eps > EPS64 for one in tensors):
        return 0.0
    return vanishing(EPS64, terms, *[one.detach().abs().double().cpu().numpy() for one in values])


def _rms(tensor: Tensor) -> float:
    return float(tensor.abs().square().mean().sqrt()) or 1.0 if tensor.numel() else 1.0


def _joint_moves(leaf: Tensor, generator: np.random.Generator, steps: Sequence[float]) -> Iterator[Tensor]:
    """All entries at once along random directions, relative to their size."""
    for _ in range(DIRECTIONS):
        along = normal_like(leaf, generator) * _rms(leaf)
        for step in steps:
            yield leaf + step * along
            yield leaf - step * along


def _single_moves(leaf: Tensor) -> Iterator[Tensor]:
    """One entry at a time, by torch's step and by a finer one."""
    for unit in (1.0, 1j) if leaf.is_complex() else (1.0,):
        for step in (STEP, -STEP, STEP / FINER, -STEP / FINER):
            for i in range(leaf.numel()):
                moved = leaf.clone(memory_format=torch.contiguous_format)
                moved.view(-1)[i] += step * unit
                yield moved
