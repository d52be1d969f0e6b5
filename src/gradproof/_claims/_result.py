"""One or two proofs as the result of one check."""

from __future__ import annotations

import dataclasses
from typing import Any

from gradproof import _contracts
from gradproof._claims._deviation import with_deviations
from gradproof._claims._proved import Proved
from gradproof._claims._together import one_for_each_mistake
from gradproof._function._primal import Primal
from gradproof._prove._collect import merged
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst
from gradproof._report._evidence import Evidence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """All proofs of one check together."""

    primal: Primal
    reproducer: str
    proofs: tuple[Proved, ...]
    evaluations: int
    calls: int
    claim_calls: int
    # What was found besides the numbers, or about all of them together.
    beside: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of all proofs."""
        if any(one.severity is Severity.ERROR for one in self.beside):
            return Verdict.WRONG
        return worst(proof.verdict for proof in self.proofs)

    @property
    def reason(self) -> Reason | None:
        """Why, where the verdict is INCONCLUSIVE."""
        if self.verdict is not Verdict.INCONCLUSIVE:
            return None
        return next((proof.reason for proof in self.proofs if proof.reason), None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each mistake; what holds for several proofs is said once, else the finding says which it is of."""
        found = {_told(one): one for one in self.beside}
        for proof in self.proofs:
            for one in one_for_each_mistake(proof.findings, [leaf.path for leaf in proof.leaves]):
                key = _told(one)
                if key not in found:
                    found[key] = dataclasses.replace(one, kind=f"{proof.label}: {one.kind}") if proof.label else one
        return tuple(found.values())

    @property
    def leaves(self) -> tuple[LeafResult, ...]:
        """Those of all proofs; those of a proof with a label say so."""
        return tuple(
            dataclasses.replace(leaf, path=f"{leaf.path} ({proof.label})") if proof.label else leaf
            for proof in self.proofs
            for leaf in with_deviations(proof.leaves, proof.findings)
        )

    @property
    def rtol(self) -> float:
        """The widest one used."""
        return max(proof.rtol for proof in self.proofs)

    @property
    def max_bound(self) -> float:
        """The widest one used."""
        return max(proof.max_bound for proof in self.proofs)

    @property
    def level(self) -> str:
        """As in the first proof."""
        return self.proofs[0].level

    @property
    def evidence(self) -> Evidence:
        """That of all proofs, labelled as the leaves are."""
        return merged([(proof.label, proof.evidence) for proof in self.proofs])

    @property
    def suggestion(self) -> Any:
        """Another point, where a proof asks for one."""
        return next((proof.suggestion for proof in self.proofs if proof.suggestion is not None), None)


def _told(finding: Finding) -> tuple[str, str, str, str]:
    """What two proofs say of one mistake: a factor that one measures to 4 digits may be a fraction for the other."""
    what = finding.kind if finding.factor is None else f"{finding.factor:.3g}"
    return finding.id, finding.path, what, finding.place


def find_refusals(verdict: Verdict, primal: Primal) -> tuple[Finding, ...]:
    """What f raised beside the point, where nothing could be told."""
    if verdict is not Verdict.INCONCLUSIVE or not primal.refusals:
        return ()
    return (_contracts.find_refusals(primal.short_name, primal.refusals),)
