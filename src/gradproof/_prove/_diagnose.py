"""What the mistake is: a simple correction of the claim that explains every measurement.

Each candidate is a linear statement about the true gradient with at most one free number c, "true = c * h(claim)" or
"true = claim + c * term". Slopes along a few random directions fix c; the others are checks to spare. A candidate is
named only if it passes all of them and an unrelated mistake would hardly do so.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import math
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._prove._charge import Cause, Mistake
from gradproof._prove._directions import Direction, Directions
from gradproof._prove._measure import EPS64, Asking, Meter, Residual

Floats = NDArray[np.float64]

# How likely an unrelated mistake may be to pass all spare checks.
CHANCE = 1e-5
# A lone entry has no spare check: only the commonest factors are named, and only if they are met this closely.
LONE_FACTORS, LONE_TOLERANCE = (-1.0, 2.0, 0.5, -2.0, -0.5, 3.0, 4.0, 1 / 3, 0.25), 3e-4
# ... and whole numbers and their inverses up to 64, which are lengths of batches and axes, if met as closely as this.
LONE_WHOLE = 1e-6
# How closely one of the commonest factors must be met where bars are wide: no two lie within a fourth of each other,
# nor of 1.
PLAIN_TOLERANCE = 0.1
# Roundings of the true slope up to which a claim is one of 0.
ROUNDED = 64.0
# What f may do within the error bar of a slope that is said to be zero, relative to its values.
VISIBLE = 1e-3
# A cap: exp of more than this is no factor that anybody has forgotten.
LARGEST_EXPONENT = 50.0
# Terms that cannot be told apart where all entries of x are equal.
TERMS_OF_X = (Mistake.LACKS_DECAY, Mistake.LACKS_L1, Mistake.LACKS_CONSTANT)
# Directions spent on one leaf before it is left without a name.
DIRECTIONS = 6
# In low precision, where each says less: if ten agree within a fourteenth of an error of 1 %, that is no accident, and
# they cost less than to look for a place that is everywhere.
DIRECTIONS_LOW = 10


@dataclasses.dataclass
class Evidence:
    """Residuals along independent directions through one leaf (or the same part of it).

    visible : how wide a bar of theirs may be for what f does to be seen beside it.
    """

    shape: tuple[int, ...]
    size: int
    eps: float = EPS64
    visible: Callable[[], float] = lambda: math.inf
    directions: list[Direction] = dataclasses.field(default_factory=list[Direction])
    residuals: list[Residual] = dataclasses.field(default_factory=list[Residual])

    def add(self, direction: Direction, residual: Residual) -> None:
        if math.isfinite(residual.value) and math.isfinite(residual.bar):
            self.directions.append(direction)
            self.residuals.append(residual)

    def deviation(self, norm: float) -> float | None:
        """The norm of claim minus true over that of the true gradient, as directions show them; `norm` is the claim's.

        Of random directions the mean square of a slope is the square of the norm. With r = true - claim,
        ``|claim|**2 + 2 <claim, r> + |r|**2`` says the same, the claim's norm known. The two err apart: their mean is
        taken.
        """
        values = np.array([residual.value for residual in self.residuals])
        claimed = np.array([residual.claimed for residual in self.residuals])
        # (What was never written may be so large that its square overflows.)
        unit = max(float(np.abs([values, claimed]).max(initial=0.0)), norm)
        if not 0 < unit < math.inf:
            return None
        values, claimed, norm = values / unit, claimed / unit, norm / unit
        off = float(np.sqrt(np.mean(values**2)))
        squares = float(np.mean((claimed + values) ** 2)), norm**2 + 2 * float(np.mean(claimed * values)) + off**2
        true = math.sqrt((squares[0] + max(squares[1], 0.0)) / 2)
        return off / true if true > 0 else None

    @property
    def spare(self) -> int:
        """Checks left when one number is fitted: more directions than entries add none."""
        return min(len(self.residuals), self.size) - 1


@dataclasses.dataclass(frozen=True)
class Fit:
    """y = c * t fitted to all measurements, with the error of c; None of it if some measurement disagrees."""

    c: float
    error: float
    chance: float


def fit(targets: Sequence[float], terms: Sequence[float], evidence: Evidence) -> Fit | None:
    """Fit one number, targets = c * terms, and use the rest as checks.

    Returns
    -------
    Fit or None
        None if a measurement disagrees. `chance` is how likely residuals of this size would all agree by accident.
    """
    bars = [residual.bar + residual.rounding for residual in evidence.residuals]
    y, bar, t = (np.asarray(values, dtype=np.float64) for values in (targets, bars, terms))
    if not (np.isfinite(t).all() and np.any(t != 0)):
        return None
    bar = bar + 1e-12 * (np.abs(y) + np.abs(t)) + 1e-150
    weight = 1 / bar**2
    square = float(np.sum(weight * t * t))
    if square == 0 or not math.isfinite(square):
        return None
    c = float(np.sum(weight * t * y)) / square
    error = 1 / math.sqrt(square)
    if bool(np.any(np.abs(y - c * t) > bar + error * np.abs(t))):
        return None
    size = math.sqrt(sum(residual.value**2 for residual in evidence.residuals) / len(bars))
    tolerance = float(np.median(bar)) / max(size, 1e-300)
    return Fit(c=c, error=error, chance=min(1.0, 4 * tolerance) ** max(evidence.spare, 0))


@dataclasses.dataclass(frozen=True)
class Undecided:
    """A candidate that no measurement contradicts, with too few checks to name it."""


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A claim so far off that what f does is lost in the claim's own rounding: there is no more to learn of f."""


