"""Which gradient belongs to which argument of a layer."""

from __future__ import annotations

import dataclasses
import itertools as it
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._base import _tree
from gradproof._base._errors import UsageError

Keys = tuple[Hashable, ...]

_PREFIXES = ("d", "d_", "g", "g_", "grad", "grad_", "gradient_", "delta_", "nabla_", "∇", "dL_d", "dLd", "dJ_d", "dJd")
_SUFFIXES = ("_grad", "grad", "_gradient", "_g", "_d", "_bar", "bar")
# Arguments up to which all ways to give fewer gradients to them are tried.
MOST_WAYS = 12


def targets(name: str) -> set[str]:
    """What `name` may be the gradient of, judging by its spelling: W of dW, grad_W and W_grad."""
    found = {name.removeprefix(prefix) for prefix in _PREFIXES} | {name.removesuffix(suffix) for suffix in _SUFFIXES}
    return found - {""}


def is_float(value: Any) -> bool:
    """Whether a value is an array, or a number, that can be differentiated."""
    if isinstance(value, (float, np.floating)):
        return True
    return _backends.is_array(value) and _backends.of(value).kind_of(value) in "fc"


def is_float_array(value: Any) -> bool:
    """Whether a value is an array that can be differentiated."""
    return _backends.is_array(value) and is_float(value)


def is_numeric(value: Any) -> bool:
    """Whether a value is an array or a number."""
    return _backends.is_array(value) or isinstance(value, (np.number, int, float, complex))


@dataclasses.dataclass(kw_only=True)
class Matched:
    """Which gradients were found.

    Attributes
    ----------
    ways : dict of tuple to tuple
        For each array, by the way to it from the top of the arguments, the way to its gradient.
    extra : list of str
        Gradients that no argument has the name of.
    """

    ways: dict[Keys, Keys] = dataclasses.field(default_factory=dict[Keys, Keys])
    extra: list[str] = dataclasses.field(default_factory=list[str])


