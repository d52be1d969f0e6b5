"""`grad`: one scalar proof."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradproof import _contracts, _prove, _run
from gradproof._bounds import flat_bounds
from gradproof._claims._proved import Proved, conclude, leaf_result, unmeasured
from gradproof._primal import Primal
from gradproof._problem import Problem, coarsest_eps
from gradproof._reference import ComplexStep, Trusted
from gradproof._report import Reason, Verdict

EPS64 = 2.0**-52
# Findings that say nothing was tested here, or that f has a kink.
ASK_FOR_ANOTHER_POINT = ("GP110", "GP301", "GP302")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What else is known of f: its domain, and a trusted f of higher precision."""

    domain: Any = None
    reference: Callable[..., Any] | None = None


def prove_gradient(
    primal: Primal,
    claim: Any,
    *,
    is_value: bool,
    keyword: str,
    options: _prove.Options,
    surroundings: Surroundings,
    reproducer: str,
) -> Proved:
    """Prove or refute a claimed gradient of a scalar f."""
    bounds = None if surroundings.domain is None else flat_bounds(primal, surroundings.domain)
    findings = _contracts.find_aliases(primal.origins)
    eps = coarsest_eps(primal.leaves)
    if math.isnan(primal.value()):
        return undefined(primal, options, findings=findings, keyword=keyword)
    changed: list[str] = []
    if not is_value:
        claim, changed = primal.claim(claim, keyword)
    judged = _contracts.judge_claim(primal, claim, keyword)
    findings += judged.findings
    results = unmeasured(primal, judged)
    outcome: _prove.Outcome | None = None
    if judged.gradients:
        problem = Problem(primal, judged.gradients, reproducer=reproducer, claim_calls=int(not is_value))
        measured = sorted(judged.gradients)
        lower, upper = (None, None) if bounds is None else (_of_leaves(primal, side, measured) for side in bounds)
        directions = _prove.Directions(problem.leaves, problem.point, problem.claim, options.seed, lower, upper)
        witnesses: dict[str, _run.Witness] = {}
        if surroundings.reference is not None:
            witnesses["reference"] = Trusted(primal, surroundings.reference, judged.gradients)
        if eps == EPS64 and not primal.layout.is_complex:
            witnesses["complex"] = ComplexStep(primal, measured, problem.leaves)
        options = dataclasses.replace(options, witnesses=tuple(witnesses))
        outcome = _run.answer(_prove.prove(problem, options, directions), problem, directions, witnesses)
        findings += outcome.findings
        results.update(zip(sorted(judged.gradients), outcome.leaves, strict=True))
        primal.look_again()
    findings += _contracts.find_mutations(primal.changed, changed, keyword)
    proved = conclude(
        results,
        findings,
        measured=None if outcome is None else outcome.verdict,
        reason=None if outcome is None else outcome.reason,
        options=options,
        eps=eps,
        rtol=None if outcome is None else outcome.rtol,
        max_bound=None if outcome is None else outcome.max_bound,
        claim_calls=int(not is_value),
        level=None if outcome is None else outcome.level,
    )
    if outcome is not None and proved.verdict is Verdict.WRONG and primal.layout.is_complex:
        proved = _as_complex(primal, judged.gradients, keyword, options, proved, reproducer)
    if any(finding.id in ASK_FOR_ANOTHER_POINT for finding in findings):
        return dataclasses.replace(proved, suggestion=_another_point(primal, options.seed, bounds))
    return proved


def _as_complex(
    primal: Primal, gradients: Mapping[int, Any], keyword: str, options: _prove.Options, proved: Proved, reproducer: str
) -> Proved:
    """Look at complex arrays as a whole."""
    from gradproof._claims._conventions import Suspect, name_conventions

    measured = tuple(sorted(gradients))
    claim = np.concatenate([np.ravel(gradients[i]) for i in measured])
    natural = [np.broadcast_to(_prove.leaf_size(primal.leaves[i], primal.point), gradients[i].size) for i in measured]
    return name_conventions(
        proved,
        Suspect(
            keyword=keyword,
            primal=primal,
            layout=primal.layout,
            outputs=None,
            measured=measured,
            pull=lambda u: u[0] * claim,
            rows=np.array([float(np.linalg.norm(claim * np.concatenate(natural)))]),
            names=(),
            eps=coarsest_eps(primal.leaves),
            seed=options.seed,
            reproducer=reproducer,
        ),
    )


def _another_point(primal: Primal, seed: int, bounds: tuple[Any, Any] | None) -> Any:
    """Another point in the form of `args`, a random step of half the natural size away, where f is finite; or None."""
    rng = np.random.default_rng((seed, 2))
    natural = np.empty_like(primal.point)
    for leaf in primal.leaves:
        if leaf.size:
            natural[leaf.start : leaf.stop] = _prove.leaf_size(leaf, primal.point)
    for _ in range(4):
        point = primal.point + 0.5 * natural * rng.standard_normal(primal.point.size)
        if bounds is not None:
            point = np.clip(point, *bounds)
        if primal.is_finite_at(point):
            moved = primal.arguments(primal.make(point))
            if type(primal.given) is not tuple:
                return moved[0]
            return tuple(moved[i] if i in primal.wrt else argument for i, argument in enumerate(primal.positional))
    return None


def _of_leaves(primal: Primal, flat: Any, indices: list[int]) -> Any:
    """The parts of a flat vector that belong to some of the leaves."""
    return np.concatenate([flat[primal.leaves[i].start : primal.leaves[i].stop] for i in indices])


def undefined(primal: Primal, options: _prove.Options, *, findings: list[Any], keyword: str) -> Proved:
    """F is nan or infinite at the point: there is nothing to compare with."""
    findings = [
        *findings,
        _contracts.find_undefined(primal.short_name),
        *_contracts.find_mutations(primal.changed, [], keyword),
    ]
    note = "f is not finite here"
    return conclude(
        {i: leaf_result(primal, i, Verdict.INCONCLUSIVE, note) for i in range(len(primal.leaves))},
        findings,
        measured=None,
        reason=Reason.DOMAIN,
        options=options,
        eps=coarsest_eps(primal.leaves),
    )
