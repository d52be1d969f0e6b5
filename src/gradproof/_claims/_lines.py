"""Slopes of all outputs of f at once, along one line after the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof import _run
from gradproof._base._precision import EPS64, is_double
from gradproof._claims._around import Around, reach
from gradproof._claims._claimed import Claimed
from gradproof._claims._columns import slopes
from gradproof._function._problem import Problem, Samples
from gradproof._line import Known, Slope, slope
from gradproof._line._estimate import pair
from gradproof._prove._collect import Collector
from gradproof._prove._measure import jitter_of
from gradproof._prove._tolerance import COMPLEX_ROUNDINGS, INNER_PRODUCT
from gradproof._reference import ComplexStep, Trusted

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

COMPLEX_STEP = 1e-20
# Relative bar that is good enough, in float64: with fewer than this nobody is accused, and bounds are narrow enough.
TARGET = 1e-6
# A quotient at coarser steps may differ so much from the slope before it is doubted.
PLAUSIBLE = 3e-4
# Entries of a matrix that are worked on at a time.
CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """Slopes of all outputs along v, each with its bar (m,), beside the claimed ones.

    The bar holds the rounding of the claim's own inner product; `claimed` is None where there is no matrix.
    """

    v: Vector
    value: Vector
    bar: Vector
    claimed: Vector | None
    slope: Slope

    @property
    def deviation(self) -> Vector:
        """|claimed - measured| (m,)."""
        assert self.claimed is not None
        return np.abs(self.claimed - self.value)


class Lines:
    """Measures f along lines through the measured leaves of a claim; never outside the domain.

    Parameters
    ----------
    claimed : Claimed
    eps : float
        Relative precision of f.
    seed : int
    around : Around
    collector : Collector
    samples : Samples, optional
        Where values of f are shared with scalar proofs.
    """

    def __init__(
        self,
        claimed: Claimed,
        *,
        eps: float,
        seed: int,
        around: Around,
        collector: Collector,
        samples: Samples | None = None,
    ) -> None:
        self.claimed = claimed
        self.collector = collector
        self.eps = eps
        self.m = claimed.primal.outputs.size
        self.lower, self.upper = around.sides(claimed.primal, claimed.measured)
        zeros = {i: np.zeros(leaf.size) for i, leaf in zip(claimed.measured, claimed.leaves, strict=True)}
        self.problem = Problem(claimed.primal, zeros, samples=samples, eps=eps)
        self.jitter: np.random.Generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 2))))
        self.moved = False
        self._around = around
        self._witnesses: dict[str, Trusted | ComplexStep] | None = None
        self._zeros = zeros

    def again(self, v: Vector, scale: Vector, seed: int) -> Line:
        """Measure along the first direction of a scalar proof with this seed, at its steps: its values may be known."""
        own, self.jitter = self.jitter, jitter_of(seed)
        try:
            return self.measure(v, scale)
        finally:
            self.jitter = own

    def measure(
        self, v: Vector, scale: Vector, *, known: Known | None = None, full: bool = False, target: float = TARGET
    ) -> Line:
        """Measure the slopes along v; `scale` (m,) is their natural size, `target` a relative bar that will do."""
        found = self._run(self.values, v, self.eps, scale, target=target, known=known, full=full)
        if self.claimed.matrix is None:
            return self._line(v, found, scale)
        return self._line(v, found, scale, self.claimed.matrix @ v, self._absolute(v))

    def columns(
        self,
        entries: NDArray[np.intp],
        moves: Vector,
        scale: Vector,
        *,
        known: Known | None = None,
        target: float = TARGET,
    ) -> Iterator[Line]:
        """Measure along single entries, (k,) as `moves`, which are how far each moves: as `measure`."""
        matrix, n = self.claimed.matrix, len(self.problem.point)
        assert matrix is not None
        bounds = None if self.lower is None or self.upper is None else (self.lower, self.upper)
        target_here = target if is_double(self.eps) else None
        found = slopes(
            self.problem,
            self.beside,
            self.jitter,
            entries,
            moves,
            bounds,
            eps=self.eps,
            scale=scale,
            target=target_here,
            known=known,
        )
        for j, move, one in zip(entries.tolist(), moves.tolist(), found, strict=True):
            v = np.zeros(n)
            v[j] = move
            yield self._line(v, one, scale, matrix[:, j] * move, np.abs(matrix[:, j] * move))

    def _line(
        self, v: Vector, found: Slope, scale: Vector, claimed: Vector | None = None, absolute: Vector | None = None
    ) -> Line:
        """A slope as a line; `absolute` is the sum of the sizes of the terms of `claimed`."""
        bar = np.where(np.isfinite(found.bar) & np.isfinite(found.value), found.bar, np.inf)
        if len(found.h):
            changed = (found.plus != found.f0) | (found.minus != found.f0)
            still = ~changed.any(axis=0)
            self.moved |= not bool(still.all())
            if still.any() and not still.all() and found.side == 0:
                # It keeps its bits at every step, the coarsest too, beside others that move: it is constant.
                bar = np.where(still, 2 * found.eps * np.abs(found.f0) / found.h[0], bar)
            # Outputs that `slope` did not wait for.
            third = found.odd[-3 if len(found.h) > 2 else 0] / found.h[-3 if len(found.h) > 2 else 0]
            with np.errstate(invalid="ignore"):
                off = np.abs(third - found.value)
                odd = (found.side == 0) & (off > PLAUSIBLE * np.maximum(scale, np.abs(found.value)) + bar)
            bar = np.where(odd & (found.stage < 2), off, bar)
        if absolute is not None:
            # Each of the n terms of the claim's own inner product is rounded: 8 half-ulps of their absolute sum.
            bar = bar + INNER_PRODUCT * EPS64 * absolute
        if claimed is not None:
            self.collector.line(v, claimed, found.value, bar, scale, found, self.claimed.named)
        return Line(v=v, value=found.value, bar=bar, claimed=claimed, slope=found)

    def _absolute(self, v: Vector) -> Vector:
        """|J| |v| (m,), some rows at a time: a whole |J| would not stay in the cache."""
        matrix, size = self.claimed.matrix, np.abs(v)
        assert matrix is not None
        count = max(1, CHUNK // max(1, len(v)))
        if count >= self.m:
            return np.abs(matrix) @ size
        return np.concatenate([np.abs(matrix[i : i + count]) @ size for i in range(0, self.m, count)])

    def _run(
        self,
        outputs: Callable[[Vector, Sequence[float]], Iterable[Vector]],
        v: Vector,
        eps: float,
        scale: Vector,
        *,
        target: float = TARGET,
        known: Known | None = None,
        full: bool = False,
    ) -> Slope:
        first, last = reach(self.problem.point, v, self.lower, self.upper)
        line = slope(
            self.jitter, eps=eps, scale=scale, target=target if is_double(eps) else None, known=known, full=full
        )
        try:
            steps = next(line)
            while True:
                inside = (first <= steps) & (steps <= last)
                values = np.full((len(steps), self.m), math.nan)
                for k, found in zip(np.flatnonzero(inside), outputs(v, steps[inside].tolist()), strict=True):
                    values[k] = found
                steps = line.send(values)
        except StopIteration as finished:
            return finished.value

    def values(self, v: Vector, steps: Sequence[float]) -> Iterator[Vector]:
        """All values of f at (nearly) x + t v for some t (m,), corrected to first order for where they landed."""
        for values, moved in _run.along(self.problem, v, steps):
            if moved and self.claimed.matrix is not None:
                values = values - sum(self.claimed.matrix[:, part] @ piece for part, piece in moved)
            yield values

    def beside(self, entries: NDArray[np.intp], moves: Vector) -> Matrix:
        """The same at x with one entry moved (k, m): `entries` and `moves` are (k,)."""
        values, moved = _run.outputs(self.problem, _run.Beside(entries, moves))
        if moved and self.claimed.matrix is not None:
            values = values - sum(piece @ self.claimed.matrix[:, part].T for part, piece in moved)
        return values

    def witnessed(self, line: Line, tolerance: Vector) -> tuple[Line, Mask]:
        """Narrow the bars of a line by independent witnesses that agree with it, and say which outputs' do not.

        WRONG always rests on differences: what only a witness excludes keeps its wide bar.
        """
        if self._witnesses is None:
            self._witnesses = self._around.witnesses(
                self.claimed.primal, self._zeros, self.problem.leaves, self.eps, is_vector=True
            )
        value, bar = line.value.copy(), line.bar.copy()
        disagree = np.zeros(self.m, dtype=bool)
        assert line.claimed is not None
        open_ = np.ones(self.m, dtype=bool)
        rounding = INNER_PRODUCT * EPS64 * self._absolute(line.v)
        for name, witness in self._witnesses.items():
            if name == "complex":
                seen = witness.outputs(line.v, COMPLEX_STEP) / COMPLEX_STEP
                seen_bar = 8 * rounding + COMPLEX_ROUNDINGS * EPS64 * np.abs(seen)
            else:
                found = self._run(_one_by_one(witness.outputs), line.v, EPS64, np.abs(line.claimed))
                seen, seen_bar = found.value, found.bar + rounding
            answers = open_ & np.isfinite(seen) & np.isfinite(seen_bar)
            with np.errstate(invalid="ignore"):
                away = answers & (np.abs(seen - line.value) > line.bar + seen_bar + tolerance)
                helps = answers & ~away & (seen_bar < bar) & (np.abs(line.claimed - seen) <= seen_bar + tolerance)
            disagree |= away
            value[helps], bar[helps] = seen[helps], seen_bar[helps]
            open_ &= ~answers
            if not open_.any():
                break
        return dataclasses.replace(line, value=value, bar=bar), disagree


def _one_by_one(
    outputs: Callable[[Vector, float], Vector],
) -> Callable[[Vector, Sequence[float]], Iterable[Vector]]:
    """What says of many steps what `outputs` says of one."""
    return lambda v, steps: [outputs(v, step) for step in steps]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
    """What the first line teaches those after it, for all outputs at once.

    known : for `slope`.
    scale : (m,), natural sizes for `slope`, raised where an output has shown a wide bar.
    smooth : whether one pair of values will do for an entry.
    third, curvature : (m,), sizes of the t**3 error of a central quotient and of the even t**2 term, per unit step.
    """

    known: Known
    scale: Vector
    smooth: bool
    third: Vector
    curvature: Vector


def learn_all(first: Slope, scale: Vector) -> Learned:
    """As `gradproof._line.learn`, for every output: common levels, each its own noise.

    `slope` goes on until every output has a bar of `relative_bar` times its scale; one whose bar was wider than most in
    the first direction is granted as much again, by a larger scale, unless its slope was lost there: what hides it may
    be met along that direction alone.
    """
    size = np.maximum(scale, np.abs(first.value))
    usable = (size > 0) & np.isfinite(first.bar) & (first.bar > 0)
    relative = first.bar[usable] / size[usable]
    typical = float(np.sort(relative)[relative.size // 2]) if relative.size else 1e-8
    used = _levels(first, size)
    coarse = used[0]
    h = first.h[coarse]
    third = np.abs(first.odd[coarse] / h - first.value) / h**2
    curvature = np.abs(first.even[coarse]) / h**2
    noise = np.maximum(first.noise, 4 * first.unit if first.stage == 0 else first.unit)
    # An output that keeps its bits beside others that move is saturated: all of its values are 1, which is no lattice.
    still = (first.plus == first.f0).all(axis=0) & (first.minus == first.f0).all(axis=0)
    still &= not still.all()
    noise = np.where(still, 4 * first.unit, noise)
    known = Known(
        eps=first.eps,
        f0=first.f0,
        noise=noise,
        levels=first.h[used],
        relative_bar=typical,
        curvature=float(curvature.max()),
        third=float(third.max()),
        finest=float(first.h[-1]),
        size=float(size.max()),
        structure=4 * first.structure[used[-1]],
        smooth=typical < 1e-5,
    )
    is_seen = first.bar <= np.where(size > 0, size, float(size.max()))
    granted = np.where(is_seen & ~still, first.bar / typical, 0.0)
    return Learned(
        known=known,
        scale=np.maximum(scale, granted),
        smooth=known.smooth,
        third=third,
        curvature=curvature,
    )


def _levels(first: Slope, size: Vector) -> list[int]:
    """The levels for later lines: two where these are as good as all, else those of the typical chosen entry."""
    h = first.h
    if first.stage == 0 and len(h) >= 3:
        return [len(h) - 3, len(h) - 2]
    # Jumps ask for wide steps, which the others can do with.
    stairs = first.stairs.any()
    counted = first.stairs if stairs else np.ones(len(size), dtype=bool)
    level, column = int(np.median(first.level[counted])), int(np.median(first.column[counted]))
    sigmas = np.tile(np.maximum(first.noise, first.unit), (2, 1))
    odd, even = first.odd, first.even
    safe = np.where(size > 0, size, np.inf)
    best: list[int] | None = None
    own = np.where(np.isfinite(first.bar), first.bar, 0.0) / safe
    wide = float(np.sqrt(np.mean(np.maximum(1.5 * own, 1e-7) ** 2)))
    for fine in range(1 if stairs else max(1, level - 1), min(len(h), level + 3)):
        for coarse in range(fine):
            if h[coarse] < 20 * h[fine]:
                continue
            if not (np.abs(odd[coarse] / h[coarse] - first.value) <= 1e-4 * size + first.bar).all():
                continue
            rows = [coarse, fine]
            found = pair(h[rows], odd[rows], even[rows], sigmas, first.structure[fine])
            covers = np.abs(found.value - first.value) <= found.bar
            total = float(np.sqrt(np.mean((np.where(np.isfinite(found.bar), found.bar, np.inf) / safe) ** 2)))
            if total < wide and bool((covers | ~np.isfinite(first.value)).all()):
                best, wide = rows, total
    if best is not None:
        return best
    used = list(range(max(0, level - max(column, 1)), level + 1))[-3:]
    # (Far finer steps, which would show fast structure, lie within a tread.)
    return used if stairs else used + [i for i in range(level + 1, len(h)) if h[i] < h[level] / 20][:1]
