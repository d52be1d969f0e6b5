"""What can be wrong with a kernel besides its gradient: the findings GP140 to GP145, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gradproof._backends._torch_nearness import Difference
from gradproof._base._names import printable
from gradproof._contracts._layouts import WORDS
from gradproof._report import Finding, Severity

Entries = Sequence[tuple[int, ...]]

CACHE = "Key what is cached by all that it depends on: shapes, dtype and device."
STRIDES = "Pass the strides of each tensor to the kernel, or call `.contiguous()` on it first."


def raises(what: str, said: str) -> Finding:
    """An exception that is no refusal."""
    return Finding(
        id="GP140",
        severity=Severity.ERROR,
        kind=f"{what} raises {said}",
        advice=(
            "Handle this size, for example by returning early. If the kernel is not meant for it, raise ValueError "
            "or NotImplementedError, or leave the size out of `sizes`."
        ),
    )


def differs_from_reference(one: Difference) -> Finding:
    """The forward computes something else."""
    return _about(
        "GP141",
        one,
        "the value differs from that of `reference`",
        "Correct the forward first: its gradient may be right for the wrong function.",
    )


def not_finite(said: str, one: Difference | None = None) -> Finding:
    """Nan or infinity."""
    return Finding(
        id="GP142",
        severity=Severity.ERROR,
        path="" if one is None else one.path,
        place="" if one is None else place(one.entries, one.shape),
        kind=said,
        claimed=None if one is None else one.got,
        reference=None if one is None else one.wanted,
        quantity="" if one is None else "entry",
        advice="Look for a division by the size, a mask that hides everything, or memory that is never written.",
    )


def differs_in_layout(one: Difference, layout: str, alone: str) -> Finding:
    """Other numbers for the same values in another layout."""
    what = _what(one)
    which = f"`{alone}` is" if alone else "the inputs are"
    return _about(
        "GP143",
        one,
        f"{what} changes if {which} {WORDS[layout]}, with the same numbers in them",
        STRIDES,
    )


def differs_in_16_bits(one: Difference, dtype: str) -> Finding:
    """Other numbers in 16 bits than in higher precision."""
    what = _what(one)
    if one.kind == "finite":
        said = f"{what} is nan or infinite in {dtype}, but higher precision gives a number that {dtype} can hold"
        advice = "Compute the intermediate results that overflow in float32."
        return dataclasses.replace(not_finite(said, one), advice=advice)
    return _about(
        "GP144",
        one,
        f"{what} in {dtype} is far from the one in higher precision on the same inputs",
        f"Look for code of the kernel that is used only for {dtype}, and accumulate in float32.",
    )


def differs_afterwards(one: Difference) -> Finding:
    """Other numbers than before, for the same inputs."""
    what = _what(one)
    return _about(
        "GP227",
        one,
        f"{what} is another one after calls at other sizes than before",
        CACHE,
    )


def fails_afterwards(error: Exception) -> Finding:
    """An exception for the same inputs that went well before."""
    said = printable(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
    return Finding(
        id="GP227",
        severity=Severity.ERROR,
        kind=f"the call fails after calls at other sizes: {said}",
        advice=CACHE,
    )


def not_zero(path: str) -> Finding:
    """A gradient of nothing that is something."""
    return Finding(
        id="GP145",
        severity=Severity.ERROR,
        path=path,
        kind="the gradient is not zero, although an input is empty and the outputs do not depend on this array",
        advice="Fill the gradient with zeros if there is no block to compute: `torch.zeros_like`, not `empty_like`.",
    )


def doubtful(one: Difference, where: str) -> str:
    """A difference that is more than rounding, and no more than a loss of digits."""
    what = "the value" if one.path.startswith("output") else f"the gradient of `{one.path}`"
    return f"{what} loses digits in {where}: more than rounding explains, but too few to call it wrong"


def _about(id: str, one: Difference, kind: str, advice: str) -> Finding:
    """An error that numbers show."""
    other = f": shape {one.said}" if one.kind == "shape" else ": it is missing" if one.kind == "missing" else ""
    return Finding(
        id=id,
        severity=Severity.ERROR,
        path=one.path,
        place=place(one.entries, one.shape),
        kind=kind + other,
        claimed=one.got,
        reference=one.wanted,
        error_bar=one.bar,
        quantity="entry",
        advice=advice,
    )


def _what(one: Difference) -> str:
    return "the value" if one.path.startswith("output") else "the gradient"


def place(entries: Entries, shape: Sequence[int]) -> str:
    """Where some entries of a tensor lie: all, a slab along one axis, a single one, or how many."""
    total = 1
    for length in shape:
        total *= length
    if not entries or not shape:
        return ""
    if len(entries) == total:
        return "every entry" if total > 1 else ""
    if len(entries) == 1:
        return f"entry {list(entries[0])}"
    for axis, length in enumerate(shape):
        at = sorted({entry[axis] for entry in entries})
        if len(at) == length or len(entries) < 0.9 * len(at) * (total // length):
            continue
        name = "index" if len(shape) == 1 else f"index along axis {axis}"
        if len(at) == 1:
            return f"{name} {at[0]}"
        if at == list(range(at[0], length)):
            return f"{name} >= {at[0]}"
        if at == list(range(at[-1] + 1)):
            return f"{name} < {at[-1] + 1}"
    return f"{len(entries)} of {total} entries"
