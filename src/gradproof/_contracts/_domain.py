"""GP304, GP305: f is finite at the point itself, and defined around it."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof._report import Finding, Severity


def find_undefined(name: str) -> Finding:
    """Return the finding that says that f is nan or infinite at the point."""
    return Finding(
        id="GP304",
        severity=Severity.DOUBT,
        kind=f"`{name}` is nan or infinite at the point itself",
        advice="There is no derivative here: check at a point inside the domain of f. Usual reasons are the log or "
        "square root of a negative number, a division by zero, and an overflow.",
    )


def find_refusals(name: str, refusals: Sequence[str]) -> Finding:
    """Return the finding that says what f raised beside the point, where that kept the claim from being told."""
    return Finding(
        id="GP305",
        severity=Severity.DOUBT,
        kind=f"`{name}` is not defined everywhere around the point: {refusals[0]}",
        advice="Check further inside the domain of f, or state the domain as `domain=(lower, upper)`.",
    )
