"""GP202: a claim has one gradient for each differentiated leaf, and nothing else.

GP411 and GP412 are notes of what it may have all the same: other names, throughout, and lists in place of arrays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._backends import Array
from gradproof._base import _tree
from gradproof._report import Finding, Severity

Keys = tuple[Hashable, ...]
Shape = tuple[int, ...]

_SHOWN = 6
_RENAME = "name each gradient as its parameter, and this note goes."
_RETURN_AN_ARRAY = "return `np.array(...)` of it, and this note goes."
_PASS_AN_ARRAY = "pass `np.array(...)` as the point, and f and the claim get an array as well."
# How gradients are named after their parameters, where all of them are: `delta_W` is as often a step.
_NAMINGS = (
    *((prefix, "") for prefix in ("d", "d_", "g", "g_", "grad", "grad_", "nabla_", "∇", "∂")),
    *(("", suffix) for suffix in ("grad", "_grad", "_g", "_gradient", "bar", "_bar")),
)
_PREFIXES = ("d", "d_", "g_", "grad", "grad_", "delta_", "nabla_", "∇")
_SUFFIXES = ("grad", "_grad", "_g", "_gradient", "_d", "bar", "_bar")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """The gradient claimed for each leaf, by its index, as arrays; the finding if the structures differ, and notes."""

    gradients: dict[int, Array]
    finding: Finding | None
    notes: tuple[Finding, ...] = ()


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
    A list of numbers may stand for an array, as SciPy allows, and an array for a list of numbers. Gradients may all be
    named after their parameters, ``dW`` for ``W``, where none has the name of a parameter.
    """
    whole = ", ".join(roots)
    if claim is None:
        return Match(gradients={}, finding=_finding(whole, f"`{keyword}` returned None", "did you forget `return`?"))
    members = (claim,)
    if is_tuple:
        members = tuple(cast("list[Any]", claim)) if isinstance(claim, (tuple, list)) else ()
        if len(members) != len(roots):
            return Match(gradients={}, finding=_no_such_tuple(claim, roots, keyword))
    offered = {leaf.keys: leaf for leaf in _tree.flatten(members, roots, none_is_leaf=True).leaves}
    offered, renamed = _in_own_names(keys, offered)
    matching = _Matching(paths=paths, keys=keys, shapes=shapes, offered=offered)
    if renamed:
        matching.notes.append(_note("GP411", whole, f"compared under other names: {renamed}", _RENAME))
    matching.take_by_path(members)
    matching.take_stacked()
    gradients, notes = matching.gradients, tuple(matching.notes)
    if not matching.missing and not matching.extra:
        return Match(gradients=gradients, finding=None, notes=notes)
    advice = matching.advice(claim, is_tuple, keyword)
    return Match(gradients=gradients, finding=_finding(whole, matching.difference(), advice), notes=notes)


def _no_such_tuple(claim: Any, roots: Sequence[str], keyword: str) -> Finding:
    """Say that a claim has not one member for each differentiated argument."""
    kind = f"`{keyword}` gives {_describe(claim)}, not a tuple of {len(roots)}"
    advice = "a tuple in `wrt` asks for one gradient per argument."
    if isinstance(claim, Mapping) and all(root in claim for root in roots):
        advice += f" Return `({', '.join(f'grads[{root!r}]' for root in roots)})`."
    return _finding(", ".join(roots), kind, advice)


