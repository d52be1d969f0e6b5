"""JAX: the hand-written rules within a function, each by itself.

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
from gradproof._ask._check import Options, Seed, check_autodiff, draw_seed
from gradproof._ask._guard import Guarding, Scene
from gradproof._backends._jax_autodiff import Jax, Packed
from gradproof._backends._jax_parts import Rule, rules
from gradproof._backends._jax_training import JaxStep
from gradproof._base._errors import UsageError
from gradproof._base._names import function_name
from gradproof._base._sources import definitions
from gradproof._function._bounds import by_name
from gradproof._progress import Setting, watching
from gradproof._report import GuardReport, Report

__all__ = ["Guard", "check_rules", "guard"]


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
    order, modes, rtol, max_bound, confidence, level, rng
        As for `gradproof.check`.
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


class Guard:
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

    def report(self) -> GuardReport:
        """Say what was probed so far, and what was found."""
        return self._guarding.report()

    def __str__(self) -> str:
        return str(self.report())


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

    As `gradproof.torch.guard`: a full check of the first step, then from time to time two evaluations of the loss on a
    random line through the parameters, compared with what the gradient claims along it. The loss is evaluated in
    float64 where it runs so and computes the same, which compiles it once more.

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
