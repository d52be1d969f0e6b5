"""Random programs with exact derivatives: does `gradproof.check` say what is true of them?

    PYTHONPATH=src python benchmarks/fuzz.py --count 5000 --half both

A number is a claim: it draws a program, a point, a kind of claim and perhaps a mistake. The programs are written in
torch, so that autograd in float64 has their derivatives; gradproof sees them as NumPy functions with a claim, or as
torch functions. `--only NUMBER` shows one. Half of the numbers are set aside (`held_out`).
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools as ft
import hashlib
import json
import math
import pathlib
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

import gradproof
from gradproof._prove._directions import natural_size

Array = np.ndarray
Tensor = torch.Tensor

FAILURES = pathlib.Path(__file__).parent / "fuzz_failures.json"
KINDS = (
    "grad",
    "grad",
    "grad",
    "jac",
    "jac",
    "vjp",
    "jvp",
    "hess",
    "hvp",
    "grad and hess",
    "entries",
    "torch",
    "torch",
)
# What a leaf's gradient may be, relative to the others', and still be nothing but their rounding.
ROUNDINGS = 64 * 2.0**-52
EPS = 2.0**-52


def held_out(number: int) -> bool:
    """Whether a number is set aside: not looked at while the engine is tuned."""
    return bool(hashlib.sha256(f"fuzz {number}".encode()).digest()[0] & 1)


# ---------------------------------------------------------------------------------------------- programs

SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": torch.sin,
    "tanh": torch.tanh,
    "exp": lambda x: torch.exp(torch.tanh(x / 4)),
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "log": lambda x: torch.log(1.5 + x * x),
    "root": lambda x: torch.sqrt(0.3 + x * x),
    "square": lambda x: x * x,
    "over": lambda x: 1 / (2.5 + torch.sin(x)),
    "cubic": lambda x: x * x * x / 3,
    "gelu": torch.nn.functional.gelu,
    "erf": torch.erf,
    "scaled": lambda x: 0.01 * x,
    "shifted": lambda x: x + 3.0,
}
KINKED: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "abs": torch.abs,
    "leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
    "clip": lambda x: torch.clamp(x, -1.0, 1.0),
    "huber": lambda x: torch.where(x.abs() < 1, x * x / 2, x.abs() - 0.5),
}
ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: torch.softmax(x, -1),
    "logsoftmax": lambda x: torch.log_softmax(x, -1),
    "norm": lambda x: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-3),
    "cumsum": lambda x: torch.cumsum(x, -1),
    "flip": lambda x: torch.flip(x, (-1,)),
    "sort": lambda x: torch.sort(x, -1).values,
    "centred": lambda x: x - x.mean(-1, keepdim=True),
}
REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(-1),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "norm2": lambda x: torch.sqrt((x * x).sum(-1) + 1e-2),
    "prod": lambda x: torch.tanh(x).prod(-1),
}
KINKED_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {"max": lambda x: x.max(-1).values}
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - 0.7 * b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (1 + b * b),
}


def fit(x: Tensor, columns: int) -> Tensor:
    """x with a last axis of some length: cut, or repeated."""
    x = x.reshape(-1) if x.ndim == 0 else x
    return x[..., torch.arange(columns) % x.shape[-1]]


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation: its name, the values it takes, and constants of its own."""

    name: str
    sources: tuple[int, ...]
    apply: Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class Program:
    """Operations on the leaves; the result is a vector, or its sum with fixed weights."""

    names: tuple[str, ...]
    steps: tuple[Step, ...]
    weights: tuple[float, ...]

    def vector(self, leaves: Sequence[Tensor]) -> Tensor:
        values = list(leaves)
        for step in self.steps:
            values.append(step.apply(*(values[k] for k in step.sources)))
        return fit(values[-1].reshape(-1), len(self.weights))

    def scalar(self, leaves: Sequence[Tensor]) -> Tensor:
        return self.vector(leaves) @ torch.tensor(self.weights, dtype=torch.float64)

    def __str__(self) -> str:
        return "; ".join(f"{k + len(self.names)}: {step.name}{step.sources}" for k, step in enumerate(self.steps))


def matmul(rng: np.random.Generator, size: int, gain: float) -> Callable[[Tensor], Tensor]:
    rows = int(rng.integers(1, 6))
    matrix = torch.tensor(gain * rng.normal(size=(size, rows)) / math.sqrt(size))
    return lambda x: fit(x, size) @ matrix


