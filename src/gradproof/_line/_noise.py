"""How noisy phi is, level by level, from combinations that annihilate its smooth part."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def hiding_step(eps: float) -> float:
    """Steps relative to x below which rounding of x, or of what is subtracted from it, may hide every movement.

    In float64 those of a cast to float32 inside; in lower precision the steps at which an intermediate result that is
    a thousand times as large as its difference to a bound stays as it is.
    """
    return 1e-6 if eps < 1e-12 else 3e3 * eps


@dataclasses.dataclass(frozen=True)
class Noise:
    """Standard deviation of one value of phi.

    sigma : (L, m), per level: fast but smooth structure at coarse levels does not enter that of the fine ones.
    finest : (m,), as seen at the finest levels.
    quantum : (m,), lattice step of the values, 0 where there is none.
    """

    sigma: Floats
    finest: Floats
    quantum: Floats


def noise(
    h: Floats,
    plus: Floats,
    minus: Floats,
    f0: Floats,
    known: Floats,
    unit: Floats,
    *,
    hiding: float = 1e-6,
    continuous: bool = False,
) -> Noise:
    """Estimate the noise of phi.

    Parameters
    ----------
    h : (L,) steps, coarse to fine.
    plus, minus : (L, m) values at +h and -h.
    f0 : (m,) value at 0.
    known : (m,) noise known from elsewhere (repeats, earlier directions): a lower bound.
    unit : (m,) half an ulp of phi, as an absolute number.
    hiding : the steps below which rounding may hide every movement of x.
    continuous : whether f is known to take values on no lattice: then a phi that never changes is flat, and not the
        tread of a staircase.
    """
    levels, outputs = plus.shape
    even, odd = (plus + minus) / 2 - f0, (plus - minus) / 2
    running = np.maximum(known, unit)
    two_level = np.zeros(outputs)
    if levels >= 2 and h[-2] < 3.1 * h[-1]:
        two_level = _two_level(h, odd, even)
        running = np.maximum(running, 2 * two_level)
    samples = _three_level(h, odd, even)
    sampled = [j for j in range(levels) if np.isfinite(samples[j]).all()]
    if len(sampled) >= 4:
        both = 1.5 * np.sqrt(np.mean(samples[sampled[-2:]].reshape(-1, outputs) ** 2, axis=0))
        # A kink may sit in the coarser of the two triples: then the finest alone speaks.
        finest_only = 4 * np.sqrt(np.mean(samples[sampled[-1]] ** 2, axis=0))
        running = np.maximum(running, np.minimum(both, finest_only))
    quantum = np.zeros(outputs)
    if levels > 4 or bool((two_level > 8 * unit).any()):
        quantum = lattice(np.concatenate([plus - f0, minus - f0]), unit)
    bit = lowest_bit(np.concatenate([plus, minus, f0[None]]))
    if levels >= 3:
        coarse = (bit > 8 * unit) & np.isfinite(bit)
        if continuous:
            coarse &= (plus != f0).any(axis=0) | (minus != f0).any(axis=0)
        quantum = np.maximum(quantum, np.where(coarse, bit, 0.0))
    running = np.maximum(running, 0.5 * np.maximum(quantum, unseen_change(h, plus - f0, minus - f0, hiding)))
    finest = running
    sigma = np.empty((levels, outputs))
    for j in range(levels - 1, -1, -1):
        if j in sampled:
            coarser = samples[j - 1] if j - 1 in sampled else np.full((2, outputs), np.inf)
            finer = samples[j + 1] if j + 1 in sampled else np.zeros((2, outputs))
            # A sample that grows at least like h**2 over two gaps is truncation, not noise.
            growth = (h[j - 1] / h[j]) ** 2
            truncation = (samples[j] > growth * np.maximum(finer, running)) & (coarser > growth * samples[j])
            running = np.maximum(running, 0.7 * np.max(np.where(truncation, 0.0, samples[j]), axis=0))
        sigma[j] = running
    return Noise(sigma=sigma, finest=finest, quantum=quantum)


def unseen_change(h: Floats, plus: Floats, minus: Floats, hiding: float) -> Floats:
    """How much f could have changed without showing it, per output.

    Where steps below `hiding` leave f as it is, bit for bit, rounding hides that x moves (a cast to float32, say), and
    the smallest change seen at coarser steps is f's resolution. 0 where the finest step moves f, or nothing does; wider
    steps that leave f as it is are taken at their word: it is flat there.
    """
    change = np.maximum(np.abs(plus), np.abs(minus))
    if (change[-1] != 0).all():
        return np.zeros_like(plus[0])
    moved = change > 0
    # The finest level that moves an output, 0 where none does; the next one must leave it as it is.
    last = len(h) - 1 - np.argmax(moved[::-1], axis=0)
    hidden = moved.any(axis=0) & (change[-1] == 0) & (h[np.minimum(last + 1, len(h) - 1)] < hiding)
    return np.where(hidden, np.min(np.where(moved, change, np.inf), axis=0), 0.0)


def one_sided_noise(h: Floats, rise: Floats) -> Floats:
    """Noise of one value from neighbouring triples of one side, t and t**2 removed, (m,); 0 if there are none."""
    samples: list[Floats] = [
        np.abs(_eliminate(h[j - 2 : j + 1], rise[j - 2 : j + 1], (1, 2), 1.0, 1.0))
        for j in range(2, len(h))
        if h[j - 2] < 8.1 * h[j - 1] and h[j - 1] < 8.1 * h[j]
    ]
    if len(samples) < 3:
        return np.zeros_like(rise[0])
    first, second, third = samples[-3:]
    mean: Floats = (first * first + second * second + third * third) / 3
    return np.sqrt(2.25 * mean)


def _two_level(h: Floats, odd: Floats, even: Floats) -> Floats:
    """Noise sample from the two finest levels: t and t**3 removed from the odd part, t**2 from the even part."""
    a, b = float(h[-2]), float(h[-1])
    ratio = a / b
    cubic = np.zeros(odd.shape[1])
    if len(h) >= 3:
        cubic = (odd[-3] / h[-3] - odd[-2] / a) / (h[-3] ** 2 - a**2)
    plain = odd[-2] - ratio * odd[-1]
    from_odd = np.minimum(np.abs(plain - cubic * (a**3 - ratio * b**3)), np.abs(plain))
    from_odd = from_odd / math.sqrt(0.5 * (1 + ratio**2))
    from_even = (even[-2] - ratio**2 * even[-1]) / math.sqrt(0.5 * (1 + ratio**4) + (1 - ratio**2) ** 2)
    sample: Floats = np.sqrt((from_odd**2 + from_even**2) / 2)
    if len(h) >= 3:
        # The even part of a smooth line is c t**2: compare with the next level too, where the line looks smooth.
        wide = (a / h[-3]) ** 2
        across = np.abs(even[-2] - wide * even[-3]) / math.sqrt(0.5 + 1.0)
        fine_slope = odd[-1] / b
        smooth = np.abs(odd[-3] / h[-3] - fine_slope) <= 0.03 * np.abs(fine_slope)
        sample[smooth] = np.maximum(sample, across)[smooth]
    return sample


def _three_level(h: Floats, odd: Floats, even: Floats) -> Floats:
    """|samples| (L, 2, m) from three neighbouring levels: t, t**3 removed from odd; t, t**2 from even (a kink at 0)."""
    levels, outputs = odd.shape
    samples = np.full((levels, 2, outputs), np.nan)
    for j in range(2, levels):
        if h[j - 2] < 8.1 * h[j - 1] and h[j - 1] < 8.1 * h[j]:
            window = slice(j - 2, j + 1)
            samples[j, 0] = np.abs(_eliminate(h[window], odd[window], (1, 3), 0.5, 0.0))
            samples[j, 1] = np.abs(_eliminate(h[window], even[window], (1, 2), 0.5, 1.0))
    return samples


def _eliminate(h: Floats, y: Floats, powers: tuple[int, int], variance: float, shared: float) -> Floats:
    """Combination of three levels that annihilates two powers of h, normalised to unit noise.

    `variance` is that of one y, `shared` that of the term common to all (phi(0) in the even part).
    """
    (a0, b0), (a1, b1), (a2, b2) = ((float(x) ** powers[0], float(x) ** powers[1]) for x in h / h[0])
    determinant = a0 * b1 - a1 * b0
    w0 = -(a2 * b1 - a1 * b2) / determinant
    w1 = -(a0 * b2 - a2 * b0) / determinant
    norm = math.sqrt(variance * (w0 * w0 + w1 * w1 + 1) + shared * (w0 + w1 + 1) ** 2)
    return (w0 * y[0] + w1 * y[1] + y[2]) / norm


def lattice(differences: Floats, unit: Floats) -> Floats:
    """Smallest step well above `unit` of which every small difference is a whole multiple, per output, else 0."""
    size = np.abs(differences)
    size = np.where(size > 4 * unit, size, np.nan)
    enough = np.isfinite(size).sum(0) >= 4
    step = np.zeros(differences.shape[1])
    if not enough.any():
        return step
    smallest = np.nanmin(np.where(enough, size, 1.0), axis=0)
    for divisor in (6, 5, 4, 3, 2, 1):
        trial = smallest / divisor
        with np.errstate(invalid="ignore"):
            multiple = np.where(size < 3e3 * trial, size / trial, np.nan)
            whole = np.isnan(multiple) | (np.abs(multiple - np.round(multiple)) < 1e-3)
        good = whole.all(0) & (np.isfinite(multiple).sum(0) >= 4) & enough
        # A divided step is a guess at the lattice: half as much again, to be safe.
        step = np.where(good, trial * (1.0 if divisor == 1 else 1.5), step)
    return step


def lowest_bit(values: Floats) -> Floats:
    """Coarsest binary lattice of all values, per output: float32 inside and cancellation leave it above an ulp."""
    mantissa, exponent = np.frexp(values)
    whole = (mantissa * 2.0**53).astype(np.int64)
    bit = np.ldexp((whole & -whole).astype(float), exponent - 53)
    return np.min(np.where(values != 0, bit, np.inf), axis=0)
