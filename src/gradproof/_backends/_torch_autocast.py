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

from gradproof._backends._off import DRAWS, Compared, Off, held
from gradproof._backends._torch_autodiff import TorchAutodiff, normal_like
from gradproof._backends._torch_casts import Lowered, RoundedAtRandom
from gradproof._base._ratio import allowed_ratio

Tensor = torch.Tensor

# An error of this share of an array's gradient, and so many times what may be, is a mistake whatever was not foreseen
# of the roundings. Chosen: a factor of 2 or a missing term leaves more; below, it is a doubt. It is a mistake if it is
# there at so many other points too, each so many roundings away: rounding may make `max` or `sign` choose otherwise at
# some of them, not at all.
GROSS, GROSS_TIMES = 0.3, 3.0
OTHER_POINTS, AWAY = 6, 8.0
# Of the random cotangent.
SEED = 11


def compared(low: TorchAutodiff, high: TorchAutodiff, dtype: torch.dtype) -> list[Off]:
    """Values and gradients under autocast held against those of a copy in float64.

    What autocast may do is drawn: the copy runs with the operations rounded that were seen to have results of 16 bits,
    forward and backward. The errors are compared by the law of `gradproof._base._ratio`.
    """
    us = cotangents(high)
    with Lowered() as seen:
        ours = run_at(low, us)
    exact = run_at(high, us)
    draws: list[list[Tensor]] = []
    for seed in range(DRAWS):
        with RoundedAtRandom(seen.names, dtype, seed):
            draws.append(run_at(high, us))
    count = len(exact) - high.count
    names = [*(["output"] if count == 1 else [f"output[{i}]" for i in range(count)]), *low.names[: low.count]]
    eps = torch.finfo(dtype).eps
    arrays = [compare(name, ours[i], exact[i], [draw[i] for draw in draws]) for i, name in enumerate(names)]
    arrays = [dataclasses.replace(array, is_output=i < count) for i, array in enumerate(arrays)]
    found = held(arrays, eps=eps, ratio=allowed_ratio(eps / 2, 0))
    gross = [i for i in range(count, len(found)) if _is_gross(found[i].error, found[i].allowed)]
    if gross:
        errors = _elsewhere(low, high, us, eps)
        for i in gross:
            is_mistake = all(_is_gross(error[i], found[i].allowed) for error in errors)
            found[i] = dataclasses.replace(found[i], is_mistake=is_mistake)
    return found


def compare(path: str, ours: Tensor, exact: Tensor, draws: Sequence[Tensor]) -> Compared:
    """An array beside that of the copy, and beside those that drawn roundings make of it."""
    return Compared(
        path=path,
        numbers=exact.numel(),
        square=_square(exact),
        error=_square(ours.to(exact.dtype) - exact),
        draws=np.array([_square(draw - exact) for draw in draws]),
        eps=torch.finfo(ours.dtype).eps,
    )


def error_of(ours: Tensor, exact: Tensor) -> float:
    """How far an array is from that of the copy, relative to its norm."""
    return math.sqrt(_square(ours.to(exact.dtype) - exact) / max(_square(exact), 1e-300))


def _is_gross(error: float, allowed: float) -> bool:
    return error > GROSS and error > GROSS_TIMES * allowed


def _elsewhere(low: TorchAutodiff, high: TorchAutodiff, us: Sequence[Tensor], eps: float) -> list[list[float]]:
    """The errors of values and gradients, relative to their norms, at other points."""
    generator = np.random.default_rng(SEED)
    errors: list[list[float]] = []
    for _ in range(OTHER_POINTS):
        point = [leaf * (1 + AWAY * eps * normal_like(leaf.detach(), generator)) for leaf in low.arguments[: low.count]]
        ours = run_at(low, us, [leaf.detach() for leaf in point])
        exact = run_at(
            high, us, [leaf.detach().to(wide.dtype) for leaf, wide in zip(point, high.arguments, strict=False)]
        )
        errors.append([error_of(mine, true) for mine, true in zip(ours, exact, strict=True)])
    return errors


def cotangents(high: TorchAutodiff) -> list[Tensor]:
    """A random one for every output."""
    return [normal_like(y, np.random.default_rng(SEED)) for y in _values(high.value(*high.at_point()))]


def run_at(function: TorchAutodiff, us: Sequence[Tensor], leaves: Sequence[Tensor] | None = None) -> list[Tensor]:
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
