"""Mistakes that are made with complex numbers: another convention, a part that is missing, no complex derivative.

The engine sees the real and the imaginary part of a complex array as two leaves, and finds that one or both are wrong.
Here the two are looked at as one: slopes along a few random directions through both are compared with what the claim
would say under each of the conventions in use. A convention is named only if it explains all of them. What else was
found stays as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradproof._base._away import BudgetSpent
from gradproof._base._leaf import Leaf
from gradproof._claims._around import Around, reach
from gradproof._claims._cotangents import STREAM
from gradproof._claims._naming import Convention, words
from gradproof._claims._proved import About, Proved
from gradproof._function._layout import Layout, Origin
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem
from gradproof._line import slope
from gradproof._prove import Direction, Directions
from gradproof._prove._wording import cause_advice
from gradproof._report import Finding, Severity, Verdict

Vector = NDArray[np.float64]

# Lines through an array at most, cotangents at each, arrays that are looked at one by one where no convention
# explains all.
LINES, COTANGENTS, ALONE = 5, 3, 8
# A slope decides only if its bar is below this share of it, and is explained only up to the other, or its bar.
SHARP, CLOSE = 2e-2, 1e-6
# How likely an unrelated mistake may be to pass all tests, of which there are three at least where that is possible.
CHANCE, TESTS = 1e-5, 3
# A part of the claim below this share of the other one does not show whether it has the right sign.
MUTE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suspect:
    """A claim that was proved wrong, as a linear map from cotangents to the measured leaves.

    Attributes
    ----------
    keyword : str
    primal : Primal
        Whose slopes are measured.
    layout : Layout
        Of the differentiated arrays, whose leaves are those of the primal (or stand for tangents of them).
    outputs : Layout or None
        Of what f returns; None for one real number.
    measured : tuple of int
    pull : callable
        ``pull(u) -> J^T u`` over the measured leaves, as claimed.
    rows : ndarray (m,)
        Natural size of the slope of each output.
    names : tuple of str
        Where each output lies within a claim that has entries; empty for a claim that has none.
    around : Around
        Of the primal.
    """

    keyword: str
    primal: Primal
    layout: Layout
    outputs: Layout | None
    measured: tuple[int, ...]
    pull: Callable[[Vector], Vector]
    rows: Vector
    names: tuple[str, ...]
    eps: float
    seed: int
    reproducer: str
    around: Around


def name_conventions(proved: Proved, suspect: Suspect) -> Proved:
    """Say of complex arrays what is wrong with them as a whole, where that explains what was measured."""
    has_complex = suspect.layout.is_complex or (suspect.outputs is not None and suspect.outputs.is_complex)
    accused = any(not about.at_kink for about in proved.about.values())
    if not has_complex or not accused or not suspect.measured:
        return proved
    try:
        return _Search(proved, suspect).run()
    except BudgetSpent:
        return proved


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Line:
    """Slopes of all outputs along v, each with its bar (m,)."""

    v: Vector
    value: Vector
    bar: Vector


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Test:
    """<u, slopes> along a line, beside what the claim says."""

    line: _Line
    u: Vector
    claimed: float
    value: float
    bar: float


class _Search:
    def __init__(self, proved: Proved, suspect: Suspect) -> None:
        self.proved = proved
        self.suspect = suspect
        zeros = {i: np.zeros(suspect.primal.leaves[i].size) for i in suspect.measured}
        self.problem = Problem(suspect.primal, zeros, eps=suspect.eps)
        self.spans = dict(zip(suspect.measured, self.problem.leaves, strict=True))
        point, sides = self.problem.point, suspect.around.sides(suspect.primal, suspect.measured)
        self.directions = Directions(self.problem.leaves, point, np.zeros_like(point), 0, *sides)
        self.jitter = np.random.Generator(np.random.Philox(np.random.SeedSequence((suspect.seed, 6))))
        self.m = len(suspect.rows)
        self.cotangents = self._draw_cotangents()
        self.known: dict[bytes, Vector] = {}
        self.streams = iter(range(STREAM + 64, 2 * STREAM))

    def run(self) -> Proved:
        """Look for a derivative that is none, for a convention, and for a missing part."""
        suspect = self.suspect
        both = suspect.keyword == "jac" and suspect.outputs is not None and suspect.outputs.is_complex
        proved = self.proved
        if both:
            for origin in self._accused(proved):
                if origin.is_complex:
                    proved = self._holomorphic(proved, origin)
        accused = self._accused(proved)
        named = self._conventions(accused) if accused else {}
        if named:
            proved = self._renamed(proved, named)
        proved = self._merged(proved)
        return dataclasses.replace(proved, findings=tuple(_once(proved.findings)))

    def _accused(self, proved: Proved) -> list[Origin]:
        """Arrays with a wrong leaf that can still be explained: complex ones, real ones of complex outputs."""
        outputs = self.suspect.outputs
        real_too = outputs is not None and outputs.is_complex
        return [
            origin
            for origin in self.suspect.layout.origins
            if (origin.is_complex or real_too)
            and all(i in self.spans for i in origin.parts)
            and any(proved.leaves[i].verdict is Verdict.WRONG for i in origin.parts)
            and any(self._concerns(proved, finding, origin) for finding in proved.findings)
        ]

    # ------------------------------------------------------------------------------------------------- measuring

    def _draw_cotangents(self) -> list[Vector]:
        if self.m == 1:
            return [np.ones(1)]
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.suspect.seed, 7))))
        weights = 1 / np.where(self.suspect.rows > 0, self.suspect.rows, 1.0)
        draws = [generator.standard_normal(self.m) * weights for _ in range(COTANGENTS)]
        return [self.suspect.primal.outputs.rounded(u) for u in draws]

    def _parts(self, origins: Iterable[Origin]) -> Iterator[tuple[Origin, list[Leaf]]]:
        """The leaves of arrays, by their slices of what is measured."""
        for origin in origins:
            yield origin, [self.spans[i] for i in origin.parts]

    def _direction(self, origins: Sequence[Origin]) -> Vector:
        """A random direction through some arrays, each scaled by its own claim."""
        leaves = [leaf for _, parts in self._parts(origins) for leaf in parts]
        group = tuple(sorted(self.problem.leaves.index(leaf) for leaf in leaves))
        v = self.directions.vector(Direction(next(self.streams), group, (1.0,) * len(group))).copy()
        sizes = [
            math.hypot(
                *(float(np.linalg.norm(v[part] * self._pulled(u)[part])) for u in self.cotangents for part in own)
            )
            for own in ([slice(leaf.start, leaf.stop) for leaf in parts] for _, parts in self._parts(origins))
        ]
        least = min((size for size in sizes if size > 1e-3 * max(sizes)), default=1.0)
        for (_, parts), size in zip(self._parts(origins), sizes, strict=True):
            for leaf in parts:
                v[leaf.start : leaf.stop] *= min(1.0, least / size) if size > 0 else 1.0
        return v

    def _measure(self, v: Vector) -> _Line:
        line = slope(self.jitter, eps=self.suspect.eps, scale=self.suspect.rows)
        try:
            steps = next(line)
            while True:
                steps = line.send(np.array([self._values(v, step) for step in steps.tolist()]))
        except StopIteration as finished:
            found = finished.value
        bar = np.where(np.isfinite(found.bar), found.bar, np.inf)
        return _Line(v=v, value=found.value, bar=bar)

    def _values(self, v: Vector, step: float) -> Vector:
        first, last = reach(self.problem.point, v, self.directions.lower, self.directions.upper)
        if not first <= step <= last:
            return np.full(self.m, math.nan)
        values, _ = self.problem.outputs(v, step)
        return values if len(values) == self.m else np.full(self.m, math.nan)

    def _pulled(self, u: Vector) -> Vector:
        key = u.tobytes()
        if key not in self.known:
            self.known[key] = self.suspect.pull(u)
        return self.known[key]

    # ----------------------------------------------------------------------------------------------- conventions

    def _conventions(self, accused: list[Origin]) -> dict[Origin, tuple[Convention, _Test]]:
        """The convention that explains each array, best one for all of them."""
        found = self._explain(accused)
        if found is not None:
            return dict.fromkeys(accused, found)
        if len(accused) == 1:
            return {}
        named: dict[Origin, tuple[Convention, _Test]] = {}
        for origin in accused[:ALONE]:
            alone = self._explain([origin])
            if alone is not None:
                named[origin] = alone
        return named

    def _explain(self, origins: list[Origin]) -> tuple[Convention, _Test] | None:
        """Return the convention that explains the slopes along lines through some arrays, and the clearest test."""
        candidates = list(self._candidates(origins))
        tests: list[_Test] = []
        size = sum(leaf.size for _, parts in self._parts(origins) for leaf in parts)
        most = size * self.m
        for _ in range(LINES):
            tests += self._tests(self._measure(self._direction(origins)))
            candidates = [one for one in candidates if self._fits(one, tests)]
            if not candidates:
                return None
            sharp = [max(test.bar / max(abs(test.value), abs(test.claimed)), CLOSE) for test in tests]
            independent = sorted(sharp)[: min(most, len(tests))]
            if len(independent) >= min(TESTS, most) and math.prod(independent) <= CHANCE:
                clearest = max(tests, key=lambda test: abs(test.claimed - test.value) / max(test.bar, 1e-300))
                return candidates[0], clearest
        return None

    def _tests(self, line: _Line) -> list[_Test]:
        """What a line decides: slopes that are measured well."""
        tests: list[_Test] = []
        for u in self.cotangents:
            value, bar = float(u @ line.value), float(np.abs(u) @ line.bar)
            claimed = float(self._pulled(u) @ line.v)
            if bar <= SHARP * max(abs(value), abs(claimed)):
                tests.append(_Test(line=line, u=u, claimed=claimed, value=value, bar=bar))
        return tests

    def _candidates(self, origins: list[Origin]) -> Iterator[Convention]:
        """Conventions that can be told apart here, the commonest first."""
        outputs = self.suspect.outputs
        real, imag = self._weights(origins)
        sees_sign = min(real, imag) > MUTE * max(real, imag)
        by_complex = any(origin.is_complex for origin in origins)
        of_complex = outputs is not None and outputs.is_complex
        alone = not of_complex or self.suspect.keyword == "hvp"
        if by_complex:
            if alone:
                yield Convention(factor=2.0)
            if sees_sign:
                yield Convention(conjugated=True, cotangent=not alone)
                if alone:
                    yield Convention(factor=2.0, conjugated=True)
                    yield Convention(factor=-1j)
                    yield Convention(factor=1j)
        if of_complex:
            if by_complex and sees_sign:
                yield Convention(conjugated=True, cotangent=alone)
            yield Convention(cotangent=True)

    def _weights(self, origins: list[Origin]) -> tuple[float, float]:
        """Size of the real and of the imaginary part of the claim by complex arrays."""
        real, imag = 0.0, 0.0
        for origin, parts in self._parts(origins):
            if not origin.is_complex:
                continue
            for u in self.cotangents:
                pieces = [self._scaled(u)[leaf.start : leaf.stop] for leaf in parts]
                real = math.hypot(real, float(np.linalg.norm(pieces[0])))
                imag = math.hypot(imag, float(np.linalg.norm(pieces[1])))
        return real, imag

    def _scaled(self, u: Vector) -> Vector:
        return self._pulled(u) * self.directions.natural

    def _fits(self, convention: Convention, tests: list[_Test]) -> bool:
        """Whether a convention explains all tests, which the claim as it stands does not."""
        wrong = False
        for test in tests:
            expected = float(self._converted(convention, test.u) @ test.line.v)
            close = test.bar + CLOSE * max(abs(test.value), abs(expected))
            if not abs(expected - test.value) <= close:
                return False
            wrong = wrong or abs(test.claimed - test.value) > 2 * close
        return wrong or not tests

    def _converted(self, convention: Convention, u: Vector) -> Vector:
        """J^T u, as the claim would have it in our convention."""
        if convention.cotangent and self.suspect.outputs is not None:
            u = u.copy()
            for origin in self.suspect.outputs.origins:
                if origin.is_complex:
                    leaf = self.suspect.outputs.leaves[origin.parts[1]]
                    u[leaf.start : leaf.stop] *= -1
        pulled = self._pulled(u).copy()
        for origin in self.suspect.layout.origins:
            if not (origin.is_complex and all(i in self.spans for i in origin.parts)):
                continue
            real, imag = (pulled[self.spans[i].start : self.spans[i].stop] for i in origin.parts)
            whole = convention.factor * (real + 1j * (-imag if convention.conjugated else imag))
            real[:], imag[:] = whole.real, whole.imag
        return pulled

    # ------------------------------------------------------------------------------------- complex differentiable

    def _holomorphic(self, proved: Proved, origin: Origin) -> Proved:
        """Whether f' along i v is i times f' along v, in every complex output; if not, J does not exist."""
        outputs = self.suspect.outputs
        assert outputs is not None
        v = self._direction([origin])
        turned = np.zeros_like(v)
        real, imag = (slice(self.spans[i].start, self.spans[i].stop) for i in origin.parts)
        turned[real], turned[imag] = -v[imag], v[real]
        ahead, aside = self._measure(v), self._measure(turned)
        for output, name in zip(outputs.origins, self.suspect.names, strict=True):
            if not output.is_complex:
                continue
            x, y = (slice(outputs.leaves[i].start, outputs.leaves[i].stop) for i in output.parts)
            expected = np.concatenate([-ahead.value[y], ahead.value[x]])
            found = np.concatenate([aside.value[x], aside.value[y]])
            bar = np.concatenate([ahead.bar[y] + aside.bar[x], ahead.bar[x] + aside.bar[y]])
            size = float(np.max(np.abs(np.concatenate([expected, found])), initial=0.0))
            with np.errstate(invalid="ignore"):
                excess = np.abs(expected - found) - 2 * bar - CLOSE * size
            excess[~np.isfinite(excess)] = -np.inf
            worst = int(np.argmax(excess))
            if excess[worst] <= 0:
                continue
            block = self.suspect.keyword + name + self._suffix(origin)
            name_of_f = self.suspect.primal.short_name
            finding = Finding(
                id="GP209",
                severity=Severity.ERROR,
                path=block,
                kind=f"`{name_of_f}` is not holomorphic here: its slope along 1j * v is not 1j times that along v",
                claimed=float(expected[worst]) + 0.0,
                reference=float(found[worst]),
                error_bar=float(bar[worst]),
                quantity=f"slope of {output.path} along 1j * v",
                advice="No complex matrix is its derivative: claim its products as `vjp` or `jvp`.",
                reproducer=self.suspect.reproducer,
            )
            kept = [
                one
                for one in proved.findings
                if not (self._concerns(proved, one, origin) and self._concerns_output(proved, one, output))
            ]
            leaves = list(proved.leaves)
            for i in origin.parts:
                if leaves[i].verdict is Verdict.WRONG:
                    leaves[i] = dataclasses.replace(leaves[i], note="f is not holomorphic here")
            proved = dataclasses.replace(proved, findings=(*kept, finding), leaves=tuple(leaves))
        return proved

    # ------------------------------------------------------------------------------------------------- reporting

    def _suffix(self, origin: Origin) -> str:
        return self.suspect.primal.suffix(origin.parts[0])

    def _concerns(self, proved: Proved, finding: Finding, origin: Origin) -> bool:
        """Whether a finding is about an array, or a part of it; what is said of kinks is no shadow of a convention."""
        about = proved.about.get(finding)
        if about is None or about.at_kink:
            return False
        return not about.leaves or not set(about.leaves).isdisjoint(origin.parts)

    def _concerns_output(self, proved: Proved, finding: Finding, output: Origin) -> bool:
        """Whether a finding is about an array that f returns, or a part of it."""
        outputs, about = self.suspect.outputs, proved.about[finding]
        assert outputs is not None
        own = [outputs.leaves[k] for k in output.parts]
        return not about.outputs or any(leaf.start <= i < leaf.stop for leaf in own for i in about.outputs)

    def _renamed(self, proved: Proved, named: dict[Origin, tuple[Convention, _Test]]) -> Proved:
        """Put one finding for each array, or for the whole claim, in the place of those about its parts."""
        accused = self._accused(proved)
        kept: list[Finding] = []
        for finding in proved.findings:
            concerned = [origin for origin in accused if self._concerns(proved, finding, origin)]
            if not concerned or not all(origin in named for origin in concerned):
                kept.append(finding)
        whole = bool(self.suspect.names) and len(named) == len(accused)
        leaves = list(proved.leaves)
        for origin, (convention, test) in named.items():
            kind, advice = words(convention, self.suspect.keyword, self.suspect.outputs)
            path = origin.path
            if self.suspect.names:
                path = self.suspect.keyword if whole else self.suspect.keyword + self._suffix(origin)
            kept.append(
                Finding(
                    id="GP101",
                    severity=Severity.ERROR,
                    path=path,
                    place="everywhere" if origin.size > 1 else "",
                    kind=kind,
                    claimed=test.claimed,
                    reference=test.value,
                    error_bar=test.bar,
                    quantity="slope",
                    factor=0.5 if convention == Convention(factor=2.0) else None,
                    advice=advice,
                    reproducer=self.suspect.reproducer,
                )
            )
            for i in origin.parts:
                if leaves[i].verdict is Verdict.WRONG:
                    leaves[i] = dataclasses.replace(leaves[i], note=kind.partition(":")[0])
        return dataclasses.replace(proved, findings=tuple(kept), leaves=tuple(leaves))

    def _merged(self, proved: Proved) -> Proved:
        """Say once what holds for both parts of an array, and call a part that is missing by its name."""
        findings = list(proved.findings)
        if not self.suspect.names:
            for origin in self.suspect.layout.origins:
                if origin.is_complex:
                    self._merge(findings, proved, origin)
        else:
            plain = {one.path for one in findings}
            findings = [one for one in findings if not (one.path[:1] == "-" and one.path[1:] in plain)]
        return dataclasses.replace(proved, findings=tuple(findings))

    def _merge(self, findings: list[Finding], proved: Proved, origin: Origin) -> None:
        """Say once what both parts of an array have, and call an imaginary part that is missing by its name."""
        own = [(one, proved.about[one]) for one in findings if self._concerns(proved, one, origin)]
        first = own[0][0] if own else None
        is_lone = len(self.suspect.layout.origins) == 1
        if first is not None and len(own) == 1 and is_lone and self._is_of_both(own[0][1], origin):
            place = "everywhere" if origin.size > 1 else ""
            findings[findings.index(first)] = dataclasses.replace(first, path=origin.path, place=place)
            return
        whole = {about.leaves: (one, about.cause) for one, about in own if not about.is_part}
        real, imag = (whole.get((part,)) for part in origin.parts)
        if len(own) == 2 and real is not None and imag is not None:
            (one, cause), (other, _) = real, imag
            same = (one.kind, one.place) == (other.kind, other.place)
            if same and cause is not None and one.factor is not None:
                advice = cause_advice(cause, origin.path)
                findings[findings.index(one)] = dataclasses.replace(one, path=origin.path, advice=advice)
                findings.remove(other)
        elif len(own) == 1 and imag is not None and imag[0].factor == 0:
            findings[findings.index(imag[0])] = dataclasses.replace(
                imag[0],
                kind="the imaginary part is missing: claimed zero, the true one is not",
                advice=f"The gradient with respect to `{origin.path}` = x + iy is df/dx + i df/dy: return both parts.",
            )

    def _is_of_both(self, about: About, origin: Origin) -> bool:
        """Whether a finding is about both parts of an array alike, of a function with one real output."""
        return self.suspect.outputs is None and about.leaves == origin.parts and not about.is_part


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    seen: set[tuple[str, str, str, str]] = set()
    for one in findings:
        key = (one.id, one.path, one.kind, one.place)
        if key not in seen:
            seen.add(key)
            yield one
