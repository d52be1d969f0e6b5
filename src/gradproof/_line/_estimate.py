"""Extrapolate difference quotients to step 0, with a bar that covers truncation and noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gradproof._line._noise import Noise

Floats = NDArray[np.float64]

# Every bar holds this many standard deviations of propagated noise.
SIGMAS = 5.0
# Columns of the Neville table: central quotients reach order 2 * COLUMNS.
COLUMNS = 4
# However wide the gap between two steps, a thousandth of what changed across it stays in the bar.
LEAST_THETA = 1e-3


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """The chosen entry of a Neville table, per output.

    value, bar : (m,) arrays; bar is inf where no entry agrees with all finer ones.
    level, column : (m,) int arrays, the entry's place in the table.
    """

    value: Floats
    bar: Floats
    level: NDArray[np.intp]
    column: NDArray[np.intp]


def neville(h: Floats, quotients: Floats, power: int) -> tuple[Floats, Floats]:
    """Extrapolate quotients D(h_j), a polynomial in h**power, to h = 0.

    Parameters
    ----------
    h : (L,) steps, coarse to fine.
    quotients : (L, m)
    power : 2 for central quotients, 1 for one-sided ones.

    Returns
    -------
    table : (L, K, m)
        ``table[j, k]`` uses the levels j-k .. j; nan where k > j.
    weights : (L, K, L)
        ``table[j, k] = weights[j, k] @ quotients``.
    """
    levels, outputs = quotients.shape
    columns = min(COLUMNS, levels)
    x = h**power
    table = np.full((levels, columns, outputs), np.nan)
    weights = np.zeros((levels, columns, levels))
    table[:, 0] = quotients
    weights[:, 0] = np.eye(levels)
    for k in range(1, columns):
        coarse, fine = x[:-k], x[k:]
        a, b = (coarse / (coarse - fine))[:, None], (fine / (coarse - fine))[:, None]
        table[k:, k] = a * table[k:, k - 1] - b * table[k - 1 : -1, k - 1]
        weights[k:, k] = a * weights[k:, k - 1] - b * weights[k - 1 : -1, k - 1]
    return table, weights


def extrapolate(
    h: Floats,
    quotients: Floats,
    power: int,
    deviation: Callable[[Floats], Floats],
    structure: Floats | float = 0.0,
) -> Extrapolation:
    """Choose the smallest bar whose value agrees with the best entry of every finer level.

    ``bar = truncation + SIGMAS * deviation(weights) + structure``, the last of them per level (see `Noise`).
    Truncation is the larger of the differences to the entry of one order less and to the entry one level coarser. The
    latter measures the truncation of the *coarser* entry: with ratio R of the two steps it is (4/R)**power times too
    large for wide gaps, and for R < 2 it is too small, because nearly equal steps agree for nothing.
    """
    levels, outputs = quotients.shape
    table, weights = neville(h, quotients, power)
    columns = table.shape[1]
    theta = np.ones(levels)
    ratio = h[:-1] / h[1:]
    with np.errstate(divide="ignore"):
        theta[1:] = np.where(
            ratio >= 2,
            np.clip((4.0 / ratio) ** power, LEAST_THETA, 1.0),
            np.maximum(1.0, 2.0 / (ratio**power - 1)),
        )
    bar = np.full((levels, columns, outputs), np.inf)
    bar[1:, 0] = theta[1:, None] * np.abs(table[1:, 0] - table[:-1, 0])
    for k in range(1, columns):
        coarser = table[k - 1 : -1, k].copy()
        coarser[0] = table[k - 1, k - 1]
        bar[k:, k] = np.maximum(
            np.abs(table[k:, k] - table[k:, k - 1]), theta[k:, None] * np.abs(table[k:, k] - coarser)
        )
    # The arithmetic here rounds, too: a few ulps of the value itself.
    noise_bar = SIGMAS * deviation(weights) + 4 * 2.0**-52 * np.abs(table)
    bar += noise_bar + np.broadcast_to(structure, quotients.shape)[:, None, :]
    bar[~np.isfinite(bar)] = np.inf

    best_column = np.argmin(bar, axis=1)[:, None, :]
    level_bar = np.take_along_axis(bar, best_column, 1)[:, 0]
    level_value = np.take_along_axis(table, best_column, 1)[:, 0]
    level_noise = np.take_along_axis(noise_bar, best_column, 1)[:, 0]
    keep = np.isfinite(bar)
    with np.errstate(invalid="ignore"):
        for finer in range(1, levels):
            agrees = np.abs(table[:finer] - level_value[finer]) <= bar[:finer] + level_bar[finer]
            keep[:finer] &= agrees
    flat = np.where(keep, bar, np.inf).reshape(levels * columns, outputs)
    chosen = np.argmin(flat, axis=0)
    value = table.reshape(levels * columns, outputs)[chosen, np.arange(outputs)]
    # How far finer levels depart from this value beyond their noise is not explained by anything: the bar holds it.
    with np.errstate(invalid="ignore"):
        excess = np.abs(level_value - value) - level_noise
    excess[np.arange(levels)[:, None] <= chosen // columns] = 0.0
    unexplained = np.max(np.where(np.isfinite(excess), excess, 0.0), axis=0)
    return Extrapolation(
        value=value,
        bar=np.maximum(flat[chosen, np.arange(outputs)], unexplained),
        level=chosen // columns,
        column=chosen % columns,
    )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """phi'(0) and the jump phi'(0+) - phi'(0-), each with its bar; arrays (m,)."""

    value: Floats
    bar: Floats
    central_bar: Floats
    jump: Floats
    jump_bar: Floats
    level: NDArray[np.intp]
    column: NDArray[np.intp]


