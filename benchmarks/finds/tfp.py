"""Finds in TensorFlow Probability on JAX: derivatives by autodiff, in float64."""

from __future__ import annotations

import jax
import jax._src.core
import jax.numpy as jnp
import mpmath
import numpy as np
from finds.finds import find, main

import gradproof

# The newest release of TensorFlow Probability asks for this name, which JAX has moved.
jax.interpreters.xla.pytype_aval_mappings = jax._src.core.pytype_aval_mappings
import tensorflow_probability.substrates.jax as tfp  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
mpmath.mp.dps = 50
ZERO, ONE = np.float64(0), np.float64(1)


def see(f, x):
    """Return the gradient of f that JAX returns at x, and the report on it."""
    return float(jax.grad(f)(x)), gradproof.check(f, jnp.asarray(x), modes=("rev",), rng=0)


@find(
    "tensorflow-probability",
    "`GeneralizedPareto(0, 1, k).log_prob(1.3)` (also `cdf`, `quantile`, `sample`) with respect to `k` at 0",
    proof="exact formula",
)
def pareto():
    claimed, report = see(lambda k: tfp.distributions.GeneralizedPareto(ZERO, ONE, k).log_prob(1.3), 0.0)
    # -(1 / k + 1) log(1 + k x) = -x + k (x^2 / 2 - x) + ...
    return claimed, 1.3**2 / 2 - 1.3, report


@find(
    "tensorflow-probability",
    "`GeneralizedExtremeValue(0, 1, k).log_prob(1.3)` (also `cdf`, `quantile`) with respect to `k` at 0",
    proof="exact formula",
)
def extreme_value():
    claimed, report = see(lambda k: tfp.distributions.GeneralizedExtremeValue(ZERO, ONE, k).log_prob(1.3), 0.0)
    # (k + 1) log(t) - t with log(t) = -log(1 + k x) / k = -x + k x^2 / 2 - ...
    return claimed, float(-1.3 + 1.3**2 / 2 * (1 - mpmath.exp(-1.3))), report


@find(
    "tensorflow-probability",
    "`LambertWNormal(0, 1, d).log_prob(1.3)` with respect to the tail weight `d` at 0",
    proof="exact formula",
)
def lambert_w_normal():
    claimed, report = see(lambda d: tfp.distributions.LambertWNormal(ZERO, ONE, d).log_prob(1.3), 0.0)
    # x = u exp(d u^2 / 2), the logarithm of the density -u^2 / 2 - log(dx/du), and du/dd = -u^3 / 2 at d = 0
    return claimed, 1.3**4 / 2 - 3 * 1.3**2 / 2, report


@find("tensorflow-probability", "`math.atan_difference(x, -0.5)` with respect to x at 2", proof="exact formula")
def atan_difference():
    # 1 / (1 + x^2)
    claimed, report = see(lambda x: tfp.math.atan_difference(x, np.float64(-0.5)), 2.0)
    return claimed, 0.2, report


@find("tensorflow-probability", "`math.lambertw`: second derivative at 0", proof="exact formula")
def lambertw():
    # W(x) = x - x^2 + ...
    claimed, report = see(jax.grad(tfp.math.lambertw), 0.0)
    return claimed, -2.0, report


@find("tensorflow-probability", "`math.betainc(a, 1, 0.5)` with respect to `a` at 1", proof="exact formula")
def betainc():
    # 0.5^a
    claimed, report = see(lambda a: tfp.math.betainc(a, ONE, ONE / 2), 1.0)
    return claimed, float(-mpmath.log(2) / 2), report


@find(
    "tensorflow-probability",
    "`math.igammainv(a, p)`: Hessian, not symmetric, entry (a, p) at (1, 0.05)",
    proof="the derivative of the quantile, differentiated in mpmath, 50 digits",
)
def igammainv():
    def f(v):
        return tfp.math.igammainv(v[0], v[1])

    x = jnp.array([1.0, 0.05])

    def by_probability(a):
        # dx/dp is the inverse of the density at x.
        quantile = mpmath.findroot(lambda x: mpmath.gammainc(a, 0, x, regularized=True) - mpmath.mpf(0.05), 0.05)
        return mpmath.gamma(a) * mpmath.exp(quantile) * quantile ** (1 - a)

    report = gradproof.check(f, x, order=2, modes=("fwd-rev",), rng=0)
    return float(jax.hessian(f)(x)[0, 1]), float(mpmath.diff(by_probability, 1)), report


if __name__ == "__main__":
    main(__file__)
