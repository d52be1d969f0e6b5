"""Mistakes of a whole matrix, tested on the slopes of all outputs along two directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Line = tuple[Vector, Vector, Vector]  # v (n,), slopes (m,), bars (m,)

# A cause must explain every slope to this share of its row, whatever the bars allow.
CLOSE = 1e-4
# ... and leave no more than this share of what the claim leaves as it is.
BETTER = 0.1
_SIMPLE = (2.0, 0.5, -1.0, 3.0, 1 / 3, -2.0, -0.5, 4.0, 0.25)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """One mistake that explains all slopes; `corrected` is the true matrix, where it is known."""

    kind: str
    advice: str
    place: str = "everywhere"
    factor: float | None = None
    block: int | None = None
    corrected: Matrix | None = dataclasses.field(default=None, compare=False, repr=False)


def explain(
    matrix: Matrix,
    lines: Sequence[Line],
    rows: Vector,
    *,
    square: bool,
    blocks: Sequence[tuple[int, int]] = (),
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
        return Pattern(
            kind="claimed zero, the true derivative is not", factor=0.0, advice="Nothing is computed, or not returned."
        )
    factor = _common_factor(matrix, lines)
    if factor is not None and len(rows) * len(lines) >= 4 and fits(matrix / factor):
        kind, simple = factor_words(factor, 1.0, 0.0, "the true derivative")
        factor = factor if simple is None else simple
        return Pattern(
            kind=kind or f"claimed {factor:.6g} times the true derivative",
            factor=factor,
            advice="All entries are off by the same factor: look at a mean, a sum or a sign.",
        )
    for k, (start, stop) in enumerate(blocks):
        for factor in _SIMPLE if matrix[:, start:stop].any() else ():
            candidate = matrix.copy()
            candidate[:, start:stop] /= factor
            if fits(candidate):
                kind, _ = factor_words(factor, 1.0, 0.0, "the true derivative")
                advice = "All entries of this leaf are off by the same factor."
                return Pattern(kind=kind, factor=factor, advice=advice, block=k)
    for kind, candidate, advice in _rearranged(matrix, square):
        if fits(candidate):
            return Pattern(kind=kind, advice=advice, corrected=candidate)
    return _reordered(matrix, lines, limits, loosely=loosely)


def _misfit(candidate: Matrix, lines: Sequence[Line]) -> float:
    """By how much slopes deviate from a matrix beyond their bars, taken together."""
    beyond = [np.maximum(np.abs(candidate @ v - value) - bar, 0.0) for v, value, bar in lines]
    return float(np.linalg.norm(np.concatenate(beyond)))


def factor_words(
    claimed: float, reference: float, bar: float, of: str, *, rounding: float = 0.0
) -> tuple[str, float | None]:
    """Name the factor between claimed and reference, where it is simple and measured well enough; else "" and None.

    `rounding` is what the claim may be off by for its own precision (relative).
    """
    if claimed == 0:
        return f"claimed zero, {of} is not", 0.0
    if abs(reference) <= 100 * bar:
        return "", None
    factor = claimed / reference
    for simple in _SIMPLE:
        if abs(factor - simple) <= abs(factor) * (bar / abs(reference)) + (1e-6 + rounding) * abs(simple):
            words = "with the wrong sign" if simple == -1 else f"{simple:.4g} times {of}"
            return f"claimed {words}", simple
    return "", None


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


def partly_scaled(matrix: Matrix) -> Iterator[tuple[str, Matrix, str]]:
    """A square matrix whose diagonal, or whose rest, is off by a factor, or whose other triangle is not filled."""
    diagonal = np.diag(np.diag(matrix))
    rest = matrix - diagonal
    for claimed, words in ((2.0, "2 times"), (0.5, "half")):
        yield f"the diagonal is claimed {words} the true one", rest + diagonal / claimed, "Look at i == j."
        yield f"all but the diagonal is claimed {words} the true one", diagonal + rest / claimed, "Look at i != j."
    for name, other, part in (("upper", "lower", np.triu(matrix, 1)), ("lower", "upper", np.tril(matrix, -1))):
        if np.array_equal(part, rest) and part.any():
            yield f"only the {name} triangle is filled", matrix + part.T, f"Copy it into the {other} one."


def _rearranged(matrix: Matrix, square: bool) -> Iterator[tuple[str, Matrix, str]]:
    m, n = matrix.shape
    if square and m == n and m > 1:
        yield from partly_scaled(matrix)
        yield "transposed", matrix.T, "Rows are outputs, columns are inputs: return the transpose."
        yield "transposed, with the wrong sign", -matrix.T, "Return minus the transpose."
    if square and m != n and min(m, n) > 1:
        yield "reshaped in the wrong order", matrix.reshape(n, m).T, "It was filled column by column: transpose first."
    if m > 1:
        yield "rows in reverse order", matrix[::-1], "Reverse the order of the outputs."
        yield "rows shifted by one", np.roll(matrix, 1, axis=0), "Every row stands one place too early."
        yield "rows shifted by one", np.roll(matrix, -1, axis=0), "Every row stands one place too late."
    if square and n > 1:
        yield "columns in reverse order", matrix[:, ::-1], "Reverse the order of the inputs."
        yield "columns shifted by one", np.roll(matrix, 1, axis=1), "Every column stands one place too early."
        yield "columns shifted by one", np.roll(matrix, -1, axis=1), "Every column stands one place too late."


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
    if len(wrong) == 2:
        one, other = (int(i) for i in wrong)
        return Pattern(
            kind=f"rows {one} and {other} are swapped",
            place=f"rows {one} and {other}",
            advice="Each is the derivative of the other's output.",
            corrected=corrected,
        )
    return Pattern(
        kind="rows in another order than the outputs",
        place=f"{len(wrong)} of {m} rows",
        advice=f"For example, row {int(wrong[0])} should be what stands in row {int(source[0])}.",
        corrected=corrected,
    )
