"""Reports as pages: one self-contained file each, which loads nothing and runs no script."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from gradproof._base._errors import MissingExtraError
from gradproof._render import _numbers as numbers
from gradproof._render._allowance import Allowance
from gradproof._render._html_views import ReportView, view_of
from gradproof._render._notebook import prose
from gradproof._render._summary import NamedReport, rank, tally
from gradproof._render._words import sentence, worst_bound
from gradproof._report import Report, Verdict, worst

# Of a page with one report, whose evidence has 17 pictures at most.
ONE = {"rows": 10_000, "pictures": 20, "pictures_each": 20, "picture_bytes": 2_500_000, "json_bytes": 400_000}
# Of a page with many, shared out from the worst on; drawing takes 0.1 to 0.2 s a picture.
MANY = {"rows": 6_000, "pictures": 30, "pictures_each": 3, "picture_bytes": 2_000_000, "json_bytes": 800_000}
# Beyond these, from the worst on, checks have a row of the summary only.
MOST_CHECKS = 300
COULD_NOT_RUN = "could not run"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A check of a run: its row of the summary, and what is below, if there is an anchor for it."""

    anchor: str = ""
    name: str
    verdict: str
    bound: str = "-"
    evaluations: str = "-"
    sentence: str = ""
    open: bool = False
    view: ReportView | None = None


def require_html() -> None:
    """Raise unless what pages are made with is installed.

    Raises
    ------
    MissingExtraError
    """
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"HTML reports need {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install {' '.join(missing)}"
        )


def report_html(report: Report) -> str:
    """Return a page with one report."""
    require_html()
    view = view_of(report, Allowance(**ONE))
    title = f"{report.verdict.value}: {report.name}" if report.name else report.verdict.value
    return _render("report.html", title=title, view=view, version=report.run.gradproof)


def run_html(cases: Sequence[NamedReport], errors: Sequence[Mapping[str, str]] = ()) -> str:
    """Return a page with many reports, worst first; a single one has the page to itself.

    Parameters
    ----------
    cases : sequence of NamedReport
    errors : sequence of mapping
        ``case``, ``error`` and ``message`` of what could not run.
    """
    require_html()
    named = [case for case in cases if case.report is not None]
    if len(named) == 1 and not errors and named[0].report is not None:
        return report_html(dataclasses.replace(named[0].report, name=named[0].name))
    failed = [NamedReport(name=error["case"], report=None) for error in errors]
    messages = iter([f"{error['error']}: {error['message']}" for error in errors])
    room = Allowance(**MANY)
    lines: list[Line] = []
    for number, case in enumerate(sorted([*named, *failed], key=rank), 1):
        anchor = f"check-{number}" if number <= MOST_CHECKS else ""
        if case.report is None:
            lines.append(Line(anchor=anchor, name=case.name, verdict=COULD_NOT_RUN, sentence=next(messages)))
        else:
            lines.append(_line(anchor, case.name, case.report, room, is_first=number == 1))
    beyond = len(lines) - MOST_CHECKS
    verdicts = [case.report.verdict for case in named if case.report is not None]
    counts = tally([*named, *failed]).plain
    return _render(
        "run.html",
        title=f"gradproof: {counts}",
        heading=numbers.count(len(lines), "check"),
        tally=counts,
        worst="could-not-run" if failed and Verdict.WRONG not in verdicts else worst(verdicts).value,
        lines=lines,
        left_out=f"{numbers.count(beyond, 'more check')} above, the last ones, left out here." if beyond > 0 else "",
        version=next((case.report.run.gradproof for case in named if case.report is not None), ""),
    )


def _line(anchor: str, name: str, report: Report, room: Allowance, *, is_first: bool) -> Line:
    view = view_of(report, room, key=f"{anchor}-") if anchor else None
    bound = worst_bound(report.leaves) if report.verdict is Verdict.CORRECT else None
    return Line(
        anchor=anchor,
        name=name,
        verdict=report.verdict.value,
        bound=numbers.significant(bound),
        evaluations=f"{report.cost.evaluations:,}",
        sentence=sentence(report),
        open=is_first and report.verdict is not Verdict.CORRECT,
        view=view,
    )


def _render(template: str, **context: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gradproof._render"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["breakable"] = _breakable
    environment.filters["prose"] = _prose
    return environment.get_template(template).render(**context)


def _printable(value: Any) -> Any:
    """Text of the user's without control characters; what is markup already as it is."""
    return numbers.printable(value) if type(value) is str else value


def _breakable(verdict: str) -> Any:
    """A verdict with the place where it may be broken in a narrow column."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in verdict.split("_"))


def _prose(sentence: str) -> Any:
    from markupsafe import Markup

    return Markup(prose(sentence))
