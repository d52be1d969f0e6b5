"""A PyTorch model in training with its loss: what stays from step to step, and what its calls began with."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from gradproof._backends._torch_held import Held
from gradproof._backends._torch_module import Loss, Parameters, of_criterion
from gradproof._backends._torch_processes import SHARDED, Processes, is_sharded, unwrapped
from gradproof._backends._torch_random import RandomState
from gradproof._backends._torch_state import Keeper
from gradproof._base._errors import UsageError

Tensor = torch.Tensor
Floats = NDArray[np.float64]


class Call:
    """What a call of the model in training began with."""

    def __init__(self, generators: Sequence[Any], device: str, versions: dict[str, int]) -> None:
        self.random = RandomState(generators)
        self.device = device
        self.is_autocast = torch.is_autocast_enabled(device)
        self.dtype = torch.get_autocast_dtype(device)
        self.versions = versions

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast as it was then."""
        return torch.autocast(self.device, dtype=self.dtype) if self.is_autocast else contextlib.nullcontext()


class Training:
    """A model in training with its loss.

    While it is *armed*, calls of the model in training note the random states and the autocast that they begin with.

    Parameters
    ----------
    model : nn.Module
    loss : callable
    is_told : bool
        Whether somebody calls `note` at the beginning of each loss, so that calls of the model need not be watched.

    Attributes
    ----------
    inner : nn.Module
        The model itself, without what wraps it for several processes or compiles it.
    processes : Processes
        Those that average their gradients.
    """

    def __init__(self, model: torch.nn.Module, loss: Loss, *, is_told: bool = False) -> None:
        self._outer, self._loss, self.is_told = model, loss, is_told
        self.inner, wrapper = unwrapped(model)
        self.processes = Processes(wrapper)
        if wrapper is not None and any(isinstance(one, torch.nn.SyncBatchNorm) for one in self.inner.modules()):
            raise UsageError("a model with SyncBatchNorm cannot be guarded: its processes would wait for each other.")
        if is_sharded(self.inner):
            raise UsageError(SHARDED)
        if any(map(torch.nn.parameter.is_lazy, self.inner.parameters())):
            raise UsageError(
                "`model` has parameters that get their shape when it is first called: call it with a batch before."
            )
        self.paths: dict[str, str] = {}
        self.look()
        if not self.paths:
            raise UsageError("`model` has no parameter to guard: it has none at all, or all are frozen.")
        self._held = Held()
        self._held.look(self.inner, "model")
        self._held.look(loss, "loss")
        self._handle: Any = None
        self.calls: list[Call] = []
        # Whether the loss is a criterion, and needs a graph; whether it runs in float64 (None is not known, yet).
        self.is_criterion = self.needs_graph = False
        self.is_wide: bool | None = None
        # Whether it casts down to float32 inside (None is not known, yet).
        self.casts_down: bool | None = None
        # The precision of autocast, where anything is computed under it; 0 where nothing is.
        self.autocast_eps = 0.0
        # Whether it draws random numbers, and whether it does before it calls the model; how often it calls that.
        self.draws = self.draws_before = False
        self.calls_per_batch = 1
        # Which group of a large model comes next.
        self.turn = 0

    @property
    def loss(self) -> Loss:
        """The loss of a model and a batch, also where it was passed as a criterion."""
        return of_criterion(self._loss) if self.is_criterion else self._loss

    @property
    def generators(self) -> list[Any]:
        """The generators that model and loss hold."""
        return self._held.generators

    def look(self) -> None:
        """See which parameters are trained now."""
        self.paths = Parameters(self.inner).paths

    def named(self) -> dict[str, Tensor]:
        """The parameters that are trained, by name, as they are now."""
        own = dict(self.inner.named_parameters())
        return {name: own[name] for name in self.paths}

    def arm(self) -> None:
        """Note what calls of the model begin with from now on."""
        self.calls.clear()
        if self._handle is None and not self.is_told:
            self._handle = self._outer.register_forward_pre_hook(self._noted)

    def disarm(self) -> None:
        """Leave the model as it was."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def note(self) -> None:
        """Note what a loss, or a call of the model, begins with."""
        self.calls.append(Call(self.generators, self.device(), self._versions()))

    def _noted(self, module: torch.nn.Module, args: Any) -> None:
        if torch.is_grad_enabled():  # an evaluation in between is none of ours
            self.note()

    def device(self) -> str:
        """The kind of device that the model is on."""
        return next(self.inner.parameters()).device.type

    def _versions(self) -> dict[str, int]:
        return {name: parameter._version for name, parameter in self.inner.named_parameters()}

    def widening(self) -> contextlib.AbstractContextManager[Any]:
        """Within this context casts from float64 down to float32 are left out, where the loss makes some."""
        return Widening(self) if self.is_wide and self.casts_down is not False else contextlib.nullcontext()

    def require_order(self) -> None:
        """Raise UsageError where the parameters have changed since the model was called."""
        if self.calls and self.calls[-1].versions != self._versions():
            raise UsageError(
                "the parameters have changed since the model was called, so `.grad` is the gradient at another "
                "point: call `guard.step` after `backward` and before `optimizer.step()`."
            )

    def require_gradients(self) -> None:
        """Raise UsageError where no parameter has a gradient."""
        if all(one.grad is None for one in self.inner.parameters()):
            raise UsageError(
                "no parameter of the model has a `.grad`: call `step` after `backward` and before `zero_grad`."
            )

    @contextlib.contextmanager
    def kept(self) -> Generator[Keeper]:
        """Within this context everything may be moved: it is put back at the end."""
        keeper = Keeper(self._held, keep_grads=False)
        with keeper, keeper:
            yield keeper


class Autocasts(TorchFunctionMode):
    """Sees whether anything is computed under autocast."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training, self._device = training, training.device()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_autocast_enabled(self._device):
            eps = torch.finfo(torch.get_autocast_dtype(self._device)).eps
            self._training.autocast_eps = max(self._training.autocast_eps, eps)
        return func(*args, **(kwargs or {}))


class Widening(TorchFunctionMode):
    """Leaves out casts from float64 to float32, as models make that are written for half precision."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training = training

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_wide = bool(args) and isinstance(args[0], Tensor) and args[0].dtype == torch.float64
        if is_wide:
            if func is Tensor.float:
                self._training.casts_down = True
                return args[0]
            if any(one is torch.float32 for one in (*args[1:], *kwargs.values())):
                self._training.casts_down = True
                args = tuple(torch.float64 if one is torch.float32 else one for one in args)
                kwargs = {key: torch.float64 if one is torch.float32 else one for key, one in kwargs.items()}
        return func(*args, **kwargs)
