"""No check without an end: what is asked of f is bounded, and nothing is divided by a step of 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradproof import Verdict, check

# ------------------------------------------------------------------------------------------------- steps of no output


@pytest.mark.parametrize("seed", range(10))
def test_step_functions_beside_a_claim_that_moves(seed):
    """Outputs that stand still, others that jump: the same proof must not start itself again."""
    x = np.array([-0.1, -0.2, 26, 20, -15, 13])
    report = check(np.sign, x, jac=np.eye(6), rng=seed)  # wrong on purpose
    assert report.verdict is Verdict.WRONG
    assert report.cost.evaluations < 400
    assert check(np.sign, x, jac=np.zeros((6, 6)), rng=seed).verdict is not Verdict.WRONG


@pytest.mark.parametrize("seed", range(4))
def test_values_that_are_rounded_to_a_lattice(seed):
    """The look-alike: f is rounded to eighths, and a right claim of what it rounds is not accused."""
    x = np.array([-0.1, -0.2, 26, 20, -15, 13])
    report = check(lambda x: np.round(x * 8) / 8, x, jac=np.eye(6), rng=seed)
    assert report.verdict is not Verdict.WRONG


# ------------------------------------------------------------------------------------------------------ a step of zero


def product(x: Any) -> Any:
    return x[0] ** 2 * x[1] + x[2]


def product_grad(x: Any) -> Any:
    return np.array([2 * x[0] * x[1], x[0] ** 2, 1.0])


def product_hess(x: Any) -> Any:
    return np.array([[2 * x[1], 2 * x[0], 0.0], [2 * x[0], 0.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("held", [0, 1, 2])
@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize("kind", ["grad", "jac", "vjp", "jvp", "hess", "hvp"])
def test_a_variable_between_equal_bounds(kind, level, held):
    """It has no step: a mistake elsewhere is found, whatever is claimed of it."""
    x = np.array([0.7, 2.0, 1.0])
    lower, upper = np.full(3, -np.inf), np.full(3, np.inf)
    lower[held] = upper[held] = x[held]
    other = 0 if held != 0 else 1

    def claim(factor: float) -> Any:
        scale = np.ones(3)
        scale[other] = factor

        def hess(x: Any) -> Any:
            return product_hess(x) * np.outer(scale, scale)

        return {
            "grad": lambda x: product_grad(x) * scale,
            "jac": lambda x: np.outer([1.0, 2.0], product_grad(x) * scale),
            "vjp": lambda u, x: (u[0] + 2 * u[1]) * product_grad(x) * scale,
            "jvp": lambda v, x: np.array([1.0, 2.0]) * (product_grad(x) * scale @ v),
            "hess": hess,
            "hvp": lambda v, x: hess(x) @ v,
        }[kind]

    def f(x: Any) -> Any:
        return np.array([product(x), 2 * product(x)]) if kind in ("jac", "vjp", "jvp") else product(x)

    def verdict(factor: float) -> Verdict:
        return check(f, x, **{kind: claim(factor)}, level=level, domain=(lower, upper), rng=0).verdict

    assert verdict(1.0) is not Verdict.WRONG
    if kind not in ("hess", "hvp") or held != 0:
        assert verdict(1.5) is Verdict.WRONG  # wrong on purpose


# ------------------------------------------------------------------------------------------------------------ location


@pytest.mark.parametrize("n", [40, 300])
@pytest.mark.parametrize("seed", range(2))
def test_location_costs_no_more_than_all_entries(seed, n):
    """A third of the entries is wrong, each by a factor of its own: no more than max(200, n) for naming them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    wrong = rng.choice(n, n // 3, replace=False)
    factor = np.ones(n)
    factor[wrong] = np.linspace(1.1, 1.4, len(wrong))

    report = check(lambda x: np.sin(x).sum(), x, grad=lambda x: np.cos(x) * factor, rng=seed)  # wrong on purpose
    assert report.verdict is Verdict.WRONG
    assert report.cost.evaluations <= max(200, n) + 60
