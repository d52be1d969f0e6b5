"""Is a right float32 derivative called CORRECT, and a wrong one never? Plain functions, and layers of neural networks.

    PYTHONPATH=src python benchmarks/low_precision.py              # 32 seeds; needs PyTorch for its layers
    PYTHONPATH=src python benchmarks/low_precision.py --seeds 4 --only plain

Three kinds: *plain* NumPy functions of 16, 40, 100 and 200 entries with `grad=`; *numpy*, layers with up to 64 entries
and a backward pass by hand, as `grad=` of a weighted sum of the outputs and as `vjp=`; *torch*, the same layers with
torch's own autodiff in reverse mode. Everything is computed in float32, without `reference=`. Each claim is checked as
it is, off by 10 % everywhere, with one entry made of two others, and with one wrong sign. The last two are at random
places, so that some of these errors are too small to be seen: a leaf called CORRECT is *above* if its true error
exceeds its bound.
"""

from __future__ import annotations

import argparse
import collections
import math
import statistics
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gradproof

F32 = np.float32
Array = Any
# f, its arguments, and the claims by keyword.
Case = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Callable[..., Any]]]
SIZES = (16, 40, 100, 200)


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return (scale * rng.normal(size=shape)).astype(F32)


# ------------------------------------------------------------------------------------------------ plain functions


def log_of_squares(rng: np.random.Generator, n: int) -> Case:
    return lambda x: np.log(1 + x * x).sum(), (normal(rng, n),), {"grad": lambda x: 2 * x / (1 + x * x)}


def inverse(rng: np.random.Generator, n: int) -> Case:
    w = normal(rng, n)
    return lambda x: (w / x).sum(), (normal(rng, n),), {"grad": lambda x: -w / (x * x)}


def logistic_regression(rng: np.random.Generator, n: int) -> Case:
    rows, y = normal(rng, 60, n), (rng.random(60) < 0.5).astype(F32)

    def f(w: Array) -> Array:
        z = rows @ w
        return np.mean(np.logaddexp(F32(0), z) - y * z)

    return f, (normal(rng, n, scale=0.3),), {"grad": lambda w: rows.T @ (1 / (1 + np.exp(-(rows @ w))) - y) / F32(60)}


def quadratic(rng: np.random.Generator, n: int) -> Case:
    a = normal(rng, n, n, scale=n**-0.5)
    a, b = (a + a.T) / 2, normal(rng, n)
    return lambda x: x @ a @ x / 2 + b @ x, (normal(rng, n),), {"grad": lambda x: a @ x + b}


def least_squares(rng: np.random.Generator, n: int) -> Case:
    a, b = normal(rng, n + 8, n), normal(rng, n + 8)
    return lambda x: F32(0.5) * ((a @ x - b) ** 2).sum(), (normal(rng, n),), {"grad": lambda x: a.T @ (a @ x - b)}


def two_layers(rng: np.random.Generator, n: int) -> Case:
    a, b = normal(rng, 12, n, scale=n**-0.5), normal(rng, 12)
    return (
        lambda x: b @ np.tanh(a @ x),
        (normal(rng, n),),
        {"grad": lambda x: a.T @ (b * (1 - np.tanh(a @ x) ** 2))},
    )


def log_sum_exp(rng: np.random.Generator, n: int) -> Case:
    def grad(x: Array) -> Array:
        e = np.exp(x - x.max())
        return e / e.sum()

    return lambda x: x.max() + np.log(np.exp(x - x.max()).sum()), (normal(rng, n),), {"grad": grad}


def bumps(rng: np.random.Generator, n: int) -> Case:
    w = normal(rng, n)
    return (
        lambda x: (w * np.exp(-x * x)).sum(),
        (normal(rng, n),),
        {"grad": lambda x: -2 * w * x * np.exp(-x * x)},
    )


def linear(rng: np.random.Generator, n: int) -> Case:
    w = normal(rng, n)
    return lambda x: w @ x, (normal(rng, n),), {"grad": lambda x: w}


def quartic(rng: np.random.Generator, n: int) -> Case:
    return lambda x: (x**4).sum(), (normal(rng, n),), {"grad": lambda x: 4 * x**3}


PLAIN = (
    log_of_squares,
    inverse,
    logistic_regression,
    quadratic,
    least_squares,
    two_layers,
    log_sum_exp,
    bumps,
    linear,
    quartic,
)

# --------------------------------------------------------------------------------------------------------- layers

# A layer, its backward pass (cotangent first) and its arguments.
Layer = tuple[Callable[..., Array], Callable[..., tuple[Array, ...]], tuple[Array, ...]]
EPS = F32(1e-5)


def layer_norm(rng: np.random.Generator, d: int) -> Layer:
    def parts(x: Array) -> tuple[Array, Array]:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred * centred).mean(-1, keepdims=True) + EPS)
        return centred / scale, scale

    def backward(u: Array, x: Array, gain: Array, bias: Array) -> tuple[Array, ...]:
        z, scale = parts(x)
        v = u * gain
        dx = (v - v.mean(-1, keepdims=True) - z * (v * z).mean(-1, keepdims=True)) / scale
        return dx, (u * z).sum(0), u.sum(0)

    return (
        lambda x, gain, bias: gain * parts(x)[0] + bias,
        backward,
        (normal(rng, 4, d), 1 + normal(rng, d, scale=0.3), normal(rng, d)),
    )


