"""From questions and answers to a verdict on every leaf."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._problem import Leaf, Problem
from gradproof._prove._diagnose import DIRECTIONS, Cause, Evidence, Undecided, diagnose, factor_cause
from gradproof._prove._directions import Direction, Directions
from gradproof._prove._judge import REACH, Judgement, Kind, Limits, inside_kink, judge, kinked
from gradproof._prove._locate import (
    Place,
    Suspect,
    WrongEntry,
    box_part,
    box_source,
    box_words,
    entry_index,
    wrong_leaves,
    wrong_place,
)
from gradproof._prove._measure import EPS64, Asking, Measured, Meter, Question, Residual, Tier
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict

Floats = NDArray[np.float64]

# Leaves whose norm of claim times natural size lies within this factor of the median share directions.
TIER = 1e3
# Claims smaller than this share of the largest cannot be told from 0 beside it: these leaves are moved alone.
NEGLIGIBLE = 1e-13
COORDINATES = 64
# Wrong entries of one leaf that get a finding of their own.
SHOWN = 20
# Leaves that are judged one by one where a direction through all of them fails and none stands out.
ALONE = 12
# Steps, in natural sizes, at which a leaf that claims to be flat must leave f as it is.
FLAT_STEPS = (0.7, 0.1, 0.004)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the user may set: see `gradproof.check`."""

    rtol: float | None
    max_bound: float | None
    confidence: float
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was proved, ready to be reported."""

    verdict: Verdict
    reason: Reason | None
    findings: tuple[Finding, ...]
    leaves: tuple[LeafResult, ...]
    level: str
    rtol: float
    max_bound: float


def prove(problem: Problem, options: Options, directions: Directions) -> Generator[Question, Floats, Outcome]:
    """Prove or refute the claim of a problem; yields questions, is sent values, returns the outcome."""
    proof = _Proof(problem, options, directions).run()
    unit = directions.unit
    try:
        question = next(proof)
        while True:
            values = yield question
            question = proof.send(values if unit == 1 else unit * values)
    except StopIteration as finished:
        return finished.value


class _Proof:
    def __init__(self, problem: Problem, options: Options, directions: Directions) -> None:
        self.problem = problem
        self.limits = Limits(rtol=options.rtol, max_bound=options.max_bound, confidence=options.confidence)
        self.directions = directions
        self.meter = Meter(directions, problem.eps)
        self.results: dict[int, LeafResult] = {}
        self.findings: list[Finding] = []
        self.reasons: list[Reason] = []
        self.rtol = self.limits.tolerance(problem.eps)

    def run(self) -> Asking[Outcome]:
        flat: list[int] = []
        for group in self._tiers():
            if self.meter.norms[list(group)].max() <= self._negligible():
                flat.extend(group)
            else:
                yield from self._certify(group)
        if flat:
            yield from self._certify_flat(flat)
        eps = self.problem.eps if self.meter.known is None else self.meter.known.eps
        verdicts = {result.verdict for result in self.results.values()}
        order = (Verdict.WRONG, Verdict.INCONCLUSIVE, Verdict.NOT_DIFFERENTIABLE, Verdict.CORRECT)
        verdict = next(verdict for verdict in order if verdict in verdicts)
        return Outcome(
            verdict=verdict,
            reason=self.reasons[0] if verdict is Verdict.INCONCLUSIVE else None,
            findings=tuple(self.findings),
            leaves=tuple(self.results[index] for index in range(len(self.problem.leaves))),
            level="certificate",
            rtol=self.rtol,
            max_bound=self.limits.largest_bound(eps),
        )

    # ------------------------------------------------------------------------------------------------ groups

    def _tiers(self) -> list[tuple[int, ...]]:
        """Group the leaves by the norm of claim times natural size, largest first.

        The first group reaches from the largest down to the median over `TIER`, the others span a factor of `TIER`
        each; what is negligible beside the largest comes last.
        """
        norms = self.meter.norms
        left = sorted(range(len(norms)), key=lambda index: -norms[index])
        limit = max(norms[left[len(left) // 2]] / TIER, self._negligible())
        tiers: list[tuple[int, ...]] = []
        while left:
            group = [index for index in left if norms[index] > limit] or left
            tiers.append(tuple(sorted(group)))
            left = left[len(group) :]
            limit = max(norms[left[0]] / TIER, self._negligible()) if left else 0.0
        return tiers

    def _negligible(self) -> float:
        """The norm below which a leaf counts as flat: its natural size moves f by less than rounding does."""
        known = self.meter.known
        noise = 0.0 if known is None else 4 * float(known.noise[0])
        return max(noise, NEGLIGIBLE * float(self.meter.norms.max()))

    def _certify(self, group: Sequence[int], *, alone: bool = False) -> Asking[None]:
        """Judge a group; when it is wrong, find the wrong leaves and judge the rest."""
        left: tuple[int, ...] = tuple(group)
        while left:
            tier = self.meter.tier(left)
            judgement = yield from judge(self.meter, tier, self.limits)
            self.rtol = max(self.rtol, judgement.rtol)
            if judgement.kind is Kind.WRONG:
                wrong = yield from self._find_wrong(tier, judgement)
                left = tuple(index for index in left if index not in wrong)
            elif judgement.kind is Kind.AGREES:
                yield from self._accept(tier, judgement, alone=alone)
                return
            elif judgement.kind is Kind.KINK:
                yield from self._not_smooth(tier, judgement)
                return
            else:
                self._undecided(left, judgement.reason or Reason.NO_CONVERGENCE)
                return

    def _accept(self, tier: Tier, judgement: Judgement, *, alone: bool) -> Asking[None]:
        known = self.meter.known
        largest = self.limits.largest_bound(self.problem.eps if known is None else known.eps)
        wide: list[int] = []
        for index, share in zip(tier.group, tier.shares, strict=True):
            bound = judgement.bound / share if share > 0 else math.inf
            if bound > largest and not alone and len(tier.group) > 1:
                wide.append(index)
                continue
            correct = bound <= largest
            if not correct:
                self.reasons.append(Reason.NOISE)
            self._result(
                index,
                Verdict.CORRECT if correct else Verdict.INCONCLUSIVE,
                bound=bound,
                deviation=judgement.deviation / share if share > 0 else None,
                noticeable=bound * math.sqrt(self.problem.leaves[index].size),
                note="" if correct else "the error bar is too wide to tell",
            )
        for index in wide:
            yield from self._certify((index,), alone=True)

    def _undecided(self, group: Sequence[int], reason: Reason) -> None:
        self.reasons.append(reason)
        for index in group:
            self._result(index, Verdict.INCONCLUSIVE, note=str(reason))

    # ------------------------------------------------------------------------------------------------ wrong

    def _find_wrong(self, tier: Tier, judgement: Judgement) -> Asking[set[int]]:
        """Name the wrong leaves of a group and what is wrong with each."""
        failing = judgement.failing
        assert failing is not None
        whole = failing.as_residual()
        suspects = yield from wrong_leaves(self.meter, tier, failing.direction, whole, self.rtol)
        if not suspects:
            yield from self._wrong_somewhere(tier, whole)
            return set(tier.group)
        for suspect in suspects:
            yield from self._wrong(tier, suspect)
        return {suspect.leaf for suspect in suspects}

    def _wrong(self, tier: Tier, suspect: Suspect) -> Asking[None]:
        """Say what is wrong with one leaf: a cause for all of it, or a place and the cause there."""
        leaf = self.problem.leaves[suspect.leaf]
        share = tier.share(suspect.leaf)
        evidence = Evidence(path=leaf.path, shape=leaf.shape, size=leaf.size)
        evidence.add(suspect.direction, suspect.first)
        evidence.add(suspect.alone, suspect.second)
        cause = factor_cause(evidence)
        while isinstance(cause, Undecided) and len(evidence.residuals) < min(leaf.size + 1, DIRECTIONS):
            again = tier.alone(suspect.leaf, self.meter.next_stream())
            measured = yield from self.meter.slope(again, share, ripple=tier.ripple, known=self.meter.known)
            if not measured.finite:
                break
            evidence.add(again, measured.as_residual())
            cause = factor_cause(evidence)
        place: Place | None = None
        if cause is None:
            cause = yield from diagnose(self.meter, suspect.leaf, evidence, share, tier.ripple)
        if isinstance(cause, Undecided):
            cause = None
        if cause is None and leaf.size > 1:
            sharpest = max(zip(evidence.residuals, evidence.directions, strict=True), key=lambda item: item[0].contrast)
            place = yield from wrong_place(self.meter, suspect.leaf, sharpest[1], sharpest[0], share, tier.ripple)
        deviation = max(abs(residual.value) for residual in evidence.residuals)
        note = cause.kind if cause else ""
        if place is not None and place.entries:
            note = self._wrong_entries(leaf, place)
        else:
            box_cause = cause
            if place is not None and place.box is not None:
                box_cause = yield from self._cause_in_box(tier, suspect, place.box)
            note = self._wrong_part(leaf, evidence, place, box_cause)
        self._result(
            suspect.leaf,
            Verdict.WRONG,
            deviation=deviation / share if share > 0 else None,
            note=note,
        )

    def _cause_in_box(self, tier: Tier, suspect: Suspect, box: Sequence[tuple[int, int]]) -> Asking[Cause | None]:
        """Test a factor on the wrong part of a leaf alone."""
        leaf = self.problem.leaves[suspect.leaf]
        shape = tuple(high - low for low, high in box)
        evidence = Evidence(path=leaf.path + box_source(leaf.shape, box), shape=shape, size=math.prod(shape))
        for direction in (suspect.direction, suspect.alone):
            part = direction.restricted(*box_part(leaf.shape, leaf.start, leaf.stop, box))
            evidence.add(part, (yield from self.meter.residual(part, tier.share(suspect.leaf), tier.ripple)))
        cause = factor_cause(evidence)
        return None if isinstance(cause, Undecided) else cause

    def _wrong_entries(self, leaf: Leaf, place: Place) -> str:
        """One finding for every wrong entry, the largest error first; returns the leaf's note."""

        def error(entry: WrongEntry) -> float:
            return abs(entry.reference - float(self.directions.claim[entry.index]))

        largest = sorted(place.entries, key=error, reverse=True)[:SHOWN]
        for entry in sorted(largest, key=lambda entry: entry.index):
            index = entry_index(leaf.shape, entry.index - leaf.start)
            claimed = float(self.directions.claim[entry.index])
            path = leaf.path + str(list(index))
            lone = Evidence(path=path, shape=(), size=1)
            residual = Residual(value=entry.reference - claimed, bar=entry.bar, claimed=claimed)
            lone.add(Direction(stream=-1, group=(), scales=()), residual)
            found = factor_cause(lone)
            cause = None if isinstance(found, Undecided) else found
            self.findings.append(
                self._finding(
                    id="GP101",
                    severity=Severity.ERROR,
                    path=path,
                    entries=(index,),
                    place=str(list(index)),
                    kind=cause.kind if cause else "this entry is wrong",
                    claimed=claimed,
                    reference=entry.reference,
                    error_bar=entry.bar,
                    quantity="entry",
                    factor=cause.factor if cause else None,
                    advice=cause.advice if cause else f"Look at how `{path}` enters f.",
                )
            )
        count = len(place.entries)
        words = f"{count} wrong {'entry' if count == 1 else 'entries'}"
        words = words if place.complete else f"at least {words}"
        return words if count <= SHOWN else f"{words}, the largest {SHOWN} shown"

    def _wrong_part(self, leaf: Leaf, evidence: Evidence, place: Place | None, cause: Cause | None) -> str:
        """One finding for a leaf, or a box of it; returns the leaf's note."""
        path, words, entries = leaf.path, "", ()
        if place is not None and place.box is not None:
            words = box_words(leaf.shape, place.box)
            path += box_source(leaf.shape, place.box)
        elif leaf.size == 1:
            words = ""
        elif cause is not None or (place is not None and place.everywhere):
            words = "everywhere"
        shown = max(evidence.residuals, key=lambda residual: residual.contrast)
        alone = leaf.size == 1
        step = float(self.directions.vector(evidence.directions[0])[leaf.start]) if alone else 1.0
        if alone:
            shown = evidence.residuals[0]
        self.findings.append(
            self._finding(
                id="GP101",
                severity=Severity.ERROR,
                path=path,
                entries=entries,
                place=words,
                kind=cause.kind if cause else "is not the gradient of f",
                claimed=shown.claimed / step,
                reference=(shown.claimed + shown.value) / step,
                error_bar=shown.bar / abs(step),
                quantity="entry" if alone else "slope",
                factor=cause.factor if cause else None,
                advice=cause.advice if cause else f"Look at how the gradient of `{path}` is computed.",
            )
        )
        if cause is None:
            return f"wrong {words}" if words == "everywhere" else words
        return cause.kind if words in ("", "everywhere") else f"{words}: {cause.kind}"

    def _wrong_somewhere(self, tier: Tier, whole: Residual) -> Asking[None]:
        """A direction fails, but no leaf of it stands out: judge each alone, and accuse none that does not deviate."""
        before = len(self.findings)
        if len(tier.group) <= ALONE:
            for index in tier.group:
                yield from self._certify((index,), alone=True)
        else:
            for index in tier.group:
                self._result(index, Verdict.INCONCLUSIVE, note="one or more of several leaves are wrong")
            self.reasons.append(Reason.NOISE)
        if any(finding.severity is Severity.ERROR for finding in self.findings[before:]):
            return
        self.findings.append(
            self._finding(
                id="GP101",
                severity=Severity.ERROR,
                path=self.problem.leaves[tier.group[0]].path,
                place=f"in one or more of {len(tier.group)} leaves",
                kind="is not the gradient of f",
                claimed=whole.claimed,
                reference=whole.claimed + whole.value,
                error_bar=whole.bar,
                quantity="slope",
                advice="The error is too small to tell the leaves apart; check them one at a time with `wrt`.",
            )
        )

    # ------------------------------------------------------------------------------------------------ kinks

    def _not_smooth(self, tier: Tier, judgement: Judgement) -> Asking[None]:
        """The group meets a kink at x: find the kinked leaves, judge the others as usual."""
        smooth: list[int] = []
        for index in tier.group:
            alone = self.meter.tier((index,))
            if len(tier.group) > 1:
                measured = yield from self._slope_alone(alone)
                tolerance = REACH * self.rtol * max(alone.scale, abs(measured.value))
                if not (measured.finite and kinked(measured, tolerance)):
                    smooth.append(index)
                    continue
            else:
                measured = judgement.measured[-1]
            yield from self._judge_kinked(index, alone, measured)
        if smooth:
            self.meter.known = None
            yield from self._certify(smooth)

    def _slope_alone(self, tier: Tier) -> Asking[Measured]:
        direction = tier.direction(self.meter.next_stream())
        return (yield from self.meter.slope(direction, tier.scale, ripple=tier.ripple, full=True))

    def _judge_kinked(self, index: int, alone: Tier, kink: Measured) -> Asking[None]:
        """Whether the claim for a leaf with a kink lies between the one-sided slopes.

        A direction bounds only <claim, v>, so single entries are tried, too: all of a small leaf, some of a large.
        """
        leaf = self.problem.leaves[index]
        entries = np.arange(leaf.start, leaf.stop)
        if leaf.size > COORDINATES:
            entries = self.meter.jitter.choice(entries, COORDINATES, replace=False)
        for entry in entries.tolist() if leaf.size > 1 else []:
            direction = Direction(stream=-1, group=(index,), scales=(1.0,), entry=int(entry))
            outside = yield from self._outside(direction, self.meter.norms[index] / math.sqrt(leaf.size))
            if outside is not None:
                self._refuse_at_kink(index, outside, entry_index(leaf.shape, int(entry) - leaf.start))
                return
        if not inside_kink(kink, self._kink_tolerance(kink)):
            outside = yield from self._outside(kink.direction, alone.scale)
            if outside is not None:
                self._refuse_at_kink(index, outside, (0,) * len(leaf.shape) if leaf.size == 1 else None)
                return
        low, high = sorted(_sides(kink))
        unit = self.directions.unit
        self._result(index, Verdict.NOT_DIFFERENTIABLE, note="kink at the point; the claim is a valid subgradient")
        self.findings.append(
            self._finding(
                id="GP110",
                severity=Severity.NOTE,
                path=leaf.path,
                kind=(
                    f"f has a kink here: one-sided slopes {low / unit:.6g} and {high / unit:.6g}, "
                    "the claim lies between them"
                ),
                claimed=kink.claimed,
                reference=kink.value,
                error_bar=(high - low) / 2,
                quantity="slope",
                advice="Nothing is wrong; to prove more, check at a point away from the kink.",
            )
        )

    def _kink_tolerance(self, measured: Measured) -> float:
        jump = abs(float(measured.slope.jump[0]))
        return REACH * self.rtol * max(measured.scale, abs(measured.value), abs(measured.claimed), jump)

    def _outside(self, direction: Direction, scale: float) -> Asking[Measured | None]:
        """The measurement if the claim lies outside the one-sided slopes along a direction, seen twice."""
        measured: Measured | None = None
        for _ in range(2):
            measured = yield from self.meter.slope(direction, scale)
            if not measured.finite:
                return None
            tolerance = self._kink_tolerance(measured)
            inside = inside_kink(measured, tolerance) if kinked(measured, tolerance) else False
            if inside or measured.deviation <= measured.bar + tolerance:
                return None
        return measured

    def _refuse_at_kink(self, index: int, measured: Measured, entry: tuple[int, ...] | None) -> None:
        leaf = self.problem.leaves[index]
        place = "" if entry is None or not entry else str(list(entry))
        step = 1.0
        if entry is not None:
            v = self.directions.vector(measured.direction)
            step = float(v[np.ravel_multi_index(entry, leaf.shape) + leaf.start]) if entry else float(v[leaf.start])
        low, high = sorted(side / step for side in _sides(measured))
        unit = self.directions.unit
        at_kink = kinked(measured, self._kink_tolerance(measured))
        self._result(index, Verdict.WRONG, note="outside the one-sided slopes at a kink" if at_kink else "")
        self.findings.append(
            self._finding(
                id="GP103" if at_kink else "GP101",
                severity=Severity.ERROR,
                path=leaf.path + place,
                entries=() if entry is None else (entry,),
                place=place,
                kind=(
                    f"outside the one-sided slopes {low / unit:.6g} and {high / unit:.6g} at a kink"
                    if at_kink
                    else "is wrong"
                ),
                claimed=measured.claimed / step,
                reference=measured.value / step,
                error_bar=(high - low) / 2 if at_kink else measured.bar / abs(step),
                quantity="slope" if entry is None else "entry",
                advice=(
                    "No subgradient has this value: check the branch that is taken at the kink."
                    if at_kink
                    else f"Look at how the gradient of `{leaf.path}{place}` is computed."
                ),
            )
        )

    # ------------------------------------------------------------------------------------------------ flat

    def _certify_flat(self, group: Sequence[int]) -> Asking[None]:
        """Leaves whose claim is 0 or below f's own noise: moved alone, up to their natural size."""
        tier = Tier(
            group=tuple(group),
            scales=(1.0,) * len(group),
            shares=tuple(self.meter.norms[list(group)].tolist()),
            size=sum(self.problem.leaves[index].size for index in group),
            scale=float(np.linalg.norm(self.meter.norms[list(group)])),
            ripple=0.0,
        )
        only = not self.results
        direction = tier.direction(self.meter.next_stream())
        if self.meter.known is not None and (yield from self._stands_still(direction, tier)):
            for index in group:
                self._flat(index, "flat: f does not change")
            return
        known, self.meter.known = self.meter.known, None
        measured = yield from self.meter.slope(direction, tier.scale, full=True)
        self.meter.known = known
        if not measured.finite:
            self._undecided(group, Reason.DOMAIN if measured.slope.trouble else Reason.NO_CONVERGENCE)
            return
        noise = 5 * float(measured.slope.noise[0])
        rises = np.concatenate([measured.slope.plus, measured.slope.minus])[:, 0] - float(measured.slope.f0[0])
        largest = float(np.max(np.abs(rises)))
        tolerance = 1e-9 * largest
        if kinked(measured, tolerance):
            yield from self._not_smooth(tier, Judgement(kind=Kind.KINK, measured=(measured,)))
            return
        if measured.deviation > measured.bar + tolerance:
            again = yield from self.meter.slope(direction, tier.scale, full=True)
            if again.finite and again.deviation > again.bar + tolerance:
                failing = Judgement(kind=Kind.WRONG, failing=again)
                wrong = yield from self._find_wrong(tier, failing)
                left = [index for index in group if index not in wrong]
                if left:
                    yield from self._certify_flat(left)
                return
            self._undecided(group, Reason.UNSTABLE)
            return
        still = largest <= max(2 * noise, 8 * float(measured.slope.unit[0]))
        if only:
            self._nothing_tested(group, measured, bitwise=largest == 0)
            return
        if still or measured.bar <= 1e-2 * largest:
            note = "flat: f does not change" if still else "zero gradient: f changes only to second order"
            for index in group:
                self._flat(index, note)
            return
        self._undecided(group, Reason.NOISE)

    def _stands_still(self, direction: Direction, tier: Tier) -> Asking[bool]:
        """Whether f stays within its noise while these leaves move by up to their natural size, as their claims say."""
        known = self.meter.known
        assert known is not None
        limit = max(10 * float(known.noise[0]), 8 * EPS64 * abs(float(known.f0[0])))
        claimed, _ = self.directions.slope(direction)
        for step in FLAT_STEPS:
            plus, minus = yield from self.meter.pair(direction, step)
            rise = max(abs(value - float(known.f0[0])) for value in (plus, minus))
            if not rise <= limit or abs(claimed) * step > limit:
                return False
        return True

    def _flat(self, index: int, note: str) -> None:
        self._result(index, Verdict.CORRECT, note=note)
        self.findings.append(
            Finding(id="GP402", severity=Severity.NOTE, path=self.problem.leaves[index].path, kind=note)
        )

    def _nothing_tested(self, group: Sequence[int], measured: Measured, *, bitwise: bool) -> None:
        """All claims are zero and so, within its bar, is the slope: that proves nothing."""
        self._undecided(group, Reason.DEGENERATE)
        kind = "f does not change at all" if bitwise else "claim and slope are both zero at this point"
        self.findings.append(
            self._finding(
                id="GP302",
                severity=Severity.DOUBT,
                kind=f"nothing was tested: {kind}",
                claimed=measured.claimed,
                reference=measured.value,
                error_bar=measured.bar,
                quantity="slope",
                advice=(
                    "Check that f uses its argument."
                    if bitwise
                    else "Check at another point, where f is not stationary."
                ),
            )
        )

    # ------------------------------------------------------------------------------------------------ results

    def _finding(
        self,
        *,
        id: str,
        severity: Severity,
        kind: str,
        path: str = "",
        entries: tuple[tuple[int, ...], ...] = (),
        place: str = "",
        claimed: float,
        reference: float,
        error_bar: float,
        quantity: str,
        factor: float | None = None,
        advice: str = "",
    ) -> Finding:
        """A finding in the user's units; all measurements are scaled by a power of two."""
        unit = self.directions.unit
        return Finding(
            id=id,
            severity=severity,
            path=path,
            entries=entries,
            place=place,
            kind=kind,
            claimed=claimed / unit,
            reference=reference / unit,
            error_bar=error_bar / unit,
            quantity=quantity,
            factor=factor,
            advice=advice,
            reproducer=self.problem.reproducer,
        )

    def _result(
        self,
        index: int,
        verdict: Verdict,
        *,
        bound: float | None = None,
        deviation: float | None = None,
        noticeable: float | None = None,
        note: str = "",
    ) -> None:
        leaf: Leaf = self.problem.leaves[index]
        self.results[index] = LeafResult(
            path=leaf.path,
            shape=leaf.shape,
            dtype=leaf.dtype,
            verdict=verdict,
            bound=_finite(bound),
            deviation=_finite(deviation),
            noticeable=_finite(noticeable),
            note=note,
        )


def _sides(measured: Measured) -> tuple[float, float]:
    half = float(measured.slope.jump[0]) / 2
    return measured.value - half, measured.value + half


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(number)
