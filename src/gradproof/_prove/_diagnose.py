"""What the mistake is: a simple correction of the claim that explains every measurement.

Each candidate is a linear statement about the true gradient with at most one free number c, "true = c * h(claim)" or
"true = claim + c * term". Slopes along a few random directions fix c; the others are checks to spare. A candidate is
named only if it passes all of them and an unrelated mistake would hardly do so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._prove._directions import Direction, Directions
from gradproof._prove._measure import Asking, Meter, Residual

Floats = NDArray[np.float64]

# How likely an unrelated mistake may be to pass all spare checks.
CHANCE = 1e-5
# A lone entry has no spare check: only the commonest factors are named, and only if they are met this closely.
LONE_FACTORS, LONE_TOLERANCE = (-1.0, 2.0, 0.5, -2.0, -0.5, 3.0, 4.0, 1 / 3, 0.25), 3e-4
# ... and whole numbers and their inverses up to 64, which are lengths of batches and axes, if met as closely as this.
LONE_WHOLE = 1e-6
# Directions spent on one leaf before it is left without a name.
DIRECTIONS = 6
# In low precision, where each says less: if ten agree within a fourteenth of an error of 1 %, that is no accident, and
# they cost less than to look for a place that is everywhere.
DIRECTIONS_LOW = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cause:
    """A named mistake; claimed = factor * true where `factor` is not None."""

    kind: str
    advice: str
    factor: float | None = None


@dataclasses.dataclass
class Evidence:
    """Residuals along independent directions through one leaf (or the same part of it)."""

    path: str
    shape: tuple[int, ...]
    size: int
    directions: list[Direction] = dataclasses.field(default_factory=list[Direction])
    residuals: list[Residual] = dataclasses.field(default_factory=list[Residual])

    def add(self, direction: Direction, residual: Residual) -> None:
        if math.isfinite(residual.value) and math.isfinite(residual.bar):
            self.directions.append(direction)
            self.residuals.append(residual)

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


def factor_cause(evidence: Evidence) -> Cause | Undecided | None:
    """Test "claimed = factor * true"; None if a measurement contradicts it."""
    residuals, path = evidence.residuals, evidence.path
    claimed = [residual.claimed for residual in residuals]
    if all(value == 0 for value in claimed):
        return Cause(
            kind="claimed zero, the true gradient is not",
            factor=0.0,
            advice=f"The gradient of `{path}` is never computed, detached or overwritten with zeros.",
        )
    true = [residual.value + residual.claimed for residual in residuals]
    found = fit(true, claimed, evidence)
    if found is None:
        return None
    if abs(found.c) <= 3 * found.error:
        if found.error > 1e-3:
            return Undecided()
        return Cause(
            kind="the true gradient is zero, the claim is not",
            advice=f"f does not depend on `{path}` to first order: drop this gradient, or check that f uses it.",
        )
    factor, tolerance = 1 / found.c, 3 * found.error / abs(found.c)
    simple = simplest(factor, tolerance, evidence.shape) if tolerance < 1e-2 else None
    common = tolerance <= LONE_TOLERANCE and simple in LONE_FACTORS
    whole = simple is not None and tolerance <= LONE_WHOLE and max(abs(simple), abs(1 / simple)) in range(1, 65)
    if simple is not None and evidence.spare <= 0 and (common or whole):
        return Cause(
            kind=f"claimed {factor_words(simple)} the true gradient", factor=simple, advice=_advice(path, simple)
        )
    # A simple number is a check of its own: few numbers are that simple.
    chance = found.chance * (min(1.0, 300 * tolerance) if simple is not None else 1.0)
    if chance > CHANCE or tolerance > 1e-3:
        return Undecided()
    if simple is not None:
        factor = simple
    return _off_by(path, factor)


def _off_by(path: str, factor: float) -> Cause:
    return Cause(kind=f"claimed {factor_words(factor)} the true gradient", factor=factor, advice=_advice(path, factor))


def diagnose(meter: Meter, leaf: int, evidence: Evidence, scale: float) -> Asking[Cause | None]:
    """Name the mistake in a leaf whose claim is no multiple of the true gradient, measuring along more directions.

    Candidates that already disagree are dropped before anything more is measured.
    """
    directions = meter.directions
    copied = _copied_from(directions, leaf)
    if copied is not None:
        path = directions.leaves[copied].path
        return Cause(
            kind=f"is a copy of the gradient of {path}",
            advice=f"The same array is returned for `{evidence.path}` and `{path}`: compute both.",
        )
    if evidence.size < 3:
        return None
    candidates = list(_candidates(directions, leaf))
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
        ]
        named = [
            candidate.cause(evidence.path, found)
            for candidate, _, found in kept
            if found.chance * len(tables) <= CHANCE
        ]
        if named:
            return named[0]
        if not kept or len(evidence.residuals) >= DIRECTIONS:
            return None
        candidates, tables = [item[0] for item in kept], [item[1] for item in kept]
        scales = next(d.scales for d in evidence.directions if d.group == (leaf,))
        direction = Direction(stream=meter.next_stream(), group=(leaf,), scales=scales)
        evidence.add(direction, (yield from meter.residual(direction, scale)))
        if len(evidence.residuals) == tabled:
            return None


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
        return found if found is not None and abs(found.c) > 10 * found.error else None
    true = [residual.value + residual.claimed for residual in residuals]
    found = fit(true, row, evidence)
    if found is None or abs(found.c) <= 10 * found.error:
        return None
    # Only a structure alone, or with a simple factor, is a mistake people make.
    return found if simplest(found.c, 3 * found.error / abs(found.c), evidence.shape) is not None else None


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A correction: true = c * array, or true = claim + c * array where `added`."""

    kind: str
    advice: str
    array: Callable[[], Floats]
    added: bool = False

    def cause(self, path: str, found: Fit) -> Cause:
        if self.added:
            number = f"{_rounded(found.c, found.error):.12g}"
            return Cause(kind=self.kind.format(c=number), advice=self.advice.format(path=path, c=number))
        factor = simplest(1 / found.c, 3 * found.error / abs(found.c))
        kind = self.kind
        if factor is not None and factor != 1:
            kind += f", and {factor_words(factor)} the true gradient"
        return Cause(kind=kind, advice=self.advice.format(path=path, c=""))


