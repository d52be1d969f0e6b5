"""Which part of a function is wrong: the deepest one whose own derivative is, on what it really received."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gradproof import _progress
from gradproof._report import Finding, Severity

Refute = Callable[[Any], "Finding | None"]


class Part(Protocol):
    """A call of something that has a derivative of its own: f, a module, or a hand-written rule.

    Attributes
    ----------
    path : str
        As Python source, such as ``model.encoder[1].norm``; the name of a rule.
    owner : object
        What was called: the same for every call of one module.
    """

    path: str
    owner: object

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


def wrong_parts(whole: Part, refute: Refute) -> list[Finding]:
    """Name the deepest parts whose own derivatives are wrong, given that the whole is wrong.

    A part is accused by its own measurements alone, never because another one is right.
    """
    return _deepest(whole, None, refute)


def _deepest(part: Part, accused: Finding | None, refute: Refute) -> list[Finding]:
    inside: list[Finding] = []
    parts = part.parts()
    if len(parts) == 1:
        # It is the whole but for little: what is wrong within it says more, and costs less to find.
        inside = _deepest(parts[0], None, refute)
    for inner, found in _refuted(parts, refute) if not inside else []:
        inside += _deepest(inner, found, refute)
    if inside:
        return inside
    rules = _refuted(part.rules(), refute)
    names = [rule.path for rule, _ in rules]
    if accused is None and rules:
        accused = rules[0][1]
    if accused is None:
        return []
    place = f"`{part.path}`" + (f" ({', '.join(names)})" if names else "")
    within = f" for `{accused.path}`" if accused.path else ""
    advice = (
        f"Look at the backward of {', '.join(f'`{name}`' for name in names)}"
        if names
        else f"Look at what `{part.path}` does besides calling its parts, which are right"
    )
    return [
        dataclasses.replace(
            accused,
            id="GP120",
            severity=Severity.ERROR,
            path=part.path,
            entries=(),
            place="",
            kind=f"in {place}: {accused.kind}{within}",
            advice=f"{advice}: checked by itself, on the inputs and cotangents that it really received.",
            reproducer="",
        )
    ]


def _refuted(parts: Sequence[Part], refute: Refute) -> list[tuple[Part, Finding]]:
    """Those of some parts that are wrong by themselves: what is called twice is named once.

    Where the cotangents that were received speak against one, these explain the whole; random ones are the second try.
    """
    for received in (True, False):
        wrong: list[tuple[Part, Finding]] = []
        for part in parts:
            if any(part.owner is other.owner for other, _ in wrong):
                continue
            function = part.function(received=received)
            with _progress.current().during("locating", f"in {part.path}"):
                found = None if function is None else refute(function)
            if found is not None:
                wrong.append((part, found))
        if wrong:
            return wrong
    return []
