"""Every entry of a known matrix by itself: f along one input after the other, all outputs judged together.

A pair of values per input where f has shown itself smooth, whose bar allows for the noise and for `TRUST` times the
curvature and third derivative of each output, as for single entries of a gradient; a slope where it has not, or where
a pair looks odd. What deviates is measured again on a ladder of its own, and the scalar proof confirms the entries with
the clearest deviations before anything is called wrong.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._base._precision import EPS64, is_double
from gradproof._claims._around import Around
from gradproof._claims._claimed import Claimed
from gradproof._claims._lines import Learned, Line, Lines, learn_all
from gradproof._claims._proved import Measurement, leaf_result, random_note
from gradproof._claims._rows import Doubt, scale_of
from gradproof._function._problem import Problem, Samples
from gradproof._line import TRUST, Known
from gradproof._prove import Direction, Directions, Question
from gradproof._prove._bends import kinked
from gradproof._prove._confirm import Look, confirm
from gradproof._prove._flat import FLAT_NOTE, QUIET, UNTESTED_NOTE
from gradproof._prove._jumps import excuse_notice, jumps_nearby, largest_excuse
from gradproof._prove._ledger import wide_note
from gradproof._prove._measure import Excuse, Meter
from gradproof._prove._tolerance import CANCELLED, INNER_PRODUCT, LEAST, REACH, irregular, is_kink
from gradproof._prove._wording import write_notice
from gradproof._report import Finding, LeafResult, Reason, Verdict, worst

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Entries, and inputs, that are measured once more before the others are believed to be wrong, too.
CONFIRMED = 20
# Values of f that are judged at once: they fit into a cache.
BLOCK = 100_000
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


class Seen:
    """What was measured along every input, reduced to what decides; in full only where an output deviates.

    All is in the natural sizes of the outputs.

    Attributes
    ----------
    squares, errors, largest : ndarray (n,)
        Of every input, over all outputs: sum of squares, and maximum, of deviation and bar together, and the largest
        deviation.
    failing : ndarray of bool (n,)
        Whether any output deviates by more than its bar and tolerance.
    """

    def __init__(self, n: int) -> None:
        # (What has not been measured is not known to be right.)
        self.squares, self.errors = np.full((2, n), np.inf)
        self.largest = np.zeros(n)
        self.failing = np.zeros(n, dtype=bool)
        # Deviations and bars (m,) of the failing ones.
        self._full: dict[int, tuple[Vector, Vector]] = {}

    def put(self, inputs: NDArray[np.intp], residual: Vector, bar: Vector, tolerance: Vector) -> Mask:
        """Note what was measured along some inputs (k, m), with bars (m,); where it is finite (k,).

        The tolerance is (m,) or (k, m).
        """
        off = np.abs(residual, out=residual)
        with np.errstate(invalid="ignore"):
            self.failing[inputs] = (off > bar + tolerance).any(axis=1)
        for k in np.flatnonzero(self.failing[inputs]).tolist():
            self._full[int(inputs[k])] = off[k].copy(), bar.copy()
        self.largest[inputs] = off.max(axis=1)
        off += bar
        self.squares[inputs] = np.einsum("ij,ij->i", off, off)
        self.errors[inputs] = off.max(axis=1)
        return np.isfinite(self.largest[inputs])

    def clearest(self) -> NDArray[np.intp]:
        """The failing inputs, that with the clearest deviation first."""
        inputs = np.flatnonzero(self.failing)
        full = [self._full[j] for j in inputs.tolist()]
        contrast = [float(np.max(off / np.maximum(bar, 1e-300))) for off, bar in full]
        return inputs[np.argsort(-np.array(contrast), kind="stable")]

    def against(self, tolerance: Vector, shares: Vector) -> tuple[NDArray[np.intp], NDArray[np.intp], Vector]:
        """All outputs and inputs that deviate, and by how much; the clearest first.

        `shares` (n,) of the tolerance (m,) are what holds along each input.
        """
        inputs = np.flatnonzero(self.failing)
        off, bar = (np.array(part) for part in zip(*(self._full[j] for j in inputs.tolist()), strict=True))
        with np.errstate(invalid="ignore"):
            k, i = np.nonzero(off > bar + tolerance * shares[inputs][:, None])
        off, bar = off[k, i], bar[k, i]
        order = np.argsort(-off / np.maximum(bar, 1e-300), kind="stable")
        return i[order], inputs[k[order]], off[order]

    def excuse(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> None:
        """Widen the bars of some entries to their deviations."""
        for column in np.unique(j).tolist():
            off, bar = self._full[column]
            rows = i[j == column]
            bar[rows] = np.maximum(bar[rows], off[rows])
            self.put(np.array([column]), off[None].copy(), bar, np.full(len(bar), np.inf))

    def norm(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> float:
        """Norm of the deviations of some entries."""
        return math.hypot(*(float(np.linalg.norm(self._full[k][0][i[j == k]])) for k in np.unique(j).tolist()))


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
    shares : ndarray (n,)
        What an entry is held to along each input, relative to that.
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
        self.limits = options.limits
        self.lines = Lines(claimed, eps=eps, seed=options.seed, around=around, collector=options.collector)
        problem = self.lines.problem
        self.directions = Directions(
            problem.leaves,
            problem.point,
            np.zeros(len(problem.point)),
            options.seed,
            self.lines.lower,
            self.lines.upper,
        )
        self.scale = scale_of(claimed, self.directions.natural, max(eps, options.claim_eps))
        self.steps = self.directions.natural * np.where(self.directions.inward != 0, self.directions.inward, 1)
        self.m, self.n = self.matrix.shape
        # Norm of the rows, or what stands for it where they are zero, shared among their entries.
        self.sizes = 1 / self.scale.weights / math.sqrt(self.n)
        self.shares = self._shares()
        self.seen = Seen(self.n)
        self.kinks = False
        # Whether f gave different values at the same point.
        self.random = False
        self.wrong: EntryErrors | None = None
        # Smallest relative error of each output worth an accusation, as far as its own jumps allow, and these (with the
        # factor that values of f were multiplied by).
        self.regularity = np.zeros(self.m)
        self.excuses: list[tuple[Excuse, float]] = []

    def _shares(self) -> Vector:
        """How much less along each input counts: bounds weight entries by how far x may move, and errors do not."""
        moves = np.abs(self.steps)
        typical = math.sqrt(float(np.mean(np.square(moves))))
        if not is_double(max(self.eps, self.options.claim_eps)) or not typical > 0:
            return np.ones(len(moves))
        found: Vector = np.clip(moves / typical, LEAST, 1.0)
        return found

    def run(self) -> Measurement | Doubt:
        """Measure, measure again what deviates, and settle every leaf."""
        everything = tuple(range(len(self.directions.leaves)))
        if not self.scale.weighted.any():
            return Doubt()
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
        self.tolerance = REACH * rtol * self.sizes + self.scale.rounding / math.sqrt(self.n)
        odd = np.ones(self.n, dtype=bool)
        if learned is not None and learned.smooth:
            odd = self._pairs(learned)
        odd &= ~self.seen.failing
        held = np.flatnonzero(self.steps == 0)
        if held.size:
            # Their bounds hold them where they are: nothing that is claimed of them can be held against f.
            nothing = np.zeros((held.size, len(self.sizes)))
            self.seen.put(held, nothing, nothing[0].copy(), self.tolerance)
            odd[held] = False
        self._columns(np.flatnonzero(odd & inside), learned)
        self._columns(np.flatnonzero(odd & ~inside), None)
        # What deviates, on steps of its own: of many inputs, those with the clearest deviations.
        self._columns(self.seen.clearest()[:CONFIRMED], None)
        if self.seen.failing.any():
            with self.claimed.primal.watch.during("confirming"):
                self._confirm(rtol)
        if self.wrong is None and self.kinks:
            return Doubt()
        return self._settle(rtol)

    def _pairs(self, learned: Learned) -> Mask:
        """A pair of values per input; which inputs look odd."""
        sigma = learned.known.noise
        weights = self.scale.weights
        typical = float(np.median(learned.third * weights))
        cubic = np.maximum(TRUST * learned.third, np.maximum(1.0, 10 * typical) / weights)
        square = np.maximum(TRUST * learned.curvature, 1 / weights)
        noise = 5 * sigma / math.sqrt(2)
        step = _best_step(noise * weights, cubic * weights, learned)
        odd = self.directions.inward != 0
        count = max(_run.LEAST, BLOCK // (2 * self.m))
        starts = range(0, self.n, count)
        for start, factor in zip(starts, self.lines.jitter.uniform(0.85, 1.15, len(starts)).tolist(), strict=True):
            inputs, h = np.arange(start, min(start + count, self.n)), step * factor
            inputs = inputs[~odd[inputs]]
            if not inputs.size:
                continue
            self.claimed.primal.watch.measure(len(inputs), of=self.n, each=2)
            plus, minus = self._values(inputs, h)
            bar = noise / h + cubic * h**2
            if np.linalg.norm(bar * weights) > 1e-3 * math.sqrt(self.m / self.n):
                odd[inputs] = True
            # (No entry of the claim's own product is larger than its row.)
            bar += INNER_PRODUCT * EPS64 * self.scale.rows
            residual = plus - minus
            residual *= weights / (2 * h)
            # (A slice where that will do: it takes no copy.)
            whole = slice(start, start + len(inputs)) if inputs[-1] - start < len(inputs) else inputs
            residual -= self.scale.weighted[:, whole].T
            plus += minus
            plus -= 2 * learned.known.f0
            odd[inputs] |= ~(np.abs(plus, out=plus) <= 2 * (square * h**2 + 8 * sigma)).all(axis=1)
            allowed = self.tolerance * weights * self.shares[inputs][:, None]
            odd[inputs] |= ~self.seen.put(inputs, residual, bar * weights, allowed)
        self.claimed.primal.watch.measure(0, of=0, each=0)
        return odd

    def _values(self, inputs: NDArray[np.intp], step: float) -> tuple[Vector, Vector]:
        """Values on both sides of some inputs, (k, m) each."""
        moves = self.steps[inputs] * step
        both = self.lines.beside(np.tile(inputs, 2), np.concatenate([moves, -moves]))
        return both[: len(inputs)], both[len(inputs) :]

    def _columns(self, entries: NDArray[np.intp], learned: Learned | None) -> None:
        """Measure the slopes along some inputs."""
        known = None if learned is None else learned.known
        wide: list[int] = []
        for j, line in zip(entries.tolist(), self._lines_along(entries, known), strict=True):
            if known is not None and self._is_wide(line):
                wide.append(j)
            else:
                self._take(j, line)
        again = np.array(wide, dtype=np.intp)
        for j, line in zip(wide, self._lines_along(again, None), strict=True):
            self._take(j, line)

    def _lines_along(self, entries: NDArray[np.intp], known: Known | None) -> Iterator[Line]:
        return self.lines.columns(entries, self.steps[entries], self.sizes, known=known, target=TARGET)

    def _take(self, j: int, line: Line) -> None:
        """Note what a line along an input says."""
        if self._is_wide(line):
            line, disagree = self.lines.witnessed(line, self.tolerance)
            line = dataclasses.replace(line, bar=np.where(disagree, np.inf, line.bar))
        found = line.slope
        bent = is_kink(found.jump, found.jump_bar, self.tolerance)
        bent &= line.deviation <= np.abs(found.jump) / 2 + line.bar + self.tolerance
        self.kinks |= found.side == 0 and bool(bent.any())
        assert line.claimed is not None
        weights = self.scale.weights
        residual = np.where(np.isfinite(line.bar), line.value - line.claimed, 0.0) * weights
        self.seen.put(np.array([j]), residual[None], line.bar * weights, self.tolerance * weights * self.shares[j])

    def _is_wide(self, line: Line) -> bool:
        """Whether inputs with bars like this one's could not be certified together."""
        norm = float(np.linalg.norm(line.bar * self.scale.weights))
        return not norm <= 0.1 * self.limits.largest_bound(self.eps) * math.sqrt(self.m / self.n)

    def _confirm(self, rtol: float) -> None:
        """Ask the scalar proof about the clearest deviations; what it does not exclude is the bar of that entry."""
        i, j, sizes = self.seen.against(self.tolerance * self.scale.weights, self.shares)
        keep = np.ones(len(i), dtype=bool)
        for k in range(min(CONFIRMED, len(i))):
            keep[k] = self._excludes(int(i[k]), int(j[k]))
        # An output that jumps along one input is no smoother along others, though no jump may be met there.
        keep &= sizes > REACH * (self.regularity * self.sizes * self.scale.weights)[i]
        if not keep[:CONFIRMED].any():
            keep[:] = False
        self.seen.excuse(i[~keep], j[~keep])
        if keep.any():
            self.wrong = EntryErrors(
                rows=i[keep], columns=j[keep], sizes=(sizes / self.scale.weights[i])[keep], eps=self.eps, rtol=rtol
            )

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
        size = self.sizes[i] * float(self.shares[j]) * directions.unit

        meter = Meter(directions, self.eps)

        def ask() -> Generator[Question, Vector, bool]:
            direction = Direction(stream=-1, group=(leaf,), scales=(1.0,), entry=j)
            tolerance = self.limits.allowance(self.eps, size, size)
            measured = yield from meter.slope(direction, size)
            if not measured.finite or kinked(measured, tolerance) or measured.deviation <= measured.bar + tolerance:
                return False
            again = yield from confirm(meter, measured, tolerance)
            if again.look is Look.IRREGULAR:
                self.regularity[i] = max(self.regularity[i], irregular(measured.deviation, size))
            if again.look is not Look.EXCLUDED:
                return False
            # (As before a whole leaf is accused: a solver that stops early makes a sawtooth of f.)
            return not (yield from jumps_nearby(meter, again.measured))

        def scaled() -> Generator[Question, Vector, bool]:
            asking = ask()
            try:
                question = next(asking)
                while True:
                    question = asking.send(directions.unit * (yield question))
            except StopIteration as finished:
                return finished.value

        excludes = _run.answer(scaled(), problem, directions)
        self.excuses += [(one, directions.unit) for one in meter.excuses if one.tread is None]
        return excludes

    def _excuse_note(self) -> tuple[Finding, ...]:
        """What jumps of f excuse, if they do: the largest, with both numbers."""
        if not self.excuses:
            return ()
        largest = largest_excuse([one for one, _ in self.excuses])
        unit = next(unit for one, unit in self.excuses if one is largest)
        measured = largest.measured
        notice = dataclasses.replace(
            excuse_notice(largest, unit),
            claimed=measured.claimed / unit,
            reference=measured.value / unit,
            error_bar=measured.bar / unit,
        )
        return (write_notice(notice),)

    def _settle(self, rtol: float) -> Measurement:
        largest = self.limits.largest_bound(self.eps)
        results: dict[int, LeafResult] = {}
        columns = np.einsum("ij,ij->j", self.scale.weighted, self.scale.weighted)
        for i, leaf in zip(self.claimed.measured, self.claimed.leaves, strict=True):
            part = slice(leaf.start, leaf.stop)
            norm, whole = math.sqrt(float(columns[part].sum())), math.sqrt(float(columns.sum()))
            flat = norm <= CANCELLED * max(self.eps, self.options.claim_eps) * whole
            note = "" if not flat else FLAT_NOTE if norm > 0 else "flat: f does not change"
            # A claim that is no more than rounding beside the others is held against these.
            norm = whole if flat else norm
            bound = math.sqrt(float(np.sum(self.seen.squares[part]))) / norm
            deviation = float(self.seen.largest[part].max())
            correct = bound <= (min(largest, QUIET) if flat else largest)
            verdict = Verdict.CORRECT if correct else Verdict.INCONCLUSIVE
            if self.wrong is not None:
                chosen = (self.wrong.columns >= leaf.start) & (self.wrong.columns < leaf.stop)
                if chosen.any():
                    verdict, note = Verdict.WRONG, "wrong entries"
                    deviation = self.seen.norm(self.wrong.rows[chosen], self.wrong.columns[chosen])
            elif not correct:
                note = UNTESTED_NOTE if flat else wide_note(bound)
            shown = verdict is not Verdict.WRONG and not flat and bound < 1
            moves = np.abs(self.steps[part])
            with np.errstate(divide="ignore", invalid="ignore"):
                # (Of the Jacobian itself, not as the bound weights it.)
                plain = float(np.where(moves > 0, columns[part] / moves**2, 0.0).sum()) / (leaf.size * self.m)
                worst_error = np.where(moves > 0, self.seen.errors[part] / moves, 0.0).max()
            results[i] = leaf_result(
                leaf,
                verdict,
                bound=bound if shown else None,
                deviation=None if flat else deviation / norm,
                noticeable=float(worst_error) / math.sqrt(plain) if shown and plain > 0 else None,
                note=note,
            )
        return Measurement(
            results=results,
            verdict=worst(leaf.verdict for leaf in results.values()),
            reason=Reason.STOCHASTIC if self.random else self.limits.why_wide(self.eps),
            findings=((random_note(),) if self.random else ()) + self._excuse_note(),
            eps=self.eps,
            rtol=max(rtol, float(self.regularity.max())),
            level="entries",
        )


def _best_step(noise: Vector, cubic: Vector, learned: Learned) -> float:
    """The step of all pairs: the one with the smallest bars, noise / h + cubic h**2, over all outputs."""
    top = float(learned.known.levels[0])
    steps = np.geomspace(min(learned.known.finest, top), top, 40)
    bars = noise[:, None] / steps + cubic[:, None] * steps**2
    return float(steps[np.argmin(np.sum(bars**2, axis=0))])
