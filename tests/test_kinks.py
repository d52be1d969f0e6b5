"""At a kink a claim is held against both one-sided slopes, entry by entry and along directions; beside it as ever."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from helpers import ids

SIZE = 30
POINT = np.linspace(0.2, 1.0, SIZE)


def at_zero(*entries):
    point = POINT.copy()
    point[list(entries)] = 0.0
    return point


def hinge(x):
    return float(np.sum(np.maximum(x, 0) * (2 + np.cos(x))))


def hinge_grad(x):
    return np.where(x > 0, 2 + np.cos(x) - x * np.sin(x), 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_others_are_certified_beside_kinked_entries(seed):
    """The report names the leaf, counts its kinks, and bounds the error of all other entries, at no great price."""
    point = at_zero(7, 19)
    report = gradproof.check(hinge, point, grad=hinge_grad, rng=seed)
    (leaf,) = report.leaves

    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    assert ids(report) == ["GP110"]
    assert "2 of 30 entries were tried one by one" in report.findings[0].kind
    assert leaf.bound < 1e-4
    assert "kink in 2 entries" in leaf.note
    # Two ladders for the kink, some pairs to find the entries and try them, and a proof of the others.
    assert report.cost.evaluations < 300


@pytest.mark.parametrize("value", [-0.5, 3.5])
def test_a_claim_outside_one_kink_of_several(value):
    """The entry is named, with both slopes; a valid choice in the other does not help it."""
    claim = hinge_grad(at_zero(7, 19))
    claim[7] = 1.0
    claim[19] = value  # wrong on purpose
    for seed in range(3):
        report = gradproof.check(hinge, at_zero(7, 19), grad=claim, rng=seed)

        assert report.verdict is Verdict.WRONG
        assert ids(report) == ["GP103"]
        (found,) = report.findings
        assert found.path == "x[19]"
        assert found.entries == ((19,),)
        assert found.claimed == pytest.approx(value)
        assert (found.reference - found.error_bar, found.reference + found.error_bar) == pytest.approx((0, 3), abs=1e-3)


def test_a_wrong_entry_beside_a_kink():
    """An entry that is merely wrong is GP101, and the kink does not excuse it."""
    claim = hinge_grad(at_zero(7))
    claim[20] *= 1.01  # wrong on purpose
    for seed in range(3):
        report = gradproof.check(hinge, at_zero(7), grad=claim, rng=seed)

        assert report.verdict is Verdict.WRONG
        assert [one.path for one in report.findings if one.id == "GP101"] == ["x[20]"]


def bent_both_ways(x):
    """A valid choice at each of two kinks lies outside the slopes along most directions."""
    return float(np.sum(np.sin(x)) + 2 * abs(x[7]) - 2 * abs(x[19]))


@pytest.mark.parametrize("seed", range(5))
def test_kinks_that_bend_both_ways_are_judged_entry_by_entry(seed):
    """What lies between the slopes of each entry is a valid choice, whatever the two make of a direction."""
    claim = np.cos(at_zero(7, 19))
    claim[7], claim[19] = claim[7] + 2, claim[19] - 2
    report = gradproof.check(bent_both_ways, at_zero(7, 19), grad=claim, rng=seed)

    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    claim[7] += 1  # wrong on purpose
    report = gradproof.check(bent_both_ways, at_zero(7, 19), grad=claim, rng=seed)
    assert [one.id for one in report.findings] == ["GP103"]
    assert report.findings[0].path == "x[7]"


def largest_of_two(x):
    """The tie of two entries, and all others smooth."""
    return float(max(x[3], x[5]) + np.sum(np.sin(x)))


@pytest.mark.parametrize("seed", range(5))
def test_a_tie_of_two(seed):
    """Half of each, or all of one, is a subgradient; all of both lies outside along the two together."""
    point = POINT.copy()
    point[3] = point[5] = 0.6

    def verdict(first, second):
        claim = np.cos(point)
        claim[3], claim[5] = claim[3] + first, claim[5] + second
        return gradproof.check(largest_of_two, point, grad=claim, rng=seed).verdict

    assert verdict(0.5, 0.5) is Verdict.NOT_DIFFERENTIABLE
    assert verdict(1.0, 0.0) is Verdict.NOT_DIFFERENTIABLE
    assert verdict(1.0, 1.0) is Verdict.WRONG  # wrong on purpose
    assert verdict(0.0, 0.0) is Verdict.WRONG  # wrong on purpose


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("outer", [1.0, -2.0])
def test_a_tie_shared_by_two_arrays(outer, seed):
    """Each array's share lies between its own slopes; together they must lie between those of both."""
    point = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([1.5, 2.0, 0.5])}

    def smaller(p):
        return outer * np.minimum(p["a"], p["b"]).sum()

    def shared(first, second):
        return {"a": outer * np.array([1.0, first, 0.0]), "b": outer * np.array([0.0, second, 1.0])}

    twice = gradproof.check(smaller, point, grad=shared(1.0, 1.0), rng=seed)  # wrong on purpose
    assert twice.verdict is Verdict.WRONG
    assert [(one.id, one.path, one.place) for one in twice.findings] == [("GP103", "p['a']", "and `p['b']`")]
    for shares in ((1.0, 0.0), (0.5, 0.5), (0.2, 0.8)):
        assert gradproof.check(smaller, point, grad=shared(*shares), rng=seed).verdict is Verdict.NOT_DIFFERENTIABLE


