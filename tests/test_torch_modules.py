"""PyTorch modules: parameters by name, state left as found, and the part that is wrong."""

from __future__ import annotations

import contextlib
import functools as ft
import random
import warnings

import numpy as np
import pytest

import gradproof
from gradproof import FunctionError, UsageError, Verdict
from helpers import ids

torch = pytest.importorskip("torch")
nn = torch.nn
torch.set_num_threads(1)  # the tensors are small, and workers share the machine
check_module = gradproof.torch.check_module

DOUBLE = torch.float64


def tensor(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng((seed, *shape)).standard_normal(shape))


def squares(model, batch):
    inputs, targets = batch
    return ((model(inputs) - targets) ** 2).mean()


class LayerNormFn(torch.autograd.Function):
    """Right as it stands."""

    x_factor = weight_factor = 1.0

    @staticmethod
    def forward(ctx, x, weight, bias):
        centred = x - x.mean(-1, keepdim=True)
        ctx.rate = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        ctx.save_for_backward(centred * ctx.rate, weight)
        return centred * ctx.rate * weight + bias

    @classmethod
    def gradients(cls, ctx, cotangent):
        normal, weight = ctx.saved_tensors
        g = cotangent * weight
        along = normal * (g * normal).mean(-1, keepdim=True)
        by_x = ctx.rate * (g - g.mean(-1, keepdim=True) - along)
        by_weight = (cotangent * normal).flatten(0, -2).sum(0)
        return by_x * cls.x_factor, by_weight * cls.weight_factor, cotangent.flatten(0, -2).sum(0)

    @staticmethod
    def backward(ctx, cotangent):
        return LayerNormFn.gradients(ctx, cotangent)


class WrongForItsWeight(LayerNormFn):
    weight_factor = 1.001

    @staticmethod
    def backward(ctx, cotangent):
        return WrongForItsWeight.gradients(ctx, cotangent)  # wrong on purpose


class WrongForItsInput(LayerNormFn):
    x_factor = 1.001

    @staticmethod
    def backward(ctx, cotangent):
        return WrongForItsInput.gradients(ctx, cotangent)  # wrong on purpose


class Norm(nn.Module):
    def __init__(self, size, rule):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.apply_rule = rule.apply  # bound to a name of its own, as people do

    def forward(self, x):
        return self.apply_rule(x, self.weight, self.bias)


class Block(nn.Module):
    def __init__(self, size, rule):
        super().__init__()
        self.norm, self.linear, self.drop = Norm(size, rule), nn.Linear(size, size), nn.Dropout(0.2)

    def forward(self, x):
        return x + self.drop(torch.tanh(self.linear(self.norm(x))))


class Net(nn.Module):
    """Blocks in a list, batch normalisation, and a head."""

    def __init__(self, *rules, size=6):
        super().__init__()
        self.encoder = nn.ModuleList([Block(size, rule) for rule in rules])
        self.normalise, self.head = nn.BatchNorm1d(size), nn.Linear(size, 1)

    def forward(self, x):
        for block in self.encoder:
            x = block(x)
        return self.head(self.normalise(x))


def net(*rules):
    torch.manual_seed(0)
    return Net(*rules).double()


BATCH = (tensor(7, 6), tensor(7, 1))


def everything(model):
    """Bits and objects of all that a check must leave as it was."""
    numbers = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None)]
    return {
        "numbers": [(id(t), t.clone()) for t in numbers if not isinstance(t, nn.Parameter)],
        "objects": [id(t) for t in (*model.parameters(), *model.buffers())],
        "grads": [id(p.grad) for p in model.parameters()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "training": [m.training for m in model.modules()],
        "hooks": [(name, len(v)) for m in model.modules() for name, v in vars(m).items() if "hooks" in name],
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "switches": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()),
    }


def assert_as_before(model, before):
    after = everything(model)
    for name in before:
        if name == "numbers":
            pairs = zip(before[name], after[name], strict=True)
            assert all(torch.equal(one, other) for (_, one), (_, other) in pairs)
        else:
            assert after[name] == before[name], name


# ---------------------------------------------------------------------------------------------------- parameters


def test_all_parameters_of_a_model_in_training_are_certified():
    """Dropout and batch normalisation in train mode, rules written by hand; paths are Python source."""
    model = net(LayerNormFn, LayerNormFn)

    report = check_module(model, squares, BATCH, rng=0)

    assert report.verdict is Verdict.CORRECT
    found = [id(eval(leaf.path, {"model": model})) for leaf in report.leaves]
    assert sorted(found) == sorted(map(id, model.parameters()))
    assert [one.mode for one in report.modes] == ["rev"]
    assert ids(report) == ["GP408"]
    assert report.cost.evaluations < 60


