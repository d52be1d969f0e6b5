"""What an HTML page says of a report: sentences, rows and pictures, each within limits, for the templates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from gradproof._base._names import is_within
from gradproof._render import _numbers as numbers
from gradproof._render import _words as words
from gradproof._render._allowance import Allowance, Figure
from gradproof._render._entries import PAGE_WIDTH, entry_tables
from gradproof._render._meanings import MEANINGS
from gradproof._report import Finding, LeafResult, Report, Severity, Verdict
from gradproof._report._evidence import Ladder

MOST_FINDINGS, MOST_BRIEF_FINDINGS = 40, 500
MOST_LEAVES, MOST_OTHER_LEAVES = 100, 1000
MOST_NAMED = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindingView:
    """A finding as an article: where, its rows of label and text, and its pictures."""

    id: str
    severity: str
    place: str
    kind: str
    meaning: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeafView:
    """A leaf as a row of a table."""

    path: str
    shape: str
    dtype: str
    verdict: str
    bound: str
    deviation: str
    note: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportView:
    """A report as the templates show it; `key` makes its anchors differ from those of others on the page."""

    key: str
    verdict: str
    name: str
    sentence: str
    next: str
    findings: tuple[FindingView, ...]
    brief_findings: tuple[FindingView, ...]
    findings_left_out: str
    leaves: tuple[LeafView, ...]
    other_leaves: tuple[LeafView, ...]
    leaves_caption: str
    leaves_left_out: str
    entries: tuple[tuple[str, str], ...]
    figures: tuple[Figure, ...]
    other_figures: tuple[Figure, ...]
    pictures_left_out: str
    covered: tuple[str, ...]
    exact: str
    facts: tuple[tuple[str, str], ...]
    json: str
    json_note: str


def view_of(report: Report, room: Allowance, *, key: str = "") -> ReportView:
    """Return what a page says of `report`, with as many pictures and as much JSON as there is `room` for."""
    room.start_report({leaf.path: leaf.shape for leaf in report.leaves})
    many = len(report.findings)
    full = room.rows(many, most=MOST_FINDINGS, least=2, weight=4)
    brief = room.rows(many - full, most=MOST_BRIEF_FINDINGS, least=0)
    beyond = many - full - brief
    ranked = sorted(report.leaves, key=words.leaf_order)
    first = room.rows(len(ranked), most=MOST_LEAVES, least=5)
    more = room.rows(len(ranked) - first, most=MOST_OTHER_LEAVES, least=0)
    cut = ranked[first + more :]
    findings, rest = _findings(report, report.findings[:full], room)
    scatter = room.scatter(report.evidence.comparisons)
    steps = [figure for ladder in rest if (figure := room.steps(ladder)) is not None]
    figures = [scatter] if scatter is not None else []
    text, note = room.take_json(report)
    missing = room.left_out
    return ReportView(
        key=key,
        verdict=report.verdict.value,
        name=report.name,
        sentence=words.sentence(report),
        next=words.general_advice(report),
        findings=tuple(findings),
        brief_findings=tuple(_plain(finding) for finding in report.findings[full : full + brief]),
        findings_left_out=f"and {numbers.count(beyond, 'more finding')}, left out here: see report.findings"
        if beyond
        else "",
        leaves=tuple(_leaf(leaf) for leaf in ranked[:first]),
        other_leaves=tuple(_leaf(leaf) for leaf in ranked[first : first + more]),
        leaves_caption=_leaves_caption(report),
        leaves_left_out=f"{words.more_leaves(cut)}; left out here: see report.leaves" if cut else "",
        entries=tuple((title, "\n".join(lines)) for title, lines in entry_tables(report, PAGE_WIDTH)),
        figures=tuple(figures + steps[:1]),
        other_figures=tuple(steps[1:]),
        pictures_left_out=f"{numbers.count(missing, 'picture')} left out, to keep this page small." if missing else "",
        covered=tuple(_covered(report)),
        exact=words.exact_statement(report),
        facts=tuple(_facts(report)),
        json=text,
        json_note=note,
    )


def _findings(report: Report, findings: Sequence[Finding], room: Allowance) -> tuple[list[FindingView], list[Ladder]]:
    """Findings with their pictures, each shown once; and the ladders that belong to none of them."""
    maps, ladders = list(report.evidence.maps), list(report.evidence.ladders)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    views: list[FindingView] = []
    drawn: set[str] = set()
    for finding in findings:
        figures: list[Figure | None] = []
        if finding.severity is not Severity.NOTE or report.verdict is Verdict.NOT_DIFFERENTIABLE:
            for tensor in [one for one in maps if one.path and is_within(finding.path, one.path)]:
                maps.remove(tensor)
                figures.append(room.tensor(tensor))
            behind = [ladder for ladder in ladders if _is_behind(ladder, finding)]
            if not behind and errors == [finding]:  # of a row of a Jacobian, whose path is no leaf's
                behind = [ladder for ladder in ladders if ladder.against]
            for ladder in behind[:1]:
                ladders.remove(ladder)
                if ladder.path not in drawn:  # one picture of steps is enough for the entries of an array
                    drawn.add(ladder.path)
                    figures.append(room.steps(ladder))
        shown = tuple(figure for figure in figures if figure is not None)
        meaning = "" if any(view.id == finding.id for view in views) else MEANINGS.get(finding.id, "")
        view = _plain(finding)
        views.append(dataclasses.replace(view, meaning=meaning, rows=tuple(words.rows(finding)), figures=shown))
    return views, [ladder for ladder in ladders if ladder.entry is None or ladder.path not in drawn]


def _is_behind(ladder: Ladder, finding: Finding) -> bool:
    return (
        bool(ladder.path)
        and is_within(finding.path, ladder.path)
        and (ladder.entry is None or not finding.entries or ladder.entry in finding.entries)
    )


def _plain(finding: Finding) -> FindingView:
    return FindingView(id=finding.id, severity=finding.severity.value, place=words.place(finding), kind=finding.kind)


def _leaf(leaf: LeafResult) -> LeafView:
    return LeafView(
        path=leaf.path,
        shape=str(leaf.shape),
        dtype=leaf.dtype,
        verdict=leaf.verdict.value,
        bound=numbers.significant(leaf.bound),
        deviation=words.deviations([leaf])[0].strip(),
        note=leaf.note,
    )


def _leaves_caption(report: Report) -> str:
    if report.level == "reference":
        return (
            "Worst first. The bound is the largest error that could have been missed, the deviation the measured "
            "error, both relative to the norm of the array in the reference. "
            f"{words.spent(report)} of the kernel for all."
        )
    spent = numbers.count(report.cost.evaluations, "evaluation")
    return (
        "Worst first. The bound is the largest error that could have been missed, the deviation how far the claim was "
        f"seen to be off, both relative to the norm of the array's own gradient. {spent} of f for all of them together."
    )


def _covered(report: Report) -> Iterator[str]:
    """What was proved and how, then what no number of this report speaks of."""
    yield from words.certificate(report)
    if report.level == "reference":
        yield "The inputs were moved by a few roundings in each draw, and the cotangents were drawn anew."
    elif report.level == "entries":
        yield "Every entry was measured alone."
    else:
        yield (
            "Random directions through many entries at once were measured; single entries only where a mistake was "
            "looked for."
        )
    yield from words.mode_sentences(report)
    flat = [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.CORRECT and leaf.note.startswith("flat")]
    if flat:
        yield f"f does not change with {_named(flat)}: a claim of zero is right there, and there is no relative bound."
    unproved = [leaf for leaf in report.leaves if leaf.verdict is Verdict.INCONCLUSIVE]
    if unproved:
        known = any(leaf.bound is not None for leaf in unproved)
        yield f"Not proved: {_named([leaf.path for leaf in unproved])}" + (
            "; the bounds above say what is known of them all the same." if known else ". Nothing is known of them."
        )
    yield "Other points, and other values of what is not differentiated, were not looked at."
    yield "Error bars are estimates: they assume that f is smooth on the scale of some of the steps."


def _named(paths: Sequence[str]) -> str:
    """Some paths, and how many more there are."""
    more = f" and {len(paths) - MOST_NAMED:,} more arrays" if len(paths) > MOST_NAMED else ""
    return ", ".join(paths[:MOST_NAMED]) + more


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    run, cost = report.run, report.cost
    yield "replay", f"the same call with `rng={report.seed}`"
    yield "cost", words.spent(report) + (f", {cost.seconds:.3g} s" if cost.seconds >= 0 else "")
    framework = words.BY_A_FRAMEWORK.get(report.claim)
    yield "claim", words.derivatives(report) if framework is None else f"what {framework} returns"
    yield "limits", words.limits(report)
    yield "confidence", numbers.confidence(report.confidence)
    yield "level", report.level
    versions = [("gradproof", run.gradproof), ("NumPy", run.numpy), ("Python", run.python)]
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions if version) or "not recorded"
    if run.platform:
        yield "machine", run.platform
    if run.started:
        yield "started", run.started
