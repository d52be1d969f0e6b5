"""Questions about the parts of one direction that fails, through one leaf."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable

from gradproof._prove._directions import Direction, Slab, Spans
from gradproof._prove._measure import Asking, Glance, Meter, Residual

# What is clearly wrong at a glance needs no closer look.
CLEAR: Callable[[Residual], bool] = operator.attrgetter("clear")


@dataclasses.dataclass
class Search:
    """One failing direction through one leaf, and how to ask about its parts."""

    meter: Meter
    leaf: int
    direction: Direction
    whole: Residual
    scale: float
    asked: int = 0
    # What was measured along parts of directions.
    heard: dict[Direction, Residual] = dataclasses.field(default_factory=dict[Direction, Residual])
    # Entries that have been seen to be wrong.
    wrong: set[int] = dataclasses.field(default_factory=set[int])

    @property
    def start(self) -> int:
        return self.meter.directions.leaves[self.leaf].start

    @property
    def stop(self) -> int:
        return self.meter.directions.leaves[self.leaf].stop

    @property
    def shape(self) -> tuple[int, ...]:
        return self.meter.directions.leaves[self.leaf].shape

    def ask(self, direction: Direction, enough: Callable[[Residual], bool] | None = None) -> Asking[Residual]:
        """The residual along a part of a direction, from one value where what that tells is enough."""
        known = self.heard.get(direction)
        if known is not None:
            return known
        self.asked += 1
        glance = None if enough is None else (yield from self.meter.glance(direction, self.scale))
        if glance is None:
            found = yield from self.meter.residual(direction, self.scale)
        elif enough is not None and enough(glance.residual):
            return glance.residual
        else:
            found = yield from self.meter.completed(glance)
        self.heard[direction] = found
        return found

    def glance(self, direction: Direction) -> Asking[Glance | None]:
        """What one value tells of a residual along a part of a direction; None where it takes more."""
        if direction in self.heard:
            return None
        self.asked += 1
        return (yield from self.meter.glance(direction, self.scale))

    def only(self, index: int) -> Direction:
        """The part of the direction that moves one entry."""
        return self.direction.restricted(Spans(((index, index + 1),)))

    def slab(self, axis: int, low: int, high: int) -> Slab:
        """The entries within a range along one axis."""
        stride = math.prod(self.shape[axis + 1 :])
        return Slab(self.start, self.stop, stride, self.shape[axis], low, high)
