"""What a case of a kernel is, and what it was found to be."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import TypeAlias

from gradproof._backends._torch_kernel import CONTIGUOUS, Called
from gradproof._base._names import is_within
from gradproof._kernels._sizes import Sizes
from gradproof._report import EMPTY, Finding, LeafResult, Reason, Report, Severity, Verdict

# Ids that say the same of different cases: what remembers earlier calls shows in the second one, or in the proof.
_SAME = {"GP213": "GP220"}
Faults: TypeAlias = Mapping[tuple[str, str], list[Finding]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Where a kernel is called.

    Attributes
    ----------
    sizes : Sizes
    dtype, device : str or None
        None is what `make_inputs` makes.
    layout : str
    """

    sizes: Sizes
    dtype: str | None = None
    device: str | None = None
    layout: str = CONTIGUOUS


class State(enum.Enum):
    """What is known of a case."""

    RIGHT = enum.auto()
    WRONG = enum.auto()
    OPEN = enum.auto()  # it could not be told
    APART = enum.auto()  # the kernel is not defined there, or does not take such inputs
    UNKNOWN = enum.auto()  # not looked at, as something it rests on is not right, or there is no such case


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a case was found to be.

    Attributes
    ----------
    state : State
    faults : dict of (str, str) to list of Finding
        Errors by id and the leaf that they are about. Of several leaves that one finding is about, all have that list.
    report : Report or None
        Of the proof, where there was one.
    reason : Reason or None
        Where it is open.
    note : str
        Why it is apart or open, or what is particular about it.
    error : Exception or None
        That put it apart.
    compared : tuple of LeafResult
        What was compared with a result in higher precision, or is empty.
    """

    state: State
    faults: Faults = dataclasses.field(default_factory=dict[tuple[str, str], list[Finding]])
    report: Report | None = None
    reason: Reason | None = None
    note: str = ""
    error: Exception | None = None
    compared: tuple[LeafResult, ...] = ()


def errors(report: Report) -> list[Finding]:
    return [one for one in report.findings if one.severity is Severity.ERROR]


def compared(called: Called, note: str) -> tuple[LeafResult, ...]:
    """What is said of gradients that were compared, or have no entry."""
    return tuple(
        LeafResult(
            path=path,
            shape=tuple(gradient.shape),
            dtype=str(gradient.dtype).removeprefix("torch."),
            verdict=Verdict.CORRECT,
            note=EMPTY if not gradient.numel() else note,
        )
        for path, gradient in called.gradients.items()
    )


def wrong(found: list[Finding]) -> Outcome:
    """Errors by what makes them one mistake: of a leaf, of the value or of gradients, or the same exception."""
    faults: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        part = "value" if one.path.startswith("output") else "gradient"
        about = {"GP140": one.kind.partition(": ")[0], "GP145": one.path}.get(one.id, part)
        faults.setdefault((one.id, about), []).append(one)
    return Outcome(state=State.WRONG, faults=faults)


def of_proof(report: Report) -> Outcome:
    """What a proof says of a case."""
    if report.verdict is Verdict.WRONG:
        faults: dict[tuple[str, str], list[Finding]] = {}
        for one in errors(report):
            root = next((leaf.path for leaf in report.leaves if is_within(one.path, leaf.path)), one.path)
            faults.setdefault((_SAME.get(one.id, one.id), root), []).append(one)
        together = {key: _together(key[1], found) for key, found in faults.items()}
        return Outcome(state=State.WRONG, faults={**together, **_covered(report, together)}, report=report)
    if report.verdict is Verdict.INCONCLUSIVE:
        return Outcome(state=State.OPEN, report=report, reason=report.reason)
    return Outcome(state=State.RIGHT, report=report)


def _covered(report: Report, faults: Faults) -> Faults:
    """Wrong leaves that have no finding of their own, but are named in that of another one."""
    about = {leaf for _, leaf in faults}
    return {
        (id, leaf.path): found
        for leaf in report.leaves
        if leaf.verdict is Verdict.WRONG and leaf.path not in about
        for (id, _), found in faults.items()
        if id == "GP101" and any(f"`{leaf.path}" in one.place for one in found)
    }


def _together(root: str, found: list[Finding]) -> list[Finding]:
    """Wrong entries of one tensor as one finding: at this size they are one mistake."""
    if len(found) < 2 or any(one.id != "GP101" for one in found):
        return found
    entries = tuple(dict.fromkeys(entry for one in found for entry in one.entries))
    alike = len({one.kind for one in found}) == 1
    kind = "these entries are wrong" if alike and entries else "the gradient is wrong in several places"
    # (The numbers of the first are those of its own place.)
    first = dataclasses.replace(found[0], claimed=None, reference=None, error_bar=None, quantity="", factor=None)
    return [dataclasses.replace(first, path=root, entries=entries, place="", kind=kind, advice="")]
