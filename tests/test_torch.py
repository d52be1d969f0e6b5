"""PyTorch: functions of tensors, rules, every mode; the claim is torch's own autodiff."""

from __future__ import annotations

import functools as ft
import random

import numpy as np
import pytest

import gradproof
from gradproof import FunctionError, Reason, Report, Severity, UsageError, Verdict, check

torch = pytest.importorskip("torch")

DOUBLE = torch.float64
SLOW = pytest.mark.slow
COMPILED = SLOW, pytest.mark.filterwarnings("ignore")  # torch's own, as it imports its compiler


def tensor(*shape, seed=0, dtype=DOUBLE):
    return torch.as_tensor(np.random.default_rng((seed, *shape)).standard_normal(shape)).to(dtype)


def modes(report):
    """Verdict by mode; None for those that were not checked."""
    return {one.mode: one.verdict for one in report.modes}


class Sine(torch.autograd.Function):
    """sin with rules of both modes, right unless told otherwise."""

    backward_factor = forward_factor = 1.0

    @classmethod
    def apply_with(cls, x):
        return cls.apply(x)

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * x.cos()

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return tangent * x.cos()


class SineBackwardOff(Sine):
    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * x.cos() * 1.001  # wrong on purpose


class SineForwardOff(Sine):
    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return -tangent * x.cos()  # wrong on purpose


class SineOneEntryZero(Sine):
    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        gradient = cotangent * x.cos()
        gradient[2, 1] = 0.0  # wrong on purpose
        return gradient


class CubeForgetsItsTangent(torch.autograd.Function):
    """x**3 whose backward saves an intermediate as data: first order right, second wrong."""

    @staticmethod
    def forward(ctx, x):
        ctx.square = (x * x).detach()
        return x**3

    @staticmethod
    def backward(ctx, cotangent):
        return 3 * cotangent * ctx.square  # wrong on purpose, to second order


def nested(params, count, key=None):
    """Returns floats and other things."""
    hidden = (params["w"] * params["b"]).sin()
    return {"hidden": hidden, "count": count, "largest": hidden.argmax(), "sum": [hidden.sum()]}


def test_a_function_of_nested_tensors_with_everything_around_them_is_correct():
    """Integers, None, strings and index tensors pass through; outputs of any structure, floating ones are checked."""
    params = {"w": tensor(3, 4), "b": tensor(4), "steps": torch.arange(3), "name": "net", "none": None}

    report = check(nested, (params, 3), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert modes(report) == {"rev": Verdict.CORRECT, "fwd": Verdict.CORRECT, "vmap": Verdict.CORRECT}
    assert [leaf.path for leaf in report.leaves[:2]] == ["params['w']", "params['b']"]
    assert Report.from_json(report.to_json()) == report
    assert "Modes: rev CORRECT, fwd CORRECT, vmap CORRECT." in str(report)


def test_only_tensors_that_require_grad_are_differentiated_where_there_are_any():
    """As torch itself takes it; `wrt` asks for others."""
    x, y = tensor(3).requires_grad_(), tensor(3, seed=1)

    def product(x, y):
        return (x * y).sum()

    assert [leaf.path for leaf in check(product, (x, y), modes=("rev",), rng=0).leaves] == ["x"]
    assert [leaf.path for leaf in check(product, (x, y), wrt=1, modes=("rev",), rng=0).leaves] == ["y"]
    assert [leaf.path for leaf in check(product, (y, y), modes=("rev",), rng=0).leaves] == ["x", "y"]
    assert x.grad is None


@pytest.mark.parametrize("rule", [Sine, lambda x: Sine.apply(x)])
def test_a_right_rule_is_correct_in_both_modes(rule):
    report = check(rule, tensor(4, 5), modes=("rev", "fwd"), rng=0)

    assert modes(report) == {"rev": Verdict.CORRECT, "fwd": Verdict.CORRECT}


@pytest.mark.parametrize(("rule", "wrong", "right"), [(SineBackwardOff, "rev", "fwd"), (SineForwardOff, "fwd", "rev")])
def test_of_two_modes_that_disagree_the_wrong_one_is_named(rule, wrong, right):
    report = check(rule, tensor(4, 5), modes=("rev", "fwd"), rng=0)

    assert modes(report) == {wrong: Verdict.WRONG, right: Verdict.CORRECT}
    assert report.verdict is Verdict.WRONG
    (finding,) = [one for one in report.findings if one.severity is gradproof.Severity.ERROR]
    assert finding.kind.startswith("fwd: ") == (wrong == "fwd")
    assert finding.factor == pytest.approx(1.001 if wrong == "rev" else -1.0)


def test_one_wrong_entry_is_named():
    report = check(SineOneEntryZero, tensor(4, 5), modes=("rev",), rng=0)

    assert report.verdict is Verdict.WRONG
    assert [(one.id, one.path, one.entries) for one in report.findings] == [("GP101", "x[2, 1]", ((2, 1),))]


def test_second_order_is_checked_in_four_compositions():
    """A smooth function of several inputs is CORRECT in all of them."""

    def f(x, y):
        return (x @ y).tanh().sum() * x.exp().mean()

    report = check(f, (tensor(2, 3), tensor(3, 2)), order=2, rng=0)

    assert report.verdict is Verdict.CORRECT
    assert [one.mode for one in report.modes] == ["rev", "fwd", "vmap", "rev-rev", "fwd-rev", "rev-fwd", "fwd-fwd"]


def test_a_rule_that_forgets_a_dependence_is_wrong_to_second_order_only():
    report = check(CubeForgetsItsTangent, tensor(5), order=2, rng=0)

    assert modes(report)["rev"] is Verdict.CORRECT
    assert modes(report)["rev-rev"] is Verdict.WRONG
    notes = {one.mode: one.note for one in report.modes}
    assert notes["fwd"].startswith("not available: ")
    assert notes["fwd-fwd"].startswith("not checked: fwd is not available")


def at(t, *entries):
    return torch.stack([torch.stack(list(row)) for row in entries])


def companion(t):
    one = torch.ones_like(t)
    return at(t, (t + 2, one), (one, 2 * t + 3))


def features(t):
    return torch.stack([t, t**2, t.sin(), t.exp()])


WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=DOUBLE)
REFLECTORS = torch.tensor([[1.0, 0.3], [0.5, -0.2], [0.1, 1.0]], dtype=DOUBLE)
LIVE = {
    "det": lambda t: torch.det(companion(t)),
    "solve": lambda t: torch.linalg.solve(companion(t), torch.stack([t, torch.ones_like(t)])).sum(),
    "slogdet": lambda t: torch.linalg.slogdet(companion(t))[1],
    "layer_norm": lambda t: (torch.nn.functional.layer_norm(features(t), (4,)) * WEIGHTS).sum(),
    "batch_norm": lambda t: (
        torch.nn.functional.batch_norm(features(t)[:, None], None, None, training=True)[:, 0] * WEIGHTS
    ).sum(),
    "householder_product": lambda t: (
        torch.linalg.householder_product(REFLECTORS * t, torch.stack([t, t**2])) * WEIGHTS[:2]
    ).sum(),
    "cumprod": lambda t: (torch.cumprod(torch.stack([t, t - 0.7, t**2, t + 1]), 0) * WEIGHTS).sum(),
}


