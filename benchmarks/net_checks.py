"""The list of the net (`net.py`): some four thousand small checks, each with a name that lasts and a seed of its own.

A check is drawn from its name alone, so that it can be run by itself. The truth of a claim is not asked for here (other
benchmarks do): half of the claims are right, half are wrong on purpose, and what matters is that reports stay as they
are. Of families and functions that are set aside nothing is looked at but that.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import low_precision
import numpy as np
import torch
from families import FAMILIES
from functions import FUNCTIONS
from mgh import mistakes as mgh_mistakes
from mgh_problems import PROBLEMS
from mistakes import MISTAKES, Scene
from restraint import check_line

import gradproof

Array = Any
FRAMEWORKS = ("fuzz", "torch", "jax", "module")


@dataclasses.dataclass(frozen=True)
class Check:
    """A check: `kind` is that of its claim, for the medians; `run` gives the report or raises what the user would see.

    `run` is given the seed.
    """

    name: str
    kind: str
    run: Callable[[int], gradproof.Report]

    @property
    def seed(self) -> int:
        return zlib.crc32(self.name.encode()) % 2**31


def rng_of(*words: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(" ".join(map(str, words)).encode()))


def checks() -> dict[str, Check]:
    """All of them by name."""
    found: dict[str, Check] = {}
    for group in (
        _families, _functions, _fuzz, _layers, _problems, _complex, _kinks, _edges, _torch, _modules, _jax, _contracts,
        _options, _second, _forms,
    ):  # fmt: skip
        for name, kind, run in group():
            assert name not in found, name
            found[name] = Check(name, kind, run)
    return found


Listed = Iterator[tuple[str, str, Callable[[int], gradproof.Report]]]


# -------------------------------------------------------------------------- functions and claims that benchmarks have


def _families() -> Listed:
    """Every family in every precision, right and off by 1 %, and as a Jacobian of one row."""

    def run(seed: int, name: str, dtype: str, factor: float, draw: int) -> gradproof.Report:
        return check_line(FAMILIES[name].make(rng_of(name, draw), dtype), factor, seed)

    def row(seed: int, name: str, draw: int) -> gradproof.Report:
        line = FAMILIES[name].make(rng_of(name, draw), "float64")

        def f(x: Array) -> Array:
            with np.errstate(all="ignore"):
                return np.array([line.f(x)])

        return gradproof.check(f, line.x, jac=line.gradient.astype(float)[None], rng=seed)

    for name, family in FAMILIES.items():
        dtypes = [d for d in ("float64", "float32") if d in family.dtypes] + ["float16"] * ("low" in family.dtypes)
        for dtype in dtypes:
            for factor in (1.0, 1.01, 1.3) if dtype == "float16" else (1.0, 1.01):
                for draw in range(2 if dtype == "float64" else 1):
                    yield (
                        f"families/{name}/{dtype}/x{factor:g}/{draw}", f"grad, {dtype}",
                        ft.partial(run, name=name, dtype=dtype, factor=factor, draw=draw),
                    )  # fmt: skip
        yield f"families/{name}/row", "jac", ft.partial(row, name=name, draw=2)


def _functions() -> Listed:
    """Every function with its gradient, and with nine of the mistakes; as a value, called, and entry by entry."""

    def run(seed: int, name: str, size: int, mistake: str, way: str) -> gradproof.Report:
        rng = rng_of(name, size)
        model = FUNCTIONS[name].build(rng, size)
        true = {k: np.asarray(g, dtype=float) for k, g in model.gradient(model.point).items()}
        touched = [k for k, g in true.items() if g.any()] or list(true)
        claim = true
        if mistake and any(g.any() for g in true.values()):
            key = touched[int(rng.integers(len(touched)))]
            planted = MISTAKES[mistake](Scene(rng, model, model.point, true, key))
            changes = planted if isinstance(planted, dict) else {} if planted is None else {key: planted}
            claim = {k: np.asarray(changes.get(k, g), dtype=float).reshape(g.shape) for k, g in true.items()}
        level = "entries" if way == "entries" else "certificate"
        if list(model.point) == ["x"]:
            only = claim["x"]
            return gradproof.check(
                lambda x: model.f({"x": x}), (model.point["x"],), level=level, rng=seed,
                grad=(lambda x: only) if way == "called" else only,
            )  # fmt: skip
        return gradproof.check(
            model.f, (model.point,), grad=(lambda p: claim) if way == "called" else claim, level=level, rng=seed
        )

    for name in FUNCTIONS:
        rng = rng_of("functions", name)
        for k, mistake in enumerate(["", "", *rng.choice(list(MISTAKES), 9, replace=False)]):
            size, way = int(rng.choice([3, 10, 60, 400])), str(rng.choice(["value", "called"]))
            way = "entries" if k == 1 else way
            size = min(size, 60) if way == "entries" else size
            yield (
                f"functions/{name}/{size}/{mistake or 'right'}{', entries' * (way == 'entries')}",
                "entries" if way == "entries" else "grad, float64",
                ft.partial(run, name=name, size=size, mistake=str(mistake), way=way),
            )


def _fuzz() -> Listed:
    """The first program from every tenth number on: all kinds of claim."""
    import fuzz

    def run(seed: int, first: int) -> gradproof.Report:
        number = first
        while (claim := fuzz.draw_claim(number)) is None:
            number += 1
        return claim.check()

    for first in range(0, 10_000, 10):
        kind = str(np.random.default_rng([first, 977]).choice(fuzz.KINDS))
        yield f"fuzz/{first}", f"program, {kind}", ft.partial(run, first=first)


@ft.cache
def _low(seed: int) -> dict[str, Callable[[str], tuple[gradproof.Report, float]]]:
    return {f"{kind}, {name}": check for kind, name, check in low_precision.cases(seed, ("plain", "numpy", "torch"))}


def _layers() -> Listed:
    """Layers and plain functions: in float32, and in float64 as vjp, jvp and gradient."""

    def single(seed: int, draw: int, name: str, mistake: str) -> gradproof.Report:
        return _low(draw)[name](mistake)[0]

    def double(seed: int, name: str, mistake: str, keyword: str, size: int) -> gradproof.Report:
        make = {one.__name__: one for one in (*low_precision.LAYERS, *low_precision.PLAIN)}[name]
        made = make(rng_of(name, size), size)
        forward, args = (made[0], made[2]) if keyword == "vjp" else (made[0], made[1])
        claim: Any = made[1] if keyword == "vjp" else made[2]["grad"]
        args = tuple(x.astype(np.float64) for x in args)
        if mistake:
            claim = low_precision.spoiled(claim, mistake, np.random.default_rng(seed))
        wrt = tuple(range(len(args))) if keyword == "vjp" else None
        return gradproof.check(forward, args, **{keyword: claim}, wrt=wrt, rng=seed)

    for draw in range(2):
        for kind, name, _ in low_precision.cases(draw, ("plain", "numpy", "torch")):
            for mistake in low_precision.MISTAKES if kind != "torch" else [""]:
                full = f"{kind}, {name}"
                claimed = "vjp, float32" if "vjp" in name else "torch" if kind == "torch" else "grad, float32"
                yield (
                    f"float32/{full}/{mistake or 'right'}/{draw}", claimed,
                    ft.partial(single, draw=draw, name=full, mistake=mistake),
                )  # fmt: skip
    for keyword, makers, sizes in (("vjp", low_precision.LAYERS, (4, 8, 24)), ("grad", low_precision.PLAIN, (6, 16))):
        for make in makers:
            for size in sizes:
                for mistake in low_precision.MISTAKES:
                    yield (
                        f"float64/{make.__name__}/{keyword}/{size}/{mistake or 'right'}",
                        "vjp, float64" if keyword == "vjp" else "grad, float64",
                        ft.partial(double, name=make.__name__, mistake=mistake, keyword=keyword, size=size),
                    )


def _problems() -> Listed:
    """The problems of Moré, Garbow and Hillstrom through the entry points for SciPy, right and with mistakes."""
    from gradproof.scipy import check_least_squares, check_minimize

    def run(seed: int, number: int, what: str, point: int, mistake: str) -> gradproof.Report:
        problem = PROBLEMS[number]
        x = problem.points()[point]
        claim = problem.jacobian(x) if what == "jac" else problem.gradient(x)
        size = np.where(x == 0, 1.0, np.abs(x))
        for one in mgh_mistakes(claim, size, rng_of(number, what)) if mistake else ():
            claim = one.wrong if one.name == mistake else claim
        if what == "jac":
            return check_least_squares(problem.residuals, x, lambda _: claim.copy(), rng=seed)
        return check_minimize(problem.value, x, jac=lambda _: claim.copy(), rng=seed)

    for number in PROBLEMS:
        for what in ("jac", "grad"):
            for point, mistake in (
                (0, ""),
                (1, ""),
                (0, "sign"),
                (0, "missing"),
                (1, "a tenth off"),
                (2, "all halved"),
            ):
                yield (
                    f"mgh/{number}/{what}/{point}/{mistake or 'right'}", "jac" if what == "jac" else "grad, float64",
                    ft.partial(run, number=number, what=what, point=point, mistake=mistake),
                )  # fmt: skip


# ------------------------------------------------------------------------------------------------- complex numbers


def _draw(seed: int, *shape: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


TALL = _draw(2, 6, 5)  # can be told from its transpose
REAL: dict[str, tuple[Callable[[Array], Any], Callable[[Array], Any]]] = {
    "square": (lambda z: np.sum(np.abs(z) ** 2), lambda z: 2 * z),
    "wavy": (
        lambda z: np.sum(np.abs(z) ** 2 * np.sin(z.real)),
        lambda z: 2 * z * np.sin(z.real) + np.abs(z) ** 2 * np.cos(z.real),
    ),
    "exp": (lambda z: np.sum(np.exp(z)).real, lambda z: np.exp(z).conj()),
    "spectrum": (
        lambda z: np.sum(np.abs(np.fft.fft(z)) ** 4),
        lambda z: np.fft.ifft(4 * np.abs(np.fft.fft(z)) ** 2 * np.fft.fft(z)) * z.shape[-1],
    ),
    "modulus": (lambda z: np.abs(z).sum(), lambda z: z / np.maximum(np.abs(z), 1e-300)),
    "real part": (lambda z: np.sum(z.real**3), lambda z: 3 * z.real**2 + 0j),
}
CONVENTIONS: dict[str, Callable[[Array], Array]] = {
    "right": lambda g: g,
    "conjugate": np.conj,
    "half": lambda g: g / 2,
    "half conjugate": lambda g: np.conj(g) / 2,
    "times i": lambda g: 1j * g,
    "twice": lambda g: 2 * g,
    "real": lambda g: g.real + 0j,
    "one entry": lambda g: g + 0.25j * (np.arange(g.size) == g.size // 2).reshape(g.shape),
}


def _complex() -> Listed:
    def gradient(seed: int, name: str, change: str, dtype: str, point: str) -> gradproof.Report:
        f, grad = REAL[name]
        z = {
            "usual": _draw(0, 3, 4),
            "axis": _draw(1, 3, 4).real + 0j,
            "kink": np.where(_draw(0, 3, 4).real > 0, _draw(0, 3, 4), 0),
        }[point]
        return gradproof.check(f, z.astype(dtype), grad=lambda z: CONVENTIONS[change](grad(z)).astype(dtype), rng=seed)

    for name in REAL:
        for change in CONVENTIONS:
            for dtype in ("complex128", "complex64"):
                for point in ("usual", "axis", "kink") if dtype == "complex128" else ("usual",):
                    yield (
                        f"complex/{name}/{change}/{dtype}/{point}", f"grad, {dtype}",
                        ft.partial(gradient, name=name, change=change, dtype=dtype, point=point),
                    )  # fmt: skip

    def bent(z: Array) -> Array:
        return np.exp(TALL @ z / 4) + (TALL @ z).conj() * 2

    def bent_jvp(v: Array, z: Array) -> Array:
        return np.exp(TALL @ z / 4) * (TALL @ v) / 4 + (TALL @ v).conj() * 2

    def bent_vjp(u: Array, z: Array) -> Array:
        return TALL.conj().T @ (np.exp(TALL @ z / 4).conj() * u) / 4 + 2 * TALL.conj().T @ u.conj()

    products: dict[str, dict[str, Any]] = {
        "vjp": {"vjp": bent_vjp},
        "jvp": {"jvp": bent_jvp},
        "vjp, jax's": {"vjp": lambda u, z: bent_vjp(u.conj(), z).conj()},
        "vjp, conjugate": {"vjp": lambda u, z: bent_vjp(u, z).conj()},
        "vjp, of the conjugate": {"vjp": lambda u, z: bent_vjp(u.conj(), z)},
        "jvp, conjugate": {"jvp": lambda v, z: bent_jvp(v, z).conj()},
        "jvp, of the conjugate": {"jvp": lambda v, z: bent_jvp(v.conj(), z)},
        "jvp, twice": {"jvp": lambda v, z: 2 * bent_jvp(v, z)},
    }
    for words, claim in products.items():
        yield f"complex/products/{words}", next(iter(claim)), ft.partial(_ask, f=bent, x=_draw(1, 5), claim=claim)
    jacobians: dict[str, Any] = {
        "right": lambda z: np.diag(np.cos(z)),
        "conjugate": lambda z: np.diag(np.cos(z)).conj(),
        "half": lambda z: np.diag(np.cos(z)) / 2,
        "one entry": lambda z: np.diag(np.cos(z)) + 0.1 * np.eye(5, k=2),
    }
    for words, jac in jacobians.items():
        yield f"complex/jac/{words}", "jac", ft.partial(_ask, f=np.sin, x=_draw(1, 5), claim={"jac": jac})


def _ask(seed: int, f: Any, x: Any, claim: dict[str, Any], **options: Any) -> gradproof.Report:
    return gradproof.check(f, x, **claim, **options, rng=seed)


# ----------------------------------------------------------------------------------- kinks at x, edges of the domain

HARD: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "abs": (np.abs, np.sign),
    "leaky": (lambda z: np.where(z > 0, z, 0.1 * z), lambda z: np.where(z > 0, 1.0, 0.1)),
    "clip": (lambda z: np.clip(z, -1, 1), lambda z: (np.abs(z) < 1) * 1.0),
    "square relu": (lambda z: np.maximum(z, 0) ** 2, lambda z: 2 * np.maximum(z, 0)),
    "root": (lambda z: np.sqrt(np.abs(z)), lambda z: np.sign(z) / (2 * np.sqrt(np.abs(z) + (z == 0)))),
    "step": (lambda z: (z > 0) * 1.0 + z, lambda z: 1.0 + 0 * z),
    "small bend": (lambda z: np.sin(z) + 2e-6 * np.abs(z), lambda z: np.cos(z) + 2e-6 * np.sign(z)),
    "two bends": (lambda z: np.sin(z) + 1e-3 * np.abs(z), lambda z: np.cos(z) + 1e-3 * np.sign(z)),
}
POINTS: dict[str, Callable[[np.random.Generator], Array]] = {
    "one entry": lambda rng: np.where(np.arange(6) == 2, 0.0, rng.normal(size=6)),
    "half": lambda rng: np.where(np.arange(6) % 2, 0.0, rng.normal(size=6)),
    "all": lambda rng: np.zeros(6),
    "near": lambda rng: 1e-7 * rng.normal(size=6),
    "lone": lambda rng: np.zeros(1),
    "at one": lambda rng: np.where(np.arange(6) == 1, 1.0, rng.normal(size=6)),
}
SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "chosen": lambda g, x: g,
    "between": lambda g, x: np.where(x == 0, 0.3, g),
    "outside": lambda g, x: np.where(x == 0, 1.7, g),
    "off elsewhere": lambda g, x: np.where(x == 0, g, 1.1 * g),
    "off by 1e-4": lambda g, x: g * (1 + 1e-4),
}


def _kinks() -> Listed:
    """Kinks at the point: a choice, a mixture, and what is neither, under a gradient, a Jacobian and a vjp."""

    def run(seed: int, name: str, at: str, slope: str, keyword: str, dtype: str) -> gradproof.Report:
        f, derivative = HARD[name]
        x = POINTS[at](rng_of(name, at)).astype(dtype)
        weights = rng_of("weights", name).normal(size=x.size).astype(dtype)
        mix = rng_of("mix", name).normal(size=(4, x.size)).astype(dtype)
        g = SLOPES[slope](derivative(x), x).astype(dtype)
        if keyword in ("grad", "entries"):
            level = "entries" if keyword == "entries" else "certificate"
            return gradproof.check(
                lambda x: (weights * f(x)).sum(dtype=dtype), x, grad=weights * g, level=level, rng=seed
            )
        if keyword == "called":  # right elsewhere
            special = lambda z: weights * (g if np.array_equal(z, x) else derivative(z)).astype(dtype)  # noqa: E731
            return gradproof.check(lambda x: (weights * f(x)).sum(dtype=dtype), x, grad=special, rng=seed)
        claim: Any = {
            "jac": mix * g, "vjp": lambda u, x: (u @ mix) * g, "jvp": lambda v, x: mix @ (g * v),
        }[keyword]  # fmt: skip
        return gradproof.check(lambda x: mix @ f(x), x, **{keyword: claim}, rng=seed)

    for name in HARD:
        for at in POINTS:
            for slope in SLOPES:
                rng = rng_of("kinks", name, at, slope)
                keyword = str(rng.choice(["called", "jac", "vjp", "jvp", "entries"]))
                dtype = "float32" if name != "small bend" and rng.random() < 0.3 else "float64"
                yield (
                    f"kinks/{name}/{at}/{slope}/grad", "kink, grad",
                    ft.partial(run, name=name, at=at, slope=slope, keyword="grad", dtype="float64"),
                )  # fmt: skip
                yield (
                    f"kinks/{name}/{at}/{slope}/{keyword}/{dtype}", f"kink, {keyword}",
                    ft.partial(run, name=name, at=at, slope=slope, keyword=keyword, dtype=dtype),
                )  # fmt: skip


ENDING: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "root": (np.sqrt, lambda z: 0.5 / np.sqrt(z)),
    "log": (np.log, lambda z: 1 / z),
    "power": (lambda z: z**1.5, lambda z: 1.5 * np.sqrt(z)),
    "entropy": (lambda z: z * np.log(z), lambda z: np.log(z) + 1),
    "cut": (lambda z: np.where(z >= 0, np.exp(z), np.nan), np.exp),
}


def _edges() -> Listed:
    """At, and near, the edge of where f is defined, told of it and not."""

    def run(seed: int, name: str, gap: float, factor: float, told: bool, keyword: str, dtype: str) -> gradproof.Report:
        f, derivative = ENDING[name]
        x = rng_of(name).uniform(0.5, 2, 5).astype(dtype)
        x[2] = gap
        with np.errstate(all="ignore"):
            g = (factor * np.where(np.isfinite(derivative(x)), derivative(x), 0)).astype(dtype)

        def values(x: Array) -> Array:
            with np.errstate(all="ignore"):
                return f(x).astype(dtype)

        domain: Any = (0.0, None) if told else None
        if keyword == "grad":
            return gradproof.check(lambda x: values(x).sum(dtype=dtype), x, grad=g, domain=domain, rng=seed)
        claim: Any = {"jac": np.diag(g), "vjp": lambda u, x: u * g}[keyword]
        return gradproof.check(values, x, **{keyword: claim}, domain=domain, rng=seed)

    for name in ENDING:
        for gap in (0.0, 1e-10, 1e-4, 0.5):
            for factor in (1.0, 1.01):
                for told in (False, True):
                    rng = rng_of("edges", name, gap, factor, told)
                    for keyword, dtype in (("grad", "float64"), (str(rng.choice(["jac", "vjp"])), "float64"),
                                           ("grad", "float32")):  # fmt: skip
                        yield (
                            f"edges/{name}/{gap:g}/x{factor:g}/{'told' if told else 'not told'}/{keyword}/{dtype}",
                            f"edge, {keyword}",
                            ft.partial(run, name=name, gap=gap, factor=factor, told=told, keyword=keyword, dtype=dtype),
                        )


# ------------------------------------------------------------------------------------------------------- frameworks


class Rule(torch.autograd.Function):
    """An elementwise or row-wise function with a backward and a forward rule, which `change` goes over."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, name: str, change: str) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        ctx.told = name, change
        return RULES[name][0](x)

    @staticmethod
    def backward(ctx: Any, u: torch.Tensor) -> Any:  # pyright: ignore
        (x,), (name, change) = ctx.saved_tensors, ctx.told
        return CHANGES[change](RULES[name][1](x, u)), None, None

    @staticmethod
    def jvp(ctx: Any, v: torch.Tensor, *_: Any) -> torch.Tensor:  # pyright: ignore
        (x,), (name, change) = ctx.saved_tensors, ctx.told
        found = RULES[name][2](x, v)
        return -found if change == "forward mode" else found


