"""A verdict with evidence on whether a claimed gradient is the derivative of a function."""

from typing import TYPE_CHECKING, Any

from gradproof._ask._check import Case, assert_grad, check
from gradproof._base._errors import ClaimError, FunctionError, GradproofError, GradproofWarning, UsageError
from gradproof._progress import Progress
from gradproof._report import (
    Cost,
    Finding,
    GradientError,
    GuardReport,
    LeafResult,
    ModeResult,
    Reason,
    Report,
    Severity,
    Verdict,
)

if TYPE_CHECKING:
    from gradproof import compat as compat
    from gradproof import course as course
    from gradproof import jax as jax
    from gradproof import scipy as scipy
    from gradproof import torch as torch
    from gradproof._ask._array_guard import Guard as Guard
    from gradproof._ask._array_guard import guard as guard
    from gradproof._ask._kernel import compare_with_reference as compare_with_reference
    from gradproof._ask._layer import check_layer as check_layer
    from gradproof._ask._session import Session as Session

__version__: str

# `jax`, `scipy` and `torch` are left out: `from gradproof import *` must not load them, nor take their names.
__all__ = [
    "Case",
    "ClaimError",
    "Cost",
    "Finding",
    "FunctionError",
    "GradientError",
    "GradproofError",
    "GradproofWarning",
    "Guard",
    "GuardReport",
    "LeafResult",
    "ModeResult",
    "Progress",
    "Reason",
    "Report",
    "Session",
    "Severity",
    "UsageError",
    "Verdict",
    "__version__",
    "assert_grad",
    "check",
    "check_layer",
    "compare_with_reference",
    "compat",
    "course",
    "guard",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from gradproof._ask._check import installed_version

        return installed_version()
    if name == "Session":
        from gradproof._ask._session import Session

        return Session
    if name == "compare_with_reference":
        from gradproof._ask._kernel import compare_with_reference

        return compare_with_reference
    if name == "check_layer":
        from gradproof._ask._layer import check_layer

        return check_layer
    if name in ("Guard", "guard"):
        from gradproof._ask import _array_guard

        return getattr(_array_guard, name)
    if name in ("compat", "course", "jax", "scipy", "torch"):
        import importlib

        return importlib.import_module(f"gradproof.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "jax", "scipy", "torch"})
