"""Of many slopes, those that a reader looks at, in their units."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradproof._base._names import is_within
from gradproof._prove._noted import Noted
from gradproof._report import Finding, Severity, Verdict
from gradproof._report._evidence import Comparison, Ladder

# Comparisons that speak against the claim, and all together where these are fewer; ladders, and steps of each.
AGAINST, COMPARISONS, LADDERS, STEPS = 200, 48, 8, 30
# Ladders where nothing speaks against the claim, and where it cannot be told.
FEW_LADDERS, SOME_LADDERS = 2, 4
# Steps that show both branches of an error.
MANY_STEPS = 4


def comparisons(kept: Sequence[tuple[Noted, bool]], findings: Sequence[Finding], rtol: float) -> tuple[Comparison, ...]:
    """Those of the findings, then all that speak against the claim, then others in the order they were measured."""
    accused = [_of_finding(one) for one in findings if one.severity is Severity.ERROR and _has_numbers(one)]
    against = [_comparison(one, rtol, against=True) for one, against in kept if against]
    others = [_comparison(one, rtol, against=False) for one, against in kept if not against and _is_finite(one)]
    first = list(dict.fromkeys([*accused, *against]))[:AGAINST]
    return (*first, *others[: max(COMPARISONS - len(first), 0)])


def _has_numbers(finding: Finding) -> bool:
    return finding.claimed is not None and finding.reference is not None and finding.error_bar is not None


def _of_finding(finding: Finding) -> Comparison:
    assert finding.claimed is not None
    assert finding.reference is not None
    assert finding.error_bar is not None
    entry = finding.entries[0] if len(finding.entries) == 1 else None
    return Comparison(
        path=finding.path.removesuffix(str(list(entry))) if entry else finding.path,
        entry=entry,
        output=finding.quantity if finding.quantity not in ("entry", "slope") else "",
        claimed=finding.claimed,
        reference=finding.reference,
        error_bar=finding.error_bar,
        against=True,
    )


def _is_finite(one: Noted) -> bool:
    return math.isfinite(one.value) and math.isfinite(one.bar) and math.isfinite(one.claimed)


def _comparison(one: Noted, rtol: float, *, against: bool) -> Comparison:
    return Comparison(
        path=one.path,
        entry=one.entry,
        output=one.output,
        claimed=one.claimed / one.unit,
        reference=one.value / one.unit,
        error_bar=one.half_width(rtol) / abs(one.unit),
        against=against,
    )


def ladders(
    kept: Sequence[tuple[Noted, bool]],
    verdict: Verdict,
    findings: Sequence[Finding],
    rtol: float,
) -> tuple[Ladder, ...]:
    """Those behind the findings, or else those with the most steps."""
    usable = [(one, against) for one, against in kept if one.slope is not None and len(one.slope.h) > 1]
    usable = [(one, against) for one, against in usable if _is_finite(one) or verdict is not Verdict.CORRECT]
    chosen: list[tuple[Noted, bool]] = []
    if verdict is Verdict.WRONG:
        accused = [one for one in usable if one[1]]
        for finding in findings:
            own = [one for one in accused if _is_about(finding, one[0])]
            if finding.severity is Severity.ERROR and own:
                # That of the very entry rather than of its leaf, and of these the longest.
                chosen.append(max(own, key=lambda one: (one[0].entry in finding.entries, _steps(one[0]))))
        # And the longest, where that of a leaf alone shows a few steps only.
        together = sorted(accused, key=lambda one: -_steps(one[0]))
        chosen += together[: 1 if chosen else FEW_LADDERS]
    elif verdict is Verdict.NOT_DIFFERENTIABLE:
        bent = [one for one in usable if one[0].jump(rtol)]
        chosen = sorted(bent, key=lambda one: (one[0].entry is None, not one[0].path, -_steps(one[0])))[:SOME_LADDERS]
    most = FEW_LADDERS if verdict is Verdict.CORRECT else SOME_LADDERS
    if not chosen:
        straight = [one for one in usable if verdict is not Verdict.CORRECT or not one[0].jump(rtol)]
        long = [one for one in straight if _steps(one[0]) >= MANY_STEPS] or straight
        chosen = long[:most] if verdict is Verdict.CORRECT else sorted(long, key=lambda one: -_steps(one[0]))[:most]
    different = {_subject(one, rtol): (one, against) for one, against in reversed(chosen)}
    chosen = list(reversed(different.values()))[:LADDERS]
    return tuple(_ladder(one, rtol, against=against) for one, against in chosen)


def _is_about(finding: Finding, one: Noted) -> bool:
    """Whether a slope is along the leaf that a finding accuses, or a single entry that it names."""
    within = one.path != "" and is_within(finding.path, one.path)
    return within and (one.entry is None or not finding.entries or one.entry in finding.entries)


def _subject(one: Noted, rtol: float) -> tuple[object, ...]:
    """What a ladder shows: two that show the same are one too many."""
    return (one.path, one.entry, one.output, f"{one.jump(rtol) / one.unit:.2g}")


def _steps(one: Noted) -> int:
    return 0 if one.slope is None else len(one.slope.h)


def _ladder(one: Noted, rtol: float, *, against: bool) -> Ladder:
    # In plain floats: on few numbers, and in every check, arrays take several times as long.
    slope, k, unit = one.slope, one.column, one.unit
    assert slope is not None
    h, plus, minus = slope.h.tolist(), slope.plus[:, k].tolist(), slope.minus[:, k].tolist()
    if len(h) > STEPS:
        rows = sorted({round(i * (len(h) - 1) / (STEPS - 1)) for i in range(STEPS)})
        h, plus, minus = [h[i] for i in rows], [plus[i] for i in rows], [minus[i] for i in rows]
    f0 = float(slope.f0[k])
    right = tuple((p - f0) / t / unit for t, p in zip(h, plus, strict=True))
    left = tuple((f0 - m) / t / unit for t, m in zip(h, minus, strict=True))
    central = tuple((p - m) / (2 * t) / unit for t, p, m in zip(h, plus, minus, strict=True))
    if slope.side:
        # At the edge of the domain of f.
        right, left = (right, ()) if slope.side > 0 else ((), left)
        central = right or left
    jump = one.jump(rtol) / unit
    if unit < 0:
        right, left, jump = left, right, -jump
    reference, noise = one.value / unit, float(slope.noise[k]) / abs(unit)
    return Ladder(
        path=one.path,
        entry=one.entry,
        output=one.output,
        claimed=one.claimed / unit,
        reference=reference,
        error_bar=one.half_width(rtol) / abs(unit),
        steps=tuple(h),
        differences=central,
        left=left,
        right=right,
        noise=noise,
        curvature=0.0 if slope.side or jump else _curvature(h, central, reference, noise),
        chosen=float(slope.h[slope.level[k]]),
        size=one.size,
        against=against,
        jump=jump,
    )


def _curvature(h: Sequence[float], quotients: Sequence[float], reference: float, noise: float) -> float:
    """The h**2 term of the differences' error, from the steps at which it is no rounding."""
    errors = [(t, abs(quotient - reference)) for t, quotient in zip(h, quotients, strict=True)]
    clear = sorted(off / t**2 for t, off in errors if 10 * noise / t < off < math.inf)
    return clear[len(clear) // 2] if clear else 0.0
