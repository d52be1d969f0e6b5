"""Interrupt checks of a PyTorch model everywhere, and compare everything with what it was before, bit for bit.

    $ PYTHONPATH=src python benchmarks/interrupts.py                    # 600 signals, 700 lines
    $ PYTHONPATH=src python benchmarks/interrupts.py --count 60         # 60 of each
    $ PYTHONPATH=src python benchmarks/interrupts.py --seed 5 --only lines

A model in train mode with batch normalisation, dropout, gradients, hooks and a frozen parameter is checked by
`gradproof.torch.check_module`, in four ways by turns: in float64; in float32, beside a float64 copy; with a wrong rule,
which is searched for in the modules; and in all modes of the first order.

signals: SIGINT comes at a random moment of the check.
lines: KeyboardInterrupt is raised at a random line of whatever Python runs in the check, by `sys.settrace`: that of
gradproof, of torch, and of the lines that put things back.

Ends with exit code 1 if anything is not what it was.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad

import gradproof.torch

SIGNALS, LINES = 600, 700


class Doubled(torch.autograd.Function):
    """x squared, with twice its derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 4 * x * cotangents[0]  # wrong on purpose


class Model(torch.nn.Module):
    """Two layers with batch normalisation and dropout; with `wrong` a rule between them is off by a factor."""

    def __init__(self, *, wrong: bool) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(3, 6), torch.nn.Linear(6, 2)
        self.norm, self.drop = torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.3)
        self.wrong = wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(torch.tanh(self.norm(self.first(x))))
        return self.last(Doubled.apply(x) if self.wrong else x * x)


def quiet(*_: Any) -> None:
    """A hook that does nothing."""


def build(*, wrong: bool = False, dtype: torch.dtype = torch.float64) -> Model:
    """A model in the middle of training."""
    torch.manual_seed(0)
    model = Model(wrong=wrong).to(dtype)
    model(torch.randn(7, 3, dtype=dtype)).square().sum().backward()
    model.last.bias.requires_grad_(False)
    model.norm.register_forward_hook(quiet)
    model.first.weight.register_hook(quiet)
    return model


