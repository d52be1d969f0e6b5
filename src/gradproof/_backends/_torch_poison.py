"""Fresh memory that holds nan instead of whatever was there: what is read before it is written shows."""

# torch offers most of this under private names only, without annotations:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator

import torch

from gradproof._backends._torch_state import undone


@contextlib.contextmanager
def poisoned() -> Generator[None]:
    """Within this context what torch allocates is filled with nan, or with the largest integer.

    torch does so itself where deterministic algorithms are asked for. Operations that have none would warn.
    """
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch._C._get_deterministic_fill_uninitialized_memory()

    def put_back() -> None:
        torch._C._set_deterministic_algorithms(was[0], warn_only=was[1])
        torch._C._set_deterministic_fill_uninitialized_memory(filled)

    with undone(put_back), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._C._set_deterministic_fill_uninitialized_memory(True)
        torch._C._set_deterministic_algorithms(True, warn_only=True)
        yield
