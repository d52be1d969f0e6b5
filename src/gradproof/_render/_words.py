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
# How many of 100,037 measured slopes lie within their error bars: `benchmarks/honesty.py`.
HOLD = "99.9 % of them do in gradproof's own benchmarks"

DERIVATIVES = {
    "grad": "gradient",
    "jac": "Jacobian",
    "hess": "Hessian",
    "vjp": "vjp",
    "jvp": "jvp",
    "hvp": "hvp",
    "backward": "gradient",
    "kernel": "kernel",
}
# Claims that nobody wrote: who returns the derivative.
BY_A_FRAMEWORK = {"autograd": "autograd", "jax": "JAX", "autodiff": "automatic differentiation"}

WHAT_IT_MEANS = {
    Reason.NOISE: "the values of f are too noisy to tell",
    Reason.PRECISION: "f or the claim has too few digits to tell",
    Reason.DOMAIN: "f cannot be evaluated far enough around the point",
    Reason.NO_CONVERGENCE: "the difference quotients do not settle as the step shrinks",
    Reason.STOCHASTIC: "f returns different values at the same point",
    Reason.UNSTABLE: "two independent measurements of the same slope disagree",
    Reason.DEGENERATE: "nothing can be tested at this point",
    Reason.WITNESSES: "differences of f and the reference disagree",
    Reason.BUDGET: "the check ran out of evaluations, or of time",
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
    Reason.BUDGET: (
        "Raise budget=, if you passed one. A check without it has a limit as well: check fewer arrays at a time with "
        'wrt=, or pass level="entries", which has none.'
    ),
}


# What is broken where all numbers are right, by the id of the finding that says more.
BUT = {
    "GP140": "f raises at some sizes or layouts",
    "GP141": "f returns other values than the reference",
    "GP142": "f is nan or infinite at some sizes",
    "GP143": "they change with the layout of the inputs in memory",
    "GP144": "not in 16 bits",
    "GP145": "the gradient of an empty call is not zero",
    "GP201": "their shape is not that of the argument",
    "GP202": "the claim does not have the structure of the argument",
    "GP204": "they are not of a type that fits",
    "GP205": "the vjp is not linear in its cotangent",
    "GP206": "the product is not linear in its vector",
    "GP207": "the Hessian is not symmetric",
    "GP208": "the two products of the operator do not belong together",
    "GP210": "f changes its arguments",
    "GP212": "the backward changes a buffer",
    "GP213": "the claim remembers earlier calls",
    "GP216": "they depend on the layout of the cotangent in memory",
    "GP217": "they depend on the layout of the inputs in memory",
    "GP218": "the backward changes its cotangent",
    "GP219": "the backward changes what was saved for it",
    "GP220": "a second backward gives different gradients",
    "GP221": "they are not zero where the cotangent is",
    "GP222": "a cotangent of None is not treated as zeros",
    "GP224": "the backward returns them in another shape or dtype",
    "GP225": "they depend on which gradients are asked for",
    "GP226": "they do not add up over several calls",
    "GP227": "not for inputs of other shapes",
    "GP228": "the backward uses what the last forward left behind",
    "GP229": "memory is read before it is written",
    "GP230": "f returns another value while it is differentiated",
    "GP231": "a rule for batches is wrong",
}
# The finding of a point at which f has no value.
UNDEFINED = "GP304"


def worst_bound(leaves: Iterable[LeafResult]) -> float | None:
    """The largest certificate among the correct leaves."""
    return max((x.bound for x in leaves if x.bound is not None and x.verdict is Verdict.CORRECT), default=None)


def derivatives(report: Report) -> str:
    """What is claimed: "gradient", or "gradient and Hessian"; "derivative" of a framework."""
    names = [DERIVATIVES.get(claim, claim) for claim in report.claim.split("+")]
    return "derivative" if report.claim in BY_A_FRAMEWORK else " and ".join(part for part in names if part)


