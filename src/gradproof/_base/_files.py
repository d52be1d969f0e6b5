"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import itertools as it
import os
import stat

_NUMBERS = it.count()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text (UTF-8) beside its target and rename it: a failure at any moment leaves the old file as it was.

    What is there and is no regular file (a pipe, a device) is written to as it is. A link keeps pointing at its target.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    target = os.path.realpath(path)
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = None
    data = text.encode("utf-8")
    if mode is not None and not stat.S_ISREG(mode):
        with open(target, "wb") as file:
            file.write(data)
        return
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(13, os.strerror(13), os.fspath(path))
    beside = os.path.join(os.path.dirname(target), f".gradproof-{os.getpid()}-{next(_NUMBERS)}.tmp")
    try:
        # (Opened rather than made by `tempfile`, whose files nobody else may read.)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if mode is not None:
                with contextlib.suppress(OSError):
                    os.chmod(beside, stat.S_IMODE(mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
