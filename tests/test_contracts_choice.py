"""The option `contracts`: what can be chosen, what is refused, and what it costs."""

import numpy as np
import pytest

import gradproof
from gradproof import UsageError, Verdict
from helpers import ids

X = np.array([0.5, 1.0, 2.0])
POINT = np.ones((2, 3)) * X


def total(x):
    return np.sum(np.sin(x))


def in_memory_order(x):
    return np.cos(x).ravel(order="K").reshape(x.shape)  # wrong on purpose


def check(contracts, **options):
    return gradproof.check(total, POINT, grad=in_memory_order, contracts=contracts, rng=0, **options)


@pytest.mark.parametrize("contracts", ["all", ["GP217"], ("GP213", "GP217")])
def test_what_is_chosen_is_held(contracts):
    assert ids(check(contracts)) == ["GP217"]


@pytest.mark.parametrize("contracts", ["default", "none", ["GP213"], ["GP226"]])
def test_what_is_not_chosen_is_not(contracts):
    assert check(contracts).correct


def test_cases_and_assertions_take_it():
    assert ids(gradproof.Case(total, (POINT,), grad=in_memory_order, contracts=["GP217"], rng=0).check()) == ["GP217"]
    with pytest.raises(gradproof.GradientError, match="Fortran order"):
        gradproof.assert_grad(total, POINT, grad=in_memory_order, contracts="all", rng=0)
    gradproof.assert_grad(total, POINT, grad=in_memory_order, rng=0)


def test_the_reproducer_names_it():
    assert "contracts=['GP217']" in check(["GP217"]).findings[0].reproducer


@pytest.mark.parametrize(
    ("contracts", "said"),
    [
        ("GP217", r"to test one contract pass `contracts=\['GP217'\]`"),
        ("some", '"default", "all", "none" or a list of ids from GP213, GP216'),
        (["GP217", "GP999"], r"there is no contract 'GP999'\. Pass .* from GP213, GP216"),
        (["GP101"], "there is no contract 'GP101'"),
        ([], "the list is empty"),
        (3, "got 3"),
        (
            ["GP216"],
            r"GP216 \(the layout of the cotangent .*\) does not apply to `grad`; those that do are GP213, GP217, GP226",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused(contracts, said):
    with pytest.raises(UsageError, match=said):
        check(contracts)


def test_a_value_is_never_called():
    for contracts in ("all", "none", ["GP213"]):
        with pytest.raises(UsageError, match="passed as a value"):
            gradproof.check(total, POINT, grad=np.cos(POINT), contracts=contracts, rng=0)


def test_forward_mode_has_no_backward():
    torch = pytest.importorskip("torch")
    x = torch.as_tensor(X)
    with pytest.raises(UsageError, match=r"GP216 .* does not apply to forward mode; those that do are GP213"):
        gradproof.check(lambda x: x.sin(), x, modes=("fwd",), contracts=["GP216"], rng=0)
    assert gradproof.check(lambda x: x.sin(), x, modes=("fwd",), contracts="all", rng=0).correct


def test_a_hessian_has_no_layouts():
    with pytest.raises(UsageError, match="does not apply to `hess`; those that do are GP213"):
        gradproof.check(total, X, hess=lambda x: np.diag(-np.sin(x)), contracts=["GP217"], rng=0)


def test_the_default_takes_three_backwards():
    """Besides the second call of the claim; and none where nothing is written by hand."""
    torch = pytest.importorskip("torch")

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, u):
            return u * ctx.saved_tensors[0].cos()

    x = torch.as_tensor(POINT)

    def claims(f, contracts):
        report = gradproof.check(f, x, modes=("rev",), contracts=contracts, rng=0)
        assert report.verdict is Verdict.CORRECT
        return report.cost.claims

    assert claims(Sine, "default") - claims(Sine, ["GP213"]) == 3
    assert claims(lambda x: Sine.apply(x).sum(), "default") - claims(lambda x: Sine.apply(x).sum(), ["GP213"]) == 3
    assert claims(torch.sin, "default") == claims(torch.sin, ["GP213"])
