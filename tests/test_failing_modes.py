"""A mode that nobody asked for by name may fail in any way: the rest of the report stands, and says why it failed."""

import numpy as np
import pytest

import gradproof
from gradproof import ClaimError, UsageError, Verdict

torch = pytest.importorskip("torch")


def accumulate(x, u):
    out = torch.zeros_like(x)
    out += 2 * x * u
    return out


def by_index(x, u):
    out = torch.empty_like(x)
    for i in range(len(x)):
        out[i] = 2 * x[i] * u[i]
    return out


def recompute(x, u):
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        y = z * z
    return torch.autograd.grad(y, z, u)[0]


def item(x, u):
    return 2 * x * u if float(u.abs().sum()) >= 0 else u


def numpy(x, u):
    return torch.from_numpy(2 * x.numpy() * u.detach().numpy())


def pointer(x, u):
    assert u.contiguous().data_ptr()
    return 2 * x * u


def draws(x, u):
    return 2 * x * u + 0 * torch.rand_like(x)


def square(backward, factor):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, u):
            return factor * backward(ctx.saved_tensors[0], u)

    return Square.apply


BACKWARDS = [accumulate, by_index, recompute, item, numpy, pointer, draws]


@pytest.mark.parametrize("backward", BACKWARDS)
@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.CORRECT), (1.5, Verdict.WRONG)])  # 1.5: wrong on purpose
def test_backwards_that_vmap_refuses(backward, factor, verdict):
    report = gradproof.check(square(backward, factor), torch.linspace(0.5, 2, 3).double(), rng=0)

    assert report.verdict is verdict
    modes = {mode.mode: mode for mode in report.modes}
    assert modes["rev"].verdict is verdict
    assert modes["vmap"].verdict is None
    assert modes["vmap"].note.startswith("not available: ")
    assert 20 < len(modes["vmap"].note) <= 215


@pytest.mark.parametrize("backward", [accumulate, item])
def test_a_mode_that_was_asked_for_must_not_fail(backward):
    with pytest.raises(ClaimError):
        gradproof.check(square(backward, 1.0), torch.linspace(0.5, 2, 3).double(), modes=("rev", "vmap"), rng=0)


def test_a_backward_that_raises_is_no_mode_that_is_missing():
    """Nobody checks a function to hear that forward mode is right where training would crash."""

    def broken(x, u):
        raise ValueError("on purpose")

    with pytest.raises(ClaimError, match="on purpose"):
        gradproof.check(square(broken, 1.0), torch.linspace(0.5, 2, 3).double(), rng=0)


def log_probability(x):
    return torch.log_softmax(x, -1)[0]


def test_reverse_over_forward_where_dual_numbers_cannot_be_recorded():
    """torch writes into what its own derivative of log_softmax has saved; `torch.func.jvp` goes another way."""
    x = torch.tensor([0.2, -1.0, 0.5]).double()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.clone().requires_grad_(), torch.ones(3).double())
        tangent = torch.autograd.forward_ad.unpack_dual(log_probability(dual)).tangent
        with pytest.raises(RuntimeError, match="inplace operation"):
            torch.autograd.grad(tangent, dual)

    report = gradproof.check(log_probability, x, order=2, rng=0)

    assert report.verdict is Verdict.CORRECT
    assert {mode.mode: mode.verdict for mode in report.modes}["rev-fwd"] is Verdict.CORRECT


def test_a_mode_that_does_not_exist_is_named():
    x = torch.linspace(0.5, 2, 3).double()
    with pytest.raises(UsageError, match="mode 'fwd' does not exist for this function: You must implement the jvp"):
        gradproof.check(square(item, 1.0), x, modes=("rev", "fwd"), rng=0)
    with pytest.raises(UsageError, match="there is no mode 'reverse'"):
        gradproof.check(torch.sin, x, modes=("rev", "reverse"), rng=0)
    with pytest.raises(UsageError, match="or 'available', got 'avail'"):
        gradproof.check(torch.sin, x, modes="avail", rng=0)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.CORRECT), (1.5, Verdict.WRONG)])  # 1.5: wrong on purpose
def test_available_means_the_modes_that_exist(factor, verdict):
    x = torch.linspace(0.5, 2, 3).double()
    report = gradproof.check(square(lambda x, u: 2 * x * u, factor), x, modes="available", rng=0)

    assert report.verdict is verdict
    assert {mode.mode for mode in report.modes if mode.verdict is not None} == {"rev", "vmap"}
    assert all("modes='available'" in one.reproducer for one in report.findings)


def test_available_modes_of_jax():
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def half(x):
        return x * x / 2

    half.defvjp(lambda x: (half(x), x), lambda x, u: (x * u,))
    report = gradproof.check(half, jax.numpy.linspace(0.5, 2.0, 3), modes="available", rng=0)

    assert report.verdict is Verdict.CORRECT
    assert {mode.mode for mode in report.modes if mode.verdict is not None} == {"rev", "vmap"}
    with pytest.raises(UsageError, match="mode 'fwd' does not exist"):
        gradproof.check(half, jax.numpy.linspace(0.5, 2.0, 3), modes=("fwd",), rng=0)


def test_a_wrong_backward_is_wrong_in_every_mode_that_runs():
    """vmap runs here, and is held against f as well."""
    report = gradproof.check(square(lambda x, u: 2 * x * u, 1.5), torch.linspace(0.5, 2, 3).double(), rng=0)

    assert report.verdict is Verdict.WRONG
    assert np.all([mode.verdict is not Verdict.CORRECT for mode in report.modes])
