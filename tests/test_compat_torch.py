"""Drop-ins for torch's gradcheck and gradgradcheck: its signatures and errors, our verdicts."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

import gradproof
from gradproof import GradproofWarning, Verdict

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck as torch_gradcheck  # noqa: E402
from torch.autograd import gradgradcheck as torch_gradgradcheck  # noqa: E402
from torch.autograd.gradcheck import GradcheckError as TorchGradcheckError  # noqa: E402

from gradproof._claims._consequences import excused  # noqa: E402
from gradproof.compat import _torch_contracts as contracts  # noqa: E402
from gradproof.compat.torch import GradcheckError, gradcheck, gradgradcheck  # noqa: E402

DOUBLE = torch.float64


def tensor(*shape, seed=0, dtype=DOUBLE):
    drawn = torch.as_tensor(np.random.default_rng((seed, *shape)).standard_normal(shape))
    return drawn.to(dtype).requires_grad_()


def at(*values):
    return torch.tensor(values, dtype=DOUBLE, requires_grad=True)


class Rule(torch.autograd.Function):
    """sin, whose gradient goes through `change` before it is returned."""

    @staticmethod
    def forward(ctx, x, change):
        ctx.save_for_backward(x)
        ctx.change = change
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return ctx.change(cotangent * x.cos()), None


def sine(change):
    def f(x):
        return Rule.apply(x, change)

    return f


def without_one(gradient):
    gradient = gradient.clone()
    gradient.view(-1)[3] = 0.0
    return gradient


WRONG = {
    "5 % too large": lambda g: 1.05 * g,
    "one element zero": without_one,
    "permuted": lambda g: g.roll(1),
    "all zero": lambda g: 0 * g,
    "negated": lambda g: -g,
}


class Float32Inside(torch.autograd.Function):
    """A kernel that computes in float32 behind a float64 interface; right."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.float().sin().double()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return (cotangent.float() * x.float().cos()).double()


class Tiny(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 1e-6 * x

    @staticmethod
    def backward(ctx, cotangent):
        return -7e-6 * cotangent  # wrong on purpose


class Noisy(torch.autograd.Function):
    """The identity, with a backward that is never twice the same."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * (1 + 1e-7 * torch.rand_like(cotangent))


class AddsOne(torch.autograd.Function):
    """x**2 whose backward adds something that no cotangent multiplies."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, cotangent):
        return 2 * ctx.saved_tensors[0] * cotangent + 1.0  # wrong on purpose


class Zero(torch.autograd.Function):
    """Zero everywhere, whose backward says one whatever the cotangent."""

    @staticmethod
    def forward(ctx, x):
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx, cotangent):
        return torch.ones_like(cotangent)  # wrong on purpose


class SquaresItsCotangent(torch.autograd.Function):
    """2x, whose backward is not linear."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, cotangent):
        return 2 * cotangent**2  # wrong on purpose


class BeyondAbs(torch.autograd.Function):
    """abs with a slope of 3 everywhere."""

    @staticmethod
    def forward(ctx, x):
        return x.abs()

    @staticmethod
    def backward(ctx, cotangent):
        return 3 * cotangent  # wrong on purpose


class TangentLeavesTorch(torch.autograd.Function):
    """The identity, its forward mode through NumPy."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent

    @staticmethod
    def jvp(ctx, tangent):
        return torch.from_numpy(tangent.detach().numpy().copy())


class RefusesNone(torch.autograd.Function):
    """(sin, cos) whose backward takes no None for a cotangent."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.sin(), x.cos()

    @staticmethod
    def backward(ctx, u, v):
        if u is None or v is None:
            raise RuntimeError("a cotangent is None")
        (x,) = ctx.saved_tensors
        return u * x.cos() - v * x.sin()


class LeavesTorch(torch.autograd.Function):
    """sin through NumPy in backward, which vmap cannot see into."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return torch.as_tensor(np.cos(x.detach().numpy()) * cotangent.numpy())


class CubeForgetsItsTangent(torch.autograd.Function):
    """x**3 whose backward saves an intermediate as data: first order right, second wrong."""

    @staticmethod
    def forward(ctx, x):
        ctx.square = (x * x).detach()
        return x**3

    @staticmethod
    def backward(ctx, cotangent):
        return 3 * cotangent * ctx.square  # wrong on purpose, to second order


