"""Wrong backward passes that other checkers let through once tensors are large.

    python benchmarks/torch_zeroed.py             # n = 100 to 1,000,000
    python benchmarks/torch_zeroed.py --most 4    # n = 10**2 to 10**4

y = sin(x), elementwise with n outputs, as an `autograd.Function` with a right backward and five wrong ones: 5 % too
large, one entry zero, rolled by one, all zero, negated. Ours is `gradproof.check(Sine, x)`; beside it what
`torch.autograd.gradcheck(fast_mode=True)` says, and the slow mode up to n = 1000 (it builds n x n matrices). Seconds
are those of the processor, one thread, because the machine is shared.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.gradcheck import gradcheck

import gradproof


def one_zero(gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.clone()
    gradient.view(-1)[gradient.numel() // 3] = 0.0
    return gradient


MISTAKES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda gradient: gradient,
    "5 % too large": lambda gradient: 1.05 * gradient,
    "one entry zero": one_zero,
    "rolled by one": lambda gradient: gradient.roll(1),
    "all zero": torch.zeros_like,
    "negated": torch.neg,
}


def sine(mistake: str) -> type[torch.autograd.Function]:
    """An `autograd.Function` for sin whose backward makes a mistake."""

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, *cotangents: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return MISTAKES[mistake](cotangents[0] * x.cos())

    return Sine


def ours(mistake: str, x: torch.Tensor, seed: int = 0) -> tuple[gradproof.Report, float]:
    """Our report, and its seconds."""
    start = time.process_time()
    report = gradproof.check(sine(mistake), x, modes=("rev",), rng=seed)
    return report, time.process_time() - start


def theirs(mistake: str, x: torch.Tensor, *, fast: bool) -> tuple[str, float]:
    """What torch's gradcheck says: whether it passes, and its seconds."""
    start = time.process_time()
    # A failure of the fast mode builds the matrices of the slow one for its message: cut short here.
    module = sys.modules["torch.autograd.gradcheck"]  # the package's attribute of this name is the function
    setattr(module, "_run_slow_mode_and_get_error", lambda *_, **__: "fails")  # noqa: B010
    passes = gradcheck(sine(mistake).apply, (x,), fast_mode=fast, raise_exception=False)
    return "passes" if passes else "fails", time.process_time() - start


def point(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(n, dtype=torch.float64, generator=generator).requires_grad_()


def said(report: gradproof.Report) -> str:
    """Place and cause, of the first error."""
    errors = [one for one in report.findings if one.severity is gradproof.Severity.ERROR]
    if not errors:
        return ""
    one = errors[0]
    return f"{one.path}{', ' + one.place if one.place else ''}: {one.kind}" + (
        f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=6, help="decimal logarithm of the largest n")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{'n':>9}  {'mistake':<16}{'ours':<14}{'s':>6}  {'fast':<8}{'s':>6}  {'slow':<8}{'s':>6}  what ours says")
    for n in (10**k for k in range(2, asked.most + 1)):
        x = point(n)
        for mistake in MISTAKES:
            report, seconds = ours(mistake, x)
            fast, fast_seconds = theirs(mistake, x, fast=True)
            slow, slow_seconds = theirs(mistake, x, fast=False) if n <= 1000 else ("", float("nan"))
            print(
                f"{n:9,}  {mistake:<16}{report.verdict.value:<14}{seconds:6.2f}  {fast:<8}{fast_seconds:6.2f}  "
                f"{slow:<8}{slow_seconds:6.2f}  {said(report)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
