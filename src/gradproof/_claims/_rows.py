"""A known matrix against the slopes of all outputs along a few directions.

The bound. Let E be the error of a claimed matrix, every row relative to the norm of the claimed row, columns in
natural sizes. A line through all leaves measures ``E v`` row by row, so that every output has a deviation and a bar of
its own, and bounds its norm by ``b = norm(abs(deviation) + bar)``. v is drawn like the directions of a gradient, each
leaf scaled so that its block contributes alike. K lines that share nothing but f bound the Frobenius norm of E by
`spread` times the largest b (the law is derived there), and the block of a leaf, relative to its own norm, by that
over its share.

Outputs that are rounded much more coarsely than most (see `Cotangents.groups`) have a bound of their own beside those,
so that they cannot hide among the others; a leaf's bound is the larger one.

Nothing is accused here: whatever speaks against the claim, or is out of the ordinary (kinks, leaves that stand still),
is left to the scalar proofs.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove
from gradproof._base._precision import EPS64, is_double
from gradproof._claims._around import Around
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import Cotangents, rounding
from gradproof._claims._lines import Learned, Line, Lines, learn_all
from gradproof._claims._proved import Measurement, leaf_result, random_note
from gradproof._contracts import vanished
from gradproof._line import lowest_bit
from gradproof._prove import Direction, Directions
from gradproof._prove._laws import shared, spread
from gradproof._prove._ledger import wide_note
from gradproof._prove._measure import Meter
from gradproof._prove._prove import TIER
from gradproof._prove._tolerance import (
    BAR_OF_VALUE,
    REACH,
    ROW_OF_LARGEST,
    ROW_OF_VALUE,
    is_kink,
    steadied,
    typical_bound,
    unsaturated,
)
from gradproof._report import LeafResult, Reason, Verdict, worst

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Outputs up to which all are measured at once: the Neville tables of that many take half a second.
ELEMENTWISE = 10_000
# Directions: first, and at most in float64 and in lower precision, where every bar is wide.
FIRST, MOST, MOST_LOW = 3, 9, 24
# Lines of low precision that are measured again, each on a ladder of some 26 values: single outputs, which are judged
# where rows are not certified, take a thousand.
AGAIN = 6
# Claims too small to be told from 0 beside others, as in `gradproof._prove`.
NEGLIGIBLE = 1e-13


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Natural sizes of a claimed matrix.

    natural : (n,), how far each entry may move.
    rows : (m,), norm of each row in natural sizes.
    weights : (m,), their inverses; where a row is zero, that of how large its output is.
    groups : list of (m,), outputs that are bounded together.
    rounding : (m,), what the claim's own precision may do to each row.
    weighted : (m, n), the matrix in these sizes.
    """

    natural: Vector
    rows: Vector
    weights: Vector
    groups: list[Mask]
    rounding: Vector
    weighted: Vector


def scale_of(claimed: Claimed, natural: Vector, eps: float, terms: Vector | None = None) -> Scale:
    """Sizes of the rows of a known matrix of relative precision `eps`, as `Cotangents` weighs them.

    terms : (m,), sizes of the terms that f rounds on the way to each output, where these are more than it shows.
    """
    assert claimed.matrix is not None
    sized = claimed.matrix * natural
    rows = np.sqrt(np.einsum("ij,ij->i", sized, sized))
    if not np.isfinite(rows).all():
        rows = np.linalg.norm(sized / max(float(np.abs(sized).max()), 1e-300), axis=1) * float(np.abs(sized).max())
    values = claimed.primal.output_values()
    values = values if terms is None else np.maximum(np.abs(values), terms)
    rows = unsaturated(steadied(rows, eps), values)
    weights, groups = Cotangents.weigh(values, rows)
    sized *= weights[:, None]
    rounded = rounding(rows, eps, values)
    return Scale(natural=natural, rows=rows, weights=weights, groups=groups, rounding=rounded, weighted=sized)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doubt:
    """Why the lines alone do not settle the claim.

    rows, line : outputs that are to blame (may be none), and along which line.
    is_shared : whether leaves may be settled alone that are not together.
    """

    rows: tuple[int, ...] = ()
    line: Line | None = None
    is_shared: bool = False


