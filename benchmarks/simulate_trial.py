"""How often does a trial accuse a right claim, and how often does it pass a wrong one? A million trials, simulated.

    PYTHONPATH=src python benchmarks/simulate_trial.py --count 1000000 --half both

Ladders of functions whose slope is known (`families.py`) are recorded once; a trial (`gradproof._prove._trial`) is then
run on ladders drawn from one function at one point, none of them twice. The claim is the truth, or off by an error of
known size in a random direction. In a share of the trials all ladders are one and the same, so that whatever fooled it
fools every look alike; what a function does to all lines at a point is common to the others as well.

A second look is a fresh ladder, held against the claim as `confirm` does; jumps of f that excuse a deviation, and finer
steps that take it back, are left out. They only prevent accusations: the rates are no smaller than those of a check.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import math
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from families import FAMILIES, Line, group

from gradproof._base._precision import EPS64
from gradproof._line import Known, Slope, learn, slope
from gradproof._prove._bends import BENT, staircase
from gradproof._prove._confirm import BORNE_OUT, OBVIOUS_BARS, Look, SecondLook
from gradproof._prove._directions import Direction
from gradproof._prove._measure import Measured, Tier
from gradproof._prove._tolerance import INNER_PRODUCT, OBVIOUS, Limits, natural_scale
from gradproof._prove._trial import Case, CloseIn, Confirm, Heard, Kind, Ruling, Seen, Trial
from gradproof._prove._trial import Look as Fresh

# Ladders of each kind for one function at one point: more than any trial in float64 asks for.
LADDERS = 10
# Errors of the claim, relative to the norm of the gradient, and shares of trials whose ladders are all the same.
SIZES, SHARES = (0.0, 1e-6, 1e-4, 1e-2, 1.0), (0.0, 0.1, 1.0)
DIRECTION = Direction(stream=0, group=(0,), scales=(1.0,))
LIMITS = Limits(rtol=None, max_bound=None, confidence=1 - 1e-6)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """One ladder: the true slope, and what was measured of it with its bar."""

    truth: float
    slope: Slope
    value: float
    bar: float


@dataclasses.dataclass(frozen=True)
class Pool:
    """The ladders of one function at one point: of first looks, of later ones, and whole ones."""

    name: str
    kind: str
    eps: float
    size: int
    scale: float
    first: Sequence[Recorded]
    later: Sequence[Recorded]
    whole: Sequence[Recorded]


def climb(line: Line, rng: np.random.Generator, known: Known | None, *, full: bool) -> Recorded:
    """Measure the slope along a random direction."""
    v = line.direction(rng)
    asking = slope(rng, eps=line.eps, scale=line.scale, ripple=line.ripple, known=known, full=full)
    try:
        steps = next(asking)
        while True:
            steps = asking.send(np.array([line.phi(v, float(step)) for step in steps]))
    except StopIteration as stop:
        found = stop.value
    rounding = INNER_PRODUCT * EPS64 * float(np.abs(line.gradient.astype(float) * v).sum())
    return Recorded(line.truth(v), found, float(found.value[0]), float(found.bar[0]) + rounding)


def record(name: str, dtype: str, seed: int) -> Pool | None:
    """The ladders of one function at a random point; None where it has no slope of a size."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(dtype.encode())])
    line = FAMILIES[name].make(rng, dtype)
    if not (math.isfinite(line.scale) and line.scale > 0):
        return None
    first = [climb(line, rng, None, full=False) for _ in range(2)]
    one = first[0]
    known = None
    if one.slope.side == 0 and math.isfinite(one.bar) and math.isfinite(one.value):
        size = natural_scale(line.scale, one.value, float(one.slope.f0[0]))
        known = learn(one.slope, one.bar / max(size, abs(one.value), 1e-300), size)
    later = [climb(line, rng, known, full=False) for _ in range(LADDERS)]
    whole = [climb(line, rng, None, full=True) for _ in range(LADDERS)]
    return Pool(f"{name} {dtype}", FAMILIES[name].tags[0], line.eps, len(line.x), line.scale, first, later, whole)


class Ladders:
    """Hands the ladders of a pool out to one trial: in random order, or one of them again and again."""

    def __init__(self, pool: Pool, rng: np.random.Generator, *, same: bool) -> None:
        self.pool, self.rng = pool, rng
        every = (pool.first, pool.later, pool.whole)
        self.only = rng.choice(np.array([one for part in every for one in part], dtype=object)) if same else None
        self._queues: dict[int, list[Any]] = {}
        self._first = True

    def _next(self, part: Sequence[Recorded]) -> Recorded:
        if self.only is not None:
            return self.only
        queue = self._queues.setdefault(id(part), [])
        if not queue:
            queue += [part[k] for k in self.rng.permutation(len(part))]
        return queue.pop()

    def fresh(self, error: float) -> Measured:
        """Along a new direction, beside a claim that is off by so much."""
        part, self._first = (self.pool.first if self._first else self.pool.later), False
        return self._beside(self._next(part), error)

    def whole(self, error: float) -> Measured:
        return self._beside(self._next(self.pool.whole), error)

    def _beside(self, one: Recorded, error: float) -> Measured:
        return Measured(
            direction=DIRECTION,
            slope=one.slope,
            claimed=one.truth + error,
            value=one.value,
            bar=one.bar,
            scale=self.pool.scale,
        )


