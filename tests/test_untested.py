"""A leaf whose effect f's noise hides is untested, whatever its neighbours are; flat is only rounding beside them."""

import numpy as np
import pytest

import gradproof
from gradproof import Reason, Verdict

SEEDS = range(3)
FLAT = "flat: no more than rounding beside the others, not tested by itself"


def hidden(p):
    """`a` moves f by less than the rounding of the constant, `c` by much more."""
    return 1e14 + 1e-2 * np.sin(p["a"]).sum() + 1e3 * np.sin(p["c"]).sum()


def hidden_gradient(p):
    return {"a": -3e-2 * np.cos(p["a"]), "c": 1e3 * np.cos(p["c"])}  # wrong on purpose: `a`


HIDDEN = {"a": np.linspace(0.1, 0.9, 5), "c": np.linspace(0.2, 0.8, 5)}


def pulled(u, p):
    gradient = hidden_gradient(p)
    return {"a": u[0] * gradient["a"], "c": u[0] * gradient["c"] + u[1:] * np.cos(p["c"])}


def pushed(v, p):
    gradient = hidden_gradient(p)
    return np.r_[gradient["a"] @ v["a"] + gradient["c"] @ v["c"], np.cos(p["c"]) * v["c"]]


def several(p):
    return np.r_[hidden(p), np.sin(p["c"])]


def jacobian(p):
    gradient = hidden_gradient(p)
    none = np.zeros((5, 5))
    return {"a": np.vstack([gradient["a"], none]), "c": np.vstack([gradient["c"], np.diag(np.cos(p["c"]))])}


