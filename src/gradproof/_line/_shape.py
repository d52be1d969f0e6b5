"""What phi looks like near 0: smooth, or jumping from piece to piece.

A solver that stops at a tolerance is smooth within a piece and jumps where its iteration count changes. Within a piece
its slope differs from that of the exact solution, which a correct gradient gives. A kinked f jumps nowhere.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from gradproof._line._slope import Jump

Floats = NDArray[np.float64]
Asking = Generator[Floats, Floats, "Shape"]

# Spacing of the first points, relative to the natural size of x: -4 .. 4 times this; the walk goes on from there. All
# of them must fit into one piece of phi, and pieces of a solver may be as short as the finest of these.
SPACINGS = (0.05, 0.01, 0.002, 4e-4, 8e-5, 1.6e-5)
# Central difference of order 8 (Fornberg, Mathematics of Computation 51 (1988), table 1).
ORDER8 = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
# Points that the first polynomial goes through, and those that predict on the way: fewer
# where noise asks for that.
FIRST, WINDOW, LEAST = 9, 13, 5
# A jump of size d at distance t makes the slope within the piece uncertain by up to this many d / t.
REACH = 30.0
# Pieces that end in jumps of size J deviate in slope by J over their length. To meet the jump at less than a thousandth
# of that length is no accident: it is one of f's own, and says nothing of the slope.
LONE = 1e3
# How far out a jump is looked for, in natural sizes of x: for deviations as small as those that a solver leaves, and
# for others.
FAR, NEAR = 2.5, 0.3
# Steps grow by up to this factor; halvings that tell a jump from a kink; values at most, far out and near.
GROWTH, HALVINGS, BUDGET, BUDGET_NEAR = 2.0, 20, 300, 60
# A jump keeps its size within these factors while it is closed in on; at a pole the change grows instead.
KEEPS, GROWS = 0.5, 4.0
# A side on which steps are so small beside the way that is behind them leads to a pole or the like, and ends.
CRAMPED = 2e-4
# A walk that has come no further than this after so many values does not get through.
PATIENCE, SLOW = 100, 0.02


class ShapeKind(enum.Enum):
    """What a small deviation between claim and slope can be blamed on."""

    SMOOTH = "smooth"
    JUMPS = "jumps"
    UNCLEAR = "unclear"


@dataclasses.dataclass(frozen=True)
class Shape:
    """The kind, the slope of the polynomial through phi where it is smooth (nan elsewhere), and what jumps."""

    kind: ShapeKind
    slope: float = math.nan
    jump: Jump | None = None


def shape_near(deviation: float, f0: float, noise: float, *, far: bool = False, walks: bool = True) -> Asking:
    """Judge whether phi is smooth enough for `deviation` to be the claim's fault.

    A polynomial through nine points around 0 gives a second, independent slope, and predicts the next values. From
    there a walk goes outwards on both sides, with steps that grow while phi is as predicted. Where it is not, the break
    is closed in on: a polynomial that is merely too stiff gets better at once, a kink shrinks with the interval, a pole
    grows, and a jump stays as large as it is. Nothing else counts as a jump: no roughness, and no walk that does not
    get through.

    Parameters
    ----------
    deviation : |claim - slope| (absolute).
    f0, noise : phi(0) and the standard deviation of one value of phi.
    far : look for jumps up to `FAR` natural sizes of x: for deviations as small as those that a solver leaves.
    walks : whether to look for jumps further out at all; they are known to be missing where not.

    Returns
    -------
    Shape
    """
    for spacing in SPACINGS:
        t = spacing * np.arange(1.0, FIRST // 2 + 1)
        values = _scalars((yield np.concatenate([t, -t])))
        ahead, behind = values[: FIRST // 2], values[FIRST // 2 :]
        if not np.isfinite(values).all():
            continue
        slope = float(ORDER8 @ (ahead - behind)) / spacing
        sides = [
            _Side(sign, sign * np.concatenate([-t[::-1], [0.0], t]), np.concatenate([back[::-1], [f0], front]), spacing)
            for sign, front, back in ((1, ahead, behind), (-1, behind, ahead))
        ]
        allowed = _Allowed(deviation / REACH, noise)
        at = 5 * spacing
        value = float(_scalars((yield np.array([at])))[0])
        if sides[0].miss(at, value, allowed) <= 1:
            if not walks:
                return Shape(ShapeKind.SMOOTH, slope)
            sides[0].take(at, value)
            found = yield from _outwards(sides, FAR if far else NEAR, allowed)
            jump = None if found is None else Jump(abs(found.jump), abs(found.at))
            if jump is None or not explains(jump, deviation):
                return Shape(ShapeKind.SMOOTH, slope)
            return Shape(ShapeKind.JUMPS, slope, jump)
    return Shape(ShapeKind.UNCLEAR)


def explains(jump: Jump, deviation: float, reach: float = REACH) -> bool:
    """Whether pieces that are as long as a jump is far, or up to `LONE` times as long, make `deviation` of it.

    A jump less than `reach` times too small for that may be one of many.
    """
    return deviation * jump.at / reach <= jump.size <= LONE * deviation * jump.at


@dataclasses.dataclass(frozen=True)
class _Allowed:
    """What phi may differ from what was predicted: `steepness` times the distance, if noise lets that be seen."""

    steepness: float
    noise: float


@dataclasses.dataclass
class _Side:
    """One side of 0: the outermost points seen (t outwards, in natural sizes), and the next step."""

    sign: int
    t: Floats
    values: Floats
    spacing: float

    @property
    def reach(self) -> float:
        return abs(float(self.t[-1]))

    def miss(self, at: float, value: float, allowed: _Allowed) -> float:
        """|value - predicted| at a place, as a multiple of what is allowed there; not finite where noise hides that."""
        limit = allowed.steepness * abs(at)
        for points in range(len(self.t), LEAST - 1, -1):
            t = self.t[-points:]
            gaps = t[:, None] - t[None, :]
            np.fill_diagonal(gaps, 1.0)
            ahead = np.tile(at - t, (points, 1))
            np.fill_diagonal(ahead, 1.0)
            weights = np.prod(ahead / gaps, axis=1)
            if 5 * allowed.noise * math.sqrt(float(weights @ weights) + 1) <= limit / 2:
                return abs(value - float(weights @ self.values[-points:])) / limit
        return math.inf

    def take(self, at: float, value: float) -> None:
        self.spacing = abs(at) - self.reach
        self.t, self.values = np.append(self.t, at)[-WINDOW:], np.append(self.values, value)[-WINDOW:]


@dataclasses.dataclass(frozen=True)
class _Break:
    """What a break turned out to be: a jump, else a kink or an edge (where the side ends), else mere stiffness."""

    asked: int
    jump: float = 0.0
    at: float = 0.0
    ends: bool = False


def _outwards(sides: list[_Side], limit: float, allowed: _Allowed) -> Generator[Floats, Floats, _Break | None]:
    """Walk outwards on both sides to a jump; a side ends at the limit, at a kink, or where phi does."""
    asked = 0
    while sides and asked < (BUDGET if limit > NEAR else BUDGET_NEAR):
        side = min(sides, key=lambda side: side.reach)
        if side.reach >= limit or (asked >= PATIENCE and side.reach < SLOW):
            return None
        if side.spacing < CRAMPED * side.reach:
            sides.remove(side)
            continue
        at = side.sign * min(side.reach + side.spacing, limit)
        value = float(_scalars((yield np.array([at])))[0])
        asked += 1
        miss = side.miss(at, value, allowed)
        if miss <= 1:
            side.take(at, value)
            side.spacing *= min((0.3 / max(miss, 1e-12)) ** (1 / len(side.t)), GROWTH)
        elif not math.isfinite(miss):
            sides.remove(side)
        else:
            found = yield from _close_in(side, at, value, miss, allowed)
            asked += found.asked
            if found.jump:
                return found
            if found.ends:
                sides.remove(side)
    return None


def _close_in(
    side: _Side, bad: float, value: float, miss: float, allowed: _Allowed
) -> Generator[Floats, Floats, _Break]:
    """Halve the step at whose end phi is not as predicted, until it is clear why."""
    early = math.inf
    for halving in range(HALVINGS):
        middle = (float(side.t[-1]) + bad) / 2
        found = float(_scalars((yield np.array([middle])))[0])
        at_middle = side.miss(middle, found, allowed)
        if not math.isfinite(at_middle):
            return _Break(halving + 1, ends=True)
        if at_middle > 1:
            bad, value, miss = middle, found, at_middle
        else:
            side.take(middle, found)
            miss = side.miss(bad, value, allowed)
            if miss <= 1:
                side.take(bad, value)
                return _Break(halving + 1, ends=halving > 5)
        if halving == 2:
            early = miss
    is_jump = KEEPS * early < miss < GROWS * early
    return _Break(HALVINGS, jump=value - float(side.values[-1]) if is_jump else 0.0, at=bad, ends=True)


def _scalars(values: Floats) -> Floats:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)[:, 0]
