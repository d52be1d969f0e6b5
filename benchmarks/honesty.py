"""Are the error bars honest? Measure slopes whose truth is known and count |error| > bar.

    PYTHONPATH=src python benchmarks/honesty.py --count 100000

Each line is measured along a first direction, along a later one (with what the first has taught), and along parts of
a third (the two-point questions of location), as a check does.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
import zlib
from collections.abc import Iterator

import numpy as np
from families import EPS, FAMILIES, Line, group, quantile

from gradproof._function._problem import Leaf
from gradproof._line import Known, Slope, learn, slope
from gradproof._prove._directions import Coin, Direction, Directions
from gradproof._prove._measure import Meter

DTYPES = ("float64", "float32", "float16", "bfloat16")
GROUPS = ("smooth", "two_scales", "scaled", "offset", "noisy", "nondeterministic", "solver", "quantised", "oscillating",
          "float32_inside", "one_sided", "kink", "near_kink")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Record:
    """One measured slope; error and bar are absolute, scale is the natural size of the slope."""

    family: str
    dtype: str
    seed: int
    kind: str  # "first", "later" or "part"
    truth: float
    value: float
    bar: float
    scale: float
    evaluations: int
    stage: int
    seconds: float

    @property
    def ratio(self) -> float:
        """|error| / bar: above 1 is a violation; 0 where no slope is claimed."""
        if not math.isfinite(self.value) or not math.isfinite(self.bar):
            return 0.0
        error = abs(self.value - self.truth)
        return error / self.bar if error > 0 else 0.0

    @property
    def violated(self) -> bool:
        return self.ratio > 1.0


def measure(line: Line, v: np.ndarray, jitter: np.random.Generator, known: Known | None) -> tuple[Slope, int, float]:
    """Drive the engine's generator along v: the slope, the evaluations it took and the engine's own time."""
    eps = line.eps if known is None else known.eps
    asking = slope(jitter, eps=eps, scale=line.scale, ripple=line.ripple, known=known)
    before, outside = line.evaluations, 0.0
    started = time.perf_counter()
    try:
        steps = next(asking)
        while True:
            paused = time.perf_counter()
            values = np.array([line.phi(v, float(step)) for step in steps])
            outside += time.perf_counter() - paused
            steps = asking.send(values)
    except StopIteration as stop:
        return stop.value, line.evaluations - before, time.perf_counter() - started - outside


def ask_parts(line: Line, known: Known, seed: int) -> Iterator[tuple[float, float, float, int]]:
    """Value, bar, truth and evaluations of residuals along both halves of a direction, as location asks for them."""
    n = len(line.x)
    leaf = Leaf(path="x", shape=(n,), dtype="float64", start=0, stop=n)
    directions = Directions((leaf,), line.x, line.gradient.astype(float), seed)
    directions.natural[:] = line.moves
    meter = Meter(directions, line.eps)
    meter.known = known
    meter.norms[:] = line.ripple
    whole = Direction(stream=0, group=(0,), scales=(1.0,))
    for half in (0, 1):
        direction = whole.restricted(Coin(seed, half))
        v = directions.vector(direction).copy()
        if not v.any():
            continue
        before = line.evaluations
        asking = meter.residual(direction, line.scale)
        try:
            question = next(asking)
            while True:
                question = asking.send(np.array([line.phi(v, float(step)) for step in question.steps]))
        except StopIteration as stop:
            found = stop.value
            yield found.claimed + found.value, found.bar, line.truth(v), line.evaluations - before


def run_line(name: str, dtype: str, seed: int) -> Iterator[Record]:
    """A first and a later slope of one line, and the two parts of another."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), DTYPES.index(dtype)])
    line = FAMILIES[name].make(rng, dtype)
    known: Known | None = None
    for kind in ("first", "later"):
        v = line.direction(rng)
        found, evaluations, seconds = measure(line, v, rng, known)
        value, bar, truth = float(found.value[0]), float(found.bar[0]), line.truth(v)
        # The claim's own rounding is part of the bar that a check uses (gradproof._prove._measure.Meter.slope).
        bar += 8 * EPS["float64"] * float(np.abs(line.gradient.astype(float) * v).sum())
        yield Record(name, dtype, seed, kind, truth, value, bar, line.scale, evaluations, found.stage, seconds)
        # As gradproof._prove._judge does.
        size = line.scale if line.scale > 0 else max(abs(value), 1e-3 * abs(float(found.f0[0])))
        if found.side == 0 and math.isfinite(bar) and math.isfinite(value):
            known = learn(found, bar / max(size, abs(value), 1e-300), size) if kind == "first" else known
    if known is not None and len(line.x) > 1:
        for value, bar, truth, evaluations in ask_parts(line, known, seed):
            yield Record(name, dtype, seed, "part", truth, value, bar, line.scale, evaluations, 0, 0.0)


