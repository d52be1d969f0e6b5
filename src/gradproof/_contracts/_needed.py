"""GP225: a gradient is the same whichever other gradients are needed."""

from __future__ import annotations

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, numbers
from gradproof._report import Finding


def depends_on_needs(accused: Accused, name: str, differs: Apart | None, error: str) -> Finding:
    """The gradient of one tensor alone is another one, or fails."""
    kind = (
        f"{accused.subject} fails if only the gradient of `{name}` is needed: {error}"
        if differs is None
        else f"{accused.subject} gives a different gradient for `{name}` if only that is needed: "
        f"{numbers(differs, 'together with all others')}"
    )
    return accused.broken(
        "GP225",
        kind,
        "Look at every use of `ctx.needs_input_grad`: its indices are those of the arguments of `forward`, and what is "
        "skipped for one gradient must not be needed for another.",
        differs,
    )
