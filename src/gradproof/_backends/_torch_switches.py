"""PyTorch's own switches, which a call may flip, and contexts that an exception may have kept from being left."""

# torch offers most of this under private names only, without annotations:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad

Switch = tuple[Callable[[], Any], Callable[[Any], Any]]

# Guards that had to be entered to end what nobody else could: they must not be left again.
_KEPT: list[Any] = []


class Switches:
    """The switches as they are now. `learn` sees which of them a function flips; `rewind` looks at these only."""

    def __init__(self) -> None:
        self._all = [(getter, setter, getter()) for getter, setter in _SWITCHES]
        # Those that have been seen flipped; None is not known, yet.
        self._flipped: list[tuple[Callable[[], Any], Callable[[Any], Any], Any]] | None = None

    def learn(self) -> None:
        """See which switches are flipped now."""
        known = self._flipped or []
        self._flipped = known + [one for one in self._all if one not in known and one[0]() != one[2]]

    def rewind(self) -> None:
        """Put back those that were found flipped."""
        self._put_back(self._all if self._flipped is None else self._flipped)

    def restore(self) -> None:
        """Put back all."""
        self._put_back(self._all)

    def _put_back(self, switches: Sequence[tuple[Callable[[], Any], Callable[[Any], Any], Any]]) -> None:
        for getter, setter, value in switches:
            if getter() != value:
                setter(value)


class Contexts:
    """In which contexts torch, NumPy's errors and warnings are now: `restore` leaves those entered since.

    All of them are left by `with` as a rule. Ctrl-C may come between the last line within and the first one of
    `__exit__`.
    """

    def __init__(self) -> None:
        self._records = torch.is_grad_enabled()
        self._is_forward = torch._C._is_fwd_grad_enabled()
        self._is_inference = torch.is_inference_mode_enabled()
        self._errors = np.geterr(), np.geterrcall()
        # `catch_warnings` puts a copy in its place; filters that are added meanwhile stay.
        self._filters, self._shown = warnings.filters, warnings.showwarning
        self._functions = torch._C._len_torch_function_stack()
        self._dispatches = torch._C._len_torch_dispatch_stack()
        self._layers = torch._C._functorch.get_dynamic_layer_stack_depth()
        self._hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
        self._autocasts = _autocast_depth()
        self._level = forward_ad._current_level

    def restore(self) -> None:
        """Leave the contexts that were entered since."""
        # First of all what would see, or change, the operations that put tensors back.
        while torch._C._len_torch_dispatch_stack() > self._dispatches:
            torch._C._pop_torch_dispatch_stack(None)
        if torch._C._functorch.get_dynamic_layer_stack_depth() > self._layers:
            torch._C._functorch.pop_dynamic_layer_stack_and_undo_to_depth(self._layers)
        while torch._C._len_torch_function_stack() > self._functions:
            torch._C._pop_torch_function_stack()
        if torch.is_inference_mode_enabled() != self._is_inference:
            _KEPT.append(torch._C._InferenceMode(self._is_inference))
            _KEPT[-1].__enter__()
        if self._level < 0:
            _leave_dual_level()
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
        while hooks is not None and hooks != self._hooks:
            torch._C._autograd._pop_saved_tensors_default_hooks()
            hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
        for _ in range(_autocast_depth() - self._autocasts):
            torch.autocast_decrement_nesting()
        torch._C._set_fwd_grad_enabled(self._is_forward)
        torch.set_grad_enabled(self._records)
        np.seterr(**self._errors[0])
        np.seterrcall(self._errors[1])
        if warnings.filters is not self._filters:
            warnings.filters = self._filters
            warnings._filters_mutated()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        warnings.showwarning = self._shown


class OutOfInference:
    """Leaves inference mode, as long as it is entered; `leave` is harmless where it was not."""

    def __init__(self) -> None:
        self._guard: Any = None

    def enter(self) -> None:
        """Leave inference mode, where it is on."""
        if torch.is_inference_mode_enabled():
            # (The guard is there before it is entered, so that `leave` knows of it.)
            self._guard = torch._C._InferenceMode(False)
            self._guard.__enter__()
            torch.set_grad_enabled(True)

    def leave(self) -> None:
        """Turn it on again."""
        guard, self._guard = self._guard, None
        if guard is not None and not torch.is_inference_mode_enabled():
            guard.__exit__(None, None, None)


def _leave_dual_level() -> None:
    """Leave the level of forward mode that was entered, as torch has only one."""
    with contextlib.suppress(RuntimeError):  # which it raises where it was entered, and not left
        torch._C._enter_dual_level()
    torch._C._exit_dual_level(level=0)
    forward_ad._current_level = -1


def _autocast_depth() -> int:
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _autocast(device: str) -> Switch:
    """Whether autocast is on for a kind of device, and its dtype."""

    def put(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, value[0])
        torch.set_autocast_dtype(device, value[1])
        torch.clear_autocast_cache()

    return lambda: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)), put


def _attribute(owner: Any, name: str) -> Switch:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _default_device() -> torch.device | None:
    """The device that the user has set for new tensors; None where there is none."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


_SWITCHES: tuple[Switch, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, torch.set_default_device),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    (_deterministic, lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1])),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    _autocast("cpu"),
    _autocast("cuda"),
    _attribute(torch.backends.cudnn, "deterministic"),
    _attribute(torch.backends.cudnn, "benchmark"),
)
