"""GP217: neither value nor gradient depends on how the inputs lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof._contracts._agreement import Apart
from gradproof._contracts._broken import Accused, listed, numbers
from gradproof._contracts._layouts import WORDS
from gradproof._report import Finding


def input_layout(
    accused: Accused, layouts: Sequence[str], differs: Apart | None, error: str, *, is_value: bool, fix: str
) -> Finding:
    """The gradient, or the value, differs where the inputs are in some layouts."""
    where = listed([WORDS[one] for one in layouts])
    if is_value:
        kind = f"f returns a different value if its inputs are {where}, though the numbers in them are the same"
        return accused.broken("GP217", kind, fix)
    if differs is None:
        kind = f"{accused.subject} fails if the inputs are {where}: {error}"
    else:
        kind = (
            f"{accused.subject} is right for contiguous inputs, but not if the same values are {where}: "
            f"{numbers(differs, 'for contiguous ones')}"
        )
    return accused.broken("GP217", kind, fix, differs)


TORCH_FIX = (
    "Call `.contiguous()` on inputs and on saved tensors before a kernel reads their memory, or pass strides. Do not "
    "make the gradient in the layout of an input unless the kernel fills it by its strides."
)
NUMPY_FIX = (
    "Use `np.ascontiguousarray`, or go by strides: `ravel(order='K')` and `np.empty_like` follow the layout of x."
)
