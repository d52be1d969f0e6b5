"""Kernels with the mistakes of blocks, masks, strides and edges, and their right twins: what `check_kernel` says.

They are written in plain PyTorch as a kernel in blocks would compute: a grid of programs, a mask for the last one, and
tensors read by their address. Every wrong one has a twin that is right. Run as

    python benchmarks/kernels.py [--seeds 20] [NAME...]

It prints a line for each kernel: how often the verdict was as it should be, by which finding, and the smallest size.
The exit code is 1 if any verdict, finding or size was another one.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

import gradproof.torch

BLOCK = 16
# A few of the sizes that are tried by default, and one layout, unless the kernel is about others: for speed.
EDGES = (0, 1, 2, 15, 16, 17, 32, 33)
FEW: Mapping[str, Any] = {"sizes": EDGES, "layouts": ("sliced",)}


class Kernel(torch.autograd.Function):
    """A kernel of one or two tensors: subclasses say what it computes, and its gradient."""

    @classmethod
    def forward(cls, ctx: Any, *args: Any) -> Any:
        ctx.save_for_backward(*args)
        return cls.value(*args)

    @classmethod
    def backward(cls, ctx: Any, grad: Any) -> Any:
        return cls.gradient(grad, *ctx.saved_tensors)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A kernel, and what should be said of it.

    Attributes
    ----------
    function, make_inputs : callable
    options : mapping
        Of `check_kernel`.
    id : str
        Of the finding; empty for a right kernel.
    where : str
        What the finding's place ends with: the smallest case.
    said : str
        What the finding says of the sizes.
    """

    function: Any
    make_inputs: Callable[..., Any]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    id: str = ""
    where: str = ""
    said: str = ""


ENTRIES: dict[str, Entry] = {}


def pair(name: str, wrong: Any, right: Any, make_inputs: Any, id: str, where: str, said: str, **options: Any) -> None:
    """Enter a wrong kernel and its right twin."""
    options = {**FEW, **options}
    ENTRIES[name] = Entry(function=wrong, make_inputs=make_inputs, options=options, id=id, where=where, said=said)
    ENTRIES[f"{name}, right"] = Entry(function=right, make_inputs=make_inputs, options=options)


def right(name: str, function: Any, make_inputs: Any, **options: Any) -> None:
    """Enter a right kernel that looks as if it were wrong."""
    options = {**FEW, **options}
    ENTRIES[name] = Entry(function=function, make_inputs=make_inputs, options=options)


def vector(size: int) -> torch.Tensor:
    return torch.randn(size)


def rows_and_weight(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 5), torch.randn(5)


def matrix(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns)


