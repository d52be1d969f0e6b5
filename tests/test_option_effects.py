"""Every option does something for every kind of claim, or is refused: none is dropped."""

import concurrent.futures
import dataclasses
import inspect
import os
import tempfile
import threading
import time
import types
from typing import Any

import numpy as np
import pytest

import gradproof
from gradproof import UsageError, Verdict

X, Y = np.array([0.3, 0.9, 1.4]), np.array([0.5, 1.1, 0.7])
NAMES = ("x", "y")


class Function:
    """sin(x) sin(y) entry by entry, or its sum, at an offset that may drown it; it remembers where it was called."""

    def __init__(self, *, is_scalar=True, offset=0.0, numbers=np):
        self.is_scalar, self.offset, self.numbers = is_scalar, offset, numbers
        self.seen = []
        self.__name__ = "f"

    def __call__(self, x, y):
        if self.numbers is np:
            x, y = (np.asarray(array).astype(float) for array in (x, y))  # no complex step gets through
            self.seen.append(x)
        values = self.numbers.sin(x) * self.numbers.sin(y)
        return (values.sum(-1) if self.is_scalar else values) + self.offset


def slopes(wrt, x, y):
    return np.cos((x, y)[wrt]) * np.sin((y, x)[wrt])


def curvatures(wrt, x, y):
    return -np.sin(x) * np.sin(y)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """How claims of one kind are made; `factor` is by how much they are wrong."""

    keyword: str
    is_scalar: bool = True
    is_value: bool = False
    order: int = 1
    framework: str = ""

    def claims(self, wrt=0, factor=1.0):
        made = {
            "grad": lambda *args: factor * slopes(wrt, *args),
            "jac": lambda *args: factor * np.diag(slopes(wrt, *args)),
            "vjp": lambda u, *args: factor * u * slopes(wrt, *args),
            "jvp": lambda v, *args: factor * v * slopes(wrt, *args),
            "hess": lambda *args: factor * np.diag(curvatures(wrt, *args)),
            "hvp": lambda v, *args: factor * v * curvatures(wrt, *args),
        }[self.keyword]
        return {self.keyword: made(X, Y) if self.is_value else made}

    def check(self, *, factor=1.0, offset=0.0, function=None, **options):
        f = Function(is_scalar=self.is_scalar, offset=offset) if function is None else function
        wrt = options.get("wrt") or 0
        return gradproof.check(f, (X, Y), **self.claims(wrt, factor), **({"rng": 0} | options))


class Both(Kind):
    """A gradient, which is right, with a Hessian."""

    def claims(self, wrt=0, factor=1.0):
        return Kind(keyword="grad").claims(wrt) | Kind(keyword="hess").claims(wrt, factor)


class Told(Kind):
    """A session: its caller evaluates f."""

    def check(self, *, factor=1.0, offset=0.0, function=None, **options):
        f = Function(is_scalar=self.is_scalar, offset=offset) if function is None else function
        wrt = options.get("wrt") or 0
        session = gradproof.Session((X, Y), names=NAMES, **self.claims(wrt, factor), **({"rng": 0} | options))
        while not session.done:
            session.tell([f(*point) for point in session.ask()])
        return session.report


class Named(Kind):
    """A Case."""

    def check(self, *, factor=1.0, offset=0.0, function=None, **options):
        f = Function(is_scalar=self.is_scalar, offset=offset) if function is None else function
        wrt = options.get("wrt") or 0
        return gradproof.Case(f, (X, Y), **self.claims(wrt, factor), **({"rng": 0} | options)).check()


class Torch(Kind):
    """Torch's autodiff in one mode, which `keyword` names, of a rule that may be wrong."""

    def check(self, *, factor=1.0, offset=0.0, function=None, **options):
        import torch

        f = Function(is_scalar=self.is_scalar, offset=offset, numbers=torch) if function is None else function
        scaled = torch_rule(factor)

        def rule(x, y):
            f.seen.append(x.detach().numpy() if type(x) is torch.Tensor and not in_transform(x) else X)
            return f(scaled(x), scaled(y))

        rule.__name__ = "f"
        point = tuple(torch.tensor(array, dtype=torch.float64) for array in (X, Y))
        usual = {"rng": 0, "modes": (self.keyword,), "order": self.order}
        return gradproof.check(rule, point, **(usual | options))


