"""What kernels of all libraries have in common where they are held against a reference."""

from __future__ import annotations

import dataclasses

from gradproof._base._errors import UsageError

# What a kernel may be said to compute in; what its inputs are held in otherwise.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
# The unit roundoff of TF32, whose mantissas have 10 bits.
TF32 = 2.0**-11


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """One output of a kernel, or one input and so its gradient.

    Attributes
    ----------
    path : str
        As Python source.
    shape : tuple of int
    dtype : str
    unit : float
        Unit roundoff of what it is computed in.
    tiny, largest : float
        The smallest and the largest positive number of its dtype.
    is_complex : bool
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    unit: float
    tiny: float
    largest: float
    is_complex: bool = False


def unknown_precision(given: object) -> UsageError:
    """The error of a `precision` that there is not."""
    return UsageError(f"`precision` must be one of {', '.join(map(repr, PRECISIONS))} or None, got {given!r}.")
