"""What JAX says where it has no rule for a mode."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator

import jax

from gradproof._base._errors import NotAvailableError

# What JAX says where it has no rule for a mode, rather than a wrong one.
_NOT_THERE = re.compile(
    r"not implemented|not supported|only supported for|do(es)? not support|does not work for|can't apply forward-mode|"
    r"not defined"
)


def has_no_rule(error: Exception) -> bool:
    """Whether JAX says that it has no rule, whatever the arguments are."""
    if isinstance(error, NotImplementedError):
        return True
    is_trace = isinstance(error, (jax.errors.JAXTypeError, jax.errors.JAXIndexError))
    return not is_trace and isinstance(error, (TypeError, ValueError)) and bool(_NOT_THERE.search(str(error)))


@contextlib.contextmanager
def refusals() -> Generator[None]:
    """Turn what JAX says where it has no rule, or cannot trace f, into NotAvailableError."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        if isinstance(error, (jax.errors.JAXTypeError, jax.errors.JAXIndexError)) or has_no_rule(error):
            raise NotAvailableError(str(error).strip().splitlines()[0].rstrip(".")) from error
        raise
