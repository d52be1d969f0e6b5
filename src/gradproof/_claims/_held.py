"""What a broken contract says of the numbers: which errors of a proof are no others than it."""

from __future__ import annotations

import dataclasses

from gradproof._base._names import is_within
from gradproof._claims._hold import Held
from gradproof._claims._result import Result
from gradproof._report import Finding

# Contracts from whose breach nothing can keep a proof: what memory holds by chance, or the last forward has left.
_UNGUARDED = ("GP220", "GP221", "GP222", "GP228", "GP229")
# What such a breach looks like in numbers.
_NUMBERS = ("GP101", "GP103", "GP203", "GP205", "GP213", "GP303", "GP306")
_PARTS = ("GP120", "GP122")
# The same said of the claim's arguments, where the contract names the cotangent and the saved tensors.
_SAME = ("GP211",)


def with_contracts(result: Result, held: Held) -> Result:
    """Add the findings on contracts to a result, and leave out what says the same once more."""
    claim_calls = result.claim_calls + held.calls
    if not held.findings:
        return dataclasses.replace(result, claim_calls=claim_calls)
    spoilt = any(one.id == "GP212" for one in result.beside)
    # (What was kept is a buffer, which is named there.)
    own = [one for one in held.findings if not (spoilt and one.id == "GP219")]
    if any(one.id == "GP213" for proof in result.proofs for one in proof.findings):
        own = [one for one in own if one.id != "GP220"]  # (What differs the second time is what it remembers.)
    ids = {finding.id for finding in own}
    gone = _SAME if ids & {"GP218", "GP219"} else ()
    reached = frozenset[str]()
    if ids & {*_UNGUARDED}:
        reached = reached.union(*(subject.reached for subject, _ in held.broken))

    def is_other(finding: Finding) -> bool:
        if finding.id in gone:
            return False
        is_theirs = not finding.path or finding.id == "GP205" or any(is_within(finding.path, path) for path in reached)
        return not (reached and finding.id in _NUMBERS and is_theirs)

    proofs = tuple(
        dataclasses.replace(proof, findings=tuple(filter(is_other, proof.findings))) for proof in result.proofs
    )
    beside = tuple(one for one in result.beside if is_other(one) and not (reached and one.id in _PARTS))
    return dataclasses.replace(result, proofs=proofs, beside=(*own, *beside), claim_calls=claim_calls)
