"""Where: is the place exact, and what does it cost after the verdict? One leaf of 1,000 x 1,000 entries, float64.

    python benchmarks/location.py [--side 1000] [--seeds 20]

Counts evaluations after the claim was called wrong, and how many reports of all name exactly the planted place.
(One entry of a million of median size that is off by 1e-3 of itself is an error of 7e-7 of the norm: what f shows of
itself at coarse steps decides whether that is called wrong.)
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

import gradproof
from gradproof._prove import _prove


class AfterVerdict:
    """Counts evaluations, and notes the count at the moment of the verdict."""

    def __init__(self) -> None:
        self.evaluations = self.at_verdict = 0
        original = _prove.accuse

        def noting(*args: Any) -> Any:
            self.at_verdict = self.at_verdict or self.evaluations
            return original(*args)

        _prove.accuse = noting

    def counted(self, f: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
        self.evaluations = self.at_verdict = 0

        def f_counted(x: np.ndarray) -> float:
            self.evaluations += 1
            return f(x)

        return f_counted


def entry_of_median_size(gradient: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    order = np.argsort(np.abs(gradient), axis=None)
    middle = order[gradient.size * 45 // 100 : gradient.size * 55 // 100]
    return tuple(int(i) for i in np.unravel_index(rng.choice(middle), gradient.shape))


def plant(kind: str, gradient: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, set[str]]:
    """The wrong claim, and the paths that must be named."""
    claim = gradient.copy()
    if kind in ("sign", "times 1.001"):
        i = entry_of_median_size(gradient, rng)
        claim[i] *= -1 if kind == "sign" else 1.001
        return claim, {f"x[{i[0]}, {i[1]}]"}
    if kind == "five signs":
        entries = {entry_of_median_size(gradient, rng) for _ in range(5)}
        for i in entries:
            claim[i] *= -1
        return claim, {f"x[{i[0]}, {i[1]}]" for i in entries}
    if kind == "row":
        row = int(rng.integers(gradient.shape[0]))
        claim[row] = rng.normal(size=gradient.shape[1])
        return claim, {f"x[{row}]"}
    if kind == "column times 2":
        column = int(rng.integers(gradient.shape[1]))
        claim[:, column] *= 2
        return claim, {f"x[:, {column}]"}
    if kind == "tail":
        row = int(rng.integers(gradient.shape[0] // 2, gradient.shape[0] - 1))
        claim[row:] = 0
        return claim, {f"x[{row}:]"}
    return rng.normal(size=gradient.shape), {"x"}  # everywhere


KINDS = ("sign", "times 1.001", "five signs", "row", "column times 2", "tail", "everywhere")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    options = parser.parse_args()
    counter = AfterVerdict()
    print(f"{options.side} x {options.side} entries")
    print(f"{'':18}{'exact':>9}{'to the verdict':>17}{'after it: median':>19}{'worst':>7}")
    for kind in options.kinds:
        exact, before, after = 0, [], []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            point = rng.normal(size=(options.side, options.side))
            weights = rng.normal(size=point.shape)
            claim, paths = plant(kind, np.cos(point) * weights, rng)
            f = counter.counted(lambda x, weights=weights: float(np.vdot(np.sin(x), weights)))
            report = gradproof.check(f, point, grad=claim, rng=seed)
            if report.verdict is not gradproof.Verdict.WRONG:
                continue
            exact += {finding.path for finding in report.findings} == paths
            before.append(counter.at_verdict)
            after.append(counter.evaluations - counter.at_verdict)
        found = f"{exact}/{options.seeds}"
        to, median, most = (np.median(before), np.median(after), max(after)) if after else (np.nan,) * 3
        print(f"{kind:18}{found:>9}{to:17.0f}{median:19.0f}{most:7.0f}", flush=True)


if __name__ == "__main__":
    main()
