"""What f does at the point itself and nowhere else: it jumps there, or has a slope of its own there."""

from __future__ import annotations

from gradproof._prove._charge import Notice, Sight
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import Asking, Measured, Meter
from gradproof._report import Reason, Severity


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
