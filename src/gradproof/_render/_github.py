"""What GitHub Actions shows of checks: annotations of lines, and the summary of a job."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from gradproof._base._sources import SourceLine
from gradproof._render import _numbers as numbers
from gradproof._render import _words as words
from gradproof._render._summary import NamedReport, rank, tally
from gradproof._render._tests import first, told
from gradproof._report import Report, Severity, Verdict

# GitHub shows ten errors and ten warnings of a step, and drops the others without a word.
MOST_ANNOTATIONS = 10
# Rows of the table: a cap, far below the 1 MiB that GitHub takes from a step.
MOST_ROWS = 100
COULD_NOT_RUN = "could not run"

_IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTIES = {**_IN_MESSAGES, ":": "%3A", ",": "%2C"}
# Characters by which Markdown or HTML could begin, as what stands for nothing but themselves.
_IN_MARKDOWN = {character: f"&#{ord(character)};" for character in "\\`*_{}[]<>()#+-!|~&@$:="}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """A check to tell of.

    Attributes
    ----------
    name : str
    report : Report or None
        None where it could not run.
    problem : str
        Why not.
    sources : tuple of SourceLine
        Where the user would look, the best place first.
    test : str
        pytest's node id, if it comes from a test.
    """

    name: str
    report: Report | None
    problem: str = ""
    sources: tuple[SourceLine, ...] = ()
    test: str = ""


def sources_of(report: Report) -> tuple[SourceLine, ...]:
    """Where the user would look, the best place first: what a finding accuses, the claim, f, the Case."""
    accused = [finding.sources for finding in report.findings if finding.severity is Severity.ERROR]
    return (*(accused[0] if accused else ()), *report.sources)


def workflow_commands(checks: Iterable[Checked], workspace: str) -> list[str]:
    """The lines by which GitHub annotates code: one for each check that is not correct, worst first.

    Parameters
    ----------
    checks : iterable of Checked
    workspace : str
        The root of the repository, to which paths are relative. A check that has no line in it is told without one.

    Returns
    -------
    list of str
        Ten at most, and one that counts the others.
    """
    wrong = [check for check in _worst_first(checks) if check.report is None or not check.report.correct]
    lines = [_annotation(check, workspace) for check in wrong[:MOST_ANNOTATIONS]]
    if len(wrong) > len(lines):
        rest = wrong[MOST_ANNOTATIONS:]
        counted = tally([NamedReport(name=check.name, report=check.report) for check in rest]).plain
        text = f"{numbers.count(len(rest), 'more check')} not shown here: {counted}. The log has all of them."
        lines.append(_command("notice", {"title": "gradproof"}, text))
    return lines


def job_summary(checks: Sequence[Checked], workspace: str) -> str:
    """The checks as a table in Markdown, worst first, under a line that counts them."""
    counted = tally([NamedReport(name=check.name, report=check.report) for check in checks]).plain
    rows = [("check", "verdict", "finding", "where"), ("---",) * 4]
    for check in _worst_first(checks)[:MOST_ROWS]:
        if check.report is None:
            verdict, finding = COULD_NOT_RUN, check.problem
        else:
            verdict, finding = check.report.verdict.value, "" if check.report.correct else told(check.report)
        where = _place(check.sources, workspace)
        line = "" if where is None else f"{where[0]}:{where[1]}"
        rows.append((_markdown(check.name), _markdown(verdict), _markdown(finding), _markdown(line)))
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    more = f"\n{numbers.count(len(checks) - MOST_ROWS, 'more check')}\n" if len(checks) > MOST_ROWS else ""
    return f"### gradproof\n\n{counted}\n\n{table}{more}\n"


def within(file: pathlib.PurePath, workspace: pathlib.PurePath) -> str | None:
    """The path of a file relative to a folder, with slashes; None if it is not in it."""
    return file.relative_to(workspace).as_posix() if file.is_relative_to(workspace) else None


def _worst_first(checks: Iterable[Checked]) -> list[Checked]:
    return sorted(checks, key=lambda check: rank(NamedReport(name=check.name, report=check.report)))


def _annotation(check: Checked, workspace: str) -> str:
    report = check.report
    verdict = COULD_NOT_RUN if report is None else report.verdict.value
    text = [check.problem] if report is None else _message(report)
    text += [f"test: {check.test}"] if check.test else []
    properties = {"title": f"gradproof: {verdict}  {numbers.printable(check.name)}".rstrip()}
    where = _place(check.sources, workspace)
    if where is not None:
        properties = {"file": where[0], "line": str(where[1]), **properties}
    is_error = report is None or report.verdict is Verdict.WRONG
    return _command("error" if is_error else "warning", properties, "\n".join(map(numbers.printable, text)))


def _message(report: Report) -> list[str]:
    """What is wrong, the numbers, what to do, and how to see it again, each in a line."""
    lines = [told(report) or words.sentence(report)]
    finding = first(report)
    if finding is not None:
        lines += [words.numeric(finding), finding.advice]
    again = f"rng={report.seed}" if finding is None or not finding.reproducer else finding.reproducer
    return [line for line in (*lines, f"reproduce: {again}") if line]


def _place(sources: Iterable[SourceLine], workspace: str) -> tuple[str, int] | None:
    """The first line that lies in the repository: GitHub shows no other."""
    root = pathlib.Path(os.path.realpath(workspace))
    for source in sources:
        file = within(pathlib.Path(os.path.realpath(source.file)), root)
        if file is not None:
            return file, source.line
    return None


def _command(name: str, properties: Mapping[str, str], message: str) -> str:
    written = ",".join(f"{key}={_replaced(value, _IN_PROPERTIES)}" for key, value in properties.items())
    return f"::{name} {written}::{_replaced(message, _IN_MESSAGES)}"


def _markdown(text: str) -> str:
    return _replaced(numbers.printable(text), _IN_MARKDOWN)


def _replaced(text: str, by: Mapping[str, str]) -> str:
    return text.translate(str.maketrans(dict(by)))
