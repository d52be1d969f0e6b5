"""Training guards: silent and without a trace where gradients are right, an alarm with the place where they are not."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

import gradproof
from gradproof import GradientError, UsageError, Verdict
from gradproof._prove import Line, Probe, Record, scales

try:
    import torch

    import gradproof.torch
except ImportError:
    torch = None

BENCHMARKS, EXAMPLES = (str(Path(__file__).parents[1] / folder) for folder in ("benchmarks", "examples"))


def benchmark():
    """The benchmark of guards, which needs torch."""
    pytest.importorskip("torch")
    sys.path.insert(0, BENCHMARKS)
    try:
        import guard
    finally:
        sys.path.remove(BENCHMARKS)
    return guard


def example():
    """The example that trains the course's network."""
    sys.path.insert(0, EXAMPLES)
    try:
        import train
    finally:
        sys.path.remove(EXAMPLES)
    return train


def descend(gradient, steps=100, rate=0.1, start=None):
    w = np.linspace(-1.0, 2.0, 4) if start is None else start
    for _ in range(steps):
        w = w - rate * gradient(w)
    return w


def cost(w):
    return float(np.sum(np.tanh(w - 1) ** 2))


def slope(w):
    return 2 * np.tanh(w - 1) / np.cosh(w - 1) ** 2


def wrong_from(call, factor=1.5):
    """The gradient, wrong on purpose from some call on."""
    calls = 0

    def gradient(w):
        nonlocal calls
        calls += 1
        return slope(w) * (factor if calls >= call else 1)

    return gradient


# NumPy


def test_a_right_gradient_is_passed_on_and_bounded():
    watched = gradproof.guard(cost, slope, every=10, budget=100.0, rng=0)

    assert np.array_equal(descend(watched), descend(slope))
    report = watched.report()
    assert (report.steps, report.first.verdict, report.wrong) == (100, Verdict.CORRECT, ())
    assert report.probed == tuple(range(10, 101, 10))
    assert report.fitting == 10
    assert report.bound < 1e-2  # near the minimum there is little left to compare
    assert "in all probed steps would be missed at most once in a million runs" in " ".join(str(watched).split())


@pytest.mark.parametrize("factor", [1.5, -1.0, 0.0, 1.001])
def test_a_gradient_that_becomes_wrong_is_reported_at_the_next_probe(factor):
    # (It has been called twice by the full check, and once by the loop.)
    watched = gradproof.guard(cost, wrong_from(35, factor), every=10, budget=100.0, rng=0)

    with pytest.raises(GradientError) as caught:
        descend(watched)
    assert caught.value.report.verdict is Verdict.WRONG
    assert watched.report().wrong[0][0] in (30, 40)


def test_on_wrong_is_called_in_place_of_an_error():
    reports = []
    watched = gradproof.guard(cost, wrong_from(1), every=10, budget=100.0, on_wrong=reports.append, rng=0)
    descend(watched, steps=10)

    assert [report.verdict for report in reports] == [Verdict.WRONG] * 2
    assert "WRONG at step 1: w" in str(watched)


def test_the_bound_is_stated_of_steps_whose_probes_agreed():
    """Where others found a mistake, it does not speak of these."""
    watched = gradproof.guard(cost, wrong_from(55), every=10, budget=100.0, on_wrong=lambda report: None, rng=0)
    descend(watched, steps=50)
    assert "in all probed steps would be missed" in " ".join(str(watched).split())
    descend(watched, steps=50)
    report = watched.report()
    assert report.wrong
    assert report.fitting > 3
    assert "in all steps whose probes agreed would be missed" in " ".join(str(watched).split())


def test_a_first_check_that_cannot_tell_says_why():
    watched = gradproof.guard(lambda w: np.nan * np.sum(w), slope, rng=0)
    watched(np.ones(2))
    assert "full check at the first: INCONCLUSIVE (domain)" in str(watched)


def test_after_off_it_is_the_gradient_alone():
    calls = []
    watched = gradproof.guard(lambda w: calls.append(0) or cost(w), slope, every=1, rng=0)
    watched(np.ones(2))
    seen = len(calls)
    watched.off()
    descend(watched)

    assert len(calls) == seen > 0
    assert watched.report().steps == 1


def test_the_budget_makes_probes_rarer():
    """One that takes no time to speak of is made as often as asked for."""
    dear = gradproof.guard(cost, slope, every=1, budget=1e-4, rng=0)
    descend(dear, steps=300)

    assert len(dear.report().probed) < 10


