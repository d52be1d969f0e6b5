"""How noisy phi is, level by level, from combinations that annihilate its smooth part."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def hiding_step(eps: float) -> float:
    """Steps relative to x below which rounding of x, or of what is subtracted from it, may hide every movement.

    In float64 those of a cast to float32 inside; in lower precision almost all: an intermediate result that is much
    larger than what is made of it may stay as it is.
    """
    return 1e-6 if eps < 1e-12 else 0.1


@dataclasses.dataclass(frozen=True)
class Noise:
    """Standard deviation of one value of phi.

    sigma : (L, m), per level: fast but smooth structure at coarse levels does not enter that of the fine ones.
    structure : (L, m), how steep what looks like noise at some finer level, but not at the finest, may be: that is
        structure, whose slope belongs to the slope of phi, and steps that do not resolve it know nothing of it.
    finest : (m,), as seen at the finest levels.
    quantum : (m,), lattice step of the values, 0 where there is none.
    """

    sigma: Floats
    structure: Floats
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
    eps: float = 2.0**-52,
    continuous: bool = False,
) -> Noise:
    """Estimate the noise of phi.

    Parameters
    ----------
    h : (L,) steps, coarse to fine.
    plus, minus : (L, m) values at +h and -h.
    f0 : (m,) value at 0.
    known : (m,) or (L, m) noise known from elsewhere (rounding, repeats, earlier directions): a lower bound, per level
        where it differs.
    unit : (m,) half an ulp of phi at the finest level, as an absolute number.
    eps : relative precision of the values.
    continuous : whether f is known to take values on no lattice: then a phi that never changes is flat, and not the
        tread of a staircase.
    """
    levels, outputs = plus.shape
    even, odd = (plus + minus) / 2 - f0, (plus - minus) / 2
    known = np.broadcast_to(known, plus.shape)
    running = np.maximum(known[-1], unit)
    two_level = np.zeros(outputs)
    if levels >= 2 and h[-2] < 3.1 * h[-1]:
        two_level = _two_level(h, odd, even)
        running = np.maximum(running, 2 * two_level)
    samples = three_level(h, odd, even)
    sampled = [j for j in range(levels) if np.isfinite(samples[j]).all()]
    if len(sampled) >= 4:
        both = 1.5 * _rms(samples[sampled[-2:]].reshape(-1, outputs))
        # A kink may sit in the coarser of the two triples: then the finest alone speaks.
        finest_only = 4 * _rms(samples[sampled[-1]])
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
    unseen = unseen_change(h, plus - f0, minus - f0, unit, eps, quantum > 0)
    running = np.maximum(running, 0.5 * np.maximum(quantum, unseen))
    if unseen.any():
        # What hides at the finest steps shows as noise at those just above, all of it where every entry has moved.
        moved = np.maximum(np.abs(plus - f0), np.abs(minus - f0)) > 4 * unit
        least = np.min(np.where(moved, h[:, None], np.inf), axis=0)
        far = np.maximum(300 * least, hiding_step(eps)) if eps < 1e-12 else 300 * least
        near = np.isfinite(samples) & ((h[:, None] <= far) & (unseen > 0))[:, None, :]
        running = np.maximum(running, 0.7 * np.max(np.where(near, samples, 0.0), axis=(0, 1)))
    finest = running
    sigma = np.empty((levels, outputs))
    for j in range(levels - 1, -1, -1):
        running = np.maximum(running, known[j])
        if j in sampled:
            coarser = samples[j - 1] if j - 1 in sampled else np.full((2, outputs), np.inf)
            finer = samples[j + 1] if j + 1 in sampled else np.zeros((2, outputs))
            # A sample that grows at least like h**2 over two gaps is truncation, not noise.
            growth = (h[j - 1] / h[j]) ** 2
            truncation = (samples[j] > growth * np.maximum(finer, running)) & (coarser > growth * samples[j])
            running = np.maximum(running, 0.7 * np.max(np.where(truncation, 0.0, samples[j]), axis=0))
        sigma[j] = running
    return Noise(sigma=sigma, structure=_structure(h, sigma, finest), finest=finest, quantum=quantum)


def _structure(h: Floats, sigma: Floats, finest: Floats) -> Floats:
    """Steepness, per level, of what the finer levels see and the finest does not.

    Amplitude s at step h that is gone at the next finer step (a quarter) is no steeper than 4 s / h; an estimate from
    few samples may be a quarter of the true noise, so only what exceeds four times the finest counts.
    """
    steep = 4 * np.maximum(sigma - 4 * finest, 0.0) / h[:, None]
    structure = np.zeros_like(steep)
    structure[:-1] = np.maximum.accumulate(steep[:0:-1], axis=0)[::-1]
    return structure


def unseen_change(
    h: Floats, plus: Floats, minus: Floats, unit: Floats, eps: float, on_lattice: NDArray[np.bool_]
) -> Floats:
    """How much f could have changed without showing it, per output.

    Where steps below `hiding_step` leave f as it is, bit for bit (in low precision: but for the correction to first
    order of where x + t v was rounded), rounding hides that x moves (a cast to float32, say). Of many entries that are
    rounded each by itself one may move at a finer step again, or jump right beside the point: then two steps give the
    same. On a lattice the smallest change seen is f's resolution. Elsewhere it may be that of one entry of x, while
    others hide more: it is the largest change at the steps just above those that hide. 0 where every step moves f, or
    nothing does, or what moves it fades below rounding like a parabola; wider steps that leave f as it is are taken at
    their word: it is flat there.
    """
    change = np.maximum(np.abs(plus), np.abs(minus))
    still = change <= (0.0 if eps < 1e-12 else 4.0) * unit
    if eps < 1e-12:
        still[:-1] |= (plus[:-1] == plus[-1]) & (minus[:-1] == minus[-1])
    if not still.any():
        return np.zeros_like(unit)
    moved = ~still
    index = np.arange(len(h))[:, None]
    # The finest level that leaves an output as it is, and the finest that moves it above that one.
    finest = np.max(np.where(still, index, -1), axis=0)
    above = moved & (index < finest)
    last = np.max(np.where(above, index, 0), axis=0)
    after = np.minimum(last + 1, len(h) - 1)
    at_last: Floats = np.take_along_axis(change, last[None], axis=0)[0]
    # Where even a parabola would have moved f at the next step: less than rounding shows no step, however honest.
    predicted = at_last * (h[after] / h[last]) ** 2 > 4 * unit
    hidden = above.any(axis=0) & predicted & (h[after] < hiding_step(eps))
    smallest: Floats = np.min(np.where(moved, change, np.inf), axis=0)
    nearby: Floats = np.max(np.where(moved & (h[:, None] <= 20 * h[last]), change, 0.0), axis=0)
    seen: Floats = np.where(on_lattice | (at_last <= 16 * unit), smallest, nearby)
    return np.asarray(np.where(hidden, seen, 0.0))


def one_sided_noise(h: Floats, rise: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Noise of one value from neighbouring triples of one side, t and t**2 removed, (m,); 0 if there are none.

    Also says whether it is noise, or settles: whether its share of the slope, sample / step, shrinks with the step, at
    least like step**0.25. What does neither is a singularity nearer than the finest step: for log t the samples stay
    the same, sign and size, while those of noise change both.
    """
    triples = [j for j in range(2, len(h)) if h[j - 2] < 8.1 * h[j - 1] and h[j - 1] < 8.1 * h[j]]
    if len(triples) < 3:
        none = np.zeros(rise.shape[1])
        return none, none == 0
    signed = np.stack([_eliminate(h[j - 2 : j + 1], rise[j - 2 : j + 1], (1, 2), 1.0, 1.0) for j in triples[-4:]])
    samples = np.abs(signed[-3:])
    settles = samples[-1] <= samples[0] * float(h[triples[-1]] / h[triples[-3]]) ** 1.25
    size = np.abs(signed)
    alike = (np.abs(signed.sum(axis=0)) == size.sum(axis=0)) & (size.max(axis=0) <= 3 * size.min(axis=0))
    return 1.5 * _rms(samples), settles | ~alike


