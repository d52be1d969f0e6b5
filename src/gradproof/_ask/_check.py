"""The front door: validate, build the Problem, prove, return the Report."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools as ft
import inspect
import math
import os
import platform
import time
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

from gradproof import _backends
from gradproof._ask._call import explained, require_gradient, unknown_options
from gradproof._ask._evaluating import Evaluation, evaluating
from gradproof._ask._missing import no_claim
from gradproof._base._advice import foreign
from gradproof._base._clock import within
from gradproof._base._errors import ClaimError, FunctionError, GradproofWarning, UsageError
from gradproof._base._names import argument_names, function_name, function_source, positions, printable, type_name
from gradproof._base._sources import SourceLine, calling_line, definitions
from gradproof._base._tree import is_number
from gradproof._function import _conditions
from gradproof._progress import Setting, watching
from gradproof._report import (
    Cost,
    GradientError,
    ModeResult,
    Report,
    Run,
    Severity,
    Verdict,
    install_view,
)

if TYPE_CHECKING:
    # At run time they come with the first check: most of our import time.
    from gradproof import _claims, _prove
    from gradproof._function._primal import Primal
    from gradproof._run._journal import Journal

Tree: TypeAlias = Any  # nested lists, tuples, dicts, ... of floats and arrays
Claim: TypeAlias = Callable[..., Tree] | Tree
Contracts: TypeAlias = str | Sequence[str]  # "default", "all", "none", or ids
Seed: TypeAlias = "int | np.random.Generator | None"  # in quotes: numpy.random is slow to import
Result = TypeVar("Result")

_WEIGHT = {Severity.ERROR: 0, Severity.DOUBT: 1, Severity.NOTE: 2}


def _text(report: Report) -> str:
    from gradproof import _render

    return _render.report_text(report)


def _html(report: Report) -> str:
    from gradproof import _render

    return _render.report_html(report)


def _notebook(report: Report) -> str:
    from gradproof import _render

    return _render.notebook_html(report)


install_view("text", _text)
install_view("html", _html)
install_view("notebook", _notebook)


@explained("gradproof.check(f, x, grad=df)")
def check(
    f: Callable[..., Any],
    args: Any,
    *,
    grad: Claim | None = None,
    jac: Claim | None = None,
    vjp: Callable[..., Tree] | None = None,
    jvp: Callable[..., Tree] | None = None,
    hess: Claim | None = None,
    hvp: Callable[..., Tree] | None = None,
    wrt: int | tuple[int, ...] | None = None,
    order: int = 1,
    modes: tuple[str, ...] | str | None = None,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    domain: Any = None,
    reference: Callable[..., Any] | None = None,
    vectorized: bool = False,
    elementwise: bool = False,
    contracts: Contracts = "default",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
    executor: Any = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Setting = None,
    name: str | None = None,
) -> Report:
    """Check whether a claimed derivative is the derivative of a function.

    f is evaluated around the point along random directions v through all differentiated arrays; the slopes of
    ``phi(t) = f(x + t v)``, each with an error bar, are compared with ``<grad, v>``. The number of evaluations does
    not grow with the number of parameters. Every other claim is reduced to such proofs: `jac`, `vjp` and `jvp` to
    the slopes of all outputs, or those of ``<u, f(x)>`` for random u, `hess` and `hvp` to those of ``grad(x)``.

    Without a claim, `args` must hold tensors of PyTorch or arrays of JAX, and what its own autodiff returns for f is
    the claim: a function, a module, an `autograd.Function` or another rule, with outputs of any structure.

    Pass one claim of the first order (`grad`, `jac`, `vjp` or `jvp`), one of the second (`hess` or `hvp`), or both:
    then the first is proved, and the second is checked against differences of it. A second-order claim alone is
    checked against second differences of f, whose error bars are wider.

    Parameters
    ----------
    f : callable
        ``f(*args) -> scalar``: a real number, a NumPy scalar or an array of shape ``()``. With `jac`, `vjp` or `jvp`
        also an array of any shape, real or complex, or a tree of such.
    args : tuple or any tree
        The point. Exactly a tuple means positional arguments; everything else, namedtuples too, is the one argument.
        Differentiated arguments are numbers or arrays of float16, float32, float64, complex64 or complex128 of any
        shape, in any nesting of lists, tuples, dicts and containers registered with optree; all others pass through. f
        receives copies of the same kind: none of your arrays is ever handed out.
    grad : callable or tree, optional
        ``grad(*args)`` or its value: the structure of the differentiated argument, a gradient in the shape of each
        leaf. Keys may be in any order.
    jac : callable or tree, optional
        ``jac(*args)`` or its value: the structure of what f returns, and within it that of the differentiated
        argument; arrays of shape ``f(x).shape + leaf.shape``, or (entries of the output, entries of the leaf). For one
        array argument also a sparse matrix (with ``shape`` and ``toarray``) or a linear operator (with ``shape``,
        ``matvec`` and ``rmatvec``), as SciPy has them: entries missing from the declared pattern are named.
    vjp : callable, optional
        ``vjp(cotangent, *args)``, the cotangent in the structure of what f returns, the result in that of the
        differentiated argument.
    jvp : callable, optional
        ``jvp(tangents, *args)``, the tangents in the structure of the differentiated argument, the result in that of
        what f returns.
    hess : callable or tree, optional
        ``hess(*args)`` or its value: ``leaf.shape + leaf.shape`` for one array argument, (n, n) is accepted; for a
        tree a tree of trees. f returns a scalar, and no argument is complex.
    hvp : callable, optional
        ``hvp(vector, *args)``; vector and result in the structure of the differentiated argument. f returns a scalar.
    wrt : int or tuple of int, optional
        Which arguments are differentiated; None is argument 0. With a tuple the claim is a tuple, too. Without a claim,
        None takes all tensors that require grad, or all floating ones if none does; of JAX all floating arrays.
    order : {1, 2}
        Without a claim: whether the second derivatives that the framework computes are checked, too.
    modes : tuple of str, or "available", optional
        Without a claim: which of ``"rev"``, ``"fwd"``, ``"rev-rev"``, ``"fwd-rev"`` (forward over reverse),
        ``"rev-fwd"`` and ``"fwd-fwd"`` are checked. None takes all of `order`; those that do not exist for f, or
        fail, are listed in ``report.modes`` as not available, with the reason. A mode that is named must exist;
        "available" means those that do, as None does where it is the default.
    rtol : float, optional
        Smallest error worth an accusation, relative to the norm of the leaf's own gradient. None derives it from the
        precision that f shows.
    max_bound : float, optional
        Largest certified bound on the same relative error that may be called CORRECT. None is 1e-2 in float64, 5e-2
        in lower precision.
    confidence : float
        Of the bounds, over the choice of directions, as long as the error bars hold.
    level : {"certificate", "entries"}
        "entries" measures every entry by itself, each with its own bar. For a gradient, and every column of a Jacobian,
        that takes two evaluations or more, for an entry of a `hess` or `hvp` alone some 14. A `vjp` is called once for
        every output then, a `jvp` once for every input. By default only few entries are measured so.
        (Without a claim, of Jacobians with up to 10,000,000 entries.)
    domain : tuple (lower, upper), optional
        Bounds that no evaluation may leave; each side None, a number, or arrays in the structure of the differentiated
        argument that broadcast to its leaves (None where there is no bound, as for complex ones). At a bound the slope
        is measured from the inside. Without a claim, and with several arguments, a side is a tuple with a member for
        each argument, or for each that `wrt` names; a number or None there is for all arrays of the argument.
    reference : callable, optional
        ``reference(*args)``: the same function, computed more precisely (differentiated arrays come in float64). Where
        differences of f have too wide a bar, those of the reference may narrow it, if the two agree; WRONG always rests
        on f itself. It says nothing of a `hess` or `hvp` beside a first-order claim, nor of second-order modes: these
        rest on the first order. Without a claim all floating arrays come in float64, and what it returns may be
        tensors, arrays or numbers. Without a claim, and if f takes, returns or computes 16-bit numbers, f is compared
        with it as by `gradproof.torch.compare_with_reference` instead; not so with options that ask for differences:
        `rtol`, `domain`, `level`, `order`, `modes`, `budget`, `timeout`, and `contracts` other than "default" or
        "none".
    vectorized : bool
        With a claim: whether f takes many points in one call. Then every array and number of the differentiated
        arguments comes with a leading axis of k points, and whatever f returns must have the same leading axis: shape
        (k,) for a scalar f. All other arguments come as they are; the claim and `reference` get one point, without the
        axis.
    elementwise : bool
        With `jac`: f maps an array entry by entry, as an activation, a link function or a potential does, and `jac` is
        f'(x), ``jac(*args)`` or its value, of the shape of x. Every entry is judged by itself, whatever the size of the
        others; the evaluations are shared, so that their number does not grow with x. An f whose entries mix is an
        error.
    contracts : {"default", "all", "none"} or sequence of str
        What else must hold besides the numbers, by the ids on the page "Contracts" of the documentation. By default a
        callable claim is called twice, right after f at the point, and both answers are compared; and every
        `torch.autograd.Function` and custom operator is run in three backward passes that show whether it depends on
        the layout of its cotangent, on fresh memory or on the last forward, and what it changes. "all" tests every
        contract, a list of ids such as ``["GP217"]`` only these, and "none" no contract, as for an adjoint that takes
        minutes. A claim that is a value is never called: with one, the option is an error.
    rng : int or numpy.random.Generator, optional
        Seed of the directions. None draws one from the system; ``rng=report.seed`` replays the check. The global
        random state is neither read nor changed.
    budget : int or str, optional
        What the check may take: a number of evaluations of f (and of a callable gradient that is differentiated
        again), or a time, ``"30 s"``, ``"5 min"`` or ``"2 h"``. What it has proved by then stands; the rest is
        INCONCLUSIVE, with the reason ``"budget"``. An evaluation that runs when the time is up is ended if `timeout`
        could end it.
    timeout : float, optional
        Seconds that one evaluation of f may take. One that takes longer is ended. Away from the point, f then counts as
        undefined there; at the point, it is a FunctionError. Without `executor` a signal ends the evaluation, which
        works in the main thread and not on Windows; compiled code ends only once it returns to Python. If no
        evaluation can be ended, a GradproofWarning says so.
    executor : concurrent.futures.Executor, optional
        With a claim: who evaluates f, such as a `ProcessPoolExecutor`, loky's `get_reusable_executor()` or dask's
        ``client.get_executor()``. Evaluations that do not depend on each other run at the same time, and the report is
        the same as without. f must work in the workers, with copies of its arguments; the claim is called in this
        process. If a worker is killed, another one does its work. If every worker that evaluates f at some point ends,
        f counts as undefined there.
    journal : path, optional
        With a claim: a file (SQLite) that keeps each finished evaluation of f. If a check was killed, at whatever
        moment, the same check with the same journal goes on from there, evaluates nothing twice, and ends with the same
        report; with ``rng=None`` it uses the journal's seed. The claim must not rely on a call of f right before. What
        it returned is kept as well, and used again while its code and all that this reaches are what they were. A claim
        that reaches more than Python, NumPy and SciPy (a file, a clock, random numbers, another program, compiled code,
        a framework) is called again, and so is one that returns sparse matrices or operators. A journal of another
        point, seed, code of f or version of gradproof is a UsageError. If the disk is full, a GradproofWarning says so,
        and the check goes on without the journal.
    progress : bool or callable, optional
        None shows a line on stderr (evaluations, time, what is looked at) while a check takes longer than a second, if
        stderr is a terminal, and removes it in the end; there is none in CI, in pytest and in worker processes. False
        never does. True does from the start; where stderr is no terminal, it gets a line of its own every ten seconds.
        ``progress(event)`` is called with a `Progress` at most ten times a second, and once in the end.
    name : str, optional
        Shown in the report; the name of f by default.

    Returns
    -------
    Report
        The verdict with its evidence; a wrong gradient is reported, not raised.

    Raises
    ------
    UsageError
        If an argument cannot be used, for example an integer array among the differentiated ones, or two claims of
        the same order.
    FunctionError
        If f raises at the point, or returns something that is no real number.
    ClaimError
        If the callable claim raises.

    Notes
    -----
    The error bars assume that f is smooth along most lines near the point; kinks, noise and jumps are measured and
    widen them. What cannot be told is INCONCLUSIVE.

    With respect to a complex array z = x + iy, the gradient of a real f is ``df/dx + i df/dy``, as PyTorch's
    ``.grad``: `jax.grad` gives its conjugate, the Wirtinger derivatives df/dz and df/d conj(z) are halves.
    ``vjp(u)`` is the gradient, in that sense, of ``Re(conj(u) f)``; ``jvp(v)`` is the derivative along v; `jac`
    between complex arrays is the complex derivative of a holomorphic f, ``df = J dz``, and its rows are gradients
    where an output is real. Real and imaginary parts are leaves of their own in the report. A claim that follows
    another convention is WRONG and named so.

    Like `scipy.optimize.check_grad` or `jax.test_util.check_grads`,
    but with an error bar on the reference and a verdict instead of a number or a fixed tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> import gradproof
    >>> f = lambda x: np.sum(np.sin(x))
    >>> report = gradproof.check(f, np.array([0.5, 1.0, 2.0]), grad=np.cos)
    >>> report.verdict
    <Verdict.CORRECT: 'CORRECT'>

    A claim may also be given as its value, and a wrong one is named:

    >>> f = lambda p: np.sum(np.sin(p["w"])) * p["scale"]
    >>> point = {"w": np.array([0.5, 1.0, 2.0]), "scale": 3.0}
    >>> claimed = {"w": 3.0 * np.cos(point["w"]), "scale": 2 * np.sin(point["w"]).sum()}
    >>> report = gradproof.check(f, point, grad=claimed, rng=0)
    >>> report.verdict
    <Verdict.WRONG: 'WRONG'>
    >>> [(leaf.path, leaf.verdict.value) for leaf in report.leaves]
    [("p['w']", 'CORRECT'), ("p['scale']", 'WRONG')]

    The Jacobian of a function with several outputs, with one wrong entry:

    >>> residuals = lambda x: np.array([x[0] ** 2 - x[1], 10 * x[0], x[1] ** 3])
    >>> jac = lambda x: np.array([[2 * x[0], -1.0], [10.0, 0.0], [0.0, 3 * x[1]]])
    >>> report = gradproof.check(residuals, np.array([2.0, 5.0]), jac=jac, rng=0)
    >>> [(finding.path, finding.claimed, round(finding.reference, 6)) for finding in report.findings]
    [('jac[2, 1]', 15.0, 75.0)]

    An activation, whose derivative is claimed entry by entry:

    >>> softplus = lambda x: np.log1p(np.exp(x))
    >>> slope = lambda x: np.where(x > 2, 1.0, 1 / (1 + np.exp(-x)))
    >>> report = gradproof.check(softplus, np.linspace(-4, 4, 17), jac=slope, elementwise=True, rng=0)
    >>> [(finding.path, finding.place) for finding in report.findings]
    [('x', 'where x > 2 (4 of 17 entries)')]
    """
    claims = _given(grad=grad, jac=jac, vjp=vjp, jvp=jvp, hess=hess, hvp=hvp)
    options = Options(
        wrt=wrt,
        order=order,
        modes=modes,
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=domain,
        reference=reference,
        vectorized=vectorized,
        elementwise=elementwise,
        contracts=contracts,
        rng=rng,
        budget=budget,
        timeout=timeout,
        executor=executor,
        journal=journal,
        progress=progress,
    )
    return _check(f, args, claims, options, name)


@explained("gradproof.assert_grad(f, x, grad=df)")
def assert_grad(
    f: Callable[..., Any],
    args: Any,
    *,
    grad: Claim | None = None,
    jac: Claim | None = None,
    vjp: Callable[..., Tree] | None = None,
    jvp: Callable[..., Tree] | None = None,
    hess: Claim | None = None,
    hvp: Callable[..., Tree] | None = None,
    wrt: int | tuple[int, ...] | None = None,
    order: int = 1,
    modes: tuple[str, ...] | str | None = None,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    domain: Any = None,
    reference: Callable[..., Any] | None = None,
    vectorized: bool = False,
    elementwise: bool = False,
    contracts: Contracts = "default",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
    executor: Any = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Setting = None,
    name: str | None = None,
) -> Report:
    """Check a claimed derivative as `check` does, and raise unless it is right.

    Parameters
    ----------
    f, args, grad, jac, vjp, jvp, hess, hvp, wrt, order, modes, rtol, max_bound
        As for `check`.
    confidence, level, domain, reference, vectorized, elementwise, contracts, rng
        As for `check`.
    budget, timeout, executor, journal, progress, name
        As for `check`.

    Returns
    -------
    Report
        Of verdict CORRECT, or NOT_DIFFERENTIABLE with a `GradproofWarning` that names the leaves.

    Raises
    ------
    GradientError
        If the verdict is WRONG or INCONCLUSIVE; an AssertionError that carries the `report`.
    UsageError, FunctionError, ClaimError
        As `check`.

    Examples
    --------
    >>> import gradproof
    >>> gradproof.assert_grad(lambda x: x**3, 2.0, grad=lambda x: 3 * x**2).correct
    True
    """
    __tracebackhide__ = True
    claims = _given(grad=grad, jac=jac, vjp=vjp, jvp=jvp, hess=hess, hvp=hvp)
    report = check(
        f,
        args,
        **claims,
        wrt=wrt,
        order=order,
        modes=modes,
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        domain=domain,
        reference=reference,
        vectorized=vectorized,
        elementwise=elementwise,
        contracts=contracts,
        rng=rng,
        budget=budget,
        timeout=timeout,
        executor=executor,
        journal=journal,
        progress=progress,
        name=name,
    )
    require_right(report, stacklevel=4)  # past the frame of `explained`
    return report


def require_right(report: Report, *, stacklevel: int) -> None:
    """Raise GradientError if the report is WRONG or INCONCLUSIVE, and warn if it is NOT_DIFFERENTIABLE."""
    __tracebackhide__ = True
    if report.verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE):
        raise GradientError(report)
    if report.verdict is Verdict.NOT_DIFFERENTIABLE:
        kinked = [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.NOT_DIFFERENTIABLE]
        warnings.warn(
            f"`{printable(report.name)}` is not differentiable at this point in {printable(', '.join(kinked))}; "
            "the claim is a valid subgradient there.",
            GradproofWarning,
            stacklevel=stacklevel,
        )


class Case:
    """A check that can be named, collected and run later.

    Parameters
    ----------
    f, args
        As for `check`.
    name : str, optional
        Shown in reports; the name of f by default.
    **options
        The claim and the options of `check`.

    Attributes
    ----------
    f : callable
    args : any
    name : str or None
    options : mapping of str to object

    Raises
    ------
    UsageError
        If an option is unknown or no claim is given.

    Examples
    --------
    >>> import gradproof
    >>> case = gradproof.Case(lambda x: x**2, 3.0, grad=lambda x: 2 * x, name="square")
    >>> case.check().correct
    True
    """

    __slots__ = ("_sources", "args", "f", "name", "options")

    f: Callable[..., Any]
    args: Any
    name: str | None
    options: Mapping[str, Any]
    _sources: tuple[SourceLine, ...]

    @explained("gradproof.Case(f, x, grad=df)")
    def __init__(self, f: Callable[..., Any], args: Any, *, name: str | None = None, **options: Any) -> None:
        _require_options(options, f, args)
        frozen = types.MappingProxyType(options)
        values = {"f": f, "args": args, "name": name, "options": frozen, "_sources": calling_line()}
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    def check(self, **overrides: Any) -> Report:
        """Run the check, with some options replaced; return its Report."""
        merged: dict[str, Any] = {**self.options, **overrides}
        _require_options(merged, self.f, self.args)
        from gradproof import _claims

        name = merged.pop("name", self.name)
        claims = {keyword: merged.pop(keyword) for keyword in _claims.KEYWORDS if keyword in merged}
        report = _check(self.f, self.args, _given(**claims), Options(**merged), name)
        return dataclasses.replace(report, sources=(*report.sources, *self._sources))

    def __reduce__(self) -> tuple[Any, ...]:
        return _case, (self.f, self.args, self.name, dict(self.options))

    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        return f"Case({self.name or function_name(self.f)!r}, {', '.join(self.options)})"


def _case(f: Callable[..., Any], args: Any, name: str | None, options: dict[str, Any]) -> Case:
    return Case(f, args, name=name, **options)


def _require_options(options: Mapping[str, Any], f: Any, args: Any) -> None:
    known = [name for name, parameter in _PARAMETERS.items() if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UsageError(unknown_options("check", unknown, known))
    require_gradient(options)
    from gradproof import _claims

    claims = {keyword: None for keyword in _claims.KEYWORDS if options.get(keyword) is not None}
    if claims:
        _claims.require_claims(claims)
    elif not _backends.has_autodiff(args):
        raise no_claim(f, args)


def _given(**claims: Claim | None) -> dict[str, Any]:
    """The claims that were passed."""
    return {keyword: claim for keyword, claim in claims.items() if claim is not None}


_PARAMETERS = inspect.signature(check).parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What `check` was asked besides f, args and the claim."""

    wrt: int | tuple[int, ...] | None = None
    order: int = 1
    modes: tuple[str, ...] | str | None = None
    rtol: float | None = None
    max_bound: float | None = None
    confidence: float = 1 - 1e-6
    level: str = "certificate"
    domain: Any = None
    reference: Callable[..., Any] | None = None
    vectorized: bool = False
    elementwise: bool = False
    contracts: Contracts = "default"
    # Contracts that whoever asks holds by himself.
    held_apart: tuple[str, ...] = ()
    # Which of several checks of one call this is: a journal keeps each by itself.
    part: str = ""
    rng: Seed = None
    budget: float | str | None = None
    timeout: float | None = None
    executor: Any = None
    journal: str | os.PathLike[str] | None = None
    progress: Setting = None

    def __post_init__(self) -> None:
        for name in ("rtol", "max_bound"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 < value < math.inf):
                raise UsageError(f"`{name}` must be a positive number or None, got {value!r}.")
        if not (is_number(self.confidence) and 0 < self.confidence < 1):
            raise UsageError(f"`confidence` must lie between 0 and 1, got {self.confidence!r}.")
        if self.level not in ("certificate", "entries"):
            raise UsageError(f'`level` must be "certificate" or "entries", got {self.level!r}.')
        if not isinstance(cast("object", self.vectorized), bool):
            raise UsageError(f"`vectorized` must be True or False, got {self.vectorized!r}.")
        if not isinstance(cast("object", self.elementwise), bool):
            raise UsageError(f"`elementwise` must be True or False, got {self.elementwise!r}.")
        if self.contracts not in ("default", "none", "all"):
            from gradproof import _contracts

            _contracts.require_known(self.contracts)
        if self.reference is not None and not callable(self.reference):
            raise UsageError(f"`reference` must be callable, got {type(self.reference).__name__}.")
        _conditions.read_budget(self.budget)
        if self.timeout is not None and not (is_number(self.timeout) and 0 < self.timeout < math.inf):
            raise UsageError(f"`timeout` must be a positive number of seconds or None, got {self.timeout!r}.")
        if self.executor is not None:
            from gradproof._run._executor import require_executor

            require_executor(self.executor)
        if self.journal is not None and not isinstance(cast("object", self.journal), (str, os.PathLike)):
            raise UsageError(f"`journal` must be a path or None, got {type(self.journal).__name__}.")
        if not (self.progress is None or isinstance(self.progress, bool) or callable(cast("object", self.progress))):
            raise UsageError(f"`progress` must be True, False, None or callable, got {self.progress!r}.")

    def require_no_modes(self) -> None:
        """Raise UsageError where an option is set that only a framework's autodiff takes."""
        if self.order != 1 or self.modes is not None:
            raise UsageError(
                "`order` and `modes` are for a framework's own autodiff: pass no claim, or leave them out."
            )

    def require_calls(self, is_value: Mapping[str, bool]) -> None:
        """Raise UsageError where a second call is to be left out, and there is not even a first one."""
        if self.contracts != "default" and all(is_value.values()):
            words = " and ".join(f"`{keyword}`" for keyword in is_value)
            raise UsageError(
                f"`contracts` are tested by calling the claim, but {words} is passed as a value: leave `contracts` out."
            )

    def require_jac(self, claims: Mapping[str, Any]) -> None:
        """Raise UsageError where a derivative entry by entry is asked for, and something else is claimed."""
        if self.elementwise and set(claims) != {"jac"}:
            passed = ", ".join(f"`{keyword}`" for keyword in claims) or "no claim"
            raise UsageError(f"`elementwise` is for the derivative as `jac`, of the shape of x; got {passed}.")
        if self.elementwise and self.vectorized:
            raise UsageError("`elementwise` moves all entries in one call already: leave `vectorized` out.")

    def require_not_vectorized(self) -> None:
        """Raise UsageError where f is said to take many points, or is sent away, although a framework evaluates it."""
        for option in ("executor", "journal"):
            if getattr(self, option) is not None:
                raise UsageError(
                    f"`{option}` needs a claim: a framework's own derivatives are computed in this process and not "
                    f"kept. Leave `{option}` out, or pass the gradient as `grad=`."
                )
        if self.vectorized:
            raise UsageError(
                "`vectorized` is for a claim: what a framework's own autodiff says is about f of one point, which is "
                "batched by the framework itself where it can be."
            )

    def engine(self, seed: int) -> _prove.Options:
        from gradproof import _prove

        return _prove.Options(
            rtol=None if self.rtol is None else float(self.rtol),
            max_bound=None if self.max_bound is None else float(self.max_bound),
            confidence=float(self.confidence),
            seed=seed,
            level=self.level,
            repeats=self.contracts in ("default", "all") or "GP213" in self.contracts,
        )

    def evaluating(
        self, f: Callable[..., Any] | None, budget: _conditions.Budget, journal: Journal | None = None
    ) -> contextlib.AbstractContextManager[Evaluation]:
        """The context in which f, or what a framework makes of it (None), is evaluated as the options say."""
        return evaluating(f, budget=budget, timeout=self.timeout, executor=self.executor, journal=journal)

    def first_look(self, name: str, look: Callable[[], Result]) -> Result:
        """Return ``look()``, which evaluates f (`name`) at the point before the check does, within `timeout`.

        Raises
        ------
        FunctionError
            If that has passed.
        """
        try:
            return within(math.inf if self.timeout is None else float(self.timeout), look)
        except TimeoutError as error:
            raise FunctionError(f"`{name}` raised TimeoutError at the point itself: {error}") from error

    def seeded(self) -> Options:
        """The same with a seed, which all checks of one call have in common: that of the journal, if there is one."""
        if self.journal is None:
            return dataclasses.replace(self, rng=draw_seed(self.rng))
        from gradproof._run._journal import Journal

        journal = Journal(os.fspath(self.journal))
        journal.close()
        return dataclasses.replace(self, rng=draw_seed(journal.seed if self.rng is None else self.rng))

    def begun(self, f: Callable[..., Any], args: Any) -> tuple[int, Journal | None]:
        """The seed, and the journal of this check, if there is to be one."""
        if self.journal is None:
            return draw_seed(self.rng), None
        from gradproof._run._journal import Journal

        journal = Journal(os.fspath(self.journal))
        try:
            seed = draw_seed(journal.seed if self.rng is None else self.rng)
            journal.of_check(
                f,
                args if type(args) is tuple else (args,),
                name=function_name(f),
                seed=seed,
                version=installed_version(),
                part=self.part,
                timeout=math.inf if self.timeout is None else float(self.timeout),
            )
        except BaseException:
            journal.close()
            raise
        return seed, journal

    def written(self, modes: tuple[str, ...] | None = None) -> str:
        """The options that are not default, as Python source; what has no short source goes by its own name."""
        plain = (
            "wrt",
            "order",
            "modes",
            "rtol",
            "max_bound",
            "confidence",
            "level",
            "vectorized",
            "elementwise",
            "contracts",
            "budget",
            "timeout",
        )
        fields = {field.name: field.default for field in dataclasses.fields(self)} | {"modes": modes}
        written = [f", {name}={getattr(self, name)!r}" for name in plain if getattr(self, name) != fields[name]]
        named = [f", {name}={name}" for name in ("domain", "reference") if getattr(self, name) is not None]
        return "".join(written + named)


