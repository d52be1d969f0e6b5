"""What became worse, and what better, from one run of the same checks to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from gradproof._report._report import WORST_FIRST, Finding, LeafResult, Report, Severity, Verdict
from gradproof._report._report_file import ReportFile

# Over seeds alone the bound of an unchanged problem was seen to vary by a factor of 1.4 (40 rows of least squares) to
# 4.4 (2,000 sines): 60 seeds each.
DEFAULT_FACTOR = 10.0
# Below the rounding of a single operation in double precision a bound is no wider than another.
SMALLEST_BOUND = 2.0**-52


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that is not as before: where (empty for the check as a whole), what, and whether it is worse."""

    where: str
    what: str
    worse: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseChanges:
    """What changed in one check."""

    name: str
    changes: tuple[Change, ...]

    @property
    def worse(self) -> bool:
        """Whether anything became worse."""
        return any(change.worse for change in self.changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that changed between two files of reports.

    Attributes
    ----------
    changed : tuple of CaseChanges
        Worse ones first.
    compared : int
        How many checks are in both files.
    new, gone : tuple of str
        Names of the checks that are in one file only.
    factor : float
        From which ratio on a wider bound counts as worse.
    """

    changed: tuple[CaseChanges, ...]
    compared: int
    new: tuple[str, ...]
    gone: tuple[str, ...]
    factor: float

    @property
    def worse(self) -> bool:
        """Whether anything became worse."""
        return any(case.worse for case in self.changed)


def compare(old: ReportFile, new: ReportFile, *, factor: float = DEFAULT_FACTOR) -> Comparison:
    """Compare two files of reports.

    Checks are matched by their names, leaves by their paths, findings by id and path. Worse is: a worse verdict (in the
    order CORRECT, NOT_DIFFERENTIABLE, INCONCLUSIVE, WRONG) of a check or a leaf, a bound wider than `factor` times the
    old one, an error that was not there, and a check that can no longer be run. A check that is only in the new file
    is worse if it is WRONG or could not run.
    """
    before, after = (dict(zip(file.names, file.reports, strict=True)) for file in (old, new))
    cases = [CaseChanges(name=name, changes=tuple(_report(before.get(name), after[name], factor))) for name in after]
    failed_before = {error["case"] for error in old.errors}
    cases += [
        CaseChanges(
            name=error["case"], changes=(Change(where="", what=f"could not run: {error['error']}", worse=True),)
        )
        for error in new.errors
        if error["case"] not in failed_before
    ]
    changed = [case for case in cases if case.changes]
    return Comparison(
        changed=tuple(sorted(changed, key=lambda case: not case.worse)),
        compared=len(before.keys() & after.keys()),
        new=tuple(name for name in after if name not in before),
        gone=tuple(name for name in before if name not in after),
        factor=factor,
    )


def _report(old: Report | None, new: Report, factor: float) -> Iterator[Change]:
    if old is None:
        if new.verdict is Verdict.WRONG:
            yield Change(where="", what="new, and WRONG", worse=True)
            yield from _findings((), new.findings)
        return
    yield from _verdict("", old.verdict, new.verdict)
    before = {leaf.path: leaf for leaf in old.leaves}
    for leaf in new.leaves:
        if leaf.path in before:
            yield from _leaf(before[leaf.path], leaf, factor)
    yield from _findings(old.findings, new.findings)


def _verdict(where: str, old: Verdict, new: Verdict) -> Iterator[Change]:
    if old is not new:
        worse = WORST_FIRST.index(new) < WORST_FIRST.index(old)
        yield Change(where=where, what=f"{old.value} before, {new.value} now", worse=worse)


def _leaf(old: LeafResult, new: LeafResult, factor: float) -> Iterator[Change]:
    yield from _verdict(old.path, old.verdict, new.verdict)
    if old.bound is None or new.bound is None:
        return
    before, now = max(old.bound, SMALLEST_BOUND), max(new.bound, SMALLEST_BOUND)
    if max(now / before, before / now) > factor:
        yield Change(where=old.path, what=f"bound {before:.1e} before, {now:.1e} now", worse=now > before)


def _findings(old: tuple[Finding, ...], new: tuple[Finding, ...]) -> Iterator[Change]:
    before, now = ({(f.id, f.path): f for f in findings if f.severity is Severity.ERROR} for findings in (old, new))
    for key in [*now, *(key for key in before if key not in now)]:
        if (key in now) != (key in before):
            finding = now.get(key) or before[key]
            word = "new" if key in now else "no more"
            yield Change(where=finding.path, what=f"{word} error {finding.id}: {finding.kind}", worse=key in now)
