"""Progress on a terminal: one line below whatever else is printed, gone when the check ends."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

from gradproof._progress._progress import Display, Progress

# DEC's control functions, which every terminal with a TERM other than "dumb" has: clear to the end of the screen; go
# down a line, which scrolls at the last one; save the cursor; restore it; go up a line; wrap at the margin, or do not.
CLEAR, DOWN, SAVE, RESTORE, UP, CLIP, WRAP = "\x1b[J", "\x1bD", "\x1b7", "\x1b8", "\x1bM", "\x1b[?7l", "\x1b[?7h"
DIM, PLAIN = "\x1b[2m", "\x1b[0m"
WIDEST = 120

# One line at a time: of checks in several threads, the first that wants it.
_TERMINAL = threading.Lock()


def line_on(stream: IO[str], *, asked_for: bool) -> Display | None:
    """What shows progress on `stream`: a live line, lines for a log if those were asked for, or None."""
    if _bears_a_line(stream):
        return None if not asked_for and _is_unwatched(os.environ) else Line(stream)
    return Log(stream) if asked_for else None


def _bears_a_line(stream: IO[str]) -> bool:
    if not stream.isatty():
        return False
    if os.name == "nt":
        from rich.console import detect_legacy_windows

        return not detect_legacy_windows()
    return os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")


def _is_unwatched(environment: Mapping[str, str]) -> bool:
    """Whether nobody looks, or others look after the terminal: CI, pytest, a worker process."""
    if environment.get("CI", "").lower() not in ("", "0", "false") or "PYTEST_CURRENT_TEST" in environment:
        return True
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and multiprocessing.parent_process() is not None


class Line:
    """A line below the cursor, which stays where it was: what others print goes to its own place.

    While the line stands, what Python prints to the terminal clears it first. What a subprocess or a library in C
    prints lands where it should, too, but from its second line on over the progress, which comes again below.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._is_ours = self._is_shown = False
        self._style = ("", "") if os.environ.get("NO_COLOR") else (DIM, PLAIN)
        self._hooks: list[_Hook] = []

    def show(self, progress: Progress) -> None:
        """Draw the line anew."""
        if not self._is_ours:
            if not _TERMINAL.acquire(blocking=False):
                return
            self._is_ours = True
            # (stderr first: where both are the same stream, one hook is enough.)
            streams = {id(stream): stream for stream in (self._stream, sys.stderr, sys.stdout)}
            self._hooks = [_Hook(stream, self.clear) for stream in streams.values() if _is_terminal(stream)]
        text = _fitted(progress, self._stream)
        before, after = self._style
        self._is_shown = True
        self._write(f"{CLEAR}{DOWN}{SAVE}\r{CLIP}{before}{text}{after}{WRAP}{RESTORE}{UP}")

    def clear(self) -> None:
        """Remove the line until it is drawn again."""
        if self._is_shown:
            self._is_shown = False
            self._write(CLEAR)

    def close(self, progress: Progress) -> None:
        """Remove the line for good."""
        del progress
        self.clear()
        for hook in self._hooks:
            hook.remove()
        if self._is_ours:
            self._is_ours = False
            _TERMINAL.release()

    def _write(self, text: str) -> None:
        write = next((hook.write for hook in self._hooks if hook.stream is self._stream), self._stream.write)
        # A terminal that has gone away is no reason to end a check.
        with contextlib.suppress(OSError, ValueError):
            write(text)
            self._stream.flush()


class _Hook:
    """Calls a function before anything is written to a stream.

    It stands on the stream itself, so that handlers of logging, which keep the stream, come by, and nobody finds
    another `sys.stdout`.
    """

    def __init__(self, stream: IO[str], before: Any) -> None:
        self.stream = stream
        self.write = stream.write
        self._own = vars(stream).get("write") if hasattr(stream, "__dict__") else None

        def write(text: str, /) -> int:
            before()
            return self.write(text)

        self._hooked = write
        with contextlib.suppress(AttributeError):  # a stream that takes no attributes goes without
            setattr(stream, "write", write)  # noqa: B010

    def remove(self) -> None:
        """Leave the stream as it was found, unless somebody else has hooked it meanwhile."""
        if getattr(self.stream, "__dict__", {}).get("write") is not self._hooked:
            return
        if self._own is None:
            delattr(self.stream, "write")
        else:
            setattr(self.stream, "write", self._own)  # noqa: B010


class Log:
    """A line of its own each time, for streams where none can be taken back."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def show(self, progress: Progress) -> None:
        """Write a line."""
        self._stream.write(f"{_encodable(str(progress), self._stream)}\n")
        self._stream.flush()

    def close(self, progress: Progress) -> None:
        """Nothing is to be removed."""


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _fitted(progress: Progress, stream: IO[str]) -> str:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    dots = "…" if _encodable("…", stream) == "…" else "..."
    text = progress.line(min(columns or 80, WIDEST) - 1, dots)
    return _encodable("".join(c if c.isprintable() else "?" for c in text), stream)


def _encodable(text: str, stream: IO[str]) -> str:
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)
