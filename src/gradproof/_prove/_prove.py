"""From questions and answers to a verdict on every leaf."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._base._precision import EPS64, is_double
from gradproof._function._problem import Problem
from gradproof._prove._accuse import accuse
from gradproof._prove._at_the_point import jumps_here, only_beyond, report_jump
from gradproof._prove._charge import Charge, Notice, Sight, Statement
from gradproof._prove._collect import Collector
from gradproof._prove._directions import Direction, Directions, Without
from gradproof._prove._entries import TABLES, TABLES_OF_A_FRAMEWORK, judge_entries, measure_small
from gradproof._prove._flat import (
    ALONE,
    STATIONARY,
    Still,
    certify_flat,
    flat_tier,
    movement,
    settle_still,
    stands_still,
)
from gradproof._prove._judge import first_look, judge, seen_so_far
from gradproof._prove._jumps import is_dense, jumps_nearby, note_jumps
from gradproof._prove._kinks import (
    KinkedLeaf,
    judge_kink_of_mixtures,
    judge_kinked_leaf,
    judge_kinks_together,
    seen_twice,
    slope_alone,
)
from gradproof._prove._ledger import Ledger, Mark, is_error, wide_note
from gradproof._prove._low_entries import most_evaluations, try_entries
from gradproof._prove._maps import Region
from gradproof._prove._measure import Asking, Measured, Meter, Question, Tier
from gradproof._prove._tolerance import CANCELLED, ROUNDINGS, Limits
from gradproof._prove._trial import Kind, Ruling, why_wide
from gradproof._prove._zones import in_zones, report_zone, without_zones, zone_around
from gradproof._report import LeafResult, Reason, Severity, Verdict, worst

Floats = NDArray[np.float64]

# Leaves whose norm of claim times natural size lies within this factor share directions; leaves that cannot be told
# there are tried again among their like, within the smaller factor.
TIER, NARROW_TIER = 1e3, 4.0
# Where evaluations are spared: leaves of a group that are accused before the others are left alone.
SPARING_ACCUSED = 3
# Claims smaller than this share of the largest are no more than rounding beside it: these leaves are moved alone.
NEGLIGIBLE = CANCELLED * EPS64
# How much less f may move along the lines of a judgement than along whole ladders, which start at coarse steps. Chosen:
# what is no rounding after all costs those ladders, and stays as it was.
UNLUCKY = 100.0
# Further directions that are tried where a direction fails and no leaf stands out.
FURTHER = 3
# Reasons that do not hold for single entries, which move further than a direction does in relation to rounding.
WIDE = (Reason.PRECISION, Reason.NOISE, Reason.NO_CONVERGENCE, Reason.UNSTABLE)
# The search for a verdict takes so many fewer: looks at f(x), identities and another point to suggest take the rest.
BESIDE = 50
# Up to so many entries are measured one by one where f is smooth: 10 evaluations and 2 for each, against 18 to 24.
FEW = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the user may set: see `gradproof.check`.

    level : "certificate" (directions, or entries where these are cheaper) or "entries" (every entry by itself).
    witnesses : "complex" (the complex step), "reference" (the user's trusted f), or none.
    claim_eps : relative precision that the claim can be expected to have, where it is coarser than f's own.
    sparing : whether to measure no more than a verdict needs, because an evaluation is dear.
    resolution : step of a lattice that f's values are known to be rounded to, though they may not show it (absolute).
    sees : whether f is known to see its arguments, so that one that stands still is constant.
    lost : what the claim's own precision may do to a slope, where terms larger than it have cancelled (absolute).
    mixed : whether an entry of the problem moves many entries of the user's point at once.
    by_entries_too : whether entries may be measured by themselves, in low precision, where directions cannot tell.
    collector : where what is measured is kept for the reader of the report.
    output : what f is called there, where it is an output of the user's function or several together.
    repeats : whether the claim is called twice, to see whether it gives the same.
    judged_apart : so few leaves beside wrong ones are not judged here: others prove them without these.
    explained : given the first direction that was measured, the leaves in which a mistake lies that others have found
        to explain all that deviates: nobody need look for its place.
    """

    rtol: float | None
    max_bound: float | None
    confidence: float
    seed: int
    level: str = "certificate"
    witnesses: tuple[str, ...] = ()
    claim_eps: float = 0.0
    sparing: bool = False
    resolution: float = 0.0
    sees: bool = False
    lost: float = 0.0
    mixed: bool = False
    by_entries_too: bool = False
    collector: Collector = dataclasses.field(default_factory=Collector, compare=False, repr=False)
    output: str = ""
    repeats: bool = True
    judged_apart: int = 0
    explained: Callable[[Direction], Collection[int]] | None = None

    def allowance(self, n: int) -> float:
        """Evaluations that one claim, or mode, about n entries may take."""
        return math.inf if self.level == "entries" else most_evaluations(n) - BESIDE

    @property
    def limits(self) -> Limits:
        """What the judges of a claim go by."""
        return Limits(
            rtol=self.rtol,
            max_bound=self.max_bound,
            confidence=self.confidence,
            claim_eps=self.claim_eps,
            sparing=self.sparing,
            sees=self.sees,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was proved, ready to be reported.

    statements : all that there is to say of a gradient; `charges` and `notices` are those of them that are such.
    regions : the wrong parts of leaves, by index.
    zero_errors : bounds on the errors of claims of zero, by index; those of the leaves are relative to how f moves.
    looked : the first direction that was measured; None where none was.
    """

    verdict: Verdict
    reason: Reason | None
    statements: tuple[Statement, ...]
    leaves: tuple[LeafResult, ...]
    level: str
    rtol: float
    max_bound: float
    regions: Mapping[int, Region]
    zero_errors: Mapping[int, float]
    looked: Direction | None

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What speaks against the claim."""
        return tuple(one for one in self.statements if isinstance(one, Charge))

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What there is to say besides."""
        return tuple(one for one in self.statements if isinstance(one, Notice))


def prove(problem: Problem, options: Options, directions: Directions) -> Generator[Question, Floats, Outcome]:
    """Prove or refute the claim of a problem; yields questions, is sent values, returns the outcome."""
    proof = _Proof(problem, options, directions).run()
    unit = directions.unit
    try:
        question = next(proof)
        while True:
            try:
                values = yield question
            except BudgetSpent as spent:
                question = proof.throw(spent)
            else:
                question = proof.send(values if unit == 1 else unit * values)
    except StopIteration as finished:
        return finished.value


class _Proof:
    def __init__(self, problem: Problem, options: Options, directions: Directions) -> None:
        self.collector, self.output = options.collector, options.output
        self.tables = TABLES_OF_A_FRAMEWORK if problem.primal.subject else TABLES
        resolution = options.resolution * directions.unit
        self.meter = Meter(directions, problem.eps, options.witnesses, resolution=resolution)
        self.meter.continuous = options.sees
        self.ledger = Ledger(problem, directions)
        self.meter.claim_eps, self.meter.lost = options.claim_eps, options.lost * directions.unit
        size = float(np.linalg.norm(self.meter.norms))
        self.limits = dataclasses.replace(options.limits, rounding=self.meter.lost / size if size > 0 else 0.0)
        self.meter.rounding = self.ledger.rounding = max(ROUNDINGS * options.claim_eps, self.limits.rounding)
        self.meter.claim_floor = options.claim_eps * float(self.meter.norms.max())
        self.rtol = self.limits.tolerance(problem.eps)
        self.by_entries = options.level == "entries"
        self.asked_by_entries = self.by_entries
        self.mixed = options.mixed
        self.by_entries_too = options.by_entries_too
        self.judged_apart = options.judged_apart
        self.explained = options.explained
        # Leaves that f does not feel: what is said of them depends on the others.
        self.still: list[Still] = []
        # Leaves with a kink whose claims are valid by themselves, and those of them that were judged together.
        self.kinked: dict[int, KinkedLeaf] = {}
        self.together: set[int] = set()

    def run(self) -> Asking[Outcome]:
        try:
            yield from self._judge_all()
        except BudgetSpent:
            known = {*self.ledger.results, *(one.index for one in self.still)}
            left = [index for index in range(len(self.ledger.leaves)) if index not in known]
            self.ledger.undecided(left, Reason.BUDGET, note="not judged: no evaluation was left")
        if not self.output:
            yield from measure_small(self.meter, self.ledger, self.tables)
        settle_still(self.meter, self.ledger, self.still)
        self._note_randomness()
        note_jumps(self.ledger, self.meter)
        self.collector.take(self.meter, self.output)
        results = self.ledger.results
        verdict = worst(result.verdict for result in results.values())
        return Outcome(
            verdict=verdict,
            reason=self.ledger.reasons[0] if verdict is Verdict.INCONCLUSIVE else None,
            statements=self.ledger.told(),
            leaves=tuple(results[index] for index in range(len(self.ledger.leaves))),
            level="entries" if self.by_entries else "certificate",
            rtol=min(self.rtol, 1.0),
            max_bound=self.limits.largest_bound(self.meter.precision),
            regions=self.ledger.regions if not self.output else _unlisted(self.ledger.regions),
            zero_errors=self.ledger.zero_errors,
            looked=self.meter.slopes[0].direction if self.meter.slopes else None,
        )

    def _judge_all(self) -> Asking[None]:
        """Judge leaf after leaf, the largest first."""
        tiers = self._tiers(range(len(self.ledger.leaves)), TIER)
        if self.meter.claim_floor > 0:
            tiers = yield from self._without_rounded(tiers)
        moving = [tier for tier in tiers if self.meter.norms[list(tier)].max() > self._negligible()]
        flat = tuple(sorted(index for tier in tiers if tier not in moving for index in tier))
        looked: Measured | None = None
        if moving:
            # A zeroed gradient is found early: flat leaves come as soon as f's noise is known and all is well so far.
            looked = yield from self._look(moving[0])
            if flat and looked.finite and looked.deviation <= looked.bar + looked.tolerance(self.rtol):
                yield from self._certify_flat(flat, only=False)
                flat = ()
        for group in moving:
            # (What a jump of f at the point leaves is no noise, in which a small claim could hide.)
            why = None if looked is None else why_wide(seen_so_far(self.meter), looked, self.limits)
            jumps = why is Reason.NO_CONVERGENCE
            if self.meter.norms[list(group)].max() <= self._negligible() and not jumps:
                flat = tuple(sorted((*flat, *group)))
            else:
                yield from self._certify(group, looked=looked)
            looked = None
        if flat:
            yield from self._certify_flat(flat, only=not (self.ledger.results or self.still))
        yield from self._kinks_together()

    def _is_rounding(self, group: tuple[int, ...], measured: Sequence[Measured]) -> bool:
        """Whether claims are no more than rounding beside how f moves, and all slopes agree that they are nothing.

        (At a stationary point the rounding of x itself leaves as much of a derivative.)
        """
        if not measured or not all(one.finite and one.deviation <= one.bar for one in measured):
            return False
        share = UNLUCKY * CANCELLED * max(self.meter.precision, self.meter.claim_eps)
        if share > STATIONARY:
            return False  # (in 16 bits every claim is so small)
        rounding = share * max(movement(one.slope) for one in measured)
        return float(np.linalg.norm(self.meter.norms[list(group)])) <= rounding

    def _without_rounded(self, tiers: list[tuple[int, ...]]) -> Asking[list[tuple[int, ...]]]:
        """Set leaves aside whose claim may be mere rounding, where f does not change either; return the others."""
        rounded: set[int] = set()
        for index in sorted(index for tier in tiers for index in tier):
            small = 0 < self.meter.norms[index] <= CANCELLED * self.meter.claim_floor
            if small and (yield from stands_still(self.meter, flat_tier(self.meter, (index,)), self.still)):
                rounded.add(index)
        left = [tuple(index for index in tier if index not in rounded) for tier in tiers]
        return [tier for tier in left if tier]

    def _tiers(self, group: Sequence[int], factor: float) -> list[tuple[int, ...]]:
        """Divide leaves by the norm of claim times natural size, so that none lags by more than `factor`.

        Largest first; what is negligible beside the largest comes last.
        """
        norms = self.meter.norms
        left = sorted(group, key=lambda index: (-norms[index], index))
        tiers: list[tuple[int, ...]] = []
        while left:
            limit = max(norms[left[0]] / factor, self._negligible())
            tier = [index for index in left if norms[index] > limit] or left
            tiers.append(tuple(sorted(tier)))
            left = left[len(tier) :]
        return tiers

    def _negligible(self) -> float:
        """The norm below which a leaf counts as flat: its natural size moves f by less than rounding does."""
        known = self.meter.known
        noise = 0.0 if known is None else 4 * float(known.noise[0])
        return max(noise, NEGLIGIBLE * float(self.meter.norms.max()))

    def _look(self, group: tuple[int, ...]) -> Asking[Measured]:
        return (yield from first_look(self.meter, self.meter.tier(group), self.limits))

    def _certify(self, group: Sequence[int], *, last: bool = False, looked: Measured | None = None) -> Asking[None]:
        """Judge a group; when it is wrong, find the wrong leaves and judge the rest.

        `last` says that the leaves will not be divided further: a bound that is too wide is final. `looked` is the
        group's first look, if it has been taken.
        """
        left: tuple[int, ...] = tuple(group)
        # Whether all leaves were looked at within the steps of a ladder.
        close = False
        suit = self._entries_may_suit(left)
        if suit and looked is None:
            looked = yield from self._look(left)
        if suit and looked is not None and self._entries_suit(looked):
            left, close = (yield from self._without_zones(left, looked)), True
            if left:
                left = yield from judge_entries(self.meter, self.ledger, self.meter.tier(left), self.limits)
            self.rtol = max(self.rtol, self.limits.tolerance(self.meter.precision), self.meter.regularity)
        while left:
            tier = self.meter.tier(left)
            judgement = yield from judge(self.meter, tier, self.limits, looked)
            looked = None
            self.rtol = max(self.rtol, judgement.rtol)
            if self._hides(tier, judgement) and self._is_rounding(left, judgement.measured):
                yield from self._certify_flat(left, only=not (self.ledger.results or self.still))
                return
            if judgement.kind in (Kind.AGREES, Kind.WRONG) and not close:
                close = True
                smooth: tuple[int, ...] = yield from self._without_zones(
                    left, judgement.failing or judgement.measured[0]
                )
                if smooth != left:
                    left = smooth
                    continue
            if judgement.kind is Kind.AGREES:
                yield from self._accept(tier, judgement, last=last)
                return
            if judgement.kind is Kind.KINK:
                yield from self._not_smooth(tier, judgement)
                return
            if judgement.kind is Kind.UNSURE:
                yield from self._unsure(left, judgement, last=last)
                return
            assert judgement.failing is not None
            failing: Measured = judgement.failing
            too_coarse: bool = self.meter.balances and (yield from only_beyond(self.meter, failing))
            if too_coarse:
                self.meter.balances = False
                continue
            most = SPARING_ACCUSED if self.limits.sparing else None
            before = self.ledger.mark()
            wrong = self._explained(tier, failing)
            if not wrong:
                wrong = yield from self._accuse(tier, failing, most)
                if (yield from self._excused(before, left, failing)):
                    return
            if not wrong:
                yield from self._wrong_somewhere(tier, failing)
                return
            left = tuple(index for index in left if index not in wrong)
            is_enough = most is not None and len(wrong) >= most
            if left and (is_enough or self._others_judge_the_rest()):
                self.ledger.undecided(left, Reason.NOISE, note="not judged: others are wrong already")
                return

    def _unsure(self, group: tuple[int, ...], judgement: Ruling, *, last: bool) -> Asking[None]:
        """Settle a group that directions do not settle, in another way or as INCONCLUSIVE."""
        if judgement.measured and jumps_here(judgement.measured[-1]):
            yield from self._at_a_jump(group, judgement.measured[-1])
            return
        zone = zone_around(judgement.measured[-1]) if judgement.measured and len(group) == 1 else None
        if zone is not None:
            report_zone(self.ledger, group[0], judgement.measured[-1], zone, is_wrong=False)
            return
        if not last and not judgement.unchanged and len(group) > 1:
            yield from self._among_their_like(group)
            return
        left = yield from self._without_single_entries(group, judgement)
        if left:
            self.ledger.undecided(left, judgement.reason or Reason.NO_CONVERGENCE)
        if judgement.unchanged:
            self._report_unchanged(judgement)

    def _hides(self, tier: Tier, judgement: Ruling) -> bool:
        """Whether directions agree with the claims of a group, and bound the error of none of them."""
        largest = self.limits.largest_bound(self.meter.precision)
        return judgement.kind is Kind.AGREES and not any(judgement.bound <= share * largest for share in tier.shares)

    def _others_judge_the_rest(self) -> bool:
        """Whether the leaves that are not wrong so far are few enough to be proved elsewhere."""
        wrong = sum(one.verdict is Verdict.WRONG for one in self.ledger.results.values())
        return len(self.ledger.leaves) - wrong <= self.judged_apart

    def _without_zones(self, group: tuple[int, ...], measured: Measured) -> Asking[tuple[int, ...]]:
        return (yield from without_zones(self.meter, self.ledger, group, measured))

    def _at_a_jump(self, group: tuple[int, ...], jumping: Measured) -> Asking[None]:
        """F jumps at the point itself: find the leaves that it jumps along, and judge the others as usual."""
        if len(group) == 1:
            report_jump(self.ledger, group[0], jumping)
            return
        for index in group:
            self.meter.known = None
            yield from self._certify((index,), last=True)

    def _accuse(self, tier: Tier, failing: Measured, most: int | None) -> Asking[set[int]]:
        """Name the wrong leaves of a group, with a second try where none stands out."""
        zoned = yield from in_zones(self.meter, self.ledger, tier, failing, self.rtol)
        if zoned:
            return zoned
        wrong = yield from accuse(self.meter, self.ledger, tier, failing, self.rtol, most)
        if not wrong and len(tier.group) > 1:
            wrong = yield from self._accuse_again(tier, failing, most)
        return wrong

    def _explained(self, tier: Tier, failing: Measured) -> set[int]:
        """Charge the leaves of a group in which a mistake lies that is known to explain all."""
        if self.explained is None or failing.direction.floor > 0:
            return set()
        wrong = {index for index in self.explained(self.meter.slopes[0].direction) if index in tier.group}
        for index in sorted(wrong):
            self.ledger.settle(index, Verdict.WRONG, deviation=failing.deviation / tier.scale)
        if wrong:
            self.ledger.charge(
                leaves=tuple(sorted(wrong)),
                claimed=failing.claimed,
                reference=failing.value,
                error_bar=failing.bar,
            )
        return wrong

    def _excused(self, before: Mark, group: Sequence[int], failing: Measured) -> Asking[bool]:
        """Take an accusation back that is dense and unexplained, if jumps of f nearby explain it."""
        reason: Reason | None = None
        if is_dense(self.ledger.statements[before.statements :]):
            try:
                reason = Reason.NO_CONVERGENCE if (yield from jumps_nearby(self.meter, failing)) else None
            except BudgetSpent:
                # Nobody knows whether they do.
                reason = Reason.BUDGET
        if reason is not None:
            self.ledger.rewind(before)
            self.ledger.undecided(group, reason)
        return reason is not None

    def _accuse_again(self, tier: Tier, failing: Measured, most: int | None) -> Asking[set[int]]:
        """Look for the wrong leaves along a direction that they deviate in more clearly, if one in three does."""
        for _ in range(FURTHER):
            measured = yield from first_look(self.meter, tier, self.limits)
            if measured.finite and measured.deviation > 3 * max(failing.deviation, measured.bar):
                return (yield from accuse(self.meter, self.ledger, tier, measured, self.rtol, most))
        return set()

    def _entries_may_suit(self, group: tuple[int, ...]) -> bool:
        """Whether going entry by entry is asked for, or cheaper if f is smooth: for few entries."""
        tier = self.meter.tier(group)
        few = 1 < tier.size <= FEW and len(group) == len(self.ledger.leaves)
        return (self.asked_by_entries or few) and tier.scale > 0

    def _entries_suit(self, looked: Measured) -> bool:
        """Whether to go entry by entry after a first look."""
        if not self.meter.moved or jumps_here(looked):
            return False
        smooth = looked.finite and looked.slope.stage == 0 and looked.slope.side == 0
        self.by_entries = self.asked_by_entries or smooth
        return self.by_entries

    def _accept(self, tier: Tier, judgement: Ruling, *, last: bool) -> Asking[None]:
        """Settle the leaves whose bound is narrow enough; try the others again among their like."""
        largest = self.limits.largest_bound(self.meter.precision)
        wide: list[int] = []
        for index, share in zip(tier.group, tier.shares, strict=True):
            bound = judgement.bound / share if share > 0 else math.inf
            correct = bound <= largest
            if not correct and not last and len(tier.group) > 1:
                wide.append(index)
                continue
            if not correct and not (yield from self._without_single_entries((index,), judgement, bound)):
                continue
            if not correct:
                self.ledger.reasons.append(judgement.reason or Reason.NOISE)
            self.ledger.settle(
                index,
                Verdict.CORRECT if correct else Verdict.INCONCLUSIVE,
                bound=bound,
                deviation=judgement.deviation / share if share > 0 else None,
                noticeable=bound * self.meter.directions.least_share(index),
                note="" if correct else wide_note(bound),
            )
        if wide:
            yield from self._among_their_like(wide)

    def _without_single_entries(
        self, group: tuple[int, ...], judgement: Ruling, bound: float = math.inf
    ) -> Asking[tuple[int, ...]]:
        """Settle leaves entry by entry in low precision, where directions cannot tell; return the others."""
        # (Nor where the noise that directions show has misled them, as single entries rest on it.)
        precise = is_double(self.meter.precision) or not self.by_entries_too or self.meter.misled
        if precise or judgement.unchanged or judgement.reason not in WIDE or not judgement.measured:
            return group
        left: list[int] = []
        for index in group:
            if not (yield from try_entries(self.meter, self.ledger, index, self.limits, judgement.measured[0], bound)):
                left.append(index)
        self.by_entries |= not left and len(self.ledger.leaves) == 1
        return tuple(left)

    def _among_their_like(self, group: Sequence[int]) -> Asking[None]:
        """Judge leaves once more, only with those whose claims are of the same size."""
        for like in self._tiers(group, NARROW_TIER):
            self.meter.known = None
            yield from self._certify(like, last=True)

    def _wrong_somewhere(self, tier: Tier, failing: Measured) -> Asking[None]:
        """A direction fails, but no leaf of it stands out: judge each alone, and accuse none that does not deviate."""
        before = len(self.ledger.statements)
        if 1 < len(tier.group) <= ALONE:
            for index in tier.group:
                yield from self._certify((index,), last=True)
            if any(is_error(one) for one in self.ledger.statements[before:]) or (yield from self._kinks_together()):
                return
            if self.meter.on_stairs:
                # What each part of f is rounded to may add up to that.
                self.ledger.undecided(tier.group, Reason.UNSTABLE)
                return
        elif len(tier.group) == 1:
            self.ledger.undecided(tier.group, Reason.UNSTABLE)
            return
        else:
            self.ledger.undecided(tier.group, Reason.NOISE, note="one or more of these arrays are wrong")
        self.ledger.charge(
            leaves=tier.group,
            claimed=failing.claimed,
            reference=failing.value,
            error_bar=failing.bar,
            is_one_of=True,
        )

    def _not_smooth(self, tier: Tier, judgement: Ruling) -> Asking[None]:
        """The group meets a kink at x: find the kinked leaves, judge the others as usual."""
        if len(tier.group) == 1:
            yield from self._judge_kinked(tier, judgement.measured[-1])
            return
        smooth: list[int] = []
        for index in tier.group:
            alone = self.meter.tier((index,))
            measured = yield from slope_alone(self.meter, alone)
            if (yield from seen_twice(self.meter, measured, self.rtol)):
                yield from self._judge_kinked(alone, measured)
            else:
                smooth.append(index)
        self.meter.known = None
        moving = [index for index in smooth if self.meter.norms[index] > self._negligible()]
        still = tuple(index for index in smooth if self.meter.norms[index] <= self._negligible())
        if len(smooth) == len(tier.group):
            # No leaf has a kink of its own that stands out: each speaks for itself.
            for index in moving:
                yield from self._certify((index,), last=True)
        elif moving:
            yield from self._certify(moving)
        if still:
            yield from self._certify_flat(still)

    def _kinks_together(self) -> Asking[bool]:
        """Judge all leaves with kinks together, once more where others have joined them; whether that charges them.

        (Those apart that bend f the other way: of both together nothing follows.)
        """
        charged = False
        valid = [i for i in sorted(self.kinked) if self.ledger.results[i].verdict is Verdict.NOT_DIFFERENTIABLE]
        for bends in {self.kinked[i].bends: None for i in valid}:
            group = tuple(i for i in valid if self.kinked[i].bends == bends)
            if len(group) < 2 or self.together >= {*group}:
                continue
            self.together |= {*group}
            claimed = self.meter.norms[list(group)].min() > self._negligible()
            shared = self.meter.tier(group) if claimed else flat_tier(self.meter, group)
            leaves = {index: self.kinked[index] for index in group}
            charged |= yield from judge_kinks_together(self.meter, self.ledger, shared, leaves, self.rtol)
        return charged

    def _judge_kinked(self, tier: Tier, kink: Measured) -> Asking[None]:
        """Judge a leaf with a kink; where the kinked entries are known, certify the others as usual."""
        if self.mixed:
            yield from judge_kink_of_mixtures(self.meter, self.ledger, tier, kink, self.rtol)
            return
        leaf = yield from judge_kinked_leaf(self.meter, self.ledger, tier, kink, self.rtol)
        (index,) = tier.group
        if leaf.refused:
            return
        self.kinked[index] = leaf
        if leaf.entries is None or tier.size == len(leaf.entries):
            return
        rest = dataclasses.replace(tier, size=tier.size - len(leaf.entries), parts=(*tier.parts, Without(leaf.entries)))
        self.meter.known = None
        judgement = yield from judge(self.meter, rest, self.limits)
        if judgement.kind is Kind.WRONG and judgement.failing is not None:
            yield from accuse(self.meter, self.ledger, rest, judgement.failing, self.rtol)
        elif judgement.kind is Kind.AGREES and rest.scale > 0:
            bound = judgement.bound / rest.scale
            self.ledger.settle(
                index,
                Verdict.NOT_DIFFERENTIABLE,
                bound=bound,
                deviation=judgement.deviation / rest.scale,
                noticeable=bound * math.sqrt(rest.size),
                note=f"kink in {_entries(len(leaf.entries))}, the claim is a valid subgradient; bound of the others",
            )

    def _certify_flat(self, group: tuple[int, ...], *, only: bool = False) -> Asking[None]:
        """Leaves whose claim is 0 or below f's own noise; those that f feels are accused or have a kink.

        `only` says that there are no other leaves.
        """
        left: tuple[int, ...] = group
        while left:
            tier = flat_tier(self.meter, left)
            against = yield from certify_flat(self.meter, self.ledger, tier, self.limits, self.still, only=only)
            if against is None:
                return
            if against.deviation <= against.bar:
                if len(left) == 1:
                    yield from self._judge_kinked(tier, against)
                    return
                for index in left:
                    yield from self._certify_flat((index,), only=only)
                return
            smooth: tuple[int, ...]
            smooth = yield from self._without_zones(left, against)
            if smooth != left:
                left = smooth
                continue
            wrong = yield from accuse(self.meter, self.ledger, tier, against, self.rtol)
            if not wrong:
                yield from self._wrong_somewhere(tier, against)
                return
            left = tuple(index for index in left if index not in wrong)

    def _report_unchanged(self, judgement: Ruling) -> None:
        claimed = judgement.measured[-1].claimed
        self.ledger.notice(Notice(sight=Sight.SAME_BITS, severity=Severity.DOUBT, claimed=claimed))

    def _note_randomness(self) -> None:
        if not self.meter.random:
            return
        self.ledger.reasons.insert(0, Reason.STOCHASTIC)
        self.ledger.notice(Notice(sight=Sight.RANDOM))


def _unlisted(regions: Mapping[int, Region]) -> dict[int, Region]:
    """Regions without entries that are no entries of the user's: those of a mixture of outputs."""
    return {index: dataclasses.replace(region, entries=()) for index, region in regions.items()}


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"
