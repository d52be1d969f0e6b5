"""Who watches a check: the callable or the display that the option `progress` asks for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import Any

from gradproof._progress._live import line_on
from gradproof._progress._progress import AFTER, EVERY, LOGGED, WATCH, Display, Progress, Setting, Watch


@contextlib.contextmanager
def watching(setting: Setting, name: str, *, started: float) -> Generator[None]:
    """Watch the check that runs within this context, as the option `progress` asks for.

    A check within another one, whose name is told meanwhile, is part of it unless it has a callable of its own.
    """
    outer = WATCH.get()
    if outer is not None and (setting is None or setting is True or setting is outer.setting):
        with outer.named(name):
            yield
        return
    watch = _watch(setting, name, started)
    if watch is None and outer is None:
        yield
        return
    token = WATCH.set(watch)
    try:
        yield
    finally:
        WATCH.reset(token)
        if watch is not None:
            watch.close()


def _watch(setting: Setting, name: str, started: float) -> Watch | None:
    if setting is False:
        return None
    if setting is not None and setting is not True:
        told = _Told(setting)
        return Watch(setting, lambda: told, name=name, started=started)
    on_terminal = _is_terminal(sys.stderr)
    if not setting and not on_terminal:
        return None
    after, every = (0.0 if setting else AFTER, EVERY) if on_terminal else (LOGGED, LOGGED)

    def line() -> Display | None:
        return line_on(sys.stderr, asked_for=bool(setting))

    return Watch(setting, line, name=name, started=started, after=after, every=every)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, or closed
        return False


class _Told:
    """A callable of the user's, which is told of the end, too."""

    def __init__(self, function: Callable[[Progress], object]) -> None:
        self._function = function

    def show(self, progress: Progress) -> None:
        function, self._function = self._function, _nothing
        function(progress)
        self._function = function  # unless it raised

    close = show


def _nothing(progress: Progress) -> None:
    """What is called in place of a callable that has raised."""
