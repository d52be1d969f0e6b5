"""The course's rule beside gradproof's verdict: the data of `gradproof demo` and their view."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradproof._render import _numbers as numbers
from gradproof._render._columns import table
from gradproof._render._numbers import TIE
from gradproof._render._text import STYLES, fields, report_view, styled, text
from gradproof._render._words import worst_bound
from gradproof._report import Finding, Report, Severity, Verdict

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

# Room for the table of comparisons; below it they are shown one under the other.
WIDE = 90


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """One check of the course, judged twice.

    Attributes
    ----------
    title : str
    difference : float
        The course's relative difference, at its epsilon of 1e-7.
    rule_accepts : bool
        Whether that is within the course's threshold of 1e-7.
    rule_evaluations : int
        Evaluations of the cost that the course's rule took.
    report : Report
    as_expected : bool
        Whether `report` says what is known to be true.
    """

    title: str
    difference: float
    rule_accepts: bool
    rule_evaluations: int
    report: Report
    as_expected: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleStep:
    """What the course's rule says of the fixed network with one epsilon, and what rounding noise alone would score."""

    epsilon: float
    difference: float
    accepts: bool
    from_noise: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoResult:
    """All that `gradproof demo` shows; `noise` is the standard deviation of the cost's rounding noise."""

    comparisons: tuple[Comparison, ...]
    steps: tuple[RuleStep, ...]
    noise: float
    seed: int

    @property
    def as_expected(self) -> bool:
        """Whether every verdict is the one known to be true."""
        return all(comparison.as_expected for comparison in self.comparisons)


def demo_view(result: DemoResult) -> DemoView:
    """Return a rich renderable of the whole demonstration."""
    return DemoView(result)


class DemoView:
    """What rich asks for the parts of the demonstration, once it knows the width of the terminal."""

    def __init__(self, result: DemoResult) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        result = self.result
        yield text("Gradient checking, as the course teaches it, and with proof", "bold")
        yield ""
        if options.max_width >= WIDE:
            yield from _comparison_table(result.comparisons, options)
        else:
            for comparison in result.comparisons:
                yield from _comparison_block(comparison, options.max_width)
        for comparison in result.comparisons:
            if comparison.report.verdict is not Verdict.CORRECT:
                yield ""
                yield text("Where the mistakes are", "bold")
                yield ""
                yield report_view(comparison.report)
        yield ""
        yield text("Why the fixed network fails the course's rule", "bold")
        yield text(
            "Its gradient is right, but the computed cost carries rounding noise of about "
            f"{numbers.significant(result.noise, 2)}, and the rule divides that noise by epsilon. "
            "'noise alone' is the difference that this predicts: a smaller epsilon makes it worse, and a larger one "
            "adds the error of the difference formula. No threshold suits every function; "
            "gradproof measures the noise, chooses the steps and states the error bar that is left."
        )
        yield ""
        yield from _step_table(result, options)
        yield ""
        yield text(
            "Gradient checking is slow next to training: run it to make sure that your code is correct, "
            "then turn it off and train with backpropagation."
        )
        yield text(f"gradproof demo --seed {result.seed} shows exactly this again.", "dim")
        for comparison in result.comparisons:
            if not comparison.as_expected:
                yield text(f"UNEXPECTED: the verdict on '{comparison.title}' is not the known truth.", "bold red")


def _comparison_table(comparisons: tuple[Comparison, ...], options: ConsoleOptions) -> Iterator[Text]:
    differences = numbers.column([comparison.difference for comparison in comparisons], 3)
    rows = [
        [
            text(comparison.title),
            _rule_says(comparison.rule_accepts, comparison.report.correct),
            text(difference),
            text(f"{comparison.rule_evaluations:,}"),
            _proof_says(comparison.report),
            text(f"{comparison.report.cost.evaluations:,}"),
        ]
        for comparison, difference in zip(comparisons, differences, strict=True)
    ]
    return table(
        ["check", "course's rule", "difference", "evals", "gradproof", "evals"],
        rows,
        width=options.max_width,
        right=("difference", "evals"),
        folded=("gradproof", "check"),
        ascii_only=options.ascii_only,
    )


def _comparison_block(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    report = comparison.report
    yield text(comparison.title, "bold")
    rule = _rule_says(comparison.rule_accepts, report.correct)
    rule.append(f", difference {numbers.significant(comparison.difference, 3)}")
    rule.append(f", {comparison.rule_evaluations:,}{TIE}evaluations")
    proof = _proof_says(report).append(f", {report.cost.evaluations:,}{TIE}evaluations")
    yield from fields([("course's rule", rule), ("gradproof", proof)], width)


def _step_table(result: DemoResult, options: ConsoleOptions) -> Iterator[Text]:
    differences = numbers.column([step.difference for step in result.steps])
    noises = numbers.column([step.from_noise for step in result.steps])
    rows = [
        [
            text(numbers.scientific(step.epsilon, 0)),
            text(difference),
            text(noise),
            _rule_says(step.accepts, truth=True),
        ]
        for step, difference, noise in zip(result.steps, differences, noises, strict=True)
    ]
    headers = ["epsilon", "difference", "noise alone", "course's rule"]
    return table(headers, rows, width=options.max_width, right=headers[:3], ascii_only=options.ascii_only)


def _rule_says(accepts: bool, truth: bool) -> Text:
    words = "perfectly fine" if accepts else "mistake"
    if accepts == truth:
        return text(words)
    return text(f"{words} (false)", "yellow")


def _proof_says(report: Report) -> Text:
    order = {leaf.path: index for index, leaf in enumerate(report.leaves)}
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    errors.sort(key=lambda finding: order.get(finding.path, len(order)))
    bound = worst_bound(report.leaves)
    found = ""
    if errors:
        found = f": {', '.join(_leaf_and_factor(finding) for finding in errors)}"
    elif bound is not None:
        found = f", no error above {numbers.significant(bound)}"
    return styled((report.verdict.value, STYLES[report.verdict]), (found, ""))


def _leaf_and_factor(finding: Finding) -> str:
    name = finding.path.rpartition("['")[2].removesuffix("']")
    return name if finding.factor is None else f"{name} factor {numbers.factor(finding.factor)}"
