"""Double-precision functions that cast down inside: right claims are CORRECT, and wrong ones found."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest

from gradproof import Verdict, check

SEEDS = range(4)


def single(x: Any) -> Any:
    return np.asarray(x, dtype=np.float32)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max())
    return e / e.sum()


def softmax_slope(x: Any, c: Any) -> Any:
    p = softmax(x)
    return p * (c - c @ p)


def layer_norm(x: Any) -> Any:
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + x.dtype.type(1e-5))


def layer_norm_slope(x: Any, c: Any) -> Any:
    deviation = np.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
    h = (x - x.mean()) / deviation
    return (c - c.mean() - h * (c * h).mean()) / deviation


def rms_norm(x: Any) -> Any:
    return x / np.sqrt((x * x).mean() + x.dtype.type(1e-6))


def rms_norm_slope(x: Any, c: Any) -> Any:
    r = 1 / np.sqrt((x * x).mean() + 1e-6)
    return r * (c - x * r * r * (c * x).mean())


def tanh_slope(x: Any, c: Any) -> Any:
    return c * (1 - np.tanh(x) ** 2)


KINDS = [(softmax, softmax_slope), (layer_norm, layer_norm_slope), (rms_norm, rms_norm_slope), (np.tanh, tanh_slope)]


@pytest.mark.parametrize("n", [16, 64])
@pytest.mark.parametrize(("layer", "slope"), KINDS)
def test_a_layer_in_float32_within_double_code(layer, slope, n):
    """Each entry is rounded by itself, so that f is on no lattice, and its noise ends where the last entry stands."""
    right: collections.Counter[Verdict] = collections.Counter()
    for seed in SEEDS:
        rng = np.random.default_rng([n, seed])
        x, c = rng.normal(size=n), rng.normal(size=n)

        def f(x: Any, c: Any = c) -> float:
            return float(c @ layer(single(x)).astype(np.float64))

        right[check(f, x, grad=slope(x, c), rng=seed).verdict] += 1
        wrong = slope(x, c)
        wrong[0] *= 1.3
        assert check(f, x, grad=1.05 * wrong, rng=seed).verdict is Verdict.WRONG
    assert right[Verdict.WRONG] == 0
    assert right[Verdict.CORRECT] >= 3


def test_a_wrong_layer_beside_a_right_one():
    """The wrong array is named, and no other."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        p = {"W": rng.normal(size=(4, 16)) / 4, "b": rng.normal(size=4), "x": rng.normal(size=16)}
        c = np.array([1.0, -2, 3, 0.5])

        def f(p: Any, c: Any = c) -> float:
            return float(c @ softmax(single(p["W"] @ p["x"] + p["b"])).astype(np.float64))

        def grad(p: Any, share: float, c: Any = c) -> Any:
            d = softmax_slope(p["W"] @ p["x"] + p["b"], c)
            return {"W": np.outer(d, p["x"]), "b": share * d, "x": p["W"].T @ d}

        assert check(f, p, grad=grad(p, 1.0), rng=seed).verdict is not Verdict.WRONG
        report = check(f, p, grad=grad(p, 1.1), rng=seed)  # wrong on purpose
        assert [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG] == ["p['b']"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_step_function_with_the_slope_of_what_it_rounds(seed):
    """Its treads have the slope 0, and the claim is that across them: nobody can tell, and it is not WRONG."""
    x = np.random.default_rng(seed).normal(size=8)
    report = check(lambda x: float(np.floor(1e3 * x).sum() / 1e3), x, grad=np.ones(8), rng=seed)
    assert report.verdict is not Verdict.WRONG
