"""What is said of a linear claim: each finding once, and of single outputs only what holds for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from gradproof._base._leaf import Leaf
from gradproof._claims._claimed import Claimed
from gradproof._claims._proved import About
from gradproof._claims._scalar_proofs import UNCHANGED
from gradproof._claims._scene import Located
from gradproof._claims._wording_linear import in_outputs, write_linear
from gradproof._prove._charge import Notice, Sight
from gradproof._prove._flat import STATIONARY_NOTE
from gradproof._prove._wording import write_notice
from gradproof._report import Finding, LeafResult, Severity, Verdict

STATIONARY = (Sight.STATIONARY, Sight.QUIET)
# What outputs do by themselves, where it says something of these.
OF_OUTPUTS = (Sight.KINK, Sight.JUMP, Sight.ZONE, Sight.EXCUSED, Sight.TREADS, Sight.SINGLE)
OF_ONE_OUTPUT = (*STATIONARY, Sight.FLAT)


class LinearFindings:
    """The findings of one claim, in the order in which they were made.

    Parameters
    ----------
    claimed : Claimed
    reproducer : str

    Attributes
    ----------
    said : dict of tuple to Finding
        By what makes one of them another.
    """

    def __init__(self, claimed: Claimed, reproducer: str) -> None:
        self.said: dict[tuple[str, ...], Finding] = {}
        self._claimed, self._reproducer = claimed, reproducer
        # What they speak of, leaves numbered as those of the claim.
        self._about: dict[Finding, About] = {}
        # Notices about single outputs, or mixtures, that say something only where they hold for all of them.
        self._moot: list[tuple[Notice, Finding]] = []
        # Of other notices, in which outputs the same was seen.
        self._seen_in: dict[tuple[str, ...], set[int]] = {}

    def add(self, findings: Sequence[Finding], *, is_at_point: bool = False) -> None:
        """Add what is not known yet; what f does at the point along different u is all the same to the user."""
        for one in findings:
            identity = (one.id, one.path, *(() if is_at_point else (one.kind, one.place)))
            self.said.setdefault(identity, one)

    def hear(self, notices: Sequence[Notice], leaves: Sequence[Leaf], outputs: Mapping[Sight, Sequence[int]]) -> None:
        """Add the notices of a proof of some leaves; an error among them has to be located first.

        What is seen of f along different u is all the same to the user; `outputs` are those it was seen in, if known.
        """
        for one in notices:
            told = self.noted(one, leaves)
            if self._is_moot(one):
                self._moot.append((one, told))
            elif one.severity is not Severity.ERROR:
                identity = told.id, told.path, one.sight.name, one.severity.name
                self.said.setdefault(identity, told)
                self._seen_in.setdefault(identity, set()).update(outputs.get(one.sight, ()))

    def noted(self, notice: Notice, leaves: Sequence[Leaf]) -> Finding:
        """A notice of a proof of some leaves as a finding."""
        return write_notice(notice, leaves, self._reproducer)

    def written(self, located: Located) -> list[Finding]:
        """Charges as findings, what each speaks of noted."""
        found = [write_linear(charge, self._claimed, self._reproducer) for charge in located.charges]
        self._about |= {one: charge.about for one, charge in zip(found, located.charges, strict=True)}
        return found

    def about(self) -> dict[Finding, About]:
        """What each speaks of, leaves numbered as those of the function."""
        measured, crooked = self._claimed.measured, self._claimed.crooked
        about = {
            one: dataclasses.replace(about, leaves=tuple(measured[k] for k in about.leaves))
            for one, about in self._about.items()
        }
        return about if crooked is None else {**about, crooked: About()}

    def place_notices(self) -> None:
        """Say in which outputs notices were seen; all outputs must have been looked at."""
        for identity, rows in self._seen_in.items():
            if rows and identity in self.said:
                place = in_outputs(sorted(rows), self._claimed)
                self.said[identity] = dataclasses.replace(self.said[identity], place=place)

    def after_all(self, merged: Mapping[int, LeafResult]) -> None:
        """Add those about single outputs that hold for all of them: f stands still, or is stationary."""
        if all(leaf.verdict is Verdict.INCONCLUSIVE and leaf.bound is None for leaf in merged.values()):
            self.add([told for one, told in self._moot if one.severity is Severity.DOUBT][:1])
            return
        stationary = {leaf.path for leaf in merged.values() if leaf.note == STATIONARY_NOTE}
        notes = {told.path: told for one, told in self._moot if one.sight in STATIONARY and told.path in stationary}
        self.add(list(notes.values()))

    def _is_moot(self, notice: Notice) -> bool:
        """Whether a notice speaks of one output alone: one that stands still is nothing to report."""
        is_still = notice.sight in OF_ONE_OUTPUT or (notice.sight in UNCHANGED and not notice.claimed)
        return self._claimed.primal.outputs.size > 1 and is_still