def plan(half: str, count: int, first_seed: int, only: list[str]) -> Iterator[tuple[str, str, int]]:
    """(family, dtype, seed), the same number of lines for every family and dtype."""
    pairs = [
        (name, dtype)
        for name, one in FAMILIES.items()
        for dtype in one.dtypes
        if (not only or name in only) and (half != "tuned" or group(name, 0) != "fresh name")
    ]
    lines = max(1, round(count / 4 / max(len(pairs), 1)))  # four slopes of each
    for name, dtype in pairs:
        made, seed = 0, first_seed
        while made < lines:
            kind = group(name, seed)
            if half == "both" or (kind == "tuned") == (half == "tuned"):
                yield name, ("float16", "bfloat16")[seed % 2] if dtype == "low" else dtype, seed
                made += 1
            seed += 1


def summary(records: list[Record]) -> dict[str, float]:
    """Counts and quantiles of some records."""
    answered = [r for r in records if math.isfinite(r.bar) and math.isfinite(r.value)]
    first = [float(r.evaluations) for r in records if r.kind == "first"]
    later = [float(r.evaluations) for r in records if r.kind == "later"]
    parts = [float(r.evaluations) for r in records if r.kind == "part"]
    bars = [r.bar / r.scale for r in answered if r.scale > 0]
    return {
        "slopes": len(records),
        "unanswered": len(records) - len(answered),
        "violations": sum(r.violated for r in records),
        "worst": max((r.ratio for r in records), default=0.0),
        "median_bar": quantile(bars, 0.5),
        "first_median": quantile(first, 0.5),
        "first_p90": quantile(first, 0.9),
        "first_worst": quantile(first, 1.0),
        "later_median": quantile(later, 0.5),
        "later_p90": quantile(later, 0.9),
        "later_worst": quantile(later, 1.0),
        "part_median": quantile(parts, 0.5),
        "part_p90": quantile(parts, 0.9),
    }


HEAD = (
    f"{'':44} {'slopes':>6} {'none':>5} {'viol':>5} {'worst':>8} {'bar/scale':>9}  "
    f"{'first: med p90 max':>18} {'later':>12}  part"
)


def row(label: str, records: list[Record]) -> str:
    s = summary(records)
    first = f"{s['first_median']:.0f} {s['first_p90']:.0f} {s['first_worst']:.0f}"
    later = f"{s['later_median']:.0f} {s['later_p90']:.0f} {s['later_worst']:.0f}"
    return (
        f"{label:44} {s['slopes']:6} {s['unanswered']:5} {s['violations']:5} {s['worst']:8.3g} "
        f"{s['median_bar']:9.1e}  {first:>18} {later:>12}  {s['part_median']:.0f} {s['part_p90']:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=4000, help="how many slopes")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--half", choices=("tuned", "held-out", "both"), default="tuned")
    parser.add_argument("--only", nargs="*", default=[], help="only these families")
    parser.add_argument("--totals", action="store_true", help="no rows of families, no list of violations")
    parser.add_argument("--json", help="write all records to this file")
    options = parser.parse_args()
    started = time.perf_counter()
    records = [
        record
        for name, dtype, seed in plan(options.half, options.count, options.seed, options.only)
        for record in run_line(name, dtype, seed)
    ]
    print(HEAD)
    if not options.totals:
        for name in sorted({r.family for r in records}, key=list(FAMILIES).index):
            for dtype in DTYPES:
                some = [r for r in records if r.family == name and r.dtype == dtype]
                if some:
                    print(row(f"{name} {dtype}", some))
        print()
    for tag in GROUPS:
        for dtype in DTYPES:
            some = [r for r in records if tag in FAMILIES[r.family].tags and r.dtype == dtype]
            if some:
                print(row(f"{tag}, {dtype}", some))
    print()
    for kind in ("tuned", "fresh seed", "fresh name"):
        some = [r for r in records if group(r.family, r.seed) == kind]
        if some:
            print(row(f"all, {kind}", some))
    for kind in ("first", "later", "part"):
        print(row(f"all, {kind}", [r for r in records if r.kind == kind]))
    print(row("all", records))
    rates = {
        name: 1 - sum(r.violated for r in some) / len(some)
        for name in {r.family for r in records}
        if (some := [r for r in records if r.family == name])
    }
    lowest = min(rates, key=lambda name: rates[name])
    own = quantile([r.seconds for r in records if r.kind != "part"], 0.5)
    print(
        f"\n{1 - sum(r.violated for r in records) / len(records):.4%} honest over {len(rates)} families; lowest family "
        f"{rates[lowest]:.2%}{'' if options.totals else ' (' + lowest + ')'}; own time {own * 1e3:.2f} ms per slope; "
        f"{time.perf_counter() - started:.0f} s"
    )
    if not options.totals:
        for r in sorted((r for r in records if r.violated), key=lambda r: -r.ratio):
            print(
                f"  {r.family} {r.dtype} seed {r.seed} {r.kind} stage {r.stage}: "
                f"{r.ratio:.3g} bars; error {abs(r.value - r.truth) / max(r.scale, 1e-300):.2e}, "
                f"bar {r.bar / max(r.scale, 1e-300):.2e} of the scale, {r.evaluations} evaluations"
            )
    if options.json:
        with open(options.json, "w") as out:
            json.dump([dataclasses.asdict(r) | {"ratio": r.ratio} for r in records], out)


if __name__ == "__main__":
    main()
