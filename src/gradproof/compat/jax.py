"""Drop-ins for `jax.test_util.check_grads`, `check_jvp` and `check_vjp`, with a proof behind every answer.

One changed import line: ``from gradproof.compat.jax import check_grads``.
"""

# No `from __future__ import annotations`: the signatures are jax's, which have no annotations.
# jax's own annotations are partial, and its checkers have none:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

import warnings

from gradproof._base._errors import GradproofWarning
from gradproof._report import GradientError, Report, Verdict
from gradproof.compat._jax_answer import Answer, Tolerance, pulled_by, pushed_by
from gradproof.compat._nothing_tested import not_finite_text, passes_untested, untested_text

__all__ = ["check_grads", "check_jvp", "check_vjp"]


def check_grads(f, args, order, modes=("fwd", "rev"), atol=None, rtol=None, eps=None):
    """Prove that JAX's derivatives of a function are its derivatives.

    Like `jax.test_util.check_grads`, but the answer rests on `gradproof.check`: step and tolerance come from what the
    function shows of its own precision, every slope has an error bar, and no tolerance grows with the size of an array.

    Parameters
    ----------
    f : callable
        ``f(*args)`` -> an array, or any tree of arrays.
    args : tuple or list
        The point. All floating arrays and numbers in it are differentiated; integers and keys pass through.
    order : int
        Derivatives up to this order are checked, in every composition of the modes.
    modes : sequence of {"fwd", "rev", "lin"}
        The modes; ``"lin"`` is that of `jax.linearize`.
    atol, rtol : float or dict of dtype to float, optional
        None derives them. What is passed accepts every error for which ``|claimed - reference| <= atol + rtol *
        |reference|`` holds in each entry of the Jacobian; of the two only what is passed counts, the other one is 0.
    eps : float, optional
        Accepted and ignored: the steps are derived.

    Raises
    ------
    GradientError
        An AssertionError that carries the `report`, if the verdict is WRONG or INCONCLUSIVE.

    Notes
    -----
    Whatever f or its rule raises is passed on as it is. Where f is not differentiable at the point and JAX's derivative
    is a valid subgradient, there is a `GradproofWarning`. So is there for an array without a finite entry, which is
    left out.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from gradproof.compat.jax import check_grads
    >>> check_grads(jnp.sin, (jnp.array([0.5, 1.0]),), order=2)
    """
    __tracebackhide__ = True
    tolerance = Tolerance(atol, rtol)
    args = tuple(args)
    answer = Answer(f, args, tolerance)
    for report in answer.of_order(order, tuple(modes)):
        _give(report, "")
    _warn_of_what_no_step_moves(answer)


def check_jvp(f, f_jvp, args, atol=None, rtol=None, eps=1e-4, err_msg=""):
    """Prove that a JVP is the derivative of a function along tangents.

    Like `jax.test_util.check_jvp`; see `check_grads` for what is different.

    Parameters
    ----------
    f : callable
        ``f(*args)``.
    f_jvp : callable
        ``f_jvp(primals, tangents) -> (outputs, output tangents)``, as ``functools.partial(jax.jvp, f)``.
    args, atol, rtol, eps
        As for `check_grads`.
    err_msg : str
        Added to the error.

    Raises
    ------
    GradientError
        An AssertionError that carries the `report`, if the verdict is WRONG or INCONCLUSIVE, or the outputs are not
        those of f.

    Examples
    --------
    >>> import functools, jax, jax.numpy as jnp
    >>> from gradproof.compat.jax import check_jvp
    >>> check_jvp(jnp.sin, functools.partial(jax.jvp, jnp.sin), (jnp.array([0.5, 1.0]),))
    """
    __tracebackhide__ = True
    args = tuple(args)
    answer = Answer(f, args, Tolerance(atol, rtol))
    _give(answer.of_claim("fwd", pushed_by(f_jvp)), err_msg)
    _warn_of_what_no_step_moves(answer)


def check_vjp(f, f_vjp, args, atol=None, rtol=None, eps=1e-4, err_msg=""):
    """Prove that a VJP is the transposed derivative of a function.

    Like `jax.test_util.check_vjp`; see `check_grads` for what is different.

    Parameters
    ----------
    f : callable
        ``f(*args)``.
    f_vjp : callable
        ``f_vjp(*args) -> (outputs, function of cotangents)``, as ``functools.partial(jax.vjp, f)``.
    args, atol, rtol, eps
        As for `check_grads`.
    err_msg : str
        Added to the error.

    Raises
    ------
    GradientError
        An AssertionError that carries the `report`, if the verdict is WRONG or INCONCLUSIVE, or the outputs are not
        those of f.

    Examples
    --------
    >>> import functools, jax, jax.numpy as jnp
    >>> from gradproof.compat.jax import check_vjp
    >>> check_vjp(jnp.sin, functools.partial(jax.vjp, jnp.sin), (jnp.array([0.5, 1.0]),))
    """
    __tracebackhide__ = True
    args = tuple(args)
    answer = Answer(f, args, Tolerance(atol, rtol))
    _give(answer.of_claim("rev", pulled_by(f_vjp)), err_msg)
    _warn_of_what_no_step_moves(answer)


def _warn_of_what_no_step_moves(answer: Answer) -> None:
    for argument in answer.not_finite:
        warnings.warn(not_finite_text(answer.name, argument), GradproofWarning, stacklevel=3)


def _give(report: Report | None, message: str) -> None:
    """Answer as JAX does: where there is no number to compare, nothing is wrong."""
    __tracebackhide__ = True
    if report is None:
        return
    if passes_untested(report):
        warnings.warn(untested_text(report.name), GradproofWarning, stacklevel=3)
        return
    if report.verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE):
        error = GradientError(report)
        if message:
            error.add_note(message)
        raise error
    if report.verdict is Verdict.NOT_DIFFERENTIABLE:
        kinked = [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.NOT_DIFFERENTIABLE]
        warnings.warn(
            f"`{report.name}` is not differentiable at this point in {', '.join(kinked)}; "
            "the derivative is a valid subgradient there.",
            GradproofWarning,
            stacklevel=3,
        )
