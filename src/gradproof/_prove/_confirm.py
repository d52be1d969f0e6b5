"""A deviation is measured again, on independent steps, before it is believed."""

from __future__ import annotations

import dataclasses
import enum

from gradproof._base._precision import is_double
from gradproof._line import Jump, Shape, ShapeKind
from gradproof._prove._bends import BENT, excuses, on_tread, staircase
from gradproof._prove._finest import borne_out, follows_further_out
from gradproof._prove._measure import Asking, Excuse, Measured, Meter, in_phase
from gradproof._prove._tolerance import LARGEST_JUMP, OBVIOUS, REACH, RTOL64_UNCLEAR, SOLVER

# A deviation of so many bars is obvious, as far as bars go. Chosen: it costs a pair of values in place of a ladder;
# bars that are too small are so by far less, as a rule (benchmarks/honesty.py lists by how much).
OBVIOUS_BARS = 1000.0
# A deviation of so many bars on sharp, independent steps needs no whole ladder, and one of fewer than so many gets a
# whole one: chosen, a ladder costs some 20 evaluations more.
CLEAR, FEW_BARS = 3.0, 10.0
# What an independent look may differ by, in deviations, for both to be of one slope: a cap.
BORNE_OUT = 0.1
# Steps of a pair that bears a deviation out, in steps of a question: coarser ones, which no ladder has used.
PAIR = 2.0, 4.0


class Look(enum.Enum):
    """What a second look at a deviation says."""

    EXCLUDED = enum.auto()
    AGREES = enum.auto()
    IRREGULAR = enum.auto()
    UNSURE = enum.auto()


@dataclasses.dataclass(frozen=True)
class SecondLook:
    """What it says, the measurement that counts, and the jump of f that excuses the deviation, if one does."""

    look: Look
    measured: Measured
    jump: Jump | None = None


@in_phase("confirming")
def confirm(meter: Meter, measured: Measured, tolerance: float) -> Asking[SecondLook]:
    """Measure a deviation again, on independent steps, before it is believed.

    An obvious one (1000 bars and 0.2 % of the scale) needs one more pair of values. One below 0.2 % of the scale must
    not be explained by jumps of f itself; where f is smooth at coarse steps these give the second slope, too. Any
    other gets a fresh ladder. What these say must hold at the finest steps at which the deviation still shows.
    """
    again = yield from _look_twice(meter, measured, tolerance)
    if again.jump is not None:
        meter.excuses.append(Excuse(measured=measured, jump=again.jump))
    if again.look is not Look.EXCLUDED:
        return again
    hidden = follows_further_out(again.measured) or follows_further_out(measured)
    if hidden or not (yield from borne_out(meter, again.measured)):
        meter.misled = True
        return SecondLook(Look.UNSURE, again.measured)
    return again


def _look_twice(meter: Meter, measured: Measured, tolerance: float) -> Asking[SecondLook]:
    """Measure a deviation again at the steps of a ladder, and hold it against jumps of f; see `confirm`."""
    scale, deviation = measured.scale, measured.deviation
    two_sided = measured.slope.side == 0
    if meter.on_stairs:
        return (yield from _on_stairs(meter, measured, tolerance))
    beside = measured.slope.step
    if beside is not None and deviation <= LARGEST_JUMP * scale and excuses(beside, measured):
        return SecondLook(Look.IRREGULAR, measured, beside)
    if (yield from plain(meter, measured, OBVIOUS * scale)):
        return SecondLook(Look.EXCLUDED, measured)
    if (sharp := (yield from _sharp_again(meter, measured, tolerance))) is not None:
        return SecondLook(Look.EXCLUDED, sharp)
    small = two_sided and measured.direction.floor == 0 and deviation <= OBVIOUS * scale
    shape = Shape(ShapeKind.UNCLEAR)
    if small:
        shape = yield from meter.shape(measured, far=deviation <= SOLVER * scale)
        if shape.kind is ShapeKind.JUMPS:
            return SecondLook(Look.IRREGULAR, measured, shape.jump)
        if abs(shape.slope - measured.value) <= BORNE_OUT * deviation:
            return SecondLook(Look.EXCLUDED, measured)
    again = yield from meter.slope(measured.direction, scale, full=deviation < FEW_BARS * measured.bar)
    if not again.finite:
        return SecondLook(Look.UNSURE, again)
    if again.slope.side != 0 and not is_double(meter.precision):
        # So close to the edge of its domain f may change on scales below the smallest step of low precision.
        return SecondLook(Look.UNSURE, again)
    if again.deviation <= again.bar + tolerance:
        third = yield from meter.slope(measured.direction, scale, full=True)
        agrees = third.finite and third.deviation <= third.bar + tolerance
        return SecondLook(Look.AGREES if agrees else Look.UNSURE, third)
    if abs(float(again.slope.jump[0])) > BENT * again.deviation:
        # Partly a kink, and not clearly so: neither accuse nor excuse.
        return SecondLook(Look.UNSURE, again)
    if staircase(again):
        return SecondLook(Look.UNSURE, again)
    if small and deviation <= REACH * RTOL64_UNCLEAR * scale:
        return SecondLook(Look.IRREGULAR, again)
    return SecondLook(Look.EXCLUDED, again)


def _on_stairs(meter: Meter, measured: Measured, tolerance: float) -> Asking[SecondLook]:
    """Measure a deviation again where f is a staircase: WRONG needs both of its slopes to exclude the claim."""
    again = yield from meter.slope(measured.direction, measured.scale, full=True)
    if not again.finite or again.slope.side != 0:
        return SecondLook(Look.UNSURE, again)
    if again.deviation <= again.bar + tolerance:
        return SecondLook(Look.AGREES, again)
    jump = again.slope.step
    if jump is not None and on_tread(again):
        meter.excuses.append(Excuse(measured=again, jump=jump, tread=again.slope.tread, on_tread=True))
        return SecondLook(Look.UNSURE, again)
    if staircase(again):
        return SecondLook(Look.UNSURE, again)
    return SecondLook(Look.EXCLUDED, again)


def plain(meter: Meter, measured: Measured, least: float) -> Asking[bool]:
    """Whether a deviation of a thousand bars, and more than `least`, is borne out by another pair of values."""
    obvious = measured.deviation > max(OBVIOUS_BARS * measured.bar, least) and not staircase(measured)
    if measured.slope.side != 0 or meter.known is None or not obvious:
        return False
    step = meter.known.question_step * float(meter.jitter.uniform(*PAIR))
    plus, minus = yield from meter.pair(measured.direction, step)
    return abs((plus - minus) / (2 * step) - measured.value) <= BORNE_OUT * measured.deviation


def _sharp_again(meter: Meter, measured: Measured, tolerance: float) -> Asking[Measured | None]:
    """Measure a deviation again on steps of its own, sharply; None where that does not bear it out beyond doubt."""
    if not meter.takes_sharp_slopes or measured.slope.side or measured.direction.floor > 0:
        return None
    again = yield from meter.sharp_slope(measured.direction, measured.scale)
    jump = abs(float(again.slope.jump[0]))
    clear = again.finite and not again.slope.side and again.deviation > CLEAR * again.bar + tolerance
    agrees = abs(again.value - measured.value) <= again.bar + measured.bar
    return again if clear and agrees and jump <= BENT * again.deviation else None
