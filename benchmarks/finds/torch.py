"""Finds in PyTorch, kornia, PyPose, torchdiffeq, entmax and RoMa: derivatives by autograd, in float64."""

from __future__ import annotations

import entmax
import kornia
import mpmath
import pypose
import roma
import torch
import torch.nn.functional as functional
import torchdiffeq
from finds.finds import find, main
from torch import tensor
from torch.autograd.functional import hessian, jacobian

import gradproof

torch.set_default_dtype(torch.float64)
mpmath.mp.dps = 50


def check(f, x, mode="rev", **options):
    """Check the derivative that autograd returns at x, or the second derivative where the mode is one of two."""
    return gradproof.check(f, x, order=1 + ("-" in mode), modes=(mode,), rng=0, **options)


@find("torch", "`x ** y`: entry (x, y) of the Hessian at (2, 0), in every mode", proof="exact formula")
def power():
    def f(v):
        return v[0] ** v[1]

    x = tensor([2.0, 0.0])
    # d/dy (y x^(y - 1)) = 1 / x at y = 0
    return hessian(f, x)[0, 1].item(), 0.5, check(f, x, "rev-rev")


@find(
    "torch",
    "`Beta(a, 1).rsample()` (also `Dirichlet`): `functional.hessian` at a = 2",
    proof="the path that the first derivative follows, x = u^(1/a), exact formula",
)
def rsample():
    def f(a):
        torch.manual_seed(0)
        return torch.distributions.Beta(a, tensor(1.0)).rsample()

    a = tensor(2.0)
    logarithm = mpmath.log(f(a).item())
    assert abs(jacobian(f, a).item() + f(a).item() * float(logarithm) / 2) < 1e-12  # the first derivative
    true = f(a).item() * (logarithm**2 / 4 + 2 * logarithm / 4)
    return hessian(f, a).item(), float(true), check(f, a, "rev-rev")


@find("torch", "`F.hardsigmoid` in float64 between -3 and 3: the slope minus 1/6", proof="exact formula")
def hardsigmoid():
    # The slope is 1/6 rounded to float32.
    x = tensor(0.5)
    return jacobian(functional.hardsigmoid, x).item() - 1 / 6, 0.0, check(functional.hardsigmoid, x, rtol=1e-9)


@find("torch", "`cholesky_inverse` in forward mode: output (1, 1) with respect to L[1, 1]", proof="mpmath, 50 digits")
def cholesky_inverse():
    def f(factor):
        return torch.cholesky_inverse(torch.tril(factor))[1, 1]

    factor = tensor([[2.0, 0.0, 0.0], [0.5, 1.5, 0.0], [0.3, -0.4, 1.0]])

    def written_out(entry):
        a = mpmath.matrix(factor.tolist())
        a[1, 1] = entry
        return ((a * a.T) ** -1)[1, 1]

    claimed = torch.func.jacfwd(f)(factor)[1, 1]
    return claimed.item(), float(mpmath.diff(written_out, 1.5)), check(f, factor, "fwd")


@find("torch", "`logcumsumexp([x, 0])[0]` in forward mode at x = -800", proof="exact formula")
def logcumsumexp():
    # The first of the sums is x itself.
    def f(x):
        return torch.logcumsumexp(torch.stack([x, 0 * x]), 0)[0]

    x = tensor(-800.0)
    return torch.func.jacfwd(f)(x).item(), 1.0, check(f, x, "fwd")


@find(
    "torch", "`F.ctc_loss` of numbers that are not normalised: one frame, label 1, two classes", proof="exact formula"
)
def ctc_loss():
    # The loss is -x[0, 0, 1].
    def f(x):
        return functional.ctc_loss(x, tensor([[1]]), tensor([1]), tensor([1]))

    x = torch.zeros(1, 1, 2)
    return jacobian(f, x)[0, 0, 1].item(), -1.0, check(f, x)


@find("kornia", "`quaternion_exp_to_log` at the identity: entry (0, 1) of the Jacobian", proof="exact formula")
def quaternion_exp_to_log():
    # At (1, v) it is v / norm(v) * arctan(norm(v)).
    f = kornia.geometry.conversions.quaternion_exp_to_log
    x = tensor([1.0, 0.0, 0.0, 0.0])
    return jacobian(f, x)[0, 1].item(), 1.0, check(f, x)


@find("kornia", "`axis_angle_to_quaternion`: Hessian of the real part at 0", proof="exact formula")
def axis_angle_to_quaternion():
    # cos(norm(v) / 2) = 1 - v.v / 8 + ...
    def f(v):
        return kornia.geometry.conversions.axis_angle_to_quaternion(v)[0]

    x = torch.zeros(3)
    return hessian(f, x)[0, 0].item(), -0.25, check(f, x, "rev-rev")


