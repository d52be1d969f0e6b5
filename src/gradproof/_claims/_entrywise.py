"""Every entry of a known matrix by itself: f along one input after the other, all outputs judged together.

A pair of values per input where f has shown itself smooth, whose bar allows for the noise and for `TRUST` times the
curvature and third derivative of each output, as for single entries of a gradient; a slope where it has not, or where
a pair looks odd. What deviates is measured again on a ladder of its own, and the scalar proof confirms the entries with
the clearest deviations before anything is called wrong.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._claims._around import Around
from gradproof._claims._claimed import Claimed
from gradproof._claims._lines import EPS64, Learned, Line, Lines, learn_all
from gradproof._claims._proved import Measurement, random_note
from gradproof._claims._rows import Doubt, scale_of
from gradproof._line import TRUST
from gradproof._problem import Problem, Samples
from gradproof._prove import Direction, Directions, Limits, Question
from gradproof._prove._judge import REACH, Look, confirm, kinked
from gradproof._prove._ledger import wide_note
from gradproof._prove._measure import Meter
from gradproof._report import LeafResult, Reason, Verdict, worst

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Entries, and inputs, that are measured once more before the others are believed to be wrong, too.
CONFIRMED = 20
# Values of f that are judged at once: they fit into a cache.
BLOCK = 200_000
# Bar relative to a typical entry that will do where a pair of values does not.
TARGET = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryErrors:
    """Entries that are wrong: rows and columns, the clearest first."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    sizes: Vector
    eps: float
    rtol: float


