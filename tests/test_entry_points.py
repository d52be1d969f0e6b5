"""Budgets, timeouts, executors and journals mean the same at every entry point as for `check`."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools as ft
import inspect
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import NonlinearConstraint

import gradproof
from gradproof import FunctionError, Reason, UsageError, Verdict
from gradproof._base._clock import can_end
from gradproof.scipy import check_constraint, check_ivp, check_least_squares, check_minimize, check_root
from test_executors import processes

POINT = np.array([0.5, 1.5, 0.7])

# ------------------------------------------------------------------------------------------ what the solvers are given
# At the top level, where workers find it.


def number(x, spoilt=0.0):
    return float(np.sum(np.sin(x)) + x[0] * x[1] ** 2)


def slope(x, spoilt=0.0):
    gradient = np.cos(x) + np.array([x[1] ** 2, 2 * x[0] * x[1], 0.0])
    gradient[2] += spoilt
    return gradient


def number_and_slope(x, spoilt=0.0):
    return number(x), slope(x, spoilt)


def curvature(x, spoilt=0.0):
    return np.diag(-np.sin(x)) + np.array([[0.0, 2 * x[1], 0.0], [2 * x[1], 2 * x[0], 0.0], [0.0, 0.0, spoilt]])


def vector(x, spoilt=0.0):
    return np.array([x[0] ** 2 + x[1], x[0] * x[2], np.sin(x[2])])


def matrix(x, spoilt=0.0):
    return np.array([[2 * x[0], 1.0, 0.0], [x[2], 0.0, x[0]], [0.0, 0.0, np.cos(x[2]) + spoilt]])


def curved(x, v, spoilt=0.0):
    return np.array([[2 * v[0], 0.0, v[1]], [0.0, 0.0, 0.0], [v[1], 0.0, -v[2] * np.sin(x[2]) + spoilt]])


def rate(t, y, spoilt=0.0):
    return vector(y)


def rates(t, y, spoilt=0.0):
    """Several states side by side."""
    return np.array([y[0] ** 2 + y[1], y[0] * y[2], np.sin(y[2])])


def rate_jac(t, y, spoilt=0.0):
    return matrix(y, spoilt)


def bent(z, spoilt=0.0):
    return np.array([np.log1p(z), 1 / (1 + z), (spoilt - 1) / (1 + z) ** 2])


def asleep(*args, of, seconds):
    time.sleep(seconds)
    return of(*args)


def noted(*args, of, seen):
    """Each evaluation leaves a line."""
    with open(seen, "ab") as file:
        file.write(b"+\n")
    return of(*args)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry point with a right claim, or one that is off by `spoilt`.

    `through` makes another function of the one that is evaluated.
    """

    name: str
    call: Callable[..., Any]
    takes: tuple[str, ...] = ("budget", "timeout", "executor", "journal")

    def __call__(self, *, spoilt=0.0, through=lambda f: f, **options):
        return self.call(spoilt, through, **({"rng": 0} | options))


def of_minimize(spoilt, through, **options):
    return check_minimize(through(number), POINT, spoilt, jac=slope, hess=curvature, **options)


def of_both(spoilt, through, **options):
    return check_minimize(through(number_and_slope), POINT, spoilt, jac=True, **options)


def constrained(spoilt, through):
    jac, hess = ft.partial(matrix, spoilt=spoilt), ft.partial(curved, spoilt=spoilt)
    return NonlinearConstraint(through(vector), -np.inf, 1, jac=jac, hess=hess)


def of_constraints(spoilt, through, **options):
    return check_minimize(number, POINT, jac=slope, constraints=[constrained(spoilt, through)], **options)


def of_layer(spoilt, through, **options):
    def backward(dout, cache):
        x, w = cache
        return dout @ w.T, (1 + spoilt) * x.T @ dout

    return gradproof.check_layer(through(forward), backward, (POINT.reshape(1, 3), np.ones((3, 2))), **options)


def forward(x, w):
    return x @ w, (x, w)


def of_module(spoilt, through, **options):
    torch = pytest.importorskip("torch")
    import gradproof.torch

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, g):
            return (1 + spoilt) * g

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(POINT))

        def forward(self, batch):
            return Scaled.apply(torch.sin(self.w)) * batch

    def summed(model, batch):
        return model(batch).sum()

    return gradproof.torch.check_module(Model(), through(summed), torch.tensor(POINT), **options)


