"""How what speaks against claims of all kinds is said, beside `gradproof._prove._wording`."""

from __future__ import annotations

from collections.abc import Callable

from gradproof._claims._patterns import Misstep, Pattern, simple_factor
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


# What is said of a mistake of a whole matrix, and what to do about it.
_MISSTEPS: dict[Misstep, tuple[str, str]] = {
    Misstep.TWICE_DIAGONAL: ("the diagonal is claimed 2 times the true one", "Look at i == j."),
    Misstep.HALF_DIAGONAL: ("the diagonal is claimed half the true one", "Look at i == j."),
    Misstep.TWICE_REST: ("all but the diagonal is claimed 2 times the true one", "Look at i != j."),
    Misstep.HALF_REST: ("all but the diagonal is claimed half the true one", "Look at i != j."),
    Misstep.UPPER_ONLY: ("only the upper triangle is filled", "Copy it into the lower one."),
    Misstep.LOWER_ONLY: ("only the lower triangle is filled", "Copy it into the upper one."),
    Misstep.TRANSPOSED: ("transposed", "Rows are outputs, columns are inputs: return the transpose."),
    Misstep.MINUS_TRANSPOSED: ("transposed, with the wrong sign", "Return minus the transpose."),
    Misstep.RESHAPED: ("reshaped in the wrong order", "It was filled column by column: transpose first."),
    Misstep.ROWS_REVERSED: ("rows in reverse order", "Reverse the order of the outputs."),
    Misstep.ROWS_EARLY: ("rows shifted by one", "Every row stands one place too early."),
    Misstep.ROWS_LATE: ("rows shifted by one", "Every row stands one place too late."),
    Misstep.COLUMNS_REVERSED: ("columns in reverse order", "Reverse the order of the inputs."),
    Misstep.COLUMNS_EARLY: ("columns shifted by one", "Every column stands one place too early."),
    Misstep.COLUMNS_LATE: ("columns shifted by one", "Every column stands one place too late."),
    Misstep.ROWS_SWAPPED: ("rows {one} and {other} are swapped", "Each is the derivative of the other's output."),
    Misstep.ROWS_REORDERED: (
        "rows in another order than the outputs",
        "For example, row {one} should be what stands in row {other}.",
    ),
}


def claimed_words(factor: float, of: str) -> str:
    """What is said of a claim that is a simple multiple of `of`."""
    if factor == 0:
        return f"claimed zero, {of} is not"
    return f"claimed {'with the wrong sign' if factor == -1 else f'{factor:.4g} times {of}'}"


def pattern_place(pattern: Pattern) -> str:
    """The rows that a mistake of a whole matrix is in."""
    if pattern.misstep is Misstep.ROWS_SWAPPED:
        return f"rows {pattern.example[0]} and {pattern.example[1]}"
    return f"{pattern.rows[0]} of {pattern.rows[1]} rows" if pattern.rows[0] else "everywhere"


def pattern_words(pattern: Pattern) -> tuple[str, str]:
    """What is said of a mistake of a whole matrix, and what to do about it."""
    factor = pattern.factor
    if factor is None:
        one, other = pattern.example
        kind, advice = _MISSTEPS[pattern.misstep]
        return kind.format(one=one, other=other), advice.format(one=one, other=other)
    of = "the true derivative"
    if factor == 0:
        return claimed_words(0.0, of), "Nothing is computed, or not returned."
    is_simple = simple_factor(factor, 1.0, 0.0) is not None
    kind = claimed_words(factor, of) if is_simple else f"claimed {factor:.6g} times {of}"
    if pattern.block is None:
        return kind, "All entries are off by the same factor: look at a mean, a sum or a sign."
    return kind, "All entries of this leaf are off by the same factor."
