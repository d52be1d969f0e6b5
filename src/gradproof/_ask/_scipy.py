"""What SciPy's solvers make of the functions, points and bounds that they are given."""

from __future__ import annotations

import dataclasses
import functools as ft
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from gradproof._ask._check import Options, check_claims
from gradproof._base._away import BudgetSpent
from gradproof._base._errors import ClaimError, UsageError
from gradproof._function._conditions import Budget
from gradproof._report import Cost, Finding, Reason, Report, Severity, Verdict, worst

Function: TypeAlias = Callable[..., Any]
Floats: TypeAlias = NDArray[np.floating[Any]]
Bounds: TypeAlias = "tuple[Floats, Floats]"

# What functions that stand for the user's go by. (They are objects, which can be sent to other processes.)
NAMES = ("__module__", "__name__", "__qualname__", "__doc__")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an entry point: what its checks have in common.

    Attributes
    ----------
    written : str
        The call as Python source, up to its options.
    options : Options
        With the seed that all checks have.
    started : float
        By `time.perf_counter`.
    budget : Budget
        That all checks take from.
    words : mapping of str to str
        Our keywords for claims that the solver calls otherwise.
    """

    written: str
    options: Options
    started: float
    budget: Budget
    words: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])

    def check(
        self, f: Function, args: tuple[Any, ...], claims: Mapping[str, Any], *, part: str = "", **options: Any
    ) -> Report:
        """Check claims about f, with some options replaced; a note says which variables equal bounds hold.

        What is one of several checks has a `part` of its own in the journal.
        """
        chosen = dataclasses.replace(self.of(part).options, **options)
        try:
            report = check_claims(
                f, args, claims, chosen, name=None, called=self.written, started=self.started, budget=self.budget
            )
        except ClaimError as error:
            raise ClaimError(self._translated(str(error))) from error.__cause__
        return dataclasses.replace(
            report,
            claim="+".join(self.words.get(keyword, keyword) for keyword in report.claim.split("+")),
            findings=tuple(
                dataclasses.replace(
                    one,
                    path=self.words.get(one.path, one.path),
                    kind=self._translated(one.kind),
                    advice=self._translated(one.advice),
                )
                for one in report.findings
            ),
        )

    def of(self, part: str) -> Call:
        """What of this call is about a part of it, such as a constraint."""
        whole = ", ".join(one for one in (self.options.part, part) if one)
        return dataclasses.replace(self, options=dataclasses.replace(self.options, part=whole))

    def values(self, f: Function, args: tuple[Any, ...]) -> Floats | None:
        """F at the point (m,), evaluated as the options say, nan where it is not finite; None if no budget is left.

        Raises
        ------
        FunctionError
            If it has no values there.
        """
        from gradproof._function._primal import Primal

        _, journal = self.options.begun(f, args)
        with self.options.evaluating(f, self.budget, journal):
            try:
                return Primal(f, args, is_vector=True).output_values()
            except BudgetSpent:
                return None

    def _translated(self, text: str) -> str:
        for keyword, word in self.words.items():
            text = text.replace(f"`{keyword}`", f"`{word}`")
        return text


def begun(written: str, options: Options, **words: str) -> Call:
    """Begin a call; `words` are our keywords for claims that the solver calls otherwise."""
    started = time.perf_counter()
    budget = Budget(options.budget, started)
    return Call(written=written, options=options.seeded(), started=started, budget=budget, words=words)


class LeftOut:
    """What was passed and is not checked."""

    def __init__(self) -> None:
        self._reasons: list[tuple[str, str]] = []

    def add(self, name: str, reason: str) -> None:
        """Something is not checked."""
        self._reasons.append((name, reason))

    def is_claim(self, given: Any, name: str) -> bool:
        """Whether a derivative is claimed; where SciPy approximates it, that is remembered."""
        if given is None or callable(given):
            return given is not None
        is_strategy = hasattr(given, "initialize") and hasattr(given, "update")  # BFGS, SR1
        if not isinstance(given, str) and not is_strategy:
            require_claim(given, name)
        shown = repr(given) if isinstance(given, str) else type(given).__name__
        self.add(name, f"{shown} asks SciPy to approximate it")
        return False

    def nothing(self, names: str) -> UsageError:
        """The error where nothing is left to check."""
        if not self._reasons:
            words = [f"`{name}`" for name in names.replace(" and ", ", ").split(", ")]
            listed = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
            return UsageError(f"a claim is missing: pass {'one of ' if len(words) > 1 else ''}{listed}.")
        name, reason = self._reasons[0]
        return UsageError(f"there is no claim to check: `{name}` is none, since {reason}. Pass a callable.")

    def noted(self, report: Report, moved: str = "") -> Report:
        """The report with notes on what is not checked (GP423), and on a point that was `moved` (GP422)."""
        notes: list[Finding] = []
        if moved:
            advice = "The point in the report is the one inside, where `minimize` starts as well."
            notes.append(
                Finding(
                    id="GP422", severity=Severity.NOTE, kind=f"x0 was moved into its bounds: {moved}", advice=advice
                )
            )
        notes += [
            Finding(
                id="GP423",
                severity=Severity.NOTE,
                kind=f"`{name}` is not checked: {reason}",
                advice="Nothing is said of it.",
            )
            for name, reason in self._reasons
        ]
        return dataclasses.replace(report, findings=(*report.findings, *notes))


# ------------------------------------------------------------------------------------------------------- points


def variables(x0: Any, name: str = "x0", *, is_complex_allowed: bool = False) -> NDArray[Any]:
    """A point as the solvers take it: at least one axis, and floating.

    Raises
    ------
    UsageError
        If it is not of real numbers along one axis.
    """
    if callable(x0):
        raise UsageError(f"`{name}` must hold real numbers, got a function: the point comes second, then its `jac=`.")
    point = np.atleast_1d(np.asarray(x0))
    if point.ndim != 1:
        raise UsageError(f"`{name}` must have one axis, got shape {point.shape}.")
    if point.dtype.kind in "biu":
        point = point.astype(np.float64)
    if point.dtype.kind not in ("fc" if is_complex_allowed else "f"):
        raise UsageError(f"`{name}` must hold real numbers, got dtype {point.dtype}.")
    return point


def start(x0: Any, bounds: Any) -> tuple[NDArray[Any], Bounds | None, str]:
    """The point of `minimize` within its bounds, these, and which variables were moved into them, in words.

    Raises
    ------
    UsageError
        If bounds contradict each other, or do not fit.
    """
    point = variables(x0)
    sides = bounds_of_pairs(bounds, point.size)
    if sides is None:
        return point, None, ""
    lower, upper = sides
    for i in np.flatnonzero(~(lower <= upper))[:1].tolist():
        raise UsageError(f"the upper bound of `x0[{i}]`, {upper[i]}, is below the lower one, {lower[i]}.")
    inside = np.clip(point.astype(np.float64), lower, upper)
    moved = np.flatnonzero(inside != point).tolist()
    words = [f"x0[{i}] from {point[i]} to {inside[i]}" for i in moved[:3]] + (["..."] if len(moved) > 3 else [])
    return (inside if moved else point), sides, ", ".join(words)


def positional(args: Any) -> tuple[Any, ...]:
    """Further arguments as SciPy reads them: what is no tuple is the only one."""
    return tuple(cast("tuple[Any, ...]", args)) if isinstance(args, tuple) else (args,)


def bounds_of_pairs(bounds: Any, n: int) -> Bounds | None:
    """Lower and upper bounds (n,) from a `scipy.optimize.Bounds`, or from one pair (min, max) for each variable."""
    if bounds is None or hasattr(bounds, "lb"):
        return bounds_of_sides(bounds, n)
    pairs = cast("Sequence[Any]", list(bounds))
    if len(pairs) != n or not all(np.shape(pair) == (2,) for pair in pairs):
        raise UsageError(f"`bounds` must be a scipy.optimize.Bounds or {n} pairs (min, max), one for each variable.")
    sides = [
        [missing if one is None else one for one in side]
        for side, missing in zip(zip(*pairs, strict=True), (-np.inf, np.inf), strict=True)
    ]
    return bounds_of_sides(sides, n)


def bounds_of_sides(bounds: Any, n: int) -> Bounds | None:
    """Lower and upper bounds (n,) from a `scipy.optimize.Bounds` or a pair (lower, upper); None if there are none."""
    if bounds is None:
        return None
    sides = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else tuple(bounds)
    if len(sides) != 2:
        raise UsageError("`bounds` must be a scipy.optimize.Bounds or a pair (lower, upper).")
    try:
        lower, upper = (np.broadcast_to(np.asarray(side, dtype=np.float64), (n,)) for side in sides)
    except ValueError as error:
        raise UsageError(f"`bounds` do not fit {n} variables: {error}.") from error
    is_free = bool(np.isneginf(lower).all() and np.isposinf(upper).all())
    return None if is_free else (lower, upper)


# ---------------------------------------------------------------------------------------------------- functions


def shown(value: Any, fallback: str) -> str:
    """A function's own name where it is Python source, True as it is, and `fallback` for anything else."""
    if value is True:
        return "True"
    name = str(getattr(value, "__name__", ""))
    return name if name.isidentifier() else fallback


