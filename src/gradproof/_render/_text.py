"""A report as text: one set of rich renderables, printed with colour to a terminal and without to a string.

Text of the user's (names, paths, notes) is wrapped in `rich.text.Text` and never read as markup: paths are full of
square brackets.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradproof._render import _numbers as numbers
from gradproof._render import _words as words
from gradproof._report import Finding, LeafResult, Report, Severity, Verdict

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

DEFAULT_WIDTH = 100
MOST_LEAVES = 40
MOST_FINDINGS = 12
# What a column of notes needs; where it does not have it, notes stand under the leaf's path.
LEAST_NOTE = 28

STYLES = {
    Verdict.CORRECT: "bold green",
    Verdict.WRONG: "bold red",
    Verdict.NOT_DIFFERENTIABLE: "bold magenta",
    Verdict.INCONCLUSIVE: "bold yellow",
}


def report_text(report: Report, *, width: int | None = None) -> str:
    """Return `report` as plain text, no line wider than `width` (100 unless told)."""
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream,
        width=DEFAULT_WIDTH if width is None else width,
        height=25,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    console.print(report_view(report))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def report_view(report: Report) -> ReportView:
    """Return a rich renderable of `report`: print it to any `rich.console.Console`."""
    return ReportView(report)


class ReportView:
    """What rich asks for the parts of a report, once it knows the width and the encoding of the terminal."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        report, width = self.report, options.max_width
        plus_minus = "+-" if options.ascii_only else "±"
        yield banner(report)
        shown = report.findings[:MOST_FINDINGS]
        for finding in shown:
            yield ""
            yield from _finding(finding, plus_minus)
        if len(report.findings) > len(shown):
            yield ""
            yield text(f"and {numbers.count(len(report.findings) - len(shown), 'more finding')}: see report.findings")
        if advice := words.general_advice(report):
            yield from _fields([("next", text(advice))])
        if report.leaves:
            yield ""
            yield from _leaves(report.leaves, width)
        yield ""
        certificate = " ".join(words.certificate(report))
        if certificate:
            yield text(certificate, "dim")
        if report.modes:
            yield text(words.modes(report), "dim")
        yield text(words.cost(report), "dim")


def text(content: str, style: str = "") -> Text:
    """A rich Text of one line of anyone's content: no markup, no control characters, long words folded."""
    return styled((content, style))


def styled(*parts: tuple[str, str]) -> Text:
    """Pieces of text, each in its own style, one after the other."""
    from rich.text import Text

    joined = Text(overflow="fold")
    for content, style in parts:
        joined.append(numbers.printable(content), style)
    return joined


def banner(report: Report) -> Text:
    """The verdict and one sentence."""
    name = f"  {report.name}" if report.name else ""
    return styled((report.verdict.value, STYLES[report.verdict]), (name, "bold"), (f"  {words.sentence(report)}", ""))


def _finding(finding: Finding, plus_minus: str) -> Iterator[RenderableType]:
    style = {Severity.ERROR: "bold red", Severity.DOUBT: "bold yellow", Severity.NOTE: "bold"}[finding.severity]
    where = words.place(finding)
    yield styled((where, "bold"), (f"{'  ' if where else ''}{finding.severity.value} {finding.id}", style))
    styles = {"mistake": "bold", "finding": "bold", "reproduce": "cyan"}
    yield from _fields(
        [(label, text(value, styles.get(label, ""))) for label, value in words.rows(finding, plus_minus)]
    )


def _fields(rows: list[tuple[str, Text]]) -> Iterator[Table]:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=len("  reproduce"))
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(f"  {label}", value)
    yield grid


def _leaves(leaves: tuple[LeafResult, ...], width: int) -> Iterator[RenderableType]:
    ranked = sorted(leaves, key=words.leaf_order)
    yield _table(ranked[:MOST_LEAVES], width)
    if len(ranked) > MOST_LEAVES:
        yield text(words.more_leaves(ranked[MOST_LEAVES:]))


def _table(leaves: list[LeafResult], width: int) -> Table:
    """Leaves as rows. Path, verdict and bound are always there; what has no room beside them gives way."""
    from rich.cells import cell_len
    from rich.text import Text

    rows = {
        "leaf": [leaf.path for leaf in leaves],
        "shape": [str(leaf.shape) for leaf in leaves],
        "verdict": [leaf.verdict.value for leaf in leaves],
        "bound": [numbers.significant(leaf.bound) for leaf in leaves],
        "deviation": [numbers.significant(leaf.deviation) for leaf in leaves],
        "note": [leaf.note for leaf in leaves],
    }
    wide = {name: max(cell_len(cell) for cell in [name, *cells]) for name, cells in rows.items()}
    wide["note"] = min(wide["note"], LEAST_NOTE)
    columns = ["leaf", "shape", "verdict", "bound", "deviation", "note"]
    for name in ("note", "deviation", "shape"):
        if sum(wide[column] + 2 for column in columns) - 2 > width or not any(rows[name]):
            columns.remove(name)
    table = plain_table()
    for name in columns:
        number = name in ("bound", "deviation")
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for index, leaf in enumerate(leaves):
        cells = {name: text(cells[index]) for name, cells in rows.items()}
        if "note" not in columns and leaf.note:
            cells["leaf"].append("\n").append_text(text(leaf.note, "dim"))
        if "shape" not in columns:
            cells["verdict"] = Text(leaf.verdict.value.replace("NOT_DIFF", "NOT_\nDIFF"))
        cells["verdict"].stylize(STYLES[leaf.verdict])
        table.add_row(*(cells[name] for name in columns))
    return table


def plain_table() -> Table:
    """An empty table with one rule below its header and two blanks between columns."""
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
        border_style="dim",
    )
