"""What f does to tensors of the caller's is found and undone; hooks of the user's are part of the claim."""

from __future__ import annotations

import random
import threading
import warnings

import numpy as np
import pytest

import gradproof
from gradproof import ClaimError, FunctionError, Verdict
from helpers import ids

torch = pytest.importorskip("torch")
import gradproof.torch  # noqa: E402
from gradproof._backends import _torch_room, _torch_tensors  # noqa: E402
from gradproof.compat.torch import gradcheck, gradgradcheck  # noqa: E402

nn = torch.nn
DOUBLE = torch.float64


def tensor(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


BATCH = tensor(4, 3)


def linear(*, seed=0):
    model = nn.Linear(3, 2).double()
    with torch.no_grad():
        model.weight.copy_(tensor(2, 3, seed=seed))
        model.bias.copy_(tensor(2, seed=seed + 1))
    return model


def square(model, batch):
    return model(batch).square().mean()


def held(*tensors):
    """Bits, memory, versions, gradients and hooks."""
    return [
        (
            one.detach().numpy().tobytes(),
            one.data_ptr(),
            one._version,
            one.requires_grad,
            None if not one.is_leaf or one.grad is None else (id(one.grad), one.grad.numpy().tobytes()),
            None if one._backward_hooks is None else list(one._backward_hooks.values()),
        )
        for one in tensors
    ]


# ------------------------------------------------------------------------------------------- arguments and parameters


def shifted_in_place(x):
    with torch.no_grad():
        x.sub_(x.max())
    return torch.softmax(x, 0)[0]


def shifted(x):
    return torch.softmax(x - x.max(), 0)[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("modes", [None, ("rev",), ("fwd",)])
def test_an_f_that_writes_into_its_argument_is_found(modes, dtype):
    x = torch.tensor([0.3, 0.9, 0.1], dtype=dtype)
    before = held(x)
    report = gradproof.check(shifted_in_place, x, modes=modes, rng=0)
    assert (report.verdict, held(x)) == (Verdict.WRONG, before)
    assert "GP210" in ids(report)
    assert "GP210" not in ids(gradproof.check(shifted, x, modes=modes, rng=0))


def test_an_f_that_writes_into_its_argument_while_it_is_recorded_is_found():
    """A leaf of the graph cannot be written into, what a model computes on the way can: f gets the latter then."""
    x = tensor(5)
    before = held(x)
    report = gradproof.check(lambda x: torch.relu_(x).sum(), x, modes=("rev",), rng=0)
    assert (report.verdict, held(x)) == (Verdict.WRONG, before)
    assert ids(report) == ["GP210"]
    assert gradproof.check(lambda x: torch.relu_(x.clone()).sum(), x, modes=("rev",), rng=0).verdict is Verdict.CORRECT


def test_an_f_that_writes_into_another_argument_is_found():
    x, y = tensor(3), tensor(3, seed=1)
    before = held(x, y)
    report = gradproof.check(lambda x, y: (x * y.mul_(2)).sum(), (x, y), wrt=0, modes=("rev",), rng=0)
    assert (report.verdict, held(x, y)) == (Verdict.WRONG, before)
    assert [(one.id, one.path) for one in report.findings if one.id == "GP210"] == [("GP210", "y")]


def writes_into_a_weight(model, batch):
    with torch.no_grad():
        model.weight.add_(0.01)
    return square(model, batch)


def test_a_loss_that_writes_into_a_weight_is_found():
    model = linear()
    before = held(*model.parameters())
    report = gradproof.torch.check_module(model, writes_into_a_weight, BATCH, rng=0)
    assert (report.verdict, held(*model.parameters())) == (Verdict.WRONG, before)
    assert "GP210" in ids(report)


def trained(model, *, way):
    """A loss that takes a step with the model's own parameters, which it holds, before each evaluation."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.weight.grad, model.bias.grad = torch.ones_like(model.weight), torch.ones_like(model.bias)
    weight, bias = model.weight, model.bias

    def loss(model, batch):
        if way == "step":
            optimizer.step()
        elif way == "data":
            weight.data.add_(0.1)
        elif way == "numpy":
            weight.detach().numpy()[:] += 0.1
        elif way == "other memory":
            weight.data = torch.zeros_like(weight)
        elif way == "zero_grad":
            optimizer.zero_grad()
        elif way == "read":
            assert weight.detach().numpy() is not None
        value = square(model, batch)
        return value + 0 * bias.detach().sum()

    return loss


WAYS = {
    "step": "weight bias",
    "data": "weight",
    "numpy": "weight",
    "other memory": "weight",
    "zero_grad": "",
    "read": "",
}


def make_large(monkeypatch, *, has_room):
    """Take every model for a large one."""
    monkeypatch.setattr(_torch_tensors, "LARGE", 0)
    monkeypatch.setattr(_torch_room, "free_memory", lambda device: 1e9 if has_room else 0.0)


# (Nobody sees what NumPy writes into memory of torch before it has.)
@pytest.mark.parametrize(
    ("way", "size"),
    [(way, size) for way in WAYS for size in ("small", "large", "no room") if (way, size) != ("numpy", "no room")],
)
def test_a_loss_that_trains_is_found_and_undone(way, size, monkeypatch):
    """In a large model for which there is no room tensors are copied right before they are written into."""
    if size != "small":
        make_large(monkeypatch, has_room=size == "large")
    model = linear()
    loss = trained(model, way=way)
    before = held(*model.parameters())

    report = gradproof.torch.check_module(model, loss, BATCH, rng=0)

    assert held(*model.parameters()) == before
    assert sorted(one.path for one in report.findings if one.id == "GP210") == sorted(
        f"model.{name}" for name in WAYS[way].split()
    )
    assert report.verdict is (Verdict.WRONG if WAYS[way] else Verdict.CORRECT)


def later(model, *, way, first=3):
    """A loss that writes into a weight from a later call on."""
    calls, weight = [0], model.weight

    def loss(model, batch):
        calls[0] += 1
        if calls[0] >= first and way == "add":
            with torch.no_grad():
                weight.add_(0.1)
        elif calls[0] >= first and way == "data":
            weight.data.add_(0.1)
        elif calls[0] >= first and way == "numpy":
            weight.detach().numpy()[:] += 0.1
        return square(model, batch)

    return loss


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("way", ["add", "data", "numpy", "nothing"])
def test_what_a_later_call_writes_is_put_back(way, is_large, monkeypatch):
    """Bit for bit, its version too, and told: large models are copied as long as there is room."""
    if is_large:
        make_large(monkeypatch, has_room=True)
    model = linear()
    loss = later(model, way=way)
    before = held(*model.parameters())
    report = gradproof.torch.check_module(model, loss, BATCH, rng=0)
    assert held(*model.parameters()) == before
    found = [one for one in report.findings if one.id == "GP210"]
    assert [one.path for one in found] == (["model.weight"] if way != "nothing" else [])
    assert all("`gradproof` has put it back" in one.advice for one in found)
    assert report.verdict is (Verdict.CORRECT if way == "nothing" else Verdict.WRONG)


def test_a_later_write_is_an_error_at_once_where_there_is_no_room(monkeypatch):
    make_large(monkeypatch, has_room=False)
    model = linear()
    for first in (2, 4, 6):
        with pytest.raises(
            (FunctionError, ClaimError), match=r"written into `model\.weight`, but not in its first call"
        ):
            gradproof.torch.check_module(model, later(model, way="add", first=first), BATCH, rng=0)
    assert gradproof.torch.check_module(model, later(model, way="nothing"), BATCH, rng=0).correct


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("way", ["data", "numpy", "nothing"])
def test_what_cannot_be_put_back_is_said(way, first, monkeypatch):
    """Where there is no room the sum of the bits tells what torch does not count, but for what it sees in time."""
    make_large(monkeypatch, has_room=False)
    model = linear()
    before = held(*model.parameters())
    report = gradproof.torch.check_module(model, later(model, way=way, first=first), BATCH, rng=0)
    is_seen = (way, first) == ("data", 1)
    is_written = way != "nothing"
    assert (held(*model.parameters()) == before) is (is_seen or not is_written)
    found = [one for one in report.findings if one.id == "GP210"]
    assert [one.path for one in found] == (["model.weight"] if is_written else [])
    assert all(("It is not what it was" in one.advice) is not is_seen for one in found)
    assert report.verdict is (Verdict.WRONG if is_written else Verdict.CORRECT)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_frozen_parameter_that_f_writes_into_is_found(is_written):
    model = linear()
    model.bias.requires_grad_(False)
    before = held(*model.parameters())

    def loss(model, batch):
        if is_written:
            model.bias.mul_(1.5)
        return square(model, batch)

    report = gradproof.torch.check_module(model, loss, BATCH, rng=0)

    assert held(*model.parameters()) == before
    assert ("GP210" in ids(report)) is is_written
    assert report.verdict is (Verdict.WRONG if is_written else Verdict.CORRECT)


@pytest.mark.parametrize("is_recorded", [False, True])
def test_tensors_that_f_closes_over_are_put_back(is_recorded):
    """Their gradients, hooks and memory, too; f finds the same at every call."""
    weight = tensor(3, seed=1).requires_grad_()
    total = torch.zeros(3, dtype=DOUBLE)
    before = held(weight, total)
    found = set()

    def f(x):
        found.add((float(total.sum().detach()), weight.grad is None))
        total.add_(x if is_recorded else x.detach())
        weight.register_hook(lambda gradient: gradient)
        with torch.enable_grad():
            (weight * weight).sum().backward()
        return (x * weight.detach() + total.detach() * 0 + x.sin()).sum()

    report = gradproof.check(f, tensor(3), wrt=0, modes=("rev",), rng=0)

    assert held(weight, total) == before
    assert total.is_leaf
    assert {one for one, _ in found} == {0.0}
    assert report.verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    "generator",
    [torch.Generator().manual_seed(3), random.Random(3), np.random.default_rng(3), np.random.RandomState(3)],
    ids=["torch", "python", "numpy", "legacy"],
)
def test_generators_that_f_holds_are_rewound(generator):
    """The same numbers at every evaluation, so that dropout by a generator of one's own can be checked."""

    def draw():
        if isinstance(generator, torch.Generator):
            return float(torch.rand((), generator=generator))
        return generator.random() if not hasattr(generator, "rand") else generator.rand()

    def state():
        if isinstance(generator, torch.Generator):
            return generator.get_state().numpy().tobytes()
        return repr(generator.bit_generator.state if hasattr(generator, "bit_generator") else generator.__getstate__())

    def f(x):
        return (x.sin() * (1 + draw())).sum()

    before = state()
    assert gradproof.check(f, tensor(3), modes=("rev",), rng=0).verdict is Verdict.CORRECT
    assert state() == before


# --------------------------------------------------------------------------------------- as training evaluates f


def with_register_hook(x):
    x.register_hook(lambda gradient: gradient)
    return x.sin()


def with_retain_grad(x):
    y = x.sin()
    y.retain_grad()
    return y


def with_assertion(x):
    assert x.requires_grad
    return x.sin()


def with_gradient_within(x):
    (slope,) = torch.autograd.grad(x.sin().sum(), x, create_graph=True)
    return slope


ASKING = [with_register_hook, with_retain_grad, with_assertion, with_gradient_within]


@pytest.mark.parametrize("f", ASKING)
def test_an_f_that_asks_for_a_graph_gets_one(f):
    x = tensor(3).requires_grad_()
    report = gradproof.check(f, x, rng=0)
    assert report.verdict is Verdict.CORRECT
    assert {one.mode: one.verdict for one in report.modes}["fwd"] in (Verdict.CORRECT, None)
    assert gradcheck(f, x)
    assert x.grad is None
    assert x._backward_hooks is None


def test_an_f_that_does_not_ask_is_evaluated_without():
    """That is cheaper, and can be batched."""
    found = []

    def f(x):
        found.append(x.requires_grad and torch.is_grad_enabled())
        return x.sin().sum()

    gradproof.check(f, tensor(3).requires_grad_(), modes=("rev",), rng=0)
    assert sum(found) < 4 < len(found)


def test_what_f_raises_with_a_graph_as_without_is_told_once():
    def f(x):
        raise KeyError("on purpose")

    with pytest.raises(FunctionError, match="on purpose") as caught:
        gradproof.check(f, tensor(3), rng=0)
    assert isinstance(caught.value.__cause__, KeyError)


# ------------------------------------------------------------------------------------------------------------- hooks


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_hook_on_a_parameter_is_part_of_the_claim(factor, dtype):
    model = linear().to(dtype)
    model.weight.register_hook(lambda gradient: factor * gradient)
    before = held(*model.parameters())
    report = gradproof.torch.check_module(model, square, BATCH.to(dtype), rng=0)
    assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)
    assert "GP409" in ids(report)
    assert held(*model.parameters()) == before
    if factor == 2:
        wrong = next(one for one in report.findings if one.id == "GP101")
        assert (wrong.path, round(wrong.factor, 3)) == ("model.weight", 2.0)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("modes", [("rev",), ("rev", "vmap")])
def test_a_hook_on_an_argument_is_part_of_the_claim(modes, factor):
    """Of a leaf, and of what was computed from one."""
    for x in (tensor(3).requires_grad_(), tensor(3).requires_grad_() * 2):
        x.register_hook(lambda gradient: factor * gradient)
        report = gradproof.check(torch.sin, x, modes=modes, rng=0)
        assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_full_backward_hook_is_part_of_the_claim(factor):
    model = nn.Sequential(linear(), nn.Tanh())
    model[1].register_full_backward_hook(lambda module, inputs, outputs: (factor * inputs[0],))
    report = gradproof.torch.check_module(model, square, BATCH, rng=0)
    assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)


