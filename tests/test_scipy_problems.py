"""Problems that others have published: derivatives by hand, and functions that defeat a fixed step."""

from __future__ import annotations

import pathlib
import sys

import numericalderivative
import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof.scipy import check_least_squares, check_minimize

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "benchmarks"))
try:
    from mgh_problems import PROBLEMS, complex_jacobian
finally:
    sys.path.pop(0)

# Sums of squares at the standard start, as published with the problems; of those whose dimensions are ours.
STARTS = {
    1: 24.2,
    2: 400.5,
    3: 1.135262,
    4: 999998000003.0,
    5: 14.203125,
    6: 4171.306,
    7: 2500.0,
    8: 41.68170,
    9: 3.888107e-6,
    10: 1.693608e9,
    11: 12.11070,
    13: 215.0,
    14: 19192.0,
    15: 5.313172e-3,
    16: 7926693.0,
    17: 0.8790260,
    18: 0.7790700,
    19: 2.093420,
    20: 30.0,
    26: 7.075760e-3,
}


def test_all_35_are_there():
    assert sorted(PROBLEMS) == list(range(1, 36))


@pytest.mark.parametrize("number", STARTS)
def test_formulas_give_the_published_values(number):
    problem = PROBLEMS[number]
    assert problem.value(problem.start) == pytest.approx(STARTS[number], rel=1e-5)


@pytest.mark.parametrize("number", PROBLEMS)
def test_jacobians_by_hand_are_those_of_the_formulas(number):
    """By complex steps, which have no error of their own here; that is the truth of the next test."""
    problem = PROBLEMS[number]
    for x in problem.points():
        truth = complex_jacobian(problem, x)
        size = np.abs(truth).max(axis=1, keepdims=True)
        assert (np.abs(problem.jacobian(x) - truth) <= 1e-13 * size).all()


@pytest.mark.parametrize("number", PROBLEMS)
def test_derivatives_by_hand_are_correct(number):
    """Jacobian of the residuals and gradient of their sum of squares, at the start and at two points beside it."""
    problem = PROBLEMS[number]
    for x in problem.points():
        assert check_least_squares(problem.residuals, x, problem.jacobian, rng=0).correct
        assert check_minimize(problem.value, x, jac=problem.gradient, rng=0).correct


@pytest.mark.parametrize("problem", numericalderivative.build_benchmark(), ids=lambda one: one.get_name())
def test_functions_that_break_the_choice_of_a_step(problem):
    """Their derivatives are CORRECT, and 1 % off they are WRONG."""
    f, derivative, x = problem.get_function(), problem.get_first_derivative(), float(problem.get_x())
    domain = tuple(problem.get_interval())
    assert gradproof.check(f, x, grad=derivative, domain=domain, rng=0).correct
    wrong = gradproof.check(f, x, grad=lambda x: 1.01 * derivative(x), domain=domain, rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
