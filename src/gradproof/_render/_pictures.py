"""Pictures of `Evidence`: each function returns one ``<svg>`` element (colours: see `gradproof._render._svg`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._render import _numbers as numbers
from gradproof._render._figure import Axes, key, new_axes, plain_ticks, powers_both_ways
from gradproof._render._step_picture import step_picture
from gradproof._render._svg import SENTINELS, as_svg, style
from gradproof._render._tensor_picture import tensor_picture
from gradproof._report._evidence import Comparison

__all__ = ["scatter", "step_picture", "tensor_picture"]

Floats = NDArray[np.float64]


def scatter(comparisons: Sequence[Comparison]) -> str:
    """Draw claimed against measured slopes and entries, with the diagonal on which they agree."""
    with style():
        return _scatter([one for one in comparisons if math.isfinite(one.claimed) and math.isfinite(one.reference)])


def _scatter(points: list[Comparison]) -> str:
    claimed = np.array([one.claimed for one in points])
    reference = np.array([one.reference for one in points])
    bars = np.array([one.error_bar for one in points])
    against = np.array([one.against for one in points], dtype=bool)
    figure, axes = new_axes("measured", "claimed")
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
        label = f"consistent with the claim ({np.count_nonzero(~against)})"
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
    key(figure, axes)
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
            powers_both_ways(axis, limits, scale["linthresh"])
    else:
        room = 0.08 * (high - low) or 1.0
        limits = (low - room, high + room)
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
    axes.set(xlim=limits, ylim=limits)
    return limits
