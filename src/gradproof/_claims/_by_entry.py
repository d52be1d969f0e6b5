"""A whole Jacobian by differences, entry by entry: where a tolerance is set so, or a certificate is too wide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts, _run
from gradproof._claims._around import Around, natural_sizes
from gradproof._claims._autodiff import Function
from gradproof._claims._claimed import Claimed
from gradproof._claims._columns import slopes
from gradproof._claims._first_look import FirstLook
from gradproof._claims._modes import together
from gradproof._claims._reading import ask_jvp, ask_vjp
from gradproof._function._layout import Layout
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem
from gradproof._line import Slope

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Entries of a Jacobian that are held (80 MB each for claim, reference and bar).
MOST = 10_000_000
# Error bar of an entry, relative to the root mean square of its leaf's block, from which it is measured alone; and the
# most that are. All of them together leave as much of the block's norm.
WIDE, ALONE = 1e-3, 4000
# A jump of this part of all values that were seen is no rounding of f, whose steps would be small beside it: between
# such jumps, as those of x mod y, the slope is the derivative. Up to the first of them f is straight but for so little
# (beside the slope at the finest steps), and the steps of a whole ladder, which begins at a quarter of its scale, are
# kept within.
OWN, LITTLE, FINEST, LADDER = 0.2, 0.01, 2, 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entries:
    """A Jacobian as claimed and as measured, entry by entry; all arrays (m, n).

    Attributes
    ----------
    primal : Primal
        Whose outputs are the rows and whose leaves are the columns.
    claimed, reference, bar : ndarray
        `bar` is absolute, and infinite where nothing could be measured.
    size : ndarray (n,)
        Natural size of every entry of the point.
    """

    primal: Primal
    claimed: Matrix
    reference: Matrix
    bar: Matrix
    size: Vector

    def are_within(self, atol: float, rtol: float, mode: str) -> bool:
        """Whether every entry agrees within a tolerance, as far as differences can tell.

        ``bar <= allowed`` and ``|claimed - reference| <= allowed + bar`` with ``allowed = atol + rtol |reference|``
        hold for each. Complex entries are compared as complex numbers: in reverse mode those of an input, in forward
        mode those of an output, as torch does.
        """
        layout, axis = (self.primal.layout, 1) if mode == "rev" else (self.primal.outputs.layout, 0)
        error, size, bar = (
            _moduli(values, layout, axis) for values in (self.claimed - self.reference, self.reference, self.bar)
        )
        allowed = atol + rtol * size
        return bool(((bar <= allowed) & (error <= allowed + bar)).all())

    def agree(self, rtol: float) -> bool:
        """Whether no entry lies outside its bar by more than `rtol` of its row's largest, or rounding of other rows."""
        largest = np.abs(self.claimed).max(axis=1, initial=0.0, keepdims=True)
        # (The imaginary parts of real eigenvalues do not move, and what is claimed of them is 1e-17.)
        rounding = _contracts.row_floor(np.linalg.norm(self.claimed * self.size, axis=1)) / self.size
        return bool((np.abs(self.claimed - self.reference) <= self.bar + rtol * largest + rounding).all())

    def bounds(self) -> list[float]:
        """For each leaf, in order, a bound on the error of its block relative to the block's norm.

        Each column is weighted with the natural size of its entry. Unlike that of a certificate it holds whatever
        the error is like, given honest bars.
        """
        error = (np.abs(self.claimed - self.reference) + self.bar) * self.size
        claimed = self.claimed * self.size
        found: list[float] = []
        for leaf in self.primal.leaves:
            part = slice(leaf.start, leaf.stop)
            off, norm = float(np.linalg.norm(error[:, part])), float(np.linalg.norm(claimed[:, part]))
            found.append(off / norm if norm > 0 else (0.0 if off == 0 else np.inf))
        return found


def measure_entries(function: Function, mode: str, seed: int, wanted: Collection[int]) -> Entries | None:
    """Move every entry of some arrays by itself and measure all outputs along it; None where that cannot be done.

    Parameters
    ----------
    function : Function
    mode : {"rev", "fwd"}
        In which the claim is asked for, entry by entry too.
    seed : int
    wanted : collection of int
        Places of the arrays that are moved, among those that are differentiated. What is claimed of the others stands
        in for their slopes.
    """
    primal = Primal(
        function.value,
        function.arguments,
        tuple(range(function.count)),
        names=function.names,
        is_vector=True,
        together=together(function),
    )
    m, n = primal.outputs.size, len(primal.point)
    if m * n > MOST or not np.isfinite(primal.output_values()).all():
        return None
    if mode == "rev":
        claimed = ask_vjp(primal, function.vjp, np.eye(1, m)[0])
        matrix = np.array([_everywhere(claimed, claimed.pull(u)) for u in np.eye(m)]).reshape(m, n)
    else:
        claimed = ask_jvp(primal, function.jvp, np.eye(n))
        matrix = claimed.matrix
    if claimed.judged.set_aside or matrix is None:
        return None
    everything = tuple(i for i, leaf in enumerate(primal.leaves) if leaf.size)
    size = natural_sizes(primal, everything)
    whose = {part: place for place, one in enumerate(primal.layout.origins) for part in one.parts}
    moved = [i for i in everything if whose[i] in wanted]
    reference, bar = _measure(primal, everything, moved, size, seed, matrix)
    for i in set(everything) - set(moved):
        part = slice(primal.leaves[i].start, primal.leaves[i].stop)
        reference[:, part], bar[:, part] = matrix[:, part], 0.0
    bar = np.where(np.isfinite(reference) & np.isfinite(bar), bar, np.inf)
    reference = np.where(np.isfinite(reference), reference, 0.0)
    return Entries(primal=primal, claimed=matrix, reference=reference, bar=bar, size=size)


