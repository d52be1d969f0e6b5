"""JAX: what its own autodiff claims about functions, rules and models, in every mode."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import gradproof
from gradproof import ClaimError, FunctionError, Reason, UsageError, Verdict
from helpers import ids

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax.scipy.special import i0, logsumexp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import gradproof.jax  # noqa: E402
from gradproof._backends._jax_autodiff import autodiff  # noqa: E402
from gradproof._backends._jax_batch import SIZES  # noqa: E402

FIRST = ("rev", "fwd", "vmap")
SECOND = ("rev-rev", "fwd-rev", "rev-fwd", "fwd-fwd")


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).standard_normal(shape), jnp.float32)


def verdicts(report):
    return {one.mode: None if one.verdict is None else one.verdict.value for one in report.modes}


def check(f, args, **options):
    return gradproof.check(f, args, rng=0, **options)


def is_proved(report, modes=FIRST):
    return report.correct and verdicts(report) == dict.fromkeys(modes, "CORRECT")


def sine(change):
    """sin with a rule for forward mode, and so for reverse mode, that `change` goes over."""

    @jax.custom_jvp
    def rule(x):
        return jnp.sin(x)

    rule.defjvp(lambda primals, tangents: (rule(*primals), change(jnp.cos(primals[0]) * tangents[0])))
    return rule


def cube(factor):
    """x**3 with a rule for reverse mode."""

    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, u: (factor * u * x**2,))
    return cube


def scanned(x):
    return jnp.sum(jax.lax.scan(lambda carry, _: (jnp.tanh(carry) * 1.1, None), x, None, length=4)[0])


def doubled_until_large(x):
    return jnp.sum(jax.lax.while_loop(lambda c: jnp.sum(c) < 100, lambda c: c * 1.5, x))


def branched(x):
    return jnp.sum(jax.lax.cond(jnp.sum(x) > 1, jnp.sin, jnp.cos, x))


def branched_in_python(x):
    return jnp.sum(jnp.sin(x) if jnp.sum(x) > 1 else x)


# ---------------------------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.sum(jnp.sin(x) * x),
        jax.jit(lambda x: jnp.sin(x) * x),
        scanned,
        branched,
        branched_in_python,
        sine(lambda along: along),
    ],
    ids=["scalar", "jitted, many outputs", "scan", "cond", "Python branch", "custom_jvp"],
)
def test_proves_right_derivatives_in_all_modes(f):
    """float32 by default; loops and branches of JAX and of Python; jitted and not."""
    assert is_proved(check(f, jnp.linspace(0.5, 1.5, 6).reshape(2, 3)))


def test_proves_all_compositions():
    """Second order in all four compositions, for several outputs."""
    report = check(lambda x: (jnp.tanh(x), jnp.sum(x**3)), jnp.array([0.5, 1.0]), order=2)
    assert is_proved(report, FIRST + SECOND)


@pytest.mark.slow
def test_proves_all_compositions_through_a_loop():
    """The same through `scan`."""
    assert is_proved(check(scanned, jnp.array([0.5, 1.0]), order=2), FIRST + SECOND)


@pytest.mark.parametrize("change", [lambda t: 0 * t, lambda t: -t, lambda t: t.at[3].set(0.0)])
def test_finds_what_check_grads_passes(change):
    """Zeroed, negated and incomplete derivatives of 1,000 entries, which JAX's tolerance lets pass."""
    x = drawn(1000)
    check_grads(sine(change), (x,), 1, modes=("fwd",))
    report = check(sine(change), x, modes=("rev", "fwd"))
    assert report.verdict is Verdict.WRONG
    assert verdicts(report) == {"rev": "WRONG", "fwd": "WRONG"}


def test_passes_the_right_one_beside_them():
    """The same function of the same 1,000 entries, with the right rule."""
    assert is_proved(check(sine(lambda t: t), drawn(1000)))


def test_names_a_factor():
    """A rule of `custom_vjp` that is wrong by a factor."""
    report = check(cube(2), drawn(6), modes=("rev",))
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].kind == "claimed 0.666667 times the true derivative"
    assert check(cube(3), drawn(6), modes=("rev",)).correct


