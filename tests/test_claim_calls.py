"""A claim is called right after f at the point, twice, and what it returns is copied at once."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof
from gradproof import Reason, Severity, UsageError, Verdict, check
from helpers import finding, ids

X = np.array([0.5, 1.0, 1.5])
MATRIX = np.array([[1.0, 2.0, 0.5], [0.3, -1.0, 2.0], [1.0, 1.0, 1.0], [0.2, 0.1, 3.0], [1.5, -0.5, 0.7]])


def wide(x):
    """Five outputs of three inputs."""
    return np.tanh(MATRIX @ x)


def wide_jacobian(x):
    return (1 - np.tanh(MATRIX @ x) ** 2)[:, None] * MATRIX


class Layer:
    """A layer that keeps in `forward` what its derivatives need, counts, and may forget it once it was used."""

    def __init__(self, function, jacobian, *, forgets=False, off=1.0):
        self.function, self.jacobian, self.forgets, self.off = function, jacobian, forgets, off
        self.kept = None
        self.forwards = self.calls = 0
        self.between = []

    def forward(self, x):
        self.kept = x.copy()
        self.forwards += 1
        return self.function(x)

    def matrix(self, x):
        kept = self.kept
        self.calls += 1
        self.between.append(None if kept is None else float(np.abs(kept - x).max()))
        if self.forgets:
            self.kept = None
        return self.off * self.jacobian(kept)

    def claims(self):
        return {
            "grad": self.matrix,
            "jac": self.matrix,
            "vjp": lambda u, x: u @ self.matrix(x),
            "jvp": lambda v, x: self.matrix(x) @ v,
        }


FUNCTIONS = {
    "grad": (lambda x: np.sin(x).sum(), np.cos),
    "jac": (wide, wide_jacobian),
    "vjp": (wide, wide_jacobian),
    "jvp": (wide, wide_jacobian),
}
FEW = (np.sin, lambda x: np.diag(np.cos(x)))


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize(("keyword", "functions"), [*FUNCTIONS.items(), ("vjp", FEW), ("jvp", FEW)])
def test_layers_with_a_cache(keyword, functions, forgets):
    """No evaluation elsewhere lies between f at the point and a call of the claim: right is right, wrong is wrong."""
    for off, verdict in ((1.0, Verdict.CORRECT), (1.01, Verdict.WRONG)):  # the second is wrong on purpose
        layer = Layer(*functions, forgets=forgets, off=off)
        report = check(layer.forward, X, **{keyword: layer.claims()[keyword]}, rng=0)
        assert report.verdict is verdict
        seen = [one for one in layer.between if one is not None]
        assert set(seen) == {0.0}
        # A layer that forgets raises once where a call shares f(x) with the one before.
        assert len(layer.between) - len(seen) <= (1 if keyword in ("vjp", "jvp") and forgets else 0)
        assert report.cost.claims == layer.calls
        assert report.cost.evaluations >= layer.forwards


@pytest.mark.parametrize("second", ["hess", "hvp"])
@pytest.mark.parametrize("first", [True, False])
def test_the_second_order_of_a_layer_with_a_cache(first, second):
    """hess and hvp go by what f has kept; a gradient that does is called after f wherever its differences are taken."""
    layer = Layer(lambda x: np.sin(x).sum(), np.cos)
    claims = {
        "hess": lambda x: -np.diag(np.sin(layer.kept)),
        "hvp": lambda v, x: -v * np.sin(layer.kept),
    }
    claimed = {"grad": lambda x: np.cos(layer.kept)} if first else {}
    assert check(layer.forward, X, **claimed, **{second: claims[second]}, rng=0).verdict is Verdict.CORRECT
    wrong = {"hess": lambda x: 2 * claims["hess"](x), "hvp": lambda v, x: 2 * claims["hvp"](v, x)}  # wrong on purpose
    assert check(layer.forward, X, **claimed, **{second: wrong[second]}, rng=0).verdict is Verdict.WRONG


@pytest.mark.parametrize("keyword", ["grad", "jac", "vjp", "jvp"])
def test_evaluations_are_those_of_a_claim_without_a_cache(keyword):
    """f(x) before a call serves the looks at f's noise: the second call costs no evaluation."""
    function, jacobian = FUNCTIONS[keyword]
    layer = Layer(function, jacobian)
    report = check(layer.forward, X, **{keyword: layer.claims()[keyword]}, rng=0)
    once = check(layer.forward, X, **{keyword: layer.claims()[keyword]}, contracts="none", rng=0)
    assert report.cost.evaluations == once.cost.evaluations
    assert report.cost.claims == once.cost.claims + 1
    if keyword in ("grad", "jac"):
        value = check(function, X, **{keyword: jacobian(X)}, rng=0)
        assert (report.cost.evaluations, once.cost.claims) == (value.cost.evaluations, 1)


