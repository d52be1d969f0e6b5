"""What the training guard costs, whom it accuses, and what it finds: `python benchmarks/guard.py [PART ...]`.

cost    a small transformer with dropout and batch norm, trained with and without: forwards, time, loss curve
right   correct runs of many kinds: alarms (there must be none)
wrong   a wrong backward switched on in mid-training, in every place and kind: when it is reported, and where
course  the course's network, with the published bugs and without
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
import time

import torch

import gradproof
import gradproof.torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from train import train

nn, F = torch.nn, torch.nn.functional
cross_entropy = F.cross_entropy


class Switch:
    """Which rule is wrong, and how; nothing is, as long as `kind` is empty."""

    kind = place = ""

    @classmethod
    def is_on(cls, place, *kinds):
        return cls.place == place and cls.kind in kinds


def spoilt(place, gradient):
    """A gradient, or what the mistake that is switched on makes of it."""  # wrong on purpose
    if Switch.is_on(place, "factor"):
        return 1.5 * gradient
    if Switch.is_on(place, "sign"):
        return -gradient
    if Switch.is_on(place, "zero"):
        return torch.zeros_like(gradient)
    if Switch.is_on(place, "rolled"):
        return gradient.roll(1, dims=-1)
    return gradient


class LinearRule(torch.autograd.Function):
    """x W^T + b, with a backward by hand."""

    @staticmethod
    def forward(ctx, x, weight, bias, place):
        ctx.place = place
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        place = ctx.place
        flat, rows = g.flatten(0, -2), x.flatten(0, -2)
        by_x = spoilt(f"{place} x", g @ weight)
        return by_x, spoilt(f"{place} weight", flat.T @ rows), spoilt(f"{place} bias", flat.sum(0)), None


class NormRule(torch.autograd.Function):
    """Layer normalisation, with a backward by hand."""

    @staticmethod
    def forward(ctx, x, weight, bias, place):
        ctx.place = place
        centred = x - x.mean(-1, keepdim=True)
        ctx.rate = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        ctx.save_for_backward(centred * ctx.rate, weight)
        return centred * ctx.rate * weight + bias

    @staticmethod
    def backward(ctx, g):
        normal, weight = ctx.saved_tensors
        place, along = ctx.place, g * weight
        lost = 0.0 if Switch.is_on(f"{place} x", "forgotten") else (along * normal).mean(-1, keepdim=True)
        by_x = ctx.rate * (along - along.mean(-1, keepdim=True) - normal * lost)
        by_weight = spoilt(f"{place} weight", (g * normal).flatten(0, -2).sum(0))
        return spoilt(f"{place} x", by_x), by_weight, spoilt(f"{place} bias", g.flatten(0, -2).sum(0)), None


class GeluRule(torch.autograd.Function):
    """x Phi(x), with a backward by hand."""

    @staticmethod
    def forward(ctx, x, place):
        ctx.place = place
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        phi = 0.5 * (1 + torch.erf(x / 2**0.5))
        slope = phi + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5
        if Switch.is_on(f"{ctx.place} x", "forgotten"):
            slope = phi  # wrong on purpose
        return spoilt(f"{ctx.place} x", g * slope), None


class Linear(nn.Linear):
    def forward(self, x):
        return LinearRule.apply(x, self.weight, self.bias, self.place)


class Norm(nn.LayerNorm):
    def forward(self, x):
        return NormRule.apply(x, self.weight, self.bias, self.place)


class Gelu(nn.Module):
    def forward(self, x):
        return GeluRule.apply(x, self.place)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.1, batch_first=True)
        self.up, self.act, self.down, self.drop = (
            Linear(width, 2 * width),
            Gelu(),
            Linear(2 * width, width),
            nn.Dropout(0.1),
        )

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.drop(self.down(self.act(self.up(self.norm2(x)))))


class Transformer(nn.Module):
    """Two blocks with dropout, batch normalisation before the head."""

    def __init__(self, width=16, words=11, length=8):
        super().__init__()
        self.embedding, self.position = nn.Embedding(words, width), nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.normalise, self.head = nn.BatchNorm1d(width), Linear(width, words)
        for name, module in self.named_modules():
            module.place = name

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.normalise(x.transpose(1, 2)).transpose(1, 2))


def token_batch(generator, size=8, length=8, words=11, **_):
    """Sequences that count on: what follows is what precedes plus a step."""
    start = torch.randint(words, (size, 1), generator=generator)
    by = torch.randint(1, 3, (size, 1), generator=generator)
    tokens = (start + by * torch.arange(length + 1)) % words
    return tokens[:, :-1], tokens[:, 1:]


def token_loss(model, batch):
    tokens, targets = batch
    return cross_entropy(model(tokens).flatten(0, 1), targets.flatten())


class Counter:
    """Counts the forwards of a loss."""

    def __init__(self, loss):
        self.loss, self.count = loss, 0

    def __call__(self, model, batch):
        self.count += 1
        return self.loss(model, batch)


def train_transformer(steps, *, every=None, budget=0.01, seed=0, switch_on=None, width=16, **sizes):
    """Losses, the guard or None, what it took of forwards and processor seconds, and those of training."""
    Switch.kind = Switch.place = ""
    torch.manual_seed(seed)
    net = Transformer(width, length=sizes.get("length", 8))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    counted = Counter(token_loss)
    guard = None if every is None else gradproof.torch.guard(net, counted, every=every, budget=budget, rng=seed)
    losses, own, began, first = [], 0.0, time.process_time(), (0, 0.0)
    for step in range(1, steps + 1):
        if switch_on is not None and step == switch_on[0]:
            Switch.place, Switch.kind = switch_on[1:]
        batch = token_batch(generator, **sizes)
        loss = token_loss(net, batch)
        loss.backward()
        if guard is not None:
            before = time.process_time()
            try:
                guard.step(batch)
            except gradproof.GradientError as error:
                return step, error.report, guard
            own += time.process_time() - before
            if step == 1:
                first = counted.count, own
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    seconds = time.process_time() - began - own
    return losses, guard, counted.count - first[0], own - first[1], seconds


def cost(steps=2000, every=200, **sizes):
    """The guard's share after its first check, and whether the loss curve is the same."""
    plain, *_ = train_transformer(steps, **sizes)
    losses, guard, forwards, own, seconds = train_transformer(steps, every=every, **sizes)
    found = guard.report()
    print(guard)
    print(f"{steps} steps, {len(found.probed)} probes, {forwards} forwards ({100 * forwards / steps:.2f} %)")
    print(f"processor time of the guard {own:.2f} s, of training {seconds:.1f} s ({100 * own / seconds:.2f} %)")
    print(f"loss curve bit for bit the same: {losses == plain} (from {losses[0]:.3f} to {losses[-1]:.3f})")
    return found, forwards / steps, own / seconds, losses == plain


