"""Evaluations by the workers of an executor of the user's; those of a worker that is killed are made by another."""

from __future__ import annotations

import concurrent.futures
import contextlib
import enum
import itertools
import math
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gradproof._base._away import BudgetSpent, CrashError
from gradproof._base._errors import FunctionError, UsageError
from gradproof._base._names import function_name
from gradproof._function._conditions import Conditions
from gradproof._run._worker import Outcome, work_through

# Seconds beyond `timeout` after which a worker that has not ended an evaluation by itself is taken to be unable to.
GRACE = 5.0
# Seconds for which each process of a pool waits while all are started.
STARTING = 0.05
# How often a point may end the worker that evaluates nothing else before it is blamed for that.
BLAMED = 2
# Seconds that one task may take where it has several evaluations: long beside what sending a task takes (with dask on
# one machine some 15 ms of each of two workers: benchmarks/executors.py), and short enough to show progress.
TASK = 0.25
# Seconds that a task takes at least, by a clock that may not see it.
SHORTEST = 1e-6
# Tasks for each worker, at least, where a task has several evaluations: the last ones keep all of them busy.
TASKS_EACH = 2
# How other schedulers call the error of a task that has ended several workers.
KILLED = ("KilledWorker",)


def require_executor(executor: Any) -> None:
    """Raise UsageError unless it is one."""
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise UsageError(
            "`executor` must be a concurrent.futures.Executor, such as ProcessPoolExecutor(), "
            f"loky.get_reusable_executor() or dask's client.get_executor(), got {type(executor).__name__}."
        )


# What pickling raises.
_UNSENDABLE = (pickle.PicklingError, TypeError, AttributeError)


class _End(enum.Enum):
    """How a round of evaluations has ended."""

    DONE = enum.auto()
    BROKEN = enum.auto()  # a worker was killed, and the executor is of no more use
    KILLED = enum.auto()  # some workers were killed, and the executor has others


