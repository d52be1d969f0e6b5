"""Are small errors found, and is what only looks like one left alone? Sensitivity and restraint, measured together.

    PYTHONPATH=src python benchmarks/sensitivity.py --seeds 40 --half both

Errors in smooth float64 gradients: all entries off by 1e-5; one entry of 1,000 off by 1e-3 of itself (in the network
one of the larger half: some of its entries are nothing beside the others); one of the larger half off by 1e-4; entries
with claims of 1e-7 of the largest that have the wrong sign.
Look-alikes, whose claims are right: noise of 1e-8, float32 arithmetic behind a float64 interface, an offset of 1e6.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable

import numpy as np
from families import quantile

from gradproof import Verdict, check

Array = np.ndarray
Made = tuple[Callable[[Array], float], Array, Array]  # f, the point, the claim
N = 1000


def sines(rng: np.random.Generator, scale: Array) -> Made:
    """A sum of sines with random phases; the gradient's entries are of the size of `scale`."""
    x, phase = rng.standard_normal(scale.size), rng.uniform(0, 2 * np.pi, scale.size)
    return lambda x: float(scale @ np.sin(x + phase)), x, scale * np.cos(x + phase)


def network(rng: np.random.Generator, size: int = N) -> Made:
    """A tanh layer on 16 samples under a squared error; x: its weights."""
    hidden = size // 20
    data, labels, out = rng.standard_normal((16, 20)), rng.standard_normal(16), rng.standard_normal(hidden)
    out /= np.sqrt(hidden)

    def f(x: Array) -> float:
        return float(((np.tanh(data @ x.reshape(20, hidden)) @ out - labels) ** 2).mean())

    x = rng.standard_normal(20 * hidden) / 4
    a = np.tanh(data @ x.reshape(20, hidden))
    return f, x, (data.T @ ((2 * (a @ out - labels) / 16)[:, None] * out * (1 - a * a))).ravel()


def off(made: Made, pick: Callable[[Array], Array], factor: float) -> Made:
    """The entries that `pick` names, times a factor."""
    f, x, g = made
    claim = g.copy()
    claim[pick(g)] *= factor
    return f, x, claim


def everywhere(g: Array) -> Array:
    return np.arange(g.size)


def random_size(rng: np.random.Generator) -> Array:
    return np.ones(int(rng.choice([1, 2, 3, 10, 100, 1000, 30_000])))


def tiny(rng: np.random.Generator) -> Made:
    scale, x, phase = np.ones(N), rng.standard_normal(N), rng.uniform(0, 2 * np.pi, N)
    small = rng.choice(N, int(rng.choice([1, 10, 500])), replace=False)
    scale[small] = 1e-7 / np.abs(np.cos(x + phase)[small])
    return off((lambda x: float(scale @ np.sin(x + phase)), x, scale * np.cos(x + phase)), lambda g: small, -1.0)


def one(rng: np.random.Generator, larger_half: bool = False) -> Callable[[Array], Array]:
    def pick(g: Array) -> Array:
        size = np.abs(g)
        return rng.choice(np.flatnonzero(size >= (np.median(size) if larger_half else 0)), 1)

    return pick


def noisy(rng: np.random.Generator) -> Made:
    f, x, g = sines(rng, random_size(rng))
    salt = rng.bytes(8)

    def hashed(x: Array) -> float:
        word = hashlib.blake2b(x.tobytes(), key=salt, digest_size=8).digest()
        return f(x) * (1 + 1e-8 * (2 * int.from_bytes(word, "little") / 2**64 - 1))

    return hashed, x, g


def float32_inside(rng: np.random.Generator) -> Made:
    scale = random_size(rng)
    x, phase = rng.standard_normal(scale.size), rng.uniform(0, 2 * np.pi, scale.size)
    return lambda x: float(np.sin((x + phase).astype(np.float32)).sum()), x, np.cos(x + phase)


def offset(rng: np.random.Generator) -> Made:
    f, x, g = sines(rng, random_size(rng))
    small = 10.0 ** rng.uniform(-4, 0)
    return lambda x: 1e6 + small * f(x), x, small * g


WRONG: dict[str, Callable[[np.random.Generator], Made]] = {
    "all off by 1e-5, sines, n = 1 .. 30,000": lambda rng: off(sines(rng, random_size(rng)), everywhere, 1 + 1e-5),
    "all off by 1e-5, network": lambda rng: off(network(rng), everywhere, 1 + 1e-5),
    "1 of 1,000 off by 1e-3, sines": lambda rng: off(sines(rng, np.ones(N)), one(rng), 1 + 1e-3),
    "1 of 1,000 off by 1e-3, network": lambda rng: off(network(rng), one(rng, True), 1 + 1e-3),
    "1 of 1,000 off by 1e-4, sines": lambda rng: off(sines(rng, np.ones(N)), one(rng, True), 1 + 1e-4),
    "claims of 1e-7, signs flipped": tiny,
}  # wrong on purpose
RIGHT: dict[str, Callable[[np.random.Generator], Made]] = {
    "noise of 1e-8": noisy,
    "float32 inside": float32_inside,
    "1e6 + small": offset,
}


def set_aside(seed: int) -> bool:
    return bool(hashlib.sha256(f"seed {seed}".encode()).digest()[0] & 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--half", choices=("tuned", "held-out", "both"), default="tuned")
    parser.add_argument("--details", action="store_true", help="show the seeds of what is not as it should be")
    options = parser.parse_args()
    started = time.perf_counter()
    print(f"{'':42}{'WRONG':>9}{'CORRECT':>9}{'else':>6}{'to it: median, most':>22}")
    for number, (name, make) in enumerate((WRONG | RIGHT).items()):
        counts = {"WRONG": 0, "CORRECT": 0, "else": 0}
        evaluations: list[float] = []
        made, seed = 0, 0
        while made < options.seeds:
            seed += 1
            if options.half != "both" and set_aside(seed) != (options.half == "held-out"):
                continue
            made += 1
            f, x, claim = make(np.random.default_rng([seed, number]))
            report = check(f, x, grad=claim, rng=seed)
            if report.verdict is Verdict.WRONG:
                counts["WRONG"] += 1
                evaluations.append(report.cost.evaluations)
            else:
                counts["CORRECT" if report.verdict is Verdict.CORRECT else "else"] += 1
            if options.details and (report.verdict is Verdict.WRONG) != (name in WRONG):
                print(f"  {name}: seed {seed}, n {x.size}, {report.verdict}, bound {report.leaves[0].bound}")
        cost = f"{quantile(evaluations, 0.5):.0f}, {max(evaluations):.0f}" if evaluations else "-"
        found = f"{counts['WRONG']}/{made}"
        print(f"{name:42}{found:>9}{counts['CORRECT']:9}{counts['else']:6}{cost:>22}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
