"""Finds in astropy, photutils and galpy: derivatives of models, and second derivatives of a potential."""

from __future__ import annotations

import math

import mpmath
import numpy as np
from astropy.modeling.models import Chebyshev1D, Drude1D, Hermite2D, Polynomial2D
from finds.finds import find, main
from galpy.potential import FerrersPotential
from photutils.psf import CircularGaussianPSF

import gradproof

mpmath.mp.dps = 50


def check(model, *at):
    """Return `fit_deriv` of a model, where its variables have these values, and the report on it."""
    at = tuple(np.array([one]) for one in at)

    def claim(parameters):
        return np.ravel(model.fit_deriv(*at, *parameters))

    point = np.array(model.parameters)
    return claim(point), gradproof.check(lambda p: model.evaluate(*at, *p)[0], point, grad=claim, rng=0)


@find(
    "astropy",
    "`Chebyshev1D.fit_deriv` (also `Polynomial1D`, `Legendre1D`, `Hermite1D`) with a `domain`",
    proof="exact formula",
)
def one_variable():
    # The domain maps 8 to (2 * 8 - 10) / 10 = 0.6, and T_2(0.6) = 2 * 0.36 - 1.
    claimed, report = check(Chebyshev1D(2, domain=(0, 10), c0=0.5, c1=0.3, c2=0.1), 8.0)
    return claimed[2], -0.28, report


@find(
    "astropy",
    "`Polynomial2D.fit_deriv` (also `Chebyshev2D`, `Legendre2D`, `Hermite2D`) with an `x_domain`",
    proof="exact formula",
)
def two_variables():
    # The column of c2_0 follows those of c0_0 and c1_0; the domain maps 8 to 0.6.
    model = Polynomial2D(2, x_domain=(0, 10), c0_0=0.5, c1_0=0.3, c2_0=0.1)
    claimed, report = check(model, 8.0, 0.1)
    return claimed[2], 0.36, report


@find("astropy", "`Hermite2D.evaluate`: the value of H_2 in y", proof="exact formula")
def hermite():
    model = Hermite2D(0, 2, c0_0=0, c0_1=0, c0_2=1)
    _, report = check(model, 0.1, 0.5)
    return float(model(0.1, 0.5)), 4 * 0.5**2 - 2, report


@find("astropy", "`Drude1D.fit_deriv` with respect to `x_0`", proof="the model in mpmath, 50 digits")
def drude():
    claimed, report = check(Drude1D(1.3, 0.9, 0.6), 1.7)

    def model(x_0):
        x, width = mpmath.mpf(1.7), mpmath.mpf(0.6)
        return mpmath.mpf(1.3) * (width / x_0) ** 2 / ((x / x_0 - x_0 / x) ** 2 + (width / x_0) ** 2)

    return claimed[1], float(mpmath.diff(model, 0.9)), report


@find("photutils", "`CircularGaussianPSF.fit_deriv` with respect to `fwhm`", proof="the model in mpmath, 50 digits")
def gaussian():
    x, y = 0.3, 0.1
    claimed, report = check(CircularGaussianPSF(flux=1, x_0=0, y_0=0, fwhm=2), x, y)

    def model(fwhm):
        variance = fwhm**2 / (8 * mpmath.log(2))
        return mpmath.exp(-(mpmath.mpf(x) ** 2 + mpmath.mpf(y) ** 2) / (2 * variance)) / (2 * mpmath.pi * variance)

    return claimed[3], float(mpmath.diff(model, 2)), report


def ferrers(angle):
    return FerrersPotential(n=2, b=0.7, c=0.5, omegab=0.0, pa=angle)


@find("galpy", "`FerrersPotential(pa=0.3).R2deriv`", proof="the potential turned back, without `pa`")
def radial():
    turned, z, phi = ferrers(0.3), 0.25, 0.6
    report = gradproof.check(
        lambda R: -turned.Rforce(R, z, phi=phi), 0.9, grad=lambda R: turned.R2deriv(R, z, phi=phi), rng=0
    )
    return turned.R2deriv(0.9, z, phi=phi), ferrers(0.0).R2deriv(0.9, z, phi=phi - 0.3), report


@find("galpy", "`FerrersPotential(pa=0.3).Rphideriv`", proof="the potential turned back, without `pa`")
def mixed():
    turned, z, phi = ferrers(0.3), 0.25, 0.6
    report = gradproof.check(
        lambda R: -turned.phitorque(R, z, phi=phi), 0.9, grad=lambda R: turned.Rphideriv(R, z, phi=phi), rng=0
    )
    return turned.Rphideriv(0.9, z, phi=phi), ferrers(0.0).Rphideriv(0.9, z, phi=phi - 0.3), report


@find("galpy", "`FerrersPotential(a=2).dens`: a value", proof="exact formula")
def density():
    # In a ball the mass inside R is R^2 times the force, and its slope is 4 pi R^2 times the density.
    ball = FerrersPotential(a=2.0, n=2, b=1.0, c=1.0)
    true = math.gamma(4.5) / math.gamma(3) / (math.pi**1.5 * 2**3) * (1 - (0.9 / 2) ** 2) ** 2
    report = gradproof.check(
        lambda R: -(R**2) * ball.Rforce(R, 0.0),
        0.9,
        grad=lambda R: 4 * math.pi * R**2 * ball.dens(R, 0.0),
        rng=0,
    )
    return ball.dens(0.9, 0.0), true, report


if __name__ == "__main__":
    main(__file__)
