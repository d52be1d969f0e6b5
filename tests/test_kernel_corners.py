"""Kernels whose gradient differs from the reference's where that is not unique: ties, ReLUs at 0, clamps at a bound."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof._reference._corners import Corner

# Few different values: in each draw many rows have their maximum twice or more.
TIED = (1 + np.random.default_rng(0).uniform(0, 2.0**-6, (24, 40))).astype(np.float16)
ZEROS = np.random.default_rng(1).normal(size=(20, 30)).astype(np.float16)
ZEROS[::2, ::3] = 0


def largest(x):
    return x.max(axis=-1)


def picked(x, way):
    """What share of its row's cotangent each entry gets."""
    ties = x == x.max(axis=-1, keepdims=True)
    if way == "all":
        return ties.astype(x.dtype)
    if way == "even":
        return (ties / ties.sum(axis=-1, keepdims=True)).astype(x.dtype)
    place = ties.argmax(axis=-1) if way == "first" else x.shape[-1] - 1 - ties[:, ::-1].argmax(axis=-1)
    return np.eye(x.shape[-1], dtype=x.dtype)[place]


def largest_vjp(way):
    return lambda u, x: u[:, None] * picked(x, way)


def relu(x):
    return np.maximum(x, 0)


def relu_vjp(slope):
    """`slope` at 0."""
    return lambda u, x: (u * np.where(x == 0, slope, x > 0)).astype(x.dtype)


def clamped(x):
    return np.clip(x, 0, 1)


def clamped_vjp(slope):
    return lambda u, x: (u * np.where((x == 0) | (x == 1), slope, (x > 0) & (x < 1))).astype(x.dtype)


def spread(x):
    """Sums of sizes: no entry of the gradient is one entry of the cotangent."""
    return np.abs(x).sum(axis=0)


def spread_vjp(slope):
    return lambda u, x: (u * np.where(x == 0, slope, np.sign(x))).astype(x.dtype)


def compared(f, ours, theirs, x, **options):
    return gradproof.compare_with_reference(f, f, x, vjp=ours, reference_vjp=theirs, **options)


def ids(report):
    return [finding.id for finding in report.findings]


VALID = [
    (largest, largest_vjp("last"), largest_vjp("first"), TIED),
    (largest, largest_vjp("even"), largest_vjp("first"), TIED),
    (largest, largest_vjp("first"), largest_vjp("even"), TIED),
    (relu, relu_vjp(1.0), relu_vjp(0.0), ZEROS),
    (relu, relu_vjp(0.5), relu_vjp(0.0), ZEROS),
    (clamped, clamped_vjp(0.0), clamped_vjp(1.0), ZEROS),
    (spread, spread_vjp(1.0), spread_vjp(0.0), ZEROS),
    (spread, spread_vjp(-1.0), spread_vjp(0.0), ZEROS),
]


@pytest.mark.parametrize(("f", "ours", "theirs", "x"), VALID)
@pytest.mark.parametrize("seed", range(3))
def test_another_subgradient_is_no_mistake(f, ours, theirs, x, seed):
    """It is told as a kink, at the entries that differ; everything else was compared as always."""
    report = compared(f, ours, theirs, x, rng=seed)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    assert ids(report) == ["GP110"]
    leaf = next(leaf for leaf in report.leaves if leaf.path == "x")
    assert leaf.verdict is Verdict.NOT_DIFFERENTIABLE
    assert "valid subgradient" in leaf.note
    assert leaf.bound is not None


WRONG = [
    (largest, largest_vjp("all"), largest_vjp("first"), TIED),
    (largest, largest_vjp("all"), largest_vjp("even"), TIED),
    (relu, relu_vjp(2.0), relu_vjp(0.0), ZEROS),
    (relu, relu_vjp(-1.0), relu_vjp(0.0), ZEROS),
    (clamped, clamped_vjp(2.0), clamped_vjp(1.0), ZEROS),
    (spread, spread_vjp(2.0), spread_vjp(0.0), ZEROS),
]


