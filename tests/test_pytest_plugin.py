"""The pytest plugin from outside: suites run by a pytest of their own, with and without workers."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zlib
from xml.etree import ElementTree

import pytest

import gradproof
from gradproof import Report, Verdict

# What a check and its text import late, now: pytester forgets what is imported during a run, and NumPy's extensions
# cannot be loaded twice.
str(gradproof.check(abs, 0.0, grad=0.0, rng=0))
gradproof.check(abs, 0.0, grad=0.0, rng=0).to_html()
importlib.import_module("matplotlib.backends.backend_svg")

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"

HEADER = """
import numpy as np
import pytest
import gradproof as gp

A, targets, w = np.vander([0.3, 0.7, 1.1, 1.6], 4), np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.2, -0.4, 0.9, 0.3])

def loss(w):
    return np.mean((A @ w - targets) ** 2)

def right(w):
    return 2 * A.T @ (A @ w - targets) / 4

def wrong(w):
    return right(w) * [1, 1, 2, 1]  # wrong on purpose

def zero(x):
    return 0 * x

def constant(x):
    return 1.0
"""
SUITE = """
def test_right(gradproof):
    assert gradproof(loss, w, grad=right).verdict is gp.Verdict.CORRECT

def test_wrong(gradproof):
    gradproof(loss, w, grad=wrong)

def test_undecided(gradproof):
    gradproof(constant, 1.0, grad=zero)

def test_kink(gradproof):
    gradproof(abs, 0.0, grad=zero)

def test_recorded(gradproof):
    assert gradproof.check(loss, w, grad=wrong, rng=11).seed == 11

def test_plain():
    assert_through_a_helper()

def assert_through_a_helper():
    gp.assert_grad(loss, w, grad=wrong, rng=7)

def test_plain_kink():
    gp.assert_grad(abs, 0.0, grad=zero, rng=0)

def test_broken(gradproof):
    gradproof(lambda x: {}["missing"], 1.0, grad=1.0)
"""


@pytest.fixture
def run(pytester, monkeypatch, fresh_seeds):  # the options of a marker are tried out without a seed
    """A function that runs a suite in a pytest of its own, 80 columns wide."""

    def run(body, *arguments, ini=""):
        pytester.makepyfile(test_suite=HEADER + body)
        pytester.makeini(f"[pytest]\n{ini}")
        # A process of its own only where there are workers: the others start in a tenth of the time.
        start = pytester.runpytest_subprocess if "-n" in arguments else pytester.runpytest_inprocess
        return start("-p", "no:cacheprovider", "-p", "no:randomly", "-W", "default", *arguments)  # not our own filters

    monkeypatch.setenv("COLUMNS", "80")
    return run


def section(result):
    """The lines of the section `gradproof` of the terminal."""
    starts = [index for index, line in enumerate(result.outlines) if re.fullmatch(r"=+ gradproof =+", line)]
    if not starts:
        return []
    lines = result.outlines[starts[0] + 1 :]
    return lines[: next(index for index, line in enumerate(lines) if line.startswith("==="))]


def failure(result, test):
    """What is shown of the failure of a test."""
    lines = result.outlines
    start = next(index for index, line in enumerate(lines) if re.fullmatch(rf"_+ {test} _+", line))
    shown = lines[start + 1 :]
    return shown[: next(index for index, line in enumerate(shown) if line.startswith(("____", "====")))]


def test_a_suite(run, pytester):
    """Failures are reports, the section, JSON and JUnit's XML have them all; with workers the reports are equal."""
    recorded = []
    for workers in ((), ("-n", "2")):
        files = ("--gradproof-json=reports.json", "--gradproof-html=reports.html", "--junitxml=junit.xml")
        result = run(SUITE, *files, *workers)
        result.assert_outcomes(passed=4, failed=4, warnings=2)
        failures_are_reports(result)
        the_section_tells_what_is_not_correct(result, pytester.path)
        recorded.append(all_are_in_the_json(pytester.path))
        and_in_the_xml(pytester.path)
        and_on_the_page(pytester.path)
    assert recorded[0] == recorded[1]


def and_on_the_page(path):
    """All recorded checks, worst first, under the names of their tests."""
    page = (path / "reports.html").read_text(encoding="utf-8")
    rows = re.findall(r'<a href="#check-\d+">([^<]*)</a>', page)
    assert len(rows) == len(json.loads((path / "reports.json").read_text(encoding="utf-8"))["reports"]) + 1
    assert {row.partition("  ")[0] for row in rows[:3]} == {
        f"test_suite.py::{test}" for test in ("test_wrong", "test_recorded", "test_plain")
    }
    assert "test_suite.py::test_broken" in rows[3]