def test_lists_modes_without_a_rule():
    """Forward mode of `custom_vjp` and reverse mode of `while_loop` are not available, which is an error if named."""
    report = check(cube(3), drawn(6))
    assert verdicts(report) == {"rev": "CORRECT", "fwd": None, "vmap": "CORRECT"}
    report = check(doubled_until_large, jnp.array([1.0, 2.0]))
    assert report.correct
    assert verdicts(report) == {"rev": None, "fwd": "CORRECT", "vmap": None}
    assert "Reverse-mode differentiation does not work" in report.modes[0].note
    with pytest.raises(UsageError, match="'fwd' does not exist"):
        check(cube(3), drawn(6), modes=("fwd",))


def call(x, **options):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, **options)


def called(factor):
    @jax.custom_vjp
    def rule(x):
        return call(x)

    rule.defvjp(lambda x: (call(x), x), lambda x, u: (factor * u * jnp.cos(x),))
    return rule


def test_checks_rules_around_callbacks():
    """A forward that is no JAX code: right and wrong."""
    assert check(called(1.0), drawn(5), modes=("rev", "vmap")).correct
    assert check(called(1.1), drawn(5), modes=("rev",)).verdict is Verdict.WRONG
    with pytest.raises(ClaimError, match="no mode is available"):
        check(call, drawn(5))


def test_compile_mode_compares_with_jit():
    """ "compile" is the gradient under `jax.jit`; what cannot be traced has none."""
    assert is_proved(check(jnp.tanh, drawn(3), modes=("rev", "compile")), ("rev", "compile"))
    with pytest.raises(UsageError, match="'compile' does not exist"):
        check(branched_in_python, jnp.array([1.0, 2.0]), modes=("compile",))


def batched_wrongly():
    """A rule whose derivative is right, and wrong where it is batched."""

    @jax.custom_batching.custom_vmap
    def scale(u, x):
        return u * jnp.cos(x)

    @scale.def_vmap
    def _(size, batched, u, x):
        return 1.5 * u * jnp.cos(x), True

    @jax.custom_vjp
    def rule(x):
        return jnp.sin(x)

    rule.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (scale(u, x),))
    return rule


def test_names_the_mode_that_is_wrong():
    """A gradient that is wrong only where cotangents come in a batch."""
    report = check(batched_wrongly(), jnp.array([0.5, 1.0]), modes=("rev", "vmap"))
    assert report.verdict is Verdict.WRONG
    assert verdicts(report) == {"rev": "CORRECT", "vmap": "WRONG"}


def test_wrong_second_derivative():
    """A rule of first order that is right and has a wrong derivative itself."""

    @jax.custom_jvp
    def slope(x):
        return 3 * x**2

    slope.defjvp(lambda primals, tangents: (slope(*primals), 5 * primals[0] * tangents[0]))  # wrong on purpose

    @jax.custom_jvp
    def f(x):
        return x**3

    f.defjvp(lambda primals, tangents: (f(*primals), slope(primals[0]) * tangents[0]))
    report = check(f, jnp.array([0.5, 2.0]), order=2, modes=("rev", "fwd-rev"))
    assert verdicts(report) == {"rev": "CORRECT", "fwd-rev": "WRONG"}


def test_another_value_while_differentiated():
    """GP230: the rule returns another primal than the function; rounding is no other value."""

    def shifted(shift):
        @jax.custom_vjp
        def rule(x):
            return jnp.sin(x)

        rule.defvjp(lambda x: (jnp.sin(x) + shift, x), lambda x, u: (u * jnp.cos(x),))
        return rule

    report = check(shifted(0.01), jnp.array([0.5, 1.0]), modes=("rev",))
    assert (report.verdict, ids(report)) == (Verdict.WRONG, ["GP230"])
    assert check(shifted(1e-8), jnp.array([0.5, 1.0]), modes=("rev",)).correct


# --------------------------------------------------------------------------------------------- JAX's own live mistakes


