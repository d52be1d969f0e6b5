"""Processes that train one PyTorch model together, each on batches of its own, and average its gradients.

They must evaluate in step, or they wait for each other for ever: whatever one of them decides, or raises, they share.
"""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from gradproof._base._errors import FunctionError, UsageError
from gradproof._base._pieces import LARGE

T = TypeVar("T")
# Numbers that all processes compute from the same tensors may differ by this, relatively, where their devices add up in
# another order.
SAME = LARGE * float(np.finfo(np.float64).eps)
SHARDED = (
    "the parameters of this model are sharded over several processes (FSDP, or DTensor), so that none of them can "
    "evaluate its loss alone. It cannot be guarded."
)


class Processes:
    """Those that average their gradients; one alone where there is no `DistributedDataParallel`.

    Parameters
    ----------
    wrapper : DistributedDataParallel or None
    """

    def __init__(self, wrapper: DistributedDataParallel | None = None) -> None:
        self._wrapper = wrapper
        self._group: Any = None if wrapper is None else wrapper.process_group

    @property
    def is_shared(self) -> bool:
        """Whether there is another process at all."""
        return self._wrapper is not None

    def require_even(self) -> None:
        """Raise UsageError where processes may have different numbers of batches."""
        if self._wrapper is not None and self._wrapper._join_config.enable:
            raise UsageError(
                "processes with different numbers of batches (`Join`) cannot be guarded: they would wait for each "
                "other. Call `guard.off()` in all of them before."
            )

    def largest(self, number: float) -> float:
        """The largest of a number over all processes."""
        return max(self._numbers([number])[:, 0].tolist())

    def every(self, *, holds: bool) -> bool:
        """Whether something holds in all processes."""
        return self.largest(not holds) == 0

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over all processes."""
        if not self.is_shared:
            return tensor
        together = tensor.clone()
        torch.distributed.all_reduce(together, group=self._group)
        return together / torch.distributed.get_world_size(self._group)

    def gathered(self, value: Any) -> list[Any]:
        """What all processes have, in the order of their ranks."""
        if not self.is_shared:
            return [value]
        found: list[Any] = [None] * torch.distributed.get_world_size(self._group)
        torch.distributed.all_gather_object(found, value, group=self._group)
        return found

    def unequal(self, numbers: Sequence[float]) -> list[int]:
        """Where numbers that should be the same in all processes are not."""
        rows = self._numbers(numbers)
        with np.errstate(invalid="ignore"):
            is_same = np.isclose(rows, rows[0], rtol=SAME, atol=0.0, equal_nan=True).all(axis=0)
        return np.flatnonzero(~is_same).tolist()

    def _numbers(self, numbers: Sequence[float]) -> NDArray[np.float64]:
        """A row for each process."""
        if self._wrapper is None:
            return np.array([numbers], dtype=np.float64)
        # (Added up, each with zeros in the rows of the others: the one operation that the gradients need as well.)
        device = next(self._wrapper.parameters()).device
        rows = torch.zeros((torch.distributed.get_world_size(self._group), len(numbers)), dtype=torch.float64)
        rows[torch.distributed.get_rank(self._group)] = torch.tensor(numbers, dtype=torch.float64)
        rows = rows.to(device)
        torch.distributed.all_reduce(rows, group=self._group)
        return rows.cpu().numpy()

    def together(self, run: Callable[[], T]) -> T:
        """What `run` returns, which needs no other process; if it raises in one of them, all raise."""
        if not self.is_shared:
            return run()
        error: Exception | None = None
        found: list[T] = []
        try:
            found.append(run())
        except Exception as caught:
            error = caught
        said = self.gathered(
            None if error is None else (isinstance(error, UsageError), f"{type(error).__name__}: {error}")
        )
        if error is not None:
            raise error
        for rank, other in enumerate(said):
            if other is not None:
                raise (UsageError if other[0] else FunctionError)(f"in process {rank} of {len(said)}: {other[1]}")
        return found[0]


class Collectives(TorchDispatchMode):
    """Raises UsageError where processes exchange data."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in {"c10d", "_c10d_functional", "c10d_functional", "_c10d_functional_autograd"}:
            raise UsageError(
                f"the loss exchanges data with other processes (`{func}`), so that none of them can evaluate it alone. "
                "It cannot be guarded. If it calls the model within `DistributedDataParallel`, let it call the `model` "
                "that it is given."
            )
        return func(*args, **(kwargs or {}))


def are_several() -> bool:
    """Whether other processes take part in this one's work, averaging gradients or not."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def unwrapped(model: torch.nn.Module) -> tuple[torch.nn.Module, DistributedDataParallel | None]:
    """The model within what distributes or compiles it, and what distributes it over processes."""
    wrapper: DistributedDataParallel | None = None
    while True:
        if isinstance(model, DistributedDataParallel):
            model, wrapper = model.module, model
        elif isinstance(model, DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), torch.nn.Module):
            model = inner
        else:
            return model, wrapper


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether each process holds a part of the parameters only."""
    # (Who has not imported them has none.)
    sharding: Any = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", ())
    sharded: Any = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    return any(isinstance(one, sharding) for one in model.modules()) or any(
        isinstance(one, sharded) for one in model.parameters()
    )
