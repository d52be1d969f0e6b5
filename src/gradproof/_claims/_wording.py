"""How what speaks against claims of all kinds is said, beside `gradproof._prove._wording`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from gradproof._base._leaf import Leaf
from gradproof._claims._charge import Extent, SecondCharge
from gradproof._claims._patterns import Misstep, Pattern, simple_factor
from gradproof._contracts import Breach, Identity
from gradproof._prove._wording import ONE_ENTRY, or_tolerance, relative_off
from gradproof._report import Finding, Severity

# What is measured of a second derivative, beside slopes.
CURVATURE = "v^T H v"
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
    Misstep.NOT_SYMMETRIC: (
        "not symmetric, the true derivative is",
        "f depends on the symmetric part of this array: return half the sum of its gradient and the transpose.",
    ),
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


_WHOLE = (Extent.ALL, Extent.DIAGONAL)
_OF_A_PART = (
    Misstep.NOT_SYMMETRIC,
    Misstep.TWICE_DIAGONAL,
    Misstep.HALF_DIAGONAL,
    Misstep.TWICE_REST,
    Misstep.HALF_REST,
    Misstep.UPPER_ONLY,
    Misstep.LOWER_ONLY,
)


def claimed_words(factor: float, of: str) -> str:
    """What is said of a claim that is a simple multiple of `of`."""
    if factor == 0:
        return f"claimed zero, {of} is not"
    return f"claimed {'with the wrong sign' if factor == -1 else f'{factor:.4g} times {of}'}"


def pattern_place(pattern: Pattern) -> str:
    """The rows that a mistake of a whole matrix is in; empty where the mistake itself says which part is wrong."""
    if pattern.misstep in _OF_A_PART:
        return ""
    if pattern.misstep is Misstep.ROWS_SWAPPED:
        return f"rows {pattern.example[0]} and {pattern.example[1]}"
    return f"{pattern.rows[0]} of {pattern.rows[1]} rows" if pattern.rows[0] else "everywhere"


def pattern_words(pattern: Pattern, of: str = "the true derivative") -> tuple[str, str]:
    """What is said of a mistake of a whole matrix, and what to do about it."""
    factor = pattern.factor
    if factor is None:
        one, other = pattern.example
        kind, advice = _MISSTEPS[pattern.misstep]
        return kind.format(one=one, other=other), advice.format(one=one, other=other)
    if factor == 0:
        return claimed_words(0.0, of), "Nothing is computed, or not returned."
    is_simple = simple_factor(factor, 1.0, 0.0) is not None
    kind = claimed_words(factor, of) if is_simple else f"claimed {factor:.6g} times {of}"
    if pattern.block is None:
        return kind, "All entries are off by the same factor: look at a mean, a sum or a sign."
    return kind, "All entries of this array are off by the same factor."


class Names(Protocol):
    """What the parts of a claim are called: see `gradproof._claims._claimed`."""

    keyword: str
    leaves: tuple[Leaf, ...]

    @property
    def by_index(self) -> bool: ...

    def place(self, i: int | None, j: int) -> tuple[str, tuple[int, ...], str]: ...

    def block(self, k: int, other: int) -> str: ...


def write_second(charge: SecondCharge, names: Names, reproducer: str) -> Finding:
    """What speaks against second derivatives as a finding."""
    of, other = "the true second derivative", "the second derivative is wrong"
    path = whole_path(names)
    entries: tuple[tuple[int, ...], ...] = ()
    quantity, advice = CURVATURE, f"Look at how `{names.keyword}` is computed."
    if charge.entry is not None:
        entry, index, by = _second_entry(names, *charge.entry)
        quantity = f"entry {entry}{f' {by}' if by else ''}"
        if charge.extent in (Extent.ENTRY, Extent.PAIR):
            path, entries, quantity = entry, (index,) if index else (), "entry"
            of, other = "the true entry", ONE_ENTRY
    kind = other if charge.factor is None else claimed_words(charge.factor, of)
    # (Where others are right beside it, the error is no solver's.)
    is_whole = charge.extent is Extent.UNKNOWN or (charge.extent in _WHOLE and charge.count == charge.size)
    if charge.factor is None and is_whole and len(names.leaves) == 1:
        advice = or_tolerance(advice, relative_off(charge.claimed, charge.reference))
    if charge.pattern is not None:
        kind, advice = pattern_words(charge.pattern, of)
    elif charge.number is not None:
        more = "has an extra" if charge.number > 0 else "lacks"
        kind = f"{more} {abs(charge.number):.6g} in each of these entries"
        if charge.extent is Extent.DIAGONAL:
            advice = "If that is a penalty, such as weight decay, put it into f and into the claim, or into neither."
    elif charge.is_transposed:
        one, another = (names.leaves[k].size for k in charge.blocks)
        kind = "transposed" if one == another else "reshaped in the wrong order"
        advice = "Transpose this block: rows are entries of the first array, columns of the second."
    if charge.extent is Extent.BLOCK:
        path = names.block(*charge.blocks)
    return Finding(
        id="GP101",
        severity=Severity.ERROR,
        path=path,
        entries=entries,
        place=_second_place(charge, names),
        kind=kind,
        claimed=charge.claimed,
        reference=charge.reference,
        error_bar=charge.error_bar,
        quantity=quantity,
        factor=charge.factor,
        advice=advice,
        reproducer=reproducer,
    )


def whole_path(names: Names) -> str:
    """The path of all of a claim."""
    return names.leaves[0].path if len(names.leaves) == 1 and not names.by_index else names.keyword


def _second_entry(names: Names, i: int, j: int) -> tuple[str, tuple[int, ...], str]:
    """Path, index and place of a second derivative: of a product, the entry of the answer and that of the vector."""
    if names.by_index:
        return names.place(i, j)
    path, index, _ = names.place(j, i)
    return path, index, f"by {names.place(i, j)[0]}"


def _second_place(charge: SecondCharge, names: Names) -> str:
    """The part of the second derivatives that is wrong, in words."""
    if charge.pattern is not None:
        return pattern_place(charge.pattern)
    if charge.entry is not None and charge.extent in (Extent.ENTRY, Extent.PAIR):
        i, j = charge.entry
        by = _second_entry(names, i, j)[2]
        if charge.extent is Extent.ENTRY:
            return by
        return f"{by}, and the other way round" if by else f"and its mirror image `{names.place(j, i)[0]}`"
    if charge.extent is Extent.UNKNOWN:
        return ""
    whole = charge.count == charge.size
    counted = "everywhere" if whole else f"{charge.count} of {charge.size} entries"
    if charge.extent is Extent.BLOCK:
        a, b = charge.blocks
        named = "" if charge.factor is not None or charge.is_transposed else counted
        by = "" if names.by_index else f"by {names.leaves[b].path}"
        mirrored = f"and its mirror image `{names.block(b, a)}`" if names.by_index else "and the other way round"
        return ", ".join(word for word in (by, named, mirrored if charge.is_mirrored else "") if word)
    if charge.extent in (Extent.ALL, Extent.SOME):
        return counted
    words = "the diagonal" if charge.extent is Extent.DIAGONAL else _line_words(charge, names.leaves)
    words += "" if names.by_index else " of the Hessian"
    return words if whole else f"at least {charge.count} entries of {words}"


def _line_words(charge: SecondCharge, leaves: Sequence[Leaf]) -> str:
    """A row, a column, or both, of the second derivatives by all arrays."""
    row, column = charge.extent is not Extent.COLUMN, charge.extent is not Extent.ROW
    each = [word for word, is_meant in (("row", row), ("column", column)) if is_meant]
    if len(leaves) == 1 and len(leaves[0].shape) == 1:
        return " and ".join(f"{word} {charge.at}" for word in each)
    leaf = next(leaf for leaf in leaves if leaf.start <= charge.at < leaf.stop)
    index = [int(k) for k in np.unravel_index(charge.at - leaf.start, leaf.shape)] if leaf.shape else ""
    return f"{' and '.join(each)} of `{leaf.path}{index}`"
