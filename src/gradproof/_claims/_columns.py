"""Slopes of all outputs along single entries of x, many side by side: what they ask for is evaluated together."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._function._problem import Problem
from gradproof._line import Slope, slope

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Evaluate = Callable[[NDArray[np.intp], Vector], Matrix]

# Values that are held at once (32 MB), and levels of a line as a rule.
VALUES, PER_LINE = 4_000_000, 24
# No more lines side by side than that: what they share (values at x itself) is to be seen to change.
MOST = 256


def slopes(
    problem: Problem,
    evaluate: Evaluate,
    jitter: np.random.Generator,
    entries: NDArray[np.intp],
    moves: Vector,
    bounds: tuple[Vector, Vector] | None = None,
    rows: NDArray[np.intp] | None = None,
    scale: Vector | None = None,
    **options: Any,
) -> Iterator[Slope]:
    """Measure the slope along each of some entries.

    Parameters
    ----------
    problem : Problem
        Whose outputs are measured.
    evaluate : callable
        ``evaluate(entries, moves) -> (k, m)``: its values with one entry of x moved.
    jitter : numpy.random.Generator
    entries : ndarray of int (k,)
    moves : ndarray (k,)
        How far each moves at a step of 1.
    bounds : (lower, upper), each (n,), or None
        What no step may leave.
    rows : ndarray of int (k,), or None
        The one output that is measured along each entry, which may be named several times; None measures all of them.
    scale : ndarray, or None
        Natural size of the slope of each output (m,), or with `rows` of each line (k,).
    **options
        For `gradproof._line.slope`.
    """
    m = problem.primal.outputs.size if problem.primal.is_vector else 1
    count = min(MOST, max(1, VALUES // (PER_LINE * m)))
    for start in range(0, len(entries), count):
        part = slice(start, start + count)
        scales: Any = [0.0 if scale is None else scale] * len(entries[part])
        if rows is not None and scale is not None:
            scales = scale[part]
        group = _Group(problem, evaluate, entries[part], moves[part], bounds, m, None if rows is None else rows[part])
        yield from group.run([slope(jitter, scale=one, **options) for one in scales])


class _Group:
    """Lines that are measured side by side, and share the values at x itself."""

    def __init__(
        self,
        problem: Problem,
        evaluate: Evaluate,
        entries: NDArray[np.intp],
        moves: Vector,
        bounds: tuple[Vector, Vector] | None,
        m: int,
        rows: NDArray[np.intp] | None,
    ) -> None:
        self.problem, self.evaluate = problem, evaluate
        self.entries, self.moves, self.m, self.rows = entries, moves, m, rows
        self.first, self.last = np.full(len(entries), -math.inf), np.full(len(entries), math.inf)
        if bounds is not None:
            ends = np.array([(side[entries] - problem.point[entries]) / moves for side in bounds])
            self.first, self.last = ends.min(axis=0), ends.max(axis=0)
        self.at_point: list[Vector] = []
        self.visits = [0] * len(entries)

    def run(self, lines: list[Generator[Vector, Matrix, Slope]]) -> list[Slope]:
        """Answer all lines until the last one is done."""
        done: dict[int, Slope] = {}
        asked = {k: next(line) for k, line in enumerate(lines)}
        while asked:
            answers = self._answers(asked)
            asked = {}
            for k, values in answers.items():
                try:
                    asked[k] = lines[k].send(values)
                except StopIteration as finished:
                    done[k] = finished.value
        return [done[k] for k in range(len(lines))]

    def _answers(self, asked: dict[int, Vector]) -> dict[int, Matrix]:
        """Values at all steps of all lines; nan outside the bounds."""
        counts = [len(steps) for steps in asked.values()]
        line = np.repeat(list(asked), counts)
        steps = np.concatenate(list(asked.values()))
        values = np.full((len(steps), self.m), math.nan)
        for i in np.flatnonzero(steps == 0):
            values[i] = self._at_point(int(line[i]))
        beside = np.flatnonzero((steps != 0) & (self.first[line] <= steps) & (steps <= self.last[line]))
        values[beside] = self.evaluate(self.entries[line[beside]], self.moves[line[beside]] * steps[beside])
        if self.rows is not None:
            values = values[np.arange(len(steps)), self.rows[line], None]
        return dict(zip(asked, np.split(values, np.cumsum(counts)[:-1]), strict=True))

    def _at_point(self, k: int) -> Vector:
        """The next value at x itself: every line sees the same ones."""
        self.visits[k] += 1
        if self.visits[k] > len(self.at_point):
            self.at_point.append(self.problem.primal.next_output_values())
        return self.at_point[self.visits[k] - 1]