class NeedsContiguous(torch.autograd.Function):
    """sin whose backward reads the memory of its cotangent as if it were contiguous."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return Reads.apply(cotangent) * x.cos()


class Reads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.as_strided(x.shape, torch.empty(x.shape).stride()).clone()  # wrong on purpose

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent


def refused(*args, check=gradcheck, **options):
    """The report of an error that the check must raise, and False without an exception."""
    with pytest.raises(GradcheckError) as caught:
        check(*args, **options)
    assert check(*args, raise_exception=False, **options) is False
    return caught.value.report


def ids(report):
    return [one.id for one in report.findings if one.severity is gradproof.Severity.ERROR]


# ------------------------------------------------------------------------------------------------- form


@pytest.mark.parametrize(("ours", "theirs"), [(gradcheck, torch_gradcheck), (gradgradcheck, torch_gradgradcheck)])
def test_signatures_are_torch_s(ours, theirs):
    """Names, kinds, defaults and annotations."""
    assert inspect.signature(ours) == inspect.signature(theirs)


def test_the_error_is_one_of_both_packages():
    with pytest.raises(TorchGradcheckError) as caught:
        gradcheck(sine(lambda g: -g), tensor(3))

    assert isinstance(caught.value, gradproof.GradientError)
    assert caught.value.report.verdict is Verdict.WRONG
    assert str(caught.value).startswith("WRONG")


def test_the_package_is_reached_lazily():
    """`gradproof.compat` imports no framework; its module of that name leaves the framework's name alone."""
    code = (
        "import sys, gradproof; print('gradproof.compat' in sys.modules)\n"
        "gradproof.compat; print('torch' in sys.modules)\n"
        "print(gradproof.compat.torch.gradcheck.__module__, gradproof.compat.torch.torch.__name__)"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["False", "False", "gradproof.compat.torch", "torch"]


@pytest.mark.parametrize("check", [gradcheck, torch_gradcheck])
def test_wrong_use_raises_what_torch_raises(check):
    x = tensor(3)
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        check(torch.sin, x.detach())
    with pytest.raises(AssertionError, match="at least one of check_forward_ad or check_backward_ad"):
        check(torch.sin, x, check_backward_ad=False)
    with pytest.raises(AssertionError, match="check_batched_grad=True requires"):
        check(torch.sin, x, check_batched_grad=True, check_backward_ad=False, check_forward_ad=True)
    with pytest.raises(AssertionError, match="check_batched_forward_grad=True requires"):
        check(torch.sin, x, check_batched_forward_grad=True)
    with pytest.raises(RuntimeError, match="stride 0"):
        check(torch.sin, at(1.0).expand(3))
    with pytest.raises(KeyError, match="on purpose"):
        check(raises, x)
    with pytest.raises(NotImplementedError):
        check(Float32Inside.apply, x, check_forward_ad=True, check_backward_ad=False)
    with pytest.raises(ValueError, match="to_dense"):
        check(lambda x: x.to_sparse(), x)


def raises(x):
    raise KeyError("broken on purpose")


@pytest.mark.parametrize("check", [gradgradcheck, torch_gradgradcheck])
def test_wrong_use_of_the_second_order_raises_what_torch_raises(check):
    with pytest.raises(AssertionError, match="at least one of check_fwd_over_rev or check_rev_over_rev"):
        check(torch.sin, tensor(3), check_rev_over_rev=False)
    with pytest.raises(AssertionError, match="check_undefined_grad=True requires"):
        check(torch.sin, tensor(3), check_rev_over_rev=False, check_fwd_over_rev=True)


# ------------------------------------------------------------------------------- what torch passes, wrong


@pytest.mark.parametrize("n", [100, 10_000])
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_gradients_that_fast_mode_lets_pass_are_wrong(n, change):
    report = refused_once(sine(change), tensor(n))

    assert report.verdict is Verdict.WRONG


@pytest.mark.slow
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_gradients_of_a_million_entries_are_wrong(change):
    assert refused_once(sine(change), tensor(1_000_000)).verdict is Verdict.WRONG


def refused_once(f, x):
    with pytest.raises(GradcheckError) as caught:
        gradcheck(f, x, fast_mode=True)
    return caught.value.report


@pytest.mark.parametrize("fast_mode", [True, False])
def test_a_tiny_gradient_does_not_hide_below_atol(fast_mode):
    assert torch_gradcheck(Tiny.apply, tensor(5), fast_mode=fast_mode)

    assert refused(Tiny.apply, tensor(5), fast_mode=fast_mode).verdict is Verdict.WRONG


def test_the_default_passed_is_the_default():
    """What a signature says is what it means: 1e-5 written out widens nothing."""
    assert refused(Tiny.apply, tensor(5), atol=1e-5, rtol=1e-3).verdict is Verdict.WRONG
    assert gradcheck(Tiny.apply, tensor(5), atol=2e-5)


# ------------------------------------------------------------------------------- what torch fails, right


def drifts(start=[0]):  # noqa: B006  (state on purpose)
    start[0] += 1
    return 1e-9 * start[0]


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (torch.abs, (1e-7,)),
        (lambda x: 1 / x, (1e-6,)),
        (torch.log, (1e-7,)),
        (torch.log, (1e-7, 1.0, 2.0)),
        (Float32Inside.apply, (0.3, -1.2, 2.0, 0.7, 1.1)),
        (Float32Inside.apply, tuple(np.linspace(-2, 2, 40).tolist())),
        (lambda x: x.sin() + 1e-8 * torch.randn_like(x), (0.3, -1.2, 2.0)),
    ],
    ids=["abs", "reciprocal", "log", "log among others", "float32 inside", "more float32 inside", "noise"],
)
def test_right_gradients_that_torch_refuses_pass(f, x):
    assert torch_gradcheck(f, at(*x), raise_exception=False) is False

    assert gradcheck(f, at(*x)) is True


