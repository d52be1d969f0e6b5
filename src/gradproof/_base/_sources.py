"""Where the functions of the user's are defined: the file and the line, for whoever shows a report beside the code."""

from __future__ import annotations

import functools
import inspect
import os
import pathlib
import types
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from gradproof._base._away import is_from_handler

# Where a rule of PyTorch or JAX, or a layer, says its derivative; where it has none of these, its forward.
RULES = ("bwd", "backward", "vjp", "jvp", "forward")
# Objects that are looked at for one function: a cap, for those that make up their attributes.
MOST = 50
INSTALLED = {"site-packages", "dist-packages"}
_OURS = pathlib.Path(__file__).parents[1]


class SourceLine(NamedTuple):
    """A line of a file, whose path is absolute; lines are counted from 1."""

    file: str
    line: int


def definitions(*functions: Any) -> tuple[SourceLine, ...]:
    """Where functions are defined, in their order; those that no file of the user's holds are left out."""
    found: dict[SourceLine, None] = {}
    for f in functions:
        try:
            for one in _written(f, set()):
                line = _source_line(one.__code__.co_filename, one.__code__.co_firstlineno)
                if line is not None:
                    found[line] = None
        except Exception as error:  # the attributes of the user's objects may do anything
            if is_from_handler(error):
                raise
    return tuple(found)


def calling_line() -> tuple[SourceLine, ...]:
    """The line of the user's from which gradproof was called; none where no file holds it."""
    frame = inspect.currentframe()
    while frame is not None and pathlib.Path(frame.f_code.co_filename).is_relative_to(_OURS):
        frame = frame.f_back
    line = None if frame is None else _source_line(frame.f_code.co_filename, frame.f_lineno)
    return () if line is None else (line,)


def _source_line(file: str, line: int) -> SourceLine | None:
    if file.startswith("<") or not os.path.isfile(file):  # `<stdin>`, `<string>`, or moved since
        return None
    path = pathlib.Path(os.path.abspath(file))
    if INSTALLED & set(path.parts) or path.is_relative_to(_OURS):
        return None
    if any("\ud800" <= character <= "\udfff" for character in str(path)):  # no Unicode: nobody could show it
        return None
    return SourceLine(str(path), line)


def _written(f: Any, seen: set[int]) -> Iterator[Any]:
    """The functions of Python in which f is written: what tells most of its derivative first."""
    if f is None or id(f) in seen or len(seen) == MOST:
        return
    seen.add(id(f))
    for one in _inside(f):
        yield from _written(one, seen)
    if inspect.isfunction(f):
        yield f


def _inside(f: Any) -> list[Any]:
    """What f is made of."""
    wrapped = getattr(f, "__wrapped__", None)
    if isinstance(f, functools.partial):
        return [cast("Any", f).func]
    if isinstance(f, (types.FunctionType, staticmethod, classmethod)):
        return [wrapped]
    if inspect.ismethod(f):
        # (What is the framework's own, such as `apply`, is no line of the user's: that of the class is next.)
        return [f.__func__, f.__self__ if isinstance(f.__self__, type) else None]
    rules = [inspect.getattr_static(f, name, None) for name in RULES]
    if inspect.isroutine(f) or isinstance(f, type):
        return [*rules, wrapped]
    vectorized = inspect.getattr_static(f, "pyfunc", None)  # of `numpy.vectorize`
    return [*rules, wrapped, vectorized, inspect.getattr_static(cast("object", type(f)), "__call__", None)]
