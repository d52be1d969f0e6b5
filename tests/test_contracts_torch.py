"""Contracts of PyTorch's backwards within functions and models, and what the checks leave behind."""

import warnings

import numpy as np
import pytest

import gradproof
from gradproof import Severity, UsageError, Verdict
from helpers import finding, ids

torch = pytest.importorskip("torch")
import gradproof.torch  # noqa: E402

DOUBLE = torch.float64


def drawn(*shape, dtype=DOUBLE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE).to(dtype)


class Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, u):
        return u * ctx.saved_tensors[0].cos()


class Strided(Sine):
    """Reads its cotangent as if its rows were dense."""

    @staticmethod
    def backward(ctx, u):
        rows = u.as_strided(u.shape, (u.stride(0), 1), u.storage_offset())  # wrong on purpose
        return rows * ctx.saved_tensors[0].cos()


class Flat(Sine):
    """Reads memory that an expanded cotangent does not have."""

    @staticmethod
    def backward(ctx, u):
        dense = u.as_strided(u.shape, torch.empty(u.shape).stride(), u.storage_offset())  # wrong on purpose
        return dense * ctx.saved_tensors[0].cos()


class Zeroing(Sine):
    @staticmethod
    def backward(ctx, u):
        gradient = u * ctx.saved_tensors[0].cos()
        u.zero_()  # wrong on purpose
        return gradient


def errors(report):
    return [one.id for one in report.findings if one.severity is Severity.ERROR]


