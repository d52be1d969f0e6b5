"""What a function is called, what it calls its arguments, and how any name may be shown."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from gradproof._base._errors import UsageError

# A blank that is no place to break a line; views make it a plain one.
TIE = "\u00a0"


def argument_names(f: Any, count: int, *, skip: int = 0) -> list[str]:
    """Return f's own names for its positional arguments, ``args[i]`` where it has none; the first `skip` left out."""
    names = [f"args[{i}]" for i in range(count)]
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return names
    for i, parameter in enumerate(parameters[skip : skip + count]):
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            break
        names[i] = parameter.name
    return names


def function_name(f: Any, attribute: str = "__name__") -> str:
    """What f goes by; with ``"__qualname__"`` the classes and functions that it stands in, too."""
    f = inspect.unwrap(getattr(f, "func", f))  # functools.partial and wraps
    return str(getattr(f, attribute, None) or type(f).__name__)


def positions(wrt: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Return `wrt` as positions among the arguments that are in range, not negative and different; None is 0.

    Raises
    ------
    UsageError
        If it is anything else.
    """
    count = len(names)
    if wrt is None:
        wrt = 0
    asked = cast("tuple[Any, ...]", wrt) if isinstance(wrt, tuple) else (wrt,)
    if not asked or not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in asked):
        given = cast("Any", wrt)
        told: list[Any] = [names.index(one) if one in names else one for one in _several(given)]
        meant = told[0] if len(told) == 1 and not isinstance(wrt, (tuple, list)) else tuple(told)
        fix = f": pass `wrt={meant!r}`" if told and all(type(one) is int for one in told) else ""
        raise UsageError(f"`wrt` must be a position (int) or a tuple of positions of `args`, got {given!r}{fix}.")
    for i in asked:
        if not -count <= i < count:
            raise UsageError(f"`wrt` names argument {i}, but `args` holds {count}.")
    found = tuple(int(i) % count for i in asked)
    if len(set(found)) < len(found):
        raise UsageError(f"`wrt` must not name an argument twice, got {wrt!r}.")
    return found


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(cast("Sequence[Any]", value)) if isinstance(value, (tuple, list)) else (value,)


def is_within(path: str, whole: str) -> bool:
    """Whether a path, as Python source, is that of something or of a part of it: ``x[2]`` of ``x``, not ``x2``."""
    return path == whole or path.startswith((f"{whole}[", f"{whole}."))


def printable(text: str) -> str:
    """`text` on one line, with characters that would move the cursor or change colours written as escapes."""
    flat = " ".join(text.split("\n"))
    return flat if flat.isprintable() else "".join(c if c.isprintable() or c == TIE else repr(c)[1:-1] for c in flat)


def type_name(value: Any) -> str:
    """The type of a value with its module, as in ``numpy.ndarray``; builtins without."""
    module, name = type(value).__module__, type(value).__qualname__
    return name if module == "builtins" else f"{module}.{name}"
