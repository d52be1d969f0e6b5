"""Finds in NumPyro: derivatives of distributions by autodiff, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mpmath
import numpyro.distributions as dist
from finds.finds import find, main

import gradproof

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
mpmath.mp.dps = 50


def see(f, x):
    """Return the gradient of f that JAX returns at x, and the report on it."""
    return float(jax.grad(f)(x)), gradproof.check(f, jnp.asarray(x), modes=("rev",), rng=0)


@find("numpyro", "`Bernoulli(logits=l).log_prob(1)` with respect to `l` at 0", proof="exact formula")
def bernoulli():
    # log(1 / (1 + e^-l))
    claimed, report = see(lambda logits: dist.Bernoulli(logits=logits).log_prob(1.0), 0.0)
    return claimed, 0.5, report


@find("numpyro", "`BinomialLogits(l, 2).log_prob(0)` with respect to `l` at 0", proof="exact formula")
def binomial():
    # -2 log(1 + e^l)
    claimed, report = see(lambda logits: dist.BinomialLogits(logits, 2).log_prob(0.0), 0.0)
    return claimed, -1.0, report


def power_law(low, high):
    """Return the density proportional to 1 / x between two bounds."""
    return dist.DoublyTruncatedPowerLaw(-1.0, low, high, validate_args=False)


@find("numpyro", "`DoublyTruncatedPowerLaw(-1, 0.5, high).cdf(0.7)` with respect to `high` at 2", proof="exact formula")
def power_law_cdf():
    x, low, high = jnp.asarray(0.7), 0.5, 2.0
    claimed, report = see(lambda high: power_law(low, high).cdf(x), high)
    # log(x / low) / log(high / low)
    true = mpmath.diff(lambda high: mpmath.log(mpmath.mpf(0.7) / low) / mpmath.log(high / low), high)
    return claimed, float(true), report


@find(
    "numpyro",
    "`DoublyTruncatedPowerLaw(-1, low, 2).log_prob(0.7)` by `low` (also `high`) at 0.5",
    proof="exact formula",
)
def power_law_log_prob():
    x, low, high = jnp.asarray(0.7), 0.5, 2.0
    claimed, report = see(lambda low: power_law(low, high).log_prob(x), low)
    # -log(x) - log(log(high / low))
    return claimed, float(1 / (low * mpmath.log(high / low))), report


@find("numpyro", "`Laplace(0, 1).cdf(x)` at 0", proof="exact formula")
def laplace_cdf():
    # the density, exp(-abs(x)) / 2
    claimed, report = see(dist.Laplace(0.0, 1.0).cdf, 0.0)
    return claimed, 0.5, report


@find("numpyro", "`Laplace(0, 1).icdf(q)` at 0.5", proof="exact formula")
def laplace_icdf():
    claimed, report = see(dist.Laplace(0.0, 1.0).icdf, 0.5)
    return claimed, 2.0, report


if __name__ == "__main__":
    main(__file__)
