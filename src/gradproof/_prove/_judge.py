"""Judge one group of leaves: directions until the claim is certified, excluded, or cannot be told."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import is_double
from gradproof._line import Jump, Shape, ShapeKind, explains, learn
from gradproof._prove._finest import bends_nearby, borne_out, follows_further_out
from gradproof._prove._laws import error_bound
from gradproof._prove._low_precision import narrow_widest, sharp_again, worth_many
from gradproof._prove._measure import Asking, Excuse, Measured, Meter, Tier, in_phase
from gradproof._prove._tolerance import (
    REACH,
    RTOL64,
    RTOL64_UNCLEAR,
    TYPICAL_SLACK_LOW,
    Limits,
    irregular,
    is_kink,
    natural_scale,
    typical_bound,
)
from gradproof._report import Reason

Floats = NDArray[np.float64]

EXTRA_DIRECTIONS = 6
# A direction whose bar is so many times wider than all others has met an unlucky ladder.
OUTLIER = 10.0
# Relative bar that is good enough, if f's noise asks for it, for leaves that are small beside others.
SMALL_TIER = 1e-6
# The same for the first direction where an evaluation is dear: a bound of 1e-2 on each of 196 leaves takes 4e-6.
SPARED = 1e-6
# Half-ulps of f beyond which a movement is not hidden by rounding.
HIDDEN = 1e4
# A deviation of this share of the scale is more than f's own irregularity is suspected of.
OBVIOUS = 2e-3
# A difference of the one-sided slopes from this share of a deviation on makes a kink of it.
BENT = 0.2
# A clear one from this share on says that more of it may have cancelled: of two kinks of one size that bend f both
# ways, jump / deviation is below r in r / pi of the directions that have the larger part of them cancel.
HINT = 0.05
# Further directions where one of low precision excludes the claim but not a kink.
MOST_BENT = 1
# A solver that stops early may leave deviations up to this share of the scale: jumps of f are looked for far out; and
# this is the largest share that a jump beside the point may excuse.
SOLVER, LARGEST = 2e-4, 0.05
# As `gradproof._line._shape.REACH`, for a jump that must make a deviation by itself.
BY_ITSELF = 3.0
# A claim lies on a tread where it is off its slope by no more than so many bars, or this share of it.
TREAD_BARS, ON_TREAD = 10.0, 1e-3


class Kind(enum.Enum):
    """What the directions of one group say."""

    AGREES = enum.auto()
    WRONG = enum.auto()
    KINK = enum.auto()
    UNSURE = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the directions of one group say.

    bound : upper confidence bound on the norm of claim error times step over the group (absolute), inf if none.
    deviation : the largest |claim - reference| along a direction (absolute).
    failing : the measurement that excludes the claim, for WRONG.
    measured : all measurements of the group's directions.
    reason : why it is UNSURE, or what would be to blame for a bound that is too wide.
    rtol : the smallest relative error worth an accusation, as f's own regularity allowed.
    unchanged : whether f kept the same bits at every step although the claim says that it moves.
    """

    kind: Kind
    bound: float = math.inf
    deviation: float = 0.0
    failing: Measured | None = None
    measured: tuple[Measured, ...] = ()
    reason: Reason | None = None
    rtol: float = RTOL64
    unchanged: bool = False


def first_look(meter: Meter, tier: Tier, limits: Limits) -> Asking[Measured]:
    """Measure a direction through a group, and learn noise and curvature from it if nothing is known yet."""
    direction = tier.direction(meter.next_stream())
    known, target = meter.known, SPARED if limits.sparing and is_double(meter.eps) else None
    if known is not None and is_double(known.eps) and 0 < tier.scale < known.size:
        # Beside larger leaves noise allows no bar as narrow as theirs: a whole ladder would find none.
        target = min(SMALL_TIER, 3 * known.relative_bar * known.size / tier.scale)
        if limits.sparing:
            # What three directions need for a bound narrow enough on every leaf.
            wide = min(share for share in tier.shares if share > 0) * limits.largest_bound(known.eps)
            target = max(target, 0.3 * wide / error_bound(tier.scale, 3, tier.size, limits.confidence))
        known = dataclasses.replace(known, levels=known.levels_for(tier.scale))
    measured = yield from meter.slope(direction, tier.scale, known=known, target=target)
    if known is None and measured.finite and measured.slope.side == 0:
        size = natural_scale(tier.scale, measured.value, float(measured.slope.f0[0]))
        if not kinked(measured, REACH * limits.tolerance(measured.slope.eps) * size):
            # (A kink teaches the next direction nothing but wide bars, in which it would not show again.)
            meter.known = learn(measured.slope, measured.bar / max(size, abs(measured.value), 1e-300), size)
    return measured


