"""A derivative is linear for negative multiples as well: abs, relu, sign and square of a cotangent are found."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from helpers import ids

X = np.random.default_rng(0).normal(size=5)
# Of a cotangent, in the names of any library.
KINDS = ("abs", "relu", "sign", "square")


def changed(kind, u, library=np):
    """What a rule makes of its cotangent."""
    if kind == "relu":
        return library.maximum(u, 0 * u)
    return {"right": lambda: u, "abs": lambda: abs(u), "sign": lambda: library.sign(u), "square": lambda: u * u}[kind]()


def is_told(report, kind, id="GP205"):
    """Whether a report is as it should be: the id alone where the rule is wrong, CORRECT where it is right."""
    if kind == "right":
        return report.verdict is Verdict.CORRECT and not report.findings
    return report.verdict is Verdict.WRONG and id in ids(report)


# ----------------------------------------------------------------------------------------------------------- NumPy


@pytest.mark.parametrize("kind", ["right", *KINDS])
def test_a_vjp_of_a_scalar(kind):
    def vjp(u, x):
        return changed(kind, u) * np.cos(x)

    assert is_told(gradproof.check(lambda x: np.sin(x).sum(), X, vjp=vjp, rng=1), kind)


def four(x):
    return tuple(np.sin(k * x).sum() for k in (1, 2, 3, 4))


@pytest.mark.parametrize("output", range(4))
@pytest.mark.parametrize("kind", ["right", *KINDS])
def test_one_of_few_outputs(kind, output):
    """Each of them is asked for at a negative multiple, the first and the last as well."""

    def vjp(u, x):
        us = [changed(kind, one) if k == output else one for k, one in enumerate(u)]
        return sum(us[k] * (k + 1) * np.cos((k + 1) * x) for k in range(4))

    assert is_told(gradproof.check(four, X, vjp=vjp, rng=1), kind)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("kind", ["right", *KINDS])
def test_a_jvp_along_one_number(kind, second):
    """A single tangent, or that of one of two numbers."""

    def jvp(v, x, y):
        a, b = (v[0], changed(kind, v[1])) if second else (changed(kind, v[0]), v[1])
        return a * np.cos(x) - b * np.sin(y)

    report = gradproof.check(lambda x, y: np.sin(x) + np.cos(y), (0.3, 0.4), wrt=(0, 1), jvp=jvp, rng=1)
    assert is_told(report, kind, "GP206")


# ------------------------------------------------------------------------------------------------- PyTorch and JAX


def torch_rule(kind, value):
    torch = pytest.importorskip("torch")

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return value(x)

        @staticmethod
        def backward(ctx, *us):
            (x,) = ctx.saved_tensors
            found = changed(kind, us[0], torch) * x.cos()
            return found if len(us) == 1 else found - changed(kind, us[1], torch) * x.sin()

    return Rule.apply


@pytest.mark.parametrize("contracts", ["default"])
@pytest.mark.parametrize("kind", ["right", *KINDS])
def test_a_scalar_rule_of_torch(kind, contracts):
    torch = pytest.importorskip("torch")
    f = torch_rule(kind, lambda x: x.sin().sum())

    report = gradproof.check(f, torch.tensor(X), contracts=contracts, rng=1)

    assert is_told(report, kind)
    assert kind != "right" or report.cost.claims <= 6


@pytest.mark.parametrize("kind", ["right", *KINDS])
def test_a_rule_of_torch_within_a_scalar_loss(kind):
    """A sum gives it the cotangent 1 alone."""
    torch = pytest.importorskip("torch")
    f = torch_rule(kind, lambda x: x.sin())

    assert is_told(gradproof.check(lambda x: f(x).sum(), torch.tensor(X), rng=1), kind)


@pytest.mark.parametrize("kind", ["right", *KINDS])
def test_a_rule_of_torch_with_two_numbers_as_outputs(kind):
    torch = pytest.importorskip("torch")
    f = torch_rule(kind, lambda x: (x.sin(), x.cos()))

    assert is_told(gradproof.check(f, torch.tensor(X[:1]), rng=1), kind)


@pytest.mark.parametrize("kind", ["right", *KINDS])
def test_a_scalar_rule_of_jax(kind):
    jax = pytest.importorskip("jax")
    from jax import numpy as jnp

    @jax.custom_vjp
    def f(x):
        return jnp.sin(x).sum()

    f.defvjp(lambda x: (f(x), x), lambda x, u: (changed(kind, u, jnp) * jnp.cos(x),))
    assert is_told(gradproof.check(f, jnp.asarray(X, np.float32), modes=("rev",), rng=1), kind)


def test_a_rule_that_ignores_its_cotangent_in_jax():
    jax = pytest.importorskip("jax")
    from jax import numpy as jnp

    @jax.custom_vjp
    def f(x):
        return jnp.sin(x).sum()

    f.defvjp(lambda x: (f(x), x), lambda x, u: (jnp.cos(x),))  # wrong on purpose
    report = gradproof.check(f, jnp.asarray(X, np.float32), modes=("rev",), rng=1)

    assert ids(report) == ["GP205"]
    assert report.findings[0].kind == "`vjp` ignores its cotangent"


# ---------------------------------------------------------------------------------------------------- look-alikes


def test_a_gradient_of_which_twice_is_too_large():
    """In float16 it overflows at -2 and is right: it is held to -1 times the cotangent in place of that."""
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.5, 1.0], dtype=torch.float16)

    report = gradproof.check(lambda x: (x * 40000).sum(), x, rng=1)

    assert not {"GP203", "GP205"} & {*ids(report)}


def test_a_rule_that_remembers_is_not_called_nonlinear():
    """Its answers for one cotangent differ, too."""
    torch = pytest.importorskip("torch")
    kept = torch.zeros(5, dtype=torch.float64)

    class Accumulates(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin().sum()

        @staticmethod
        def backward(ctx, u):
            kept.add_(u * ctx.saved_tensors[0].cos())  # wrong on purpose: never zeroed
            return kept.clone()

    report = gradproof.check(Accumulates.apply, torch.tensor(X), modes=("rev",), rng=1)

    assert report.verdict is not Verdict.CORRECT
    assert "GP205" not in ids(report)


def test_a_random_rule_is_not_called_nonlinear():
    torch = pytest.importorskip("torch")
    noise = np.random.default_rng(1)

    class Random(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin().sum()

        @staticmethod
        def backward(ctx, u):
            return u * ctx.saved_tensors[0].cos() * (1 + 1e-4 * noise.normal())

    report = gradproof.check(Random.apply, torch.tensor(X), contracts="none", modes=("rev",), rng=1)

    assert "GP205" not in ids(report)
