"""JAX: the hand-written rules within a function, each by itself; kernels beside a reference; training loops.

Functions, rules and models need no entry point of their own: `gradproof.check` takes them.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from gradproof._ask._array_guard import ArraysStep, checked
from gradproof._ask._call import explained
from gradproof._ask._check import Contracts, Options, Seed, check_against, check_autodiff, draw_seed
from gradproof._ask._guard import Guarding, Reporting, Scene
from gradproof._ask._kernel import called_by, require
from gradproof._backends._jax_autodiff import Jax, Packed
from gradproof._backends._jax_parts import Rule, rules
from gradproof._backends._jax_sides import JaxSides
from gradproof._backends._jax_training import JaxStep
from gradproof._base._errors import UsageError
from gradproof._base._names import function_name
from gradproof._base._sources import definitions
from gradproof._function._bounds import by_name
from gradproof._progress import Setting, watching
from gradproof._report import Report

__all__ = ["Guard", "check_rules", "compare_with_reference", "guard"]


@explained("gradproof.jax.check_rules(f, x)")
def check_rules(
    f: Callable[..., Any],
    args: Any,
    *,
    order: int = 1,
    modes: tuple[str, ...] | str | None = None,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    domain: Any = None,
    reference: Mapping[str, Callable[..., Any]] | None = None,
    contracts: Contracts = "default",
    rng: Seed = None,
    progress: Setting = None,
) -> tuple[Report, ...]:
    """Check every hand-written rule that a function applies, each by itself on the arrays that it receives there.

    The derivative of f can be right although that of a part is wrong, where the part counts for little at this point.
    `gradproof.check` looks at f as a whole, and at its rules only if the whole is wrong.

    Parameters
    ----------
    f : callable
        A function that JAX can trace with abstract values.
    args : tuple or any tree
        The point, as for `gradproof.check`.
    order, modes, rtol, max_bound, confidence, level, contracts, rng, progress
        As for `gradproof.check`; contracts are held by each rule.
    domain : tuple (lower, upper), mapping or callable, optional
        Bounds for what the rules receive, which no evaluation leaves. A tuple of numbers or None holds for every array
        of every rule. A mapping has the names of functions with rules and for each a tuple, or bounds by the names of
        its arrays, as the reports have them: ``{"root": (0, None), "scaled": {"scaled argument 1": (-1, 1)}}``. A
        callable gets the names of the function and of the array, and returns a tuple, or None for no bounds.
    reference : mapping of str to callable, optional
        For names of functions with rules, the same function computed more precisely, which you trust: an independent
        witness of first derivatives. It gets what the function receives, array by array, floating ones in float64.

    Returns
    -------
    tuple of Report
        One for each call of a `jax.custom_vjp` or `jax.custom_jvp` function, in the order of their execution, with the
        name of that function; of many calls of one function the first four. Those of JAX itself, such as `jax.nn.relu`,
        are among them. Rules within loops, branches and other rules are not.

    Raises
    ------
    UsageError
        If f cannot be traced, or applies no rule, or a name in `domain` or `reference` is that of none.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import gradproof.jax
    >>> @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, u: (2 * u * x**2,))  # wrong on purpose
    >>> def loss(x):
    ...     return jnp.sum(jax.nn.softplus(x)) + 1e-9 * jnp.sum(cube(x))
    >>> x = jnp.array([0.5, 1.0, 2.0])
    >>> gradproof.check(loss, x, modes=("rev",)).correct
    True
    >>> [(report.name, report.verdict.value) for report in gradproof.jax.check_rules(loss, x)]
    [('logaddexp', 'CORRECT'), ('cube', 'WRONG')]
    """
    options = Options(
        order=order,
        modes=modes,
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=domain,
        contracts=contracts,
        rng=rng,
        progress=progress,
    )
    whole = Jax.of(Packed(f, args, None))
    try:
        found = rules(whole.low, whole.high)
    except Exception as error:
        raise UsageError(f"`f` cannot be traced with abstract values: {error}") from error
    if not found:
        raise UsageError("`f` applies no `jax.custom_vjp` or `jax.custom_jvp` function outside of loops and branches.")
    names = dict.fromkeys(rule.name for rule in found)
    trusted = _of_rules("reference", reference, names)
    bounds = dict(_of_rules("domain", domain, names)) if isinstance(domain, Mapping) else dict.fromkeys(names, domain)

    def check_one(rule: Rule) -> Report:
        autodiff, own = Jax.of_rule(rule), bounds.get(rule.name)
        if callable(own) and own is domain:
            own = ft.partial(own, rule.name)
        return check_autodiff(
            autodiff,
            dataclasses.replace(options, reference=trusted.get(rule.name)),
            domain=None if own is None else by_name(autodiff.function, own),
            name=rule.name,
            called="gradproof.jax.check_rules(f, args",
            started=time.perf_counter(),
            sources=definitions(f),
        )

    with watching(progress, function_name(f), started=time.perf_counter()):
        return tuple(check_one(rule) for rule in found)


def _of_rules(option: str, given: Any, names: Iterable[str]) -> Mapping[str, Any]:
    """What an option says of each rule.

    Raises
    ------
    UsageError
        If it is no mapping, or has a name that no rule has.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"`{option}` must be a mapping of names of functions with rules, got {type(given).__name__}.")
    for name in cast("Mapping[Any, Any]", given):
        if name not in names:
            raise UsageError(
                f"`{option}` names {name!r}, but the rules that `f` applies are those of {', '.join(names)}."
            )
    return cast("Mapping[str, Any]", given)