RULES: dict[str, tuple[Any, Any, Any]] = {
    "sin": (torch.sin, lambda x, u: u * x.cos(), lambda x, v: v * x.cos()),
    "square": (lambda x: x * x, lambda x, u: 2 * x * u, lambda x, v: 2 * x * v),
    "softmax": (
        lambda x: torch.softmax(x, -1),
        lambda x, u: torch.softmax(x, -1) * (u - (u * torch.softmax(x, -1)).sum(-1, keepdim=True)),
        lambda x, v: torch.softmax(x, -1) * (v - (v * torch.softmax(x, -1)).sum(-1, keepdim=True)),
    ),
    "row sums": (lambda x: x.exp().sum(-1), lambda x, u: u[..., None] * x.exp(), lambda x, v: (v * x.exp()).sum(-1)),
    "relu": (torch.relu, lambda x, u: u * (x > 0), lambda x, v: v * (x > 0)),
}
CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "right": lambda g: g,
    "twice": lambda g: 2 * g,
    "sign": lambda g: -g,
    "off by 1e-3": lambda g: 1.001 * g,
    "transposed": lambda g: g.mT.contiguous() if g.shape[-1] == g.shape[-2] else g,
    "rolled": lambda g: g.roll(1, -1),
    "first row zero": lambda g: g * (torch.arange(len(g)) > 0).to(g.dtype)[:, None],
    "one entry zero": lambda g: g * (torch.arange(g.numel()) != 5).to(g.dtype).reshape(g.shape),
    "forward mode": lambda g: g,
}
PLAINS: dict[str, Callable[..., Any]] = {
    "attention": lambda q, k: torch.softmax(q @ k.mT / 2, -1) @ k,
    "loss": lambda q, k: ((q @ k.mT).tanh() - 0.3).square().mean(),
    "several": lambda q, k: {"a": (q * k).sum(-1), "b": [q.exp().sum()]},
    "cast": lambda q, k: torch.softmax(q.float(), -1).to(q.dtype) * k,
    "kinked": lambda q, k: torch.relu(q - k).sum(),
    "norm": lambda q, k: torch.linalg.norm(q, dim=-1) * k.sum(),
}


