"""GP219: a backward leaves inputs, saved tensors and what else was kept for it as they were."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof._contracts._broken import Accused, listed
from gradproof._report import Finding


def saved_changed(accused: Accused, changed: Sequence[str]) -> Finding:
    """What was kept for the backward holds other bits afterwards."""
    what = listed([f"`{name}`" for name in changed]).replace(" or ", " and ")
    return accused.broken(
        "GP219",
        f"{accused.subject} changes {what} in place",
        "Work on a copy. A second backward reads the changed values, and so does every other node that has saved the "
        "same tensor.",
    )
