"""The errors that gradproof raises, and its warning."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import traceback


class GradproofError(Exception):
    """Base of every error that gradproof raises on its own account."""


class UsageError(GradproofError, ValueError, TypeError):
    """An argument of `check` cannot be used; the message says which, why, and what to pass instead.

    A call that does not fit the signature is one, too: Python has TypeError for these.
    """


class NotFiniteError(UsageError):
    """The point holds nan or infinity, and f does not ignore it or nothing else is left."""


class FunctionError(GradproofError, RuntimeError):
    """The user's function raised, or returned something that is no real number.

    The original exception, where there is one, is chained (``__cause__``).
    """


class ClaimError(GradproofError, RuntimeError):
    """The callable that computes the claimed derivative raised; the original exception is chained."""


class MissingExtraError(GradproofError, ImportError):
    """Something that comes with an extra of gradproof is not installed; the message says how to install it."""


class NotAvailableError(Exception):
    """A framework has no rule for a mode; the message is its own, in one line. It never reaches the user."""


class GradproofWarning(UserWarning):
    """Something the user should know although nothing is wrong, such as a valid subgradient at a kink."""


# Users import them from the package: that is where a traceback, a pickle or `-W error::` should look for them.
for _public in (GradproofError, UsageError, FunctionError, ClaimError, GradproofWarning):
    _public.__module__ = "gradproof"


def users_traceback(error: BaseException) -> str:
    """The traceback of `error` without the frames of gradproof and of the import machinery."""
    import importlib
    import traceback

    ours = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")

    def is_ours(frame: traceback.FrameSummary) -> bool:
        return frame.filename.startswith((ours, "<frozen importlib", importlib.__file__))

    trace = traceback.TracebackException.from_exception(error)
    seen: list[traceback.TracebackException] = []
    pending: list[traceback.TracebackException | None] = [trace]
    while pending:
        part = pending.pop()
        if part is None or part in seen:
            continue
        seen.append(part)
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if not is_ours(frame)])
        pending += [part.__cause__, part.__context__, *(part.exceptions or ())]
    return "".join(trace.format())