def visible(meter: Meter) -> Callable[[], float]:
    """How wide the bar of a slope may be for what f was seen to do to show beside it, as measured."""

    @ft.cache
    def widest() -> float:
        slopes = [one.slope for one in meter.slopes]
        seen = [np.abs(part) for one in slopes for part in (one.f0, one.plus, one.minus)]
        return VISIBLE * max((float(np.max(one, where=np.isfinite(one), initial=0.0)) for one in seen), default=0.0)

    return widest


def factor_cause(evidence: Evidence) -> Cause | Undecided | Hidden | None:
    """Test "claimed = factor * true"; None if a measurement contradicts it."""
    residuals = evidence.residuals
    claimed = [residual.claimed for residual in residuals]
    if all(value == 0 for value in claimed):
        return Cause(Mistake.ZERO, factor=0.0)
    true = [residual.value + residual.claimed for residual in residuals]
    if _is_rounding_of_zero(claimed, true, evidence):
        return Cause(Mistake.ZERO_ROUNDED, factor=0.0)
    found = fit(true, claimed, evidence)
    if found is None:
        return None
    if abs(found.c) <= 3 * found.error:
        if found.error > 1e-3:
            return Undecided()
        clearest = max(residuals, key=lambda residual: residual.contrast)
        return Cause(Mistake.NOT_ZERO) if clearest.bar <= evidence.visible() else Hidden()
    factor, tolerance = 1 / found.c, 3 * found.error / abs(found.c)
    simple = simplest(factor, tolerance, evidence.shape) if tolerance < 1e-2 else None
    common = tolerance <= LONE_TOLERANCE and simple in LONE_FACTORS
    whole = simple is not None and tolerance <= LONE_WHOLE and max(abs(simple), abs(1 / simple)) in range(1, 65)
    if simple is not None and evidence.spare <= 0 and (common or whole):
        return Cause(Mistake.FACTOR, factor=simple)
    if simple is None or tolerance > 1e-3:
        plain = _plainest(factor, tolerance)
        if plain is not None and found.chance <= CHANCE:
            return Cause(Mistake.FACTOR, factor=plain)
    # A simple number is a check of its own: few numbers are that simple.
    chance = found.chance * (min(1.0, 300 * tolerance) if simple is not None else 1.0)
    if chance > CHANCE or tolerance > 1e-3:
        return Undecided()
    return Cause(Mistake.FACTOR, factor=factor if simple is None else simple)


def _is_rounding_of_zero(claimed: Sequence[float], true: Sequence[float], evidence: Evidence) -> bool:
    """Whether the claim is no more than the rounding of terms that cancel, where f clearly moves."""
    clear = all(residual.clear for residual in evidence.residuals)
    size = ROUNDED * evidence.eps
    return bool(claimed) and clear and all(abs(c) <= size * abs(t) for c, t in zip(claimed, true, strict=True))


def _plainest(factor: float, tolerance: float) -> float | None:
    """The one of the commonest factors that is as close as low precision can tell, if there is only one."""
    if tolerance > PLAIN_TOLERANCE:
        return None
    return next((number for number in LONE_FACTORS if abs(factor / number - 1) <= tolerance), None)


