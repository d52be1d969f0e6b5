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
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove
from gradproof._base._away import BudgetSpent
from gradproof._base._precision import is_double
from gradproof._claims._around import Around, as_runners
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import ALONE, FIRST, MOST, Cotangents
from gradproof._claims._entrywise import Entries
from gradproof._claims._first_look import FirstLook, RowNorms, sizes_and_sides
from gradproof._claims._linear_findings import OF_OUTPUTS, LinearFindings
from gradproof._claims._lines import Line
from gradproof._claims._locate import ROWS, explain_whole, locate, locate_entries
from gradproof._claims._proved import Measurement, Proved, conclude, unmeasured
from gradproof._claims._rows import ELEMENTWISE, Doubt, Rows
from gradproof._claims._scalar_proofs import SUSPECT, Aim, Asked, ScalarProof, ScalarProofs, own_seed, stands_still
from gradproof._claims._scene import Located, Scene, Whole, renumbered
from gradproof._claims._scene_lines import kinked
from gradproof._contracts import vanished
from gradproof._function._problem import Problem, Samples
from gradproof._prove import Direction, Directions
from gradproof._prove._charge import Sight
from gradproof._prove._laws import apart_confidence, shared
from gradproof._prove._prove import FEW
from gradproof._report import LeafResult, Reason, Severity, Verdict, worst

Vector = NDArray[np.float64]

# Leaves beside wrong ones that are proved one by one: that takes some 28 evaluations each, and 72 in three more proofs
# of all of them that share nothing.
FEW_LEFT = 2
# Steps of a lattice that hide an output's slope, relative to how far its natural size moves it.
TREAD = 1e-5


