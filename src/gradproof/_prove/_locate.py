"""Where the claim is wrong: which leaves, and which of their entries.

Everything here asks for residuals (true minus claimed slope) along parts of one failing direction. These add up: the
residual of one half is the whole minus the other half, so one question splits a set in two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._prove._charge import Cause, Mistake, Place, WrongEntry
from gradproof._prove._directions import Coin, Direction, Part, Slab, Spans, Without
from gradproof._prove._lone_entry import LEAST_DRAWN, READABLE, failing_subsets, lone_entry, read_digit, salt
from gradproof._prove._measure import Asking, Glance, Meter, Residual, Tier
from gradproof._prove._search import CLEAR, Search
from gradproof._prove._tolerance import RTOL64_BALANCED

# Evaluations spent on naming entries of one leaf before it is called wrong in many places: one for each entry, as
# measuring them all would take, but no fewer and no more than this. A question takes two.
LEAST, MOST = 200, 2000
# Entries found one by one after which it is asked whether the box around them holds all that is wrong, and is wrong
# all over: once for each doubling, as an answer costs two evaluations and each further entry some twenty. The first
# time that box may grow.
HULL = (4, 8, 16, 32)

# Entries of a leaf that are all asked about, and of a larger set that are drawn before it is said of all of them.
EACH = 12
# Random subsets, of four or of eight, that fail where the wrong entries are many.
MANY = 3
# Entries that must lie on either side before "only where" is said.
LEAST_APART = 2
# A cap of memory: ranges of entries that share a sign, or are claimed to be 0.
RANGES = 4096

Box = tuple[tuple[int, int], ...]

Halves = tuple[tuple[tuple[int, ...], Residual], tuple[tuple[int, ...], Residual]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suspect:
    """A leaf whose part of a failing direction deviates, and a second direction through it alone."""

    leaf: int
    first: Residual
    direction: Direction
    second: Residual
    alone: Direction


def halves(meter: Meter, tier: Tier, group: Sequence[int], failing: Direction, whole: Residual) -> Asking[Halves]:
    """Divide the leaves of a failing direction in two and say which part of its residual each half carries."""
    middle = len(group) // 2
    left, right = tuple(group[:middle]), tuple(group[middle:])
    measured = yield from meter.residual(failing.restricted(_spans(meter, left)), tier.scale)
    return (left, measured), (right, whole - measured)


def wrong_leaves(
    meter: Meter,
    tier: Tier,
    failing: Direction,
    parts: Sequence[tuple[Sequence[int], Residual]],
    rtol: float,
    most: int | None = None,
) -> Asking[tuple[Suspect, ...]]:
    """Name the leaves that make a direction fail; no more than `most`, the last ones first.

    `parts` are disjoint groups of leaves with their shares of the residual. They are halved until single leaves are
    left. Every suspect is confirmed by a direction of its own.
    """
    suspects: list[Suspect] = []
    todo = list(parts)
    share = _shares(meter, tier, failing.floor)
    if failing.floor > 0:
        rtol = RTOL64_BALANCED
    while todo and (most is None or len(suspects) < most):
        group, found = todo.pop()
        floor = meter.claim_floor * min(tier.scales[tier.group.index(index)] for index in group)
        least = 5 * max(rtol * min(share[index] for index in group), floor)
        if not abs(found.value) > found.bar + least:
            continue
        if len(group) == 1:
            index = group[0]
            alone = tier.alone(index, meter.next_stream(), failing.floor)
            only = len(tier.group) == 1
            if only and failing.floor == 0 and meter.takes_sharp_slopes:
                second = (yield from meter.evidence(alone, share[index])).as_residual()
            elif only:
                second = yield from meter.residual(alone, share[index])
            else:
                # An accusation: a whole slope, not just a pair.
                measure = meter.coarse_slope if failing.floor > 0 else meter.known_slope
                second = (yield from measure(alone, share[index])).as_residual()
            if only or second.seen:
                part = failing if only else failing.restricted(_spans(meter, group))
                suspects.append(Suspect(leaf=index, first=found, direction=part, second=second, alone=alone))
            continue
        todo.extend((yield from halves(meter, tier, group, failing, found)))
    return tuple(sorted(suspects, key=lambda suspect: suspect.leaf))


def _shares(meter: Meter, tier: Tier, floor: float) -> dict[int, float]:
    """The natural size of each leaf's part of the slope."""
    if floor == 0:
        return dict(zip(tier.group, tier.shares, strict=True))
    steps = (scale * meter.claimed_steps(index) for index, scale in zip(tier.group, tier.scales, strict=True))
    cut = (float(np.linalg.norm(np.minimum(step, floor))) for step in steps)
    return dict(zip(tier.group, cut, strict=True))


