"""Kernels at many sizes, dtypes and layouts: what is tried, how a failure is shrunk, and what is said of it."""

import itertools
import pathlib
import sys

import numpy as np
import pytest

import gradproof
from gradproof import UsageError
from helpers import ids

torch = pytest.importorskip("torch")

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))

from kernels import ENTRIES, judge, run  # noqa: E402

import gradproof.torch  # noqa: E402
from gradproof._kernels._patterns import where  # noqa: E402
from gradproof._kernels._shrink import MOST, shrunk  # noqa: E402
from gradproof._kernels._sizes import OF_ONE, axes_of, cases, listed  # noqa: E402


def check_kernel(function, make_inputs=lambda size: torch.rand(size) + 0.5, **options):
    return gradproof.torch.check_kernel(function, make_inputs, **{"layouts": [], "rng": 0, **options})


def of_one(*sizes):
    return [(("n", size),) for size in sizes]


class Square(torch.autograd.Function):
    """The square of each entry, whose gradient is lost from some index on."""

    @staticmethod
    def known(size):
        return size

    @classmethod
    def forward(cls, ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @classmethod
    def backward(cls, ctx, cotangent):
        (x,) = ctx.saved_tensors
        gradient = 2 * x * cotangent
        gradient[cls.known(len(x)) :] = 0
        return gradient


class LostTail(Square):
    @staticmethod
    def known(size):
        return size // 4 * 4  # wrong on purpose


class OneBlock(Square):
    @staticmethod
    def known(size):
        return 5  # wrong on purpose


# -------------------------------------------------------------------------------------------------------- the sizes


def test_the_default_sizes_lie_around_powers_of_two():
    powers = [16, 32, 64, 128, 256, 1024]

    assert {0, 1} <= set(OF_ONE)
    assert all({power - 1, power, power + 1} <= set(OF_ONE) for power in powers)
    assert listed(None, lambda n: n) == {"n": OF_ONE}


def test_every_parameter_without_a_default_is_a_size():
    def make_inputs(rows, columns, scale=1, *, dtype, device=None, generator):
        """Those that have another meaning are none."""

    assert axes_of(make_inputs) == ("rows", "columns")


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_pair_of_sizes_of_two_axes_occurs(count):
    """And for more than two axes that takes fewer cases than all combinations."""
    sizes = dict.fromkeys("abcd"[:count], (0, 1, 7, 16, 33))
    found = [dict(case) for case in cases(sizes)]

    for one, other in itertools.combinations(sizes, 2):
        assert {(case[one], case[other]) for case in found} == set(itertools.product(sizes[one], sizes[other]))
    assert len(found) == 25 if count == 2 else len(found) < 5**count / 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sizes": [-1]}, "integers of at least 0"),
        ({"sizes": []}, "list of integers"),
        ({"sizes": {"m": [1]}}, "must also name `size`"),
        ({"sizes": {"size": [1], "m": [1]}}, "names `m`, but `make_inputs` takes `size`"),
        ({"dtypes": [torch.int32]}, "floating dtypes"),
        ({"dtypes": []}, "at least one"),
        ({"layouts": ["upside_down"]}, "'transposed'"),
        ({"devices": ["nowhere"]}, "devices of torch"),
    ],
)
def test_an_option_that_cannot_be_used_is_explained(options, said):
    with pytest.raises(UsageError, match=said):
        gradproof.torch.check_kernel(Square, lambda size: torch.rand(size), **options)


# ----------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (lambda n: n % 16 > 0, "where `n` is not a multiple of 16"),
        (lambda n: n % 2 > 0, "where `n` is odd"),
        (lambda n: n >= 33, "where `n` is at least 33"),
        (lambda n: n <= 15 and n > 0, "where `n` is at most 15 "),
        (lambda n: n % 16 > 0 and n > 16, "where `n` is not a multiple of 16 and `n` is at least 17"),
        (lambda n: n == 1, "at n=1, right at "),
        (lambda n: n > 0, "at every size but 0"),
        (lambda n: True, "at every size"),
    ],
)
def test_a_rule_is_found_that_all_sizes_obey(fails, said):
    sizes = sorted({*OF_ONE, 12, 24, 48, 96})
    wrong = [n for n in sizes if fails(n)]
    text = where(of_one(*wrong), of_one(*(n for n in sizes if n not in wrong)))

    assert text.startswith(said)


def test_sizes_are_named_where_no_rule_holds():
    assert where(of_one(3, 5, 16), of_one(1, 2, 4, 8, 15, 17)).startswith("at 3 of 9 sizes (3, 5, 16), right at")


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (lambda m, n: m != n, "where `m` and `n` differ"),
        (lambda m, n: m > n, "where `m` is larger than `n`"),
        (lambda m, n: n % 4 > 0, "where `n` is not a multiple of 4"),
        (lambda m, n: n % 4 > 0 and m > 1, "where `m` is at least 2 and `n` is not a multiple of 4"),
    ],
)
def test_a_rule_of_two_axes_is_found(fails, said):
    every = [(("m", m), ("n", n)) for m in (1, 2, 3, 4, 8) for n in (1, 2, 4, 6, 8)]
    wrong = [case for case in every if fails(*dict(case).values())]

    assert where(wrong, [case for case in every if case not in wrong]).startswith(said)