class Matcher:
    """Matches gradients to arguments.

    Parameters
    ----------
    arguments : sequence
        Of `forward`.
    names : sequence of str
        Of them, as Python source.
    backward : str
        Its name in messages.
    wrt : tuple of int or None
    """

    def __init__(self, arguments: Sequence[Any], names: Sequence[str], backward: str, wrt: tuple[int, ...] | None):
        self.arguments, self.names, self.backward, self.wrt = tuple(arguments), list(names), backward, wrt
        self.leaves = _tree.flatten(self.arguments, self.names, none_is_leaf=True).leaves

    def match(self, returned: Any) -> Matched:
        """Match what `backward` returned.

        Raises
        ------
        UsageError
            If that cannot be told.
        """
        if isinstance(returned, Mapping):
            return self._by_name(cast("Mapping[Any, Any]", returned), (), range(len(self.arguments)))
        if not isinstance(returned, (tuple, list)):
            return self._in_order((returned,), [()])
        elements = tuple(cast("Sequence[Any]", returned))
        floats = self._floats()
        if len(floats) == 1 and self._is_alike(self.arguments[floats[0]], elements):
            # forward([x1, x2]) and [dx1, dx2]
            return self._in_order((elements,), [()])
        return self._in_order(elements, [(i,) for i in range(len(elements))])

    def _is_alike(self, argument: Any, elements: tuple[Any, ...]) -> bool:
        return isinstance(argument, (tuple, list)) and len(cast("Sequence[Any]", argument)) == len(elements)

    def _floats(self) -> list[int]:
        """Arguments that are float arrays, or lists and tuples with such."""
        found = {int(cast("int", leaf.keys[0])) for leaf in self.leaves if is_float_array(leaf.value)}
        return [i for i in sorted(found) if not isinstance(self.arguments[i], Mapping)]

    def _in_order(self, elements: tuple[Any, ...], ways: Sequence[Keys]) -> Matched:
        matched = Matched()
        for position, element, way in zip(self._positions(elements), elements, ways, strict=True):
            found = self._within(position, element, way)
            matched.ways.update(found.ways)
            matched.extra += found.extra
        return matched

    def _positions(self, elements: tuple[Any, ...]) -> Sequence[int]:
        """Which arguments the members of a tuple of gradients belong to."""
        floats, count = self._floats(), len(elements)
        if self.wrt is not None and count == len(self.wrt):
            return self.wrt
        if count == len(self.arguments) and all(
            element is None or self._may_have_gradient(i) for i, element in enumerate(elements)
        ):
            return range(count)
        if count == len(floats):
            return floats
        if count < len(floats) <= MOST_WAYS:
            ways = [
                positions
                for positions in it.combinations(floats, count)
                if all(self._fits(i, element) for i, element in zip(positions, elements, strict=True))
            ]
            if len(ways) == 1 or (ways and count == 1):
                return ways[0]
        raise UsageError(
            f"`{self.backward}` returned {count} gradient{'s' * (count != 1)}, and it cannot be told which of the "
            f"arguments {', '.join(self.names)} they belong to: return one for each array in their order, with None "
            "where there is none, or a dict by name, or name them with `wrt`."
        )

    def _may_have_gradient(self, i: int) -> bool:
        argument = self.arguments[i]
        return is_float(argument) or isinstance(argument, (tuple, list, Mapping))

    def _fits(self, i: int, element: Any) -> bool:
        argument = self.arguments[i]
        if element is None:
            return True
        if isinstance(argument, (tuple, list)):
            return isinstance(element, (tuple, list))
        return np.shape(element) == np.shape(argument)

    def _within(self, position: int, element: Any, way: Keys) -> Matched:
        """Match the gradient of one argument, which may be a container, to the arrays in it."""
        argument = self.arguments[position]
        if element is None:
            return Matched()
        if isinstance(argument, Mapping) and isinstance(element, Mapping):
            return self._by_name(cast("Mapping[Any, Any]", element), way, [position])
        if isinstance(argument, (tuple, list, Mapping)):
            offered = _tree.flatten((element,), ("",), none_is_leaf=True).leaves
            known = {leaf.keys[1:]: leaf for leaf in offered if leaf.value is not None}
            return Matched(
                ways={
                    leaf.keys: (*way, *leaf.keys[1:])
                    for leaf in self.leaves
                    if leaf.keys[0] == position and is_float(leaf.value) and leaf.keys[1:] in known
                }
            )
        self._require_float(argument, self.names[position])
        return Matched(ways={(position,): way})

    def _by_name(self, gradients: Mapping[Any, Any], way: Keys, positions: Sequence[int]) -> Matched:
        """Match a dict of gradients, which may be nested, by name: the name of an argument, or a key within one."""
        own = {
            leaf.keys: [str(self.names[int(cast("int", leaf.keys[0]))]), *map(str, leaf.keys[1:])]
            for leaf in self.leaves
            if leaf.keys[0] in positions
        }
        values = {leaf.keys: leaf for leaf in self.leaves}
        matched = Matched()
        offered = _tree.flatten((gradients,), (self.backward,), none_is_leaf=True).leaves
        for gradient in offered:
            if gradient.value is None or not is_numeric(gradient.value):
                continue
            names = [str(key) for key in gradient.keys[1:]]
            found: list[Keys] = []
            for same in (_same, _named_after, _nearly_named_after):
                found = found or [keys for keys, path in own.items() if _ends_with(path, names, same)]
            # An argument of that name before a key of it within a dict.
            found = [keys for keys in found if len(keys) == 1] or found
            if len(found) > 1:
                paths = " and ".join(f"`{values[keys].path}`" for keys in found)
                raise UsageError(f"`{gradient.path}` may be the gradient of {paths}: rename one of them.")
            if not found:
                matched.extra.append(str(gradient.keys[-1]))
                continue
            self._require_float(values[found[0]].value, values[found[0]].path)
            matched.ways[found[0]] = (*way, *gradient.keys[1:])
        return matched

    def _require_float(self, value: Any, path: str) -> None:
        if is_float(value):
            return
        if not is_numeric(value):
            raise UsageError(
                f"`{self.backward}` returned a gradient for `{path}`, which is of type {type(value).__name__} and has "
                "none: return None there."
            )
        fix = f"{path}.astype(float)" if _backends.is_array(value) else f"float({path})"
        raise UsageError(
            f"`{self.backward}` returned a gradient for `{path}`, which holds integers: pass `{fix}`, or return None "
            "there."
        )


def _same(name: str, gradient: str) -> bool:
    return name == gradient


def _named_after(name: str, gradient: str) -> bool:
    return name in targets(gradient)


def _nearly_named_after(name: str, gradient: str) -> bool:
    return name.lower() in {other.lower() for other in targets(gradient)}


def _ends_with(path: Sequence[str], names: Sequence[str], same: Any) -> bool:
    return len(names) <= len(path) and all(
        same(name, gradient) for name, gradient in zip(path[-len(names) :], names, strict=True)
    )
