"""What a check may take: a budget of evaluations or of time, and a time for one evaluation."""

from __future__ import annotations

import signal
import threading
import time
import warnings

import numpy as np
import pytest

import gradproof
from gradproof import UsageError, Verdict, check
from gradproof._base._clock import can_end, within
from test_ask_and_tell import QUESTIONS, X, layer, layer_jac, loss, wrong_cos, wrong_jac

HARD = [
    *QUESTIONS,
    (layer, X, {"vjp": lambda u, x: u @ wrong_jac(x)}),
    (layer, X, {"jvp": lambda v, x: wrong_jac(x) @ v}),
    (np.tanh, X, {"jac": lambda x: 1 - np.tanh(x) ** 2, "elementwise": True}),
    (np.tanh, X, {"jac": lambda x: np.where(x > 1, 1.0, 1 - np.tanh(x) ** 2), "elementwise": True}),  # wrong on purpose
    (lambda x: np.sum(np.abs(x - 0.1)), X, {"grad": lambda x: np.sign(x - 0.1)}),
    (lambda x: np.sum(np.maximum(x - 1, 0)), X, {"grad": lambda x: (x > 1) * 1.5}),  # wrong on purpose
    (loss, X, {"grad": np.cos, "hvp": lambda v, x: -1.5 * np.sin(x) * v}),  # wrong on purpose
]

ends = pytest.mark.skipif(not can_end(), reason="this system cannot end an evaluation")


# ---------------------------------------------------------------------------------------------------------- budget


@pytest.mark.parametrize(("f", "args", "claim"), HARD)
def test_no_budget_is_exceeded_and_none_turns_a_verdict_around(f, args, claim):
    """Whenever evaluations run out, the report is that of the whole check, or INCONCLUSIVE for want of budget."""
    whole = check(f, args, **claim, rng=0)
    most = whole.cost.evaluations
    for budget in sorted({1, 2, 3, 4, 6, 9, 13, 19, 27, most // 2, 3 * most // 4, most - 1, most} - {0}):
        report = check(f, args, **claim, rng=0, budget=budget)
        assert report.cost.evaluations <= budget
        if report.verdict is Verdict.INCONCLUSIVE:
            assert report.reason is gradproof.Reason.BUDGET
        else:
            assert report.verdict is whole.verdict


@pytest.mark.parametrize(("claim", "verdict"), [(np.cos, Verdict.CORRECT), (wrong_cos, Verdict.WRONG)])
def test_a_budget_that_suffices_changes_nothing(claim, verdict):
    report = check(loss, X, grad=claim, rng=0, budget=10_000)
    whole = check(loss, X, grad=claim, rng=0)
    assert report.verdict is verdict
    assert (report.leaves, report.cost.evaluations) == (whole.leaves, whole.cost.evaluations)


def test_what_was_proved_in_time_stands():
    """Of two arrays the first is proved by itself, as its claim is far larger; the first order before the second."""
    point = {"large": X, "small": X}

    def f(p):
        return 1e9 * np.sum(np.sin(p["large"])) + np.sum(np.sin(p["small"]))

    def grad(p):
        return {"large": 1e9 * np.cos(p["large"]), "small": np.cos(p["small"])}

    found = [
        tuple(leaf.verdict for leaf in check(f, point, grad=grad, rng=0, budget=b).leaves) for b in range(2, 80, 2)
    ]
    assert (Verdict.CORRECT, Verdict.INCONCLUSIVE) in found
    found = [
        tuple(
            leaf.verdict
            for leaf in check(loss, X, grad=np.cos, hess=lambda x: np.diag(-np.sin(x)), rng=0, budget=b).leaves
        )
        for b in range(2, 60, 2)
    ]
    assert (Verdict.CORRECT, Verdict.INCONCLUSIVE) in found


def test_a_deviation_that_was_seen_is_shown_where_no_budget_is_left_to_look_for_excuses():
    whole = check(loss, X, grad=lambda x: 2 * np.cos(x), rng=0)
    report = check(loss, X, grad=lambda x: 2 * np.cos(x), rng=0, budget=whole.cost.evaluations - 1)
    assert whole.verdict is Verdict.WRONG
    assert report.reason is gradproof.Reason.BUDGET
    (leaf,) = report.leaves
    assert leaf.deviation > 0.3
    assert leaf.note.startswith("deviates, but no evaluation was left")
    (leaf,) = check(loss, X, grad=lambda x: 2 * np.cos(x), rng=0, budget=3).leaves
    assert leaf.deviation is None
    assert leaf.note == "not judged: no evaluation was left"


def test_a_budget_of_time_ends_in_time():
    """Also within an evaluation that would take far longer."""

    def slow(x):
        time.sleep(0.02)
        return loss(x)

    def stuck(x):
        if x[0] < X[0]:
            time.sleep(30)
        return loss(x)

    for f in (slow, stuck) if can_end() else (slow,):
        began = time.perf_counter()
        report = check(f, X, grad=np.cos, rng=0, budget="0.15 s")
        assert time.perf_counter() - began < 3
        assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, gradproof.Reason.BUDGET)
        assert report.cost.evaluations > 1


def test_the_time_that_the_claim_takes_counts():
    """No evaluation follows a claim that has taken all of the time."""
    seen = []

    def grad(x):
        time.sleep(0.1)
        return np.cos(x)

    def f(x):
        seen.append(x)
        return loss(x)

    assert check(f, X, grad=grad, rng=0, budget="0.05 s").reason is gradproof.Reason.BUDGET
    assert len(seen) == 1


@pytest.mark.parametrize(
    "budget", [0, -1, 1.5, 10**400, float("nan"), True, "30", "0 s", "soon", "-3 s", "5 days", [3]]
)
def test_budgets_that_are_none(budget):
    with pytest.raises(UsageError, match="`budget` must be"):
        check(loss, X, grad=np.cos, budget=budget)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "5 s", True])
