"""Whatever f leaves behind in PyTorch, its modules and the generators is put back, bit for bit.

Each mark below is left by every call of f, and is the same after an even number of calls as after an odd one. The
checks are of a function that closes over a module, and of a module with its loss; they end by themselves, by an
exception, or by Ctrl-C.
"""

from __future__ import annotations

import collections
import contextlib
import functools as ft
import os
import random
import signal
import threading
import warnings

import numpy as np
import pytest

import gradproof
from gradproof import FunctionError, Verdict

torch = pytest.importorskip("torch")
import gradproof.torch  # noqa: E402
from gradproof._backends._torch_state import State  # noqa: E402

nn = torch.nn
DOUBLE = torch.float64


def tensor(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


BATCH = tensor(5, 3)


class Model(nn.Module):
    """A parameter with a gradient, one without, a frozen one, and buffers, one of them expanded."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(4, 1)
        self.pair = nn.ParameterDict({"one": torch.ones(2), "other": torch.ones(2)})
        self.register_buffer("scale", torch.ones(1).expand(4))
        self.register_buffer("absent", None)
        self.register_buffer("counts", torch.tensor([0.0, -0.0, torch.nan]))
        self.register_parameter("no_parameter", None)

    def forward(self, x):
        return self.last(self.drop(torch.tanh(self.norm(self.first(x)) * self.scale)))


def build():
    """A model in train mode, whose last layer is in eval mode and has a frozen bias."""
    made = Model()
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=DOUBLE, generator=generator)
    made.double()
    made.first.weight.grad = torch.full_like(made.first.weight, -0.0)
    made.first.bias.grad = torch.full_like(made.first.bias, torch.nan)
    made.last.eval()
    made.last.bias.requires_grad_(False)
    made.first.register_forward_hook(quiet)
    made.own = tuple(made.parameters())  # its own, also where a check has put others in their place
    made.required = tuple(parameter.requires_grad for parameter in made.own)
    made.equal = made.pair.one, made.pair.other
    return made


def quiet(*_):
    """A hook that does nothing."""


# ------------------------------------------------------------------------------------------------- what is compared


def bits(value):
    """The bits of a tensor, or None."""
    return None if value is None else (value.dtype, tuple(value.shape), value.detach().numpy().tobytes())


def of_tensor(value):
    if value is None:
        return (None,)
    return value, type(value), bits(value), value.requires_grad, value.grad, bits(value.grad)


def of_module(module):
    """For each name, in order: the objects, and their bits."""
    state = {
        f"{kind} {name}": of_tensor(value)
        for kind in ("_parameters", "_buffers")
        for name, value in getattr(module, kind).items()
    }
    hooks = {name: (list(value.values()),) for name, value in vars(module).items() if "hooks" in name and value}
    return {"training": (module.training,), **state, **hooks}


def of_everything(model):
    """All that a check has to leave as it was."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    state = {f"{path} {what}": held for path, part in model.named_modules() for what, held in of_module(part).items()}
    return {
        **state,
        "torch": (torch.get_rng_state().numpy().tobytes(),),
        "python": (random.getstate(),),
        "numpy": (kind, keys.tobytes(), *rest),
        "errors": (np.geterr(), np.geterrcall()),
        "dtype": (torch.get_default_dtype(),),
        "device": (torch.get_default_device(),),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly": (torch.is_anomaly_enabled(),),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
    }


def is_same(one, other):
    """Whether two held things are one object, where they are tensors, and equal otherwise."""
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return one is other
    return one == other


def changes(before, after):
    """What differs, by name, the order of names included."""
    if list(before) != list(after):
        return [f"order: {list(after)}"]
    return [
        name
        for name in before
        if len(before[name]) != len(after[name]) or not all(map(is_same, before[name], after[name]))
    ]


@pytest.fixture(autouse=True)
def _all_put_back():
    """These tests change global state on purpose; the next test must not feel it where one of them fails."""
    state = of_everything(nn.Module())
    python, numpy, generator = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    yield
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(generator)
    torch.set_default_dtype(*state["dtype"])
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.set_anomaly_enabled(False)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False


# -------------------------------------------------------------------------------------------- marks that f leaves


def toggle_requires_grad(model):
    for parameter, required in zip(model.own, model.required, strict=True):
        parameter.requires_grad_(not required)


def freeze(model):
    model.own[0].requires_grad_(False)


def assign_grad(model):
    for parameter in model.own:
        parameter.grad = torch.ones_like(parameter)


def drop_grad(model):
    for parameter in model.own:
        parameter.grad = None


def assign_equal_grad(model):
    """Another tensor with the same bits."""
    model.own[0].grad = model.own[0].grad.clone()


def write_into_grad(model):
    model.own[0].grad.zero_()  # from -0.0 to 0.0


def swap_parameter(model):
    model.first.weight = nn.Parameter(model.first.weight.detach().clone())


def exchange_parameters(model):
    """Equal ones, each in place of the other."""
    kept = model.pair._parameters
    kept["other"], kept["one"] = model.equal


def reorder_parameters(model):
    model.first._parameters["weight"] = model.first._parameters.pop("weight")


def fill_parameter(model):
    model.no_parameter = nn.Parameter(torch.zeros(2))


def write_into_buffer(model):
    model.counts.add_(0.5)


def swap_buffer(model):
    model.norm.running_mean = model.norm.running_mean.clone()


def add_buffer(model):
    model.register_buffer("extra", torch.zeros(2))


def reorder_buffers(model):
    model.norm._buffers["running_mean"] = model.norm._buffers.pop("running_mean")


def fill_buffer(model):
    model.absent = torch.zeros(2)


def drop_buffer(model):
    model.counts = None


def change_modes(model):
    for part in model.modules():
        part.training = not part.training


def add_hook(model):
    model.first.register_forward_hook(quiet)


def exchange_hook(model):
    model.first._forward_hooks.clear()
    model.first.register_forward_hook(print)


def draw_from_torch(model):
    torch.rand(3)


def seed_torch(model):
    torch.manual_seed(5)


def draw_from_python(model):
    random.random()


def draw_a_gauss_from_python(model):
    """Draws two, and keeps one of them for the next time."""
    random.gauss(0.0, 1.0)


def draw_from_numpy(model):
    np.random.rand(3)  # noqa: NPY002


def draw_a_gauss_from_numpy(model):
    """Uses up, or leaves, the one that is kept for the next time."""
    np.random.standard_normal()  # noqa: NPY002


def forget_a_gauss_of_numpy(model):
    """Of the whole state only what is kept for the next time changes."""
    np.random.set_state((*np.random.get_state()[:3], 1, 0.25))  # noqa: NPY002


def seed_numpy(model):
    np.random.seed(7)  # noqa: NPY002


def set_numpy_errors(model):
    np.seterr(all="raise")
    np.seterrcall(quiet)


def change_dtype(model):
    torch.set_default_dtype(torch.float16)


def record_nothing(model):
    torch.set_grad_enabled(False)


def record(model):
    torch.set_grad_enabled(True)


def look_for_anomalies(model):
    torch.set_anomaly_enabled(True)


def be_deterministic(model):
    torch.use_deterministic_algorithms(True)


def be_deterministic_with_warnings(model):
    torch.use_deterministic_algorithms(True, warn_only=True)


def change_cudnn(model):
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = True


def change_device(model):
    torch.set_default_device("meta")


MARKS = [
    toggle_requires_grad,
    freeze,
    assign_grad,
    drop_grad,
    assign_equal_grad,
    write_into_grad,
    swap_parameter,
    exchange_parameters,
    reorder_parameters,
    fill_parameter,
    write_into_buffer,
    swap_buffer,
    add_buffer,
    reorder_buffers,
    fill_buffer,
    drop_buffer,
    change_modes,
    add_hook,
    exchange_hook,
    draw_from_torch,
    seed_torch,
    draw_from_python,
    draw_a_gauss_from_python,
    draw_from_numpy,
    draw_a_gauss_from_numpy,
    forget_a_gauss_of_numpy,
    seed_numpy,
    set_numpy_errors,
    change_dtype,
    record_nothing,
    record,
    look_for_anomalies,
    be_deterministic,
    be_deterministic_with_warnings,
    change_cudnn,
    change_device,
]


def check_closure(model, leave):
    """A function of x that closes over the module."""

    def f(x):
        value = model(x).square().sum()
        leave(model)
        return value

    return gradproof.check(f, BATCH, modes=("rev",), rng=0)


def check_loss(model, leave):
    """A module with its loss, which closes over the module too: there its own parameters are, not copies."""

    def loss(copy, x):
        value = copy(x).square().sum()
        leave(model)
        return value

    return gradproof.torch.check_module(model, loss, BATCH, rng=0)


@pytest.mark.parametrize("check", [check_closure, check_loss])
@pytest.mark.parametrize("mark", MARKS)
def test_what_f_leaves_behind_is_put_back(mark, check):
    """At each call, with a drawn number kept by both of the generators that keep one."""
    model = build()
    random.seed(1), random.gauss(0.0, 1.0)
    np.random.seed(1), np.random.standard_normal()  # noqa: NPY002
    before = of_everything(model)

    report = check(model, mark)

    assert changes(before, of_everything(model)) == []
    assert report.verdict is Verdict.CORRECT


def leave_all(model):
    """Every mark at once; a meta device, on which the marks after it could make nothing, comes last."""
    for mark in MARKS:
        mark(model)


@pytest.mark.parametrize("check", [check_closure, check_loss])
@pytest.mark.parametrize("call", [1, 2, 5, 11])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_all_is_put_back_when_a_call_of_f_is_broken_off(error, call, check):
    """At the point itself, in the claim, and away from the point."""
    model = build()
    before = of_everything(model)
    calls = []

    def leave(model):
        calls.append(1)
        if len(calls) == call:
            leave_all(model)
            raise error("on purpose")

    with contextlib.suppress(KeyboardInterrupt, FunctionError, gradproof.ClaimError):
        check(model, leave)

    assert len(calls) >= call
    assert changes(before, of_everything(model)) == []


@pytest.mark.parametrize("check", [check_closure, check_loss])
@pytest.mark.parametrize(
    "mark", [draw_from_python, draw_a_gauss_from_python, draw_from_numpy, forget_a_gauss_of_numpy, change_dtype]
)
def test_what_f_begins_with_later_is_put_back(mark, check):
    """The first call shows which generators f draws from and which switches it flips; later ones may do otherwise."""
    model = build()
    before = of_everything(model)
    calls = []

    def leave(model):
        calls.append(1)
        if len(calls) > 3:
            mark(model)

    check(model, leave)

    assert len(calls) > 4
    assert changes(before, of_everything(model)) == []


@pytest.mark.parametrize("check", [check_closure, check_loss])
def test_a_mode_that_records_nothing_is_left_on(check):
    model = build()
    with torch.no_grad():
        report = check(model, record)
        assert not torch.is_grad_enabled()
    assert report.verdict is Verdict.CORRECT


def test_every_call_of_f_finds_what_the_first_one_found():
    """Random numbers of all generators, buffers, modes and switches: or else f would be another one each time."""
    model = build()
    random.seed(1), random.gauss(0.0, 1.0)
    found = []

    def loss(copy, x):
        numbers = np.random.standard_normal(3), np.random.rand(), random.gauss(0.0, 1.0), float(torch.rand(()))  # noqa: NPY002
        found.append(
            (
                *map(repr, numbers),
                *(f"{part.training} {list(part._buffers)}" for part in copy.modules()),
                *(f"{name} {bits(value)}" for name, value in model.named_buffers()),
                *map(id, model.buffers()),
                *(repr(get()) for get in (torch.get_default_dtype, torch.is_anomaly_enabled)),
                *(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
            )
        )
        value = copy(x).square().sum() * (1 + numbers[1])
        for mark in (
            write_into_buffer,
            swap_buffer,
            add_buffer,
            reorder_buffers,
            fill_buffer,
            change_modes,
            change_dtype,
            look_for_anomalies,
            be_deterministic,
            change_cudnn,
        ):
            mark(model)
        return value

    report = gradproof.torch.check_module(model, loss, BATCH, rng=0)

    assert report.verdict is Verdict.CORRECT
    assert len(found) > 20
    assert set(found) == {found[0]}


@pytest.mark.parametrize("which", ["a parameter", "a gradient", "a tensor"])
def test_what_f_writes_past_torch_s_count_is_put_back_before_each_call(which):
    """Through `.data`, of which the count of writes knows nothing."""
    model, held, found = nn.Linear(4, 1).double(), tensor(4), []
    model.weight.grad = torch.ones_like(model.weight)
    written = {
        "a parameter": lambda: model.weight,
        "a gradient": lambda: model.weight.grad,
        "a tensor": lambda: held,
    }[which]

    def f(x):
        found.append(bits(written()))
        written().data.add_(1.0)
        return model(x * held).sum().sin()

    gradproof.check(f, tensor(4), rng=0)

    assert len(found) > 5
    assert set(found) == {found[0]}
    assert bits(written()) == found[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:os.fork", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_child_does_not_wait_for_a_check_of_its_parent():
    begun, ended = threading.Event(), threading.Event()

    def waits(x):
        begun.set()
        ended.wait()
        return x.sin().sum()

    thread = threading.Thread(target=lambda: gradproof.check(waits, tensor(2), modes=("rev",), rng=0))
    thread.start()
    begun.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # (of forks beside threads)
        child = os.fork()
    if not child:
        signal.alarm(120)
        report = gradproof.check(lambda x: x.sin().sum(), tensor(2), modes=("rev",), rng=0)
        os._exit(0 if report.verdict is Verdict.CORRECT else 1)
    status = os.waitpid(child, 0)[1]
    ended.set()
    thread.join()

    assert status == 0


def test_a_generator_that_f_reseeds_is_put_back_each_time():
    """Seeded differently by each call, it is as before after all."""
    seeds = iter(range(1000))
    before = of_everything(nn.Module())

    def f(x):
        value = x.sin().sum()
        seed = next(seeds)
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)  # noqa: NPY002
        return value

    report = gradproof.check(f, tensor(4), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert changes(before, of_everything(nn.Module())) == []


# ----------------------------------------------------------------------------------------------- what f makes and keeps


class Lazy(nn.Module):
    """Makes a parameter at its first call, puts it before the other one, and remembers that it has."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=DOUBLE))
        self.is_made = False

    def forward(self, x):
        if not self.is_made:
            self.shift, self.is_made = nn.Parameter(torch.zeros(3, dtype=DOUBLE)), True
            self.weight = nn.Parameter(self._parameters.pop("weight").detach())
        return (x * self.weight + self.shift).sin().sum()


def test_a_parameter_that_f_makes_at_its_first_call_stays():
    """What remembers that it has been made stays, too: without it the module would not run any more."""
    model = Lazy()
    weight = model.weight
    assert gradproof.check(lambda x: model(x), tensor(3), modes=("rev",), rng=0).verdict is Verdict.CORRECT
    assert list(model._parameters) == ["weight", "shift"]
    assert model.weight is weight
    model(tensor(3))


# -------------------------------------------------------------------------------------------------- the search in f


class Counting(collections.UserDict):
    """Counts how often somebody looks at all that is in it."""

    looked = 0

    def items(self):
        self.looked += 1
        return super().items()


def count_down(model, within):
    """A function of x that calls itself by its closure, which holds containers that hold themselves and it."""

    def f(x, n=2):
        return model(x).square().sum() if n == 0 else f(x, n - 1)

    within["itself"] = within
    within["f"] = f
    within["list"] = [within, f]
    within["list"].append(within["list"])
    f.kept = within
    return ft.partial(f, n=1), within


def test_a_search_in_what_refers_to_itself_ends():
    """And it finds the module there, looking at everything once."""
    model = build()
    within = Counting()
    f, _ = count_down(model, within)
    holder = ft.partial(lambda x, f, within: f(x), f=f, within=within)
    before = of_everything(model)

    report = gradproof.check(holder, BATCH, modes=("rev",), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert changes(before, of_everything(model)) == []
    assert within.looked == 1


MODEL = build()


def by_global(x):
    return MODEL(x).square().sum()


def by_global_function(x):
    return by_global(x)


class Owner:
    def __init__(self, model):
        self.model = model

    def loss(self, x):
        return self.model(x).square().sum()

    def __call__(self, x):
        return self.loss(x)


def defaults(model):
    def f(x, part=model):
        return part(x).square().sum()

    return f


def keyword_defaults(model):
    def f(x, *, part=model):
        return part(x).square().sum()

    return f


def deeply(model):
    """Three containers around it."""
    held = {"a": [(model,)]}

    def f(x):
        return held["a"][0][0](x).square().sum()

    return f


def functions(model):
    """A function that calls another one, which knows the module."""

    def inner(x):
        return model(x).square().sum()

    def outer(x):
        return inner(x)

    return outer


WAYS = {
    "closure": lambda model: lambda x: model(x).square().sum(),
    "positional of a partial": lambda model: ft.partial(lambda model, x: model(x).square().sum(), model),
    "keyword of a partial": lambda model: ft.partial(lambda x, model: model(x).square().sum(), model=model),
    "partial of a method": lambda model: ft.partial(Owner(model).loss),
    "method": lambda model: Owner(model).loss,
    "callable with an attribute": Owner,
    "default": defaults,
    "keyword default": keyword_defaults,
    "containers": deeply,
    "functions": functions,
    "global": lambda model: by_global,
    "function by global": lambda model: by_global_function,
    "itself": lambda model: nn.Sequential(model, Sum()),
}


class Sum(nn.Module):
    def forward(self, x):
        return x.square().sum()


@pytest.mark.parametrize("way", list(WAYS))
def test_a_module_is_found_wherever_f_holds_it(way):
    """Batch normalisation in train mode counts its batches, unless somebody puts that back."""
    model = MODEL if "global" in way else build()
    before = of_everything(model)

    report = gradproof.check(WAYS[way](model), BATCH, modes=("rev",), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert changes(before, of_everything(model)) == []
    assert sorted(one.path.rpartition("norm.")[2] for one in report.findings if one.id == "GP408") != []


def test_each_of_several_modules_is_found():
    """Also where f holds a part of one of them as well."""
    first, second = build(), build()
    norm = first.norm
    before = of_everything(first), of_everything(second)

    def f(x):
        return (first(x) + second(x)).square().sum() + norm.weight.sum()

    report = gradproof.check(f, BATCH, modes=("rev",), rng=0)

    assert report.verdict is Verdict.CORRECT
    assert [changes(one, of_everything(model)) for one, model in zip(before, (first, second), strict=True)] == [[], []]


def test_a_module_among_the_arguments_is_found():
    model = build()
    before = of_everything(model)
    report = gradproof.check(lambda x, model: model(x).square().sum(), (BATCH, model), wrt=0, modes=("rev",), rng=0)
    assert report.verdict is Verdict.CORRECT
    assert changes(before, of_everything(model)) == []


# ------------------------------------------------------------------------------------- what f keeps while it is batched


@pytest.mark.parametrize("keep", ["one that it has", "one that it makes", "none any more"])
def test_what_f_keeps_under_vmap_does_not_outlive_it(keep):
    """Attributes are what they were, also where nothing but their number differs."""
    model = Lazy()
    before = dict(vars(model))

    with State({"model": model}).attributes():
        if keep == "one that it has":
            model.is_made = "batched"
        elif keep == "one that it makes":
            model.seen = "batched"
        else:
            del model.is_made

    assert list(vars(model)) == list(before)
    assert all(value is before[name] for name, value in vars(model).items())
