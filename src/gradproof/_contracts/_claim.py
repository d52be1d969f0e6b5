"""Hold a claim against the leaves it is about: all contracts on its form, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._backends import Array
from gradproof._base import _tree
from gradproof._base._errors import UsageError
from gradproof._contracts._dtype import check_dtype
from gradproof._contracts._finite import check_finite
from gradproof._contracts._shape import fit_block, fit_shape
from gradproof._contracts._structure import match_claim
from gradproof._function._layout import Layout, Origin
from gradproof._function._primal import Primal
from gradproof._report import Finding, Severity


@dataclasses.dataclass(kw_only=True)
class Judged:
    """What the form of a claim allows.

    Attributes
    ----------
    gradients : dict of int to ndarray of float64
        Those that can be measured, in the shape of their leaf, by its index in ``primal.leaves``.
    misshapen : set of int
        Those of them whose gradient came in another shape.
    empty : list of int
        Leaves without entries whose gradient has none either.
    set_aside : dict of int to str
        Why the others cannot be measured.
    undecided : dict of int to str
        Why measuring them would tell nothing.
    undefined : set of int
        Those of them that are not finite where f is not defined on either side: no mistake.
    findings : list of Finding
    """

    gradients: dict[int, Array] = dataclasses.field(default_factory=dict[int, Array])
    misshapen: set[int] = dataclasses.field(default_factory=set[int])
    empty: list[int] = dataclasses.field(default_factory=list[int])
    set_aside: dict[int, str] = dataclasses.field(default_factory=dict[int, str])
    undecided: dict[int, str] = dataclasses.field(default_factory=dict[int, str])
    undefined: set[int] = dataclasses.field(default_factory=set[int])
    findings: list[Finding] = dataclasses.field(default_factory=list[Finding])

    def set_aside_all(self, origin: Origin, why: str) -> None:
        """Measure no leaf of an array."""
        self.set_aside.update(dict.fromkeys(origin.parts, f"set aside: {why}"))

    def has_dtype(self, origin: Origin, layout: Layout, claimed: Array, *, may_be_complex: bool = False) -> bool:
        """Whether numbers of this dtype can be what is claimed for an array, which is set aside if not."""
        found = check_dtype(origin, layout.leaves[origin.parts[0]], claimed, may_be_complex=may_be_complex)
        self.findings += [] if found is None else [found]
        if found is None or found.severity is not Severity.ERROR:
            return True
        self.set_aside_all(origin, f"claimed as {claimed.dtype.name}")
        return False

    def note_shape(self, origin: Origin, found: Finding | None) -> None:
        """Note that what is claimed for an array has another shape."""
        if found is not None:
            self.findings.append(found)
            self.misshapen.update(origin.parts)

    def is_finite(self, origin: Origin, claimed: Array) -> bool:
        """Whether what is claimed for an array is finite; it is set aside if not."""
        found = check_finite(origin.path, claimed)
        if found is None:
            return True
        self.findings.append(found)
        self.set_aside_all(origin, "the claim is not finite")
        return False


def is_value(claim: Any, primal: Primal, keyword: str) -> bool:
    """Whether the claim is the gradient itself: a callable is, if it flattens to the differentiated structure.

    Raises
    ------
    UsageError
        If the claim is neither callable nor a tree with numbers in it.
    """
    if claim is None:
        raise UsageError(f"`{keyword}` must be a callable or the gradient itself, got None.")
    if isinstance(claim, bool) or (isinstance(claim, str) and claim in ("2-point", "3-point", "cs")):
        scipy = "for SciPy's `jac=True` and its names of differences there is `gradproof.scipy.check_minimize`"
        raise UsageError(f"`{keyword}` must be a callable or a tree of numbers, got {claim!r}; {scipy}.")
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
    return _backends.is_array(value) or isinstance(value, (np.number, np.bool_, bool, int, float, complex))


def judge_claim(primal: Primal, claim: Any, keyword: str) -> Judged:
    """Match the claim to the leaves; hold dtype, shape and finiteness of each gradient against its leaf."""
    return judge_tree(claim, layout=primal.layout, roots=primal.roots, is_tuple=primal.is_tuple, keyword=keyword)


def judge_tree(
    claim: Any,
    *,
    layout: Layout,
    roots: Sequence[str],
    is_tuple: bool,
    keyword: str,
    noun: str = "gradient",
) -> Judged:
    """Match a tree of claimed arrays to arrays of the same shapes, by path; complex ones come to two leaves."""
    origins = layout.origins
    match = match_claim(
        claim,
        paths=[origin.path for origin in origins],
        keys=[origin.keys for origin in origins],
        shapes=[origin.shape for origin in origins],
        roots=roots,
        is_tuple=is_tuple,
        keyword=keyword,
    )
    judged = Judged(findings=[*([] if match.finding is None else [match.finding]), *match.notes])
    for i, origin in enumerate(origins):
        claimed = match.gradients.get(i)
        if claimed is None:
            judged.set_aside_all(origin, f"the claim has no {noun} for it")
            continue
        if not judged.has_dtype(origin, layout, claimed):
            continue
        fitted, about_shape = fit_shape(origin.path, origin.shape, claimed, noun)
        judged.note_shape(origin, about_shape)
        if fitted is None:
            judged.set_aside_all(origin, f"claimed with shape {claimed.shape}")
            continue
        if origin.parts[0] in layout.left_out:
            fitted = fitted.copy()
            fitted.reshape(-1)[layout.left_out[origin.parts[0]]] = 0.0
        if not judged.is_finite(origin, fitted):
            continue
        if origin.size == 0:
            judged.empty.extend(origin.parts)
        else:
            parts = _parts(fitted) if origin.is_complex else (_real(fitted),)
            judged.gradients.update(zip(origin.parts, parts, strict=True))
    return judged


def _parts(array: Array) -> tuple[Array, Array]:
    """Real and imaginary part in float64."""
    return _real(array), np.imag(array).astype(np.float64, copy=False)


def _real(array: Array) -> Array:
    return np.real(array).astype(np.float64, copy=False)


def judge_jacobian(
    primal: Primal,
    claim: Any,
    keyword: str,
    names: Sequence[str],
    keys: Sequence[tuple[Hashable, ...]] | None = None,
) -> tuple[Judged, set[int]]:
    """Match a claimed Jacobian to outputs and leaves: one block (m, n of the leaf) for each leaf.

    Parameters
    ----------
    primal : Primal
        Of a function with outputs.
    claim : tree
        The structure of what f returns, and within it that of the differentiated argument; each array of shape
        ``output.shape + leaf.shape``, or (entries of the output, entries of the leaf). One array (m, n) may stand for
        all outputs together where one leaf is differentiated.
    keyword : str
    names : sequence of str
        Where each output lies within the claim, as Python source.
    keys : sequence of tuple, optional
        The same as keys and indices from the top of ``(claim,)``; where f has them by default.

    Returns
    -------
    Judged
    set of int
        Leaves whose blocks came as (entries, entries).
    """
    outputs = primal.outputs
    judged, flat = Judged(), set[int]()
    blocks: dict[int, list[Array]] = {i: [] for i in range(len(primal.leaves))}
    parts = _by_output(primal, claim, outputs.keys if keys is None else keys)
    for output, part, name in zip(outputs.origins, parts, names, strict=True):
        match = match_claim(
            part,
            paths=[origin.path for origin in primal.origins],
            keys=[origin.keys for origin in primal.origins],
            shapes=[output.shape + origin.shape for origin in primal.origins],
            roots=primal.roots,
            is_tuple=primal.is_tuple,
            keyword=keyword + name,
        )
        judged.findings += [] if match.finding is None else [match.finding]
        judged.findings += [note for note in match.notes if note not in judged.findings]
        for i, origin in enumerate(primal.origins):
            claimed = match.gradients.get(i)
            if claimed is None:
                judged.set_aside_all(origin, f"the claim has no block for it ({keyword}{name})")
                continue
            block = _block(primal, judged, output, origin, claimed)
            if block is None:
                continue
            if claimed.shape != output.shape + origin.shape:
                flat.update(origin.parts)
            for k, columns in zip(origin.parts, _real_columns(block, output, origin), strict=True):
                blocks[k].append(columns)
    for i, leaf in enumerate(primal.leaves):
        if i in judged.set_aside:
            continue
        if leaf.size == 0:
            judged.empty.append(i)
        else:
            judged.gradients[i] = np.concatenate(blocks[i])
    return judged, flat


def _by_output(primal: Primal, claim: Any, keys: Sequence[tuple[Hashable, ...]]) -> list[Any]:
    """What a claimed Jacobian has for each output; None where it has nothing in its place."""
    origins = primal.outputs.origins
    rows = [output.size for output in origins]
    if isinstance(claim, np.ndarray) and len(origins) > 1 and len(primal.origins) == 1:
        whole = cast("Array", claim)
        if whole.shape == (sum(rows), primal.origins[0].size):
            return list(np.split(whole, np.cumsum(rows)[:-1]))
    parts: list[Any] = []
    for way in keys:
        try:
            parts.append(_tree.subtree((claim,), way))
        except LookupError:
            parts.append(None)
    return parts


def _block(primal: Primal, judged: Judged, output: Origin, origin: Origin, claimed: Array) -> Array | None:
    """Return the block of an output and a leaf as a matrix; where it cannot be measured, set it aside."""
    if not judged.has_dtype(origin, primal.layout, claimed, may_be_complex=output.is_complex):
        return None
    block, about_shape = fit_block(origin.path, output.shape, origin.shape, claimed)
    judged.note_shape(origin, about_shape)
    if block is None:
        judged.set_aside_all(origin, f"claimed with shape {claimed.shape}")
        return None
    if origin.parts[0] in primal.layout.left_out:
        claimed = block = block.copy()
        block[:, primal.layout.left_out[origin.parts[0]]] = 0.0
    return block if judged.is_finite(origin, claimed) else None


def _real_columns(block: Array, output: Origin, origin: Origin) -> tuple[Array, ...]:
    """Return a block (m, n) as the rows and columns of real and imaginary parts: one matrix for each leaf of `origin`.

    Between complex arrays it holds the complex derivative, ``df = J dz``. With respect to a complex array, rows of a
    real output hold gradients, ``df/dx + i df/dy``.
    """
    if not output.is_complex:
        return _parts(block) if origin.is_complex else (_real(block),)
    real, imag = _parts(block)
    by_real = np.concatenate([real, imag])
    return (by_real, np.concatenate([-imag, real])) if origin.is_complex else (by_real,)