def weighted(b):
    return logsumexp(jnp.array([0.5, 1.0, 2.0], b.dtype), b=b)


def times_four(x):
    return jnp.ldexp(x, 2)


@pytest.mark.parametrize(
    ("f", "wrong", "right"),
    [
        (weighted, [1.0, 0.0, 2.0], [1.0, 0.5, 2.0]),
        (times_four, [0.0, 1.0], [0.5, 1.0]),
        (jnp.sinc, 1e-4, 0.3),
        (i0, 1e-6, 0.5),
    ],
    ids=["logsumexp in b at 0", "ldexp at 0", "sinc near 0", "i0 near 0"],
)
def test_finds_wrong_derivatives_of_jax(f, wrong, right):
    """Live in jax 0.10.2, found with default options; away from the special point nothing is wrong."""
    assert check(f, jnp.array(wrong)).verdict is Verdict.WRONG
    assert check(f, jnp.array(right), modes=("rev",)).correct


def test_does_not_judge_what_no_difference_shows():
    """i0 at 1e-300 has the derivative 5e-301 and JAX says 0: f does not move, and CORRECT would be a lie."""
    with jax.enable_x64(True):
        report = check(i0, jnp.array(1e-300), modes=("rev",))
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.DEGENERATE)


# ------------------------------------------------------------------------------------------------- kinds of numbers


def test_double_precision_leaves_the_flag_alone():
    """float64 arrays are checked as such, whether or not the flag is set; it is never changed."""
    with jax.enable_x64(True):
        x = jnp.linspace(0.5, 2.0, 4)
        inside = check(lambda x: jnp.sum(jnp.sin(x)), x)
    outside = check(lambda x: jnp.sum(jnp.sin(x)), x)
    assert inside.correct
    assert outside.correct
    assert inside.leaves[0].dtype == outside.leaves[0].dtype == "float64"
    assert max(leaf.bound for leaf in outside.leaves) < 1e-5
    assert not jax.config.jax_enable_x64
    assert jnp.zeros(1).dtype == jnp.float32


def test_float32_gains_digits_from_float64():
    """The same code in float64 is the reference, with the same random numbers; where it is not float64, f itself is."""
    assert "float64" in check(jnp.tanh, drawn(3)).modes[0].note

    def masked(x, key):
        # Random numbers depend on the width of the default dtype, which is left alone then.
        return jnp.sum(jax.random.normal(key, x.shape) * jnp.sin(x))

    report = check(masked, (drawn(3), jax.random.key(0)), modes=("rev",))
    assert report.correct
    assert "float64" in report.modes[0].note
    assert max(leaf.bound for leaf in report.leaves) < 1e-3

    report = check(lambda x: jnp.sum(jnp.sin(x.astype(jnp.float32))), drawn(3), modes=("rev",))
    assert report.correct
    assert report.modes[0].note == ""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    """Sixteen bits, right and wrong by a factor of two."""
    x = jnp.array([0.5, 1.0, 2.0], dtype)
    assert check(sine(lambda t: t), x, modes=("rev",)).correct
    assert check(sine(lambda t: 2 * t), x, modes=("rev",)).verdict is Verdict.WRONG


def conjugating(z):
    return jnp.sum(jnp.abs(z) ** 2 + jnp.real(z**3)) + jnp.sum(jnp.imag(z))


@pytest.mark.parametrize("f", [conjugating, lambda z: jnp.exp(z) * z, lambda z: jnp.conj(z) * z**2])
def test_complex_numbers(f):
    """Real and complex outputs, holomorphic and not, in JAX's convention: no accusation of another one."""
    z = jnp.array([0.5 + 1j, 1.0 - 0.5j])
    assert is_proved(check(f, z))


