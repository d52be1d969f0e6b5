"""GP218: a backward leaves its cotangents as they were."""

from __future__ import annotations

from gradproof._contracts._broken import Accused
from gradproof._report import Finding


def cotangent_changed(accused: Accused, outputs: int, changed: int) -> Finding:
    """A cotangent holds other bytes after the backward."""
    which = f"the cotangent of output {changed}" if outputs > 1 else "its cotangent"
    return accused.broken(
        "GP218",
        f"{accused.subject} changes {which} (grad_output) in place",
        "Work on a copy: `grad_output.clone()`. Other nodes of the graph get the same tensor, and their gradients "
        "become wrong.",
    )
