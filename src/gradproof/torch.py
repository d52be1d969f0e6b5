"""PyTorch: modules with their losses, kernels at many sizes and layouts or beside a reference, and training runs.

Functions of tensors, rules and custom operators need no entry point of their own: `gradproof.check` takes them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from gradproof._ask._call import explained
from gradproof._ask._check import Contracts, Options, Seed, against_reference, check_against, check_autodiff, draw_seed
from gradproof._ask._kernel import called_by, require
from gradproof._ask._nothing import nothing_to_check
from gradproof._ask._torch_guard import Guard
from gradproof._ask._trainer_guard import TrainerGuard, attach
from gradproof._backends._torch_kernel import TorchKernel
from gradproof._backends._torch_module import WRT, keeper, with_loss
from gradproof._backends._torch_upcast import against
from gradproof._backends._torch_upcast import keeper as function_keeper
from gradproof._base._errors import UsageError
from gradproof._base._names import function_name, function_source
from gradproof._base._sources import definitions
from gradproof._function._bounds import by_name
from gradproof._kernels._asked import asked, written
from gradproof._kernels._outcome import Case
from gradproof._kernels._sizes import axes_of
from gradproof._kernels._study import Study
from gradproof._kernels._trial import Trial
from gradproof._kernels._whole import whole
from gradproof._progress import Setting, watching
from gradproof._report import Report

__all__ = ["Guard", "TrainerGuard", "check_kernel", "check_module", "compare_with_reference", "guard", "guard_trainer"]


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
    contracts: Contracts = "default",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
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
    rtol, max_bound, confidence, level, contracts, rng, progress
        As for `gradproof.check`; contracts are about the Functions and custom operators that the model applies.
    budget, timeout
        As for `gradproof.check`, where f is the loss. The first forward pass, which finds what is differentiated, is
        ended by `timeout` alone, and counts for a budget of time. There is no `executor` and no `journal`: the
        framework's own derivatives are computed in this process and not kept.
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
        contracts=contracts,
        rng=rng,
        budget=budget,
        timeout=timeout,
        progress=progress,
    )
    written = "" if wrt == "parameters" else f", wrt={wrt!r}"
    kept = keeper(model, loss, batch, reference)
    with kept, kept:
        name = type(model).__name__
        autodiff = options.first_look(name, lambda: with_loss(model, loss, batch, wrt, kept))
        empty = autodiff.empty_leaves()
        if empty:
            return nothing_to_check(name, seed=draw_seed(rng), started=started, leaves=empty)
        called = f"gradproof.torch.check_module(model, loss, batch{written}"
        plain = dataclasses.replace(options, modes=None) if modes == ("rev",) else options
        sides = against_reference(autodiff, plain)
        if sides is not None:
            return check_against(
                sides,
                name=name,
                claim=autodiff.claim,
                options=options,
                called=f"{called}{options.written(('rev',))}",
                started=started,
                sources=definitions(model, loss),
            )
        return check_autodiff(
            autodiff,
            options,
            domain=None if domain is None else by_name(autodiff.function, domain),
            name=name,
            called=called,
            modes=("rev",),
            started=started,
            sources=definitions(model, loss),
        )


@explained("gradproof.torch.compare_with_reference(kernel, reference, inputs)")
def compare_with_reference(
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Any,
    *,
    wrt: int | tuple[int, ...] | None = None,
    precision: str | None = None,
    draws: int = 16,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    rng: Seed = None,
    progress: Setting = None,
    name: str | None = None,
) -> Report:
    """Compare a low-precision kernel with a reference: its values, and the gradients that autograd gets from it.

    The truth is the reference in float64, on the kernel's own rounded inputs and the same cotangent; the baseline is
    the reference in the kernel's precision. The kernel is WRONG if its error is larger than the baseline's error
    explains, in a tensor as a whole or in a row, a block or an entry of it.

    Parameters
    ----------
    kernel : callable, nn.Module, or subclass of autograd.Function
        ``kernel(*inputs)``, a tensor or a tree of tensors. It is only ever called in the dtype of `inputs`.
    reference : callable or nn.Module
        ``reference(*inputs)``, the same in plain PyTorch operations, which autograd differentiates. It is called in
        float64 and in the kernel's precision. In float64, casts to lower dtypes inside, such as ``x.float()``, are
        skipped.
    inputs : tuple or any tree
        As `args` of `gradproof.check`, in the kernel's own dtypes.
    wrt : int or tuple of int, optional
        The arguments whose gradients are compared. None takes all tensors that require grad, or all floating ones.
    precision : {"float32", "tf32", "bfloat16", "float16"}, optional
        What the kernel computes in, if that is lower than the dtype of its inputs. None takes 16 bits if autocast is
        on inside, and TF32 if PyTorch uses it. For "tf32" the baseline rounds the operands of matrix products to 10
        bits; for 16 bits it is the reference under autocast.
    draws : int
        How many inputs (each moved by a few rounding units) and cotangents are compared; at least 4. More draws find
        smaller errors of single entries.
    max_bound : float, optional
        The largest bound that may be called CORRECT. None is 32 machine epsilons of the kernel, within 0.05 and 0.5.
    confidence : float
        1 - `confidence` is the largest chance that a right kernel is called WRONG, and that normal random cotangents
        hide an error above the bound.
    rng, progress, name
        As for `gradproof.check`.

    Returns
    -------
    Report
        ``report.leaves`` are the outputs and then the gradients, and findings about values come first: a kernel that
        computes a different function is WRONG, even if its gradient is right.

    Raises
    ------
    UsageError
        If an argument cannot be used, for example inputs that are float64 already.
    FunctionError
        If a function raises at the point, or the two return tensors of other shapes.

    Notes
    -----
    The rule is that of `gradproof.compare_with_reference`. Random states, buffers and
    parameters are left as they were found, as by `gradproof.check`.

    Examples
    --------
    >>> import torch
    >>> import gradproof.torch
    >>> def reference(x, weight):
    ...     return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight
    >>> class RMSNorm(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x, weight):
    ...         ctx.save_for_backward(x, weight)
    ...         return reference(x.float(), weight.float()).to(x.dtype)
    ...     @staticmethod
    ...     def backward(ctx, u):
    ...         x, weight = (tensor.float() for tensor in ctx.saved_tensors)
    ...         scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
    ...         y, v = x * scale, u.float() * weight
    ...         dx = scale * (v - y * (v * y).mean(-1, keepdim=True))
    ...         dweight = (u.float() * y)[:48].sum(0)  # wrong on purpose: 16 rows are missing
    ...         return dx.to(u.dtype), dweight.to(u.dtype)
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(64, 32, generator=generator).bfloat16()
    >>> weight = torch.randn(32, generator=generator).bfloat16()
    >>> report = gradproof.torch.compare_with_reference(RMSNorm, reference, (x, weight), rng=0)
    >>> [(leaf.path, leaf.verdict.value) for leaf in report.leaves]
    [('output', 'CORRECT'), ('x', 'CORRECT'), ('weight', 'WRONG')]
    """
    started = time.perf_counter()
    require(kernel, reference, draws)
    options = Options(wrt=wrt, max_bound=max_bound, confidence=confidence, rng=rng, progress=progress)
    held = cast("tuple[Any, ...]", inputs if type(inputs) is tuple else (inputs,))
    kept = function_keeper(kernel, (reference, *held))
    with kept, kept:
        sides = against(kernel, reference, inputs, wrt, precision, kept)
        plain = dataclasses.replace(options, wrt=None)
        return check_against(
            sides,
            name=name or function_name(kernel),
            claim="kernel",
            options=options,
            called=called_by("gradproof.torch.compare_with_reference", kernel, reference, plain, wrt, precision, draws),
            started=started,
            sources=definitions(kernel),
            draws=draws,
        )


@explained("gradproof.torch.check_kernel(function, make_inputs)")
def check_kernel(
    function: Callable[..., Any],
    make_inputs: Callable[..., Any],
    *,
    sizes: Any = None,
    dtypes: Sequence[torch.dtype] | None = None,
    layouts: Sequence[str] | None = None,
    devices: Sequence[Any] | str | None = None,
    reference: Callable[..., Any] | None = None,
    modes: tuple[str, ...] | str | None = ("rev",),
    contracts: Any = "default",
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    rng: Seed = None,
    progress: Setting = None,
) -> Report:
    """Check a kernel at the sizes, dtypes and memory layouts where kernels go wrong.

    At each size the gradient is proved by `gradproof.check` on contiguous inputs. Then the same values are passed in
    other layouts of memory, and the outputs and gradients are compared with those for contiguous inputs. In 16 bits the
    kernel is compared with `reference`, or with itself in float64 or float32. For each failure the report names the
    smallest size that shows it, the sizes at which it occurs, and sizes at which it does not. Two sizes
    are tried once more after all others, because a kernel may keep something of the last size.

    Parameters
    ----------
    function : callable
        The kernel, ``function(*inputs)``: a function, an `autograd.Function` or its `apply`, a module, a custom
        operator.
    make_inputs : callable
        ``make_inputs(size) -> inputs`` makes the inputs of one call: a tuple of arguments, or a single argument. Each
        parameter without a default is a size: ``make_inputs(rows, columns)`` has two. If it has parameters named
        ``dtype``, ``device`` or ``generator``, they are passed to it. Otherwise its tensors are converted. The global
        random generators are seeded before each call and put back afterwards, so ``torch.randn`` may be used.
    sizes : sequence of int, or dict of str to sequence of int, optional
        The sizes to try, for several axes by name. By default sizes around powers of two: 0 to 5, and 2^k - 1, 2^k and
        2^k + 1 from 8 to 1024; for several axes 0, 1, 2, 7, 16, 33, 63, 64 and 65. For two axes every combination is
        tried; for more, the cases are chosen so that every pair of sizes of any two axes occurs.
    dtypes : sequence of torch.dtype, optional
        The dtypes to try, for all floating inputs. By default the inputs are used as `make_inputs` makes them.
    layouts : sequence of str, optional
        Layouts of the inputs besides contiguous: "transposed", "sliced", "narrowed", "offset", "channels_last",
        "expanded" and "repeated". By default all that tensors of these shapes can have; an empty list tries none.
    devices : sequence of torch.device or str, or "available", optional
        The devices to try. "available" is the CPU and the accelerator, if there is one. By default the inputs stay
        where `make_inputs` makes them.
    reference : callable, optional
        The same function in plain operations, which you trust. It is called in float64, and the kernel's value is
        compared with it at every size: a gradient can be right for the wrong function. In 16 bits its gradient is the
        truth as well.
    modes, contracts, rtol, max_bound, confidence, progress
        As for `gradproof.check`, but only reverse mode by default.
    rng : int or numpy.random.Generator, optional
        Seed of the inputs, cotangents and directions. ``rng=report.seed`` repeats the check.

    Returns
    -------
    Report
        One for all cases. Each finding names the smallest size, and its reproducer runs that case alone. Arrays are
        shown as in the case where they are worst.

    Raises
    ------
    UsageError
        If an argument cannot be used.
    FunctionError
        If the kernel raises at every size, or if `make_inputs` does.

    Notes
    -----
    An exception is an error, also at size 0. ValueError and NotImplementedError are refusals: such sizes are left out,
    with a note, and so are sizes where `reference` raises as well. A dtype that the kernel refuses at every size is
    listed as not available. Nan is a note at size 0, and at other sizes an error unless `reference` returns nan too.

    Results in two layouts, or in 16 bits and in higher precision, count as equal within 16 rounding errors. How large a
    rounding error is, is measured: the inputs and cotangents are changed by random errors of one rounding. A larger
    difference of less than a quarter of a typical entry in 16 bits (1e-5 of it otherwise) is INCONCLUSIVE. An error of
    the gradient does not count if it changes the outputs by less than 64 rounding errors when an input moves by its own
    size: where terms cancel, as in a norm over one entry, the gradient of a right kernel is nothing but rounding.

    A crash of the interpreter, such as an access outside of memory, cannot be caught.

    Like `sample_inputs` in PyTorch's own OpInfo tests, `make_inputs` is called anew for every case.

    Examples
    --------
    >>> import torch
    >>> import gradproof.torch
    >>> class BlockSum(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return (x * x).sum()
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         gradient = torch.zeros_like(x)
    ...         whole = len(x) // 16 * 16  # wrong on purpose: the last partial block is lost
    ...         gradient[:whole] = 2 * grad * x[:whole]
    ...         return gradient
    >>> report = gradproof.torch.check_kernel(BlockSum, lambda size: torch.randn(size), rng=0)
    >>> report.verdict
    <Verdict.WRONG: 'WRONG'>
    >>> print(report.findings[0].kind.partition(" (")[0])
    claimed zero, the true gradient is not: where `size` is not a multiple of 16
    """
    started = time.perf_counter()
    if not callable(function):
        raise UsageError(f"`function` must be callable, got {type(function).__name__}.")
    if not callable(make_inputs):
        raise UsageError(f"`make_inputs` must be callable, `make_inputs(size)`, got {type(make_inputs).__name__}.")
    plan = asked(make_inputs, sizes, dtypes, layouts, devices)
    seed = draw_seed(rng)
    options = Options(
        modes=modes,
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        contracts=contracts,
        reference=reference,
        progress=progress,
    )
    handed = {one: getattr(options, one) for one in ("modes", "rtol", "max_bound", "confidence", "contracts")}
    source = f"{function_source(function, 'function')}, {function_source(make_inputs, 'make_inputs')}"
    more = options.written(("rev",))
    name = function_name(function)
    axes = axes_of(make_inputs)
    kernel = TorchKernel(function, make_inputs, axes, seed, reference)

    def replay(case: Case, later: Case | None = None) -> str:
        return f"gradproof.torch.check_kernel({source}, {written(len(axes), case, later)}{more}, rng={seed})"

    with kernel.keeper, kernel.keeper, watching(progress, name, started=started):
        study = Study(Trial(kernel, {**handed, "rng": seed}, seed), plan, replay)
        study.run()
        found = definitions(function, make_inputs)
        return whole(study, name=name, seed=seed, started=started, calls=kernel.calls, sources=found)


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

    The first step gets a full check, by `check_module`. From time to time after that follows a *probe*: two
    evaluations of the loss on a random line through the parameters, compared with what ``.grad`` claims along it. If
    they differ, the line is measured again with a finer step. If they still differ, a full check follows, and only a
    report that is WRONG is an alarm.

    Parameters
    ----------
    model : torch.nn.Module
        The model that is trained, also within `DistributedDataParallel` or `torch.compile`.
    loss : callable
        ``loss(model, batch) -> scalar tensor``, or a criterion, as for `check_module`.
    every : int
        Steps from one probe to the next, at least.
    budget : float
        The share of training time that probes may take: if they would take more, they come less often. The first check
        does not count.
    on_wrong : callable, optional
        ``on_wrong(report)`` is called if a gradient is wrong. By default `GradientError` is raised.
    rng : int or numpy.random.Generator, optional
        As for `gradproof.check`.

    Returns
    -------
    Guard
        Call its ``step(batch)`` after each backward.

    Raises
    ------
    UsageError
        If an argument cannot be used, or all parameters are frozen.

    Notes
    -----
    Training is left as it is, bit for bit: parameters, ``.grad``, buffers, modes, random states and the optimizer. A
    probe evaluates the loss with moved copies of the parameters, from the random states with which the model was
    called, so that dropout is the same as in the step. If the loss draws random numbers before it calls the model, they
    cannot be drawn again: then the gradient is computed anew, and ``.grad`` is not looked at.

    The loss is evaluated in float64 if the model runs in it and computes the same there, also under autocast. Otherwise
    the error bars of probes are wider. Kinks, noise and gradients that are not finite raise no alarm: the report counts
    them as probes without a result.

    With several processes (`DistributedDataParallel`) every process makes the same probes, of the loss averaged over
    all processes, and an alarm or an error in one is raised in all. A model that is sharded over processes, or a loss
    that exchanges data with other processes, cannot be guarded.

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
    """Watch the gradients in a run of a `transformers` or `lightning` Trainer; call it before the run.

    It works like `guard`, with the trainer's own loss (``compute_loss``, or the ``training_step`` of the
    LightningModule), gradient accumulation, autocast and loss scaling. What a LightningModule logs in a probe is
    dropped.

    Parameters
    ----------
    trainer : transformers.Trainer or lightning.pytorch.Trainer
        A lightning Trainer gets one more callback; the ``training_step`` of a transformers Trainer is wrapped.
    every, budget, on_wrong, rng
        As for `guard`.

    Returns
    -------
    TrainerGuard
        Print it after the run, or end the watch early with its ``off()``.

    Raises
    ------
    UsageError
        If it is any other trainer, or an option cannot be used.
    """

    def make(model: torch.nn.Module, loss: Callable[..., Any]) -> Guard:
        return Guard(model, loss, check_module, every=every, budget=budget, on_wrong=on_wrong, rng=rng, is_told=True)

    return attach(trainer, make)
