"""Bad input is a clear error or a finding; the user's arrays stay what they were."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import fractions
import inspect
import warnings
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import optree
import pytest

import gradproof
from gradproof import ClaimError, FunctionError, GradproofError, Reason, Severity, UsageError, Verdict, check
from helpers import finding, ids, leaf, snapshot

RNG = 20240601
A = np.array([1.0, 2.0])


def network(p: Any) -> float:
    return float(np.sum(np.tanh(p["W"] @ p["x"] + p["b"]) ** 2))


def network_grad(p: Any) -> dict[str, Any]:
    a = np.tanh(p["W"] @ p["x"] + p["b"])
    dz = 2 * a * (1 - a**2)
    return {"W": dz @ p["x"].T, "x": p["W"].T @ dz, "b": dz}


def network_point() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {"W": rng.standard_normal((3, 2)), "x": rng.standard_normal((2, 1)), "b": rng.standard_normal((3, 1))}


def quadratic(x: Any) -> float:
    return float(np.sum(np.asarray(x) ** 2))


def double(x: Any) -> Any:
    return 2 * x


def changed(**replaced: Any) -> dict[str, Any]:
    """The right gradient of the network with some members replaced."""
    return {**network_grad(network_point()), **replaced}


def check_network(claim: Any) -> gradproof.Report:
    return check(network, network_point(), grad=claim, rng=RNG)


# ------------------------------------------------------------------------------------------- structure (GP202)


def test_keys_in_another_order_are_fine():
    """A claim is matched by key, not by place."""
    claim = network_grad(network_point())
    report = check_network(collections.OrderedDict(reversed(claim.items())))
    assert report.verdict is Verdict.CORRECT
    assert report.findings == ()


def test_missing_key():
    """A missing gradient is named; the other leaves are still measured."""
    claim = changed()
    del claim["W"]
    report = check_network(claim)
    found = finding(report, "GP202")
    assert report.verdict is Verdict.WRONG
    assert found.severity is Severity.ERROR
    assert found.kind == "missing: p['W']"
    assert leaf(report, "p['W']").verdict is Verdict.WRONG
    assert leaf(report, "p['b']").verdict is Verdict.CORRECT


def test_extra_key():
    """A gradient of nothing is named; all leaves are still measured."""
    report = check_network(changed(dZ=np.ones(3)))
    assert report.verdict is Verdict.WRONG
    assert finding(report, "GP202").kind == "extra: p['dZ']"
    assert {one.verdict for one in report.leaves} == {Verdict.CORRECT}


def renamed(pattern: str, gradients: dict[str, Any]) -> dict[str, Any]:
    return {pattern.format(name): value for name, value in gradients.items()}


@pytest.mark.parametrize("pattern", ["d{}", "grad_{}", "{}_grad", "d_{}", "g{}", "∇{}"])
def test_gradients_named_after_their_parameters(pattern):
    """They are compared under the names of these, and a note says so: right ones are right, wrong ones wrong."""
    report = check_network(renamed(pattern, changed()))
    assert report.verdict is Verdict.CORRECT
    (note,) = report.findings
    assert (note.id, note.severity) == ("GP411", Severity.NOTE)
    assert f"{pattern.format('W')!r} as 'W'" in note.kind
    report = check_network(lambda p: renamed(pattern, changed(b=2 * changed()["b"])))  # wrong on purpose
    assert ids(report) == ["GP101", "GP411"]
    assert finding(report, "GP101").path == "p['b']"


@pytest.mark.parametrize(
    ("rename", "advice"),
    [
        (lambda g: {"dW": g["W"], "x": g["x"], "b": g["b"]}, "rename 'dW' to 'W'"),
        (lambda g: {"dW": g["W"], "grad_x": g["x"], "b_grad": g["b"]}, "rename 'dW' to 'W', 'grad_x' to 'x', 'b_grad'"),
        (lambda g: {"dW": g["W"], "dx": g["x"]}, "rename 'dW' to 'W', 'dx' to 'x'"),
    ],
)
def test_some_renamed_keys(rename, advice):
    """A mixture, and one that is missing, stay errors that name the nearest."""
    report = check_network(rename(changed()))
    assert report.verdict is Verdict.WRONG
    assert advice in finding(report, "GP202").advice
    assert "GP411" not in ids(report)


def test_renamed_keys_and_one_more():
    """The numbers are measured, and the one that belongs to nothing is named."""
    report = check_network({**renamed("d{}", changed()), "dZ": A})
    assert ids(report) == ["GP202", "GP411"]
    assert finding(report, "GP202").kind == "extra: p['dZ']"
    assert {one.verdict for one in report.leaves} == {Verdict.CORRECT}


def test_renamed_keys_in_every_kind_of_claim():
    """Jacobians, products and Hessians: one note, however many outputs there are."""
    point = {"a": A, "b": 3.0}
    f = lambda p: p["a"] * p["b"]  # noqa: E731
    jac = lambda p: {"da": p["b"] * np.eye(2), "db": p["a"]}  # noqa: E731
    vjp = lambda u, p: {"da": u * p["b"], "db": u @ p["a"]}  # noqa: E731
    for claim in ({"jac": jac}, {"vjp": vjp}):
        report = check(f, point, **claim, rng=0)
        assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP411"])
    report = check(lambda p: (f(p), -f(p)), point, jac=lambda p: (jac(p), {k: -v for k, v in jac(p).items()}), rng=0)
    assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP411"])
    twice = lambda v, p: {"da": v["b"], "db": v["a"]}  # noqa: E731
    product = check(lambda p: p["a"] * p["b"], {"a": 2.0, "b": 3.0}, hvp=twice, rng=0)
    assert (product.verdict, ids(product)) == (Verdict.CORRECT, ["GP411"])


def test_misspelt_key_of_the_same_shape():
    """A close match is proposed where its shape fits, and not where it does not."""
    point = {"weights": np.ones(3), "b": 1.0}
    claim = {"wieghts": np.full(3, 2.0), "b": 2.0}
    report = check(lambda p: quadratic(p["weights"]) + p["b"] ** 2, point, grad=claim, rng=0)
    assert "rename 'wieghts' to 'weights'" in finding(report, "GP202").advice
    report = check(lambda p: quadratic(p["weights"]) + p["b"] ** 2, point, grad={**claim, "wieghts": 1.0}, rng=0)
    assert "rename" not in finding(report, "GP202").advice


def test_tuple_for_one_argument():
    """A tuple of gradients where one argument is differentiated: `wrt` is the fix."""
    report = check(
        lambda a, b: quadratic(a) + quadratic(b), (np.ones(2), np.ones(3)), grad=(np.ones(2), np.ones(3)), rng=0
    )
    assert "wrt=(0, 1)" in finding(report, "GP202").advice


def test_no_tuple_for_several_arguments():
    """One gradient where a tuple in `wrt` asks for two."""
    report = check(lambda a, b: quadratic(a) + quadratic(b), (1.0, 1.0), grad=2.0, wrt=(0, 1), rng=0)
    assert report.verdict is Verdict.WRONG
    assert "not a tuple of 2" in finding(report, "GP202").kind


def test_array_for_a_list():
    """An array stands for a list of numbers in its shape, with a note; in another shape the text says what to do."""
    for claim in (np.array([2.0, 4.0]), lambda x: 2 * np.array(x)):
        report = check(quadratic, [1.0, 2.0], grad=claim, rng=0)
        assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP412"])
        assert "pass `np.array(...)`" in report.findings[0].advice
    assert check(quadratic, [1.0, 2.0], grad=np.array([2.0, 5.0]), rng=0).verdict is Verdict.WRONG  # wrong on purpose
    report = check(quadratic, [1.0, 2.0], grad=np.array([2.0, 4.0, 6.0]), rng=0)
    assert finding(report, "GP201").kind == "claimed gradient of shape (3,) for an array of shape (2,)"
    report = check(lambda p: quadratic(p["a"]), {"a": [A, A]}, grad={"a": np.ones(3)}, rng=0)
    assert "`p['a']` holds 2 arrays, the claim has one array there" in finding(report, "GP202").advice


def test_list_for_an_array():
    """A list of numbers stands for an array, as SciPy allows, with a note."""
    report = check(quadratic, np.array([1.0, 2.0]), grad=lambda x: [2 * x[0], 2 * x[1]], rng=0)
    assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP412"])
    assert check(quadratic, np.eye(2), grad=[[2, 0], [0, 2]], rng=0).correct
    assert check(quadratic, np.eye(2), grad=[[2, 0], [0]], rng=0).verdict is Verdict.WRONG


def test_claim_returns_none():
    """None from the claim is most likely a forgotten `return`; None at a leaf is a missing gradient."""
    report = check(quadratic, np.ones(2), grad=lambda x: None, rng=0)
    assert report.verdict is Verdict.WRONG
    assert "return" in finding(report, "GP202").advice
    report = check_network(changed(b=None))
    assert finding(report, "GP202").kind == "missing: p['b']"
    assert "None for p['b']" in finding(report, "GP202").advice


def test_none_in_the_point_needs_no_gradient():
    """None is part of the structure, on both sides."""
    assert check(lambda p: p["a"] ** 2, {"a": 1.0, "frozen": None}, grad={"a": 2.0, "frozen": None}, rng=0).correct


# ------------------------------------------------------------------------------------------------ shape (GP201)


@pytest.mark.parametrize(
    ("name", "reshape", "advice", "is_measured"),
    [
        ("W", lambda g: g.T, "`.T` fits", False),
        ("W", lambda g: g.ravel(), "`.reshape(3, 2)` fits", False),
        ("b", lambda g: g.ravel(), "`.reshape(3, 1)` fits", True),
        ("b", lambda g: g.T, "`.T` fits", True),
        ("b", lambda g: g[None], "`.reshape(3, 1)` fits", True),
        ("b", lambda g: np.tile(g, (1, 4)), "`.sum(axis=1, keepdims=True)` fits", False),
        ("b", lambda g: np.ones((7, 7)), "A gradient has the shape", False),
    ],
)
def test_shape(name, reshape, advice, is_measured):
    """Both shapes and what fits are said; numbers are measured where only axes of length 1 differ."""
    gradient = changed()[name]
    report = check_network(changed(**{name: reshape(gradient)}))
    found = finding(report, "GP201")
    assert report.verdict is Verdict.WRONG
    assert found.path == f"p['{name}']"
    assert str(gradient.shape) in found.kind
    assert str(reshape(gradient).shape) in found.kind
    assert advice in found.advice
    result = leaf(report, f"p['{name}']")
    assert result.verdict is Verdict.WRONG
    assert (result.bound is not None) == is_measured
    assert {one.verdict for one in report.leaves if one is not result} == {Verdict.CORRECT}


def test_wrong_shape_and_wrong_numbers():
    """A gradient that differs by axes of length 1 is measured: wrong numbers are seen beside the wrong shape."""
    report = check_network(changed(b=2 * changed()["b"].ravel()))  # wrong on purpose
    assert ids(report) == ["GP201", "GP101"]
    assert finding(report, "GP101").path == "p['b']"


@pytest.mark.parametrize("point", [3.0, np.float64(3), np.array(3.0), np.array([3.0]), np.array([[3.0]])])
@pytest.mark.parametrize("claim", [6.0, 6, np.float64(6), np.array(6.0)])
def test_scalars(point, claim):
    """A scalar is a gradient of anything that has one entry."""
    report = check(quadratic, point, grad=claim, rng=0)
    assert report.verdict is Verdict.CORRECT
    assert report.findings == ()


def test_vector_reads_as_ravel():
    """For a flat leaf the fix is `.ravel()`."""
    report = check(quadratic, np.ones(3), grad=np.full((3, 1), 2.0), rng=0)
    assert "`.ravel()` fits" in finding(report, "GP201").advice


# ---------------------------------------------------------------------------- numbers and dtype (GP203, 204, 404)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_claim_not_finite(value):
    """nan and infinity in the claim are named by entry; the other leaves are measured."""
    claim = changed()
    claim["W"][1, 1] = claim["W"][2, 0] = value
    report = check_network(claim)
    found = finding(report, "GP203")
    assert report.verdict is Verdict.WRONG
    assert found.path == "p['W']"
    assert found.entries == ((1, 1), (2, 0))
    assert "2 of 6" in found.kind
    assert str(found.claimed) == str(value)
    assert leaf(report, "p['x']").verdict is Verdict.CORRECT
    assert gradproof.Report.from_json(report.to_json()) == report


@pytest.mark.parametrize("value", [1 + 1j, "2.0", np.array(2.0, dtype=object)])
def test_claim_of_no_real_dtype(value):
    """Complex, text and object gradients are errors of that leaf."""
    report = check(lambda p: p["a"] ** 2 + p["b"] ** 2, {"a": 1.0, "b": 1.0}, grad={"a": value, "b": 2.0}, rng=0)
    assert report.verdict is Verdict.WRONG
    assert finding(report, "GP204").path == "p['a']"
    assert report.leaves[1].verdict is Verdict.CORRECT


def test_integer_claim_is_taken_as_numbers():
    """A right gradient of integer or boolean dtype is right."""
    assert check(quadratic, np.array([1.0, 2.0]), grad=np.array([2, 4]), rng=0).findings == ()
    assert check(lambda x: float(np.maximum(x, 0).sum()), np.array([1.0, -2.0]), grad=lambda x: x > 0, rng=0).correct


def test_claim_of_lower_precision():
    """A float32 gradient for a float64 leaf is noted, and only there."""
    x = np.array([1.0, 2.0])
    report = check(quadratic, x, grad=(2 * x).astype(np.float32), rng=0)
    assert report.verdict is Verdict.CORRECT
    assert finding(report, "GP404").severity is Severity.NOTE
    assert "float32" in finding(report, "GP404").kind
    assert check(quadratic, x.astype(np.float32), grad=2 * x, rng=0).findings == ()


# ------------------------------------------------------------------------------------------------- usage errors


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([1, 2]), "`x['n']` is of dtype int64, which has no derivative; pass `x['n'].astype(float)`"),
        (np.array([True]), ".astype(float)"),
        (np.array([1.0], dtype=object), "dtype object"),
        (np.array(["a"]), "`x['n']`"),
        (np.int64(3), "int64"),
        (3, "pass `float(3)`"),
        (True, "Python bool"),
        ("three", "is of type str"),
        (np.array([1j], dtype=np.clongdouble), "pass complex128"),
        (np.array([1.0], dtype=np.longdouble), "not supported yet"),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "masked"),
        (object(), "is of type object"),
    ],
)
def test_leaves_that_cannot_be_differentiated(value, words):
    """The path, the kind and the fix are said; outside `wrt` the same leaf passes through."""

    def f(x, other):
        assert other["n"] is value or np.array_equal(other["n"], value)
        return x["a"] ** 2

    with pytest.raises(UsageError) as error:
        check(lambda x: 0.0, {"a": 1.0, "n": value}, grad={"a": 2.0, "n": 0.0}, rng=0)
    assert words in str(error.value)
    assert isinstance(error.value, ValueError)
    assert check(f, ({"a": 1.0}, {"n": value}), grad={"a": 2.0}, rng=0).correct


def test_point_not_finite():
    """nan in the point that reaches what f returns is an error that names the entry; outside `wrt` it passes."""
    x = np.ones((2, 3))
    x[1, 2] = np.nan
    with pytest.raises(UsageError, match=r"`p\['a'\]\[1, 2\]` is nan"):
        check(lambda p: np.sum(p["a"]), {"a": x}, grad={"a": x}, rng=0)
    with pytest.raises(UsageError, match="`x` is inf"):
        check(lambda x: 0.0, float("inf"), grad=0.0, rng=0)
    with pytest.raises(UsageError, match=r"`z.real\[0\]` is -inf"):
        check(lambda z: 0.0, np.array([complex(-np.inf, 0.0)]), grad=np.zeros(1, complex), rng=0)
    assert check(lambda y, x: y**2 + 0 * np.nansum(x), (1.0, x), grad=2.0, rng=0).correct


@pytest.mark.parametrize("point", [np.ones((0, 3)), [], {"a": np.ones(0), "b": None}, None])
def test_nothing_to_differentiate(point):
    """No entries at all: there is no question."""
    with pytest.raises(UsageError, match="nothing to differentiate"):
        check(lambda x: 0.0, [point], grad=[point], rng=0)


def test_one_empty_leaf_is_fine():
    """An empty leaf has nothing to check and says so; the others are measured."""
    report = check(lambda p: quadratic(p["a"]), {"e": np.ones((0, 2)), "a": np.ones(2)}, grad=double_dict, rng=0)
    assert report.verdict is Verdict.CORRECT
    assert report.leaves[0].note == "empty: nothing to check"
    assert report.leaves[0].bound == 0.0


def double_dict(p: dict[str, Any]) -> dict[str, Any]:
    return {name: 2 * value for name, value in p.items()}


@pytest.mark.parametrize("claim", ["2*x", object(), ["a", "b"], b"x"])
def test_claim_that_is_no_claim(claim):
    """Neither callable nor a tree of numbers."""
    with pytest.raises(UsageError, match="`grad` must be a callable or"):
        check(quadratic, np.ones(2), grad=claim, rng=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wrt": 2}, "argument 2"),
        ({"wrt": -3}, "argument -3"),
        ({"wrt": (0, -2)}, "twice"),
        ({"wrt": 1.0}, "position"),
        ({"wrt": ()}, "position"),
        ({"wrt": True}, "position"),
        ({"wrt": "x"}, "position"),
        ({"rtol": -1e-7}, "rtol"),
        ({"rtol": float("nan")}, "rtol"),
        ({"max_bound": 0}, "max_bound"),
        ({"max_bound": "small"}, "max_bound"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": None}, "confidence"),
        ({"rng": -1}, "rng"),
        ({"rng": "seed"}, "rng"),
        ({"rng": 1.5}, "rng"),
        ({"rng": np.random.RandomState}, "rng"),
    ],
)
def test_options(options, words):
    """An option that cannot be used is named, before f is called."""
    calls = []
    with pytest.raises(UsageError, match=words):
        check(lambda a, b: calls.append(1), (1.0, 2.0), grad=1.0, **{"rng": 0, **options})
    assert calls == []


def test_f_that_is_not_callable():
    """The most likely swap of arguments is a clear error."""
    with pytest.raises(UsageError, match="`f` must be callable"):
        check(np.ones(2), quadratic, grad=double, rng=0)  # pyright: ignore


# ----------------------------------------------------------------------------------------- calls that do not fit

CHECKS = [check, gradproof.assert_grad, lambda *args, **options: gradproof.Case(*args, **options)]


def message(call: Any, *args: Any, **options: Any) -> str:
    """What a call that cannot be right says, before f is called."""
    with pytest.raises(UsageError) as error:
        call(*args, **options)
    return str(error.value)


@pytest.mark.parametrize("call", CHECKS)
@pytest.mark.parametrize("name", ["eps", "epsilon", "h", "step", "delta"])
def test_steps_are_not_chosen_by_the_caller(call, name):
    """A step size is no option: it says who chooses the steps."""
    said = message(call, quadratic, A, grad=double, **{name: 1e-4})
    assert said.startswith(f"`{name}` is no option of `")
    assert "gradproof chooses its own steps" in said


@pytest.mark.parametrize("call", CHECKS)
@pytest.mark.parametrize("name", ["atol", "tol", "threshold"])
def test_tolerances_are_not_needed(call, name):
    """A tolerance is no option: it says what stands in its place, and what `rtol=` means here."""
    said = message(call, quadratic, A, grad=double, **{name: 1e-4})
    assert f"`{name}` is no option" in said
    assert "error bar" in said
    assert "`rtol=` is the smallest relative error worth an accusation" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wtr", "did you mean `wrt`?"),
        ("argnums", "did you mean `wrt`?"),
        ("seed", "did you mean `rng`?"),
        ("gradient", "did you mean `grad`?"),
        ("jacobian", "did you mean `jac`?"),
        ("confidense", "did you mean `confidence`?"),
        ("verbose", "did you mean `progress`?"),
        ("raise_exception", "raised by `assert_grad`"),
        ("zzz", "rtol, max_bound"),
    ],
)
def test_unknown_options(name, words):
    """The nearest right option is named, by its spelling or by what others call it; else all of them."""
    said = message(check, quadratic, A, **{"grad": double, name: 1})
    assert said.startswith(f"`{name}` is no option of `check`")
    assert words in said
    assert ("did you mean" in said) == ("did you mean" in words)


def test_several_unknown_options():
    """Each of them is named."""
    said = message(check, quadratic, A, grad=double, eps=1e-4, seed=0)
    assert "`eps` is no option" in said
    assert "`seed` is no option" in said
    assert "`eps` is no option" in message(gradproof.Session, A, grad=2 * A, eps=1e-4)


def test_python_calls_it_a_type_error():
    """Who asks Python whether an option exists gets the error that Python raises."""
    with pytest.raises(TypeError):
        check(quadratic, A, grad=double, no_such_option=1)  # pyright: ignore


@pytest.mark.parametrize("call", CHECKS[:2])
@pytest.mark.parametrize(
    ("args", "options"),
    [((quadratic, double, A), {}), ((quadratic, double), {"x": A}), ((quadratic, A, double), {})],
)
def test_claim_by_position(call, args, options):
    """The order of `scipy.optimize.check_grad`, and a claim in the third place: the right call is shown."""
    said = message(call, *args, **options)
    assert f"gradproof.{call.__name__}(quadratic, x, grad=double)" in said


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ((quadratic,), {}, "`args` is missing: the point. Write `gradproof.check(f, x, grad=df)`."),
        ((), {}, "`f` is missing: the function. `args` is missing"),
        ((quadratic, double), {}, "the point is missing, `args` is a function"),
        ((quadratic, double), {"grad": A}, "the point comes second"),
        ((A, quadratic), {"grad": double}, "the function comes first, then the point (`gradproof.check(quadratic, x,"),
        ((quadratic, A), {"args": A}, "`args` is passed twice"),
        ((quadratic, A), {}, "as in `gradproof.check(f, x, grad=df)`"),
        ((quadratic, ()), {}, "a claim is missing"),
        ((), {"fun": quadratic, "x0": A, "grad": double}, "did you mean `f`? `x0` is no option of `check`: did you"),
    ],
)
def test_calls_that_lack_something(args, options, words):
    """What is missing or in the wrong place is named, and how the call is written."""
    assert words in message(check, *args, **{"rng": 0, **options} if args else options)


def test_calls_that_fit():
    """Everything by keyword, and a container that can be called as the point."""
    assert check(f=quadratic, args=A, grad=double, rng=0).correct
    assert check(lambda p: quadratic(p.values), Callable(A), grad=lambda p: Callable(2 * p.values), rng=0).correct
    assert str(inspect.signature(check)).startswith("(f: 'Callable[..., Any]', args: 'Any', *, grad:")
    assert check.__doc__ is not None


class Callable:
    """Parameters that can be called, as a model of Equinox."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __call__(self, x: Any) -> Any:
        return self.values * x


