"""RMS norm with a weight, in Triton: a right kernel, and wrong ones, as `check_kernel` sees them.

It runs in Triton's interpreter on the CPU, or on a GPU if there is one. `run.sh` beside it makes an environment for
it; with Triton installed,

    TRITON_INTERPRET=1 python benchmarks/triton_kernels/rms_norm.py [--seeds 1]

prints what is said of each. The exit code is 1 if that is not what it should be.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # (read when a kernel is defined)

import triton
import triton.language as tl

import gradproof.torch

ROWS = 2  # of one program of the weight's gradient
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def forward_kernel(x, w, y, columns, stride, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    """One row for each program."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    values = tl.load(x + row * stride + at, mask=mask, other=0.0)
    scale = tl.load(w + at, mask=mask, other=0.0)
    count = columns if MASKED else BLOCK
    root = tl.sqrt(tl.sum(values * values, axis=0) / count + 1e-6)
    tl.store(y + row * columns + at, values / root * scale, mask=mask)


@triton.jit
def input_kernel(x, w, g, dx, columns, stride, BLOCK: tl.constexpr):
    """The gradient of one row of x for each program."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    values = tl.load(x + row * stride + at, mask=mask, other=0.0)
    scaled = tl.load(g + row * columns + at, mask=mask, other=0.0) * tl.load(w + at, mask=mask, other=0.0)
    root = tl.sqrt(tl.sum(values * values, axis=0) / columns + 1e-6)
    mean = tl.sum(scaled * values, axis=0) / columns
    tl.store(dx + row * columns + at, scaled / root - values * mean / (root * root * root), mask=mask)


@triton.jit
def weight_kernel(x, g, dw, rows, columns, stride, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    """What a block of rows contributes to the gradient of w, for each program."""
    block = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    row = block * ROWS + tl.arange(0, ROWS)
    inside = (row < rows)[:, None] & mask[None, :]
    values = tl.load(x + row[:, None] * stride + at[None, :], mask=inside, other=0.0)
    cotangent = tl.load(g + row[:, None] * columns + at[None, :], mask=inside, other=0.0)
    root = tl.sqrt(tl.sum(values * values, axis=1) / columns + 1e-6)
    total = tl.sum(values / root[:, None] * cotangent, axis=0)
    tl.store(dw + block * columns + at, total, mask=mask)


class RmsNorm(torch.autograd.Function):
    """y = x / rms(x) * w."""

    @classmethod
    def blocks(cls, rows: int) -> int:
        return triton.cdiv(rows, ROWS)

    @classmethod
    def stride(cls, x: torch.Tensor) -> int:
        return x.stride(0)

    masked = True

    @classmethod
    def forward(cls, ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        x = x if x.stride(-1) == 1 else x.contiguous()
        y = torch.empty(rows, columns, dtype=x.dtype, device=x.device)
        ctx.save_for_backward(x, w)
        if x.numel():
            block = triton.next_power_of_2(columns)
            forward_kernel[(rows,)](x, w.contiguous(), y, columns, cls.stride(x), cls.masked, block)
        return y

    @classmethod
    def backward(cls, ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, w = ctx.saved_tensors
        rows, columns = x.shape
        g = g.contiguous()
        if not x.numel():
            return torch.zeros_like(x), torch.zeros_like(w)
        block = triton.next_power_of_2(columns)
        dx = torch.empty(rows, columns, dtype=x.dtype, device=x.device)
        input_kernel[(rows,)](x, w.contiguous(), g, dx, columns, cls.stride(x), block)
        partial = torch.zeros(max(1, cls.blocks(rows)), columns, dtype=x.dtype, device=x.device)
        if cls.blocks(rows):
            weight_kernel[(cls.blocks(rows),)](x, g, partial, rows, columns, cls.stride(x), block, ROWS)
        return dx, partial.sum(0)


class LostBlock(RmsNorm):
    @classmethod
    def blocks(cls, rows: int) -> int:
        return rows // ROWS  # wrong on purpose


class AssumedStride(RmsNorm):
    @classmethod
    def stride(cls, x: torch.Tensor) -> int:
        return x.shape[1]  # wrong on purpose


class DividedByBlock(RmsNorm):
    masked = False  # wrong on purpose: the mean is over the padded block


def make_inputs(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, columns, device=DEVICE), torch.randn(columns, device=DEVICE)


def reference(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w


LAYOUTS = ["narrowed"]
# What should be said: the id, and how the place and the kind go on.
SHOULD = {
    RmsNorm: ("", "", ""),
    LostBlock: ("GP101", "at rows=1", "`rows` is odd"),
    AssumedStride: ("GP143", "narrowed", "right for contiguous"),
    DividedByBlock: ("GP141", "at rows=1, columns=3", "`columns` is"),
}
SIZES = {"rows": (0, 1, ROWS, ROWS + 1), "columns": (2, 3)}  # few and small: the interpreter is slow


def said(kernel: Any, seed: int) -> tuple[bool, str]:
    """Whether what is said of a kernel is as it should be, and what it is."""
    trusted = reference if kernel in (DividedByBlock, RmsNorm) else None
    report = gradproof.torch.check_kernel(
        kernel, make_inputs, sizes=SIZES, layouts=LAYOUTS, reference=trusted, rng=seed
    )
    errors = [finding for finding in report.findings if finding.severity is gradproof.Severity.ERROR]
    text = " | ".join([report.verdict.value, *(f"{one.id} {one.path} {one.place}: {one.kind}" for one in errors)])
    id, place, kind = SHOULD[kernel]
    if not id:
        return report.correct, text
    fits = len(errors) == 1 and errors[0].id == id and place in errors[0].place and kind in errors[0].kind
    return fits, text


def main() -> int:
    parser = argparse.ArgumentParser(description="Check Triton kernels, right and wrong.")
    parser.add_argument("--seeds", type=int, default=1)
    seeds = parser.parse_args().seeds
    bad = 0
    print(f"triton {triton.__version__}, torch {torch.__version__}, {DEVICE}")
    for kernel in SHOULD:
        for seed in range(seeds):
            started = time.perf_counter()
            fits, text = said(kernel, seed)
            bad += not fits
            mark = "as it should be" if fits else "OTHER"
            print(f"{kernel.__name__}, seed {seed}, {time.perf_counter() - started:.1f} s, {mark}: {text}", flush=True)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
