"""<u, f> is wrong for some u: say which outputs, which entries, and whether one mistake explains the whole matrix."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._base._away import BudgetSpent
from gradproof._claims._around import Around
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import STREAM, held
from gradproof._claims._entrywise import EntryErrors
from gradproof._claims._lines import Line, Lines
from gradproof._claims._patterns import Pattern, explain, factor_words
from gradproof._function._problem import Problem, Samples
from gradproof._prove import Direction, Directions, Outcome
from gradproof._prove._accuse import SMALL, TOLERANCE
from gradproof._prove._kinks import outside_words
from gradproof._prove._maps import FIRST, entries_words
from gradproof._report import Finding, Severity, Verdict

Vector = NDArray[np.float64]

# Outputs that get a proof of their own, entries and columns that get a finding of their own.
ROWS, SHOWN = 8, 20
# What is said of a column without a factor: where it is to be said of all, one finding says as much.
UNNAMED = "these entries are wrong"
# Inputs that may be wrong each by itself; with more, one mistake of the whole matrix is looked for first.
FEW = 2
# Outputs up to which a slope of every one is measured: 40 values of each fit into 64 MB.
ELEMENTWISE = 200_000
# Inputs up to which every column is measured when nothing else says where a matrix is wrong.
COLUMNS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known when a proof fails.

    claimed, samples, eps, options, around, reproducer : as in the proof.
    size : (n,), natural size of the entries of the measured leaves; negative where the domain lies on that side.
    rows : (m,), norm of the rows in natural sizes.
    rtol : the smallest relative error worth an accusation.
    """

    claimed: Claimed
    samples: Samples
    size: Vector
    rows: Vector
    eps: float
    rtol: float
    options: _prove.Options
    around: Around
    reproducer: str


def look_at(path: str, *, small: bool) -> str:
    """What to do about a derivative that no cause explains, as `gradproof._prove._accuse.unexplained`."""
    advice = f"Look at how `{path}` is computed."
    return f"{advice} {TOLERANCE}" if small else advice


def _is_small(claimed: float | None, reference: float) -> bool:
    return claimed is not None and abs(claimed - reference) <= SMALL * abs(claimed)


def locate(scene: Scene, u: Vector, outcome: Outcome) -> list[Finding]:
    """Name what makes <u, f> fail: entries, columns, rows, or a mistake of the whole matrix."""
    return _Search(scene, u, outcome).run()


def locate_entries(scene: Scene, wrong: EntryErrors) -> list[Finding]:
    """Say in few words which entries are wrong, given all of them."""
    return _Search(scene, np.zeros(scene.claimed.primal.outputs.size), None).name(wrong)


