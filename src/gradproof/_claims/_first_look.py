"""A first look at f beside the point: how large the rows of f' are, and what rounding hides of them."""

from __future__ import annotations

import functools as ft
import math

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._base._leaf import relaid
from gradproof._base._precision import EPS32, is_double
from gradproof._claims._around import Around, natural_sizes, reach
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import ALONE, STREAM, rounding
from gradproof._contracts import row_floor, vanished
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem, Samples, coarsest_eps
from gradproof._prove import Direction, Directions
from gradproof._prove._flat import STEPS
from gradproof._prove._tolerance import steadied, unsaturated

Vector = NDArray[np.float64]

# How much nearer points are where what is smooth moves by a 64th, or by the square of that; what moves by more than an
# eighth jitters. (Sums of four moves of jitter differ by a factor of 8 in 6 of 10,000, single ones in 7 of 100: a
# million draws.)
FINER, LIKE = 64, 8
# A claim for an output that stands still may be rounding up to this share of the largest row.
VISIBLE = 1e-9


def sizes_and_sides(primal: Primal, measured: tuple[int, ...], around: Around) -> tuple[Vector, NDArray[np.int8]]:
    """How far each entry may move within the domain, signed where one side only lies in it: that side, else 0."""
    if around.bounds is None or not measured:
        size = natural_sizes(primal, measured)
        return size, np.zeros(len(size), dtype=np.int8)
    lower, upper = around.sides(primal, measured)
    chosen = [primal.leaves[i] for i in measured]
    leaves = relaid(chosen)
    point = np.concatenate([primal.point[leaf.start : leaf.stop] for leaf in chosen])
    directions = Directions(leaves, point, np.zeros(len(point)), 0, lower, upper)
    return directions.natural * np.where(directions.inward < 0, -1.0, 1.0), directions.inward


class FirstLook:
    """A first look at f beside the point: how much each output moves, and in what precision.

    Two random directions, a pair of steps along each; one evaluation where the claim's rows say how much.
    """

    def __init__(
        self,
        primal: Primal,
        measured: tuple[int, ...],
        seed: int,
        *,
        around: Around,
        eps: float | None = None,
    ) -> None:
        self.primal = primal
        self.measured = measured
        self.samples = Samples()
        self.at_point = primal.output_values()
        self.declared = max(coarsest_eps([primal.leaves[i] for i in measured]), primal.outputs.eps, eps or 0.0)
        self._seed = seed
        self._around = around

    @ft.cached_property
    def eps(self) -> float:
        """Relative precision of f: as declared, or float32 behind a float64 interface."""
        if is_double(self.declared) and self.primal.outputs.size > ALONE:
            values = self._values(0, self.step)
            if _looks_float32(values):
                return EPS32
        return self.declared

    @property
    def step(self) -> float:
        return 0.03 if is_double(self.declared) else min(10 * self.declared**0.5, 0.3)

    @ft.cached_property
    def _problem(self) -> Problem:
        zeros = {i: np.zeros(self.primal.leaves[i].size) for i in self.measured}
        return Problem(self.primal, zeros, samples=self.samples)

    @ft.cached_property
    def _directions(self) -> Directions:
        lower, upper = self._around.sides(self.primal, self.measured)
        problem = self._problem
        return Directions(problem.leaves, problem.point, problem.claim, self._seed, lower, upper)

    def _values(self, k: int, step: float) -> Vector:
        """Values beside the point, or at it where the domain ends before; nan where no evaluation is left."""
        v = self._vector(k)
        first, last = reach(self._problem.point, v, self._directions.lower, self._directions.upper)
        if not first <= step <= last:
            return self.at_point
        try:
            return self._problem.outputs(v, step)[0]
        except BudgetSpent:
            return np.full(len(self.at_point), math.nan)

    def _vector(self, k: int) -> Vector:
        group = tuple(range(len(self._problem.leaves)))
        return self._directions.vector(Direction(STREAM + k, group, (1.0,) * len(group))) / math.sqrt(
            max(1, len(self._problem.point))
        )

    @ft.cached_property
    def _rows(self) -> Vector:
        squares: list[Vector] = []
        for k in range(2):
            plus, minus = self._values(k, self.step), self._values(k, -self.step)
            squares.append(((plus - minus) / (2 * self.step)) ** 2 * self._directions.size)
        mean = np.mean(squares, axis=0)
        return np.sqrt(np.where(np.isfinite(mean), mean, 0.0))

    def rows(self) -> Vector:
        """Norm of each row of f' in natural sizes, roughly."""
        return self._rows

    def jitter(self) -> Vector:
        """How large rows may look, in natural sizes, of outputs that do nothing but jitter (m,); 0 for others.

        As where all terms have cancelled: over a step that is much smaller they move as far.
        """
        far, near = (
            np.sum([np.abs(self._values(k, side * step) - self.at_point) for k in range(2) for side in (1, -1)], axis=0)
            for step in (self.step, self.step / FINER)
        )
        jitter = np.where(near <= far / LIKE, 0.0, np.maximum(near, far))
        most = float(np.max(jitter, where=np.isfinite(jitter), initial=0.0))
        # (One that moves by no more may have stood still nearby by chance.)
        return np.where(far <= most, most, 0.0) / self.step

    def moves(self, i: int) -> float:
        """By how much an output changes while the inputs move by up to their natural sizes; inf where nobody can tell.

        The steps are those at which a leaf that claims to be flat must leave f as it is.
        """
        steps = [side * step * math.sqrt(self._directions.size) for step in STEPS for side in (1, -1)]
        moved = np.abs([self._values(0, step)[i] - self.at_point[i] for step in steps])
        return float(np.max(np.where(np.isfinite(moved), moved, np.inf)))


