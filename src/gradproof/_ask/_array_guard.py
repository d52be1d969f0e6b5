"""The guard of a training loop written by hand, whose parameters are a tree of arrays: NumPy's, or JAX's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends
from gradproof._ask._call import explained
from gradproof._ask._check import Seed, check, draw_seed
from gradproof._ask._guard import Guarding, Reporting, Scene
from gradproof._base import _tree
from gradproof._base._errors import NotFiniteError, UsageError
from gradproof._base._leaf import FOREIGN
from gradproof._base._names import argument_names
from gradproof._base._precision import EPS64
from gradproof._prove import natural_size
from gradproof._report import Report

Floats = NDArray[np.float64]
Tree = Any


class ArraysStep:
    """The loss of one step as a function of arrays, along a line through them.

    Parameters
    ----------
    names : sequence of str
    arrays, gradients : sequences of arrays
        Those of the parameters, floating ones, with what is claimed for each.
    evaluate : callable
        The loss, given other arrays of the same kinds.
    wide : callable, optional
        The same in float64, given arrays of NumPy in float64.

    Raises
    ------
    UsageError
        If a gradient does not fit its array, or there is none.
    """

    def __init__(
        self,
        names: Sequence[str],
        arrays: Sequence[Any],
        gradients: Sequence[Any],
        evaluate: Callable[[list[Any]], float],
        wide: Callable[[list[Any]], float] | None = None,
    ) -> None:
        self._evaluate, self._wide, self._arrays = evaluate, wide, arrays
        points = [_backends.of(array).to_vector(array) for array in arrays]
        claims = [_backends.of(gradient).to_vector(gradient) for gradient in gradients]
        if not any(point.size for point in points):
            raise UsageError(
                "the parameters have no floating array with entries, so there is nothing to guard; for integers pass "
                "`.astype(float)`."
            )
        ends = np.cumsum([0, *(point.size for point in points)]).tolist()
        self._spans: dict[str, slice] = {}
        for name, point, claim, start in zip(names, points, claims, ends, strict=False):
            if claim.size != point.size:
                raise UsageError(f"the gradient of `{name}` must have {point.size} entries, got {claim.size}.")
            self._spans[name] = slice(start, start + point.size)
        self._makers = [_backends.of(array).maker(array, start) for array, start in zip(arrays, ends, strict=False)]
        self._point, self._claim = np.concatenate(points), np.concatenate(claims)
        self._sizes = {name: natural_size(self._point[span]) for name, span in self._moving().items()}
        self.claim_eps = max(_eps(array) for array in arrays)
        self.eps = self.claim_eps if wide is None else EPS64
        self.paths = {name: name for name in names}
        self.still: Sequence[str] = ()
        self._v = np.zeros(0)
        self._random = np.random.default_rng(0)

    def _moving(self) -> dict[str, slice]:
        return {name: span for name, span in self._spans.items() if span.stop > span.start}

    def norms(self, seed: int) -> Mapping[str, float]:
        """The norm of the gradient times the natural size, of every array."""
        self._random = np.random.Generator(np.random.Philox(seed))
        return {
            name: float(np.linalg.norm(self._claim[span] * self._sizes[name])) for name, span in self._moving().items()
        }

    def draw(self, factors: Mapping[str, float]) -> tuple[float, int]:
        """Draw a direction, uniform on the sphere; return what the gradient claims along it, and how many move."""
        v = self._random.standard_normal(len(self._point))
        v *= math.sqrt(len(v) / float(v @ v))
        for name, factor in factors.items():
            v[self._spans[name]] *= factor * self._sizes[name]
        self._v = v
        return float(self._claim @ v), len(v)

    def values(self, steps: Floats) -> Floats:
        """The loss along the line; nan where it raises."""
        return np.array([self._along(step) for step in steps.tolist()])

    def _along(self, step: float) -> float:
        moved = self._point + step * self._v
        try:
            if self._wide is not None:
                shapes = [np.shape(array) for array in self._arrays]
                parts = [moved[span] for span in self._spans.values()]
                return self._wide([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])
            arrays = [make(moved) for make in self._makers]
            # What rounding makes of the step counts as far as the gradient tells.
            rounded = np.concatenate([_backends.of(array).to_vector(array) for array in arrays])
            return self._evaluate(arrays) - float(self._claim @ (rounded - moved))
        except Exception:
            return math.nan  # away from the point it may raise whatever it likes


def _eps(array: Any) -> float:
    dtype = _backends.of(array).dtype_of(array)
    return FOREIGN[dtype][0] if dtype in FOREIGN else float(np.finfo(dtype).eps)


def _step(f: Callable[..., Any], args: tuple[Any, ...], gradient: Tree) -> ArraysStep:
    """The step of a loop in NumPy.

    Raises
    ------
    UsageError
        If the gradient does not have the structure of the parameters.
    """
    others = args[1:]
    flat = _tree.flatten(args[:1], argument_names(f, 1))
    claims = {leaf.slot: leaf.value for leaf in _tree.flatten((gradient,), ("gradient",)).leaves}
    if gradient is None:
        raise UsageError("`grad` returned None; did you forget `return`?")
    if len(claims) != len(flat.leaves):
        raise UsageError(
            f"the gradient must have {len(flat.leaves)} arrays, one for each array of parameters, got {len(claims)}."
        )
    leaves = [leaf for leaf in flat.leaves if _backends.of(leaf.value).kind_of(leaf.value) == "f"]
    values: list[Any] = [None] * len(flat.leaves)
    for leaf in flat.leaves:
        values[leaf.slot] = leaf.value

    def evaluate(arrays: list[Any]) -> float:
        moved = list(values)
        for leaf, array in zip(leaves, arrays, strict=True):
            moved[leaf.slot] = array
        return float(np.asarray(f(*flat.structure.unflatten(moved), *_backends.copied(others))).item())

    return ArraysStep(
        [leaf.path for leaf in leaves],
        [leaf.value for leaf in leaves],
        [claims[leaf.slot] for leaf in leaves],
        evaluate,
    )


class Guard(Reporting):
    """What `gradproof.guard` returns: the gradient function, watched.

    Call it as the gradient: ``guard(parameters, *others)`` returns what the gradient function returns. Printing it says
    what was probed, and how large an error can have been.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        grad: Callable[..., Tree],
        *,
        every: int,
        budget: float,
        on_wrong: Callable[[Report], Any] | None,
        rng: Seed,
    ) -> None:
        self._f, self._grad = f, grad
        self._guarding = Guarding(every=every, budget=budget, on_wrong=on_wrong, seed=draw_seed(rng))
        self._is_on = True

    def __call__(self, *args: Any) -> Tree:
        """Return the gradient, and look at it if it is time.

        Parameters
        ----------
        *args : tree
            The parameters, and what else f and the gradient function take.

        Returns
        -------
        tree
            ``grad(*args)``.

        Raises
        ------
        GradientError
            If the gradient is wrong, and there is no `on_wrong`.
        """
        if not self._is_on:
            return self._grad(*args)
        if not self._guarding.is_due:
            self._guarding.passed()
            return self._grad(*args)
        gradient = self._grad(*args)
        value = _backends.copied(gradient)
        step = _step(self._f, args, value)
        self._guarding.visit(
            Scene(
                step=step,
                paths=step.paths,
                full=lambda seed: checked(self._f, args, seed, grad=self._grad),
                delivered=lambda seed, rtol, _: checked(self._f, args, seed, grad=value, rtol=rtol),
            )
        )
        return gradient

    def off(self) -> None:
        """End the watch: from now on this is just the gradient function."""
        self._is_on = False


