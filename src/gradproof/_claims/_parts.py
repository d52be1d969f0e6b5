"""Which part of a function is wrong: the deepest one whose own derivative is, on what it really received."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gradproof import _progress
from gradproof._base._away import BudgetSpent, is_from_handler
from gradproof._base._sources import definitions
from gradproof._report import Finding, Severity

# A cap of display: wrong entries that a finding on a part names.
ENTRIES = 3

Refute = Callable[[Any], "Finding | None"]


class Part(Protocol):
    """A call of something that has a derivative of its own: f, a module, or a hand-written rule.

    Attributes
    ----------
    path : str
        As Python source, such as ``model.encoder[1].norm``; the name of a rule.
    owner : object
        What was called: the same for every call of one module.
    reached : frozenset of str
        The differentiated arrays of the whole whose gradients pass through it.
    """

    @property
    def path(self) -> str: ...

    @property
    def owner(self) -> object: ...

    @property
    def reached(self) -> frozenset[str]: ...

    def function(self, *, received: bool) -> Any:
        """The part by itself as a real function (see `gradproof._claims._modes.Function`); None where there is none.

        It is the outputs times the cotangents that they really received, or times random ones.
        """
        ...

    def parts(self) -> Sequence[Part]:
        """What was called within it, but not within one of these."""
        ...

    def rules(self) -> Sequence[Part]:
        """The hand-written rules that were applied within it."""
        ...


class Whole(Part, Protocol):
    """The function itself.

    Attributes
    ----------
    is_one_rule_for_all_modes : bool
        Whether a rule that is wrong in one mode explains what is wrong in another.
    only_rule : str
        The name of the rule that it is nothing but a call of: what was measured of one is what was measured of both.
    """

    @property
    def only_rule(self) -> str: ...

    @property
    def is_one_rule_for_all_modes(self) -> bool: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cause:
    """A part that is wrong by itself.

    Attributes
    ----------
    finding : Finding
    name : str
        Of the module, or of the rules where these are not within one.
    reached : frozenset of str
        The differentiated arrays whose gradients pass through it.
    """

    finding: Finding
    name: str
    reached: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wrong:
    part: Part
    finding: Finding
    reached: frozenset[str]


def wrong_parts(whole: Whole, refute: Refute, mode: str) -> list[Cause]:
    """Name the deepest parts whose own derivatives are wrong in a mode, given that the whole is wrong.

    A part is accused by its own measurements alone, never because another one is right. None is where the whole does
    not run while it is watched, a part does not run alone, or no evaluation is left to look at all of them.
    """
    try:
        found = _deepest(whole, None, refute, written_as(mode), is_whole=True)
    except BudgetSpent:
        return []
    except Exception as error:
        if is_from_handler(error):
            raise
        return []
    # (One that is called by several others has been found in each.)
    causes: dict[tuple[str, str], Cause] = {}
    for cause in found:
        first = causes.setdefault((cause.finding.path, cause.finding.advice), cause)
        causes[first.finding.path, first.finding.advice] = dataclasses.replace(
            first, reached=first.reached | cause.reached
        )
    return list(causes.values())


def written_as(mode: str) -> str:
    """What the derivative in a mode is called where it is written by hand."""
    return "jvp" if mode == "fwd" else "backward"


def _deepest(part: Part, accused: _Wrong | None, refute: Refute, written: str, *, is_whole: bool) -> list[Cause]:
    inside: list[Cause] = []
    parts = part.parts()
    if len(parts) == 1:
        # It is the whole but for little: what is wrong within it says more, and costs less to find.
        inside = _deepest(parts[0], None, refute, written, is_whole=False)
    for inner in _refuted(parts, refute) if not inside else []:
        inside += _deepest(inner.part, inner, refute, written, is_whole=False)
    if inside:
        return inside
    rules = _refuted(part.rules(), refute)
    if not rules:
        if accused is None:
            return []
        return [Cause(finding=_on(part, accused.finding), name=f"`{part.path}`", reached=accused.reached)]
    if len(rules) == 1 and accused is not None:
        # (What was measured of the part speaks of the user's own names.)
        rules = [dataclasses.replace(rules[0], finding=accused.finding)]
    return [
        Cause(
            finding=_on(part, rule.finding, rule.part, written),
            name=f"`{rule.part.path if is_whole else part.path}`",
            reached=rule.reached & (part.reached if accused is None else accused.reached),
        )
        for rule in rules
    ]


def _on(part: Part, accused: Finding, by: Part | None = None, written: str = "") -> Finding:
    """What was measured of a part, or of a rule in it, as one finding on the part."""
    path, rule = part.path, "" if by is None else by.path
    place = f"`{path}`" + (f" ({rule})" if rule else "")
    within = f" for {_where(accused)}" if accused.path else ""
    advice = (
        f"Look at the {written} of `{rule}`"
        if rule
        else f"Look at what `{path}` does besides calling its parts, which are right"
    )
    return dataclasses.replace(
        accused,
        id="GP120",
        severity=Severity.ERROR,
        path=path,
        entries=(),
        place="",
        kind=f"in {place}: {accused.kind}{within}",
        # (Of a part that is known to be wrong by design, what to do about it.)
        advice=getattr(part, "remark", "")
        or f"{advice}: checked by itself, on the inputs and cotangents that it really received.",
        reproducer="",
        sources=definitions((by or part).owner),
    )


def _where(finding: Finding) -> str:
    """The array, entries and place of a finding in words."""
    entries = [str(list(entry)) for entry in finding.entries]
    name = finding.path + "".join(one for one in entries if len(entries) == 1 and not finding.path.endswith(one))
    more = f" and {len(entries) - ENTRIES:,} more" if len(entries) > ENTRIES else ""
    at = f" at {', '.join(entries[:ENTRIES])}{more}" if len(entries) > 1 else ""
    place = "" if finding.place == "everywhere" or name.endswith(finding.place) else f", {finding.place}"
    return f"`{name}`{at}{place}"


def _refuted(parts: Sequence[Part], refute: Refute) -> list[_Wrong]:
    """Those of some parts that are wrong by themselves: what is called twice is named once.

    The cotangents that were received decide; random ones do where none are known.
    """
    wrong: list[_Wrong] = []
    for part in parts:
        if any(part.owner is other.part.owner for other in wrong):
            continue
        function = part.function(received=True) or part.function(received=False)
        with _progress.current().during("locating", f"in {part.path}"):
            found = None if function is None else refute(function)
        if found is not None:
            reached = (one.reached for one in parts if one.owner is part.owner)
            wrong.append(_Wrong(part=part, finding=found, reached=frozenset[str]().union(*reached)))
    return wrong