optree.register_pytree_node(
    Callable, lambda node: ((node.values,), None), lambda _, children: Callable(children[0]), namespace="gradproof"
)


# ------------------------------------------------------------------------------------- lists where arrays are meant


def needs_an_array(x: Any) -> Any:
    return np.sum(x**2)


@pytest.mark.parametrize(
    ("point", "claim"),
    [
        ([1.0, 2.0], double),
        ([1.0, 2.0], [2.0, 4.0]),
        ([[1.0, 2.0], [3.0, 4.0]], lambda x: 2 * x),
        (([1.0, 2.0],), lambda x: 2 * x),
    ],
)
def test_a_list_that_f_takes_as_an_array_only(point, claim):
    """f gets an array, and a note says so; a wrong claim is as wrong."""
    report = check(needs_an_array, point, grad=claim, rng=0)
    assert report.verdict is Verdict.CORRECT
    assert "a list was taken for the array that it stands for" in [one.kind for one in report.findings]
    assert [one.path for one in report.leaves] == ["x"]
    wrong = check(needs_an_array, point, grad=lambda x: 3 * np.array(x), rng=0)  # wrong on purpose
    assert (wrong.verdict, ids(wrong)) == (Verdict.WRONG, ["GP101", "GP412"])


def test_a_list_that_a_claim_takes_as_an_array_only():
    """`2 * x` is twice the list, and `2.0 * x` an error: an array is meant."""
    for claim in (double, lambda x: 2.0 * x):
        report = check(quadratic, [1.0, 2.0], grad=claim, rng=0)
        assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP412"])
    report = check(quadratic, {"a": [1.0, 2.0]}["a"], hess=2 * np.eye(2), rng=0)
    assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP412"])
    report = check(lambda p: needs_an_array(p["a"]), {"a": [1.0, 2.0]}, grad=lambda p: {"a": 2 * p["a"]}, rng=0)
    assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP412"])


