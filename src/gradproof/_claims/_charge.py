"""What speaks against second derivatives, as data: `_wording` says it."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from numpy.typing import NDArray

from gradproof._claims._patterns import Pattern


class Extent(enum.Enum):
    """The part of a matrix of second derivatives that is wrong."""

    ALL = enum.auto()
    BLOCK = enum.auto()
    ROW = enum.auto()
    COLUMN = enum.auto()
    CROSS = enum.auto()
    DIAGONAL = enum.auto()
    SOME = enum.auto()
    PAIR = enum.auto()
    ENTRY = enum.auto()
    # Nobody knows which.
    UNKNOWN = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecondCharge:
    """What speaks against second derivatives; rows and columns are entries of x.

    extent : the part that is wrong; a pair is an entry and its mirror image, a cross a row and the same column.
    pattern : the mistake of the whole matrix that explains it.
    factor : claimed / true in all of the part.
    number : what each wrong entry has too much, where that is one number.
    at : the row, the column, or that of the cross.
    blocks : of a block, the two arrays that it is the second derivative by; both in their own order.
    is_mirrored : whether the mirror image of the block is wrong as well.
    is_transposed : whether the block is right once it is transposed.
    count, size : how many entries are wrong, of how many in the part.
    entry : the entry ``(i, j)`` that the numbers are about, the clearest of the part; None where they are about
        ``v^T H v`` along a direction.
    claimed, reference, error_bar : in the user's units.
    wrong : (n, n), the wrong entries; None where they are not known.
    """

    extent: Extent
    pattern: Pattern | None = None
    factor: float | None = None
    number: float | None = None
    at: int = 0
    blocks: tuple[int, int] = (0, 0)
    is_mirrored: bool = False
    is_transposed: bool = False
    count: int = 0
    size: int = 0
    entry: tuple[int, int] | None = None
    claimed: float
    reference: float
    error_bar: float
    wrong: NDArray[np.bool_] | None = dataclasses.field(default=None, compare=False, repr=False)
