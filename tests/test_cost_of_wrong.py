"""A wrong claim costs no more than its findings need: nothing is asked that is known, or that cannot tell any more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof._line import ShapeKind, shape_near
from gradproof._prove._directions import Direction
from gradproof._prove._walks import Walks

WEIGHTS = np.random.default_rng(3).normal(size=(6, 5))
LEFT, RIGHT = np.linspace(0.2, 0.7, 5), np.linspace(0.5, 1.0, 5)
ROWS = np.random.default_rng(5).normal(size=(40, 20)) / 5


class Beside:
    """Outputs of two arrays, whose digits are lost beside `offset`; the first array moves them by `size` only."""

    def __init__(self, offset: float, size: float, *, takes_complex: bool = False) -> None:
        self.offset, self.size, self.takes_complex = offset, size, takes_complex
        self.asked = 0

    def __call__(self, a: Any, b: Any) -> Any:
        self.asked += np.iscomplexobj(a) or np.iscomplexobj(b)
        if not self.takes_complex:
            a, b = np.array(a, dtype=float), np.array(b, dtype=float)
        return (np.tanh(WEIGHTS @ b) + self.size * (WEIGHTS @ np.sin(a)) + self.offset) - self.offset

    def check(self, *factors: float, seed: int) -> gradproof.Report:
        """Check its vjp, the derivatives by either array times a factor."""

        def vjp(u: Any, a: Any, b: Any) -> Any:
            by_right = WEIGHTS.T @ (u * (1 - np.tanh(WEIGHTS @ b) ** 2))
            return factors[0] * self.size * np.cos(a) * (WEIGHTS.T @ u), factors[1] * by_right

        return gradproof.check(self, (LEFT, RIGHT), vjp=vjp, wrt=(0, 1), rng=seed)


@pytest.mark.parametrize("seed", range(3))
def test_f_is_asked_for_complex_numbers_once_where_it_takes_none(seed):
    """It raises, or drops them, at every step: one refusal says that, for the arrays that were complex."""
    refuses, takes = Beside(1e4, 1e-7), Beside(1e4, 1e-7, takes_complex=True)
    assert refuses.check(1.0, 1.5, seed=seed).verdict is Verdict.WRONG  # wrong on purpose
    assert takes.check(1.0, 1.5, seed=seed).verdict is Verdict.WRONG  # wrong on purpose
    assert refuses.asked <= 2 < takes.asked


@pytest.mark.parametrize("seed", range(3))
def test_an_array_that_rounding_hides_takes_four_cotangents(seed):
    """Beside a wrong one: its bound cannot get narrow enough any more, however many more are proved."""
    report = Beside(1e4, 1e-7).check(1.0, 1.5, seed=seed)  # wrong on purpose
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.INCONCLUSIVE, Verdict.WRONG]
    assert report.cost.claims <= 9


@pytest.mark.parametrize("seed", range(3))
def test_an_array_that_more_cotangents_certify_gets_them(seed):
    """... and is named where it is wrong."""
    right = Beside(1e2, 1e-5).check(1.0, 1.5, seed=seed)  # wrong on purpose
    assert [leaf.verdict for leaf in right.leaves] == [Verdict.CORRECT, Verdict.WRONG]
    wrong = Beside(1e2, 1e-5).check(2.0, 1.5, seed=seed)  # wrong on purpose
    assert [leaf.verdict for leaf in wrong.leaves] == [Verdict.WRONG, Verdict.WRONG]


# ------------------------------------------------------------------------------------------------ second derivatives


def sharp(z: Any) -> float:
    return float(np.sum(np.exp(9 * ROWS @ z)))


def hess(z: Any) -> Any:
    return 81 * (ROWS.T * np.exp(9 * ROWS @ z)) @ ROWS


@pytest.mark.parametrize("seed", range(3))
def test_what_refutes_a_hessian_shows_the_steps_for_its_mistake(seed):
    """F curves on scales far below the coarsest step: where that is known, only steps that tell are taken."""
    z = np.random.default_rng(1).uniform(0.2, 1.0, 20)
    report = gradproof.check(sharp, z, hess=lambda z: hess(z) + 100 * np.eye(20), rng=seed)  # wrong on purpose
    assert report.findings[-1].kind == "has an extra 100 in each of these entries"
    assert report.cost.evaluations <= 200
    assert gradproof.check(sharp, z, hess=hess, rng=seed).verdict is Verdict.CORRECT


# -------------------------------------------------------------------------------------------------- walks to a jump


def stiff(a: Any, b: Any) -> float:
    return float(np.sum(np.tanh(4 * a + b.mean())) + np.sum(np.tanh(3 * b)))


def gradient(a: Any, b: Any) -> Any:
    by_left = 1 - np.tanh(4 * a + b.mean()) ** 2
    return 4 * by_left, by_left.sum() / b.size + 3 * (1 - np.tanh(3 * b) ** 2)


@pytest.mark.parametrize("seed", range(3))
def test_two_entries_show_that_f_has_no_jumps(seed):
    """All others that deviate as much are wrong without a walk of their own."""

    def claim(a: Any, b: Any) -> Any:
        by_left, by_right = gradient(a, b)
        return by_left + 5e-5, by_right  # wrong on purpose

    point = (np.linspace(-0.5, 0.7, 5), np.linspace(-0.3, 0.4, 5))
    report = gradproof.check(stiff, point, grad=claim, wrt=(0, 1), level="entries", rng=seed)
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.WRONG, Verdict.CORRECT]
    assert report.findings[0].place == "everywhere"
    assert report.cost.evaluations <= 400


def _walked(group: tuple[int, ...], entry: int, deviation: float, far: bool = True) -> Any:
    direction = Direction(stream=0, group=group, scales=(1.0,) * len(group), entry=entry)
    return direction, deviation, far


@pytest.mark.parametrize(
    ("walks", "line", "is_known"),
    [
        ([], _walked((0,), -1, 1e-5), False),
        ([_walked((0, 1), -1, 1e-5)], _walked((0,), -1, 1e-5), True),
        ([_walked((0, 1), -1, 1e-5)], _walked((0,), -1, 1e-6), False),  # a smaller jump would explain it
        ([_walked((0, 1), -1, 1e-5)], _walked((0, 2), -1, 1e-5), False),  # the other array may make f jump
        ([_walked((0, 1), -1, 1e-5, far=False)], _walked((0,), -1, 1e-5), False),
        ([_walked((0,), -1, 1e-5)], _walked((0,), 3, 1e-5), False),  # a direction moves an entry by little
        ([_walked((0,), 1, 1e-5)], _walked((0,), 3, 1e-5), False),
        ([_walked((0,), 1, 1e-5), _walked((0,), 2, 1e-5)], _walked((0,), 3, 1e-5), True),
        ([_walked((0,), 1, 1e-5), _walked((0,), 2, 1e-3)], _walked((0,), 3, 1e-5), False),
    ],
)
def test_what_a_walk_in_vain_says_of_other_lines(walks, line, is_known):
    """It covers deviations as large, along lines of its own arrays; one entry may be an accident, two are none."""
    assert Walks(walks).tell(line[0], line[1], far=line[2]) is is_known


@pytest.mark.parametrize(("phi", "kind"), [(math.sin, "SMOOTH"), (lambda t: math.floor(t * 1e9), "UNCLEAR")])
def test_without_a_walk_nine_points_still_tell(phi, kind):
    """A second slope is to be had of a smooth f, and of nothing else."""
    asking, count = shape_near(1e-5, phi(0.0), 1e-16, far=True, walks=False), 0
    steps = next(asking)
    try:
        while True:
            count += len(steps)
            steps = asking.send(np.array([float(phi(t)) for t in steps])[:, None])
    except StopIteration as stop:
        shape = stop.value
    assert shape.kind is ShapeKind[kind]
    assert kind == "UNCLEAR" or (abs(shape.slope - 1) < 1e-8 and count <= 9)


# ------------------------------------------------------------------------------------------------- kinks at the point


@pytest.mark.parametrize("seed", range(3))
def test_two_mixtures_of_outputs_share_the_points_where_a_kink_would_show(seed):
    """A wrong claim is looked at beside kinks along two mixtures of all outputs, whose values come together."""
    seen: list[bytes] = []

    def f(x: Any) -> Any:
        seen.append(x.tobytes())
        return np.tanh(WEIGHTS @ x)

    def vjp(u: Any, x: Any) -> Any:
        return 1.5 * (WEIGHTS.T @ (u * (1 - np.tanh(WEIGHTS @ x) ** 2)))  # wrong on purpose

    assert gradproof.check(f, (LEFT,), vjp=vjp, rng=seed).verdict is Verdict.WRONG
    beside = [one for one in seen if one != LEFT.tobytes()]
    assert len(beside) == len({*beside})


def test_a_claim_between_the_slopes_of_a_kink_is_still_no_error():
    """Both mixtures of outputs must show it."""
    x = np.zeros(5)
    report = gradproof.check(lambda x: WEIGHTS @ np.abs(x), (x,), vjp=lambda u, x: 0.3 * (WEIGHTS.T @ u), rng=0)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    report = gradproof.check(lambda x: WEIGHTS @ np.abs(x), (x,), vjp=lambda u, x: 1.5 * (WEIGHTS.T @ u), rng=0)
    assert report.verdict is Verdict.WRONG  # wrong on purpose