def test_a_number_that_f_takes_as_an_array_only():
    report = check(lambda x: x.sum() ** 2, 3.0, grad=6.0, rng=0)
    assert (report.verdict, ids(report)) == (Verdict.CORRECT, ["GP412"])
    assert "a number was taken" in report.findings[0].kind


def test_a_list_that_is_a_list():
    """Members are parameters by themselves; what f raises for its own reasons is shown, and f not called once more."""
    report = check(lambda x: x[0] ** 2 + x[1] ** 2, [1.0, 2.0], grad=lambda x: [2 * x[0], 2 * x[1]], rng=0)
    assert (report.verdict, ids(report)) == (Verdict.CORRECT, [])
    assert [one.path for one in report.leaves] == ["x[0]", "x[1]"]
    calls = []

    def broken(x):
        calls.append(x)
        raise LookupError("no such layer")

    with pytest.raises(FunctionError, match="no such layer"):
        check(broken, [1.0, 2.0], grad=double, rng=0)
    assert len(calls) == 1
    with pytest.raises(FunctionError, match="at the point itself: always"):
        check(lambda x: int("x" if calls.clear() else raise_value()), [1.0, 2.0], grad=double, rng=0)


def raise_value() -> Any:
    raise ValueError("always")


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ([1, 2, 3], "`x` is a list with integers in it, which have no derivative; pass `np.array([1., 2., 3.])`"),
        ([1, 2.5], "pass `np.array([1., 2.5])`"),
        ([[1, 2], [3, 4]], "pass `np.array([[1., 2.], [3., 4.]])`"),
        ({"w": [1, 2]}, "`x['w']` is a list with integers in it, which have no derivative; pass `np.array([1., 2.])`"),
        (list(range(100)), "pass `np.array(x, dtype=float)`"),
        ([1, A], "`x[0]` is a Python int, which has no derivative; pass `float(1)`"),
    ],
)
def test_lists_of_integers(point, words):
    """What to write is said for the list as a whole, not for its first member."""
    assert words in message(check, quadratic, point, grad=double, rng=0)


