"""Every option of every entry point is passed on: each is seen by what it changes."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof
from gradproof import GradientError, Verdict

# More entries than are measured one by one, so that confidence counts.
X = np.random.default_rng(0).uniform(0.5, 1.5, size=40)


def total(x):
    return np.sum(np.sin(x))


def gradient(error):
    return lambda x: (1 + error) * np.cos(x)


def jacobian(error):
    return lambda x: (1 + error) * np.diag(np.cos(x))


def by_check(error, **options):
    return gradproof.check(total, X, grad=gradient(error), **options)


def by_assert_grad(error, **options):
    try:
        return gradproof.assert_grad(total, X, grad=gradient(error), **options)
    except GradientError as refused:
        return refused.report


def by_case(error, **options):
    return gradproof.Case(total, X, grad=gradient(error), **options).check()


def by_case_overridden(error, **options):
    return gradproof.Case(total, X, grad=gradient(error), rng=1).check(**options)


def by_session(error, **options):
    session = gradproof.Session(X, grad=gradient(error), **options)
    while not session.done:
        session.tell([total(x) for x in session.ask()])
    return session.report


def by_check_module(error, **options):
    torch = pytest.importorskip("torch")

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, u):
            return (1 + error) * u * ctx.saved_tensors[0].cos()

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.as_tensor(X))

        def forward(self, scale):
            return scale * Sine.apply(self.w).sum()

    return gradproof.torch.check_module(Model(), lambda model, batch: model(batch), 1.0, **options)


def by_check_rules(error, **options):
    pytest.importorskip("jax")
    import jax
    import jax.numpy as jnp

    import gradproof.jax

    @jax.custom_vjp
    def sines(x):
        return jnp.sum(jnp.sin(x))

    sines.defvjp(lambda x: (jnp.sum(jnp.sin(x)), x), lambda x, u: ((1 + error) * u * jnp.cos(x),))
    (report,) = gradproof.jax.check_rules(sines, jnp.asarray(X, jnp.float32), modes=("rev",), **options)
    return report


def scipy():
    pytest.importorskip("scipy")
    import gradproof.scipy

    return gradproof.scipy


def by_check_minimize(error, **options):
    return scipy().check_minimize(total, X, jac=gradient(error), **options)


def by_check_least_squares(error, **options):
    return scipy().check_least_squares(np.sin, X, jacobian(error), **options)


def by_check_root(error, **options):
    return scipy().check_root(np.sin, X, jac=jacobian(error), **options)


def by_check_constraint(error, **options):
    constraint = {"type": "eq", "fun": total, "jac": gradient(error)}
    return scipy().check_constraint(constraint, X, **options)


def by_check_ivp(error, **options):
    def jac(t, y):
        return jacobian(error)(y)

    return scipy().check_ivp(lambda t, y: np.sin(y), 0.0, X, jac, **options)


ENTRY_POINTS = [
    by_check,
    by_assert_grad,
    by_case,
    by_case_overridden,
    by_session,
    by_check_module,
    by_check_rules,
    by_check_minimize,
    by_check_least_squares,
    by_check_root,
    by_check_constraint,
    by_check_ivp,
]
everywhere = pytest.mark.parametrize("run", ENTRY_POINTS, ids=lambda run: run.__name__)


@everywhere
def test_rtol(run):
    """A larger one tolerates an error that the default refuses, and refuses one that is larger still."""
    single = run is by_check_rules  # in float32
    small, large, rtol = (1e-3, 3e-2, 5e-3) if single else (1e-5, 1e-2, 1e-3)

    refused = run(small, rng=0)  # wrong on purpose
    assert refused.verdict is Verdict.WRONG
    assert refused.rtol < small
    tolerated = run(small, rtol=rtol, rng=0)
    assert (tolerated.verdict, tolerated.rtol) == (Verdict.CORRECT, rtol)
    assert all(leaf.bound > small for leaf in tolerated.leaves)
    assert run(large, rtol=rtol, rng=0).verdict is Verdict.WRONG


@everywhere
def test_max_bound(run):
    """One below all rounding cannot be reached."""
    assert run(0.0, rng=0).verdict is Verdict.CORRECT
    report = run(0.0, max_bound=1e-14, rng=0)
    assert (report.verdict, report.max_bound) == (Verdict.INCONCLUSIVE, 1e-14)
    assert report.leaves[0].bound > 1e-14


@everywhere
def test_confidence(run):
    """Less of it gives a narrower bound."""
    usual, sure, unsure = (
        run(0.0, rng=0, **options) for options in ({}, {"confidence": 1 - 1e-9}, {"confidence": 0.5})
    )
    assert [one.confidence for one in (usual, sure, unsure)] == [1 - 1e-6, 1 - 1e-9, 0.5]
    assert unsure.leaves[0].bound < usual.leaves[0].bound < sure.leaves[0].bound


@everywhere
def test_level(run):
    """Every entry is measured, so that one is noticed as early as all."""
    usual, entries = run(0.0, rng=0), run(0.0, level="entries", rng=0)
    assert [usual.level, entries.level] == ["certificate", "entries"]
    assert entries.cost.evaluations > usual.cost.evaluations
    assert entries.leaves[0].noticeable < usual.leaves[0].noticeable


@everywhere
def test_rng(run):
    """A seed makes the same report again, also one of a generator; another seed makes another."""
    one, same, other = (run(0.0, rng=seed) for seed in (5, 5, 6))
    assert [one.seed, same.seed, other.seed] == [5, 5, 6]
    assert one.to_json(run=False) == same.to_json(run=False)
    assert one.leaves[0].deviation != other.leaves[0].deviation
    drawn = int(np.random.default_rng(7).integers(2**32))
    assert run(0.0, rng=np.random.default_rng(7)).seed == drawn


@pytest.mark.parametrize("run", [run for run in ENTRY_POINTS if run is not by_session], ids=lambda run: run.__name__)
def test_progress(run):
    """A callable is told, up to the end."""
    events = []
    report = run(0.0, rng=0, progress=events.append)
    assert events[-1].finished
    assert events[-1].evaluations == report.cost.evaluations
