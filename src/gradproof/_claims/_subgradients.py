"""Whether a claim that leaves the one-sided slopes at a kink is a limit of gradients nearby, or a mixture of such.

Where several kinks meet, as at a zero input of a ReLU layer without bias or where entries are tied, what automatic
differentiation returns is a gradient of one of the pieces around the point. It is a valid (Clarke) subgradient then,
though it need not lie between the slopes of every direction. The claim is called at generic points close by. Where it
is right there, its values are limits of gradients, and what it says at the point is held against their convex hull.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._precision import is_double
from gradproof._prove._directions import steady_norm

Vector = NDArray[np.float64]

# Points close by at which the claim is called: so many first, and then so many times some more, towards what the limits
# lack. (Of 8 units through a point of 4 entries, with 110 pieces around it, this finds all that a mixture needs.)
POINTS, ROUNDS, MORE = 24, 16, 12
# The same for one entry of a claim that cannot be called: three values each; and points that must show nothing new.
ENTRY_POINTS, ENTRY_LEAST = 96, 12
# Points at which the claim is held against f before it is believed to be wrong close by, too.
HELD = 24
# Roundings of f that a difference is allowed; how much of its size a gradient may change within the distance of the
# points, in such distances.
ROUNDINGS, BENDING = 10.0, 10.0
# Least share of the largest slope by which slopes that should add up to 0 show a kink, in float64 and lower precision:
# far above what curvature does to the steps taken, and so small that kinks seldom cancel to it.
ADDITIVE, ADDITIVE_LOW = 1e-4, 1e-2
# How much further slopes are taken to tell a kink from noise and curvature; and nearer, beside an edge of f's domain,
# where the sum of their noise is taken to be an eighth of its bound (5 standard deviations of six roundings).
FURTHER, NEARER, LIKELY = (4.0, 16.0, 64.0), 0.25, 0.125


class Place(enum.Enum):
    """Where a claim lies."""

    SMOOTH = enum.auto()
    INSIDE = enum.auto()
    OUTSIDE = enum.auto()
    UNKNOWN = enum.auto()


@dataclasses.dataclass(frozen=True)
class Beside:
    """One scalar f at a point, and its claim elsewhere.

    value : ``value(point) -> float``, nan where f is undefined.
    gradient : ``gradient(point) -> (n,)``, None where it cannot be had; called right after `value` at that point.
    """

    point: Vector
    size: Vector
    claim: Vector
    eps: float
    value: Callable[[Vector], float]
    gradient: Callable[[Vector], Vector | None]


def place(beside: Beside, seed: int) -> Place:
    """Say where the claim at the point lies, beside the gradients close by."""
    search = Search(beside, np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 8)))))
    if search.is_smooth():
        return Place.SMOOTH
    search.look(POINTS)
    if not search.is_right_somewhere():
        return Place.OUTSIDE if search.is_wrong_somewhere() else Place.UNKNOWN
    for _ in range(ROUNDS):
        if search.contains():
            return Place.INSIDE
        search.look(MORE, towards=True)
    if search.contains():
        return Place.INSIDE
    outside = search.is_wrong_somewhere() or search.is_complete() or search.is_far()
    return Place.OUTSIDE if outside else Place.UNKNOWN


@dataclasses.dataclass
class _Limit:
    """A claim close by, in natural sizes: where, and whether it is right there (None: not known, or f bends there)."""

    value: Vector
    way: Vector
    is_held: bool = False
    is_right: bool | None = None


def step_of(eps: float) -> float:
    """How far f is followed at points close by, in natural sizes.

    So much less than their distance that few kinks lie between; in low precision noise allows no less.
    """
    return eps ** (1 / 3) / (256 if is_double(eps) else 16)


class Search:
    """Points close by, and the gradients there, in natural sizes."""

    def __init__(self, beside: Beside, rng: np.random.Generator) -> None:
        self.beside, self.rng = beside, rng
        self.distance = beside.eps ** (1 / 3)
        self.step = step_of(beside.eps)
        self.at_point = beside.value(beside.point)
        self.claim = beside.claim * beside.size
        self.largest = steady_norm(self.claim)
        # (Terms of the size of the slopes may cancel in f.)
        self.rounding = ROUNDINGS * beside.eps * max(abs(self.at_point), self.largest)
        self.limits: list[_Limit] = []
        # How often the claim was called, and when it said something new.
        self.asked = 0
        self.news: list[int] = []

    def is_smooth(self) -> bool:
        """Whether f shows no kink along some directions, or along others: noise looks like one now and then."""
        return self._looks_smooth() or self._looks_smooth()

    def _looks_smooth(self) -> bool:
        """Whether six slopes whose directions add up to 0 do so, too.

        (Of fewer, all may lie in pieces of f that continue each other, such as those of a median.)
        """
        drawn = [self._draw() for _ in range(5)]
        ways = (*drawn, -np.sum(drawn, axis=0))
        step = math.sqrt(self.beside.eps)
        slopes = self._slopes(ways, step)
        near, size = float(slopes.sum()), float(np.abs(slopes).max())
        noise = len(ways) * self.rounding / step
        share = ADDITIVE if is_double(self.beside.eps) else ADDITIVE_LOW
        if not abs(near) > share * size + noise:
            return self._is_linear(drawn, slopes[:-1], share * size + noise, step)
        # A kink gives the same sum further away. Noise gives less of it, and curvature, at a stationary point, more.
        for k, times in enumerate(FURTHER):
            far = float(self._slopes(ways, times * step).sum())
            if math.isfinite(far):
                if abs(far - near) > 0.5 * abs(near):
                    return True
            elif k == 0:
                nearer = float(self._slopes(ways, NEARER * step).sum())
                return abs(nearer - near) > 0.5 * abs(near) + LIKELY * noise / NEARER
            else:
                break
        return False

    def _is_linear(self, ways: Sequence[Vector], slopes: Vector, noise: float, step: float) -> bool:
        """Whether the gradient that some slopes belong to, where they tell it, predicts the one along an axis, too.

        A piece of a median that reaches to both sides may hold all of their directions where entries are few. It does
        not hold the axis of the entry that is the median there, along which f stays as it is.
        """
        count = len(self.claim)
        if not 1 < count <= len(ways):
            return True
        solved = np.linalg.pinv(np.array(ways))
        gradient = solved @ slopes
        entry = int(np.abs(gradient).argmax())
        axis = np.zeros(count)
        axis[entry] = 1.0
        slope = float(self._slopes([axis], step)[0])
        # (What the slopes are off by reaches the gradient through all of them.)
        return abs(slope - float(gradient[entry])) <= noise * (1 + float(np.abs(solved[entry]).sum()))

    def _slopes(self, ways: Iterable[Vector], step: float) -> Vector:
        """One-sided slopes along some directions."""
        return np.array([self._value(step * v) - self.at_point for v in ways]) / step

    def look(self, count: int, *, towards: bool = False) -> None:
        """Call the claim at generic points: some along the claim at first, then around the most promising ones."""
        lacking = self.claim - self._mixture()[0] if towards and self._usable() else self.claim
        for k in range(count):
            way = self._draw()
            if towards and self._usable():
                # Those whose claims go furthest towards what is lacking are varied, some more and some less.
                best = sorted(self._usable(), key=lambda one: -float(one.value @ lacking))[:3]
                way = best[k % len(best)].way + way * float(self.rng.choice([1.0, 0.3, 0.1]))
            elif k < 4 and self.claim.any():
                way = self._draw() * 0.3 + self._scaled(self.claim) * (-1) ** k
            self._ask(self._scaled(way))

    def place_of_entry(self, entry: int, slope: Callable[[Vector], float | None]) -> Place:
        """Say where one entry of the claim lies beside ``slope(point)``, that of f along it, at points close by."""
        size, claimed = float(self.beside.size[entry]), float(self.claim[entry])
        seen: list[float] = []
        news = asked = 0
        for _ in range(ENTRY_POINTS):
            way = self.distance * float(self.rng.uniform(0.5, 1.0)) * self._draw()
            found = slope(self.beside.point + way * self.beside.size)
            if found is None or not math.isfinite(found):
                continue
            asked += 1
            here, tolerance = found * size, self._tolerance()
            if all(abs(here - one) > tolerance for one in seen):
                seen.append(here)
                news = asked
            if min(seen) - tolerance <= claimed <= max(seen) + tolerance:
                return Place.UNKNOWN
            if asked >= ENTRY_LEAST and asked > 2 * news:
                return Place.OUTSIDE
        if not seen:
            return Place.UNKNOWN
        low, high = min(seen), max(seen)
        is_far = max(low - claimed, claimed - high) > high - low + self._tolerance()
        return Place.OUTSIDE if is_far else Place.UNKNOWN

    def sides(self, entry: int) -> tuple[float, float]:
        """The one-sided slopes of f along one entry at the point, the smaller first."""
        step = math.sqrt(self.beside.eps)
        moved = np.zeros_like(self.claim)
        moved[entry] = step
        rises = self._value(moved) - self.at_point, self.at_point - self._value(-moved)
        low, high = sorted(rise / (step * float(self.beside.size[entry])) for rise in rises)
        return low, high

    def contains(self) -> bool:
        """Whether the claim is a mixture of claims that are right close by."""
        while self._usable():
            mixture, weights = self._mixture()
            if steady_norm(mixture - self.claim) > self._tolerance():
                return False
            used = [one for one, weight in zip(self._usable(), weights, strict=True) if weight > 1e-6]
            for one in used:
                self._hold(one)
            if all(one.is_right for one in used):
                return True
        return False

    def is_right_somewhere(self) -> bool:
        """Whether the claim is right at one of the first points."""
        for one in self.limits[:HELD]:
            self._hold(one)
            if one.is_right:
                return True
        return False

    def is_wrong_somewhere(self) -> bool:
        """Whether the claim has been found to be wrong close by."""
        return any(one.is_right is False for one in self.limits)

    def is_complete(self) -> bool:
        """Whether the second half of the points has shown nothing new."""
        return not any(2 * k >= self.asked for k in self.news)

    def is_far(self) -> bool:
        """Whether the claim is further from all limits than they are from each other."""
        values = np.array([one.value for one in self._usable()])
        wide = steady_norm(np.ptp(values, axis=0))
        return steady_norm(self._mixture()[0] - self.claim) > wide + self._tolerance()

    def _usable(self) -> list[_Limit]:
        return [one for one in self.limits if one.is_right or not one.is_held]

    def _mixture(self) -> tuple[Vector, Vector]:
        limits = np.array([one.value for one in self._usable()]).T
        weights = convex_weights(limits, self.claim)
        return limits @ weights, weights

    def _tolerance(self) -> float:
        return 2 * self._bend(self.largest)

    def _bend(self, size: float) -> float:
        return BENDING * self.distance * size + self.rounding / self.step

    def _ask(self, way: Vector) -> None:
        """Call the claim close by, right after f there."""
        way = self.distance * float(self.rng.uniform(0.5, 1.0)) * way
        if not math.isfinite(self._value(way)):
            return
        found = self.beside.gradient(self.beside.point + way * self.beside.size)
        if found is None or not np.isfinite(found).all():
            return
        value = found * self.beside.size
        self.asked += 1
        self.largest = max(self.largest, steady_norm(value))
        tolerance = self._tolerance()
        known = [one for one in self.limits if steady_norm(value - one.value) <= tolerance]
        if not known:
            self.news.append(self.asked)
        # (The first ones say whether the claim is right close by, and a constant one is so in places only.)
        if self.asked <= POINTS or not any(one.is_right or not one.is_held for one in known):
            self.limits.append(_Limit(value, way))

    def _hold(self, limit: _Limit) -> None:
        """Hold a claim close by against two slopes of f."""
        if limit.is_held:
            return
        limit.is_held, step = True, self.step
        middle = self._value(limit.way)
        for _ in range(2):
            v = self._draw()
            right, left = self._value(limit.way + step * v) - middle, middle - self._value(limit.way - step * v)
            allowed = self._bend(max(steady_norm(limit.value), abs(right) / step))
            if not abs(right - left) / step <= allowed:
                return
            if abs((right + left) / (2 * step) - float(limit.value @ v)) > allowed:
                limit.is_right = False
                return
        limit.is_right = True

    def _draw(self) -> Vector:
        """A random direction of norm sqrt(n) in natural sizes."""
        return self._scaled(self.rng.standard_normal(len(self.claim)))

    def _scaled(self, way: Vector) -> Vector:
        return way * (math.sqrt(len(way)) / max(steady_norm(way), 1e-300))

    def _value(self, moved: Vector) -> float:
        return self.beside.value(self.beside.point + moved * self.beside.size)


def differences(value: Callable[[Vector], float], point: Vector, size: Vector, eps: float) -> Vector | None:
    """The gradient of f by differences; None where f has a kink within a step."""
    step = step_of(eps)
    middle = value(point)
    found = np.empty_like(point)
    for i in range(len(point)):
        slope = difference(value, point, middle, i, step * size[i], eps)
        if slope is None:
            return None
        found[i] = slope
    return found


def difference(
    value: Callable[[Vector], float], point: Vector, middle: float, i: int, step: float, eps: float
) -> float | None:
    """The slope of f along one entry by differences; None where f has a kink within the step."""
    moved = np.zeros_like(point)
    moved[i] = step
    right, left = value(point + moved) - middle, middle - value(point - moved)
    noise = ROUNDINGS * eps * max(abs(middle), abs(right), abs(left))
    if not abs(right - left) <= BENDING * eps ** (1 / 3) * max(abs(right), abs(left)) + noise:
        return None
    return (right + left) / (2 * step)


def convex_weights(columns: Vector, target: Vector) -> Vector:
    """Non-negative weights of sum 1 whose mixture of columns (n, k) is nearest to a target (n,).

    Non-negative least squares with a row for the sum, by the active sets of C. L. Lawson and R. J. Hanson, "Solving
    Least Squares Problems" (1974), chapter 23.
    """
    size = max(float(np.abs(columns).max(initial=0.0)), float(np.abs(target).max(initial=0.0)), 1e-300)
    a = np.vstack([columns / size, np.full(columns.shape[1], 1e3)])
    b = np.append(target / size, 1e3)
    count = columns.shape[1]
    x, passive = np.zeros(count), np.zeros(count, dtype=bool)
    for _ in range(3 * count):
        gain = np.where(passive, -np.inf, a.T @ (b - a @ x))
        best = int(np.argmax(gain))
        if not gain[best] > 1e-9:
            break
        passive[best] = True
        while True:
            chosen = np.flatnonzero(passive)
            solved = np.linalg.lstsq(a[:, chosen], b, rcond=None)[0]
            if (solved > 0).all():
                x[:] = 0.0
                x[chosen] = solved
                break
            # Back to where the first weight becomes 0.
            old, falling = x[chosen], np.flatnonzero(solved <= 0)
            shares = old[falling] / np.maximum(old[falling] - solved[falling], 1e-300)
            x[chosen] = old + float(shares.min()) * (solved - old)
            passive[chosen[falling[shares <= shares.min()]]] = False
            x[~passive] = 0.0
            if not passive.any():
                break
    return x
