"""What a run of tests recorded, as pytest's terminal shows it at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gradproof._render import _numbers as numbers
from gradproof._render._columns import fold
from gradproof._render._summary import NamedReport, tally
from gradproof._render._text import text
from gradproof._render._words import place, reason_text
from gradproof._report import WORST_FIRST, Finding, Report, Severity

MOST_TESTS = 25


def tests_text(
    recorded: Sequence[tuple[str, str, Report]],
    errors: Sequence[Mapping[str, str]],
    *,
    width: int,
    verbose: bool,
) -> str:
    """Return the wrong and the undecided, worst first, and a line that counts; empty where all are correct.

    Parameters
    ----------
    recorded : sequence of (str, str, Report)
        The test, its outcome (``"passed"``, ``"failed"`` or ``"xfailed"``) and what it recorded.
    errors : sequence of mapping
        ``case``, ``error`` and ``message`` of what could not run.
    width : int
        Lines are wrapped to it.
    verbose : bool
        Whether a run in which all are correct is counted as well.
    """
    rest = sorted((one for one in recorded if not one[2].correct), key=lambda one: WORST_FIRST.index(one[2].verdict))
    if not (rest or errors or verbose):
        return ""
    lines: list[str] = []
    for test, outcome, report in rest[:MOST_TESTS]:
        passed = "" if outcome == "failed" else f" (the test {outcome})"
        lines.append(f"{report.verdict.value}  {numbers.printable(test)}{passed}")
        lines += _wrapped(_essence(report), width)
    if len(rest) > MOST_TESTS:
        lines.append(f"and {len(rest) - MOST_TESTS:,} more that are not correct")
    for error in errors:
        lines.append(f"could not run  {numbers.printable(error['case'])}")
        lines += _wrapped([f"{error['error']}: {error['message']}"], width)
    named = [NamedReport(name=test, report=report) for test, _, report in recorded]
    named += [NamedReport(name=error["case"], report=None) for error in errors]
    return "\n".join([*lines, tally(named).plain])


def headline(report: Report) -> str:
    """The verdict and the first error or doubt: what there is room for in a list of failures."""
    return "  ".join(part for part in (report.verdict.value, numbers.printable(told(report))) if part)


def told(report: Report) -> str:
    """The first error or doubt, or why there is no verdict."""
    shown = first(report)
    if shown is not None:
        weighty = [finding for finding in report.findings if finding.severity is not Severity.NOTE]
        where = place(shown)
        more = f", and {numbers.count(len(weighty) - 1, 'more finding')}" if len(weighty) > 1 else ""
        return f"{where}{': ' if where else ''}{shown.kind} ({shown.id}){more}"
    return "" if report.reason is None else reason_text(report.reason)


def first(report: Report) -> Finding | None:
    """The first finding that is no note, or else the first note."""
    weighty = (finding for finding in report.findings if finding.severity is not Severity.NOTE)
    return next(weighty, next(iter(report.findings), None))


def _essence(report: Report) -> Iterator[str]:
    """The first error or doubt in a line, and how to see it again."""
    essence = told(report)
    if essence:
        yield f"{report.name}: {essence}" if report.name else essence
    shown = first(report)
    if shown is not None and shown.reproducer:
        yield shown.reproducer
    else:
        yield f"replay: rng={report.seed}"


def _wrapped(texts: Iterable[str], width: int) -> Iterator[str]:
    for one in texts:
        yield from (f"    {line}" for line in fold(text(one), width - 4).plain.split("\n"))
