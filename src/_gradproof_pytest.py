"""The pytest plugin: the fixture and the marker `gradproof`, and reports instead of tracebacks.

It stands beside the package so that starting pytest does not import gradproof: that happens when a test uses it.
Reports travel on pytest's own test reports, as JSON text, so that they also come back from the workers of
pytest-xdist.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradproof import Report
    from gradproof._report._report_file import ReportFile

# What `assert_grad` warns of at a kink: matched by its text, because naming the class would import gradproof.
NOT_DIFFERENTIABLE_WARNING = r"`.*` is not differentiable at this point in"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line and the ini file ask for."""

    seed: int | None
    strict: bool
    json: str | None
    html: str | None
    width: int
    github: bool


SETTINGS = pytest.StashKey[Settings]()
PENDING = pytest.StashKey[list["Report"]]()  # of an item: reports that no test report carries yet


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer, not negative, got {text!r}")
    return int(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gradproof", "gradproof: checks of gradients")
    group.addoption(
        "--gradproof-json",
        metavar="PATH",
        help="Write all reports to PATH as one JSON document, for `gradproof show` and `gradproof compare`.",
    )
    group.addoption(
        "--gradproof-html",
        metavar="PATH",
        help="Write all reports to PATH as one page of HTML that needs no other file; needs jinja2 and matplotlib.",
    )
    group.addoption(
        "--gradproof-seed",
        metavar="N",
        type=_seed,
        help="Seed of every check by the fixture; derived from the test's node id if left out.",
    )
    group.addoption(
        "--gradproof-strict",
        action="store_true",
        help="NOT_DIFFERENTIABLE fails as INCONCLUSIVE does, instead of a warning.",
    )
    group.addoption(
        "--gradproof-github",
        choices=("on", "off"),
        help="Whether the lines of failed checks are annotated, as GitHub Actions reads it; on by itself there.",
    )
    parser.addini("gradproof_seed", "As --gradproof-seed.", default="")
    parser.addini("gradproof_strict", "As --gradproof-strict.", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "gradproof(**options): options of `gradproof.check` for the fixture `gradproof`, such as rtol=1e-5 or "
        'level="entries".',
    )
    written = str(config.getini("gradproof_seed"))
    try:
        from_ini = _seed(written) if written else None
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"gradproof_seed {error}") from None
    from_command_line = config.getoption("--gradproof-seed")
    config.stash[SETTINGS] = Settings(
        seed=from_ini if from_command_line is None else from_command_line,
        strict=bool(config.getoption("--gradproof-strict") or config.getini("gradproof_strict")),
        json=_output(config, "--gradproof-json"),
        html=_output(config, "--gradproof-html"),
        width=_worker_input(config).get("gradproof_width") or min(shutil.get_terminal_size().columns, 100),
        github=(config.getoption("--gradproof-github") or _github_by_itself()) == "on",
    )
    if not _worker_input(config):
        _require_html(config.stash[SETTINGS])
        config.pluginmanager.register(Recorder(config.stash[SETTINGS]), "gradproof-recorder")


def _github_by_itself() -> str:
    return "on" if os.environ.get("GITHUB_ACTIONS") == "true" else "off"


def _output(config: pytest.Config, option: str) -> str | None:
    """Where a file is to be written, if the option asks for one."""
    path: str | None = config.getoption(option)
    if path is not None and (os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or ".")):
        raise pytest.UsageError(f"{option}: {path} cannot be a file: it is a folder, or its folder is missing")
    return None if path is None else os.path.abspath(path)


def _require_html(settings: Settings) -> None:
    """Say before the run, not after it, what is missing for HTML."""
    if settings.html is None:
        return
    from gradproof import GradproofError
    from gradproof._render import require_html

    try:
        require_html()
    except GradproofError as error:
        raise pytest.UsageError(f"--gradproof-html: {error}") from None


