"""The 35 problems of Moré, Garbow and Hillstrom: are derivatives by hand right, and are mistakes found?

    PYTHONPATH=src python benchmarks/mgh.py

Each problem goes through `gradproof.scipy.check_least_squares` with its Jacobian, and through
`gradproof.scipy.check_minimize` as a sum of squares with the gradient 2 J^T r, at the standard start and at two points
beside it. Then five mistakes are planted in each, at every point.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import time
from collections.abc import Iterator

import numpy as np
from mgh_problems import PROBLEMS, Array

from gradproof import Report, Verdict
from gradproof.scipy import check_least_squares, check_minimize

# Mistakes are planted in entries of at least this share of the largest of their row (of a gradient: of all), in
# natural sizes: what is far smaller changes nothing that differences could show.
CLEAR = 1e-3


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A wrong derivative, and the entries that are wrong."""

    name: str
    wrong: Array
    entries: tuple[tuple[int, ...], ...]

    def is_named(self, report: Report, path: str) -> bool:
        """Whether the report names the wrong entry and no other, the row where all of the row is claimed zero."""
        places = [one.path for one in report.findings if one.severity == "error"]
        if len(self.entries) == self.wrong.size:
            return bool(places)
        (entry,) = self.entries
        known = {f"{path}[{', '.join(map(str, entry))}]"}
        if not self.wrong[entry[:-1]].any():
            known.add(f"{path}[{entry[0]}]" if len(entry) > 1 else path)
        return bool(places) and known.issuperset(places)


def mistakes(right: Array, size: Array, rng: np.random.Generator) -> Iterator[Mistake]:
    """Five: a sign, a factor, a missing term, a missing entry and a factor of everything."""
    weight = np.abs(right) * size
    clear = np.argwhere(weight > CLEAR * weight.max(axis=-1, keepdims=True))
    chosen = [tuple(int(i) for i in clear[k]) for k in rng.permutation(len(clear))]
    at = [chosen[k % len(chosen)] for k in range(4)]
    for name, entry, change in (
        ("sign", at[0], lambda value: -value),
        ("doubled", at[1], lambda value: 2 * value),
        ("a tenth off", at[2], lambda value: 1.1 * value),
        ("missing", at[3], lambda value: 0 * value),
    ):
        wrong = np.array(right, dtype=float)
        wrong[entry] = change(wrong[entry])
        yield Mistake(name, wrong, (entry,))
    yield Mistake("all halved", right / 2, tuple(np.ndindex(*right.shape)))


# --------------------------------------------------------------------------------------------------------- tables


@dataclasses.dataclass
class Row:
    """What one problem came to at all of its points."""

    verdicts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    evaluations: list[int] = dataclasses.field(default_factory=list)
    bounds: list[float] = dataclasses.field(default_factory=list)
    planted: int = 0
    found: int = 0
    named: int = 0
    missed: list[str] = dataclasses.field(default_factory=list)


def examine(number: int, what: str, seed: int) -> Row:
    """Check one problem: `what` is "jac" or "grad"."""
    problem, row = PROBLEMS[number], Row()
    for k, x in enumerate(problem.points()):
        if what == "jac":
            right, path = problem.jacobian(x), "jac"
            check = lambda claim, x=x: check_least_squares(problem.residuals, x, lambda _: claim.copy(), rng=seed)  # noqa: E731
        else:
            right, path = problem.gradient(x), "x"
            check = lambda claim, x=x: check_minimize(problem.value, x, jac=lambda _: claim.copy(), rng=seed)  # noqa: E731
        report = check(right)
        row.verdicts[str(report.verdict)] += 1
        row.evaluations.append(report.cost.evaluations)
        row.bounds += [leaf.bound for leaf in report.leaves if leaf.bound is not None]
        size = np.where(x == 0, 1.0, np.abs(x))
        for mistake in mistakes(right, size, np.random.default_rng((seed, number, k))):
            report = check(mistake.wrong)
            row.planted += 1
            row.found += report.verdict is Verdict.WRONG
            named = mistake.is_named(report, path)
            row.named += named
            if report.verdict is not Verdict.WRONG or not named:
                row.missed.append(f"point {k}, {mistake.name} {mistake.entries[0]}: {report.verdict}, "
                                  f"{[(one.path, one.kind) for one in report.findings][:3]}")  # fmt: skip
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of problems")
    parser.add_argument("--what", choices=["jac", "grad"], nargs="*", default=["jac", "grad"])
    parser.add_argument("--details", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    for what in options.what:
        print(f"{what:41} m   n  correct  evaluations  worst bound  WRONG  named")
        total = Row()
        for number in options.only or PROBLEMS:
            problem, row = PROBLEMS[number], examine(number, what, options.seed)
            m = problem.residuals(problem.start).size if what == "jac" else 1
            worst = f"{max(row.bounds):.0e}" if row.bounds else "-"
            print(f"{number:2} {problem.name:36} {m:3} {problem.start.size:3}  {row.verdicts['CORRECT']:2} of "
                  f"{sum(row.verdicts.values())}  {min(row.evaluations):4} {max(row.evaluations):5}  {worst:>12}  "
                  f"{row.found:2}/{row.planted}  {row.named:2}/{row.planted}")  # fmt: skip
            for line in row.missed if options.details else ():
                print("    ", line)
            total.verdicts += row.verdicts
            total.planted, total.found, total.named = (
                total.planted + row.planted,
                total.found + row.found,
                total.named + row.named,
            )
        print(f"{what}: {dict(total.verdicts)}, mistakes called WRONG {total.found} of {total.planted}, "
              f"place named {total.named} of {total.planted}")  # fmt: skip
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
