"""Mistakes of a whole matrix, tested on the slopes of all outputs along two directions."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._prove._diagnose import symmetric

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Line = tuple[Vector, Vector, Vector]  # v (n,), slopes (m,), bars (m,)

# A cause must explain every slope to this share of its row, whatever the bars allow.
CLOSE = 1e-4
# ... and leave no more than this share of what the claim leaves as it is.
BETTER = 0.1
# Factors that have a name.
SIMPLE = (2.0, 0.5, -1.0, 3.0, 1 / 3, -2.0, -0.5, 4.0, 0.25)


class Misstep(enum.Enum):
    """The mistakes of a whole matrix that have a name."""

    FACTOR = enum.auto()
    TWICE_DIAGONAL = enum.auto()
    HALF_DIAGONAL = enum.auto()
    TWICE_REST = enum.auto()
    HALF_REST = enum.auto()
    UPPER_ONLY = enum.auto()
    LOWER_ONLY = enum.auto()
    TRANSPOSED = enum.auto()
    NOT_SYMMETRIC = enum.auto()
    MINUS_TRANSPOSED = enum.auto()
    RESHAPED = enum.auto()
    ROWS_REVERSED = enum.auto()
    ROWS_EARLY = enum.auto()
    ROWS_LATE = enum.auto()
    COLUMNS_REVERSED = enum.auto()
    COLUMNS_EARLY = enum.auto()
    COLUMNS_LATE = enum.auto()
    ROWS_SWAPPED = enum.auto()
    ROWS_REORDERED = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """One mistake that explains all slopes.

    factor : claimed / true, where the claim, or a block of it, is a multiple of the truth.
    block : the columns that are off by it, where not all are.
    rows : how many rows stand in each other's place, of how many.
    example : a row that is wrong, and the one that should stand there.
    corrected : the true matrix, where it is known.
    """

    misstep: Misstep
    factor: float | None = None
    block: int | None = None
    rows: tuple[int, int] = (0, 0)
    example: tuple[int, int] = (0, 0)
    corrected: Matrix | None = dataclasses.field(default=None, compare=False, repr=False)


def explain(
    matrix: Matrix,
    lines: Sequence[Line],
    rows: Vector,
    *,
    square: bool,
    blocks: Sequence[tuple[int, int]] = (),
    shapes: Sequence[tuple[int, ...]] = (),
    loosely: bool = False,
) -> Pattern | None:
    """Find the one mistake that explains the slopes of all outputs along all lines.

    Parameters
    ----------
    matrix : ndarray (m, n)
    lines : sequence of (v, slopes, bars)
    rows : ndarray (m,)
        Norm of each row in natural sizes, the scale of its slope.
    square : bool
        Whether rows and columns may have been mixed up.
    blocks : sequence of (start, stop)
        Columns that belong together, if there is more than one such set.
    shapes : sequence of tuple of int
        Of the arrays that the columns are entries of.
    loosely : bool
        Whether rows may fit in several places: fewer lines rule a mistake out than name it.
    """
    if not all(np.isfinite(bar).all() for _, _, bar in lines):
        return None
    limits = [bar + CLOSE * np.maximum(rows, np.abs(value)) for _, value, bar in lines]

    unchanged = _misfit(matrix, lines)

    def fits(candidate: Matrix) -> bool:
        close = all(
            bool((np.abs(candidate @ v - value) <= limit).all())
            for (v, value, _), limit in zip(lines, limits, strict=True)
        )
        return close and _misfit(candidate, lines) <= BETTER * unchanged

    if not matrix.any():
        return Pattern(misstep=Misstep.FACTOR, factor=0.0)
    factor = _common_factor(matrix, lines)
    if factor is not None and len(rows) * len(lines) >= 4 and fits(matrix / factor):
        simple = simple_factor(factor, 1.0, 0.0)
        return Pattern(misstep=Misstep.FACTOR, factor=factor if simple is None else simple)
    for k, (start, stop) in enumerate(blocks):
        for factor in SIMPLE if matrix[:, start:stop].any() else ():
            candidate = matrix.copy()
            candidate[:, start:stop] /= factor
            if fits(candidate):
                return Pattern(misstep=Misstep.FACTOR, factor=factor, block=k)
    for misstep, candidate in rearranged(matrix, square):
        if fits(candidate):
            return Pattern(misstep=misstep, corrected=candidate)
    start = 0
    for k, shape in enumerate(shapes):
        columns = slice(start, start := start + math.prod(shape))
        if len(shape) >= 2 and shape[-1] == shape[-2] > 1:
            candidate = matrix.copy()
            candidate[:, columns] = symmetric(matrix[:, columns].reshape(-1, *shape)).reshape(len(matrix), -1)
            if fits(candidate):
                return Pattern(misstep=Misstep.NOT_SYMMETRIC, block=k, corrected=candidate)
    return _reordered(matrix, lines, limits, loosely=loosely)


def _misfit(candidate: Matrix, lines: Sequence[Line]) -> float:
    """By how much slopes deviate from a matrix beyond their bars, taken together."""
    beyond = [np.maximum(np.abs(candidate @ v - value) - bar, 0.0) for v, value, bar in lines]
    return float(np.linalg.norm(np.concatenate(beyond)))


def simple_factor(claimed: float, reference: float, bar: float, *, rounding: float = 0.0) -> float | None:
    """The factor between claimed and reference, where it is simple and measured well enough; else None.

    `rounding` is what the claim may be off by for its own precision (relative).
    """
    if claimed == 0:
        return 0.0
    if abs(reference) <= 100 * bar:
        return None
    factor = claimed / reference
    for simple in SIMPLE:
        if abs(factor - simple) <= abs(factor) * (bar / abs(reference)) + (1e-6 + rounding) * abs(simple):
            return simple
    return None


def _common_factor(matrix: Matrix, lines: Sequence[Line]) -> float | None:
    """Claimed / true from all slopes at once, weighted with how well each is measured."""
    above = below = 0.0
    for v, value, bar in lines:
        claimed = matrix @ v
        weight = 1 / np.maximum(bar, 1e-12 * np.abs(claimed).max(initial=1e-300)) ** 2
        above += float(np.sum(weight * claimed * claimed))
        below += float(np.sum(weight * claimed * value))
    if below == 0 or above == 0:
        return None
    factor = above / below
    return None if abs(factor - 1) < 1e-6 else factor


def partly_scaled(matrix: Matrix) -> Iterator[tuple[Misstep, Matrix]]:
    """A square matrix whose diagonal, or whose rest, is off by a factor, or whose other triangle is not filled."""
    diagonal = np.diag(np.diag(matrix))
    rest = matrix - diagonal
    yield Misstep.TWICE_DIAGONAL, rest + diagonal / 2.0
    yield Misstep.TWICE_REST, diagonal + rest / 2.0
    yield Misstep.HALF_DIAGONAL, rest + diagonal / 0.5
    yield Misstep.HALF_REST, diagonal + rest / 0.5
    for misstep, part in ((Misstep.UPPER_ONLY, np.triu(matrix, 1)), (Misstep.LOWER_ONLY, np.tril(matrix, -1))):
        if np.array_equal(part, rest) and part.any():
            yield misstep, matrix + part.T


def rearranged(matrix: Matrix, square: bool) -> Iterator[tuple[Misstep, Matrix]]:
    """What the true matrix may be; `square`: whether rows and columns may have been mixed up."""
    m, n = matrix.shape
    if square and m == n and m > 1:
        yield from partly_scaled(matrix)
        yield Misstep.TRANSPOSED, matrix.T
        yield Misstep.MINUS_TRANSPOSED, -matrix.T
    if square and m != n and min(m, n) > 1:
        yield Misstep.RESHAPED, matrix.reshape(n, m).T
    if m > 1:
        yield Misstep.ROWS_REVERSED, matrix[::-1]
        yield Misstep.ROWS_EARLY, np.roll(matrix, 1, axis=0)
        yield Misstep.ROWS_LATE, np.roll(matrix, -1, axis=0)
    if square and n > 1:
        yield Misstep.COLUMNS_REVERSED, matrix[:, ::-1]
        yield Misstep.COLUMNS_EARLY, np.roll(matrix, 1, axis=1)
        yield Misstep.COLUMNS_LATE, np.roll(matrix, -1, axis=1)


def _reordered(matrix: Matrix, lines: Sequence[Line], limits: Sequence[Vector], *, loosely: bool) -> Pattern | None:
    """Rows that are right, but stand in each other's place."""
    m = len(matrix)
    if m > 1000:
        return None
    fit = np.ones((m, m), dtype=bool)
    for (v, value, _), limit in zip(lines, limits, strict=True):
        fit &= np.abs((matrix @ v)[None, :] - value[:, None]) <= limit[:, None]
    wrong = np.flatnonzero(~np.diag(fit))
    places = fit[wrong].sum(axis=1)
    if len(wrong) < 2 or not places.all() or not (loosely or (places == 1).all()):
        return None
    source = np.argmax(fit[wrong], axis=1)
    if not loosely and sorted(source.tolist()) != wrong.tolist():
        return None
    corrected = matrix.copy()
    corrected[wrong] = matrix[source]
    return Pattern(
        misstep=Misstep.ROWS_SWAPPED if len(wrong) == 2 else Misstep.ROWS_REORDERED,
        rows=(len(wrong), m),
        example=(int(wrong[0]), int(source[0])),
        corrected=corrected,
    )
