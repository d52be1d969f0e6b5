"""A PyTorch function under autocast, beside a float64 copy without: what rounding to 16 bits does to its gradient."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gradproof._backends._torch_autodiff import TorchAutodiff, normal_like
from gradproof._backends._torch_casts import Lowered, RoundedAtRandom
from gradproof._base._ratio import allowed_ratio, freedom, scatter

Tensor = torch.Tensor

# Draws of the rounding errors, each a forward and a backward pass of the copy.
DRAWS = 8
# The chance that one of the arrays of a right function is said to be off.
CHANCE = 1e-6
# An error of this share of an array's gradient, and so many times what may be, is a mistake whatever was not foreseen
# of the roundings. Chosen: a factor of 2 or a missing term leaves more; below, it is a doubt. It is a mistake if it is
# there at so many other points too, each so many roundings away: rounding may make `max` or `sign` choose otherwise at
# some of them, not at all.
GROSS, GROSS_TIMES = 0.3, 3.0
OTHER_POINTS, AWAY = 6, 8.0
# Of the random cotangent.
SEED = 11


@dataclasses.dataclass(frozen=True, kw_only=True)
class Off:
    """How far an array is from the copy's, relative to its norm, and how far rounding to 16 bits may take it.

    `beside` is the error relative to all gradients together, and `eps` that of the 16-bit dtype. `is_mistake` says that
    no rounding makes such an error.
    """

    path: str
    error: float
    allowed: float
    beside: float
    eps: float
    is_output: bool
    is_mistake: bool = False


def compared(low: TorchAutodiff, high: TorchAutodiff, dtype: torch.dtype) -> list[Off]:
    """Values and gradients under autocast held against those of a copy in float64.

    What autocast may do is drawn: the copy runs with the operations rounded that were seen to have results of 16 bits,
    forward and backward. The errors are compared by the law of `gradproof._base._ratio`.
    """
    us = [normal_like(y, np.random.default_rng(SEED)) for y in _values(high.value(*high.at_point()))]
    with Lowered() as seen:
        ours = _run(low, us)
    exact = _run(high, us)
    draws: list[list[Tensor]] = []
    for seed in range(DRAWS):
        with RoundedAtRandom(seen.names, dtype, seed):
            draws.append(_run(high, us))
    count = len(exact) - high.count
    names = [*(["output"] if count == 1 else [f"output[{i}]" for i in range(count)]), *low.names[: low.count]]
    energies = np.array([[_square(one - true) for one, true in zip(draw, exact, strict=True)] for draw in draws])
    sizes = np.array([float(true.numel()) for true in exact])
    theirs = freedom(energies, sizes)
    with np.errstate(invalid="ignore", over="ignore"):
        explained = energies.mean(axis=0) * scatter(theirs / DRAWS, theirs, CHANCE / len(names))
    eps = torch.finfo(dtype).eps
    ratio, whole = allowed_ratio(eps / 2, 0), math.sqrt(sum(map(_square, exact[count:])))
    found: list[Off] = []
    for i, (name, mine, true) in enumerate(zip(names, ours, exact, strict=True)):
        size, error = math.sqrt(_square(true)), math.sqrt(_square(mine.to(true.dtype) - true))
        # (A rounding of the own dtype is there even where nothing of 16 bits leads to it.)
        allowed = ratio * math.sqrt(explained[i]) + 64 * torch.finfo(mine.dtype).eps * size
        off = error / size if size > 0 else 0.0 if error == 0 else math.inf
        may = allowed / size if size > 0 else math.inf if allowed > 0 else 0.0
        beside = error / whole if whole > 0 else 0.0
        found.append(Off(path=name, error=off, allowed=may, beside=beside, eps=eps, is_output=i < count))
    gross = [i for i in range(count, len(found)) if _is_gross(found[i].error, found[i].allowed)]
    if gross:
        errors = _elsewhere(low, high, us, eps)
        for i in gross:
            is_mistake = all(_is_gross(error[i], found[i].allowed) for error in errors)
            found[i] = dataclasses.replace(found[i], is_mistake=is_mistake)
    return found


def _is_gross(error: float, allowed: float) -> bool:
    return error > GROSS and error > GROSS_TIMES * allowed


def _elsewhere(low: TorchAutodiff, high: TorchAutodiff, us: Sequence[Tensor], eps: float) -> list[list[float]]:
    """The errors of values and gradients, relative to their norms, at other points."""
    generator = np.random.default_rng(SEED)
    errors: list[list[float]] = []
    for _ in range(OTHER_POINTS):
        point = [leaf * (1 + AWAY * eps * normal_like(leaf.detach(), generator)) for leaf in low.arguments[: low.count]]
        ours = _run(low, us, [leaf.detach() for leaf in point])
        exact = _run(
            high, us, [leaf.detach().to(wide.dtype) for leaf, wide in zip(point, high.arguments, strict=False)]
        )
        errors.append(
            [
                math.sqrt(_square(mine.to(true.dtype) - true) / max(_square(true), 1e-300))
                for mine, true in zip(ours, exact, strict=True)
            ]
        )
    return errors


def _run(function: TorchAutodiff, us: Sequence[Tensor], leaves: Sequence[Tensor] | None = None) -> list[Tensor]:
    """Values, and gradients for given cotangents, at the point or with other leaves."""

    def point() -> list[Any]:
        return function.at_point() if leaves is None else [*(leaf.clone() for leaf in leaves), *function.others()]

    values = _values(function.value(*point()))
    cast = [u.to(y.dtype).reshape(y.shape) for u, y in zip(us, values, strict=True)]
    gradients = function.vjp(tuple(cast) if len(cast) > 1 else cast[0], *point())
    return [*(value.detach() for value in values), *gradients]


def _values(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, tuple) else [value]


def _square(tensor: Tensor) -> float:
    return float(tensor.detach().to("cpu").abs().double().square().sum())


def reference_note(offs: Sequence[Off], dtype: torch.dtype) -> str:
    """What was proved, and how near the gradient under autocast is to it."""
    said = f"of a float64 copy of f without autocast; {described(dtype)} autocast"
    if any(_is_beyond(one) for one in offs):
        return f"{said} is off by more than rounding explains"
    worst = max((one.error for one in offs if not one.is_output and one.error < math.inf), default=0.0)
    return f"{said} is off by rounding alone, the gradient by {worst:.2g} of an array's norm at most"


def described(dtype: torch.dtype) -> str:
    """The name of a dtype as users write it."""
    return str(dtype).removeprefix("torch.")


def _is_beyond(one: Off) -> bool:
    return not one.error <= one.allowed