@explained("gradproof.jax.compare_with_reference(kernel, reference, inputs)")
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
    """Compare a low-precision kernel with a reference: its values, and the gradients that JAX gets from it.

    The truth is the reference in float64, on the kernel's own rounded inputs and the same cotangent; the baseline is
    the reference in the kernel's precision. The kernel is WRONG if its error is larger than the baseline's error
    explains, in an array as a whole or in a row, a block or an entry of it.

    Parameters
    ----------
    kernel : callable
        ``kernel(*inputs)``, an array or a tree of arrays: a Pallas kernel, a `jax.custom_vjp` function. It is only
        ever called in the dtype of `inputs`.
    reference : callable
        ``reference(*inputs)``, the same in plain `jax.numpy`, which JAX differentiates. It is called with float64
        arrays and in the kernel's precision. For kernels in float32, it must not cast to float32 inside.
    inputs : tuple or any tree
        As `args` of `gradproof.check`, in the kernel's own dtypes.
    wrt : int or tuple of int, optional
        The arguments whose gradients are compared; all with floating arrays by default.
    precision : {"float32", "tf32", "bfloat16", "float16"}, optional
        What the kernel computes in, if that is lower than the dtype of its inputs. For "tf32" the baseline rounds the
        operands of matrix products outside of loops to 10 bits; for 16 bits it is the reference with inputs of that
        dtype.
    draws, max_bound, confidence, rng, progress, name
        As for `gradproof.torch.compare_with_reference`.

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
        If a function raises at the point, or the two return arrays of other shapes.

    Notes
    -----
    The rule is that of `gradproof.compare_with_reference`.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import gradproof.jax
    >>> def reference(x):
    ...     return jax.nn.softmax(x, axis=-1)
    >>> @jax.custom_vjp
    ... def softmax(x):
    ...     return reference(x.astype(jnp.float32)).astype(x.dtype)
    >>> def backward(y, u):
    ...     y, u = y.astype(jnp.float32), u.astype(jnp.float32)
    ...     return ((y * u).astype(jnp.bfloat16),)  # wrong on purpose: a term is missing
    >>> softmax.defvjp(lambda x: (softmax(x), softmax(x)), backward)
    >>> x = jax.random.normal(jax.random.key(0), (16, 32), jnp.bfloat16)
    >>> report = gradproof.jax.compare_with_reference(softmax, reference, x, rng=0)
    >>> [(leaf.path, leaf.verdict.value) for leaf in report.leaves]
    [('output', 'CORRECT'), ('x', 'WRONG')]
    """
    started = time.perf_counter()
    require(kernel, reference, draws)
    options = Options(wrt=wrt, max_bound=max_bound, confidence=confidence, rng=rng, progress=progress)
    plain = dataclasses.replace(options, wrt=None)
    return check_against(
        JaxSides(Packed(kernel, inputs, wrt), reference, precision),
        name=name or function_name(kernel),
        claim="kernel",
        options=options,
        called=called_by("gradproof.jax.compare_with_reference", kernel, reference, plain, wrt, precision, draws),
        started=started,
        sources=definitions(kernel),
        draws=draws,
    )


