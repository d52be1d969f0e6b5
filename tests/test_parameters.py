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

    return scipy().check_ivp(lambda t, y: np.sin(y), (0.0, 1.0), X, jac=jac, **options)


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


# (That of `check_ivp` is the solver's.)
@pytest.mark.parametrize("run", [run for run in ENTRY_POINTS if run is not by_check_ivp], ids=lambda run: run.__name__)
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


# ------------------------------------------------------------------------------- options that one entry point has


def refusal(*args, **options):
    """The verdict with which `assert_grad` raises."""
    with pytest.raises(GradientError) as caught:
        gradproof.assert_grad(*args, rng=0, **options)
    return caught.value.report.verdict


@pytest.mark.parametrize(
    ("f", "keyword", "claim"),
    [
        (total, "grad", gradient),
        (np.sin, "jac", jacobian),
        (np.sin, "vjp", lambda error: lambda u, x: (1 + error) * u * np.cos(x)),
        (np.sin, "jvp", lambda error: lambda v, x: (1 + error) * v * np.cos(x)),
        (total, "hess", lambda error: lambda x: -(1 + error) * np.diag(np.sin(x))),
        (total, "hvp", lambda error: lambda v, x: -(1 + error) * v * np.sin(x)),
    ],
)
def test_claims_of_assert_grad_and_of_a_session(f, keyword, claim):
    """Each is checked as what it is: right ones pass, wrong ones do not."""
    assert gradproof.assert_grad(f, X, rng=0, **{keyword: claim(0.0)}).claim == keyword
    assert refusal(f, X, **{keyword: claim(0.5)}) is Verdict.WRONG  # wrong on purpose
    for error, verdict in ((0.0, Verdict.CORRECT), (0.5, Verdict.WRONG)):
        session = gradproof.Session(X, rng=0, **{keyword: claim(error)})
        while not session.done:
            session.tell([f(x) for x in session.ask()])
        assert session.report.verdict is verdict


def weighted(a, b):
    return np.sum(a * np.sin(b))


def test_wrt_of_assert_grad_and_of_a_session():
    """The second argument, by its own gradient and by that of the first."""
    for claim, verdict in ((X * np.cos(X), Verdict.CORRECT), (np.sin(X), Verdict.WRONG)):
        session = gradproof.Session((X, X), grad=claim, wrt=1, rng=0)
        while not session.done:
            session.tell([weighted(*point) for point in session.ask()])
        assert session.report.verdict is verdict
        assert [leaf.path for leaf in session.report.leaves] == ["args[1]"]
    assert gradproof.assert_grad(weighted, (X, X), grad=X * np.cos(X), wrt=1, rng=0).leaves[0].path == "b"
    assert refusal(weighted, (X, X), grad=np.sin(X), wrt=1) is Verdict.WRONG  # wrong on purpose


def test_domain_of_assert_grad():
    """f is asked inside only."""
    seen = []

    def f(x):
        seen.append(np.min(x))
        return np.sum(x**1.5)

    x = np.array([0.0, 1.0, 2.0])
    assert gradproof.assert_grad(f, x, grad=lambda x: 1.5 * x**0.5, domain=(0, None), rng=0).correct
    assert min(seen) >= 0
    with np.errstate(invalid="ignore"):
        gradproof.check(f, x, grad=lambda x: 1.5 * x**0.5, rng=0)
    assert min(seen) < 0


def test_reference_of_assert_grad():
    """It is asked in higher precision, and the verdict rests on it."""
    x, seen = X.astype(np.float32), []

    def single(x):
        return np.float32(np.sum(np.sin(x.astype(np.float32))))

    def reference(x):
        seen.append(x.dtype)
        return np.sum(np.sin(x))

    right = gradproof.assert_grad(single, x, grad=np.cos(x), reference=reference, rng=0)
    assert right.leaves[0].bound < 1e-4
    assert set(seen) == {np.dtype(np.float64)}
    assert refusal(single, x, grad=1.1 * np.cos(x), reference=reference) is Verdict.WRONG  # wrong on purpose


def test_vectorized_of_assert_grad():
    """f gets many points at once, in fewer calls."""

    def each(x):
        return np.sum(np.sin(x), axis=-1)

    alone = gradproof.assert_grad(each, X, grad=np.cos, rng=0)
    together = gradproof.assert_grad(each, X, grad=np.cos, vectorized=True, rng=0)
    assert alone.cost.calls == alone.cost.evaluations
    assert together.cost.calls < alone.cost.calls / 2


