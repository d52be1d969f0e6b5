"""Leaves whose claim is 0, or below f's own noise: moved alone, up to their natural size.

If f moves, the claim is wrong, or f is stationary there: it changes to second order, and the slope is zero within a bar
that is small beside that. If f stays within its noise, nothing that it does tells this claim from others, and what is
said of it depends on the leaves that were tested (`settle_still`).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import EPS64, is_double
from gradproof._line import Slope, learn
from gradproof._prove._at_the_point import jumps_here, report_jump
from gradproof._prove._bends import kinked
from gradproof._prove._charge import Notice, Sight
from gradproof._prove._confirm import plain
from gradproof._prove._laws import error_bound
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import Asking, Measured, Meter, Question, Tier
from gradproof._prove._tolerance import CANCELLED, STATIONARY_RTOL, Limits
from gradproof._report import Reason, Severity, Verdict

Floats = NDArray[np.float64]

# Steps, in natural sizes, at which a leaf that claims to be flat must leave f as it is.
STEPS = (0.7, 0.1)
# Noise of f, relative to how far the tested leaves move it, beside which "f stays within its noise" says something.
QUIET = 1e-3
# Bar of a zero slope beside what f moves over the same step, where f is stationary.
STATIONARY = 1e-3
# The steepest power of a step by which f may move at such a point. (Of x**16 at 0 values from a step of 0.1 on show.)
DEGREE = 16.0
# Steps, in natural sizes, from which a slope that f's noise might hide is fitted together with a t**3 term, and how
# many standard deviations, as these have them, it must be away from 0: Student's t with four degrees of freedom exceeds
# 16 in one of 1e4 cases.
FAR, SHARES, SURE = (0.02, 0.3), 6, 16.0
FLAT_NOTE = "flat: no more than rounding beside the others, not tested by itself"
UNTESTED_NOTE = "untested: f's noise hides whatever it does"
STATIONARY_NOTE = "stationary: f changes to second order only, and the claim is zero"
# Directions through a stationary leaf; leaves that are moved, or judged, one by one where all together tell nothing: a
# cap, as each takes some 20 evaluations.
DIRECTIONS, ALONE = 5, 12


@dataclasses.dataclass(frozen=True)
class Still:
    """A leaf that has moved by its natural size while f stayed within its noise.

    noise : standard deviation of one value of f, or what the claim's own precision hides of it (absolute).
    bitwise : whether f kept its bits.
    measured : what was seen, if slopes were; shared by leaves that moved together.
    note : what is said of it where it is CORRECT.
    """

    index: int
    noise: float
    bitwise: bool
    measured: Measured | None
    note: str = "flat: f does not change"


def flat_tier(meter: Meter, group: tuple[int, ...]) -> Tier:
    """The leaves of a group at their natural sizes, whatever their claims."""
    norms = meter.norms[list(group)]
    return Tier(
        group=group,
        scales=(1.0,) * len(group),
        shares=tuple(norms.tolist()),
        size=sum(meter.directions.leaves[index].size for index in group),
        scale=float(np.linalg.norm(norms)),
        folded=meter.directions.folded(group),
    )


def certify_flat(
    meter: Meter, ledger: Ledger, tier: Tier, limits: Limits, still: list[Still], *, only: bool
) -> Asking[Measured | None]:
    """Move the leaves of a group: what f does not feel is added to `still`, where it is stationary is settled.

    Parameters
    ----------
    only : whether there are no other leaves, whose measurements would tell how f behaves.

    Returns
    -------
    Measured or None
        None if the leaves are settled or still; else the measurement that speaks against the claims, shows a kink, or
        moves f to second order by several leaves at once.
    """
    direction = tier.direction(meter.next_stream())
    alone = only or meter.known is None
    quick = yield from meter.slope(direction, tier.scale, known=meter.known, brief=True)
    if quick.finite:
        hidden = meter.lost_beside(float(quick.slope.f0[0]))
        is_hidden = 0 < abs(quick.value) + quick.bar <= hidden
        # (A claim of low precision has lost more than f shows.)
        is_known = hidden > meter.lost or not is_double(max(meter.eps, meter.claim_eps))
        if is_hidden and (is_known or (yield from _fits_zero(meter, quick))):
            note = "flat: f changes by no more than rounding of the claim hides"
            still += [Still(index, 0.0, False, quick, note) for index in tier.group]
            return None
        size = max(abs(quick.value), 1e-300)
        known, meter.known = meter.known, meter.known or learn(quick.slope, quick.bar / size, size)
        obvious = yield from plain(meter, quick, 1e-3 * size)
        meter.known = known
        if obvious:
            return quick
    if not alone and (yield from _stands_still(meter, quick, tier, still)):
        return None
    known, meter.known = meter.known, None
    measured = yield from meter.slope(direction, tier.scale, full=True)
    again = measured
    largest = float(np.max(_movements(measured.slope), initial=0.0))
    tolerance = STATIONARY_RTOL * largest
    speaks = measured.finite and (kinked(measured, tolerance) or measured.deviation > measured.bar + tolerance)
    if speaks:
        again = yield from meter.slope(direction, tier.scale, full=True)
    meter.known = known
    if not measured.finite or not again.finite:
        if len(tier.group) == 1 and jumps_here(measured):
            report_jump(ledger, tier.group[0], measured)
        else:
            ledger.undecided(tier.group, Reason.DOMAIN if measured.slope.trouble else Reason.NO_CONVERGENCE)
        return None
    if speaks:
        jump, jump_bar = abs(float(again.slope.jump[0])), float(again.slope.jump_bar[0])
        if again.deviation > again.bar + tolerance or (kinked(again, tolerance) and jump_bar < 0.1 * jump):
            return again
        ledger.undecided(tier.group, Reason.NO_CONVERGENCE if kinked(again, tolerance) else Reason.UNSTABLE)
        return None
    noise = float(measured.slope.noise[0])
    if largest <= max(10 * noise, 8 * float(measured.slope.unit[0])):
        still += [Still(index, noise, largest == 0, measured) for index in tier.group]
    elif 1 < len(tier.group) <= ALONE and measured.deviation <= measured.bar:
        return measured
    else:
        yield from _certify_stationary(meter, ledger, tier, limits, measured)
    return None


def _fits_zero(meter: Meter, quick: Measured) -> Asking[bool]:
    """Whether the slope of f is 0 as far as steps of up to a share of the natural size can tell.

    Cancelling terms leave rounding in a claim, and as much in f. A slope that shows in f beside this noise is none of
    that, however large x is: units may make it so. The fine steps that other leaves ask for may not show it.
    """
    if abs(quick.value) > quick.bar:
        return False
    steps = np.geomspace(*FAR, SHARES)
    values = yield from meter.values(quick.direction, [*steps, *-steps])
    odd = (np.array(values[:SHARES]) - np.array(values[SHARES:])) / 2
    if not np.isfinite(odd).all():
        return True
    powers = np.stack([steps, steps**3], axis=1)
    fitted, *_ = np.linalg.lstsq(powers, odd)
    left = float(np.sum((odd - powers @ fitted) ** 2)) / (SHARES - 2)
    left = max(left, (EPS64 * abs(float(quick.slope.f0[0]))) ** 2)
    return abs(float(fitted[0])) <= SURE * math.sqrt(left * float(np.linalg.inv(powers.T @ powers)[0, 0]))


def _movements(slope: Slope) -> Floats:
    """How far phi moves at the finer levels, up to where it is another function altogether, in the order of `slope.h`.

    It is one at a step beyond which it grows faster than a polynomial of degree `DEGREE` (an exponential that takes
    off, say): what it moves by there tells nothing of the point.
    """
    rises = np.abs(np.stack([slope.plus[:, 0], slope.minus[:, 0]]) - float(slope.f0[0]))
    moved = np.max(rises, axis=0, where=np.isfinite(rises), initial=0.0)
    shown = np.flatnonzero(moved > max(10 * float(slope.noise[0]), 8 * float(slope.unit[0])))
    last = int(shown[-1]) if len(shown) else 0
    for k in range(last, 0, -1):
        degree = math.log(slope.h[k - 1] / slope.h[k]) * DEGREE
        if math.log(max(moved[k - 1], 1e-300)) - math.log(max(moved[k], 1e-300)) > degree:
            return moved[k:]
    return moved


def movement(slope: Slope) -> float:
    """How far phi moves, at most, for each unit of a step."""
    moved = _movements(slope)
    return float(np.max(moved / slope.h[-len(moved) :], initial=0.0))


def _certify_stationary(meter: Meter, ledger: Ledger, tier: Tier, limits: Limits, measured: Measured) -> Asking[None]:
    """Settle leaves where f moves, but not to first order: their bound is relative to what f moves by per step."""
    seen: list[float] = []
    moves: list[float] = []
    bound, deviation, is_zero = np.inf, 0.0, False
    known, meter.known = meter.known, None
    largest_bound = limits.largest_bound(meter.precision)
    for _ in range(DIRECTIONS if tier.size > 1 else 1):
        if seen:
            direction = tier.direction(meter.next_stream())
            measured = yield from meter.slope(direction, tier.scale, full=True)
            if not measured.finite or measured.deviation > measured.bar + STATIONARY_RTOL * max(moves):
                break
        seen.append(measured.deviation + measured.bar)
        moves.append(movement(measured.slope))
        if not measured.bar <= STATIONARY * moves[-1]:
            break
        deviation = max(deviation, measured.deviation)
        bound = error_bound(max(seen), len(seen), tier.size, limits.confidence, folded=tier.folded) / min(moves)
        # (A direction in which f hardly moves says little of how large a rounding is.)
        is_zero = tier.scale <= CANCELLED * max(meter.eps, meter.claim_eps) * max(moves)
        if bound <= largest_bound and is_zero:
            break
    meter.known = known
    if not (bound <= largest_bound and is_zero):
        ledger.undecided(tier.group, Reason.NOISE, note="untested: its claim is too small to be told from 0")
        return
    for index in tier.group:
        size = ledger.leaves[index].size
        ledger.zero_errors[index] = bound * min(moves) / ledger.unit
        deviated = deviation / min(moves)
        ledger.settle(
            index, Verdict.CORRECT, bound=bound, deviation=deviated, noticeable=bound * size**0.5, note=STATIONARY_NOTE
        )
        ledger.notice(
            Notice(
                sight=Sight.STATIONARY,
                leaf=index,
                claimed=measured.claimed,
                reference=measured.value,
                error_bar=measured.bar,
            )
        )


def stands_still(meter: Meter, tier: Tier, still: list[Still]) -> Asking[bool]:
    """Note leaves that f does not feel, whatever of rounding their claims hold; whether they are such."""
    direction = tier.direction(meter.next_stream())
    f0 = np.asarray((yield Question(direction, np.zeros(2))), dtype=np.float64)
    steps = np.concatenate([STEPS, np.negative(STEPS), [1e-3, -1e-3]])
    values = np.asarray((yield Question(direction, steps)), dtype=np.float64)
    noise = max(EPS64 * abs(float(f0[0])), abs(float(f0[1] - f0[0])))
    limit = 64 * EPS64 * abs(float(f0[0])) + 10 * abs(float(f0[1] - f0[0]))
    if not _within(limit, float(f0[0]), values):
        return False
    still += [Still(index, noise, bool((values == f0[0]).all()), None) for index in tier.group]
    return True


def _stands_still(meter: Meter, quick: Measured, tier: Tier, still: list[Still]) -> Asking[bool]:
    """Whether f stays within its noise while these leaves move by up to their natural size, as their claims say."""
    known = meter.known
    assert known is not None
    f0, noise = float(known.f0[0]), float(known.noise[0])
    limit = max(10 * noise, 8 * EPS64 * abs(f0))
    values = [quick.slope.plus, quick.slope.minus]
    if abs(quick.claimed) * max(STEPS) > limit or not _within(limit, f0, *values):
        return False
    for step in STEPS:
        pair = yield from meter.pair(quick.direction, step)
        values.append(np.array(pair))
        if not _within(limit, f0, values[-1]):
            return False
    bitwise = all(bool((some == f0).all()) for some in values)
    still += [Still(index, noise, bitwise, quick) for index in tier.group]
    return True


def _within(limit: float, f0: float, *values: Floats) -> bool:
    return all(bool((np.abs(some - f0) <= limit).all()) for some in values)


def settle_still(meter: Meter, ledger: Ledger, still: list[Still]) -> None:
    """Say of the leaves that f does not feel whether they are flat beside those that were tested, or untested.

    Flat is a claim that is no more than rounding of the others', where f is quiet enough to show a leaf that matters,
    and a claim of exactly 0 where f keeps its bits. No black box can tell any other from a wrong one.
    """
    tested = [index for index, result in ledger.results.items() if _is_tested(result.verdict, result.bound)]
    beside = float(np.linalg.norm(meter.norms[tested]))
    eps = max(meter.eps, meter.claim_eps)
    unproved: list[Still] = []
    for one in still:
        norm = float(meter.norms[one.index])
        rounding = norm <= CANCELLED * eps * beside and one.noise <= QUIET * beside
        if tested and (rounding or (norm == 0 and one.bitwise)):
            note = one.note
            if norm > 0 and one.note == Still.note:
                note = FLAT_NOTE
            ledger.settle(one.index, Verdict.CORRECT, note=note)
            ledger.notice(Notice(sight=Sight.FLAT, leaf=one.index, note=note))
        else:
            unproved.append(one)
    for one in sorted(unproved, key=lambda one: meter.norms[one.index] == 0):
        if meter.norms[one.index] == 0 and not tested:
            ledger.undecided((one.index,), Reason.DEGENERATE)
        elif one.bitwise and not tested:
            ledger.undecided((one.index,), Reason.DEGENERATE, note="untested: f keeps its bits")
        else:
            ledger.undecided((one.index,), Reason.NOISE, note=UNTESTED_NOTE)
    if unproved and not tested:
        _nothing_tested(ledger, unproved)


def _is_tested(verdict: Verdict, bound: float | None) -> bool:
    return verdict in (Verdict.WRONG, Verdict.NOT_DIFFERENTIABLE) or (verdict is Verdict.CORRECT and bound is not None)


def _nothing_tested(ledger: Ledger, still: list[Still]) -> None:
    """No leaf moves f by more than its noise: that proves nothing of any claim."""
    bitwise = all(one.bitwise for one in still)
    # (Of an f that does not move, the bar of a slope is only the smallest change that f could show.)
    measured = next((one.measured for one in still if one.measured is not None), None)
    told = None if bitwise else measured
    ledger.notice(
        Notice(
            sight=Sight.UNMOVED if bitwise else Sight.QUIET,
            severity=Severity.DOUBT,
            claimed=None if measured is None else measured.claimed,
            reference=None if told is None else told.value,
            error_bar=None if told is None else told.bar,
        )
    )
