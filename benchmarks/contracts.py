"""Contracts: which broken ones are caught under their own id, and whether look-alikes are left alone.

    python benchmarks/contracts.py               # 20 seeds, every framework that is installed, as a table
    python benchmarks/contracts.py --seeds 2
    python benchmarks/contracts.py --time        # what the default contracts add to the time of a check

For every contract and framework two derivatives break it and two look alike and keep it (`contract_twins.py`). Caught
means that the report holds that id and no other; accused means that a look-alike is not CORRECT, or has any finding.
Each is checked with ``contracts="all"``, and those that the default finds without it, too. Times are medians of checks
that alternate between ``contracts="none"`` and the default, in one run.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from typing import Any

from contract_twins import Twin, twins

import gradproof

FRAMEWORKS = ("numpy", "torch", "jax")


def installed() -> list[str]:
    return [one for one in FRAMEWORKS if importlib.util.find_spec(one)]


def outcomes(twin: Twin, seeds: int, contracts: str) -> tuple[int, list[list[str]]]:
    """In how many seeds the report says what holds, and the findings of the others."""
    reports = [twin.check(seed, contracts) for seed in range(seeds)]
    others = [[one.id for one in report.findings] for report in reports if not twin.is_told(report)]
    return seeds - len(others), others


def table(seeds: int) -> int:
    """Print the table; the number of reports that say something else."""
    failures = 0
    rows: dict[tuple[str, str], dict[str, list[int]]] = {}
    for twin in twins(*installed()):
        settings = ["all", "default"] if twin.by_default or not twin.is_broken else ["all"]
        for contracts in settings:
            told, others = outcomes(twin, seeds, contracts)
            failures += len(others)
            if others:
                print(f"{twin.framework} {twin.id} {twin.name} ({contracts}): {others[0]} in {len(others)} of {seeds}")
            column = ("caught" if twin.is_broken else "left alone") + f", {contracts}"
            counts = rows.setdefault((twin.id, twin.framework), {}).setdefault(column, [0, 0])
            counts[0] += told
            counts[1] += seeds
    columns = ("caught, all", "caught, default", "left alone, all", "left alone, default")
    print(f"| contract | framework | {' | '.join(columns)} |")
    print("|---" * (2 + len(columns)) + "|")
    for (id, framework), counts in sorted(rows.items()):
        cells = [f"{counts[one][0]} of {counts[one][1]}" if one in counts else "" for one in columns]
        print(f"| {id} | {framework} | {' | '.join(cells)} |")
    return failures


def times(repeats: int) -> None:
    """Print what the default contracts add to checks of Functions, direct and in a loss."""
    import torch

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, *cotangents: torch.Tensor) -> torch.Tensor:
            return cotangents[0] * ctx.saved_tensors[0].cos()

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x, w = ctx.saved_tensors
            return cotangents[0] @ w.T, x.T @ cotangents[0]

    def drawn(*shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)

    cases: dict[str, tuple[Any, tuple[torch.Tensor, ...]]] = {
        "sine, 4 x 5": (Sine, drawn((4, 5))),
        "sine, 300 x 300": (Sine, drawn((300, 300))),
        "product, 20 x 20": (Product, drawn((20, 20), (20, 20))),
        "product, 300 x 300": (Product, drawn((300, 300), (300, 300))),
        "sum of squares of a product, 300 x 300": (
            lambda x, w: (Product.apply(x, w) ** 2).sum(),  # pyright: ignore[reportOptionalOperand, reportAttributeAccessIssue]
            drawn((300, 300), (300, 300)),
        ),
    }
    print('| check | contracts="none", ms | default, ms | ratio |\n|---|---|---|---|')
    for name, (f, args) in cases.items():
        seconds: dict[str, list[float]] = {"none": [], "default": []}
        for seed in range(repeats + 1):
            for contracts, all_of_them in seconds.items():
                start = time.perf_counter()
                report = gradproof.check(f, args, wrt=tuple(range(len(args))), rng=seed, contracts=contracts)
                all_of_them += [time.perf_counter() - start] if seed else []
                assert report.correct
        none, default = (1000 * statistics.median(one) for one in seconds.values())
        print(f"| {name} | {none:.1f} | {default:.1f} | {default / none:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.time:
        times(arguments.repeats)
    else:
        raise SystemExit(1 if table(arguments.seeds) else 0)