@pytest.mark.slow
def test_complex_second_order_and_a_wrong_conjugate():
    """All compositions by a complex array; a gradient that is conjugated is WRONG."""
    z = jnp.array([0.5 + 1.5j, 1.0 - 0.5j])
    assert is_proved(check(conjugating, z, order=2), FIRST + SECOND)

    @jax.custom_vjp
    def rule(z):
        return jnp.sum(jnp.real(z**3))

    rule.defvjp(lambda z: (rule(z), z), lambda z, u: (u * jnp.conj(3 * z**2),))  # wrong on purpose
    report = check(rule, z, modes=("rev",))
    assert report.verdict is Verdict.WRONG
    assert "conjugate" in report.findings[0].kind


# --------------------------------------------------------------------------------------------------------------- trees


def test_trees_and_what_passes_through():
    """Dicts, tuples, None, integers, keys, strings and functions; paths are Python source."""
    params = {"w": drawn(2, 3), "layers": (drawn(3), None), "count": jnp.array(3), "act": jnp.tanh}

    def loss(params, key, scale, name):
        hidden = params["act"](params["w"] + params["layers"][0])
        return jnp.sum(hidden * scale) * params["count"]

    report = check(loss, (params, jax.random.key(0), 2.0, "name"), modes=("rev",))
    assert report.correct
    assert [leaf.path for leaf in report.leaves] == ["params['layers'][0]", "params['w']"]


def test_wrt_chooses_arguments():
    """By position; a number only where it is named; an argument without floats is an error."""

    def f(x, scale, n):
        return jnp.sum(x) * jnp.sin(scale) * n

    args = (drawn(3), 0.5, 2)
    assert [leaf.path for leaf in check(f, args, modes=("rev",)).leaves] == ["x"]
    assert [leaf.path for leaf in check(f, args, wrt=(0, 1), modes=("rev",)).leaves] == ["x", "scale"]
    with pytest.raises(UsageError, match="nothing to differentiate"):
        check(f, args, wrt=2)
    with pytest.raises(UsageError, match="names argument 3"):
        check(f, args, wrt=3)


def test_equinox_modules():
    """Arrays of a module are found and named, activation functions pass through; a wrong layer is WRONG."""
    equinox = pytest.importorskip("equinox")
    model = equinox.nn.MLP(2, "scalar", 3, 1, activation=sine(lambda t: t), key=jax.random.key(0))

    def loss(model, x, y):
        return jnp.mean((jax.vmap(model)(x) - y) ** 2)

    batch = drawn(4, 2), drawn(4)
    report = check(loss, (model, *batch), wrt=0, modes=("rev",))
    assert report.correct
    assert sorted(leaf.path for leaf in report.leaves) == [
        f"model.layers[{i}].{name}" for i in (0, 1) for name in ("bias", "weight")
    ]
    wrong = equinox.tree_at(lambda model: model.activation, model, sine(lambda t: 1.2 * t))
    report = check(loss, (wrong, *batch), wrt=0, modes=("rev",))
    assert report.verdict is Verdict.WRONG