def test_dicts_and_other_arguments():
    x = np.linspace(0, 1, 5)

    def f(p, x):
        return float(np.mean((p["a"] * x + p["b"]) ** 2))

    def grad(p, x):
        return {
            "a": np.mean(2 * (p["a"] * x + p["b"]) * x),
            "b": np.mean(2 * (p["a"] * x + p["b"])),
        }

    watched = gradproof.guard(f, grad, every=2, budget=100.0, rng=0)
    for _ in range(10):
        watched({"a": 0.3, "b": 0.4}, x)

    assert set(watched.report().bounds) == {"p['a']", "p['b']"}


def test_a_kink_and_noise_raise_no_alarm():
    noise = np.random.default_rng(0)
    kinked = gradproof.guard(lambda w: float(np.abs(w).sum()), np.sign, every=1, budget=1e3, rng=0)
    for _ in range(40):
        kinked(np.array([1e-9, -1e-7, 0.5]))
    noisy = gradproof.guard(lambda w: cost(w) + 1e-3 * noise.standard_normal(), slope, every=1, budget=1e3, rng=0)
    for _ in range(20):
        noisy(np.linspace(-1, 2, 4))

    assert kinked.report().wrong == noisy.report().wrong == ()


@pytest.mark.parametrize("bad", [{"every": 0}, {"every": 1.5}, {"budget": 0}, {"budget": "1"}, {"on_wrong": 3}])
def test_bad_options(bad):
    with pytest.raises(UsageError, match=f"`{next(iter(bad))}`"):
        gradproof.guard(cost, slope, rng=0, **bad)


def test_bad_functions_and_gradients():
    with pytest.raises(UsageError, match="`grad` must be callable"):
        gradproof.guard(cost, np.ones(3), rng=0)
    with pytest.raises(UsageError, match="entries"):
        gradproof.guard(cost, lambda w: np.ones(3), rng=0)(np.ones(4))
    with pytest.raises(UsageError, match="did you forget `return`"):
        gradproof.guard(cost, lambda w: None, rng=0)(np.ones(4))
    with pytest.raises(UsageError, match="must have 1 arrays, one for each array of parameters, got 2"):
        gradproof.guard(cost, lambda w: [w, w], rng=0)(np.ones(4))
    with pytest.raises(UsageError, match=r"`\.astype\(float\)`"):
        gradproof.guard(cost, slope, rng=0)(np.ones(4, int))


def test_the_course_network():
    """With the published bugs it stops at the first step, or at the probe after they come; else it learns."""
    train = example().train
    for bugs_from in (1, 300):
        with pytest.raises(GradientError) as caught:
            train(400, bugs_from=bugs_from)
        assert sorted(one.path for one in caught.value.report.findings) == ["parameters['W2']", "parameters['b1']"]
    costs, watched = train(500)
    assert costs[-1] < 0.5 * costs[0]
    assert watched.report().wrong == ()
    assert watched.report().bound < 1e-4


# What probes add up to


def test_norms_are_made_equal_as_far_as_values_can_see():
    norms = {"large": 1.0, "middle": 1e-2, "small": 1e-4, "tiny": 1e-9, "zero": 0.0}
    double, low = scales(norms, 2.0**-52), scales(norms, 2.0**-23)

    assert double == {"large": 1e-4, "middle": 1e-2, "small": 1.0, "tiny": 1.0, "zero": 1.0}
    assert low == {"large": 1e-2, "middle": 1.0, "small": 1.0, "tiny": 1.0, "zero": 1.0}


def test_the_bound_holds():
    """Of 400 runs whose gradient has an error of some size at every step, hardly any is bounded below that size."""
    drawn = np.random.default_rng(0)
    size, violations = 6, 0
    for _ in range(400):
        record = Record()
        for _ in range(3):
            v = drawn.standard_normal(size)
            v *= np.sqrt(size / (v @ v))
            error = 0.1 * np.eye(size)[0]
            line = Line(claimed=0.0, shares={"a": 1.0}, rounding=1.0, size=size, eps=1e-16, claim_eps=1e-7)
            record.add(Probe(line=line, value=float(error @ v), bar=0.0, allowance=1.0))
        violations += record.bounds()["a"] < 0.1

    assert violations == 0
    assert record.bounds()["a"] > 1  # three probes say little at a risk of 1 in a million


# PyTorch


def torch_run(every=None, **options):
    guard = benchmark()
    return guard.train_transformer(40, every=every, budget=100.0, **options)


