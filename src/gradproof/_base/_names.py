"""What a function is called, what it calls its arguments, and how any name may be shown."""

from __future__ import annotations

import inspect
from typing import Any

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
