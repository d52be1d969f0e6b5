"""GP304: f is finite at the point itself."""

from __future__ import annotations

from gradproof._report import Finding, Severity


def find_undefined(name: str) -> Finding:
    """Return the finding that says that f is nan or infinite at the point."""
    return Finding(
        id="GP304",
        severity=Severity.DOUBT,
        kind=f"`{name}` is nan or infinite at the point itself",
        advice="there is no derivative to compare with here: check at a point inside the domain of f.",
    )
