"""The second order: held against what may be trusted, where f is defined, at sizes that f allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradproof
from gradproof import Verdict, check

X = np.array([1.3, 0.7, 0.8, 1.9])
SEEDS = range(3)


def paths(report: Any) -> set[str]:
    return {one.path for one in report.findings}


# ------------------------------------------------------------------------------------- beside a wrong first order


def quartic(x: Any) -> Any:
    return np.sum(x**4) / 4 + np.prod(x)


def quartic_grad(x: Any) -> Any:
    return x**3 + np.prod(x) / x


def quartic_hess(x: Any) -> Any:
    mixed = np.prod(x) / np.outer(x, x)
    return mixed + np.diag(3 * x**2 - np.diag(mixed))


def quartic_hvp(v: Any, x: Any) -> Any:
    return quartic_hess(x) @ v


@pytest.mark.parametrize("second", ["hess", "hvp"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_right_second_order_beside_a_wrong_first(seed, second):
    """Differences of a wrong gradient show a wrong Hessian: the second differences of f decide."""
    claim = {"hess": quartic_hess, "hvp": quartic_hvp}[second]

    def grad(x: Any) -> Any:
        return quartic_grad(x) * [1, 1, 1.1, 1]  # wrong on purpose

    report = check(quartic, X, grad=grad, **{second: claim}, rng=seed)
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.WRONG, Verdict.CORRECT]
    assert paths(report) == {"x[2]"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_second_order_that_fits_a_wrong_first(seed):
    """The Hessian of the wrong gradient is not that of f."""
    scale = np.array([1, 1, 1.1, 1])
    report = check(
        quartic,
        X,
        grad=lambda x: quartic_grad(x) * scale,  # wrong on purpose
        hess=lambda x: (quartic_hess(x) * scale + (quartic_hess(x) * scale).T) / 2,  # wrong on purpose
        rng=seed,
    )
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.WRONG, Verdict.WRONG]


# -------------------------------------------------------------------------------------------- a gradient that stands


W = np.array([0.5, -1.2, 2.0, 0.3])
AT = np.array([0.4, -1.0, 0.7, 2.0])


def piecewise(x: Any) -> Any:
    return W @ np.abs(x)


def piecewise_grad(x: Any) -> Any:
    return W * np.sign(x)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ({"hess": lambda x: np.zeros((4, 4))}, Verdict.CORRECT),
        ({"hvp": lambda v, x: 0 * v}, Verdict.CORRECT),
        ({"hess": lambda x: 1e-3 * np.eye(4)}, Verdict.WRONG),  # wrong on purpose
    ],
)
def test_a_zero_hessian(seed, claim, verdict):
    """The gradient keeps its bits while f moves."""
    assert check(piecewise, AT, grad=piecewise_grad, **claim, rng=seed).verdict is verdict
    assert check(piecewise, AT, **claim, rng=seed).verdict is verdict


# Piecewise linear functions with kinks on the way: at 0.01, 0.057 and 1.6 in x, beside entries that f does not feel.
MIX = np.random.default_rng(1).normal(size=(3, 3))
WEIGHTS = np.random.default_rng(0).normal(size=3)
MANY, MANY_WEIGHTS = np.random.default_rng(5).normal(size=(40, 30)), np.random.default_rng(6).normal(size=40)


def absolute(x: Any) -> Any:
    return np.abs(x).sum()


def is_largest(x: Any) -> Any:
    return (x == x.max()) * 1.0


def relu(x: Any) -> Any:
    return WEIGHTS @ np.maximum(MIX @ x, 0)


def relu_grad(x: Any) -> Any:
    return MIX.T @ (WEIGHTS * (MIX @ x > 0))


def many_relus(x: Any) -> Any:
    return MANY_WEIGHTS @ np.maximum(MANY @ x, 0)


def many_relus_grad(x: Any) -> Any:
    return MANY.T @ (MANY_WEIGHTS * (MANY @ x > 0))


PIECEWISE = [
    (np.max, is_largest, np.array([0.4, -1.0, 2.0])),
    (absolute, np.sign, np.array([0.01, -1.0, 5.0])),
    (relu, relu_grad, np.array([0.5, 1.0, -0.7])),
    (many_relus, many_relus_grad, np.random.default_rng(7).normal(size=30)),
]


def as_claim(keyword: str, matrix: Any) -> Any:
    return {keyword: (lambda x: matrix) if keyword == "hess" else (lambda v, x: matrix @ v)}


@pytest.mark.parametrize("keyword", ["hess", "hvp"])
@pytest.mark.parametrize(("f", "grad", "point"), PIECEWISE)
def test_a_zero_hessian_with_kinks_further_out(f, grad, point, keyword):
    """The gradient jumps at coarse steps, and keeps its bits at all finer ones."""
    n = len(point)
    wrong = np.zeros((n, n))
    wrong[0, 1] = wrong[1, 0] = 1e-3  # wrong on purpose
    for seed in SEEDS:
        assert check(f, point, grad=grad, **as_claim(keyword, np.zeros((n, n))), rng=seed).verdict is Verdict.CORRECT
        assert check(f, point, grad=grad, **as_claim(keyword, wrong), rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize("keyword", ["hess", "hvp"])
@pytest.mark.parametrize(("f", "grad", "point"), PIECEWISE)
def test_a_small_curvature_beside_kinks(f, grad, point, keyword):
    """A Hessian of zeros is wrong by what little the gradient moves; where kinks hide that, nothing is certified."""

    def bent(x: Any) -> Any:
        return f(x) + 5e-7 * (x @ x)

    def bent_grad(x: Any) -> Any:
        return grad(x) + 1e-6 * x

    zeros = np.zeros((len(point), len(point)))  # wrong on purpose
    allowed = {Verdict.WRONG} if len(point) < 30 else {Verdict.WRONG, Verdict.INCONCLUSIVE}
    for seed in SEEDS:
        assert check(bent, point, grad=bent_grad, **as_claim(keyword, zeros), rng=seed).verdict in allowed


@pytest.mark.parametrize("rounds", ["the gradient", "x"])
def test_a_gradient_in_steps(rounds):
    """It keeps its bits nearby and jumps further out, as that of a piecewise linear f does; but f bends."""
    bend = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 3.0]])
    point = np.array([0.4, -1.0, 2.0])

    def grad(x: Any) -> Any:
        return bend @ np.round(x, 2) if rounds == "x" else np.round(bend @ x, 2)

    for seed in SEEDS:
        wrong = check(lambda x: x @ bend @ x / 2, point, grad=grad, hess=lambda x: 0 * bend, rng=seed)
        assert wrong.verdict is Verdict.WRONG
        right = check(lambda x: x @ bend @ x / 2, point, grad=grad, hess=lambda x: bend, rng=seed)
        assert right.verdict is Verdict.CORRECT


@pytest.mark.parametrize("seed", SEEDS)
def test_values_on_a_lattice_hide_a_curvature(seed):
    """What f is rounded to shows along the entry that moves it: the other may bend by as much, and keep its bits."""

    def rounded(x: Any) -> Any:
        return np.round(1000 * x[0] + 1e-3 * x[1] ** 2, 3)

    point = np.array([0.4, 0.3])
    for matrix in (np.diag([0, 2e-3]), np.zeros((2, 2))):
        assert check(rounded, point, hess=lambda x, matrix=matrix: matrix, rng=seed).verdict is Verdict.INCONCLUSIVE


def test_a_gradient_that_ignores_its_argument():
    """It is right at the point and stands still, but f bends: a Hessian of zeros is wrong."""
    fixed = 2 * AT
    report = check(
        lambda x: x @ x,
        AT,
        grad=lambda x: fixed.copy(),  # wrong on purpose elsewhere
        hess=lambda x: np.zeros((4, 4)),  # wrong on purpose
        rng=0,
    )
    assert report.verdict is Verdict.WRONG


# ----------------------------------------------------------------------------------------- not finite beside an entry


def bounded(z: Any) -> Any:
    """Frank's copula generator: nan below -0.007."""
    return float(-np.log1p(np.exp(-z) * np.expm1(-5.0)).sum() / 5)


