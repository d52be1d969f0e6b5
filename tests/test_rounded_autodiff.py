"""torch's float32 derivatives that lose their digits by rounding are not WRONG; mistakes in the same code are."""

import functools as ft

import numpy as np
import pytest

import gradproof
from gradproof import Verdict

torch = pytest.importorskip("torch")

functional = torch.nn.functional
SEEDS = range(4)


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float32)


class Planted(torch.autograd.Function):
    """The identity with a gradient that is `factor` times too large, of all numbers or of float32 alone."""

    @staticmethod
    def forward(ctx, x, factor, is_low_only):
        ctx.factor = factor if x.dtype == torch.float32 or not is_low_only else 1.0
        return x.clone()

    @staticmethod
    def backward(ctx, u):
        return ctx.factor * u, None, None


def exact(x):
    return x


def planted(x, factor=2.0, is_low_only=False):
    return Planted.apply(x, factor, is_low_only)  # wrong on purpose


ACTIVATIONS = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: torch.softmax(x, -1),
    "erf": torch.erf,
}


def exploded(act, depth, gain, seed, part=exact):
    """A net whose units saturate, so that 1 - y**2 has no digits left in float32."""
    rng = np.random.default_rng(seed)
    layers = [tensor(gain * rng.standard_normal((8, 8)) / 8**0.5) for _ in range(depth)]
    biases = [tensor(rng.standard_normal(8)) for _ in range(depth)]

    def f(x):
        for k, (layer, bias) in enumerate(zip(layers, biases, strict=True)):
            x = ACTIVATIONS[act](x @ layer.to(x) + bias.to(x))
            x = part(x) if k == depth // 2 else x
        return x.square().sum() + x.sum()

    return f, tensor(rng.standard_normal((3, 8)))


def rms(x, part, eps):
    return part(x) / torch.sqrt(x.square().mean(1, keepdim=True) + eps)


def fused_rms(x, part, eps):
    return functional.rms_norm(part(x), (1,), eps=eps)


def one_column(norm, eps, seed, part=exact):
    """A norm over a single column, whose slope is a difference of two nearly equal numbers."""
    rng = np.random.default_rng(seed)
    weight = tensor(rng.standard_normal((3, 1)))
    return (lambda x: (norm(x, part, eps) * weight.to(x)).sum()), tensor(rng.standard_normal((3, 1)))


def logits(seed, part=exact):
    """The softmax of large logits."""
    rng = np.random.default_rng(seed)
    weight = tensor(rng.standard_normal(4))
    return (lambda x: (torch.softmax(30 * part(x), 0) * weight.to(x)).sum()), tensor(rng.standard_normal(4))


def squared(seed, part=exact):
    """The slope of tanh, one of whose entries is saturated beside others that are not."""
    rng = np.random.default_rng(seed)
    x = tensor(rng.standard_normal(4))
    weight = tensor(rng.standard_normal(4))
    return (lambda x: ((1 - torch.tanh(5 * part(x)).square()) * weight.to(x)).sum()), x


RIGHT = {
    "tanh, 8 layers": ft.partial(exploded, "tanh", 8, 20.0),
    "tanh, 4 layers": ft.partial(exploded, "tanh", 4, 60.0),
    "sigmoid": ft.partial(exploded, "sigmoid", 4, 60.0),
    "softmax layers": ft.partial(exploded, "softmax", 4, 20.0),
    "erf": ft.partial(exploded, "erf", 2, 20.0),
    "one column": ft.partial(one_column, rms, 1e-8),
    "one column, larger eps": ft.partial(one_column, rms, 1e-6),
    "one column, fused": ft.partial(one_column, fused_rms, 1e-8),
    "softmax": logits,
    "slope of tanh": squared,
}


@pytest.mark.parametrize("name", RIGHT)
def test_rounding_is_no_mistake(name):
    """CORRECT with the rounding in the bound, or INCONCLUSIVE for want of digits."""
    for seed in SEEDS:
        f, x = RIGHT[name](seed)
        report = gradproof.check(f, (x,), modes=("rev", "fwd"), rng=seed)
        assert report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE), report


def error(f, x):
    """How far the float32 gradient is from that in float64, relative to its norm."""
    low, high = x.clone().requires_grad_(), x.double().requires_grad_()
    (one,) = torch.autograd.grad(f(low), low)
    (other,) = torch.autograd.grad(f(high), high)
    return float((one.double() - other).norm() / other.norm())


def test_the_bound_holds_the_rounding():
    """No certificate below the error that float32 has, whether f was proved itself or its copy."""
    for name in ("one column, larger eps", "slope of tanh"):
        for seed in SEEDS:
            f, x = RIGHT[name](seed)
            report = gradproof.check(f, (x,), modes=("rev",), rng=seed)
            if report.correct:
                assert report.leaves[0].bound >= error(f, x)


def test_rounding_is_named():
    """The digits that float32 has lost are told beside the array and in the note of the mode."""
    rng = np.random.default_rng(2)
    x, weight = tensor(rng.standard_normal(4)), tensor(rng.standard_normal(4))
    report = gradproof.check(lambda x: (torch.softmax(30 * x, 0) * weight.to(x)).sum(), (x,), wrt=0, rng=2)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert any("rounding in float32 is" in leaf.note for leaf in report.leaves)
    assert any("float32 is off by rounding alone" in mode.note for mode in report.modes)


@pytest.mark.parametrize("factor", [2.0, 0.0, -1.0])
@pytest.mark.parametrize("build", [ft.partial(exploded, "tanh", 4, 20.0), ft.partial(one_column, rms, 1e-6)])
def test_mistakes_beside_rounding_are_found(build, factor):
    """A wrong factor, a missing layer and a wrong sign where float32 has few digits or none."""
    part = ft.partial(planted, factor=factor)
    for seed in SEEDS:
        f, x = build(seed, part=part)
        assert gradproof.check(f, (x,), modes=("rev",), rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize("factor", [2.0, 1.02])
def test_mistakes_in_float32_alone_are_found(factor):
    """In float64 the gradient is right, and rounding does not explain that of float32."""
    for seed in SEEDS:
        f, x = exploded("tanh", 2, 2.0, seed, part=ft.partial(planted, factor=factor, is_low_only=True))
        report = gradproof.check(f, (x,), modes=("rev",), rng=seed)
        assert report.verdict is Verdict.WRONG, report