def draw_seed(rng: Any) -> int:
    """Return the seed that `rng` stands for; None takes 32 bits from the system, short enough to read."""
    if rng is None:
        return int.from_bytes(os.urandom(4), "little")
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**32))
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
        return int(cast("int", rng))
    raise UsageError(f"`rng` must be a seed (an int, not negative), a numpy.random.Generator or None, got {rng!r}.")


def _check(f: Callable[..., Any], args: Any, claims: Mapping[str, Any], options: Options, name: str | None) -> Report:
    started = time.perf_counter()
    if name is not None and not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"`name` must be a str or None, got {type(name).__name__}.")
    _require_function(f, args)
    keeper = _backends.keeper(f, args)
    with keeper, keeper:
        if not claims and not _backends.has_autodiff(args):
            raise no_claim(f, args)
        if claims:
            return check_claims(f, args, claims, options, name=name, called=None, started=started)
        options.require_not_vectorized()
        options.require_jac(claims)
        if options.wrt is not None:
            count = len(cast("tuple[Any, ...]", args)) if type(args) is tuple else 1
            positions(options.wrt, argument_names(f, count))
        autodiff = options.first_look(function_name(f), lambda: _backends.autodiff(f, args, options.wrt, keeper))
        domain = None
        if options.domain is not None:
            from gradproof._function._bounds import array_by_array

            domain = array_by_array(autodiff, options.domain, args, options.wrt)
        sides = against_reference(autodiff, options)
        if sides is not None:
            called = f"gradproof.check({function_source(f, 'f')}, args{options.written()}"
            return check_against(
                sides,
                name=name or function_name(f),
                claim=autodiff.claim,
                options=options,
                called=called,
                started=started,
                sources=definitions(f),
            )
        try:
            return check_autodiff(
                autodiff,
                options,
                domain=domain,
                name=name or function_name(f),
                called=f"gradproof.check({function_source(f, 'f')}, args",
                started=started,
                sources=definitions(f),
            )
        except ClaimError as error:
            said = foreign(f, zip(autodiff.function.names, autodiff.function.arguments, strict=True), function_name(f))
            raise (ClaimError(f"{error} {said}, with a claim of its gradient.") if said else error) from error.__cause__


