"""What is said of a derivative in low precision that differs from f's, where that of a float64 copy does not.

A mistake of the code is one in float64, too. What only the low precision adds is rounding, as far as drawn rounding
errors do the same; anything more is a mistake that is made in low precision alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from gradproof._claims._autocast import Off
from gradproof._claims._proved import Proved
from gradproof._prove import Options
from gradproof._prove._tolerance import LARGEST_BOUND_LOW, REACH, RTOL32
from gradproof._report import LeafResult, Reason, Verdict, worst

# Precisions by their spacing of numbers at 1.
NAMES = {2.0**-23: "float32", 2.0**-10: "float16", 2.0**-7: "bfloat16"}
NOTE = "rounding in {name} is {error:.2g} of it"
SMALL = "no more than rounding beside the others"
# A derivative that is wrong by more than so many times what rounding may do is wrong for another reason, and its copy
# is not proved. Chosen: deviations are estimated from a few slopes, and may be several times too large.
TIMES = 30.0
# Within so many times what was drawn, it is not said whether rounding or a mistake is the reason. Chosen, as for 16
# bits: a kernel of low precision may round more often than the copy was rounded.
UNCLEAR = 3.0


def alone(options: Options) -> Options:
    """How the derivative of a copy is proved: as that of a float64 function, as exactly as that of low precision."""
    rtol = RTOL32 if options.rtol is None else options.rtol
    max_bound = LARGEST_BOUND_LOW if options.max_bound is None else options.max_bound
    return dataclasses.replace(options, claim_eps=0.0, rtol=rtol, max_bound=max_bound)


def is_doubtful(proved: Proved) -> bool:
    """Whether a derivative is WRONG, or INCONCLUSIVE for want of digits."""
    return proved.verdict is Verdict.WRONG or proved.reason in (Reason.PRECISION, Reason.NOISE)


def least_error(proved: Proved) -> float:
    """Error of a derivative beside that of its copy below which rounding is not why it is doubtful.

    A copy's derivative that is as close as that deviates from f as much.
    """
    if proved.verdict is not Verdict.WRONG:
        return REACH * RTOL32
    known = [leaf.deviation for leaf in proved.leaves if leaf.verdict is Verdict.WRONG and leaf.deviation is not None]
    deviations = known or [
        abs(one.claimed - one.reference) / max(abs(one.claimed), abs(one.reference), 1e-300)
        for one in proved.findings
        if one.claimed is not None and one.reference is not None
    ]
    return min(deviations, default=0.0) / TIMES


def may_be_rounding(proved: Proved, offs: Sequence[Off]) -> bool:
    """Whether rounding may be why a doubtful derivative was not found right."""
    if not offs or not all(one.error <= UNCLEAR * one.allowed for one in offs):
        return False
    if proved.verdict is not Verdict.WRONG:
        return is_coarse(offs)
    by_path = {one.path: one for one in offs}
    wrong = [leaf for leaf in proved.leaves if leaf.verdict is Verdict.WRONG]
    return not wrong or any(_is_small(leaf, by_path.get(leaf.path)) for leaf in wrong)


def is_better(copied: Proved, proved: Proved, offs: Sequence[Off]) -> bool:
    """Whether the proof of the copy says more: of a mistake without rounding, or that rounding is all there is."""
    is_refuted = copied.verdict is Verdict.WRONG
    return (is_coarse(offs) or proved.verdict is not Verdict.WRONG) if is_refuted else proved.verdict is Verdict.WRONG


def is_coarse(offs: Sequence[Off]) -> bool:
    """Whether rounding takes a derivative further than deviations are accused from."""
    return any(one.error > REACH * RTOL32 for one in offs)


def as_rounded(copied: Proved, offs: Sequence[Off], max_bound: float | None) -> Proved:
    """The proof of a copy's derivative with the rounding of each array added to its bound."""
    by_path = {one.path: one for one in offs}
    limit = LARGEST_BOUND_LOW if max_bound is None else max_bound
    leaves = tuple(_as_rounded(leaf, by_path.get(leaf.path), limit) for leaf in copied.leaves)
    verdict = worst([copied.verdict, *(leaf.verdict for leaf in leaves)])
    reason = (copied.reason or Reason.PRECISION) if verdict is Verdict.INCONCLUSIVE else None
    return dataclasses.replace(
        copied, verdict=verdict, reason=reason, leaves=leaves, max_bound=max(limit, copied.max_bound), matrix=None
    )


def note_of(offs: Sequence[Off]) -> str:
    """What was proved in place of the derivative in low precision."""
    return f"of a float64 copy of f, beside which {_name(offs[0])} is off by rounding alone"


def _name(off: Off) -> str:
    """The precision that rounds so."""
    return NAMES.get(off.eps, f"numbers of eps {off.eps:.2g}")


def _is_small(leaf: LeafResult, off: Off | None) -> bool:
    return off is None or leaf.deviation is None or leaf.deviation <= TIMES * off.allowed


def _as_rounded(leaf: LeafResult, off: Off | None, limit: float) -> LeafResult:
    """A leaf with the rounding added; where that is too large, it is not CORRECT."""
    if off is None or leaf.verdict is not Verdict.CORRECT or off.error == 0:
        return leaf
    bound = math.inf if leaf.bound is None else leaf.bound + off.error
    if bound <= limit and off.error <= off.allowed:
        deviation = off.error + (leaf.deviation or 0.0)
        return dataclasses.replace(leaf, bound=bound, deviation=deviation, noticeable=None)
    if off.beside <= off.eps:
        return dataclasses.replace(leaf, bound=None, noticeable=None, note=leaf.note or SMALL)
    note = NOTE.format(name=_name(off), error=off.error)
    return dataclasses.replace(leaf, verdict=Verdict.INCONCLUSIVE, bound=bound, noticeable=None, note=note)