def loss(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return model(batch).square().mean()


def everything(model: torch.nn.Module, batch: torch.Tensor) -> dict[str, Any]:
    """All that must be as it was, by name: bits of tensors beside the objects themselves."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    found: dict[str, Any] = {"batch": of_tensor(batch)}
    for path, part in model.named_modules():
        found[f"{path} modes and names"] = part.training, sorted(vars(part))
        for group in ("_parameters", "_buffers"):
            members = getattr(part, group)
            found[f"{path}{group} order"] = list(members)
            found.update({f"{path}.{name}": of_tensor(tensor) for name, tensor in members.items()})
        found[f"{path} hooks"] = [
            (name, list(value.values())) for name, value in vars(part).items() if "hooks" in name and value is not None
        ]
    return found | {
        "rule": {name: Doubled.__dict__.get(name) for name in ("forward", "backward", "setup_context")},
        "random": (random.getstate(), torch.get_rng_state().numpy().tobytes(), kind, keys.tobytes(), rest),
        "errors": (np.geterr(), np.geterrcall()),
        "warnings": (id(warnings.filters), list(warnings.filters), warnings.showwarning),
        "dtype, device": (torch.get_default_dtype(), torch.get_default_device()),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "contexts": (
            forward_ad._current_level,
            torch._C._functorch.get_dynamic_layer_stack_depth(),
            torch._C._len_torch_dispatch_stack(),
            torch._C._len_torch_function_stack(),
            torch._C._is_fwd_grad_enabled(),
        ),
        "handler": signal.getsignal(signal.SIGINT),
    }


def of_tensor(tensor: torch.Tensor | None) -> Any:
    if tensor is None:
        return None
    hooks = tensor._backward_hooks
    gradient = tensor.grad if tensor.is_leaf else None
    return (
        id(tensor),
        tensor.data_ptr(),
        tensor._version,
        tensor.detach().numpy().tobytes(),
        tensor.requires_grad,
        None if hooks is None else list(hooks.values()),
        None if gradient is None else (id(gradient), gradient.numpy().tobytes()),
    )


Question = tuple[Model, torch.Tensor, dict[str, Any]]


def questions() -> dict[str, Question]:
    """What is checked, by name."""
    x = torch.as_tensor(np.random.default_rng(1).normal(size=(5, 3)))
    return {
        "float64": (build(), x, {}),
        "float32": (build(dtype=torch.float32), x.float(), {}),
        "wrong rule": (build(wrong=True), x, {}),
        "all modes": (build(), x, {"modes": None}),
    }


class Alarm:
    """Sends SIGINT to this process after some time, from another thread."""

    def __init__(self, after: float) -> None:
        self.after = after
        self._thread = threading.Thread(target=self._send, daemon=True)

    def _send(self) -> None:
        time.sleep(self.after)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait for it, where the check ended before."""
        self._thread.join()
        time.sleep(0)  # the handler runs here at the latest


class AtLine:
    """Raises KeyboardInterrupt at the line with a number, counted from the start of the check."""

    def __init__(self, number: int) -> None:
        self.number, self.count, self.where = number, 0, ""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self.number:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
                raise KeyboardInterrupt
        return self

    def start(self) -> None:
        sys.settrace(self)

    def finish(self) -> None:
        sys.settrace(None)


def interrupted(question: Question, interrupt: Alarm | AtLine) -> bool:
    """Run a check, which is interrupted; whether that broke it off."""
    model, batch, options = question
    is_done = False
    try:
        interrupt.start()
        gradproof.torch.check_module(model, loss, batch, rng=0, progress=False, **options)
        is_done = True
        interrupt.finish()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    with contextlib.suppress(KeyboardInterrupt):
        interrupt.finish()
    return not is_done


def duration(question: Question) -> float:
    """Seconds of a check."""
    model, batch, options = question
    started = time.perf_counter()
    gradproof.torch.check_module(model, loss, batch, rng=0, progress=False, **options)
    return time.perf_counter() - started


def length(question: Question) -> int:
    """Lines that a check runs."""
    line = AtLine(0)
    interrupted(question, line)
    return line.count


def run(kind: str, count: int, seed: int) -> int:
    """Interrupt `count` checks; print what came of them, and return how often something was not as before."""
    generator = random.Random(f"{kind} {seed}")
    asked = questions()
    verdicts = {name: gradproof.torch.check_module(m, loss, x, rng=0, **o).verdict for name, (m, x, o) in asked.items()}
    sizes: dict[str, float] = {}
    for name, question in asked.items():
        sizes[name] = min(duration(question) for _ in range(3)) if kind == "signals" else length(question)
    changed, hits, runs = 0, dict.fromkeys(asked, 0), 0
    before = {name: everything(model, batch) for name, (model, batch, _) in asked.items()}
    while sum(hits.values()) < count:
        name = list(asked)[sum(hits.values()) % len(asked)]
        model, batch, _ = asked[name]
        interrupt: Alarm | AtLine
        if kind == "signals":
            interrupt = Alarm(generator.uniform(0.0, sizes[name]))
        else:
            interrupt = AtLine(generator.randint(1, int(sizes[name])))
        is_hit = interrupted(asked[name], interrupt)
        hits[name] += is_hit
        runs += 1
        after = everything(model, batch)
        apart = [what for what in before[name] if after.get(what) != before[name][what]]
        if apart or after.keys() != before[name].keys():
            changed += 1
            where = getattr(interrupt, "where", "") or f"after {getattr(interrupt, 'after', 0.0):.4f} s"
            print(f"  changed by {name}, {where}: {', '.join(apart)}", flush=True)
            before[name] = after
        if runs > 3 * count + 20:
            break
    said = ", ".join(f"{name} {number}" for name, number in hits.items())
    print(f"{kind}: {sum(hits.values())} checks broken off ({said}), {runs - sum(hits.values())} came too late;")
    print(f"  state not as before in {changed}")
    for name, (model, batch, options) in asked.items():
        if gradproof.torch.check_module(model, loss, batch, rng=0, **options).verdict is not verdicts[name]:
            changed += 1
            print(f"  afterwards, {name} has another verdict")
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, help=f"of each kind; {SIGNALS} and {LINES} by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["signals", "lines"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds: dict[str, Callable[[], int]] = {
        "signals": lambda: run("signals", options.count or SIGNALS, options.seed),
        "lines": lambda: run("lines", options.count or LINES, options.seed),
    }
    changed = sum(work() for kind, work in kinds.items() if options.only in (None, kind))
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