def _spans(meter: Meter, group: Sequence[int]) -> Spans:
    leaves = meter.directions.leaves
    return Spans(tuple((leaves[index].start, leaves[index].stop) for index in group))


# A range along one axis, counted from the last: (axis, its length, low, high).
Range = tuple[int, int, int, int]


def ranges_of(shape: Sequence[int], place: Place) -> list[Range]:
    """Where a box is narrower than its leaf: other leaves may be wrong in the same place along the same axis."""
    spans = [] if place.box is None else list(zip(shape, place.box, strict=True))
    return [(axis, length, *span) for axis, (length, span) in enumerate(reversed(spans)) if span != (0, length)]


def regular_place(search: Search, likely: Sequence[Range] = ()) -> Asking[Place | None]:
    """Find a regular place that holds all that is wrong in a leaf; None if there is none.

    `likely` are ranges in which other leaves are wrong: these are tried first.

    A lone wrong entry is read off one ratio: with weights (i + 1) / (n + 1) the residual of entry i shrinks by just
    that. The same with the index along an axis finds a lone row or column. If random small subsets all fail, the wrong
    entries are many: they fill a box along the axes, or the whole leaf. Else they are few, or scattered.
    """
    direction, whole = search.direction, search.whole
    for axis, length, low, high in likely:
        box = _with_range(search.shape, axis, length, (low, high))
        if box is not None and (yield from _holds_all(search, box)) and (yield from _fails_all_over(search, box)):
            return Place(box=box, everywhere=True)
    lone = yield from lone_entry(search, direction, whole)
    if lone is not None:
        return Place(entries=(lone,))
    if not whole.clear:
        return Place(complete=False)
    box = yield from _lone_slice(search)
    if box is None and search.stop - search.start <= EACH:
        return (yield from _one_after_the_other(search))
    if box is None:
        failing = yield from failing_subsets(search, direction, search.stop - search.start)
        many = failing >= MANY
        if failing in (1, 2):
            # Two of four are an accident that five wrong entries have, too, and one of four one of a box of a quarter;
            # a search for a box that is none is dear.
            more = yield from failing_subsets(search, direction, search.stop - search.start, another=True)
            many = failing + more >= MANY
        if many:
            box = yield from _box(search)
        if box is None and failing == 4:
            return Place(everywhere=True)
    if box is None:
        return None
    return Place(box=box, everywhere=(yield from _fails_all_over(search, box)))


def single_entries(search: Search, box: Box | None = None) -> Asking[Place]:
    """Find the wrong entries of a leaf one by one, within a box that holds all of them."""
    part = search.direction
    if box is not None:
        part = part.restricted(*box_part(search.shape, search.start, search.stop, box))
    return (yield from _halve(search, part, search.whole))


def _with_range(shape: Sequence[int], axis: int, length: int, span: tuple[int, int]) -> Box | None:
    """The box of a leaf that a range along one of its axes, counted from the last, cuts out."""
    if len(shape) <= axis or shape[-1 - axis] != length:
        return None
    box = [(0, each) for each in shape]
    box[-1 - axis] = span
    return tuple(box)


def _holds_all(search: Search, box: Box) -> Asking[bool]:
    """Whether a box holds all that is wrong."""
    part = search.direction.restricted(*box_part(search.shape, search.start, search.stop, box))
    inside = yield from search.ask(part, lambda found: (search.whole - found).clear)
    return inside.clear and (search.whole - inside).agrees_with_zero


def _is_place(search: Search, box: Box) -> Asking[bool]:
    """Whether a part of the leaf holds all that is wrong, and is wrong all over."""
    if all(span == (0, length) for span, length in zip(box, search.shape, strict=True)):
        return False
    return (yield from _holds_all(search, box)) and (yield from _fails_all_over(search, box))


