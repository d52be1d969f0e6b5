"""Functions of JAX, compiled where that is possible, bounded in time, and changes nothing.

JAX runs a function that is not compiled operation by operation, and compiles a loop within it anew at every call. What
is compiled depends on the function alone, never on a clock: a check with the same seed says the same again.
"""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

Function = Callable[..., tuple[jax.Array, ...]]

# Operations up to which a function is compiled. XLA takes 1.6 s of one core for a chain of so many, and 10 s for the
# gradient of one (jax 0.10.2 on a CPU); for twice as many it takes 8 s and 23 s.
MOST_OPERATIONS = 2000
# Values of a compiled function may differ from those of the original by this many roundings.
ROUNDINGS = 4096.0
LOOPS = ("scan", "while", "cond")
RULES = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traced:
    """What is known of a function before it is compiled.

    Attributes
    ----------
    outputs : tuple of jax.ShapeDtypeStruct or None
        What it returns; None where it cannot be traced with abstract values.
    fits : bool
        Whether it is worth compiling: traceable, not compiled already, and not too large.
    has_loops : bool
        Whether there is a loop or a branch in it that JAX would otherwise compile at every call.
    has_rules : bool
        Whether there may be a hand-written rule in it.
    """

    outputs: tuple[jax.ShapeDtypeStruct, ...] | None = None
    fits: bool = False
    has_loops: bool = False
    has_rules: bool = True


def trace(function: Function, arguments: Sequence[Any]) -> Traced:
    """Trace a function with abstract arrays in place of its arguments."""
    arrays, rest = _split(arguments)
    try:
        traced = jax.make_jaxpr(lambda *given: function(*_merge(given, rest)))(*arrays)
    except Exception:
        return Traced()  # whatever it is: f needs values where it has none, or is no function of arrays
    names = _primitives(traced.jaxpr)
    is_compiled = len(traced.jaxpr.eqns) == 1 and names[0] in ("jit", "pjit")
    return Traced(
        outputs=tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in traced.out_avals),
        fits=len(names) <= MOST_OPERATIONS and not is_compiled,
        has_loops=not is_compiled and any(name in LOOPS for name in names),
        has_rules=any(name in RULES for name in names),
    )


class Compiled:
    """A function that is compiled once it has been called some times, if it returns the same then.

    Arrays of JAX among its arguments may change from call to call; all others stay as they are when it is compiled.

    Parameters
    ----------
    function : callable
        ``function(*arguments) -> tuple of arrays``.
    fits : bool
        Whether it may be compiled.
    after : int
        How many calls are left as they are.
    trusted : bool
        Whether it is compiled without a comparison.
    """

    def __init__(self, function: Function, *, fits: bool, after: int = 0, trusted: bool = False) -> None:
        self._function = function
        self._compiled: Function | None = None
        self._may = fits
        self._left = after
        self._trusted = trusted

    @property
    def is_compiled(self) -> bool:
        """Whether it is compiled now."""
        return self._compiled is not None

    def __call__(self, *arguments: Any) -> tuple[jax.Array, ...]:
        if self._compiled is not None:
            return self._compiled(*arguments)
        if not self._may or self._left > 0:
            self._left -= 1
            return self._function(*arguments)
        self._may = False
        arrays, rest = _split(arguments)
        compiled = jax.jit(lambda *given: self._function(*_merge(given, rest)))
        try:
            found = compiled(*arrays)
        except Exception:
            return self._function(*arguments)  # it runs as it is, or says by itself why not
        if not self._trusted:
            known = self._function(*arguments)
            if not agree(known, found):
                return known
        self._compiled = lambda *now: compiled(*_split(now)[0])
        return found


def agree(one: Sequence[jax.Array], other: Sequence[jax.Array]) -> bool:
    """Whether arrays agree in shape and dtype, and up to rounding in value."""
    pairs = list(zip(one, other, strict=True))
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs) and all(is_near(a, b) for a, b in pairs)


def is_near(one: jax.Array, other: jax.Array) -> bool:
    """Whether two arrays of one shape agree up to rounding of the first one's precision; what is not finite in place.

    The largest entry is the scale of all.
    """
    wide = np.complex128 if jnp.iscomplexobj(one) else np.float64
    a, b = np.asarray(one).astype(wide), np.asarray(other).astype(wide)
    finite = np.isfinite(a)
    if not (finite == np.isfinite(b)).all():
        return False
    largest = float(np.abs(a[finite]).max(initial=0.0))
    allowed = min(ROUNDINGS * float(jnp.finfo(one.dtype).eps), 0.25) * largest
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) <= allowed


def _primitives(jaxpr: Any) -> list[str]:
    """Names of all operations, those within others too."""
    names: list[str] = []
    for equation in jaxpr.eqns:
        inner = [part for value in equation.params.values() for part in _jaxprs(value)]
        names.append(equation.primitive.name)
        for part in inner:
            names += _primitives(part)
    return names


def _jaxprs(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [part for one in value for part in _jaxprs(one)]
    if isinstance(value, jax.extend.core.ClosedJaxpr):
        return [value.jaxpr]
    return [value] if isinstance(value, jax.extend.core.Jaxpr) else []


def _split(arguments: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Arrays of JAX and trees of them, which a compiled function takes; everything else, None in their places."""
    arrays = [one for one in arguments if _is_traced(one)]
    return arrays, [None if _is_traced(one) else _Constant(one) for one in arguments]


@dataclasses.dataclass(frozen=True)
class _Constant:
    value: Any


def _merge(given: Sequence[Any], rest: Sequence[_Constant | None]) -> list[Any]:
    arrays = iter(given)
    return [next(arrays) if one is None else one.value for one in rest]


def _is_traced(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(one, jax.Array) for one in value)
    return isinstance(value, jax.Array)
