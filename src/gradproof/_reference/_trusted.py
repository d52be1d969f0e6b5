"""A trusted f of higher precision, evaluated where f is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends
from gradproof._base._errors import FunctionError
from gradproof._base._tree import NamedLeaf
from gradproof._function._layout import Layout
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem

Vector = NDArray[np.float64]


class Trusted:
    """Evaluates the user's `reference` beside the point, its differentiated arrays in float64.

    Parameters
    ----------
    primal : Primal
        That of f; evaluations of the reference are counted there.
    reference : callable
        ``reference(*args)``, the same function as f, computed more precisely.
    gradients : mapping of int to ndarray
        The claims of the leaves that move.
    cotangent : ndarray (m,), optional
        u, where <u, f> is asked for.
    is_vector : bool
        Whether all outputs are asked for.

    Raises
    ------
    FunctionError
        If it returns another number of values than f.
    """

    def __init__(
        self,
        primal: Primal,
        reference: Callable[..., Any],
        gradients: Mapping[int, Any],
        cotangent: Vector | None = None,
        *,
        is_vector: bool = False,
    ) -> None:
        self._primal = primal
        is_vector = is_vector or cotangent is not None
        self._of = Primal(
            reference,
            tuple(primal.arguments(double_leaves(primal, primal.point))),
            primal.given_wrt,
            is_vector=is_vector,
        )
        self._of.count_elsewhere()  # `_count` tells
        self._counted = 0
        if is_vector and self._of.outputs.size != primal.outputs.size:
            raise FunctionError(
                f"`{self._of.short_name}` must return what f returns: {primal.outputs.size} numbers, "
                f"got {self._of.outputs.size}."
            )
        self._problem = Problem(self._of, gradients, cotangent=cotangent)
        self._count()

    def evaluate(self, v: Vector, step: float) -> float:
        """The reference, or <u, reference>, at x + step v."""
        value = self._problem.evaluate(v, step)
        self._count()
        return value

    def outputs(self, v: Vector, step: float) -> Vector:
        """All values of the reference at x + step v."""
        values, _ = self._problem.outputs(v, step)
        self._count()
        return values

    def _count(self) -> None:
        new = self._of.evaluations - self._counted
        self._counted += new
        self._primal.count(new, new)


def double_leaves(primal: Primal, buffer: Vector) -> list[Any]:
    """All differentiated arrays of a flat vector (n,) in float64, in the structure's order."""
    named = [
        NamedLeaf(path=origin.path, keys=origin.keys, value=origin.value, slot=origin.slot) for origin in primal.origins
    ]
    layout = Layout(named, [_backends.of(origin.value).doubled(origin.value) for origin in primal.origins])
    layout.leave_out()
    own = buffer.copy()
    return [make(own) for make in layout.makers([leaf.start for leaf in layout.leaves])]
