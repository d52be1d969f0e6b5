"""Finds in HIPS autograd."""

from __future__ import annotations

import autograd.numpy as np
import autograd.scipy.linalg as linalg
import autograd.scipy.stats as stats
import mpmath
from autograd import grad
from finds.finds import find, main

import gradproof

mpmath.mp.dps = 50


def check(f, x):
    """Check the gradient that autograd returns at x."""
    return gradproof.check(f, x, grad=grad(f), rng=0)


@find(
    "autograd",
    "`stats.chi2.logpdf(x, 3.2)` (also `pdf`) at 1.3: not an integer number of degrees",
    proof="exact formula",
)
def chi2():
    def f(x):
        return stats.chi2.logpdf(x, 3.2)

    return float(grad(f)(1.3)), (3.2 / 2 - 1) / 1.3 - 1 / 2, check(f, 1.3)


@find("autograd", "`np.fft.rfft(x, n=8)` of four numbers", proof="Parseval's theorem")
def rfft():
    x = np.array([0.3, -0.5, 0.7, 0.2])
    # The sum over the eight frequencies is 8 sum(x^2); those in between count twice.
    twice = np.array([1.0, 2.0, 2.0, 2.0, 1.0])

    def f(x):
        return np.sum(twice * np.abs(np.fft.rfft(x, n=8)) ** 2)

    return float(grad(f)(x)[0]), 16 * 0.3, check(f, x)


@find("autograd", "`np.tile(x, 2)` of a matrix", proof="exact formula")
def tile():
    # Row 0 of the result is x00, x01, x00, x01, with the weights 0, 1, 2, 3.
    weights = np.arange(8.0).reshape(2, 4)

    def f(x):
        return np.sum(weights * np.tile(x, 2))

    x = np.array([[0.3, -0.5], [0.7, 0.2]])
    return float(grad(f)(x)[0, 1]), 1.0 + 3.0, check(f, x)


@find("autograd", "`np.linalg.pinv` of a complex matrix", proof="normal equations in mpmath, 50 digits")
def pinv():
    real, imaginary = np.array([[1.0, 2, 0], [0, 1, 3]]), np.array([[0.0, 1, 1], [2, 0, 1]])

    def f(s):
        return np.sum(np.abs(np.linalg.pinv(real + 1j * s * imaginary) + 0.3) ** 2)

    def written_out(s):
        a = mpmath.matrix(real.tolist()) + mpmath.mpc(0, s) * mpmath.matrix(imaginary.tolist())
        return sum(abs(one + mpmath.mpf(0.3)) ** 2 for one in a.H * (a * a.H) ** -1)

    return float(grad(f)(0.7)), float(mpmath.diff(written_out, 0.7)), check(f, 0.7)


@find("autograd", '`linalg.solve_triangular(trans="C")` of a complex matrix', proof="solved in mpmath, 50 digits")
def solve_triangular():
    real, imaginary = np.array([[2.0, 0], [1, 3]]), np.array([[1.0, 0], [2, 1]])

    def f(s):
        return np.sum(
            np.abs(linalg.solve_triangular(real + 1j * s * imaginary, np.array([1.0, 2]), trans="C", lower=True) + 0.3)
            ** 2
        )

    def written_out(s):
        a = mpmath.matrix(real.tolist()) + mpmath.mpc(0, s) * mpmath.matrix(imaginary.tolist())
        return sum(abs(one + mpmath.mpf(0.3)) ** 2 for one in a.H**-1 * mpmath.matrix([1, 2]))

    return float(grad(f)(0.7)), float(mpmath.diff(written_out, 0.7)), check(f, 0.7)


@find("autograd", "`np.sign` of complex numbers: d imag(sign(x + i)) / dx at 1, with NumPy 2", proof="exact formula")
def sign():
    # imag(sign(x + i)) = (x^2 + 1)^(-1/2)
    def f(x):
        return np.imag(np.sign(x + 1j))

    return float(grad(f)(1.0)), float(-1 / mpmath.sqrt(8)), check(f, 1.0)


if __name__ == "__main__":
    main(__file__)
