"""JAX: what `check` and the drop-ins take as a point, what they say of where they are called, and of what they did."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import gradproof
from gradproof import UsageError, Verdict
from helpers import ids

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import gradproof.jax  # noqa: E402
from gradproof.compat.jax import check_grads, check_jvp, check_vjp  # noqa: E402

COPY = "against differences of f in float64"


def point(dtype="float32"):
    return jnp.asarray(np.array([0.5, 1.0, -0.7], dtype))


def check(f, args, **options):
    return gradproof.check(f, args, rng=0, **options)


def total_sine(x):
    return jnp.sum(jnp.sin(x))


def notes(report):
    return {one.note for one in report.modes if one.verdict is not None}


# -------------------------------------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros((0, 3)), np.zeros((2, 0), np.complex64)], ids=str)
def test_drop_ins_pass_what_has_no_number(empty):
    """Empty arrays and empty outputs, as `jax.test_util.check_grads` does, without a warning."""
    x = jnp.asarray(empty)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_grads(jnp.sin, (x,), 2, modes=("fwd", "rev", "lin"))
        check_grads(lambda x: jnp.sum(x).real, (x,), 1)
        check_grads(lambda x: x[:0], (point(),), 1)
        check_vjp(jnp.sin, lambda *args: jax.vjp(jnp.sin, *args), (x,))
        check_jvp(jnp.sin, lambda *args: jax.jvp(jnp.sin, *args), (x,))


def test_drop_ins_still_differentiate_what_has_no_number():
    """What a rule raises is passed on, though nothing is compared; a full array beside an empty one is checked."""

    @jax.custom_vjp
    def broken(x):
        return x

    broken.defvjp(lambda x: (x, x), lambda x, u: x.no_such_name)  # wrong on purpose
    with pytest.raises(AttributeError, match="no_such_name"):
        check_grads(broken, (jnp.zeros(0),), 1, modes=("rev",))

    @jax.custom_jvp
    def doubled(x):
        return jnp.sin(x)

    doubled.defjvp(lambda primals, tangents: (doubled(*primals), 2 * jnp.cos(primals[0]) * tangents[0]))
    for f, is_right in ((jnp.sin, True), (doubled, False)):
        both = lambda x, y, f=f: jnp.sum(x) + jnp.sum(f(y))  # noqa: E731
        if is_right:
            check_grads(both, (jnp.zeros(0), point()), 1)
        else:
            with pytest.raises(gradproof.GradientError):
                check_grads(both, (jnp.zeros(0), point()), 1)


def test_check_says_that_there_is_no_number():
    """`check` has no verdict to give on empty arrays."""
    with pytest.raises(UsageError, match="every differentiated array is empty"):
        check(jnp.sin, jnp.zeros(0))


def test_says_that_jax_is_tracing():
    """Inside `jit`, `grad`, `vmap` and `scan` no array has a value."""

    def inside(x):
        check(total_sine, x)
        return total_sine(x)

    def claimed_inside(x):
        check(total_sine, x, grad=jnp.cos)
        return total_sine(x)

    def dropped_inside(x):
        check_grads(total_sine, (x,), 1)
        return total_sine(x)

    def around(x):
        return check(lambda y: jnp.sum(x * y), point()).correct * total_sine(x)

    outside = point()

    def elsewhere(x):
        check(total_sine, outside)
        return total_sine(x)

    for function in (inside, claimed_inside, dropped_inside):
        for transformed in (jax.jit(function), jax.grad(function), lambda x, f=function: jax.vmap(f)(x[None])):
            with pytest.raises(UsageError, match="`x` has no value, because JAX is tracing"):
                transformed(point())
    with pytest.raises(UsageError, match="nothing can be checked inside a function that JAX traces"):
        jax.lax.scan(lambda carry, _: (elsewhere(carry), None), jnp.array(1.0), None, length=2)
    with pytest.raises(UsageError, match="uses an array from outside that has no value"):
        jax.grad(around)(point())
    # There JAX computes whatever does not depend on what is differentiated.
    assert np.allclose(jax.grad(elsewhere)(point()), jnp.cos(point()))


def test_says_that_an_array_was_deleted():
    """Donated or deleted; an f that takes the memory of its arguments takes none of the user's."""
    gone = point()
    jax.jit(lambda x: x + 1, donate_argnums=0)(gone)
    if not gone.is_deleted():
        gone.delete()
    for options in ({}, {"jvp": lambda tangent, x: tangent * jnp.cos(x)}):
        with pytest.raises(UsageError, match="`x` was deleted"):
            check(jnp.sin, gone, **options)
        x = point()
        assert check(jax.jit(jnp.sin, donate_argnums=0), x, **options).correct
        assert not x.is_deleted()
    with pytest.raises(UsageError, match="`y` was deleted"):
        check(lambda x, y: jnp.sum(x * y), (point(), gone), wrt=0)
    with pytest.raises(UsageError, match="`x` was deleted"):
        check_grads(total_sine, (gone,), 1)


