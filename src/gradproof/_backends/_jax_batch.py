"""A JAX function at many points at once: `jax.vmap` inside one `jax.jit`, compiled once for each of a few sizes."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradproof._away import is_from_handler
from gradproof._backends._jax_compile import agree

Arrays = tuple[jax.Array, ...]

# Lengths of the leading axis that are compiled: a batch is filled up to the next one, a longer one is cut.
SIZES = (8, 64, 512)


class Batched:
    """A function at many points at once.

    Parameters
    ----------
    compiled : callable
        ``compiled(*stacked leaves) -> stacked outputs``.
    dtypes : sequence of dtype
        Of the leaves.
    """

    def __init__(self, compiled: Callable[..., Arrays], dtypes: Sequence[Any]) -> None:
        self._compiled = compiled
        self._dtypes = dtypes

    @classmethod
    def of(cls, run: Callable[..., Arrays], arguments: Sequence[Any], count: int) -> Batched | None:
        """Batch a function of the first `count` arguments, the others staying what they are.

        None where JAX refuses, as for a callback without `vmap_method`, or returns something else than the function.
        """
        leaves, others = arguments[:count], arguments[count:]
        compiled = jax.jit(jax.vmap(lambda *leaves: run(*leaves, *others)))
        try:
            together = compiled(*(jnp.stack([leaf] * SIZES[0]) for leaf in leaves))
            is_same = agree(run(*arguments), tuple(output[-1] for output in together))
        except Exception as error:
            if is_from_handler(error):
                raise
            return None
        return cls(compiled, [leaf.dtype for leaf in leaves]) if is_same else None

    def __call__(self, stacked: Sequence[Any]) -> Arrays:
        """Return the outputs, each with a leading axis of the length k > 0 that the `stacked` leaves have."""
        leaves = [jnp.asarray(array, dtype) for array, dtype in zip(stacked, self._dtypes, strict=True)]
        longest = SIZES[-1]
        found = [
            self._piece([leaf[start : start + longest] for leaf in leaves])
            for start in range(0, len(leaves[0]), longest)
        ]
        return found[0] if len(found) == 1 else tuple(jnp.concatenate(parts) for parts in zip(*found, strict=True))

    def _piece(self, leaves: Sequence[jax.Array]) -> Arrays:
        k = len(leaves[0])
        size = next(size for size in SIZES if size >= k)
        filled = [jnp.concatenate([leaf, jnp.repeat(leaf[-1:], size - k, 0)]) for leaf in leaves]
        return tuple(output[:k] for output in self._compiled(*filled))
