"""A claim of exactly zero where f keeps its bits: nothing was tested, and the original checkers pass it."""

from __future__ import annotations

from gradproof._report import Reason, Report, Severity, Verdict


def passes_untested(report: Report) -> bool:
    """Whether all that speaks against a report is that f keeps its bits, as a claim of exactly zero says."""
    if report.verdict is not Verdict.INCONCLUSIVE or report.reason is not Reason.DEGENERATE:
        return False
    doubts = [one for one in report.findings if one.severity is Severity.DOUBT]
    undecided = [leaf for leaf in report.leaves if leaf.verdict is Verdict.INCONCLUSIVE]
    return (
        bool(doubts)
        and all(one.id == "GP301" and one.claimed == 0 for one in doubts)
        and all(leaf.note == str(Reason.DEGENERATE) for leaf in undecided)
    )


def untested_text(name: str) -> str:
    """What the warning says."""
    return f"`{name}` keeps its bits around this point, as its derivative of zero says: nothing else was tested."