class _Search:
    def __init__(self, scene: Scene, u: Vector, outcome: Outcome | None) -> None:
        self.scene = scene
        self.claimed = scene.claimed
        self.u = u
        self._outcome = outcome
        self._marks: list[_Mark] = []
        # Lines through all leaves, and the outputs that deviate along them.
        self._seen: list[Line] = []
        self._wrong = np.zeros(0, dtype=np.intp)
        self.m = self.claimed.primal.outputs.size
        findings = () if outcome is None else outcome.findings
        self.errors = [one for one in findings if one.severity is Severity.ERROR]
        self._rounding = _prove.ROUNDINGS * scene.options.claim_eps
        self.lines = Lines(
            scene.claimed,
            eps=scene.eps,
            seed=scene.options.seed,
            around=scene.around,
            collector=scene.options.collector,
            samples=scene.samples,
        )
        self.problem = self.lines.problem
        # A row that is claimed to be zero is measured by the size of its output.
        values = np.abs(self.claimed.primal.output_values())
        self.tolerance = 5 * max(scene.rtol, 1e-7) * np.where(scene.rows > 0, scene.rows, values)

    def run(self) -> list[Finding]:
        """Find the place, as far as evaluations go, and draw it."""
        try:
            found = self._run()
        except BudgetSpent:
            found = [self._summary(self._seen, self._wrong)]
        self._draw()
        return found

    def _run(self) -> list[Finding]:
        if self.m == 1:
            if self._outcome is not None:
                self._mark_row(0, self._outcome)
            return [self._translate(one, 0) for one in self.errors]
        if self.m > ELEMENTWISE:
            place = "through a random combination of all outputs"
            return [
                dataclasses.replace(one, place=f"{one.place}, {place}" if one.place else place) for one in self.errors
            ]
        self.claimed.densify()
        columns = self._accused_columns()
        if columns is not None and len(columns) <= FEW:
            found = self._columns(columns)
            if found:
                return found
        lines = [self._measure(self._random(k)) for k in range(2)]
        off = [self._off(line) for line in lines]
        rows = np.flatnonzero(off[0] | off[1])
        self._seen, self._wrong = lines, rows
        if self.claimed.matrix is not None and len(rows) > 1:
            whole = self._whole(lines)
            if whole is not None:
                return [whole]
        if columns is not None and FEW < len(columns) <= len(rows):
            found = self._columns(columns)
            if self._is_all_of_it(found):
                return [self._summary(lines, rows)]
            if found:
                return found
        if 0 < len(rows) <= ROWS:
            self._marks.clear()
            found = [one for i in rows for one in self._row(int(i))]
            if found:
                return found
        if self.claimed.matrix is not None and self.claimed.columns <= COLUMNS and not self.claimed.reduced:
            found = self._columns(range(self.claimed.columns))
            if found and not self._is_all_of_it(found):
                return found
        elif columns is not None:
            found = self._columns(columns)
            if found:
                return found
        return [self._summary(lines, rows)]

    def name(self, wrong: EntryErrors) -> list[Finding]:
        """One mistake of the whole matrix, or the entries one by one: the clearest where they are many."""
        self._marks.append(_Mark(wrong.rows, wrong.columns, _entries_words(wrong.rows, wrong.columns), paired=True))
        self._draw()
        columns, rows = np.unique(wrong.columns), np.unique(wrong.rows)
        # (Others deviate by no more than their own jumps explain.)
        self.tolerance[np.setdiff1d(np.arange(self.m), rows)] = np.inf
        if len(rows) > 1 and len(wrong.rows) > SHOWN:
            whole = self._whole([self._measure(self._random(k)) for k in range(2)])
            if whole is not None:
                return [whole]
        if len(columns) > SHOWN and len(rows) <= ROWS:
            found = [one for i in rows.tolist() for one in self._row(i)]
            if found:
                return found
        clearest = sorted({int(j): None for j in wrong.columns[np.argsort(-wrong.sizes, kind="stable")]}, key=int)
        found = self._columns(clearest if len(columns) <= SHOWN else wrong.columns[:SHOWN].tolist())
        return found or [self._summary([self._measure(self._random(0))], rows)]

    # ------------------------------------------------------------------------------------------------- measuring

    def _random(self, k: int) -> Vector:
        """A direction through all leaves; each contributes alike as far as the claim tells."""
        zero = np.zeros(len(self.problem.point))
        seed, lower, upper = self.scene.options.seed, self.lines.lower, self.lines.upper
        directions = Directions(self.problem.leaves, self.problem.point, zero, seed, lower, upper)
        group = tuple(range(len(self.problem.leaves)))
        scales = [1.0] * len(group)
        if self.claimed.matrix is not None:
            scaled = self.claimed.matrix * self.scene.size
            norms = [float(np.linalg.norm(scaled[:, leaf.start : leaf.stop])) for leaf in self.problem.leaves]
            least = min((norm for norm in norms if norm > 1e-3 * max(norms)), default=1.0)
            scales = [min(1.0, least / norm) if norm > 0 else 1.0 for norm in norms]
        return directions.vector(Direction(STREAM + 8 + k, group, tuple(scales))).copy()

    def _measure(self, v: Vector) -> Line:
        return self.lines.measure(v, self.scene.rows)

    def _off(self, line: Line) -> NDArray[np.bool_]:
        """Outputs whose slope along a line the claim does not have."""
        if line.claimed is not None:
            with np.errstate(invalid="ignore"):
                return line.deviation > line.bar + self.tolerance
        return self._halve(line)

    def _halve(self, line: Line) -> NDArray[np.bool_]:
        """The same where only J^T u can be had: halve the outputs until single ones are left, at most `SHOWN`."""
        off = np.zeros(self.m, dtype=bool)
        signs = np.where(self.u < 0, -1.0, 1.0) / np.where(self.scene.rows > 0, self.scene.rows, 1.0)
        signs = held(signs, self.claimed.primal.outputs.leaves)
        usable = np.flatnonzero(np.isfinite(line.bar) & np.isfinite(line.value))
        todo = [usable]
        asked = 0
        while todo and off.sum() < SHOWN and asked < 40 * ROWS:
            part = todo.pop()
            if not len(part):
                continue
            weights = np.zeros(self.m)
            weights[part] = signs[part]
            weights = self.claimed.primal.outputs.rounded(weights)
            asked += 1
            residual = float(weights[part] @ line.value[part]) - float(self.claimed.pull(weights) @ line.v)
            allowed = float(np.abs(weights[part]) @ (line.bar[part]))
            allowed += float(np.linalg.norm(weights[part] * self.tolerance[part]))
            if abs(residual) <= allowed:
                continue
            if len(part) == 1:
                off[part] = True
            else:
                todo += [part[: len(part) // 2], part[len(part) // 2 :]]
        return off

    # --------------------------------------------------------------------------------------------------- columns

    def _accused_columns(self) -> list[int] | None:
        """The entries of x that the scalar proof has named; None if it has named anything larger."""
        if self.claimed.reduced:
            return None
        starts = {leaf.path: leaf for leaf in self.claimed.leaves}
        columns: list[int] = []
        for one in self.errors:
            leaf = next((starts[path] for path in starts if _within(one.path, path)), None)
            if leaf is None or one.quantity != "entry" or (not one.entries and leaf.size > 1):
                return None
            entries: tuple[tuple[int, ...], ...] = one.entries or ((0,) * len(leaf.shape),)
            for entry in entries:
                columns.append(leaf.start + (int(np.ravel_multi_index(entry, leaf.shape)) if leaf.shape else 0))
        return columns[:SHOWN] or None

    def _columns(self, columns: Sequence[int]) -> list[Finding]:
        """Measure whole columns of f', one unit direction each, and name the wrong entries."""
        findings: list[Finding] = []
        wrong: list[tuple[float, int, int, Line]] = []
        count = 0
        self._marks.clear()
        for j in columns:
            v = np.zeros(len(self.scene.size))
            v[j] = self.scene.size[j]
            line = self._measure(v)
            rows = np.flatnonzero(self._off(line))
            count += len(rows)
            bends = any(self._sides(int(i), line) is not None for i in rows)
            if self.claimed.matrix is not None and len(rows) > 2 and not bends and self._is_column(j, line, rows):
                findings.append(self._column(j, line, rows))
                self._marks.append(_Mark(rows, np.array([j]), f"column {j}"))
            else:
                wrong += [(-float(abs(self._entry(int(i), line) - line.value[i])), int(i), j, line) for i in rows]
        wrong.sort(key=lambda item: item[0])
        if wrong:
            i, j = (np.array([item[axis] for item in wrong], dtype=np.intp) for axis in (1, 2))
            self._marks.append(_Mark(i, j, _entries_words(i, j), paired=True))
        shown = sorted(wrong[: max(SHOWN - len(findings), 1)], key=lambda item: item[1:3])
        found = [self._one_entry(i, j, line) for _, i, j, line in shown] + findings[:SHOWN]
        if len(found) < len(wrong) + len(findings):
            more = f"{count} wrong entries in all; the largest are shown."
            found[0] = dataclasses.replace(found[0], advice=f"{found[0].advice} {more}")
        return found

    def _is_all_of_it(self, found: list[Finding]) -> bool:
        """Whether the columns that are wrong are all those of some leaves, and nothing else is known of any."""
        touched = [leaf for leaf in self.claimed.leaves if any(_within(one.path, leaf.path) for one in self.errors)]
        count = sum(leaf.size for leaf in touched)
        return len(found) == count > FEW and all(one.kind == UNNAMED for one in found)

    def _is_column(self, j: int, line: Line, rows: NDArray[np.intp]) -> bool:
        """Whether one input is wrong in most outputs, or in all that depend on it."""
        assert self.claimed.matrix is not None
        depend = (self.claimed.matrix[:, j] != 0) | (np.abs(line.value) > line.bar)
        return 2 * len(rows) > self.m or len(rows) == int(depend.sum())

    def _entry(self, i: int, line: Line) -> float:
        """Claimed slope of output i along a line."""
        if self.claimed.matrix is not None:
            return float(self.claimed.matrix[i] @ line.v)
        return float(self.claimed.pull(_unit(self.m, i)) @ line.v)

    def _one_entry(self, i: int, j: int, line: Line) -> Finding:
        step = float(line.v[j])
        claimed, reference, bar = self._entry(i, line) / step, line.value[i] / step, line.bar[i] / abs(step)
        path, index, place = self.claimed.place(i, j)
        kind, factor = factor_words(claimed, reference, bar, "the true entry", rounding=self._rounding)
        advice = f"Look at how `{path}` is computed."
        sides = self._sides(i, line)
        if sides is not None:
            low, high = sorted(side / step for side in sides)
            return dataclasses.replace(
                self._finding(
                    path=path,
                    entries=(index,) if index else (),
                    place=place,
                    kind=outside_words(low, high),
                    claimed=claimed,
                    reference=float(reference),
                    error_bar=(high - low) / 2,
                    quantity="entry",
                    advice="No subgradient has this value: check the branch that is taken at the kink.",
                ),
                id="GP103",
            )
        if self.claimed.pattern is not None and claimed == 0 and not self.claimed.pattern[i, j]:
            kind, factor = "missing from the declared sparsity pattern", None
            advice = f"The derivative of {self.claimed.output(i)} is not 0 there: declare entry {[i, j]} and fill it."
        return self._finding(
            path=path,
            entries=(index,) if index else (),
            place=place,
            kind=kind or "this entry is wrong",
            claimed=claimed,
            reference=float(reference),
            error_bar=float(bar),
            quantity="entry",
            factor=factor,
            advice=advice,
        )

    def _sides(self, i: int, line: Line) -> tuple[float, float] | None:
        """The one-sided slopes of an output along a line, where it has a kink at the point; else None."""
        found = line.slope
        jump = float(found.jump[i])
        if found.side or not abs(jump) > max(3 * float(found.jump_bar[i]), 10 * float(self.tolerance[i])):
            return None
        return float(line.value[i]) - jump / 2, float(line.value[i]) + jump / 2

    def _column(self, j: int, line: Line, rows: NDArray[np.intp]) -> Finding:
        assert self.claimed.matrix is not None
        claimed = self.claimed.matrix @ line.v
        i = int(rows[np.argmax(np.abs(claimed - line.value)[rows])])
        path, _, place = self.claimed.place(None, j)
        slope, bar = float(line.value[i]), float(line.bar[i])
        kind, factor = factor_words(float(claimed[i]), slope, bar, "the true derivative", rounding=self._rounding)
        if (
            factor is not None
            and (np.abs(claimed - factor * line.value) > (1 + abs(factor)) * line.bar + 1e-4 * np.abs(claimed)).any()
        ):
            kind, factor = "", None
        step = float(line.v[j])
        return self._finding(
            path=path,
            place=place if len(rows) == self.m else f"in {len(rows)} of {self.m} outputs",
            kind=kind or UNNAMED,
            claimed=float(claimed[i]) / step,
            reference=float(line.value[i]) / step,
            error_bar=float(line.bar[i]) / abs(step),
            quantity=self.claimed.output(i),
            factor=factor,
            advice="The derivative by this one input is wrong in most outputs.",
        )

    # ------------------------------------------------------------------------------------------------------ rows

    def _row(self, i: int) -> list[Finding]:
        """Prove one output by itself: the scalar proof says where in its row, and what."""
        u = _unit(self.m, i)
        claims = self.claimed.pieces(self.claimed.pull(u))
        problem = Problem(
            self.claimed.primal,
            claims,
            reproducer=self.scene.reproducer,
            cotangent=u,
            eps=self.scene.eps,
            samples=self.scene.samples,
        )
        seed, lower, upper = self.scene.options.seed, self.lines.lower, self.lines.upper
        directions = Directions(problem.leaves, problem.point, problem.claim, seed, lower, upper)
        options = dataclasses.replace(self.scene.options, output=self.claimed.output(i))
        outcome = _run.answer(_prove.prove(problem, options, directions), problem, directions)
        if outcome.verdict is not Verdict.WRONG:
            return []
        errors = [one for one in outcome.findings if one.severity is Severity.ERROR]
        self._mark_row(i, outcome)
        return [self._translate(one, i) for one in errors]

    def _translate(self, one: Finding, i: int) -> Finding:
        """A finding about the gradient of output i as one about the claim."""
        k = next((k for k, leaf in enumerate(self.claimed.leaves) if _within(one.path, leaf.path)), None)
        if k is None:
            return dataclasses.replace(one, place=self._through(i, one.place))
        leaf = self.claimed.leaves[k]
        if self.claimed.reduced:
            kind = one.kind if one.factor is not None and not one.entries else "is not the derivative of this output"
            return dataclasses.replace(one, path=leaf.path, entries=(), kind=kind, place=self._through(i, ""))
        if one.quantity == "entry" and (one.entries or leaf.size == 1):
            entry = one.entries[0] if len(one.entries) else (0,) * len(leaf.shape)
            j = leaf.start + (int(np.ravel_multi_index(entry, leaf.shape)) if leaf.shape else 0)
            path, index, place = self.claimed.place(i, j)
            kind = one.kind.replace("the true gradient", "the true entry")
            advice, factor = look_at(path, small=one.advice.endswith(TOLERANCE)), one.factor
            if self.claimed.pattern is not None and not self.claimed.pattern[i, j]:
                kind, factor = "missing from the declared sparsity pattern", None
                advice = f"The derivative of {self.claimed.output(i)} is not 0 there: declare {[i, j]} and fill it."
            return dataclasses.replace(
                one, path=path, entries=(index,) if index else (), place=place, kind=kind, advice=advice, factor=factor
            )
        path = self.claimed.leaf_path(i, k, one.path[len(leaf.path) :])
        kind = one.kind.replace("the gradient of f", "the derivative of this output").replace("gradient", "derivative")
        place = self._through(i, "" if one.place == "everywhere" else one.place)
        if self.claimed.by_index and one.place == "everywhere" and self.m > 1:
            place = "whole row"
        return dataclasses.replace(
            one, path=path, entries=(), place=place, kind=kind, advice=one.advice.replace(f"`{leaf.path}`", f"`{path}`")
        )

    def _through(self, i: int, place: str) -> str:
        if self.m == 1:
            return place
        through = self.claimed.output(i) if self.claimed.by_index else f"through {self.claimed.output(i)}"
        return f"{place}, {through}" if place else through

    # ------------------------------------------------------------------------------------------------- the whole

    def _whole(self, lines: list[Line]) -> Finding | None:
        """One mistake that explains the slopes of all outputs along both directions."""
        assert self.claimed.matrix is not None
        if any(one.id == "GP103" for one in self.errors):
            # At a kink f has no one slope that a mistake could explain.
            return None
        cause = explain(
            self.claimed.matrix,
            [(line.v, line.value, line.bar) for line in lines],
            self.scene.rows,
            square=len(self.claimed.leaves) == 1 and (self.claimed.by_index or self.claimed.columns == self.m),
            blocks=[] if len(self.claimed.leaves) == 1 else [(leaf.start, leaf.stop) for leaf in self.claimed.leaves],
        )
        if cause is None:
            return None
        self._mark_pattern(cause)
        line = lines[0]
        claimed = self.claimed.matrix @ line.v
        i = int(np.argmax(np.abs(claimed - line.value) / np.maximum(line.bar, 1e-300)))
        return self._finding(
            path=self._whole_path() if cause.block is None else self.claimed.leaves[cause.block].path,
            place=cause.place,
            kind=cause.kind,
            claimed=float(claimed[i]),
            reference=float(line.value[i]),
            error_bar=float(line.bar[i]),
            quantity=f"slope of {self.claimed.output(i)}",
            factor=cause.factor,
            advice=cause.advice,
        )

    def _whole_path(self) -> str:
        paths = [leaf.path for leaf in self.claimed.leaves]
        return paths[0] if len(paths) == 1 and not self.claimed.by_index else self.claimed.keyword

    def _summary(self, lines: list[Line], rows: NDArray[np.intp]) -> Finding:
        """What can be said when no single place or mistake was found."""
        first = self.errors[0] if self.errors else None
        leaves = sorted(
            {leaf.path for leaf in self.claimed.leaves if any(_within(e.path, leaf.path) for e in self.errors)}
        )
        path = ", ".join(leaves[:3]) if not self.claimed.by_index else self.claimed.keyword
        if not len(rows):
            place = "in a combination of the outputs"
            numbers = (None, None, None) if first is None else (first.claimed, first.reference, first.error_bar)
            kind, factor = (first.kind, first.factor) if first else ("is not the derivative of f", None)
            return self._finding(
                path=path,
                place=place,
                kind=kind.replace("the gradient of f", "the derivative of f"),
                claimed=numbers[0],
                reference=numbers[1],
                error_bar=numbers[2],
                quantity="slope",
                factor=factor,
                advice=f"Look at how `{self.claimed.keyword}` is computed.",
            )
        line = lines[0]
        at_most = "at least " if self.claimed.matrix is None and len(rows) >= SHOWN else ""
        i = int(rows[np.argmax(np.abs(line.value[rows]) / np.maximum(line.bar[rows], 1e-300))])
        every = len(rows) == self.m
        words = "everywhere" if every else f"{len(rows)} of {self.m} rows"
        self._marks = [
            _Mark(rows, np.arange(leaf.start, leaf.stop), words)
            for leaf in self.claimed.leaves
            if not leaves or leaf.path in leaves
        ]
        same = {one.kind for one in self.errors}
        factors = {one.factor for one in self.errors}
        kind = same.pop() if len(same) == 1 and None not in factors else "is not the derivative of f"
        claimed = self._entry(i, line)
        return self._finding(
            path=path,
            place="everywhere" if every else f"{at_most}{len(rows)} of {self.m} outputs",
            kind=kind,
            claimed=claimed,
            reference=float(line.value[i]),
            error_bar=float(line.bar[i]),
            quantity=f"slope of {self.claimed.output(i)}",
            factor=factors.pop() if len(factors) == 1 else None,
            advice=look_at(self.claimed.keyword, small=every and _is_small(claimed, float(line.value[i]))),
        )

    # -------------------------------------------------------------------------------------------------- pictures

    def _mark_row(self, i: int, outcome: Outcome) -> None:
        """Note the part of a row that its own proof has found wrong."""
        for k, region in outcome.regions.items():
            columns = np.asarray(region.indices(self.claimed.leaves[k]))
            few = _entries_words(np.full(len(columns), i), columns)
            self._marks.append(_Mark(np.array([i]), columns, few if region.place.entries else f"row {i}"))

    def _mark_pattern(self, cause: Pattern) -> None:
        matrix = self.claimed.matrix
        assert matrix is not None
        if cause.corrected is not None:
            rows, columns = np.nonzero(cause.corrected != matrix)
            self._marks = [_Mark(rows, columns, cause.place, paired=True)]
        else:
            block = None if cause.block is None else self.claimed.leaves[cause.block]
            span = range(self.claimed.columns) if block is None else range(block.start, block.stop)
            self._marks = [_Mark(np.arange(self.m), np.array(span), cause.place)]

    def _draw(self) -> None:
        """Mark what was noted on the picture of the matrix, if there is one."""
        matrix = self.claimed.matrix
        if matrix is None or self.claimed.reduced:
            return
        sketch = self.scene.options.collector.sketch(self._whole_path(), matrix)
        for mark in self._marks:
            (sketch.mark_entries if mark.paired else sketch.mark)(mark.rows, mark.columns)
            sketch.words.append(mark.words)
        self._marks.clear()

    def _finding(
        self,
        *,
        path: str,
        kind: str,
        claimed: float | None,
        reference: float | None,
        error_bar: float | None,
        quantity: str,
        advice: str,
        factor: float | None = None,
        place: str = "",
        entries: tuple[tuple[int, ...], ...] = (),
    ) -> Finding:
        finite = error_bar is None or math.isfinite(error_bar)
        return Finding(
            id="GP101",
            severity=Severity.ERROR,
            path=path,
            entries=entries,
            place=place,
            kind=kind,
            claimed=claimed,
            reference=reference if finite else None,
            error_bar=error_bar if finite else None,
            quantity=quantity,
            factor=factor,
            advice=advice,
            reproducer=self.scene.reproducer,
        )


@dataclasses.dataclass(frozen=True)
class _Mark:
    """Wrong entries of the matrix: all of some rows and columns, or pairs of them; and their place in words."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    words: str
    paired: bool = False


def _entries_words(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> str:
    """Some entries of the matrix in words."""
    return entries_words(zip(rows[:FIRST].tolist(), columns[:FIRST].tolist(), strict=True), len(rows))


def _within(path: str, leaf: str) -> bool:
    """Whether a finding's path is that of a leaf, or of a part of it."""
    return path == leaf or path.startswith(leaf + "[")


def _unit(count: int, i: int) -> Vector:
    u = np.zeros(count)
    u[i] = 1.0
    return u
