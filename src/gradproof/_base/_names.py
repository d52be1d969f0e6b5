"""What a function is called, what it calls its arguments, and how any name may be shown."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from gradproof._base._errors import UsageError

# A blank that is no place to break a line; views make it a plain one.
TIE = "\u00a0"
# Characters of an argument of a partial that is written out: a cap.
LONGEST_ARGUMENT = 30
# A variable of a closure that has no value yet.
_EMPTY = types.CellType()


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


def function_name(f: Any, otherwise: str = "f") -> str:
    """What f goes by in sentences: `loss`, `Net.loss` or `Swish.apply`; `otherwise` where it has no name."""
    f = inspect.unwrap(getattr(f, "func", f))  # functools.partial and wraps
    return _dotted(f) or (otherwise if hasattr(f, "__name__") else type(f).__name__)


def function_source(f: Any, otherwise: str) -> str:
    """What a caller may have written for f, as Python source; `otherwise` where its own name tells nothing."""
    if isinstance(f, functools.partial):
        return _partial_source(cast("functools.partial[Any]", f)) or otherwise
    transform = _transform_of_jax(f)
    if transform:
        return f"jax.{transform}({function_source(f.__wrapped__, 'f')})"
    if type(f).__name__ == "PjitFunction" and _transform_of_jax(f.__wrapped__):
        return f"jax.jit({function_source(f.__wrapped__, 'f')})"
    name = getattr(f, "__name__", "")
    if isinstance(name, str) and getattr(np, name, None) is f:
        return f"np.{name}"
    if inspect.ismethod(f) and not isinstance(f.__self__, type):
        return otherwise  # (of an object that has no name we know)
    return _dotted(f) or otherwise


def _dotted(f: Any) -> str:
    """The name of a function within the class that it stands in; empty if it has none that can be written."""
    own = getattr(f, "__self__", None)
    written = isinstance(f, type) or inspect.ismethod(f) or inspect.isfunction(f)  # in Python
    name, within = str(getattr(f, "__name__", "")), str(getattr(f, "__qualname__", ""))
    if written and within.rpartition(".")[2] == name:  # (Who gives a function another name, gives it often half.)
        name = within.rpartition("<locals>.")[2]
    if isinstance(own, type) and not isinstance(f, type):
        name = f"{own.__name__}.{name.rpartition('.')[2]}"  # a class method, which may be inherited
    return name if all(part.isidentifier() for part in name.split(".")) else ""


def _partial_source(f: functools.partial[Any]) -> str:
    """A partial with its arguments: short ones as they are, others by the names that the function has for them."""
    inner = function_source(f.func, "")
    names = argument_names(f.func, len(f.args))
    given = [_short(value) or name for value, name in zip(f.args, names, strict=True)]
    given += [f"{name}={_short(value) or name}" for name, value in f.keywords.items()]
    return f"functools.partial({', '.join([inner, *given])})" if inner else ""


def _short(value: Any) -> str:
    plain = isinstance(value, (bool, int, float, complex, str, type(None))) and len(repr(value)) <= LONGEST_ARGUMENT
    return repr(value) if plain else ""


def _transform_of_jax(f: Any) -> str:
    """``"grad"`` of what `jax.grad` returns, and so on; empty of anything else."""
    if not inspect.isfunction(f):
        return ""  # (The attributes of other objects may be anything.)
    functions = [f, *(cell.cell_contents for cell in f.__closure__ or () if cell != _EMPTY)]
    for one in functions:
        code = getattr(one, "__code__", None)
        if code is not None and getattr(one, "__globals__", {}).get("__name__") == "jax._src.api":
            transform, within, _ = code.co_qualname.partition(".<locals>.")
            if within and hasattr(f, "__wrapped__"):
                return str(transform)
    return ""


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
