"""Is a correct implicit gradient through an iterative solver left alone, although the solver stops early?

    PYTHONPATH=src python benchmarks/solvers.py --seeds 15 --half both

Four solvers, started from zero and stopped at a tolerance; f is a smooth function of where they stop. The claim is the
implicit gradient: the exact adjoint solve at that point. Where the solver stops, its own derivative is another one, by
more than rtol in most problems; f shows it by the jumps where the number of iterations changes. The same claim times
1.01 must be WRONG.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import time
import zlib
from collections.abc import Callable

import numpy as np
from families import quantile

from gradproof import Report, Verdict, check

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Problem:
    """f of the point, its implicit gradient there, and what the solver's own derivative is like."""

    f: Callable[[Array], float]
    point: Array
    gradient: Array


def matrix(rng: np.random.Generator, n: int) -> Array:
    half = rng.standard_normal((n, n)) / np.sqrt(n)
    return half @ half.T


def linear(rng: np.random.Generator, solve: Callable[[Array, Array, float], Array], tolerance: float) -> Problem:
    """(M + diag(1 + exp(x))) u = b; f = |u - target|**2 / 2; df/dx = -lambda u exp(x), with the adjoint lambda."""
    n = int(rng.integers(3, 31))
    m, b, target, point = matrix(rng, n), rng.standard_normal(n), rng.standard_normal(n), rng.standard_normal(n)

    def at(x: Array) -> tuple[Array, Array]:
        a = m + np.diag(1 + np.exp(x))
        return a, solve(a, b, tolerance)

    def f(x: Array) -> float:
        return float(((at(x)[1] - target) ** 2).sum()) / 2

    a, u = at(point)
    return Problem(f, point, -np.linalg.solve(a, u - target) * u * np.exp(point))


def richardson(a: Array, b: Array, tolerance: float) -> Array:
    u, omega = np.zeros_like(b), 1.0 / float(np.abs(a).sum(axis=1).max())
    for _ in range(100_000):
        r = b - a @ u
        if float(np.linalg.norm(r)) <= tolerance * float(np.linalg.norm(b)):
            break
        u = u + omega * r
    return u


def conjugate_gradients(a: Array, b: Array, tolerance: float) -> Array:
    u, r = np.zeros_like(b), b.copy()
    p, square = r.copy(), float(r @ r)
    while square > tolerance**2 * float(b @ b):
        q = a @ p
        step = square / float(p @ q)
        u, r = u + step * p, r - step * q
        before, square = square, float(r @ r)
        p = r + square / before * p
    return u


def gauss_seidel(a: Array, b: Array, tolerance: float) -> Array:
    u = np.zeros_like(b)
    for _ in range(10_000):
        if float(np.linalg.norm(b - a @ u)) <= tolerance * float(np.linalg.norm(b)):
            break
        for i in range(len(b)):
            u[i] += (b[i] - a[i] @ u) / a[i, i]
    return u


def fixed_point(rng: np.random.Generator, tolerance: float) -> Problem:
    """z = tanh(W z + x), an equilibrium layer; f = c . z; df/dx = D (I - W D)**-T c with D = 1 - z**2."""
    n = int(rng.integers(3, 31))
    w = rng.standard_normal((n, n))
    w *= rng.uniform(0.3, 0.9) / np.linalg.norm(w, 2)
    c, point = rng.standard_normal(n), rng.standard_normal(n)

    def equilibrium(x: Array) -> Array:
        z = np.zeros(n)
        for _ in range(10_000):
            new = np.tanh(w @ z + x)
            moved = float(np.linalg.norm(new - z))
            z = new
            if moved <= tolerance * float(np.linalg.norm(new)):
                break
        return z

    slope = 1 - equilibrium(point) ** 2
    adjoint = np.linalg.solve((np.eye(n) - slope[:, None] * w).T, c)
    return Problem(lambda x: float(c @ equilibrium(x)), point, slope * adjoint)


