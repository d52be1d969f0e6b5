"""A claim that is a linear map, once it has been asked: prove it, and look again at what speaks against it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools as ft
from collections.abc import Callable
from typing import Any, ParamSpec, cast

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._base._away import BudgetSpent
from gradproof._base._pieces import is_large
from gradproof._claims._around import natural_sizes
from gradproof._claims._cancelled import floor_of, is_huge, is_told, may_be_cancelled, settle, without_cancelled
from gradproof._claims._claimed import Claimed
from gradproof._claims._defined import excuse_undefined
from gradproof._claims._first_look import FirstLook
from gradproof._claims._gradient import another_point, asks, unsettled
from gradproof._claims._limits import Place, beside_kinks, excused, is_about_numbers, worst_place
from gradproof._claims._linear import LinearProof
from gradproof._claims._proved import Proved
from gradproof._claims._rows import scale_of
from gradproof._claims._task import Task
from gradproof._function._primal import Primal
from gradproof._function._problem import Moved, coarsest_eps
from gradproof._prove._collect import Collector
from gradproof._report import Finding, Verdict

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
P = ParamSpec("P")


def finish(task: Task, claimed: Claimed, look: FirstLook | None, wider: dict[int, float] | None = None) -> Proved:
    primal = task.primal
    excuse_undefined(primal, claimed.judged, task.around)
    findings: list[Finding] = find_aliases(primal)
    if look is None:
        look = FirstLook(primal, tuple(range(len(primal.leaves))), task.options.seed, around=task.around)
    elif look.measured != claimed.measured and claimed.measured:
        look = FirstLook(claimed.primal, claimed.measured, task.options.seed, around=task.around, eps=look.declared)
    proof = LinearProof(claimed, task.options, task.reproducer, look=look, around=task.around, wider=wider)
    proved = proof.run()
    if proved.verdict is Verdict.WRONG and (primal.layout.is_complex or primal.outputs.layout.is_complex):
        with contextlib.suppress(BudgetSpent):  # the convention is not named then
            proved = _as_complex(task, proof, proved)
    primal.look_again()
    mutations = _contracts.find_mutations(primal.changed, claimed.changed, claimed.keyword)
    suggestion = another_point(primal, task.options.seed, task.around.bounds) if asks(proved.findings) else None
    return dataclasses.replace(
        proved,
        findings=(*findings, *proved.findings, *mutations),
        verdict=Verdict.WRONG if mutations else proved.verdict,
        suggestion=suggestion,
        matrix=claimed.matrix if claimed.columns == len(primal.point) and not claimed.reduced else None,
    )


def _as_complex(task: Task, proof: LinearProof, proved: Proved) -> Proved:
    """Look at complex arrays as a whole."""
    from gradproof._claims._conventions import Suspect, name_conventions

    claimed = proof.claimed
    return name_conventions(
        proved,
        Suspect(
            keyword=claimed.keyword,
            primal=claimed.primal,
            layout=task.primal.layout,
            outputs=task.primal.outputs.layout,
            measured=claimed.measured,
            pull=claimed.pull,
            rows=proof.rows(),
            names=claimed.names if claimed.by_index else (),
            eps=proof.look.eps,
            seed=task.options.seed,
            reproducer=task.reproducer,
            around=proof.around,
        ),
    )


def find_aliases(primal: Primal) -> list[Finding]:
    return _contracts.find_aliases(primal.origins)


def _as_far_as_evaluations_last(further: Callable[P, Proved]) -> Callable[P, Proved]:
    """Decorate what looks at a proof, its third argument, in another light: where no evaluation is left, none is said.

    An accusation that might have been excused is not made then.
    """

    @ft.wraps(further)
    def as_far(*args: P.args, **kwargs: P.kwargs) -> Proved:
        try:
            return further(*args, **kwargs)
        except BudgetSpent:
            return unsettled(cast("Proved", args[2]))

    return as_far


@_as_far_as_evaluations_last
def despite_cancelled(
    task: Task,
    claimed: Claimed,
    proved: Proved,
    base: Primal | None = None,
    again: Callable[[Claimed], Proved] | None = None,
    leaf_sizes: Vector | None = None,
) -> Proved:
    """Prove a claim once more without entries that may be rounding of 0, where these may be what speaks against it.

    Parameters
    ----------
    base : Primal, optional
        What a Hessian is the second derivative of.
    again : callable, optional
        Proves a claim of this kind.
    leaf_sizes : ndarray, optional
        Of each column that is a tangent, how large the entries are that it moves.
    """
    primal = claimed.primal
    if not (claimed.measured and claimed.whole and may_be_cancelled(proved)):
        return proved
    eps = max(coarsest_eps(claimed.leaves), primal.outputs.eps, task.options.claim_eps)
    if not is_told(primal, eps):
        return proved
    is_known = claimed.densify()
    proved = dataclasses.replace(proved, claim_calls=claimed.calls)
    if not is_known:
        return proved
    assert claimed.matrix is not None
    size = natural_sizes(primal, claimed.measured)
    if is_huge(claimed.matrix * size):
        return proved
    if base is None:
        inputs = natural_sizes(task.primal, tuple(range(len(task.primal.leaves))))
        rest = float(np.linalg.norm(claimed.matrix * size, axis=1).max())
        # (A weight of tangents moves a whole array by its natural size.)
        moved = size if leaf_sizes is None else leaf_sizes
        pair: tuple[Vector, Matrix | Vector] = moved, np.full(len(size), inputs.max())
        weights = np.ones(len(claimed.matrix))
    else:
        sized = claimed.matrix * size * size[:, None]
        rest = max(float(np.linalg.norm(sized, axis=1).max()), float(np.abs(primal.output_values() * size).max()))
        pair, weights = (size, size[:, None]), size
    natural = size * weights[:, None]
    floor = floor_of(
        primal,
        claimed.matrix * natural,
        size=size,
        weights=weights,
        pair=pair,
        rest=rest,
        around=task.around,
        seed=task.options.seed,
    )
    without = without_cancelled(claimed.matrix, floor / natural)
    if without is None:
        return proved
    left = copy.copy(claimed)
    left.use_matrix(without)
    task = dataclasses.replace(task, options=dataclasses.replace(task.options, collector=Collector()))
    # It is another claim: the first one must not stay WRONG for want of evaluations.
    primal.allow(task.options.allowance(len(task.primal.point)))
    other = finish(task, left, None) if again is None else again(left)
    weights = scale_of(left, size, eps).weights[:, None] * size
    spans = {i: slice(leaf.start, leaf.stop) for i, leaf in zip(claimed.measured, claimed.leaves, strict=True)}
    return settle(proved, other, claimed.matrix * weights, without * weights, spans, task.reproducer)


@_as_far_as_evaluations_last
def excuse_at_kinks(task: Task, claimed: Claimed, proved: Proved, elsewhere: Callable[..., Vector | None]) -> Proved:
    """Excuse a claim that is a limit of derivatives nearby, as two mixtures of the outputs show it."""
    primal = claimed.primal
    if not is_about_numbers(proved) or is_large(primal.point) or primal.layout.is_complex:
        return proved
    if task.around.bounds is not None or len(claimed.measured) < len(primal.leaves):
        return proved
    calls, before = 0, claimed.calls

    def counted(u: Vector) -> Callable[..., Vector | None]:
        def called(*args: Any) -> Vector | None:
            nonlocal calls
            calls += 1
            return elsewhere(u, *args)

        return called

    places: list[Place] = []
    visited: dict[bytes, tuple[Vector, Moved]] = {}
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((task.options.seed, 9))))
    for _ in range(2 if primal.outputs.size > 1 else 1):
        u = primal.outputs.rounded(generator.standard_normal(primal.outputs.size))
        pieces = claimed.pieces(claimed.pull(u))
        eps = task.options.claim_eps
        seed = task.options.seed
        places.append(beside_kinks(primal, pieces, counted(u), eps=eps, seed=seed, cotangent=u, visited=visited))
        if places[-1] is Place.OUTSIDE:
            break
    told = dataclasses.replace(
        excused(proved, worst_place(places)), claim_calls=proved.claim_calls + claimed.calls - before + calls
    )
    if told.suggestion is None and asks(told.findings):
        told = dataclasses.replace(told, suggestion=another_point(task.primal, task.options.seed, task.around.bounds))
    return told
