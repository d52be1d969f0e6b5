"""Entry by entry in low precision, where directions cannot tell: a certificate multiplies every bar, this does not.

A direction's bar is multiplied by 2 to 160 (see `_laws`), as it may miss most of an error; entries miss nothing.
They cost more: two levels, four values of f, for each. Noise is known from the directions; where an entry turns out to
bend more than was expected, it gets two finer levels of its own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gradproof._line import balanced_step
from gradproof._line._slope import LEAST_CUBIC, LEAST_RATIO, PAIR_NOISE
from gradproof._prove._directions import Direction
from gradproof._prove._entries import Entry, accuse_entries, judge_entry, settle_entries
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import Asking, EntryPairs, Measured, Meter
from gradproof._prove._tolerance import REACH, Limits

Floats = NDArray[np.float64]
Number = TypeVar("Number", float, NDArray[np.float64])

# A cap of effort: values of f for one claim, and how many more for each of up to so many entries.
WHOLE_CLAIM, PER_ENTRY, MOST_COUNTED = 1000, 4, 1000
# Values that one entry may take: whole ladders, a second one before it is accused, and a look at the shape of f.
WHOLE = 100
# Entries that are measured first, and by how much they may be wider than what is needed of all on average.
PILOT, HOPEFUL = 8, 2.0
# Entries with the largest claims that are measured with them.
STEEPEST = 2
# Rounds of finer levels for entries that bend more than was expected.
ROUNDS = 3
# Part of what is needed that each bar may take, so that deviations have room.
ROOM = 0.7


def most_evaluations(size: int) -> int:
    """Values of f that a claim about so many entries may take."""
    return WHOLE_CLAIM + PER_ENTRY * min(size, MOST_COUNTED)


def try_entries(meter: Meter, ledger: Ledger, index: int, limits: Limits, look: Measured, bound: float) -> Asking[bool]:
    """Settle a leaf entry by entry, if noise lets that succeed, and no more than `most_evaluations` are taken.

    Parameters
    ----------
    look : a slope along a direction through the leaf, from which noise is known.
    bound : what directions say; whether the leaf has been settled, by a smaller one or because it is wrong.
    """
    leaf, norm = ledger.leaves[index], float(meter.norms[index])
    most = most_evaluations(sum(one.size for one in ledger.leaves)) - WHOLE
    if not look.finite or look.slope.side or norm == 0 or meter.evaluations + PER_ENTRY * leaf.size > most:
        return False
    rms = norm / math.sqrt(leaf.size)
    share = limits.largest_bound(meter.precision) * rms
    noise = max(float(look.slope.noise[0]), float(look.slope.unit[0]))
    fine = balanced_step(noise, LEAST_CUBIC * rms)
    if _expected(noise, LEAST_CUBIC * rms, fine) > share:
        return False
    all_entries: NDArray[np.intp] = np.arange(leaf.start, leaf.stop, dtype=np.intp)
    search = _Search(meter=meter, leaf=index, noise=noise, f0=float(look.slope.f0[0]), rms=rms, share=share)
    found = yield from _all_pairs(search, all_entries, fine, limits)
    if found is None:
        return False
    entries = yield from _judge_all(meter, index, all_entries.tolist(), found, limits, most)
    if any(entry.kinked for entry in entries):
        return False
    wrong = [entry for entry in entries if entry.wrong]
    if wrong:
        accuse_entries(meter, ledger, index, entries, wrong)
        return True
    total = math.sqrt(sum((abs(e.residual.value) + e.residual.bar) ** 2 for e in entries))
    if not total < bound * norm:
        return False
    settle_entries(meter, ledger, index, entries, limits)
    return True


def _all_pairs(
    search: _Search, all_entries: NDArray[np.intp], fine: float, limits: Limits
) -> Asking[EntryPairs | None]:
    """Two levels for every entry of a leaf; None as soon as some entries show that all together will be too wide."""
    if len(all_entries) <= 2 * PILOT:
        found = yield from search.measure(all_entries, fine)
        return None if search.is_hopeless(found) else found
    # (Those with the largest claims bend most as a rule. One that by itself leaves the whole too wide says all.)
    steepest = all_entries[np.argsort(search.meter.claimed_steps(search.leaf))[-STEEPEST:]]
    spread = all_entries[np.linspace(0, len(all_entries) - 1, PILOT).astype(int)]
    known = steepest[-1:]
    found: EntryPairs | None = yield from search.measure(known, fine)
    for entries in (np.union1d(spread, steepest), all_entries):
        if len(known) > 1 and search.is_hopeless(found):
            return None
        found = yield from search.without_widest(known, found, len(all_entries), limits)
        if found is None:
            return None
        more = np.setdiff1d(entries, known)
        order = np.argsort(np.concatenate([known, more]))
        known, found = entries, found.joined((yield from search.measure(more, fine)), order)
    return found


def _expected(noise: float, third: Number, fine: Number) -> Number:
    """The bar of a pair whose fine step is `fine`."""
    return PAIR_NOISE * noise / fine + third * (LEAST_RATIO * fine) ** 2


def _norm(found: EntryPairs) -> float:
    return float(np.linalg.norm(np.abs(found.value) + found.bar))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Search:
    """Finds the steps that suit the entries of one leaf."""

    meter: Meter
    leaf: int
    noise: float
    f0: float
    rms: float
    share: float

    def measure(self, entries: NDArray[np.intp], fine: float) -> Asking[EntryPairs]:
        """Two levels for each entry, and finer ones where these promise a narrower bar that is needed."""
        reaches = np.full(len(entries), fine)
        found = yield from self._ask(entries, reaches)
        third = found.third
        for _ in range(ROUNDS):
            steps = np.array([balanced_step(self.noise, one) for one in third.tolist()])
            steps = np.where(np.isfinite(third), steps, reaches / LEAST_RATIO**2)
            hoped = _expected(self.noise, np.where(np.isfinite(third), third, 0.0), steps)
            again = np.flatnonzero((found.bar > ROOM * self.share) & (hoped < ROOM * found.bar) & (steps < reaches))
            if not again.size:
                break
            reaches[again] = steps[again]
            finer = yield from self._ask(entries[again], reaches[again])
            third = np.zeros(len(entries))
            third[again] = finer.third
            found = found.improved(again, finer)
        return found

    def is_hopeless(self, found: EntryPairs) -> bool:
        """Whether entries that stand for all are much wider than is needed of all on average."""
        # (The steepest are not like the others, and count otherwise.)
        typical = float(np.median(np.abs(found.value) + found.bar)) * math.sqrt(len(found.bar))
        return min(typical, _norm(found)) > HOPEFUL * self.share * math.sqrt(len(found.bar))

    def without_widest(
        self, entries: NDArray[np.intp], found: EntryPairs, count: int, limits: Limits
    ) -> Asking[EntryPairs | None]:
        """Look closer at the widest of some entries, if it leaves all of them too wide by itself.

        A ladder of its own says whether that is all to be had: None if it is, else the same with what it says.
        """
        most, k = self.share * math.sqrt(count), int(np.argmax(found.bar))
        if not found.bar[k] > most:
            return found
        pair = dataclasses.replace(found.residual(k), bar=math.inf)
        entry = yield from judge_entry(self.meter, self.leaf, int(entries[k]), pair, self.rms, limits)
        if entry.wrong:
            return found
        if entry.kinked or abs(entry.residual.value) + entry.residual.bar > most:
            return None
        value, bar = found.value.copy(), found.bar.copy()
        value[k], bar[k] = entry.residual.value, entry.residual.bar
        return dataclasses.replace(found, value=value, bar=bar)

    def _ask(self, entries: NDArray[np.intp], reaches: Floats) -> Asking[EntryPairs]:
        return (yield from self.meter.entry_pairs(self.leaf, entries.tolist(), reaches, self.noise, self.f0, self.rms))


def _judge_all(
    meter: Meter, index: int, numbers: list[int], found: EntryPairs, limits: Limits, most: int
) -> Asking[list[Entry]]:
    """Judge every entry by its pairs; by whole slopes where it deviates, or is too wide and there are values left."""
    norm = float(meter.norms[index])
    rms = norm / math.sqrt(len(numbers))
    goal = limits.largest_bound(meter.precision) * norm
    tolerance = REACH * max(limits.tolerance(meter.precision), meter.regularity) * rms
    entries: dict[int, Entry] = {}
    size = np.abs(found.value) + found.bar
    left = float(np.linalg.norm(size))
    order: list[int] = np.argsort(-size).tolist()
    for k in order:
        number, pair = numbers[k], found.residual(k)
        agrees = abs(pair.value) <= pair.bar + tolerance
        if agrees and (left <= goal or meter.evaluations > most):
            direction = Direction(stream=-1, group=(index,), scales=(1.0,), entry=number)
            meter.keep_pair(direction, pair, rms)
            entries[number] = Entry(number, pair, meter.directions.entry_size(number))
            continue
        if meter.evaluations > most:
            unsure = dataclasses.replace(pair, bar=math.inf)
            entries[number] = Entry(number, unsure, meter.directions.entry_size(number))
            continue
        entry = yield from judge_entry(meter, index, number, dataclasses.replace(pair, bar=math.inf), rms, limits)
        if agrees and not (entry.wrong or entry.kinked) and pair.bar < entry.residual.bar:
            entry = dataclasses.replace(entry, residual=pair)
        entries[number] = entry
        size[k] = abs(entry.residual.value) + entry.residual.bar
        left = float(np.linalg.norm(size))
    return [entries[number] for number in numbers]
