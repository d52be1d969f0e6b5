"""One line in a training run: what two values of f say of a gradient, and what many such lines add up to.

Pure: a `Probe` is made from a claimed slope and the values at +h and -h, a `Record` collects probes. Steps, noise and
curvature are those that a whole ladder has taught once (`Known`), carried over to where training has come since.
"""

from __future__ import annotations

import dataclasses
import math

from gradproof._base._precision import EPS32, is_double
from gradproof._line import Known
from gradproof._prove._laws import LOOKS, error_bound
from gradproof._prove._tolerance import LARGEST_ROUNDINGS, REACH, RTOL32, RTOL64_UNCLEAR, Limits

# The natural sizes of arrays are made equal down to this share of their median; smaller ones move by their own size.
# Chosen: values in float64 see slopes a thousand times smaller than the median, those of float32 hardly ten times.
LEAST_SHARE, LEAST_SHARE_LOW = 1e-3, 0.1
# A claim as coarse as this (half precision, autocast) has no rounding that a rule knows: it is measured.
COARSE = 1e-5
# A deviation counts from so many of the largest that a right gradient has shown before. Chosen: it starts a second
# look, and accuses nobody.
UNUSUAL = 4.0
# What may go wrong with a statement on all probes.
RISK = 1e-6
# The step of a second look, in those of the first: finer, where f bends or has a kink, and independent.
SECOND = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A direction through some arrays at the parameters as they are, with what the gradient claims along it.

    Attributes
    ----------
    claimed : <gradient, v>.
    shares : norm of gradient times step of every array that moves, by path; equal as far as possible.
    rounding : the largest norm of gradient times natural size, not made equal: what rounding is relative to.
    size : entries that move.
    eps : relative precision of the values.
    claim_eps : that of the gradient.
    still : the arrays whose turn to move comes later.
    """

    claimed: float
    shares: dict[str, float]
    rounding: float
    size: int
    eps: float
    claim_eps: float
    still: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """Natural size of the slope."""
        return math.hypot(*self.shares.values())

    @property
    def finite(self) -> bool:
        """Whether the gradient is a number at all."""
        return math.isfinite(self.claimed) and math.isfinite(self.scale) and math.isfinite(self.rounding)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A slope beside its claim, both absolute, with the bar of the slope and what the claim's rounding may add."""

    line: Line
    value: float
    bar: float
    allowance: float

    @property
    def deviation(self) -> float:
        """How far the measured slope is from the claimed one."""
        return abs(self.value - self.line.claimed)

    @property
    def finite(self) -> bool:
        """Whether it says anything."""
        return math.isfinite(self.value) and math.isfinite(self.bar)

    @property
    def fits(self) -> bool:
        """Whether the claim lies within the bar."""
        return self.deviation <= self.bar + self.allowance


def scales(norms: dict[str, float], eps: float) -> dict[str, float]:
    """Factors on the natural size of every array that make the norms of their slopes equal, as far as possible."""
    positive = sorted(norm for norm in norms.values() if norm > 0)
    if not positive:
        return dict.fromkeys(norms, 1.0)
    least = LEAST_SHARE if is_double(eps) else LEAST_SHARE_LOW
    enough = least * positive[len(positive) // 2]
    target = next(norm for norm in positive if norm >= enough)
    return {path: min(1.0, target / norm) if norm > 0 else 1.0 for path, norm in norms.items()}


class Yardstick:
    """How steps and bars follow from what a ladder has taught, wherever training has come."""

    def __init__(self, known: Known, scale: float) -> None:
        value = abs(float(known.f0[0]))
        self._known = known
        self._noise = float(known.noise[0])
        self._value = value
        self._third = known.cubic
        self._relative_third = known.cubic / max(scale, known.size, 1e-300)

    def is_far(self, value: float) -> bool:
        """Whether f has become so much smaller or larger that its noise must be measured anew."""
        if is_double(self._known.eps):
            return False
        return not self._value / 8 <= abs(value) <= 8 * self._value

    def _noise_at(self, value: float) -> float:
        return self._noise * max(1.0, abs(value) / self._value) if self._value > 0 else self._noise

    def _third_along(self, line: Line) -> float:
        """The t**3 term to allow for: it grows with the slope, and stays where the slope vanishes."""
        return max(self._third, self._relative_third * line.scale, 1e-300)

    def step(self, line: Line, value: float) -> float:
        """The step with the narrowest bar, within those that the ladder has seen."""
        third = self._third_along(line)
        best = (5 * self._noise_at(value) / (2 * math.sqrt(2) * third)) ** (1 / 3)
        return min(max(best, self._known.finest), float(self._known.levels[0]))

    def bar(self, line: Line, step: float, value: float) -> float:
        """The bar of the difference of two values at this step: noise, and a t**3 term."""
        third = self._third_along(line)
        return 5 * self._noise_at(value) / (math.sqrt(2) * step) + third * step**2


def allowance(line: Line, usual: float, largest: float) -> float:
    """What a right gradient may deviate by beyond the bar (absolute): its rounding, or what it has shown before.

    Parameters
    ----------
    usual : the largest deviation of gradients found right, relative to the scale; 0 where none is known.
    largest : the largest `Line.rounding` so far. Terms of that size may cancel in a gradient that has become small.
    """
    limits = Limits(rtol=None, max_bound=None, confidence=1 - RISK, claim_eps=line.claim_eps)
    cancelled = line.claim_eps * largest
    if line.claim_eps > COARSE and usual > 0:
        own = REACH * max(RTOL32 * line.scale, cancelled)
    elif is_double(line.claim_eps):
        own = REACH * max(RTOL64_UNCLEAR * line.scale, LARGEST_ROUNDINGS * cancelled)
    else:
        own = limits.allowance(max(line.eps, EPS32), line.scale, line.scale, cancelled=cancelled)
    return max(own, UNUSUAL * usual * line.scale)


@dataclasses.dataclass
class Record:
    """All probes of a run that fitted, array by array: how many there were, and the largest deviation with its bar."""

    probes: int = 0
    _worst: dict[str, float] = dataclasses.field(default_factory=dict[str, float])
    _counts: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    _sizes: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    # Arrays that have not moved, yet.
    _still: dict[str, None] = dataclasses.field(default_factory=dict[str, None])
    _moved: set[str] = dataclasses.field(default_factory=set[str])

    def add(self, probe: Probe) -> None:
        """Take a probe in."""
        self.probes += 1
        self._moved |= probe.line.shares.keys()
        self._still |= dict.fromkeys(probe.line.still)
        for path, share in probe.line.shares.items():
            if share > 0:
                worst = (probe.deviation + probe.bar) / share
                self._worst[path] = max(self._worst.get(path, 0.0), worst)
                self._counts[path] = self._counts.get(path, 0) + 1
                self._sizes[path] = max(self._sizes.get(path, 0), probe.line.size)

    def bounds(self) -> dict[str, float]:
        """An upper bound on the relative error of each array's gradient in the probed steps; inf where it was in none.

        Had the gradient of this array been off by more at every probed step, probes like these would have had a
        probability of at most `RISK`: each is independent of the others, and the largest deviation of m of them is
        below kappa b with the m-th power of one probability (`error_bound`). The risk is divided among the numbers of
        probes after which somebody may look, as 1 / (m (m + 1)).
        """
        found: dict[str, float] = {}
        for path, worst in self._worst.items():
            count = self._counts[path]
            risk = RISK / (count * (count + 1))
            found[path] = error_bound(worst, count, self._sizes[path], 1 - LOOKS * risk)
        return found | {path: math.inf for path in self._still if path not in self._moved}
