"""Reports that are damaged, hostile or cannot be written: what is read back is equal, or a UsageError."""

import copy
import dataclasses
import errno
import io
import json
import os
import stat
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

import gradproof
from gradproof import Report, Severity, UsageError, Verdict
from gradproof._base._files import write_text
from gradproof._report._report_file import ReportFile

X = np.array([0.5, 1.0, 2.0])
RIGHT = gradproof.check(lambda x: np.sum(np.sin(x)), X, grad=np.cos, rng=0)
WRONG = gradproof.check(lambda x: np.sum(np.sin(x)), X, grad=lambda x: 2 * np.cos(x), rng=0)  # wrong on purpose
JAC = gradproof.check(np.sin, X, jac=lambda x: 2 * np.diag(np.cos(x)), rng=0)  # wrong on purpose
DOCUMENTS = [json.loads(report.to_json()) for report in (RIGHT, WRONG, JAC)]

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[31m\x9b2J\u202e\x07\r\ud800"


def places(document, path=()):
    """The ways to all members of a JSON document, the first few of each list."""
    yield path
    items = document.items() if isinstance(document, dict) else enumerate(document[:3])
    for key, value in items if isinstance(document, (dict, list)) else ():
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def changed(document, path, value):
    """A copy with something else at a place."""
    document = copy.deepcopy(document)
    *way, last = path
    at = document
    for key in way:
        at = at[key]
    at[last] = value
    return document


ODD = [None, True, False, 0, 1, -1, 1.5, 1e308, 10**30, 2**63, 10**400, "", "nan", "\ud800", "CORRECT", "WRONG"]
ODD += ["error", [], {}, [[]], [0], [1.5], {"a": 1}, HOSTILE]
odd_values = strategies.sampled_from(ODD)


@strategies.composite
def mutated(draw):
    """The JSON form of a report with a few members replaced, or a few characters."""
    document = draw(strategies.sampled_from(DOCUMENTS))
    for _ in range(draw(strategies.integers(1, 3))):
        path = draw(strategies.sampled_from([path for path in places(document) if path]))
        document = changed(document, path, draw(odd_values))
    text = json.dumps(document)
    for _ in range(draw(strategies.integers(0, 2))):
        i = draw(strategies.integers(1, len(text) - 1))
        text = text[:i] + draw(strategies.sampled_from('{}[]",:0e-\\ \x00é')) + text[i + 1 :]
    return text


@hypothesis.given(mutated())
def test_whatever_is_read_is_equal_or_a_usage_error(text):
    """And it can be shown, without a character that a terminal or a browser would obey."""
    try:
        report = Report.from_json(text)
    except UsageError:
        return
    assert Report.from_json(report.to_json()) == report
    assert ReportFile.read(io.StringIO(report.to_json())).reports == (report,)
    assert all(c.isprintable() or c == "\n" for c in str(report))
    assert "<script" not in report._repr_html_()


def twice(text):
    return text.replace('"seed"', '"seed": 1, "seed"', 1)


def with_error(text):
    document = json.loads(text)
    return json.dumps(document | {"findings": [DOCUMENTS[1]["findings"][0]]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: '{"a":' + "[" * 100_000, "nested too deeply|not JSON"),
        (lambda text: '{"a":' * 100_000, "nested too deeply|not JSON"),
        (lambda text: text.replace('"seed": 0', f'"seed": {"9" * 5000}'), "not JSON"),
        (lambda text: text.replace('"rtol": 1e-07', '"rtol": 1e999'), "1e999 is too large"),
        (lambda text: text.replace('"rtol": 1e-07', '"rtol": ' + "9" * 400), "damaged"),
        (lambda text: text.replace('"rtol": 1e-07', '"rtol": NaN'), "NaN is no number of JSON"),
        (lambda text: text.replace('"rtol": 1e-07', '"rtol": "0.5"'), "expected a number, got '0.5'"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": true'), "schema_version is True"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 1.0'), "schema_version is 1.0"),
        (lambda text: text.replace('"seed": 0', '"seed": false'), "expected a whole number, got False"),
        (lambda text: text.replace('"findings": []', '"findings": ""'), "expected a list"),
        (lambda text: text.replace('"name"', '"suggested_args": 1, "name"', 1), "there is no field 'suggested_args'"),
        (twice, "the key 'seed' stands there twice"),
        (with_error, "the verdict is CORRECT, and a finding is an error"),
        (lambda text: text.replace('"CORRECT"', '"WRONG"').replace('"WRONG"', '"CORRECT"', 1), "a part of it WRONG"),
    ],
)
def test_damaged_text(spoil, message):
    """Each is refused, with what is wrong; what was spoiled could be read before."""
    text = RIGHT.to_json()
    assert Report.from_json(text) == RIGHT
    assert spoil(text) != text
    with pytest.raises(UsageError, match=message):
        Report.from_json(spoil(text))


def test_damaged_files(tmp_path):
    """No file, a folder, no UTF-8, and what is no path."""
    path = tmp_path / "report.json"
    path.write_bytes(RIGHT.to_json().encode().replace(b'"name": "f"', b"\xff\xfe"))
    with pytest.raises(UsageError, match="no UTF-8"):
        Report.from_json(path)
    with pytest.raises(UsageError, match=r"cannot be read from .*: No such file"):
        Report.from_json(tmp_path / "none.json")
    with pytest.raises(UsageError, match="Is a directory"):
        Report.from_json(tmp_path)
    for source in ("", "nul\x00byte", "x" * 5000):
        with pytest.raises(UsageError, match="cannot be read from"):
            Report.from_json(source)
    for source in (0, None, b"{}"):
        with pytest.raises(UsageError, match="JSON text or a path"):
            Report.from_json(source)


def test_versions_of_files_of_reports():
    """They are read as strictly."""
    good = ReportFile(reports=(RIGHT, WRONG)).to_json()
    assert ReportFile.read(io.StringIO(good)).reports == (RIGHT, WRONG)
    for one, other in (
        ('{\n  "schema_version": 1', '{\n  "schema_version": true'),
        ('"errors": []', '"errors": [1]'),
        ('"errors": []', '"errors": [], "errors": []'),
        ('"errors": []', '"errors": [], "tests": "ab"'),
        ('"errors": []', '"errors": [], "more": 1'),
        ('"errors": []', '"errors": [{"case": 1, "error": "", "message": ""}]'),
    ):
        assert one in good
        with pytest.raises(UsageError):
            ReportFile.read(io.StringIO(good.replace(one, other, 1)))


@pytest.mark.parametrize("name", ["file\udcff.py", "\ud800", "\ud83d\ude00", "\udc80\ud800x", "\u2028\x85"])
def test_names_that_utf8_does_not_hold(name, tmp_path):
    """Half a surrogate pair, as file names that are no UTF-8 have, is written and read back."""
    report = dataclasses.replace(RIGHT, name=name)
    text = report.to_json(tmp_path / "report.json")
    assert Report.from_json(text) == Report.from_json(tmp_path / "report.json") == report
    assert report.to_json(run=False) == Report.from_json(text).to_json(run=False)
    ReportFile(reports=(report,)).write(str(tmp_path / "file.json"))
    with open(tmp_path / "file.json", encoding="utf-8") as file:
        assert ReportFile.read(file).reports == (report,)


def hostile(value, kind=None):
    """The same data with markup and escape codes in every string that is no word of a closed list."""
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(
            value, **{field.name: hostile(getattr(value, field.name)) for field in dataclasses.fields(value)}
        )
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    return HOSTILE if type(value) is str else value


@pytest.mark.parametrize("report", [RIGHT, WRONG, JAC])
def test_every_string_is_escaped_in_every_view(report, tmp_path):
    """Notebook, page, text and the line of pytest; nothing of a page runs, and no escape code is left."""
    from gradproof._render import NamedReport, headline, run_html, tests_text

    bad = hostile(report)
    pages = [bad._repr_html_()]
    if "matplotlib" in sys.modules or _has("matplotlib", "jinja2"):
        errors = [{"case": HOSTILE, "error": HOSTILE, "message": HOSTILE}]
        pages += [bad.to_html(tmp_path / "page.html"), run_html([NamedReport(name=HOSTILE, report=bad)], errors)]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page
        assert all(c.isprintable() or c in "\n\u00a0" for c in page)
    errors = [{"case": HOSTILE, "error": HOSTILE, "message": HOSTILE}]
    recorded = [(HOSTILE, "failed", bad)]
    texts = [str(bad), headline(bad), tests_text(recorded, errors, width=80, verbose=True)]
    assert {c for text in texts for c in text if not c.isprintable()} <= {"\n"}
    assert Report.from_json(bad.to_json()) == bad


def _has(*names):
    return all(pytest.importorskip(name) for name in names)


def test_a_warning_about_a_kink_is_printable():
    """Names in it are the user's."""
    from gradproof._ask._check import require_right

    kink = gradproof.check(abs, 0.0, grad=0.5, rng=0)
    assert kink.verdict is Verdict.NOT_DIFFERENTIABLE
    with pytest.warns(gradproof.GradproofWarning) as caught:
        require_right(dataclasses.replace(kink, name=HOSTILE), stacklevel=1)
    assert str(caught[0].message).isprintable()


# ------------------------------------------------------------------------------------------------------------ files


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    """Whatever fails while the new one is written, renamed or encoded; nothing is left beside it."""
    path = tmp_path / "report.json"
    path.write_text("old", encoding="utf-8")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                RIGHT.to_json(path)
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["report.json"]
    RIGHT.to_json(path)
    assert Report.from_json(path) == RIGHT
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")
def test_modes_links_and_pipes(tmp_path):
    """A file keeps its mode, a new one has the usual, a link its target; what is no file is written to as it is."""
    path, link = tmp_path / "report.json", tmp_path / "link.json"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    link.symlink_to(path)
    write_text(link, "new")
    assert (link.is_symlink(), path.read_text(encoding="utf-8")) == (True, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    (tmp_path / "usual").write_text("", encoding="utf-8")
    write_text(tmp_path / "made", "new")
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "usual").stat().st_mode
    write_text(os.devnull, "new")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "report.json", "new")


def test_numbers_that_cannot_be_drawn_cost_a_page_its_picture():
    """The largest double does not fit on an axis; the rest of the page stands."""
    _has("jinja2", "matplotlib")
    ladders = tuple(
        dataclasses.replace(one, jump=1.0, left=(1e308,) * len(one.steps), right=(-1e308,) * len(one.steps))
        for one in WRONG.evidence.ladders
    )
    page = dataclasses.replace(WRONG, evidence=dataclasses.replace(WRONG.evidence, ladders=ladders)).to_html()
    assert "2 times the true gradient" in page
    assert WRONG.findings[0].severity is Severity.ERROR