@pytest.mark.parametrize("limit", [1, 2, 17, 18, 33, 40, 500, 999])
def test_a_failure_is_shrunk_to_where_it_begins(limit):
    """Also between the sizes that were tried, in few calls."""
    asked = []

    def fails(case):
        asked.append(case)
        return case[0][1] >= limit

    assert shrunk((("n", 1000),), fails, {"n": (0, 1, 2, 16, 32, 1000)}) == (("n", limit),)
    assert len(asked) <= MOST


def test_each_axis_is_shrunk():
    def fails(case):
        return dict(case)["m"] >= 5 and dict(case)["n"] % 4 > 0

    tried = {"m": (0, 1, 2, 4, 16), "n": (0, 4, 7)}
    assert shrunk((("m", 16), ("n", 7)), fails, tried) == (("m", 5), ("n", 1))


# ----------------------------------------------------------------------------------------------------- the report


def test_a_replay_runs_the_smallest_case_alone():
    """With the same numbers, whatever else was tried; also where the smallest size is none of those."""
    report = check_kernel(OneBlock, sizes=[1, 4, 8])
    (finding,) = report.findings
    names = {"gradproof": gradproof, "OneBlock": OneBlock, "make_inputs": lambda size: torch.rand(size) + 0.5}
    again = eval(finding.reproducer, names)

    assert "sizes=[6]" in finding.reproducer
    assert (ids(again), again.findings[0].claimed, again.findings[0].reference) == (
        ["GP101"],
        finding.claimed,
        finding.reference,
    )
    assert again.modes[0].note == "at size=6; inputs contiguous"


def test_the_same_seed_gives_the_same_report():
    """To the bit, and with all views; it reads back equal."""
    one, other = (check_kernel(LostTail, sizes=[1, 4, 6, 8], layouts=None) for _ in range(2))

    assert one.to_json(run=False) == other.to_json(run=False)
    assert gradproof.Report.from_json(one.to_json()) == one
    assert "is not a multiple of 4" in " ".join(str(one).split())
    assert "is not a multiple of 4" in one._repr_html_()


