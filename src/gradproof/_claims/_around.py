"""What else is known of f: the domain that no step may leave, and independent witnesses of its slopes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends, _run
from gradproof._base._leaf import Leaf
from gradproof._base._pieces import is_large
from gradproof._base._precision import EPS64
from gradproof._function._bounds import flat_bounds
from gradproof._function._primal import Primal
from gradproof._prove._directions import leaf_size
from gradproof._reference import ComplexStep, Trusted

Vector = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The options `domain` and `reference` as they were passed."""

    domain: Any = None
    reference: Callable[..., Any] | None = None

    def of(self, primal: Primal) -> Around:
        """The same for one f at its point.

        Raises
        ------
        UsageError
            If the domain does not fit.
        """
        bounds = None if self.domain is None else flat_bounds(primal, self.domain)
        return Around(bounds=bounds, reference=self.reference, has_witnesses=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Around:
    """What is known of one f beside its point.

    Attributes
    ----------
    bounds : (lower, upper), each (n,) over all leaves, or None
    reference : callable or None
        The user's trusted f.
    has_witnesses : bool
        Whether independent witnesses are asked at all: those of f know nothing of its gradient.
    """

    bounds: tuple[Vector, Vector] | None = None
    reference: Callable[..., Any] | None = None
    has_witnesses: bool = False

    def without_witnesses(self) -> Around:
        """The same domain, for a function that is not f itself."""
        return Around(bounds=self.bounds)

    def sides(self, primal: Primal, measured: Sequence[int]) -> tuple[Vector | None, Vector | None]:
        """Lower and upper bound of the entries of some leaves, one after the other; None where there are none."""
        if self.bounds is None:
            return None, None
        spans = [slice(primal.leaves[i].start, primal.leaves[i].stop) for i in measured]
        lower, upper = (np.concatenate([side[span] for span in spans]) for side in self.bounds)
        return lower, upper

    def witnesses(
        self,
        primal: Primal,
        claims: Mapping[int, Any],
        leaves: tuple[Leaf, ...],
        eps: float,
        *,
        cotangent: Vector | None = None,
        is_vector: bool = False,
    ) -> dict[str, Trusted | ComplexStep]:
        """Those that may be asked about f, or about <u, f> for a cotangent u, by name; the best first."""
        found: dict[str, Trusted | ComplexStep] = {}
        if self.reference is not None:
            found["reference"] = Trusted(primal, self.reference, claims, cotangent, is_vector=is_vector)
        is_numpy = all(not _backends.is_array(o.value) or isinstance(o.value, np.ndarray) for o in primal.origins)
        is_plain = is_numpy and not primal.layout.is_complex and not is_large(primal.point)
        is_plain = is_plain and not primal.layout.left_out
        if self.has_witnesses and eps == EPS64 and is_plain and primal.deferred is None:
            found["complex"] = ComplexStep(primal, sorted(claims), leaves, cotangent)
        return found


def as_runners(witnesses: Mapping[str, Trusted | ComplexStep]) -> dict[str, _run.Witness]:
    """The witnesses as those who answer a scalar proof."""
    return dict(witnesses)


def reach(point: Vector, v: Vector, lower: Vector | None, upper: Vector | None) -> tuple[float, float]:
    """The smallest and the largest t for which x + t v lies in the domain."""
    if lower is None or upper is None:
        return -np.inf, np.inf
    moving = v != 0
    with np.errstate(divide="ignore", invalid="ignore"):
        to_lower, to_upper = ((lower - point) / v)[moving], ((upper - point) / v)[moving]
    first, second = np.minimum(to_lower, to_upper), np.maximum(to_lower, to_upper)
    return float(np.max(first, initial=-np.inf)), float(np.min(second, initial=np.inf))


def natural_sizes(primal: Primal, measured: Iterable[int]) -> Vector:
    """How far each entry of some leaves may reasonably move, whatever the domain."""
    pieces = [
        np.broadcast_to(leaf_size(leaf, primal.point), (leaf.size,)) for leaf in (primal.leaves[i] for i in measured)
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0)
