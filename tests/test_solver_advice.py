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


@pytest.mark.parametrize("seed", range(3))
def test_a_solver_with_several_arguments(seed):
    """Every array is off, and each finding names the solver; where another array is right, none does."""

    def f(k: Any, y: Any) -> Any:
        return (y * euler(k)).sum()

    y = np.array([1.5, -0.7, 2.0])
    claim = (y * slope(K), exact(K))
    found = names_the_solver(check(f, (K, y), wrt=(0, 1), grad=claim, rng=seed))
    assert found
    assert all(found)
    wrong = (y * -2 * exact(K) * 1.004, exact(K) * np.array([1.0, 1.0, 1.0]))  # wrong on purpose
    report = check(lambda k, y: (y * exact(k)).sum(), (K, y), wrt=(0, 1), grad=wrong, rng=seed)
    assert not any(names_the_solver(report))


def test_all_but_one_entry():
    """A solver's error need not show in every entry."""
    point = np.linspace(0.2, 1.3, 17)
    off = np.where(np.arange(17) < 16, 1 + 3e-6 * np.cos(np.arange(17.0)), 1.0)
    report = check(lambda x: exact(x).sum(), point, grad=-2 * exact(point) * off, rng=0)
    assert any(names_the_solver(report))
    off = np.where(np.arange(17) < 5, 1.004 + 0.003 * np.cos(np.arange(17.0)), 1.0)
    report = check(lambda x: exact(x).sum(), point, grad=-2 * exact(point) * off, rng=0)  # wrong on purpose
    assert not any(names_the_solver(report))
