"""What a layer that is an object keeps: put back before each call and in the end, and the parameters among it."""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._ask._layer_match import is_float, is_numeric, targets

# A way from the layer: attributes and keys.
Steps = tuple[tuple[str, Hashable], ...]

# How layers call the containers of their parameters and gradients, and what holds the two of one parameter.
_VALUES = ("params", "parameters", "weights", "variables", "theta")
_GRADIENTS = ("grads", "gradients", "grad", "gradient", "dparams", "d_params", "dweights", "derivatives")
_OWN_VALUE, _OWN_GRADIENT = ("value", "data", "val"), ("grad", "gradient")
# What forgets the gradients, or the inputs, of earlier passes.
_FORGET = ("flush_gradients", "zero_grad", "zero_grads", "zero_gradients", "zeroGradParameters", "clear_grads")
_ABSENT = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """An array of a layer, and where it keeps its gradient, if it does; `path` is Python source."""

    path: str
    steps: Steps
    gradient_steps: Steps
    value: Any

    @property
    def gradient_path(self) -> str:
        """Where the gradient lies, as Python source."""
        return _written(self.gradient_steps)

    def put(self, layer: Any, value: Any) -> None:
        """Give the parameter another value: within its own memory, which others may know it by."""
        own: Any = self.value
        if isinstance(own, np.ndarray) and own.flags.writeable:
            np.copyto(cast("Any", own), value)
            return
        holder = follow(layer, self.steps[:-1])
        kind, key = self.steps[-1]
        if kind == "attribute":
            setattr(holder, str(key), value)
        else:
            holder[key] = value

    def gradient(self, layer: Any) -> Any:
        """Return a copy of its gradient; None where there is none."""
        found = follow(layer, self.gradient_steps)
        return _backends.copied(found) if is_numeric(found) else None


class State:
    """Everything that can be reached from a layer, as it is now.

    Containers and arrays keep their identity: what they hold is put back.
    """

    def __init__(self, layer: Any) -> None:
        # (The objects are held, so that their ids stay their own.)
        self._kept = [(found, _keeping(found)) for _, found in _reached(layer)]
        self._known = {id(found) for found, _ in self._kept}

    def restore(self) -> None:
        """Put everything back."""
        for _, put_back in self._kept:
            if put_back is not None:
                put_back()

    def holds(self, value: Any) -> bool:
        """Whether this very object was there."""
        return id(value) in self._known


def forget(layer: Any) -> None:
    """Forget earlier passes, as a method of the layer does."""
    for name in _FORGET:
        method = getattr(layer, name, None)
        if callable(method):
            try:
                method()
            except Exception:  # such as that of a frozen layer
                continue
            return


def clear_gradients(layer: Any, parameters: list[Parameter]) -> None:
    """Make the gradients of parameters zero: a backward may add to them."""
    for parameter in parameters:
        gradient = follow(layer, parameter.gradient_steps)
        if isinstance(gradient, np.ndarray) and gradient.flags.writeable:
            gradient[...] = 0


def find_parameters(layer: Any, state: State | None = None) -> list[Parameter]:
    """Find the parameters that have a gradient: now, and by identity already in an earlier `state`."""
    found: dict[int, Parameter] = {}
    for steps, holder in _reached(layer):
        for own, gradient in _pairs(holder):
            value_steps, gradient_steps = (*steps, *own), (*steps, *gradient)
            value = follow(layer, value_steps)
            if value is _ABSENT or (state is not None and not state.holds(value)):
                continue
            found.setdefault(
                id(value),
                Parameter(
                    path=_written(value_steps),
                    steps=value_steps,
                    gradient_steps=gradient_steps,
                    value=value,
                ),
            )
    return list(found.values())


def parameters_named(layer: Any, gradients: Sequence[str]) -> dict[str, Parameter]:
    """Find the parameters in dicts of a layer that gradients returned under some names belong to."""
    found: dict[str, Parameter] = {}
    for steps, holder in _reached(layer):
        held = {name: follow(holder, (("attribute", name),)) for name in _VALUES if _has_attributes(holder)}
        for container, values in held.items():
            if not isinstance(values, dict):
                continue
            for key, value in cast("dict[Any, Any]", values).items():
                name = next((one for one in gradients if str(key) == one or str(key) in targets(one)), None)
                if name is not None and is_float(value) and name not in found:
                    own: Steps = (*steps, ("attribute", container), ("item", key))
                    found[name] = Parameter(path=_written(own), steps=own, gradient_steps=(), value=value)
    return found


def follow(layer: Any, steps: Steps) -> Any:
    """What lies at some steps from the layer."""
    found = layer
    for kind, key in steps:
        try:
            found = getattr(found, str(key)) if kind == "attribute" else found[key]
        except (AttributeError, LookupError, TypeError):
            return _ABSENT
    return found


def _pairs(holder: Any) -> Iterator[tuple[Steps, Steps]]:
    """Where an object keeps parameters and their gradients."""
    if not _has_attributes(holder):
        return
    attributes = dict(_attributes(holder))
    for values in _VALUES:
        for gradients in _GRADIENTS:
            yield from _container_pairs(values, attributes.get(values), gradients, attributes.get(gradients))
    for value in _OWN_VALUE:
        for gradient in _OWN_GRADIENT:
            if is_float(attributes.get(value)) and is_numeric(attributes.get(gradient)):
                yield (("attribute", value),), (("attribute", gradient),)
    floats = [name for name, value in attributes.items() if is_float(value)]
    for name in floats:
        for other in attributes:
            if other != name and name in targets(other) and is_numeric(attributes[other]):
                yield (("attribute", name),), (("attribute", other),)
        for gradients in _GRADIENTS:
            yield from (
                ((("attribute", name),), (("attribute", gradients), ("item", key)))
                for key in _named_after(name, attributes.get(gradients))
            )


