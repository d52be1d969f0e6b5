"""GP204: a gradient is of a number type that its leaf allows; GP404: and of the leaf's own type and precision."""

from __future__ import annotations

import numpy as np

from gradproof._backends import Array
from gradproof._base._leaf import Leaf
from gradproof._function._layout import Origin
from gradproof._report import Finding, Severity


def check_dtype(origin: Origin, leaf: Leaf, gradient: Array, *, may_be_complex: bool = False) -> Finding | None:
    """Compare the dtype of a claimed derivative with that of the array it belongs to.

    Integers and booleans are taken as numbers. GP404 leaves the derivative usable, GP204 does not.

    Parameters
    ----------
    origin : Origin
    leaf : Leaf
        Its leaf, or its real part.
    gradient : ndarray
    may_be_complex : bool
        Whether a derivative by a real array may be complex, as that of a complex output is.
    """
    kind = gradient.dtype.kind
    may_be_complex = may_be_complex or origin.is_complex
    if kind == "c" and not may_be_complex:
        if not np.imag(gradient).any():
            return _note(origin, gradient, "as", "Its imaginary part is 0: return its `.real`.")
        advice = (
            "The gradient with respect to a real array is real. Return its `.real` if the rest is rounding, or u is "
            "complex."
        )
    elif kind not in "biufc":
        advice = (
            "Return floats. An object array often comes from arrays of different shapes: `.astype(float)` shows it."
        )
    elif kind in "fc" and np.real(gradient).dtype.itemsize < min(leaf.numpy_dtype.itemsize, 8):
        advice = "Its rounding counts as an error of the claim: compute it in the precision of the array."
        return _note(origin, gradient, "in", advice)
    else:
        return None
    return Finding(
        id="GP204",
        severity=Severity.ERROR,
        path=origin.path,
        kind=f"the claimed gradient is of dtype {gradient.dtype.name}",
        advice=advice,
    )


def _note(origin: Origin, gradient: Array, preposition: str, advice: str) -> Finding:
    return Finding(
        id="GP404",
        severity=Severity.NOTE,
        path=origin.path,
        kind=f"claimed {preposition} {gradient.dtype.name}, the array is {origin.dtype}",
        advice=advice,
    )
