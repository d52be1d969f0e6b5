"""Zones around the point in which f has another slope than beyond them, as where it is cut off."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from gradproof._base._precision import EPS64
from gradproof._prove._charge import Notice, Sight
from gradproof._prove._finest import FINER, noise_seen
from gradproof._prove._flat import ALONE
from gradproof._prove._kinks import slope_alone
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import Asking, Measured, Meter, Tier
from gradproof._report import Reason, Severity, Verdict

# How close a quotient must be to one of two slopes, relative to their difference, to be taken for it.
SAME_SLOPE = 0.01
# Roundings of f, and of x, that a step within all of a ladder must move them by, as a slope has it, so that noise is a
# 150th of what is looked for; and what share of that is another slope, or the same: 15 times the noise.
ROUNDINGS, UNLIKE = 150.0, 0.1
# Where f is asked whether it follows a slope over so small a step elsewhere, in steps of the ladder's finest.
ELSEWHERE = (1.7, -2.9)
# The radius of a zone is closed in on to within this factor.
CLOSE = 8.0


@dataclasses.dataclass(frozen=True)
class Zone:
    """Around the point f has a slope of its own, and beyond that the claimed one.

    radius : where it ends, in natural sizes of x: between the steps that see one slope and those that see the other.
    beyond : the slope there, where the claim holds within (absolute); None where it holds beyond.
    """

    radius: float
    beyond: float | None = None


def zone_around(measured: Measured) -> Zone | None:
    """The zone around the point beyond which f has the claimed slope; None where coarse steps speak against the claim.

    A slope agrees with one number if it is a hundred times closer to it than the two are to each other.
    """
    slope = measured.slope
    if slope.side != 0 or len(slope.h) < 4 or measured.claimed == 0 or slope.quantum.any():
        return None
    quotients = slope.odd[:, 0] / slope.h
    as_claimed = np.abs(quotients - measured.claimed) <= SAME_SLOPE * measured.deviation
    as_measured = np.abs(quotients - measured.value) <= SAME_SLOPE * measured.deviation
    beyond, within = np.flatnonzero(as_claimed), np.flatnonzero(as_measured)
    # (One level alone may be as claimed by accident, where quotients pass the claim on their way.)
    if len(beyond) < 2 or beyond[-1] - beyond[-2] > 1 or len(within) < 2 or not as_measured[-1]:
        return None
    if not 0 < within[0] - beyond[-1] <= 2:
        return None
    return Zone(math.sqrt(float(slope.h[beyond[-1]] * slope.h[within[0]])))


def in_zones(meter: Meter, ledger: Ledger, tier: Tier, failing: Measured, rtol: float) -> Asking[set[int]]:
    """Accuse the leaves whose claim is right beyond a zone around the point only; the causes are not looked for."""
    zone = zone_around(failing)
    if zone is None or len(tier.group) > ALONE:
        return set()
    found: set[int] = set()
    for index in tier.group:
        measured = failing
        if len(tier.group) > 1:
            measured = yield from slope_alone(meter, meter.tier((index,)))
            zone = zone_around(measured) if measured.finite else None
        if zone is not None and measured.deviation > measured.bar + measured.tolerance(rtol):
            report_zone(ledger, index, measured, zone, is_wrong=True)
            found.add(index)
    return found


def without_zones(meter: Meter, ledger: Ledger, group: tuple[int, ...], measured: Measured) -> Asking[tuple[int, ...]]:
    """Refuse the leaves whose claim is right only beyond, or within, a zone that all steps of a ladder pass over.

    Return the others.
    """
    seen = None if measured.direction.floor > 0 else (yield from _zone_within(meter, measured))
    if seen is None:
        return group
    zoned: set[int] = set()
    for index in group if len(group) <= ALONE else ():
        found = seen
        if len(group) > 1:
            tier = meter.tier((index,))
            alone = yield from meter.known_slope(tier.direction(meter.next_stream()), tier.scale)
            found = (yield from _zone_within(meter, alone)) if alone.finite else None
        if found is not None:
            zone, within = found
            # (F that stands still there may be rounded.)
            is_wrong = zone.beyond is None and abs(within.value) > within.bar
            report_zone(ledger, index, within, zone, is_wrong=is_wrong)
            zoned.add(index)
    if not zoned:
        ledger.undecided(group, Reason.UNSTABLE, note="f has another slope in a zone around the point")
        return ()
    return tuple(index for index in group if index not in zoned)


def _zone_within(meter: Meter, measured: Measured) -> Asking[tuple[Zone, Measured] | None]:
    """A zone within all steps of a ladder in which f has another slope than the ladder's, and that slope.

    The claim is one of the two. None where there is no zone that can be told from rounding. One value tells that all is
    well. Where it does not, f must have one slope on both sides of the point and at half the step, and follow the
    ladder's over as small a step elsewhere: what does so nowhere is a lattice, and what a value at the point is off by
    looks larger closer to it.
    """
    slope, expected = measured.slope, measured.value
    if slope.side or not len(slope.h) or not expected or meter.random or slope.meets_jumps or slope.quantum.any():
        return None
    finest, f0 = float(slope.h[-1]), float(slope.f0[0])
    noise = max(noise_seen(meter, measured) / abs(expected), EPS64, slope.eps)
    step = ROUNDINGS * noise * float(meter.jitter.uniform(0.9, 1.1))
    if not step < finest / FINER:
        return None
    bend = float(slope.even[-1, 0]) / finest**2

    def quotients(steps: list[float], values: list[float]) -> list[float]:
        return [(value - f0) / t - bend * t for t, value in zip(steps, values, strict=True)]

    def is_like(found: float, one: float) -> bool:
        return abs(found - one) <= UNLIKE * abs(expected)

    (first,) = quotients([step], (yield from meter.values(measured.direction, [step])))
    if not math.isfinite(first) or is_like(first, expected):
        return None
    others = [-step, 0.5 * step]
    at_others = quotients(others, (yield from meter.values(measured.direction, others)))
    own = (first + at_others[0]) / 2
    if not all(is_like(one, own) for one in (first, *at_others)) or is_like(own, expected):
        return None
    if not is_like(measured.claimed, own) and not is_like(measured.claimed, expected):
        return None
    for place in ELSEWHERE:
        away = place * finest
        before, after = yield from meter.values(measured.direction, [away, away + step])
        if not is_like((after - before) / step - 2 * bend * away, expected):
            return None
    within, beyond = step, finest
    while beyond > CLOSE * within:
        middle = math.sqrt(within * beyond)
        (found,) = quotients([middle], (yield from meter.values(measured.direction, [middle])))
        within, beyond = (middle, beyond) if is_like(found, own) else (within, middle)
    zone = Zone(math.sqrt(within * beyond), expected if is_like(measured.claimed, own) else None)
    return zone, dataclasses.replace(measured, value=own, bar=UNLIKE * abs(expected))


def report_zone(ledger: Ledger, index: int, measured: Measured, zone: Zone, *, is_wrong: bool) -> None:
    """Name a leaf whose claim is the derivative of f either beyond a zone around the point or within it.

    It is no more than a doubt where f may be rounded instead, and where the claim holds within.
    """
    note = f"right only {'beyond' if zone.beyond is None else 'within'} a zone around the point"
    beyond = measured.claimed if zone.beyond is None else zone.beyond
    if is_wrong:
        deviation = measured.deviation / measured.scale if measured.scale > 0 else None
        ledger.settle(index, Verdict.WRONG, deviation=deviation, note=note)
    else:
        ledger.undecided((index,), Reason.UNSTABLE, note=note)
    ledger.notice(
        Notice(
            sight=Sight.ZONE,
            severity=Severity.ERROR if is_wrong else Severity.DOUBT,
            leaf=index,
            claimed=measured.claimed,
            reference=measured.value,
            error_bar=measured.bar,
            slopes=(measured.value / ledger.unit, beyond / ledger.unit),
            holds_within=zone.beyond is not None,
            radius=zone.radius,
            is_still=abs(measured.value) <= measured.bar,
        )
    )