OF_SCIPY = [
    Entry(name="minimize", call=of_minimize),
    Entry(name="minimize, jac=True", call=of_both),
    Entry(name="constraints", call=of_constraints),
    Entry(
        name="least_squares",
        call=lambda spoilt, through, **options: check_least_squares(
            through(vector), POINT, matrix, loss=ft.partial(bent, spoilt=spoilt), **options
        ),
    ),
    Entry(
        name="root",
        call=lambda spoilt, through, **options: check_root(through(vector), POINT, spoilt, jac=matrix, **options),
    ),
    Entry(
        name="constraint",
        call=lambda spoilt, through, **options: check_constraint(constrained(spoilt, through), POINT, **options),
    ),
    Entry(
        name="ivp",
        call=lambda spoilt, through, **options: check_ivp(
            through(rate), 0.0, POINT, args=(spoilt,), jac=rate_jac, **options
        ),
    ),
    Entry(
        name="ivp, vectorized",
        call=lambda spoilt, through, **options: check_ivp(
            through(rates), 0.0, POINT, vectorized=True, args=(spoilt,), jac=rate_jac, **options
        ),
    ),
]
OTHERS = [
    Entry(name="layer", call=of_layer, takes=("budget", "timeout")),
    Entry(name="module", call=of_module, takes=("budget", "timeout")),
]
every = pytest.mark.parametrize("entry", [*OF_SCIPY, *OTHERS], ids=lambda one: one.name)
of_scipy = pytest.mark.parametrize("entry", OF_SCIPY, ids=lambda one: one.name)
ends = pytest.mark.skipif(not can_end(), reason="this system cannot end an evaluation")


def text(report):
    return report.to_json(run=False)


@pytest.fixture(scope="module")
def pool():
    """Two processes."""
    with processes() as executor:
        yield executor


# --------------------------------------------------------------------------------------------------- budget, timeout


@every
def test_right_claims_are_correct_and_wrong_ones_are_not(entry):
    """What the tests below rest on."""
    assert entry().verdict is Verdict.CORRECT
    assert entry(spoilt=0.5).verdict is Verdict.WRONG  # wrong on purpose


@every
@pytest.mark.parametrize("spoilt", [0.0, 0.5])
def test_a_budget_ends_the_whole_call(entry, spoilt):
    """Counted over all checks that a call makes; what was proved is kept, and no verdict is turned around."""
    evaluated = []

    def counting(f):
        @ft.wraps(f)
        def counted(*args):
            evaluated.append(1)
            return f(*args)

        return counted

    whole = entry(spoilt=spoilt)
    most, proved = whole.cost.evaluations, []
    for budget in (1, 2, 5, 11, most // 2, 3 * most // 4, most - 1):
        evaluated.clear()
        report = entry(spoilt=spoilt, budget=budget, through=counting)
        assert report.cost.evaluations <= budget
        if entry.name not in ("layer", "module", "minimize, jac=True"):  # (These call it for the claim as well.)
            assert len(evaluated) <= budget
        if report.verdict is Verdict.INCONCLUSIVE:
            assert report.reason is Reason.BUDGET
        else:
            assert report.verdict is whole.verdict
        assert all(one.verdict in (Verdict.INCONCLUSIVE, Verdict.CORRECT, Verdict.WRONG) for one in report.leaves)
        proved.append(sum(one.verdict is Verdict.CORRECT for one in report.leaves))
    assert entry(budget=1).reason is Reason.BUDGET
    if not spoilt and entry.name in ("minimize", "constraints", "constraint", "least_squares"):
        assert 0 < max(proved) < len(whole.leaves)
    plenty = entry(spoilt=spoilt, budget=10_000)
    assert (plenty.leaves, plenty.cost.evaluations) == (whole.leaves, most)


@every
def test_a_budget_of_time_ends_the_whole_call(entry):
    """Each evaluation takes a twentieth of it, or more."""
    began = time.perf_counter()
    report = entry(budget="0.2 s", through=lambda f: ft.wraps(f)(lambda *args: asleep(*args, of=f, seconds=0.02)))
    assert time.perf_counter() - began < 5
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.BUDGET)


@every
@ends
def test_a_call_that_hangs_at_the_point_is_an_error(entry):
    """Whichever call of it is the first."""
    began = time.perf_counter()
    with pytest.raises(FunctionError, match=r"raised TimeoutError at the point.*no value within 0\.05 s"):
        entry(timeout=0.05, through=lambda f: ft.wraps(f)(lambda *args: asleep(*args, of=f, seconds=20)))
    assert time.perf_counter() - began < 5


