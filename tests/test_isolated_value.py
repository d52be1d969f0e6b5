"""f at the point itself is held against its neighbours: a special case for this very value is named."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict

SEEDS = range(3)
POINT = np.array([0.25, 0.5, 1.3])


def special(q):
    return np.where(q == 0.25, 0.9 * np.sin(q), np.sin(q))


CLAIMS = {
    "grad": (lambda q: special(q).sum(), {"grad": np.cos}),
    "grad, entries": (lambda q: special(q).sum(), {"grad": np.cos, "level": "entries"}),
    "jac": (special, {"jac": lambda q: np.diag(np.cos(q))}),
    "jac, entries": (special, {"jac": lambda q: np.diag(np.cos(q)), "level": "entries"}),
    "vjp": (special, {"vjp": lambda u, q: u * np.cos(q)}),
    "jvp": (special, {"jvp": lambda v, q: v * np.cos(q)}),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", CLAIMS)
def test_a_special_case_at_the_point(kind, seed):
    """The claim is the derivative of f around the point: never CORRECT, and the reason is said."""
    f, claim = CLAIMS[kind]
    report = gradproof.check(f, POINT, **claim, rng=seed)

    assert report.verdict is Verdict.INCONCLUSIVE
    assert any(one.id == "GP310" and "jumps at the point itself" in one.kind for one in report.findings)
    assert report.suggested_args is not None


@pytest.mark.parametrize("kind", CLAIMS)
def test_the_same_functions_elsewhere(kind):
    f, claim = CLAIMS[kind]
    assert gradproof.check(f, POINT + 0.01, **claim, rng=0).correct


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9])
def test_small_jumps(size):
    """However small, as long as it is larger than what f moves by at the finest steps."""
    for seed in SEEDS:
        report = gradproof.check(lambda q: np.sin(q).sum() + size * (q[0] == 0.25), POINT, grad=np.cos, rng=seed)
        assert [one.id for one in report.findings] == ["GP310"]


def test_only_the_leaf_that_jumps():
    """The other leaves are certified, or accused, as usual."""
    point = {"a": POINT, "b": np.arange(1.0, 5)}
    for factor, verdict in ((1.0, Verdict.CORRECT), (1.1, Verdict.WRONG)):  # wrong on purpose: 1.1
        report = gradproof.check(
            lambda p: special(p["a"]).sum() + np.sin(p["b"]).sum(),
            point,
            grad=lambda p, c=factor: {"a": np.cos(p["a"]), "b": c * np.cos(p["b"])},
            rng=0,
        )
        assert [leaf.verdict for leaf in report.leaves] == [Verdict.INCONCLUSIVE, verdict]


LOOK_ALIKE = {
    "kink": (lambda q: np.abs(q - 0.25).sum(), lambda q: np.sign(q - 0.25), Verdict.NOT_DIFFERENTIABLE),
    "cusp": (lambda q: (np.abs(q - 0.25) ** 1.5).sum() + q.sum(), None, None),
    "narrow bump": (lambda q: np.exp(-(((q - 0.25) / 1e-3) ** 2)).sum() + np.sin(q).sum(), np.cos, Verdict.CORRECT),
    "rounded": (lambda q: np.round(np.sin(q), 9).sum(), np.cos, None),
    "float32 inside": (lambda q: float(np.sin(q).astype(np.float32).sum()), np.cos, None),
    "offset": (lambda q: 1e7 + np.sin(q).sum(), np.cos, Verdict.CORRECT),
}


@pytest.mark.parametrize("name", LOOK_ALIKE)
def test_what_does_not_jump(name):
    """Kinks, cusps, bumps, lattices and rounding are no jumps at the point."""
    f, gradient, verdict = LOOK_ALIKE[name]
    for seed in SEEDS:
        report = gradproof.check(f, np.array([0.25]), grad=gradient or (lambda q: np.ones(1)), rng=seed)
        assert all(one.id != "GP310" for one in report.findings)
        assert verdict is None or report.verdict is verdict


def noisy(x):
    """A parabola beneath noise that is as good as random."""
    return np.sum(x**2) + 1e-9 * (np.sum(x) * 1e13 % 1)


def noisy_but_here(size):
    """The look-alike: as noisy, and another value at one point, far outside that noise."""
    return lambda x: noisy(x) + (size if x[0] == 0.25 else 0.0)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_noise_is_not_taken_for_a_value_of_its_own(factor):
    """The value at the point lies somewhere in the noise of its neighbours, at its edge now and then."""
    x = np.random.default_rng(0).normal(size=5)
    said = []
    for seed in range(12):
        report = gradproof.check(noisy, x, grad=2 * factor * x, rng=seed)  # wrong on purpose, where it is
        said.append(report.verdict)
        assert "GP310" not in [one.id for one in report.findings]

    assert said.count(Verdict.CORRECT if factor == 1 else Verdict.WRONG) >= 11


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0])
def test_a_value_of_its_own_is_found_beside_noise(size):
    x = np.random.default_rng(0).normal(size=5)
    x[0] = 0.25
    for seed in range(6):
        report = gradproof.check(noisy_but_here(size), x, grad=2 * x, rng=seed)

        assert report.verdict is Verdict.INCONCLUSIVE
        assert "GP310" in [one.id for one in report.findings]


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("seed", range(6))
def test_a_step_that_begins_at_the_point(size, seed):
    """On one side f goes on from its value, on the other it does not; at x alone, as by a complex step, none shows."""
    x = np.linspace(0.1, 2, 30)
    report = gradproof.check(lambda q: np.sum(np.sin(q)) + size * (q[0] > x[0]), x, grad=np.cos, rng=seed)

    assert report.verdict is Verdict.INCONCLUSIVE
    if size == 1:
        assert [one.id for one in report.findings] == ["GP310"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_complex_step_where_digits_are_lost(seed):
    """Differences are rounded, and f does not jump: there the complex step tells more, as before."""
    x = np.linspace(0.1, 2, 30)

    def f(q):
        return np.sum((1e9 + np.sin(q)) ** 2 - 1e18)

    report = gradproof.check(f, x, grad=lambda q: 2 * (1e9 + np.sin(q)) * np.cos(q), rng=seed)
    assert report.correct
    assert report.leaves[0].bound < 1e-9
