"""<u, f> is wrong for some u: say which outputs, which entries, and whether one mistake explains the whole matrix."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._base._away import BudgetSpent
from gradproof._base._leaf import Leaf
from gradproof._claims._around import Around
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import ALONE, STREAM, held
from gradproof._claims._entrywise import EntryErrors
from gradproof._claims._lines import Line, Lines
from gradproof._claims._patterns import Pattern, explain, simple_factor
from gradproof._claims._proved import About, about_charge, is_zero
from gradproof._claims._wording import claimed_words, pattern_place, pattern_words
from gradproof._function._problem import Problem, Samples
from gradproof._prove import Direction, Directions, Outcome
from gradproof._prove._charge import Charge, Notice, Statement
from gradproof._prove._maps import entries_words
from gradproof._prove._tolerance import REACH, RTOL64, is_kink
from gradproof._prove._wording import (
    NO_SUBGRADIENT,
    ONE_ENTRY,
    SOME_ENTRIES,
    cause_advice,
    cause_words,
    charge_words,
    entries_of,
    outside_words,
    quantity_of,
    region_words,
    subject_of,
    unexplained,
    with_others,
)
from gradproof._report import Finding, Severity, Verdict

Vector = NDArray[np.float64]

# Outputs that get a proof of their own, entries and columns that get a finding of their own.
ROWS, SHOWN = 8, 20
# What is said of a claim that no cause explains.
WRONG, OUTPUT = "the derivative is wrong", "the derivative of this output is wrong"
# Inputs, or outputs, that may be wrong each by itself; with more, one mistake of all of them is looked for first.
FEW = 2
# Wrong entries that get a finding of their own: a mistake in more of them is one of the whole array.
APART = 5
# Entries that are named in words.
NAMED = 3
# Entries of an array through which a factor, or another cause along one mixture, cannot be an accident.
EARNED = 3
# Outputs up to which a slope of every one is measured: 40 values of each fit into 64 MB.
ELEMENTWISE = 200_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known when a proof fails.

    claimed, samples, eps, options, around, reproducer : as in the proof.
    size : (n,), natural size of the entries of the measured leaves; negative where the domain lies on that side.
    rows : (m,), norm of the rows in natural sizes.
    rtol : the smallest relative error worth an accusation.
    looked : the first direction (n,) that was measured, if it goes through all leaves, and the seed of its proof.
    against : a line along which outputs deviate, if one was measured before.
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
    looked: tuple[Vector, int] | None = None
    against: Line | None = None


@dataclasses.dataclass(frozen=True)
class Located:
    """What is wrong, and what each finding speaks of.

    says_zero : whether some slope of f that excludes the claim is 0, as far as it is measured.
    """

    findings: list[Finding]
    about: Mapping[Finding, About]
    says_zero: bool = False


@dataclasses.dataclass(frozen=True)
class Whole(Located):
    """One mistake of the whole matrix, and the leaves in which it lies."""

    leaves: tuple[int, ...] = ()


def explain_whole(scene: Scene, u: Vector) -> Whole | None:
    """The one mistake of a known matrix that explains all outputs along two lines, before any place is looked for."""
    search = _Search(scene, u, None)
    try:
        return search.whole()
    except BudgetSpent:
        return None


def locate(scene: Scene, u: Vector, outcome: Outcome) -> Located:
    """Name what makes <u, f> fail: a mistake of the whole matrix, a part of the inputs, outputs, or entries.

    `outcome` is that of the proof, its leaves numbered as those of the claim are.
    """
    search = _Search(scene, u, outcome)
    found = search.run()
    return Located(found, search.about, search.says_zero)


def renumbered(outcome: Outcome, part: Sequence[Leaf], whole: Sequence[Leaf]) -> Outcome:
    """What was proved of some leaves, in their order, as of all of them."""
    if len(part) == len(whole):
        return outcome
    paths = [leaf.path for leaf in whole]
    where = [paths.index(leaf.path) for leaf in part]
    starts = [whole[k].start - leaf.start for k, leaf in zip(where, part, strict=True)]

    def anew(one: Statement) -> Statement:
        if isinstance(one, Notice):
            return dataclasses.replace(one, leaf=None if one.leaf is None else where[one.leaf])
        return dataclasses.replace(
            one,
            leaves=tuple(where[k] for k in one.leaves),
            place=None if one.place is None else one.place.moved(starts[one.leaves[0]]),
        )

    statements = tuple(anew(one) for one in outcome.statements)
    regions = {
        where[k]: dataclasses.replace(region, place=region.place.moved(starts[k]))
        for k, region in outcome.regions.items()
    }
    return dataclasses.replace(outcome, statements=statements, regions=regions)


def locate_entries(scene: Scene, wrong: EntryErrors) -> Located:
    """Say in few words which entries are wrong, given all of them."""
    search = _Search(scene, np.zeros(scene.claimed.primal.outputs.size), None)
    found = search.name(wrong)
    return Located(found, search.about)


class _Search:
    def __init__(self, scene: Scene, u: Vector, outcome: Outcome | None) -> None:
        self.scene = scene
        self.claimed = scene.claimed
        self.u = u
        self._outcome = outcome
        # What each finding speaks of.
        self.about: dict[Finding, About] = {}
        self._marks: list[_Mark] = []
        # Lines along single inputs.
        self._alone: dict[int, Line] = {}
        # Lines through all leaves, and the outputs that deviate along them.
        self._seen: list[Line] = []
        self._wrong = np.zeros(0, dtype=np.intp)
        self.m = self.claimed.primal.outputs.size
        self.charges = () if outcome is None else outcome.charges
        self.says_zero = any(is_zero(one.reference, one.error_bar) for one in self.charges)
        # Whether the proof was of all outputs together.
        self.is_mixture = np.count_nonzero(u) > 1
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
        self.tolerance = REACH * max(scene.rtol, RTOL64) * np.where(scene.rows > 0, scene.rows, values)

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
            return [self._of_output(one, 0) for one in self.charges]
        is_explained = self.is_mixture and all(self._is_explained(one) for one in self.charges)
        if self.m > ELEMENTWISE or (is_explained and self.claimed.matrix is None):
            return self._of_inputs()
        self.claimed.densify()
        columns = self._accused_columns()
        few = columns is not None and len(columns) <= FEW
        if columns is not None and few and self.is_mixture:
            found = self._columns(columns)
            if found:
                return self._together(found)
        self._look(self._first())
        is_known_part = self.is_mixture and not self.claimed.reduced and self._is_part_of_it()
        is_settled = is_explained or (is_known_part and len(self._wrong) > self._few_rows)
        if not is_settled or self._may_be_whole():
            self._look(self._second())
        lines, rows = self._seen, self._wrong
        if self.claimed.matrix is not None and len(rows) > 1 and len(lines) > 1:
            whole = self._whole(lines)
            if whole is not None:
                return [whole]
        if is_explained:
            return self._of_inputs()
        if columns is not None and few and not self.is_mixture and len(rows) > 1:
            found = self._columns(columns)
            if found and self._columns_explain(lines, rows):
                return self._together(found)
        if 0 < len(rows) <= self._few_rows:
            found = [one for i in rows for one in self._row(int(i))]
            if found:
                return self._together(found)
        self._marks.clear()
        if columns is not None and self.is_mixture and len(columns) <= APART:
            found = self._columns(columns)
            if found and not self._is_all_of_it(found):
                return self._together(found)
        if is_known_part:
            return self._of_inputs()
        return [self._summary(lines, rows)]

    @property
    def _few_rows(self) -> int:
        """Outputs that are few enough to be proved one by one, if no others are wrong."""
        return self.m if self.m <= ALONE else max(FEW, min(ROWS, self.m // 2))

    def _first(self) -> Line:
        """A line through all leaves: that of the proof, whose values are known, if there is one."""
        if self.scene.looked is None:
            return self._measure(self._random(0))
        return self.lines.again(self.scene.looked[0], self.scene.rows, self.scene.looked[1])

    def _second(self) -> Line:
        """Another line through all leaves: one that was measured before, if there is one."""
        return self.scene.against or self._measure(self._random(1))

    def whole(self) -> Whole | None:
        """One mistake of the whole matrix; a second line is measured only where the first leaves one possible."""
        assert self.claimed.matrix is not None
        if self.m == 1 or self.m > ELEMENTWISE:
            return None
        self._look(self._first())
        if not self._may_be_whole():
            return None
        self._look(self._second())
        cause = self._explain(self._seen) if len(self._wrong) > 1 else None
        if cause is None:
            return None
        found = self._found_whole(cause, self._seen)
        self._draw()
        if cause.corrected is not None:
            columns = np.flatnonzero((cause.corrected != self.claimed.matrix).any(axis=0))
        else:
            columns = np.flatnonzero(self.claimed.matrix.any(axis=0))
        leaves = [
            k
            for k, leaf in enumerate(self.claimed.leaves)
            if (
                k == cause.block if cause.block is not None else ((leaf.start <= columns) & (columns < leaf.stop)).any()
            )
        ]
        return Whole([found], self.about, self.says_zero, leaves=tuple(leaves))

    def _look(self, line: Line) -> None:
        """Note which outputs deviate along a line."""
        self._seen.append(line)
        self._wrong = np.union1d(self._wrong, np.flatnonzero(self._off(line)))

    def _may_be_whole(self) -> bool:
        """Whether one mistake may explain all that was measured, as far as one line tells."""
        known = self.claimed.matrix is not None and len(self._wrong) > 1
        return known and self._explain(self._seen, loosely=True) is not None

    def _is_explained(self, charge: Charge) -> bool:
        """Whether a cause explains all of a leaf, or of a part, along a mixture of all outputs: so it does in each."""
        sizes = [self.claimed.leaves[k].size for k in charge.leaves]
        return charge.cause is not None and charge.index is None and sum(sizes) >= EARNED

    def _is_part_of_it(self) -> bool:
        """Whether some part of the inputs is all that is wrong in one leaf at least."""
        entries = {k: 0 for one in self.charges for k in one.leaves}
        for one in self.charges:
            entries[one.leaves[0]] += one.index is not None
        boxes = any(one.place is not None and one.place.box is not None for one in self.charges)
        return boxes or any(0 < count < self.claimed.leaves[k].size for k, count in entries.items())

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
                off = line.deviation > line.bar + self.tolerance
        else:
            off = self._halve(line)
        self.says_zero |= any(is_zero(float(line.value[i]), float(line.bar[i])) for i in np.flatnonzero(off))
        return off

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
        columns: list[int] = []
        for one in self.charges:
            leaf = self.claimed.leaves[one.leaves[0]]
            if not one.entry or (one.index is None and leaf.size > 1):
                return None
            columns.append(leaf.start + (int(np.ravel_multi_index(one.index, leaf.shape)) if one.index else 0))
        return columns[:SHOWN] or None

    def _columns(self, columns: Sequence[int]) -> list[Finding]:
        """Measure whole columns of f', one unit direction each, and name the wrong entries."""
        findings: list[Finding] = []
        wrong: list[tuple[float, int, int, Line]] = []
        count = 0
        self._marks.clear()
        self._alone.clear()
        for j in columns:
            v = np.zeros(len(self.scene.size))
            v[j] = self.scene.size[j]
            line = self._alone[j] = self._measure(v)
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
            first = dataclasses.replace(found[0], advice=f"{found[0].advice} {more}")
            found[0] = self._tell(first, self.about[found[0]])
        return found

    def _columns_explain(self, lines: list[Line], rows: NDArray[np.intp]) -> bool:
        """Whether the columns that were measured are all that deviates along some lines, in these rows."""
        for line in lines:
            for i in rows.tolist():
                left = float(line.value[i]) - self._entry(i, line)
                allowed = float(line.bar[i]) + float(self.tolerance[i])
                for j, own in self._alone.items():
                    share = float(line.v[j]) / float(own.v[j])
                    left -= share * (float(own.value[i]) - self._entry(i, own))
                    allowed += abs(share) * float(own.bar[i])
                if abs(left) > allowed:
                    return False
        return True

    def _is_all_of_it(self, found: list[Finding]) -> bool:
        """Whether the columns that are wrong are all those of some leaves, and nothing else is known of any."""
        touched = {k for one in self.charges for k in one.leaves}
        count = sum(self.claimed.leaves[k].size for k in touched)
        return len(found) == count > FEW and all(one.kind == SOME_ENTRIES for one in found)

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
        about = About(leaves=(self._owner(j),), outputs=(i,), is_part=bool(index))
        factor = simple_factor(claimed, reference, bar, rounding=self._rounding)
        kind = ONE_ENTRY if factor is None else claimed_words(factor, "the true entry")
        advice = unexplained(subject_of(path), None)
        sides = self._sides(i, line)
        if sides is not None:
            low, high = sorted(side / step for side in sides)
            at_kink = dataclasses.replace(
                self._finding(
                    path=path,
                    entries=(index,) if index else (),
                    place=place,
                    kind=outside_words(low, high),
                    claimed=claimed,
                    reference=float(reference),
                    error_bar=(high - low) / 2,
                    quantity="entry",
                    advice=NO_SUBGRADIENT,
                ),
                id="GP103",
            )
            return self._tell(at_kink, dataclasses.replace(about, at_kink=True))
        if self.claimed.pattern is not None and claimed == 0 and not self.claimed.pattern[i, j]:
            kind, factor = "missing from the declared sparsity pattern", None
            advice = f"The derivative of {self.claimed.output(i)} is not 0 there: declare entry {[i, j]} and fill it."
        found = self._finding(
            path=path,
            entries=(index,) if index else (),
            place=place,
            kind=kind,
            claimed=claimed,
            reference=float(reference),
            error_bar=float(bar),
            quantity="entry",
            factor=factor,
            advice=advice,
        )
        return self._tell(found, about)

    def _tell(self, found: Finding, about: About) -> Finding:
        """Note what a finding speaks of."""
        self.about[found] = about
        return found

    def _owner(self, j: int) -> int:
        """The leaf that an input belongs to."""
        return next(k for k, leaf in enumerate(self.claimed.leaves) if leaf.start <= j < leaf.stop)

    def _sides(self, i: int, line: Line) -> tuple[float, float] | None:
        """The one-sided slopes of an output along a line, where it has a kink at the point; else None."""
        found = line.slope
        jump = float(found.jump[i])
        if found.side or not is_kink(jump, float(found.jump_bar[i]), float(self.tolerance[i])):
            return None
        return float(line.value[i]) - jump / 2, float(line.value[i]) + jump / 2

    def _column(self, j: int, line: Line, rows: NDArray[np.intp]) -> Finding:
        assert self.claimed.matrix is not None
        claimed = self.claimed.matrix @ line.v
        i = int(rows[np.argmax(np.abs(claimed - line.value)[rows])])
        path, _, place = self.claimed.place(None, j)
        slope, bar = float(line.value[i]), float(line.bar[i])
        factor = simple_factor(float(claimed[i]), slope, bar, rounding=self._rounding)
        if (
            factor is not None
            and (np.abs(claimed - factor * line.value) > (1 + abs(factor)) * line.bar + 1e-4 * np.abs(claimed)).any()
        ):
            factor = None
        step = float(line.v[j])
        found = self._finding(
            path=path,
            place=place if len(rows) == self.m else f"in {len(rows)} of {self.m} outputs",
            kind=SOME_ENTRIES if factor is None else claimed_words(factor, "the true derivative"),
            claimed=float(claimed[i]) / step,
            reference=float(line.value[i]) / step,
            error_bar=float(line.bar[i]) / abs(step),
            quantity=self.claimed.output(i),
            factor=factor,
            advice="The derivative with respect to this one input is wrong.",
        )
        return self._tell(found, About(leaves=(self._owner(j),), outputs=tuple(rows.tolist()), is_part=True))

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
        self._mark_row(i, outcome)
        # (The other leaves have proofs of their own.)
        touched = {k for one in self.charges for k in one.leaves}
        own = [
            dataclasses.replace(one, leaves=tuple(k for k in one.leaves if not touched or k in touched))
            for one in outcome.charges
        ]
        return [self._of_output(one, i) for one in own if one.leaves]

    def _of_output(self, charge: Charge, i: int) -> Finding:
        """A charge against the gradient of output i as a finding about the claim."""
        k = charge.leaves[0]
        leaf, cause = self.claimed.leaves[k], charge.cause
        within, place = region_words(charge, leaf)
        others = [self.claimed.leaf_path(i, k, "") for k in charge.leaves[1:]]
        about = about_charge(charge, range(len(self.claimed.leaves)), (i,) if self.m > 1 else ())
        factor = None if cause is None else cause.factor
        if self.claimed.reduced:
            named = factor is not None and charge.index is None
            kind = charge_words(charge, "the true derivative", WRONG) if named else OUTPUT
            advice = unexplained(subject_of(leaf.path), charge.off)
            found = self._charged(charge, path=leaf.path, kind=kind, place=self._through(i, ""), advice=advice)
            return self._tell(found, dataclasses.replace(about, is_part=False))
        if charge.entry and (charge.index is not None or leaf.size == 1):
            entry = charge.index or (0,) * len(leaf.shape)
            j = leaf.start + (int(np.ravel_multi_index(entry, leaf.shape)) if leaf.shape else 0)
            path, index, place = self.claimed.place(i, j)
            kind, advice = charge_words(charge, "the true entry", WRONG), unexplained(subject_of(path), charge.off)
            if self.claimed.pattern is not None and not self.claimed.pattern[i, j]:
                kind, factor = "missing from the declared sparsity pattern", None
                advice = f"The derivative of {self.claimed.output(i)} is not 0 there: declare {[i, j]} and fill it."
            entries = (index,) if index else ()
            found = self._charged(
                charge, path=path, entries=entries, place=place, kind=kind, advice=advice, factor=factor
            )
            return self._tell(found, about)
        path = self.claimed.leaf_path(i, k, within)
        kind = charge_words(charge, "the true derivative", OUTPUT)
        advice = unexplained(subject_of(path), charge.off) if cause is None else cause_advice(cause, path)
        words = self._through(i, "" if place == "everywhere" else place)
        if self.claimed.by_index and place == "everywhere" and self.m > 1:
            words = "whole row"
        words = with_others(words, others) if others else words
        found = self._charged(charge, path=path, kind=kind, place=words, advice=advice, factor=factor)
        return self._tell(found, about)

    def _of_inputs(self) -> list[Finding]:
        """Charges along a mixture of all outputs as findings about the inputs."""
        self._marks.clear()
        found: list[Finding] = []
        for charge in self.charges:
            k = charge.leaves[0]
            leaf = self.claimed.leaves[k]
            within, place = region_words(charge, leaf)
            path, by_index = self._input_path(k, within), charge.index is not None
            kind = charge_words(charge, "the true entry" if by_index else "the true derivative", WRONG)
            advice = unexplained(subject_of(path), None) if charge.cause is None else cause_advice(charge.cause, path)
            through = "through all outputs together"
            place = f"{place}, {through}" if place and not by_index and place != "everywhere" else place or through
            others = [self._input_path(k, "") for k in charge.leaves[1:]]
            place = with_others(place, others) if others else place
            entries = entries_of(charge, leaf)
            factor = None if charge.cause is None else charge.cause.factor
            told = self._charged(
                charge, path=path, entries=entries, place=place, kind=kind, advice=advice, factor=factor
            )
            found.append(self._tell(told, about_charge(charge, range(len(self.claimed.leaves)))))
            region = None if self._outcome is None else self._outcome.regions.get(k)
            if region is not None:
                self._marks.append(_Mark(np.arange(self.m), np.asarray(region.indices(leaf)), region.words))
        return self._together(found)

    def _input_path(self, k: int, within: str) -> str:
        """A part of a leaf in the user's names; of a Jacobian by one vector, its columns."""
        leaf = self.claimed.leaves[k]
        if not self.claimed.by_index or len(self.claimed.leaves) > 1 or len(leaf.shape) != 1:
            return leaf.path + within
        return f"{self.claimed.keyword}[:, {within[1:-1]}]" if within else self.claimed.keyword

    def _together(self, found: list[Finding]) -> list[Finding]:
        """Few findings as they are; many about single entries, or rows, as one for each cause that some have."""
        if len(found) <= FEW:
            return found
        groups: dict[tuple[int, str, float | None], list[Finding]] = {}
        for one in found:
            kind = "" if one.factor is None else one.kind
            groups.setdefault((self._leaf_of(one), kind, one.factor), []).append(one)
        if len(groups) <= FEW:
            return [one for group in groups.values() for one in self._as_one(group)]
        return self._as_one(found)

    def _leaf_of(self, one: Finding) -> int:
        """Which leaf a finding is about; -1 where its path is that of the claim."""
        return -1 if self.claimed.by_index else self.about[one].leaves[0]

    def _as_one(self, found: list[Finding]) -> list[Finding]:
        """Findings that one mistake may have, as one if they are many, or about all of a leaf."""
        named = {self._leaf_of(one) for one in found}
        # (A charge may be about several leaves alike: a finding about the first is about all of them.)
        touched = named.union(*(one.leaves for one in self.charges if one.leaves[0] in named)) - {-1}
        touched = touched or {k for one in self.charges for k in one.leaves}
        is_of_rows = not any(one.entries for one in found)
        columns = {(one.path.partition("[")[0], one.entries) for one in found}
        everything = len(columns) == sum(self.claimed.leaves[k].size for k in touched) and not self.claimed.by_index
        in_rows = is_of_rows and len({one.path for one in found}) == 1
        if len(found) == 1 or (len(found) <= APART and not everything and not in_rows):
            return found
        worst = max(found, key=lambda one: abs((one.claimed or 0.0) - (one.reference or 0.0)))
        same = len({one.kind for one in found}) == 1
        each = [self.about[one] for one in found]
        rows_known = all(one.outputs for one in each)
        through = sorted({i for one in each for i in one.outputs}) if rows_known else self._wrong.tolist()
        place = "everywhere" if everything else f"in {len(found)} places, one of them {worst.path}"
        if is_of_rows and not everything:
            place = "everywhere" if len(through) == self.m else self._in_outputs(through)
        path = ", ".join(self.claimed.leaves[k].path for k in sorted(touched))
        if self.claimed.by_index:
            blocks = {one.path.rpartition("[")[0] for one in found}
            path = blocks.pop() if len(blocks) == 1 else self._whole_path()
            rows = {one.entries[0][0] for one in found if one.entries and one.entries[0]}
            if len(rows) == 1 and len(self.claimed.leaves) == 1 and found[0].entries and len(found[0].entries[0]) == 2:
                path = f"{path}[{rows.pop()}]"
                place = "whole row" if len(columns) == self.claimed.columns else place
        about = About(
            leaves=tuple(sorted({k for one in each for k in one.leaves})),
            outputs=tuple(through) if rows_known else (),
            at_kink=self.about[worst].at_kink,
        )
        return [
            self._tell(
                dataclasses.replace(
                    worst,
                    path=path,
                    entries=(),
                    place=place,
                    kind=worst.kind if same and worst.kind != ONE_ENTRY else WRONG,
                    factor=worst.factor if same else None,
                    quantity=f"{worst.quantity} {worst.path}" if worst.quantity == "entry" else worst.quantity,
                    advice=unexplained(self.claimed.subject, None),
                ),
                about,
            )
        ]

    def _in_outputs(self, rows: Sequence[int]) -> str:
        """Some of the outputs: few by name, and all from one on by that."""
        counted = f"in {len(rows)} of {self.m} outputs"
        if len(rows) <= NAMED:
            return f"{counted}: {', '.join(self.claimed.output(i) for i in rows)}"
        from_one_on = rows[-1] == self.m - 1 and rows[-1] - rows[0] == len(rows) - 1
        return f"{counted}: from {self.claimed.output(rows[0])} on" if from_one_on else counted

    def _through(self, i: int, place: str) -> str:
        if self.m == 1:
            return place
        through = self.claimed.output(i) if self.claimed.by_index else f"through {self.claimed.output(i)}"
        return f"{place}, {through}" if place else through

    # ------------------------------------------------------------------------------------------------- the whole

    def _explain(self, lines: list[Line], *, loosely: bool = False) -> Pattern | None:
        assert self.claimed.matrix is not None
        return explain(
            self.claimed.matrix,
            [(line.v, line.value, line.bar) for line in lines],
            self.scene.rows,
            square=len(self.claimed.leaves) == 1 and (self.claimed.by_index or self.claimed.columns == self.m),
            blocks=[] if len(self.claimed.leaves) == 1 else [(leaf.start, leaf.stop) for leaf in self.claimed.leaves],
            shapes=[leaf.shape for leaf in self.claimed.leaves],
            loosely=loosely,
        )

    def _whole(self, lines: list[Line]) -> Finding | None:
        """One mistake that explains the slopes of all outputs along both directions."""
        assert self.claimed.matrix is not None
        if any(one.sides is not None for one in self.charges):
            # At a kink f has no one slope that a mistake could explain.
            return None
        cause = self._explain(lines)
        return None if cause is None else self._found_whole(cause, lines)

    def _found_whole(self, cause: Pattern, lines: list[Line]) -> Finding:
        assert self.claimed.matrix is not None
        self._mark_pattern(cause)
        line = lines[0]
        claimed = self.claimed.matrix @ line.v
        i = int(np.argmax(np.abs(claimed - line.value) / np.maximum(line.bar, 1e-300)))
        kind, advice = pattern_words(cause)
        found = self._finding(
            path=self._whole_path() if cause.block is None else self.claimed.leaves[cause.block].path,
            place=pattern_place(cause),
            kind=kind,
            claimed=float(claimed[i]),
            reference=float(line.value[i]),
            error_bar=float(line.bar[i]),
            quantity=f"slope of {self.claimed.output(i)}",
            factor=cause.factor,
            advice=advice,
        )
        return self._tell(found, About() if cause.block is None else About(leaves=(cause.block,)))

    def _whole_path(self) -> str:
        paths = [leaf.path for leaf in self.claimed.leaves]
        return paths[0] if len(paths) == 1 and not self.claimed.by_index else self.claimed.keyword

    def _block_path(self, rows: NDArray[np.intp]) -> str:
        """The claim, or the block of it that holds some rows."""
        outputs = self.claimed.primal.outputs.layout
        origins = {
            outputs.owners[k] for k, leaf in enumerate(outputs.leaves) for i in rows if leaf.start <= i < leaf.stop
        }
        if len(origins) != 1:
            return self.claimed.keyword
        return self.claimed.keyword + self.claimed.names[outputs.origins.index(origins.pop())]

    def _summary(self, lines: list[Line], rows: NDArray[np.intp]) -> Finding:
        """What can be said when no single place or mistake was found."""
        first = self.charges[0] if self.charges else None
        touched = sorted({k for one in self.charges for k in one.leaves})
        leaves = [self.claimed.leaves[k].path for k in touched]
        path = ", ".join(leaves[:3]) if not self.claimed.by_index else self._block_path(rows)
        causes = {one.cause for one in self.charges}
        cause = causes.pop() if len(causes) == 1 else None
        factor = None if cause is None else cause.factor
        kind = WRONG
        if cause is not None and factor is not None:
            kind = cause_words(cause, "the true derivative")
        if not len(rows):
            numbers = (None, None, None) if first is None else (first.claimed, first.reference, first.error_bar)
            found = self._finding(
                path=path,
                place="in a combination of the outputs",
                kind=kind if first is None or first.cause is None else cause_words(first.cause, "the true derivative"),
                claimed=numbers[0],
                reference=numbers[1],
                error_bar=numbers[2],
                quantity="slope",
                factor=factor,
                advice=unexplained(self.claimed.subject, None),
            )
            if first is not None and first.sides is not None:
                found = dataclasses.replace(found, id="GP103", kind=outside_words(*first.sides), advice=NO_SUBGRADIENT)
            return self._tell(found, About(leaves=tuple(touched)))
        line = lines[0]
        i = int(rows[np.argmax(np.abs(line.value[rows]) / np.maximum(line.bar[rows], 1e-300))])
        # (Where outputs are looked for one by one that ends with so many; what is known of the inputs says more, then.)
        is_cut_off = self.claimed.matrix is None and len(rows) >= SHOWN
        in_all_inputs = bool(self.charges) and all(
            one.place is not None and one.place.everywhere for one in self.charges
        )
        every = len(rows) == self.m or (is_cut_off and in_all_inputs)
        place = "everywhere" if every else f"{'at least ' * is_cut_off}{len(rows)} of {self.m} outputs"
        if len(rows) <= NAMED and not every:
            place = f"{', '.join(self.claimed.output(int(k)) for k in rows)}: {place}"
        if len(rows) == 1 and self.claimed.by_index and len(self.claimed.leaves) == 1 and not every:
            path = self.claimed.leaf_path(i, 0, "")
        words = "everywhere" if every else f"{len(rows)} of {self.m} rows"
        self._marks = [
            _Mark(rows, np.arange(leaf.start, leaf.stop), words)
            for k, leaf in enumerate(self.claimed.leaves)
            if not touched or k in touched
        ]
        claimed = self._entry(i, line)
        found = self._finding(
            path=path,
            place=place,
            kind=kind,
            claimed=claimed,
            reference=float(line.value[i]),
            error_bar=float(line.bar[i]),
            quantity=f"slope of {self.claimed.output(i)}",
            factor=factor,
            advice=unexplained(self.claimed.subject, _off(claimed, float(line.value[i])) if every else None),
        )
        return self._tell(found, About(leaves=tuple(touched), outputs=() if every else tuple(rows.tolist())))

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
            self._marks = [_Mark(rows, columns, pattern_place(cause), paired=True)]
        else:
            block = None if cause.block is None else self.claimed.leaves[cause.block]
            span = range(self.claimed.columns) if block is None else range(block.start, block.stop)
            self._marks = [_Mark(np.arange(self.m), np.array(span), pattern_place(cause))]

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

    def _charged(
        self,
        charge: Charge,
        *,
        path: str,
        kind: str,
        place: str,
        advice: str,
        entries: tuple[tuple[int, ...], ...] = (),
        factor: float | None = None,
    ) -> Finding:
        """A finding with the numbers of a charge."""
        found = self._finding(
            path=path,
            entries=entries,
            place=place,
            kind=kind,
            claimed=charge.claimed,
            reference=charge.reference,
            error_bar=charge.error_bar,
            quantity=quantity_of(charge),
            factor=factor,
            advice=advice,
        )
        if charge.sides is None:
            return found
        return dataclasses.replace(found, id="GP103", advice=NO_SUBGRADIENT)

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
    return entries_words(zip(rows[:NAMED].tolist(), columns[:NAMED].tolist(), strict=True), len(rows))


def _off(claimed: float, reference: float) -> float | None:
    return abs(1 - reference / claimed) if claimed else None


def _unit(count: int, i: int) -> Vector:
    u = np.zeros(count)
    u[i] = 1.0
    return u
