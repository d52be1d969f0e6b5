"""Every operator of torch that has a derivative, on torch's own samples: our verdict beside those of torch's gradcheck.

    python benchmarks/torch_operators.py                # table, totals and disagreements
    python benchmarks/torch_operators.py --only linalg  # the operators whose name contains this
    python benchmarks/torch_operators.py --json FILE    # one record for each operator

The operators, their samples and the functions that are checked are those of torch's own test suite
(`torch.testing._internal.common_methods_invocations.op_db`, which needs expecttest): float64, the first sample with
something to differentiate, `gradcheck_wrapper` and `output_process_fn_grad` applied, the random state the same at
every call. Reverse mode, which is what `torch.autograd.gradcheck` checks by default. All tools see the same function
and the same tensors, one after the other in one process.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before NumPy is loaded: its threads would be waiting for each other at our expense.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from torch.autograd.gradcheck import gradcheck

import gradproof

TOOLS = ("ours", "slow", "fast")


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator as a function of the tensors of its sample that require grad."""

    name: str
    function: Callable[..., Any]
    tensors: tuple[torch.Tensor, ...]
    nondeterminism: float


def operators(only: str = "", start: int = 0) -> Iterator[Operator | tuple[str, str]]:
    """All operators with a float64 derivative; where there is nothing to check, (name, why)."""
    from torch.testing._internal.common_methods_invocations import op_db

    for op in op_db[start:]:
        name = op.name + (f" ({op.variant_test_name})" if op.variant_test_name else "")
        if not op.supports_autograd or not re.search(only, name):
            continue
        if torch.float64 not in op.supported_backward_dtypes("cpu"):
            yield name, "no float64"
            continue
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002  (samples are drawn from it)
        sample = next((s for s in op.sample_inputs("cpu", torch.float64, requires_grad=True) if _tensors(s)), None)
        if sample is None:
            yield name, "no sample with anything to differentiate"
            continue
        function = _function(op, sample)
        yield Operator(name, function, tuple(_tensors(sample)), op.gradcheck_nondet_tol)


def _listed(sample: Any) -> list[Any]:
    return [sample.input, *sample.args, *sample.kwargs.values()]


