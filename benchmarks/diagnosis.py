"""What: is the mistake named, and named rightly? Planted mistakes of known kinds, and random ones that have no name.

    python benchmarks/diagnosis.py [--seeds 42]

Every kind is planted in smooth functions of two leaves whose claims are otherwise right. A name is wrong if it differs
from the planted kind; no name is no error. The controls are random corruptions: any name there is wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

import gradproof

Gradient = dict[str, np.ndarray]
Plant = Callable[[Gradient, Gradient, np.random.Generator], np.ndarray]

# kind -> (the words that name it, the wrong gradient of leaf "a" made from the right ones and the point)
KINDS: dict[str, tuple[str, Plant]] = {
    "times 2": ("claimed 2 times", lambda g, x, r: 2 * g["a"]),
    "half": ("claimed 1/2 of", lambda g, x, r: g["a"] / 2),
    "sign": ("claimed -1 times", lambda g, x, r: -g["a"]),
    "times 4": ("claimed 4 times", lambda g, x, r: 4 * g["a"]),
    "a third": ("claimed 1/3 of", lambda g, x, r: g["a"] / 3),
    "sum in place of mean": ("claimed 16 times", lambda g, x, r: 16 * g["a"]),
    "mean in place of sum": ("claimed 1/16 of", lambda g, x, r: g["a"] / 16),
    "minus 2": ("claimed -2 times", lambda g, x, r: -2 * g["a"]),
    "times 1.01": ("claimed 1.01 times", lambda g, x, r: 1.01 * g["a"]),
    "zero": ("claimed zero", lambda g, x, r: 0 * g["a"]),
    "transposed": ("transposed", lambda g, x, r: g["a"].T.copy()),
    "flipped, axis 0": ("flipped along axis 0", lambda g, x, r: g["a"][::-1].copy()),
    "flipped, axis 1": ("flipped along axis 1", lambda g, x, r: g["a"][:, ::-1].copy()),
    "rolled, axis 0": ("rolled by 1 along axis 0", lambda g, x, r: np.roll(g["a"], 1, 0)),
    "rolled, axis 1": ("rolled by -1 along axis 1", lambda g, x, r: np.roll(g["a"], -1, 1)),
    "weight decay": ("* x (weight decay)", lambda g, x, r: g["a"] - 0.03 * x["a"]),
    "L1 penalty": ("* sign(x) (L1 penalty)", lambda g, x, r: g["a"] - 0.1 * np.sign(x["a"])),
    "constant": ("lacks the constant", lambda g, x, r: g["a"] - 0.25),
    "lacks a factor x": ("lacks a factor x", lambda g, x, r: g["a"] / x["a"]),
    "a factor x too many": ("has a factor x too many", lambda g, x, r: g["a"] * x["a"]),
    "a copy of another leaf's": ("is a copy of the gradient of p['b']", lambda g, x, r: g["b"].copy()),
    "branch term": ("times the gradient of p['b']", lambda g, x, r: g["a"] - g["b"]),
    "regularised in the gradient only": ("extra term 0.03 * x (weight decay)", lambda g, x, r: g["a"] + 0.03 * x["a"]),
    "1 minus": ("is 1 minus the true gradient", lambda g, x, r: 1 - g["a"]),
    "by exp(x)": ("with respect to exp(x)", lambda g, x, r: g["a"] / np.exp(x["a"])),
    "zeros all over": ("claimed zero in", lambda g, x, r: g["a"] * (r.random(g["a"].shape) < 0.6)),
    "all rows but one zero": ("claimed zero in 132 of 144", lambda g, x, r: g["a"] * np.eye(12)[3][:, None]),
    "zero up to rounding": (
        "claimed zero up to rounding",
        lambda g, x, r: (0.1 * g["a"] + 0.2 * g["a"]) - 0.3 * g["a"],
    ),
    "another branch below 0": ("wrong where x <= 0", lambda g, x, r: np.where(x["a"] <= 0, 1.3, 1.0) * g["a"]),
    "another branch above 0": ("wrong where x >= 0", lambda g, x, r: np.where(x["a"] > 0, g["a"] - 0.2, g["a"])),
    "transposed and times 2": ("transposed, and 2 times", lambda g, x, r: 2 * g["a"].T),
    "flipped and -1": ("flipped along axis 0, and -1 times", lambda g, x, r: -g["a"][::-1]),
    "one entry's sign": ("claimed -1 times", lambda g, x, r: one_entry(g["a"], -1.0, r)),
    "one entry zero": ("claimed zero", lambda g, x, r: one_entry(g["a"], 0.0, r)),
    "a row times 2": ("claimed 2 times", lambda g, x, r: one_row(g["a"], 2.0, r)),
    "rows from one on halved": ("claimed 1/2 of", lambda g, x, r: tail(g["a"], 0.5, r)),
}


def one_entry(gradient: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    claim = gradient.copy()
    large = np.argsort(np.abs(claim), axis=None)[claim.size // 2 :]
    claim.flat[rng.choice(large)] *= factor
    return claim


def one_row(gradient: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    claim = gradient.copy()
    claim[rng.integers(len(claim))] *= factor
    return claim


def tail(gradient: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    claim = gradient.copy()
    claim[rng.integers(2, len(claim) - 2) :] *= factor
    return claim


CONTROLS: dict[str, Plant] = {
    "random gradient": lambda g, x, r: r.normal(size=g["a"].shape),
    "1 % noise": lambda g, x, r: g["a"] * (1 + 0.01 * r.normal(size=g["a"].shape)),
    "three random entries": lambda g, x, r: few(g["a"], 3, r),
    "a random row": lambda g, x, r: one_row_random(g["a"], r),
    "0.7 of another array too little": lambda g, x, r: g["a"] - 0.7 * g["b"],
    "shuffled": lambda g, x, r: r.permutation(g["a"].ravel()).reshape(g["a"].shape),
}


def few(gradient: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    claim = gradient.copy()
    for index in rng.choice(claim.size, count, replace=False):
        claim.flat[index] *= rng.uniform(1.1, 1.9)
    return claim


def one_row_random(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    claim = gradient.copy()
    claim[rng.integers(len(claim))] = rng.normal(size=claim.shape[1])
    return claim


def scene(rng: np.random.Generator) -> tuple[Callable[[dict], float], Gradient, Gradient]:
    """A smooth function of two 12 x 12 leaves, its point and its gradient."""
    point = {name: rng.normal(size=(12, 12)) + 0.1 for name in "ab"}
    first, second, mix = (rng.normal(size=(12, 12)) for _ in range(3))

    def f(p: dict) -> float:
        return float(
            np.sum(first * np.sin(p["a"])) + np.sum(second * np.tanh(p["b"])) + np.sum((mix @ p["a"]) ** 2) / 40
        )

    gradient = {
        "a": first * np.cos(point["a"]) + mix.T @ (mix @ point["a"]) / 20,
        "b": second / np.cosh(point["b"]) ** 2,
    }
    return f, point, gradient


def names(report: gradproof.Report) -> list[str]:
    """The causes that a report names."""
    plain = ("the gradient is wrong", "this entry is wrong", "these entries are wrong")
    return [finding.kind for finding in report.findings if finding.severity == "error" and finding.kind not in plain]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=42)
    options = parser.parse_args()
    total = named = wrong = 0
    print(f"{'kind':28}{'named':>8}{'wrongly':>9}{'evaluations':>13}")
    for kind, (words, plant) in KINDS.items():
        right = false = 0
        evaluations = []
        for seed in range(options.seeds):
            rng = np.random.default_rng(1000 * seed + 7)
            f, point, gradient = scene(rng)
            report = gradproof.check(f, point, grad={**gradient, "a": plant(gradient, point, rng)}, rng=seed)
            found = names(report)
            right += any(words in name for name in found)
            false += any(words not in name for name in found)
            evaluations.append(report.cost.evaluations)
        print(f"{kind:28}{right:8}{false:9}{int(np.median(evaluations)):13}")
        total, named, wrong = total + options.seeds, named + right, wrong + false
    print(f"{'all ' + str(total):28}{named:8}{wrong:9}   named: {100 * named / total:.1f} %")
    controls = invented = 0
    for kind, plant in CONTROLS.items():
        for seed in range(options.seeds):
            rng = np.random.default_rng(1000 * seed + 8)
            f, point, gradient = scene(rng)
            report = gradproof.check(f, point, grad={**gradient, "a": plant(gradient, point, rng)}, rng=seed)
            controls += 1
            if names(report):
                invented += 1
                print(f"  {kind}, seed {seed}: {names(report)}")
    print(f"controls: {controls}, names invented: {invented}")


if __name__ == "__main__":
    main()
