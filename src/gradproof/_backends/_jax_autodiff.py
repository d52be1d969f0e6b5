"""What JAX offers for a function (`autodiff`): its modes and their compositions, and a float64 copy of its forward.

The derivative in one mode is a function of arrays again, a random combination of all of its entries, so that JAX
differentiates it as it does any other.
"""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import functools as ft
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradproof._backends import _jax_tree as tree
from gradproof._backends._jax_findings import findings
from gradproof._backends._jax_function import Array, Arrays, JaxFunction, conjugated, inner_product, normal_like
from gradproof._backends._jax_parts import Rule, Whole
from gradproof._backends._jax_sides import JaxSides, of_sixteen_bits
from gradproof._backends._jax_subject import Subject
from gradproof._backends._jax_upcast import COPY, NARROW_COPY, Upcast, claim_precision, is_copy, widened
from gradproof._base._advice import arity, foreign
from gradproof._base._away import is_from_handler
from gradproof._base._errors import FunctionError, NotAvailableError, UsageError
from gradproof._base._names import argument_names, function_name, type_name
from gradproof._report import Finding, Verdict


class Jax:
    """f with all that JAX offers for it (see `gradproof._claims._modes.Autodiff`).

    Parameters
    ----------
    low : JaxFunction
        The function in its own precision.
    high : JaxFunction or None
        The same in float64, where it runs so.
    name : str
    argument : callable, optional
        What puts values for all arguments back into the form of `args`.

    Attributes
    ----------
    function : JaxFunction or Upcast
    low, high : JaxFunction, JaxFunction or None
        As passed.
    note : str
        What the reference is, where it is not f itself.
    """

    claim = framework = "jax"
    refusal = ""
    not_available = NotAvailableError

    def __init__(
        self,
        low: JaxFunction,
        high: JaxFunction | None,
        *,
        name: str,
        argument: Callable[[Sequence[Any]], Any] = tuple,
    ) -> None:
        self.low, self.high = low, high
        self._name, self._argument = name, argument
        # What f would go by if it were a rule.
        self._rule_name = name
        self.function = low if high is None else Upcast(low, high)
        # Lower and upper bounds of all differentiated arrays, where there are any (see `gradproof._function._bounds`).
        self.bounds: tuple[Sequence[Any], Sequence[Any]] | None = None
        self._packed: Packed | None = None
        # How a function is called with values for all arguments, and with what besides the differentiated ones.
        self._applied: Callable[[Callable[..., Any], Sequence[Any]], Any] | None = None
        self.note = "" if high is None else NARROW_COPY if high.casts_down else COPY

    @classmethod
    def of(cls, packed: Packed, low: JaxFunction | None = None) -> Jax:
        """A function of trees; `low` stands for it where its derivative is that of someone else."""
        low = packed.function() if low is None else low
        made = cls(low, _copied(packed, low), name=packed.name, argument=packed.argument)
        made._packed, made._rule_name = packed, packed.rule_name
        others = tuple(map(_widened_other, packed.arguments[packed.count :]))
        made._applied = lambda f, moved: packed.applied(f, packed.argument([*moved, *others]))
        return made

    @classmethod
    def of_rule(cls, rule: Rule) -> Jax:
        """The call of a function with a rule of its own."""
        made = cls(rule.low, rule.high, name=rule.name)
        received = tuple(map(_widened_other, rule.received))

        def applied(f: Callable[..., Any], moved: Sequence[Any]) -> Any:
            pairs = zip(received, rule.places, strict=True)
            return f(*(value if place is None else moved[place] for value, place in pairs))

        made._applied = applied
        return made

    @ft.cached_property
    def claim_eps(self) -> float:
        """Relative precision that the claim can be expected to have; 0 where f runs in the claim's own precision."""
        return 0.0 if self.high is None else claim_precision(self.low, self.high, self.bounds)

    # (JAX has no autocast.)
    offs: tuple[Any, ...] = ()
    # (Nothing here rounds each of JAX's operations at random.)
    copied = None
    has_rules = False

    def rounding(self, mode: str, least: float) -> list[Any]:
        """No roundings are drawn."""
        return []

    def roots(self) -> list[str]:
        """The names of all arguments, as Python source."""
        assert self._packed is not None
        return self._packed.roots

    def pairs(self, given: Any, root: str) -> list[tuple[str, Any]]:
        """The leaves of a tree with their paths."""
        return tree.pairs(given, root)

    def trusted(self, reference: Callable[..., Any]) -> Callable[..., Any]:
        """The user's own function of higher precision as one of the arguments of `function`, with its outputs.

        It gets `args` with every floating array in float64, those that are not differentiated too, and runs with 64-bit
        numbers; in place of a function with a rule, what that receives, array by array.
        """
        applied = self._applied
        assert applied is not None

        @ft.wraps(reference)
        def trusted(*arguments: Any) -> Any:
            with jax.enable_x64(True):
                found = tree.floating(applied(reference, arguments[: self.low.count]))
            if self.low.is_scalar and len(found) == 1 and found[0].size == 1:
                return found[0].reshape(())
            return found[0] if len(found) == 1 else found

        return trusted

    def subjects(self, seed: int, *, is_asked: bool) -> list[Subject]:
        """The function itself, if its contracts were asked for."""
        owner = None if self._packed is None else self._packed.f
        return [Subject(self.low, self._name, owner, seed)] if is_asked else []

    def against(self, reference: Callable[..., Any]) -> JaxSides | None:
        """F and a reference that takes its arguments, where f computes in 16 bits; else None."""
        packed = self._packed
        return None if packed is None else of_sixteen_bits(packed, self.low, reference)

    def derivative(self, inner: str, seed: int) -> JaxFunction | Upcast:
        """The derivative in the mode `inner` as a real function of the point and of a cotangent or tangent."""
        drawn = Drawn(self.low, seed)
        low = derivative(self.low, inner, drawn, may_trace=self.low.is_steady)
        if self.high is None:
            return low
        return Upcast(low, derivative(self.high, inner, drawn.widened(), may_trace=True))

    def argument(self, values: Sequence[Any]) -> Any:
        """Put values for all arguments back into the form of `args`, in its own precision."""
        narrowed = [
            value.astype(own.dtype) if k < self.low.count else own
            for k, (value, own) in enumerate(zip(values, self.low.arguments, strict=True))
        ]
        return self._argument(narrowed)

    def findings(self, leaves: Mapping[str, Verdict]) -> list[Finding]:
        """What was seen besides the numbers."""
        return findings(self.low)

    def whole(self) -> Any:
        """f, in which the calls of functions with hand-written rules can be told apart."""
        return Whole(self._name, self.low, self.high, rule_name=self._rule_name)

    def at_rest(self) -> contextlib.AbstractContextManager[None]:
        """Nothing but arguments is changed."""
        return contextlib.nullcontext()


