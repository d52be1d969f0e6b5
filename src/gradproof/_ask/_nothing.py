"""The report on a function that has no entry which could be wrong."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from gradproof._ask._check import check
from gradproof._report import Cost, LeafResult, Report, Verdict
from gradproof._report._evidence import Evidence


def nothing_to_check(
    name: str,
    *,
    seed: int,
    started: float,
    leaves: Sequence[LeafResult] = (),
) -> Report:
    """Return a CORRECT report in which nothing was measured.

    Parameters
    ----------
    name : str
        Of the function.
    seed : int
    started : float
        When the check began, by `time.perf_counter`.
    leaves : sequence of LeafResult
        The arrays without an entry.
    """
    report = check(_nothing, 0.0, grad=0.0, rng=seed)
    return dataclasses.replace(
        report,
        verdict=Verdict.CORRECT,
        reason=None,
        findings=(),
        leaves=tuple(leaves),
        evidence=Evidence(),
        suggested_args=None,
        sources=(),
        name=name,
        cost=Cost(evaluations=0, claims=0, calls=0, seconds=time.perf_counter() - started),
    )


def _nothing(x: float) -> float:
    return x * 0.0
