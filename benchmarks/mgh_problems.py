"""The 35 problems of Moré, Garbow and Hillstrom: residuals and Jacobians by hand.

From the published formulas and in the standard dimensions; where the paper leaves these open, 8 to 12 variables.
The residuals take complex numbers, so that `complex_jacobian` has the Jacobian from them alone.

J. J. Moré, B. S. Garbow, K. E. Hillstrom, "Testing Unconstrained Optimization Software", ACM TOMS 7 (1981).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Function = Callable[[Array], Array]

# How far the two other points are from the start, in units of each variable's size there.
BESIDE = (0.1, 0.5)


@dataclasses.dataclass(frozen=True)
class Problem:
    name: str
    residuals: Function
    jacobian: Function
    start: Array

    def value(self, x: Array) -> float:
        r = self.residuals(x)
        return r @ r

    def gradient(self, x: Array) -> Array:
        return 2 * self.jacobian(x).T @ self.residuals(x)

    def points(self) -> list[Array]:
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        size = np.where(self.start == 0, 1.0, np.abs(self.start))
        return [self.start, *(self.start + far * size * rng.standard_normal(size.size) for far in BESIDE)]


PROBLEMS: dict[int, Problem] = {}


def problem(number: int, name: str, start: object) -> Callable[[Callable[[], tuple[Function, Function]]], None]:
    """Add what the decorated function returns: residuals and Jacobian."""

    def add(make: Callable[[], tuple[Function, Function]]) -> None:
        PROBLEMS[number] = Problem(name, *make(), np.array(start, dtype=float))

    return add


def ordinals(n: int) -> Array:
    return np.arange(1.0, n + 1)


def powell_singular(n: int) -> tuple[Function, Function]:
    def r(x):
        a, b, c, d = x.reshape(-1, 4).T
        return np.stack([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2], axis=1).ravel()

    def jac(x):
        rows = np.zeros((n, n))
        for k in range(0, n, 4):
            a, b, c, d = x[k : k + 4]
            rows[k, k : k + 2] = 1, 10
            rows[k + 1, k + 2 : k + 4] = 5**0.5, -(5**0.5)
            rows[k + 2, k + 1 : k + 3] = 2 * (b - 2 * c), -4 * (b - 2 * c)
            rows[k + 3, [k, k + 3]] = 2 * 10**0.5 * (a - d), -2 * 10**0.5 * (a - d)
        return rows

    return r, jac


# ------------------------------------------------------------------------------------------------- systems, few


@problem(1, "Rosenbrock", [-1.2, 1])
def _():
    return (
        lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]),
        lambda x: np.array([[-20 * x[0], 10], [-1, 0]]),
    )


@problem(2, "Freudenstein and Roth", [0.5, -2])
def _():
    def r(x):
        a, b = x
        return np.array([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])

    def jac(x):
        b = x[1]
        return np.array([[1, 10 * b - 3 * b**2 - 2], [1, 3 * b**2 + 2 * b - 14]])

    return r, jac


@problem(3, "Powell badly scaled", [0, 1])
def _():
    return (
        lambda x: np.array([1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001]),
        lambda x: np.array([[1e4 * x[1], 1e4 * x[0]], [-np.exp(-x[0]), -np.exp(-x[1])]]),
    )


@problem(4, "Brown badly scaled", [1, 1])
def _():
    return (
        lambda x: np.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2]),
        lambda x: np.array([[1, 0], [0, 1], [x[1], x[0]]]),
    )


@problem(5, "Beale", [1, 1])
def _():
    y, i = np.array([1.5, 2.25, 2.625]), ordinals(3)
    return (
        lambda x: y - x[0] * (1 - x[1] ** i),
        lambda x: np.stack([x[1] ** i - 1, x[0] * i * x[1] ** (i - 1)], axis=1),
    )


@problem(6, "Jennrich and Sampson", [0.3, 0.4])
def _():
    i = ordinals(10)
    return (
        lambda x: 2 + 2 * i - np.exp(i * x[0]) - np.exp(i * x[1]),
        lambda x: -np.stack([i * np.exp(i * x[0]), i * np.exp(i * x[1])], axis=1),
    )


@problem(7, "helical valley", [-1, 0, 0])
def _():
    def r(x):
        turn = np.arctan(x[1] / x[0]) / (2 * np.pi) + (0.5 if x[0].real < 0 else 0.0)
        return np.array([10 * (x[2] - 10 * turn), 10 * (np.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])

    def jac(x):
        a, b, _ = x
        square = a**2 + b**2
        radius = np.sqrt(square)
        return np.array(
            [
                [50 * b / (np.pi * square), -50 * a / (np.pi * square), 10],
                [10 * a / radius, 10 * b / radius, 0],
                [0, 0, 1],
            ]
        )

    return r, jac


@problem(8, "Bard", [1, 1, 1])
def _():
    y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
    u = ordinals(15)
    v = 16 - u
    w = np.minimum(u, v)

    def jac(x):
        bottom = (v * x[1] + w * x[2]) ** 2
        return np.stack([-np.ones(15), u * v / bottom, u * w / bottom], axis=1)

    return lambda x: y - (x[0] + u / (v * x[1] + w * x[2])), jac


@problem(9, "Gaussian", [0.4, 1, 0])
def _():
    half = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
    y, t = np.array([*half, 0.3989, *half[::-1]]), (8 - ordinals(15)) / 2

    def jac(x):
        a, b, c = x
        bell = np.exp(-b * (t - c) ** 2 / 2)
        return np.stack([bell, -a * bell * (t - c) ** 2 / 2, a * bell * b * (t - c)], axis=1)

    return lambda x: x[0] * np.exp(-x[1] * (t - x[2]) ** 2 / 2) - y, jac


@problem(10, "Meyer", [0.02, 4000, 250])
def _():
    y = np.array([34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744,
                  8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872.0])  # fmt: skip
    t = 45 + 5 * ordinals(16)

    def jac(x):
        a, b, c = x
        growth = np.exp(b / (t + c))
        return np.stack([growth, a * growth / (t + c), -a * growth * b / (t + c) ** 2], axis=1)

    return lambda x: x[0] * np.exp(x[1] / (t + x[2])) - y, jac


@problem(11, "Gulf research and development", [5, 2.5, 0.15])
def _():
    t = ordinals(99) / 100
    y = 25 + (-50 * np.log(t)) ** (2 / 3)

    def distance(x):
        off = y - x[1]
        return np.where(off.real < 0, -off, off), np.where(off.real < 0, -1, 1)

    def r(x):
        return np.exp(-(distance(x)[0] ** x[2]) / x[0]) - t

    def jac(x):
        a, _, c = x
        off, sign = distance(x)
        power = off**c / a
        decay = np.exp(-power)
        return np.stack([decay * power / a, decay * power * c * sign / off, -decay * power * np.log(off)], axis=1)

    return r, jac


@problem(12, "Box three-dimensional", [0, 10, 20])
def _():
    t = ordinals(10) / 10
    gap = np.exp(-t) - np.exp(-10 * t)
    return (
        lambda x: np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * gap,
        lambda x: np.stack([-t * np.exp(-t * x[0]), t * np.exp(-t * x[1]), -gap], axis=1),
    )


@problem(13, "Powell singular", [3, -1, 0, 1])
def _():
    return powell_singular(4)


@problem(14, "Wood", [-3, -1, -3, -1])
def _():
    def r(x):
        a, b, c, d = x
        return np.array(
            [
                10 * (b - a**2),
                1 - a,
                90**0.5 * (d - c**2),
                1 - c,
                10**0.5 * (b + d - 2),
                (b - d) / 10**0.5,
            ]
        )

    def jac(x):
        rows = np.zeros((6, 4))
        rows[0, :2] = -20 * x[0], 10
        rows[1, 0] = -1
        rows[2, 2:] = -2 * 90**0.5 * x[2], 90**0.5
        rows[3, 2] = -1
        rows[4, [1, 3]] = 10**0.5
        rows[5, [1, 3]] = 10**-0.5, -(10**-0.5)
        return rows

    return r, jac


@problem(15, "Kowalik and Osborne", [0.25, 0.39, 0.415, 0.39])
def _():
    y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
    u = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])

    def r(x):
        return y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])

    def jac(x):
        top, bottom = u**2 + u * x[1], u**2 + u * x[2] + x[3]
        fall = x[0] * top / bottom**2
        return np.stack([-top / bottom, -x[0] * u / bottom, fall * u, fall], axis=1)

    return r, jac


@problem(16, "Brown and Dennis", [25, 5, -5, -1])
def _():
    t = ordinals(20) / 5

    def parts(x):
        return x[0] + t * x[1] - np.exp(t), x[2] + np.sin(t) * x[3] - np.cos(t)

    def r(x):
        one, other = parts(x)
        return one**2 + other**2

    def jac(x):
        one, other = parts(x)
        return 2 * np.stack([one, t * one, other, np.sin(t) * other], axis=1)

    return r, jac


@problem(17, "Osborne 1", [0.5, 1.5, -1, 0.01, 0.02])
def _():
    y = np.array([0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751,
                  0.718, 0.685, 0.658, 0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490,
                  0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406])  # fmt: skip
    t = 10 * np.arange(33.0)

    def jac(x):
        one, other = np.exp(-t * x[3]), np.exp(-t * x[4])
        return -np.stack([np.ones(33), one, other, -x[1] * t * one, -x[2] * t * other], axis=1)

    return lambda x: y - (x[0] + x[1] * np.exp(-t * x[3]) + x[2] * np.exp(-t * x[4])), jac


@problem(18, "Biggs EXP6", [1, 2, 1, 1, 1, 1])
def _():
    t = ordinals(13) / 10
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)

    def r(x):
        return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y

    def jac(x):
        a, b, e = (np.exp(-t * x[k]) for k in (0, 1, 4))
        return np.stack([-t * x[2] * a, t * x[3] * b, a, -b, -t * x[5] * e, e], axis=1)

    return r, jac


@problem(19, "Osborne 2", [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5])
def _():
    # fmt: off
    y = np.array([
        1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608,
        0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661,
        0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428,
        0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559,
        0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054,
    ])
    # fmt: on
    t = np.arange(65.0) / 10

    def bells(x):
        return [np.exp(-((t - x[8 + k]) ** 2) * x[5 + k]) for k in range(3)]

    def r(x):
        return y - x[0] * np.exp(-t * x[4]) - sum(x[1 + k] * bell for k, bell in enumerate(bells(x)))

    def jac(x):
        rows = np.zeros((65, 11))
        rows[:, 0] = -np.exp(-t * x[4])
        rows[:, 4] = x[0] * t * np.exp(-t * x[4])
        for k, bell in enumerate(bells(x)):
            off = t - x[8 + k]
            rows[:, 1 + k] = -bell
            rows[:, 5 + k] = x[1 + k] * off**2 * bell
            rows[:, 8 + k] = -2 * x[1 + k] * x[5 + k] * off * bell
        return rows

    return r, jac


@problem(20, "Watson", np.zeros(9))
def _():
    n = 9
    t = ordinals(29) / 29
    powers = t[:, None] ** np.arange(n)
    slopes = np.zeros((29, n))
    slopes[:, 1:] = np.arange(1, n) * t[:, None] ** np.arange(n - 1)

    def r(x):
        return np.concatenate([slopes @ x - (powers @ x) ** 2 - 1, [x[0], x[1] - x[0] ** 2 - 1]])

    def jac(x):
        rows = np.zeros((31, n))
        rows[:29] = slopes - 2 * (powers @ x)[:, None] * powers
        rows[29, 0] = 1
        rows[30, :2] = -2 * x[0], 1
        return rows

    return r, jac


# -------------------------------------------------------------------------------------- systems of any dimension


@problem(21, "extended Rosenbrock", np.tile([-1.2, 1], 5))
def _():
    def r(x):
        odd, even = x[::2], x[1::2]
        return np.stack([10 * (even - odd**2), 1 - odd], axis=1).ravel()

    def jac(x):
        rows = np.zeros((10, 10))
        for k in range(0, 10, 2):
            rows[k, k : k + 2] = -20 * x[k], 10
            rows[k + 1, k] = -1
        return rows

    return r, jac


@problem(22, "extended Powell singular", np.tile([3, -1, 0, 1], 3))
def _():
    return powell_singular(12)


@problem(23, "penalty I", ordinals(10))
def _():
    weight = 1e-5**0.5
    return (
        lambda x: np.concatenate([weight * (x - 1), [x @ x - 0.25]]),
        lambda x: np.concatenate([weight * np.eye(10), [2 * x]]),
    )


@problem(24, "penalty II", np.full(10, 0.5))
def _():
    n, weight = 10, 1e-5**0.5
    i = ordinals(n)
    y = np.exp(i[1:] / 10) + np.exp(i[:-1] / 10)

    def r(x):
        e = np.exp(x / 10)
        return np.concatenate(
            [
                [x[0] - 0.2],
                weight * (e[1:] + e[:-1] - y),
                weight * (e[1:] - np.exp(-0.1)),
                [np.sum((n - i + 1) * x**2) - 1],
            ]
        )

    def jac(x):
        e = np.exp(x / 10) / 10
        rows = np.zeros((2 * n, n))
        rows[0, 0] = 1
        for k in range(1, n):
            rows[k, k - 1 : k + 1] = weight * e[k - 1 : k + 1]
            rows[n - 1 + k, k] = weight * e[k]
        rows[-1] = 2 * (n - i + 1) * x
        return rows

    return r, jac


@problem(25, "variably dimensioned", 1 - ordinals(10) / 10)
def _():
    j = ordinals(10)

    def jac(x):
        return np.concatenate([np.eye(10), [j, 2 * (j @ (x - 1)) * j]])

    return lambda x: np.concatenate([x - 1, [j @ (x - 1), (j @ (x - 1)) ** 2]]), jac


@problem(26, "trigonometric", np.full(10, 0.1))
def _():
    n, i = 10, ordinals(10)

    def jac(x):
        return np.tile(np.sin(x), (n, 1)) + np.diag(i * np.sin(x) - np.cos(x))

    return lambda x: n - np.sum(np.cos(x)) + i * (1 - np.cos(x)) - np.sin(x), jac


@problem(27, "Brown almost-linear", np.full(10, 0.5))
def _():
    n = 10

    def jac(x):
        rows = np.eye(n) + 1
        rows[-1] = [np.prod(np.delete(x, j)) for j in range(n)]
        return rows

    return lambda x: np.append(x[:-1] + np.sum(x) - (n + 1), np.prod(x) - 1), jac


T = ordinals(10) / 11


@problem(28, "discrete boundary value", T * (T - 1))
def _():
    h = 1 / 11

    def r(x):
        around = np.concatenate([[0], x, [0]])
        return 2 * x - around[:-2] - around[2:] + h**2 * (x + T + 1) ** 3 / 2

    def jac(x):
        return np.diag(2 + 1.5 * h**2 * (x + T + 1) ** 2) - np.eye(10, k=1) - np.eye(10, k=-1)

    return r, jac


@problem(29, "discrete integral equation", T * (T - 1))
def _():
    h = 1 / 11
    kernel = np.where(np.tri(10, dtype=bool), (1 - T)[:, None] * T, T[:, None] * (1 - T)) * h / 2
    return (
        lambda x: x + kernel @ (x + T + 1) ** 3,
        lambda x: np.eye(10) + kernel * 3 * (x + T + 1) ** 2,
    )


@problem(30, "Broyden tridiagonal", np.full(10, -1))
def _():
    def r(x):
        around = np.concatenate([[0], x, [0]])
        return (3 - 2 * x) * x - around[:-2] - 2 * around[2:] + 1

    return r, lambda x: np.diag(3 - 4 * x) - np.eye(10, k=-1) - 2 * np.eye(10, k=1)


@problem(31, "Broyden banded", np.full(10, -1))
def _():
    band = np.tri(10, k=1) - np.tri(10, k=-6) - np.eye(10)
    return (
        lambda x: x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x)),
        lambda x: np.diag(2 + 15 * x**2) - band * (1 + 2 * x),
    )


@problem(32, "linear, full rank", np.ones(10))
def _():
    matrix = np.eye(20, 10) - 0.1
    return lambda x: matrix @ x - 1, lambda x: matrix.copy()


@problem(33, "linear, rank 1", np.ones(10))
def _():
    matrix = np.outer(ordinals(20), ordinals(10))
    return lambda x: matrix @ x - 1, lambda x: matrix.copy()


@problem(34, "linear, rank 1, zero columns and rows", np.ones(10))
def _():
    rows, columns = np.arange(20.0), ordinals(10)
    rows[-1] = columns[0] = columns[-1] = 0
    matrix = np.outer(rows, columns)
    return lambda x: matrix @ x - 1, lambda x: matrix.copy()


@problem(35, "Chebyquad", ordinals(8) / 9)
def _():
    n = 8
    i = ordinals(n)
    integrals = np.where(i % 2 == 0, -1 / np.where(i == 1, 2, i**2 - 1), 0)

    def polynomials(x):
        """Shifted Chebyshev polynomials 1 to n and their derivatives, (n, n) each: row i at every x."""
        z = 2 * x - 1
        values, slopes = [np.ones_like(z), z], [np.zeros_like(z), 2 * np.ones_like(z)]
        for _ in range(n - 1):
            values.append(2 * z * values[-1] - values[-2])
            slopes.append(4 * values[-2] + 2 * z * slopes[-1] - slopes[-2])
        return np.array(values[1:]), np.array(slopes[1:])

    return lambda x: polynomials(x)[0].mean(axis=1) - integrals, lambda x: polynomials(x)[1] / n


def complex_jacobian(problem: Problem, x: Array) -> Array:
    """The Jacobian from the residuals alone, by complex steps."""
    h = 1e-30
    columns = [problem.residuals(x + 1j * h * unit).imag / h for unit in np.eye(x.size)]
    return np.array(columns).T
