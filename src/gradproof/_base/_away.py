"""Why f has no value away from the point: it is not defined there, or memory, somebody else or a limit ended it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, cast

# What frameworks raise in place of MemoryError, by name and text (that of torch and that of XLA are RuntimeErrors).
_OUT_OF_MEMORY = re.compile(r"out ?of ?memory|can't allocate|cannot allocate|RESOURCE_EXHAUSTED", re.IGNORECASE)


class OutsideError(Exception):
    """A point lies outside the domain that the user has stated: f is not called there."""


class StopError(BaseException):
    """Ends a check for a reason that is none of f's; no Exception, so that nothing on the way takes it for that.

    `error` is what the caller gets.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class CrashError(Exception):
    """The process that evaluated f ended, each time it was tried."""


class BudgetSpent(Exception):  # noqa: N818  (it ends a search, and is no error)
    """All evaluations that a claim, or a check, may take have been taken, or all of its time."""


def name_of(error: BaseException) -> str:
    """The name of an exception, or of that in whose place it was raised here."""
    return str(getattr(error, "shown", "") or type(error).__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, which says nothing about f."""
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(f"{name_of(error)}: {error}"))


def is_from_handler(error: BaseException) -> bool:
    """Whether an exception ends the search or the check, and f has not raised it.

    That is a spent budget, or what comes from a signal handler that is installed now.

    What can be known is the traceback: a handler that raises has a frame of its own there. A handler that f installs
    for itself, such as a timeout, and removes before it returns, is f's own affair. What f makes of a handler's
    exception counts as that: to swallow a signal is worse than to stop.
    """
    if isinstance(error, BudgetSpent):
        return True
    codes = {code for number in signal.valid_signals() for code in _codes(signal.getsignal(number))}
    return bool(codes) and any(frame.f_code in codes for one in _chain(error) for frame in _frames(one))


def _codes(handler: Any) -> Iterator[CodeType]:
    """The code of a handler: a function, a method, a partial, or an object that is called; none where it is in C."""
    while not hasattr(handler, "__code__") and hasattr(handler, "func"):
        handler = handler.func
    called = vars(cast("type[Any]", type(handler))).get("__call__")
    for function in (handler, getattr(handler, "__func__", None), called):
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            yield code


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those within f that led to it: what was being handled outside when f was called is no cause."""
    seen: set[int] = set()
    inside: set[FrameType] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inside.update(_frames(one))
        before = one.__context__
        if before is not None and before.__traceback__ is not None and before.__traceback__.tb_frame in inside:
            pending.append(before)
        if one.__cause__ is not None:
            pending.append(one.__cause__)


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next
