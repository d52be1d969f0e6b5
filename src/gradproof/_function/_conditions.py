"""Under which conditions a check runs: how many evaluations it may take, how long, and who evaluates f.

A `Primal` takes them as it finds them where it is made, as it does with who watches.
"""

from __future__ import annotations

import contextlib
import functools as ft
import math
import re
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from gradproof._base._away import BudgetSpent
from gradproof._base._clock import within
from gradproof._base._errors import UsageError
from gradproof._base._tree import is_number

Result = TypeVar("Result")

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h)\s*")


class Evaluator(Protocol):
    """Who calls f in place of the check itself."""

    def evaluate(self, arguments: tuple[Any, ...]) -> Any:
        """Return f(*arguments), or raise what it raises."""
        ...

    def each(self, tasks: Sequence[Callable[[], Result]], size: int, most: float) -> list[Result]:
        """Return what tasks return that do not depend on each other, in their order.

        Each evaluates f at a point of so many numbers; no more than `most` evaluations are begun.
        """
        ...

    def holds(self, count: Callable[[], None]) -> bool:
        """Whether an evaluation is not counted now, but when it has its value."""
        ...


def read_budget(budget: Any) -> tuple[float, float]:
    """Return how many evaluations, and how many seconds, a budget allows.

    Examples
    --------
    >>> read_budget(100), read_budget("1.5 min"), read_budget(None)
    ((100.0, inf), (inf, 90.0), (inf, inf))
    """
    if budget is None:
        return math.inf, math.inf
    if is_number(budget) and 1 <= budget <= sys.maxsize and float(budget).is_integer():
        return float(budget), math.inf
    found = _TIME.fullmatch(budget) if isinstance(budget, str) else None
    seconds = 0.0 if found is None else float(found[1]) * _SECONDS[found[2]]
    if seconds <= 0:
        raise UsageError(
            f'`budget` must be a number of evaluations, or a time such as "30 s", "5 min" or "2 h", got {budget!r}.'
        )
    return math.inf, seconds


class Budget:
    """What one call may take, in however many checks it makes.

    Parameters
    ----------
    budget : int, str or None
        As for `gradproof.check`.
    started : float
        When the call began, by `time.perf_counter`.

    Attributes
    ----------
    evaluations : float
        That are left.
    deadline : float
        When it ends, by `time.perf_counter`.

    Raises
    ------
    UsageError
        If `budget` is none.
    """

    def __init__(self, budget: Any = None, started: float = 0.0) -> None:
        self.evaluations, seconds = read_budget(budget)
        self.deadline = started + seconds


class Conditions:
    """What a check may take, and who evaluates f.

    Parameters
    ----------
    f : callable or None
        The user's function, which `evaluator` evaluates; None where it is called by a framework.
    budget : Budget, optional
        That of the call, from which this check takes.
    timeout : float
        Seconds that one evaluation may take.
    evaluator : Evaluator, optional
    """

    def __init__(
        self,
        f: Callable[..., Any] | None = None,
        *,
        budget: Budget | None = None,
        timeout: float = math.inf,
        evaluator: Evaluator | None = None,
    ) -> None:
        self._f = f
        self._budget = Budget() if budget is None else budget
        self.timeout = timeout
        self._is_timed = math.isfinite(min(self._budget.deadline, timeout))
        self._is_running = False
        self.evaluator = evaluator

    @property
    def seconds_left(self) -> float:
        """Until the deadline."""
        return self._budget.deadline - time.perf_counter()

    def each(self, tasks: Sequence[Callable[[], Result]], size: int) -> list[Result]:
        """Return what tasks return that evaluate f at points (of so many numbers) that do not depend on each other."""
        if self.evaluator is None:
            return [task() for task in tasks]
        return self.evaluator.each(tasks, size, self._budget.evaluations)

    def require(self, points: int = 0) -> None:
        """Raise BudgetSpent unless so many evaluations are left, and time."""
        if points > self._budget.evaluations or self.seconds_left <= 0:
            raise BudgetSpent

    def spend(self, points: int) -> None:
        """Take evaluations.

        Raises
        ------
        BudgetSpent
            If fewer are left, or no time is.
        """
        self.require(points)
        self._budget.evaluations -= points

    def of(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called in place of f under these conditions: f itself where they ask for nothing."""
        is_evaluated = self.evaluator is not None and f is self._f
        if not is_evaluated and not (self._is_timed and (self._f is None or f is self._f)):
            return f

        @ft.wraps(f, updated=())
        def on_conditions(*args: Any) -> Any:
            if is_evaluated and self.evaluator is not None:
                return self.evaluator.evaluate(args)
            return self.timed(lambda: f(*args))

        return on_conditions

    def timed(self, call: Callable[[], Result]) -> Result:
        """Return ``call()``, which may take as long as one evaluation may.

        Raises
        ------
        TimeoutError
            If that has passed.
        BudgetSpent
            If the deadline has.
        """
        if self._is_running:  # the outer call has the timer
            return call()
        self._is_running = True
        try:
            return within(min(self.timeout, max(self.seconds_left, 1e-3)), call)
        except TimeoutError:
            if self.timeout == math.inf or self.seconds_left <= 0:
                raise BudgetSpent from None
            raise
        finally:
            self._is_running = False


FREE = Conditions()
_CURRENT: ContextVar[Conditions | None] = ContextVar("gradproof._conditions", default=None)


def current() -> Conditions:
    """The conditions of the check that runs here."""
    return _CURRENT.get() or FREE


@contextlib.contextmanager
def on(conditions: Conditions) -> Generator[None]:
    """Within this context checks run under these conditions."""
    token = _CURRENT.set(conditions)
    try:
        yield
    finally:
        _CURRENT.reset(token)