def test_every_mode_is_checked_where_asked_for():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    report = check_module(model, squares, (tensor(5, 3), tensor(5, 1)), order=2, modes=None, rng=0)

    assert report.verdict is Verdict.CORRECT
    assert [one.mode for one in report.modes][:3] == ["rev", "fwd", "vmap"]
    assert len(report.modes) == 7
    report = check_module(model, squares, (tensor(5, 3), tensor(5, 1)), order=2, rng=0)
    assert [one.mode for one in report.modes] == ["rev", "rev-rev"]


class Odd(nn.Module):
    """Frozen, tied, unused and detached parameters, in containers of all kinds."""

    def __init__(self, detach=False):
        super().__init__()
        self.parts = nn.ModuleDict({"in": nn.Linear(3, 3), "out": nn.Linear(3, 3)})
        self.parts["out"].weight = self.parts["in"].weight
        self.scales = nn.ParameterList([torch.rand(3) + 0.5, torch.rand(3) + 0.5])
        self.spare = nn.Linear(3, 2)
        self.parts["in"].bias.requires_grad_(False)
        self.detach = detach

    def forward(self, x):
        scale = self.scales[1].detach() if self.detach else self.scales[1]
        return self.parts["out"](torch.tanh(self.parts["in"](x) * self.scales[0])) * scale


def test_frozen_tied_and_unused_parameters_are_noted():
    """A tied one is one leaf with both of its places; a frozen one is none."""
    torch.manual_seed(0)
    report = check_module(Odd().double(), squares, (tensor(4, 3), tensor(4, 3)), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert ids(report) == ["GP407", "GP405", "GP406", "GP402", "GP402"]
    notes = {one.id: one for one in report.findings}
    assert notes["GP405"].path == "model.parts['in'].bias"
    assert notes["GP406"].path == "model.parts['in'].weight"
    assert "model.parts['out'].weight" in notes["GP406"].kind
    assert notes["GP407"].path == "model.spare.weight"
    assert "model.spare.bias" in notes["GP407"].kind
    paths = [leaf.path for leaf in report.leaves]
    assert "model.parts['in'].weight" in paths
    assert "model.parts['out'].weight" not in paths
    assert "model.scales[1]" in paths


def test_a_parameter_that_lost_its_graph_is_an_error():
    """The text names the reasons for which that may be meant; frozen, it is no error."""
    torch.manual_seed(0)
    model = Odd(detach=True).double()
    batch = tensor(4, 3), tensor(4, 3)

    report = check_module(model, squares, batch, rng=0)

    assert report.verdict is Verdict.WRONG
    (finding,) = [one for one in report.findings if one.id == "GP121"]
    assert finding.path == "model.scales[1]"
    for reason in ("stop-gradient", "straight-through", "frozen", "wrt="):
        assert reason in finding.advice
    assert "GP101" not in ids(report)
    model.scales[1].requires_grad_(False)
    assert check_module(model, squares, batch, rng=0).verdict is Verdict.CORRECT


def test_inputs_are_differentiated_where_asked_for():
    model = nn.Sequential(nn.Linear(3, 1), nn.Tanh()).double()
    batch = {"x": tensor(5, 3), "label": torch.arange(5), "name": "five"}

    def loss(model, batch):
        return (model(batch["x"])[:, 0] * batch["label"]).sum()

    assert [leaf.path for leaf in check_module(model, loss, batch, wrt="inputs", rng=0).leaves] == ["batch['x']"]
    leaves = check_module(model, loss, batch, wrt="all", rng=0).leaves
    assert {leaf.path for leaf in leaves} == {"model[0].weight", "model[0].bias", "batch['x']"}
    assert all(leaf.verdict is Verdict.CORRECT for leaf in leaves)


class Roots(nn.Module):
    """Square roots of weights, which it refuses where one is negative; `factor` is that of its backward."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.001, 0.5, 2.0], dtype=DOUBLE))
        self.shift = nn.Parameter(torch.tensor([0.3], dtype=DOUBLE))
        self.factor, self.refused = factor, 0

    def forward(self, x):
        if bool((self.weight < 0).any()):
            self.refused += 1
            raise ValueError("a negative weight")
        roots = self.weight.sqrt()
        if self.factor != 1.0:
            roots = roots.detach() + self.factor * (roots - roots.detach())  # wrong on purpose
        return roots * torch.tanh(x + self.shift)


def energy(model, batch):
    return model(batch["x"]).square().mean() + model(batch["x"]).mean()


DOMAINS = {
    "array": {"model.weight": (0, None)},
    "module": {"model": (-5, 5), "model.weight": (torch.zeros(3), None)},
    "function": lambda name: (0, None) if name == "model.weight" else None,
}


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_a_domain_keeps_parameters_inside(domain):
    """By name or by function: the module never sees a negative weight; without it, it does."""
    batch = {"x": tensor(4, 3)}
    model = Roots()
    check_module(model, energy, batch, rng=0)
    assert model.refused
    for factor, verdict in ((1.0, Verdict.CORRECT), (1.01, Verdict.WRONG)):
        model = Roots(factor)
        report = check_module(model, energy, batch, domain=domain, rng=0)
        assert report.verdict is verdict
        assert not model.refused
    assert ", domain=domain, rng=0)" in report.findings[0].reproducer


def test_a_domain_keeps_inputs_inside():
    """Bounds of a tensor in the batch, by the name that the report has; a number holds for all tensors."""
    seen = []

    def loss(model, batch):
        seen.append(float(batch["x"].detach().min()))
        return (model.weight.sum() * batch["x"].clamp(min=0).sqrt()).sum()

    batch = {"x": torch.tensor([0.01, 1.0, 2.0], dtype=DOUBLE)}
    for domain, inside in ((None, False), ({"batch['x']": (0, None)}, True), ((0, None), True)):
        seen.clear()
        check_module(Roots(), loss, batch, wrt="inputs", domain=domain, rng=0)
        assert (min(seen) >= 0) is inside


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ({"model.wieght": (0, None)}, "`model.wieght` in `domain` is none of the arrays `model.weight`"),
        ((torch.zeros(3), None), "for arrays of bounds pass a mapping"),
        (3, "must be a tuple"),
        ({"model.weight": 3}, "must be a tuple"),
        ({"model.weight": (torch.zeros(4), None)}, "does not broadcast to shape"),
        ({"model.weight": (1, None)}, "the point must lie in the domain"),
    ],
)
def test_a_domain_that_does_not_fit_is_refused(domain, words):
    with pytest.raises(UsageError, match=words):
        check_module(Roots(), energy, {"x": tensor(4, 3)}, domain=domain, rng=0)


class Cast(nn.Module):
    """A layer that computes in float32, whatever its parameters are; the weight's gradient is off by `factor`."""

    def __init__(self, factor=1.0, casts=True):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float32))
        self.factor, self.casts = factor, casts

    def forward(self, x):
        weight = self.weight.float() if self.casts else self.weight
        if self.factor != 1.0:
            weight = weight.detach() + self.factor * (weight - weight.detach())  # wrong on purpose
        return torch.tanh((x.float() if self.casts else x) @ weight.T)


