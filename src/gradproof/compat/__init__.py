"""Drop-ins: gradient checkers of other packages, with their signatures and with our verdicts.

No other room imports it.

One module for each package, which is imported with it: `gradproof.compat.jax`,
`gradproof.compat.torch`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradproof.compat import jax as jax
    from gradproof.compat import scipy as scipy
    from gradproof.compat import torch as torch

__all__ = ["jax", "scipy", "torch"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"gradproof.compat.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