def judge(meter: Meter, tier: Tier, limits: Limits, looked: Measured | None = None) -> Asking[Judgement]:
    """Certify or exclude the claims of one group of leaves.

    Two random directions, one balanced where some claims are tiny, a third random one, and up to six more while the
    bound is too wide. A deviation is measured again before it is believed. `looked` is the group's first look, if it
    has been taken.
    """
    floor = _balanced_floor(meter, tier) if meter.balances else 0.0
    plan = ["random"] if tier.size == 1 else ["random", "random", *(["balanced"] if floor else [])]
    if tier.size > 1 and not limits.sparing:
        plan.append("random")
    seen: list[Measured] = []
    agreed: list[float] = []
    held: list[tuple[Measured, float]] = []
    looked_again = waited = False
    deviation, kinks, extra, bent = 0.0, 0, 0, 0
    measured: Measured
    ready: list[Measured] = [] if looked is None else [looked]
    pending: Measured | None = None
    rtol = limits.tolerance(meter.eps)
    while plan:
        balanced = plan.pop(0) == "balanced"
        scale = meter.balanced_scale(tier, floor) if balanced else tier.scale
        if balanced:
            direction = tier.direction(meter.next_stream(), floor)
            measured = yield from meter.coarse_slope(direction, scale, sparing=limits.sparing)
        elif ready:
            measured = ready.pop()
        else:
            measured = yield from first_look(meter, tier, limits)
        if not measured.finite:
            if balanced:
                continue
            return Judgement(kind=Kind.UNSURE, reason=why_wide(meter, measured), measured=(*seen, measured))
        size = natural_scale(scale, measured.value, float(measured.slope.f0[0]))
        eps = measured.slope.eps
        rtol = max(rtol, limits.tolerance(eps))
        seen.append(measured)
        tolerance = limits.allowance(
            eps,
            size,
            tier.scale,
            balanced=balanced,
            regularity=meter.regularity,
            cancelled=meter.claim_floor * max(tier.scales),
        )
        # (Of a known lattice the bar holds what it hides.)
        sees = limits.sees and (meter.resolution > 0 or _would_move(measured))
        if not meter.moved and scale > 0 and not sees:
            # No step and no other leaf has moved f: that speaks of f rather than of the claim.
            return Judgement(kind=Kind.UNSURE, reason=Reason.DEGENERATE, measured=tuple(seen), unchanged=True)
        if kinked(measured, tolerance) and not (balanced and _merely_curved(measured)):
            again = yield from meter.slope(measured.direction, scale, full=True)
            if _same_kink(measured, again, tolerance) and (yield from bends_nearby(meter, again)):
                kinks += 1
                if kinks >= 2 or tier.size == 1:
                    return Judgement(kind=Kind.KINK, measured=tuple(seen), rtol=rtol)
                if not balanced:
                    plan.append("random")
                continue
            # Rounding noise can look like a kink: the fresh, longer ladder counts.
            if not again.finite or kinked(again, tolerance):
                if balanced:
                    continue
                return Judgement(kind=Kind.UNSURE, reason=Reason.UNSTABLE, measured=tuple(seen), rtol=rtol)
            measured = again
        if _worth_another(measured, tolerance) and not waited and not balanced and tier.size > 1:
            # Any other direction is more likely to speak clearly than this one is to be explained away.
            pending, waited = measured, True
            plan.insert(0, "random")
            continue
        if pending is not None and not balanced:
            # The larger of the two is judged; the other counts if it agrees.
            if pending.deviation > measured.deviation:
                if measured.deviation <= measured.bar + tolerance:
                    agreed.append(measured.deviation + measured.bar)
                    held.append((measured, tolerance))
                measured = pending
            pending = None
        if measured.deviation > measured.bar + tolerance:
            again = yield from confirm(meter, measured, tolerance)
            seen.append(again.measured)
            if again.look is Look.EXCLUDED:
                if kinks:
                    return Judgement(kind=Kind.KINK, measured=tuple(seen), rtol=rtol)
                hidden = _may_be_bent(again.measured)
                if hidden and bent == MOST_BENT and _bends(again.measured):
                    return Judgement(kind=Kind.UNSURE, reason=Reason.UNSTABLE, measured=tuple(seen), rtol=rtol)
                if tier.size > 1 and ((hidden and bent < MOST_BENT) or (_slightly_bent(measured) and not bent)):
                    # Kinks that bend f both ways may hide in one direction, and then show in most others.
                    bent += 1
                    plan.append("balanced" if balanced else "random")
                    continue
                return Judgement(kind=Kind.WRONG, failing=again.measured, measured=tuple(seen), rtol=rtol)
            if again.look is Look.UNSURE:
                if balanced:
                    continue
                at_edge = again.measured.slope.side != 0
                reason = Reason.DOMAIN if at_edge else Reason.UNSTABLE
                return Judgement(kind=Kind.UNSURE, reason=reason, measured=tuple(seen), rtol=rtol)
            if again.look is Look.IRREGULAR:
                # f itself is no smoother than this: the deviation counts as bar, and less cannot be accused.
                meter.regularity = max(meter.regularity, irregular(measured.deviation, size))
                if again.jump is not None:
                    meter.excuses.append(Excuse(measured=measured, jump=again.jump))
                rtol = max(rtol, meter.regularity)
                measured = dataclasses.replace(measured, bar=max(measured.bar, measured.deviation))
            else:
                measured = again.measured
        if not balanced and meter.witnesses and _too_wide(meter, tier, measured, limits):
            witnessed = yield from _with_witness(meter, measured, tolerance)
            if witnessed is None:
                return Judgement(kind=Kind.UNSURE, reason=Reason.WITNESSES, measured=tuple(seen), rtol=rtol)
            measured = witnessed
        if not balanced:
            agreed.append(measured.deviation + measured.bar)
            held.append((measured, tolerance))
            deviation = max(deviation, measured.deviation)
        if "random" not in plan and len(agreed) > 1 and not looked_again:
            looked_again = yield from _look_again(meter, tier, limits, held, agreed)
            largest = limits.largest_bound(meter.precision)
            looked_again |= yield from narrow_widest(meter, tier, held, agreed, limits.confidence, largest)
        if "random" not in plan and agreed and tier.size > 1:
            bound = error_bound(max(agreed), len(agreed), tier.size, limits.confidence, folded=tier.folded)
            most = len(agreed) + EXTRA_DIRECTIONS - extra
            best = error_bound(max(agreed), most, tier.size, limits.confidence, folded=tier.folded)
            more = _worth_more(meter, tier, bound, best, limits) or _doubtful(held)
            more = more if extra < EXTRA_DIRECTIONS else False
            if more or worth_many(meter, tier, agreed, limits.confidence, limits.largest_bound(meter.precision)):
                extra += 1
                plan.append("random")
    if not agreed:
        if kinks:
            return Judgement(kind=Kind.KINK, measured=tuple(seen), rtol=rtol)
        return Judgement(kind=Kind.UNSURE, reason=Reason.NO_CONVERGENCE, measured=tuple(seen), rtol=rtol)
    if bent:
        # One direction excludes the claim: what others leave open bounds nothing.
        return Judgement(kind=Kind.UNSURE, reason=Reason.UNSTABLE, measured=tuple(seen), rtol=rtol)
    bound = error_bound(max(agreed), len(agreed), tier.size, limits.confidence, folded=tier.folded)
    widest = max((m for m in seen if m.direction.floor == 0), key=lambda m: m.bar)
    return Judgement(
        kind=Kind.AGREES,
        reason=why_wide(meter, widest),
        bound=bound,
        deviation=deviation,
        measured=tuple(seen),
        rtol=rtol,
    )