@pytest.mark.parametrize("name", LIVE)
def test_wrong_nested_forward_derivatives_of_torch_are_found(name):
    """Rules of torch 2.13 that lose a term of the second order (pytorch/pytorch#198017)."""
    report = check(LIVE[name], torch.tensor(0.7, dtype=DOUBLE), order=2, rng=0)

    assert report.verdict is Verdict.WRONG
    assert modes(report)["fwd-fwd"] is Verdict.WRONG
    assert modes(report)["rev"] is modes(report)["fwd"] is modes(report)["rev-rev"] is Verdict.CORRECT


def test_the_right_neighbour_of_those_rules_is_correct():
    def group_norm(t):
        return (torch.nn.functional.group_norm(features(t)[None], 1)[0] * WEIGHTS).sum()

    assert check(group_norm, torch.tensor(0.7, dtype=DOUBLE), order=2, rng=0).verdict is Verdict.CORRECT


def test_the_forward_rule_of_cholesky_inverse_is_wrong_to_first_order():
    """Right for diagonal factors, which is all that was sampled (pytorch/pytorch#196682)."""

    def inverse(t, corner):
        return torch.cholesky_inverse(torch.stack([torch.stack([t, 0 * t]), torch.stack([corner * t, 2 * t + 3])]))

    t = torch.tensor(0.7, dtype=DOUBLE)
    report = check(lambda t: inverse(t, 0.0), t, modes=("rev", "fwd"), rng=0)
    assert modes(report) == {"rev": Verdict.CORRECT, "fwd": Verdict.CORRECT}
    report = check(lambda t: inverse(t, 1.0), t, modes=("rev", "fwd"), rng=0)
    assert modes(report) == {"rev": Verdict.CORRECT, "fwd": Verdict.WRONG}


def test_dropout_is_replayed_and_every_random_state_put_back():
    """The same mask for all evaluations; the generators go on as if nothing had happened."""

    def dropped(x):
        return (torch.nn.functional.dropout(x, 0.5) * torch.as_tensor(np.random.rand(3))).sum() * random.random()  # noqa: NPY002

    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    report = check(dropped, tensor(4, 3), rng=0)

    assert report.verdict is Verdict.CORRECT
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_random_states_are_put_back_after_an_exception():
    def breaks(x):
        torch.rand(3)
        raise KeyError("broken on purpose")

    before = torch.get_rng_state()
    with pytest.raises(FunctionError, match="broken on purpose"):
        check(breaks, tensor(3), rng=0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_function_that_differentiates_within_is_checked():
    """Physics-informed losses call autograd themselves."""

    def energy(x):
        u = x.sin().sum()
        (slope,) = torch.autograd.grad(u, x, create_graph=True)
        return (slope**2).sum()

    report = check(energy, tensor(4), modes=("rev",), rng=0)

    assert report.verdict is Verdict.CORRECT


def test_a_hand_written_gradient_of_tensors_is_checked_as_one_of_arrays():
    def loss(params):
        return (params["w"].sin() * params["b"]).sum()

    def gradient(params):
        return {"w": params["w"].cos() * params["b"], "b": params["w"].sin().sum(0)}

    def swapped(params):
        return {"w": params["w"].cos() * params["b"], "b": params["w"].sin().mean(0)}  # wrong on purpose

    params = {"w": tensor(4, 3), "b": tensor(3)}
    assert check(loss, params, grad=gradient, rng=0).verdict is Verdict.CORRECT
    report = check(loss, params, grad=swapped, rng=0)
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].factor == pytest.approx(1 / 4)