def _cancelled(line: Line, rows: Vector, eps: float) -> Vector | None:
    """Sizes of terms that have cancelled in some rows (m,), 0 in the others; None where a line shows none.

    (1 + erf(x)) / 2 near 0 takes multiples of 2**-54 only: its terms are of size 1. Nothing of that shows in x times
    the same. Where the bar of a row that is nothing beside the largest is too wide, and no wider than rounding of the
    largest output makes it, the terms are taken to be of that size. A claim of 0 has no row whose size could count.
    """
    found = line.slope
    step = lowest_bit(np.concatenate([found.plus, found.minus, found.f0[None]]))
    coarse = np.isfinite(step) & (step > 8 * eps * np.abs(found.f0)) & (found.plus != found.f0).any(axis=0)
    largest = float(np.max(np.abs(found.f0)))
    is_nothing = rows <= ROW_OF_LARGEST * float(rows.max(initial=0.0))
    # (Along other lines a bar may be several times as wide.)
    is_lost = is_nothing & (line.bar > 0.1 * BAR_OF_VALUE / ROW_OF_VALUE * rows) & (line.bar <= BAR_OF_VALUE * largest)
    terms = np.maximum(np.where(coarse, step / EPS64, 0.0), np.where(is_lost, largest, 0.0))
    return np.where(rows > 0, terms, 0.0) if terms[rows > 0].any() else None


