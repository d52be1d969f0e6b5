"""Whether two calls gave the same numbers up to rounding, where one of them ran in another layout or dtype."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import torch

Tensor = torch.Tensor
# What a pair of calls is compared by: the tensors by name.
Named = Mapping[str, Tensor]
# The same call with random errors of a relative size in all that it is given, from a seed.
Jittered = Callable[[float, int], Named]

# How many rounding errors of the inputs a result may be off by. An algorithm that is backward stable gives the exact
# result of inputs that are off by a few: summing n terms in another order by some sqrt(n) at the most, of which those
# of the inputs account for most. 16 leaves room for what goes on inside, such as an accumulator in 16 bits.
ALLOWED = 16.0
# Calls with random errors: the first few, and those where a deviation is looked at again, with larger errors.
FIRST, AGAIN, LARGER = 4, 16, 4.0
# From which deviation on, relative to the entry and to the typical entry, it is more than a loss of digits.
GROSS = {True: 0.25, False: 1e-5}  # in 16 bits; else


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """What of two results is not the same.

    Attributes
    ----------
    path : str
        Of the tensor.
    kind : str
        ``"values"``, ``"finite"`` (nan or infinity on one side alone), ``"shape"`` or ``"missing"``.
    entries : tuple of tuple of int
        All that differ, in C order.
    shape : tuple of int
    got, wanted, bar : float or None
        At the entry that differs most: the value, the other one, and how far apart rounding may take them.
    is_gross : bool
        Whether it is more than a loss of digits.
    said : str
        Of shapes: which they are.
    """

    path: str
    kind: str
    entries: tuple[tuple[int, ...], ...] = ()
    shape: tuple[int, ...] = ()
    got: float | None = None
    wanted: float | None = None
    bar: float | None = None
    is_gross: bool = True
    said: str = ""


def differences(
    got: Named, wanted: Named, jittered: Jittered, dtype: str, inner: Named | None = None
) -> list[Difference]:
    """Compare two results tensor by tensor.

    Parameters
    ----------
    got, wanted : mapping of str to Tensor
    jittered : callable
        ``jittered(size, seed)``: what is `wanted`, with random errors in all that it was made from.
    dtype : str
        Of the less precise of the two.
    inner : mapping of str to Tensor, optional
        Errors that rounding inside the calculation makes, in this dtype, entry by entry.
    """
    found: list[Difference] = []
    for path, other in wanted.items():
        if path not in got:
            found.append(Difference(path=path, kind="missing"))
        elif got[path].shape != other.shape:
            said = f"{tuple(got[path].shape)} instead of {tuple(other.shape)}"
            found.append(Difference(path=path, kind="shape", said=said))
        else:
            one = _compared(path, got[path], other, jittered, getattr(torch, dtype), (inner or {}).get(path))
            found += [] if one is None else [one]
    return found


def _compared(
    path: str, got: Tensor, wanted: Tensor, jittered: Jittered, dtype: torch.dtype, inner: Tensor | None
) -> Difference | None:
    a, b = _plain(got), _plain(wanted)
    info = torch.finfo(dtype)
    # Results that the dtype cannot hold are not asked for, nor is anything where the other result is none.
    defined = b.isfinite() & (b.abs() < info.max / 2)
    lost = defined & ~a.isfinite()
    if bool(lost.any()):
        return _difference(path, "finite", got, a, b, lost, None)
    unit, finest = info.eps / 2, info.smallest_normal * info.eps
    size = _typical(b[defined])
    deviation = torch.where(defined, (a - b).abs(), 0.0)
    bar = unit * (b.abs() + size) + finest
    if inner is not None and inner.shape == wanted.shape:
        errors = _plain(inner).abs().nan_to_num(posinf=0.0)
        bar = torch.maximum(bar, torch.maximum(errors, torch.tensor(_typical(errors))))
    if bool((deviation <= bar).all()):
        return None
    for number in range(FIRST + AGAIN):
        if number == FIRST and bool((deviation <= ALLOWED * bar).all()):
            break
        larger = LARGER if number >= FIRST else 1.0
        moved = _plain(jittered(larger * unit, number)[path])
        spread = (moved - b).abs() / (1.0 if number < FIRST else LARGER)
        # (A jump, as of a relu, is no smaller for a larger error: it counts in full.)
        spread = torch.where((moved - b).abs() >= deviation, deviation, spread)
        bar = torch.maximum(bar, torch.where(spread.isfinite(), spread, math.inf) + unit * (b.abs() + size))
    off = deviation > ALLOWED * bar
    if not bool(off.any()):
        return None
    gross = deviation > GROSS[info.bits == 16] * torch.maximum(b.abs(), torch.tensor(size))
    if bool((off & gross).any()):
        return _difference(path, "values", got, a, b, off, ALLOWED * bar)
    return dataclasses.replace(_difference(path, "values", got, a, b, off, ALLOWED * bar), is_gross=False)


def _difference(
    path: str, kind: str, tensor: Tensor, a: Tensor, b: Tensor, wrong: Tensor, bar: Tensor | None
) -> Difference:
    indices = wrong.reshape(-1).nonzero()[:, 0]
    excess = torch.where(wrong, (a - b).abs().nan_to_num(nan=math.inf), -1.0).reshape(-1)
    worst = int(excess.argmax())
    step = 2 if tensor.is_complex() else 1
    flat = sorted({int(i) // step for i in indices})
    entries = tuple(tuple(int(k) for k in _unravelled(i, tensor.shape)) for i in flat)
    return Difference(
        path=path,
        kind=kind,
        entries=entries,
        shape=tuple(tensor.shape),
        got=float(a.reshape(-1)[worst]),
        wanted=float(b.reshape(-1)[worst]),
        bar=None if bar is None else float(bar.reshape(-1)[worst]),
    )


def _unravelled(index: int, shape: torch.Size) -> list[int]:
    found: list[int] = []
    for length in reversed(shape):
        index, at = divmod(index, length)
        found.append(at)
    return found[::-1]


def _plain(tensor: Tensor) -> Tensor:
    """In float64 on the CPU, complex numbers as pairs."""
    tensor = tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach()
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return tensor.to(device="cpu", dtype=torch.float64)


def _typical(values: Tensor) -> float:
    """The root mean square of some entries."""
    return float(values.square().mean().sqrt()) if values.numel() else 0.0
