"""Reports as data: the published schema, files of several reports, and `gradproof show` and `compare`."""

import dataclasses
import importlib.resources
import io
import json
import typing

import jsonschema
import numpy as np
import pytest

import gradproof
from gradproof import Report, Verdict
from gradproof._report._compare import compare
from gradproof._report._report_file import ReportFile
from test_cli import gradproof as command

SCHEMA = json.loads(importlib.resources.files("gradproof").joinpath("report.schema.json").read_text(encoding="utf-8"))
X = np.array([0.5, 1.0, 2.0])


def sine(x):
    return np.sum(np.sin(x))


def twice(x):
    return 2 * np.cos(x)  # wrong on purpose


def noisy(x):
    return np.sum(np.sin(abs(x))) + 1e15  # of which a double resolves 0.125; no complex step through abs


def raises(x):
    raise ZeroDivisionError


RIGHT = gradproof.check(sine, X, grad=np.cos, rng=0)
WRONG = gradproof.check(sine, X, grad=twice, rng=0)
KINK = gradproof.check(lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0]), grad=np.sign, rng=0)
UNDECIDED = gradproof.check(noisy, X, grad=np.cos, rng=0)
ONE_OF_EACH = (RIGHT, WRONG, KINK, UNDECIDED)


def validate(text):
    """Raise unless the text is valid by the published schema."""
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


def changed(report, **fields):
    """A report with some fields of its first leaf replaced."""
    leaf = dataclasses.replace(report.leaves[0], **fields)
    return dataclasses.replace(report, leaves=(leaf, *report.leaves[1:]))


def worse(old, new, **options):
    """What became worse from one report, or tuple of reports, to another."""
    files = [ReportFile(reports=each if isinstance(each, tuple) else (each,)) for each in (old, new)]
    comparison = compare(*files, **options)
    return [change.what for case in comparison.changed for change in case.changes if change.worse]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("run", [True, False])
def test_reports_of_every_verdict_are_valid_and_read_back_equal(verdict, run):
    """With the run section and without it."""
    (report,) = [report for report in ONE_OF_EACH if report.verdict is verdict]
    text = report.to_json(run=run)
    validate(text)
    assert Report.from_json(text) == report


def test_autodiff_with_modes_and_numbers_that_json_lacks_are_valid():
    torch = pytest.importorskip("torch")
    report = gradproof.check(lambda x: (x**3).sum(), torch.ones(3, dtype=torch.float64), order=2, rng=0)
    assert report.modes
    validate(report.to_json())
    validate(changed(RIGHT, bound=float("inf"), deviation=float("nan")).to_json())


def test_a_file_of_reports_is_valid_and_reads_back_equal():
    errors = ({"case": "a", "error": "FunctionError", "message": "no"},)
    for tests in ((), ("t.py::a", "t.py::b", "t.py::b", "t.py::c")):
        file = ReportFile(reports=ONE_OF_EACH, tests=tests, errors=errors)
        validate(file.to_json())
        assert ReportFile.read(io.StringIO(file.to_json())) == file
        assert len(set(file.names)) == 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("seed"),
        lambda document: document.update(verdict="RIGHT"),
        lambda document: document.update(schema_version=2),
        lambda document: document.update(more=1),
        lambda document: document["findings"][0].update(severity="fatal"),
        lambda document: document["findings"][0].update(id="101"),
        lambda document: document["leaves"][0].update(shape=["3"]),
        lambda document: document["cost"].update(calls=-1),
    ],
)
def test_the_schema_refuses_what_is_no_report(spoil):
    document = json.loads(WRONG.to_json())
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        validate(json.dumps(document))