class Rows:
    """Certify a claimed matrix by the slopes of all outputs along a few directions.

    Parameters
    ----------
    claimed : Claimed
        With a matrix and at least one measured leaf.
    options : Options
    eps : float
        Relative precision of f, as declared.
    around : Around
    wider : mapping of int to float
        How much wider the bound of a leaf is because only some tangents of it were looked at; 1 by default.
    """

    def __init__(
        self,
        claimed: Claimed,
        options: _prove.Options,
        *,
        eps: float,
        around: Around,
        wider: dict[int, float] | None = None,
    ) -> None:
        assert claimed.matrix is not None
        self.claimed = claimed
        self.options = options
        self.matrix = claimed.matrix
        self.wider = wider or {}
        self.limits = options.limits
        self.lines = Lines(claimed, eps=eps, seed=options.seed, around=around, collector=options.collector)
        point, lower, upper = self.lines.problem.point, self.lines.lower, self.lines.upper
        leaves = self.lines.problem.leaves
        self.directions = Directions(leaves, point, np.zeros(len(point)), options.seed, lower, upper)
        self.eps = eps
        # Sizes of terms that have cancelled in some outputs, as the first line has shown them.
        self.terms: Vector | None = None
        self._weigh()
        self.seen: list[Line] = []
        self.deviation = 0.0
        self.learned: Learned | None = None
        # Lines that were measured again.
        self.again = 0
        # Whether f gave different values at the same point.
        self.random = False
        # Whether outputs are staircases: bars are as wide as in low precision, then.
        self.on_stairs = False

    def _weigh(self, terms: Vector | None = None) -> None:
        """Find the natural sizes of rows and leaves."""
        eps = max(self.eps, self.options.claim_eps)
        self.scale = scale_of(self.claimed, self.directions.natural, eps, terms)
        # In place of the claim: the norm of every column, all rows weighted alike.
        columns = np.sqrt(np.einsum("ij,ij->j", self.scale.weighted, self.scale.weighted))
        self.directions.claim = columns / self.directions.natural
        meter = Meter(self.directions, self.eps)
        self.norms = meter.norms
        self.tier = meter.tier(range(len(self.directions.leaves)))
        self.largest = [0.0] * len(self.scale.groups)

    def _start_over(self) -> bool:
        """Weigh anew, and forget the first line, where it shows that terms have cancelled; whether it did."""
        if len(self.seen) != 1 or self.terms is None:
            return False
        if np.array_equal(self.scale.rows, scale_of(self.claimed, self.directions.natural, self.eps, self.terms).rows):
            return False
        self._weigh(self.terms)
        self.seen.clear()
        self.deviation = 0.0
        if self.learned is not None:
            self.learned = dataclasses.replace(self.learned, scale=np.maximum(self.learned.scale, self.scale.rows))
        return True

    def run(self) -> Measurement | Doubt:
        """Measure lines until every leaf's bound is narrow enough, or nothing is gained by more."""
        if not self.norms.min() > NEGLIGIBLE * self.norms.max() or self.norms.max() > TIER * self.norms.min():
            return Doubt(is_shared=len(self.norms) > 1)
        n, stream, streams = self.tier.size, 0, self._plan()
        while streams:
            floor = streams.pop(0)
            doubt = self._look(stream, floor)
            if doubt is not None:
                return doubt
            stream += 1
            if stream == 1 and self._start_over():
                streams = self._plan()
            while not streams and n > 1:
                if self._worth_more():
                    streams.append(0.0)
                    continue
                again = self._narrow_widest()
                if isinstance(again, Doubt):
                    return again
                if not again:
                    break
        bounds = [self._bound(k, len(self.seen)) for k in range(len(self.claimed.leaves))]
        largest = self.limits.largest_bound(self.eps)
        if len(bounds) > 1 and max(bounds) > largest:
            # Leaves that share every line may do better alone.
            return Doubt(is_shared=True)
        return self._settle(bounds)

    def _plan(self) -> list[float]:
        """Floors of the first directions: 0 for random ones, a size for a balanced one where columns are tiny."""
        if self.tier.size == 1:
            return [0.0]
        floor = self._floor()
        return [0.0, 0.0, *([floor] if floor else []), 0.0]

    def _floor(self) -> float:
        """Size to which the columns are cut down in a balanced direction; 0 where none is needed."""
        scales = np.repeat(self.tier.scales, [leaf.size for leaf in self.directions.leaves])
        steps = self.directions.claim * self.directions.natural * scales
        rms = float(np.sqrt(np.mean(steps * steps)))
        positive = steps[steps > 0]
        floor = max(1e-6 * rms, float(positive.min()))
        return 0.0 if floor > 0.03 * rms and positive.size == steps.size else floor

    def _look(self, stream: int, floor: float) -> Doubt | None:
        """Measure one line; None if it agrees with the claim."""
        direction = Direction(stream=stream, group=self.tier.group, scales=self.tier.scales, floor=floor)
        v = self.directions.vector(direction).copy()
        # Rows in the size that they have along this direction.
        scaled = self._row_sizes(floor)
        learned = self.learned
        if learned is None:
            line = self.lines.measure(v, scaled)
        else:
            line = self.lines.measure(v, scaled if floor else learned.scale, known=learned.known)
        if not self.lines.moved or not np.isfinite(line.bar).all():
            return Doubt()
        found = line.slope
        self.eps = max(self.eps, found.eps)
        if learned is None and is_double(self.eps) and not found.side:
            self.terms = _cancelled(line, self.scale.rows, self.eps)
        self.on_stairs |= bool(found.stairs.any())
        tolerance = REACH * self.limits.tolerance(self.eps, balanced=floor > 0) * scaled
        share = np.where(scaled > 0, scaled / np.maximum(self.scale.rows, 1e-300), 1.0)
        tolerance += self.scale.rounding * np.where(vanished(self.scale.rows), 1.0, share)
        kinked = is_kink(found.jump, found.jump_bar, tolerance)
        if found.side == 0 and kinked.any():
            return Doubt()
        against = line.deviation > line.bar + tolerance
        if against.any():
            return Doubt(rows=tuple(np.flatnonzero(against).tolist()), line=line, is_shared=len(self.norms) > 1)
        self.random |= found.repeats_differ
        if floor:
            return None
        if learned is None and found.side == 0:
            self.learned = learn_all(found, scaled)
        if self._too_wide(line):
            line, disagree = self.lines.witnessed(line, tolerance)
            if disagree.any():
                return Doubt()
        self.seen.append(line)
        self.largest = [max(pair) for pair in zip(self.largest, self._left_open(line), strict=True)]
        self.deviation = max(self.deviation, float(np.linalg.norm(line.deviation * self.scale.weights)))
        return None

    def _left_open(self, line: Line) -> list[float]:
        """The largest norm of the error along a line that deviations and bars allow, for each group of rows."""
        weighted = (line.deviation + line.bar) * self.scale.weights
        return [float(np.linalg.norm(weighted[group])) for group in self.scale.groups]

    def _narrow_widest(self) -> bool | Doubt:
        """Measure the widest line on a whole ladder where a leaf is not CORRECT without it; whether it got narrower.

        Its steps suit the first direction of low precision, and need not suit another as well.
        """
        if is_double(self.eps) or self.learned is None or self.again >= AGAIN or len(self.seen) < 2:
            return False
        largest = self.limits.largest_bound(self.eps)
        if all(self._bound(k, len(self.seen)) <= largest for k in range(len(self.claimed.leaves))):
            return False
        open_ = [self._left_open(line) for line in self.seen]
        widest = int(np.argmax([max(one) for one in open_]))
        line = self.seen[widest]
        if line.slope.stage >= 2 or line.slope.side:
            return False
        self.again += 1
        scaled = self._row_sizes(0.0)
        again = self.lines.measure(line.v, scaled, known=self.learned.known, full=True)
        tolerance = REACH * self.limits.tolerance(self.eps) * scaled + self.scale.rounding
        against = again.deviation > again.bar + tolerance
        if against.any():
            return Doubt(rows=tuple(np.flatnonzero(against).tolist()), line=again)
        if again.slope.side or not max(self._left_open(again)) < max(open_[widest]):
            return False
        self.seen[widest], open_[widest] = again, self._left_open(again)
        self.largest = np.max(open_, axis=0).tolist()
        return True

    def _row_sizes(self, floor: float) -> Vector:
        if not floor and all(scale == 1 for scale in self.tier.scales):
            return self.scale.rows
        steps = np.repeat(self.tier.scales, [leaf.size for leaf in self.directions.leaves])
        if floor:
            columns = self.directions.claim * self.directions.natural * steps
            steps = steps * np.minimum(1.0, floor / np.maximum(columns, 1e-300))
        sized = self.scale.weighted * steps
        return np.sqrt(np.einsum("ij,ij->i", sized, sized)) / self.scale.weights

    def _spread(self, count: int) -> float:
        confidence = shared(self.options.confidence, len(self.scale.groups))
        return spread(count, self.tier.size, confidence, folded=self.tier.folded)

    def _bound(self, k: int, count: int) -> float:
        """Bound on the error of leaf k's block relative to its norm, from `count` lines as good as those so far."""
        leaf, factor = self.directions.leaves[k], self.tier.scales[k]
        whole = self.tier.shares[k]
        found = 0.0
        for group, largest in zip(self.scale.groups, self.largest, strict=True):
            share = whole
            if len(self.scale.groups) > 1:
                share = factor * float(np.linalg.norm(self.scale.weighted[group, leaf.start : leaf.stop]))
            found = max(found, largest / (share if share > NEGLIGIBLE * whole else whole))
        return found * self._spread(count) * self.wider.get(self.claimed.measured[k], 1.0)

    def _most(self) -> int:
        return MOST if is_double(self.eps) and not self.on_stairs else MOST_LOW

    def _worth_more(self) -> bool:
        """Whether more lines can bring a leaf to where it may be called CORRECT, or exclude a typical wrong entry."""
        if len(self.seen) >= self._most():
            return False
        largest = self.limits.largest_bound(self.eps)
        for k, leaf in enumerate(self.directions.leaves):
            typical = typical_bound(leaf.size) if is_double(self.eps) else largest
            now, best = self._bound(k, len(self.seen)), self._bound(k, self._most())
            if any(best <= goal < now for goal in (largest, typical)):
                return True
        return False

    def _too_wide(self, line: Line) -> bool:
        """Whether lines with bars like this one's could not certify every leaf."""
        largest = self.limits.largest_bound(self.eps)
        norms = [float(np.linalg.norm((line.bar * self.scale.weights)[group])) for group in self.scale.groups]
        before, self.largest = self.largest, norms
        wide = any(self._bound(k, FIRST) > largest for k in range(len(self.directions.leaves)))
        self.largest = before
        return wide

    def _settle(self, bounds: list[float]) -> Measurement:
        largest = self.limits.largest_bound(self.eps)
        results: dict[int, LeafResult] = {}
        for k, (i, leaf) in enumerate(zip(self.claimed.measured, self.claimed.leaves, strict=True)):
            bound, correct = bounds[k], bounds[k] <= largest
            results[i] = leaf_result(
                leaf,
                Verdict.CORRECT if correct else Verdict.INCONCLUSIVE,
                bound=bound if bound < 1 else None,
                deviation=self.deviation / self.tier.shares[k],
                noticeable=bound * math.sqrt(leaf.size * self.lines.m) if bound < 1 else None,
                note="" if correct else wide_note(bound),
            )
        return Measurement(
            results=results,
            verdict=worst(leaf.verdict for leaf in results.values()),
            reason=Reason.STOCHASTIC if self.random else self.limits.why_wide(self.eps),
            findings=(random_note(),) if self.random else (),
            eps=self.eps,
            rtol=self.limits.tolerance(self.eps),
            level="certificate",
        )