class Workers:
    """A pool of workers, for one check.

    Parameters
    ----------
    executor : Executor
        It is neither changed nor shut down. One that a killed worker has broken is replaced for this check.
    f : callable
    conditions : Conditions
        How long an evaluation may take.
    one_by_one : bool
        Send each evaluation by itself, however short: none that is finished is lost with others of its task.

    Raises
    ------
    UsageError
        If it is no executor, or f cannot be sent to other processes.
    """

    def __init__(
        self, executor: Any, f: Callable[..., Any], conditions: Conditions, *, one_by_one: bool = False
    ) -> None:
        require_executor(executor)
        self._given = self._executor = executor
        self._f, self._conditions = f, conditions
        self._name, self._one_by_one = function_name(f), one_by_one
        self._own: list[concurrent.futures.Executor] = []
        # Seconds of one evaluation, by those of the last task; none is known before.
        self._each = math.inf
        if isinstance(executor, _process_pool()):
            _require_picklable(f, self._name)
            _start_all(executor)

    def close(self) -> None:
        """Shut down what took the place of a broken executor."""
        for one in self._own:
            one.shutdown(wait=False, cancel_futures=True)

    def kill(self) -> None:
        """Kill the processes of a pool that is the caller's own, and of those that took its place.

        One of them may hang, and where an idle one was interrupted, a pool waits for the others for ever (CPython, up
        to 3.11 at least).
        """
        for one in (self._given, *self._own):
            processes: dict[int, Any] = getattr(one, "_processes", None) or {}
            for process in list(processes.values()):
                process.kill()

    def outcomes(
        self, points: Sequence[tuple[Any, ...]], strict: bool, done: Callable[[int, Outcome], None]
    ) -> list[Outcome]:
        """What became of f at these arguments, in their order; each is told to `done` when it is there.

        Raises
        ------
        BudgetSpent
            If the time of the check is over.
        FunctionError
            If workers cannot end an evaluation that hangs, or there are none any more.
        UsageError
            If arguments or values cannot be sent.
        """
        found: dict[int, Outcome] = {}
        left = list(range(len(points)))
        strikes = tried = 0
        while left:
            # Together; then, where that has failed twice, one by one, so that the guilty point shows.
            alone = strikes >= BLAMED
            end = self._round(left[:1] if alone else left, points, strict, found, done)
            if end is _End.BROKEN:
                self._replace()
            if end is not _End.DONE and alone:
                tried += 1
                if tried == BLAMED or end is _End.KILLED:
                    found[left[0]] = Outcome(error=CrashError("the process that evaluated it was killed, or crashed"))
                    done(left[0], found[left[0]])
            elif end is not _End.DONE:
                # (A scheduler that speaks of killed workers has tried several.)
                strikes += BLAMED if end is _End.KILLED else 1
            before = len(left)
            left = [k for k in left if k not in found]
            tried = tried if len(left) == before else 0
        return [found[k] for k in range(len(points))]

    def _round(
        self,
        chosen: Sequence[int],
        points: Sequence[tuple[Any, ...]],
        strict: bool,
        found: dict[int, Outcome],
        done: Callable[[int, Outcome], None],
    ) -> _End:
        """Evaluate f at some points; whether workers were killed before all were done."""
        pending: dict[Any, Sequence[int]] = {}
        seconds = min(self._conditions.timeout, self._conditions.seconds_left)
        try:
            end = _End.DONE
            for some in self._tasks(chosen):
                try:
                    task = self._executor.submit(work_through, self._f, [points[k] for k in some], seconds, strict)
                    pending[task] = some
                except Exception as error:
                    if _is_shut_down(error):
                        raise UsageError(f"`executor` accepts no work: {error}.") from error
                    if isinstance(error, _UNSENDABLE):
                        raise UsageError(_cannot_send(self._name, error)) from error
                    # (One that breaks right now may raise anything else.)
                    end = _End.BROKEN
                    break
            while pending:
                for future in self._next(pending):
                    some = pending.pop(future)
                    outcomes = self._result(future)
                    if isinstance(outcomes, _End):
                        end = outcomes
                        continue
                    for k, outcome in zip(some, outcomes, strict=True):
                        found[k] = outcome
                        done(k, outcome)
            return end
        finally:
            for future in pending:
                future.cancel()

    def _tasks(self, chosen: Sequence[int]) -> list[Sequence[int]]:
        """Share evaluations out to tasks: several of those that take little time go together."""
        count, workers = len(chosen), None if self._one_by_one else _count(self._executor)
        size = 1 if workers is None else min(count // (TASKS_EACH * workers), int(TASK / self._each))
        if workers is None or size <= 1:
            return [[k] for k in chosen]
        # (As many for each worker, and as long, as can be.)
        tasks = workers * math.ceil(count / (workers * size))
        ends = [count * k // tasks for k in range(tasks + 1)]
        return [chosen[start:end] for start, end in itertools.pairwise(ends)]

    def _next(self, pending: dict[Any, Sequence[int]]) -> set[Any]:
        """Those that are done next, in the order in which they were sent."""
        timeout, deadline = self._conditions.timeout, self._conditions.seconds_left
        longest = timeout * max(len(some) for some in pending.values())
        wait = min(longest + max(GRACE, timeout), max(deadline, 0.0))
        done, _ = concurrent.futures.wait(
            pending,
            timeout=None if math.isinf(wait) else wait,
            return_when=concurrent.futures.FIRST_COMPLETED,
        )
        if not done:
            if self._conditions.seconds_left <= 0:
                raise BudgetSpent
            raise FunctionError(
                f"`{self._name}` hangs in a worker: no evaluation has ended for {wait:.3g} s, and "
                f"`timeout={timeout:g}` cannot end one that runs in a thread, or outside Python. Use an executor of "
                "processes, each of which evaluates in its main thread, and shut this one down."
            )
        return done

    def _result(self, future: Any) -> list[Outcome] | _End:
        """What became of the evaluations of a task, or of the worker, where it was killed before."""
        try:
            outcomes, elapsed = future.result()
            self._each = max(elapsed, SHORTEST) / len(outcomes)
            return outcomes
        except (concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError):
            return _End.BROKEN
        except Exception as error:
            if type(error).__name__ in KILLED:
                return _End.KILLED
            raise UsageError(_cannot_send(self._name, error)) from error

    def _replace(self) -> None:
        """Have others do the work of an executor that a killed worker has broken."""
        others = _like(self._given)
        if others is None:
            raise FunctionError(
                f"`executor` is broken: a worker was killed or crashed, and gradproof cannot make another "
                f"{type(self._given).__name__}. Pass a new one, and `journal=` to keep what has been evaluated."
            )
        if not _is_reusable(self._given):
            self._own.append(others)
            _start_all(others)
        self._executor = others


def _is_shut_down(error: Exception) -> bool:
    is_broken = isinstance(error, concurrent.futures.BrokenExecutor)
    return isinstance(error, RuntimeError) and not is_broken and "shutdown" in str(error)


def _process_pool() -> tuple[type, ...]:
    """The class of pools that pickle by reference, if anybody has imported it."""
    module = sys.modules.get("concurrent.futures.process")
    return () if module is None else (module.ProcessPoolExecutor,)


def _is_reusable(executor: Any) -> bool:
    return type(executor).__module__.partition(".")[0] == "loky" and hasattr(
        sys.modules["loky"], "get_reusable_executor"
    )


def _count(executor: Any) -> int | None:
    """How many evaluations an executor makes at a time; None where nobody knows."""
    client: Any = getattr(executor, "_client", None)  # that of dask's
    if callable(getattr(client, "nthreads", None)):
        return sum(client.nthreads().values()) or None
    workers = getattr(executor, "_max_workers", None)
    return workers if isinstance(workers, int) and workers > 0 else None


def _like(executor: Any) -> Any:
    """A fresh executor with as many workers, made in the same way; None where nobody knows how that is."""
    workers = getattr(executor, "_max_workers", None)
    if _is_reusable(executor):
        return sys.modules["loky"].get_reusable_executor(max_workers=workers)
    if isinstance(executor, _process_pool()):
        # (They have no public names.)
        return type(executor)(
            max_workers=workers,
            mp_context=getattr(executor, "_mp_context", None),
            initializer=getattr(executor, "_initializer", None),
            initargs=getattr(executor, "_initargs", ()),
        )
    return None


def _start_all(pool: Any) -> None:
    """Have a pool of processes start all of them.

    It starts one at a time, as work comes in, and does not end if one is killed while another is being started
    (CPython, up to 3.11 at least): `shutdown` then waits for a process that nobody has told to stop.
    """
    count = getattr(pool, "_max_workers", 0)
    if len(getattr(pool, "_processes", None) or ()) < count:
        with contextlib.suppress(RuntimeError):  # it is broken, or shut down, which shows when it is used
            concurrent.futures.wait([pool.submit(time.sleep, STARTING) for _ in range(count)])


def _require_picklable(f: Callable[..., Any], name: str) -> None:
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(f)
    except Exception as error:
        raise UsageError(_cannot_send(name, error)) from error


def _cannot_send(name: str, error: BaseException) -> str:
    said = str(error).strip().rstrip(".")
    return (
        f"`{name}`, its arguments or its values cannot be sent to other processes ({type(error).__name__}: {said}). "
        "Define it at the top level of a module, with `functools.partial` for what it needs besides, or use an "
        "executor that sends lambdas and closures as well: loky.get_reusable_executor(), or that of dask."
    )