def _fails_all_over(search: Search, box: Box) -> Asking[bool]:
    """Whether random parts of a box, or all its entries where they are few, are wrong."""
    part = search.direction.restricted(*box_part(search.shape, search.start, search.stop, box))
    return (yield from _all_over(search, part, _inside(search, box)))


def _all_over(search: Search, part: Direction, indices: Sequence[int] | NDArray[np.intp]) -> Asking[bool]:
    """Whether random parts of some entries, all that move along a direction, are wrong; each where these are few."""
    if len(indices) >= LEAST_DRAWN:
        return (yield from failing_subsets(search, part, len(indices))) == 4
    return (yield from _each_is_wrong(search, indices))


def _each_is_wrong(search: Search, indices: Sequence[int] | NDArray[np.intp]) -> Asking[bool]:
    for index in indices:
        alone = yield from search.ask(search.only(int(index)), CLEAR)
        if not alone.seen:
            return False
        search.wrong.add(int(index))
    return True


def _one_after_the_other(search: Search) -> Asking[Place]:
    """The wrong entries of a small leaf: each of them is asked about."""
    directions = search.meter.directions
    v = directions.vector(search.direction)[search.start : search.stop].tolist()
    moved = [(index, own) for index, own in enumerate(v, start=search.start) if own != 0.0]
    glances: dict[int, Glance] = {}
    for index, _ in moved:
        glance = yield from search.glance(search.only(index))
        if glance is not None:
            glances[index] = glance
            if glance.residual.clear:
                search.wrong.add(index)
                continue
        if not (yield from _alone(search, index, glances)).clear:
            break
    else:
        if len(moved) == len(v):
            return Place(everywhere=True)
    found: list[WrongEntry] = []
    rest = search.whole
    for index, own in moved:
        alone = yield from _alone(search, index, glances)
        if alone.clear:
            reference = float(directions.claim[index]) + alone.value / own
            found.append(WrongEntry(index=index, reference=reference, bar=alone.bar / abs(own)))
            rest = rest - alone
    return _place_of(search, found, complete=rest.agrees_with_zero)


def _alone(search: Search, index: int, glances: dict[int, Glance]) -> Asking[Residual]:
    """The residual of one entry, of which a first value may be known."""
    if index not in glances:
        return (yield from search.ask(search.only(index)))
    found = search.heard[search.only(index)] = yield from search.meter.completed(glances.pop(index))
    return found


def _place_of(search: Search, found: list[WrongEntry], *, complete: bool) -> Place:
    """Wrong entries as the box that they fill, if they do."""
    box = _hull(search, found) if complete and len(found) > 2 else None
    if box is None or len(found) < len(_inside(search, box)):
        return Place(entries=tuple(sorted(found, key=lambda entry: entry.index)), complete=complete)
    is_whole = all(span == (0, length) for span, length in zip(box, search.shape, strict=True))
    return Place(box=None if is_whole else box, everywhere=True)


def _inside(search: Search, box: Box) -> list[int]:
    """Flat indices of the entries of a box."""
    axes = np.ix_(*(np.arange(low, high) for low, high in box))
    return [search.start + int(i) for i in np.ravel_multi_index(axes, search.shape).ravel()]


def _hull(search: Search, entries: Sequence[WrongEntry]) -> Box:
    """The smallest box that holds some entries."""
    indices = np.unravel_index([entry.index - search.start for entry in entries], search.shape)
    return tuple((int(axis.min()), int(axis.max()) + 1) for axis in indices)


def _lone_slice(search: Search) -> Asking[Box | None]:
    """The one row, column or other slice of length 1 along an axis that holds every wrong entry."""
    shape, whole = search.shape, search.whole
    for axis, length in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        if length < 2 or length == math.prod(shape) or not 2 * whole.bar * (length + 1) < READABLE * abs(whole.value):
            continue
        offset = yield from read_digit(search, search.direction, whole, stride, length)
        if offset is None:
            continue
        index = (offset - search.start) // stride
        inside = yield from search.ask(search.direction.restricted(search.slab(axis, index, index + 1)))
        if inside.clear and (whole - inside).agrees_with_zero:
            return tuple((index, index + 1) if a == axis else (0, shape[a]) for a in range(len(shape)))
    return None


