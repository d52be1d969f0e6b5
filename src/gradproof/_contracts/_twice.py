"""GP220: a second backward over the same graph gives the same gradient."""

from __future__ import annotations

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, numbers
from gradproof._report import Finding


def not_the_same_twice(accused: Accused, differs: Apart | None, error: str) -> Finding:
    """The second backward differs by more than rounding and the noise of f, or fails."""
    if differs is None:
        kind = f"{accused.subject} fails when it runs a second time over the same graph: {error}"
    else:
        kind = f"{accused.subject} gives a different gradient the second time: {numbers(differs, 'the first time')}"
    return accused.broken(
        "GP220",
        kind,
        "Find what differs from one run to the next: random draws, a counter, or what the first backward has freed or "
        "changed. `retain_graph=True` runs it again.",
        differs,
    )
