"""The notebook is stored as it runs."""

import copy
import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))
refresh_outputs = pytest.importorskip("refresh_outputs", exc_type=ModuleNotFoundError)


@pytest.fixture(scope="module")
def notebook():
    """The notebook as it is stored."""
    return refresh_outputs.nbformat.read(refresh_outputs.NOTEBOOK, as_version=4)


def outputs(notebook):
    """For each cell of code, its first line and what it prints; of numbers at full length all but their last digits.

    These are the processor's: sums of products are rounded as its vector units add them. Of a picture, its kind.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell.source.splitlines()[0], [shown(output) for output in cell.outputs]) for cell in cells]


def shown(output):
    """What a reader sees of an output."""
    if output.output_type == "display_data":
        return sorted(output.data)
    return refresh_outputs.words(shortened(output.text))


def solutions(notebook):
    """The programs in the parts of the text that a reader unfolds."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    folded = [text for cell in cells for text in re.findall(r"<details>(.*?)</details>", cell, re.DOTALL)]
    return [re.search(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[1] for text in folded]


def shortened(text):
    return re.sub(r"\d\.\d{14,}(e-?\d+)?", lambda number: f"{float(number[0]):.12g}", text)


def test_it_prints_what_is_stored(notebook):
    """Run from its beginning in a fresh kernel, each cell prints what is stored; `refresh_outputs.py` renews it."""
    for needed in ("nbclient", "ipykernel", "torch"):
        pytest.importorskip(needed)

    assert outputs(refresh_outputs.execute(copy.deepcopy(notebook))) == outputs(notebook)


def test_it_is_stored_without_the_machine(notebook):
    """Outputs are text on stdout and one picture, cells are numbered, and nothing tells where or when it ran."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = [output for cell in cells for output in cell.outputs]

    kinds = [(output.output_type, output.get("name")) for output in printed]
    assert set(kinds) == {("stream", "stdout"), ("display_data", None)}
    assert kinds.count(("display_data", None)) == 1
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(not cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    text = refresh_outputs.NOTEBOOK.read_text(encoding="utf-8")
    assert str(pathlib.Path(sys.prefix)) not in text
    assert not re.search(r"/(home|root|tmp)/", text)


def test_it_shows_what_it_teaches(notebook):
    """The verdicts of the story are among the outputs, whoever edits the cells."""
    text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    for said in ("WRONG", "CORRECT", "NOT_DIFFERENTIABLE", "INCONCLUSIVE", "There is a mistake", "4 times", "(Swish)"):
        assert said in text


def test_the_solutions_solve_the_exercises(notebook, capsys):
    """Run after the cells that they build on, they print what the text below them says."""
    pytest.importorskip("torch")
    program = {"__name__": "notebook"}
    wanted = ("import matplotlib", "X, Y, parameters", "repaired", "def cost_of", "class Swish")
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith(wanted):
            exec(cell.source, program)
    capsys.readouterr()

    printed = []
    for solution in solutions(notebook):
        exec(solution, program)
        printed.append(capsys.readouterr().out)

    assert printed[0] == "best step 0.018, difference about 6e-06\n"
    assert printed[1].startswith("WRONG parameters['W1'][1, 2] -1.0\n")
    assert "There is a mistake" in printed[1]
    assert [line.split()[:2] for line in printed[2].splitlines()] == [
        ["torch.float64", "CORRECT"],
        ["torch.float32", "CORRECT"],
    ]