def _require_function(f: Any, args: Any) -> None:
    """Raise UsageError if f is none, which it may be because the arguments are swapped."""
    if callable(f):
        return
    source = function_source(args, "f") if callable(args) else ""
    swapped = f": the function comes first, then the point (`gradproof.check({source}, x, ...)`)"
    called = ": pass the function itself, not what it returns" if is_number(f) or _backends.is_array(f) else ""
    raise UsageError(f"`f` must be callable, got {type_name(f)}{swapped if source else called}.")


def check_claims(
    f: Callable[..., Any],
    args: Any,
    claims: Mapping[str, Any],
    options: Options,
    *,
    name: str | None,
    called: str | None,
    started: float,
    names: Sequence[str] | None = None,
    budget: _conditions.Budget | None = None,
) -> Report:
    """Check what the user claims.

    Parameters
    ----------
    f, args, claims, options
        As for `check`, the claims by keyword.
    name : str or None
        In the report; that of f by default.
    called : str or None
        The call that runs the check again, up to its options; it names `domain` and `wrt` itself. None is that of
        `check`.
    started : float
        When it began, by `time.perf_counter`.
    names : sequence of str, optional
        Of the arguments, as Python source; f's own by default.
    budget : Budget, optional
        What is left to this one of several checks; that of `options` by default.
    """
    from gradproof import _claims, _contracts
    from gradproof._function._bounds import held, left_out

    _claims.require_claims(claims)
    ids = _contracts.chosen(options.contracts, tuple(claims))
    options.require_no_modes()
    options.require_jac(claims)
    seed, journal = options.begun(f, args)
    budget = _conditions.Budget(options.budget, started) if budget is None else budget

    def reproduce(primal: Primal, is_value: Mapping[str, bool]) -> str:
        options.require_calls(is_value)
        if called is not None:
            return f"{called}{dataclasses.replace(options, wrt=None, domain=None).written()}, rng={seed})"
        sources = {
            keyword: keyword if is_value[keyword] else function_source(claim, keyword)
            for keyword, claim in claims.items()
        }
        written = ", ".join(f"{keyword}={source}" for keyword, source in sources.items())
        return f"gradproof.check({function_source(f, 'f')}, args, {written}{options.written()}, rng={seed})"

    with (
        watching(options.progress, name or function_name(f), started=started),
        options.evaluating(f, budget, journal) as evaluation,
    ):
        result = _claims.prove_claims(
            f,
            args,
            _kept(claims, journal),
            wrt=options.wrt,
            name=name,
            options=options.engine(seed),
            surroundings=_claims.Surroundings(domain=options.domain, reference=options.reference),
            vectorized=options.vectorized,
            reproduce=reproduce,
            names=names,
            elementwise=options.elementwise,
        )
    if ids - {"GP213"}:
        from gradproof._claims._hold_calls import hold_claims

        broken = hold_claims(f, args, claims, ids, wrt=options.wrt, names=names, seed=seed)
        result = broken.added_to(result)
    beside = (*result.beside, *held(result.primal, options.domain), *left_out(result.primal), *evaluation.findings())
    result = dataclasses.replace(result, beside=beside)
    sources = definitions(*claims.values(), f)
    return _report(result, options, seed=seed, claim=_claims.shown_name(claims), started=started, sources=sources)


