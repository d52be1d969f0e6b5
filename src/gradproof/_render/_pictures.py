"""Pictures of `Evidence`: each function returns one ``<svg>`` element (colours: see `gradproof._render._svg`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._evidence import Comparison, Ladder
from gradproof._render import _numbers as numbers
from gradproof._render._svg import SENTINELS, as_svg, new_figure, style
from gradproof._render._tensor_picture import tensor_picture

__all__ = ["scatter", "step_picture", "tensor_picture"]

Floats = NDArray[np.float64]
# Of matplotlib, which leaves the types of most keywords open.
Axes = Any
Figure = Any

WIDTH, HEIGHT = 400.0, 310.0
# Of the axes: left, bottom, right, top, in the units of the picture.
MARGINS = (52.0, 88.0, 12.0, 36.0)
SMALL = 10.0
# The step of the course and of many home-made checkers, for each entry.
FIXED_STEP = 1e-7


def step_picture(ladder: Ladder) -> str:
    """Draw how the difference quotients of one slope depend on the step.

    Their distance from the reference against the step, both logarithmic, with what rounding and the length of the step
    do to it; at a kink, the left and the right quotients instead.
    """
    with style():
        if ladder.jump or not math.isfinite(ladder.reference):
            return _sides(ladder)
        return _errors(ladder)


def scatter(comparisons: Sequence[Comparison]) -> str:
    """Draw claimed against measured slopes and entries, with the diagonal on which they agree."""
    with style():
        return _scatter([one for one in comparisons if math.isfinite(one.claimed) and math.isfinite(one.reference)])


def _named(path: str, entry: tuple[int, ...] | None) -> str:
    """Of what a slope is, for a reader of the description."""
    if not path:
        return "a direction through several leaves"
    if entry is None:
        return f"a direction through {numbers.printable(path)}"
    return numbers.printable(path + (str(list(entry)) if entry else ""))


# ------------------------------------------------------------------------------------------------- quotients and steps


def _errors(ladder: Ladder) -> str:
    steps, errors = np.array(ladder.steps), np.abs(np.array(ladder.differences) - ladder.reference)
    off = abs(ladder.claimed - ladder.reference)
    fixed = FIXED_STEP / ladder.size if ladder.size > 0 else math.nan
    left, right = steps.min(initial=math.inf), steps.max(initial=0.0)
    shows_fixed = left / 1e4 <= fixed <= right * 1e4
    x = _limits([left, right, *([fixed] if shows_fixed else [])], 2.0)
    shown = [value for value in (*errors.tolist(), ladder.error_bar) if 0 < value < math.inf]
    if off > ladder.error_bar:
        shown.append(off)
    y = _limits(shown or [1e-16, 1.0], 3.0)

    figure, axes = _axes("step", "distance from the reference")
    axes.set(xscale="log", yscale="log", xlim=x, ylim=y)
    _plain_decades(axes.xaxis, x)
    _plain_decades(axes.yaxis, y)
    axes.grid(True, which="major")
    reference, wrong, claimed = SENTINELS["reference"], SENTINELS["wrong"], SENTINELS["claimed"]
    if ladder.error_bar > 0:
        top = min(ladder.error_bar, y[1])
        axes.axhspan(y[0], top, color=reference, alpha=0.13, linewidth=0, label="error bar of the reference")
    t = np.geomspace(*x, 60)
    for values, colour, dash, label in (
        (ladder.noise / t, "noise", (4, 2), "rounding: noise / step"),
        (ladder.curvature * t**2, "truncation", (1, 1.5), "truncation: step squared"),
    ):
        inside = (values >= y[0]) & (values <= y[1])
        if inside.sum() > 1:
            axes.plot(
                t[inside], values[inside], color=SENTINELS[colour], linewidth=1.6, linestyle=(0, dash), label=label
            )
    if off > ladder.error_bar:
        axes.axhline(off, color=wrong, linewidth=1.8)
        words = f"the claim: off by {numbers.significant(off)}"
        _label(axes, words, (x[1], off), "wrong", (-4, -4), ha="right", va="top")
    elif off >= y[0]:
        axes.axhline(off, color=claimed, linewidth=1.4)
        words = f"the claim: off by {numbers.significant(off)}"
        _label(axes, words, (x[1], off), "claimed", (-4, 3), ha="right", va="bottom")
    if shows_fixed:
        axes.axvline(fixed, color=SENTINELS["muted"], linewidth=1.2, linestyle=(0, (1, 2)))
        _label(axes, "fixed step of 1e-7", (fixed, y[1]), "muted", (0, 4), ha="center", va="bottom")
    none = errors <= y[0]
    axes.plot(
        steps[~none],
        errors[~none],
        "o",
        color=reference,
        markeredgecolor=SENTINELS["paper"],
        markeredgewidth=0.8,
        markersize=6,
        label="difference quotients",
        zorder=4,
    )
    if none.any():
        axes.plot(
            steps[none],
            np.full(none.sum(), y[0] * 1.25),
            "v",
            color=reference,
            markersize=5,
            label="no difference seen",
        )
    _ring(axes, ladder, errors, y[0] * 1.25)
    _key(figure, axes)
    return as_svg(figure, _step_title(ladder), _step_words(ladder, off))


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
        )


def _step_title(ladder: Ladder) -> str:
    return f"Difference quotients at each step, for {_named(ladder.path, ladder.entry)}"


def _step_words(ladder: Ladder, off: float) -> str:
    steps = f"{len(ladder.steps)} steps from {numbers.significant(max(ladder.steps, default=0.0))} down to "
    steps += f"{numbers.significant(min(ladder.steps, default=0.0))}"
    claimed, reference = numbers.measured(ladder.claimed, ladder.reference, ladder.error_bar)
    within = "which lies within the error bar" if off <= ladder.error_bar else "which the error bar does not explain"
    return (
        f"Central difference quotients at {steps} lead to {reference} ± {numbers.error_bar(ladder.error_bar)}. "
        f"Claimed is {claimed}, off by {numbers.significant(off)}, {within}. "
        "Long steps err by truncation, short ones by rounding."
    )


def _sides(ladder: Ladder) -> str:
    """Left and right quotients, which go to different values at a kink."""
    steps, left, right = np.array(ladder.steps), np.array(ladder.left), np.array(ladder.right)
    x = _limits(steps.tolist(), 2.0)
    low, high = sorted((ladder.reference - ladder.jump / 2, ladder.reference + ladder.jump / 2))
    shown = [value for value in (low, high, ladder.claimed) if math.isfinite(value)]
    if not ladder.jump:
        shown += [value for value in (*ladder.left, *ladder.right) if math.isfinite(value)]
    room = 0.3 * (max(shown, default=1.0) - min(shown, default=0.0)) or 1.0
    y = (min(shown, default=0.0) - room, max(shown, default=1.0) + room)
    figure, axes = _axes("step", "difference quotient")
    axes.set(xscale="log", xlim=x, ylim=y)
    _plain_decades(axes.xaxis, x)
    _plain_numbers(axes.yaxis)
    axes.grid(True, which="major")
    if ladder.jump:
        axes.axhspan(low, high, color=SENTINELS["reference"], alpha=0.1, linewidth=0, label="between the two slopes")
    for values, marker, colour, label in (
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
            label=label,
            zorder=4,
        )
    outside = math.isfinite(ladder.claimed) and ladder.jump != 0 and not low <= ladder.claimed <= high
    if math.isfinite(ladder.claimed):
        name = "wrong" if outside or ladder.against else "claimed"
        axes.axhline(ladder.claimed, color=SENTINELS[name], linewidth=1.8)
        words = f"the claim: {numbers.significant(ladder.claimed, 4)}"
        _label(axes, words, (x[1], ladder.claimed), name, (-4, 3), ha="right", va="bottom")
    _key(figure, axes, columns=1)
    if ladder.jump:
        words = f"The quotients to the left go to {numbers.significant(ladder.reference - ladder.jump / 2, 4)}, those "
        words += f"to the right to {numbers.significant(ladder.reference + ladder.jump / 2, 4)}: f has a kink here. "
        words += f"Claimed is {numbers.significant(ladder.claimed, 4)}, "
        words += "outside of both." if outside else "which lies between them."
    else:
        words = "The quotients settle on no value."
    return as_svg(figure, _step_title(ladder), words)


# ---------------------------------------------------------------------------------------------- claimed and measured


def _scatter(points: list[Comparison]) -> str:
    claimed = np.array([one.claimed for one in points])
    reference = np.array([one.reference for one in points])
    bars = np.array([one.error_bar for one in points])
    against = np.array([one.against for one in points], dtype=bool)
    figure, axes = _axes("measured", "claimed")
    limits = _square(axes, np.concatenate([claimed, reference, [0.0] if not points else []]))
    axes.grid(True, which="major")
    axes.plot(
        limits, limits, color=SENTINELS["muted"], linewidth=1.0, linestyle=(0, (4, 3)), label="claimed = measured"
    )
    drawn = np.isfinite(bars)
    if drawn.any():
        axes.errorbar(
            reference[drawn],
            claimed[drawn],
            xerr=bars[drawn],
            fmt="none",
            ecolor=SENTINELS["muted"],
            elinewidth=1.0,
            zorder=2,
        )
    for x, y in zip(reference[against], claimed[against], strict=True):
        axes.plot([x, x], [x, y], color=SENTINELS["wrong"], linewidth=1.0, alpha=0.7, zorder=3)
    style: dict[str, Any] = {"markeredgecolor": SENTINELS["paper"], "markeredgewidth": 0.6, "linestyle": "none"}
    if (~against).any():
        label = f"agrees ({np.count_nonzero(~against)})"
        axes.plot(
            reference[~against],
            claimed[~against],
            "o",
            color=SENTINELS["reference"],
            markersize=6,
            label=label,
            zorder=4,
            **style,
        )
    if against.any():
        label = f"speaks against the claim ({np.count_nonzero(against)})"
        axes.plot(
            reference[against],
            claimed[against],
            "X",
            color=SENTINELS["wrong"],
            markersize=8,
            label=label,
            zorder=5,
            **style,
        )
    _key(figure, axes)
    words = f"{numbers.count(len(points), 'slope or entry', 'slopes and entries')}: "
    words += f"{np.count_nonzero(~against)} lie on the diagonal within their error bars"
    words += f", {np.count_nonzero(against)} do not." if against.any() else "."
    return as_svg(figure, "Claimed against measured", words)


def _square(axes: Axes, values: Floats) -> tuple[float, float]:
    """Give both axes the same scale: linear, or logarithmic on either side of 0 where sizes differ much."""
    sizes = np.abs(values[values != 0])
    largest = float(sizes.max(initial=0.0)) or 1.0
    typical = float(np.quantile(sizes, 0.1)) if sizes.size else 1.0
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if largest > 30 * typical:
        scale = {"linthresh": max(typical, 1e-12 * largest), "linscale": 0.5}
        axes.set_xscale("symlog", **scale)
        axes.set_yscale("symlog", **scale)
        limits = (2 * low if low < 0 else -typical / 2, 2 * high if high > 0 else typical / 2)
        for axis in (axes.xaxis, axes.yaxis):
            _few_powers(axis, limits, scale["linthresh"])
    else:
        room = 0.08 * (high - low) or 1.0
        limits = (low - room, high + room)
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)
    axes.set(xlim=limits, ylim=limits)
    return limits


# ------------------------------------------------------------------------------------------------------------- parts


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, HEIGHT)
    left, bottom, right, top = MARGINS
    box = (left / WIDTH, bottom / HEIGHT, 1 - (left + right) / WIDTH, 1 - (bottom + top) / HEIGHT)
    axes = figure.add_axes(box, facecolor="none")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0, pad=4, labelsize=SMALL)
    axes.set_xlabel(x, fontsize=SMALL, labelpad=3)
    # Above the axis rather than beside it: words that lie on their side are hard to read.
    figure.text(4 / WIDTH, 1 - 12 / HEIGHT, y, fontsize=SMALL, color=SENTINELS["muted"], va="baseline")
    return figure, axes


def _limits(values: Sequence[float], room: float) -> tuple[float, float]:
    """Limits of a logarithmic axis that holds these values, with a factor to spare at both ends."""
    return max(min(values) / room, 1e-300), max(values) * room


def _plain_decades(axis: Any, limits: tuple[float, float]) -> None:
    """Ticks at powers of ten, few enough to be read, written as one types them."""
    low, high = math.ceil(math.log10(limits[0])), math.floor(math.log10(limits[1]))
    stride = max(1, math.ceil((high - low + 1) / 6))
    powers = [10.0**k for k in range(low, high + 1) if k % stride == 0]
    axis.set_ticks(powers, [_power(value) for value in powers])
    axis.set_ticks([], minor=True)


def _few_powers(axis: Any, limits: tuple[float, float], least: float) -> None:
    """The same on both sides of 0."""
    low, high = math.ceil(math.log10(least)), math.floor(math.log10(max(map(abs, limits))))
    stride = max(1, math.ceil((high - low + 1) / 3))
    powers = [10.0**k for k in range(high, low - 1, -stride)]
    ticks = sorted([0.0, *powers, *(-power for power in powers)])
    ticks = [value for value in ticks if limits[0] <= value <= limits[1]]
    axis.set_ticks(ticks, [_power(value) for value in ticks])
    axis.set_ticks([], minor=True)


def _power(value: float) -> str:
    return numbers.setting(value) if abs(value) >= 0.01 or value == 0 else numbers.scientific(value, 0)


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: int | None) -> str:
    return f"{value:.6g}"


def _label(
    axes: Axes, words: str, at: tuple[float, float], colour: str, offset: tuple[float, float], *, ha: str, va: str
) -> None:
    axes.annotate(
        words,
        at,
        xytext=offset,
        textcoords="offset points",
        color=SENTINELS[colour],
        fontsize=SMALL,
        ha=ha,
        va=va,
        annotation_clip=False,
        zorder=6,
    )


def _key(figure: Figure, axes: Axes, columns: int = 2) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        handlelength=1.8,
        columnspacing=1.2,
        labelspacing=0.35,
        borderaxespad=0.0,
        borderpad=0.2,
    )