def precise(parameters, batch):
    return torch.tanh(batch["x"] @ parameters["weight"].T).square().mean()


@pytest.mark.parametrize("reference", [lambda: Cast(casts=False).double(), lambda: precise], ids=["module", "function"])
def test_a_reference_narrows_bounds(reference):
    """A module or a function in float64 is a witness of one that casts down, and is left as it was."""
    batch, reference = {"x": tensor(4, 3).float()}, reference()

    def loss(model, batch):
        return model(batch["x"]).square().mean()

    if isinstance(reference, nn.Module):
        torch.nn.init.ones_(reference.weight)  # the model's own are used
    plain = check_module(Cast(), loss, batch, rng=0)
    report = check_module(Cast(), loss, batch, reference=reference, rng=0)
    assert report.correct
    assert report.leaves[0].bound < 0.01 * plain.leaves[0].bound
    if isinstance(reference, nn.Module):
        assert bool((reference.weight == 1).all())
    wrong = check_module(Cast(1.01), loss, batch, reference=reference, rng=0)
    assert wrong.verdict is Verdict.WRONG
    assert ", reference=reference, rng=0)" in wrong.findings[0].reproducer


def test_a_reference_that_does_not_fit_is_refused():
    batch = {"x": tensor(4, 3).float()}
    loss = lambda model, batch: model(batch["x"]).square().mean()  # noqa: E731
    with pytest.raises(UsageError, match="`reference` has no parameter 'weight'"):
        check_module(Cast(), loss, batch, reference=nn.Tanh(), rng=0)
    with pytest.raises(UsageError, match="`reference` must be callable"):
        check_module(Cast(), loss, batch, reference=3, rng=0)
    with pytest.raises(UsageError, match="does nothing for second-order modes"):
        check_module(Cast(), loss, batch, reference=precise, order=2, modes=("rev-rev",), rng=0)


def test_evaluations_record_no_graph():
    recorded = []

    def loss(model, batch):
        value = squares(model, batch)
        recorded.append(value.requires_grad)
        return value

    report = check_module(net(LayerNormFn), loss, BATCH, rng=0)

    assert report.correct
    assert sum(recorded) == 3  # the two calls of the backward, and one to see what the rule receives


def broken_loss(model, batch):
    return model(batch[0])