def test_a_hook_that_runs_an_optimizer_is_not_called():
    model = linear()
    called = []
    model.weight.register_post_accumulate_grad_hook(called.append)
    before = held(*model.parameters())
    assert gradproof.torch.check_module(model, square, BATCH, rng=0).verdict is Verdict.CORRECT
    assert called == []
    assert held(*model.parameters()) == before


def test_a_tensor_without_hooks_has_no_note():
    assert "GP409" not in ids(gradproof.torch.check_module(linear(), square, BATCH, rng=0))


# ----------------------------------------------------------------------------------------- values while differentiated


class Shifted(torch.autograd.Function):
    """A sine, and something that has no derivative."""

    shift = 0.25

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin() + Shifted.shift

    @staticmethod
    def backward(ctx, u):
        return u * ctx.saved_tensors[0].cos()


def sine(x):
    return Shifted.apply(x) if torch.is_grad_enabled() and x.requires_grad else x.sin()


@pytest.mark.parametrize("as_loss", [False, True])
@pytest.mark.parametrize("shift", [0.25, 1e-6, 1e-14, 0.0])
def test_another_value_while_it_is_differentiated_is_found(shift, as_loss, monkeypatch):
    """Rounding is none."""
    monkeypatch.setattr(Shifted, "shift", shift)
    f = (lambda x: sine(x).sum()) if as_loss else sine
    report = gradproof.check(f, torch.linspace(0, 1, 4).double(), modes=("rev",), rng=0)
    assert report.verdict is (Verdict.WRONG if shift > 1e-13 else Verdict.CORRECT)
    assert ids(report) == (["GP230"] if shift > 1e-13 else [])


