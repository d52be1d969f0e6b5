"""Finds in OpenMM, MuJoCo, Warp, CasADi and MLX, all on the CPU."""

from __future__ import annotations

import casadi
import mlx.core as mx
import mpmath
import mujoco
import numpy as np
import openmm
import warp
from finds.finds import find, main

import gradproof

mx.set_default_device(mx.cpu)
warp.config.quiet = True
mpmath.mp.dps = 50


def gay_berne(ellipsoid, y):
    """Return the net torque by the forces of an ellipsoid and a sphere, alone in the world, and the report on them."""
    # An ellipsoid's axes are the directions to particles 1 and 2, which do not interact.
    axis, sphere = (0.3, 0, -1, -1, 0.3, 0.3, 0.3, 1, 1, 1), (0.3, 0.5, -1, -1, 0.15, 0.15, 0.15, 1, 1, 1)
    system, force = openmm.System(), openmm.GayBerneForce()
    for particle in (ellipsoid, axis, axis, sphere):
        system.addParticle(1)
        force.addParticle(*particle)
    system.addForce(force)
    reference = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)

    def energy(x):
        context.setPositions(x)
        return context.getState(getEnergy=True).getPotentialEnergy()._value

    def gradient(x):
        context.setPositions(x)
        return -np.array(context.getState(getForces=True).getForces(asNumpy=True)._value)

    x = np.array([[0, 0, 0], [0.1, 0, 0], y, [0.45, 0.2, 0.3]])
    return -np.cross(x, gradient(x)).sum(axis=0), gradproof.check(energy, x, grad=gradient, rng=0)


@find(
    "OpenMM",
    "`GayBerneForce` with anisotropic epsilons: the net torque of an isolated system, z",
    proof="the energy is invariant under rotations",
)
def epsilons():
    torque, report = gay_berne((0.3, 0.5, 1, 2, 0.25, 0.25, 0.25, 1, 0.8, 1.2), (0, 0.1, 0))
    return float(torque[2]), 0.0, report


@find(
    "OpenMM",
    "`GayBerneForce`, the y particle not perpendicular to the x axis: the net torque, y",
    proof="the energy is invariant under rotations",
)
def not_perpendicular():
    torque, report = gay_berne((0.3, 0.5, 1, 2, 0.2, 0.25, 0.3, 1, 1, 1), (0.05, 0.1, 0))
    return float(torque[1]), 0.0, report


@find(
    "mujoco",
    "`mjd_quatIntegrate`: `Dvel` lacks the factor `scale` = 0.7, entry (0, 0)",
    proof="rotations about the same axis add, exact formula",
)
def quat_integrate():
    start, scale = np.array([1.0, 0, 0, 0]), 0.7
    velocity = np.array([0.3, 0, 0])
    end = start.copy()
    mujoco.mju_quatIntegrate(end, velocity, scale)

    def moved(velocity):
        """Return where another velocity ends, in the tangent space of the end of this one."""
        other, difference = start.copy(), np.zeros(3)
        mujoco.mju_quatIntegrate(other, velocity, scale)
        mujoco.mju_subQuat(difference, other, end)
        return difference

    by_orientation, by_velocity, by_scale = np.zeros(9), np.zeros(9), np.zeros(3)
    mujoco.mjd_quatIntegrate(velocity, scale, by_orientation, by_velocity, by_scale)
    report = gradproof.check(moved, velocity, jac=by_velocity.reshape(3, 3), rng=0)
    return float(by_velocity[0]), scale, report


@warp.kernel
def modulo(x: warp.array(dtype=warp.float64), out: warp.array(dtype=warp.float64)):
    """The remainder of x[0] by x[1]."""
    out[0] = warp.mod(x[0], x[1])