def test_what_cannot_be_checked_is_said():
    model = nn.Linear(3, 1).double()
    with pytest.raises(UsageError, match=r"must be a torch\.nn\.Module"):
        check_module(squares, squares, BATCH, rng=0)
    with pytest.raises(UsageError, match="`wrt` must be one of"):
        check_module(model, squares, BATCH, wrt="weights", rng=0)
    with pytest.raises(UsageError, match="no parameter of the model"):
        check_module(nn.Tanh(), squares, BATCH, rng=0)
    with pytest.raises(UsageError, match="all are frozen"):
        check_module(nn.Linear(3, 1).requires_grad_(False), squares, BATCH, rng=0)
    with pytest.raises(UsageError, match="no floating tensor in `batch`"):
        check_module(model, lambda model, batch: model.weight.sum(), [3], wrt="inputs", rng=0)
    with pytest.raises(UsageError, match="must return one real number"):
        check_module(model, lambda model, batch: model(batch), tensor(5, 3), rng=0)
    with pytest.raises(FunctionError, match="loss` raised"):
        check_module(model, broken_loss, BATCH, rng=0)


def test_an_empty_batch():
    """Where nothing differentiated has an entry there is none that could be wrong; parameters are not tested by it."""
    batch = torch.zeros(0, 3, 2, dtype=torch.float64, requires_grad=True)
    loss = lambda model, batch: model(batch).sum()  # noqa: E731
    report = check_module(torch.nn.BatchNorm1d(3, affine=False).double(), loss, batch, wrt="all", rng=0)
    assert report.verdict is Verdict.CORRECT
    assert [(leaf.path, leaf.note) for leaf in report.leaves] == [("batch", "empty: nothing to check")]
    assert gradproof.Report.from_json(report.to_json()) == report
    report = check_module(torch.nn.BatchNorm1d(3).double(), loss, batch, wrt="all", rng=0)
    assert report.verdict is Verdict.INCONCLUSIVE


def test_another_point_is_offered_by_name():
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)

    report = check_module(model, lambda model, x: model(x).square().sum(), tensor(4, 3), rng=0)

    assert report.correct
    assert "GP302" in ids(report)
    model.load_state_dict(report.suggested_args)
    assert check_module(model, lambda model, x: model(x).square().sum(), tensor(4, 3), rng=0).correct


# --------------------------------------------------------------------------------------------------------- state


def test_everything_is_left_as_it_was():
    """Buffers, `.grad`, modes, hooks and random states, of a right model and of one whose parts are searched."""
    for rule in (LayerNormFn, WrongForItsInput):
        model = net(LayerNormFn, rule)
        squares(model, BATCH).backward()
        model.encoder[0].eval()
        model.head.bias.requires_grad_(False)
        calls = []
        model.head.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        before = everything(model)

        check_module(model, squares, BATCH, rng=0)

        assert calls
        assert_as_before(model, before)
    assert WrongForItsInput.__dict__["backward"].__name__ == "backward"
    assert "forward" not in WrongForItsInput.__dict__


@pytest.mark.parametrize("call", [0, 1, 2, 7, 25])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, KeyError])
def test_everything_is_left_as_it_was_when_the_forward_is_broken_off(call, error):
    model = net(LayerNormFn, WrongForItsInput)
    before = everything(model)
    count = 0

    def loss(model, batch):
        nonlocal count
        count += 1
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        value = squares(model, batch)
        model.eval()
        torch.set_default_dtype(torch.float16)
        torch.use_deterministic_algorithms(True)
        if count == call + 1:
            raise error("on purpose")
        return value

    with contextlib.suppress(KeyboardInterrupt, gradproof.GradproofError):
        check_module(model, loss, BATCH, rng=0)
    assert_as_before(model, before)