def _kept(claims: Mapping[str, Any], journal: Journal | None) -> Mapping[str, Any]:
    """The claims, of which a journal keeps what it can."""
    if journal is None:
        return claims
    from gradproof._run._kept_claims import kept

    return kept(claims, journal)


def check_autodiff(
    autodiff: Any,
    options: Options,
    *,
    name: str,
    called: str,
    started: float,
    modes: tuple[str, ...] | None = None,
    domain: tuple[Any, Any] | None = None,
    sources: tuple[SourceLine, ...] = (),
) -> Report:
    """Check what a framework's own autodiff claims.

    Parameters
    ----------
    autodiff : Autodiff
    options : Options
    name : str
        In the report.
    called : str
        The call that runs the check again, up to its options.
    started : float
        When it began, by `time.perf_counter`.
    modes : tuple of str or None
        The entry point's default, which need not be written.
    domain : tuple (lower, upper), optional
        That of `options` array by array.
    sources : tuple of SourceLine
        Where the function is defined.
    """
    from gradproof._claims import Surroundings
    from gradproof._claims._modes import prove_modes
    from gradproof._function._bounds import extended, held, left_out

    seed = draw_seed(options.rng)
    conditions = options.evaluating(None, _conditions.Budget(options.budget, started))
    with watching(options.progress, name, started=started), conditions, autodiff.at_rest():
        proved = prove_modes(
            autodiff,
            name=name,
            modes=options.modes,
            order=options.order,
            options=options.engine(seed),
            surroundings=Surroundings(domain=domain, reference=options.reference),
            reproducer=f"{called}{options.written(modes)}, rng={seed})",
            contracts=options.contracts,
            held_apart=options.held_apart,
        )
    primal = proved.result.primal
    beside = (*proved.result.beside, *held(primal, extended(domain, len(primal.wrt))), *left_out(primal))
    result = dataclasses.replace(proved.result, beside=beside)
    return _report(
        result, options, seed=seed, claim=autodiff.claim, started=started, modes=proved.modes, sources=sources
    )


