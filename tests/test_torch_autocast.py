"""Models and functions under 16-bit autocast: right ones are CORRECT, wrong rules are found."""

import functools as ft

import pytest

import gradproof
from gradproof import Verdict

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import gradproof.torch  # noqa: E402

functional = nn.functional
DTYPES = [torch.bfloat16, torch.float16]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.out, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x):
        q, k, v = self.into(self.norm(x)).chunk(3, -1)
        weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1)
        return x + self.out(weights @ v)


def dense():
    layers = nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)
    return nn.Sequential(*layers), torch.randn(16, 8)


def attention():
    return nn.Sequential(Attention(), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 4)), torch.randn(3, 6, 8)


def convolution():
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
    return nn.Sequential(*layers), torch.randn(4, 3, 8, 8)


def cast_inside(model, batch):
    return model(batch).float().square().mean()


def as_it_is(model, batch):
    return model(batch).square().mean()


def probabilities(model, batch):
    outputs = model(batch)
    return functional.cross_entropy(outputs.flatten(0, -2), torch.arange(outputs[..., 0].numel()) % 4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("build", [dense, attention, convolution])
@pytest.mark.parametrize("loss", [cast_inside, as_it_is, probabilities])
def test_right_models_under_autocast_are_correct(build, loss, dtype):
    """Autocast within the loss and around the call."""
    torch.manual_seed(3)
    model, batch = build()

    @ft.wraps(loss)
    def within(model, batch):
        with torch.autocast("cpu", dtype=dtype):
            return loss(model, batch)

    report = gradproof.torch.check_module(model, within, batch, rng=0)
    assert report.correct, report
    assert "autocast" in report.modes[0].note
    # What 16 bits do to a gradient is part of its bound.
    assert max(leaf.bound for leaf in report.leaves if leaf.bound is not None) > torch.finfo(dtype).eps / 8
    with torch.autocast("cpu", dtype=dtype):
        assert gradproof.torch.check_module(model, loss, batch, rng=0).correct


class Scaled(torch.autograd.Function):
    """x @ w with a gradient of w that is `factor` times too large, of 16-bit tensors or of all."""

    @staticmethod
    @ft.partial(torch.amp.custom_fwd, device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx, x, w, factor, is_low_only):
        ctx.save_for_backward(x, w)
        ctx.factor = factor if x.dtype is torch.bfloat16 or not is_low_only else 1
        return x @ w

    @staticmethod
    @ft.partial(torch.amp.custom_bwd, device_type="cpu")
    def backward(ctx, u):
        x, w = ctx.saved_tensors
        return u @ w.T, ctx.factor * x.T @ u, None, None


class Layer(nn.Module):
    def __init__(self, factor, is_low_only):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6))
        self.asked = factor, is_low_only

    def forward(self, x):
        return Scaled.apply(x, self.weight, *self.asked)


@pytest.mark.parametrize(("factor", "is_low_only"), [(1, False), (2, False), (1.3, False), (-1, True), (2, True)])
def test_rules_under_autocast_are_judged(factor, is_low_only):
    """A wrong factor in every precision, or for 16-bit tensors alone."""
    torch.manual_seed(1)
    model, batch = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), Layer(factor, is_low_only)), torch.randn(12, 8)
    wanted = Verdict.CORRECT if factor == 1 else Verdict.WRONG  # wrong on purpose
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = gradproof.torch.check_module(model, as_it_is, batch, rng=0)
    assert report.verdict is wanted, report
    if is_low_only:
        assert {finding.id for finding in report.findings} == {"GP144"}
    weight = torch.randn(8, 6)

    def f(w):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return Scaled.apply(batch, w, factor, is_low_only).square().mean()

    assert gradproof.check(f, weight, modes=("rev",), rng=0).verdict is wanted


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_functions_that_hold_float32_data(dtype):
    """Data and weights of a closure go with the copy to float64."""
    torch.manual_seed(5)
    model, batch = dense()

    def f(w):
        with torch.autocast("cpu", dtype=dtype):
            return functional.mse_loss(model[2](torch.relu(batch @ w)), torch.ones(16, 32))

    report = gradproof.check(f, torch.randn(8, 32), rng=0)
    assert report.correct, report
    assert [one.mode for one in report.modes] == ["rev", "fwd", "vmap"]


def test_gradients_that_float16_loses_are_no_mistake():
    """Without a loss scale they underflow; the same in bfloat16 does not."""
    torch.manual_seed(0)
    model, batch = dense()

    def loss(dtype, model, batch):
        with torch.autocast("cpu", dtype=dtype):
            return 1e-9 * model(batch).square().mean()

    lost = gradproof.torch.check_module(model, ft.partial(loss, torch.float16), batch, rng=0)
    assert lost.verdict is Verdict.INCONCLUSIVE
    assert gradproof.torch.check_module(model, ft.partial(loss, torch.bfloat16), batch, rng=0).correct


def test_without_a_copy_nobody_is_accused():
    """A function that refuses float64 is measured as it is."""
    torch.manual_seed(0)
    model, batch = dense()

    def loss(model, batch):
        if batch.dtype is torch.float64:
            raise TypeError("float32 only")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(batch).square().mean()

    verdict = gradproof.torch.check_module(model, loss, batch, rng=0).verdict
    assert verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("seed", [374, 421, 0])
def test_a_choice_that_rounding_makes_otherwise_is_no_mistake(seed):
    """`max` of two values that are a rounding to bfloat16 apart, which no draw of the roundings has swapped."""
    torch.manual_seed(seed)
    rows, w = torch.randn(4, 8) / 8**0.5, torch.randn(8)
    values = rows @ w
    first, second = int(values.argmax()), int(values.argsort()[-2])
    rows[second] *= (values[first] / values[second]) * (1 - 0.006 * torch.rand(()))

    def f(w):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (rows @ w).max()

    assert gradproof.check(f, w, modes=("rev",), rng=0).verdict is not Verdict.WRONG


class SingleOnly(torch.autograd.Function):
    """A square whose backward is written for one dtype."""

    @staticmethod
    def forward(ctx, x, refused):
        ctx.save_for_backward(x)
        ctx.refused = refused
        return x * x

    @staticmethod
    def backward(ctx, u):
        (x,) = ctx.saved_tensors
        if x.dtype is ctx.refused:
            raise TypeError(f"no kernel for {x.dtype}")
        return 2 * x * u, None


def test_a_backward_that_refuses_float64():
    """With autocast and without, f is measured as it is."""
    torch.manual_seed(0)
    x, weight = torch.randn(5, 4), torch.randn(4, 3)

    def f(x):
        return SingleOnly.apply(x, torch.float64).sum()

    def low(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return f(x @ weight)

    assert gradproof.check(f, x, modes=("rev",), rng=0).verdict is Verdict.CORRECT
    assert gradproof.check(low, x, modes=("rev",), rng=0).verdict is Verdict.INCONCLUSIVE
