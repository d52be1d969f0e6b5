"""What is said of a gradient under autocast, where that of a copy in higher precision has been proved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from gradproof._claims._proved import Proved
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst

# The largest bound that is called CORRECT: so many machine epsilons, within two limits. (As with a reference.)
EPSILONS, LEAST_BOUND, MOST_BOUND = 32.0, 0.05, 0.5
NOTE = "16-bit rounding is {error:.2g} of it"
SMALL = "no more than 16-bit rounding beside the others"
BEYOND = "16-bit rounding does not explain it"

LOW_ONLY = (
    "In float64, without autocast, the gradient is right. Look for what a Function does with 16-bit tensors: a "
    "branch on the dtype, or `custom_fwd` without `custom_bwd`."
)
TOO_FAR = (
    "Pass `reference=`, the same in plain operations, which is run under autocast and in float64. float16 loses small "
    "gradients: scale the loss as training does (`torch.amp.GradScaler`), or use bfloat16."
)


class Off(Protocol):
    """See `gradproof._backends._off.Off`."""

    @property
    def path(self) -> str: ...
    @property
    def error(self) -> float: ...
    @property
    def allowed(self) -> float: ...
    @property
    def beside(self) -> float: ...
    @property
    def eps(self) -> float: ...
    @property
    def is_output(self) -> bool: ...
    @property
    def is_mistake(self) -> bool: ...


def as_run(proved: Proved, offs: Sequence[Off], max_bound: float | None) -> Proved:
    """The proof of a copy's gradient with what autocast does to each array added to its bound.

    Parameters
    ----------
    proved : Proved
    offs : sequence of Off
        None where there is no autocast.
    max_bound : float or None
        As set by the user.
    """
    if not offs:
        return proved
    by_path = {one.path: one for one in offs if not one.is_output}
    limit = min(max(EPSILONS * offs[0].eps, LEAST_BOUND), MOST_BOUND) if max_bound is None else max_bound
    leaves = tuple(_as_run(leaf, by_path.get(leaf.path), limit) for leaf in proved.leaves)
    beyond = [one for one in offs if not one.error <= one.allowed]
    verdict = worst([proved.verdict, *(leaf.verdict for leaf in leaves)])
    if beyond and verdict is not Verdict.WRONG:
        verdict = Verdict.INCONCLUSIVE
    reason = proved.reason
    if verdict is Verdict.INCONCLUSIVE and reason is None:
        reason = Reason.PRECISION
    wrong = {leaf.path for leaf in leaves if leaf.verdict is Verdict.WRONG}
    findings = (*proved.findings, *(_finding(one, is_mistake=one.is_mistake and one.path in wrong) for one in beyond))
    return dataclasses.replace(
        proved,
        verdict=verdict,
        reason=reason if verdict is Verdict.INCONCLUSIVE else None,
        leaves=leaves,
        findings=findings,
        max_bound=max(limit, proved.max_bound) if max_bound is None else max_bound,
    )


def _as_run(leaf: LeafResult, off: Off | None, limit: float) -> LeafResult:
    """A leaf with the error of the 16-bit gradient added; where that is too large, it is not CORRECT."""
    if off is None or leaf.verdict is not Verdict.CORRECT:
        return leaf
    if not off.error <= off.allowed:
        verdict = Verdict.WRONG if off.is_mistake else Verdict.INCONCLUSIVE
        return dataclasses.replace(leaf, verdict=verdict, bound=None, deviation=off.error, noticeable=None, note=BEYOND)
    if leaf.bound is None or off.error == 0:
        return leaf
    bound = leaf.bound + off.error
    if bound <= limit:
        deviation = off.error if leaf.deviation is None else leaf.deviation + off.error
        return dataclasses.replace(leaf, bound=bound, deviation=deviation, noticeable=None)
    if off.beside <= off.eps:
        return dataclasses.replace(leaf, bound=None, noticeable=None, note=SMALL)
    return dataclasses.replace(leaf, verdict=Verdict.INCONCLUSIVE, bound=bound, note=NOTE.format(error=off.error))


def _finding(off: Off, *, is_mistake: bool) -> Finding:
    what = "value" if off.is_output else "gradient"
    kind = f"under autocast the {what} is off by {off.error:.2g} of its norm, and rounding explains {off.allowed:.2g}"
    if is_mistake:
        return Finding(id="GP144", severity=Severity.ERROR, path=off.path, kind=kind, advice=LOW_ONLY)
    return Finding(id="GP319", severity=Severity.DOUBT, path=off.path, kind=kind, advice=TOO_FAR)