def against_reference(autodiff: Any, options: Options) -> Any:
    """Where f computes in 16 bits, whose differences tell too little: f and its reference, to be compared.

    None where there is no reference, or an option asks for something that only differences can tell.
    """
    is_plain = options.order == 1 and options.modes in (None, "rev", ("rev",)) and options.level == "certificate"
    is_plain &= options.contracts in ("default", "none")
    asked = (options.rtol, options.domain, options.budget, options.timeout)
    if options.reference is None or not is_plain or any(one is not None for one in asked):
        return None
    return autodiff.against(options.reference)


def check_against(
    sides: Any,
    *,
    name: str,
    claim: str,
    options: Options,
    called: str,
    started: float,
    sources: tuple[SourceLine, ...] = (),
    draws: int | None = None,
) -> Report:
    """Hold a kernel against a reference in float64 and in the kernel's precision.

    Parameters
    ----------
    sides : Sides
    name, claim : str
        In the report.
    options : Options
    called : str
        The call that runs the check again, up to its seed.
    started : float
        When it began, by `time.perf_counter`.
    sources : tuple of SourceLine
    draws : int, optional
        How many inputs and cotangents are drawn.
    """
    from gradproof._ask import _against

    seed = draw_seed(options.rng)
    with watching(options.progress, name, started=started):
        judged = _against.judge(
            sides,
            seed=seed,
            draws=_against.DRAWS if draws is None else draws,
            confidence=float(options.confidence),
            max_bound=None if options.max_bound is None else float(options.max_bound),
            reproducer=f"{called}, rng={seed})",
        )
    note = f"against the reference in float64 and in {judged.precision}"
    mode = "vjp" if claim == "kernel" else "rev"
    return Report(
        verdict=judged.verdict,
        reason=judged.reason,
        findings=judged.findings,
        leaves=judged.leaves,
        cost=Cost(
            evaluations=judged.evaluations,
            claims=judged.evaluations,
            calls=judged.evaluations,
            seconds=time.perf_counter() - started,
        ),
        name=name,
        claim=claim,
        level="reference",
        seed=seed,
        rtol=judged.rtol,
        max_bound=judged.max_bound,
        confidence=float(options.confidence),
        run=_describe_run(),
        modes=(ModeResult(mode=mode, verdict=judged.verdict, note=note),),
        evidence=judged.evidence,
        sources=sources,
    )


