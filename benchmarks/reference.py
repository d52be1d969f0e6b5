"""Are kernels of low precision judged fairly beside a reference? Right ones CORRECT, wrong ones WRONG and placed.

    PYTHONPATH=src python benchmarks/reference.py                       # 20 seeds; needs PyTorch
    PYTHONPATH=src python benchmarks/reference.py --seeds 200 --only right
    PYTHONPATH=src python benchmarks/reference.py --seeds 5 --way check

Eight kernels in bfloat16, float16 and float32 (`reference_kernels.py`), with other values and sizes for each seed, by
`gradproof.torch.compare_with_reference` or by `gradproof.check(kernel, inputs, reference=reference)`. *placed* counts
wrong blocks and rows whose place is named to the row; *largest* is the largest ratio of a right kernel's error to its
baseline's.
"""

from __future__ import annotations

import argparse
import collections
import re
import time
from typing import Any

import torch
from reference_kernels import BLOCK, KERNELS, MISTAKES, Kernel

import gradproof
import gradproof.torch

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def report_of(kernel: Kernel, mistake: str, dtype: torch.dtype, seed: int, way: str) -> tuple[Any, str, int]:
    """The report on one kernel; the path of the tensor that a block or row is wrong in, and its length."""
    generator = torch.Generator().manual_seed(seed)
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in kernel.draw(generator, mistake == "low"))
    floating = [x for x in inputs if x.is_floating_point()]
    # (A scalar output has no rows.)
    victim = int(torch.randint(len(floating) + 1, (1,), generator=generator))
    if victim == 0 and kernel.reference(*inputs).dim() == 0:
        victim = 1
    low = torch.bfloat16 if dtype == torch.float32 else dtype
    made = kernel.made(mistake, low, victim)
    if way == "check":
        report = gradproof.check(made, inputs, reference=kernel.reference, rng=seed)
    else:
        report = gradproof.torch.compare_with_reference(made, kernel.reference, inputs, rng=seed)
    harmed = kernel.reference(*inputs) if victim == 0 else floating[victim - 1]
    names = [f"args[{i}]" for i, x in enumerate(inputs) if x.is_floating_point()]
    path = "output" if victim == 0 else names[victim - 1]
    return report, path + placed(tuple(harmed.shape), mistake), victim


def placed(shape: tuple[int, ...], mistake: str) -> str:
    """The subscript of what `damaged` harms."""
    if mistake == "row":
        count = 1
        for length in shape[:-1]:
            count *= length
        at = (count if len(shape) > 1 else shape[0]) // 3
        index: list[int] = []
        for length in reversed(shape[:-1] if len(shape) > 1 else shape):
            index.insert(0, at % length)
            at //= length
        # (As a report writes it: an axis of one index is none to name.)
        lengths = shape[:-1] if len(shape) > 1 else shape
        return f"[{', '.join(':' if length == 1 else str(i) for i, length in zip(index, lengths, strict=True))}]"
    if mistake == "block":
        rows = shape[0] if len(shape) == 1 else shape[-2]
        first = rows - min(BLOCK, rows // 2)
        leading = ":, " * (len(shape) - 2)
        return f"[{leading}{first}:]"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--way", choices=("compare", "check"), default="compare")
    parser.add_argument("--only", choices=("right", *MISTAKES))
    parser.add_argument("--kernel", choices=tuple(KERNELS))
    parser.add_argument("--dtype", choices=tuple(DTYPES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    print(f"{'kernel':14}{'dtype':10}{'mistake':8}{'CORRECT':>8}{'WRONG':>7}{'INCONCL.':>9}{'placed':>8}{'largest':>9}")
    totals: dict[str, collections.Counter[str]] = {"right": collections.Counter(), "wrong": collections.Counter()}
    for name, kernel in KERNELS.items():
        for precision, dtype in DTYPES.items():
            if options.kernel not in (None, name) or options.dtype not in (None, precision):
                continue
            for mistake in ("right", "block", "row", *kernel.mistakes):
                if options.only in (None, mistake):
                    line(name, precision, kernel, dtype, mistake, options, totals)
    for kind, counted in totals.items():
        print(f"{kind}: " + ", ".join(f"{counted[word]} {word}" for word in ("CORRECT", "WRONG", "INCONCLUSIVE")))
    print(f"{time.perf_counter() - started:.0f} s")


def line(
    name: str,
    precision: str,
    kernel: Kernel,
    dtype: torch.dtype,
    mistake: str,
    options: argparse.Namespace,
    totals: dict[str, collections.Counter[str]],
) -> None:
    """One line of the table."""
    counted: collections.Counter[str] = collections.Counter()
    named, largest = 0, 0.0
    for seed in range(options.first, options.first + options.seeds):
        report, place, _ = report_of(kernel, mistake, dtype, seed, options.way)
        counted[report.verdict.value] += 1
        # (Where entries of a row are too small to tell, it may be named by the others.)
        whole = place if mistake == "block" else place[:-1]
        shown = [f"{one.path}{list(one.entries[0]) if one.entries else ''}" for one in report.findings]
        named += any(one == whole if mistake == "block" else one.startswith(whole) for one in shown)
        ratios = [re.search(r"([\d.e+-]+) times the reference", leaf.note) for leaf in report.leaves]
        largest = max([largest, *(float(one[1]) for one in ratios if one)])
    totals["right" if mistake == "right" else "wrong"] += counted
    shown = f"{named:8}" if mistake in ("block", "row") else " " * 8
    tail = f"{largest:9.2f}" if mistake == "right" else ""
    print(
        f"{name:14}{precision:10}{mistake:8}{counted['CORRECT']:8}{counted['WRONG']:7}{counted['INCONCLUSIVE']:9}"
        f"{shown}{tail}",
        flush=True,
    )


if __name__ == "__main__":
    main()
