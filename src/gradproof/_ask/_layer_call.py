"""How a layer's forward and backward are called: what they take, and what they return."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._ask._layer_match import is_float
from gradproof._base._errors import FunctionError, UsageError

Function = Callable[..., Any]

# What `backward` may call what `forward` has kept for it.
CACHES = ("cache", "caches", "cached", "ctx", "context", "saved", "saves", "memo", "memory", "tape", "residuals")

# How the name of the gradient of an output begins.
GRADIENTS = ("d", "grad", "g_", "delta")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
    """What `backward` is called with.

    Attributes
    ----------
    positional, keywords : roles in the order, and by the names, of its parameters
        ``("cotangent", i)``, ``("cache", 0)``, ``("argument", i)`` for one of those of `forward`, or
        ``("constant", value)``.
    cotangents : int
        How many it takes: the gradients with respect to the first outputs.
    has_cache : bool
        Whether it takes what `forward` returns last.
    """

    positional: tuple[tuple[str, Any], ...]
    keywords: Mapping[str, tuple[str, Any]]
    cotangents: int
    has_cache: bool

    def call(self, backward: Function, cotangents: Sequence[Any], cache: Any, arguments: Sequence[Any]) -> Any:
        """Call `backward`."""

        def given(role: tuple[str, Any]) -> Any:
            kind, which = role
            if kind == "constant":
                return which
            return cache if kind == "cache" else cotangents[which] if kind == "cotangent" else arguments[which]

        return backward(
            *[given(role) for role in self.positional],
            **{name: given(role) for name, role in self.keywords.items()},
        )


def read_convention(backward: Function, forward: Function, names: Sequence[str], returned: Any) -> Convention:
    """Tell from the signature of `backward` what it is called with.

    Parameters
    ----------
    backward, forward : callable
    names : sequence of str
        Of the arguments of `forward` that are passed.
    returned : any
        What `forward` returned.

    Raises
    ------
    UsageError
        If it takes something that neither `forward` returns nor is an argument of it.
    """
    is_pair = isinstance(returned, (tuple, list)) and len(cast("Sequence[Any]", returned)) > 1
    try:
        parameters = list(inspect.signature(backward).parameters.values())
    except (TypeError, ValueError):
        parameters = None
    if parameters is None or any(one.kind is one.VAR_POSITIONAL for one in parameters):
        outputs = len(cast("Sequence[Any]", returned)) - 1 if is_pair else 1
        roles = [("cotangent", i) for i in range(outputs)] + ([("cache", 0)] if is_pair else [])
        return Convention(positional=tuple(roles), keywords={}, cotangents=outputs, has_cache=is_pair)
    roles, free = _roles(parameters, names, _defaults(forward))
    takes_cache = ("cache", 0) in roles.values()
    optional = next((one for one in parameters if one.name not in roles), None)
    if not free and optional is not None and optional is parameters[0] and not _is_one_number(returned):
        free = [optional.name]  # `backward(dout=1)`; a loss takes its default
    if not takes_cache and is_pair and len(free) > 1 and not _are_outputs(returned, free):
        roles[free.pop()] = ("cache", 0)
        takes_cache = True
    named = [name for name, (kind, _) in roles.items() if kind == "argument"]
    if not takes_cache and is_pair and len(named) == 1 and len(cast("Sequence[Any]", returned)) == len(free) + 1:
        # What `forward` returns beside its outputs goes by the name of an argument: `return out, x`.
        roles[named[0]] = ("cache", 0)
        takes_cache = True
    roles.update({name: ("cotangent", i) for i, name in enumerate(free)})
    if takes_cache and not is_pair:
        raise FunctionError(
            f"`{_name(forward)}` must return `(out, cache)`, since `{_name(backward)}` takes a cache; it returned "
            f"{_described(returned)}."
        )
    positional: list[tuple[str, Any]] = []
    keywords: dict[str, tuple[str, Any]] = {}
    for one in parameters:
        if one.name in roles and one.kind is not one.KEYWORD_ONLY and len(positional) == parameters.index(one):
            positional.append(roles[one.name])
        elif one.name in roles:
            keywords[one.name] = roles[one.name]
    return Convention(positional=tuple(positional), keywords=keywords, cotangents=len(free), has_cache=takes_cache)


def _are_outputs(returned: Any, names: Sequence[str]) -> bool:
    """Whether all that a forward returned are outputs, and a backward takes the gradient of each: it has no cache."""
    values = tuple(cast("Sequence[Any]", returned))
    return len(values) == len(names) and is_float(values[-1]) and names[-1].startswith(GRADIENTS)


def _roles(
    parameters: Sequence[inspect.Parameter], names: Sequence[str], defaults: Mapping[str, Any]
) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """The roles that names tell, and the names of those that must be passed and could be anything."""
    roles: dict[str, tuple[str, Any]] = {}
    free: list[str] = []
    for one in parameters:
        is_required = one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        if one.name in names:
            roles[one.name] = ("argument", names.index(one.name))
        elif one.name in CACHES:
            roles[one.name] = ("cache", 0)
        elif is_required and one.name in defaults:
            roles[one.name] = ("constant", defaults[one.name])
        elif is_required:
            free.append(one.name)
    return roles, free


def _defaults(forward: Function) -> dict[str, Any]:
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def split(returned: Any, convention: Convention, name: str) -> tuple[Any, Any, int]:
    """Take what `forward` returned apart: the outputs with cotangents, the cache, and how many outputs have none.

    Several outputs come as a tuple; those that `forward` returned as the one member beside the cache, as they are.
    """
    values: tuple[Any, ...] = (returned,)
    if isinstance(returned, (tuple, list)) and (convention.has_cache or convention.cotangents > 0):
        values = tuple(cast("Sequence[Any]", returned))
    cache = None
    if convention.has_cache:
        *outputs, cache = values
        values = tuple(outputs)
    wanted = max(convention.cotangents, 1)
    if len(values) == 1 and wanted > 1 and isinstance(values[0], (tuple, list)):
        values = tuple(cast("Sequence[Any]", values[0]))
    if len(values) < wanted:
        raise UsageError(
            f"`backward` takes the gradients with respect to {wanted} outputs before the cache, but `{name}` returns "
            f"{len(values)}: they must be as many."
        )
    return (values[0] if wanted == 1 else values[:wanted]), cache, len(values) - wanted


def _is_one_number(value: Any) -> bool:
    return not isinstance(value, (tuple, list)) and np.shape(value) == ()


def _name(function: Function) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _described(value: Any) -> str:
    if _backends.is_array(value):
        return f"one array of shape {tuple(np.shape(value))}"
    return "None" if value is None else f"a {type(value).__name__}"