def _rounded(value: float, error: float) -> float:
    """The shortest decimal within the error of a value."""
    for digits in range(1, 16):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= max(error, 1e-15 * abs(value)):
            return short
    return value


def _candidates(directions: Directions, leaf: int) -> Iterator[_Candidate]:
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
            yield _Candidate("transposed", "Use the transpose of the gradient of `{path}`.", lambda: claim.T)
        else:
            advice = "The gradient of `{path}` was reshaped where it should have been transposed."
            yield _Candidate("reshaped in place of transposed", advice, lambda: claim.T.reshape(shape))
            yield _Candidate("reshaped in place of transposed", advice, lambda: claim.reshape(shape[::-1]).T)
    for axis, length in enumerate(shape):
        if length < 2:
            continue
        yield _Candidate(
            f"flipped along axis {axis}",
            f"Reverse the gradient of `{{path}}` along axis {axis}.",
            lambda axis=axis: np.flip(claim, axis),
        )
        for shift in (1, -1):
            yield _Candidate(
                f"rolled by {-shift} along axis {axis}",
                f"The gradient of `{{path}}` is shifted by one along axis {axis}: look for an index off by one.",
                lambda axis=axis, shift=shift: np.roll(claim, shift, axis),
            )
    if len(shape) > 1:
        yield _Candidate(
            "entries in Fortran order",
            "The gradient of `{path}` was flattened or reshaped in another memory order (`order='F'`).",
            lambda: claim.ravel().reshape(shape, order="F"),
        )
        yield _Candidate(
            "entries in Fortran order",
            "The gradient of `{path}` was flattened or reshaped in another memory order (`order='F'`).",
            lambda: claim.ravel(order="F").reshape(shape),
        )
    yield _Candidate(
        "lacks the term {c} * x (weight decay)",
        "Add the derivative of the penalty, {c} * `{path}`, to its gradient.",
        lambda: point,
        added=True,
    )
    yield _Candidate(
        "lacks the term {c} * sign(x) (L1 penalty)",
        "Add the derivative of the penalty, {c} * sign(`{path}`), to its gradient.",
        lambda: np.sign(point),
        added=True,
    )
    yield _Candidate(
        "lacks the constant {c}",
        "Every entry of the gradient of `{path}` lacks the same number, {c}.",
        lambda: np.ones(shape),
        added=True,
    )
    elementwise: list[tuple[str, str, Callable[[], Floats]]] = [
        ("lacks a factor x", "multiplied by", lambda: claim * point),
        ("has a factor x too many", "divided by", lambda: np.divide(claim, point, where=point != 0, out=0 * claim)),
    ]
    for kind, verb, array in elementwise:
        yield _Candidate(kind, f"The gradient of `{{path}}` has to be {verb} `{{path}}`, entry by entry.", array)
    for index, other in enumerate(directions.leaves):
        if index == leaf:
            continue
        if other.shape == shape:
            yield _Candidate(
                f"is the gradient of {other.path}",
                f"The gradients of `{{path}}` and `{other.path}` are swapped.",
                lambda index=index: claim_of(index),
            )
            yield _Candidate(
                f"lacks {{c}} times the gradient of {other.path}",
                f"The part of the gradient of `{{path}}` that comes through `{other.path}` is missing.",
                lambda index=index: claim_of(index),
                added=True,
            )
        elif other.shape == shape[::-1] and len(shape) == 2:
            yield _Candidate(
                f"is the transposed gradient of {other.path}",
                f"The gradients of `{{path}}` and `{other.path}` are swapped.",
                lambda index=index: claim_of(index).T,
            )


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


