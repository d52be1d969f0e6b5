"""GP224: a backward returns gradients in the shape of its inputs, and in no lower precision."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof._contracts._broken import Accused
from gradproof._report import Finding

# (place, shape and dtype of the input, shape and dtype of the gradient)
Form = tuple[int, tuple[int, ...], str, tuple[int, ...], str]


def other_forms(
    accused: Accused, forms: Sequence[Form], roots: Sequence[str], precision: dict[str, float], given: float
) -> list[Finding]:
    """What torch makes fit without a word: it sums a gradient that is too large, and casts any.

    Parameters
    ----------
    accused : Accused
    forms : sequence of tuple
        What was returned for each input.
    roots : sequence of str
        The names of the inputs.
    precision : dict of str to float
        Of each floating dtype.
    given : float
        The coarsest precision of cotangents and outputs: a gradient cannot have more digits than these.
    """
    found: list[Finding] = []
    for place, shape, dtype, other, other_dtype in forms:
        name = roots[place] if place < len(roots) else f"input {place}"
        if shape != other:
            found.append(
                accused.broken(
                    "GP224",
                    f"{accused.subject} returns a gradient of shape {other} for `{name}` of shape {shape}, which torch "
                    "sums silently",
                    f"Sum it over the axes along which `{name}` was broadcast: `gradient.sum_to_size({name}.shape)`.",
                )
            )
        coarse, own = precision.get(other_dtype, 0.0), precision.get(dtype, 0.0)
        if coarse > max(own, given):
            found.append(
                accused.broken(
                    "GP224",
                    f"{accused.subject} returns a gradient of dtype {other_dtype} for `{name}` of dtype {dtype}: its "
                    "digits are lost, and torch casts it back silently",
                    f"Compute the gradient in the dtype of `{name}`.",
                )
            )
    return found