JACOBIANS = {
    "dense": lambda x: torch.diag(x.cos().reshape(-1)).reshape(*x.shape, *x.shape),
    "two-dimensional": lambda x: torch.diag(x.cos().reshape(-1)),
    "sparse": lambda x: torch.diag(x.cos().reshape(-1)).to_sparse(),
}


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
@pytest.mark.parametrize("name", JACOBIANS)
def test_a_jacobian_of_tensors_is_checked_as_one_of_arrays(name, shape):
    """Tensors have `@` and a shape, as operators have, of which no more than products are known."""
    x, jacobian = tensor(*shape), JACOBIANS[name]
    for claim in (jacobian, jacobian(x)):
        report = check(torch.sin, x, jac=claim, rng=0)
        assert report.verdict is Verdict.CORRECT, str(report)
        assert report.cost.claims == (2 if callable(claim) else 0)
    assert check(np.sin, x.numpy(), jac=jacobian(x), rng=0).verdict is Verdict.CORRECT
    wrong = check(torch.sin, x, jac=lambda x: 1.1 * jacobian(x), rng=0)  # wrong on purpose
    assert [(one.id, round(one.factor, 6)) for one in wrong.findings] == [("GP101", 1.1)]


def test_a_hessian_of_tensors_is_checked_as_one_of_arrays():
    x = tensor(2, 3)

    def f(x):
        return x.sin().sum()

    right = torch.diag(-x.sin().reshape(-1)).reshape(2, 3, 2, 3)
    assert check(f, x, hess=right, rng=0).verdict is Verdict.CORRECT
    assert check(f, x, hess=1.1 * right, rng=0).verdict is Verdict.WRONG  # wrong on purpose


def test_user_tensors_are_left_alone():
    """Values, requires_grad and .grad are as before; what f returns keeps no graph of theirs."""
    x = tensor(3).requires_grad_()
    x.grad = torch.ones(3, dtype=DOUBLE)
    bits = x.detach().clone()

    check(lambda x: (x**2).sum(), x, order=2, rng=0)

    assert torch.equal(x, bits)
    assert torch.equal(x.grad, torch.ones(3, dtype=DOUBLE))
    assert x.requires_grad


def test_what_cannot_be_checked_is_said():
    with pytest.raises(UsageError, match="a claim is missing"):
        check(lambda x: x.sum(), torch.arange(3), rng=0)
    with pytest.raises(UsageError, match="`modes` must be a tuple"):
        check(lambda x: x.sum(), tensor(3), modes=("reverse",), rng=0)
    with pytest.raises(UsageError, match="`order` must be 1 or 2"):
        check(lambda x: x.sum(), tensor(3), order=3, rng=0)
    with pytest.raises(UsageError, match="pass no claim, or leave them out"):
        check(lambda x: x.sum(), tensor(3), grad=torch.ones_like, order=2, rng=0)
    with pytest.raises(UsageError, match="mode 'fwd' does not exist for this function: You must implement"):
        check(CubeForgetsItsTangent, tensor(3), modes=("fwd",), rng=0)
    with pytest.raises(FunctionError, match="must return a floating tensor"):
        check(lambda x: x.argmax(), tensor(3), rng=0)


def test_a_case_needs_no_claim():
    case = gradproof.Case(Sine, tensor(3), name="sine")

    assert case.check(rng=0).correct


class SparseProduct(torch.autograd.Function):
    """A sparse matrix times a vector, with a backward by hand."""

    factor = 1.0

    @staticmethod
    def forward(ctx, matrix, x):
        ctx.save_for_backward(matrix, x)
        return matrix @ x

    @staticmethod
    def backward(ctx, cotangent):
        matrix, x = ctx.saved_tensors
        dense = torch.outer(cotangent, x)
        return dense, matrix.t() @ cotangent


class SparseProductUntransposed(SparseProduct):
    @staticmethod
    def backward(ctx, cotangent):
        matrix, x = ctx.saved_tensors
        return torch.outer(cotangent, x), matrix @ cotangent  # wrong on purpose


def sparse(layout):
    dense = tensor(4, 4) * torch.as_tensor(np.random.default_rng(1).random((4, 4)) < 0.4)
    return dense.to_sparse() if layout is torch.sparse_coo else dense.to_sparse(layout=layout)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_sparse_tensors_are_differentiated_by_their_values(layout):
    """Both an operator of torch's and a rule by hand."""
    matrix = sparse(layout)

    report = check(lambda m, x: (m @ x).sin(), (matrix, tensor(4)), modes=("rev",), rng=0)
    assert report.verdict is Verdict.CORRECT
    assert report.leaves[0].path == "m.values()"
    assert report.leaves[0].shape == (matrix._nnz(),)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch warns once a process, whichever test is first
def test_a_rule_for_sparse_tensors_is_checked_on_both_sides():
    matrix = sparse(torch.sparse_coo)

    assert check(SparseProduct, (matrix, tensor(4)), modes=("rev",), rng=0).verdict is Verdict.CORRECT
    report = check(SparseProductUntransposed, (matrix, tensor(4)), modes=("rev",), rng=0)
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.CORRECT, Verdict.WRONG]


class SineLowOff(Sine):
    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * x.cos() * 1.002  # wrong on purpose


