"""Would anything notice a mistake in the engine? Plant small ones, and see which tests or checks of the net fail.

    PYTHONPATH=src python benchmarks/mutants.py map                  # once: which test and which check runs which line
    PYTHONPATH=src python benchmarks/mutants.py run --count 100      # plant a hundred, drawn over all lines by --seed
    PYTHONPATH=src python benchmarks/mutants.py run --files _prove/_trial.py --text "never more"
    PYTHONPATH=src python benchmarks/mutants.py idle                 # which statements nothing runs

Every mutant is planted in a copy of the tree. The tests that run its line are tried first, the quick ones before the
slow ones, up to the first that fails; then checks of the net (`net.py`), whose reports must stay as they are, byte for
byte. What nothing notices has survived: it needs a test, or its code goes, or one sentence in `mutants.json` says why
it cannot matter. (mutmut runs pytest alone, cosmic-ray one command for every mutant: neither knows of a second judge.)
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import functools as ft
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "mutants"
EQUIVALENT = pathlib.Path(__file__).parent / "mutants.json"
PACKAGE = "src/gradproof/"
ROOMS = ("_prove", "_line", "_claims", "_contracts", "_backends/_torch_state.py")
# Of the fast tests those that run checks. What looks at pages, pictures and terminals tells the engine's mistakes late.
TESTS = (
    "prove", "trial", "line", "restraint", "kinks", "kinks_at_the_point", "jumps", "staircase", "saturation",
    "low_precision", "second_differences", "second_order", "stationary", "away_from_the_point", "parameters",
    "isolated_value", "still_outputs", "identities", "cancelled", "claims", "claim_calls", "contracts", "complex",
    "batched", "honesty", "ask_and_tell", "option_effects", "findings", "scipy_problems", "evidence", "untested",
    "failing_modes", "torch", "torch_state", "torch_modules", "torch_inputs", "callers_things", "undisturbed", "jax",
    "fuzz", "net",
)  # fmt: skip

# Constants below this only keep a divisor from being 0.
GUARD = 1e-100
# Tests that are tried by themselves before all others.
QUICK = 40


# ---------------------------------------------------------------------------------------------------------- mutants


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one place: `source[start:end]` becomes `text`. The name lasts while the function stays as it is."""

    name: str
    file: str
    line: int
    start: int
    end: int
    text: str


SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
# A comparison with a whole number is also moved by one: of floats the boundary is never met.
BOUNDARY: dict[type[ast.AST], type[ast.AST]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
EXTREMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}