def autodiff(f: Callable[..., Any], args: Any, wrt: int | tuple[int, ...] | None) -> Jax:
    """Look at f as JAX does; beside it at f in float64, where it is of lower precision and runs so.

    Raises
    ------
    UsageError
        If nothing can be differentiated.
    FunctionError
        If f raises at the point, or returns nothing that has a derivative.
    """
    return Jax.of(Packed(f, args, wrt))


class Packed:
    """A function of trees as a function of its leaves.

    Parameters
    ----------
    f, args, wrt
        As for `gradproof.check`.
    precision : {"", "x64", "explicit"}
        Other than "" every floating leaf is taken in float64, and f runs so (see `JaxFunction`).
    """

    def __init__(
        self, f: Callable[..., Any], args: Any, wrt: int | tuple[int, ...] | None, *, precision: str = ""
    ) -> None:
        self._given = f, args, wrt
        self.f = f
        self.name = function_name(f)
        self.rule_name = str(getattr(f, "__name__", ""))
        positional: tuple[Any, ...] = args if type(args) is tuple else (args,)
        self._is_tuple = type(args) is tuple
        self.roots = roots = argument_names(f, len(positional))
        leaves, self._structure = tree.flatten(positional, roots)
        tree.require_values(leaves)
        chosen = tree.chosen(leaves, wrt, len(positional))
        if not chosen:
            raise UsageError(f"nothing to differentiate in `{', '.join(roots)}`: there is no floating array in it.")
        self._order = chosen + [i for i in range(len(leaves)) if i not in set(chosen)]
        self.count = len(chosen)
        self._precision = precision
        values = [jnp.asarray(leaves[i].value) for i in chosen]
        others = [leaves[i].value for i in self._order[self.count :]]
        self.arguments = (*map(widened, values), *map(_widened_other, others)) if precision else (*values, *others)
        self.names = tuple(leaves[i].path for i in self._order)

    def wide(self, precision: str) -> Packed:
        """The same with every floating leaf in float64: its own value, not that before JAX has rounded it."""
        return Packed(*self._given, precision=precision)

    def function(self) -> JaxFunction:
        """The function at its point.

        Raises
        ------
        FunctionError
            If f raises, or returns nothing that has a derivative.
        """
        return self.made(JaxFunction)

    def made(self, kind: Callable[..., JaxFunction]) -> JaxFunction:
        """The function at its point as a `JaxFunction` of some kind."""
        try:
            made = kind(
                self.run,
                self.arguments,
                self.names,
                self.count,
                precision=self._precision,
                trusted=self._precision != "",
            )
            if made.is_entangled:
                raise UsageError(
                    f"`{self.name}` uses an array from outside that has no value, because JAX is tracing the function "
                    "that the check is called in (`jax.grad`, `jax.vmap`). Check it outside."
                )
            return made
        except (FunctionError, UsageError):
            raise
        except Exception as error:
            if is_from_handler(error):
                raise
            text = f"`{self.name}` raised {type(error).__name__} at the point itself: {error}"
            f, args, _ = self._given
            said = arity(f, args) or foreign(f, zip(self.names, self.arguments, strict=True), self.name)
            raise FunctionError(f"{text} ({said})." if said else text) from error

    def run(self, *arguments: Any) -> Arrays:
        """The floating arrays that f returns, and numbers."""
        returned = self.applied(self._given[0], self.argument(arguments))
        found = tree.floating(returned)
        if not found:
            raise FunctionError(
                "f must return a floating array, or a tree with some in it: there is nothing to differentiate. It "
                f"returned {type_name(returned)}."
            )
        return found

    def applied(self, f: Callable[..., Any], args: Any) -> Any:
        """What a function returns for `args`, a tuple of which holds positional arguments."""
        return f(*args) if self._is_tuple else f(args)

    def argument(self, values: Sequence[Any]) -> Any:
        """Put values for all of `arguments` back into the form of `args`."""
        ordered: list[Any] = [None] * len(self._order)
        for i, value in zip(self._order, values, strict=True):
            ordered[i] = value
        positional = jax.tree_util.tree_unflatten(self._structure, ordered)
        return positional if self._is_tuple else positional[0]

    def differentiated(self, trees: Any) -> Arrays:
        """What a tree of the form of `args` has in place of the differentiated arrays."""
        positional = trees if self._is_tuple else (trees,)
        leaves = self._structure.flatten_up_to(positional)
        return tuple(leaves[i] for i in self._order[: self.count])