@pytest.mark.slow
def test_flax_modules():
    """Modules of nnx with dropout and running statistics, which are left as they are."""
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(2, 3, use_bias=False, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.dropout = nnx.Dropout(0.3, rngs=rngs)

        def __call__(self, x):
            return self.dropout(jnp.tanh(self.norm(self.linear(x))))

    def loss(model, x):
        return jnp.mean(model(x) ** 2)

    model = Model(nnx.Rngs(0))
    mean = np.array(model.norm.mean[...])
    report = check(loss, (model, drawn(5, 2)), wrt=0, modes=("rev",))
    assert report.correct
    assert "model.linear.kernel.value" in [leaf.path for leaf in report.leaves]
    assert (mean == np.array(model.norm.mean[...])).all()


def test_claims_on_jax_arrays():
    """A gradient by hand, of and in arrays of JAX, as for NumPy: right, wrong, and in JAX's complex convention."""
    point = {"w": drawn(3), "b": jnp.array(0.5)}

    def f(p):
        return jnp.sum(jnp.sin(p["w"])) * p["b"]

    assert check(f, point, grad=jax.grad(f)).correct
    wrong = {"w": jnp.cos(point["w"]), "b": jnp.sum(jnp.sin(point["w"]))}  # wrong on purpose: lacks the factor b
    report = check(f, point, grad=wrong)
    assert {leaf.path: leaf.verdict for leaf in report.leaves} == {
        "p['w']": Verdict.WRONG,
        "p['b']": Verdict.CORRECT,
    }
    assert check(jnp.sin, drawn(3), jac=jax.jacobian(jnp.sin)).correct
    matrix = jax.jacobian(jnp.sin)(drawn(2, 3))
    assert check(jnp.sin, drawn(2, 3), jac=matrix).correct
    assert check(jnp.sin, drawn(2, 3), jac=1.1 * matrix).verdict is Verdict.WRONG  # wrong on purpose
    assert check(conjugating, jnp.array([1 + 2j]), grad=lambda z: jnp.conj(jax.grad(conjugating)(z))).correct


# --------------------------------------------------------------------------------------------------------- parts, speed


def test_names_the_rule_that_is_wrong():
    """GP120: of two rules in a function the wrong one is named, also within a jitted function."""

    def loss(x):
        return jnp.sum(jax.jit(cube(2))(sine(lambda t: t)(x)))

    report = check(loss, drawn(4), modes=("rev",))
    assert ids(report)[0] == "GP120"
    assert report.findings[0].kind.startswith("in `loss` (cube): ")
    assert ids(report) == ["GP120", "GP122"]
    assert report.findings[1].kind == "x is wrong because of `cube`"


def test_what_follows_from_a_wrong_rule_is_one_line():
    """Through jitted functions, in all modes that are made from the rule; what does not pass through it is an error."""

    @jax.custom_jvp
    def wrong(x):
        return jnp.sin(x)

    wrong.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), 2 * tangents[0] * jnp.cos(primals[0])))

    def loss(a, b, c, d, e):
        inner = jax.jit(lambda a, b: wrong(a * jnp.tanh(b)))
        stopped = jax.lax.stop_gradient(e)
        return jnp.sum(inner(a + b, c * stopped)) + jnp.sum(d**2) + jnp.sum(e * stopped)

    report = check(loss, tuple(drawn(3, seed=k) for k in range(5)))

    assert (ids(report)[0], ids(report)[-1]) == ("GP120", "GP122")
    assert {(one.id, one.path[0]) for one in report.findings[1:-1]} == {("GP101", "e")}
    assert report.findings[-1].kind == "a, b and c are wrong because of `wrong`"
    verdicts = {leaf.path: leaf.verdict for leaf in report.leaves}
    assert [verdicts[name] for name in "abcde"] == [Verdict.WRONG] * 3 + [Verdict.CORRECT, Verdict.WRONG]


def test_a_rule_is_named_where_forward_mode_alone_is_asked_for():
    @jax.custom_jvp
    def wrong(x):
        return jnp.sin(x)

    wrong.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), 2 * tangents[0] * jnp.cos(primals[0])))
    report = check(lambda x: jnp.sum(wrong(2 * x)), drawn(3), modes=("fwd",))

    assert ids(report) == ["GP120", "GP122"]
    assert report.findings[0].advice.startswith("Look at the jvp of `wrong`: ")


def test_check_rules_finds_what_hardly_counts():
    """A wrong rule of weight 1e-9: the whole is right, the part is not."""

    def loss(x):
        return jnp.sum(sine(lambda t: t)(x)) + 1e-9 * jnp.sum(cube(2)(x))

    assert check(loss, drawn(4), modes=("rev",)).correct
    reports = gradproof.jax.check_rules(loss, drawn(4), modes=("rev",), rng=0)
    assert [(one.name, one.verdict.value) for one in reports] == [("rule", "CORRECT"), ("cube", "WRONG")]
    with pytest.raises(UsageError, match="applies no"):
        gradproof.jax.check_rules(jnp.sin, drawn(4), rng=0)
    with pytest.raises(UsageError, match="cannot be traced"):
        gradproof.jax.check_rules(branched_in_python, drawn(4), rng=0)


