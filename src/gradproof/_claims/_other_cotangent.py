"""A scalar f has one cotangent in a proof, 1: whether its gradient for another one is that multiple of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gradproof._claims._cancelled import is_rounding
from gradproof._claims._repeats import Repeats
from gradproof._claims._wording import write_breach
from gradproof._contracts import Breach, Identity, Judged
from gradproof._function._primal import Primal

# Negative, which abs and relu of a cotangent are not, and no unit, which its sign is. The second is for gradients of
# which twice is too large for their dtype. Both are exact in every precision.
OTHERS = (-2.0, -1.0)
# Calls for the same cotangent that tell what is not linear from what remembers earlier calls, or is random.
AGAIN = 2


def hold_linear(primal: Primal, judged: Judged, ask: Callable[[float], Judged], repeats: Repeats) -> None:
    """Ask for the gradient at another cotangent, and note in the first answer if it is not that multiple of it.

    One that is stands for a second answer to the same question.

    Parameters
    ----------
    primal : Primal
    judged : Judged
        The answer at the cotangent 1.
    ask : callable
        ``ask(u) -> Judged``.
    repeats : Repeats
        What holds answers to the same question against each other.
    """
    u, smaller = OTHERS
    found = ask(u)
    if set(found.gradients) != set(judged.gradients):
        u, found = smaller, ask(smaller)
    scaled = dataclasses.replace(found, gradients={i: one / u for i, one in found.gradients.items()})

    def same() -> Judged:
        return ask(1.0)

    if not repeats.differ(primal, judged, scaled):
        repeats.settle(primal, judged, same, scaled)
        return
    if is_rounding(primal, judged.gradients, scaled.gradients):
        return
    for _ in range(AGAIN):
        again = same()
        if repeats.differ(primal, judged, again):
            repeats.settle(primal, judged, same, again)
            return
    is_same = not repeats.differ(primal, judged, found)
    identity = Identity.VARYING if is_same else Identity.LINEAR
    judged.findings.append(write_breach(Breach(identity=identity, keyword="vjp")))
    judged.set_aside.update(dict.fromkeys(judged.gradients, "set aside: not linear"))
    judged.gradients.clear()
