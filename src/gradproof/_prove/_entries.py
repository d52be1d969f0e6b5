"""Entry by entry: every derivative with its own bar, where that is cheaper than directions or asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from gradproof._base._away import BudgetSpent
from gradproof._base._precision import is_double
from gradproof._prove._accuse import report_entries, report_part
from gradproof._prove._bends import kinked
from gradproof._prove._charge import Cause, Place, WrongEntry
from gradproof._prove._confirm import Look, confirm
from gradproof._prove._diagnose import Evidence, factor_cause, visible
from gradproof._prove._directions import Direction
from gradproof._prove._jumps import jumps_nearby
from gradproof._prove._ledger import Ledger, wide_note
from gradproof._prove._maps import fits
from gradproof._prove._measure import Asking, Meter, Residual, Tier, in_phase
from gradproof._prove._tolerance import LEAST, REACH, Limits, irregular
from gradproof._prove._walks import WALKS
from gradproof._report import Verdict

# Entries that are asked about at once.
TOGETHER = 4096
# Wrong entries that are named one by one although they are all that a leaf has.
FEW = 2
# Arrays all of whose entries are measured to be shown, and those of a framework, where the part that is wrong says
# more: caps of evaluations.
TABLES, TABLES_OF_A_FRAMEWORK = 3, 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry's residual along its own step (absolute), the step, and what it says."""

    index: int
    residual: Residual
    step: float
    wrong: bool = False
    kinked: bool = False


def judge_entries(meter: Meter, ledger: Ledger, tier: Tier, limits: Limits) -> Asking[tuple[int, ...]]:
    """Settle every leaf of a group entry by entry.

    A pair of values per entry, more where it looks odd; what deviates is measured again on a ladder of its own. The
    bound of a leaf is the norm of all deviations and bars: it rests on no choice of directions.

    Returns
    -------
    tuple of int
        The leaves with a kinked entry, which are not settled.
    """
    left: list[int] = []
    for index in tier.group:
        leaf = ledger.leaves[index]
        rms = meter.norms[index] / math.sqrt(leaf.size)
        entries: list[Entry] = []
        for start in range(leaf.start, leaf.stop, TOGETHER):
            block = range(start, min(start + TOGETHER, leaf.stop))
            pairs = yield from meter.entries(index, block, rms)
            for entry, pair in zip(block, pairs, strict=True):
                entries.append((yield from judge_entry(meter, index, entry, pair, rms, limits)))
        if any(entry.kinked for entry in entries):
            left.append(index)
            continue
        entries = [_forgiven(meter, entry, rms) for entry in entries]
        wrong = [e for e in entries if e.wrong]
        if wrong:
            accuse_entries(meter, ledger, index, entries, wrong)
            continue
        settle_entries(meter, ledger, index, entries, limits)
    return tuple(left)


def _forgiven(meter: Meter, entry: Entry, rms: float) -> Entry:
    """An entry, not wrong where f has since been found to be no smoother than it deviates: jumps along others tell."""
    size, residual = abs(entry.residual.value), entry.residual
    if not entry.wrong or size > residual.bar + REACH * meter.regularity * rms:
        return entry
    return dataclasses.replace(entry, wrong=False, residual=dataclasses.replace(residual, bar=max(residual.bar, size)))


def settle_entries(meter: Meter, ledger: Ledger, index: int, entries: list[Entry], limits: Limits) -> None:
    """Settle a leaf none of whose entries is wrong: its bound is the norm of all deviations and bars."""
    leaf, norm = ledger.leaves[index], float(meter.norms[index])
    total = math.sqrt(sum((abs(e.residual.value) + e.residual.bar) ** 2 for e in entries))
    worst = max(abs(e.residual.value) for e in entries)
    bound = total / norm if norm > 0 else math.inf
    correct = bound <= limits.largest_bound(meter.precision)
    if not correct:
        ledger.reasons.append(limits.why_wide(meter.precision))
    # (Of the gradient itself: by how far an entry may move, one whose x is tiny counts little.)
    largest = max(((abs(e.residual.value) + e.residual.bar) / abs(e.step) for e in entries if e.step), default=0.0)
    typical = float(np.linalg.norm(ledger.claim[leaf.start : leaf.stop])) / math.sqrt(leaf.size)
    ledger.settle(
        index,
        Verdict.CORRECT if correct else Verdict.INCONCLUSIVE,
        bound=bound,
        deviation=worst / norm if norm > 0 else None,
        estimated=False,
        noticeable=largest / typical if typical > 0 else None,
        note="" if correct else wide_note(bound),
    )


