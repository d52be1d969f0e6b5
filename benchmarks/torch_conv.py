"""A convolution 3x16x16 -> 8x14x14 with both inputs: a certificate, and every entry, beside torch's slow gradcheck.

    python benchmarks/torch_conv.py             # certificate, slow and fast gradcheck
    python benchmarks/torch_conv.py --entries   # every entry of the Jacobian, too

x has 768 entries, the weight 216, the output 1568: 1.5 million entries of the Jacobian. float64, one thread.
Seconds are those of the processor, because the machine is shared, and the best of three runs of each tool.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

# Before NumPy is loaded: its threads would be waiting for each other at our expense.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
from torch.autograd.gradcheck import gradcheck

import gradproof


def convolve(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(x, weight)


def sample(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64, generator=generator)
    weight = torch.randn(8, 3, 3, 3, dtype=torch.float64, generator=generator)
    return x.requires_grad_(), weight.requires_grad_()


def timed(call: Callable[[], Any], runs: int = 3) -> tuple[Any, float]:
    """What a call returns, and its seconds: the best of some runs."""
    found: list[tuple[Any, float]] = []
    for _ in range(runs):
        start = time.process_time()
        result = call()
        found.append((result, time.process_time() - start))
    return min(found, key=lambda run: run[1])


def certificate(seed: int = 0) -> tuple[gradproof.Report, float]:
    """Our certificate of both inputs, and its seconds."""
    return timed(lambda: gradproof.check(convolve, sample(), modes=("rev",), rng=seed))


def entries(seed: int = 0) -> tuple[gradproof.Report, float]:
    """Every entry, and the seconds."""
    return timed(lambda: gradproof.check(convolve, sample(), modes=("rev",), level="entries", rng=seed))


def slow() -> tuple[bool, float]:
    return timed(lambda: gradcheck(convolve, sample()))


def fast() -> tuple[bool, float]:
    return timed(lambda: gradcheck(convolve, sample(), fast_mode=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", action="store_true", help='also level="entries"')
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    certificate()
    _, slow_seconds = slow()
    rows: list[tuple[str, str, float, str]] = [("slow gradcheck", "passes", slow_seconds, "")]
    _, seconds = fast()
    rows.append(("fast gradcheck", "passes", seconds, ""))
    report, seconds = certificate()
    bound = max(leaf.bound or 1.0 for leaf in report.leaves)
    more = f"bound {bound:.1e}, {report.cost.evaluations} evaluations"
    rows.append(("certificate", report.verdict.value, seconds, more))
    if asked.entries:
        report, seconds = entries()
        rows.append(("every entry", report.verdict.value, seconds, f"{report.cost.evaluations} evaluations"))
    for name, verdict, seconds, more in rows:
        print(
            f"{name:<16}{verdict:<14}{seconds:8.3f} s   {slow_seconds / seconds:8.1f} times as fast   {more}".rstrip()
        )


if __name__ == "__main__":
    main()
