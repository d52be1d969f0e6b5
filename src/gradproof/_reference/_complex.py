"""The complex step: f(x + i h v) has the slope in its imaginary part, without cancellation."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._leaf import Leaf
from gradproof._primal import Primal


class ComplexStep:
    """Evaluates the imaginary part of f(x + i t v), where f takes complex numbers through and x is real.

    Parameters
    ----------
    primal : Primal
    measured : the indices of its leaves that move, in order.
    leaves : the same leaves with their slices of v.

    References
    ----------
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998).
    """

    def __init__(self, primal: Primal, measured: list[int], leaves: tuple[Leaf, ...]) -> None:
        self._primal = primal
        self._moving = dict(zip(measured, leaves, strict=True))

    def evaluate(self, v: NDArray[np.float64], step: float) -> float:
        """Imaginary part of f(x + i step v); nan where f raises, or returns a real number (it dropped the other part).

        A complex evaluation counts as two of f.
        """
        primal = self._primal
        values = primal.make(primal.point.copy())
        for i, leaf in self._moving.items():
            whole = primal.leaves[i]
            moved = primal.point[whole.start : whole.stop] + 1j * step * v[leaf.start : leaf.stop]
            value, slot = primal.layout.owners[i].value, primal.layout.owners[i].slot
            values[slot] = moved.reshape(leaf.shape) if isinstance(value, np.ndarray) else complex(moved[0])
        primal.evaluations += 2
        primal.calls += 1
        returned: Any
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                # A cast that drops the imaginary part ends the matter, and is no news for the user.
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                returned = primal.f(*primal.arguments(values))
        except Exception:
            # Whatever it is: f is not made for complex numbers, and this witness has nothing to say.
            return math.nan
        if not np.iscomplexobj(returned) or np.size(returned) != 1:
            return math.nan
        return complex(np.asarray(returned).reshape(-1)[0]).imag
