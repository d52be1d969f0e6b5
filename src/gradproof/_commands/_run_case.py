"""Running one case, here or in another process: its report, or what kept it from one."""

from __future__ import annotations

import dataclasses
import functools as ft
import io
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from gradproof._base._errors import GradproofError, users_traceback
from gradproof._commands._find_cases import Found, TargetError, distinct_cases, find_cases, in_words
from gradproof._report import Report


@dataclasses.dataclass(frozen=True)
class Ran:
    """What became of a case: `report` is None where it could not run, and the others say why."""

    report: Report | None
    message: str = ""
    kind: str = ""
    trace: str = ""

    @property
    def problem(self) -> TargetError:
        """Why it could not run."""
        return TargetError(self.message, kind=self.kind, trace=self.trace)


def run_case(found: Found, seed: int | None) -> Ran:
    """Run a case; whatever the user's code raises, but Ctrl-C, is told."""
    overrides = {} if seed is None else {"rng": seed}
    try:
        report: Report = found.case.check(**overrides)
    except GradproofError as error:
        trace = "" if error.__cause__ is None else users_traceback(error.__cause__)
        return Ran(None, f"{type(error).__name__}: {error}", type(error).__name__, trace)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's code may raise anything
        # Not one of ours: most likely a fault of gradproof, so that here all frames are of interest.
        trace = "".join(traceback.format_exception(error))
        return Ran(None, f"{type(error).__name__}: {in_words(error)}", type(error).__name__, trace)
    return Ran(report if found.case.name else dataclasses.replace(report, name=found.shown))


def run_cases(
    targets: Sequence[str],
    prefixed: bool,
    count: int,
    seed: int | None,
    *,
    jobs: int,
    to_stderr: bool,
    ready: Callable[[int, Ran], None],
) -> None:
    """Run cases in other processes, so many at a time; what became of each is told to `ready`, in their order.

    Each process reads the targets by itself: nothing of a case is sent.

    Parameters
    ----------
    targets : sequence of str
        Those that hold the cases, of which there are `count`; `prefixed` as for `distinct_cases`.
    to_stderr : bool
        Where what the user's code prints goes.
    """
    from gradproof._function._conditions import Conditions
    from gradproof._run._executor import Workers
    from gradproof._run._worker import Outcome

    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["gradproof._commands._run_case", "gradproof._claims"])
    done: dict[int, Ran] = {}
    told = 0

    def keep(index: int, outcome: Outcome) -> None:
        nonlocal told
        error = outcome.error
        if isinstance(error, KeyboardInterrupt):
            raise error
        crashed = f"the process that ran it ended before it was done ({error})"
        done[index] = outcome.value if error is None else Ran(None, crashed, type(error).__name__)
        while told in done:
            ready(told, done.pop(told))
            told += 1

    pool = ProcessPoolExecutor(min(jobs, count), mp_context=context, initializer=_begin, initargs=(to_stderr,))
    with pool:
        workers = Workers(pool, ft.partial(_run_there, tuple(targets), prefixed, seed), Conditions())
        try:
            workers.outcomes([(index,) for index in range(count)], False, keep)
        except BaseException:
            workers.kill()
            raise
        finally:
            workers.close()


def _begin(to_stderr: bool) -> None:
    """In a worker: what the user's code prints must not get between the lines of a document on stdout.

    Nor within lines: it is written line by line, also where Python is told not to buffer (PYTHONUNBUFFERED).

    Ctrl-C in a terminal is sent to all processes. This one leaves it to the one that waits for it, and is killed then.
    (By a handler that does nothing: programs that the user's code starts are not to ignore it.)
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)
    if to_stderr:
        os.dup2(2, 1)


@ft.cache
def _cases(targets: tuple[str, ...], prefixed: bool) -> list[Found]:
    found: list[Found] = []
    for target in targets:
        found += find_cases(target)
    return distinct_cases(found, prefixed=prefixed)


def _run_there(targets: tuple[str, ...], prefixed: bool, seed: int | None, index: int) -> Ran:
    ran = run_case(_cases(targets, prefixed)[index], seed)
    try:
        pickle.dumps(ran)
    except Exception:  # another point may be made of anything
        assert ran.report is not None
        ran = dataclasses.replace(ran, report=dataclasses.replace(ran.report, suggested_args=None))
    return ran
