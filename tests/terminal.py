"""A terminal to run programs in and look at."""

from __future__ import annotations

import dataclasses
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pyte

# What would change how programs behave in a terminal.
_LEFT_OUT = ("CI", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "PYTEST_CURRENT_TEST", "PYTEST_VERSION")

# What clears: to the end of the screen.
_CLEAR = b"\x1b[J"
# A guard against programs that hang; no test depends on it.
_SECONDS = 600.0

# Makes the terminal that of its session, so that Ctrl-C is heard, and becomes Python with the arguments. (A function to
# run in the child would make `subprocess` fork, which frameworks with threads warn of.)
_IN_CHARGE = """\
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a terminal showed.

    looks : the lines on the screen, each time before something on it was cleared, and in the end: they depend on what
        was written, not on when it was read.
    lines : all lines in the end, those that have left the screen too.
    written : what the program sent.
    """

    looks: list[list[str]]
    lines: list[str]
    written: bytes
    returncode: int


def run_in_terminal(
    arguments: Sequence[str],
    *,
    columns: int = 80,
    rows: int = 24,
    interrupt_when: Callable[[list[str]], bool] | None = None,
    **environment: str,
) -> Shown:
    """Run Python with arguments in a terminal of so many columns and rows; press Ctrl-C when the screen says so."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    env |= {"TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        [sys.executable, "-c", _IN_CHARGE, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=env,
        start_new_session=True,
    )
    os.close(theirs)
    screen = pyte.HistoryScreen(columns, rows, history=100_000)
    stream = pyte.ByteStream(screen)
    looks: list[list[str]] = []
    written = b""
    fed = 0
    last = time.monotonic() + _SECONDS
    while time.monotonic() < last:
        if not select.select([ours], [], [], 1.0)[0]:
            continue
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        written += chunk
        fed = _feed(stream, screen, written, fed, looks)
        if interrupt_when is not None and interrupt_when(_lines(screen)):
            os.write(ours, b"\x03")
            interrupt_when = None
    else:
        process.kill()
    returncode = process.wait()
    os.close(ours)
    stream.feed(written[fed:])
    looks.append(_lines(screen))
    gone = ["".join(line[x].data for x in range(columns)).rstrip() for line in screen.history.top]
    return Shown(looks, "\n".join([*gone, *looks[-1]]).rstrip().split("\n"), written, returncode)


def _feed(stream: pyte.ByteStream, screen: pyte.Screen, written: bytes, fed: int, looks: list[list[str]]) -> int:
    """Show what was written from `fed` on, with a look before each clearing; return how much has been shown."""
    while (clear := written.find(_CLEAR, fed)) >= 0:
        stream.feed(written[fed:clear])
        looks.append(_lines(screen))
        stream.feed(_CLEAR)
        fed = clear + len(_CLEAR)
    # (The first part of a sequence may be the last that has been read.)
    end = len(written) - next(n for n in range(len(_CLEAR) - 1, -1, -1) if written.endswith(_CLEAR[:n]))
    stream.feed(written[fed:end])
    return end


def _lines(screen: pyte.Screen) -> list[str]:
    return [line.rstrip() for line in screen.display]
