"""Finds in PennyLane, numba-stats and NGBoost."""

from __future__ import annotations

import math

import mpmath
import numba_stats.laplace as laplace
import numpy as np
import pennylane as qml
from finds.finds import find, main
from ngboost.distns import MultivariateNormal

import gradproof

mpmath.mp.dps = 50


def circuit(method):
    """Return the circuit of exp(ixX) on one qubit, read along Y: its value is sin(2x)."""

    @qml.qnode(qml.device("default.qubit", wires=1), diff_method=method)
    def value(x):
        qml.exp(qml.PauliX(0), 1j * x)
        return qml.expval(qml.PauliY(0))

    return value


@find("pennylane", '`qml.exp(X, 1j * x)` by `diff_method="parameter-shift"` at 0.3', proof="exact formula")
def parameter_shift():
    value = circuit("parameter-shift")

    def claim(x):
        return np.array(qml.grad(value)(qml.numpy.array(x, requires_grad=True)))

    report = gradproof.check(lambda x: float(value(qml.numpy.array(x, requires_grad=False))), 0.3, grad=claim, rng=0)
    return float(claim(0.3)), 2 * math.cos(0.6), report


@find("pennylane", '`qml.exp(X, 1j * x)` by `diff_method="finite-diff"` at 0.3', proof="exact formula")
def finite_differences():
    value = circuit("finite-diff")

    def claim(x):
        return np.array(qml.grad(value)(qml.numpy.array(x, requires_grad=True)))

    report = gradproof.check(lambda x: float(value(qml.numpy.array(x, requires_grad=False))), 0.3, grad=claim, rng=0)
    return float(claim(0.3)), 2 * math.cos(0.6), report


@find("numba-stats", "`laplace.pdf` (also `logpdf`) with scale 1.3: not the slope of `cdf`", proof="exact formula")
def laplace_pdf():
    x, scale = np.array([0.25, 0.6, 1.1, 1.9]), 1.3
    claim = laplace.pdf(x, 0.2, scale)
    report = gradproof.check(lambda x: laplace.cdf(x, 0.2, scale).sum(), x, grad=claim, rng=0)
    return float(claim[0]), math.exp(-(0.25 - 0.2) / scale) / (2 * scale), report


@find(
    "ngboost",
    "`MultivariateNormal.d_score` with respect to the logarithm of an entry of the Cholesky factor, at -13",
    proof="the score written out, mpmath, 50 digits",
)
def multivariate_normal():
    normal = MultivariateNormal(2)
    model = type("Model", (normal.scores[0], normal), {})
    p, y = np.array([[0.0, 0.0, -13.0, 0.1, 0.2]]).T, np.array([[2e5, 1.0]])

    def written_out(logarithm):
        # The entries of the factor are exp(p) + 1e-6.
        first, last = mpmath.exp(logarithm) + mpmath.mpf(1e-6), mpmath.exp(mpmath.mpf(0.2)) + mpmath.mpf(1e-6)
        squares = (first * 2e5 + mpmath.mpf(0.1)) ** 2 + last**2
        return squares / 2 - mpmath.log(first * last) + mpmath.log(2 * mpmath.pi)

    def score(p):
        return float(np.sum(model(p).score(y)))

    difference = score(p) - score(p + np.array([[0, 0, 1, 0, 0]]).T)
    assert abs(difference - (written_out(-13) - written_out(-12))) < 1e-9  # the value is right
    report = gradproof.check(score, p, grad=lambda p: model(p).d_score(y).T, rng=0)
    return float(model(p).d_score(y)[0, 2]), float(mpmath.diff(written_out, -13)), report


if __name__ == "__main__":
    main(__file__)
