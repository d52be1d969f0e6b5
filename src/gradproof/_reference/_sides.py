"""Draws for a kernel and its reference: the same inputs and cotangents for both, in three precisions.

Truth is the reference in float64 on the kernel's own (rounded) inputs, the baseline the reference as the kernel's
precision computes it. Each draw moves the inputs by a few roundings, so that everything inside is rounded anew, and
takes new cotangents.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradproof._backends._sides import Spec
from gradproof._base._ratio import allowed_ratio
from gradproof._reference._corners import Corner, around
from gradproof._reference._regions import Bools, Looked, Tally, Where, locate, look

Array = NDArray[Any]
Floats = NDArray[np.float64]

# How far a draw moves the inputs, in machine epsilons of their dtype.
MOVED = 4.0
# The same, relative, where it is asked whether errors are rounding's: a few roundings of bfloat16, so that those of a
# sum in it come out anew, while another formula errs as it did.
MOVED_FURTHER = 2.0**-5
# Draws with which an accusation is confirmed, and whose errors are held against those of the first ones.
AGAIN = 8
# Of so many first draws the errors are kept, entry by entry.
KEPT = 4
# Cotangents of a dtype with a narrow range are scaled by powers of 2 within these, as training scales its loss.
SMALLEST, LARGEST = 2.0**-8, 2.0**12
# A dtype with a smaller largest number has a narrow range.
NARROW = 1e6


class Sides(Protocol):
    """A kernel and its reference. What comes and goes are arrays of float64 or complex128.

    Attributes
    ----------
    inputs, outputs : tuple of Spec
    precision : str
        What the baseline was computed in, in words.
    narrow : tuple of str
        Outputs that the reference returned in less than float64 for arguments in float64.
    has_gradients : bool
        Whether the answers hold gradients, or outputs alone.
    """

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    precision: str
    narrow: tuple[str, ...]
    has_gradients: bool

    def point(self) -> list[Array]:
        """The differentiated inputs."""
        ...

    def rounded(self, values: Sequence[Array]) -> list[Array]:
        """Values of the inputs as the kernel's dtypes hold them."""
        ...

    def rounded_cotangents(self, cotangents: Sequence[Array]) -> list[Array]:
        """Cotangents as the dtypes of the outputs hold them."""
        ...

    def kernel(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """All outputs, then all gradients."""
        ...

    def baseline(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The same of the reference in the kernel's precision."""
        ...

    def truth(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The same of the reference in float64."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corners:
    """Entries of a gradient of the reference that are not unique, in any draw.

    Attributes
    ----------
    varying : ndarray of bool
    moved : ndarray of bool
        Those for which another subgradient than the reference's own was taken for the truth.
    """

    varying: Bools
    moved: Bools


@dataclasses.dataclass(kw_only=True)
class Compared:
    """One tensor, real or a part of a complex one, and what was seen of it.

    Attributes
    ----------
    spec : Spec
    path : str
    is_output : bool
    tally : Tally
    allowed : float
    looked : Looked
    where : Where or None
        The place that is wrong.
    confirmed : bool
        Whether it was wrong there in other draws, too.
    alike : float
        The correlation of its errors there in two draws of the same cotangent: near 1 where another formula errs, near
        0 where rounding does.
    worst : tuple of int
        The entry that errs most there, and what `worst_values` are: its value in the kernel and in truth.
    corners : Corners
    """

    spec: Spec
    path: str
    is_output: bool
    tally: Tally
    allowed: float = 1.0
    looked: Looked = dataclasses.field(default_factory=lambda: Looked(failing={}, ratio=0.0, noticeable=None))
    where: Where | None = None
    confirmed: bool = False
    alike: float = 1.0
    worst: tuple[int, ...] = ()
    worst_values: tuple[float, float] = (0.0, 0.0)
    corners: Corners = dataclasses.field(init=False)
    kept: list[Floats] = dataclasses.field(default_factory=list[Floats])

    def __post_init__(self) -> None:
        none = np.zeros(self.tally.shape, dtype=bool)
        self.corners = Corners(varying=none, moved=none)

    @property
    def is_wrong(self) -> bool:
        """Whether it errs more than its reference explains, seen twice; or has no number where truth has one."""
        return (self.where is not None and self.confirmed) or bool(self.tally.lost.any())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """All tensors, outputs first, and what it took.

    Attributes
    ----------
    tensors : tuple of Compared
    random : tuple of str
        Tensors that a second call of the kernel gave with other values, by more than rounding.
    evaluations : int
        Calls of the kernel.
    draws : int
    """

    tensors: tuple[Compared, ...]
    random: tuple[str, ...]
    evaluations: int
    draws: int


class Draws:
    """The inputs and cotangents of every draw: a pure function of the seed and of two numbers."""

    def __init__(self, sides: Sides, seed: int) -> None:
        self._sides, self._seed = sides, seed
        self._point = sides.point()
        self._scale = 1.0

    def inputs(self, number: int, least: float = 0.0) -> list[Array]:
        """The inputs, moved by a few roundings, or by `least`, relative; number 0 are the user's own."""
        if number == 0:
            return self._sides.rounded(self._point)
        generator = np.random.default_rng((self._seed, 1, number))
        moved: list[Array] = []
        for spec, value in zip(self._sides.inputs, self._point, strict=True):
            factors = 1 + max(MOVED * 2 * spec.unit, least) * generator.uniform(-1, 1, value.shape)
            # (Infinity times a factor is nan in one part of a complex entry.)
            moved.append(np.multiply(value, factors, out=value.copy(), where=np.isfinite(value)))
        return self._sides.rounded(moved)

    def cotangents(self, number: int, moved: float = 0.0) -> list[Array]:
        """Normal numbers for every output; those of the same number moved by `moved`, relative."""
        generator = np.random.default_rng((self._seed, 2, number))
        moving = np.random.default_rng((self._seed, 3, number))
        drawn: list[Array] = []
        for spec in self._sides.outputs:
            normal = generator.standard_normal((*spec.shape, 2) if spec.is_complex else spec.shape) * self._scale
            if moved:
                normal = normal * (1 + moved * moving.uniform(-1, 1, normal.shape))
            drawn.append(normal[..., 0] + 1j * normal[..., 1] if spec.is_complex else normal)
        return self._sides.rounded_cotangents(drawn)

    def fit(self, gradients: Sequence[Array]) -> None:
        """Scale the cotangents so that gradients fit into a narrow range, from those that truth has at first."""
        specs = self._sides.inputs
        if all(spec.largest > NARROW for spec in (*specs, *self._sides.outputs)):
            return
        sizes = [float(np.sqrt(np.mean(np.abs(one[np.isfinite(one)]) ** 2))) for one in gradients if one.size]
        sizes = [size for size in sizes if 0 < size < math.inf]
        if sizes:
            middle = math.exp(sum(map(math.log, sizes)) / len(sizes))
            self._scale = min(max(2.0 ** -round(math.log2(middle)), SMALLEST), LARGEST)


def compare(sides: Sides, *, seed: int, draws: int, chance: float) -> Comparison:
    """Hold a kernel against its reference.

    Parameters
    ----------
    sides : Sides
    seed, draws : int
    chance : float
        The probability at most that a right kernel is accused of anything.
    """
    drawn = Draws(sides, seed)
    values, cotangents = drawn.inputs(0), drawn.cotangents(0)
    drawn.fit(sides.truth(values, cotangents)[len(sides.outputs) :])
    before = sides.kernel(values, drawn.cotangents(0))
    seen = _Seen(sides, drawn, draws, chance)
    random = _random(seen.tensors, before, seen.first)
    evaluations = draws + 1
    if seen.suspects and not random:
        if any(not one.is_output for one in seen.suspects):
            with_corners = _Seen(sides, drawn, draws, chance, _Corners(sides, seed, seen.suspects))
            seen = with_corners if with_corners.has_corners else seen
            evaluations += draws
        _confirm(sides, drawn, seen, draws)
        evaluations += AGAIN
    return Comparison(tensors=tuple(seen.tensors), random=random, evaluations=evaluations, draws=draws)


class _Corners:
    """Takes the subgradients nearest to the kernel's gradients for the truth, in the arrays that are suspected."""

    def __init__(self, sides: Sides, seed: int, suspects: Sequence[Compared]) -> None:
        self._sides, self._seed = sides, seed
        self._paths = {one.path for one in suspects if not one.is_output}

    def settle(
        self,
        number: int,
        values: Sequence[Array],
        cotangents: Sequence[Array],
        tensors: Sequence[Compared],
        answers: tuple[list[Array], list[Array], list[Array]],
    ) -> tuple[list[Floats], list[Floats]]:
        """Truth and baseline of one draw, part by part, each beside the subgradient that is nearest to it."""
        count = len(self._sides.outputs)
        truth, baseline, kernel = map(parts, answers)
        asked = [i for i, one in enumerate(tensors) if one.path in self._paths]

        def gradients(nearby: Sequence[Array]) -> list[Floats]:
            found = parts(self._sides.truth(nearby, cotangents))
            return [found[i] for i in asked]

        with np.errstate(all="ignore"):
            towards = [k - t for k, t in zip(answers[2][count:], answers[0][count:], strict=True)]
            towards = [np.where(np.isfinite(one), one, 0.0) for one in towards]
            generator = np.random.default_rng((self._seed, 4, number))
            nearby = around(values, [truth[i] for i in asked], gradients, towards, generator)
        for i, gradient in zip(asked, nearby or (), strict=False):
            tally = tensors[i].tally
            least = np.sqrt(tally.rounding(np.where(np.isfinite(truth[i]), truth[i], 0.0)))
            corner = Corner(truth[i], gradient, least)
            where = corner.varies
            if not where.any():
                continue
            ours, theirs = corner.nearest(kernel[i]), corner.nearest(baseline[i])
            moved = np.zeros(where.shape, dtype=bool)
            moved[where] = np.abs(ours - truth[i][where]) > tensors[i].allowed * least[where]
            corners = tensors[i].corners
            tensors[i].corners = Corners(varying=corners.varying | where, moved=corners.moved | moved)
            settled, base = truth[i].copy(), baseline[i].copy()
            settled[where] = ours
            base[where] += ours - theirs
            truth[i], baseline[i] = settled, base
        return truth, baseline


class _Seen:
    """All tensors after the first draws, and those that err more than their reference explains."""

    def __init__(self, sides: Sides, drawn: Draws, draws: int, chance: float, corners: _Corners | None = None) -> None:
        self.tensors = list(_tensors(sides))
        self.corners = corners
        terms = _terms(sides)
        for one in self.tensors:
            longest = max(terms, _largest(sides) // max(math.prod(one.tally.shape), 1))
            one.allowed = allowed_ratio(one.spec.unit, longest)
        for number in range(draws):
            values, cotangents = drawn.inputs(number), drawn.cotangents(number)
            truth, baseline, kernel = _answers(sides, values, cotangents, number, self)
            if number == 0:
                self.first = kernel
            for one, t, b, k in zip(self.tensors, truth, baseline, kernel, strict=True):
                with np.errstate(invalid="ignore"):
                    if one.tally.draws < KEPT:
                        one.kept.append(k - t)
                    one.tally.add(t, b, k)
        for one in self.tensors:
            one.looked = look(one.tally, one.allowed, chance / len(self.tensors))
        self.suspects = [one for one in self.tensors if one.looked.is_wrong]

    @property
    def has_corners(self) -> bool:
        """Whether the gradient of the reference is not unique."""
        return any(bool(one.corners.varying.any()) for one in self.tensors)


def _answers(
    sides: Sides, values: Sequence[Array], cotangents: Sequence[Array], number: int, seen: _Seen
) -> tuple[list[Floats], list[Floats], list[Floats]]:
    """Truth, baseline and kernel in one draw, part by part."""
    kernel = sides.kernel(values, cotangents)
    found = sides.truth(values, cotangents), sides.baseline(values, cotangents), kernel
    if seen.corners is None:
        truth, baseline, _ = map(parts, found)
    else:
        truth, baseline = seen.corners.settle(number, values, cotangents, seen.tensors, found)
    return truth, baseline, parts(kernel)


def _tensors(sides: Sides) -> Iterator[Compared]:
    for specs, is_output in ((sides.outputs, True), (sides.inputs if sides.has_gradients else (), False)):
        for spec in specs:
            for suffix in (".real", ".imag") if spec.is_complex else ("",):
                tally = Tally(spec.shape, spec.unit, spec.tiny)
                yield Compared(spec=spec, path=spec.path + suffix, is_output=is_output, tally=tally)


def parts(arrays: Sequence[Array]) -> list[Floats]:
    """Real arrays: a complex one as its two parts."""
    found: list[Floats] = []
    for one in arrays:
        found += [np.real(one), np.imag(one)] if np.iscomplexobj(one) else [one]
    return found


def _largest(sides: Sides) -> int:
    return max((math.prod(spec.shape) for spec in (*sides.inputs, *sides.outputs)), default=1)


def _terms(sides: Sides) -> int:
    """The largest number of terms that an entry is likely to be a sum of: along an axis, or over all rows."""
    longest = 1
    for spec in (*sides.inputs, *sides.outputs):
        longest = max(longest, *spec.shape, math.prod(spec.shape[:-1])) if spec.shape else longest
    return longest


def _random(tensors: Sequence[Compared], first: Sequence[Array], again: Sequence[Array]) -> tuple[str, ...]:
    """Tensors that differ from one call to the next by more than the kernel's precision explains."""
    found: list[str] = []
    for one, a, b in zip(tensors, parts(first), parts(again), strict=True):
        with np.errstate(invalid="ignore"):
            apart = np.where(np.isfinite(a) & np.isfinite(b), a - b, 0.0)
        explained = max(float(one.tally.theirs.sum()), float(one.tally.floor.sum())) / max(one.tally.draws, 1)
        # (Each of the two calls errs.)
        if float((apart**2).sum()) > 2 * one.allowed**2 * explained:
            found.append(one.path)
    return tuple(found)


def _confirm(sides: Sides, drawn: Draws, seen: _Seen, draws: int) -> None:
    """Look at the places that are wrong in other draws, with nearly the cotangents of the first ones."""
    tensors, suspects = seen.tensors, seen.suspects
    for one in suspects:
        one.where = locate(one.looked, one.tally)
    marks = {one.path: one.where.marks(one.tally.shape) for one in suspects if one.where is not None}
    sums = {path: np.zeros(5) for path in marks}
    for number in range(AGAIN):
        values = drawn.inputs(draws + number, MOVED_FURTHER)
        cotangents = drawn.cotangents(number, MOVED_FURTHER)
        truth, baseline, kernel = _answers(sides, values, cotangents, draws + number, seen)
        for one, t, b, k in zip(tensors, truth, baseline, kernel, strict=True):
            if one.path not in marks:
                continue
            where = marks[one.path]
            tally = Tally(one.tally.shape, one.tally.unit, one.spec.tiny)
            tally.add(t, b, k)
            with np.errstate(invalid="ignore"):
                error = np.where(np.isfinite(k - t), k - t, 0.0)
            new = [tally.ours[where].sum(), max(tally.theirs[where].sum(), tally.floor[where].sum()), 0.0, 0.0, 0.0]
            if number < len(one.kept):
                before = np.where(np.isfinite(one.kept[number]), one.kept[number], 0.0)[where]
                new[2:] = [before @ error[where], before @ before, error[where] @ error[where]]
            sums[one.path] += new
            if number == 0:
                worst = int(np.argmax(np.where(where, np.abs(error), -1.0)))
                one.worst = tuple(int(i) for i in np.unravel_index(worst, error.shape))
                one.worst_values = float(k[one.worst]), float(t[one.worst])
    for one in suspects:
        ours, base, product, before, after = sums[one.path]
        one.confirmed = bool(ours > one.allowed**2 * base)
        one.alike = float(product / math.sqrt(before * after)) if before * after > 0 else 1.0
