"""What a claim that cannot be right as it was passed may have been meant as: a list for an array, arguments swapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from gradproof._base._advice import takes
from gradproof._base._errors import ClaimError, FunctionError, GradproofError
from gradproof._base._names import function_name
from gradproof._claims._result import Result
from gradproof._function import _lists
from gradproof._function._primal import Deferred
from gradproof._report import Finding, Severity, Verdict

# What functions raise that are given a list for an array, or an array for another.
_STUMBLES = (TypeError, AttributeError, ValueError, IndexError)
# Claims with two arguments that can be swapped: what comes first, and what is raised or found where it does not.
_PRODUCTS = {"vjp": "cotangent", "jvp": "tangents", "hvp": "vector"}
# Findings about the form of a claim.
_FORM = ("GP201", "GP202", "GP203", "GP204")
_NOT_LINEAR = ("GP205", "GP206")


class Prove(Protocol):
    """A proof of claims at a point, each time from the beginning."""

    def __call__(self, args: Any, claims: Mapping[str, Any]) -> Result: ...


def as_meant(prove: Prove, f: Any, args: Any, claims: Mapping[str, Any], wrt: int | tuple[int, ...] | None) -> Result:
    """Prove claims; where that stumbles over what is not as f or a claim expects it, see whether one change mends it.

    Raises
    ------
    UsageError, FunctionError, ClaimError
        As `prove`; a ClaimError says so where it would not be there if the arguments were swapped.
    """
    is_deferred = isinstance(f, Deferred)
    try:
        result = prove(args, claims)
    except (FunctionError, ClaimError) as error:
        if is_deferred or not isinstance(error.__cause__, _STUMBLES):
            raise
        other = _with_arrays(prove, args, claims, wrt, numbers=True)
        if other is not None:
            return other
        said = _about_arguments(prove, args, claims) if isinstance(error, ClaimError) else ""
        if said:
            raise ClaimError(f"{error} ({said}).") from error.__cause__
        raise
    if is_deferred or result.verdict is not Verdict.WRONG:
        return result
    if _found(result, "GP202"):
        return _with_arrays(prove, args, claims, wrt, numbers=False) or result
    for keyword in _products(claims):
        if any(one.id in _NOT_LINEAR and one.path == keyword for proof in result.proofs for one in proof.findings):
            other = _swapped(prove, args, claims, keyword)
            if other is not None and other.verdict is Verdict.CORRECT:
                return _named(result, other, claims[keyword], keyword)
    return result


def _products(claims: Mapping[str, Any]) -> list[str]:
    return [keyword for keyword in _PRODUCTS if keyword in claims]


def _called(keyword: str) -> str:
    first = f"{_PRODUCTS[keyword]}, " if keyword in _PRODUCTS else ""
    return f"it is called as `{keyword}({first}*args)`"


def _about_arguments(prove: Prove, args: Any, claims: Mapping[str, Any]) -> str:
    """What is wrong with the arguments of a claim that raises; empty where nothing is seen to be."""
    count = len(cast("tuple[Any, ...]", args)) if type(args) is tuple else 1
    for keyword, claim in claims.items():
        given = count + (keyword in _PRODUCTS)
        if callable(claim) and not takes(claim, given):
            return f"{_called(keyword)}, here with {given} argument{'s' if given > 1 else ''}"
    for keyword in _products(claims):
        other = _swapped(prove, args, claims, keyword)
        if other is not None and not _found(other, *_FORM):
            is_right = other.verdict is Verdict.CORRECT
            return f"{_called(keyword)}: with these two swapped it {'is right' if is_right else 'runs'}"
    return ""


def _swapped(prove: Prove, args: Any, claims: Mapping[str, Any], keyword: str) -> Result | None:
    """The proof with the first two arguments of a claim swapped; None where it raises so."""
    claim: Callable[..., Any] = claims[keyword]

    def swapped(first: Any, second: Any, *others: Any) -> Any:
        return claim(second, first, *others)

    try:
        return prove(args, {**claims, keyword: swapped})
    except GradproofError:
        return None


def _named(result: Result, other: Result, claim: Any, keyword: str) -> Result:
    """One finding in place of those that follow from the swapped arguments."""
    name = function_name(claim, keyword)
    name = name if name.isidentifier() else keyword
    finding = Finding(
        id="GP214",
        severity=Severity.ERROR,
        path=keyword,
        kind=f"the arguments of `{keyword}` are swapped: {_called(keyword)}",
        advice=f"With the first two swapped it is right: pass `{keyword}=lambda v, x, *args: {name}(x, v, *args)`.",
    )
    proofs = [
        dataclasses.replace(
            proof, findings=(finding, *(one for one in proof.findings if one.severity is not Severity.ERROR))
        )
        if any(one.id in _NOT_LINEAR and one.path == keyword for one in proof.findings)
        else proof
        for proof in result.proofs
    ]
    return dataclasses.replace(
        result,
        proofs=tuple(proofs),
        evaluations=result.evaluations + other.evaluations,
        calls=result.calls + other.calls,
        claim_calls=result.claim_calls + other.claim_calls,
    )


def _found(result: Result, *ids: str) -> bool:
    """Whether there is one of these findings among those of the proofs."""
    return any(one.id in ids for proof in result.proofs for one in proof.findings)


def _with_arrays(
    prove: Prove, args: Any, claims: Mapping[str, Any], wrt: int | tuple[int, ...] | None, *, numbers: bool
) -> Result | None:
    """The proof at the same point with arrays for lists of numbers, where these are what f and the claim take."""
    arrays, said = _lists.with_arrays(args, wrt, numbers=numbers)
    if not said:
        return None
    try:
        result = prove(arrays, claims)
    except GradproofError:
        return None
    note = Finding(
        id="GP412",
        severity=Severity.NOTE,
        path=", ".join(result.primal.roots),
        kind=f"{' and '.join(said)} was taken for the array that it stands for",
        advice="pass `np.array(...)` as the point, and this note goes.",
    )
    return None if _found(result, "GP202") else dataclasses.replace(result, beside=(note, *result.beside))
