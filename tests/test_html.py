"""Reports as pages of HTML and in notebooks, without a browser: structure, escaping, limits, ways in."""

import dataclasses
import html.parser
import importlib.util
import itertools as it
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import gradproof
from gradproof import Report, Verdict
from gradproof._render import NamedReport, report_html, run_html
from gradproof._render import _words as words
from gradproof._render._meanings import MEANINGS
from gradproof._render._step_picture import step_picture
from gradproof._report._evidence import Comparison, Evidence, Ladder, TensorMap
from test_cli import gradproof as command
from test_report_files import KINK, ONE_OF_EACH, RIGHT, UNDECIDED, WRONG
from test_text import finding, leaf
from test_text import report as made

ROOT = pathlib.Path(__file__).parents[1]

HOSTILE = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "{{ 7 * 7 }}{% raw %}",
    "</pre></details>&lt;",
    "a\x00b\x1b[31m\u202egnp\ud800",
]
VOID = {"meta", "br", "wbr", "img", "link", "hr", "input"}


class Element(dict):
    """The attributes of an element, with its tag, those around it, and the text within."""

    def __init__(self, tag, attrs, page):
        super().__init__(attrs)
        self.tag, self.within = tag, [one.tag for one in page.open]
        self.pieces, self.start, self.stop = page.pieces, len(page.pieces), None

    @property
    def text(self):
        return "".join(self.pieces[self.start : self.stop])


