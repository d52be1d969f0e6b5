"""What does a small check cost besides f itself? Own processor time per check, and per evaluation.

    python benchmarks/speed.py

f is called as often again in a bare loop, and that time is taken off.
"""

from __future__ import annotations

import time

import numpy as np

import gradproof
from gradproof import course


def course_case() -> tuple:
    inputs, labels, parameters = course.gradient_check_n_test_case()
    _, cache = course.forward_propagation_n(inputs, labels, parameters)
    gradients = course.backward_propagation_n(inputs, labels, cache)

    def cost(parameters: dict) -> float:
        return course.forward_propagation_n(inputs, labels, parameters)[0]

    return cost, parameters, {name: gradients[f"d{name}"] for name in parameters}


WEIGHTS = np.random.default_rng(1).normal(size=(30, 30)) / 5


def layer(x: np.ndarray) -> np.ndarray:
    return np.tanh(WEIGHTS @ x)


def layer_jacobian(x: np.ndarray) -> np.ndarray:
    return (1 - np.tanh(WEIGHTS @ x) ** 2)[:, None] * WEIGHTS


def sine(x: np.ndarray) -> float:
    return float(np.sin(x) @ x)


def sine_gradient(x: np.ndarray) -> np.ndarray:
    return np.cos(x) * x + np.sin(x)


CASES = {
    "n = 1": (sine, np.linspace(0.1, 1, 1), sine_gradient),
    "n = 10": (sine, np.linspace(0.1, 1, 10), sine_gradient),
    "n = 10, claim times 2": (sine, np.linspace(0.1, 1, 10), lambda x: 2 * sine_gradient(x)),
    "n = 1,000": (sine, np.linspace(0.1, 1, 1000), sine_gradient),
    "course network, n = 47, 6 leaves": course_case(),
    "n = 30, 30 outputs": (layer, np.random.default_rng(2).normal(size=30), {"jac": layer_jacobian}),
}


def measure(f, point, claim, repeats: int = 60) -> tuple[float, float, int]:
    """Milliseconds of our own per check and in f, and the evaluations; the fastest of five rounds."""
    claims = claim if isinstance(claim, dict) and "jac" in claim else {"grad": claim}
    best, in_f, evaluations = np.inf, 0.0, 0
    for _ in range(5):
        start = time.process_time()
        counts = [gradproof.check(f, point, **claims, rng=seed).cost.evaluations for seed in range(repeats)]
        total = time.process_time() - start
        start = time.process_time()
        for _ in range(sum(counts)):
            f(point)
        bare = time.process_time() - start
        if total - bare < best:
            best, in_f, evaluations = total - bare, bare, int(np.median(counts))
    return 1e3 * best / repeats, 1e3 * in_f / repeats, evaluations


def main() -> None:
    print(f"{'':36}{'own ms':>8}{'f ms':>8}{'evaluations':>13}")
    for name, (f, point, claim) in CASES.items():
        own, in_f, evaluations = measure(f, point, claim)
        print(f"{name:36}{own:8.2f}{in_f:8.2f}{evaluations:13}")


if __name__ == "__main__":
    main()
