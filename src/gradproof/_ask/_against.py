"""A kernel held against a reference: verdicts, findings and evidence, from what was seen of every tensor."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from gradproof._base._ratio import unseen
from gradproof._prove._maps import Sketch
from gradproof._prove._wording import box_source, box_words, factor_words, few_words
from gradproof._reference._regions import Bools
from gradproof._reference._sides import Compared, Comparison, Sides, compare
from gradproof._report import Finding, LeafResult, Reason, Severity, Verdict, worst
from gradproof._report import _evidence as evidence

# The draws by default. The more, the smaller an error of a single entry that is noticed.
DRAWS = 16
# The largest bound that may be called CORRECT, in machine epsilons of the kernel, and caps of it.
EPSILONS, LEAST_BOUND, MOST_BOUND = 32, 5e-2, 0.5
# Errors that are less alike than this in two draws of one cotangent are rounding's; so many numbers at least tell.
ALIKE, TELLING = 0.75, 32
# Errors of gradients below this may come from sums in low precision, of long axes, whatever they look like.
SMALL = 0.05
# Where rounding is wrong in a larger share of a tensor than this, it is so everywhere, though not always as visibly.
MOSTLY = 0.5
# A truth in float32 is no truth for kernels of a unit roundoff below this.
PRECISE = 2.0**-20
# Pictures and places that are shown.
MAPS, APART = 8, 6

NO_MIXTURE = (
    "the reference has a kink here (a tie, a ReLU at 0), and this is no mixture of the gradients that it has nearby"
)
MEANT = "If the kernel is meant to compute in lower precision than float32, say so with `precision=`."
FORWARD_FIRST = (
    "Correct the forward pass first: gradients are compared with those of the reference, and the right gradient of a "
    "different function is no use."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """What a report is made of."""

    verdict: Verdict
    reason: Reason | None
    findings: tuple[Finding, ...]
    leaves: tuple[LeafResult, ...]
    evidence: evidence.Evidence
    evaluations: int
    rtol: float
    max_bound: float
    precision: str


def judge(
    sides: Sides, *, seed: int, draws: int, confidence: float, max_bound: float | None, reproducer: str
) -> Judged:
    """Hold a kernel against its reference, and say what was found."""
    seen = compare(sides, seed=seed, draws=draws, chance=1 - confidence)
    judging = _Judging(sides, seen, 1 - confidence, max_bound, reproducer)
    leaves = tuple(judging.leaf(one) for one in seen.tensors)
    findings = tuple(judging.findings())
    verdict = worst(leaf.verdict for leaf in leaves)
    is_tested = any(leaf.bound is not None for leaf in leaves)
    if any(one.severity is Severity.DOUBT for one in findings) and verdict is Verdict.CORRECT:
        verdict = Verdict.INCONCLUSIVE
    if verdict is Verdict.CORRECT and not is_tested and any(math.prod(leaf.shape) for leaf in leaves):
        verdict = Verdict.INCONCLUSIVE
        judging.reasons.append(Reason.DEGENERATE)
    return Judged(
        verdict=verdict,
        reason=judging.reason if verdict is Verdict.INCONCLUSIVE else None,
        findings=findings,
        leaves=leaves,
        evidence=judging.evidence(),
        evaluations=seen.evaluations,
        rtol=max(one.allowed * one.spec.unit for one in seen.tensors),
        max_bound=max(map(judging.limit, seen.tensors)),
        precision=sides.precision,
    )


class _Judging:
    """One comparison, and what is said of each tensor."""

    def __init__(self, sides: Sides, seen: Comparison, chance: float, max_bound: float | None, reproducer: str) -> None:
        self._sides, self._seen, self._reproducer = sides, seen, reproducer
        self._max_bound = max_bound
        self._widening = unseen(seen.draws, chance / len(seen.tensors))
        self.reasons: list[Reason] = []

    @property
    def reason(self) -> Reason:
        """The first one that was found."""
        return self.reasons[0] if self.reasons else Reason.PRECISION

    def limit(self, one: Compared) -> float:
        """The largest bound of a tensor that may be called CORRECT."""
        if self._max_bound is not None:
            return self._max_bound
        return min(max(LEAST_BOUND, EPSILONS * 2 * one.spec.unit), MOST_BOUND)

    def leaf(self, one: Compared) -> LeafResult:
        """The verdict on one tensor."""
        tally, spec = one.tally, one.spec
        truth = math.sqrt(float(tally.truth2.sum()))
        error = math.sqrt(float(tally.ours.sum()))
        what = "value" if one.is_output else "gradient"
        deviation = error / truth if truth else (0.0 if error == 0 else math.inf)
        result = LeafResult(
            path=one.path,
            shape=spec.shape,
            dtype=spec.dtype,
            verdict=Verdict.CORRECT,
            deviation=deviation if math.isfinite(deviation) else None,
            estimated=False,
            noticeable=one.looked.noticeable,
            note=f"{what}: {_times(one.looked.ratio)} the reference's own error in {self._sides.precision}",
        )
        if not math.prod(spec.shape):
            return dataclasses.replace(result, bound=0.0, deviation=None, noticeable=None, note="empty")
        if one.is_wrong:
            return dataclasses.replace(result, verdict=Verdict.WRONG, noticeable=None)
        reason = self._doubt(one)
        if reason is not None:
            self.reasons.append(reason)
            return dataclasses.replace(result, verdict=Verdict.INCONCLUSIVE, noticeable=None)
        if truth == 0:
            return dataclasses.replace(result, note=f"{what}: zero, as the reference's is")
        bound = self._widening * deviation
        if bound > self.limit(one):
            self.reasons.append(Reason.PRECISION)
            return dataclasses.replace(result, verdict=Verdict.INCONCLUSIVE, bound=bound)
        if one.corners.moved.any():
            return dataclasses.replace(
                result,
                verdict=Verdict.NOT_DIFFERENTIABLE,
                bound=bound,
                note=f"kink in {_count(one.corners.moved)}, a valid subgradient there; bound of the others",
            )
        return dataclasses.replace(result, bound=bound)

    def _doubt(self, one: Compared) -> Reason | None:
        """Why nothing can be said of a tensor, whatever its numbers are."""
        if one.path in self._seen.random or self._seen.random:
            return Reason.STOCHASTIC
        if one.tally.undefined.any() or one.tally.overflown.any():
            return Reason.DOMAIN
        if one.where is not None:
            return Reason.UNSTABLE
        if one.path in self._sides.narrow and one.spec.unit < PRECISE:
            return Reason.PRECISION
        return None

    def findings(self) -> list[Finding]:
        """Everything there is to say: outputs first."""
        found: list[Finding] = []
        for one in self._seen.tensors:
            if one.tally.lost.any():
                found.append(self._lost(one))
            elif one.is_wrong:
                found.append(self._error(one))
        found += [self._corner(one) for one in self._seen.tensors if one.corners.moved.any()]
        found += self._undefined()
        if self._seen.random:
            found.append(
                self._finding(
                    "GP318",
                    Severity.DOUBT,
                    path=self._seen.random[0],
                    kind="a second call of the kernel gave different results, by more than rounding",
                    advice="Seed the kernel's random numbers inside it, or make its atomics deterministic.",
                )
            )
        narrow = [path for path in self._sides.narrow if self._unit_of(path) < PRECISE]
        if narrow:
            found.append(
                self._finding(
                    "GP317",
                    Severity.DOUBT,
                    path=narrow[0],
                    kind="the reference computes in lower precision even for float64 arguments, so it proves nothing",
                    advice="Leave casts out of the reference, or write them as `.to(x.dtype)`.",
                )
            )
        return found

    def _unit_of(self, path: str) -> float:
        return next(spec.unit for spec in (*self._sides.outputs, *self._sides.inputs) if spec.path == path)

    def _undefined(self) -> list[Finding]:
        found: list[Finding] = []
        for one in self._seen.tensors:
            tally = one.tally
            if tally.undefined.any():
                kind = "the reference is nan or infinite here in float64, but the kernel is not the same"
            elif tally.overflown.any():
                kind = f"kernel and reference overflow in {self._sides.precision}, but the true value is finite"
            else:
                continue
            first = np.argwhere(tally.undefined | tally.overflown)[0]
            entries = (tuple(int(i) for i in first),) if one.spec.shape else ()
            advice = "Check at inputs for which the reference is finite in every precision."
            found.append(
                self._finding("GP316", Severity.DOUBT, path=one.path, entries=entries, kind=kind, advice=advice)
            )
        return found

    def _corner(self, one: Compared) -> Finding:
        """At which entries another subgradient than the reference's was taken for the truth."""
        corners = np.argwhere(one.corners.moved)
        return self._finding(
            "GP110",
            Severity.NOTE,
            path=one.path,
            entries=tuple(tuple(int(i) for i in each) for each in corners[:APART]) if one.spec.shape else (),
            place=f"{len(corners)} of {one.corners.moved.size} entries" if one.spec.shape else "",
            kind="the reference has a kink here (a tie, a ReLU at 0): nearby its gradient takes other values. The "
            "kernel's was compared with the nearest mixture of these",
            advice="Nothing, if any subgradient is what you want. To compare all entries with the reference's own "
            "gradient, choose inputs without ties.",
        )

    def _lost(self, one: Compared) -> Finding:
        lost = np.argwhere(one.tally.lost)
        count = len(lost)
        return self._finding(
            "GP133",
            Severity.ERROR,
            path=one.path,
            entries=tuple(tuple(int(i) for i in each) for each in lost[:APART]) if one.spec.shape else (),
            place=f"{count} of {one.tally.lost.size} entries" if one.spec.shape else "",
            kind=f"nan or infinity, but the reference is finite in float64 and in {self._sides.precision}",
            advice="Look for an overflow, a division by zero or memory that was never written.",
        )

    def _error(self, one: Compared) -> Finding:
        """What is wrong with a tensor, and where."""
        assert one.where is not None
        shape, where = one.spec.shape, one.where
        within, place = "", "everywhere" if math.prod(shape) > 1 else ""
        is_part = bool(shape) and not all(span == (0, length) for span, length in zip(where.box, shape, strict=True))
        if where.entries:
            place = "" if len(where.entries) == 1 else f"{len(where.entries)} of {math.prod(shape)} entries"
        elif where.indices and min(map(len, where.indices.values())) <= APART:
            axis = min(where.indices, key=lambda each: len(where.indices[each]))
            wrong = where.indices[axis]
            place = f"{_axis_name(shape, axis)} {few_words(list(map(str, wrong)), len(wrong))}"
        elif is_part:
            within, place = box_source(shape, where.box), box_words(shape, where.box)
        kind, factor, is_rounding = self._cause(one)
        if is_rounding and where.marks(shape).mean() > MOSTLY:
            within, place = "", "everywhere"
        advice = _advice(one, kind, is_rounding)
        if factor is None and not is_rounding and "off by" in kind and self._off(one) <= SMALL:
            advice = f"{advice} A sum in low precision can have such a small error as well: add up in float32."
        id = "GP132" if is_rounding else "GP130" if one.is_output else "GP131"
        entry = one.worst
        claimed, reference = one.worst_values
        floor = max(float(one.tally.theirs[entry]), float(one.tally.floor[entry])) / one.tally.draws
        return self._finding(
            id,
            Severity.ERROR,
            path=one.path + within,
            entries=where.entries,
            place=place,
            kind=kind,
            claimed=claimed,
            reference=reference,
            error_bar=one.allowed * math.sqrt(floor),
            quantity=f"entry {list(entry)}" if entry else "value",
            factor=factor,
            advice=advice,
        )

    def _cause(self, one: Compared) -> tuple[str, float | None, bool]:
        """The kind of mistake, the factor if it is one, and whether it is rounding alone."""
        assert one.where is not None
        what = "value" if one.is_output else "gradient"
        marks, tally = one.where.marks(one.spec.shape), one.tally
        truth2, kernel2, product, ours = (
            float(each[marks].sum()) for each in (tally.truth2, tally.kernel2, tally.product, tally.ours)
        )
        explained = max(float(tally.theirs[marks].sum()), float(tally.floor[marks].sum()))
        if kernel2 == 0:
            return f"claimed zero, but the reference's {what} is not", 0.0, False
        if truth2 == 0:
            return f"not zero, but the reference's {what} is", None, False
        varying, rest = marks & one.corners.varying, marks & ~one.corners.varying
        elsewhere = max(float(tally.theirs[rest].sum()), float(tally.floor[rest].sum()))
        if varying.any() and float(tally.ours[rest].sum()) <= one.allowed**2 * elsewhere:
            return f"no subgradient in {_count(varying)}: {NO_MIXTURE}", None, False
        factor = product / truth2
        left = kernel2 - 2 * factor * product + factor**2 * truth2
        if left <= one.allowed**2 * (factor**2 + 1) * explained + 1e-12 * kernel2 and ours > 4 * max(left, 0.0):
            named = _simple(factor, math.sqrt(explained / truth2))
            return f"claimed {factor_words(named)} the reference's {what}", named, False
        # (Where what a tie picks changes from draw to draw, the error of a formula does as well.)
        may_be_rounding = not one.corners.varying.any()
        if may_be_rounding and one.alike < ALIKE and int(marks.sum()) * 4 >= TELLING:
            return (
                f"accumulated or rounded in low precision: its error is {_times(one.looked.ratio)} that of the "
                f"reference in {self._sides.precision}, and changes from draw to draw",
                None,
                True,
            )
        return f"off by {self._off(one):.2g} of the reference's {what} there: more than rounding explains", None, False

    def _off(self, one: Compared) -> float:
        """How large the error is beside the truth, where it is."""
        assert one.where is not None
        marks = one.where.marks(one.spec.shape)
        return math.sqrt(float(one.tally.ours[marks].sum()) / float(one.tally.truth2[marks].sum()))

    def evidence(self) -> evidence.Evidence:
        """The worst entry of every tensor that is wrong, and where it is wrong."""
        comparisons: list[evidence.Comparison] = []
        maps: list[evidence.TensorMap] = []
        for one in self._seen.tensors:
            if not one.is_wrong or one.where is None:
                continue
            shape = one.spec.shape
            bar = max(float(one.tally.theirs[one.worst]), float(one.tally.floor[one.worst])) / one.tally.draws
            comparisons.append(
                evidence.Comparison(
                    path=one.path,
                    entry=one.worst,
                    claimed=one.worst_values[0],
                    reference=one.worst_values[1],
                    error_bar=one.allowed * math.sqrt(bar),
                    against=True,
                )
            )
            if len(maps) < MAPS and shape:
                sketch = Sketch(one.path, shape)
                offsets = np.flatnonzero(one.where.marks(shape))
                sketch.mark_entries(offsets // sketch.columns, offsets % sketch.columns)
                draws = one.tally.draws
                maps.append(sketch.picture(np.sqrt(one.tally.kernel2 / draws), np.sqrt(one.tally.ours / draws)))
        return evidence.Evidence(comparisons=tuple(comparisons), maps=tuple(maps))

    def _finding(self, id: str, severity: Severity, **said: object) -> Finding:
        reproducer = "" if severity is Severity.NOTE else self._reproducer
        return Finding(id=id, severity=severity, reproducer=reproducer, **said)  # pyright: ignore[reportArgumentType]


def _count(corners: Bools) -> str:
    count = int(corners.sum())
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _axis_name(shape: Sequence[int], axis: int) -> str:
    if len(shape) == 1:
        return "entries"
    if len(shape) == 2:
        return ("rows", "columns")[axis]
    return f"indices along axis {axis}:"


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times" if math.isfinite(ratio) else "many times"


def _simple(factor: float, error: float) -> float:
    """The simple factor that this one is to within rounding, or the factor in as many digits as it has."""
    for numerator in range(1, 13):
        for denominator in range(1, 13):
            for sign in (1, -1):
                simple = sign * numerator / denominator
                if abs(factor - simple) <= max(error, 1e-12) * abs(simple) and min(numerator, denominator) == 1:
                    return simple
    digits = min(max(1 - math.floor(math.log10(error)), 2), 6) if 0 < error < 1 else 6
    return float(f"{factor:.{digits}g}")


def _advice(one: Compared, kind: str, is_rounding: bool) -> str:
    if is_rounding:
        said = "Add up in float32 (accumulators, row sums, means and variances), and round only the result."
        return f"{said} {MEANT}" if one.spec.dtype == "float32" else said
    if kind.startswith("no subgradient"):
        said = (
            "Let the cotangent go to one of the tied entries, or share it out among them: the shares must add up to 1."
        )
    elif kind.startswith("claimed zero"):
        said = "These entries are never written: look at the last block, the bounds of a loop, or a mask."
    elif kind.startswith("not zero"):
        said = "Look for a missing mask."
    elif kind.startswith("claimed"):
        said = "Look for a factor that is missing or applied twice: a scale, a mean, a number of heads or rows."
    else:
        said = "Compare the code that computes this part (a block, a row or a mask) with the reference."
    return f"{said} {FORWARD_FIRST}" if one.is_output else said
