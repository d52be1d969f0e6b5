"""Are the verdicts right? Check correct gradients and gradients with planted mistakes of known size.

    PYTHONPATH=src python benchmarks/verdicts.py --seeds 3 --half both

Every claim goes through `gradproof.check`. A mistake's size is known per leaf: norm of (claim - true) times natural
size, relative to that of the true gradient.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools as it
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from families import group, quantile, safe_norm
from functions import FUNCTIONS, Leaves, Model
from mistakes import MISTAKES, Scene

from gradproof._ask import _check
from gradproof._prove import _prove
from gradproof._prove._directions import natural_size

SIZES = (1, 2, 3, 10, 60, 400, 3000, 20_000, 100_000)


class FirstWrong:
    """Reads the evaluation count at the moment a claim is first called wrong, before location."""

    def __init__(self) -> None:
        self.count: Callable[[], int] = lambda: 0
        self.at = -1
        original = _prove.accuse

        def noting(*args: Any) -> Any:
            if self.at < 0:
                self.at = self.count()
            return original(*args)

        _prove.accuse = noting


FIRST_WRONG = FirstWrong()


@dataclasses.dataclass(frozen=True)
class Leaf:
    """error: relative to the true leaf; bound: as stated, nan where none is; note: what the report says of the leaf."""

    path: str
    verdict: str
    error: float
    bound: float
    note: str = ""

    @property
    def flat(self) -> bool:
        """CORRECT with an error that f cannot show: noted as flat, all of its effect below f's rounding, no bound."""
        return self.verdict == "CORRECT" and self.error > 0 and math.isnan(self.bound) and self.note.startswith("flat")

    @property
    def missed(self) -> bool:
        """CORRECT although its error is above the stated bound (or there is an error and no bound at all)."""
        if self.verdict != "CORRECT" or self.error == 0 or self.flat:
            return False
        # The bound is relative to the claim, the error to the true gradient: they differ by a factor of 1 + error.
        return not self.error <= self.bound * (1 + min(self.error, 0.05))


@dataclasses.dataclass(frozen=True)
class Record:
    function: str
    seed: int
    size: int
    entries: int
    kind: str  # "correct" or the mistake
    key: str
    kinks: bool
    verdict: str
    reason: str
    leaves: tuple[Leaf, ...]
    evaluations: int
    until_wrong: int
    seconds: float
    crash: str = ""

    @property
    def error(self) -> float:
        return max((leaf.error for leaf in self.leaves), default=0.0)

    @property
    def falsely_accused(self) -> tuple[str, ...]:
        """Leaves that are right but called WRONG."""
        return tuple(leaf.path for leaf in self.leaves if leaf.verdict == "WRONG" and leaf.error == 0)

    @property
    def missed(self) -> tuple[Leaf, ...]:
        return tuple(leaf for leaf in self.leaves if leaf.missed)


def relative_error(claim: np.ndarray, true: np.ndarray, x: np.ndarray) -> float:
    if np.array_equal(claim, true):
        return 0.0
    weight = natural_size(np.ravel(x))
    error, norm = safe_norm(np.ravel(claim - true) * weight), safe_norm(np.ravel(true) * weight)
    return error / norm if norm > 0 else math.inf


def run_claim(
    name: str, seed: int, size: int, model: Model, true: Leaves, claim: Leaves, kind: str, key: str
) -> Record:
    """Check one claim."""
    calls = 0
    alone = list(model.point) == ["x"]

    def f(p: Any) -> float:
        nonlocal calls
        calls += 1
        return model.f({"x": p} if alone else p)

    FIRST_WRONG.count, FIRST_WRONG.at = lambda: calls, -1
    started = time.perf_counter()
    common: dict[str, Any] = {
        "function": name,
        "seed": seed,
        "size": size,
        "entries": sum(x.size for x in model.point.values()),
        "kind": kind,
        "key": key,
        "kinks": model.kinks,
    }
    try:
        if alone:
            report = _check.check(f, (model.point["x"],), grad=claim["x"], rng=seed)
        else:
            report = _check.check(f, (model.point,), grad=claim, rng=seed)
    except Exception as error:  # a benchmark goes on
        return Record(
            **common, verdict="CRASH", reason="", leaves=(), evaluations=calls, until_wrong=-1, seconds=0.0,
            crash=f"{type(error).__name__}: {error}",
        )  # fmt: skip
    found = {leaf.path: leaf for leaf in report.leaves}
    leaves = []
    for leaf_key in model.point:
        one = next(leaf for path, leaf in found.items() if alone or path.endswith(f"[{leaf_key!r}]"))
        error = relative_error(claim[leaf_key], true[leaf_key], model.point[leaf_key])
        bound = math.nan if one.bound is None else one.bound
        leaves.append(Leaf(leaf_key, one.verdict.value, error, bound, one.note))
    return Record(
        **common,
        verdict=report.verdict.value,
        reason="" if report.reason is None else str(report.reason.value),
        leaves=tuple(leaves),
        evaluations=report.cost.evaluations,
        until_wrong=FIRST_WRONG.at,
        seconds=time.perf_counter() - started,
    )