def factor_words(factor: float) -> str:
    """A factor as a reader writes it: "2 times", "1/4 of", "-1 times", "1.013 times"."""
    for denominator in (1, *range(2, 13)):
        numerator = round(factor * denominator)
        if numerator and abs(numerator / denominator / factor - 1) < 1e-12:
            if denominator == 1:
                return f"{numerator} times"
            if abs(numerator) <= 12:
                return f"{numerator}/{denominator} of" if numerator > 0 else f"{numerator}/{denominator} times"
    inverse = round(1 / factor) if abs(factor) > 1e-6 else 0
    if inverse > 1 and abs(1 / inverse / factor - 1) < 1e-12:
        return f"1/{inverse} of"
    if abs(factor - 1) < 1e-3:
        return f"(1 {'+' if factor > 1 else '-'} {abs(factor - 1):.3g}) times"
    return f"{factor:.6g} times"


def _advice(path: str, factor: float) -> str:
    subject = f"`{path}`" if path.partition("[")[0] in ("jac", "hess") else f"the gradient of `{path}`"
    if factor == -1:
        return f"Flip the sign of {subject}."
    if factor < 0:
        return f"{subject[0].upper()}{subject[1:]} has the wrong sign, and is off by a factor {abs(factor):.6g}."
    if abs(factor - 1) < 1e-3:
        return (
            f"{subject[0].upper()}{subject[1:]} is nearly right: look for a constant, a scale or a tolerance with few "
            "digits."
        )
    if factor > 1:
        return f"Divide {subject} by {factor:.6g}: look for a stray factor, or a sum in place of a mean."
    return f"Multiply {subject} by {1 / factor:.6g}: look for a lost factor, or a mean in place of a sum."
