"""`jvp`: products with tangents."""

from __future__ import annotations

import dataclasses
import functools as ft
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._base._away import OutsideError
from gradproof._base._leaf import Leaf
from gradproof._claims._around import Around, natural_sizes
from gradproof._claims._claimed import COLUMNS, Claimed, random_tangents
from gradproof._claims._cotangents import rounding
from gradproof._claims._finish import despite_cancelled, excuse_at_kinks, find_aliases, finish
from gradproof._claims._first_look import FirstLook, sizes_and_sides
from gradproof._claims._gradient import undefined
from gradproof._claims._proved import Proved
from gradproof._claims._reading import ask_jvp, push, pushed
from gradproof._claims._task import Task
from gradproof._claims._wording import write_breach
from gradproof._claims._zero_floors import output_floor
from gradproof._function._primal import Primal, Together
from gradproof._prove._laws import shared, spread
from gradproof._prove._tolerance import steadied
from gradproof._reference import complex_leaves, double_leaves

Vector = NDArray[np.float64]
Function = Callable[..., Any]

# Tangents that a jvp is asked for where it cannot be asked for all: per leaf, and over all leaves.
TANGENTS, ALL_TANGENTS, LEAST_TANGENTS = 16, 64, 6


def prove_jvp(task: Task, jvp: Function) -> Proved:
    """Prove or refute a jvp: by all unit tangents, or by some random ones for each leaf."""
    primal = task.primal
    if not np.isfinite(primal.output_values()).all():
        return undefined(primal, task.options, findings=find_aliases(primal), keyword="jvp")
    n = len(primal.point)
    everything = tuple(i for i, leaf in enumerate(primal.leaves) if leaf.size)
    look = FirstLook(primal, everything, task.options.seed, around=task.around)
    size, inward = sizes_and_sides(primal, tuple(range(len(primal.leaves))), task.around)
    wider: dict[int, float] = {}
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((task.options.seed, 3))))
    draws = generator.standard_normal((TANGENTS, n))
    if n <= COLUMNS or task.options.level == "entries":
        claimed = ask_jvp(primal, jvp, np.eye(n), repeats=task.repeats("jvp"))
        tangents = np.eye(n)
    else:
        per_leaf = min(TANGENTS, max(LEAST_TANGENTS, ALL_TANGENTS // len(everything)))
        tangents, counts = random_tangents(primal.leaves, size, np.where(inward, np.abs(draws), draws), per_leaf)
        reduced, around = _along_tangents(primal, tangents, counts, task.around, inward)
        claimed = ask_jvp(primal, jvp, tangents, reduced=reduced, repeats=task.repeats("jvp"))
        half = shared(task.options.confidence, 2)
        options = dataclasses.replace(task.options, confidence=half)
        task = dataclasses.replace(task, options=options, around=around)
        wider = {
            i: spread(count, leaf.size, half, folded=bool(inward[leaf.start : leaf.stop].any()))
            for i, (leaf, count) in enumerate(zip(primal.leaves, counts, strict=True))
            if leaf.size > count
        }
        look = FirstLook(reduced, everything, task.options.seed, around=around, eps=look.eps)
    if claimed.matrix is not None:
        _check_linear_tangent(task, claimed, jvp, tangents, look)
    proved = finish(task, claimed, look, wider=wider)
    if claimed.matrix is not None:
        again = ft.partial(finish, task, look=None, wider=wider)
        moved = None
        if claimed.reduced:
            sizes = np.where(tangents != 0, natural_sizes(primal, tuple(range(len(primal.leaves))))[:, None], 0.0)
            moved = sizes.max(axis=0)
        proved = despite_cancelled(task, claimed, proved, again=again, leaf_sizes=moved)
        columns = [np.ascontiguousarray(column) for column in tangents.T]

        def elsewhere(u: Vector, *args: Any) -> Vector | None:
            there = primal.make(primal.point + tangents @ np.concatenate(args)) if claimed.reduced else None
            claimed.calls += len(columns) - 1
            found = pushed(primal, jvp, columns, *(args if there is None else primal.arguments(there)))
            return None if found is None else u @ found

        proved = excuse_at_kinks(task, claimed, proved, elsewhere)
    if not claimed.reduced:
        return proved
    return dataclasses.replace(
        proved,
        leaves=tuple(
            dataclasses.replace(
                result,
                path=leaf.path,
                shape=leaf.shape,
                dtype=leaf.dtype,
                # (Of the entries of x, not of the weights of tangents.)
                noticeable=None
                if result.noticeable is None
                else result.noticeable * math.sqrt(leaf.size / math.prod(result.shape)),
            )
            for result, leaf in zip(proved.leaves, primal.leaves, strict=True)
        ),
    )


def _check_linear_tangent(task: Task, claimed: Claimed, jvp: Function, tangents: Vector, look: FirstLook) -> None:
    """Jvp of a sum of tangents against the sum of the answers."""
    matrix = claimed.matrix
    assert matrix is not None
    k = np.arange(tangents.shape[1], dtype=np.float64)
    # (Of opposite signs, so that the sum that is asked for holds a negative multiple of every tangent: abs or relu of
    # one is linear for others.)
    one, other = -np.abs(np.cos(1.0 + 3.0 * k)), np.abs(np.cos(2.0 + 5.0 * k))
    eps = task.precision(look)
    rows = steadied(np.linalg.norm(matrix, axis=1), eps)
    weights = 1 / np.where(rows > 0, rows, 1.0)
    size = natural_sizes(task.primal, tuple(range(len(task.primal.leaves))))
    moved = float(np.linalg.norm(tangents / size[:, None]))

    def push_again(v: Vector) -> Vector | None:
        return push(claimed, task.primal, jvp, v)

    broken = _contracts.check_linear(
        "jvp",
        push_again,
        (tangents @ one, matrix @ one),
        (tangents @ other, matrix @ other),
        weights,
        eps,
        2 * float(np.linalg.norm(rounding(rows, eps) * weights)),
        floor=lambda: weights * moved * output_floor(look, eps),
        repeat=push_again,
    )
    if broken is not None:
        claimed.give_up(write_breach(broken))


def _along_tangents(
    primal: Primal, tangents: Vector, counts: list[int], around: Around, inward: NDArray[np.int8]
) -> tuple[Primal, Around]:
    """F as a function of the weights of tangents, one vector of weights for each leaf, and what is around it."""
    point, bounds, reference = primal.point, around.bounds, around.reference

    def moved(weights: tuple[Any, ...]) -> Vector:
        moved = point + tangents @ np.concatenate(weights)
        if bounds is not None and not ((bounds[0] <= moved) & (moved <= bounds[1])).all():
            raise OutsideError
        return moved

    def along(*weights: Any) -> Any:
        if any(np.iscomplexobj(part) for part in weights):
            # The complex step, which counts for two.
            primal.count(2)
            values = complex_leaves(primal, (point + tangents @ np.concatenate(weights)).astype(np.complex128))
        else:
            values = primal.make(moved(weights))
            primal.count()
        return primal.f(*primal.arguments(values))

    def reference_along(*weights: Any) -> Any:
        assert reference is not None
        primal.count()
        return reference(*primal.arguments(double_leaves(primal, moved(weights))))

    def many_along(*weights: Vector) -> Any:
        assert primal.together is not None
        points = point + np.concatenate(weights, axis=1) @ tangents.T
        if bounds is not None and not ((bounds[0] <= points) & (points <= bounds[1])).all():
            raise OutsideError
        arrays = primal.layout.stacked([points[:, leaf.start : leaf.stop] for leaf in primal.leaves], len(points))
        primal.count(len(points))
        return primal.together.call(*primal.arguments(arrays))

    together = primal.together
    reduced = Primal(
        along,
        tuple(np.zeros(count) for count in counts),
        tuple(range(len(counts))),
        name=primal.name,
        is_vector=True,
        together=None if together is None else Together(many_along, is_promised=together.is_promised),
    )
    reduced.short_name = primal.short_name
    reduced.count_elsewhere()  # `along` and the others tell
    reduced.deferred = primal.deferred
    reduced.share_allowance(primal)
    reduced.refusals = primal.refusals
    reduced.leaves = tuple(
        Leaf(path=leaf.path, shape=(count,), dtype="float64", start=own.start, stop=own.stop)
        for leaf, own, count in zip(primal.leaves, reduced.leaves, counts, strict=True)
    )
    if reference is not None:
        reference_along.__name__ = primal.short_name
    sides = None
    if bounds is not None:
        # Where an entry can move one way only, its tangents go there, and so must their weights.
        least = np.full(len(reduced.point), -np.inf)
        for leaf, own in zip(primal.leaves, reduced.leaves, strict=True):
            if inward[leaf.start : leaf.stop].any():
                least[own.start : own.stop] = 0.0
        sides = least, np.full(len(reduced.point), np.inf)
    return reduced, Around(
        bounds=sides, reference=None if reference is None else reference_along, has_witnesses=around.has_witnesses
    )
