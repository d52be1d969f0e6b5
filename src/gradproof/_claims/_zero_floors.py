"""Up to where what a claim says is numerically zero, as far as f, its derivative and their rounding tell."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._claims._around import natural_sizes, reach
from gradproof._claims._cotangents import STREAM
from gradproof._claims._first_look import FirstLook
from gradproof._claims._task import Task
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem
from gradproof._prove import Direction, Directions

Vector = NDArray[np.float64]

# Points beside x that show whether f moves at all, and how far away.
TREADS, STEP = 4, 0.3


def output_floor(look: FirstLook, eps: float) -> Vector:
    """Up to where products, in natural sizes, are numerically zero, output by output (m,).

    Rounding of f counts where f, in the precision that it is measured in, does not show that the output moves. Of a
    derivative that has vanished itself it is the rounding of the function whose derivative it is.
    """
    rows, values = look.rows(), (look.at_point, look.primal.terms)
    still = rows <= _contracts.vanishing(look.eps, *values, roundings=_contracts.ROW_ROUNDINGS)
    beside = _contracts.vanishing(eps, rows)
    return np.where(still, max(beside, _contracts.vanishing(eps, *values)), beside)


def second_floor(task: Task, base: Primal | None, eps: float) -> float:
    """Up to where second derivatives in natural sizes are numerically zero, beside f and its gradient."""
    derived = task.primal
    gradient = derived.output_values() * natural_sizes(derived, tuple(range(len(derived.leaves))))
    if base is None:
        return _contracts.vanishing(eps, gradient)
    return max(_contracts.vanishing(eps, gradient, base.output_values()), _tread(base, task))


def _tread(base: Primal, task: Task) -> float:
    """What a scalar f moves by where it also keeps its bits, and infinity where it does nothing else; else 0.

    What is left where all terms of f have cancelled may be 0, of which no rounding can be told.
    """
    everything = tuple(range(len(base.leaves)))
    lower, upper = task.around.sides(base, everything)
    directions = Directions(base.leaves, base.point, np.zeros(len(base.point)), task.options.seed, lower, upper)
    problem = Problem(base, {i: np.zeros(leaf.size) for i, leaf in enumerate(base.leaves)})
    moves: list[float] = []
    for k in range(TREADS):
        v = directions.vector(Direction(STREAM + k, everything, (1.0,) * len(everything)))
        _, last = reach(problem.point, v, lower, upper)
        moves.append(abs(problem.evaluate(v, min(STEP, last)) - problem.evaluate(v, 0.0)))
    base.look_again()
    if 0.0 not in moves:
        return 0.0
    return max((move for move in moves if math.isfinite(move)), default=0.0) or math.inf
