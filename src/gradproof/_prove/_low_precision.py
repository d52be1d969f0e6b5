"""What is worth more values of f where it is computed in float32 or less, and every bar is wide."""

from __future__ import annotations

import numpy as np

from gradproof._base._precision import is_double
from gradproof._prove._laws import error_bound
from gradproof._prove._measure import Asking, Measured, Meter, Tier

# Directions beyond the first three. The bound is that of one direction times kappa / delta**(1 / m), with m directions
# (see `_laws`): from 9 to 24 of them it shrinks by another factor of 2.6, at a pair of levels for each.
EXTRA_LOW = 21
# A deviation of so many bars on sharp, independent steps needs no whole ladder.
CLEAR = 3.0
# A bar that is so much wider than those of all other directions is worth a pair of levels.
WIDER = 1.3


def worth_many(meter: Meter, tier: Tier, agreed: list[float], confidence: float, largest: float) -> bool:
    """Whether some of `EXTRA_LOW` directions more can bring a leaf to where it may be called CORRECT."""
    used = max(len(agreed) - 3, 0)
    if is_double(meter.precision) or used >= EXTRA_LOW:
        return False
    now = error_bound(max(agreed), len(agreed), tier.size, confidence, folded=tier.folded)
    best = error_bound(max(agreed), len(agreed) + EXTRA_LOW - used, tier.size, confidence, folded=tier.folded)
    return any(best <= share * largest < now for share in tier.shares if share > 0)


def narrow_widest(
    meter: Meter,
    tier: Tier,
    held: list[tuple[Measured, float]],
    agreed: list[float],
    confidence: float,
    largest: float,
) -> Asking[bool]:
    """Measure the direction with the widest bar once more, with what is known by now, if it makes the bound too wide.

    It is the first as a rule: its steps were chosen before noise and curvature were known. `held` and `agreed` are
    those of `gradproof._prove._judge`, and changed; whether the direction was measured.
    """
    k = int(np.argmax(agreed))
    others = max(agreed[:k] + agreed[k + 1 :])
    if is_double(meter.precision) or len(held) < len(agreed) or agreed[k] < WIDER * others or meter.known is None:
        return False
    bound = error_bound(agreed[k], len(agreed), tier.size, confidence, folded=tier.folded)
    best = error_bound(others, len(agreed) + EXTRA_LOW, tier.size, confidence, folded=tier.folded)
    if not any(best <= share * largest < bound for share in tier.shares if share > 0):
        return False
    measured, tolerance = held[k]
    again = yield from meter.slope(measured.direction, tier.scale, known=meter.known, brief=True)
    if again.finite and again.deviation <= again.bar + tolerance and again.deviation + again.bar < agreed[k]:
        held[k] = again, tolerance
        agreed[k] = again.deviation + again.bar
    return True


def sharp_again(meter: Meter, measured: Measured, tolerance: float) -> Asking[Measured | None]:
    """Measure a deviation again on steps of its own, sharply; None where that does not bear it out beyond doubt."""
    if not meter.takes_sharp_slopes or measured.slope.side or measured.direction.floor > 0:
        return None
    again = yield from meter.sharp_slope(measured.direction, measured.scale)
    jump = abs(float(again.slope.jump[0]))
    clear = again.finite and not again.slope.side and again.deviation > CLEAR * again.bar + tolerance
    agrees = abs(again.value - measured.value) <= again.bar + measured.bar
    return again if clear and agrees and jump <= 0.2 * again.deviation else None
