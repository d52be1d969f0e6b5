"""The command line: `gradproof demo` and `gradproof check`."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import json
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

import click

import gradproof
from gradproof._errors import GradproofError
from gradproof._render import NamedReport, demo_view, report_view, styled, summary_view, tally
from gradproof._report import SCHEMA_VERSION, Report, Verdict

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

ALL_CORRECT, WRONG, COULD_NOT_RUN, NOT_PROVED, INTERRUPTED = 0, 1, 2, 3, 130
WIDEST = 120


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
    from gradproof._demo import run_demo

    result = run_demo(int.from_bytes(os.urandom(4)) if seed is None else seed)
    _show(_console(sys.stdout), demo_view(result))
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
@click.option("-q", "--quiet", is_flag=True, help="Show only what is not correct, and the last line.")
@click.option("--seed", type=click.IntRange(min=0), help="Run every case with rng=SEED.")
def check(targets: tuple[str, ...], json_path: str | None, quiet: bool, seed: int | None) -> NoReturn:
    """Run every gradproof.Case found in each TARGET.

    TARGET is FILE.py, FILE.py:NAME, package.module or package.module:NAME. Without NAME, all Cases at module level are
    run, those in lists, tuples and dicts too. NAME is one Case or such a container. A Case without a name of its own
    goes by its variable's.

    \b
    Exit codes, the first that applies:
      1  something is wrong
      2  something could not run: no such file, an error in it, no Case found, a case that raised
      3  something is inconclusive or not differentiable
      0  all correct
    """  # noqa: D301 (click wants the backspace itself)
    if json_path is not None and not pathlib.Path(json_path).parent.is_dir():
        raise click.BadParameter(f"no such folder: {pathlib.Path(json_path).parent}", param_hint="--json")
    # With --json -, whatever the user's code prints must not get between the lines of the document.
    out = sys.stderr if json_path == "-" else sys.stdout
    console, errors = _console(out), _console(sys.stderr)
    results: list[NamedReport] = []
    failures: list[dict[str, str]] = []
    could_not_run = False
    with contextlib.redirect_stdout(out):
        cases: list[_Found] = []
        for target in targets:
            try:
                cases += _find_cases(target)
            except _TargetError as error:
                could_not_run = True
                failures.append({"case": target, "error": error.kind, "message": str(error)})
                _complain(errors, target, error)
        for case in _distinct(cases, prefixed=len(targets) > 1):
            report = _run(case, seed, errors, failures)
            results.append(NamedReport(name=case.shown, report=report))
            if report is not None and json_path != "-" and not (quiet and report.correct):
                _show(console, report_view(report), "")
    if json_path is not None:
        try:
            _write_json(json_path, [result.report for result in results if result.report is not None], failures)
        except OSError as error:
            could_not_run = True
            _complain(errors, json_path, _TargetError(f"cannot be written: {error.strerror or error}"))
    if results and json_path != "-":
        if len(results) > 1 and not quiet:
            _show(console, summary_view(results), "")
        _show(console, tally(results))
    sys.exit(_exit_code(results, could_not_run))


@dataclasses.dataclass(kw_only=True)
class _Found:
    """A Case, the variable (and target) that it was found under, and the name to show."""

    case: Any
    target: str
    label: str
    shown: str


class _TargetError(Exception):
    """A TARGET that gives no cases; `trace` is the traceback of the user's own code, if that is what failed."""

    def __init__(self, message: str, *, kind: str = "TargetError", trace: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.trace = trace


def _exit_code(results: list[NamedReport], could_not_run: bool) -> int:
    verdicts = [None if result.report is None else result.report.verdict for result in results]
    if Verdict.WRONG in verdicts:
        return WRONG
    if could_not_run or None in verdicts:
        return COULD_NOT_RUN
    return ALL_CORRECT if all(verdict is Verdict.CORRECT for verdict in verdicts) else NOT_PROVED


def _run(case: _Found, seed: int | None, errors: Console, failures: list[dict[str, str]]) -> Report | None:
    overrides = {} if seed is None else {"rng": seed}
    try:
        report: Report = case.case.check(**overrides)
    except GradproofError as error:
        trace = "" if error.__cause__ is None else _users_traceback(error.__cause__)
        problem = _TargetError(f"{type(error).__name__}: {error}", kind=type(error).__name__, trace=trace)
    except (Exception, SystemExit) as error:
        # Not one of ours: most likely a fault of gradproof, so that here all frames are of interest.
        trace = "".join(traceback.format_exception(error))
        problem = _TargetError(f"{type(error).__name__}: {error}", kind=type(error).__name__, trace=trace)
    else:
        return report if case.case.name else dataclasses.replace(report, name=case.shown)
    failures.append({"case": case.shown, "error": problem.kind, "message": str(problem)})
    _complain(errors, case.shown, problem)
    return None


def _complain(errors: Console, subject: str, error: _TargetError) -> None:
    _show(errors, styled(("could not run", "bold red"), (f"  {subject}", "bold"), (f"  {error}", "")))
    errors.file.write(f"{error.trace}\n")


def _write_json(path: str, reports: list[Report], failures: list[dict[str, str]]) -> None:
    document = {
        "schema_version": SCHEMA_VERSION,
        "reports": [json.loads(report.to_json()) for report in reports],
        "errors": failures,
    }
    text = json.dumps(document, indent=2, ensure_ascii=path == "-", allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        pathlib.Path(path).write_text(text, encoding="utf-8")


def _console(stream: IO[str]) -> Console:
    """A console on `stream`: no escape codes with NO_COLOR or without a terminal, no crash on a narrow encoding.

    (rich leaves bold and dim in place with NO_COLOR; here it is all or nothing. FORCE_COLOR is left to rich.)
    """
    from rich.console import Console

    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    console = Console(
        file=stream,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        force_jupyter=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if stream.isatty():
        console.width = min(console.width, WIDEST)
    else:
        columns = os.environ.get("COLUMNS", "")
        console.width = int(columns) if columns.isdecimal() and int(columns) > 0 else 100
    return console


def _show(console: Console, *views: RenderableType) -> None:
    """Print without the blanks that rich fills lines up with."""
    with console.capture() as capture:
        for view in views:
            console.print(view)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    console.file.flush()


def _find_cases(target: str) -> list[_Found]:
    """Load the module that `target` names and return the Cases there, in the order of their definition."""
    where, name = _split(target)
    module = _load(where)
    found = list(_cases_in(module))
    if name:
        root = re.split(r"[.\[]", name, maxsplit=1)[0]
        chosen = [case for case in found if case.label == name or case.label.startswith(f"{name}[")]
        chosen = chosen or [case for case in found if case.shown == name]
        if not chosen:
            raise _TargetError(_why_not(module, where, name, root, found))
        found = chosen
    if not found:
        raise _TargetError(
            f"no gradproof.Case at module level of {where}: write one as `case = gradproof.Case(f, args, grad=g)`."
        )
    return [dataclasses.replace(case, target=where) for case in found]


def _why_not(module: ModuleType, where: str, name: str, root: str, found: list[_Found]) -> str:
    if hasattr(module, root) and root == name:
        kind = type(getattr(module, root)).__name__
        return f"`{name}` in {where} is of type {kind}, neither a gradproof.Case nor a list, tuple or dict of Cases."
    names = [case.label for case in found] + [re.split(r"\[", case.label, maxsplit=1)[0] for case in found]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return f"{where} has no Case named `{name}`.{hint}"


def _split(target: str) -> tuple[str, str]:
    """The file or module, and the name in it; the colon of a Windows drive is no separator."""
    match = re.fullmatch(r"(?P<where>.+\.py|(?:(?!\.py:)[^:])+)(?::(?P<name>.+))?", target)
    if match is None:
        raise _TargetError("must be FILE.py, FILE.py:NAME, package.module or package.module:NAME.")
    return match["where"], match["name"] or ""


def _cases_in(module: ModuleType) -> Iterator[_Found]:
    for variable, value in list(vars(module).items()):
        if variable.startswith("__"):
            continue
        for label, case in _walk(variable, value, ()):
            yield _Found(case=case, target="", label=label, shown=case.name or label)


def _walk(label: str, value: Any, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, gradproof.Case):
        yield label, value
        return
    if id(value) in above:
        return
    above = (*above, id(value))
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = cast(dict[Any, Any], value).items()
    elif isinstance(value, list | tuple):
        items = enumerate(cast(list[Any], value))
    for key, item in items:
        yield from _walk(f"{label}[{key!r}]", item, above)


def _distinct(cases: list[_Found], *, prefixed: bool) -> list[_Found]:
    """Each Case once, under the first name it was found by; names of several targets say which."""
    once = {id(case.case): case for case in reversed(cases)}
    kept = [case for case in cases if once[id(case.case)] is case]
    if prefixed:
        kept = [dataclasses.replace(case, shown=f"{case.target}:{case.shown}") for case in kept]
    return kept


def _load(where: str) -> ModuleType:
    cwd = os.getcwd()
    if cwd not in sys.path and "" not in sys.path:
        sys.path.insert(0, cwd)
    try:
        return _load_file(pathlib.Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            raise _TargetError(
                f"no module named {error.name!r} here or installed.", kind=type(error).__name__
            ) from None
        raise _import_failed(where, error) from None
    except _TargetError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_failed(where, error) from None


def _import_failed(where: str, error: BaseException) -> _TargetError:
    kind = type(error).__name__
    return _TargetError(f"{kind} while importing {where}", kind=kind, trace=_users_traceback(error))


def _load_file(path: pathlib.Path) -> ModuleType:
    """Import a file by the name that other modules would import it by, as its folder and packages give it."""
    if not path.is_file():
        raise _TargetError("no such file.", kind="FileNotFoundError")
    path = path.resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if not _stands_for(name, path):
        # Another module has this name (a test.py, a torch.py): import the file under a name of its own.
        name = "gradproof_target_" + re.sub(r"\W", "_", str(path))
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
    return importlib.import_module(name)


def _stands_for(name: str, path: pathlib.Path) -> bool:
    """Whether `import name` would give the file at `path`."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.origin is not None and pathlib.Path(spec.origin).resolve() == path


def _users_traceback(error: BaseException) -> str:
    """The traceback of `error` without the frames of gradproof and of the import machinery."""
    ours = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")

    def is_ours(frame: traceback.FrameSummary) -> bool:
        return frame.filename.startswith((ours, "<frozen importlib", importlib.__file__))

    trace = traceback.TracebackException.from_exception(error)
    seen: list[traceback.TracebackException] = []
    pending: list[traceback.TracebackException | None] = [trace]
    while pending:
        part = pending.pop()
        if part is None or part in seen:
            continue
        seen.append(part)
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if not is_ours(frame)])
        pending += [part.__cause__, part.__context__, *(part.exceptions or ())]
    return "".join(trace.format())
