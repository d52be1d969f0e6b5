"""Evaluations of f that somebody else makes, or that are known already: many of them go out together."""

from __future__ import annotations

import dataclasses
import functools as ft
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from gradproof import _backends
from gradproof._base._away import CrashError, StopError, is_from_handler
from gradproof._base._errors import GradproofError
from gradproof._function._conditions import Conditions
from gradproof._progress import current
from gradproof._run._worker import Outcome, casts_are_errors, has_changed

Result = TypeVar("Result")

# Bytes of points that wait for their values at a time.
WAITING = 1 << 28


class Pool(Protocol):
    """Who evaluates f at several points at a time."""

    def outcomes(
        self, points: Sequence[tuple[Any, ...]], strict: bool, done: Callable[[int, Outcome], None]
    ) -> list[Outcome]:
        """Return what became of f at these arguments, in their order; each is told to `done` when it is there."""
        ...


class Record(Protocol):
    """Who keeps what became of evaluations."""

    def find(self, arguments: tuple[Any, ...]) -> tuple[str, int, Outcome | None]:
        """Return the key of the next evaluation at these arguments, its number, and what became of it, if known."""
        ...

    def keep(self, key: str, number: int, outcome: Outcome) -> None:
        """Keep what became of an evaluation, safe from a crash once this returns."""
        ...


class Here:
    """A pool of one: this thread."""

    def __init__(self, f: Callable[..., Any], conditions: Conditions) -> None:
        self._f, self._conditions = f, conditions

    def outcomes(
        self, points: Sequence[tuple[Any, ...]], strict: bool, done: Callable[[int, Outcome], None]
    ) -> list[Outcome]:
        """As a `Pool`; f gets the arguments themselves, and whatever it raises that is no Exception passes through."""
        found: list[Outcome] = []
        for k, arguments in enumerate(points):
            before = _backends.copied(arguments)
            try:
                outcome = Outcome(value=self._conditions.timed(ft.partial(self._f, *arguments)))
            except Exception as error:
                if is_from_handler(error):
                    raise
                outcome = Outcome(error=error)
            if has_changed(arguments, before):
                outcome = dataclasses.replace(outcome, changed=_backends.copied(arguments))
            found.append(outcome)
            done(k, outcome)
        return found


class _Asked(BaseException):
    """F was asked for a value that is not there yet; no Exception, so that nothing takes it for a failure of f."""


class Evaluations:
    """Evaluates f by a pool, and looks first whether an evaluation is on record.

    Tasks that do not depend on each other run twice: first until they ask for a value, all of which are then evaluated
    together; then with these values. So whoever computes with values need not know where they come from, and counts,
    failures and the order of everything are those of a loop.
    """

    def __init__(self, pool: Pool, record: Record | None = None, *, together: bool = True) -> None:
        self._pool, self._record, self._goes_together = pool, record, together
        self._asked: list[tuple[Any, ...]] | None = None
        self._held: list[Callable[[], None]] = []
        self._answers: list[Outcome] = []
        # Evaluations that ended the process that made them, each time it was tried.
        self.crashes = 0

    def evaluate(self, arguments: tuple[Any, ...]) -> Any:
        """Return f(*arguments), or raise what it raises."""
        if self._asked is not None:
            self._asked.append(_backends.copied(arguments))
            raise _Asked
        outcome = self._answers.pop() if self._answers else self._obtain([arguments])[0]
        return outcome.result(arguments)

    def holds(self, count: Callable[[], None]) -> bool:
        """Whether an evaluation is not counted now, but when it has its value."""
        if self._asked is not None:
            self._held.append(count)
        return self._asked is not None

    def each(self, tasks: Sequence[Callable[[], Result]], size: int, most: float) -> list[Result]:
        """Return what tasks return that do not depend on each other, each of which evaluates f at a point of `size`.

        No more than `most` evaluations are begun.
        """
        if not self._goes_together or self._asked is not None:
            return [task() for task in tasks]
        width = max(2, WAITING // (8 * max(1, size)))
        found: list[Result] = []
        for start in range(0, len(tasks), width):
            before = len(found)
            found += self._together(tasks[start : start + width], most)
            most -= len(found) - before
        return found

    def _together(self, tasks: Sequence[Callable[[], Result]], most: float) -> list[Result]:
        known: dict[int, Result] = {}
        points: list[tuple[Any, ...]] = []
        for k, task in enumerate(tasks):
            self._asked, self._held = [], []
            try:
                found = task()
            except _Asked:
                points += self._asked
                continue
            finally:
                asked, self._asked = self._asked, None
            assert not asked
            known[k] = found
            for count in self._held:
                count()
        points = points[: int(min(len(points), max(most, 0)))]
        outcomes = self._obtain(points)[::-1]
        results: list[Result] = []
        for k, task in enumerate(tasks):
            if k in known:
                results.append(known[k])
                continue
            self._answers = [outcomes.pop()] if outcomes else []
            try:
                results.append(task())
            finally:
                self._answers = []
        return results

    def _obtain(self, points: Sequence[tuple[Any, ...]]) -> list[Outcome]:
        """What became of f at these arguments: on record, or evaluated now and recorded."""
        found: list[Outcome | None] = [None] * len(points)
        keys: list[tuple[str, int]] = []
        if self._record is not None:
            for k, arguments in enumerate(points):
                key, number, found[k] = self._record.find(arguments)
                keys.append((key, number))
        left = [k for k, one in enumerate(found) if one is None]
        watch = current()

        def done(k: int, outcome: Outcome) -> None:
            watch.evaluated(0)
            if self._record is not None:
                self._record.keep(*keys[left[k]], outcome)

        try:
            new = self._pool.outcomes([points[k] for k in left], casts_are_errors(), done) if left else []
        except GradproofError as error:
            raise StopError(error) from error.__cause__
        for k, outcome in zip(left, new, strict=True):
            found[k] = outcome
        outcomes = [one for one in found if one is not None]
        self.crashes += sum(isinstance(one.error, CrashError) for one in outcomes)
        return outcomes
