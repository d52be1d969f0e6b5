"""How what speaks against claims of all kinds is said, beside `gradproof._prove._wording`."""

from __future__ import annotations

from collections.abc import Callable

from gradproof._contracts import Breach, Identity
from gradproof._report import Finding, Severity

_IDS = {
    Identity.SYMMETRIC: "GP207",
    Identity.SYMMETRIC_PRODUCT: "GP207",
    Identity.ADJOINT: "GP208",
}
# What is said of a breach, and what to do about it; what stands in braces is put in.
_BREACHES: dict[Identity, tuple[str, str]] = {
    Identity.VARYING: ("`{keyword}` ignores its {word}", "the result must be multiplied by the {word}."),
    Identity.ZERO_AT_ZERO: (
        "`{keyword}` is not linear in its {word}: it is not zero for a {word} of zeros",
        "look for a term that does not contain the {word}.",
    ),
    Identity.LINEAR: ("`{keyword}` is not linear in its {word}", "every term must contain the {word} exactly once."),
    Identity.SYMMETRIC: (
        "not symmetric: {first} is {one:.6g}, {second} is {other:.6g}{more}",
        "second derivatives of a smooth function are symmetric; look at how these two entries are computed.",
    ),
    Identity.SYMMETRIC_PRODUCT: (
        "not symmetric: <u, H v> is {one:.6g}, <v, H u> is {other:.6g}",
        "second derivatives of a smooth function are symmetric; is one factor transposed?",
    ),
    Identity.ADJOINT: (
        "`matvec` and `rmatvec` are not adjoint: <u, A v> is {one:.6g}, <A^T u, v> is {other:.6g}",
        "solvers use both: one of them is wrong (the other findings speak of `rmatvec`).",
    ),
}


def write_breach(breach: Breach, name: Callable[[int, int], str] = lambda i, j: "") -> Finding:
    """An identity that a claim does not obey as a finding; ``name(i, j)`` names its entries."""
    is_vjp = breach.keyword == "vjp"
    i, j = breach.entry or (0, 0)
    known = {
        "keyword": breach.keyword,
        "word": "cotangent" if is_vjp else "tangent",
        "first": name(i, j) if breach.entry else "",
        "second": name(j, i) if breach.entry else "",
        "one": breach.one,
        "other": breach.other,
        "more": f", the largest of {breach.count} such pairs" if breach.count > 1 else "",
    }
    kind, advice = (words.format(**known) for words in _BREACHES[breach.identity])
    id = _IDS.get(breach.identity, "GP205" if is_vjp else "GP206")
    return Finding(id=id, severity=Severity.ERROR, path=breach.keyword, kind=kind, advice=advice)
