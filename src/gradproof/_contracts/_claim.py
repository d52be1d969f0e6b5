"""Hold a claim against the leaves it is about: all contracts on its form, one after the other."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np

from gradproof import _tree
from gradproof._backends._numpy import Array
from gradproof._contracts._dtype import check_dtype
from gradproof._contracts._finite import check_finite
from gradproof._contracts._shape import fit_shape
from gradproof._contracts._structure import match_claim
from gradproof._errors import UsageError
from gradproof._problem import Primal
from gradproof._report import Finding, Severity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """What the form of a claim allows.

    Attributes
    ----------
    gradients : dict of int to ndarray of float64
        Those that can be measured, in the shape of their leaf, by its index in ``primal.leaves``.
    empty : list of int
        Leaves without entries whose gradient has none either.
    set_aside : dict of int to str
        Why the others cannot be measured.
    findings : list of Finding
    """

    gradients: dict[int, Array] = dataclasses.field(default_factory=dict[int, Array])
    empty: list[int] = dataclasses.field(default_factory=list[int])
    set_aside: dict[int, str] = dataclasses.field(default_factory=dict[int, str])
    findings: list[Finding] = dataclasses.field(default_factory=list[Finding])


def is_value(claim: Any, primal: Primal, keyword: str) -> bool:
    """Whether the claim is the gradient itself: a callable is, if it flattens to the differentiated structure.

    Raises
    ------
    UsageError
        If the claim is neither callable nor a tree with numbers in it.
    """
    if claim is None:
        raise UsageError(f"`{keyword}` must be a callable or the gradient itself, got None.")
    members = _members(claim, primal.is_tuple)
    leaves = _tree.flatten(members, [keyword] * len(members)).leaves
    if callable(claim):
        return {leaf.keys for leaf in leaves} == set(primal.keys) and all(_is_numeric(leaf.value) for leaf in leaves)
    if leaves and not any(_is_numeric(leaf.value) for leaf in leaves):
        text = repr(claim)
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise UsageError(f"`{keyword}` must be a callable or a tree of numbers, got {shown}.")
    return True


def _members(claim: Any, is_tuple: bool) -> tuple[Any, ...]:
    return cast("tuple[Any, ...]", claim) if is_tuple and isinstance(claim, tuple) else (claim,)


def _is_numeric(value: object) -> bool:
    return isinstance(value, (np.ndarray, np.number, np.bool_, bool, int, float, complex))


def judge_claim(primal: Primal, claim: Any, keyword: str) -> Judged:
    """Match the claim to the leaves; hold dtype, shape and finiteness of each gradient against its leaf."""
    match = match_claim(
        claim,
        paths=[leaf.path for leaf in primal.leaves],
        keys=primal.keys,
        shapes=[leaf.shape for leaf in primal.leaves],
        roots=primal.roots,
        is_tuple=primal.is_tuple,
        keyword=keyword,
    )
    judged = Judged(findings=[] if match.finding is None else [match.finding])
    for i, leaf in enumerate(primal.leaves):
        claimed = match.gradients.get(i)
        if claimed is None:
            judged.set_aside[i] = "set aside: the claim has no gradient for it"
            continue
        about_dtype = check_dtype(leaf.path, leaf.dtype, claimed)
        judged.findings.extend([] if about_dtype is None else [about_dtype])
        if about_dtype is not None and about_dtype.severity is Severity.ERROR:
            judged.set_aside[i] = f"set aside: claimed as {claimed.dtype.name}"
            continue
        fitted, about_shape = fit_shape(leaf.path, leaf.shape, claimed.astype(np.float64, copy=False))
        judged.findings.extend([] if about_shape is None else [about_shape])
        if fitted is None:
            judged.set_aside[i] = f"set aside: claimed with shape {claimed.shape}"
            continue
        not_finite = check_finite(leaf.path, fitted)
        if not_finite is not None:
            judged.findings.append(not_finite)
            judged.set_aside[i] = "set aside: the claim is not finite"
        elif leaf.size == 0:
            judged.empty.append(i)
        else:
            judged.gradients[i] = fitted
    return judged
