"""What to do about an error that f raised at the point, as far as the call tells: other arguments, or another library.

It imports no library.
"""

from __future__ import annotations

import functools as ft
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np

_TITLES = {"torch": "PyTorch", "jax": "JAX", "numpy": "NumPy"}
_ROOTS = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "numpy": "numpy"}
_ARRAYS = {"torch": "Tensor", "jax": "Array"}


def libraries(f: Any) -> set[str]:
    """Those of torch, JAX and NumPy whose names stand in the code of f, or that f itself is an object of.

    What f calls is not looked into: an empty set says nothing.
    """
    if isinstance(f, ft.partial):
        return libraries(f.func)  # pyright: ignore[reportUnknownMemberType]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(f, getattr(getattr(torch, "nn", None), "Module", ())):
        return {"torch"}
    found = {_library(f), _library(type(f))}
    f = inspect.unwrap(f) if callable(f) else f
    f = f if inspect.isroutine(f) or isinstance(f, type) else getattr(f, "__call__", f)  # noqa: B004
    code = getattr(f, "__code__", None)
    if isinstance(code, types.CodeType):
        known = {**getattr(f, "__globals__", {}), **_closure(f)}
        found |= {_ROOTS.get(name, "") if name not in known else _library(known[name]) for name in _names_in(code)}
    return found - {""}


def _closure(f: Any) -> dict[str, Any]:
    """What f uses of the functions it stands in."""
    code, cells = getattr(f, "__code__", None), getattr(f, "__closure__", None)
    found: dict[str, Any] = {}
    for name, cell in zip(code.co_freevars if code and cells else (), cells or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _library(value: Any) -> str:
    """The library that a module, a class or a function belongs to; empty for values and for other libraries."""
    if isinstance(value, types.ModuleType):
        name = value.__name__
    elif callable(value):
        name = getattr(value, "__module__", None) or getattr(type(value), "__module__", "")
    else:
        return ""
    return _ROOTS.get(str(name).partition(".")[0], "")


def library_of(value: Any) -> str:
    """The library of an array; empty for numbers and everything else."""
    for library, name in _ARRAYS.items():
        module = sys.modules.get(library)
        if module is not None and isinstance(value, getattr(module, name, ())):
            return library
    return "numpy" if isinstance(value, (np.ndarray, np.generic)) else ""


def foreign(f: Any, leaves: Iterable[tuple[str, Any]], name: str = "f") -> str:
    """Say what to pass where the data, by their paths, are of another library than f; empty where they may be right."""
    used = libraries(f)
    data = [(path, value, library_of(value)) for path, value in leaves]
    given = {library for _, _, library in data} - {""}
    for library, maker in (("torch", "torch.tensor"), ("jax", "jnp.asarray")):
        if library not in used or given & {"torch", "jax"}:
            continue
        for path, value, own in data:
            if own == "numpy" or (isinstance(value, (int, float, complex, list)) and not isinstance(value, bool)):
                kind = (
                    "an array" if isinstance(value, np.ndarray) else "a list" if isinstance(value, list) else "a number"
                )
                whose = "NumPy" if own else "Python"
                is_integer = np.asarray(cast("Any", value)).dtype.kind in "iu"
                fix = f"{path}, dtype=float" if is_integer else path
                title = _TITLES[library]
                return f"`{path}` is {kind} of {whose}, but `{name}` is written with {title}: pass `{maker}({fix})`"
    if used == {"numpy"}:
        for path, _, own in data:
            if own in ("torch", "jax"):
                fix = f"{path}.numpy()" if own == "torch" else f"np.asarray({path})"
                kind = "a tensor" if own == "torch" else "an array"
                return f"`{path}` is {kind} of {_TITLES[own]}, but `{name}` is written with NumPy: pass `{fix}`"
    return ""


def arity(f: Any, args: Any) -> str:
    """Say how `args` stand for the arguments of f where f does not take so many; empty where it does."""
    is_tuple, is_list = type(args) is tuple, type(args) is list
    count = len(cast("tuple[Any, ...] | list[Any]", args)) if is_tuple or is_list else 1
    given = count if is_tuple else 1
    if takes(f, given):
        return ""
    if is_tuple and takes(f, 1):
        return (
            f"a tuple stands for the arguments of f, here {count}: where they are one argument, pass an array or a "
            "list, or the tuple as `(t,)`"
        )
    if is_list and takes(f, count):
        return "a list is one argument: pass a tuple with one member for each argument of f"
    signature = inspect.signature(f)
    if next(iter(signature.parameters), "") == "ctx":
        return "of a `torch.autograd.Function` pass the class itself, or its `apply`"
    bound = "bind the others by a lambda" if given < len(signature.parameters) else "`args` is a tuple of all of them"
    return f"f is called as `f{signature}`, `args` holds {given}: {bound}"


def takes(f: Any, count: int) -> bool:
    """Whether f can be called with so many arguments by position, as far as its signature is known."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
