"""A derivative f'(x) that is claimed entry by entry: every entry is a function of one number, and judged as such.

As entries do not mix, one evaluation moves all of them, each by a step of its own. Where there are many, a line along
all of them settles those that agree; each of the others is proved by itself, side by side.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts, _prove
from gradproof._base._away import BudgetSpent
from gradproof._base._errors import UsageError
from gradproof._base._leaf import Leaf
from gradproof._base._precision import is_double
from gradproof._claims._defined import excuse_undefined
from gradproof._claims._gradient import another_point, asked, asks, undefined
from gradproof._claims._proved import Proved, conclude, leaf_result, unmeasured
from gradproof._claims._single import Told, findings_of, flat_entries
from gradproof._claims._task import Task
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem
from gradproof._line import Slope, slope
from gradproof._prove import Directions, Question
from gradproof._prove._charge import Sight
from gradproof._prove._collect import Collector, merged
from gradproof._prove._tolerance import REACH
from gradproof._prove._wording import written
from gradproof._report import Reason, Verdict, worst

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]

# Entries up to which each is proved by itself at once, and the most that are after a line along all of them: a cap, a
# proof takes milliseconds of our own.
ALL_ALONE, MOST_ALONE = 32, 128
# How far entries move, in natural sizes, to see whether others do, too: within the steps that slopes are measured at.
MOVED = 0.05, 0.2
# Roundings of f that another entry may change by: vector instructions may round in another way beside another number.
ROUNDINGS = 16.0
# A kink of f along the line of all entries, in bars of the difference of the one-sided slopes.
BENT = 3.0
# Bar of an entry, relative to its slope, that the line of all entries aims at in float64; and the part of the largest
# bound up to which it settles the entry.
TARGET, SHARP = 1e-6, 0.1
# A slope is judged beside this part of those that f has a step away, where that is more. Chosen: f is not straight.
OF_MOVEMENT = 0.1
# The farthest step of a slope, in natural sizes: entries that f is not defined at so far out are proved by themselves.
FARTHEST = 0.3
COMPLEX_STEPS = ("complex", "reference")
# Proofs whose evidence is kept for the reader.
SHOWN = 6


def prove_elementwise(task: Task, claim: Any) -> Proved:
    """Prove or refute ``f'(x)``, an array of the shape of x, where f maps an array entry by entry.

    Raises
    ------
    UsageError
        If f does not.
    """
    primal = task.primal
    _require_one_array(primal)
    if not np.isfinite(primal.output_values()).any():
        return undefined(primal, task.options, findings=[], keyword="jac")
    if task.values["jac"]:
        judged, changed, calls = _contracts.judge_claim(primal, claim, "jac"), list[str](), 0
    else:
        judged, changed, calls = asked(primal, claim, "jac", task.options, task.around)
    excuse_undefined(primal, judged, task.around)
    results = unmeasured(primal, judged)
    leaf = primal.leaves[0]
    measured: Verdict | None = None
    reason: Reason | None = None
    findings = list(judged.findings)
    bound, rtol, evidence = None, task.options.limits.tolerance(leaf.eps), None
    if judged.gradients:
        entries = _Entries(task, np.ravel(judged.gradients[0]))
        entries.require_elementwise()
        told = entries.run()
        flat_entries(told, entries.claim, entries.size, entries.at_point, leaf.eps)
        found = findings_of(told, leaf, primal.point, entries.claim, entries.at_point, keyword="jac")
        findings += [dataclasses.replace(one, reproducer=task.reproducer) for one in found]
        measured = worst(one.verdict for one in told)
        bound = max((one.bound for one in told if one.bound is not None), default=None)
        judged_ones = [one for one in told if one.verdict is not Verdict.INCONCLUSIVE]
        deviation = max((one.deviation for one in judged_ones if one.deviation is not None), default=None)
        if measured is Verdict.WRONG:
            deviation = None  # (a share of each entry by itself says nothing of the array)
        rtol = max([rtol, *(one.rtol for one in told)])
        if measured is Verdict.INCONCLUSIVE:
            reason = next((one.reason for one in told if one.reason), Reason.NOISE)
        results[0] = leaf_result(
            leaf,
            measured,
            bound=bound if measured is Verdict.CORRECT else None,
            deviation=deviation,
            noticeable=bound if measured is Verdict.CORRECT else None,
            note=_note(told, measured),
        )
        primal.look_again()
        evidence = merged(entries.evidence(told))
    mutations = _contracts.find_mutations(primal.changed, changed, "jac")
    proved = conclude(
        results,
        [*findings, *mutations],
        measured=measured,
        reason=reason,
        options=task.options,
        eps=leaf.eps,
        rtol=rtol,
        claim_calls=calls,
        level="entries",
        misshapen=judged.misshapen,
    )
    if asks(proved.findings):
        proved = dataclasses.replace(proved, suggestion=another_point(primal, task.options.seed, task.around.bounds))
    return proved if evidence is None else dataclasses.replace(proved, evidence=evidence)


def _require_one_array(primal: Primal) -> None:
    outputs = primal.outputs
    if len(primal.origins) != 1 or primal.layout.is_complex or outputs.layout.is_complex:
        raise UsageError(
            "`elementwise` is for f of one real array (pass a list as `np.array(x)`): name it with `wrt`, or leave "
            "`elementwise` out."
        )
    shape, returned = primal.origins[0].shape, [origin.shape for origin in outputs.origins]
    if returned != [shape]:
        shown = f"shape {returned[0]}" if len(returned) == 1 else f"{len(returned)} arrays"
        raise UsageError(
            f"`elementwise` is for an f that returns an array of the shape of `{primal.roots[0]}`, {shape}; "
            f"`{primal.short_name}` returns {shown}. Leave `elementwise` out."
        )


def _note(told: Sequence[Told], verdict: Verdict) -> str:
    """How many entries the verdict of the array is about, and how many could not be tested."""
    count = sum(one.verdict is verdict for one in told)
    still = sum(one.is_flat for one in told)
    notes = {
        Verdict.WRONG: f"{count} of {len(told)} entries are wrong",
        Verdict.NOT_DIFFERENTIABLE: f"kinks at {count} of {len(told)} entries; the claim is a valid subgradient",
        Verdict.INCONCLUSIVE: f"{count} of {len(told)} entries are not resolved",
        Verdict.CORRECT: f"f stands still at {still} of {len(told)} entries, where no more is claimed" if still else "",
    }
    return notes[verdict].replace("1 of 1 entries are", "the entry is").replace("1 of 1 entries", "the point")


class _Entries:
    """All entries of x, and what is measured along each.

    Attributes
    ----------
    claim, at_point, size : ndarray (n,)
        Of each entry the claimed slope, the value of f, and how far it may move.
    """

    def __init__(self, task: Task, claim: Vector) -> None:
        self.task, self.primal, self.claim = task, task.primal, claim
        self.leaf = self.primal.leaves[0]
        self.problem = Problem(self.primal, {0: claim})
        self.point, self.eps = self.primal.point, self.leaf.eps
        lower, upper = task.around.sides(self.primal, (0,))
        n = len(self.point)
        self.lower = np.full(n, -np.inf) if lower is None else lower
        self.upper = np.full(n, np.inf) if upper is None else upper
        self.visits: list[Vector] = []
        self.at_point = self.visit(0)
        self.random: np.random.Generator = np.random.Generator(
            np.random.Philox(np.random.SeedSequence((task.options.seed, 12)))
        )
        # The natural size of an array of one number.
        self.size = np.where(self.point != 0, np.abs(self.point), 1.0)
        self._collectors: dict[int, tuple[Collector, _prove.Outcome]] = {}
        self.witnesses = task.around.witnesses(self.primal, {0: claim}, self.problem.leaves, self.eps, is_vector=True)
        # Whether any entry has been seen to move f: one that does not is constant then.
        self.sees = False

    def visit(self, k: int) -> Vector:
        """The value of f at x at the k-th look, which all entries share."""
        while len(self.visits) <= k:
            self.visits.append(self.primal.next_output_values())
        return self.visits[k]

    def values(self, moved: Vector) -> Vector:
        """F with all entries moved at once, corrected to first order for where entries of low precision landed."""
        values, beside = self.problem.visit(self.point + moved)
        for part, off in beside:
            values = values - self.claim[part] * off
        return values

    # ---------------------------------------------------------------------------------------- entries do not mix

    def require_elementwise(self) -> None:
        """Move half of the entries after the other: those that stay must keep their values.

        Any two entries differ in a digit of their number, so that each moves while the other stays.
        """
        n = len(self.point)
        again = self.visit(1)
        noise = np.abs(again - self.at_point)
        allowed = ROUNDINGS * max(self.eps, self.primal.outputs.eps) * np.abs(self.at_point)
        allowed = allowed + 10 * float(np.max(noise, initial=0.0, where=np.isfinite(noise)))
        moves = self._inside(self.size * self.random.uniform(*MOVED, n) * self.random.choice([-1.0, 1.0], n))
        numbers = np.arange(n)
        for bit in range((n - 1).bit_length()):
            for digit in (0, 1):
                chosen = (numbers >> bit) & 1 == digit
                mixed = self._changed(chosen, moves, allowed)
                if mixed is not None:
                    self._refuse(mixed, chosen, moves, allowed)

    def _inside(self, moves: Vector) -> Vector:
        """Moves that stay in the domain: back where they would leave it, or none."""
        for sign in (-1.0, 0.0):
            outside = (self.point + moves < self.lower) | (self.point + moves > self.upper)
            moves = np.where(outside, sign * moves, moves)
        return moves

    def _changed(self, chosen: NDArray[np.bool_], moves: Vector, allowed: Vector) -> int | None:
        """The entry that changes most although only others move; None where none does."""
        found = self.values(np.where(chosen, moves, 0.0))
        if not np.isfinite(found).any():
            return None  # f is not defined there at all
        with np.errstate(invalid="ignore"):
            self.sees |= bool((np.abs(found - self.at_point) > allowed)[chosen].any())
        known = ~chosen & np.isfinite(self.at_point)
        off = np.where(np.isfinite(found), np.abs(found - self.at_point), np.inf)
        over = np.where(known, off - allowed, -np.inf)
        return int(np.argmax(over)) if over.max(initial=-np.inf) > 0 else None

    def _refuse(self, mixed: int, chosen: NDArray[np.bool_], moves: Vector, allowed: Vector) -> None:
        """Raise UsageError: look for one entry that another depends on."""
        movers = np.flatnonzero(chosen)
        while len(movers) > 1:
            half = np.zeros_like(chosen)
            half[movers[: len(movers) // 2]] = True
            off = np.abs(self.values(np.where(half, moves, 0.0)) - self.at_point)[mixed]
            alone = movers[: len(movers) // 2] if not off <= allowed[mixed] else movers[len(movers) // 2 :]
            movers = alone
        path = self.primal.place(int(movers[0]))
        entry = self.primal.outputs.path_of(mixed)
        raise UsageError(
            f"`{self.primal.short_name}` does not work entry by entry: `{entry}` changes when `{path}` moves. Leave "
            f"`elementwise` out, and claim the whole Jacobian, of shape {self.leaf.shape + self.leaf.shape}, or a vjp."
        )

    # ------------------------------------------------------------------------------------------- judging entries

    def run(self) -> list[Told]:
        """Judge every entry."""
        n = len(self.point)
        told: list[Told | None] = [None] * n
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(self.at_point)
        for i in np.flatnonzero(~usable).tolist():
            told[i] = Told(i, Verdict.INCONCLUSIVE, reason=Reason.DOMAIN, note="f is not finite there")
        spent = False
        try:
            self._judge(told, np.flatnonzero(usable))
        except BudgetSpent:
            spent = True
        left = Reason.BUDGET if spent else None
        return [one if one is not None else Told(i, Verdict.INCONCLUSIVE, reason=left) for i, one in enumerate(told)]

    def _judge(self, told: list[Told | None], alone: NDArray[np.intp]) -> None:
        """Judge the entries at which f is finite: many of them along one line first, then by themselves."""
        if len(told) > ALL_ALONE:
            contrast = self._along_all(told)
            alone = np.array([i for i in alone if told[i] is None], dtype=np.intp)
            # Those that deviate most come first.
            alone = alone[np.argsort(-contrast[alone], kind="stable")]
            left = alone[MOST_ALONE:]
            self._prove(alone[:MOST_ALONE], told)
            self._follow(left, alone[:MOST_ALONE], told, contrast)
        else:
            self._prove(alone, told)

    def _along_all(self, told: list[Told | None]) -> Vector:
        """Measure all entries along one line, and settle those that agree; how much the others deviate, in bars."""
        limits = self.task.options.limits
        moving = np.where(np.isfinite(self.at_point), self.size, 0.0)
        for sign in (1.0, -1.0):
            far = sign * FARTHEST * moving
            outside = (self.point + far < self.lower) | (self.point + far > self.upper)
            moving[outside] = 0.0
            moving[~np.isfinite(self.values(sign * FARTHEST * moving))] = 0.0
        scale = np.abs(self.claim) * moving
        found = self._slope(moving, scale)
        contrast = np.zeros(len(moving))
        if found is None or found.side != 0 or not len(found.h):
            return contrast
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(found.value - self.claim * moving)
            tolerance = REACH * limits.tolerance(max(self.eps, found.eps)) * scale
            bent = np.abs(found.jump) > BENT * found.jump_bar
            # At a stationary point the slope itself is no measure.
            nearby = np.maximum(np.abs(found.plus[0] - found.f0), np.abs(found.minus[0] - found.f0)) / found.h[0]
            size = np.maximum(scale, OF_MOVEMENT * nearby)
            sharp = (found.bar <= SHARP * limits.largest_bound(self.eps) * size) & (off <= found.bar + tolerance)
            sharp &= ~bent & (moving > 0)
            contrast = np.nan_to_num(off / np.maximum(found.bar + tolerance, 1e-300), nan=0.0, posinf=0.0)
            contrast[moving == 0] = 0.0
            self._line = found.value / moving, found.bar / moving
            bound = (off + found.bar) / size
        still = (found.plus == found.f0).all(axis=0) & (found.minus == found.f0).all(axis=0) & (self.claim == 0)
        for i in np.flatnonzero(sharp & ~still).tolist():
            told[i] = Told(i, Verdict.CORRECT, bound=float(bound[i]), deviation=float(off[i] / size[i]))
        for i in np.flatnonzero(still & (moving > 0)).tolist():
            told[i] = Told(i, Verdict.INCONCLUSIVE, is_still=True, reason=Reason.DEGENERATE)
        return contrast

    def _slope(self, moving: Vector, scale: Vector) -> Slope | None:
        line = slope(self.random, eps=self.eps, scale=scale, target=TARGET if is_double(self.eps) else None)
        k = 0
        try:
            steps = next(line)
            while True:
                rows: list[Vector] = []
                for step in steps.tolist():
                    if step == 0:
                        rows.append(self.visit(k))
                        k += 1
                    else:
                        rows.append(self.values(step * moving))
                steps = line.send(np.array(rows).reshape(len(steps), -1))
        except StopIteration as finished:
            return finished.value

    def _follow(self, left: Indices, proved: Indices, told: list[Told | None], contrast: Vector) -> None:
        """Judge the entries that there was no time to prove by the line of all, if the proofs have borne that out."""
        suspects: list[Told | None] = [told[i] for i in proved.tolist() if contrast[i] > 1]
        borne_out = bool(suspects) and all(one is not None and one.verdict is Verdict.WRONG for one in suspects)
        for i in left.tolist():
            if borne_out and contrast[i] > REACH:
                value, bar = (float(part[i]) for part in self._line)
                told[i] = Told(i, Verdict.WRONG, reference=value, bar=bar)
            else:
                told[i] = Told(i, Verdict.INCONCLUSIVE, reason=Reason.BUDGET, note="not looked at by itself")

    def _prove(self, alone: Indices, told: list[Told | None]) -> None:
        """Prove some entries as functions of one number, side by side."""
        running: dict[int, _Running] = {i: self._start(i) for i in alone.tolist()}
        asked = {i: one.question for i, one in running.items()}
        while asked:
            try:
                answers = self._answers(running, asked)
            except BudgetSpent:
                answers = dict.fromkeys(asked)
            asked = {}
            for i, values in answers.items():
                question = running[i].send(values)
                if question is not None:
                    asked[i] = question
        for i, one in running.items():
            assert one.outcome is not None
            self._collectors[i] = one.collector, one.outcome
            told[i] = _told(i, one.leaves, one.outcome)

    def _start(self, i: int) -> _Running:
        leaf, options = self.leaf, self.task.options
        collector = Collector()
        primal = Primal(
            _never,
            (np.array(self.point[i], dtype=leaf.numpy_dtype),),
            0,
            name=self.primal.name,
            names=[self.primal.place(i)],
        )
        problem = Problem(primal, {0: self.claim[i : i + 1]}, eps=self.eps, reproducer=self.task.reproducer)
        bounds = (None, None) if self.task.around.bounds is None else (self.lower[i : i + 1], self.upper[i : i + 1])
        directions = Directions(problem.leaves, problem.point, problem.claim, options.seed, *bounds)
        options = dataclasses.replace(
            options,
            collector=collector,
            witnesses=tuple(name for name in COMPLEX_STEPS if name in self.witnesses),
            by_entries_too=True,
            level="certificate",
            sees=self.sees,
        )
        return _Running(_prove.prove(problem, options, directions), directions, collector, options.allowance(1))

    def _answers(self, running: dict[int, _Running], asked: dict[int, Question]) -> dict[int, Vector | None]:
        """Values at all steps of all entries, many of them at a time; None where an entry has had its share."""
        answers: dict[int, Vector | None] = {}
        waiting: dict[tuple[str, int], list[tuple[int, int, float, float]]] = {}
        for i, question in asked.items():
            one = running[i]
            steps, moves = one.moves(question)
            values = np.full(len(moves), math.nan)
            answers[i] = values
            if not one.may_ask(len(moves)):
                answers[i] = None
                continue
            k = 0
            for place, (step, move) in enumerate(zip(steps, moves, strict=True)):
                if move == 0 and question.of == "f":
                    values[place] = self.visit(one.visits)[i]
                    one.visits += 1
                elif math.isfinite(move):
                    waiting.setdefault((question.of, k), []).append((i, place, step, move))
                    k += 1

        def at(of: str, group: Sequence[tuple[int, int, float, float]]) -> Vector:
            entries = np.array([i for i, _, _, _ in group], dtype=np.intp)
            moved = np.zeros(len(self.point))
            moved[entries] = [move for _, _, _, move in group]
            return self.values(moved) if of == "f" else self.witnesses[of].outputs(moved, 1.0)

        tasks = [ft.partial(at, of, group) for (of, _), group in waiting.items()]
        for found, group in zip(self.primal.each(tasks), waiting.values(), strict=True):
            for i, place, _, _ in group:
                answer = answers[i]
                assert answer is not None
                answer[place] = found[i] if np.isfinite(found[i]) else math.nan
        return answers

    def evidence(self, told: Sequence[Told]) -> list[tuple[str, Any]]:
        """That of a few proofs, of those that say most."""
        order = (Verdict.WRONG, Verdict.NOT_DIFFERENTIABLE, Verdict.INCONCLUSIVE, Verdict.CORRECT)
        chosen = sorted(self._collectors, key=lambda i: order.index(told[i].verdict))[:SHOWN]
        found: list[tuple[str, Any]] = []
        for i in chosen:
            collector, outcome = self._collectors[i]
            found.append(("", collector.evidence(outcome.verdict, outcome.leaves, told[i].findings, outcome.rtol)))
        return found or [("", self.task.options.collector.evidence(Verdict.CORRECT, (), (), 0.0))]


class _Running:
    """A proof of one entry, and the question that it waits for."""

    def __init__(
        self,
        proof: Generator[Question, Vector, _prove.Outcome],
        directions: Directions,
        collector: Collector,
        most: float,
    ) -> None:
        self.collector, self.leaves = collector, directions.leaves
        self.outcome: _prove.Outcome | None = None
        self.visits = 0
        self._proof, self._directions, self._left = proof, directions, most
        self.question = next(proof)

    def may_ask(self, count: int) -> bool:
        """Whether so many more evaluations are allowed; they are taken."""
        if self._left < count:
            return False
        self._left -= count
        return True

    def moves(self, question: Question) -> tuple[list[float], list[float]]:
        """The steps of a question, and how far the entry moves at each; nan outside the domain."""
        directions, steps = self._directions, question.steps
        if question.entries:
            size = directions.entry_size(question.entries[0])
            if question.reaches:
                size *= question.reaches[0]
            is_free = directions.inward[0] == 0
            return steps.tolist(), [size * step if is_free else math.nan for step in steps.tolist()]
        v = float(directions.vector(question.direction)[0])
        first, last = directions.reach(question.direction)
        inside = np.full(len(steps), True) if question.of == "complex" else (first <= steps) & (steps <= last)
        return steps.tolist(), np.where(inside, v * steps, math.nan).tolist()

    def send(self, values: Vector | None) -> Question | None:
        """Go on with an answer, or without one: the next question, or None where the proof is done."""
        try:
            self.question = self._proof.throw(BudgetSpent()) if values is None else self._proof.send(values)
        except StopIteration as finished:
            self.outcome = finished.value
            return None
        return self.question


def _told(i: int, leaves: Sequence[Leaf], outcome: _prove.Outcome) -> Told:
    result = outcome.leaves[0]
    about = next((one for one in outcome.statements if one.reference is not None), None)
    return Told(
        i,
        result.verdict,
        bound=result.bound,
        deviation=result.deviation,
        reason=outcome.reason,
        note=result.note,
        reference=None if about is None else about.reference,
        bar=None if about is None else about.error_bar,
        findings=written(outcome.statements, leaves, ""),
        rtol=outcome.rtol,
        is_still=any(one.sight in (Sight.SAME_BITS, Sight.UNMOVED) for one in outcome.notices),
    )


def _never(_: Any) -> float:
    raise AssertionError("an entry is evaluated with all others")
