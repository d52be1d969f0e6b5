"""Functions whose slope is known: the corpus on which error bars are tested.

Each family builds lines phi(t) = f(x + t v) at random points. Truth is never a finite difference: it is the chain rule
in long double (`exact.gradient`), and `verify_truths` compares it with 80-digit differences in mpmath. Where noise,
rounding or a solver's stopping rule is part of f, truth is the slope of the smooth function underneath.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

import exact as ex
import ml_dtypes
import numpy as np
from exact import Generic, absolute, arctan, cos, exp, gather, largest, log, log1p, maximum, sin, sqrt, tanh, where

from gradproof._prove._directions import natural_size

Function = Callable[..., Generic]
Piece = tuple[Function, tuple[np.ndarray, ...]]

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
STORED = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
# bfloat16 is a storage format: kernels read it, compute in float32 and store the result in it.
COMPUTED = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": np.float32}


def held_out(name: str, seed: int) -> bool:
    """Whether a family or function (by name), or a seed, is set aside: not looked at while tuning."""
    return group(name, seed) != "tuned"


def group(name: str, seed: int) -> str:
    """Say "fresh name" (half of all names), "fresh seed" (half of the seeds of the others) or "tuned"."""
    if hashlib.sha256(name.encode()).digest()[0] & 1:
        return "fresh name"
    return "fresh seed" if hashlib.sha256(f"seed {seed}".encode()).digest()[0] & 1 else "tuned"


def quantile(numbers: list[float], q: float) -> float:
    return float(np.quantile(numbers, q)) if numbers else math.nan


class Draw:
    """Random numbers that are exactly representable in the dtype under test."""

    def __init__(self, rng: np.random.Generator, dtype: str) -> None:
        self.rng = rng
        self.dtype = dtype

    def stored(self, numbers: Any) -> Any:
        return np.asarray(numbers).astype(STORED[self.dtype]).astype(np.float64)

    def normal(self, *shape: int, size: float = 1.0) -> np.ndarray:
        return self.stored(size * self.rng.standard_normal(shape))

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        return self.stored(self.rng.uniform(low, high, shape))

    def log_uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        return self.stored(np.exp(self.rng.uniform(math.log(low), math.log(high), shape)))

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def choice(self, options: tuple[Any, ...]) -> Any:
        return options[self.integer(0, len(options))]


@dataclasses.dataclass
class Made:
    """f(x, *data) at x.

    smooth : the function that has the true slope (f itself by default).
    visible : the function under test, where it differs: NumPy arrays only.
    """

    smooth: Function
    x: np.ndarray
    data: tuple[np.ndarray, ...] = ()
    visible: Function | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    name: str
    tags: tuple[str, ...]
    dtypes: tuple[str, ...]
    build: Callable[[Draw], Made]

    def make(self, rng: np.random.Generator, dtype: str = "float64") -> Line:
        made = self.build(Draw(rng, dtype))
        return Line(self, made, rng, dtype)


def safe_norm(numbers: np.ndarray) -> float:
    """Euclidean norm without overflow or underflow of the squares."""
    top = float(np.max(np.abs(numbers)))
    return top * float(np.linalg.norm(numbers / top)) if top > 0 else 0.0


class Line:
    """f: ndarray (n,) -> scalar at x, moved along random directions of natural size, with the true slope.

    In a third of the cases x is two leaves, the one with the larger gradient moved less, as the engine does.

    Attributes
    ----------
    scale, ripple : natural size of the slope, with and without the leaves' scales (see `gradproof._line.slope`).
    """

    def __init__(self, family: Family, made: Made, rng: np.random.Generator, dtype: str) -> None:
        self.family, self.made, self.dtype = family, made, dtype
        self.eps = EPS[dtype]
        self.x = made.x
        self.function = made.visible or made.smooth
        self.data = tuple(part.astype(COMPUTED[dtype]) for part in made.data)
        self.gradient = ex.gradient(made.smooth, made.x, made.data)
        n = len(self.x)
        cut = int(rng.integers(1, n)) if n > 3 and rng.random() < 1 / 3 else 0
        leaves = [slice(0, cut), slice(cut, n)] if cut else [slice(0, n)]
        self.natural = np.empty(n)
        for leaf in leaves:
            self.natural[leaf] = natural_size(self.x[leaf])
        sized = self.gradient.astype(float) * self.natural
        norms = np.array([safe_norm(sized[leaf]) for leaf in leaves])
        least = norms.min() if norms.min() > 1e-3 * norms.max() else norms.max()
        self.moves = np.empty(n)
        for leaf, norm in zip(leaves, norms, strict=True):
            self.moves[leaf] = self.natural[leaf] * (min(1.0, least / norm) if norm > 0 else 1.0)
        self.scale = safe_norm(self.gradient.astype(float) * self.moves)
        self.ripple = safe_norm(norms)
        self.evaluations = 0

    def direction(self, rng: np.random.Generator) -> np.ndarray:
        """Uniform on the sphere, scaled to the natural size of x."""
        u = rng.standard_normal(len(self.x))
        return u * (math.sqrt(len(u)) / np.linalg.norm(u)) * self.moves

    def truth(self, v: np.ndarray) -> float:
        return float((self.gradient * ex.long(v)).sum())

    def f(self, x: np.ndarray) -> float:
        """The function under test: x and result in its dtype, returned as float64."""
        result = self.function(x.astype(COMPUTED[self.dtype]), *self.data)
        return float(np.asarray(result).astype(STORED[self.dtype]))

    def phi(self, v: np.ndarray, step: float) -> float:
        """f at x + step v; low precision visits the nearest point and is corrected to first order, as Problem does."""
        self.evaluations += 1
        wanted = self.x + step * v if step else self.x.copy()
        with np.errstate(all="ignore"):
            if self.dtype == "float64":
                value = self.f(wanted)
            else:
                visited = wanted.astype(STORED[self.dtype]).astype(np.float64)
                value = self.f(visited) - math.fsum(self.gradient.astype(float) * (visited - wanted))
        return value if math.isfinite(value) else math.nan


FAMILIES: dict[str, Family] = {}
ALL = "float64 float32 low"
UPPER = "float64 float32"


def family(tags: str, dtypes: str = ALL) -> Callable[[Callable[[Draw], Made]], Callable[[Draw], Made]]:
    def register(build: Callable[[Draw], Made]) -> Callable[[Draw], Made]:
        name = build.__name__.strip("_")
        FAMILIES[name] = Family(name, tuple(tags.split()), tuple(dtypes.split()), build)
        return build

    return register


# ------------------------------------------------------------------------------------------------------------ pieces


def softplus(z: Generic) -> Generic:
    return maximum(z, z * 0) + log1p(exp(-absolute(z)))


def sigmoid(z: Generic) -> Generic:
    return (tanh(z * 0.5) + 1) * 0.5


def log_sum_exp(z: Generic) -> Generic:
    top = largest(z)
    return log(exp(z - top).sum()) + top


def softmax_rows(z: Generic) -> Generic:
    e = exp(z - largest(z))
    return e / e.sum(axis=1).reshape(len(z), 1)


def dense(draw: Draw, rows: int, columns: int, size: float = 1.0) -> np.ndarray:
    return draw.normal(rows, columns, size=size / math.sqrt(columns))


def solve(a: list[list[Generic]], b: list[Generic]) -> list[Generic]:
    """Elimination without pivoting, for small diagonally dominant systems."""
    n = len(b)
    a, b = [list(row) for row in a], list(b)
    for i in range(n):
        for j in range(i + 1, n):
            ratio = a[j][i] / a[i][i]
            a[j] = [p - ratio * q for p, q in zip(a[j], a[i], strict=True)]
            b[j] = b[j] - ratio * b[i]
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            b[i] = b[i] - a[i][j] * b[j]
        b[i] = b[i] / a[i][i]
    return b


def tanh_net(draw: Draw, n: int) -> Piece:
    """Two layers, the parameters' part of x enters as a shift of the first."""
    first, second = dense(draw, 8, n), draw.normal(8)
    return (lambda x, w, c: (tanh(w @ x) * c).sum()), (first, second)


def softmax_piece(draw: Draw, n: int) -> Piece:
    weights = dense(draw, 5, n)
    return (lambda x, w: log_sum_exp(w @ x) - (w @ x)[2]), (weights,)


def rosenbrock_piece(draw: Draw, n: int) -> Piece:
    return (lambda x: ((x[1:] - x[:-1] ** 2) ** 2 * 10 + (1 - x[:-1]) ** 2).sum()), ()


def gauss_piece(draw: Draw, n: int) -> Piece:
    return (lambda x, c: exp(-((x - c) ** 2).sum() / n)), (draw.normal(n),)


def piece(draw: Draw, n: int) -> Piece:
    """Some smooth function."""
    return draw.choice((tanh_net, softmax_piece, rosenbrock_piece, gauss_piece))(draw, n)


def plus(draw: Draw, extra: Function, *more: np.ndarray, size: float = 1.0, n: int = 0) -> Made:
    """size * (some smooth function) + extra(x, *more), at a random point."""
    n = n or draw.integer(2, 12)
    base, data = piece(draw, n)
    k = len(data)
    return Made(lambda x, *d: base(x, *d[:k]) * size + extra(x, *d[k:]), draw.normal(n), (*data, *more))


def hash_noise(x: np.ndarray) -> float:
    """Uniform in [-1, 1), a function of the bits of x."""
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**63 - 1


def seen_through(draw: Draw, change: Callable[[Any, np.ndarray, float], Any], n: int = 0) -> Made:
    """A smooth function of which only change(value, x, typical value) is visible."""
    n = n or draw.integer(2, 12)
    smooth, data = piece(draw, n)
    x = draw.normal(n)
    typical = max(abs(float(smooth(x, *data))), 0.1)
    return Made(smooth, x, data, lambda x, *d: change(smooth(x, *d), x, typical))


def in_float32(made: Made) -> Made:
    """The same with all arithmetic in float32 behind a float64 interface."""
    made.data = tuple(part.astype(np.float32).astype(np.float64) for part in made.data)
    smooth = made.smooth
    made.visible = lambda x, *d: float(smooth(x.astype(np.float32), *(part.astype(np.float32) for part in d)))
    return made


# ------------------------------------------------------------------------------------------------------------ smooth


@family("smooth")
def linear(draw: Draw) -> Made:
    n = draw.integer(1, 20)
    return Made(lambda x, c: (c * x).sum(), draw.normal(n), (draw.normal(n),))


@family("smooth")
def quadratic(draw: Draw) -> Made:
    n = draw.integer(1, 12)
    a = dense(draw, n, n)
    return Made(lambda x, a, b: ((a @ x) ** 2).sum() * 0.5 + (b * x).sum(), draw.normal(n), (a, draw.normal(n)))


@family("smooth")
def quartic(draw: Draw) -> Made:
    n = draw.integer(1, 12)
    return Made(lambda x, c: (c * (x**4) + x**2).sum(), draw.normal(n), (draw.normal(n),))


@family("smooth")
def rational(draw: Draw) -> Made:
    n = draw.integer(1, 12)
    return Made(lambda x, c: ((x + c) / (1 + x * x)).sum(), draw.normal(n), (draw.normal(n),))


@family("smooth")
def gauss(draw: Draw) -> Made:
    n = draw.integer(1, 10)
    f, data = gauss_piece(draw, n)
    return Made(f, draw.normal(n), data)


@family("smooth")
def softplus_sum(draw: Draw) -> Made:
    n, m = draw.integer(1, 12), 6
    return Made(lambda x, w: softplus(w @ x * 2).sum(), draw.normal(n), (dense(draw, m, n),))


@family("smooth")
def gelu(draw: Draw) -> Made:
    n = draw.integer(1, 12)

    def f(x: Generic, w: Generic) -> Generic:
        z = w @ x
        return (z * 0.5 * (1 + tanh((z + z**3 * 0.044715) * 0.7978845608))).sum()

    return Made(f, draw.normal(n), (dense(draw, 6, n),))


@family("smooth")
def swish_net(draw: Draw) -> Made:
    n = draw.integer(2, 12)

    def f(x: Generic, w: Generic, c: Generic) -> Generic:
        z = w @ x
        return (c * z * sigmoid(z)).sum() ** 2

    return Made(f, draw.normal(n), (dense(draw, 6, n), draw.normal(6)))


@family("smooth")
def softmax_nll(draw: Draw) -> Made:
    samples, inputs, classes = 6, 3, 4
    labels = draw.rng.integers(0, classes, samples)

    def f(x: Generic, features: Generic) -> Generic:
        z = features @ x.reshape(inputs, classes)
        e = exp(z - largest(z))
        return -(log(e[np.arange(samples), labels] / e.sum(axis=1))).sum() / samples

    return Made(f, draw.normal(inputs * classes), (draw.normal(samples, inputs),))


