"""A report as text: one set of rich renderables, printed with colour to a terminal and without to a string.

Text of the user's (names, paths, notes) is wrapped in `rich.text.Text` and never read as markup: paths are full of
square brackets.
"""

from __future__ import annotations

import io
import random
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradproof._render import _numbers as numbers
from gradproof._render import _words as words
from gradproof._render._columns import GAP, fold, table
from gradproof._render._entries import MARK, entry_tables
from gradproof._render._numbers import TIE
from gradproof._report import Finding, LeafResult, Report, Severity, Verdict

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

# Where no terminal says how wide it is.
DEFAULT_WIDTH = 80
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
    """Return `report` as plain text, no line wider than `width`: that of the terminal, or 80, unless told."""
    _load_rich()
    if width is None:
        width = shutil.get_terminal_size((DEFAULT_WIDTH, 25)).columns if sys.stdout.isatty() else DEFAULT_WIDTH
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        height=25,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    console.print(report_view(report))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _load_rich() -> None:
    """Import what draws from Python's global generator when it is imported, and put back that generator's state."""
    state = random.getstate()
    import rich.style  # noqa: F401  # pyright: ignore[reportUnusedImport]

    random.setstate(state)


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
        yield fold(banner(report), width)
        shown = report.findings[:MOST_FINDINGS]
        for finding in shown:
            yield ""
            yield from _finding(finding, plus_minus, width)
        if len(report.findings) > len(shown):
            yield ""
            more = f"and {numbers.count(len(report.findings) - len(shown), 'more finding')}: see report.findings"
            yield fold(text(more), width)
        for title, lines in entry_tables(report, width):
            yield ""
            yield fold(text(title), width)
            yield from (_marked(line) for line in lines)
        if advice := words.general_advice(report):
            yield from fields([("next", text(advice))], width)
        if report.leaves:
            yield ""
            yield from _leaves(report.leaves, width, ascii_only=options.ascii_only)
        yield ""
        certificate = " ".join(words.certificate(report))
        if certificate:
            yield fold(text(certificate, "dim"), width)
        if report.modes:
            yield fold(text(words.modes(report), "dim"), width)
            yield from fields([(label, text(line, "dim")) for label, line in words.not_checked(report)], width)
        yield fold(text(words.cost(report), "dim"), width)


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


def _finding(finding: Finding, plus_minus: str, width: int) -> Iterator[RenderableType]:
    style = {Severity.ERROR: "bold red", Severity.DOUBT: "bold yellow", Severity.NOTE: "bold"}[finding.severity]
    where = words.place(finding)
    heading = styled((where, "bold"), (f"{'  ' if where else ''}{finding.severity.value}{TIE}{finding.id}", style))
    yield fold(heading, width, indent=2)
    styles = {"mistake": "bold", "finding": "bold", "reproduce": "cyan"}
    rows = [(label, text(value, styles.get(label, ""))) for label, value in words.rows(finding, plus_minus)]
    yield from fields(rows, width)


def _marked(line: str) -> Text:
    """A line of numbers, those that are wrong in red."""
    shown = text(line)
    shown.highlight_regex(rf"\S+{re.escape(MARK)}", "bold red")
    return shown


def fields(rows: Sequence[tuple[str, Text]], width: int) -> Iterator[Text]:
    """Labels, indented by two, and what belongs to them beside them."""
    from rich.text import Text

    # (Labels are ours, but those of a report that was read back may be anyone's.)
    rows = [(numbers.printable(label), value) for label, value in rows]
    size = max([len("reproduce"), *(len(label) for label, _ in rows)]) + 4
    for label, value in rows:
        for number, line in enumerate(fold(value, max(width - size, 8)).split("\n")):
            yield Text().append(f"  {'' if number else label}".ljust(size), "dim").append_text(line)


def _leaves(leaves: tuple[LeafResult, ...], width: int, *, ascii_only: bool) -> Iterator[RenderableType]:
    ranked = sorted(leaves, key=words.leaf_order)
    yield from _table(ranked[:MOST_LEAVES], width, ascii_only=ascii_only)
    if len(ranked) > MOST_LEAVES:
        yield fold(text(words.more_leaves(ranked[MOST_LEAVES:])), width)


def _table(leaves: list[LeafResult], width: int, *, ascii_only: bool) -> Iterator[Text]:
    """Leaves as rows. Path, verdict and bound are always there; what has no room beside them gives way."""
    from rich.cells import cell_len
    from rich.text import Text

    rows = {
        "array": [leaf.path for leaf in leaves],
        "shape": [str(leaf.shape) for leaf in leaves],
        "verdict": [leaf.verdict.value for leaf in leaves],
        "bound": numbers.column([leaf.bound for leaf in leaves]),
        "deviation": words.deviations(leaves),
        "note": [leaf.note for leaf in leaves],
    }
    wide = {name: max(cell_len(cell) for cell in [name, *cells]) for name, cells in rows.items()}
    wide["note"] = min(wide["note"], LEAST_NOTE)
    columns = ["array", "shape", "verdict", "bound", "deviation", "note"]
    for name in ("note", "deviation", "shape"):
        if sum(wide[column] + GAP for column in columns) - GAP > width or not any(rows[name]):
            columns.remove(name)
    notes = [text(leaf.note, "dim") if leaf.note and "note" not in columns else None for leaf in leaves]
    cells: list[list[Text]] = []
    for index, leaf in enumerate(leaves):
        row = {name: text(rows[name][index]) for name in columns}
        if "shape" not in columns:
            row["verdict"] = Text(leaf.verdict.value.replace("NOT_DIFF", "NOT_\nDIFF"))
        row["verdict"].stylize(STYLES[leaf.verdict])
        cells.append([row[name] for name in columns])
    return table(
        columns,
        cells,
        width=width,
        right=("bound", "deviation"),
        folded=[name for name in ("note", "array") if name in columns],
        below=notes,
        ascii_only=ascii_only,
    )
