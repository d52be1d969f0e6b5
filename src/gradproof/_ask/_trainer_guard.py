"""The guard of a run that a trainer of `transformers` or `lightning` makes."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator, Mapping
from typing import Any, cast

import torch

from gradproof._ask._torch_guard import Guard
from gradproof._backends._torch_processes import unwrapped
from gradproof._base._errors import UsageError
from gradproof._report import GuardReport

MakeGuard = Callable[[torch.nn.Module, Callable[..., Any]], Guard]


class TrainerGuard:
    """What `guard_trainer` returns: it watches the gradients of a trainer's run.

    Printing it says what was probed, and how large an error can have been.
    """

    def __init__(self, make: MakeGuard) -> None:
        self._make, self._is_on = make, True
        self.guard: Guard | None = None
        self._batches: list[Any] = []

    @property
    def is_on(self) -> bool:
        """Whether it still watches."""
        return self._is_on

    def begin(self, model: torch.nn.Module, loss: Callable[..., Any], batch: Any) -> None:
        """Note that the loss of a batch is about to be computed."""
        if not self._is_on:
            return
        if self.guard is None:
            self.guard = self._make(model, loss)
        self.guard.begin()
        self._batches.append(batch)

    def step(self, scale: float) -> None:
        """Look at the gradients of the batches since the last time, if it is time."""
        batches, self._batches = self._batches, []
        if self._is_on and self.guard is not None:
            self.guard.step(*batches, scale=scale)

    def off(self) -> None:
        """End the watch."""
        self._is_on = False
        self._batches = []
        if self.guard is not None:
            self.guard.off()

    def report(self) -> GuardReport:
        """Say what was probed so far, and what was found.

        Raises
        ------
        UsageError
            If training has not begun.
        """
        if self.guard is None:
            raise UsageError("there is nothing to report yet: training has not begun.")
        return self.guard.report()

    def __str__(self) -> str:
        return "Training has not begun." if self.guard is None else str(self.guard)


def attach(trainer: Any, make: MakeGuard) -> TrainerGuard:
    """Let a trainer's run be watched.

    Raises
    ------
    UsageError
        If it is no trainer that is known.
    """
    packages = {one.__module__.split(".")[0] for one in type(trainer).__mro__}
    if packages & {"lightning", "pytorch_lightning"} and hasattr(trainer, "callbacks"):
        return _attach_to_lightning(trainer, make)
    if "transformers" in packages and hasattr(trainer, "training_step"):
        return _attach_to_transformers(trainer, make)
    raise UsageError(
        f"`trainer` must be a Trainer of transformers or of lightning, got {type(trainer).__name__}. In a loop of your "
        "own, use `gradproof.torch.guard(model, loss)`."
    )


def _attach_to_transformers(trainer: Any, make: MakeGuard) -> TrainerGuard:
    """Wrap its `training_step`: callbacks see neither the batch, nor the gradients before they are clipped."""
    watch, training_step = TrainerGuard(make), trainer.training_step
    # The number of items in the latest batch, which decides how the loss is scaled.
    counts: list[Any] = [None]

    def loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        inputs, count = batch
        with trainer.compute_loss_context_manager():
            return trainer.compute_loss(model, dict(inputs), num_items_in_batch=count)

    def scale() -> float:
        is_scaled = trainer.loss_is_scaled_for_ga
        if is_scaled is None:
            by_model = trainer.model_accepts_loss_kwargs and counts[0] is not None
            is_scaled = by_model or trainer.compute_loss_func is not None
        scaler = trainer.accelerator.scaler
        factor = 1.0 if scaler is None else float(scaler.get_scale())
        return factor if is_scaled else factor / trainer.current_gradient_accumulation_steps

    def watched(model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Any:
        if watch.is_on:
            # (What the step does first, and what the loss must find: modes are part of the state that is kept.)
            model.train()
            counts[0] = num_items_in_batch
            watch.begin(model, loss, (trainer._prepare_inputs(inputs), num_items_in_batch))  # pyright: ignore[reportPrivateUsage]
        returned = training_step(model, inputs, num_items_in_batch)
        if watch.is_on and trainer.accelerator.sync_gradients:
            watch.step(scale())
        return returned

    trainer.training_step = watched
    return watch


def _attach_to_lightning(trainer: Any, make: MakeGuard) -> TrainerGuard:
    """Add a callback: it sees the gradients of all batches, no longer scaled, and before they are clipped."""
    package = next(one.__module__ for one in type(trainer).__mro__ if one.__name__ == "Trainer")
    name = "lightning.pytorch" if package.startswith("lightning.") else "pytorch_lightning"
    base: Any = importlib.import_module(name).Callback
    watch = TrainerGuard(make)

    def loss(module: Any, batch: Any) -> torch.Tensor:
        with trainer.precision_plugin.train_step_context(), _silent(module, trainer):
            returned = module.training_step(*batch)
        return cast("Any", returned)["loss"] if isinstance(returned, Mapping) else returned

    class GradproofCallback(base):
        """Watches the gradients."""

        def __reduce__(self) -> Any:
            raise UsageError(
                'a guard cannot be sent to processes that are spawned: run the script with `strategy="ddp"`, or let '
                "each process call `guard_trainer` by itself."
            )

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if not pl_module.automatic_optimization:
                raise UsageError("this LightningModule has manual optimization: call `gradproof.torch.guard` in it.")
            watch.begin(_shared(trainer, pl_module), loss, (batch, batch_idx))

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            watch.step(1.0 / trainer.accumulate_grad_batches)

    trainer.callbacks.append(GradproofCallback())
    return watch


def _shared(trainer: Any, module: torch.nn.Module) -> torch.nn.Module:
    """The module, or what averages its gradients over processes.

    Raises
    ------
    UsageError
        If several processes train it in another way.
    """
    inner, wrapper = unwrapped(trainer.model)
    if wrapper is not None and inner is module:
        return wrapper
    if trainer.world_size > 1:
        raise UsageError(
            "a run in several processes can be guarded if its strategy is `DDPStrategy`, got "
            f"{type(trainer.strategy).__name__}."
        )
    return module


@contextlib.contextmanager
def _silent(module: Any, trainer: Any) -> Generator[None]:
    """Within this context what a LightningModule logs is lost: it would count as that of a step.

    A copy of it has lost its trainer.
    """

    def nothing(*_: Any, **__: Any) -> None: ...

    others: dict[str, Any] = {"log": nothing, "log_dict": nothing, "_trainer": trainer}
    members: Any = module.__dict__
    own: Any = {name: members[name] for name in others if name in members}
    members.update(others)
    try:
        yield
    finally:
        for name in others:
            del members[name]
        members.update(own)
