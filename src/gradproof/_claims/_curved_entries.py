"""Second derivatives entry by entry, from v^T H v along single entries of x and sums of two."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._claims._claimed import Claimed
from gradproof._claims._curves import WIDER, Curvature, CurveModel, Curves
from gradproof._claims._hessian import Entries
from gradproof._prove._tolerance import REACH

Vector = NDArray[np.float64]
# A row and a column; what was measured along one entry, or a sum of two, and its bar.
Pair = tuple[int, int]
Entry = tuple[float, float]

# Inputs up to which every entry is measured: always, and to find a wrong one.
ENTRIES, LOCATE = 4, 12
# A cap: entries that get a closer look, of four values each, where those that a quick one shows do not explain what
# has refuted the claim.
CLOSER = 25
# Entries and sums of two that are measured to all digits once they are known to be wrong: a cap of evaluations.
SHARP = 3


class EntryCurves:
    """The second derivatives by single entries of x, beside the claim.

    Parameters
    ----------
    claimed : Claimed
    curves : Curves
    size : (n,) ndarray
        How far each entry of x moves.
    scale : callable
        Norm of H in natural sizes.
    by_entries : bool
        Whether every entry is asked for, however many there are.
    """

    def __init__(
        self, claimed: Claimed, curves: Curves, size: Vector, scale: Callable[[], float], *, by_entries: bool
    ) -> None:
        self.claimed, self.curves, self.size, self.by_entries = claimed, curves, size, by_entries
        self.n, self._scale = len(size), scale

    def every_vector(self) -> Iterator[Vector]:
        """Unit directions, and sums of two: all entries of H follow from v^T H v along these."""
        for i in range(self.n):
            yield self.vector(i, i)
        for i in range(self.n):
            for j in range(i + 1, self.n):
                yield self.vector(i, j)

    def _vectors(self, pairs: Sequence[Pair]) -> list[Vector]:
        return [self.vector(*pair) for pair in pairs]

    def matrix(self) -> NDArray[np.float64] | None:
        """The claim entry by entry, where it is known so or small."""
        claimed = self.claimed
        if claimed.matrix is not None:
            return claimed.matrix
        if self.n > LOCATE and not self.by_entries:
            return None
        products = np.array([claimed.pull(unit) for unit in np.eye(self.n)])
        return products if claimed.by_index else products.T

    def measure(self, chosen: Sequence[int], failing: Curvature | None = None) -> Entries:
        """Measure the second derivatives by some entries of x, as many as evaluations are left for.

        `failing` is the direction that has refuted the claim, where what is wrong must explain it.
        """
        pairs = [(i, j) for i in chosen for j in [i, *(k for k in chosen if k < i)]]
        found: dict[Pair, Entry] = {}
        with contextlib.suppress(BudgetSpent):
            self._measure_pairs(pairs, failing, found)
        return self._read(found)

    def _measure_pairs(self, pairs: list[Pair], failing: Curvature | None, found: dict[Pair, Entry]) -> None:
        """Measure along single entries and sums of two: `found` has what is known so far."""
        known = self.curves.model
        has_curves = all(self.curves.kept(self.vector(*pair)) is not None for pair in pairs)
        if known is not None and self.curves.reference is None and not has_curves:
            # A quick look at all of them first, and a closer one at those that it shows to be wrong, if these are all.
            found |= self._quick(pairs, known)
            # (At a bound there is no value on the other side.)
            held = [pair for pair in pairs if not math.isfinite(found[pair][0])]
            self._measure_well(held, found)
            pairs = [pair for pair in pairs if pair not in held]
            off = self._wrong_pairs(found, found)
            around = {pair for i, j in off for pair in ((i, i), (j, j), (i, j))}
            found |= self._closer(sorted(around - {*held}), known)
            off = self._wrong_pairs(off, found)
            others = sorted({*pairs} - around)
            explained = bool(off) and failing is not None and self._explains(off, found, failing)
            if not off or (len(others) <= CLOSER and not explained):
                found |= self._closer(others, known)
                off = self._wrong_pairs(found, found)
            around = {pair for i, j in off for pair in ((i, i), (j, j), (i, j))}
            if len(around) > SHARP or (not off and self.n > ENTRIES):
                return
            # What a reader sees of few entries deserves all digits.
            pairs = sorted(around - {*held}) if off else pairs
        self._measure_well(pairs, found)

    def _measure_well(self, pairs: Sequence[Pair], found: dict[Pair, Entry]) -> None:
        """Measure curves along single entries and sums of two, as along any direction."""
        for pair in pairs:
            v = self.vector(*pair)
            one = self.curves.kept(v) or self.curves.measure(v)
            found[pair] = one.value, one.bar

    def _quick(self, pairs: Sequence[Pair], known: CurveModel) -> dict[Pair, Entry]:
        """Second differences at one step along single entries, and sums of two."""
        step = known.step * float(self.curves.jitter.uniform(0.9, 1.1))
        values = self.curves.quotients(self._vectors(pairs), step)
        return {pair: (value, known.bar(step)) for pair, value in zip(pairs, values, strict=True)}

    def _closer(self, pairs: Sequence[Pair], known: CurveModel) -> dict[Pair, Entry]:
        """The same with a second step."""
        step, square = known.step * float(self.curves.jitter.uniform(0.9, 1.1)), WIDER**2
        fine, coarse = (self.curves.quotients(self._vectors(pairs), one) for one in (step, WIDER * step))
        # (At a kink a quotient goes with the inverse of its step: nothing is known of such an entry.)
        apart = known.bar(step) + known.bar(WIDER * step)
        return {
            pair: ((square * a - b) / (square - 1), known.bar_of_two(step) if abs(a - b) <= apart else math.inf)
            for pair, a, b in zip(pairs, fine, coarse, strict=True)
        }

    def _wrong_pairs(self, pairs: Iterable[Pair], found: dict[Pair, Entry]) -> list[Pair]:
        """Those of some entries that are wrong, or whose mirror image is."""
        wrong = self._read(found).wrong
        return [(i, j) for i, j in pairs if wrong[i, j] or wrong[j, i]]

    def _explains(self, pairs: Sequence[Pair], found: dict[Pair, Entry], failing: Curvature) -> bool:
        """Whether some wrong entries are all that the claim is off by along the direction that refuted it."""
        entries = self._read(found)
        w = np.divide(failing.v, self.size, out=np.zeros(self.n), where=self.size != 0)
        left, allowed = failing.value - failing.claimed, failing.bar + entries.allowed
        claimed = entries.matrix * entries.scales
        for i, j in pairs:
            share = float(w[i] * w[j]) * (1 if i == j else 2)
            left -= share * (float(entries.value[i, j]) - float(claimed[i, j] + claimed[j, i]) / 2)
            allowed += abs(share) * float(entries.bar[i, j])
        return abs(left) <= allowed

    def _read(self, found: dict[Pair, Entry]) -> Entries:
        """Second derivatives from what was measured along single entries and sums of two."""
        matrix = self.matrix()
        assert matrix is not None
        value, bar = np.full((self.n, self.n), np.nan), np.full((self.n, self.n), np.inf)
        for (i, j), (along, width) in found.items():
            if i != j:
                if (i, i) not in found or (j, j) not in found:
                    continue
                (a, bar_a), (b, bar_b) = found[i, i], found[j, j]
                along, width = (along - a - b) / 2, (width + bar_a + bar_b) / 2
            value[i, j] = value[j, i] = along
            bar[i, j] = bar[j, i] = width
        allowed = REACH * self.curves.rtol * self._scale() / self.n
        return Entries(matrix=matrix, value=value, bar=bar, allowed=allowed, size=self.size)

    def vector(self, i: int, j: int) -> Vector:
        v = np.zeros(self.n)
        v[i] = self.size[i]
        v[j] = self.size[j]
        return v