def draw_program(rng: np.random.Generator, names: tuple[str, ...], used: Sequence[int], kinks: bool) -> Program:
    """Some operations in a row, which reach every used leaf."""
    steps: list[Step] = []
    count = len(names)
    waiting = list(used)
    latest = waiting.pop(0)
    for _ in range(int(rng.integers(2, 9))):
        choice = rng.random()
        if waiting and choice < 0.45:
            other, kind = waiting.pop(0), str(rng.choice(list(TWO)))
            columns = int(rng.integers(1, 5))
            apply = ft.partial(lambda op, c, a, b: op(fit(a, c), fit(b.reshape(-1), c)), TWO[kind], columns)
            steps.append(Step(kind, (latest, other), apply))
        elif choice < 0.6:
            pool = {**SMOOTH, **KINKED} if kinks else SMOOTH
            kind = str(rng.choice(list(pool)))
            steps.append(Step(kind, (latest,), pool[kind]))
        elif choice < 0.75:
            size = int(rng.integers(1, 6))
            steps.append(Step("matmul", (latest,), matmul(rng, size, float(rng.choice([0.5, 1.0, 2.0])))))
        elif choice < 0.88:
            pool = ROWS if kinks else {k: v for k, v in ROWS.items() if k != "sort"}
            kind = str(rng.choice(list(pool)))
            steps.append(
                Step(
                    kind,
                    (latest,),
                    ft.partial(lambda op, x: op(fit(x, max(2, x.shape[-1] if x.ndim else 1))), pool[kind]),
                )
            )
        elif choice < 0.94:
            pool = {**REDUCE, **KINKED_REDUCE} if kinks else REDUCE
            kind = str(rng.choice(list(pool)))
            steps.append(Step(kind, (latest,), ft.partial(lambda op, x: op(x) if x.ndim else x, pool[kind])))
        else:
            kind, back = str(rng.choice(list(TWO))), int(rng.choice(used))
            columns = int(rng.integers(1, 5))
            apply = ft.partial(lambda op, c, a, b: op(fit(a, c), fit(b.reshape(-1), c)), TWO[kind], columns)
            steps.append(Step(kind, (latest, back), apply))
        latest = count + len(steps) - 1
    for other in waiting:
        apply = ft.partial(lambda a, b: a.reshape(-1).sum() * torch.sin(b).sum() + torch.cos(b).sum())
        steps.append(Step("times", (latest, other), apply))
        latest = count + len(steps) - 1
    outputs = int(rng.integers(1, 7))
    return Program(names, tuple(steps), tuple(rng.normal(size=outputs)))


@dataclasses.dataclass(frozen=True)
class Claim:
    """A program at a point, with what is claimed of it.

    error : of each leaf, relative to its own true derivative in natural sizes; 0 where the claim is right.
    plain : no offsets, dead, wide or invariant leaves.
    differentiable : False at a kink, where the claim is a mixture of gradients nearby; None at a kink, where it is not.
    """

    number: int
    kind: str
    program: Program
    point: dict[str, Array]
    mistake: str
    error: dict[str, float]
    share: dict[str, float]
    plain: bool
    differentiable: bool | None
    check: Callable[[], gradproof.Report]


def draw_point(rng: np.random.Generator, plain: bool, kinks: bool) -> tuple[dict[str, Array], list[str]]:
    """Some named arrays, and the names of those that the function does not use."""
    shapes: list[tuple[int, ...]] = [(), (1,), (3,), (5,), (2, 3), (4, 4), (3, 5), (17,), (6, 8)]
    point: dict[str, Array] = {}
    for k in range(int(rng.integers(1, 5))):
        shape = shapes[int(rng.integers(len(shapes)))]
        x = rng.normal(size=shape) * float(rng.choice([0.3, 1.0, 1.0, 2.0]))
        if not plain and rng.random() < 0.3:
            x = x * 10.0 ** rng.uniform(-3, 3, size=shape)
        if not plain and rng.random() < 0.2:
            x = x + 1e3
        if kinks and rng.random() < 0.7:
            x = np.where(rng.random(shape) < 0.5, 0.0, x) if rng.random() < 0.5 else np.full(shape, 0.7)
        point["abcd"[k]] = np.asarray(x, dtype=np.float64)
    dead = [name for name in point if not plain and len(point) > 1 and rng.random() < 0.2]
    return point, dead if len(dead) < len(point) else dead[1:]


