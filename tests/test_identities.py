"""Identities that products with a derivative obey: what is rounding is no evidence, what is more is caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradproof import Verdict, check
from gradproof._contracts import Identity, check_symmetric

X = np.array([-0.4, 1.3, 2.2])


def ids(report: Any) -> set[str]:
    return {one.id for one in report.findings}


# ------------------------------------------------------------------------------------------- products of rounding


def test_a_vjp_that_consists_of_rounding():
    """Its terms cancel up to their own rounding, which is linear in nothing."""
    report = check(np.sign, X, vjp=lambda u, x: (0.1 * u + 0.2 * u) - 0.3 * u, rng=0)
    assert report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("kind", ["vjp", "jvp"])
def test_a_product_that_is_more_than_rounding(kind):
    """The same with a square that does not cancel."""

    def product(u: Any, x: Any) -> Any:
        return (0.1 * u + 0.2 * u) - 0.3 * u + 1e-3 * u**2  # wrong on purpose

    report = check(np.sign, X, **{kind: product}, rng=0)
    assert report.verdict is Verdict.WRONG
    assert ids(report) == {"GP205" if kind == "vjp" else "GP206"}


def correlation(x: Any) -> Any:
    """Its diagonal is 1."""
    return np.corrcoef(x)


def push_correlation(v: Any, x: Any) -> Any:
    centred, moved = x - x.mean(1, keepdims=True), v - v.mean(1, keepdims=True)
    product = centred @ centred.T
    change = moved @ centred.T + centred @ moved.T
    size = np.sqrt(np.diag(product))
    grown = np.diag(change) / (2 * size)
    # The two terms cancel on the diagonal.
    return change / np.outer(size, size) - product / np.outer(size, size) * (
        grown[:, None] / size[:, None] + grown / size
    )


@pytest.mark.parametrize("seed", range(4))
def test_outputs_that_are_constant_up_to_rounding(seed):
    x = 18 * np.random.default_rng(seed).random((3, 6)) - 9
    assert check(correlation, x, jvp=push_correlation, rng=seed).correct

    def push(v: Any, x: Any) -> Any:
        return push_correlation(v, x) + 1e-3 * np.abs(v).sum()  # wrong on purpose

    report = check(correlation, x, jvp=push, rng=seed)
    assert report.verdict is Verdict.WRONG
    assert "GP206" in ids(report)


@pytest.mark.parametrize("keyword", ["hess", "hvp"])
def test_a_second_derivative_that_is_rounding(keyword):
    """f is linear, and the claim holds what has cancelled: neither symmetric nor linear."""
    matrix = 1e-15 * np.random.default_rng(0).normal(size=(6, 6))
    w = np.linspace(1, 2, 6)
    claim = {"hess": lambda x: matrix, "hvp": lambda v, x: matrix @ v + 1e-16 * np.abs(v)}[keyword]
    report = check(lambda x: w @ x, np.ones(6), **{keyword: claim}, rng=0)
    assert not ids(report) & {"GP206", "GP207"}
    large = {"hess": lambda x: 1e6 * matrix, "hvp": lambda v, x: 1e6 * matrix @ v}[keyword]  # wrong on purpose
    report = check(lambda x: w @ x, np.ones(6), **{keyword: large}, rng=0)
    assert "GP207" in ids(report)


class Operator:
    """A linear operator whose two products may differ."""

    def __init__(self, forward: Any, back: Any) -> None:
        self.forward, self.back, self.shape = forward, back, forward.shape

    def matvec(self, v: Any) -> Any:
        return self.forward @ v

    def rmatvec(self, u: Any) -> Any:
        return self.back.T @ u


@pytest.mark.parametrize(("size", "broken"), [(1e-16, False), (1e-9, True)])
def test_an_operator_that_is_rounding(size, broken):
    forward, back = size * np.random.default_rng(0).normal(size=(2, 3, 3))
    report = check(np.sign, X, jac=Operator(forward, back), rng=0)
    assert ("GP208" in ids(report)) is broken


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_product_that_ignores_its_vector_is_told_from_one_with_a_constant(dtype):
    x = X.astype(dtype)

    def kinds(product):
        return [one.kind for one in check(np.square, x, vjp=product, rng=0).findings]

    ignoring, constant = "`vjp` ignores its cotangent", "it is not zero for a cotangent of zeros"
    assert kinds(lambda u, x: 2 * x) == [ignoring]  # wrong on purpose
    assert [kind.endswith(constant) for kind in kinds(lambda u, x: 2 * u * x + 20)] == [True]  # wrong on purpose


def test_outputs_with_the_same_derivative_do_not_ignore_their_cotangent():
    """Each output is moved by the one number alike; what is not linear is something else."""

    def product(u, x):
        return {"a": 1e-3 * np.abs(u).sum(), "b": u.sum()}  # wrong on purpose

    report = check(lambda x: x["b"] + np.zeros(2), {"a": 1.5, "b": 0.5}, vjp=product, rng=0)
    assert [one.kind for one in report.findings] == ["`vjp` is not linear in its cotangent"]


# --------------------------------------------------------------------------------------------------- random claims


@pytest.mark.parametrize("kind", ["vjp", "jvp"])
def test_a_random_product_is_not_called_nonlinear(kind):
    noise = np.random.default_rng(1)

    def product(u: Any, x: Any) -> Any:
        return u * np.cos(x) * (1 + 1e-4 * noise.normal())

    assert not ids(check(np.sin, X, **{kind: product}, rng=0)) & {"GP205", "GP206"}


def test_a_product_that_is_random_and_not_linear():
    """What it is not linear by is far above what it differs by from call to call."""
    noise = np.random.default_rng(1)

    def product(u: Any, x: Any) -> Any:
        return (u + 0.1 * u**2) * np.cos(x) * (1 + 1e-6 * noise.normal())  # wrong on purpose

    assert "GP205" in ids(check(np.sin, X, vjp=product, rng=0))


# --------------------------------------------------------------------------------------- rows that are numerically 0


def frame(q: Any) -> Any:
    """The pose of an arm with two joints and a twist of 90 degrees, whose cosine is 6e-17."""
    c, s = np.cos(np.pi / 2), np.sin(np.pi / 2)

    def joint(angle: Any) -> Any:
        a, b = np.cos(angle), np.sin(angle)
        return np.array([[a, -b * c, b * s, 0.3 * a], [b, a * c, -a * s, 0.3 * b], [0, s, c, 0.1], [0, 0, 0, 1]])

    return (joint(q[0]) @ joint(q[1])).ravel()


def exact_frame(q: Any) -> Any:
    """Its Jacobian with the cosine taken as 0."""

    def joint(angle: Any, order: int) -> Any:
        a, b = (np.cos(angle), np.sin(angle)) if order == 0 else (-np.sin(angle), np.cos(angle))
        constant = 1.0 if order == 0 else 0.0
        return np.array(
            [[a, 0, b, 0.3 * a], [b, 0, -a, 0.3 * b], [0, constant, 0, 0.1 * constant], [0, 0, 0, constant]]
        )

    columns = [joint(q[0], 1) @ joint(q[1], 0), joint(q[0], 0) @ joint(q[1], 1)]
    return np.stack([column.ravel() for column in columns], axis=1)


@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize("kind", ["jac", "vjp", "jvp"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_rounding_residue(kind, level, seed):
    q = np.array([0.7, -1.1])

    def claims(scale: Any) -> Any:
        return {
            "jac": lambda q: exact_frame(q) * scale,
            "vjp": lambda u, q: u @ (exact_frame(q) * scale),
            "jvp": lambda v, q: (exact_frame(q) * scale) @ v,
        }[kind]

    assert check(frame, q, **{kind: claims(1.0)}, level=level, rng=seed).correct
    scale = np.ones((16, 1))
    scale[3] = 1.001  # wrong on purpose
    assert check(frame, q, **{kind: claims(scale)}, level=level, rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize("kind", ["jac", "vjp", "jvp"])
@pytest.mark.parametrize("size", [6e-17, 1e-9])
@pytest.mark.parametrize("seed", range(3))
def test_a_row_that_is_claimed_to_be_zero(seed, size, kind):
    """6e-17 beside 1 is zero; 1e-9 is a small row, and zero is wrong there."""
    claim = {
        "jac": lambda x: np.array([0.0, np.cos(x)]),  # wrong on purpose where the row is 1e-9
        "vjp": lambda u, x: u[1] * np.cos(x),
        "jvp": lambda v, x: np.array([0.0, v * np.cos(x)]),
    }[kind]
    report = check(lambda x: np.array([size * np.cos(x), np.sin(x)]), 0.7, **{kind: claim}, rng=seed)
    assert report.verdict is (Verdict.CORRECT if size < 1e-15 else Verdict.WRONG)


@pytest.mark.parametrize("seed", range(3))
def test_a_row_that_cancels(seed):
    def f(x: Any) -> Any:
        return np.array([(1 + np.sin(x)) - np.sin(x) - 1, np.sin(x)])

    assert check(f, 0.7, jac=lambda x: np.array([3e-17, np.cos(x)]), rng=seed).correct
    report = check(f, 0.7, jac=lambda x: np.array([1e-6, np.cos(x)]), rng=seed)  # wrong on purpose
    assert report.verdict is not Verdict.CORRECT


@pytest.mark.parametrize(("apart", "told"), [(1e-9, False), (1e-7, True)])
def test_what_second_differences_could_not_show_is_no_evidence_of_asymmetry(apart, told):
    """Terms a thousand times as large as what is left may have cancelled in a row that is all rounding."""
    matrix = np.array([[1.0, 0.0], [apart, 0.0]])  # wrong on purpose

    found = check_symmetric("hess", matrix, np.ones(2), 2.0**-52)
    assert (found is not None) is told
    if found is not None:
        assert (found.identity, found.entry, found.count) == (Identity.SYMMETRIC, (0, 1), 1)
        assert (found.one, found.other) == (0.0, apart)


# ------------------------------------------------------------------------------------------------ fewer digits inside


def halved(x: Any) -> Any:
    return np.float16(x)


@pytest.mark.parametrize("kind", ["vjp", "jvp"])
def test_a_product_that_is_rounded_on_the_way(kind):
    """float16 inside a function of float64, as under mixed precision: rounding commutes with powers of two."""

    def f(x: Any) -> Any:
        return np.sin(halved(x)).astype(np.float64)

    def product(u: Any, x: Any, term: float = 0.0) -> Any:
        return (halved(u) * np.cos(halved(x))).astype(np.float64) + term * np.abs(u)

    for seed in range(5):
        report = check(f, X, **{kind: product}, rng=seed)
        assert report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
        assert not ids(report) & {"GP205", "GP206"}
        wrong = check(f, X, **{kind: lambda u, x: product(u, x, 0.03)}, rng=seed)  # wrong on purpose
        assert ids(wrong) & {"GP205", "GP206"}


@pytest.mark.parametrize("term", [lambda u: 1e-3 * u**2, lambda u: 1e-3 * np.abs(u), lambda u: 0.3 * u**3 / (u @ u)])
def test_small_terms_that_are_no_rounding(term):
    """Of another degree, of the wrong symmetry, or far larger than any rounding."""
    report = check(np.sin, X, vjp=lambda u, x: u * np.cos(x) + term(u), rng=0)  # wrong on purpose
    assert "GP205" in ids(report)


def cancelled(x):
    """Zero, but for the rounding of terms that cancel."""
    return float(np.log(np.prod(np.exp(x))) - np.sum(x))


@pytest.mark.parametrize("keyword", ["hess", "hvp"])
def test_a_hessian_of_nothing_but_jitter(keyword, subtests):
    """What has cancelled in f and in the claim tells nothing; what is small and smooth does."""

    def checked(f, gradient, hessian, seed):
        claim = {"hess": hessian, "hvp": lambda v, x: hessian(x) @ v}[keyword]
        x = np.random.default_rng(seed).normal(size=6)
        return check(f, x, grad=gradient, rng=seed, **{keyword: claim})

    for seed in range(10):
        noise = 1e-17 * np.random.default_rng(100 + seed).normal(size=(7, 6))
        with subtests.test(seed=seed):
            # (Captured values are those of this seed.)
            report = checked(cancelled, lambda x, noise=noise: noise[6], lambda x, noise=noise: noise[:6], seed)
            assert report.verdict is Verdict.INCONCLUSIVE, str(report)
            small = checked(
                lambda x: 1e-16 * float(np.sum(np.sin(x))),
                lambda x: 1e-16 * np.cos(x),
                lambda x: 1e-16 * (np.diag(-np.sin(x)) + 0.1 * np.triu(np.ones((6, 6)), 1)),  # wrong on purpose
                seed,
            )
            assert "GP207" in ids(small)


@pytest.mark.parametrize("seed", range(6))
def test_a_product_with_outputs_of_nothing_but_jitter(seed):
    """One that is linear up to rounding, and one that is not linear beside what f does."""
    noise = 1e-17 * np.random.default_rng(seed).normal(size=(6, 6))
    x = np.random.default_rng(50 + seed).normal(size=6)

    def f(x):
        return np.append(np.log(np.cumprod(np.exp(x)))[1:] - np.cumsum(x)[1:], 0.0)

    right = check(f, x, vjp=lambda u, x: noise.T @ u + 1e-17 * np.abs(u), rng=seed)
    wrong = check(lambda x: 1e-16 * np.sin(x), x, vjp=lambda u, x: 1e-16 * np.cos(x) * np.abs(u), rng=seed)
    assert wrong.verdict is Verdict.WRONG
    assert right.verdict is Verdict.INCONCLUSIVE, str(right)
