"""What a call of a PyTorch function may change besides its arguments: taken at the start, put back afterwards."""

# torch's own annotations are partial, and tensors are put in place of others through `_buffers` and `_parameters`:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import functools as ft
import inspect
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from gradproof._backends import _torch

Module = torch.nn.Module
Buffers = dict[str, torch.Tensor]

# How far modules are looked for in closures, partials and containers.
_DEPTH = 4


class RandomState:
    """The states of all generators that a function may draw from, taken now and put back at every `rewind`.

    Putting back NumPy's takes longer than most functions: `learn` sees which generators the function draws from.
    """

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy: Any = np.random.get_state()  # noqa: NPY002  (the user's function may draw from it)
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self._draws_python = self._draws_numpy = self._draws_cuda = True

    def learn(self) -> None:
        """See which generators have moved since their states were taken; only those go on being put back."""
        self._draws_python = random.getstate() != self._python
        now: Any = np.random.get_state()  # noqa: NPY002
        self._draws_numpy = now[2:] != self._numpy[2:] or not np.array_equal(now[1], self._numpy[1])
        self._draws_cuda = bool(self._cuda) and not all(map(torch.equal, torch.cuda.get_rng_state_all(), self._cuda))

    def rewind(self) -> None:
        """Put back the states of the generators that the function draws from, as far as is known."""
        torch.set_rng_state(self._cpu)
        if self._draws_python:
            random.setstate(self._python)
        if self._draws_numpy:
            np.random.set_state(self._numpy)  # noqa: NPY002
        if self._draws_cuda and self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)

    def restore(self) -> None:
        """Put back all states."""
        draws = self._draws_python, self._draws_numpy, self._draws_cuda
        self.learn()  # (to set a state takes longer than to see that it has not moved)
        self.rewind()
        self._draws_python, self._draws_numpy, self._draws_cuda = draws


class State:
    """Generators, torch's own switches, and the modules that a function uses.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        By name. Values of parameters are not among what is kept: no evaluation gets to write into them where they are
        differentiated, and a copy of all others would cost as much as the model.
    keep_grads : bool
        Whether the numbers in the parameters' `.grad` are kept, too. Where the user has no hold of the parameters it
        is enough to keep which tensors these are.
    within : bool
        Whether it is taken while a module is being called: then its parameters and hooks may be those of others, and
        are left alone.
    """

    def __init__(self, modules: Mapping[str, Module], *, keep_grads: bool = True, within: bool = False) -> None:
        self._random = RandomState()
        self._within = within
        self._records = torch.is_grad_enabled()
        self._errors = np.geterr(), np.geterrcall()
        self._switches = [(getter, setter, getter()) for getter, setter in _SWITCHES]
        # Those that the function has been seen to flip.
        self._flipped = self._switches
        self._modules = [
            _ModuleState(f"{root}{path_of(module, name)}", part, keep_grads)
            for root, module in modules.items()
            for name, part in module.named_modules()
        ]

    def learn(self) -> None:
        """See which generators the call that has just ended has drawn from, and which switches it has flipped."""
        self._random.learn()
        self._flipped = [switch for switch in self._switches if switch[0]() != switch[2]]

    def rewind(self) -> None:
        """Give the next evaluation what the first one found: random states, switches, modes, buffers."""
        self._random.rewind()
        for getter, setter, value in self._flipped:
            if getter() != value:
                setter(value)
        for module in self._modules:
            module.rewind()

    def restore(self) -> None:
        """Leave everything as it was found."""
        flipped, self._flipped = self._flipped, self._switches
        self.rewind()
        self._flipped = flipped
        self._random.restore()
        if not self._within:
            # Not at every evaluation: most of them run without recording.
            torch.set_grad_enabled(self._records)
            np.seterr(**self._errors[0])
            np.seterrcall(self._errors[1])
            for module in self._modules:
                module.restore()

    @contextlib.contextmanager
    def attributes(self) -> Generator[None]:
        """Put the modules' own attributes back at the end: what f keeps there under vmap means nothing outside it."""
        before = [(vars(module.module), dict(vars(module.module))) for module in self._modules]
        try:
            yield
        finally:
            for now, saved in before:
                if len(now) != len(saved) or any(now.get(name) is not value for name, value in saved.items()):
                    now.clear()
                    now.update(saved)

    def buffers(self) -> Buffers:
        """Copies of all buffers as they are now, by their paths."""
        return {path: buffer.detach().clone() for module in self._modules for path, buffer in module.buffers()}

    def changed(self, before: Buffers) -> list[str]:
        """Paths of the buffers that are not what they were."""
        now = {path: buffer for module in self._modules for path, buffer in module.buffers()}
        return [path for path in before if path not in now or not _torch.same_bits(now[path], before[path])]


