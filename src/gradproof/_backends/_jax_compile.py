"""Functions of JAX, traced, and compiled where that saves more than it takes, is bounded in time, and changes nothing.

JAX runs a function that is not compiled operation by operation, traces it anew whenever it differentiates it, and
compiles a loop within it anew at every call. A derivative is traced once here, and then run from that record. What is
compiled depends on counted costs alone, never on a clock: a check with the same seed says the same again.
"""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from gradproof._backends._jax_record import RULES, recorded
from gradproof._backends._jax_refusals import has_no_rule
from gradproof._backends._jax_tree import is_tracer

Arrays = tuple[jax.Array, ...]
Function = Callable[..., Arrays]

# Operations up to which a function is compiled. XLA takes 1.6 s of one core for a chain of so many, and 10 s for the
# gradient of one (jax 0.10.2 on a CPU); for twice as many it takes 8 s and 23 s.
MOST_OPERATIONS = 2000
# Counted seconds: for one operation that runs by itself and each number that it returns, for compiling a function and
# each operation in it (jax 0.10.2 on a CPU: 20 to 40 us, 0.5 to 2 ns, 40 to 100 ms, 0.8 to 1.6 ms).
OPERATION, NUMBER = 3e-5, 1e-9
COMPILATION, COMPILED_OPERATION = 0.06, 1e-3
# Evaluations that a check is taken to ask for: 20 to 60 do for a right claim.
EVALUATIONS = 60
# Operations up to which a function is called as it is. (Two calls of it are compared with one of the record, which then
# takes 5 to 15 us an operation; by itself an operation takes 5 to 10 us, indexing 200 us, a function with a rule 150.)
FEW_OPERATIONS = 9
# Values of a compiled function may differ from those of the original by this many roundings.
ROUNDINGS = 4096.0
LOOPS = ("scan", "while", "cond")
ALL_RULES = (*RULES, "custom_vjp_call_jaxpr")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traced:
    """What is known of a function before it is compiled.

    Attributes
    ----------
    outputs : tuple of jax.ShapeDtypeStruct or None
        What it returns; None where it cannot be traced with abstract values.
    run : callable or None
        ``run(*arguments) -> outputs``: the function as it was traced, operation by operation.
    fits : bool
        Whether it may be compiled: traceable, not compiled already, and not too large.
    has_loops : bool
        Whether there is a loop or a branch in it that JAX would otherwise compile at every call.
    has_rules : bool
        Whether there may be a hand-written rule in it.
    takes_memory : bool
        Whether it may take the memory of its arguments (`donate_argnums`).
    is_slow : bool
        Whether JAX takes longer over calls of it than a record of it takes: it has rules, or many operations.
    is_entangled : bool
        Whether it uses an array that JAX is tracing outside of it.
    casts_down : bool
        Whether an operation turns float64 into lower precision, as far as that can be seen.
    cost, compilation : float
        Counted seconds for one call operation by operation, and to compile it.
    refusal : Exception or None
        What JAX says where it has no rule for it, whatever the arguments are.
    """

    outputs: tuple[jax.ShapeDtypeStruct, ...] | None = None
    run: Function | None = None
    fits: bool = False
    has_loops: bool = False
    has_rules: bool = True
    takes_memory: bool = True
    is_slow: bool = False
    is_entangled: bool = False
    casts_down: bool = False
    cost: float = math.inf
    compilation: float = math.inf
    refusal: Exception | None = None

    def pays(self, calls: int) -> bool:
        """Whether to compile it costs less than so many calls operation by operation."""
        return self.fits and (self.has_loops or calls * self.cost > self.compilation)


