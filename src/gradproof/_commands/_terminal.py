"""Where the command line writes to: consoles of rich that any stream, encoding and width can bear."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDEST = 120
# Columns where there is no terminal; of messages in a log, where a path must not be broken.
PLAIN, LOGGED = 80, 400


def console_on(stream: IO[str]) -> Console:
    """A console on `stream`: no escape codes with NO_COLOR or without a terminal, no crash on a narrow encoding.

    (rich leaves bold and dim in place with NO_COLOR; here it is all or nothing. FORCE_COLOR is left to rich.)
    """
    from rich.console import Console

    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    console = Console(
        file=stream,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        force_jupyter=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if stream.isatty():
        console.width = min(console.width, WIDEST)
    else:
        plain, columns = LOGGED if stream is sys.stderr else PLAIN, os.environ.get("COLUMNS", "")
        console.width = int(columns) if columns.isdecimal() and int(columns) > 0 else plain
    return console


def write(console: Console, *views: RenderableType) -> None:
    """Print without the blanks that rich fills lines up with."""
    with console.capture() as capture:
        for view in views:
            console.print(view)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    console.file.flush()