@pytest.mark.parametrize("x64", [False, True])
def test_keys_float0_and_numpy_arrays(x64):
    """Keys and float0 pass through, in trees too and out of f; arrays of NumPy are differentiated beside JAX's."""
    nothing = np.zeros(3, jax.dtypes.float0)
    with jax.enable_x64(x64):
        key = jax.random.key(3)

        def drawn(p, key, nothing, weights):
            assert nothing.dtype == jax.dtypes.float0
            noise = jax.random.normal(p["key"], (3,)) + jax.random.normal(key, (3,))
            return jnp.sum(jnp.sin(p["x"]) * noise * weights), jax.random.split(key), nothing

        args = ({"x": point(), "key": jax.random.key(4)}, key, nothing, np.array([1.0, 2.0, 3.0]))
        report = check(drawn, args)
        assert report.correct
        assert [leaf.path for leaf in report.leaves][:2] == ["p['x']", "weights"]
        check_grads(lambda p, key, nothing, weights: drawn(p, key, nothing, weights)[0], args, 1)
        check_grads(total_sine, (np.array([0.5, 1.0]),), 1)
        check_grads(jnp.sin, (np.float32(0.5),), 1)
        assert jax.numpy.asarray(1.0).dtype == (np.float64 if x64 else np.float32)


# --------------------------------------------------------------------------------------------------------------- notes


def test_says_what_the_reference_is():
    """A float64 copy only where there is one, and only if it computes in float64 throughout."""
    half = lambda x: jnp.sum(jnp.sin(x.astype(jnp.float32)) * x)  # noqa: E731
    branched = lambda x: half(x) if x[0] > 0 else jnp.sum(x)  # noqa: E731
    whole = lambda x: jnp.sum(jnp.sin(x) * x) if x[0] > 0 else jnp.sum(x)  # noqa: E731
    narrow = "against differences of a copy of f at float64 arguments, which casts down inside"
    for x64 in (False, True):
        with jax.enable_x64(x64):
            x = point()
            assert notes(check(total_sine, x)) == {COPY}
            assert notes(check(whole, x)) == {COPY}
            for f in (half, branched):
                report = check(f, x)
                assert report.verdict is not Verdict.WRONG
                assert notes(report) == {narrow}
            # (f has no copy where its outputs stay in float32.)
            assert notes(check(lambda x: jnp.sum(jnp.sin(x)).astype(jnp.float32), x)) == {""}
            # (What is constant may be in float32.)
            assert notes(check(lambda x: jnp.sum(jnp.sin(x) * (2 * jnp.ones(3, jnp.float32))), x)) == {COPY}
    with jax.enable_x64(True):
        assert notes(check(total_sine, point("float64"))) == {""}


# --------------------------------------------------------------------------------------------------------------- rules


def product(factors):
    """c x sin(y) with a rule for forward mode, each term of its derivative times a factor."""

    @jax.custom_jvp
    def f(c, x, y):
        return c * x * jnp.sin(y)

    def rule(primals, tangents):
        c, x, y = primals
        terms = tangents[0] * x * jnp.sin(y), tangents[1] * c * jnp.sin(y), tangents[2] * c * x * jnp.cos(y)
        return f(*primals), sum(factor * term for factor, term in zip(factors, terms, strict=True))

    f.defjvp(rule)
    return f


