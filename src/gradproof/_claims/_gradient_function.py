"""The user's gradient as a function of its own, whose derivative is the second one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends, _contracts
from gradproof._base._away import is_from_handler
from gradproof._base._precision import is_double
from gradproof._claims._around import Around
from gradproof._claims._curves import COARSE, COARSE_LOW
from gradproof._claims._random_lines import random_lines
from gradproof._function._layout import join_parts
from gradproof._function._primal import Primal
from gradproof._function._problem import coarsest_eps

Vector = NDArray[np.float64]
Function = Callable[..., Any]

# Lines along which a gradient is looked at, from twice the widest step of a second difference down to a part of it
# whose square still leaves a second difference of f some digits. Each next step is a quarter of the one before.
LINES, LEVELS, FINER = 3, 7, 4.0


class _Gradient:
    """A gradient that is called at other points than f: right after f there, if it goes by what f has kept.

    That it does is seen where it stands still, or raises, while its point moves, and does not once f was called.
    """

    TRIALS = 3

    def __init__(self, primal: Primal, grad: Function) -> None:
        self._primal, self._grad = primal, grad
        self._after_f = False
        self._trials = 0 if primal.stands_alone else self.TRIALS
        self._at_point: Vector | None = None

    def at(self, args: Sequence[Any], *, is_away: bool) -> Any:
        """The gradient at a point, as it was returned."""
        if not is_away:
            self._primal.look()
            returned = _backends.copied(self._grad(*args))
            self._at_point = self._flat(returned)
            return returned
        if self._after_f:
            return self._after(args)
        try:
            returned = _backends.copied(self._grad(*args))
        except Exception as error:
            if not self._trials or is_from_handler(error):
                raise
            self._trials -= 1
            try:
                returned = self._after(args)
            except Exception:
                raise error from None
            self._after_f = True
            return returned
        if self._trials and self._stands_still(returned):
            self._trials -= 1
            again = self._after(args)
            self._after_f = not self._stands_still(again)
            return again
        self._trials = 0
        return returned

    def _after(self, args: Sequence[Any]) -> Any:
        self._primal.count()
        self._primal.f(*_backends.copied(tuple(args)))
        return _backends.copied(self._grad(*args))

    def _stands_still(self, returned: Any) -> bool:
        now = self._flat(returned)
        return self._at_point is not None and now is not None and np.array_equal(now, self._at_point)

    def _flat(self, returned: Any) -> Vector | None:
        gradients = _contracts.judge_claim(self._primal, returned, "grad").gradients
        return np.concatenate([np.ravel(gradients[i]) for i in sorted(gradients)]) if gradients else None


def gradient_function(primal: Primal, grad: Function) -> Primal:
    """The user's gradient as a function with outputs in the order and shapes of the leaves.

    It is differentiated once more: its form has been judged before.
    """
    base = primal
    asked = _Gradient(base, grad)

    def values(*args: Any) -> Any:
        if base.has_edge and not base.is_defined(*args):
            raise ArithmeticError("beyond an edge of the function")
        returned = asked.at(args, is_away=derived.is_away)
        judged = _contracts.judge_claim(base, returned, "grad")
        arrays = [
            judged.gradients.get(i, np.full(leaf.shape, math.nan) if leaf.size else np.zeros(leaf.shape))
            for i, leaf in enumerate(base.leaves)
        ]
        arrays = [array.astype(leaf.numpy_dtype, copy=False) for array, leaf in zip(arrays, base.leaves, strict=True)]
        parts = [tuple(arrays[i] for i in origin.parts) for origin in base.origins]
        arrays = [part[0] if len(part) == 1 else join_parts(*part) for part in parts]
        return arrays[0] if len(arrays) == 1 and not base.keys[0][1:] else arrays

    setattr(values, "__wrapped__", base.f)  # noqa: B010  (names of arguments are read from the signature that it wraps)
    derived = Primal(values, base.given, base.given_wrt, name=primal.name, is_vector=True)
    derived.short_name = "grad"
    derived.parent = base
    derived.refusals = base.refusals
    return derived


def constant_within(derived: Primal, around: Around, seed: int) -> float | None:
    """The part of its natural size that x may move by while a gradient keeps its bits; None where that is too little.

    It is 1 for a gradient that is not seen to move at all.
    """
    widest = 2 * (COARSE if is_double(coarsest_eps(derived.leaves)) else COARSE_LOW)
    level = 0
    for problem, v, first, last in random_lines(derived, around, seed, LINES):
        at_point, _ = problem.outputs(v, 0.0)
        while level < LEVELS:
            step = widest / FINER**level
            sides = [problem.outputs(v, t)[0] for t in (step, -step) if first <= t <= last]
            if sides and all(np.array_equal(one, at_point) for one in sides):
                break
            level += 1
    derived.look_again()
    return FINER**-level if level < LEVELS else None