def written(function: str, fun: Function, point: str, **given: Any) -> str:
    """A call as Python source, up to its options; arguments that are None are left out."""
    words = [shown(fun, "fun"), point, *(f"{key}={shown(one, key)}" for key, one in given.items() if one is not None)]
    return f"gradproof.scipy.{function}({', '.join(words)}"


def require_function(fun: Any, name: str = "fun") -> None:
    """Raise UsageError unless it can be called."""
    if not callable(fun):
        raise UsageError(f"`{name}` must be callable, got {type(fun).__name__}.")


def require_claim(claim: Any, name: str) -> None:
    """Raise UsageError where SciPy is asked to approximate a derivative: then nobody claims one."""
    if callable(claim):
        return
    if isinstance(claim, str):
        raise UsageError(
            f"`{name}={claim!r}` asks SciPy for finite differences, so there is no claim to check: pass a callable."
        )
    raise UsageError(
        f"`{name}` must be a callable that returns the derivative, got {type(claim).__name__}: there is no claim to "
        "check where SciPy approximates it."
    )


class Adapted:
    """The same function, under its own name, with what it returns as SciPy reads it.

    Parameters
    ----------
    function : callable
    *reads : callable
        ``read(returned)``, one after the other.
    **keywords
        With which the function is called.
    """

    def __init__(self, function: Any, *reads: Callable[[Any], Any], **keywords: Any) -> None:
        self._function, self._reads, self._keywords = function, reads, keywords
        ft.update_wrapper(self, function, assigned=NAMES, updated=())
        if isinstance(function, ft.partial):
            self.func = cast("ft.partial[Any]", function).func  # (reports look there for the name)

    def __call__(self, *args: Any) -> Any:
        """Return what the function does, read."""
        returned = self._function(*args, **self._keywords)
        for read in self._reads:
            returned = read(returned)
        return returned


