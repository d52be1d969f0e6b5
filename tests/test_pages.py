"""What the README and the pages show is what a reader gets; examples with prompts run as doctests, in `.ci/run`."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from helpers import words

ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ELSEWHERE = {"docs/reference/pytest.md"}  # in test_pytest_plugin.py


def blocks(page):
    """Kind and body of the fenced blocks of a page."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def pages_with_output():
    """The pages in which a block of text shows what the block before it prints."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return [name for name in names if name not in ELSEWHERE and any(kind == "text" for kind, _ in blocks(name))]


@pytest.mark.parametrize("page", pages_with_output())
def test_a_page_shows_what_is_printed(page, tmp_path, capsys):
    """Each text block is the output of the Python block above it, or is part of that of the command above it.

    A Python block that begins with the name of a file is that file; the others without prompts are one program.
    """
    if any("import torch" in body for _, body in blocks(page)):
        pytest.importorskip("torch")
    program, shown, output, command = {"__name__": "page"}, 0, [], False
    for kind, body in blocks(page):
        if kind == "python" and (name := re.match(r"# (\S+\.py)\n", body)):
            (tmp_path / name[1]).write_text(body, encoding="utf-8")
        elif kind == "python" and not body.startswith(">>>"):
            exec(compile(body, page, "exec"), program)
            output, command = words(capsys.readouterr().out), False
        elif kind == "console" and body.startswith("$ "):
            for line in body.splitlines():
                output, command = words(run(line.removeprefix("$ ").split(), tmp_path)), True
        elif kind == "text":
            assert output == words(body) or (command and " ".join(words(body)) in " ".join(output))
            shown += 1
    assert shown


def run(command, folder):
    """What a command prints in a folder, which goes by another name; run as a module of this Python."""
    options = {"pytest": ["-p", "no:cacheprovider"], "gradproof": []}[command[0]]
    done = subprocess.run(
        [sys.executable, "-m", command[0], *options, *command[1:]],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    return (done.stdout + done.stderr).replace(str(folder), "/home/me/project")


def test_the_readme_is_short():
    """A reader gets through it."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120