def diagnose(meter: Meter, leaf: int, evidence: Evidence, scale: float, wrong: Collection[int]) -> Asking[Cause | None]:
    """Name the mistake in a leaf whose claim is no multiple of the true gradient, measuring along more directions.

    Candidates that already disagree are dropped before anything more is measured. `wrong` are all leaves that deviate:
    only two of them can have been swapped.
    """
    directions = meter.directions
    copied = _copied_from(directions, leaf)
    if copied is not None:
        return Cause(Mistake.COPY, other=directions.leaves[copied].path)
    if evidence.size < 3:
        return None
    candidates = list(_candidates(directions, leaf, wrong))
    tables: list[list[float]] = [[] for _ in candidates]
    tabled = 0
    while True:
        for direction in evidence.directions[tabled:]:
            v = _part(directions, leaf, direction)
            for candidate, row in zip(candidates, tables, strict=True):
                row.append(float(np.vdot(candidate.array(), v)))
        tabled = len(evidence.directions)
        kept = [
            (candidate, row, found)
            for candidate, row in zip(candidates, tables, strict=True)
            if (found := _explains(candidate, row, evidence)) is not None
            and not (candidate.added and _rests_on_one_entry(candidate.array(), found.c, directions, leaf, evidence))
        ]
        named = [(candidate, found) for candidate, _, found in kept if found.chance * len(tables) <= CHANCE]
        if named:
            return _one_cause(named)
        if not kept or len(evidence.residuals) >= DIRECTIONS:
            return None
        candidates, tables = [item[0] for item in kept], [item[1] for item in kept]
        scales = next(d.scales for d in evidence.directions if d.group == (leaf,))
        direction = Direction(stream=meter.next_stream(), group=(leaf,), scales=scales)
        evidence.add(direction, (yield from meter.residual(direction, scale)))
        if len(evidence.residuals) == tabled:
            return None


def _one_cause(named: Sequence[tuple[_Candidate, Fit]]) -> Cause:
    """The simplest of several causes; where terms look alike at this point, what can be said of all of them."""
    first, found = named[0]
    alike = [candidate for candidate, _ in named if candidate.mistake in TERMS_OF_X]
    if first.mistake in TERMS_OF_X and len(alike) > 1:
        constant = next((fit for candidate, fit in named if candidate.mistake is Mistake.LACKS_CONSTANT), None)
        return Cause(Mistake.LACKS_SAME, number=None if constant is None else _rounded(constant.c, constant.error))
    return first.cause(found)


def _copied_from(directions: Directions, leaf: int) -> int | None:
    """The other leaf whose claim holds the same numbers, bit for bit."""
    where = directions.leaves[leaf]
    claim = directions.claim[where.start : where.stop]
    if where.size < 2 or np.all(claim == claim[0]):
        return None
    for index, other in enumerate(directions.leaves):
        same_shape = index != leaf and other.shape == where.shape
        if same_shape and np.array_equal(directions.claim[other.start : other.stop], claim):
            return index
    return None


def _part(directions: Directions, leaf: int, direction: Direction) -> Floats:
    where = directions.leaves[leaf]
    return directions.vector(direction)[where.start : where.stop].reshape(where.shape)


def _explains(candidate: _Candidate, row: Sequence[float], evidence: Evidence) -> Fit | None:
    residuals = evidence.residuals
    if candidate.added:
        found = fit([residual.value for residual in residuals], row, evidence)
        if found is None or abs(found.c) <= 10 * found.error:
            return None
        # (A path to f that was forgotten is missing once, and not 0.7 times.)
        is_path = candidate.mistake is Mistake.LACKS_PATH
        return None if is_path and abs(found.c - 1) > 3 * found.error else found
    true = [residual.value + residual.claimed for residual in residuals]
    found = fit(true, row, evidence)
    if found is None or abs(found.c) <= 10 * found.error:
        return None
    # Only a structure alone, or with a simple factor, is a mistake people make.
    return found if simplest(found.c, 3 * found.error / abs(found.c), evidence.shape) is not None else None