def test_another_value_of_a_module_is_found():
    """One that is another one in evaluation: layers that take another path without a graph."""

    def loss(model, batch):
        return square(model, batch) * (1.1 if torch.is_grad_enabled() else 1.0)

    assert "GP230" in ids(gradproof.torch.check_module(linear(), loss, BATCH, rng=0))
    assert ids(gradproof.torch.check_module(linear(), square, BATCH, rng=0)) == []


def test_another_value_in_forward_mode_is_found():
    def f(x):
        return x.sin() + (0.5 if torch.autograd.forward_ad._current_level >= 0 else 0.0)

    report = gradproof.check(f, tensor(3), modes=("fwd",), rng=0)
    assert ids(report) == ["GP230"]
    assert "forward mode" in report.findings[0].kind
    assert ids(gradproof.check(torch.sin, tensor(3), modes=("fwd",), rng=0)) == []


def test_one_of_several_outputs_is_named():
    report = gradproof.check(lambda x: (x.cos(), sine(x)), torch.linspace(0, 1, 4).double(), modes=("rev",), rng=0)
    assert [(one.id, one.path) for one in report.findings] == [("GP230", "output[1]")]


def test_a_random_f_is_not_accused_of_another_value():
    """What differs from one evaluation to the next tells nothing of differentiation."""
    noise = iter(np.random.default_rng(0).normal(size=10_000))
    report = gradproof.check(lambda x: x.sin().sum() + 0.1 * next(noise), tensor(3), modes=("rev",), rng=0)
    assert "GP230" not in ids(report)


