"""Where f has a kink at the point itself, judge whether the claim lies between the one-sided slopes."""

from __future__ import annotations

import dataclasses
import itertools as it
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from gradproof._base._precision import EPS64
from gradproof._prove._bends import inside_kink, kinked
from gradproof._prove._charge import Notice, Place, Sight, WrongEntry
from gradproof._prove._directions import Alike, Direction, Part, Spans
from gradproof._prove._finest import bends_nearby
from gradproof._prove._ledger import Ledger
from gradproof._prove._locate import entry_index
from gradproof._prove._maps import Region
from gradproof._prove._measure import Asking, Measured, Meter, Tier
from gradproof._report import Reason, Verdict

# A quick look at both sides of f: the step, relative to the natural size, and what departure from the one-sided slopes
# it can see. What it sees is measured properly before it counts.
QUICK_STEP, QUICK_TOLERANCE = 1e-6, 1e-4
# Kinked entries that are told apart, entries tried where they are too many, and directions through all of them.
KINKED, COORDINATES, DIRECTIONS = 32, 64, 16
# Leaves up to which each two of them are looked at together.
PAIRED = 4
# Entries that must bend f the same way before all others that have not been tried are taken to do so.
ALIKE = 8


def slope_alone(meter: Meter, tier: Tier) -> Asking[Measured]:
    """Measure a fresh direction through a group on the whole ladder."""
    direction = tier.direction(meter.next_stream())
    return (yield from meter.slope(direction, tier.scale, full=True))


def seen_twice(meter: Meter, measured: Measured, rtol: float) -> Asking[bool]:
    """Whether a kink of f shows on this ladder and on a second one along the same direction."""
    if not (measured.finite and kinked(measured, measured.tolerance(rtol))):
        return False
    again = yield from meter.slope(measured.direction, measured.scale, full=True)
    if not (again.finite and kinked(again, again.tolerance(rtol))):
        return False
    return (yield from bends_nearby(meter, again))


@dataclasses.dataclass(frozen=True)
class KinkedLeaf:
    """What is known of a leaf with a kink: which entries have one of their own.

    entries : flat indices; None where they are too many, or none has one of its own.
    refused : whether the claim was found outside the one-sided slopes; then all is said.
    bends : the ways in which f was seen to bend.
    """

    kink: Measured
    entries: tuple[int, ...] | None
    refused: bool
    bends: frozenset[float]


def judge_kinked_leaf(meter: Meter, ledger: Ledger, tier: Tier, kink: Measured, rtol: float) -> Asking[KinkedLeaf]:
    """Judge the kink of one leaf (the only one of `tier`).

    Single entries decide: a valid claim lies between the one-sided slopes of each. A direction through several entries
    bounds <claim, v> only where all kinks bend the same way (f is convex there, or concave, and the claim a
    subgradient); where they bend both ways, as in a ReLU network, what automatic differentiation returns may lie
    outside.
    """
    (index,) = tier.group
    leaf = ledger.leaves[index]
    if leaf.size == 1:
        look = yield from _outside(meter, kink.direction, tier.scale, rtol)
        if look.outside is not None:
            _refuse(meter, ledger, index, look.outside, (0,) * len(leaf.shape), rtol)
        else:
            _accept(meter, ledger, index, kink, None)
        bend = math.copysign(1.0, float(kink.slope.jump[0]))
        return KinkedLeaf(kink, None, look.outside is not None, frozenset({bend}))
    f0 = float(kink.slope.f0[0])
    bends = {math.copysign(1.0, float(kink.slope.jump[0]))}
    entries = yield from _kinked_entries(meter, kink.direction, f0)
    tried = entries
    if entries is None:
        some = np.arange(leaf.start, leaf.stop)
        if leaf.size > COORDINATES:
            some = np.sort(meter.jitter.choice(some, COORDINATES, replace=False))
        tried = tuple(some.tolist())
    assert tried is not None
    scale = meter.norms[index] / math.sqrt(leaf.size)
    alike = 0
    for entry in tried:
        direction = Direction(stream=-1, group=(index,), scales=(1.0,), entry=int(entry))
        quick = yield from _quick_look(meter, direction, f0)
        if quick.bend:
            bends.add(quick.bend)
            alike += 1
        if quick.outside:
            look = yield from _outside(meter, direction, scale, rtol)
            if look.outside is not None:
                _refuse(meter, ledger, index, look.outside, entry_index(leaf.shape, int(entry) - leaf.start), rtol)
                return KinkedLeaf(kink, entries, True, frozenset(bends))
    suspicious: list[Direction] = []
    only = () if entries is None else (Spans(tuple((entry, entry + 1) for entry in entries)),)
    for direction in _mixed_directions(meter, tier, only):
        quick = yield from _quick_look(meter, direction, f0)
        if quick.bend:
            bends.add(quick.bend)
        if quick.outside:
            suspicious.append(direction)
    if len(bends) == 1 and (entries is not None or alike >= ALIKE):
        for direction in suspicious[:3]:
            look = yield from _outside(meter, direction, tier.scale, rtol)
            if look.outside is not None:
                _refuse(meter, ledger, index, look.outside, None, rtol)
                return KinkedLeaf(kink, entries, True, frozenset(bends))
    _accept(meter, ledger, index, kink, len(tried))
    return KinkedLeaf(kink, entries, False, frozenset(bends))


