"""The drop-in for SciPy's check_grad: its signature and errors, a float that can be read."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from scipy.optimize import check_grad as scipy_check_grad
from scipy.optimize import rosen, rosen_der

from gradproof import GradproofWarning
from gradproof.compat.scipy import check_grad

X0 = np.random.default_rng(3).normal(size=12)


def waves(x, factor=1.0):
    return factor * np.sum(np.sin(x) * x)


def waves_der(x, factor=1.0):
    return factor * (np.cos(x) * x + np.sin(x))


def pair(x):
    return [x[0] * x[1], np.exp(x[1]), 3.0]


def pair_jac(x):
    return [[x[1], x[0]], [0, np.exp(x[1])], [0, 0]]


def test_signature_is_scipys():
    """Names, order, kinds and defaults."""
    ours, theirs = (inspect.signature(one).parameters.values() for one in (check_grad, scipy_check_grad))
    assert [(one.name, one.kind, one.default) for one in ours] == [(one.name, one.kind, one.default) for one in theirs]
    assert type(check_grad(rosen, rosen_der, X0)) is type(scipy_check_grad(rosen, rosen_der, X0))


@pytest.mark.parametrize("factor", [1e6, 1.0, 1e-6])
@pytest.mark.parametrize("direction", ["all", "random"])
def test_a_correct_gradient_scores_far_below_its_own_size(factor, direction):
    """SciPy's number is an error of its own step: 0.07 for 1e6 f."""
    error = check_grad(waves, waves_der, X0, factor, direction=direction, rng=0)
    assert error < 1e-9 * np.linalg.norm(waves_der(X0, factor))
    assert error < scipy_check_grad(waves, waves_der, X0, factor, direction=direction, rng=0)


@pytest.mark.parametrize("factor", [1e6, 1.0, 1e-6])
def test_a_wrong_gradient_scores_the_norm_of_its_error(factor):
    def wrong(x, factor):
        return waves_der(x, factor) + factor * 1e-5 * np.arange(12)  # wrong on purpose

    error = check_grad(waves, wrong, X0, factor)
    assert error == pytest.approx(factor * 1e-5 * np.linalg.norm(np.arange(12)), rel=1e-4)


def test_random_is_along_scipys_own_direction():
    """The same generator gives the same direction, so a wrong gradient scores the same."""

    def wrong(x):
        return 1.5 * rosen_der(x)  # wrong on purpose

    for keyword in ("rng", "seed"):
        ours = check_grad(rosen, wrong, X0, direction="random", **{keyword: np.random.default_rng(7)})
        theirs = scipy_check_grad(rosen, wrong, X0, direction="random", rng=np.random.default_rng(7))
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert check_grad(rosen, wrong, X0, direction="random", rng=7) == pytest.approx(ours)


def test_a_jacobian():
    assert check_grad(pair, pair_jac, [0.5, 1.5]) < 1e-10
    error = check_grad(pair, lambda x: np.add(pair_jac(x), [[0, 0], [0, 0], [0, 1e-4]]), [0.5, 1.5])  # wrong
    assert error == pytest.approx(1e-4, rel=1e-5)
    with pytest.raises(ValueError, match="scalar valued func"):
        check_grad(pair, pair_jac, [0.5, 1.5], direction="random")
    with pytest.raises(ValueError, match="shape"):
        check_grad(pair, rosen_der, [0.5, 1.5])


def test_errors_are_scipys():
    with pytest.raises(ValueError, match="not a valid string"):
        check_grad(rosen, rosen_der, X0, direction="some")
    with pytest.raises(TypeError, match="multiple values"):
        check_grad(rosen, rosen_der, X0, direction="random", rng=1, seed=1)

    def broken(x):
        raise KeyError("missing")

    for arguments in ((broken, rosen_der), (rosen, broken)):
        for checker in (check_grad, scipy_check_grad):
            with pytest.raises(KeyError, match="missing"):
                checker(*arguments, X0)


def test_where_func_is_not_finite_the_answer_is_nan():
    assert math.isnan(check_grad(lambda x: np.nan * x[0], lambda x: np.ones(1), [1.0]))
    assert math.isnan(check_grad(lambda x: x[0] ** 2, lambda x: np.full(1, np.nan), [1.0]))
    assert math.isnan(check_grad(np.sum, np.ones_like, np.array([-np.inf, 1.0])))
    with np.errstate(invalid="ignore"):
        assert math.isnan(scipy_check_grad(np.sum, np.ones_like, np.array([-np.inf, 1.0])))


def test_a_point_that_no_step_moves_is_nan_with_a_warning():
    """nan is SciPy's answer as well, where it moves one entry after the other."""
    f, x = lambda x: np.exp(x).sum(), np.array([-np.inf, -np.inf])
    with np.errstate(invalid="ignore"):
        assert math.isnan(scipy_check_grad(f, np.exp, x))
    for direction in ("all", "random"):
        with pytest.warns(GradproofWarning, match="not checked: no entry of argument 0 is finite"):
            assert math.isnan(check_grad(f, np.exp, x, direction=direction))


def test_blocks_of_entries_make_no_difference():
    """Entries in the first block and in the last one."""
    x = np.random.default_rng(1).normal(size=300)
    gradient = lambda x: np.outer(np.ones(400), 2 * x)  # noqa: E731
    wrong = lambda x: gradient(x) + 1e-3 * np.eye(400, 300, k=0) * (np.arange(300) % 299 == 0)  # noqa: E731
    assert check_grad(lambda x: np.full(400, np.sum(x**2)), wrong, x) == pytest.approx(1e-3 * math.sqrt(2), rel=1e-5)
