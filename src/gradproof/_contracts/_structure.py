"""GP202: a claim has one gradient for each differentiated leaf, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._backends import Array
from gradproof._base import _tree
from gradproof._report import Finding, Severity

Keys = tuple[Hashable, ...]

_SHOWN = 6
_PREFIXES = ("d", "d_", "g_", "grad", "grad_", "delta_", "nabla_", "∇")
_SUFFIXES = ("grad", "_grad", "_g", "_gradient", "_d", "bar", "_bar")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """The gradient claimed for each leaf, by its index, as arrays; and the finding if the structures differ."""

    gradients: dict[int, Array]
    finding: Finding | None


def match_claim(
    claim: Any,
    *,
    paths: Sequence[str],
    keys: Sequence[Keys],
    shapes: Sequence[tuple[int, ...]],
    roots: Sequence[str],
    is_tuple: bool,
    keyword: str,
) -> Match:
    """Find the gradient of each leaf in the claim, by path: the order of keys does not matter.

    Parameters
    ----------
    claim : tree
        As the user's function returned it: the structure of the one differentiated argument, or a tuple of such
        where `is_tuple`.
    paths, keys, shapes
        One per leaf.
    roots : sequence of str
        Names of the differentiated arguments.
    keyword : str
        The claim's name in messages, such as ``"grad"``.

    Notes
    -----
    A list of numbers may stand for an array, as SciPy allows.
    """
    whole = ", ".join(roots)
    if claim is None:
        return Match(gradients={}, finding=_finding(whole, f"`{keyword}` returned None", "did you forget `return`?"))
    members = (claim,)
    if is_tuple:
        members = tuple(cast("list[Any]", claim)) if isinstance(claim, (tuple, list)) else ()
        if len(members) != len(roots):
            kind = f"`{keyword}` gives {_describe(claim)}, not a tuple of {len(roots)}"
            advice = "a tuple in `wrt` asks for one gradient per argument."
            return Match(gradients={}, finding=_finding(whole, kind, advice))
    offered = {leaf.keys: leaf for leaf in _tree.flatten(members, roots, none_is_leaf=True).leaves}
    gradients: dict[int, Array] = {}
    missing: list[int] = []
    nones: list[str] = []
    for i, key in enumerate(keys):
        leaf = offered.pop(key, None)
        if leaf is not None and leaf.value is not None:
            gradients[i] = _backends.of(leaf.value).as_numpy(leaf.value)
            continue
        array = _listed(members, key) if leaf is None else None
        if array is None:
            missing.append(i)
            nones += [paths[i]] if leaf is not None else []
            continue
        gradients[i] = array
        offered = {other: leaf for other, leaf in offered.items() if other[: len(key)] != key}
    extra = [leaf for leaf in offered.values() if leaf.value is not None]
    if not missing and not extra:
        return Match(gradients=gradients, finding=None)

    parts = [f"missing: {_listing([paths[i] for i in missing])}"] if missing else []
    parts += [f"extra: {_listing([leaf.path for leaf in extra])}"] if extra else []
    advice = (
        _renamed([(keys[i], shapes[i]) for i in missing], extra)
        or _one_argument(claim, is_tuple, keyword, gradients)
        or _array_for_list([keys[i] for i in missing], extra)
        or (f"`{keyword}` gives None for {_listing(nones)}: where f does not depend on it, say zeros." if nones else "")
        or "a claim has the structure of what is differentiated, key by key."
    )
    return Match(gradients=gradients, finding=_finding(whole, "; ".join(parts), advice))


def _finding(path: str, kind: str, advice: str) -> Finding:
    return Finding(id="GP202", severity=Severity.ERROR, path=path, kind=kind, advice=advice)


def _listed(members: tuple[Any, ...], key: Keys) -> Array | None:
    """Return the list of numbers that stands in place of an array; None where there is no such list."""
    try:
        found: Any = _tree.subtree(members, key)
    except LookupError:
        return None
    if type(found) not in (list, tuple):
        return None
    values = _tree.flatten((found,), ("",), none_is_leaf=True).leaves
    if any(np.ndim(leaf.value) for leaf in values):
        return None
    try:
        array: Array = np.array(found)
    except ValueError:  # rows of different lengths
        return None
    return array if array.dtype.kind in "biufc" else None


def _renamed(missing: Sequence[tuple[Keys, tuple[int, ...]]], extra: Sequence[_tree.NamedLeaf]) -> str:
    """Say which extra keys look like the gradients of which missing ones."""
    pairs: list[tuple[str, str]] = []
    for keys, shape in missing:
        name = keys[-1]
        candidates = [leaf for leaf in extra if leaf.keys[:-1] == keys[:-1] and isinstance(leaf.keys[-1], str)]
        if not isinstance(name, str) or not candidates:
            continue
        names = [str(leaf.keys[-1]) for leaf in candidates]
        found = next((other for other in names if name in _stripped(other)), None)
        if found is None:
            found = _similar(name, [str(leaf.keys[-1]) for leaf in candidates if np.shape(leaf.value) == shape])
        if found is not None:
            pairs.append((found, name))
    if not pairs:
        return ""
    shown = ", ".join(f"{found!r} to {name!r}" for found, name in pairs[:_SHOWN])
    return f"name each gradient as its parameter: rename {shown}{_more(len(pairs))}."


def _stripped(name: str) -> set[str]:
    """What `name` may be the gradient of, judging by its spelling."""
    names = {name.removeprefix(prefix) for prefix in _PREFIXES} | {name.removesuffix(suffix) for suffix in _SUFFIXES}
    return names | {other.lstrip("_") for other in names}


def _similar(name: str, others: list[str]) -> str | None:
    import difflib

    by_lower = {other.lower(): other for other in others}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else None


def _one_argument(claim: Any, is_tuple: bool, keyword: str, gradients: dict[int, Array]) -> str:
    if is_tuple or type(claim) is not tuple or gradients:
        return ""
    count = len(cast("tuple[Any, ...]", claim))
    wrt = ", ".join(map(str, range(count)))
    fix = f"pass `wrt=({wrt})`, or return one of them" if count > 1 else "return the gradient itself"
    return f"`{keyword}` gives a tuple of {count}, but one argument is differentiated: {fix}."


def _array_for_list(missing: Sequence[Keys], extra: Sequence[_tree.NamedLeaf]) -> str:
    for leaf in extra:
        if any(len(leaf.keys) < len(keys) and keys[: len(leaf.keys)] == leaf.keys for keys in missing):
            return (
                f"`{leaf.path}` is a container of several leaves, the claim has one array there: pass an array to "
                "`check`, or return such a container."
            )
    return ""


def _listing(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + _more(len(paths))


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""


def _describe(value: Any) -> str:
    name = f"a {type(value).__name__}"
    return f"{name} of {len(value)}" if type(value) in (tuple, list, dict) else name
