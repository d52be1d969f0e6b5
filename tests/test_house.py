"""The house: which room stands on which, no import that runs up, no circle."""

import ast
import graphlib
import pathlib

import pytest

import gradproof

PACKAGE = pathlib.Path(gradproof.__file__).parent
# From the ground up: a room imports those below it, and none beside it on its floor.
FLOORS = (
    ("_base", "_line"),
    ("_report", "_progress"),
    ("_backends", "_render"),
    ("_function",),
    ("_contracts", "_reference", "_prove"),
    ("_run",),
    ("_claims",),
    ("_ask",),
    ("_kernels",),
    ("course", "scipy", "torch", "jax", "compat"),
    ("gradproof",),
    ("_commands",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What a reader holds in mind at once: lines of a function and of a module without their docstrings, and places where
# the way of a function parts.
LINES, BRANCHES, MODULE_LINES = 80, 20, 500
PARTINGS = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)
# Modules whose seam is still to be found, as long as they are: they may become shorter only.
LONG = {
    "_ask._check": 733,
    "_backends._torch_autodiff": 804,
    "_prove._measure": 533,
    "_prove._prove": 588,
}


def modules(package=PACKAGE):
    """Every module of a package by its dotted name: its file."""
    found = {}
    for path in package.rglob("*.py"):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name, path, known):
    """Which modules of the package a module imports, wherever in it that stands, for types alone, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: a relative import"
            each = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {one if one in known else node.module for one in each}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & set(known)) - {name}


def graph(package=PACKAGE):
    known = modules(package)
    return {name: imported(name, path, known) for name, path in known.items()}


def room(name):
    return [*name.split("."), "gradproof"][1]


def running_up(found):
    """Imports from a room into one that does not lie below it."""
    return sorted(
        f"{name} -> {other}"
        for name, others in found.items()
        for other in others
        if room(other) != room(name) and FLOOR[room(other)] >= FLOOR[room(name)]
    )


def test_no_import_runs_up():
    assert running_up(graph()) == []


def test_no_circle():
    graphlib.TopologicalSorter(graph()).prepare()  # raises CycleError


def test_a_circle_and_an_import_that_runs_up_are_seen(tmp_path):
    """What the two tests above rest on: a package in which a room below asks one above, within a function."""
    package = tmp_path / "gradproof"
    texts = {
        "_base/_a.py": "def f():\n    from gradproof._line import _b\n",
        "_line/__init__.py": "",
        "_line/_b.py": "import gradproof._base._a",
        "_prove/_c.py": "if TYPE_CHECKING:\n    from gradproof._ask._d import D",
        "_ask/_d.py": "class D: ...",
    }
    for name, text in texts.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = graph(package)
    up = ["gradproof._base._a -> gradproof._line._b", "gradproof._line._b -> gradproof._base._a"]
    assert running_up(found) == [*up, "gradproof._prove._c -> gradproof._ask._d"]
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(found).prepare()


def test_every_room_says_what_it_is_for():
    for path in PACKAGE.glob("*/__init__.py"):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert said.count(".") >= 2, path.parent.name
    beside = {path.stem for path in PACKAGE.glob("*.py")}
    assert beside == {"__init__", "__main__", "course", "jax", "scipy", "torch"}


def docstring_lines(node):
    return node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) is not None else 0


def overlong(package=PACKAGE):
    """Functions that are longer than a reader holds in mind, or part into more ways, those within them counted in."""
    found = []
    for name, path in modules(package).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            branches = sum(isinstance(each, PARTINGS) for each in ast.walk(node))
            if lines > LINES or branches > BRANCHES:
                found.append(f"{name}.{node.name}: {lines} lines, {branches} branches")
    return sorted(found)


def long_modules(package=PACKAGE):
    """Modules that do not read in one sitting: their lines without docstrings."""
    found = {}
    for name, path in modules(package).items():
        text = path.read_text(encoding="utf-8")
        documented = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        lines = len(text.splitlines()) - sum(map(docstring_lines, documented))
        if lines > MODULE_LINES:
            found[name.partition(".")[2]] = lines
    return found


def test_no_function_is_overlong():
    assert overlong() == []


def test_no_module_is_too_long():
    found = long_modules()
    assert [name for name, lines in found.items() if lines > LONG.get(name, MODULE_LINES)] == []
    assert [name for name in LONG if name not in found] == [], "these need no exception any more"


def test_overlong_functions_are_seen(tmp_path):
    """What the test above rests on: a docstring counts for nothing, and so does a function of just as many lines."""
    package = tmp_path / "gradproof"
    package.mkdir()
    told = '    """What it does.' + "\n" * LINES + '    """\n'
    texts = {
        "_told.py": f"def told():\n{told}" + "    pass\n" * (LINES - 1),
        "_long.py": "def long():\n" + "    pass\n" * LINES,
        "_branched.py": "def branched(x):\n" + "    x = 1 if x else 2\n" * (BRANCHES + 1),
    }
    for name, text in texts.items():
        (package / name).write_text(text)
    branched = f"gradproof._branched.branched: {BRANCHES + 2} lines, {BRANCHES + 1} branches"
    assert overlong(package) == [branched, f"gradproof._long.long: {LINES + 1} lines, 0 branches"]


def test_long_modules_are_seen(tmp_path):
    package = tmp_path / "gradproof"
    package.mkdir()
    (package / "_told.py").write_text('"""What it is.' + "\n" * MODULE_LINES + '"""\n' + "x = 1\n" * MODULE_LINES)
    (package / "_long.py").write_text("x = 1\n" * (MODULE_LINES + 1))
    assert long_modules(package) == {"_long": MODULE_LINES + 1}
