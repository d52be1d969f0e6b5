"""What one line through the point shows of kinks, steps and treads of f. Nothing is asked and nothing is decided."""

from __future__ import annotations

import numpy as np

from gradproof._base._precision import is_double
from gradproof._line import Jump, explains
from gradproof._prove._measure import Measured
from gradproof._prove._tolerance import KINK_BARS, OBVIOUS, is_kink

# A difference of the one-sided slopes from this share of a deviation on makes a kink of it. Chosen: a smaller one would
# leave four fifths of the deviation to the claim; a larger share would let half a kink accuse.
BENT = 0.2
# A clear one from this share on says that more of it may have cancelled: of two kinks of one size that bend f both
# ways, jump / deviation is below r in r / pi of the directions that have the larger part of them cancel.
HINT = 0.05
# The same of a first look, which costs no more than another line: less shows in 0.3 % of such directions.
SLIGHT = 0.01
# Half-ulps of f beyond which a movement is not hidden by rounding. Chosen: who claims less of an f that stands still is
# not accused; who claims more has f against him, however many operations it is rounded in.
HIDDEN = 1e4
# The difference of fresh one-sided slopes that is the same kink's: a cap, as what varies by more is no slope.
SAME = 0.3
# What is left of a difference of one-sided slopes at a finer step, where it is curvature that fades: nearly all of
# that of a kink; of curvature the ratio of the steps, a quarter or less.
FADES = 0.3
# A jump that must make a large deviation by itself, as `gradproof._line._shape.REACH` for any other: chosen, ten times
# stricter, as such a deviation is seldom f's own.
BY_ITSELF = 3.0
# A claim lies on a tread where it is off its slope by no more than so many bars, or this share of it. Chosen: treads
# are short and their bars estimates; who is off by more is not on it, and is accused only if both slopes exclude him.
TREAD_BARS, ON_TREAD = 10.0, 1e-3
# A bar, relative to the natural size of a slope, that no fine step leaves of a smooth f: it holds a second slope.
WIDE = 1e-3


def kinked(measured: Measured, tolerance: float) -> bool:
    """Whether the one-sided slopes differ beyond doubt, and each lies outside the other's bar."""
    jump, bar = abs(float(measured.slope.jump[0])), float(measured.slope.jump_bar[0])
    apart = jump > 2 * float(measured.slope.central_bar[0]) + bar
    return measured.slope.side == 0 and apart and is_kink(jump, bar, tolerance)


def inside_kink(measured: Measured, tolerance: float) -> bool:
    """Whether the claimed slope lies between the one-sided slopes."""
    half = abs(float(measured.slope.jump[0])) / 2
    bar = float(measured.slope.central_bar[0]) + float(measured.slope.jump_bar[0]) / 2 + tolerance
    return measured.deviation <= half + bar


def same_kink(first: Measured, second: Measured, tolerance: float) -> bool:
    """Whether a fresh ladder sees the same kink."""
    jumps = float(first.slope.jump[0]), float(second.slope.jump[0])
    return second.finite and kinked(second, tolerance) and abs(jumps[0] - jumps[1]) <= SAME * abs(jumps[0])


def merely_curved(measured: Measured) -> bool:
    """Whether what looks like a kink at coarse steps fades at the finer ones of them."""
    slope = measured.slope
    if len(slope.h) < 2:
        return False
    (coarse, fine), (wide, narrow) = slope.h[-2:], 2 * slope.even[-2:, 0] / slope.h[-2:]
    jump = float(slope.jump[0])
    fading = abs(jump - float(coarse * narrow - fine * wide) / (coarse - fine))
    return abs(jump) <= KINK_BARS * (float(slope.jump_bar[0]) + fading) or abs(narrow) < FADES * abs(wide)


def bends(measured: Measured) -> bool:
    """Whether the one-sided slopes differ by more than the bar of their difference, as those of a smooth f do not."""
    return abs(float(measured.slope.jump[0])) > float(measured.slope.jump_bar[0])


def slightly_bent(measured: Measured) -> bool:
    """Whether the one-sided slopes seem to differ, by enough that more of it may have cancelled."""
    jump, bar = abs(float(measured.slope.jump[0])), float(measured.slope.jump_bar[0])
    return measured.slope.side == 0 and jump > 3 * bar and jump > SLIGHT * measured.deviation


def may_be_bent(measured: Measured) -> bool:
    """Whether coarse steps, as those of low precision are, show a kink, or leave room for one that is not small."""
    slope = measured.slope
    jump, bar = abs(float(slope.jump[0])), float(slope.jump_bar[0])
    room = jump + bar > BENT * measured.deviation or (bends(measured) and jump > HINT * measured.deviation)
    return not is_double(slope.eps) and room


def would_move(measured: Measured) -> bool:
    """Whether the claim says that f moves by far more than rounding hides."""
    slope = measured.slope
    return len(slope.h) > 0 and abs(measured.claimed) * float(slope.h[0]) > HIDDEN * float(slope.unit[0])


def staircase(measured: Measured) -> bool:
    """Whether f stands still at fine steps, whose slope was taken, but follows the claim at coarse ones: it is rounded.

    A slope of steps at which f moves excludes the claim as these fine ones do.
    """
    slope = measured.slope
    still = bool(slope.odd[-1, 0] == 0 and slope.even[-1, 0] == 0)
    is_of_tread = bool(slope.odd[slope.level[0], 0] == 0)
    coarse = float(slope.odd[0, 0] / slope.h[0])
    return still and is_of_tread and abs(coarse - measured.claimed) <= 0.5 * abs(measured.claimed)


def on_tread(measured: Measured) -> bool:
    """Whether a claim agrees with the slope between jumps."""
    tread = measured.slope.tread
    if tread is None:
        return False
    return abs(measured.claimed - tread.value) <= max(TREAD_BARS * tread.bar, ON_TREAD * abs(tread.value))


def may_be_on_tread(measured: Measured) -> bool:
    """Whether jumps of f leave open which of two slopes counts: the bar holds both."""
    slope = measured.slope
    return slope.step is not None and slope.tread is None and measured.bar > WIDE * measured.scale


def excuses(jump: Jump, measured: Measured) -> bool:
    """Whether a jump may be one of those that make a sawtooth of f, whose slope across them the claim is.

    Where the steps that were seen reach across it, some of them must follow the claim. A large deviation takes a jump
    that makes it by itself.
    """
    slope, large = measured.slope, measured.deviation > OBVIOUS * measured.scale
    coarse = slope.h > jump.at
    off = np.abs(slope.odd[coarse, 0] / slope.h[coarse] - measured.claimed)
    follows = not coarse.any() or bool((off < 0.5 * measured.deviation).any())
    return follows and (explains(jump, measured.deviation, BY_ITSELF) if large else explains(jump, measured.deviation))
