"""Finds in packages for Gaussian processes and what they are built on: george, GPy, smt and pytensor."""

from __future__ import annotations

import GPy
import mpmath
import numpy as np
import pytensor
import pytensor.tensor as pt
from finds.finds import find, main
from george.kernels import ExpSquaredKernel
from smt.surrogate_models import KPLS

import gradproof

mpmath.mp.dps = 50

MATRIX = np.array([[0.7, 0.1], [0.1, 1.3]])
PAIR = np.array([[0.3, 0.2], [1.0, -0.4]])


def squared_exponential(x, y, lower):
    """Return exp(-r^2 / 2) with r^2 = (x - y)' (L L')^-1 (x - y), in mpmath."""
    difference = mpmath.matrix([a - b for a, b in zip(x, y, strict=True)])
    scaled = mpmath.lu_solve(lower * lower.T, difference)
    return mpmath.exp(-(difference.T * scaled)[0] / 2)


@find("george", "`ExpSquaredKernel` with a matrix as metric: `get_gradient`", proof="the kernel in mpmath, 50 digits")
def metric():
    kernel = ExpSquaredKernel(MATRIX, ndim=2)
    point = kernel.get_parameter_vector()

    def at(parameters, what):
        kernel.set_parameter_vector(parameters)
        return getattr(kernel, what)(PAIR)[0, 1]

    lower = mpmath.cholesky(mpmath.matrix(MATRIX.tolist()))

    def value(first):
        changed = lower.copy()
        changed[0, 0] = mpmath.exp(first)
        return squared_exponential(*PAIR.tolist(), changed)

    report = gradproof.check(lambda p: at(p, "get_value"), point, grad=lambda p: np.array(at(p, "get_gradient")), rng=0)
    return at(point, "get_gradient")[0], float(mpmath.diff(value, mpmath.log(lower[0, 0]))), report


@find(
    "george", "`ExpSquaredKernel` with a matrix as metric: `get_x1_gradient`", proof="the kernel in mpmath, 50 digits"
)
def inputs():
    kernel = ExpSquaredKernel(MATRIX, ndim=2)
    (x, y), other = PAIR.tolist()[0], PAIR[1:]
    lower = mpmath.cholesky(mpmath.matrix(MATRIX.tolist()))
    true = mpmath.diff(lambda first: squared_exponential([first, y], other[0].tolist(), lower), x)
    claim = lambda point: kernel.get_x1_gradient(point[None], other)[0, 0]  # noqa: E731
    report = gradproof.check(lambda point: kernel.get_value(point[None], other)[0, 0], PAIR[0], grad=claim, rng=0)
    return claim(PAIR[0])[0], float(true), report


@find("GPy", "`predict_jacobian` with a linear kernel: the variance of the slope", proof="exact formula")
def posterior_slope():
    x = np.array([[0.0], [1.0], [2.0]])
    model = GPy.models.GPRegression(x, 1.1 * x, GPy.kern.Linear(1, 1.3), noise_var=0.5)
    claimed = model.predict_jacobian(np.array([[0.5]]))[1].item()
    kernel, one = GPy.kern.Linear(1, 1.3), np.ones((1, 1))
    # The slope of a linear function has the prior variance 1.3 and is observed with x'x = 5 and the noise 0.5.
    report = gradproof.check(
        lambda y: kernel.gradients_X(one, one, np.array([[y]])).item(),
        3.0,
        grad=lambda y: kernel.gradients_XX(one, one, np.array([[y]])).item(),
        rng=0,
    )
    return claimed, 1 / (1 / 1.3 + 5 / 0.5), report


def logistic(x, centre, slope):
    return 1 / (1 + mpmath.exp(-(x - centre) * slope))


@find("GPy", "`LogisticBasisFuncKernel.update_gradients_diag`", proof="the kernel in mpmath, 50 digits")
def logistic_diagonal():
    kernel, x = GPy.kern.LogisticBasisFuncKernel(1, [1.0], 1.3, 0.7), np.array([[0.4], [2.0]])

    def at(slope, claim):
        kernel.slope[:] = slope
        if not claim:
            return kernel.Kdiag(x).sum()
        kernel.update_gradients_diag(np.ones(2), x)
        return np.array(kernel.slope.gradient)

    true = mpmath.diff(lambda s: mpmath.mpf(1.3) * sum(logistic(one, 1, s) ** 2 for one in (0.4, 2.0)), 0.7)
    report = gradproof.check(lambda s: at(s, False), np.array([0.7]), grad=lambda s: at(s, True), rng=0)
    return at(0.7, True)[0], float(true), report


@find("GPy", "`LogisticBasisFuncKernel.update_gradients_full` of two arrays", proof="the kernel in mpmath, 50 digits")
def logistic_full():
    kernel, x, y = GPy.kern.LogisticBasisFuncKernel(1, [1.0], 1.3, 0.7), np.array([[0.4]]), np.array([[2.0]])

    def at(slope, claim):
        kernel.slope[:] = slope
        if not claim:
            return kernel.K(x, y).sum()
        kernel.update_gradients_full(np.ones((1, 1)), x, y)
        return np.array(kernel.slope.gradient)

    true = mpmath.diff(lambda s: mpmath.mpf(1.3) * logistic(0.4, 1, s) * logistic(2.0, 1, s), 0.7)
    report = gradproof.check(lambda s: at(s, False), np.array([0.7]), grad=lambda s: at(s, True), rng=0)
    return at(0.7, True)[0], float(true), report


@find("smt", '`KPLS(corr="pow_exp").predict_derivatives`: a sign', proof="the prediction in mpmath, 50 digits")
def kriging():
    x = np.linspace(0.0, 4.0, 6)
    model = KPLS(n_comp=1, corr="pow_exp", theta0=[0.3], pow_exp_power=1.9, print_global=False, seed=0)
    model.set_training_values(x[:, None], np.sin(x)[:, None])
    model.train()
    weights, trend = model.optimal_par["gamma"].ravel(), model.optimal_par["beta"].item()
    theta = mpmath.mpf(model.optimal_theta.item())

    def predicted(at):
        scaled = (at - model.X_offset.item()) / model.X_scale.item()
        kernel = [mpmath.exp(-theta * abs(scaled - one) ** mpmath.mpf(1.9)) for one in model.X_norma.ravel()]
        return model.y_mean.item() + model.y_std.item() * (trend + mpmath.fdot(kernel, weights))

    value = lambda at: model.predict_values(np.array([[at]])).item()  # noqa: E731
    claim = lambda at: model.predict_derivatives(np.array([[at]]), 0).item()  # noqa: E731
    assert np.isclose(value(1.1), float(predicted(1.1)))
    return claim(1.1), float(mpmath.diff(predicted, 1.1)), gradproof.check(value, 1.1, grad=claim, rng=0)


@find("pytensor", "gradient of `gammaincc(k, 7)` with respect to k = 7", proof="mpmath, 50 digits")
def incomplete_gamma():
    k, x = pt.dscalars("k", "x")
    value = pytensor.function([k, x], pt.gammaincc(k, x))
    slope = pytensor.function([k, x], pt.grad(pt.gammaincc(k, x), k))
    true = mpmath.diff(lambda a: mpmath.gammainc(a, 7, mpmath.inf, regularized=True), 7)
    report = gradproof.check(lambda a: float(value(a, 7.0)), 7.0, grad=lambda a: float(slope(a, 7.0)), rng=0)
    return float(slope(7.0, 7.0)), float(true), report


if __name__ == "__main__":
    main(__file__)