@pytest.mark.parametrize(("factors", "name"), [((1, 1, 3), "y"), ((1, 2, 1), "x")])
def test_names_the_argument_of_a_rule(factors, name):
    """GP120: the rule's own name for it, though a constant is passed before it; `check_rules` too."""
    f = product(factors)
    x, y = jnp.array([2.0, 3.0]), jnp.array([0.3, 0.4])
    report = check(lambda x, y: f(1.0, x, y).sum(), (y, x), modes=("rev",))
    assert ids(report)[0] == "GP120"
    assert report.findings[0].kind.startswith("in `f` (f): ")
    assert report.findings[0].kind.endswith(f" for `{name}`")
    (rules,) = gradproof.jax.check_rules(lambda x, y: f(1.0, x, y).sum(), (x, y), modes=("rev",), rng=0)
    assert {leaf.path: leaf.verdict.value for leaf in rules.leaves} == {
        other: "WRONG" if other == name else "CORRECT" for other in ("x", "y")
    }
    (right,) = gradproof.jax.check_rules(lambda x, y: product((1, 1, 1))(1.0, x, y), (x, y), modes=("rev",), rng=0)
    assert right.correct


def test_counts_the_arguments_of_a_rule_that_jax_does_not_name():
    """All that are passed, each array of a tree by itself; one passed for two by both; what is closed over is none."""
    outside = jnp.array([2.0, 3.0])

    @jax.custom_vjp
    def scaled(p, x, y):
        return p["a"] * x * y * outside

    def backward(kept, u):
        p, x, y = kept
        return {"a": u * x * y * outside, "n": None}, 2 * u * p["a"] * y * outside, u * p["a"] * x * outside

    scaled.defvjp(lambda p, x, y: (scaled(p, x, y), (p, x, y)), backward)  # wrong on purpose
    (report,) = gradproof.jax.check_rules(
        lambda a, x: scaled({"a": a, "n": 3}, x, x), (point()[:2], point()[1:]), modes=("rev",), rng=0
    )
    assert {leaf.path: leaf.verdict.value for leaf in report.leaves} == {
        "scaled argument 0": "CORRECT",
        "scaled argument 2 and scaled argument 3": "WRONG",
    }


def loss_of(x):
    return jnp.sum(jnp.sin(x))


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        (jax.grad(lambda x: 2 * loss_of(x)), "jax.grad(f)"),
        (jax.jit(jax.grad(loss_of)), "jax.jit(jax.grad(loss_of))"),
        (jax.grad(loss_of), "jax.grad(loss_of)"),
    ],
)
def test_what_a_transformation_returns_goes_by_the_call_that_made_it(claim, source):
    report = check(lambda x: float(np.sum(x**2)), np.array([0.5, 1.0]), grad=claim)  # wrong on purpose
    assert report.findings[0].reproducer == f"gradproof.check(f, args, grad={source}, rng=0)"


# ---------------------------------------------------------------------------------------------- data of another library


def said(*args, **options):
    with pytest.raises(UsageError) as raised:
        check(*args, **options)
    return str(raised.value)


@pytest.mark.parametrize("f", [total_sine, jax.jit(total_sine), lambda x: sum(jnp.sin(one) for one in [x]).sum()])
@pytest.mark.parametrize("x", [np.ones(2), 0.5, np.float32(0.5)])
def test_numpy_data_and_floats_for_a_function_of_jax(f, x):
    """What to pass is said; with a claim such data are fine."""
    kind = "an array of NumPy" if np.ndim(x) else f"a number of {'NumPy' if isinstance(x, np.generic) else 'Python'}"
    assert f"`x` is {kind}, but `f` is written with JAX: pass `jnp.asarray(x)`" in said(f, x)
    assert check(f, x, grad=lambda x: np.cos(x)).verdict is Verdict.CORRECT


@pytest.mark.parametrize(("x", "fix"), [([1, 2], "x, dtype=float"), ([1.0, 2.0], "x"), (3, "x, dtype=float")])
def test_lists_and_integers_for_a_function_of_jax(x, fix):
    assert f"but `f` is written with JAX: pass `jnp.asarray({fix})`" in said(total_sine, x)


def test_numpy_data_for_a_function_that_names_no_library():
    assert "JAX" not in said(lambda x: (x**2).sum(), np.ones(2))


def test_integer_arrays_are_no_point():
    assert "`x` is of dtype int32, which has no derivative; pass `x.astype(float)`" in said(
        total_sine, jnp.array([1, 2], "int32")
    )


def test_arrays_of_jax_for_a_function_of_numpy():
    """NumPy cannot be traced: the way out is said."""
    with pytest.raises(gradproof.ClaimError, match=r"is written with NumPy: pass `np.asarray\(x\)`, with a claim"):
        check(lambda x: np.sum(np.sin(x)), point())
    assert check(lambda x: np.sum(np.sin(x)), np.asarray(point(), float), grad=np.cos).correct
