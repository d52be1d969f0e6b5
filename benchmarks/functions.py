"""Correct functions with gradients written by hand, at any size: what the mistakes are planted in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Leaves = dict[str, Array]


@dataclasses.dataclass
class Model:
    """f(leaves) -> float at a point, with its gradient. `single`: f takes the only leaf itself."""

    f: Callable[[Leaves], float]
    point: Leaves
    gradient: Callable[[Leaves], Leaves]
    count: int = 8  # samples that the loss averages over
    kinks: bool = False


@dataclasses.dataclass(frozen=True)
class Entry:
    name: str
    build: Callable[[np.random.Generator, int], Model]


FUNCTIONS: dict[str, Entry] = {}
Builder = Callable[[np.random.Generator, int], Model]


def function(build: Builder) -> Builder:
    FUNCTIONS[build.__name__] = Entry(build.__name__, build)
    return build


def single(f: Callable[[Array], float], x: Array, gradient: Callable[[Array], Array], **more: object) -> Model:
    """A function of one array."""
    return Model(lambda p: f(p["x"]), {"x": x}, lambda p: {"x": gradient(p["x"])}, **more)  # type: ignore[arg-type]


def side(size: int, low: int = 2) -> int:
    """Rows of a square matrix of about `size` entries."""
    return max(low, round(math.sqrt(size)))


def sigmoid(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * z))


def softplus(z: Array) -> Array:
    return np.logaddexp(0, z)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_sum_exp(z: Array) -> Array:
    top = z.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(z - top).sum(axis=-1))


# ------------------------------------------------------------------------------------------------------ single array


@function
def quadratic_form(rng: np.random.Generator, size: int) -> Model:
    d, u, b = rng.uniform(0.5, 2, size), rng.standard_normal(size) / math.sqrt(size), rng.standard_normal(size)
    return single(
        lambda x: 0.5 * (d * x * x).sum() + 0.5 * (u @ x) ** 2 + b @ x,
        rng.standard_normal(size),
        lambda x: d * x + u * (u @ x) + b,
    )


@function
def rosenbrock(rng: np.random.Generator, size: int) -> Model:
    def gradient(x: Array) -> Array:
        g, r = np.zeros_like(x), x[1:] - x[:-1] ** 2
        g[:-1] = -400 * x[:-1] * r - 2 * (1 - x[:-1])
        g[1:] += 200 * r
        return g

    return single(
        lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(),
        rng.standard_normal(max(size, 2)),
        gradient,
    )


@function
def log_cosh(rng: np.random.Generator, size: int) -> Model:
    target = rng.standard_normal(size)
    return single(
        lambda x: (softplus(2 * (x - target)) - (x - target)).sum() / size,
        rng.standard_normal(size),
        lambda x: np.tanh(x - target) / size,
        count=size,
    )


@function
def cauchy_likelihood(rng: np.random.Generator, size: int) -> Model:
    a, y = rng.standard_normal((20, size)) / math.sqrt(size), rng.standard_normal(20)

    def gradient(x: Array) -> Array:
        r = a @ x - y
        return a.T @ (2 * r / (1 + r * r)) / 20

    return single(lambda x: np.log1p((a @ x - y) ** 2).sum() / 20, rng.standard_normal(size), gradient, count=20)


@function
def ridge_regression(rng: np.random.Generator, size: int) -> Model:
    a, y = rng.standard_normal((15, size)) / math.sqrt(size), rng.standard_normal(15)
    return single(
        lambda x: ((a @ x - y) ** 2).sum() / 15 + 0.1 * (x @ x) / size,
        rng.standard_normal(size),
        lambda x: 2 * a.T @ (a @ x - y) / 15 + 0.2 * x / size,
        count=15,
    )


@function
def huber_regression(rng: np.random.Generator, size: int) -> Model:
    a, y = rng.standard_normal((25, size)) / math.sqrt(size), 2 * rng.standard_normal(25)

    def f(x: Array) -> float:
        r = np.abs(a @ x - y)
        return np.where(r < 1, 0.5 * r * r, r - 0.5).sum()

    return single(f, rng.standard_normal(size), lambda x: a.T @ np.clip(a @ x - y, -1, 1), count=25)


@function
def hinge_with_decay(rng: np.random.Generator, size: int) -> Model:
    a = rng.standard_normal((12, size)) / math.sqrt(size)
    return single(
        lambda x: np.maximum(1 - a @ x, 0).sum() / 12 + 0.05 * (x @ x) / size,
        rng.standard_normal(size),
        lambda x: -a.T @ ((a @ x < 1) / 12) + 0.1 * x / size,
        count=12,
        kinks=True,
    )


@function
def poisson_regression(rng: np.random.Generator, size: int) -> Model:
    a, y = rng.standard_normal((18, size)) / math.sqrt(size), rng.integers(0, 4, 18).astype(float)
    return single(
        lambda x: (np.exp(a @ x) - y * (a @ x)).sum() / 18,
        rng.standard_normal(size),
        lambda x: a.T @ (np.exp(a @ x) - y) / 18,
        count=18,
    )


@function
def log_determinant(rng: np.random.Generator, size: int) -> Model:
    n = min(side(size), 60)

    def f(x: Array) -> float:
        return np.linalg.slogdet(x @ x.T / n + np.eye(n))[1]

    return single(f, rng.standard_normal((n, n)), lambda x: 2 / n * np.linalg.solve(x @ x.T / n + np.eye(n), x))


@function
def pca_loss(rng: np.random.Generator, size: int) -> Model:
    rank = min(4, max(1, size // 8 + 1))
    n = max(2, size // rank)
    data = rng.standard_normal((10, n))

    def gradient(w: Array) -> Array:
        r = data @ w @ w.T - data
        return 2 * (data.T @ (r @ w) + r.T @ (data @ w)) / 10

    return single(
        lambda w: ((data @ w @ w.T - data) ** 2).sum() / 10,
        rng.standard_normal((n, rank)) / math.sqrt(n),
        gradient,
        count=10,
    )


@function
def masked_sum(rng: np.random.Generator, size: int) -> Model:
    """30 % of the entries take no part: exact zeros in the gradient."""
    mask = rng.random(size) > 0.3
    mask[0] = True
    c = rng.uniform(0.5, 2, size)
    return single(lambda x: np.sin(c * x)[mask].sum(), rng.standard_normal(size), lambda x: mask * c * np.cos(c * x))


@function
def one_percent_unused(rng: np.random.Generator, size: int) -> Model:
    mask = rng.random(size) > 0.01
    mask[0] = True
    c = rng.standard_normal(size)
    return single(
        lambda x: (mask * np.exp(-0.5 * (x - c) ** 2)).sum(),
        rng.standard_normal(size),
        lambda x: mask * (c - x) * np.exp(-0.5 * (x - c) ** 2),
    )


@function
def sparse_interactions(rng: np.random.Generator, size: int) -> Model:
    """Products of few pairs: 99 % of the entries of a large vector have gradient exactly 0."""
    pairs = rng.integers(0, size, (max(1, size // 200), 2))

    def gradient(x: Array) -> Array:
        g = np.zeros_like(x)
        i, j = pairs.T
        slope = np.cos(x[i] * x[j])
        np.add.at(g, i, slope * x[j])
        np.add.at(g, j, slope * x[i])
        return g

    return single(lambda x: np.sin(x[pairs[:, 0]] * x[pairs[:, 1]]).sum(), rng.standard_normal(size), gradient)


@function
def bradley_terry(rng: np.random.Generator, size: int) -> Model:
    """Ratings of players, of whom many never played."""
    games = rng.integers(0, max(size, 2), (max(3, size), 2))
    games = games[games[:, 0] != games[:, 1]]
    if len(games) == 0:
        games = np.array([[0, 1]])

    def gradient(x: Array) -> Array:
        g = np.zeros_like(x)
        slope = -sigmoid(x[games[:, 1]] - x[games[:, 0]]) / len(games)
        np.add.at(g, games[:, 0], slope)
        np.add.at(g, games[:, 1], -slope)
        return g

    return single(
        lambda x: softplus(x[games[:, 1]] - x[games[:, 0]]).sum() / len(games),
        rng.standard_normal(max(size, 2)),
        gradient,
        count=len(games),
    )


@function
def decades(rng: np.random.Generator, size: int) -> Model:
    """Entries from 1e-8 to 1e8, each felt relative to its own size."""
    unit = np.exp(rng.uniform(math.log(1e-8), math.log(1e8), size))
    c = rng.standard_normal(size)
    return single(
        lambda x: (c * np.tanh(x / unit)).sum(),
        unit * rng.uniform(0.5, 1.5, size),
        lambda x: c / unit / np.cosh(x / unit) ** 2,
    )


@function
def particles(rng: np.random.Generator, size: int) -> Model:
    """Energy of repelling particles in a bowl."""
    m = min(max(2, size // 3), 60)

    def gradient(x: Array) -> Array:
        d = x[:, None] - x[None]
        square = (d * d).sum(-1) + 0.1
        return x - (d * (square**-1.5)[:, :, None]).sum(1)

    def f(x: Array) -> float:
        d = x[:, None] - x[None]
        inverse = ((d * d).sum(-1) + 0.1) ** -0.5
        return 0.5 * (x * x).sum() + 0.5 * (inverse.sum() - np.trace(inverse))

    return single(f, rng.standard_normal((m, 3)), gradient)


@function
def banded_spline(rng: np.random.Generator, size: int) -> Model:
    """Fit and roughness of a curve."""
    y = rng.standard_normal(max(size, 3))

    def gradient(x: Array) -> Array:
        g, bend = 2 * (x - y), x[2:] - 2 * x[1:-1] + x[:-2]
        g[2:] += 6 * bend
        g[1:-1] -= 12 * bend
        g[:-2] += 6 * bend
        return g

    return single(
        lambda x: ((x - y) ** 2).sum() + 3 * ((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2).sum(),
        rng.standard_normal(max(size, 3)),
        gradient,
    )


@function
def pseudo_likelihood(rng: np.random.Generator, size: int) -> Model:
    """Ising model; the couplings are not symmetrised, so a transposed gradient is wrong."""
    n = side(size)
    spins = rng.choice([-1.0, 1.0], (8, n))

    def gradient(x: Array) -> Array:
        return -2 * (sigmoid(-2 * spins * (spins @ x.T)) * spins).T @ spins / 8

    return single(
        lambda x: softplus(-2 * spins * (spins @ x.T)).sum() / 8, rng.standard_normal((n, n)) / math.sqrt(n), gradient
    )


@function
def bilinear_tensor(rng: np.random.Generator, size: int) -> Model:
    """A leaf with three axes."""
    n = max(2, round(size ** (1 / 3)))
    a, b, c = (rng.standard_normal((6, n)) / math.sqrt(n) for _ in range(3))

    def f(t: Array) -> float:
        return np.log1p(np.einsum("si,sj,sk,ijk->s", a, b, c, t, optimize=True) ** 2).sum()

    def gradient(t: Array) -> Array:
        r = np.einsum("si,sj,sk,ijk->s", a, b, c, t, optimize=True)
        return np.einsum("s,si,sj,sk->ijk", 2 * r / (1 + r * r), a, b, c, optimize=True)

    return single(f, rng.standard_normal((n, n, n)), gradient)


# ------------------------------------------------------------------------------------------------------- small leaves


@function
def gaussian_process(rng: np.random.Generator, size: int) -> Model:
    """Marginal likelihood; three 0-d leaves."""
    s = np.sort(rng.uniform(-2, 2, 8))
    y = np.sin(2 * s) + 0.1 * rng.standard_normal(8)
    square = (s[:, None] - s[None]) ** 2

    def parts(p: Leaves) -> tuple[Array, Array]:
        k = np.exp(2 * p["amplitude"]) * np.exp(-0.5 * square * np.exp(-2 * p["length"]))
        return k, k + np.exp(2 * p["noise"]) * np.eye(8)

    def f(p: Leaves) -> float:
        _, full = parts(p)
        return 0.5 * y @ np.linalg.solve(full, y) + 0.5 * np.linalg.slogdet(full)[1]

    def gradient(p: Leaves) -> Leaves:
        k, full = parts(p)
        inverse = np.linalg.inv(full)
        alpha = inverse @ y
        inner = 0.5 * (inverse - np.outer(alpha, alpha))
        return {
            "amplitude": np.array(2 * (inner * k).sum()),
            "length": np.array((inner * k * square).sum() * np.exp(-2 * p["length"])),
            "noise": np.array(2 * np.exp(2 * p["noise"]) * np.trace(inner)),
        }

    point = {"amplitude": rng.uniform(-0.5, 0.5), "length": rng.uniform(-0.5, 0.3), "noise": rng.uniform(-1.5, -0.5)}
    return Model(f, {key: np.array(value) for key, value in point.items()}, gradient, count=8)


@function
def autoregression(rng: np.random.Generator, size: int) -> Model:
    """Leaves of 2, 1 and 0 axes' worth of entries: coefficients (2,), log scale (1,), mean ()."""
    series = rng.standard_normal(40).cumsum() * 0.3

    def parts(p: Leaves) -> tuple[Array, Array, Array]:
        z = series - p["mean"]
        r = z[2:] - p["coefficients"][0] * z[1:-1] - p["coefficients"][1] * z[:-2]
        return z, r, np.exp(-2 * p["log_scale"][0])

    def f(p: Leaves) -> float:
        _, r, w = parts(p)
        return 0.5 * w * (r * r).sum() / 38 + p["log_scale"][0]

    def gradient(p: Leaves) -> Leaves:
        z, r, w = parts(p)
        return {
            "coefficients": -w / 38 * np.array([r @ z[1:-1], r @ z[:-2]]),
            "log_scale": np.array([1 - w * (r @ r) / 38]),
            "mean": np.array(-w / 38 * r.sum() * (1 - p["coefficients"].sum())),
        }

    point = {
        "coefficients": rng.uniform(0.2, 0.6, 2),
        "log_scale": rng.uniform(-0.5, 0.5, 1),
        "mean": np.array(rng.uniform(0.2, 1)),
    }
    return Model(f, point, gradient, count=38)


