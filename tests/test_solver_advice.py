"""What is nearly right everywhere may be right, and f's own tolerance the reason: the advice of every claim says so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from gradproof import Verdict, check

K = np.array([0.3, 0.8, 1.2])


def euler(k: Any) -> Any:
    """exp(-2 k) by a hundred steps: 0.3 to 0.5 % off."""
    y = np.ones(len(k))
    for _ in range(100):
        y = y - 0.02 * k * y
    return y


def slope(k: Any) -> Any:
    return -2 * np.exp(-2 * k)


def total(k: Any) -> Any:
    return euler(k).sum()


def exact(k: Any) -> Any:
    return np.exp(-2 * k)


CLAIMS: list[tuple[Any, Any]] = [
    (euler, lambda off: {"jac": lambda k: np.diag(off * slope(k))}),
    (euler, lambda off: {"vjp": lambda u, k: u * off * slope(k)}),
    (euler, lambda off: {"jvp": lambda v, k: v * off * slope(k)}),
    (euler, lambda off: {"jac": lambda k: off * slope(k), "elementwise": True}),
    (total, lambda off: {"grad": lambda k: off * slope(k)}),
    (total, lambda off: {"grad": lambda k: off * slope(k), "level": "entries"}),
    (total, lambda off: {"hess": lambda k: np.diag(-2 * off * slope(k))}),
    (total, lambda off: {"hvp": lambda v, k: -2 * v * off * slope(k)}),
]


def names_the_solver(report: Any) -> list[bool]:
    assert report.verdict is Verdict.WRONG
    return [bool(re.search("integrates", str(one.advice))) for one in report.findings]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("f", "claim"), CLAIMS)
def test_a_solver_that_is_off_everywhere(f, claim, seed):
    """One finding, which names the solver; where the claim is off by much more it does not."""
    assert names_the_solver(check(f, K, **claim(1.0), rng=seed)) == [True]
    gross = check(f, K, **claim(np.array([1.3, 0.9, 1.7])), rng=seed)  # wrong on purpose
    assert not any(names_the_solver(gross))


@pytest.mark.parametrize(
    "claim",
    [
        {"jac": lambda k: np.diag(-2 * np.array([1, 1.004, 1]) * exact(k))},  # wrong on purpose
        {"vjp": lambda u, k: u * -2 * np.array([1, 1.004, 1]) * exact(k)},  # wrong on purpose
        {"jac": lambda k: -2 * np.array([1, 1.004, 1]) * exact(k), "elementwise": True},  # wrong on purpose
    ],
)
def test_one_entry_beside_right_ones(claim):
    """An error that no solver has: the others would be off as well."""
    claim = {"elementwise": False, **claim}
    assert not any(names_the_solver(check(exact, K, **claim, rng=0)))


def test_one_second_derivative_beside_right_ones():
    """The same for a Hessian."""
    report = check(
        lambda k: exact(k).sum(),
        K,
        hess=lambda k: np.diag(np.array([1, 1.004, 1]) * 4 * exact(k)),  # wrong on purpose
        rng=0,
    )
    assert not any(names_the_solver(report))


def test_few_entries_that_are_all_of_a_matrix():
    """Two are told one by one, each with the advice."""
    assert names_the_solver(check(euler, K[:2], jac=lambda k: np.diag(slope(k)), rng=0)) == [True, True]
