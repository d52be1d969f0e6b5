"""A claim that is not finite, where f itself is not defined on either side: there is nothing that it could be."""

from __future__ import annotations

import dataclasses

import numpy as np

from gradproof._base._leaf import Leaf
from gradproof._claims._around import Around
from gradproof._contracts import Judged
from gradproof._function._primal import Primal
from gradproof._prove import leaf_size
from gradproof._report import Severity

# Steps, in natural sizes, at which f is looked for on both sides of an entry.
STEPS = (1e-3, 1e-6)
# Entries that are tried one by one where a claim does not say which of them its nan is about.
FEW = 16
UNDEFINED = "set aside: neither f nor the claim is finite beside the point"


def excuse_undefined(primal: Primal, judged: Judged, around: Around) -> None:
    """Turn findings of claims that are not finite into doubts where f is not finite on both sides of every such entry.

    Where f has values on either side, the claim should be a number: the finding stays an error.
    """
    for k, finding in enumerate(judged.findings):
        if finding.id != "GP203" or finding.severity is not Severity.ERROR:
            continue
        about = [i for i, leaf in enumerate(primal.leaves) if leaf.path == finding.path]
        entries = [(i, _within(primal.leaves[i], entry)) for i in about for entry in finding.entries or ((),)]
        if about:
            excused = all(_undefined_beside(primal, *entry, around) for entry in entries)
        else:
            # The answers to all tangents together: one entry that explains nan is enough.
            excused = len(primal.point) <= FEW and any(
                _undefined_beside(primal, i, inside, around)
                for i, leaf in enumerate(primal.leaves)
                for inside in range(leaf.size)
            )
        if not excused:
            continue
        judged.undefined.update(about or range(len(primal.leaves)))
        judged.set_aside.update(dict.fromkeys(judged.undefined, UNDEFINED))
        judged.findings[k] = dataclasses.replace(
            finding,
            severity=Severity.DOUBT,
            kind=f"{finding.kind}, and f is not defined on either side there",
            advice="check at a point around which f has values, or leave this argument out with `wrt`.",
        )


def _undefined_beside(primal: Primal, i: int, inside: int, around: Around) -> bool:
    """Whether f is nan or infinite on both sides of an entry of a leaf."""
    leaf = primal.leaves[i]
    size = float(np.broadcast_to(leaf_size(leaf, primal.point), (leaf.size,))[inside])
    for step in (sign * step * size for step in STEPS for sign in (1.0, -1.0)):
        moved = primal.point.copy()
        moved[leaf.start + inside] += step
        inside_domain = around.bounds is None or bool(((around.bounds[0] <= moved) & (moved <= around.bounds[1])).all())
        if inside_domain and primal.is_finite_at(moved):
            return False
    return True


def _within(leaf: Leaf, entry: tuple[int, ...]) -> int:
    """The flat index within a leaf of an entry of its gradient, or of a block of a Jacobian (the last axes)."""
    axes = len(leaf.shape)
    if len(entry) < axes or (len(entry) == 2 and axes > 2):
        return entry[-1]
    inside = entry[len(entry) - axes :]
    if not all(index < length for index, length in zip(inside, leaf.shape, strict=True)):
        return entry[-1]
    return int(np.ravel_multi_index(inside, leaf.shape)) if inside else 0
