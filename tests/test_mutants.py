"""The mutants (benchmarks/mutants.py): each is one change that compiles, and they are drawn over all lines."""

import ast
import collections
import json
import pathlib
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))
import mutants

SOURCE = '''"""A module."""

LARGEST = 5.0


def decide(x: int = 3, *, strict: bool = False) -> str:
    """Say what x is."""
    if x > LARGEST and not strict:
        return f"large {x + 1}"
    least = min(x, 7) - 2
    while least < 0:
        least += step(x, scale=2)
    return "small" if least == 0 else "usual"
'''


def texts(found):
    return {one.name.partition(": ")[2] for one in found}


def test_every_kind_of_mutation():
    found = texts(mutants.mutants_of("m.py", SOURCE))

    assert {
        "5.0 -> 50.0",
        "3 -> 6",
        "False -> True",
        "never x > LARGEST and (not strict)",
        "always x > LARGEST and (not strict)",
        "x > LARGEST and (not strict) -> x > LARGEST or not strict",
        "x > LARGEST -> x < LARGEST",
        "not strict -> strict",
        "min(x, 7) -> max(x, 7)",
        "min(x, 7) - 2 -> min(x, 7) + 2",
        "least < 0 -> least > 0",
        "least < 0 -> least <= 0",
        "step(x, scale=2) -> step(x)",
        "least == 0 -> least != 0",
        "return before least = min(x, 7) - 2",
    } <= found
    # Words, annotations and what stands within an f-string stay as they are.
    assert not any(one.startswith(("x + 1", "1 ->", "str", "'small' ->")) for one in found)


def test_constants_become_clearly_others():
    """A count moves by one, a size by a factor, a precision to its root; guards against 0 stay."""
    found = texts(mutants.mutants_of("m.py", "A, B, C, D, E, F = 0, 12, 0.5, 1e-12, 1e-300, 0.0\n"))
    assert not mutants.mutants_of("m.py", "f = zip(a, b, strict=True)\n")
    assert found == {"0 -> 1", "12 -> 24", "0.5 -> 5.0", "1e-12 -> 1e-06", "0.0 -> 1.0"}


def test_each_is_one_change_that_compiles():
    found = mutants.mutants_of("m.py", SOURCE)
    before = ast.dump(ast.parse(SOURCE))

    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert ast.dump(ast.parse(mutants.planted(SOURCE, one))) != before, one.name


def test_names_outlast_changes_elsewhere():
    """A line more above leaves the names of all mutants as they are."""
    first, second = mutants.mutants_of("m.py", SOURCE), mutants.mutants_of("m.py", "import os\n" + SOURCE)
    assert [one.name for one in first] == [one.name for one in second]
    assert [one.line + 1 for one in first] == [one.line for one in second]


def test_lines_take_turns():
    """No line has a second mutant before each has one; another seed draws others, the same one the same."""
    found = mutants.mutants_of("m.py", SOURCE)
    lines = {one.line for one in found}

    first = mutants.drawn(found, len(lines), 0)

    assert {one.line for one in first} == lines
    assert max(collections.Counter(one.line for one in first).values()) == 1
    assert mutants.drawn(found, len(lines), 0) == first
    assert mutants.drawn(found, len(lines), 1) != first
    assert len(mutants.drawn(found, 10_000, 0)) == len(found)


def test_who_runs_a_line_is_asked_quick_ones_first():
    """Those that noticed others before the quick ones; within the limit of seconds; all of the file for a constant."""
    tests = mutants.Map({"slow": 5.0, "quick": 0.1, "other": 0.2}, [[0, 1], [2]], {"m.py": {"10": 0, "3": 1}}, {})
    nothing = mutants.Map({}, [], {}, {})
    found = mutants.mutants_of("m.py", SOURCE)
    line = next(one for one in found if one.line == 10)
    constant = next(one for one in found if one.line == 3)

    def asked(mutant, kills=None, limit=100.0):
        return mutants.plan(mutant, SOURCE, tests, nothing, kills or {}, (limit, 1.0)).tests

    assert asked(line) == ["quick", "slow"]
    assert asked(line, {"slow": 2}) == ["slow", "quick"]
    assert asked(line, limit=1.0) == ["quick"]
    assert asked(constant) == ["quick", "other", "slow"]


def test_statements_are_those_that_run():
    """Not docstrings, definitions, imports and bare annotations, nor what stands outside of functions."""
    assert mutants.statements(SOURCE) == {8, 9, 10, 11, 12, 13}
    assert mutants.statements("def f():\n    'Words.'\n    x: int\n    import os\n    return 1\n") == {5}


def test_a_file_is_mapped_anew_beside_the_others():
    """Its tests are as they are now, those of other files as they were."""
    old = mutants.Map(
        {"a.py::x": 1.0, "a.py::gone": 1.0, "b.py::y": 2.0}, [[0, 1], [1, 2]], {"m.py": {"1": 0, "2": 1}}, {}
    )
    new = mutants.Map({"a.py::x": 3.0}, [[0]], {"m.py": {"2": 0, "3": 0}}, {})

    both = new.joined(old, ["a.py"])

    assert both.seconds == {"a.py::x": 3.0, "b.py::y": 2.0}
    assert [both.runs("m.py", line, line) for line in (1, 2, 3)] == [[], ["a.py::x", "b.py::y"], ["a.py::x"]]


def test_equivalent_mutants_exist_and_say_why():
    """Each name in the list is that of a mutant of today's source, with a sentence."""
    listed = json.loads(mutants.EQUIVALENT.read_text(encoding="utf-8"))
    known = {
        one.name
        for file in {name.partition("::")[0] for name in listed}
        for one in mutants.mutants_of(file, (mutants.ROOT / mutants.PACKAGE / file).read_text(encoding="utf-8"))
    }

    assert set(listed) <= known
    assert all(len(why.split()) >= 5 and why.endswith(".") for why in listed.values())


@pytest.mark.parametrize("file", ["_prove/_trial.py", "_line/_slope.py"])
def test_mutants_of_the_engine_compile(file):
    source = (mutants.ROOT / mutants.PACKAGE / file).read_text(encoding="utf-8")
    for one in mutants.drawn(mutants.mutants_of(file, source), 40, 3):
        compile(mutants.planted(source, one), file, "exec")
