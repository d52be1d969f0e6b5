"""One evaluation of f in a worker: what is sent there, and what comes back, whatever f does."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import os
import pickle
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from gradproof import _backends
from gradproof._base._clock import within


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an evaluation.

    value : what f returned.
    error : what it raised, in place of that.
    changed : the arguments after the call, where f has changed them in place; else None.
    """

    value: Any = None
    error: BaseException | None = None
    changed: Any = None

    def result(self, arguments: Any) -> Any:
        """Return the value, or raise the error, and do to the arguments what f did to its own."""
        if self.changed is not None:
            _write_back(arguments, self.changed)
        if self.error is not None:
            raise self.error
        return self.value


def work_through(
    f: Callable[..., Any], points: Sequence[tuple[Any, ...]], seconds: float, strict: bool
) -> tuple[list[Outcome], float]:
    """Evaluate f at some points, one after the other, as `work` does.

    Returns
    -------
    outcomes : list of Outcome
        In the order of the points.
    elapsed : float
        Seconds that all of them took.
    """
    began = time.perf_counter()
    return [work(f, arguments, seconds, strict) for arguments in points], time.perf_counter() - began


def work(f: Callable[..., Any], arguments: tuple[Any, ...], seconds: float, strict: bool) -> Outcome:
    """Evaluate f as a check does in its own process: with private copies of the arguments.

    Parameters
    ----------
    seconds : float
        That it may take, where a worker can end it.
    strict : bool
        Whether a complex number that is cast to a real one is an error.
    """
    own = os.getpid()
    # (Those that some executors hand over cannot be written to.)
    passed = _backends.copied(arguments)
    try:
        with np.errstate(all="ignore"):
            value = within(seconds, lambda: _called(f, passed, strict))
        outcome = Outcome(value=value)
    except BaseException as error:
        outcome = Outcome(error=_portable(error))
    if os.getpid() != own:
        os._exit(0)  # f has forked: the result is that of the process that was asked
    return dataclasses.replace(outcome, changed=passed) if has_changed(passed, arguments) else outcome


def _called(f: Callable[..., Any], arguments: tuple[Any, ...], strict: bool) -> Any:
    if not strict:
        return f(*arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        return f(*arguments)


def casts_are_errors() -> bool:
    """Whether a complex number that is cast to a real one is an error here and now."""
    first = warnings.filters[0] if warnings.filters else None
    return first is not None and first[0] == "error" and first[2] is np.exceptions.ComplexWarning


def _portable(error: BaseException) -> BaseException:
    """An exception that another process can read: itself, or one of the same name and text."""
    trace = "".join(traceback.format_exception(error))
    try:
        again = pickle.loads(pickle.dumps(error))  # our own, a moment ago
        if type(again) is type(error) and str(again) == str(error):
            again.add_note(f"In a worker:\n{trace}")
            return again
    except Exception:
        pass
    made = named(type(error).__name__, str(error))
    made.add_note(f"In a worker:\n{trace}")
    return made


def named(name: str, text: str) -> Exception:
    """An exception of this name and text: of Python itself, or one that stands for another."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(Exception):
            made = kind(text)
            if str(made) == text:
                return made
    return _Named(text, name)


class _Named(Exception):  # noqa: N818  (it goes by the name of another)
    """Stands for an exception that cannot be sent."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.shown = name

    def __reduce__(self) -> tuple[Any, ...]:
        return _Named, (str(self), self.shown), {"__notes__": getattr(self, "__notes__", [])}


def has_changed(passed: Any, arguments: Any) -> bool:
    """Whether f has changed what it was passed, as a copy of that shows."""
    before, after = (_leaves(tree) for tree in (arguments, passed))
    return len(before) != len(after) or not all(map(_backends.same_leaf, before, after))


def _write_back(arguments: Any, changed: Any) -> None:
    """Give the arrays of `arguments` the values of those of `changed`."""
    for mine, theirs in zip(_leaves(arguments), _leaves(changed), strict=False):
        if hasattr(mine, "copy_"):  # a tensor
            mine.detach().copy_(theirs)
        elif hasattr(mine, "flags") and mine.shape == np.shape(theirs) and mine.flags.writeable:
            mine[...] = theirs


def _leaves(tree: Any) -> list[Any]:
    return optree.tree_leaves(tree, none_is_leaf=True, namespace="gradproof")
