"""Only a jump of f that was closed in on excuses a deviation; a small error everywhere names f's tolerance."""

import math
import zlib

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof._line import Jump, ShapeKind, explains, shape_near

X = np.array([0.5, 1.0, 1.2])
FAR = np.array([500.0, 501.0])

# f, the point, the gradient: a pole, a fast oscillation, a steep exponential at some natural sizes away.
STEEP = {
    "a pole": (lambda x: np.tan(x).sum(), X, lambda x: 1 / np.cos(x) ** 2),
    "a fast oscillation": (lambda x: np.sin(20 * x).sum(), FAR, lambda x: 20 * np.cos(20 * x)),
    "a steep exponential": (lambda x: np.exp(np.exp(2 * x)).sum(), X, lambda x: 2 * np.exp(2 * x + np.exp(2 * x))),
}


@pytest.mark.parametrize("error", [1e-4, 3e-4])
@pytest.mark.parametrize("name", STEEP)
def test_steepness_far_out_excuses_nothing(name, error):
    """What a walk does not get through is no jump, so that a clear error is WRONG."""
    f, x, gradient = STEEP[name]
    for seed in range(2):
        right = gradproof.check(f, x, grad=gradient, rng=seed)
        wrong = gradproof.check(f, x, grad=lambda x: (1 + error) * gradient(x), rng=seed)  # wrong on purpose
        assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)


def stopped_early(rng, tolerance):
    """z = tanh(W z + x) iterated to a tolerance, the gradient of c . z, and the point."""
    n = int(rng.integers(3, 31))
    w = rng.standard_normal((n, n))
    w *= rng.uniform(0.3, 0.9) / np.linalg.norm(w, 2)
    c, point = rng.standard_normal(n), rng.standard_normal(n)

    def solve(x, small):
        z = np.zeros(n)
        for _ in range(10_000):
            new = np.tanh(w @ z + x)
            moved = np.linalg.norm(new - z)
            z = new
            if moved <= small * np.linalg.norm(new):
                break
        return z

    slope = 1 - solve(point, 1e-14) ** 2
    adjoint = np.linalg.solve((np.eye(n) - slope[:, None] * w).T, c)
    return lambda x: float(c @ solve(x, tolerance)), point, slope * adjoint


def test_excused_deviation_is_a_finding_with_both_numbers():
    """A solver that stops early: CORRECT, its own irregularity told; an allowance above 1e-5 never goes without."""
    excused = 0
    for seed in range(8):
        f, point, gradient = stopped_early(np.random.default_rng([seed, zlib.crc32(b"fixed point")]), 1e-6)
        report = gradproof.check(f, point, grad=gradient, rng=seed)
        assert report.verdict is not Verdict.WRONG
        found = [one for one in report.findings if one.id == "GP312"]
        excused += bool(found)
        assert report.rtol <= 2e-6 or found
        assert all("jumps by" in one.kind and "deviation of" in one.kind for one in found)
    assert excused


def test_one_percent_beside_a_solver_is_wrong():
    for seed in range(4):
        f, point, gradient = stopped_early(np.random.default_rng([seed, zlib.crc32(b"fixed point")]), 1e-6)
        report = gradproof.check(f, point, grad=1.01 * gradient, rng=seed)  # wrong on purpose
        assert report.verdict is Verdict.WRONG


def threshold(x, tolerance):
    """The alpha-entmax of x (alpha = 1.5), its threshold bisected to a tolerance."""
    low, high = x.max() - 1, x.max()
    for _ in range(60):
        middle = (low + high) / 2
        q = np.maximum(x - middle, 0) ** 2
        if abs(q.sum() - 1) < tolerance:
            break
        low, high = (middle, high) if q.sum() > 1 else (low, middle)
    return q


def test_bisection_that_stops_is_not_wrong():
    """Between the jumps of a bisection f has another slope; the gradient is that of the exact solution."""
    x = np.random.default_rng(0).normal(size=5)

    def f(x):
        p = threshold(x, 1e-3)
        return x @ p - 2 / 3 * (p**1.5).sum()

    for seed in range(6):
        report = gradproof.check(f, x, grad=lambda x: threshold(x, 1e-12), rng=seed)
        assert report.verdict is not Verdict.WRONG


def test_sawtooth_noise_is_noise():
    """The fractional part of x times 1e9, 1e-6 of f: the reference must not be the slope of a tooth."""
    for seed in range(10):
        report = gradproof.check(lambda x: math.sin(x) * (1 + 1e-6 * (x * 1e9 % 1)), 0.7, grad=math.cos, rng=seed)
        assert report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)


def steps_of_euler(k):
    """exp(-2 k) by 100 steps of Euler: a smooth error of one percent."""
    return (1 - 2 * k / 100) ** 100


def test_small_smooth_error_names_the_tolerance_of_f():
    report = gradproof.check(steps_of_euler, 0.8, grad=lambda k: -2 * np.exp(-2 * k), rng=0)
    assert report.verdict is Verdict.WRONG
    assert "tolerance" in report.findings[0].advice


def test_mistakes_that_are_named_or_large_do_not():
    """A factor, or a single wrong entry, is not blamed on f's tolerance."""
    x = np.random.default_rng(0).normal(size=12)
    one = np.cos(x)
    one[3] *= 1.01
    for claim in (2 * np.cos(x), one):  # wrong on purpose
        report = gradproof.check(lambda x: np.sin(x).sum(), x, grad=claim, rng=0)
        assert report.verdict is Verdict.WRONG
        assert not any("tolerance" in found.advice for found in report.findings)


def test_float32_behind_float64_is_told():
    """Errors that float32 hides are allowed for, and a note says why."""
    report = gradproof.check(lambda x: float(np.float32(np.sin(x).sum())), X, grad=np.cos, rng=0)
    assert report.verdict is not Verdict.WRONG
    assert "GP314" in [one.id for one in report.findings] or report.rtol <= 2e-6


def walked(phi, deviation, far=True):
    asking = shape_near(deviation, phi(0.0), 1e-16, far=far)
    try:
        steps = next(asking)
        while True:
            steps = asking.send(np.array([phi(float(t)) for t in steps]))
    except StopIteration as stop:
        return stop.value


def test_a_walk_finds_jumps_and_nothing_else():
    saw = walked(lambda t: math.exp(t) + 1e-5 * ((t + 0.1) % 0.4), 1e-5)
    assert saw.kind is ShapeKind.JUMPS
    assert math.isclose(saw.jump.at, 0.1, abs_tol=1e-3)
    assert math.isclose(saw.jump.size, 4e-6, rel_tol=0.1)
    assert walked(lambda t: math.tan(0.9 + t), 1e-5).kind is not ShapeKind.JUMPS
    assert walked(lambda t: math.exp(t) + abs(t - 0.2), 1e-5).kind is not ShapeKind.JUMPS
    assert walked(lambda t: math.exp(t) + (t > 0.2), 1e-6).kind is not ShapeKind.JUMPS


def test_a_jump_explains_what_pieces_of_its_kind_make():
    """J over the distance, up to 30 times more; a jump a thousand times larger is a branch of f."""
    assert explains(Jump(1e-6, 0.1), 1e-5)
    assert explains(Jump(1e-6, 0.1), 2e-4)
    assert not explains(Jump(1e-6, 0.1), 1e-3)
    assert not explains(Jump(1.0, 0.1), 1e-5)