@pytest.mark.parametrize("keyword", ["grad", "jac", "vjp", "jvp"])
def test_a_claim_that_returns_its_own_buffer(keyword):
    """What it returns is copied before it is called again."""
    function, jacobian = FUNCTIONS[keyword]
    buffers = {}

    def into(result):
        buffer = buffers.setdefault(result.shape, np.empty_like(result))
        buffer[:] = result
        return buffer

    claims = {
        "grad": lambda x: into(jacobian(x)),
        "jac": lambda x: into(jacobian(x)),
        "vjp": lambda u, x: into(u @ jacobian(x)),
        "jvp": lambda v, x: into(jacobian(x) @ v),
    }
    assert check(function, X, **{keyword: claims[keyword]}, rng=0).verdict is Verdict.CORRECT


def remembering(keyword, size, memory):
    """A claim whose buffer is never zeroed (memory 1), or only partly cleared."""
    _, jacobian = FUNCTIONS[keyword]
    buffers = {}

    def into(result):
        buffer = buffers.setdefault(result.shape, np.zeros(result.shape))
        buffer *= memory
        buffer += size * result
        return buffer.copy()

    return {
        "grad": lambda x: into(jacobian(x)),
        "jac": lambda x: into(jacobian(x)),
        "vjp": lambda u, x: into(u @ jacobian(x)),
        "jvp": lambda v, x: into(jacobian(x) @ v),
    }[keyword]


@pytest.mark.parametrize("memory", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("keyword", ["grad", "jac", "vjp", "jvp"])
def test_a_claim_that_remembers_earlier_calls(keyword, memory):
    """One call agrees with f, another does not: WRONG, and said so."""
    for seed in range(3):
        report = check(FUNCTIONS[keyword][0], X, **{keyword: remembering(keyword, 1.0, memory)}, rng=seed)
        assert report.verdict is Verdict.WRONG
        found = finding(report, "GP213")
        assert found.severity is Severity.ERROR
        assert found.kind.startswith(f"`{keyword}` remembers earlier calls: its first call")
        assert report.leaves[0].verdict is Verdict.WRONG
        zeroed = remembering(keyword, 1.0, 0.0)
        assert check(FUNCTIONS[keyword][0], X, **{keyword: zeroed}, rng=seed).verdict is Verdict.CORRECT


def test_one_array_among_others_remembers():
    """The others are certified as ever; a buffer of a small array is no less wrong."""
    buffer = np.zeros(2)

    def gradient(p):
        buffer[:] += 1e-6 * np.cos(p["b"])
        return {"a": np.cos(p["a"]), "b": buffer.copy()}

    point = {"a": X, "b": np.array([0.3, 0.7])}
    report = check(lambda p: np.sin(p["a"]).sum() + 1e-6 * np.sin(p["b"]).sum(), point, grad=gradient, rng=0)
    assert ids(report) == ["GP213"]
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.CORRECT, Verdict.WRONG]
    assert finding(report, "GP213").path == "p['b']"