def changes(node: ast.AST) -> Iterator[str]:
    """The expressions that may stand in place of one."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        numbers = [x for x in (node.left, node.comparators[0]) if isinstance(x, ast.Constant)]
        for table in (SWAPPED, BOUNDARY) if any(type(x.value) is int for x in numbers) else (SWAPPED,):
            if type(node.ops[0]) in table:
                yield ast.unparse(ast.Compare(node.left, [table[type(node.ops[0])]()], node.comparators))
    elif isinstance(node, ast.Compare):
        yield ast.unparse(ast.UnaryOp(ast.Not(), node))
    elif isinstance(node, ast.BoolOp):
        yield ast.unparse(ast.BoolOp(SWAPPED[type(node.op)](), node.values))  # pyright: ignore
        for k in range(len(node.values)):
            left = node.values[:k] + node.values[k + 1 :]
            yield ast.unparse(ast.BoolOp(node.op, left) if len(left) > 1 else left[0])
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield ast.unparse(ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right))  # pyright: ignore
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield ast.unparse(node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield repr(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and not 0 < node.value < GUARD:
        yield repr(_moved(node.value))
    elif isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in EXTREMES:
            at = len(ast.unparse(node.func)) - len(name)
            yield ast.unparse(node.func)[:at] + EXTREMES[name] + ast.unparse(node)[at + len(name) :]
        if node.keywords and name != "zip":  # (without a positional argument hardly a call runs at all)
            yield ast.unparse(ast.Call(node.func, node.args, node.keywords[:-1]))
    elif isinstance(node, ast.IfExp):
        yield ast.unparse(node.body)
        yield ast.unparse(node.orelse)


def _moved(value: int | float) -> int | float:
    """A constant that is clearly another: the next number of a count, a multiple of a size, the root of a tiny one."""
    if isinstance(value, int):
        return value + 1 if abs(value) < 3 else 2 * value
    return value**0.5 if 0 < value < 1e-6 else 10 * value or 1.0


def flat(node: ast.AST) -> str:
    """Its source on one line."""
    return " ".join(ast.unparse(node).split())


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    tree, found = ast.parse(source), []
    starts = [0]
    for one in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(one))
    seen: collections.Counter[str] = collections.Counter()

    def add(node: Any, where: str, text: str, told: str, end: int | None = None) -> None:
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset if end is None else end
        name = f"{file}::{where}: {told}"
        seen[name] += 1
        name += f" #{seen[name]}" if seen[name] > 1 else ""
        found.append(Mutant(name, file, node.lineno, start, end, text))

    def visit(node: ast.AST, where: str) -> None:
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return  # (an assertion)
        if isinstance(node, (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom)):
            return  # (places within f-strings are not told before Python 3.12)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, (ast.If, ast.While)):
            add(node.test, where, f"(({flat(node.test)}) and False)", f"never {flat(node.test)}")
            if isinstance(node, ast.If):
                add(node.test, where, f"(({flat(node.test)}) or True)", f"always {flat(node.test)}")
        if isinstance(node, ast.expr):
            for text in changes(node):
                add(node, where, f"({text})", f"{flat(node)} -> {text}")
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            where = f"{where}.{node.name}" if where else node.name
            for k, part in enumerate(node.body):
                if isinstance(node, ast.FunctionDef) and k and not isinstance(part, ast.Return):
                    start = starts[part.lineno - 1] + part.col_offset
                    margin = "\n" + " " * part.col_offset
                    add(part, where, "return" + margin, f"return before {flat(part)[:60]}", start)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    visit(part, where)

    visit(tree, "")
    return sorted(found, key=lambda one: (one.line, one.start))


def planted(source: str, mutant: Mutant) -> str:
    raw = source.encode()
    return (raw[: mutant.start] + mutant.text.encode() + raw[mutant.end :]).decode()


def files(chosen: Sequence[str]) -> list[str]:
    """Paths below the package, of files and folders."""
    found = []
    for one in chosen:
        path = ROOT / PACKAGE / one
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [str(path.relative_to(ROOT / PACKAGE)) for path in found]


def drawn(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Lines at random, and of each a mutant at random; a line comes again when all have had their turn."""

    def lot(words: str) -> str:
        return hashlib.sha256(f"{seed} {words}".encode()).hexdigest()

    lines: dict[str, list[Mutant]] = collections.defaultdict(list)
    for one in sorted(mutants, key=lambda one: lot(one.name)):
        lines[f"{one.file}:{one.line}"].append(one)
    order = [(turn, lot(line), one) for line, some in lines.items() for turn, one in enumerate(some)]
    return [one for *_, one in sorted(order, key=lambda x: x[:2])][:count]


# ------------------------------------------------------------------------------------------------ a copy of the tree


