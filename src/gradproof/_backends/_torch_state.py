"""What a call of a PyTorch function may change besides its arguments: taken at the start, put back afterwards."""

# torch's own annotations are partial, and tensors are put in place of others through `_buffers` and `_parameters`:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import torch

from gradproof._backends import _torch
from gradproof._backends._torch_held import Held
from gradproof._backends._torch_held import path_of as path_of
from gradproof._backends._torch_random import RandomState as RandomState
from gradproof._backends._torch_switches import Contexts, OutOfInference, Switches
from gradproof._backends._torch_tensors import KeptTensor, KeptTensors
from gradproof._base._undisturbed import Guard, undisturbed

# Tensors that are not of modules, from which on (in a data set, say) only the first are kept.
MANY = 1000

Module = torch.nn.Module
Buffers = dict[str, torch.Tensor]


class State:
    """Generators, torch's own switches, the modules that a function uses, and other tensors that it holds.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        By name.
    held : Held, optional
        Tensors and generators besides (its modules are not looked at).
    keep_grads : bool
        Whether the numbers in parameters and in their `.grad` are kept, too. Where the user has no hold of the
        parameters it is enough to keep which tensors these are.
    within : bool
        Whether it is taken while a module is being called: then its parameters and hooks may be those of others, and
        are left alone.

    Attributes
    ----------
    roots : dict of str to nn.Module
        The modules, as passed.
    """

    def __init__(
        self,
        modules: Mapping[str, Module],
        held: Held | None = None,
        *,
        keep_grads: bool = True,
        within: bool = False,
    ) -> None:
        self._random = RandomState([] if held is None else held.generators)
        self._within = within
        self.roots = dict(modules)
        self._contexts = None if within else Contexts()
        self._switches = Switches()
        self._modules = [
            _ModuleState(f"{root}{path_of(module, name)}", part)
            for root, module in modules.items()
            for name, part in module.named_modules()
        ]
        self._apart: list[tuple[dict[str, Any], dict[str, Any]]] = []
        parameters = [pair for module in self._modules for pair in module.parameters()]
        known = {id(parameter) for _, parameter in parameters}
        others = [] if held is None else [pair for pair in held.tensors[:MANY] if id(pair[1]) not in known]
        self._leaves = [] if within else [_LeafState(tensor) for _, tensor in (*parameters, *others)]
        is_kept = keep_grads and not within
        grads = [(f"{path}.grad", one.grad) for path, one in (*parameters, *others) if one.is_leaf] if is_kept else []
        self._parameters = KeptTensors(parameters if is_kept else [])
        self._tensors = KeptTensors(
            [*(others if is_kept else []), *((path, grad) for path, grad in grads if grad is not None)]
        )

    def drawing(self, seed: int) -> contextlib.AbstractContextManager[None]:
        """Within this context evaluations draw other random numbers."""
        return self._random.drawing(seed)

    @property
    def random_has_moved(self) -> bool:
        """Whether random numbers have been drawn since."""
        return self._random.has_moved

    @property
    def has_drawn(self) -> bool:
        """Whether the last evaluation has drawn random numbers."""
        return self._random.has_moved

    @property
    def has_copies(self) -> bool:
        """Whether there are copies of all tensors: `watch` sees nothing new then."""
        return self._parameters.has_copies and self._tensors.has_copies

    @contextlib.contextmanager
    def watch(self) -> Generator[None]:
        """Within this context, large tensors are copied before they are written into."""
        with self._parameters.watch(), self._tensors.watch():
            yield

    def learn(self) -> None:
        """See what the call that has just ended has drawn from, flipped, and written into."""
        self._random.learn()
        self._switches.learn()
        self._parameters.learn()
        self._tensors.learn()

    def rewind(self) -> None:
        """Give the next evaluation what the first one found: random states, switches, modes, buffers, tensors."""
        self._random.rewind()
        self._switches.rewind()
        for module in self._modules:
            module.rewind()
        self._parameters.rewind()
        self._tensors.rewind()

    def restore(self) -> None:
        """Leave everything as it was found; Ctrl-C waits until it is."""
        undisturbed(self._restore)

    def _restore(self) -> None:
        if self._contexts is not None:
            self._contexts.restore()
        self._switches.restore()
        self._put_attributes_back()
        for module in self._modules:
            module.rewind()
        if not self._within:
            self._parameters.restore()
            self._tensors.restore()
            for leaf in self._leaves:
                leaf.restore()
            for module in self._modules:
                module.restore()
        self._random.restore()

    @contextlib.contextmanager
    def attributes(self) -> Generator[None]:
        """Put the modules' own attributes back at the end: what f keeps there under vmap means nothing outside it."""
        self._apart = [(vars(module.module), dict(vars(module.module))) for module in self._modules]
        try:
            yield
        finally:
            undisturbed(self._put_attributes_back)

    def _put_attributes_back(self) -> None:
        for now, saved in self._apart:
            if len(now) != len(saved) or any(now.get(name) is not value for name, value in saved.items()):
                now.clear()
                now.update(saved)
        self._apart = []

    def buffers(self) -> Buffers:
        """Copies of all buffers as they are now, by their paths."""
        return {path: buffer.detach().clone() for module in self._modules for path, buffer in module.buffers()}

    def changed(self, before: Buffers) -> list[str]:
        """Paths of the buffers that are not what they were."""
        now = {path: buffer for module in self._modules for path, buffer in module.buffers()}
        return [path for path in before if path not in now or not _torch.same_bits(now[path], before[path])]

    @property
    def written(self) -> list[str]:
        """Paths of parameters that have been changed, though no evaluation was given them to change."""
        return self._parameters.written

    @property
    def lost(self) -> list[str]:
        """Paths of tensors that have been changed and cannot be put back."""
        return self._parameters.lost + self._tensors.lost