def _worker_input(config: pytest.Config) -> dict[str, Any]:
    """What pytest-xdist gave this process; empty where it is no worker."""
    return getattr(config, "workerinput", {})


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist, which has no terminal, how wide ours is."""
    node.workerinput["gradproof_width"] = node.config.stash[SETTINGS].width


def pytest_report_header(config: pytest.Config) -> str | None:
    settings = config.stash[SETTINGS]
    if settings.seed is None and not settings.strict and config.get_verbosity() < 1:
        return None
    seed = "derived from each test's node id" if settings.seed is None else settings.seed
    return f"gradproof: seed {seed}{', strict' if settings.strict else ''}"


class Gradproof:
    """What the fixture `gradproof` is: checks that are recorded, with the seed and the options of this test."""

    def __init__(self, item: pytest.Item) -> None:
        settings = item.config.stash[SETTINGS]
        seed = zlib.crc32(item.nodeid.encode()) if settings.seed is None else settings.seed
        self._strict = settings.strict
        self._options: dict[str, Any] = {"rng": seed, "progress": False, **_marked(item)}
        self._reports = item.stash.setdefault(PENDING, [])

    def __call__(self, f: Callable[..., Any], args: Any, **options: Any) -> Report:
        """Check a claimed derivative as `gradproof.assert_grad` does: fail the test unless it is right."""
        __tracebackhide__ = True
        from gradproof import GradientError, Verdict
        from gradproof._ask._check import require_right

        report = self.check(f, args, **options)
        if self._strict and report.verdict is Verdict.NOT_DIFFERENTIABLE:
            raise GradientError(report)
        require_right(report, stacklevel=3)
        return report

    def check(self, f: Callable[..., Any], args: Any, **options: Any) -> Report:
        """Check a claimed derivative as `gradproof.check` does, and record the report; the test does not fail."""
        __tracebackhide__ = True
        import gradproof

        return self.record(gradproof.check(f, args, **{**self._options, **options}))

    def record(self, report: Report) -> Report:
        """Record a report that came another way, such as from `gradproof.torch.check_module`; return it."""
        self._reports.append(report)
        return report


@pytest.fixture(name="gradproof")
def gradproof_fixture(request: pytest.FixtureRequest) -> Gradproof:
    """Check gradients: `gradproof(f, args, grad=g)` as gradproof.assert_grad, `gradproof.check(...)` records only."""
    problem = _marker_problem(request.node)  # of markers that were added after collection
    if problem:
        pytest.fail(problem, pytrace=False)
    return Gradproof(request.node)


def _marked(item: pytest.Item) -> dict[str, Any]:
    """The options that markers set for this test, the closest first to count."""
    options: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("gradproof"))):
        options.update(mark.kwargs)
    return options


def _marker_problem(item: pytest.Item) -> str:
    """What is wrong with the arguments of the markers, or an empty string."""
    for mark in item.iter_markers("gradproof"):
        problem = "takes options by keyword only" if mark.args else _option_problem(mark.kwargs)
        if problem:
            return f"{item.nodeid}: the marker `gradproof` {problem}"
    return ""


def _option_problem(options: Mapping[str, Any]) -> str:
    from gradproof import UsageError
    from gradproof._ask._check import Options, draw_seed

    known = [field.name for field in dataclasses.fields(Options)]
    unknown = [name for name in options if name not in known]
    if unknown:
        return f"has no option `{unknown[0]}`; it takes {', '.join(known)}"
    if not isinstance(options.get("rng", 0), int):
        return f"takes an int as `rng`, got {options['rng']!r}"
    try:
        Options(**options)
        draw_seed(options.get("rng"))
    except UsageError as error:
        return f"has a bad option: {error}"
    return ""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a marker with bad arguments an error of the collection."""
    report = yield
    items = [node for node in report.result or () if isinstance(node, pytest.Item)]
    problems = [problem for problem in map(_marker_problem, items) if problem]
    if problems:
        report.outcome = "failed"
        report.longrepr = "\n".join(problems)
        report.result = []
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """With --gradproof-strict, make the warning of `assert_grad` at a kink an error."""
    __tracebackhide__ = True
    if not item.config.stash[SETTINGS].strict:
        return (yield)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=NOT_DIFFERENTIABLE_WARNING)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the test report carry what was recorded, and show an error of gradproof without a traceback of its own."""
    test_report = yield
    # Only now: for a test of unittest, pytest puts the exception into `call` meanwhile.
    pending = item.stash.setdefault(PENDING, [])
    error = _our_error(call)
    raised: Report | None = getattr(error, "report", None)
    if raised is not None and not any(raised is report for report in pending):
        pending.append(raised)
    reports, pending[:] = pending[:], []
    for report in reports:
        properties = _properties(report)
        item.user_properties.extend(properties)  # for the test reports of later phases
        test_report.user_properties.extend(properties)
    test_report.__dict__["gradproof_reports"] = [report.to_json() for report in reports]
    if reports and item.config.stash[SETTINGS].github:
        # (Reports lose their lines on the way through JSON.)
        kinks_fail = item.config.stash[SETTINGS].strict or isinstance(error, Warning)
        test_report.__dict__["gradproof_lines"] = [_lines(item, report, kinks_fail) for report in reports]
    if error is not None and test_report.failed and call.excinfo is not None:
        if raised is None and not isinstance(error, Warning):
            entry = {"case": item.nodeid, "error": type(error).__name__, "message": str(error)}
            test_report.__dict__["gradproof_error"] = entry
            test_report.__dict__["gradproof_error_lines"] = _line_of_test(item)
        if not item.config.getoption("fulltrace") and item.config.getoption("tbstyle") != "native":
            test_report.longrepr = _failure(item, call.excinfo, error)
    return test_report


def _our_error(call: pytest.CallInfo[None]) -> BaseException | None:
    """What the test raised, if it is an error of gradproof, or its warning made an error."""
    module = sys.modules.get("gradproof")
    if module is None or call.excinfo is None:
        return None
    error = call.excinfo.value
    return error if isinstance(error, (module.GradproofError, module.GradproofWarning)) else None


def _lines(item: pytest.Item, report: Report, kinks_fail: bool) -> list[tuple[str, int]] | None:
    """Where the user would look if the test fails, the test last; None if it does not fail for this report."""
    from gradproof import Verdict
    from gradproof._render import sources_of

    if report.verdict is Verdict.CORRECT or (report.verdict is Verdict.NOT_DIFFERENTIABLE and not kinks_fail):
        return None
    # (pytest-xdist carries plain tuples alone.)
    return [*((source.file, source.line) for source in sources_of(report)), *_line_of_test(item)]


def _line_of_test(item: pytest.Item) -> list[tuple[str, int]]:
    path, line, _ = item.reportinfo()
    return [] if line is None else [(os.path.abspath(path), line + 1)]


def _properties(report: Report) -> list[tuple[str, object]]:
    """What JUnit's XML says of a report."""
    properties: list[tuple[str, object]] = [
        ("gradproof.verdict", report.verdict.value),
        ("gradproof.name", report.name),
        ("gradproof.seed", report.seed),
        ("gradproof.evaluations", report.cost.evaluations),
    ]
    return properties + [("gradproof.finding", f"{found.id} {found.path}".strip()) for found in report.findings]