def test_noise_of_a_generator_of_its_own_passes():
    generator = np.random.default_rng(0)

    def f(x):
        return x.sin() + 1e-8 * torch.as_tensor(generator.standard_normal(x.shape))

    assert gradcheck(f, tensor(7))


def test_wrong_in_float32_is_wrong_all_the_same():
    report = refused(lambda x: Scaled.apply(Float32Inside.apply(x)), tensor(10))

    assert report.verdict is Verdict.WRONG


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, cotangent):
        return 1.05 * cotangent  # wrong on purpose


def test_float32_inputs_are_checked_beside_a_float64_copy():
    """torch refuses right ones, and warns; in float64 the forward shows its digits."""
    x = tensor(30, dtype=torch.float32)

    assert gradcheck(lambda x: (x.sin() * x).exp(), x)
    assert gradgradcheck(lambda x: (x.sin() * x).exp(), x)
    assert gradgradcheck(torch.sin, x, torch.ones(30, dtype=torch.float32))
    assert refused(sine(lambda g: 1.001 * g), x).verdict is Verdict.WRONG


def test_dropout_passes_and_random_states_are_put_back():
    def f(x):
        return torch.nn.functional.dropout(x.sin(), 0.5)

    x = tensor(20)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert gradcheck(f, x, check_forward_ad=True)
    assert gradgradcheck(f, x)
    assert torch.equal(before, torch.get_rng_state())


def test_a_valid_subgradient_passes_with_a_warning_at_the_caller():
    with pytest.warns(GradproofWarning, match="valid subgradient") as caught:
        assert gradcheck(torch.relu, at(0.0, 1.0, -1.0)) is True
    assert caught[0].filename == __file__


def test_a_drift_is_never_called_wrong():
    question = lambda x: x.sin() + drifts()  # noqa: E731
    if not gradcheck(question, tensor(4), raise_exception=False):
        report = refused(question, tensor(4))
        assert report.verdict is Verdict.INCONCLUSIVE
        assert report.reason is gradproof.Reason.STOCHASTIC


def test_nothing_tested_passes_with_a_warning():
    """As the original does: the claim is exactly zero, and f keeps its bits."""
    with pytest.warns(GradproofWarning, match="keeps its bits"):
        assert gradcheck(torch.floor, at(0.3, 1.4))


class SlopeOfAbs(torch.autograd.Function):
    """|x| + x**2 / 20, whose gradient counts as a constant in x where `is_kept` is 0."""

    @staticmethod
    def forward(ctx, x, is_kept):
        ctx.save_for_backward(x)
        ctx.is_kept = is_kept
        return x.abs() + x**2 / 20

    @staticmethod
    def backward(ctx, u):
        (x,) = ctx.saved_tensors
        return u * (x.sign() + (x if ctx.is_kept else x.detach()) / 10), None  # wrong on purpose for 0


def test_an_array_that_stands_still_beside_others_passes_with_a_warning():
    """|x| bends nowhere, but some of 400 entries are next to its kink; its gradient moves with the cotangent."""
    x = tensor(20, 20)

    with pytest.warns(GradproofWarning, match=r"keeps its bits.*args\[0\] \(rev-rev\)"):
        assert gradgradcheck(torch.abs, x)
    assert gradgradcheck(lambda x: SlopeOfAbs.apply(x, True), x)
    assert not gradgradcheck(lambda x: SlopeOfAbs.apply(x, False), x, raise_exception=False)


def small(x, size):
    """1, of terms that cancel, and a part that does not."""
    return torch.corrcoef(x) + size * Sine.apply(x).sum()


