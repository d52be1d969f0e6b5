"""What a PyTorch function returns while it is differentiated, held against what it returns without."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradproof._base._pieces import LARGE

Tensor = torch.Tensor

# With and without a graph torch may sum in another order, or take another kernel: values that differ by so many
# roundings of f's precision, relative to the largest of them, are the same (as for a float64 copy of f).
ROUNDINGS = 4096.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Apart:
    """An output that is another one while f is differentiated.

    Attributes
    ----------
    mode : {"reverse", "forward"}
    path : str
    largest : float or None
        By how much its entries differ, at most; None where the shape is another one.
    """

    mode: str
    path: str
    largest: float | None


class Primals:
    """Values of f at the point, differentiated in each mode and not.

    Attributes
    ----------
    apart : list of Apart
        Outputs that differ by more than rounding, and do so when they are computed once more.
    """

    def __init__(self) -> None:
        self.apart: list[Apart] = []
        self._plain: list[Tensor] | None = None
        self._is_known = False
        self._compared: set[str] = set()

    def keep(self, outputs: Sequence[Tensor]) -> None:
        """Note what f has returned at the point without a graph; many entries are computed again where needed."""
        self._is_known = True
        if sum(output.numel() for output in outputs) < LARGE:
            self._plain = [output.detach().clone() for output in outputs]

    def wants(self, mode: str) -> bool:
        """Whether the outputs in this mode are still to be compared."""
        return self._is_known and mode not in self._compared

    def compare(self, mode: str, outputs: Sequence[Tensor], evaluate: Callable[[bool], list[Tensor]]) -> None:
        """Compare what f has returned at the point in a mode.

        Parameters
        ----------
        mode : str
        outputs : sequence of tensors
        evaluate : callable
            ``evaluate(records) -> outputs`` at the point, once more: with a graph recorded, or without.
        """
        self._compared.add(mode)
        outputs = [output.detach().clone() for output in outputs]
        plain = evaluate(False) if self._plain is None else self._plain
        found = differences(plain, outputs)
        if not found:
            return
        # A function that is random in spite of everything tells nothing.
        with Casts() as watch:
            again = evaluate(False)
        if differences(plain, again) or (mode == "reverse" and differences(outputs, evaluate(True))):
            return
        # (It may compute in float32 inside, where kernels differ by as much.)
        eps = torch.finfo(torch.float32).eps if watch.seen else 0.0
        for i, largest in differences(plain, outputs, eps).items():
            path = f"output[{i}]" if len(plain) > 1 else "output"
            if not any(one.path == path for one in self.apart):
                self.apart.append(Apart(mode=mode, path=path, largest=largest))


class Casts(TorchDispatchMode):
    """Sees whether an operation turns a float64 tensor into one of lower precision."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [one for one in args if isinstance(one, Tensor)]
        if any(one.dtype == torch.float64 for one in given) and isinstance(result, Tensor):
            self.seen |= result.is_floating_point() and result.dtype != torch.float64
        return result


def differences(one: Sequence[Tensor], other: Sequence[Tensor], eps: float = 0.0) -> dict[int, float | None]:
    """By how much outputs differ, where it is more than rounding; None where they are of another form."""
    if len(one) != len(other):
        return {0: None}
    found: dict[int, float | None] = {}
    for i, (a, b) in enumerate(zip(one, other, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            found[i] = None
        elif a.numel():
            finite = torch.isfinite(a) & torch.isfinite(b)
            size = torch.where(finite, a.abs(), 0).max()
            largest = float(torch.where(finite, (a - b).abs(), 0).max())
            allowed = min(ROUNDINGS * max(eps, torch.finfo(a.dtype).eps), 0.25) * float(size)
            if largest > allowed or bool((torch.isfinite(a) != torch.isfinite(b)).any()):
                found[i] = largest
    return found