def test_nothing_of_the_user_is_changed():
    """Neither the random generators, from which `make_inputs` draws, nor a module's gradients and buffers."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    report = check_kernel(model, lambda rows: torch.randn(rows, 3), sizes=[4, 5])

    assert report.correct
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_make_inputs_names_is_passed():
    seen = []

    def make_inputs(size, *, dtype, device, generator):
        seen.append((dtype, device.type))
        return torch.rand(size, dtype=dtype, device=device, generator=generator)

    report = check_kernel(torch.sin, make_inputs, sizes=[2], dtypes=[torch.float64])

    assert report.correct
    assert set(seen) == {(torch.float64, "cpu")}


def test_a_dtype_that_is_refused_is_not_available():
    def single(x):
        if x.dtype != torch.float32:
            raise TypeError("float32 alone")
        return x.sin()

    report = check_kernel(single, sizes=[2], dtypes=[torch.float64, torch.float32])

    assert report.correct
    assert [(one.mode, one.note) for one in report.modes[1:]] == [
        ("float64", "not available: TypeError: float32 alone")
    ]


def test_a_kernel_that_raises_at_every_size_is_no_report():
    def never(x):
        raise ValueError("never")

    with pytest.raises(gradproof.FunctionError, match="at any size: ValueError: never"):
        check_kernel(never)


def test_two_mistakes_are_two_findings():
    """And one that shows in two tensors at the same sizes is told of both."""

    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, cotangent):
            odd, large = len(cotangent) % 2, len(cotangent) > 3
            return cotangent * (2 if odd else 1), cotangent * (3 if large else 1)  # wrong on purpose

    report = check_kernel(Two, lambda n: (torch.rand(n), torch.rand(n)), sizes=[1, 2, 3, 4, 5, 6])

    assert [(one.path, one.kind.partition(": ")[2]) for one in report.findings] == [
        ("x", "where `n` is odd (1, 3, 5), right at 2, 4, 6"),
        ("y", "where `n` is at least 4 (4, 5, 6), right at 1, 2, 3"),
    ]


class Scan(torch.autograd.Function):
    """h = a h + x, step by step; the gradient is not carried back."""

    @staticmethod
    def forward(ctx, x, a):
        steps = [torch.zeros_like(a)]
        for row in x:
            steps.append(steps[-1] * a + row)
        ctx.save_for_backward(a, torch.stack(steps))
        return torch.stack(steps)[1:]

    @classmethod
    def backward(cls, ctx, u):
        a, steps = ctx.saved_tensors
        carried, dx, da = torch.zeros_like(a), torch.zeros_like(u), torch.zeros_like(a)
        for t in reversed(range(len(u))):
            carried = carried + u[t]
            dx[t] = carried
            da = da + carried * steps[t]
            carried = cls.back(carried, a)
        return dx, da

    @staticmethod
    def back(carried, a):
        return carried * a


class ScanWithoutCarry(Scan):
    @staticmethod
    def back(carried, a):
        return 0 * carried  # wrong on purpose: x is wrong from two steps on, a from three


def steps_and_decay(n):
    return torch.randn(n, 3), torch.rand(3) + 0.5


def test_what_is_wrong_of_two_arrays_by_one_mistake_is_one_finding():
    """Though one of them is wrong at fewer sizes, and at some sizes by a finding of its own."""
    options = {"sizes": [1, 2, 3, 4, 5, 9]}
    report = check_kernel(ScanWithoutCarry, steps_and_decay, **options)

    assert ids(report) == ["GP101"]
    assert report.findings[0].place.endswith("at n=2")
    assert "where `n` is at least 2 (2, 3, 4, 5, ...), right at 1; `a` as well where `n` is at least 3 (" in (
        report.findings[0].kind
    )
    assert check_kernel(Scan, steps_and_decay, **options).correct


def scaled_by_position(x, kept):
    """x times its index, from a table that is made anew where it is too short."""
    n = len(x)
    if n not in kept:
        kept[n] = torch.arange(1.0, n + 1)
    return x * kept[n].to(x.dtype)


def scaled_by_last_table(x, kept):
    if len(kept.get("table", ())) < len(x):
        kept["table"] = torch.arange(1.0, len(x) + 1)
    return x * kept["table"][-len(x) :].to(x.dtype)  # wrong on purpose: the end of a longer one


def test_a_table_kept_from_a_longer_call_is_found():
    """Every size is right when it is first called, from the smallest on."""
    kept: dict = {}
    wrong = lambda x: scaled_by_last_table(x, kept)  # noqa: E731
    report = check_kernel(wrong, sizes=[1, 2, 5, 9], modes="available", contracts="none")

    assert ids(report) == ["GP227"]
    assert report.findings[0].place.endswith("at size=1")
    assert "sizes=[1, 9]" in report.findings[0].reproducer
    kept.clear()
    assert ids(check_kernel(wrong, sizes=[1, 9], contracts="none")) == ["GP227"]
    right: dict = {}
    assert ids(check_kernel(lambda x: scaled_by_position(x, right), sizes=[1, 2, 5, 9])) == []


def test_what_fails_after_other_sizes_is_found():
    seen = []

    def once_each(x):
        seen.append(len(x))
        if 9 in seen and len(x) < 9:
            raise RuntimeError("the workspace is of another size")  # wrong on purpose
        return x**2

    report = check_kernel(once_each, sizes=[1, 2, 9], contracts="none")
    assert ids(report) == ["GP227"]
    assert "fails after calls at other sizes: RuntimeError: the workspace" in report.findings[0].kind


def largest_two(x):
    values, places = x.topk(2)
    return values, places


def test_a_reference_may_return_a_named_tuple_where_the_kernel_returns_a_tuple():
    options = {"sizes": [2, 3, 9], "dtypes": [torch.float32, torch.bfloat16]}
    assert ids(check_kernel(largest_two, reference=lambda x: x.topk(2), **options)) == []
    report = check_kernel(largest_two, reference=lambda x: (2 * x).topk(2), **options)
    assert {"GP141", "GP144"} <= set(ids(report))


def test_an_empty_size_does_not_decide_between_rules():
    """0 is a multiple of every block."""
    both = [(("rows", n), ("columns", m)) for n in (0, 1, 2, 5, 8) for m in (0, 1, 2, 5)]
    wrong = [one for one in both if one[0][1] > 0 and one[1][1] > 1]
    text = where(wrong, [one for one in both if one not in wrong])
    assert text.startswith("where `columns` is at least 2 (")


def test_progress_counts_all_cases():
    events = []
    check_kernel(Square, sizes=[1, 2, 3], layouts=["sliced"], progress=events.append)

    assert events[-1].finished
    assert events[-1].count == 6


@pytest.mark.parametrize("name", ["size 0 raises", "index beyond the end"])
def test_a_kernel_is_told_from_its_twin(name):
    assert judge(ENTRIES[name], 0) == ""
    assert judge(ENTRIES[f"{name}, right"], 0) == ""


@pytest.mark.slow
def test_every_wrong_kernel_is_found_and_no_right_one_accused():
    """With the smallest size that fails, and where it fails in words."""
    tallies = run(list(ENTRIES), seeds=1)

    assert {name: dict(tally.others) for name, tally in tallies.items() if tally.others} == {}
    assert sum(bool(entry.id) for entry in ENTRIES.values()) == 18
