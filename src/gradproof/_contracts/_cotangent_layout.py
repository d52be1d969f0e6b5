"""GP216: the gradient does not depend on how the cotangent lies in memory."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, listed, numbers
from gradproof._contracts._layouts import WORDS
from gradproof._report import Finding


def cotangent_layout(
    accused: Accused, layouts: Sequence[str], differs: Apart | None, error: str, *, fix: str
) -> Finding:
    """The gradient differs in some layouts, or the backward fails in them."""
    where = listed([WORDS[one] for one in layouts])
    if differs is None:
        kind = f"{accused.subject} fails if the cotangent is {where}: {error}"
    else:
        kind = (
            f"{accused.subject} is right for a contiguous cotangent, but not if the same values are {where}: "
            f"{numbers(differs, 'for a contiguous one')}"
        )
    return accused.broken("GP216", kind, fix, differs)


TORCH_FIX = (
    "Call `.contiguous()` on grad_output before a kernel reads its memory, or pass its strides to the kernel. "
    "Cotangents come in every layout: after `.sum()` with stride 0, after `torch.cat` as part of a wider tensor."
)
NUMPY_FIX = "Use `np.ascontiguousarray` on the cotangent before its memory is read, or go by its strides."