def _box(search: Search) -> Asking[Box | None]:
    """The smallest box along the axes that holds every wrong entry; None if it is the whole leaf."""
    box: list[tuple[int, int]] = []
    for axis, length in enumerate(search.shape):
        low = yield from _clean_end(search, axis, length, 1, from_start=True)
        high = yield from _clean_end(search, axis, length, 1, from_start=False)
        box.append((low, length - high))
    return None if all(span == (0, length) for span, length in zip(box, search.shape, strict=True)) else tuple(box)


def _grown(search: Search, hull: Box) -> Asking[Box | None]:
    """The box of all wrong entries, given one that it holds; None where that is no small part, or far from it."""
    volume = math.prod(high - low for low, high in hull)
    if volume > (search.stop - search.start) // 2:
        return None
    sides = [
        (axis, count, from_start)
        for axis, (low, high) in enumerate(hull)
        for count, from_start in ((low, True), (search.shape[axis] - high, False))
        if count
    ]
    dirty: list[tuple[int, int, bool]] = []
    for side in sides:
        axis, count, from_start = side
        if not (yield from _is_clean(search, axis, count, from_start=from_start)):
            dirty.append(side)
        if len(dirty) > len(search.shape):
            return None
    box = list(hull)
    for axis, count, from_start in dirty:
        clean = yield from _clean_end(search, axis, count, count // 2, from_start=from_start)
        box[axis] = (clean, box[axis][1]) if from_start else (box[axis][0], search.shape[axis] - clean)
    return tuple(box)


def _clean_end(search: Search, axis: int, wrong: int, count: int, *, from_start: bool) -> Asking[int]:
    """How many slices at one end of an axis hold no wrong entry: so many do, `count` are tried first."""
    clean = 0
    while clean < count < wrong:
        if (yield from _is_clean(search, axis, count, from_start=from_start)):
            clean = count
        else:
            wrong = count
        count = (clean + wrong) // 2
    return clean


def _is_clean(search: Search, axis: int, count: int, *, from_start: bool) -> Asking[bool]:
    """Whether so many slices at one end of an axis hold no wrong entry."""
    length = search.shape[axis]
    slab = search.slab(axis, 0, count) if from_start else search.slab(axis, length - count, length)
    return (yield from search.ask(search.direction.restricted(slab), CLEAR)).agrees_with_zero


def _halve(search: Search, start: Direction, whole: Residual) -> Asking[Place]:
    """Split at random until every part holds one wrong entry."""
    found: list[WrongEntry] = []
    box: Box | None = None
    try:
        complete, box = yield from _single_out(search, start, whole, found)
    except BudgetSpent:
        complete = False
    if box is not None:
        return Place(box=box, everywhere=True)
    return _place_of(search, found, complete=complete)


def _single_out(
    search: Search, start: Direction, whole: Residual, found: list[WrongEntry]
) -> Asking[tuple[bool, Box | None]]:
    """Add the wrong entries one by one; whether these are all, or the box that is wrong all over."""
    todo: list[tuple[Direction, Residual, int]] = [(start, whole, 0)]
    most = max(LEAST, min(search.stop - search.start, MOST)) // 2
    while todo and search.asked < most:
        direction, residual, depth = todo.pop()
        if depth > 0:
            lone = yield from lone_entry(search, direction, residual)
            if lone is not None:
                found.append(lone)
                if todo and len(found) in HULL:
                    hull = _hull(search, found)
                    box = (yield from _grown(search, hull)) if len(found) == HULL[0] else hull
                    if box is not None and (yield from _is_place(search, box)):
                        return True, box
                continue
        if depth > 40:
            continue
        drawn = salt(search, 1000 + search.asked)
        left, right = direction.restricted(Coin(drawn, 0)), direction.restricted(Coin(drawn, 1))
        half = yield from search.ask(left)
        rest = residual - half
        for part, value in ((left, half), (right, rest)):
            if value.clear:
                todo.append((part, value, depth + 1))
    complete = not todo
    if found and complete:
        rest = yield from search.ask(start.restricted(Without(tuple(entry.index for entry in found))))
        complete = rest.agrees_with_zero
    return complete, None


def wrong_somewhere(search: Search, other: Direction, of_other: Residual) -> Asking[Cause | None]:
    """Whether what is wrong lies where the claim is exactly 0, or where x is on one side of 0, and all over there.

    Along the direction of the search the rest must agree, and each of some entries that are drawn must not; along
    another one, which leaves `of_other`, the rest must agree, too.
    """
    directions = search.meter.directions
    claim, point, where = directions.claim, directions.point, directions.leaves[search.leaf]
    own = slice(where.start, where.stop)
    tried = (
        (claim[own] == 0, Mistake.ZERO_SOMEWHERE),
        (point[own] <= 0, Mistake.WRONG_BELOW),
        (point[own] >= 0, Mistake.WRONG_ABOVE),
    )
    for mask, mistake in tried:
        count = int(np.count_nonzero(mask))
        rest = Spans(_ranges(~mask, where.start))
        if min(count, where.size - count) < LEAST_APART or len(rest.ranges) > RANGES:
            continue
        if any(not mask[index - where.start] for index in search.wrong):
            continue
        parts: list[Residual] = []
        for direction, whole in ((search.direction, search.whole), (other, of_other)):
            outside = yield from search.ask(direction.restricted(rest), CLEAR)
            if not (whole.clear and outside.agrees_with_zero):
                break
            parts.append(whole - outside)
        if len(parts) < 2:
            continue
        indices = where.start + np.flatnonzero(mask)
        if len(indices) > EACH:
            draw = np.random.default_rng((directions.seed, search.leaf, count))
            indices = np.sort(draw.choice(indices, EACH, replace=False))
        if not (yield from _each_is_wrong(search, indices)):
            continue
        if mistake is not Mistake.ZERO_SOMEWHERE and all(abs(one.value + one.claimed) <= one.bar for one in parts):
            mistake = Mistake.UNMASKED_BELOW if mistake is Mistake.WRONG_BELOW else Mistake.UNMASKED_ABOVE
        return Cause(mistake, count=count, size=where.size)
    return None


def _ranges(mask: NDArray[np.bool_], start: int) -> tuple[tuple[int, int], ...]:
    """The ranges of a flat vector in which a mask is set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return tuple((start + int(low), start + int(high)) for low, high in edges.reshape(-1, 2))


def one_by_one(meter: Meter, leaf: int, whole: Residual) -> Asking[Place]:
    """The wrong entries of a small leaf, each along a line of its own; `whole` is the residual that they make.

    For where parts of one direction say nothing: f may bend so much along it that no pair of values is believed.
    """
    found: list[WrongEntry] = []
    directions = meter.directions
    least = 1e-3 * abs(whole.value) / directions.leaves[leaf].size
    for index in range(directions.leaves[leaf].start, directions.leaves[leaf].stop):
        direction = Direction(stream=-1, group=(leaf,), scales=(1.0,), entry=index)
        v = float(directions.vector(direction)[index])
        if v == 0.0:
            continue  # its bounds hold it where it is
        measured = yield from meter.slope(direction, abs(float(directions.claim[index]) * v))
        alone = measured.as_residual()
        if measured.finite and alone.clear and abs(alone.value) > least:
            reference = float(directions.claim[index]) + alone.value / v
            found.append(WrongEntry(index=index, reference=reference, bar=alone.bar / abs(v)))
    return Place(entries=tuple(found), complete=bool(found))


def entry_index(shape: Sequence[int], offset: int) -> tuple[int, ...]:
    """Multi-index of a flat offset within a leaf."""
    return tuple(int(i) for i in np.unravel_index(offset, tuple(shape)))


def box_part(shape: Sequence[int], start: int, stop: int, box: Sequence[tuple[int, int]]) -> tuple[Part, ...]:
    """The parts that restrict a direction to a box of one leaf."""
    return tuple(
        Slab(start, stop, math.prod(shape[axis + 1 :]), shape[axis], low, high)
        for axis, (low, high) in enumerate(box)
        if (low, high) != (0, shape[axis])
    )
