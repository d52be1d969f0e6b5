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

    looks : the lines on the screen, each time something had been written.
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
    last = time.monotonic() + 60
    while time.monotonic() < last:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        written += chunk
        stream.feed(chunk)
        looks.append([line.rstrip() for line in screen.display])
        if interrupt_when is not None and interrupt_when(looks[-1]):
            os.write(ours, b"\x03")
            interrupt_when = None
    else:
        process.kill()
    returncode = process.wait()
    os.close(ours)
    gone = ["".join(line[x].data for x in range(columns)).rstrip() for line in screen.history.top]
    return Shown(looks, "\n".join([*gone, *looks[-1]] if looks else []).rstrip().split("\n"), written, returncode)
