"""How far numbers are off that rounding has touched, beside how far rounding may take them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._ratio import freedom, scatter

Floats = NDArray[np.float64]

# Draws of the rounding errors, each a forward and a backward pass of the copy.
DRAWS = 8
# The chance that one of the arrays of a right function is said to be off.
CHANCE = 1e-6
# Roundings of the own dtype that an array has in any case.
OWN_ROUNDINGS = 64.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Off:
    """How far an array is from the copy's, relative to its norm, and how far rounding may take it.

    `beside` is the error relative to all gradients together, and `eps` that of the lower precision. `is_mistake` says
    that no rounding makes such an error.
    """

    path: str
    error: float
    allowed: float
    beside: float
    eps: float
    is_output: bool
    is_mistake: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """An array in lower precision beside that of a copy: sums of squares.

    Attributes
    ----------
    numbers : int
        Entries.
    square, error : float
        Of the copy's array, and of the difference from it.
    draws : ndarray
        Of the differences that drawn rounding errors make.
    eps : float
        Of the dtype that the array has.
    """

    path: str
    numbers: int
    square: float
    error: float
    draws: Floats
    eps: float
    is_output: bool = False


def held(arrays: Sequence[Compared], *, eps: float, ratio: float) -> list[Off]:
    """Hold arrays against those of a copy by the law of `gradproof._base._ratio`.

    Parameters
    ----------
    arrays : sequence of Compared
    eps : float
        Of the lower precision.
    ratio : float
        How many times the error that was drawn a right function may have (see `allowed_ratio`).
    """
    energies = np.array([array.draws for array in arrays]).T
    theirs = freedom(energies, np.array([float(array.numbers) for array in arrays]))
    with np.errstate(invalid="ignore", over="ignore"):
        explained = energies.mean(axis=0) * scatter(theirs / len(energies), theirs, CHANCE / len(arrays))
    whole = math.sqrt(sum(array.square for array in arrays if not array.is_output))
    found: list[Off] = []
    for array, drawn in zip(arrays, explained.tolist(), strict=True):
        size, error = math.sqrt(array.square), math.sqrt(array.error)
        # (A rounding of the own dtype is there even where nothing of lower precision leads to it.)
        allowed = ratio * math.sqrt(drawn) + OWN_ROUNDINGS * array.eps * size
        found.append(
            Off(
                path=array.path,
                error=error / size if size > 0 else 0.0 if error == 0 else math.inf,
                allowed=allowed / size if size > 0 else math.inf if allowed > 0 else 0.0,
                beside=error / whole if whole > 0 else 0.0,
                eps=eps,
                is_output=array.is_output,
            )
        )
    return found