def vector_first(hessp: Any) -> Function:
    """``hessp(x, p, *args)`` with the vector first, as ours."""

    @ft.wraps(hessp)
    def vector_first(p: Any, x: Any, *args: Any) -> Any:
        return vector(hessp(x, p, *args))

    return vector_first


class OneColumn:
    """A right-hand side that takes states side by side, ``fun(t, y of shape (n, k))``, for one state."""

    def __init__(self, function: Any) -> None:
        self._function = function
        ft.update_wrapper(self, function, assigned=NAMES, updated=())

    def __call__(self, t: float, y: Any, *args: Any) -> Any:
        """Return ``fun(t, y)`` of shape (n,)."""
        return np.ravel(self._function(t, y[:, None], *args))


def number(returned: Any) -> Any:
    """What `minimize` reads as a number: arrays of one entry, too."""
    if np.ndim(returned) and np.size(returned) == 1:
        return np.asarray(returned).reshape(())[()]
    return returned


def vector(returned: Any) -> Any:
    """What solvers read as a vector: lists and lone numbers, too."""
    return None if returned is None else np.atleast_1d(np.asarray(returned))


def matrix(returned: Any) -> Any:
    """What solvers read as a matrix: nested lists and lone rows, too; sparse matrices and operators as they are."""
    if returned is None or hasattr(returned, "toarray") or hasattr(returned, "matvec"):
        return returned
    return np.atleast_2d(np.asarray(returned))