def root(factor=1.0):
    """Square roots with a rule; `seen` are the smallest arguments of the function itself."""
    seen = []

    def value(x):
        jax.debug.callback(lambda smallest: seen.append(float(smallest)), jnp.min(x))
        return jnp.sqrt(jnp.abs(x))

    @jax.custom_vjp
    def root(x):
        return value(x)

    root.defvjp(lambda x: (value(x), x), lambda x, u: (factor * 0.5 * u / jnp.sqrt(x),))
    return root, seen


@pytest.mark.parametrize(
    "domain",
    [
        {"root": (0, None)},
        {"root": {"root argument 0": (jnp.zeros(3), None)}},
        lambda rule, name: (0, None) if (rule, name) == ("root", "root argument 0") else None,
    ],
    ids=["rule", "array", "function"],
)
def test_a_domain_keeps_what_rules_receive_inside(domain):
    """By name or by function: the root is never asked below zero; without it, it is. Another rule is left alone."""
    x = jnp.array([0.02, 0.5, 2.0], jnp.float32)
    for factor, bounds in ((1.0, None), (1.0, domain), (1.01, domain)):
        f, seen = root(factor)
        both = lambda x, f=f: jnp.sum(f(x)) + jnp.sum(cube(3)(x))  # noqa: E731
        reports = gradproof.jax.check_rules(both, x, modes=("rev",), rng=0, domain=bounds)
        jax.effects_barrier()
        assert [one.name for one in reports] == ["root", "cube"]
        assert reports[0].verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)
        assert reports[1].correct
        assert (min(seen) >= 0) is (bounds is not None)


def narrowly(factor=1.0):
    """sin of float32 values, which are cast down, times a number, with a rule."""

    @jax.custom_vjp
    def narrow(scale, x):
        return scale * jnp.sin(x.astype(jnp.float32))

    narrow.defvjp(
        lambda scale, x: (narrow(scale, x), (scale, x)), lambda kept, u: (0.0, factor * kept[0] * u * jnp.cos(kept[1]))
    )
    return lambda x: jnp.sum(narrow(2.0, x))


def test_a_reference_of_a_rule_narrows_its_bound():
    """It gets what the rule receives, numbers too, in float64; a wrong rule is WRONG with it."""
    x = drawn(20)
    options = {"modes": ("rev",), "rng": 0}
    trusted = {"narrow": lambda scale, x: scale * jnp.sin(x)}
    (plain,) = gradproof.jax.check_rules(narrowly(), x, **options)
    (report,) = gradproof.jax.check_rules(narrowly(), x, reference=trusted, **options)
    assert report.correct
    assert report.leaves[0].bound < 0.01 * plain.leaves[0].bound
    (wrong,) = gradproof.jax.check_rules(narrowly(1.01), x, reference=trusted, **options)
    assert wrong.verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"domain": {"rot": (0, None)}}, "`domain` names 'rot', but the rules that `f` applies are those of narrow"),
        ({"domain": {"narrow": {"y": (0, None)}}}, "`y` in `domain` is none of the arrays"),
        ({"domain": {"narrow": (9, None)}}, "the point must lie in the domain"),
        ({"domain": 3}, "must be a tuple"),
        ({"contracts": ["GP216"]}, "GP216"),
        ({"contracts": "GP221"}, "to test one contract pass"),
        ({"reference": {"rot": jnp.sin}}, "`reference` names 'rot'"),
        ({"reference": jnp.sin}, "`reference` must be a mapping"),
        ({"reference": {"narrow": 3}}, "`reference` must be callable"),
    ],
)
def test_options_of_rules_that_do_not_fit_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        gradproof.jax.check_rules(narrowly(), drawn(20), modes=("rev",), rng=0, **options)


def shifted(constant):
    """A sine with a rule that adds a constant to its gradient."""

    @jax.custom_vjp
    def shifted(x):
        return jnp.sin(x)

    shifted.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (u * jnp.cos(x) + constant,))
    return shifted


