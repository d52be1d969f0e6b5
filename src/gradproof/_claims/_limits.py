"""Claims held against gradients beside a kink (see `_subgradients`), and what is left of a proof that these excuse."""

from __future__ import annotations

import dataclasses
import functools as ft
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._claims._around import natural_sizes
from gradproof._claims._proved import Proved
from gradproof._claims._subgradients import ROUNDINGS, Beside, Place, Search, difference, differences, place, step_of
from gradproof._function._primal import Primal
from gradproof._function._problem import Moved, Problem
from gradproof._report import Finding, Reason, Severity, Verdict

Vector = NDArray[np.float64]

# Entries that are looked at so, and by what share of its one-sided slopes a claim is outside of them.
OUTSIDE, BEYOND = 8, 1e-4


def worst_place(places: Iterable[Place]) -> Place:
    """The one that speaks most against the claim."""
    return max(places, key=lambda one: (Place.INSIDE, Place.UNKNOWN, Place.SMOOTH, Place.OUTSIDE).index(one))


def beside_kinks(
    primal: Primal,
    claims: Mapping[int, Any],
    elsewhere: Callable[..., Vector | None] | None,
    *,
    eps: float,
    seed: int,
    cotangent: Vector | None = None,
    visited: dict[bytes, tuple[Vector, Moved]] | None = None,
) -> Place:
    """Say where a claimed gradient of f, or of <u, f>, lies beside those close by.

    Parameters
    ----------
    claims : mapping of int to ndarray
        The claimed gradient of each leaf.
    elsewhere : callable, optional
        ``elsewhere(*args) -> (n,)``: the claim at other arguments, or None. Where the claim is a value, the slopes of f
        along all entries, one by one, stand for what it would be there.
    visited : dict, optional
        All outputs at points that were visited for another cotangent, of the same seed; those of others are added.
    """
    problem = Problem(primal, claims, cotangent=cotangent)
    known: dict[bytes, tuple[Vector, Moved]] = {} if visited is None else visited
    size = natural_sizes(primal, range(len(primal.leaves)))
    eps = max(problem.eps, eps)

    def value(point: Vector) -> float:
        key = point.tobytes()
        if key not in known:
            known[key] = problem.visit(point.copy())
        return problem.combined(*known[key])

    def gradient(point: Vector) -> Vector | None:
        if elsewhere is None:
            return differences(value, point, size, eps)
        with np.errstate(all="ignore"):
            return elsewhere(*primal.arguments(primal.make(point)))

    beside = Beside(
        point=problem.point,
        size=size,
        claim=problem.claim,
        eps=eps,
        value=value,
        gradient=gradient,
    )
    found = place(beside, seed)
    primal.look_again()
    return found


@dataclasses.dataclass(frozen=True)
class Sides:
    """One entry at the point: where its claim lies, and the one-sided slopes, the smaller first."""

    entry: int
    place: Place
    low: float
    high: float


def entries_beside_kinks(
    primal: Primal, claims: Mapping[int, Any], accused: Sequence[int], *, eps: float, seed: int
) -> Sides | None:
    """Say where claimed entries outside their one-sided slopes lie beside the slopes of f along them close by.

    They are looked at in turn: those that are accused, by their index at the point, and then those of the same leaves
    that are furthest out. The first that lies outside of the slopes nearby, too, is returned, else the last one. (An
    entry between them may still belong to no limit.) None where f shows no kink.

    Raises
    ------
    BudgetSpent
        If no evaluation is left.
    """
    problem = Problem(primal, claims)
    size, eps = natural_sizes(primal, range(len(primal.leaves))), max(problem.eps, eps)

    def value(point: Vector) -> float:
        primal.require()
        return problem.combined(*problem.visit(point.copy()))

    def slope(point: Vector, entry: int) -> float | None:
        return difference(value, point, value(point), entry, step_of(eps) * size[entry], eps)

    beside = Beside(point=problem.point, size=size, claim=problem.claim, eps=eps, value=value, gradient=lambda _: None)
    search = Search(beside, np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 8)))))
    told: Sides | None = None
    if not search.is_smooth():
        for entry, low, high in _outside(primal, accused, search):
            told = Sides(entry, search.place_of_entry(entry, ft.partial(slope, entry=entry)), low, high)
            if told.place is Place.OUTSIDE:
                break
    primal.look_again()
    return told


def _outside(primal: Primal, accused: Sequence[int], search: Search) -> Iterator[tuple[int, float, float]]:
    """Entries that are accused, and those of their leaves furthest outside of their one-sided slopes, with these."""
    for entry in accused:
        yield entry, *search.sides(entry)
    claim, size, eps = search.beside.claim, search.beside.size, search.beside.eps
    noise = ROUNDINGS * math.sqrt(eps) * abs(search.at_point)
    beyond: list[tuple[float, int, float, float]] = []
    leaves = [leaf for leaf in primal.leaves if any(leaf.start <= entry < leaf.stop for entry in accused)]
    for entry in (entry for leaf in leaves for entry in range(leaf.start, leaf.stop) if entry not in accused):
        low, high = search.sides(entry)
        excess = float(max(low - claim[entry], claim[entry] - high) * size[entry])
        if math.isfinite(high - low) and excess > noise + BEYOND * max(abs(low), abs(high)) * size[entry]:
            beyond.append((excess, entry, low, high))
    for _, entry, low, high in sorted(beyond, reverse=True)[:OUTSIDE]:
        yield entry, low, high


def excused(proved: Proved, where: Place) -> Proved:
    """What was proved, where the claim at a kink is a limit of gradients nearby, or may be one."""
    if where not in (Place.INSIDE, Place.UNKNOWN):
        return proved
    accused = [one for one in proved.findings if one.id in ("GP101", "GP103") and one.severity is Severity.ERROR]
    others = [one for one in proved.findings if one not in accused]
    inside = where is Place.INSIDE
    verdict = Verdict.NOT_DIFFERENTIABLE if inside else Verdict.INCONCLUSIVE
    note = "kinks at the point; the claim is a valid subgradient" if inside else "kinks at the point: cannot be told"
    leaves = tuple(
        dataclasses.replace(leaf, verdict=verdict, deviation=None, note=note) if leaf.verdict is Verdict.WRONG else leaf
        for leaf in proved.leaves
    )
    kind = "several kinks of f meet here: the claim is a limit of gradients nearby, or a mixture of such"
    if not inside:
        kind = "several kinks of f meet here: whether the claim is a limit of gradients nearby cannot be told"
    first = accused[0]
    told = Finding(
        id="GP110",
        severity=Severity.NOTE,
        path=first.path,
        kind=kind,
        claimed=first.claimed,
        reference=first.reference,
        error_bar=first.error_bar,
        quantity=first.quantity,
        advice="These kinks do not speak against the claim; to prove more, check at `report.suggested_args`.",
        reproducer=first.reproducer,
    )
    return dataclasses.replace(
        proved,
        verdict=verdict,
        reason=None if inside else Reason.DEGENERATE,
        leaves=leaves,
        findings=(*others, told),
    )


def is_about_numbers(proved: Proved) -> bool:
    """Whether all that speaks against a claim are its numbers."""
    errors = [one.id for one in proved.findings if one.severity is Severity.ERROR]
    return proved.verdict is Verdict.WRONG and bool(errors) and all(id in ("GP101", "GP103") for id in errors)