class Jax(Kind):
    """JAX's autodiff in one mode, which `keyword` names, of a rule that may be wrong."""

    def check(self, *, factor=1.0, offset=0.0, function=None, **options):
        import jax
        import jax.numpy as jnp

        with jax.enable_x64(True):
            f = Function(is_scalar=self.is_scalar, offset=offset, numbers=jnp) if function is None else function

            def rule(x, y):
                jax.debug.callback(lambda array: f.seen.append(np.asarray(array)), x)
                return f(jax_rule(factor)(x), jax_rule(factor)(y))

            usual = {"rng": 0, "modes": (self.keyword,), "order": self.order}
            return gradproof.check(rule, (jnp.asarray(X), jnp.asarray(Y)), **(usual | options))


class Module(Kind):
    """A module with its loss."""

    def check(self, *, factor=1.0, offset=0.0, function=None, **options):
        import torch

        import gradproof.torch as gt

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.x = torch.nn.Parameter(torch.tensor(X))

            def forward(self, y):
                if function is not None:
                    function.seen.append(self.x.detach().numpy().copy())
                return torch.sin(torch_rule(factor)(self.x)) * torch.sin(torch_rule(factor)(y))

        loss = lambda model, batch: model(batch).sum() + offset  # noqa: E731
        usual = {"rng": 0, "modes": (self.keyword,), "order": self.order}
        return gt.check_module(Model(), loss, torch.tensor(Y), **(usual | options))


def in_transform(x):
    import torch

    return torch._C._functorch.is_functorch_wrapped_tensor(x)


def torch_rule(factor):
    """The identity, whose derivative is said to be `factor`."""
    import torch

    class Identity(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, g):
            return factor * g

        @staticmethod
        def jvp(ctx, t):
            return factor * t

    return (lambda x: x) if factor == 1 else Identity.apply


def jax_rule(factor):
    """The same for JAX."""
    import jax

    @jax.custom_jvp
    def identity(x):
        return x * 1.0

    identity.defjvp(lambda primals, tangents: (primals[0] * 1.0, factor * tangents[0]))
    return (lambda x: x) if factor == 1 else identity


KINDS = {
    "grad": Kind(keyword="grad"),
    "grad by value": Kind(keyword="grad", is_value=True),
    "jac": Kind(keyword="jac", is_scalar=False),
    "jac by value": Kind(keyword="jac", is_scalar=False, is_value=True),
    "vjp": Kind(keyword="vjp", is_scalar=False),
    "jvp": Kind(keyword="jvp", is_scalar=False),
    "hess": Kind(keyword="hess"),
    "hess by value": Kind(keyword="hess", is_value=True),
    "hvp": Kind(keyword="hvp"),
    "grad and hess": Both(keyword="hess"),
    "session": Told(keyword="grad"),
    "case": Named(keyword="jac", is_scalar=False),
    "torch rev": Torch(keyword="rev", framework="torch"),
    "torch rev of outputs": Torch(keyword="rev", is_scalar=False, framework="torch"),
    "torch fwd": Torch(keyword="fwd", framework="torch"),
    "torch vmap": Torch(keyword="vmap", is_scalar=False, framework="torch"),
    "torch second order": Torch(keyword="rev-rev", order=2, framework="torch"),
    "jax rev": Jax(keyword="rev", framework="jax"),
    "jax fwd": Jax(keyword="fwd", is_scalar=False, framework="jax"),
    "jax vmap": Jax(keyword="vmap", is_scalar=False, framework="jax"),
    "jax second order": Jax(keyword="fwd-rev", order=2, framework="jax"),
    "module": Module(keyword="rev", framework="torch"),
}


def of_wrt(kind):
    assert kind.check(wrt=1).leaves[0].path.partition(" ")[0] == "y"


def of_wrt_of_a_module(kind):
    assert [leaf.path for leaf in kind.check(wrt="inputs").leaves] == ["batch"]


def of_domain_of_a_module(kind):
    """X is on the upper edge: no evaluation goes beyond."""
    f = Function(is_scalar=True)
    assert kind.check(function=f, domain={"model.x": (X - 0.01, X)}).verdict is Verdict.CORRECT
    seen = np.array([x for x in f.seen if x.shape == X.shape])
    assert ((seen >= X - 0.01) & (seen <= X)).all()
    assert (seen != X).any()


