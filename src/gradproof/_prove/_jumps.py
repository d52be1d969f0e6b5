"""What f's own precision has to do with a deviation: jumps that excuse one, and rounding that hides one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradproof._base._precision import EPS32, is_double
from gradproof._line import ShapeKind, lowest_bit
from gradproof._prove._bends import excuses
from gradproof._prove._charge import Charge, Notice, Sight, Statement
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import Asking, Excuse, Measured, Meter, in_phase
from gradproof._prove._tolerance import LARGEST_JUMP, OBVIOUS
from gradproof._report import Severity

# A common step of all values, relative to the largest, from which they have fewer digits than float32: four bits.
COARSER = 16 * EPS32


@in_phase("confirming")
def jumps_nearby(meter: Meter, failing: Measured) -> Asking[bool]:
    """Whether jumps of f explain a deviation too large to have been looked at for them before it was believed.

    A bisection or a stopping rule makes a sawtooth of f: between its jumps the slope may be off by some percent.
    """
    deviation, scale = failing.deviation, failing.scale
    if failing.slope.side != 0 or failing.direction.floor > 0:
        return False
    if not OBVIOUS * scale < deviation <= LARGEST_JUMP * scale:
        return False
    shape = yield from meter.shape(failing, far=False)
    if shape.kind is ShapeKind.JUMPS and shape.jump is not None and excuses(shape.jump, failing):
        meter.excuses.append(Excuse(measured=failing, jump=shape.jump))
        return True
    return False


def is_dense(found: Sequence[Statement]) -> bool:
    """Whether accusations are of whole leaves, without a factor or another cause that explains them."""
    return bool(found) and all(isinstance(one, Charge) and one.is_unexplained for one in found)


def note_jumps(ledger: Ledger, meter: Meter) -> None:
    """Note what jumps of f excuse, the largest of each kind."""
    alone = [one for one in meter.excuses if one.tread is None]
    if alone:
        ledger.notice(excuse_notice(largest_excuse(alone), ledger.unit))
    treads = [one for one in meter.excuses if one.on_tread] or [one for one in meter.excuses if one.tread is not None]
    if treads:
        _note_tread(ledger, treads[0])
    if is_double(meter.eps) and not is_double(meter.precision):
        ledger.notice(Notice(sight=Sight.SINGLE, jump=(_coarser_than_single(meter) / ledger.unit, 0.0)))


def _coarser_than_single(meter: Meter) -> float:
    """The step that all values of f are multiples of, where it is coarser than float32 would be; else 0.

    Of some ten numbers in float32 not all end in four zero bits.
    """
    slopes = [one.slope for one in meter.slopes]
    values = np.concatenate([np.zeros(0), *(part.ravel() for one in slopes for part in (one.f0, one.plus, one.minus))])
    values = values[np.isfinite(values) & (values != 0)]
    if not len(values):
        return 0.0
    step = float(lowest_bit(values[:, None])[0])
    return step if step > COARSER * float(np.abs(values).max()) else 0.0


def largest_excuse(excuses: Sequence[Excuse]) -> Excuse:
    """That for the largest deviation, beside its slope."""
    return max(excuses, key=lambda one: one.measured.deviation / max(one.measured.scale, 1e-300))


def excuse_notice(excuse: Excuse, unit: float) -> Notice:
    """What a jump of f explains; its values were multiplied by `unit`."""
    measured, jump = excuse.measured, excuse.jump
    return Notice(
        sight=Sight.EXCUSED,
        claimed=measured.claimed,
        reference=measured.value,
        error_bar=measured.bar,
        jump=(jump.size / unit, jump.at),
        share=measured.deviation / measured.scale if measured.scale > 0 else float("inf"),
    )


def _note_tread(ledger: Ledger, excuse: Excuse) -> None:
    measured, jump, tread = excuse.measured, excuse.jump, excuse.tread
    assert tread is not None
    ledger.notice(
        Notice(
            sight=Sight.TREADS,
            severity=Severity.DOUBT if excuse.on_tread else Severity.NOTE,
            claimed=measured.claimed,
            reference=measured.value,
            error_bar=measured.bar,
            slopes=(ledger.natural(tread.value), ledger.natural(measured.value)),
            jump=(ledger.natural(jump.size), jump.at),
        )
    )