def copy_of_tree(place: pathlib.Path) -> pathlib.Path:
    """What git knows of, and what is new and not ignored."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, told.stdout.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    return place


def environment(tree: pathlib.Path) -> None:
    """Make this process import what lies in a copy."""
    os.chdir(tree)
    os.environ["PYTHONPATH"] = f"{tree / 'src'}{os.pathsep}{tree / 'benchmarks'}"
    here = str(ROOT)
    sys.path[:] = [
        str(tree / "src"),
        str(tree / "benchmarks"),
        *(p for p in sys.path if not os.path.abspath(p).startswith((here + "/src", here + "/benchmarks"))),
    ]
    assert not any(name.split(".")[0] == "gradproof" for name in sys.modules)


def forked(work: Any, told: pathlib.Path, seconds: int, log: pathlib.Path) -> int:
    """Start `work` in a process of its own, which writes its answer to a file; its number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        told.write_text(json.dumps(work()), encoding="utf-8")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def waited(number: int, seconds: float) -> int:
    """The exit status of a process, which is stopped where it sleeps far beyond its time."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > until:
            os.killpg(number, signal.SIGKILL)
        time.sleep(0.05)


# ---------------------------------------------------------------------------------------------------------- the map


class Recorder:
    """Says to coverage which test runs, and keeps how long it took; a plugin of pytest."""

    def __init__(self, measured: Any) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.measured.switch_context(nodeid)
        self.seconds[nodeid] = -time.process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] += time.process_time()
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome != "passed":
            self.failed.add(report.nodeid)


def record(tree: pathlib.Path, tests: Sequence[str], share: int) -> dict[str, Any]:
    """Run tests, or a share of the net, under coverage: seconds of each, and who runs which line."""
    environment(tree)
    import coverage

    include = [str(tree / PACKAGE / one) + ("" if one.endswith(".py") else "/*") for one in ROOMS]
    measured = coverage.Coverage(data_file=None, include=include, config_file=False)
    lines: dict[str, str] = {}
    if share:
        import net

        seconds: dict[str, float] = {}
        listed = net.checks()
        measured.start()
        for name, check in listed.items():
            if check.seed % share:
                continue
            measured.switch_context(name)
            started = time.process_time()
            lines[name] = net.line_of(check)
            seconds[name] = time.process_time() - started
        measured.stop()
    else:
        import pytest

        recorder = Recorder(measured)
        measured.start()
        pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[recorder])
        measured.stop()
        seconds = {name: took for name, took in recorder.seconds.items() if name not in recorder.failed}
    data = measured.get_data()
    names = {name: k for k, name in enumerate(seconds)}
    sets: dict[tuple[int, ...], int] = {}
    by_file: dict[str, dict[str, int]] = {}
    for path in data.measured_files():
        where = by_file[str(pathlib.Path(path).relative_to(tree / PACKAGE))] = {}
        for line, who in data.contexts_by_lineno(path).items():
            some = tuple(sorted(names[one] for one in who if one in names))
            where[str(line)] = sets.setdefault(some, len(sets))
    return {"seconds": seconds, "sets": list(sets), "lines": by_file, "reports": lines}


@dataclasses.dataclass(frozen=True)
class Map:
    """Who runs which line, with the seconds that each takes."""

    seconds: dict[str, float]
    sets: list[list[int]]
    lines: dict[str, dict[str, int]]
    reports: dict[str, str]

    @classmethod
    def read(cls, name: str) -> Map:
        if not (CACHE / f"{name}.json").exists():
            print(f"no map of {name}: `mutants.py map {name}` makes it")
            return cls({}, [], {}, {})
        return cls(**json.loads((CACHE / f"{name}.json").read_text(encoding="utf-8")))

    def joined(self, old: Map, files: Sequence[str]) -> Map:
        """Together with what an older map says of the tests in other files."""
        kept = [name for name in old.seconds if name.partition("::")[0] not in files]
        at = {name: len(self.seconds) + k for k, name in enumerate(kept)}
        names = list(old.seconds)
        sets, lines = [list(one) for one in self.sets], {file: dict(where) for file, where in self.lines.items()}
        for file, where in old.lines.items():
            for line, k in where.items():
                some = {at[names[one]] for one in old.sets[k] if names[one] in at}
                mine = lines.setdefault(file, {})
                some.update(sets[mine[line]] if line in mine else ())
                mine[line] = len(sets)
                sets.append(sorted(some))
        return Map({**self.seconds, **{name: old.seconds[name] for name in kept}}, sets, lines, {})

    def runs(self, file: str, first: int, last: int) -> list[str]:
        """Those that run one of some lines; for a line outside all functions, all that run the file."""
        where, names = self.lines.get(file, {}), list(self.seconds)
        some = {k for line in range(first, last + 1) if str(line) in where for k in self.sets[where[str(line)]]}
        return [names[k] for k in sorted(some)]

    def runs_file(self, file: str) -> list[str]:
        names = list(self.seconds)
        return [names[k] for k in sorted({k for one in self.lines.get(file, {}).values() for k in self.sets[one]})]


def make_map(what: Sequence[str], tests: Sequence[str], share: int) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        tree = copy_of_tree(pathlib.Path(place))
        for name in what:
            chosen = [f"tests/test_{one}.py" for one in tests if (tree / f"tests/test_{one}.py").exists()]
            started = time.monotonic()
            told = CACHE / f"{name}.json"
            old = Map.read(name) if name == "tests" and told.exists() and tests != TESTS else None
            number = forked(
                ft.partial(record, tree, chosen, share if name == "net" else 0), told, 7200, CACHE / f"{name}.log"
            )
            status = waited(number, 14400)
            made = Map.read(name)
            if old is not None:
                made = made.joined(old, chosen)
                told.write_text(json.dumps(dataclasses.asdict(made)), encoding="utf-8")
            print(
                f"{name}: {len(made.seconds)} run {sum(map(len, made.lines.values()))} lines, "
                f"{time.monotonic() - started:.0f} s, status {status}"
            )


def statements(source: str) -> set[int]:
    """The lines on which statements within functions begin."""
    return {
        part.lineno
        for one in ast.walk(ast.parse(source))
        if isinstance(one, ast.FunctionDef)
        for part in ast.walk(one)
        if isinstance(part, ast.stmt)
        and not isinstance(part, (ast.FunctionDef, ast.Import, ast.ImportFrom))
        and not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        and not (isinstance(part, ast.AnnAssign) and part.value is None)
    }


def idle(chosen: Sequence[str]) -> None:
    """Print the statements that no test of the map runs, and no check: those that the checks alone run in brackets."""
    tests, net = Map.read("tests"), Map.read("net")
    count = total = 0
    for file in files(chosen):
        source = (ROOT / PACKAGE / file).read_text(encoding="utf-8")
        by_tests, by_net = ({int(line) for line in told.lines.get(file, {})} for told in (tests, net))
        lines = sorted(statements(source) - by_tests)
        total += len(statements(source))
        count += sum(line not in by_net for line in lines)
        if lines:
            print(f"{file}: {' '.join(f'({line})' if line in by_net else str(line) for line in lines)}")
    print(f"{count} of {total} statements are run by no test of the map and by no check")


# ---------------------------------------------------------------------------------------------------------- the hunt


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is tried against a mutant, in this order."""

    tests: list[str]
    checks: list[str]
    test_seconds: float
    check_seconds: float