def test_training_is_the_same_bit_for_bit():
    """Dropout and batch norm in train mode, clipping, AdamW."""
    torch = pytest.importorskip("torch")
    plain = torch_run()[0]
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    losses, watched, *_ = torch_run(every=10)

    assert losses == plain
    assert watched.report().probed == (10, 20, 30, 40)
    assert watched.report().fitting == 4
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("case", [("blocks.0.act x", "forgotten"), ("head bias", "sign")])
def test_a_wrong_backward_is_reported_with_its_module(case):
    guard = benchmark()
    assert guard.wrong(every=10, at=15, cases=[case]) == (1, 1)


@pytest.mark.parametrize(
    "kind", ["relu bfloat16", "relu one", "relu explode", "smooth accumulate", "smooth scaled", "relu drawn"]
)
def test_right_runs_raise_no_alarm(kind):
    guard = benchmark()
    found = guard.right_run(kind, 1, steps=20, every=4)
    assert not isinstance(found, gradproof.Report), str(found)
    assert len(found.probed) == 5


def small_run(steps=20, *, change=None, loss=None, scale=1.0, order="before", on_wrong=None, every=5):
    """Train a small net, and do something to it between backward and the guard's step."""
    torch = pytest.importorskip("torch")
    import gradproof.torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    loss = loss or (lambda model, batch: torch.nn.functional.mse_loss(model(batch[0]), batch[1]))
    watched = gradproof.torch.guard(net, loss, every=every, budget=100.0, on_wrong=on_wrong, rng=0)
    for step in range(steps):
        batch = torch.rand(6, 3), torch.rand(6, 2)
        value = torch.nn.functional.mse_loss(net(batch[0]), batch[1])
        (scale * value).backward()
        if change is not None:
            change(net, step)
        if order == "after":
            optimizer.step()
        watched.step(batch)
        if order == "before":
            optimizer.step()
        if change is None or change.__name__ != "keep":
            optimizer.zero_grad()
    return watched


class Halved(torch.autograd.Function if torch else object):
    """x / 2, whose backward forgets the factor for the dtypes where it is told to."""

    wrong_for = ()

    @staticmethod
    def forward(ctx, x):
        return x / 2

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent if cotangent.dtype in Halved.wrong_for else cotangent / 2  # wrong on purpose


class Halves(torch.nn.Module if torch else object):
    def forward(self, x):
        return Halved.apply(x)


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize("where", ["in the loss", "around it"])
@pytest.mark.parametrize("wrong_for", ["nothing", "bfloat16", "everything"])
def test_a_backward_that_is_wrong_under_autocast(monkeypatch, where, wrong_for):
    """Also where it is right in float32 and float64; autocast need not be a part of the loss."""
    dtypes = {
        "nothing": (),
        "bfloat16": (torch.bfloat16,),
        "everything": (torch.bfloat16, torch.float32, torch.float64),
    }
    monkeypatch.setattr(Halved, "wrong_for", dtypes[wrong_for])
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), Halves(), torch.nn.Linear(16, 16), torch.nn.Tanh())

    def loss(model, batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=where == "in the loss" or torch.is_autocast_enabled("cpu")):
            return (model(batch[0]).float() - batch[1]).square().mean()

    watched = gradproof.torch.guard(net, loss, rng=0)
    batch = torch.randn(32, 6), torch.randn(32, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=where == "around it"):
        value = loss(net, batch)
    value.backward()
    if wrong_for == "nothing":
        watched.step(batch)
        assert watched.report().first.verdict is Verdict.CORRECT
        return
    with pytest.raises(GradientError) as caught:
        watched.step(batch)
    ids = {one.id for one in caught.value.report.findings}
    assert ("GP144" in ids) == (wrong_for == "bfloat16")


class Product(torch.autograd.Function if torch else object):
    """x W^T, whose backward multiplies the gradient of W by a factor."""

    factor = 1.0

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, cotangent):
        x, weight = ctx.saved_tensors
        return cotangent @ weight, Product.factor * cotangent.T @ x


class Multiply(torch.nn.Linear if torch else object):
    def forward(self, x):
        return Product.apply(x, self.weight) + self.bias


# 579 entries in groups of at most 150.
GROUPS = 6