def judge_kinks_together(
    meter: Meter, ledger: Ledger, tier: Tier, kinked: Mapping[int, KinkedLeaf], rtol: float
) -> Asking[bool]:
    """Judge the claims of several leaves (those of `tier`) that have kinks; whether they are charged.

    Each of them is valid by itself. All together may still lie outside, as where both arguments of a minimum get the
    whole. As within a leaf, that counts only where f bends the same way along all that was looked at.
    """
    bends = set[float]().union(*(leaf.bends for leaf in kinked.values()))
    entries = {i: _only_entry(ledger, i) if leaf.entries is None else leaf.entries for i, leaf in kinked.items()}
    if len(bends) > 1 or any(some is None for some in entries.values()):
        return False
    spans = {i: tuple((entry, entry + 1) for entry in some or ()) for i, some in entries.items()}
    f0 = float(next(iter(kinked.values())).kink.slope.f0[0])
    suspicious: list[Direction] = []
    together = _mixed_directions(meter, tier, (_spans_of(spans, kinked),))
    for direction in (*_pairs(meter, tier, spans), *together):
        quick = yield from _quick_look(meter, direction, f0)
        if quick.bend:
            bends.add(quick.bend)
        if quick.outside:
            suspicious.append(direction)
    if len(bends) > 1:
        return False
    for direction in suspicious[:3]:
        look = yield from _outside(meter, direction, tier.scale, rtol)
        if look.outside is not None:
            guilty, failing = yield from _needed(meter, direction, look.outside, spans, rtol)
            _refuse_together(ledger, guilty, failing)
            return True
    return False


def _pairs(meter: Meter, tier: Tier, spans: Mapping[int, tuple[tuple[int, int], ...]]) -> Iterator[Direction]:
    """Directions through two of a few leaves: a kink of another may hide what these say."""
    if meter.directions.bounded or not 2 < len(spans) <= PAIRED:
        return
    for pair in it.combinations(spans, 2):
        yield tier.direction(meter.next_stream()).restricted(_spans_of(spans, pair), Alike())


def _spans_of(spans: Mapping[int, tuple[tuple[int, int], ...]], leaves: Iterable[int]) -> Spans:
    return Spans(tuple(span for index in leaves for span in spans[index]))


