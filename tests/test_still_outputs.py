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