def statement_lines(source: str, line: int) -> tuple[int, int, bool]:
    """First and last line of the smallest statement around a line, and whether it stands in a function."""
    best, inside = (line, line), False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            if isinstance(node, ast.FunctionDef):
                inside = inside or line >= node.body[0].lineno
            elif not hasattr(node, "body"):
                best = node.lineno, node.end_lineno or node.lineno
    return *best, inside


def plan(mutant: Mutant, source: str, tests: Map, net: Map, kills: dict[str, int], limits: tuple[float, float]) -> Plan:
    first, last, inside = statement_lines(source, mutant.line)

    def chosen(told: Map, limit: float, order: Any) -> tuple[list[str], float]:
        some = told.runs(mutant.file, first, last) if inside else told.runs_file(mutant.file)
        taken, spent = [], 0.0
        for name in sorted(some, key=order):
            if spent + told.seconds[name] <= limit:
                taken.append(name)
                spent += told.seconds[name]
        return taken, spent

    # A test that has noticed others comes first; then the quick ones. Checks are drawn, so that all kinds have a turn.
    some, spent = chosen(tests, limits[0], lambda name: (-kills.get(name, 0), tests.seconds[name]))
    checks, more = chosen(net, limits[1], lambda name: (-kills.get(name, 0), zlib.crc32(name.encode())))
    return Plan(some, checks, spent, more)


