"""JAX: how often a check compiles, and how often it runs Python code of the user. Counted, never timed."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof
from gradproof import Verdict

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax.extend import core  # noqa: E402

from gradproof._backends import _jax_compile, _jax_function  # noqa: E402
from gradproof._backends._jax_autodiff import autodiff  # noqa: E402
from gradproof._backends._jax_batch import SIZES  # noqa: E402
from gradproof._backends._jax_record import recorded  # noqa: E402

_compiled = [0]
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **__: _compiled.__setitem__(0, _compiled[0] + event.endswith("backend_compile_duration"))
)


def point(size=3, dtype="float32"):
    return jnp.asarray(np.linspace(0.3, 1.4, size).astype(dtype))


def compilations(make, args, count=2, **options):
    """What the last of some checks compiles, each of a function that is made anew."""
    for _ in range(count):
        before = _compiled[0]
        assert gradproof.check(make(), args, rng=0, **options).correct
    return _compiled[0] - before


def cube():
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, u: (3 * u * x**2,))
    return cube


def cube_of(x):
    return (cube()(x),)


def loop(x):
    return jnp.sum(jax.lax.scan(lambda carry, _: (jnp.tanh(carry) * 1.1, None), x, None, length=4)[0])


def long_chain(x):
    for _ in range(70):
        x = x + 0.1 * jnp.sin(x)
    return jnp.sum(x)


MAKERS = {
    "sum": lambda: lambda x: jnp.sum(jnp.sin(x) * x),
    "many outputs": lambda: lambda x: jnp.cos(x) * x,
    "custom_vjp": cube,
    "branch of Python": lambda: lambda x: jnp.sum(jnp.sin(x) if x[0] > 0 else x),
    "derivative of JAX": lambda: jax.grad(lambda x: jnp.sum(jnp.sin(x) * x)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAKERS)
def test_compiles_nothing_for_another_small_function(name, dtype):
    """Of the same operations and shapes: what JAX has compiled for one does for all, and we add nothing of our own."""
    with jax.enable_x64(dtype == "float64"):
        assert compilations(MAKERS[name], point(dtype=dtype)) == 0


def test_compiles_a_large_function_and_a_loop_once():
    """What costs more to run than to compile: values, and derivatives that are asked for often, in one piece each."""
    with jax.enable_x64(True):
        x = point(dtype="float64")
        # (Compiled operation by operation, a loop would be compiled at each of some 20 evaluations.)
        assert 1 <= compilations(lambda: lambda x: loop(x), x) <= 6
        assert compilations(lambda: lambda x: long_chain(x), x) == 1
        large = point(400_000, dtype="float64")
        assert compilations(lambda: lambda x: jnp.mean(jnp.sin(x) * jnp.cos(x) * x), large, modes=("rev",)) == 1


def test_compiles_a_batch_once_for_each_size():
    """A batch is filled up to the next of a few sizes; the first one compiles nothing but itself."""
    function = autodiff(lambda x: jnp.sum(jnp.sin(x)), point(), None).function
    full = [np.ones((SIZES[1], 3))]
    for expected in (1, 0):
        before = _compiled[0]
        function.many(full)
        assert _compiled[0] - before == expected


def test_runs_python_once_where_it_can():
    """A rule is traced for all calls of the claim; f runs at each evaluation, or is traced if it is slow or large."""
    calls = {"f": 0, "forward": 0, "backward": 0}

    @jax.custom_vjp
    def cube(x):
        return x**3

    def forward(x):
        calls["forward"] += 1
        return x**3, x

    def backward(x, u):
        calls["backward"] += 1
        return (3 * u * x**2,)

    cube.defvjp(forward, backward)

    def f(x):
        calls["f"] += 1
        return jnp.sum(cube(x))

    report = gradproof.check(f, point(), rng=0, modes=("rev", "vmap"))
    assert report.correct
    assert report.cost.claims >= 4
    assert calls["forward"] <= 5
    assert calls["backward"] <= 5
    assert calls["f"] <= 10 < report.cost.evaluations

    def plain(x):
        calls["f"] += 1
        return jnp.sum(jnp.sin(x))

    calls["f"] = 0
    report = gradproof.check(plain, point(), rng=0)
    assert calls["f"] >= report.cost.evaluations - 2

    def counted(x):
        calls["f"] += 1
        return long_chain(x)

    calls["f"] = 0
    report = gradproof.check(counted, point(), rng=0)
    assert report.correct
    assert calls["f"] <= 8 < report.cost.evaluations


def test_a_record_replaces_only_what_stays_the_same(monkeypatch):
    """What needs values, or returns something else the next time, runs as it is; what is too large is not compiled."""
    count = iter(range(100))
    assert autodiff(lambda x: jnp.tanh(jnp.sin(x) + x), point(), None).low.is_steady
    assert not autodiff(lambda x: jnp.sin(x) if x[0] > 0 else x, point(), None).low.is_steady
    assert not autodiff(lambda x: jnp.sin(x) + next(count), point(), None).low.is_steady
    large = point(400_000)
    assert _jax_compile.trace(lambda x: (jnp.sin(x) * jnp.cos(x) * x,), (large,)).pays(60)
    assert not _jax_compile.trace(lambda x: (jnp.sin(x),), (point(),)).pays(60)
    monkeypatch.setattr(_jax_compile, "MOST_OPERATIONS", 2)
    assert not _jax_compile.trace(lambda x: (jnp.sin(x) * jnp.cos(x) * x,), (large,)).pays(60)


@pytest.mark.parametrize("noise", [0.0, 1e-14])
def test_a_random_function_is_not_run_from_its_record(noise):
    """However little it is: two calls of f have other bits. Without it, one record serves, right claims and wrong."""
    generator = np.random.default_rng(0)
    calls = [0]

    def rule(factor):
        @jax.custom_vjp
        def f(x):
            calls[0] += 1
            return jnp.sum(x**2) * (1 + noise * generator.normal())

        f.defvjp(lambda x: (jnp.sum(x**2), x), lambda x, u: (factor * 2 * u * x,))
        return f

    for factor, verdict in ((1.0, Verdict.CORRECT), (1.01, Verdict.WRONG)):
        calls[0] = 0
        report = gradproof.check(rule(factor), point(), rng=0, modes=("rev",))
        assert report.verdict is verdict
        assert (calls[0] >= report.cost.evaluations) is (noise > 0)
        assert any(one.id == "GP303" for one in report.findings) is (noise > 0)


def nested(x):
    y = jax.jit(lambda x: jnp.sin(x) + jnp.asarray([1.0, 2.0, 3.0]))(x)
    z = jax.lax.cond(jnp.sum(y) > 0, lambda y: y * 2, lambda y: y, y)
    return jax.nn.relu(z)[jnp.array([2, 0])], 3.0 + 0 * y[0], y


def returns_what_it_gets(x):
    return x, 2 * x, x


@pytest.mark.parametrize("f", [nested, returns_what_it_gets, lambda x: (jnp.ones(2), x), cube_of])
def test_a_record_returns_what_jax_returns(f):
    """Bit for bit as JAX evaluates what it has traced, by itself and under `vmap`, `jit` and `jvp`."""
    x = point()
    closed = jax.make_jaxpr(f)(x)
    run, known = recorded(closed), core.jaxpr_as_fun(closed)
    stacked = jnp.stack([x, 2 * x])
    for view in (lambda g: g(x), lambda g: jax.vmap(g)(stacked), lambda g: jax.jit(g)(x)):
        for one, other in zip(view(run), view(known), strict=True):
            assert one.dtype == other.dtype
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    if f is not cube_of:
        slopes = zip(jax.jvp(run, (x,), (x,))[1], jax.jvp(known, (x,), (x,))[1], strict=True)
        assert all(np.array_equal(one, other) for one, other in slopes)


def test_what_jax_has_no_rule_for_is_asked_once(monkeypatch):
    """To hear that there is no forward mode takes milliseconds: not at every call, nor when primals are compared."""
    asked = [0]
    dual = _jax_function.JaxFunction._dual

    def counted(self, *arguments):
        asked[0] += 1
        return dual(self, *arguments)

    monkeypatch.setattr(_jax_function.JaxFunction, "_dual", counted)
    report = gradproof.check(lambda x: jnp.sum(cube()(x)), point(), rng=0)
    assert [one.verdict for one in report.modes] == [Verdict.CORRECT, None, Verdict.CORRECT]
    assert asked[0] == 1


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_vectors_in_float32_take_no_more_than_in_float64(factor):
    """All rows are learned at once beside a float64 copy: 20 evaluations, every mode's bound below 1e-4."""

    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    f.defjvps(lambda t, value, x: factor * jnp.cos(x) * t)
    x = jnp.asarray(np.random.default_rng(0).normal(size=6), jnp.float32)
    report = gradproof.check(f, x, rng=0)
    assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)
    if report.correct:
        assert report.cost.evaluations <= 22
        assert report.cost.claims <= 10
        assert max(leaf.bound for leaf in report.leaves) < 1e-4


