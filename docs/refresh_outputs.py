"""Run what the README, the pages and the notebook show, and store what is printed: `python docs/refresh_outputs.py`.

Examples with prompts are doctests, and left alone.
"""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import nbformat

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorials" / "gradient-checking.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ELSEWHERE = {ROOT / "docs" / "reference" / "pytest.md"}  # tests/test_pytest_plugin.py runs it
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def pages_with_output():
    """The pages in which a block of text shows what the block before it prints."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in paths if path not in ELSEWHERE and "\n```text\n" in path.read_text(encoding="utf-8")]


def refreshed(page, folder):
    """The text of a page with every text block replaced by what the block above it prints.

    A Python block that begins with the name of a file is that file, in `folder`; the others without prompts are one
    program. A console block that begins with `$ ` is run in `folder`; an excerpt of its output stays one.
    """
    program, printed, command = {"__name__": "page"}, "", False

    def run(match):
        nonlocal printed, command
        kind, body = match.groups()
        if kind == "python" and (name := re.match(r"# (\S+\.py)\n", body)):
            (folder / name[1]).write_text(body, encoding="utf-8")
        elif kind == "python" and not body.startswith(">>>"):
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(body, page.name, "exec"), program)
            printed, command = stream.getvalue(), False
        elif kind == "console" and body.startswith("$ "):
            for line in body.splitlines():
                printed, command = run_command(line.removeprefix("$ ").split(), folder), True
        elif kind == "text" and not (command and " ".join(words(body)) in " ".join(words(printed))):
            return f"```text\n{printed}```"
        return match[0]

    return BLOCK.sub(run, page.read_text(encoding="utf-8"))


def run_command(command, folder):
    """What a command prints in a folder, which goes by another name; run as a module of this Python."""
    options = {"pytest": ["-p", "no:cacheprovider"], "gradproof": []}[command[0]]
    done = subprocess.run(
        [sys.executable, "-m", command[0], *options, *command[1:]],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,  # a guard against hanging, as below
        check=False,
    )
    return (done.stdout + done.stderr).replace(str(folder), "/home/me/project")


def words(text):
    """The words of an output, less what differs between machines: numbers of the size of rounding, counts, times."""
    text = re.sub(r"\b\d+(\.\d+)?e-\d+", "_", text)
    text = re.sub(r"\b\d+ evaluations", "_ evaluations", text)
    return re.sub(r" in \d+\.\d+s\b", " in _ s", text).split()


def execute(notebook):
    """Run all cells in a fresh kernel; keep sources and outputs, and nothing of the machine."""
    import nbclient
    from traitlets.config import Config

    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--HistoryManager.enabled=False"],
        config=Config({"KernelManager": {"transport": "ipc"}}),
    )
    with tempfile.TemporaryDirectory() as folder:
        # One thread: more would wait for each other on small arrays, where others use the machine.
        client.execute(env={**os.environ, "IPYTHONDIR": folder, "OMP_NUM_THREADS": "1"})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


def main():
    for page in pages_with_output():
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(refreshed(page, pathlib.Path(folder)), encoding="utf-8")
    nbformat.write(execute(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)


if __name__ == "__main__":
    main()