def test_float32_is_checked_against_a_float64_copy_of_the_forward():
    """A deep network in float32, whose own differences could tell nothing, is certified, and the report says how."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32), torch.nn.GELU()]
    net = torch.nn.Sequential(*layers, torch.nn.LayerNorm(32), torch.nn.Linear(32, 5))

    report = check(net, tensor(8, 20, dtype=torch.float32), modes=("rev",), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert report.modes[0].note == "against differences of a float64 copy of f"
    assert "against differences of a float64 copy of f" in str(report)
    assert net[0].weight.dtype is torch.float32


@pytest.mark.parametrize("factor", [2.0, -1.0, 1.1])
@pytest.mark.parametrize("reduced", [False, True], ids=["outputs", "sum"])
def test_a_mistake_in_float32_is_named_in_spite_of_the_claims_rounding(factor, reduced):
    class Off(Sine):
        @staticmethod
        def backward(ctx, cotangent):
            (x,) = ctx.saved_tensors
            return factor * cotangent * x.cos()  # wrong on purpose

    f = (lambda x: Off.apply(x).sum()) if reduced else Off.apply
    report = check(f, tensor(300, dtype=torch.float32), modes=("rev",), rng=0)
    errors = [one for one in report.findings if one.severity is Severity.ERROR]
    assert [(one.id, one.path) for one in errors] == [("GP120", "f") if reduced else ("GP101", "x")]
    assert errors[0].factor == pytest.approx(factor)


def test_a_small_error_in_float32_is_found_and_rounding_is_not():
    x = tensor(8, 20, dtype=torch.float32)

    assert check(Sine, x, modes=("rev",), rng=0).verdict is Verdict.CORRECT
    report = check(SineLowOff, x, modes=("rev",), rng=0)
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].path.startswith("x")


def layer(activation, mistake=None):
    """A dense layer with an activation, as torch differentiates it, or with a mistake in what the weights get."""

    def f(x, weights):
        if mistake is not None and weights.requires_grad:
            weights = weights + 0  # (what a hook may change without touching the leaf)
            weights.register_hook(mistake)
        return activation(x @ weights)

    return f


def flip_a_row(gradient):
    gradient = gradient.clone()
    gradient[2] *= -1  # wrong on purpose
    return gradient


SATURATING = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": torch.nn.functional.gelu,
    "softmax": lambda z: torch.softmax(z, -1),
    "log_softmax": lambda z: torch.log_softmax(z, -1),
    "of one": lambda z: torch.tanh(z[0, 0]),
    "of three": lambda z: torch.tanh(z[0, :3]),
}


@pytest.mark.parametrize("activation", SATURATING.values(), ids=SATURATING)
@pytest.mark.parametrize(
    ("gain", "seeds"),
    [pytest.param(4, 1, id="some"), pytest.param(3, 6, marks=SLOW), pytest.param(10, 6, marks=SLOW)],
)
def test_saturated_outputs_in_float32_are_not_held_to_their_rounding(activation, gain, seeds):
    """Where 1 - tanh(x)**2 has cancelled, digits that no float32 has are nobody's mistake, in any mode."""
    for seed in range(seeds):
        x = tensor(3, 6, dtype=torch.float32, seed=seed) * gain**0.5
        weights = tensor(6, 5, dtype=torch.float32, seed=seed + 10) * gain**0.5
        report = check(layer(activation), (x, weights), rng=seed)
        assert report.verdict is not Verdict.WRONG, str(report)
        assert all(finding.severity is not Severity.ERROR for finding in report.findings)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("mistake", [lambda gradient: 1.001 * gradient, flip_a_row], ids=["x 1.001", "a row"])
def test_a_mistake_beside_saturated_outputs_in_float32_is_found(name, mistake):
    x = tensor(3, 6, dtype=torch.float32) * 2
    weights = tensor(6, 5, dtype=torch.float32) * 2
    report = check(layer(SATURATING[name], mistake), (x, weights), modes=("rev",), rng=0)
    assert report.verdict is Verdict.WRONG, str(report)
    assert {leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG} == {"weights"}


ELEMENTWISE = {
    "erf": torch.erf,
    "erfc": torch.erfc,
    "gelu": torch.nn.functional.gelu,
    "hardsigmoid": torch.nn.functional.hardsigmoid,
    "hardtanh": torch.nn.functional.hardtanh,
    "ndtr": torch.special.ndtr,
    "relu6": torch.nn.functional.relu6,
    "tanh": lambda x: torch.tanh(10 * x),
}


def off_near_zero(f, factor):
    """An elementwise f whose rule is off by a factor where abs(x) < 0.5."""

    class Off(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return f(x)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, cotangent):
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with torch.enable_grad():
                y = f(x)
            (right,) = torch.autograd.grad(y, x, cotangent)
            return right * torch.where(x.detach().abs() < 0.5, factor, 1.0).to(x.dtype)

        jvp = backward

    return Off.apply


def mostly_saturated(seed, dtype=torch.float64):
    return (18 * torch.rand(40, generator=torch.Generator().manual_seed(seed)).double() - 9).to(dtype)


