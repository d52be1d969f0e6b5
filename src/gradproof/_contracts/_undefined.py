"""GP222: a cotangent that is left undefined counts as zeros."""

from __future__ import annotations

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, numbers
from gradproof._report import Finding


def undefined_refused(accused: Accused, which: str, differs: Apart | None, error: str) -> Finding:
    """The backward fails where a cotangent is undefined, or takes it as something else than zeros."""
    kind = (
        f"{accused.subject} fails if {which} None (undefined): {error}"
        if differs is None
        else f"{accused.subject} does not treat None for {which} as zeros: {numbers(differs, 'for zeros')}"
    )
    return accused.broken(
        "GP222",
        kind,
        "Treat None as zeros in the backward, or remove `ctx.set_materialize_grads(False)`.",
        differs,
    )
