"""A trusted f of higher precision, evaluated where f is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends
from gradproof._primal import Primal
from gradproof._problem import Problem


class Trusted:
    """Evaluates the user's `reference` beside the point, its differentiated arrays in float64.

    Parameters
    ----------
    primal : Primal
        That of f; evaluations of the reference are counted there.
    reference : callable
        ``reference(*args) -> scalar``, the same function as f, computed more precisely.
    gradients : mapping of int to ndarray
        The claims of the leaves that move.
    """

    def __init__(self, primal: Primal, reference: Callable[..., Any], gradients: Mapping[int, Any]) -> None:
        self._primal = primal
        ordered: list[Any] = [None] * len(primal.origins)
        for origin in primal.origins:
            ordered[origin.slot] = _backends.of(origin.value).doubled(origin.value)
        self._of = Primal(reference, tuple(primal.arguments(ordered)), primal.given_wrt)
        self._problem = Problem(self._of, gradients)

    def evaluate(self, v: NDArray[np.float64], step: float) -> float:
        """The reference at x + step v."""
        before = self._of.evaluations
        value = self._problem.evaluate(v, step)
        self._primal.evaluations += self._of.evaluations - before
        self._primal.calls += self._of.evaluations - before
        return value
