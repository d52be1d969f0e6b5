"""Certify every parameter of a transformer of 10^8 parameters, and count what that costs against one forward pass.

    $ PYTHONPATH=src python benchmarks/transformer.py             # 12 layers of width 768, 512 tokens, float64
    $ PYTHONPATH=src python benchmarks/transformer.py --small     # the same with 10^5 parameters, in seconds

Each measurement of memory is made in a process of its own: one forward and backward alone, and the check.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time

import torch

import gradproof.torch

functional = torch.nn.functional


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of a decoder-only transformer in the manner of GPT-2, with tied embeddings."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 20_480
    tokens: int = 512


FULL = Config()
SMALL = Config(layers=4, width=48, heads=4, vocabulary=400, tokens=48)


class Shift(torch.autograd.Function):
    """x + bias, whose backward is off by a factor."""

    factor = 1.001

    @staticmethod
    def forward(ctx, x, bias):
        return x + bias

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent, Shift.factor * cotangent.flatten(0, -2).sum(0)  # wrong on purpose


class ShiftedLinear(torch.nn.Linear):
    """A linear layer that adds its bias by `Shift`."""

    def forward(self, x):
        return Shift.apply(functional.linear(x, self.weight), self.bias)


class Attention(torch.nn.Module):
    """Causal self-attention; queries, keys and values have projections, and biases, of their own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (torch.nn.Linear(config.width, config.width) for _ in range(4))

    def forward(self, x):
        tokens, width = x.shape
        q, k, v = (
            part(x).view(tokens, self.heads, width // self.heads).transpose(0, 1)
            for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(0, 1).reshape(tokens, width))


class Block(torch.nn.Module):
    def __init__(self, config: Config, *, wrong: bool) -> None:
        super().__init__()
        self.norm1, self.attention = torch.nn.LayerNorm(config.width), Attention(config)
        self.norm2 = torch.nn.LayerNorm(config.width)
        self.up = (ShiftedLinear if wrong else torch.nn.Linear)(config.width, 4 * config.width)
        self.down = torch.nn.Linear(4 * config.width, config.width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(torch.nn.Module):
    """A language model; with `wrong`, one bias in the middle has a gradient that is off by a factor 1.001."""

    def __init__(self, config: Config, *, wrong: bool = False) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(config.vocabulary, config.width)
        self.position = torch.nn.Parameter(torch.empty(config.tokens, config.width))
        self.blocks = torch.nn.ModuleList(
            [Block(config, wrong=wrong and i == config.layers // 2) for i in range(config.layers)]
        )
        self.norm = torch.nn.LayerNorm(config.width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.02)
            else:
                torch.nn.init.normal_(parameter, mean=float(parameter.mean() > 0.5), std=0.02)
        for block in self.blocks:
            # Logits of size 1, so that attention attends to something.
            for part in (block.attention.query, block.attention.key):
                torch.nn.init.normal_(part.weight, std=config.width**-0.5)
            for last in (block.attention.out, block.down):
                torch.nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * config.layers))

    def forward(self, indices):
        x = self.embedding(indices) + self.position
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.embedding.weight)


def loss(model, batch):
    """Mean cross-entropy of the next token."""
    logits = model(batch)
    return functional.cross_entropy(logits[:-1], batch[1:])


def build(config: Config, *, wrong: bool):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    model = Transformer(config, wrong=wrong)
    return model, torch.randint(config.vocabulary, (config.tokens,))


def peak() -> float:
    """Largest resident set so far, in bytes (Linux)."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return 1024.0 * int(line.split()[1])


def forward_backward(config: Config) -> dict[str, float]:
    """One forward and backward by itself: peak memory, and the best time of three forwards without recording."""
    model, batch = build(config, wrong=False)
    before = peak()
    torch.autograd.grad(loss(model, batch), list(model.parameters()))
    highest = peak()
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "before": before,
        "peak": highest,
        "forward": time_forward(model, batch),
    }


def time_forward(model, batch) -> float:
    """Seconds of one forward pass: the median of three."""
    seconds = []
    with torch.no_grad():
        for _ in range(3):
            start = time.perf_counter()
            loss(model, batch)
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)[1]


def check(config: Config, *, wrong: bool) -> dict[str, object]:
    """The whole check: verdict, evaluations, peak memory, time; the forwards are timed where they happen.

    Other work on the machine slows both alike; in processor time it does so less than on the clock.
    """
    model, batch = build(config, wrong=wrong)
    clock: list[float] = []
    processor: list[float] = []

    def timed_loss(model, batch):
        started, used = time.perf_counter(), time.process_time()
        value = loss(model, batch)
        if not value.requires_grad:
            clock.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
        return value

    used = time.process_time()
    report = gradproof.torch.check_module(model, timed_loss, batch, rng=0)
    used = time.process_time() - used
    highest = peak()
    return {
        "verdict": report.verdict.value,
        "seconds": report.cost.seconds,
        "forward": statistics.mean(clock),
        "processor": used,
        "processor_forward": statistics.mean(processor),
        "evaluations": report.cost.evaluations,
        "peak": highest,
        "leaves": len(report.leaves),
        "bound": max((leaf.bound for leaf in report.leaves if leaf.bound is not None), default=None),
        "flat": [leaf.path for leaf in report.leaves if leaf.note.startswith("flat")],
        "wrong": [leaf.path for leaf in report.leaves if leaf.verdict is gradproof.Verdict.WRONG],
        "undecided": [leaf.path for leaf in report.leaves if leaf.verdict is gradproof.Verdict.INCONCLUSIVE],
        "said": [finding.kind for finding in report.findings if finding.severity is gradproof.Severity.ERROR],
    }


def apart(*arguments: str) -> dict[str, object]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="10^5 parameters in place of 10^8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["backward", "right", "wrong"], help="one measurement, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = SMALL if options.small else FULL
    if options.only == "backward":
        print(json.dumps(forward_backward(config)))
        return
    if options.only:
        print(json.dumps(check(config, wrong=options.only == "wrong")))
        return
    given = [*(["--small"] if options.small else []), "--threads", str(options.threads)]
    alone = apart(*given, "--only", "backward")
    copies = 8.0 * alone["parameters"]
    print(
        f"parameters: {alone['parameters']:,} in float64, {config.tokens} tokens; one copy: {copies / 2**20:,.0f} MiB"
    )
    print(f"one forward and backward: peak {alone['peak'] / 2**20:,.0f} MiB; one forward {alone['forward']:.2f} s")
    for kind in ("right", "wrong"):
        found = apart(*given, "--only", kind)
        print(
            f"{kind}: {found['verdict']}, {found['leaves']} leaves, {found['evaluations']} evaluations; "
            f"{found['seconds']:.0f} s = {found['seconds'] / found['forward']:.1f} forwards of "
            f"{found['forward']:.2f} s (processor: {found['processor']:.0f} s = "
            f"{found['processor'] / found['processor_forward']:.1f} of {found['processor_forward']:.2f} s); "
            f"peak {found['peak'] / 2**20:,.0f} MiB = {(found['peak'] - alone['peak']) / copies:+.2f} copies"
        )
        print(f"  largest bound {found['bound']:.1e}; {len(found['flat'])} flat: {', '.join(found['flat'])}")
        for name in ("wrong", "undecided", "said"):
            if found[name]:
                print(f"  {name}: {'; '.join(found[name])}")


if __name__ == "__main__":
    main()
