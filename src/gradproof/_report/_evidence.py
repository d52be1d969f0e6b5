"""What a verdict rests on, as numbers that a picture can be drawn from: part of every report, and of its JSON form."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """One slope or entry, as claimed and as measured (in the user's units).

    Attributes
    ----------
    path : str
        The leaf as Python source; empty where the slope is along a direction through several leaves.
    entry : tuple of int or None
        Index within the leaf, where a single entry was measured.
    output : str
        The output that it is the slope of, such as ``"output[3]"``, where f has several.
    claimed, reference, error_bar : float
    against : bool
        Whether it speaks against the claim: the two differ by more than the error bar and what is tolerated.
    """

    path: str = ""
    entry: tuple[int, ...] | None = None
    output: str = ""
    claimed: float
    reference: float
    error_bar: float
    against: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ladder:
    """The central differences that one slope was extrapolated from.

    Attributes
    ----------
    path, entry, output, claimed, reference, error_bar, against : as in `Comparison`
    steps : tuple of float
        Coarse to fine. A step of 1 moves the entries by their natural size.
    differences : tuple of float
        ``(f(x + h v) - f(x - h v)) / 2 h`` at each of them; of a single entry, divided by how far it moves at step 1.
    left, right : tuple of float
        One-sided difference quotients at each step, ``(f(x) - f(x - h v)) / h`` and ``(f(x + h v) - f(x)) / h``, in the
        same unit. At the edge of the domain of f one of them is empty, and `differences` are the other.
    noise : float
        Standard deviation of one value of f, in the unit of the differences: rounding errs by about ``noise / h``.
    curvature : float
        Size of the ``h**2`` error of the differences per unit step: truncation errs by about ``curvature * h**2``; 0
        where none is seen.
    chosen : float
        The finest step that the reference rests on.
    size : float
        Root mean square of how far an entry moves at step 1 (in the unit of x): a fixed step of 1e-7 for an entry
        is a step of about ``1e-7 / size`` here.
    jump : float
        The right slope minus the left one where f has a kink at the point; else 0.
    """

    path: str = ""
    entry: tuple[int, ...] | None = None
    output: str = ""
    claimed: float
    reference: float
    error_bar: float
    steps: tuple[float, ...]
    differences: tuple[float, ...]
    left: tuple[float, ...]
    right: tuple[float, ...]
    noise: float
    curvature: float
    chosen: float
    size: float
    against: bool = False
    jump: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorMap:
    """A leaf (or a Jacobian) as a picture of at most 64 x 64 cells, each of them a block of entries.

    Attributes
    ----------
    path : str
    shape : tuple of int
        Of the array as the user has it; the picture shows it as a matrix, all axes but the last flattened into rows.
    rows, columns : int
        Of that matrix.
    claimed : tuple of tuple of float
        Root mean square of the claimed entries of every cell.
    deviation : tuple of tuple of float
        Largest ``abs(claimed - reference)`` in every cell, where every entry was measured; empty elsewhere.
    wrong : tuple of tuple of float
        Share of the entries of every cell that a finding calls wrong, 0 to 1.
    place : str
        Which entries these are, in words: ``"row 3"``, ``"[1, 3]"``.
    entries : tuple of Comparison
        Every entry as claimed and as measured, of an array of at most 6 x 6 whose entries were all measured; else
        empty.
    """

    path: str
    shape: tuple[int, ...]
    rows: int
    columns: int
    claimed: tuple[tuple[float, ...], ...]
    deviation: tuple[tuple[float, ...], ...] = ()
    wrong: tuple[tuple[float, ...], ...]
    place: str = ""
    entries: tuple[Comparison, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured, thinned out to what a reader can look at.

    Attributes
    ----------
    comparisons : tuple of Comparison
        All that speak against the claim, 200 at most, and then others in the order they were measured, up to 48.
    ladders : tuple of Ladder
        At most 8: those behind the findings, or else the first directions.
    maps : tuple of TensorMap
        At most 8: one for each leaf with a finding of an error that has a place.
    """

    comparisons: tuple[Comparison, ...] = ()
    ladders: tuple[Ladder, ...] = ()
    maps: tuple[TensorMap, ...] = ()