class Guard(Reporting):
    """What `guard` returns: it watches the gradients of a training loop.

    Printing it says what was probed, and how large an error can have been.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        *,
        every: int,
        budget: float,
        on_wrong: Callable[[Report], Any] | None,
        rng: Seed,
    ) -> None:
        self._loss, self._is_on = loss, True
        self._is_wide: bool | None = None
        self._guarding = Guarding(every=every, budget=budget, on_wrong=on_wrong, seed=draw_seed(rng))

    def step(self, gradient: Any, params: Any, *others: Any) -> None:
        """Look at the gradient of this step, if it is time; call it before ``optimizer.update``, outside of `jax.jit`.

        Parameters
        ----------
        gradient : tree
            What ``jax.grad(loss)(params, *others)`` returned, in the structure of `params`.
        params : tree of arrays
            The parameters that it was computed at.
        *others : tree
            What else the loss takes: the batch, a key.

        Raises
        ------
        GradientError
            If the gradient is wrong, and there is no `on_wrong`.
        """
        if not self._is_on:
            return
        if not self._guarding.is_due:
            self._guarding.passed()
            return
        args = (params, *others)
        found = JaxStep(self._loss, args, gradient)
        if self._is_wide is None:
            self._is_wide = found.runs_wide()
        step = ArraysStep(
            found.names, found.arrays, found.gradients, found.evaluate, found.wide if self._is_wide else None
        )
        self._guarding.visit(
            Scene(
                step=step,
                paths=step.paths,
                full=lambda seed: checked(self._loss, args, seed, modes=("rev",)),
                delivered=lambda seed, rtol, _: checked(self._loss, args, seed, grad=gradient, rtol=rtol),
            )
        )

    def off(self) -> None:
        """End the watch: from now on `step` returns at once."""
        self._is_on = False


@explained("gradproof.jax.guard(loss)")
def guard(
    loss: Callable[..., Any],
    *,
    every: int = 100,
    budget: float = 0.01,
    on_wrong: Callable[[Report], Any] | None = None,
    rng: Seed = None,
) -> Guard:
    """Watch the gradients of a training loop, such as one with optax, for a small share of its time.

    It works like `gradproof.torch.guard`: a full check of the first step, then from time to time two evaluations of the
    loss on a random line through the parameters, compared with what the gradient claims along it. The loss is evaluated
    in float64 if it runs in it and computes the same there, which compiles it once more.

    Parameters
    ----------
    loss : callable
        ``loss(params, *others) -> scalar``.
    every, budget, on_wrong, rng
        As for `gradproof.torch.guard`.

    Returns
    -------
    Guard
        Call its ``step(gradient, params, *others)`` after each gradient.

    Raises
    ------
    UsageError
        If an argument cannot be used.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import gradproof.jax
    >>> def loss(params, x):
    ...     return jnp.mean((jnp.tanh(x @ params["w"]) - 0.5) ** 2)
    >>> gradient = jax.jit(jax.grad(loss))
    >>> params, x = {"w": jnp.ones((3, 2))}, jnp.linspace(0.0, 1.0, 12).reshape(4, 3)
    >>> guard = gradproof.jax.guard(loss, every=10, rng=0)
    >>> for _ in range(50):
    ...     grads = gradient(params, x)
    ...     guard.step(grads, params, x)
    ...     params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    >>> guard.report().first.verdict
    <Verdict.CORRECT: 'CORRECT'>
    >>> guard.off()
    """
    if not callable(loss):
        raise UsageError(f"`loss` must be callable, `loss(params, *others)`, got {type(loss).__name__}.")
    return Guard(loss, every=every, budget=budget, on_wrong=on_wrong, rng=rng)
