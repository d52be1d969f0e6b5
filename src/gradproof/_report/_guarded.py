"""What a guard has seen of a training run, as data and in words."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping

from gradproof._report._report import Report, Severity, Verdict

# A bound above this says nothing that a reader could use: the array's gradient is too small beside the others, or
# there are too few probes.
LARGEST = 0.2
WIDTH = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardReport:
    """What a guard has looked at so far, and what it found.

    Attributes
    ----------
    steps : int
        Calls of the guard.
    first : Report or None
        The full check at the first call; None if it could not be made, as when the loss was not finite.
    probed : tuple of int
        The steps that were probed after that, counted from 1.
    fitting : int
        Probes in which the gradient agreed with the loss.
    unclear, unrepeated, unexplained : int
        Probes without a result: the loss or the gradient was not finite; the gradient did not fit, but it did with a
        finer step (a kink, noise); it did not fit, and a full check found no mistake (low precision).
    wrong : tuple of (int, Report)
        The alarms, each with its step.
    bounds : mapping of str to float
        For each array an upper bound on the relative error of its gradient: a larger error in all probed steps would
        be missed at most once in a million runs.
    evaluations : int
        Evaluations of the loss by probes. Full checks are not counted.
    share : float
        Time that the guard took after the first check, relative to the time of training.
    rng : int
        The seed of all directions.
    """

    steps: int
    first: Report | None
    probed: tuple[int, ...]
    fitting: int
    unclear: int
    unrepeated: int
    unexplained: int
    wrong: tuple[tuple[int, Report], ...]
    bounds: Mapping[str, float]
    evaluations: int
    share: float
    rng: int

    @property
    def bound(self) -> float | None:
        """The largest of the bounds on arrays that were probed well enough (0.2); None where there is none."""
        return max((bound for bound in self.bounds.values() if bound <= LARGEST), default=None)

    @property
    def too_small(self) -> tuple[str, ...]:
        """The arrays whose gradient is too small beside the others, or was probed too rarely, for a bound."""
        return tuple(path for path, bound in self.bounds.items() if bound > LARGEST)

    def __str__(self) -> str:
        return "\n".join(line for part in self._parts() for line in textwrap.wrap(part, WIDTH))

    def _parts(self) -> list[str]:
        first = "not made" if self.first is None else self.first.verdict.value
        if self.first is not None and self.first.reason is not None:
            first += f" ({self.first.reason})"
        parts = [f"{_many(self.steps, 'step')}, full check at the first: {first}."]
        for step, report in self.wrong:
            errors = (finding.path for finding in report.findings if finding.severity is Severity.ERROR)
            places = ", ".join(path for path in dict.fromkeys(errors) if path)
            parts.append(f"WRONG at step {step}: {places or report.name}")
        if self.probed:
            parts.append(
                f"{_many(len(self.probed), 'probe')}, the last at step {self.probed[-1]}: {self.fitting} agreed with "
                f"the loss{self._others()}. They took {self.evaluations} evaluations of the loss and "
                f"{_percent(self.share)} % of the training time."
            )
        parts += self._bound_in_words()
        parts.append(f"To repeat: rng={self.rng}.")
        return parts

    def _others(self) -> str:
        others = [
            (self.unrepeated, "did not fit, but did with a finer step"),
            (self.unclear, "could not tell (not finite)"),
            (self.unexplained, "did not fit, and a full check found no mistake"),
            (len([step for step, _ in self.wrong if step in self.probed]), "found a mistake"),
        ]
        return "".join(f", {count} {words}" for count, words in others if count)

    def _bound_in_words(self) -> list[str]:
        if self.bound is None:
            few = "Too few probes, or too coarse ones, for a bound on the error of a gradient."
            return [few] if self.probed else []
        arrays = f"{_many(len(self.bounds) - len(self.too_small), 'parameter')}"
        which = "any parameter's gradient" if not self.too_small else f"the gradient of {arrays}"
        steps = "all probed steps" if self.fitting == len(self.probed) else "all steps whose probes agreed"
        parts = [
            f"An error above {self.bound:.1e} of {which} in {steps} would be missed at most once in a million "
            "runs.".replace("e-0", "e-")
        ]
        if self.too_small:
            names = ", ".join(self.too_small)
            parts.insert(0, f"Gradients too small beside the others, or probed too rarely, for a bound: {names}.")
        return parts


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if share < 0.1 else f"{100 * share:,.0f}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def is_wrong(report: Report | None) -> bool:
    """Whether there is a report, and it is WRONG."""
    return report is not None and report.verdict is Verdict.WRONG