def run_in_groups(monkeypatch, *, steps, wrong_from=None, seed=0, place=4):
    """Train five layers, one of them with a backward by hand, probed group by group; the guard, and the alarm."""
    import gradproof._backends._torch_training_step as training_step

    monkeypatch.setattr(training_step, "LARGE", 150)
    Product.factor = 1.0
    torch.manual_seed(seed)
    sizes = [(6, 12), (12, 12), (12, 12), (12, 12), (12, 3)]
    layers = [Multiply(*size) if 2 * i == place else torch.nn.Linear(*size) for i, size in enumerate(sizes)]
    net = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.Tanh())))
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    loss = torch.nn.CrossEntropyLoss()
    watched = gradproof.torch.guard(net, loss, every=2, budget=1e3, rng=seed)
    try:
        for step in range(1, steps + 1):
            Product.factor = 1.5 if wrong_from is not None and step >= wrong_from else 1.0  # wrong on purpose
            inputs = torch.randn(16, 6)
            batch = inputs, inputs[:, :3].argmax(1)
            loss(net(inputs), batch[1]).backward()
            watched.step(batch)
            optimizer.step()
            optimizer.zero_grad()
    except GradientError as error:
        return watched, step, error.report
    return watched, None, None


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize(("seed", "place"), [(0, 0), (1, 4), (2, 8)])
def test_a_wrong_backward_in_one_group_is_found_in_one_round_of_probes(monkeypatch, seed, place):
    """Its parameter moves in one group alone, and nothing else tells of the mistake."""
    _, step, report = run_in_groups(monkeypatch, steps=60, wrong_from=21, seed=seed, place=place)
    assert step is not None
    assert (step - 20) / 2 <= GROUPS
    assert report.findings[0].path.startswith(f"model[{place}]")


