"""Run what JAX has traced: as `jax.extend.core.jaxpr_as_fun` does, with a third of its work for each operation.

Outside of every transformation an operation is run by the primitive's own `impl`, which compiles it once for each shape
and dtype. What JAX does around that to see which transformation applies takes longer than the operation itself.
"""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend import core

from gradproof._backends._jax_tree import is_tracer

# Functions with rules of their own, which do not matter where nothing is differentiated.
RULES = ("custom_jvp_call", "custom_vjp_call")


def recorded(closed: Any) -> Callable[..., Sequence[Any]]:
    """Return ``run(*arrays) -> outputs`` for what was traced, which JAX can transform."""
    bound = core.jaxpr_as_fun(closed)
    try:
        direct = _Direct(closed)
    except _NotPlainError:
        return bound

    def run(*arrays: Any) -> Sequence[Any]:
        return bound(*arrays) if any(map(is_tracer, arrays)) else direct(*arrays)

    return run


class _NotPlainError(Exception):
    """There is an operation that only JAX can run."""


class _Direct:
    """The operations one after the other; each value is dropped after its last use."""

    def __init__(self, closed: Any) -> None:
        jaxpr = closed.jaxpr
        self._places: dict[Any, int] = {}
        self._known: list[tuple[int, Any]] = []
        for variable, value in zip(jaxpr.constvars, closed.consts, strict=True):
            if is_tracer(value):
                raise _NotPlainError
            self._known.append((self._place(variable), value))
        self._inputs = [self._place(variable) for variable in jaxpr.invars]
        self._steps = [self._step(equation) for equation in jaxpr.eqns]
        self._outputs = [self._place(atom) for atom in jaxpr.outvars]
        kept = {*self._outputs, *(place for place, _ in self._known)}
        self._dropped: list[list[int]] = []
        for _, _, inputs, outputs, _ in reversed(self._steps):
            last = {*inputs, *outputs} - kept
            kept |= last
            self._dropped.append(list(last))
        self._dropped.reverse()
        self._start: list[Any] = [None] * len(self._places)
        for place, value in self._known:
            self._start[place] = value

    def __call__(self, *arrays: Any) -> Sequence[Any]:
        values = self._start.copy()
        for place, array in zip(self._inputs, arrays, strict=True):
            values[place] = array
        for (run, options, inputs, outputs, is_several), dropped in zip(self._steps, self._dropped, strict=True):
            found = run(*[values[place] for place in inputs], **options)
            for place, value in zip(outputs, found if is_several else (found,), strict=True):
                values[place] = value
            for place in dropped:
                values[place] = None
        return [values[place] for place in self._outputs]

    def _place(self, atom: Any) -> int:
        if isinstance(atom, core.Literal):
            place = self._places[object()] = len(self._places)
            self._known.append((place, atom.val))
            return place
        return self._places.setdefault(atom, len(self._places))

    def _step(self, equation: Any) -> tuple[Callable[..., Any], dict[str, Any], list[int], list[int], bool]:
        inputs = [self._place(atom) for atom in equation.invars]
        outputs = [self._place(variable) for variable in equation.outvars]
        primitive = equation.primitive
        if primitive.name in RULES:
            return _Direct(equation.params["call_jaxpr"]), {}, inputs, outputs, True
        if not _is_plain(equation):
            raise _NotPlainError
        return primitive.impl, equation.params, inputs, outputs, primitive.multiple_results


def _is_plain(equation: Any) -> bool:
    """Whether an operation is run by its `impl` alone: it takes no functions, has no effects and no surroundings."""
    try:
        around = equation.ctx
        return (
            not equation.effects
            and type(equation.primitive).get_bind_params is core.Primitive.get_bind_params
            and around.compute_type is None
            and not around.xla_metadata
            and around.cur_abstract_mesh.empty
        )
    except AttributeError:
        return False  # another version of JAX