def test_a_loss_that_leaves_its_mark_is_put_right():
    """Hooks, `requires_grad`, `.grad` and buffers put in place of others."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    before = everything(model)

    def loss(model, batch):
        model.register_forward_hook(lambda *_: None)
        model[1].running_mean = torch.ones(2, dtype=DOUBLE)
        return model(batch).square().mean()

    report = check_module(model, loss, tensor(5, 3), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert_as_before(model, before)


def as_closure(model):
    return lambda x: model(x).square().sum()


def as_partial(model):
    return ft.partial(lambda x, model: model(x).square().sum(), model=model)


class Owner:
    def __init__(self, model):
        self.model = model

    def loss(self, x):
        return self.model(x).square().sum()


@pytest.mark.parametrize("build", [as_closure, as_partial, lambda model: Owner(model).loss, lambda model: model])
def test_modules_that_a_function_uses_are_left_as_they_were(build):
    """Batch normalisation in train mode: every evaluation starts from the same statistics."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, momentum=None), nn.Dropout(0.5)).double()
    model(tensor(5, 3)).sum().backward()
    before = everything(model)

    f = build(model)
    report = gradproof.check(f, tensor(5, 3, seed=1), modes=("rev",), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert ids(report) == (["GP413", "GP408"] if f is model else ["GP408"])
    assert_as_before(model, before)


class Counts(torch.autograd.Function):
    """Adds 1 to a buffer on the way back."""

    @staticmethod
    def forward(ctx, x, buffer):
        ctx.buffer = buffer
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        ctx.buffer += 1  # wrong on purpose
        return cotangent, None


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return Counts.apply(x * self.weight, self.count).sum()


def test_a_backward_that_changes_buffers_is_an_error():
    model = Counter().double()

    report = check_module(model, lambda model, x: model(x), 0.01 * tensor(4, 3), rng=0)

    assert [one.path for one in report.findings if one.id == "GP212"] == ["model.count"]
    assert model.count == 0


# ---------------------------------------------------------------------------------------- which part is wrong


@pytest.mark.parametrize("rule", [WrongForItsWeight, WrongForItsInput])
@pytest.mark.parametrize("training", [True, False])
def test_the_deepest_wrong_module_and_its_rule_are_named(rule, training):
    """Its neighbours of the same class with a right rule are not."""
    model = net(LayerNormFn, rule, LayerNormFn).train(training)

    report = check_module(model, squares, BATCH, rng=0)

    assert report.verdict is Verdict.WRONG
    (finding,) = [one for one in report.findings if one.id == "GP120"]
    assert finding is report.findings[0]
    assert finding.path == "model.encoder[1].norm"
    assert finding.kind.startswith(f"in `model.encoder[1].norm` ({rule.__name__}): claimed ")
    assert finding.factor == pytest.approx(1.001)
    wrong = [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG]
    if rule is WrongForItsWeight:
        assert wrong == ["model.encoder[1].norm.weight"]
    else:
        assert all(path.startswith("model.encoder[0]") for path in wrong)


class Twice(torch.autograd.Function):
    """Two inputs, two outputs; the second gradient is wrong."""

    @staticmethod
    def forward(x, y):
        return x * y, x + y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, u, w):
        x, y = ctx.saved_tensors
        return u * y + w, u * x - w  # wrong on purpose


class TwoInTwoOut(nn.Module):
    def forward(self, pair, *, scale):
        product, total = Twice.apply(pair["x"] * scale, pair["y"])
        return {"product": product, "total": total}


class UsesItTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.shared = nn.Linear(3, 3), nn.Linear(3, 3), TwoInTwoOut()

    def forward(self, x):
        out = self.shared({"x": self.first(x), "y": self.second(x)}, scale=2.0)
        return self.shared({"x": out["product"], "y": out["total"]}, scale=0.5)["total"]


def test_a_module_with_several_inputs_and_outputs_that_is_used_twice_is_named_once():
    """Structures and keyword arguments are passed on; a rule in the style of `setup_context`."""
    torch.manual_seed(0)
    report = check_module(UsesItTwice().double(), squares, (tensor(4, 3), tensor(4, 3)), rng=0)

    (finding,) = [one for one in report.findings if one.id == "GP120"]
    assert finding.path == "model.shared"
    assert "(Twice)" in finding.kind
    assert Twice.__dict__["setup_context"].__name__ == "setup_context"


