"""A second-order claim alone: v^T H v against second differences of f (`_curves`).

Only the symmetric part of H shows in v^T H v; symmetry is held against the claim itself.

The bound. For random v on the sphere and any symmetric error D, ``abs(v^T D v) <= t norm(D)`` is most likely for a D of
rank one, where it is ``<a, v>**2 <= t``: the bound is the square of that for inner products.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools as it
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._base._away import BudgetSpent
from gradproof._claims._around import natural_sizes
from gradproof._claims._charge import Extent, SecondCharge
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import STREAM
from gradproof._claims._curved_entries import ENTRIES, LOCATE, EntryCurves
from gradproof._claims._curves import Curvature, Curves
from gradproof._claims._defined import excuse_undefined
from gradproof._claims._first_look import sizes_and_sides
from gradproof._claims._gradient import another_point, asks, undefined
from gradproof._claims._gradient_function import gradient_function
from gradproof._claims._hessian import accuse, explain_lines
from gradproof._claims._matrices import ask_matrix
from gradproof._claims._patterns import simple_factor
from gradproof._claims._proved import Proved, conclude, leaf_result, random_note, unmeasured
from gradproof._claims._reading import ask_hvp, read_jacobian
from gradproof._claims._repeats import Repeats
from gradproof._claims._second_directions import WIDEST, SecondDirections
from gradproof._claims._task import Task
from gradproof._claims._wording import CURVATURE, write_breach, write_second
from gradproof._function._primal import Primal
from gradproof._function._problem import coarsest_eps
from gradproof._prove import Direction, Directions
from gradproof._prove._charge import Notice, Sight
from gradproof._prove._flat import FLAT_NOTE, QUIET, UNTESTED_NOTE
from gradproof._prove._laws import curvature_bound, polarized_bound
from gradproof._prove._tolerance import CANCELLED, REACH, cancelled_zero
from gradproof._prove._wording import write_notice
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst

Vector = NDArray[np.float64]
# The verdict of all leaves, which move together, why there is none, and the results.
Settled = tuple[Verdict, Reason | None, dict[int, LeafResult]]

# Random directions.
DIRECTIONS = 8
WRONG_NOTE = "wrong second derivative"
# What is said of a claim that is not symmetric.
CROOKED = (_contracts.Identity.SYMMETRIC, _contracts.Identity.SYMMETRIC_PRODUCT)
# Lines that one factor must explain, and another mistake.
FACTOR_LINES, PATTERN_LINES = 3, 5
# Times that sizes are cut down where f is not finite all the way.
CUTS = 8


def prove_second(task: Task, claim: Any, keyword: str, *, within: float = 1.0) -> Proved:
    """Prove or refute `hess` or `hvp` of a scalar f without a gradient.

    `within` is the part of its natural size that x moves by: less than all where f is known to have kinks further out.
    """
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
    eps = coarsest_eps(primal.leaves)
    repeats = _repeats(task, shell, keyword, directions) if task.options.repeats else None
    if keyword == "hess":
        claimed, broken = _ask_hess(task, shell, claim, repeats, eps)
    else:
        claimed, broken = _ask_hvp(task, shell, claim, repeats, eps, directions)
    excuse_undefined(primal, claimed.judged, task.around)
    findings = list(claimed.judged.findings)
    results = unmeasured(primal, claimed.judged)
    verdict: Verdict | None = None
    reason: Reason | None = None
    rtol, max_bound = tolerances(task, eps)
    if claimed.measured and claimed.whole:
        steps, _ = sizes_and_sides(primal, everything, task.around)
        crooked = broken if broken is not None and broken.identity in CROOKED else None
        search = _Second(task, claimed, steps, directions, eps, rtol, max_bound, crooked, within)
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
            results[i] = leaf_result(primal.leaves[i], Verdict.INCONCLUSIVE, "not measured")
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
        misshapen=claimed.judged.misshapen,
    )
    if not asks(findings):
        return proved
    return dataclasses.replace(proved, suggestion=another_point(primal, task.options.seed, task.around.bounds))


def _ask_hess(
    task: Task, shell: Primal, claim: Any, repeats: Repeats | None, eps: float
) -> tuple[Claimed, _contracts.Breach | None]:
    """Read a claimed Hessian; how it is not symmetric, if it is not."""
    primal = task.primal
    if task.values["hess"]:
        claimed = read_jacobian(shell, claim, "hess", primal)
    else:
        claimed = ask_matrix(shell, claim, "hess", repeats, primal)
    if claimed.matrix is None or not claimed.whole:
        return claimed, None
    size = natural_sizes(primal, range(len(primal.leaves)))
    return claimed, _contracts.check_symmetric(
        "hess", claimed.matrix, size, eps, floor=lambda: _contracts.vanishing(eps, primal.value())
    )


def _ask_hvp(
    task: Task, shell: Primal, claim: Any, repeats: Repeats | None, eps: float, directions: Directions
) -> tuple[Claimed, _contracts.Breach | None]:
    """Ask for products with a Hessian; how they are not linear or not symmetric, if they are not."""
    primal = task.primal
    everything = tuple(range(len(primal.leaves)))
    draws = [directions.vector(Direction(STREAM + k, everything, (1.0,) * len(everything))).copy() for k in range(2)]
    claimed = ask_hvp(shell, primal, claim, draws[0], repeats)
    if not (claimed.measured and claimed.whole):
        return claimed, None
    size = natural_sizes(primal, everything)
    pairs = [(u, claimed.pull(u)) for u in draws]
    floor = _contracts.vanishing(eps, primal.value())
    moved = max(float(np.linalg.norm(u / size)) for u in draws)
    broken = _contracts.check_linear(
        "hvp", claimed.pull, pairs[0], pairs[1], size, eps, floor=lambda: moved * floor, repeat=claimed.repeat
    )
    return claimed, broken or _contracts.check_symmetric_product("hvp", pairs, size, eps, floor=lambda: floor)


def _repeats(task: Task, shell: Primal, keyword: str, directions: Directions) -> Repeats:
    """What holds two answers against each other, and against second differences of f where they differ."""
    primal = task.primal
    eps = coarsest_eps(primal.leaves)
    rtol, _ = tolerances(task, eps)
    unclaimed = Claimed(keyword, shell, ())
    curves = Curves(primal, unclaimed, directions, task.options, task.around, eps, rtol)
    return Repeats(keyword=keyword, options=task.options, around=task.around, curve=curves.curvature, accused=rtol)


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
        within: float = 1.0,
    ) -> None:
        # How the claim is not symmetric, if it is not.
        self.broken = broken
        self.task, self.claimed, self.size, self.directions = task, claimed, within * size, directions
        self.eps, self.rtol, self.max_bound = eps, rtol, max_bound
        self.primal: Primal = task.primal
        self.n = len(size)
        # From one side noise is larger, and the square of what random directions cost on top is too much.
        few = LOCATE if directions.folded(range(len(self.primal.leaves))) else ENTRIES
        self.by_entries = self.n <= few or task.options.level == "entries"
        self.curves = Curves(task.primal, claimed, directions, task.options, task.around, eps, rtol)
        self.along = SecondDirections(claimed, directions, self.curves, self.size, within)
        self.entries = EntryCurves(claimed, self.curves, self.size, lambda: self._scale([]), by_entries=self.by_entries)
        self.findings: list[Finding] = []
        # The lines along which f was measured.
        self.lines: list[Curvature] = []

    def run(self) -> Settled:
        """Measure, judge, locate; the same result for all leaves, which move together."""
        try:
            found = self._search()
        except BudgetSpent:
            return Verdict.INCONCLUSIVE, Reason.BUDGET, self.results(Verdict.INCONCLUSIVE)
        if not self.curves.is_random:
            return found
        self.findings.append(random_note())
        verdict, reason, results = found
        return verdict, Reason.STOCHASTIC if verdict is Verdict.INCONCLUSIVE else reason, results

    def _search(self) -> Settled:
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

    def _look(self, *, cut: bool) -> Settled | None:
        """Measure and judge; None where natural sizes were too large for f, and have been cut down."""
        self.lines = []
        self.curves.forget()
        unmoved: list[Curvature] = []
        for v in self._vectors():
            found = self.curves.measure(v)
            if cut and math.isnan(found.variation) and self.along.cut_down(v, reach=1.0 if self.by_entries else WIDEST):
                return None
            if found.keeps_bits and found.witnesses_agree:
                # What it says depends on whether f moves along others, and by how much at least.
                unmoved.append(found)
                continue
            settled = self._hear(v, found)
            if settled is not None:
                return settled
        return self._hear_unmoved(unmoved) or self._weigh()

    def _hear(self, v: Vector, found: Curvature) -> Settled | None:
        """Add a line to those that agree; what is settled where it does not."""
        if self._off(found):
            again = self.curves.measure(v, full=True)
            if self._off(again) and math.isfinite(again.bar):
                return self._excluded(v, again)
            if not again.deviation <= again.bar + self.rtol * self._scale(self.lines):
                return self._unsettled(Reason.UNSTABLE)
            found = again
        if not found.witnesses_agree:
            return self._unsettled(Reason.WITNESSES)
        self.lines.append(found)
        self.curves.keep(v, found)
        return None

    def _hear_unmoved(self, unmoved: Sequence[Curvature]) -> Settled | None:
        """Add lines along which f keeps its bits; what is settled by them."""
        moving = [one for one in self.lines if one.variation > 0]
        if unmoved and not moving:
            self._report_unchanged(next((one for one in unmoved if one.claimed != 0), unmoved[0]))
            return self._unsettled(Reason.DEGENERATE)
        for found in unmoved:
            still = self.curves.still(found, moving)
            if self._off(still):
                again = self.curves.measure(found.v, full=True)
                still = self.curves.still(again, moving) if again.keeps_bits else again
            if self._off(still):
                return self._excluded(found.v, still)
            self.curves.keep(found.v, still)
            self.lines.append(still)
        return None

    def _weigh(self) -> Settled:
        """Bound the error from lines that all agree."""
        seen = self.lines
        if not all(math.isfinite(one.bar) for one in seen):
            outside = any(math.isnan(one.variation) for one in seen)
            return self._unsettled(Reason.DOMAIN if outside else Reason.NO_CONVERGENCE)
        scale = self._scale(seen)
        if scale == 0:
            self._report_unchanged(seen[0])
            return self._unsettled(Reason.DEGENERATE)
        largest = max(one.deviation + one.bar for one in seen)
        if self.by_entries:
            bound = polarized_bound(largest, self.n) / scale
        else:
            folded = self.directions.folded(range(len(self.claimed.leaves)))
            confidence = self.task.options.confidence
            bound = curvature_bound(largest, len(seen), self.n, confidence, folded=folded) / scale
        deviation = max(one.deviation for one in seen) / scale
        verdict = Verdict.CORRECT if bound <= self.max_bound else Verdict.INCONCLUSIVE
        note = "" if verdict is Verdict.CORRECT else "the error bar is too wide to tell"
        results = self.results(verdict, bound=bound if bound < 1 else None, deviation=deviation, note=note)
        if verdict is Verdict.CORRECT and len(results) > 1:
            results = self._leaf_by_leaf(results, bound * scale)
            verdict = worst(leaf.verdict for leaf in results.values())
        return verdict, None if verdict is Verdict.CORRECT else Reason.NOISE, results

    def _excluded(self, v: Vector, line: Curvature) -> Settled:
        """What is settled by a line that excludes the claim."""
        self.curves.keep(v, line)
        self._accuse([*self.lines, line], line)
        return Verdict.WRONG, None, self.results(Verdict.WRONG, note=WRONG_NOTE)

    def _unsettled(self, reason: Reason) -> Settled:
        return Verdict.INCONCLUSIVE, reason, self.results(Verdict.INCONCLUSIVE)

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
        shares = self.along.shares()
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
            v[leaf.start : leaf.stop] = self.along.through_all()[leaf.start : leaf.stop]
        if not flat:
            return True
        found = self.curves.measure(v)
        return found.deviation <= found.bar

    def results(
        self, verdict: Verdict, *, bound: float | None = None, deviation: float | None = None, note: str = ""
    ) -> dict[int, LeafResult]:
        """The same for all leaves."""
        return {
            i: leaf_result(
                leaf,
                verdict,
                bound=bound,
                deviation=deviation,
                noticeable=None if bound is None else bound * self.n,
                note=note,
            )
            for i, leaf in enumerate(self.primal.leaves)
        }

    def _vectors(self) -> Iterator[Vector]:
        return self.entries.every_vector() if self.by_entries else self.along.random(DIRECTIONS)

    def _scale(self, seen: list[Curvature]) -> float:
        """Norm of H in natural sizes, as claimed; where the claim is 0, a share of how much f changes."""
        return self.along.norm() or 1e-3 * max((one.variation for one in seen), default=0.0)

    def _off(self, found: Curvature) -> bool:
        """Whether a line deviates by more than its bar, and what is forgiven, allow."""
        scale = max(self._scale([*self.lines, found]), abs(found.claimed))
        if self.by_entries:
            # An entry's share of the whole.
            scale = max(scale / self.n, abs(found.claimed))
        # (At a large x the slope of f may leave as much of a second derivative that is 0.)
        slope = found.variation / self.curves.coarse if found.variation > 0 else 0.0
        lost = float(cancelled_zero(self.size, self.size, self.eps).max()) * slope
        return math.isfinite(found.bar) and found.deviation > found.bar + max(REACH * self.rtol * scale, lost)

    def _accuse(self, seen: list[Curvature], failing: Curvature) -> None:
        """Say what is wrong: one mistake of the whole, of a part, or few entries."""
        plain = SecondCharge(
            extent=Extent.UNKNOWN, claimed=failing.claimed, reference=failing.value, error_bar=failing.bar
        )
        charges = [plain]
        self.curves.is_refuted = True
        with contextlib.suppress(BudgetSpent):
            charges = self._explained(seen, failing, plain) or [plain]
        self._charge(charges)

    def _explained(self, seen: list[Curvature], failing: Curvature, plain: SecondCharge) -> list[SecondCharge]:
        """One factor; another mistake of the whole; what is wrong entry by entry, where these are few."""
        lines = list(seen)
        new = it.islice(self.along.random(DIRECTIONS), 0 if self.by_entries else len(seen), None)
        lines += [self.curves.measure(v) for v in it.islice(new, max(FACTOR_LINES - len(seen), 0))]
        factors = {simple_factor(one.claimed, one.value, one.bar) for one in lines}
        if len(factors) == 1 and None not in factors:
            factor = factors.pop()
            return [dataclasses.replace(plain, extent=Extent.ALL, factor=factor)]
        matrix = self.entries.matrix()
        if matrix is not None and not self.by_entries:
            lines += [self.curves.measure(v) for v in it.islice(new, max(PATTERN_LINES - len(lines), 0))]
            known = [(one.v, one.value, one.bar) for one in lines]
            found = explain_lines(matrix, known, self.claimed.leaves, plain)
            if found is not None:
                return [found]
        if self.n <= LOCATE or self.by_entries:
            return accuse(self.entries.measure(range(self.n), failing), self.claimed.leaves)
        if matrix is None or self.broken is None or self.broken.entry is None:
            return []
        # Two entries that should be equal: whether one of them is all that is wrong.
        pair = self.entries.measure(self.broken.entry)
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
        matrix, broken = self.entries.matrix(), self.broken
        if broken is not None and broken.entry is None and matrix is not None:
            broken = _contracts.check_symmetric(broken.keyword, matrix, np.abs(self.size), self.eps)
        if broken is None or broken.entry is None:
            return False
        charges: list[SecondCharge] = []
        with contextlib.suppress(BudgetSpent):
            all_known = self.by_entries and len(self.lines) == self.n * (self.n + 1) // 2
            entries = self.entries.measure(range(self.n) if all_known else broken.entry)
            charges = accuse(entries, self.claimed.leaves)
        self._charge(charges)
        return bool(charges)

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