def _rests_on_one_entry(term: Floats, c: float, directions: Directions, leaf: int, evidence: Evidence) -> bool:
    """Whether all that bars can see of a term is its largest entry: a lone wrong entry looks the same."""
    where = directions.leaves[leaf]
    moved = np.abs(np.ravel(term)) * np.broadcast_to(directions.natural[where.start : where.stop], where.size)
    rest = np.delete(moved, int(np.argmax(moved)))
    bar = float(np.median([residual.bar for residual in evidence.residuals]))
    return abs(c) * float(np.linalg.norm(rest)) <= 3 * bar


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A correction: true = c * array, or true = claim + c * array where `added`."""

    mistake: Mistake
    array: Callable[[], Floats]
    added: bool = False
    axis: int = 0
    shift: int = 0
    other: str = ""

    def cause(self, found: Fit) -> Cause:
        number, factor = None, None
        if self.added:
            number = _rounded(found.c, found.error)
        else:
            factor = simplest(1 / found.c, 3 * found.error / abs(found.c))
        return Cause(self.mistake, number=number, beside=factor, axis=self.axis, shift=self.shift, other=self.other)


def _rounded(value: float, error: float) -> float:
    """The shortest decimal within the error of a value."""
    for digits in range(1, 16):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= max(error, 1e-15 * abs(value)):
            return short
    return value


def _candidates(directions: Directions, leaf: int, wrong: Collection[int]) -> Iterator[_Candidate]:
    """The corrections of one leaf's claim that are worth testing, simplest first."""
    where = directions.leaves[leaf]
    shape = where.shape

    def claim_of(index: int) -> Floats:
        other = directions.leaves[index]
        return directions.claim[other.start : other.stop].reshape(other.shape)

    claim = claim_of(leaf)
    point = directions.point[where.start : where.stop].reshape(shape)
    if len(shape) == 2 and min(shape) > 1:
        if shape[0] == shape[1]:
            yield _Candidate(Mistake.TRANSPOSED, lambda: claim.T)
        else:
            yield _Candidate(Mistake.RESHAPED, lambda: claim.T.reshape(shape))
            yield _Candidate(Mistake.RESHAPED, lambda: claim.reshape(shape[::-1]).T)
    if len(shape) >= 2 and shape[-1] == shape[-2] > 1 and not np.array_equal(claim, symmetric(claim)):
        yield _Candidate(Mistake.NOT_SYMMETRIC, lambda: symmetric(claim))
    for axis, length in enumerate(shape):
        if length < 2:
            continue
        yield _Candidate(Mistake.FLIPPED, lambda axis=axis: np.flip(claim, axis), axis=axis)
        for shift in (1, -1):
            rolled = lambda axis=axis, shift=shift: np.roll(claim, shift, axis)  # noqa: E731
            yield _Candidate(Mistake.ROLLED, rolled, axis=axis, shift=-shift)
    if len(shape) > 1:
        yield _Candidate(Mistake.FORTRAN_ORDER, lambda: claim.ravel().reshape(shape, order="F"))
        yield _Candidate(Mistake.FORTRAN_ORDER, lambda: claim.ravel(order="F").reshape(shape))
    yield _Candidate(Mistake.LACKS_DECAY, lambda: point, added=True)
    yield _Candidate(Mistake.LACKS_L1, lambda: np.sign(point), added=True)
    yield _Candidate(Mistake.LACKS_CONSTANT, lambda: np.ones(shape), added=True)
    yield _Candidate(Mistake.LACKS_FACTOR_X, lambda: claim * point)
    yield _Candidate(Mistake.EXTRA_FACTOR_X, lambda: np.divide(claim, point, where=point != 0, out=0 * claim))
    yield _Candidate(Mistake.ONE_MINUS, lambda: directions.unit - claim)
    if np.all(np.abs(point) < LARGEST_EXPONENT):
        yield _Candidate(Mistake.BY_EXP, lambda: claim * np.exp(point))
        yield _Candidate(Mistake.BY_LOG, lambda: claim * np.exp(-point))
    for index, other in enumerate(directions.leaves):
        if index == leaf:
            continue
        if other.shape == shape:
            if index in wrong:
                yield _Candidate(Mistake.SWAPPED, lambda index=index: claim_of(index), other=other.path)
            yield _Candidate(Mistake.LACKS_PATH, lambda index=index: claim_of(index), added=True, other=other.path)
        elif other.shape == shape[::-1] and len(shape) == 2 and index in wrong:
            yield _Candidate(Mistake.SWAPPED_TRANSPOSED, lambda index=index: claim_of(index).T, other=other.path)


def symmetric(claim: Floats) -> Floats:
    """The symmetric part of a matrix, or of each one in the last two axes."""
    return (claim + np.swapaxes(claim, -1, -2)) / 2


def simplest(factor: float, tolerance: float, shape: Sequence[int] = ()) -> float | None:
    """The simple number within a relative `tolerance` of `factor`: n, 1/n, small fractions, sizes of the leaf."""
    magnitude = abs(factor)

    def close(number: float) -> bool:
        return abs(number / magnitude - 1) <= tolerance

    for denominator in range(1, 13):
        numerator = round(magnitude * denominator)
        if 1 <= numerator <= 12 and close(numerator / denominator):
            return math.copysign(numerator / denominator, factor)
    lengths = {length for length in (*shape, math.prod(shape)) if length > 1}
    lengths |= {round(magnitude), round(1 / magnitude)} if 1e-4 < magnitude < 1e4 else set()
    for length in sorted(length for length in lengths if length):
        for number in (float(length), 1 / length):
            if close(number):
                return math.copysign(number, factor)
    return None
