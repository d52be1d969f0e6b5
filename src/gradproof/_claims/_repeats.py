"""A claim that is called twice at the same point: whether its answers are the same, and what it means if they are not.

Where they differ, f decides. Along a few lines its slope is measured, and the inner products of both answers are held
against it; neither array is kept. If one answer agrees with f and the other is far off, the claim remembers earlier
calls: a buffer that is never zeroed, say. If the answers are off by far more than they differ, the claim is wrong
whichever is taken. Otherwise it is random, and what is measured of one answer says nothing of the next.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._claims._around import Around, reach
from gradproof._contracts import Judged
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem, coarsest_eps
from gradproof._line import Slope, slope
from gradproof._prove import Direction, Directions
from gradproof._prove._directions import leaf_size, steady_norm
from gradproof._prove._tolerance import CANCELLED, REACH, ROUNDINGS
from gradproof._report import Finding, Severity

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Split: TypeAlias = "Callable[[Vector], dict[int, Vector]]"

# Leaves that are looked at where answers differ, those that differ most first; lines through a lone one.
LEAVES, LINES = 3, 2
# The part of a random stream of `Directions` that no proof reaches.
STREAM = 1 << 22
# An answer is far off f beyond so many bars, and so many tolerances: a right claim with noise near the tolerance, whose
# answers lie within it at times and beyond it at others, must not look as if it remembered.
FAR = 1000.0
# Whatever the tolerance, a deviation of this share of the slope is far.
OBVIOUS = 0.1
# Deviations of so many times what the answers differ by are no matter of chance, if that many more answers bear it out:
# two draws from a bell are so close to each other in 7 of 100 cases, five in 1 of 10,000.
CHANCE, MORE = 10.0, 3


class Kind(enum.Enum):
    """What two answers of a claim that differ say."""

    AGREES = enum.auto()
    REMEMBERS = enum.auto()
    RANDOM = enum.auto()
    WRONG = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sight:
    """Answers beside the slope of f along one line (absolute).

    path : of what differs.
    answers : their inner products with the line, in the order of the calls.
    value, bar : the slope.
    tolerance : what no answer is accused of.
    scale : natural size of the slope.
    """

    path: str
    answers: tuple[float, ...]
    value: float
    bar: float
    tolerance: float
    scale: float

    @property
    def deviations(self) -> tuple[float, ...]:
        return tuple(abs(answer - self.value) for answer in self.answers)

    @property
    def kind(self) -> Kind:
        """What this line says."""
        low, high = min(self.deviations), max(self.deviations)
        if not math.isfinite(self.bar):
            return Kind.RANDOM
        if high <= self.bar + self.tolerance:
            return Kind.AGREES
        obvious = high > OBVIOUS * self.scale
        near = low <= self.bar + self.tolerance or (obvious and low <= high / FAR)
        if near and high > FAR * self.bar + min(FAR * self.tolerance, max(OBVIOUS * self.scale, self.tolerance)):
            return Kind.REMEMBERS
        return Kind.WRONG if low >= CHANCE * (max(self.answers) - min(self.answers)) else Kind.RANDOM


def of_second_call(first: Sequence[Finding], second: Sequence[Finding]) -> list[Finding]:
    """The findings that only the second answer has. Numbers are not compared: nan equals nothing."""
    known = {(finding.id, finding.path, finding.kind) for finding in first}
    return [
        dataclasses.replace(finding, kind=f"in its second call: {finding.kind}")
        for finding in second
        if (finding.id, finding.path, finding.kind) not in known
    ]


def differences(
    primal: Primal, one: Mapping[int, Vector], other: Mapping[int, Vector], rtol: float, eps: float
) -> dict[int, float]:
    """Leaves in which two gradients differ by more than rtol, and by how much of the larger one.

    Terms of the size of the largest leaf may have cancelled in any: some roundings of it are no difference.
    """
    found: dict[int, float] = {}
    both = one.keys() & other.keys()
    apart = [i for i in both if not np.array_equal(one[i], other[i])]
    if not apart:
        return found
    norms = {i: max(_norm(primal, i, one[i]), _norm(primal, i, other[i])) for i in both}
    floor = CANCELLED * eps * max(norms.values())
    for i in apart:
        off = _norm(primal, i, np.ravel(one[i]) - np.ravel(other[i]))
        if off > rtol * norms[i] + floor:
            found[i] = off / norms[i]
    return found


def _norm(primal: Primal, i: int, gradient: Vector) -> float:
    return steady_norm(np.ravel(gradient) * leaf_size(primal.leaves[i], primal.point))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Line:
    """A line through some leaves, v of each, and what was seen along it."""

    v: Mapping[int, Vector]
    sight: Sight

    def beside(self, gradients: Mapping[int, Vector], sight: Sight) -> Sight:
        """The same with one more answer, if it has these leaves."""
        if not self.v.keys() <= gradients.keys():
            return sight
        return dataclasses.replace(sight, answers=(*sight.answers, _product(gradients, self.v)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeats:
    """Holds answers of one claim that differ against f.

    Attributes
    ----------
    keyword : str
        What the claim is called.
    options : Options
    around : Around
    curve : callable or None
        Of a second-order claim alone: ``curve(v) -> (v^T H v, bar)``, which stands for the slope of <H v, x> along v.
    accused : float
        Smallest relative error worth an accusation, where it is larger than usual.
    """

    keyword: str
    options: _prove.Options
    around: Around
    curve: Callable[[Vector], tuple[float, float]] | None = None
    accused: float = 0.0

    def rtol(self, primal: Primal) -> float:
        """How much of a leaf two answers may differ by, and still be the same."""
        return self.options.limits.tolerance(self._eps(primal))

    def differ(self, primal: Primal, one: Judged, other: Judged) -> bool:
        """Whether two answers are not the same, in their numbers or in their form."""
        if set(one.gradients) != set(other.gradients):
            return True
        return bool(self._differences(primal, one.gradients, other.gradients))

    def settle(
        self, primal: Primal, one: Judged, ask: Callable[[], Judged], other: Judged, cotangent: Vector | None = None
    ) -> None:
        """Note in the first answer what others say of it: what is left in its gradients can be measured.

        Parameters
        ----------
        primal : Primal
        one, other : Judged
            Answers to the same question.
        ask : callable
            Asks it once more.
        cotangent : ndarray (m,), optional
            u, where they are ``J^T u``.
        """
        for _ in range(MORE):
            if set(one.gradients) != set(other.gradients) or self._rounded(primal, one, other):
                break
            # Two answers of a random claim may be close by chance.
            other = ask()
        one.findings += of_second_call(one.findings, other.findings)
        for i in set(one.gradients) - set(other.gradients):
            one.set_aside[i] = other.set_aside.get(i, "set aside: the second call has none")
            del one.gradients[i]
        found = self._differences(primal, one.gradients, other.gradients)
        if not found:
            return
        chosen = sorted(found, key=lambda i: -found[i])[:LEAVES]
        if self.curve is not None and cotangent is not None:
            lines = [self._curved(primal, one.gradients, other.gradients, cotangent, self.curve)]
        else:
            lines = self._along_leaves(primal, {i: (one.gradients[i], other.gradients[i]) for i in chosen}, cotangent)
        share = max(found.values())
        sights = [line.sight for line in lines]
        kind, sight = decide(sights, share)
        if kind is Kind.WRONG:
            for _ in range(MORE):
                again = ask().gradients
                sights = [line.beside(again, sight) for line, sight in zip(lines, sights, strict=True)]
            kind = Kind.WRONG if decide(sights, share)[0] is Kind.WRONG else Kind.RANDOM
        self.note(one, [primal.leaves[i].path for i in found], list(found), kind, sight, share)

    def settle_matrix(self, primal: Primal, matrix: Matrix, ask: Callable[[], Matrix], split: Split) -> Judged:
        """What a matrix (m, n), asked for once more, says of itself, by the leaves of its columns: as `settle`.

        ``split(row)`` takes a row (n,) apart, leaf by leaf.
        """
        other = ask()
        if np.array_equal(matrix, other):
            return Judged()
        eps = max(self._eps(primal), self.options.claim_eps)
        natural = np.concatenate(
            [
                np.broadcast_to(leaf_size(primal.leaves[i], primal.point), row.size)
                for i, row in split(matrix[0]).items()
            ]
        )
        norms = np.maximum(np.linalg.norm(matrix * natural, axis=1), np.linalg.norm(other * natural, axis=1))
        off = np.linalg.norm((other - matrix) * natural, axis=1)
        differ = off > self.rtol(primal) * norms + CANCELLED * eps * float(norms.max(initial=0.0))
        judged = Judged()
        if differ.any():
            if self.curve is not None:
                differ[:] = True
            # All rows that differ, each relative to its own size, so that none hides behind another.
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.options.seed, 9))))
            u = np.zeros(len(matrix))
            u[differ] = generator.choice([-1.0, 1.0], int(differ.sum())) / norms[differ]
            judged.gradients = split(u @ matrix)
            self.settle(
                primal, judged, lambda: Judged(gradients=split(u @ ask())), Judged(gradients=split(u @ other)), u
            )
        return judged

    def differ_in_outputs(self, primal: Primal, one: Vector, other: Vector) -> bool:
        """Whether two answers (m,) of a jvp are not the same."""
        return bool(self._rows(primal, one, other).any())

    def settle_outputs(
        self,
        primal: Primal,
        judged: Judged,
        v: Vector,
        one: Vector,
        other: Vector,
        ask: Callable[[], Vector | None],
    ) -> None:
        """Note what two answers (m,) of a jvp along v say of it: as `settle`."""
        rows = self._rows(primal, one, other)
        if not rows.any():
            return
        # All outputs that differ, each relative to its own size, so that none hides behind another.
        size = np.maximum(np.abs(one), np.abs(other))
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.options.seed, 9))))
        u = np.zeros(len(one))
        u[rows] = generator.choice([-1.0, 1.0], int(rows.sum())) / size[rows]
        everything = [i for i, leaf in enumerate(primal.leaves) if leaf.size]
        zeros = {i: np.zeros(primal.leaves[i].size) for i in everything}
        problem = Problem(primal, zeros, cotangent=u, eps=self._eps(primal))
        scale = math.sqrt(float(rows.sum()))
        sight = self.sight(problem, v, self.keyword, (float(u @ one), float(u @ other)), scale)
        share = float(np.max(np.abs(one - other)[rows] / size[rows]))
        kind, _ = decide([sight], share)
        if kind is Kind.WRONG:
            more = [float(u @ answer) for answer in (ask() for _ in range(MORE)) if answer is not None]
            again = dataclasses.replace(sight, answers=(*sight.answers, *more))
            kind = Kind.WRONG if decide([again], share)[0] is Kind.WRONG else Kind.RANDOM
        self.note(judged, [self.keyword], everything, kind, sight, share)

    def _rows(self, primal: Primal, one: Vector, other: Vector) -> NDArray[np.bool_]:
        """Outputs in which two answers differ, beyond rounding of the largest."""
        size = np.maximum(np.abs(one), np.abs(other))
        floor = CANCELLED * max(self._eps(primal), self.options.claim_eps) * float(size.max(initial=0.0))
        return np.abs(one - other) > self.rtol(primal) * size + floor

    def note(
        self, judged: Judged, paths: Sequence[str], leaves: Sequence[int], kind: Kind, sight: Sight, share: float
    ) -> None:
        """Note what a line says of leaves in which answers differ by a share of their size."""
        if kind is Kind.REMEMBERS:
            judged.findings.append(self._remembers(sight))
            judged.set_aside.update(dict.fromkeys(leaves, "set aside: the claim remembers earlier calls"))
        else:
            judged.findings.append(self._random(kind, paths, share))
        if kind is Kind.RANDOM:
            judged.undecided.update(dict.fromkeys(leaves, "the claim is random"))
        if kind in (Kind.REMEMBERS, Kind.RANDOM):
            for i in leaves:
                judged.gradients.pop(i, None)

    def _rounded(self, primal: Primal, one: Judged, other: Judged) -> bool:
        """Whether two answers are the same up to rounding, or clearly not."""
        eps = max(self._eps(primal), self.options.claim_eps)
        slightly = differences(primal, one.gradients, other.gradients, ROUNDINGS * eps, eps)
        return not slightly or bool(self._differences(primal, one.gradients, other.gradients))

    def _differences(self, primal: Primal, one: Mapping[int, Vector], other: Mapping[int, Vector]) -> dict[int, float]:
        return differences(primal, one, other, self.rtol(primal), max(self._eps(primal), self.options.claim_eps))

    def _eps(self, primal: Primal) -> float:
        eps = coarsest_eps([leaf for leaf in primal.leaves if leaf.size])
        return max(eps, primal.outputs.eps) if primal.is_vector else eps

    def _along_leaves(
        self, primal: Primal, answers: Mapping[int, tuple[Vector, Vector]], cotangent: Vector | None
    ) -> list[_Line]:
        """One line through each leaf by itself, two through a lone one."""
        first = {i: pair[0] for i, pair in answers.items()}
        problem = Problem(primal, first, cotangent=cotangent, eps=self._eps(primal))
        lower, upper = self.around.sides(primal, sorted(answers))
        directions = Directions(problem.leaves, problem.point, problem.claim, self.options.seed, lower, upper)
        lines: list[_Line] = []
        for k, (i, leaf) in enumerate(zip(sorted(answers), problem.leaves, strict=True)):
            part = slice(leaf.start, leaf.stop)
            scale = max(_norm(primal, i, answer) for answer in answers[i])
            for line in range(LINES if len(answers) == 1 else 1):
                v = directions.vector(Direction(stream=STREAM + line, group=(k,), scales=(1.0,)))
                products = tuple(float(np.ravel(answer) @ v[part]) for answer in answers[i])
                sight = self.sight(problem, v, leaf.path, products, scale, directions.unit)
                lines.append(_Line(v={i: v[part].copy()}, sight=sight))
        return lines

    def _curved(
        self,
        primal: Primal,
        one: Mapping[int, Vector],
        other: Mapping[int, Vector],
        v: Vector,
        curve: Callable[[Vector], tuple[float, float]],
    ) -> _Line:
        """Products H v with v itself, beside the curvature of f along it."""
        parts = {i: v[primal.leaves[i].start : primal.leaves[i].stop] for i in one}
        answers = (_product(one, parts), _product(other, parts))
        value, bar = curve(v)
        scale = max(map(abs, answers))
        return _Line(v=parts, sight=self._beside(self.keyword, answers, value, bar, self._eps(primal), scale))

    def sight(
        self, problem: Problem, v: Vector, path: str, answers: tuple[float, ...], scale: float, unit: float = 1.0
    ) -> Sight:
        """Measure the slope of a problem along v, all of whose leaves may move, and set both answers beside it.

        `unit` is what values of f are multiplied by meanwhile, as in `Directions`.
        """
        lower, upper = self.around.sides(problem.primal, problem.measured)
        found = _slope(problem, v, scale, reach(problem.point, v, lower, upper), self.options.seed, unit)
        value, bar = float(found.value[0]) / unit, float(found.bar[0]) / unit
        return self._beside(path, answers, value, bar, found.eps, scale)

    def _beside(
        self, path: str, answers: tuple[float, ...], value: float, bar: float, eps: float, scale: float
    ) -> Sight:
        tolerance = REACH * max(self.options.limits.tolerance(eps), self.accused) * scale
        return Sight(path=path, answers=answers, value=value, bar=bar, tolerance=tolerance, scale=scale)

    def _remembers(self, sight: Sight) -> Finding:
        right = int(np.argmin(sight.deviations[:2]))
        words = ("first", "second")
        return Finding(
            id="GP213",
            severity=Severity.ERROR,
            path=sight.path,
            kind=f"`{self.keyword}` remembers earlier calls: its {words[right]} call at this point agrees with f, its "
            f"{words[1 - right]} does not",
            claimed=sight.answers[1 - right],
            reference=sight.value,
            error_bar=sight.bar,
            quantity="slope",
            advice="look for what is kept from one call to the next: a buffer that is not zeroed, a counter, a cache.",
        )

    def _random(self, kind: Kind, paths: Sequence[str], share: float) -> Finding:
        much = {
            Kind.RANDOM: "as much as they are off",
            Kind.AGREES: "within the error bars of f",
            Kind.WRONG: "less than they are off",
        }[kind]
        return Finding(
            id="GP306",
            severity=Severity.DOUBT if kind is Kind.RANDOM else Severity.NOTE,
            path=paths[0] if len(paths) == 1 else "",
            kind=f"`{self.keyword}` is random: two calls at this point differ by {share:.2g} of its size, {much}",
            advice="Fix the seed inside the claim, or solve more precisely there, so that equal arguments give equal "
            "values.",
        )


def _product(gradients: Mapping[int, Vector], v: Mapping[int, Vector]) -> float:
    return math.fsum(float(np.ravel(gradients[i]) @ part) for i, part in v.items())


def decide(sights: Sequence[Sight], share: float) -> tuple[Kind, Sight]:
    """What all lines say of answers that differ by a share of their size, and the line that says it most clearly."""
    clearest = max(sights, key=lambda sight: max(sight.deviations) / sight.scale if sight.scale > 0 else 0.0)
    remembers = [sight for sight in sights if sight.kind is Kind.REMEMBERS]
    if remembers:
        return Kind.REMEMBERS, remembers[0]
    kinds = {sight.kind for sight in sights}
    for kind in (Kind.RANDOM, Kind.WRONG):
        if kind in kinds:
            return kind, clearest
    # A line may be blind to the difference: it is hidden only where no line could show it.
    hidden = all(share * sight.scale <= sight.bar + sight.tolerance for sight in sights)
    return Kind.AGREES if hidden else Kind.RANDOM, clearest


def _slope(problem: Problem, v: Vector, scale: float, ends: tuple[float, float], seed: int, unit: float) -> Slope:
    """The slope of a scalar problem along v; never outside the domain."""
    jitter = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 8))))
    line = slope(jitter, eps=problem.eps, scale=scale * unit, ripple=scale * unit)
    try:
        steps = next(line)
        while True:
            inside = (ends[0] <= steps) & (steps <= ends[1])
            values = np.full(len(steps), math.nan)
            found = _run.along(problem, v, steps[inside].tolist())
            values[inside] = [unit * problem.combined(*one) for one in found]
            steps = line.send(values)
    except StopIteration as finished:
        return finished.value
