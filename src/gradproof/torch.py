"""PyTorch: modules with their losses, parameter by parameter and part by part.

Functions of tensors, rules and custom operators need no entry point of their own: `gradproof.check` takes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import torch

from gradproof._ask._call import explained
from gradproof._ask._check import Options, Seed, check_autodiff, draw_seed
from gradproof._ask._nothing import nothing_to_check
from gradproof._ask._torch_guard import Guard
from gradproof._ask._trainer_guard import TrainerGuard, attach
from gradproof._backends._torch_module import WRT, keeper, with_loss
from gradproof._base._errors import UsageError
from gradproof._base._sources import definitions
from gradproof._function._bounds import by_name
from gradproof._progress import Setting
from gradproof._report import Report

__all__ = ["Guard", "TrainerGuard", "check_module", "guard", "guard_trainer"]


@explained("gradproof.torch.check_module(model, loss, batch)")
def check_module(
    model: torch.nn.Module,
    loss: Callable[..., torch.Tensor],
    batch: Any,
    *,
    wrt: str = "parameters",
    order: int = 1,
    modes: tuple[str, ...] | str | None = ("rev",),
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    domain: Any = None,
    reference: Any = None,
    rng: Seed = None,
    progress: Setting = None,
) -> Report:
    """Check whether the gradient that PyTorch computes for a model is the derivative of its loss.

    Every trainable parameter is checked, in a number of forward passes that does not grow with their number. Where the
    gradient is wrong, the modules are searched, each on the inputs and cotangents that it really received: the report
    names the deepest one whose own derivative is wrong, and the `autograd.Function` inside it, and lists the parameters
    that are wrong for that reason in one line. Which Functions and modules were looked at stands beside the mode.

    Parameters
    ----------
    model : torch.nn.Module
        In train or eval mode, as it is. Evaluations get other parameters by `torch.func.functional_call`.
    loss : callable
        ``loss(model, batch) -> scalar tensor``; it calls the model as it likes. Or a criterion, such as
        ``torch.nn.MSELoss()``: what cannot be called so is called as ``loss(model(inputs), targets)``.
    batch : any
        Passed on to `loss`: a tensor, or any nesting of tensors and other things. With a criterion
        ``(inputs, targets)``, where a tuple of inputs stands for the arguments of the model.
    wrt : {"parameters", "inputs", "all"}
        Differentiate by the parameters that require grad, by the floating tensors in `batch`, or by both. With "all"
        the tensors in `batch` are those that require grad or, if none does, those that the loss is differentiable in;
        a model without parameters has its inputs alone.
    order : {1, 2}
        2 checks second derivatives, too: reverse over reverse with the default `modes`.
    modes : tuple of str, or "available", optional
        As for `gradproof.check`, but reverse mode alone by default, because that is what training uses; None and
        "available" take every mode that PyTorch has for this model.
    rtol, max_bound, confidence, level, rng, progress
        As for `gradproof.check`.
    domain : tuple (lower, upper), mapping or callable, optional
        Bounds that no evaluation leaves. A tuple of numbers or None holds for every differentiated tensor. A mapping
        has one for names, such as ``{"model[0].weight": (0, None), "batch['x']": (-1, 1)}``: those of the report, where
        ``"model[0]"`` stands for all parameters of that module. Its bounds may be arrays that broadcast. A callable
        gets such a name and returns a tuple, or None for no bounds.
    reference : torch.nn.Module or callable, optional
        The same computed more precisely, which you trust: an independent witness of first derivatives. A module has
        parameters of the same names, which it is given in float64, and is passed to `loss` in place of the model, with
        every floating tensor of `batch` in float64. A function is ``reference(parameters, batch) -> scalar``, with all
        parameters by the names of `named_parameters`.

    Returns
    -------
    Report
        Leaves are named as ``model.encoder[0].weight``. Frozen, tied and unused parameters, and buffers that the
        forward updates, are notes; a parameter that moves the loss but has no gradient is an error.

    Raises
    ------
    UsageError
        If an argument cannot be used, or there is nothing to differentiate.
    FunctionError
        If `loss` raises, or does not return one real number.

    Notes
    -----
    Every evaluation starts from the same random states, buffers and modes, so dropout and batch normalisation can be
    checked in train mode. All of it is left as it was found, bit for bit, and so are parameters and their `.grad`,
    whatever `loss` does, raises, or Ctrl-C breaks off. What a module keeps in attributes that are no buffers is not put
    back. It takes a copy of parameters and their `.grad`, in their own dtypes. Of models with 4,000,000 parameters and
    more none is made where it would take more than a quarter of the free memory: then a parameter is copied where the
    first call of `loss` is about to write into it, and a later write is an error at once. What NumPy or a kernel has
    written past torch is told at the end, and put back where there is a copy (`GP210`).

    Hooks that you registered on parameters and inputs by `register_hook`, and full backward hooks of modules, are part
    of the gradient that is checked; those of `register_post_accumulate_grad_hook` are not called. One check of PyTorch
    runs at a time: those in other threads wait. Inference mode is left for the time of the check.

    Examples
    --------
    >>> import torch
    >>> import gradproof.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    >>> batch = {"x": torch.ones(5, 3).double(), "y": torch.zeros(5, 1).double()}
    >>> loss = lambda model, batch: torch.nn.functional.mse_loss(model(batch["x"]), batch["y"])
    >>> report = gradproof.torch.check_module(model, loss, batch)
    >>> report.verdict
    <Verdict.CORRECT: 'CORRECT'>
    >>> [leaf.path for leaf in report.leaves]
    ['model[0].weight', 'model[0].bias', 'model[2].weight', 'model[2].bias']

    The same with a criterion:

    >>> gradproof.torch.check_module(model, torch.nn.MSELoss(), (batch["x"], batch["y"])).correct
    True
    """
    started = time.perf_counter()
    if not isinstance(cast("object", model), torch.nn.Module):
        plain = ": functions are checked by `gradproof.check(f, x)`" if callable(model) else ""
        raise UsageError(f"`model` must be a torch.nn.Module, got {type(model).__name__}{plain}.")
    if not callable(loss):
        swapped = ": the loss comes second, then the batch" if callable(batch) else ""
        raise UsageError(
            "`loss` must be callable, `loss(model, batch)`, or a criterion such as `torch.nn.MSELoss()` with a batch "
            f"`(inputs, targets)`, got {type(loss).__name__}{swapped}."
        )
    if wrt not in WRT:
        raise UsageError(f"`wrt` must be one of {', '.join(map(repr, WRT))}, got {wrt!r}.")
    options = Options(
        order=order,
        modes=modes,
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=domain,
        reference=reference,
        rng=rng,
        progress=progress,
    )
    written = "" if wrt == "parameters" else f", wrt={wrt!r}"
    kept = keeper(model, loss, batch, reference)
    with kept, kept:
        autodiff = with_loss(model, loss, batch, wrt, kept)
        empty = autodiff.empty_leaves()
        if empty:
            return nothing_to_check(type(model).__name__, seed=draw_seed(rng), started=started, leaves=empty)
        return check_autodiff(
            autodiff,
            options,
            domain=None if domain is None else by_name(autodiff.function, domain),
            name=type(model).__name__,
            called=f"gradproof.torch.check_module(model, loss, batch{written}",
            modes=("rev",),
            started=started,
            sources=definitions(model, loss),
        )


@explained("gradproof.torch.guard(model, loss)")
def guard(
    model: torch.nn.Module,
    loss: Callable[..., torch.Tensor],
    *,
    every: int = 100,
    budget: float = 0.01,
    on_wrong: Callable[[Report], Any] | None = None,
    rng: Seed = None,
) -> Guard:
    """Watch the gradients of a training run, for a small share of its time.

    The first step is checked as a whole, by `check_module`. Every so many steps after that follows a *probe*: two
    evaluations of the loss on a random line through the parameters, compared with what ``.grad`` claims along it. A
    probe that does not fit is measured again with other steps. If that does not fit either, the batch is checked as a
    whole, and only a report that is WRONG is an alarm.

    Parameters
    ----------
    model : torch.nn.Module
        The model that is trained, also within `DistributedDataParallel` or `torch.compile`.
    loss : callable
        ``loss(model, batch) -> scalar tensor``, or a criterion, as for `check_module`.
    every : int
        Steps from one probe to the next, at least.
    budget : float
        The share of training time that probes may take: where they would take more, they come less often. The first
        check is not part of it.
    on_wrong : callable, optional
        ``on_wrong(report)`` is called where a gradient is wrong. By default `GradientError` is raised.
    rng : int or numpy.random.Generator, optional
        As for `gradproof.check`.

    Returns
    -------
    Guard
        Call its ``step(batch)`` after each backward.

    Raises
    ------
    UsageError
        If an argument cannot be used, or no parameter is trained.

    Notes
    -----
    Training is left as it is, bit for bit: parameters, ``.grad``, buffers, modes, random states and the optimizer. A
    probe evaluates the loss with moved copies of the parameters, from the random states that the model was called with,
    so that dropout is the same as in the step. Where the loss draws random numbers before it calls the model, these
    cannot be drawn again: then the gradient is computed anew, and what is in ``.grad`` is not looked at.

    The loss is evaluated in float64 where it runs so and computes the same, also under autocast. Otherwise probes are
    coarser, as their bars say. Kinks, noise and gradients that are not finite raise no alarm: a probe that cannot tell
    is counted as such.

    With several processes (`DistributedDataParallel`) every process makes the same probes, of the loss averaged over
    all of them, and an alarm in one is raised in all. A model that is sharded over processes cannot be guarded.

    Examples
    --------
    >>> import torch
    >>> import gradproof.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> loss = lambda model, batch: torch.nn.functional.mse_loss(model(batch[0]), batch[1])
    >>> guard = gradproof.torch.guard(model, loss, every=10, rng=0)
    >>> for _ in range(100):
    ...     batch = torch.rand(8, 3), torch.rand(8, 1)
    ...     loss(model, batch).backward()
    ...     guard.step(batch)
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    >>> guard.report().first.verdict
    <Verdict.CORRECT: 'CORRECT'>
    >>> guard.off()
    """
    if not isinstance(cast("object", model), torch.nn.Module):
        raise UsageError(f"`model` must be a torch.nn.Module, got {type(model).__name__}.")
    if not callable(loss):
        raise UsageError(f"`loss` must be callable, `loss(model, batch)`, got {type(loss).__name__}.")
    return Guard(model, loss, check_module, every=every, budget=budget, on_wrong=on_wrong, rng=rng)


@explained("gradproof.torch.guard_trainer(trainer)")
def guard_trainer(
    trainer: Any,
    *,
    every: int = 100,
    budget: float = 0.01,
    on_wrong: Callable[[Report], Any] | None = None,
    rng: Seed = None,
) -> TrainerGuard:
    """Watch the gradients of a run of a Trainer of `transformers` or of `lightning`; call it before the run.

    As `guard`, with the trainer's own loss (``compute_loss``, or the ``training_step`` of the LightningModule),
    gradient accumulation, autocast and loss scaling. What a LightningModule logs in a probe is dropped.

    Parameters
    ----------
    trainer : transformers.Trainer or lightning.pytorch.Trainer
        That of lightning gets one more callback, and the ``training_step`` of that of transformers is wrapped.
    every, budget, on_wrong, rng
        As for `guard`.

    Returns
    -------
    TrainerGuard
        Print it after the run, or end it early by its ``off()``.

    Raises
    ------
    UsageError
        If it is another kind of trainer.
    """

    def make(model: torch.nn.Module, loss: Callable[..., Any]) -> Guard:
        return Guard(model, loss, check_module, every=every, budget=budget, on_wrong=on_wrong, rng=rng, is_told=True)

    return attach(trainer, make)