@dataclasses.dataclass(kw_only=True)
class _Matching:
    """What a claim offers beside what is asked for: what was taken from it, and what is left on both sides.

    Attributes
    ----------
    paths, keys, shapes
        One per leaf of the point.
    offered : dict
        Leaves of the claim that stand for none of the point yet.
    gradients : dict of int to ndarray
    missing : list of int
        Leaves for which the claim has nothing.
    nones : list of str
        Paths of those for which it has None.
    notes : list of Finding
    """

    paths: Sequence[str]
    keys: Sequence[Keys]
    shapes: Sequence[Shape]
    offered: dict[Keys, _tree.NamedLeaf]
    gradients: dict[int, Array] = dataclasses.field(default_factory=dict[int, Array])
    missing: list[int] = dataclasses.field(default_factory=list[int])
    nones: list[str] = dataclasses.field(default_factory=list[str])
    notes: list[Finding] = dataclasses.field(default_factory=list[Finding])

    @property
    def extra(self) -> list[_tree.NamedLeaf]:
        """What the claim offers and nobody asked for."""
        return [leaf for leaf in self.offered.values() if leaf.value is not None]

    def take_by_path(self, members: tuple[Any, ...]) -> None:
        """Take the array at the place of each leaf, or the list of numbers that stands there."""
        for i, key in enumerate(self.keys):
            leaf = self.offered.pop(key, None)
            if leaf is not None and leaf.value is not None:
                self.gradients[i] = _backends.of(leaf.value).as_numpy(leaf.value)
                continue
            array = _listed(members, key) if leaf is None else None
            if array is None:
                self.missing.append(i)
                self.nones += [self.paths[i]] if leaf is not None else []
                continue
            self.gradients[i] = array
            self.offered = {other: leaf for other, leaf in self.offered.items() if other[: len(key)] != key}
            kind = "a list was taken for the array that it stands for"
            self.notes.append(_note("GP412", self.paths[i], kind, _RETURN_AN_ARRAY))

    def take_stacked(self) -> None:
        """Take arrays that stand in the place of lists of leaves apart."""
        for key in [key for key, leaf in self.offered.items() if leaf.value is not None]:
            members = {i: self.keys[i][len(key) :] for i in self.missing if self.keys[i][: len(key)] == key}
            array = _backends.of(self.offered[key].value).as_numpy(self.offered[key].value) if members else None
            if array is None or not _is_stacked(array, members, self.shapes):
                continue
            for i, index in members.items():
                self.gradients[i] = np.asarray(array[cast("tuple[int, ...]", index)])
            self.missing = [i for i in self.missing if i not in members]
            kind = "an array was taken for the list that it stands for"
            self.notes.append(_note("GP412", self.offered.pop(key).path, kind, _PASS_AN_ARRAY))

    def difference(self) -> str:
        """Say what is missing, and what is extra."""
        parts = [f"missing: {_listing([self.paths[i] for i in self.missing])}"] if self.missing else []
        parts += [f"extra: {_listing([leaf.path for leaf in self.extra])}"] if self.extra else []
        return "; ".join(parts)

    def advice(self, claim: Any, is_tuple: bool, keyword: str) -> str:
        """Say what to do about it."""
        missing = [(self.keys[i], self.shapes[i]) for i in self.missing]
        about = (
            _renamed(missing, self.extra)
            or _other_container(claim, missing, self.extra)
            or _one_argument(claim, is_tuple, keyword, self.gradients, self.shapes)
        )
        if about:
            return about
        if not missing:
            return "leave it out: a claim has a gradient for each array that is differentiated, and no more."
        if self.nones:
            return f"`{keyword}` gives None for {_listing(self.nones)}: where f does not depend on it, say zeros."
        return "A claim has the structure of the argument, key by key."


def _finding(path: str, kind: str, advice: str) -> Finding:
    return Finding(id="GP202", severity=Severity.ERROR, path=path, kind=kind, advice=advice)


def _note(id: str, path: str, kind: str, advice: str) -> Finding:
    return Finding(id=id, severity=Severity.NOTE, path=path, kind=kind, advice=advice)


def _in_own_names(
    keys: Sequence[Keys], offered: dict[Keys, _tree.NamedLeaf]
) -> tuple[dict[Keys, _tree.NamedLeaf], str]:
    """Offer gradients that are named after their parameters under the names of these, and say which.

    All names of one dictionary must follow one naming, and none may be the name of a parameter in it: else the one that
    it stands for is a guess.
    """
    below: dict[Keys, dict[Hashable, None]] = {}
    for key in keys:
        for depth in range(len(key)):
            below.setdefault(key[:depth], {})[key[depth]] = None
    found: dict[Keys, dict[Hashable, None]] = {}
    for key in offered:
        for depth in range(len(key)):
            found.setdefault(key[:depth], {})[key[depth]] = None
    own: dict[Keys, Keys] = {(): ()}  # the way to a part of the claim: that to the same part of the point
    said: list[str] = []
    for given, names in found.items():  # (A part comes after the whole.)
        if given not in own:
            continue
        naming = _naming(below.get(own[given], {}), names)
        own.update(((*given, name), (*own[given], naming.get(name, name))) for name in names)
        said += [f"{name!r} as {naming[name]!r}" for name in names if name in naming]
    if not said:
        return offered, ""
    return {own[key]: leaf for key, leaf in offered.items()}, _listing(said)


