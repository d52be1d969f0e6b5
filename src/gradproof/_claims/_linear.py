"""Prove a derivative that is a linear map: all outputs at once, or by cotangents u, each a scalar proof of <u, f>.

A matrix is held against the slopes of all outputs first (`Rows`, or `Entries` where every entry is asked for); what
these do not settle, and what is known as products J^T u only, is proved by cotangents.

The bound. With m <= 4 outputs each is proved by itself, at confidence 1 - delta/m, and a leaf's bound is the largest.
With more outputs, u is drawn uniformly from the sphere, row i of f' weighted with the inverse of its norm, K times.
E is the error of f' in the weighted rows, a leaf's block of it. A proof bounds ``norm(E^T u)`` at confidence 1 - q.

*Shared*: proofs about one leaf use the same directions, steps and values of f, so K costs claims and arithmetic
only. With q = delta / (2 K) all K bounds hold together at 1 - delta/2; that every u misses most of E has a probability
below delta/2 as soon as the bound on the norm of E is `spread` times the largest of them. A few leaves are proved
one by one for the sake of this.

*Apart*: with more leaves, directions go through all of them, scaled by their claims, and every proof draws its own.
Then the events "the bound of proof k fails, or u_k sees less than t of the norm of E" are independent, each of
probability at most q + kappa t, and all K of them together have (q + kappa t)**K <= delta/2: the bound on the norm of
E is the largest divided by t (`spread_apart`). K is 4, or 8 where that is not narrow enough: two looks.

Either is stated relative to the root mean square of the norms of f'^T u over the cotangents, on average the Frobenius
norm of the leaf's weighted block. Where a jvp is known along some random tangents of a leaf only, these bound the
error once more by the same law.
"""

from __future__ import annotations

import copy
import dataclasses
import functools as ft
import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._base._away import BudgetSpent
from gradproof._base._leaf import Leaf, relaid
from gradproof._base._precision import EPS32, is_double
from gradproof._claims._around import Around, as_runners, natural_sizes, reach
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import (
    ALONE,
    FIRST,
    MOST,
    MOST_LOW,
    STREAM,
    Cotangents,
    rounding,
)
from gradproof._claims._entrywise import Entries
from gradproof._claims._lines import Line
from gradproof._claims._locate import ROWS, Located, Scene, Whole, explain_whole, locate, locate_entries, renumbered
from gradproof._claims._proved import About, Measurement, Proved, conclude, unmeasured
from gradproof._claims._rows import ELEMENTWISE, Doubt, Rows
from gradproof._contracts import row_floor, vanished
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem, Samples, coarsest_eps
from gradproof._prove import Direction, Directions, Outcome
from gradproof._prove._charge import Notice, Sight
from gradproof._prove._collect import MIX
from gradproof._prove._flat import STATIONARY_NOTE, STEPS
from gradproof._prove._laws import apart_confidence, shared, spread, spread_apart
from gradproof._prove._prove import FEW
from gradproof._prove._tolerance import TYPICAL_BLOCK, steadied, typical_bound, unsaturated
from gradproof._prove._wording import write_notice
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst

Vector = NDArray[np.float64]

# Leaves that are proved one by one, in float64 and in lower precision.
FEW_LEAVES, FEW_LEAVES_LOW = 4, 8
# The same beside leaves that have turned out wrong: one by one they take some 28 evaluations each, and 72 in three more
# proofs of all of them that share nothing.
FEW_LEFT = 2
# Steps of a lattice that hide an output's slope, relative to how far its natural size moves it.
TREAD = 1e-5
# A claim for an output that stands still may be rounding up to this share of the largest row.
VISIBLE = 1e-9
# In place of a group: outputs that are proved by themselves, whose bounds say nothing of the others.
SUSPECT = -1
# What f does at the point: causes are not looked for.
AT_THE_POINT = (Sight.KINK, Sight.JUMP, Sight.ZONE)
UNCHANGED = (Sight.SAME_BITS, Sight.UNMOVED)
STATIONARY = (Sight.STATIONARY, Sight.QUIET)
OF_ONE_OUTPUT = (*STATIONARY, Sight.FLAT)
# Mixtures of outputs whose deviations say how far the whole is off.
TELLING = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shot:
    """One scalar proof: of which outputs, along which cotangent, with what result for which leaves."""

    group: int
    cotangent: Vector
    measured: tuple[int, ...]
    norms: dict[int, float]
    outcome: Outcome

    def without(self, leaves: Collection[int]) -> Shot:
        """The same, as if nothing had been learned of some leaves."""
        kept = [i for i in self.measured if i not in leaves]
        of = {i: leaf for i, leaf in zip(self.measured, self.outcome.leaves, strict=True) if i in kept}
        zero = {
            kept.index(self.measured[k]): error
            for k, error in self.outcome.zero_errors.items()
            if self.measured[k] in of
        }
        outcome = dataclasses.replace(self.outcome, leaves=tuple(of[i] for i in kept), zero_errors=zero)
        return dataclasses.replace(self, measured=tuple(kept), outcome=outcome)


