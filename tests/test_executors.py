"""f is evaluated by workers: the same report, whatever becomes of the workers, and of f in them."""

from __future__ import annotations

import concurrent.futures
import functools as ft
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import gradproof
import workers
from gradproof import FunctionError, UsageError, Verdict, check
from gradproof._base._clock import can_end
from helpers import ids
from test_ask_and_tell import QUESTIONS
from workers import X, layer, layer_jac, loss, wrong_cos

FORKS = "forkserver" in multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif(not FORKS, reason="this system kills no processes by signals")


@pytest.fixture(scope="module")
def pool():
    """Two processes."""
    with processes() as executor:
        yield executor


@pytest.fixture
def breakable():
    """Two processes that may be killed."""
    with processes() as executor:
        yield executor


def processes():
    # (A fork of this process would copy what frameworks hold.)
    context = multiprocessing.get_context("forkserver" if FORKS else "spawn")
    return concurrent.futures.ProcessPoolExecutor(2, mp_context=context)


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        yield executor


def text(report):
    return report.to_json(run=False)


def checked(f, *, executor, grad=np.cos, **options):
    """A report, whose text does not depend on how f is called."""
    return check(f, X, grad=grad, rng=0, name="f", executor=executor, **options)


# -------------------------------------------------------------------------------------------------- the same report


@pytest.mark.parametrize(("f", "args", "claim"), QUESTIONS)
def test_the_report_is_that_of_a_check_without_workers(threads, f, args, claim):
    """All kinds of claims, right and wrong, byte for byte."""
    assert text(check(f, args, **claim, rng=0, executor=threads)) == text(check(f, args, **claim, rng=0))


@pytest.mark.parametrize(
    ("f", "claim"),
    [
        (loss, {"grad": np.cos}),
        (loss, {"grad": wrong_cos}),
        (loss, {"grad": np.cos, "level": "entries"}),
        (layer, {"jac": layer_jac}),
        (loss, {"hess": np.diag}),  # wrong on purpose
        (np.tanh, {"jac": lambda x: 1 - np.tanh(x) ** 2, "elementwise": True}),
        (loss, {"grad": np.cos, "budget": 11}),
        (loss, {"grad": np.cos, "reference": loss, "max_bound": 1e-9}),
        (workers.undefined_there, {"grad": np.cos}),
        (workers.odd, {"grad": np.cos}),
        (workers.changes_x, {"grad": np.cos}),
    ],
)
def test_the_report_is_the_same_from_processes(pool, f, claim):
    assert text(check(f, X, **claim, rng=0, executor=pool)) == text(check(f, X, **claim, rng=0))


def test_evaluations_go_out_together(threads):
    """Two at a time; without tasks that wait for each other there would be one."""
    running, most = [], []
    lock = threading.Lock()

    def f(x):
        with lock:
            running.append(1)
            most.append(len(running))
        time.sleep(0.01)
        with lock:
            running.pop()
        return loss(x)

    assert checked(f, executor=threads).correct
    assert max(most) == 2
    most.clear()
    assert checked(f, executor=threads, level="entries").correct
    assert sum(one == 2 for one in most) > 0.7 * len(most)


def test_no_more_points_wait_than_memory_allows(threads, monkeypatch):
    import gradproof._run._evaluations as module

    waiting = []
    together = module.Evaluations._together

    def counting(self, tasks, most):
        waiting.append(len(tasks))
        return together(self, tasks, most)

    monkeypatch.setattr(module.Evaluations, "_together", counting)
    monkeypatch.setattr(module, "WAITING", 5 * 8 * len(X))
    assert checked(loss, executor=threads, level="entries").correct
    assert max(waiting) == 5
    assert text(checked(loss, executor=threads, level="entries")) == text(checked(loss, executor=None, level="entries"))


def test_no_evaluation_goes_out_for_which_no_budget_is_left(threads):
    seen = []

    def f(x):
        seen.append(x)
        return loss(x)

    report = checked(f, executor=threads, budget=7, level="entries")
    assert report.cost.evaluations <= 7
    assert len(seen) <= 7


def test_progress_moves_while_workers_are_busy(threads):
    events = []
    check(ft.partial(workers.busy, seconds=0.02), X, grad=np.cos, rng=0, executor=threads, progress=events.append)
    assert events[-1].finished
    assert events[-1].evaluations > 10


# ------------------------------------------------------------------------------------------------------ what is sent


