"""Random lines through the point along which f, or a gradient, is looked at before anything is proved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradproof._claims._around import Around, reach
from gradproof._claims._cotangents import STREAM
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem
from gradproof._prove import Direction, Directions

Vector = NDArray[np.float64]


def random_lines(
    primal: Primal, around: Around, seed: int, count: int
) -> Iterator[tuple[Problem, Vector, float, float]]:
    """Yield f, a direction (n,) through all entries in natural sizes, and the first and last step within the domain."""
    everything = tuple(range(len(primal.leaves)))
    lower, upper = around.sides(primal, everything)
    directions = Directions(primal.leaves, primal.point, np.zeros(len(primal.point)), seed, lower, upper)
    problem = Problem(primal, {i: np.zeros(leaf.size) for i, leaf in enumerate(primal.leaves)})
    for k in range(count):
        v = directions.vector(Direction(STREAM + k, everything, (1.0,) * len(everything))).copy()
        yield problem, v, *reach(problem.point, v, lower, upper)