@pytest.mark.skipif(torch is None, reason="torch is not installed")
def test_groups_of_a_right_gradient_are_left_alone(monkeypatch):
    """No parameter has a bound, and none is said to, before its group has had its turn."""
    watched = run_in_groups(monkeypatch, steps=4)[0]
    report = watched.report()
    untouched = [path for path, bound in report.bounds.items() if bound == np.inf]
    assert len(report.bounds) == 10
    assert 0 < len(untouched) < 10
    assert set(untouched) <= set(report.too_small)
    assert "any parameter" not in str(watched)

    watched, step, _ = run_in_groups(monkeypatch, steps=60 * GROUPS // 5)
    report = watched.report()
    assert step is None
    assert (report.fitting, report.wrong) == (len(report.probed), ())
    assert report.bound < 1e-2
    assert "any parameter's gradient" in " ".join(str(watched).split())


def test_groups_hold_everything_once():
    from gradproof._backends._torch_training_step import in_groups

    sizes = {f"w{i}": size for i, size in enumerate([5, 90, 30, 30, 120, 1, 60, 2])}
    groups = in_groups(sizes, 100)
    assert sorted(name for group in groups for name in group) == sorted(sizes)
    assert all(len(group) == 1 or sum(sizes[name] for name in group) <= 100 for group in groups)
    assert in_groups(sizes, 1000) == [list(sizes)]


def clip(net, step):
    for one in net.parameters():
        one.grad *= 0.5


def keep(net, step):
    """Leave gradients to add up."""


@pytest.mark.parametrize(("change", "scale"), [(clip, 1.0), (keep, 1.0), (None, 1024.0)])
def test_a_gradient_that_is_not_that_of_the_loss(change, scale):
    """Clipped, added up for want of zero_grad, or scaled, which nobody has said."""
    with pytest.raises(GradientError) as caught:
        small_run(change=change, scale=scale)
    report = caught.value.report
    assert "`.grad`" in report.name
    advice = [one.advice for one in report.findings if one.severity is gradproof.Severity.ERROR]
    assert "Call `guard.step` after `backward`" in advice[0]
    assert not any(advice[1:])
    assert not any(one.reproducer for one in report.findings)


def trained_once(net, batch):
    torch = pytest.importorskip("torch")
    torch.nn.functional.mse_loss(net(batch[0]), batch[1]).backward()
    return gradproof.torch.guard(net, torch.nn.MSELoss(), rng=0)


def test_no_gradient_and_a_gradient_of_zero():
    """The first is a call in the wrong place, the second a wrong gradient."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net, batch = torch.nn.Linear(3, 1), (torch.rand(4, 3), torch.rand(4, 1))
    watched = trained_once(net, batch)
    net.zero_grad()
    with pytest.raises(UsageError, match="before `zero_grad`"):
        watched.step(batch)
    watched = trained_once(net, batch)
    net.zero_grad(set_to_none=False)
    with pytest.raises(GradientError, match="claimed zero"):
        watched.step(batch)


def test_what_is_passed_in_another_way_is_said_with_what_to_do():
    torch = pytest.importorskip("torch")
    net, batch = torch.nn.Linear(3, 1), (torch.rand(4, 3), torch.rand(4, 1))
    watched = trained_once(net, batch)
    with pytest.raises(UsageError, match=r"pass `scaler\.get_scale\(\)`"):
        watched.step(batch, scale=torch.amp.GradScaler("cpu"))
    watched = gradproof.torch.guard(net, lambda net, batch: (net(batch[0]) - batch[1]).square().mean(), rng=0)
    with pytest.raises(gradproof.FunctionError, match=r"`step` got 2 batches: pass one batch"):
        watched.step(*batch)
    watched = gradproof.torch.guard(net, torch.nn.MSELoss(reduction="none"), rng=0)
    with pytest.raises(UsageError, match=r"one real number.*`\.mean\(\)`"):
        watched.step(batch)
    with pytest.raises(UsageError, match="shape when it is first called"):
        gradproof.torch.guard(torch.nn.LazyLinear(2), torch.nn.MSELoss())


def test_parameters_that_have_been_moved():
    with pytest.raises(UsageError, match=r"before `optimizer\.step"):
        small_run(order="after")


def test_a_criterion_and_off():
    torch = pytest.importorskip("torch")
    watched = small_run(loss=torch.nn.MSELoss())
    assert watched.report().fitting == 4
    watched.off()
    watched.step()  # not even a batch is needed

    with pytest.raises(UsageError, match="needs the batch"):
        gradproof.torch.guard(torch.nn.Linear(2, 1), torch.nn.MSELoss(), rng=0).step()


def test_nothing_is_left_on_the_model():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 1)
    hooks = dict(net._forward_pre_hooks)
    watched = gradproof.torch.guard(net, torch.nn.MSELoss(), rng=0)
    watched.off()
    assert dict(net._forward_pre_hooks) == hooks


def test_every_parameter_frozen_is_an_error():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 1).requires_grad_(False)
    with pytest.raises(UsageError, match="no parameter"):
        gradproof.torch.guard(net, torch.nn.MSELoss())


# JAX


def jax_run(backward, steps=20):
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    import gradproof.jax

    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), backward)

    def loss(params, x):
        return jnp.mean((square(jnp.tanh(x @ params["w"])) - 0.5) ** 2) + jnp.sum(params["b"] ** 2)

    params = {"b": jnp.ones(2), "w": jnp.full((3, 2), 0.7)}
    watched = gradproof.jax.guard(loss, every=5, budget=1e3, rng=0)
    gradient = jax.grad(loss)
    for step in range(steps):
        x = jnp.linspace(0.1, 1.0, 12).reshape(4, 3) + 0.01 * step
        grads = gradient(params, x)
        watched.step(grads, params, x)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    return watched


def test_jax_right_and_wrong():
    report = jax_run(lambda x, u: (2 * u * x,)).report()
    assert (report.fitting, report.wrong) == (4, ())
    assert report.bound < 1e-2
    with pytest.raises(GradientError) as caught:
        jax_run(lambda x, u: (3 * u * x,))  # wrong on purpose
    assert "square" in str(caught.value)


def test_jax_a_gradient_of_other_parameters():
    jax = pytest.importorskip("jax")
    import gradproof.jax

    def loss(p):
        return (p["w"] ** 2).sum()

    watched = gradproof.jax.guard(loss, rng=0)
    with pytest.raises(UsageError, match="structure"):
        watched.step({"v": jax.numpy.ones(2)}, {"w": jax.numpy.ones(2)})


# Slow: whole runs


@pytest.mark.slow
def test_the_transformer_at_full_length():
    """At most 1 % of forwards; 10 probes; the same losses. (Time depends on the machine: see the benchmark.)"""
    found, forwards, seconds, is_same = benchmark().cost(width=64, size=32, length=16)

    assert is_same
    assert len(found.probed) >= 10
    assert forwards <= 0.01
    assert seconds <= 0.02  # 0.9 % where nothing else runs
    assert found.fitting == len(found.probed)


@pytest.mark.slow
def test_all_wrong_backwards_and_all_right_runs():
    guard = benchmark()
    found, count = guard.wrong()
    assert found == count == 20
    assert guard.right() == 0
