"""Work that Ctrl-C does not break off, such as putting things back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class _Later:
    """Stands for the handler of SIGINT while something is put back: it only notes that the signal has come."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.has_come = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.has_come = True


def undisturbed(work: Callable[[], None]) -> None:
    """Run `work` to its end: a SIGINT meanwhile is delivered afterwards, to the handler that was installed.

    Python runs handlers in the main thread only; in all others there is nothing to hold back. Neither can a handler be
    replaced that was not installed by Python.
    """
    if threading.current_thread() is not threading.main_thread():
        work()
        return
    handler: Any = signal.getsignal(signal.SIGINT)
    if handler is None:
        work()
        return
    # One that an exception kept from being put back, as `Guard` calls this twice.
    later = handler if isinstance(handler, _Later) else _Later(handler)
    signal.signal(signal.SIGINT, later)
    try:
        work()
    finally:
        signal.signal(signal.SIGINT, later.handler)
    if later.has_come:
        signal.raise_signal(signal.SIGINT)


class Guard:
    """A context that takes something at its beginning and gives it back at its end, whatever happens between.

    Enter it twice, ``with guard, guard:``. An exception may come up between any two lines, as Ctrl-C does: also before
    the first line of an `__exit__`, which then does nothing. The inner context does the work, and the outer one what
    was left undone.

    Parameters
    ----------
    take : callable
        What it does changes nothing, or notes what it is about to change before it does.
    give_back : callable
        May be called several times, and after a `take` that was broken off.
    """

    def __init__(self, take: Callable[[], None], give_back: Callable[[], None]) -> None:
        self._take, self._give_back = take, give_back
        self._is_armed = self._is_done = False

    def __enter__(self) -> None:
        if self._is_armed:
            self._take()
        self._is_armed = True

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Give back what was taken, if nobody has."""
        # (Once all is done, nothing is left to put back but the handler, where that was broken off.)
        if not self._is_done or isinstance(signal.getsignal(signal.SIGINT), _Later):
            undisturbed(self._finish)

    def _finish(self) -> None:
        if not self._is_done:
            self._give_back()
            self._is_done = True