def _look_again(
    meter: Meter, tier: Tier, limits: Limits, held: list[tuple[Measured, float]], agreed: list[float]
) -> Asking[bool]:
    """Measure a direction on a fresh ladder if its bar alone, much wider than all others, leaves the bound too wide.

    `held` are measurements with their tolerances, `agreed` what each holds; whether there was one, changed in both.
    """
    k = int(np.argmax(agreed))
    others = max(agreed[:k] + agreed[k + 1 :])
    if len(held) < len(agreed) or agreed[k] < OUTLIER * others:
        return False
    most = len(agreed) + EXTRA_DIRECTIONS
    bounds = [error_bound(x, most, tier.size, limits.confidence, folded=tier.folded) for x in (others, agreed[k])]
    goals = [share * limits.largest_bound(meter.precision) for share in tier.shares if share > 0]
    if not any(bounds[0] <= goal < bounds[1] for goal in goals):
        return False
    measured, tolerance = held[k]
    again = yield from meter.slope(measured.direction, tier.scale, full=True)
    if again.finite and again.deviation <= again.bar + tolerance and again.deviation + again.bar < agreed[k]:
        held[k] = again, tolerance
        agreed[k] = again.deviation + again.bar
    return True


def _too_wide(meter: Meter, tier: Tier, measured: Measured, limits: Limits) -> bool:
    """Whether three directions with a bar like this one's could not certify every leaf."""
    bound = error_bound(measured.bar, 3, tier.size, limits.confidence, folded=tier.folded)
    return any(bound > share * limits.largest_bound(meter.precision) for share in tier.shares if share > 0)


