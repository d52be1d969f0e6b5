"""GP201: a gradient has the shape of its leaf, and a Jacobian those of output and leaf, one after the other."""

from __future__ import annotations

import itertools as it
import math

from gradproof._backends import Array
from gradproof._report import Finding, Severity

Shape = tuple[int, ...]


def fit_shape(path: str, shape: Shape, gradient: Array, noun: str = "gradient") -> tuple[Array | None, Finding | None]:
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
        kind=f"claimed {noun} of shape {gradient.shape} for an array of shape {shape}",
        advice=_advice(shape, gradient, noun),
    )
    return (gradient.reshape(shape) if can_be_read else None), finding


def fit_block(path: str, output: Shape, leaf: Shape, block: Array) -> tuple[Array | None, Finding | None]:
    """Return a block of a Jacobian as (entries of the output, entries of the leaf), or the finding if it has no shape.

    ``output + leaf`` is the shape of a block; (entries, entries) is accepted as well. Where only axes of length 1
    differ the numbers can still be measured.
    """
    flat = math.prod(output), math.prod(leaf)
    shape = output + leaf
    if block.shape in (shape, flat):
        return block.reshape(flat), None
    can_be_read = _squeezed(block.shape) in (_squeezed(shape), _squeezed(flat))
    finding = Finding(
        id="GP201",
        severity=Severity.ERROR,
        path=path,
        kind=f"claimed block of shape {block.shape} for an output of shape {output} and an array of shape {leaf}",
        advice=_block_advice(output, leaf, block.shape),
    )
    return (block.reshape(flat) if can_be_read else None), finding


def _block_advice(output: Shape, leaf: Shape, given: Shape) -> str:
    flat = math.prod(output), math.prod(leaf)
    if given == flat[::-1]:
        return "`.T` fits: is it transposed? Rows are outputs, columns are the entries of the array."
    if given == leaf + output:
        axes = f"{tuple(range(len(leaf)))}, {tuple(range(-len(leaf), 0))}"
        return f"`np.moveaxis(..., {axes})` fits: the axes of the output come first."
    if math.prod(given) == math.prod(flat):
        return f"`.reshape{output + leaf}` fits."
    return f"Its shape should be {output + leaf}, that of the output and then of the array, or {flat}."


def _squeezed(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def _advice(shape: Shape, gradient: Array, noun: str) -> str:
    """Say what turns one shape into the other."""
    if gradient.ndim == 0:
        return f"`np.full({shape}, ...)` fits, if all entries are the same: there is one for each entry of the array."
    if gradient.ndim > 1 and gradient.shape[::-1] == shape:
        return "`.T` fits: is it transposed?"
    if gradient.size == math.prod(shape):
        return f"`.{'ravel()' if len(shape) == 1 else f'reshape{shape}'}` fits."
    for count in range(1, gradient.ndim + 1):
        for axes in it.combinations(range(gradient.ndim), count):
            axis = axes[0] if count == 1 else axes
            if tuple(length for i, length in enumerate(gradient.shape) if i not in axes) == shape:
                return f"`.sum(axis={axis})` fits: was the array broadcast along it?"
            if tuple(1 if i in axes else length for i, length in enumerate(gradient.shape)) == shape:
                return f"`.sum(axis={axis}, keepdims=True)` fits: was the array broadcast along it?"
    return f"A {noun} has the shape of the array it belongs to."
