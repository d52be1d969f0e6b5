"""Which second derivatives are wrong, and what explains it.

f says what the true entries are, and these are symmetric; of two entries that mirror each other each is held against
that by itself, so that it shows which of them is wrong.
"""

from __future__ import annotations

import dataclasses
import itertools as it
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf
from gradproof._claims._charge import Extent, SecondCharge
from gradproof._claims._patterns import SIMPLE, Misstep, Pattern, explain, rearranged, simple_factor

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Wrong = NDArray[np.bool_]
Pair = tuple[int, int]

# Entries, each with its mirror image, that may be wrong each by itself; more of them are one mistake.
FEW = 2
# A candidate explains v^T H v up to this share, or its bar (as `_conventions` does), and all lines together by chance
# no more often than 1e-5: of fewer than a hundred candidates each may do so 1e-7 of the time.
CLOSE, CHANCE = 1e-6, 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entries:
    """A matrix of second derivatives (n, n), of which entries have been measured.

    matrix : as claimed; it need not be symmetric.
    value, bar : as measured, in natural sizes; symmetric, and nan and infinity where nothing is known.
    allowed : what an entry in natural sizes may be off by, beside its bar.
    size : (n,), natural size of each entry of x; 0 where its bounds hold it.
    """

    matrix: Matrix
    value: Matrix
    bar: Matrix
    allowed: float
    size: Vector

    @property
    def scales(self) -> Matrix:
        """The natural size of each entry, signed."""
        return np.outer(self.size, self.size)

    @property
    def deviation(self) -> Matrix:
        """How far each entry is off, in natural sizes; 0 where that is not known."""
        known = np.isfinite(self.value) & np.isfinite(self.bar)
        return np.where(known, np.abs(self.matrix * self.scales - np.where(known, self.value, 0.0)), 0.0)

    @property
    def wrong(self) -> Wrong:
        """The entries that f excludes."""
        return (self.deviation > self.bar + self.allowed) & (self.scales != 0)

    def factor(self, at: Pair) -> float | None:
        """The simple factor that one entry is off by."""
        return simple_factor(float((self.matrix * self.scales)[at]), float(self.value[at]), float(self.bar[at]))

    def charge(self, extent: Extent, entry: Pair, wrong: Wrong, *, factor: float | None) -> SecondCharge:
        """A charge with the numbers of one entry."""
        step = float(self.scales[entry])
        return SecondCharge(
            extent=extent,
            factor=factor,
            entry=entry,
            count=int(wrong.sum()),
            claimed=float(self.matrix[entry]),
            reference=float(self.value[entry]) / step,
            error_bar=float(self.bar[entry]) / abs(step),
            wrong=wrong,
        )


def accuse(entries: Entries, leaves: Sequence[Leaf]) -> list[SecondCharge]:
    """What is wrong with a matrix: one mistake of the whole, or of a part, or few entries; nothing if none is."""
    wrong, deviation = entries.wrong, entries.deviation
    pairs = _pairs(wrong, deviation)
    if not pairs:
        return []
    if len(pairs) == 1:
        return [_alone(entries, pairs[0])]
    i, j = np.unravel_index(int(np.argmax(np.where(wrong, deviation, -1.0))), wrong.shape)
    worst = int(i), int(j)
    pattern = _explained(entries)
    if pattern is not None:
        charge = entries.charge(Extent.ALL, worst, wrong, factor=pattern.factor)
        return [dataclasses.replace(charge, pattern=pattern)]
    factor = _common(entries, wrong)
    parts = sorted(_parts(wrong, leaves), key=lambda part: part.size)
    is_one = len(pairs) > FEW
    part = next((one for one in parts if is_one or factor is not None or one.size == wrong.sum()), None)
    turned = next((one for one in parts if one.extent is Extent.BLOCK and _is_transposed(entries, one, leaves)), None)
    if part is None and factor is None and turned is None and not is_one:
        return [_alone(entries, pair) for pair in pairs]
    part = turned or part or _Part(Extent.SOME, wrong.size)
    charge = entries.charge(part.extent, worst, wrong, factor=factor)
    return [
        dataclasses.replace(
            charge,
            size=part.size,
            at=part.at,
            blocks=part.blocks,
            is_mirrored=part.is_mirrored,
            is_transposed=turned is not None,
            number=_extra(entries, wrong) if is_one and factor is None else None,
        )
    ]