WRONG = [
    *((f"blocks.{i}.{part} x", kind) for i, part, kind in [(0, "act", "factor"), (1, "act", "forgotten")]),
    *(
        (f"blocks.{i}.norm{j} x", kind)
        for i, j, kind in [(0, 1, "forgotten"), (0, 2, "sign"), (1, 1, "factor"), (1, 2, "zero")]
    ),
    *(
        (f"blocks.{i}.up {of}", kind)
        for i, of, kind in [(0, "x", "factor"), (0, "weight", "sign"), (1, "bias", "factor")]
    ),
    *(
        (f"blocks.{i}.down {of}", kind)
        for i, of, kind in [(0, "weight", "rolled"), (1, "x", "rolled"), (1, "bias", "zero")]
    ),
    *((f"head {of}", kind) for of, kind in [("x", "factor"), ("weight", "factor"), ("bias", "sign"), ("x", "zero")]),
    *((f"blocks.{i}.norm{j} {of}", kind) for i, j, of, kind in [(0, 1, "weight", "factor"), (1, 2, "bias", "rolled")]),
    *((f"blocks.{i}.act x", kind) for i, kind in [(0, "zero"), (1, "rolled")]),
]


def wrong(every=20, at=95, cases=WRONG):
    """How many are reported within two intervals, with the module named."""
    found = 0
    for seed, (place, kind) in enumerate(cases):
        step, report, _ = train_transformer(200, every=every, budget=100.0, seed=seed, switch_on=(at, place, kind))
        is_found = isinstance(step, int)
        module = "model" + "".join(
            f"[{part}]" if part.isdigit() else f".{part}" for part in place.split()[0].split(".")
        )
        errors = [one.path for one in report.findings if one.severity is gradproof.Severity.ERROR] if is_found else []
        is_good = is_found and at <= step < at + 2 * every and any(path.startswith(module) for path in errors)
        found += is_good
        print(f"{place:24} {kind:10} step {step if is_found else None}  {errors[:2]}  {'ok' if is_good else 'MISSED'}")
    Switch.kind = Switch.place = ""
    print(f"{found} of {len(cases)} reported within two intervals, the module named")
    return found, len(cases)


def small_net(kind, width, dtype):
    act = nn.Tanh if "smooth" in kind else nn.ReLU
    parts = [nn.Linear(6, width), act(), nn.Dropout(0.2), nn.Linear(width, width), act(), nn.Linear(width, 3)]
    if "norm" in kind:
        parts[3:3] = [nn.BatchNorm1d(width)]
    if "shrink" in kind:
        parts[3:3] = [nn.Hardshrink(0.2)]
    return nn.Sequential(*parts).to(dtype)


