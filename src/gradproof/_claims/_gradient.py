"""`grad`: one scalar proof."""

from __future__ import annotations

import contextlib
import dataclasses
import functools as ft
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts, _prove, _run
from gradproof._base._away import BudgetSpent
from gradproof._base._pieces import is_large
from gradproof._claims._around import Around, as_runners, natural_sizes
from gradproof._claims._cancelled import floor_of, is_huge, is_told, settle, suspects, without_cancelled
from gradproof._claims._defined import excuse_undefined
from gradproof._claims._limits import Place, beside_kinks, entries_beside_kinks, excused, is_about_numbers
from gradproof._claims._other_cotangent import hold_linear
from gradproof._claims._proved import About, Proved, about_charge, conclude, leaf_result, unmeasured
from gradproof._claims._repeats import Repeats
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem, coarsest_eps
from gradproof._prove._charge import Charge
from gradproof._prove._collect import Collector
from gradproof._prove._locate import entry_index
from gradproof._prove._tolerance import UNDERFLOWN
from gradproof._prove._wording import outside_words, written
from gradproof._report import Finding, Reason, Severity, Verdict

# Entries up to which gradients close by are measured, where a claim at a kink is a value and all entries are asked for.
MEASURED = 16
# Largest arrays of which each entry is looked at where a claimed one lies outside the slopes of a kink.
TRIED = 1000
# What is said of an array that no evaluation was left for.
SPENT = "not judged: no evaluation was left"
# The same of one that has been seen to deviate, twice, where nobody has looked for an excuse.
UNSETTLED = "deviates, but no evaluation was left to look for kinks or rounding"
# Findings that say nothing was tested here, or that f has a kink or a jump.
ASK_FOR_ANOTHER_POINT = ("GP110", "GP301", "GP302", "GP310", "GP311")


def prove_gradient(
    primal: Primal,
    claim: Any,
    *,
    is_value: bool,
    keyword: str,
    options: _prove.Options,
    around: Around,
    reproducer: str,
    pulled: Callable[..., Any] | None = None,
) -> Proved:
    """Prove or refute a claimed gradient of a scalar f.

    ``pulled(u, *args)`` is the claim for another cotangent than 1, where that can be asked for.
    """
    primal.allow(options.allowance(len(primal.point)))
    findings = _contracts.find_aliases(primal.origins)
    eps = coarsest_eps(primal.leaves)
    if math.isnan(primal.value()):
        return undefined(primal, options, findings=findings, keyword=keyword)
    if is_value:
        judged, changed, calls = _contracts.judge_claim(primal, claim, keyword), list[str](), 0
    else:
        judged, changed, calls = asked(primal, claim, keyword, options, around, pulled)
    excuse_undefined(primal, judged, around)
    findings += judged.findings
    results = unmeasured(primal, judged)
    held: _Held | None = None
    if judged.gradients:
        held = _hold(primal, judged.gradients, options, around, reproducer, calls)
        findings += held.told
        results.update(zip(sorted(judged.gradients), held.outcome.leaves, strict=True))
        primal.look_again()
        primal.release()
    findings += _contracts.find_mutations(primal.changed, changed, keyword)
    outcome = None if held is None else held.outcome
    proved = conclude(
        results,
        findings,
        measured=None if outcome is None else outcome.verdict,
        reason=None if outcome is None else outcome.reason,
        options=options,
        eps=eps,
        rtol=None if outcome is None else outcome.rtol,
        max_bound=None if outcome is None else outcome.max_bound,
        claim_calls=calls,
        level=None if outcome is None else outcome.level,
        misshapen=judged.misshapen,
    )
    if held is not None:
        scene = _Scene(
            primal=primal,
            gradients=judged.gradients,
            keyword=keyword,
            options=held.options,
            around=around,
            reproducer=reproducer,
        )
        proved = scene.in_other_lights(dataclasses.replace(proved, about=held.about), None if is_value else claim)
    if asks(proved.findings):
        return dataclasses.replace(proved, suggestion=another_point(primal, options.seed, around.bounds))
    return proved


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Held:
    """A claimed gradient that was held against differences of f.

    options : those that it was held with.
    told : what there is to say of it; `about` has what the charges among these speak of.
    """

    outcome: _prove.Outcome
    options: _prove.Options
    told: Sequence[Finding]
    about: Mapping[Finding, About]


