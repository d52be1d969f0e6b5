"""What the original checkers pass although nothing is tested.

Empty arrays, arrays without a finite entry, which no step moves, and zero where f keeps its bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gradproof._ask._nothing import nothing_to_check as nothing_to_check
from gradproof._base._errors import NotFiniteError
from gradproof._contracts import find_undefined
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
    return (
        f"`{name}` keeps its bits up to rounding around this point, as its derivative of zero says: "
        "nothing else was tested."
    )


def still_text(name: str, paths: Sequence[str]) -> str:
    """What the warning says where other arrays were tested."""
    verb = "moves" if len(paths) == 1 else "move"
    return (
        f"`{name}` keeps its bits up to rounding as {', '.join(paths)} {verb} around this point, "
        "as its derivative of zero says: nothing else was tested there."
    )


def not_finite_text(name: str, argument: str) -> str:
    """What the warning says where an argument stays as it is, whatever is added to it."""
    return f"`{name}` with respect to {argument} was not checked: no entry of {argument} is finite."


def undefined_report(name: str, error: NotFiniteError, *, seed: int, started: float) -> Report:
    """Return the report on a function that is nan or infinite because its point is."""
    found = dataclasses.replace(find_undefined(name), advice=str(error))
    report = nothing_to_check(name, seed=seed, started=started)
    return dataclasses.replace(report, verdict=Verdict.INCONCLUSIVE, reason=Reason.DOMAIN, findings=(found,))
