"""A direction is wrong: say which leaves, where in them, and what the mistake is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._base._precision import is_double
from gradproof._prove._bends import on_tread
from gradproof._prove._charge import Cause, Mistake, Place, WrongEntry
from gradproof._prove._diagnose import (
    DIRECTIONS,
    DIRECTIONS_LOW,
    Evidence,
    Hidden,
    Undecided,
    diagnose,
    factor_cause,
    visible,
)
from gradproof._prove._directions import Direction
from gradproof._prove._ledger import Ledger
from gradproof._prove._locate import (
    Range,
    Suspect,
    box_part,
    entry_index,
    halves,
    one_by_one,
    ranges_of,
    regular_place,
    single_entries,
    wrong_leaves,
    wrong_somewhere,
)
from gradproof._prove._maps import Region, entries_words
from gradproof._prove._measure import Asking, Measured, Meter, Residual, Tier, in_phase
from gradproof._prove._search import Search
from gradproof._prove._tolerance import REACH
from gradproof._prove._wording import cause_words, region_words
from gradproof._report import Verdict

Floats = NDArray[np.float64]

# Wrong entries of one leaf that are named, and that get a finding of their own: more of them are one mistake, and so
# are more than a few that are most of the leaf.
SHOWN, APART, FEW = 20, 5, 2
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
    likely: list[Range] = []
    before = ledger.mark()
    # The largest leaf first: its place tells more of the others' than theirs of it.
    for suspect in sorted(suspects, key=lambda one: -ledger.leaves[one.leaf].size):
        if len(tier.group) > 1 and not (yield from _stands_alone(meter, tier, suspect, rtol)):
            continue
        accused.add(suspect.leaf)
        yield from _accuse_leaf(meter, ledger, tier, suspect, likely, {one.leaf for one in suspects})
    ledger.sort_charges(before)
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
    evidence = Evidence(shape=(), size=tier.size)
    evidence.add(failing.direction, failing.as_residual())
    evidence.add(failing.direction, half)
    if factor_cause(evidence) is None:
        return None
    again = tier.direction(meter.next_stream())
    evidence.add(again, (yield from meter.residual(again, tier.scale)))
    cause = factor_cause(evidence)
    return cause.factor if isinstance(cause, Cause) else None  # (None too where the true gradient is zero)


def _accuse_all(ledger: Ledger, tier: Tier, failing: Measured, factor: float) -> None:
    cause = Cause(Mistake.FACTOR, factor=factor)
    for index in tier.group:
        ledger.regions[index] = Region(Place(everywhere=True), "everywhere")
        ledger.settle(index, Verdict.WRONG, deviation=abs(factor - 1), estimated=False, note=cause_words(cause))
    ledger.charge(
        leaves=tier.group,
        cause=cause,
        claimed=failing.claimed,
        reference=failing.value,
        error_bar=failing.bar,
    )


def _accuse_leaf(
    meter: Meter, ledger: Ledger, tier: Tier, suspect: Suspect, likely: list[Range], wrong: set[int]
) -> Asking[None]:
    """Say what is wrong with one leaf: a cause for all of it, or a place and the cause there.

    `likely` are ranges in which others are wrong; those of this one are added. `wrong` are all leaves that deviate.
    """
    leaf = ledger.leaves[suspect.leaf]
    share = tier.share(suspect.leaf)
    evidence = Evidence(shape=leaf.shape, size=leaf.size, eps=meter.eps, visible=visible(meter))
    evidence.add(suspect.direction, suspect.first)
    evidence.add(suspect.alone, suspect.second)
    place: Place | None = None
    named: Cause | Hidden | None = None
    part: Residual | None = None
    try:
        named = yield from _cause(meter, tier, suspect, evidence, wrong)
        if named is None and leaf.size > 1:
            seen = sorted(zip(evidence.residuals, evidence.directions, strict=True), key=lambda one: -one[0].contrast)
            search = Search(meter, suspect.leaf, seen[0][1], seen[0][0], share)
            place = yield from regular_place(search, likely)
            if len(seen) > 1 and (place is None or not (place.entries or (place.box and place.everywhere))):
                named = yield from wrong_somewhere(search, seen[1][1], seen[1][0])
                # (Which entries these are it says itself, of the whole leaf.)
                place = place if named is None else None
            if named is None and (place is None or (place.box is not None and not place.everywhere)):
                place = yield from single_entries(search, None if place is None else place.box)
            if place is not None:
                if not (place.entries or place.box or place.everywhere) and leaf.size <= ONE_BY_ONE:
                    place = yield from one_by_one(meter, suspect.leaf, search.whole)
                likely += [one for one in ranges_of(leaf.shape, place) if one not in likely]
                if place.box is not None and place.everywhere and not place.entries:
                    named, part = yield from _cause_in_box(search, suspect, place.box)
    except BudgetSpent:
        pass  # that it is wrong is known; where and why is said as far as it was found
    if place is not None and place.entries:
        note = report_entries(meter, ledger, suspect.leaf, place)
    else:
        cause = named if isinstance(named, Cause) else None
        note = report_part(meter, ledger, suspect.leaf, evidence, place, cause, shown=part)
    known = place is not None and place.complete and bool(place.entries)
    deviation = evidence.deviation(share)
    if place is not None and known:
        deviation = _deviation_of_entries(ledger, suspect.leaf, place.entries)
    ledger.settle(suspect.leaf, Verdict.WRONG, deviation=deviation, estimated=not (known or leaf.size == 1), note=note)


def _deviation_of_entries(ledger: Ledger, index: int, wrong: Sequence[WrongEntry]) -> float:
    """The norm of claim minus true over that of the true gradient, where all that is wrong is known."""
    leaf = ledger.leaves[index]
    claim = ledger.claim[leaf.start : leaf.stop]
    places = np.array([entry.index - leaf.start for entry in wrong])
    true = np.array([entry.reference for entry in wrong])
    off = float(np.linalg.norm(claim[places] - true))
    whole = math.hypot(float(np.linalg.norm(np.delete(claim, places))), float(np.linalg.norm(true)))
    return off / whole if whole > 0 else math.inf


def _cause(
    meter: Meter, tier: Tier, suspect: Suspect, evidence: Evidence, wrong: set[int]
) -> Asking[Cause | Hidden | None]:
    """The mistake that explains all of a leaf, if there is one; adds to the evidence."""
    share = tier.share(suspect.leaf)
    cause = factor_cause(evidence)
    most = DIRECTIONS if is_double(meter.precision) else DIRECTIONS_LOW
    while isinstance(cause, Undecided) and len(evidence.residuals) < min(evidence.size + 1, most):
        again = tier.alone(suspect.leaf, meter.next_stream(), suspect.alone.floor)
        measured = yield from meter.evidence(again, share)
        if not measured.finite:
            break
        evidence.add(again, measured.as_residual())
        cause = factor_cause(evidence)
    if cause is None:
        cause = yield from diagnose(meter, suspect.leaf, evidence, share, wrong)
    return None if isinstance(cause, Undecided) else cause


def _cause_in_box(
    search: Search, suspect: Suspect, box: Sequence[tuple[int, int]]
) -> Asking[tuple[Cause | None, Residual | None]]:
    """Test a factor on the wrong part of a leaf alone; also the clearest slope through that part."""
    shape = tuple(high - low for low, high in box)
    evidence = Evidence(shape=shape, size=math.prod(shape), visible=visible(search.meter))
    for direction in (suspect.direction, suspect.alone):
        part = direction.restricted(*box_part(search.shape, search.start, search.stop, box))
        evidence.add(part, (yield from search.ask(part)))
    if not evidence.residuals:
        return None, None
    cause, clearest = factor_cause(evidence), max(evidence.residuals, key=lambda residual: residual.contrast)
    return cause if isinstance(cause, Cause) else None, clearest


def report_entries(meter: Meter, ledger: Ledger, index: int, place: Place, deviation: Floats | None = None) -> str:
    """Charge the wrong entries of a leaf, each by itself or all together; returns the leaf's note.

    `deviation` is |claimed - reference| of every entry, where all were measured.
    """
    leaf = ledger.leaves[index]

    def error(entry: WrongEntry) -> float:
        return abs(entry.reference - float(ledger.claim[entry.index]))

    # (Beside a wrong entry another may be off by what the claim's own precision leaves.)
    beyond = [one for one in place.entries if error(one) > ledger.rounding * abs(float(ledger.claim[one.index]))]
    place = dataclasses.replace(place, entries=tuple(beyond) or place.entries)
    largest = sorted(place.entries, key=error, reverse=True)[:SHOWN]
    shown = sorted(largest, key=lambda entry: entry.index)
    named = (entry_index(leaf.shape, entry.index - leaf.start) for entry in shown)
    ledger.regions[index] = Region(place, entries_words(named, len(place.entries)), deviation)
    causes = [_lone_cause(meter, ledger, entry) for entry in shown]
    count = len(place.entries)
    if count <= FEW or (count <= APART and 2 * count <= leaf.size):
        for entry, cause in zip(shown, causes, strict=True):
            _charge_entry(ledger, index, entry, cause, index=_inside(ledger, index, entry))
    else:
        cause = causes[0] if len({*causes}) == 1 else None
        _charge_entry(
            ledger, index, largest[0], cause, place=dataclasses.replace(place, entries=tuple(shown), count=count)
        )
    if not leaf.shape:
        return ""  # of a number there is no more to say than that it is wrong
    words = f"{count} wrong {'entry' if count == 1 else 'entries'}"
    words = words if place.complete else f"at least {words}"
    return words if count <= SHOWN else f"{words}, the largest {SHOWN} shown"


def _inside(ledger: Ledger, index: int, entry: WrongEntry) -> tuple[int, ...]:
    return entry_index(ledger.leaves[index].shape, entry.index - ledger.leaves[index].start)


def _lone_cause(meter: Meter, ledger: Ledger, entry: WrongEntry) -> Cause | None:
    """The mistake that explains one entry, if it is one of the commonest."""
    claimed = float(ledger.claim[entry.index])
    size = abs(meter.directions.entry_size(entry.index))
    lone = Evidence(shape=(), size=1, visible=lambda: visible(meter)() / size)
    rounding = ledger.rounding * abs(claimed)
    residual = Residual(value=entry.reference - claimed, bar=entry.bar, claimed=claimed, rounding=rounding)
    lone.add(Direction(stream=-1, group=(), scales=()), residual)
    cause = factor_cause(lone)
    return cause if isinstance(cause, Cause) else None


def _charge_entry(
    ledger: Ledger,
    leaf: int,
    entry: WrongEntry,
    cause: Cause | None,
    *,
    index: tuple[int, ...] | None = None,
    place: Place | None = None,
) -> None:
    """Charge one entry, or several with this one as their example."""
    claimed = float(ledger.claim[entry.index])
    ledger.charge(
        leaves=(leaf,),
        index=index,
        place=place,
        cause=cause,
        claimed=claimed,
        reference=entry.reference,
        error_bar=entry.bar,
        entry=True,
        example=None if index is not None else _inside(ledger, leaf, entry),
    )


def report_part(
    meter: Meter,
    ledger: Ledger,
    index: int,
    evidence: Evidence,
    place: Place | None,
    cause: Cause | None,
    deviation: Floats | None = None,
    *,
    shown: Residual | None = None,
) -> str:
    """One finding for a leaf, or a box of it; returns the leaf's note. `deviation` is as in `report_entries`.

    `shown` is the slope through the box alone, where it was measured.
    """
    leaf = ledger.leaves[index]
    # A single entry is shown by itself, anything else by the slope that speaks most clearly.
    single, measured = leaf.size == 1, evidence.residuals if shown is None else [shown]
    if shown is None:
        shown = evidence.residuals[0] if single else max(evidence.residuals, key=lambda residual: residual.contrast)
    step = float(meter.directions.vector(evidence.directions[0])[leaf.start]) if single else 1.0
    # (Where others are right beside it, the error is no solver's.)
    is_most = place is None or place.is_most_of(leaf.size)
    charge = ledger.charge(
        leaves=(index,),
        place=place,
        cause=cause,
        claimed=shown.claimed / step,
        reference=(shown.claimed + shown.value) / step,
        error_bar=shown.bar / abs(step),
        entry=single,
        off=_relative(measured) if is_most else None,
    )
    words = region_words(charge, leaf)[1]
    if words or single:
        ledger.regions[index] = Region(place or Place(everywhere=True), words, deviation)
    if cause is None:
        return f"wrong {words}" if words == "everywhere" else words
    return cause_words(cause) if words in ("", "everywhere") else f"{words}: {cause_words(cause)}"


def _relative(residuals: Sequence[Residual]) -> float | None:
    """The deviation relative to the claim, by several slopes, of which one may have cancelled; None of a claim of 0."""
    claimed = math.hypot(*(one.claimed for one in residuals))
    return math.hypot(*(one.value for one in residuals)) / claimed if claimed else None
