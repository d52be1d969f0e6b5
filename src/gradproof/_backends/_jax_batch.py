"""A JAX function at many points at once: `jax.vmap` inside one `jax.jit`, compiled once for each of a few sizes."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradproof._base._away import is_from_handler, is_out_of_memory

Arrays = tuple[jax.Array, ...]

# Lengths of the leading axis that are compiled: a batch is filled up to the next one, a longer one is cut.
SIZES = (8, 64, 512)


class Batched:
    """A function at many points at once.

    Whoever asks compares some of the values with those of single points: they are computed in another way.

    Parameters
    ----------
    run : callable
        ``run(*arguments) -> outputs``.
    arguments : sequence
        The first `count` of them differ from point to point, the others stay what they are.
    count : int
    """

    def __init__(self, run: Callable[..., Arrays], arguments: Sequence[Any], count: int) -> None:
        others = arguments[count:]
        self._compiled: Callable[..., Arrays] = jax.jit(jax.vmap(lambda *leaves: run(*leaves, *others)))
        self._dtypes = [leaf.dtype for leaf in arguments[:count]]
        self._is_refused = False

    def __call__(self, stacked: Sequence[Any]) -> Arrays | None:
        """Return the outputs, each with a leading axis of the length k > 0 that the `stacked` leaves have.

        None where JAX refuses, as for a callback without `vmap_method`.
        """
        if self._is_refused:
            return None
        leaves = [jnp.asarray(array, dtype) for array, dtype in zip(stacked, self._dtypes, strict=True)]
        longest = SIZES[-1]
        try:
            found = [
                self._piece([leaf[start : start + longest] for leaf in leaves])
                for start in range(0, len(leaves[0]), longest)
            ]
        except Exception as error:
            if is_from_handler(error) or is_out_of_memory(error):
                raise
            self._is_refused = True
            return None
        return found[0] if len(found) == 1 else tuple(jnp.concatenate(parts) for parts in zip(*found, strict=True))

    def _piece(self, leaves: Sequence[jax.Array]) -> Arrays:
        k = len(leaves[0])
        size = next(size for size in SIZES if size >= k)
        filled = [leaf if k == size else jnp.concatenate([leaf, jnp.repeat(leaf[-1:], size - k, 0)]) for leaf in leaves]
        return tuple(output if k == size else output[:k] for output in self._compiled(*filled))
