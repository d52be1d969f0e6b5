"""Leaves whose claim is 0, or below f's own noise: moved alone, up to their natural size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradproof._line import learn
from gradproof._prove._judge import kinked, plain
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import EPS64, Asking, Measured, Meter, Question, Tier
from gradproof._report import Reason, Severity, Verdict

Floats = NDArray[np.float64]

# Steps, in natural sizes, at which a leaf that claims to be flat must leave f as it is.
STEPS = (0.7, 0.1)


def flat_tier(meter: Meter, group: tuple[int, ...]) -> Tier:
    """The leaves of a group at their natural sizes, whatever their claims."""
    norms = meter.norms[list(group)]
    return Tier(
        group=group,
        scales=(1.0,) * len(group),
        shares=tuple(norms.tolist()),
        size=sum(meter.directions.leaves[index].size for index in group),
        scale=float(np.linalg.norm(norms)),
    )


def certify_flat(meter: Meter, ledger: Ledger, tier: Tier, *, only: bool) -> Asking[Measured | None]:
    """Settle the leaves of a group if f stays within its noise while they move, or changes to second order only.

    Parameters
    ----------
    only : whether there are no other leaves: then nothing was tested.

    Returns
    -------
    Measured or None
        None if the leaves are settled; else the measurement that speaks against the claims, or shows a kink.
    """
    direction = tier.direction(meter.next_stream())
    alone = only or meter.known is None
    quick = yield from meter.slope(direction, tier.scale, known=meter.known, brief=True)
    if quick.finite:
        if 0 < abs(quick.value) + quick.bar <= meter.lost_beside(float(quick.slope.f0[0])):
            if only:
                _nothing_tested(ledger, tier, quick, bitwise=False, proved=True)
            else:
                _settle(ledger, tier, "flat: f changes by no more than rounding of the claim hides")
            return None
        size = max(abs(quick.value), 1e-300)
        known, meter.known = meter.known, meter.known or learn(quick.slope, quick.bar / size, size)
        obvious = yield from plain(meter, quick, 1e-3 * size)
        meter.known = known
        if obvious:
            return quick
    if not alone and (yield from _stands_still(meter, quick)):
        _settle(ledger, tier, "flat: f does not change")
        return None
    known, meter.known = meter.known, None
    measured = yield from meter.slope(direction, tier.scale, full=True)
    again = measured
    rises = np.concatenate([measured.slope.plus, measured.slope.minus])[:, 0] - float(measured.slope.f0[0])
    largest = float(np.max(np.abs(rises[np.isfinite(rises)]), initial=0.0))
    tolerance = 1e-9 * largest
    speaks = measured.finite and (kinked(measured, tolerance) or measured.deviation > measured.bar + tolerance)
    if speaks:
        again = yield from meter.slope(direction, tier.scale, full=True)
    meter.known = known
    if not measured.finite or not again.finite:
        ledger.undecided(tier.group, Reason.DOMAIN if measured.slope.trouble else Reason.NO_CONVERGENCE)
        return None
    if speaks:
        jump, jump_bar = abs(float(again.slope.jump[0])), float(again.slope.jump_bar[0])
        if again.deviation > again.bar + tolerance or (kinked(again, tolerance) and jump_bar < 0.1 * jump):
            return again
        ledger.undecided(tier.group, Reason.NO_CONVERGENCE if kinked(again, tolerance) else Reason.UNSTABLE)
        return None
    still = largest <= max(10 * float(measured.slope.noise[0]), 8 * float(measured.slope.unit[0]))
    proved = still or measured.bar <= 1e-2 * largest
    if only:
        _nothing_tested(ledger, tier, measured, bitwise=largest == 0, proved=proved)
    elif proved:
        _settle(ledger, tier, "flat: f does not change" if still else "zero gradient: f changes to second order only")
    else:
        ledger.undecided(tier.group, Reason.NOISE)
    return None


def stands_still(meter: Meter, ledger: Ledger, tier: Tier) -> Asking[bool]:
    """Settle leaves that f does not feel, whatever of rounding their claims hold; whether they are such."""
    direction = tier.direction(meter.next_stream())
    f0 = np.asarray((yield Question(direction, np.zeros(2))), dtype=np.float64)
    steps = np.concatenate([STEPS, np.negative(STEPS), [1e-3, -1e-3]])
    values = np.asarray((yield Question(direction, steps)), dtype=np.float64)
    limit = 64 * EPS64 * abs(float(f0[0])) + 10 * abs(float(f0[1] - f0[0]))
    if not _within(limit, float(f0[0]), values):
        return False
    _settle(ledger, tier, "flat: f does not change, and the claim is no more than rounding")
    return True


def _stands_still(meter: Meter, quick: Measured) -> Asking[bool]:
    """Whether f stays within its noise while these leaves move by up to their natural size, as their claims say."""
    known = meter.known
    assert known is not None
    f0 = float(known.f0[0])
    limit = max(10 * float(known.noise[0]), 8 * EPS64 * abs(f0))
    if abs(quick.claimed) * max(STEPS) > limit or not _within(limit, f0, quick.slope.plus, quick.slope.minus):
        return False
    for step in STEPS:
        pair = yield from meter.pair(quick.direction, step)
        if not _within(limit, f0, np.array(pair)):
            return False
    return True


def _within(limit: float, f0: float, *values: Floats) -> bool:
    return all(bool((np.abs(some - f0) <= limit).all()) for some in values)


def _settle(ledger: Ledger, tier: Tier, note: str) -> None:
    for index in tier.group:
        ledger.settle(index, Verdict.CORRECT, note=note)
        ledger.report("GP402", Severity.NOTE, path=ledger.leaves[index].path, kind=note)


def _nothing_tested(ledger: Ledger, tier: Tier, measured: Measured, *, bitwise: bool, proved: bool) -> None:
    """All claims are zero and so, within its bar, is the slope: that proves nothing."""
    if not (bitwise or proved):
        ledger.undecided(tier.group, Reason.NO_CONVERGENCE)
        return
    ledger.undecided(tier.group, Reason.DEGENERATE)
    ledger.report(
        "GP301" if bitwise else "GP302",
        Severity.DOUBT,
        kind=(
            "f does not change at all: it may not use its argument, or is saturated here"
            if bitwise
            else "nothing was tested: claim and slope are both zero at this point"
        ),
        claimed=measured.claimed,
        reference=measured.value,
        error_bar=measured.bar,
        quantity="slope",
        advice=(
            "Check that f uses the argument it is given (and no copy closed over), or check at `report.suggested_args`."
            if bitwise
            else "Check where f is not stationary, such as at `report.suggested_args`."
        ),
    )
