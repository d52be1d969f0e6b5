"""Ridge regression with a gradient by hand: `gradproof check examples/linear_regression.py` exits with 0."""

import numpy as np

import gradproof

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 4))
y = rng.normal(size=30)
ridge = 0.1


def loss(model):
    residual = X @ model["weights"] + model["bias"] - y
    return residual @ residual / (2 * len(y)) + ridge / 2 * model["weights"] @ model["weights"]


def gradient(model):
    residual = X @ model["weights"] + model["bias"] - y
    return {"weights": X.T @ residual / len(y) + ridge * model["weights"], "bias": residual.mean()}


model = {"weights": rng.normal(size=4), "bias": 0.5}
least_squares = gradproof.Case(loss, (model,), grad=gradient)


def softplus_sum(z):
    return np.logaddexp(0, z).sum()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


softplus = gradproof.Case(softplus_sum, rng.normal(size=6), grad=sigmoid)
