"""Drop-ins for JAX's checkers: its signatures and errors, our verdicts."""

from __future__ import annotations

import functools as ft
import inspect

import numpy as np
import pytest

from gradproof import GradientError, GradproofWarning, Verdict

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import test_util  # noqa: E402

from gradproof.compat import jax as compat  # noqa: E402
from gradproof.compat.jax import check_grads, check_jvp, check_vjp  # noqa: E402

X = jnp.asarray(np.random.default_rng(0).standard_normal(5), jnp.float32)


def sine(factor):
    @jax.custom_jvp
    def rule(x):
        return jnp.sin(x)

    rule.defjvp(lambda primals, tangents: (rule(*primals), factor * jnp.cos(primals[0]) * tangents[0]))
    return rule


@pytest.mark.parametrize("name", compat.__all__)
def test_signatures(name):
    """To the letter."""
    assert inspect.signature(getattr(compat, name)) == inspect.signature(getattr(test_util, name))


def test_returns_none_for_right_derivatives():
    """Numbers, arrays of NumPy and JAX, a list of arguments, integers, and every mode."""
    assert check_grads(sine(1.0), (X,), 1) is None
    assert check_grads(lambda a, b, n: jnp.sin(a) * b[n], [1.5, np.ones(3), 1], order=1, modes=["rev"]) is None
    assert check_grads(jnp.tanh, (X[:2],), 1, modes=("lin",)) is None


@pytest.mark.slow
def test_orders():
    """Second and third order: a mistake in the derivative of a derivative is seen from its order on."""
    assert check_grads(jnp.tanh, (X[:2],), 2) is None

    @jax.custom_jvp
    def curvature(x):
        return 6 * x

    curvature.defjvp(lambda primals, tangents: (curvature(*primals), 5 * tangents[0]))  # wrong on purpose

    @jax.custom_jvp
    def slope(x):
        return 3 * x**2

    slope.defjvp(lambda primals, tangents: (slope(*primals), curvature(*primals) * tangents[0]))

    @jax.custom_jvp
    def f(x):
        return x**3

    f.defjvp(lambda primals, tangents: (f(*primals), slope(*primals) * tangents[0]))
    assert check_grads(f, (X[:2],), 2, modes=("rev",)) is None
    with pytest.raises(AssertionError):
        check_grads(f, (X[:2],), 3, modes=("rev",))


@pytest.mark.parametrize("factor", [0.0, -1.0, 1.01])
def test_raises_for_wrong_ones(factor):
    """An AssertionError that carries the report, also where JAX's own tolerance grows with the array."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal(1000), jnp.float32)
    test_util.check_grads(sine(factor), (x,), 1, modes=("fwd",))
    with pytest.raises(AssertionError, match=r"^WRONG") as caught:
        check_grads(sine(factor), (x,), 1, modes=("fwd",))
    assert isinstance(caught.value, GradientError)
    assert caught.value.report.verdict is Verdict.WRONG


def test_tolerances_widen():
    """In each entry; a number, or one by dtype; only what is passed counts; `eps` is ignored."""
    wrong = sine(0.99)
    assert check_grads(wrong, (X,), 1, modes=("rev",), rtol=0.02) is None
    assert check_grads(wrong, (X,), 1, modes=("rev",), atol=0.02, eps=10.0) is None
    assert check_grads(wrong, (X,), 1, modes=("rev",), rtol={np.float32: 0.02}) is None
    for options in ({"rtol": 0.005}, {"rtol": {np.float64: 0.02}}, {"atol": 1e-4}):
        with pytest.raises(GradientError):
            check_grads(wrong, (X,), 1, modes=("rev",), **options)


def test_tolerances_excuse_no_other_value():
    """The primal is checked beside the derivative."""

    def shifted(x):
        return jnp.sin(x) + 0.01

    assert check_jvp(jnp.sin, ft.partial(jax.jvp, jnp.sin), (X,)) is None
    with pytest.raises(AssertionError, match="GP230"):
        check_jvp(jnp.sin, ft.partial(jax.jvp, shifted), (X,), rtol=0.5)
    with pytest.raises(AssertionError, match="GP230"):
        check_vjp(jnp.sin, ft.partial(jax.vjp, shifted), (X,))


def test_claims_of_others():
    """`check_jvp` and `check_vjp` take any function that computes a derivative, and add the user's message."""

    def jvp(factor, primals, tangents):
        return jnp.sin(primals[0]), factor * jnp.cos(primals[0]) * tangents[0]

    def vjp(factor, x):
        return jnp.sin(x), lambda u: (factor * u * jnp.cos(x),)

    assert check_jvp(jnp.sin, ft.partial(jvp, 1.0), (X,)) is None
    assert check_vjp(jnp.sin, ft.partial(vjp, 1.0), (X,)) is None
    assert check_vjp(jnp.exp, ft.partial(jax.vjp, jnp.exp), (X + 1j,)) is None
    with pytest.raises(AssertionError) as caught:
        check_jvp(jnp.sin, ft.partial(jvp, 1.5), (X,), err_msg="of mine")
    assert caught.value.__notes__ == ["of mine"]
    with pytest.raises(AssertionError):
        check_vjp(jnp.sin, ft.partial(vjp, 1.5), (X,))


