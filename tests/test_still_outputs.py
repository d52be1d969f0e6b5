"""A product that claims something of an output that stands still is WRONG, however large the output's value is."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof
from gradproof import Verdict

X = np.array([1.0, 2.0, 3.0])


def build(count, value, entry=0.0):
    """f, whose second output is `value` whatever x is, and a claim of `entry` for one of its slopes."""
    rows = np.random.default_rng(0).normal(size=(count, 3))
    rows[1] = 0.0
    matrix = 2 * rows * X
    matrix[1, 2] = entry

    def f(x):
        moving = rows @ x**2
        moving[1] = value
        return moving

    return f, matrix


@pytest.mark.parametrize("value", [4.0, 4e3, 4e6])
@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("seed", range(2))
def test_a_slope_claimed_of_a_still_output_is_seen(count, value, seed):
    """0.1 beside rows of about 10 is a mistake; without it the claim is certified, if with a wider bound."""
    f, matrix = build(count, value, 0.1)  # wrong on purpose
    assert gradproof.check(f, X, vjp=lambda u, x: u @ matrix, rng=seed).verdict is Verdict.WRONG
    f, matrix = build(count, value)
    report = gradproof.check(f, X, vjp=lambda u, x: u @ matrix, rng=seed)
    assert report.verdict is Verdict.CORRECT
    assert report.leaves[0].bound < 1e-3


@pytest.mark.parametrize(("claimed", "verdict"), [(1e-17, Verdict.INCONCLUSIVE), (0.1, Verdict.WRONG)])
@pytest.mark.parametrize("seed", range(3))
def test_a_slope_below_the_roundings_of_all_outputs(claimed, verdict, seed):
    """Where no output does more than a few roundings, f neither shows nor excludes a slope that is less than one."""

    def f(x):
        return np.array([(np.tanh(x[1]) + 10) - 10 - np.tanh(x[1]), (np.sin(x[0]) + 10) - 10 - np.sin(x[0]), 0 * x[0]])

    matrix = np.zeros((3, 3))
    matrix[2, :2] = claimed  # wrong on purpose where it is 0.1

    assert gradproof.check(f, X, jac=lambda x: matrix, rng=seed).verdict is verdict
