"""The trial of one group of leaves: what was heard of it, what to ask next, and the ruling.

It never measures: it asks for a line, hears it, and says what to ask next. So it runs on made-up lines as well as on a
function's, and its error rates can be simulated (`benchmarks/simulate_trial.py`). A line goes this way:

- *look*: not finite, or f never moved: UNSURE. Kinked: repeat. Else: weigh.
- *repeat*: the same kink: close in. Still bent: UNSURE. Else: weigh the longer ladder.
- *close in*: the finest steps show the kink, too: the second time it is a KINK. Else as in repeat.
- *weigh*: a small surprise, once: look first. Outside of bar and allowance: confirm. Inside: witness or hold.
- *confirm*: EXCLUDED is WRONG, or a kink that hides. AGREES: hold. IRREGULAR: widen bar and allowance, hold.
- *witness*: disagrees: UNSURE. Agrees: narrow the bar, hold.
- *hold*: one bar far wider than the rest: remeasure once. The bound too wide, and more can help: look. Nothing left in
  the plan: AGREES with a bound.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import TypeAlias

from gradproof._base._precision import is_double
from gradproof._prove._bends import (
    bends,
    kinked,
    may_be_bent,
    merely_curved,
    same_kink,
    slightly_bent,
    would_move,
)
from gradproof._prove._confirm import Look as Second
from gradproof._prove._confirm import SecondLook
from gradproof._prove._laws import error_bound
from gradproof._prove._measure import Measured, Tier
from gradproof._prove._tolerance import (
    OBVIOUS,
    REACH,
    RTOL64,
    TYPICAL_SLACK_LOW,
    Limits,
    irregular,
    natural_scale,
    typical_bound,
)
from gradproof._report import Reason

# Random directions: first, and of a sparing trial. The bound goes with delta**(-1 / m), with m of them (see `_laws`):
# at a confidence of 1 - 1e-6 the second is worth a factor of 2800, the third 14, the fourth 3.8.
FIRST_LINES, FIRST_SPARING = 3, 2
# Further ones where they can make the bound narrow enough; the last of them is worth a factor of 1.2.
EXTRA_LINES = 6
# The same in low precision, beyond the first: from 9 to 24 of them the bound shrinks by another factor of 3, at a pair
# of levels for each.
EXTRA_LOW = 21
# A direction whose bar is so many times wider than all others has met an unlucky ladder, and a whole one, once, may be
# worth more than further directions. Chosen; in low precision a pair of levels will do, and a closer one is worth it.
OUTLIER, OUTLIER_LOW = 10.0, 1.3
# A deviation of this part of what is obvious, or more, may be a larger one that is small by accident.
ACCIDENT = 0.1
# A deviation of so many bars is more than their estimate.
DOUBTFUL = 10.0
# Lines that show the same kink before it is one: the second is independent of what made the first look so.
KINKS = 2
# Further directions where one excludes the claim but not a kink.
MOST_BENT = 1
# What is left of a jump of f while the step shrinks twice, and half-ulps that it is larger than: see `why_wide`.
STILL_JUMPS, LARGER = 0.5, 1e4
# A slope from one side with a bar of this share of it has not converged: a cap, beyond which nothing is told.
ONE_SIDED = 0.1


class Kind(enum.Enum):
    """What the directions of one group say."""

    AGREES = enum.auto()
    WRONG = enum.auto()
    KINK = enum.auto()
    UNSURE = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ruling:
    """What the directions of one group say.

    bound : upper confidence bound on the norm of claim error times step over the group (absolute), inf if none.
    deviation : the largest |claim - reference| along a direction (absolute).
    failing : the measurement that excludes the claim, for WRONG.
    measured : all measurements of the group's directions.
    reason : why it is UNSURE, or what would be to blame for a bound that is too wide.
    rtol : the smallest relative error worth an accusation, as f's own regularity allowed.
    unchanged : whether f kept the same bits at every step although the claim says that it moves.
    """

    kind: Kind
    bound: float = math.inf
    deviation: float = 0.0
    failing: Measured | None = None
    measured: tuple[Measured, ...] = ()
    reason: Reason | None = None
    rtol: float = RTOL64
    unchanged: bool = False


@dataclasses.dataclass(frozen=True)
class Look:
    """Please measure a fresh direction: one in which all claims count alike, where it is balanced."""

    balanced: bool = False


@dataclasses.dataclass(frozen=True)
class Repeat:
    """Please measure the same direction again, on a whole ladder."""

    measured: Measured


@dataclasses.dataclass(frozen=True)
class CloseIn:
    """Please see whether this kink shows at the finest steps, too."""

    measured: Measured


@dataclasses.dataclass(frozen=True)
class Confirm:
    """Please measure this deviation again, on independent steps."""

    measured: Measured
    tolerance: float


@dataclasses.dataclass(frozen=True)
class Witness:
    """Please ask an independent witness for the same slope; None is heard if the two disagree."""

    measured: Measured
    tolerance: float


@dataclasses.dataclass(frozen=True)
class Remeasure:
    """Please measure this direction, whose bar is too wide, again: on a whole ladder, or briefly with what is known."""

    measured: Measured
    brief: bool


Action: TypeAlias = Look | Repeat | CloseIn | Confirm | Witness | Remeasure | Ruling
Heard: TypeAlias = Measured | SecondLook | bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What has been seen of f so far, by this group or another.

    precision : relative precision of its values, as declared or as found.
    moved : whether any step has changed it by a single bit.
    random : whether it gave different values at the same point.
    is_known : whether its noise and curvature are known.
    """

    precision: float
    moved: bool = True
    random: bool = False
    is_known: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is tried, and what is known before.

    tier, limits : the leaves and what they are held to.
    sizes : entries of each leaf.
    eps : relative precision of f as declared.
    balanced : whether some claims are so tiny that a direction is taken in which all count alike.
    witnessed : whether there is an independent witness.
    cancelled : one rounding of the claim of the largest leaf: terms of that size may have cancelled (absolute).
    on_lattice : whether f's values are known to be rounded to a lattice; then the bar holds what that hides.
    regularity : smallest relative error worth an accusation, as far as f's own jumps allow.
    """

    tier: Tier
    limits: Limits
    sizes: Sequence[int]
    eps: float
    balanced: bool = False
    witnessed: bool = False
    cancelled: float = 0.0
    on_lattice: bool = False
    regularity: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Held:
    """A line that agrees, and what it was allowed."""

    measured: Measured
    tolerance: float

    @property
    def open(self) -> float:
        """How far off the claim may be along this line, for all it says."""
        return self.measured.deviation + self.measured.bar


class Trial:
    """Certify or exclude the claims of one group of leaves.

    Two random directions, one balanced where some claims are tiny, a third random one, and more while the bound is too
    wide. A deviation is measured again before it is believed.

    Attributes
    ----------
    regularity : as in `Case`, and widened by what a second look has found.
    """

    def __init__(self, case: Case, seen: Seen) -> None:
        self.case, self.tier, self.limits = case, case.tier, case.limits
        self.regularity = case.regularity
        self._seen = seen
        self._shares = [share for share in self.tier.shares if share > 0]
        # Looks to come: whether each is balanced.
        self._plan = [False]
        if self.tier.size > 1:
            count = FIRST_SPARING if self.limits.sparing else FIRST_LINES
            self._plan = [False] * FIRST_SPARING + [True] * case.balanced + [False] * (count - FIRST_SPARING)
        self._lines: list[Measured] = []
        self._held: list[_Held] = []
        self._rtol = self.limits.tolerance(case.eps)
        self._deviation = 0.0
        self._kinks = self._extra = self._bent = 0
        # A line that waits for another, whether one has, and whether a wide one was measured again.
        self._pending: Measured | None = None
        self._waited = self._remeasured = False
        # Of the line that is weighed now: whether it is balanced, its natural size, and what it may deviate by.
        self._balanced, self._size, self._tolerance = False, 0.0, 0.0
        self._asked = self._look()

    def next(self) -> Action:
        """What is asked, or the ruling."""
        return self._asked

    def hear(self, heard: Heard, seen: Seen) -> Action:
        """Take the answer to what was asked; return what is asked next, or the ruling."""
        self._seen = seen
        match self._asked, heard:
            case Look(), Measured():
                self._asked = self._looked(heard)
            case Repeat(), Measured():
                self._asked = CloseIn(heard) if same_kink(self._line, heard, self._tolerance) else self._longer(heard)
            case CloseIn(again), bool():
                self._asked = self._kink() if heard else self._longer(again)
            case Confirm(first), SecondLook():
                self._asked = self._confirmed(first, heard)
            case Witness(), Measured():
                self._asked = self._hold(heard)
            case Witness(), None:
                self._asked = self._unsure(Reason.WITNESSES)
            case Remeasure(first, brief), Measured():
                self._asked = self._narrowed(first, heard, brief=brief)
            case _:
                raise TypeError(f"{self._asked} is not answered by {heard}")
        return self._asked

    # ------------------------------------------------------------------------------------------------ what is heard

    def _looked(self, measured: Measured) -> Action:
        if not measured.finite:
            if self._balanced:
                return self._look()
            self._lines.append(measured)
            return self._unsure(why_wide(self._seen, measured, self.limits))
        tier, eps, scale = self.tier, measured.slope.eps, measured.scale
        self._size = natural_scale(scale, measured.value, float(measured.slope.f0[0]))
        self._rtol = max(self._rtol, self.limits.tolerance(eps))
        self._lines.append(measured)
        self._tolerance = self.limits.allowance(
            eps,
            self._size,
            tier.scale,
            balanced=self._balanced,
            regularity=self.regularity,
            cancelled=self.case.cancelled * max(tier.scales),
        )
        sees = self.limits.sees and (self.case.on_lattice or would_move(measured))
        if not self._seen.moved and scale > 0 and not sees:
            # No step and no other leaf has moved f: that speaks of f rather than of the claim.
            return dataclasses.replace(self._unsure(Reason.DEGENERATE), unchanged=True)
        if kinked(measured, self._tolerance) and not (self._balanced and merely_curved(measured)):
            return Repeat(measured)
        return self._weigh(measured)

    @property
    def _line(self) -> Measured:
        """The line that was looked at last."""
        return self._lines[-1]

    def _kink(self) -> Action:
        self._kinks += 1
        if self._kinks >= KINKS or self.tier.size == 1:
            return self._rule(Kind.KINK)
        if not self._balanced:
            self._plan.append(False)
        return self._look()

    def _longer(self, again: Measured) -> Action:
        """Rounding noise can look like a kink: the fresh, longer ladder counts."""
        if again.finite and not kinked(again, self._tolerance):
            return self._weigh(again)
        return self._look() if self._balanced else self._unsure(Reason.UNSTABLE)

    def _weigh(self, measured: Measured) -> Action:
        if self._may_wait(measured):
            # Any other direction is more likely to speak clearly than this one is to be explained away.
            self._pending, self._waited = measured, True
            self._plan.insert(0, False)
            return self._look()
        if self._pending is not None and not self._balanced:
            # The larger of the two is judged; the other counts if it agrees.
            waiting, self._pending = self._pending, None
            if waiting.deviation > measured.deviation:
                if not self._outside(measured):
                    self._held.append(_Held(measured, self._tolerance))
                measured = waiting
        if self._outside(measured):
            return Confirm(measured, self._tolerance)
        return self._witness(measured)

    def _outside(self, measured: Measured) -> bool:
        return measured.deviation > measured.bar + self._tolerance

    def _may_wait(self, measured: Measured) -> bool:
        """Whether a deviation is small by accident, it seems: a tenth of what would be obvious, or more."""
        if self._waited or self._balanced or self.tier.size == 1 or measured.slope.side != 0:
            return False
        obvious = OBVIOUS * measured.scale
        return self._outside(measured) and ACCIDENT * obvious < measured.deviation <= obvious

    def _confirmed(self, first: Measured, second: SecondLook) -> Action:
        self._lines.append(second.measured)
        if second.look is Second.EXCLUDED:
            return self._excluded(first, second.measured)
        if second.look is Second.UNSURE:
            if self._balanced:
                return self._look()
            return self._unsure(Reason.DOMAIN if second.measured.slope.side != 0 else Reason.UNSTABLE)
        if second.look is Second.AGREES:
            return self._witness(second.measured)
        # f itself is no smoother than this: the deviation counts as bar, and less cannot be accused.
        self.regularity = max(self.regularity, irregular(first.deviation, self._size))
        self._rtol = max(self._rtol, self.regularity)
        return self._witness(dataclasses.replace(first, bar=max(first.bar, first.deviation)))

    def _excluded(self, first: Measured, again: Measured) -> Action:
        if self._kinks:
            return self._rule(Kind.KINK)
        hidden = may_be_bent(again)
        if hidden and self._bent == MOST_BENT and bends(again):
            return self._unsure(Reason.UNSTABLE)
        if self.tier.size > 1 and self._bent < MOST_BENT and (hidden or slightly_bent(first)):
            # Kinks that bend f both ways may hide in one direction, and then show in most others.
            self._bent += 1
            self._plan.append(self._balanced)
            return self._look()
        return dataclasses.replace(self._rule(Kind.WRONG), failing=again)

    def _witness(self, measured: Measured) -> Action:
        if self.case.witnessed and not self._balanced and self._too_wide(measured):
            return Witness(measured, self._tolerance)
        return self._hold(measured)

    def _hold(self, measured: Measured) -> Action:
        if not self._balanced:
            self._held.append(_Held(measured, self._tolerance))
            self._deviation = max(self._deviation, measured.deviation)
        if self._last_look and len(self._held) > 1 and not self._remeasured:
            if self._is_outlier():
                return Remeasure(self._widest.measured, brief=False)
            if self._is_outlier_low():
                return Remeasure(self._widest.measured, brief=True)
        return self._more()

    def _narrowed(self, first: Measured, again: Measured, *, brief: bool) -> Action:
        self._remeasured = True
        k = next(k for k, held in enumerate(self._held) if held.measured is first)
        held = _Held(again, self._held[k].tolerance)
        if again.finite and again.deviation <= again.bar + held.tolerance and held.open < self._held[k].open:
            self._held[k] = held
        if not brief and self._is_outlier_low():
            return Remeasure(self._widest.measured, brief=True)
        return self._more()

    # ---------------------------------------------------------------------------------------------- what is asked

    def _look(self) -> Action:
        if not self._plan:
            return self._certified()
        self._balanced = self._plan.pop(0)
        return Look(self._balanced)

    def _more(self) -> Action:
        """Look along more directions if these can bring a leaf to where it may be called CORRECT."""
        if self._last_look and self.tier.size > 1:
            more = self._extra < EXTRA_LINES and (self._worth_more() or self._doubtful())
            if more or self._worth_many():
                self._extra += 1
                self._plan.append(False)
        return self._look()

    @property
    def _last_look(self) -> bool:
        """Whether no random direction is left in the plan."""
        return False not in self._plan

    @property
    def _goals(self) -> list[float]:
        largest = self.limits.largest_bound(self._seen.precision)
        return [share * largest for share in self._shares]

    @property
    def _widest(self) -> _Held:
        return max(self._held, key=lambda held: held.open)

    def _bound(self, largest: float, count: int) -> float:
        return error_bound(largest, count, self.tier.size, self.limits.confidence, folded=self.tier.folded)

    def _too_wide(self, measured: Measured) -> bool:
        """Whether as many directions as are taken first, with a bar like this one's, could not certify every leaf."""
        bound = self._bound(measured.bar, FIRST_LINES)
        return any(bound > goal for goal in self._goals)

    def _is_outlier(self) -> bool:
        """Whether one bar, much wider than all others, leaves the bound too wide for what these would allow."""
        *_, others, widest = sorted(held.open for held in self._held)
        most = len(self._held) + EXTRA_LINES
        best, now = self._bound(others, most), self._bound(widest, most)
        return widest >= OUTLIER * others and any(best <= goal < now for goal in self._goals)

    def _is_outlier_low(self) -> bool:
        """The same in low precision, where it is the first as a rule: its steps were chosen before noise was known."""
        if is_double(self._seen.precision) or not self._seen.is_known:
            return False
        *_, others, widest = sorted(held.open for held in self._held)
        count = len(self._held)
        best, now = self._bound(others, count + EXTRA_LOW), self._bound(widest, count)
        return widest >= OUTLIER_LOW * others and any(best <= goal < now for goal in self._goals)

    def _worth_more(self) -> bool:
        """Whether more can bring a leaf to where it may be called CORRECT, or exclude a typical wrong entry."""
        count, largest = len(self._held), self._widest.open
        now, best = self._bound(largest, count), self._bound(largest, count + EXTRA_LINES - self._extra)
        whole = self.limits.largest_bound(self._seen.precision)
        slack = 1.0 if is_double(self._seen.precision) else TYPICAL_SLACK_LOW
        for size, share in zip(self.case.sizes, self.tier.shares, strict=True):
            goals = (whole,) if self.limits.sparing else (whole, slack * typical_bound(size))
            if any(best <= share * goal < now for goal in goals):
                return True
        return False

    def _doubtful(self) -> bool:
        """Whether a deviation is ten bars and above rtol, but less than may be accused: others may say more."""
        return any(
            one.measured.deviation > max(DOUBTFUL * one.measured.bar, one.tolerance / REACH)
            and one.measured.slope.side == 0
            for one in self._held
        )

    def _worth_many(self) -> bool:
        """Whether some of `EXTRA_LOW` directions more can bring a leaf to where it may be called CORRECT."""
        count, largest = len(self._held), self._widest.open
        left = EXTRA_LOW - max(count - FIRST_LINES, 0)
        if is_double(self._seen.precision) or left <= 0:
            return False
        now, best = self._bound(largest, count), self._bound(largest, count + left)
        return any(best <= goal < now for goal in self._goals)

    # ---------------------------------------------------------------------------------------------------- rulings

    def _rule(self, kind: Kind) -> Ruling:
        return Ruling(kind=kind, measured=tuple(self._lines), rtol=self._rtol)

    def _unsure(self, reason: Reason) -> Ruling:
        return dataclasses.replace(self._rule(Kind.UNSURE), reason=reason)

    def _certified(self) -> Ruling:
        """Nothing is left in the plan: every line has agreed in the end, but for one that was excluded."""
        if self._bent:
            # One direction excludes the claim: what others leave open bounds nothing.
            return self._unsure(Reason.UNSTABLE)
        widest = max((one for one in self._lines if one.direction.floor == 0), key=lambda one: one.bar)
        return dataclasses.replace(
            self._rule(Kind.AGREES),
            reason=why_wide(self._seen, widest, self.limits),
            bound=self._bound(self._widest.open, len(self._held)),
            deviation=self._deviation,
        )


def why_wide(seen: Seen, measured: Measured, limits: Limits) -> Reason:
    """Why the bar of a slope is too wide: the reason that the user can do something about."""
    slope = measured.slope
    if slope.trouble:
        return Reason.DOMAIN
    if seen.random:
        return Reason.STOCHASTIC
    if len(slope.h) >= 3 and slope.side == 0:
        # At a jump of f the difference of both sides stays as it is while the step shrinks.
        fine, coarser = (abs(float(slope.odd[row, 0])) for row in (-1, -3))
        if fine > LARGER * float(slope.unit[0]) and fine > STILL_JUMPS * coarser:
            return Reason.NO_CONVERGENCE
    if not measured.finite or (slope.side != 0 and measured.bar > ONE_SIDED * abs(measured.value)):
        return Reason.NO_CONVERGENCE
    return limits.why_wide(seen.precision)