RIGHT = """
    relu, smooth, relu norm, relu one, relu explode, smooth explode, relu bfloat16, smooth bfloat16, relu norm bfloat16,
    relu double, relu native, smooth native, relu accumulate, relu scaled, relu shrink, smooth converge,
    relu bfloat16 outside, smooth bfloat16 params, relu drawn, transformer
"""
RIGHT = [kind.strip() for kind in RIGHT.split(",")]


class OnlyFloat32(torch.autograd.Function):
    """The identity of a kernel that takes float32 alone."""

    @staticmethod
    def forward(ctx, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g


def right_run(kind, seed, steps=60, every=5):
    """Train correctly, guarded; the guard's report, or the alarm."""
    if kind == "transformer":
        found = train_transformer(steps, every=every, budget=100.0, seed=seed)
        return found[1].report() if isinstance(found[0], list) else found[1]
    torch.manual_seed(seed)
    net = small_net(kind, 16 if seed % 2 else 48, torch.float64 if "double" in kind else torch.float32)
    if "params" in kind:
        net = net.bfloat16()
    dtype = next(net.parameters()).dtype
    rate = 30.0 if "explode" in kind else 0.05
    optimizer = torch.optim.SGD(net.parameters(), rate, momentum=0.9)
    micro, scale = (3, 1 / 3) if "accumulate" in kind else (1, 1024.0 if "scaled" in kind else 1.0)
    teacher = torch.randn(6, 3)

    def loss(model, batch):
        inputs, targets = batch
        if "drawn" in kind:
            inputs = inputs + 0.1 * torch.randn_like(inputs)
        is_cast = "bfloat16" in kind and "outside" not in kind and "params" not in kind
        with torch.autocast("cpu", torch.bfloat16) if is_cast else contextlib.nullcontext():
            outputs = model(inputs)
        if "native" in kind:
            outputs = OnlyFloat32.apply(outputs)
        return cross_entropy(outputs, targets)

    guard = gradproof.torch.guard(net, loss, every=every, budget=1000.0, rng=seed)
    fixed = torch.randn(16, 6)
    for _ in range(steps):
        batches = []
        for _ in range(micro):
            inputs = fixed if "converge" in kind else torch.randn(1 if "one" in kind else 16, 6)
            batches.append((inputs.to(dtype), (inputs @ teacher).argmax(1)))
            is_outside = "outside" in kind
            with torch.autocast("cpu", torch.bfloat16) if is_outside else contextlib.nullcontext():
                value = loss(net, batches[-1])
            (scale * value).backward()
        try:
            guard.step(*batches, scale=scale)
        except gradproof.GradientError as error:
            return error.report
        if "scaled" in kind:
            for one in net.parameters():
                one.grad /= scale
        if "explode" not in kind:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return guard.report()


def right(seeds=5, kinds=RIGHT):
    """How many right runs raise an alarm."""
    alarms = 0
    for kind in kinds:
        for seed in range(seeds):
            began = time.perf_counter()
            found = right_run(kind, seed)
            is_alarm = isinstance(found, gradproof.Report)
            alarms += is_alarm
            if is_alarm:
                print(f"{kind} {seed}: ALARM\n{found}")
                continue
            counts = f"{found.fitting} fit, {found.unrepeated} unrepeated, {found.unclear} unclear, {found.unexplained}"
            bound = "-" if found.bound is None else f"{found.bound:.1e}"
            first = "none" if found.first is None else found.first.verdict.value
            took = time.perf_counter() - began
            print(f"{kind:24} {seed} {counts} unexplained; bound {bound}; first {first}; {took:.1f} s")
    print(f"{alarms} alarms in {seeds * len(kinds)} right runs")
    return alarms


def course_run(**options):
    """The example that trains the course's network: its costs or the report of the alarm."""
    try:
        return train(**options)
    except gradproof.GradientError as error:
        return error.report, None


def course_part():
    """The course's network with the published bugs from the first step, from step 300, and without."""
    for bugs_from in (1, 300):
        report, _ = course_run(bugs_from=bugs_from)
        print(f"bugs from step {bugs_from}: stopped: {[one.path for one in report.findings]}")
    costs, guard = course_run()
    print(f"fixed: {len(costs)} steps, cost from {costs[0]:.3f} to {costs[-1]:.3f}")
    print(guard)


def cost_part():
    cost(width=64, size=32, length=16)


PARTS = {"cost": cost_part, "right": right, "wrong": wrong, "course": course_part}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all")
    torch.set_num_threads(1)
    for part in parser.parse_args().parts or PARTS:
        print(f"== {part}")
        PARTS[part]()
