"""GP227: the gradient is right for other shapes, one after the other."""

from __future__ import annotations

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, numbers
from gradproof._report import Finding

_FIX = (
    "Look for what is kept from the first shape: a buffer, a mask, a grid or a scale in a global, a class or a "
    "`functools.cache`. Keep it by shape, dtype and device, or make it anew. Look at the last block of a loop as well."
)


def wrong_elsewhere(accused: Accused, shapes: str, why: str) -> Finding:
    """The gradient is right at the point, and not at the same point of other shapes."""
    kind = f"{accused.subject} is right at the point, and wrong for inputs of shape {shapes} afterwards: {why}"
    return accused.broken("GP227", kind, _FIX)


def wrong_afterwards(accused: Accused, shapes: str, differs: Apart | None, error: str) -> Finding:
    """The gradient at the point is another one after inputs of other shapes."""
    what = error if differs is None else numbers(differs, "before")
    kind = f"{accused.subject} gives a different gradient once it has run for inputs of shape {shapes}: {what}"
    return accused.broken("GP227", kind, _FIX, differs)
