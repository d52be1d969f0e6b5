"""How the difference quotients of one slope depend on the step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._render import _numbers as numbers
from gradproof._render._figure import Axes, decades, key, label, log_limits, new_axes, plain_ticks
from gradproof._render._svg import SENTINELS, as_svg, style
from gradproof._report._evidence import Ladder

Floats = NDArray[np.float64]

# The step of the course and of many home-made checkers, for each entry; how far from the ladder it is shown still.
FIXED_STEP, FAR = 1e-7, 1e4
# How opaque a shaded range is.
BAND = 0.17
# How far below all else the claim is shown still.
BELOW = 100.0


def step_picture(ladder: Ladder) -> str:
    """Draw how the difference quotients of one slope depend on the step.

    Their distance from the reference against the step, both logarithmic, with what rounding and the length of the step
    do to it; at a kink, the left and the right quotients instead.
    """
    ladder = in_units_of_x(ladder)
    with style():
        if ladder.jump or not math.isfinite(ladder.reference):
            return _sides(ladder)
        return _errors(ladder)


def in_units_of_x(ladder: Ladder) -> Ladder:
    """The same ladder with steps as long as the entries move (root mean square), where that is known."""
    size = ladder.size
    if not 0 < size < math.inf:
        return ladder
    return dataclasses.replace(
        ladder,
        steps=tuple(size * step for step in ladder.steps),
        chosen=size * ladder.chosen,
        noise=size * ladder.noise,
        curvature=ladder.curvature / size**2,
        size=1.0,
    )


def slope_of(path: str, entry: tuple[int, ...] | None, output: str) -> str:
    """Of what a slope is, for a reader of the description."""
    if output:
        return f"{numbers.printable(output)}, {slope_of(path, entry, '')}"
    if not path:
        return "a direction through several arrays"
    if entry is None:
        return f"a direction through {numbers.printable(path)}"
    return numbers.printable(path + (str(list(entry)) if entry else ""))


def _errors(ladder: Ladder) -> str:
    """Distance of the quotients from the reference, and what is expected of it."""
    steps, errors = np.array(ladder.steps), np.abs(np.array(ladder.differences) - ladder.reference)
    off = abs(ladder.claimed - ladder.reference)
    fixed = FIXED_STEP / ladder.size if ladder.size > 0 else math.nan
    shows_fixed = steps.min(initial=math.inf) / FAR <= fixed <= steps.max(initial=0.0) * FAR
    x = log_limits([*ladder.steps, *([fixed] if shows_fixed else [])], 2.0)
    y = log_limits(_shown([*errors.tolist(), ladder.error_bar], off), 3.0)
    figure, axes = new_axes("step (how far an entry moves)", "distance from the measured slope")
    axes.set(xscale="log", yscale="log", xlim=x, ylim=y)
    decades(axes.xaxis, x)
    decades(axes.yaxis, y)
    axes.grid(True, which="major")
    if ladder.error_bar > 0:
        top = min(ladder.error_bar, y[1])
        style = {"color": SENTINELS["reference"], "alpha": BAND, "linewidth": 0}
        axes.axhspan(y[0], top, label="error bar of the slope", **style)
    _expected(axes, ladder, x, y)
    _claim(axes, off, (x[1], y[0]), is_wrong=ladder.against)
    if shows_fixed:
        axes.axvline(fixed, color=SENTINELS["muted"], linewidth=1.2, linestyle=(0, (1, 2)))
        label(axes, "the classic 1e-7", (fixed, y[1]), "muted", (0, 4), ha="center", va="bottom")
    _quotients(axes, steps, errors, y[0])
    _ring(axes, ladder, errors, y[0])
    key(figure, axes)
    return as_svg(figure, _step_title(ladder), _step_words(ladder, off))


def _shown(values: Sequence[float], off: float) -> list[float]:
    """What the vertical axis has to hold: the claim too, unless it lies far below all else."""
    shown = [value for value in values if 0 < value < math.inf]
    return [*shown, off] if min(shown, default=0.0) / BELOW < off < math.inf else shown


def _expected(axes: Axes, ladder: Ladder, x: tuple[float, float], y: tuple[float, float]) -> None:
    """What rounding and the length of the step do, as far as the picture goes."""
    t = np.geomspace(*x, 60)
    for values, colour, dash, words in (
        (ladder.noise / t, "noise", (4, 2), "rounding: noise / step"),
        (ladder.curvature * t**2, "truncation", (1, 1.5), "truncation: step squared"),
    ):
        inside = (values >= y[0]) & (values <= y[1])
        if inside.sum() > 1:
            style = {"color": SENTINELS[colour], "linewidth": 1.6, "linestyle": (0, dash)}
            axes.plot(t[inside], values[inside], label=words, **style)


def _claim(axes: Axes, off: float, corner: tuple[float, float], *, is_wrong: bool) -> None:
    """How far the claim is off; a line where that is not below the picture."""
    if not math.isfinite(off):
        return
    right, bottom = corner
    name, offset, align = ("wrong", -5, "top") if is_wrong else ("claimed", 4, "bottom")
    if off >= bottom:
        axes.axhline(off, color=SENTINELS[name], linewidth=1.8)
    words = f"the claim: off by {numbers.significant(off)}"
    label(axes, words, (right, max(off, bottom)), name, (-4, offset), ha="right", va=align)


def _quotients(axes: Axes, steps: Floats, errors: Floats, bottom: float) -> None:
    """The quotients as points; those below the picture at its edge."""
    style: dict[str, Any] = {
        "color": SENTINELS["reference"],
        "markeredgecolor": SENTINELS["paper"],
        "markeredgewidth": 0.8,
        "markersize": 6,
        "zorder": 4,
        "clip_on": False,
        "linestyle": "none",
    }
    below, seen = errors <= bottom, (errors > bottom) & np.isfinite(errors)
    axes.plot(steps[seen], errors[seen], "o", label="difference quotients", **style)
    if below.any():
        axes.plot(steps[below], np.full(np.count_nonzero(below), bottom), "v", label="closer than shown", **style)


def _ring(axes: Axes, ladder: Ladder, errors: Floats, least: float) -> None:
    """Mark the finest step that the reference rests on."""
    if ladder.chosen in ladder.steps:
        k = ladder.steps.index(ladder.chosen)
        axes.plot(
            [ladder.chosen],
            [max(float(errors[k]), least)],
            "o",
            markersize=11,
            fillstyle="none",
            color=SENTINELS["ink"],
            markeredgewidth=1.4,
            label="finest step used",
            zorder=5,
            clip_on=False,
        )


def _step_title(ladder: Ladder) -> str:
    return f"Difference quotients at each step, for {slope_of(ladder.path, ladder.entry, ladder.output)}"


def _step_words(ladder: Ladder, off: float) -> str:
    steps = f"{len(ladder.steps)} steps from {numbers.significant(max(ladder.steps, default=0.0))} down to "
    steps += f"{numbers.significant(min(ladder.steps, default=0.0))}"
    claimed, reference = numbers.measured(ladder.claimed, ladder.reference, ladder.error_bar)
    within = "which speaks against it" if ladder.against else "which does not speak against it"
    return (
        f"Central difference quotients at {steps} lead to {reference} ± {numbers.error_bar(ladder.error_bar)}. "
        f"Claimed is {claimed}, off by {numbers.significant(off)}, {within}. "
        "Long steps err by truncation, short ones by rounding."
    )


def _sides(ladder: Ladder) -> str:
    """Left and right quotients, which go to different values at a kink."""
    steps, left, right = np.array(ladder.steps), np.array(ladder.left), np.array(ladder.right)
    x = log_limits(steps.tolist(), 2.0)
    low, high = sorted((ladder.reference - ladder.jump / 2, ladder.reference + ladder.jump / 2))
    shown = [value for value in (low, high, ladder.claimed) if math.isfinite(value)]
    if not ladder.jump:
        shown += [value for value in (*ladder.left, *ladder.right) if math.isfinite(value)]
    room = 0.3 * (max(shown, default=1.0) - min(shown, default=0.0)) or 1.0
    y = (min(shown, default=0.0) - room, max(shown, default=1.0) + room)
    figure, axes = new_axes("step (how far an entry moves)", "difference quotient")
    axes.set(xscale="log", xlim=x, ylim=y)
    decades(axes.xaxis, x)
    plain_ticks(axes.yaxis)
    axes.grid(True, which="major")
    if ladder.jump:
        axes.axhspan(low, high, color=SENTINELS["reference"], alpha=BAND, linewidth=0, label="between the two slopes")
    for values, marker, colour, words in (
        (right, ">", "reference", "to the right, (f(x + h v) - f(x)) / h"),
        (left, "<", "truncation", "to the left, (f(x) - f(x - h v)) / h"),
    ):
        inside = np.isfinite(values) & (values >= y[0]) & (values <= y[1])
        axes.plot(
            steps[inside],
            values[inside],
            marker,
            color=SENTINELS[colour],
            markeredgecolor=SENTINELS["paper"],
            markeredgewidth=0.6,
            markersize=7,
            linestyle="none",
            label=words,
            zorder=4,
        )
    outside = math.isfinite(ladder.claimed) and ladder.jump != 0 and not low <= ladder.claimed <= high
    if math.isfinite(ladder.claimed):
        name = "wrong" if outside or ladder.against else "claimed"
        axes.axhline(ladder.claimed, color=SENTINELS[name], linewidth=1.8)
        words = f"the claim: {numbers.significant(ladder.claimed, 4)}"
        label(axes, words, (x[1], ladder.claimed), name, (-4, 3), ha="right", va="bottom")
    key(figure, axes, columns=1)
    if ladder.jump:
        words = f"The quotients to the left go to {numbers.significant(ladder.reference - ladder.jump / 2, 4)}, those "
        words += f"to the right to {numbers.significant(ladder.reference + ladder.jump / 2, 4)}: f has a kink here. "
        words += f"Claimed is {numbers.significant(ladder.claimed, 4)}, "
        words += "outside of both." if outside else "which lies between them."
    else:
        words = "The quotients settle on no value."
    return as_svg(figure, _step_title(ladder), words)
