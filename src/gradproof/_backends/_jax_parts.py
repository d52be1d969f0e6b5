"""The hand-written rules within a JAX function (`custom_vjp`, `custom_jvp`), each on what it really receives."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from gradproof._backends import _jax_tree as tree
from gradproof._backends._jax_function import Arrays, JaxFunction, inner_product, normal_like
from gradproof._backends._jax_record import RULES
from gradproof._backends._jax_upcast import Upcast, widened

# Calls of one rule that are looked at.
MOST_CALLS = 4
_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """One call of a function with a rule of its own.

    Attributes
    ----------
    name : str
        Of the function that the rule goes with.
    source : str
        The name with the file and the line.
    low : JaxFunction
        The call by itself, a function of the arrays that it has received.
    high : JaxFunction or None
        The same in float64.
    received : tuple
        What the function receives, array by array; `places` says which differentiated one each is, None if it is none.
    """

    name: str
    source: str
    low: JaxFunction
    high: JaxFunction | None
    received: tuple[Any, ...]
    places: tuple[int | None, ...]
    # The arrays whose gradients pass through this rule, in this call or another.
    reached: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Call:
    name: str
    source: str
    run: Callable[..., Sequence[Any]]
    inputs: Sequence[Any]
    # Of the inputs, as the function that the rule goes with calls its arguments; empty for what it has from outside.
    names: Sequence[str]
    # All arguments in their order: a place among the inputs, or None, and the value.
    given: Sequence[tuple[int | None, Any]]
    reached: frozenset[str]

    @property
    def places(self) -> list[int]:
        """Which inputs the rule differentiates: floating arguments, but nothing from outside."""
        return [i for i, value in enumerate(self.inputs) if self.names[i] and tree.is_floating(value)]


def rules(low: JaxFunction, high: JaxFunction | None) -> list[Rule]:
    """Find the calls of functions with rules: in jitted functions too, but neither in loops nor in branches.

    Parameters
    ----------
    low : JaxFunction
    high : JaxFunction or None
        The same in float64.
    """
    found = list(_calls(low))
    copies = [] if high is None else list(_calls(high))
    is_alike = [call.source for call in found] == [copy.source for copy in copies]
    seen: dict[str, int] = {}
    reached: dict[str, frozenset[str]] = {}
    for call in found:
        reached[call.source] = reached.get(call.source, frozenset()) | call.reached
    result: list[Rule] = []
    for i, call in enumerate(found):
        seen[call.source] = seen.get(call.source, 0) + 1
        if seen[call.source] > MOST_CALLS or not call.places:
            continue
        own = _alone(call, call.inputs)
        copy = _alone(copies[i], call.inputs, wide=True) if is_alike else None
        moved: dict[int | None, int] = {place: k for k, place in enumerate(call.places)}
        result.append(
            Rule(
                name=call.name,
                source=call.source,
                low=own,
                high=copy,
                received=tuple(value for _, value in call.given),
                places=tuple(moved.get(place) for place, _ in call.given),
                reached=reached[call.source],
            )
        )
    return result


class Whole:
    """f as what may be searched (see `gradproof._claims._parts.Part`): its rules are all that it has of parts."""

    # JAX makes reverse mode from a `custom_jvp`; a `custom_vjp` has no forward mode.
    is_one_rule_for_all_modes = True
    only_rule = ""

    def __init__(self, name: str, low: JaxFunction, high: JaxFunction | None, *, rule_name: str) -> None:
        self.reached = frozenset(low.names[: low.count])
        self.path = name
        self.owner = self
        self._low, self._high, self._rule_name = low, high, rule_name

    def function(self, *, received: bool) -> None:
        """Nothing: it has been measured before."""
        return

    def parts(self) -> list[Any]:
        """Nothing: a function of JAX does not say of what it is made."""
        return []

    def rules(self) -> list[Part]:
        """The calls of functions with hand-written rules."""
        try:
            found = rules(self._low, self._high)
        except Exception:
            return []  # f cannot be traced, or a call cannot be run alone: no part is accused then
        if [rule.name for rule in found] == [self._rule_name]:
            return []  # f itself
        owners: dict[str, object] = {}
        return [Part(rule, owners.setdefault(rule.source, object())) for rule in found]


class Part:
    """One call of a function with a rule, times random cotangents (see `gradproof._claims._parts.Part`)."""

    def __init__(self, rule: Rule, owner: object) -> None:
        self.path, self.owner, self.reached = rule.name, owner, rule.reached
        self._rule = rule

    def function(self, *, received: bool) -> Upcast | JaxFunction | None:
        """The call as a real function; the cotangents that it received are not known."""
        if received:
            return None
        low, high = self._rule.low, self._rule.high
        generator = np.random.default_rng(0)
        with low.precision():
            us = tuple(normal_like(output, generator) for output in low.outputs)
        scalar = _scalar(low, us)
        return scalar if high is None else Upcast(scalar, _scalar(high, widened(us)))

    def parts(self) -> list[Any]:
        """Nothing."""
        return []

    def rules(self) -> list[Any]:
        """Nothing."""
        return []


def _scalar(function: JaxFunction, us: Arrays) -> JaxFunction:
    return JaxFunction(
        lambda *arguments: (inner_product(us, function.run(*arguments)),),
        function.arguments,
        function.names,
        function.count,
        trusted=True,
    )


def _alone(call: _Call, inputs: Sequence[Any], *, wide: bool = False) -> JaxFunction:
    """A call as a function of what its rule differentiates; the other inputs stay what they are."""
    places = call.places
    leaves = [widened(inputs[i]) if wide else inputs[i] for i in places]

    def run(*moved: Any) -> Arrays:
        values = list(call.inputs)
        for i, value in zip(places, moved, strict=True):
            values[i] = value
        return tree.floating(call.run(*values))

    return JaxFunction(run, leaves, [call.names[i] for i in places], len(leaves), trusted=True)


def _calls(function: JaxFunction) -> Iterator[_Call]:
    leaves, others = function.arguments[: function.count], function.arguments[function.count :]
    with function.precision():
        closed = jax.make_jaxpr(lambda *leaves: function.run(*leaves, *others))(*leaves)
        yield from _walk(
            closed.jaxpr, closed.consts, leaves, [frozenset([name]) for name in function.names[: function.count]]
        )


def _walk(
    jaxpr: Any, consts: Sequence[Any], values: Sequence[Any], origins: Sequence[frozenset[str]]
) -> Iterator[_Call]:
    """The calls of rules in the order of execution; `origins` are the arrays that each value is differentiated by."""
    wanted = [one for one in jaxpr.eqns if one.primitive.name in (*RULES, *_CALLS)]
    taken = [variable for one in wanted for variable in one.invars]
    if not wanted:
        return
    behind = _origins(jaxpr, origins)
    inputs = iter(core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr.replace(outvars=taken), consts))(*values))
    for one in wanted:
        received = [jnp.asarray(next(inputs)) for _ in one.invars]
        if one.primitive.name in RULES:
            # A literal among the inputs stays one.
            by_variable = {
                variable: value
                for variable, value in zip(one.invars, received, strict=True)
                if not isinstance(variable, core.Literal)
            }
            alone = jaxpr.replace(constvars=(), invars=list(by_variable), outvars=one.outvars, eqns=[one])
            name, source = _named(one)
            run = core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))
            called = _argument_names(one, name)
            names = [
                " and ".join(called[k] for k, given in enumerate(one.invars) if given is variable and called[k])
                for variable in by_variable
            ]
            order = {variable: k for k, variable in enumerate(by_variable)}
            of_inputs = [behind.get(variable, frozenset()) for variable in by_variable]
            yield _Call(
                name=name,
                source=source,
                run=run,
                inputs=list(by_variable.values()),
                names=names,
                given=[
                    (None if isinstance(variable, core.Literal) else order[variable], value)
                    for variable, value, own in zip(one.invars, received, called, strict=True)
                    if own
                ],
                reached=frozenset[str]().union(*of_inputs),
            )
        else:
            inner = one.params["jaxpr"] if "jaxpr" in one.params else one.params["call_jaxpr"]
            is_closed = isinstance(inner, core.ClosedJaxpr)
            passed = [frozenset[str]() if isinstance(v, core.Literal) else behind[v] for v in one.invars]
            yield from _walk(inner.jaxpr if is_closed else inner, inner.consts if is_closed else (), received, passed)


def _origins(jaxpr: Any, origins: Sequence[frozenset[str]]) -> dict[Any, frozenset[str]]:
    """By which arrays each variable may be differentiated: what is no floating number, or stopped, by none."""
    found: dict[Any, frozenset[str]] = dict.fromkeys(jaxpr.constvars, frozenset())
    found |= zip(jaxpr.invars, origins, strict=False)
    for one in jaxpr.eqns:
        taken = [found[variable] for variable in one.invars if not isinstance(variable, core.Literal)]
        through = frozenset[str]() if one.primitive.name == "stop_gradient" else frozenset[str]().union(*taken)
        for variable in one.outvars:
            found[variable] = through if _is_inexact(variable.aval) else frozenset()
    return found


def _is_inexact(aval: Any) -> bool:
    return hasattr(aval, "dtype") and bool(jnp.issubdtype(aval.dtype, jnp.inexact))


def _argument_names(one: Any, name: str) -> list[str]:
    """What a function with a rule calls its arguments; where JAX does not tell they are counted, constants too.

    Arrays that it has from outside come first, without a name.
    """
    outside = int(one.params.get("num_consts", 0))
    count = len(one.invars) - outside
    known = list(getattr(one.params["call_jaxpr"].jaxpr.debug_info, "arg_names", None) or ())[-count:]
    known = known if len(known) == count else [""] * count
    return [""] * outside + [str(known[i] or f"{name} argument {i}") for i in range(count)]


def _named(one: Any) -> tuple[str, str]:
    """The name of the function that a rule goes with, and where it is defined."""
    inner = one.params["call_jaxpr"]
    source = str(getattr(inner.jaxpr.debug_info, "func_src_info", None) or one.primitive.name)
    return source.partition(" at ")[0], source
