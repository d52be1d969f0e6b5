"""The site as `.ci/run` builds it, in build/docs."""

import importlib
import pathlib
import re

import pytest

from test_docs import PAGES, PUBLIC, ROOT, ids_in_code

SITE = ROOT / "build" / "docs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SITE.exists(), reason="the site is not built: python -m sphinx -n docs build/docs"),
]


def html(name):
    """A page of the site."""
    return (SITE / name).read_text(encoding="utf-8")


def test_every_page_is_there():
    """Each source has become a page."""
    missing = [path for path in PAGES if not (SITE / path.relative_to(ROOT / "docs")).with_suffix(".html").exists()]

    assert PAGES
    assert not missing


def test_every_id_has_a_short_anchor():
    """`findings.html#gp101` leads to the section on GP101, for every id that a report can show."""
    anchors = set(re.findall(r'id="(gp\d{3})"', html("reference/findings.html")))

    assert anchors == {id.lower() for id in ids_in_code()}


def test_every_public_name_has_an_anchor():
    """What is described in the reference can be linked by its full name."""
    anchors = set()
    for path in (SITE / "reference" / "api").glob("*.html"):
        anchors.update(re.findall(r'id="(gradproof[\w.]*)"', path.read_text(encoding="utf-8")))
    names = [f"{module}.{name}" for module in PUBLIC for name in importlib.import_module(module).__all__]

    assert len(names) > 30
    for name in {*names} - {"gradproof.compat", "gradproof.course"}:
        assert any(anchor == name or anchor.startswith(f"{name}.") for anchor in anchors), name


def test_nothing_is_loaded_from_elsewhere():
    """The site can be read without a network."""
    pages = list(SITE.rglob("*.html"))

    assert pages
    for page in pages:
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="(https?:[^"]+)', html(page))
        assert not loaded, pathlib.Path(page).name


def test_no_colour_codes_are_shown():
    """What the notebook prints in colour is plain text on the site."""
    page = html("tutorials/gradient-checking.html")

    assert "There is a mistake" in page
    assert "\x1b" not in page
    assert "[93m" not in page


def test_examples_are_copied_without_prompts():
    """A button copies what is typed: the prompts of Python and of the shell are taken off."""
    script = (SITE / "_static" / "copybutton.js").read_text(encoding="utf-8")
    prompts = re.search(r"formatCopyText\(text, '([^']+)', (\w+)", script)

    assert prompts is not None
    assert prompts[2] == "true"
    pattern = re.compile(prompts[1].replace("\\\\", "\\"))
    assert all(pattern.match(prompt) for prompt in (">>> f(x)", "... return x", "$ gradproof demo"))
    assert not pattern.match("print(1)")
    assert "copybutton.js" in html("how-to/numpy.html")