def tensors(point: dict[str, Array]) -> list[Tensor]:
    return [torch.tensor(x, dtype=torch.float64) for x in point.values()]


def jacobian(program: Program, point: dict[str, Array], scalar: bool) -> Array:
    """(m, n) in the order of the leaves."""
    leaves = [x.requires_grad_() for x in tensors(point)]
    value = program.scalar(leaves).reshape(1) if scalar else program.vector(leaves)
    rows = []
    for row in value:
        found = [torch.zeros_like(x) for x in leaves]
        if row.requires_grad:
            found = torch.autograd.grad(row, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(np.concatenate([g.detach().numpy().reshape(-1) for g in found]))
    return np.array(rows)


def hessian(program: Program, point: dict[str, Array]) -> Array:
    leaves = tensors(point)
    sizes = [x.numel() for x in leaves]

    def flat(z: Tensor) -> Tensor:
        return program.scalar([part.reshape(x.shape) for part, x in zip(torch.split(z, sizes), leaves, strict=True)])

    return torch.autograd.functional.hessian(flat, torch.cat([x.reshape(-1) for x in leaves])).numpy()


def spans(point: dict[str, Array]) -> dict[str, slice]:
    ends = np.cumsum([x.size for x in point.values()])
    return {name: slice(int(end) - x.size, int(end)) for end, (name, x) in zip(ends, point.items(), strict=True)}


def plant(rng: np.random.Generator, true: Array, place: slice) -> tuple[str, Array]:
    """A mistake in the columns of one leaf, of any size from 1e-7 to 1."""
    wrong, block = true.copy(), true[:, place]
    size = 10.0 ** rng.uniform(-7, 0)
    kind = str(rng.choice(["factor", "sign", "entry", "row", "noise", "zero", "rolled", "constant"]))
    scale = float(np.sqrt(np.mean(block**2)))
    if kind == "factor":
        wrong[:, place] = block * (1 + size)
    elif kind == "sign":
        wrong[:, place] = -block
    elif kind == "entry":
        row, column = int(rng.integers(block.shape[0])), place.start + int(rng.integers(block.shape[1]))
        wrong[row, column] += size * scale * block.shape[1]
    elif kind == "row":
        wrong[int(rng.integers(block.shape[0])), place] *= 1 + size
    elif kind == "noise":
        wrong[:, place] = block * (1 + size * rng.standard_normal(block.shape))
    elif kind == "zero":
        wrong[:, place] = 0
    elif kind == "rolled":
        wrong[:, place] = np.roll(block, 1, axis=1)
    else:
        wrong[:, place] = block + size * scale
    return kind, wrong


def errors(
    true: Array, claimed: Array, point: dict[str, Array], symmetric: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """The error of each leaf as bounds state it, and its claim's share of the largest leaf's.

    Columns count in natural sizes, and rows relative to the norm of the claimed row, or of the true one where nothing
    is claimed. The columns of a second derivative of a scalar function, which may be measured by second differences,
    count in either way: the smaller error.
    """
    natural = np.concatenate([np.broadcast_to(natural_size(x.reshape(-1)), x.size) for x in point.values()])
    norms = np.linalg.norm(claimed * natural, axis=1)
    norms = np.where(norms > 0, norms, np.linalg.norm(true * natural, axis=1))
    ways = [1 / np.where(norms > 0, norms, np.inf)]
    if symmetric:
        ways.append(natural)
    error, share = {}, {}
    for name, place in spans(point).items():
        found = []
        for weights in ways:
            off = float(np.linalg.norm((claimed - true)[:, place] * natural[place] * weights[:, None]))
            norm = float(np.linalg.norm(claimed[:, place] * natural[place] * weights[:, None]))
            found.append(0.0 if off == 0 else off / norm if norm > 0 else math.inf)
        error[name] = min(found)
        share[name] = float(np.linalg.norm(claimed[:, place] * natural[place]))
    largest = max(share.values(), default=0.0) or 1.0
    return error, {name: one / largest for name, one in share.items()}


def differentiable(program: Program, point: dict[str, Array], claimed: Array, rng: np.random.Generator) -> bool | None:
    """True where gradients nearby agree with the claim, False where it is a mixture of them, None where neither."""
    nearby = []
    for _ in range(40 + 4 * claimed.shape[1]):
        moved = {k: x + 1e-7 * rng.standard_normal(x.shape) for k, x in point.items()}
        nearby.append(jacobian(program, moved, scalar=claimed.shape[0] == 1).reshape(-1))
    limits, flat = np.array(nearby), claimed.reshape(-1)
    scale = float(np.abs(limits).max()) or 1.0
    if np.abs(limits - limits[0]).max() <= 1e-4 * scale:
        return True if np.abs(limits[0] - flat).max() <= 1e-4 * scale else None
    weights = np.vstack([limits.T / scale, np.ones(len(limits))])
    _, left = nnls(weights, np.append(flat / scale, 1.0), maxiter=100 * len(limits))
    return False if left < 1e-4 else None


class _Warped(torch.autograd.Function):
    """Returns a value, and as its gradient what is claimed."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factors: tuple[Tensor, ...], *leaves: Tensor) -> Tensor:
        ctx.factors = factors
        return value.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:  # pyright: ignore
        return (None, None, *(cotangent * claimed for claimed in ctx.factors))


def draw_claim(number: int) -> Claim | None:
    """The claim of a number; None where the program is not defined at its point, or has no derivative to speak of."""
    rng = np.random.default_rng([number, 977])
    kind = str(rng.choice(KINDS))
    plain, kinks = bool(rng.random() < 0.5), bool(rng.random() < 0.25)
    at_kink = kinks and plain and kind in ("grad", "torch", "entries") and bool(rng.random() < 0.6)
    point, dead = draw_point(rng, plain, at_kink)
    names = tuple(point)
    used = [k for k, name in enumerate(names) if name not in dead]
    program = draw_program(rng, names, used, kinks and kind not in ("hess", "hvp", "grad and hess"))
    scalar = kind not in ("jac", "vjp", "jvp")
    second = kind in ("hess", "hvp", "grad and hess")
    value = program.vector(tensors(point)).numpy()
    first = jacobian(program, point, scalar)
    true = hessian(program, point) if second else first
    largest = np.abs(true).max()
    if not (np.isfinite(value).all() and np.isfinite(true).all() and largest > max(1e-8 * np.abs(value).max(), 1e-200)):
        return None
    claimed, mistake = true.copy(), ""
    if rng.random() < 0.5 and not at_kink:
        felt = [name for name, place in spans(point).items() if np.abs(true[:, place]).max() > 0]
        mistake, claimed = plant(rng, true, spans(point)[str(rng.choice(felt))])
    # Second derivatives are claimed of one flat array.
    seen = {"z": np.concatenate([x.reshape(-1) for x in point.values()])} if second else point
    error, share = errors(true, claimed, seen, second)
    smooth = differentiable(program, point, claimed, rng) if at_kink else True
    return Claim(
        number=number, kind=kind, program=program, point=point, mistake=mistake, error=error, share=share, plain=plain,
        differentiable=smooth, check=ft.partial(run, number, kind, program, point, first, claimed),
    )  # fmt: skip


def run(
    number: int, kind: str, program: Program, point: dict[str, Array], first: Array, claimed: Array
) -> gradproof.Report:
    """Check the claim as a user would."""
    seed = number % 2**31
    places, shapes = spans(point), {name: x.shape for name, x in point.items()}

    def tree(row: Array) -> dict[str, Array]:
        return {name: row[place].reshape(shapes[name]).copy() for name, place in places.items()}

    def flat(p: dict[str, Array]) -> Array:
        return np.concatenate([np.asarray(p[name]).reshape(-1) for name in places])

    def scalar(p: dict[str, Array]) -> float:
        return float(program.scalar(tensors(p)))

    def vector(p: dict[str, Array]) -> Array:
        return program.vector(tensors(p)).numpy()

    def product(v: Any, p: dict[str, Array]) -> Any:
        return tree(np.asarray(v).reshape(-1) @ claimed)

    if kind == "grad":
        return gradproof.check(scalar, point, grad=lambda p: tree(claimed[0]), rng=seed)
    if kind == "entries":
        return gradproof.check(scalar, point, grad=tree(claimed[0]), level="entries", rng=seed)
    if kind == "jac":
        blocks = {name: claimed[:, place].reshape(-1, *shapes[name]) for name, place in places.items()}
        return gradproof.check(vector, point, jac=lambda p: blocks, rng=seed)
    if kind == "vjp":
        return gradproof.check(vector, point, vjp=product, rng=seed)
    if kind == "jvp":
        return gradproof.check(vector, point, jvp=lambda t, p: claimed @ flat(t), rng=seed)
    if kind in ("hess", "hvp", "grad and hess"):
        # One array in place of the tree: the Hessian of a dict is a dict of dicts, which says nothing more.
        x = flat(point)

        def of_array(z: Array) -> float:
            return scalar(tree(z))

        if kind == "hvp":
            return gradproof.check(of_array, x, hvp=lambda v, z: claimed @ v, rng=seed)
        if kind == "hess":
            return gradproof.check(of_array, x, hess=lambda z: claimed, rng=seed)

        def gradient(z: Array) -> Array:
            return jacobian(program, tree(z), scalar=True)[0]

        return gradproof.check(of_array, x, grad=gradient, hess=lambda z: claimed, rng=seed)
    leaves = tensors(point)
    if np.array_equal(claimed, first):
        return gradproof.check(lambda *z: program.scalar(z), tuple(leaves), modes=("rev",), rng=seed)
    factors = tuple(torch.tensor(one) for one in tree(claimed[0]).values())

    def warped(*z: Tensor) -> Tensor:
        with torch.no_grad():
            value = program.scalar(z)
        return _Warped.apply(value, factors, *z)

    return gradproof.check(warped, tuple(leaves), modes=("rev",), rng=seed)


# ---------------------------------------------------------------------------------------------- judging


def judge(claim: Claim, report: gradproof.Report) -> list[str]:
    """What is wrong with a report, if anything."""
    verdict, faults = report.verdict.value, []
    leaves = [leaf for leaf in report.leaves if "second order" in leaf.path] or list(report.leaves)
    if len(leaves) != len(claim.error):
        return [f"{len(leaves)} leaves for {len(claim.error)} arrays"]
    matched = {
        name: (claim.error[name], claim.share[name], leaf) for name, leaf in zip(claim.error, leaves, strict=True)
    }
    right = all(error == 0 for error, _, _ in matched.values())
    if right and verdict == "WRONG" and claim.differentiable is not None:
        faults.append("right, called WRONG")
    if verdict == "CORRECT" and not any(leaf.bound is not None for leaf in report.leaves):
        faults.append("CORRECT, and nothing was tested")
    for name, (error, share, leaf) in matched.items():
        called = leaf.verdict.value
        flat = share <= ROUNDINGS and leaf.bound is None
        if called == "CORRECT" and error > 0 and not flat:
            bound = math.nan if leaf.bound is None else leaf.bound
            if not error <= bound * (1 + min(error, 0.05)):
                faults.append(f"{name or leaf.path} CORRECT with an error of {error:.2g}, bound {bound:.2g}")
        if called == "WRONG" and error == 0 and claim.differentiable is not None and not right:
            faults.append(f"{name} is innocent, called WRONG")
        if verdict == "WRONG" and error > 1e-2 and called != "WRONG":
            faults.append(f"{name} is off by {error:.2g}, called {called}")
    n = sum(x.size for x in claim.point.values())
    if claim.kind != "entries" and report.cost.evaluations > 1000 + 4 * min(n, 1000):
        faults.append(f"{report.cost.evaluations} evaluations")
    return faults


@dataclasses.dataclass(frozen=True)
class Outcome:
    number: int
    kind: str
    mistake: str
    plain: bool
    at_kink: bool
    right: bool
    verdict: str
    reason: str
    evaluations: int
    faults: tuple[str, ...]


def outcome(number: int) -> Outcome | None:
    """Draw, check and judge one number."""
    claim = draw_claim(number)
    if claim is None:
        return None
    right = not any(claim.error.values())
    common: dict[str, Any] = {
        "number": number, "kind": claim.kind, "mistake": claim.mistake, "plain": claim.plain,
        "at_kink": claim.differentiable is not True, "right": right,
    }  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = claim.check()
    except Exception as error:  # a benchmark goes on
        words = f"{type(error).__name__}: {str(error)[:200]}"
        return Outcome(**common, verdict="CRASH", reason="", evaluations=0, faults=(words,))
    return Outcome(
        **common, verdict=report.verdict.value, reason="" if report.reason is None else report.reason.value,
        evaluations=report.cost.evaluations, faults=tuple(judge(claim, report)),
    )  # fmt: skip


def show(number: int) -> None:
    claim = draw_claim(number)
    if claim is None:
        print(f"{number}: no claim")
        return
    print(
        f"{number}: {claim.kind}, mistake {claim.mistake or 'none'}, plain {claim.plain}, set aside {held_out(number)}"
    )
    print(claim.program, "error", claim.error, "share", claim.share, "differentiable", claim.differentiable)
    print({name: x.tolist() for name, x in claim.point.items()})
    report = claim.check()
    print(report)
    print(judge(claim, report))


def summary(outcomes: Sequence[Outcome], label: str) -> None:
    faults = [(one, words) for one in outcomes for words in one.faults]
    kinds = collections.Counter("crash" if one.verdict == "CRASH" else _kind(words) for one, words in faults)
    print(f"\n{label}: {len(outcomes)} claims, {sum(one.right for one in outcomes)} right")
    for words in (*FAULTS, "crash"):
        print(f"  {words + ':':45}{kinds.get(words, 0)}")
    for words, plain in (("plain", True), ("with offsets, dead and wide leaves", False)):
        some = [one for one in outcomes if one.right and not one.at_kink and one.plain == plain]
        undecided = sum(one.verdict == "INCONCLUSIVE" for one in some)
        print(f"  right, {words}, INCONCLUSIVE: {undecided} of {len(some)} ({undecided / max(len(some), 1):.1%})")
    wrong = [one for one in outcomes if not one.right]
    print(f"  wrong: {dict(collections.Counter(one.verdict for one in wrong))}")
    evaluations = [one.evaluations for one in outcomes if one.verdict == "CORRECT"]
    if evaluations:
        print(
            f"  evaluations of CORRECT: median {np.median(evaluations):.0f}, 90 % {np.quantile(evaluations, 0.9):.0f}"
        )


FAULTS = (
    "right, called WRONG", "CORRECT, nothing tested", "CORRECT, error above bound", "innocent leaf accused",
    "wrong leaf not named", "too many evaluations", "other",
)  # fmt: skip


def _kind(words: str) -> str:
    for part, kind in (
        ("right, called", FAULTS[0]), ("nothing was", FAULTS[1]), ("CORRECT with", FAULTS[2]), ("innocent", FAULTS[3]),
        ("is off by", FAULTS[4]), ("evaluations", FAULTS[5]),
    ):  # fmt: skip
        if part in words:
            return kind
    return FAULTS[6]


def recorded() -> list[dict[str, Any]]:
    """The numbers that once failed: `number`, `fault`, and `open` where it is not mended yet."""
    return json.loads(FAILURES.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="how many claims")
    parser.add_argument("--first", type=int, default=0, help="the first number")
    parser.add_argument("--half", choices=("tuned", "held-out", "both"), default="tuned")
    parser.add_argument("--only", type=int, nargs="*", help="show these numbers")
    parser.add_argument("--record", action="store_true", help=f"add what fails to {FAILURES.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only:
        for number in options.only:
            show(number)
        return
    started, outcomes, number = time.perf_counter(), [], options.first
    while len(outcomes) < options.count:
        if options.half == "both" or held_out(number) == (options.half == "held-out"):
            one = outcome(number)
            if one is not None:
                outcomes.append(one)
                if one.faults and not held_out(number):
                    print(f"{number} [{one.kind}, {one.mistake or 'right'}] {one.verdict} {one.reason}: "
                          f"{'; '.join(one.faults)}", flush=True)  # fmt: skip
        number += 1
    for label, aside in (("tuned on", False), ("set aside", True)):
        some = [one for one in outcomes if held_out(one.number) == aside]
        if some:
            summary(some, label)
    print(f"\nnumbers {options.first} to {number - 1}; {time.perf_counter() - started:.0f} s")
    if options.record:
        known = recorded()
        there = {one["number"] for one in known}
        known += [
            {"number": one.number, "fault": "; ".join(one.faults), "open": True}
            for one in outcomes
            if one.faults and one.number not in there
        ]
        FAILURES.write_text(json.dumps(sorted(known, key=lambda one: one["number"]), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
