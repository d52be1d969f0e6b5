"""Finds in JAX and optax: derivatives by autodiff, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.linalg as linalg
import jax.scipy.special as special
import jax.scipy.stats as stats
import mpmath
import optax
from finds.finds import find, main

import gradproof

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
mpmath.mp.dps = 50


def check(f, x, mode="rev"):
    """Check the gradient that JAX returns at x, or the Hessian where the mode is one of two."""
    return gradproof.check(f, jnp.asarray(x), order=1 + ("-" in mode), modes=(mode,), rng=0)


@find("jax", "`special.boxcox(2, l)` with respect to `l` at 0", proof="exact formula")
def boxcox():
    def f(power):
        return special.boxcox(2.0, power)

    return float(jax.grad(f)(0.0)), float(mpmath.log(2) ** 2 / 2), check(f, 0.0)


@find("jax", "`special.boxcox1p(2, l)` with respect to `l` at 0", proof="exact formula")
def boxcox1p():
    def f(power):
        return special.boxcox1p(2.0, power)

    return float(jax.grad(f)(0.0)), float(mpmath.log(3) ** 2 / 2), check(f, 0.0)


@find("jax", "`special.spence(x)` in reverse mode, 1 < x <= 2, here 1.2", proof="exact formula")
def spence():
    true = mpmath.log(mpmath.mpf("1.2")) / (1 - mpmath.mpf("1.2"))
    return float(jax.grad(special.spence)(1.2)), float(true), check(special.spence, 1.2)


@find("jax", "`special.hyp1f1(a, 1.5, 0.7)` with respect to `a` at 0", proof="mpmath, 50 digits")
def hyp1f1():
    def f(a):
        return special.hyp1f1(a, 1.5, 0.7)

    true = mpmath.diff(lambda a: mpmath.hyp1f1(a, 1.5, 0.7), 0)
    return float(jax.grad(f)(0.0)), float(true), check(f, 0.0)


@find("jax", "`special.hyp2f1(a, 1, 2, 0.5)` with respect to `a` at 0", proof="mpmath, 50 digits")
def hyp2f1():
    def f(a):
        return special.hyp2f1(a, 1.0, 2.0, 0.5)

    true = mpmath.diff(lambda a: mpmath.hyp2f1(a, 1, 2, 0.5), 0)
    return float(jax.grad(f)(0.0)), float(true), check(f, 0.0)


@find("jax", "`special.beta(a, 0.2)` with respect to `a`, a < 0, here -1.3", proof="mpmath, 50 digits")
def beta():
    def f(a):
        return special.beta(a, 0.2)

    true = mpmath.diff(lambda a: mpmath.beta(a, 0.2), -1.3)
    return float(jax.grad(f)(-1.3)), float(true), check(f, -1.3)


@find("jax", "`special.expn(0, x)` at 0.3", proof="exact formula")
def expn():
    def f(x):
        return special.expn(0, x)

    true = mpmath.diff(lambda x: mpmath.exp(-x) / x, 0.3)
    return float(jax.grad(f)(0.3)), float(true), check(f, 0.3)


@find("jax", "`jnp.hypot`: Hessian where abs(x) = abs(y), here d2/dx2 at (1, 1)", proof="exact formula")
def hypot():
    def f(v):
        return jnp.hypot(v[0], v[1])

    claimed = jax.hessian(f)(jnp.array([1.0, 1.0]))[0, 0]
    return float(claimed), float(1 / mpmath.sqrt(8)), check(f, [1.0, 1.0], "fwd-rev")


@find("jax", "`special.fresnel(x)[1]`, the integral C: second derivative at 1", proof="exact formula")
def fresnel():
    def f(x):
        return special.fresnel(x)[1]

    # C'(x) = cos(pi x^2 / 2)
    return float(jax.grad(jax.grad(f))(1.0)), -float(mpmath.pi), check(f, 1.0, "fwd-rev")


@find("jax", "`special.i0` at 0", proof="exact formula")
def i0():
    # I_0 is even.
    return float(jax.grad(special.i0)(0.0)), 0.0, check(special.i0, 0.0)


@find("jax", "`special.betaln`: Hessian where a = b, here d2/da2 at (2, 2)", proof="mpmath, 50 digits")
def betaln():
    def f(v):
        return special.betaln(v[0], v[1])

    claimed = jax.hessian(f)(jnp.array([2.0, 2.0]))[0, 0]
    return float(claimed), float(mpmath.psi(1, 2) - mpmath.psi(1, 4)), check(f, [2.0, 2.0], "fwd-rev")


@find("jax", "`special.logsumexp([0, 1], b=b)` with respect to `b[0]` at b = (0, 1)", proof="exact formula")
def logsumexp():
    def f(b):
        return special.logsumexp(jnp.array([0.0, 1.0]), b=b)

    # The derivative of log(b0 + b1 e) is 1 / (b0 + b1 e).
    return float(jax.grad(f)(jnp.array([0.0, 1.0]))[0]), float(mpmath.exp(-1)), check(f, [0.0, 1.0])


@jax.custom_jvp
def exponential(x):
    """Return e^x; its derivative is known from its rule alone."""
    return jax.lax.stop_gradient(jnp.exp(x))


exponential.defjvp(lambda primals, tangents: (exponential(*primals), tangents[0] * exponential(*primals)))


@find("jax", "Hessian of a `lax.scan` over a `custom_jvp` function loses its rule", proof="exact formula")
def scan():
    def f(x):
        return jax.lax.scan(lambda carry, _: (exponential(carry), None), x, None, length=1)[0]

    return float(jax.hessian(f)(0.5)), float(mpmath.exp(0.5)), check(f, 0.5, "fwd-rev")


@find("jax", "`jnp.logaddexp` in `lax.scan`: Hessian at a tie, d2/dx2 at (1, 1)", proof="exact formula")
def logaddexp():
    def f(v):
        return jax.lax.scan(lambda carry, y: (jnp.logaddexp(carry, y), None), v[0], v[1:])[0]

    # p (1 - p) with p = 1/2
    return float(jax.hessian(f)(jnp.array([1.0, 1.0]))[0, 0]), 0.25, check(f, [1.0, 1.0], "fwd-rev")


@find(
    "optax",
    "`ctc_loss`: Hessian at tied logits, not symmetric, here entry (0, 0)",
    proof="the loss written out, mpmath, 50 digits",
)
def ctc_loss():
    zero, labels = jnp.zeros((1, 2)), jnp.array([[1]])

    def f(v):
        return optax.ctc_loss(v.reshape(1, 2, 2), zero, labels, zero[:, :1])[0]

    def written_out(*v):
        # The paths of two frames that spell the label: (1, blank), (blank, 1), (1, 1).
        first, second = [
            [v[i] - mpmath.log(mpmath.exp(v[j]) + mpmath.exp(v[j + 1])) for i in (j, j + 1)] for j in (0, 2)
        ]
        paths = ((first[1], second[0]), (first[0], second[1]), (first[1], second[1]))
        return -mpmath.log(sum(mpmath.exp(a + b) for a, b in paths))

    claimed = jax.hessian(f)(jnp.zeros(4))[0, 0]
    return (
        float(claimed),
        float(mpmath.diff(written_out, (0, 0, 0, 0), (2, 0, 0, 0))),
        check(f, jnp.zeros(4), "fwd-rev"),
    )


@find(
    "jax",
    "`linalg.eigh_tridiagonal(d, e)` in forward mode: d eigenvalue 0 / d d[0]",
    proof="symmetric eigenvectors, mpmath, 50 digits",
)
def eigh_tridiagonal():
    def f(d):
        return linalg.eigh_tridiagonal(d, jnp.array([0.5, 0.4]), eigvals_only=True)

    _, vectors = mpmath.eigsy(mpmath.matrix([[1, 0.5, 0], [0.5, 2, 0.4], [0, 0.4, 3]]))
    claimed = jax.jacfwd(f)(jnp.array([1.0, 2.0, 3.0]))[0, 0]
    return float(claimed), float(vectors[0, 0] ** 2), check(f, [1.0, 2.0, 3.0], "fwd")


@find("jax", "`jnp.quantile([0, 1, 2], q)` (also `percentile`) with respect to `q` at 0.5", proof="exact formula")
def quantile():
    # The quantile is 2 q.
    def f(q):
        return jnp.quantile(jnp.array([0.0, 1.0, 2.0]), q)

    return float(jax.grad(f)(0.5)), 2.0, check(f, 0.5)


@find("jax", "`jnp.sign` of complex numbers: d imag(sign(x + i)) / dx at 1", proof="exact formula")
def sign():
    # imag(sign(x + i)) = (x^2 + 1)^(-1/2)
    def f(x):
        return jnp.imag(jnp.sign(x + 1j))

    return float(jax.grad(f)(1.0)), float(-1 / mpmath.sqrt(8)), check(f, 1.0)


@find("jax", "`stats.gennorm.cdf(x, 2)` at 0", proof="exact formula")
def gennorm():
    def f(x):
        return stats.gennorm.cdf(x, 2.0)

    return float(jax.grad(f)(0.0)), float(1 / mpmath.sqrt(mpmath.pi)), check(f, 0.0)


@find("jax", "`jnp.corrcoef((a, 2, 3), (0, 1, 2))`: second derivative at a = 1", proof="mpmath, 50 digits")
def corrcoef():
    def f(a):
        return jnp.corrcoef(jnp.stack([a, 2.0, 3.0]), jnp.array([0.0, 1.0, 2.0]))[0, 1]

    def written_out(a):
        # With y centred to (-1, 0, 1): sum(xy) / (sqrt(2) norm(x - mean)).
        mean = (a + 5) / 3
        return (3 - a) / mpmath.sqrt(2 * ((a - mean) ** 2 + (2 - mean) ** 2 + (3 - mean) ** 2))

    return float(jax.grad(jax.grad(f))(1.0)), float(mpmath.diff(written_out, 1, 2)), check(f, 1.0, "fwd-rev")


@find("jax", "`stats.binom.logpmf(0, 2, p)` with respect to `p` at 0, in forward mode", proof="exact formula")
def binom():
    # log((1 - p)^2)
    def f(p):
        return stats.binom.logpmf(0.0, 2.0, p)

    report = gradproof.check(f, jnp.asarray(0.0), modes=("fwd",), domain=(0, 1), rng=0)
    return float(jax.jacfwd(f)(0.0)), -2.0, report


@find("jax", "`jnp.vander([x], 3)[0, 1]` at 0", proof="exact formula")
def vander():
    def f(x):
        return jnp.vander(x[None], 3)[0, 1]

    return float(jax.grad(f)(0.0)), 1.0, check(f, 0.0)


if __name__ == "__main__":
    main(__file__)