def by(solve: Callable[[Array, Array, float], Array]) -> Callable[[np.random.Generator, float], Problem]:
    return lambda rng, tolerance: linear(rng, solve, tolerance)


SOLVERS: dict[str, Callable[[np.random.Generator, float], Problem]] = {
    "richardson": by(richardson),
    "conjugate gradients": by(conjugate_gradients),
    "fixed point": fixed_point,
    "gauss seidel": by(gauss_seidel),
}


def own_deviation(problem: Problem) -> float:
    """How far the solver's own derivative lies from the implicit one, relative to its norm (by a local difference)."""
    step = 1e-7 * np.sqrt(np.mean(problem.point**2))
    own = np.zeros_like(problem.point)
    for i in range(len(own)):
        e = np.zeros_like(own)
        e[i] = step
        own[i] = (problem.f(problem.point + e) - problem.f(problem.point - e)) / (2 * step)
    return float(np.linalg.norm(own - problem.gradient) / np.linalg.norm(problem.gradient))


def irregular(report: Report) -> bool:
    """Whether the report speaks of f's own irregularity: a larger rtol than that of a smooth f."""
    return report.rtol > 1e-6 or report.verdict is Verdict.INCONCLUSIVE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=15, help="problems of every solver")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="where the solvers stop")
    parser.add_argument("--half", choices=("tuned", "held-out", "both"), default="tuned")
    parser.add_argument("--details", action="store_true", help="show every problem whose verdict is WRONG")
    options = parser.parse_args()
    started = time.perf_counter()
    verdicts: dict[tuple[str, float], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    evaluations: dict[tuple[str, float], list[float]] = collections.defaultdict(list)
    deviations: list[float] = []
    spoken, off = 0, 0
    for name, make in SOLVERS.items():
        made, seed = 0, options.seed
        while made < options.seeds:
            half = "set aside" if hashlib.sha256(f"seed {seed}".encode()).digest()[0] & 1 else "tuned"
            seed += 1
            if options.half != "both" and (half == "tuned") != (options.half == "tuned"):
                continue
            made += 1
            problem = make(np.random.default_rng([seed - 1, zlib.crc32(name.encode())]), options.tolerance)
            deviations.append(own_deviation(problem))
            off += deviations[-1] > 1e-7
            for factor in (1.0, 1.01):
                report = check(problem.f, problem.point, grad=factor * problem.gradient, rng=seed - 1)
                verdicts[half, factor][str(report.verdict)] += 1
                evaluations[half, factor].append(report.cost.evaluations)
                if factor == 1.0:
                    spoken += deviations[-1] > 1e-7 and irregular(report)
                if options.details and factor == 1.0 and report.verdict is Verdict.WRONG:
                    print(f"  {name} seed {seed - 1} n {problem.point.size}: its slope off by {deviations[-1]:.1e}, "
                          f"{report.cost.evaluations} evaluations")  # fmt: skip
    print(f"solvers stopped at {options.tolerance:g}: {len(deviations)} problems, their own derivative off by "
          f"{quantile(deviations, 0.5):.1e} (median), {max(deviations):.1e} (largest)")  # fmt: skip
    for half, factor in sorted(verdicts):
        cost = evaluations[half, factor]
        print(f"{half + ',':10} claim times {factor:<5}: {dict(verdicts[half, factor])}"
              f"  evaluations {quantile(cost, 0.5):.0f} / {max(cost):.0f}")  # fmt: skip
    wrong = sum(row["WRONG"] for (_, factor), row in verdicts.items() if factor == 1.0)
    found = sum(row["WRONG"] for (_, factor), row in verdicts.items() if factor != 1.0)
    print(f"implicit gradients called WRONG: {wrong} of {len(deviations)}; times 1.01: {found} of {len(deviations)}")
    print(f"own derivative off by more than 1e-7 and the report speaks of f's irregularity: {spoken} of {off}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
