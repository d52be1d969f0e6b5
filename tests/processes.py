"""Guarded training in two processes: `python tests/processes.py RANK FOLDER CASE ...`, once for each rank.

What became of each case is written to `FOLDER/RANK.json`; see `test_guard_processes.py`.
"""

import contextlib
import datetime
import hashlib
import json
import sys
from pathlib import Path

import torch
import torch.distributed
import torch.distributed.nn
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gradproof
import gradproof.torch


class Cube(torch.autograd.Function):
    factor = 3.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * Cube.factor * x**2


class Cubes(nn.Module):
    def forward(self, x):
        return Cube.apply(x)


class Branches(nn.Module):
    """Uses one of two layers; which one, the rank or the batch decides."""

    def __init__(self, rank):
        super().__init__()
        self.rank, self.layers = rank, nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x):
        return self.layers[int(x.detach().sum() > 0) if self.rank is None else self.rank](x)


class Case:
    """A run of 16 steps of 1 batch or 3; in the words of its name."""

    def __init__(self, name, rank):
        self.name, self.rank, self.words = name, rank, name.split()
        self.is_guarding = False
        torch.manual_seed(0)
        middle = []
        if "norm" in self.words:
            middle.append(nn.BatchNorm1d(4))
        if "dropout" in self.words:
            middle.append(nn.Dropout(0.1))
        if "unused" in self.words:
            middle.append(Branches(rank if "rank" in self.words else None))
        self.net = nn.Sequential(nn.Linear(3, 4), Cubes(), *middle, nn.Linear(4, 1))
        alone = [torch.distributed.new_group([0]), torch.distributed.new_group([1])] if "alone" in self.words else None
        self.wrapped = DistributedDataParallel(
            self.net,
            process_group=None if alone is None else alone[rank],
            find_unused_parameters="unused" in self.words,
            gradient_as_bucket_view="view" in self.words,
        )
        self.model = torch.compile(self.wrapped, backend="eager") if "compiled" in self.words else self.wrapped
        self.micro = 3 if "accumulated" in self.words else 1

    def loss(self, model, batch):
        inputs, targets = batch
        if "drawn" in self.words and self.rank == 1:
            inputs = inputs + 0.1 * torch.randn_like(inputs)
        if "raises" in self.words and self.rank == 1 and self.is_guarding:
            raise RuntimeError("not again")
        outputs = self.model(inputs) if "outside" in self.words else model(inputs)
        if "gathered" in self.words:
            outputs, targets = torch.cat(torch.distributed.nn.all_gather(outputs)), torch.cat([targets, targets])
        return nn.functional.mse_loss(outputs, targets)

    def run(self, *, guarded):
        """What the guard said in the end, and what training has come to."""
        Cube.factor, losses, said = 3.0, [], ""
        guard = None
        if guarded and not ("alone" in self.words and self.rank):
            target = self.net if "inner" in self.words else self.model
            guard = gradproof.torch.guard(target, self.loss, every=4, budget=1e3, rng=self.rank)
        optimizer = torch.optim.SGD(self.net.parameters(), 0.05)
        torch.manual_seed(self.rank)
        try:
            with self.wrapped.join() if "join" in self.words else contextlib.nullcontext():
                for step in range(1, 17):
                    said = f"step {step}"
                    losses += self.step(step, guard, optimizer)
            report = None if guard is None else guard.report()
            said = "" if report is None else f"{report.fitting} of {len(report.probed)}, {report.first.verdict.value}"
        except gradproof.GradientError as error:
            first = error.report.findings[0]
            said += f": GradientError: {first.path}: {first.advice}"
        except gradproof.GradproofError as error:
            said += f": {type(error).__name__}: {error}"
        state = b"".join(one.numpy().tobytes() for one in self.net.state_dict().values())
        trace = hashlib.sha256(str(losses).encode() + state + torch.get_rng_state().numpy().tobytes())
        return {"said": said, "trace": trace.hexdigest()}

    def step(self, step, guard, optimizer):
        """The losses of one step."""
        if step == 10 and "wrong" in self.words and self.rank == 1:
            Cube.factor = 2.0  # wrong on purpose
        losses, batches = [], [(torch.rand(6, 3), torch.rand(6, 1)) for _ in range(self.micro)]
        for i, batch in enumerate(batches):
            with contextlib.nullcontext() if i == self.micro - 1 else self.wrapped.no_sync():
                value = self.loss(self.model, batch)
                losses.append(value.item())
                (value / self.micro).backward()
            if guard is not None and "early" in self.words:
                guard.step(batch, scale=1 / self.micro)
        if step == 8 and "late" in self.words and self.rank == 1:
            optimizer.step()
        if guard is not None and "early" not in self.words:
            self.is_guarding = True
            guard.step(*batches, scale=1 / self.micro)
            self.is_guarding = False
        optimizer.step()
        optimizer.zero_grad()
        return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    number, folder = int(sys.argv[1]), Path(sys.argv[2])
    # (Who waits in vain for the other is told so soon.)
    wait = datetime.timedelta(seconds=30)
    torch.distributed.init_process_group("gloo", f"file://{folder / 'store'}", wait, world_size=2, rank=number)
    found = {}
    for name in sys.argv[3:]:
        found[name] = [Case(name, number).run(guarded=guarded) for guarded in (False, True)]
        (folder / f"{number}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()