@pytest.mark.parametrize("mode", ["rev", "fwd"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_saturated_entries_do_not_hide_the_rest_of_their_leaf(name, mode):
    for seed in range(3):
        x = mostly_saturated(seed)
        report = check(ELEMENTWISE[name], x, modes=(mode,), rng=seed)
        assert report.verdict is Verdict.CORRECT, str(report)
        wrong = off_near_zero(ELEMENTWISE[name], 1.1)  # wrong on purpose
        report = check(wrong, x, modes=(mode,), rng=seed)
        assert report.verdict is Verdict.WRONG, str(report)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_claim_where_f_is_saturated_is_wrong(name):
    """It is measured as every other entry is, and not covered by them."""
    f, x = ELEMENTWISE[name], mostly_saturated(0)
    x[7] = -8.0
    right = torch.func.jacrev(f)(x)
    for row, column in ((7, 7), (7, 3)):
        wrong = right.clone()
        wrong[row, column] += 0.3  # wrong on purpose
        report = check(f, x, jac=wrong, rng=0)
        assert report.verdict is Verdict.WRONG, str(report)


@pytest.mark.parametrize("seed", range(4))
def test_what_the_rest_of_a_jacobian_does_not_vouch_for(seed):
    """Outputs of noise, or with a kink at the point, stay what they are beside those that are right."""
    x = mostly_saturated(seed)
    right = torch.func.jacrev(torch.nn.functional.gelu)(x)

    unit = torch.nn.functional.one_hot(torch.tensor(11), 40).double()
    # (Noise that leaves room for a slope of 1e-5 is no more than that beside slopes of 1.)
    for size, claim in ((1e-2, 0.0), (1e-2, 1e-12), (1e-6, 1e-12)):

        def f(x, size=size):
            return torch.nn.functional.gelu(x) * (1 - unit) + size * unit * torch.frac(1e9 * (x @ x))

        jac = torch.where(unit[:, None] > 0, claim * torch.ones(40), right)
        assert check(f, x, jac=jac, rng=seed).verdict is Verdict.INCONCLUSIVE
    x[11] = 0.0
    for claim in (0.0, 1e-9, 0.5):
        slopes = torch.where(x < 0, 0.0, x.sign()) + claim * unit
        report = check(lambda x: torch.clamp(x, min=0.0, max=6.0), x, jac=torch.diag(slopes * (x < 6)), rng=seed)
        assert report.verdict is Verdict.NOT_DIFFERENTIABLE, str(report)


def casts_down(x):
    """Computes in float32 whatever it is given, as many kernels do."""
    return (x.float() ** 2).sum()


def test_a_forward_that_does_not_run_in_float64_is_differenced_as_it_is():
    report = check(casts_down, tensor(5, dtype=torch.float32), modes=("rev",), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert report.modes[0].note == ""


class SineBatchedOff(Sine):
    """Right alone, wrong under vmap: a sum over all axes swallows that of the batch."""

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return ScaleByFirst.apply(cotangent, x.cos())


class ScaleByFirst(torch.autograd.Function):
    @staticmethod
    def forward(cotangent, slope):
        return cotangent * slope

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def vmap(info, in_dims, cotangent, slope):
        return cotangent * slope * info.batch_size, 0  # wrong on purpose

    @staticmethod
    def backward(ctx, cotangent):
        raise NotImplementedError


def test_a_backward_that_is_wrong_under_vmap_alone_is_found():
    report = check(SineBatchedOff, tensor(4, 5), modes=("rev", "vmap"), rng=0)

    assert modes(report) == {"rev": Verdict.CORRECT, "vmap": Verdict.WRONG}
    assert report.findings[0].kind.startswith("vmap: ")
    right = check(lambda x: x.sin(), tensor(4, 5), modes=("rev", "vmap"), rng=0)
    assert modes(right) == {"rev": Verdict.CORRECT, "vmap": Verdict.CORRECT}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_function_is_checked_when_asked_for():
    report = check(lambda x: (x.sin() * x).sum(), tensor(4, 5), modes=("rev", "compile"), rng=0)

    assert modes(report) == {"rev": Verdict.CORRECT, "compile": Verdict.CORRECT}


def test_modes_that_agree_with_a_proved_one_need_no_evaluations_of_f():
    """Forward mode and the outer forward modes rest on <u, J v> = <J^T u, v>."""

    def f(x, y):
        return (x @ y).tanh()

    args = tensor(2, 3), tensor(3, 2)
    alone = check(f, args, modes=("rev",), rng=0).cost.evaluations
    both = check(f, args, modes=("rev", "fwd", "vmap"), rng=0)

    assert both.verdict is Verdict.CORRECT
    assert both.cost.evaluations <= alone + 2  # one look at f's outputs for each
    assert all(leaf.bound < 1e-2 for leaf in both.leaves)


def weights_of_attention(x):
    return torch.softmax(x, dim=-1), x.sum(dim=-1)


def test_outputs_next_to_zero_do_not_make_the_backward_overflow():
    """A softmax that underflows is not WRONG for a cotangent of ours that is infinite."""
    point = torch.tensor([[0.0, -715.0, -400.0, 1.0], [-600.0, 0.5, 0.0, -719.0]], dtype=DOUBLE)

    for seed in range(5):
        report = check(weights_of_attention, point, modes=("rev",), rng=seed)
        assert report.verdict is Verdict.CORRECT, report


class SineAndMean(torch.autograd.Function):
    """sin, and a mean that is declared to have no derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        mean = x.mean()
        ctx.mark_non_differentiable(mean)
        return x.sin(), mean

    @staticmethod
    def backward(ctx, cotangent, _):
        (x,) = ctx.saved_tensors
        return cotangent * x.cos()


def test_outputs_without_a_derivative_are_left_out():
    """What a rule marks as not differentiable is no error, and the report says that it was left out."""
    report = check(SineAndMean, tensor(7), modes=("rev",), rng=1)

    assert report.correct, report
    assert "without output[1]" in report.modes[0].note


class RolledSine(Sine):
    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return (cotangent * x.cos()).roll(1)  # wrong on purpose


class SineWithAZero(Sine):
    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        gradient = cotangent * x.cos()
        gradient[1234] = 0.0  # wrong on purpose
        return gradient


def test_many_outputs_are_certified_and_located():
    """With thousands of outputs a right backward is CORRECT; a wrong one is named, with the output it goes through."""
    point = tensor(5000)

    right = check(Sine, point, modes=("rev",), rng=1)
    rolled = check(RolledSine, point, modes=("rev",), rng=1)
    zeroed = check(SineWithAZero, point, modes=("rev",), rng=1)

    assert right.correct, right
    assert right.cost.evaluations < 100
    assert rolled.findings[0].kind.startswith("rolled by 1"), rolled
    assert zeroed.findings[0].entries == ((1234,),), zeroed
    assert zeroed.findings[0].place == "through output[1234]", zeroed


class LegacyNoise:
    """f that draws from NumPy's global generator: the same numbers at every call."""

    def __call__(self, x):
        return x.sin() * torch.as_tensor(np.random.standard_normal(x.shape))  # noqa: NPY002


def test_numpy_draws_are_replayed_and_put_back():
    """A function that draws from NumPy's global generator is checked like any other, and leaves its state alone."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002

    report = check(LegacyNoise(), tensor(6), modes=("rev",), rng=1)

    assert report.correct, report
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def group_statistics(x):
    return torch.native_group_norm(x, None, None, 1, 6, 3, 2, 1e-5)


def several_outputs(x):
    return x.sin(), (x * x).sum(-1), x.mean()


def test_a_rule_that_needs_all_cotangents_is_wrong():
    """torch's group norm forgets the mean where no other output has a cotangent: a loss of the mean alone has none."""
    x = tensor(1, 6, 3)

    report = check(group_statistics, x, modes=("rev",), rng=0)

    assert report.verdict is Verdict.WRONG
    assert [one.id for one in report.findings] == ["GP205"]
    assert check(several_outputs, x, modes=("rev",), rng=0).verdict is Verdict.CORRECT


def test_a_backward_that_is_shifted_or_transposed_is_named():
    matrix = tensor(20, 20)

    class Shifted(Sine):
        @staticmethod
        def backward(ctx, cotangent):
            (x,) = ctx.saved_tensors
            return (cotangent * x.cos()).roll(1)  # wrong on purpose

    class Transposed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return matrix @ x

        @staticmethod
        def backward(ctx, cotangent):
            return matrix @ cotangent  # wrong on purpose

    kinds = [check(rule.apply, tensor(20), modes=("rev",), rng=0).findings[0].kind for rule in (Shifted, Transposed)]
    assert kinds == ["columns shifted by one", "transposed"]


def test_all_rows_are_taken_from_one_graph():
    """Twenty outputs, and few calls of backward: unit cotangents are asked for at once."""
    calls = []

    class Counted(Sine):
        @staticmethod
        def backward(ctx, grad):
            calls.append(grad.shape)
            return Sine.backward(ctx, grad)

    x = torch.linspace(0.1, 1, 20, dtype=DOUBLE, requires_grad=True)
    report = check(Counted.apply, (x,), modes=("rev",), contracts="none", rng=0)

    assert report.verdict is Verdict.CORRECT
    assert len(calls) <= 4
    assert report.cost.evaluations <= 20


# ------------------------------------------------------------------------------ which part of a function is wrong

WEIGHT = tensor(3, 4)


class WrongSwish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        ctx.save_for_backward(t)
        return t * torch.sigmoid(t)

    @staticmethod
    def backward(ctx, cotangent):
        (t,) = ctx.saved_tensors
        return cotangent * torch.sigmoid(t)  # wrong on purpose


@torch.library.custom_op("gradproof_tests::wrong_sine", mutates_args=())
def wrong_sine(angle: torch.Tensor, times: float = 1.0) -> torch.Tensor:
    return torch.sin(angle)


@torch.library.custom_op("gradproof_tests::wrong_sum", mutates_args=())
def wrong_sum(terms: list[torch.Tensor]) -> torch.Tensor:
    return terms[0].sin() + terms[1]


wrong_sine.register_autograd(
    lambda ctx, u: (1.5 * u * ctx.saved_tensors[0].cos(), None),  # wrong on purpose
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)
wrong_sine.register_fake(lambda angle, times=1.0: torch.empty_like(angle))
wrong_sum.register_autograd(
    lambda ctx, u: [u * ctx.saved_tensors[0].cos(), 2 * u],  # wrong on purpose
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[0]),
)


class Holder:
    def __init__(self):
        self.layer = torch.nn.Linear(3, 4).double()

    def loss(self, x):
        return WrongSwish.apply(self.layer(x)).sum()


def scaled(scale, x):
    return (WrongSwish.apply(x @ WEIGHT) * scale).sum()


def inside(x):
    def inner(y):
        return WrongSwish.apply(y)

    return inner(inner(x)).sum()


def in_a_checkpoint(x):
    return torch.utils.checkpoint.checkpoint(WrongSwish.apply, x @ WEIGHT, use_reentrant=False).sum()


def told(report):
    """Ids with what they say, as far as it names parts."""
    return [(one.id, one.kind.partition("): ")[0] + ")" if one.id == "GP120" else one.kind) for one in report.findings]


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x: WrongSwish.apply(x @ WEIGHT).sum(), "f"),
        (lambda x: WrongSwish.apply(x @ WEIGHT), "f"),
        # (The sum of all outputs is 1 whatever x is: the cotangents of the outputs must be random.)
        (lambda x: torch.softmax(WrongSwish.apply(x @ WEIGHT), -1), "f"),
        (lambda x: {"a": [WrongSwish.apply(2 * x)], "b": x.sin()}, "f"),
        (ft.partial(scaled, 2.0), "scaled"),
        (Holder().loss, "Holder.loss"),
        (inside, "inside"),
        (in_a_checkpoint, "in_a_checkpoint"),
    ],
    ids=["closure", "outputs", "flat sum", "tree", "partial", "method", "nested, twice", "checkpoint"],
)
def test_a_wrong_function_inside_any_function_is_named(f, name):
    """GP120 once, and what follows from it in one line; the function itself need not be a module or a Function."""
    report = check(f, tensor(2, 3), modes=("rev",), rng=0)

    assert report.verdict is Verdict.WRONG
    assert told(report) == [("GP120", f"in `{name}` (WrongSwish)"), ("GP122", "x is wrong because of `WrongSwish`")]
    assert report.findings[0].advice.startswith("Look at the backward of `WrongSwish`: ")
    assert report.findings[0].kind.endswith(" for `t`")
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.WRONG]
    assert "forward" in WrongSwish.__dict__
    assert WrongSwish.forward.__qualname__ == "WrongSwish.forward"