def _tensor(words: str, *shape: int, dtype: str = "float64") -> torch.Tensor:
    return torch.as_tensor(rng_of(words).normal(size=shape)).to(getattr(torch, dtype))


def _torch() -> Listed:
    def rule(seed: int, name: str, change: str, dtype: str, modes: tuple[str, ...]) -> gradproof.Report:
        x = _tensor(name, 4, 4, dtype=dtype)
        return gradproof.check(lambda x: Rule.apply(x, name, change), x, modes=modes, rng=seed)

    def plain(seed: int, name: str, dtype: str, options: dict[str, Any]) -> gradproof.Report:
        args = _tensor(name, 3, 4, dtype=dtype), _tensor(name + "2", 3, 4, dtype=dtype)
        return gradproof.check(PLAINS[name], args, **options, rng=seed)

    for name in RULES:
        for change in CHANGES:
            for dtype in ("float64", "float32", "bfloat16", "float16"):
                low = dtype in ("bfloat16", "float16")
                if low and change not in ("right", "twice", "rolled"):
                    continue
                modes = ("rev", "fwd") if dtype == "float64" else ("rev",)
                yield (
                    f"torch/rule/{name}/{change}/{dtype}", "torch" if dtype == "float64" else f"torch, {dtype}",
                    ft.partial(rule, name=name, change=change, dtype=dtype, modes=modes),
                )  # fmt: skip
    for name in PLAINS:
        for dtype in ("float64", "float32", "bfloat16"):
            for words, options in (
                ("rev", {"modes": ("rev",)}), ("all", {}), ("entries", {"modes": ("rev",), "level": "entries"}),
            ):  # fmt: skip
                yield (
                    f"torch/plain/{name}/{dtype}/{words}", "torch" if dtype == "float64" else f"torch, {dtype}",
                    ft.partial(plain, name=name, dtype=dtype, options=options),
                )  # fmt: skip
        if name not in ("cast", "several"):
            yield (
                f"torch/plain/{name}/order 2",
                "torch, order 2",
                ft.partial(plain, name=name, dtype="float64", options={"order": 2}),
            )