class Entries:
    """Measure all entries of a claimed matrix.

    Parameters
    ----------
    claimed : Claimed
        With a matrix of more than one row, and at least one measured leaf.
    options : Options
    eps : float
        Relative precision of f, as declared.
    around : Around

    Attributes
    ----------
    sizes : ndarray (m,)
        Natural size of an entry in each row.
    wrong : EntryErrors or None
        Set by `run` where entries are wrong.
    """

    def __init__(self, claimed: Claimed, options: _prove.Options, *, eps: float, around: Around) -> None:
        assert claimed.matrix is not None
        self.claimed = claimed
        self.matrix = claimed.matrix
        self.options = options
        self.around = around
        self.eps = eps
        self.limits = Limits(rtol=options.rtol, max_bound=options.max_bound, confidence=options.confidence)
        self.lines = Lines(claimed, eps=eps, seed=options.seed, around=around)
        problem = self.lines.problem
        self.directions = Directions(
            problem.leaves,
            problem.point,
            np.zeros(len(problem.point)),
            options.seed,
            self.lines.lower,
            self.lines.upper,
        )
        self.scale = scale_of(claimed, self.directions.natural)
        self.steps = self.directions.natural * np.where(self.directions.inward != 0, self.directions.inward, 1)
        self.m, self.n = self.matrix.shape
        # Norm of the rows, or what stands for it where they are zero, shared among their entries.
        self.sizes = 1 / self.scale.weights / math.sqrt(self.n)
        self.residual = np.empty((self.n, self.m))
        self.bar = np.empty((self.n, self.m))
        self.kinks = False
        # Whether f gave different values at the same point.
        self.random = False
        self.wrong: EntryErrors | None = None

    def run(self) -> Measurement | Doubt:
        """Measure, measure again what deviates, and settle every leaf."""
        everything = tuple(range(len(self.directions.leaves)))
        v = self.directions.vector(Direction(0, everything, (1.0,) * len(everything))).copy()
        inside = self.directions.inward == 0
        if inside.any():
            # What can move one way only would make the whole line one-sided.
            v[~inside] = 0.0
        first = self.lines.measure(v, self.scale.rows)
        if not self.lines.moved or not np.isfinite(first.bar).all():
            return Doubt()
        self.random = first.slope.repeats_differ
        self.eps = max(self.eps, first.slope.eps)
        learned = learn_all(first.slope, self.scale.rows) if first.slope.side == 0 else None
        rtol = self.limits.tolerance(self.eps)
        self.tolerance = REACH * rtol * self.sizes
        odd = np.ones(self.n, dtype=bool)
        if learned is not None and learned.smooth:
            odd = self._pairs(learned)
        against = self._against()
        failing = against.any(axis=1)
        for j in np.flatnonzero(odd & ~failing).tolist():
            self._column(j, learned if inside[j] else None)
        # What deviates, on steps of its own: of many inputs, those with the clearest deviations.
        contrast = np.max(np.where(against, np.abs(self.residual) / np.maximum(self.bar, 1e-300), 0.0), axis=1)
        again = np.flatnonzero(failing)
        for j in again[np.argsort(-contrast[again])][:CONFIRMED].tolist():
            self._column(j, None)
        against = self._against()
        if against.any():
            self._confirm(against, rtol)
        if self.wrong is None and self.kinks:
            return Doubt()
        return self._settle(rtol)

    def _pairs(self, learned: Learned) -> Mask:
        """A pair of values per input; which inputs look odd."""
        sigma = learned.known.noise
        typical = float(np.median(learned.third * self.scale.weights))
        cubic = np.maximum(TRUST * learned.third, np.maximum(1.0, 10 * typical) / self.scale.weights)
        square = np.maximum(TRUST * learned.curvature, 1 / self.scale.weights)
        step = _best_step(5 * sigma / math.sqrt(2) * self.scale.weights, cubic * self.scale.weights, learned)
        odd = np.zeros(self.n, dtype=bool)
        count = max(1, BLOCK // (2 * self.m))
        jitter = step * np.asarray(self.lines.jitter.uniform(0.85, 1.15, self.n), dtype=np.float64)
        f0 = learned.known.f0
        for start in range(0, self.n, count):
            block = slice(start, min(start + count, self.n))
            h = jitter[block, None]
            plus, minus = self._values(block, jitter)
            claimed = self.matrix[:, block].T * self.steps[block, None]
            self.residual[block] = (plus - minus) / (2 * h) - claimed
            bar = 5 * sigma / (math.sqrt(2) * h) + cubic * h**2
            self.bar[block] = bar + 8 * EPS64 * np.abs(claimed)
            even = np.abs((plus + minus) / 2 - f0)
            expected = square * h**2 + 8 * sigma
            wide = np.linalg.norm(bar * self.scale.weights, axis=1) > 1e-3 * math.sqrt(self.m / self.n)
            odd[block] = wide | ~(even <= expected).all(axis=1) | ~np.isfinite(self.residual[block]).all(axis=1)
        return odd | (self.directions.inward != 0)

    def _values(self, block: slice, jitter: Vector) -> tuple[Vector, Vector]:
        """Values on both sides of every input of a block, (k, m) each."""
        both = np.full((2, block.stop - block.start, self.m), math.nan)
        free = np.flatnonzero(self.directions.inward[block] == 0)
        entries = free + block.start
        moves = self.steps[entries] * jitter[entries]
        both[:, free] = self.lines.beside(np.tile(entries, 2), np.concatenate([moves, -moves])).reshape(2, len(free), -1)
        return both[0], both[1]

    def _column(self, j: int, learned: Learned | None) -> None:
        """Measure the slopes along one input."""
        v = np.zeros(self.n)
        v[j] = self.steps[j]
        known = None if learned is None else learned.known
        line = self.lines.measure(v, self.sizes, known=known, target=TARGET)
        if known is not None and self._is_wide(line):
            line = self.lines.measure(v, self.sizes, target=TARGET)
        if self._is_wide(line):
            line, disagree = self.lines.witnessed(line, self.tolerance)
            line = dataclasses.replace(line, bar=np.where(disagree, np.inf, line.bar))
        found = line.slope
        bent = np.abs(found.jump) > np.maximum(3 * found.jump_bar, 10 * self.tolerance)
        bent &= line.deviation <= np.abs(found.jump) / 2 + line.bar + self.tolerance
        self.kinks |= found.side == 0 and bool(bent.any())
        assert line.claimed is not None
        self.residual[j] = np.where(np.isfinite(line.bar), line.value - line.claimed, 0.0)
        self.bar[j] = line.bar

    def _is_wide(self, line: Line) -> bool:
        """Whether inputs with bars like this one's could not be certified together."""
        norm = float(np.linalg.norm(line.bar * self.scale.weights))
        return not norm <= 0.1 * self.limits.largest_bound(self.eps) * math.sqrt(self.m / self.n)

    def _against(self) -> Mask:
        with np.errstate(invalid="ignore"):
            return np.abs(self.residual) > self.bar + self.tolerance

    def _confirm(self, against: Mask, rtol: float) -> None:
        """Ask the scalar proof about the clearest deviations; what it does not exclude is the bar of that entry."""
        j, i = np.nonzero(against)
        sizes = np.abs(self.residual[j, i])
        order = np.argsort(-sizes / np.maximum(self.bar[j, i], 1e-300), kind="stable")
        j, i, sizes = j[order], i[order], sizes[order]
        keep = np.ones(len(order), dtype=bool)
        for k in range(min(CONFIRMED, len(order))):
            keep[k] = self._excludes(int(i[k]), int(j[k]))
        if not keep[:CONFIRMED].any():
            keep[:] = False
        excused = ~keep
        self.bar[j[excused], i[excused]] = np.maximum(self.bar, np.abs(self.residual))[j[excused], i[excused]]
        if keep.any():
            self.wrong = EntryErrors(rows=i[keep], columns=j[keep], sizes=sizes[keep], eps=self.eps, rtol=rtol)

    def _excludes(self, i: int, j: int) -> bool:
        """Whether a scalar proof of output i excludes the claim for input j."""
        u = np.zeros(self.m)
        u[i] = 1.0
        problem = Problem(
            self.claimed.primal,
            self.claimed.pieces(self.matrix[i]),
            cotangent=u,
            eps=self.eps,
            samples=Samples(),
        )
        seed = self.options.seed
        directions = Directions(problem.leaves, problem.point, problem.claim, seed, self.lines.lower, self.lines.upper)
        leaf = next(k for k, one in enumerate(problem.leaves) if one.start <= j < one.stop)
        size = self.sizes[i] * directions.unit

        def ask() -> Generator[Question, Vector, bool]:
            meter = Meter(directions, self.eps)
            direction = Direction(stream=-1, group=(leaf,), scales=(1.0,), entry=j)
            tolerance = REACH * self.limits.tolerance(self.eps) * size
            measured = yield from meter.slope(direction, size)
            if not measured.finite or kinked(measured, tolerance) or measured.deviation <= measured.bar + tolerance:
                return False
            again = yield from confirm(meter, measured, tolerance)
            return again.look is Look.EXCLUDED

        def scaled() -> Generator[Question, Vector, bool]:
            asking = ask()
            try:
                question = next(asking)
                while True:
                    question = asking.send(directions.unit * (yield question))
            except StopIteration as finished:
                return finished.value

        return _run.answer(scaled(), problem, directions)

    def _settle(self, rtol: float) -> Measurement:
        largest = self.limits.largest_bound(self.eps)
        results: dict[int, LeafResult] = {}
        for i, leaf in zip(self.claimed.measured, self.claimed.leaves, strict=True):
            part = slice(leaf.start, leaf.stop)
            errors = (np.abs(self.residual[part]) + self.bar[part]) * self.scale.weights
            off = np.abs(self.residual[part]) * self.scale.weights
            norm = max(
                float(np.linalg.norm(self.scale.weighted[:, part])), 1e-13 * float(np.linalg.norm(self.scale.weighted))
            )
            bound = float(np.linalg.norm(errors)) / norm
            flat = not self.scale.weighted[:, part].any()
            correct, note = bound <= largest or flat, "flat: f does not change" if flat else ""
            verdict = Verdict.CORRECT if correct else Verdict.INCONCLUSIVE
            if self.wrong is not None:
                chosen = (self.wrong.columns >= leaf.start) & (self.wrong.columns < leaf.stop)
                if chosen.any():
                    verdict, note = Verdict.WRONG, "wrong entries"
                    off = off[
                        self.wrong.columns[chosen] - leaf.start,
                        self.wrong.rows[chosen],
                    ]
            elif not correct:
                note = wide_note(bound)
            shown = verdict is not Verdict.WRONG and not flat and bound < 1
            rms = norm / math.sqrt(leaf.size * self.m)
            results[i] = LeafResult(
                path=leaf.path,
                shape=leaf.shape,
                dtype=leaf.dtype,
                verdict=verdict,
                bound=bound if shown else None,
                deviation=None if flat else float(np.linalg.norm(off) if off.ndim == 1 else off.max()) / norm,
                noticeable=float(errors.max()) / rms if shown else None,
                note=note,
            )
        return Measurement(
            results=results,
            verdict=worst(leaf.verdict for leaf in results.values()),
            reason=Reason.STOCHASTIC if self.random else Reason.PRECISION if self.eps > 1e-12 else Reason.NOISE,
            findings=(random_note(),) if self.random else (),
            eps=self.eps,
            rtol=rtol,
            level="entries",
        )


def _best_step(noise: Vector, cubic: Vector, learned: Learned) -> float:
    """The step of all pairs: the one with the smallest bars, noise / h + cubic h**2, over all outputs."""
    top = float(learned.known.levels[0])
    steps = np.geomspace(min(learned.known.finest, top), top, 40)
    bars = noise[:, None] / steps + cubic[:, None] * steps**2
    return float(steps[np.argmin(np.sum(bars**2, axis=0))])