# ------------------------------------------------------------------------------------- the arguments that f takes


@pytest.mark.parametrize(
    ("f", "args", "words"),
    [
        (lambda x: x[0] * x[1], (1.0, 2.0), "a tuple stands for the arguments of f, here 2"),
        (lambda a, b: a * b, [1.0, 2.0], "a list is one argument: pass a tuple with one member for each argument of f"),
        (lambda x, y, w: x, (1.0, 2.0), "f is called as `f(x, y, w)`, `args` holds 2: bind the others by a lambda"),
        (lambda: 1.0, 2.0, "f is called as `f()`, `args` holds 1"),
    ],
)
def test_points_that_are_not_the_arguments_of_f(f, args, words):
    """What a tuple and a list stand for is said where f cannot be called so; what f itself raises gets no advice."""
    with pytest.raises(FunctionError) as error:
        check(f, args, grad=1.0, rng=0)
    assert f"({words}" in str(error.value)
    with pytest.raises(FunctionError) as error:
        check(lambda *args: [].pop(), args, grad=1.0, rng=0)
    assert str(error.value).endswith("pop from empty list")


# ---------------------------------------------------------------------------------- values that are nearly right


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wrt": "b"}, "got 'b': pass `wrt=1`."),
        ({"wrt": ("a", "b")}, "pass `wrt=(0, 1)`."),
        ({"wrt": [0, 1]}, "got [0, 1]: pass `wrt=(0, 1)`."),
        ({"wrt": "c"}, "got 'c'."),
        ({"grad": True}, "got True; for SciPy's `jac=True` and its names of differences there is `gradproof.scipy."),
        ({"grad": "2-point"}, "there is `gradproof.scipy.check_minimize`"),
        ({"domain": [0, None]}, "pass `(0, None)`."),
        ({"domain": 0}, "one bound is passed as `(0, None)` or `(None, 0)`"),
        ({"domain": [(0, 5), (0, 5)]}, "are passed as `tuple(np.transpose(bounds))`"),
        ({"domain": "positive"}, "got str."),
    ],
)
def test_values_of_options_that_are_nearly_right(options, words):
    """What was meant is written out."""
    f = lambda a, b: np.sum(a * b)  # noqa: E731
    assert words in message(check, f, (A, A), **{"grad": lambda a, b: b, "rng": 0, **options})