class Layer(torch.nn.Module):
    def __init__(self, size: int, rule: str, change: str) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(size, size)
        self.told = rule, change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = Rule.apply(self.linear(x), *self.told)
        return y if y.ndim == x.ndim else y[:, None] + x


def _modules() -> Listed:
    """Small models through check_module, of which one layer may be wrong; training, dropout, batch norm."""
    from gradproof.torch import check_module

    def run(seed: int, rule: str, change: str, at: int, extra: str, dtype: str, wrt: str) -> gradproof.Report:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[torch.nn.Module] = [Layer(4, rule, change if k == at else "right") for k in range(2)]
            more = {
                "dropout": torch.nn.Dropout(0.2),
                "norm": torch.nn.BatchNorm1d(4),
                "layer norm": torch.nn.LayerNorm(4),
            }
            layers += [more[extra]] if extra in more else []
            model = torch.nn.Sequential(*layers, torch.nn.Linear(4, 1)).to(getattr(torch, dtype))
            if extra == "frozen":
                model[0].requires_grad_(False)
            batch = _tensor("batch", 5, 4, dtype=dtype), _tensor("targets", 5, 1, dtype=dtype)
            loss = lambda model, batch: (model(batch[0]) - batch[1]).square().mean()  # noqa: E731
            return check_module(model, loss, batch, wrt=wrt, rng=seed)

    for rule in ("sin", "softmax", "relu"):
        for change in ("right", "twice", "off by 1e-3", "rolled"):
            for at, extra in ((0, ""), (1, "dropout"), (1, "norm"), (0, "layer norm"), (1, "frozen")):
                dtype = "float32" if extra in ("", "norm") and change in ("right", "twice") else "float64"
                yield (
                    f"module/{rule}/{change}/{at}/{extra or 'bare'}/{dtype}", "module",
                    ft.partial(run, rule=rule, change=change, at=at, extra=extra, dtype=dtype, wrt="parameters"),
                )  # fmt: skip