def failures_are_reports(result):
    shown = failure(result, "test_wrong")
    message = "\n".join(shown[:15])
    for part in ("test_suite.py:", "gradproof(loss, w, grad=wrong)", "w[2]  error GP101", "claimed 2 times the true"):
        assert part in message
    assert f"gradproof.check(loss, args, grad=wrong, rng={zlib.crc32(b'test_suite.py::test_wrong')})" in message
    assert "_gradproof_pytest.py" not in result.stdout.str()
    assert "gradproof/_" not in result.stdout.str()
    assert max(len(line) for line in shown) <= 80
    assert "in assert_through_a_helper" in "\n".join(failure(result, "test_plain"))
    broken = "\n".join(failure(result, "test_broken"))
    assert "FunctionError: " in broken
    assert '{}["missing"]' in broken
    result.stdout.fnmatch_lines(["FAILED test_suite.py::test_wrong - WRONG  w[[]2]: claimed 2 times the true*"])


def the_section_tells_what_is_not_correct(result, path):
    told = section(result)
    flush = [line for line in told if not line.startswith(" ")]
    assert sorted(flush[:3]) == [  # with workers, in the order in which they end
        "WRONG  test_suite.py::test_plain",
        "WRONG  test_suite.py::test_recorded (the test passed)",
        "WRONG  test_suite.py::test_wrong",
    ]
    assert flush[3:] == [
        "INCONCLUSIVE  test_suite.py::test_undecided",
        "NOT_DIFFERENTIABLE  test_suite.py::test_kink (the test passed)",
        "could not run  test_suite.py::test_broken",
        "1 correct, 3 wrong, 1 inconclusive, 1 not differentiable, 1 could not run",
        f"6 reports written to {path / 'reports.json'}",
        f"6 reports written to {path / 'reports.html'}",
    ]
    assert max(len(line) for line in told[:-2]) <= 80


def all_are_in_the_json(path):
    document = json.loads((path / "reports.json").read_text(encoding="utf-8"))
    reports = [Report.from_json(json.dumps(entry)) for entry in document["reports"]]
    tests = [test.partition("::")[2] for test in document["tests"]]
    assert tests == sorted(tests)
    assert {test: report.verdict for test, report in zip(tests, reports, strict=True)} == {
        "test_kink": Verdict.NOT_DIFFERENTIABLE,
        "test_plain": Verdict.WRONG,
        "test_recorded": Verdict.WRONG,
        "test_right": Verdict.CORRECT,
        "test_undecided": Verdict.INCONCLUSIVE,
        "test_wrong": Verdict.WRONG,
    }
    assert [error["case"] for error in document["errors"]] == ["test_suite.py::test_broken"]
    return reports