class LinearProof:
    """Proofs of <u, f> for one claim, one after the other.

    Parameters
    ----------
    claimed : Claimed
    options : Options
    reproducer : str
    around : Around
    probe : Probe
    wider : mapping of int to float
        How much wider the bound of a leaf is because only some tangents of it were looked at; 1 by default.
    """

    def __init__(
        self,
        claimed: Claimed,
        options: _prove.Options,
        reproducer: str,
        *,
        probe: Probe,
        around: Around,
        wider: dict[int, float] | None = None,
    ) -> None:
        self.around = around
        self.claimed = claimed
        self.primal = claimed.primal
        self.options = options
        self.reproducer = reproducer
        self.probe = probe
        self.wider = wider or {}
        self.limits = options.limits
        self.m = self.primal.outputs.size
        self.shots: list[Shot] = []
        self.samples = probe.samples if claimed.measured == probe.measured else Samples()
        self.findings: dict[tuple[str, ...], Finding] = {}
        # What they speak of, leaves numbered as those of the claim.
        self.about: dict[Finding, About] = {}
        # Whether a slope of f that excludes the claim is 0, as far as it is measured.
        self.says_zero = False
        # A line along which the outputs of a known matrix deviate, and the mistake that explains them all.
        self.against: Line | None = None
        # Whether leaves may be certified alone that were not together.
        self.is_shared = False
        self.whole: Whole | None = None
        # Leaves beside wrong ones that all outputs together have certified.
        self.certified: dict[int, LeafResult] = {}
        # Notices about single outputs, or mixtures, that say something only where they hold for all of them.
        self.moot: list[tuple[Notice, Finding]] = []

    @ft.cached_property
    def size(self) -> Vector:
        """How far each measured entry may move; negative where only that way leads into the domain."""
        return sizes_and_sides(self.primal, self.claimed.measured, self.around)[0]

    @ft.cached_property
    def apart(self) -> bool:
        """Whether proofs draw directions of their own: where there are too many leaves to prove one by one."""
        few = FEW_LEAVES if is_double(self.probe.eps) else FEW_LEAVES_LOW
        return self.m > ALONE and len(self.claimed.measured) > few

    @property
    def most(self) -> int:
        """How many cotangents at most."""
        return MOST if is_double(self.probe.eps) or self.apart else MOST_LOW

    def run(self) -> Proved:
        """Prove, locate what is wrong, and put it all together."""
        claimed, primal = self.claimed, self.primal
        results = unmeasured(primal, claimed.judged)
        reason: Reason | None = None
        verdict: Verdict | None = None
        rtol, max_bound, level = None, None, "certificate"
        if claimed.measured:
            try:
                found = self._at_once()
            except BudgetSpent:
                found = Doubt()
            if isinstance(found, Doubt):
                self.against, self.is_shared = found.line, found.is_shared
                self._shoot(found.rows)
                merged = self._merge()
                again = self._row_by_row(merged)
                if again is not None:
                    merged = again.results
                self._add(self._after_all(merged))
                reason = next((shot.outcome.reason for shot in self.shots if shot.outcome.reason), Reason.NOISE)
                rtol = max((shot.outcome.rtol for shot in self.shots), default=None)
                max_bound = self._max_bound() if self.shots else None
                if again is not None:
                    reason, rtol, max_bound = again.reason, again.rtol, self.limits.largest_bound(again.eps)
                if self.m <= ALONE and all(shot.outcome.level == "entries" for shot in self.shots):
                    level = "entries"
            else:
                merged, reason, rtol, level = found.results, found.reason, found.rtol, found.level
                max_bound = self.limits.largest_bound(found.eps)
                self._add(found.findings)
            results.update(merged)
            verdict = worst(leaf.verdict for leaf in merged.values())
            primal.look_again()
        findings = [*claimed.judged.findings, *self.findings.values()]
        proved = conclude(
            results,
            findings,
            measured=verdict,
            reason=reason,
            options=self.options,
            eps=self.probe.declared,
            rtol=rtol,
            max_bound=max_bound,
            claim_calls=claimed.calls,
            level=level,
        )
        measured = self.claimed.measured
        about = {
            one: dataclasses.replace(about, leaves=tuple(measured[k] for k in about.leaves))
            for one, about in self.about.items()
        }
        if self.claimed.crooked is not None:
            about[self.claimed.crooked] = About()
        return dataclasses.replace(proved, says_zero=self.says_zero, about=about)

    def _at_once(self) -> Measurement | Doubt:
        """Hold a matrix against all outputs at once."""
        if self.m == 1:
            return Doubt()
        everything = self.options.level == "entries" and not self.claimed.reduced
        eps = self.probe.declared
        if everything:
            self.claimed.densify(everything=True)
            entries = Entries(self.claimed, self.options, eps=eps, around=self.around)
            found = entries.run()
            if isinstance(found, Doubt) or entries.wrong is None:
                return found
            scene = self._scene(self.samples, entries.wrong.eps, entries.wrong.rtol, rows=entries.sizes)
            located = locate_entries(scene, entries.wrong)
            self.about |= located.about
            return dataclasses.replace(found, findings=(*located.findings, *found.findings))
        if self.claimed.matrix is None and not is_double(eps) and self.m > ALONE:
            self.claimed.densify()
        # Of few outputs and few inputs every entry is measured by itself.
        is_tiny = self.m <= ALONE and self.claimed.columns <= FEW
        if self.claimed.matrix is None or is_tiny or self.m > ELEMENTWISE:
            return Doubt()
        return Rows(self.claimed, self.options, eps=eps, around=self.around, wider=self.wider).run()

    def _row_by_row(self, merged: dict[int, LeafResult]) -> Measurement | None:
        """Certify products with few outputs by all of their rows, where f is a staircase along mixtures of these."""
        undecided = worst(leaf.verdict for leaf in merged.values()) is Verdict.INCONCLUSIVE
        on_stairs = {one.severity for shot in self.shots for one in shot.outcome.notices if one.sight is Sight.TREADS}
        if not undecided or on_stairs != {Severity.NOTE} or self.claimed.matrix is not None:
            return None
        if not self.claimed.densify():
            return None
        rows = Rows(self.claimed, self.options, eps=self.probe.declared, around=self.around, wider=self.wider)
        try:
            found = rows.run()
        except BudgetSpent:
            return None
        return None if isinstance(found, Doubt) or found.verdict is not Verdict.CORRECT else found

    def _scene(self, samples: Samples, eps: float, rtol: float, rows: Vector | None = None) -> Scene:
        return Scene(
            claimed=self.claimed,
            samples=samples,
            size=self.size,
            rows=self.rows() if rows is None else rows,
            eps=eps,
            rtol=rtol,
            options=self.options,
            around=self.around,
            reproducer=self.reproducer,
        )

    def _shoot(self, suspects: tuple[int, ...]) -> None:
        """Prove cotangents; outputs that lines have shown to deviate are proved by themselves if that finds nothing."""
        rows = self.rows()
        cotangents = Cotangents(self.primal.outputs.leaves, self.primal_values(), rows, self.options.seed)
        wrong: set[int] = set()
        if self.m <= ALONE:
            plan = [(i, np.eye(self.m)[i]) for i in range(self.m) if not self._vanishes(i)]
            confidence = shared(self.options.confidence, self.m)
            for group, u in plan:
                self._shot(group, u, confidence, wrong, self.claimed.measured, self.samples)
            return
        if self.apart:
            self._certify_all([self.claimed.measured], cotangents, wrong)
            left = [i for i in self.claimed.measured if i not in wrong]
            if self._others_prove(wrong) and not self._by_rows(left):
                self._prove_anew(cotangents, wrong)
        else:
            self._certify_all([(i,) for i in self.claimed.measured], cotangents, wrong)
        if wrong or self.findings:
            return
        for i in suspects[:ROWS]:
            if self._vanishes(i):
                continue
            unit_vector = np.eye(1, self.m, i)[0]
            samples = Samples(self.samples.at_point)
            before = len(self.shots), dict(self.findings)
            self._shot(SUSPECT, unit_vector, self.options.confidence, wrong, self.claimed.measured, samples)
            is_nothing = bool(vanished(self._own_rows())[i]) and not wrong
            if is_nothing and self.shots[-1].outcome.reason is Reason.DEGENERATE:
                # It stands still, and what is claimed of it is the rounding of 0.
                del self.shots[before[0] :]
                self.findings = before[1]

    def _vanishes(self, i: int) -> bool:
        """Whether an output is numerically zero beside the others, as claimed: there is nothing to prove."""
        rows = self._own_rows()
        if not is_double(self.probe.eps) or not vanished(rows)[i] or not rows.any():
            return False
        floor = row_floor(rows)
        claimed = float(np.linalg.norm(self.claimed.pull(np.eye(1, self.m, i)[0]) * self.size))
        return claimed <= floor and self.probe.moves(i) <= floor

    def _others_prove(self, wrong: set[int]) -> bool:
        """Whether leaves are left beside wrong ones that cost less by all rows of a matrix, or one by one."""
        return bool(wrong) and 0 < len(self.claimed.measured) - len(wrong) <= self._few_left

    @property
    def _few_left(self) -> int:
        """How many leaves may be left beside wrong ones for that."""
        return FEW_LEFT if self.claimed.matrix is None else len(self.claimed.measured)

    def _by_rows(self, left: Sequence[int]) -> bool:
        """Certify the leaves of a known matrix that are left beside wrong ones by all rows at once; whether they are.

        Directions are new, so that what chose these leaves says nothing of them.
        """
        if self.claimed.matrix is None or self.m > ELEMENTWISE or not left:
            return False
        claimed = copy.copy(self.claimed)
        claimed.leave({*self.claimed.measured} - {*left})
        options = dataclasses.replace(self.options, seed=_own_seed(self.options.seed, 0))
        rows = Rows(claimed, options, eps=self.probe.declared, around=self.around, wider=self.wider)
        try:
            found = rows.run()
        except BudgetSpent:
            return False
        if isinstance(found, Doubt) or found.verdict is not Verdict.CORRECT:
            return False
        self.certified |= found.results
        self._add(list(found.findings))
        return True

    def _prove_anew(self, cotangents: Cotangents, wrong: set[int]) -> None:
        """Prove the leaves that are left one by one, and forget what was proved of them so far.

        Cotangents, directions and steps are new, so that what chose these leaves says nothing of their proofs.
        """
        drawn = max(sum(shot.group == g for shot in self.shots) for g in range(len(cotangents.groups)))
        left = {i for i in self.claimed.measured if i not in wrong}
        self.shots = [shot.without(left) for shot in self.shots]
        self.apart = False
        self._certify_all([(i,) for i in sorted(left)], cotangents, wrong, drawn=drawn)

    def _certify_all(
        self, units: Sequence[tuple[int, ...]], cotangents: Cotangents, wrong: set[int], *, drawn: int = 0
    ) -> None:
        """Prove random cotangents for one set of leaves after the other; `drawn` cotangents are used up."""
        whole, groups = self.options.confidence, len(cotangents.groups)
        confidence = apart_confidence(shared(whole, groups)) if self.apart else shared(whole, groups, 2 * self.most)
        for k, unit in enumerate(units):
            # (A leaf that is right costs less by all rows.)
            if unit[0] in self.certified or (self.is_shared and not wrong and self._by_rows(unit)):
                continue
            samples = self.samples if len(self.claimed.measured) == 1 else Samples(self.samples.at_point)
            before = len(wrong)
            for g, group in enumerate(cotangents.groups):
                self._certify(g, group, cotangents, confidence, unit, samples, wrong, drawn)
            if len(wrong) > before and not self.apart:
                self._by_rows([one[0] for one in units[k + 1 :]])

    def _certify(
        self,
        g: int,
        group: NDArray[np.bool_],
        cotangents: Cotangents,
        confidence: float,
        unit: tuple[int, ...],
        samples: Samples,
        wrong: set[int],
        drawn: int,
    ) -> None:
        """Prove random cotangents of a group of outputs until the bounds on some leaves are narrow enough."""
        most = self.most if group.sum() > 1 else 1
        for k in range(most):
            if self.apart and self._others_prove(wrong):
                return
            if k % FIRST == 0:
                some = range(drawn + k, drawn + min(k + FIRST, most))
                self.claimed.fetch(self.primal.outputs.rounded(cotangents.draw(i, group)) for i in some)
            u = self.primal.outputs.rounded(cotangents.draw(drawn + k, group))
            number = 1 + k + MOST * g if self.apart else None
            if not self._shot(g, u, confidence, wrong, unit, samples, number=number):
                return
            looks = k + 1 == FIRST if self.apart else k + 1 >= FIRST
            if looks and self._tight(g, unit):
                return

    def _own_rows(self) -> Vector:
        """Norm of each row of f' in natural sizes: as claimed, or as measured."""
        matrix = self.claimed.matrix
        return self.probe.rows() if matrix is None else np.linalg.norm(matrix * self.size, axis=1)

    def rows(self) -> Vector:
        """What deviations of each row are relative to: its norm, or more where rounding hides a row that small."""
        eps = max(self.probe.eps, self.options.claim_eps)
        return unsaturated(steadied(self._own_rows(), eps), self.primal_values())

    def _lost(self, u: Vector) -> float:
        """What the claim's own precision may do to the slope of <u, f>."""
        eps = max(self.probe.eps, self.options.claim_eps)
        if is_double(eps):
            return 0.0
        return float(np.linalg.norm(u * rounding(self.rows(), eps, self.probe.at_point)))

    def primal_values(self) -> Vector:
        return self.probe.at_point

    def _shot(
        self,
        group: int,
        u: Vector,
        confidence: float,
        wrong: set[int],
        unit: tuple[int, ...],
        samples: Samples,
        *,
        number: int | None = None,
        resolution: float | None = None,
        sees: bool = False,
    ) -> bool:
        """Prove one cotangent, the wrong leaves left out; whether it is of use to go on.

        `number` asks for directions of its own. `resolution` and `sees` are those of `Options`, once they are known.
        """
        pieces = {i: p for i, p in self.claimed.pieces(self.claimed.pull(u)).items() if i in unit and i not in wrong}
        if not pieces:
            return False
        samples = samples if len(pieces) == len(unit) else Samples(samples.at_point)
        problem = Problem(
            self.primal,
            pieces,
            reproducer=self.reproducer,
            cotangent=u,
            eps=self.probe.eps,
            samples=samples,
        )
        seed = self.options.seed if number is None else _own_seed(self.options.seed, number)
        lower, upper = self.around.sides(self.primal, sorted(pieces))
        directions = Directions(problem.leaves, problem.point, problem.claim, seed, lower, upper)
        witnesses = self.around.witnesses(self.primal, pieces, problem.leaves, self.probe.eps, cotangent=u)
        options = dataclasses.replace(
            self.options,
            confidence=confidence,
            seed=seed,
            max_bound=self._part_bound(),
            # Entries of a mixture of outputs are no entries of the claim.
            level=self.options.level if self.m <= ALONE else "certificate",
            witnesses=tuple(witnesses),
            mixed=self.claimed.reduced,
            resolution=resolution or 0.0,
            lost=self._lost(u),
            sees=sees,
            output=self._named(u),
            judged_apart=self._few_left if self.apart else 0,
        )
        is_whole = len(pieces) == len(self.claimed.measured)

        def scene(rtol: float, looked: Direction | None) -> Scene:
            scene = self._scene(samples if is_whole else Samples(samples.at_point), self.probe.eps, rtol)
            if not is_whole or looked is None or len(looked.group) < len(pieces):
                return scene
            # (A proof of this seed looks along the directions of the lines: these say the same once more.)
            against = None if seed == self.options.seed else self.against
            return dataclasses.replace(scene, looked=(directions.vector(looked).copy(), seed), against=against)

        def explained(looked: Direction) -> Collection[int]:
            self.whole = explain_whole(scene(self.limits.tolerance(self.probe.eps), looked), u)
            return () if self.whole is None else self.whole.leaves

        if self.claimed.matrix is not None and is_whole:
            options = dataclasses.replace(options, explained=explained)
        runners = as_runners(witnesses)
        outcome = _run.answer(_prove.prove(problem, options, directions), problem, directions, runners)
        stands_still = _stands_still(outcome)
        if stands_still and not sees and np.count_nonzero(u) == 1 and self._is_visible(u, samples):
            # Another output moves, so that f sees its arguments: this one is constant.
            return self._shot(
                group, u, confidence, wrong, unit, samples, number=number, resolution=resolution, sees=True
            )
        if outcome.verdict is Verdict.WRONG and self.m > ALONE and resolution is None:
            lattice = u * samples.lattice(self.probe.eps)
            if lattice.any():
                # An output on a lattice of its own hides its slope from fine steps, and shows no lattice in a sum:
                # first without such outputs, then with all of them and the noise that they bring.
                fine = np.where(np.abs(lattice) <= TREAD * np.abs(u) * self.rows(), u, 0.0)
                for v in (fine, u) if fine.any() else (u,):
                    known = float(np.linalg.norm(v / np.where(u == 0, 1.0, u) * lattice))
                    on = self._shot(
                        group, v, confidence, wrong, unit, samples, number=number, resolution=known, sees=sees
                    )
                    if v is u or self.shots[-1].outcome.verdict is Verdict.WRONG:
                        return on
                    self.shots.pop()
        norms = {
            i: float(np.linalg.norm(problem.claim[leaf.start : leaf.stop] * directions.natural[leaf.start : leaf.stop]))
            for i, leaf in zip(sorted(pieces), problem.leaves, strict=True)
        }
        measured = tuple(sorted(pieces))
        shot = Shot(group=group, cotangent=u, measured=measured, norms=norms, outcome=outcome)
        self.shots.append(shot)
        accused = {i for i, leaf in zip(measured, outcome.leaves, strict=True) if leaf.verdict is Verdict.WRONG}
        if accused or outcome.verdict is Verdict.WRONG:
            zones = [one for one in outcome.notices if one.severity is Severity.ERROR]
            located = [self._noted(one, problem.leaves) for one in zones]
            search: Whole | Located | None = self.whole
            if search is None and not located:
                with self.primal.watch.during("locating"):
                    search = locate(
                        scene(outcome.rtol, outcome.looked),
                        u,
                        renumbered(outcome, problem.leaves, self.claimed.leaves),
                    )
            if search is not None:
                located = search.findings
                self.about |= search.about
                self.says_zero |= search.says_zero
            self.whole = None
            self._add(located, is_at_point=bool(zones) and search is None)
            if self.m > 1:
                words = located[0].kind if len(located) == 1 else f"{len(located)} findings"
                outcome = dataclasses.replace(
                    outcome,
                    leaves=tuple(
                        dataclasses.replace(leaf, note=words) if leaf.verdict is Verdict.WRONG else leaf
                        for leaf in outcome.leaves
                    ),
                )
                shot = dataclasses.replace(shot, outcome=outcome)
                self.shots[-1] = shot
        for one in outcome.notices:
            told = self._noted(one, problem.leaves)
            if self._moot(one):
                self.moot.append((one, told))
            elif one.severity is not Severity.ERROR:
                self._add([told], is_at_point=one.sight in AT_THE_POINT)
        wrong |= accused
        done = sum(shot.group == group and shot.measured == measured for shot in self.shots)
        if self.m > ALONE and not is_double(self.probe.eps) and done >= MOST:
            law = spread_apart if self.apart else spread
            wider = law(self.most, self.group_size(group), shared(self.options.confidence, 2))
            if any(leaf.bound is not None and leaf.bound * wider > self._max_bound() for leaf in outcome.leaves):
                return False
        hopeless = all(leaf.bound is None and leaf.verdict is Verdict.INCONCLUSIVE for leaf in outcome.leaves)
        return not hopeless or self.m <= ALONE

    def _named(self, u: Vector) -> str:
        """The output that a cotangent picks, where f has several."""
        if self.m == 1:
            return ""
        picked = np.flatnonzero(u)
        return self.claimed.output(int(picked[0])) if len(picked) == 1 else MIX

    def _is_visible(self, u: Vector, samples: Samples) -> bool:
        """Whether the claim for an output is more than rounding may leave of 0 or hide, as the other outputs tell."""
        claimed = float(np.linalg.norm(self.claimed.pull(np.sign(u)) * self.size))
        return claimed > VISIBLE * float(self.rows().max()) and samples.show(claimed)

    def _part_bound(self) -> float | None:
        """How narrow the bound of one proof must be for that on all of f' to be narrow enough."""
        if self.m <= ALONE:
            return self.options.max_bound
        law = spread_apart if self.apart else spread
        whole = self.options.max_bound
        if whole is None:
            whole = self.limits.largest_bound(self.probe.eps)
        return whole / law(self.most, self.m, shared(self.options.confidence, 2))

    def _max_bound(self) -> float:
        """The largest bound that may be called CORRECT."""
        return self.limits.largest_bound(self.probe.eps)

    def _noted(self, notice: Notice, leaves: Sequence[Leaf]) -> Finding:
        """A notice of a proof of some leaves as a finding."""
        return write_notice(notice, leaves, self.reproducer)

    def _moot(self, notice: Notice) -> bool:
        """Whether a notice speaks of one output alone: one that stands still is nothing to report."""
        is_still = notice.sight in OF_ONE_OUTPUT or (notice.sight in UNCHANGED and not notice.claimed)
        return self.m > 1 and is_still

    def _after_all(self, merged: dict[int, LeafResult]) -> list[Finding]:
        """Findings about single outputs that hold for all of them: f stands still, or is stationary."""
        if all(leaf.verdict is Verdict.INCONCLUSIVE and leaf.bound is None for leaf in merged.values()):
            return [told for one, told in self.moot if one.severity is Severity.DOUBT][:1]
        stationary = {leaf.path for leaf in merged.values() if leaf.note == STATIONARY_NOTE}
        notes = {told.path: told for one, told in self.moot if one.sight in STATIONARY and told.path in stationary}
        return list(notes.values())

    def _add(self, findings: Sequence[Finding], *, is_at_point: bool = False) -> None:
        """Add what is not known yet; what f does at the point along different u is all the same to the user."""
        for one in findings:
            identity = (one.id, one.path, *(() if is_at_point else (one.kind, one.place)))
            self.findings.setdefault(identity, one)

    def _tight(self, group: int, unit: tuple[int, ...]) -> bool:
        """Whether a typical wrong entry is excluded in every leaf."""
        low = not is_double(self.probe.eps)
        for i in unit:
            bound = self._bound(group, i)
            n = self.primal.leaves[i].size
            target = self._max_bound() if low else typical_bound(n * self.m, TYPICAL_BLOCK)
            if bound is not None and bound * self.wider.get(i, 1.0) > target:
                return False
        return True

    def _bound(self, group: int, i: int) -> float | None:
        """Bound on the error of leaf i's block, the rows of one group, relative to its own size; None without any."""
        seen: list[float] = []
        norms: list[float] = []
        largest = 0.0
        for shot in self.shots:
            if shot.group != group or i not in shot.measured:
                continue
            leaf = shot.outcome.leaves[shot.measured.index(i)]
            norms.append(shot.norms[i])
            if leaf.bound is not None:
                zero_error = shot.outcome.zero_errors.get(shot.measured.index(i))
                seen.append(leaf.bound * shot.norms[i] if zero_error is None else zero_error)
                largest = max(largest, leaf.bound)
        if not seen:
            return None
        if max(norms) == 0:
            # f is stationary along every cotangent: relative to how it moves.
            seen, norms = [largest] * len(seen), [1.0]
        if self.m <= ALONE:
            return max(seen) / max(norms)
        size = math.sqrt(float(np.mean(np.square(norms))))
        groups = 1 + max(shot.group for shot in self.shots)
        confidence = shared(self.options.confidence, 2 * groups)
        law = spread_apart if self.apart else spread
        return max(seen) * law(len(seen), self.group_size(group), confidence) / size

    def group_size(self, group: int) -> int:
        """Outputs in a group."""
        shot = next(shot for shot in self.shots if shot.group == group)
        return int(np.count_nonzero(shot.cotangent))

    def _merge(self) -> dict[int, LeafResult]:
        groups = sorted({shot.group for shot in self.shots if shot.group != SUSPECT})
        merged = {i: self.certified.get(i) or self._merge_leaf(i, groups) for i in self.claimed.measured}
        if any(leaf.bound is not None or leaf.verdict is Verdict.WRONG for leaf in merged.values()):
            for i in merged.keys() - self.certified:
                parts = [part for part in self._parts(i) if not self._stands_still(*part)]
                if not parts:
                    merged[i] = dataclasses.replace(
                        merged[i], verdict=Verdict.CORRECT, note="flat: f does not change", deviation=None
                    )
        return merged

    def _parts(self, i: int) -> list[tuple[Shot, LeafResult, float]]:
        """The proofs that leaf i took part in."""
        return [
            (shot, shot.outcome.leaves[shot.measured.index(i)], shot.norms[i])
            for shot in self.shots
            if i in shot.measured
        ]

    def _merge_leaf(self, i: int, groups: list[int]) -> LeafResult:
        parts = self._parts(i)
        tested = [part for part in parts if not self._stands_still(*part)]
        # A bound that is too wide for one cotangent may do for all together.
        verdict = worst(
            Verdict.CORRECT if leaf.bound is not None and leaf.verdict is Verdict.INCONCLUSIVE else leaf.verdict
            for _, leaf, _ in tested or parts
        )
        leaves = [leaf for _, leaf, _ in tested or parts]
        notes = {leaf.note for leaf in leaves if leaf.verdict is verdict}
        # What is said of all cotangents, or of those that decide; one of several that agree decides nothing.
        note = next(iter(notes)) if len(notes) == 1 else ""
        if not note and verdict is not Verdict.CORRECT:
            note = next((leaf.note for leaf in leaves if leaf.verdict is verdict and leaf.note), "")
        bounds = [bound for bound in (self._bound(group, i) for group in groups) if bound is not None]
        bound = None
        deviations = [leaf.deviation for leaf in leaves if leaf.deviation is not None]
        deviation = max(deviations, default=None)
        if verdict is Verdict.WRONG and self.m > 1:
            # Of one mixture, whose terms may cancel, the ratio says next to nothing of the whole.
            deviation = float(np.median(deviations)) if len(deviations) >= TELLING else None
        if verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE) and bounds:
            bound = max(bounds) * self.wider.get(i, 1.0)
            if verdict is Verdict.CORRECT and bound > self._max_bound():
                verdict, note = Verdict.INCONCLUSIVE, "the error bar is too wide to tell"
        bound = bound if bound is not None and bound < 1 else None
        leaf = self.primal.leaves[i]
        return LeafResult(
            path=leaf.path,
            shape=leaf.shape,
            dtype=leaf.dtype,
            verdict=verdict,
            bound=bound,
            deviation=deviation,
            noticeable=None if bound is None else bound * math.sqrt(leaf.size * self.m),
            note=note,
        )

    def _stands_still(self, shot: Shot, leaf: LeafResult, norm: float) -> bool:
        """Whether an output alone does not move, as claimed: that proves nothing of f, but that output is right."""
        return (
            self.m > 1
            and norm == 0
            and leaf.verdict is Verdict.INCONCLUSIVE
            and shot.outcome.reason is Reason.DEGENERATE
            and not _stands_still(shot.outcome)
        )