def _jax() -> Listed:
    """Functions and rules of JAX, right and wrong. (Few: each is compiled.)"""

    def run(seed: int, name: str, change: str, options: dict[str, Any], dtype: str) -> gradproof.Report:
        import jax
        import jax.numpy as jnp

        factor = {"right": 1.0, "twice": 2.0, "sign": -1.0, "off by 1e-2": 1.01}[change]

        @jax.custom_jvp
        def forward(x: Any) -> Any:
            return jnp.sin(x)

        forward.defjvp(lambda p, t: (forward(*p), factor * jnp.cos(p[0]) * t[0]))

        @jax.custom_vjp
        def reverse(x: Any) -> Any:
            return x**3

        reverse.defvjp(lambda x: (x**3, x), lambda x, u: (factor * 3 * u * x**2,))
        f = {
            "custom_jvp": lambda x: jnp.sum(forward(x) * x),
            "custom_vjp": lambda x: jnp.sum(reverse(x)),
            "custom_vjp, many": lambda x: jnp.tanh(reverse(x)).sum(-1),
            "softmax": lambda x: jax.nn.softmax(x, -1),
            "relu": lambda x: jnp.sum(jax.nn.relu(x)),
        }[name]
        x = jnp.asarray(rng_of(name).normal(size=(3, 4)), dtype)
        return gradproof.check(f, x, **options, rng=seed)

    for name in ("custom_jvp", "custom_vjp", "custom_vjp, many", "softmax", "relu"):
        for change in ("right", "twice", "sign", "off by 1e-2") if "custom" in name else ("right",):
            modes = ("rev", "fwd") if "vjp" not in name else ("rev",)
            for dtype in ("float32", "bfloat16") if change in ("right", "twice") else ("float32",):
                yield (
                    f"jax/{name}/{change}/{dtype}", "jax",
                    ft.partial(run, name=name, change=change, options={"modes": modes}, dtype=dtype),
                )  # fmt: skip
    yield "jax/softmax/all modes", "jax", ft.partial(run, name="softmax", change="right", options={}, dtype="float32")
    yield (
        "jax/custom_jvp/order 2",
        "jax",
        ft.partial(run, name="custom_jvp", change="right", options={"order": 2}, dtype="float32"),
    )


