"""Is a correct gradient ever called wrong, whatever f is like? The families of `families.py` through the front door.

    PYTHONPATH=src python benchmarks/restraint.py --seeds 25

Noise, quantised values, float32 arithmetic, solvers, kinks and edges may make a report INCONCLUSIVE, never WRONG; the
same claims off by 1 % should be WRONG where the bar allows it, and never CORRECT with a bound below 1 %.
"""

from __future__ import annotations

import argparse
import collections
import time
import zlib
from typing import Any

import numpy as np
from families import FAMILIES, STORED, Line, group, quantile

from gradproof._ask import _check


def check_line(line: Line, factor: float, seed: int) -> Any:
    """A report on the true gradient, times a factor."""
    kind = STORED[line.dtype]

    def f(x: np.ndarray) -> Any:
        with np.errstate(all="ignore"):
            value = line.f(x.astype(np.float64))
        return value if line.dtype == "float64" else kind(value)

    return _check.check(f, (line.x.astype(kind),), grad=(factor * line.gradient).astype(kind), rng=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--half", choices=("tuned", "held-out", "both"), default="tuned")
    parser.add_argument("--only", nargs="*", default=[], help="only these families")
    parser.add_argument("--totals", action="store_true", help="no rows of families, no single claims")
    options = parser.parse_args()
    started = time.perf_counter()
    totals: dict[tuple[str, str, float], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    accusations, missed = [], []
    for name, family in FAMILIES.items():
        for dtype in ("float64", "float32"):
            if dtype not in family.dtypes or (options.only and name not in options.only):
                continue
            rows: dict[float, collections.Counter[str]] = {1.0: collections.Counter(), 1.01: collections.Counter()}
            evaluations: list[float] = []
            made, seed = 0, options.seed
            while made < options.seeds:
                half = group(name, seed)
                if options.half == "tuned" and half == "fresh name":
                    break
                if options.half == "both" or (half == "tuned") == (options.half == "tuned"):
                    made += 1
                    for factor, row in rows.items():
                        line = family.make(np.random.default_rng([seed, zlib.crc32(name.encode())]), dtype)
                        report = check_line(line, factor, seed)
                        verdict = report.verdict.value
                        row[verdict] += 1
                        totals[half, dtype, factor][verdict] += 1
                        bound = report.leaves[0].bound
                        if factor == 1.0:
                            evaluations.append(report.cost.evaluations)
                            if verdict == "WRONG":
                                accusations.append((name, dtype, seed, report.findings[0]))
                        elif verdict == "CORRECT" and (bound is None or bound < 0.0099):
                            missed.append((name, dtype, seed, bound))
                seed += 1
            if made and not options.totals:
                shown = f"{quantile(evaluations, 0.5):.0f} / {max(evaluations):.0f}"
                verdicts = f"correct {dict(rows[1.0])}  1 % off {dict(rows[1.01])}"
                print(f"{name + ' ' + dtype:42} evaluations {shown:>10}  {verdicts}")
    for key in sorted(totals):
        print(f"{key[0]}, {key[1]}, claim times {key[2]}: {dict(totals[key])}")
    print(f"correct claims called WRONG: {len(accusations)}; 1 % off but CORRECT with a smaller bound: {len(missed)}")
    if not options.totals:
        for name, dtype, seed, finding in accusations:
            print(f"  {name} {dtype} seed {seed}: claimed {finding.claimed}, reference {finding.reference} "
                  f"+- {finding.error_bar} ({finding.id})")  # fmt: skip
        for one in missed:
            print("  missed", *one)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