def sentence(report: Report) -> str:
    """What the verdict says of the claim, in one sentence."""
    what, framework = derivatives(report), BY_A_FRAMEWORK.get(report.claim)
    subject = f"the {what}" if framework is None else f"{framework}'s derivative"
    verb = "are" if " and " in what else "is"
    if report.verdict is Verdict.CORRECT:
        bound = worst_bound(report.leaves)
        within = "" if bound is None else f" to within {numbers.significant(bound)}"
        return f"{subject} {verb} right{within} ({_covered(report)})"
    if report.verdict is Verdict.WRONG:
        errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
        counted = f" ({numbers.count(len(errors), 'error')})" if errors else ""
        if errors and {leaf.verdict for leaf in report.leaves} <= {Verdict.CORRECT, Verdict.NOT_DIFFERENTIABLE}:
            return f"the numbers are right, but {BUT.get(errors[0].id, 'a rule is broken')}{counted}"
        wrong = f"{subject} {verb} wrong" if framework is None else f"{framework} returns a wrong derivative"
        return f"{wrong}{counted}"
    if report.verdict is Verdict.NOT_DIFFERENTIABLE:
        claim = f"the claimed {what}" if framework is None else subject
        return f"f has a kink at this point, and {claim} lies between its one-sided slopes"
    if report.reason is None:
        return f"{subject} could be neither confirmed nor refuted"
    if any(finding.id == UNDEFINED for finding in report.findings):
        return f"{report.reason.value}: f is nan or infinite at this point"
    return reason_text(report.reason)


def _covered(report: Report) -> str:
    """How many arrays and entries there are: each once, whatever modes and parts of complex numbers it stands for."""
    modes = [f" ({one.mode})" for one in report.modes]
    shapes: dict[str, tuple[int, ...]] = {}
    for leaf in report.leaves:
        path = next((leaf.path.removesuffix(mode) for mode in modes if leaf.path.endswith(mode)), leaf.path)
        shapes[path] = leaf.shape
    for path in [path for path in shapes if path.endswith(".imag") and path[:-5] + ".real" in shapes]:
        del shapes[path]
    entries = sum(math.prod(shape) for shape in shapes.values())
    return f"{numbers.count(len(shapes), 'array')}, {numbers.count(entries, 'entry', 'entries')}"


def reason_text(reason: Reason) -> str:
    """The reason by its name, and what it means."""
    return f"{reason.value}: {WHAT_IT_MEANS[reason]}"


def leaf_order(leaf: LeafResult) -> tuple[int, float]:
    """Worst first: by verdict, then by what was seen (correct leaves by their bound; flat ones, without, last)."""
    size = leaf.bound if leaf.verdict is Verdict.CORRECT else leaf.deviation
    missing = math.inf if leaf.verdict is Verdict.CORRECT else -math.inf
    return WORST_FIRST.index(leaf.verdict), missing if size is None or math.isnan(size) else -size


def deviations(leaves: Sequence[LeafResult]) -> list[str]:
    """How far each array is off, below each other; "about" where that is an estimate, bounds apart."""
    column = numbers.column([leaf.deviation for leaf in leaves])
    about = [
        leaf.verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE) and leaf.estimated and leaf.deviation is not None
        for leaf in leaves
    ]
    return [f"about {text.lstrip()}" if is_about else text for text, is_about in zip(column, about, strict=True)]


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
        ("advice" if is_error else "next", _as_sentence(finding.advice)),
        ("reproduce", "" if finding.severity is Severity.NOTE else finding.reproducer),
    ]
    return [(label, value) for label, value in labelled if value]


def _as_sentence(advice: str) -> str:
    """With a capital, unless it begins with a name such as f."""
    first = advice.split(" ", 1)[0]
    return advice[0].upper() + advice[1:] if len(first) > 1 and first.isalpha() else advice


def numeric(finding: Finding, plus_minus: str = "±") -> str:
    """Claimed and measured value, as far as there are any."""
    bar = "" if finding.error_bar is None else f" {plus_minus} {numbers.error_bar(finding.error_bar)}"
    if finding.claimed is not None and finding.reference is not None:
        claimed, reference = numbers.measured(finding.claimed, finding.reference, finding.error_bar)
        return f"claimed {claimed}, measured {reference}{bar}"
    if finding.claimed is not None and finding.severity is not Severity.DOUBT:
        return f"claimed {numbers.significant(finding.claimed, 6)}"
    if finding.reference is not None:
        return f"measured {numbers.measured(finding.reference, finding.reference, finding.error_bar)[1]}{bar}"
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
    return f"and {numbers.count(len(cut), 'more array')}: {kinds}{largest}"


