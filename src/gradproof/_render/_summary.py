"""Several reports at a glance, worst first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradproof._render import _numbers as numbers
from gradproof._render._columns import table
from gradproof._render._text import STYLES, text
from gradproof._render._words import worst_bound
from gradproof._report import WORST_FIRST, Report, Severity, Verdict

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

_COUNTED = {
    Verdict.CORRECT: ("correct", "green"),
    Verdict.WRONG: ("wrong", "bold red"),
    Verdict.INCONCLUSIVE: ("inconclusive", "bold yellow"),
    Verdict.NOT_DIFFERENTIABLE: ("not differentiable", "bold magenta"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedReport:
    """One line of the summary: the case's name and its report, or None where the case could not run."""

    name: str
    report: Report | None


def summary_view(cases: Sequence[NamedReport]) -> SummaryView:
    """Return a rich renderable: a table of `cases`, worst first."""
    return SummaryView(cases)


class SummaryView:
    """What rich asks for the table, once it knows the width of the terminal."""

    def __init__(self, cases: Sequence[NamedReport]) -> None:
        self.cases = cases

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        cases = sorted(self.cases, key=rank)
        bounds = numbers.column([_bound(case.report) for case in cases])
        rows: list[list[Text]] = []
        for case, bound in zip(cases, bounds, strict=True):
            if case.report is None:
                verdict, evaluations = text("could not run", "bold red"), "-"
            else:
                verdict = text(case.report.verdict.value, STYLES[case.report.verdict])
                evaluations = f"{case.report.cost.evaluations:,}"
            rows.append([text(case.name), verdict, text(bound), text(evaluations)])
        is_wide = options.max_width >= 70
        last = ["worst bound", "evaluations"] if is_wide else ["bound", "evals"]
        if options.max_width < 50:
            rows, last = [row[:2] for row in rows], []
        yield from table(
            ["case", "verdict", *last],
            rows,
            width=options.max_width,
            right=last,
            folded=["case"],
            ascii_only=options.ascii_only,
        )


def tally(cases: Sequence[NamedReport]) -> Text:
    """Return the last line: how many cases got which verdict, and how many could not run."""
    line = text("")
    for verdict, (word, style) in _COUNTED.items():
        number = sum(case.report is not None and case.report.verdict is verdict for case in cases)
        line.append(", " if line else "")
        line.append(f"{number} {word}", style if number else "")
    failed = sum(case.report is None for case in cases)
    return line.append(", ").append(f"{failed} could not run", "bold red") if failed else line


def _bound(report: Report | None) -> float | None:
    return worst_bound(report.leaves) if report is not None and report.correct else None


def rank(case: NamedReport) -> tuple[int, float]:
    """Worst first: by verdict, then by the number of errors, or by the bound."""
    if case.report is None:
        return 1, 0.0
    verdict = case.report.verdict
    if verdict is Verdict.WRONG:
        return 0, -sum(finding.severity is Severity.ERROR for finding in case.report.findings)
    return 1 + WORST_FIRST.index(verdict), -(_bound(case.report) or 0.0)