def _with_witness(meter: Meter, measured: Measured, tolerance: float) -> Asking[Measured | None]:
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
    return dataclasses.replace(measured, value=value, bar=bar)


def _worth_more(meter: Meter, tier: Tier, bound: float, best: float, limits: Limits) -> bool:
    """Whether more directions can bring a leaf to where it may be called CORRECT, or exclude a typical wrong entry.

    `best` is the bound that all directions still allowed would give if they agree as well as those so far.
    """
    largest = limits.largest_bound(meter.precision)
    slack = 1.0 if is_double(meter.precision) else TYPICAL_SLACK_LOW
    for index, share in zip(tier.group, tier.shares, strict=True):
        typical = slack * typical_bound(meter.directions.leaves[index].size)
        goals = (largest,) if limits.sparing else (largest, typical)
        if any(best <= share * goal < bound for goal in goals):
            return True
    return False


def _doubtful(held: list[tuple[Measured, float]]) -> bool:
    """Whether a deviation is ten bars and above rtol, but less than may be accused: others may say more."""
    return any(
        measured.deviation > max(10 * measured.bar, tolerance / REACH) and measured.slope.side == 0
        for measured, tolerance in held
    )


def kinked(measured: Measured, tolerance: float) -> bool:
    """Whether the one-sided slopes differ beyond doubt, and each lies outside the other's bar."""
    jump, bar = abs(float(measured.slope.jump[0])), float(measured.slope.jump_bar[0])
    apart = jump > 2 * float(measured.slope.central_bar[0]) + bar
    return measured.slope.side == 0 and apart and is_kink(jump, bar, tolerance)


def _would_move(measured: Measured) -> bool:
    """Whether the claim says that f moves by far more than rounding hides."""
    slope = measured.slope
    return len(slope.h) > 0 and abs(measured.claimed) * float(slope.h[0]) > HIDDEN * float(slope.unit[0])


def _merely_curved(measured: Measured) -> bool:
    """Whether what looks like a kink at coarse steps fades at the finer ones of them."""
    slope = measured.slope
    if len(slope.h) < 2:
        return False
    (coarse, fine), (wide, narrow) = slope.h[-2:], 2 * slope.even[-2:, 0] / slope.h[-2:]
    jump = float(slope.jump[0])
    fading = abs(jump - float(coarse * narrow - fine * wide) / (coarse - fine))
    return abs(jump) <= 3 * (float(slope.jump_bar[0]) + fading) or abs(narrow) < 0.3 * abs(wide)


def _slightly_bent(measured: Measured) -> bool:
    """Whether the one-sided slopes seem to differ, by enough that more of it may have cancelled."""
    jump, bar = abs(float(measured.slope.jump[0])), float(measured.slope.jump_bar[0])
    return measured.slope.side == 0 and jump > 3 * bar and jump > 0.01 * measured.deviation


def _bends(measured: Measured) -> bool:
    """Whether the one-sided slopes differ by more than the bar of their difference, as those of a smooth f do not."""
    return abs(float(measured.slope.jump[0])) > float(measured.slope.jump_bar[0])


def _may_be_bent(measured: Measured) -> bool:
    """Whether coarse steps, as those of low precision are, show a kink, or leave room for one that is not small."""
    slope = measured.slope
    jump, bar = abs(float(slope.jump[0])), float(slope.jump_bar[0])
    room = jump + bar > BENT * measured.deviation or (_bends(measured) and jump > HINT * measured.deviation)
    return not is_double(slope.eps) and slope.side == 0 and room


def _same_kink(first: Measured, second: Measured, tolerance: float) -> bool:
    """Whether a fresh ladder sees the same kink."""
    jumps = float(first.slope.jump[0]), float(second.slope.jump[0])
    return second.finite and kinked(second, tolerance) and abs(jumps[0] - jumps[1]) <= 0.3 * abs(jumps[0])