def _own_seed(seed: int, number: int) -> int:
    """The seed of a proof that shares no directions with the others."""
    return int(np.random.SeedSequence((seed, 5, number)).generate_state(1, np.uint64)[0])


def _stands_still(outcome: Outcome) -> bool:
    """Whether f does not move where the claim says that it does."""
    return any(one.sight in UNCHANGED and bool(one.claimed) for one in outcome.notices)


def sizes_and_sides(primal: Primal, measured: tuple[int, ...], around: Around) -> tuple[Vector, NDArray[np.int8]]:
    """How far each entry may move within the domain, signed where one side only lies in it: that side, else 0."""
    if around.bounds is None or not measured:
        size = natural_sizes(primal, measured)
        return size, np.zeros(len(size), dtype=np.int8)
    lower, upper = around.sides(primal, measured)
    chosen = [primal.leaves[i] for i in measured]
    leaves = relaid(chosen)
    point = np.concatenate([primal.point[leaf.start : leaf.stop] for leaf in chosen])
    directions = Directions(leaves, point, np.zeros(len(point)), 0, lower, upper)
    return directions.natural * np.where(directions.inward < 0, -1.0, 1.0), directions.inward


class Probe:
    """A first look at f beside the point: how much each output moves, and in what precision.

    Two random directions, a pair of steps along each; one evaluation where the claim's rows say how much.
    """

    def __init__(
        self,
        primal: Primal,
        measured: tuple[int, ...],
        seed: int,
        *,
        around: Around,
        eps: float | None = None,
    ) -> None:
        self.primal = primal
        self.measured = measured
        self.samples = Samples()
        self.at_point = primal.output_values()
        self.declared = max(coarsest_eps([primal.leaves[i] for i in measured]), primal.outputs.eps, eps or 0.0)
        self._seed = seed
        self._around = around

    @ft.cached_property
    def eps(self) -> float:
        """Relative precision of f: as declared, or float32 behind a float64 interface."""
        if is_double(self.declared) and self.primal.outputs.size > ALONE:
            values = self._values(0, self.step)
            if _looks_float32(values):
                return EPS32
        return self.declared

    @property
    def step(self) -> float:
        return 0.03 if is_double(self.declared) else min(10 * self.declared**0.5, 0.3)

    @ft.cached_property
    def _problem(self) -> Problem:
        zeros = {i: np.zeros(self.primal.leaves[i].size) for i in self.measured}
        return Problem(self.primal, zeros, samples=self.samples)

    @ft.cached_property
    def _directions(self) -> Directions:
        lower, upper = self._around.sides(self.primal, self.measured)
        problem = self._problem
        return Directions(problem.leaves, problem.point, problem.claim, self._seed, lower, upper)

    def _values(self, k: int, step: float) -> Vector:
        """Values beside the point, or at it where the domain ends before; nan where no evaluation is left."""
        v = self._vector(k)
        first, last = reach(self._problem.point, v, self._directions.lower, self._directions.upper)
        if not first <= step <= last:
            return self.at_point
        try:
            return self._problem.outputs(v, step)[0]
        except BudgetSpent:
            return np.full(len(self.at_point), math.nan)

    def _vector(self, k: int) -> Vector:
        group = tuple(range(len(self._problem.leaves)))
        return self._directions.vector(Direction(STREAM + k, group, (1.0,) * len(group))) / math.sqrt(
            max(1, len(self._problem.point))
        )

    @ft.cached_property
    def _rows(self) -> Vector:
        squares: list[Vector] = []
        for k in range(2):
            plus, minus = self._values(k, self.step), self._values(k, -self.step)
            squares.append(((plus - minus) / (2 * self.step)) ** 2 * self._directions.size)
        mean = np.mean(squares, axis=0)
        return np.sqrt(np.where(np.isfinite(mean), mean, 0.0))

    def rows(self) -> Vector:
        """Norm of each row of f' in natural sizes, roughly."""
        return self._rows

    def moves(self, i: int) -> float:
        """By how much an output changes while the inputs move by up to their natural sizes; inf where nobody can tell.

        The steps are those at which a leaf that claims to be flat must leave f as it is.
        """
        steps = [side * step * math.sqrt(self._directions.size) for step in STEPS for side in (1, -1)]
        moved = np.abs([self._values(0, step)[i] - self.at_point[i] for step in steps])
        return float(np.max(np.where(np.isfinite(moved), moved, np.inf)))


def _looks_float32(values: Vector) -> bool:
    """Whether a float64 interface hides float32 values."""
    nonzero = values[np.isfinite(values) & (values != 0)]
    if len(np.unique(nonzero)) < 4 or np.abs(nonzero).max() > 1e30:
        return False
    return bool((nonzero == nonzero.astype(np.float32)).all()) and bool((nonzero != np.round(nonzero)).any())