def of_reference_of_a_module(kind):
    """Beside an offset whose rounding drowns the slopes the loss alone proves nothing."""
    seen = []

    def reference(parameters, batch):
        seen.append(parameters)
        return (parameters["x"].sin() * batch.sin()).sum()

    assert kind.check(offset=3e9, max_bound=1e-4).verdict is Verdict.INCONCLUSIVE
    assert kind.check(offset=3e9, max_bound=1e-4, reference=reference).correct
    assert seen


def of_timeout_of_a_module(kind):
    """At the point itself the model must not take longer."""

    class Slow:
        def append(self, _):
            time.sleep(5)

    with pytest.raises(gradproof.FunctionError, match=r"no value within 0\.02 s"):
        kind.check(function=types.SimpleNamespace(seen=Slow()), timeout=0.02)


def of_order(kind):
    report = kind.check(order=2, modes=None)
    assert "rev-rev" in [one.mode for one in report.modes]


def of_modes(kind):
    assert [one.mode for one in kind.check(modes=("rev", "fwd"), order=1).modes] == ["rev", "fwd"]


def of_rtol(kind):
    strict, lenient = kind.check(factor=1.003), kind.check(factor=1.003, rtol=0.02)
    assert lenient.rtol == 0.02
    assert lenient.verdict is not Verdict.WRONG
    # (Each second derivative is checked against differences of the first, whatever that is.)
    assert strict.verdict is Verdict.WRONG or kind.order == 2


def of_max_bound(kind):
    report = kind.check(max_bound=1e-15)
    assert report.max_bound == 1e-15
    assert report.verdict is Verdict.INCONCLUSIVE


def of_confidence(kind):
    report = kind.check(confidence=0.9)
    assert report.confidence == 0.9
    assert report.correct


def of_level(kind):
    report = kind.check(level="entries")
    assert report.level == "entries"
    assert report.correct


def of_domain(kind):
    """X is on the upper edge: no evaluation goes beyond."""
    f = Function(is_scalar=kind.is_scalar)
    if kind.framework == "torch":
        import torch

        f.numbers = torch
    elif kind.framework == "jax":
        import jax.numpy as jnp

        f.numbers = jnp
    sides = (X - 0.01, X)
    domain = tuple((side, None) for side in sides) if kind.framework else sides
    report = kind.check(function=f, domain=domain)
    seen = np.array([x for x in f.seen if np.shape(x) == X.shape])
    assert report.verdict is Verdict.CORRECT
    assert len(seen) > 3
    assert (seen >= sides[0]).all()
    assert (seen <= sides[1]).all()
    assert (seen != X).any()


def of_reference(kind):
    """Beside an offset whose rounding drowns the slopes f alone proves nothing; the reference does."""
    large = 3e9 if kind.order == 1 and "hess" not in kind.keyword and "hvp" not in kind.keyword else 3e6
    seen = []

    def reference(x, y):
        seen.append(x)
        assert x.dtype == y.dtype
        return Function(is_scalar=kind.is_scalar)(np.asarray(x), np.asarray(y))

    alone = kind.check(offset=large, max_bound=1e-4)
    helped = kind.check(offset=large, max_bound=1e-4, reference=reference)
    assert alone.verdict is Verdict.INCONCLUSIVE
    assert seen
    assert helped.correct


def of_vectorized(kind):
    f = Function(is_scalar=kind.is_scalar)
    report = kind.check(function=lambda x, y: f(x, y), vectorized=True)
    assert report.correct
    assert {np.ndim(x) for x in f.seen} == {2}


def of_elementwise(kind):
    """The whole Jacobian is no array of the shape of x."""
    assert [one.id for one in kind.check(elementwise=True).findings] == ["GP201"]


def of_contracts(kind):
    assert kind.check(contracts="none").cost.claims < kind.check().cost.claims


def of_rng(kind):
    assert kind.check(rng=7).seed == 7


def of_progress(kind):
    events = []
    kind.check(progress=events.append)
    assert events


def of_name(kind):
    assert kind.check(name="valley").name == "valley"


def of_budget(kind):
    report = kind.check(budget=3)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is gradproof.Reason.BUDGET


def of_timeout(kind):
    """At the point itself f must not take longer."""

    class Slow(Function):
        def __call__(self, x, y):
            time.sleep(5)

    with pytest.raises(gradproof.FunctionError, match=r"no value within 0\.02 s"):
        kind.check(function=Slow(is_scalar=kind.is_scalar), timeout=0.02)