def certificate(report: Report) -> Iterator[str]:
    """What was proved of the CORRECT arrays, and the smallest error that would have been detected."""
    correct = [leaf for leaf in report.leaves if leaf.verdict is Verdict.CORRECT]
    bound = worst_bound(correct)
    if bound is None:
        return
    if report.level == "reference":
        yield from _beside_a_reference(report, bound)
        yield from _one_entry(correct)
        return
    whole = len(correct) == len(report.leaves)
    where = "" if whole and len(correct) == 1 else "in each array " if whole else "in each array marked CORRECT "
    norm = "its norm" if whole and len(correct) == 1 else f"the norm of that array's {derivatives(report)}"
    error = f"{where}the error of the {derivatives(report)} is below {numbers.significant(bound)} of {norm}"
    holds = f"as long as the error bars hold ({HOLD})"
    several = any(math.prod(leaf.shape) > 1 for leaf in correct)
    if report.level == "entries":
        alone = "Every entry was measured on its own. " if several else ""
        yield f"{alone}{error[0].upper()}{error[1:]}, {holds}."
    else:
        yield f"{error[0].upper()}{error[1:]}."
        chance = numbers.one_in(1 - report.confidence)
        yield f"{holds[0].upper()}{holds[1:]}, the chance of missing a larger error is {chance}."
    yield from _one_entry(correct)


def _one_entry(correct: Sequence[LeafResult]) -> Iterator[str]:
    """The smallest error of a single entry that would have been detected."""
    noticeable = max((leaf.noticeable for leaf in correct if leaf.noticeable is not None), default=None)
    if noticeable is not None and any(math.prod(leaf.shape) > 1 for leaf in correct):
        size = numbers.significant(noticeable)
        times = f"{size} of" if noticeable < 1 else f"{size} times"
        yield f"One wrong entry would be detected if it is off by more than {times} a typical entry."


def _beside_a_reference(report: Report, bound: float) -> Iterator[str]:
    """What was proved of a kernel that was compared with a reference."""
    yield (
        "Outputs and gradients were compared entry by entry with the reference in float64. In each array marked "
        f"CORRECT, the error is below {numbers.significant(bound)} of the array's norm."
    )
    chance = numbers.one_in(1 - report.confidence)
    yield f"The chance that random cotangents hide a larger error is {chance}, and so is the chance of a false alarm."


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


def exact_statement(report: Report) -> str:
    """The certificate word for word; empty where none was reached."""
    if worst_bound(report.leaves) is None:
        return ""
    if report.level == "reference":
        return (
            "The bound of an array is the largest error, relative to the norm of the reference in float64, that could "
            "have looked as small as the measured one, for normal cotangents, with a probability of "
            f"{numbers.significant(1 - report.confidence)} or more."
        )
    norm = "the norm of its own gradient, each entry weighted by its natural size"
    if report.level == "entries":
        return (
            f"The bound of an array is the norm of all measured differences and error bars, relative to {norm}. It "
            "holds if every error bar holds: no choice of directions is involved."
        )
    return (
        f"If the error of an array were larger than its bound, relative to {norm}, a check would state so small a "
        f"bound with a probability of at most {numbers.significant(1 - report.confidence)}. The probability is over "
        "the choice of directions, and the statement rests on error bars that hold."
    )


def spent(report: Report) -> str:
    """What the check cost."""
    if report.level == "reference":
        return f"{numbers.count(report.cost.evaluations, 'forward and backward pass', 'forward and backward passes')}"
    calls = f", {numbers.count(report.cost.claims, 'call')} of the claim" if report.cost.claims else ""
    return f"{numbers.count(report.cost.evaluations, 'evaluation')} of f{calls}"


def limits(report: Report) -> str:
    """The limits used."""
    return f"rtol {numbers.setting(report.rtol)}, max_bound {numbers.setting(report.max_bound)}"


def cost(report: Report) -> str:
    """What was spent, the limits used, and the seed."""
    return f"{spent(report)}. Limits: {limits(report)}. To repeat: the same call with{TIE}rng={report.seed}."
