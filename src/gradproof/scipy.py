"""SciPy: the derivatives that its solvers take, checked from the arguments that the solvers take.

SciPy itself is not imported: what its solvers accept is recognised by its attributes.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradproof._ask import _scipy, _scipy_parts
from gradproof._ask._call import explained
from gradproof._ask._check import Options, Seed
from gradproof._base._names import function_name
from gradproof._progress import Setting, watching
from gradproof._report import Report

__all__ = ["check_constraint", "check_ivp", "check_least_squares", "check_minimize", "check_root"]


@explained("gradproof.scipy.check_minimize(fun, x0, jac=jac)")
def check_minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: Any = None,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: Any = None,
    callback: Any = None,
    options: Any = None,
    *,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
    executor: Any = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Setting = None,
) -> Report:
    """Check the derivatives that are passed to `scipy.optimize.minimize`.

    It takes what `minimize` takes: replace the name.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float``, x of shape (n,); with ``jac=True`` ``fun(x, *args) -> (float, gradient)``.
    x0 : array_like, shape (n,)
        The point. As most methods of `minimize` do, it is moved into the bounds where it lies outside, with a note.
    args : tuple or any object
        Further arguments of `fun`, `jac`, `hess` and `hessp`.
    method, tol, callback, options
        Accepted and ignored: they say nothing about derivatives.
    jac : callable or True
        ``jac(x, *args) -> array_like, shape (n,)``, the gradient. Where SciPy is asked to approximate a derivative
        (None, a string, an update strategy such as `BFGS`), there is none to check; what is left out is noted.
    hess : callable, optional
        ``hess(x, *args)`` -> array, sparse matrix or `LinearOperator`, shape (n, n).
    hessp : callable, optional
        ``hessp(x, p, *args) -> ndarray, shape (n,)``, the product of the Hessian with p. As by `minimize`, it is
        ignored beside `hess`.
    bounds : scipy.optimize.Bounds or sequence of pairs, optional
        No evaluation leaves them: at a bound the slope is measured from the inside. A variable that equal bounds hold
        cannot be checked, and is noted.
    constraints : dict, LinearConstraint, NonlinearConstraint, or a list of them
        Checked one by one, as by `check_constraint`; a linear one has no derivative to check.
    rtol, max_bound, confidence, level, rng, budget, timeout, executor, journal, progress
        As for `gradproof.check`.

    Returns
    -------
    Report
        Of all derivatives that are passed: the Hessian is held against differences of the gradient. What is about the
        first constraint has the label "constraints[0]".

    Raises
    ------
    UsageError
        If no derivative is passed that is not approximated by SciPy, or an argument does not fit.
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
    del method, tol, callback, options
    _scipy.require_function(fun)
    further = _scipy.positional(args)
    point, domain, moved = _scipy.start(x0, bounds)
    limits = _scipy_parts.constraints_of(constraints)
    call = _scipy.begun(
        _scipy.written(
            "check_minimize",
            fun,
            "x0",
            args=further or None,
            jac=None if jac is False else jac,
            hess=hess,
            hessp=hessp,
            bounds=bounds,
            constraints=limits or None,
        ),
        options=Options(
            rtol=rtol,
            max_bound=max_bound,
            confidence=confidence,
            level=level,
            domain=domain,
            rng=rng,
            budget=budget,
            timeout=timeout,
            executor=executor,
            journal=journal,
            progress=progress,
        ),
        grad="jac",
        hvp="hessp",
    )
    left_out = _scipy.LeftOut()
    value, claims = _claims_of_minimize(fun, jac, hess, hessp, left_out)
    claimed = [i for i, one in enumerate(limits) if _scipy_parts.is_claimed(one, f"constraints[{i}]", left_out)]
    if not claims and not claimed:
        raise left_out.nothing("jac, hess and hessp")
    reports: list[tuple[str, Report]] = []
    with watching(progress, function_name(fun), started=call.started):
        if claims:
            reports.append(("", call.check(value, (point, *further), claims)))
        for i, one in enumerate(limits):
            if i in claimed:
                part = dataclasses.replace(call, words={}).of(f"constraints[{i}]")
                parts = _scipy_parts.check_parts(part, one, point)
                reports += [(f"constraints[{i}]{label and ', ' + label}", report) for label, report in parts]
    words = [*(call.words.get(keyword, keyword) for keyword in claims), *(["constraints"] if claimed else [])]
    report = dataclasses.replace(_scipy.merged(reports, "+".join(words)), name=function_name(fun))
    return left_out.noted(report, moved)


