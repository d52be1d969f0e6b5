"""One named array, as a slice of a flat vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What NumPy does not know by itself: (machine epsilon, the narrowest dtype of NumPy that holds every value).
FOREIGN = {"bfloat16": (2.0**-7, "float32")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf:
    """One named array of the parameters, or of what f returns.

    Attributes
    ----------
    path : str
        Python source, such as ``params['W2']``.
    shape : tuple of int
    dtype : str
    start, stop : int
        Its slice of the flat vectors.
    moduli : ndarray (size,) or None
        |z|, where the leaf is the real or the imaginary part of z: both parts move as far as |z| tells.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int
    moduli: NDArray[np.float64] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.stop - self.start

    @property
    def eps(self) -> float:
        """Machine epsilon of the dtype."""
        return FOREIGN[self.dtype][0] if self.dtype in FOREIGN else float(np.finfo(self.dtype).eps)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype, or the narrowest of NumPy's that holds all of its values."""
        return np.dtype(FOREIGN[self.dtype][1] if self.dtype in FOREIGN else self.dtype)


def relaid(leaves: Iterable[Leaf]) -> tuple[Leaf, ...]:
    """Lay some leaves of another vector one after the other."""
    found: list[Leaf] = []
    start = 0
    for leaf in leaves:
        stop = start + leaf.size
        # dataclasses.replace takes several times as long, and every check passes here.
        found.append(
            Leaf(path=leaf.path, shape=leaf.shape, dtype=leaf.dtype, start=start, stop=stop, moduli=leaf.moduli)
        )
        start = stop
    return tuple(found)