class Half(torch.autograd.Function):
    """The identity, with half of its gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent / 2  # wrong on purpose


class Act(nn.Module):
    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, x):
        return self.rule.apply(x)


class FourLayers(nn.Module):
    """One activation, called three times unless told otherwise."""

    def __init__(self, rule, width=4, calls=3):
        super().__init__()
        for k in range(1, 5):
            setattr(self, f"layer{k}", nn.Linear(width, width))
        self.act, self.calls = Act(rule), calls

    def forward(self, x):
        for k in range(1, 4):
            x = getattr(self, f"layer{k}")(x)
            x = self.act(x) if k <= self.calls else torch.tanh(x)
        return self.layer4(x)


class WrongTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.tanh())
        return x.tanh()

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * (1 - ctx.saved_tensors[0])  # wrong on purpose


class RightTanh(WrongTanh):
    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * (1 - ctx.saved_tensors[0] ** 2)


@pytest.mark.parametrize(
    ("calls", "line"),
    [
        (1, "model.layer1.weight and model.layer1.bias are wrong because of `model.act`"),
        (2, "model.layer1.weight, model.layer1.bias and 2 other arrays are wrong because of `model.act`"),
        (3, "model.layer1.weight, model.layer1.bias and 4 other arrays are wrong because of `model.act`"),
    ],
)
def test_of_a_wrong_function_in_four_layers_the_cause_is_one_finding_and_its_consequences_one_line(calls, line):
    """The arrays keep their verdicts; those whose gradients do not pass through it are CORRECT."""
    torch.manual_seed(0)
    report = check_module(FourLayers(WrongTanh, calls=calls).double(), squares, (tensor(5, 4), tensor(5, 4)), rng=0)

    assert ids(report) == ["GP120", "GP122"]
    assert report.findings[0].path == "model.act"
    assert report.findings[0].kind.startswith("in `model.act` (WrongTanh): ")
    assert report.findings[1].kind == line
    wrong = {leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG}
    assert wrong == {f"model.layer{k + 1}.{name}" for k in range(calls) for name in ("weight", "bias")}
    assert {leaf.verdict for leaf in report.leaves} == {Verdict.WRONG, Verdict.CORRECT}
    assert "(1 error)" in str(report)


class Shares(nn.Module):
    """An activation that is one module in several blocks."""

    def __init__(self, act):
        super().__init__()
        blocks = [nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4)) for _ in range(3)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(x)


class TanhOffByItsMean(WrongTanh):
    @staticmethod
    def backward(ctx, cotangent):
        (y,) = ctx.saved_tensors
        return cotangent * (1 - y**2) * (1.5 + y.mean())  # wrong on purpose


def test_a_module_that_several_blocks_share_is_one_cause():
    """Although it is off by another factor in each."""
    torch.manual_seed(0)
    report = check_module(Shares(Act(TanhOffByItsMean)).double(), squares, (tensor(5, 4), tensor(5, 4)), rng=0)

    assert ids(report) == ["GP120", "GP122"]
    wrong = [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG]
    assert len(wrong) == 10
    assert " and 8 other arrays are wrong because of" in report.findings[1].kind


def test_a_second_mistake_behind_a_wrong_function_is_an_error_of_its_own():
    """The gradient of the last layer does not pass through the activation before it."""

    def loss(model, batch):
        return squares(model, batch) + model.layer4.bias.square().sum() * model.layer4.bias.detach().sum()

    torch.manual_seed(0)
    model = FourLayers(WrongTanh).double()
    report = check_module(model, loss, (tensor(5, 4), tensor(5, 4)), rng=0)

    assert ids(report)[0] == "GP120"
    assert ids(report)[-1] == "GP122"
    assert {one.path.partition("[")[0] for one in report.findings[1:-1]} == {"model.layer4.bias"}
    assert "layer4" not in report.findings[-1].kind


def test_parameters_that_are_not_differentiated_accuse_no_module():
    """A rule that is wrong for its weight alone is right for the inputs."""
    loss = lambda model, batch: (model(batch[0]) - batch[1]).square().mean() + (batch[0] * batch[0].detach()).sum()  # noqa: E731
    report = check_module(net(WrongForItsWeight), loss, BATCH, wrt="inputs", rng=0)

    assert report.verdict is Verdict.WRONG
    assert "GP120" not in ids(report)


def test_a_report_says_which_functions_and_modules_were_looked_at():
    """In one line, when all is well, too; what the loss does not call is not there."""
    torch.manual_seed(0)
    model = FourLayers(RightTanh, calls=1).double()
    model.spare = nn.Linear(2, 2).double()
    report = check_module(model, squares, (tensor(5, 4), tensor(5, 4)), rng=0)

    assert report.correct
    assert report.modes[0].note == (
        "looked at 1 Function (RightTanh) and 6 modules (model, model.layer1, model.act, model.layer2 and 2 more)"
    )
    assert report.modes[0].note in " ".join(str(report).split())
    assert "spare" not in report.modes[0].note
    wrong = check_module(FourLayers(WrongTanh).double(), squares, (tensor(5, 4), tensor(5, 4)), rng=0)
    assert wrong.modes[0].note.startswith("looked at 1 Function (WrongTanh) and 6 modules (model, ")
    plain = check_module(nn.Sequential(nn.Linear(4, 4)).double(), squares, (tensor(5, 4), tensor(5, 4)), rng=0)
    assert plain.modes[0].note == "looked at no Functions and 2 modules (model, model[0])"


def test_the_line_of_what_was_looked_at_stays_short():
    """Some 120 characters, also of many modules and rules, every mode the same."""
    rules = [type(f"Rule{k:02}OfManyOthers", (RightTanh,), {}) for k in range(12)]
    torch.manual_seed(0)
    model = nn.Sequential(*(part for rule in rules for part in (nn.Linear(4, 4), Act(rule)))).double()
    report = check_module(model, squares, (tensor(5, 4), tensor(5, 4)), modes=("rev", "vmap"), rng=0)

    (line,) = {one.note for one in report.modes}
    assert line.startswith("looked at 12 Functions (Rule")
    assert " and 25 modules (model and 24 more)" in line
    assert len(line) < 130
    assert str(report).count("looked at") == 1


@pytest.mark.parametrize("whose", ["model", "loss"])
def test_what_is_compiled_is_not_compiled_once_more_to_be_looked_at(whose):
    """With a graph and without: nothing is said of its modules, and no hook is left behind."""
    compiled = []

    def backend(graph, examples):
        compiled.append(graph)
        return graph.forward

    model, loss = nn.Sequential(nn.Linear(4, 4)).double(), squares
    if whose == "model":
        model = torch.compile(model, backend=backend)
    else:
        loss = torch.compile(squares, backend=backend)
    report = check_module(model, loss, (tensor(5, 4), tensor(5, 4)), rng=0)

    assert report.correct
    assert report.modes[0].note == ""
    assert len(compiled) == 2
    assert not nn.modules.module._global_forward_pre_hooks


def test_a_loss_that_is_wrong_by_itself_is_named():
    def loss(model, batch):
        return (Half.apply(model(batch[0])) - batch[1]).square().mean()

    report = check_module(net(LayerNormFn), loss, BATCH, rng=0)

    assert report.verdict is Verdict.WRONG
    (finding,) = [one for one in report.findings if one.id == "GP120"]
    assert (finding.path, finding.factor) == ("loss", pytest.approx(0.5))
    assert finding.kind.startswith("in `loss` (Half): ")


def test_no_module_is_blamed_for_what_a_loss_detaches():
    def loss(model, batch):
        return (model(batch[0]) * model(batch[0]).detach()).mean()  # wrong on purpose

    report = check_module(net(LayerNormFn), loss, BATCH, rng=0)

    assert report.verdict is Verdict.WRONG
    assert not [one for one in report.findings if one.id == "GP120" and one.path.startswith("model")]


def test_a_module_that_detaches_is_named():
    """Without any rule of its own: what it does besides calling its parts."""

    class Detaching(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(x) * self.inner(x).detach()  # wrong on purpose

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), Detaching(), nn.Linear(3, 1)).double()
    report = check_module(model, squares, (tensor(4, 3), tensor(4, 1)), rng=0)

    (finding,) = [one for one in report.findings if one.id == "GP120"]
    assert finding.path == "model[1]"
    assert "parts, which are right" in finding.advice


def test_a_float32_model_is_checked_against_its_float64_copy():
    """A factor that the rounding of float32 would hide; the model itself stays in float32."""
    model = net(LayerNormFn, WrongForItsWeight).float()

    report = check_module(model, squares, tuple(part.float() for part in BATCH), rng=0)

    assert report.verdict is Verdict.WRONG
    assert "model.encoder[1].norm.weight" in [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG]
    assert "float64 copy" in report.modes[0].note
    assert all(p.dtype is torch.float32 for p in model.parameters())
    right = check_module(net(LayerNormFn).float(), squares, tuple(part.float() for part in BATCH), rng=0)
    assert right.verdict is Verdict.CORRECT


@pytest.mark.parametrize("seed", range(3))
def test_a_bias_before_a_norm_in_float32_is_flat(seed):
    """Its gradient is nothing but rounding: terms of the size of other gradients cancel. A real error is found."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Tanh())
    batch = torch.randn(5, 2)

    right = check_module(model, lambda model, x: (model(x) ** 2).mean(), batch, rng=seed)
    wrong = check_module(model, lambda model, x: (Half.apply(model(x)) ** 2).mean(), batch, rng=seed)
    assert right.correct
    assert [leaf.path for leaf in right.leaves if leaf.note.startswith("flat")] == ["model[0].bias"]
    assert wrong.verdict is Verdict.WRONG


