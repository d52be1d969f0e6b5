"""What f does at the point itself and nowhere else: it jumps there, or has a slope of its own there."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from gradproof._prove._charge import Notice, Sight
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import Asking, Measured, Meter
from gradproof._report import Reason, Severity, Verdict

# How close a quotient must be to one of two slopes, relative to their difference, to be taken for it.
SAME_SLOPE = 0.01


def jumps_here(measured: Measured) -> bool:
    """Whether f jumps at the point itself along this direction, so that there is no slope to measure."""
    return bool(measured.slope.jumping.any())


def report_jump(ledger: Ledger, index: int, measured: Measured) -> None:
    """Settle a leaf along which f jumps at the point itself: nothing is known of the slope there."""
    slope = measured.slope
    here, before, after = (float(values[0]) / ledger.unit for values in (slope.f0, slope.minus[-1], slope.plus[-1]))
    ledger.undecided((index,), Reason.NO_CONVERGENCE, note="f jumps at the point itself")
    ledger.notice(
        Notice(
            sight=Sight.JUMP,
            severity=Severity.DOUBT,
            leaf=index,
            claimed=measured.claimed,
            values=(here, before, after),
        )
    )


@dataclasses.dataclass(frozen=True)
class Zone:
    """Around the point f has a slope of its own, and beyond that the claimed one.

    radius : where it ends, in natural sizes of x: between the steps that see one slope and those that see the other.
    """

    radius: float


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


def only_beyond(meter: Meter, failing: Measured) -> Asking[bool]:
    """Whether a slope from coarse steps alone, which speaks against the claim, is not that of f at a fine step.

    Balanced directions are measured at coarse steps, as their slopes would drown in noise at fine ones; where noise
    lets the deviation be seen there, a pair of values says whether f has the same slope within a zone around the point.
    """
    known = meter.known
    if failing.direction.floor == 0 or known is None:
        return False
    step = known.finest
    if 5 * float(known.noise[0]) / step > 0.1 * failing.deviation:
        return False
    plus, minus = yield from meter.pair(failing.direction, step)
    return abs((plus - minus) / (2 * step) - failing.claimed) < 0.5 * failing.deviation


def report_zone(ledger: Ledger, index: int, measured: Measured, zone: Zone, *, is_wrong: bool) -> None:
    """Name a leaf whose claim is the derivative of f beyond a zone around the point, and not of f here.

    It is no more than a doubt where f may be rounded instead.
    """
    note = "right only beyond a zone around the point"
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
            slopes=(measured.value / ledger.unit, measured.claimed / ledger.unit),
            radius=zone.radius,
            is_still=abs(measured.value) <= measured.bar,
        )
    )