def _container_pairs(values: str, held: Any, gradients: str, derived: Any) -> Iterator[tuple[Steps, Steps]]:
    """Parameters in a dict or list, with the gradients in another."""
    here: tuple[str, Hashable] = ("attribute", values)
    there: tuple[str, Hashable] = ("attribute", gradients)
    if isinstance(held, dict):
        for name, value in cast("dict[Any, Any]", held).items():
            if is_float(value):
                yield from (((here, ("item", name)), (there, ("item", key))) for key in _named_after(name, derived))
    elif isinstance(held, (list, tuple)) and isinstance(derived, (list, tuple)):
        pairs = zip(cast("list[Any]", held), cast("list[Any]", derived), strict=False)
        for i, (value, gradient) in enumerate(pairs):
            if is_float(value) and is_numeric(gradient):
                yield (here, ("item", i)), (there, ("item", i))


def _named_after(name: Any, gradients: Any) -> list[Hashable]:
    """Keys of a dict under which the gradient of `name` lies; the same name first."""
    if not isinstance(gradients, dict):
        return []
    held = cast("dict[Hashable, Any]", gradients)
    keys = [key for key, value in held.items() if is_numeric(value)]
    return [key for key in keys if key == name] or [key for key in keys if str(name) in targets(str(key))]


def _written(steps: Steps) -> str:
    return "layer" + "".join(f".{key}" if kind == "attribute" else f"[{key!r}]" for kind, key in steps)


def _reached(layer: Any) -> Iterator[tuple[Steps, Any]]:
    """Everything that can be reached from a layer, once, with the way to it; the nearest first."""
    waiting: collections.deque[tuple[Steps, Any]] = collections.deque([((), layer)])
    seen: set[int] = {id(layer)}
    while waiting:
        steps, found = waiting.popleft()
        yield steps, found
        for step, child in _children(found):
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append(((*steps, step), child))


def _children(found: Any) -> Iterator[tuple[tuple[str, Hashable], Any]]:
    if isinstance(found, dict):
        yield from ((("item", key), value) for key, value in cast("dict[Any, Any]", found).items())
    elif isinstance(found, (list, tuple, collections.deque)):
        yield from ((("item", i), value) for i, value in enumerate(cast("list[Any]", found)))
    elif _has_attributes(found):
        yield from ((("attribute", name), value) for name, value in _attributes(found))


def _has_attributes(found: Any) -> bool:
    """Whether an object is one of the user's own, and neither a class, a function nor something of a library's."""
    if isinstance(found, type) or callable(getattr(found, "__get__", None)) or _backends.is_array(found):
        return False
    kind = cast("type[Any]", type(found))
    module = str(getattr(kind, "__module__", "")).partition(".")[0]
    is_theirs = module in sys.stdlib_module_names and module not in ("__main__", "types")
    return not is_theirs and module != "numpy" and (hasattr(found, "__dict__") or hasattr(kind, "__slots__"))


def _attributes(found: Any) -> Iterator[tuple[str, Any]]:
    yield from tuple(getattr(found, "__dict__", {}).items())
    for kind in type(found).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name != "__dict__" and hasattr(found, name):
                yield name, getattr(found, name)


def _keeping(found: Any) -> Callable[[], None] | None:
    """What puts the contents of an object back; None where it has none that could change."""
    if isinstance(found, np.ndarray):
        array = cast("Any", found)
        saved = array.copy()
        return (lambda: np.copyto(array, saved)) if array.flags.writeable else None
    if hasattr(found, "copy_") and _backends.is_array(found):  # a tensor of torch
        tensor = found.detach()
        saved_tensor = tensor.clone()
        return lambda: tensor.copy_(saved_tensor)
    if isinstance(found, dict):
        return _refilling(cast("dict[Any, Any]", found))
    if isinstance(found, (list, collections.deque, set)):
        return _refilling_members(cast("Any", found))
    return _keeping_random(found) or (_keeping_attributes(found) if _has_attributes(found) else None)


def _keeping_random(found: Any) -> Callable[[], None] | None:
    random = sys.modules.get("numpy.random")
    if random is not None and isinstance(found, random.Generator):
        state = found.bit_generator.state

        def rewind() -> None:
            found.bit_generator.state = state

        return rewind
    if random is not None and isinstance(found, random.RandomState):
        seen = found.get_state()
        return lambda: found.set_state(seen)
    return None


def _keeping_attributes(found: Any) -> Callable[[], None]:
    if hasattr(found, "__dict__"):
        return _refilling(cast("dict[Any, Any]", vars(found)))
    saved = list(_attributes(found))

    def put_back() -> None:
        for name, value in saved:
            object.__setattr__(found, name, value)

    return put_back


def _refilling_members(found: Any) -> Callable[[], None]:
    members, fill = list(found), getattr(found, "extend", None) or found.update

    def refill() -> None:
        found.clear()
        fill(members)

    return refill


def _refilling(found: dict[Any, Any]) -> Callable[[], None]:
    saved = dict(found)

    def refill() -> None:
        if len(found) != len(saved) or any(found.get(key, _ABSENT) is not value for key, value in saved.items()):
            found.clear()
            found.update(saved)

    return refill