def _failure(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], error: BaseException) -> Any:
    """What pytest shows of the failure: where in the test, and the report or the message.

    It is the representation that pytest makes itself, with other text in it: so it goes through pytest-xdist, and has
    a line in the short summary.
    """
    from gradproof import Verdict
    from gradproof._base._errors import users_traceback
    from gradproof._render import headline, report_text

    settings = item.config.stash[SETTINGS]
    report: Report | None = getattr(error, "report", None)
    if report is not None:
        text = report_text(report, width=settings.width)
        summary = headline(report)
    else:
        summary = f"{type(error).__name__}: {error}"
        text = summary if error.__cause__ is None else f"{summary}\n\n{users_traceback(error.__cause__).rstrip()}"
    at_a_kink = isinstance(error, Warning) if report is None else report.verdict is Verdict.NOT_DIFFERENTIABLE
    if settings.strict and at_a_kink:
        text += "\n\nIt fails because of --gradproof-strict, or gradproof_strict in the ini file."
    shown: Any = excinfo.getrepr(style="value", chain=False)
    if shown.reprcrash is not None:
        shown.reprcrash.message = summary
    shown.reprtraceback.reprentries[0].lines = [*_places(item, excinfo), *text.split("\n")]
    return shown


def _places(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException]) -> list[str]:
    """File, line and source of each frame from the test on, less those of gradproof and of pytest itself."""
    ours = pathlib.Path(sys.modules["gradproof"].__file__ or "").parent
    start = item.config.invocation_params.dir
    lines: list[str] = []
    for entry in excinfo.traceback.cut(path=item.path).filter(excinfo):
        path = pathlib.Path(entry.path)
        if path.is_relative_to(ours) or path == pathlib.Path(__file__) or {"_pytest", "pluggy"} & set(path.parts):
            continue
        shown = path.relative_to(start) if path.is_relative_to(start) else path
        lines.append(f"{shown}:{entry.lineno + 1}: in {entry.name}")
        if entry.frame.code.fullsource is not None:  # generated code has none
            lines.append(f"    {str(entry.statement).strip()}")
    return [*lines, ""]


