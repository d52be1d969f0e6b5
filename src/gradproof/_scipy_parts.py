"""What SciPy's solvers take besides a function and its first derivative: losses, and Hessians of constraints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gradproof import _scipy
from gradproof._check import draw_seed
from gradproof._errors import UsageError
from gradproof._report import Report, Verdict
from gradproof._scipy import Call

# Values of a constraint up to which each one's own Hessian is looked at where the Hessian is wrong.
CONSTRAINTS_ALONE = 20


def check_loss(call: Call, loss: Callable[..., Any], z: NDArray[Any]) -> Report:
    """Row by row: the derivative of each row of ``loss(z)`` is the next one."""

    def rows(z: Any) -> Any:
        found = np.asarray(loss(z))
        if found.shape != (3, z.size):
            raise UsageError(f"`loss` must return shape (3, {z.size}): rho, rho', rho''; got {found.shape}.")
        return found

    def sums(z: Any) -> dict[str, Any]:
        found = rows(z)
        return {"rho": found[0].sum(), "rho'": found[1].sum()}

    def derivatives(z: Any) -> dict[str, Any]:
        found = rows(z)
        return {"rho": found[1], "rho'": found[2]}

    sums.__name__ = _scipy.shown(loss, "loss")
    return call.check(sums, (z,), {"jac": derivatives}, domain=(0.0, None))


def parts_of(constraint: Any) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    """Function, its derivatives where they are callable, and further arguments."""
    further: Any = ()
    if isinstance(constraint, dict):
        given = cast("dict[str, Any]", constraint)
        fun, jac, hess, further = given.get("fun"), given.get("jac"), None, given.get("args", ())
    else:
        fun, jac, hess = (getattr(constraint, key, None) for key in ("fun", "jac", "hess"))
    if fun is None:
        raise UsageError(
            '`constraint` must be a scipy.optimize.NonlinearConstraint or a dict with a "fun", got '
            f"{type(cast('object', constraint)).__name__}, which has no derivative to check."
        )
    _scipy.require_function(fun)
    if not callable(jac) and not callable(hess):
        _scipy.require_claim(jac, "jac")
    jac, hess = (claim if callable(claim) else None for claim in (jac, hess))
    return fun, jac, hess, _scipy.positional(further)


def check_lagrangian(
    call: Call,
    value: Callable[..., Any],
    jacobian: Callable[..., Any] | None,
    hess: Callable[..., Any],
    point: NDArray[Any],
) -> list[tuple[str, Report]]:
    """``hess(x, v)`` for a random v; where it is wrong, for each value of the constraint that is wrong alone."""

    def check(v: NDArray[Any]) -> Report:
        def combined(x: Any) -> Any:
            return v @ np.asarray(value(x))

        def gradient(x: Any) -> Any:
            assert jacobian is not None
            return _scipy.vector(_transposed(jacobian(x), v))

        def hessian(x: Any) -> Any:
            return _scipy.symmetric(hess(x, v.copy()))

        claims: dict[str, Any] = {"hess": hessian} if jacobian is None else {"grad": gradient, "hess": hessian}
        setattr(combined, "__wrapped__", value)  # noqa: B010  (reports take name and arguments from there)
        return call.check(combined, (point,), claims)

    m = np.size(value(point.copy()))
    v = np.random.default_rng((draw_seed(call.options.rng), 7)).standard_normal(m)
    together = check(v)
    if together.verdict is Verdict.WRONG and 1 < m <= CONSTRAINTS_ALONE:
        alone = [(f"fun[{i}]", check(row)) for i, row in enumerate(np.eye(m))]
        wrong = [(label, report) for label, report in alone if report.verdict is Verdict.WRONG]
        if wrong:
            return wrong
    return [("v @ fun", together)]


def _transposed(jacobian: Any, v: NDArray[Any]) -> Any:
    """J^T v, for whatever `jac` returns."""
    return jacobian.rmatvec(v) if hasattr(jacobian, "rmatvec") else jacobian.T @ v