NAMES = (
    "Report",
    "Finding",
    "LeafResult",
    "ModeResult",
    "Cost",
    "Run",
    "Evidence",
    "Comparison",
    "Ladder",
    "TensorMap",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_knows_every_field(name):
    """Fields and closed lists of the code and the schema are the same."""
    from gradproof._report import _evidence, _report

    kind = getattr(_report, name, None) or getattr(_evidence, name)
    short = {"LeafResult": "leaf", "ModeResult": "mode", "TensorMap": "map"}
    definition = SCHEMA["$defs"][short.get(name, name.lower())]
    fields = [field.name for field in dataclasses.fields(kind) if field.metadata.get("json", True)]
    assert [key for key in definition["properties"] if key != "schema_version"] == fields
    for enum in ("Verdict", "Reason", "Severity"):
        assert SCHEMA["$defs"][enum.lower()]["enum"] == [str(each.value) for each in getattr(_report, enum)]
    assert typing.get_type_hints(kind).keys() >= set(fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "schema_version is None"),
        ('{"reports": []}', "schema_version is None"),
        ('{"schema_version": 1, "reports": [{"schema_version": 1}], "errors": []}', "damaged"),
        ('{"schema_version": 1, "reports": [3], "errors": []}', "damaged"),
        ('{"schema_version": 1, "reports": [], "errors": [], "tests": ["a"]}', "1 tests, 0 reports"),
    ],
)
def test_files_that_cannot_be_read(text, message, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(gradproof.UsageError, match=message), open(path, encoding="utf-8") as file:
        ReportFile.read(file)
    done = command("show", path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_worse_verdicts_and_new_errors():
    """The order is CORRECT, NOT_DIFFERENTIABLE, INCONCLUSIVE, WRONG; the way back is not worse."""
    wrong = dataclasses.replace(WRONG, name=RIGHT.name)
    assert worse(RIGHT, wrong) == [
        "CORRECT before, WRONG now",
        "CORRECT before, WRONG now",
        "new error GP101: claimed 2 times the true gradient",
    ]
    assert worse(wrong, RIGHT) == worse(wrong, wrong) == []
    ranked = [dataclasses.replace(RIGHT, verdict=Verdict[name]) for name in
              ("CORRECT", "NOT_DIFFERENTIABLE", "INCONCLUSIVE", "WRONG")]  # fmt: skip
    for index, report in enumerate(ranked):
        assert [bool(worse(report, other)) for other in ranked] == [other > index for other in range(4)]


def test_wider_bounds():
    """From the factor on; what no double could tell is no change."""
    bound = RIGHT.leaves[0].bound
    assert worse(RIGHT, changed(RIGHT, bound=9 * bound)) == []
    (change,) = worse(RIGHT, changed(RIGHT, bound=11 * bound))
    assert change.startswith("bound ")
    assert worse(RIGHT, changed(RIGHT, bound=3 * bound), factor=2)
    assert worse(changed(RIGHT, bound=11 * bound), RIGHT) == []
    assert worse(changed(RIGHT, bound=0.0), changed(RIGHT, bound=1e-16)) == []
    assert worse(changed(RIGHT, bound=None), RIGHT) == []


def test_another_seed_alone_is_not_worse():
    """The factor leaves room for what the choice of directions does to a bound."""
    reports = [gradproof.check(sine, np.linspace(0.1, 2, 300), grad=np.cos, rng=seed) for seed in range(12)]
    assert [worse(old, new) for old in reports for new in reports] == [[]] * 144


def test_checks_in_one_file_only():
    """A new check is worse if it is WRONG; one that could not run is worse unless that is old; one gone is told."""
    other = dataclasses.replace(WRONG, name="other")
    assert worse(RIGHT, (RIGHT, other))[0] == "new, and WRONG"
    assert worse(RIGHT, (RIGHT, dataclasses.replace(UNDECIDED, name="other"))) == []
    gone = compare(ReportFile(reports=(RIGHT, other)), ReportFile(reports=(RIGHT,)))
    assert (gone.worse, gone.gone) == (False, ("other",))
    error = {"case": "third", "error": "FunctionError", "message": ""}
    old, new = ReportFile(reports=(RIGHT,)), ReportFile(reports=(RIGHT,), errors=(error,))
    assert compare(old, new).worse
    assert not compare(new, new).worse


def test_show_and_compare_from_outside(tmp_path):
    """What was written is shown as it was; exit codes, also of a single report, stdin and a missing file."""
    old, new, one = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "one.json"
    error = {"case": "t.py::c", "error": "FunctionError", "message": "`f` raised"}
    wrong = dataclasses.replace(WRONG, name=RIGHT.name)
    tests = ("t.py::a", "t.py::b")
    ReportFile(reports=(RIGHT, KINK), tests=tests).write(str(old))
    ReportFile(reports=(wrong, KINK), tests=tests, errors=(error,)).write(str(new))
    WRONG.to_json(one)

    done = command("show", one)
    assert (done.returncode, done.stdout) == (
        0,
        f"{WRONG}\n\n0 correct, 1 wrong, 0 inconclusive, 0 not differentiable\n",
    )
    shown = command("show", "-q", new, COLUMNS="80").stdout
    assert shown.startswith("t.py::a\nWRONG  sine  ")
    assert "could not run  t.py::c  FunctionError: `f` raised" in shown
    assert max(map(len, shown.splitlines())) <= 80

    done = command("compare", old, new, COLUMNS="80")
    assert done.returncode == 1
    assert done.stdout.splitlines()[:6] == [
        "worse   t.py::a  sine",
        "        CORRECT before, WRONG now",
        "        x  CORRECT before, WRONG now",
        "        x  new error GP101: claimed 2 times the true gradient",
        "worse   t.py::c",
        "        could not run: FunctionError",
    ]
    better = command("compare", new, old)
    assert better.returncode == 0
    assert better.stdout.startswith("better  t.py::a  sine")
    missing = command("compare", old, tmp_path / "none.json")
    assert missing.returncode == 2
    assert "none.json  cannot be read" in missing.stderr.replace("\n", "")
    assert command("compare", old, new, "--factor", "0.5").returncode == 2


def test_quiet_leaves_what_is_correct_out(tmp_path):
    """All but the last line."""
    path = tmp_path / "both.json"
    ReportFile(reports=(RIGHT, WRONG), tests=("t.py::a", "t.py::b")).write(str(path))

    for option in ("-q", "--quiet"):
        shown = command("show", option, path).stdout
        assert "t.py::a" not in shown
        assert shown.startswith("t.py::b\nWRONG")
        assert shown.endswith("\n1 correct, 1 wrong, 0 inconclusive, 0 not differentiable\n")
    assert "t.py::a" in command("show", path).stdout


def test_the_factor_says_how_much_wider_a_bound_may_become(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    (leaf,) = RIGHT.leaves
    wider = dataclasses.replace(RIGHT, leaves=(dataclasses.replace(leaf, bound=20 * leaf.bound),))
    ReportFile(reports=(RIGHT,)).write(str(old))
    ReportFile(reports=(wider,)).write(str(new))

    assert command("compare", old, new).returncode == 1
    assert command("compare", old, new, "--factor", "19").returncode == 1
    assert command("compare", old, new, "--factor", "21").returncode == 0
    assert command("compare", old, old, "--factor", "1").returncode == 0
