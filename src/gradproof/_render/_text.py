"""A report as text: one set of rich renderables, printed with colour to a terminal and without to a string.

Text of the user's (names, paths, notes) is wrapped in `rich.text.Text` and never read as markup: paths are full of
square brackets.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gradproof._render import _numbers as numbers
from gradproof._render._columns import GAP, fold, table
from gradproof._render._numbers import TIE
from gradproof._report import WORST_FIRST, Finding, LeafResult, Reason, Report, Severity, Verdict

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

DEFAULT_WIDTH = 100
MOST_LEAVES = 40
MOST_FINDINGS = 12
MOST_ENTRIES = 6
# What a column of notes needs; where it does not have it, notes stand under the leaf's path.
LEAST_NOTE = 28

STYLES = {
    Verdict.CORRECT: "bold green",
    Verdict.WRONG: "bold red",
    Verdict.NOT_DIFFERENTIABLE: "bold magenta",
    Verdict.INCONCLUSIVE: "bold yellow",
}

_DERIVATIVES = {
    "grad": "gradient",
    "jac": "Jacobian",
    "hess": "Hessian",
    "vjp": "vjp",
    "jvp": "jvp",
    "hvp": "hvp",
    "autodiff": "derivative by autodiff",
}

_WHAT_IT_MEANS = {
    Reason.NOISE: "the values of f are too noisy for an error bar that could tell",
    Reason.PRECISION: "the precision of f is too low for an error bar that could tell",
    Reason.DOMAIN: "f cannot be evaluated far enough around the point",
    Reason.NO_CONVERGENCE: "the difference quotients do not settle as the step shrinks",
    Reason.STOCHASTIC: "f returns different values at the same point",
    Reason.UNSTABLE: "two independent measurements of the same slope disagree",
    Reason.DEGENERATE: "at this point the numbers prove nothing",
    Reason.WITNESSES: "differences of f and an independent witness disagree",
}
_WHAT_TO_DO = {
    Reason.NOISE: "Run f in higher precision, tighten its inner tolerances, or state a wider max_bound.",
    Reason.PRECISION: "Check in float64, or state a wider max_bound.",
    Reason.DOMAIN: "Check at a point away from the edge of the domain.",
    Reason.NO_CONVERGENCE: "Check at another point; look for a kink, a jump or an iteration count that changes nearby.",
    Reason.STOCHASTIC: "Fix the random state inside f, so that equal arguments give equal values.",
    Reason.UNSTABLE: "Make f deterministic if it is not; check again with another rng, or at another point.",
    Reason.DEGENERATE: "Check at another point, such as a random one of ordinary size.",
    Reason.WITNESSES: "Check that reference= computes the same function; f may not be analytic (abs, real parts, max).",
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
        yield fold(banner(report), width)
        shown = report.findings[:MOST_FINDINGS]
        for finding in shown:
            yield ""
            yield from _finding(finding, plus_minus, width)
        if len(report.findings) > len(shown):
            yield ""
            more = f"and {numbers.count(len(report.findings) - len(shown), 'more finding')}: see report.findings"
            yield fold(text(more), width)
        if report.reason is not None and not any(finding.advice for finding in report.findings):
            yield from fields([("next", text(_WHAT_TO_DO[report.reason]))], width)
        if report.leaves:
            yield ""
            yield from _leaves(report.leaves, width, ascii_only=options.ascii_only)
        yield ""
        certificate = " ".join(_certificate(report))
        if certificate:
            yield fold(text(certificate, "dim"), width)
        if report.modes:
            yield fold(text(_modes(report), "dim"), width)
            yield from fields([(label, text(line, "dim")) for label, line in _not_checked(report)], width)
        yield fold(text(_cost(report), "dim"), width)


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


def worst_bound(leaves: Iterable[LeafResult]) -> float | None:
    """The largest certificate among the correct leaves."""
    return max((x.bound for x in leaves if x.bound is not None and x.verdict is Verdict.CORRECT), default=None)


def banner(report: Report) -> Text:
    """The verdict and one sentence."""
    subject = f"the claimed {_DERIVATIVES.get(report.claim, report.claim)}"
    if report.verdict is Verdict.CORRECT:
        bound = worst_bound(report.leaves)
        within = "" if bound is None else f" to within {numbers.significant(bound)}"
        entries = sum(math.prod(leaf.shape) for leaf in report.leaves)
        covered = f"{numbers.count(len(report.leaves), 'leaf', 'leaves')}, {numbers.count(entries, 'entry', 'entries')}"
        sentence = f"{subject} is right{within} ({covered})"
    elif report.verdict is Verdict.WRONG:
        errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
        sentence = f"{subject} is not the derivative"
        sentence += f" ({numbers.count(errors, 'error')})" if errors else ""
    elif report.verdict is Verdict.NOT_DIFFERENTIABLE:
        sentence = f"the function has a kink at this point; {subject} lies between its one-sided slopes"
    elif report.reason is None:
        sentence = f"{subject} could be neither confirmed nor refuted"
    else:
        sentence = reason_text(report.reason)
    name = f"  {report.name}" if report.name else ""
    return styled((report.verdict.value, STYLES[report.verdict]), (name, "bold"), (f"  {sentence}", ""))


def reason_text(reason: Reason) -> str:
    """The reason by its name, and what it means."""
    return f"{reason.value}: {_WHAT_IT_MEANS[reason]}"


def leaf_order(leaf: LeafResult) -> tuple[int, float]:
    """Worst first: by verdict, then by what was seen (correct leaves by their bound; flat ones, without, last)."""
    size = leaf.bound if leaf.verdict is Verdict.CORRECT else leaf.deviation
    missing = math.inf if leaf.verdict is Verdict.CORRECT else -math.inf
    return WORST_FIRST.index(leaf.verdict), missing if size is None or math.isnan(size) else -size


def _finding(finding: Finding, plus_minus: str, width: int) -> Iterator[RenderableType]:
    style = {Severity.ERROR: "bold red", Severity.DOUBT: "bold yellow", Severity.NOTE: "bold"}[finding.severity]
    where = finding_place(finding)
    heading = styled((where, "bold"), (f"{'  ' if where else ''}{finding.severity.value}{TIE}{finding.id}", style))
    yield fold(heading, width, indent=2)
    is_error = finding.severity is Severity.ERROR
    rows: list[tuple[str, Text]] = []
    numeric = _numeric(finding, plus_minus)
    if numeric:
        rows.append((finding.quantity or "value", text(numeric)))
    relation = finding.kind
    if finding.factor is not None and "claimed" not in relation:
        relation += f"{': ' if relation else ''}claimed {numbers.factor(finding.factor)} times the true gradient"
    if relation:
        rows.append(("mistake" if is_error else "finding", text(relation, "bold")))
    if finding.advice:
        rows.append(("advice" if is_error else "next", text(finding.advice)))
    if finding.reproducer:
        rows.append(("reproduce", text(finding.reproducer, "cyan")))
    yield from fields(rows, width)


def finding_place(finding: Finding) -> str:
    """Path, entries and place within the leaf."""
    names = [str(list(entry)) for entry in finding.entries]
    where = finding.path
    if len(names) == 1:
        where += "" if where.endswith(names[0]) else names[0]
    elif names:
        more = f" and {len(names) - MOST_ENTRIES:,} more" if len(names) > MOST_ENTRIES else ""
        where += f" at {', '.join(names[:MOST_ENTRIES])}{more}"
    place = "" if where.endswith(finding.place) else finding.place
    return ", ".join(part for part in (where, place) if part)


def _numeric(finding: Finding, plus_minus: str) -> str:
    bar = "" if finding.error_bar is None else f" {plus_minus} {numbers.error_bar(finding.error_bar)}"
    if finding.claimed is not None and finding.reference is not None:
        claimed, reference = numbers.measured(finding.claimed, finding.reference, finding.error_bar)
        return f"claimed {claimed}, reference {reference}{bar}"
    if finding.claimed is not None:
        return f"claimed {numbers.significant(finding.claimed, 6)}"
    if finding.reference is not None:
        return f"reference {numbers.measured(finding.reference, finding.reference, finding.error_bar)[1]}{bar}"
    return ""


def fields(rows: Sequence[tuple[str, Text]], width: int) -> Iterator[Text]:
    """Labels, indented by two, and what belongs to them beside them."""
    from rich.text import Text

    size = max([len("reproduce"), *(len(label) for label, _ in rows)]) + 4
    for label, value in rows:
        for number, line in enumerate(fold(value, max(width - size, 8)).split("\n")):
            yield Text().append(f"  {'' if number else label}".ljust(size), "dim").append_text(line)


def _leaves(leaves: tuple[LeafResult, ...], width: int, *, ascii_only: bool) -> Iterator[RenderableType]:
    ranked = sorted(leaves, key=leaf_order)
    shown, cut = ranked[:MOST_LEAVES], ranked[MOST_LEAVES:]
    yield from _table(shown, width, ascii_only=ascii_only)
    if cut:
        kinds = ", ".join(
            f"{sum(leaf.verdict is verdict for leaf in cut):,} {verdict.value}"
            for verdict in WORST_FIRST
            if any(leaf.verdict is verdict for leaf in cut)
        )
        bound = worst_bound(cut)
        largest = "" if bound is None else f", largest bound {numbers.significant(bound)}"
        yield fold(text(f"and {numbers.count(len(cut), 'more leaf', 'more leaves')}: {kinds}{largest}"), width)


def _table(leaves: list[LeafResult], width: int, *, ascii_only: bool) -> Iterator[Text]:
    """Leaves as rows. Path, verdict and bound are always there; what has no room beside them gives way."""
    from rich.cells import cell_len
    from rich.text import Text

    rows = {
        "leaf": [leaf.path for leaf in leaves],
        "shape": [str(leaf.shape) for leaf in leaves],
        "verdict": [leaf.verdict.value for leaf in leaves],
        "bound": numbers.column([leaf.bound for leaf in leaves]),
        "deviation": numbers.column([leaf.deviation for leaf in leaves]),
        "note": [leaf.note for leaf in leaves],
    }
    wide = {name: max(cell_len(cell) for cell in [name, *cells]) for name, cells in rows.items()}
    wide["note"] = min(wide["note"], LEAST_NOTE)
    columns = ["leaf", "shape", "verdict", "bound", "deviation", "note"]
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
        folded=[name for name in ("note", "leaf") if name in columns],
        below=notes,
        ascii_only=ascii_only,
    )


def _certificate(report: Report) -> Iterator[str]:
    correct = [leaf for leaf in report.leaves if leaf.verdict is Verdict.CORRECT]
    bound = worst_bound(correct)
    if bound is None:
        return
    limit = f"no error above {numbers.significant(bound)} of each leaf's norm"
    subject = "" if len(correct) == len(report.leaves) else "in the CORRECT leaves "
    if report.level == "entries":
        sentence = f"{subject}every entry was measured alone: {limit}, given honest error bars."
    else:
        how_sure = f"confidence {numbers.confidence(report.confidence).replace(' ', TIE)}"
        sentence = f"{subject}{limit}, {how_sure}, over the choice of directions, given honest error bars."
    yield sentence[0].upper() + sentence[1:]
    noticeable = max((leaf.noticeable for leaf in correct if leaf.noticeable is not None), default=None)
    if noticeable is not None:
        yield (
            "A single wrong entry would have been noticed from an error of "
            f"{numbers.significant(noticeable)} of its leaf's rms entry."
        )


def _modes(report: Report) -> str:
    """The modes of a framework's autodiff that were checked, with their verdicts."""
    checked = [f"{one.mode}{TIE}{one.verdict.value}" for one in report.modes if one.verdict is not None]
    how = {f", {one.note}" for one in report.modes if one.verdict is not None and one.note}
    return f"Modes: {', '.join(checked)}{''.join(how)}."


def _not_checked(report: Report) -> list[tuple[str, str]]:
    """The other modes, those with the same reason together: "not available" or "not checked", modes and reason."""
    together: dict[tuple[str, str], list[str]] = {}
    for one in report.modes:
        if one.verdict is None:
            label, _, reason = one.note.partition(": ")
            if label == "not checked":  # the reason of another mode stands beside that mode
                reason = reason.partition(": ")[0]
            together.setdefault((label, reason), []).append(one.mode)
    return [(label, f"{', '.join(modes)}: {reason}") for (label, reason), modes in together.items()]


def _cost(report: Report) -> str:
    cost = report.cost
    claims = numbers.count(cost.claims, "call") + " of the claim" if cost.claims else "claim given as a value"
    limits = f"rtol {numbers.setting(report.rtol)}, max_bound {numbers.setting(report.max_bound)}"
    evaluations = numbers.count(cost.evaluations, "evaluation")
    return f"{evaluations} of f, {claims}; {limits}; replay:{TIE}rng={report.seed}."
