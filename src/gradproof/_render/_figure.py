"""Axes as all pictures have them, with plain numbers and the key below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradproof._render import _numbers as numbers
from gradproof._render._svg import HALO, SENTINELS, new_figure

# Of matplotlib, which leaves the types of most keywords open.
Axes = Any
Figure = Any

# Of the axes, and around them for their labels: left, right, top, bottom; all in the units of the picture.
WIDTH, HEIGHT = 336.0, 190.0
MARGINS = (52.0, 12.0, 36.0, 36.0)
# Size of the text, and height of a line of the key.
SMALL, LINE = 10.0, 15.0
# Smaller numbers, and those larger than its inverse, have no place on a logarithmic axis.
LEAST = 1e-280


def new_axes(x: str, y: str) -> tuple[Figure, Axes]:
    """Empty axes; `_key` gives them their place."""
    figure = new_figure(1.0, 1.0)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), facecolor="none")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0, pad=4, labelsize=SMALL)
    axes.set_xlabel(x, fontsize=SMALL, labelpad=3)
    # Above the axis rather than beside it: words that lie on their side are hard to read.
    axes.annotate(
        y,
        (0, 1),
        xycoords="axes fraction",
        xytext=(4 - MARGINS[0], MARGINS[2] - 12),
        textcoords="offset points",
        color=SENTINELS["muted"],
        fontsize=SMALL,
        annotation_clip=False,
    )
    return figure, axes


def log_limits(values: Sequence[float], room: float) -> tuple[float, float]:
    """Limits of a logarithmic axis that holds these values, with a factor to spare at both ends."""
    values = [value for value in values if LEAST < value < 1 / LEAST] or [1e-16, 1.0]
    return min(values) / room, max(values) * room


def decades(axis: Any, limits: tuple[float, float]) -> None:
    """Ticks at powers of ten, few enough to be read, written as one types them."""
    low, high = math.ceil(math.log10(limits[0])), math.floor(math.log10(limits[1]))
    stride = max(1, math.ceil((high - low + 1) / 6))
    powers = [10.0**k for k in range(low, high + 1) if k % stride == 0]
    axis.set_ticks(powers, [_power(value) for value in powers])
    axis.set_ticks([], minor=True)


def powers_both_ways(axis: Any, limits: tuple[float, float], least: float) -> None:
    """The same on both sides of 0."""
    low, high = math.ceil(math.log10(least)), math.floor(math.log10(max(map(abs, limits))))
    stride = max(1, math.ceil((high - low + 1) / 3))
    powers = [10.0**k for k in range(high, low - 1, -stride)]
    ticks = sorted([0.0, *powers, *(-power for power in powers)])
    ticks = [value for value in ticks if limits[0] <= value <= limits[1]]
    axis.set_ticks(ticks, [_power(value) for value in ticks])
    axis.set_ticks([], minor=True)


def _power(value: float) -> str:
    return numbers.setting(value) if 0.01 <= abs(value) <= 1000 or value == 0 else numbers.scientific(value, 0)


def plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: int | None) -> str:
    return f"{value:.6g}"


def label(
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
        gid=HALO,
    )


def key(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """Say below the axes what is what, and settle the size of the picture."""
    handles, labels = axes.get_legend_handles_labels()
    left, right, top, bottom = MARGINS
    bottom += LINE * math.ceil(len(handles) / columns)
    width, height = left + WIDTH + right, bottom + HEIGHT + top
    figure.set_size_inches(width / 72, height / 72)
    axes.set_position((left / width, bottom / height, WIDTH / width, HEIGHT / height))
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
