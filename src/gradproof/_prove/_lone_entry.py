"""One wrong entry of a leaf: its index is read off residuals, digit by digit; and random subsets, which tell many."""

from __future__ import annotations

import math

from gradproof._prove._charge import WrongEntry
from gradproof._prove._directions import Coin, Digits, Direction
from gradproof._prove._measure import Asking, Residual
from gradproof._prove._search import CLEAR, Search

# A digit is read off a ratio of residuals only if the error of the reading is below this.
READABLE = 0.3
# Entries of which random subsets are drawn; of fewer each is asked about.
LEAST_DRAWN = 6


def lone_entry(search: Search, direction: Direction, residual: Residual) -> Asking[WrongEntry | None]:
    """The one entry that makes `direction` fail, or None if there are several (or the bars are too wide to read)."""
    index = yield from _read_index(search, direction, residual, search.stop - search.start)
    if index is None or not search.start <= index < search.stop:
        return None
    v = float(search.meter.directions.vector(direction)[index])
    if v == 0.0:
        return None
    alone = yield from search.ask(search.only(index))
    if not (alone.clear and (residual - alone).agrees_with_zero):
        return None
    claimed = float(search.meter.directions.claim[index])
    return WrongEntry(index=index, reference=claimed + alone.value / v, bar=alone.bar / abs(v))


def _read_index(search: Search, direction: Direction, residual: Residual, count: int) -> Asking[int | None]:
    """Read the index of a lone entry digit by digit, in the largest base that the bars allow."""
    if count == 1:
        return search.start
    base = min(count, int(READABLE * abs(residual.value) / (2 * max(residual.bar, 1e-300))) - 1)
    if base < 3:
        return None
    digits = 1
    while base**digits < count:
        digits += 1
    # The smallest base with as many digits reads most safely.
    base = next(b for b in range(max(2, int(count ** (1 / digits)) - 1), base + 1) if b**digits >= count)
    index = search.start
    for place in reversed(range(digits)):
        digit = yield from read_digit(search, direction, residual, base**place, base)
        if digit is None:
            return None
        index += digit - search.start
    return index


def read_digit(search: Search, direction: Direction, residual: Residual, stride: int, base: int) -> Asking[int | None]:
    """`search.start` plus stride times the digit that all of the residual carries, or None."""

    def read(weighted: Residual) -> tuple[float, float]:
        reading = weighted.value / residual.value * (base + 1) - 1
        return reading, (weighted.bar * (base + 1) + abs(reading + 1) * residual.bar) / abs(residual.value)

    def is_none(weighted: Residual) -> bool:
        reading, error = read(weighted)
        return math.isfinite(reading) and abs(reading - min(max(round(reading), 0), base - 1)) > 3 * error

    part = direction.restricted(Digits(search.start, search.stop, stride, base))
    reading, error = read((yield from search.ask(part, is_none)))
    if not (math.isfinite(reading) and error < READABLE):
        return None
    digit = round(reading)
    if abs(reading - digit) > max(error, 1e-6) or not 0 <= digit < base:
        return None
    return search.start + stride * digit


def failing_subsets(search: Search, direction: Direction, count: int, *, another: bool = False) -> Asking[int]:
    """How many of four random subsets (`another`: four others) fail: sixty-fourths, or a few entries."""
    if count < LEAST_DRAWN:
        return 0
    depth = min(6, int(math.log2(count / 2)))
    trials = failing = 0
    first = 100 + 40 * len(direction.parts) + 10_000 * another
    for number in range(first, first + 40):
        bits = (Coin(salt(search, number * 8 + bit), 0) for bit in range(depth))
        part = direction.restricted(*bits)
        if not search.meter.directions.vector(part).any():
            continue
        found = yield from search.ask(part, CLEAR)
        failing += abs(found.value) > 2 * found.bar
        trials += 1
        if trials == 4 or trials - failing > 2:
            break
    return failing


def salt(search: Search, number: int) -> int:
    """What draws a random subset of its own."""
    return (search.meter.directions.seed * 1_000_003 + search.direction.stream * 1009 + number) % 2**31
