"""GP221: a cotangent of zeros gives a gradient of zeros."""

from __future__ import annotations

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused
from gradproof._report import Finding


def not_zero(accused: Accused, differs: Apart) -> Finding:
    """Some part of the gradient is not multiplied by the cotangent."""
    value = "" if differs.other is None else f": entry {list(differs.entry)} is {differs.other:.6g}"
    return accused.broken(
        "GP221",
        f"{accused.subject} does not give zero for a cotangent of zeros{value}",
        "Multiply everything that the backward returns by its cotangent.",
        differs,
    )
