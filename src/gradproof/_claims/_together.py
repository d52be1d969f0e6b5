"""One mistake, one finding: what speaks against several arrays alike is said once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from gradproof._base._names import is_within
from gradproof._prove._wording import ONE_ENTRY, SAME_FACTOR, SOME_ENTRIES, TOLERANCE, with_others
from gradproof._report import Finding, Severity

# Findings without a cause that are told apart, and what they say of single entries.
FEW = 2
ENTRIES = (ONE_ENTRY, SOME_ENTRIES)
SAME_SOURCE = (
    "Look at what the gradients of these arrays have in common: where one passes through a mistake, so do all that "
    "are computed from it."
)


def one_for_each_mistake(findings: Sequence[Finding], paths: Iterable[str]) -> list[Finding]:
    """Join findings about whole arrays, or parts of them, that say the same; `paths` are those of whole arrays.

    The same cause in several arrays is one mistake. So is, as far as anybody can tell, what no cause explains: an array
    of which only a part is wrong stands first, and the others are named with it.
    """
    whole = set(paths)
    groups: dict[tuple[str, float | None], list[int]] = {}
    for k, one in enumerate(findings):
        if _is_of_arrays(one) and not (", " in one.path and set(one.path.split(", ")) <= whole):
            groups.setdefault((one.kind, one.factor), []).append(k)
    told = dict(enumerate(findings))
    for numbers in groups.values():
        alike = [findings[k] for k in numbers]
        if len({one.path for one in alike}) < 2:
            continue
        first = next((one for one in alike if one.path not in whole), alike[0])
        others = list(dict.fromkeys(one.path for one in alike if not _overlap(one.path, first.path)))
        told[numbers[0]] = _joined(first, others, alike)
        for k in numbers[1:]:
            del told[k]
    return _unexplained_together(list(told.values()), whole)


def _unexplained_together(findings: list[Finding], whole: set[str]) -> list[Finding]:
    """Join what has no cause in several arrays, single entries too, if there is more of it than a reader can use."""
    alike = [one for one in findings if one.id == "GP101" and one.severity is Severity.ERROR and _is_unexplained(one)]
    first = next((one for one in alike if len(one.entries) != 1), None)
    arrays = {path for path in whole for one in alike if _overlap(one.path, path)}
    if first is None or len(alike) <= FEW or len(arrays) < 2:
        return findings
    others = [one.path for one in alike if one is not first and not _overlap(one.path, first.path)]
    joined = _joined(first, list(dict.fromkeys(others)), alike) if others else first
    return [joined if one is first else one for one in findings if one is first or one not in alike]


def _overlap(path: str, other: str) -> bool:
    """Whether one is the other, or a part of it."""
    return is_within(path, other) or is_within(other, path)


def _is_of_arrays(one: Finding) -> bool:
    return one.id == "GP101" and one.severity is Severity.ERROR and len(one.entries) != 1


def _is_unexplained(one: Finding) -> bool:
    return one.factor is None and (one.kind.endswith(" is wrong") or one.kind in ENTRIES)


def _joined(first: Finding, others: Sequence[str], alike: Sequence[Finding]) -> Finding:
    """The first of what is `alike`, with the names of the other arrays."""
    real, _, _ = first.path.rpartition(".real")
    if real and f"{real}.imag" in others:
        # Both parts of a complex array.
        others = [path for path in others if path != f"{real}.imag"]
        first = dataclasses.replace(first, path=real)
    if not others:
        return first
    place = with_others(first.place, others)
    advice = SAME_SOURCE if _is_unexplained(first) else SAME_FACTOR if first.factor is not None else first.advice
    if advice is SAME_SOURCE and all(one.advice.endswith(TOLERANCE) for one in alike):
        advice = f"{SAME_SOURCE} {TOLERANCE}"
    return dataclasses.replace(first, place=place, advice=advice)