@pytest.mark.parametrize("seed", range(4))
def test_kinks_of_two_arrays_that_bend_both_ways(seed):
    """What automatic differentiation makes of two units is valid for each, and is not held against both together."""

    def units(p):
        return max(p["a"] + p["b"], 0.0) - 0.3 * max(2 * p["a"] - p["b"], 0.0)

    def grad(p):
        first, second = float(p["a"] + p["b"] >= 0), 0.3 * float(2 * p["a"] - p["b"] >= 0)
        return {"a": first - 2 * second, "b": first + second}

    for claim in (grad, {"a": 0.2, "b": 0.65}):  # all of both units, and half of both
        report = gradproof.check(units, {"a": 0.0, "b": 0.0}, grad=claim, rng=seed)
        assert report.verdict is Verdict.NOT_DIFFERENTIABLE


@pytest.mark.parametrize("seed", range(3))
def test_a_tie_of_very_many(seed):
    """More entries than are told apart: those that are tried bend alike, and so directions through all may speak."""
    point = np.full(90, 0.7)

    def verdict(claim):
        return gradproof.check(lambda x: float(np.max(x)), point, grad=claim, rng=seed).verdict

    assert verdict(np.full(90, 1 / 90)) is Verdict.NOT_DIFFERENTIABLE
    assert verdict(np.eye(90)[4]) is Verdict.NOT_DIFFERENTIABLE
    assert verdict(np.full(90, 0.9)) is Verdict.WRONG  # wrong on purpose


def test_very_many_kinks_that_bend_both_ways():
    """Of these no direction speaks, and a valid choice in each is a valid choice."""
    signs = np.where(np.arange(90) % 2, 1.0, -1.0)
    claim = np.where(np.arange(90) % 3, 1.0, -1.0)
    for seed in range(3):
        report = gradproof.check(lambda x: float(signs @ np.abs(x)), np.zeros(90), grad=claim, rng=seed)
        assert report.verdict is Verdict.NOT_DIFFERENTIABLE
        assert "64 of 90 entries were tried one by one" in report.findings[0].kind


def absolute_beside(width):
    """A corner that is rounded off within a width: smooth, but not at every step."""
    return lambda x: float(np.sum(np.sin(x)) + np.sqrt(x[0] ** 2 + width**2))


@pytest.mark.parametrize("width", [1e-7, 1e-5, 1e-3])
def test_a_corner_that_is_rounded_off_is_no_kink(width):
    """Its derivative at the point is that of the smooth f, and a slope of the corner is wrong."""
    point = at_zero(0)
    right = np.cos(point)
    wrong = right + 0.9 * np.eye(SIZE)[0]  # wrong on purpose
    for seed in range(3):
        report = gradproof.check(absolute_beside(width), point, grad=right, rng=seed)
        assert report.verdict is not Verdict.WRONG
        report = gradproof.check(absolute_beside(width), point, grad=wrong, rng=seed)
        assert report.verdict is not Verdict.CORRECT


NORMAL = np.random.default_rng(9).normal(size=SIZE)


@pytest.mark.parametrize("strength", [1e-3, 1e-4])
def test_a_kink_seen_in_one_direction_is_not_yet_a_kink_at_the_point(strength):
    """A faint one close by looks like one at the point along some directions only, and f is smooth here."""

    def f(x):
        return float(np.sum(np.sin(x)) + strength * abs(NORMAL @ (x - POINT) - 5e-8))

    for seed in (0, 1, 6):
        report = gradproof.check(f, POINT, grad=np.cos(POINT) - strength * NORMAL, rng=seed)
        assert report.verdict is Verdict.CORRECT
        wrong = 1.01 * np.cos(POINT) - strength * NORMAL  # wrong on purpose
        assert gradproof.check(f, POINT, grad=wrong, rng=seed).verdict is Verdict.WRONG
