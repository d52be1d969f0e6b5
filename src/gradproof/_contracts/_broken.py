"""The finding on a contract that is broken: who, where, by how much, and the fix."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gradproof._contracts._agreement import Apart
from gradproof._report import Finding, Severity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accused:
    """What is held to the contracts.

    Attributes
    ----------
    subject : str
        Such as "the backward of `Scaled`".
    path : str
        That findings go by; empty where they go by the names of the arrays.
    names : sequence of str
        Of the differentiated arrays.
    noun : str
        What the gradients are with respect to in torch's words, or NumPy's: "tensor" or "array".
    """

    subject: str
    path: str
    names: Sequence[str]
    noun: str = "tensor"

    def broken(self, id: str, kind: str, advice: str, differs: Apart | None = None) -> Finding:
        """The finding on a contract, in the place where gradients differ."""
        name = "" if differs is None else self.names[differs.index]
        shown = f" for `{name}`" if name and self.path else ""
        return Finding(
            id=id,
            severity=Severity.ERROR,
            path=self.path or name,
            entries=() if differs is None or self.path or differs.count == differs.size else differs.entries,
            kind=kind + shown,
            advice=advice,
        )


def numbers(differs: Apart, usually: str) -> str:
    """The entry that differs most, with both values, and how many differ."""
    if not differs.size:
        return "its shape is different"
    many = f" ({differs.count:,} of {differs.size:,} entries differ)" if differs.size > 1 else ""
    if differs.one is None or differs.other is None:
        return f"{differs.count:,} of {differs.size:,} entries differ"
    entry = f"entry {list(differs.entry)}" if differs.entry else "it"
    return f"{entry} is {differs.other:.6g}, {usually} {differs.one:.6g}{many}"


def listed(words: Sequence[str]) -> str:
    """Words as a sentence has them: a, b or c."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
