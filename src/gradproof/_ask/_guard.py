"""When a training run is looked at, what a look asks for, and when it ends in an alarm: the same for all libraries.

Who evaluates is a `Scene`: the loss, the parameters and the gradient of one step.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradproof._base._errors import UsageError
from gradproof._base._tree import is_number
from gradproof._line import learn, slope
from gradproof._prove import COARSE, REACH, RTOL32, SECOND, Line, Probe, Record, Yardstick, allowance, scales
from gradproof._report import GradientError, GuardReport, Report, is_wrong

Floats = NDArray[np.float64]

# The largest deviation, relative to the scale, that a gradient found right may set as usual, so that no guard goes
# blind; a coarse gradient that deviates by more than `GROSS` at the first step is not coarse, but another one. Chosen:
# a typical mistake is a factor of 1.5 or more in some of the arrays.
LARGEST_USUAL, GROSS = 0.1, 0.3
# Lines of a first look at a gradient so coarse that only measuring tells how coarse.
COARSE_LINES = 4


class Step(Protocol):
    """The loss, the parameters and the gradient of the step that training has come to."""

    @property
    def eps(self) -> float:
        """Relative precision of the values of the loss."""
        ...

    @property
    def claim_eps(self) -> float:
        """Relative precision of the gradient."""
        ...

    @property
    def still(self) -> Sequence[str]:
        """The arrays that these leave out, because it is not their turn."""
        ...

    def norms(self, seed: int) -> Mapping[str, float]:
        """Choose arrays to move; return the norm of the gradient times the natural size, of each by name."""
        ...

    def draw(self, factors: Mapping[str, float]) -> tuple[float, int]:
        """Draw a direction through them; return what the gradient claims along it, and how many entries move."""
        ...

    def values(self, steps: Floats) -> Floats:
        """Evaluate the loss along that direction; nan where it cannot be."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A step, and the full checks that may be asked for there.

    Attributes
    ----------
    paths : by the names of the step's arrays, what reports call them.
    full : checks the gradient of the loss as a whole, given a seed; None where no check can tell.
    delivered : checks the gradient that training has computed, given a seed, a relative tolerance and the deviation
        that was seen; None where the loss of this step cannot be repeated, or nothing but that gradient can be meant.
    """

    step: Step
    paths: Mapping[str, str]
    full: Callable[[int], Report | None]
    delivered: Callable[[int, float, float], Report | None]

    def line(self, seed: int, eps: float = 0.0) -> Line:
        """Draw a direction through the parameters, and say what the gradient claims along it.

        `eps` is how precise the values have been found to be, where that is less than they look.
        """
        eps = max(eps, self.step.eps)
        norms = dict(self.step.norms(seed))
        if not all(map(math.isfinite, norms.values())):
            return Line(claimed=math.nan, shares={}, rounding=math.nan, size=0, eps=1.0, claim_eps=1.0)
        factors = scales(norms, eps)
        claimed, size = self.step.draw(factors)
        return Line(
            claimed=claimed,
            shares={self.paths[name]: factor * norms[name] for name, factor in factors.items()},
            rounding=math.hypot(*norms.values()),
            size=size,
            eps=eps,
            claim_eps=self.step.claim_eps,
            still=tuple(self.paths[name] for name in self.step.still),
        )

    def values(self, steps: Floats) -> Floats:
        """Evaluate the loss along that direction."""
        return self.step.values(steps)


@dataclasses.dataclass
class _Clock:
    """What training and guarding take, to keep to the share of time that guarding may have."""

    budget: float
    evaluations: int = 0
    _since: float = 0.0
    _at: int = 0
    _spent: float = 0.0
    _last: float = 0.0
    share: float = 0.0

    def start(self, calls: int) -> None:
        """Begin to count: after the first check."""
        self._since, self._at, self._spent, self.evaluations = time.perf_counter(), calls, 0.0, 0

    def add(self, seconds: float) -> None:
        """Note what a look has taken."""
        self._spent += seconds
        # (What a single one takes varies: the next one is expected to take a mean of the last few.)
        self._last = seconds if self._last == 0 else (self._last + seconds) / 2
        training = time.perf_counter() - self._since - self._spent
        self.share = self._spent / training if training > 0 else 0.0

    def next_call(self, calls: int, every: int) -> int:
        """The call at which the next look keeps within the budget."""
        training = time.perf_counter() - self._since - self._spent
        passed = calls - self._at
        if passed == 0 or training <= 0:
            return calls + every
        needed = (self._spent + self._last) * passed / (self.budget * training)
        return max(calls + every, self._at + math.ceil(needed))


class Guarding:
    """Decides, call by call, what is looked at, and keeps what was seen.

    Parameters
    ----------
    every : calls from one look to the next, at least.
    budget : share of training time that looks may take.
    on_wrong : what is called with a report that is WRONG; None raises GradientError.
    seed : int
    together : the largest of a number over all processes that train together.
    """

    def __init__(
        self,
        *,
        every: int,
        budget: float,
        on_wrong: Callable[[Report], Any] | None,
        seed: int,
        together: Callable[[float], float] = float,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"`every` must be a positive integer, got {every!r}.")
        if not is_number(budget) or not 0 < budget < math.inf:
            raise UsageError(f"`budget` must be a positive share of the running time, such as 0.01, got {budget!r}.")
        if on_wrong is not None and not callable(on_wrong):
            raise UsageError(f"`on_wrong` must be callable, `on_wrong(report)`, got {type(on_wrong).__name__}.")
        self._every, self._on_wrong, self._seed, self._together = every, on_wrong, seed, together
        self._clock = _Clock(budget)
        self._due = self._calls = self._unclear = self._unrepeated = self._unexplained = self._looks = 0
        self._first: Report | None = None
        self._has_begun = False
        self._wrong: list[tuple[int, Report]] = []
        self._at: list[int] = []
        self._yardstick: Yardstick | None = None
        self._value = 0.0
        # How precise values have been found to be.
        self._eps = 0.0
        # The largest deviation, relative to the scale, of gradients that were found right.
        self._usual = 0.0
        # The largest gradient so far, in natural sizes.
        self._largest = 0.0
        self._record = Record()

    @property
    def is_due(self) -> bool:
        """Whether the next call is looked at."""
        return self._calls >= self._due

    def passed(self) -> None:
        """Count a call that is not looked at."""
        self._calls += 1

    def visit(self, scene: Scene) -> None:
        """Look at the step of this call.

        Raises
        ------
        GradientError
            If the gradient is wrong, and nothing else is to be done then.
        """
        call, self._calls = self._calls, self._calls + 1
        started = time.perf_counter()
        is_first = not self._has_begun
        report: Report | None = None
        try:
            report = self._begin(scene) if is_first else self._probe(scene)
        except Exception:
            self._plan(call, started, is_first=is_first)
            raise
        self._plan(call, started, is_first=is_first)
        if not is_first:
            self._at.append(call + 1)
        if report is not None and is_wrong(report):
            self._wrong.append((call + 1, report))
            if self._on_wrong is None:
                raise GradientError(report)
            self._on_wrong(report)

    def _plan(self, call: int, started: float, *, is_first: bool) -> None:
        """Note what a look has taken, and when the next one is due."""
        if is_first:
            self._clock.start(self._calls)
            due = max(self._every - 1, self._calls)
        else:
            self._clock.add(time.perf_counter() - started)
            due = self._clock.next_call(call, self._every)
        self._due = int(self._together(due))

    def report(self) -> GuardReport:
        """What was looked at so far, and what was found."""
        return GuardReport(
            steps=self._calls,
            first=self._first,
            probed=tuple(self._at),
            evaluations=self._clock.evaluations,
            share=self._clock.share,
            unclear=self._unclear,
            unrepeated=self._unrepeated,
            unexplained=self._unexplained,
            bounds=self._record.bounds(),
            fitting=self._record.probes,
            wrong=tuple(self._wrong),
            rng=self._seed,
        )

    def _draw(self) -> int:
        self._looks += 1
        return int(np.random.SeedSequence((self._seed, self._looks)).generate_state(1)[0])

    def _begin(self, scene: Scene) -> Report | None:
        """Check the gradient as a whole, and learn how noisy and how curved the loss is."""
        self._first = report = scene.full(self._seed)
        self._has_begun = True
        if report is not None and is_wrong(report):
            return report
        line = scene.line(self._draw(), self._eps)
        if not line.finite:
            return None
        found = self._learn(scene, line)
        if found is None or not found.finite:
            return None
        if line.claim_eps > COARSE:
            for _ in range(COARSE_LINES):
                self._compare_coarse(scene)
        if found.fits or (line.claim_eps > COARSE and self._usual <= GROSS):
            return None
        self._usual = 0.0
        return self._explain(scene, found, checked=True)

    def _compare_coarse(self, scene: Scene) -> None:
        probe = self._look(scene, scene.line(self._draw(), self._eps))
        if probe.finite and probe.line.scale > 0:
            self._usual = max(self._usual, probe.deviation / probe.line.scale)

    def _learn(self, scene: Scene, line: Line) -> Probe | None:
        """Measure the slope along this line with a whole ladder; None where there is none."""
        jitter = np.random.Generator(np.random.Philox(line.size))
        asking = slope(jitter, eps=line.eps, scale=line.scale, ripple=line.rounding)
        found = _answered(asking, ft.partial(self._values, scene))
        value, bar = float(found.value[0]), float(found.bar[0])
        if found.trouble or not math.isfinite(bar) or found.side:
            return None
        self._value, self._eps = float(found.f0[0]), found.eps
        size = max(line.scale, abs(value), 1e-300)
        self._yardstick = Yardstick(learn(found, bar / size, size), size)
        probe = Probe(line=line, value=value, bar=bar, allowance=self._allowance(line))
        if line.claim_eps > COARSE and line.scale > 0:
            self._usual = max(self._usual, probe.deviation / line.scale)
        return probe

    def _values(self, scene: Scene, steps: Floats) -> Floats:
        self._clock.evaluations += len(steps)
        return scene.values(steps)

    def _look(self, scene: Scene, line: Line, finer: float = 1.0) -> Probe:
        """Two values on the line, and what they say."""
        assert self._yardstick is not None
        jitter = np.random.Generator(np.random.Philox((line.size, self._looks)))
        step = self._yardstick.step(line, self._value) * finer * float(jitter.uniform(0.85, 1.18))
        plus, minus = self._values(scene, np.array([step, -step])).tolist()
        value = max(abs(plus), abs(minus))
        if math.isfinite(value):
            self._value = value
        return Probe(
            line=line,
            value=(plus - minus) / (2 * step),
            bar=self._yardstick.bar(line, step, value),
            allowance=self._allowance(line),
        )

    def _probe(self, scene: Scene) -> Report | None:
        line = scene.line(self._draw(), self._eps)
        if not line.finite:
            self._unclear += 1
            return None
        if self._yardstick is None or self._yardstick.is_far(self._value):
            probe = self._learn(scene, line)
        else:
            probe = self._look(scene, line)
        if probe is None or not probe.finite:
            self._unclear += 1
            return None
        if not probe.fits and self._yardstick is not None:
            again = self._look(scene, line, SECOND)
            if again.fits or not again.finite:
                self._unrepeated += 1
                return None
            return self._explain(scene, again)
        self._record.add(probe)
        return None

    def _allowance(self, line: Line) -> float:
        self._largest = max(self._largest, line.rounding)
        return allowance(line, self._usual, self._largest)

    def _rtol(self, line: Line) -> float:
        """What the gradient may be off by in a full check of its values, relative to its norm."""
        if line.scale == 0:
            return RTOL32  # a gradient of zero that does not fit is off as a whole
        return float(f"{self._allowance(line) / (REACH * line.scale):.3g}")

    def _explain(self, scene: Scene, probe: Probe, *, checked: bool = False) -> Report | None:
        """Ask a full check what two independent looks have found; None where none of them finds a mistake."""
        report = None if checked else scene.full(self._draw())
        if not is_wrong(report):
            report = scene.delivered(self._draw(), self._rtol(probe.line), probe.deviation)
        if report is not None and is_wrong(report):
            return report
        self._unexplained += 1
        if probe.line.scale > 0:
            self._usual = max(self._usual, min(probe.deviation / probe.line.scale, LARGEST_USUAL))
        return None


class Reporting:
    """What the guards of all libraries have: a report, which they print."""

    _guarding: Guarding

    def report(self) -> GuardReport:
        """Say what was probed so far, and what was found."""
        return self._guarding.report()

    def __str__(self) -> str:
        return str(self.report())


def _answered(asking: Generator[Floats, Floats, Any], values: Callable[[Floats], Floats]) -> Any:
    """What a question that asks for values at some steps returns in the end."""
    try:
        steps = next(asking)
        while True:
            steps = asking.send(values(steps))
    except StopIteration as finished:
        return finished.value