@pytest.mark.parametrize("rule", [Flat, Zeroing])
def test_backwards_that_pass_torchs_gradcheck_are_told(rule):
    x = drawn(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(rule.apply, x)
    report = gradproof.check(rule, x, rng=0)
    assert report.verdict is Verdict.WRONG
    said = f"{report.findings[0].kind} {report.findings[0].advice}"
    assert ("contiguous" if rule is Flat else "changes its cotangent (grad_output) in place") in said


@pytest.mark.parametrize(("rule", "id"), [(Strided, "GP216"), (Flat, "GP216"), (Zeroing, "GP218")])
@pytest.mark.parametrize("loss", [torch.sum, lambda y: (y**2).sum(), lambda y: torch.cat([y, 2 * y], 1)])
def test_a_rule_is_named_within_a_function(rule, id, loss):
    """Also where the wrong condition is what it meets there: the numbers are then about its formula."""
    report = gradproof.check(lambda x: loss(rule.apply(x)), drawn(3, 4), rng=0)
    assert errors(report) == [id]
    assert report.findings[0].path == rule.__name__
    assert "for `x`" in report.findings[0].kind or id == "GP218"


def test_a_wrong_formula_breaks_no_contract():
    class Wrong(Sine):
        @staticmethod
        def backward(ctx, u):
            return 2 * u * ctx.saved_tensors[0].cos()  # wrong on purpose

    assert ids(gradproof.check(Wrong, drawn(3, 4), contracts="all", rng=0)) == ["GP101"]


def test_a_wrong_formula_is_told_beside_a_broken_contract():
    class Both(Strided):
        @staticmethod
        def backward(ctx, u):
            return 2 * Strided.backward(ctx, u)

    assert ids(gradproof.check(Both, drawn(3, 4), rng=0)) == ["GP216", "GP101"]


def test_a_model_is_looked_through():
    class Layer(torch.nn.Linear):
        rule = Sine

        def forward(self, x):
            return self.rule.apply(super().forward(x))

    torch.manual_seed(0)
    model = torch.nn.Sequential(Layer(4, 3), torch.nn.Linear(3, 1)).double()
    loss = lambda model, x: model(x).square().mean()  # noqa: E731
    assert gradproof.torch.check_module(model, loss, drawn(5, 4), rng=0).correct
    Layer.rule = Zeroing
    report = gradproof.torch.check_module(model, loss, drawn(5, 4), rng=0)
    assert errors(report) == ["GP218"]
    assert "GP218" not in ids(gradproof.torch.check_module(model, loss, drawn(5, 4), contracts="none", rng=0))


def custom_operator(name, backward):
    """sin as a custom operator."""

    @torch.library.custom_op(f"gradproof_contracts::{name}", mutates_args=())
    def sine(x: torch.Tensor) -> torch.Tensor:
        return x.sin()

    sine.register_autograd(backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    return sine


def test_custom_operators_are_held():
    right = custom_operator("right", Sine.backward)
    report = gradproof.check(right, drawn(3, 4), rng=0)
    assert report.correct
    # torch takes what it returns as a constant in forward mode, without a word: no mistake of the operator's.
    assert {one.mode: one.verdict for one in report.modes}["fwd"] is None
    assert "`gradproof_contracts::right` has no rule for forward mode" in report.modes[1].note
    assert gradproof.check(lambda x: right(x).sum(), drawn(3, 4), order=2, rng=0).correct
    with pytest.raises(UsageError, match="has no rule for forward mode"):
        gradproof.check(right, drawn(3, 4), modes=("fwd",), rng=0)
    wrong = custom_operator("strided", Strided.backward)
    assert errors(gradproof.check(wrong, drawn(3, 4), modes=("rev",), rng=0)) == ["GP216"]
    report = gradproof.check(lambda x: wrong(x).sum(), drawn(3, 4), modes=("rev",), rng=0)
    assert errors(report) == ["GP216"]
    assert report.findings[0].path == "gradproof_contracts::strided"


class IntoSaved(torch.autograd.Function):
    """a * b, whose gradients are written into a and b, and returned from there."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, u):
        a, b = (one.detach() for one in ctx.saved_tensors)
        da, db = u * b, u * a
        return a.copy_(da), b.copy_(db)  # wrong on purpose


def test_gradients_that_are_returned_in_saved_memory_are_one_mistake():
    """What was saved is put back while the formula is proved: the gradients must not be put back with it."""
    assert errors(gradproof.check(IntoSaved, (drawn(3, 4), drawn(3, 4)), rng=0)) == ["GP219"]

    class Wrong(IntoSaved):
        @staticmethod
        def backward(ctx, u):
            da, db = IntoSaved.backward(ctx, u)
            return 2 * da, db

    assert errors(gradproof.check(Wrong, (drawn(3, 4), drawn(3, 4)), rng=0)) == ["GP219", "GP101"]


class ComputedInForward(torch.autograd.Function):
    """A loss whose gradient is computed in the forward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.cos())
        return x.sin().sum()

    @staticmethod
    def backward(ctx, u):
        return u * ctx.saved_tensors[0]


class Forgetting(ComputedInForward):
    @staticmethod
    def backward(ctx, u):
        return ctx.saved_tensors[0] + 0.0  # wrong on purpose: right for a cotangent of 1 alone


def test_a_loss_that_forgets_its_cotangent_is_told_by_default():
    """A single number is asked for at another cotangent, too, which the contract names best."""
    report = gradproof.check(Forgetting, drawn(3, 4), rng=0)
    assert ids(report) == ["GP221"]
    assert ids(gradproof.check(Forgetting, drawn(3, 4), contracts="none", rng=0)) == []
    assert ids(gradproof.check(ComputedInForward, drawn(3, 4), rng=0)) == []
    # (Within f its cotangent may be 1 as well, for which the derivative of f is right.)
    for last in (lambda x: Forgetting.apply(x), lambda x: Forgetting.apply(x.exp()), lambda x: Forgetting.apply(x) + 1):
        assert ids(gradproof.check(last, drawn(3, 4), rng=0)) == ["GP221"]
        assert ids(gradproof.check(last, drawn(3, 4), contracts="none", rng=0)) == []
    for right in (lambda x: ComputedInForward.apply(x), lambda x: 3 * ComputedInForward.apply(x.exp())):
        assert ids(gradproof.check(right, drawn(3, 4), rng=0)) == []
    # Whether a factor of exactly 1 is left out is nobody's concern.
    skipping = type(
        "Skipping",
        (ComputedInForward,),
        {"backward": staticmethod(lambda ctx, u: ctx.saved_tensors[0] * (u if u != 1 else 1.0))},
    )
    assert ids(gradproof.check(skipping, drawn(3, 4), rng=0)) == []


def test_a_norm_of_expanded_inputs_is_rounding():
    """Where all entries of a group are equal, its variance is rounding, and so is what is divided by it."""

    class GroupNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            groups = x.reshape(len(x), 2, -1)
            rstd = (groups.var(-1, unbiased=False) + 1e-5).rsqrt()[..., None]
            normed = (groups - groups.mean(-1, keepdim=True)) * rstd
            ctx.save_for_backward(normed, rstd, w)
            return normed.reshape(x.shape) * w[:, None]

        @staticmethod
        def backward(ctx, u):
            normed, rstd, w = ctx.saved_tensors
            v = (u * w[:, None]).reshape(normed.shape)
            dx = rstd * (v - v.mean(-1, keepdim=True) - normed * (v * normed).mean(-1, keepdim=True))
            return dx.reshape(u.shape), (u * normed.reshape(u.shape)).sum((0, 2))

    args = drawn(2, 4, 9), drawn(4)
    for seed in range(3):
        assert ids(gradproof.check(GroupNorm, args, contracts=["GP217"], rng=seed)) == []

    class Flattened(GroupNorm):
        @staticmethod
        def backward(ctx, u):
            dx, dw = GroupNorm.backward(ctx, u)
            return dx, dw if ctx.saved_tensors[2].is_contiguous() else 1.001 * dw  # wrong on purpose

    assert errors(gradproof.check(Flattened, args, contracts=["GP217"], rng=0)) == ["GP217"]


def test_one_mistake_in_two_modes_is_one_finding():
    """One mode measures a factor of 0.3333, the other one of 1/3."""

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w, b):
            ctx.save_for_backward(x, w)
            return x @ w.mT + b

        @staticmethod
        def backward(ctx, u):
            x, w = ctx.saved_tensors
            return u @ w, u.mT @ x, u.mean(0)  # wrong on purpose: the gradient of b is a sum

    assert errors(gradproof.check(Linear, (drawn(3, 4), drawn(5, 4), drawn(5)), rng=0)) == ["GP101"]


