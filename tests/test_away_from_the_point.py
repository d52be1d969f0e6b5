"""Whatever f raises away from the point says that it is not defined there; what others raise passes through."""

from __future__ import annotations

import functools as ft
import re
import signal
import threading

import numpy as np
import pytest

import gradproof
from gradproof import FunctionError, Reason, Severity, Verdict, check
from helpers import finding, ids

X = np.array([0.5, 1.0, 1.5])


class TooFarError(Exception):
    """An exception of the user's own."""


ERRORS = (
    TooFarError,
    ValueError,
    ArithmeticError,
    IndexError,
    RuntimeError,
    np.linalg.LinAlgError,
    AssertionError,
    OSError,
)


def fenced(x, *, reach, error):
    """sum(sin(x)) within some distance of X."""
    if np.abs(x - X).max() > reach:
        raise error(f"further than {reach:g}")
    return np.sin(x).sum()


@pytest.mark.parametrize("error", ERRORS)
def test_smaller_steps_where_f_raises(error):
    """Steps shrink into the domain: right is CORRECT, 1 % off is WRONG, whatever the exception."""
    f = ft.partial(fenced, reach=1e-3, error=error)
    assert check(f, X, grad=np.cos, rng=0).verdict is Verdict.CORRECT
    wrong = check(f, X, grad=lambda x: 1.01 * np.cos(x), rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    assert "GP305" not in ids(wrong)


def matrix(x):
    return np.diag(np.cos(x)) + np.outer(np.sin(x), np.ones(3))


def outputs(x, *, reach):
    return np.sin(x) + np.sin(x) * 0 * fenced(x, reach=reach, error=TooFarError)


@pytest.mark.parametrize("off", [1.0, 1.01])
@pytest.mark.parametrize("keyword", ["jac", "vjp", "jvp"])
def test_smaller_steps_for_every_kind_of_claim(keyword, off):
    """Jacobians and products of a function that raises beside the point."""
    claims = {
        "jac": lambda x: off * np.diag(np.cos(x)),
        "vjp": lambda u, x: off * u * np.cos(x),
        "jvp": lambda v, x: off * v * np.cos(x),
    }
    report = check(ft.partial(outputs, reach=1e-3), X, **{keyword: claims[keyword]}, rng=0)
    assert report.verdict is (Verdict.CORRECT if off == 1 else Verdict.WRONG)


@pytest.mark.parametrize("keyword", ["grad", "hess", "hvp"])
def test_the_second_order(keyword):
    """A gradient that raises away from the point, and f for a second-order claim alone."""

    def gradient(x):
        if np.abs(x - X).max() > 0.1:
            raise TooFarError("the gradient, too")
        return np.cos(x)

    second = {
        "grad": {"grad": gradient},
        "hess": {"grad": gradient, "hess": lambda x: -np.diag(np.sin(x))},
        "hvp": {"grad": gradient, "hvp": lambda v, x: -v * np.sin(x)},
    }
    f = ft.partial(fenced, reach=0.1, error=TooFarError)
    assert check(f, X, **second[keyword], rng=0).verdict is Verdict.CORRECT


def one_sided(x):
    if x < 1:
        raise TooFarError("below 1")
    return x**3


def test_one_side_where_f_raises_on_the_other():
    """At the edge of what f takes the slope comes from one side."""
    assert check(one_sided, 1.0, grad=lambda x: 3 * x**2, rng=0).verdict is Verdict.CORRECT
    wrong = check(one_sided, 1.0, grad=lambda x: 3.1 * x**2, rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG


@pytest.mark.parametrize("claim", [np.cos, lambda x: 2 * np.cos(x)])
def test_f_that_is_defined_nowhere_else(claim):
    """INCONCLUSIVE for right and wrong alike, with the reason and what f raised."""
    report = check(ft.partial(fenced, reach=0.0, error=TooFarError), X, grad=claim, rng=0)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is Reason.DOMAIN
    found = finding(report, "GP305")
    assert found.severity is Severity.DOUBT
    assert "`fenced` raised TooFarError" in found.kind or "raised TooFarError" in found.kind
    assert "further than 0" in found.kind


def test_no_finding_where_nothing_was_raised():
    """nan away from the point is no exception: there is no text to show."""
    report = check(lambda x: 1.0 if x == 1.0 else np.nan, 1.0, grad=lambda x: 0.5, rng=0)
    assert (report.reason, ids(report)) == (Reason.DOMAIN, [])


def test_the_stated_domain_is_no_exception():
    """A jvp along random tangents stays within `domain`: f is not called outside, and nothing is said of that."""
    seen = []

    def f(x):
        seen.append(float(x.min()))
        return np.sqrt(x)

    x = np.linspace(1e-3, 2.0, 70)
    report = check(f, x, jvp=lambda v, x: 0.5 * v / np.sqrt(x), domain=(0.0, None), rng=0)
    assert min(seen) >= 0
    assert "GP305" not in ids(report)


def test_an_exception_at_the_point_is_an_error():
    """There is nothing to compare with there."""

    def f(x):
        raise TooFarError("everywhere")

    with pytest.raises(FunctionError, match="raised TooFarError at the point itself: everywhere") as error:
        check(f, X, grad=np.cos, rng=0)
    assert isinstance(error.value.__cause__, TooFarError)


@pytest.mark.parametrize("error", [MemoryError, None])
def test_memory_is_no_domain(error):
    """What does not fit into memory is an error, with its cause: it says nothing about f."""
    torch = pytest.importorskip("torch") if error is None else None
    error = error or torch.OutOfMemoryError
    with pytest.raises(FunctionError, match="further than") as raised:
        check(ft.partial(fenced, reach=1e-3, error=error), X, grad=np.cos, rng=0)
    assert isinstance(raised.value.__cause__, error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through(error):
    """Ctrl-C and an exit are not f's."""
    with pytest.raises(error):
        check(ft.partial(fenced, reach=1e-3, error=error), X, grad=np.cos, rng=0)


class StoppedError(Exception):
    """What a handler of the user raises."""


class Handlers:
    """Handlers of all kinds."""

    def method(self, number, frame):
        raise StoppedError

    def __call__(self, number, frame):
        raise StoppedError


def stop(number, frame, *, message=""):
    raise StoppedError(message)


def deep(number, frame):
    stop(number, frame)


HANDLERS = {
    "function": stop,
    "method": Handlers().method,
    "object": Handlers(),
    "partial": ft.partial(stop, message="now"),
    "deep": deep,
}


@pytest.fixture
def handled():
    """Install a handler of SIGUSR1, and put the old one back."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, before)


def interrupted(x, *, at_point=False):
    """A signal arrives in the midst of an evaluation."""
    if at_point or (x != X).any():
        signal.raise_signal(signal.SIGUSR1)
    return np.sin(x).sum()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
@pytest.mark.parametrize("at_point", [False, True])
@pytest.mark.parametrize("handler", HANDLERS)
def test_what_a_handler_raises_passes_through(handled, handler, at_point):
    """A handler of the user's ends the check, at the point and away from it; f has not raised."""
    handled(HANDLERS[handler])
    with pytest.raises(StoppedError):
        check(ft.partial(interrupted, at_point=at_point), X, grad=np.cos, rng=0)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_what_f_makes_of_a_signal_passes_through(handled):
    """To swallow a signal is worse than to stop."""

    def f(x):
        try:
            return interrupted(x)
        except Exception:
            raise RuntimeError("the solver failed")  # noqa: B904  (as people write it)

    handled(stop)
    with pytest.raises(RuntimeError, match="the solver failed") as raised:
        check(f, X, grad=np.cos, rng=0)
    assert not isinstance(raised.value, FunctionError)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_a_handler_within_f_is_its_own(handled):
    """A timeout that f sets and removes by itself means that f is not defined there; one that is installed is quiet."""

    def f(x):
        if np.abs(x - X).max() > 1e-3:
            before = signal.signal(signal.SIGUSR1, stop)
            try:
                signal.raise_signal(signal.SIGUSR1)
            finally:
                signal.signal(signal.SIGUSR1, before)
        return np.sin(x).sum()

    assert check(f, X, grad=np.cos, rng=0).verdict is Verdict.CORRECT
    handled(stop)
    assert check(ft.partial(fenced, reach=1e-3, error=TooFarError), X, grad=np.cos, rng=0).verdict is Verdict.CORRECT


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_what_was_handled_before_the_check_is_past(handled):
    """A check that is called while a handler's exception is dealt with takes f's own for what they are."""
    handled(stop)
    try:
        signal.raise_signal(signal.SIGUSR1)
    except StoppedError:
        report = check(ft.partial(fenced, reach=1e-3, error=TooFarError), X, grad=np.cos, rng=0)
    assert report.verdict is Verdict.CORRECT


def test_in_another_thread():
    """Where no signal arrives, exceptions are f's."""
    found = []
    f = ft.partial(fenced, reach=1e-3, error=TooFarError)
    thread = threading.Thread(target=lambda: found.append(check(f, X, grad=np.cos, rng=0).verdict))
    thread.start()
    thread.join()
    assert found == [Verdict.CORRECT]


@pytest.mark.parametrize("off", [1.0, 1.01])
@pytest.mark.parametrize("vectorized", [False, True])
def test_many_points_at_once(vectorized, off):
    """Where f raises for a batch, each point of it is asked by itself."""

    def f(x):
        if np.abs(x - X).max() > 1e-3:
            raise IndexError("outside of the table")
        return np.sin(x).sum(axis=-1)

    report = check(f, X, grad=lambda x: off * np.cos(x), vectorized=vectorized, level="entries", rng=0)
    assert report.verdict is (Verdict.CORRECT if off == 1 else Verdict.WRONG)


def test_torch():
    """torch's LinAlgError and RuntimeErrors, in the modes of autodiff."""
    torch = pytest.importorskip("torch")

    class LogDet(torch.autograd.Function):
        off = 1.0

        @staticmethod
        def forward(ctx, a):
            lower = torch.linalg.cholesky((a + a.mT) / 2)
            ctx.save_for_backward(lower)
            return 2 * lower.diagonal().log().sum()

        @staticmethod
        def backward(ctx, cotangent):
            return LogDet.off * cotangent * torch.cholesky_inverse(*ctx.saved_tensors)

    a = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    assert check(LogDet, a, modes=("rev",), rng=0).verdict is Verdict.CORRECT
    LogDet.off = 1.001  # wrong on purpose
    assert check(LogDet, a, modes=("rev",), rng=0).verdict is Verdict.WRONG
    y, t = torch.tensor([0.5, 0.6]).double(), torch.tensor([1e-3, 0.999]).double()
    cross_entropy = torch.nn.functional.binary_cross_entropy
    assert check(cross_entropy, (y, t), modes=("rev", "fwd"), rng=0).verdict is Verdict.CORRECT


def test_torch_defined_nowhere_else():
    """The report of a framework's own autodiff shows the text, too."""
    torch = pytest.importorskip("torch")
    x = torch.ones(3, dtype=torch.float64)

    def f(x):
        if (x.detach() != 1).any():
            raise RuntimeError("all elements must be 1")
        return x.sin().sum()

    report = check(f, x, modes=("rev",), rng=0)
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.DOMAIN)
    assert "all elements must be 1" in finding(report, "GP305").kind


def test_a_run_that_failed_in_a_session():
    """`None` means that f is not defined there, as ever."""
    session = gradproof.Session(X, grad=np.cos(X), rng=0)
    while not session.done:
        points = session.ask()
        session.tell([float(np.sin(x).sum()) if np.abs(x - X).max() <= 1e-2 else None for x in points])
    assert session.report.verdict is Verdict.CORRECT


HOLES = np.array([1.0, np.nan, 2.0, 0.3])
MASKED = np.array([0.3, -np.inf, 1.0, 0.2])
HALF_A_HOLE = np.array([1 + 2j, complex(0.5, -np.inf), 0.3 - 1j])
WEIGHTS = np.arange(4.0)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def pairs(x):
    return np.array([np.nansum(x**2), np.nansum(np.sin(x))])


def pairs_jacobian(x):
    return np.array([2 * x, np.cos(x)])


def squares(z):
    return np.where(np.isfinite(z), z, 0) ** 2


IGNORING = {
    "zero there": (lambda x: np.nansum(x**2), HOLES, {"grad": lambda x: np.where(np.isnan(x), 0, 2 * x)}),
    "nan there": (lambda x: np.nansum(x**2), HOLES, {"grad": lambda x: 2 * x}),
    "mask": (lambda x: softmax(x) @ WEIGHTS, MASKED, {"grad": lambda x: softmax(x) * (WEIGHTS - softmax(x) @ WEIGHTS)}),
    "float32": (lambda x: np.nansum(x**2), HOLES.astype(np.float32), {"grad": lambda x: 2 * x}),
    "jac": (pairs, HOLES, {"jac": pairs_jacobian}),
    "vjp": (pairs, HOLES, {"vjp": lambda u, x: u @ pairs_jacobian(x)}),
    "jvp": (pairs, HOLES, {"jvp": lambda v, x: np.nansum(pairs_jacobian(x) * v, axis=1)}),
    "complex": (lambda z: np.sum(np.abs(squares(z))), HALF_A_HOLE, {"grad": lambda z: 2 * z}),
    "complex jac": (squares, HALF_A_HOLE, {"jac": lambda z: 2 * np.diag(z)}),
}


@pytest.mark.parametrize("name", IGNORING)
def test_entries_that_are_not_finite_and_ignored(name):
    """They are left out with a note, whatever is claimed of them, and the others are measured."""
    f, point, claims = IGNORING[name]
    for off, verdict in ((1.0, Verdict.CORRECT), (1.05, Verdict.WRONG)):  # the second is wrong on purpose
        wrong = {keyword: (lambda *args, c=claim, off=off: off * c(*args)) for keyword, claim in claims.items()}
        report = check(f, point, **wrong, rng=0)
        assert report.verdict is verdict
        found = finding(report, "GP421")
        assert found.severity is Severity.NOTE
        assert re.fullmatch(r"1 entry is nan or infinite and left out: [xz]\[1\]", found.kind)


def test_they_stay_what_they_are():
    """f, the claim and the reference see nan there at every point, and the caller's array is as before."""
    seen = []

    def f(x):
        seen.append(np.isnan(x).tolist())
        return np.nansum(x**2)

    def gradient(x):
        seen.append(np.isnan(x).tolist())
        return 2 * x

    point = HOLES.copy()
    report = check(f, point, grad=gradient, reference=f, domain=(-10.0, 10.0), level="entries", rng=0)
    assert report.correct
    assert {tuple(one) for one in seen} == {(False, True, False, False)}
    np.testing.assert_array_equal(point, HOLES)


@pytest.mark.parametrize("f", [lambda x: np.sum(x**2), lambda x: float(np.sum(x)) if np.isfinite(x).all() else 1 / 0])
def test_entries_that_f_does_not_ignore(f):
    """nan at the point that reaches what f returns, or that f refuses, is an error of the call."""
    with pytest.raises(gradproof.UsageError, match=r"must be finite where f depends on it, but `x\[1\]` is nan"):
        check(f, HOLES, grad=lambda x: 2 * x, rng=0)
    with pytest.raises(gradproof.UsageError, match=r"must have finite entries.*, and no other is finite"):
        check(lambda x: 1.0, np.array([np.nan, np.inf]), grad=np.zeros_like, rng=0)


def test_nothing_finite_to_move():
    """An f that ignores nan depends on none of these entries: what is said does not claim that it does."""
    with pytest.raises(gradproof.UsageError, match=r"must have finite entries.* `x\[0\]` is nan, and no other"):
        gradproof.check(lambda x: np.nansum(x), np.full(2, np.nan), grad=lambda x: np.zeros(2), rng=0)


def test_torch_masks():
    """Attention's -inf masks, in all first modes."""
    torch = pytest.importorskip("torch")
    report = check(lambda x: torch.softmax(x, 0)[0], torch.tensor(MASKED), rng=0)
    assert report.correct
    assert "x[1]" in finding(report, "GP421").kind
