"""Released wrong gradients are WRONG, with the right finding, and their corrected twins are not."""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from zoo import _frame

ROOT = pathlib.Path(__file__).parents[2]
ANIMALS = _frame.animals()
FAST_SEEDS, SLOW_SEEDS = (0,), (1, 2)

# torch warns of what its own modes do with some of these rules.
pytestmark = pytest.mark.filterwarnings("ignore")


def cases(animals):
    """Each with each seed; slow are the other seeds, and animals that take long."""
    return [
        pytest.param(
            animal,
            seed,
            marks=[pytest.mark.slow] if animal.slow or seed in SLOW_SEEDS else [],
            id=f"{animal.name}-{seed}",
        )
        for animal in animals
        for seed in (*FAST_SEEDS, *SLOW_SEEDS)
    ]


@pytest.mark.parametrize(("animal", "seed"), cases(ANIMALS))
def test_the_wrong_one_is_named_and_the_twin_is_spared(animal, seed):
    wrong = _frame.check(animal, right=False, seed=seed)
    right = _frame.check(animal, right=True, seed=seed)

    assert _frame.mistakes(animal, wrong, right) == []


def test_a_twin_in_place_of_the_wrong_one_fails():
    """What the first test rests on."""
    animal = next(one for one in ANIMALS if one.how == "numpy")
    right = _frame.check(animal, right=True, seed=0)
    wrong = _frame.check(animal, right=False, seed=0)

    assert _frame.mistakes(animal, right, right) == ["the wrong one is CORRECT"]
    assert len(_frame.mistakes(animal, wrong, wrong)) == 1


def test_there_are_enough_of_them():
    assert len({animal.name for animal in ANIMALS}) >= 40


def test_the_page_has_a_row_for_each():
    """And none for others: `python benchmarks/zoo.py --write` makes them."""
    page = (ROOT / "docs" / "explanation" / "zoo.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| [")]

    assert [row.partition(") | ")[0] for row in rows] == [
        f"| [{animal.name}]({animal.url}" for animal in _frame.animals()
    ]
    for animal, row in zip(_frame.animals(), rows, strict=True):
        mistake = animal.mistake.replace("|", "\\|")
        assert f"| {mistake} | " in row
        assert f" | {animal.twin.value} | " in row


@pytest.mark.slow
def test_the_benchmark_asks_the_other_checkers():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "zoo.py", "--only", "gather|expanded|ldexp|index_fill|isotonic"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = {line.split("]")[0][3:]: line for line in done.stdout.splitlines() if line.startswith("| [")}

    assert done.returncode == 0, done.stderr[-3000:]
    assert "gradcheck: fails / passes<br>fast_mode: fails / passes" in rows["gather with repeated indices"]
    assert "gradcheck: **passes** / passes" in rows["an expanded cotangent read beyond its end"]
    assert "check_grads, rev: fails / passes<br>fwd: fails / passes" in rows["ldexp at 0"]
    assert "check_grad: fails / passes" in rows["isotonic regression"]