def test_each_rule_is_held_to_the_contracts_that_are_asked_for():
    """The rule that breaks one is named by its id, the other one is left alone."""

    def both(x):
        return jnp.sum(shifted(1e-2)(x)) + jnp.sum(cube(3.0)(x))

    options = {"modes": ("rev",), "rng": 0}
    for contracts in (["GP221"], "all"):
        reports = gradproof.jax.check_rules(both, drawn(4), contracts=contracts, **options)
        assert [one.name for one in reports] == ["shifted", "cube"]
        assert "GP221" in [finding.id for finding in reports[0].findings]
        assert "contracts" in reports[0].findings[0].reproducer
        assert reports[1].correct
        assert not reports[1].findings
    for contracts in ("default", "none"):
        reports = gradproof.jax.check_rules(both, drawn(4), contracts=contracts, **options)
        assert "GP221" not in [finding.id for finding in reports[0].findings]
    (right,) = gradproof.jax.check_rules(lambda x: jnp.sum(shifted(0.0)(x)), drawn(4), contracts="all", **options)
    assert right.correct
    assert not right.findings


def test_batches_many_points():
    """Values at many points are those of the loop, at every length; what refuses batches says None."""

    def f(x, scale, n):
        return jnp.sum(jnp.sin(x)) * scale * n

    function = autodiff(f, (drawn(3), jnp.array(2.0), 3), None).function
    for k in (1, SIZES[0], SIZES[-1] + 3):
        stacked = [np.asarray(drawn(k, 3)), np.asarray(drawn(k))]
        together = function.many(stacked)
        assert together.shape == (k,)
        for i in (0, k - 1):
            alone = function.value(*(jnp.asarray(array[i]) for array in stacked), 3)
            assert np.isclose(together[i], alone, rtol=1e-6)
    assert autodiff(called(1.0), drawn(3), None).function.many([drawn(2, 3)]) is None
    assert autodiff(branched_in_python, drawn(3), None).function.many([drawn(2, 3)]) is None


def test_same_seed_same_report():
    """Byte for byte."""
    one, other = (check(jnp.tanh, jnp.array([0.5, 1.0])) for _ in range(2))
    assert one.to_json(run=False) == other.to_json(run=False)


def test_leaves_arrays_to_the_user():
    """A function that takes the memory of its arguments takes none of the user's."""
    x = drawn(3)
    assert is_proved(check(jax.jit(jnp.sin, donate_argnums=0), x))
    assert not x.is_deleted()


def test_errors():
    """What f raises, and functions without floating outputs."""
    with pytest.raises(FunctionError, match="AttributeError"):
        check(lambda x: x.no_such_name, drawn(3))
    with pytest.raises(FunctionError, match="floating array"):
        check(lambda x: jnp.argmax(x), drawn(3))


@pytest.mark.slow
def test_large_arrays():
    """A million entries in one wrong place."""

    def f(change):
        return lambda x: jnp.mean(sine(change)(x))

    x = drawn(1_000_000)
    assert check(f(lambda t: t), x, modes=("rev",)).correct
    report = check(f(lambda t: t.at[7].multiply(1e4)), x, modes=("rev",))
    assert report.verdict is Verdict.WRONG


DEVICES = """
import jax, jax.numpy as jnp, numpy as np, gradproof
first, second = jax.devices()
f = lambda x: jnp.sum(jnp.sin(x))
x = jax.device_put(jnp.linspace(0.5, 1.0, 8), second)
mesh = jax.sharding.Mesh(np.array([first, second]), ("a",))
sharded = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("a")))
for point in (x, sharded):
    print(gradproof.check(f, point, order=2).verdict.value, gradproof.check(f, point, grad=jnp.cos).verdict.value)
    print(gradproof.check(f, point, grad=jnp.sin).verdict.value)
"""


@pytest.mark.slow
def test_arrays_on_other_devices():
    """On a device that is not the default one, and spread over two: with JAX's claim, a right and a wrong one."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    finished = subprocess.run(
        [sys.executable, "-c", DEVICES], check=True, capture_output=True, text=True, env={**os.environ, **flags}
    )
    assert finished.stdout.splitlines() == ["CORRECT CORRECT", "WRONG"] * 2
