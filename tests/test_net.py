"""The net (benchmarks/net.py): its list is the table's, reports are as the table has them, mistakes are noticed."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
torch.set_num_threads(1)  # as the net itself does: sums in one order
ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
net = pytest.importorskip("net", exc_type=ModuleNotFoundError)

from gradproof._prove import _trial  # noqa: E402

# Quick checks of several kinds that depend on whether a kink is seen.
FEW = ("kinks/abs/one entry/between/grad", "kinks/abs/half/outside/grad", "kinks/relu/one entry/between/grad")
SMOOTH = "families/quadratic/float64/x1/0"


@pytest.fixture(scope="module")
def listed():
    return net.checks()


@pytest.fixture(scope="module")
def table():
    return net.read_table()


def rows(listed, names):
    return {name: net.Row.of(net.line_of(listed[name])) for name in names}


def test_the_list_is_that_of_the_table(listed, table):
    """Every check has its line, in the same order and of the same kind; there are enough, and of all kinds of claim."""
    assert list(listed) == list(table)
    assert [one.kind for one in listed.values()] == [one.kind for one in table.values()]
    assert len(listed) >= 3000
    assert len({one.seed for one in listed.values()}) > 0.99 * len(listed)
    kinds = " ".join({one.kind for one in listed.values()})
    for word in (
        "grad", "jac", "vjp", "jvp", "hess", "hvp", "entries", "float16", "bfloat16", "complex64", "torch", "jax",
        "module", "contracts", "kink", "edge",
    ):  # fmt: skip
        assert word in kinds
    assert net.TABLE.stat().st_size < 700_000


def test_a_report_replays_alone_and_is_the_same_text(listed):
    names = (*FEW, "contracts/vjp/random/default", "contracts/grad/raises/default")
    assert [net.line_of(listed[name]) for name in names] == [net.line_of(listed[name]) for name in reversed(names)][
        ::-1
    ]


def test_a_mistake_in_the_engine_is_noticed(listed, table, monkeypatch, capsys):
    """No kink is ever seen: three reports are not as in the table, and the smooth one beside them is."""
    assert net.compared(table, rows(listed, (*FEW, SMOOTH))) == []

    monkeypatch.setattr(_trial, "kinked", lambda measured, tolerance: False)  # wrong on purpose
    found = dict(net.compared(table, rows(listed, (*FEW, SMOOTH))))

    assert set(found) == set(FEW)
    assert all(words[0].startswith("verdict NOT_DIFFERENTIABLE") or "outside" in name for name, words in found.items())
    assert "kink, grad" in capsys.readouterr().out


def test_rows_are_apart_beyond_what_machines_do():
    """Each field by itself; a bound within a factor of two, and few evaluations more, are the same."""
    row = net.Row("a", "grad", "CORRECT C2", 1e-6, 40, "")
    for fields, words in (
        ({"verdict": "WRONG CW"}, "verdict"),
        ({"bound": 2.5e-6}, "bound"),
        ({"bound": 0.0}, "bound"),
        ({"places": "GP101 x[1]"}, "places"),
        ({"evaluations": 60}, "evaluations"),
        ({"evaluations": 20}, "evaluations"),
    ):
        (found,) = row.apart(dataclasses.replace(row, **fields))
        assert found.startswith(words)
    for fields in ({}, {"bound": 1.9e-6}, {"bound": 6e-7}, {"evaluations": 50}):
        assert row.apart(dataclasses.replace(row, **fields)) == []


def test_rows_read_back(tmp_path):
    rows = [
        net.Row("a, b", "grad", "WRONG C3W", 2.5e-7, 17, 'GP101 p["w"][1, 2] "here"'),
        net.Row("c", "jac", "UsageError", 0, 0, ""),
    ]
    net.write_table(rows, tmp_path / "table.csv")
    assert list(net.read_table(tmp_path / "table.csv").values()) == rows


def test_what_differs_between_two_runs_is_named():
    def line(evaluations=3, **fields):
        return json.dumps(
            {"name": "a", "evaluations": evaluations, "report": {"verdict": "CORRECT", "note": 1, **fields}}
        )

    both = {"a": line(), "b": line()}
    assert net.differing(both, dict(both)) == []
    assert net.differing(both, {**both, "a": line(note=4)}) == [("a", "note")]
    assert net.differing(both, {**both, "a": line(5, note=4)}) == [("a", "note, evaluations 3 -> 5")]
    assert net.differing(both, {**both, "a": line(verdict="WRONG")}) == [("a", "verdict (CORRECT -> WRONG)")]
    assert net.differing(both, {"a": both["a"]}) == [("b", "only in the first")]


@pytest.mark.slow
def test_a_part_of_the_net_is_as_the_table_has_it(listed, table):
    """Fifty checks of all groups. (Two may differ: another machine rounds otherwise.)"""
    names = sorted((name for name in listed if not name.startswith("jax")), key=lambda name: listed[name].seed)[:50]
    found = net.compared(table, rows(listed, names))
    assert len(found) <= 2, found


@pytest.mark.slow
def test_compare_fails_where_a_copy_of_the_tree_has_a_mistake(tmp_path):
    """From outside: the exit status, and the names of what differs."""
    for part in ("src", "benchmarks"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))

    def compare():
        script = str(tmp_path / "benchmarks" / "net.py")
        return subprocess.run(
            [sys.executable, script, "compare", "--only", "^kinks/abs/one entry/between/grad$|^mgh/1/jac/0/right"],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip

    right = compare()
    assert right.returncode == 0, right.stdout + right.stderr
    assert "0 of 2 checks" in right.stdout
    rules = tmp_path / "src" / "gradproof" / "_prove" / "_tolerance.py"
    before = rules.read_text(encoding="utf-8")
    after = before.replace("(size > KINK_BARS * bar)", "(size < 0)")  # wrong on purpose
    assert after != before
    rules.write_text(after, encoding="utf-8")
    wrong = compare()
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
    assert "kinks/abs/one entry/between/grad: verdict NOT_DIFFERENTIABLE" in wrong.stdout
    assert "1 of 2 checks" in wrong.stdout