# ------------------------------------------------------------------------------- contracts, options, forms, orders

X4 = np.array([0.5, 1.0, 1.5, -0.7])
MATRIX = np.random.default_rng(5).normal(size=(6, 4))
PARAMETERS = {"w": np.random.default_rng(6).normal(size=(3, 4)), "b": np.array([0.1, -0.4, 0.3]), "scale": 1.7}


def _wide(x: Array) -> Array:
    return np.tanh(MATRIX @ x)


def _wide_jac(x: Array) -> Array:
    return (1 - np.tanh(MATRIX @ x) ** 2)[:, None] * MATRIX


def _sine(x: Array) -> Array:
    return np.sin(x).sum()


class Remembering:
    """A claim whose buffer is cleared in part, or that is random, changes what it is given, or returns its argument."""

    def __init__(self, keyword: str, habit: str) -> None:
        self.keyword, self.habit, self.calls = keyword, habit, 0
        self.buffers: dict[Any, Array] = {}
        self.rng = rng_of(keyword, habit)

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        *vectors, x = args
        jac = np.cos(x) if self.keyword == "grad" else _wide_jac(x)
        found = {
            "grad": lambda: jac, "jac": lambda: jac, "vjp": lambda: vectors[0] @ jac, "jvp": lambda: jac @ vectors[0],
        }[self.keyword]()  # fmt: skip
        if self.habit == "accumulates":
            buffer = self.buffers.setdefault(found.shape, np.zeros_like(found))
            buffer += found
            return buffer.copy()
        if self.habit == "own buffer":
            buffer = self.buffers.setdefault(found.shape, np.zeros_like(found))
            buffer[:] = found
            return buffer
        if self.habit == "random":
            return found * (1 + 1e-2 * self.rng.normal(size=found.shape))
        if self.habit == "slightly random":
            return found * (1 + 1e-12 * self.rng.normal(size=found.shape))
        if self.habit == "changes x":
            x += 1
        if self.habit == "changes vector" and vectors:
            vectors[0][:] = 0
        if self.habit == "second call wrong" and self.calls > 1:
            return 2 * found
        if self.habit == "first call wrong" and self.calls == 1:
            return 2 * found
        if self.habit == "not linear" and vectors:
            return found * np.abs(vectors[0]).sum()
        if self.habit == "affine":
            return found + 0.1
        if self.habit == "raises":
            raise ValueError("no derivative today")
        if self.habit == "nan":
            return np.where(np.arange(found.size).reshape(found.shape) == 1, np.nan, found)
        if self.habit == "float32":
            return found.astype(np.float32)
        if self.habit == "integers":
            return np.round(found).astype(int)
        if self.habit == "flat":
            return found.reshape(1, -1)
        if self.habit == "transposed":
            return found.T if found.ndim > 1 else found[::-1]
        if self.habit == "list":
            return found.tolist()
        if self.habit == "None":
            return None
        return found


HABITS = (
    "plain", "accumulates", "own buffer", "random", "slightly random", "changes x", "changes vector",
    "second call wrong", "first call wrong", "not linear", "affine", "raises", "nan", "float32", "integers", "flat",
    "transposed", "list", "None",
)  # fmt: skip