def of_executor(kind):
    """Other threads evaluate f."""
    names = set()

    class Elsewhere(Function):
        def __call__(self, x, y):
            names.add(threading.current_thread().name)
            return super().__call__(x, y)

    with concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="elsewhere") as executor:
        assert kind.check(function=Elsewhere(is_scalar=kind.is_scalar), executor=executor).correct
    assert all(name.startswith("elsewhere") for name in names)


def of_journal(kind):
    """A second check asks for no values."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Function(is_scalar=kind.is_scalar), Function(is_scalar=kind.is_scalar)
        for f in (first, second):
            assert kind.check(function=f, journal=os.path.join(folder, "journal")).correct
    assert first.seen
    # (A session asks for the points that it has no values of.)
    assert len(second.seen) == 0


EFFECTS = {
    "executor": of_executor,
    "journal": of_journal,
    "budget": of_budget,
    "timeout": of_timeout,
    "wrt": of_wrt,
    "order": of_order,
    "modes": of_modes,
    "rtol": of_rtol,
    "max_bound": of_max_bound,
    "confidence": of_confidence,
    "level": of_level,
    "domain": of_domain,
    "reference": of_reference,
    "vectorized": of_vectorized,
    "elementwise": of_elementwise,
    "contracts": of_contracts,
    "rng": of_rng,
    "progress": of_progress,
    "name": of_name,
}

CLAIMED = [name for name, kind in KINDS.items() if not kind.framework]
FRAMEWORKS = [name for name, kind in KINDS.items() if kind.framework]
ENTRYWISE = ("jac", "jac by value", "case")
# What is refused, and what the refusal says.
REFUSED = {
    **{(option, name): "for a framework's own autodiff" for option in ("order", "modes") for name in CLAIMED},
    **{("elementwise", name): "is for the derivative as `jac`" for name in KINDS if name not in ENTRYWISE},
    **{("vectorized", name): "batched by the framework" for name in FRAMEWORKS},
    **{(option, name): "needs a claim" for option in ("executor", "journal") for name in FRAMEWORKS},
    **{("contracts", name): "passed as a value" for name in CLAIMED if "by value" in name},
    **{("reference", name): "does nothing for second-order modes" for name in FRAMEWORKS if "second" in name},
}
SETTINGS: dict[str, Any] = {
    "order": 2,
    "modes": ("rev",),
    "vectorized": True,
    "elementwise": True,
    "contracts": "none",
    "reference": Function(),
    "executor": concurrent.futures.ThreadPoolExecutor(1),
    "journal": "journal",
}
# What an entry point has no parameter for.
MISSING = {
    "session": (
        *("order", "modes", "reference", "vectorized", "elementwise", "contracts", "progress"),
        *("budget", "timeout", "executor"),  # f is evaluated elsewhere
    ),
    "module": ("vectorized", "elementwise", "name", "executor", "journal"),
}
# What is tried for another kind in its place.
INSTEAD = {
    ("wrt", "module"): of_wrt_of_a_module,
    ("domain", "module"): of_domain_of_a_module,
    ("reference", "module"): of_reference_of_a_module,
    ("timeout", "module"): of_timeout_of_a_module,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if kind.framework else ()) for name, kind in KINDS.items()]
)
@pytest.mark.parametrize("option", EFFECTS)
def test_every_option_works_or_is_refused(option, name):
    """Whatever is passed has its effect, or a UsageError says that it has none."""
    kind = KINDS[name]
    if kind.framework:
        pytest.importorskip(kind.framework)
    if option in MISSING.get(name, ()):
        entry = gradproof.Session if name == "session" else __import__("gradproof.torch").torch.check_module
        assert option not in inspect.signature(entry).parameters
    elif (option, name) in REFUSED:
        with pytest.raises(UsageError, match=REFUSED[option, name]):
            kind.check(**{option: SETTINGS[option]})
    else:
        INSTEAD.get((option, name), EFFECTS[option])(kind)


def test_the_table_is_whole():
    """A new option of `check` needs a row."""
    named = {
        name for name, one in inspect.signature(gradproof.check).parameters.items() if one.kind is one.KEYWORD_ONLY
    }
    claims = {"grad", "jac", "vjp", "jvp", "hess", "hvp"}
    assert named - claims == set(EFFECTS)
