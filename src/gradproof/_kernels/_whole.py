"""One report of all cases of a kernel."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from gradproof._ask._nothing import nothing_to_check
from gradproof._backends._torch_kernel import CONTIGUOUS
from gradproof._base._errors import FunctionError
from gradproof._base._sources import SourceLine
from gradproof._kernels._outcome import Case, Outcome, State
from gradproof._kernels._patterns import shown
from gradproof._kernels._sizes import by_size
from gradproof._kernels._study import Failure, Study
from gradproof._report import (
    EMPTY,
    WORST_FIRST,
    Cost,
    Finding,
    LeafResult,
    ModeResult,
    Reason,
    Report,
    Severity,
    Verdict,
    worst,
)
from gradproof._report._evidence import Evidence


def whole(study: Study, *, name: str, seed: int, started: float, calls: int, sources: tuple[SourceLine, ...]) -> Report:
    """Return the report of a study that has been run.

    Raises
    ------
    FunctionError
        If the kernel took no input at all.
    """
    outcomes = study.trial.outcomes
    if all(outcome.state in (State.APART, State.UNKNOWN) for outcome in outcomes.values()):
        first = next(outcome for outcome in outcomes.values() if outcome.state is State.APART)
        raise FunctionError(f"`{name}` could not be checked at any size: {first.note}") from first.error
    failures = study.failures()
    errors = [*(finding for failure in failures for finding in failure.findings), *study.remembered]
    verdict, reason = _verdict(list(outcomes.values()), is_wrong=bool(errors))
    leaves = _leaves(study)
    if verdict is Verdict.CORRECT and all(leaf.note == EMPTY for leaf in leaves):
        verdict, reason = Verdict.INCONCLUSIVE, Reason.DEGENERATE
    shown_report = _example(failures, list(outcomes.values()))
    base = nothing_to_check(name, seed=seed, started=started) if shown_report is None else shown_report
    reports = [outcome.report for outcome in outcomes.values() if outcome.report is not None]
    return dataclasses.replace(
        base,
        verdict=verdict,
        reason=reason,
        findings=(*errors, *sorted([*_open(study), *_others(study), *_apart(study)], key=_is_note)),
        leaves=leaves,
        cost=Cost(
            evaluations=calls + sum(report.cost.evaluations for report in reports),
            claims=sum(report.cost.claims for report in reports),
            calls=calls + sum(report.cost.calls for report in reports),
            seconds=time.perf_counter() - started,
        ),
        name=name,
        claim="autograd",
        seed=seed,
        modes=(*_modes(study, verdict), *_refused(study)),
        evidence=Evidence() if shown_report is None else shown_report.evidence,
        suggested_args=None,
        sources=sources,
    )


def _verdict(outcomes: Sequence[Outcome], *, is_wrong: bool) -> tuple[Verdict, Reason | None]:
    if is_wrong:
        return Verdict.WRONG, None
    still_open = [outcome for outcome in outcomes if outcome.state is State.OPEN]
    if still_open:
        return Verdict.INCONCLUSIVE, next((one.reason for one in still_open if one.reason is not None), None)
    return worst([Verdict.CORRECT, *(one.report.verdict for one in outcomes if one.report is not None)]), None


def _example(failures: Sequence[Failure], outcomes: Sequence[Outcome]) -> Report | None:
    """The proof whose numbers are shown: of the first failure, of a case that is open, or of the widest bound."""
    wrong = [failure.outcome.report for failure in failures if failure.outcome.report is not None]
    still_open = [one.report for one in outcomes if one.report is not None and one.state is State.OPEN]
    proved = [one.report for one in outcomes if one.report is not None]
    proved.sort(key=lambda report: max((leaf.bound or 0.0 for leaf in report.leaves), default=0.0))
    return next(iter([*wrong, *still_open, *reversed(proved)]), None)


def _leaves(study: Study) -> tuple[LeafResult, ...]:
    """The differentiated tensors, each as it is in the case where it is worst."""
    found: dict[str, list[tuple[LeafResult, Case]]] = {}
    for case, outcome in study.trial.outcomes.items():
        for leaf in outcome.compared if outcome.report is None else outcome.report.leaves:
            found.setdefault(leaf.path, []).append((leaf, case))
    several = len({case.sizes for case in study.trial.outcomes}) > 1
    return tuple(_merged(each, several) for each in found.values())


def _merged(each: Sequence[tuple[LeafResult, Case]], several: bool) -> LeafResult:
    leaf, case = min(each, key=lambda one: (WORST_FIRST.index(one[0].verdict), one[0].note == EMPTY, -_off(one[0])))
    bounds = [one.bound for one, _ in each if one.bound is not None]
    seen = [one.noticeable for one, _ in each if one.noticeable is not None]
    note = "; ".join(part for part in (leaf.note, f"worst at {shown(case.sizes)}" if several else "") if part)
    return dataclasses.replace(
        leaf,
        bound=max(bounds, default=None) if leaf.verdict is Verdict.CORRECT else leaf.bound,
        noticeable=max(seen, default=None) if leaf.verdict is Verdict.CORRECT else leaf.noticeable,
        note=EMPTY if leaf.note == EMPTY else note,
    )


def _off(leaf: LeafResult) -> float:
    size = leaf.bound if leaf.verdict is Verdict.CORRECT else leaf.deviation
    return 0.0 if size is None or size != size else size


def _others(study: Study) -> list[Finding]:
    """Doubts and notes of the single proofs: each once, as in the smallest case that has it."""
    found: dict[tuple[str, str], Finding] = {}
    for case, outcome in sorted(study.trial.outcomes.items(), key=lambda pair: study.plan.order(pair[0])):
        if outcome.report is None:
            continue
        for one in outcome.report.findings:
            if one.severity is not Severity.ERROR and (one.id, one.path) not in found:
                place = ", ".join(part for part in (one.place, f"at {study.shown(case)}") if part)
                found[one.id, one.path] = dataclasses.replace(one, place=place)
    return list(found.values())


def _is_note(finding: Finding) -> bool:
    return finding.severity is Severity.NOTE


def _open(study: Study) -> list[Finding]:
    """What could not be told, besides what the proofs say."""

    def note(case: Case, outcome: Outcome) -> str:
        del case
        return outcome.note if outcome.state is State.OPEN else ""

    return study.remarks(note, "GP427", Severity.DOUBT)


def _apart(study: Study) -> list[Finding]:
    """What was left out, or is particular; a dtype that is refused as a whole is told elsewhere."""
    refused = {one.mode for one in _refused(study)}

    def note(case: Case, outcome: Outcome) -> str:
        is_told = outcome.state in (State.APART, State.RIGHT) and case.dtype not in refused
        return outcome.note if is_told else ""

    return study.remarks(note, "GP426", Severity.NOTE)


def _modes(study: Study, verdict: Verdict) -> list[ModeResult]:
    """The mode, and what was looked at."""
    looked = [case for case, one in study.trial.outcomes.items() if one.state is not State.UNKNOWN]
    sizes = sorted((case.sizes for case in looked if case.layout == CONTIGUOUS), key=by_size)
    tried = {case.layout for case in looked}
    layouts = [layout for layout in (CONTIGUOUS, *study.plan.layouts) if layout in tried]
    count = len(set(sizes))
    parts = [f"at {count} sizes from {shown(sizes[0])} to {shown(sizes[-1])}" if count > 1 else f"at {shown(sizes[0])}"]
    parts += [" and ".join(str(one) for one in study.plan.dtypes)] if None not in study.plan.dtypes else []
    parts += [" and ".join(str(one) for one in study.plan.devices)] if None not in study.plan.devices else []
    parts.append(f"inputs {', '.join(layouts)}")
    return [ModeResult(mode="rev", verdict=verdict, note="; ".join(parts))]


def _refused(study: Study) -> list[ModeResult]:
    """The dtypes that the kernel does not take at any size."""
    found: list[ModeResult] = []
    for dtype in study.plan.dtypes:
        mine = [one for case, one in study.trial.outcomes.items() if case.dtype == dtype and case.layout == CONTIGUOUS]
        if dtype is not None and mine and all(one.state is State.APART for one in mine):
            found.append(ModeResult(mode=dtype, note=f"not available: {mine[0].note}"))
    return found
