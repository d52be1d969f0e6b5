"""Whether phi jumps at 0 itself: a value there that its neighbours do not predict, or two sides that stay apart.

Of a smooth phi the odd part shrinks like t and the even part like t**2; at a kink both shrink like t. A part that stays
as it is while the step shrinks two hundred times is a jump as far as these steps can tell: phi may rise by it within
any smaller distance, as x / max(|x|, 1e-12) does, and only steps that are finer than all of them know its slope.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradproof._line._noise import three_level

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Levels that must agree, the range of steps that they must span, and how well they must agree: a cusp |t|**0.05 changes
# by a quarter over this range, and noise agrees so well by chance in one of some 1e5 cases.
LEAST, SPAN, ALIKE = 4, 200.0, 0.05
# The same, where it is enough to ask for more.
EARLY = 3, 20.0
# Half-ulps of phi, and standard deviations of repeats, below which nothing is a jump.
CLEAR, CLEAR_REPEATS = 64.0, 10.0
# The whole of what an odd part does, as a multiple of the jump, where phi does nothing but jump.
ALONE = 2.0
# Odd part, as a multiple of what the even part is at 0, up to which phi(0) differs from both its neighbours.
BESIDE = 0.1
# How many samples of noise phi(0) is held against, and how many standard deviations, as these have it, it must lie away
# from what its neighbours predict: Student's t with five degrees of freedom exceeds 16 in one of 1e5 cases.
SAMPLES, OUTSIDE = 5, 16.0


def least_jump(unit: Floats, deviation: Floats | float) -> Floats:
    """By how much phi must change (m,), given half an ulp of it and the standard deviation of repeats."""
    return np.maximum(CLEAR * unit, CLEAR_REPEATS * deviation)


def jumps(
    h: Floats,
    plus: Floats,
    minus: Floats,
    f0: Floats,
    level: NDArray[np.intp],
    least: Floats,
    claimed: float | None = None,
    *,
    early: bool = False,
    is_lost: Mask | bool = False,
) -> Mask:
    """Whether each output of phi jumps at 0, and its slope was not taken from steps within the jump (m,).

    Parameters
    ----------
    h : (L,) steps, coarse to fine.
    plus, minus : (L, m)
    f0 : (m,)
    level : (m,), the finest level that the slope rests on.
    least : (m,), what phi may change by at random; nothing below it is a jump.
    claimed : a slope (of a scalar phi).
    early : whether few levels are to suffice, where more can be asked for.
    is_lost : (m,), where no steps tell a slope, not those of a staircase either.

    Notes
    -----
    What the even part predicts for t = 0, from three neighbouring levels with t and t**2 removed, is how far phi(0)
    lies from its neighbours.
    At the edge of a tread of a staircase the odd part stays as it is, too, and the slope of the staircase shows at
    coarse steps. So the odd part counts where phi does nothing but jump, where the claim is steep enough to be the
    slope of what happens within it, or where no steps tell a slope.
    """
    if len(h) < LEAST:
        return np.zeros(len(f0), dtype=bool)
    odd, even = (plus - minus) / 2, (plus + minus) / 2 - f0
    first = int(level.min())
    apart = _stays(h, odd, least, LEAST, SPAN, first)
    at_zero = _predicted(h, even)
    off = _stays(h[2:], at_zero, least, *(EARLY if early else (LEAST, SPAN)), first - 2)
    if not early:
        # (Beside the edge of a tread one side stays as it is: odd and even part are the same.)
        off[np.abs(_at(odd, off + 2)) > BESIDE * np.abs(_at(at_zero, off))] = -1
        off[~(np.abs(_at(at_zero, off)) > OUTSIDE * _scatter(h, odd, off + 2))] = -1
    off[off >= 0] += 2
    if not ((apart >= level) | (off >= level)).any():
        return np.zeros(len(f0), dtype=bool)
    size = np.abs(_at(odd, apart))
    alone = is_lost | (np.abs(odd).max(axis=0) <= ALONE * size)
    steep = claimed is not None and abs(claimed) * float(h[-1]) >= float(size[0])
    return np.asarray(((apart >= level) & (alone | steep)) | (off >= level))


def _scatter(h: Floats, odd: Floats, level: NDArray[np.intp]) -> Floats:
    """The noise of one value beside 0, from the odd part at up to `SAMPLES` neighbouring levels from one on (m,).

    The odd part knows nothing of phi(0). inf where too few levels are close enough to each other to show noise.
    """
    samples = three_level(h, odd, odd)[:, 0]
    finer = np.isfinite(samples) & (np.arange(len(h))[:, None] <= level)
    rank = np.cumsum(finer[::-1], axis=0)[::-1]
    used = finer & (rank <= SAMPLES)
    mean = np.sum(np.where(used, samples, 0.0) ** 2, axis=0) / SAMPLES
    return np.asarray(np.where(used.sum(axis=0) == SAMPLES, np.sqrt(mean), np.inf))


def _at(part: Floats, level: NDArray[np.intp]) -> Floats:
    """A part at one level for each output (m,)."""
    found: Floats = np.take_along_axis(part, np.maximum(level, 0)[None], axis=0)[0]
    return found


def _predicted(h: Floats, even: Floats) -> Floats:
    """The even part at t = 0 as predicted by three neighbouring levels each, (L - 2, m)."""
    a, b, c = h[:-2, None], h[1:-1, None], h[2:, None]
    weights = b * c / ((a - b) * (a - c)), a * c / ((b - a) * (b - c)), a * b / ((c - a) * (c - b))
    return np.asarray(weights[0] * even[:-2] + weights[1] * even[1:-1] + weights[2] * even[2:])


def _stays(h: Floats, part: Floats, least: Floats, needed: int, span: float, start: int) -> NDArray[np.intp]:
    """The finest level, from `start` on, down to which a part keeps its size over a range of steps; else -1 (m,)."""
    found = np.full(part.shape[1], -1, dtype=np.intp)
    size = np.abs(part)
    if not ((size[1:] > least) & (size[1:] >= (1 - ALIKE) * size[:-1])).any():
        return found  # no two neighbours are alike
    for last in range(max(needed - 1, start), len(h)):
        first = last + 1 - needed
        while first > 0 and h[first] < span * h[last]:
            first -= 1
        if h[first] < span * h[last]:
            continue
        these = part[first : last + 1]
        smallest, largest = np.abs(these).min(axis=0), np.abs(these).max(axis=0)
        alike = (largest - smallest <= ALIKE * largest) & (np.abs(np.sign(these).sum(axis=0)) == len(these))
        found[alike & (smallest > least)] = last
    return found
