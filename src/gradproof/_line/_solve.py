"""The values seen so far along a line, and the slope that they give."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._line._estimate import Estimate, estimate
from gradproof._line._jump import jumps, least_jump
from gradproof._line._noise import Noise, noise
from gradproof._line._singular import unresolved_to
from gradproof._line._slope import Slope

Floats = NDArray[np.float64]


@dataclasses.dataclass
class Values:
    """The values seen so far, coarse to fine."""

    f0: Floats
    h: Floats
    plus: Floats
    minus: Floats

    def ask(self, levels: Floats) -> Generator[Floats, Floats, None]:
        """Add levels by asking for both sides of each."""
        values = columns((yield np.concatenate([levels, -levels])))
        count = len(levels)
        h = np.concatenate([self.h, levels])
        order = np.argsort(-h)
        self.h = h[order]
        self.plus = np.concatenate([self.plus, values[:count]])[order]
        self.minus = np.concatenate([self.minus, values[count:]])[order]

    def finite(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.plus).all(axis=1) & np.isfinite(self.minus).all(axis=1))

    def far_from(self, levels: Floats, factor: float) -> Floats:
        """Those of `levels` that lie more than `factor` away from every measured one: equal steps agree for nothing."""
        distance = np.abs(np.log(levels[:, None] / self.h[None, :])).min(axis=1)
        return levels[distance > math.log(factor)]


def columns(values: Floats) -> Floats:
    """Values as (k, m), whether phi is scalar or a vector."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


@dataclasses.dataclass(frozen=True)
class Ladder:
    """A line, and what its estimate rests on besides the noise floor: see `_solve`."""

    line: Values
    eps: float
    scale: Floats | np.float64
    first: bool
    repeats_differ: bool
    continuous: bool

    def scatter(self, jump: float | Floats, farthest: float | Floats) -> Floats:
        """The noise of a value (m,) where f jumps, up to a step of each: a jump, or what many of them add up to."""
        finite = self.line.finite()
        h, plus, minus, f0 = self.line.h[finite], self.line.plus[finite], self.line.minus[finite], self.line.f0
        rounding = rounding_of(f0, (plus, minus), self.eps, self.scale)
        seen = noise(h, plus, minus, f0, np.maximum(jump, rounding), rounding[-1], eps=self.eps, continuous=True)
        return np.max(seen.sigma, axis=0, where=h[:, None] <= farthest, initial=0.0)

    def solve(self, floor: Floats, stage: int, hidden: float | Floats | None = None) -> Slope | None:
        line, eps = self.line, self.eps
        return _solve(line, eps, floor, self.scale, self.first, stage, self.repeats_differ, self.continuous, hidden)


def rounding_of(f0: Floats, sides: Sequence[Floats], eps: float, scale: Floats | np.float64) -> Floats:
    """Half an ulp of phi at each level (L, m), or of x + t v seen through phi (about eps times the slope).

    It is that of the largest value at this level, at 0 and at all finer levels: what phi does further out says nothing
    of how it is rounded here. (A mean over all levels let one value of 1e204 at a step of 0.26 drown all others.)
    """
    own = np.maximum.reduce([np.abs(values) for values in sides])
    running = np.maximum.accumulate(own[::-1], axis=0)[::-1]
    return 0.5 * eps * np.maximum(np.maximum(np.abs(f0), running), 0.6 * scale)


def _solve(
    line: Values,
    eps: float,
    floor: Floats,
    scale: Floats | np.float64,
    first: bool,
    stage: int,
    repeats_differ: bool,
    continuous: bool,
    hidden: float | Floats | None,
) -> Slope | None:
    """The estimate from all two-sided levels so far; None if there are fewer than two.

    `hidden` is the steepness of a structure that an earlier direction has shown; None where the noise is known to be
    that of jumps, so that what is gone at finer levels is no structure.
    """
    finite = line.finite()
    if finite.sum() < 2:
        return None
    h, plus, minus = line.h[finite], line.plus[finite], line.minus[finite]
    finest = np.abs(plus[-1] - minus[-1]) / (2 * h[-1])
    rounding = rounding_of(line.f0, (plus, minus), eps, np.maximum(scale, finest))
    unit: Floats = rounding[-1]
    # Two samples are no noise estimate: until the ladder is long enough, ordinary rounding is taken to be 4 half-ulps.
    least = 4 * rounding if first and len(h) < 8 else rounding
    seen: Noise = noise(h, plus, minus, line.f0, np.maximum(floor, least), unit, eps=eps, continuous=continuous)
    if hidden is None:
        seen = dataclasses.replace(seen, structure=np.zeros_like(seen.structure))
    elif len(h) < 8:
        # Too few levels to see structure again that an earlier direction has shown.
        seen = dataclasses.replace(seen, structure=np.maximum(seen.structure, hidden))
    odd, even = (plus - minus) / 2, (plus + minus) / 2 - line.f0
    found: Estimate = estimate(h, odd, even, seen, no_kink=not first and len(h) <= 3)
    # Differences between steps bound what is left only where they shrink. A bar of a quarter of the slope says that
    # they hardly do, as steps of low precision may: it is no more than an order of magnitude.
    hardly = found.bar > 0.25 * np.maximum(scale, np.abs(found.value))
    bar, central_bar = np.where(hardly, 2 * found.bar, found.bar), found.central_bar
    unresolved = unresolved_to(h, plus, minus, line.f0, unit) >= found.level
    if unresolved.any():
        bar, central_bar = np.where(unresolved, np.inf, bar), np.where(unresolved, np.inf, central_bar)
    return Slope(
        value=found.value,
        bar=bar,
        central_bar=central_bar,
        jump=found.jump,
        jump_bar=found.jump_bar,
        noise=seen.finest,
        structure=seen.structure,
        quantum=seen.quantum,
        unit=unit,
        f0=line.f0,
        h=h,
        plus=plus,
        minus=minus,
        level=found.level,
        column=found.column,
        stage=stage,
        eps=eps,
        repeats_differ=repeats_differ,
    )


def without_slope_at_jumps(
    result: Slope,
    floor: Floats,
    claimed: float | None,
    *,
    early: bool = False,
    is_lost: NDArray[np.bool_] | bool = False,
) -> Slope:
    """Where phi jumps at 0 itself, nothing is known of its slope there; see `gradproof._line._jump`."""
    least = least_jump(result.unit, floor)
    values = result.h, result.plus, result.minus, result.f0
    jumping = jumps(*values, result.level, least, claimed, early=early, is_lost=is_lost)
    if not jumping.any():
        return result
    bar = np.where(jumping, np.inf, result.bar)
    return dataclasses.replace(result, bar=bar, central_bar=np.maximum(result.central_bar, bar), jumping=jumping)
