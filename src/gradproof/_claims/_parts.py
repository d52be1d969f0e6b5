"""Which part of a function is wrong: the deepest one whose own derivative is, on what it really received."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

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

    def functions(self) -> Iterable[Any]:
        """The part by itself as real functions (see `gradproof._claims._modes.Function`).

        One is its outputs times the cotangents that they really received, another times random ones.
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
    wrong: list[object] = []
    for inner in part.parts():
        # A module that is called twice is named once.
        if any(inner.owner is owner for owner in wrong):
            continue
        found = _refuted(inner, refute)
        if found is not None:
            wrong.append(inner.owner)
            inside += _deepest(inner, found, refute)
    if inside:
        return inside
    names: list[str] = []
    for rule in part.rules():
        found = _refuted(rule, refute) if rule.path not in names else None
        if found is not None:
            names.append(rule.path)
            accused = accused or found
    if accused is None and not names:
        return []
    assert accused is not None
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


def _refuted(part: Part, refute: Refute) -> Finding | None:
    for function in part.functions():
        found = refute(function)
        if found is not None:
            return found
    return None
