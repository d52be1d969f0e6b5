"""f around its point along directions, with the claim beside it: `Problem`, and `Samples` that several share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from gradproof._backends import Matrix, Vector
from gradproof._base._leaf import Leaf as Leaf
from gradproof._base._leaf import relaid
from gradproof._base._pieces import is_large, joined, moved
from gradproof._base._precision import EPS64
from gradproof._function._primal import Primal as Primal
from gradproof._line import lowest_bit

# How far leaves of low precision landed beside the point that was asked for: (slice of the flat vector, distances).
Moved: TypeAlias = "Sequence[tuple[slice, Vector]]"
# The same for k points at once: (k, size) in place of (size,).
MovedRows: TypeAlias = "Sequence[tuple[slice, Matrix]]"

# Values from which on a common binary step is no accident.
LATTICE = 8
# Different values that must be seen of a lattice whose steps are no small share of them.
FEWEST, COARSE = 4, 1e-3
# How many roundings make up a change that is nothing else.
ROUNDED = 64.0


class Points(Protocol):
    """Points beside x, made as they are needed."""

    def __len__(self) -> int: ...

    def rows(self, x: Vector, part: slice, own: slice) -> Matrix | None:
        """The entries `own` of some points (k, size); None where all of them leave these entries as they are."""
        ...

    def one(self, x: Vector, k: int) -> Vector:
        """A point by itself (n,)."""
        ...


class Samples:
    """Values of f beside the point, shared by proofs that look at different combinations of its outputs.

    Proofs of one seed ask for the same steps along the same directions as long as they fare alike. `at_point` may come
    from other samples, of proofs that move other leaves.
    """

    # 32 MB of float64; what comes later is evaluated again.
    LIMIT = 4_000_000

    def __init__(self, at_point: list[Vector] | None = None) -> None:
        self.at_point: list[Vector] = [] if at_point is None else at_point
        self._found: dict[tuple[bytes, float], tuple[Vector, Moved]] = {}
        self._room = self.LIMIT
        self._latest: tuple[Vector, bytes] | None = None

    def find(self, v: Vector, step: float) -> tuple[Vector, Moved] | None:
        """Return what was put in for this step along this direction."""
        return self._found.get((self._key(v), step))

    def put(self, v: Vector, step: float, values: Vector, moved: Moved) -> None:
        """Keep the values at a step along a direction, as long as there is room."""
        self._room -= values.size + sum(piece.size for _, piece in moved)
        if self._room >= 0:
            self._found[self._key(v), step] = values, moved

    def moved(self) -> bool:
        """Whether any output has been seen to change."""
        return any((values != self.at_point[0]).any() for values, _ in self._found.values()) if self.at_point else False

    def show(self, change: float) -> bool:
        """Whether an output that does so would have been seen to change by this much, as far as others tell.

        They do not where all that they do are some roundings, each of which is larger: terms may have cancelled in all.
        Roundings go both ways; a step function that steps beside the point, as sign(x) may, goes one.
        """
        if not self.moved():
            return False
        changes = np.array([values for values, _ in self._found.values()]) - self.at_point[0]
        changes = np.where(np.isfinite(changes), changes, 0.0)
        rises, falls = (changes > 0).any(axis=0), (changes < 0).any(axis=0)
        sizes = np.abs(changes[changes != 0])
        smallest, largest = float(sizes.min(initial=np.inf)), float(sizes.max(initial=0.0))
        return bool((rises != falls).any()) or largest > ROUNDED * smallest or change > smallest

    def lattice(self, eps: float) -> Vector | float:
        """Coarsest binary step that all values of an output share, per output: 0 where that is rounding to eps.

        (1 + erf(x)) / 2 takes multiples of 2**-54 only: where such outputs are small, their slopes at fine steps are
        those of a staircase. One that never changes is taken to be on the finest lattice of the others.
        """
        values = np.array([*self.at_point, *(values for values, _ in self._found.values())])
        if len(values) < LATTICE:
            return 0.0
        values = np.where(np.isfinite(values), values, 0.0)
        step = lowest_bit(values)
        changes = (values != values[0]).any(axis=0)
        step = np.where(changes & (step > 8 * eps * np.abs(values[0])), step, 0.0)
        # sign(x) is a step function and rounds nothing: a coarse lattice shows in several values only.
        for i in np.flatnonzero(step > COARSE * np.abs(values[0])):
            step[i] *= len(np.unique(values[:, i])) >= FEWEST
        finest = float(np.min(step, initial=np.inf, where=step > 0))
        return np.where(changes, step, finest) if math.isfinite(finest) else step

    def _key(self, v: Vector) -> bytes:
        import hashlib  # 4 ms, which checks of gradients need not pay

        if self._latest is None or self._latest[0] is not v:
            self._latest = v, hashlib.blake2b(v.data, digest_size=16).digest()
        return self._latest[1]


class Problem:
    """f around its point along directions, with the claim beside it: what the engine measures and is asked about.

    Parameters
    ----------
    primal : Primal
    claims : mapping of int to ndarray
        The claimed gradient of each leaf that can be measured, by its index in ``primal.leaves``: float64, in the
        shape of the leaf or flat.
    reproducer : str
        One line of Python that runs the check again.
    cotangent : ndarray of float64, shape (m,), optional
        u, where f returns more than one number: the problem is about ``<u, f(x)>`` then.
    eps : float, optional
        Relative precision of f; that of the leaves by default.
    samples : Samples, optional
        Where values of f are shared with other problems.

    Attributes
    ----------
    primal : Primal
    name, reproducer : str
    leaves : tuple of Leaf
        The measured leaves, in the user's order; the others stay where they are. `measured` are their indices.
    point, claim : ndarray of float64, shape (n,)
    eps : float
        Coarsest machine epsilon among the measured leaves' dtypes.
    evaluations, calls, claims : int
        Points at which f was evaluated, calls of f, calls of the claim.
    """

    def __init__(
        self,
        primal: Primal,
        claims: Mapping[int, Any],
        *,
        reproducer: str = "",
        claim_calls: int = 0,
        cotangent: Vector | None = None,
        eps: float | None = None,
        samples: Samples | None = None,
    ) -> None:
        self.name = primal.name
        self.reproducer = reproducer
        self.claims = claim_calls
        self.primal = primal
        self._cotangent = None if cotangent is None else _Cotangent(cotangent, primal.output_values())
        self._samples = samples
        self._visits = 0
        self.measured = measured = tuple(sorted(claims))
        self.leaves = relaid(primal.leaves[i] for i in measured)
        pieces = [primal.point[primal.leaves[i].start : primal.leaves[i].stop] for i in measured]
        self.point = joined(pieces)
        self.claim = joined([np.asarray(claims[i], dtype=np.float64).reshape(-1) for i in measured])
        self.eps = coarsest_eps(self.leaves) if eps is None else eps

        new_leaf = dict(zip(measured, self.leaves, strict=True))
        self._starts = [new_leaf[i].start if i in new_leaf else None for i in range(len(primal.leaves))]
        self._makers = primal.layout.makers(self._starts)
        # Leaves of lower precision land beside x + t v: (slice, index) of each, for the first-order correction.
        self._rounded = [(slice(leaf.start, leaf.stop), i) for i, leaf in new_leaf.items() if leaf.eps > EPS64]

    @property
    def evaluations(self) -> int:
        """Points at which f was evaluated."""
        return self.primal.evaluations

    @property
    def calls(self) -> int:
        """Calls of f."""
        return self.primal.calls

    def evaluate(self, v: Vector, step: float) -> float:
        """Evaluate ``f(x + step v)``, or ``<u, f(x + step v)>``; nan where it is not finite or not defined there.

        Where leaves are of lower precision than float64, they visit the nearest representable point instead, and
        the value is corrected for it to first order: ``f(visited) - <claim, visited - (x + step v)>``.

        Parameters
        ----------
        v : ndarray of float64, shape (n,)
        step : float
            0 evaluates exactly at x.

        Raises
        ------
        FunctionError
            If memory does not suffice, or f returns no real number; at step 0, if it raises at all.
        BudgetSpent
            If no evaluation is left.
        """
        return self.combined(*self.outputs(v, step))

    def combined(self, values: Vector, beside: Moved) -> float:
        """What `evaluate` returns, from what `outputs` returned."""
        value = float(values[0]) if self._cotangent is None else self._cotangent.product(values)
        if beside:
            value -= math.fsum(float(self.claim[part] @ piece) for part, piece in beside)
        return value if math.isfinite(value) else math.nan

    def outputs(self, v: Vector, step: float) -> tuple[Vector, Moved]:
        """Evaluate f at (nearly) ``x + step v``: all its values (m,), and how far which leaves landed beside it."""
        found = self.found(v, step)
        if found is None:
            self.primal.require()
            found = self._visit(v, step)
            self.keep(v, step, found)
        return found

    def found(self, v: Vector, step: float) -> tuple[Vector, Moved] | None:
        """Return what `outputs` would, as far as that takes no evaluation beside the point."""
        if step == 0.0:
            return self._outputs_at_point(), ()
        return None if self._samples is None else self._samples.find(v, step)

    def keep(self, v: Vector, step: float, found: tuple[Vector, Moved]) -> None:
        """Share what was evaluated with other problems."""
        if self._samples is not None:
            self._samples.put(v, step, *found)

    def _outputs_at_point(self) -> Vector:
        if self._samples is None:
            return self.primal.next_output_values()
        # Every problem sees the same values in the same order, so that each notices an f that is not deterministic.
        if self._visits == len(self._samples.at_point):
            self._samples.at_point.append(self.primal.next_output_values())
        self._visits += 1
        return self._samples.at_point[self._visits - 1]

    def _visit(self, v: Vector, step: float) -> tuple[Vector, Moved]:
        shared = self.primal.buffer() if is_large(self.point) else None
        buffer = moved(self.point, v, step, None if shared is None else shared[: len(v)])
        return self.visit(buffer, f"at the point + {step:.3g} v")

    def visit(self, buffer: Vector, where: str = "beside the point") -> tuple[Vector, Moved]:
        """Evaluate f at a point of its own (n,), which it may keep: as `outputs`."""
        primal = self.primal
        primal.count()
        with np.errstate(all="ignore"):
            values = [make(buffer) for make in self._makers]
            beside = tuple((part, primal.layout.leaf_vector(values, i) - buffer[part]) for part, i in self._rounded)
            found = primal.elsewhere(values, where)
        if found is None:
            found = np.full(primal.outputs.size if primal.is_vector else 1, math.nan)
        primal.has_edge |= not np.isfinite(found).all()
        return found, beside

    def visit_many(self, points: Points, part: slice) -> tuple[Matrix, MovedRows, tuple[bool, ...]] | None:
        """Evaluate f at some of many points in one call.

        Returns its values (k, m), how far which leaves landed beside the points, and which leaves moved; None where f
        cannot be evaluated so. Whatever f raises passes through.
        """
        primal, count = self.primal, len(range(*part.indices(len(points))))
        if primal.together is None:
            return None
        rows = [
            primal.point[None, leaf.start : leaf.stop] if start is None else self._rows(points, part, start, leaf.size)
            for leaf, start in zip(primal.leaves, self._starts, strict=True)
        ]
        arrays = primal.layout.stacked(rows, count)
        beside = tuple((span, primal.layout.leaf_rows(arrays, i) - rows[i]) for span, i in self._rounded)
        primal.conditions.require(count)
        primal.watch.evaluated(0)
        primal.calls += 1
        with np.errstate(all="ignore"):
            returned = primal.together.call(*primal.arguments(arrays))
        if returned is None:
            return None
        values = primal.read_many(returned, count)
        primal.has_edge |= not np.isfinite(values).all()
        primal.count(count, calls=0)
        return values, beside, tuple(len(one) > 1 for one in rows)

    def _rows(self, points: Points, part: slice, start: int, size: int) -> Matrix:
        """A leaf at some points (k, size), or (1, size) where none of them moves it."""
        own = slice(start, start + size)
        rows = points.rows(self.point, part, own)
        return self.point[None, own] if rows is None else rows


class _Cotangent:
    """<u, values>, by the entries that u selects: a nan in an output that u leaves out does no harm."""

    def __init__(self, u: Vector, at_point: Vector) -> None:
        self.size = len(u)
        chosen = np.flatnonzero(u)
        self._chosen = chosen if len(chosen) < len(u) else None
        self._u = u[chosen] if self._chosen is not None else u
        # Where large terms cancel, the sum does not show how far it is rounded. A constant as large as the terms
        # does, and has no derivative.
        terms = self._u * (at_point if self._chosen is None else at_point[chosen])
        self._offset = 0.0 if len(terms) == 1 else float(np.linalg.norm(terms))
        self._offset = self._offset if math.isfinite(self._offset) else 0.0

    def product(self, values: Vector) -> float:
        return float(self._u @ (values if self._chosen is None else values[self._chosen])) + self._offset


def coarsest_eps(leaves: Sequence[Leaf]) -> float:
    """Return the largest machine epsilon among the leaves' dtypes."""
    return max(leaf.eps for leaf in leaves)