def test_passes_on_what_is_raised():
    """JAX's own refusal of a mode, and what f raises, as they are."""

    @jax.custom_vjp
    def rule(x):
        return jnp.sin(x)

    rule.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (u * jnp.cos(x),))
    assert check_grads(rule, (X,), 1, modes=("rev",)) is None
    with pytest.raises(TypeError, match="forward-mode"):
        check_grads(rule, (X,), 1)
    with pytest.raises(AttributeError, match="no_such_name"):
        check_grads(lambda x: x.no_such_name, (X,), 1)


def test_subgradients_are_accepted():
    """With a warning, as `assert_grad` does."""
    with pytest.warns(GradproofWarning, match="valid subgradient"):
        check_grads(jnp.abs, (jnp.array([0.0, 1.0]),), 1, modes=("rev",))


NOWHERE_FINITE = {
    "real": (jnp.exp, jnp.array([-np.inf, -np.inf], jnp.float32)),
    "complex": (jnp.exp, jnp.full(2, -np.inf + 0j, jnp.complex64)),
    "nan": (jnp.nan_to_num, jnp.array([np.nan], jnp.float32)),
}


@pytest.mark.parametrize("name", NOWHERE_FINITE)
def test_an_argument_that_no_step_moves_is_left_out_with_a_warning(name):
    """As JAX passes it, in every checker."""
    f, x = NOWHERE_FINITE[name]
    text = "not checked: no entry of argument 0 is finite"
    test_util.check_grads(f, (x,), 1)
    for order in (1, 2):
        with pytest.warns(GradproofWarning, match=text):
            check_grads(f, (x,), order)
    with pytest.warns(GradproofWarning, match=text):
        check_jvp(f, ft.partial(jax.jvp, f), (x,))
    with pytest.warns(GradproofWarning, match=text):
        check_vjp(f, ft.partial(jax.vjp, f), (x,))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_other_arguments_are_checked_beside_one_that_no_step_moves(dtype):
    """A wrong derivative with respect to one of them is found."""
    args = {"mask": jnp.full(2, -np.inf, dtype), "x": X[:2]}
    for factor in (1.0, 1.01):
        f = lambda args: jnp.exp(args["mask"]).real + sine(factor)(args["x"])  # noqa: B023, E731
        if factor == 1.0:
            with pytest.warns(GradproofWarning, match=r"no entry of argument 0\['mask'\] is finite"):
                check_grads(f, (args,), 1)
            continue
        with pytest.raises(GradientError) as caught:  # wrong on purpose
            check_grads(f, (args,), 1)
        wrong = {leaf.path for leaf in caught.value.report.leaves if leaf.verdict is Verdict.WRONG}
        assert wrong == {"args['x']", "args['x'] (fwd)"}


@pytest.mark.parametrize("x", [(-np.inf, -np.inf), (-np.inf, 1.0)])
def test_infinity_that_reaches_an_output_does_not_pass(x):
    """The entry is named."""
    with pytest.raises(AssertionError):
        test_util.check_grads(lambda x: 2 * x, (jnp.array(x),), 1)
    with pytest.raises(GradientError, match=r"`x\[0\]`\s+is\s+-inf"):
        check_grads(lambda x: 2 * x, (jnp.array(x),), 1)
