"""GP201: a gradient has the shape of its leaf."""

from __future__ import annotations

import itertools as it
import math

from gradproof._backends._numpy import Array
from gradproof._report import Finding, Severity

Shape = tuple[int, ...]


def fit_shape(path: str, shape: Shape, gradient: Array) -> tuple[Array | None, Finding | None]:
    """Return the gradient in the shape of its leaf, None where it has no such reading, and the finding if there is one.

    A scalar stands for a leaf of one entry. Where only axes of length 1 differ the numbers can still be measured.
    """
    if gradient.shape == shape or (gradient.ndim == 0 and _squeezed(shape) == ()):
        return gradient.reshape(shape), None
    can_be_read = _squeezed(gradient.shape) == _squeezed(shape)
    finding = Finding(
        id="GP201",
        severity=Severity.ERROR,
        path=path,
        kind=f"claimed gradient of shape {gradient.shape} for a leaf of shape {shape}",
        advice=_advice(shape, gradient),
    )
    return (gradient.reshape(shape) if can_be_read else None), finding


def _squeezed(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def _advice(shape: Shape, gradient: Array) -> str:
    """Say what turns one shape into the other."""
    if gradient.ndim > 1 and gradient.shape[::-1] == shape:
        return "`.T` fits: is it transposed?"
    if gradient.size == math.prod(shape):
        return f"`.{'ravel()' if len(shape) == 1 else f'reshape{shape}'}` fits."
    for count in range(1, gradient.ndim + 1):
        for axes in it.combinations(range(gradient.ndim), count):
            axis = axes[0] if count == 1 else axes
            if tuple(length for i, length in enumerate(gradient.shape) if i not in axes) == shape:
                return f"`.sum(axis={axis})` fits: was the leaf broadcast along it?"
            if tuple(1 if i in axes else length for i, length in enumerate(gradient.shape)) == shape:
                return f"`.sum(axis={axis}, keepdims=True)` fits: was the leaf broadcast along it?"
    return "a gradient has the shape of the leaf it belongs to."