def explain_lines(
    matrix: Matrix, lines: Sequence[tuple[Vector, float, float]], leaves: Sequence[Leaf], plain: SecondCharge
) -> SecondCharge | None:
    """A charge with the one mistake that explains v^T H v along some lines ``(v, value, bar)``, where there is one."""

    def fits(candidate: Matrix, fitted: int) -> bool:
        """Whether it explains all lines, of which so many have told it a number."""
        shares: list[float] = []
        for v, value, bar in lines:
            limit = bar + CLOSE * abs(value)
            if not abs(float(v @ candidate @ v) - value) <= limit:
                return False
            shares.append(min(2 * limit / abs(value), 1.0) if value else 1.0)
        return math.prod(sorted(shares)[fitted:]) <= CHANCE

    # Where the largest entry outweighs all others, whether these are wrong as well does not show.
    largest = np.abs(matrix) == np.abs(matrix).max()
    for charge, candidate in _with_a_number(matrix, lines, plain):
        if fits(candidate, 1) and not fits(np.where(largest, candidate, matrix), 1):
            return dataclasses.replace(charge, wrong=candidate != matrix)
    for charge, candidate in _candidates(matrix, leaves, plain):
        # (The truth is symmetric.)
        if np.allclose(candidate, candidate.T, rtol=CLOSE) and fits(candidate, 0):
            return dataclasses.replace(charge, wrong=candidate != matrix)
    return None


def _with_a_number(
    matrix: Matrix, lines: Sequence[tuple[Vector, float, float]], plain: SecondCharge
) -> Iterator[tuple[SecondCharge, Matrix]]:
    """A factor of all entries, and a number that all of the diagonal has too much, as the clearest line has them."""
    v, value, _ = min(lines, key=lambda line: line[2] / abs(line[1]) if line[1] else math.inf)
    claimed = float(v @ matrix @ v)
    if claimed and value:
        factor = claimed / value
        pattern = Pattern(misstep=Misstep.FACTOR, factor=factor)
        yield dataclasses.replace(plain, extent=Extent.ALL, pattern=pattern, factor=factor), matrix / factor
    number, n = (claimed - value) / float(v @ v), len(matrix)
    charge = dataclasses.replace(plain, extent=Extent.DIAGONAL, number=number, count=n, size=n)
    yield charge, matrix - number * np.eye(n)


def _candidates(matrix: Matrix, leaves: Sequence[Leaf], plain: SecondCharge) -> Iterator[tuple[SecondCharge, Matrix]]:
    """Mistakes, each with what the true matrix would be."""
    for misstep, candidate in rearranged(matrix, square=True):
        yield dataclasses.replace(plain, extent=Extent.ALL, pattern=Pattern(misstep=misstep)), candidate
    for a, b in it.combinations_with_replacement(range(len(leaves)), 2) if 1 < len(leaves) <= 4 else ():
        own, mirrored = _block(leaves, a, b), _block(leaves, b, a)
        charge = dataclasses.replace(plain, extent=Extent.BLOCK, blocks=(a, b), is_mirrored=a != b)
        for factor in SIMPLE if matrix[own].any() else ():
            candidate = matrix.copy()
            candidate[own] = matrix[own] / factor
            candidate[mirrored] = matrix[mirrored] / factor
            yield dataclasses.replace(charge, factor=factor), candidate
        if a != b and min(leaves[a].size, leaves[b].size) > 1:
            candidate = matrix.copy()
            candidate[own], candidate[mirrored] = _turned(matrix[own]), _turned(matrix[mirrored])
            yield dataclasses.replace(charge, is_transposed=True), candidate


def _block(leaves: Sequence[Leaf], a: int, b: int) -> tuple[slice, slice]:
    return slice(leaves[a].start, leaves[a].stop), slice(leaves[b].start, leaves[b].stop)


def _turned(block: Matrix) -> Matrix:
    """A block that was filled column by column."""
    return block.reshape(block.shape[::-1]).T


def _explained(entries: Entries) -> Pattern | None:
    """The one mistake that explains all entries."""
    if (entries.size == 0).any():
        return None
    # Slopes of the gradient, as along one entry of x after the other.
    values, bars = entries.value / entries.size[:, None], entries.bar / np.abs(entries.size[:, None])
    lines = [(size * unit, values[:, j], bars[:, j]) for j, (size, unit) in enumerate(_units(entries.size))]
    return explain(entries.matrix, lines, np.linalg.norm(entries.matrix * entries.size, axis=1), square=True)


def _units(size: Vector) -> Iterator[tuple[float, Vector]]:
    return zip(size.tolist(), np.eye(len(size)), strict=True)