def test_order_and_modes_of_assert_grad():
    """The modes that are named, and the second order where it is asked for."""
    torch = pytest.importorskip("torch")
    x = torch.as_tensor(X[:3])

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.square = (x * x).detach()
            return x**3

        @staticmethod
        def backward(ctx, u):
            return 3 * u * ctx.square  # wrong on purpose, to second order

    assert [one.mode for one in gradproof.assert_grad(Cube.apply, x, modes=("rev",), rng=0).modes] == ["rev"]
    assert refusal(Cube.apply, x, modes=("rev",), order=2) is Verdict.WRONG
    report = gradproof.assert_grad(torch.sin, x, modes=("rev", "fwd"), order=2, rng=0)
    assert [one.mode for one in report.modes] == ["rev", "fwd", "rev-rev", "fwd-rev", "rev-fwd", "fwd-fwd"]


def test_order_of_check_rules():
    """A rule that is right to first order only."""
    pytest.importorskip("jax")
    import jax
    import jax.numpy as jnp

    import gradproof.jax

    @jax.custom_vjp
    def cube(x):
        return jnp.sum(x**3)

    def pulled(x, u):
        return (3 * u * jax.lax.stop_gradient(x) ** 2,)  # wrong on purpose, to second order

    cube.defvjp(lambda x: (jnp.sum(x**3), x), pulled)
    x = jnp.asarray(X[:3], jnp.float32)
    for order, verdict in ((1, Verdict.CORRECT), (2, Verdict.WRONG)):
        (report,) = gradproof.jax.check_rules(cube, x, modes=("rev",), order=order, rng=0)
        assert report.verdict is verdict


def test_bounds_of_check_constraint():
    """The constraint is asked inside only."""
    seen = []

    def fun(x):
        seen.append(np.min(x))
        return np.sum(x**1.5)

    constraint = {"type": "ineq", "fun": fun, "jac": lambda x: 1.5 * x**0.5}
    assert scipy().check_constraint(constraint, [0.0, 1.0, 2.0], bounds=[(0, None)] * 3, rng=0).correct
    assert min(seen) >= 0


def test_args_of_check_root():
    """They are passed on to the function and to its Jacobian."""
    for factor, verdict in ((1, Verdict.CORRECT), (2, Verdict.WRONG)):
        report = scipy().check_root(
            lambda x, c: np.sin(c * x),
            X[:3],
            args=(2.0,),
            jac=lambda x, c, factor=factor: factor * c * np.diag(np.cos(c * x)),  # wrong on purpose
            rng=0,
        )
        assert report.verdict is verdict


def test_epsilon_of_the_courses_check(capsys):
    """A step so large that the function bends would show; this one is linear, and a tiny step meets rounding."""
    from gradproof import course

    assert course.gradient_check(2, 4, epsilon=1e-2) < 1e-12
    assert course.gradient_check(2, 4, epsilon=1e-14) > 1e-5
    assert capsys.readouterr().out == "The gradient is correct!\nThe gradient is wrong!\n"


# ------------------------------------------------------------------------------------------------------ drop-ins


