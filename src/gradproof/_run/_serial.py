"""Answer the questions of a proof one after the other in this thread."""

from __future__ import annotations

import functools as ft
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._base._leaf import Leaf
from gradproof._function._problem import Problem
from gradproof._prove import Directions, Question
from gradproof._run._batched import Beside, along, outputs

Result = TypeVar("Result")


class Witness(Protocol):
    """What answers questions about anything but f itself."""

    def evaluate(self, v: NDArray[np.float64], step: float) -> float:
        """Return one value at (or around) x + step v."""
        ...


def answer(
    proof: Generator[Question, NDArray[np.float64], Result],
    problem: Problem,
    directions: Directions,
    witnesses: Mapping[str, Witness] | None = None,
) -> Result:
    """Evaluate f wherever the proof asks for it, until it returns; nan outside the domain, where f is never called.

    Where no evaluation is left, BudgetSpent is raised within the proof.

    Raises
    ------
    FunctionError
        If f cannot be evaluated; whatever else f raises that is no Exception passes through.
    """
    watch = problem.primal.watch
    try:
        question = next(proof)
        while True:
            watch.ask(question.phase, ft.partial(_place, problem.leaves, question))
            if question.entries:
                watch.measure(len(question.entries), of=len(problem.point), each=len(question.steps))
            try:
                values = _values(problem, directions, question, witnesses or {})
            except BudgetSpent as spent:
                question = proof.throw(spent)
            else:
                question = proof.send(values)
    except StopIteration as finished:
        return finished.value
    finally:
        watch.answered()


def _values(
    problem: Problem, directions: Directions, question: Question, witnesses: Mapping[str, Witness]
) -> NDArray[np.float64]:
    if question.entries:
        return _entries(problem, directions, question)
    v = directions.vector(question.direction)
    first, last = directions.reach(question.direction)
    steps = question.steps
    inside = np.full(len(steps), True) if question.of == "complex" else (first <= steps) & (steps <= last)
    values = np.full(len(steps), math.nan)
    if question.of == "f":
        values[inside] = [problem.combined(*found) for found in along(problem, v, steps[inside].tolist())]
    else:
        evaluate = witnesses[question.of].evaluate
        values[inside] = problem.primal.each([ft.partial(evaluate, v, step) for step in steps[inside].tolist()])
    return values


def _entries(problem: Problem, directions: Directions, question: Question) -> NDArray[np.float64]:
    """Values with one entry after the other moved by itself, at all steps; nan where it can move one way only."""
    entries = np.array(question.entries, dtype=np.intp)
    sizes = np.array([directions.entry_size(entry) for entry in question.entries])
    if question.reaches:
        sizes *= question.reaches
    free = np.flatnonzero(directions.inward[entries] == 0)
    values = np.full((len(entries), len(question.steps)), math.nan)
    moves = sizes[free, None] * question.steps
    points = Beside(np.repeat(entries[free], len(question.steps)), moves.reshape(-1))
    found, beside = outputs(problem, points)
    combined = [problem.combined(row, [(part, rows[k]) for part, rows in beside]) for k, row in enumerate(found)]
    values[free] = np.reshape(combined, (len(free), len(question.steps)))
    return values.reshape(-1)


def _place(leaves: Sequence[Leaf], question: Question) -> str:
    """The arrays that a question is about, or its entry."""
    group, entry = question.direction.group, question.direction.entry
    if len(group) != 1:
        some = "all" if len(group) == len(leaves) else f"{len(group):,} of"
        return f"{some} {len(leaves):,} arrays"
    leaf = leaves[group[0]]
    if entry < 0 or question.entries or not leaf.shape:
        return leaf.path
    index = np.unravel_index(entry - leaf.start, leaf.shape)
    return f"{leaf.path}[{', '.join(map(str, index))}]"