class _ModuleState:
    """One module by itself, without those inside it."""

    def __init__(self, path: str, module: Module, keep_grads: bool) -> None:
        self._path = path
        self.module = module
        self._training = module.training
        self._buffers = {
            name: (buffer, None if buffer is None else buffer.detach().clone())
            for name, buffer in module._buffers.items()
        }
        self._parameters = dict(module._parameters)
        self._grads = [
            (
                parameter,
                parameter.requires_grad,
                parameter.grad,
                parameter.grad.detach().clone() if keep_grads and parameter.grad is not None else None,
            )
            for parameter in module._parameters.values()
            if parameter is not None
        ]
        self._hooks = [
            (value, dict(value)) for name, value in vars(module).items() if "hooks" in name and isinstance(value, dict)
        ]

    def buffers(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, buffer in self.module._buffers.items():
            if buffer is not None:
                yield f"{self._path}.{name}", buffer

    def rewind(self) -> None:
        self.module.training = self._training
        now = self.module._buffers
        if list(now.keys()) != list(self._buffers):
            now.clear()
        with torch.no_grad():
            for name, (buffer, saved) in self._buffers.items():
                if dict(now.items()).get(name, self) is not buffer:  # (that of scripted modules has no `get`)
                    now[name] = buffer
                # Written only where needed: a buffer may be expanded, or a tensor of inference mode.
                if buffer is not None and saved is not None and not _torch.same_bits(buffer, saved):
                    buffer.copy_(saved)

    def restore(self) -> None:
        now = self.module._parameters
        if [one for one in _identities(now) if one[0] in self._parameters] != _identities(self._parameters):
            # One that f makes at its first call stays: what remembers that it has been made stays, too.
            added = {name: parameter for name, parameter in now.items() if name not in self._parameters}
            now.clear()
            now.update(self._parameters)
            now.update(added)
        with torch.no_grad():
            for parameter, requires_grad, gradient, saved in self._grads:
                if parameter.requires_grad != requires_grad:
                    parameter.requires_grad_(requires_grad)
                if gradient is not None and saved is not None and not _torch.same_bits(gradient, saved):
                    gradient.copy_(saved)
                if parameter.grad is not gradient:
                    parameter.grad = gradient
        for hooks, saved in self._hooks:
            if hooks != saved:
                hooks.clear()
                hooks.update(saved)


def _identities(members: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(name, id(member)) for name, member in members.items()]


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    (_deterministic, lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1])),
    _attribute(torch.backends.cudnn, "deterministic"),
    _attribute(torch.backends.cudnn, "benchmark"),
)


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


def find_modules(f: Any, *values: Any) -> dict[str, Module]:
    """Return the modules that a function uses, as far as its closure, globals, partial arguments and `self` tell."""
    found: dict[str, Module] = {}
    seen: set[int] = set()

    def look(value: Any, name: str, depth: int) -> None:
        if depth > _DEPTH or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Module):
            if not any(value is part for module in found.values() for part in module.modules()):
                found[name] = value
        elif isinstance(value, ft.partial):
            look(value.func, name, depth)
            for part in (*value.args, *value.keywords.values()):
                look(part, name, depth + 1)
        elif inspect.ismethod(value):
            look(value.__self__, name, depth)
            look(value.__func__, name, depth)
        elif inspect.isfunction(value):
            for variable, part in _variables(value):
                look(part, variable, depth + 1)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                look(part, f"{name}[{key!r}]", depth + 1)
        elif isinstance(value, (list, tuple)):
            for i, part in enumerate(value):
                look(part, f"{name}[{i}]", depth + 1)
        elif hasattr(value, "__dict__") and not isinstance(value, (type, torch.Tensor)) and not inspect.ismodule(value):
            for attribute, part in vars(value).items():
                if isinstance(part, Module):
                    look(part, f"{name}.{attribute}", depth + 1)

    look(f, "f", 0)
    for i, value in enumerate(values):
        look(value, f"args[{i}]", 0)
    return found


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
            if isinstance(value, Module) or inspect.isfunction(value) or isinstance(value, ft.partial):
                yield name, value
