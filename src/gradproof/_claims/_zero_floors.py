"""Up to where what a claim says is numerically zero, as far as f, its derivative and their rounding tell."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._base._away import BudgetSpent
from gradproof._claims._around import natural_sizes
from gradproof._claims._first_look import FINER, LIKE, FirstLook
from gradproof._claims._random_lines import random_lines
from gradproof._claims._task import Task
from gradproof._function._primal import Primal

Vector = NDArray[np.float64]

# Points beside x that show whether f moves at all, and how far away, in natural sizes.
TREADS, STEP = 4, 0.3


def output_floor(look: FirstLook, eps: float) -> Vector:
    """Up to where products, in natural sizes, are numerically zero, output by output (m,).

    Rounding of f counts where f, in the precision that it is measured in, does not show that the output moves. Of a
    derivative that has vanished itself it is the rounding of the function whose derivative it is. Where all terms of an
    output have cancelled, its jitter is the only trace of their size.
    """
    rows, values = look.rows(), (look.at_point, look.primal.terms)
    still = rows <= _contracts.vanishing(look.eps, *values, roundings=_contracts.ROW_ROUNDINGS)
    beside = _contracts.vanishing(eps, rows)
    return np.maximum(np.where(still, max(beside, _contracts.vanishing(eps, *values)), beside), look.jitter())


def second_floor(task: Task, base: Primal | None, eps: float) -> float:
    """Up to where second derivatives in natural sizes are numerically zero, beside f and its gradient."""
    derived = task.primal
    gradient = derived.output_values() * natural_sizes(derived, tuple(range(len(derived.leaves))))
    if base is None:
        return _contracts.vanishing(eps, gradient)
    try:
        jitter = _jitter(base, task)
    except BudgetSpent:
        jitter = 0.0  # nobody knows
    return max(_contracts.vanishing(eps, gradient, base.output_values()), jitter)


def _jitter(base: Primal, task: Task) -> float:
    """What second derivatives may be of a scalar f that does nothing but jitter; infinity if it stands still; else 0.

    What is left where all terms of f have cancelled may be 0, or as small as the rounding of nothing, of which no
    rounding can be told. It moves as far over a small step as over a large one, or not at all.
    """
    far: list[float] = []
    near: list[float] = []
    for problem, v, _, last in random_lines(base, task.around, task.options.seed, TREADS):
        at_point = problem.evaluate(v, 0.0)
        for moves, step in ((far, STEP), (near, STEP / FINER)):
            moves.append(abs(problem.evaluate(v, min(step, last)) - at_point))
    base.look_again()
    most = max((move for move in (*far, *near) if math.isfinite(move)), default=0.0)
    if 0.0 not in far and not sum(near) > sum(far) / LIKE:
        return 0.0
    return 4.0 * most / STEP**2 or math.inf
