"""What kernels of all libraries have in common where they are held against a reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from gradproof._backends._numpy import Array
from gradproof._base._away import is_from_handler
from gradproof._base._errors import UsageError

# A way to compute the baseline, from values and cotangents; None where it shows to be none.
Way = Callable[[Sequence[Array], Sequence[Array]], "list[Array] | None"]

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


class Ways:
    """How the baseline may be computed, best first, each with what is said of it: the first that runs is kept."""

    def __init__(self, ways: Sequence[tuple[str, Way]]) -> None:
        self._ways = list(ways)

    def baseline(self, values: Sequence[Array], cotangents: Sequence[Array]) -> tuple[list[Array], str]:
        """The baseline, and what it is."""
        while True:
            words, way = self._ways[0]
            try:
                found = way(values, cotangents)
            except Exception as error:
                if is_from_handler(error) or len(self._ways) == 1:
                    raise
                found = None
            if found is not None:
                self._ways = self._ways[:1]
                return found, words
            del self._ways[0]


def unknown_precision(given: object) -> UsageError:
    """The error of a `precision` that there is not."""
    return UsageError(f"`precision` must be one of {', '.join(map(repr, PRECISIONS))} or None, got {given!r}.")
