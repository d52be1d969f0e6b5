"""torch's own gradient tests through the drop-ins, and its own modules through `check_module`.

    python benchmarks/torch_gradients.py                                # op_db, up to 12 samples an operator, 4 tests
    python benchmarks/torch_gradients.py --samples 1 --only linalg      # the first sample of operators with this name
    python benchmarks/torch_gradients.py --skip 1 --share 3             # the others of a third of the operators
    python benchmarks/torch_gradients.py --modules                      # module_db, with wrt="all"
    python benchmarks/torch_gradients.py --lines FILE                   # a JSON line for every check, as it ends

The tests are those of torch's `test/test_ops_gradients.py`: the operators of
`torch.testing._internal.common_methods_invocations.op_db` (which needs expecttest) whose flags say that they support
the test, in float64 and complex128, on their samples, called as they are called there; in-place variants are left out.
Where the drop-in does not return True, torch's own slow gradcheck is asked the same. Random states are set before each.
The modules are those of `torch.testing._internal.common_modules.module_db` in float32 and float64, in train and in eval
mode; the loss is a fixed random combination of all that a module returns. Inputs that hold nan are left out: torch's
gradcheck fails there.
"""

# torch's own annotations are partial, and its test suite has next to none:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import collections
import itertools as it
import json
import os
import random
import re
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before NumPy is loaded: its threads would be waiting for each other at our expense.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from torch.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from torch.utils import _pytree  # pyright: ignore[reportPrivateUsage]
from torch_operators import TooLongError, time_limit

import gradproof
import gradproof.torch
from gradproof.compat import torch as drop_in

DTYPES = {"float64": torch.float64, "complex128": torch.complex128, "float32": torch.float32}
TESTS = ("grad", "forward", "gradgrad", "fwd_gradgrad")
Record = dict[str, Any]


def is_supported(op: Any, test: str, dtype: torch.dtype) -> bool:
    """Whether torch's own test suite runs this test, going by the operator's flags."""
    if dtype not in op.supported_backward_dtypes("cpu") or not (op.supports_autograd or op.supports_forward_ad):
        return False
    return {
        "grad": op.supports_autograd,
        "forward": op.supports_forward_ad,
        "gradgrad": op.supports_autograd and op.supports_gradgrad,
        "fwd_gradgrad": op.supports_fwgrad_bwgrad,
    }[test]


def call_of(op: Any, test: str) -> tuple[str, dict[str, Any]]:
    """The checker and its options, as in `_check_helper` of torch's test_ops_gradients.py."""
    common: dict[str, Any] = {"check_grad_dtypes": True, "nondet_tol": op.gradcheck_nondet_tol}
    if test == "grad":
        return "gradcheck", common | {"check_batched_grad": op.check_batched_grad, "check_undefined_grad": True}
    if test == "forward":
        batched = op.check_batched_forward_grad and op.supports_forward_ad
        forward = {"check_forward_ad": True, "check_backward_ad": False, "check_batched_forward_grad": batched}
        return "gradcheck", common | forward | {"check_undefined_grad": False, "check_batched_grad": False}
    common |= {"gen_non_contig_grad_outputs": False}
    if test == "gradgrad":
        return "gradgradcheck", common | {"check_batched_grad": op.check_batched_gradgrad}
    forward = {"check_fwd_over_rev": True, "check_rev_over_rev": False}
    return "gradgradcheck", common | forward | {"check_batched_grad": False, "check_undefined_grad": False}


