"""Finds in astropy and photutils: derivatives of models with respect to their parameters."""

from __future__ import annotations

import mpmath
import numpy as np
from astropy.modeling.models import Chebyshev1D, Drude1D, Hermite2D, Polynomial2D
from finds.finds import find, main
from photutils.psf import CircularGaussianPSF

import gradproof

mpmath.mp.dps = 50


def check(model, *at):
    """Check `fit_deriv` of a model, which has a row or a column for each parameter, at some values of its variables."""
    at = tuple(np.array(one) for one in at)
    size = len(model.parameters)

    def claim(parameters):
        derivative = np.array(model.fit_deriv(*at, *parameters))
        return derivative if derivative.shape == (len(at[0]), size) else derivative.T

    report = gradproof.check(
        lambda parameters: model.evaluate(*at, *parameters), np.array(model.parameters), jac=claim, rng=0
    )
    return claim(model.parameters), report


@find(
    "astropy",
    "`Chebyshev1D.fit_deriv` (also `Polynomial1D`, `Legendre1D`, `Hermite1D`) with a `domain`",
    proof="exact formula",
)
def one_variable():
    # The domain maps 8 to (2 * 8 - 10) / 10 = 0.6, and T_2(0.6) = 2 * 0.36 - 1.
    claimed, report = check(Chebyshev1D(2, domain=(0, 10), c0=0.5, c1=0.3, c2=0.1), [8.0, 3.0, 5.5, 1.0])
    return claimed[0, 2], -0.28, report


@find(
    "astropy",
    "`Polynomial2D.fit_deriv` (also `Chebyshev2D`, `Legendre2D`, `Hermite2D`) with an `x_domain`",
    proof="exact formula",
)
def two_variables():
    # The column of c2_0 follows those of c0_0 and c1_0; the domain maps 8 to 0.6.
    model = Polynomial2D(2, x_domain=(0, 10), c0_0=0.5, c1_0=0.3, c2_0=0.1)
    claimed, report = check(model, [8.0, 3.0, 5.5, 1.0, 4.0, 9.0, 2.0], [0.1, 0.9, -0.3, 0.4, -0.8, 0.7, 0.2])
    return claimed[0, 2], 0.36, report


@find("astropy", "`Hermite2D.evaluate`: the value of H_2 in y", proof="exact formula")
def hermite():
    model = Hermite2D(0, 2, c0_0=0, c0_1=0, c0_2=1)
    _, report = check(model, [0.1, 0.4, -0.3, 0.2], [0.5, 0.7, -0.2, 1.1])
    return float(model(0.1, 0.5)), 4 * 0.5**2 - 2, report


@find("astropy", "`Drude1D.fit_deriv` with respect to `x_0`", proof="the model in mpmath, 50 digits")
def drude():
    claimed, report = check(Drude1D(1.3, 0.9, 0.6), [1.7, 0.5, 1.1])

    def model(x_0):
        x, width = mpmath.mpf(1.7), mpmath.mpf(0.6)
        return mpmath.mpf(1.3) * (width / x_0) ** 2 / ((x / x_0 - x_0 / x) ** 2 + (width / x_0) ** 2)

    return claimed[0, 1], float(mpmath.diff(model, 0.9)), report


@find("photutils", "`CircularGaussianPSF.fit_deriv` with respect to `fwhm`", proof="the model in mpmath, 50 digits")
def gaussian():
    x, y = 0.3, 0.1
    claimed, report = check(CircularGaussianPSF(flux=1, x_0=0, y_0=0, fwhm=2), [x, 1.2, -0.5, 0.9], [y, -0.4, 0.7, 0.2])

    def model(fwhm):
        variance = fwhm**2 / (8 * mpmath.log(2))
        return mpmath.exp(-(mpmath.mpf(x) ** 2 + mpmath.mpf(y) ** 2) / (2 * variance)) / (2 * mpmath.pi * variance)

    return claimed[0, 3], float(mpmath.diff(model, 2)), report


if __name__ == "__main__":
    main(__file__)