def bounded_hess(z: Any) -> Any:
    e = np.exp(-z) * np.expm1(-5.0)
    return np.diag(-e / (1 + e) ** 2 / 5)


@pytest.mark.parametrize("keyword", ["hess", "hvp"])
@pytest.mark.parametrize("place", [0, 1, 10])
@pytest.mark.parametrize("seed", range(2))
def test_nan_beside_one_entry(seed, place, keyword):
    """The entry next to the edge moves less far, and all are measured."""
    count = 2 if place < 2 else 11
    z = np.insert(1 + np.arange(count - 1.0), place, 0.02)

    def claim(scale: float) -> Any:
        def hess(z: Any) -> Any:
            return bounded_hess(z) * np.where(np.arange(count) == place, scale, 1.0)

        return {"hess": hess, "hvp": lambda v, z: hess(z) @ v}[keyword]

    assert check(bounded, z, **{keyword: claim(1.0)}, rng=seed).correct
    report = check(bounded, z, **{keyword: claim(1.01)}, rng=seed)  # wrong on purpose
    assert report.verdict is Verdict.WRONG


def test_no_step_leaves_the_domain_to_find_where_f_is_finite():
    visited: list[float] = []

    def f(x: Any) -> Any:
        visited.append(float(x.min()))
        return np.sum(x**3) + np.log(1.1 - x[0])

    check(f, np.array([1.0, 2.0]), hess=lambda x: np.diag([6 * x[0] - 1 / (1.1 - x[0]) ** 2, 6 * x[1]]), rng=0)
    visited.clear()
    check(f, np.array([1.0, 2.0]), hess=lambda x: np.eye(2), domain=(0.5, 3.0), rng=0)
    assert min(visited) >= 0.5


# -------------------------------------------------------------------------------------------------------- at an edge


@pytest.mark.parametrize("scale", [1.0, 1.01])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_second_order_respects_an_edge(seed, scale):
    """f is not defined below 0, but the claimed gradient is: the slope of the gradient is one-sided there, too."""

    def f(x: Any) -> Any:
        return np.where(x >= 0, np.cos(x), -np.inf).sum()

    def hess(x: Any) -> Any:
        return np.diag(-np.cos(x)) * scale  # wrong on purpose where the scale is not 1

    report = check(f, np.array([0.0, 1.0, 3.0]), grad=lambda x: np.where(x >= 0, -np.sin(x), 0.0), hess=hess, rng=seed)
    assert report.verdict is (Verdict.CORRECT if scale == 1 else Verdict.WRONG)


def test_the_second_order_respects_an_edge_in_torch():
    torch = pytest.importorskip("torch")

    def f(x: Any) -> Any:
        return torch.where(x >= 0, torch.cos(x), -torch.inf).sum()

    x = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    report = gradproof.check(f, x, modes=("rev", "rev-rev", "fwd-rev"), order=2, rng=0)
    assert report.correct


def test_a_kink_inside_the_domain_stays_one():
    """The look-alike: f is defined on both sides, and bends."""
    report = check(
        lambda x: np.sum(np.abs(x) * x),
        np.array([0.0, 1.0]),
        grad=lambda x: 2 * np.abs(x),
        hess=lambda x: np.diag(2 * np.sign(x)),
        rng=0,
    )
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