def test_what_cannot_be_sent_is_said_with_what_to_do(pool):
    bias = threading.Lock()
    for f in (lambda x: x @ x, ft.partial(lambda x, _: x @ x, _=bias)):
        with pytest.raises(UsageError, match=r"cannot be sent to other processes .*loky.get_reusable_executor"):
            check(f, X, grad=lambda x: 2 * x, rng=0, executor=pool)
    with pytest.raises(UsageError, match=r"its values cannot be sent .*generator"):
        checked(workers.returns_what_cannot_be_sent, executor=pool)
    # The executor is as good as before.
    assert checked(loss, executor=pool).correct


@pytest.mark.parametrize("executor", [2, "processes", concurrent.futures.ProcessPoolExecutor, object()])
def test_what_is_no_executor(executor):
    with pytest.raises(UsageError, match=r"`executor` must be a concurrent.futures.Executor"):
        checked(loss, executor=executor)


def test_an_executor_that_is_shut_down(threads):
    threads.shutdown()
    with pytest.raises(UsageError, match="`executor` accepts no work"):
        checked(loss, executor=threads)


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_frameworks_autodiff_stays_here(framework, threads):
    module = pytest.importorskip(framework)
    sin, x = (module.sin, module.tensor(X)) if framework == "torch" else (module.numpy.sin, module.numpy.asarray(X))
    with pytest.raises(UsageError, match="`executor` needs a claim"):
        check(lambda x: sin(x).sum(), x, rng=0, executor=threads)


def test_arrays_that_cannot_be_written_to_are_copied():
    """As some executors hand them over."""

    class Frozen(concurrent.futures.ThreadPoolExecutor):
        def submit(self, work, f, points, *others):
            for arguments in points:
                for one in arguments:
                    one.flags.writeable = False
            return super().submit(work, f, points, *others)

    def f(x):
        x *= 1.0
        return loss(x)

    with Frozen(2) as executor:
        assert checked(f, executor=executor).correct


# ------------------------------------------------------------------------------------------- what becomes of workers


@needs_fork
def test_one_killed_worker_changes_nothing(breakable, tmp_path):
    f = ft.partial(workers.killed_once, path=tmp_path / "killed")
    report = checked(f, executor=breakable)
    assert (tmp_path / "killed").exists()
    assert text(report) == text(checked(loss, executor=None))


@needs_fork
@pytest.mark.slow
def test_a_crash_of_f_is_a_finding(breakable):
    """The points at which it crashes count as undefined; a check without workers would have ended there."""
    report = checked(ft.partial(workers.ends_its_process, at=""), executor=breakable)
    assert report.correct
    assert ids(report) == ["GP430"]
    assert "every process that evaluated" in report.findings[0].kind
    assert report.leaves == checked(workers.raises_there, executor=None).leaves
    assert ids(checked(workers.raises_there, executor=breakable)) == []


@needs_fork
def test_a_crash_of_f_at_the_point_is_an_error(breakable):
    with pytest.raises(FunctionError, match="at the point itself: the process that evaluated it was killed"):
        checked(ft.partial(workers.ends_its_process, at="x"), executor=breakable)


def test_an_executor_nobody_can_replace_is_an_error():
    class Broken(concurrent.futures.Executor):
        def submit(self, *_, **__):
            raise concurrent.futures.BrokenExecutor("it is broken")

    with pytest.raises(FunctionError, match=r"gradproof cannot make another .*\. Pass a new one, and `journal=`"):
        checked(loss, executor=Broken())


def test_memory_that_runs_out_in_a_worker(pool):
    with pytest.raises(FunctionError, match="raised MemoryError"):
        checked(workers.out_of_memory, executor=pool)


@pytest.mark.skipif(not can_end(), reason="this system cannot end an evaluation")
def test_a_hanging_evaluation_is_ended_in_its_worker(pool):
    report = checked(workers.hangs_there, executor=pool, timeout=0.05)
    assert report.leaves == checked(workers.raises_there, executor=None).leaves


def test_a_worker_that_cannot_end_an_evaluation(threads, monkeypatch):
    """A thread cannot be ended: that is said, in time."""
    import gradproof._run._executor as module

    monkeypatch.setattr(module, "GRACE", 0.1)
    go = threading.Event()

    def f(x):
        if workers.is_beside(x):
            go.wait(20)
        return loss(x)

    began = time.perf_counter()
    with pytest.raises(FunctionError, match=r"`f` hangs in a worker: no evaluation has ended for 0\.\d s"):
        checked(f, executor=threads, timeout=0.1)
    with threading.Lock():
        report = checked(f, executor=threads, budget="0.2 s")
    assert report.reason is gradproof.Reason.BUDGET
    assert time.perf_counter() - began < 10
    go.set()