def _needed(
    meter: Meter,
    direction: Direction,
    failing: Measured,
    spans: Mapping[int, tuple[tuple[int, int], ...]],
    rtol: float,
) -> Asking[tuple[tuple[int, ...], Measured]]:
    """The leaves without any of which the claims would be valid along a direction, and what excludes theirs."""
    guilty = tuple(spans)
    moving = meter.directions.vector(direction)
    guilty = tuple(i for i in guilty if any(moving[low] for low, _ in spans[i]))
    for index in guilty:
        rest = tuple(one for one in guilty if one != index)
        if len(rest) < 2:
            break
        look = yield from _outside(meter, direction.restricted(_spans_of(spans, rest)), failing.scale, rtol)
        if look.outside is not None:
            guilty, failing = rest, look.outside
    return guilty, failing


def _mixed_directions(meter: Meter, tier: Tier, parts: tuple[Part, ...]) -> Iterator[Direction]:
    """Directions through several entries: one along which ties stay ties, which no draw finds of many, and random."""
    if not meter.directions.bounded:
        yield tier.direction(meter.next_stream()).restricted(*parts, Alike())
    for _ in range(DIRECTIONS):
        yield tier.direction(meter.next_stream()).restricted(*parts)


def _only_entry(ledger: Ledger, index: int) -> tuple[int, ...] | None:
    leaf = ledger.leaves[index]
    return (leaf.start,) if leaf.size == 1 else None


def judge_kink_of_mixtures(meter: Meter, ledger: Ledger, tier: Tier, kink: Measured, rtol: float) -> Asking[None]:
    """Judge the kink of one leaf whose entries each move many entries of the user's point.

    These may bend f both ways, and then a valid choice in each may leave the one-sided slopes of all together.
    """
    (index,) = tier.group
    look = yield from _outside(meter, kink.direction, tier.scale, rtol)
    if look.outside is None:
        _accept(meter, ledger, index, kink, None)
    else:
        ledger.undecided((index,), Reason.DEGENERATE, note="kinks in several entries at once: check the vjp instead")


@dataclasses.dataclass(frozen=True)
class _QuickLook:
    """outside: whether the claim seems to lie outside the one-sided slopes; bend: which way f bends (0: not)."""

    outside: bool
    bend: float


def _quick_look(meter: Meter, direction: Direction, f0: float) -> Asking[_QuickLook]:
    """Look at both sides of f once."""
    step = QUICK_STEP * float(meter.jitter.uniform(0.8, 1.25))
    plus, minus = yield from meter.pair(direction, step)
    claimed, absolute = meter.directions.slope(direction)
    low, high = sorted(((plus - f0) / step, (f0 - minus) / step))
    noise = 0.0 if meter.known is None else float(meter.known.noise[0])
    noise = 10 * max(noise, EPS64 * abs(f0)) / step
    allowed = QUICK_TOLERANCE * max(abs(low), abs(high), absolute) + noise
    bend = math.copysign(1.0, plus + minus - 2 * f0) if high - low > allowed else 0.0
    outside = math.isfinite(low + high) and (claimed < low - allowed or claimed > high + allowed)
    return _QuickLook(outside, bend)