@every
@ends
def test_a_timeout_that_nothing_needs_changes_nothing(entry):
    assert entry(timeout=60).leaves == entry().leaves


@every
@pytest.mark.parametrize("option", [{"budget": 0}, {"budget": "soon"}, {"timeout": -1}])
def test_what_is_no_budget_and_no_timeout(entry, option):
    with pytest.raises(UsageError, match=f"`{next(iter(option))}` must be"):
        entry(**option)


# ----------------------------------------------------------------------------------------------- executor, journal


@of_scipy
@pytest.mark.parametrize("spoilt", [0.0, 0.5])
def test_workers_give_the_same_report(entry, spoilt, pool):
    """From processes, which get what the solver is given by its name."""
    assert text(entry(spoilt=spoilt, executor=pool)) == text(entry(spoilt=spoilt))


@of_scipy
def test_workers_evaluate(entry, tmp_path):
    """All of it: nothing is evaluated in this thread but what is no f of any check."""
    import threading

    names = set()

    def through(f):
        @ft.wraps(f)
        def named(*args):
            names.add(threading.current_thread().name)
            return f(*args)

        return named

    with concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="elsewhere") as executor:
        report = entry(executor=executor, through=through)
    if entry.name != "minimize, jac=True":  # (There it is the claim as well.)
        assert names
        assert all(name.startswith("elsewhere") for name in names)
    assert text(report) == text(entry())


@of_scipy
@pytest.mark.parametrize("spoilt", [0.0, 0.5])
def test_a_journal_of_a_whole_call_goes_on(entry, spoilt, tmp_path):
    """From a journal that is whole nothing is evaluated, from one that is cut in half only what is missing."""
    seen, path = tmp_path / "seen", tmp_path / "journal"

    def through(f):
        return ft.wraps(f)(ft.partial(noted, of=f, seen=seen))

    def count():
        evaluated = len(seen.read_bytes().splitlines()) if seen.exists() else 0
        seen.unlink(missing_ok=True)
        return evaluated

    whole = text(entry(spoilt=spoilt, through=through))
    count()
    assert text(entry(spoilt=spoilt, through=through, journal=path)) == whole
    first = count()
    # (The seed is that of the journal.)
    assert text(entry(spoilt=spoilt, through=through, journal=path, rng=None)) == whole
    again = count()
    with sqlite3.connect(path) as file:
        rows = file.execute("SELECT COUNT(*) FROM evaluation").fetchone()[0]
        file.execute("DELETE FROM evaluation WHERE rowid > ?", (rows // 2,))
    file.close()
    assert text(entry(spoilt=spoilt, through=through, journal=path)) == whole
    assert count() < first
    if entry.name != "minimize, jac=True":
        assert again == 0


def test_a_journal_of_another_function_is_refused(tmp_path):
    """The code that counts is that of the user's function, not of what stands for it."""

    def made(source):
        space = {"np": np}
        exec(source, space)
        return space["fun"]

    one, other = (made(f"def fun(x):\n    return np.array([x[0] ** {n}, x[1], x[2]])") for n in (2, 3))
    check_root(one, POINT, jac=lambda x: np.diag([2 * x[0], 1, 1]), rng=0, journal=tmp_path / "journal")
    with pytest.raises(UsageError, match="`fun` with different code"):
        check_root(other, POINT, jac=lambda x: np.diag([3 * x[0] ** 2, 1, 1]), rng=0, journal=tmp_path / "journal")


@pytest.mark.parametrize("entry", OTHERS, ids=lambda one: one.name)
@pytest.mark.parametrize("option", ["executor", "journal"])
def test_what_is_not_offered_is_said(entry, option):
    with pytest.raises(UsageError, match=f"`{option}` is no option of"):
        entry(**{option: "journal"})


def test_all_take_the_same():
    entries = [check_constraint, check_ivp, check_least_squares, check_minimize, check_root]
    torch = __import__("gradproof.torch").torch if _has_torch() else None
    for call in [*entries, gradproof.check_layer, *([torch.check_module] if torch else [])]:
        parameters = inspect.signature(call).parameters
        for option in ("budget", "timeout", *(("executor", "journal") if call in entries else ())):
            assert parameters[option].default is None
            assert parameters[option].annotation == inspect.signature(gradproof.check).parameters[option].annotation


def _has_torch():
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True
