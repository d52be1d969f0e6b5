"""One mistake, one finding: vjps of layers with one mistake each, in sizes from 3 to 200.

    python benchmarks/one_finding.py [--seeds 4] [--only lstm] [--show]

Each case says in which arrays its mistake lies. A report should be WRONG with one finding (two at most), in these
arrays and no other, after at most 200 evaluations.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gradproof

Array = np.ndarray
# Case -> (f, arguments, the wrong vjp, the arrays that are wrong).
Case = tuple[Callable[..., Any], tuple[Any, ...], Callable[..., Any], set[str]]
CASES: dict[str, Callable[[int, np.random.Generator], Case]] = {}


def case(make: Callable[[int, np.random.Generator], Case]) -> Callable[[int, np.random.Generator], Case]:
    CASES[make.__name__] = make
    return make


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@case
def tanh_with_1_minus_y(n: int, rng: np.random.Generator) -> Case:
    return np.tanh, (rng.normal(size=n),), lambda u, x: u * (1 - np.tanh(x)), {"x"}


@case
def softplus_with_the_wrong_sigmoid(n: int, rng: np.random.Generator) -> Case:
    return lambda x: np.log1p(np.exp(x)), (rng.normal(size=n),), lambda u, x: u * sigmoid(-x), {"x"}


@case
def square_of_a_matrix_as_of_a_number(n: int, rng: np.random.Generator) -> Case:
    k = max(2, round(n**0.5))
    return lambda x: x @ x, (rng.normal(size=(k, k)),), lambda u, x: 2 * u @ x.T, {"x"}


@case
def affine_with_db_a_mean(n: int, rng: np.random.Generator) -> Case:
    rows, k = max(2, n // 4), max(2, min(n, 8))
    x, w, b = rng.normal(size=(rows, k)), rng.normal(size=(k, 3)), rng.normal(size=3)
    return lambda x, w, b: x @ w + b, (x, w, b), lambda u, x, w, b: (u @ w.T, x.T @ u, u.mean(axis=0)), {"b"}


@case
def bias_of_the_last_row_only(n: int, rng: np.random.Generator) -> Case:
    x, b = rng.normal(size=(max(2, n // 4), 4)), rng.normal(size=4)
    return lambda x, b: np.sin(x) + b, (x, b), lambda u, x, b: (u * np.cos(x), u[-1].copy()), {"b"}


@case
def batch_norm_without_its_variance_term(n: int, rng: np.random.Generator) -> Case:
    x, gamma, beta = rng.normal(size=(max(3, n // 4), 4)), rng.normal(size=4), rng.normal(size=4)

    def f(x: Array, gamma: Array, beta: Array) -> Array:
        return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5) + beta

    def vjp(u: Array, x: Array, gamma: Array, beta: Array) -> tuple[Array, Array, Array]:
        std = np.sqrt(x.var(axis=0) + 1e-5)
        hat = (x - x.mean(axis=0)) / std
        return gamma / std * (u - u.mean(axis=0)), (u * hat).sum(axis=0), u.sum(axis=0)

    return f, (x, gamma, beta), vjp, {"x"}


@case
def attention_without_its_scale(n: int, rng: np.random.Generator) -> Case:
    rows, d = max(2, n // 12), 4
    q, k, v = rng.normal(size=(3, rows, d))

    def weights(q: Array, k: Array) -> Array:
        s = q @ k.T / np.sqrt(d)
        e = np.exp(s - s.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def vjp(u: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        p = weights(q, k)
        dp = u @ v.T
        ds = p * (dp - (dp * p).sum(axis=1, keepdims=True))
        return ds @ k, ds.T @ q, p.T @ u  # wrong on purpose: both lack 1 / sqrt(d)

    return lambda q, k, v: weights(q, k) @ v, (q, k, v), vjp, {"q", "k"}


@case
def lstm_with_a_wrong_gate(n: int, rng: np.random.Generator) -> Case:
    h = max(2, min(n // 3, 16))
    x, h0, c0 = rng.normal(size=(2, 3)), rng.normal(size=(2, h)), rng.normal(size=(2, h))
    wx, b = 0.5 * rng.normal(size=(3, 4 * h)), 0.1 * rng.normal(size=4 * h)
    wh = 0.5 * rng.normal(size=(h, 4 * h))

    def gates(x: Array, h0: Array, wx: Array, wh: Array, b: Array) -> list[Array]:
        i, f, o, g = np.split(x @ wx + h0 @ wh + b, 4, axis=1)
        return [sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)]

    def step(x: Array, h0: Array, c0: Array, wx: Array, wh: Array, b: Array) -> tuple[Array, Array]:
        i, f, o, g = gates(x, h0, wx, wh, b)
        c = f * c0 + i * g
        return o * np.tanh(c), c

    def vjp(u: Any, x: Array, h0: Array, c0: Array, wx: Array, wh: Array, b: Array) -> tuple[Array, ...]:
        i, f, o, g = gates(x, h0, wx, wh, b)
        c = f * c0 + i * g
        dh, dc = u
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        # wrong on purpose: 1 - g in place of 1 - g**2
        da = [dc * g * i * (1 - i), dc * c0 * f * (1 - f), dh * np.tanh(c) * o * (1 - o), dc * i * (1 - g)]
        d = np.concatenate(da, axis=1)
        return d @ wx.T, d @ wh.T, dc * f, x.T @ d, h0.T @ d, d.sum(axis=0)

    return step, (x, h0, c0, wx, wh, b), vjp, {"x", "h0", "wx", "wh", "b"}


def runs(only: str, seeds: int) -> Iterator[tuple[str, int, int, Case]]:
    for name, make in CASES.items():
        if only in name:
            for n in (3, 12, 40, 200):
                for seed in range(seeds):
                    yield name, n, seed, make(n, np.random.default_rng((seed, n)))


def accused(report: gradproof.Report, names: set[str]) -> set[str]:
    """The arrays that findings name, in their paths or in their words."""
    errors = [one for one in report.findings if one.severity is gradproof.Severity.ERROR]
    words = " ".join(f"{one.path} {one.place}" for one in errors)
    return {name for name in names if any(part.strip("`,.") == name for part in words.replace("[", " ").split())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", default="")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    rows: dict[str, list[tuple[bool, int, int, bool]]] = {}
    for name, n, seed, (f, args, vjp, wrong) in runs(options.only, options.seeds):
        wrt = 0 if len(args) == 1 else tuple(range(len(args)))
        report = gradproof.check(f, args, vjp=vjp, wrt=wrt, rng=seed)
        errors = [one for one in report.findings if one.severity is gradproof.Severity.ERROR]
        names = {leaf.path for leaf in report.leaves}
        found = accused(report, names)
        row = report.verdict is gradproof.Verdict.WRONG, len(errors), report.cost.evaluations, found <= wrong
        rows.setdefault(name, []).append((*row[:3], row[3] and bool(found)))
        if options.show and seed == 0:
            print(f"--- {name}, {n}: {report.verdict}, {len(errors)} findings, {report.cost.evaluations} evaluations")
            for one in errors[:4]:
                print(f"    {one.path} | {one.place} | {one.kind}")
    print(f"{'mistake':40} checks  WRONG  place  1 finding  2  more  evaluations: median  most")
    for name, found in rows.items():
        counts = [row[1] for row in found]
        evaluations = [row[2] for row in found]
        print(
            f"{name:40} {len(found):6} {sum(row[0] for row in found):6} {sum(row[3] for row in found):6} "
            f"{counts.count(1):10} {counts.count(2):2} {sum(c > 2 for c in counts):5} "
            f"{statistics.median(evaluations):20.0f} {max(evaluations):5}"
        )


if __name__ == "__main__":
    main()
