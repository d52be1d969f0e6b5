"""SciPy: the derivatives that its solvers take, checked from the arguments that the solvers take.

SciPy itself is not imported: what its solvers accept is recognised by its attributes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradproof import _scipy, _scipy_parts
from gradproof._check import Options, Seed, draw_seed
from gradproof._errors import UsageError
from gradproof._names import function_name
from gradproof._progress import Setting, watching
from gradproof._report import Report

__all__ = ["check_constraint", "check_ivp", "check_least_squares", "check_minimize", "check_root"]


def check_minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    *,
    jac: Callable[..., Any] | bool | None = None,
    hess: Callable[..., Any] | None = None,
    hessp: Callable[..., Any] | None = None,
    bounds: Any = None,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    progress: Setting = None,
) -> Report:
    """Check the derivatives that are passed to `scipy.optimize.minimize`.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float``, x of shape (n,); with ``jac=True`` ``fun(x, *args) -> (float, gradient)``.
    x0 : array_like, shape (n,)
        The point.
    args : tuple or any object
        Further arguments of all callables.
    jac : callable or True
        ``jac(x, *args) -> array_like, shape (n,)``, the gradient.
    hess : callable, optional
        ``hess(x, *args)`` -> array, sparse matrix or `LinearOperator`, shape (n, n).
    hessp : callable, optional
        ``hessp(x, p, *args) -> ndarray, shape (n,)``, the product of the Hessian with p.
    bounds : scipy.optimize.Bounds or sequence of pairs, optional
        No evaluation leaves them: at a bound the slope is measured from the inside. A variable that equal bounds hold
        cannot be checked, and is noted.
    rtol, max_bound, confidence, level, rng, progress
        As for `gradproof.check`.

    Returns
    -------
    Report
        Of both derivatives, where two are passed: the Hessian is held against differences of the gradient.

    Raises
    ------
    UsageError
        If no derivative is passed, or a string or an update strategy, with which SciPy approximates it; if both `hess`
        and `hessp` are; if an argument does not fit.
    FunctionError, ClaimError
        As `gradproof.check`.

    Notes
    -----
    Like `scipy.optimize.check_grad`, but with a verdict instead of an absolute difference, and for second derivatives,
    too.

    Examples
    --------
    >>> import gradproof.scipy
    >>> from scipy.optimize import rosen, rosen_der, rosen_hess_prod
    >>> x0 = [1.3, 0.7, 0.8, 1.9, 1.2]
    >>> report = gradproof.scipy.check_minimize(rosen, x0, jac=rosen_der, hessp=rosen_hess_prod)
    >>> report.verdict
    <Verdict.CORRECT: 'CORRECT'>
    """
    _scipy.require_function(fun)
    point, further = _scipy.variables(x0), _scipy.positional(args)
    call = _scipy.Call(
        written=_scipy.written(
            "check_minimize",
            fun,
            "x0",
            args=further or None,
            jac=jac or None,
            hess=hess,
            hessp=hessp,
            bounds=bounds,
        ),
        options=Options(
            rtol=rtol,
            max_bound=max_bound,
            confidence=confidence,
            level=level,
            domain=_scipy.bounds_of_pairs(bounds, point.size),
            rng=rng,
            progress=progress,
        ),
        started=time.perf_counter(),
        words={"grad": "jac", "hvp": "hessp"},
    )
    if hess is not None and hessp is not None:
        raise UsageError("`hess` and `hessp` claim the same, and `minimize` ignores the latter: check one at a time.")
    claims: dict[str, Any] = {}
    value = _scipy.adapted(fun, _scipy.number)
    if jac is True:
        value = _scipy.adapted(fun, lambda pair: _scipy.number(_scipy.part(pair, 0)))
        claims["grad"] = _scipy.adapted(fun, lambda pair: _scipy.vector(_scipy.part(pair, 1)))
    elif jac is not None and jac is not False:
        _scipy.require_claim(jac, "jac")
        claims["grad"] = _scipy.adapted(jac, _scipy.vector)
    if hess is not None:
        _scipy.require_claim(hess, "hess")
        claims["hess"] = _scipy.adapted(hess, _scipy.symmetric)
    if hessp is not None:
        _scipy.require_claim(hessp, "hessp")
        claims["hvp"] = _scipy.vector_first(hessp)
    if not claims:
        raise UsageError("a claim is missing: pass one of `jac`, `hess` and `hessp`.")
    return call.check(value, (point, *further), claims)


def check_least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Callable[..., Any],
    *,
    bounds: Any = (-np.inf, np.inf),
    loss: str | Callable[..., Any] = "linear",
    f_scale: float = 1.0,
    args: Any = (),
    kwargs: dict[str, Any] | None = None,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    progress: Setting = None,
) -> Report:
    """Check the Jacobian, and a loss function, that are passed to `scipy.optimize.least_squares`.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args, **kwargs) -> array_like, shape (m,)``, the residuals.
    x0 : array_like, shape (n,)
        The point.
    jac : callable
        ``jac(x, *args, **kwargs)`` -> array_like, sparse matrix or `LinearOperator`, shape (m, n). Where a sparse
        matrix declares no entry, that is a claim, too: the derivative is 0 there.
    bounds : pair (lower, upper) or scipy.optimize.Bounds
        No evaluation leaves them.
    loss : str or callable
        A callable ``loss(z) -> array_like, shape (3, m)`` with rho, rho' and rho'' of ``z = (fun(x) / f_scale)**2`` has
        its derivatives checked at this z. Those that SciPy knows by name claim nothing.
    f_scale : float
    args, kwargs
        Further arguments of `fun` and `jac`.
    rtol, max_bound, confidence, level, rng, progress
        As for `gradproof.check`.

    Returns
    -------
    Report
        What is about the loss has the label "loss": ``jac['rho'][3]`` is the derivative of rho at z[3], that is
        ``loss(z)[1, 3]``, and ``jac["rho'"][3]`` is ``loss(z)[2, 3]``.

    Raises
    ------
    UsageError
        If `jac` is a string, with which SciPy approximates it, or an argument does not fit.
    FunctionError, ClaimError
        As `gradproof.check`.

    Examples
    --------
    A sparse Jacobian leaves out an entry that is not 0:

    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> import gradproof.scipy
    >>> def residuals(x):
    ...     return np.array([x[0] ** 2, 3 * x[1] + x[0], x[1] * x[2]])
    >>> def jac(x):
    ...     return csr_array(np.array([[2 * x[0], 0, 0], [1, 3, 0], [0, x[2], 0]]))  # wrong on purpose
    >>> report = gradproof.scipy.check_least_squares(residuals, [1.0, 2.0, 3.0], jac)
    >>> [(finding.path, finding.kind) for finding in report.findings]
    [('jac[2, 2]', 'missing from the declared sparsity pattern')]
    """
    _scipy.require_function(fun)
    _scipy.require_claim(jac, "jac")
    point = _scipy.variables(x0).astype(np.float64)
    further, keywords = _scipy.positional(args), kwargs or {}
    robust = loss if callable(loss) else None
    options = Options(
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=_scipy.bounds_of_sides(bounds, point.size),
        rng=draw_seed(rng),
        progress=progress,
    )
    call = _scipy.Call(
        written=_scipy.written(
            "check_least_squares",
            fun,
            "x0",
            jac=jac,
            bounds=None if options.domain is None else bounds,
            loss=robust,
            f_scale=None if robust is None or f_scale == 1 else f_scale,
            args=further or None,
            kwargs=keywords or None,
        ),
        options=options,
        started=time.perf_counter(),
    )
    residuals = _scipy.adapted(fun, _scipy.vector, **keywords)
    claims = {"jac": _scipy.adapted(jac, _scipy.matrix, **keywords)}
    with watching(progress, function_name(fun), started=call.started):
        reports = [("", call.check(residuals, (point, *further), claims))]
        if robust is not None:
            z = (np.asarray(residuals(point.copy(), *further), dtype=np.float64) / f_scale) ** 2
            if np.isfinite(z).all():
                reports.append(("loss", _scipy_parts.check_loss(call, robust, z)))
    return _scipy.merged(reports, "jac+loss")


def check_root(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    *,
    jac: Callable[..., Any] | bool,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    progress: Setting = None,
) -> Report:
    """Check the Jacobian that is passed to `scipy.optimize.root` or `fsolve`.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> array_like, shape (n,)``; with ``jac=True`` ``fun(x, *args) -> (value, Jacobian)``.
    x0 : array_like, shape (n,)
        The point.
    args : tuple or any object
        Further arguments of both callables.
    jac : callable or True
        ``jac(x, *args) -> array_like, shape (n, n)``: rows are functions, columns variables.
    rtol, max_bound, confidence, level, rng, progress
        As for `gradproof.check`.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        If an argument does not fit.
    FunctionError, ClaimError
        As `gradproof.check`.

    Examples
    --------
    >>> import numpy as np
    >>> import gradproof.scipy
    >>> def fun(x):
    ...     return [x[0] + 0.5 * (x[0] - x[1]) ** 3 - 1, 0.5 * (x[1] - x[0]) ** 3 + x[1]]
    >>> def jac(x):
    ...     slope = 1.5 * (x[0] - x[1]) ** 2
    ...     return np.array([[1 + slope, -slope], [slope, 1 + slope]])  # wrong on purpose
    >>> report = gradproof.scipy.check_root(fun, [0.0, 2.0], jac=jac)
    >>> [(finding.path, finding.factor) for finding in report.findings]
    [('jac[1, 0]', -1.0)]
    """
    _scipy.require_function(fun)
    point, further = _scipy.variables(np.ravel(x0)), _scipy.positional(args)
    if jac is True:
        value = _scipy.adapted(fun, lambda pair: _scipy.vector(_scipy.part(pair, 0)))
        claim = _scipy.adapted(fun, lambda pair: _scipy.matrix(_scipy.part(pair, 1)))
    else:
        _scipy.require_claim(jac, "jac")
        value, claim = _scipy.adapted(fun, _scipy.vector), _scipy.adapted(jac, _scipy.matrix)  # pyright: ignore[reportArgumentType]
    call = _scipy.Call(
        written=_scipy.written("check_root", fun, "x0", args=further or None, jac=jac),
        options=Options(rtol=rtol, max_bound=max_bound, confidence=confidence, level=level, rng=rng, progress=progress),
        started=time.perf_counter(),
    )
    return call.check(value, (point, *further), {"jac": claim})


def check_constraint(
    constraint: Any,
    x0: Any,
    *,
    bounds: Any = None,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    progress: Setting = None,
) -> Report:
    """Check the derivatives of a constraint of `scipy.optimize.minimize`.

    Parameters
    ----------
    constraint : scipy.optimize.NonlinearConstraint or dict
        With ``fun(x) -> float or array_like, shape (m,)``, ``jac(x)`` -> array_like or sparse matrix, shape (m, n), and
        ``hess(x, v)`` -> array, sparse matrix or `LinearOperator`, shape (n, n): the Hessian of ``v @ fun(x)``. A dict
        has "fun", "jac" and "args", as SLSQP takes them.
    x0 : array_like, shape (n,)
        The point.
    bounds : scipy.optimize.Bounds or sequence of pairs, optional
        As for `check_minimize`.
    rtol, max_bound, confidence, level, rng, progress
        As for `gradproof.check`.

    Returns
    -------
    Report
        `hess` is held against differences of ``jac(x).T @ v``, or second ones of ``v @ fun(x)`` where `jac` is not
        callable, for a random v; what is about it has the label "v @ fun". Where it is wrong, that of every value of
        `fun` is checked alone, as far as there are few, and the label says which is wrong, such as "fun[2]".

    Raises
    ------
    UsageError
        If neither `jac` nor `hess` is callable, or an argument does not fit.
    FunctionError, ClaimError
        As `gradproof.check`.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import NonlinearConstraint
    >>> import gradproof.scipy
    >>> def fun(x):
    ...     return [x[0] ** 2 + x[1], x[0] ** 2 - x[1] ** 2]
    >>> def jac(x):
    ...     return [[2 * x[0], 1], [2 * x[0], -2 * x[1]]]
    >>> def hess(x, v):
    ...     return v[0] * np.array([[2, 0], [0, 0]]) + v[1] * np.array([[2, 0], [0, 2]])  # wrong on purpose
    >>> constraint = NonlinearConstraint(fun, -np.inf, 1, jac=jac, hess=hess)
    >>> report = gradproof.scipy.check_constraint(constraint, [0.5, 1.5])
    >>> [(finding.path, finding.kind) for finding in report.findings]
    [('hess[1, 1]', 'fun[1]: second order: claimed with the wrong sign')]
    """
    fun, jac, hess, further = _scipy_parts.parts_of(constraint)
    point = _scipy.variables(x0)
    options = Options(
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=_scipy.bounds_of_pairs(bounds, point.size),
        rng=draw_seed(rng),
        progress=progress,
    )
    call = _scipy.Call(
        written=f"gradproof.scipy.check_constraint(constraint, x0{'' if bounds is None else ', bounds=bounds'}",
        options=options,
        started=time.perf_counter(),
    )
    value = _scipy.adapted(fun, _scipy.vector)
    reports: list[tuple[str, Report]] = []
    jacobian = _scipy.adapted(jac, _scipy.matrix) if jac is not None else None
    with watching(progress, function_name(fun), started=call.started):
        if jacobian is not None:
            reports.append(("", call.check(value, (point, *further), {"jac": jacobian})))
        if hess is not None:
            reports += _scipy_parts.check_lagrangian(call, value, jacobian, hess, point)
    return _scipy.merged(reports, "hess" if jacobian is None else "jac+hess")


def check_ivp(
    fun: Callable[..., Any],
    t: float,
    y: Any,
    jac: Any,
    *,
    args: Sequence[Any] | None = None,
    vectorized: bool = False,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    progress: Setting = None,
) -> Report:
    """Check the Jacobian that is passed to `scipy.integrate.solve_ivp` with the methods Radau, BDF and LSODA.

    Parameters
    ----------
    fun : callable
        ``fun(t, y, *args) -> array_like, shape (n,)``, the right-hand side.
    t : float
        Where it is checked, such as ``t_span[0]``.
    y : array_like, shape (n,)
        The state, real or complex.
    jac : callable, array_like or sparse matrix
        ``jac(t, y, *args)`` -> array_like or sparse matrix, shape (n, n): element (i, j) is the derivative of f_i by
        y_j. A matrix by itself is a constant Jacobian.
    args : tuple, optional
        Further arguments of both callables.
    vectorized : bool
        As in `solve_ivp`: `fun` takes a state of shape (n, k).
    rtol, max_bound, confidence, level, rng, progress
        As for `gradproof.check`.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        If `jac` is None, with which SciPy approximates it, or an argument does not fit.
    FunctionError, ClaimError
        As `gradproof.check`.

    Examples
    --------
    >>> import gradproof.scipy
    >>> def fun(t, y, mu):
    ...     return [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]
    >>> def jac(t, y, mu):
    ...     return [[0, 1], [-2 * mu * y[0] * y[1] - 1, mu * (1 - y[0] ** 2)]]
    >>> gradproof.scipy.check_ivp(fun, 0.0, [2.0, 0.5], jac, args=(10.0,)).verdict
    <Verdict.CORRECT: 'CORRECT'>
    """
    _scipy.require_function(fun)
    if jac is None or isinstance(jac, str):
        _scipy.require_claim(jac, "jac")
    state, further = _scipy.variables(y, "y", is_complex_allowed=True), () if args is None else tuple(args)
    claim = _scipy.adapted(jac, _scipy.matrix) if callable(jac) else _scipy.matrix(jac)
    value = _scipy.one_column(fun) if vectorized else _scipy.adapted(fun, _scipy.vector)
    call = _scipy.Call(
        written=_scipy.written(
            "check_ivp", fun, "t, y", jac=jac, args=further or None, vectorized=True if vectorized else None
        ),
        options=Options(
            wrt=1, rtol=rtol, max_bound=max_bound, confidence=confidence, level=level, rng=rng, progress=progress
        ),
        started=time.perf_counter(),
    )
    return call.check(value, (float(t), state, *further), {"jac": claim})