class Parsed(html.parser.HTMLParser):
    """A page as its elements; every tag is closed."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.pieces = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(Element(tag, attrs, self))
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append(Element(tag, attrs, self))

    def handle_endtag(self, tag):
        element = self.open.pop()
        assert element.tag == tag
        element.stop = len(self.pieces)

    def handle_data(self, data):
        self.pieces.append(data)

    def all(self, *tags):
        return [element for element in self.elements if element.tag in tags]

    def text(self):
        return " ".join(self.all("body")[0].text.split())


def ladder(path="", entry=None, claimed=2.0, reference=1.0, jump=0.0):
    steps = tuple(np.geomspace(0.1, 1e-9, 14).tolist())
    errors = [0.3 * h**2 + 1e-16 / h for h in steps]
    return Ladder(
        path=path,
        entry=entry,
        claimed=claimed,
        reference=reference,
        error_bar=3e-10,
        steps=steps,
        differences=tuple(reference + error for error in errors),
        left=tuple(reference - jump / 2 - error for error in errors),
        right=tuple(reference + jump / 2 + error for error in errors),
        noise=1e-16,
        curvature=0.3,
        chosen=steps[5],
        size=1.0,
        against=claimed != reference,
        jump=jump,
    )


def tensor(path, side=64):
    claimed = tuple(tuple(float(i + k) for k in range(side)) for i in range(side))
    wrong = tuple(tuple(float(i == 3) for _ in range(side)) for i in range(side))
    return TensorMap(path=path, shape=(side, side), rows=side, columns=side, claimed=claimed, wrong=wrong)


def full(paths):
    """As much evidence as a report has at most."""
    values = np.linspace(-1, 1, 200).tolist()
    return Evidence(
        comparisons=tuple(Comparison(claimed=2 * x, reference=x, error_bar=1e-8, against=True) for x in values),
        ladders=tuple(ladder(path) for path in paths[:8]),
        maps=tuple(tensor(path) for path in paths[:8]),
    )


BIG = made(
    Verdict.WRONG,
    [leaf(f"p[{i}]", Verdict.WRONG if i < 300 else Verdict.CORRECT) for i in range(10_000)],
    [finding(f"p[{i}]") for i in range(900)],
    evidence=full([f"p[{i}]" for i in range(8)]),
)


def structure(page):
    """Assert what holds of every page, and return it as parsed."""
    parsed = Parsed(page)
    assert page.startswith("<!DOCTYPE html>")
    assert parsed.all("html")[0]["lang"] == "en"
    policy = next(one for one in parsed.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not parsed.all("script", "link", "iframe", "object", "embed", "img", "base", "form")
    assert not [name for one in parsed.elements for name in one if name.startswith("on")]
    assert all(one["href"].startswith("#") for one in parsed.elements if "href" in one)
    assert not [one for one in parsed.elements if "src" in one]

    ids = [one["id"] for one in parsed.elements if "id" in one]
    assert len(ids) == len(set(ids))
    assert {one["href"][1:] for one in parsed.elements if "href" in one} <= set(ids)
    assert {one["aria-labelledby"] for one in parsed.elements if "aria-labelledby" in one} <= set(ids)

    assert len(parsed.all("main")) == len(parsed.all("header")) == len(parsed.all("h1")) == 1
    levels = [int(one.tag[1]) for one in parsed.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in it.pairwise(levels))
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    assert all(one.get("scope") in ("col", "row") for one in parsed.all("th"))
    pictures = parsed.all("svg")
    assert all(one["role"] == "img" for one in pictures)
    assert len([one for one in parsed.all("title") if one.within[-1] == "svg"]) == len(pictures)
    assert len(parsed.all("figcaption")) == len(pictures)
    return parsed


@pytest.mark.parametrize("report", ONE_OF_EACH, ids=lambda report: report.verdict.value)
def test_a_page_says_what_the_text_says(report):
    """Every sentence, finding and leaf of the text is on the page, and the page is well formed."""
    page = structure(report.to_html()).text()
    assert words.sentence(report).lower() in page.lower()
    for one in report.findings:
        for label, value in words.rows(one):
            assert f"{label}{value.replace('`', '')}" in page.replace(f"{label} ", label), value
    for one in report.leaves:
        assert one.path in page
    for sentence in words.certificate(report):
        assert sentence in page
    assert f"rng={report.seed}" in page
    assert words.general_advice(report) in page


def test_the_json_on_the_page_reads_back_equal():
    page = structure(WRONG.to_html())
    (text,) = [one.text for one in page.all("pre") if one.text.startswith("{")]
    assert Report.from_json(text) == WRONG


def test_to_html_writes_the_file_that_it_returns(tmp_path):
    path = tmp_path / "report.html"
    text = WRONG.to_html(path)
    assert path.read_text(encoding="utf-8") == text == report_html(WRONG)


def test_pictures_stand_with_their_findings_and_the_others_below():
    """Tensor and steps of a wrong leaf within its finding, each once, and what belongs to none after the leaves."""
    report = made(
        Verdict.WRONG,
        [leaf("w", Verdict.WRONG), leaf("w2")],
        [finding("w", entries=((1, 3),), place="")],
        evidence=Evidence(
            comparisons=full(["w"]).comparisons,
            ladders=(ladder("w", (1, 3)), ladder("w2", claimed=1.0), ladder()),
            maps=(tensor("w"),),
        ),
    )
    page = report.to_html()
    parsed = structure(page)
    within = [one for one in parsed.all("svg") if "article" in one.within]
    assert (len(within), len(parsed.all("svg"))) == (2, 5)
    assert page.index("w[1, 3]. The claim lies above") < page.index("w2 of shape (3, 5). The claim lies within")


def test_a_kink_is_explained_as_one():
    report = dataclasses.replace(KINK, evidence=Evidence(ladders=(ladder("x", claimed=1.0, jump=2.0),)))
    page = structure(report.to_html()).text()
    assert "a claim between the two is a subgradient" in page
    assert "shaded error bar" not in page


def hostile(name):
    return made(
        Verdict.WRONG,
        [leaf(f"p[{name!r}]", Verdict.WRONG, note=name), leaf(name, dtype=name)],
        [finding(f"p[{name!r}]", kind=name, advice=name, reproducer=name, place=name)],
        name=name,
        claim=name,
        level=name,
        evidence=Evidence(
            comparisons=(Comparison(path=name, claimed=1.0, reference=1.0, error_bar=0.1),) * 3,
            ladders=(ladder(f"p[{name!r}]"), ladder(name)),
            maps=(dataclasses.replace(tensor(f"p[{name!r}]", 3), place=name),),
        ),
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_the_users_is_only_text(name, tmp_path):
    """Names make no element, no attribute and no template expression, in pages, pictures, runs and notebooks."""
    report = hostile(name)
    errors = [{"case": name, "error": name, "message": name}]
    cases = [NamedReport(name=name, report=report), NamedReport(name=name, report=RIGHT)]
    pages = [report.to_html(tmp_path / "page.html"), run_html(cases, errors)]
    for page in pages:
        structure(page)
        assert not re.search("[\x00\x1b\u202e\ud800]", page)
    fragment = Parsed(f"<body>{report._repr_html_()}</body>")
    tags = {one.tag for one in fragment.elements}
    drawn = {one.tag for one in Parsed(f"<body>{step_picture(ladder())}</body>").elements}
    own = {"body", "div", "span", "code", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
    assert tags <= own | drawn
    if name.isprintable():
        assert all(name in Parsed(page).text() for page in (*pages, f"<body>{report._repr_html_()}</body>"))


def test_large_reports_stay_small_and_say_what_they_left_out():
    """Ten thousand leaves, hundreds of findings and all the evidence that there can be: a megabyte."""
    page = BIG.to_html()
    assert len(page.encode()) < 1_500_000
    text = structure(page).text()
    assert text.count("<svg") == 0
    assert page.count("<svg") == 17
    for part in (
        "(900 errors)",
        "and 360 more findings, left out here",
        "and 8,900 more arrays: 8,900 CORRECT, largest bound 3.1e-7",
        "The report as JSON is too large for this page",
    ):
        assert part in text, part


def test_evidence_that_is_large_is_left_out_of_the_json():
    report = dataclasses.replace(WRONG, evidence=full(["x"] * 8))
    page = structure(report.to_html())
    assert "without its evidence, which is large" in page.text()
    (text,) = [one.text for one in page.all("pre") if one.text.startswith("{")]
    assert Report.from_json(text) == dataclasses.replace(WRONG, evidence=Evidence())


@pytest.mark.slow
def test_a_run_of_large_reports_stays_small():
    """A hundred of the largest: under 5 MB; pictures go to the worst, a few each, and the others say so."""
    correct = dataclasses.replace(BIG, verdict=Verdict.CORRECT, findings=())
    cases = [NamedReport(name=f"case {i}", report=BIG if i % 2 else correct) for i in range(100)]
    page = run_html(cases)
    assert len(page.encode()) < 5_000_000
    assert page.count("<svg") == 30
    text = structure(page).text()
    assert "14 pictures left out" in text
    assert re.search(r"17 pictures left out|9 pictures left out", text)


def test_a_run_is_worst_first_and_every_row_leads_to_its_check():
    errors = [{"case": "broken", "error": "FunctionError", "message": "f raised KeyError"}]
    cases = [NamedReport(name=f"case {one.verdict.value}", report=one) for one in (RIGHT, KINK, UNDECIDED, WRONG)]
    parsed = structure(run_html(cases, errors))
    order = ["case WRONG", "broken", "case INCONCLUSIVE", "case NOT_DIFFERENTIABLE", "case CORRECT"]
    assert [one.text for one in parsed.all("a") if one["href"].startswith("#check-")] == order
    text = parsed.text()
    assert "5 checks 1 correct, 1 wrong, 1 inconclusive, 1 not differentiable, 1 could not run" in text
    assert "FunctionError: f raised KeyError" in text
    assert len([one for one in parsed.all("details") if one.get("class", "").startswith("check")]) == 4


def test_a_run_of_very_many_keeps_the_worst():
    """Three hundred checks in full, the others in the summary only."""
    cases = [NamedReport(name=f"case {i}", report=WRONG if i == 699 else RIGHT) for i in range(700)]
    page = run_html(cases)
    assert len(page.encode()) < 5_000_000
    parsed = structure(page)
    assert len(parsed.all("details")) < 3 * 301
    assert parsed.all("a")[1].text == "case 699"
    assert "400 more checks above, the last ones, left out here." in parsed.text()
    assert "case 698" in parsed.text()


def colours():
    """The custom properties of the three schemes."""
    roots = re.findall(r":root \{(.*?)\}", report_html(RIGHT), re.DOTALL)
    light, dark, printed = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", root)) for root in roots)
    return {"light": light, "dark": dark, "printed": printed}


def luminance(colour):
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "printed"])
def test_every_colour_of_text_has_the_contrast_of_level_aa(scheme):
    """4.5 to 1 on the page and on its panels."""
    palette = colours()[scheme]
    text = set(palette) - {"paper", "panel", "grid"}
    assert {"ink", "muted", "wrong", "correct", "kink", "doubt", "reference", "claimed"} <= text
    for name in text:
        for ground in ("paper", "panel"):
            assert contrast(palette[name], palette[ground]) >= 4.5, (name, ground)


def test_labels_in_notebooks_have_the_contrast_of_level_aa():
    for one in ONE_OF_EACH:
        (colour,) = set(re.findall(r"background:(#[0-9a-f]{6});color:#fff", one._repr_html_())[:1])
        assert contrast(colour, "#ffffff") >= 4.5


@pytest.mark.parametrize("report", ONE_OF_EACH, ids=lambda report: report.verdict.value)
def test_a_notebook_shows_what_the_text_shows(report):
    fragment = Parsed(f"<body>{report._repr_html_()}</body>")
    shown = " ".join(one.text.strip() for one in fragment.elements if one.tag in ("div", "td", "th"))
    shown = " ".join(shown.split())
    assert words.sentence(report) in shown
    for one in report.findings:
        assert words.place(one) in shown
        assert all(value.replace("`", "") in shown for _, value in words.rows(one))
    for one in report.leaves:
        assert one.path in shown


def test_a_notebook_shows_a_large_report_in_brief():
    fragment = BIG._repr_html_()
    assert len(fragment) < 40_000
    assert "and 895 more findings" in fragment
    assert "and 9,990 more arrays" in fragment


def test_a_notebook_and_the_text_load_no_more_than_they_need():
    code = """if True:
        import sys, gradproof
        report = gradproof.check(abs, 1.0, grad=1.0)
        assert "CORRECT" in report._repr_html_() and "CORRECT" in str(report)
        print(sorted({"jinja2", "markupsafe"} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_notebook_shows_how_the_slope_depends_on_the_step(monkeypatch):
    """Open where something is wrong, folded where all is well; left out without matplotlib or without a slope."""
    evidence = Evidence(ladders=(ladder("w", claimed=1.0), ladder("w2", claimed=1.0)))
    right = dataclasses.replace(RIGHT, evidence=evidence)._repr_html_()
    assert "<details style" in right
    assert "Steps tried for a direction through w<" in right
    wrong = (evidence.ladders[0], dataclasses.replace(evidence.ladders[1], against=True))
    shown = dataclasses.replace(WRONG, evidence=Evidence(ladders=wrong))._repr_html_()
    assert "<details open" in shown
    assert "Steps tried for a direction through w2<" in shown
    assert "<svg" not in dataclasses.replace(RIGHT, evidence=Evidence())._repr_html_()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else find(name))
    assert "<svg" not in dataclasses.replace(RIGHT, evidence=evidence)._repr_html_()


def test_one_picture_of_steps_for_the_entries_of_an_array():
    """And what a finding means stands beside the first of its kind."""
    report = made(
        Verdict.WRONG,
        [leaf("w", Verdict.WRONG)],
        [finding("w", entries=((1, 3),), place=""), finding("w", entries=((2, 4),), place="")],
        evidence=Evidence(ladders=(ladder("w", (1, 3)), ladder("w", (2, 4)))),
    )
    page = report.to_html()
    assert page.count("<figure") == 1
    assert page.count("The claimed derivative differs from the measured one by more than") == 1


def test_every_finding_has_a_meaning():
    """Each section of the reference has its sentences for the page, and there are no others."""
    documented = re.findall(r"^## (GP\d+):", (ROOT / "docs/reference/findings.md").read_text(encoding="utf-8"), re.M)
    assert sorted(MEANINGS) == sorted(documented)


@pytest.fixture
def bare(monkeypatch):
    """As if the extra were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in ("jinja2", "matplotlib") else find(name, *more)
    )


def test_without_the_extra_it_says_how_to_install_it(bare, tmp_path):
    with pytest.raises(ImportError, match=r"jinja2 and matplotlib, .* pip install jinja2 matplotlib") as caught:
        RIGHT.to_html(tmp_path / "report.html")
    assert isinstance(caught.value, gradproof.GradproofError)
    assert list(tmp_path.iterdir()) == []
    assert "CORRECT" in RIGHT._repr_html_()


def test_without_the_extra_the_command_line_says_so_before_it_runs_anything(bare, tmp_path):
    from click.testing import CliRunner

    from gradproof._commands._cli import main

    path = tmp_path / "cases.py"
    path.write_text("raise SystemExit('it ran')", encoding="utf-8")
    for arguments in (["check", str(path)], ["show", str(path)]):
        result = CliRunner().invoke(main, [*arguments, "--html", str(tmp_path / "out.html")])
        assert result.exit_code == 2
        assert "pip install jinja2 matplotlib" in result.output
        assert "it ran" not in result.output


def test_check_and_show_write_the_same_page(tmp_path):
    """One report has the page to itself; several have a summary; the exit code is as without."""
    cases = tmp_path / "cases.py"
    cases.write_text(
        "import gradproof\nwrong = gradproof.Case(abs, 1.0, grad=2.0)\n"
        "more = [gradproof.Case(abs, 2.0, grad=1.0), gradproof.Case(lambda x: {}['no'], 2.0, grad=1.0)]\n",
        encoding="utf-8",
    )
    checked, shown, data = tmp_path / "checked.html", tmp_path / "shown.html", tmp_path / "data.json"
    done = command("check", cases, "--html", checked, "--json", data, "--seed", 1)
    assert done.returncode == 1, done.stderr
    done = command("show", data, "--html", shown)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("1 correct, 1 wrong, 0 inconclusive, 0 not differentiable, 1 could not run\n")
    text = checked.read_text(encoding="utf-8")
    assert text == shown.read_text(encoding="utf-8")
    assert "3 checks" in structure(text).text()

    command("check", f"{cases}:wrong", "--html", checked, "--seed", 1)
    assert "WRONG wrong the gradient" in structure(checked.read_text(encoding="utf-8")).text().replace("the c", "The c")


def test_several_files_make_one_page(tmp_path):
    paths = [tmp_path / f"{one.verdict.value}.json" for one in ONE_OF_EACH]
    for path, one in zip(paths, ONE_OF_EACH, strict=True):
        one.to_json(path)
    command("show", *paths, "--html", tmp_path / "all.html")
    assert "4 checks" in structure((tmp_path / "all.html").read_text(encoding="utf-8")).text()


def test_a_page_that_cannot_be_written(tmp_path):
    """A folder that is not there is noticed before anything runs; a page that is a folder as well."""
    path = tmp_path / "report.json"
    RIGHT.to_json(path)
    for target in (tmp_path / "no" / "page.html", tmp_path):
        done = command("show", path, "--html", target)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["verdict"] == "CORRECT"