def everything():
    """What a check flips for some time."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        list(warnings.filters),
        {rule: dict(rule.__dict__) for rule in (Sine, Strided, Zeroing)},
    )


@pytest.mark.parametrize("fills", [False, True])
def test_everything_is_left_as_it_was(fills):
    torch.utils.deterministic.fill_uninitialized_memory = fills
    try:
        before = everything()
        for rule in (Sine, Strided, Zeroing):
            for contracts in ("default", "all"):
                gradproof.check(lambda x, rule=rule: rule.apply(x).sum(), drawn(3, 4), contracts=contracts, rng=0)
        assert everything() == before
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.parametrize("call", range(3, 40, 4))
def test_everything_is_left_as_it_was_when_a_backward_is_broken_off(call):
    """By Ctrl-C, in any of its calls."""
    calls = []

    class Stopped(Strided):
        @staticmethod
        def backward(ctx, u):
            calls.append(1)
            if len(calls) == call:
                raise KeyboardInterrupt
            return Strided.backward(ctx, u)

    before, own = everything(), dict(Stopped.__dict__)
    x = drawn(3, 4)
    kept = x.clone()
    with pytest.raises(KeyboardInterrupt):
        gradproof.check(Stopped, x, contracts="all", rng=0)
    assert everything() == before
    assert dict(Stopped.__dict__) == own
    assert torch.equal(x, kept)


def softmax_rule(accumulate=None):
    """Softmax with its rule, in which terms cancel; sums may be in another precision."""

    class Softmax(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.to(accumulate or x.dtype).softmax(-1).to(x.dtype)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, u):
            (y,) = ctx.saved_tensors
            wide_u, wide_y = u.to(accumulate or u.dtype), y.to(accumulate or y.dtype)
            return (wide_y * (wide_u - (wide_u * wide_y).sum(-1, keepdim=True))).to(u.dtype)

    return Softmax


class Means(torch.autograd.Function):
    """The mean over rows, whose backward sums over many entries that cancel."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return (x - x.mean(0)) @ w

    @staticmethod
    def backward(ctx, u):
        x, w = ctx.saved_tensors
        of_x = u @ w.T
        return of_x - of_x.mean(0), (x - x.mean(0)).T @ u


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
def test_sums_in_another_order_are_equal(dtype):
    """Matrix products of transposed and sliced operands take other kernels, and offsets of 1e4 cancel."""
    for seed in range(3):
        x, w = drawn(64, 32, dtype=dtype) + 1e4, drawn(32, 16, dtype=dtype)
        report = gradproof.check(Means, (x, w), wrt=(0, 1), contracts="all", rng=seed)
        assert errors(report) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_is_no_breach(dtype):
    for accumulate in (None, torch.float32):
        rule = softmax_rule(accumulate)
        report = gradproof.check(rule, drawn(8, 16, dtype=dtype), contracts="all", rng=0)
        assert [id for id in errors(report) if id.startswith("GP2")] == []


def test_low_precision_inside_is_no_breach():
    """Of a float64 function: what torch sees of it."""
    report = gradproof.check(softmax_rule(torch.float32), drawn(8, 16), contracts="all", rng=0)
    assert [id for id in errors(report) if id.startswith("GP2")] == []


