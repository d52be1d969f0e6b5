"""A call that may take so long and no longer, where the system can end it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

# Seconds after which a call that has swallowed its end is ended again.
AGAIN = 0.05
# What is left of a timer that ran out meanwhile.
SOON = 1e-3


class _Ended(BaseException):
    """Raised within a call whose time is over; no Exception, so that an ``except Exception`` there lets it pass."""


def can_end() -> bool:
    """Whether a call in this thread can be ended: signals are for the main thread, and not on every system."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return ``call()``, ended after so many seconds of this process's time.

    Code outside Python, such as a solver in C, is ended once it returns to Python, and not before. Where nothing can be
    ended (see `can_end`), the call runs to its end. The timer and the handler of somebody else are kept, and theirs
    comes when it is due.

    Raises
    ------
    TimeoutError
        If the time was over.
    """
    if not math.isfinite(seconds) or not can_end():
        return call()
    alarm = _Alarm(seconds)
    try:
        alarm.start()
        returned = call()
        alarm.is_armed = False
    except _Ended:
        alarm.is_armed = False
        raise TimeoutError(f"no value within {seconds:.4g} s") from None
    finally:
        alarm.is_armed = False
        alarm.stop()
    return returned


class _Alarm:
    """The timer of the process and the handler of its signal, lent for one call."""

    def __init__(self, seconds: float) -> None:
        self.is_armed = False
        self._seconds = seconds
        self._began = time.monotonic()
        self._before: Any = None
        self._theirs = math.inf, 0.0

    def start(self) -> None:
        self._before = signal.getsignal(signal.SIGALRM)
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        self._theirs = self._began + left if left > 0 else math.inf, interval
        self.is_armed = True
        signal.signal(signal.SIGALRM, self._rings)
        signal.setitimer(signal.ITIMER_REAL, min(self._seconds, left) if left > 0 else self._seconds, AGAIN)

    def _rings(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        due, interval = self._theirs
        if now >= due - SOON:
            self._theirs = (now + interval if interval else math.inf), interval
            if callable(self._before):
                self._before(number, frame)
        if self.is_armed and now - self._began >= self._seconds - SOON:
            raise _Ended
        if self.is_armed:
            next_ = min(self._began + self._seconds, self._theirs[0]) - now
            signal.setitimer(signal.ITIMER_REAL, max(next_, SOON), AGAIN)

    def stop(self) -> None:
        """Give both back."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        if self._before is not None:
            signal.signal(signal.SIGALRM, self._before)
        due, interval = self._theirs
        if math.isfinite(due):
            signal.setitimer(signal.ITIMER_REAL, max(due - time.monotonic(), SOON), interval)
