"""Proofs of <u, f>, each of one cotangent u, and what they say together of the leaves of f'.

The laws are those of `_linear`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from gradproof import _prove, _run
from gradproof._base._precision import is_double
from gradproof._claims._claimed import Claimed
from gradproof._claims._cotangents import ALONE, FIRST, MOST, MOST_LOW
from gradproof._claims._first_look import FirstLook
from gradproof._claims._proved import leaf_result
from gradproof._function._problem import Problem, Samples
from gradproof._prove import Directions, Outcome
from gradproof._prove._charge import Sight
from gradproof._prove._laws import shared, spread, spread_apart
from gradproof._prove._tolerance import TYPICAL_BLOCK, typical_bound
from gradproof._report import LeafResult, Reason, Verdict, worst

Vector = NDArray[np.float64]

# Leaves that are proved one by one, in float64 and in lower precision.
FEW_LEAVES, FEW_LEAVES_LOW = 4, 8
# In place of a group: outputs that are proved by themselves, whose bounds say nothing of the others.
SUSPECT = -1
# Mixtures of outputs whose deviations say how far the whole is off.
TELLING = 3
# Standard errors by which the size of a claim may turn out to be larger than that of the first cotangents. Chosen: one
# in 700 does.
UNLIKELY = 3.0
UNCHANGED = (Sight.SAME_BITS, Sight.UNMOVED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aim:
    """What one scalar proof is to be of.

    group : which outputs its bound counts for; `SUSPECT` for an output by itself.
    cotangent : (m,).
    unit : the leaves.
    samples : values of f that it may share with others.
    number : which directions of its own it draws; None for those that all share.
    resolution : of the mixture, where outputs lie on lattices, once that is known.
    others_move : whether another output is known to move, so that f sees its arguments.
    """

    group: int
    cotangent: Vector
    confidence: float
    unit: tuple[int, ...]
    samples: Samples
    number: int | None = None
    resolution: float | None = None
    others_move: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A scalar proof that is to be made: <u, f> beside what is claimed of it for some leaves.

    is_whole : whether these are all that are measured.
    """

    aim: Aim
    problem: Problem
    directions: Directions
    runners: Mapping[str, _run.Witness]
    options: _prove.Options
    measured: tuple[int, ...]
    is_whole: bool

    def run(self) -> Outcome:
        """Make it."""
        proving = _prove.prove(self.problem, self.options, self.directions)
        return _run.answer(proving, self.problem, self.directions, self.runners)

    def norms(self) -> dict[int, float]:
        """Of the claim for each leaf, in natural sizes."""
        claim, natural = self.problem.claim, self.directions.natural
        return {
            i: float(np.linalg.norm(claim[leaf.start : leaf.stop] * natural[leaf.start : leaf.stop]))
            for i, leaf in zip(self.measured, self.problem.leaves, strict=True)
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalarProof:
    """One scalar proof: of which outputs, along which cotangent, with what result for which leaves.

    norms : of the claim for each leaf, in natural sizes.
    """

    group: int
    cotangent: Vector
    measured: tuple[int, ...]
    norms: dict[int, float]
    outcome: Outcome

    @property
    def accused(self) -> set[int]:
        """The leaves that turned out wrong."""
        leaves = zip(self.measured, self.outcome.leaves, strict=True)
        return {i for i, leaf in leaves if leaf.verdict is Verdict.WRONG}

    def without(self, leaves: Collection[int]) -> ScalarProof:
        """The same, as if nothing had been learned of some leaves."""
        kept = [i for i in self.measured if i not in leaves]
        of = {i: leaf for i, leaf in zip(self.measured, self.outcome.leaves, strict=True) if i in kept}
        zero = {
            kept.index(self.measured[k]): error
            for k, error in self.outcome.zero_errors.items()
            if self.measured[k] in of
        }
        outcome = dataclasses.replace(self.outcome, leaves=tuple(of[i] for i in kept), zero_errors=zero)
        return dataclasses.replace(self, measured=tuple(kept), outcome=outcome)


class ScalarProofs:
    """The scalar proofs of one claim, in their order, and what they come to.

    Parameters
    ----------
    claimed : Claimed
    options : Options
    look : FirstLook
    wider : mapping of int to float
        How much wider the bound of a leaf is because only some tangents of it were looked at; 1 by default.

    Attributes
    ----------
    made : list of ScalarProof
    apart : bool
        Whether proofs draw directions of their own: where there are too many leaves to prove one by one.
    """

    def __init__(self, claimed: Claimed, options: _prove.Options, look: FirstLook, wider: Mapping[int, float]) -> None:
        self.made: list[ScalarProof] = []
        self._claimed, self._options, self._look, self._wider = claimed, options, look, wider
        self._leaves, self._m = claimed.primal.leaves, claimed.primal.outputs.size
        self._apart: bool | None = None

    @property
    def apart(self) -> bool:
        if self._apart is None:
            few = FEW_LEAVES if is_double(self._look.eps) else FEW_LEAVES_LOW
            self._apart = self._m > ALONE and len(self._claimed.measured) > few
        return self._apart

    def start_anew(self, left: Collection[int]) -> None:
        """Forget what was proved of some leaves: they will be proved one by one."""
        self.made = [proof.without(left) for proof in self.made]
        self._apart = False

    @property
    def most(self) -> int:
        """How many cotangents at most."""
        return MOST if is_double(self._look.eps) or self.apart else MOST_LOW

    def largest_bound(self) -> float:
        """The largest bound that may be called CORRECT."""
        return self._options.limits.largest_bound(self._look.eps)

    def part_bound(self, group: int, norms: Mapping[int, float]) -> float | None:
        """How narrow the bound of one proof must be for that on all of f' to be narrow enough.

        norms : of its claim for each leaf, in natural sizes. The bound on all of f' is relative to the root mean square
            of those of all proofs: one whose claim is larger must be as much narrower.
        """
        if self._m <= ALONE:
            return self._options.max_bound
        whole = self._options.max_bound
        if whole is None:
            whole = self.largest_bound()
        part = whole / self._law(self.most, self._m, shared(self._options.confidence, 2))
        if len(norms) > 1:
            return part
        ((i, norm),) = norms.items()
        others = [one.norms[i] for one in self.made if one.group == group and i in one.measured]
        size = math.sqrt(float(np.mean(np.square([norm, *others]))))
        return part * size / norm if norm > 0 else part

    def _law(self, count: int, size: int, confidence: float) -> float:
        """How much larger the error of all outputs may be than what `count` cotangents have shown of it."""
        return (spread_apart if self.apart else spread)(count, size, confidence)

    def is_of_use(self, proof: ScalarProof) -> bool:
        """Whether more cotangents like the last one may settle anything."""
        done = sum(other.group == proof.group and other.measured == proof.measured for other in self.made)
        if self._m <= ALONE:
            return True
        if all(leaf.bound is None and leaf.verdict is Verdict.INCONCLUSIVE for leaf in proof.outcome.leaves):
            return False
        if done < FIRST:
            return True
        if is_double(self._look.eps):
            return not all(self._is_too_wide(proof.group, i) for i in proof.measured)
        return not any(self._cannot_do(proof.group, i) for i in proof.measured)

    def _cannot_do(self, group: int, i: int) -> bool:
        """Whether what a cotangent has left open is too wide for leaf i, however many more there will be.

        The bound on all of f' is relative to the root mean square of the norms of all claims, of which those of a few
        cotangents tell so much: its standard error is that of the mean of their squares.
        """
        bound = self._bound(group, i)
        squares = np.square([proof.norms[i] for proof in self.made if proof.group == group and i in proof.measured])
        if bound is None or not squares.any():
            return False
        confidence = shared(self._options.confidence, 2 * (1 + max(proof.group for proof in self.made)))
        size, done = self.group_size(group), len(squares)
        larger = 1 + UNLIKELY * float(np.std(squares) / np.mean(squares)) / math.sqrt(done)
        best = bound * self._law(self.most, size, confidence) / self._law(done, size, confidence)
        return best * self._wider.get(i, 1.0) > self.largest_bound() * math.sqrt(larger)

    def is_tight(self, group: int, unit: tuple[int, ...]) -> bool:
        """Whether a typical wrong entry is excluded in every leaf."""
        low = not is_double(self._look.eps)
        for i in unit:
            bound = self._bound(group, i)
            n = self._leaves[i].size
            target = self.largest_bound() if low else typical_bound(n * self._m, TYPICAL_BLOCK)
            if bound is not None and bound * self._wider.get(i, 1.0) > target:
                return False
        return True

    def _is_too_wide(self, group: int, i: int) -> bool:
        """Whether the bound on leaf i stays too wide however narrow those of all further cotangents are."""
        bound = self._bound(group, i, of=self.most)
        return bound is not None and bound > self.largest_bound()

    def _bound(self, group: int, i: int, *, of: int = 0) -> float | None:
        """Bound on the error of leaf i's block, the rows of one group, relative to its own size; None without any.

        Where `of` is given, it is that of so many cotangents, if none deviates more than those so far.
        """
        seen: list[float] = []
        norms: list[float] = []
        largest = 0.0
        stationary = True
        for proof in self.made:
            if proof.group != group or i not in proof.measured:
                continue
            leaf = proof.outcome.leaves[proof.measured.index(i)]
            norms.append(proof.norms[i])
            if leaf.bound is not None:
                zero_error = proof.outcome.zero_errors.get(proof.measured.index(i))
                seen.append(leaf.bound * proof.norms[i] if zero_error is None else zero_error)
                stationary &= zero_error is not None
                largest = max(largest, leaf.bound)
        if not seen:
            return None
        if stationary or max(norms) == 0:
            # f is stationary along every cotangent, whatever rounding is claimed: relative to how it moves.
            seen, norms = [largest] * len(seen), [1.0]
        if self._m <= ALONE:
            return max(seen) / max(norms)
        size = math.sqrt(float(np.mean(np.square(norms))))
        groups = 1 + max(proof.group for proof in self.made)
        confidence = shared(self._options.confidence, 2 * groups)
        return max(seen) * self._law(max(of, len(seen)), self.group_size(group), confidence) / size

    def group_size(self, group: int) -> int:
        """Outputs in a group."""
        proof = next(proof for proof in self.made if proof.group == group)
        return int(np.count_nonzero(proof.cotangent))

    def merge(self, certified: Mapping[int, LeafResult]) -> dict[int, LeafResult]:
        """Every measured leaf as all proofs together have it; some have been certified otherwise."""
        groups = sorted({proof.group for proof in self.made if proof.group != SUSPECT})
        merged = {i: certified.get(i) or self._merge_leaf(i, groups) for i in self._claimed.measured}
        if any(leaf.bound is not None or leaf.verdict is Verdict.WRONG for leaf in merged.values()):
            for i in merged.keys() - certified:
                parts = [part for part in self._parts(i) if not self._stands_still(*part)]
                if not parts:
                    merged[i] = dataclasses.replace(
                        merged[i], verdict=Verdict.CORRECT, note="flat: f does not change", deviation=None
                    )
        return merged

    def _parts(self, i: int) -> list[tuple[ScalarProof, LeafResult, float]]:
        """The proofs that leaf i took part in."""
        return [
            (proof, proof.outcome.leaves[proof.measured.index(i)], proof.norms[i])
            for proof in self.made
            if i in proof.measured
        ]

    def _merge_leaf(self, i: int, groups: list[int]) -> LeafResult:
        parts = self._parts(i)
        tested = [part for part in parts if not self._stands_still(*part)]
        # A bound that is too wide for one cotangent may do for all together.
        verdict = worst(
            Verdict.CORRECT if leaf.bound is not None and leaf.verdict is Verdict.INCONCLUSIVE else leaf.verdict
            for _, leaf, _ in tested or parts
        )
        leaves = [leaf for _, leaf, _ in tested or parts]
        notes = {leaf.note for leaf in leaves if leaf.verdict is verdict}
        # What is said of all cotangents, or of those that decide; one of several that agree decides nothing.
        note = next(iter(notes)) if len(notes) == 1 else ""
        if not note and verdict is not Verdict.CORRECT:
            note = next((leaf.note for leaf in leaves if leaf.verdict is verdict and leaf.note), "")
        bounds = [bound for bound in (self._bound(group, i) for group in groups) if bound is not None]
        bound = None
        deviations = [leaf.deviation for leaf in leaves if leaf.deviation is not None]
        deviation = max(deviations, default=None)
        if verdict is Verdict.WRONG and self._m > 1:
            # Of one mixture, whose terms may cancel, the ratio says next to nothing of the whole.
            deviation = float(np.median(deviations)) if len(deviations) >= TELLING else None
        if verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE) and bounds:
            bound = max(bounds) * self._wider.get(i, 1.0)
            if verdict is Verdict.CORRECT and bound > self.largest_bound():
                verdict, note = Verdict.INCONCLUSIVE, "the error bar is too wide to tell"
        bound = bound if bound is not None and bound < 1 else None
        leaf = self._leaves[i]
        return leaf_result(
            leaf,
            verdict,
            bound=bound,
            deviation=deviation,
            noticeable=None if bound is None else bound * math.sqrt(leaf.size * self._m),
            note=note,
        )

    def _stands_still(self, proof: ScalarProof, leaf: LeafResult, norm: float) -> bool:
        """Whether an output alone does not move, as claimed: that proves nothing of f, but that output is right."""
        return (
            self._m > 1
            and norm == 0
            and leaf.verdict is Verdict.INCONCLUSIVE
            and proof.outcome.reason is Reason.DEGENERATE
            and not stands_still(proof.outcome)
        )


def stands_still(outcome: Outcome) -> bool:
    """Whether f does not move where the claim says that it does."""
    return any(one.sight in UNCHANGED and bool(one.claimed) for one in outcome.notices)


def own_seed(seed: int, number: int) -> int:
    """The seed of a proof that shares no directions with the others."""
    return int(np.random.SeedSequence((seed, 5, number)).generate_state(1, np.uint64)[0])