def torch_rule(torch, backward):
    """x**2 with this backward, whose inputs are x and the cotangent."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, u):
            return backward(ctx.saved_tensors[0], u)

    return Square.apply


def torch_point(torch, *shape):
    return torch.linspace(0.5, 2, int(np.prod(shape)), dtype=torch.float64).reshape(shape).requires_grad_()


@pytest.mark.parametrize("name", ["gradcheck", "gradgradcheck"])
@pytest.mark.parametrize("option", [{"eps": 10.0}, {"fast_mode": True}, {"check_grad_dtypes": True}])
def test_options_of_torch_that_change_nothing(name, option):
    """Right ones pass, and wrong ones do not, whatever they are."""
    torch = pytest.importorskip("torch")
    import gradproof.compat.torch

    check = getattr(gradproof.compat.torch, name)
    right = torch_rule(torch, lambda x, u: 2 * x * u)
    wrong = torch_rule(torch, lambda x, u: 2.1 * x * u if name == "gradcheck" else 2 * x.detach() * u)
    assert check(right, torch_point(torch, 3), **option)
    assert not check(wrong, torch_point(torch, 3), raise_exception=False, **option)  # wrong on purpose


def test_rtol_of_gradgradcheck():
    """It tolerates an error of the second derivative that is refused without."""
    torch = pytest.importorskip("torch")
    from gradproof.compat.torch import gradgradcheck

    rule = torch_rule(torch, lambda x, u: (2.02 * x - 0.02 * x.detach()) * u)  # 1 % off, to second order
    x = torch_point(torch, 3)
    assert not gradgradcheck(rule, x, raise_exception=False)
    assert gradgradcheck(rule, x, rtol=0.02)
    assert not gradgradcheck(rule, x, rtol=0.002, raise_exception=False)


def test_nondet_tol_of_gradgradcheck():
    torch = pytest.importorskip("torch")
    from gradproof.compat.torch import gradgradcheck

    generator = torch.Generator().manual_seed(0)

    class Noisy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, w):
            return w * (1 + 1e-9 * torch.rand(w.shape, generator=generator, dtype=w.dtype))

    rule = torch_rule(torch, lambda x, u: 2 * x * Noisy.apply(u))
    x = torch_point(torch, 3)
    assert not gradgradcheck(rule, x, raise_exception=False)
    assert gradgradcheck(rule, x, nondet_tol=1e-7)


def test_check_batched_grad_of_gradgradcheck():
    """vmap cannot see into NumPy."""
    torch = pytest.importorskip("torch")
    from gradproof.compat.torch import gradgradcheck

    class Leaves(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, w):
            return torch.as_tensor(w.detach().numpy())

    rule = torch_rule(torch, lambda x, u: 2 * x * Leaves.apply(u))
    x = torch_point(torch, 3)
    assert gradgradcheck(rule, x)
    assert not gradgradcheck(rule, x, check_batched_grad=True, raise_exception=False)


def test_check_undefined_grad_of_gradgradcheck():
    """Of the two gradients of a product, one may be without a cotangent."""
    torch = pytest.importorskip("torch")
    from gradproof.compat.torch import gradgradcheck

    class Needs(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.set_materialize_grads(False)
            return a.clone(), b.clone()

        @staticmethod
        def backward(ctx, u, w):
            if u is None or w is None:
                raise RuntimeError("a cotangent is None")  # wrong on purpose
            return u, w

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, u):
            a, b = ctx.saved_tensors
            return Needs.apply(u * b, u * a)

    inputs = torch_point(torch, 2), torch_point(torch, 2)
    assert not gradgradcheck(Product.apply, inputs, raise_exception=False)
    assert gradgradcheck(Product.apply, inputs, check_undefined_grad=False)


def test_masked_of_gradgradcheck():
    """As torch, a masked check takes what is nearly zero for zero where the cotangent is zero."""
    torch = pytest.importorskip("torch")
    from torch.autograd import gradgradcheck as original

    from gradproof.compat.torch import gradgradcheck

    class Slope(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, u):
            ctx.save_for_backward(x, u)
            return 3 * x**2 * u

        @staticmethod
        def backward(ctx, w):
            x, u = ctx.saved_tensors
            return 6 * x * u * w + 1e-9, 3 * x**2 * w  # wrong on purpose

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, u):
            return Slope.apply(*ctx.saved_tensors, u)

    x = torch_point(torch, 3)
    for check in (gradgradcheck, original):
        options = {"check_undefined_grad": False, "raise_exception": False}
        assert check(Cube.apply, x, masked=True, **options)
        assert not check(Cube.apply, x, masked=False, **options)
        assert not check(Cube.apply, x, **options)


@pytest.mark.parametrize("name", ["check_jvp", "check_vjp"])
def test_options_of_jax_claims(name):
    """`atol` and `rtol` tolerate an error in each entry, `eps` changes nothing, `err_msg` is added."""
    pytest.importorskip("jax")
    import jax.numpy as jnp

    import gradproof.compat.jax

    check, x = getattr(gradproof.compat.jax, name), jnp.asarray(X[:5], jnp.float32)

    def claim(factor):
        if name == "check_jvp":
            return lambda primals, tangents: (jnp.sin(primals[0]), factor * jnp.cos(primals[0]) * tangents[0])
        return lambda x: (jnp.sin(x), lambda u: (factor * u * jnp.cos(x),))

    assert check(jnp.sin, claim(1.0), (x,), eps=10.0) is None
    for options in ({"atol": 0.05}, {"rtol": 0.02}):
        assert check(jnp.sin, claim(1.01), (x,), **options) is None
    for options in ({"atol": 1e-4}, {"rtol": 1e-3}, {"eps": 10.0}):
        with pytest.raises(GradientError) as caught:
            check(jnp.sin, claim(1.01), (x,), err_msg="of mine", **options)  # wrong on purpose
        assert caught.value.__notes__ == ["of mine"]


def test_epsilon_of_scipys_check_grad():
    """Accepted, and changes nothing."""
    pytest.importorskip("scipy")
    from gradproof.compat.scipy import check_grad

    assert check_grad(total, np.cos, X[:3], epsilon=10.0) == check_grad(total, np.cos, X[:3])