def and_in_the_xml(path):
    cases = ElementTree.parse(path / "junit.xml").iter("testcase")
    properties = {case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")} for case in cases}
    assert properties["test_wrong"]["gradproof.finding"] == "GP101 w[2]"
    assert properties["test_recorded"]["gradproof.seed"] == "11"
    assert properties["test_plain"]["gradproof.verdict"] == "WRONG"
    assert properties["test_plain_kink"] == {}


def test_the_example_suite(tmp_path):
    """As a user runs it: with workers, 80 columns wide, the first 15 lines of the failure say all that matters."""
    shutil.copytree(EXAMPLES / "suite", tmp_path / "suite")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "suite"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    start = next(k for k, line in enumerate(lines) if re.fullmatch(r"_+ test_batch_norm _+", line)) + 1
    first = lines[start : start + 15]
    assert max(map(len, first)) <= 80
    assert "params['gain'][2]  error GP101" in first
    assert "  mistake    claimed 1/16 of the true gradient" in first
    joined = " ".join(line.strip() for line in first)
    reproducer = r"reproduce +gradproof.check\(batch_norm, args, grad=batch_norm_gradient, rng=\d+\)"
    assert re.search(reproducer, joined)
    assert re.search(r"claimed 0\.00\d+, measured 0\.1\d+ ± \d+e-\d+", joined)
    assert re.search(r"= 1 failed, (3 passed, 1 skipped|5 passed) in", lines[-1])


def test_a_suite_that_is_right_is_left_alone(run):
    """No section, no header: nothing but pytest's own lines, unless -v asks for more."""
    body = "def test_right(gradproof):\n    gradproof(loss, w, grad=right)\n"
    quiet = run(body)
    quiet.assert_outcomes(passed=1)
    assert section(quiet) == []
    assert not [line for line in quiet.outlines if line.startswith("gradproof:")]
    told = run(body, "-v")
    assert section(told) == ["1 correct, 0 wrong, 0 inconclusive, 0 not differentiable"]
    assert "gradproof: seed derived from each test's node id" in told.outlines


@pytest.mark.parametrize(("arguments", "ini"), [(("--gradproof-strict",), ""), ((), "gradproof_strict = true")])
def test_strict(run, arguments, ini):
    """A kink fails the test and the message says why, by the fixture and by `assert_grad`; what is right passes."""
    result = run(SUITE, *arguments, "-k", "kink or right", ini=ini)
    result.assert_outcomes(passed=1, failed=2)
    said = {"test_kink": "a kink at this point", "test_plain_kink": "is not differentiable at this point"}
    for test, why in said.items():
        text = "\n".join(failure(result, test))
        assert "It fails because of --gradproof-strict" in text
        assert why in text


def test_seeds_and_options(run):
    """The call comes before the marker, which comes before the command line, which comes before the ini file."""
    body = """
    def seed(check, **options):
        return check.check(loss, w, grad=right, **options).seed

    def test_seed(gradproof):
        assert seed(gradproof) == EXPECTED
        assert seed(gradproof, rng=4) == 4

    @pytest.mark.gradproof(rng=3)
    def test_marker(gradproof):
        assert seed(gradproof) == 3
        assert seed(gradproof, rng=4) == 4

    @pytest.mark.gradproof(level="entries", rtol=1e-3)
    class TestOfAClass:
        @pytest.mark.gradproof(rtol=1e-4)
        def test_closest(self, gradproof):
            report = gradproof.check(loss, w, grad=right)
            assert (report.level, report.rtol) == ("entries", 1e-4)
            assert gradproof.check(loss, w, grad=right, rtol=1e-5).rtol == 1e-5
    """
    body = "\n".join(line.removeprefix("    ") for line in body.splitlines())
    ini = "gradproof_seed = 2\nmarkers = other\naddopts = --strict-markers"
    run(body.replace("EXPECTED", "2"), ini=ini).assert_outcomes(passed=3)
    run(body.replace("EXPECTED", "1"), "--gradproof-seed", "1", ini=ini).assert_outcomes(passed=3)


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["serial", "worker"])
def test_bad_markers_are_errors_of_the_collection(run, workers):
    """Unknown names, bad values and positional arguments, each with what is right."""
    markers = ["rtoll=1e-3", "rtol=-1", 'level="all"', "1e-3", "rng=-1", "grad=right"]
    body = "".join(
        f"@pytest.mark.gradproof({marker})\ndef test_{index}(): pass\n" for index, marker in enumerate(markers)
    )
    result = run(body, *workers)
    result.assert_outcomes(errors=1)
    text = " ".join(result.stdout.str().split())
    for part in (
        "test_suite.py::test_0: the marker `gradproof` has no option `rtoll`; it takes wrt, order, modes, rtol,",
        "test_suite.py::test_1: the marker `gradproof` has a bad option: `rtol` must be a positive number",
        '`level` must be "certificate" or "entries"',
        "test_suite.py::test_3: the marker `gradproof` takes options by keyword only",
        "`rng` must be a seed",
        "has no option `grad`",
    ):
        assert part in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "ini", "message"),
    [
        (("--gradproof-seed", "-3"), "", "must be an integer, not negative, got '-3'"),
        ((), "gradproof_seed = x", "gradproof_seed must be an integer, not negative, got 'x'"),
        (("--gradproof-json", "no/such/folder.json"), "", "--gradproof-json: no/such/folder.json cannot be a file"),
        (("--gradproof-html", "no/such/page.html"), "", "--gradproof-html: no/such/page.html cannot be a file"),
    ],
)
def test_bad_options(run, arguments, ini, message):
    result = run("", *arguments, ini=ini)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_without_the_plugin(run):
    """`assert_grad` needs none: the message is the report, after pytest's traceback."""
    result = run(SUITE, "-p", "no:gradproof", "-k", "plain")
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(["*WRONG  loss  the gradient is wrong (1 error)"])


def test_code_without_a_source(run):
    """Frames of generated code, such as those of a dataclass, have no lines to show; the failure is told."""
    result = run("""
def test_generated():
    space = {"check": gp.check, "loss": loss, "w": w}
    exec("def generated(): check(loss, w, grad=1, level='certify')", space)
    space["generated"]()
""")
    result.assert_outcomes(failed=1)
    text = "\n".join(failure(result, "test_generated"))
    assert "in generated" in text
    assert 'UsageError: `level` must be "certificate" or "entries"' in text


