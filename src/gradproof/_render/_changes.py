"""What changed between two files of reports, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradproof._render import _numbers as numbers
from gradproof._render._columns import fold
from gradproof._render._text import styled, text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from gradproof._report._compare import CaseChanges, Comparison

INDENT = 8


def changes_view(comparison: Comparison) -> ChangesView:
    """Return a rich renderable of `comparison`: what is worse first, and a last line that counts."""
    return ChangesView(comparison)


class ChangesView:
    """What rich asks for the lines, once it knows the width of the terminal."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        width = options.max_width
        for case in self.comparison.changed:
            yield from _case(case, width)
        for word, names in (("new", self.comparison.new), ("gone", self.comparison.gone)):
            for name in names:
                yield fold(styled((f"{word:{INDENT}}", "bold"), (name, "")), width, INDENT)
        if self.comparison.changed or self.comparison.new or self.comparison.gone:
            yield ""
        yield fold(text(_last_line(self.comparison)), width)


def _case(case: CaseChanges, width: int) -> Iterator[RenderableType]:
    word, style = ("worse", "bold red") if case.worse else ("better", "bold green")
    yield fold(styled((f"{word:{INDENT}}", style), (case.name, "bold")), width, INDENT)
    for change in case.changes:
        parts = (change.where, "bold"), ("  " if change.where else "", ""), (change.what, "red" if change.worse else "")
        for line in fold(styled(*parts), width - INDENT, 2).split("\n"):
            line.pad_left(INDENT)
            yield line


def _last_line(comparison: Comparison) -> str:
    worse = sum(case.worse for case in comparison.changed)
    better = len(comparison.changed) - worse
    counted = f"{numbers.count(comparison.compared, 'check')} in both files; {worse} worse, {better} better"
    only = f", {len(comparison.new)} new, {len(comparison.gone)} gone"
    return f"{counted}{only}. A bound is worse from {numbers.setting(comparison.factor)} times the old one."
