"""Running the user's code in a child process, so that its end, whatever it is, is not taken for a result.

`os._exit(0)`, a crash of an extension or a kill for memory end an interpreter without a word. Here another one waits,
and knows what the first was at and how it ended.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import warnings
from collections.abc import Callable

# Where a child that shares its parent's memory is safe to make (on macOS system libraries are not made for it).
CAN_FORK = hasattr(os, "fork") and hasattr(signal, "sigtimedwait") and sys.platform != "darwin"
INTERRUPTED = 130
# Bytes of what is told; seconds after which a child's end is seen even if no signal tells of it.
ROOM, POLL = 1024, 1.0

Tell = Callable[[str], None]


class EndedError(Exception):
    """The child ended without a result; the message says how, and `last` is what it told last."""

    def __init__(self, message: str, last: str) -> None:
        super().__init__(message)
        self.last = last


def supervised(work: Callable[[Tell], int]) -> int:
    """Run ``work(tell)`` in a child process and return what it returns: an exit code.

    Where the system has no safe way to do that, or the output goes to no file of the system, it runs here.

    Parameters
    ----------
    work : callable
        What it passes to ``tell`` is known if it ends without a result.

    Raises
    ------
    EndedError
    """
    if not CAN_FORK or not _is_file(sys.stdout) or not _is_file(sys.stderr):
        return work(lambda _: None)
    shared = _Shared()
    passed_on = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked before there is a child, so that no signal is lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*passed_on, signal.SIGCHLD})
    try:
        with warnings.catch_warnings():
            # NumPy's own threads stop for a fork; none of the user's code runs yet.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _end_with_the_parent()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return _work(work, shared)
        number = _wait(child, passed_on)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if shared.code is not None:
        return shared.code
    if number == -signal.SIGINT:
        return INTERRUPTED
    how = f"was killed by {_signal_name(-number)}" if number < 0 else f"ended with exit code {number}"
    raise EndedError(f"the interpreter {how} before the checks were done", shared.last)


class _Shared:
    """What a child writes and its parent reads: an exit code, and what it was at."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, ROOM)

    @property
    def code(self) -> int | None:
        """The exit code; None while there is none."""
        return self._memory[1] if self._memory[0] else None

    @code.setter
    def code(self, code: int) -> None:
        self._memory[1] = code
        self._memory[0] = 1

    @property
    def last(self) -> str:
        """What was told last."""
        return self._memory[2:].rstrip(b"\0").decode("utf-8", "replace")

    def tell(self, text: str) -> None:
        """Put something in place of what was told before."""
        data = text.encode("utf-8", "backslashreplace")[: ROOM - 2]
        self._memory[2:] = data.ljust(ROOM - 2, b"\0")


def _work(work: Callable[[Tell], int], shared: _Shared) -> int:
    own = os.getpid()
    try:
        code = work(shared.tell)
    except KeyboardInterrupt:
        shared.code = INTERRUPTED
        raise
    if os.getpid() == own:  # the user's code may fork as well
        shared.code = code
    return code


def _wait(child: int, passed_on: set[signal.Signals]) -> int:
    """Wait for a child's end: its exit code, or minus its signal; signals that a process sends here go to the child."""
    while True:
        found = signal.sigtimedwait({*passed_on, signal.SIGCHLD}, POLL)
        # (What a terminal sends, with a positive code, the child has as well.)
        if found is not None and found.si_signo != signal.SIGCHLD and found.si_code <= 0:
            os.kill(child, found.si_signo)
        try:
            pid, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            return 0  # whoever started us ignores the ends of children, and so must we
        if pid:
            return os.waitstatus_to_exitcode(status)


def _end_with_the_parent() -> None:
    """On Linux, end when the parent is killed: nobody would wait for the result."""
    if sys.platform == "linux":
        import ctypes

        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        except (OSError, AttributeError):
            return


def _is_file(stream: object) -> bool:
    """Whether a stream is one of the system's, which a child shares."""
    try:
        return int(getattr(stream, "fileno", lambda: -1)()) >= 0
    except (OSError, ValueError):
        return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
