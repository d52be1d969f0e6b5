"""Claims of all kinds but a lone gradient: with one or two proofs to a check."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradproof import _prove
from gradproof._base._away import BudgetSpent
from gradproof._base._errors import UsageError
from gradproof._base._sources import definitions
from gradproof._claims._around import Surroundings
from gradproof._claims._gradient import prove_gradient, spent
from gradproof._claims._gradient_function import constant_within, gradient_function
from gradproof._claims._matrices import prove_hess, prove_jac
from gradproof._claims._products import prove_hvp, prove_vjp
from gradproof._claims._proved import Proved
from gradproof._claims._result import Result, find_refusals
from gradproof._claims._second import prove_second
from gradproof._claims._tangents import prove_jvp
from gradproof._claims._task import Task, is_value
from gradproof._function._primal import Primal
from gradproof._report import Reason, Verdict, worst

PROVE_FIRST = {"jac": prove_jac, "vjp": prove_vjp, "jvp": prove_jvp}


def prove_others(
    f: Callable[..., Any],
    args: Any,
    claims: Mapping[str, Any],
    *,
    wrt: int | tuple[int, ...] | None,
    name: str | None,
    options: _prove.Options,
    surroundings: Surroundings,
    vectorized: bool,
    reproduce: Callable[[Primal, Mapping[str, bool]], str],
    names: Sequence[str] | None = None,
    elementwise: bool = False,
) -> Result:
    """Prove or refute claims as `prove_claims` does; the first order before the second."""
    first = next((keyword for keyword in ("grad", *PROVE_FIRST) if keyword in claims), None)
    second = next((keyword for keyword in ("hess", "hvp") if keyword in claims), None)
    is_vector = first in PROVE_FIRST
    primal = Primal(f, args, wrt, name=name, names=names, is_vector=is_vector, vectorized=vectorized)
    primal.allow(options.allowance(len(primal.point)))
    if second == "hess" and primal.layout.is_complex:
        path = next(origin.path for origin in primal.origins if origin.is_complex)
        raise UsageError(
            f"`{path}` is complex, and its second derivative is no single complex matrix: claim "
            "its products with vectors as `hvp`."
        )
    values = {keyword: is_value(claim, primal, keyword) for keyword, claim in claims.items()}
    around = surroundings.of(primal)
    task = Task(primal=primal, options=options, around=around, values=values, reproducer=reproduce(primal, values))
    proofs: list[Proved] = []
    extra = 0
    others: list[Primal] = []
    if first is not None:
        try:
            proofs.append(_prove_first(task, claims[first], first, elementwise=elementwise))
        except BudgetSpent:
            proofs.append(spent(primal, options))
    if second is not None:
        base = primal
        if is_vector:
            base = Primal(f, args, wrt, name=name, names=names, vectorized=vectorized)
            base.refusals = primal.refusals
            others.append(base)
        gradient = _first_derivative(claims, first, values)
        if proofs and not _shows_the_second(proofs[0]):
            gradient = None
        try:
            proved, extra = _prove_second(dataclasses.replace(task, primal=base), claims[second], second, gradient)
        except BudgetSpent:
            proved, extra = spent(base, options), 0
        proofs.append(proved)
    if second is not None and len(proofs) > 1:
        accused = definitions(claims[second])
        findings = tuple(dataclasses.replace(one, sources=accused) for one in proofs[1].findings)
        proofs[1] = dataclasses.replace(proofs[1], label="second order", findings=findings)
    return Result(
        primal=primal,
        reproducer=task.reproducer,
        proofs=tuple(proofs),
        evaluations=primal.evaluations + sum(other.evaluations for other in others),
        calls=primal.calls + sum(other.calls for other in others),
        claim_calls=sum(proof.claim_calls for proof in proofs) + extra,
        beside=find_refusals(worst(proof.verdict for proof in proofs), primal),
    )


def _prove_first(task: Task, claim: Any, keyword: str, *, elementwise: bool) -> Proved:
    """Prove or refute a claim of the first order."""
    if keyword == "grad":
        return prove_gradient(
            task.primal,
            claim,
            is_value=task.values[keyword],
            keyword=keyword,
            options=task.options,
            around=task.around,
            reproducer=task.reproducer,
        )
    if elementwise:
        from gradproof._claims._elementwise import prove_elementwise

        return prove_elementwise(task, claim)
    return PROVE_FIRST[keyword](task, claim)


def _prove_second(task: Task, claim: Any, keyword: str, gradient: Callable[..., Any] | None) -> tuple[Proved, int]:
    """Prove or refute a claim of the second order, and say how often the gradient was evaluated for that.

    By differences of the gradient, where there is one. One that stands still proves nothing, but f itself moves; where
    it stands still nearby, and jumps further out, f is not looked at beyond.
    """
    base = task.primal
    # The first order may have taken all that it was allowed.
    base.allow(task.options.allowance(len(base.point)))
    if gradient is None:
        return prove_second(task, claim, keyword), 0
    derived = gradient_function(base, gradient)
    derived.allow(task.options.allowance(len(derived.point)))
    prove = prove_hess if keyword == "hess" else prove_hvp
    # The witnesses know f, not its gradient.
    around = task.around.without_witnesses()
    try:
        by_differences = prove(dataclasses.replace(task, primal=derived, around=around), claim, base)
    except BudgetSpent:
        return spent(derived, task.options), derived.evaluations
    is_undecided = by_differences.verdict is Verdict.INCONCLUSIVE
    if not is_undecided or by_differences.reason in (Reason.BUDGET, Reason.STOCHASTIC):
        return by_differences, derived.evaluations
    within = constant_within(derived, around, task.options.seed)
    if within is None and by_differences.reason is not Reason.DEGENERATE:
        return by_differences, derived.evaluations
    proved = prove_second(task, claim, keyword, within=within or 1.0)
    calls = proved.claim_calls + by_differences.claim_calls
    if proved.verdict is Verdict.INCONCLUSIVE and by_differences.reason is not Reason.DEGENERATE:
        proved = by_differences
    return dataclasses.replace(proved, claim_calls=calls), derived.evaluations


def _shows_the_second(first: Proved) -> bool:
    """Whether differences of the first order may show the second: not where it is wrong itself, or cannot be read."""
    return first.verdict is not Verdict.WRONG and not any(one.id in ("GP202", "GP304") for one in first.findings)


def _first_derivative(
    claims: Mapping[str, Any], first: str | None, values: Mapping[str, bool]
) -> Callable[..., Any] | None:
    """The claim of the first order as a gradient function, whose differences show the second; None without one."""
    if first is None or values[first]:
        return None
    claim = claims[first]
    if first in ("grad", "jac"):
        return claim
    return (lambda *args: claim(1.0, *args)) if first == "vjp" else None