def programs(n: int, *, floor: bool = False) -> range:
    """The first index of each block; with `floor` only of whole ones."""
    return range(0, (n // BLOCK if floor else -(-n // BLOCK)) * BLOCK, BLOCK)


# ------------------------------------------------------------------------------------------------ blocks and masks


class Scale(Kernel):
    """x[i, :] * w, whose gradient of w is summed block by block."""

    grid = staticmethod(programs)

    @classmethod
    def value(cls, x, w):
        return x * w

    @classmethod
    def gradient(cls, grad, x, w):
        partial = [(grad[i : i + BLOCK] * x[i : i + BLOCK]).sum(0) for i in cls.grid(len(x))]
        return grad * w, torch.stack(partial).sum(0) if partial else torch.zeros_like(w)


class ScaleFloor(Scale):
    """As attorch#18: the buffer of partial sums has room for whole blocks alone."""

    @staticmethod
    def grid(n):
        return programs(n, floor=True)  # wrong on purpose


class ScaleAtLeastOne(Scale):
    """A grid of at least one program, else of whole blocks."""

    @staticmethod
    def grid(n):
        return range(0, max(1, n // BLOCK) * BLOCK, BLOCK)  # wrong on purpose


class ScaleOneProgram(Scale):
    """A single program, which sees 64 rows."""

    @classmethod
    def gradient(cls, grad, x, w):
        return grad * w, (grad[:64] * x[:64]).sum(0)  # wrong on purpose


pair(
    "last partial block lost",
    ScaleFloor,
    Scale,
    rows_and_weight,
    "GP101",
    "at rows=1",
    "where `rows` is not a multiple of 16",
)
pair(
    "at least one block, else floor",
    ScaleAtLeastOne,
    Scale,
    rows_and_weight,
    "GP101",
    "at rows=17",
    "where `rows` is not a multiple of 16 and `rows` is at least 17",
)
pair(
    "one program of 64",
    ScaleOneProgram,
    Scale,
    rows_and_weight,
    "GP101",
    "at rows=65",
    "where `rows` is at least 65",
    sizes=(0, 1, 63, 64, 65, 80, 96),
)


class Square(Kernel):
    """The sum of squares, one block after the other, whose last one is masked."""

    floor = False

    @classmethod
    def value(cls, x):
        return sum(((x[i : i + BLOCK] ** 2).sum() for i in programs(len(x), floor=cls.floor)), x.new_zeros(()))

    @classmethod
    def gradient(cls, grad, x):
        gradient = torch.zeros_like(x)
        for i in programs(len(x), floor=cls.floor):
            gradient[i : i + BLOCK] = 2 * grad * x[i : i + BLOCK]
        return gradient


class SquareFloor(Square):
    """Forward and backward lose the same block: the gradient is right for the wrong function."""

    floor = True  # wrong on purpose


pair(
    "forward and backward lose it",
    SquareFloor,
    Square,
    lambda size: torch.rand(size) + 0.5,
    "GP141",
    "at size=1",
    "where `size` is not a multiple of 16",
    reference=lambda x: (x**2).sum(),
)


class Mean(Kernel):
    """The mean, divided in the backward by the number of entries."""

    @staticmethod
    def count(n):
        return n

    @classmethod
    def value(cls, x):
        return x.sum() / max(1, len(x))

    @classmethod
    def gradient(cls, grad, x):
        return (grad / max(1, cls.count(len(x)))).expand(x.shape)


class MeanPadded(Mean):
    @staticmethod
    def count(n):
        return -(-n // BLOCK) * BLOCK  # wrong on purpose: of the padded block


pair(
    "divided by the padded size",
    MeanPadded,
    Mean,
    vector,
    "GP101",
    "at size=1",
    "where `size` is not a multiple of 16",
)


class Softmax(Kernel):
    """Softmax of a row that is padded to whole blocks."""

    pad = -torch.inf

    @classmethod
    def value(cls, x):
        columns = x.shape[-1]
        padded = torch.nn.functional.pad(x, (0, -columns % BLOCK), value=cls.pad)
        return torch.softmax(padded, -1)[..., :columns]

    @classmethod
    def gradient(cls, grad, x):
        y = cls.value(x)
        return y * (grad - (grad * y).sum(-1, keepdim=True))


class SoftmaxZero(Softmax):
    pad = 0.0  # wrong on purpose: exp(0) counts


pair(
    "padded with 0 in place of -inf",
    SoftmaxZero,
    Softmax,
    lambda columns: torch.randn(3, columns),
    "GP141",
    "at columns=1",
    "where `columns` is not a multiple of 16",
    reference=lambda x: torch.softmax(x, -1),
)


class Cumulative(Kernel):
    """Running sums, with a carry from one block to the next."""

    first = 1

    @classmethod
    def value(cls, x):
        return torch.cumsum(x, 0)

    @classmethod
    def gradient(cls, grad, x):
        gradient = torch.zeros_like(x)
        carry = grad.new_zeros(())
        for i in reversed(programs(len(x))):
            gradient[i : i + BLOCK] = grad[i : i + BLOCK].flip(0).cumsum(0).flip(0) + carry
            carry = carry + grad[i : i + BLOCK].sum() if cls.first else grad[i : i + BLOCK].sum()
        return gradient


class CumulativeCarry(Cumulative):
    first = 0  # wrong on purpose: the carry of the block before is forgotten


pair(
    "carry of one block alone",
    CumulativeCarry,
    Cumulative,
    vector,
    "GP101",
    "at size=33",
    "where `size` is at least 33",
    sizes=(0, 1, 16, 17, 32, 33, 48, 64),
)


# ------------------------------------------------------------------------------------------------------- two axes


class Pool(Kernel):
    """A map of rows times columns that weights entry (i, j) with cos(3 i + j + 1)."""

    swapped = False

    @classmethod
    def weights(cls, rows, columns, x, swapped):
        shape = (columns, rows) if swapped else (rows, columns)
        i, j = torch.meshgrid(*(torch.arange(n, dtype=x.dtype) for n in shape), indexing="ij")
        # (As a kernel has it: numbers in memory.)
        weights = (3 * j + i + 1).cos() if swapped else (3 * i + j + 1).cos()
        return weights.reshape(rows, columns)

    @classmethod
    def value(cls, x):
        return (x.sin() * cls.weights(*x.shape, x, False)).sum(-1)

    @classmethod
    def gradient(cls, grad, x):
        return grad[:, None] * x.cos() * cls.weights(*x.shape, x, cls.swapped and x.shape[0] != x.shape[1])


class PoolSwapped(Pool):
    swapped = True  # wrong on purpose: height and width, as in PyTorch#36820


pair(
    "height and width swapped",
    PoolSwapped,
    Pool,
    matrix,
    "GP101",
    "at rows=2, columns=3",
    "where `rows` is at least 2, `columns` is at least 2 and `rows` and `columns` differ",
    sizes={"rows": (2, 3, 16, 17), "columns": (2, 3, 16, 17)},
)


class Squeeze(Kernel):
    """Rows times a weight, whose backward loses an axis of length 1."""

    squeezes = False

    @classmethod
    def value(cls, x, w):
        return (x * w).sum(-1)

    @classmethod
    def gradient(cls, grad, x, w):
        x = x.squeeze() if cls.squeezes else x
        if x.dim() == 1:  # as if there were one column
            return grad[:, None] * w, (grad * x[: len(grad)]).sum().expand(w.shape)
        return grad[:, None] * w, (grad[:, None] * x).sum(0)


class SqueezeLost(Squeeze):
    squeezes = True  # wrong on purpose


pair("size 1 squeezed", SqueezeLost, Squeeze, rows_and_weight, "GP101", "at rows=1", "at rows=1, right at 2,")


# ---------------------------------------------------------------------------------------------------- layouts


def in_memory(tensor: torch.Tensor, offset: int | None = None) -> torch.Tensor:
    """What a kernel reads that takes a tensor for contiguous."""
    strides = torch.empty(tensor.shape, device="meta").stride()
    start = tensor.storage_offset() if offset is None else offset
    room = tensor.untyped_storage().nbytes() // tensor.element_size() - start
    if room < tensor.numel():  # beyond the memory: whatever lies there
        return torch.zeros_like(tensor, memory_format=torch.contiguous_format)
    return tensor.as_strided(tensor.shape, strides, start)


class Gelu(Kernel):
    """An activation."""

    @staticmethod
    def read(tensor):
        return tensor

    @classmethod
    def value(cls, x):
        return torch.nn.functional.gelu(cls.read(x))

    @classmethod
    def gradient(cls, grad, x):
        x = cls.read_saved(x)
        phi = torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5
        return grad * ((1 + torch.erf(x / 2**0.5)) / 2 + x * phi)

    @classmethod
    def read_saved(cls, x):
        return cls.read(x)


class GeluStrides(Gelu):
    @staticmethod
    def read(tensor):
        return in_memory(tensor)  # wrong on purpose


class GeluSavedStrides(Gelu):
    @classmethod
    def read_saved(cls, x):
        return in_memory(x)  # wrong on purpose: in the backward alone


class GeluOffset(Gelu):
    @staticmethod
    def read(tensor):
        return in_memory(tensor, 0) if tensor.is_contiguous() else tensor  # wrong on purpose: from the start of memory


class GeluContiguous(Gelu):
    @staticmethod
    def read(tensor):
        return in_memory(tensor.contiguous())


def image(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size)


ANY: Mapping[str, Any] = {"sizes": (0, 1, 2, 3, 16), "layouts": None}
pair("strides assumed", GeluStrides, GeluContiguous, image, "GP143", "", "inputs, right for contiguous", **ANY)
pair(
    "strides assumed in the backward",
    GeluSavedStrides,
    Gelu,
    image,
    "GP143",
    "",
    "right for contiguous",
    **ANY,
)
pair(
    "offset into the storage ignored",
    GeluOffset,
    Gelu,
    vector,
    "GP143",
    "at size=1, offset",
    "wrong for offset inputs, right for contiguous",
    layouts=None,
)


# ------------------------------------------------------------------------------------------- edges, and 16 bits


class Grid(Square):
    """Work divided among programs."""

    @classmethod
    def value(cls, x):
        each = len(x) // min(len(x), 4) if len(x) else 0
        return super().value(x) + 0 * each


class GridEmpty(Square):
    @classmethod
    def value(cls, x):
        return super().value(x) + 0 * (len(x) // min(len(x), 4))  # wrong on purpose: 0 // 0


pair("size 0 raises", GridEmpty, Grid, vector, "GP140", "at size=0", "at size=0, right at 1, 2")


class Peek(Square):
    @classmethod
    def value(cls, x):
        first_of_last = len(x) // BLOCK * BLOCK
        return super().value(x) + (0 * x[first_of_last] if first_of_last < len(x) else 0)


class PeekBeyond(Square):
    @classmethod
    def value(cls, x):
        return super().value(x) + 0 * x[len(x) // BLOCK * BLOCK]  # wrong on purpose: beyond the end


pair(
    "index beyond the end",
    PeekBeyond,
    Peek,
    vector,
    "GP140",
    "at size=0",
    "where `size` is a multiple of 16",
)


class Variance(Kernel):
    """The variance of the whole population, or of a sample."""

    less = 0

    @classmethod
    def value(cls, x):
        return ((x - x.mean()) ** 2).sum() / (len(x) - cls.less)

    @classmethod
    def gradient(cls, grad, x):
        return 2 * grad * (x - x.mean()) / (len(x) - cls.less)


class VarianceOfSample(Variance):
    less = 1  # wrong on purpose: 0 / 0 for a single entry


pair(
    "nan at size 1",
    VarianceOfSample,
    Variance,
    lambda size: torch.randn(size) + 3,
    "GP142",
    "at size=1",
    "at size=1, right at 2,",
)


class Bias(Kernel):
    """x + b, whose gradient of b is written by the programs there are."""

    filled = 0.0

    @classmethod
    def value(cls, x, b):
        return x + b

    @classmethod
    def gradient(cls, grad, x, b):
        if not len(x):
            return grad, torch.full_like(b, cls.filled)
        return grad, grad.sum(0)


class BiasUnwritten(Bias):
    filled = 7.0  # wrong on purpose: as memory that nobody writes


pair("gradient of nothing", BiasUnwritten, Bias, rows_and_weight, "GP145", "at rows=0", "at rows=0, right at 1, 2")


class RmsNorm(Kernel):
    """x / rms(x), in float32 inside."""

    inner: torch.dtype | None = torch.float32

    @classmethod
    def parts(cls, x):
        y = x if cls.inner is None or x.dtype == torch.float64 else x.to(cls.inner)
        return y, torch.rsqrt((y * y).mean(-1, keepdim=True))

    @classmethod
    def value(cls, x):
        y, r = cls.parts(x)
        return (y * r).to(x.dtype)

    @classmethod
    def gradient(cls, grad, x):
        y, r = cls.parts(x)
        grad = grad.to(y.dtype)
        return (r * grad - y * r**3 * (grad * y).mean(-1, keepdim=True)).to(x.dtype)


class RmsNormOverflow(RmsNorm):
    inner = None  # wrong on purpose: squares beyond 65504 in float16


LOW = {"sizes": (1, 2, 16, 17, 64), "dtypes": (torch.float32, torch.float16)}
pair(
    "overflow in float16",
    RmsNormOverflow,
    RmsNorm,
    lambda columns: 400 + torch.randn(3, columns),
    "GP144",
    "at columns=1, float16",
    "in float16, not in float32",
    **LOW,
)


class Attend(Kernel):
    """softmax(x / 8), with a path of its own for 16 bits."""

    scaled = True

    @classmethod
    def value(cls, x):
        return torch.softmax(x / 8, -1)

    @classmethod
    def gradient(cls, grad, x):
        y = cls.value(x)
        scale = 8 if cls.scaled or x.dtype.itemsize > 2 else 1
        return y * (grad - (grad * y).sum(-1, keepdim=True)) / scale


class AttendUnscaled(Attend):
    scaled = False  # wrong on purpose


pair(
    "scale missing in 16 bits",
    AttendUnscaled,
    Attend,
    lambda columns: torch.randn(3, columns),
    "GP144",
    "float16",
    "in float16 and bfloat16, not in float32",
    sizes=(2, 16, 17, 64),
    dtypes=(torch.float32, torch.float16, torch.bfloat16),
)


# --------------------------------------------------------------------------------------------------- look-alikes


class SquareRefusing(Square):
    """Says in words what it is not meant for."""

    @classmethod
    def value(cls, x):
        if len(x) % BLOCK:
            raise ValueError(f"the size must be a multiple of {BLOCK}")
        return super().value(x)


right("refuses other sizes", SquareRefusing, vector)
right("softmax, constant at size 1", lambda x: torch.softmax(x, -1), vector)
right(
    "layer norm",
    lambda x, w: torch.nn.functional.layer_norm(x, x.shape[-1:], w),
    lambda n: (torch.randn(4, n), torch.randn(n)),
)
right("nan for nothing", lambda x: x.sin().mean(), vector)
right(
    "matmul of many shapes",
    torch.matmul,
    lambda m, k, n: (torch.randn(m, k), torch.randn(k, n)),
    sizes=dict.fromkeys("mkn", (0, 1, 7, 16, 33)),
)
right(
    "float32 inside, 16 bits outside",
    RmsNorm,
    lambda n: torch.randn(3, n),
    sizes=(1, 2, 16, 17, 64),
    dtypes=(torch.float32, torch.float16, torch.bfloat16),
)
right(
    "relu in 16 bits",
    lambda x: torch.relu(x @ x.mT),
    lambda n: torch.randn(n, 8),
    sizes=(1, 2, 16, 17, 33),
    dtypes=(torch.float16, torch.bfloat16),
)


@dataclasses.dataclass
class Tally:
    """What was said of one kernel over all seeds."""

    as_it_should_be: int = 0
    seeds: int = 0
    seconds: float = 0.0
    others: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def judge(entry: Entry, seed: int) -> str:
    """Check a kernel; empty if the verdict, the finding and the smallest case are as they should be."""
    report = gradproof.torch.check_kernel(entry.function, entry.make_inputs, **entry.options, rng=seed)
    errors = [finding for finding in report.findings if finding.severity is gradproof.Severity.ERROR]
    if not entry.id:
        return (
            "" if report.correct else f"{report.verdict.value} {[(one.id, one.kind) for one in errors]} {report.reason}"
        )
    found = [one for one in errors if one.id == entry.id]
    if not found or len(errors) > 1:
        return f"{report.verdict.value} {[(one.id, one.path, one.place, one.kind) for one in errors]}"
    fits = found[0].place.endswith(entry.where) and entry.said in found[0].kind
    return "" if fits else f"{found[0].place}: {found[0].kind}"


def run(names: list[str], seeds: int) -> dict[str, Tally]:
    """Check kernels over seeds."""
    tallies: dict[str, Tally] = {}
    for name in names:
        tally = tallies[name] = Tally()
        started = time.perf_counter()
        for seed in range(seeds):
            said = judge(ENTRIES[name], seed)
            tally.seeds += 1
            tally.as_it_should_be += not said
            if said:
                tally.others[said] += 1
        tally.seconds = (time.perf_counter() - started) / seeds
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description="Check kernels, wrong and right, over seeds.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels; all if left out")
    options = parser.parse_args()
    names = [name for name in ENTRIES if not options.names or any(one in name for one in options.names)]
    bad = 0
    print(f"{'kernel':40} {'should be':28} {'is':>8} {'seconds':>8}")
    for name in names:
        tally = run([name], options.seeds)[name]
        entry = ENTRIES[name]
        wanted = f"{entry.id} {entry.where}" if entry.id else "CORRECT"
        print(f"{name:40} {wanted:28} {tally.as_it_should_be:>3} of {tally.seeds:<3} {tally.seconds:>6.2f}", flush=True)
        for other, count in tally.others.most_common(3):
            print(f"    {count} times: {other}")
        bad += tally.seeds - tally.as_it_should_be
    kinds = [bool(ENTRIES[name].id) for name in names]
    counted = f"{sum(kinds)} wrong and {len(kinds) - sum(kinds)} right kernels, {options.seeds} seeds"
    print(f"{counted}: {bad} reports other than they should be")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
