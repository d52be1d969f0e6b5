"""<u, f> is wrong for some u: find which outputs, which entries, and whether one mistake explains the whole matrix."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._base._away import BudgetSpent
from gradproof._claims._charge import LinearCharge, Scope
from gradproof._claims._cotangents import ALONE
from gradproof._claims._entrywise import EntryErrors
from gradproof._claims._joined import APART, FEW, together
from gradproof._claims._lines import Line
from gradproof._claims._marks import Marks
from gradproof._claims._patterns import Pattern, explain
from gradproof._claims._proved import is_zero
from gradproof._claims._scene import Located, Scene, Whole
from gradproof._claims._scene_lines import SHOWN, SceneLines, unit
from gradproof._claims._wrong_columns import WrongColumns
from gradproof._function._problem import Problem
from gradproof._prove import Directions, Outcome
from gradproof._prove._charge import Charge
from gradproof._prove._wording import entries_of
from gradproof._report import Verdict

Vector = NDArray[np.float64]

# Outputs that get a proof of their own.
ROWS = 8
# Entries of an array through which a factor, or another cause along one mixture, cannot be an accident.
EARNED = 3
# Outputs up to which a slope of every one is measured: 40 values of each fit into 64 MB.
ELEMENTWISE = 200_000
# What bars of 0 are taken for where deviations are compared with them.
LEAST = 1e-300


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
    return Located(found, search.says_zero)


def locate_entries(scene: Scene, wrong: EntryErrors) -> Located:
    """Say in few words which entries are wrong, given all of them."""
    search = _Search(scene, np.zeros(scene.claimed.primal.outputs.size), None)
    return Located(search.name(wrong))


class _Search:
    def __init__(self, scene: Scene, u: Vector, outcome: Outcome | None) -> None:
        self.scene = scene
        self.claimed = scene.claimed
        self._outcome = outcome
        self.m = self.claimed.primal.outputs.size
        self.accused = () if outcome is None else outcome.charges
        # Whether the proof was of all outputs together.
        self.is_mixture = bool(np.count_nonzero(u) > 1)
        self.lines = SceneLines(scene, u)
        self.marks = Marks(self.claimed)
        self.columns = WrongColumns(self.lines, self.marks)

    @property
    def says_zero(self) -> bool:
        """Whether some slope of f that excludes the claim is 0, as far as it is measured."""
        return self.lines.says_zero or any(is_zero(one.reference, one.error_bar) for one in self.accused)

    def run(self) -> list[LinearCharge]:
        """Find the place, as far as evaluations go, and draw it."""
        try:
            found = self._run()
        except BudgetSpent:
            found = [self._unknown()]
        self._draw()
        return found

    def _run(self) -> list[LinearCharge]:
        if self.m == 1:
            if self._outcome is not None:
                self.marks.row(0, self._outcome)
            return [self._of_output(one, 0) for one in self.accused]
        is_explained = self.is_mixture and all(self._is_explained(one) for one in self.accused)
        if self.m > ELEMENTWISE or (is_explained and self.claimed.matrix is None):
            return self._of_inputs()
        self.claimed.densify()
        columns = self._accused_columns()
        few = columns is not None and len(columns) <= FEW
        if columns is not None and few and self.is_mixture:
            found = self.columns.find(columns)
            if found:
                return self._together(found)
        is_known_part = self._look(is_explained=is_explained)
        lines, rows = self.lines.seen, self.lines.wrong
        if self.claimed.matrix is not None and len(rows) > 1 and len(lines) > 1:
            whole = self._whole(lines)
            if whole is not None:
                return [whole]
        if is_explained:
            return self._of_inputs()
        if columns is not None and few and not self.is_mixture and len(rows) > 1:
            found = self.columns.find(columns)
            if found and self.columns.explain(lines, rows.tolist()):
                return self._together(found)
        if 0 < len(rows) <= self._few_rows:
            found = [one for i in rows.tolist() for one in self._row(i)]
            if found:
                return self._together(found)
        self.marks.clear()
        if columns is not None and self.is_mixture and len(columns) <= APART:
            found = self.columns.find(columns)
            if found and not self._is_all_of_it(found):
                return self._together(found)
        return self._of_inputs() if is_known_part else [self._unknown()]

    def _look(self, *, is_explained: bool) -> bool:
        """Look along one line or two; whether some part of the inputs is known to be all that is wrong."""
        self.lines.look(self.lines.first())
        is_known_part = self.is_mixture and not self.claimed.reduced and self._is_part_of_it()
        is_settled = is_explained or (is_known_part and len(self.lines.wrong) > self._few_rows)
        if not is_settled or self._may_be_whole():
            self.lines.look(self.lines.second())
        return is_known_part

    @property
    def _few_rows(self) -> int:
        """Outputs that are few enough to be proved one by one, if no others are wrong."""
        return self.m if self.m <= ALONE else max(FEW, min(ROWS, self.m // 2))

    def whole(self) -> Whole | None:
        """One mistake of the whole matrix; a second line is measured only where the first leaves one possible."""
        assert self.claimed.matrix is not None
        if self.m == 1 or self.m > ELEMENTWISE:
            return None
        self.lines.look(self.lines.first())
        if not self._may_be_whole():
            return None
        self.lines.look(self.lines.second())
        cause = self._explain(self.lines.seen) if len(self.lines.wrong) > 1 else None
        if cause is None:
            return None
        found = self._found_whole(cause, self.lines.seen)
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
        return Whole([found], self.says_zero, leaves=tuple(leaves))

    def _may_be_whole(self) -> bool:
        """Whether one mistake may explain all that was measured, as far as one line tells."""
        known = self.claimed.matrix is not None and len(self.lines.wrong) > 1
        return known and self._explain(self.lines.seen, loosely=True) is not None

    def _is_explained(self, charge: Charge) -> bool:
        """Whether a cause explains all of a leaf, or of a part, along a mixture of all outputs: so it does in each."""
        sizes = [self.claimed.leaves[k].size for k in charge.leaves]
        return charge.cause is not None and charge.index is None and sum(sizes) >= EARNED

    def _is_part_of_it(self) -> bool:
        """Whether some part of the inputs is all that is wrong in one leaf at least."""
        entries = {k: 0 for one in self.accused for k in one.leaves}
        for one in self.accused:
            entries[one.leaves[0]] += one.index is not None
        boxes = any(one.place is not None and one.place.box is not None for one in self.accused)
        return boxes or any(0 < count < self.claimed.leaves[k].size for k, count in entries.items())

    def _is_all_of_it(self, found: list[LinearCharge]) -> bool:
        """Whether the columns that are wrong are all those of some leaves, and nothing else is known of any."""
        touched = {k for one in self.accused for k in one.leaves}
        count = sum(self.claimed.leaves[k].size for k in touched)
        plain = all(one.scope is Scope.COLUMN and one.factor is None for one in found)
        return len(found) == count > FEW and plain

    def name(self, wrong: EntryErrors) -> list[LinearCharge]:
        """One mistake of the whole matrix, or the entries one by one: the clearest where they are many."""
        lines = self.lines
        self.marks.entries(wrong.rows, wrong.columns)
        self._draw()
        columns, rows = np.unique(wrong.columns), np.unique(wrong.rows)
        # (Others deviate by no more than their own jumps explain.)
        lines.tolerance[np.setdiff1d(np.arange(self.m), rows)] = np.inf
        if len(rows) > 1 and len(wrong.rows) > SHOWN:
            whole = self._whole([lines.measure(lines.random(k)) for k in range(2)])
            if whole is not None:
                return [whole]
        if len(columns) > SHOWN and len(rows) <= ROWS:
            found = [one for i in rows.tolist() for one in self._row(i)]
            if found:
                return found
        clearest = sorted({int(j): None for j in wrong.columns[np.argsort(-wrong.sizes, kind="stable")]}, key=int)
        found = self.columns.find(clearest if len(columns) <= SHOWN else wrong.columns[:SHOWN].tolist())
        if found:
            return found
        lines.seen, lines.wrong = [lines.measure(lines.random(0))], rows
        return [self._unknown()]

    def _together(self, found: list[LinearCharge]) -> list[LinearCharge]:
        return together(found, self.claimed, self.accused, self.lines.wrong.tolist())

    def _draw(self) -> None:
        self.marks.draw(self.scene.options.collector)

    # -------------------------------------------------------------------------------------------- inputs and rows

    def _accused_columns(self) -> list[int] | None:
        """The entries of x that the scalar proof has named; None if it has named anything larger."""
        if self.claimed.reduced:
            return None
        columns: list[int] = []
        for one in self.accused:
            leaf = self.claimed.leaves[one.leaves[0]]
            if not one.entry or (one.index is None and leaf.size > 1):
                return None
            columns.append(leaf.start + (int(np.ravel_multi_index(one.index, leaf.shape)) if one.index else 0))
        return columns[:SHOWN] or None

    def _row(self, i: int) -> list[LinearCharge]:
        """Prove one output by itself: the scalar proof says where in its row, and what."""
        u = unit(self.m, i)
        problem = Problem(
            self.claimed.primal,
            self.claimed.pieces(self.claimed.pull(u)),
            reproducer=self.scene.reproducer,
            cotangent=u,
            eps=self.scene.eps,
            samples=self.scene.samples,
        )
        seed, lower, upper = self.scene.options.seed, self.lines.lines.lower, self.lines.lines.upper
        directions = Directions(problem.leaves, problem.point, problem.claim, seed, lower, upper)
        options = dataclasses.replace(self.scene.options, output=self.claimed.output(i))
        outcome = _run.answer(_prove.prove(problem, options, directions), problem, directions)
        if outcome.verdict is not Verdict.WRONG:
            return []
        self.marks.row(i, outcome)
        # (The other leaves have proofs of their own.)
        touched = {k for one in self.accused for k in one.leaves}
        own = [
            dataclasses.replace(one, leaves=tuple(k for k in one.leaves if not touched or k in touched))
            for one in outcome.charges
        ]
        return [self._of_output(one, i) for one in own if one.leaves]

    def _of_output(self, charge: Charge, i: int) -> LinearCharge:
        """A charge against the gradient of output i as one against the claim."""
        found = dataclasses.replace(_of_proof(charge, Scope.OUTPUT), row=i, rows=(i,) if self.m > 1 else ())
        leaf = self.claimed.leaves[charge.leaves[0]]
        if self.claimed.reduced:
            return dataclasses.replace(found, is_part=False, factor=None)
        if not (charge.entry and (charge.index is not None or leaf.size == 1)):
            return found
        entry = charge.index or (0,) * len(leaf.shape)
        j = leaf.start + (int(np.ravel_multi_index(entry, leaf.shape)) if leaf.shape else 0)
        _, index, _ = self.claimed.place(i, j)
        undeclared = self.claimed.pattern is not None and not self.claimed.pattern[i, j]
        return dataclasses.replace(
            found,
            column=j,
            entries=(index,) if index else (),
            is_undeclared=undeclared,
            factor=None if undeclared else found.factor,
        )

    def _of_inputs(self) -> list[LinearCharge]:
        """Charges along a mixture of all outputs as those against the inputs."""
        self.marks.clear()
        found: list[LinearCharge] = []
        for one in self.accused:
            k = one.leaves[0]
            entries = entries_of(one, self.claimed.leaves[k])
            found.append(dataclasses.replace(_of_proof(one, Scope.MIXTURE), entries=entries))
            if self._outcome is not None:
                self.marks.inputs(k, self._outcome)
        return self._together(found)

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

    def _whole(self, lines: list[Line]) -> LinearCharge | None:
        """One mistake that explains the slopes of all outputs along both directions."""
        if any(one.sides is not None for one in self.accused):
            # At a kink f has no one slope that a mistake could explain.
            return None
        cause = self._explain(lines)
        return None if cause is None else self._found_whole(cause, lines)

    def _found_whole(self, cause: Pattern, lines: list[Line]) -> LinearCharge:
        assert self.claimed.matrix is not None
        self.marks.pattern(cause)
        line = lines[0]
        claimed = self.claimed.matrix @ line.v
        i = int(np.argmax(np.abs(claimed - line.value) / np.maximum(line.bar, LEAST)))
        found = LinearCharge(
            scope=Scope.WHOLE,
            leaves=() if cause.block is None else (cause.block,),
            row=i,
            pattern=cause,
            factor=cause.factor,
        )
        return _measured(found, float(claimed[i]), float(line.value[i]), float(line.bar[i]))

    def _unknown(self) -> LinearCharge:
        """What can be said when no single place or mistake was found."""
        lines, rows = self.lines.seen, self.lines.wrong
        first = self.accused[0] if self.accused else None
        touched = tuple(sorted({k for one in self.accused for k in one.leaves}))
        causes = {one.cause for one in self.accused}
        cause = causes.pop() if len(causes) == 1 else None
        factor = None if cause is None else cause.factor
        found = LinearCharge(scope=Scope.UNKNOWN, leaves=touched, factor=factor)
        if not len(rows):
            if first is None:
                return found
            found = dataclasses.replace(found, cause=first.cause, sides=first.sides)
            return _measured(found, first.claimed, first.reference, first.error_bar)
        line = lines[0]
        i = int(rows[np.argmax(np.abs(line.value[rows]) / np.maximum(line.bar[rows], LEAST))])
        # (Where outputs are looked for one by one that ends with so many; what is known of the inputs says more, then.)
        is_cut_off = self.claimed.matrix is None and len(rows) >= SHOWN
        in_all_inputs = bool(self.accused) and all(
            one.place is not None and one.place.everywhere for one in self.accused
        )
        every = len(rows) == self.m or (is_cut_off and in_all_inputs)
        self.marks.outputs(rows, touched, everywhere=every)
        claimed, reference = self.lines.entry(i, line), float(line.value[i])
        found = dataclasses.replace(
            found,
            rows=tuple(rows.tolist()),
            row=i,
            cause=None if factor is None else cause,
            everywhere=every,
            at_least=is_cut_off,
            off=abs(1 - reference / claimed) if every and claimed else None,
        )
        return _measured(found, claimed, reference, float(line.bar[i]))


def _of_proof(charge: Charge, scope: Scope) -> LinearCharge:
    """What the proof of an output, or of a mixture of them, says."""
    has_box = charge.place is not None and charge.place.box is not None
    found = LinearCharge(
        scope=scope,
        leaves=charge.leaves,
        is_part=charge.index is not None or has_box,
        source=charge,
        cause=charge.cause,
        factor=None if charge.cause is None else charge.cause.factor,
        sides=charge.sides,
    )
    return _measured(found, charge.claimed, charge.reference, charge.error_bar)


def _measured(charge: LinearCharge, claimed: float, reference: float, bar: float) -> LinearCharge:
    """The same with its numbers; a reference without a bar says nothing."""
    if not math.isfinite(bar):
        return dataclasses.replace(charge, claimed=claimed)
    return dataclasses.replace(charge, claimed=claimed, reference=reference, error_bar=bar)
