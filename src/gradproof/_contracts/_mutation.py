"""GP210, GP211: f and the claim leave their arguments as they were."""

from __future__ import annotations

from collections.abc import Iterable

from gradproof._report import Finding, Severity


def find_mutations(changed_by_f: Iterable[str], changed_by_claim: Iterable[str], keyword: str) -> list[Finding]:
    """Return a finding for each argument or array that f or the claim has changed in place."""
    culprits = (
        ("GP210", changed_by_f, "f", "Work on a copy of `{path}` in f: the caller's arrays must stay as they are"),
        ("GP211", changed_by_claim, f"`{keyword}`", "Work on a copy of `{path}` in `" + keyword + "`"),
    )
    return [
        Finding(
            id=id,
            severity=Severity.ERROR,
            path=path,
            kind=f"{culprit} changes `{path}` in place",
            advice=advice.format(path=path) + ".",
        )
        for id, paths, culprit, advice in culprits
        for path in paths
    ]
