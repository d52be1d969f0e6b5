"""What a framework's own autodiff claims about f, mode by mode: each is proved against differences.

First order: reverse and forward mode against differences of f. Second order, "outer-inner": the derivative in the inner
mode, as a function of the point and of its cotangent or tangent, is differentiated in the outer mode and proved against
differences of that function; so nothing is taken on trust but the inner mode, which has been proved before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from gradproof import _prove
from gradproof._claims._gradient import Surroundings, prove_gradient
from gradproof._claims._kinds import Task, prove_jvp, prove_vjp
from gradproof._claims._many import prove_many
from gradproof._claims._proved import Proved
from gradproof._claims._result import Result
from gradproof._errors import ClaimError, UsageError
from gradproof._primal import Primal
from gradproof._report import ModeResult, Verdict

FIRST = ("rev", "fwd")
# Outputs from which on a vjp is held against a few combinations of them only.
MANY = 1024
SECOND = ("rev-rev", "fwd-rev", "rev-fwd", "fwd-fwd")


class Function(Protocol):
    """A function of arrays with derivatives of a framework's making: the first `count` arguments are differentiated."""

    arguments: tuple[Any, ...]
    names: tuple[str, ...]
    count: int
    is_scalar: bool
    left_out: tuple[str, ...]

    def value(self, *arguments: Any) -> Any:
        """The function itself, with nothing recorded."""
        ...

    def vjp(self, cotangent: Any, *arguments: Any) -> Any:
        """Reverse mode."""
        ...

    def jvp(self, tangents: Any, *arguments: Any) -> Any:
        """Forward mode."""
        ...


class Autodiff(Protocol):
    """What a framework offers: the function, and its derivative in one mode as a function."""

    function: Function
    not_available: type[Exception]

    def derivative(self, inner: str, seed: int) -> Function:
        """The derivative in the mode `inner` as a real function of the point and of a cotangent or tangent."""
        ...

    def argument(self, values: Sequence[Any]) -> Any:
        """Put values for all arguments back into the form of `args`."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModesResult:
    """One check of several modes."""

    result: Result
    modes: tuple[ModeResult, ...]


def asked_modes(modes: Sequence[str] | None, order: int) -> tuple[tuple[str, ...], bool]:
    """Return the modes to check, and whether the user has named them.

    Raises
    ------
    UsageError
        If there is no such mode or order.
    """
    if order not in (1, 2):
        raise UsageError(f"`order` must be 1 or 2, got {order!r}.")
    if modes is None:
        return FIRST + (SECOND if order == 2 else ()), False
    if isinstance(modes, str) or not all(mode in FIRST + SECOND for mode in modes) or not modes:
        raise UsageError(f"`modes` must be a tuple of names among {', '.join(FIRST + SECOND)}, got {modes!r}.")
    named = [mode for mode in FIRST if mode in modes]
    second = [mode for mode in SECOND if mode in modes]
    if order == 2 and not second:
        second = [mode for mode in SECOND if all(part in named for part in mode.split("-"))]
    return (*named, *second), True


def prove_modes(
    autodiff: Autodiff,
    *,
    name: str,
    modes: Sequence[str] | None,
    order: int,
    options: _prove.Options,
    surroundings: Surroundings,
    reproducer: str,
) -> ModesResult:
    """Prove or refute what a framework says about a function in several modes.

    Raises
    ------
    ClaimError
        If a mode that the user has named is not available, or none is.
    """
    wanted, is_named = asked_modes(modes, order)
    proofs: list[Proved] = []
    primals: list[Primal] = []
    results: list[ModeResult] = []
    calls = 0
    for mode in wanted:
        outer, _, inner = mode.partition("-")
        before = next((one for one in results if one.mode == inner and one.verdict is not Verdict.CORRECT), None)
        if before is not None and before.verdict in (None, Verdict.WRONG):
            results.append(ModeResult(mode=mode, note=f"not checked: {inner} is {before.verdict_text}"))
            continue
        try:
            function = autodiff.derivative(inner, options.seed) if inner else autodiff.function
            primal, proved = _prove_mode(function, outer, name, options, surroundings, reproducer)
        except (autodiff.not_available, ClaimError) as error:
            refusal = error if isinstance(error, autodiff.not_available) else error.__cause__
            if not isinstance(refusal, autodiff.not_available):
                raise
            if is_named:
                raise ClaimError(f"mode {mode!r} is not available: {refusal}") from error
            results.append(ModeResult(mode=mode, note=f"not available: {refusal}"))
            continue
        calls += proved.claim_calls
        if proved.suggestion is not None:
            values = [*proved.suggestion[: autodiff.function.count], *proved.suggestion[function.count :]]
            proved = dataclasses.replace(proved, suggestion=autodiff.argument(values))
        proofs.append(dataclasses.replace(proved, label="" if mode == "rev" else mode))
        primals.append(primal)
        left_out = autodiff.function.left_out
        note = f"without {', '.join(left_out)}: no derivative, as the framework marks it" if left_out else ""
        results.append(ModeResult(mode=mode, verdict=proved.verdict, note=note))
    if not proofs:
        notes = "; ".join(f"{one.mode}: {one.note}" for one in results)
        raise ClaimError(f"no mode is available ({notes}).")
    result = Result(
        primal=primals[0],
        reproducer=reproducer,
        proofs=tuple(proofs),
        evaluations=sum(primal.evaluations for primal in primals),
        calls=sum(primal.calls for primal in primals),
        claim_calls=calls,
    )
    return ModesResult(result=result, modes=tuple(results))


def _prove_mode(
    function: Function,
    mode: str,
    name: str,
    options: _prove.Options,
    surroundings: Surroundings,
    reproducer: str,
) -> tuple[Primal, Proved]:
    is_vector = mode == "fwd" or not function.is_scalar
    primal = Primal(
        function.value,
        function.arguments,
        tuple(range(function.count)),
        name=name,
        names=function.names,
        is_vector=is_vector,
    )
    primal.short_name = name
    task = Task(primal=primal, options=options, reproducer=reproducer)
    if mode == "fwd":
        return primal, prove_jvp(task, function.jvp)
    if is_vector and primal.outputs.size > MANY and np.isfinite(primal.output_values()).all():
        return primal, prove_many(primal, function.vjp, options, reproducer)
    if is_vector:
        return primal, prove_vjp(task, function.vjp, getattr(function, "rows", None))
    gradient: Callable[..., Any] = lambda *arguments: function.vjp(1.0, *arguments)  # noqa: E731
    proved = prove_gradient(
        primal,
        gradient,
        is_value=False,
        keyword="grad",
        options=options,
        surroundings=surroundings,
        reproducer=reproducer,
    )
    return primal, proved