def _hold(
    primal: Primal,
    gradients: Mapping[int, Any],
    options: _prove.Options,
    around: Around,
    reproducer: str,
    calls: int,
) -> _Held:
    """Hold a claimed gradient against differences of f, leaf by leaf as far as it could be read."""
    problem = Problem(primal, gradients, reproducer=reproducer, claim_calls=calls)
    measured = sorted(gradients)
    lower, upper = around.sides(primal, measured)
    directions = _prove.Directions(problem.leaves, problem.point, problem.claim, options.seed, lower, upper)
    witnesses = around.witnesses(primal, gradients, problem.leaves, coarsest_eps(primal.leaves))
    options = dataclasses.replace(
        options,
        witnesses=tuple(witnesses),
        sparing=is_large(primal.point),
        # Where f saturates, as tanh(x) does near 1, terms of its own size have cancelled in the claim.
        lost=max(options.lost, UNDERFLOWN * options.claim_eps * abs(primal.value())),
        by_entries_too=True,
    )
    outcome = _run.answer(_prove.prove(problem, options, directions), problem, directions, as_runners(witnesses))
    told = written(outcome.statements, problem.leaves, reproducer)
    about = {
        one: about_charge(charge, measured)
        for one, charge in zip(told, outcome.statements, strict=True)
        if isinstance(charge, Charge)
    }
    options.collector.draw(outcome.regions, directions)
    return _Held(outcome=outcome, options=options, told=told, about=about)