def test_finds_a_rule_that_is_random_or_remembers():
    """The first answer of a rule is held against its record: what changes from call to call is asked anew each time."""
    generator = np.random.default_rng(0)
    kept = [1.0]

    def rule(change):
        @jax.custom_vjp
        def f(x):
            return jnp.sum(x**2)

        f.defvjp(lambda x: (jnp.sum(x**2), x), lambda x, u: (2 * u * x * change(),))
        return f

    def growing():
        kept[0] += 1.0
        return kept[0] - 1.0

    report = gradproof.check(rule(lambda: generator.uniform(0.5, 1.5)), point(), rng=0, modes=("rev",))
    assert report.reason is gradproof.Reason.STOCHASTIC
    report = gradproof.check(rule(growing), point(), rng=0, modes=("rev",))
    assert report.reason is gradproof.Reason.STOCHASTIC
    assert gradproof.check(rule(lambda: 1.0), point(), rng=0, modes=("rev",)).correct


@pytest.mark.parametrize("f", [long_chain, loop, MAKERS["sum"]()], ids=["large", "loop", "small"])
def test_same_seed_same_report_however_it_is_run(f):
    """Byte for byte, with what JAX has compiled before and without it."""
    x = point()
    first = gradproof.check(f, x, rng=3).to_json(run=False)
    jax.clear_caches()
    assert gradproof.check(f, x, rng=3).to_json(run=False) == first
