"""f saturates beside the point, or grows beyond all bounds a step away."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict

SEEDS = range(4)


def normalized(eps):
    return lambda x: float(x / max(abs(x), eps))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("eps", [1e-6, 1e-8, 1e-9, 1e-10, 3e-11, 1e-12])
def test_saturating_beside_the_point(eps, seed):
    """A right claim is never WRONG; a wrong one is where some steps lie within, and never CORRECT."""
    right = gradproof.check(normalized(eps), 0.0, grad=1 / eps, rng=seed)
    wrong = gradproof.check(normalized(eps), 0.0, grad=1.5 / eps, rng=seed)  # wrong on purpose

    assert right.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    assert wrong.verdict in ((Verdict.WRONG,) if eps > 5e-10 else (Verdict.INCONCLUSIVE,))
    if eps < 5e-11:
        assert [one.id for one in right.findings] == ["GP310"]


@pytest.mark.parametrize("seed", SEEDS)
def test_saturating_functions_of_several_entries(seed):
    """normalize of a zero vector, and tanh with a large gain."""
    w = np.array([1.0, 2.0, 3.0])
    point = {"x": np.zeros(3), "w": w}

    def cosine(p):
        return float(p["w"] @ p["x"] / max(np.linalg.norm(p["x"]), 1e-12)) + np.sin(p["w"]).sum()

    report = gradproof.check(cosine, point, grad=lambda p: {"x": 1e12 * p["w"], "w": np.cos(p["w"])}, rng=seed)
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.INCONCLUSIVE, Verdict.CORRECT]
    steep = gradproof.check(lambda x: np.tanh(1e9 * x).sum(), np.zeros(3), grad=np.full(3, 1e9), rng=seed)
    assert steep.verdict is not Verdict.WRONG
    rows = gradproof.check(lambda x: x / max(np.linalg.norm(x), 1e-12), np.zeros(3), jac=1e12 * np.eye(3), rng=seed)
    assert rows.verdict is Verdict.INCONCLUSIVE


TIMES = np.linspace(1, 6, 12)
DATA = 90 * np.exp(-0.03 * TIMES)


def growth(p):
    """Exponentials of exponentials: 1e204 at a step of 0.26."""
    return p[0] * np.exp(p[1] * TIMES + p[2] * TIMES**2) - DATA


def growth_jacobian(p):
    e = np.exp(p[1] * TIMES + p[2] * TIMES**2)
    return np.stack([e, p[0] * TIMES * e, p[0] * TIMES**2 * e], axis=1)


def squares(p):
    return float(np.sum(growth(p) ** 2))


def squares_gradient(p):
    return 2 * growth(p) @ growth_jacobian(p)


START = np.array([100.0, 0.0, 0.0])


@pytest.mark.parametrize("seed", SEEDS)
def test_one_huge_value_spoils_no_other(seed):
    """A value at a coarse step sets no noise at the fine ones: CORRECT and WRONG as elsewhere."""
    right = gradproof.check(squares, START, grad=squares_gradient, rng=seed)
    wrong = gradproof.check(squares, START, grad=lambda p: -squares_gradient(p), rng=seed)  # wrong on purpose
    assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)

    right = gradproof.check(growth, START, jac=growth_jacobian, rng=seed)
    wrong = gradproof.check(growth, START, jac=lambda p: 1.01 * growth_jacobian(p), rng=seed)  # wrong on purpose
    assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)


@pytest.mark.parametrize("seed", SEEDS)
def test_overflow_at_coarse_steps(seed):
    """Infinity further out is left out."""

    def f(x):
        with np.errstate(over="ignore"):
            return np.sum(np.exp(np.exp(3 * x)))

    def gradient(x):
        return 3 * np.exp(3 * x) * np.exp(np.exp(3 * x))

    point = np.array([1.95, 2.0])
    assert gradproof.check(f, point, grad=gradient, rng=seed).correct
    assert gradproof.check(f, point, grad=lambda x: 1.01 * gradient(x), rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize("seed", SEEDS)
def test_a_complex_step_that_drops_imaginary_parts_is_no_witness(seed):
    """A smooth double f whose noise asks for a witness: what .real and abs drop is no disagreement."""

    def f(x):
        return 1e6 * (np.sum(np.sin(x)) + np.sum(x.real**2)) - 1e6 * np.sum(np.cos(x.real)) + 1e10

    def gradient(x):
        return 1e6 * (np.cos(x) + 2 * x + np.sin(x))

    report = gradproof.check(f, np.array([0.3, 0.7, 1.9]), grad=gradient, max_bound=1e-9, rng=seed)
    assert report.reason is not gradproof.Reason.WITNESSES