def inside_kink(measured: Measured, tolerance: float) -> bool:
    """Whether the claimed slope lies between the one-sided slopes."""
    half = abs(float(measured.slope.jump[0])) / 2
    bar = float(measured.slope.central_bar[0]) + float(measured.slope.jump_bar[0]) / 2 + tolerance
    return measured.deviation <= half + bar


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
    if beside is not None and deviation <= LARGEST * scale and excuses(beside, measured):
        return SecondLook(Look.IRREGULAR, measured, beside)
    if (yield from plain(meter, measured, OBVIOUS * scale)):
        return SecondLook(Look.EXCLUDED, measured)
    if (sharp := (yield from sharp_again(meter, measured, tolerance))) is not None:
        return SecondLook(Look.EXCLUDED, sharp)
    small = two_sided and measured.direction.floor == 0 and deviation <= OBVIOUS * scale
    shape = Shape(ShapeKind.UNCLEAR)
    if small:
        shape = yield from meter.shape(measured, far=deviation <= SOLVER * scale)
        if shape.kind is ShapeKind.JUMPS:
            return SecondLook(Look.IRREGULAR, measured, shape.jump)
        if abs(shape.slope - measured.value) <= 0.1 * deviation:
            return SecondLook(Look.EXCLUDED, measured)
    again = yield from meter.slope(measured.direction, scale, full=deviation < 10 * measured.bar)
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
    if _staircase(again):
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
    if _staircase(again):
        return SecondLook(Look.UNSURE, again)
    return SecondLook(Look.EXCLUDED, again)


def on_tread(measured: Measured) -> bool:
    """Whether a claim agrees with the slope between jumps."""
    tread = measured.slope.tread
    if tread is None:
        return False
    return abs(measured.claimed - tread.value) <= max(TREAD_BARS * tread.bar, ON_TREAD * abs(tread.value))


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


def plain(meter: Meter, measured: Measured, least: float) -> Asking[bool]:
    """Whether a deviation of a thousand bars, and more than `least`, is borne out by another pair of values."""
    obvious = measured.deviation > max(1000 * measured.bar, least) and not _staircase(measured)
    if measured.slope.side != 0 or meter.known is None or not obvious:
        return False
    step = meter.known.question_step * float(meter.jitter.uniform(2.0, 4.0))
    plus, minus = yield from meter.pair(measured.direction, step)
    return abs((plus - minus) / (2 * step) - measured.value) <= 0.1 * measured.deviation


def _worth_another(measured: Measured, tolerance: float) -> bool:
    """Whether a deviation is small by accident, it seems: a tenth of what would be obvious, or more."""
    seen = measured.deviation > measured.bar + tolerance and measured.slope.side == 0
    return seen and 0.1 * OBVIOUS * measured.scale < measured.deviation <= OBVIOUS * measured.scale


def _staircase(measured: Measured) -> bool:
    """Whether f stands still at fine steps but follows the claim at coarse ones: it is rounded."""
    slope = measured.slope
    still = bool(slope.odd[-1, 0] == 0 and slope.even[-1, 0] == 0)
    coarse = float(slope.odd[0, 0] / slope.h[0])
    return still and abs(coarse - measured.claimed) <= 0.5 * abs(measured.claimed)


def _balanced_floor(meter: Meter, tier: Tier) -> float:
    """Size to which claim times step is cut down in a balanced direction; 0 where none is needed."""
    if tier.scale == 0 or tier.size == 1:
        return 0.0
    smallest, square, zeros = math.inf, 0.0, False
    for steps in _claimed_steps(meter, tier):
        positive = steps[steps > 0]
        zeros = zeros or positive.size < steps.size
        smallest = min(smallest, float(positive.min())) if positive.size else smallest
        square += float(steps @ steps)
    rms = math.sqrt(square / tier.size)
    floor = max(1e-6 * rms, smallest)
    return 0.0 if floor > 0.03 * rms and not zeros else floor


def _claimed_steps(meter: Meter, tier: Tier) -> Iterator[Floats]:
    """|claim| times step, a part of the entries at a time."""
    return (
        factor * steps
        for index, factor in zip(tier.group, tier.scales, strict=True)
        for steps in meter.directions.claimed_steps(index)
    )


def why_wide(meter: Meter, measured: Measured) -> Reason:
    """Why the bar of a slope is too wide: the reason that the user can do something about."""
    slope = measured.slope
    if slope.trouble:
        return Reason.DOMAIN
    if meter.random:
        return Reason.STOCHASTIC
    if len(slope.h) >= 3 and slope.side == 0:
        # At a jump of f the difference of both sides stays as it is while the step shrinks.
        fine, coarser = (abs(float(slope.odd[row, 0])) for row in (-1, -3))
        if fine > 1e4 * float(slope.unit[0]) and fine > 0.5 * coarser:
            return Reason.NO_CONVERGENCE
    if not measured.finite or (slope.side != 0 and measured.bar > 0.1 * abs(measured.value)):
        return Reason.NO_CONVERGENCE
    if not is_double(meter.precision):
        return Reason.PRECISION
    return Reason.NOISE