def judge_entry(
    meter: Meter, leaf: int, entry: int, pair: Residual | None, rms: float, limits: Limits
) -> Asking[Entry]:
    """Judge an entry by what a pair of values says, if it says anything, and by whole slopes."""
    direction = Direction(stream=-1, group=(leaf,), scales=(1.0,), entry=entry)
    step = meter.directions.entry_size(entry)
    if step == 0:
        # Its bounds hold it where it is: nothing that is claimed of it can be held against f.
        return Entry(entry, Residual(value=0.0, bar=0.0, claimed=0.0), step)
    residual = (yield from meter.known_slope(direction, rms)).as_residual() if pair is None else pair
    size = _own_size(meter, leaf, residual, rms)
    tolerance = limits.allowance(meter.precision, size, rms, regularity=meter.regularity)
    if abs(residual.value) <= residual.bar + tolerance and residual.bar <= 1e-3 * rms:
        if pair is not None:
            meter.keep_pair(direction, pair, rms)
        return Entry(entry, residual, step)
    # (One that is right beside the others, if it is, is measured as they are.)
    is_small = abs(residual.value) <= residual.bar + limits.allowance(meter.precision, rms, rms)
    measured = yield from meter.slope(direction, size if is_small else rms)
    if not measured.finite or kinked(measured, tolerance):
        return Entry(entry, measured.as_residual(), step, kinked=measured.finite)
    if measured.deviation <= measured.bar + tolerance:
        return Entry(entry, measured.as_residual(), step)
    again = yield from confirm(meter, measured, tolerance)
    residual = again.measured.as_residual()
    if again.look is Look.EXCLUDED and meter.smooth_entries < WALKS:
        # (As before a whole leaf is accused: a solver that stops early makes a sawtooth of f, along every entry.)
        if (yield from jumps_nearby(meter, again.measured)):
            return Entry(entry, dataclasses.replace(residual, bar=max(residual.bar, again.measured.deviation)), step)
        meter.smooth_entries += 1
    if again.look is Look.IRREGULAR:
        # f itself is no smoother than this: the deviation counts as bar.
        meter.regularity = max(meter.regularity, irregular(measured.deviation, rms))
        residual = dataclasses.replace(residual, bar=max(residual.bar, measured.deviation))
    elif again.look is Look.UNSURE:
        residual = dataclasses.replace(residual, bar=math.inf)
    return Entry(entry, residual, step, wrong=again.look is Look.EXCLUDED)


def _own_size(meter: Meter, leaf: int, residual: Residual, rms: float) -> float:
    """What an error of an entry is relative to: the entry itself, where it is smaller than is usual in its array.

    The bound of the array weights it by how far it may move; a claim is no better than rounding beside the largest. In
    low precision that, and the rounding of x, is all that is to be had.
    """
    if not is_double(meter.precision):
        return rms
    own = max(abs(residual.claimed), abs(residual.claimed + residual.value))
    return min(rms, max(own, LEAST * float(meter.norms[leaf])))


@in_phase("locating")
def measure_small(meter: Meter, ledger: Ledger, most: int) -> Asking[None]:
    """Measure every entry of small arrays that are WRONG, so that a report can show them beside what is claimed.

    `most` : how many arrays at most.
    """
    wrong = [index for index, result in ledger.results.items() if result.verdict is Verdict.WRONG]
    small = [
        index
        for index in wrong
        if index in ledger.regions and not ledger.regions[index].entries and fits(ledger.leaves[index].shape)
    ]
    for index in small[:most]:
        leaf = ledger.leaves[index]
        scale = float(meter.norms[index]) / math.sqrt(leaf.size)
        try:
            found = yield from meter.entries(index, range(leaf.start, leaf.stop), scale)
        except BudgetSpent:
            return
        known = [one for one in found if one is not None]
        if len(known) < leaf.size:
            continue
        sizes = [meter.directions.entry_size(entry) for entry in range(leaf.start, leaf.stop)]
        ledger.regions[index] = dataclasses.replace(ledger.regions[index], entries=tuple(known))
        ledger.results[index] = dataclasses.replace(
            ledger.results[index], deviation=_deviation(zip(known, sizes, strict=True)), estimated=False
        )


def _deviation(residuals: Iterable[tuple[Residual, float]]) -> float | None:
    """|claim - true| / |true|, of all entries with the step that each was measured with."""
    every = [(one, step) for one, step in residuals if step]
    true = math.hypot(*((one.claimed + one.value) / step for one, step in every))
    return math.hypot(*(one.value / step for one, step in every)) / true if true > 0 else None


def accuse_entries(meter: Meter, ledger: Ledger, index: int, entries: list[Entry], wrong: list[Entry]) -> None:
    """Name the wrong entries, or the cause if one explains all entries of the leaf."""
    leaf = ledger.leaves[index]
    evidence = Evidence(shape=leaf.shape, size=leaf.size, eps=meter.eps, visible=visible(meter))
    for e in entries:
        evidence.add(Direction(stream=-1, group=(index,), scales=(1.0,), entry=e.index), e.residual)
    deviations = np.array([abs(e.residual.value / e.step) if e.step else 0.0 for e in entries])
    everywhere = len(wrong) == len(entries)
    cause = factor_cause(evidence) if everywhere else None
    if isinstance(cause, Cause) or (everywhere and len(entries) > FEW):
        named = cause if isinstance(cause, Cause) else None
        note = report_part(meter, ledger, index, evidence, Place(everywhere=True), named, deviations)
    else:
        found = [
            WrongEntry(
                index=e.index,
                reference=float(ledger.claim[e.index]) + e.residual.value / e.step,
                bar=e.residual.bar / abs(e.step),
            )
            for e in wrong
        ]
        note = report_entries(meter, ledger, index, Place(entries=tuple(found)), deviations)
    if index in ledger.regions and fits(leaf.shape):
        every = tuple(e.residual for e in entries)
        ledger.regions[index] = dataclasses.replace(ledger.regions[index], entries=every)
    deviation = _deviation((e.residual, e.step) for e in entries)
    ledger.settle(index, Verdict.WRONG, deviation=deviation, estimated=False, note=note)
