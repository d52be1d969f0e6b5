"""Arrays as the user has them, and the leaves that stand for them: one for each, two where it is complex."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends
from gradproof._backends import Array, Maker, Matrix, Vector
from gradproof._base._leaf import Leaf
from gradproof._base._pieces import is_large, is_many, joined
from gradproof._base._tree import NamedLeaf

# How the parts of a complex array are named, in the order of their leaves: Python source after its path.
SUFFIXES = (".real", ".imag")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Origin:
    """An array or number as the user has it.

    Attributes
    ----------
    path : str
        Python source, such as ``params['z']``.
    keys : tuple
        The way to it from the top.
    slot : int
        Its place in the order of the structure.
    value : object
    shape : tuple of int
    dtype : str
    parts : tuple of int
        Its leaf, or those of its real and its imaginary part.
    """

    path: str
    keys: tuple[Hashable, ...]
    slot: int
    value: Any
    shape: tuple[int, ...]
    dtype: str
    parts: tuple[int, ...]

    @property
    def is_complex(self) -> bool:
        return len(self.parts) == 2

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def vectors(self, value: Any) -> list[Vector]:
        """Take a value in place of this one apart: a private float64 vector for each part."""
        return [_backends.of(part).to_vector(part) for part in self._split(value)]

    def _split(self, value: Any) -> tuple[Any, ...]:
        backend = _backends.of(value)
        if not self.is_complex:
            return (value,)
        # What happens to be real here counts as complex all the same.
        return backend.halves(value) if backend.kind_of(value) == "c" else (value, np.zeros(np.shape(value)))

    def maker(self, parts: Sequence[Maker]) -> Maker:
        """Return the maker of the whole, from those of its parts."""
        if not self.is_complex:
            return parts[0]
        value, (real, imag) = self.value, parts
        join = _backends.of(value).joined
        return lambda buffer: join(value, real(buffer), imag(buffer))


class Layout:
    """The leaves of some arrays, one after the other.

    Parameters
    ----------
    named : sequence of NamedLeaf
        In the user's order.
    values : sequence
        What stands for the value of each.

    Attributes
    ----------
    origins : tuple of Origin
    leaves : tuple of Leaf
        In the order of the origins; a complex one has two, ``path.real`` and ``path.imag``.
    owners : tuple of Origin
        Where each leaf comes from.
    point : ndarray of float64, shape (n,)
        All values; 0 in place of those that are left out.
    left_out : dict of int to ndarray
        Entries of leaves that are nan or infinite, as flat indices: they stay what they are, wherever the others move.
    """

    def __init__(self, named: Sequence[NamedLeaf], values: Sequence[Any]) -> None:
        origins: list[Origin] = []
        leaves: list[Leaf] = []
        templates: list[Any] = []
        owners: list[Origin] = []
        vectors: list[Vector] = []
        start = 0
        is_large = is_many(sum(math.prod(np.shape(value)) for value in values))
        for leaf, value in zip(named, values, strict=True):
            backend = _backends.of(value)
            dtype, shape = backend.dtype_of(value), tuple(np.shape(value))
            parts: tuple[Any, ...] = (value,)
            suffixes: tuple[str, ...] = ("",)
            moduli: Vector | None = None
            if backend.kind_of(value) == "c":
                parts, suffixes = backend.halves(value), SUFFIXES
                moduli = np.hypot(*(backend.to_vector(part) for part in parts))
            origin = Origin(
                path=leaf.path,
                keys=leaf.keys,
                slot=leaf.slot,
                value=value,
                shape=shape,
                dtype=dtype,
                parts=tuple(range(len(leaves), len(leaves) + len(parts))),
            )
            origins.append(origin)
            for part, suffix in zip(parts, suffixes, strict=True):
                # The user's own memory: it is never handed out, and a copy of a large point is dear.
                vector = backend.as_vector(part) if is_large else backend.to_vector(part)
                stop = start + vector.size
                own = dtype if moduli is None else backend.dtype_of(part)
                leaves.append(
                    Leaf(path=leaf.path + suffix, shape=shape, dtype=own, start=start, stop=stop, moduli=moduli)
                )
                start = stop
                templates.append(part)
                owners.append(origin)
                vectors.append(vector)
        self.origins = tuple(origins)
        self.leaves = tuple(leaves)
        self.owners = tuple(owners)
        self._templates = templates
        self.left_out: dict[int, NDArray[np.intp]] = {}
        self._values: dict[int, Vector] = {}
        self.point: Vector = joined(vectors)

    def leave_out(self) -> bool:
        """Let entries that are nan or infinite stay what they are; whether that can be done.

        A complex entry is left out as a whole, whichever of its parts it is.
        """
        if is_large(self.point):
            return False  # (It may be the user's own memory.)
        for origin in self.origins:
            leaves = [self.leaves[i] for i in origin.parts]
            parts = [self.point[leaf.start : leaf.stop] for leaf in leaves]
            entries = np.flatnonzero(~np.isfinite(parts).all(axis=0))
            if not entries.size:
                continue
            for i, leaf, part in zip(origin.parts, leaves, parts, strict=True):
                self.left_out[i], self._values[i] = entries, part[entries].copy()
                part[entries] = 0.0
                if leaf.moduli is not None:
                    leaf.moduli[entries] = 0.0
        return True

    def _filled(self, i: int, make: Maker, start: int | None) -> Maker:
        """A maker that puts what is left out back in its place."""
        if i not in self.left_out or start is None:
            return make
        size, entries, values = self.leaves[i].size, self.left_out[i], self._values[i]
        template = _backends.of(self._templates[i]).maker(self._templates[i], 0)

        def filled(buffer: Vector) -> Any:
            own = buffer[start : start + size].copy()
            own[entries] = values
            return template(own)

        return filled

    @property
    def is_complex(self) -> bool:
        """Whether any of the arrays is complex."""
        return len(self.origins) < len(self.leaves)

    def suffix(self, i: int) -> str:
        """What leaf i is of its array: ``.real``, ``.imag``, or empty where it is all of it."""
        owner = self.owners[i]
        return SUFFIXES[owner.parts.index(i)] if owner.is_complex else ""

    def makers(self, starts: Sequence[int | None], *, filled: bool = True) -> list[Maker]:
        """Return one maker per array, in the structure's order, from buffers that hold leaf i from ``starts[i]`` on.

        Where that is None the leaf keeps its value. What is left out is in its place if `filled`.
        """
        parts = [
            self._constant(i)
            if start is None
            else self._filled(i, _backends.of(template).maker(template, start), start if filled else None)
            for i, (template, start) in enumerate(zip(self._templates, starts, strict=True))
        ]
        ordered: list[Maker] = parts[: len(self.origins)]
        for origin in self.origins:
            ordered[origin.slot] = origin.maker([parts[i] for i in origin.parts])
        return ordered

    def _constant(self, i: int) -> Maker:
        leaf, template = self.leaves[i], self._templates[i]
        piece = self.point[leaf.start : leaf.stop].copy()
        make = self._filled(i, _backends.of(template).maker(template, 0), 0)
        return lambda _: make(piece.copy())

    def stacked(self, rows: Sequence[Matrix], count: int) -> list[Any]:
        """Make all arrays at `count` points, each with a leading axis for them, in the structure's order.

        ``rows[i]`` are the values of leaf i: (count, size), or (1, size) where they are the same at all points.
        """
        made: list[Any] = [None] * len(self.origins)
        for origin in self.origins:
            parts = [self._filled_rows(i, rows[i]) for i in origin.parts]
            whole = parts[0] if len(parts) == 1 else join_parts(*np.broadcast_arrays(*parts))
            made[origin.slot] = _backends.of(origin.value).stacked(origin.value, whole, count)
        return made

    def leaf_rows(self, arrays: Sequence[Any], i: int) -> Matrix:
        """Return leaf i of arrays that `stacked` has made, as a private float64 matrix (count, size)."""
        owner = self.owners[i]
        array = arrays[owner.slot]
        rows = owner.vectors(array)[owner.parts.index(i)].reshape(len(array), -1)
        if i in self.left_out:
            rows[:, self.left_out[i]] = 0.0
        return rows

    def _filled_rows(self, i: int, rows: Matrix) -> Matrix:
        if i in self.left_out:
            rows = rows.copy()
            rows[:, self.left_out[i]] = self._values[i]
        return rows

    def leaf_vector(self, values: Sequence[Any], i: int) -> Vector:
        """Return leaf i of arrays in the structure's order, as a private float64 vector."""
        owner = self.owners[i]
        vector = owner.vectors(values[owner.slot])[owner.parts.index(i)]
        if i in self.left_out:
            vector[self.left_out[i]] = 0.0
        return vector


def join_parts(real: Array, imag: Array) -> Array:
    """Put two NumPy arrays together; unlike ``real + 1j * imag`` each keeps its infinities and nans to itself."""
    joined = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
    joined.real, joined.imag = real, imag  # pyright: ignore[reportAttributeAccessIssue]
    return joined
