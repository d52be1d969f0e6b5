"""A direction is wrong: say which leaves, where in them, and what the mistake is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._base._leaf import Leaf
from gradproof._prove._diagnose import (
    DIRECTIONS,
    DIRECTIONS_LOW,
    Cause,
    Evidence,
    Undecided,
    diagnose,
    factor_cause,
    factor_words,
)
from gradproof._prove._directions import Direction
from gradproof._prove._judge import REACH, on_tread
from gradproof._prove._ledger import Ledger
from gradproof._prove._locate import (
    Place,
    Suspect,
    WrongEntry,
    box_part,
    box_source,
    box_words,
    entry_index,
    halves,
    one_by_one,
    wrong_leaves,
    wrong_place,
)
from gradproof._prove._maps import Region, entries_words
from gradproof._prove._measure import Asking, Measured, Meter, Residual, Tier, in_phase
from gradproof._report import Severity, Verdict

Floats = NDArray[np.float64]

# The largest share of a claim that f's own tolerance may be suspected of, and what is said then.
SMALL = 0.05
TOLERANCE = (
    "If f solves, integrates or iterates to a tolerance, or draws random numbers by rejection, its own error may be "
    "the reason: tighten that tolerance and run the check again. A deviation that shrinks with it is f's."
)
# Wrong entries of one leaf that get a finding of their own.
SHOWN = 20
# Entries of a leaf that are tried one by one where nothing else tells its wrong ones.
ONE_BY_ONE = 16


@in_phase("locating")
def accuse(
    meter: Meter, ledger: Ledger, tier: Tier, failing: Measured, rtol: float, most: int | None = None
) -> Asking[set[int]]:
    """Name the wrong leaves of a group (`most` of them) and what is wrong with each; empty if none stands out."""
    whole = failing.as_residual()
    parts: Sequence[tuple[Sequence[int], Residual]] = [(tier.group, whole)]
    if len(tier.group) > 1:
        parts = yield from halves(meter, tier, tier.group, failing.direction, whole)
        if failing.direction.floor == 0 and whole.claimed != 0 and parts[0][1].claimed != 0:
            factor = yield from _common_factor(meter, tier, failing, parts[0][1])
            if factor is not None:
                _accuse_all(ledger, tier, failing, factor)
                return set(tier.group)
    suspects = yield from wrong_leaves(meter, tier, failing.direction, parts, rtol, most)
    accused: set[int] = set()
    for suspect in suspects:
        if len(tier.group) > 1 and not (yield from _stands_alone(meter, tier, suspect, rtol)):
            continue
        accused.add(suspect.leaf)
        yield from _accuse_leaf(meter, ledger, tier, suspect)
    return accused


def _stands_alone(meter: Meter, tier: Tier, suspect: Suspect, rtol: float) -> Asking[bool]:
    """Whether a leaf also fails on a ladder of its own, where f is a staircase along a direction through several.

    What they have taught of noise and steps does not hold for a leaf that is rounded on its way while others are not.
    """
    if not meter.on_stairs:
        return True
    share = tier.share(suspect.leaf)
    measured = yield from meter.slope(suspect.alone, share)
    if not measured.finite or measured.deviation <= measured.bar + REACH * rtol * share:
        return False
    return not on_tread(measured)


def _common_factor(meter: Meter, tier: Tier, failing: Measured, half: Residual) -> Asking[float | None]:
    """The factor by which all leaves are off, if one explains half of them, and two directions through all of them."""
    evidence = Evidence(path="", shape=(), size=tier.size)
    evidence.add(failing.direction, failing.as_residual())
    evidence.add(failing.direction, half)
    if factor_cause(evidence) is None:
        return None
    again = tier.direction(meter.next_stream())
    evidence.add(again, (yield from meter.residual(again, tier.scale)))
    cause = factor_cause(evidence)
    return cause.factor if isinstance(cause, Cause) else None  # (None too where the true gradient is zero)


def _accuse_all(ledger: Ledger, tier: Tier, failing: Measured, factor: float) -> None:
    kind = f"claimed {factor_words(factor)} the true gradient"
    for index in tier.group:
        ledger.regions[index] = Region(Place(everywhere=True), "everywhere")
        ledger.settle(index, Verdict.WRONG, deviation=failing.deviation / tier.scale, note=kind)
    first = ledger.leaves[tier.group[0]].path
    ledger.report(
        "GP101",
        Severity.ERROR,
        path=first,
        place=f"and {len(tier.group) - 1} other leaves alike",
        kind=kind,
        claimed=failing.claimed,
        reference=failing.value,
        error_bar=failing.bar,
        quantity="slope",
        factor=factor,
        advice="All gradients are off by the same factor: look at the loss's own derivative, a mean or a sum.",
    )


def _accuse_leaf(meter: Meter, ledger: Ledger, tier: Tier, suspect: Suspect) -> Asking[None]:
    """Say what is wrong with one leaf: a cause for all of it, or a place and the cause there."""
    leaf = ledger.leaves[suspect.leaf]
    share = tier.share(suspect.leaf)
    evidence = Evidence(path=leaf.path, shape=leaf.shape, size=leaf.size)
    evidence.add(suspect.direction, suspect.first)
    evidence.add(suspect.alone, suspect.second)
    place: Place | None = None
    named: Cause | None = None
    try:
        named = yield from _cause(meter, tier, suspect, evidence)
        if named is None and leaf.size > 1:
            place = yield from _place(meter, suspect, evidence, share)
        if place is not None and place.box is not None and not place.entries:
            named = yield from _cause_in_box(meter, leaf, tier, suspect, place.box)
    except BudgetSpent:
        pass  # that it is wrong is known; where and why is said as far as it was found
    if place is not None and place.entries:
        note = report_entries(ledger, suspect.leaf, place)
    else:
        note = report_part(meter, ledger, suspect.leaf, evidence, place, named)
    deviation = max(abs(residual.value) for residual in evidence.residuals)
    ledger.settle(suspect.leaf, Verdict.WRONG, deviation=deviation / share if share > 0 else None, note=note)


def _cause(meter: Meter, tier: Tier, suspect: Suspect, evidence: Evidence) -> Asking[Cause | None]:
    """The mistake that explains all of a leaf, if there is one; adds to the evidence."""
    share = tier.share(suspect.leaf)
    cause = factor_cause(evidence)
    most = DIRECTIONS if meter.precision < 1e-12 else DIRECTIONS_LOW
    while isinstance(cause, Undecided) and len(evidence.residuals) < min(evidence.size + 1, most):
        again = tier.alone(suspect.leaf, meter.next_stream(), suspect.alone.floor)
        measured = yield from meter.evidence(again, share)
        if not measured.finite:
            break
        evidence.add(again, measured.as_residual())
        cause = factor_cause(evidence)
    if cause is None:
        cause = yield from diagnose(meter, suspect.leaf, evidence, share)
    return cause if isinstance(cause, Cause) else None


def _place(meter: Meter, suspect: Suspect, evidence: Evidence, share: float) -> Asking[Place]:
    """The wrong part of a leaf."""
    sharpest = max(zip(evidence.residuals, evidence.directions, strict=True), key=lambda item: item[0].contrast)
    place = yield from wrong_place(meter, suspect.leaf, sharpest[1], sharpest[0], share)
    if not (place.entries or place.box or place.everywhere) and evidence.size <= ONE_BY_ONE:
        place = yield from one_by_one(meter, suspect.leaf, sharpest[0])
    return place


def _cause_in_box(
    meter: Meter, leaf: Leaf, tier: Tier, suspect: Suspect, box: Sequence[tuple[int, int]]
) -> Asking[Cause | None]:
    """Test a factor on the wrong part of a leaf alone."""
    shape = tuple(high - low for low, high in box)
    evidence = Evidence(path=leaf.path + box_source(leaf.shape, box), shape=shape, size=math.prod(shape))
    for direction in (suspect.direction, suspect.alone):
        part = direction.restricted(*box_part(leaf.shape, leaf.start, leaf.stop, box))
        evidence.add(part, (yield from meter.residual(part, tier.share(suspect.leaf))))
    cause = factor_cause(evidence) if evidence.residuals else None
    return cause if isinstance(cause, Cause) else None


def report_entries(ledger: Ledger, index: int, place: Place, deviation: Floats | None = None) -> str:
    """One finding for every wrong entry of a leaf, of those with the largest errors; returns the leaf's note.

    `deviation` is |claimed - reference| of every entry, where all were measured.
    """
    leaf = ledger.leaves[index]

    def error(entry: WrongEntry) -> float:
        return abs(entry.reference - float(ledger.claim[entry.index]))

    largest = sorted(place.entries, key=error, reverse=True)[:SHOWN]
    shown = sorted(largest, key=lambda entry: entry.index)
    named = (entry_index(leaf.shape, entry.index - leaf.start) for entry in shown)
    ledger.regions[index] = Region(place, entries_words(named, len(place.entries)), deviation)
    whole = len(ledger.leaves) == 1 and len(place.entries) == leaf.size
    is_small = whole and all(error(e) <= SMALL * abs(ledger.claim[e.index]) for e in shown)
    for entry in shown:
        inside = entry_index(leaf.shape, entry.index - leaf.start)
        claimed = float(ledger.claim[entry.index])
        within = str(list(inside)) if inside else ""
        path = leaf.path + within
        lone = Evidence(path=path, shape=(), size=1)
        rounding = ledger.rounding * abs(claimed)
        residual = Residual(value=entry.reference - claimed, bar=entry.bar, claimed=claimed, rounding=rounding)
        lone.add(Direction(stream=-1, group=(), scales=()), residual)
        cause = factor_cause(lone)
        named = cause if isinstance(cause, Cause) else None
        ledger.report(
            "GP101",
            Severity.ERROR,
            path=path,
            entries=(inside,),
            place=within,
            kind=named.kind if named else "this entry is wrong",
            claimed=claimed,
            reference=entry.reference,
            error_bar=entry.bar,
            quantity="entry",
            factor=named.factor if named else None,
            advice=named.advice if named else unexplained(path, small=is_small),
        )
    count = len(place.entries)
    words = f"{count} wrong {'entry' if count == 1 else 'entries'}"
    words = words if place.complete else f"at least {words}"
    return words if count <= SHOWN else f"{words}, the largest {SHOWN} shown"


def unexplained(path: str, *, small: bool) -> str:
    """What to do about a leaf that no cause explains; `small` says that all of it is off by a few percent at most."""
    advice = f"Look at how the gradient of `{path}` is computed."
    return f"{advice} {TOLERANCE}" if small else advice


def report_part(
    meter: Meter,
    ledger: Ledger,
    index: int,
    evidence: Evidence,
    place: Place | None,
    cause: Cause | None,
    deviation: Floats | None = None,
) -> str:
    """One finding for a leaf, or a box of it; returns the leaf's note. `deviation` is as in `report_entries`."""
    leaf = ledger.leaves[index]
    path, words = leaf.path, ""
    if place is not None and place.box is not None:
        words = box_words(leaf.shape, place.box)
        path += box_source(leaf.shape, place.box)
    elif leaf.size > 1 and (cause is not None or (place is not None and place.everywhere)):
        words = "everywhere"
    if words or leaf.size == 1:
        ledger.regions[index] = Region(place or Place(everywhere=True), words, deviation)
    # A single entry is shown by itself, anything else by the slope that speaks most clearly.
    single = leaf.size == 1
    shown = evidence.residuals[0] if single else max(evidence.residuals, key=lambda residual: residual.contrast)
    step = float(meter.directions.vector(evidence.directions[0])[leaf.start]) if single else 1.0
    # (Where others are right beside it, the error is no solver's.)
    is_small = (
        len(ledger.leaves) == 1 and words in ("", "everywhere") and abs(shown.value) <= SMALL * abs(shown.claimed)
    )
    ledger.report(
        "GP101",
        Severity.ERROR,
        path=path,
        place=words,
        kind=cause.kind if cause else "is not the gradient of f",
        claimed=shown.claimed / step,
        reference=(shown.claimed + shown.value) / step,
        error_bar=shown.bar / abs(step),
        quantity="entry" if single else "slope",
        factor=cause.factor if cause else None,
        advice=cause.advice if cause else unexplained(path, small=is_small),
    )
    if cause is None:
        return f"wrong {words}" if words == "everywhere" else words
    return cause.kind if words in ("", "everywhere") else f"{words}: {cause.kind}"