def rms_norm(rng: np.random.Generator, d: int) -> Layer:
    def size(x: Array) -> Array:
        return np.sqrt((x * x).mean(-1, keepdims=True) + EPS)

    def backward(u: Array, x: Array, gain: Array) -> tuple[Array, ...]:
        z, v = x / size(x), u * gain
        return (v - z * (v * z).mean(-1, keepdims=True)) / size(x), (u * z).sum(0)

    return (
        lambda x, gain: gain * x / size(x),
        backward,
        (normal(rng, 4, d), 1 + normal(rng, d, scale=0.3)),
    )


def probabilities(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax(rng: np.random.Generator, d: int) -> Layer:
    def backward(u: Array, x: Array) -> tuple[Array, ...]:
        p = probabilities(x)
        return (p * (u - (u * p).sum(-1, keepdims=True)),)

    return probabilities, backward, (normal(rng, 4, d),)


def attention(rng: np.random.Generator, d: int) -> Layer:
    root = F32(math.sqrt(d))

    def backward(u: Array, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
        p = probabilities(q @ k.T / root)
        dp = u @ v.T
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / root
        return ds @ k, ds.T @ q, p.T @ u

    return (
        lambda q, k, v: probabilities(q @ k.T / root) @ v,
        backward,
        (normal(rng, 4, d), normal(rng, 4, d), normal(rng, 4, d)),
    )


def cross_entropy(rng: np.random.Generator, d: int) -> Layer:
    labels = rng.integers(0, d, 4)
    rows = np.arange(4)

    def backward(u: Array, x: Array) -> tuple[Array, ...]:
        p = probabilities(x)
        p[rows, labels] -= 1
        return (u[:, None] * p,)

    def forward(x: Array) -> Array:
        shifted = x - x.max(-1, keepdims=True)
        return np.log(np.exp(shifted).sum(-1)) - shifted[rows, labels]

    return forward, backward, (normal(rng, 4, d),)


def gelu(rng: np.random.Generator, d: int) -> Layer:
    a, b = F32(math.sqrt(2 / math.pi)), F32(0.044715)

    def backward(u: Array, x: Array) -> tuple[Array, ...]:
        t = np.tanh(a * (x + b * x**3))
        return (u * (F32(0.5) * (1 + t) + F32(0.5) * x * (1 - t * t) * a * (1 + 3 * b * x * x)),)

    return lambda x: F32(0.5) * x * (1 + np.tanh(a * (x + b * x**3))), backward, (normal(rng, 4, d),)


def linear_layer(rng: np.random.Generator, d: int) -> Layer:
    return (
        lambda x, w, b: x @ w + b,
        lambda u, x, w, b: (u @ w.T, x.T @ u, u.sum(0)),
        (normal(rng, 4, 8), normal(rng, 8, d // 2, scale=8**-0.5), normal(rng, d // 2)),
    )


LAYERS = (layer_norm, rms_norm, softmax, attention, cross_entropy, gelu, linear_layer)


def torch_layer(name: str, layer: Layer, rng: np.random.Generator) -> Callable[..., Any]:
    """The same in torch."""
    import torch
    from torch.nn import functional as nn

    if name == "cross_entropy":
        labels = torch.tensor(rng.integers(0, layer[2][0].shape[1], 4))
        return lambda x: nn.cross_entropy(x, labels, reduction="none")
    return {
        "layer_norm": lambda x, gain, bias: nn.layer_norm(x, x.shape[-1:], gain, bias),
        "rms_norm": lambda x, gain: nn.rms_norm(x, x.shape[-1:], gain, 1e-5),
        "softmax": lambda x: torch.softmax(x, -1),
        "attention": lambda q, k, v: nn.scaled_dot_product_attention(q[None], k[None], v[None])[0],
        "gelu": lambda x: nn.gelu(x, approximate="tanh"),
        "linear_layer": lambda x, w, b: x @ w + b,
    }[name]


# ------------------------------------------------------------------------------------------------------- mistakes


def spoiled(claim: Callable[..., Any], mistake: str, rng: np.random.Generator) -> Callable[..., Any]:
    """A claim that makes a mistake in its first array, linear in what it returns."""
    place = rng.random()

    def wrong(*args: Any) -> Any:  # wrong on purpose
        found = claim(*args)
        first = np.array(found[0] if isinstance(found, tuple) else found)
        flat = first.reshape(-1)
        at = int(place * flat.size)
        if mistake == "x1.1":
            flat *= F32(1.1)
        elif mistake == "entry":
            flat[at] = 3 * flat[at - 1] - 2 * flat[at]
        else:
            flat[at] *= -1
        return (first, *found[1:]) if isinstance(found, tuple) else first

    return wrong


MISTAKES = ("", "x1.1", "entry", "sign")


def true_error(claim: Callable[..., Any], wrong: Callable[..., Any], args: tuple[Any, ...]) -> float:
    """The error of the first array, relative to its norm."""
    both = claim(*args), wrong(*args)
    first, other = (np.asarray(one[0] if isinstance(one, tuple) else one, float) for one in both)
    return float(np.linalg.norm(first - other) / max(np.linalg.norm(other), 1e-300))


def cases(seed: int, kinds: tuple[str, ...]) -> Iterator[tuple[str, str, Callable[[str], tuple[Any, float]]]]:
    """Kind, name, and what checks the case with a mistake: the report, and the true error of its first array."""
    if "plain" in kinds:
        for make in PLAIN:
            for n in SIZES:
                rng = np.random.default_rng((seed, n, zlib.crc32(make.__name__.encode())))
                f, args, claims = make(rng, n)
                yield "plain", f"{make.__name__}, {n}", _checker(f, args, claims, seed)
    for make in LAYERS:
        rng = np.random.default_rng((seed, zlib.crc32(make.__name__.encode())))
        forward, backward, args = make(rng, (8, 16)[seed % 2])
        wrt = tuple(range(len(args)))
        if "numpy" in kinds:
            weights = normal(rng, *forward(*args).shape)

            def loss(*x: Array, forward: Any = forward, weights: Array = weights) -> Array:
                return (weights * forward(*x)).sum()

            def grad(*x: Array, backward: Any = backward, weights: Array = weights) -> Any:
                return backward(weights, *x)

            yield "numpy", f"{make.__name__}, grad", _checker(loss, args, {"grad": grad}, seed, wrt=wrt)
            yield "numpy", f"{make.__name__}, vjp", _checker(forward, args, {"vjp": backward}, seed, wrt=wrt)
        if "torch" in kinds:
            import torch

            f = torch_layer(make.__name__, (forward, backward, args), rng)
            tensors = tuple(torch.tensor(x) for x in args)

            def check(mistake: str, f: Any = f, tensors: Any = tensors) -> tuple[Any, float]:
                return gradproof.check(f, tensors, modes=("rev",), rng=seed), 0.0

            yield "torch", f"{make.__name__}, rev", check


def _checker(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    claims: dict[str, Callable[..., Any]],
    seed: int,
    wrt: tuple[int, ...] | None = None,
) -> Callable[[str], tuple[Any, float]]:
    def check(mistake: str) -> tuple[Any, float]:
        (keyword, claim), error = next(iter(claims.items())), 0.0
        if mistake:
            right, claim = claim, spoiled(claim, mistake, np.random.default_rng(seed))
            error = true_error(right, claim, args) if keyword == "grad" else 0.0
        return gradproof.check(f, args, wrt=wrt, **{keyword: claim}, rng=seed), error

    return check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--only", nargs="*", default=["plain", "numpy", "torch"], help="plain, numpy, torch")
    parser.add_argument("--names", default="", help="only names that contain this")
    parser.add_argument("--mistakes", nargs="*", default=list(MISTAKES), help="'' is none")
    options = parser.parse_args()
    verdicts: dict[tuple[str, str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    costs: dict[tuple[str, str, str], list[int]] = collections.defaultdict(list)
    declined: list[int] = []
    above: list[tuple[str, str, int, float, float]] = []
    for seed in range(options.seed, options.seed + options.seeds):
        for kind, name, check in cases(seed, tuple(options.only)):
            if options.names not in name:
                continue
            for mistake in options.mistakes if kind != "torch" else [""]:
                report, error = check(mistake)
                verdict = report.verdict.value
                verdicts[kind, name, mistake][verdict] += 1
                costs[kind, name, mistake].append(report.cost.evaluations)
                if not mistake and verdict == "INCONCLUSIVE":
                    declined.append(report.cost.evaluations)
                first = report.leaves[0]
                if mistake and first.verdict.value == "CORRECT" and error > (first.bound or 0.0):
                    above.append((name, mistake, seed, error, first.bound or 0.0))
    for (kind, name, mistake), row in verdicts.items():
        cost = costs[kind, name, mistake]
        evaluations = f"{statistics.median(cost):.0f} / {max(cost)}"
        print(f"{kind:6} {name:25} {mistake or 'right':6} evaluations {evaluations:>12}  {dict(row)}")
    for kind in options.only:
        for mistake in options.mistakes:
            rows = [row for (k, _, m), row in verdicts.items() if (k, m) == (kind, mistake)]
            total = sum(rows, collections.Counter[str]())
            if total:
                cost = [one for (k, _, m), some in costs.items() if (k, m) == (kind, mistake) for one in some]
                print(f"all {kind}, {mistake or 'right'}: {dict(total)}, evaluations {statistics.median(cost):.0f}")
    if declined:
        print(f"right claims declined: {len(declined)}, evaluations {statistics.median(declined):.0f} (median)")
    print(f"CORRECT with an error above the bound: {len(above)}")
    for one in above:
        print("  {}, {}, seed {}: error {:.3g}, bound {:.3g}".format(*one))


if __name__ == "__main__":
    main()
