"""Frozen data <-> JSON: written so that it reads back equal, read so that nothing damaged gets through."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import types
import typing
from typing import Any, NoReturn, cast

from gradproof._base._errors import UsageError

# (No string of JSON text holds a line break, so no part of one looks like this.)
_NUMBERS = re.compile(r"\[\n\s+([-+.eE\d]+(?:,\n\s+[-+.eE\d]+)*)\n\s*\]")
# What UTF-8 cannot hold: halves of characters beyond 16 bits, as they come from names that are no valid UTF-8.
_PAIRS = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")
_NOT_FINITE = ("nan", "inf", "-inf")
# Counts and places fit into 64 bits; of whole numbers only a seed may be larger.
_LARGEST = 2**63


def json_text(document: Any, *, ascii_only: bool = False) -> str:
    """The text of a JSON document, indented, with every list of numbers on one line; it can be written as UTF-8."""
    text = json.dumps(document, indent=2, ensure_ascii=ascii_only, allow_nan=False)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    if not ascii_only and _LONE.search(text):
        text = _PAIRS.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        text = _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    return text


def loads(text: str) -> Any:
    """Parse JSON as the standard has it: no NaN, no number that a double cannot hold, no key twice.

    Raises
    ------
    UsageError
        If it is not that.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise UsageError("this is not JSON that can be read: it is nested too deeply.") from error
    except ValueError as error:
        raise UsageError(f"this is not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:40]} is too large")
    return value


def encode(value: Any) -> Any:
    """Give dataclasses, tuples, enums and floats as JSON values; non-finite floats, which JSON lacks, as strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in _fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in cast("tuple[Any, ...]", value)]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def decode(hint: Any, value: Any) -> Any:
    """Turn a JSON value into what the annotation `hint` says; TypeError or ValueError if it does not fit."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return None if value is None else decode(members[0], value)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, got {_shown(value)}")
        return tuple(decode(typing.get_args(hint)[0], item) for item in cast("list[Any]", value))
    assert isinstance(hint, type)
    kind: type = hint
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {_shown(value)}")
        hints, fields = typing.get_type_hints(hint), {field.name: field for field in _fields(hint)}
        found: dict[str, Any] = {}
        for name, item in cast("dict[str, Any]", value).items():
            if name not in fields:
                raise TypeError(f"there is no field {_shown(name)}")
            is_unlimited = fields[name].metadata.get("unlimited", False)
            found[name] = _whole(item, None) if is_unlimited else decode(hints[name], item)
        return hint(**found)
    if issubclass(hint, enum.Enum):
        if not isinstance(value, str):
            raise TypeError(f"expected a {hint.__name__}, got {_shown(value)}")
        return hint(value)
    if hint is float:
        if isinstance(value, bool) or not (isinstance(value, (int, float)) or value in _NOT_FINITE):
            raise TypeError(f"expected a number, got {_shown(value)}")
        return float(value)
    if hint is int:
        return _whole(value, _LARGEST)
    if not isinstance(value, hint):
        raise TypeError(f"expected {kind.__name__}, got {_shown(value)}")
    return value


def _fields(kind: Any) -> list[dataclasses.Field[Any]]:
    """The fields that stand in the JSON form."""
    return [field for field in dataclasses.fields(kind) if field.metadata.get("json", True)]


def _whole(value: Any, largest: int | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, got {_shown(value)}")
    if largest is not None and abs(value) >= largest:
        raise ValueError("a whole number is too large")
    return value


def _shown(value: Any) -> str:
    """A value that is not what it should be, in few words."""
    text = repr(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