def _pairs(wrong: Wrong, deviation: Matrix) -> list[Pair]:
    """Places (i, j) with i <= j of which that or the mirror image is wrong, the largest deviation first."""
    largest = np.maximum(np.where(wrong, deviation, 0.0), np.where(wrong, deviation, 0.0).T)
    found = [(int(i), int(j)) for i, j in np.argwhere(np.triu(wrong | wrong.T))]
    return sorted(found, key=lambda pair: -float(largest[pair]))


def _alone(entries: Entries, pair: Pair) -> SecondCharge:
    """One entry, with its mirror image where f excludes both."""
    i, j = pair
    at = (i, j) if entries.wrong[i, j] else (j, i)
    both = i != j and bool(entries.wrong[i, j] and entries.wrong[j, i])
    named = [at, (at[1], at[0])] if both else [at]
    own = np.zeros_like(entries.wrong)
    own[tuple(np.transpose(named))] = True
    factors = {entries.factor(one) for one in named}
    factor = factors.pop() if len(factors) == 1 else None
    return entries.charge(Extent.PAIR if both else Extent.ENTRY, at, own, factor=factor)


def _common(entries: Entries, wrong: Wrong) -> float | None:
    """The simple factor that all wrong entries are off by, as far as each is measured; else None."""
    value, bar = np.abs(entries.value), np.where(wrong, entries.bar, np.inf)
    sharpness = bar / np.where(value > 0, value, 1e-300)
    i, j = np.unravel_index(int(np.argmin(sharpness)), wrong.shape)
    factor = entries.factor((int(i), int(j)))
    if factor is None:
        return None
    off = np.abs(entries.matrix * entries.scales - factor * entries.value)
    fits = off <= abs(factor) * entries.bar + entries.allowed
    return factor if bool(fits[wrong].all()) else None


def _extra(entries: Entries, wrong: Wrong) -> float | None:
    """The number, in the user's units, that all wrong entries have too much, as far as each is measured."""
    scales = np.where(wrong, entries.scales, 1.0)
    off, bar = entries.matrix - entries.value / scales, entries.bar / np.abs(scales)
    i, j = np.unravel_index(int(np.argmin(np.where(wrong, bar, np.inf))), wrong.shape)
    number = float(off[i, j])
    limit = bar + bar[i, j] + CLOSE * abs(number)
    return number if bool((np.abs(off - number) <= limit)[wrong].all()) else None


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part of a matrix, as in `SecondCharge`."""

    extent: Extent
    size: int
    at: int = 0
    blocks: Pair = (0, 0)
    is_mirrored: bool = False


def _parts(wrong: Wrong, leaves: Sequence[Leaf]) -> Iterator[_Part]:
    """The parts that hold all wrong entries."""
    n = len(wrong)
    places = np.argwhere(wrong)
    rows, columns = np.unique(places[:, 0]), np.unique(places[:, 1])
    owner = np.repeat(np.arange(len(leaves)), [leaf.size for leaf in leaves])
    blocks = {(int(a), int(b)) for a, b in owner[places]}
    if len(leaves) > 1 and len({tuple(sorted(one)) for one in blocks}) == 1:
        a, b = min(blocks)
        yield _Part(
            Extent.BLOCK, leaves[a].size * leaves[b].size * len(blocks), blocks=(a, b), is_mirrored=len(blocks) == 2
        )
    if (places[:, 0] == places[:, 1]).all():
        yield _Part(Extent.DIAGONAL, n)
    if len(rows) == 1:
        yield _Part(Extent.ROW, n, at=int(rows[0]))
    if len(columns) == 1:
        yield _Part(Extent.COLUMN, n, at=int(columns[0]))
    if len(rows) > 1 and len(columns) > 1:
        for k in np.intersect1d(rows, columns).tolist():
            if (places == k).any(axis=1).all():
                yield _Part(Extent.CROSS, 2 * n - 1, at=int(k))
    if wrong.all():
        yield _Part(Extent.ALL, n * n)


def _is_transposed(entries: Entries, part: _Part, leaves: Sequence[Leaf]) -> bool:
    """Whether a block is right once it is read column by column, and its mirror image where that is wrong as well."""
    a, b = part.blocks
    own, mirrored = _block(leaves, a, b), _block(leaves, b, a)

    def is_right(place: tuple[slice, slice]) -> bool:
        turned = _turned(entries.matrix[place]) * entries.scales[place]
        return bool((np.abs(turned - entries.value[place]) <= entries.bar[place] + entries.allowed).all())

    follows = not part.is_mirrored or np.array_equal(entries.matrix[mirrored], entries.matrix[own].T)
    return a != b and is_right(own) and (follows or is_right(mirrored))
