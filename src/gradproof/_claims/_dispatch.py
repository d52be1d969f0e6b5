"""From keywords to proofs, and from one or two proofs to one result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradproof import _contracts, _prove
from gradproof._base._away import BudgetSpent
from gradproof._base._errors import UsageError
from gradproof._claims._around import Surroundings
from gradproof._claims._gradient import prove_gradient, spent
from gradproof._claims._meant import as_meant
from gradproof._claims._result import Result, find_refusals
from gradproof._function._primal import Primal
from gradproof._prove._collect import Collector

FIRST_ORDER = ("grad", "jac", "vjp", "jvp")
SECOND_ORDER = ("hess", "hvp")
KEYWORDS = FIRST_ORDER + SECOND_ORDER


def prove_claims(
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
    """Prove or refute one claim of the first order, one of the second, or both.

    Parameters
    ----------
    f, args, wrt, name
        As for `Primal`.
    claims : mapping of str to claim
        By keyword, one of each order at most.
    options : Options
    surroundings : Surroundings
        Domain and reference.
    vectorized : bool
        Whether f takes many points at once.
    reproduce : callable
        Writes the line that runs the check again, from f and from which claims are values.
    names : sequence of str, optional
        Of the arguments, as Python source; f's own by default.
    elementwise : bool
        Whether `jac` is the derivative of an f that maps an array entry by entry.
    """

    def prove(args: Any, claims: Mapping[str, Any]) -> Result:
        fresh = dataclasses.replace(options, collector=Collector())
        if set(claims) == {"grad"}:
            primal = Primal(f, args, wrt, name=name, names=names, vectorized=vectorized)
            is_value = _contracts.is_value(claims["grad"], primal, "grad")
            reproducer = reproduce(primal, {"grad": is_value})
            try:
                proof = prove_gradient(
                    primal,
                    claims["grad"],
                    is_value=is_value,
                    keyword="grad",
                    options=fresh,
                    around=surroundings.of(primal),
                    reproducer=reproducer,
                )
            except BudgetSpent:
                proof = spent(primal, fresh)
            return Result(
                primal=primal,
                reproducer=reproducer,
                proofs=(proof,),
                evaluations=primal.evaluations,
                calls=primal.calls,
                claim_calls=proof.claim_calls,
                beside=find_refusals(proof.verdict, primal),
            )
        # Imported here: a third of our import time, which checks of gradients need not pay.
        from gradproof._claims._others import prove_others

        return prove_others(
            f,
            args,
            claims,
            wrt=wrt,
            name=name,
            options=fresh,
            surroundings=surroundings,
            vectorized=vectorized,
            reproduce=reproduce,
            names=names,
            elementwise=elementwise,
        )

    return as_meant(prove, f, args, claims, wrt)


def shown_name(claims: Mapping[str, Any]) -> str:
    """The keywords of a check's claims, such as ``grad+hvp``."""
    return "+".join(keyword for keyword in KEYWORDS if keyword in claims)


def require_claims(claims: Mapping[str, Any]) -> None:
    """Raise UsageError unless there is a claim, and one of each order at most."""
    if not claims:
        raise UsageError(
            f"a claim is missing, or it is None: pass one of {', '.join(f'`{keyword}=`' for keyword in KEYWORDS)}."
        )
    for order, keywords in (("first", FIRST_ORDER), ("second", SECOND_ORDER)):
        given = [keyword for keyword in keywords if keyword in claims]
        if len(given) > 1:
            names = " and ".join(f"`{keyword}`" for keyword in given)
            raise UsageError(f"{names} are claims of the {order} order: pass one of them, check the other apart.")
