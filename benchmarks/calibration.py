"""Do the certificates hold as often as they say? Check claims with planted errors at a confidence of 0.99.

    PYTHONPATH=src python benchmarks/calibration.py --trials 1000

f is linear, so the error of the claim is known to all digits, and rtol and max_bound are so large that nothing is
accused or held back: every leaf gets its bound. A bound is violated if it is smaller than the error. All goes through
`gradproof.check`; only entries of few parameters are measured one by one, where no chance is involved.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from gradproof import check

CONFIDENCE = 0.99
SIZES = (1, 2, 3, 10, 1000)
SHAPES = ("dense", "single entry", "two opposite")


def planted(shape: str, n: int, rng: np.random.Generator) -> np.ndarray:
    error = rng.standard_normal(n)
    if shape == "single entry":
        error[np.arange(n) != rng.integers(n)] = 0
    elif shape == "two opposite":
        first, second = rng.choice(n, 2, replace=False)
        size = error[first]
        error[:] = 0
        error[first], error[second] = size, -size
    return 1e-3 * error / np.linalg.norm(error)


def ratios(shape: str, n: int, leaves: int, seed: int) -> list[float]:
    """Error over bound of every leaf that has an error."""
    rng = np.random.default_rng([seed, n, leaves, SHAPES.index(shape)])
    point = [rng.standard_normal(n) for _ in range(leaves)]
    true = [rng.standard_normal(n) for _ in range(leaves)]
    claim = [g.copy() for g in true]
    wrong = int(rng.integers(leaves))
    claim[wrong] = true[wrong] + np.linalg.norm(true[wrong]) * planted(shape, n, rng)

    def f(x: list[np.ndarray]) -> float:
        return float(sum(float(g @ part) for g, part in zip(true, x, strict=True)))

    report = check(f, (point,), grad=claim, rng=seed, confidence=CONFIDENCE, rtol=0.5, max_bound=1e6)
    error = float(np.linalg.norm(claim[wrong] - true[wrong]) / np.linalg.norm(claim[wrong]))
    bound = report.leaves[wrong].bound
    return [] if bound is None else [error / bound]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="checks of every size, shape and number of leaves")
    options = parser.parse_args()
    started = time.perf_counter()
    allowed = 1 - CONFIDENCE
    print(f"{'n':>5}  {'error':14}{'leaves':>7}{'bounds':>8}{'violated':>10}{'median error / bound':>22}")
    total = violated = 0
    for n in SIZES:
        for shape in SHAPES:
            if shape == "two opposite" and n == 1:
                continue
            for leaves in (1, 3):
                found = [r for seed in range(options.trials) for r in ratios(shape, n, leaves, seed)]
                over = sum(ratio > 1 for ratio in found)
                total, violated = total + len(found), violated + over
                print(f"{n:5}  {shape:14}{leaves:7}{len(found):8}{over:10}{np.median(found):22.2g}")
    limit = allowed + 4 * math.sqrt(allowed * (1 - allowed) / max(total, 1))
    print(f"violated: {violated} of {total} bounds, {violated / max(total, 1):.3%}; stated: {allowed:.0%} at most "
          f"(with sampling error {limit:.2%})")  # fmt: skip
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
