"""Finds in statsmodels: scores and Hessians, against log-likelihoods written anew and differentiated in mpmath.

The models are as small as shows the mistake: six or fewer observations and an intercept.
"""

from __future__ import annotations

import itertools as it

import mpmath
import numpy as np
from finds.finds import find, main
from mpmath import exp, log, loggamma
from statsmodels.base._penalties import ConstraintsPenalty, L2Univariate, SCADSmoothed
from statsmodels.discrete.count_model import ZeroInflatedPoisson
from statsmodels.discrete.discrete_model import GeneralizedPoisson, NegativeBinomialP
from statsmodels.discrete.truncated_model import (
    TruncatedLFGeneralizedPoisson,
    TruncatedLFNegativeBinomialP,
    TruncatedLFPoisson,
)
from statsmodels.distributions.copula.transforms import TransfFrank, TransfGumbel
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.regression.linear_model import OLS
from statsmodels.tsa.ar_model import AutoReg

import gradproof

mpmath.mp.dps = 50

BY_HAND = "the log-likelihood in mpmath, 50 digits"

COUNTS = [1.0, 2.0, 3.0, 1.0, 5.0]
ONES = np.ones((5, 1))
POINT = np.array([0.2, 0.3])


def slope(f, point, order):
    return float(mpmath.diff(f, tuple(map(mpmath.mpf, point)), order))


def poisson(y, mu):
    return y * log(mu) - mu - loggamma(y + 1)


def generalized_poisson(y, mu, alpha, p):
    scale = 1 + alpha * mu ** (p - 1)
    rate = mu + (scale - 1) * y
    return log(mu) + (y - 1) * log(rate) - y * log(scale) - rate / scale - loggamma(y + 1)


def negative_binomial(y, mu, alpha, p):
    size = mu ** (2 - p) / alpha
    counts = loggamma(y + size) - loggamma(size) - loggamma(y + 1)
    return counts + size * log(size / (size + mu)) + y * log(mu / (size + mu))


@find("statsmodels", "`ZeroInflatedPoisson.hessian`, between the two parts of the model", proof=BY_HAND)
def zero_inflated():
    counts = [0.0, 0.0, 1.0, 3.0, 0.0, 2.0]
    model = ZeroInflatedPoisson(np.array(counts), np.ones((6, 1)))
    point = np.array([0.1, 0.4])

    def loglike(a, b):
        w, mu = 1 / (1 + exp(-a)), exp(b)
        return sum(log(w + (1 - w) * exp(-mu)) if y == 0 else log(1 - w) + poisson(y, mu) for y in counts)

    report = gradproof.check(model.score, point, jac=model.hessian, rng=0)
    return model.hessian(point)[0, 1], slope(loglike, point, (1, 1)), report


@find("statsmodels", "`TruncatedLFGeneralizedPoisson.score` with the default `p=2`", proof=BY_HAND)
def truncated_generalized_poisson():
    model = TruncatedLFGeneralizedPoisson(np.array(COUNTS), ONES)

    def loglike(b, alpha):
        one = lambda y: generalized_poisson(y, exp(b), alpha, 2)  # noqa: E731
        return sum(one(y) - log(1 - exp(one(0))) for y in COUNTS)

    report = gradproof.check(model.loglike, POINT, grad=model.score, rng=0)
    return model.score(POINT)[0], slope(loglike, POINT, (1, 0)), report


@find("statsmodels", "`TruncatedLFNegativeBinomialP(p=1).score`", proof=BY_HAND)
def truncated_negative_binomial():
    model = TruncatedLFNegativeBinomialP(np.array(COUNTS), ONES, p=1)

    def loglike(b, alpha):
        one = lambda y: negative_binomial(y, exp(b), alpha, 1)  # noqa: E731
        return sum(one(y) - log(1 - exp(one(0))) for y in COUNTS)

    report = gradproof.check(model.loglike, POINT, grad=model.score, rng=0)
    return model.score(POINT)[0], slope(loglike, POINT, (1, 0)), report


@find("statsmodels", "`NegativeBinomialP(p=1.5).hessian`, between the mean and alpha", proof=BY_HAND)
def negative_binomial_p():
    counts = [0.0, 2.0, 3.0, 1.0, 5.0]
    model = NegativeBinomialP(np.array(counts), ONES, p=1.5)
    loglike = lambda b, alpha: sum(negative_binomial(y, exp(b), alpha, mpmath.mpf(1.5)) for y in counts)  # noqa: E731
    report = gradproof.check(model.score, POINT, jac=model.hessian, rng=0)
    return model.hessian(POINT)[0, 1], slope(loglike, POINT, (1, 1)), report


@find(
    "statsmodels",
    "`TruncatedLFPoisson(exposure=...).loglike`: the logarithm of the exposure is taken twice",
    proof=BY_HAND,
)
def truncated_poisson():
    counts, exposure = [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]
    model = TruncatedLFPoisson(np.array(counts), np.ones((3, 1)), exposure=np.array(exposure))
    point = np.array([0.2])
    means = [exp(mpmath.mpf(0.2)) * e for e in exposure]
    true = sum(poisson(y, mu) - log(1 - exp(-mu)) for y, mu in zip(counts, means, strict=True))
    report = gradproof.check(model.loglike, point, grad=model.score, rng=0)
    return model.loglike(point), float(true), report