def _report(
    result: _claims.Result,
    options: Options,
    *,
    seed: int,
    claim: str,
    started: float,
    modes: tuple[ModeResult, ...] = (),
    sources: tuple[SourceLine, ...] = (),
) -> Report:
    reproducer = result.reproducer
    return Report(
        verdict=result.verdict,
        reason=result.reason,
        findings=tuple(
            finding if finding.reproducer else dataclasses.replace(finding, reproducer=reproducer)
            for finding in sorted(result.findings, key=lambda finding: _WEIGHT[finding.severity])
        ),
        leaves=result.leaves,
        cost=Cost(
            evaluations=result.evaluations,
            claims=result.claim_calls,
            calls=result.calls,
            seconds=time.perf_counter() - started,
        ),
        name=result.primal.name,
        claim=claim,
        level=result.level,
        seed=seed,
        rtol=result.rtol,
        max_bound=result.max_bound,
        confidence=float(options.confidence),
        run=_describe_run(),
        modes=modes,
        evidence=result.evidence,
        suggested_args=result.suggestion,
        sources=sources,
    )


def _describe_run() -> Run:
    return Run(
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        numpy=np.__version__,
        gradproof=installed_version(),
        platform=f"{platform.system()} {platform.machine()}",
    )


@ft.cache
def installed_version() -> str:
    """Return the version of gradproof; "unknown" where it runs from a source tree that is not installed."""
    from importlib import metadata  # slow to import

    try:
        return metadata.version("gradproof")
    except metadata.PackageNotFoundError:
        return "unknown"