@pytest.mark.parametrize(
    ("f", "name", "place"),
    [
        (lambda x: wrong_sine(2 * x).sum(), "wrong_sine", "`angle`"),
        (lambda x: wrong_sum([x, x * 2]).sum(), "wrong_sum", "`terms[1]`"),
    ],
    ids=["tensor", "list of tensors"],
)
def test_a_wrong_custom_operator_inside_a_function_is_named(f, name, place):
    report = check(f, tensor(2, 3), modes=("rev",), rng=0)

    operator = f"gradproof_tests::{name}"
    assert told(report) == [("GP120", f"in `f` ({operator})"), ("GP122", f"x is wrong because of `{operator}`")]
    assert report.findings[0].kind.endswith(f" for {place}")


def test_a_function_that_is_nothing_but_a_rule_keeps_its_places():
    """Nothing is measured twice; the advice names the Function where f does not bear its name."""
    x = tensor(4, 5)
    itself, wrapped = (
        check(f, x, modes=("rev",), rng=0) for f in (SineOneEntryZero, lambda x: SineOneEntryZero.apply(x))
    )

    assert [(one.id, one.path) for one in wrapped.findings] == [("GP101", "x[2, 1]")]
    assert wrapped.findings[0].advice.endswith(" This is the backward of `SineOneEntryZero`.")
    assert "SineOneEntryZero" not in itself.findings[0].advice
    assert wrapped.cost.evaluations == itself.cost.evaluations