def test_matrices_for_products():
    assert "the matrix itself is claimed as `jac`" in message(check, np.sin, A, vjp=np.eye(2), rng=0)
    assert "the matrix itself is claimed as `hess`" in message(check, quadratic, A, hvp=np.eye(2), rng=0)


def test_what_a_function_returns_in_its_place():
    said = message(check, quadratic(A), A, grad=double, rng=0)
    assert said == "`f` must be callable, got float: pass the function itself, not what it returns."
    assert "not what it returns" not in message(check, "quadratic", A, grad=double, rng=0)


@pytest.mark.parametrize(
    ("claim", "options", "words"),
    [
        (
            lambda x: (2 * x, "cache"),
            {},
            "return member 0, which has its shape, alone (`lambda *args: ",
        ),
        (lambda x: (1.0, 2 * x), {}, "alone (`lambda *args: grad(*args)[1]`)"),
        (lambda x: (2 * x, 2 * x), {}, "pass `wrt=(0, 1)`, or return one of them"),
        (lambda x: {"x": 2 * x}, {"wrt": (0,)}, "Return `(grads['x'])`."),
        (lambda x: {"z": 2 * x}, {"wrt": (0,)}, "one gradient per argument."),
        (lambda x: {"x": 2 * x}, {}, "the point is one array, the claim is a dictionary"),
    ],
)
def test_more_than_the_gradient(claim, options, words):
    """A pair of value and gradient, or of gradient and cache, and gradients by the names of arguments."""
    assert words in finding(check(quadratic, A, grad=claim, **options, rng=0), "GP202").advice


