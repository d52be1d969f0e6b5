"""GP226: gradients add up in `.grad`, and an earlier one is not changed by a later call."""

from __future__ import annotations

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, numbers
from gradproof._report import Finding


def earlier_changed(accused: Accused, differs: Apart) -> Finding:
    """A gradient that was returned has been written over by the next call."""
    return accused.broken(
        "GP226",
        f"{accused.subject} returns memory that it uses again: a later call changes the gradient returned earlier, "
        f"{numbers(differs, 'before')}",
        "Return a fresh one, or a copy of the buffer.",
        differs,
    )


def not_added(accused: Accused, times: int, differs: Apart | None, error: str) -> Finding:
    """After some backwards `.grad` is not their sum."""
    kind = (
        f"{accused.subject} fails if `.grad` already holds a gradient: {error}"
        if differs is None
        else f"after {times} backward passes `.grad` is not the sum of their gradients: {numbers(differs, 'the sum')}"
    )
    return accused.broken(
        "GP226",
        kind,
        "Return gradients and let torch add them: do not write `.grad` in a backward, and do not return a view of "
        "memory that you keep, because torch adds to it in place.",
        differs,
    )
