"""check, assert_grad and Case: what they take and what they give back."""

from __future__ import annotations

import collections
import dataclasses
import functools as ft
import inspect
import random
import warnings
from typing import Any

import numpy as np
import pytest

import gradproof
from gradproof import Case, GradientError, GradproofWarning, UsageError, Verdict, assert_grad, check
from helpers import finding, ids


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_grad(x: Any) -> Any:
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def rosenbrock_grad_wrong(x: Any) -> Any:
    return 2 * rosenbrock_grad(x)  # wrong on purpose


def product(a: Any, b: Any) -> Any:
    return np.sum(a * b**2)


def product_grad(a: Any, b: Any) -> Any:
    return b**2, 2 * a * b


def absolute(x: Any) -> Any:
    return np.sum(np.abs(x))


POINT = np.array([-1.2, 1.0, 0.7])
A, B = np.array([1.0, 2.0]), np.array([3.0, -1.0])

Pair = collections.namedtuple("Pair", "a b")


def test_correct_and_wrong():
    """The right gradient is CORRECT with a bound, twice it is WRONG with its factor; as callable and as value."""
    for claim in (rosenbrock_grad, rosenbrock_grad(POINT)):
        report = check(rosenbrock, POINT, grad=claim, rng=0)
        assert report.verdict is Verdict.CORRECT
        assert report.leaves[0].bound < 1e-2
        assert report.leaves[0].path == "x"
    for claim in (rosenbrock_grad_wrong, rosenbrock_grad_wrong(POINT)):
        report = check(rosenbrock, POINT, grad=claim, rng=0)
        assert report.verdict is Verdict.WRONG
        assert finding(report, "GP101").factor == pytest.approx(2, rel=1e-6)


def test_exactly_a_tuple_means_arguments():
    """A tuple is positional arguments; a list, a namedtuple and a tuple within a tuple are one argument."""
    assert check(product, (A, B), grad=product_grad(A, B)[0], rng=0).correct
    assert check(lambda p: product(p.a, p.b), Pair(A, B), grad=Pair(*product_grad(A, B)), rng=0).correct
    assert check(lambda p: product(*p), ((A, B),), grad=product_grad(A, B), rng=0).correct
    assert check(lambda p: product(*p), [A, B], grad=list(product_grad(A, B)), rng=0).correct


@pytest.mark.parametrize(
    ("wrt", "claim", "paths"),
    [
        (None, 0, ["a"]),
        (0, 0, ["a"]),
        (1, 1, ["b"]),
        (-1, 1, ["b"]),
        ((1,), (1,), ["b"]),
        ((0, 1), (0, 1), ["a", "b"]),
        ((1, 0), (1, 0), ["b", "a"]),
    ],
)
def test_wrt(wrt, claim, paths):
    """None is argument 0, an int one argument, a tuple makes the claim a tuple in that order; no note names others."""
    gradient = product_grad(A, B)
    claimed = tuple(gradient[i] for i in claim) if isinstance(claim, tuple) else gradient[claim]
    for value in (claimed, lambda a, b: claimed):
        report = check(product, (A, B), grad=value, wrt=wrt, rng=0)
        assert report.verdict is Verdict.CORRECT
        assert [leaf.path for leaf in report.leaves] == paths
        assert report.findings == ()


def test_other_arguments_pass_through():
    """Integers, text, None, functions and objects reach f as they are."""
    marker = object()

    def f(x, n, text, nothing, call, thing):
        assert (type(n), text, nothing, call, thing) == (int, "text", None, len, marker)
        return x**n

    assert check(f, (2.0, 3, "text", None, len, marker), grad=lambda x, *_: 3 * x**2, rng=0).correct


def test_callable_that_is_a_value():
    """A claim that flattens to the structure of the argument is its value although it can be called."""
    import optree

    class Module:
        def __init__(self, w: Any) -> None:
            self.w = w

        def __call__(self) -> Any:
            raise AssertionError("a value is not called")

    optree.register_pytree_node(
        Module, lambda m: ((m.w,), None), lambda _, children: Module(*children), namespace="gradproof"
    )
    report = check(lambda m: np.sum(m.w**2), Module(A), grad=Module(2 * A), rng=0)
    assert report.verdict is Verdict.CORRECT
    assert report.cost.claims == 0


