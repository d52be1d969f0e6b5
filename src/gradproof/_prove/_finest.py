"""Whether a deviation is borne out by the finest steps at which it still shows.

Steps of low precision are so coarse that a pole, an edge or a kink may lie within the finest of a ladder, and what
oscillates within all steps of double precision looks like noise. A slope taken from such steps may agree with itself
at all of them. The larger a deviation, the finer the step at which it stands out from rounding: what f does there
speaks of the point, if anything does.
"""

from __future__ import annotations

import math

import numpy as np

from gradproof._base._precision import is_double
from gradproof._prove._measure import Asking, Measured, Meter

# Noise of one value over the step, relative to the deviation: a quotient is off by a 28th of it (one sigma).
FINEST = 20.0
# Half-ulps from which what is seen as noise may be structure: as `gradproof._line._ladder.ROUNDING`; the same for what
# f moves by at the finest step, beyond so many times what its slope explains.
ORDINARY, ROUNDED, MOVES = 16.0, 64.0, 10.0
# That share of all that f moves by, from which the rest may be of the same kind.
OF_ALL = 0.1
# Steps finer than the ladder's by less than this say nothing new.
FINER = 2.0
# Steps, relative to the finest useful one, and how close the claim must be to what they see, in deviations. Noise that
# makes a quotient as large as the deviation, or larger, does so in at most 0.2 of cases each: in all, 1 in 100.
SEVERAL, CLOSE = np.array([1.0, 0.61, 0.37]), 0.25

# How close two neighbouring levels must be to the claim, in deviations, for f to follow it there.
FOLLOWS = 0.1


def borne_out(meter: Meter, measured: Measured) -> Asking[bool]:
    """Whether f deviates from a claim at the finest steps, too; True where no finer step than the ladder's can tell."""
    slope, deviation = measured.slope, measured.deviation
    if slope.side or not len(slope.h) or not deviation > 0 or meter.random:
        return True
    if not is_double(slope.eps) and not (yield from _at_finest(meter, measured)):
        return False
    return not (yield from _unresolved(meter, measured))


def _at_finest(meter: Meter, measured: Measured) -> Asking[bool]:
    """Whether the slope of coarse steps is that of the finest step at which the deviation stands out from noise."""
    step = FINEST * noise_seen(meter, measured) / measured.deviation
    if not 0 < step < float(measured.slope.h[-1]) / FINER:
        return True
    step *= float(meter.jitter.uniform(0.9, 1.1))
    plus, minus = yield from meter.pair(measured.direction, step)
    return abs((plus - minus) / (2 * step) - measured.value) < 0.5 * measured.deviation


def _unresolved(meter: Meter, measured: Measured) -> Asking[bool]:
    """Whether what looks like noise of f at all steps may be what the claim is the slope of.

    As the claim has it, f moves by the size of that noise over a length that is shorter than all steps. Within such a
    length the quotients must follow the claim; where x itself is rounded to steps as wide as that, nobody can tell.
    """
    slope, deviation = measured.slope, measured.deviation
    f0, unit, finest = float(slope.f0[0]), float(slope.unit[0]), float(slope.h[-1])
    moves = np.maximum(np.abs(slope.plus[:, 0] - f0), np.abs(slope.minus[:, 0] - f0))
    rounding = 0.5 * slope.eps * (abs(f0) + float(moves[-1]))
    seen = float(slope.noise[0]) if float(slope.noise[0]) > ORDINARY * unit else 0.0
    amplitude = max(min(seen, float(moves.max())), float(moves[-1]) - MOVES * abs(measured.value) * finest)
    if not max(ROUNDED * rounding, OF_ALL * float(moves.max())) < amplitude < deviation * float(slope.h[0]):
        return False
    # (What else moves f may be rounded in it, on the way.)
    if amplitude < ROUNDED * slope.eps * max(deviation, float(np.linalg.norm(meter.norms))):
        return True
    step = math.sqrt(amplitude * min(max(rounding, unit), amplitude / ORDINARY)) / deviation
    for one in (step * SEVERAL * meter.jitter.uniform(0.9, 1.1, len(SEVERAL))).tolist():
        plus, minus = yield from meter.pair(measured.direction, one)
        quotient = (plus - minus) / (2 * one)
        if not math.isfinite(quotient) or abs(quotient - measured.claimed) > CLOSE * deviation:
            return False
    return True


def follows_further_out(measured: Measured) -> bool:
    """Whether f, in low precision, has the claimed slope at coarse steps, and another only at finer ones.

    An intermediate result that is much larger than what is made of it is rounded: it stays as it is at fine steps, and
    what else moves f there may have any slope.
    """
    slope = measured.slope
    if is_double(slope.eps) or slope.side or len(slope.h) < 4:
        return False
    quotients = slope.odd[:, 0] / slope.h
    follows = np.abs(quotients - measured.claimed) <= FOLLOWS * measured.deviation
    # (One level alone may follow by accident, where quotients pass the claim on their way.)
    return bool((follows[:-2] & follows[1:-1]).any())


def bends_nearby(meter: Meter, measured: Measured) -> Asking[bool]:
    """Whether a kink of f shows at the finest steps, too; True where no finer step than the ladder's can tell.

    Beside an edge or a pole f may be so curved that coarse steps see one.
    """
    slope = measured.slope
    if is_double(slope.eps) or slope.side or not len(slope.h) or meter.random:
        return True
    jump = float(slope.jump[0])
    step = 2 * FINEST * noise_seen(meter, measured) / abs(jump) if jump else 0.0
    if not 0 < step < float(slope.h[-1]) / FINER:
        return True
    plus, minus = yield from meter.pair(measured.direction, step)
    return abs((plus + minus - 2 * float(slope.f0[0])) / step - jump) <= 0.5 * abs(jump)


def noise_seen(meter: Meter, measured: Measured) -> float:
    """Standard deviation of one value of f, as far as any direction has shown."""
    slope, known = measured.slope, meter.known
    taught = 0.0 if known is None else float(known.noise[0])
    return max(float(slope.noise[0]), float(slope.unit[0]), taught)