def _naming(names: Mapping[Hashable, None], given: Mapping[Hashable, None]) -> dict[Hashable, Hashable]:
    """Which names of gradients are made of which names of parameters; none where that is not plain."""
    if not names or not all(isinstance(name, str) for name in names) or any(name in names for name in given):
        return {}
    fitting: list[dict[Hashable, Hashable]] = [
        {f"{prefix}{name}{suffix}": name for name in names}
        for prefix, suffix in _NAMINGS
        if all(f"{prefix}{name}{suffix}" in given for name in names)
    ]
    return fitting[0] if len(fitting) == 1 else {}


def _is_stacked(array: Array, members: Mapping[int, Keys], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether an array has one part for each member of a list, in its shape."""
    depths = {len(index) for index in members.values()}
    if len(depths) != 1 or not all(isinstance(one, int) for index in members.values() for one in index):
        return False
    (depth,) = depths
    return set(members.values()) == set(np.ndindex(array.shape[:depth])) and all(
        array.shape[depth:] == shapes[i] for i in members
    )


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


def _one_argument(
    claim: Any, is_tuple: bool, keyword: str, gradients: dict[int, Array], shapes: Sequence[Shape]
) -> str:
    if is_tuple or type(claim) is not tuple or gradients:
        return ""
    members = cast("tuple[Any, ...]", claim)
    count = len(members)
    fitting = [i for i, one in enumerate(members) if _backends.is_array(one) and (np.shape(one),) == tuple(shapes)]
    wrt = ", ".join(map(str, range(count)))
    one = "one of them"
    if len(fitting) == 1:
        one = f"member {fitting[0]}, which has its shape, alone (`lambda *args: {keyword}(*args)[{fitting[0]}]`)"
    fix = f"pass `wrt=({wrt})`, or return {one}" if count > 1 else "return the gradient itself"
    return f"`{keyword}` gives a tuple of {count}, but one argument is differentiated: {fix}."


def _other_container(claim: Any, missing: Sequence[tuple[Keys, Shape]], extra: Sequence[_tree.NamedLeaf]) -> str:
    """Say what to return where the claim has a container of another kind, or none, in some place."""
    for leaf in extra:
        if dataclasses.is_dataclass(leaf.value):
            return f"the claim has a {type(leaf.value).__name__} there: return `dataclasses.asdict(...)` of it."
        within = [(keys, shape) for keys, shape in missing if keys[: len(leaf.keys)] == leaf.keys]
        if within:
            total = sum(math.prod(shape) for _, shape in within)
            flat = f", cut out of its {total} entries" if np.size(leaf.value) == total > 1 else ""
            container = _dictionary([keys[len(leaf.keys)] for keys, _ in within]) or "such a container"
            count = "one array within it" if len(within) == 1 else f"{len(within)} arrays"
            return f"`{leaf.path}` holds {count}, the claim has one array there: return {container}{flat}."
    names = list(dict.fromkeys(keys[1] for keys, _ in missing if len(keys) > 1))
    if type(claim) in (tuple, list) and len(names) == len(extra) == len(claim) and _dictionary(names):
        return f"the claim is a {type(claim).__name__}: return {_dictionary(names)}."
    if isinstance(claim, Mapping) and [keys for keys, _ in missing] == [(0,)]:
        return "the point is one array, the claim is a dictionary: return one array in the shape of the point."
    return ""


def _dictionary(names: Sequence[Hashable]) -> str:
    """A dictionary with these keys as Python source; empty where they are no names."""
    if not all(isinstance(name, str) for name in names):
        return ""
    return f"`{{{_listing([f'{name!r}: ...' for name in dict.fromkeys(names)])}}}`"


def _listing(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + _more(len(paths))


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""


def _describe(value: Any) -> str:
    name = f"a {type(value).__name__}"
    return f"{name} of {len(value)}" if type(value) in (tuple, list, dict) else name
