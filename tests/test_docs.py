"""The pages in docs/ are complete and hang together; their examples run as doctests, in `.ci/run`."""

import importlib
import pathlib
import re

import pytest

import gradproof
from helpers import ids_in_code

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(path for suffix in ("md", "ipynb") for path in (ROOT / "docs").rglob(f"*.{suffix}"))
LINKING = [*PAGES, *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md"))]


def text(name):
    """A page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def without_code(page):
    """A page less its fenced blocks, which hold no links or headings."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sections(page):
    """Heading and body of every section of level 2."""
    parts = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    return [tuple(part.split("\n", 1)) for part in parts]


def test_every_id_has_a_section_and_every_section_an_id():
    """What a report shows can be looked up, once, and nothing is described that no report shows."""
    described = re.findall(r"^## (GP\d{3}): \S", text("reference/findings.md"), re.MULTILINE)

    assert len(described) == len(set(described))
    assert described == sorted(described)
    assert set(described) == ids_in_code()


def test_every_section_shows_its_id_and_says_what_to_do():
    """A section states the severity, has an example whose output names the id, and ends with what to do."""
    for heading, body in sections(text("reference/findings.md")):
        id = heading[:5]
        assert re.search(r"^Severity: \*(error|doubt|note)\*", body, re.MULTILINE), id
        assert re.search(rf"^\[.*'{id}'.*\]$", body, re.MULTILINE), id
        assert re.search(r"^What to do: ", body, re.MULTILINE), id


def test_every_verdict_and_reason_has_an_entry():
    """The page on verdicts describes all verdicts, and all reasons, and no others."""
    page = without_code(text("reference/verdicts.md"))

    assert set(re.findall(r"^## (.+)$", page, re.MULTILINE)) == {verdict.name for verdict in gradproof.Verdict}
    assert re.findall(r"^### (\w+): \S", page, re.MULTILINE) == [reason.name for reason in gradproof.Reason]


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(path):
    """A link within the repository leads to a file that is there, and to a heading that is in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


GUIDES = sorted({*(ROOT / "docs" / "how-to").glob("*.md")} - {ROOT / "docs" / "how-to" / "index.md"})


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_every_guide_begins_with_a_wrong_gradient(path):
    """The first thing that a guide prints is the report of a wrong gradient."""
    first = re.search(r"^```text\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

    assert first is not None
    assert re.search(r"^WRONG  \w+  \S", first[1], re.MULTILINE)


PICTURES = ["report.png", "steps.svg"]


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_small_and_shown(name):
    """Each picture that `docs/refresh_outputs.py` draws is there, light, and shown by the README and by a page."""
    picture = ROOT / "docs" / "_static" / name
    start = {".png": b"\x89PNG", ".svg": b"<svg"}[picture.suffix]
    shown = re.compile(rf"!\[[^\]]+\]\(\S*_static/{name}\)")

    assert picture.read_bytes().startswith(start)
    assert picture.stat().st_size < 60_000
    assert shown.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert any(shown.search(path.read_text(encoding="utf-8")) for path in PAGES)


def test_every_picture_is_drawn():
    """No picture lies about that nothing renews."""
    pictures = {path.name for path in (ROOT / "docs" / "_static").iterdir()} - {"site.css"}

    assert pictures == set(PICTURES)


# Of the table in the style guide: what reads as translated, and what users do not say.
AVOIDED = [
    "honest bars",
    "honest error bars",
    "over the choice of directions",
    "each leaf's norm",
    "Who has torch",
    "Had the error",
    "Nobody claims one",
    "foretell",
    "foretold",
    "is gone is told",
    "By a complex array",
    "is held to no less than",
    "would have been noticed",
]


# The array, not the verb.
LEAF = re.compile(r"\b[Ll]eaf\b|\b(?:the|all|of|several|more|other|flat|these|those|single) leaves\b|\b[Ll]eaves:")


@pytest.mark.parametrize("path", LINKING[:-3], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_english_is_plain(path):
    """Sentences that were found hard to read do not come back, and users read of arrays."""
    page = path.read_text(encoding="utf-8")
    prose = re.sub(r"`[^`\n]*`", "", without_code(page)) if path.suffix == ".md" else page
    found = [words for words in AVOIDED if words in prose]
    if path.suffix == ".md" and path.stem != "glossary":  # which explains the word
        found += LEAF.findall(re.sub(r"\]\([^)]*\)", "", prose))

    assert not found


def listed(index):
    """The pages that the tables of contents of a page list, less their suffix."""
    tables = re.findall(r"^```{toctree}\n(.*?)^```$", index.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = (line for table in tables for line in table.splitlines() if line and not line.startswith(":"))
    names = [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
    return {(index.parent / name).relative_to(ROOT / "docs").as_posix() for name in names}


def test_every_page_is_listed_and_introduced():
    """The tables of contents hold every page, and the index of a section links each page of it in a sentence."""
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in PAGES}
    indexes = [path for path in PAGES if path.name == "index.md"]

    assert set().union(*map(listed, indexes)) == pages - {"index"}
    for index in indexes:
        text = without_code(index.read_text(encoding="utf-8"))
        introduced = set(re.findall(r"\]\(([^)#\s]+)", text))
        links = {(index.parent / name).resolve().relative_to(ROOT) for name in introduced}
        linked = {path.relative_to("docs").with_suffix("").as_posix() for path in links if path.parts[0] == "docs"}
        assert listed(index) <= linked | {"changelog", "contributing"}, index


PUBLIC = ["gradproof", "gradproof.torch", "gradproof.jax", "gradproof.scipy", "gradproof.course"]
PUBLIC += ["gradproof.compat.torch", "gradproof.compat.jax", "gradproof.compat.scipy"]


def documented():
    """Every name that the pages of the reference describe, from `currentmodule` and `auto...` directives."""
    names = set()
    for path in sorted((ROOT / "docs" / "reference" / "api").glob("*.md")):
        module = "gradproof"
        directives = re.findall(r"^\.\. (\w+):: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        for directive, name in directives:
            if directive == "currentmodule":
                module = name
            elif directive != "automodule":
                names.add(f"{module}.{name}")
    return names


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_is_complete(module):
    """Each public name is described once, and nothing that is not public."""
    for framework in {"torch", "jax"} & set(module.split(".")):
        pytest.importorskip(framework)
    with_pages_of_their_own = {"gradproof.compat", "gradproof.course"}
    public = {f"{module}.{name}" for name in importlib.import_module(module).__all__} - with_pages_of_their_own

    assert {name for name in documented() if name.rpartition(".")[0] == module} == public


def test_the_reference_describes_public_modules_alone():
    assert {name.rpartition(".")[0] for name in documented()} == set(PUBLIC)
