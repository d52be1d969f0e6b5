"""Identities that need no evaluation of f: what one mode was proved to be, another is if the two agree.

Two modes that agree deserve the same verdict, also where that is a valid subgradient or cannot be told.

<u, J v> = <J^T u, v> ties forward to reverse mode. Let E be the difference of the two Jacobians they stand for, rows
and columns weighted so that u and v are uniform on spheres: `adjoint_bound` is what independent pairs say of its norm.

Where the Jacobian is known entry by entry from the proof of reverse mode, no u is needed: K products J v bound the norm
of E by `spread` times the largest norm of E v.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts, _prove
from gradproof._claims._cotangents import held
from gradproof._claims._proved import Proved
from gradproof._function._primal import Primal
from gradproof._prove import Direction, Directions
from gradproof._prove._laws import adjoint_bound, error_bound, spread
from gradproof._prove._tolerance import steadied
from gradproof._report import Verdict
from gradproof._report._evidence import Evidence

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

PAIRS = 4
# The share of what may go wrong that the identity spends: hardly any, since it holds to rounding.
SHARE = 0.01
# The part of a random stream of `Directions` that no proof reaches.
STREAM = 1 << 21


def adopt_by_adjoint(
    primal: Primal, proved: Proved, vjp: Callable[..., Any], jvp: Callable[..., Any], options: _prove.Options
) -> Proved | None:
    """Prove forward mode from a proved reverse mode; None where the two disagree or the identity shows too little.

    Parameters
    ----------
    primal : Primal
        Of the function, with outputs.
    proved : Proved
        Of reverse mode.
    vjp, jvp : callable
        ``vjp(cotangent, *args)`` and ``jvp(tangents, *args)``.
    options : Options
    """
    if proved.verdict is Verdict.WRONG or not primal.point.size:
        return None
    if proved.matrix is not None:
        return _adopt_by_matrix(primal, proved, proved.matrix, jvp, options)
    outputs = primal.outputs
    m, calls = outputs.size, 0
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((options.seed, 5))))
    moving = [leaf for leaf in primal.leaves if leaf.size]
    directions: Directions | None = None
    weights = np.ones(m)
    eps = max(options.claim_eps, *(leaf.eps for leaf in primal.leaves))
    worst = 0.0
    for k in range(PAIRS):
        u = outputs.rounded(weights * _on_sphere(generator, m))
        pulled = _pull(primal, vjp, u)
        calls += 1
        if pulled is None:
            return None
        if directions is None:
            directions = Directions(moving, primal.point, pulled, options.seed)
        natural = directions.natural
        spans = [slice(leaf.start, leaf.stop) for leaf in moving]
        norms = [float(np.linalg.norm(pulled[span] * natural[span])) for span in spans]
        if not max(norms) > 0:
            return None
        scales = tuple(max(norms) / norm if norm > 1e-6 * max(norms) else 1.0 for norm in norms)
        v = directions.vector(Direction(STREAM + k, tuple(range(len(moving))), scales))
        pushed = _push(primal, jvp, v)
        calls += 1
        if pushed is None:
            return None
        scale = math.sqrt(sum((scale * norm) ** 2 for scale, norm in zip(scales, norms, strict=True)))
        worst = max(worst, abs(float(u @ pushed) - float(pulled @ v)) / scale)
        if k == 0 and m > 1:
            size = np.abs(pushed)
            typical = float(np.median(size[size > 0])) if (size > 0).any() else 1.0
            weights = held(1 / np.maximum(steadied(size, eps), 1e-3 * typical), outputs.leaves)
    if not worst <= options.limits.tolerance(eps):
        return None
    delta = SHARE * (1 - options.confidence)
    more = adjoint_bound(worst, PAIRS, m, primal.point.size, delta) * math.sqrt(len(moving))
    return _adopted(proved, more, worst, calls)


def _adopt_by_matrix(
    primal: Primal, proved: Proved, matrix: Matrix, jvp: Callable[..., Any], options: _prove.Options
) -> Proved | None:
    """Prove forward mode from a proved matrix (m, n): no vjp is asked for again."""
    outputs = primal.outputs
    m, n = matrix.shape
    moving = [leaf for leaf in primal.leaves if leaf.size]
    eps = max(options.claim_eps, *(leaf.eps for leaf in primal.leaves))
    directions = Directions(moving, primal.point, np.zeros_like(primal.point), options.seed)
    sized = matrix * directions.natural
    rows = np.linalg.norm(sized, axis=1)
    if not np.isfinite(rows).all() or not rows.any():
        return None
    weights = np.ones(m)
    if m > 1:
        weights = held(1 / np.maximum(steadied(rows, eps), 1e-3 * float(np.median(rows[rows > 0]))), outputs.leaves)
        sized *= weights[:, None]
    norms = [float(np.linalg.norm(sized[:, leaf.start : leaf.stop])) for leaf in moving]
    scales = tuple(max(norms) / norm if norm > 1e-6 * max(norms) else 1.0 for norm in norms)
    scale = math.sqrt(sum((scale * norm) ** 2 for scale, norm in zip(scales, norms, strict=True)))
    worst = 0.0
    for k in range(PAIRS):
        v = directions.vector(Direction(STREAM + k, tuple(range(len(moving))), scales))
        pushed = _push(primal, jvp, v)
        if pushed is None:
            return None
        worst = max(worst, float(np.linalg.norm(weights * (pushed - matrix @ v))) / scale)
    if not worst <= options.limits.tolerance(eps):
        return None
    confidence = 1 - SHARE * (1 - options.confidence)
    law = error_bound(1.0, PAIRS, n, confidence) if m == 1 else spread(PAIRS, n, confidence)
    return _adopted(proved, law * worst * math.sqrt(len(moving)), worst, PAIRS)


def adopt_by_equality(
    primal: Primal,
    proved: Proved,
    vjp: Callable[..., Any],
    other: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]],
    options: _prove.Options,
) -> Proved | None:
    """Prove another way to the same vjp from a proved one; None where their answers differ.

    Parameters
    ----------
    other : callable
        ``other(cotangents, args) -> gradients``, one for each cotangent.
    """
    if proved.verdict is Verdict.WRONG:
        return None
    m = primal.outputs.size
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((options.seed, 6))))
    us = [primal.outputs.rounded(_on_sphere(generator, m)) for _ in range(2)]
    returned, _ = primal.claim(lambda *args: other([primal.outputs.tree(u) for u in us], args), "vjp")
    allowed = options.limits.tolerance(max(leaf.eps for leaf in primal.leaves))
    worst, calls = 0.0, len(us)
    for u, gradient in zip(us, returned, strict=True):
        batched = _read(primal, gradient)
        off = math.inf
        if batched is not None and proved.matrix is not None:
            off = _apart(primal, u @ proved.matrix, batched)
        if batched is not None and not off <= allowed:
            # (Terms may have cancelled in the product with the matrix.)
            looped = _pull(primal, vjp, u)
            calls += 1
            off = math.inf if looped is None else _apart(primal, looped, batched)
        worst = max(worst, off)
    if not worst <= allowed:
        return None
    # Two random cotangents tell two different linear maps apart with probability 1.
    return _adopted(proved, worst, worst, calls)


def _apart(primal: Primal, one: Vector, other: Vector) -> float:
    """The largest difference of two gradients in a leaf, relative to the first one."""
    worst = 0.0
    for leaf in primal.leaves:
        part = slice(leaf.start, leaf.stop)
        size = float(np.linalg.norm(one[part]))
        difference = float(np.linalg.norm(one[part] - other[part]))
        worst = max(worst, difference / size if size > 0 else math.inf if difference > 0 else 0.0)
    return worst


def _adopted(proved: Proved, more: float, deviation: float, calls: int) -> Proved | None:
    leaves = tuple(
        dataclasses.replace(
            leaf,
            bound=None if leaf.bound is None else leaf.bound + more,
            deviation=None if leaf.deviation is None else max(leaf.deviation, deviation),
            noticeable=None if leaf.noticeable is None else leaf.noticeable + more * math.sqrt(math.prod(leaf.shape)),
        )
        for leaf in proved.leaves
    )
    correct = [leaf for leaf in leaves if leaf.verdict is Verdict.CORRECT]
    if any(leaf.bound is not None and leaf.bound > proved.max_bound for leaf in correct):
        return None
    return dataclasses.replace(
        proved, leaves=leaves, findings=(), claim_calls=calls, suggestion=None, evidence=Evidence()
    )


def _pull(primal: Primal, vjp: Callable[..., Any], u: Vector) -> Vector | None:
    cotangent = primal.outputs.tree(u)
    returned, _ = primal.claim(lambda *args: vjp(cotangent, *args), "vjp")
    return _read(primal, returned)


def _read(primal: Primal, returned: Any) -> Vector | None:
    judged = _contracts.judge_claim(primal, returned, "vjp")
    if judged.set_aside:
        return None
    flat = np.zeros(primal.point.size)
    for i, gradient in judged.gradients.items():
        flat[primal.leaves[i].start : primal.leaves[i].stop] = np.ravel(gradient)
    return flat


def _push(primal: Primal, jvp: Callable[..., Any], v: Vector) -> Vector | None:
    tangents = primal.tangent(v)
    returned, _ = primal.claim(lambda *args: jvp(tangents, *args), "jvp")
    pushed = primal.outputs.read(returned)
    return pushed if np.isfinite(pushed).all() else None


def _on_sphere(generator: np.random.Generator, size: int) -> Vector:
    """Draw uniformly from the sphere of radius sqrt(size)."""
    drawn = generator.standard_normal(size)
    return drawn * math.sqrt(size) / float(np.linalg.norm(drawn))
