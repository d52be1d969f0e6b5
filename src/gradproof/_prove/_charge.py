"""What speaks against a claim, and what else is seen, as data: `_wording` says it."""

from __future__ import annotations

import dataclasses
import enum
import math

from gradproof._report import Severity


class Mistake(enum.Enum):
    """The mistakes that have a name."""

    FACTOR = enum.auto()
    ZERO = enum.auto()
    NOT_ZERO = enum.auto()
    COPY = enum.auto()
    TRANSPOSED = enum.auto()
    RESHAPED = enum.auto()
    FLIPPED = enum.auto()
    ROLLED = enum.auto()
    FORTRAN_ORDER = enum.auto()
    NOT_SYMMETRIC = enum.auto()
    LACKS_DECAY = enum.auto()
    LACKS_L1 = enum.auto()
    LACKS_CONSTANT = enum.auto()
    LACKS_FACTOR_X = enum.auto()
    EXTRA_FACTOR_X = enum.auto()
    SWAPPED = enum.auto()
    SWAPPED_TRANSPOSED = enum.auto()
    LACKS_PATH = enum.auto()
    LACKS_SAME = enum.auto()
    ZERO_ROUNDED = enum.auto()
    ZERO_SOMEWHERE = enum.auto()
    WRONG_BELOW = enum.auto()
    WRONG_ABOVE = enum.auto()
    UNMASKED_BELOW = enum.auto()
    UNMASKED_ABOVE = enum.auto()
    ONE_MINUS = enum.auto()
    BY_EXP = enum.auto()
    BY_LOG = enum.auto()


# Mistakes that are wrong in some entries only, which they name themselves.
SOMEWHERE = {
    Mistake.ZERO_SOMEWHERE,
    Mistake.WRONG_BELOW,
    Mistake.WRONG_ABOVE,
    Mistake.UNMASKED_BELOW,
    Mistake.UNMASKED_ABOVE,
}


@dataclasses.dataclass(frozen=True)
class Cause:
    """A named mistake with its numbers.

    factor : claimed / true, where the claim is a multiple of the true gradient.
    number : what a missing term is multiplied by.
    beside : a factor that comes on top of another mistake; None if there is none.
    axis, shift : along which axis entries have moved, and by how many places.
    other : path of another leaf that the mistake is about.
    count, size : how many entries it is about, of how many.
    """

    mistake: Mistake
    factor: float | None = None
    number: float | None = None
    beside: float | None = None
    axis: int = 0
    shift: int = 0
    other: str = ""
    count: int = 0
    size: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrongEntry:
    """One wrong entry: flat index over all leaves, true derivative and its bar."""

    index: int
    reference: float
    bar: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where one leaf is wrong.

    entries : the wrong entries, if single ones were found; of a charge, those that are named.
    count : how many there are, where not all are named.
    complete : whether these explain the whole deviation.
    box : per axis (low, high), if the wrong entries fill a part of the leaf along its axes.
    everywhere : whether wrong entries are all over the leaf (or all over the box).
    """

    entries: tuple[WrongEntry, ...] = ()
    complete: bool = True
    box: tuple[tuple[int, int], ...] | None = None
    everywhere: bool = False
    count: int = 0

    def is_most_of(self, size: int) -> bool:
        """Whether it is more than half of a leaf of that many entries, or nothing more is known than the leaf."""
        if self.box is not None:
            return 2 * math.prod(high - low for low, high in self.box) > size
        return not self.entries or 2 * max(self.count, len(self.entries)) > size

    def moved(self, by: int) -> Place:
        """The same where the leaf starts elsewhere in the flat vectors."""
        entries = tuple(dataclasses.replace(entry, index=entry.index + by) for entry in self.entries)
        return dataclasses.replace(self, entries=entries)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Charge:
    """What speaks against the claim for one leaf, or for several alike.

    leaves : their indices, the one that is named first.
    place : where in it; None if nothing is known.
    cause : the mistake that explains it.
    claimed, reference, error_bar : in the user's units.
    entry : whether these are about a single entry, and not the slope along a direction.
    index : the entry's index within the leaf, where the charge is about that one alone.
    example : the same of one of several wrong entries, which the numbers are about.
    sides : the one-sided slopes at a kink that the claim lies outside of, the smaller first.
    off : the deviation relative to the claim, where most entries are off; in the end only if no array is right.
    is_one_of : whether it is one of the leaves, and nobody knows which.
    """

    leaves: tuple[int, ...]
    place: Place | None = None
    cause: Cause | None = None
    claimed: float
    reference: float
    error_bar: float
    entry: bool = False
    index: tuple[int, ...] | None = None
    example: tuple[int, ...] | None = None
    sides: tuple[float, float] | None = None
    off: float | None = None
    is_one_of: bool = False

    @property
    def is_unexplained(self) -> bool:
        """Whether it is about a whole leaf, or a part of it, and no cause explains it."""
        several = self.place is not None and bool(self.place.entries)
        return self.cause is None and self.index is None and self.sides is None and not several


class Sight(enum.Enum):
    """What is seen of f, or of a claim, that is not said of single entries or of a cause."""

    KINK = enum.auto()
    JUMP = enum.auto()
    ZONE = enum.auto()
    EXCUSED = enum.auto()
    TREADS = enum.auto()
    SINGLE = enum.auto()
    SAME_BITS = enum.auto()
    UNMOVED = enum.auto()
    QUIET = enum.auto()
    STATIONARY = enum.auto()
    FLAT = enum.auto()
    RANDOM = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notice:
    """What there is to say besides charges.

    leaf : the one that it is about; None where it is about f.
    claimed, reference, error_bar : in the user's units, as all that follows.
    slopes : two slopes of f: at a kink those of both sides, the smaller first; of a staircase that between jumps and
        that across; of a zone around the point that within and that beyond.
    tried : entries that were tried one by one, of how many.
    values : of f at the point, before and after it, where it jumps there.
    radius : of the zone, in natural sizes of x.
    jump : how far f jumps, and at which natural step; or the step that all values of f are multiples of.
    share : what the jump excuses, relative to the slope.
    is_still : whether the slope within the zone is zero.
    holds_within : whether the claim is the slope within the zone, and not that beyond.
    note : what is said of a leaf that f does not feel.
    """

    sight: Sight
    severity: Severity = Severity.NOTE
    leaf: int | None = None
    claimed: float | None = None
    reference: float | None = None
    error_bar: float | None = None
    slopes: tuple[float, float] = (0.0, 0.0)
    tried: tuple[int, int] | None = None
    values: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = 0.0
    jump: tuple[float, float] = (0.0, 0.0)
    share: float = 0.0
    is_still: bool = False
    holds_within: bool = False
    note: str = ""


Statement = Charge | Notice
