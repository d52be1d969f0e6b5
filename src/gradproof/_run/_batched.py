"""Evaluate f at many points in one call: in pieces that memory allows, and one by one where that cannot be done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradproof._errors import FunctionError
from gradproof._pieces import is_large
from gradproof._primal import Together, raised
from gradproof._problem import Moved, MovedRows, Problem

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Bytes for what one call gets and returns, what f holds in between among it: as often as that, as a rule.
BUDGET, BETWEEN = 1 << 26, 4
# Points from which on one call is taken to cost less than one for each.
LEAST = 32
# Values at one point may differ by this many half-ulps of the largest: sums are taken in another order.
ROUNDINGS = 128
# Where the user says that f takes many points: by so much of the values, and of their change between two points.
SHARE, SHARE_OF_CHANGE = 1e-7, 1e-3

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate|cannot allocate|RESOURCE_EXHAUSTED", re.IGNORECASE)


class Points(Protocol):
    """Points beside x, made as they are needed."""

    def __len__(self) -> int: ...

    def made(self, x: Vector, part: slice) -> Matrix:
        """Some of them (k, n)."""
        ...


class Along:
    """``x + t v`` for some steps t."""

    def __init__(self, v: Vector, steps: Vector) -> None:
        self._v, self._steps = v, steps

    def __len__(self) -> int:
        return len(self._steps)

    def made(self, x: Vector, part: slice) -> Matrix:
        """Some of them (k, n)."""
        points = self._steps[part, None] * self._v
        points += x
        return points


class Beside:
    """x with one entry moved: entries and by how much, (k,) each."""

    def __init__(self, entries: NDArray[np.intp], moves: Vector) -> None:
        self._entries, self._moves = entries, moves

    def __len__(self) -> int:
        return len(self._entries)

    def made(self, x: Vector, part: slice) -> Matrix:
        """Some of them (k, n)."""
        entries, moves = self._entries[part], self._moves[part]
        points = np.repeat(x[None], len(entries), axis=0)
        points[np.arange(len(entries)), entries] += moves
        return points


def pays(problem: Problem, count: int) -> bool:
    """Whether so many points are better evaluated at once, as far as f can be."""
    together = problem.primal.together
    if together is None or is_large(problem.point):
        return False
    return count >= (2 if together.is_promised else LEAST) and _room(problem, together) > 1


def along(problem: Problem, v: Vector, steps: Sequence[float]) -> Iterator[tuple[Vector, Moved]]:
    """What ``problem.outputs(v, step)`` says of each step."""
    if not pays(problem, len(steps)):
        for step in steps:
            yield problem.outputs(v, step)
        return
    known = [problem.found(v, step) for step in steps]
    open_ = [k for k, found in enumerate(known) if found is None]
    values, beside = outputs(problem, Along(v, np.array([steps[k] for k in open_])))
    for i, k in enumerate(open_):
        known[k] = found = values[i], tuple((part, rows[i]) for part, rows in beside)
        problem.keep(v, steps[k], found)
    yield from (found for found in known if found is not None)


def outputs(problem: Problem, points: Points) -> tuple[Matrix, MovedRows]:
    """Evaluate f at all points: its values (k, m), and how far which leaves landed beside these.

    Raises
    ------
    FunctionError
        If f raises anything but ValueError or ArithmeticError, or the user's f does not take many points as promised.
    """
    values: list[Matrix] = []
    beside: list[MovedRows] = []
    start, count = 0, len(points)
    while start < count:
        together = problem.primal.together
        room = 64 if together is None else _room(problem, together)
        block = points.made(problem.point, slice(start, min(start + room, count)))
        found = _at_once(problem, block) if pays(problem, len(block)) else _one_by_one(problem, block)
        if found is None:
            continue  # in smaller pieces, or one by one
        values.append(found[0])
        beside.append(found[1])
        start += len(block)
    if len(values) == 1:
        return values[0], beside[0]
    m = problem.primal.outputs.size if problem.primal.is_vector else 1
    return np.concatenate([np.empty((0, m)), *values]), tuple(
        (parts[0][0], np.concatenate([rows for _, rows in parts])) for parts in zip(*beside, strict=True)
    )


def _room(problem: Problem, together: Together) -> int:
    """How many points one call may take."""
    outputs = problem.primal.outputs.size if problem.primal.is_vector else 1
    width = len(problem.point) + outputs
    return max(1, min(together.most, BUDGET // (8 * BETWEEN * width)))


def _one_by_one(problem: Problem, block: Matrix) -> tuple[Matrix, MovedRows]:
    found = [problem.visit(point) for point in block]
    beside = zip(*(moved for _, moved in found), strict=True)
    return np.array([values for values, _ in found]), tuple(
        (parts[0][0], np.array([piece for _, piece in parts])) for parts in beside
    )


def _at_once(problem: Problem, block: Matrix) -> tuple[Matrix, MovedRows] | None:
    """Evaluate a block in one call; None where it has to be tried again, in smaller pieces or one by one."""
    together = problem.primal.together
    assert together is not None
    proving = not together.is_proven
    asked = np.concatenate([problem.point[None], block]) if proving else block
    try:
        found = problem.visit_many(asked)
    except (ValueError, ArithmeticError) as error:
        if isinstance(error, FunctionError):
            raise
        return _one_by_one(problem, block)
    except Exception as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"):
            raise FunctionError(raised(problem.primal.short_name, error, f"at {len(asked)} points at once")) from error
        together.most = len(block) // 2
        if together.most < 2:
            problem.primal.together = None
        return None
    if found is not None and proving:
        trusted = _agrees(problem, together, found[0], block[-1])
        together.is_proven = True
        found = (found[0][1:], tuple((part, rows[1:]) for part, rows in found[1])) if trusted else None
    if found is None:
        problem.primal.together = None
    return found


def _agrees(problem: Problem, together: Together, values: Matrix, last: Vector) -> bool:
    """Whether the first and the last point give what they give by themselves.

    Raises
    ------
    FunctionError
        If they do not, although the user says so.
    """
    primal = problem.primal
    alone = np.array([primal.output_values(), problem.visit(last.copy())[0]])
    seen = values[[0, -1]]
    size = np.maximum(np.nanmax(np.abs(alone), initial=0.0), np.nanmax(np.abs(seen), initial=0.0))
    eps = primal.outputs.eps if primal.is_vector else problem.eps
    with np.errstate(invalid="ignore"):
        off = np.abs(seen - alone)
        both_nan = np.isnan(seen) & np.isnan(alone)
        if not together.is_promised:
            return bool((both_nan | (off <= ROUNDINGS * eps * size)).all())
        change = np.abs(alone[1] - alone[0])
        allowed = max(SHARE, 1e3 * eps) * np.abs(alone) + SHARE_OF_CHANGE * np.nan_to_num(change)
        odd = ~(both_nan | (off <= allowed))
    if odd.any():
        row, column = (int(k) for k in np.argwhere(odd)[0])
        place = f"`{primal.outputs.path_of(column)}` of " if primal.is_vector and primal.outputs.size > 1 else ""
        raise FunctionError(
            f"`{primal.short_name}` does not take many points at once as `vectorized=True` says: {place}one point is "
            f"{alone[row, column]:.9g} by itself and {seen[row, column]:.9g} among {len(values)} points. Each must be "
            "computed from its own row of the leading axis alone: look for a sum or mean over all axes, or for a "
            "broadcast against the leading axis."
        )
    return True
