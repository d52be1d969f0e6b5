"""A vjp of a function with many outputs: proofs of <u, f> for a few u that share every value of f.

All cotangents are drawn beforehand, so that only their products with f are kept of each evaluation, and neither a
vector per step nor a matrix is ever held. u is drawn uniformly from the sphere, each output weighted with the inverse
of how much it moves; outputs that are large beside how they move weigh less, lest their rounding drown the others.

All products are certified together first, along a few lines (`Rows`, whose bound holds for all of them with what is
left of confidence, and so for each); what that does not settle is proved one by one, each a scalar proof.

The bound is that of `gradproof._claims._linear` for proofs that share directions, steps and values of f: each of K
holds at confidence 1 - delta / (2 K), and `spread` goes from the widest of them to all of f'.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts, _prove, _run
from gradproof._base._away import BudgetSpent
from gradproof._base._pieces import is_large
from gradproof._base._precision import is_double
from gradproof._claims._around import Around, natural_sizes
from gradproof._claims._claimed import DENSE, Claimed
from gradproof._claims._cotangents import STEADY, held
from gradproof._claims._defined import excuse_undefined
from gradproof._claims._first_look import FirstLook
from gradproof._claims._proved import Proved, conclude, leaf_result, unmeasured
from gradproof._claims._reading import ask_vjp
from gradproof._claims._repeats import Repeats
from gradproof._claims._rows import Doubt, Rows
from gradproof._claims._wording import write_breach
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem, Samples
from gradproof._prove import Directions, Outcome
from gradproof._prove._charge import Notice
from gradproof._prove._collect import MIX
from gradproof._prove._laws import shared, spread
from gradproof._prove._wording import entries_of, quantity_of, write, write_notice
from gradproof._reference import Trusted
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst

Vector = NDArray[np.float64]
Function = Callable[..., Any]

# Cotangents in float64, and in lower precision, where every bound is wide.
COUNT, COUNT_LOW = 3, 12
# Outputs that are named where a lone entry is wrong, and what is said where they are more.
SHOWN = 3
ALL_OUTPUTS = "through all outputs together"


def prove_many(primal: Primal, vjp: Function, options: _prove.Options, around: Around, reproducer: str) -> Proved:
    """Prove or refute a vjp by a few random cotangents, and that it is linear.

    Parameters
    ----------
    primal : Primal
        Of a function with at least `COUNT_LOW` outputs, all finite.
    vjp : callable
        ``vjp(cotangent, *args)``.
    options : Options
    around : Around
    reproducer : str
    """
    return _Proof(primal, vjp, options, around, reproducer).run()


class _Proof:
    def __init__(self, primal: Primal, vjp: Function, options: _prove.Options, around: Around, reproducer: str) -> None:
        self.primal = primal
        self.options = options
        self.around = around
        self.reproducer = reproducer
        everything = tuple(i for i, leaf in enumerate(primal.leaves) if leaf.size)
        look = FirstLook(primal, everything, options.seed, around=around)
        self.eps = look.eps
        weights = _weights(np.abs(primal.output_values()), look.rows())
        self.weights = held(weights, primal.outputs.leaves)
        self._draw(COUNT if is_double(look.eps) else COUNT_LOW)
        repeats = Repeats(keyword="vjp", options=options, around=around) if options.repeats else None
        self.claimed = ask_vjp(primal, vjp, self.cotangents[0], repeats)
        self.reduced = self._reduce()
        # Whether products with the cotangents have shown themselves to be staircases.
        self.on_stairs = False

    def _draw(self, count: int) -> None:
        """Draw the cotangents."""
        m = self.primal.outputs.size
        self.count = count
        self.cotangents = np.empty((count, m))
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.options.seed, 7))))
        for k in range(count):
            u = generator.standard_normal(m)
            u *= math.sqrt(m) / float(np.linalg.norm(u))
            u *= self.weights
            self.cotangents[k] = self.primal.outputs.rounded(u)
        # Where large terms cancel, the sum does not show how far it is rounded; see `gradproof._function._problem`.
        self.offsets = np.sqrt(np.square(self.cotangents) @ np.square(self.primal.output_values()))

    def _reduce(self) -> Primal:
        """F as all inner products with the cotangents."""
        primal = self.primal

        def products(*args: Any) -> Vector:
            primal.count()
            return self.cotangents @ primal.read(primal.f(*args)) + self.offsets

        reduced = Primal(products, primal.given, primal.given_wrt, name=primal.name, names=primal.names, is_vector=True)
        reduced.short_name = primal.short_name
        reduced.count_elsewhere()  # `products` tells
        reduced.refusals = primal.refusals
        reduced.share_allowance(primal)
        return reduced

    def run(self) -> Proved:
        claimed, primal = self.claimed, self.primal
        excuse_undefined(primal, claimed.judged, self.around)
        results = unmeasured(primal, claimed.judged)
        findings: list[Finding] = []
        outcomes: list[Outcome] = []
        verdict: Verdict | None = None
        if claimed.measured and self._is_linear():
            merged = self._at_once()
            if merged is None and self.on_stairs and self.count < COUNT_LOW:
                # Jumps leave bars as wide as low precision does.
                self._draw(COUNT_LOW)
                self.reduced = self._reduce()
                merged = self._at_once()
            if merged is None:
                outcomes, norms = self._prove()
                if self.count < COUNT_LOW and self._needs_more(outcomes):
                    self._draw(COUNT_LOW)
                    self.reduced = self._reduce()
                    outcomes, norms = self._prove()
                merged = self._merge(outcomes, norms)
            verdict = worst(leaf.verdict for leaf in merged.values())
            results.update(merged)
            findings = self._findings(outcomes)
        for one in (primal, self.reduced):
            one.look_again()
        changed = list(dict.fromkeys(primal.changed + self.reduced.changed))
        findings = [*_contracts.find_aliases(primal.origins), *claimed.judged.findings, *findings]
        findings += _contracts.find_mutations(changed, claimed.changed, claimed.keyword)
        return conclude(
            results,
            findings,
            measured=verdict,
            reason=next((outcome.reason for outcome in outcomes if outcome.reason), self._why_wide()),
            options=self.options,
            eps=self.eps,
            rtol=max((outcome.rtol for outcome in outcomes), default=None),
            max_bound=self._largest(),
            claim_calls=claimed.calls,
            misshapen=claimed.judged.misshapen,
        )

    def _needs_more(self, outcomes: list[Outcome]) -> bool:
        """Whether a bound was too wide for a few cotangents, but may do for many."""
        undecided = [leaf for leaf in outcomes[-1].leaves if leaf.verdict is Verdict.INCONCLUSIVE]
        least = self._largest() / self._spread(COUNT_LOW)
        return bool(undecided) and all(leaf.bound is not None and leaf.bound < 4 * least for leaf in undecided)

    def _is_linear(self) -> bool:
        if self.claimed.judged.set_aside:
            return False
        size = natural_sizes(self.primal, self.claimed.measured)
        one, other = ((u, self.claimed.pull(u)) for u in self.cotangents[:2])
        floor = float(np.linalg.norm(one[0])) * _contracts.vanishing(self.eps, self.primal.output_values())
        broken = _contracts.check_linear(
            "vjp",
            self.claimed.pull,
            one,
            other,
            size,
            self.eps,
            floor=lambda: floor,
            repeat=self.claimed.repeat,
        )
        if broken is not None:
            self.claimed.give_up(write_breach(broken))
        return broken is None

    def _largest(self) -> float:
        limits = self.options.limits
        return limits.largest_bound(self.eps)

    def _why_wide(self) -> Reason:
        return self.options.limits.why_wide(self.eps)

    def _spread(self, count: int) -> float:
        return spread(count, self.primal.outputs.size, shared(self.options.confidence, 2))

    def _at_once(self) -> dict[int, LeafResult] | None:
        """Certify all products with the cotangents along the same few lines; None where that does not settle it."""
        if is_large(self.primal.point) or self.count * self.claimed.columns > DENSE:
            return None
        claimed = Claimed("vjp", self.reduced, ("",))
        claimed.mixed = True
        claimed.measure(self.claimed.measured)
        claimed.use_matrix(np.array([self.claimed.pull(u) for u in self.cotangents]))
        wider = self._spread(self.count)
        options = dataclasses.replace(
            self.options, confidence=shared(self.options.confidence, 2), max_bound=self._largest() / wider
        )
        rows = Rows(claimed, options, eps=self.eps, around=self.around.without_witnesses())
        try:
            found = rows.run()
        except BudgetSpent:
            return None
        self.on_stairs = rows.on_stairs
        if isinstance(found, Doubt) or found.findings or found.eps > self.eps:
            return None
        results: dict[int, LeafResult] = {}
        sized = rows.matrix * rows.scale.natural
        squares = np.einsum("ij,ij->j", sized, sized)
        for norm, leaf, (i, result) in zip(rows.norms.tolist(), claimed.leaves, found.results.items(), strict=True):
            if result.bound is None:
                return None
            # The bound holds for all rows together, each in its own size, and so for each of them.
            error = result.bound * norm / float(rows.scale.weights.min())
            size = math.sqrt(float(squares[leaf.start : leaf.stop].sum()) / self.count)
            bound = error * wider / size
            if bound > self._largest():
                return None
            noticeable = bound * math.sqrt(leaf.size * self.primal.outputs.size)
            results[i] = dataclasses.replace(
                result, verdict=Verdict.CORRECT, bound=bound, noticeable=noticeable, note=""
            )
        return results

    def _prove(self) -> tuple[list[Outcome], list[dict[int, float]]]:
        """One scalar proof for each cotangent, until one is wrong, and the norms of the claims."""
        options = dataclasses.replace(
            self.options,
            confidence=shared(self.options.confidence, 2 * self.count),
            max_bound=self._largest() / self._spread(self.count),
            output=MIX,
        )
        samples = Samples()
        outcomes: list[Outcome] = []
        norms: list[dict[int, float]] = []
        for k, u in enumerate(self.cotangents):
            problem = Problem(
                self.reduced,
                self.claimed.pieces(self.claimed.pull(u)),
                reproducer=self.reproducer,
                cotangent=np.eye(1, self.count, k)[0],
                eps=self.eps,
                samples=samples,
            )
            lower, upper = self.around.sides(self.primal, self.claimed.measured)
            directions = Directions(problem.leaves, problem.point, problem.claim, self.options.seed, lower, upper)
            asked, witnesses = options, {}
            if self.around.reference is not None:
                pieces = self.claimed.pieces(problem.claim)
                witnesses = {"reference": Trusted(self.primal, self.around.reference, pieces, u)}
                asked = dataclasses.replace(options, witnesses=tuple(witnesses))
            outcomes.append(_run.answer(_prove.prove(problem, asked, directions), problem, directions, witnesses))
            options.collector.draw(outcomes[-1].regions, directions)
            spans = {
                i: slice(leaf.start, leaf.stop) for i, leaf in zip(self.claimed.measured, problem.leaves, strict=True)
            }
            norms.append(
                {i: float(np.linalg.norm(problem.claim[span] * directions.natural[span])) for i, span in spans.items()}
            )
            if outcomes[-1].verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE):
                break
        return outcomes, norms

    def _merge(self, outcomes: list[Outcome], norms: list[dict[int, float]]) -> dict[int, LeafResult]:
        merged: dict[int, LeafResult] = {}
        for k, i in enumerate(self.claimed.measured):
            leaf = self.primal.leaves[i]
            parts = [outcome.leaves[k] for outcome in outcomes]
            verdict = worst(
                Verdict.CORRECT if part.bound is not None and part.verdict is Verdict.INCONCLUSIVE else part.verdict
                for part in parts
            )
            deciding = [part for part in parts if part.verdict is verdict] or parts
            bound, note = None, deciding[0].note
            size = math.sqrt(sum(norm[i] ** 2 for norm in norms) / len(norms))
            if verdict is Verdict.CORRECT and size > 0 and all(part.bound is not None for part in parts):
                widest = max((part.bound or 0.0) * norm[i] for part, norm in zip(parts, norms, strict=True))
                bound = widest * self._spread(self.count) / size
                if len(outcomes) < self.count or bound > self._largest():
                    verdict, note = Verdict.INCONCLUSIVE, "the error bar is too wide to tell"
                bound = bound if bound < 1 and len(outcomes) == self.count else None
            merged[i] = leaf_result(
                leaf,
                verdict,
                bound=bound,
                deviation=max((part.deviation for part in parts if part.deviation is not None), default=None),
                noticeable=None if bound is None else bound * math.sqrt(leaf.size * self.primal.outputs.size),
                note=note,
            )
        return merged

    # ------------------------------------------------------------------------------------------------------ places

    def _findings(self, outcomes: list[Outcome]) -> list[Finding]:
        found: dict[Any, Finding] = {}
        leaves = self.claimed.leaves
        for outcome in outcomes:
            for one in outcome.statements:
                if isinstance(one, Notice):
                    through = ALL_OUTPUTS if one.severity is Severity.ERROR else ""
                    told = write_notice(one, leaves, self.reproducer, through=through)
                    found.setdefault((told.id, told.path), told)
                    continue
                leaf = leaves[one.leaves[0]]
                entries = entries_of(one, leaf)
                box = () if entries or one.place is None else one.place.box
                about = (one.sides is None, leaf.path, box, entries)
                if about in found:
                    continue
                is_lone = quantity_of(one) == "entry" and len(entries) == 1
                through = self._through(leaf.path, entries[0]) if is_lone else ""
                found[about] = write(one, leaves, self.reproducer, through=through or ALL_OUTPUTS)
        return list(found.values())

    def _through(self, path: str, entry: tuple[int, ...]) -> str:
        """The outputs that one entry of x moves, if they are few."""
        leaf = next(leaf for leaf in self.primal.leaves if leaf.path == path)
        j = leaf.start + (int(np.ravel_multi_index(entry, leaf.shape)) if leaf.shape else 0)
        primal = self.primal
        values: list[Vector] = []
        for step in (1e-3, -1e-3):
            moved = primal.point.copy()
            moved[j] += step * max(abs(moved[j]), 1e-3)
            if self.around.bounds is not None:
                moved = np.clip(moved, *self.around.bounds)
            primal.count()
            found = primal.elsewhere(primal.make(moved), "beside the point")
            if found is None:
                return ""
            values.append(found)
        outputs = np.flatnonzero(values[0] != values[1])
        if not 0 < len(outputs) <= SHOWN:
            return ""
        return "through " + ", ".join(primal.outputs.path_of(int(i)) for i in outputs)


def _weights(sizes: Vector, rows: Vector) -> Vector:
    """How much each output counts: one over how much it moves, or over the rounding that it brings along."""
    usual = math.sqrt(float(np.mean(np.square(rows))))
    if usual == 0:
        return np.ones(len(rows))
    rows = np.maximum(rows, 1e-2 * usual)
    typical = max(float(np.median(sizes / rows)), 1.0)
    return 1 / np.maximum(rows, sizes / (STEADY * typical))
