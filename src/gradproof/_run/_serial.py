"""Answer the questions of a proof one after the other in this thread."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from gradproof._problem import Problem
from gradproof._prove import Directions, Outcome, Question


def answer(
    proof: Generator[Question, NDArray[np.float64], Outcome], problem: Problem, directions: Directions
) -> Outcome:
    """Evaluate f wherever the proof asks for it, until it returns.

    Raises
    ------
    FunctionError
        If f cannot be evaluated; whatever else f raises that is no Exception passes through.
    """
    try:
        question = next(proof)
        while True:
            v = directions.vector(question.direction)
            question = proof.send(np.array([problem.evaluate(v, step) for step in question.steps.tolist()]))
    except StopIteration as finished:
        return finished.value
