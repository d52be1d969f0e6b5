"""Random programs (benchmarks/fuzz.py): what once failed is right now, and the judge sees what is wrong."""

import dataclasses
import math
import pathlib
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))
fuzz = pytest.importorskip("fuzz", exc_type=ModuleNotFoundError)


def recorded():
    """The numbers that failed once; those that still do are expected to."""
    for one in fuzz.recorded():
        marks = pytest.mark.xfail(strict=True, reason=one["fault"]) if one.get("open") else ()
        yield pytest.param(one["number"], marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("number", [*recorded()])
def test_numbers_that_failed_once(number):
    assert fuzz.outcome(number).faults == ()


@pytest.mark.slow
def test_fresh_numbers():
    """Of 200 claims at most one is judged wrongly, and at most four take more evaluations than they should."""
    outcomes = [fuzz.outcome(number) for number in range(900_000, 900_240)]
    found = [one for one in outcomes if one is not None]
    faults = [(one.number, words) for one in found for words in one.faults]
    dear = [one for one in faults if one[1].endswith("evaluations")]

    assert len(found) >= 200
    assert len(faults) - len(dear) <= 1, faults
    assert len(dear) <= 4, dear


@pytest.fixture(scope="module")
def right():
    """A right gradient by several arrays, and its report."""
    for number in range(100):
        claim = fuzz.draw_claim(number)
        if claim and claim.kind == "grad" and claim.plain and not claim.mistake and len(claim.point) == 3:
            report = claim.check()
            if all(leaf.bound for leaf in report.leaves):
                return claim, report
    raise AssertionError


def changed(report, index, **fields):
    leaves = list(report.leaves)
    leaves[index] = dataclasses.replace(leaves[index], **fields)
    return dataclasses.replace(report, leaves=tuple(leaves))


def test_the_judge_finds_every_fault(right):
    """Each by itself, and none in the report as it is."""
    claim, report = right
    correct, wrong = type(report.verdict)("CORRECT"), type(report.verdict)("WRONG")
    first, other, last = claim.point
    assert report.verdict is correct
    assert fuzz.judge(claim, report) == []

    accused = dataclasses.replace(report, verdict=wrong)
    assert fuzz.judge(claim, accused) == ["right, called WRONG"]

    bound = report.leaves[0].bound
    off = dataclasses.replace(claim, error={first: 1.5 * bound, other: 0.0, last: 0.0})
    assert "CORRECT with an error" in "".join(fuzz.judge(off, report))
    assert fuzz.judge(dataclasses.replace(claim, error={first: 0.9 * bound, other: 0.0, last: 0.0}), report) == []

    off = dataclasses.replace(claim, error={first: 0.5, other: 0.0, last: 0.0})
    assert fuzz.judge(off, changed(accused, 0, verdict=wrong)) == []
    assert "innocent" in "".join(fuzz.judge(off, changed(changed(accused, 0, verdict=wrong), 1, verdict=wrong)))
    assert "is off by" in "".join(fuzz.judge(off, changed(accused, 0, verdict=type(report.verdict)("INCONCLUSIVE"))))

    bare = dataclasses.replace(report, leaves=tuple(dataclasses.replace(x, bound=None) for x in report.leaves))
    assert fuzz.judge(claim, bare) == ["CORRECT, and nothing was tested"]


def test_planted_errors_are_as_large_as_stated():
    """In natural sizes, row by row; none where nothing is planted."""
    point = {"a": np.array([2.0, -2.0]), "b": np.array([1.0])}
    true = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 5.0]])
    claimed = true.copy()
    claimed[:, 2] *= 1.25

    error, share = fuzz.errors(true, claimed, point, symmetric=False)

    assert error["a"] == 0
    assert math.isclose(error["b"], 0.2)
    assert 0 < share["b"] <= 1
    assert max(share.values()) == 1
    missing, _ = fuzz.errors(true, np.where([True, True, False], true, 0.0), point, symmetric=False)
    assert missing["b"] == math.inf


def test_mixtures_of_gradients_nearby_are_told_from_others():
    """abs at 0: from -1 to 1; and where a kink is only on the way, f is differentiable."""
    step = fuzz.Step("abs", (0,), fuzz.torch.abs)
    program = fuzz.Program(("a",), (step,), (1.0,))
    rng = np.random.default_rng(0)
    for claimed, answer in ((0.3, False), (-1.0, False), (1.7, None)):
        assert fuzz.differentiable(program, {"a": np.array(0.0)}, np.array([[claimed]]), rng) is answer
    for claimed, answer in ((1.0, True), (0.9, None)):
        assert fuzz.differentiable(program, {"a": np.array(0.4)}, np.array([[claimed]]), rng) is answer


def test_half_of_the_numbers_are_set_aside():
    assert 400 < sum(fuzz.held_out(number) for number in range(1000)) < 600
