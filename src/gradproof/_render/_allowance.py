"""How much one page has room for: rows, pictures with their captions, and reports as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence

from gradproof._render import _numbers as numbers
from gradproof._report import Report
from gradproof._report._evidence import Comparison, Evidence, Ladder, TensorMap

_STEPS = (
    "Each dot is the difference quotient at one step: the lower, the closer to the reference. Short steps (left) err "
    "by rounding, long ones (right) by their length."
)
_SIDES = (
    "Each mark is the quotient to one side of the point. As the step shrinks (to the left) they go to two different "
    "slopes: f has a kink here, and a claim between the two is a subgradient."
)
_UNSETTLED = (
    "Each mark is the quotient to one side of the point. They settle on no value as the step shrinks (to the left)."
)
_SCATTER = (
    "Each mark is one slope or entry, as measured and as claimed. On the line they agree; what speaks against the "
    "claim lies off it by more than its error bar."
)
_TENSOR = "The stronger the colour of a cell, the larger its claimed entries."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture as an ``<svg>`` element, and how to read it."""

    svg: str
    caption: str


class Allowance:
    """Hands out rows, pictures and JSON while there is room for them.

    Attributes
    ----------
    left_out : int
        How many pictures of the report at hand there was no room for.
    """

    def __init__(self, *, rows: int, pictures: int, pictures_each: int, picture_bytes: int, json_bytes: int) -> None:
        self._rows = rows
        self._pictures = pictures
        self._pictures_each = pictures_each
        self._picture_bytes = picture_bytes
        self._json_bytes = json_bytes
        self.start_report({})

    def start_report(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Count the pictures of another report; `shapes` are those of its arrays, by path."""
        self._shapes = shapes
        self._here = self._pictures_each
        self._explained: set[str] = set()
        self.left_out = 0

    def rows(self, wanted: int, *, most: int, least: int, weight: int = 1) -> int:
        """How many of some rows to show: at most `most`, at least `least`; one takes the room of `weight` others."""
        granted = min(wanted, most, max(least, self._rows // weight))
        self._rows -= granted * weight
        return granted

    def steps(self, ladder: Ladder) -> Figure | None:
        """How the quotients behind one slope depend on the step."""
        from gradproof._render._pictures import step_picture
        from gradproof._render._step_picture import slope_of

        how = _SIDES if ladder.jump else _STEPS if math.isfinite(ladder.reference) else _UNSETTLED
        where = "" if how is not _STEPS else _where_the_claim_is(ladder)
        shape = self._shapes.get(ladder.path) if ladder.entry is None else None
        of_shape = f" of shape {shape}" if shape else ""
        what = f"Slope: {slope_of(ladder.path, ladder.entry, ladder.output)}{of_shape}. {where}"
        return self._drawn(lambda: step_picture(ladder), what, how)

    def scatter(self, comparisons: Sequence[Comparison]) -> Figure | None:
        """Claimed against measured values, if there are two or more to compare."""
        from gradproof._render._pictures import scatter

        if len(comparisons) < 2:
            return None
        return self._drawn(lambda: scatter(comparisons), "", _SCATTER)

    def tensor(self, tensor: TensorMap) -> Figure | None:
        """Where in a leaf or a Jacobian the wrong entries are."""
        from gradproof._render._pictures import tensor_picture

        return self._drawn(lambda: tensor_picture(tensor), f"{tensor.path} of shape {tensor.shape}. ", _TENSOR)

    def take_json(self, report: Report) -> tuple[str, str]:
        """A report's JSON text, whole or without the evidence, and a remark on what is missing."""
        text = note = ""
        if 20 * _size(report.evidence) < self._json_bytes:  # of a number's digits; writing it all takes a while
            text = report.to_json()
        if not text or len(text) > self._json_bytes:
            note = ", without its evidence, which is large: Report.to_json() gives all of it"
            entries = len(report.leaves) + len(report.findings)
            bare = dataclasses.replace(report, evidence=Evidence())
            text = bare.to_json() if 200 * entries < self._json_bytes else ""
        if not text or len(text) > self._json_bytes:
            return "", "The report as JSON is too large for this page: Report.to_json() gives it."
        self._json_bytes -= len(text)
        return _printable_json(text), note

    def _drawn(self, draw: Callable[[], str], what: str, how: str) -> Figure | None:
        """A picture with what it shows and, once in a report, how to read it."""
        if min(self._pictures, self._here, self._picture_bytes) <= 0:
            self.left_out += 1
            return None
        try:
            drawn = draw()
        except ArithmeticError:
            # Axes do not go to the largest numbers that a double holds.
            self.left_out += 1
            return None
        self._pictures -= 1
        self._here -= 1
        # Equal pictures have equal ids, which a page must not have twice.
        svg = re.sub(r'(id="|#)gp[0-9a-f]{8}-', rf"\1picture-{self._pictures}-", drawn)
        self._picture_bytes -= len(svg)
        caption = (what + ("" if how in self._explained else how)).rstrip()
        self._explained.add(how)
        return Figure(svg=svg, caption=numbers.printable(caption))


def _printable_json(text: str) -> str:
    """JSON text with every character that a page would not show as itself written as an escape."""
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _size(evidence: Evidence) -> int:
    """How many numbers it holds, roughly."""
    cells = sum(len(row) * (3 if one.deviation else 2) for one in evidence.maps for row in one.claimed)
    return cells + 4 * len(evidence.comparisons) + sum(4 * len(ladder.steps) + 8 for ladder in evidence.ladders)


def _where_the_claim_is(ladder: Ladder) -> str:
    if ladder.against:
        return "The claim lies above the shaded error bar: it is not this slope. "
    if abs(ladder.claimed - ladder.reference) <= ladder.error_bar:
        return "The claim lies within the shaded error bar. "
    return "The claim lies above the shaded error bar, by no more than what is tolerated. "