@family("smooth")
def logsumexp(draw: Draw) -> Made:
    n = draw.integer(1, 12)
    return Made(lambda x, w: log_sum_exp(w @ x * 3), draw.normal(n), (dense(draw, 7, n),))


@family("smooth")
def logdet(draw: Draw) -> Made:
    n = 3

    def f(x: Generic) -> Generic:
        a = x.reshape(n, n)
        a = a @ a.T
        rows = [[a[i, j] + (n if i == j else 0) for j in range(n)] for i in range(n)]
        total = rows[0][0] * 0
        for i in range(n):
            total = total + log(rows[i][i])
            for j in range(i + 1, n):
                ratio = rows[j][i] / rows[i][i]
                rows[j] = [p - ratio * q for p, q in zip(rows[j], rows[i], strict=True)]
        return total

    return Made(f, draw.normal(n * n))


@family("smooth")
def attention(draw: Draw) -> Made:
    tokens, width = 4, 2

    def f(x: Generic, h: Generic) -> Generic:
        q, k, v = (h @ x[4 * i : 4 * i + 4].reshape(width, width) for i in range(3))
        return ((softmax_rows(q @ k.T) @ v) ** 2).sum()

    return Made(f, draw.normal(12), (draw.normal(tokens, width),))


@family("smooth")
def mlp_tanh(draw: Draw) -> Made:
    def f(x: Generic, data: Generic, labels: Generic) -> Generic:
        hidden = tanh(data @ x[:12].reshape(3, 4) + x[12:16])
        return (softplus(hidden @ x[16:20] + x[20]) - labels * (hidden @ x[16:20] + x[20])).sum() / 5

    return Made(f, draw.normal(21), (draw.normal(5, 3), draw.uniform(0, 1, 5).round()))


@family("smooth")
def deep_tanh(draw: Draw) -> Made:
    weights = np.stack([dense(draw, 4, 4, size=1.5) for _ in range(10)])

    def f(x: Generic, w: Generic) -> Generic:
        h = x
        for layer in range(10):
            h = tanh(w[layer] @ h)
        return h.sum()

    return Made(f, draw.normal(4), (weights,))


@family("smooth")
def recurrent_20_steps(draw: Draw) -> Made:
    n = 3

    def f(x: Generic, inputs: Generic) -> Generic:
        w = x[: n * n].reshape(n, n)
        h = x[n * n :] * 0
        for step in range(20):
            h = tanh(w @ h + inputs[step] + x[n * n :])
        return (h * h).sum()

    return Made(f, draw.normal(n * n + n), (draw.normal(20, n),))


@family("smooth")
def rosenbrock(draw: Draw) -> Made:
    n = draw.integer(2, 12)
    return Made(lambda x: ((x[1:] - x[:-1] ** 2) ** 2 * 100 + (1 - x[:-1]) ** 2).sum(), draw.normal(n))


@family("smooth")
def ackley(draw: Draw) -> Made:
    n = draw.integer(1, 8)
    return Made(
        lambda x: exp(sqrt((x * x).sum() / n) * -0.2) * -20 - exp(cos(x * 6.28125).sum() / n), draw.normal(n, size=2)
    )


@family("smooth")
def griewank(draw: Draw) -> Made:
    n = draw.integer(2, 6)

    def f(x: Generic) -> Generic:
        product = cos(x[0])
        for i in range(1, n):
            product = product * cos(x[i] / (i + 1) ** 0.5)
        return (x * x).sum() / 4000 - product + 1

    return Made(f, draw.normal(n, size=5))


@family("smooth")
def levy(draw: Draw) -> Made:
    n = draw.integer(2, 6)

    def f(x: Generic) -> Generic:
        w = (x - 1) / 4 + 1
        return sin(w[0] * math.pi) ** 2 + ((w[:-1] - 1) ** 2 * (1 + sin(w[:-1] * math.pi + 1) ** 2 * 10)).sum()

    return Made(f, draw.normal(n, size=3))


@family("smooth")
def ode_step(draw: Draw) -> Made:
    """Ten steps of Runge-Kutta 4 for the van der Pol oscillator; x: two initial values, stiffness, step."""

    def rate(y: Generic, z: Generic, mu: Generic) -> tuple[Generic, Generic]:
        return z, mu * (1 - y * y) * z - y

    def f(x: Generic) -> Generic:
        y, z, mu, h = x[0], x[1], x[2], x[3] * 0.1
        for _ in range(10):
            a, b = rate(y, z, mu)
            c, d = rate(y + h * a * 0.5, z + h * b * 0.5, mu)
            e, g = rate(y + h * c * 0.5, z + h * d * 0.5, mu)
            p, q = rate(y + h * e, z + h * g, mu)
            y = y + h * (a + c * 2 + e * 2 + p) / 6
            z = z + h * (b + d * 2 + g * 2 + q) / 6
        return y + z * 0.5

    return Made(f, draw.uniform(0.3, 1.5, 4))


@family("smooth")
def layer_norm(draw: Draw) -> Made:
    n = draw.integer(3, 12)

    def f(x: Generic, c: Generic) -> Generic:
        centred = x - x.sum() / n
        return (c * tanh(centred / sqrt((centred * centred).sum() / n + 0.01))).sum()

    return Made(f, draw.normal(n), (draw.normal(n),))


@family("smooth")
def poisson(draw: Draw) -> Made:
    n = draw.integer(1, 8)
    counts = draw.rng.integers(0, 5, 8).astype(float)
    return Made(
        lambda x, w, y: (exp(w @ x) - y * (w @ x)).sum() / 8, draw.normal(n, size=0.7), (dense(draw, 8, n), counts)
    )


@family("smooth")
def student_t(draw: Draw) -> Made:
    n = draw.integer(1, 8)
    return Made(
        lambda x, w, y: log1p((w @ x - y) ** 2 * 0.5).sum(), draw.normal(n), (dense(draw, 9, n), draw.normal(9))
    )


@family("smooth")
def mixture(draw: Draw) -> Made:
    samples = draw.normal(7, size=2)

    def f(x: Generic, y: Generic) -> Generic:
        total = 0
        for k in range(3):
            total = total + exp(x[k] - (y - x[3 + k]) ** 2 * exp(-x[6 + k]) * 0.5 - x[6 + k] * 0.5)
        return -log(total).sum() / 7 + log(exp(x[:3]).sum())

    return Made(f, draw.normal(9), (samples,))


@family("smooth")
def factorisation(draw: Draw) -> Made:
    def f(x: Generic, target: Generic) -> Generic:
        return ((x[:8].reshape(4, 2) @ x[8:14].reshape(2, 3) - target) ** 2).sum()

    return Made(f, draw.normal(14), (draw.normal(4, 3),))


@family("smooth")
def cosine_similarity(draw: Draw) -> Made:
    n = draw.integer(2, 12)
    return Made(lambda x, c: (x * c).sum() / sqrt((x * x).sum() * (c * c).sum()), draw.normal(n), (draw.normal(n),))


@family("smooth", UPPER)
def lennard_jones(draw: Draw) -> Made:
    """Pairs of four points on a stretched grid: steep r**-12."""

    def f(x: Generic) -> Generic:
        energy = 0
        for i in range(4):
            for j in range(i):
                square = (x[2 * i] - x[2 * j]) ** 2 + (x[2 * i + 1] - x[2 * j + 1]) ** 2
                energy = energy + square**-6 - square**-3 * 2
        return energy

    grid = np.array([0.0, 0.0, 1.2, 0.1, 0.1, 1.1, 1.3, 1.2])
    return Made(f, draw.stored(grid + 0.05 * draw.rng.standard_normal(8)))


@family("smooth", UPPER)
def steep_exponential(draw: Draw) -> Made:
    n = draw.integer(1, 6)
    return Made(lambda x, c: exp(x * c * 20).sum(), draw.normal(n), (draw.uniform(-1, 1, n),))


@family("smooth", UPPER)
def saturated(draw: Draw) -> Made:
    """Sigmoids far out: the slope is small, f is near a constant."""
    n = draw.integer(1, 8)
    return Made(
        lambda x, w, c: (c * tanh(w @ x * 3 + 5)).sum(),
        draw.uniform(0.2, 1, n),
        (draw.uniform(0, 1, 4, n), draw.normal(4)),
    )


@family("smooth", UPPER)
def course_cost(draw: Draw) -> Made:
    """Cross entropy as log(1 - a): cancellation where a is near 1."""
    n = draw.integer(2, 8)

    def f(x: Generic, w: Generic, y: Generic) -> Generic:
        a = sigmoid(w @ x * 3)
        return -(y * log(a) + (1 - y) * log(1 - a)).sum() / 6

    return Made(f, draw.normal(n), (dense(draw, 6, n), draw.uniform(0, 1, 6).round()))


@family("smooth", UPPER)
def cancelling(draw: Draw) -> Made:
    """(1 - cos z) / z**2 at small z: rounding far above that of the result."""
    n = draw.integer(1, 6)
    return Made(lambda x, c: (c * (1 - cos(x)) / (x * x)).sum(), draw.log_uniform(0.05, 0.5, n), (draw.normal(n),))


@family("smooth", UPPER)
def power_products(draw: Draw) -> Made:
    n = draw.integer(2, 6)
    return Made(lambda x, p: exp((p * log(x)).sum()), draw.log_uniform(0.03, 30, n), (draw.uniform(-2, 2, n),))


@family("smooth")
def arctan_sum(draw: Draw) -> Made:
    n = draw.integer(1, 12)
    return Made(lambda x, c: arctan(x * c * 3).sum(), draw.normal(n), (draw.normal(n),))


@family("smooth", "float64")
def stationary(draw: Draw) -> Made:
    """Exactly at a minimum along some coordinates, nearly along the others."""
    n = draw.integer(2, 8)
    centre = draw.normal(n)
    shift = np.where(np.arange(n) % 2, 0.0, 1e-6)
    return Made(lambda x, c: ((x - c) ** 2).sum() + ((x - c) ** 4).sum(), centre + shift, (centre,))


@family("two_scales", "float64")
def layer_transition(draw: Draw) -> Made:
    """A transition of width 1e-6 .. 1e-2, up to four widths away."""
    n = draw.integer(1, 6)
    x = draw.normal(n)
    width = float(draw.log_uniform(1e-6, 1e-2))
    place = x[0] + width * float(draw.uniform(-4, 4))
    made = plus(draw, lambda x, c, w: tanh((x[0] - c) / w), np.array(place), np.array(width), n=n if n > 1 else 2)
    made.x[0] = x[0]
    return made


@family("two_scales", "float64")
def local_slope(draw: Draw) -> Made:
    """Smooth, but the slope differs within 1e-8 .. 1e-3 of x: w tanh((x - c) / w)."""
    n = draw.integer(2, 6)
    x0 = float(draw.normal())
    width = float(draw.log_uniform(1e-8, 1e-3))
    made = plus(draw, lambda x, c, w: w * tanh((x[0] - c) / w), np.array(x0 + 0.3 * width), np.array(width), n=n)
    made.x[0] = x0
    return made


@family("two_scales", "float64")
def narrow_bump(draw: Draw) -> Made:
    """A bump of height 1e-3 and width 1e-4 on a smooth function, with x on its flank."""
    n = draw.integer(2, 6)
    x0 = float(draw.normal())
    made = plus(
        draw, lambda x, c: exp(-(((x[0] - c) * 1e4) ** 2)) * 1e-3, np.array(x0 + float(draw.uniform(-2e-4, 2e-4))), n=n
    )
    made.x[0] = x0
    return made


# ------------------------------------------------------------------------------------------------------- oscillating


@family("oscillating", UPPER)
def sine_1e4(draw: Draw) -> Made:
    n = draw.integer(1, 5)
    return Made(
        lambda x, c: (c * sin(x * (1e4 if draw.dtype == "float64" else 30.0))).sum(), draw.normal(n), (draw.normal(n),)
    )


@family("oscillating", "float64")
def sine_2048_pi(draw: Draw) -> Made:
    """The period divides every power-of-two step."""
    n = draw.integer(1, 5)
    x = np.round(draw.normal(n) * 64) / 64 + 1 / 64
    return Made(lambda x: sin(x * (2048 * math.pi)).sum() + (x * x).sum(), x)


@family("oscillating", "float64")
def fast_ripple(draw: Draw) -> Made:
    return plus(draw, lambda x: sin(x * 1e6).sum() * 1e-6)


