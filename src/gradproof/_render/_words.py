"""The sentences that every view of a report is made of: text for terminals, HTML, notebooks and tests.

They are plain strings, not yet escaped for anything: what is the user's own (names, paths, notes) stands in them as it
is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from gradproof._render import _numbers as numbers
from gradproof._render._numbers import TIE
from gradproof._report import WORST_FIRST, Finding, LeafResult, Reason, Report, Severity, Verdict

MOST_ENTRIES = 6

DERIVATIVES = {
    "grad": "gradient",
    "jac": "Jacobian",
    "hess": "Hessian",
    "vjp": "vjp",
    "jvp": "jvp",
    "hvp": "hvp",
    "autodiff": "derivative by autodiff",
    "backward": "gradient",
}

WHAT_IT_MEANS = {
    Reason.NOISE: "the values of f are too noisy for an error bar that could tell",
    Reason.PRECISION: "the precision of f is too low for an error bar that could tell",
    Reason.DOMAIN: "f cannot be evaluated far enough around the point",
    Reason.NO_CONVERGENCE: "the difference quotients do not settle as the step shrinks",
    Reason.STOCHASTIC: "f returns different values at the same point",
    Reason.UNSTABLE: "two independent measurements of the same slope disagree",
    Reason.DEGENERATE: "at this point the numbers prove nothing",
    Reason.WITNESSES: "differences of f and an independent witness disagree",
    Reason.BUDGET: "the evaluations that a claim may take did not suffice",
}
WHAT_TO_DO = {
    Reason.NOISE: "Run f in higher precision, tighten its inner tolerances, or state a wider max_bound.",
    Reason.PRECISION: "Check in float64, pass f in higher precision as reference=, or leave large constants out of f.",
    Reason.DOMAIN: "Check at a point away from the edge of the domain.",
    Reason.NO_CONVERGENCE: "Check at another point; look for a kink, a jump or an iteration count that changes nearby.",
    Reason.STOCHASTIC: "Fix the random state inside f, so that equal arguments give equal values.",
    Reason.UNSTABLE: "Make f deterministic if it is not; check again with another rng, or at another point.",
    Reason.DEGENERATE: "Check at another point, such as a random one of ordinary size.",
    Reason.WITNESSES: "Check that reference= computes the same function; f may not be analytic (abs, real parts, max).",
    Reason.BUDGET: 'Check fewer arrays at a time with wrt=, or pass level="entries", which has no limit.',
}


def worst_bound(leaves: Iterable[LeafResult]) -> float | None:
    """The largest certificate among the correct leaves."""
    return max((x.bound for x in leaves if x.bound is not None and x.verdict is Verdict.CORRECT), default=None)


def sentence(report: Report) -> str:
    """What the verdict says of the claim, in one sentence."""
    subject = f"the claimed {DERIVATIVES.get(report.claim, report.claim)}"
    if report.verdict is Verdict.CORRECT:
        bound = worst_bound(report.leaves)
        within = "" if bound is None else f" to within {numbers.significant(bound)}"
        entries = sum(math.prod(leaf.shape) for leaf in report.leaves)
        covered = f"{numbers.count(len(report.leaves), 'leaf', 'leaves')}, {numbers.count(entries, 'entry', 'entries')}"
        return f"{subject} is right{within} ({covered})"
    if report.verdict is Verdict.WRONG:
        errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
        return f"{subject} is not the derivative" + (f" ({numbers.count(errors, 'error')})" if errors else "")
    if report.verdict is Verdict.NOT_DIFFERENTIABLE:
        return f"the function has a kink at this point; {subject} lies between its one-sided slopes"
    if report.reason is None:
        return f"{subject} could be neither confirmed nor refuted"
    return reason_text(report.reason)


def reason_text(reason: Reason) -> str:
    """The reason by its name, and what it means."""
    return f"{reason.value}: {WHAT_IT_MEANS[reason]}"


def leaf_order(leaf: LeafResult) -> tuple[int, float]:
    """Worst first: by verdict, then by what was seen (correct leaves by their bound; flat ones, without, last)."""
    size = leaf.bound if leaf.verdict is Verdict.CORRECT else leaf.deviation
    missing = math.inf if leaf.verdict is Verdict.CORRECT else -math.inf
    return WORST_FIRST.index(leaf.verdict), missing if size is None or math.isnan(size) else -size


def place(finding: Finding) -> str:
    """Path, entries and place within the leaf."""
    names = [str(list(entry)) for entry in finding.entries]
    where = finding.path
    if len(names) == 1:
        where += "" if where.endswith(names[0]) else names[0]
    elif names:
        more = f" and {len(names) - MOST_ENTRIES:,} more" if len(names) > MOST_ENTRIES else ""
        where += f" at {', '.join(names[:MOST_ENTRIES])}{more}"
    within = "" if where.endswith(finding.place) else finding.place
    return ", ".join(part for part in (where, within) if part)


def rows(finding: Finding, plus_minus: str = "±") -> list[tuple[str, str]]:
    """What a finding says, each with its label: the numbers, the mistake, what to do, and how to see it again."""
    is_error = finding.severity is Severity.ERROR
    relation = finding.kind
    if finding.factor is not None and "claimed" not in relation:
        relation += f"{': ' if relation else ''}claimed {numbers.factor(finding.factor)} times the true gradient"
    labelled = [
        (finding.quantity or "value", numeric(finding, plus_minus)),
        ("mistake" if is_error else "finding", relation),
        ("advice" if is_error else "next", finding.advice),
        ("reproduce", finding.reproducer),
    ]
    return [(label, value) for label, value in labelled if value]


def numeric(finding: Finding, plus_minus: str = "±") -> str:
    """Claimed and measured value, as far as there are any."""
    bar = "" if finding.error_bar is None else f" {plus_minus} {numbers.error_bar(finding.error_bar)}"
    if finding.claimed is not None and finding.reference is not None:
        claimed, reference = numbers.measured(finding.claimed, finding.reference, finding.error_bar)
        return f"claimed {claimed}, reference {reference}{bar}"
    if finding.claimed is not None:
        return f"claimed {numbers.significant(finding.claimed, 6)}"
    if finding.reference is not None:
        return f"reference {numbers.measured(finding.reference, finding.reference, finding.error_bar)[1]}{bar}"
    return ""


def general_advice(report: Report) -> str:
    """What to do about the reason of an INCONCLUSIVE report, where no finding says it better."""
    if report.reason is None or any(finding.advice for finding in report.findings):
        return ""
    return WHAT_TO_DO[report.reason]


def more_leaves(cut: Sequence[LeafResult]) -> str:
    """The leaves that a table had no room for, counted by verdict."""
    kinds = ", ".join(
        f"{number:,} {verdict.value}"
        for verdict in WORST_FIRST
        if (number := sum(leaf.verdict is verdict for leaf in cut))
    )
    bound = worst_bound(cut)
    largest = "" if bound is None else f", largest bound {numbers.significant(bound)}"
    return f"and {numbers.count(len(cut), 'more leaf', 'more leaves')}: {kinds}{largest}"


def certificate(report: Report) -> Iterator[str]:
    """What was proved of the CORRECT leaves, and the smallest error that would have been noticed."""
    correct = [leaf for leaf in report.leaves if leaf.verdict is Verdict.CORRECT]
    bound = worst_bound(correct)
    if bound is None:
        return
    limit = f"no error above {numbers.significant(bound)} of each leaf's norm"
    subject = "" if len(correct) == len(report.leaves) else "in the CORRECT leaves "
    if report.level == "entries":
        sentence = f"{subject}every entry was measured alone: {limit}, given honest error bars."
    else:
        how_sure = f"confidence {numbers.confidence(report.confidence).replace(' ', TIE)}"
        sentence = f"{subject}{limit}, {how_sure}, over the choice of directions, given honest error bars."
    yield sentence[0].upper() + sentence[1:]
    noticeable = max((leaf.noticeable for leaf in correct if leaf.noticeable is not None), default=None)
    if noticeable is not None:
        yield (
            "A single wrong entry would have been noticed from an error of "
            f"{numbers.significant(noticeable)} of its leaf's rms entry."
        )


def modes(report: Report) -> str:
    """The modes of a framework's autodiff that were checked, with their verdicts."""
    checked = [f"{one.mode}{TIE}{one.verdict.value}" for one in report.modes if one.verdict is not None]
    how = {f", {one.note}" for one in report.modes if one.verdict is not None and one.note}
    return f"Modes: {', '.join(checked)}{''.join(how)}."