def test_timeouts_that_are_none(timeout):
    with pytest.raises(UsageError, match="`timeout` must be"):
        check(loss, X, grad=np.cos, timeout=timeout)


@pytest.mark.parametrize("budget", [1, 5, 9, 14, 40])
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_budget_for_a_frameworks_autodiff(framework, budget):
    module = pytest.importorskip(framework)
    sin, x = (module.sin, module.tensor(X)) if framework == "torch" else (module.numpy.sin, module.numpy.asarray(X))
    report = check(lambda x: sin(x).sum(), x, rng=0, order=2, budget=budget)
    assert report.cost.evaluations <= budget
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is gradproof.Reason.BUDGET


# --------------------------------------------------------------------------------------------------------- timeout


@ends
def test_a_hanging_evaluation_away_from_the_point_is_a_point_outside():
    """It hangs on one side only: the other side proves the gradient."""

    def f(x):
        while x[0] < X[0]:
            pass
        return loss(x)

    report = check(f, X, grad=np.cos, rng=0, timeout=0.02, domain=(X[0] - 1, None))
    assert report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    assert check(f, X, grad=wrong_cos, rng=0, timeout=0.02).verdict is not Verdict.CORRECT

    def everywhere(x):
        while (x != X).any():
            pass
        return loss(x)

    report = check(everywhere, X, grad=np.cos, rng=0, timeout=0.005)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert any("TimeoutError" in one.kind and "no value within 0.005 s" in one.kind for one in report.findings)


@ends
def test_a_hanging_evaluation_at_the_point_is_an_error():
    def f(x):
        while True:
            try:
                time.sleep(0.001)
            except Exception:  # what swallows all errors does not swallow this
                continue

    with pytest.raises(gradproof.FunctionError, match="`f` raised TimeoutError at the point itself: no value within"):
        check(f, X, grad=np.cos, timeout=0.02, rng=0)


@ends
def test_what_swallows_its_end_once_is_ended_again():
    def stubborn():
        try:
            time.sleep(10)
        except BaseException:
            time.sleep(10)

    began = time.perf_counter()
    with pytest.raises(TimeoutError):
        within(0.05, stubborn)
    assert time.perf_counter() - began < 5


@ends
def test_the_timer_and_the_handler_of_the_caller_are_kept():
    """An alarm of the caller's that is due during an evaluation comes then; one that is due later comes later."""
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(time.perf_counter()))
    handler = signal.getsignal(signal.SIGALRM)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        within(5.0, lambda: time.sleep(0.15))
        assert len(rang) == 1
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError):
            within(0.05, lambda: time.sleep(5))
        assert len(rang) == 1
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.2
        assert signal.getsignal(signal.SIGALRM) is handler
        time.sleep(0.25)
        assert len(rang) == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@ends
def test_nothing_is_left_of_the_timer():
    before = signal.getsignal(signal.SIGALRM)
    check(loss, X, grad=np.cos, timeout=5, rng=0)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_where_nothing_can_be_ended_that_is_said():
    """In another thread the check runs, and a warning says what does not."""
    caught = []

    def work():
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            caught.append((check(loss, X, grad=np.cos, timeout=5, rng=0).verdict, [str(one.message) for one in found]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    ((verdict, messages),) = caught
    assert verdict is Verdict.CORRECT
    assert len(messages) == 1
    assert "`timeout` cannot end an evaluation here" in messages[0]


@ends
def test_ctrl_c_ends_a_check_with_a_timeout(ctrl_c_raises):
    """It is not taken for the end of an evaluation."""

    def f(x):
        if (x != X).any():
            signal.raise_signal(signal.SIGINT)
        return loss(x)

    with pytest.raises(KeyboardInterrupt):
        check(f, X, grad=np.cos, timeout=5, rng=0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_timeout_that_nothing_needs_changes_nothing():
    report = check(layer, X, jac=layer_jac, rng=0, timeout=60)
    assert report.leaves == check(layer, X, jac=layer_jac, rng=0).leaves


def test_a_budget_that_ends_while_the_wrong_part_is_looked_for():
    """The gradient stays WRONG; no part is named that was not measured."""
    torch = pytest.importorskip("torch")

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, g):
            return 1.5 * g  # wrong on purpose

    def f(x):
        return torch.sum(Scaled.apply(torch.sin(x)) * x)

    whole = check(f, torch.tensor(X), rng=0, modes=("rev",))
    assert "GP120" in [one.id for one in whole.findings]
    found = set()
    for budget in range(1, whole.cost.evaluations):
        report = check(f, torch.tensor(X), rng=0, modes=("rev",), budget=budget)
        assert report.cost.evaluations <= budget
        named = "GP120" in [one.id for one in report.findings]
        assert report.verdict is Verdict.WRONG or report.reason is gradproof.Reason.BUDGET
        found.add((report.verdict, named))
    assert (Verdict.WRONG, False) in found