CLAIMS = {
    "grad": (hidden, {"grad": hidden_gradient}),
    "grad, entries": (hidden, {"grad": hidden_gradient, "level": "entries"}),
    "jac": (several, {"jac": jacobian}),
    "jac, entries": (several, {"jac": jacobian, "level": "entries"}),
    "vjp": (several, {"vjp": pulled}),
    "jvp": (several, {"jvp": pushed}),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_what_noise_hides_is_untested(kind):
    """A wrong gradient that f's noise hides is never CORRECT beside a leaf that was tested."""
    f, claim = CLAIMS[kind]
    report = gradproof.check(f, HIDDEN, **claim, rng=0)

    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.leaves[0].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("seed", SEEDS)
def test_a_zero_beside_nothing_tested(seed):
    """One leaf that f does not use makes no report CORRECT."""
    report = gradproof.check(
        lambda p: 1e14 + 1e-2 * np.sin(p["a"]),
        {"a": 0.7, "b": 1.0},
        grad=lambda p: {"a": -3e-2 * np.cos(p["a"]), "b": 0.0},  # wrong on purpose
        rng=seed,
    )

    assert report.verdict is Verdict.INCONCLUSIVE
    assert {leaf.verdict for leaf in report.leaves} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("seed", SEEDS)
def test_an_unused_leaf_beside_a_tested_one(seed):
    """An exact 0 for a leaf that f does not feel is CORRECT, where the noise is larger, too; anything else is not."""

    def f(p):
        return 1e3 + np.sin(p["a"]).sum()

    point = {"a": np.array([0.3, 0.8]), "b": np.ones(3)}
    for claim, verdict in ((0.0, Verdict.CORRECT), (1e-17, Verdict.CORRECT), (2e-14, Verdict.INCONCLUSIVE)):
        report = gradproof.check(f, point, grad=lambda p, c=claim: {"a": np.cos(p["a"]), "b": np.full(3, c)}, rng=seed)

        assert report.verdict is verdict, claim
        assert report.leaves[1].note == ("flat: f does not change" if claim == 0 else FLAT) or claim == 2e-14


@pytest.mark.parametrize("seed", SEEDS)
def test_a_flat_claim_that_moves_f_is_wrong(seed):
    """A claim of rounding for a leaf that moves f is WRONG."""
    report = gradproof.check(
        lambda p: np.sin(p["a"]) + 1e-3 * p["b"],
        {"a": 0.3, "b": 1.0},
        grad=lambda p: {"a": np.cos(p["a"]), "b": 1e-18},  # wrong on purpose
        rng=seed,
    )

    assert [leaf.verdict for leaf in report.leaves] == [Verdict.CORRECT, Verdict.WRONG]


def test_a_noisy_f_hides_what_is_claimed_to_be_rounding():
    """Where f's noise is more than a thousandth of what the tested leaves move, no claim of rounding is flat."""

    def f(p):
        return 1e15 + 20 * np.sin(p["a"]).sum() + 1e-4 * np.sin(p["b"]).sum()

    point = {"a": np.array([0.3, 0.8]), "b": np.ones(3)}
    report = gradproof.check(f, point, grad=lambda p: {"a": 20 * np.cos(p["a"]), "b": np.full(3, 1e-17)}, rng=0)

    assert report.leaves[1].verdict is Verdict.INCONCLUSIVE
    assert report.leaves[1].note.startswith("untested")


@pytest.mark.parametrize("kind", ["hess", "hvp"])
def test_second_order_of_a_leaf_that_is_lost(kind):
    """A leaf whose second derivative is lost beside others is no part of their certificate."""

    def f(p):
        return 1e6 * (p["a"] ** 3).sum() + 1e-7 * (p["b"] ** 2).sum()

    none = np.zeros((3, 3))

    def hess(p):
        wrong = -2e-7 * np.eye(3)  # wrong on purpose
        return {"a": {"a": np.diag(6e6 * p["a"]), "b": none}, "b": {"a": none, "b": wrong}}

    def hvp(v, p):
        return {"a": 6e6 * p["a"] * v["a"], "b": -2e-7 * v["b"]}  # wrong on purpose

    claim = {"hess": hess, "hvp": hvp}[kind]
    report = gradproof.check(f, {"a": np.ones(3), "b": np.ones(3)}, **{kind: claim}, rng=0)

    assert [leaf.verdict for leaf in report.leaves] == [Verdict.CORRECT, Verdict.INCONCLUSIVE]
    assert report.verdict is Verdict.INCONCLUSIVE


def test_second_order_of_leaves_that_are_small_or_linear():
    """Leaves that share a direction keep their bounds, and one that f is linear in is flat."""

    def f(p):
        return (p["a"] ** 3).sum() + 1e-3 * (p["b"] ** 3).sum() + p["c"].sum()

    def hvp(v, p):
        return {"a": 6 * p["a"] * v["a"], "b": 6e-3 * p["b"] * v["b"], "c": 0 * v["c"]}

    report = gradproof.check(f, {name: np.ones(3) for name in "abc"}, hvp=hvp, rng=0)

    assert report.correct
    assert all(leaf.bound is not None for leaf in report.leaves[:2])
    assert report.leaves[2].bound is None


def test_torch_and_jax_modes():
    """The same for what the frameworks claim."""
    torch = pytest.importorskip("torch")

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, c):
            ctx.save_for_backward(a, c)
            return 1e14 + 1e-2 * a.sin().sum() + 1e3 * c.sin().sum()

        @staticmethod
        def backward(ctx, cotangent):
            a, c = ctx.saved_tensors
            return -3e-2 * cotangent * a.cos(), 1e3 * cotangent * c.cos()  # wrong on purpose

    args = tuple(torch.tensor(HIDDEN[name]) for name in "ac")
    report = gradproof.check(Loss.apply, args, modes=("rev",), rng=0)

    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.leaves[0].verdict is Verdict.INCONCLUSIVE


def test_reasons():
    """Hidden by noise is not the same as a point where the numbers prove nothing."""
    report = gradproof.check(hidden, HIDDEN, grad=hidden_gradient, rng=0)
    assert report.reason is Reason.NOISE
    report = gradproof.check(lambda p: 3.0, {"a": 1.0, "b": 2.0}, grad={"a": 0.0, "b": 0.0}, rng=0)
    assert report.reason is Reason.DEGENERATE
    assert [finding.id for finding in report.findings] == ["GP301"]