class Sine(torch.autograd.Function):
    """sin(x), whose gradient counts as a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, u):
        (x,) = ctx.saved_tensors
        return u * x.detach().cos()  # wrong on purpose


@pytest.mark.parametrize("options", [{}, {"check_fwd_over_rev": True, "check_rev_over_rev": False}])
def test_derivatives_that_are_rounding_of_nothing_pass_with_a_warning(options):
    """The correlation of two numbers is 1 wherever they are; a small part that is no rounding is looked at."""
    x = at(-4.8270, -7.5824)
    options = options | {"check_undefined_grad": False}

    with pytest.warns(GradproofWarning, match="up to rounding"):
        assert gradgradcheck(torch.corrcoef, x, **options)
    assert not gradgradcheck(lambda x: small(x, 1e-7), x, raise_exception=False)


def test_products_of_rounding_need_not_be_linear():
    """Along an axis of length 1 `normalize` is a sign, and entries near 0 magnify what its terms leave of rounding."""
    x = tensor(1, 2, 4, 5)
    with torch.no_grad():
        x[0, 0, 0, :2] = torch.tensor([0.0085, -0.06])
    options = {"check_fwd_over_rev": True, "check_rev_over_rev": False, "check_undefined_grad": False}

    def f(x):
        return torch.nn.functional.normalize(x, p=0.5, dim=0)

    with pytest.warns(GradproofWarning, match="up to rounding"):
        assert gradgradcheck(f, x, **options)


def test_tolerances_excuse_no_product_that_is_not_linear():
    """For every unit cotangent it is right: torch, which asks for these, passes it."""
    assert torch_gradcheck(lambda x: SquaresItsCotangent.apply(x), tensor(3))
    assert ids(refused(lambda x: SquaresItsCotangent.apply(x), tensor(3), atol=1e-3)) == ["GP205"]


@pytest.mark.parametrize("claimed", [1e-14, 1e-11])
def test_a_claim_beyond_rounding_does_not_pass_where_f_stands_still(claimed):
    f = Biased.apply

    if claimed < 1e-12:
        with pytest.warns(GradproofWarning, match="up to rounding"):
            assert gradcheck(lambda x: f(x, claimed), at(0.3, 1.4), check_undefined_grad=False)
    else:
        assert not gradcheck(lambda x: f(x, claimed), at(0.3, 1.4), raise_exception=False)


def test_a_target_that_is_compared_with_one_passes_with_a_warning():
    """f jumps at the point itself and is the same all around it; a slope that it has there is looked at."""
    x, target = at(0.3, -1.4, 0.7), at(1.0, -1.0, 1.0)

    with pytest.warns(GradproofWarning, match="keeps its bits.* as target moves"):
        assert gradcheck(torch.nn.functional.hinge_embedding_loss, (x, target), check_undefined_grad=False)
    assert not gradcheck(lambda t: (t == 1).double() + Rule.apply(t, torch.zeros_like), target, raise_exception=False)
    assert not gradcheck(lambda t: torch.where(t > 1, 2.0, 3.0) + 0 * t, at(1.0), raise_exception=False)


class Biased(torch.autograd.Function):
    """1, with a gradient that is nearly zero."""

    @staticmethod
    def forward(ctx, x, claimed):
        ctx.claimed = claimed
        return torch.ones_like(x).sum()

    @staticmethod
    def backward(ctx, u):
        return u * torch.full((2,), ctx.claimed, dtype=u.dtype), None


@pytest.mark.parametrize(("slope", "passes"), [(1.0, True), (1.001, False)])
def test_entries_next_to_a_jump_are_measured_alone(slope, passes):
    """Branch cuts, swapped eigenvalues and x mod y jump by as much as they are large: no rounding does."""
    x, y = tensor(6, 6) * 4, torch.tensor(3.1, dtype=DOUBLE)
    x = x.detach()
    x[0, 0], x[1, 1], x[2, 2] = 3.1 + 1e-4, 6.2 - 3e-5, 2e-3
    x.requires_grad_()

    def scaled(x):
        return Rescaled.apply(torch.fmod(x, y), slope)

    assert gradcheck(scaled, x, raise_exception=False) == passes


@pytest.mark.parametrize(("slope", "passes"), [(1.0, True), (1.001, False)])
def test_eigenvalues_that_change_places(slope, passes):
    torch.manual_seed(0)
    x = torch.randn(5, 5).double().requires_grad_()
    options = {"check_forward_ad": True, "check_backward_ad": False, "raise_exception": False}

    assert gradcheck(lambda x: Rescaled.apply(torch.linalg.eigvals(x), slope), x, **options) == passes


class Rescaled(torch.autograd.Function):
    """x, with a slope of its own."""

    @staticmethod
    def forward(x, slope):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.slope = inputs[1]

    @staticmethod
    def backward(ctx, u):
        return u * ctx.slope, None  # wrong on purpose where it is not 1

    @staticmethod
    def jvp(ctx, v, _):
        return v * ctx.slope


# ------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, False),
        ({"rtol": 1e-2}, True),
        ({"atol": 1e-2}, True),
        ({"atol": 1e-7}, False),
        ({"rtol": 1e-6, "atol": 1e-7}, False),
    ],
)
@pytest.mark.parametrize("fast_mode", [True, False])
def test_tolerances_widen_entry_by_entry_where_they_are_passed(options, passes, fast_mode):
    f = sine(lambda g: 1.0005 * g)

    assert gradcheck(f, tensor(4), raise_exception=False, fast_mode=fast_mode, **options) is passes


def test_tolerances_excuse_a_claim_beyond_the_slopes_of_a_kink():
    """The claim is 3, the slopes are -1 and 1."""
    assert ids(refused(BeyondAbs.apply, at(0.0))) == ["GP103"]
    assert gradcheck(BeyondAbs.apply, at(0.0), atol=5.0)
    assert not gradcheck(BeyondAbs.apply, at(0.0), atol=0.5, raise_exception=False)


class SquareInTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad.repeat(2)


@pytest.mark.parametrize("options", [{}, {"check_batched_grad": True}, {"check_undefined_grad": False}])
def test_a_gradient_of_another_shape_is_all_that_is_said(options):
    """What torch refuses to run is not run again for its other contracts."""
    assert ids(refused(SquareInTwo.apply, at(1.0, 2.0, 3.0), **options)) == ["GP201"]


def cut_off(x):
    """The sum of all entries, without that of the first two within 1e-5 of the point."""
    within = x[:2].detach().norm() <= 1e-5
    return x[:2].sum() * torch.where(within, 0.0, 1.0) + x[2]


class ClaimsBeyond(torch.autograd.Function):
    """Claims the slope that f has outside of the zone in which it stands still."""

    @staticmethod
    def forward(ctx, x):
        return cut_off(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.ones(3, dtype=DOUBLE)


def test_tolerances_excuse_a_claim_beyond_a_zone_around_the_point():
    """The slopes are 0 within it and 1 beyond, as claimed."""
    assert "GP311" in ids(refused(ClaimsBeyond.apply, at(0.0, 0.0, 1.0)))
    assert gradcheck(ClaimsBeyond.apply, at(0.0, 0.0, 1.0), atol=5.0)
    assert not gradcheck(ClaimsBeyond.apply, at(0.0, 0.0, 1.0), atol=0.1, raise_exception=False)


def test_tolerances_count_in_the_second_order_too():
    x = at(1.0, 2.0)

    assert refused(CubeForgetsItsTangent.apply, x, check=gradgradcheck).verdict is Verdict.WRONG
    assert gradgradcheck(CubeForgetsItsTangent.apply, x, atol=20.0)  # 6 x u is at most 12
    assert not gradgradcheck(
        CubeForgetsItsTangent.apply, x, torch.ones(2, dtype=DOUBLE), atol=1.0, raise_exception=False
    )


def test_backward_run_twice_must_agree_within_nondet_tol():
    assert ids(refused(Noisy.apply, tensor(3))) == ["GP220"]
    assert gradcheck(Noisy.apply, tensor(3), nondet_tol=1e-5, atol=1e-6)


def test_a_cotangent_of_zeros_gives_zeros():
    assert ids(refused(AddsOne.apply, tensor(3))) == ["GP221", "GP205"]


def test_undefined_cotangents_are_zeros():
    report = refused(RefusesNone.apply, tensor(3))

    assert ids(report) == ["GP222"]
    assert gradcheck(RefusesNone.apply, tensor(3), check_undefined_grad=False)


def test_vmap_must_agree_with_the_loop_where_it_is_asked():
    assert gradcheck(LeavesTorch.apply, tensor(3))
    assert ids(refused(LeavesTorch.apply, tensor(3), check_batched_grad=True)) == ["GP223"]
    options = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert gradcheck(lambda x, y: (x @ y, y.exp()), (tensor(2, 3), tensor(3)), **options)


def test_vmap_of_forward_mode_must_agree_where_it_is_asked():
    options = {"check_forward_ad": True, "check_batched_forward_grad": True, "check_batched_grad": True}

    assert gradcheck(TangentLeavesTorch.apply, tensor(3), check_forward_ad=True)
    assert ids(refused(TangentLeavesTorch.apply, tensor(3), **options)) == ["GP223"]


def test_vmap_with_other_numbers_is_wrong(monkeypatch):
    """As if vmap had another rule for an operator than the loop, in reverse and in forward mode."""
    pull, vmap = contracts.Recorded.pull, contracts._vmap
    options = {"check_forward_ad": True, "check_batched_forward_grad": True, "check_batched_grad": True}
    inputs = tensor(3), tensor(3)
    assert gradcheck(torch.mul, inputs, **options)

    def doubled(*args, **options):
        factor = 2 if options.get("is_grads_batched") else 1
        return [one if one is None else factor * one for one in pull(*args, **options)]

    with monkeypatch.context() as patch:
        patch.setattr(contracts.Recorded, "pull", doubled)
        (found,) = refused(torch.mul, inputs, **options).findings
        assert (found.id, found.path) == ("GP223", "inputs[0]")
    with monkeypatch.context() as patch:
        patch.setattr(contracts, "_vmap", lambda push: lambda v: tuple(2 * one for one in vmap(push)(v)))
        (found,) = refused(torch.mul, inputs, **options).findings
        assert (found.id, found.path) == ("GP223", "inputs[0]")


def test_a_gradient_of_another_layout_is_wrong():
    weight, index = tensor(4, 2), torch.tensor([0, 2, 2])

    def f(weight):
        return torch.nn.functional.embedding(index, weight, sparse=True)

    assert ids(refused(f, weight)) == ["GP224"]


def test_forward_mode_is_checked_where_it_is_asked():
    t = at(0.7)

    def inverse(t):
        lower = torch.stack([t + 2, 0 * t, 1 + 0 * t, 2 * t + 3]).reshape(2, 2)
        return torch.cholesky_inverse(lower)

    assert gradcheck(inverse, t)
    report = refused(inverse, t, check_forward_ad=True)
    assert {one.mode: one.verdict for one in report.modes} == {"rev": Verdict.CORRECT, "fwd": Verdict.WRONG}


# -------------------------------------------------------------------------------------- inputs and outputs


def test_only_what_requires_grad_is_differentiated():
    """Other inputs pass through, whatever they are; outputs without a graph are left out."""
    x, y = tensor(3), tensor(3, seed=1)

    def f(x, y, n, name):
        assert name == "name"
        return x * y * n, x.detach(), x.argmax(), y.sin()

    assert gradcheck(f, (x, y.detach(), 3, "name"))
    assert gradcheck(f, [x, y, 3, "name"])
    assert torch.equal(x, tensor(3))
    assert x.grad is None


@pytest.mark.parametrize(
    ("f", "passes"),
    [
        (lambda x: x.argmax(), True),
        (lambda x: torch.ones_like(x), True),
        (lambda x: x.detach() * 2, False),
    ],
)
@pytest.mark.parametrize("check", [gradcheck, torch_gradcheck])
def test_what_has_no_derivative_must_stand_still(check, f, passes):
    assert check(f, tensor(3), raise_exception=False) is passes


def test_empty_tensors_pass():
    assert gradcheck(torch.sin, tensor(0))
    assert gradcheck(lambda x: x[:0], tensor(3))


INF = float("inf")
NOWHERE_FINITE = {
    "real": (lambda x: torch.ops.aten._safe_softmax(x, -1), at(-INF, -INF)),
    "complex": (torch.exp, torch.full((2,), complex(-INF, 0.0), dtype=torch.complex128, requires_grad=True)),
    "nan": (torch.nan_to_num, at(math.nan, math.nan)),
}


@pytest.mark.parametrize("name", NOWHERE_FINITE)
@pytest.mark.parametrize(("ours", "theirs"), [(gradcheck, torch_gradcheck), (gradgradcheck, torch_gradgradcheck)])
def test_an_argument_that_no_step_moves_is_left_out_with_a_warning(name, ours, theirs):
    """As torch passes it; its contracts are held all the same."""
    f, x = NOWHERE_FINITE[name]
    assert theirs(f, x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert ours(f, x)
    assert "not checked: no entry of argument 0 is finite" in str(caught[0].message)
    if ours is gradcheck:
        assert ids(refused(lambda x: Zero.apply(x), x)) == ["GP221"]


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128, torch.complex64])
def test_other_arguments_are_checked_beside_one_that_no_step_moves(dtype):
    """A wrong derivative with respect to one of them is found."""
    x, y = torch.full((2,), -INF, dtype=dtype, requires_grad=True), at(0.3, 1.2)
    with pytest.warns(GradproofWarning, match="not checked: no entry of argument 0 is finite"):
        assert gradcheck(lambda x, y: torch.exp(x).real + y.sin(), (x, y))
    report = refused(lambda x, y: torch.exp(x).real + sine(WRONG["negated"])(y), (x, y))
    assert [one.path for one in report.findings if one.severity is gradproof.Severity.ERROR] != []
    assert [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG] == ["y"]


@pytest.mark.parametrize("values", [(-INF, -INF), (-INF, 1.0)])
def test_infinity_that_reaches_an_output_does_not_pass(values):
    """nan minus nan is nothing that torch compares either; the entry is named."""
    x = at(*values)
    assert not torch_gradcheck(lambda x: 2 * x, x, raise_exception=False)
    report = refused(lambda x: 2 * x, x)
    assert report.reason is gradproof.Reason.DOMAIN
    assert "`x[0]` is -inf" in report.findings[0].advice


@pytest.mark.parametrize("options", [{}, {"check_batched_grad": True}])
def test_where_f_is_nan_nothing_is_called_wrong(options):
    """torch fails; a gradient of nan is not zero for a cotangent of zeros, nor equal to itself under vmap."""
    f = lambda x: x.log() * x  # noqa: E731
    assert not torch_gradcheck(f, at(-1.0, 2.0), raise_exception=False)
    report = refused(f, at(-1.0, 2.0), **options)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "GP304" in {one.id for one in report.findings}
    assert refused(lambda x: AddsOne.apply(x), at(-1.0, 2.0), **options).verdict is Verdict.WRONG


def test_complex_functions():
    z = tensor(3, dtype=torch.complex128) * (1 + 0.5j)
    z = z.detach().requires_grad_()

    def f(z):
        return z * z.conj().exp(), z.abs()

    assert gradcheck(f, z, check_forward_ad=True)
    assert gradgradcheck(f, z, check_fwd_over_rev=True)
    assert refused(lambda z: Conjugated.apply(z), z).verdict is Verdict.WRONG
    assert gradcheck(lambda z: Conjugated.apply(z), z, atol=20.0)


@pytest.mark.filterwarnings("ignore:ComplexHalf", "ignore:.*keeps its bits")
@pytest.mark.parametrize(
    ("factor", "verdicts"), [(1.0, "CORRECT INCONCLUSIVE"), (1.05, "INCONCLUSIVE"), (-1.0, "WRONG")]
)
def test_outputs_of_complex32_are_as_precise_as_float16(factor, verdicts):
    """A small mistake is not seen and not passed, a large one is, and neither raises anything that torch does not."""
    f = lambda x: sine(lambda g: factor * g)(x).chalf()  # noqa: E731  (wrong on purpose, but for 1)
    for seed in range(3):
        report = gradproof.check(f, (tensor(3, seed=seed),), modes=("rev",), rng=seed)
        assert report.verdict.value in verdicts.split()
        assert factor == 1.0 or gradcheck(f, tensor(3, seed=seed), raise_exception=False) is False
    assert gradgradcheck(lambda x: (2 * x).chalf(), tensor(3)) is True


class Conjugated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z * z

    @staticmethod
    def backward(ctx, cotangent):
        (z,) = ctx.saved_tensors
        return 2 * z * cotangent  # wrong on purpose: torch's convention wants the conjugate of z


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
@pytest.mark.parametrize("masked", [True, False, None])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_inputs(layout, masked):
    """`masked` says whether the entries that are not stored are differentiated: as torch, they must then be right."""
    dense = torch.tensor([[0, 1.5, 0], [2, 0, 3]], dtype=DOUBLE)
    sparse = dense.to_sparse(layout=layout).requires_grad_()

    def spread(s):
        return s.to_dense(masked_grad=bool(masked)).sin()

    assert gradcheck(spread, sparse, masked=masked)
    assert torch_gradcheck(spread, sparse, masked=masked)
    assert gradcheck(torch.mm, (sparse, tensor(3, 2)), masked=masked)
    assert not gradcheck(
        lambda s: Rule.apply(s.to_dense(masked_grad=bool(masked)), torch.neg), sparse, raise_exception=False
    )
    if not masked:
        for check in (gradcheck, torch_gradcheck):
            assert not check(lambda s: s.to_dense(masked_grad=True).sin(), sparse, raise_exception=False)


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_second_derivatives_of_sparse_inputs_and_outputs(layout, masked):
    sparse = torch.tensor([[0, 1.5, 0], [2, 0, 3]], dtype=DOUBLE).to_sparse(layout=layout).requires_grad_()
    x = tensor(3, 2)

    assert gradgradcheck(torch.mm, (sparse, x), masked=masked)
    assert gradgradcheck(lambda x: (x * x).to_sparse(layout=layout), x, masked=masked)
    assert not gradgradcheck(
        lambda s, x: SlopeOfAbs.apply(torch.mm(s, x), False), (sparse, x), masked=masked, raise_exception=False
    )


def test_gradients_of_layer_norm_are_differentiated_one_by_one():
    """All together torch's rule raises; alone it is wrong for the cotangent, as torch's own gradgradcheck says."""
    x, bias = tensor(1, 2, 3), tensor(1, 2, 3)

    def normed(x, bias):
        return torch.native_layer_norm(x, (1, 2, 3), None, bias, 0.5)

    assert refused(normed, (x, bias), check=gradgradcheck).verdict is Verdict.WRONG


# ------------------------------------------------------------------------------------------- second order


@pytest.mark.parametrize("options", [{}, {"check_fwd_over_rev": True}, {"gen_non_contig_grad_outputs": True}])
def test_right_second_derivatives_pass(options):
    def f(x, y):
        return (x @ y).tanh(), (x**3).sum()

    assert gradgradcheck(f, (tensor(2, 3), tensor(3, 2)), **options)


def test_wrong_second_derivatives_are_wrong():
    report = refused(CubeForgetsItsTangent.apply, tensor(5), check=gradgradcheck)

    assert [one.mode for one in report.modes] == ["rev-rev"]
    assert gradcheck(CubeForgetsItsTangent.apply, tensor(5))


def test_cotangents_that_are_passed_are_the_point():
    """At u = 0 nothing of the second derivative in x is seen; constants are not differentiated."""
    x = tensor(4)
    zero = torch.zeros(4, dtype=DOUBLE, requires_grad=True)

    assert gradgradcheck(CubeForgetsItsTangent.apply, x, zero)
    for u in (torch.ones(4, dtype=DOUBLE), tensor(4, seed=3)):
        assert gradgradcheck(torch.sin, x, u)
        assert gradgradcheck(torch.sin, x, (u,))
        assert refused(CubeForgetsItsTangent.apply, x, u, check=gradgradcheck).verdict is Verdict.WRONG


def test_contiguity_is_tested_where_it_is_asked():
    """A backward that reads its cotangent's memory in order is right for contiguous ones only."""
    x = tensor(6)

    assert gradgradcheck(NeedsContiguous.apply, x)
    assert not gradgradcheck(NeedsContiguous.apply, x, gen_non_contig_grad_outputs=True, raise_exception=False)