def _kinked_entries(meter: Meter, direction: Direction, f0: float) -> Asking[tuple[int, ...] | None]:
    """The entries that have a kink of their own, by halving a direction; None if they are too many or none has."""
    found: list[int] = []
    todo = [direction]
    asked = 0
    while todo:
        part = todo.pop()
        moving = np.flatnonzero(meter.directions.vector(part))
        if not moving.size:
            continue
        look = yield from _quick_look(meter, part, f0)
        asked += 1
        if not look.bend:
            continue
        if moving.size == 1:
            found.append(int(moving[0]))
            if len(found) > KINKED:
                return None
            continue
        if asked > 12 * KINKED:
            return None
        middle = int(moving[moving.size // 2])
        todo.append(part.restricted(Spans(((0, middle),))))
        todo.append(part.restricted(Spans(((middle, meter.directions.size),))))
    return tuple(sorted(found)) or None


@dataclasses.dataclass(frozen=True)
class _LookOutside:
    """The measurement, if the claim lies outside the one-sided slopes; and which way a kink bends (0: none)."""

    outside: Measured | None
    bend: float = 0.0


def _outside(meter: Meter, direction: Direction, scale: float, rtol: float) -> Asking[_LookOutside]:
    """Whether the claim lies outside the one-sided slopes along a direction, seen twice."""
    measured: Measured | None = None
    bend = 0.0
    for _ in range(2):
        measured = yield from meter.slope(direction, scale)
        if not measured.finite:
            return _LookOutside(None)
        tolerance = measured.tolerance(rtol)
        if kinked(measured, tolerance):
            bend = math.copysign(1.0, float(measured.slope.jump[0]))
            if inside_kink(measured, tolerance):
                return _LookOutside(None, bend)
        elif measured.deviation <= measured.bar + tolerance:
            return _LookOutside(None, bend)
    return _LookOutside(measured, bend)


def _accept(meter: Meter, ledger: Ledger, index: int, kink: Measured, tried: int | None) -> None:
    step = 1.0
    if ledger.leaves[index].size == 1:
        # Of one number the derivative is told, and not the slope along a direction that may go down.
        step = float(meter.directions.vector(kink.direction)[ledger.leaves[index].start]) or 1.0
    low, high = sorted(side / step / ledger.unit + 0.0 for side in _sides(kink))  # (no -0)
    ledger.settle(index, Verdict.NOT_DIFFERENTIABLE, note="kink at the point; the claim is a valid subgradient")
    ledger.notice(
        Notice(
            sight=Sight.KINK,
            leaf=index,
            claimed=kink.claimed / step + 0.0,
            reference=kink.value / step,
            error_bar=(high - low) * ledger.unit / 2,
            slopes=(low, high),
            tried=None if tried is None else (tried, ledger.leaves[index].size),
        )
    )


def _refuse(
    meter: Meter, ledger: Ledger, index: int, measured: Measured, entry: tuple[int, ...] | None, rtol: float
) -> None:
    leaf = ledger.leaves[index]
    place = str(list(entry)) if entry else ""
    step, offset = 1.0, 0
    if entry is not None:
        offset = int(np.ravel_multi_index(entry, leaf.shape)) if entry else 0
        step = float(meter.directions.vector(measured.direction)[leaf.start + offset])
    low, high = sorted(side / step for side in _sides(measured))
    # (Along ties that stay ties f may be smooth: it is no less at a kink.)
    bent = kinked(measured, measured.tolerance(rtol))
    at_kink = bent or entry is None
    if entry is not None:
        wrong = WrongEntry(index=leaf.start + offset, reference=measured.value / step, bar=measured.bar / abs(step))
        ledger.regions[index] = Region(Place(entries=(wrong,)), place)
    ledger.settle(index, Verdict.WRONG, note="outside the one-sided slopes at a kink" if at_kink else "")
    ledger.charge(
        leaves=(index,),
        index=entry,
        claimed=measured.claimed / step,
        reference=measured.value / step,
        error_bar=(high - low) / 2 if bent else measured.bar / abs(step),
        entry=entry is not None,
        sides=(low / ledger.unit + 0.0, high / ledger.unit + 0.0) if at_kink else None,  # (no -0)
    )


def _refuse_together(ledger: Ledger, group: tuple[int, ...], measured: Measured) -> None:
    """Charge several leaves at once, in place of what was said of each."""
    ledger.statements[:] = [
        one
        for one in ledger.statements
        if not (isinstance(one, Notice) and one.sight is Sight.KINK and one.leaf in group)
    ]
    for index in group:
        ledger.settle(index, Verdict.WRONG, note="outside the one-sided slopes at a kink")
    low, high = _sides(measured)
    ledger.charge(
        leaves=group,
        claimed=measured.claimed,
        reference=measured.value,
        error_bar=max((high - low) / 2, measured.bar),
        sides=(low / ledger.unit + 0.0, high / ledger.unit + 0.0),  # (no -0)
    )


def _sides(measured: Measured) -> tuple[float, float]:
    """The one-sided slopes, the smaller first."""
    half = abs(float(measured.slope.jump[0])) / 2
    return measured.value - half, measured.value + half