def test_atomic_additions_are_no_breach():
    """Sums in an order of chance: a backward that shuffles what it adds."""

    class Shuffled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x * w

        @staticmethod
        def backward(ctx, u):
            x, w = ctx.saved_tensors
            order = torch.randperm(len(x))
            return u * w, (u * x)[order].cumsum(0)[-1]

    report = gradproof.check(Shuffled, (drawn(200, 3), drawn(3)), wrt=(0, 1), contracts="all", rng=0)
    assert errors(report) == []


class Model(torch.nn.Module):
    """Batch norm in train mode, tied embeddings, dropout, and a layer that nothing uses."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.dropout = torch.nn.Dropout(0.3)
        self.unused = torch.nn.Linear(4, 4)
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(Sine.apply(self.dropout(self.norm(self.embedding(tokens)))))


@pytest.mark.parametrize("contracts", ["default", "all"])
def test_what_models_do_is_no_breach(contracts):
    torch.manual_seed(0)
    model = Model().double().train()
    loss = lambda model, tokens: torch.nn.functional.cross_entropy(model(tokens), tokens.flip(0))  # noqa: E731
    report = gradproof.torch.check_module(model, loss, torch.arange(7), contracts=contracts, rng=0)
    assert errors(report) == []
    assert {"GP406", "GP407", "GP408"} <= set(ids(report))


def test_a_straight_through_estimator_is_left_out_with_wrt():
    class Round(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.round()

        @staticmethod
        def backward(ctx, u):
            return u  # as meant: the gradient of the identity

    report = gradproof.check(
        lambda x, w: (Round.apply(x) * w).sum(), (drawn(3, 4), drawn(3, 4)), wrt=1, contracts="all", rng=0
    )
    assert errors(report) == []


def test_a_buffer_that_a_backward_changes_is_told_as_such():
    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, count):
            ctx.count = count
            return x * (1 + count)

        @staticmethod
        def backward(ctx, u):
            ctx.count += 1  # wrong on purpose
            return u * ctx.count, None

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(drawn(3, 4))
            self.register_buffer("count", torch.zeros(1, dtype=DOUBLE))

        def forward(self, x):
            return Counting.apply(self.weight * x, self.count)

    report = gradproof.torch.check_module(Layer(), lambda model, x: model(x).square().sum(), drawn(3, 4), rng=0)
    assert errors(report) == ["GP212"]
    assert finding(report, "GP212").path == "model.count"


def test_memory_of_numpy_cannot_be_poisoned():
    """What the documentation says is not seen, is not: no finding by chance either."""

    class Numbers(Sine):
        @staticmethod
        def backward(ctx, u):
            made = np.empty(u.shape)
            made[:] = (u * ctx.saved_tensors[0].cos()).numpy()
            return torch.from_numpy(made)

    assert errors(gradproof.check(Numbers, drawn(3, 4), modes=("rev",), contracts="all", rng=0)) == []


class Combined(torch.autograd.Function):
    """Takes a tuple of tensors that are no inputs of the graph, before those that are."""

    sums = True

    @staticmethod
    def forward(ctx, x, factors, weight, bias):
        ctx.factors = factors
        ctx.save_for_backward(x, weight)
        return factors[0] * x * weight + factors[1].sum() * bias

    @staticmethod
    def backward(ctx, cotangent):
        x, weight = ctx.saved_tensors
        one, other = ctx.factors
        dbias = cotangent * other.sum()
        return cotangent * one * weight, None, (cotangent * one * x).sum(0), dbias.sum() if Combined.sums else dbias


@pytest.mark.parametrize("is_right", [True, False])
def test_gradients_are_held_against_their_own_arguments(is_right, monkeypatch):
    """A list or tuple among the arguments is one of them; wrong on purpose: the gradient of a number as an array."""
    monkeypatch.setattr(Combined, "sums", is_right)
    generator = torch.Generator().manual_seed(0)
    factors = torch.rand(2, 3, generator=generator).double(), torch.rand(4, generator=generator).double()
    x, weight = torch.rand(2, 3, generator=generator).double(), torch.rand(3, generator=generator).double()
    bias = torch.tensor(0.5).double()
    report = gradproof.check(
        lambda x, weight, bias: Combined.apply(x, factors, weight, bias).sin(), (x, weight, bias), modes=("rev",), rng=0
    )
    found = [one for one in report.findings if one.id.startswith("GP2")]
    assert report.correct if is_right else [one.id for one in found] == ["GP224"]
    assert is_right or "`bias` of shape ()" in found[0].kind