@find("statsmodels", "`NegativeBinomialP.score` while it is fitted with `use_transparams=True`", proof=BY_HAND)
def transformed_negative_binomial():
    model = NegativeBinomialP(np.array(COUNTS), ONES)
    model._transparams = True
    loglike = lambda b, c: sum(negative_binomial(y, exp(b), exp(c), 2) for y in COUNTS)  # noqa: E731
    report = gradproof.check(model.loglike, POINT, grad=model.score, rng=0)
    return model.score(POINT)[1], slope(loglike, POINT, (0, 1)), report


@find("statsmodels", "`GeneralizedPoisson.score` while it is fitted with `use_transparams=True`", proof=BY_HAND)
def transformed_generalized_poisson():
    model = GeneralizedPoisson(np.array(COUNTS), ONES)
    model._transparams = True
    loglike = lambda b, c: sum(generalized_poisson(y, exp(b), exp(c), 1) for y in COUNTS)  # noqa: E731
    report = gradproof.check(model.loglike, POINT, grad=model.score, rng=0)
    return model.score(POINT)[1], slope(loglike, POINT, (0, 1)), report


@find("statsmodels", "`OLS.hessian` of the profile likelihood: half of its first term", proof=BY_HAND)
def least_squares():
    model = OLS(np.array(COUNTS), ONES)
    point = np.array([0.7])
    loglike = lambda b: -mpmath.mpf(5) / 2 * log(sum((y - b) ** 2 for y in COUNTS))  # noqa: E731
    report = gradproof.check(model.score, point, jac=model.hessian, rng=0)
    return model.hessian(point)[0, 0], float(mpmath.diff(loglike, point[0], 2)), report


@find("statsmodels", "`AutoReg.score`: not divided by the variance", proof=BY_HAND)
def autoregression():
    series = [0.3, -0.2, 0.5, 0.1, 0.9, 0.4, 0.7, -0.3]
    model = AutoReg(np.array(series), 1)
    point = np.array([0.1, 0.5])

    def loglike(a, b):
        squares = sum((now - a - b * before) ** 2 for before, now in it.pairwise(series))
        return -mpmath.mpf(7) / 2 * (log(2 * mpmath.pi) + log(squares / 7) + 1)

    along = lambda b: np.array([0.1, b])  # noqa: E731
    report = gradproof.check(lambda b: model.loglike(along(b)), 0.5, grad=lambda b: model.score(along(b))[1], rng=0)
    return model.score(point)[1], slope(loglike, point, (0, 1)), report


@find("statsmodels", "`PHReg.score_residuals` where subjects enter late: their sum is not the score", proof=BY_HAND)
def hazards():
    # At time 1 the first and the third subject are at risk; at time 3 the third alone is.
    covariate = [-1.6, 0.0, -0.6]
    model = PHReg(
        np.array([1.0, 2.0, 3.0]),
        np.array(covariate)[:, None],
        status=np.array([1, 0, 1]),
        entry=np.array([0.5, 1.8, 0.2]),
    )
    point = np.array([0.4])
    loglike = lambda b: b * covariate[0] - log(exp(b * covariate[0]) + exp(b * covariate[2]))  # noqa: E731
    claim = lambda b: model.score_residuals(b).sum(axis=0)  # noqa: E731
    report = gradproof.check(model.loglike, point, grad=claim, rng=0)
    return claim(point)[0], float(mpmath.diff(loglike, point[0])), report


@find("statsmodels", "`TransfFrank.deriv` (and `deriv2`): the sign", proof="mpmath, 50 digits")
def frank():
    generator = TransfFrank()
    true = mpmath.diff(lambda t: -log(mpmath.expm1(-5 * t) / mpmath.expm1(-5)), 0.5)
    report = gradproof.check(lambda t: generator.evaluate(t, 5.0), 0.5, grad=lambda t: generator.deriv(t, 5.0), rng=0)
    return generator.deriv(0.5, 5.0), float(true), report


@find("statsmodels", "`TransfGumbel.deriv2` with a theta that is no whole number", proof="mpmath, 50 digits")
def gumbel():
    generator = TransfGumbel()
    true = mpmath.diff(lambda t: (-log(t)) ** mpmath.mpf(1.3), 0.5, 2)
    report = gradproof.check(
        lambda t: generator.deriv(t, 1.3), 0.5, grad=lambda t: generator.deriv2(np.float64(t), 1.3), rng=0
    )
    return generator.deriv2(np.float64(0.5), 1.3), float(true), report


@find("statsmodels", "`ConstraintsPenalty.deriv` with weights and a restriction", proof="exact formula")
def constraints_penalty():
    restriction, weights = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0.5, 2.0])
    penalty = ConstraintsPenalty(L2Univariate(), weights=weights, restriction=restriction)
    point = np.array([1.0, 2.0])
    # 0.5 (a - b)^2 + 2 (a + b)^2
    true = 0.5 * 2 * (1 - 2) + 2 * 2 * (1 + 2)
    return penalty.deriv(point)[0], true, gradproof.check(penalty.func, point, grad=penalty.deriv, rng=0)


@find("statsmodels", "`SCADSmoothed.deriv` with weights and a restriction", proof="exact formula")
def scad_penalty():
    restriction, weights = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0.5, 2.0])
    penalty = SCADSmoothed(tau=1.0, weights=weights, restriction=restriction)
    point = np.array([0.3, 0.1])
    # Both a - b = 0.2 and a + b = 0.4 lie where the penalty is tau |.|: 0.5 |a - b| + 2 |a + b|.
    return penalty.deriv(point)[0], 0.5 + 2.0, gradproof.check(penalty.func, point, grad=penalty.deriv, rng=0)


if __name__ == "__main__":
    main(__file__)
