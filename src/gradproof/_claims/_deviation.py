"""By how much a WRONG array is off, relative to the true derivative, whoever found it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from gradproof._report import Finding, LeafResult, Severity, Verdict
from gradproof._report._evidence import Evidence


def with_deviations(
    leaves: Sequence[LeafResult], findings: Sequence[Finding], evidence: Evidence
) -> tuple[LeafResult, ...]:
    """The same leaves; those that are WRONG with their deviation relative to the true derivative.

    It is exact where a factor explains everything, or all that is wrong was measured entry by entry. Of a gradient the
    proof has estimated it. Of a claim with several outputs it is estimated here, from the slopes of outputs along
    random directions through this leaf alone: the means of ``(claim - true)**2`` and ``true**2`` are squared norms.
    """
    return tuple(
        _with_deviation(leaf, findings, evidence) if leaf.verdict is Verdict.WRONG else leaf for leaf in leaves
    )


def _with_deviation(leaf: LeafResult, findings: Sequence[Finding], evidence: Evidence) -> LeafResult:
    factors = {
        one.factor
        for one in findings
        if one.severity is Severity.ERROR
        and one.path == leaf.path
        and one.factor
        and one.place.startswith("everywhere")
    }
    if len(factors) == 1:
        return dataclasses.replace(leaf, deviation=abs(factors.pop() - 1), estimated=False)
    if not leaf.estimated:
        return leaf
    through = [one for one in evidence.comparisons if one.path == leaf.path and one.entry is None and one.output]
    off = math.hypot(*(one.claimed - one.reference for one in through))
    true = math.hypot(*(one.reference for one in through))
    if not (math.isfinite(off) and 0 < true < math.inf):
        return leaf
    return dataclasses.replace(leaf, deviation=off / true)