class Drawn:
    """A random cotangent for each output of a function and a random tangent for each of its arrays.

    Parameters
    ----------
    base : JaxFunction
    seed : int
    """

    def __init__(self, base: JaxFunction, seed: int) -> None:
        generator = np.random.default_rng((seed, 4))
        with base.precision():
            self.cotangents = tuple(normal_like(output, generator) for output in base.outputs)
            leaves = base.arguments[: base.count]
            self.tangents = tuple(normal_like(leaf, generator, _size(leaf)) for leaf in leaves)

    def widened(self) -> Drawn:
        """The same numbers in float64."""
        wide = object.__new__(Drawn)
        wide.cotangents, wide.tangents = widened(self.cotangents), widened(self.tangents)
        return wide


def derivative(base: JaxFunction, inner: str, drawn: Drawn, *, may_trace: bool) -> JaxFunction:
    """The derivative of a function in one mode as a function: a random combination of all of its entries.

    For ``inner="rev"`` it is ``h(x, u) = <w, J(x)^T u>``, for ``inner="fwd"`` ``h(x, v) = <u, J(x) v>``, where w or u
    is random and fixed.
    """
    first = base.count
    second, fixed, name = (
        (drawn.cotangents, drawn.tangents, "cotangent")
        if inner == "rev"
        else (drawn.tangents, drawn.cotangents, "tangent")
    )
    count = first + len(second)

    def run(*arguments: Any) -> Arrays:
        leaves, moved, others = arguments[:first], arguments[first:count], arguments[count:]
        f = lambda *leaves: base.run(*leaves, *others)  # noqa: E731
        if inner == "rev":
            _, pull = jax.vjp(f, *leaves)
            found = conjugated(pull(conjugated(moved)))
        else:
            found = jax.jvp(f, leaves, moved)[1]
        return (inner_product(fixed, found),)

    suffixes = [f"[{i}]" if len(second) > 1 else "" for i in range(len(second))]
    names = (*base.names[:first], *(name + suffix for suffix in suffixes), *base.names[first:])
    arguments = (*base.arguments[:first], *second, *base.arguments[first:])
    return JaxFunction(
        run,
        arguments,
        names,
        count,
        precision=base.precision_name,
        trusted=True,
        may_trace=may_trace,
        refusing=True,
    )


def _copied(packed: Packed, low: JaxFunction) -> JaxFunction | None:
    """The function in float64 where it is of lower precision; None where it does not run so, or is another one."""
    if all(jnp.finfo(leaf.dtype).bits == 64 for leaf in low.arguments[: low.count]):
        return None
    for precision in ("x64", "explicit"):
        try:
            high = packed.wide(precision).function()
            if is_copy(low, high):
                return high
        except Exception:
            continue  # whatever it is: f does not run so
    return None


def _widened_other(value: Any) -> Any:
    """Widen what is not differentiated, as JAX has rounded it; numbers and all else as they are."""
    if not tree.is_floating(value):
        return value
    wide = widened(jnp.asarray(value))
    return wide if isinstance(value, jax.Array) else np.asarray(wide)


def _size(leaf: Array) -> float:
    """Natural size of a leaf: its root mean square, or 1."""
    if leaf.size == 0:
        return 1.0
    size = float(np.sqrt(np.mean(np.square(np.abs(np.asarray(leaf)).astype(np.float64)))))
    return size if 0 < size < math.inf else 1.0
