"""Run what the README, the pages and the notebook show, and store what is printed: `python docs/refresh_outputs.py`.

Examples with prompts are doctests, and left alone. The pictures are of the report that the README prints.
With `--pictures` only these are drawn anew.
"""

import contextlib
import io
import os
import pathlib
import re
import shutil
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
STATIC = ROOT / "docs" / "_static"
STEPS, PAGE = STATIC / "steps.svg", STATIC / "report.png"
SCREEN = (900, 928)  # width and height in pixels: down to the end of the finding
COLOURS = 160  # few enough for a small file, enough for its hues
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
        env={**environment(), "COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,  # a guard against hanging, as below
        check=False,
    )
    return (done.stdout + done.stderr).replace(str(folder), "/home/me/project")


def environment():
    """The variables of this process, less those by which pytest and gradproof see that they run in a CI."""
    told = ("GITHUB_", "PYTEST_", "GRADPROOF_")
    tell = {"CI", "BUILD_NUMBER", "NO_COLOR", "FORCE_COLOR", "PY_COLORS"}
    return {name: value for name, value in os.environ.items() if name not in tell and not name.startswith(told)}


def words(text):
    """The words of an output, less what differs between machines: numbers of the size of rounding, counts, times."""
    text = re.sub(r"\b\d+(\.\d+)?e-\d+", "_", text)
    text = re.sub(r"\b(more\s+than|below|within)\s+\d+(\.\d+)?", r"\1 _", text)
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


def readme_report():
    """The report that the first example of the README prints."""
    import gradproof

    text, program = (ROOT / "README.md").read_text(encoding="utf-8"), {}
    example = next(match for match in BLOCK.finditer(text) if match[1] == "python")
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(example[2], "README.md", "exec"), program)
    args = program["params"], program["inputs"], program["targets"]
    return gradproof.check(program["loss"], args, grad=program["gradient"], rng=0)


def draw_steps(report, path):
    """Write the picture of the steps behind the first finding, on white: a file knows no colours of a page."""
    from gradproof._render._step_picture import step_picture

    drawn = step_picture(next(ladder for ladder in report.evidence.ladders if ladder.against))
    drawn = drawn.replace('style="', 'style="font-family: sans-serif; ', 1)
    drawn = drawn.replace(">", '>\n<rect width="100%" height="100%" fill="#fff" />', 1)
    path.write_text(f"{drawn}\n", encoding="utf-8")


def photograph(report, path):
    """Write a picture of the report as a page; say so and leave the old one where there is no Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print(f"There is no Chromium on the PATH: {path.name} is left as it was.", file=sys.stderr)
        return
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        page, picture = pathlib.Path(folder, "report.html"), pathlib.Path(folder, "report.png")
        report.to_html(page)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/user"]
        size = ",".join(map(str, SCREEN))
        command = [program, *flags, f"--window-size={size}", f"--screenshot={picture}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        image = Image.open(picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        image.save(path, optimize=True)


def draw_pictures():
    """Write the pictures that the README and the pages show."""
    report = readme_report()
    draw_steps(report, STEPS)
    photograph(report, PAGE)


def main():
    draw_pictures()
    if "--pictures" in sys.argv[1:]:
        return
    for page in pages_with_output():
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(refreshed(page, pathlib.Path(folder)), encoding="utf-8")
    nbformat.write(execute(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)


if __name__ == "__main__":
    main()
