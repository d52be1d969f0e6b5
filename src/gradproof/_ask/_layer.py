"""Layers as people write them: a forward, a backward, and what lies between them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from gradproof._ask._call import explained
from gradproof._ask._check import Contracts, Options, Seed
from gradproof._ask._layer_function import LayerFunction, kind_of
from gradproof._ask._layer_state import State
from gradproof._base._errors import UsageError
from gradproof._base._undisturbed import Guard
from gradproof._progress import Setting
from gradproof._report import Report

Function = Callable[..., Any]

_ABSENT: Any = object()


@explained("gradproof.check_layer(forward, backward, args)")
def check_layer(
    forward: Any,
    backward: Any = _ABSENT,
    args: Any = _ABSENT,
    *,
    wrt: int | tuple[int, ...] | None = None,
    divided: Mapping[str, float] | None = None,
    rtol: float | None = None,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    level: str = "certificate",
    contracts: Contracts = "default",
    rng: Seed = None,
    budget: float | str | None = None,
    timeout: float | None = None,
    progress: Setting = None,
) -> Report:
    """Check the backward pass of a layer: ``check_layer(forward, backward, args)`` or ``check_layer(layer, args)``.

    `backward` claims the product of the gradients behind the layer with its derivative, so this is `check` with
    ``vjp=``: ``vjp(dout, *args)`` calls `forward` for a fresh cache and hands it to `backward` with random `dout`.

    Parameters
    ----------
    forward : callable
        ``forward(*args) -> (out, cache)``, as in cs231n; with several outputs ``(out1, out2, cache)`` or
        ``((out1, out2), cache)``; or ``out`` alone, where `backward` takes no cache.
        Instead of both functions also a layer: an object (or a class with static methods) with ``.forward(*args)`` and
        ``.backward(dout)``; or a function that returns ``(loss, gradients)`` in one.
    backward : callable
        ``backward(dout, cache) -> gradients``, with one gradient for each output: ``backward(dout1, dout2, cache)``. If
        it takes fewer, the last outputs are left out. Parameters with the names of arguments of `forward` get these:
        ``backward(dA, cache, activation)``. A loss needs no dout: ``backward(cache)``.
        The gradients are a tuple or list in the order of the arguments, one array, or a dict by name (``dx``, ``dW1``,
        ``grad_W`` or ``W_grad`` for W; also for the key W of a dict among the arguments). Where an argument is no float
        array they may be None or missing; float arrays without a gradient are named in a note.
    args : tuple or anything else
        The arguments of `forward`; everything but a tuple is its one argument. Dicts are copied for each call, so that
        running means in them stay as they are.
    wrt : int or tuple of int, optional
        Which arguments are compared. None compares all that `backward` returns a gradient for.
    divided : dict of str to float, optional
        Gradients that `backward` returns divided by a number: ``{"W": m, "b": m}`` for the course's
        ``linear_backward``, which takes the mean over m examples there and not in the cost.
    rtol, max_bound, confidence, level, contracts, rng, progress
        As for `check`.
    budget : int or str, optional
        As for `check`, where f is `forward`. Passes that find what `backward` returns, and those that make a cache for
        it, are no evaluations; all count for a budget of time.
    timeout : float, optional
        As for `check`, in seconds of each call of `forward`. There is no `executor` and no `journal`: what a layer
        keeps between `forward` and `backward` is in this process alone.

    Returns
    -------
    Report
        As that of `check`. For a layer, its parameters are compared as well: those that it keeps beside their gradients
        (``layer.W`` and ``layer.dW``; ``layer.params["W"]`` and ``layer.grads["W"]``; ``layer.parameters`` and
        ``layer.gradients``; lists of them), also within layers of layers. A note names them.

    Raises
    ------
    UsageError
        If it cannot be told which gradient belongs to which argument, or an argument cannot be used.
    FunctionError
        If `forward` raises, or returns other values when it is called again, as dropout without a seed.
    ClaimError
        If `backward` raises.

    Notes
    -----
    All that a layer keeps, and the global random states of Python and NumPy, are put back in the end; each call of a
    layer begins with them as they were, so that dropout drops the same entries.

    Examples
    --------
    >>> import numpy as np
    >>> import gradproof
    >>> def affine_forward(x, w, b):
    ...     return x @ w + b, (x, w, b)
    >>> def affine_backward(dout, cache):
    ...     x, w, b = cache
    ...     return dout @ w.T, x.T @ dout, dout.mean(axis=0)  # wrong on purpose: the sum
    >>> random = np.random.default_rng(0)
    >>> args = random.normal(size=(4, 3)), random.normal(size=(3, 2)), random.normal(size=2)
    >>> report = gradproof.check_layer(affine_forward, affine_backward, args, rng=0)
    >>> [(leaf.path, leaf.verdict.value) for leaf in report.leaves]
    [('x', 'CORRECT'), ('w', 'CORRECT'), ('b', 'WRONG')]
    """
    options = Options(
        wrt=wrt,
        rtol=rtol,
        max_bound=max_bound,
        confidence=confidence,
        level=level,
        contracts=contracts,
        rng=rng,
        budget=budget,
        timeout=timeout,
        progress=progress,
    )
    started = time.perf_counter()
    forward, backward, args, layer, written = _given(forward, backward, args)
    positional = cast("tuple[Any, ...]", args) if type(args) is tuple else (args,)
    states = _RandomStates()
    state = None if layer is None else State(layer)

    def give_back() -> None:
        states.restore()
        if state is not None:
            state.restore()

    guard = Guard(states.take, give_back)
    with guard, guard:
        called = LayerFunction(
            forward,
            backward,
            layer,
            positional,
            _positions(wrt, len(positional)),
            divided or {},
            states.restore,
            timeout=options.timeout,
        )
        if layer is not None:
            assert state is not None
            called.settle(layer, state)
        called.prepare()
        shown = f", divided={dict(divided)!r}" if divided else ""
        shown = f"{written}{shown}" if wrt is None else f"{written}, wrt={wrt!r}{shown}"
        return called.check(options, written=shown, started=started, is_tuple=isinstance(args, tuple))


def _given(forward: Any, backward: Any, args: Any) -> tuple[Function, Function | None, Any, Any, str]:
    """Tell the ways to call `check_layer` apart: forward, backward, arguments, what holds a state, and the call."""
    if args is _ABSENT and backward is _ABSENT:
        raise UsageError("`args` is missing: `check_layer(forward, backward, args)` or `check_layer(layer, args)`.")
    if args is _ABSENT:
        backward, args = _ABSENT, backward
    if backward is not _ABSENT:
        for word, function in (("forward", forward), ("backward", backward)):
            if not callable(function):
                raise UsageError(
                    f"`{word}` must be callable, got {type(function).__name__}: "
                    "`check_layer(forward, backward, args)` or `check_layer(layer, args)`."
                )
        owner = _owner(forward)
        owner = owner if owner is not None and owner is _owner(backward) else None
        names = ", ".join(_short(function, word) for function, word in ((forward, "forward"), (backward, "backward")))
        return forward, backward, args, owner, f"gradproof.check_layer({names}, args"
    _require_no_framework(forward)
    methods = [getattr(forward, word, None) for word in ("forward", "backward")]
    if all(map(callable, methods)):
        owner = None if isinstance(forward, type) else forward
        name = forward.__name__ if isinstance(forward, type) else "layer"
        return cast("Any", methods[0]), methods[1], args, owner, f"gradproof.check_layer({name}, args"
    if not callable(forward) or isinstance(forward, type):
        raise UsageError(
            f"a layer must have the methods `.forward(*args)` and `.backward(dout)`, {kind_of(forward)} has not: pass "
            "`check_layer(forward, backward, args)`."
        )
    return forward, None, args, _owner(forward), f"gradproof.check_layer({_short(forward, 'f')}, args"


def _owner(function: Any) -> Any:
    """The object that a bound method is of; None for a function, or for a class."""
    owner = getattr(function, "__self__", None)
    return None if owner is None or isinstance(owner, type) or not hasattr(owner, "__dict__") else owner


def _short(function: Any, fallback: str) -> str:
    name = str(getattr(function, "__name__", ""))
    return name if name.isidentifier() and _owner(function) is None else fallback


def _require_no_framework(layer: Any) -> None:
    """Say what to call for the modules and Functions of torch, whose backward is not called by hand."""
    modules = {kind.__module__.partition(".")[0] for kind in getattr(layer, "__mro__", type(layer).__mro__)}
    if "torch" not in modules:
        return
    if isinstance(layer, type) and hasattr(layer, "apply"):
        raise UsageError(f"{layer.__name__} is an `autograd.Function`: pass `gradproof.check({layer.__name__}, args)`.")
    raise UsageError(f"{kind_of(layer)} is a module of torch: pass it to `gradproof.torch.check_module`.")


def _positions(wrt: Any, count: int) -> tuple[int, ...] | None:
    if wrt is None:
        return None
    asked = cast("tuple[Any, ...]", wrt) if isinstance(wrt, tuple) else (wrt,)
    for i in asked:
        if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not -count <= i < count:
            raise UsageError(f"`wrt` must name arguments of `forward` by position, 0 to {count - 1}, got {wrt!r}.")
    return tuple(int(i) % count for i in asked)


class _RandomStates:
    """The global random states, which a forward may seed."""

    def take(self) -> None:
        self._python, self._numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  (the global state is meant)

    def restore(self) -> None:
        if hasattr(self, "_numpy"):
            random.setstate(self._python)
            np.random.set_state(self._numpy)  # noqa: NPY002