def test_float32_inside_is_not_accused_of_another_value():
    """With a graph it may sum in another order."""

    def f(x):
        y = x.float()
        return (y[::2].sum() + y[1::2].sum() if torch.is_grad_enabled() else y.cumsum(0)[-1]).double().sin()

    x = tensor(1000)
    assert float(f(x)) != float(torch.no_grad()(f)(x))  # or this tests nothing
    assert "GP230" not in ids(gradproof.check(f, x, modes=("rev",), rng=0))


def test_the_comparison_costs_nothing_where_the_values_agree():
    calls = []

    def f(x):
        calls.append(torch.is_grad_enabled())
        return x.sin().sum()

    report = gradproof.check(f, tensor(3), modes=("rev",), rng=0)
    # One call at the beginning, to see what f returns.
    assert calls.count(False) == report.cost.calls + 1
    assert calls.count(True) <= report.cost.claims


# ---------------------------------------------------------------------------------- inference mode, threads


@pytest.mark.parametrize("is_wrong", [False, True])
def test_a_check_within_inference_mode_leaves_it(is_wrong):
    factor = 2 if is_wrong else 1

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, u):
            return factor * u * ctx.saved_tensors[0].cos()

    right = Verdict.WRONG if is_wrong else Verdict.CORRECT
    with torch.inference_mode():
        x = tensor(3) + 1
        assert x.is_inference()
        assert gradproof.check(Sine, x, modes=("rev",), rng=0).verdict is right
        assert gradproof.check(Sine.apply, x.float(), rng=0).verdict is right
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_a_model_in_train_mode_can_be_checked_within_inference_mode():
    model = nn.Sequential(linear(), nn.BatchNorm1d(2).double(), nn.Dropout(0.2))
    before = held(*model.parameters(), *model.buffers())
    with torch.inference_mode():
        batch = BATCH + 1
        assert gradproof.torch.check_module(model, square, batch, rng=0).verdict is Verdict.CORRECT
        assert torch.is_inference_mode_enabled()
    assert held(*model.parameters(), *model.buffers()) == before