def trace(function: Function, arguments: Sequence[Any]) -> Traced:
    """Trace a function with abstract arrays in place of its arguments."""
    arrays, rest = _split(arguments)
    try:
        closed = jax.make_jaxpr(lambda *given: function(*_merge(given, rest)))(*arrays)
    except Exception as error:
        # Whatever it is: f needs values where it has none, or is no function of arrays.
        return Traced(refusal=error if has_no_rule(error) else None)
    equations = _equations(closed.jaxpr)
    names = [one.primitive.name for one in equations]
    is_compiled = len(closed.jaxpr.eqns) == 1 and names[0] in ("jit", "pjit")
    numbers = sum(math.prod(getattr(out.aval, "shape", ())) for one in equations for out in one.outvars)
    takes_memory = any(map(_takes_memory, equations))
    has_rules = any(name in ALL_RULES for name in names)
    return Traced(
        outputs=tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in closed.out_avals),
        run=_of_all((core.jaxpr_as_fun if takes_memory else recorded)(_pruned(closed)), takes_memory),
        fits=len(names) <= MOST_OPERATIONS and not is_compiled,
        has_loops=not is_compiled and any(name in LOOPS for name in names),
        has_rules=has_rules,
        takes_memory=takes_memory,
        is_slow=has_rules or len(closed.jaxpr.eqns) > FEW_OPERATIONS,
        is_entangled=any(map(is_tracer, closed.consts)),
        casts_down=any(map(_casts_down, equations)),
        cost=OPERATION * len(names) + NUMBER * numbers,
        compilation=COMPILATION + COMPILED_OPERATION * len(names),
    )


class Value:
    """A function as it is, as it was traced, or compiled: all of its values are computed in one way.

    Arrays of JAX among its arguments, and tuples of them, may change from call to call; all others stay as they are.

    Parameters
    ----------
    function : callable
        ``function(*arguments) -> tuple of arrays``.
    traced : Traced
        What is known of it.
    compiles : bool
        Whether it is compiled at the first call, if it returns the same then.
    trusted : bool
        Whether that takes no comparison.
    recorded : bool
        Whether it is run as it was traced where it is not compiled.
    """

    def __init__(
        self, function: Function, traced: Traced, *, compiles: bool, trusted: bool, recorded: bool = False
    ) -> None:
        self._function = traced.run if recorded and traced.run is not None else function
        self._traced = traced
        self._compiles, self._trusted = compiles and traced.run is not None, trusted
        self._is_compiled = False

    @property
    def is_compiled(self) -> bool | None:
        """Whether it is compiled now; None where that shows at the first call."""
        return None if self._compiles else self._is_compiled

    def __call__(self, *arguments: Any) -> Arrays:
        if self._compiles:
            self._compiles = False
            function = self._function
            found, self._function = _compiled(function, self._traced, arguments, trusted=self._trusted)
            self._is_compiled = self._function is not function
            return found
        return self._function(*arguments)


class Derivative:
    """A derivative, traced at its first call, run from that record, and compiled once so many calls have paid for it.

    Parameters
    ----------
    function : callable
        ``function(*arguments) -> tuple of arrays``, as that of `Value`.
    may_trace, may_compile : bool
        Whether it may be traced, and compiled.
    trusted : bool
        Whether that takes no comparison with what it returns otherwise.
    """

    def __init__(self, function: Function, *, may_trace: bool, may_compile: bool, trusted: bool) -> None:
        self._function = function
        self._may_trace, self._may_compile, self._trusted = may_trace, may_compile, trusted
        self._traced = Traced()
        self._calls = 0

    def __call__(self, *arguments: Any) -> Arrays:
        if self._may_trace:
            self._may_trace = False
            function = self._function
            traced = trace(function, arguments)
            if traced.refusal is not None:
                raise traced.refusal
            if self._may_compile and traced.pays(1):
                # (A loop, for one, which costs more than a compilation each time that it is run by itself.)
                self._may_compile = False
                found, self._function = _compiled(self._function, traced, arguments, trusted=self._trusted)
                self._traced = traced if self._function is not function else self._traced
                return found
            if traced.run is not None:
                return self._recorded(traced, traced.run, arguments)
        self._calls += 1
        if self._may_compile and self._traced.pays(self._calls):
            self._may_compile = False
            found, self._function = _compiled(self._function, self._traced, arguments, trusted=self._trusted)
            return found
        return self._function(*arguments)

    def many(self, firsts: Arrays, *arguments: Any) -> Arrays | None:
        """What it returns for many of its first argument, stacked; None where it was not traced."""
        run = self._traced.run
        if run is None:
            return None
        batched = jax.vmap(lambda first: run(first, *arguments))
        return (jax.jit(batched) if self._traced.pays(1) else batched)(firsts)

    def _recorded(self, traced: Traced, run: Function, arguments: Sequence[Any]) -> Arrays:
        """Run it as it was traced, and do so from now on unless it is something else then."""
        found = run(*arguments)
        if not self._trusted:
            known = self._function(*arguments)
            if not agree(known, found):
                return known
        self._traced, self._function = traced, run
        return found