def estimate(h: Floats, odd: Floats, even: Floats, noise: Noise, *, no_kink: bool = False) -> Estimate:
    """Estimate the slope and its jump from odd and even parts of phi.

    Parameters
    ----------
    h : (L,) steps, coarse to fine.
    odd, even : (L, m)
        (phi(h) - phi(-h)) / 2 and (phi(h) + phi(-h)) / 2 - phi(0).
    noise : Noise
    no_kink : bool
        True for the few levels of a later direction: a kink at x itself would have shown in the first, so the jump
        is extrapolated through all levels and only its noise enters the bar.

    Notes
    -----
    ``bar = central_bar + (|jump| + jump_bar) / 2``: an undetected kink at 0 is paid for. The bar is empirical: it
    assumes that the levels see the structure of phi, which no black-box method can prove.
    """
    if no_kink and len(h) == 2:
        return pair(h, odd, even, noise.sigma, noise.structure[1])
    column = h[:, None]
    # Squares of what is below 1e-160 would vanish: values of any size are in units of their noise here.
    one = max(float(np.max(noise.sigma)), 1e-300)
    variance = (noise.sigma / one / column) ** 2
    central = extrapolate(h, odd / column, 2, lambda w: one * np.sqrt(0.5 * ((w * w) @ variance)), noise.structure)
    if no_kink:
        weights = np.array([_lagrange_at_zero(h / h[0], i) for i in range(len(h))])
        jump = weights @ (2 * even / column)
        jump_bar = SIGMAS * one * np.sqrt(2 * (weights**2) @ variance)
    else:
        shared = 2 * noise.sigma[-1]
        side = extrapolate(
            h,
            2 * even / column,
            1,
            lambda w: one * np.sqrt(2 * ((w * w) @ variance)) + shared * np.abs(w @ (1 / h))[:, :, None],
            noise.structure,
        )
        jump, jump_bar = side.value, side.bar
    bar = central.bar + 0.5 * (np.abs(jump) + jump_bar)
    return Estimate(
        value=central.value,
        bar=np.where(np.isfinite(bar), bar, np.inf),
        central_bar=central.bar,
        jump=jump,
        jump_bar=jump_bar,
        level=central.level,
        column=central.column,
    )


def pair(h: Floats, odd: Floats, even: Floats, sigma: Floats, structure: Floats | float = 0.0) -> Estimate:
    """What `estimate` makes of two levels where a kink is excluded, in a few operations.

    Parameters
    ----------
    h : (2,) steps, coarse to fine.
    odd, even, sigma : (2, m)
    structure : (m,), that at the fine level.
    """
    coarse, fine = float(h[0]), float(h[1])
    ratio = coarse / fine
    theta = min(max((4.0 / ratio) ** 2, LEAST_THETA), 1.0) if ratio >= 2 else max(1.0, 2.0 / (ratio**2 - 1))
    first: Floats = odd[0] / coarse
    second: Floats = odd[1] / fine
    change: Floats = np.abs(second - first)
    noise_coarse, noise_fine = sigma[0] / coarse, sigma[1] / fine
    # The weights of the two levels in the value that has t**2 removed, and in the jump, which has t removed.
    a, b = ratio**2 / (ratio**2 - 1), 1 / (ratio**2 - 1)
    w0, w1 = -1 / (ratio - 1), ratio / (ratio - 1)
    extrapolated: Floats = a * second - b * first
    rounding = 4 * 2.0**-52
    plain = theta * change + SIGMAS * math.sqrt(0.5) * noise_fine + rounding * np.abs(second)
    bar: Floats = max(b, theta * a) * change + SIGMAS * math.sqrt(0.5) * np.hypot(b * noise_coarse, a * noise_fine)
    bar += rounding * np.abs(extrapolated)
    is_plain = plain <= bar
    central_bar: Floats = np.where(is_plain, plain, bar) + structure
    central_bar = np.where(np.isfinite(central_bar), central_bar, np.inf)
    jump = 2 * (w0 / coarse * even[0] + w1 / fine * even[1])
    jump_bar: Floats = SIGMAS * math.sqrt(2) * np.hypot(w0 * noise_coarse, w1 * noise_fine)
    bar = central_bar + 0.5 * (np.abs(jump) + jump_bar)
    return Estimate(
        value=np.where(is_plain, second, extrapolated),
        bar=np.where(np.isfinite(bar), bar, np.inf),
        central_bar=central_bar,
        jump=jump,
        jump_bar=jump_bar,
        level=np.ones(len(second), dtype=np.intp),
        column=np.where(is_plain, 0, 1),
    )


def _lagrange_at_zero(x: Floats, i: int) -> float:
    """Weight of level i in the value at 0 of the polynomial through all levels."""
    return math.prod(-x[j] / (x[i] - x[j]) for j in range(len(x)) if j != i)


def one_sided(h: Floats, rise: Floats, sigma: Floats, structure: Floats | float = 0.0) -> Extrapolation:
    """Slope from one side only: rise = phi(h) - phi(0) on that side (already signed), (L, m).

    The noise of phi(0) is shared by all levels, so it enters with the sum of the weights. The bar is doubled: at the
    edge of a domain phi may grow with half-integer powers, which integer ones extrapolate badly.
    """
    column = h[:, None]

    def deviation(weights: Floats) -> Floats:
        own = np.sqrt((weights**2) @ (h**-2.0))
        shared = np.abs(weights @ (1 / h))
        return sigma * (own + shared)[:, :, None]

    found = extrapolate(h, rise / column, 1, deviation, structure)
    return dataclasses.replace(found, bar=2 * found.bar)
