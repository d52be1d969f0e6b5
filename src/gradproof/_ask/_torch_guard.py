"""The guard of a training loop in PyTorch."""

from __future__ import annotations

import contextlib
import dataclasses
import functools as ft
from collections.abc import Callable
from typing import Any

import torch

from gradproof._ask._check import Seed, check, draw_seed
from gradproof._ask._guard import Guarding, Reporting, Scene
from gradproof._backends._torch_processes import are_several
from gradproof._backends._torch_training import Training
from gradproof._backends._torch_training_step import TrainingStep
from gradproof._backends._torch_upcast import doubled
from gradproof._base._errors import FunctionError, NotFiniteError, UsageError
from gradproof._base._tree import is_number
from gradproof._prove import RTOL32
from gradproof._report import Report, Severity, Verdict, is_wrong

# What to do where `.grad` is not the gradient of the loss.
DELIVERED = (
    "Autograd's own gradient of this loss shows no mistake, but `.grad` is another one. Call `guard.step` after "
    "`backward` and before clipping or hooks that change `.grad`, with all batches since the last `zero_grad`. Where "
    "the loss was multiplied before `backward`, pass that factor as `scale=`."
)
WRAPPED = " Where processes average their gradients, pass the model that `DistributedDataParallel` returned."


class Guard(Reporting):
    """What `guard` returns: it watches the gradients of a training run.

    Printing it says what was probed, and how large an error can have been.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Callable[..., torch.Tensor],
        check_module: Callable[..., Report],
        *,
        every: int,
        budget: float,
        on_wrong: Callable[[Report], Any] | None,
        rng: Seed,
        is_told: bool = False,
    ) -> None:
        self._training: Training | None = Training(model, loss, is_told=is_told)
        self._check_module, self._processes = check_module, self._training.processes
        together = self._processes.largest
        self._guarding = Guarding(
            every=every, budget=budget, on_wrong=on_wrong, seed=int(together(draw_seed(rng))), together=together
        )
        self._training.arm()

    def step(self, *batches: Any, scale: float = 1.0) -> None:
        """Look at the gradients of this training step, if it is time; call it before they are used.

        Call it after ``backward``, and before clipping, ``scaler.unscale_`` and ``optimizer.step``.

        Parameters
        ----------
        *batches : any
            The batch, as `loss` takes it; with gradient accumulation, all batches since the last ``zero_grad``.
        scale : float
            The factor of each loss before ``backward``: ``scaler.get_scale()`` with a GradScaler, 1/4 if the gradients
            of four batches are averaged.

        Raises
        ------
        GradientError
            If the gradient is wrong, and there is no `on_wrong`. The optimizer has not used it yet.
        UsageError
            If the parameters have changed since the model was called, or have no gradient.
        """
        training = self._training
        if training is None:
            return
        if not self._guarding.is_due:
            self._guarding.passed()
            if self._guarding.is_due:
                training.arm()
            return
        self._processes.together(ft.partial(_require, training, batches, scale))
        training.disarm()
        try:
            with training.kept() as keeper:
                step = TrainingStep(training, batches, float(scale), keeper)
                self._guarding.visit(self._scene(training, step, batches[0]))
        finally:
            training.calls.clear()
            if self._guarding.is_due:
                training.arm()

    def begin(self) -> None:
        """Note that the loss of a batch is about to be computed, where `is_told` says that somebody does."""
        if self._training is not None and self._guarding.is_due:
            self._training.note()

    def off(self) -> None:
        """End the watch: from now on `step` returns at once."""
        if self._training is not None:
            self._training.disarm()
            self._training = None

    def _scene(self, training: Training, step: TrainingStep, batch: Any) -> Scene:
        def full(seed: int) -> Report | None:
            return self._shared(self._processes.together(lambda: self._full(training, step, batch, seed)))

        def delivered(seed: int, rtol: float, deviation: float) -> Report | None:
            return self._shared(_delivered(training, step, seed, rtol, deviation))

        return Scene(step=step, paths=training.paths, full=full, delivered=delivered)

    def _shared(self, report: Report | None) -> Report | None:
        """The report that is WRONG in any of the processes that train together, so that all of them stop."""
        if not self._processes.is_shared:
            return report
        own = report.to_json() if report is not None and is_wrong(report) else None
        wrong = [one for one in self._processes.gathered(own) if one is not None]
        return Report.from_json(wrong[0]) if wrong else report

    def _full(self, training: Training, step: TrainingStep, batch: Any, seed: int) -> Report | None:
        """Check the gradient of the loss by itself, part by part.

        Code that casts down to float32 inside leaves a check of float64 as noisy: then a copy in float64 is checked,
        without these casts.
        """
        report: Report | None = None
        if step.is_autocast or not training.casts_down:
            with contextlib.suppress(NotFiniteError), step.autocast():
                report = self._check_module(training.inner, training.loss, batch, rng=seed)
            # (Under autocast this has looked at a copy in float64, and a mistake need not be one there.)
            is_settled = report is not None and report.verdict is not Verdict.INCONCLUSIVE
            if is_settled if step.is_autocast else not is_wrong(report):
                return report
            # A mistake of the code is one in float64, too. Where weights have exploded, float32 may saturate by itself.
        wide = step.wide_copy()
        if wide is None:
            return report

        def loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
            with training.widening():
                return training.loss(model, batch)

        # (A copy may run into what the model does not, and the backward may cast down as well.)
        with contextlib.suppress(NotFiniteError, FunctionError):
            again = self._check_module(wide, loss, doubled(batch), rtol=RTOL32, rng=seed)
            return report if is_wrong(report) and is_wrong(again) else again
        return None


def _require(training: Training, batches: tuple[Any, ...], scale: float) -> None:
    """Raise UsageError where `step` was called with something else, or at another time, than it must be."""
    if not batches:
        raise UsageError("`step` needs the batch: call `guard.step(batch)`.")
    if not is_number(scale) or not 0 < abs(scale) < float("inf"):
        hint = ": pass `scaler.get_scale()`" if hasattr(scale, "get_scale") else ""
        raise UsageError(f"`scale` must be a number other than 0, got {scale!r}{hint}.")
    training.processes.require_even()
    training.require_order()
    training.require_gradients()


def _delivered(training: Training, step: TrainingStep, seed: int, rtol: float, deviation: float) -> Report | None:
    """Check `.grad` as it was delivered, against the loss of this step."""
    found = step.delivered(deviation)
    if found is None:
        return None
    loss, point, claims = found
    report = check(loss, (point,), grad=claims, rtol=rtol, rng=seed, name=f"{type(training.inner).__name__}, `.grad`")
    # (Nobody else has this loss and this gradient to make the check again.)
    findings = [dataclasses.replace(one, reproducer="") for one in report.findings]
    advice = DELIVERED + WRAPPED if are_several() else DELIVERED
    errors = (k for k, one in enumerate(findings) if one.severity is Severity.ERROR)
    for place, k in enumerate(errors):
        findings[k] = dataclasses.replace(findings[k], advice=advice if place == 0 else "")
    return dataclasses.replace(report, findings=tuple(findings))
