"""Contracts: what breaks one is told under that id alone, and its look-alikes are left alone (`contract_twins`)."""

import pathlib
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))
contract_twins = pytest.importorskip("contract_twins")

FRAMEWORKS = ("numpy", "torch", "jax")
# (What memory holds by chance may be huge, and overflow where the numbers are looked at.)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def double():
    """JAX with 64-bit numbers, where it is there."""
    try:
        import jax
    except ImportError:
        yield
        return
    with jax.enable_x64(True):
        yield


def twins_of(framework):
    if framework != "numpy":
        pytest.importorskip(framework)
    return contract_twins.twins(framework)


def settings(twin):
    """With every contract, and with the default ones where these find it, or have nothing to find."""
    return ["all", "default"] if twin.by_default or not twin.is_broken else ["all"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_contract_has_two_twins_of_either_kind(framework):
    counts = {}
    for twin in twins_of(framework):
        counts.setdefault(twin.id, []).append(twin.is_broken)
    assert counts
    assert {id: sorted(both) for id, both in counts.items()} == {id: [False, False, True, True] for id in counts}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_contract_that_can_be_chosen_has_twins(framework):
    """But GP213, which has tests of its own (`test_claim_calls`)."""
    from gradproof._contracts import CONTRACTS

    kinds = {"numpy": ("grad", "jac", "vjp")}.get(framework, (framework,))
    about = {id for id, one in CONTRACTS.items() if set(kinds) & set(one.kinds)} - {"GP213"}
    assert {twin.id for twin in twins_of(framework)} == about


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_broken_is_told_and_its_look_alike_is_not(framework):
    for twin in twins_of(framework):
        report = twin.check(3)
        assert twin.is_told(report), (twin.id, twin.name, report.findings)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_over_twenty_seeds(framework):
    for twin in twins_of(framework):
        for contracts in settings(twin):
            for seed in range(20):
                report = twin.check(seed, contracts)
                assert twin.is_told(report), (twin.id, twin.name, contracts, seed, report.findings)
