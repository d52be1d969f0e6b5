"""Choose the steps: few levels first, more only where the first ones do not convince."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from gradproof._line._estimate import one_sided
from gradproof._line._levels import EPS32, EPS64, first_levels, full_levels, guard_step, jittered, known_levels
from gradproof._line._many_stairs import between_two_values
from gradproof._line._noise import one_sided_noise, unseen_change
from gradproof._line._slope import LATER, TARGET64, TARGET_LOW, Known, Slope, levels_between
from gradproof._line._solve import Ladder, Values, columns, rounding_of, without_slope_at_jumps
from gradproof._line._staircase import on_stairs

Floats = NDArray[np.float64]
Asking = Generator[Floats, Floats, "Slope"]
# A step far finer than the others, and the odd and the even part of phi there.
_Guard = tuple[float, Floats, Floats]

# Noise up to this many half-ulps is ordinary rounding.
ROUNDING = 16.0
# The quotient at the third finest level may differ so much, relative to its size, from a slope that is believed. In low
# precision its step is so coarse (0.05 in float32) that truncation alone makes it differ by a hundredth.
PLAUSIBLE, PLAUSIBLE_LOW = 3e-4, 3e-2
# One output of so many may be left with the bar it has.
UNCONTENT = 50


def slope(
    jitter: np.random.Generator,
    *,
    eps: float = EPS64,
    scale: float | Floats = 0.0,
    ripple: float = 0.0,
    target: float | None = None,
    known: Known | None = None,
    full: bool = False,
    brief: bool = False,
    claimed: float | None = None,
    continuous: bool = False,
    resolution: float = 0.0,
) -> Asking:
    """Measure phi'(0), asking for few values first and for more only where these do not convince.

    Yields steps (k,), 0 included, is sent the values of phi there, (k,) or (k, m), and returns a `Slope`.

    Parameters
    ----------
    jitter : where the steps' jitter is drawn from.
    eps : relative precision of the values.
    scale : natural size of the slope (absolute); bars are judged relative to the larger of it and the slope.
    ripple : norm of gradient times x over all entries that move (absolute): rounding of x + t v moves phi by about
        eps times this, however small v is.
    target : relative bar that is good enough.
    known : what an earlier direction taught; None for the first.
    full : go through the whole ladder whatever the first levels say.
    brief : stop after the first levels whatever they say; the bar is as wide as it is.
    claimed : a slope; when it lies a thousand bars away, more levels are not worth their cost.
    continuous : whether f is known to take values on no lattice.
    resolution : step of a lattice that the values are known to be rounded to, though they may not show it (absolute).

    Notes
    -----
    Stages: 0, four levels (two for later directions); 1, two more, chosen by what is wrong; 2, the whole ladder;
    3, three finer levels where a kink may sit close to 0. At most about 45 values, and up to 50 more where two
    ranges of steps give two slopes (see `_stairs`).
    """
    hidden = 0.0 if known is None else known.structure
    start = yield from (_start(jitter, eps, target) if known is None else _start_again(jitter, known, target))
    if start.is_undefined:
        return _no_slope(start.line, eps, "not finite")
    line, eps, target, repeats_differ = start.line, start.eps, start.target, start.repeats_differ
    floor = np.maximum(start.floor, 0.5 * resolution)
    ladder = Ladder(line, eps, np.maximum(scale, ripple), known is None, repeats_differ, continuous)
    guard: _Guard | None = None
    found: Slope | None = None
    result: Slope | None = None
    for stage in range(4):
        with np.errstate(over="ignore", invalid="ignore"):  # f may be as large as it likes
            found = ladder.solve(floor, stage, hidden)
        if found is not None and known is not None and known.drowns:
            found = dataclasses.replace(found, in_noise=True)
        # Where it may jump at 0, finer steps are to say.
        result = None if found is None else without_slope_at_jumps(found, floor, claimed, early=stage < 3)
        all_finite = bool(line.finite().all())
        if result is None:
            accepted = stage >= 2
        else:
            accepted = _accept(result, stage, scale, target, floor, guard, all_finite) and (stage >= 2 or not full)
        if accepted or brief or (result is not None and not full and _far_off(result, claimed, scale, floor)):
            break
        if stage == 0 and result is not None and all_finite and not full:
            added = line.far_from(_second_levels(result, scale, target), 1.5)
            noisy = bool((result.noise > _ordinary(result, floor)).any())
            if noisy and len(added):
                guard = yield from _guarded(line, eps)
        elif stage == 2 and result is not None:
            # A kink at 0, or just next to it: look closer. (At whole ratios a straight line lies on a lattice.)
            added = float(result.h[-1]) * jittered(np.array([1 / 4, 1 / 16, 1 / 64]), jitter)
        else:
            added = line.far_from(jittered(full_levels(eps), jitter), 1.5)
        if len(added):
            yield from line.ask(added)
    if found is None or (line.finite().sum() < 4 and found.stage >= 2):
        return _one_sided(line, eps, floor, ladder.scale)
    if result is None or result.jumping.any():
        found = without_slope_at_jumps(found, floor, claimed)  # (What few levels do not show all do not.)
    if brief or repeats_differ or eps > 1e-12 or found.jumping.any():
        return found
    added = between_two_values(found, jitter)
    if len(added):
        yield from line.ask(added)
        with np.errstate(over="ignore", invalid="ignore"):
            found = ladder.solve(floor, found.stage, hidden) or found
    found = yield from on_stairs(ladder, found, np.maximum(scale, np.abs(found.value)), jitter)
    # (It is no staircase either, whose slope wider steps would tell.)
    is_lost = found.bar > np.maximum(scale, np.abs(found.value))
    return without_slope_at_jumps(found, floor, claimed, is_lost=is_lost) if is_lost.any() else found


def _guarded(line: Values, eps: float) -> Generator[Floats, Floats, _Guard]:
    """Ask whether what looks like noise is that, or a ripple that a far finer step resolves."""
    step = guard_step(float(line.h[-1]), eps)
    pair = columns((yield np.array([step, -step])))
    return step, (pair[0] - pair[1]) / 2, np.abs((pair[0] + pair[1]) / 2 - line.f0)


@dataclasses.dataclass(frozen=True)
class _Start:
    """The values of the first levels, and what they say of f: its precision, its noise, and what bar is good enough."""

    line: Values
    eps: float
    target: float
    floor: Floats
    repeats_differ: bool = False
    is_undefined: bool = False


def _start(jitter: np.random.Generator, eps: float, target: float | None) -> Generator[Floats, Floats, _Start]:
    """Ask for the first levels of a first line, and more where they say that f is random, or float32."""
    levels = jittered(first_levels(eps), jitter)
    target = target or (TARGET64 if eps < 1e-12 else TARGET_LOW)
    values = columns((yield np.concatenate([[0.0, 0.0], levels, -levels])))
    f0, floor = values[0], np.zeros(values.shape[1])
    line = Values(f0, levels, values[2 : 2 + len(levels)], values[2 + len(levels) :])
    if not np.isfinite(f0).all():
        return _Start(line, eps, target, floor, is_undefined=True)
    if (values[0] != values[1]).any():
        repeats = np.concatenate([values[:2], columns((yield np.zeros(6)))])
        # 1.3: a standard deviation from eight samples is within 1/1.3 of the truth in 86 % of cases.
        floor, line.f0 = 1.3 * repeats.std(axis=0, ddof=1), repeats.mean(axis=0)
        return _Start(line, eps, target, floor, repeats_differ=True)
    if eps < 1e-12 and _looks_float32(values):
        eps, target = EPS32, TARGET_LOW
        line = Values(f0, levels[:0], values[:0], values[:0])
        yield from line.ask(jittered(first_levels(eps), jitter))
    return _Start(line, eps, target, floor)


def _start_again(jitter: np.random.Generator, known: Known, target: float | None) -> Generator[Floats, Floats, _Start]:
    """Ask for the levels that an earlier line has shown to be enough."""
    target = max(target or (TARGET64 if known.eps < 1e-12 else TARGET_LOW), 3 * known.relative_bar)
    nothing = np.zeros((0, len(known.f0)))
    line = Values(known.f0, np.zeros(0), nothing, nothing)
    yield from line.ask(known_levels(known, jitter))
    return _Start(line, known.eps, target, known.noise)


def _looks_float32(values: Floats) -> bool:
    """Whether a float64 interface hides float32 values."""
    if not np.isfinite(values).all() or np.abs(values).max() > 1e30 or len(np.unique(values)) < 5:
        return False
    return bool((values == values.astype(np.float32)).all())


def _plausible(result: Slope, size: Floats) -> NDArray[np.bool_]:
    """Whether the quotient at the third finest level agrees with the slope: a lone lucky pair is not believed."""
    coarse = result.eps > 1e-12 or result.in_noise
    row = -2 if coarse and len(result.h) == 3 else max(-3, -len(result.h))
    third = result.odd[row] / result.h[row]
    with np.errstate(invalid="ignore"):
        return np.abs(third - result.value) <= (PLAUSIBLE_LOW if coarse else PLAUSIBLE) * size + result.bar


def _stuck(result: Slope, size: Floats) -> NDArray[np.bool_]:
    """Whether phi moves at the coarsest step, by more than a negligible slope would, and not at the finest."""
    return (result.odd[-1] == 0) & (np.abs(result.odd[0]) > 3e-4 * size * result.h[0])


def _ordinary(result: Slope, floor: Floats) -> Floats:
    """Noise that needs no explanation: that of rounding, and what is known from repeats or an earlier direction."""
    return np.maximum(ROUNDING * result.unit, 1.001 * floor)


def _accept(
    result: Slope,
    stage: int,
    scale: float | Floats,
    target: float,
    floor: Floats,
    guard: _Guard | None,
    all_finite: bool,
) -> bool:
    """Whether the estimate of this stage convinces, for every output."""
    if stage == 3:
        return True
    size = np.maximum(scale, np.abs(result.value))
    if stage == 2:
        # Only a bar that is wide although rounding allows a finer step asks for one.
        rounding = result.unit / result.h[-1]
        return not bool(((result.bar > 1e-3 * size) & (rounding < 1e-4 * size)).any())
    good = _plausible(result, size) & ~_stuck(result, size)
    if stage == 0:
        good &= (result.bar <= target * size) & (result.noise <= _ordinary(result, floor))
    else:
        good &= result.bar <= LATER * target * size
        if guard is not None:
            step, odd, even = guard
            moved = np.maximum(np.abs(odd - result.value * step), even)
            good &= (result.noise <= _ordinary(result, floor)) | (moved > 0.3 * result.noise)
    # Of many outputs some look odd by chance: a few in a hundred are not worth more values of all others.
    return all_finite and int(np.count_nonzero(~good)) <= len(good) // UNCONTENT


def _far_off(result: Slope, claimed: float | None, scale: float | Floats, floor: Floats) -> bool:
    """Whether a claimed slope (of a scalar phi) is excluded so clearly that a narrower bar would add nothing.

    What looks like noise may be a ripple, whose slope belongs to that of phi and needs finer steps.
    """
    if claimed is None or (result.noise > _ordinary(result, floor)).any():
        return False
    size = np.maximum(scale, np.abs(result.value))
    deviation = np.abs(result.value - claimed)
    narrow = (result.bar <= 1e-4 * size) & (deviation > 1000 * result.bar) & (deviation > 2e-3 * size)
    return bool((narrow & ~_stuck(result, size) & _plausible(result, size)).all())


def _second_levels(result: Slope, scale: float | Floats, target: float) -> Floats:
    """The levels of stage 1, chosen by what is wrong with stage 0."""
    h = result.h
    size = np.maximum(np.maximum(scale, np.abs(result.value)), 1e-300)
    kink = np.abs(result.jump) > result.jump_bar
    if result.eps > 1e-12 and len(h) <= 3:
        # A later line in low precision: its steps balance noise and truncation of those before, and truncation may be
        # larger here. At much finer steps noise drowns everything.
        levels = [h[-1] / 2, h[-1] / 4]
    elif (kink | ~_plausible(result, size)).any():
        # Two of them near each other, as two neighbours show how noisy phi is there.
        levels = [h[-1] / 7, h[-1] / 29, h[-1] / 49]
    elif np.any(5 * result.noise / h[-1] > target * size):
        between = levels_between(result)
        levels = [4 * h[0], 0.2 * h[0]] if between is None else between.tolist()
    elif len(h) >= 3:
        levels = [math.sqrt(h[0] * h[1]), math.sqrt(h[1] * h[-2])]
    else:
        levels = [4 * h[0], h[-1] / 8]
    return np.array([step for step in levels if step <= 1.0])


def _no_slope(line: Values, eps: float, trouble: str) -> Slope:
    outputs = len(line.f0)
    nothing, unbounded = np.full(outputs, np.nan), np.full(outputs, np.inf)
    zero = np.zeros(outputs)
    return Slope(
        value=nothing,
        bar=unbounded,
        central_bar=unbounded,
        jump=zero,
        jump_bar=zero,
        noise=zero,
        structure=np.zeros_like(line.plus),
        quantum=zero,
        unit=zero,
        f0=line.f0,
        h=line.h,
        plus=line.plus,
        minus=line.minus,
        level=np.zeros(outputs, dtype=np.intp),
        column=np.zeros(outputs, dtype=np.intp),
        stage=3,
        eps=eps,
        trouble=trouble,
    )


def _one_sided(line: Values, eps: float, floor: Floats, scale: Floats | np.float64) -> Slope:
    """The slope where phi exists on one side only (the edge of its domain)."""
    plus_ok, minus_ok = np.isfinite(line.plus).all(1), np.isfinite(line.minus).all(1)
    side, values, finite = (1, line.plus, plus_ok) if plus_ok.sum() >= minus_ok.sum() else (-1, line.minus, minus_ok)
    if finite.sum() < 4:
        return _no_slope(line, eps, "domain")
    h, rise = line.h[finite], side * (values[finite] - line.f0)
    sigma = unit = np.maximum(floor, rounding_of(line.f0, (values[finite],), eps, scale)[-1])
    seen, settles = one_sided_noise(h, rise)
    sigma = np.maximum(sigma, seen)
    sigma = np.maximum(sigma, 0.5 * unseen_change(h, rise, rise, unit, eps, sigma < 0))
    # Above rounding it is no noise, but what phi does near the edge, and that is as steep as it is at the finest steps.
    irregular = seen > ROUNDING * unit
    edge = h[-3] if len(h) > 4 else h[-1]
    found = one_sided(h, rise, sigma, np.where((h > edge)[:, None] & irregular, 4 * seen / edge, 0.0))
    # No better at finer steps, or far from converged for other reasons than rounding: phi may be as steep as it likes
    # next to the edge.
    wide = (found.bar > 0.05 * np.abs(rise[-1]) / h[-1]) & (found.bar > 40 * unit / h[-1])
    # All samples share the rounding of phi(0), which may be that of larger terms that cancel, and looks like log t.
    steep = wide | ((seen > 4 * ROUNDING * unit) & ~settles)
    bar = np.where(steep, np.inf, found.bar)
    return dataclasses.replace(
        _no_slope(line, eps, "domain" if steep.any() else ""),
        value=found.value,
        bar=bar,
        central_bar=bar,
        noise=sigma,
        unit=sigma,
        h=h,
        plus=line.plus[finite],
        minus=line.minus[finite],
        level=found.level,
        column=found.column,
        side=side,
    )
