"""What follows from a part that is wrong: the arrays whose gradients pass through it, in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence

from gradproof._claims._parts import Cause, written_as
from gradproof._claims._proved import Proved
from gradproof._report import Finding, Severity, Verdict

# Findings that say no more than that numbers are not those of the derivative.
NUMBERS = ("GP101", "GP103")
CONSEQUENCES = "GP122"
# A cap of display: arrays that one line names, all of them if there is one more.
NAMED = 2


def explained(
    causes: Sequence[Cause], proofs: Sequence[Proved], modes: Collection[str]
) -> tuple[list[Finding], list[Proved]]:
    """Put one line in place of the errors of the arrays whose gradients pass through what is wrong.

    Parameters
    ----------
    causes : sequence of Cause
    proofs : sequence of Proved
    modes : collection of str
        Those that the causes are wrong in.

    Returns
    -------
    list of Finding
        One for each set of causes that arrays follow from.
    list of Proved
        The same proofs; their verdicts and leaves stay.
    """
    reached = frozenset[str]().union(*(cause.reached for cause in causes))
    wrong: dict[str, None] = {}
    kept: list[Proved] = []
    for proof in proofs:
        if (proof.label or "rev") in modes:
            own = [leaf.path for leaf in proof.leaves if leaf.verdict is Verdict.WRONG]
            accused = {one: _leaf_of(one, proof) for one in proof.findings if _is_about_numbers(one)}
            wrong |= dict.fromkeys(path for path in own if path in reached)
            # (A finding may be about several arrays.)
            explains_all = bool(own) and reached.issuperset(own)
            gone = {one for one, path in accused.items() if explains_all or path in reached}
            wrong |= dict.fromkeys(path for one in gone if (path := accused[one]) in reached)
            proof = dataclasses.replace(proof, findings=tuple(one for one in proof.findings if one not in gone))
        kept.append(proof)
    together: dict[str, list[str]] = {}
    for path in wrong:
        names = dict.fromkeys(cause.name for cause in causes if path in cause.reached)
        together.setdefault(_joined(names), []).append(path)
    return [_follows(names, paths) for names, paths in together.items()], kept


def advised(proofs: Sequence[Proved], rule: str) -> list[Proved]:
    """Say in every error of a function that is nothing but a rule whose derivative it is."""
    found: list[Proved] = []
    for proof in proofs:
        where = f"This is the {written_as(proof.label)} of `{rule}`."
        findings = tuple(
            dataclasses.replace(one, advice=f"{one.advice} {where}".strip()) if _is_about_numbers(one) else one
            for one in proof.findings
        )
        found.append(dataclasses.replace(proof, findings=findings))
    return found


def excused(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What is left of the findings where a tolerance excuses all errors: notes, but none on what follows from one."""
    return tuple(one for one in findings if one.severity is Severity.NOTE and one.id != CONSEQUENCES)


def _is_about_numbers(finding: Finding) -> bool:
    return finding.id in NUMBERS and finding.severity is Severity.ERROR


def _leaf_of(finding: Finding, proof: Proved) -> str:
    """The array that a finding is about, or about an entry or part of; empty where it is about none or several."""
    leaves = proof.leaves_of(finding)
    return proof.leaves[leaves[0]].path if len(leaves) == 1 else ""


def _follows(names: str, paths: Sequence[str]) -> Finding:
    shown = paths if len(paths) <= NAMED + 1 else paths[:NAMED]
    more = len(paths) - len(shown)
    arrays = f"{', '.join(shown)} and {more:,} other arrays" if more else _joined(shown)
    are = "is" if len(paths) == 1 else "are"
    return Finding(id=CONSEQUENCES, severity=Severity.NOTE, kind=f"{arrays} {are} wrong because of {names}")


def _joined(names: Iterable[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