@pytest.mark.parametrize(("f", "ours", "theirs", "x"), WRONG)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_no_subgradient_is_wrong(f, ours, theirs, x, seed):
    """And the reason is told, rather than roundings that change from draw to draw as ties do."""
    report = compared(f, ours, theirs, x, rng=seed)
    assert report.verdict is Verdict.WRONG
    finding = report.findings[0]
    assert finding.id == "GP131"
    assert "no subgradient" in finding.kind


@pytest.mark.parametrize("mistake", ["rows", "scale", "shifted"])
def test_a_mistake_elsewhere_is_found_beside_ties(mistake):
    def ours(u, x):
        found = largest_vjp("last")(u, x)
        if mistake == "rows":
            found[16:] = 0  # wrong on purpose
        return np.roll(found, 1, axis=1) if mistake == "shifted" else found * x.dtype.type(1.25 ** (mistake == "scale"))

    report = compared(largest, ours, largest_vjp("first"), TIED, rng=0)
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].id == "GP131"
    if mistake == "rows":
        assert report.findings[0].place == "rows >= 16"
    if mistake == "scale":
        assert report.findings[0].factor == 1.25


def test_a_smooth_reference_is_asked_no_more_than_twice_as_much():
    """Where the first points show no kink, a wrong kernel costs two more calls of the truth for each draw."""
    calls = []

    def squared(x):
        return x * x

    def truth_vjp(u, x):
        calls.append(x.dtype)
        return 2 * u * x

    report = compared(squared, lambda u, x: u * x, truth_vjp, TIED, rng=0)
    assert report.verdict is Verdict.WRONG
    assert ids(report) == ["GP131"]
    wide = sum(dtype == np.float64 for dtype in calls)
    assert wide <= 1 + 16 + 3 * (16 + 8)


def test_a_mixture_may_be_anywhere_between_and_nothing_else():
    """Three tied entries: shares between 0 and 1 that add up to 1."""
    nearby = np.eye(3)[[0, 1, 2, 1, 0, 2, 2, 1]]
    corner = Corner(np.array([1.0, 0.0, 0.0]), nearby, np.full(3, 1e-3))
    for inside in ([0, 0, 1], [0.2, 0.3, 0.5]):
        assert np.allclose(corner.nearest(np.array(inside)), inside)
    for outside in ([1, 1, 0], [0, 0, 0], [2, -1, 0]):
        assert not np.allclose(corner.nearest(np.array(outside)), outside, atol=0.1)


@pytest.mark.parametrize(("way", "verdict"), [("last", Verdict.NOT_DIFFERENTIABLE), ("all", Verdict.WRONG)])
def test_torch_kernels_may_take_other_maxima(way, verdict):
    torch = pytest.importorskip("torch")

    class Largest(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.amax(-1)

        @staticmethod
        def backward(ctx, u):
            (x,) = ctx.saved_tensors
            return u[:, None] * torch.from_numpy(picked(x.double().numpy(), way)).to(u.dtype)

    x = torch.from_numpy(TIED.astype(np.float32)).to(torch.bfloat16)
    assert gradproof.check(Largest.apply, x, reference=lambda x: x.max(-1).values, rng=0).verdict is verdict


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, Verdict.NOT_DIFFERENTIABLE), (3.0, Verdict.WRONG)])
def test_jax_kernels_may_take_another_slope(slope, verdict):
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    import gradproof.jax

    @jax.custom_vjp
    def kernel(x):
        return jnp.maximum(x, 0)

    kernel.defvjp(lambda x: (kernel(x), x), lambda x, u: ((u * jnp.where(x == 0, slope, x > 0)).astype(x.dtype),))
    report = gradproof.jax.compare_with_reference(kernel, jax.nn.relu, jnp.asarray(ZEROS, jnp.bfloat16), rng=0)
    assert report.verdict is verdict