@family("oscillating", "float64")
def small_ripple(draw: Draw) -> Made:
    """Amplitude 1e-12 .. 1e-8 at wavelength 1e-5 .. 1e-2."""
    amplitude, frequency = draw.log_uniform(1e-12, 1e-8), draw.log_uniform(600, 6e5)
    return plus(draw, lambda x, a, w: a * sin(x * w).sum(), amplitude, frequency)


@family("oscillating", "float64")
def ripple_at_the_fine_steps(draw: Draw) -> Made:
    """Wavelength near the finest first steps, amplitude 1e-13 .. 1e-10 of f: easily taken for noise."""
    return _rippled(draw, draw.log_uniform(1e-13, 1e-10), draw.log_uniform(1e6, 1e7))


def _rippled(draw: Draw, amplitude: np.ndarray, frequency: np.ndarray) -> Made:
    """A ripple that is small beside f, but not beside the rounding of f."""
    made = plus(draw, lambda x, a, w: a * sin(x * w).sum(), amplitude, frequency)
    size = abs(float(made.smooth(made.x, *made.data)))
    made.data = (*made.data[:-2], amplitude * max(size, 1.0), frequency)
    return made


@family("oscillating", UPPER)
def medium_ripple(draw: Draw) -> Made:
    amplitude, frequency = draw.log_uniform(1e-3, 1e-1), draw.log_uniform(10, 100)
    return plus(draw, lambda x, a, w: a * cos(x * w).sum(), amplitude, frequency)


@family("oscillating", "float64")
def chirp(draw: Draw) -> Made:
    n = draw.integer(1, 4)
    return Made(lambda x: sin(x * x * 1000).sum(), draw.normal(n))


@family("oscillating", "float64")
def weierstrass(draw: Draw) -> Made:
    """Five octaves of a fractal: a**k cos(b**k x)."""
    n = draw.integer(1, 4)

    def f(x: Generic) -> Generic:
        total = cos(x)
        for k in range(1, 6):
            total = total + cos(x * 7.0**k) * 0.3**k
        return total.sum()

    return Made(f, draw.normal(n))


@family("oscillating", "float64")
def rastrigin(draw: Draw) -> Made:
    n = draw.integer(1, 10)
    return Made(lambda x: (x * x - cos(x * (2 * math.pi)) * 10).sum(), draw.normal(n, size=3))


# ------------------------------------------------------------------------------------------------------------ scaled


@family("scaled", UPPER)
def inputs_1e_minus_8_to_1e8(draw: Draw) -> Made:
    n = draw.integer(2, 10)
    size = draw.log_uniform(1e-8, 1e8, n)
    return Made(lambda x, s: (tanh(x / s) + (x / s) ** 2).sum(), draw.stored(size * draw.normal(n)), (size,))


@family("scaled", UPPER)
def inputs_1e_minus_8(draw: Draw) -> Made:
    n = draw.integer(2, 10)
    return Made(lambda x, c: (c * exp(x * 1e8)).sum(), draw.normal(n, size=1e-8), (draw.normal(n),))


@family("scaled", UPPER)
def inputs_1e8(draw: Draw) -> Made:
    n = draw.integer(2, 10)
    return Made(lambda x, c: (c * sin(x * 1e-8)).sum(), draw.normal(n, size=1e8), (draw.normal(n),))


@family("scaled", UPPER)
def mixed_units(draw: Draw) -> Made:
    """A pressure, a length, a rate: all of natural size, products of powers, one sum."""
    size = np.array([1e5, 1e-6, 3e2, 1e-3])

    def f(x: Generic) -> Generic:
        return x[0] * x[1] * 10 + x[2] * 1e-2 / (1 + x[3] * 1e3) + x[0] * x[0] * x[1] * 1e-5

    return Made(f, draw.stored(size * draw.uniform(0.5, 2, 4)))


@family("scaled", UPPER)
def output_1e_minus_30(draw: Draw) -> Made:
    n = draw.integer(2, 8)
    f, data = piece(draw, n)
    return Made(lambda x, *d: f(x, *d) * 1e-30, draw.normal(n), data)


@family("scaled", UPPER)
def output_1e30(draw: Draw) -> Made:
    n = draw.integer(2, 8)
    f, data = tanh_net(draw, n)
    return Made(lambda x, *d: f(x, *d) * 1e30, draw.normal(n), data)


@family("scaled", "float64")
def output_1e_minus_200(draw: Draw) -> Made:
    n = draw.integer(2, 8)
    f, data = piece(draw, n)
    return Made(lambda x, *d: f(x, *d) * 1e-200, draw.normal(n), data)


@family("scaled", UPPER)
def stiff_quadratic(draw: Draw) -> Made:
    """Curvatures from 1e-8 to 1e8 at unit inputs."""
    n = draw.integer(2, 10)
    return Made(lambda x, c: (c * x * x).sum(), draw.normal(n), (draw.log_uniform(1e-8, 1e8, n),))


@family("scaled", UPPER)
def one_large_parameter(draw: Draw) -> Made:
    """One entry of 1e6 that hardly matters among unit entries."""
    made = plus(draw, lambda x: tanh(x[0] * 1e-6), n=6)
    smooth = made.smooth
    made.smooth = lambda x, *d: smooth(gather([x[0] * 1e-6, *(x[i] for i in range(1, 6))]), *d)
    made.x[0] = 1e6
    return made


# ------------------------------------------------------------------------------------------------------------ offset


@family("offset", UPPER)
def offset_1e4(draw: Draw) -> Made:
    return plus(draw, lambda x: 1e4)


@family("offset", UPPER)
def offset_1e6(draw: Draw) -> Made:
    return plus(draw, lambda x: 1e6)


@family("offset", "float64")
def offset_1e6_small(draw: Draw) -> Made:
    return plus(draw, lambda x: 1e6, size=1e-4)


@family("offset", "float64")
def offset_1e9(draw: Draw) -> Made:
    return plus(draw, lambda x: 1e9)


@family("offset", "float64")
def offset_minus_3e5(draw: Draw) -> Made:
    return plus(draw, lambda x: -3e5, size=1e-2)


@family("offset", "float64")
def offset_inputs(draw: Draw) -> Made:
    """Inputs of 1e4 + small: f feels the small part only."""
    n = draw.integer(2, 8)
    f, data = piece(draw, n)
    return Made(lambda x, *d: f((x - 1e4) * 0.01, *d), draw.normal(n, size=100) + 1e4, data)


# ------------------------------------------------------------------------------------------------------------- noisy


@family("noisy", "float64")
def hash_noise_1e_minus_10(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: y + 1e-10 * typical * hash_noise(x))


@family("noisy", "float64")
def hash_noise_1e_minus_8(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: y + 1e-8 * typical * hash_noise(x))


@family("noisy", UPPER)
def hash_noise_1e_minus_6(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: y + 1e-6 * typical * hash_noise(x))


@family("noisy", UPPER)
def hash_noise_1e_minus_4(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: y + 1e-4 * typical * hash_noise(x))


@family("noisy", "float64")
def hash_noise_of_few_values(draw: Draw) -> Made:
    """Noise of -a, 0 or +a: half of the samples of a small noise estimate may be 0."""
    amplitude = float(draw.log_uniform(1e-11, 1e-5))
    return seen_through(draw, lambda y, x, typical: y + amplitude * typical * round(1.4 * hash_noise(x)))


@family("noisy", "float64")
def rare_outliers(draw: Draw) -> Made:
    """One value in twelve is off by 1e-9 .. 1e-5."""
    amplitude = float(draw.log_uniform(1e-9, 1e-5))

    def change(y: float, x: np.ndarray, typical: float) -> float:
        u = hash_noise(x)
        return y + (amplitude * typical * math.copysign(1, u) if abs(u) > 11 / 12 else 0.0)

    return seen_through(draw, change)


@family("noisy", "float64")
def proportional_noise(draw: Draw) -> Made:
    """Noise proportional to the value."""
    amplitude = float(draw.log_uniform(1e-13, 1e-6))
    return seen_through(draw, lambda y, x, typical: y * (1 + amplitude * hash_noise(x)))


@family("nondeterministic noisy", UPPER)
def nondeterministic_1e_minus_9(draw: Draw) -> Made:
    rng = np.random.default_rng(draw.integer(0, 2**31))
    size = 1e-9 if draw.dtype == "float64" else 1e-5
    return seen_through(draw, lambda y, x, typical: float(y) + size * typical * rng.standard_normal())


@family("nondeterministic noisy", UPPER)
def nondeterministic_1e_minus_4(draw: Draw) -> Made:
    rng = np.random.default_rng(draw.integer(0, 2**31))
    return seen_through(draw, lambda y, x, typical: float(y) + 1e-4 * typical * rng.standard_normal())


@family("nondeterministic noisy", "float64")
def summed_in_random_order(draw: Draw) -> Made:
    """Atomic adds: the last bits differ from call to call."""
    rng = np.random.default_rng(draw.integer(0, 2**31))
    n = draw.integer(2, 8)
    weights = dense(draw, 60, n)

    def shuffled(x: np.ndarray, w: np.ndarray) -> float:
        terms = np.sin(w @ x * 3)
        total = 0.0
        for term in terms[rng.permutation(60)].tolist():
            total += term
        return total

    return Made(lambda x, w: sin(w @ x * 3).sum(), draw.normal(n), (weights,), shuffled)


# ------------------------------------------------------------------------------------------------------------ solver


@family("solver noisy", "float64")
def fixed_point(draw: Draw) -> Made:
    n = 4
    w = dense(draw, n, n, size=0.5)
    w = w * (0.5 / max(0.5, float(np.linalg.norm(w, 2))))

    def iterate(x: Generic, w: Generic, steps: int, tolerance: float) -> Generic:
        z = x * 0
        for _ in range(steps):
            new = tanh(w @ z + x)
            if tolerance and float(np.abs(new - z).max()) < tolerance:
                return (new * new).sum()
            z = new
        return (z * z).sum()

    return Made(lambda x, w: iterate(x, w, 90, 0.0), draw.normal(n), (w,), lambda x, w: iterate(x, w, 500, 1e-13))


def _system(x: Generic, a: Generic) -> list[list[Generic]]:
    n = len(x)
    return [[a[i, j] + (exp(x[i]) + n if i == j else 0) for j in range(n)] for i in range(n)]