def test_a_second_call_of_another_form():
    """What only the second call returns wrongly is said of that call."""
    calls = []

    def gradient(x):
        calls.append(1)
        return np.cos(x) if len(calls) == 1 else np.full(3, np.nan)

    report = check(lambda x: np.sin(x).sum(), X, grad=gradient, rng=0)
    assert report.verdict is Verdict.WRONG
    assert finding(report, "GP203").kind.startswith("in its second call:")


def noisy(keyword, size, off=1.0):
    _, jacobian = FUNCTIONS[keyword]
    noise = np.random.default_rng(1)

    def drawn():
        return off * (1 + size * noise.normal())

    return {
        "grad": lambda x: drawn() * jacobian(x),
        "jac": lambda x: drawn() * jacobian(x),
        "vjp": lambda u, x: drawn() * (u @ jacobian(x)),
        "jvp": lambda v, x: drawn() * (jacobian(x) @ v),
    }[keyword]


@pytest.mark.parametrize("size", [1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("keyword", ["grad", "jac", "vjp", "jvp"])
def test_a_random_claim_around_the_right_one(keyword, size):
    """Calls that differ by as much as they deviate prove nothing: no lack of linearity, no wrong entry."""
    for seed in range(3):
        report = check(FUNCTIONS[keyword][0], X, **{keyword: noisy(keyword, size)}, rng=seed)
        assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.STOCHASTIC)
        assert ids(report) == ["GP306"]
        assert finding(report, "GP306").severity is Severity.DOUBT


@pytest.mark.parametrize("keyword", ["grad", "jac", "vjp", "jvp"])
def test_a_random_claim_far_from_the_right_one(keyword):
    """Calls that deviate by far more than they differ are WRONG, with a note; noise below rtol is none."""
    report = check(FUNCTIONS[keyword][0], X, **{keyword: noisy(keyword, 1e-5, off=1.1)}, rng=0)  # wrong on purpose
    assert report.verdict is Verdict.WRONG
    assert finding(report, "GP306").severity is Severity.NOTE
    assert "GP213" not in ids(report)
    quiet = check(FUNCTIONS[keyword][0], X, **{keyword: noisy(keyword, 1e-13)}, rng=0)
    assert (quiet.verdict, ids(quiet)) == (Verdict.CORRECT, [])


def test_most_random_right_gradients_are_not_accused():
    """Two draws may be close by chance, and a line may be blind to what they differ in: more calls, more lines."""
    verdicts = []
    for seed in range(60):
        noise = np.random.default_rng((7, seed))
        size = 10.0 ** -(1 + seed % 6)
        report = check(
            lambda x: np.sin(x).sum(), X, grad=lambda x, n=noise, s=size: np.cos(x) * (1 + s * n.normal()), rng=seed
        )
        verdicts.append(report.verdict)
    assert Verdict.WRONG not in verdicts


def test_noise_within_the_bars_of_f_is_a_note():
    """Where f is no more precise than the claim, a claim that varies less than its bars is as good as any."""
    steps = np.random.default_rng(3)
    report = check(
        lambda x: float(np.sin(x).sum()) + 1e-5 * np.random.default_rng(int(x.view(np.uint64).sum() % 97)).normal(),
        X,
        grad=lambda x: np.cos(x) * (1 + 1e-6 * steps.normal()),
        rng=0,
    )
    assert report.verdict is not Verdict.WRONG
    assert "GP213" not in ids(report)


@pytest.mark.parametrize("keyword", ["hess", "hvp"])
@pytest.mark.parametrize("first", [True, False])
def test_the_second_order_twice(keyword, first):
    """A hess or hvp that remembers is WRONG, one that is random INCONCLUSIVE, beside a gradient and alone."""
    given = {"grad": np.cos} if first else {}

    def claim(factor):
        return {
            "hess": lambda x: -factor() * np.diag(np.sin(x)),
            "hvp": lambda v, x: -factor() * v * np.sin(x),
        }[keyword]

    f = FUNCTIONS["grad"][0]
    calls = []
    counting = check(f, X, **given, **{keyword: claim(lambda: calls.append(1) or len(calls))}, rng=0)
    assert counting.verdict is Verdict.WRONG
    assert "GP213" in ids(counting)
    noise = np.random.default_rng(1)
    random = check(f, X, **given, **{keyword: claim(lambda: 1 + 0.05 * noise.normal())}, rng=0)
    assert (random.verdict, random.reason) == (Verdict.INCONCLUSIVE, Reason.STOCHASTIC)
    assert "GP306" in ids(random)
    assert check(f, X, **given, **{keyword: claim(lambda: 1.0)}, rng=0).verdict is Verdict.CORRECT


def test_contracts_none_leaves_the_second_call_out():
    """An adjoint may take minutes."""
    report = check(lambda x: np.sin(x).sum(), X, grad=remembering("grad", 1.0, 0.0), contracts="none", rng=0)
    assert (report.verdict, report.cost.claims) == (Verdict.CORRECT, 1)
    assert check(FUNCTIONS["grad"][0], X, grad=np.cos, rng=0).cost.claims == 2
    wrong = check(FUNCTIONS["grad"][0], X, grad=np.sin, contracts="none", rng=0)  # wrong on purpose
    assert 'contracts="none"' in wrong.findings[0].reproducer.replace("'", '"')
    with pytest.raises(UsageError, match='`contracts` must be "default", "all", "none"'):
        check(FUNCTIONS["grad"][0], X, grad=np.cos, contracts="some", rng=0)


def test_a_session_copies_its_point_and_its_claim():
    """What the caller does with the arrays between `ask` and `tell` is no part of the check."""
    point, claim = X.copy(), np.cos(X)
    session = gradproof.Session(point, grad=claim, rng=0)
    while not session.done:
        values = [float(np.sin(x).sum()) for x in session.ask()]
        point += 1.0
        claim[:] = 0.0
        session.tell(values)
    assert session.report.verdict is Verdict.CORRECT


def test_a_session_asks_no_more_for_a_callable_claim():
    """Nothing is kept in an f that runs elsewhere: the claim is called without it, and rounds stay few."""
    rounds = []
    for claim in (np.cos, np.cos(X)):
        session, count = gradproof.Session(X, grad=claim, rng=0), 0
        while not session.done:
            session.tell([float(np.sin(x).sum()) for x in session.ask()])
            count += 1
        assert session.report.verdict is Verdict.CORRECT
        rounds.append((count, session.evaluations))
    assert rounds[0] == rounds[1]


def torch_rule(back):
    torch = pytest.importorskip("torch")

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, cotangent):
            (x,) = ctx.saved_tensors
            return back(torch, 2 * x * cotangent)

    return torch, Square


def test_torch_backwards_that_remember():
    """A backward that accumulates into a buffer of its own, and one that returns a buffer which it clears."""
    buffer = {}

    def accumulate(torch, result):
        kept = buffer.setdefault("kept", torch.zeros_like(result))
        kept += result
        return kept.clone()

    def own(torch, result):
        return buffer.setdefault("own", torch.empty_like(result)).copy_(result)

    torch, rule = torch_rule(accumulate)
    x = torch.linspace(0.5, 2.0, 3, dtype=torch.float64)
    report = check(lambda x: rule.apply(x).sum(), x, modes=("rev",), rng=0)
    assert report.verdict is Verdict.WRONG
    assert "GP213" in ids(report)
    _, rule = torch_rule(own)
    numbers = {"modes": ("rev",), "contracts": ["GP213"], "rng": 0}
    assert check(lambda x: rule.apply(x).sum(), x, **numbers).verdict is Verdict.CORRECT
    assert check(rule, x, **numbers).verdict is Verdict.CORRECT
    assert ids(check(rule, x, modes=("rev",), rng=0)) == ["GP226"]
