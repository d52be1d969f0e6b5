"""What a PyTorch function holds besides its arguments: modules, tensors and generators, as far as can be found."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools as ft
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from gradproof._backends._torch_random import is_generator

Module = torch.nn.Module

# How far is looked for in closures, partials and containers.
_DEPTH = 4


def path_of(root: Module, name: str) -> str:
    """Return the name of a part of a module, such as ``encoder.0.weight``, as Python source after the module's own."""
    source = ""
    owner: Any = root
    for key in name.split(".") if name else ():
        if isinstance(owner, (torch.nn.ModuleDict, torch.nn.ParameterDict)):
            source += f"[{key!r}]"
        elif key.isdigit():
            source += f"[{key}]"
        else:
            source += f".{key}"
        owner = getattr(owner, key, None)
    return source


class Held:
    """All that a function and its arguments hold: found in its closure, globals, partial arguments and `self`.

    Attributes
    ----------
    modules : dict of str to nn.Module
        By name; those within others are left out.
    tensors : list of (str, Tensor)
        Those that are not of a module, with their names.
    generators : list
        Of random numbers.
    """

    def __init__(self) -> None:
        self.modules: dict[str, Module] = {}
        self.tensors: list[tuple[str, torch.Tensor]] = []
        self.generators: list[Any] = []
        self._seen: set[int] = set()

    def look(self, value: Any, name: str, depth: int = 0) -> None:
        """Look at a value, and at what is in it."""
        if depth > _DEPTH or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Module):
            if not any(value is part for module in self.modules.values() for part in module.modules()):
                self.modules[name] = value
        elif isinstance(value, torch.Tensor):
            self.tensors.append((name, value))
        elif is_generator(value):
            self.generators.append(value)
        elif isinstance(value, ft.partial):
            self.look(value.func, name, depth)
            for part in (*value.args, *value.keywords.values()):
                self.look(part, name, depth + 1)
        elif inspect.ismethod(value):
            self.look(value.__self__, name, depth)
            self.look(value.__func__, name, depth)
        elif inspect.isfunction(value):
            for variable, part in _variables(value):
                self.look(part, variable, depth + 1)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                self.look(part, f"{name}[{key!r}]", depth + 1)
        elif isinstance(value, (list, tuple)):
            for i, part in enumerate(value):
                self.look(part, f"{name}[{i}]", depth + 1)
        elif hasattr(value, "__dict__") and not isinstance(value, type) and not inspect.ismodule(value):
            for attribute, part in vars(value).items():
                if _is_held(part):
                    self.look(part, f"{name}.{attribute}", depth + 1)


def find_held(f: Any, *values: Any) -> Held:
    """Return what a function and its arguments hold."""
    held = Held()
    held.look(f, "f")
    for i, value in enumerate(values):
        held.look(value, f"args[{i}]")
    return held


def _is_held(value: object) -> bool:
    return isinstance(value, (Module, torch.Tensor)) or is_generator(value)


def _variables(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function has closed over, its defaults, and the globals that it names."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # not bound yet
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "default", default
    for name in code.co_names:
        if name in function.__globals__:
            value = function.__globals__[name]
            if _is_held(value) or inspect.isfunction(value) or isinstance(value, ft.partial):
                yield name, value
