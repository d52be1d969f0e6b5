"""Released wrong gradients are WRONG, with the right finding, and their corrected twins are not."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from zoo import _frame
from zoo.strides_and_memory import NEEDS_CONTRACTS

ANIMALS = [animal for animal in _frame.animals() if animal.name not in NEEDS_CONTRACTS]
WAITING = [animal for animal in _frame.animals() if animal.name in NEEDS_CONTRACTS]
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


@pytest.mark.parametrize(("animal", "seed"), cases(WAITING))
def test_the_twins_of_those_that_need_contracts_are_spared(animal, seed):
    """Their wrong ones belong to the test above once the contracts of `NEEDS_CONTRACTS` are checked."""
    assert _frame.check(animal, right=True, seed=seed).verdict is animal.twin


def test_a_twin_in_place_of_the_wrong_one_fails():
    """What the first test rests on."""
    animal = next(one for one in ANIMALS if one.how == "numpy")
    right = _frame.check(animal, right=True, seed=0)
    wrong = _frame.check(animal, right=False, seed=0)

    assert _frame.mistakes(animal, right, right) == ["the wrong one is CORRECT"]
    assert len(_frame.mistakes(animal, wrong, wrong)) == 1


def test_what_is_listed_is_there():
    names = {animal.name for animal in _frame.animals()}

    assert len(names) >= 40
    assert set(NEEDS_CONTRACTS) <= names
