"""Several reports at a glance, worst first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradproof._render import _numbers as numbers
from gradproof._render._text import STYLES, plain_table, text
from gradproof._render._words import worst_bound
from gradproof._report import WORST_FIRST, Report, Verdict

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
        table = plain_table()
        table.add_column("case", overflow="fold")
        table.add_column("verdict", no_wrap=options.max_width >= 50, overflow="fold")
        table.add_column("worst bound" if options.max_width >= 60 else "bound", justify="right", no_wrap=True)
        table.add_column("evaluations" if options.max_width >= 60 else "evals", justify="right", no_wrap=True)
        for case in sorted(self.cases, key=rank):
            if case.report is None:
                table.add_row(text(case.name), text("could not run", "bold red"), "-", "-")
                continue
            verdict = case.report.verdict
            bound = worst_bound(case.report.leaves) if verdict is Verdict.CORRECT else None
            table.add_row(
                text(case.name),
                text(verdict.value, STYLES[verdict]),
                numbers.significant(bound),
                f"{case.report.cost.evaluations:,}",
            )
        yield table


def tally(cases: Sequence[NamedReport]) -> Text:
    """Return the last line: how many cases got which verdict, and how many could not run."""
    line = text("")
    for verdict, (word, style) in _COUNTED.items():
        number = sum(case.report is not None and case.report.verdict is verdict for case in cases)
        line.append(", " if line else "")
        line.append(f"{number} {word}", style if number else "")
    failed = sum(case.report is None for case in cases)
    return line.append(", ").append(f"{failed} could not run", "bold red") if failed else line


def rank(case: NamedReport) -> tuple[int, float]:
    """Worst first: wrong, could not run, inconclusive, not differentiable, then the correct by their bound."""
    if case.report is None:
        return 1, 0.0
    verdict = case.report.verdict
    rank = 0 if verdict is Verdict.WRONG else 1 + WORST_FIRST.index(verdict)
    return rank, -(worst_bound(case.report.leaves) or 0.0)
