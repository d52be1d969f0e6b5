"""GP204: a gradient is of a real number type; GP404: and of the precision of its leaf."""

from __future__ import annotations

from gradproof._backends import Array
from gradproof._leaf import Leaf
from gradproof._report import Finding, Severity


def check_dtype(leaf: Leaf, gradient: Array) -> Finding | None:
    """Compare the dtype of a claimed gradient with that of its leaf.

    Integers and booleans are taken as numbers. GP404 leaves the gradient usable, GP204 does not.
    """
    kind = gradient.dtype.kind
    if kind == "c":
        advice = "a real function has a real gradient: return its `.real` if the rest is rounding."
    elif kind not in "biuf":
        advice = "return floats; an object array often comes from arrays of different shapes, `.astype(float)` shows."
    elif kind == "f" and gradient.dtype.itemsize < min(leaf.numpy_dtype.itemsize, 8):
        return Finding(
            id="GP404",
            severity=Severity.NOTE,
            path=leaf.path,
            kind=f"claimed in {gradient.dtype.name}, the leaf is {leaf.dtype}",
            advice="its rounding counts as an error of the claim: compute it in the precision of the leaf.",
        )
    else:
        return None
    return Finding(
        id="GP204",
        severity=Severity.ERROR,
        path=leaf.path,
        kind=f"the claimed gradient is of dtype {gradient.dtype.name}",
        advice=advice,
    )
