"""The complex step: f(x + i h v) has the slope in its imaginary part, without cancellation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._base import _tree
from gradproof._base._away import is_from_handler
from gradproof._base._leaf import Leaf
from gradproof._function._primal import Primal


class ComplexStep:
    """Evaluates the imaginary part of f(x + i t v), where f takes complex numbers through and x is real.

    Parameters
    ----------
    primal : Primal
    measured : the indices of its leaves that move, in order.
    leaves : the same leaves with their slices of v.
    cotangent : ndarray (m,), optional
        u, where <u, f> is asked for.

    References
    ----------
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998).
    """

    def __init__(
        self,
        primal: Primal,
        measured: Sequence[int],
        leaves: tuple[Leaf, ...],
        cotangent: NDArray[np.float64] | None = None,
    ) -> None:
        self._primal = primal
        self._moving = dict(zip(measured, leaves, strict=True))
        self._cotangent = cotangent

    def evaluate(self, v: NDArray[np.float64], step: float) -> float:
        """Imaginary part of f(x + i step v); nan where f raises, or returns a real number (it dropped the other part).

        A complex evaluation counts as two of f.
        """
        values = self._imaginary(v, step)
        if self._cotangent is None:
            return float(values[0]) if values is not None and values.size == 1 else math.nan
        if values is None or values.size != self._cotangent.size:
            return math.nan
        chosen = np.flatnonzero(self._cotangent)
        return float(self._cotangent[chosen] @ values[chosen])

    def outputs(self, v: NDArray[np.float64], step: float) -> NDArray[np.float64]:
        """The same for every output (m,); nan in those that are real."""
        size = self._primal.outputs.size
        values = self._imaginary(v, step)
        return values if values is not None and values.size == size else np.full(size, math.nan)

    def _imaginary(self, v: NDArray[np.float64], step: float) -> NDArray[np.float64] | None:
        """The imaginary parts of all that f returns, in the order of its outputs; None where it does not answer."""
        primal, moving = self._primal, frozenset(self._moving)
        if moving in primal.refuses_complex:
            return None
        buffer = primal.point.astype(np.complex128)
        for i, leaf in self._moving.items():
            whole = primal.leaves[i]
            buffer[whole.start : whole.stop] += 1j * step * v[leaf.start : leaf.stop]
        values = primal.make(primal.point.copy())
        moved = complex_leaves(primal, buffer)
        for i in self._moving:
            slot = primal.layout.owners[i].slot
            values[slot] = moved[slot]
        primal.count(2)
        returned: Any
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                # A cast that drops the imaginary part ends the matter, and is no news for the user.
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                returned = primal.f(*primal.arguments(values))
        except Exception as error:
            if is_from_handler(error):
                raise
            # Whatever it is: f is not made for complex numbers, and this witness has nothing to say.
            primal.refuses_complex.add(moving)
            return None
        flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
        if not any(np.iscomplexobj(leaf.value) for leaf in flat.leaves):
            primal.refuses_complex.add(moving)
            return None
        if not primal.is_vector:
            return np.array([complex(returned).imag]) if np.size(returned) == 1 and np.iscomplexobj(returned) else None
        pieces = {leaf.keys: _imaginary_part(leaf.value) for leaf in flat.leaves}
        keys = primal.outputs.keys
        if set(pieces) != set(keys) or not any(np.isfinite(piece).any() for piece in pieces.values()):
            return None
        return np.concatenate([pieces[key] for key in keys])


def _imaginary_part(value: Any) -> NDArray[np.float64]:
    """Flat; nan where it has been dropped."""
    if np.iscomplexobj(value):
        return np.imag(np.asarray(value, dtype=np.complex128)).reshape(-1)
    return np.full(np.size(value), math.nan)


def complex_leaves(primal: Primal, buffer: NDArray[np.complex128]) -> list[Any]:
    """All leaves of a flat complex vector (n,), in the structure's order; for a point of real numbers."""
    ordered: list[Any] = [None] * len(primal.origins)
    for leaf, origin in zip(primal.leaves, primal.layout.owners, strict=True):
        piece = buffer[leaf.start : leaf.stop]
        is_array = isinstance(origin.value, np.ndarray)
        ordered[origin.slot] = piece.reshape(leaf.shape) if is_array else complex(piece[0])
    return ordered
