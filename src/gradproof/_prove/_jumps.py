"""What f's own precision has to do with a deviation: jumps that excuse one, and rounding that hides one."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof._base._precision import is_double
from gradproof._line import ShapeKind
from gradproof._prove._bends import excuses
from gradproof._prove._charge import Charge
from gradproof._prove._ledger import Ledger
from gradproof._prove._measure import Asking, Excuse, Measured, Meter, in_phase
from gradproof._prove._tolerance import LARGEST_JUMP, OBVIOUS
from gradproof._report import Finding, Severity

TIGHTEN = "Errors of this size are not seen: tighten the tolerance inside f, and run the check again."


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


def is_dense(found: Sequence[Finding | Charge]) -> bool:
    """Whether accusations are of whole leaves, without a factor or another cause that explains them."""
    return bool(found) and all(isinstance(one, Charge) and one.is_unexplained for one in found)


def note_jumps(ledger: Ledger, meter: Meter) -> None:
    """Report what jumps of f excuse, the largest of each kind, with both numbers."""
    alone = [one for one in meter.excuses if one.tread is None]
    if alone:
        _note_excuse(ledger, largest_excuse(alone))
    treads = [one for one in meter.excuses if one.on_tread] or [one for one in meter.excuses if one.tread is not None]
    if treads:
        _note_tread(ledger, treads[0])
    if is_double(meter.eps) and not is_double(meter.precision):
        ledger.report(
            "GP314",
            Severity.NOTE,
            kind="f returns float64, but its values are those of float32: smaller errors are not seen",
            advice="Compute f in float64 to have the gradient checked to more digits.",
        )


def largest_excuse(excuses: Sequence[Excuse]) -> Excuse:
    """That for the largest deviation, beside its slope."""
    return max(excuses, key=lambda one: one.measured.deviation / max(one.measured.scale, 1e-300))


def excuse_words(excuse: Excuse, unit: float) -> str:
    """What a jump of f explains, with both numbers; values of f were multiplied by `unit`."""
    measured, jump = excuse.measured, excuse.jump
    share = measured.deviation / measured.scale if measured.scale > 0 else float("inf")
    return (
        f"f jumps by {jump.size / unit:.1e} at {jump.at:.1e} of a natural step: "
        f"a deviation of {share:.1e} of the slope is no more than that explains"
    )


def _note_excuse(ledger: Ledger, excuse: Excuse) -> None:
    measured = excuse.measured
    ledger.report(
        "GP312",
        Severity.NOTE,
        kind=excuse_words(excuse, ledger.unit),
        claimed=measured.claimed,
        reference=measured.value,
        error_bar=measured.bar,
        quantity="slope",
        advice=TIGHTEN,
    )


def _note_tread(ledger: Ledger, excuse: Excuse) -> None:
    measured, jump, tread = excuse.measured, excuse.jump, excuse.tread
    assert tread is not None
    between = f"between jumps of {ledger.natural(jump.size):.1e}, the nearest at {jump.at:.1e} of a natural step"
    words = (
        f"f has two slopes: {ledger.natural(tread.value):.6g} {between}, {ledger.natural(measured.value):.6g} across"
    )
    if excuse.on_tread:
        words += ". The claim agrees with the former only"
    ledger.report(
        "GP313",
        Severity.DOUBT if excuse.on_tread else Severity.NOTE,
        kind=words,
        claimed=measured.claimed,
        reference=measured.value,
        error_bar=measured.bar,
        quantity="slope",
        advice="A part of f is rounded (float32 inside, digits that cancel, a table, a solver that stops early) or is "
        "a true staircase. The slope across the jumps counts; compute that part in float64 to be sure.",
    )
