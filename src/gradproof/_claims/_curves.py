"""v^T H v along one direction after the other, by second differences of f.

``phi(t) + phi(-t) - 2 phi(0) = t**2 v^T H v + O(t**4)``: quotients by t**2 are extrapolated to t = 0 as slopes are,
with a bar of truncation and propagated noise. Noise is divided by t**2 here, so the bar is wider than that of a slope.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import EPS64, is_double
from gradproof._claims._around import Around, reach
from gradproof._claims._claimed import Claimed
from gradproof._claims._wording import CURVATURE
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem
from gradproof._line import TRUST
from gradproof._line._estimate import extrapolate
from gradproof._line._noise import noise, one_sided_noise
from gradproof._prove import Directions, Options
from gradproof._prove._noted import Noted
from gradproof._reference import Trusted

Vector = NDArray[np.float64]

# The coarsest step, give or take 19 %, in float64 and in lower precision.
COARSE, COARSE_LOW = 0.3, 0.6
# The bar of an extrapolation is an estimate: doubled, as it is for one-sided slopes.
CAUTION = 2.0
# Half-ulps up to which scatter is rounding (as in `_line`). More may be an oscillation that no level resolves: it is
# gone, to this share, at the two finest steps, and noise seldom is. So many finer levels are asked for, twice.
ROUNDING, GONE, FINER = 16.0, 0.125, 10
TINY = (1e-11, 1.7e-11)
# An oscillation is resolved where even parts, as far as they are above so many roundings, go with the square of the
# step, give or take this factor (the next term of a cosine changes them by a tenth). Jumps of f do not fall so.
SHOWN_ROUNDINGS, SQUARE = 64.0, 1.4
# Roundings of one value that a second difference may hold: two values and twice that at the point.
VALUES = 4.0
# Levels of a first look. Where another curve has shown that only finer ones tell: as many in a row as were enough,
# with this margin; a whole look takes so many more on either side.
FIRST, ENOUGH, MARGIN, BESIDE = 6, (6, 8, 10, 12), 3.0, 2
# The second step of a quick look at an entry, in first ones.
WIDER = 2.2
# Bar of a curve, relative to its size, up to which it teaches what others are like.
CLEAR = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curvature:
    """v^T H v as measured, with its bar, beside the claim.

    v : (n,), the direction.
    variation : by how much f varies on the way.
    tread : smallest movement of f where it also keeps its bits on both sides of the point; 0 where it never does.
    lattice : what the values of f are multiples of, where that is more than their rounding; else 0.
    reach : the widest step that f was seen at on both sides.
    """

    v: Vector
    claimed: float
    value: float
    bar: float
    variation: float
    tread: float = 0.0
    lattice: float = 0.0
    reach: float = 0.0
    witnesses_agree: bool = True

    @property
    def keeps_bits(self) -> bool:
        """Whether f has the same bits at every step: it curves by less than its values can show."""
        return self.variation == 0

    @property
    def is_lost(self) -> bool:
        """Whether f moves by single treads of its rounding, if at all, or all that is claimed lies below its noise."""
        below = math.isfinite(self.bar) and max(abs(self.claimed), abs(self.value)) <= self.bar
        return self.keeps_bits or self.tread > 0 or below

    @property
    def deviation(self) -> float:
        return abs(self.claimed - self.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fit:
    """What some levels say of v^T H v.

    scatter : of the values at the finest levels; 0 where that is mere rounding.
    lattice : as in `Curvature`.
    """

    value: float = math.nan
    bar: float = math.inf
    scatter: float = 0.0
    lattice: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Curve:
    """v^T H v of one function, as in `Curvature`."""

    value: float
    bar: float
    variation: float
    tread: float = 0.0
    lattice: float = 0.0
    reach: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveModel:
    """What curves teach of those along single entries.

    noise : standard deviation of one value, or what the finest second difference was off by.
    fourth : size of the t**2 error of a quotient, per unit step.
    size : the largest second derivative.
    finest : the finest step that was seen.
    """

    noise: float
    fourth: float
    size: float
    finest: float

    @property
    def steepest(self) -> float:
        """The t**2 error to allow for: natural sizes are those on which f changes."""
        return TRUST * max(self.fourth, self.size)

    @property
    def step(self) -> float:
        """The step of a quick look at an entry: where its bar is narrowest, within the steps that were seen."""
        best = (5 * VALUES * self.noise / self.steepest) ** 0.25 if self.steepest > 0 else 0.0
        return min(max(best, self.finest), COARSE / WIDER)

    def bar(self, step: float) -> float:
        """Of one quotient."""
        return 5 * VALUES * self.noise / step**2 + self.steepest * step**2

    def bar_of_two(self, step: float) -> float:
        """Of two, at `step` and `WIDER` times that, whose t**2 error is taken out; the next is allowed as much."""
        square = WIDER**2
        noise = 5 * VALUES * self.noise / step**2 * (square + 1 / square) / (square - 1)
        return noise + self.steepest * (WIDER * step) ** 4


class Curves:
    """v^T H v of f along one direction after the other, beside what is claimed of it.

    Parameters
    ----------
    primal : Primal
    claimed : Claimed
    directions : Directions
        Of the domain and of natural sizes.
    options : Options
    around : Around
    eps, rtol : float
        Relative precision of f, and the smallest relative error worth an accusation.

    Attributes
    ----------
    jitter : Generator
        Of the steps.
    model : CurveModel or None
        What curves so far teach of those along single entries.
    is_random : bool
        Whether f gave different values at the same point.
    """

    def __init__(
        self,
        primal: Primal,
        claimed: Claimed,
        directions: Directions,
        options: Options,
        around: Around,
        eps: float,
        rtol: float,
    ) -> None:
        self.claimed, self.directions, self.eps, self.rtol = claimed, directions, eps, rtol
        self.n = len(primal.point)
        zeros = {i: np.zeros(leaf.size) for i, leaf in enumerate(primal.leaves)}
        self.problem = Problem(primal, zeros)
        self.reference = None if around.reference is None else Trusted(primal, around.reference, zeros)
        self.jitter = np.random.Generator(np.random.Philox(np.random.SeedSequence((options.seed, 4))))
        self.model: CurveModel | None = None
        self.is_random = False
        self._collector = options.collector
        # The value at the point, once it was the same twice.
        self._value: float | None = None
        # The levels that tell, first and last, where f is known to curve on scales far below the coarsest step.
        self._telling: tuple[int, int] | None = None
        # Whether the claim is refuted, so that curves only say where and how: levels that told before will do. (Before
        # that, coarse ones tell an oscillation, or the end of the domain, from a curve.)
        self.is_refuted = False
        # Curves along single entries and sums of two, by direction.
        self._kept: dict[bytes, Curvature] = {}

    def forget(self) -> None:
        """Sizes have changed: what is kept is of no use any more."""
        self._kept.clear()
        self._telling = None

    def kept(self, v: Vector) -> Curvature | None:
        """What was measured along a direction, if it was along one entry of x, or two."""
        return self._kept.get(v.tobytes())

    def quotients(self, vectors: Sequence[Vector], step: float) -> list[float]:
        """Second differences at one step; nan outside the domain."""
        f0 = self._at_point(self.problem.evaluate).mean()

        def value(v: Vector, t: float) -> float:
            first, last = reach(self.problem.point, v, self.directions.lower, self.directions.upper)
            return self.problem.evaluate(v, t) if first <= t <= last else math.nan

        values = self.problem.primal.each([ft.partial(value, v, t) for v in vectors for t in (step, -step)])
        even = np.reshape(values, (-1, 2)).sum(axis=1) - 2 * f0
        return (even / step**2).tolist()

    @property
    def coarse(self) -> float:
        """The coarsest step, in natural sizes."""
        return COARSE if is_double(self.eps) else COARSE_LOW

    def measure(self, v: Vector, *, full: bool = False) -> Curvature:
        claimed = float(v @ self.claimed.pull(v))
        own = self._curve(self.problem.evaluate, self.eps, v, claimed, full=full)
        value, bar = own.value, own.bar
        agree = True
        if self.reference is not None and not bar <= 1e-2 * self.rtol * max(abs(claimed), abs(value)):
            trusted = self._curve(self.reference.evaluate, EPS64, v, claimed, full=full)
            seen, seen_bar = trusted.value, trusted.bar
            tolerance = self.rtol * max(abs(claimed), abs(seen))
            if math.isfinite(seen_bar) and math.isfinite(bar):
                agree = abs(seen - value) <= bar + seen_bar + tolerance
                # WRONG rests on f itself: what only the reference excludes keeps its wide bar.
                if agree and seen_bar < bar and abs(claimed - seen) <= seen_bar + tolerance:
                    value, bar = seen, seen_bar
        self._note(v, claimed, value, bar)
        found = Curvature(
            v=v,
            claimed=claimed,
            value=value,
            bar=bar,
            variation=own.variation,
            tread=own.tread,
            lattice=own.lattice,
            reach=own.reach,
            witnesses_agree=agree,
        )
        self.keep(v, found)
        return found

    def curvature(self, v: Vector) -> tuple[float, float]:
        """v^T H v of f itself, and its bar."""
        found = self._curve(self.problem.evaluate, self.eps, v, 0.0, full=True)
        return found.value, found.bar

    def still(self, found: Curvature, others: Sequence[Curvature]) -> Curvature:
        """A line along which f keeps its bits, while it moves along others.

        These show what f's values are rounded to: had it curved by more, it would have left its tread at the widest
        step. Its own values, which are all the same, may lie on a lattice by chance.
        """
        if found.reach == 0 or found.value != 0:
            return found  # from one side, or from a reference
        grain = max((max(one.tread, one.lattice) for one in others), default=0.0)
        rounding = max(0.5 * self.eps * abs(float(self._at_point(self.problem.evaluate)[0])), grain)
        return dataclasses.replace(found, bar=CAUTION * VALUES * rounding / found.reach**2)

    def keep(self, v: Vector, found: Curvature) -> None:
        """Keep what was measured along one entry of x, or two."""
        if np.count_nonzero(v) <= 2:
            self._kept[v.tobytes()] = found

    def is_finite(self, v: Vector, step: float) -> bool:
        """Whether f is finite on both sides, as far as they lie in the domain."""
        first, last = reach(self.problem.point, v, self.directions.lower, self.directions.upper)
        inside = [t for t in (step, -step) if first <= t <= last]
        return all(math.isfinite(self.problem.evaluate(v, t)) for t in inside)

    def _note(self, v: Vector, claimed: float, value: float, bar: float) -> None:
        """Keep it for the reader of the report."""
        moving = [leaf.path for leaf in self.claimed.leaves if v[leaf.start : leaf.stop].any()]
        path = moving[0] if len(moving) == 1 else ""
        scale = max(abs(claimed), abs(value))
        self._collector.note(Noted(path=path, output=CURVATURE, claimed=claimed, value=value, bar=bar, scale=scale))

    def _curve(
        self, evaluate: Callable[[Vector, float], float], eps: float, v: Vector, claimed: float, *, full: bool
    ) -> _Curve:
        """v^T H v of one function."""
        coarse = COARSE if is_double(eps) else COARSE_LOW
        ratio = 2.2 if is_double(eps) else 1.6
        levels = (
            coarse * ratio ** -np.arange(10.0) * self.jitter.uniform(0.85, 1.15) * self.jitter.uniform(0.97, 1.03, 10)
        )
        first, last = reach(self.problem.point, v, self.directions.lower, self.directions.upper)
        f0 = self._at_point(evaluate)
        if min(-first, last) < levels[4]:
            side, room = (1.0, last) if last >= -first else (-1.0, -first)
            return self._one_sided(lambda step: evaluate(v, side * step), eps, room, f0)

        def inside(step: float) -> float:
            return evaluate(v, step) if first <= step <= last else math.nan

        h, plus, minus = levels[:0], levels[:0], levels[:0]
        fit, tread = _Fit(), 0.0
        parts = [levels[1 : FIRST + 1], np.concatenate([levels[:1], levels[FIRST + 1 :]])]
        is_own = evaluate == self.problem.evaluate
        telling = self._telling if is_own and self.is_refuted else None
        if telling is not None:
            ladder = np.concatenate([levels, levels[-1] * ratio ** -np.arange(1.0, FINER + 1)])
            begin, end = telling
            parts = [ladder[max(begin - BESIDE, 0) : end + BESIDE] if full else ladder[begin:end]]
            parts.append(levels[~np.isin(levels, parts[0])])
        while parts:
            part = parts.pop(0)
            h = np.concatenate([h, part])
            both = [*part.tolist(), *(-part).tolist()]
            found = self.problem.primal.each([ft.partial(inside, step) for step in both])
            plus, minus = np.concatenate([plus, found[: len(part)]]), np.concatenate([minus, found[len(part) :]])
            order = np.argsort(-h)
            h, plus, minus = h[order], plus[order], minus[order]
            tread = _tread(plus, minus, f0)
            fit = self._extrapolate(h, plus, minus, f0, eps, tread)
            is_narrow = fit.bar <= 1e-2 * self.rtol * max(abs(claimed), abs(fit.value))
            if is_narrow and (telling is not None or not full):
                break
            is_still = bool((plus == f0[0]).all() and (minus == f0[0]).all())
            if parts or fit.scatter == 0 or tread > 0 or is_still or not is_double(eps):
                continue
            even = (plus + minus) / 2 - f0.mean()
            start = _resolved(h, even, eps * (abs(float(f0[0])) + float(np.abs(even).max())))
            scatter = fit.scatter
            if start:
                # What coarser levels say is chance.
                kept = slice(start, None)
                fit = self._extrapolate(h[kept], plus[kept], minus[kept], f0, eps, tread)
                if fit.bar <= 1e-2 * self.rtol * abs(fit.value):
                    break
            left = max(abs((inside(step) + inside(-step)) / 2 - float(f0.mean())) for step in TINY)
            if left <= GONE * scatter and len(h) < len(levels) + 2 * FINER:
                parts.append(h[-1] * ratio ** -np.arange(1.0, FINER + 1))
            elif left <= GONE * scatter and start is None and np.abs(even[-3:]).max() > GONE * scatter:
                fit = _Fit(lattice=fit.lattice)  # it is an oscillation too fast for every level
        is_clear = fit.bar <= CLEAR * max(abs(claimed), abs(fit.value))
        if is_own and is_clear and tread == 0 and len(h) >= 4:
            self._learn(h, plus, minus, f0, fit.value)
            if telling is None and len(h) > len(levels):
                self._telling = self._range_that_tells(h, plus, minus, f0, eps, 1e-2 * self.rtol * abs(fit.value))
        moved = np.abs(np.concatenate([plus, minus]) - f0.mean())
        outside = self.directions.bounded and bool(np.isfinite(moved).any())
        return _Curve(
            value=fit.value,
            bar=fit.bar,
            variation=float(np.nanmax(moved) if outside else np.max(moved)),
            tread=tread,
            lattice=fit.lattice,
            reach=float(h[np.isfinite(plus) & np.isfinite(minus)].max(initial=0.0)),
        )

    def _range_that_tells(
        self, h: Vector, plus: Vector, minus: Vector, f0: Vector, eps: float, bar: float
    ) -> tuple[int, int] | None:
        """The fewest levels in a row whose bar is narrow, the narrowest of as many; None where no few are."""
        for count in ENOUGH:
            rows = [slice(k, k + count) for k in range(len(h) - count + 1)]
            bars = [self._extrapolate(h[row], plus[row], minus[row], f0, eps, 0.0).bar for row in rows]
            best = int(np.argmin(bars))
            if MARGIN * bars[best] <= bar:
                return best, best + count
        return None

    def _at_point(self, evaluate: Callable[[Vector, float], float]) -> Vector:
        """Two values at the point; what was the same twice is not asked for a third time."""
        is_own = evaluate == self.problem.evaluate
        if is_own and self._value is not None:
            return np.full(2, self._value)
        f0 = np.array(self.problem.primal.each([ft.partial(evaluate, np.zeros(self.n), 0.0)] * 2))
        self.is_random |= is_own and bool(f0[0] != f0[1])
        if is_own and f0[0] == f0[1]:
            self._value = float(f0[0])
        return f0

    def _one_sided(self, evaluate: Callable[[float], float], eps: float, room: float, f0: Vector) -> _Curve:
        """The same from one side, where the domain ends at the point.

        ``2 ((phi(2h) - phi(0)) / 2h - (phi(h) - phi(0)) / h) / h = phi'' + O(h)``, extrapolated with integer powers.
        """
        count = 11 if is_double(eps) else 7
        h = min(0.6, 0.9 * room) * self.jitter.uniform(0.85, 1.0) * 2.0 ** -np.arange(float(count))
        rise = np.array(self.problem.primal.each([ft.partial(evaluate, step) for step in h.tolist()])) - f0.mean()
        variation = float(np.max(np.abs(rise)))
        finite = np.isfinite(rise)
        h, rise = h[finite], rise[finite]
        if len(h) < 5 or not np.allclose(h[:-1], 2 * h[1:]):
            return _Curve(value=math.nan, bar=math.inf, variation=variation)
        largest = float(max(np.abs(rise).max(), 0.0) + abs(f0[0]))
        sigma = max(2 * eps * largest, abs(float(f0[0] - f0[1])), float(one_sided_noise(h, rise[:, None])[0][0]))
        fine = h[1:]
        quotients = 2 * (rise[:-1] / h[:-1] - rise[1:] / fine) / fine
        # Neighbouring quotients share a value: their noise adds up to sqrt(2) times that of independent ones.
        own = math.sqrt(2) * 2 * sigma * math.sqrt(1.25) / fine**2
        found = extrapolate(
            fine,
            quotients[:, None],
            1,
            lambda w: np.sqrt((w * w) @ own[:, None] ** 2) + sigma * np.abs(w @ fine**-2.0)[:, :, None],
        )
        bar = 2 * CAUTION * float(found.bar[0])
        return _Curve(value=float(found.value[0]), bar=bar, variation=variation)

    def _extrapolate(self, h: Vector, plus: Vector, minus: Vector, f0: Vector, eps: float, tread: float) -> _Fit:
        """v^T H v from some levels."""
        finite = np.isfinite(plus) & np.isfinite(minus)
        if finite.sum() < 4:
            return _Fit()
        h, plus, minus = h[finite], plus[finite][:, None], minus[finite][:, None]
        centre = np.array([f0.mean()])
        largest = float(max(np.abs(plus).max(), np.abs(minus).max(), abs(centre[0])))
        unit = np.array([0.5 * eps * largest])
        least = np.maximum(4 * unit, max(abs(float(f0[0] - f0[1])), tread))
        seen = noise(h, plus, minus, centre, least, unit)
        column = h[:, None]
        quotients = ((plus - centre) + (minus - centre)) / column**2
        variance = 2 * (seen.sigma / column**2) ** 2
        shared = 2 * seen.finest

        def deviation(weights: Vector) -> Vector:
            own = np.sqrt((weights * weights) @ variance)
            return own + shared * np.abs(weights @ h**-2.0)[:, :, None]

        found = extrapolate(h, quotients, 2, deviation)
        scatter = float(seen.finest[0]) if seen.finest[0] > ROUNDING * unit[0] else 0.0
        bar = CAUTION * float(found.bar[0])
        return _Fit(value=float(found.value[0]), bar=bar, scatter=scatter, lattice=float(seen.quantum[0]))

    def _learn(self, h: Vector, plus: Vector, minus: Vector, f0: Vector, value: float) -> None:
        """Know one more curve: the largest noise, and t**2 error of a quotient, that any has shown."""
        finite = np.isfinite(plus) & np.isfinite(minus)
        h, rise = h[finite], (plus + minus - 2 * f0.mean())[finite]
        largest = float(max(np.abs(plus[finite]).max(), np.abs(minus[finite]).max(), abs(f0[0])))
        # (At the finest levels a quotient is off by noise, at the coarsest by its t**2 error.)
        off = np.abs(rise - value * h**2)
        noise = max(0.5 * self.eps * largest, float(off[-2:].max()) / VALUES)
        fourth = float((np.maximum(off - VALUES * noise, 0.0) / h**4)[:3].max())
        before = self.model or CurveModel(noise=0.0, fourth=0.0, size=0.0, finest=math.inf)
        self.model = CurveModel(
            noise=max(before.noise, noise),
            fourth=max(before.fourth, fourth),
            size=max(before.size, abs(value)),
            finest=min(before.finest, float(h[-1])),
        )


def _tread(plus: Vector, minus: Vector, f0: Vector) -> float:
    """Smallest movement of f, where there is a step at which it keeps its bits on both sides; else 0.

    A value is no better than that, whatever its own size: f may be what is left where terms have cancelled. (Of a
    smooth f the finest steps do not show less, or it moves by few roundings at the next.)
    """
    rises = np.abs(np.stack([plus, minus]) - f0.mean())
    moved = rises[np.isfinite(rises) & (rises > 0)]
    return float(moved.min()) if len(moved) and bool((rises == 0).all(axis=0).any()) else 0.0


def _resolved(h: Vector, even: Vector, unit: float) -> int | None:
    """The coarsest level from which on the even part of f, as far as rounding shows it, goes with the square of h.

    None where fewer than four levels are left, or so many roundings of size `unit` hide the rest.
    """
    shown = np.abs(even) > SHOWN_ROUNDINGS * unit
    last = int(np.flatnonzero(shown)[-1]) if shown.any() else -1
    start = last
    while start > 0 and shown[start - 1]:
        share = float(even[start - 1] / even[start] * (h[start] / h[start - 1]) ** 2)
        if not 1 / SQUARE <= share <= SQUARE:
            break
        start -= 1
    return start if last - start >= 3 else None