# One check at a time: the random generators, forward mode's level and most switches of torch are those of the whole
# process, and the modules are lent to it, with other parameters in them.
_ONE_AT_A_TIME = threading.RLock()
_HERE = threading.local()
if hasattr(os, "register_at_fork"):
    # Whoever holds it does not go on in a child.
    os.register_at_fork(after_in_child=_ONE_AT_A_TIME._at_fork_reinit)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]


# What the check that runs has changed besides, to be undone at its end at the latest.
_CHANGES: list[Callable[[], None]] = []


@contextlib.contextmanager
def undone(undo: Callable[[], None]) -> Generator[None]:
    """Call `undo` at the end of this context, and of the check where Ctrl-C kept it from that."""
    _CHANGES.append(undo)
    try:
        yield
    finally:
        undisturbed(undo)
        if undo in _CHANGES:
            _CHANGES.remove(undo)


class Keeper(Guard):
    """A context for a whole check, entered twice: everything is left as it was found, and one runs at a time.

    A check in another thread waits. Inference mode is left within.

    Parameters
    ----------
    held : Held
        What the function and its arguments hold.
    keep_grads : bool
        As for a `State`.

    Attributes
    ----------
    state : State
        As it was found, but out of inference mode; there once the context is entered.
    """

    state: State

    def __init__(self, held: Held, *, keep_grads: bool = True) -> None:
        super().__init__(self._begin, self._end)
        self._held, self._keep_grads = held, keep_grads
        self._inference = OutOfInference()
        self._is_outermost = False

    def _begin(self) -> None:
        if getattr(_HERE, "keeper", None) is None:
            _HERE.keeper, self._is_outermost = self, True
            _ONE_AT_A_TIME.acquire()
        self._inference.enter()
        self.state = State(self._held.modules, self._held, keep_grads=self._keep_grads)

    def _end(self) -> None:
        state = getattr(self, "state", None)
        if state is not None:
            state.restore()
        if self._is_outermost:
            for undo in reversed(_CHANGES):
                undo()
            _CHANGES.clear()
        self._inference.leave()
        if getattr(_HERE, "keeper", None) is self:
            while _ONE_AT_A_TIME._is_owned():  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
                _ONE_AT_A_TIME.release()
            _HERE.keeper = None


class _LeafState:
    """A tensor's `requires_grad`, its hooks, and which tensor its `.grad` is."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._is_leaf = tensor.is_leaf
        self._requires_grad = tensor.requires_grad
        self._grad = tensor.grad if self._is_leaf else None
        hooks: dict[int, Any] | None = tensor._backward_hooks
        self._hooks = hooks, None if hooks is None else dict(hooks)

    def restore(self) -> None:
        tensor = self._tensor
        if self._is_leaf:
            if not tensor.is_leaf:
                tensor.detach_()
            if tensor.requires_grad != self._requires_grad:
                tensor.requires_grad_(self._requires_grad)
            if tensor.grad is not self._grad:
                tensor.grad = self._grad
        hooks, saved = self._hooks
        if tensor._backward_hooks is not hooks:
            tensor._backward_hooks = hooks
        _put_members_back(hooks, saved)


class _ModuleState:
    """One module by itself, without those inside it."""

    def __init__(self, path: str, module: Module) -> None:
        self._path = path
        self.module = module
        self._training = module.training
        self._buffers = {
            name: None if buffer is None or buffer.is_meta else KeptTensor(name, buffer)
            for name, buffer in module._buffers.items()
        }
        self._objects = dict(module._buffers)
        for kept in self._buffers.values():
            if kept is not None:
                kept.keep()
        self._parameters = dict(module._parameters)
        self._hooks = [
            (value, dict(value)) for name, value in vars(module).items() if "hooks" in name and isinstance(value, dict)
        ]

    def buffers(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, buffer in self.module._buffers.items():
            if buffer is not None:
                yield f"{self._path}.{name}", buffer

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield f"{self._path}.{name}", parameter

    def rewind(self) -> None:
        self.module.training = self._training
        now = self.module._buffers
        if list(now.keys()) != list(self._objects):
            now.clear()
        for name, buffer in self._objects.items():
            if dict(now.items()).get(name, self) is not buffer:  # (that of scripted modules has no `get`)
                now[name] = buffer
        for kept in self._buffers.values():
            if kept is not None:
                kept.put_back()

    def restore(self) -> None:
        now = self.module._parameters
        if [one for one in _identities(now) if one[0] in self._parameters] != _identities(self._parameters):
            # One that f makes at its first call stays: what remembers that it has been made stays, too.
            added = {name: parameter for name, parameter in now.items() if name not in self._parameters}
            now.clear()
            now.update(self._parameters)
            now.update(added)
        for hooks, saved in self._hooks:
            _put_members_back(hooks, saved)


def _identities(members: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(name, id(member)) for name, member in members.items()]


def _put_members_back(now: dict[Any, Any] | None, saved: Mapping[Any, Any] | None) -> None:
    if now is not None and saved is not None and now != saved:
        now.clear()
        now.update(saved)
