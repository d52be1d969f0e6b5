"""GP228: a forward at other values, between a forward and its backward, does not matter."""

from __future__ import annotations

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, numbers
from gradproof._report import Finding


def last_values(accused: Accused, differs: Apart | None, error: str) -> Finding:
    """The backward goes by what the last forward has left."""
    kind = (
        f"{accused.subject} fails if another forward has run since its own: {error}"
        if differs is None
        else f"{accused.subject} uses what the last forward left behind, not what its own saved: once f has run at "
        f"other values, {numbers(differs, 'before that')}"
    )
    return accused.broken(
        "GP228",
        kind,
        "Keep what the backward needs in `ctx` (`ctx.save_for_backward`), never in a global, a class or the module: "
        "these hold only the last of several calls.",
        differs,
    )
