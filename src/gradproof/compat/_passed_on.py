"""Errors of the user's own code, as drop-ins let them pass."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from gradproof._base._errors import ClaimError, FunctionError, GradproofError, NotAvailableError, UsageError


@contextlib.contextmanager
def passed_on() -> Generator[None]:
    """Let what the user's function or its derivative raises pass as it is."""
    try:
        yield
    except (ClaimError, FunctionError, UsageError) as error:
        cause = error.__cause__
        while isinstance(cause, (GradproofError, NotAvailableError)) and cause.__cause__ is not None:
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
