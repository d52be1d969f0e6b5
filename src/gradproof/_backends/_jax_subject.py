"""A JAX function whose reverse mode is run under the conditions of the contracts.

Arrays of JAX cannot be changed, and their layout is not the function's business: what is left are zeros, a second call,
and gradients for some arguments alone, which rules with ``symbolic_zeros=True`` are told of.
"""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradproof._backends._jax_function import JaxFunction, normal_like
from gradproof._backends._numpy import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pulled:
    """What one backward gave: copies, and the arrays as they were returned."""

    gradients: list[Array | None]
    returned: list[Any]
    changed: list[int] = dataclasses.field(default_factory=list[int])
    forms: list[Any] = dataclasses.field(default_factory=list[Any])


class Subject:
    """A function that is held to the contracts (see `gradproof._claims._subjects.Subject`)."""

    layouts: tuple[str, ...] = ()
    is_whole = True

    def __init__(self, function: JaxFunction, name: str, owner: object, seed: int) -> None:
        self.function, self.name, self.owner = function, name, owner
        self.names = self.roots = list(function.names[: function.count])
        self._seed = seed

    @property
    def reached(self) -> frozenset[str]:
        """All of its arrays."""
        return frozenset(self.names)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Those of the differentiated arrays."""
        return [tuple(leaf.shape) for leaf in self.function.arguments[: self.function.count]]

    def record(self, *, needed: Collection[int] | None = None, rounding: int = 0, **_: Any) -> Recording:
        """Run the forward for some of the gradients, all by default."""
        function = self.function
        chosen = list(range(function.count)) if needed is None else sorted(needed)
        with function.precision():
            point = list(function.arguments)
            if rounding:
                generator = np.random.default_rng((self._seed, rounding))
                point[: function.count] = [_rounded(leaf, generator) for leaf in point[: function.count]]

            def of_chosen(*leaves: Any) -> Any:
                moved = list(point)
                for i, leaf in zip(chosen, leaves, strict=True):
                    moved[i] = leaf
                return function.run(*moved)

            outputs, back = jax.vjp(of_chosen, *(point[i] for i in chosen))
        return Recording(self, outputs, back, chosen)

    def cotangents(self, shared: str = "", draw: int = 0) -> list[Any]:
        """Random cotangents."""
        generator = np.random.default_rng((self._seed, 11, draw))
        with self.function.precision():
            return [normal_like(output, generator) for output in self.function.outputs]

    def zeros(self) -> list[Any]:
        """Cotangents of zeros."""
        with self.function.precision():
            return [jnp.zeros(output.shape, output.dtype) for output in self.function.outputs]

    def mixed(self, cotangents: Sequence[Any], draw: int) -> list[Any]:
        """The same cotangents with other signs, at random."""
        generator = np.random.default_rng((self._seed, 13, draw))
        with self.function.precision():
            return [u * jnp.sign(jnp.real(normal_like(u, generator))) for u in cotangents]

    def takes(self, layout: str, *, inputs: bool = False) -> bool:
        """Nothing has another layout."""
        return False

    def repeating(self) -> str:
        """No layout repeats entries."""
        return ""

    def holds_other_values(self, layout: str) -> bool:
        """No layout does."""
        return False

    def draws(self) -> bool:
        """Keys are arguments: nothing is drawn besides."""
        return False

    def shares_memory(self, one: Any, other: Any) -> bool:
        """Arrays cannot be changed, so that it does not matter."""
        return False

    def read(self, gradient: Any) -> Array:
        """The values of an array."""
        return np.array(gradient)

    @property
    def is_scalar(self) -> bool:
        """Whether it returns one number of shape () and no more."""
        return [output.ndim for output in self.function.outputs] == [0]

    @property
    def eps(self) -> float:
        """The coarsest precision of what goes in and comes out."""
        arrays = [*self.function.arguments[: self.function.count], *self.function.outputs]
        return max(float(jnp.finfo(one.dtype).eps) for one in arrays)

    @property
    def output_eps(self) -> float:
        """The coarsest precision of the outputs."""
        return max(float(jnp.finfo(one.dtype).eps) for one in self.function.outputs)

    @property
    def entries(self) -> int:
        """How many entries go in and come out."""
        return sum(one.size for one in [*self.function.arguments[: self.function.count], *self.function.outputs])

    def coarsest(self, cotangents: Sequence[Any]) -> float:
        """The coarsest precision that it computes in."""
        return max(self.eps, float(jnp.finfo(jnp.float32).eps) if self.function.casts_down else 0.0)

    def others(self) -> Iterator[Subject]:
        """Other shapes are not tried: JAX traces a function anew for each."""
        return iter(())

    def poisoned(self) -> contextlib.AbstractContextManager[None]:
        """No memory is uninitialised."""
        return contextlib.nullcontext()

    def wash(self) -> None:
        """So there is nothing to do."""

    def guarded(self) -> contextlib.AbstractContextManager[None]:
        """There is nothing to keep from a rule."""
        return contextlib.nullcontext()


def _rounded(leaf: Any, generator: np.random.Generator) -> Any:
    """The same array, each entry off by up to four roundings."""
    factor = 1 + 4 * float(jnp.finfo(leaf.dtype).eps) * generator.uniform(-1, 1, leaf.shape)
    return (leaf * factor).astype(leaf.dtype)


class Recording:
    """A forward with what pulls cotangents back."""

    def __init__(self, subject: Subject, outputs: Sequence[Any], back: Callable[..., Any], chosen: list[int]) -> None:
        self._subject, self._outputs, self._back, self._chosen = subject, outputs, back, chosen

    @property
    def values(self) -> list[Array]:
        """What f returned."""
        return [np.array(output) for output in self._outputs]

    def saved(self) -> dict[str, Any]:
        """Nothing that could be changed."""
        return {}

    def changed(self, saved: Any) -> list[str]:
        """Nothing is."""
        return []

    def pull(self, cotangents: Sequence[Any], *, only: Sequence[int] | None = None, **_: Any) -> Pulled:
        """Run the backward; gradients for some arrays alone are asked for before the forward."""
        if only is not None and list(only) != self._chosen:
            return self._subject.record(needed=only).pull(cotangents)
        with self._subject.function.precision():
            found = list(self._back(tuple(cotangents)))
        return Pulled(gradients=[np.array(one) for one in found], returned=found)

    def accumulated(self, cotangents: Sequence[Any], times: int) -> list[Array | None]:
        """The sum of so many backwards."""
        return [None if one is None else times * one for one in self.pull(cotangents).gradients]