def _members(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _differentiable(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _tensors(sample: Any) -> list[torch.Tensor]:
    found = [tensor for value in _listed(sample) for tensor in _members(value) if _differentiable(tensor)]
    return found if any(tensor.numel() for tensor in found) else []


def _function(op: Any, sample: Any) -> Callable[..., Any]:
    """As torch's own tests of gradients make it, but with the random state set at every call."""
    variant = op.get_op()

    def function(*tensors: torch.Tensor) -> Any:
        torch.default_generator.manual_seed(0)
        given = iter(tensors)

        def put_back(value: Any) -> Any:
            if isinstance(value, (list, tuple)) and any(_differentiable(one) for one in value):
                return type(value)([next(given) if _differentiable(one) else one for one in value])
            return next(given) if _differentiable(value) else value

        positional = [put_back(value) for value in (sample.input, *sample.args)]
        named = {key: put_back(value) for key, value in sample.kwargs.items()}
        output = op.gradcheck_wrapper(variant, *positional, **named)
        return output if sample.output_process_fn_grad is None else sample.output_process_fn_grad(output)

    function.__name__ = op.name.rpartition(".")[2]
    return function


# ---------------------------------------------------------------------------------------------------------- the tools


class TooLongError(Exception):
    """A tool has run into the limit."""


@contextlib.contextmanager
def time_limit(seconds: float, *, of_processor: bool = False) -> Iterator[None]:
    """Raise `TooLongError` after some seconds, on the clock or of processor time, whatever else the machine does."""
    number, timer = (signal.SIGPROF, signal.ITIMER_PROF) if of_processor else (signal.SIGALRM, signal.ITIMER_REAL)

    def stop(*_: Any) -> None:
        raise TooLongError

    before = signal.signal(number, stop)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)


def ask(tool: str, operator: Operator, limit: float) -> dict[str, Any]:
    """What one tool says of an operator: verdict, seconds, evaluations, details."""
    calls = 0

    def counted(*tensors: torch.Tensor) -> Any:
        nonlocal calls
        calls += 1
        return operator.function(*tensors)

    counted.__name__ = operator.function.__name__
    details: dict[str, Any] = {}
    start = time.process_time()
    try:
        with time_limit(limit):
            if tool == "ours":
                report = gradproof.check(counted, operator.tensors, modes=("rev",), rng=1)
                verdict = report.verdict.value
                details = {"reason": report.reason.value if report.reason else "", "bound": _bound(report)}
                details["findings"] = [f"{one.id} {one.path} {one.kind}" for one in report.findings]
            else:
                gradcheck(counted, operator.tensors, fast_mode=tool == "fast", nondet_tol=operator.nondeterminism)
                verdict = "passes"
    except TooLongError:
        verdict = "too long"
    except Exception as error:
        is_failure = type(error).__name__ == "GradcheckError"
        verdict = "fails" if is_failure else "refuses"
        trace = "" if is_failure else "".join(traceback.format_exception(error)[-4:])
        details = {"message": f"{type(error).__name__}: {error}"[:400], "trace": trace}
    return {"verdict": verdict, "seconds": time.process_time() - start, "calls": calls, **details}


def _bound(report: gradproof.Report) -> float | None:
    bounds = [leaf.bound for leaf in report.leaves if leaf.bound is not None]
    return max(bounds, default=None)


def sweep(
    only: str = "", limit: float = 120.0, tools: tuple[str, ...] = TOOLS, start: int = 0
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Records of all operators, and those left out by the reason why."""
    records: list[dict[str, Any]] = []
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    for tool in tools:
        # What torch imports with the first derivative is no tool's fault.
        ask(tool, Operator("sin", torch.sin, (torch.ones(3, dtype=torch.float64, requires_grad=True),), 0.0), limit)
    for operator in operators(only, start):
        if isinstance(operator, tuple):
            left_out[operator[1]].append(operator[0])
            continue
        sizes = [tensor.numel() for tensor in operator.tensors]
        record: dict[str, Any] = {"name": operator.name, "inputs": sum(sizes)}
        for tool in tools:
            record[tool] = ask(tool, operator, limit)
        records.append(record)
    return records, left_out


# ---------------------------------------------------------------------------------------------------------- the table


def table(records: list[dict[str, Any]], left_out: dict[str, list[str]], tools: tuple[str, ...]) -> str:
    """Totals, and what is not unanimous."""
    lines = [f"operators checked: {len(records)}"]
    lines += [f"left out, {why}: {len(names)}: {', '.join(names)}" for why, names in left_out.items()]
    for tool in tools:
        verdicts = collections.Counter(record[tool]["verdict"] for record in records)
        seconds = [record[tool]["seconds"] for record in records]
        calls = [record[tool]["calls"] for record in records]
        counts = ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common())
        lines.append(
            f"{tool:<5}{sum(seconds):9.1f} s   median {1e3 * float(np.median(seconds)):6.1f} ms, "
            f"{int(np.median(calls)):4} calls   {counts}"
        )
    odd = [record for record in records if {record[tool]["verdict"] for tool in tools} - {"CORRECT", "passes"}]
    lines += ["", f"{'not unanimously right':<56}" + "".join(f"{tool:<16}" for tool in tools)]
    for record in odd:
        words = [str(record[tool]["verdict"]) for tool in tools]
        ours = record.get("ours", {})
        why = "; ".join(
            [str(ours.get("reason", "")), *ours.get("findings", [])[:2], str(ours.get("message", ""))[:120]]
        )
        lines.append(f"{record['name']:<56}" + "".join(f"{word:<16}" for word in words) + why.strip("; "))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression that names of operators must match")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one tool and one operator")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    tools = tuple(asked.tools.split(","))
    records, left_out = sweep(asked.only, asked.limit, tools)
    if asked.json:
        asked.json.write_text(json.dumps({"records": records, "left_out": left_out}, indent=1), encoding="utf-8")
    print(table(records, left_out, tools))


if __name__ == "__main__":
    main()