def run_function(name: str, seed: int, size: int, kinds: list[str]) -> Iterator[Record]:
    """The correct claim and one of every kind of mistake, in a leaf chosen at random."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), size])
    model = FUNCTIONS[name].build(rng, size)
    true = {k: np.asarray(g, dtype=float) for k, g in model.gradient(model.point).items()}
    touched = [k for k, g in true.items() if g.any()]
    if not touched:
        return  # all units dead: a point where nothing can be tested
    if "correct" in kinds:
        yield run_claim(name, seed, size, model, true, true, "correct", "")
    for kind in MISTAKES:
        key = touched[int(rng.integers(len(touched)))]
        child = np.random.default_rng([seed, zlib.crc32(name.encode()), size, zlib.crc32(kind.encode())])
        if kind not in kinds:
            continue
        planted = MISTAKES[kind](Scene(child, model, model.point, true, key))
        if planted is None:
            continue
        changes = planted if isinstance(planted, dict) else {key: planted}
        claim = {k: np.asarray(changes.get(k, g), dtype=float).reshape(g.shape) for k, g in true.items()}
        if all(np.array_equal(claim[k], true[k]) for k in true):
            continue
        yield run_claim(name, seed, size, model, true, claim, kind, key)


def median_p90_worst(numbers: list[float]) -> str:
    if not numbers:
        return "-"
    return f"{quantile(numbers, 0.5):.0f} / {quantile(numbers, 0.9):.0f} / {max(numbers):.0f} ({len(numbers)})"


def report_on(records: list[Record], details: bool) -> None:
    correct = [r for r in records if r.kind == "correct"]
    wrong = [r for r in records if r.kind != "correct"]
    accused = [r for r in correct if r.verdict == "WRONG"]
    collateral = [r for r in wrong if r.falsely_accused]
    missed = [r for r in records if r.missed]
    undecided = [r for r in correct if r.verdict not in ("CORRECT", "WRONG")]
    kinds, functions = len({r.kind for r in wrong}), len({r.function for r in records})
    print(
        f"claims: {len(records)} ({len(correct)} correct, {len(wrong)} wrong of {kinds} kinds, {functions} functions)"
    )
    print(f"correct claims called WRONG:            {len(accused)}")
    print(f"right leaves called WRONG beside one:   {len(collateral)}")
    print(f"CORRECT with an error above its bound:  {len(missed)}")
    print(f"flat, no bound stated, with an error:   {sum(leaf.flat for r in records for leaf in r.leaves)}")
    print(f"correct claims undecided:               {len(undecided)} ({len(undecided) / max(len(correct), 1):.2%})")
    print(f"crashes:                                {sum(r.verdict == 'CRASH' for r in records)}")
    print("\nevaluations: median / p90 / worst (claims)")
    for label, kinks in (("smooth", False), ("kinks", True)):
        some = [r for r in records if r.kinks == kinks]
        certified = [r.evaluations for r in some if r.kind == "correct" and r.verdict == "CORRECT"]
        print(f"  {label}, correct and CORRECT      {median_p90_worst(certified)}")
        for words, low, high in (("above 1e-2", 1e-2, math.inf), ("below 1e-2", 0.0, 1e-2)):
            caught = [r for r in some if r.verdict == "WRONG" and low < r.error <= high and r.until_wrong > 0]
            print(f"  {label}, WRONG, error {words}   {median_p90_worst([r.until_wrong for r in caught])}"
                  f"   with location and cause {median_p90_worst([r.evaluations for r in caught])}")  # fmt: skip
    called = [r for r in records if r.verdict == "WRONG"]
    dear = sorted((r for r in called if r.evaluations > max(300, r.entries + 100)), key=lambda r: -r.evaluations)
    worst = f", the worst: {dear[0].function} {dear[0].kind}, {dear[0].evaluations}" if dear else ""
    print(f"WRONG after more than max(300, n + 100): {len(dear)} of {len(called)}{worst}")
    print("\nwrong claims by the size of their error: WRONG / CORRECT within the bound / other")
    edges = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, math.inf)
    for low, high in it.pairwise(edges):
        some = [r for r in wrong if low < r.error <= high]
        called = [sum(r.verdict == v for r in some) for v in ("WRONG", "CORRECT")]
        print(f"  {low:g} .. {high:g}: {called[0]} / {called[1]} / {len(some) - sum(called)}")
    print("\nkind: WRONG of all; of those with an error above 1e-4")
    for kind in MISTAKES:
        some = [r for r in wrong if r.kind == kind]
        large = [r for r in some if r.error > 1e-4]
        if some:
            print(f"  {kind:32} {sum(r.verdict == 'WRONG' for r in some):5} / {len(some):<5}"
                  f"{sum(r.verdict == 'WRONG' for r in large):6} / {len(large)}")  # fmt: skip
    if not details:
        return
    smooth_correct = sorted((r for r in correct if not r.kinks), key=lambda r: -r.evaluations)
    smooth_wrong = sorted((r for r in wrong if not r.kinks), key=lambda r: -r.until_wrong)
    for title, some in (
        ("correct, called WRONG", accused), ("right leaf called WRONG", collateral), ("missed", missed),
        ("correct, undecided", undecided), ("crashed", [r for r in records if r.verdict == "CRASH"]),
        ("large error, not WRONG", [r for r in wrong if r.error > 1e-3 and r.verdict != "WRONG" and not r.missed]),
        ("most evaluations, correct and smooth", smooth_correct[:8]),
        ("most evaluations until WRONG, smooth", smooth_wrong[:8]),
    ):  # fmt: skip
        print(f"\n{title}: {len(some)}")
        for r in some[:40]:
            shown = ", ".join(f"{x.path} {x.verdict} error {x.error:.1e} bound {x.bound:.1e}" for x in r.leaves[:6])
            print(f"  {r.function} seed {r.seed} size {r.size} n {r.entries} [{r.kind} {r.key}] {r.verdict} {r.reason} "
                  f"evals {r.evaluations} ({r.until_wrong}): {shown} {r.crash}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds; each takes three sizes")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--max-size", type=int, default=100_000)
    parser.add_argument("--half", choices=("tuned", "held-out", "both"), default="tuned")
    parser.add_argument("--only", nargs="*", default=[], help="only these functions")
    parser.add_argument("--kinds", nargs="*", default=["correct", *MISTAKES], help="only these kinds of claims")
    parser.add_argument("--totals", action="store_true", help="no single claims")
    parser.add_argument("--json", help="write all records to this file")
    options = parser.parse_args()
    started = time.perf_counter()
    sizes = [size for size in SIZES if size <= options.max_size]
    records: list[Record] = []
    for name in options.only or FUNCTIONS:
        made, seed = 0, options.seed
        while made < options.seeds:
            kind = group(name, seed)
            if options.half == "tuned" and kind == "fresh name":
                break
            if options.half == "both" or (kind == "tuned") == (options.half == "tuned"):
                start = zlib.crc32(name.encode()) + 3 * made
                for size in sorted({sizes[(start + 2 * i) % len(sizes)] for i in range(3)}):
                    records.extend(run_function(name, seed, size, options.kinds))
                made += 1
            seed += 1
    for kind in ("tuned", "fresh seed", "fresh name"):
        some = [r for r in records if group(r.function, r.seed) == kind]
        if some:
            print(f"\n===== {kind}")
            report_on(some, details=not options.totals)
    print(f"\n{time.perf_counter() - started:.0f} s")
    if options.json:
        with open(options.json, "w") as out:
            json.dump([dataclasses.asdict(r) for r in records], out, default=str)


if __name__ == "__main__":
    main()
