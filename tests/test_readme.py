"""What the README shows is what a reader gets."""

import pathlib
import re

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_example_prints_what_is_shown(capsys):
    """The first Python block, run as it stands, prints the text block below it."""
    shown = README.read_text(encoding="utf-8")
    code, output = (re.search(rf"```{kind}\n(.*?)```", shown, re.DOTALL)[1] for kind in ("python", "text"))

    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})

    assert _words(capsys.readouterr().out) == _words(output)


def _words(text):
    """The words of a text; numbers with an exponent are at the level of rounding, which differs between machines."""
    text = re.sub(r"\b\d+(\.\d+)?e-\d+", "_", text)
    return re.sub(r"\b\d+ evaluations", "_ evaluations", text).split()


def test_it_is_short():
    """A reader gets through it."""
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120
