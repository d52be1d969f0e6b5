"""How the f of one check is evaluated: in which limits, by whom, and what is kept, as the options ask for."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from gradproof._base._away import StopError
from gradproof._base._clock import can_end
from gradproof._base._errors import GradproofWarning
from gradproof._base._names import function_name
from gradproof._function import _conditions
from gradproof._report import Finding, Severity

if TYPE_CHECKING:
    from gradproof._run._evaluations import Evaluations
    from gradproof._run._journal import Journal


class Evaluation:
    """What there is to say of how f was evaluated, once it has been."""

    def __init__(self) -> None:
        self.name = "f"
        self.made: Evaluations | None = None

    def findings(self) -> list[Finding]:
        """Of workers that f has ended."""
        crashes = 0 if self.made is None else self.made.crashes
        if not crashes:
            return []
        points = "a point" if crashes == 1 else f"{crashes:,} points"
        return [
            Finding(
                id="GP430",
                severity=Severity.NOTE,
                kind=f"at {points} beside this one, every process that evaluated `{self.name}` was killed or crashed",
                advice=f"`{self.name}` counts as undefined there. Look for a crash of compiled code, or for memory "
                "that ran out.",
            )
        ]


@contextlib.contextmanager
def evaluating(
    f: Callable[..., Any] | None,
    *,
    budget: _conditions.Budget,
    timeout: float | None,
    executor: Any,
    journal: Journal | None = None,
) -> Generator[Evaluation]:
    """Within this context f, or what a framework makes of it (None), is evaluated as these options of `check` say.

    The journal is closed in the end.
    """
    if timeout is not None and executor is None and not can_end():
        warnings.warn(
            "`timeout` cannot end an evaluation here: that takes a signal, which works only in the main thread, and "
            "not on Windows. An evaluation that hangs is not stopped. Pass `executor=` with processes, or call `check` "
            "from the main thread.",
            GradproofWarning,
            stacklevel=2,
        )
    conditions = _conditions.Conditions(f, budget=budget, timeout=math.inf if timeout is None else float(timeout))
    evaluation = Evaluation()
    if f is None or (executor is None and journal is None):
        with _conditions.on(conditions):
            yield evaluation
        return
    from gradproof._run._evaluations import Evaluations, Here
    from gradproof._run._executor import Workers

    evaluation.name = function_name(f)
    workers: Workers | None = None
    try:
        workers = None if executor is None else Workers(executor, f, conditions, one_by_one=journal is not None)
        pool = Here(f, conditions) if workers is None else workers
        evaluation.made = conditions.evaluator = Evaluations(pool, journal, together=workers is not None)
        with _conditions.on(conditions):
            yield evaluation
    except StopError as stop:
        raise stop.error from stop.__cause__
    finally:
        if workers is not None:
            workers.close()
        if journal is not None:
            journal.close()