def test_an_error_within_inference_mode_leaves_it_on():
    def f(x):
        raise KeyError("on purpose")

    with torch.inference_mode():
        with pytest.raises(FunctionError):
            gradproof.check(f, tensor(3), rng=0)
        assert torch.is_inference_mode_enabled()


def in_threads(*works):
    """Run functions at once, and return what they return."""
    found = [None] * len(works)

    def run(i):
        found[i] = works[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def states():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), torch.get_rng_state().numpy().tobytes(), kind, keys.tobytes(), rest


def test_checks_of_one_module_in_threads_wait_for_each_other():
    """Each lends it other parameters; the random generators are those of all threads."""
    model = nn.Sequential(linear(), nn.BatchNorm1d(2).double(), nn.Dropout(0.2))
    before, drawn = held(*model.parameters(), *model.buffers()), states()
    running, most = [], []

    def loss(model, batch):
        running.append(threading.get_ident())
        most.append(len(set(running)))
        value = square(model, batch) * (1 + random.random() + np.random.rand())  # noqa: NPY002
        running.remove(threading.get_ident())
        return value

    def work():
        return [gradproof.torch.check_module(model, loss, BATCH, rng=seed).to_json(run=False) for seed in range(2)]

    alone = work()
    assert in_threads(work, work, work) == [alone] * 3
    assert held(*model.parameters(), *model.buffers()) == before
    assert states() == drawn
    assert max(most) == 1