@pytest.mark.usefixtures("fresh_seeds")
def test_seed():
    """A fresh seed each time, replayed by an int, drawn from a Generator; the same seed gives the same bytes."""
    first, second = (check(rosenbrock, POINT, grad=rosenbrock_grad) for _ in range(2))
    assert first.seed != second.seed
    again = check(rosenbrock, POINT, grad=rosenbrock_grad, rng=first.seed)
    assert again == first
    assert again.to_json(run=False) == first.to_json(run=False)
    assert check(rosenbrock, POINT, grad=rosenbrock_grad, rng=np.int64(3)).seed == 3
    drawn = [check(rosenbrock, POINT, grad=rosenbrock_grad, rng=np.random.default_rng(1)).seed for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_global_state_is_left_alone():
    """Random states and floating-point error handling are what they were."""
    state, numpy_state, errors = random.getstate(), np.random.get_state()[1].copy(), np.geterr()  # noqa: NPY002
    check(rosenbrock, POINT, grad=rosenbrock_grad, rng=0)
    assert random.getstate() == state
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert np.geterr() == errors


def test_counts():
    """Every call of f and of the claim is counted."""
    calls = collections.Counter()

    def f(x):
        calls["f"] += 1
        return rosenbrock(x)

    def grad(x):
        calls["grad"] += 1
        return rosenbrock_grad(x)

    report = check(f, POINT, grad=grad, rng=0)
    assert (report.cost.evaluations, report.cost.calls, report.cost.claims) == (calls["f"], calls["f"], 2)
    assert report.cost.claims == calls["grad"]
    assert check(f, POINT, grad=grad(POINT), rng=0).cost.claims == 0


def test_the_seconds_of_a_check_are_counted(monkeypatch):
    """By a clock that goes on in f only."""
    clock = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def f(x):
        clock[0] += 0.5
        return x @ x

    report = check(f, POINT, grad=2 * POINT, rng=0)
    assert report.cost.seconds == 0.5 * report.cost.evaluations


def test_f_is_called_before_its_claim():
    """A backward that reads what its forward has left finds it."""
    left: dict[str, Any] = {}

    def forward(x):
        left["x"] = x
        return rosenbrock(x)

    assert check(forward, POINT, grad=lambda x: rosenbrock_grad(left["x"]), rng=0).correct


def test_reproducer():
    """The reproducer names f, the claim, the options that were set and the seed."""
    report = check(rosenbrock, POINT, grad=rosenbrock_grad_wrong, rtol=1e-6, wrt=0, rng=7)
    expected = "gradproof.check(rosenbrock, args, grad=rosenbrock_grad_wrong, wrt=0, rtol=1e-06, rng=7)"
    assert report.findings[0].reproducer == expected
    report = check(lambda x: rosenbrock(x), POINT, grad=np.ones((2, 2)), rng=7)
    assert report.findings[0].reproducer == "gradproof.check(f, args, grad=grad, rng=7)"


def squares(x: Any) -> Any:
    return WEIGHTS @ x**2


def squares_wrong(x: Any) -> Any:
    return 3 * WEIGHTS * x  # wrong on purpose


def squares_vjp_wrong(u: Any, x: Any) -> Any:
    return 3 * (u @ WEIGHTS) * x  # wrong on purpose


def squares_jvp_wrong(v: Any, x: Any) -> Any:
    return 3 * WEIGHTS @ (x * v)  # wrong on purpose


def rosenbrock_hess_wrong(x: Any) -> Any:
    steps = np.eye(len(x)) * 1e-5
    return np.array([rosenbrock_grad(x + h) - rosenbrock_grad(x - h) for h in steps]) / 1e-5  # wrong on purpose: 2 h


def rosenbrock_hvp_wrong(v: Any, x: Any) -> Any:
    return rosenbrock_hess_wrong(x) @ v


def scaled(x: Any, weights: Any, power: int = 2) -> Any:
    return np.sum(weights * x**power)


WEIGHTS = np.array([[1.0, 2.0, 0.5], [0.3, -1.0, 1.0]])


@pytest.mark.parametrize(
    ("f", "claims"),
    [
        (rosenbrock, {"grad": rosenbrock_grad_wrong}),
        (rosenbrock, {"grad": 2 * rosenbrock_grad(POINT)}),
        (np.sum, {"grad": np.cos}),
        (lambda x: rosenbrock(x), {"grad": lambda x: 3 * rosenbrock_grad(x)}),
        (ft.partial(scaled, weights=B[0] * A[[0, 1, 0]]), {"grad": rosenbrock_grad_wrong}),
        (ft.partial(scaled, weights=1.5, power=4), {"grad": rosenbrock_grad_wrong}),
        (squares, {"jac": squares_wrong}),
        (squares, {"vjp": squares_vjp_wrong}),
        (squares, {"jvp": squares_jvp_wrong}),
        (rosenbrock, {"hess": rosenbrock_hess_wrong}),
        (rosenbrock, {"hvp": rosenbrock_hvp_wrong}),
        (rosenbrock, {"grad": rosenbrock_grad, "hess": rosenbrock_hess_wrong}),
    ],
    ids=lambda one: "+".join(one) if isinstance(one, dict) else getattr(one, "__name__", "partial"),
)
def test_the_reproducer_shows_the_finding_again(f, claims):
    """As it stands, where the names are those that the user passed: `args`, and others by their keywords."""
    report = check(f, POINT, rng=11, **claims)
    names = {"f": f, "args": POINT, "functools": ft, "np": np, "gradproof": gradproof, **claims}
    names |= getattr(f, "keywords", {})
    assert report.verdict is Verdict.WRONG
    for one in report.findings:
        assert "<" not in one.reproducer
        assert eval(one.reproducer, {**globals(), **names}).findings == report.findings


def nested() -> Any:
    def inner(x: Any) -> Any:
        return np.sum(x**2)

    return inner


class Scaled:
    def loss(self, x: Any) -> Any:
        return np.sum(x**2)

    def __call__(self, x: Any) -> Any:
        return np.sum(x**2)


@pytest.mark.parametrize(
    ("f", "name", "source"),
    [
        (lambda x: np.sum(x**2), "f", "f"),
        (nested(), "inner", "inner"),
        (Scaled().loss, "Scaled.loss", "f"),
        (Scaled(), "Scaled", "f"),
        (np.sum, "sum", "np.sum"),
        (ft.partial(scaled, weights=POINT), "scaled", "functools.partial(scaled, weights=weights)"),
        (ft.partial(scaled, weights=1.5, power=3), "scaled", "functools.partial(scaled, weights=1.5, power=3)"),
    ],
)
def test_what_is_passed_goes_by_its_own_name(f, name, source):
    report = check(f, POINT, grad=rosenbrock_grad_wrong, rng=0)
    assert report.name == name
    assert report.findings[0].reproducer == f"gradproof.check({source}, args, grad=rosenbrock_grad_wrong, rng=0)"


def test_a_name_for_the_report():
    """Of check, assert_grad and a Case; anything but text is refused."""
    assert check(rosenbrock, POINT, grad=rosenbrock_grad, name="valley", rng=0).name == "valley"
    assert assert_grad(rosenbrock, POINT, grad=rosenbrock_grad, name="valley", rng=0).name == "valley"
    case = Case(rosenbrock, POINT, grad=rosenbrock_grad, name="valley", rng=0)
    assert case.check(name="hill").name == "hill"
    with pytest.raises(UsageError, match="`name` must be a str or None, got int"):
        check(rosenbrock, POINT, grad=rosenbrock_grad, name=3, rng=0)


def test_name():
    """A report goes by the function's name, also through partial, or by that of the case."""
    assert check(rosenbrock, POINT, grad=rosenbrock_grad, rng=0).name == "rosenbrock"
    assert check(ft.partial(product, b=B), A, grad=B**2, rng=0).name == "product"
    assert Case(rosenbrock, POINT, grad=rosenbrock_grad, name="valley", rng=0).check().name == "valley"


def test_options_reach_the_report():
    """rtol, max_bound and confidence are used as given."""
    report = check(rosenbrock, POINT, grad=rosenbrock_grad, rtol=1e-3, max_bound=1e-12, confidence=0.99, rng=0)
    assert (report.rtol, report.max_bound, report.confidence) == (1e-3, 1e-12, 0.99)
    assert report.verdict is Verdict.INCONCLUSIVE  # no certificate is that tight


def test_findings_are_sorted():
    """Errors first, then doubts, then notes."""
    x = np.array([1.0, 2.0])
    report = check(
        lambda p: np.sum(p["a"] ** 2) + np.sum(p["b"] ** 2),
        {"a": x, "b": x},
        grad={"a": (2 * x).astype(np.float32), "b": 3 * x},  # wrong on purpose
        rng=0,
    )
    assert ids(report) == ["GP101", "GP401", "GP404"]


def test_no_engine_where_nothing_can_be_measured():
    """All leaves set aside: WRONG after one evaluation, with limits of the right kind."""
    report = check(rosenbrock, POINT, grad=np.ones((2, 2)), rng=0)
    assert report.verdict is Verdict.WRONG
    assert report.cost.evaluations == 1
    assert (report.rtol, report.max_bound) == (1e-7, 1e-2)
    assert gradproof.Report.from_json(report.to_json()) == report


# ------------------------------------------------------------------------------------------------- assert_grad


def test_assert_grad_passes():
    """CORRECT returns the report and warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assert_grad(rosenbrock, POINT, grad=rosenbrock_grad, rng=0).correct


def test_assert_grad_raises():
    """WRONG and INCONCLUSIVE raise an AssertionError that carries the report and reads as its text."""
    with pytest.raises(GradientError, match="WRONG") as error:
        assert_grad(rosenbrock, POINT, grad=rosenbrock_grad_wrong, rng=0)
    assert isinstance(error.value, AssertionError)
    assert error.value.report.verdict is Verdict.WRONG
    with pytest.raises(GradientError, match="INCONCLUSIVE"):
        assert_grad(lambda x: np.nan, POINT, grad=rosenbrock_grad, rng=0)


def test_assert_grad_warns_at_a_kink():
    """A valid subgradient passes with a warning that names the leaf; one outside the slopes raises."""
    x = np.array([0.0, 0.0])
    with pytest.warns(GradproofWarning, match="`absolute` is not differentiable at this point in x;") as caught:
        report = assert_grad(absolute, x, grad=np.array([0.5, -0.5]), rng=0)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    assert caught[0].filename == __file__
    with pytest.raises(GradientError):
        assert_grad(absolute, x, grad=np.array([3.0, 3.0]), rng=0)  # wrong on purpose


def test_assert_grad_takes_what_check_takes():
    """One code path, two manners: the signatures agree."""
    assert inspect.signature(assert_grad) == inspect.signature(check)


# -------------------------------------------------------------------------------------------------------- Case


def test_case():
    """A case keeps what it was given and runs later; options can be replaced."""
    case = Case(rosenbrock, POINT, grad=rosenbrock_grad, rng=1)
    assert (case.f, case.name) == (rosenbrock, None)
    assert case.args is POINT
    assert dict(case.options) == {"grad": rosenbrock_grad, "rng": 1}
    assert case.check().seed == 1
    assert case.check(rng=2).seed == 2
    assert case.check(grad=rosenbrock_grad_wrong).verdict is Verdict.WRONG
    assert repr(case) == "Case('rosenbrock', grad, rng)"


def test_case_is_frozen():
    """Neither attributes nor options can be changed."""
    case = Case(rosenbrock, POINT, grad=rosenbrock_grad)
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.name = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del case.name
    with pytest.raises(TypeError):
        case.options["rng"] = 1  # pyright: ignore


def test_case_validates_early():
    """An unknown option, or no claim, is said where the case is written."""
    with pytest.raises(
        UsageError, match="`zzz` is no option of `check`; it takes grad, jac, vjp, jvp, hess, hvp, wrt,"
    ):
        Case(rosenbrock, POINT, grad=rosenbrock_grad, zzz=1e-7)
    with pytest.raises(UsageError, match="a claim is missing"):
        Case(rosenbrock, POINT)
    with pytest.raises(UsageError, match="`seed` is no option"):
        Case(rosenbrock, POINT, grad=rosenbrock_grad).check(seed=1)


class Anything:
    """A claim that answers every attribute, as mocks and proxies do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__array"):
            raise AttributeError(name)
        return self

    def __call__(self, x: Any) -> Any:
        return 2 * x


def test_a_claim_that_answers_every_attribute_is_called_like_any_other():
    """The name in the reproducer is looked for among attributes that may be anything."""
    assert check(lambda x: np.sum(x**2), POINT, grad=Anything(), rng=0).correct
