"""What the entries of an elementwise derivative come to: one finding for each mistake, and where its entries lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf
from gradproof._prove._tolerance import CANCELLED
from gradproof._prove._wording import or_tolerance, relative_off
from gradproof._report import Finding, Reason, Severity, Verdict

Vector: TypeAlias = NDArray[np.float64]
Entry: TypeAlias = int

# Entries that are named one by one, and the most indices that a finding holds.
NAMED, KEPT = 6, 100
# Wrong entries from which on it is said in which region of x they lie, and right ones within that have others around.
REGION = 3
# How well the same relation holds in all wrong entries.
SAME = 1e-3
# How near a factor, the same in all of them, must be to a whole number to be told as one.
WHOLE = 1e-5


@dataclasses.dataclass(kw_only=False)
class Told:
    """What is known of one entry.

    is_still : whether f keeps its bits, or does not move, along it.
    is_flat : whether it is CORRECT for that, beside others that were tested.
    """

    index: Entry
    verdict: Verdict
    bound: float | None = None
    deviation: float | None = None
    reason: Reason | None = None
    note: str = ""
    reference: float | None = None
    bar: float | None = None
    findings: tuple[Finding, ...] = ()
    rtol: float = 0.0
    is_still: bool = False
    is_flat: bool = False


def flat_entries(told: Sequence[Told], claim: Vector, size: Vector, at_point: Vector, eps: float) -> None:
    """Call entries CORRECT where f stands still and no more than rounding is claimed, if others were tested."""
    if not any(one.verdict in (Verdict.CORRECT, Verdict.WRONG, Verdict.NOT_DIFFERENTIABLE) for one in told):
        return
    for one in told:
        i = one.index
        if one.verdict is not Verdict.INCONCLUSIVE or one.reason is Reason.DOMAIN or one.reason is Reason.BUDGET:
            continue
        is_rounding = abs(claim[i]) * size[i] <= CANCELLED * eps * abs(at_point[i])
        if (one.is_still and claim[i] == 0) or is_rounding:
            one.verdict, one.is_flat, one.findings, one.reason = Verdict.CORRECT, True, (), None


def findings_of(
    told: Sequence[Told], leaf: Leaf, point: Vector, claim: Vector, at_point: Vector, *, keyword: str
) -> list[Finding]:
    """One finding for each kind of mistake, and one that names the entries that are not resolved."""
    found: list[Finding] = []
    wrong = [one for one in told if one.verdict is Verdict.WRONG]
    outside = [one for one in wrong if any(finding.id == "GP103" for finding in one.findings)]
    plain = [one for one in wrong if one not in outside]
    if plain:
        found.append(_wrong(plain, told, leaf, point, claim, at_point, keyword))
    for id, some in (("GP103", outside), ("GP110", [one for one in told if one.verdict is Verdict.NOT_DIFFERENTIABLE])):
        if some:
            first = next(one for one in some[0].findings if one.id == id)
            found.append(_about(first, some, leaf))
    for id in dict.fromkeys(
        finding.id for one in told for finding in one.findings if finding.severity is Severity.NOTE
    ):
        some = [one for one in told if any(finding.id == id for finding in one.findings)]
        if id != "GP110":
            found.append(_about(next(finding for finding in some[0].findings if finding.id == id), some, leaf))
    unresolved = [one for one in told if one.verdict is Verdict.INCONCLUSIVE]
    if unresolved:
        found.append(_unresolved(unresolved, told, leaf))
    return found


def _about(finding: Finding, some: Sequence[Told], leaf: Leaf) -> Finding:
    """A finding of the first of some entries, about all of them."""
    if not finding.path:
        return finding
    if len(some) == 1:
        return dataclasses.replace(finding, path=_path(some[0].index, leaf), entries=())
    named = f": {_named(some, leaf)}" if len(some) > KEPT else ""
    return dataclasses.replace(
        finding, path=leaf.path, entries=_indices(some, leaf), place=f"{len(some)} entries{named}"
    )


def _wrong(
    wrong: Sequence[Told],
    told: Sequence[Told],
    leaf: Leaf,
    point: Vector,
    claim: Vector,
    at_point: Vector,
    keyword: str,
) -> Finding:
    def size(one: Told) -> float:
        return abs(claim[one.index] - (one.reference or 0.0)) / max(one.bar or 0.0, 1e-300)

    clearest = max(wrong, key=size)
    i = clearest.index
    kind, factor, advice = _relation(wrong, claim, at_point, keyword)
    where = region(wrong, told, point, claim, leaf.path)
    count = f"{len(wrong)} of {len(told)} entries"
    if len(wrong) == 1:
        path, place = _path(i, leaf), ""
    elif len(wrong) == len(told):
        path, place = leaf.path, "everywhere"
    elif where:
        path, place = leaf.path, f"where {where} ({count})"
    else:
        # (A few are named as the entries of the finding.)
        path, place = leaf.path, count if len(wrong) <= KEPT else f"{count}: {_named(wrong, leaf)}"
    shown = "" if len(wrong) == 1 else f" of {_path(i, leaf)}"
    return Finding(
        id="GP101",
        severity=Severity.ERROR,
        path=path,
        entries=() if len(wrong) in (1, len(told)) else _indices(wrong, leaf),
        place=place,
        kind=kind,
        claimed=float(claim[i]),
        reference=clearest.reference,
        error_bar=clearest.bar,
        quantity=f"slope{shown}",
        factor=factor,
        advice=advice,
    )


def _relation(wrong: Sequence[Told], claim: Vector, at_point: Vector, keyword: str) -> tuple[str, float | None, str]:
    """What all wrong entries have in common: the kind of mistake, the factor if it is one, and advice."""
    claimed = np.array([claim[one.index] for one in wrong])
    true = np.array([math.nan if one.reference is None else one.reference for one in wrong])
    values = np.array([at_point[one.index] for one in wrong])
    look = f"Look at how `{keyword}` is computed there."

    def same(one: Vector, other: Vector) -> bool:
        return bool((np.abs(one - other) <= SAME * np.maximum(np.abs(one), np.abs(other))).all())

    if not claimed.any():
        return "claimed zero, the true derivative is not", None, f"See that `{keyword}` reaches these entries."
    if len(wrong) > 1 or len(claim) == 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = float(np.median(claimed / true))
        if math.isfinite(factor) and factor != 0 and same(claimed, factor * true):
            word = "with the wrong sign" if abs(factor + 1) <= WHOLE else f"{_short(factor)} times the true derivative"
            return f"claimed {word}", factor, f"Divide by {_short(factor)}: look for a stray factor or sign."
        if same(claimed, values):
            return "claimed f itself, not its derivative", None, f"Return the derivative from `{keyword}`."
    those = "these entries are" if len(wrong) > 1 else "this entry is"
    # (Where other entries are right beside these, the error is no solver's.)
    is_all = len(wrong) == np.count_nonzero(claim)
    offs = [relative_off(one, other) for one, other in zip(claimed.tolist(), true.tolist(), strict=True)]
    off = max((one for one in offs if one is not None), default=None) if is_all else None
    return f"{those} wrong", None, or_tolerance(look, off)


def _unresolved(unresolved: Sequence[Told], told: Sequence[Told], leaf: Leaf) -> Finding:
    words = [f"{_path(one.index, leaf)} ({_why(one)})" for one in unresolved[:NAMED]]
    more = f" and {len(unresolved) - NAMED} more" if len(unresolved) > NAMED else ""
    return Finding(
        id="GP315",
        severity=Severity.DOUBT,
        path=leaf.path if len(unresolved) > 1 else _path(unresolved[0].index, leaf),
        entries=_indices(unresolved, leaf) if len(unresolved) > 1 else (),
        kind=f"this entry cannot be resolved: {_why(unresolved[0])}"
        if len(unresolved) == 1
        else f"{len(unresolved)} of {len(told)} entries cannot be resolved: {', '.join(words)}{more}",
        advice="Check these entries at values where f moves by more, or leave them out of x.",
    )


def _why(one: Told) -> str:
    if one.is_still:
        return "f does not move"
    return one.note or (one.reason.value if one.reason else "the error bar is too wide")


def region(wrong: Sequence[Told], told: Sequence[Told], point: Vector, claim: Vector, name: str) -> str:
    """The region of x in which all wrong entries lie and no right one; empty where there is none.

    An entry whose bound would hide the error of the others is not known to be right.
    """
    x = np.array([point[one.index] for one in wrong])
    errors = [_error(one, claim) for one in wrong]
    right = np.array(
        [
            point[one.index]
            for one in told
            if one.verdict is Verdict.CORRECT and (one.is_flat or (one.bound is not None and one.bound < min(errors)))
        ]
    )
    if len(x) < REGION or not len(right):
        return ""
    low, high = float(x.min()), float(x.max())
    below, above = right[right < low], right[right > high]
    if len(below) + len(above) == len(right):
        parts = [between(float(below.max()), low)] if len(below) else []
        parts += [between(float(above.min()), high)] if len(above) else []
        if len(parts) == 2:
            return f"{parts[0]} < {name} < {parts[1]}"
        return f"{name} > {parts[0]}" if len(below) else f"{name} < {parts[0]}"
    first, last = float(right.min()), float(right.max())
    if len(right) >= REGION and not ((x > first) & (x < last)).any() and (x < first).any() and (x > last).any():
        least, most = between(first, float(x[x < first].max())), between(last, float(x[x > last].min()))
        return f"{name} < {least} or {name} > {most}"
    return ""


def _error(one: Told, claim: Vector) -> float:
    """The error of a wrong entry, relative to the larger of what is claimed and what was measured."""
    reference, claimed = one.reference or 0.0, float(claim[one.index])
    return abs(claimed - reference) / max(abs(claimed), abs(reference), 1e-300)


def between(right: float, wrong: float) -> str:
    """The shortest decimal that parts a right entry from a wrong one: it may be the right one."""
    low, high = min(right, wrong), max(right, wrong)
    for digits in range(1, 17):
        for x in (right, (low + high) / 2):
            shown = f"{x:.{digits}g}"
            if low <= float(shown) <= high and float(shown) != wrong:
                return "0" if float(shown) == 0 else shown
    return repr(right)


def _short(factor: float) -> str:
    near, inverse = round(factor), round(1 / factor)
    if near and abs(factor - near) <= WHOLE * abs(near):
        return str(near)
    return f"1/{inverse}" if inverse and abs(1 / factor - inverse) <= WHOLE * abs(inverse) else f"{factor:.6g}"


def _path(i: Entry, leaf: Leaf) -> str:
    index = np.unravel_index(i, leaf.shape) if leaf.shape else ()
    return f"{leaf.path}[{', '.join(map(str, index))}]" if leaf.shape else leaf.path


def _indices(some: Sequence[Told], leaf: Leaf) -> tuple[tuple[int, ...], ...]:
    if not leaf.shape or len(some) > KEPT:
        return ()
    return tuple(tuple(int(k) for k in np.unravel_index(one.index, leaf.shape)) for one in some)


def _named(some: Sequence[Told], leaf: Leaf) -> str:
    more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
    return ", ".join(_path(one.index, leaf) for one in some[:NAMED]) + more
