"""What a claim of any kind comes to, before it is a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._base._leaf import Leaf
from gradproof._base._names import is_within
from gradproof._contracts import Judged
from gradproof._function._primal import Primal
from gradproof._prove import Options
from gradproof._prove._charge import Cause, Charge, Notice, Sight
from gradproof._prove._wording import write_notice
from gradproof._report import EMPTY, Finding, LeafResult, Reason, Severity, Verdict, worst
from gradproof._report._evidence import Evidence


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """What a finding about the numbers of a claim speaks of.

    leaves : the differentiated ones, numbered as those that are measured; none where it is about all of the claim.
    outputs : flat indices; none where it is about all of them.
    is_part : whether it is about a part of a leaf only.
    at_kink : whether the claim lies outside the one-sided slopes of a kink.
    cause : the mistake that explains it.
    """

    leaves: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    is_part: bool = False
    at_kink: bool = False
    cause: Cause | None = None


def about_charge(charge: Charge, leaves: Sequence[int], outputs: tuple[int, ...] = ()) -> About:
    """What a charge speaks of, its leaves numbered anew."""
    has_box = charge.place is not None and charge.place.box is not None
    return About(
        leaves=tuple(leaves[k] for k in charge.leaves),
        outputs=outputs,
        is_part=charge.index is not None or has_box,
        at_kink=charge.sides is not None,
        cause=charge.cause,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proved:
    """Leaves in the user's order with findings, and what was used to reach them."""

    verdict: Verdict
    reason: Reason | None
    findings: tuple[Finding, ...]
    leaves: tuple[LeafResult, ...]
    level: str
    rtol: float
    max_bound: float
    claim_calls: int
    evidence: Evidence = dataclasses.field(default_factory=Evidence)
    suggestion: Any = None
    # Whether a slope of f that excludes the claim is 0, as far as it is measured.
    says_zero: bool = False
    # What tells this proof from the others of a check, such as the mode "fwd-rev".
    label: str = ""
    # The claim (m, n) over all leaves, where it is known entry by entry and of a size to keep.
    matrix: NDArray[np.float64] | None = dataclasses.field(default=None, repr=False, compare=False)
    # What findings about numbers speak of, as data.
    about: Mapping[Finding, About] = dataclasses.field(default_factory=dict[Finding, About], repr=False, compare=False)

    def leaves_of(self, finding: Finding) -> tuple[int, ...]:
        """Which leaves a finding is about, or a part of them; none where it is about something else."""
        about = self.about.get(finding)
        if about is not None:
            return about.leaves or tuple(range(len(self.leaves)))
        # (Findings on the form of a claim, and of proofs that keep no data, say it by their paths alone.)
        return tuple(i for i, leaf in enumerate(self.leaves) if is_within(finding.path, leaf.path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """Results of all measured leaves, with what was used to reach them."""

    results: dict[int, LeafResult]
    verdict: Verdict
    reason: Reason | None
    eps: float
    rtol: float
    level: str
    findings: tuple[Finding, ...] = ()


# A reference is zero within so many bars.
ZERO = 3.0


def is_zero(reference: float, bar: float) -> bool:
    """Whether a slope of f is 0, as far as it is measured."""
    return abs(reference) <= ZERO * bar


def random_note() -> Finding:
    """What is said of an f that is not deterministic."""
    return write_notice(Notice(sight=Sight.RANDOM))


def leaf_result(
    leaf: Leaf,
    verdict: Verdict,
    note: str = "",
    *,
    bound: float | None = None,
    deviation: float | None = None,
    noticeable: float | None = None,
) -> LeafResult:
    """What came of a leaf."""
    return LeafResult(
        path=leaf.path,
        shape=leaf.shape,
        dtype=leaf.dtype,
        verdict=verdict,
        bound=bound,
        deviation=deviation,
        noticeable=noticeable,
        note=note,
    )


def unmeasured(primal: Primal, judged: Judged) -> dict[int, LeafResult]:
    """Results of the leaves that the form of the claim has settled."""
    leaves = primal.leaves
    results = {
        i: leaf_result(leaves[i], Verdict.INCONCLUSIVE if i in judged.undefined else Verdict.WRONG, note)
        for i, note in judged.set_aside.items()
    }
    results |= {i: leaf_result(leaves[i], Verdict.INCONCLUSIVE, note) for i, note in judged.undecided.items()}
    for i in judged.empty:
        results[i] = leaf_result(leaves[i], Verdict.CORRECT, EMPTY, bound=0.0)
    return results


def conclude(
    results: Mapping[int, LeafResult],
    findings: Sequence[Finding],
    *,
    measured: Verdict | None,
    reason: Reason | None,
    options: Options,
    eps: float,
    rtol: float | None = None,
    max_bound: float | None = None,
    claim_calls: int = 0,
    level: str | None = None,
    misshapen: Collection[int] = (),
) -> Proved:
    """Put results and findings together; a leaf whose numbers agree in the wrong shape is not CORRECT.

    `measured` is the verdict of the measurements, None where there were none; `misshapen` are leaves whose gradient
    came in another shape.
    """
    leaves = tuple(
        dataclasses.replace(result, verdict=Verdict.WRONG, note=result.note or "right numbers in the wrong shape")
        if i in misshapen and result.verdict is Verdict.CORRECT
        else result
        for i, result in sorted(results.items())
    )
    verdict = Verdict.INCONCLUSIVE if measured is None else measured
    undecided = any(leaf.verdict is Verdict.INCONCLUSIVE for leaf in leaves)
    if undecided and (measured is None or verdict in (Verdict.CORRECT, Verdict.NOT_DIFFERENTIABLE)):
        # Neither f nor the claim has a value beside the point.
        verdict, reason = Verdict.INCONCLUSIVE, Reason.DOMAIN
    if any(finding.id == "GP306" and finding.severity is Severity.DOUBT for finding in findings):
        verdict, reason = worst([verdict, Verdict.INCONCLUSIVE]), Reason.STOCHASTIC
    if any(finding.severity is Severity.ERROR for finding in findings):
        verdict = Verdict.WRONG
    limits = options.limits
    rtol = limits.tolerance(eps) if rtol is None else rtol
    return Proved(
        verdict=verdict,
        reason=reason if verdict is Verdict.INCONCLUSIVE else None,
        findings=tuple(findings),
        leaves=leaves,
        level=level or "certificate",
        rtol=rtol,
        max_bound=limits.largest_bound(eps) if max_bound is None else max_bound,
        claim_calls=claim_calls,
        evidence=options.collector.evidence(verdict, leaves, findings, rtol),
    )