def _everywhere(claimed: Claimed, pulled: Vector) -> Vector:
    """A row over all leaves, empty ones and those without a gradient too."""
    pieces = claimed.pieces(pulled)
    return np.concatenate([pieces.get(i, np.zeros(leaf.size)) for i, leaf in enumerate(claimed.primal.leaves)])


def _measure(
    primal: Primal, everything: tuple[int, ...], moved: list[int], sizes: Vector, seed: int, claimed: Matrix
) -> tuple[Matrix, Matrix]:
    """The Jacobian (m, n) by differences, and the bar of every entry: of the leaves that are moved."""
    look = FirstLook(primal, everything, seed, around=Around())
    problem = Problem(primal, {i: np.zeros(primal.leaves[i].size) for i in everything}, eps=look.eps)
    jitter = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 6))))
    values, bars = np.zeros((2, primal.outputs.size, len(sizes)))
    columns = np.concatenate([np.arange(primal.leaves[i].start, primal.leaves[i].stop) for i in moved])

    def evaluate(entries: NDArray[np.intp], moves: Vector) -> Matrix:
        return _run.outputs(problem, _run.Beside(entries, moves))[0]

    def along(found: Slope, j: int) -> tuple[Vector, Vector]:
        still = (found.plus == found.f0).all(axis=0) & (found.minus == found.f0).all(axis=0)
        return found.value / sizes[j], np.where(
            still, 0.0, np.where(np.isfinite(found.bar), found.bar / sizes[j], np.inf)
        )

    lines = slopes(problem, evaluate, jitter, columns, sizes[columns], eps=look.eps, scale=look.rows())
    for j, found in zip(columns, lines, strict=True):
        values[:, j], bars[:, j] = along(found, j)
    scale = np.ones(values.shape)
    for _ in range(2):
        rows, again = _open(primal, moved, sizes, claimed, values, bars)
        rows, again = rows[scale[rows, again] > 0], again[scale[rows, again] > 0]
        if not 0 < len(rows) <= ALONE:
            break
        part = scale[rows, again]
        lines = slopes(
            problem,
            evaluate,
            jitter,
            again,
            sizes[again] * part,
            rows=rows,
            eps=look.eps,
            scale=look.rows()[rows] * part,
        )
        for i, j, found in zip(rows, again, lines, strict=True):
            (value,), (bar,) = along(found, j)
            value, bar = value / scale[i, j], bar / scale[i, j]
            if bar < bars[i, j] or abs(claimed[i, j] - values[i, j]) > bars[i, j]:
                values[i, j], bars[i, j] = value, bar
            # The next time within the nearest of such jumps, where there are any.
            scale[i, j] = LADDER * _before_jumps(found) if scale[i, j] == 1 else 0.0
    return values, bars


def _before_jumps(found: Slope) -> float:
    """The coarsest step of a line (of one output) before one that meets a jump of the size of f itself; else 0."""
    h, plus, minus = found.h, found.plus[:, 0] - found.f0[0], found.minus[:, 0] - found.f0[0]
    # (Levels go from coarse to fine: what f does farther out says nothing of how large it is here.)
    largest = np.maximum.accumulate(np.maximum(np.abs(plus), np.abs(minus))[::-1])[::-1] + abs(float(found.f0[0]))
    straight = float(np.median((plus - minus)[-FINEST:] / (2 * h[-FINEST:]))) * h
    away = np.maximum(np.abs(plus - straight), np.abs(minus + straight))
    if len(h) <= FINEST or not np.isfinite(away).all():
        return 0.0
    beyond = np.flatnonzero(away > LITTLE * largest)
    if not len(beyond) or beyond[-1] + 1 >= len(h) or away[beyond[-1]] < OWN * largest[beyond[-1]]:
        return 0.0
    return float(h[beyond[-1] + 1])


def _open(
    primal: Primal, moved: list[int], sizes: Vector, claimed: Matrix, values: Matrix, bars: Matrix
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the entries that outputs side by side leave open, or speak against.

    Outputs that are measured together share their steps. One of many that jumps, or bends, is left with the bar it has,
    and where several jump, to close in on each is for each alone.
    """
    is_open = np.zeros(bars.shape, dtype=bool)
    for i in moved:
        part = slice(primal.leaves[i].start, primal.leaves[i].stop)
        block = claimed[:, part] * sizes[part]
        typical = float(np.linalg.norm(block)) / math.sqrt(block.size) if block.size else 0.0
        off = np.abs(claimed[:, part] - values[:, part])
        is_open[:, part] = (bars[:, part] * sizes[part] > WIDE * typical) | ~(off <= bars[:, part])
    rows, columns = np.nonzero(is_open)
    return rows, columns


def _moduli(values: Matrix, layout: Layout, axis: int) -> Matrix:
    """Entry by entry the absolute value, of a complex entry that of both of its parts, in either place."""
    moduli = np.abs(values)
    for origin in layout.origins:
        if origin.is_complex:
            parts = [slice(layout.leaves[i].start, layout.leaves[i].stop) for i in origin.parts]
            indices = [(slice(None), part) if axis == 1 else (part, slice(None)) for part in parts]
            whole = np.hypot(moduli[indices[0]], moduli[indices[1]])
            for index in indices:
                moduli[index] = whole
    return moduli