@pytest.mark.filterwarnings("ignore:Python iterable type:DeprecationWarning")
def test_what_can_be_read_once():
    once = (one for one in [A])
    assert "`p` is a generator, which can be read once: pass `list(p)`" in message(check, lambda p: 0.0, once, rng=0)


# ---------------------------------------------------------------------------------------- points of other types


@dataclasses.dataclass
class Parameters:
    w: Any
    b: float


class Frame:
    """As an object of pandas: numbers with labels."""

    def to_numpy(self) -> Any:
        return A

    def __float__(self) -> float:
        raise TypeError


class Ticket:
    def __array__(self) -> Any:
        return A


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Frame(), "pass `p['n'].to_numpy()`"),
        (fractions.Fraction(1, 2), "pass `float(p['n'])`"),
        (decimal.Decimal("0.5"), "pass `float(p['n'])`"),
        (Parameters(A, 1.0), "pass `dataclasses.asdict(p['n'])`"),
        (Parameters, "pass a value of it"),
        ({1.0, 2.0}, "`np.array(list(p['n']))`"),
        (Ticket(), "pass `np.asarray(p['n'])`"),
        (object(), "register its container with"),
        ("1.0", "register its container with"),
    ],
)
def test_types_that_are_no_numbers(value, words):
    """What makes numbers of it is said; outside of `wrt` it passes through."""
    said = message(check, lambda p: p["a"] ** 2, {"a": 1.0, "n": value}, grad={"a": 2.0, "n": 0.0}, rng=0)
    assert words in said
    assert check(lambda p, n: p**2, (1.0, value), grad=2.0, rng=0).correct


# --------------------------------------------------------------------------------------- what f and the claim do


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "forget `return`"),
        (np.ones(3), r"array of shape \(3,\); reduce it, with `.sum\(\)` or a loss, or claim `jac=` or `vjp=`"),
        (np.ones((1, 1)), r"\(1, 1\); take its only entry with `.item\(\)`"),
        (np.ones(0), r"\(0,\)"),
        ((1.0, "cache"), "tuple of 2"),
        ([1.0], "list of 1"),
        (1j, "real number"),
        (np.array(1j), "real number"),
        ("1.0", "builtins.str|got str"),
        (True, "got bool"),
        (np.bool_(True), "numpy.bool"),
        ({"cost": 1.0}, "got dict"),
        (np.array(1.0, dtype=object), "ndarray"),
    ],
)
def test_f_returns_no_number(returned, words):
    """What f returned and what to do is said."""
    with pytest.raises(FunctionError, match=words):
        check(lambda x: returned, np.ones(2), grad=double, rng=0)


@pytest.mark.parametrize("kind", [float, np.float64, np.array, np.float32, np.longdouble])
def test_f_returns_a_number(kind):
    """Python numbers, NumPy scalars and 0-d arrays are numbers."""
    report = check(lambda x: kind(3.0 * x), 2.0, grad=3.0, rng=0)
    assert report.verdict is Verdict.CORRECT


def test_f_returns_an_int():
    """An int is a number: f is constant in steps, and that is not our error."""
    assert check(lambda x: int(x * 0), 2.0, grad=0.0, rng=0).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_f_not_finite_at_the_point(value):
    """nan at the point itself: INCONCLUSIVE without running the engine."""
    report = check(lambda x: value, np.ones(2), grad=double, rng=0)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is Reason.DOMAIN
    assert ids(report) == ["GP304"]
    assert report.cost.evaluations == 1
    assert report.leaves[0].verdict is Verdict.INCONCLUSIVE


def raise_at_once(x: Any) -> float:
    raise LookupError("no such layer")


def test_f_raises_at_the_point():
    """The user's exception is chained and its text shown."""
    with pytest.raises(
        FunctionError, match="`raise_at_once` raised LookupError at the point itself: no such layer"
    ) as e:
        check(raise_at_once, np.ones(2), grad=double, rng=0)
    assert isinstance(e.value.__cause__, LookupError)
    assert isinstance(e.value, RuntimeError)


