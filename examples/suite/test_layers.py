"""A small library of layers with gradients by hand, one of which is wrong: `pytest -n 2 examples/suite` names it."""

import numpy as np
import pytest

rng = np.random.default_rng(0)
x = rng.normal(size=(16, 6))
labels = rng.integers(0, 4, size=16)
dense = {"weights": rng.normal(size=(6, 4)), "bias": rng.normal(size=4)}
norm = {"gain": rng.normal(size=6), "shift": rng.normal(size=6)}


def cross_entropy(params, x, labels):
    scores = x @ params["weights"] + params["bias"]
    scores = scores - scores.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(x)), labels])


def cross_entropy_gradient(params, x, labels):
    scores = np.exp(x @ params["weights"] + params["bias"])
    delta = scores / scores.sum(axis=1, keepdims=True)
    delta[np.arange(len(x)), labels] -= 1
    return {"weights": x.T @ delta / len(x), "bias": delta.mean(axis=0)}


def batch_norm(params, x):
    centred = x - x.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    return np.sum(np.tanh(params["gain"] * scaled + params["shift"]))


def batch_norm_gradient(params, x):
    centred = x - x.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    delta = 1 - np.tanh(params["gain"] * scaled + params["shift"]) ** 2
    gain = np.sum(delta * scaled, axis=0)
    gain[2] /= len(x)  # wrong on purpose
    return {"gain": gain, "shift": delta.sum(axis=0)}


def softplus(x):
    return np.logaddexp(0, x)


def test_cross_entropy(gradproof):
    gradproof(cross_entropy, (dense, x, labels), grad=cross_entropy_gradient)


def test_batch_norm(gradproof):
    gradproof(batch_norm, (norm, x), grad=batch_norm_gradient)


@pytest.mark.parametrize("size", [1, 5])
def test_softplus(gradproof, size):
    gradproof(softplus, np.linspace(-3, 3, size), jac=lambda x: np.diag(1 / (1 + np.exp(-x))))
