"""A PyTorch function of low precision beside a float64 copy: how far rounding alone takes its derivative."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from gradproof._backends._off import DRAWS, Off, held
from gradproof._backends._torch_autocast import SEED, compare, cotangents, error_of, run_at
from gradproof._backends._torch_autodiff import TorchAutodiff, normal_like
from gradproof._backends._torch_casts import RoundedAtRandom
from gradproof._base._ratio import SINGLE, allowed_ratio

Tensor = torch.Tensor

# Tangents through each differentiated tensor, where there are no more than so many tensors; else one.
TANGENTS, FEW = 4, 8


def rounding(low: TorchAutodiff, high: TorchAutodiff, least: float, *, is_forward: bool) -> list[Off]:
    """How far the derivative of a function is from that of its copy, and how far rounding may take it.

    Both run the same code, so that a mistake in it is in both and leaves no difference. What rounding may do is drawn:
    the copy runs with every operation rounded at random to the function's own precision, forward and backward (Monte
    Carlo arithmetic; Parker, Pierce and Eggert, Computing in Science & Engineering 2, 2000).

    Parameters
    ----------
    least : float
        Relative error from which it matters how far rounding may take the derivative.

    Returns
    -------
    list of Off
        One for each differentiated tensor; none where the two derivatives are that close.
    """
    dtype = max((leaf.dtype.to_real() for leaf in low.arguments[: low.count]), key=lambda one: torch.finfo(one).eps)
    run = _tangents(low) if is_forward else _gradients(low, high)
    ours, exact = run(low), run(high)
    if all(error_of(mine, true) <= least for mine, true in zip(ours, exact, strict=True)):
        return []
    draws: list[list[Tensor]] = []
    for seed in range(DRAWS):
        with RoundedAtRandom(None, dtype, seed):
            draws.append(run(high))
    names = low.names[: low.count]
    arrays = [compare(name, ours[i], exact[i], [draw[i] for draw in draws]) for i, name in enumerate(names)]
    # (A sum is one operation, but its terms are rounded one after the other.)
    terms = max(max(leaf.shape, default=1) for leaf in low.arguments[: low.count])
    return held(arrays, eps=torch.finfo(dtype).eps, ratio=allowed_ratio(SINGLE, terms))


def _gradients(low: TorchAutodiff, high: TorchAutodiff) -> Callable[[TorchAutodiff], list[Tensor]]:
    """Gradients for one cotangent, the same in both precisions: 1 where f is scalar, else random."""
    us = cotangents(high)
    us = [torch.ones_like(u) for u in us] if low.is_scalar else us
    narrow = [u.to(dtype) for u, dtype in zip(us, low.output_dtypes, strict=True)]
    count = len(narrow)
    return lambda function: [one.detach() for one in run_at(function, narrow)[count:]]


def _tangents(low: TorchAutodiff) -> Callable[[TorchAutodiff], list[Tensor]]:
    """For each differentiated tensor, slopes of all outputs along random tangents through it alone."""
    generator = np.random.default_rng(SEED)
    leaves = low.arguments[: low.count]
    drawn = [
        [normal_like(leaf.detach(), generator) for _ in range(TANGENTS if low.count <= FEW else 1)] for leaf in leaves
    ]

    def run(function: TorchAutodiff) -> list[Tensor]:
        found: list[Tensor] = []
        for k, each in enumerate(drawn):
            slopes: list[Tensor] = []
            for v in each:
                point = function.at_point()
                tangents = [torch.zeros_like(leaf) for leaf in point[: function.count]]
                tangents[k] = v.to(tangents[k].dtype)
                slope = function.jvp(tuple(tangents), *point)
                slopes += map(torch.ravel, slope if isinstance(slope, tuple) else (slope,))
            found.append(torch.cat(slopes))
        return found

    return run