class LinearProof:
    """Proofs of <u, f> for one claim, one after the other.

    Parameters
    ----------
    claimed : Claimed
    options : Options
    reproducer : str
    around : Around
    look : FirstLook
    wider : mapping of int to float
        How much wider the bound of a leaf is because only some tangents of it were looked at; 1 by default.
    """

    def __init__(
        self,
        claimed: Claimed,
        options: _prove.Options,
        reproducer: str,
        *,
        look: FirstLook,
        around: Around,
        wider: dict[int, float] | None = None,
    ) -> None:
        self.around = around
        self.claimed = claimed
        self.primal = claimed.primal
        self.options = options
        self.reproducer = reproducer
        self.look = look
        self.wider = wider or {}
        self.limits = options.limits
        self.m = self.primal.outputs.size
        self.proofs = ScalarProofs(claimed, options, look, self.wider)
        self.samples = look.samples if claimed.measured == look.measured else Samples()
        # Sizes of terms that have cancelled in some outputs.
        self.terms: Vector | None = None
        # Leaves that turned out wrong, and those beside them that all outputs together have certified.
        self.wrong: set[int] = set()
        self.certified: dict[int, LeafResult] = {}
        self.findings = LinearFindings(claimed, reproducer)
        # Whether a slope of f that excludes the claim is 0, as far as it is measured.
        self.says_zero = False
        # A line along which the outputs of a known matrix deviate, and the mistake that explains them all.
        self.against: Line | None = None
        self.whole: Whole | None = None
        # Whether leaves may be certified alone that were not together.
        self.is_shared = False

    @ft.cached_property
    def size(self) -> Vector:
        """How far each measured entry may move; negative where only that way leads into the domain."""
        return sizes_and_sides(self.primal, self.claimed.measured, self.around)[0]

    @ft.cached_property
    def norms(self) -> RowNorms:
        return RowNorms(self.claimed, self.look, self.size, self.options.claim_eps, self.terms)

    def run(self) -> Proved:
        """Prove, locate what is wrong, and put it all together."""
        claimed, primal = self.claimed, self.primal
        results = unmeasured(primal, claimed.judged)
        found: Measurement | None = None
        if claimed.measured:
            found = self._measured()
            results.update(found.results)
            primal.look_again()
        findings = [*claimed.judged.findings, *self.findings.said.values()]
        proved = conclude(
            results,
            findings,
            measured=None if found is None else found.verdict,
            reason=None if found is None else found.reason,
            options=self.options,
            eps=self.look.declared,
            rtol=None if found is None else found.rtol,
            max_bound=None if found is None else self.limits.largest_bound(found.eps),
            claim_calls=claimed.calls,
            level="certificate" if found is None else found.level,
            misshapen=claimed.judged.misshapen,
        )
        return dataclasses.replace(proved, says_zero=self.says_zero, about=self.findings.about())

    def _measured(self) -> Measurement:
        """Measure all outputs at once, or cotangents where that does not settle the claim."""
        try:
            found = self._at_once()
        except BudgetSpent:
            found = Doubt()
        if not isinstance(found, Doubt):
            self.findings.add(found.findings)
            return found
        self.against, self.is_shared = found.line, found.is_shared
        self._by_cotangents(found.rows)
        made = self.proofs.made
        merged = self.proofs.merge(self.certified)
        again = self._row_by_row(merged)
        self.findings.after_all(merged if again is None else again.results)
        is_by_entry = self.m <= ALONE and all(proof.outcome.level == "entries" for proof in made)
        level = "entries" if is_by_entry else "certificate"
        if again is not None:
            return dataclasses.replace(again, level=level)
        eps = self.look.eps if made else self.look.declared
        return Measurement(
            results=merged,
            verdict=worst(leaf.verdict for leaf in merged.values()),
            reason=next((proof.outcome.reason for proof in made if proof.outcome.reason), self.limits.why_wide(eps)),
            eps=eps,
            rtol=max((proof.outcome.rtol for proof in made), default=self.limits.tolerance(eps)),
            level=level,
        )

    def _at_once(self) -> Measurement | Doubt:
        """Hold a matrix against all outputs at once."""
        if self.m == 1:
            return Doubt()
        everything = self.options.level == "entries" and not self.claimed.reduced
        eps = self.look.declared
        if everything:
            self.claimed.densify(everything=True)
            entries = Entries(self.claimed, self.options, eps=eps, around=self.around)
            found = entries.run()
            if isinstance(found, Doubt) or entries.wrong is None:
                return found
            scene = self._scene(self.samples, entries.wrong.eps, entries.wrong.rtol, rows=entries.sizes)
            located = self.findings.written(locate_entries(scene, entries.wrong))
            return dataclasses.replace(found, findings=(*located, *found.findings))
        if self.claimed.matrix is None and not is_double(eps) and self.m > ALONE:
            self.claimed.densify()
        # Of few outputs and few inputs every entry is measured by itself.
        is_tiny = self.m <= ALONE and self.claimed.columns <= FEW
        if self.claimed.matrix is None or is_tiny or self.m > ELEMENTWISE:
            return Doubt()
        rows = self._rows(self.claimed, self.options)
        try:
            return rows.run()
        finally:
            self.terms = rows.terms

    def _rows(self, claimed: Claimed, options: _prove.Options) -> Rows:
        return Rows(claimed, options, eps=self.look.declared, around=self.around, wider=self.wider)

    def _row_by_row(self, merged: dict[int, LeafResult]) -> Measurement | None:
        """Certify products with few outputs by all of their rows, where f is a staircase along mixtures of these."""
        undecided = worst(leaf.verdict for leaf in merged.values()) is Verdict.INCONCLUSIVE
        notices = [one for proof in self.proofs.made for one in proof.outcome.notices]
        on_stairs = {one.severity for one in notices if one.sight is Sight.TREADS}
        if not undecided or on_stairs != {Severity.NOTE} or self.claimed.matrix is not None:
            return None
        if not self.claimed.densify():
            return None
        return self._certified(self._rows(self.claimed, self.options))

    def _certified(self, rows: Rows) -> Measurement | None:
        """What rows say where they prove the claim right; else None."""
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

    def rows(self) -> Vector:
        """What deviations of each row are relative to: its norm, or more where rounding hides a row that small."""
        return self.norms.steadied()

    # ------------------------------------------------------------------------------------------------- cotangents

    def _by_cotangents(self, suspects: tuple[int, ...]) -> None:
        """Prove cotangents; outputs that lines have shown to deviate are proved by themselves if that finds nothing."""
        outputs = self.primal.outputs.leaves
        cotangents = Cotangents(outputs, self.norms.values, self.rows(), self.options.seed)
        measured = self.claimed.measured
        if self.m <= ALONE:
            confidence = shared(self.options.confidence, self.m)
            for i in [i for i in range(self.m) if not self.norms.vanishes(i)]:
                self._prove(self._alone(i, group=i, samples=self.samples, confidence=confidence))
            if not self.wrong:
                self.findings.place_notices()
            return
        if self.proofs.apart:
            self._certify_all([measured], cotangents)
            left = [i for i in measured if i not in self.wrong]
            if self._others_prove() and not self._by_rows(left):
                self._prove_anew(cotangents)
        else:
            self._certify_all([(i,) for i in measured], cotangents)
        self.findings.place_notices()
        if not self.wrong and not self.findings.said:
            self._prove_suspects(suspects)

    def _alone(self, i: int, *, group: int, samples: Samples, confidence: float) -> Aim:
        """One output by itself."""
        return Aim(
            group=group,
            cotangent=np.eye(1, self.m, i)[0],
            confidence=confidence,
            unit=self.claimed.measured,
            samples=samples,
        )

    def _prove_suspects(self, suspects: tuple[int, ...]) -> None:
        made = self.proofs.made
        for i in suspects[:ROWS]:
            if self.norms.vanishes(i):
                continue
            before = len(made), dict(self.findings.said)
            samples = Samples(self.samples.at_point)
            self._prove(self._alone(i, group=SUSPECT, samples=samples, confidence=self.options.confidence))
            is_nothing = bool(vanished(self.norms.own())[i]) and not self.wrong
            if is_nothing and made[-1].outcome.reason is Reason.DEGENERATE:
                # It stands still, and what is claimed of it is the rounding of 0.
                del made[before[0] :]
                self.findings.said = before[1]

    def _others_prove(self) -> bool:
        """Whether leaves are left beside wrong ones that cost less by all rows of a matrix, or one by one."""
        return bool(self.wrong) and 0 < len(self.claimed.measured) - len(self.wrong) <= self._few_left

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
        options = dataclasses.replace(self.options, seed=own_seed(self.options.seed, 0))
        found = self._certified(self._rows(claimed, options))
        if found is None:
            return False
        self.certified |= found.results
        self.findings.add(found.findings)
        return True

    def _prove_anew(self, cotangents: Cotangents) -> None:
        """Prove the leaves that are left one by one, and forget what was proved of them so far.

        Cotangents, directions and steps are new, so that what chose these leaves says nothing of their proofs.
        """
        drawn = max(sum(proof.group == g for proof in self.proofs.made) for g in range(len(cotangents.groups)))
        left = {i for i in self.claimed.measured if i not in self.wrong}
        self.proofs.start_anew(left)
        self._certify_all([(i,) for i in sorted(left)], cotangents, drawn=drawn)

    def _certify_all(self, units: Sequence[tuple[int, ...]], cotangents: Cotangents, *, drawn: int = 0) -> None:
        """Prove random cotangents for one set of leaves after the other; `drawn` cotangents are used up."""
        whole, groups, apart = self.options.confidence, len(cotangents.groups), self.proofs.apart
        confidence = apart_confidence(shared(whole, groups)) if apart else shared(whole, groups, 2 * self.proofs.most)
        for k, unit in enumerate(units):
            # (A leaf that is right costs less by all rows.)
            if unit[0] in self.certified or (self.is_shared and not self.wrong and self._by_rows(unit)):
                continue
            samples = self.samples if len(self.claimed.measured) == 1 else Samples(self.samples.at_point)
            before = len(self.wrong)
            for g in range(groups):
                self._certify(g, cotangents, confidence, unit, samples, drawn)
            if len(self.wrong) > before and not apart:
                self._by_rows([one[0] for one in units[k + 1 :]])

    def _certify(
        self,
        g: int,
        cotangents: Cotangents,
        confidence: float,
        unit: tuple[int, ...],
        samples: Samples,
        drawn: int,
    ) -> None:
        """Prove random cotangents of a group of outputs until the bounds on some leaves are narrow enough."""
        group = cotangents.groups[g]
        most = self.proofs.most if group.sum() > 1 else 1
        apart = self.proofs.apart
        for k in range(most):
            if apart and self._others_prove():
                return
            if k % FIRST == 0:
                some = range(drawn + k, drawn + min(k + FIRST, most))
                self.claimed.fetch(self.primal.outputs.rounded(cotangents.draw(i, group)) for i in some)
            u = self.primal.outputs.rounded(cotangents.draw(drawn + k, group))
            number = 1 + k + MOST * g if apart else None
            aim = Aim(group=g, cotangent=u, confidence=confidence, unit=unit, samples=samples, number=number)
            if not self._prove(aim):
                return
            looks = k + 1 == FIRST if apart else k + 1 >= FIRST
            if looks and self.proofs.is_tight(g, unit):
                return

    # ---------------------------------------------------------------------------------------------- one cotangent

    def _prove(self, aim: Aim) -> bool:
        """Prove one cotangent, the wrong leaves left out; whether it is of use to go on."""
        u = aim.cotangent
        pieces = {
            i: p for i, p in self.claimed.pieces(self.claimed.pull(u)).items() if i in aim.unit and i not in self.wrong
        }
        if not pieces:
            return False
        if len(pieces) != len(aim.unit):
            aim = dataclasses.replace(aim, samples=Samples(aim.samples.at_point))
        asked = self._asked(aim, pieces)
        outcome = asked.run()
        is_alone = np.count_nonzero(u) == 1
        if stands_still(outcome) and not aim.others_move and is_alone and self.norms.shows(u, aim.samples):
            # Another output moves, so that f sees its arguments: this one is constant.
            return self._prove(dataclasses.replace(aim, others_move=True))
        if outcome.verdict is Verdict.WRONG and self.m > ALONE and aim.resolution is None:
            lattice = u * aim.samples.lattice(self.look.eps)
            if lattice.any():
                return self._prove_on_lattice(aim, lattice)
        proof = ScalarProof(group=aim.group, cotangent=u, measured=asked.measured, norms=asked.norms(), outcome=outcome)
        accused = proof.accused
        if accused or outcome.verdict is Verdict.WRONG:
            proof = self._locate(proof, asked)
        self.proofs.made.append(proof)
        self.findings.hear(outcome.notices, asked.problem.leaves, self._shown_in(asked, outcome))
        self.wrong |= accused
        return self.proofs.is_of_use(proof)

    def _asked(self, aim: Aim, pieces: Mapping[int, Vector]) -> Asked:
        """What is claimed of <u, f> for some leaves as a scalar proof."""
        u, eps, measured = aim.cotangent, self.look.eps, tuple(sorted(pieces))
        problem = Problem(self.primal, pieces, reproducer=self.reproducer, cotangent=u, eps=eps, samples=aim.samples)
        seed = self.options.seed if aim.number is None else own_seed(self.options.seed, aim.number)
        lower, upper = self.around.sides(self.primal, measured)
        directions = Directions(problem.leaves, problem.point, problem.claim, seed, lower, upper)
        witnesses = self.around.witnesses(self.primal, pieces, problem.leaves, eps, cotangent=u)
        options = dataclasses.replace(
            self.options,
            confidence=aim.confidence,
            seed=seed,
            # Entries of a mixture of outputs are no entries of the claim.
            level=self.options.level if self.m <= ALONE else "certificate",
            witnesses=tuple(witnesses),
            mixed=self.claimed.reduced,
            resolution=aim.resolution or 0.0,
            lost=self.norms.lost(u),
            sees=aim.others_move,
            output=self.claimed.picked(u),
            judged_apart=self._few_left if self.proofs.apart else 0,
        )
        asked = Asked(
            aim=aim,
            problem=problem,
            directions=directions,
            runners=as_runners(witnesses),
            options=options,
            measured=measured,
            is_whole=len(pieces) == len(self.claimed.measured),
        )
        options = dataclasses.replace(options, max_bound=self.proofs.part_bound(aim.group, asked.norms()))
        asked = dataclasses.replace(asked, options=options)
        if self.claimed.matrix is None or not asked.is_whole:
            return asked

        def explained(looked: Direction) -> Collection[int]:
            scene = self._scene_of(asked, self.limits.tolerance(eps), looked)
            self.whole = explain_whole(scene, u)
            return () if self.whole is None else self.whole.leaves

        return dataclasses.replace(asked, options=dataclasses.replace(options, explained=explained))

    def _scene_of(self, asked: Asked, rtol: float, looked: Direction | None) -> Scene:
        """The scene of a scalar proof, with the first direction that it looked along."""
        samples, is_whole = asked.aim.samples, asked.is_whole
        scene = self._scene(samples if is_whole else Samples(samples.at_point), self.look.eps, rtol)
        if not is_whole or looked is None or len(looked.group) < len(asked.measured):
            return scene
        seed = asked.options.seed
        # (A proof of this seed looks along the directions of the lines: these say the same once more.)
        against = None if seed == self.options.seed else self.against
        return dataclasses.replace(scene, looked=(asked.directions.vector(looked).copy(), seed), against=against)

    def _shown_in(self, asked: Asked, outcome: _prove.Outcome) -> dict[Sight, list[int]]:
        """The outputs in which notices were seen, where these are known: of a mixture, those that have a kink."""
        rows = np.flatnonzero(asked.aim.cotangent).tolist()
        if len(rows) == 1:
            return dict.fromkeys(OF_OUTPUTS, rows if self.m > 1 else [])
        has_kink = any(one.sight is Sight.KINK for one in outcome.notices)
        return {Sight.KINK: kinked(self._scene_of(asked, outcome.rtol, outcome.looked))} if has_kink else {}

    def _prove_on_lattice(self, aim: Aim, lattice: Vector) -> bool:
        """Prove a mixture whose outputs lie on lattices of their own: these hide slopes from fine steps.

        No lattice shows in a sum: first without such outputs, then with all of them and the noise that they bring.
        """
        u = aim.cotangent
        fine = np.where(np.abs(lattice) <= TREAD * np.abs(u) * self.rows(), u, 0.0)
        if fine.any():
            goes_on = self._prove(self._resolved(aim, fine, lattice))
            if self.proofs.made[-1].outcome.verdict is Verdict.WRONG:
                return goes_on
            self.proofs.made.pop()
        return self._prove(self._resolved(aim, u, lattice))

    def _resolved(self, aim: Aim, v: Vector, lattice: Vector) -> Aim:
        """The same for a part v of the mixture, with what its values are rounded to."""
        known = float(np.linalg.norm(v / np.where(aim.cotangent == 0, 1.0, aim.cotangent) * lattice))
        return dataclasses.replace(aim, cotangent=v, resolution=known)

    def _locate(self, proof: ScalarProof, asked: Asked) -> ScalarProof:
        """Say where a proof has found the claim wrong; the same proof with that beside its leaves."""
        outcome, leaves = proof.outcome, asked.problem.leaves
        zones = [one for one in outcome.notices if one.severity is Severity.ERROR]
        located = [self.findings.noted(one, leaves) for one in zones]
        search: Located | None = self.whole
        if search is None and not located:
            with self.primal.watch.during("locating"):
                search = locate(
                    self._scene_of(asked, outcome.rtol, outcome.looked),
                    proof.cotangent,
                    renumbered(outcome, leaves, self.claimed.leaves),
                )
        if search is not None:
            located = self.findings.written(search)
            self.says_zero |= search.says_zero
        self.whole = None
        self.findings.add(located, is_at_point=bool(zones) and search is None)
        if self.m == 1:
            return proof
        words = located[0].kind if len(located) == 1 else f"{len(located)} findings"
        noted = tuple(
            dataclasses.replace(leaf, note=words) if leaf.verdict is Verdict.WRONG else leaf for leaf in outcome.leaves
        )
        return dataclasses.replace(proof, outcome=dataclasses.replace(outcome, leaves=noted))