# ------------------------------------------------------------------------------------------------------- criteria


def mean_square(output, target):
    return ((output - target) ** 2).mean()


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


PAIR = (tensor(5, 3), tensor(5, 2, seed=1))


@pytest.mark.parametrize("batch", [PAIR, list(PAIR)], ids=["tuple", "list"])
@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.functional.mse_loss, mean_square, ft.partial(mean_square)])
def test_a_criterion_with_inputs_and_targets(criterion, batch):
    """It is recognised by its use, and gives the report of the loss that is written out."""
    model = linear()
    report = check_module(model, criterion, batch, rng=0)
    assert report.verdict is Verdict.CORRECT
    written = check_module(model, squares, batch, rng=0)
    assert [(one.path, one.bound) for one in report.leaves] == [(one.path, one.bound) for one in written.leaves]
    assert check_module(model, criterion, batch, wrt="inputs", rng=0).leaves[0].path == "batch[0]"


def test_a_criterion_whose_gradient_is_wrong():
    def wrong(output, target):
        return mean_square(Cube.apply(output), target)

    report = check_module(linear(), wrong, PAIR, rng=0)
    assert report.verdict is Verdict.WRONG
    assert "GP120" in ids(report)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, u):
        return 2 * u * ctx.saved_tensors[0] ** 2  # wrong on purpose


