"""The command line: `gradproof demo`, `check`, `show` and `compare`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click

import gradproof
from gradproof._base._errors import MissingExtraError, UsageError
from gradproof._base._files import write_text
from gradproof._base._names import printable
from gradproof._base._sources import definitions
from gradproof._commands._find_cases import Found, TargetError, distinct_cases, find_cases
from gradproof._commands._run_case import Ran, run_case, run_cases
from gradproof._commands._supervised import EndedError, supervised
from gradproof._commands._terminal import console_on, write
from gradproof._progress import current, watching
from gradproof._render import (
    Checked,
    NamedReport,
    changes_view,
    demo_view,
    job_summary,
    report_view,
    require_html,
    run_html,
    sources_of,
    styled,
    summary_view,
    tally,
    workflow_commands,
)
from gradproof._report import Verdict
from gradproof._report._compare import DEFAULT_FACTOR
from gradproof._report._compare import compare as compare_files
from gradproof._report._report_file import ReportFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.text import Text

ALL_CORRECT, WRONG, COULD_NOT_RUN, NOT_PROVED, INTERRUPTED = 0, 1, 2, 3, 130


def _writable(path: str | None, option: str) -> str | None:
    """The path, if a file can be there; noticed before anything runs."""
    if path is not None and not pathlib.Path(path).parent.is_dir():
        raise click.BadParameter(f"no such folder: {printable(str(pathlib.Path(path).parent))}", param_hint=option)
    return path


def _writable_html(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    if path is not None:
        try:
            require_html()
        except MissingExtraError as error:
            raise click.UsageError(str(error)) from None
    return _writable(path, "--html")


_html_option = click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    callback=_writable_html,
    help="Write all reports to PATH as one page of HTML that needs no other file; needs jinja2 and matplotlib.",
)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gradproof.__version__, prog_name="gradproof")
def main() -> None:
    """Prove that a claimed gradient is the derivative of a function, or say where it is not."""


@main.command()
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the random directions; fresh and shown if left out.")
def demo(seed: int | None) -> NoReturn:
    """Judge the gradient-checking assignment of the deeplearning.ai course.

    Its one-dimensional check and its network, with the two planted bugs and fixed, first by the course's rule, then
    by gradproof. The exit code is 0 if gradproof's verdicts are the known truth, else 1.
    """
    from gradproof._commands._demo import run_demo

    result = run_demo(int.from_bytes(os.urandom(4)) if seed is None else seed)
    write(console_on(sys.stdout), demo_view(result))
    sys.exit(ALL_CORRECT if result.as_expected else WRONG)


@main.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="PATH",
    help="Write all reports to PATH as one JSON document; - is stdout, with nothing else on it.",
)
@_html_option
@click.option("-q", "--quiet", is_flag=True, help="Show only what is not correct, and the last line.")
@click.option("--seed", type=click.IntRange(min=0), help="Run every case with rng=SEED.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Run N cases at a time, in processes that each read the TARGETs; the reports are the same.",
)
@click.option(
    "--github",
    is_flag=True,
    help="In GitHub Actions: annotate the lines of what is not correct, and add a table to $GITHUB_STEP_SUMMARY.",
)
def check(
    targets: tuple[str, ...],
    json_path: str | None,
    html_path: str | None,
    quiet: bool,
    seed: int | None,
    jobs: int,
    github: bool,
) -> NoReturn:
    """Run every gradproof.Case found in each TARGET.

    TARGET is FILE.py, FILE.py:NAME, package.module or package.module:NAME. Without NAME, all Cases at module level are
    run, also those in lists, tuples and dicts. NAME is one Case or such a container. A Case without a name of its own
    goes by its variable's.

    \b
    Exit codes, the first that applies:
      1  something is wrong
      2  something could not run: no such file, an error in it,
         no Case found, a case that raised or ended the interpreter
      3  something is inconclusive or not differentiable
      0  all correct
    """  # noqa: D301 (click wants the backspace itself)
    _writable(json_path, "--json")
    try:
        code = supervised(lambda tell: _check(targets, json_path, html_path, quiet, seed, jobs, github, tell))
    except EndedError as error:
        subject = error.last or ", ".join(targets)
        errors = console_on(sys.stderr)
        write(errors, _could_not_run(subject, f"{error}."))
        if github:
            _tell_github([Checked(name=subject, report=None, problem=f"{error}.")], errors, errors)
        code = COULD_NOT_RUN
    sys.exit(code)


def _check(
    targets: tuple[str, ...],
    json_path: str | None,
    html_path: str | None,
    quiet: bool,
    seed: int | None,
    jobs: int,
    github: bool,
    tell: Callable[[str], None],
) -> int:
    """What `check` does, and its exit code; `tell` is told what it is at."""
    # With --json -, whatever the user's code prints must not get between the lines of the document.
    out = sys.stderr if json_path == "-" else sys.stdout
    console, errors = console_on(out), console_on(sys.stderr)
    results: list[NamedReport] = []
    failures: list[dict[str, str]] = []
    checked: list[Checked] = []
    could_not_run = False
    with contextlib.redirect_stdout(out):
        cases: list[Found] = []
        good: list[str] = []
        for target in targets:
            tell(target)
            try:
                cases += find_cases(target)
                good.append(target)
            except TargetError as error:
                could_not_run = True
                failures.append({"case": target, "error": error.kind, "message": str(error)})
                checked.append(Checked(name=target, report=None, problem=str(error)))
                _complain(errors, target, error)
        prefixed = len(targets) > 1
        named = distinct_cases(cases, prefixed=prefixed)

        def look(index: int) -> None:
            tell(named[index].shown)
            current().look(name=named[index].shown, number=index + 1, count=len(named))

        def ready(index: int, ran: Ran) -> None:
            case, report = named[index], ran.report
            results.append(NamedReport(name=case.shown, report=report))
            if report is None:
                failures.append({"case": case.shown, "error": ran.kind, "message": ran.message})
                _complain(errors, case.shown, ran.problem)
            found = definitions(case.case.f) if report is None else sources_of(report)
            checked.append(Checked(name=case.shown, report=report, problem=ran.message, sources=found))
            if report is not None and json_path != "-" and not (quiet and report.correct):
                write(console, report_view(report), "")

        with watching(None, "", started=time.perf_counter()):
            if jobs > 1 and len(named) > 1:
                tell(", ".join(targets))
                run_cases(good, prefixed, len(named), seed, jobs=jobs, to_stderr=json_path == "-", ready=ready)
            else:
                for index, case in enumerate(named):
                    look(index)
                    ready(index, run_case(case, seed))
    if json_path is not None:
        reports = tuple(result.report for result in results if result.report is not None)
        file = ReportFile(reports=reports, errors=tuple(failures))
        try:
            if json_path == "-":
                sys.stdout.write(file.to_json(ascii_only=True))
            else:
                file.write(json_path)
        except OSError as error:
            could_not_run = True
            _complain(errors, json_path, TargetError(f"cannot be written: {error.strerror or error}"))
    if html_path is not None and not _write_html(html_path, results, failures, errors):
        could_not_run = True
    if results and json_path != "-":
        if len(results) > 1 and not quiet:
            write(console, summary_view(results), "")
        write(console, tally(results))
    if github and not _tell_github(checked, console, errors):
        could_not_run = True
    return _exit_code(results, could_not_run)


@main.command()
@click.argument("files", metavar="REPORT.json...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@_html_option
@click.option("-q", "--quiet", is_flag=True, help="Show only what is not correct, and the last line.")
def show(files: tuple[str, ...], html_path: str | None, quiet: bool) -> NoReturn:
    """Show the reports in each REPORT.json.

    REPORT.json is what Report.to_json, gradproof check --json or pytest --gradproof-json wrote; - is stdin.

    The exit code is 0, whatever the reports say, or 2 if a file cannot be read, or PATH not be written.
    """
    console = console_on(sys.stdout)
    results: list[NamedReport] = []
    failures: list[dict[str, str]] = []
    failed = False
    for path in files:
        file = _read(path)
        if file is None:
            failed = True
            continue
        shown = [NamedReport(name=name, report=report) for name, report in zip(file.names, file.reports, strict=True)]
        for result, test in zip(shown, file.tests or ("",) * len(shown), strict=True):
            assert result.report is not None
            if not (quiet and result.report.correct):
                write(console, *([styled((test, "dim"))] if test else []), report_view(result.report), "")
        results += shown
        failures += file.errors
        for error in file.errors:
            write(console, _could_not_run(error["case"], f"{error['error']}: {error['message']}"), "")
            results.append(NamedReport(name=error["case"], report=None))
    if len(results) > 1 and not quiet:
        write(console, summary_view(results), "")
    if html_path is not None and results and not _write_html(html_path, results, failures, console_on(sys.stderr)):
        failed = True
    if results:
        write(console, tally(results))
    sys.exit(COULD_NOT_RUN if failed else ALL_CORRECT)


@main.command()
@click.argument("old", metavar="OLD.json", type=click.Path(allow_dash=True))
@click.argument("new", metavar="NEW.json", type=click.Path(allow_dash=True))
@click.option(
    "--factor",
    type=click.FloatRange(min=1),
    default=DEFAULT_FACTOR,
    show_default=True,
    help="A bound is worse if it is wider than this times the old one. Another seed alone makes up to some 5.",
)
def compare(old: str, new: str, factor: float) -> NoReturn:
    """Show what became worse, or better, from the reports in OLD.json to those in NEW.json.

    \b
    Worse is:
      - a worse verdict of a check, or of a leaf
      - a bound wider than before by more than the factor
      - an error that was not there, also in a check that is new
      - a check that could not run

    Checks are matched by their names (of pytest: by their tests as well), leaves by their paths, errors by their ids
    and paths.

    The exit code is 1 if anything became worse, 2 if a file cannot be read, else 0.
    """  # noqa: D301 (click wants the backspace itself)
    files = [_read(path) for path in (old, new)]
    if files[0] is None or files[1] is None:
        sys.exit(COULD_NOT_RUN)
    comparison = compare_files(files[0], files[1], factor=factor)
    write(console_on(sys.stdout), changes_view(comparison))
    sys.exit(WRONG if comparison.worse else ALL_CORRECT)


def _read(path: str) -> ReportFile | None:
    """The reports at `path`; None, and a line on stderr, if they cannot be read."""
    try:
        with click.open_file(path, encoding="utf-8") as stream:
            return ReportFile.read(stream)
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
    except UsageError as error:
        message = str(error)
    write(console_on(sys.stderr), styled((path, "bold"), (f"  {message}", "")))
    return None


def _write_html(path: str, results: list[NamedReport], failures: list[dict[str, str]], errors: Console) -> bool:
    """Write the page; False, and a line on stderr, if it cannot be written."""
    try:
        write_text(path, run_html(results, failures))
    except OSError as error:
        _complain(errors, path, TargetError(f"cannot be written: {error.strerror or error}"))
        return False
    return True


def _tell_github(checked: list[Checked], console: Console, errors: Console) -> bool:
    """Annotate lines, and write the summary of the job; False, and a line on stderr, if it cannot be written."""
    workspace = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()
    # (The runner reads a command at the start of a line alone; the user's code may have left one unfinished.)
    lines = workflow_commands(checked, workspace)
    if lines:
        console.file.write("\n".join(["", *lines, ""]))
        console.file.flush()
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(job_summary(checked, workspace))
        except OSError as error:
            _complain(errors, path, TargetError(f"cannot be written: {error.strerror or error}"))
            return False
    return True


def _exit_code(results: list[NamedReport], could_not_run: bool) -> int:
    verdicts = [None if result.report is None else result.report.verdict for result in results]
    if Verdict.WRONG in verdicts:
        return WRONG
    if could_not_run or None in verdicts:
        return COULD_NOT_RUN
    return ALL_CORRECT if all(verdict is Verdict.CORRECT for verdict in verdicts) else NOT_PROVED


def _complain(errors: Console, subject: str, error: TargetError) -> None:
    write(errors, _could_not_run(subject, str(error)))
    # The texts of exceptions are the user's: no escape code in them reaches the terminal.
    trace = "\n".join(map(printable, error.trace.split("\n")))
    errors.file.write(f"{trace}\n")


def _could_not_run(subject: str, message: str) -> Text:
    return styled(("could not run", "bold red"), (f"  {subject}", "bold"), (f"  {message}", ""))