@function
def polynomial_fit(rng: np.random.Generator, size: int) -> Model:
    s, y = rng.uniform(-1, 1, 12), rng.standard_normal(12)
    v = np.stack([np.ones(12), s, s * s], axis=1)
    return single(
        lambda x: ((v @ x - y) ** 2).sum() / 12, rng.standard_normal(3), lambda x: 2 * v.T @ (v @ x - y) / 12, count=12
    )


@function
def one_number(rng: np.random.Generator, size: int) -> Model:
    c = rng.uniform(0.5, 2)
    return single(
        lambda x: np.exp(c * x) * np.sin(x),
        np.array(rng.standard_normal()),
        lambda x: np.exp(c * x) * (c * np.sin(x) + np.cos(x)),
    )


@function
def fourier_sum(rng: np.random.Generator, size: int) -> Model:
    """Amplitudes, frequencies, phases: three leaves of equal shape."""
    k, s = max(1, size // 3), np.linspace(0, 1, 16)
    y = rng.standard_normal(16)

    def parts(p: Leaves) -> tuple[Array, Array]:
        angle = np.outer(s, p["frequency"]) + p["phase"]
        return angle, np.sin(angle) @ p["amplitude"] / math.sqrt(k) - y

    def gradient(p: Leaves) -> Leaves:
        angle, r = parts(p)
        slope = 2 / 16 / math.sqrt(k) * r[:, None]
        return {
            "amplitude": (slope * np.sin(angle)).sum(0),
            "frequency": (slope * np.cos(angle) * s[:, None]).sum(0) * p["amplitude"],
            "phase": (slope * np.cos(angle)).sum(0) * p["amplitude"],
        }

    point = {name: rng.uniform(0.5, 1.5, k) for name in ("amplitude", "frequency", "phase")}
    return Model(lambda p: (parts(p)[1] ** 2).sum() / 16, point, gradient, count=16)


@function
def gaussian_mixture(rng: np.random.Generator, size: int) -> Model:
    k = max(2, min(size // 3, 300))
    y = 2 * rng.standard_normal(30)

    def weights(p: Leaves) -> Array:
        return p["logits"] - 0.5 * (y[:, None] - p["means"]) ** 2 * np.exp(-2 * p["scales"]) - p["scales"]

    def f(p: Leaves) -> float:
        return -log_sum_exp(weights(p)).sum() / 30 + log_sum_exp(p["logits"])

    def gradient(p: Leaves) -> Leaves:
        share, d = softmax(weights(p)) / 30, y[:, None] - p["means"]
        w = np.exp(-2 * p["scales"])
        return {
            "logits": softmax(p["logits"]) - share.sum(0),
            "means": -(share * d).sum(0) * w,
            "scales": share.sum(0) - (share * d * d).sum(0) * w,
        }

    point = {
        "logits": rng.standard_normal(k),
        "means": 2 * rng.standard_normal(k),
        "scales": 0.3 * rng.standard_normal(k),
    }
    return Model(f, point, gradient, count=30)


@function
def units_of_physics(rng: np.random.Generator, size: int) -> Model:
    """Leaves of 1e-8, 1 and 1e8."""
    n = max(1, size // 3)
    a, b = rng.standard_normal(n), rng.standard_normal(n)

    def f(p: Leaves) -> float:
        return (np.sin(p["tiny"] * 1e8 + a) * p["plain"] + np.tanh(p["huge"] * 1e-8) * b).sum()

    def gradient(p: Leaves) -> Leaves:
        return {
            "tiny": 1e8 * np.cos(p["tiny"] * 1e8 + a) * p["plain"],
            "plain": np.sin(p["tiny"] * 1e8 + a),
            "huge": 1e-8 * b / np.cosh(p["huge"] * 1e-8) ** 2,
        }

    x, y, z = rng.standard_normal((3, n))
    return Model(f, {"tiny": 1e-8 * x, "plain": y, "huge": 1e8 * z}, gradient)


# ------------------------------------------------------------------------------------------------------------ learning


@function
def logistic_regression(rng: np.random.Generator, size: int) -> Model:
    """A weight vector and a 0-d bias."""
    a, y = rng.standard_normal((20, size)) / math.sqrt(size), rng.integers(0, 2, 20).astype(float)

    def gradient(p: Leaves) -> Leaves:
        r = (sigmoid(a @ p["w"] + p["b"]) - y) / 20
        return {"w": a.T @ r, "b": np.array(r.sum())}

    def f(p: Leaves) -> float:
        z = a @ p["w"] + p["b"]
        return (softplus(z) - y * z).sum() / 20

    return Model(f, {"w": rng.standard_normal(size), "b": np.array(rng.standard_normal())}, gradient, count=20)


@function
def softmax_regression(rng: np.random.Generator, size: int) -> Model:
    k = 4
    d = max(1, size // k)
    data, labels = rng.standard_normal((16, d)) / math.sqrt(d), rng.integers(0, k, 16)

    def f(p: Leaves) -> float:
        z = data @ p["W"] + p["b"]
        return (log_sum_exp(z) - z[np.arange(16), labels]).sum() / 16

    def gradient(p: Leaves) -> Leaves:
        r = softmax(data @ p["W"] + p["b"])
        r[np.arange(16), labels] -= 1
        return {"W": data.T @ r / 16, "b": r.sum(0) / 16}

    return Model(f, {"W": rng.standard_normal((d, k)), "b": rng.standard_normal(k)}, gradient, count=16)


def network(
    rng: np.random.Generator, size: int, act: Callable[[Array], Array], slope: Callable[[Array], Array], kinks: bool
) -> Model:
    """Three layers, quadratic loss."""
    hidden, batch = side(size // 2, 2), 8
    data, target = rng.standard_normal((batch, 5)), rng.standard_normal((batch, 2))

    def forward(p: Leaves) -> tuple[Array, Array, Array, Array, Array]:
        z1 = data @ p["W1"] + p["b1"]
        a1 = act(z1)
        z2 = a1 @ p["W2"] + p["b2"]
        a2 = act(z2)
        return z1, a1, z2, a2, a2 @ p["W3"] + p["b3"] - target

    def gradient(p: Leaves) -> Leaves:
        z1, a1, z2, a2, r = forward(p)
        d3 = 2 * r / batch
        d2 = d3 @ p["W3"].T * slope(z2)
        d1 = d2 @ p["W2"].T * slope(z1)
        return {
            "W1": data.T @ d1, "b1": d1.sum(0), "W2": a1.T @ d2, "b2": d2.sum(0), "W3": a2.T @ d3, "b3": d3.sum(0)
        }  # fmt: skip

    point = {
        "W1": rng.standard_normal((5, hidden)) / math.sqrt(5),
        "b1": 0.3 * rng.standard_normal(hidden),
        "W2": rng.standard_normal((hidden, hidden)) / math.sqrt(hidden),
        "b2": 0.3 * rng.standard_normal(hidden),
        "W3": rng.standard_normal((hidden, 2)) / math.sqrt(hidden),
        "b3": 0.3 * rng.standard_normal(2),
    }
    return Model(lambda p: (forward(p)[-1] ** 2).sum() / batch, point, gradient, count=batch, kinks=kinks)


@function
def tanh_network(rng: np.random.Generator, size: int) -> Model:
    return network(rng, size, np.tanh, lambda z: 1 - np.tanh(z) ** 2, kinks=False)


@function
def softplus_network(rng: np.random.Generator, size: int) -> Model:
    return network(rng, size, softplus, sigmoid, kinks=False)


@function
def relu_network(rng: np.random.Generator, size: int) -> Model:
    return network(rng, size, lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float), kinks=True)


@function
def leaky_network(rng: np.random.Generator, size: int) -> Model:
    return network(rng, size, lambda z: np.where(z > 0, z, 0.1 * z), lambda z: np.where(z > 0, 1.0, 0.1), kinks=True)


@function
def dead_relu_layer(rng: np.random.Generator, size: int) -> Model:
    """Most hidden units are off for every sample: columns of exact zeros."""
    hidden = max(4, size // 6)
    data = rng.standard_normal((6, 5))
    shift = np.where(rng.random(hidden) < 0.8, -25.0, 0.5)
    shift[0] = 0.5
    c = rng.standard_normal(hidden)

    def f(p: Leaves) -> float:
        return np.log1p((np.maximum(data @ p["W"] + shift + p["b"], 0) @ c) ** 2).sum() / 6

    def gradient(p: Leaves) -> Leaves:
        z = data @ p["W"] + shift + p["b"]
        s = np.maximum(z, 0) @ c
        d = (2 * s / (1 + s * s) / 6)[:, None] * c * (z > 0)
        return {"W": data.T @ d, "b": d.sum(0)}

    return Model(f, {"W": rng.standard_normal((5, hidden)), "b": rng.standard_normal(hidden)}, gradient, 6, kinks=True)


@function
def convolution(rng: np.random.Generator, size: int) -> Model:
    """One-dimensional, several channels in and out, softplus, mean square."""
    width = 3
    channels = max(1, side(size // width, 1))
    signal = rng.standard_normal((channels, 20))
    windows = np.stack([signal[:, i : i + width] for i in range(18)])  # (18, in, width)

    def forward(p: Leaves) -> Array:
        return np.einsum("tiw,oiw->to", windows, p["kernel"], optimize=True) + p["bias"]

    def gradient(p: Leaves) -> Leaves:
        z = forward(p)
        d = 2 * softplus(z) * sigmoid(z) / z.size
        return {"kernel": np.einsum("to,tiw->oiw", d, windows, optimize=True), "bias": d.sum(0)}

    point = {
        "kernel": rng.standard_normal((channels, channels, width)) / math.sqrt(channels * width),
        "bias": 0.3 * rng.standard_normal(channels),
    }
    return Model(lambda p: (softplus(forward(p)) ** 2).mean(), point, gradient, count=18)


@function
def batch_norm(rng: np.random.Generator, size: int) -> Model:
    """Linear, batch norm, tanh: the bias before the norm is flat."""
    out = max(1, size // 6)
    data, c = rng.standard_normal((10, 5)), rng.standard_normal((10, out))

    def forward(p: Leaves) -> tuple[Array, Array, Array]:
        z = data @ p["W"] + p["b"]
        centred = z - z.mean(0)
        deviation = np.sqrt((centred**2).mean(0) + 1e-5)
        return centred / deviation, deviation, np.tanh(centred / deviation * p["gamma"] + p["beta"])

    def gradient(p: Leaves) -> Leaves:
        z, deviation, a = forward(p)
        d = c * (1 - a * a) / math.sqrt(out)
        dz = d * p["gamma"]
        dx = (dz - dz.mean(0) - z * (dz * z).mean(0)) / deviation
        return {"W": data.T @ dx, "b": np.zeros(out), "gamma": (d * z).sum(0), "beta": d.sum(0)}

    point = {
        "W": rng.standard_normal((5, out)),
        "b": rng.standard_normal(out),
        "gamma": rng.uniform(0.5, 1.5, out),
        "beta": 0.3 * rng.standard_normal(out),
    }
    return Model(lambda p: (c * forward(p)[2]).sum() / math.sqrt(out), point, gradient, count=10)


@function
def layer_norm(rng: np.random.Generator, size: int) -> Model:
    width = max(3, min(size // 3, 4000))
    x0, c = rng.standard_normal((4, width)), rng.standard_normal((4, width))

    def forward(p: Leaves) -> tuple[Array, Array]:
        z = x0 * p["scale"]
        centred = z - z.mean(1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
        return centred / deviation, deviation

    def gradient(p: Leaves) -> Leaves:
        z, deviation = forward(p)
        d = c / width
        dz = d * p["gamma"]
        dx = (dz - dz.mean(1, keepdims=True) - z * (dz * z).mean(1, keepdims=True)) / deviation
        return {"scale": (dx * x0).sum(0), "gamma": (d * z).sum(0), "beta": d.sum(0)}

    point = {name: rng.uniform(0.5, 1.5, width) for name in ("scale", "gamma", "beta")}
    return Model(lambda p: (c * (forward(p)[0] * p["gamma"] + p["beta"])).sum() / width, point, gradient, count=4)


@function
def attention(rng: np.random.Generator, size: int) -> Model:
    """Separate q, k, v with biases: that of k is flat."""
    width = side(size // 3, 2)
    tokens = 5
    h, c = rng.standard_normal((tokens, width)), rng.standard_normal((tokens, width))

    def forward(p: Leaves) -> tuple[Array, ...]:
        q, k, v = (h @ p["W" + name] + p["b" + name] for name in "qkv")
        a = softmax(q @ k.T / math.sqrt(width))
        return q, k, v, a

    def f(p: Leaves) -> float:
        _, _, v, a = forward(p)
        return (c * np.tanh(a @ v)).sum()

    def gradient(p: Leaves) -> Leaves:
        q, k, v, a = forward(p)
        dout = c * (1 - np.tanh(a @ v) ** 2)
        da = dout @ v.T
        ds = a * (da - (da * a).sum(1, keepdims=True)) / math.sqrt(width)
        d = {"q": ds @ k, "k": ds.T @ q, "v": a.T @ dout}
        return {**{"W" + n: h.T @ d[n] for n in "qkv"}, **{"b" + n: d[n].sum(0) for n in "qv"}, "bk": np.zeros(width)}

    point = {"W" + n: rng.standard_normal((width, width)) / math.sqrt(width) for n in "qkv"}
    point |= {"b" + n: 0.3 * rng.standard_normal(width) for n in "qkv"}
    return Model(f, point, gradient, count=tokens)


@function
def embedding_lookup(rng: np.random.Generator, size: int) -> Model:
    """A table of which 99 % is never looked up, and a head."""
    width = 4
    rows = max(2, size // width)
    words = rng.integers(0, rows, max(1, rows // 100))

    def f(p: Leaves) -> float:
        return np.log1p((p["table"][words] @ p["head"]) ** 2).sum()

    def gradient(p: Leaves) -> Leaves:
        z = p["table"][words] @ p["head"]
        d = 2 * z / (1 + z * z)
        table = np.zeros_like(p["table"])
        np.add.at(table, words, d[:, None] * p["head"])
        return {"table": table, "head": p["table"][words].T @ d}

    point = {"table": rng.standard_normal((rows, width)), "head": rng.standard_normal(width)}
    return Model(f, point, gradient, count=len(words))


@function
def matrix_factorisation(rng: np.random.Generator, size: int) -> Model:
    rank = 3
    n = max(2, size // (2 * rank))
    seen = rng.integers(0, n, (max(3, 2 * n), 2))
    y = rng.standard_normal(len(seen))

    def residual(p: Leaves) -> Array:
        return (p["U"][seen[:, 0]] * p["V"][seen[:, 1]]).sum(1) - y

    def gradient(p: Leaves) -> Leaves:
        r = 2 * residual(p)[:, None] / len(seen)
        u, v = np.zeros_like(p["U"]), np.zeros_like(p["V"])
        np.add.at(u, seen[:, 0], r * p["V"][seen[:, 1]])
        np.add.at(v, seen[:, 1], r * p["U"][seen[:, 0]])
        return {"U": u, "V": v}

    point = {"U": rng.standard_normal((n, rank)), "V": rng.standard_normal((n, rank))}
    return Model(lambda p: (residual(p) ** 2).sum() / len(seen), point, gradient, count=len(seen))


@function
def recurrent_network(rng: np.random.Generator, size: int) -> Model:
    n, steps = side(size // 2, 2), 8
    inputs = rng.standard_normal((steps, n))

    def states(p: Leaves) -> list[Array]:
        h = [np.zeros_like(p["b"])]
        for t in range(steps):
            h.append(np.tanh(p["W"] @ h[-1] + p["V"] @ inputs[t] + p["b"]))
        return h

    def gradient(p: Leaves) -> Leaves:
        h = states(p)
        g = {key: np.zeros_like(value) for key, value in p.items()}
        d = h[-1] * 2 / n
        for t in range(steps - 1, -1, -1):
            dz = d * (1 - h[t + 1] ** 2)
            g["W"] += np.outer(dz, h[t])
            g["V"] += np.outer(dz, inputs[t])
            g["b"] += dz
            d = p["W"].T @ dz
        return g

    point = {
        "W": rng.standard_normal((n, n)) / math.sqrt(n),
        "V": rng.standard_normal((n, n)) / math.sqrt(n),
        "b": 0.3 * rng.standard_normal(n),
    }
    return Model(lambda p: (states(p)[-1] ** 2).sum() / n, point, gradient, count=steps)


@function
def tied_autoencoder(rng: np.random.Generator, size: int) -> Model:
    n = side(size, 2)
    data = rng.standard_normal((7, n))

    def parts(p: Leaves) -> tuple[Array, Array]:
        a = np.tanh(data @ p["W"] + p["b"])
        return a, a @ p["W"].T + p["c"] - data

    def gradient(p: Leaves) -> Leaves:
        a, r = parts(p)
        r = 2 * r / 7
        dz = r @ p["W"] * (1 - a * a)
        return {"W": r.T @ a + data.T @ dz, "b": dz.sum(0), "c": r.sum(0)}

    point = {
        "W": rng.standard_normal((n, n)) / math.sqrt(n),
        "b": 0.3 * rng.standard_normal(n),
        "c": 0.3 * rng.standard_normal(n),
    }
    return Model(lambda p: (parts(p)[1] ** 2).sum() / 7, point, gradient, count=7)


@function
def gated_unit(rng: np.random.Generator, size: int) -> Model:
    n = side(size // 2, 2)
    data = rng.standard_normal((6, n))
    c = rng.standard_normal((6, n))

    def gradient(p: Leaves) -> Leaves:
        u, g = data @ p["value"], sigmoid(data @ p["gate"])
        return {"value": data.T @ (c * g), "gate": data.T @ (c * u * g * (1 - g))}

    point = {name: rng.standard_normal((n, n)) / math.sqrt(n) for name in ("value", "gate")}
    return Model(lambda p: (c * (data @ p["value"]) * sigmoid(data @ p["gate"])).sum(), point, gradient, count=6)


@function
def residual_blocks(rng: np.random.Generator, size: int) -> Model:
    """The same weights in five steps of an ODE, with a 0-d step size."""
    n = side(size, 2)
    start = rng.standard_normal((4, n))

    def states(p: Leaves) -> list[Array]:
        h = [start]
        for _ in range(5):
            h.append(h[-1] + p["step"] * np.tanh(h[-1] @ p["W"]))
        return h

    def gradient(p: Leaves) -> Leaves:
        h = states(p)
        w, step, d = np.zeros_like(p["W"]), 0.0, 2 * h[-1] / n
        for t in range(4, -1, -1):
            a = np.tanh(h[t] @ p["W"])
            step += (d * a).sum()
            dz = p["step"] * d * (1 - a * a)
            w += h[t].T @ dz
            d = d + dz @ p["W"].T
        return {"W": w, "step": np.array(step)}

    point = {"W": rng.standard_normal((n, n)) / math.sqrt(n), "step": np.array(0.2)}
    return Model(lambda p: (states(p)[-1] ** 2).sum() / n, point, gradient, count=4)


@function
def contrastive(rng: np.random.Generator, size: int) -> Model:
    """Two sets of vectors, softmax over scaled cosines, with a (1,) temperature."""
    m = 4
    n = max(2, size // (2 * m))

    def parts(p: Leaves) -> tuple[Array, ...]:
        a = p["left"] / np.sqrt((p["left"] ** 2).sum(1, keepdims=True))
        b = p["right"] / np.sqrt((p["right"] ** 2).sum(1, keepdims=True))
        return a, b, a @ b.T

    def f(p: Leaves) -> float:
        z = parts(p)[2] * p["temperature"][0]
        return (log_sum_exp(z) - np.diag(z)).sum() / m

    def gradient(p: Leaves) -> Leaves:
        a, b, s = parts(p)
        d = (softmax(s * p["temperature"][0]) - np.eye(m)) / m
        da, db = p["temperature"][0] * d @ b, p["temperature"][0] * d.T @ a
        back = lambda g, u, x: (g - u * (g * u).sum(1, keepdims=True)) / np.sqrt((x**2).sum(1, keepdims=True))  # noqa: E731
        return {
            "left": back(da, a, p["left"]),
            "right": back(db, b, p["right"]),
            "temperature": np.array([(d * s).sum()]),
        }

    point = {
        "left": rng.standard_normal((m, n)),
        "right": rng.standard_normal((m, n)),
        "temperature": rng.uniform(1, 3, 1),
    }
    return Model(f, point, gradient, count=m)


@function
def heat_equation(rng: np.random.Generator, size: int) -> Model:
    """Twenty explicit steps: the initial state, conductivities between cells, a 0-d source; adjoint by hand."""
    n = max(3, size // 2)
    target = rng.standard_normal(n)

    def step(u: Array, k: Array, source: Array) -> Array:
        flow = k * (u[1:] - u[:-1])
        new = u + source / n
        new[:-1] += flow
        new[1:] -= flow
        return new

    def states(p: Leaves) -> list[Array]:
        u = [p["initial"]]
        for _ in range(20):
            u.append(step(u[-1], p["conductivity"], p["source"]))
        return u

    def gradient(p: Leaves) -> Leaves:
        u = states(p)
        d, dk, source = 2 * (u[-1] - target), np.zeros(n - 1), 0.0
        for t in range(19, -1, -1):
            source += d.sum() / n
            drop = d[:-1] - d[1:]
            dk += drop * (u[t][1:] - u[t][:-1])
            flow = p["conductivity"] * drop
            d = d.copy()
            d[1:] += flow
            d[:-1] -= flow
        return {"initial": d, "conductivity": dk, "source": np.array(source)}

    point = {
        "initial": rng.standard_normal(n),
        "conductivity": rng.uniform(0.05, 0.3, n - 1),
        "source": np.array(rng.uniform(0.5, 1.5)),
    }
    return Model(lambda p: ((states(p)[-1] - target) ** 2).sum(), point, gradient)


@function
def graph_smoothing(rng: np.random.Generator, size: int) -> Model:
    n = max(2, size)
    edges = rng.integers(0, n, (n, 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    if len(edges) == 0:
        edges = np.array([[0, 1]])
    y = rng.integers(0, 2, n).astype(float)

    def f(p: Leaves) -> float:
        d = p["x"][edges[:, 0]] - p["x"][edges[:, 1]]
        return (softplus(p["x"]) - y * p["x"]).sum() / n + p["strength"] * np.sqrt(d * d + 0.01).sum() / len(edges)

    def gradient(p: Leaves) -> Leaves:
        d = p["x"][edges[:, 0]] - p["x"][edges[:, 1]]
        root = np.sqrt(d * d + 0.01)
        g = (sigmoid(p["x"]) - y) / n
        slope = p["strength"] * d / root / len(edges)
        np.add.at(g, edges[:, 0], slope)
        np.add.at(g, edges[:, 1], -slope)
        return {"x": g, "strength": np.array(root.sum() / len(edges))}

    return Model(f, {"x": rng.standard_normal(n), "strength": np.array(0.7)}, gradient, count=n)


@function
def max_pooling(rng: np.random.Generator, size: int) -> Model:
    n = max(2, size)
    windows, y = rng.standard_normal((24, n)) / math.sqrt(n), rng.standard_normal(6)

    def parts(x: Array) -> tuple[Array, Array]:
        z = (windows @ x).reshape(6, 4)
        return z.argmax(1), z.max(1) - y

    def gradient(x: Array) -> Array:
        where, r = parts(x)
        return 2 * r @ windows.reshape(6, 4, n)[np.arange(6), where]

    return single(lambda x: (parts(x)[1] ** 2).sum(), rng.standard_normal(n), gradient, count=6, kinks=True)


@function
def fixed_dropout(rng: np.random.Generator, size: int) -> Model:
    """A layer with a fixed mask of 30 %: rows of exact zeros behind it."""
    hidden = max(3, size // 8)
    data, c = rng.standard_normal((9, 6)), rng.standard_normal((9, 2))
    mask = (rng.random(hidden) > 0.3) / 0.7
    mask[0] = 1 / 0.7

    def gradient(p: Leaves) -> Leaves:
        a = np.tanh(data @ p["W1"]) * mask
        z = a @ p["W2"]
        d = c / np.cosh(z) ** 2 / 9
        return {"W1": data.T @ (d @ p["W2"].T * mask * (1 - np.tanh(data @ p["W1"]) ** 2)), "W2": a.T @ d}

    point = {"W1": rng.standard_normal((6, hidden)), "W2": rng.standard_normal((hidden, 2)) / math.sqrt(hidden)}
    return Model(
        lambda p: (c * np.tanh((np.tanh(data @ p["W1"]) * mask) @ p["W2"])).sum() / 9, point, gradient, count=9
    )


# ------------------------------------------------------------------------------------------------------------ checking


def verify_gradients() -> dict[str, float]:
    """Every gradient against a central difference in long double along a random direction, relative to the norm."""
    worst = {}
    for name, entry in FUNCTIONS.items():
        for size in (1, 3, 20, 300):
            rng = np.random.default_rng([size, 5])
            model = entry.build(rng, size)
            exact = name not in ("log_determinant", "gaussian_process")  # LAPACK knows no long double
            kind = np.longdouble if exact else np.float64
            natural = {
                key: np.asarray(np.abs(value) + 1e-30 * np.ones_like(value)) for key, value in model.point.items()
            }
            v = {key: rng.standard_normal(value.shape) * natural[key] for key, value in model.point.items()}
            h = kind(1e-7 if exact else 1e-5)
            ahead, behind = (
                model.f({key: value.astype(kind) + sign * h * v[key] for key, value in model.point.items()})
                for sign in (1, -1)
            )
            gradient = model.gradient(model.point)
            claimed = sum(float((gradient[key] * v[key]).sum()) for key in v)
            norm = math.sqrt(sum(float(((gradient[key] * natural[key]) ** 2).sum()) for key in v))
            assert all(gradient[key].shape == np.shape(model.point[key]) for key in v), name
            error = abs(float((ahead - behind) / (2 * h)) - claimed) / norm
            worst[name] = max(worst.get(name, 0.0), error)
        assert worst[name] < (1e-9 if exact else 1e-7), (name, worst[name])
    return worst


if __name__ == "__main__":
    found = verify_gradients()
    print(f"{len(found)} functions; worst difference {max(found.values()):.1e}")