def second_look(ladders: Ladders, first: Measured, tolerance: float, error: float) -> SecondLook:
    """What `confirm` says of fresh ladders, without what it knows to take a deviation back."""
    if first.deviation > max(OBVIOUS_BARS * first.bar, OBVIOUS * first.scale) and not staircase(first):
        pair = ladders.whole(error)
        if abs(pair.residual - first.residual) <= BORNE_OUT * first.deviation:
            return SecondLook(Look.EXCLUDED, first)
    again = ladders.whole(error)
    if not again.finite:
        return SecondLook(Look.UNSURE, again)
    if again.deviation <= again.bar + tolerance:
        third = ladders.whole(error)
        agrees = third.finite and third.deviation <= third.bar + tolerance
        return SecondLook(Look.AGREES if agrees else Look.UNSURE, third)
    if abs(float(again.slope.jump[0])) > BENT * again.deviation or staircase(again):
        return SecondLook(Look.UNSURE, again)
    return SecondLook(Look.EXCLUDED, again)


def seen_along(size: int, rng: np.random.Generator) -> float:
    """What a random direction shows of an error of norm 1 in so many entries: <e, u>, u of norm sqrt(size)."""
    one = rng.standard_normal()
    if size == 1:
        return math.copysign(1.0, one)
    return one * math.sqrt(size / (one * one + rng.chisquare(size - 1)))


def tried(pool: Pool, size: float, rng: np.random.Generator, *, same: bool) -> Ruling:
    """Run one trial of a claim that is off by an error of this size, relative to its norm."""
    ladders = Ladders(pool, rng, same=same)
    tier = Tier(group=(0,), scales=(1.0,), shares=(pool.scale,), size=pool.size, scale=pool.scale)
    seen = Seen(precision=pool.eps)
    trial = Trial(Case(tier=tier, limits=LIMITS, sizes=(pool.size,), eps=pool.eps), seen)
    action = trial.next()
    errors: dict[int, float] = {}
    kept: list[Measured] = []
    while not isinstance(action, Ruling):
        heard: Heard
        if isinstance(action, Fresh):
            error = size * pool.scale * seen_along(pool.size, rng) if size else 0.0
            heard = ladders.fresh(error)
        else:
            error = errors[id(action.measured)]
            if isinstance(action, Confirm):
                heard = second_look(ladders, action.measured, action.tolerance, error)
            elif isinstance(action, CloseIn):
                heard = True
            else:
                heard = ladders.whole(error)
        one = heard.measured if isinstance(heard, SecondLook) else heard
        if isinstance(one, Measured):
            # (Lines along one direction share its error.)
            errors[id(one)] = error
            kept.append(one)
            seen = dataclasses.replace(seen, precision=max(seen.precision, one.slope.eps))
        action = trial.hear(heard, seen)
        if not isinstance(action, Ruling | Fresh):
            errors.setdefault(id(action.measured), error)
            kept.append(action.measured)
    return action


def said(ruling: Ruling, pool: Pool, size: float) -> str:
    """A word for a ruling: "missed" is CORRECT with a bound below the error."""
    if ruling.kind is Kind.WRONG:
        return "wrong"
    if ruling.kind is Kind.KINK:
        return "kink"
    bound = ruling.bound / pool.scale
    if ruling.kind is Kind.UNSURE or not bound <= LIMITS.largest_bound(max(pool.eps, ruling.measured[0].slope.eps)):
        return "undecided"
    return "missed" if bound < size else "correct"


def pools(half: str, seeds: int) -> Iterator[Pool]:
    """Of all families in float64 and float32, where they have these."""
    for name, family in FAMILIES.items():
        for dtype in ("float64", "float32"):
            if dtype not in family.dtypes:
                continue
            for seed in range(seeds):
                is_held = group(name, seed) != "tuned"
                if half == "both" or is_held == (half == "held-out"):
                    with np.errstate(all="ignore"):
                        one = record(name, dtype, seed)
                    if one is not None:
                        yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=150_000, help="trials in all")
    parser.add_argument("--half", choices=("tuned", "held-out", "both"), default="tuned")
    parser.add_argument("--seeds", type=int, default=2, help="points of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--names", action="store_true", help="name functions, not their kinds")
    options = parser.parse_args()
    started = time.perf_counter()
    recorded = list(pools(options.half, options.seeds))
    ladders = sum(len(one.first) + len(one.later) + len(one.whole) for one in recorded)
    print(f"{len(recorded)} functions, {ladders:,} ladders, {time.perf_counter() - started:.0f} s")
    each = max(1, options.count // (len(SHARES) * len(SIZES)))
    print(f"{each:,} trials a row, {datetime.date.today():%d %B %Y}")
    print("same ladders  error   wrong     kink      undecided  correct   missed")
    rng = np.random.default_rng(options.seed)
    for share in SHARES:
        for size in SIZES:
            words: collections.Counter[str] = collections.Counter()
            accused: collections.Counter[str] = collections.Counter()
            names: set[str] = set()
            for k in range(each):
                pool = recorded[k % len(recorded)]
                word = said(tried(pool, size, rng, same=rng.random() < share), pool, size)
                words[word] += 1
                if word == "wrong":
                    accused[pool.name if options.names else pool.kind] += 1
                    names.add(pool.name)
            rates = [words[word] / each for word in ("wrong", "kink", "undecided", "correct", "missed")]
            print(f"{share:10.0%}  {size:7.0e}  " + "  ".join(f"{rate:8.4%}" for rate in rates), flush=True)
            if size == 0 and names:
                shown = ", ".join(f"{name} {count}" for name, count in accused.most_common(12))
                print(f"            of {len(names)} functions: {shown}", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
