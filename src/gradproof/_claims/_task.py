"""What all kinds of claims need: f at its point and around it, options, and which claims are values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gradproof import _contracts, _prove
from gradproof._base._errors import UsageError
from gradproof._claims._around import Around
from gradproof._claims._first_look import FirstLook
from gradproof._claims._reading import is_operator
from gradproof._claims._repeats import Repeats
from gradproof._function._primal import Primal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What all kinds of claims need: f at its point and around it, options, and the line that runs the check again.

    `values` says by keyword which claims are the derivative itself and not a function that computes it.
    """

    primal: Primal
    options: _prove.Options
    around: Around
    values: Mapping[str, bool]
    reproducer: str

    def repeats(self, keyword: str) -> Repeats | None:
        """What holds two answers of a claim against each other; None where it is called once."""
        return Repeats(keyword=keyword, options=self.options, around=self.around) if self.options.repeats else None

    def precision(self, look: FirstLook) -> float:
        """What products of the claim may be off by in rounding, relative."""
        return max(look.eps, self.options.claim_eps)


def is_value(claim: Any, primal: Primal, keyword: str) -> bool:
    """Whether the claim is the derivative itself and not a function that computes it."""
    if keyword in ("vjp", "jvp", "hvp"):
        if not callable(claim):
            value = {"vjp": "jac", "jvp": "jac", "hvp": "hess"}[keyword]
            raise UsageError(
                f"`{keyword}` must be callable, got {type(claim).__name__}: the matrix itself is claimed as `{value}`."
            )
        return False
    if keyword in ("jac", "hess") and is_operator(claim):
        return True
    return _contracts.is_value(claim, primal, keyword)