def asked(
    primal: Primal,
    claim: Callable[..., Any],
    keyword: str,
    options: _prove.Options,
    around: Around,
    pulled: Callable[..., Any] | None = None,
) -> tuple[_contracts.Judged, list[str], int]:
    """Call a gradient, and once more: what it says, what it has changed, and how often it was called.

    Each call has a call of f of its own before it: these are the two looks at f(x) that tell whether f is random. The
    second one is for another cotangent where that can be had: from it follows what the first one should be.
    """
    changed: dict[str, None] = {}
    calls = 0

    def ask(function: Callable[..., Any] = claim) -> _contracts.Judged:
        nonlocal calls
        returned, paths = primal.claim(function, keyword, anew=calls > 0)
        calls += 1
        changed.update(dict.fromkeys(paths))
        return _contracts.judge_claim(primal, returned, keyword)

    judged = ask()
    repeats = Repeats(keyword=keyword, options=options, around=around)
    if judged.gradients and options.repeats and pulled is not None:
        hold_linear(primal, judged, lambda u: ask(ft.partial(pulled, u)), repeats)
    elif judged.gradients and options.repeats:
        repeats.settle(primal, judged, ask, ask())
    return judged, list(changed), calls


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scene:
    """A gradient that was proved or refuted, and what was used for that: a verdict is looked at in other lights.

    gradients : the claim, leaf by leaf, as far as it could be measured.
    """

    primal: Primal
    gradients: Mapping[int, Any]
    keyword: str
    options: _prove.Options
    around: Around
    reproducer: str

    def in_other_lights(self, proved: Proved, function: Callable[..., Any] | None) -> Proved:
        """Look again at what speaks against the claim; `function` computes it elsewhere, where it is no value."""
        is_small = not is_large(self.primal.point)
        if self.is_whole and is_small:
            proved = dataclasses.replace(proved, matrix=self.claim[None])
        try:
            proved = self._despite_cancelled(proved)
            if is_about_numbers(proved) and is_small:
                proved = self._beside_kinks(proved, function)
        except BudgetSpent:
            proved = unsettled(proved)
        if proved.verdict is Verdict.WRONG and self.primal.layout.is_complex:
            with contextlib.suppress(BudgetSpent):  # the convention is not named then
                proved = self._as_complex(proved)
        return proved

    def _despite_cancelled(self, proved: Proved, before: frozenset[int] = frozenset()) -> Proved:
        """Prove it once more without what may be rounding of 0, where that may be what speaks against it.

        `before` are the leaves that were found to be suspected before.
        """
        primal, options = self.primal, self.options
        chosen = suspects(proved) | before
        if chosen <= before or not self.is_whole:
            return proved
        if not is_told(primal, max(coarsest_eps(primal.leaves), options.claim_eps)):
            return proved
        claim, size = self.claim[None], natural_sizes(primal, range(len(primal.leaves)))
        if is_huge(claim * size):
            return proved
        spans = {i: slice(leaf.start, leaf.stop) for i, leaf in enumerate(primal.leaves)}
        suspected = np.zeros(len(size), dtype=bool)
        for i in chosen:
            suspected[spans[i]] = True
        floor = floor_of(
            primal,
            np.where(suspected, claim * size, 0.0),
            size=size,
            weights=np.ones(1),
            pair=(size, np.full(len(size), size.max())),
            rest=float(np.linalg.norm(claim * size)),
            around=self.around,
            seed=options.seed,
        )
        left = without_cancelled(claim, np.where(suspected, floor / size, 0.0))
        # (Of an array that is not accused, single entries that f's noise hides are untested, whatever their size.)
        if left is None or (proved.verdict is Verdict.INCONCLUSIVE and left[:, suspected].any()):
            return proved
        again = prove_gradient(
            primal,
            primal.tangent(left[0]),
            is_value=True,
            keyword=self.keyword,
            options=dataclasses.replace(options, collector=Collector(), witnesses=(), lost=float(floor.max())),
            around=self.around,
            reproducer=self.reproducer,
        )
        told = settle(proved, again, claim * size, left * size, spans, self.reproducer)
        # (Beside what is accused most, other arrays are not looked at.)
        more = suspects(told) - chosen
        return self._despite_cancelled(told, before=frozenset(chosen)) if more else told

    def _beside_kinks(self, proved: Proved, function: Callable[..., Any] | None) -> Proved:
        """Excuse a claim that is a limit of gradients nearby; those of f are measured where the claim is a value."""
        primal, options = self.primal, self.options
        if self.around.bounds is not None or not self.is_whole:
            return proved
        if function is None and not (options.level == "entries" and len(primal.point) <= MEASURED):
            return self._entries_beside_kinks(proved)
        if function is None and not any(one.id == "GP103" for one in proved.findings):
            return proved
        calls = 0

        def elsewhere(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            assert function is not None
            judged = _contracts.judge_claim(primal, function(*args), self.keyword)
            return None if judged.set_aside else _joined(judged.gradients, self.gradients)

        nearby = None if function is None else elsewhere
        where = beside_kinks(primal, self.gradients, nearby, eps=options.claim_eps, seed=options.seed)
        return dataclasses.replace(excused(proved, where), claim_calls=proved.claim_calls + calls)

    def _entries_beside_kinks(self, proved: Proved) -> Proved:
        """Take the accusation of single entries at kinks back, where slopes nearby leave room for all of them."""
        accused = [one for one in proved.findings if one.severity is Severity.ERROR]
        entries: list[int] = []
        for one in accused:
            about = proved.about.get(one)
            if about is None or not about.at_kink or len(about.leaves) != 1 or len(one.entries) != 1:
                return proved
            leaf = self.primal.leaves[about.leaves[0]]
            if leaf.size > TRIED:
                return proved
            entries.append(leaf.start + int(np.ravel_multi_index(one.entries[0], leaf.shape)))
        options = self.options
        try:
            told = entries_beside_kinks(self.primal, self.gradients, entries, eps=options.claim_eps, seed=options.seed)
        except BudgetSpent:
            return excused(proved, Place.UNKNOWN)
        if told is None or told.entry in entries or told.place is not Place.OUTSIDE:
            return proved if told is None else excused(proved, told.place)
        (leaf,) = [leaf for leaf in self.primal.leaves if leaf.start <= told.entry < leaf.stop]
        index, path = entry_index(leaf.shape, told.entry - leaf.start), self.primal.place(told.entry)
        named = dataclasses.replace(
            accused[0],
            path=path,
            place=path.removeprefix(leaf.path),
            entries=(index,),
            kind=outside_words(told.low, told.high),
            claimed=float(self.claim[told.entry]),
            reference=(told.low + told.high) / 2,
            error_bar=(told.high - told.low) / 2,
            quantity="entry",
        )
        return dataclasses.replace(
            proved,
            findings=tuple(named if one is accused[0] else one for one in proved.findings),
            about={**proved.about, named: proved.about[accused[0]]},
        )

    def _as_complex(self, proved: Proved) -> Proved:
        """Look at complex arrays as a whole."""
        from gradproof._claims._conventions import Suspect, name_conventions

        measured, claim = tuple(sorted(self.gradients)), self.claim
        return name_conventions(
            proved,
            Suspect(
                keyword=self.keyword,
                primal=self.primal,
                layout=self.primal.layout,
                outputs=None,
                measured=measured,
                pull=lambda u: u[0] * claim,
                rows=np.array([float(np.linalg.norm(claim * natural_sizes(self.primal, measured)))]),
                names=(),
                eps=coarsest_eps(self.primal.leaves),
                seed=self.options.seed,
                reproducer=self.reproducer,
                around=self.around,
            ),
        )

    @property
    def is_whole(self) -> bool:
        """Whether no leaf has been left out."""
        return len(self.gradients) == len(self.primal.leaves)

    @property
    def claim(self) -> NDArray[np.float64]:
        """The measured leaves as one vector."""
        return _joined(self.gradients, self.gradients)


def _joined(gradients: Mapping[int, Any], leaves: Iterable[int]) -> NDArray[np.float64]:
    """Gradients of some leaves as one vector."""
    return np.concatenate([np.ravel(gradients[i]) for i in sorted(leaves)])


def asks(findings: Sequence[Finding]) -> bool:
    """Whether a finding asks for another point."""
    return any(finding.id in ASK_FOR_ANOTHER_POINT for finding in findings)


def another_point(primal: Primal, seed: int, bounds: tuple[Any, Any] | None) -> Any:
    """Another point in the form of `args`, a random step of half the natural size away, where f is finite; or None."""
    if is_large(primal.point):
        return None  # it would take several copies
    rng = np.random.default_rng((seed, 2))
    natural = np.empty_like(primal.point)
    for leaf in primal.leaves:
        if leaf.size:
            natural[leaf.start : leaf.stop] = _prove.leaf_size(leaf, primal.point)
    for _ in range(4):
        point = primal.point + 0.5 * natural * rng.standard_normal(primal.point.size)
        if bounds is not None:
            point = np.clip(point, *bounds)
        try:
            is_finite = primal.is_finite_at(point)
        except BudgetSpent:
            return None
        if is_finite:
            moved = primal.arguments(primal.make(point))
            if type(primal.given) is not tuple:
                return moved[0]
            return tuple(moved[i] if i in primal.wrt else argument for i, argument in enumerate(primal.positional))
    return None


def spent(primal: Primal, options: _prove.Options) -> Proved:
    """No evaluation was left before anything could be said."""
    return conclude(
        {i: leaf_result(leaf, Verdict.INCONCLUSIVE, SPENT) for i, leaf in enumerate(primal.leaves)},
        [],
        measured=Verdict.INCONCLUSIVE,
        reason=Reason.BUDGET,
        options=options,
        eps=coarsest_eps(primal.leaves),
        claim_calls=primal.claim_calls,
    )


def unsettled(proved: Proved) -> Proved:
    """What was proved, where no evaluation was left to see whether kinks or rounding excuse what is accused."""
    if proved.verdict is not Verdict.WRONG or not is_about_numbers(proved):
        return proved
    leaves = tuple(
        dataclasses.replace(leaf, verdict=Verdict.INCONCLUSIVE, note=UNSETTLED)
        if leaf.verdict is Verdict.WRONG
        else leaf
        for leaf in proved.leaves
    )
    findings = tuple(one for one in proved.findings if one.severity is not Severity.ERROR)
    return dataclasses.replace(
        proved, verdict=Verdict.INCONCLUSIVE, reason=Reason.BUDGET, leaves=leaves, findings=findings
    )


def undefined(primal: Primal, options: _prove.Options, *, findings: list[Any], keyword: str) -> Proved:
    """F is nan or infinite at the point: there is nothing to compare with."""
    findings = [
        *findings,
        _contracts.find_undefined(primal.short_name),
        *_contracts.find_mutations(primal.changed, [], keyword),
    ]
    note = "f is not finite here"
    return conclude(
        {i: leaf_result(leaf, Verdict.INCONCLUSIVE, note) for i, leaf in enumerate(primal.leaves)},
        findings,
        measured=None,
        reason=Reason.DOMAIN,
        options=options,
        eps=coarsest_eps(primal.leaves),
    )
