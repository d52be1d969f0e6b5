"""A rule of PyTorch with a backward by hand, and a model that applies it."""

import pytest

torch = pytest.importorskip("torch")


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return grad * gate * (1 + x * (1 - gate))


def test_swish(gradproof):
    gradproof(Swish.apply, torch.linspace(-2, 2, 7, dtype=torch.float64), modes=("rev",))


def test_model(gradproof):
    import gradproof as gp
    from gradproof.torch import check_module

    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    batch = {"x": torch.ones(5, 4).double(), "y": torch.zeros(5, 1).double()}
    report = gradproof.record(check_module(model, lambda m, b: ((Swish.apply(m(b["x"])) - b["y"]) ** 2).mean(), batch))
    assert report.verdict is gp.Verdict.CORRECT
