"""Finds in SciPy, scikit-learn, skglm and POT."""

from __future__ import annotations

import mpmath
import numpy as np
from finds.finds import find, main
from ot.smooth import SparsityConstrained
from scipy import integrate, sparse, special
from scipy.spatial.distance import squareform
from skglm.datafits import Poisson
from sklearn.manifold import _t_sne

import gradproof

mpmath.mp.dps = 50

RNG = np.random.default_rng(0)
PLACES = RNG.normal(size=15)
WEIGHTS = squareform(RNG.uniform(size=10))
WEIGHTS /= WEIGHTS.sum()


@find("scipy", "`special.itairy(9.2)[0]`, the integral of Ai", proof="mpmath, 50 digits")
def itairy():
    report = gradproof.check(lambda x: special.itairy(x)[0], 9.2, grad=lambda x: special.airy(x)[0], rng=0)
    return special.itairy(9.2)[0], float(mpmath.airyai(9.2, derivative=-1)), report


def oblate(m, n, c, x):
    """Integrate the differential equation of the radial function of the second kind from 20, where SciPy is right."""
    eigenvalue = special.obl_cv(m, n, c)

    def equation(x, state):
        value, slope = state
        return slope, ((eigenvalue - (c * x) ** 2 - m**2 / (1 + x**2)) * value - 2 * x * slope) / (1 + x**2)

    start = special.obl_rad2(m, n, c, 20.0)
    value, slope = integrate.solve_ivp(equation, (20.0, x), start, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    # The Wronskian with the function of the first kind is known.
    first = special.obl_rad1(m, n, c, x)
    assert np.isclose(first[0] * slope - first[1] * value, 1 / (c * (1 + x**2)), rtol=1e-9)
    return value


def check_oblate(m, n, c, x):
    return gradproof.check(
        lambda x: special.obl_rad2(m, n, c, x)[0], x, grad=lambda x: special.obl_rad2(m, n, c, x)[1], rng=0
    )


@find(
    "scipy",
    "`special.obl_rad2(1, 2, 1.5, 0.9)[0]`, a value; its slope is wrong as well",
    proof="its differential equation and its Wronskian",
)
def oblate_small():
    return special.obl_rad2(1, 2, 1.5, 0.9)[0], oblate(1, 2, 1.5, 0.9), check_oblate(1, 2, 1.5, 0.9)


@find(
    "scipy",
    "`special.obl_rad2(0, 1, 0.3, 0.3)[0]`, a value; its slope is wrong as well",
    proof="its differential equation and its Wronskian",
)
def oblate_zero():
    return special.obl_rad2(0, 1, 0.3, 0.3)[0], oblate(0, 1, 0.3, 0.3), check_oblate(0, 1, 0.3, 0.3)


def parabolic(v, x):
    return mpmath.pcfv(-v - mpmath.mpf(1) / 2, x)


@find("scipy", "`special.pbvv(1, -13)[0]`, a value", proof="mpmath, 50 digits")
def parabolic_value():
    report = gradproof.check(lambda x: special.pbvv(1, x)[0], -13.0, grad=lambda x: special.pbvv(1, x)[1], rng=0)
    return special.pbvv(1, -13.0)[0], float(parabolic(1, -13)), report


@find("scipy", "`special.pbvv(0.5, -13)[0]`, a value", proof="mpmath, 50 digits")
def parabolic_digits():
    report = gradproof.check(lambda x: special.pbvv(0.5, x)[0], -13.0, grad=lambda x: special.pbvv(0.5, x)[1], rng=0)
    return special.pbvv(0.5, -13.0)[0], float(parabolic(mpmath.mpf(0.5), -13)), report


def divergence(places, freedom, components):
    """The Kullback-Leibler divergence that t-SNE minimizes, in mpmath."""
    points = [places[i : i + components] for i in range(0, len(places), components)]
    pairs = [(i, j) for i in range(len(points)) for j in range(i)]
    kernel = [
        (1 + sum((a - b) ** 2 for a, b in zip(points[i], points[j], strict=True)) / mpmath.mpf(freedom))
        ** (-mpmath.mpf(freedom + 1) / 2)
        for i, j in pairs
    ]
    total = 2 * sum(kernel)
    weights = [mpmath.mpf(WEIGHTS[i, j]) for i, j in pairs]
    return 2 * sum(w * mpmath.log(w * total / k) for w, k in zip(weights, kernel, strict=True))


def slope_of_divergence(freedom, components):
    rest = [mpmath.mpf(one) for one in PLACES[1:]]
    return float(mpmath.diff(lambda first: divergence([first, *rest], freedom, components), mpmath.mpf(PLACES[0])))


def moved(first):
    return np.concatenate([[first], PLACES[1:]])


@find("scikit-learn", "t-SNE, exact gradient with `n_components=3`", proof="the divergence in mpmath, 50 digits")
def exact_embedding():
    # TSNE(n_components=3) takes n_components - 1 degrees of freedom.
    both = lambda first: _t_sne._kl_divergence(moved(first), squareform(WEIGHTS), 2, 5, 3)  # noqa: E731
    report = gradproof.check(lambda x: both(x)[0], PLACES[0], grad=lambda x: both(x)[1][0], rng=0)
    return both(PLACES[0])[1][0], slope_of_divergence(2, 3), report


@find(
    "scikit-learn",
    "t-SNE, Barnes-Hut gradient with `n_components=3`, in float32 and with `angle=0`",
    proof="the divergence in mpmath, 50 digits",
    error=1e-4,
)
def barnes_hut_embedding():
    every = sparse.csr_array(WEIGHTS)
    claim = lambda x: float(_t_sne._kl_divergence_bh(moved(x), every, 2, 5, 3, angle=0.0)[1][0])  # noqa: E731
    exact = lambda x: _t_sne._kl_divergence(moved(x), squareform(WEIGHTS), 2, 5, 3)[0]  # noqa: E731
    report = gradproof.check(exact, PLACES[0], grad=claim, rtol=1e-4, rng=0)
    return claim(PLACES[0]), slope_of_divergence(2, 3), report


@find("skglm", "`Poisson.full_grad_sparse`: `exp(Xw - y)` in place of `exp(Xw) - y`", proof="exact formula")
def sparse_poisson():
    X, y = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]]), np.array([1.0, 0.0, 2.0])
    columns, datafit, point = sparse.csc_array(X), Poisson(), np.array([0.1, 0.2])
    claim = lambda w: datafit.full_grad_sparse(columns.data, columns.indptr, columns.indices, y, X @ w)  # noqa: E731
    true = (mpmath.exp(mpmath.mpf(0.5)) - 1 + 3 * (mpmath.exp(mpmath.mpf(0.3)) - 2)) / 3
    report = gradproof.check(lambda w: datafit.value(y, w, X @ w), point, grad=claim, rng=0)
    return claim(point)[0], float(true), report


@find(
    "POT", "`SparsityConstrained.delta_Omega` changes its argument; its derivative is right", proof="comparison of both"
)
def sparsity():
    penalty, point = SparsityConstrained(max_nz=2), np.array([0.5, 1.2, -0.3, 0.9])
    report = gradproof.check(
        lambda x: penalty.delta_Omega(x)[0], point, grad=lambda x: penalty.delta_Omega(x)[1], rng=0
    )
    after = point.copy()
    penalty.delta_Omega(after)
    return after[0], point[0], report


if __name__ == "__main__":
    main(__file__)
