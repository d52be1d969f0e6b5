"""Code of low precision beside the same function in float64: the claim stays, and its reference gains digits."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradproof._backends._jax_compile import is_near
from gradproof._backends._jax_function import Array, Arrays, JaxFunction

# What the reference is: a copy in float64, or one that still computes in lower precision inside.
COPY = "against differences of f in float64"
NARROW_COPY = "against differences of a copy of f at float64 arguments, which casts down inside"


class Upcast:
    """A function whose values come from the same code in float64 and whose derivatives are those of the original.

    Its arguments are those of the original in float64, which holds them exactly; a derivative is computed at the same
    point in the original's own precision and then widened.
    """

    left_out: tuple[str, ...] = ()

    def __init__(self, low: JaxFunction, high: JaxFunction) -> None:
        self._low, self._high = low, high
        self.names, self.count, self.is_scalar = low.names, low.count, low.is_scalar
        self.arguments = high.arguments
        self._latest: tuple[tuple[Any, ...], list[Any]] = (), []

    def value(self, *arguments: Any) -> Any:
        """What the copy returns."""
        return self._high.value(*arguments)

    def vjp(self, cotangent: Any, *arguments: Any) -> Arrays:
        """Reverse mode of the original."""
        return widened(self._low.vjp(cotangent, *self._narrowed(arguments)))

    def jvp(self, tangents: Any, *arguments: Any) -> Any:
        """Forward mode of the original."""
        return widened(self._low.jvp(tangents, *self._narrowed(arguments)))

    def vjps(self, mode: str, cotangents: Sequence[Any], *arguments: Any) -> list[Arrays]:
        """Batched or compiled reverse mode of the original."""
        return [widened(one) for one in self._low.vjps(mode, cotangents, *self._narrowed(arguments))]

    def rows(self, *arguments: Any) -> NDArray[np.float64] | None:
        """The rows of the original's Jacobian (m, n) in reverse mode."""
        return self._low.rows(*self._narrowed(arguments))

    def many(self, stacked: Sequence[Any]) -> Any:
        """What the copy returns at many points at once."""
        return self._high.many(stacked)

    def _narrowed(self, arguments: Sequence[Any]) -> list[Any]:
        """The original's own arguments, the differentiated ones at the point asked for."""
        own = self._low.arguments
        known, narrowed = self._latest
        if len(known) == self.count and all(map(operator.is_, known, arguments)):
            return narrowed
        moved = [
            cast(given, mine.dtype) for given, mine in zip(arguments[: self.count], own[: self.count], strict=True)
        ]
        narrowed = [*moved, *own[self.count :]]
        self._latest = tuple(arguments[: self.count]), narrowed
        return narrowed


def widened(tree: Any) -> Any:
    """Return the same numbers in float64 or complex128."""
    if isinstance(tree, tuple):
        return tuple(map(widened, tree))  # pyright: ignore[reportUnknownVariableType]
    return cast(tree, np.complex128 if jnp.iscomplexobj(tree) else np.float64)


def cast(array: Any, dtype: Any) -> Array:
    """Return the same numbers in another dtype, on the same devices."""
    if isinstance(array, jax.Array) and array.dtype == dtype:
        return array
    with jax.enable_x64(True):
        if not isinstance(array, jax.Array) or not array.committed:
            return jnp.asarray(np.asarray(array).astype(dtype))  # compiles nothing
        return array.astype(dtype)


def is_copy(low: JaxFunction, high: JaxFunction) -> bool:
    """Whether the function in float64 computes the same: float64 outputs of the same shapes, equal to rounding."""
    value = high.value(*high.arguments)
    for mine, copied in zip(low.plain, value if isinstance(value, tuple) else (value,), strict=True):
        mine = mine.reshape(copied.shape) if high.is_scalar else mine
        if jnp.finfo(copied.dtype).bits != 64 or mine.shape != copied.shape:
            return False
        if mine.dtype != copied.dtype and not is_near(mine, copied):
            return False
    return True


def _rounded_at_random(array: NDArray[Any], eps: float, generator: np.random.Generator) -> NDArray[Any]:
    factors = 1 + eps * (generator.random(array.shape) - 0.5)
    # (Infinity times a factor is nan in one part of a complex entry.)
    return np.multiply(array, factors, out=array.copy(), where=np.isfinite(array))


def claim_precision(
    low: JaxFunction, high: JaxFunction, bounds: tuple[Sequence[Any], Sequence[Any]] | None = None
) -> float:
    """How precise a claim in low precision can be: its eps, or what rounding of the point does to the gradient.

    One rounding of the point at random, but within `bounds`, both gradients in float64, shows how well conditioned the
    gradient is (backward error analysis: a stable algorithm returns the exact result for slightly perturbed data).
    """
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in low.arguments[: low.count])
    leaves, others = high.arguments[: high.count], high.arguments[high.count :]
    generator = np.random.default_rng(0)
    moved = [_rounded_at_random(np.asarray(leaf), eps, generator) for leaf in leaves]
    for i, (lower, upper) in enumerate(zip(*bounds, strict=True) if bounds is not None else ()):
        moved[i] = moved[i] if lower is upper is None else np.clip(moved[i], lower, upper)
    with high.precision():
        rounded = [cast(array, leaf.dtype) for array, leaf in zip(moved, leaves, strict=True)]
        ones = tuple(jnp.ones(output.shape, output.dtype) for output in high.outputs)
        u = ones[0] if len(ones) == 1 else ones
    worst = eps
    try:
        pairs = list(zip(high.vjp(u, *leaves, *others), high.vjp(u, *rounded, *others), strict=True))
    except Exception:
        return worst  # no reverse mode
    for exact, shifted in pairs:
        size = float(np.linalg.norm(np.asarray(exact).ravel()))
        change = float(np.linalg.norm((np.asarray(shifted) - np.asarray(exact)).ravel()))
        if 0 < size < math.inf and change < 0.03 * size:
            worst = max(worst, change / size)
    return worst
