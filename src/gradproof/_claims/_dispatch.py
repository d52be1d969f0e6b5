"""From keywords to proofs, and from one or two proofs to one result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from gradproof import _prove
from gradproof._claims._gradient import Surroundings, prove_gradient
from gradproof._claims._kinds import (
    Task,
    gradient_function,
    is_value,
    prove_hess,
    prove_hvp,
    prove_jac,
    prove_jvp,
    prove_vjp,
)
from gradproof._claims._proved import Proved, worst
from gradproof._claims._second import prove_second
from gradproof._errors import UsageError
from gradproof._primal import Primal
from gradproof._report import Finding, LeafResult, Reason, Verdict

FIRST_ORDER = ("grad", "jac", "vjp", "jvp")
SECOND_ORDER = ("hess", "hvp")
KEYWORDS = FIRST_ORDER + SECOND_ORDER


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """All proofs of one check together."""

    primal: Primal
    reproducer: str
    proofs: tuple[Proved, ...]
    evaluations: int
    calls: int
    claim_calls: int

    @property
    def verdict(self) -> Verdict:
        """The worst of all proofs."""
        return worst(proof.verdict for proof in self.proofs)

    @property
    def reason(self) -> Reason | None:
        """Why, where the verdict is INCONCLUSIVE."""
        if self.verdict is not Verdict.INCONCLUSIVE:
            return None
        return next((proof.reason for proof in self.proofs if proof.reason), None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of all proofs; what f does to its arguments is said once."""
        found: dict[tuple[str, str, str, str], Finding] = {}
        for proof in self.proofs:
            for one in proof.findings:
                found.setdefault((one.id, one.path, one.kind, one.place), one)
        return tuple(found.values())

    @property
    def leaves(self) -> tuple[LeafResult, ...]:
        """Those of the first order, then those of the second, which say so."""
        leaves = list(self.proofs[0].leaves)
        for proof in self.proofs[1:]:
            leaves += [dataclasses.replace(leaf, path=f"{leaf.path} (second order)") for leaf in proof.leaves]
        return tuple(leaves)

    @property
    def rtol(self) -> float:
        """The widest one used."""
        return max(proof.rtol for proof in self.proofs)

    @property
    def max_bound(self) -> float:
        """The widest one used."""
        return max(proof.max_bound for proof in self.proofs)

    @property
    def level(self) -> str:
        """As in the first proof."""
        return self.proofs[0].level


def prove_claims(
    f: Callable[..., Any],
    args: Any,
    claims: Mapping[str, Any],
    *,
    wrt: int | tuple[int, ...] | None,
    name: str | None,
    options: _prove.Options,
    surroundings: Surroundings,
    reproduce: Callable[[Primal, Mapping[str, bool]], str],
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
        For `grad` alone.
    reproduce : callable
        Writes the line that runs the check again, from f and from which claims are values.
    """
    first = next((keyword for keyword in FIRST_ORDER if keyword in claims), None)
    second = next((keyword for keyword in SECOND_ORDER if keyword in claims), None)
    is_vector = first in ("jac", "vjp", "jvp")
    primal = Primal(f, args, wrt, name=name, is_vector=is_vector)
    values = {keyword: is_value(claim, primal, keyword) for keyword, claim in claims.items()}
    task = Task(primal=primal, options=options, reproducer=reproduce(primal, values))
    proofs: list[Proved] = []
    extra = 0
    others: list[Primal] = []
    if first == "grad":
        proofs.append(
            prove_gradient(
                primal,
                claims[first],
                is_value=values[first],
                keyword=first,
                options=options,
                surroundings=surroundings,
                reproducer=task.reproducer,
            )
        )
    elif first is not None:
        proofs.append({"jac": prove_jac, "vjp": prove_vjp, "jvp": prove_jvp}[first](task, claims[first]))
    if second is not None:
        base = primal
        if is_vector:
            base = Primal(f, args, wrt, name=name)
            others.append(base)
        gradient = _first_derivative(base, claims, first, values)
        readable = not proofs or not any(one.id in ("GP202", "GP304") for one in proofs[0].findings)
        if gradient is not None and readable:
            derived = gradient_function(base, gradient)
            second_task = dataclasses.replace(task, primal=derived)
            prove = prove_hess if second == "hess" else prove_hvp
            proofs.append(prove(second_task, claims[second], base))
            extra = derived.evaluations
        else:
            proofs.append(prove_second(dataclasses.replace(task, primal=base), claims[second], second))
    return Result(
        primal=primal,
        reproducer=task.reproducer,
        proofs=tuple(proofs),
        evaluations=primal.evaluations + sum(other.evaluations for other in others),
        calls=primal.calls + sum(other.calls for other in others),
        claim_calls=sum(proof.claim_calls for proof in proofs) + extra,
    )


def _first_derivative(
    base: Primal, claims: Mapping[str, Any], first: str | None, values: Mapping[str, bool]
) -> Callable[..., Any] | None:
    """The claim of the first order as a gradient function, whose differences show the second; None without one."""
    if first is None or values[first]:
        return None
    claim = claims[first]
    if first in ("grad", "jac"):
        return claim
    return (lambda *args: claim(1.0, *args)) if first == "vjp" else None


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
