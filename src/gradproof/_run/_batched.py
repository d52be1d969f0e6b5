"""Evaluate f at many points in one call: in pieces that memory allows, and one by one where that cannot be done."""

from __future__ import annotations

import functools as ft
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import is_from_handler, is_out_of_memory
from gradproof._base._errors import FunctionError
from gradproof._base._pieces import is_large
from gradproof._function._primal import Together, raised
from gradproof._function._problem import Moved, MovedRows, Points, Problem

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Bytes for what one call gets and returns, what f holds in between among it: as often as that, as a rule.
BUDGET, BETWEEN = 1 << 26, 4
# Points from which on one call is taken to cost less than one for each.
LEAST = 32
# Points that are evaluated one by one before their values are put together.
MOST_ALONE = 64
# Values at one point may differ by this many machine epsilons of the largest: sums are taken in another order.
ROUNDINGS = 128
# Where the user says that f takes many points: by so much of the values, and of their change between two points.
SHARE, SHARE_OF_CHANGE = 1e-7, 1e-3


class Along:
    """``x + t v`` for some steps t."""

    def __init__(self, v: Vector, steps: Vector) -> None:
        self._v, self._steps = v, steps

    def __len__(self) -> int:
        return len(self._steps)

    def rows(self, x: Vector, part: slice, own: slice) -> Matrix | None:
        """The entries `own` of some points (k, size); None where all of them leave these entries as they are."""
        v = self._v[own]
        if not v.any():
            return None
        rows = self._steps[part, None] * v
        rows += x[own]
        return rows

    def one(self, x: Vector, k: int) -> Vector:
        """A point by itself (n,)."""
        point = self._v * self._steps[k]
        point += x
        return point


class Beside:
    """x with one entry moved: entries and by how much, (k,) each."""

    def __init__(self, entries: NDArray[np.intp], moves: Vector) -> None:
        self._entries, self._moves = entries, moves

    def __len__(self) -> int:
        return len(self._entries)

    def rows(self, x: Vector, part: slice, own: slice) -> Matrix | None:
        """The entries `own` of some points (k, size); None where all of them leave these entries as they are."""
        entries = self._entries[part]
        here = np.flatnonzero((own.start <= entries) & (entries < own.stop))
        if not here.size:
            return None
        rows = np.repeat(x[None, own], len(entries), axis=0)
        rows[here, entries[here] - own.start] += self._moves[part][here]
        return rows

    def one(self, x: Vector, k: int) -> Vector:
        """A point by itself (n,)."""
        point = x.copy()
        point[self._entries[k]] += self._moves[k]
        return point


def pays(problem: Problem, count: int) -> bool:
    """Whether so many points are better evaluated at once, as far as f can be."""
    together = problem.primal.together
    if together is None or is_large(problem.point):
        return False
    return count >= (2 if together.is_promised else LEAST) and _room(problem, together) > 1


def along(problem: Problem, v: Vector, steps: Sequence[float]) -> Iterator[tuple[Vector, Moved]]:
    """What ``problem.outputs(v, step)`` says of each step."""
    if not pays(problem, len(steps)):
        problem.primal.require(len(steps))
        yield from problem.primal.each([ft.partial(problem.outputs, v, step) for step in steps])
        return
    known = [problem.found(v, step) for step in steps]
    open_ = [k for k, one in enumerate(known) if one is None]
    values, beside = outputs(problem, Along(v, np.array([steps[k] for k in open_])))
    for i, k in enumerate(open_):
        known[k] = one = values[i], tuple((part, rows[i]) for part, rows in beside)
        problem.keep(v, steps[k], one)
    yield from (one for one in known if one is not None)


def outputs(problem: Problem, points: Points) -> tuple[Matrix, MovedRows]:
    """Evaluate f at all points: its values (k, m), and how far which leaves landed beside these.

    Raises
    ------
    FunctionError
        If memory does not suffice for one point, or the user's f does not take many points as promised.
    BudgetSpent
        If fewer evaluations are left.
    """
    values: list[Matrix] = []
    beside: list[MovedRows] = []
    start, count = 0, len(points)
    problem.primal.require(count)
    while start < count:
        together = problem.primal.together
        size = min(MOST_ALONE if together is None else _room(problem, together), count - start)
        part = slice(start, start + size)
        found = _at_once(problem, points, part) if pays(problem, size) else _one_by_one(problem, points, part)
        if found is None:
            continue  # in smaller pieces, or one by one
        values.append(found[0])
        beside.append(found[1])
        start += size
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


def _one_by_one(problem: Problem, points: Points, part: slice) -> tuple[Matrix, MovedRows]:

    def visit(k: int) -> tuple[Vector, Moved]:
        return problem.visit(points.one(problem.point, k))

    found = problem.primal.each([ft.partial(visit, k) for k in range(part.start, part.stop)])
    beside = zip(*(moved for _, moved in found), strict=True)
    return np.array([values for values, _ in found]), tuple(
        (pieces[0][0], np.array([piece for _, piece in pieces])) for pieces in beside
    )


def _at_once(problem: Problem, points: Points, part: slice) -> tuple[Matrix, MovedRows] | None:
    """Evaluate some points in one call; None where that has to be tried again, in smaller pieces or one by one."""
    together = problem.primal.together
    assert together is not None
    try:
        found = problem.visit_many(points, part)
    except FunctionError:
        if together.is_promised:
            raise
        found = None
    except Exception as error:
        if is_from_handler(error):
            raise
        if not is_out_of_memory(error):
            alone = _one_by_one(problem, points, part)
            if np.isfinite(alone[0]).all():
                # No point by itself is to blame.
                if together.is_promised:
                    raise _refusal(problem, part, error) from error
                problem.primal.together = None
            return alone
        together.most = (part.stop - part.start) // 2
        if together.most < 2:
            problem.primal.together = None
        return None
    if found is None:
        problem.primal.together = None
        return None
    values, beside, moving = found
    if moving not in together.proven:
        ends = part.start, part.stop - 1
        alone = np.array([problem.visit(points.one(problem.point, k))[0] for k in ends])
        together.proven.add(moving)
        if not _agrees(problem, together, alone, values[[0, -1]]):
            problem.primal.together = None
            return None
    return values, beside


def _refusal(problem: Problem, part: slice, error: Exception) -> FunctionError:
    return FunctionError(raised(f"`{problem.primal.short_name}`", error, f"at {part.stop - part.start} points at once"))


def _agrees(problem: Problem, together: Together, alone: Matrix, seen: Matrix) -> bool:
    """Whether two points give among others what they give by themselves, (2, m) each.

    Raises
    ------
    FunctionError
        If they do not, although the user says so.
    """
    primal = problem.primal
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
            f"{alone[row, column]:.9g} by itself and {seen[row, column]:.9g} among others. Each must be "
            "computed from its own row of the leading axis alone: look for a sum or mean over all axes, or for a "
            "broadcast against the leading axis."
        )
    return True
