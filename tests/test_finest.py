"""A deviation counts where the finest steps at which it would show bear it out: a pole, an edge or a ripple may be
nearer than all others."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict

F32 = np.float32


def beside_a_pole(x):
    """tan next to pi / 2, in float32: 1 / x, of an argument that is rounded to 1e-7."""
    return np.tan(F32(np.pi / 2) - x).sum()


def grad_beside_a_pole(x):
    return -(1 + np.tan(F32(np.pi / 2) - x) ** 2)


def logarithm(x):
    return np.log(x).sum()


def grad_logarithm(x):
    return 1 / x


def entropy(x):
    return (x * np.log(x)).sum()


def grad_entropy(x):
    return np.log(x) + 1


def inverse(x):
    return (1 / x).sum()


def grad_inverse(x):
    return -1 / x**2


def root(x):
    return np.sqrt(x).sum()


def grad_root(x):
    return F32(0.5) / np.sqrt(x)


def phase(x):
    """Turns 1e9 times within the natural size of x: at every step but the finest it is noise."""
    return np.sin(np.sum(x**3))


def grad_phase(x):
    return 3 * x**2 * np.cos(np.sum(x**3))


def beyond_rounding(x):
    """Turns more often than x has digits: whatever is claimed, nobody can tell."""
    return np.sin(np.sum((1e8 * x) ** 3))


def grad_beyond_rounding(x):
    return 3e8 * (1e8 * x) ** 2 * np.cos(np.sum((1e8 * x) ** 3))


def noisy(x):
    """A parabola beneath noise of its own size, as far as values tell."""
    return np.sum(x**2) + np.sin(1e15 * np.sum(x))


def grad_noisy(x):
    return 2 * x


def point(size, seed, smallest=1e-3):
    """Draws of one size, and one entry that lies beside the pole or the edge."""
    rng = np.random.default_rng((size, seed))
    x = rng.uniform(0.5, 1.4, size)
    x[rng.integers(size)] = smallest * rng.uniform(0.5, 2)
    return x.astype(F32)


def check(f, grad, x, factor, seed):
    return gradproof.check(f, x, grad=lambda y: (grad(y) * factor).astype(y.dtype), rng=seed)


SMOOTH = {
    "tan beside its pole": (beside_a_pole, grad_beside_a_pole),
    "log beside its edge": (logarithm, grad_logarithm),
    "x log x": (entropy, grad_entropy),
    "1 / x": (inverse, grad_inverse),
    "a root": (root, grad_root),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_a_right_claim_beside_a_pole_or_an_edge_is_not_wrong_in_float32(name):
    for seed in range(12):
        report = check(*SMOOTH[name], point(30, seed, (1e-4, 4e-4, 2e-3)[seed % 3]), 1.0, seed)

        assert report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_wrong_claim_beside_a_pole_or_an_edge_is_neither_right_nor_a_kink_in_float32(name):
    """A tenth off, it is WRONG wherever f can be told; no curvature is taken for a kink whose sides it lies between."""
    said = []
    for seed in range(12):
        report = check(*SMOOTH[name], point(30, seed, (1e-4, 4e-4, 2e-3)[seed % 3]), 1.1, seed)  # wrong on purpose
        said.append(report.verdict)

    assert set(said) <= {Verdict.WRONG, Verdict.INCONCLUSIVE}
    assert said.count(Verdict.WRONG) >= (10 if name != "tan beside its pole" else 2)


@pytest.mark.parametrize("seed", range(4))
def test_what_no_step_but_the_finest_resolves_is_not_taken_for_noise(seed):
    x = 1e3 + np.random.default_rng(seed).normal(size=8)

    assert check(phase, grad_phase, x, 1.0, seed).verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    assert check(beyond_rounding, grad_beyond_rounding, x, 1.0, seed).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("seed", range(4))
def test_a_wrong_claim_is_found_beneath_noise(seed):
    """The finest steps follow noise, and not the claim."""
    x = np.random.default_rng(seed).normal(size=8)

    assert check(noisy, grad_noisy, 1e4 * x, 1.0, seed).verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    assert check(noisy, grad_noisy, 1e4 * x, 2.0, seed).verdict is Verdict.WRONG  # wrong on purpose
