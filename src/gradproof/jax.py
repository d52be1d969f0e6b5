"""JAX: the hand-written rules within a function, each by itself.

Functions, rules and models need no entry point of their own: `gradproof.check` takes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gradproof._backends._jax_autodiff import Jax, Packed
from gradproof._backends._jax_parts import rules
from gradproof._check import Options, Seed, check_autodiff
from gradproof._errors import UsageError
from gradproof._names import function_name
from gradproof._progress import Setting, watching
from gradproof._report import Report

__all__ = ["check_rules"]


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

    Returns
    -------
    tuple of Report
        One for each call of a `jax.custom_vjp` or `jax.custom_jvp` function, in the order of their execution, with the
        name of that function; of many calls of one function the first four. Those of JAX itself, such as `jax.nn.relu`,
        are among them. Rules within loops, branches and other rules are not.

    Raises
    ------
    UsageError
        If f cannot be traced, or applies no rule.

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
    with watching(progress, function_name(f), started=time.perf_counter()):
        return tuple(
            check_autodiff(
                Jax(rule.low, rule.high, name=rule.name),
                options,
                name=rule.name,
                called="gradproof.jax.check_rules(f, args",
                started=time.perf_counter(),
            )
            for rule in found
        )