def not_checked(report: Report) -> list[tuple[str, str]]:
    """The other modes, those with the same reason together: "not available" or "not checked", modes and reason."""
    together: dict[tuple[str, str], list[str]] = {}
    for one in report.modes:
        if one.verdict is None:
            label, _, reason = one.note.partition(": ")
            if label == "not checked":  # the reason of another mode stands beside that mode
                reason = reason.partition(": ")[0]
            together.setdefault((label, reason), []).append(one.mode)
    return [(label, f"{', '.join(modes)}: {reason}") for (label, reason), modes in together.items()]


def mode_sentences(report: Report) -> Iterator[str]:
    """All that is said of modes, in prose."""
    if report.modes:
        yield modes(report)
    for label, line in not_checked(report):
        yield f"{label[0].upper()}{label[1:]}: {line}."


def cost(report: Report) -> str:
    """What was spent, the limits used, and the seed."""
    spent = report.cost
    claims = numbers.count(spent.claims, "call") + " of the claim" if spent.claims else "claim given as a value"
    limits = f"rtol {numbers.setting(report.rtol)}, max_bound {numbers.setting(report.max_bound)}"
    evaluations = numbers.count(spent.evaluations, "evaluation")
    return f"{evaluations} of f, {claims}; {limits}; replay:{TIE}rng={report.seed}."