def _contracts() -> Listed:
    def run(seed: int, keyword: str, habit: str, contracts: str) -> gradproof.Report:
        f = _sine if keyword == "grad" else _wide
        claim: Any = {keyword: Remembering(keyword, habit)}
        return gradproof.check(f, X4, **claim, contracts=contracts, rng=seed)

    for keyword in ("grad", "jac", "vjp", "jvp"):
        for habit in HABITS:
            for contracts in ("default", "none"):
                yield (
                    f"contracts/{keyword}/{habit}/{contracts}", "contracts",
                    ft.partial(run, keyword=keyword, habit=habit, contracts=contracts),
                )  # fmt: skip

    def impure(seed: int, habit: str) -> gradproof.Report:
        generator, count = rng_of(habit), [0]

        def f(x: Array) -> Any:
            count[0] += 1
            value = np.sin(x).sum()
            if habit == "changes x":
                x *= 2
            return {
                "noisy": lambda: value * (1 + 1e-6 * generator.normal()),
                "very noisy": lambda: value + generator.normal(),
                "drifts": lambda: value + 1e-9 * count[0],
                "constant": lambda: 3.0,
                "stands still": lambda: float(np.sin(X4).sum()),
                "nan away": lambda: value if np.array_equal(x, X4) else np.nan,
                "raises away": lambda: value if np.array_equal(x, X4) else 1 / 0,
                "isolated": lambda: value + 0.1 * np.array_equal(x, X4),
                "a list": lambda: [value],
                "a vector": lambda: np.sin(x),
                "complex": lambda: value + 1j,
                "huge": lambda: 1e300 * value,
                "tiny": lambda: 1e-300 * value,
                "offset": lambda: 1e9 + value,
            }.get(habit, lambda: value)()

        factor = {"huge": 1e300, "tiny": 1e-300, "constant": 0.0}.get(habit, 1.0)
        return gradproof.check(f, X4, grad=lambda x: factor * np.cos(x), rng=seed)

    for habit in ("changes x", "noisy", "very noisy", "drifts", "constant", "stands still", "nan away", "raises away",
                  "isolated", "a list", "a vector", "complex", "huge", "tiny", "offset"):  # fmt: skip
        yield f"contracts/f/{habit}", "contracts", ft.partial(impure, habit=habit)


def _model(p: dict[str, Any]) -> Array:
    return (np.tanh(p["w"] @ X4 + p["b"]) * p["scale"]).sum()


def _model_grad(p: dict[str, Any]) -> dict[str, Any]:
    hidden = np.tanh(p["w"] @ X4 + p["b"])
    back = p["scale"] * (1 - hidden**2)
    return {"w": np.outer(back, X4), "b": back, "scale": float(hidden.sum())}


TREES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "right": lambda g: g,
    "w twice": lambda g: {**g, "w": 2 * g["w"]},
    "w and b twice": lambda g: {**g, "w": 2 * g["w"], "b": 2 * g["b"]},
    "all halved": lambda g: {k: v / 2 for k, v in g.items()},
    "b zero": lambda g: {**g, "b": 0 * g["b"]},
    "scale off by 1e-5": lambda g: {**g, "scale": g["scale"] * (1 + 1e-5)},
    "b missing": lambda g: {k: v for k, v in g.items() if k != "b"},
    "one too many": lambda g: {**g, "c": 1.0},
    "w transposed": lambda g: {**g, "w": g["w"].T},
    "w flat": lambda g: {**g, "w": g["w"].ravel()},
    "b None": lambda g: {**g, "b": None},
    "a list": lambda g: list(g.values()),
    "decayed": lambda g: {**g, "w": g["w"] + 1e-3 * PARAMETERS["w"]},
}


def _options() -> Listed:
    """A tree of parameters under every option."""
    options: dict[str, dict[str, Any]] = {
        "usual": {},
        "entries": {"level": "entries"},
        "rtol": {"rtol": 1e-3},
        "rtol, fine": {"rtol": 1e-9},
        "max_bound": {"max_bound": 1e-5},
        "confidence": {"confidence": 0.9},
        "domain": {"domain": (-3.0, 3.0)},
        "reference": {"reference": lambda p: _model({k: np.asarray(v, np.longdouble) for k, v in p.items()})},
        "none": {"contracts": "none"},
    }
    for words, more in options.items():
        for change, spoil in TREES.items():
            yield (
                f"options/{words}/{change}", "entries" if words == "entries" else "grad, tree",
                ft.partial(
                    _ask, f=_model, x=PARAMETERS, claim={"grad": lambda p, spoil=spoil: spoil(_model_grad(p))}, **more
                ),
            )  # fmt: skip

    def vectorized(seed: int, factor: float, keyword: str) -> gradproof.Report:
        if keyword == "grad":
            return gradproof.check(
                lambda x: np.sin(x).sum(-1), X4, grad=lambda x: factor * np.cos(x), vectorized=True, rng=seed
            )
        return gradproof.check(
            lambda x: np.tanh(x @ MATRIX.T), X4, jac=lambda x: factor * _wide_jac(x), vectorized=True, rng=seed
        )

    for factor in (1.0, 1.001, -1.0):
        for keyword in ("grad", "jac"):
            yield (
                f"options/vectorized/{keyword}/x{factor:g}",
                "grad, float64" if keyword == "grad" else "jac",
                ft.partial(vectorized, factor=factor, keyword=keyword),
            )


