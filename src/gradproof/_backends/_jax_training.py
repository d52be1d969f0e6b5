"""A training loop in JAX: parameters as named arrays, and the loss in float64."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradproof._backends._jax_tree import flatten, require_values
from gradproof._base._errors import UsageError

# Roundings that a loss may differ by from the same in float64.
ROUNDINGS = 4096.0


class JaxStep:
    """The loss of one step as a function of the floating arrays of its parameters.

    Attributes
    ----------
    names, arrays, gradients : lists
        Of the same length.

    Raises
    ------
    UsageError
        If the gradient has not the structure of the parameters, or the step is being traced.
    """

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], gradient: Any) -> None:
        self._f, self._others = f, args[1:]
        leaves, self._structure = flatten(args[:1], ["params"])
        claims, other = flatten((gradient,), ["gradient"])
        require_values([*leaves, *claims])
        if other != self._structure:
            raise UsageError(f"the gradient must have the structure of the parameters, {self._structure}, got {other}.")
        self._values = [leaf.value for leaf in leaves]
        self._places = [i for i, leaf in enumerate(leaves) if _is_floating(leaf.value)]
        self.names = [leaves[i].path for i in self._places]
        self.arrays = [leaves[i].value for i in self._places]
        self.gradients = [claims[i].value for i in self._places]

    def evaluate(self, arrays: Sequence[Any]) -> float:
        """The loss, given other arrays."""
        return float(self._f(*self._parameters(arrays), *self._others))

    def wide(self, arrays: Sequence[Any]) -> float:
        """The loss in float64, given other arrays in float64.

        Raises
        ------
        TypeError
            If it is computed in lower precision nevertheless.
        """
        with jax.enable_x64(True):
            moved = self._parameters([jnp.asarray(np.asarray(array, np.float64)) for array in arrays])
            value = self._f(*moved, *jax.tree_util.tree_map(_widened, self._others))
            if jnp.result_type(value) != np.float64:
                raise TypeError("the loss is no float64")
            return float(value)

    def runs_wide(self) -> bool:
        """Whether the loss computes the same in float64."""
        try:
            low, high = self.evaluate(self.arrays), self.wide(self.arrays)
        except Exception:
            return False  # whatever it is: it does not run in float64
        eps = max(float(jnp.finfo(array.dtype).eps) for array in self.arrays)
        return abs(low - high) <= min(ROUNDINGS * eps, 0.25) * abs(high)

    def _parameters(self, arrays: Sequence[Any]) -> Any:
        values = list(self._values)
        for place, array in zip(self._places, arrays, strict=True):
            values[place] = array
        return jax.tree_util.tree_unflatten(self._structure, values)


def _is_floating(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray)) and jnp.issubdtype(value.dtype, np.floating)


def _widened(value: Any) -> Any:
    if isinstance(value, (jax.Array, np.ndarray)) and jnp.issubdtype(value.dtype, np.floating):
        return jnp.asarray(np.asarray(value).astype(np.float64))
    return value