def test_a_right_function_is_not_named_for_what_is_detached_elsewhere():
    report = check(lambda x: Sine.apply(x).sum() + (x * x.detach()).sum(), tensor(2, 3), modes=("rev",), rng=0)

    assert report.verdict is Verdict.WRONG
    assert {one.id for one in report.findings} == {"GP101"}
    assert "Sine" not in str(report)


def test_a_wrong_function_without_a_rule_costs_nothing_to_search():
    """The graph that reverse mode has recorded holds no Function: f is not called once more."""
    calls = []

    def f(x):
        calls.append(None)
        return (x * x.detach()).sum()  # wrong on purpose

    def g(x):
        calls.append(None)
        return (x * Sine.apply(x.detach())).sum()  # wrong on purpose, and the Function is not in the graph

    for wrong in (f, g):
        calls.clear()
        report = check(wrong, tensor(2, 3), modes=("rev",), rng=0)
        assert report.verdict is Verdict.WRONG
        # (One more for each call of the claim, and those at the beginning.)
        assert len(calls) <= report.cost.calls + report.cost.claims + 2


def test_two_wrong_functions_are_two_causes_with_their_own_consequences():
    x, y, z = tensor(2, 3), tensor(2, 3, seed=1), tensor(2, 3, seed=2)
    report = check(
        lambda x, y, z: (WrongSwish.apply(x) * y.sin() + wrong_sine(y + z)).sum(), (x, y, z), modes=("rev",), rng=0
    )

    assert told(report) == [
        ("GP120", "in `f` (WrongSwish)"),
        ("GP120", "in `f` (gradproof_tests::wrong_sine)"),
        ("GP122", "x is wrong because of `WrongSwish`"),
        ("GP122", "y and z are wrong because of `gradproof_tests::wrong_sine`"),
    ]


def test_what_does_not_follow_from_a_wrong_function_is_still_an_error():
    """An array whose gradient does not pass through it has a finding of its own."""
    report = check(
        lambda x, y: WrongSwish.apply(2 * x).sum() + (y * y.detach()).sum(),  # wrong on purpose, twice
        (tensor(2, 3), tensor(4)),
        modes=("rev",),
        rng=0,
    )

    assert [one.id for one in report.findings] == ["GP120", "GP101", "GP122"]
    assert (report.findings[1].path, report.findings[1].factor) == ("y", pytest.approx(0.5))
    assert report.findings[2].kind == "x is wrong because of `WrongSwish`"