def test_forward_mode_in_threads_can_be_checked():
    """Its level is that of the whole process."""
    works = [lambda: gradproof.check(torch.sin, tensor(3), modes=("rev", "fwd"), rng=0).verdict] * 3
    assert in_threads(*works) == [Verdict.CORRECT] * 3


def test_a_check_within_a_check_does_not_wait_for_it():
    inner = []

    def f(x):
        if not inner:
            inner.append(None)
            inner[0] = gradproof.check(torch.cos, tensor(2), modes=("rev",), rng=1).verdict
        return x.sin().sum()

    assert gradproof.check(f, tensor(3), modes=("rev",), rng=0).verdict is Verdict.CORRECT
    assert inner == [Verdict.CORRECT]
    assert in_threads(lambda: gradproof.check(torch.sin, tensor(3), rng=0).verdict) == [Verdict.CORRECT]


def test_a_check_that_raises_lets_others_go_on():
    def f(x):
        raise KeyError("on purpose")

    with pytest.raises(FunctionError):
        gradproof.check(f, tensor(3), rng=0)
    assert in_threads(lambda: gradproof.check(torch.sin, tensor(3), rng=0).verdict) == [Verdict.CORRECT]


# ------------------------------------------------------------------------------------------------- the drop-ins, claims


def test_drop_ins_put_everything_back():
    x = tensor(3).requires_grad_()
    x.grad = torch.ones_like(x)
    total = torch.zeros(3, dtype=DOUBLE)

    def f(x):
        total.add_(x.detach())
        x.register_hook(lambda gradient: gradient)
        return x.sin() * (1 + 0 * torch.rand(()))

    before, drawn = held(x, total), states()
    assert gradcheck(f, x)
    assert gradgradcheck(f, x)
    assert (held(x, total), states()) == (before, drawn)


def test_a_claim_of_the_users_leaves_modules_as_they_were():
    model = nn.Sequential(nn.BatchNorm1d(3).double(), nn.Tanh())
    before, drawn = held(*model.parameters(), *model.buffers()), states()

    def f(x):
        torch.rand(3)
        return float(model(x).sum().detach())

    def gradient(x):
        x = x.requires_grad_()
        return torch.autograd.grad(model(x).sum(), x)[0]

    assert gradproof.check(f, BATCH, grad=gradient, rng=0).verdict is Verdict.CORRECT
    assert (held(*model.parameters(), *model.buffers()), states()) == (before, drawn)


@pytest.mark.parametrize(
    "leak",
    [
        lambda: torch.autograd.forward_ad.enter_dual_level(),
        lambda: torch._C._functorch._vmap_increment_nesting(3, "same"),
        lambda: torch.inference_mode().__enter__(),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16).__enter__(),
        lambda: torch.device("meta").__enter__(),
        lambda: torch.autograd.graph.save_on_cpu().__enter__(),
        lambda: warnings.catch_warnings().__enter__(),
        lambda: np.errstate(all="raise").__enter__(),
    ],
    ids=["dual level", "vmap", "inference", "autocast", "device", "saved tensors", "warnings", "errors"],
)
def test_contexts_that_were_not_left_are_left(leak):
    """Ctrl-C may come between the last line within and the first one of `__exit__`."""

    def contexts():
        return (
            torch.autograd.forward_ad._current_level,
            torch._C._functorch.get_dynamic_layer_stack_depth(),
            torch._C._len_torch_function_stack(),
            torch.is_inference_mode_enabled(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch._C._autograd._top_saved_tensors_default_hooks(True),
            warnings.filters,
            np.geterr(),
        )

    kept, calls = [], []

    def f(x):
        calls.append(1)
        if len(calls) == 4:
            kept.append(leak())
            raise KeyboardInterrupt
        return x.sin().sum()

    before = contexts()
    with pytest.raises(KeyboardInterrupt):
        gradproof.check(f, tensor(3), modes=("rev",), rng=0)
    assert contexts() == before
    assert gradproof.check(torch.sin, tensor(3), rng=0).verdict is Verdict.CORRECT