# ------------------------------------------------------------------------------------------------- parity

OPERATORS = (
    *("sin", "exp", "log1p", "tanh", "sigmoid", "addmm", "matmul", "bmm", "mv", "cumsum", "cumprod", "atan2"),
    *("logsumexp", "softmax", "log_softmax", "var", "std", "norm", "cat", "stack", "gather", "index_select", "pow"),
    *("masked_fill", "where", "flip", "roll", "outer", "kron", "trace", "tril", "diff", "lerp", "mul", "sub"),
    *("linalg.inv", "linalg.det", "linalg.solve", "linalg.cholesky", "nn.functional.layer_norm", "nn.functional.silu"),
    *("nn.functional.gelu", "nn.functional.conv2d", "nn.functional.linear", "nn.functional.mse_loss"),
)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_torch_pass_as_they_do_in_torch(name, monkeypatch):
    """The smallest sample inputs of torch's own tests."""
    # Once imported, torch's tests forbid to set flags such as `torch.backends.cudnn.benchmark`; ours set them.
    monkeypatch.setattr(torch.backends, "disable_global_flags", lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    op = next(one for one in op_db if one.name == name)
    torch.manual_seed(0)
    samples = list(op.sample_inputs("cpu", DOUBLE, requires_grad=True))
    sample = min((one for one in samples if size(one.input) > 1), key=lambda one: size(one.input))
    func, inputs = with_keywords(op, sample)
    assert torch_gradcheck(func, inputs, fast_mode=True)
    assert gradcheck(func, inputs)
    if size(sample.input) <= 30:
        assert gradgradcheck(func, inputs)


def size(value):
    return value.numel() if isinstance(value, torch.Tensor) else sum(one.numel() for one in value)


def with_keywords(op, sample):
    """The operator as a function of the tensors that torch's own tests differentiate."""

    def func(*inputs):
        output = op.gradcheck_wrapper(op.get_op(), *inputs, **sample.kwargs)
        return sample.output_process_fn_grad(output)

    tensors = sample.input if isinstance(sample.input, (tuple, list)) else [sample.input]
    if tensors is sample.input:
        return lambda *inputs: func(inputs, *sample.args), tuple(tensors)
    return func, (sample.input, *sample.args)


def test_a_function_inside_is_named_and_a_tolerance_excuses_it():
    """A finding on a part is about numbers, as the one on its input is, and what follows from it goes with it."""
    x = at(0.3, 1.2)

    def f(x):
        return sine(lambda g: g * (1 + 1e-4))(2 * x)  # wrong on purpose

    with pytest.raises(GradcheckError, match=r"in `f` \(Rule\): ") as caught:
        gradcheck(f, (x,))
    assert ids(caught.value.report) == ["GP120"]
    assert excused(caught.value.report.findings) == ()
    assert gradcheck(f, (x,), atol=1e-2)