@find("warp-lang", "`mod(a, b)`, also `a % b`, with respect to b at (3.5, 1)", proof="exact formula")
def mod():
    def launched(x):
        array = warp.array(x, dtype=warp.float64, requires_grad=True, device="cpu")
        out = warp.zeros(1, dtype=warp.float64, requires_grad=True, device="cpu")
        tape = warp.Tape()
        with tape:
            warp.launch(modulo, 1, inputs=[array], outputs=[out], device="cpu")
        tape.backward(grads={out: warp.ones(1, dtype=warp.float64, device="cpu")})
        return float(out.numpy()[0]), array.grad.numpy().copy()

    x = np.array([3.5, 1.0])
    report = gradproof.check(lambda x: launched(x)[0], x, grad=lambda x: launched(x)[1], rng=0)
    # 3.5 - 3 b
    return float(launched(x)[1][1]), -3.0, report


@find("casadi", "`x ** y` with respect to y at (0, 2)", proof="exact formula")
def power():
    x, y = casadi.SX.sym("x"), casadi.SX.sym("y")
    f = casadi.Function("f", [x, y], [x**y, casadi.gradient(x**y, y)])
    # 0^y is 0 for every y > 0.
    value, slope = (lambda y, i=i: float(f(0, y)[i]) for i in (0, 1))
    return slope(2.0), 0.0, gradproof.check(value, 2.0, grad=slope, rng=0)


def check(f, x, claim=None):
    """Check the gradient that MLX returns at x, in float32."""
    claim = claim or mx.grad(f)
    report = gradproof.check(
        lambda x: np.array(f(mx.array(x))), np.float32(x), grad=lambda x: np.array(claim(mx.array(x))), rng=0
    )
    return float(np.ravel(claim(mx.array(np.float32(x))))[0]), report


@find("mlx", "`addmm(c, a, b, alpha=0.5, beta=2)`: forward mode with respect to a = 2", proof="exact formula")
def addmm():
    # beta c + alpha a b with b = 3
    def f(a):
        return mx.addmm(mx.array([[1.0]]), a.reshape(1, 1), mx.array([[3.0]]), alpha=0.5, beta=2.0).sum()

    claimed, report = check(f, 2.0, lambda a: mx.jvp(f, [a], [mx.array(1.0)])[1][0])
    return claimed, 1.5, report


@find("mlx", "complex `x ** 2`: d imag((x + 0.7i)^2) / dx at 0.4", proof="exact formula")
def complex_power():
    claimed, report = check(lambda x: mx.imag((x + 1j * mx.array(0.7)) ** 2), 0.4)
    return claimed, 1.4, report


@find("mlx", "complex `cumprod`: d (x0 - imag(z0 z1)) / dx0, z = (0.4 + 0.7i, 0.1 + 0.2i)", proof="exact formula")
def complex_cumprod():
    def f(x):
        return mx.real(mx.cumprod(x + 1j * mx.array([0.7, 0.2])) * mx.array([1.0, 1j])).sum()

    # x0 - (0.7 x1 + 0.2 x0)
    claimed, report = check(f, [0.4, 0.1])
    return claimed, 0.8, report


@find("mlx", "complex `abs`: second derivative of abs(x + 0.7i) at 0.4", proof="exact formula")
def complex_abs():
    claimed, report = check(mx.grad(lambda x: mx.abs(x + 1j * mx.array(0.7))), 0.4)
    return claimed, 0.7**2 / (0.4**2 + 0.7**2) ** 1.5, report


@find("mlx", "complex `sign`: d real(sign(x + 0.7i)) / dx at 0.4", proof="exact formula")
def complex_sign():
    claimed, report = check(lambda x: mx.real(mx.sign(x + 1j * mx.array(0.7))), 0.4)
    return claimed, 0.7**2 / (0.4**2 + 0.7**2) ** 1.5, report


@find("mlx", "`divmod(x, 3)[1]` at 4", proof="exact formula")
def remainder():
    # x - 3
    claimed, report = check(lambda x: mx.divmod(x, mx.array(3.0))[1], 4.0)
    return claimed, 1.0, report


@find("mlx", "`cumprod` with a zero: d2 / dx0^2 of the sum, x = (1.2, 0, 1.5)", proof="exact formula")
def cumprod():
    # x0 + x0 x1 + x0 x1 x2 is linear in x0.
    claimed, report = check(lambda x: mx.grad(lambda x: mx.cumprod(x).sum())(x)[0], [1.2, 0.0, 1.5])
    return claimed, 0.0, report


if __name__ == "__main__":
    main(__file__)