def test_what_f_does_in_a_worker_stays_there(pool, capfd):
    """It prints, forks, changes the state of NumPy, the environment and the folder."""
    before = os.getcwd(), np.geterr(), dict(os.environ)
    plain = text(checked(loss, executor=None))
    for f in (workers.prints, workers.changes_the_world, *([workers.forks] if FORKS else [])):
        assert text(checked(f, executor=pool)) == plain
    assert (os.getcwd(), np.geterr(), dict(os.environ)) == before
    out = capfd.readouterr().out
    assert set(out.split()) <= {"evaluated"}


def test_an_exit_within_f_ends_the_check(pool):
    """As it does in this process."""
    for executor in (pool, None):
        with pytest.raises(SystemExit):
            checked(workers.exits, executor=executor)


def test_a_function_that_fails_now_and_then(pool):
    """Whatever the verdict is, it is not WRONG; a wrong claim is not CORRECT."""
    assert checked(workers.every_hundredth, executor=pool, level="entries").verdict is not Verdict.WRONG
    assert checked(ft.partial(workers.every_hundredth, every=9), executor=pool).verdict is not Verdict.WRONG
    assert checked(workers.every_hundredth, executor=pool, grad=wrong_cos).verdict is not Verdict.CORRECT


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_the_check_and_leaves_the_executor_usable(threads, ctrl_c_raises):
    """What waits is cancelled."""
    seen = []

    def f(x):
        seen.append(x)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        return loss(x)

    with pytest.raises(KeyboardInterrupt):
        checked(f, executor=threads, level="entries")
    count = len(seen)
    assert count < 20
    assert checked(loss, executor=threads).correct


class Counting(concurrent.futures.ThreadPoolExecutor):
    """Two workers, and the number of evaluations of each task."""

    def __init__(self):
        super().__init__(2)
        self.sizes = []

    def submit(self, work, f, points, *others):
        self.sizes.append(len(points))
        return super().submit(work, f, points, *others)


@pytest.mark.parametrize(
    ("seconds", "options", "together"), [(0.001, {}, True), (0.15, {}, False), (0.001, {"journal": True}, False)]
)
def test_evaluations_that_take_little_time_go_out_together(seconds, options, together, tmp_path):
    """As long as that loses none that a journal should have."""
    if options:
        options = {"journal": tmp_path / "journal"}
    f = ft.partial(workers.busy, seconds=seconds)
    with Counting() as executor:
        report = checked(f, executor=executor, **options)
    assert text(report) == text(checked(loss, executor=None))
    assert (max(executor.sizes) > 1) == together
    assert sum(executor.sizes) == report.cost.evaluations


# --------------------------------------------------------------------------------------------------- other executors


@pytest.mark.slow
def test_loky_takes_closures_and_outlives_a_killed_worker(tmp_path):
    loky = pytest.importorskip("loky")
    executor = loky.get_reusable_executor(2)
    plain = text(checked(loss, executor=None))
    try:
        assert text(checked(lambda x: np.sum(np.sin(x)), executor=executor)) == plain
        assert text(checked(ft.partial(workers.killed_once, path=tmp_path / "killed"), executor=executor)) == plain
        assert (tmp_path / "killed").exists()
        report = checked(ft.partial(workers.ends_its_process, at=""), executor=loky.get_reusable_executor(2))
        assert ids(report) == ["GP430"]
    finally:
        loky.get_reusable_executor(2).shutdown(kill_workers=True)


@pytest.mark.slow
def test_dask_with_two_workers_one_of_which_is_killed(tmp_path):
    """A cluster of processes, started here: the same report before, during and after."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of dask itself
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, distributed.Client(cluster) as client:
            executor = client.get_executor()
            plain = text(checked(loss, executor=None, level="entries"))
            assert text(checked(lambda x: np.sum(np.sin(x)), executor=executor, level="entries")) == plain
            f = ft.partial(workers.killed_once, path=tmp_path / "killed")
            assert text(checked(f, executor=executor, level="entries")) == plain
            assert (tmp_path / "killed").exists()
            first = min(client.run(os.getpid).values())
            threading.Timer(0.3, os.kill, (first, signal.SIGKILL)).start()
            f = ft.partial(workers.busy, seconds=0.02)
            assert text(checked(f, executor=executor, level="entries")) == plain
            lock = threading.Lock()
            with pytest.raises(UsageError, match="cannot be sent"):
                checked(lambda x: loss(x) if lock else 0, executor=executor)


@pytest.mark.slow
def test_the_example_on_a_cluster_finds_the_wrong_entry():
    """Each entry by itself, by two workers, with a journal."""
    pytest.importorskip("distributed")
    script = pathlib.Path(__file__).parents[1] / "examples" / "cluster" / "check_cluster.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert "x[7]  error GP101" in done.stdout, done.stderr