def _compiled(
    function: Function, traced: Traced, arguments: Sequence[Any], *, trusted: bool
) -> tuple[Arrays, Function]:
    """What a function returns, and what to call from now on: the function compiled, if it returns the same then."""
    assert traced.run is not None
    compiled = jax.jit(traced.run)
    run: Function = lambda *arguments: compiled(*_split(arguments)[0])  # noqa: E731
    try:
        found = run(*arguments)
    except Exception:
        return function(*arguments), function  # it runs as it is, or says by itself why not
    if not trusted:
        known = function(*arguments)
        if not agree(known, found):
            return known, function
    return found, run


def own(value: Any) -> Any:
    """A copy of an array, which f may take the memory of; all else as it is."""
    if not isinstance(value, jax.Array) or is_tracer(value):
        return value
    return value.copy()


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


def _of_all(run: Callable[..., Sequence[Any]], takes_memory: bool) -> Function:
    """A traced function of flat arrays as one of all of its arguments."""

    def of_all(*arguments: Any) -> Arrays:
        flat = [part for one in _split(arguments)[0] for part in (one if isinstance(one, tuple) else (one,))]
        return tuple(run(*(map(own, flat) if takes_memory else flat)))

    return of_all


def _pruned(closed: Any) -> Any:
    """Leave out operations that nothing depends on."""
    wanted = {one for one in closed.jaxpr.outvars if not isinstance(one, core.Literal)}
    kept: list[Any] = []
    for equation in reversed(closed.jaxpr.eqns):
        if equation.effects or not wanted.isdisjoint(equation.outvars):
            kept.append(equation)
            wanted.update(one for one in equation.invars if not isinstance(one, core.Literal))
    return core.ClosedJaxpr(closed.jaxpr.replace(eqns=kept[::-1]), closed.consts)


def _equations(jaxpr: Any) -> list[Any]:
    """All operations, those within others too."""
    found: list[Any] = []
    for equation in jaxpr.eqns:
        found.append(equation)
        for value in equation.params.values():
            for part in _jaxprs(value):
                found += _equations(part)
    return found


def _takes_memory(equation: Any) -> bool:
    """Whether an operation may take the memory of what it gets: a jitted function, or `jax.device_put`."""
    donated = any(equation.params.get("donated_invars", ()))
    return donated or any("DONATE" in str(one) for one in equation.params.get("copy_semantics", ()))


def _casts_down(equation: Any) -> bool:
    """Whether an operation takes numbers in float64 and returns some in lower precision."""
    given, returned = ([_bits(atom) for atom in atoms] for atoms in (equation.invars, equation.outvars))
    return 64 in given and any(0 < bits < 64 for bits in returned)


def _bits(atom: Any) -> int:
    """Of the floating numbers in an array, or in each half of complex ones; 0 where there are none."""
    dtype = getattr(atom.aval, "dtype", None)
    return jnp.finfo(dtype).bits if dtype is not None and jnp.issubdtype(dtype, jnp.inexact) else 0


def _jaxprs(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [part for one in value for part in _jaxprs(one)]
    if isinstance(value, core.ClosedJaxpr):
        return [value.jaxpr]
    return [value] if isinstance(value, core.Jaxpr) else []


def _split(arguments: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Arrays of JAX and tuples of them, which a traced function takes; everything else, None in their places."""
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
