"""What the README and the pages show is what a reader gets; examples with prompts run as doctests, in `.ci/run`."""

import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))
refresh_outputs = pytest.importorskip("refresh_outputs", exc_type=ModuleNotFoundError)


@pytest.mark.parametrize("page", refresh_outputs.pages_with_output(), ids=lambda page: page.stem)
def test_a_page_shows_what_is_printed(page, tmp_path):
    """Its programs, files and commands print its text blocks; `docs/refresh_outputs.py` stores them anew."""
    stored = page.read_text(encoding="utf-8")
    for framework in ("torch", "jax"):
        if f"import {framework}\n" in stored:
            pytest.importorskip(framework)

    assert refresh_outputs.words(refresh_outputs.refreshed(page, tmp_path)) == refresh_outputs.words(stored)


def test_another_output_is_noticed(tmp_path):
    """A page that shows something else is not what the refreshed one is, nor is one whose command fails."""
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n", encoding="utf-8")
    assert refresh_outputs.refreshed(page, tmp_path) == page.read_text(encoding="utf-8").replace("3", "2")

    page.write_text("```console\n$ gradproof show none.json\n```\n\n```text\nCORRECT\n```\n", encoding="utf-8")
    assert "none.json" in refresh_outputs.refreshed(page, tmp_path).split("```text")[1]


def test_the_pictures_are_those_of_the_readme(tmp_path):
    """The picture of the steps is what is drawn of the report that the README prints."""
    pytest.importorskip("matplotlib")
    drawn = tmp_path / "steps.svg"
    report = refresh_outputs.readme_report()
    refresh_outputs.draw_steps(report, drawn)

    assert f"{report.verdict}  loss" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert labels(drawn) == labels(refresh_outputs.STEPS)


def labels(picture):
    """The texts of a drawing: where its points stand, the processor's last digits decide."""
    return refresh_outputs.words(" ".join(re.findall(r">([^<>]*[a-z][^<>]*)</", picture.read_text(encoding="utf-8"))))


def test_without_a_browser_the_old_picture_stays(tmp_path, monkeypatch, capsys):
    """A page can only be photographed where Chromium is; elsewhere this is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    old = tmp_path / "report.png"
    old.write_bytes(b"old")
    refresh_outputs.photograph(None, old)

    assert old.read_bytes() == b"old"
    assert "no Chromium" in capsys.readouterr().err


def test_the_readme_is_short():
    """A reader gets through it."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120