def test_expected_failures_and_other_manners(run):
    """xfail, pytest.raises and unittest see an AssertionError; --tb=native is left to pytest."""
    body = """
import unittest

@pytest.mark.xfail(strict=True)
def test_expected(gradproof):
    gradproof(loss, w, grad=wrong)

def test_raises(gradproof):
    with pytest.raises(gp.GradientError):
        gradproof(loss, w, grad=wrong)

class TestUnit(unittest.TestCase):
    def test_unit(self):
        gp.assert_grad(loss, w, grad=wrong, rng=0)

@pytest.fixture
def broken(gradproof):
    gradproof(loss, w, grad=wrong)

def test_set_up(broken):
    pass

def test_other():
    assert 1 == 2
"""
    result = run(body)
    result.assert_outcomes(xfailed=1, passed=1, failed=2, errors=1)
    told = section(result)
    assert "WRONG  test_suite.py::test_expected (the test xfailed)" in told
    assert "WRONG  test_suite.py::test_raises (the test passed)" in told
    assert "WRONG  test_suite.py::TestUnit::test_unit" in told
    assert "WRONG  test_suite.py::test_set_up" in told
    assert "w[2]  error GP101" in failure(result, "TestUnit.test_unit")
    assert "E       assert 1 == 2" in failure(result, "test_other")
    native = run(body, "--tb=native", "-k", "unit")
    assert "Traceback (most recent call last):" in native.stdout.str()


def test_a_test_that_stands_in_another_file(run, pytester):
    """The frames are those of the user alone."""
    pytester.makepyfile(
        base=f"{HEADER}\nclass Base:\n    def test(self, gradproof):\n        gradproof(loss, w, grad=wrong)"
    )
    shown = failure(run("from base import Base\nclass TestInherited(Base): pass\n"), "TestInherited.test")
    assert [line for line in shown if re.match(r"\S+:\d+: in ", line)] == [shown[0]]
    assert shown[0].startswith("base.py:")


def test_a_bad_marker_added_late(run):
    """The set-up fails, with the message alone."""
    body = """
@pytest.fixture(autouse=True)
def late(request):
    request.node.add_marker(pytest.mark.gradproof(level="all"))

def test_late(late, gradproof):
    pass
"""
    shown = failure(run(body), "ERROR at setup of test_late")
    assert shown[0].startswith("test_suite.py::test_late: the marker `gradproof` has a bad option: `level` must be")


@pytest.mark.parametrize("option", ["--gradproof-json", "--gradproof-html"])
def test_files_that_cannot_be_written(run, pytester, option):
    """A run that was fine does not end as if it had left its reports."""
    body = f"def test_right(gradproof):\n    import os; os.mkdir({str(pytester.path / 'taken')!r})\n"
    result = run(body, option, "taken")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert [line for line in section(result) if "could not be written" in line]


def test_pages_without_what_they_are_made_with(run, monkeypatch):
    """It says how to install it before any test runs."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "jinja2" else find(name, *more)
    )
    result = run(SUITE, "--gradproof-html", "reports.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gradproof-html: *jinja2*pip install jinja2*"])
    assert "collected" not in result.stdout.str()


def test_help_and_markers(pytester):
    text = " ".join(pytester.runpytest_subprocess("--markers").stdout.str().split())
    assert "@pytest.mark.gradproof(**options): options of `gradproof.check`" in text
    text = " ".join(pytester.runpytest_subprocess("--help").stdout.str().split())
    options = ("--gradproof-json=PATH", "--gradproof-html=PATH", "--gradproof-seed=N", "--gradproof-strict")
    for part in (*options, "gradproof_seed (string)"):
        assert part in text


def test_the_example_of_the_page(pytester, monkeypatch):
    """What docs/reference/pytest.md shows is what comes, in its order."""
    monkeypatch.setenv("COLUMNS", "80")
    page = (pathlib.Path(__file__).parents[1] / "docs" / "reference" / "pytest.md").read_text(encoding="utf-8")
    pytester.makepyfile(test_loss=re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    for shown in re.findall(r"```text\n(.*?)```", page, re.DOTALL):
        result.stdout.fnmatch_lines([re.sub(r"([\[])", r"[\1]", line) for line in shown.splitlines()], consecutive=True)


def test_starting_pytest_imports_nothing_of_ours():
    """Nor a framework, nor NumPy."""
    code = "import sys, _gradproof_pytest; print(sorted({'gradproof', 'numpy', 'torch', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