def by_columns(returned: Any) -> Any:
    """A Jacobian whose rows are variables (`col_deriv`)."""
    read = matrix(returned)
    return None if read is None else read.T


def unpacked(returned: Any, *, lower: int, upper: int) -> Any:
    """A Jacobian (n, n) from its bands, ``bands[upper + i - j, j]``, as LSODA takes them."""
    bands = np.atleast_2d(np.asarray(returned))
    n = bands.shape[1]
    if bands.shape[0] != lower + upper + 1:
        count = lower + upper + 1
        raise UsageError(
            f"with `lband={lower}` and `uband={upper}` `jac` must return {count} bands, got shape {bands.shape}."
        )
    found = np.zeros((n, n), dtype=bands.dtype)
    for offset in range(-upper, lower + 1):
        columns = np.array(range(max(0, -offset), min(n, n - offset)), dtype=np.intp)
        found[columns + offset, columns] = bands[upper + offset, columns]
    return found


def symmetric(returned: Any) -> Any:
    """A Hessian as `matrix` reads it; one operator's product serves both sides, since SciPy uses no other."""
    read = matrix(returned)
    return _Symmetric(read) if hasattr(read, "matvec") and not hasattr(read, "toarray") else read


class _Symmetric:
    """A linear operator that is to be its own transpose."""

    def __init__(self, operator: Any) -> None:
        self.shape = operator.shape
        self.matvec = operator.matvec
        self.rmatvec = operator.matvec


def part(pair: Any, position: int) -> Any:
    """Value or derivative of a function that returns both, `jac=True`."""
    members = cast("Sequence[Any]", pair) if isinstance(pair, (tuple, list)) else ()
    if len(members) != 2:
        kind = type(cast("object", pair)).__name__
        raise UsageError(f"with `jac=True`, `fun` must return (value, derivative), got {kind}.")
    return members[position]


# ------------------------------------------------------------------------------------------------------ reports


def merged(parts: Sequence[tuple[str, Report]], claim: str) -> Report:
    """Several reports about one call as one; leaves and findings of a part with a label say so."""
    if len(parts) == 1 and not parts[0][0]:
        return parts[0][1]
    reports = [report for _, report in parts]
    verdict = worst(report.verdict for report in reports)
    reasons: list[Reason] = [report.reason for report in reports if report.reason is not None]
    return dataclasses.replace(
        reports[0],
        verdict=verdict,
        claim=claim,
        reason=reasons[0] if verdict is Verdict.INCONCLUSIVE and reasons else None,
        findings=tuple(
            dataclasses.replace(one, kind=f"{label}: {one.kind}") if label else one
            for severity in (Severity.ERROR, Severity.DOUBT, Severity.NOTE)
            for label, report in parts
            for one in report.findings
            if one.severity is severity
        ),
        leaves=tuple(
            dataclasses.replace(leaf, path=f"{leaf.path} ({label})") if label else leaf
            for label, report in parts
            for leaf in report.leaves
        ),
        cost=Cost(
            evaluations=sum(report.cost.evaluations for report in reports),
            claims=sum(report.cost.claims for report in reports),
            calls=sum(report.cost.calls for report in reports),
            seconds=max(report.cost.seconds for report in reports),
        ),
        rtol=max(report.rtol for report in reports),
        max_bound=max(report.max_bound for report in reports),
        suggested_args=next((one.suggested_args for one in reports if one.suggested_args is not None), None),
        sources=next(one.sources for one in reports if one.verdict is verdict),
    )
