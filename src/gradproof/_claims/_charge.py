"""What speaks against linear maps, and against second derivatives, as data: `_wording` says it."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from numpy.typing import NDArray

from gradproof._claims._patterns import Pattern
from gradproof._claims._proved import About
from gradproof._prove._charge import Cause, Charge


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


class Scope(enum.Enum):
    """The part of a linear map that something speaks against."""

    ENTRY = enum.auto()
    COLUMN = enum.auto()
    # What the proof of one output says of its gradient.
    OUTPUT = enum.auto()
    # What the proof of a mixture of all outputs says of its gradient.
    MIXTURE = enum.auto()
    # One mistake of the whole matrix.
    WHOLE = enum.auto()
    # Several parts that one mistake may have.
    JOINED = enum.auto()
    # No single place.
    UNKNOWN = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearCharge:
    """What speaks against a linear map; rows are outputs, columns are entries of x.

    scope : the part that is wrong.
    leaves : the arrays that it is about, numbered as those that are measured; none where it is about all of them.
    rows : the outputs that it is about; none where these are not known.
    column : of an entry, or of a column.
    row : the output that the numbers are about; None where they are about a combination of them.
    entries : indices of the wrong entries, as the user counts them, where these are known one by one.
    is_part : whether it is about a part of an array only.
    source : what the proof of an output, or of a mixture of them, says.
    pattern : the mistake of the whole matrix that explains it.
    cause : the mistake that explains it.
    factor : claimed / true in all of the part.
    claimed, reference, error_bar : in the user's units.
    sides : the one-sided slopes at a kink that the claim lies outside of, the smaller first.
    is_undeclared : whether it lies outside of the sparsity pattern that the claim declares.
    everywhere : whether all outputs, or all entries of the arrays, are wrong.
    is_whole : whether nothing that is claimed, and is not 0, is right beside it and the others that are told with it.
    at_least : whether more outputs may be wrong than are known; of what is joined, whether lines alone show them.
    off : the deviation relative to the claim, where the whole claim is off.
    count : how many entries are wrong where only the largest are shown, on the first of these; else 0.
    parts : what is joined, first the worst, whose numbers these are.
    """

    scope: Scope
    leaves: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    column: int | None = None
    row: int | None = None
    entries: tuple[tuple[int, ...], ...] = ()
    is_part: bool = False
    source: Charge | None = None
    pattern: Pattern | None = None
    cause: Cause | None = None
    factor: float | None = None
    claimed: float | None = None
    reference: float | None = None
    error_bar: float | None = None
    sides: tuple[float, float] | None = None
    is_undeclared: bool = False
    everywhere: bool = False
    is_whole: bool = False
    at_least: bool = False
    off: float | None = None
    count: int = 0
    parts: tuple[LinearCharge, ...] = ()

    @property
    def about(self) -> About:
        """What it speaks of."""
        return About(
            leaves=self.leaves,
            outputs=() if self._of_all_outputs else self.rows,
            is_part=self.is_part,
            at_kink=self.sides is not None,
            cause=None if self.source is None or self.scope is Scope.JOINED else self.source.cause,
        )

    @property
    def _of_all_outputs(self) -> bool:
        """Whether it is about all outputs, or nobody knows which."""
        if self.scope is Scope.JOINED:
            return self.at_least
        return self.scope is Scope.UNKNOWN and self.everywhere

    @property
    def deviation(self) -> float:
        """How far the claim is off, 0 where that is not known."""
        return abs((self.claimed or 0.0) - (self.reference or 0.0))