@pytest.mark.parametrize("factor", [1.002, 1.1])
def test_a_wrong_function_in_float32_is_measured_beside_its_copy(factor):
    """Differences of float32 itself would not see it."""

    class Off(Sine):
        @staticmethod
        def backward(ctx, cotangent):
            return factor * cotangent * ctx.saved_tensors[0].cos()  # wrong on purpose

    x = tensor(6, dtype=torch.float32)
    report = check(lambda x: (Off.apply(2 * x) ** 2).sum(), x, modes=("rev",), rng=0)

    assert report.findings[0].id == "GP120"
    assert report.findings[0].factor == pytest.approx(factor)
    assert check(lambda x: (Sine.apply(2 * x) ** 2).sum(), x, modes=("rev",), rng=0).correct


class FastSine(torch.autograd.Function):
    """Right, but float32 rounds its phase by 3e-4."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (5000 * x).sin()

    @staticmethod
    def backward(ctx, cotangent):
        return 5000 * cotangent * (5000 * ctx.saved_tensors[0]).cos()


def test_a_right_function_that_is_conditioned_worse_than_the_whole_is_not_named():
    """What it rounds away hardly counts in f, whose mistake is another one."""
    x = tensor(6, dtype=torch.float32)
    report = check(lambda x: 1e-6 * FastSine.apply(x).sum() + (x * x.detach()).sum(), x, modes=("rev",), rng=0)

    assert report.verdict is Verdict.WRONG
    assert {one.id for one in report.findings} == {"GP101"}


class SineWithModes(torch.autograd.Function):
    """A wrong `jvp` beside a right `backward`."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * ctx.saved_tensors[0].cos()

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * tangent * ctx.saved_tensors[0].cos()  # wrong on purpose


class SineWithBoth(SineWithModes):
    @staticmethod
    def backward(ctx, cotangent):
        return 3 * cotangent * ctx.saved_tensors[0].cos()  # wrong on purpose


@pytest.mark.parametrize("asked", [None, ("fwd",)])
def test_a_wrong_jvp_inside_a_function_is_named(asked):
    report = check(lambda x: SineWithModes.apply(2 * x).sum(), tensor(2, 3), modes=asked, rng=0)

    assert modes(report)["fwd"] is Verdict.WRONG
    assert told(report) == [("GP120", "in `f` (SineWithModes)"), ("GP122", "x is wrong because of `SineWithModes`")]
    assert report.findings[0].advice.startswith("Look at the jvp of `SineWithModes`: ")


def test_a_wrong_backward_and_a_wrong_jvp_are_two_findings():
    report = check(lambda x: SineWithBoth.apply(2 * x).sum(), tensor(2, 3), modes=("rev", "fwd"), rng=0)

    written = [one.advice.partition(":")[0] for one in report.findings if one.id == "GP120"]
    assert written == ["Look at the backward of `SineWithBoth`", "Look at the jvp of `SineWithBoth`"]
    assert [one.factor for one in report.findings[:2]] == [pytest.approx(3), pytest.approx(2)]
    assert "GP101" not in [one.id for one in report.findings]


@pytest.mark.parametrize("asked", [("vmap",), ("rev", "vmap"), pytest.param(("compile",), marks=COMPILED)])
def test_a_wrong_function_is_named_whatever_reverse_mode_is_asked_for(asked):
    report = check(lambda x: wrong_sine(2 * x).sum(), tensor(2, 3), modes=asked, rng=0)

    assert set(modes(report).values()) == {Verdict.WRONG}
    assert [one.id for one in report.findings] == ["GP120", "GP122"]


def test_a_module_inside_a_function_is_named_with_its_rule():
    class Act(torch.nn.Module):
        def forward(self, x):
            return WrongSwish.apply(x)

    net = torch.nn.Sequential(torch.nn.Linear(3, 4), Act(), torch.nn.Linear(4, 1)).double()
    report = check(lambda x: net(x).sum(), tensor(2, 3), modes=("rev",), rng=0)

    assert told(report) == [("GP120", "in `net[1]` (WrongSwish)"), ("GP122", "x is wrong because of `net[1]`")]


def test_a_function_is_named_with_its_class_and_its_arguments():
    """In the title, in paths and in the line that shows it again."""
    report = check(WrongSwish.apply, tensor(2, 3), modes=("rev",), rng=0)
    assert (report.name, report.leaves[0].path) == ("WrongSwish.apply", "t")
    assert str(report).startswith("WRONG  WrongSwish.apply  autograd returns a wrong derivative (1 error)")
    (line,) = {one.reproducer for one in report.findings}
    assert line == "gradproof.check(WrongSwish.apply, args, modes=('rev',), rng=0)"
    again = eval(line, {"gradproof": gradproof, "WrongSwish": WrongSwish, "args": tensor(2, 3)})
    assert again.findings == report.findings


def test_a_claim_of_few_digits_is_not_noise():
    """Beside a float64 copy of f the bar is wide because the claim is in bfloat16, not because f is noisy."""
    torch.manual_seed(1)
    x = torch.randn(4, 6, dtype=torch.bfloat16)
    report = check(lambda x: torch.nn.functional.layer_norm(x, (6,)).pow(3).sum(), x, modes=("rev",), rng=1)
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.PRECISION)
    assert "noisy" not in str(report)