def function_of(op: Any, sample: Any) -> tuple[Callable[..., Any], tuple[torch.Tensor, ...]]:
    """A sample as a function of its tensors that require grad, as torch's tests make it, and these tensors."""
    variant = op.get_op()

    def is_list(value: Any) -> bool:
        return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(x, torch.Tensor) for x in value)

    def moves(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.requires_grad

    listed = [sample.input, *sample.args, *sample.kwargs.values()]
    tensors = tuple(one for value in listed for one in (value if is_list(value) else [value]) if moves(one))

    def function(*inputs: torch.Tensor) -> Any:
        given = iter(inputs)

        def placed(value: Any) -> Any:
            if is_list(value):
                return [next(given) if moves(one) else one for one in value]
            return next(given) if moves(value) else value

        positional = [placed(value) for value in (sample.input, *sample.args)]
        named = {key: placed(value) for key, value in sample.kwargs.items()}
        output = op.gradcheck_wrapper(variant, *positional, **named)
        return output if sample.output_process_fn_grad is None else sample.output_process_fn_grad(output)

    function.__name__ = op.name.rpartition(".")[2]
    return function, tensors


def seeded() -> None:
    """Set the random states that samples and operators draw from."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (samples are drawn from it)


def asked(call: Callable[[], Any], limit: float) -> Record:
    """What a checker says: True, or in what way it does not."""
    seeded()
    start = time.process_time()
    answer: Record = {"said": "True"}
    try:
        with time_limit(limit, of_processor=True), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        if any(issubclass(one.category, gradproof.GradproofWarning) for one in caught):
            answer["said"] = "True, with a warning"
    except TooLongError:
        answer["said"] = "too long"
    except gradproof.GradientError as error:
        report = error.report
        lines = [f"{one.id} {one.path} {one.kind}" for one in report.findings][:3]
        answer |= {
            "said": report.verdict.value,
            "why": "; ".join([report.reason.value if report.reason else "", *lines]),
        }
    except GradcheckError as error:
        answer |= {"said": "fails", "why": " ".join(str(error).split())[:200]}
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames))
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]} [{where}]"
        answer |= {"said": "exception", "why": why}
    return answer | {"seconds": time.process_time() - start}


def operator_records(options: argparse.Namespace) -> Iterator[Record]:
    """Every test of every sample of torch's operators."""
    from torch.testing._internal.common_methods_invocations import op_db

    for op in op_db:
        name = op.name + (f" ({op.variant_test_name})" if op.variant_test_name else "")
        if not re.search(options.only, name) or zlib.crc32(name.encode()) % options.share != options.part:
            continue
        for dtype in options.dtypes:
            tests = [test for test in options.tests if is_supported(op, test, DTYPES[dtype])]
            if not tests:
                continue
            seeded()
            conjugated = op.test_conjugated_samples and DTYPES[dtype].is_complex
            samples = op.sample_inputs("cpu", DTYPES[dtype], requires_grad=True, include_conjugated_inputs=conjugated)
            # (All are drawn first: what a check draws is no concern of theirs.)
            for number, sample in enumerate(list(it.islice(samples, options.skip, options.samples))):
                function, tensors = function_of(op, sample)
                for test in tests:
                    checker, called = call_of(op, test)
                    record: Record = {"name": name, "dtype": dtype, "sample": number + options.skip, "test": test}
                    ours = getattr(drop_in, checker)
                    record["ours"] = asked(lambda: ours(function, tensors, **called), options.limit)  # noqa: B023
                    if not record["ours"]["said"].startswith("True"):
                        theirs = {"gradcheck": gradcheck, "gradgradcheck": gradgradcheck}[checker]
                        record["torch"] = asked(lambda: theirs(function, tensors, **called), options.limit)  # noqa: B023
                    yield record


def module_records(options: argparse.Namespace) -> Iterator[Record]:
    """Every module of torch on its own inputs."""
    from torch.testing._internal.common_modules import module_db

    for info in module_db:
        if not re.search(options.only, info.name):
            continue
        for dtype, training in it.product(options.dtypes, (True, False)):
            seeded()
            inputs = info.module_inputs_func(
                info, device="cpu", dtype=DTYPES[dtype], requires_grad=True, training=training
            )
            for number, given in enumerate(inputs[options.skip : options.samples]):
                if not is_a_point((given.forward_input.args, given.forward_input.kwargs)):
                    continue
                record: Record = {"name": info.name, "dtype": dtype, "sample": number + options.skip}
                record["test"] = "train" if training else "eval"
                record["ours"] = asked(lambda: check_module(info, given, DTYPES[dtype], training), options.limit)  # noqa: B023
                yield record


def is_a_point(batch: Any) -> bool:
    """Whether the input of a module holds no nan: some samples are logarithms of negative numbers."""
    tensors = [one for one in _pytree.tree_leaves(batch) if isinstance(one, torch.Tensor)]
    return not any(bool(one.isnan().any()) for one in tensors)


def check_module(info: Any, given: Any, dtype: torch.dtype, training: bool) -> None:
    """Make a module and check it by its parameters and its inputs."""
    seeded()
    model = info.module_cls(*given.constructor_input.args, **given.constructor_input.kwargs)
    model = model.to(dtype).train(training)
    batch = (given.forward_input.args, given.forward_input.kwargs)
    if any(isinstance(one, torch.nn.parameter.UninitializedParameter) for one in model.parameters()):
        with torch.no_grad():
            model(*batch[0], **batch[1])
    generator = torch.Generator()

    def loss(model: Any, batch: Any) -> torch.Tensor:
        generator.manual_seed(1)
        returned = _pytree.tree_leaves(model(*batch[0], **batch[1]))
        outputs = [one for one in returned if isinstance(one, torch.Tensor) and one.is_floating_point()]
        return sum((one * torch.randn(one.shape, generator=generator).to(one.dtype)).sum() for one in outputs)  # pyright: ignore[reportReturnType]

    report = gradproof.torch.check_module(model, loss, batch, wrt="all", rng=1)
    if report.verdict.value in ("WRONG", "INCONCLUSIVE"):
        raise gradproof.GradientError(report)


def table(records: list[Record]) -> str:
    """Counts for each test and dtype, then everything that is not True."""
    columns = sorted({record["ours"]["said"] for record in records})
    lines = [f"{len(records)} checks of {len({record['name'] for record in records})} names"]
    lines.append(f"{'':<28}" + "".join(f"{column:>22}" for column in columns))
    groups = collections.defaultdict[tuple[str, str], list[Record]](list)
    for record in records:
        groups[record["test"], record["dtype"]].append(record)
    for (test, dtype), group in groups.items():
        counts = collections.Counter(record["ours"]["said"] for record in group)
        lines.append(f"{test + ', ' + dtype:<28}" + "".join(f"{counts[column]:>22}" for column in columns))
    ours = sum(record["ours"]["seconds"] for record in records)
    lines += [f"{ours:.0f} s of processor time", ""]
    kinds = collections.defaultdict[tuple[str, str, str, str], list[Record]](list)
    for record in records:
        if not record["ours"]["said"].startswith("True"):
            theirs = record.get("torch", {}).get("said", "")
            kinds[record["ours"]["said"], theirs, record["name"], record["test"]].append(record)
    for (said, theirs, name, test), group in sorted(kinds.items()):
        places = " ".join(f"{record['dtype'][0]}{record['sample']}" for record in group)
        lines.append(f"{said:<13} torch: {theirs:<10} {name} {test} [{places}]: {group[0]['ours'].get('why', '')}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression that names must match")
    parser.add_argument("--samples", type=int, default=12, help="samples of each operator or module")
    parser.add_argument("--skip", type=int, default=0, help="samples left out at the start of each")
    parser.add_argument("--share", type=int, default=1, help="one operator of so many, chosen by a hash of its name")
    parser.add_argument("--part", type=int, default=0, help="which of them, from 0 on")
    parser.add_argument("--dtypes", help="separated by commas")
    parser.add_argument("--tests", default=",".join(TESTS), help="separated by commas")
    parser.add_argument("--modules", action="store_true", help="module_db in place of op_db")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of processor time for one check")
    parser.add_argument("--lines", type=Path, help="file to which a JSON line is added for every check")
    options = parser.parse_args()
    options.dtypes = (options.dtypes or ("float32,float64" if options.modules else "float64,complex128")).split(",")
    options.tests = options.tests.split(",")
    torch.set_num_threads(1)
    records: list[Record] = []
    for record in (module_records if options.modules else operator_records)(options):
        records.append(record)
        if options.lines:
            with options.lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
