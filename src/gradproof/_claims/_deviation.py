"""By how much a WRONG array is off, relative to the true derivative, where one factor explains all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gradproof._report import Finding, LeafResult, Severity, Verdict


def with_deviations(leaves: Sequence[LeafResult], findings: Sequence[Finding]) -> tuple[LeafResult, ...]:
    """The same leaves; those that are WRONG by a factor everywhere with the exact deviation, ``abs(factor - 1)``.

    Of all others the proofs have measured or estimated it: a gradient's, or that of mixtures of outputs.
    """
    return tuple(_with_deviation(leaf, findings) if leaf.verdict is Verdict.WRONG else leaf for leaf in leaves)


def _with_deviation(leaf: LeafResult, findings: Sequence[Finding]) -> LeafResult:
    everywhere = [one for one in findings if one.severity is Severity.ERROR and one.place.startswith("everywhere")]
    factors = {one.factor for one in everywhere if one.factor and one.path in (leaf.path, "jac", "hess")}
    if len(factors) != 1:
        return leaf
    return dataclasses.replace(leaf, deviation=abs(factors.pop() - 1), estimated=False)