@find(
    "pypose", "`sim3.Exp().matrix()` at a rotation by 3: entry (1, 3) with respect to v[3]", proof="mpmath, 50 digits"
)
def similarity():
    def f(v):
        return pypose.sim3(v).Exp().matrix()

    v = tensor([0.1, 0.2, 0.3, 3.0, 0.2, -0.1, 0.3])

    def written_out(angle):
        x, y, z, _, b, c, scale = v.tolist()
        generator = [[scale, -c, b, x], [c, scale, -angle, y], [-b, angle, scale, z], [0, 0, 0, 0]]
        return mpmath.expm(mpmath.matrix(generator))[1, 3]

    assert abs(written_out(3) - f(v)[1, 3].item()) < 1e-14  # the value is right
    return jacobian(f, v)[1, 3, 3].item(), float(mpmath.diff(written_out, 3)), check(f, v)


@find(
    "torchdiffeq",
    '`odeint(method="rk4")` of y\' = y by an output time on the grid of steps',
    proof="the method written out: the slope is 1.459 on the left, 1.873 on the right, their mean",
)
def odeint():
    def f(t):
        times = torch.stack([0 * t, t, 0 * t + 1])
        return torchdiffeq.odeint(lambda t, y: y, torch.ones(1), times, method="rk4", options={"step_size": 0.25})[1, 0]

    # One step multiplies by this; between the grid points, 0.25 apart, the solution is linear.
    one = 1 + 0.25 + 0.25**2 / 2 + 0.25**3 / 6 + 0.25**4 / 24
    left, right = one * (one - 1) / 0.25, one**2 * (one - 1) / 0.25
    return jacobian(f, tensor(0.5)).item(), (left + right) / 2, check(f, tensor(0.5))


@find("entmax", "`entmax15`: second derivative at (2, 1, -3), entry (0, 0) of output 0", proof="exact formula")
def entmax15():
    def f(x):
        return entmax.entmax15(x)[0, 0]

    x = tensor([[2.0, 1.0, -3.0]])
    # Of two entries it is p = u^2 with u = d + sqrt(1/2 - d^2) and d = (x0 - x1) / 4.
    true = mpmath.diff(lambda a: ((a - 1) / 4 + mpmath.sqrt(0.5 - ((a - 1) / 4) ** 2)) ** 2, 2, 2)
    return hessian(f, x)[0, 0, 0, 0].item(), float(true), check(f, x, "rev-rev")


@find("entmax", "`sparsemax_loss` (also `entmax15_loss`): Hessian, entry (0, 0)", proof="exact formula")
def sparsemax_loss():
    # The gradient is sparsemax(x) - target: x0 - (x0 + x1 + x2 - 1) / 3, where all three count.
    def f(x):
        return entmax.sparsemax_loss(x, tensor([1])).sum()

    x = tensor([[0.5, 0.2, -0.1]])
    return hessian(f, x)[0, 0, 0, 0].item(), 2 / 3, check(f, x, "rev-rev")


@find(
    "entmax",
    "`entmax_bisect_loss` with a tensor `alpha`: with respect to it",
    proof="the loss solved in mpmath, 50 digits",
)
def entmax_bisect_loss():
    x = [0.5, 0.2, -0.1]

    def f(alpha):
        return entmax.entmax_bisect_loss(tensor([x]), tensor([1]), alpha).sum()

    def written_out(alpha):
        def p(tau):
            return [((alpha - 1) * one - tau) ** (1 / (alpha - 1)) for one in x]

        p = p(mpmath.findroot(lambda tau: sum(p(tau)) - 1, -0.5))
        return (1 - sum(one**alpha for one in p)) / (alpha * (alpha - 1)) + sum(map(mpmath.fmul, p, x)) - x[1]

    alpha = tensor(1.5)
    assert abs(written_out(mpmath.mpf(1.5)) - f(alpha).item()) < 1e-12  # the value is right
    return jacobian(f, alpha).item(), float(mpmath.diff(written_out, 1.5)), check(f, alpha)


@find("roma", "`rotvec_to_rotmat`: Hessian of entry (0, 0) at 0, with respect to y twice", proof="exact formula")
def rotvec_to_rotmat():
    # The entry is 1 - (y^2 + z^2) / 2 + ...
    def f(v):
        return roma.rotvec_to_rotmat(v)[0, 0]

    return hessian(f, torch.zeros(3))[1, 1].item(), -1.0, check(f, torch.zeros(3), "rev-rev")


if __name__ == "__main__":
    main(__file__)
