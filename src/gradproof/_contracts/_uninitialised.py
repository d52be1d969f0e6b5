"""GP229: no memory is read before it is written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradproof._backends import Array
from gradproof._contracts._agreement import SHOWN, Apart
from gradproof._contracts._broken import Accused
from gradproof._report import Finding

_FIX = "Use `torch.zeros` in place of `torch.empty`, or write every entry: look at the last block and at masked rows."


def reads_uninitialised(accused: Accused, differs: Apart | None, error: str, *, is_value: bool) -> Finding:
    """With fresh memory full of nan the result is nan, and finite otherwise."""
    if differs is None:
        kind = f"{accused.subject} fails if fresh memory holds nan: {error}"
    elif is_value:
        kind = f"the forward of {accused.subject.removeprefix('the backward of ')} reads memory that was never written"
        return accused.broken("GP229", kind, _FIX)
    else:
        count = f"{differs.count:,} of {differs.size:,} entries"
        many = "the whole gradient" if differs.count == differs.size else count
        kind = f"{accused.subject} reads memory that was never written, in {many}"
    return accused.broken("GP229", kind, _FIX, differs)


def unwritten(plain: Sequence[Array | None], poisoned: Sequence[Array | None]) -> Apart | None:
    """Entries that are finite, and are not where fresh memory holds nan."""
    for i, (one, other) in enumerate(zip(plain, poisoned, strict=True)):
        if one is None or other is None or one.shape != other.shape:
            continue
        lost = np.isfinite(one) & ~np.isfinite(other)
        if lost.any():
            places = [tuple(map(int, place)) for place in np.argwhere(lost)]
            return Apart(index=i, entries=tuple(places[:SHOWN]), count=len(places), size=one.size, entry=places[0])
    return None