class First:
    """Keeps the first test that fails; a plugin of pytest."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = f"{report.nodeid} (import)"


def first_failure(tests: Sequence[str]) -> str:
    """The first of some tests that fails. They run in a process of their own: some leave settings behind."""
    out, into = os.pipe()
    number = os.fork()
    if number == 0:
        import pytest

        first = First()
        pytest.main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests], plugins=[first])
        os.write(into, first.name.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, encoding="utf-8") as stream:
        name = stream.read()
    _, status = os.waitpid(number, 0)
    return name or ("it broke off" if status else "")


def tried(tree: pathlib.Path, todo: Plan, reports: dict[str, str]) -> dict[str, str]:
    """Who notices the mutant that lies in a copy."""
    environment(tree)
    # (All files of a run are imported before its first test.)
    for some in (todo.tests[:QUICK], todo.tests[QUICK:]):
        name = first_failure(some) if some else ""
        if name:
            return {"by": "test", "name": name}
    if todo.checks:
        try:
            import net

            listed = net.checks()
            for name in todo.checks:
                if net.line_of(listed[name]) != reports[name]:
                    return {"by": "net", "name": name}
        except Exception as error:
            return {"by": "net", "name": repr(error)}
    return {"by": "", "name": ""}


def preload() -> None:
    """What every trial imports, imported once before the forks; gradproof itself is not."""
    import importlib

    for name in ("numpy", "scipy.optimize", "mpmath", "pytest", "optree", "ml_dtypes", "torch", "jax"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def hunt(chosen: Sequence[Mutant], jobs: int, limits: tuple[float, float], out: pathlib.Path | None) -> None:
    tests, net = Map.read("tests"), Map.read("net")
    equivalent = json.loads(EQUIVALENT.read_text(encoding="utf-8")) if EQUIVALENT.exists() else {}
    sources = {file: (ROOT / PACKAGE / file).read_text(encoding="utf-8") for file in {one.file for one in chosen}}
    kills: collections.Counter[str] = collections.Counter()
    totals: collections.Counter[str] = collections.Counter()
    preload()
    done = [json.loads(one) for one in out.read_text(encoding="utf-8").splitlines()] if out and out.exists() else []
    totals.update(one["state"] for one in done)
    kills.update(one["name"] for one in done)
    named = {one["mutant"] for one in done}
    waiting = [one for one in chosen if one.name not in equivalent and one.name not in named]
    totals["equivalent"] = sum(one.name in equivalent for one in chosen)
    with tempfile.TemporaryDirectory() as place:
        trees = [copy_of_tree(pathlib.Path(place) / str(k)) for k in range(jobs)]
        running: dict[int, tuple[int, Mutant, Plan, float]] = {}
        free = list(range(jobs))
        while waiting or running:
            while waiting and free:
                mutant, slot = waiting.pop(0), free.pop()
                source = sources[mutant.file]
                _write(trees[slot] / PACKAGE / mutant.file, planted(source, mutant))
                todo = plan(mutant, source, tests, net, kills, limits)
                # Four times the time it took, and what it takes to start.
                seconds = int(60 + 4 * (todo.test_seconds + todo.check_seconds))
                told, log = pathlib.Path(place) / f"{slot}.json", pathlib.Path(place) / f"{slot}.log"
                told.unlink(missing_ok=True)
                number = forked(ft.partial(tried, trees[slot], todo, net.reports), told, seconds, log)
                running[number] = slot, mutant, todo, time.monotonic() + 5 * seconds
            number, status = os.waitpid(-1, os.WNOHANG)
            if not number:
                for one, (*_, until) in running.items():
                    if time.monotonic() > until:
                        os.killpg(one, signal.SIGKILL)
                time.sleep(0.05)
                continue
            slot, mutant, todo, _ = running.pop(number)
            told = pathlib.Path(place) / f"{slot}.json"
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                raise SystemExit(f"{mutant.name}: {(pathlib.Path(place) / f'{slot}.log').read_text()[-2000:]}")
            found = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {"by": "time", "name": "limit"}
            _write(trees[slot] / PACKAGE / mutant.file, sources[mutant.file])
            free.append(slot)
            state = (
                f"killed by {found['by']}" if found["by"] else "SURVIVED" if todo.tests or todo.checks else "NOT RUN"
            )
            totals[state] += 1
            kills[found["name"]] += 1
            tried_on = f"{len(todo.tests)} tests, {len(todo.checks)} checks"
            print(f"{state:16} {mutant.name} (line {mutant.line}) {found['name'] or tried_on}", flush=True)
            if out is not None:
                with out.open("a", encoding="utf-8") as stream:
                    row = {"mutant": mutant.name, "line": mutant.line, "state": state, "name": found["name"]}
                    stream.write(json.dumps(row) + "\n")
    print(f"\n{len(chosen)} mutants: {dict(totals)}")


def _write(path: pathlib.Path, source: str) -> None:
    """Write a module, and drop what was compiled of it (whose date may be the same)."""
    path.write_text(source, encoding="utf-8")
    for old in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        old.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    mapping = commands.add_parser("map", help="find which tests and checks run which lines")
    mapping.add_argument("what", nargs="*", default=["tests", "net"], help="tests, net")
    mapping.add_argument("--tests", nargs="*", default=TESTS, help="names of test files, without test_ and .py")
    mapping.add_argument("--share", type=int, default=4, help="one in so many checks of the net")
    for name, words in (("run", "plant mutants"), ("list", "list them"), ("idle", "list what nothing runs")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--files", nargs="*", default=ROOMS, help="files and folders below src/gradproof")
        command.add_argument("--count", type=int, default=100)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--text", help="only those whose name contains this")
        command.add_argument("--jobs", type=int, default=1)
        command.add_argument("--test-seconds", type=float, default=90.0, help="of tests against one mutant")
        command.add_argument("--net-seconds", type=float, default=60.0, help="of checks against one mutant")
        command.add_argument(
            "--out", type=pathlib.Path, help="add a JSON line for each mutant to this file, and try none that it has"
        )
    options = parser.parse_args()
    if options.command == "map":
        make_map(options.what, options.tests, options.share)
        return
    if options.command == "idle":
        idle(options.files)
        return
    found = [
        one
        for file in files(options.files)
        for one in mutants_of(file, (ROOT / PACKAGE / file).read_text(encoding="utf-8"))
    ]
    if options.text:
        found = [one for one in found if options.text in one.name]
    chosen = drawn(found, options.count, options.seed)
    if options.command == "list":
        for one in chosen:
            print(one.name, one.line)
        print(f"{len(chosen)} of {len(found)} mutants")
        return
    hunt(chosen, options.jobs, (options.test_seconds, options.net_seconds), options.out)


if __name__ == "__main__":
    main()
