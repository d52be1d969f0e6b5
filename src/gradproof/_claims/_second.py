"""A second-order claim alone: v^T H v against second differences of f.

``phi(t) + phi(-t) - 2 phi(0) = t**2 v^T H v + O(t**4)``: quotients by t**2 are extrapolated to t = 0 as slopes are,
with a bar of truncation and propagated noise. Noise is divided by t**2 here, so the bar is wider than that of a slope.
Only the symmetric part of H shows
in v^T H v; symmetry is held against the claim itself.

The bound. For random v on the sphere and any symmetric error D, ``abs(v^T D v) <= t norm(D)`` is most likely for a D of
rank one, where it is ``<a, v>**2 <= t``: the bound is the square of that for inner products.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools as ft
import itertools as it
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._base._away import BudgetSpent
from gradproof._base._precision import EPS64, is_double
from gradproof._claims._around import natural_sizes, reach
from gradproof._claims._charge import Extent, SecondCharge
from gradproof._claims._claimed import Claimed, ask_hvp, read_jacobian
from gradproof._claims._cotangents import STREAM
from gradproof._claims._defined import excuse_undefined
from gradproof._claims._first_look import sizes_and_sides
from gradproof._claims._gradient import another_point, asks, undefined
from gradproof._claims._hessian import Entries, accuse, explain_lines
from gradproof._claims._kinds import Task, ask_matrix, gradient_function
from gradproof._claims._patterns import simple_factor
from gradproof._claims._proved import Proved, conclude, random_note, unmeasured
from gradproof._claims._repeats import Repeats
from gradproof._claims._wording import CURVATURE, write_breach, write_second
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem, coarsest_eps
from gradproof._line import TRUST
from gradproof._line._estimate import extrapolate
from gradproof._line._noise import noise, one_sided_noise
from gradproof._prove import Direction, Directions
from gradproof._prove._charge import Notice, Sight
from gradproof._prove._flat import FLAT_NOTE, QUIET, UNTESTED_NOTE
from gradproof._prove._laws import curvature_bound, polarized_bound
from gradproof._prove._noted import Noted
from gradproof._prove._tolerance import CANCELLED, REACH, cancelled_zero
from gradproof._prove._wording import write_notice
from gradproof._reference import Trusted
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst

Vector = NDArray[np.float64]
# A row and a column; what was measured along one entry, or a sum of two, and its bar.
Pair = tuple[int, int]
Entry = tuple[float, float]

# Random directions; inputs up to which every entry is measured, always and to find a wrong one.
DIRECTIONS, ENTRIES, LOCATE = 8, 4, 12
WRONG_NOTE = "wrong second derivative"
# What is said of a claim that is not symmetric.
CROOKED = (_contracts.Identity.SYMMETRIC, _contracts.Identity.SYMMETRIC_PRODUCT)
# Lines that one factor must explain, and another mistake.
FACTOR_LINES, PATTERN_LINES = 3, 5
# The coarsest step, give or take 19 %, in float64 and in lower precision.
COARSE, COARSE_LOW = 0.3, 0.6
# Parts of a direction that are looked at where f is not finite along it, and times that sizes are cut down.
HALVINGS, CUTS = 64, 8
# The bar of an extrapolation is an estimate: doubled, as it is for one-sided slopes.
CAUTION = 2.0
# Half-ulps up to which scatter is rounding (as in `_line`). More may be an oscillation that no level resolves: it is
# gone, to this share, at the two finest steps, and noise seldom is. So many finer levels are asked for, twice.
ROUNDING, GONE, FINER = 16.0, 0.125, 10
TINY = (1e-11, 1.7e-11)
# An oscillation is resolved where even parts, as far as they are above so many roundings, go with the square of the
# step, give or take this factor (the next term of a cosine changes them by a tenth). Jumps of f do not fall so.
SHOWN_ROUNDINGS, SQUARE = 64.0, 1.4
# Roundings of one value that a second difference may hold: two values and twice that at the point.
VALUES = 4.0
# The second step of a quick look at an entry, in first ones; a cap: entries that get a closer look, of four values
# each, where those that a quick one shows do not explain what has refuted the claim.
WIDER, CLOSER = 2.2, 25
# Entries and sums of two that are measured to all digits once they are known to be wrong: a cap of evaluations.
SHARP = 3
# Bar of a curve, relative to its size, up to which it teaches what others are like.
CLEAR = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curvature:
    """v^T H v as measured, with its bar, beside the claim.

    v : (n,), the direction.
    variation : by how much f varies on the way.
    v : the direction, where these are few.
    tread : smallest movement of f where it also keeps its bits on both sides of the point; 0 where it never does.
    """

    v: Vector
    claimed: float
    value: float
    bar: float
    variation: float
    tread: float = 0.0
    witnesses_agree: bool = True

    @property
    def keeps_bits(self) -> bool:
        """Whether f has the same bits at every step: it curves by less than its values can show."""
        return self.variation == 0

    @property
    def is_lost(self) -> bool:
        """Whether f moves by single treads of its rounding, if at all, or all that is claimed lies below its noise."""
        below = math.isfinite(self.bar) and max(abs(self.claimed), abs(self.value)) <= self.bar
        return self.keeps_bits or self.tread > 0 or below

    @property
    def deviation(self) -> float:
        return abs(self.claimed - self.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """What curves teach of those along single entries.

    noise : standard deviation of one value, or what the finest second difference was off by.
    fourth : size of the t**2 error of a quotient, per unit step.
    size : the largest second derivative.
    finest : the finest step that was seen.
    """

    noise: float
    fourth: float
    size: float
    finest: float

    @property
    def steepest(self) -> float:
        """The t**2 error to allow for: natural sizes are those on which f changes."""
        return TRUST * max(self.fourth, self.size)

    @property
    def step(self) -> float:
        """The step of a quick look at an entry: where its bar is narrowest, within the steps that were seen."""
        best = (5 * VALUES * self.noise / self.steepest) ** 0.25 if self.steepest > 0 else 0.0
        return min(max(best, self.finest), COARSE / WIDER)

    def bar(self, step: float) -> float:
        """Of one quotient."""
        return 5 * VALUES * self.noise / step**2 + self.steepest * step**2

    def bar_of_two(self, step: float) -> float:
        """Of two, at `step` and `WIDER` times that, whose t**2 error is taken out; the next is allowed as much."""
        square = WIDER**2
        noise = 5 * VALUES * self.noise / step**2 * (square + 1 / square) / (square - 1)
        return noise + self.steepest * (WIDER * step) ** 4


def prove_second(task: Task, claim: Any, keyword: str) -> Proved:
    """Prove or refute `hess` or `hvp` of a scalar f without a gradient."""
    primal = task.primal
    primal.allow(task.options.allowance(len(primal.point)))
    if math.isnan(primal.value()):
        return undefined(primal, task.options, findings=[], keyword=keyword)
    n = len(primal.point)
    shell = gradient_function(primal, lambda *_: primal.tangent(np.zeros(n)))
    shell.count_elsewhere()  # it is no evaluation
    everything = tuple(range(len(primal.leaves)))
    lower, upper = task.around.sides(primal, everything)
    directions = Directions(primal.leaves, primal.point, np.zeros(n), task.options.seed, lower, upper)
    size = natural_sizes(primal, everything)
    eps = coarsest_eps(primal.leaves)
    draws = [directions.vector(Direction(STREAM + k, everything, (1.0,) * len(everything))).copy() for k in range(2)]
    repeats = _repeats(task, shell, keyword, directions) if task.options.repeats else None
    broken: _contracts.Breach | None = None
    if keyword == "hess":
        if task.values[keyword]:
            claimed = read_jacobian(shell, claim, keyword, primal)
        else:
            claimed = ask_matrix(shell, claim, keyword, repeats, primal)
        if claimed.matrix is not None and claimed.whole:
            broken = _contracts.check_symmetric(
                keyword,
                claimed.matrix,
                size,
                eps,
                floor=lambda: _contracts.vanishing(eps, primal.value()),
            )
    else:
        claimed = ask_hvp(shell, primal, claim, draws[0], repeats)
        if claimed.measured and claimed.whole:
            pairs = [(u, claimed.pull(u)) for u in draws]
            floor = _contracts.vanishing(eps, primal.value())
            moved = max(float(np.linalg.norm(u / size)) for u in draws)
            broken = _contracts.check_linear(
                keyword,
                claimed.pull,
                pairs[0],
                pairs[1],
                size,
                eps,
                floor=lambda: moved * floor,
                repeat=claimed.repeat,
            )
            broken = broken or _contracts.check_symmetric_product(keyword, pairs, size, eps, floor=lambda: floor)
    excuse_undefined(primal, claimed.judged, task.around)
    findings = list(claimed.judged.findings)
    results = unmeasured(primal, claimed.judged)
    verdict: Verdict | None = None
    reason: Reason | None = None
    rtol, max_bound = tolerances(task, eps)
    if claimed.measured and claimed.whole:
        steps, _ = sizes_and_sides(primal, everything, task.around)
        crooked = broken if broken is not None and broken.identity in CROOKED else None
        search = _Second(task, claimed, steps, directions, eps, rtol, max_bound, crooked)
        verdict, reason, measured = search.run()
        # (Of a claim that is lost in f's rounding, which nobody certifies, its own rounding proves nothing.)
        if verdict is Verdict.INCONCLUSIVE and search.is_lost:
            broken = crooked = None
        if broken is not None:
            findings.insert(0, write_breach(broken, lambda i, j: claimed.place(i, j)[0]))
        if crooked is not None and verdict is not Verdict.WRONG and search.tell_apart():
            measured = search.results(Verdict.WRONG, note=WRONG_NOTE)
        results.update(measured)
        findings += search.findings
        primal.look_again()
    findings += _contracts.find_mutations(primal.changed, claimed.changed, keyword)
    for i in everything:
        if i not in results:
            leaf = primal.leaves[i]
            results[i] = LeafResult(
                path=leaf.path, shape=leaf.shape, dtype=leaf.dtype, verdict=Verdict.INCONCLUSIVE, note="not measured"
            )
    proved = conclude(
        results,
        findings,
        measured=verdict,
        reason=reason,
        options=task.options,
        eps=eps,
        rtol=rtol,
        max_bound=max_bound,
        claim_calls=claimed.calls,
        level=task.options.level,
    )
    if not asks(findings):
        return proved
    return dataclasses.replace(proved, suggestion=another_point(primal, task.options.seed, task.around.bounds))


def _repeats(task: Task, shell: Primal, keyword: str, directions: Directions) -> Repeats:
    """What holds two answers against each other, and against second differences of f where they differ."""
    primal = task.primal
    everything = tuple(range(len(primal.leaves)))
    eps = coarsest_eps(primal.leaves)
    rtol, max_bound = tolerances(task, eps)

    def curve(v: Vector) -> tuple[float, float]:
        search = _Second(
            task, Claimed(keyword, shell, ()), natural_sizes(primal, everything), directions, eps, rtol, max_bound
        )
        return search.curvature(v)

    return Repeats(keyword=keyword, options=task.options, around=task.around, curve=curve, accused=rtol)


def tolerances(task: Task, eps: float) -> tuple[float, float]:
    """Rtol and max_bound, as asked for or as second differences allow."""
    limits = task.options.limits
    return limits.second_tolerance(eps), limits.largest_bound(eps)


class _Second:
    def __init__(
        self,
        task: Task,
        claimed: Claimed,
        size: Vector,
        directions: Directions,
        eps: float,
        rtol: float,
        max_bound: float,
        broken: _contracts.Breach | None = None,
    ) -> None:
        # How the claim is not symmetric, if it is not.
        self.broken = broken
        self.task, self.claimed, self.size, self.directions = task, claimed, size, directions
        self.eps, self.rtol, self.max_bound = eps, rtol, max_bound
        self.primal: Primal = task.primal
        self.n = len(size)
        # What is left of the natural size of an entry where f is not finite all the way.
        self.share = np.ones(self.n)
        everything = range(len(self.primal.leaves))
        zeros = {i: np.zeros(self.primal.leaves[i].size) for i in everything}
        self.problem = Problem(self.primal, zeros)
        given = task.around.reference
        self.reference = None if given is None else Trusted(self.primal, given, zeros)
        # From one side noise is larger, and the square of what random directions cost on top is too much.
        few = LOCATE if directions.folded(everything) else ENTRIES
        self.by_entries = self.n <= few or task.options.level == "entries"
        self.jitter = np.random.Generator(np.random.Philox(np.random.SeedSequence((task.options.seed, 4))))
        self.findings: list[Finding] = []
        # Whether f gave different values at the same point, and the lines along which it was measured.
        self.is_random = False
        self.lines: list[Curvature] = []
        # The value at the point, once it was the same twice, and what curves teach of those along single entries.
        self.at_point: float | None = None
        self.known: Known | None = None
        # Curves along single entries and sums of two, by direction.
        self.curves: dict[bytes, Curvature] = {}
        self.scales = (1.0,) * len(claimed.leaves)

    def run(self) -> tuple[Verdict, Reason | None, dict[int, LeafResult]]:
        """Measure, judge, locate; the same result for all leaves, which move together."""
        try:
            found = self._search()
        except BudgetSpent:
            return Verdict.INCONCLUSIVE, Reason.BUDGET, self.results(Verdict.INCONCLUSIVE)
        if not self.is_random:
            return found
        self.findings.append(random_note())
        verdict, reason, results = found
        return verdict, Reason.STOCHASTIC if verdict is Verdict.INCONCLUSIVE else reason, results

    def _search(self) -> tuple[Verdict, Reason | None, dict[int, LeafResult]]:
        for left in reversed(range(CUTS + self.n * self.by_entries)):
            found = self._look(cut=left > 0)
            if found is not None:
                return found
        raise AssertionError("the last look decides")

    @property
    def is_lost(self) -> bool:
        """Whether f shows no second order at all, along every line that was measured."""
        telling = [one for one in self.lines if math.isfinite(one.bar) or one.is_lost]
        return (bool(telling) or not self.lines) and all(one.is_lost for one in telling)

    def _look(self, *, cut: bool) -> tuple[Verdict, Reason | None, dict[int, LeafResult]] | None:
        """Measure and judge; None where natural sizes were too large for f, and have been cut down."""
        seen: list[Curvature] = []
        self.lines = seen
        self.curves.clear()
        unmoved: list[Vector] = []
        for v in self._entry_vectors() if self.by_entries else self._random_vectors():
            found = self._measure(v)
            if cut and math.isnan(found.variation) and self._cut_down(v):
                return None
            if found.keeps_bits and self._off(found, seen):
                # What it says depends on whether f moves along others, and by how much at least.
                unmoved.append(v)
                continue
            if self._off(found, seen):
                again = self._measure(v, full=True)
                if self._off(again, seen) and math.isfinite(again.bar):
                    self._keep(v, again)
                    self._accuse([*seen, again], again)
                    return Verdict.WRONG, None, self.results(Verdict.WRONG, note=WRONG_NOTE)
                if not again.deviation <= again.bar + self.rtol * self._scale(seen):
                    return Verdict.INCONCLUSIVE, Reason.UNSTABLE, self.results(Verdict.INCONCLUSIVE)
                found = again
            if not found.witnesses_agree:
                return Verdict.INCONCLUSIVE, Reason.WITNESSES, self.results(Verdict.INCONCLUSIVE)
            seen.append(found)
            self._keep(v, found)
        if unmoved and not any(one.variation > 0 for one in seen):
            self._report_unchanged(self._measure(unmoved[0]))
            return Verdict.INCONCLUSIVE, Reason.DEGENERATE, self.results(Verdict.INCONCLUSIVE)
        for v in unmoved:
            still = self._measure(v, full=True)
            if still.keeps_bits:
                # Had it curved by more, f would have left its tread at the coarsest step.
                least = max((one.tread for one in seen), default=0.0)
                still = dataclasses.replace(still, bar=max(still.bar, VALUES * least / self.coarse**2))
            self._keep(v, still)
            if self._off(still, seen):
                self._accuse([*seen, still], still)
                return Verdict.WRONG, None, self.results(Verdict.WRONG, note=WRONG_NOTE)
            seen.append(still)
        if not all(math.isfinite(one.bar) for one in seen):
            reason = Reason.DOMAIN if any(math.isnan(one.variation) for one in seen) else Reason.NO_CONVERGENCE
            return Verdict.INCONCLUSIVE, reason, self.results(Verdict.INCONCLUSIVE)
        scale = self._scale(seen)
        if scale == 0:
            self._report_unchanged(seen[0])
            return Verdict.INCONCLUSIVE, Reason.DEGENERATE, self.results(Verdict.INCONCLUSIVE)
        largest = max(one.deviation + one.bar for one in seen)
        if self.by_entries:
            bound = polarized_bound(largest, self.n) / scale
        else:
            folded = self.directions.folded(range(len(self.claimed.leaves)))
            confidence = self.task.options.confidence
            bound = curvature_bound(largest, len(seen), self.n, confidence, folded=folded) / scale
        deviation = max(one.deviation for one in seen) / scale
        verdict = Verdict.CORRECT if bound <= self.max_bound else Verdict.INCONCLUSIVE
        reason = None if verdict is Verdict.CORRECT else Reason.NOISE
        note = "" if verdict is Verdict.CORRECT else "the error bar is too wide to tell"
        results = self.results(verdict, bound=bound if bound < 1 else None, deviation=deviation, note=note)
        if verdict is Verdict.CORRECT and len(results) > 1:
            results = self._leaf_by_leaf(results, bound * scale)
            verdict = worst(leaf.verdict for leaf in results.values())
            reason = None if verdict is Verdict.CORRECT else Reason.NOISE
        return verdict, reason, results

    def _keep(self, v: Vector, found: Curvature) -> None:
        """Keep what was measured along one entry of x, or two."""
        if np.count_nonzero(v) <= 2:
            self.curves[v.tobytes()] = found

    def _report_unchanged(self, line: Curvature) -> None:
        """Say that f kept its bits: as the first order does, which may have said so already."""
        notice = Notice(
            sight=Sight.SAME_BITS if line.claimed != 0 else Sight.UNMOVED,
            severity=Severity.DOUBT,
            claimed=line.claimed,
        )
        self.findings.append(write_notice(notice, (), self.task.reproducer, quantity=CURVATURE))

    def _leaf_by_leaf(self, results: dict[int, LeafResult], error: float) -> dict[int, LeafResult]:
        """Results whose bounds are relative to what each leaf alone does to v^T H v; `error` bounds all of H's.

        A leaf that does no more than rounding beside the others is flat; of any other that is too small nothing is
        known.
        """
        shares = self._shares()
        whole = max(shares)
        flat = [i for i, share in zip(results, shares, strict=True) if share <= CANCELLED * self.eps * whole]
        is_quiet = error <= QUIET * whole and self._stand_still(flat)
        for (i, leaf), share in zip(results.items(), shares, strict=True):
            if i in flat:
                note = FLAT_NOTE if share > 0 else "flat: f does not change to second order"
                results[i] = dataclasses.replace(
                    leaf,
                    verdict=Verdict.CORRECT if is_quiet else Verdict.INCONCLUSIVE,
                    bound=None,
                    noticeable=None,
                    note=note if is_quiet else UNTESTED_NOTE,
                )
                continue
            bound = max(error / share, leaf.bound or 0.0)
            correct = bound <= self.max_bound
            results[i] = dataclasses.replace(
                leaf,
                verdict=Verdict.CORRECT if correct else Verdict.INCONCLUSIVE,
                bound=bound if bound < 1 else None,
                noticeable=bound * self.n if bound < 1 else None,
                note="" if correct else "untested: what it does is lost beside the other arrays",
            )
        return results

    def _stand_still(self, flat: list[int]) -> bool:
        """Whether f does not curve along some leaves, moved by themselves."""
        v = np.zeros(self.n)
        for leaf in (self.claimed.leaves[i] for i in flat):
            v[leaf.start : leaf.stop] = self._through_all()[leaf.start : leaf.stop]
        if not flat:
            return True
        found = self._measure(v)
        return found.deviation <= found.bar

    def _shares(self) -> list[float]:
        """Norm of H v, in natural sizes and as each leaf is scaled, for a random v through one leaf after the other."""
        leaves = self.claimed.leaves
        v, scaled = self._through_all(), self.size * self._scales_of_entries()
        shares: list[float] = []
        for leaf in leaves:
            part = np.zeros(self.n)
            own = slice(leaf.start, leaf.stop)
            part[own] = (v * scaled / self.size)[own]
            shares.append(float(np.linalg.norm(self.claimed.pull(part) * scaled)))
        return shares

    def _through_all(self) -> Vector:
        everything = tuple(range(len(self.claimed.leaves)))
        return self.directions.vector(Direction(STREAM, everything, (1.0,) * len(everything))) * self.share

    def _scales_of_entries(self) -> Vector:
        """By how much every entry moves less than its natural size."""
        return np.repeat(np.array(self.scales), [leaf.size for leaf in self.claimed.leaves])

    def results(
        self, verdict: Verdict, *, bound: float | None = None, deviation: float | None = None, note: str = ""
    ) -> dict[int, LeafResult]:
        """The same for all leaves."""
        return {
            i: LeafResult(
                path=leaf.path,
                shape=leaf.shape,
                dtype=leaf.dtype,
                verdict=verdict,
                bound=bound,
                deviation=deviation,
                noticeable=None if bound is None else bound * self.n,
                note=note,
            )
            for i, leaf in enumerate(self.primal.leaves)
        }

    # ------------------------------------------------------------------------------------------------ directions

    def _random_vectors(self) -> Iterator[Vector]:
        """Directions through all leaves, each scaled by the square root of its own curvature, as claimed."""
        leaves = self.claimed.leaves
        everything = tuple(range(len(leaves)))
        v = self._through_all()
        norms: list[float] = []
        for leaf in leaves:
            part = np.zeros(self.n)
            part[leaf.start : leaf.stop] = v[leaf.start : leaf.stop]
            product = self.claimed.pull(part) if len(leaves) > 1 else part
            norms.append(float(np.linalg.norm((product * self.size)[leaf.start : leaf.stop])))
        least = min((norm for norm in norms if norm > 1e-6 * max(norms)), default=1.0)
        scales = tuple(min(1.0, max(math.sqrt(least / norm), 1e-3)) if norm > 0 else 1.0 for norm in norms)
        self.scales = scales
        for k in range(DIRECTIONS):
            yield self.directions.vector(Direction(STREAM + 8 + k, everything, scales)) * self.share

    def _entry_vectors(self) -> Iterator[Vector]:
        """Unit directions, and sums of two: all entries of H follow from v^T H v along these."""
        for i in range(self.n):
            yield self._pair(i, i)
        for i in range(self.n):
            for j in range(i + 1, self.n):
                yield self._pair(i, j)

    def _pair(self, i: int, j: int) -> Vector:
        v = np.zeros(self.n)
        v[i] = self.size[i]
        v[j] = self.size[j]
        return v

    def _cut_down(self, v: Vector) -> bool:
        """Move the entries beside which f is not finite less far, each as far as it allows by itself; whether any is.

        They are found by halving v. Along a random direction an entry may move by three times its size.
        """
        widest = 1.19 * self.coarse
        needed = (1.0 if self.by_entries else 3.0) * widest
        todo, changed = [np.flatnonzero(v)], False
        for _ in range(HALVINGS):
            if not todo:
                break
            part = todo.pop()
            if self._finite(np.where(np.isin(np.arange(self.n), part), v, 0.0), widest):
                continue
            if len(part) > 1:
                todo += [part[: len(part) // 2], part[len(part) // 2 :]]
                continue
            alone = np.zeros(self.n)
            alone[part] = abs(self.size[part])
            finite = next((widest / 4**k for k in range(8) if self._finite(alone, widest / 4**k)), None)
            if finite is not None:
                self.size[part] *= finite / needed
                self.share[part] *= finite / needed
                changed = True
        return changed

    def _finite(self, v: Vector, step: float) -> bool:
        """Whether f is finite on both sides, as far as they lie in the domain."""
        first, last = reach(self.problem.point, v, self.directions.lower, self.directions.upper)
        inside = [t for t in (step, -step) if first <= t <= last]
        return all(math.isfinite(self.problem.evaluate(v, t)) for t in inside)

    # ------------------------------------------------------------------------------------------------- measuring

    @property
    def coarse(self) -> float:
        """The coarsest step, in natural sizes."""
        return COARSE if is_double(self.eps) else COARSE_LOW

    def _measure(self, v: Vector, *, full: bool = False) -> Curvature:
        claimed = float(v @ self.claimed.pull(v))
        value, bar, variation, tread = self._curve(self.problem.evaluate, self.eps, v, claimed, full=full)
        agree = True
        if self.reference is not None and not bar <= 1e-2 * self.rtol * max(abs(claimed), abs(value)):
            seen, seen_bar, *_ = self._curve(self.reference.evaluate, EPS64, v, claimed, full=full)
            tolerance = self.rtol * max(abs(claimed), abs(seen))
            if math.isfinite(seen_bar) and math.isfinite(bar):
                agree = abs(seen - value) <= bar + seen_bar + tolerance
                # WRONG rests on f itself: what only the reference excludes keeps its wide bar.
                if agree and seen_bar < bar and abs(claimed - seen) <= seen_bar + tolerance:
                    value, bar = seen, seen_bar
        self._note(v, claimed, value, bar)
        found = Curvature(
            v=v, claimed=claimed, value=value, bar=bar, variation=variation, tread=tread, witnesses_agree=agree
        )
        if np.count_nonzero(v) <= 2:
            self.curves[v.tobytes()] = found
        return found

    def curvature(self, v: Vector) -> tuple[float, float]:
        """v^T H v of f itself, and its bar."""
        return self._curve(self.problem.evaluate, self.eps, v, 0.0, full=True)[:2]

    def _note(self, v: Vector, claimed: float, value: float, bar: float) -> None:
        """Keep it for the reader of the report."""
        moving = [leaf.path for leaf in self.claimed.leaves if v[leaf.start : leaf.stop].any()]
        path = moving[0] if len(moving) == 1 else ""
        scale = max(abs(claimed), abs(value))
        self.task.options.collector.note(
            Noted(path=path, output=CURVATURE, claimed=claimed, value=value, bar=bar, scale=scale)
        )

    def _curve(
        self, evaluate: Callable[[Vector, float], float], eps: float, v: Vector, claimed: float, *, full: bool
    ) -> tuple[float, float, float, float]:
        """v^T H v of one function, its bar, by how much the function varied on the way, and in which treads."""
        coarse = COARSE if is_double(eps) else COARSE_LOW
        ratio = 2.2 if is_double(eps) else 1.6
        levels = (
            coarse * ratio ** -np.arange(10.0) * self.jitter.uniform(0.85, 1.15) * self.jitter.uniform(0.97, 1.03, 10)
        )
        first, last = reach(self.problem.point, v, self.directions.lower, self.directions.upper)
        f0 = self._at_point(evaluate)
        if min(-first, last) < levels[4]:
            side, room = (1.0, last) if last >= -first else (-1.0, -first)
            return *self._one_sided(lambda step: evaluate(v, side * step), eps, room, f0), 0.0

        def inside(step: float) -> float:
            return evaluate(v, step) if first <= step <= last else math.nan

        h, plus, minus = levels[:0], levels[:0], levels[:0]
        value, bar, tread = math.nan, math.inf, 0.0
        parts = [levels[1:7], np.concatenate([levels[:1], levels[7:]])]
        while parts:
            part = parts.pop(0)
            h = np.concatenate([h, part])
            both = [*part.tolist(), *(-part).tolist()]
            found = self.problem.primal.each([ft.partial(inside, step) for step in both])
            plus, minus = np.concatenate([plus, found[: len(part)]]), np.concatenate([minus, found[len(part) :]])
            order = np.argsort(-h)
            h, plus, minus = h[order], plus[order], minus[order]
            tread = _tread(plus, minus, f0)
            value, bar, scatter = self._extrapolate(h, plus, minus, f0, eps, tread)
            if not full and bar <= 1e-2 * self.rtol * max(abs(claimed), abs(value)):
                break
            if parts or scatter == 0 or tread > 0 or not is_double(eps):
                continue
            even = (plus + minus) / 2 - f0.mean()
            start = _resolved(h, even, eps * (abs(float(f0[0])) + float(np.abs(even).max())))
            if start:
                # What coarser levels say is chance.
                kept = slice(start, None)
                value, bar, _ = self._extrapolate(h[kept], plus[kept], minus[kept], f0, eps, tread)
                if bar <= 1e-2 * self.rtol * abs(value):
                    break
            left = max(abs((inside(step) + inside(-step)) / 2 - float(f0.mean())) for step in TINY)
            if left <= GONE * scatter and len(h) < len(levels) + 2 * FINER:
                parts.append(h[-1] * ratio ** -np.arange(1.0, FINER + 1))
            elif left <= GONE * scatter and start is None and np.abs(even[-3:]).max() > GONE * scatter:
                value, bar = math.nan, math.inf  # it is an oscillation too fast for every level
        is_clear = bar <= CLEAR * max(abs(claimed), abs(value))
        if evaluate == self.problem.evaluate and is_clear and tread == 0 and len(h) >= 4:
            self._learn(h, plus, minus, f0, value, bar)
        moved = np.abs(np.concatenate([plus, minus]) - f0.mean())
        outside = self.directions.bounded and bool(np.isfinite(moved).any())
        return value, bar, float(np.nanmax(moved) if outside else np.max(moved)), tread

    def _at_point(self, evaluate: Callable[[Vector, float], float]) -> Vector:
        """Two values at the point; what was the same twice is not asked for a third time."""
        is_own = evaluate == self.problem.evaluate
        if is_own and self.at_point is not None:
            return np.full(2, self.at_point)
        f0 = np.array(self.problem.primal.each([ft.partial(evaluate, np.zeros(self.n), 0.0)] * 2))
        self.is_random |= is_own and bool(f0[0] != f0[1])
        if is_own and f0[0] == f0[1]:
            self.at_point = float(f0[0])
        return f0

    def _one_sided(
        self, evaluate: Callable[[float], float], eps: float, room: float, f0: Vector
    ) -> tuple[float, float, float]:
        """The same from one side, where the domain ends at the point.

        ``2 ((phi(2h) - phi(0)) / 2h - (phi(h) - phi(0)) / h) / h = phi'' + O(h)``, extrapolated with integer powers.
        """
        count = 11 if is_double(eps) else 7
        h = min(0.6, 0.9 * room) * self.jitter.uniform(0.85, 1.0) * 2.0 ** -np.arange(float(count))
        rise = np.array(self.problem.primal.each([ft.partial(evaluate, step) for step in h.tolist()])) - f0.mean()
        variation = float(np.max(np.abs(rise)))
        finite = np.isfinite(rise)
        h, rise = h[finite], rise[finite]
        if len(h) < 5 or not np.allclose(h[:-1], 2 * h[1:]):
            return math.nan, math.inf, variation
        largest = float(max(np.abs(rise).max(), 0.0) + abs(f0[0]))
        sigma = max(2 * eps * largest, abs(float(f0[0] - f0[1])), float(one_sided_noise(h, rise[:, None])[0][0]))
        fine = h[1:]
        quotients = 2 * (rise[:-1] / h[:-1] - rise[1:] / fine) / fine
        # Neighbouring quotients share a value: their noise adds up to sqrt(2) times that of independent ones.
        own = math.sqrt(2) * 2 * sigma * math.sqrt(1.25) / fine**2
        found = extrapolate(
            fine,
            quotients[:, None],
            1,
            lambda w: np.sqrt((w * w) @ own[:, None] ** 2) + sigma * np.abs(w @ fine**-2.0)[:, :, None],
        )
        return float(found.value[0]), 2 * CAUTION * float(found.bar[0]), variation

    def _extrapolate(
        self, h: Vector, plus: Vector, minus: Vector, f0: Vector, eps: float, tread: float
    ) -> tuple[float, float, float]:
        """v^T H v, its bar, and how much values scatter at the finest levels: 0 where that is mere rounding."""
        finite = np.isfinite(plus) & np.isfinite(minus)
        if finite.sum() < 4:
            return math.nan, math.inf, 0.0
        h, plus, minus = h[finite], plus[finite][:, None], minus[finite][:, None]
        centre = np.array([f0.mean()])
        largest = float(max(np.abs(plus).max(), np.abs(minus).max(), abs(centre[0])))
        unit = np.array([0.5 * eps * largest])
        least = np.maximum(4 * unit, max(abs(float(f0[0] - f0[1])), tread))
        seen = noise(h, plus, minus, centre, least, unit)
        column = h[:, None]
        quotients = ((plus - centre) + (minus - centre)) / column**2
        variance = 2 * (seen.sigma / column**2) ** 2
        shared = 2 * seen.finest

        def deviation(weights: Vector) -> Vector:
            own = np.sqrt((weights * weights) @ variance)
            return own + shared * np.abs(weights @ h**-2.0)[:, :, None]

        found = extrapolate(h, quotients, 2, deviation)
        scatter = float(seen.finest[0]) if seen.finest[0] > ROUNDING * unit[0] else 0.0
        return float(found.value[0]), CAUTION * float(found.bar[0]), scatter

    def _learn(self, h: Vector, plus: Vector, minus: Vector, f0: Vector, value: float, bar: float) -> None:
        """Know one more curve: the largest noise, and t**2 error of a quotient, that any has shown."""
        finite = np.isfinite(plus) & np.isfinite(minus)
        h, rise = h[finite], (plus + minus - 2 * f0.mean())[finite]
        largest = float(max(np.abs(plus[finite]).max(), np.abs(minus[finite]).max(), abs(f0[0])))
        # (At the finest levels a quotient is off by noise, at the coarsest by its t**2 error.)
        off = np.abs(rise - value * h**2)
        noise = max(0.5 * self.eps * largest, float(off[-2:].max()) / VALUES)
        fourth = float((np.maximum(off - VALUES * noise, 0.0) / h**4)[:3].max())
        before = self.known or Known(noise=0.0, fourth=0.0, size=0.0, finest=math.inf)
        self.known = Known(
            noise=max(before.noise, noise),
            fourth=max(before.fourth, fourth),
            size=max(before.size, abs(value)),
            finest=min(before.finest, float(h[-1])),
        )

    def _scale(self, seen: list[Curvature]) -> float:
        """Norm of H in natural sizes, as claimed; where the claim is 0, a share of how much f changes."""
        if self.claimed.matrix is not None:
            norm = float(np.linalg.norm(self.claimed.matrix * self.size[:, None] * self.size))
        else:
            everything = tuple(range(len(self.claimed.leaves)))
            scales = (1.0,) * len(everything)
            products = [
                self.claimed.pull(self.directions.vector(Direction(STREAM + k, everything, scales)) * self.share)
                for k in range(2)
            ]
            norm = math.sqrt(float(np.mean([np.sum((self.size * product) ** 2) for product in products])))
        return norm or 1e-3 * max((one.variation for one in seen), default=0.0)

    def _off(self, found: Curvature, seen: list[Curvature]) -> bool:
        scale = max(self._scale([*seen, found]), abs(found.claimed))
        if self.by_entries:
            # An entry's share of the whole.
            scale = max(scale / self.n, abs(found.claimed))
        # (At a large x the slope of f may leave as much of a second derivative that is 0.)
        slope = found.variation / self.coarse if found.variation > 0 else 0.0
        lost = float(cancelled_zero(self.size, self.size, self.eps).max()) * slope
        return math.isfinite(found.bar) and found.deviation > found.bar + max(REACH * self.rtol * scale, lost)

    # -------------------------------------------------------------------------------------------------- accusing

    def _accuse(self, seen: list[Curvature], failing: Curvature) -> None:
        """Say what is wrong: one mistake of the whole, of a part, or few entries."""
        plain = SecondCharge(
            extent=Extent.UNKNOWN, claimed=failing.claimed, reference=failing.value, error_bar=failing.bar
        )
        charges = [plain]
        with contextlib.suppress(BudgetSpent):
            charges = self._explained(seen, failing, plain) or [plain]
        self._charge(charges)

    def _explained(self, seen: list[Curvature], failing: Curvature, plain: SecondCharge) -> list[SecondCharge]:
        """One factor; another mistake of the whole; what is wrong entry by entry, where these are few."""
        lines = list(seen)
        new = it.islice(self._random_vectors(), 0 if self.by_entries else len(seen), None)
        lines += [self._measure(v) for v in it.islice(new, max(FACTOR_LINES - len(seen), 0))]
        factors = {simple_factor(one.claimed, one.value, one.bar) for one in lines}
        if len(factors) == 1 and None not in factors:
            factor = factors.pop()
            return [dataclasses.replace(plain, extent=Extent.ALL, factor=factor)]
        matrix = self._matrix()
        if matrix is not None and not self.by_entries:
            lines += [self._measure(v) for v in it.islice(new, max(PATTERN_LINES - len(lines), 0))]
            known = [(one.v, one.value, one.bar) for one in lines]
            found = explain_lines(matrix, known, self.claimed.leaves, plain)
            if found is not None:
                return [found]
        if self.n <= LOCATE or self.by_entries:
            return accuse(self._entries(range(self.n), failing), self.claimed.leaves)
        if matrix is None or self.broken is None or self.broken.entry is None:
            return []
        # Two entries that should be equal: whether one of them is all that is wrong.
        pair = self._entries(self.broken.entry)
        right = np.where(pair.wrong, pair.value / np.where(pair.wrong, pair.scales, 1.0), matrix)
        unsure = np.where(pair.wrong, pair.bar / np.where(pair.wrong, np.abs(pair.scales), 1.0), 0.0)
        explains = all(
            abs(float(one.v @ right @ one.v) - one.value)
            <= one.bar + float(np.abs(one.v) @ unsure @ np.abs(one.v)) + REACH * self.rtol * self._scale(lines)
            for one in lines
        )
        return accuse(pair, self.claimed.leaves) if explains else []

    def tell_apart(self) -> bool:
        """Say which of two entries that should be equal is wrong, where f excludes one; whether it does."""
        matrix, broken = self._matrix(), self.broken
        if broken is not None and broken.entry is None and matrix is not None:
            broken = _contracts.check_symmetric(broken.keyword, matrix, np.abs(self.size), self.eps)
        if broken is None or broken.entry is None:
            return False
        charges: list[SecondCharge] = []
        with contextlib.suppress(BudgetSpent):
            all_known = self.by_entries and len(self.lines) == self.n * (self.n + 1) // 2
            entries = self._entries(range(self.n) if all_known else broken.entry)
            charges = accuse(entries, self.claimed.leaves)
        self._charge(charges)
        return bool(charges)

    def _matrix(self) -> NDArray[np.float64] | None:
        """The claim entry by entry, where it is known so or small."""
        claimed = self.claimed
        if claimed.matrix is not None:
            return claimed.matrix
        if self.n > LOCATE and not self.by_entries:
            return None
        products = np.array([claimed.pull(unit) for unit in np.eye(self.n)])
        return products if claimed.by_index else products.T

    def _entries(self, chosen: Sequence[int], failing: Curvature | None = None) -> Entries:
        """Measure the second derivatives by some entries of x, as many as evaluations are left for.

        `failing` is the direction that has refuted the claim, where what is wrong must explain it.
        """
        pairs = [(i, j) for i in chosen for j in [i, *(k for k in chosen if k < i)]]
        found: dict[Pair, Entry] = {}
        with contextlib.suppress(BudgetSpent):
            self._measure_pairs(pairs, failing, found)
        return self._read(found)

    def _measure_pairs(self, pairs: list[Pair], failing: Curvature | None, found: dict[Pair, Entry]) -> None:
        """Measure along single entries and sums of two: `found` has what is known so far."""
        known = self.known
        has_curves = all(self._pair(*pair).tobytes() in self.curves for pair in pairs)
        if known is not None and self.reference is None and not has_curves:
            # A quick look at all of them first, and a closer one at those that it shows to be wrong, if these are all.
            found |= self._quick(pairs, known)
            # (At a bound there is no value on the other side.)
            held = [pair for pair in pairs if not math.isfinite(found[pair][0])]
            self._measure_well(held, found)
            pairs = [pair for pair in pairs if pair not in held]
            off = self._wrong_pairs(found, found)
            around = {pair for i, j in off for pair in ((i, i), (j, j), (i, j))}
            found |= self._closer(sorted(around - {*held}), known)
            off = self._wrong_pairs(off, found)
            others = sorted({*pairs} - around)
            explained = bool(off) and failing is not None and self._explains(off, found, failing)
            if not off or (len(others) <= CLOSER and not explained):
                found |= self._closer(others, known)
                off = self._wrong_pairs(found, found)
            around = {pair for i, j in off for pair in ((i, i), (j, j), (i, j))}
            if len(around) > SHARP or (not off and self.n > ENTRIES):
                return
            # What a reader sees of few entries deserves all digits.
            pairs = sorted(around - {*held}) if off else pairs
        self._measure_well(pairs, found)

    def _measure_well(self, pairs: Sequence[Pair], found: dict[Pair, Entry]) -> None:
        """Measure curves along single entries and sums of two, as along any direction."""
        for pair in pairs:
            v = self._pair(*pair)
            one = self.curves.get(v.tobytes()) or self._measure(v)
            found[pair] = one.value, one.bar

    def _quick(self, pairs: Sequence[Pair], known: Known) -> dict[Pair, Entry]:
        """Second differences at one step along single entries, and sums of two."""
        step = known.step * float(self.jitter.uniform(0.9, 1.1))
        values = self._quotients(pairs, step)
        return {pair: (value, known.bar(step)) for pair, value in zip(pairs, values, strict=True)}

    def _closer(self, pairs: Sequence[Pair], known: Known) -> dict[Pair, Entry]:
        """The same with a second step."""
        step, square = known.step * float(self.jitter.uniform(0.9, 1.1)), WIDER**2
        fine, coarse = (self._quotients(pairs, one) for one in (step, WIDER * step))
        # (At a kink a quotient goes with the inverse of its step: nothing is known of such an entry.)
        apart = known.bar(step) + known.bar(WIDER * step)
        return {
            pair: ((square * a - b) / (square - 1), known.bar_of_two(step) if abs(a - b) <= apart else math.inf)
            for pair, a, b in zip(pairs, fine, coarse, strict=True)
        }

    def _quotients(self, pairs: Sequence[Pair], step: float) -> list[float]:
        """Second differences at a step; nan outside the domain."""
        f0 = self._at_point(self.problem.evaluate).mean()

        def value(i: int, j: int, t: float) -> float:
            v = self._pair(i, j)
            first, last = reach(self.problem.point, v, self.directions.lower, self.directions.upper)
            return self.problem.evaluate(v, t) if first <= t <= last else math.nan

        values = self.problem.primal.each([ft.partial(value, i, j, t) for i, j in pairs for t in (step, -step)])
        even = np.reshape(values, (-1, 2)).sum(axis=1) - 2 * f0
        return (even / step**2).tolist()

    def _wrong_pairs(self, pairs: Iterable[Pair], found: dict[Pair, Entry]) -> list[Pair]:
        """Those of some entries that are wrong, or whose mirror image is."""
        wrong = self._read(found).wrong
        return [(i, j) for i, j in pairs if wrong[i, j] or wrong[j, i]]

    def _explains(self, pairs: Sequence[Pair], found: dict[Pair, Entry], failing: Curvature) -> bool:
        """Whether some wrong entries are all that the claim is off by along the direction that refuted it."""
        entries = self._read(found)
        w = np.divide(failing.v, self.size, out=np.zeros(self.n), where=self.size != 0)
        left, allowed = failing.value - failing.claimed, failing.bar + entries.allowed
        claimed = entries.matrix * entries.scales
        for i, j in pairs:
            share = float(w[i] * w[j]) * (1 if i == j else 2)
            left -= share * (float(entries.value[i, j]) - float(claimed[i, j] + claimed[j, i]) / 2)
            allowed += abs(share) * float(entries.bar[i, j])
        return abs(left) <= allowed

    def _read(self, found: dict[Pair, Entry]) -> Entries:
        """Second derivatives from what was measured along single entries and sums of two."""
        matrix = self._matrix()
        assert matrix is not None
        value, bar = np.full((self.n, self.n), np.nan), np.full((self.n, self.n), np.inf)
        for (i, j), (along, width) in found.items():
            if i != j:
                if (i, i) not in found or (j, j) not in found:
                    continue
                (a, bar_a), (b, bar_b) = found[i, i], found[j, j]
                along, width = (along - a - b) / 2, (width + bar_a + bar_b) / 2
            value[i, j] = value[j, i] = along
            bar[i, j] = bar[j, i] = width
        allowed = REACH * self.rtol * self._scale([]) / self.n
        return Entries(matrix=matrix, value=value, bar=bar, allowed=allowed, size=self.size)

    def _charge(self, charges: Sequence[SecondCharge]) -> None:
        """Record what speaks against the claim, and mark it on the picture of the matrix, if there is one."""
        for charge in charges:
            told = write_second(charge, self.claimed, self.task.reproducer)
            self.findings.append(told)
            if self.claimed.matrix is None or charge.extent is Extent.UNKNOWN:
                continue
            sketch = self.task.options.collector.sketch(self.claimed.keyword, self.claimed.matrix)
            if charge.wrong is None:
                sketch.mark_all()
            else:
                sketch.mark_entries(*np.nonzero(charge.wrong))
            words = told.path if charge.extent is Extent.BLOCK else told.place
            if charge.entry is not None and charge.extent in (Extent.ENTRY, Extent.PAIR):
                words = str(list(charge.entry))
            sketch.words.append(words)


def _tread(plus: Vector, minus: Vector, f0: Vector) -> float:
    """Smallest movement of f, where there is a step at which it keeps its bits on both sides; else 0.

    A value is no better than that, whatever its own size: f may be what is left where terms have cancelled. (Of a
    smooth f the finest steps do not show less, or it moves by few roundings at the next.)
    """
    rises = np.abs(np.stack([plus, minus]) - f0.mean())
    moved = rises[np.isfinite(rises) & (rises > 0)]
    return float(moved.min()) if len(moved) and bool((rises == 0).all(axis=0).any()) else 0.0


def _resolved(h: Vector, even: Vector, unit: float) -> int | None:
    """The coarsest level from which on the even part of f, as far as rounding shows it, goes with the square of h.

    None where fewer than four levels are left, or so many roundings of size `unit` hide the rest.
    """
    shown = np.abs(even) > SHOWN_ROUNDINGS * unit
    last = int(np.flatnonzero(shown)[-1]) if shown.any() else -1
    start = last
    while start > 0 and shown[start - 1]:
        share = float(even[start - 1] / even[start] * (h[start] / h[start - 1]) ** 2)
        if not 1 / SQUARE <= share <= SQUARE:
            break
        start -= 1
    return start if last - start >= 3 else None
