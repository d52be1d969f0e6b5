"""A drop-in for `scipy.optimize.check_grad`, whose reference is measured with an error bar.

One changed import line: ``from gradproof.compat.scipy import check_grad``.
"""

from __future__ import annotations

import functools as ft
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._ask import _scipy
from gradproof._base._errors import FunctionError, GradproofWarning, NotFiniteError, UsageError
from gradproof._base._names import function_name
from gradproof._claims._around import natural_sizes
from gradproof._function._primal import Primal
from gradproof._function._problem import Problem
from gradproof._line import slope
from gradproof.compat._nothing_tested import not_finite_text

__all__ = ["check_grad"]

Vector = NDArray[np.float64]

# SciPy's default step, which stands in the signature and is not used.
_EPSILON = math.sqrt(np.finfo(float).eps)
# Values of f that are judged together.
_BLOCK = 50_000


def check_grad(
    func: Callable[..., Any],
    grad: Callable[..., Any],
    x0: Any,
    *args: Any,
    epsilon: Any = _EPSILON,
    direction: str = "all",
    rng: Any = None,
    seed: Any = None,
) -> float:
    """Return how far a gradient is from a measured one: the 2-norm of the difference.

    Like `scipy.optimize.check_grad`, but the reference is extrapolated from steps that fit the function: what is left
    of a correct gradient is 1e-10 of its norm or so, whatever the scale of `func`, and not an error of the step
    `epsilon`.

    Parameters
    ----------
    func : callable
        ``func(x0, *args)`` -> float, or array_like, shape (m,).
    grad : callable
        ``grad(x0, *args)`` -> array_like, shape (n,), or (m, n) for a vector-valued `func`.
    x0 : array_like, shape (n,)
        The point.
    *args
        Further arguments of both callables.
    epsilon : float
        Accepted and ignored: the steps are derived.
    direction : {"all", "random"}
        "all" moves every entry by itself: eight evaluations for each where `func` is smooth.
        "random" returns the absolute error along one random direction, standard normal and not normalised, as SciPy
        does.
    rng, seed : numpy.random.Generator, int or None
        For "random" only; `seed` is the older name.

    Returns
    -------
    float
        Absolute, as SciPy's: 1e-6 is a small error of a gradient of norm 1, and a total one of a gradient of norm
        1e-6. nan where `func` is not finite around `x0`, and, with a `GradproofWarning`, where no entry of `x0` is
        finite. `gradproof.scipy.check_minimize` gives a verdict instead.

    Raises
    ------
    ValueError
        If `direction` is another word, or "random" with a vector-valued `func`.

    Notes
    -----
    Whatever the callables raise passes through.

    Examples
    --------
    >>> from scipy.optimize import rosen, rosen_der
    >>> from gradproof.compat.scipy import check_grad
    >>> bool(check_grad(rosen, rosen_der, [1.3, 0.7, 0.8]) < 1e-7)
    True
    >>> float(check_grad(rosen, lambda x: 1.01 * rosen_der(x), [1.3, 0.7, 0.8]))  # wrong on purpose
    5.92397
    """
    del epsilon
    if direction not in ("all", "random"):
        raise ValueError(f"{direction} is not a valid string for ``direction`` argument")
    if rng is not None and seed is not None:
        raise TypeError("check_grad() got multiple values for argument now known as `rng`")
    point = _scipy.variables(x0)
    claim = np.asarray(grad(point.copy(), *args), dtype=np.float64)
    if direction == "random" and claim.ndim > 1:
        raise ValueError("'random' can only be used with scalar valued func")
    try:
        primal = Primal(_scipy.Adapted(func, _scipy.vector), (point, *args), is_vector=True)
        m, n = primal.outputs.size, point.size
        if claim.shape not in ((n,), (m, n)) or (claim.ndim == 1 and m > 1):
            raise UsageError(f"`grad` returned shape {claim.shape} for {m} values of `func` and {n} entries of `x0`.")
        measuring = _Measuring(primal, claim.reshape(m, n))
        if direction == "all":
            return np.float64(np.linalg.norm(measuring.everywhere()))
        generator = rng if rng is not None else seed
        if not isinstance(generator, (np.random.Generator, np.random.RandomState)):
            generator = np.random.default_rng(generator)
        return np.float64(np.abs(measuring.along(generator.standard_normal(n))[0]))
    except NotFiniteError:
        if not np.isfinite(point).any():
            text = not_finite_text(function_name(func), "argument 0")
            warnings.warn(text, GradproofWarning, stacklevel=2)
        return math.nan
    except FunctionError as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


class _Measuring:
    """Errors of a claimed matrix (m, n), along a direction and entry by entry."""

    def __init__(self, primal: Primal, matrix: Vector) -> None:
        self._problem = Problem(primal, {0: np.zeros(matrix.shape[1])})
        self._matrix = matrix
        self._size = natural_sizes(primal, (0,))
        self._rows = np.linalg.norm(matrix * self._size, axis=1)
        self._jitter = np.random.default_rng(0)
        self._is_finite = bool(np.isfinite(matrix).all() and np.isfinite(primal.output_values()).all())

    def along(self, v: Vector) -> Vector:
        """Claimed less measured slopes along v (m,)."""
        length = float(np.linalg.norm(v / self._size)) / math.sqrt(len(v))
        return self._matrix @ v - self._slopes(lambda t: self._at(v, t / length), self._rows / length) * length

    def everywhere(self) -> Vector:
        """The same along every entry by itself (m, n): those of a block share their steps."""
        m, n = self._matrix.shape
        reference = np.empty((n, m))
        count = max(1, _BLOCK // m)
        for start in range(0, n, count):
            block = range(start, min(start + count, n))
            found = self._slopes(ft.partial(self._beside, block), np.tile(self._rows / math.sqrt(n), len(block)))
            reference[block.start : block.stop] = found.reshape(-1, m)
        return self._matrix - (reference / self._size[:, None]).T

    def _slopes(self, values: Callable[[float], Vector], scale: Vector) -> Vector:
        """Derivatives at 0 of all values of a function of one number."""
        line = slope(self._jitter, eps=self._problem.eps, scale=scale)
        try:
            steps = next(line)
            while True:
                steps = line.send(np.array([values(step) for step in steps.tolist()]))
        except StopIteration as finished:
            return finished.value.value if self._is_finite else np.full(len(scale), math.nan)

    def _at(self, v: Vector, step: float) -> Vector:
        return self._problem.outputs(v, step)[0]

    def _beside(self, block: range, step: float) -> Vector:
        """All values of f with one entry after the other moved by a share of its size (k m,)."""
        if step == 0:
            return np.tile(self._at(self._size, 0.0), len(block))
        v = np.zeros(len(self._size))
        found: list[Vector] = []
        for j in block:
            v[j] = self._size[j]
            found.append(self._at(v, step))
            v[j] = 0.0
        return np.concatenate(found)