class Recorder:
    """Collects what the test reports carry, in the process that has the terminal, and says and writes it at the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reports: list[tuple[str, str, str]] = []  # test, its outcome, report as JSON text
        self._errors: list[dict[str, str]] = []
        self._failed: list[dict[str, Any]] = []  # what is annotated: for `Checked`, with the report as JSON text
        self._written: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        texts: list[str] = getattr(report, "gradproof_reports", [])
        outcome = "xfailed" if hasattr(report, "wasxfail") and report.outcome == "skipped" else report.outcome
        self._reports += [(report.nodeid, outcome, text) for text in texts]
        if hasattr(report, "gradproof_error"):
            self._errors.append(report.gradproof_error)
        if self._settings.github and report.outcome == "failed":
            self._keep_lines(report, texts)

    def _keep_lines(self, report: pytest.TestReport, texts: list[str]) -> None:
        for text, lines in zip(texts, getattr(report, "gradproof_lines", []), strict=True):
            if lines is not None:
                self._failed.append({"text": text, "lines": lines, "test": report.nodeid})
        if hasattr(report, "gradproof_error"):
            error: dict[str, str] = report.gradproof_error
            problem = f"{error['error']}: {error['message']}"
            lines = report.__dict__["gradproof_error_lines"]
            self._failed.append({"problem": problem, "lines": lines, "test": report.nodeid})

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        wanted = {kind: path for kind, path in (("json", self._settings.json), ("html", self._settings.html)) if path}
        if not wanted or session.config.option.collectonly:
            return
        from gradproof import Report
        from gradproof._base._files import write_text
        from gradproof._report._report_file import ReportFile

        # By test, as the workers of pytest-xdist end in any order.
        ordered = sorted(self._reports, key=lambda recorded: recorded[0])
        file = ReportFile(
            reports=tuple(Report.from_json(text) for _, _, text in ordered),
            tests=tuple(test for test, _, _ in ordered),
            errors=tuple(sorted(self._errors, key=lambda error: error["case"])),
        )
        for kind, path in wanted.items():
            text = file.to_json() if kind == "json" else _page(file)
            try:
                write_text(path, text)
                count = f"{len(ordered)} {'report' if len(ordered) == 1 else 'reports'}"
                self._written.append(f"{count} written to {path}")
            except OSError as error:
                self._written.append(f"{path} could not be written: {error.strerror or error}")
                if session.exitstatus == pytest.ExitCode.OK:
                    session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines: list[str] = []
        if self._reports or self._errors:
            from gradproof import Report
            from gradproof._render import tests_text

            recorded = [(test, outcome, Report.from_json(text)) for test, outcome, text in self._reports]
            verbose = terminalreporter.config.get_verbosity() > 0
            lines = tests_text(recorded, self._errors, width=self._settings.width, verbose=verbose).splitlines()
        lines += self._written
        if lines:
            terminalreporter.write_sep("=", "gradproof")
            for line in lines:
                terminalreporter.write_line(line)
        if self._failed:
            # By test, as the workers of pytest-xdist end in any order.
            for line in _workflow_commands(sorted(self._failed, key=lambda one: one["test"])):
                terminalreporter.write_line(line)


def _workflow_commands(failed: list[dict[str, Any]]) -> list[str]:
    from gradproof import Report
    from gradproof._base._sources import SourceLine
    from gradproof._render import Checked, workflow_commands

    checks: list[Checked] = []
    for one in failed:
        report = Report.from_json(one["text"]) if "text" in one else None
        checks.append(
            Checked(
                name=one["test"] if report is None else report.name,
                report=report,
                problem=one.get("problem", ""),
                sources=tuple(SourceLine(file, line) for file, line in one["lines"]),
                test="" if report is None else one["test"],
            )
        )
    return workflow_commands(checks, os.environ.get("GITHUB_WORKSPACE") or os.getcwd())


def _page(file: ReportFile) -> str:
    from gradproof._render import NamedReport, run_html

    named = [NamedReport(name=name, report=report) for name, report in zip(file.names, file.reports, strict=True)]
    return run_html(named, file.errors)
