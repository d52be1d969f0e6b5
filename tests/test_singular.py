"""f has a pole closer to the point than most steps: the slope is that of the point, or none is told."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof._line._levels import full_levels, jittered
from gradproof._line._singular import unresolved_to

SEEDS = range(4)


def distance(x):
    """Log of a distance that is tiny: even at all steps that are wider than it."""
    return np.log(abs(x[0] - 1)) + np.sin(x[1])


def slope(x):
    return np.array([1 / (x[0] - 1), np.cos(x[1])])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-8, 1e-9, 1e-10, 1e-12])
def test_a_logarithm_beside_its_pole(gap, level, seed):
    x = np.array([1 + gap, 0.3])

    right = gradproof.check(distance, x, grad=slope, level=level, rng=seed)
    flat = gradproof.check(distance, x, grad=lambda x: slope(x) * [0, 1], level=level, rng=seed)  # wrong on purpose
    twice = gradproof.check(distance, x, grad=lambda x: slope(x) * [2, 1], level=level, rng=seed)  # wrong on purpose

    assert right.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    assert flat.verdict is not Verdict.CORRECT
    assert twice.verdict is not Verdict.CORRECT
    if gap >= 1e-6:
        assert right.verdict is Verdict.CORRECT
        assert flat.verdict is twice.verdict is Verdict.WRONG


def root(x):
    """abs drops imaginary parts: a complex step sees the sine alone."""
    return np.sqrt(abs(x[0] - 1)) + np.sin(x[1]) * x[2]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gap", [-1e-9, 1e-9, 1e-10])
def test_a_complex_step_that_differences_do_not_vouch_for(gap, seed):
    x = np.array([1 + gap, 0.3, 0.7])
    wrong = gradproof.check(
        root,
        x,
        grad=lambda x: np.array([0.0, np.cos(x[1]) * x[2], np.sin(x[1])]),  # wrong on purpose
        rng=seed,
    )
    assert wrong.verdict is not Verdict.CORRECT


def nearly_singular(seed):
    basis = np.random.default_rng(seed).normal(size=(5, 5))
    return basis @ np.diag([1, 1, 1, 1, 1e-9]) @ basis.T


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("matrix", range(3))
def test_the_determinant_of_a_nearly_singular_matrix(matrix, seed):
    report = gradproof.check(
        lambda a: np.linalg.slogdet(a)[1], nearly_singular(matrix), grad=lambda a: np.linalg.inv(a).T, rng=seed
    )
    assert report.verdict is not Verdict.WRONG


def ladder(draw):
    return jittered(full_levels(2.0**-52), np.random.default_rng(draw))


def test_where_the_finest_steps_resolve_it():
    """Down to the level that is as far from 0 as the pole is."""
    h = ladder(0)
    phi = lambda t: np.log(np.abs(t + 1e-7))[:, None]  # noqa: E731
    last = int(unresolved_to(h, phi(h), phi(-h), phi(np.zeros(1))[0], np.full(1, 1e-15))[0])
    assert 1e-8 < h[last] < 1e-4


@pytest.mark.parametrize(
    "phi",
    [np.sin, np.exp, np.abs, lambda t: np.sqrt(np.abs(t)), lambda t: np.log(np.abs(t + 2.0)), np.sign],
    ids=["sin", "exp", "kink", "cusp", "pole further out", "jump"],
)
def test_what_is_no_pole(phi):
    h = ladder(1)
    found = unresolved_to(h, phi(h)[:, None], phi(-h)[:, None], phi(np.zeros(1)), np.full(1, 1e-16))
    assert found.tolist() == [-1]


def test_noise_is_no_pole():
    h, generator = ladder(2), np.random.default_rng(0)
    plus, minus, f0 = (generator.standard_normal((len(h), 20_000)) for _ in range(3))
    assert np.mean(unresolved_to(h, plus, minus, f0[0], np.full(20_000, 1e-9)) >= 0) <= 1e-4
