"""Try one group of leaves: put what its trial asks to the meter, until it rules."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import is_double
from gradproof._line import learn
from gradproof._prove._bends import kinked, may_be_on_tread
from gradproof._prove._confirm import confirm
from gradproof._prove._finest import ORDINARY, bends_nearby
from gradproof._prove._laws import error_bound
from gradproof._prove._measure import Asking, Measured, Meter, Tier
from gradproof._prove._tolerance import REACH, Limits, natural_scale
from gradproof._prove._trial import (
    FIRST_LINES,
    Case,
    CloseIn,
    Confirm,
    Heard,
    Look,
    Remeasure,
    Repeat,
    Ruling,
    Seen,
    Trial,
    Witness,
)

Floats = NDArray[np.float64]

# Relative bar that is good enough, if f's noise asks for it, for leaves that are small beside others; and for the first
# direction where an evaluation is dear: a bound of 1e-2 on each of 196 leaves takes 4e-6.
ENOUGH = 1e-6
# Bar of the differences, relative to the natural size of the slope, up to which they vouch for a complex step. Chosen:
# they have then seen all but a tenth of the slope.
VOUCHED = 0.1
# Standard deviations of rounding, and times its natural size, that a slope, which random signs add up, may reach along
# one line: chosen, 1 in a million each.
OF_NOISE, MOVES = 5.0, 5.0
# How much wider the bars of these may be than those of larger leaves, in whose noise they are: chosen, so that a ladder
# ends a level earlier.
NOISIER = 3.0
# What is asked for so that three directions certify every leaf: this part of what would do, for the deviations' sake.
SPARE = 0.3
# A claim below this share of the root mean square one is tiny; so much smaller ones are cut down to this. Chosen: the
# balanced direction costs a few evaluations, and bounds nothing.
TINY_CLAIM, FLOOR = 0.03, 1e-6


def judge(meter: Meter, tier: Tier, limits: Limits, looked: Measured | None = None) -> Asking[Ruling]:
    """Certify or exclude the claims of one group of leaves, as `Trial` has it.

    `looked` is the group's first look, if it has been taken.
    """
    floor = _balanced_floor(meter, tier) if meter.balances else 0.0
    case = Case(
        tier=tier,
        limits=limits,
        sizes=[meter.directions.leaves[index].size for index in tier.group],
        eps=meter.eps,
        balanced=floor > 0,
        witnessed=bool(meter.witnesses),
        cancelled=meter.claim_floor,
        on_lattice=meter.resolution > 0,
        regularity=meter.regularity,
    )
    trial = Trial(case, seen_so_far(meter))
    action = trial.next()
    while not isinstance(action, Ruling):
        heard: Heard
        match action:
            case Look(balanced=True):
                direction = tier.direction(meter.next_stream(), floor)
                scale = meter.balanced_scale(tier, floor)
                heard = yield from meter.coarse_slope(direction, scale, sparing=limits.sparing)
            case Look():
                heard = looked or (yield from first_look(meter, tier, limits))
                looked = None
            case Repeat(line):
                heard = yield from meter.slope(line.direction, line.scale, full=True)
            case CloseIn(line):
                heard = yield from bends_nearby(meter, line)
            case Confirm(line, tolerance):
                heard = yield from confirm(meter, line, tolerance)
            case Witness(line, tolerance):
                heard = yield from _witnessed(meter, line, tolerance)
            case Remeasure(line, brief):
                known = meter.known if brief else None
                heard = yield from meter.slope(line.direction, tier.scale, known=known, brief=brief, full=not brief)
        action = trial.hear(heard, seen_so_far(meter))
        meter.regularity = trial.regularity
    return action


def seen_so_far(meter: Meter) -> Seen:
    """What a trial goes by."""
    return Seen(precision=meter.precision, moved=meter.moved, random=meter.random, is_known=meter.known is not None)


def first_look(meter: Meter, tier: Tier, limits: Limits) -> Asking[Measured]:
    """Measure a direction through a group, and learn noise and curvature from it if nothing is known yet."""
    direction = tier.direction(meter.next_stream())
    known, target = meter.known, ENOUGH if limits.sparing and is_double(meter.eps) else None
    if known is not None and is_double(known.eps) and 0 < tier.scale < known.size:
        # Beside larger leaves noise allows no bar as narrow as theirs: a whole ladder would find none.
        target = min(ENOUGH, NOISIER * known.relative_bar * known.size / tier.scale)
        if limits.sparing:
            # What three directions need for a bound narrow enough on every leaf.
            wide = min(share for share in tier.shares if share > 0) * limits.largest_bound(known.eps)
            target = max(target, SPARE * wide / error_bound(tier.scale, FIRST_LINES, tier.size, limits.confidence))
        known = dataclasses.replace(known, levels=known.levels_for(tier.scale))
    measured = yield from meter.slope(direction, tier.scale, known=known, target=target)
    if known is None and measured.finite and measured.slope.side == 0:
        size = natural_scale(tier.scale, measured.value, float(measured.slope.f0[0]))
        if not (kinked(measured, REACH * limits.tolerance(measured.slope.eps) * size) or may_be_on_tread(measured)):
            # (A kink teaches the next direction nothing but wide bars, in which it would not show again; and on fine
            # steps that lie within a tread, nothing would show that there is one.)
            meter.known = learn(measured.slope, measured.bar / max(size, abs(measured.value), 1e-300), size)
    return measured


def _is_rounding(measured: Measured, value: float) -> bool:
    """Whether a bar is wide for nothing but the rounding of f's own values, which a complex step does not have.

    All that f moves by, at any step, is then what a slope of its size makes of it, and that rounding.
    """
    slope = measured.slope
    noise, size = float(slope.noise[0]), max(measured.scale, abs(value))
    moves = np.maximum(np.abs(slope.plus - slope.f0), np.abs(slope.minus - slope.f0))[:, 0]
    explained = bool((moves <= MOVES * size * slope.h + OF_NOISE * noise).all())
    return noise <= ORDINARY * float(slope.unit[0]) and explained


def _witnessed(meter: Meter, measured: Measured, tolerance: float) -> Asking[Measured | None]:
    """Narrow the bar of a slope by an independent witness that agrees with it; None if the two disagree.

    WRONG always rests on differences: a claim that only the witness excludes keeps the wide bar.
    """
    found = yield from meter.witness(measured)
    if found is None:
        return measured
    value, bar = found
    if abs(value - measured.value) > measured.bar + bar + tolerance:
        if meter.witnesses[0] == "complex" and not (yield from meter.is_analytic(measured, value)):
            return measured
        return None
    if bar >= measured.bar or abs(measured.claimed - value) > bar + tolerance:
        return measured
    if meter.witnesses[0] == "complex":
        # It asks f at x alone, and sees no jump of f. What drops imaginary parts within f, as abs does, may be as steep
        # as the bar of the differences: where that is wide, they vouch for nothing.
        is_vouched = measured.bar <= VOUCHED * max(measured.scale, abs(measured.value))
        if measured.slope.meets_jumps or not (is_vouched or _is_rounding(measured, value)):
            return measured
    return dataclasses.replace(measured, value=value, bar=bar)


def _balanced_floor(meter: Meter, tier: Tier) -> float:
    """Size to which claim times step is cut down in a balanced direction; 0 where none is needed."""
    if tier.scale == 0:
        return 0.0
    smallest, square, zeros = math.inf, 0.0, False
    for steps in _claimed_steps(meter, tier):
        positive = steps[steps > 0]
        zeros = zeros or positive.size < steps.size
        smallest = min(smallest, float(positive.min())) if positive.size else smallest
        square += float(steps @ steps)
    rms = math.sqrt(square / tier.size)
    floor = max(FLOOR * rms, smallest)
    return 0.0 if floor > TINY_CLAIM * rms and not zeros else floor


def _claimed_steps(meter: Meter, tier: Tier) -> Iterator[Floats]:
    """|claim| times step, a part of the entries at a time."""
    return (
        factor * steps
        for index, factor in zip(tier.group, tier.scales, strict=True)
        for steps in meter.directions.claimed_steps(index)
    )