def _second() -> Listed:
    """Second derivatives, alone and beside a gradient, at kinks and of flat functions, in both precisions."""
    pull = MATRIX.T @ MATRIX
    functions: dict[str, tuple[Any, Any, Any]] = {
        "sines": (lambda x: np.sin(x).sum(), np.cos, lambda x: -np.diag(np.sin(x))),
        "quadratic": (lambda x: 0.5 * x @ pull @ x, lambda x: pull @ x, lambda x: pull),
        "linear": (lambda x: MATRIX[0] @ x, lambda x: MATRIX[0], lambda x: np.zeros((4, 4))),
        "kinked": (lambda x: np.abs(x).sum() + 0.5 * x @ x, lambda x: np.sign(x) + x, lambda x: np.eye(4)),
        "squared relu": (
            lambda x: (np.maximum(x, 0) ** 2).sum(), lambda x: 2 * np.maximum(x, 0), lambda x: np.diag(2.0 * (x > 0)),
        ),
        "product": (
            lambda x: np.prod(x), lambda x: np.prod(x) / x,
            lambda x: np.prod(x) / np.outer(x, x) * (1 - np.eye(4)),
        ),
    }  # fmt: skip
    spoils: dict[str, Callable[[Array], Array]] = {
        "right": lambda h: h,
        "twice": lambda h: 2 * h,
        "sign": lambda h: -h,
        "one entry": lambda h: h + 0.1 * np.outer(np.eye(4)[1], np.eye(4)[2]),
        "diagonal": lambda h: np.diag(np.diag(h)),
        "off by 1e-3": lambda h: 1.001 * h,
        "one row": lambda h: h * np.array([1, 1, 0.5, 1])[:, None],
    }

    def run(seed: int, name: str, spoil: str, way: str, at: str, dtype: str) -> gradproof.Report:
        f, grad, hess = functions[name]
        x = (X4 if at == "usual" else np.where(np.arange(4) == 1, 0.0, X4)).astype(dtype)
        wrong = lambda x: spoils[spoil](hess(x)).astype(dtype)  # noqa: E731
        claims: Any = {"hvp": lambda v, x: wrong(x) @ v} if "hvp" in way else {"hess": wrong}
        if "grad" in way:
            claims["grad"] = (lambda x: 1.01 * grad(x)) if "wrong" in way else grad
        level = "entries" if "entries" in way else "certificate"
        return gradproof.check(lambda x: np.asarray(f(x), dtype)[()], x, **claims, level=level, rng=seed)

    for name in functions:
        for spoil in spoils:
            for way in ("hess", "hvp", "grad and hess", "grad and hvp", "wrong grad and hess", "hess, entries"):
                if way in ("wrong grad and hess", "hess, entries") and spoil not in ("right", "one entry"):
                    continue
                rng = rng_of("second", name, spoil, way)
                at = "usual" if name == "product" or rng.random() < 0.6 else "kink"
                dtype = "float32" if rng.random() < 0.25 else "float64"
                yield (
                    f"second/{name}/{spoil}/{way}/{at}/{dtype}", way,
                    ft.partial(run, name=name, spoil=spoil, way=way, at=at, dtype=dtype),
                )  # fmt: skip


def _forms() -> Listed:
    """Jacobians and products in other forms and sizes: sparse, operators, trees, many outputs, rows that vanish."""
    spoils: dict[str, Callable[[Array], Array]] = {
        "right": lambda j: j,
        "twice": lambda j: 2 * j,
        "rows twice": lambda j: j * np.where(np.arange(len(j)) < 2, 2.0, 1.0)[:, None],
        "column zero": lambda j: j * (np.arange(j.shape[1]) != 1),
        "one entry": lambda j: j + 0.2 * (np.arange(j.size) == j.size // 3).reshape(j.shape) * np.abs(j).max(),
        "entry off by 1e-3": lambda j: j * np.where((np.arange(j.size) == j.size // 2).reshape(j.shape), 1.001, 1.0),
        "row swapped": lambda j: j[np.r_[1, 0, 2 : len(j)]],
        "shifted": lambda j: np.roll(j, 1, axis=1),
        "symmetrised": lambda j: (j + j.T) / 2 if j.shape[0] == j.shape[1] else j,
    }
    shapes = {"tall": (12, 4), "wide": (3, 10), "square": (5, 5), "large": (40, 30), "single": (1, 7), "column": (9, 1)}

    def run(seed: int, shape: str, spoil: str, form: str, dtype: str) -> gradproof.Report:
        rng = rng_of("forms", shape)
        matrix = (rng.normal(size=shapes[shape]) / np.sqrt(shapes[shape][1])).astype(dtype)
        matrix = matrix * (rng.random(matrix.shape) < 0.5) if form in ("sparse", "operator") else matrix
        x = rng.normal(size=shapes[shape][1]).astype(dtype)
        right = (1 - np.tanh(matrix @ x) ** 2)[:, None] * matrix
        wrong = spoils[spoil](right).astype(dtype) if len(right) > 1 or spoil != "row swapped" else right
        claim: Any = {"jac": wrong}
        if form == "vjp":
            claim = {"vjp": lambda u, x: u @ wrong}
        elif form == "jvp":
            claim = {"jvp": lambda v, x: wrong @ v}
        elif form in ("sparse", "operator"):
            import scipy.sparse
            import scipy.sparse.linalg

            sparse = scipy.sparse.csr_array(wrong)
            claim = {"jac": sparse if form == "sparse" else scipy.sparse.linalg.aslinearoperator(sparse)}
        options: dict[str, Any] = {"level": "entries"} if form == "entries" else {}
        return gradproof.check(lambda x: np.tanh(matrix @ x), x, **claim, **options, rng=seed)

    for shape in shapes:
        for spoil in spoils:
            if spoil == "row swapped" and shapes[shape][0] < 2:
                continue
            for form in ("jac", "vjp", "jvp", "sparse", "operator", "entries"):
                if form == "entries" and shape == "large":
                    continue
                for dtype in ("float64", "float32") if form in ("jac", "vjp", "jvp") else ("float64",):
                    yield (
                        f"forms/{shape}/{spoil}/{form}/{dtype}",
                        form if form in ("vjp", "jvp", "entries") else "jac",
                        ft.partial(run, shape=shape, spoil=spoil, form=form, dtype=dtype),
                    )