def _claims_of_minimize(
    fun: Callable[..., Any], jac: Any, hess: Any, hessp: Any, left_out: _scipy.LeftOut
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The value that `minimize` makes small, and the derivatives that it is given."""
    claims: dict[str, Any] = {}
    value = _scipy.Adapted(fun, _scipy.number)
    if jac is True:
        value = _scipy.Adapted(fun, ft.partial(_scipy.part, position=0), _scipy.number)
        claims["grad"] = _scipy.Adapted(fun, ft.partial(_scipy.part, position=1), _scipy.vector)
    elif jac is not False and left_out.is_claim(jac, "jac"):
        claims["grad"] = _scipy.Adapted(jac, _scipy.vector)
    if left_out.is_claim(hess, "hess"):
        claims["hess"] = _scipy.Adapted(hess, _scipy.symmetric)
    if hessp is not None and "hess" in claims:
        left_out.add("hessp", "`minimize` ignores it beside `hess`")
    elif left_out.is_claim(hessp, "hessp"):
        claims["hvp"] = _scipy.vector_first(hessp)
    return value, claims


@explained("gradproof.scipy.check_least_squares(fun, x0, jac=jac)")
def check_least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Any = "2-point",
    bounds: Any = (-np.inf, np.inf),
    method: Any = "trf",
    ftol: Any = 1e-8,
    xtol: Any = 1e-8,
    gtol: Any = 1e-8,
    x_scale: Any = None,
    loss: str | Callable[..., Any] = "linear",
    f_scale: float = 1.0,
    diff_step: Any = None,
    tr_solver: Any = None,
    tr_options: Any = None,
    jac_sparsity: Any = None,
    max_nfev: Any = None,
    verbose: Any = 0,
    args: Any = (),
    kwargs: dict[str, Any] | None = None,
    callback: Any = None,
    workers: Any = None,
    *,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
    executor: Any = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Setting = None,
) -> Report:
    """Check the Jacobian, and a loss function, that are passed to `scipy.optimize.least_squares`.

    It takes what `least_squares` takes: replace the name.

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
    method, ftol, xtol, gtol, x_scale, diff_step, tr_solver, tr_options, jac_sparsity, max_nfev, verbose
        Accepted and ignored: they say nothing about a derivative that is passed.
    callback, workers
        Accepted and ignored.
    rtol, max_bound, confidence, level, rng, budget, timeout, executor, journal, progress
        As for `gradproof.check`.

    Returns
    -------
    Report
        What is about the loss has the label "loss": ``jac['rho'][3]`` is the derivative of rho at z[3], that is
        ``loss(z)[1, 3]``, and ``jac["rho'"][3]`` is ``loss(z)[2, 3]``.

    Raises
    ------
    UsageError
        If `jac` is a string, with which SciPy approximates it, and `loss` is no callable; if an argument does not fit.
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
    del method, ftol, xtol, gtol, x_scale, diff_step, tr_solver, tr_options, jac_sparsity, max_nfev, verbose
    del callback, workers
    _scipy.require_function(fun)
    is_claimed = (left_out := _scipy.LeftOut()).is_claim(jac, "jac")
    point = _scipy.variables(x0).astype(np.float64)
    further, keywords = _scipy.positional(args), kwargs or {}
    robust = loss if callable(loss) else None
    if not is_claimed and robust is None:
        raise left_out.nothing("jac")
    options = Options(
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=_scipy.bounds_of_sides(bounds, point.size),
        rng=rng,
        budget=budget,
        timeout=timeout,
        executor=executor,
        journal=journal,
        progress=progress,
    )
    call = _scipy.begun(
        _scipy.written(
            "check_least_squares",
            fun,
            "x0",
            jac=jac if is_claimed else None,
            bounds=None if options.domain is None else bounds,
            loss=robust,
            f_scale=None if robust is None or f_scale == 1 else f_scale,
            args=further or None,
            kwargs=keywords or None,
        ),
        options=options,
    )
    residuals = _scipy.Adapted(fun, _scipy.vector, **keywords)
    reports: list[tuple[str, Report]] = []
    with watching(progress, function_name(fun), started=call.started):
        if is_claimed:
            claims = {"jac": _scipy.Adapted(jac, _scipy.matrix, **keywords)}
            reports += [("", call.check(residuals, (point, *further), claims))]
        if robust is not None:
            found = call.values(residuals, (point, *further))
            reports += _scipy_parts.check_scaled_loss(call, robust, found, f_scale, is_alone=not reports)
    return left_out.noted(_scipy.merged(reports, "jac+loss" if is_claimed else "loss"))


@explained("gradproof.scipy.check_root(fun, x0, jac=jac)")
def check_root(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: Any = "hybr",
    jac: Any = None,
    tol: Any = None,
    callback: Any = None,
    options: Any = None,
    *,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
    executor: Any = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Setting = None,
) -> Report:
    """Check the Jacobian that is passed to `scipy.optimize.root` or `fsolve`.

    It takes what `root` takes: replace the name.

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
    method, tol, callback
        Accepted and ignored.
    options : dict, optional
        ``{"col_deriv": True}`` says that rows of `jac` are variables, as for the methods "hybr" and "lm"; all others
        are ignored.
    rtol, max_bound, confidence, level, rng, budget, timeout, executor, journal, progress
        As for `gradproof.check`.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        If `jac` is neither callable nor True, or an argument does not fit.
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
    del tol, callback
    _scipy.require_function(fun)
    point, further = _scipy.variables(np.ravel(x0)), _scipy.positional(args)
    by_columns = str(method).lower() in ("hybr", "lm") and bool(dict(options or {}).get("col_deriv"))
    read = _scipy.by_columns if by_columns else _scipy.matrix
    if jac is True:
        value = _scipy.Adapted(fun, ft.partial(_scipy.part, position=0), _scipy.vector)
        claim = _scipy.Adapted(fun, ft.partial(_scipy.part, position=1), read)
    else:
        _scipy.require_claim(jac, "jac")
        value, claim = _scipy.Adapted(fun, _scipy.vector), _scipy.Adapted(jac, read)
    call = _scipy.begun(
        _scipy.written("check_root", fun, "x0", args=further or None, jac=jac, options=options if by_columns else None),
        options=Options(
            rtol=rtol,
            max_bound=max_bound,
            confidence=confidence,
            level=level,
            rng=rng,
            budget=budget,
            timeout=timeout,
            executor=executor,
            journal=journal,
            progress=progress,
        ),
    )
    return call.check(value, (point, *further), {"jac": claim})


@explained("gradproof.scipy.check_constraint(constraint, x)")
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
    budget: float | str | None = None,
    timeout: float | None = None,
    executor: Any = None,
    journal: str | os.PathLike[str] | None = None,
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
    rtol, max_bound, confidence, level, rng, budget, timeout, executor, journal, progress
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
    [('hess[1, 1]', 'fun[1]: second order: claimed -1 times the true entry')]
    """
    fun = _scipy_parts.function_of(constraint)
    point = _scipy.variables(x0)
    options = Options(
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=_scipy.bounds_of_pairs(bounds, point.size),
        rng=rng,
        budget=budget,
        timeout=timeout,
        executor=executor,
        journal=journal,
        progress=progress,
    )
    call = _scipy.begun(
        f"gradproof.scipy.check_constraint(constraint, x0{'' if bounds is None else ', bounds=bounds'}",
        options=options,
    )
    with watching(progress, function_name(fun), started=call.started):
        reports = _scipy_parts.check_parts(call, constraint, point)
    return _scipy.merged(reports, "jac+hess" if not reports[0][0] else "hess")


@explained("gradproof.scipy.check_ivp(fun, t_span, y0, jac=jac)")
def check_ivp(
    fun: Callable[..., Any],
    t_span: Any,
    y0: Any,
    method: Any = "RK45",
    t_eval: Any = None,
    dense_output: Any = False,
    events: Any = None,
    vectorized: bool = False,
    args: Sequence[Any] | None = None,
    *,
    jac: Any = None,
    lband: int | None = None,
    uband: int | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
    executor: Any = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Setting = None,
    **options: Any,
) -> Report:
    """Check the Jacobian that is passed to `scipy.integrate.solve_ivp` with the methods Radau, BDF and LSODA.

    It takes what `solve_ivp` takes: replace the name.

    Parameters
    ----------
    fun : callable
        ``fun(t, y, *args) -> array_like, shape (n,)``, the right-hand side.
    t_span : pair of floats or float
        The Jacobian is checked at the start, ``t_span[0]``, or at the time that is given alone.
    y0 : array_like, shape (n,)
        The state there, real or complex.
    method, t_eval, dense_output, events
        Accepted and ignored.
    jac : callable, array_like or sparse matrix
        ``jac(t, y, *args)`` -> array_like or sparse matrix, shape (n, n): element (i, j) is the derivative of f_i by
        y_j. A matrix by itself is a constant Jacobian.
    args : tuple, optional
        Further arguments of both callables.
    vectorized : bool
        As in `solve_ivp`: `fun` takes a state of shape (n, k).
    lband, uband : int, optional
        As in `solve_ivp`: `jac` returns its bands, ``bands[uband + i - j, j] = jac[i, j]``, and all else is 0.
    **options
        All other options of the solvers, such as `rtol`, `atol` and `max_step`, are accepted and ignored. (`rtol` is
        the solver's here; that of the check is derived.)
    max_bound, confidence, level, rng, budget, timeout, executor, journal, progress
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
    >>> gradproof.scipy.check_ivp(fun, (0, 20), [2.0, 0.5], "BDF", jac=jac, args=(10.0,), rtol=1e-6).verdict
    <Verdict.CORRECT: 'CORRECT'>
    """
    del method, t_eval, dense_output, events, options
    _scipy.require_function(fun)
    if jac is None or isinstance(jac, str):
        _scipy.require_claim(jac, "jac")
    state, further = _scipy.variables(y0, "y0", is_complex_allowed=True), () if args is None else tuple(args)
    read = _scipy.matrix
    if lband is not None or uband is not None:
        read = ft.partial(_scipy.unpacked, lower=lband or 0, upper=uband or 0)
    claim = _scipy.Adapted(jac, read) if callable(jac) else read(jac)
    value = _scipy.OneColumn(fun) if vectorized else _scipy.Adapted(fun, _scipy.vector)
    call = _scipy.begun(
        _scipy.written(
            "check_ivp",
            fun,
            "t_span, y0",
            vectorized=True if vectorized else None,
            args=further or None,
            jac=jac,
            lband=lband,
            uband=uband,
        ),
        options=Options(
            wrt=1,
            max_bound=max_bound,
            confidence=confidence,
            level=level,
            rng=rng,
            budget=budget,
            timeout=timeout,
            executor=executor,
            journal=journal,
            progress=progress,
        ),
    )
    start = float(np.ravel(t_span)[0])
    return call.check(value, (start, state, *further), {"jac": claim})
