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

    These are the processor's: sums of products are rounded as its vector units add them.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        (cell.source.splitlines()[0], [refresh_outputs.words(shortened(output.text)) for output in cell.outputs])
        for cell in cells
    ]


def shortened(text):
    return re.sub(r"\d\.\d{14,}(e-?\d+)?", lambda number: f"{float(number[0]):.12g}", text)


def test_it_prints_what_is_stored(notebook):
    """Run from its beginning in a fresh kernel, each cell prints what is stored; `refresh_outputs.py` renews it."""
    for needed in ("nbclient", "ipykernel", "torch"):
        pytest.importorskip(needed)

    assert outputs(refresh_outputs.execute(copy.deepcopy(notebook))) == outputs(notebook)


def test_it_is_stored_without_the_machine(notebook):
    """Outputs are plain text on stdout, cells are numbered in order, and nothing tells where or when it ran."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = [output for cell in cells for output in cell.outputs]

    assert {(output.output_type, output.get("name")) for output in printed} == {("stream", "stdout")}
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