@family("solver noisy", "float64")
def conjugate_gradients(draw: Draw) -> Made:
    n = 5
    half = dense(draw, n, n)
    a, b = half @ half.T, draw.normal(n)

    def exactly(x: Generic, a: Generic, b: Generic) -> Generic:
        return (gather(solve(_system(x, a), list(b))) * b).sum()

    def iterated(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        matrix = a + np.diag(np.exp(x) + n)
        z, r = np.zeros(n), b.copy()
        p, rr = r.copy(), r @ r
        while rr > 1e-26 * (b @ b):
            q = matrix @ p
            step = rr / (p @ q)
            z, r = z + step * p, r - step * q
            p, rr = r + (r @ r) / rr * p, r @ r
        return float(z @ b)

    return Made(exactly, draw.normal(n), (a, b), iterated)


@family("solver noisy", "float64")
def gauss_seidel(draw: Draw) -> Made:
    n = 4
    half = dense(draw, n, n)
    a, b = half @ half.T, draw.normal(n)

    def exactly(x: Generic, a: Generic, b: Generic) -> Generic:
        return (gather(solve(_system(x, a), list(b))) ** 2).sum()

    def iterated(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        matrix = a + np.diag(np.exp(x) + n)
        z = np.zeros(n)
        for _ in range(200):
            old = z.copy()
            for i in range(n):
                z[i] += (b[i] - matrix[i] @ z) / matrix[i, i]
            if np.abs(z - old).max() < 1e-14:
                break
        return float(z @ z)

    return Made(exactly, draw.normal(n), (a, b), iterated)


@family("solver noisy", "float64")
def kepler(draw: Draw) -> Made:
    """Eccentric anomaly by Newton's method to 1e-13; x: mean anomaly, eccentricity."""

    def newton(x: Generic, steps: int, tolerance: float) -> Generic:
        e = x[0] + x[1] * sin(x[0])
        for _ in range(steps):
            change = (e - x[1] * sin(e) - x[0]) / (1 - x[1] * cos(e))
            e = e - change
            if tolerance and abs(float(change)) < tolerance:
                break
        return cos(e) - x[1] * e

    x = np.array([float(draw.uniform(0.5, 2.5)), float(draw.uniform(0.1, 0.7))])
    return Made(lambda x: newton(x, 9, 0.0), x, (), lambda x: newton(x, 60, 1e-13))


@family("solver quantised", "float64")
def bisection(draw: Draw) -> Made:
    """The root of z**3 + z = c . x, bisected down to 2**-40."""
    n = draw.integer(2, 6)

    def newton(x: Generic, c: Generic) -> Generic:
        target = (c * x).sum()
        z = target * 0
        for _ in range(14):
            z = z - (z**3 + z - target) / (z * z * 3 + 1)
        return z

    def bisected(x: np.ndarray, c: np.ndarray) -> float:
        target, low, high = float((c * x).sum()), -4.0, 4.0
        for _ in range(43):
            middle = (low + high) / 2
            low, high = (middle, high) if middle**3 + middle < target else (low, middle)
        return (low + high) / 2

    x = draw.normal(n)
    return Made(newton, x / max(1.0, float(np.linalg.norm(x)) / 2), (draw.normal(n),), bisected)


@family("solver noisy", "float64")
def adaptive_quadrature(draw: Draw) -> Made:
    """Adaptive Simpson to 1e-13 of exp(-a s) / (1 + b s**2) + c s on [0, 1]; truth by 64-point Gauss-Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(64)

    def fine(x: Generic) -> Generic:
        total = 0
        for s, w in zip((nodes + 1) / 2, weights / 2, strict=True):
            total = total + exp(-x[0] * s) / (1 + x[1] * s * s) * w + x[2] * s * w
        return total

    def adaptive(x: np.ndarray) -> float:
        def g(s: float) -> float:
            return math.exp(-x[0] * s) / (1 + x[1] * s * s) + x[2] * s

        def simpson(a: float, b: float, fa: float, fm: float, fb: float, tolerance: float, depth: int) -> float:
            m = (a + b) / 2
            fl, fr = g((a + m) / 2), g((m + b) / 2)
            whole = (b - a) / 6 * (fa + 4 * fm + fb)
            left, right = (m - a) / 6 * (fa + 4 * fl + fm), (b - m) / 6 * (fm + 4 * fr + fb)
            if depth == 0 or abs(left + right - whole) < 15 * tolerance:
                return left + right + (left + right - whole) / 15
            return simpson(a, m, fa, fl, fm, tolerance / 2, depth - 1) + simpson(
                m, b, fm, fr, fb, tolerance / 2, depth - 1
            )

        return simpson(0.0, 1.0, g(0.0), g(0.5), g(1.0), 1e-13, 12)

    return Made(fine, draw.uniform(0.5, 2, 3), (), adaptive)


# --------------------------------------------------------------------------------------------------------- quantised


@family("quantised", "float64")
def rounded_to_6_decimals(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: round(float(y), 6))


@family("quantised", "float64")
def rounded_to_8_decimals(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: round(float(y), 8))


@family("quantised", "float64")
def printed_with_7_digits(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: float(f"{float(y):.6e}"))


@family("quantised", "float64")
def cancelled_1e8(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: (y + 1e8) - 1e8)


@family("quantised", "float64")
def lattice_of_any_step(draw: Draw) -> Made:
    step = float(draw.log_uniform(1e-9, 1e-4))
    return seen_through(draw, lambda y, x, typical: step * math.floor(float(y) / step))


@family("quantised", "float64")
def rounded_inputs(draw: Draw) -> Made:
    """x is rounded to 10 decimals before use."""
    n = draw.integer(2, 8)
    f, data = piece(draw, n)
    return Made(f, draw.normal(n), data, lambda x, *d: f(np.round(x, 10), *d))


@family("quantised", "float64")
def table_lookup(draw: Draw) -> Made:
    """f between the points of a fine table (piecewise linear, step 1e-5), as smooth as the table is fine."""
    c = float(draw.normal())

    def looked_up(x: np.ndarray) -> float:
        place = np.floor(x * 1e5) * 1e-5
        low, high = np.sin(place + c), np.sin(place + 1e-5 + c)
        return float((low + (high - low) * (x - place) * 1e5).sum())

    # The slope of the interpolant itself: that of the chord.
    def chord(x: Generic) -> Generic:
        point = ex.value_of(x)
        place = np.floor(np.asarray(point, dtype=float) * 1e5) * 1e-5
        low, high = np.sin(place + c), np.sin(place + 1e-5 + c)
        return ((high - low) * 1e5 * x).sum()

    return Made(chord, draw.normal(3), (), looked_up)


# --------------------------------------------------------------------------------------------------- float32 inside


@family("float32_inside", "float64")
def float32_output(draw: Draw) -> Made:
    return seen_through(draw, lambda y, x, typical: float(np.float32(y)))


@family("float32_inside", "float64")
def float32_softmax(draw: Draw) -> Made:
    return in_float32(softmax_nll(draw))


@family("float32_inside", "float64")
def float32_mlp(draw: Draw) -> Made:
    return in_float32(mlp_tanh(draw))


@family("float32_inside", "float64")
def float32_reduction(draw: Draw) -> Made:
    """Terms in float64, their sum in float32."""
    n = draw.integer(2, 8)
    f = lambda x, w: softplus(w @ x).sum()  # noqa: E731
    visible = lambda x, w: float(np.add.reduce(softplus(w @ x).astype(np.float32)))  # noqa: E731
    return Made(f, draw.normal(n), (dense(draw, 50, n),), visible)


@family("float32_inside", "float64")
def float32_first_layer(draw: Draw) -> Made:
    """The first layer in float32, its head in float64: the values are no float32 numbers.

    (There must be no second path in float64: below 1e-7 of x such a function has another slope, that of this path.)
    """
    n = draw.integer(2, 8)

    def mixed(x: np.ndarray, w: np.ndarray, c: np.ndarray) -> float:
        hidden = np.tanh(w.astype(np.float32) @ x.astype(np.float32)).astype(float)
        return float((hidden * c).sum() / 3)

    w = dense(draw, 8, n).astype(np.float32).astype(float)
    return Made(lambda x, w, c: (tanh(w @ x) * c).sum() / 3, draw.normal(n), (w, draw.normal(8)), mixed)


@family("float32_inside", "float64")
def half_output(draw: Draw) -> Made:
    """float16 behind a float64 interface."""
    return seen_through(draw, lambda y, x, typical: float(np.float16(y)))


# --------------------------------------------------------------------------------------------------------- one-sided


@family("one_sided", UPPER)
def x_log_x(draw: Draw) -> Made:
    n = draw.integer(1, 8)
    return Made(lambda x: (x * log(x)).sum(), draw.log_uniform(1e-4, 1, n))


@family("one_sided", UPPER)
def log_barrier(draw: Draw) -> Made:
    n = draw.integer(1, 6)
    slack = draw.log_uniform(1e-6, 1e-1, n)
    x = draw.uniform(0.5, 2, n)
    bound = x + slack
    return Made(
        lambda x, b: (x * x).sum() - log(b - x).sum(), x, (draw.stored(bound + 1e-6 * (draw.dtype != "float64")),)
    )


@family("one_sided", UPPER)
def square_roots(draw: Draw) -> Made:
    n = draw.integer(1, 6)
    return Made(lambda x, c: (c * sqrt(x)).sum(), draw.log_uniform(1e-6, 1, n), (draw.normal(n),))


@family("one_sided", "float64")
def root_next_to_its_edge(draw: Draw) -> Made:
    """sqrt(c . x - b) at a distance of 1e-7 .. 1e-2 from the edge."""
    n = draw.integer(1, 5)
    x, c = draw.normal(n), draw.uniform(0.5, 1.5, n)
    edge = float((c * x).sum()) - float(draw.log_uniform(1e-7, 1e-2))
    return Made(lambda x, c, b: sqrt((c * x).sum() - b) + (x * x).sum(), x, (c, np.array(edge)))


@family("one_sided", "float64")
def at_the_edge(draw: Draw) -> Made:
    """Defined on one side of x only, and as smooth as can be there."""
    return _edged(draw, lambda rise: 0 * rise)


@family("one_sided", "float64")
def at_the_edge_with_power_3_2(draw: Draw) -> Made:
    """Defined on one side only, with a term rise**1.5: differences converge like sqrt(step)."""
    return _edged(draw, lambda rise: rise * np.sqrt(rise))


def _edged(draw: Draw, term: Callable[[float], float]) -> Made:
    n = draw.integer(1, 6)
    f, data = tanh_net(draw, n)
    x, c = draw.normal(n), draw.normal(n)

    def inside(point: np.ndarray, *d: np.ndarray) -> float:
        rise = float((c * (point - x)).sum())
        return float(f(point, *d)) + term(rise) if rise >= 0 else math.nan

    return Made(f, x, data, inside)


@family("one_sided", "float64")
def arcsine(draw: Draw) -> Made:
    """arctan(x / sqrt(1 - x**2)) near 1."""
    x = 1 - draw.log_uniform(1e-6, 0.5, draw.integer(1, 5))
    return Made(lambda x: arctan(x / sqrt(1 - x * x)).sum(), x)


# ------------------------------------------------------------------------------------------------------------- kinks


def near_kink(low: float, high: float) -> Callable[[Draw], Made]:
    """A smooth function plus |x_0 - k| and a leaky unit, with k within low .. high of x_0, relative to natural size."""

    def build(draw: Draw) -> Made:
        n = draw.integer(2, 8)
        made = plus(draw, lambda x, k, c: absolute(x[0] - k) * c, np.array(0.0), draw.normal(), n=n)
        size = float(np.max(natural_size(made.x)))
        gap = float(draw.log_uniform(low, high)) * size * draw.choice((-1, 1))
        kink = np.array(draw.stored(made.x[0] + gap))
        made.data = (*made.data[:-2], kink, made.data[-1])
        return made

    return build


for _name, _low, _high in (
    ("2", 3e-3, 3e-2),
    ("4", 3e-5, 3e-4),
    ("5", 3e-6, 3e-5),
    ("7", 3e-8, 3e-7),
    ("9", 1e-9, 1e-8),
):
    FAMILIES[f"kink_1e_minus_{_name}_away"] = Family(
        f"kink_1e_minus_{_name}_away",
        ("near_kink",),
        ("float64", "float32") if _low > 1e-3 else ("float64",),
        near_kink(_low, _high),
    )


@family("near_kink", "float64")
def kinks_at_all_distances(draw: Draw) -> Made:
    n = draw.integer(2, 8)
    x = draw.normal(n)
    gap = draw.log_uniform(1e-9, 1, n) * draw.rng.choice([-1, 1], n)
    return Made(lambda x, k, c: (absolute(x - k) * c + x * x).sum(), x, (x + gap, draw.normal(n)))


@family("near_kink", "float64")
def tie_of_max(draw: Draw) -> Made:
    """The largest of several linear functions, two of which tie within 1e-9 .. 1e-3."""
    n = draw.integer(2, 8)
    a, x = dense(draw, 4, n), draw.normal(n)
    values = a @ x
    order = np.argsort(values)
    shift = np.zeros(4)
    shift[order[-2]] = values[order[-1]] - values[order[-2]] - float(draw.log_uniform(1e-9, 1e-3))

    def f(x: Generic, a: Generic, b: Generic) -> Generic:
        z = a @ x + b
        return z[int(np.argmax(np.asarray(ex.value_of(z), dtype=float)))] + (x * x).sum() * 0.1

    return Made(f, x, (a, shift))


@family("kink", UPPER)
def hinge_sum(draw: Draw) -> Made:
    n = draw.integer(1, 8)
    return Made(lambda x, w: maximum(1 - w @ x, w @ x * 0).sum(), draw.normal(n), (dense(draw, 20, n, size=2),))


@family("kink", UPPER)
def hard_tanh_sum(draw: Draw) -> Made:
    n = draw.integer(1, 8)

    def f(x: Generic, w: Generic) -> Generic:
        z = w @ x
        return (where(z > 1, z * 0 + 1, where(z < -1, z * 0 - 1, z)) ** 2).sum()

    return Made(f, draw.normal(n), (dense(draw, 20, n, size=2),))


@family("kink")
def absolute_sum(draw: Draw) -> Made:
    n = draw.integer(1, 20)
    return Made(lambda x, c: (absolute(x) * c).sum(), draw.normal(n), (draw.uniform(0.2, 1, n),))


@family("kink", UPPER)
def elastic_net(draw: Draw) -> Made:
    n = draw.integer(2, 12)
    return Made(
        lambda x, a, b: ((a @ x - b) ** 2).sum() + absolute(x).sum() * 0.3,
        draw.normal(n),
        (dense(draw, 6, n), draw.normal(6)),
    )


@family("kink", UPPER)
def huber(draw: Draw) -> Made:
    """Piecewise quadratic and linear: kinks of the second derivative."""
    n = draw.integer(1, 8)

    def f(x: Generic, w: Generic, y: Generic) -> Generic:
        r = absolute(w @ x - y)
        return where(r < 1, r * r * 0.5, r - 0.5).sum()

    return Made(f, draw.normal(n), (dense(draw, 15, n), draw.normal(15)))


@family("kink", UPPER)
def cubic_spline(draw: Draw) -> Made:
    """Sum of truncated cubes: jumps of the third derivative."""
    n = draw.integer(1, 5)
    knots, weights = draw.normal(8), draw.normal(8)

    def f(x: Generic, k: Generic, c: Generic) -> Generic:
        total = (x * x).sum()
        for j in range(8):
            total = total + (maximum(x - k[j], x * 0) ** 3 * c[j]).sum()
        return total

    return Made(f, draw.normal(n), (knots, weights))


@family("kink", UPPER)
def pinball(draw: Draw) -> Made:
    n = draw.integer(1, 8)

    def f(x: Generic, w: Generic, y: Generic) -> Generic:
        r = y - w @ x
        return maximum(r * 0.9, r * -0.1).sum()

    return Made(f, draw.normal(n), (dense(draw, 30, n), draw.normal(30)))


@family("near_kink", "float64")
def near_cusp(draw: Draw) -> Made:
    """|x - k|**1.5 at a distance of 1e-6 .. 1e-1 from k: derivatives of every order grow towards k."""
    n = draw.integer(2, 6)
    x0, gap = float(draw.normal()), float(draw.log_uniform(1e-6, 1e-1)) * draw.choice((-1, 1))
    made = plus(draw, lambda x, k: absolute(x[0] - k) ** 1.5, np.array(x0 + gap), n=n)
    made.x[0] = x0
    return made


@family("near_kink", "float64")
def near_step(draw: Draw) -> Made:
    """A jump of f itself, of size 1e-6 .. 1, at a distance of 1e-6 .. 1e-1."""
    n = draw.integer(2, 6)
    x0, gap = float(draw.normal()), float(draw.log_uniform(1e-6, 1e-1)) * draw.choice((-1, 1))
    height = np.array(float(draw.log_uniform(1e-6, 1)))
    made = plus(draw, lambda x, k, c: where(x[0] > k, c, c * 0), np.array(x0 + gap), height, n=n)
    made.x[0] = x0
    return made


def relu_mlp(hidden: int, batch: int, slope: float = 0.0) -> Callable[[Draw], Made]:
    """One entry vector of first-layer weights (sampled rows) of a two-layer net moves."""

    def build(draw: Draw) -> Made:
        inputs = 5
        w1, w2 = dense(draw, inputs, hidden), dense(draw, hidden, 3)
        data, target = draw.normal(batch, inputs), draw.normal(batch, 3)
        columns = min(hidden, 6)

        def f(x: Generic, w1: Generic, w2: Generic, data: Generic, target: Generic) -> Generic:
            moving = data @ x.reshape(inputs, columns)
            fixed = data @ w1[:, columns:]
            a, b = maximum(moving, moving * slope), where(fixed > 0, fixed, fixed * slope)
            return ((a @ w2[:columns] + b @ w2[columns:] - target) ** 2).sum() / batch

        return Made(f, w1[:, :columns].reshape(-1).copy(), (w1, w2, data, target))

    return build


for _hidden, _batch, _leak in ((6, 1, 0.0), (20, 8, 0.0), (40, 32, 0.0), (20, 8, 0.1), (64, 128, 0.0)):
    _name = f"{'leaky' if _leak else 'relu'}_net_{_hidden}_batch_{_batch}"
    FAMILIES[_name] = Family(_name, ("kink",), ("float64", "float32"), relu_mlp(_hidden, _batch, _leak))


@family("kink float32_inside", "float64")
def float32_leaky_net(draw: Draw) -> Made:
    return in_float32(relu_mlp(10, 4, 0.1)(draw))


@family("kink", UPPER)
def max_pool(draw: Draw) -> Made:
    """Convolution, pooling by the maximum, a quadratic loss; x: the kernel."""

    def f(x: Generic, windows: Generic, target: Generic) -> Generic:
        z = windows @ x
        pooled = maximum(maximum(z[0::4], z[1::4]), maximum(z[2::4], z[3::4]))
        return ((pooled - target) ** 2).sum()

    return Made(f, draw.normal(5), (draw.normal(24, 5), draw.normal(6)))


@family("kink", UPPER)
def triplet_and_ranking(draw: Draw) -> Made:
    """Margins between distances."""
    n = 4

    def f(x: Generic, p: Generic, q: Generic) -> Generic:
        near = ((p - x) ** 2).sum(axis=1)
        far = ((q - x) ** 2).sum(axis=1)
        return maximum(near - far + 1, near * 0).sum()

    return Made(f, draw.normal(n), (draw.normal(8, n), draw.normal(8, n)))


# -------------------------------------------------------------------------------------- later additions: smooth


@family("smooth")
def kalman_filter(draw: Draw) -> Made:
    """Negative log likelihood of a random walk seen through noise; x: log variances and the first state."""

    def f(x: Generic, seen: Generic) -> Generic:
        mean, variance, total = x[2], exp(x[0]) * 2, 0
        for k in range(8):
            innovation, spread = seen[k] - mean, variance + exp(x[1])
            total = total + log(spread) * 0.5 + innovation * innovation / spread * 0.5
            gain = variance / spread
            mean, variance = mean + gain * innovation, variance * (1 - gain) + exp(x[0])
        return total

    return Made(f, draw.normal(3, size=0.7), (draw.normal(8),))


@family("smooth")
def hidden_markov(draw: Draw) -> Made:
    """The forward algorithm of three states and six symbols, from logits."""

    def f(x: Generic, emission: Generic) -> Generic:
        moves = softmax_rows(x.reshape(3, 3))
        forward = emission[0] / 3
        total = 0
        for k in range(1, 6):
            forward = (forward @ moves) * emission[k]
            size = forward.sum()
            total, forward = total + log(size), forward / size
        return total

    return Made(f, draw.normal(9), (draw.uniform(0.1, 1, 6, 3),))


@family("smooth")
def robot_arm(draw: Draw) -> Made:
    """Squared distance of the tip of a planar arm from a target."""
    n = draw.integer(2, 8)

    def f(x: Generic, target: Generic) -> Generic:
        angle, across, along = x[0] * 0, 0, 0
        for i in range(n):
            angle = angle + x[i]
            across, along = across + cos(angle) / n, along + sin(angle) / n
        return (across - target[0]) ** 2 + (along - target[1]) ** 2

    return Made(f, draw.normal(n), (draw.normal(2),))


@family("smooth")
def soft_time_warping(draw: Draw) -> Made:
    """Soft dynamic time warping of two short series."""
    n = 4

    def f(x: Generic, other: Generic) -> Generic:
        cost = {(i, j): (x[i] - other[j]) ** 2 for i in range(n) for j in range(n)}
        total = {(0, 0): cost[0, 0]}
        for i in range(n):
            for j in range(n):
                before = [total[p] for p in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if p in total]
                if before:
                    total[i, j] = cost[i, j] - log_sum_exp(gather(before) * -2) * 0.5
        return total[n - 1, n - 1]

    return Made(f, draw.normal(n), (draw.normal(n),))


@family("smooth", UPPER)
def gaussian_process(draw: Draw) -> Made:
    """Marginal likelihood of five points; x: log length, log amplitude, log noise."""
    n = 5

    def f(x: Generic, place: Generic, y: Generic) -> Generic:
        length, noise = exp(x[0]), exp(x[2]) * 0.1
        a = [
            [
                exp(x[1] - (place[i] - place[j]) ** 2 / (length * length) * 0.5) + (noise if i == j else 0)
                for j in range(n)
            ]
            for i in range(n)
        ]
        b = [y[i] + 0 * length for i in range(n)]
        total = 0
        for i in range(n):
            total = total + log(a[i][i]) + b[i] * b[i] / a[i][i]
            for j in range(i + 1, n):
                ratio = a[j][i] / a[i][i]
                a[j] = [p - ratio * q for p, q in zip(a[j], a[i], strict=True)]
                b[j] = b[j] - ratio * b[i]
        return total * 0.5

    return Made(
        f, draw.normal(3, size=0.5), (draw.stored(np.arange(n) + 0.2 * draw.rng.standard_normal(n)), draw.normal(n))
    )


@family("smooth")
def coupling_flow(draw: Draw) -> Made:
    """Log density under two affine couplings; x: their parameters."""

    def f(x: Generic, points: Generic) -> Generic:
        total = 0
        for k in range(4):
            a, b = points[k, 0], points[k, 1]
            for layer in range(2):
                p = x[4 * layer : 4 * layer + 4]
                scale = tanh(p[0] * a + p[1])
                a, b = b * exp(scale) + p[2] * a + p[3], a
                total = total - scale
            total = total + (a * a + b * b) * 0.5
        return total / 4

    return Made(f, draw.normal(8), (draw.normal(4, 2),))


@family("smooth")
def batch_norm(draw: Draw) -> Made:
    def f(x: Generic, data: Generic, c: Generic) -> Generic:
        z = data @ x.reshape(3, 2)
        centred = z - z.sum(axis=0) / 6
        return (tanh(centred / sqrt((centred * centred).sum(axis=0) / 6 + 1e-3)) * c).sum()

    return Made(f, draw.normal(6), (draw.normal(6, 3), draw.normal(6, 2)))


@family("smooth")
def convolution(draw: Draw) -> Made:
    """A convolution, a smooth unit, a mean; x: the kernel."""

    def f(x: Generic, windows: Generic, target: Generic) -> Generic:
        z = windows @ x
        return ((z * sigmoid(z * 1.75) - target) ** 2).sum() / len(target)

    signal = draw.normal(14)
    windows = np.stack([signal[i : i + 5] for i in range(10)])
    return Made(f, draw.normal(5), (windows, draw.normal(10)))


@family("smooth", UPPER)
def continued_fraction(draw: Draw) -> Made:
    n = draw.integer(2, 9)

    def f(x: Generic) -> Generic:
        value = x[n - 1]
        for i in reversed(range(n - 1)):
            value = x[i] + 1 / value
        return log(value)

    return Made(f, draw.uniform(0.2, 3, n))


@family("smooth", UPPER)
def chebyshev_series(draw: Draw) -> Made:
    """Degree 12 in each entry: derivatives grow with the square of the degree."""
    n = draw.integer(1, 6)

    def f(x: Generic, c: Generic) -> Generic:
        before, now, total = x * 0 + 1, x, 0
        for k in range(12):
            total = total + c[k] * now
            before, now = now, x * now * 2 - before
        return total.sum()

    return Made(f, draw.uniform(-0.95, 0.95, n), (draw.normal(12),))


@family("smooth")
def leapfrog_pendulum(draw: Draw) -> Made:
    """Twenty symplectic steps; x: angle, speed, gravity, step."""

    def f(x: Generic) -> Generic:
        angle, speed, h = x[0], x[1], x[3] * 0.2
        for _ in range(20):
            speed = speed - h * 0.5 * x[2] * sin(angle)
            angle = angle + h * speed
            speed = speed - h * 0.5 * x[2] * sin(angle)
        return angle + speed * speed

    return Made(f, draw.uniform(0.3, 1.5, 4))


@family("smooth")
def sinkhorn(draw: Draw) -> Made:
    """Transport cost after eight rounds of scaling."""
    n = 3

    def f(x: Generic, place: Generic) -> Generic:
        cost = (x.reshape(n, 1) - place) ** 2
        kernel = exp(-cost)
        a = kernel[:, 0] * 0 + 1
        for _ in range(8):
            b = (kernel.T @ a) ** -1 / n
            a = (kernel @ b) ** -1 / n
        return (kernel * cost * a.reshape(n, 1) * b).sum()

    return Made(f, draw.normal(n), (draw.normal(n),))


@family("smooth", UPPER)
def planets(draw: Draw) -> Made:
    """Potential energy of four bodies that do not come near each other."""

    def f(x: Generic, mass: Generic) -> Generic:
        energy = 0
        for i in range(4):
            for j in range(i):
                square = ((x[3 * i : 3 * i + 3] - x[3 * j : 3 * j + 3]) ** 2).sum()
                energy = energy - mass[i] * mass[j] / sqrt(square + 0.01)
        return energy

    return Made(f, draw.normal(12), (draw.uniform(0.5, 2, 4),))


@family("smooth", UPPER)
def simplex_entropy(draw: Draw) -> Made:
    n = draw.integer(2, 10)

    def f(x: Generic, prior: Generic) -> Generic:
        e = exp(x - largest(x))
        p = e / e.sum()
        return (p * (log(p) - log(prior))).sum()

    return Made(f, draw.normal(n, size=2), (draw.uniform(0.05, 1, n),))


@family("smooth", UPPER)
def root_of_a_difference(draw: Draw) -> Made:
    """sqrt(1 + z**2) - 1: rounding above that of the result where z is small."""
    n = draw.integer(1, 6)
    return Made(
        lambda x, c: (c * (sqrt(1 + x * x) - 1)).sum(), draw.log_uniform(1e-3, 1, n), (draw.uniform(0.3, 1, n),)
    )


# ---------------------------------------------------------------------------------- later additions: not smooth


@family("oscillating", "float64")
def logistic_map(draw: Draw) -> Made:
    """Twelve rounds of a chaotic map: derivatives of order k grow like 2**(12 k)."""
    n = draw.integer(1, 4)

    def f(x: Generic) -> Generic:
        z = sigmoid(x)
        for _ in range(12):
            z = z * (1 - z) * 3.9375
        return z.sum()

    return Made(f, draw.normal(n))


@family("oscillating", "float64")
def two_ripples(draw: Draw) -> Made:
    """Two ripples of different wavelengths, both small."""
    a, b = draw.log_uniform(1e-12, 1e-8, 2), draw.log_uniform(300, 3e6, 2)
    return plus(draw, lambda x, a, b: a[0] * sin(x * b[0]).sum() + a[1] * cos(x * b[1]).sum(), a, b)


@family("oscillating", "float64")
def ripple_below_the_steps(draw: Draw) -> Made:
    """Wavelength below the finest first steps, amplitude 1e-13 .. 1e-10 of f."""
    return _rippled(draw, draw.log_uniform(1e-13, 1e-10), draw.log_uniform(1e7, 1e8))


@family("oscillating", "float64")
def wave_packet(draw: Draw) -> Made:
    """A short train of waves, in which x lies."""
    n = draw.integer(2, 6)
    x0, width = float(draw.normal()), float(draw.log_uniform(1e-5, 1e-2))
    place = np.array([x0 + width * float(draw.uniform(-1, 1)), width, float(draw.log_uniform(1e-6, 1e-2))])
    made = plus(
        draw, lambda x, p: p[2] * exp(-(((x[0] - p[0]) / p[1]) ** 2)) * sin((x[0] - p[0]) * 5 / p[1] + 0.5), place, n=n
    )
    made.x[0] = x0
    return made


@family("quantised", "float64")
def coarse_table(draw: Draw) -> Made:
    """f between the points of a coarse table (piecewise linear, step 1e-2): the slope is that of the chord."""
    c = float(draw.normal())

    def f(x: Generic) -> Generic:
        place = np.floor(np.asarray(ex.value_of(x), dtype=float) * 64) / 64
        low, high = np.sin(place + c), np.sin(place + 1 / 64 + c)
        return (low + (high - low) * (x - place) * 64).sum()

    return Made(f, draw.normal(3))


@family("near_kink", "float64")
def hermite_table(draw: Draw) -> Made:
    """Cubic pieces between the points of a table: continuous slopes, jumps of the second derivative every 1/256."""
    c = float(draw.normal())

    def f(x: Generic) -> Generic:
        low = np.floor(np.asarray(ex.value_of(x), dtype=float) * 256) / 256
        t, step = (x - low) * 256, 1 / 256
        a, b, p, q = (
            np.sin(3 * low + c),
            np.sin(3 * (low + step) + c),
            np.cos(3 * low + c),
            np.cos(3 * (low + step) + c),
        )
        p, q = 3 * step * p, 3 * step * q
        return (a + p * t + (3 * (b - a) - 2 * p - q) * t**2 + (p + q - 2 * (b - a)) * t**3).sum()

    return Made(f, draw.normal(draw.integer(1, 5)))


@family("one_sided", UPPER)
def reciprocal_barrier(draw: Draw) -> Made:
    """mu / (b - x): infinite at the edge, and not defined beyond it."""
    n = draw.integer(1, 6)
    x = draw.uniform(0.5, 2, n)
    bound = draw.stored(x + draw.log_uniform(1e-5, 1e-1, n) + 1e-5 * (draw.dtype != "float64"))
    return Made(lambda x, b: (x * x).sum() + (1e-3 / (b - x) + 0 * log(b - x)).sum(), x, (bound,))


@family("one_sided", UPPER)
def fourth_root(draw: Draw) -> Made:
    n = draw.integer(1, 6)
    return Made(lambda x, c: (c * sqrt(sqrt(x))).sum(), draw.log_uniform(1e-5, 1, n), (draw.uniform(0.2, 1, n),))


@family("one_sided", UPPER)
def logit_near_its_edges(draw: Draw) -> Made:
    """log(x / (1 - x)), some x next to 0 or 1, even nearer than the smallest steps."""
    n = draw.integer(1, 8)
    near = draw.log_uniform(1e-6, 0.3, n)
    x = draw.stored(np.where(draw.rng.random(n) < 0.5, near, 1 - near))
    return Made(lambda x, c: (c * log(x / (1 - x))).sum(), x, (draw.uniform(0.2, 1, n),))


@family("one_sided", UPPER)
def edge_of_a_ball(draw: Draw) -> Made:
    """-log(1 - |x|**2) next to the surface of the ball."""
    n = draw.integer(2, 8)
    x = draw.rng.standard_normal(n)
    x = draw.stored(x / np.linalg.norm(x) * math.sqrt(1 - float(draw.log_uniform(3e-5, 0.3))))
    return Made(lambda x, c: (c * x).sum() - log(1 - (x * x).sum()), x, (draw.normal(n),))


@family("noisy", "float64")
def noise_in_cells(draw: Draw) -> Made:
    """Noise that is constant within cells of 1e-9 .. 1e-5: the slope is that of the smooth part within a cell."""
    amplitude, cells = float(draw.log_uniform(1e-11, 1e-7)), float(draw.log_uniform(1e5, 1e9))
    return seen_through(draw, lambda y, x, typical: y + amplitude * typical * hash_noise(np.floor(x * cells)))


@family("noisy", UPPER)
def heavy_tailed_noise(draw: Draw) -> Made:
    """Noise whose largest values are many times the typical one."""
    size = 1e-9 if draw.dtype == "float64" else 1e-5

    def change(y: float, x: np.ndarray, typical: float) -> float:
        u = hash_noise(x)
        return y + size * typical * math.tan(1.45 * u)

    return seen_through(draw, change)


@family("quantised noisy", "float64")
def low_bits_dropped(draw: Draw) -> Made:
    """The last 9 to 29 of 53 bits of the result are lost."""
    bits = draw.integer(24, 45)

    def change(y: float, x: np.ndarray, typical: float) -> float:
        mantissa, exponent = math.frexp(float(y))
        return math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)

    return seen_through(draw, change)


@family("float32_inside", "float64")
def inputs_in_float32(draw: Draw) -> Made:
    """x is stored in float32 before it is used in float64."""
    n = draw.integer(2, 8)
    f, data = piece(draw, n)
    x = draw.normal(n).astype(np.float32).astype(float)
    return Made(f, x, data, lambda x, *d: f(x.astype(np.float32).astype(float), *d))


@family("nondeterministic quantised", "float64")
def stochastic_rounding(draw: Draw) -> Made:
    """Rounded up or down to a lattice at random, without bias."""
    rng = np.random.default_rng(draw.integer(0, 2**31))
    step = float(draw.log_uniform(1e-9, 1e-4))
    return seen_through(draw, lambda y, x, typical: step * math.floor(float(y) / step + rng.random()))


@family("quantised", "float64")
def quantised_inside(draw: Draw) -> Made:
    """The first layer's values are rounded to 7 .. 11 decimals."""
    n, decimals = draw.integer(2, 8), draw.integer(7, 12)
    w, c = dense(draw, 8, n), draw.normal(8)
    return Made(
        lambda x, w, c: (tanh(w @ x) * c).sum(),
        draw.normal(n),
        (w, c),
        lambda x, w, c: float((np.round(np.tanh(w @ x), decimals) * c).sum()),
    )


@family("offset", "float64")
def drifting_offset(draw: Draw) -> Made:
    """One entry carries a linear trend 1e5 times as steep as the rest."""
    return plus(draw, lambda x: x[0] * 1e5, n=5)


@family("kink", UPPER)
def median_and_range(draw: Draw) -> Made:
    """Order statistics of linear functions."""
    n = draw.integer(2, 8)

    def f(x: Generic, a: Generic) -> Generic:
        z = a @ x
        order = np.argsort(np.asarray(ex.value_of(z), dtype=float))
        return z[int(order[4])] + (z[int(order[8])] - z[int(order[0])]) * 0.5 + (z * z).sum() * 0.05

    return Made(f, draw.normal(n), (dense(draw, 9, n),))


@family("kink", UPPER)
def maxout_net(draw: Draw) -> Made:
    n = draw.integer(2, 8)

    def f(x: Generic, w: Generic, c: Generic) -> Generic:
        z = w @ x
        return ((maximum(maximum(z[0::3], z[1::3]), z[2::3]) * c).sum() - 1) ** 2

    return Made(f, draw.normal(n), (dense(draw, 18, n, size=1.5), draw.normal(6)))


@family("kink", UPPER)
def total_variation(draw: Draw) -> Made:
    n = draw.integer(3, 16)
    return Made(
        lambda x, y: ((x - y) ** 2).sum() * 0.5 + absolute(x[1:] - x[:-1]).sum() * 0.3,
        draw.normal(n),
        (draw.normal(n),),
    )


@family("near_kink", "float64")
def tent_map(draw: Draw) -> Made:
    """Six rounds of the tent map: kinks everywhere, slopes of plus or minus 64."""
    n = draw.integer(1, 4)

    def f(x: Generic) -> Generic:
        z = sigmoid(x)
        for _ in range(6):
            z = 1 - absolute(z * 2 - 1)
        return z.sum()

    return Made(f, draw.normal(n))


@family("near_kink", UPPER)
def absolute_sine(draw: Draw) -> Made:
    n = draw.integer(1, 8)
    return Made(lambda x, c: (c * absolute(sin(x * 4))).sum(), draw.normal(n), (draw.uniform(0.2, 1, n),))


@family("kink", UPPER)
def clipped_surrogate(draw: Draw) -> Made:
    """The clipped ratio of policy optimisation."""

    def f(x: Generic, features: Generic, old: Generic, gain: Generic) -> Generic:
        ratio = exp(features @ x - old)
        clipped = where(ratio > 1.25, ratio * 0 + 1.25, where(ratio < 0.75, ratio * 0 + 0.75, ratio))
        return -where(ratio * gain < clipped * gain, ratio * gain, clipped * gain).sum()

    features, x = draw.normal(10, 4), draw.normal(4)
    old = draw.stored(features @ x + 0.3 * draw.rng.standard_normal(10))
    return Made(f, x, (features, old, draw.normal(10)))


@family("near_kink", "float64")
def folded_kinks(draw: Draw) -> Made:
    """A net of absolute values four layers deep."""
    n = draw.integer(2, 6)
    weights = np.stack([dense(draw, n, n, size=1.5) for _ in range(4)])

    def f(x: Generic, w: Generic) -> Generic:
        h = x
        for layer in range(4):
            h = absolute(w[layer] @ h - 0.3)
        return (h * h).sum()

    return Made(f, draw.normal(n), (weights,))


@family("solver noisy", "float64")
def newton_root(draw: Draw) -> Made:
    """z**3 + a z = b by Newton's method, stopped below a step of 1e-9, which leaves an error of its square."""

    def newton(x: Generic, steps: int, tolerance: float) -> Generic:
        z = x[0] * 0 + 1
        for _ in range(steps):
            change = (z**3 + x[0] * z - x[1]) / (z * z * 3 + x[0])
            z = z - change
            if tolerance and abs(float(change)) < tolerance:
                break
        return z * z + x[0] * z

    return Made(lambda x: newton(x, 14, 0.0), draw.uniform(0.5, 2, 2), (), lambda x: newton(x, 60, 1e-9))


@family("solver noisy", "float64")
def power_iteration(draw: Draw) -> Made:
    """The largest eigenvalue of a symmetric matrix of 3 by 3, iterated to 1e-14; truth by 400 rounds."""
    half = dense(draw, 3, 3)
    a = half @ half.T

    def rounds(x: Generic, a: Generic, steps: int, tolerance: float) -> Generic:
        m = gather([a[i, j] + (x[i] * x[i] if i == j else x[i] * x[j]) for i in range(3) for j in range(3)])
        m = m.reshape(3, 3)
        z, value = m[0] * 0 + 1, 0.0
        for _ in range(steps):
            y = m @ z
            size = sqrt((y * y).sum())
            z = y / size
            if tolerance and abs(float(size) - value) < tolerance:
                break
            value = float(size) if tolerance else 0.0
        return (z * (m @ z)).sum()

    return Made(
        lambda x, a: rounds(x, a, 150, 0.0), draw.uniform(0.5, 1.5, 3), (a,), lambda x, a: rounds(x, a, 500, 1e-14)
    )


# ------------------------------------------------------------------------- treads, sawtooths, and what looks like them


def cast(values: Any) -> Any:
    """Through float32 and back."""
    return np.asarray(values).astype(np.float32).astype(np.float64)


@family("float32_inside staircase", "float64")
def cast_beside_a_smooth_path(draw: Draw) -> Made:
    """One path through float32, and a second one in float64: between jumps the slope is that of the second alone."""
    n = draw.integer(1, 6)
    return Made(
        lambda x, c: (sin(x) * c).sum() + (x * x).sum(),
        draw.normal(n),
        (draw.normal(n),),
        lambda x, c: float((cast(np.sin(x)) * c).sum() + (x * x).sum()),
    )


@family("float32_inside staircase", "float64")
def softmax_cast_then_mixed(draw: Draw) -> Made:
    """Attention weights in float32, mixed with values in float64 that depend on x, too."""
    n = draw.integer(2, 6)

    def mixed(x: np.ndarray, w: np.ndarray) -> float:
        e = np.exp(x - x.max())
        return float((cast(e / e.sum()) * (w @ x)).sum())

    def exactly(x: Generic, w: Generic) -> Generic:
        e = exp(x)
        return (e * (w @ x)).sum() / e.sum()

    return Made(exactly, draw.normal(n), (dense(draw, n, n),), mixed)


@family("float32_inside staircase", "float64")
def norm_cast(draw: Draw) -> Made:
    """An entry of x over its norm, which was computed in float32."""
    n = draw.integer(2, 8)

    def mixed(x: np.ndarray, c: np.ndarray) -> float:
        return float((x * c).sum() / float(np.float32(np.sqrt((x * x).sum() + 0.1))))

    return Made(lambda x, c: (x * c).sum() / sqrt((x * x).sum() + 0.1), draw.normal(n), (draw.normal(n),), mixed)


@family("quantised staircase", "float64")
def rounded_factor(draw: Draw) -> Made:
    """A factor rounded to 5 to 7 decimal digits."""
    n, digits = draw.integer(1, 4), draw.integer(5, 8)
    return Made(
        lambda x, c: exp(sin(x) * c).sum() * (1 + (x * x).sum()),
        draw.normal(n),
        (draw.normal(n) / 2,),
        lambda x, c: float(np.round(np.exp(np.sin(x) * c).sum(), digits) * (1 + (x * x).sum())),
    )


@family("quantised staircase", "float64")
def digits_that_cancel(draw: Draw) -> Made:
    """A large number added and taken away, beside a factor that keeps its digits."""
    n, large = draw.integer(1, 5), 10.0 ** draw.integer(5, 9)
    return Made(
        lambda x, c: (x * tanh(x + c)).sum(),
        draw.normal(n),
        (draw.normal(n),),
        lambda x, c: float((x * ((large + np.tanh(x + c)) - large)).sum()),
    )


@family("solver staircase", "float64")
def bisection_that_stops(draw: Draw) -> Made:
    """The root z of z**3 + z = c(x), bisected until the residual is small, times a smooth factor."""
    n, tolerance = draw.integer(1, 4), 10.0 ** -draw.integer(5, 9)

    def root(c: Generic, small: float) -> Generic:
        low, high = c * 0 - 4, c * 0 + 4
        for _ in range(70):
            middle = (low + high) / 2
            residual = float(middle) ** 3 + float(middle) - float(c)
            if abs(residual) < small:
                return middle
            low, high = (middle, high) if residual < 0 else (low, middle)
        return (low + high) / 2

    def exactly(x: Generic, c: Generic) -> Generic:
        right = (sin(x) * c).sum()
        z = root(ex.value_of(right), 0.0)
        for _ in range(6):
            z = z - (z * z * z + z - right) / (3 * z * z + 1)
        return z * (2 + (x * x).sum())

    def stopped(x: np.ndarray, c: np.ndarray) -> float:
        return float(root((np.sin(x) * c).sum(), tolerance) * (2 + (x * x).sum()))

    return Made(exactly, draw.normal(n), (draw.normal(n),), stopped)


@family("noisy sawtooth", "float64")
def sawtooth_noise(draw: Draw) -> Made:
    """The fractional part of x times a huge number, as noise."""
    n, wave, size = draw.integer(1, 5), 10.0 ** draw.integer(9, 13), 10.0 ** -draw.integer(6, 10)
    return Made(
        lambda x, c: (sin(x) * c).sum(),
        draw.normal(n),
        (draw.normal(n),),
        lambda x, c: float((np.sin(x) * c).sum() * (1 + size * float(np.mod(x * wave, 1.0).sum() / n - 0.5))),
    )


@family("near_kink lookalike", "float64")
def pole_some_way_off(draw: Draw) -> Made:
    """Poles at a few natural sizes are no jumps of f."""
    n = draw.integer(1, 5)
    return Made(lambda x: (sin(x) / cos(x)).sum(), draw.uniform(0.4, 1.3, n))


@family("oscillating lookalike", "float64")
def fast_beside_its_size(draw: Draw) -> Made:
    """Many periods within the natural size of x."""
    n = draw.integer(1, 4)
    return Made(lambda x, w: sin(x * w).sum(), draw.uniform(50, 500, n), (draw.uniform(2, 20, n),))


@family("oscillating lookalike", "float64")
def ripple_with_a_slope(draw: Draw) -> Made:
    """Plateaus as those of a staircase, but smooth: the slope at the finest steps is right."""
    n, wave = draw.integer(1, 4), 10.0 ** draw.integer(5, 8)
    return Made(lambda x, c: (x * c).sum() + sin(x * wave).sum() / wave, draw.normal(n), (draw.normal(n),))


@family("near_kink lookalike", "float64")
def kink_within_a_tread(draw: Draw) -> Made:
    """A kink a billionth away leaves two plateaus as well."""
    n, away = draw.integer(1, 4), 10.0 ** -draw.integer(6, 9)
    x = draw.normal(n)
    return Made(lambda x, c: absolute(x - c).sum() + (x * x).sum(), x, (x + away * (1 + np.abs(x)),))


@family("near_kink lookalike", "float64")
def branch_nearby(draw: Draw) -> Made:
    """A true branch: f jumps once, close by, and its slope is what it is."""
    n, away = draw.integer(1, 4), 10.0 ** -draw.integer(3, 6)
    x = draw.normal(n)
    limit = float(x.sum() + away)

    def branched(x: Generic, c: Generic) -> Generic:
        return (sin(x) * c).sum() + (x * x).sum() + (1.0 if float(ex.value_of(x.sum())) > limit else 0.0)

    return Made(branched, x, (draw.normal(n),))


# -------------------------------------------------------------------------------------------------------- checking


@family("saturating", "float64")
def capped_ratio(draw: Draw) -> Made:
    """x / max(|x|, eps) close to 0, where few steps are small enough to stay below eps."""
    x = draw.normal(draw.integer(1, 5))
    cap = draw.log_uniform(1e-5, 1e-1, 1)
    # Everything is moved to a small multiple of x - x0, so that f starts well within the cap.
    return Made(lambda x, x0, cap: ((x - x0) / maximum(absolute(x - x0), cap)).sum(), x, (x - cap / 4, cap))


@family("saturating", "float64")
def steep_tanh(draw: Draw) -> Made:
    """Saturated a fraction of a natural size away."""
    x = draw.normal(draw.integer(1, 5))
    gain = draw.log_uniform(1e1, 1e5, 1)
    return Made(lambda x, x0, gain: tanh(gain * (x - x0)).sum(), x, (x.copy(), gain))


@family("saturating", "float64")
def steep_tanh_beside_smooth(draw: Draw) -> Made:
    """The same beside a term that goes on."""
    x = draw.normal(draw.integer(1, 5))
    gain = draw.log_uniform(1e1, 1e4, 1)
    return Made(lambda x, x0, gain: (tanh(gain * (x - x0)) + sin(x)).sum(), x, (x.copy(), gain))


@family("huge", "float64")
def exponential_of_a_square(draw: Draw) -> Made:
    """Values of 1e100 and more at coarse steps."""
    x = draw.normal(3)
    rate = draw.uniform(20, 60, 1)
    return Made(lambda x, x0, rate: exp(rate * ((x - x0) * 6) + sin(x)).sum(), x, (x.copy(), rate))


@family("huge", "float64")
def growth_curve_residuals(draw: Draw) -> Made:
    """Least squares of exponentials, whose rates share an array with a large amplitude."""
    t = draw.uniform(1, 6, 12)
    x = draw.stored(np.array([draw.uniform(50, 150, 1)[0], 0.0, 0.0]))
    y = draw.stored(90 * np.exp(-0.03 * t))

    def f(x: Generic, t: Generic, y: Generic) -> Generic:
        residual = x[0] * exp(x[1] * t + x[2] * t * t) - y
        return (residual * residual).sum()

    return Made(f, x, (t, y))


@family("huge", "float64")
def double_exponential(draw: Draw) -> Made:
    """Infinite within a natural size."""
    x = draw.uniform(1.5, 2.0, draw.integer(1, 4))
    return Made(lambda x: exp(exp(3 * x)).sum(), x)


# ----------------------------------------------------------- later additions: parts that stop, are rounded or saturate


def near(
    target: Generic, root: Generic, value: Callable[[Generic], Generic], slope: Callable[[Generic], Generic]
) -> Generic:
    """The root z of value(z) = target, from a number close to it, with its exact slope."""
    for _ in range(6):
        root = root - (value(root) - target) / slope(root)
    return root


@family("solver staircase", "float64")
def golden_section(draw: Draw) -> Made:
    """The minimum of exp(z - s(x)) - z by golden sections, to an interval of 1e-3 to 1e-6, times a smooth factor."""
    n, tolerance = draw.integer(1, 5), 10.0 ** -draw.integer(3, 7)
    ratio = (math.sqrt(5) - 1) / 2

    def searched(x: np.ndarray, c: np.ndarray) -> float:
        s, low, high = float((np.tanh(x) * c).sum()), -4.0, 4.0

        def cost(z: float) -> float:
            return math.exp(z - s) - z

        left, right = high - ratio * (high - low), low + ratio * (high - low)
        at_left, at_right = cost(left), cost(right)
        while high - low > tolerance:
            if at_left < at_right:
                high, right, at_right = right, left, at_left
                left = high - ratio * (high - low)
                at_left = cost(left)
            else:
                low, left, at_left = left, right, at_right
                right = low + ratio * (high - low)
                at_right = cost(right)
        return float((low + high) / 2 * (2 + (x * x).sum()))

    c = draw.normal(n)
    return Made(
        lambda x, c: (tanh(x) * c).sum() * (2 + (x * x).sum()),
        draw.normal(n),
        (c / max(1.0, float(np.abs(c).sum()) / 3),),
        searched,
    )


@family("solver staircase", "float64")
def grid_search_then_a_factor(draw: Draw) -> Made:
    """The best of 65,536 points of a grid, times a smooth factor.

    (Steps of a thirtieth of the natural size of x pass some points of the grid, or no step would show that f is one.)
    """
    n = draw.integer(1, 4)
    grid = np.linspace(-2, 2, 2**16)

    def best(x: np.ndarray, c: np.ndarray) -> float:
        costs = (grid - float((np.sin(x) * c).sum())) ** 2
        return float(grid[int(np.argmin(costs))] * (1 + np.exp(x / 2).sum()))

    c = draw.uniform(0.3, 1.0, n)
    return Made(
        lambda x, c: (sin(x) * c).sum() * (1 + exp(x * 0.5).sum()),
        draw.uniform(0.5, 1.2, n),
        (c * (1.8 / float(c.sum())),),
        best,
    )


@family("solver staircase", "float64")
def slow_relaxation_that_stops(draw: Draw) -> Made:
    """z + z**3 / 10 = s(x), relaxed by a twentieth of the residual until a step is below 1e-14 or 1e-13.

    (What is left is twenty times that on average, and f's own: it changes slopes by less than any bar.)
    """
    n, tolerance = draw.integer(1, 4), 10.0 ** -draw.integer(13, 15)

    def exactly(x: Generic, c: Generic) -> Generic:
        s = (sin(x) * c).sum()
        z = near(s, ex.value_of(s) * 0.9, lambda z: z + z**3 * 0.1, lambda z: 1 + z * z * 0.3)
        return near(s, z, lambda z: z + z * z * z * 0.1, lambda z: 1 + z * z * 0.3) * (2 + (x * x).sum())

    def relaxed(x: np.ndarray, c: np.ndarray) -> float:
        s, z = float((np.sin(x) * c).sum()), 0.0
        for _ in range(2000):
            change = 0.05 * (s - z - z**3 / 10)
            z += change
            if abs(change) < tolerance:
                break
        return float(z * (2 + (x * x).sum()))

    return Made(exactly, draw.normal(n), (draw.normal(n),), relaxed)


@family("float32_inside staircase", "float64")
def float16_gate(draw: Draw) -> Made:
    """A gate in float16 before values in float64."""
    n = draw.integer(2, 10)

    def gated(x: np.ndarray, w: np.ndarray, c: np.ndarray) -> float:
        gate = (1 / (1 + np.exp(-(w @ x)))).astype(np.float16).astype(float)
        return float((gate * c * x).sum())

    return Made(
        lambda x, w, c: (sigmoid(w @ x) * c * x).sum(), draw.normal(n), (dense(draw, n, n), draw.normal(n)), gated
    )


@family("float32_inside staircase", "float64")
def statistics_in_float32(draw: Draw) -> Made:
    """Mean and variance of a layer norm in float32, the rest in float64."""
    n = draw.integer(3, 16)

    def mixed(x: np.ndarray, c: np.ndarray) -> float:
        low = x.astype(np.float32)
        mean = low.mean(dtype=np.float32)
        spread = ((low - mean) ** 2).mean(dtype=np.float32)
        return float((np.tanh((x - float(mean)) / np.sqrt(float(spread) + 1e-5)) * c).sum())

    def exactly(x: Generic, c: Generic) -> Generic:
        away = x - x.sum() / n
        return (tanh(away / sqrt((away * away).sum() / n + 1e-5)) * c).sum()

    return Made(exactly, draw.normal(n), (draw.normal(n),), mixed)


@family("float32_inside staircase", "float64")
def clipped_by_a_float16_norm(draw: Draw) -> Made:
    """A vector scaled by its norm, which is stored in float16, beside a smooth path."""
    n = draw.integer(2, 8)

    def mixed(x: np.ndarray, c: np.ndarray) -> float:
        return float((x * c).sum() / float(np.float16(np.sqrt((x * x).sum() + 0.1))) + (x * x).sum())

    return Made(
        lambda x, c: (x * c).sum() / sqrt((x * x).sum() + 0.1) + (x * x).sum(), draw.normal(n), (draw.normal(n),), mixed
    )


@family("quantised staircase", "float64")
def nearest_in_a_table(draw: Draw) -> Made:
    """The nearest entry of a table of exp(-x) with 2**10 to 2**18 entries per unit, times a sine."""
    n, count = draw.integer(1, 5), 2.0 ** draw.integer(10, 19)
    return Made(
        lambda x: (exp(-x) * sin(x)).sum(),
        draw.uniform(0.2, 3, n),
        (),
        lambda x: float((np.exp(-np.round(x * count) / count) * np.sin(x)).sum()),
    )


@family("near_kink", "float64")
def chords_of_a_float32_table(draw: Draw) -> Made:
    """Chords between entries that are stored in float32, 2**6 to 2**10 per unit: the slope is that of the chord."""
    c, count = float(draw.normal()), 2.0 ** draw.integer(6, 11)

    def f(x: Generic) -> Generic:
        place = np.floor(np.asarray(ex.value_of(x), dtype=float) * count) / count
        low, high = cast(np.sin(place + c)), cast(np.sin(place + 1 / count + c))
        return (low + (high - low) * (x - place) * count).sum()

    return Made(f, draw.normal(draw.integer(1, 5)))


@family("quantised staircase", "float64")
def angle_rounded_in_degrees(draw: Draw) -> Made:
    """Angles rounded to 2 to 5 decimals of a degree turn vectors that depend on them, too."""
    n, decimals, unit = draw.integer(1, 5), draw.integer(2, 6), math.pi / 180
    return Made(
        lambda x: (cos(x * unit) * x).sum() / 50,
        draw.uniform(10, 80, n),
        (),
        lambda x: float((np.cos(np.round(x, decimals) * unit) * x).sum() / 50),
    )


@family("quantised staircase", "float64")
def inputs_through_text(draw: Draw) -> Made:
    """x is written with 7 to 10 digits and read again on the way to one of two paths."""
    n, digits = draw.integer(2, 8), draw.integer(7, 11)
    f, data = piece(draw, n)

    def written(x: np.ndarray, *d: np.ndarray) -> float:
        return float(f(np.array([float(f"{one:.{digits - 1}e}") for one in x.tolist()]), *d) + (x * x).sum())

    return Made(lambda x, *d: f(x, *d) + (x * x).sum(), draw.normal(n), data, written)


@family("quantised staircase", "float64")
def cancelling_exponents(draw: Draw) -> Made:
    """exp(m log(1 + s(x) / m)) with m of 1e6 to 1e9: the digits that the sum loses come back m times as large."""
    n, m = draw.integer(1, 6), 10.0 ** draw.integer(6, 10)
    return Made(
        lambda x, c: exp(m * log1p((sin(x) * c).sum() / m)) * (1 + (x * x).sum()),
        draw.normal(n),
        (draw.normal(n) / 2,),
        lambda x, c: float(np.exp(m * np.log(1 + (np.sin(x) * c).sum() / m)) * (1 + (x * x).sum())),
    )


@family("near_kink solver", "float64")
def event_between_two_steps(draw: Draw) -> Made:
    """A falling ball with drag in steps of 1/64: time and speed of impact by interpolation within the last step."""

    def f(x: Generic) -> Generic:
        height, speed, time, h = x[0], x[1] * 0.1, 0.0, 1 / 64
        for _ in range(400):
            push = -1 - x[2] * speed
            middle = speed + push * (h / 2)
            new, faster = height + middle * h, speed + (-1 - x[2] * middle) * h
            if float(ex.value_of(new)) < 0:
                part = height / (height - new)
                return time + part * h + (speed + (faster - speed) * part) * 0.3
            height, speed, time = new, faster, time + h
        return time + speed

    return Made(f, draw.uniform(0.5, 2, 3))


@family("near_kink solver", "float64")
def quadrature_up_to_a_limit(draw: Draw) -> Made:
    """Trapezoids of width 1/32 up to a limit that is a parameter, and a narrower one at the end."""

    def f(x: Generic) -> Generic:
        cells = int(float(ex.value_of(x[1])) * 32)
        values = [exp(-x[0] * (i / 32)) * cos(x[2] * (i / 32)) for i in range(cells + 1)]
        total = sum(values[1:cells], (values[0] + values[cells]) * 0.5) / 32
        last = exp(-x[0] * x[1]) * cos(x[2] * x[1])
        return total + (values[cells] + last) * 0.5 * (x[1] - cells / 32)

    return Made(f, draw.uniform(0.6, 2, 3))


@family("solver near_kink", "float64")
def adaptive_simpson_1e_minus_6(draw: Draw) -> Made:
    """Adaptive Simpson to 1e-6: another subdivision gives another value, and in between f is smooth."""

    def f(x: Generic) -> Generic:
        def g(s: float) -> Generic:
            return exp(-x[0] * s) / (1 + x[1] * (s * s) * 20) + x[2] * s

        def simpson(a: float, b: float, fa: Generic, fm: Generic, fb: Generic, tolerance: float, depth: int) -> Generic:
            m = (a + b) / 2
            fl, fr = g((a + m) / 2), g((m + b) / 2)
            whole = (fa + fm * 4 + fb) * ((b - a) / 6)
            left, right = (fa + fl * 4 + fm) * ((m - a) / 6), (fm + fr * 4 + fb) * ((b - m) / 6)
            if depth == 0 or abs(float(ex.value_of(left + right - whole))) < 15 * tolerance:
                return left + right + (left + right - whole) / 15
            return simpson(a, m, fa, fl, fm, tolerance / 2, depth - 1) + simpson(
                m, b, fm, fr, fb, tolerance / 2, depth - 1
            )

        return simpson(0.0, 2.0, g(0.0), g(1.0), g(2.0), 1e-6, 12)

    return Made(f, draw.uniform(0.5, 2, 3))


@family("saturating quantised", "float64")
def gate_that_has_closed(draw: Draw) -> Made:
    """x (1 - tanh(x)) far out, where the difference has few digits left."""
    n = draw.integer(1, 4)
    return Made(
        lambda x: (x * 2 / (1 + exp(x * 2))).sum(),
        draw.uniform(3, 12, n),
        (),
        lambda x: float((x * (1 - np.tanh(x))).sum()),
    )


@family("huge one_sided", UPPER)
def softplus_next_to_overflow(draw: Draw) -> Made:
    """log(1 + exp(x)) as it is written, infinite a part of a natural size away."""
    n = draw.integer(1, 5)
    x = draw.uniform(500, 705, n) if draw.dtype == "float64" else draw.uniform(60, 87, n)
    return Made(
        lambda x, c: (c * softplus(x)).sum() + sin(x * 0.01).sum(),
        x,
        (draw.uniform(0.3, 1, n),),
        lambda x, c: (c * np.log(1 + np.exp(x))).sum() + np.sin(x * x.dtype.type(0.01)).sum(),
    )


@family("huge", UPPER)
def power_of_twenty(draw: Draw) -> Made:
    """Values a hundred times as large within a quarter of a natural size."""
    n = draw.integer(1, 6)
    return Made(lambda x, c: (c * x**20).sum(), draw.uniform(1, 3, n), (draw.uniform(0.3, 1, n),))


@family("saturating quantised", "float64")
def loss_of_a_sure_softmax(draw: Draw) -> Made:
    """Cross entropy where the right class leads by 10 to 20: the loss has the digits of 1."""
    n = draw.integer(2, 6)
    x = draw.normal(n)
    x[0] = float(draw.stored(x[1:].max() + draw.uniform(10, 20)))
    return Made(
        lambda x: log1p(exp(x[1:] - x[0]).sum()),
        x,
        (),
        lambda x: float(np.log(np.exp(x - x.max()).sum()) - (x[0] - x.max())),
    )


@family("float32_inside staircase", "float64")
def running_sum_in_float32(draw: Draw) -> Made:
    """Sums of the first 1, 2, 3 ... terms in float32, weighted in float64 by something that depends on x."""
    n = draw.integer(2, 8)

    def summed(x: np.ndarray, w: np.ndarray, u: np.ndarray) -> float:
        sums = np.cumsum(np.tanh(w @ x), dtype=np.float32).astype(float)
        return float((sums * u).sum() * (1 + (x * x).sum()))

    def exactly(x: Generic, w: Generic, u: Generic) -> Generic:
        terms, later = tanh(w @ x), np.cumsum(u[::-1])[::-1]
        return (terms * later).sum() * (1 + (x * x).sum())

    return Made(exactly, draw.normal(n), (dense(draw, 20, n), draw.normal(20) / 5), summed)


def verify_truths(seeds: int = 2) -> dict[str, float]:
    """Worst difference between the chain rule and 80-digit differences, relative to the scale, family by family.

    Also asserts that f and its smooth part have nearly the same value.
    """
    worst = {}
    for name, one in FAMILIES.items():
        for dtype in one.dtypes:
            for seed in range(seeds):
                rng = np.random.default_rng([seed, len(name)])
                line = one.make(rng, "float16" if dtype == "low" else dtype)
                v = line.direction(rng)
                precise = ex.mp_slope(line.made.smooth, line.x, line.made.data, v)
                error = abs(line.truth(v) - precise) / max(line.scale, abs(precise), 1e-300)
                worst[name] = max(worst.get(name, 0.0), error)
                if line.made.visible is not None:
                    smooth = float(line.made.smooth(line.x, *line.made.data))
                    if name != "table_lookup":
                        assert abs(line.f(line.x) - smooth) <= 2e-3 * (1 + abs(smooth)), name
        assert worst[name] < 1e-13, (name, worst[name])
    return worst


if __name__ == "__main__":
    found = verify_truths()
    top = sorted(found, key=lambda name: -found[name])[:5]
    print(f"{len(found)} families; chain rule against mpmath, worst:", {name: f"{found[name]:.1e}" for name in top})
    print("held out:", sum(group(name, 0) == "fresh name" for name in found))