def test_criteria_of_other_kinds():
    """Classes as targets, weights of a criterion, a model of two inputs, and one with buffers: nothing is left."""
    classes = torch.tensor([0, 1, 1, 0, 1])
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0], dtype=DOUBLE))
    assert check_module(linear(), weighted, (PAIR[0], classes), rng=0).correct
    two = nn.Bilinear(3, 3, 2).double()
    assert check_module(two, nn.MSELoss(), ((PAIR[0], PAIR[0] + 1), PAIR[1]), rng=0).correct
    model = nn.Sequential(linear(), nn.BatchNorm1d(2).double())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert check_module(model, nn.MSELoss(), PAIR, rng=0).verdict is not Verdict.WRONG
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loss_that_takes_the_model_is_called_with_it():
    """Names do not count: a loss of model and batch stays one."""

    def swapped_names(output, target):
        return squares(output, target)

    assert check_module(linear(), swapped_names, PAIR, rng=0).correct


@pytest.mark.parametrize(
    ("loss", "batch", "words"),
    [
        (nn.MSELoss(), PAIR[0], "a criterion `loss(output, target)` takes a batch `(inputs, targets)`"),
        (nn.MSELoss(), (PAIR[0].T, PAIR[1]), "as the criterion of `loss(model(inputs), targets)`, `MSELoss` raised"),
        (lambda output: output.sum(), PAIR[0], "`loss` is called as `loss(model, batch)`: write `lambda model, batch:"),
        (lambda model, batch: model(*batch).sum(), PAIR, "forward() takes 2 positional arguments but 3 were given"),
    ],
)
def test_losses_that_cannot_be_called(loss, batch, words):
    """How it is called is said; what a loss of the user's own raises is shown as it is."""
    with pytest.raises(FunctionError) as error:
        check_module(linear(), loss, batch, rng=0)
    assert words in str(error.value)


def test_a_loss_that_fails_for_its_own_reasons_is_called_as_one_only():
    calls = []

    def broken(model, batch):
        calls.append(type(model))
        raise LookupError("no such key")

    with pytest.raises(FunctionError, match=r"`broken` raised LookupError at the point itself: no such key$"):
        check_module(linear(), broken, PAIR, rng=0)
    assert calls == [nn.Linear] * 2  # without a graph, and with one


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((PAIR[0],), "`batch` is missing: what `loss` is given beside the model, `(inputs, targets)` if it is a crit"),
        (
            (PAIR[0], PAIR[1]),
            "such as `torch.nn.MSELoss()` with a batch `(inputs, targets)`, got Tensor.",
        ),
        ((PAIR, nn.MSELoss()), "got tuple: the loss comes second, then the batch."),
        ((nn.MSELoss(), *PAIR), "is one batch, such as `(inputs, targets)`. Write `gradproof.torch.check_module(model"),
    ],
)
def test_calls_of_check_module_that_do_not_fit(args, words):
    with pytest.raises(UsageError) as error:
        check_module(linear(), *args)
    assert words in str(error.value)


def test_a_function_in_place_of_a_module():
    with pytest.raises(UsageError, match=r"got function: functions are checked by `gradproof.check\(f, x\)`"):
        check_module(mean_square, nn.MSELoss(), PAIR, rng=0)
    with pytest.raises(UsageError, match="`eps` is no option of `check_module`: gradproof chooses its own steps"):
        check_module(linear(), nn.MSELoss(), PAIR, eps=1e-4)  # pyright: ignore
    with pytest.raises(UsageError, match="`criterion` is no option of `check_module`: did you mean `loss`"):
        check_module(linear(), criterion=nn.MSELoss(), batch=PAIR)  # pyright: ignore


@pytest.mark.parametrize("kind", ["parametrized", "hooked"])
def test_spectral_norm_in_train_mode_is_told(kind):
    """Its gradient leaves out the power iteration, by design; in eval mode there is none."""
    utils = torch.nn.utils
    make = utils.parametrizations.spectral_norm if kind == "parametrized" else utils.spectral_norm
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = torch.nn.Sequential(make(torch.nn.Linear(6, 5)), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
    batch = torch.randn(7, 6).double(), torch.randn(7, 1).double()
    report = gradproof.torch.check_module(model, torch.nn.MSELoss(), batch, rng=0)
    assert "power iteration" in report.findings[0].advice
    assert ".eval()" in report.findings[0].advice
    assert gradproof.torch.check_module(model.eval(), torch.nn.MSELoss(), batch, rng=0).correct