def checked(f: Callable[..., Any], args: tuple[Any, ...], seed: int, **claim: Any) -> Report | None:
    """Check a gradient with respect to the first argument; None where it or the point is not finite."""
    try:
        return check(f, args, wrt=0, rng=seed, **claim)
    except NotFiniteError:
        return None


@explained("gradproof.guard(f, grad)")
def guard(
    f: Callable[..., Any],
    grad: Callable[..., Tree],
    *,
    every: int = 100,
    budget: float = 0.01,
    on_wrong: Callable[[Report], Any] | None = None,
    rng: Seed = None,
) -> Guard:
    """Watch a gradient function while a loop uses it, for a small share of the loop's time.

    The first call gets a full check, by `check`. From time to time after that follows a *probe*: two evaluations of f
    on a random line through the parameters, compared with what the gradient claims along it. If they differ, the line
    is measured again with a finer step. If they still differ, a full check follows, and only a report that is WRONG is
    an alarm.

    Parameters
    ----------
    f : callable
        ``f(parameters, *others) -> scalar``, as for `check`.
    grad : callable
        ``grad(parameters, *others)``, the gradient with respect to the parameters, in their structure.
    every : int
        Calls from one probe to the next, at least.
    budget : float
        The share of the loop's time that probes may take: if they would take more, they come less often. The first
        check does not count.
    on_wrong : callable, optional
        ``on_wrong(report)`` is called if a gradient is wrong. By default `GradientError` is raised.
    rng : int or numpy.random.Generator, optional
        As for `check`.

    Returns
    -------
    Guard
        Call it in place of `grad`. After its ``off()`` it is just `grad`.

    Raises
    ------
    UsageError
        If an argument cannot be used.

    See Also
    --------
    gradproof.torch.guard, gradproof.jax.guard

    Examples
    --------
    >>> import numpy as np
    >>> import gradproof
    >>> cost = lambda w: np.sum((w - 1) ** 2)
    >>> gradient = gradproof.guard(cost, lambda w: 2 * (w - 1), every=10, rng=0)
    >>> w = np.zeros(3)
    >>> for _ in range(100):
    ...     w = w - 0.1 * gradient(w)
    >>> gradient.report().first.verdict
    <Verdict.CORRECT: 'CORRECT'>
    >>> gradient.off()
    """
    for name, value in (("f", f), ("grad", grad)):
        if not callable(value):
            raise UsageError(f"`{name}` must be callable, got {type(value).__name__}.")
    return Guard(f, grad, every=every, budget=budget, on_wrong=on_wrong, rng=rng)