def test_f_raises_at_a_step():
    """Outside its domain f may raise whatever it likes: there it is nan; what it returns must be a number."""
    problem = make_problem(raise_beside, np.ones(1))
    assert problem.evaluate(np.ones(1), 0.0) == 1.0
    assert np.isnan(problem.evaluate(np.ones(1), 0.25))
    assert np.isnan(problem.evaluate(np.ones(1), 0.5))
    assert np.isnan(problem.evaluate(np.ones(1), 1.0))
    assert problem.primal.refusals[-1] == "`raise_beside` raised KeyError at the point + 1 v: 'x'"
    with pytest.raises(FunctionError, match="list of 0"):
        problem.evaluate(np.ones(1), 2.0)


def raise_beside(x: Any) -> Any:
    if x[0] == 1.25:
        raise ZeroDivisionError
    if x[0] == 1.5:
        raise ValueError("math domain error")
    if x[0] == 2.0:
        raise KeyError("x")
    return [] if x[0] == 3.0 else float(x[0])


def make_problem(f: Any, *args: Any) -> Any:
    from gradproof._function._problem import Primal, Problem

    primal = Primal(f, args)
    return Problem(primal, {i: np.zeros(one.shape) for i, one in enumerate(primal.leaves)})


def test_claim_raises():
    """The claim's exception is chained."""
    with pytest.raises(ClaimError, match="`grad` raised LookupError at the point: no such layer") as error:
        check(quadratic, np.ones(2), grad=raise_at_once, rng=0)
    assert isinstance(error.value.__cause__, LookupError)


def log_sum(x: Any) -> Any:
    return np.sum(np.log(x))


def test_warnings_of_f_at_perturbed_points_are_quiet():
    """NumPy's floating-point warnings around the point are ours, not the user's; the error state is left as found."""
    before = np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check(log_sum, np.array([1e-3, 1.0]), grad=lambda x: 1 / x, rng=0)
        make_problem(log_sum, np.array([1.0])).evaluate(np.ones(1), -2.0)
    assert report.verdict is Verdict.CORRECT
    assert np.geterr() == before


# ----------------------------------------------------------------------------------- changes in place (GP210, 211)


def shift_in_place(x: Any) -> float:
    value = quadratic(x)
    x += 1.0
    return value


def double_in_place(x: Any) -> Any:
    x *= 2
    return x


def sum_of_squares_of_difference(x: Any, data: Any) -> float:
    data["y"] -= 1.0
    return quadratic(x - data["y"] - 1.0)


def pop_key(p: dict[str, Any]) -> float:
    return p.pop("a") ** 2


def add_key(p: dict[str, Any]) -> float:
    p["cache"] = p["a"] * 2
    return p["a"] ** 2


def rebind_key(p: dict[str, Any]) -> float:
    value = float(p["a"] ** 2)
    p["a"] = p["a"] + 1
    return value


def append_to(x: float, history: list[float]) -> float:
    history.append(x)
    return x**2


def test_f_changes_its_argument():
    """GP210 for f, with the numbers still measured at the right points."""
    x = np.array([1.0, 2.0])
    report = check(shift_in_place, x, grad=double, rng=RNG)
    assert report.verdict is Verdict.WRONG
    assert ids(report) == ["GP210"]
    assert finding(report, "GP210").path == "x"
    assert report.leaves[0].verdict is Verdict.CORRECT
    np.testing.assert_array_equal(x, [1.0, 2.0])


def test_claim_changes_its_argument():
    """GP211 for the claim, whose value is still what it returned."""
    report = check(quadratic, np.array([1.0, 2.0]), grad=double_in_place, rng=RNG)
    assert report.verdict is Verdict.WRONG
    assert ids(report) == ["GP211"]
    assert report.leaves[0].verdict is Verdict.CORRECT


def test_f_changes_another_argument():
    """An argument outside `wrt` is restored before each evaluation, so that the numbers mean something."""
    data = {"y": np.array([3.0, 4.0])}
    report = check(sum_of_squares_of_difference, (np.ones(2), data), grad=lambda x, d: 2 * (x - d["y"]), rng=RNG)
    assert ids(report) == ["GP210"]
    assert finding(report, "GP210").path == "data['y']"
    assert report.leaves[0].verdict is Verdict.CORRECT
    np.testing.assert_array_equal(data["y"], [3.0, 4.0])


def change_data_elsewhere(x: Any, data: Any) -> float:
    if x != 1.0:
        data[0] += 0.0 if np.signbit(data[0]) else -0.0
        data[1] = 7.0
    return float(x**2)


def test_f_changes_another_argument_away_from_the_point():
    """A change that f makes at perturbed points only is found at the end."""
    report = check(change_data_elsewhere, (1.0, np.ones(2)), grad=2.0, rng=0)
    assert ids(report) == ["GP210"]


@pytest.mark.parametrize("f", [pop_key, add_key, rebind_key])
def test_f_changes_a_container(f):
    """Keys taken, added or rebound are changes of an argument; the user's own dict is not touched."""
    point = {"a": 3.0}
    report = check(f, point, grad={"a": 6.0}, rng=0)
    assert ids(report) == ["GP210"]
    assert finding(report, "GP210").path == "p"
    assert report.leaves[0].verdict is Verdict.CORRECT
    assert point == {"a": 3.0}


class Fresh:
    """A container that makes its leaves anew whenever it is flattened, and whose metadata equals nothing."""

    def __init__(self, values: Any) -> None:
        self.values = values


optree.register_pytree_node(
    Fresh,
    lambda node: ((node.values * 1, float(node.values[0])), object()),
    lambda _, children: Fresh(children[0]),
    namespace="gradproof",
)


def test_a_container_that_is_made_anew_is_no_change():
    """What cannot be told from a change by f is not held against f."""
    report = check(lambda p: quadratic(p.values), Fresh(A), grad=lambda p: [2 * p.values, 0.0], rng=0)
    assert "GP210" not in ids(report)
    assert "GP211" not in ids(report)
    assert check(lambda x, p: x**2, (1.0, Fresh(A)), grad=2.0, rng=0).correct