def _looks_float32(values: Vector) -> bool:
    """Whether a float64 interface hides float32 values."""
    nonzero = values[np.isfinite(values) & (values != 0)]
    if len(np.unique(nonzero)) < 4 or np.abs(nonzero).max() > 1e30:
        return False
    return bool((nonzero == nonzero.astype(np.float32)).all()) and bool((nonzero != np.round(nonzero)).any())


class RowNorms:
    """What deviations of each row of f' are relative to, and what rounding may do to it.

    Parameters
    ----------
    claimed : Claimed
    look : FirstLook
    size : (n,) ndarray
        How far each measured entry may move.
    claim_eps : float
        Relative precision of the claim.
    terms : (m,) ndarray, optional
        Sizes of the terms that f rounds on the way to each output, where these are more than it shows.

    Attributes
    ----------
    values : (m,) ndarray
        What f is rounded at in each output.
    """

    def __init__(
        self, claimed: Claimed, look: FirstLook, size: Vector, claim_eps: float, terms: Vector | None = None
    ) -> None:
        self._claimed, self._look, self._size, self._claim_eps = claimed, look, size, claim_eps
        self.values = look.at_point
        if terms is not None:
            own = np.abs(look.at_point)
            # (What takes few values, as a step function does, lies on a lattice that no terms have made.)
            self.values = np.maximum(own, np.minimum(terms, own.max(initial=0.0)))

    @property
    def _eps(self) -> float:
        return max(self._look.eps, self._claim_eps)

    def own(self) -> Vector:
        """Norm of each row of f' in natural sizes: as claimed, or as measured."""
        matrix = self._claimed.matrix
        return self._look.rows() if matrix is None else np.linalg.norm(matrix * self._size, axis=1)

    def steadied(self) -> Vector:
        """The same, or more where rounding hides a row that small."""
        return unsaturated(steadied(self.own(), self._eps), self.values)

    def lost(self, u: Vector) -> float:
        """What the claim's own precision may do to the slope of <u, f>."""
        if is_double(self._eps):
            return 0.0
        return float(np.linalg.norm(u * rounding(self.steadied(), self._eps, self._look.at_point)))

    def vanishes(self, i: int) -> bool:
        """Whether an output is numerically zero beside the others, as claimed: there is nothing to prove."""
        rows = self.own()
        if not is_double(self._look.eps) or not vanished(rows)[i] or not rows.any():
            return False
        floor = row_floor(rows)
        claimed = float(np.linalg.norm(self._claimed.pull(np.eye(1, len(rows), i)[0]) * self._size))
        return claimed <= floor and self._look.moves(i) <= floor

    def shows(self, u: Vector, samples: Samples) -> bool:
        """Whether the claim for an output is more than rounding may leave of 0 or hide, as the other outputs tell."""
        claimed = float(np.linalg.norm(self._claimed.pull(np.sign(u)) * self._size))
        return claimed > VISIBLE * float(self.steadied().max()) and samples.show(claimed)