def _rms(samples: Floats) -> Floats:
    """Root mean square over the first axis, whose squares neither overflow nor vanish."""
    top = np.maximum(np.max(samples, axis=0), 1e-300)
    return np.asarray(top * np.sqrt(np.mean((samples / top) ** 2, axis=0)))


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
    sample: Floats = np.hypot(from_odd, from_even) / math.sqrt(2)
    if len(h) >= 3:
        # The even part of a smooth line is c t**2: compare with the next level too, where the line looks smooth.
        wide = (a / h[-3]) ** 2
        across = np.abs(even[-2] - wide * even[-3]) / math.sqrt(0.5 + 1.0)
        fine_slope = odd[-1] / b
        smooth = np.abs(odd[-3] / h[-3] - fine_slope) <= 0.03 * np.abs(fine_slope)
        sample[smooth] = np.maximum(sample, across)[smooth]
    return sample


def three_level(h: Floats, odd: Floats, even: Floats) -> Floats:
    """|samples| (L, 2, m) from three neighbouring levels: t, t**3 removed from odd; t, t**2 from even (a kink at 0)."""
    return np.abs(np.stack(signed_three_level(h, odd, even), axis=1))


def signed_three_level(h: Floats, odd: Floats, even: Floats) -> tuple[Floats, Floats]:
    """The same with their signs: the samples from odd and from even (L, m)."""
    from_odd, from_even = np.full_like(odd, np.nan), np.full_like(even, np.nan)
    for j in range(2, len(h)):
        if h[j - 2] < 8.1 * h[j - 1] and h[j - 1] < 8.1 * h[j]:
            window = slice(j - 2, j + 1)
            from_odd[j] = _eliminate(h[window], odd[window], (1, 3), 0.5, 0.0)
            from_even[j] = _eliminate(h[window], even[window], (1, 2), 0.5, 1.0)
    return from_odd, from_even


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
        # (A subnormal step divided by six may be 0.)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            multiple = np.where(size < 3e3 * trial, size / trial, np.nan)
            # Rounding blurs both the multiple and the step that it is a multiple of.
            blur = np.maximum(1e-3, 2 * (multiple + 1) * unit / trial)
            whole = ~(blur < 0.25) | (np.abs(multiple - np.round(multiple)) < blur)
            multiple = np.where(blur < 4e-3, multiple, np.nan)
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