def test_f_changes_a_container_outside_wrt():
    """The same for an argument that is not differentiated."""
    history: list[float] = []
    report = check(append_to, (1.0, history), grad=2.0, rng=0)
    assert ids(report) == ["GP210"]
    assert history == []


def keep_everything(x: Any, data: Any) -> Any:
    kept.append((x, data))
    return np.sum(x**2 + data)


kept: list[Any] = []


def test_f_that_keeps_its_arguments_is_harmless():
    """Buffers are fresh: what f keeps does not change under it, and nothing is found."""
    kept.clear()
    report = check(keep_everything, (np.array([1.0, 2.0]), np.array([3.0, 4.0])), grad=lambda x, data: 2 * x, rng=0)
    assert report.verdict is Verdict.CORRECT
    assert report.findings == ()
    np.testing.assert_array_equal(kept[0][0], [1.0, 2.0])
    assert len({one[0].tobytes() for one in kept}) > 3


def give_view(x: Any) -> Any:
    return x[0]


def test_f_that_returns_a_view_is_harmless():
    """A view of the argument is read before anything else happens."""
    assert check(give_view, np.array([2.0]), grad=np.ones(1), rng=0).correct
    assert check(quadratic_half, np.array([2.0, 3.0]), grad=lambda x: x, rng=0).correct


def quadratic_half(x: Any) -> Any:
    return 0.5 * (x @ x)


def test_same_array_twice_outside_wrt_stays_one():
    """Identity of arrays among the other arguments is kept."""
    y = np.ones(2)
    assert check(lambda x, a, b: x**2 * (1.0 if a is b else np.nan), (1.0, y, y), grad=2.0, rng=0).correct


# --------------------------------------------------------------------------------------------- aliases (GP401)


def test_aliases():
    """Leaves that share memory are noted and measured as separate arrays."""
    w = np.array([1.0, 2.0])
    report = check(lambda p: quadratic(p["a"] + p["b"]), {"b": w, "a": w}, grad={"a": 4 * w, "b": 4 * w}, rng=0)
    assert report.verdict is Verdict.CORRECT
    found = finding(report, "GP401")
    assert (found.severity, found.path) == (Severity.NOTE, "p['a']")
    assert "p['b']" in found.kind
    base = np.arange(4.0)
    report = check(
        lambda p: quadratic(p[0]) + quadratic(p[1]), [base[1:], base[:2]], grad=[2 * base[1:], 2 * base[:2]], rng=0
    )
    assert ids(report) == ["GP401"]


def test_no_aliases():
    """Interleaved and adjoining views share no element, and scalars no memory."""
    base = np.arange(12.0).reshape(2, 6)
    point = [base[:, ::2], base[:, 1::2], 3.0, np.float64(3), np.ones(0)]
    f = lambda p: sum(quadratic(one) for one in p)  # noqa: E731
    assert check(f, point, grad=[2 * one for one in point], rng=0).findings == ()
    assert check(f, [base[0], base[1]], grad=[2 * base[0], 2 * base[1]], rng=0).findings == ()


# --------------------------------------------------------------------------------- the user's arrays, whatever happens

MISCHIEF = [
    None,
    ValueError,
    KeyError,
    FloatingPointError,
    KeyboardInterrupt,
    SystemExit,
    MemoryError,
    StopIteration,
    GeneratorExit,
    RecursionError,
]


@hypothesis.given(
    mischief=st.sampled_from(MISCHIEF),
    after=st.integers(0, 12),
    changes=st.booleans(),
    in_claim=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_arrays_are_bit_for_bit_what_they_were(mischief, after, changes, in_claim, seed):
    """Whatever f or the claim raises and changes, and whenever: the user's arrays, flags included, are untouched."""
    rng = np.random.default_rng(seed)
    read_only = rng.standard_normal(2)
    read_only.flags.writeable = False
    args = (
        {"w": rng.standard_normal((2, 3)), "half": np.ones(2, np.float32), "list": [read_only, 1.0]},
        [np.arange(3), rng.standard_normal((3, 2)).T, np.array(["text"]), np.full(2, np.nan)],
    )
    before = snapshot(args)
    calls = 0

    def disturb(p: Any, data: Any) -> None:
        nonlocal calls
        calls += 1
        if changes:
            p["w"][...] = 7.0
            p["list"][0] *= 2
            data[0][:] = 0
            data[1].fill(3.0)
            data.pop()
        if calls > after and mischief is not None:
            raise mischief

    def f(p: Any, data: Any) -> float:
        value = quadratic(p["w"]) + quadratic(p["list"][0]) + float(quadratic(p["half"])) + p["list"][1] ** 2
        if not in_claim:
            disturb(p, data)
        return value

    def grad(p: Any, data: Any) -> Any:
        claimed = {"w": 2 * p["w"], "half": 2 * p["half"], "list": [2 * p["list"][0], 2 * p["list"][1]]}
        if in_claim:
            disturb(p, data)
        return claimed

    report: Any = None
    raised: BaseException | None = None
    try:
        report = check(f, args, grad=grad, rng=seed)
    except BaseException as error:
        raised = error
    assert snapshot(args) == before
    assert not args[0]["list"][0].flags.writeable
    assert len(args[1]) == 4
    if isinstance(raised, GradproofError):
        assert isinstance(raised, ClaimError if in_claim else FunctionError)
        assert isinstance(raised.__cause__, mischief)
    elif raised is not None:
        assert type(raised) is mischief
        assert not isinstance(raised, Exception)
    else:
        # Where f raises beside the point there may be nothing left to measure.
        assert report.verdict in ({Verdict.WRONG} if changes else {Verdict.CORRECT, Verdict.INCONCLUSIVE})


def test_arrays_of_other_frameworks_are_named():
    """An array of a framework that is not known is refused by its type."""

    class Array:
        """Stands for a framework's."""

    with pytest.raises(gradproof.UsageError, match=r"is of type .*Array; only numbers and NumPy"):
        gradproof.check(lambda x: 0.0, Array(), grad=0.0, rng=0)
