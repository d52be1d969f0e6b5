"""What SciPy's solvers take besides a function and its first derivative: losses, and Hessians of constraints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gradproof._ask import _scipy
from gradproof._ask._scipy import Call, LeftOut
from gradproof._base._errors import UsageError
from gradproof._report import Report, Verdict

# Values of a constraint up to which each one's own Hessian is looked at where the Hessian is wrong.
CONSTRAINTS_ALONE = 20


class _Sums:
    """The rows of ``loss(z)``, of which each is the derivative of the one before, as a function and its derivative."""

    def __init__(self, loss: Callable[..., Any]) -> None:
        self._loss = loss
        self.__name__ = _scipy.shown(loss, "loss")

    def __call__(self, z: Any) -> dict[str, Any]:
        """Return rho and rho', summed."""
        found = self._rows(z)
        return {"rho": found[0].sum(), "rho'": found[1].sum()}

    def derivatives(self, z: Any) -> dict[str, Any]:
        """Return rho' and rho''."""
        found = self._rows(z)
        return {"rho": found[1], "rho'": found[2]}

    def _rows(self, z: Any) -> Any:
        found = np.asarray(self._loss(z))
        if found.shape != (3, z.size):
            raise UsageError(f"`loss` must return shape (3, {z.size}): rho, rho', rho''; got {found.shape}.")
        return found


def check_scaled_loss(
    call: Call, loss: Callable[..., Any], residuals: NDArray[Any] | None, scale: float, *, is_alone: bool
) -> list[tuple[str, Report]]:
    """Check a loss where `least_squares` calls it, if there are residuals; if it `is_alone`, then in any case."""
    z = None if residuals is None else (residuals / scale) ** 2
    if z is not None and not np.isfinite(z).all() and not is_alone:
        return []
    report = check_loss(call, loss, z)
    if z is not None:
        # (The residuals have taken one evaluation.)
        cost = report.cost
        cost = dataclasses.replace(cost, evaluations=cost.evaluations + 1, calls=cost.calls + 1)
        report = dataclasses.replace(report, cost=cost)
    return [("loss", report)]


def check_loss(call: Call, loss: Callable[..., Any], z: NDArray[Any] | None) -> Report:
    """Row by row: the derivative of each row of ``loss(z)`` is the next one; z is None where no budget was left."""
    sums = _Sums(loss)
    # (Without a budget nothing is evaluated, and nothing is said of an array that is not known.)
    at = np.zeros(1) if z is None else z
    report = call.check(sums, (at,), {"jac": sums.derivatives}, domain=(0.0, None), part="loss")
    return report if z is not None else dataclasses.replace(report, leaves=())


def constraints_of(given: Any) -> list[Any]:
    """The constraints of `minimize` one by one, from all forms that it takes."""
    if isinstance(given, dict) or hasattr(given, "fun") or hasattr(given, "A"):
        return [given]
    try:
        constraints = [] if given is None else list(given)
    except TypeError:
        constraints = [given]
    for i, one in enumerate(constraints):
        if not hasattr(one, "A"):
            function_of(one, f"constraints[{i}]")
    return constraints


def function_of(constraint: Any, name: str = "constraint") -> Callable[..., Any]:
    """The function of a constraint.

    Raises
    ------
    UsageError
        If there is none.
    """
    fun = _of(constraint, "fun")
    if fun is None:
        raise UsageError(
            f'`{name}` must be a scipy.optimize.NonlinearConstraint or a dict with a "fun", got '
            f"{type(cast('object', constraint)).__name__}, which has no derivative to check."
        )
    _scipy.require_function(fun)
    return fun


def is_claimed(constraint: Any, name: str, left_out: LeftOut) -> bool:
    """Whether there is a derivative of a constraint to check; a linear one has none, and others are noted."""
    if hasattr(constraint, "A"):
        return False
    claims = [key for key in ("jac", "hess") if callable(_of(constraint, key))]
    if not claims:
        jac = _of(constraint, "jac")
        left_out.is_claim(jac if isinstance(jac, str) else "2-point", f"{name}.jac")
    return bool(claims)


def check_parts(call: Call, constraint: Any, point: NDArray[Any]) -> list[tuple[str, Report]]:
    """Check the derivatives of a constraint, first and second order, each with a label."""
    fun, jac, hess = function_of(constraint), _of(constraint, "jac"), _of(constraint, "hess")
    further = _scipy.positional(_of(constraint, "args") or ())
    if not callable(jac) and not callable(hess):
        _scipy.require_claim(jac, "jac")
    value = _scipy.Adapted(fun, _scipy.vector)
    jacobian = _scipy.Adapted(jac, _scipy.matrix) if callable(jac) else None
    reports: list[tuple[str, Report]] = []
    if jacobian is not None:
        reports.append(("", call.check(value, (point, *further), {"jac": jacobian})))
    if callable(hess):
        reports += check_lagrangian(call, value, jacobian, hess, point)
    return reports


def _of(constraint: Any, key: str) -> Any:
    """What a constraint says, whether it is a dict or an object; dicts have no second order."""
    if isinstance(constraint, dict):
        return None if key == "hess" else cast("dict[str, Any]", constraint).get(key)
    return getattr(constraint, key, None)


class _Combined:
    """``v @ fun(x)``, under the name of fun, with its arguments."""

    def __init__(self, v: NDArray[Any], value: Callable[..., Any]) -> None:
        self._v, self._value = v, value
        self.__wrapped__ = value

    def __call__(self, x: Any) -> Any:
        """Return the number."""
        return self._v @ np.asarray(self._value(x))


def check_lagrangian(
    call: Call,
    value: Callable[..., Any],
    jacobian: Callable[..., Any] | None,
    hess: Callable[..., Any],
    point: NDArray[Any],
) -> list[tuple[str, Report]]:
    """``hess(x, v)`` for a random v; where it is wrong, for each value of the constraint that is wrong alone."""

    def check(v: NDArray[Any], part: str) -> Report:
        def gradient(x: Any) -> Any:
            assert jacobian is not None
            return _scipy.vector(_transposed(jacobian(x), v))

        def hessian(x: Any) -> Any:
            return _scipy.symmetric(hess(x, v.copy()))

        claims: dict[str, Any] = {"hess": hessian} if jacobian is None else {"grad": gradient, "hess": hessian}
        return call.check(_Combined(v, value), (point,), claims, part=part)

    found = call.values(value, (point,))
    # (Where no budget is left for that, none is for the check either.)
    m = 1 if found is None else found.size
    v = np.random.default_rng((cast("int", call.options.rng), 7)).standard_normal(m)
    together = check(v, "v @ fun")
    if together.verdict is Verdict.WRONG and 1 < m <= CONSTRAINTS_ALONE:
        alone = [(f"fun[{i}]", check(row, f"fun[{i}]")) for i, row in enumerate(np.eye(m))]
        wrong = [(label, report) for label, report in alone if report.verdict is Verdict.WRONG]
        if wrong:
            return wrong
    return [("v @ fun", together)]


def _transposed(jacobian: Any, v: NDArray[Any]) -> Any:
    """J^T v, for whatever `jac` returns."""
    return jacobian.rmatvec(v) if hasattr(jacobian, "rmatvec") else jacobian.T @ v
