"""Which sizes are tried: around the multiples of blocks, and of several axes every pair of sizes."""

from __future__ import annotations

import inspect
import itertools as it
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from gradproof._base._errors import UsageError

# What a kernel of one axis, and one of several, is tried at: nothing, one, and each power of two with its neighbours.
# (Kernels commonly have blocks of 16 to 1024. With several axes the cases multiply: a few powers stand for all.)
OF_ONE = (0, 1, 2, 3, 4, 5, *(2**k + i for k in (3, 4, 5, 6, 7, 8, 10) for i in (-1, 0, 1)))
OF_SEVERAL = (0, 1, 2, 7, 16, 33, 63, 64, 65)
# What `make_inputs` may name besides its sizes.
KEYWORDS = ("dtype", "device", "generator")

Sizes: TypeAlias = tuple[tuple[str, int], ...]  # the size of each axis, by its name


def axes_of(make_inputs: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of `make_inputs` that are sizes: those without a default, but for `KEYWORDS`."""
    try:
        parameters = inspect.signature(make_inputs).parameters.values()
    except (TypeError, ValueError):
        return ("size",)
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return tuple(one.name for one in named if one.default is one.empty and one.name not in KEYWORDS)


def listed(sizes: Any, make_inputs: Callable[..., Any]) -> dict[str, tuple[int, ...]]:
    """The option `sizes`, axis by axis, each in ascending order.

    Raises
    ------
    UsageError
        If it does not fit the parameters of `make_inputs`.
    """
    axes = axes_of(make_inputs)
    if not axes:
        raise UsageError(
            "`make_inputs` must take a size, `make_inputs(size)`, or several by name, `make_inputs(rows, columns)`."
        )
    if sizes is None:
        return dict.fromkeys(axes, OF_ONE if len(axes) == 1 else OF_SEVERAL)
    if not isinstance(sizes, Mapping):
        if len(axes) > 1:
            raise UsageError(
                f"`make_inputs` takes {len(axes)} sizes, so `sizes` must be a dict with a list for each: "
                f"`sizes={{{', '.join(f'{axis!r}: [...]' for axis in axes)}}}`."
            )
        sizes = dict.fromkeys(axes, sizes)
    given = cast("Mapping[Any, Any]", sizes)
    missing = [axis for axis in axes if axis not in given]
    if missing:
        lacking = ", ".join(f"`{axis}`" for axis in missing)
        raise UsageError(f"`sizes` must also name {lacking}, which `make_inputs` takes.")
    known = (*axes, *_with_defaults(make_inputs))
    unknown = [axis for axis in given if axis not in known]
    if unknown:
        takes = ", ".join(f"`{axis}`" for axis in known)
        raise UsageError(f"`sizes` names `{unknown[0]}`, but `make_inputs` takes {takes}.")
    return {axis: _whole(given[axis], axis) for axis in known if axis in given}


def _with_defaults(make_inputs: Callable[..., Any]) -> list[str]:
    """Other parameters, which are sizes where `sizes` names them."""
    try:
        parameters = inspect.signature(make_inputs).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in parameters if one.default is not one.empty and one.name not in KEYWORDS]


def _whole(values: Any, axis: str) -> tuple[int, ...]:
    found: list[Any] = list(values) if hasattr(values, "__iter__") else [values]
    fits = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 0 for n in found)
    if not found or not fits or isinstance(values, (str, bytes)):
        raise UsageError(f"the sizes of `{axis}` must be a list of integers of at least 0, got {values!r}.")
    return tuple(sorted({int(n) for n in found}))


def cases(sizes: Mapping[str, Sequence[int]]) -> list[Sizes]:
    """Sizes of all axes together, smallest first: every pair of sizes of any two axes occurs.

    For one or two axes these are all combinations. For more, every case is chosen to hold as many pairs as possible
    that have not occurred (a greedy covering array).
    """
    axes = list(sizes)
    if len(axes) <= 2:
        found = list(it.product(*(sizes[axis] for axis in axes)))
    else:
        found = _pairwise([sizes[axis] for axis in axes])
    return sorted((tuple(zip(axes, one, strict=True)) for one in found), key=by_size)


def by_size(sizes: Sizes) -> tuple[int, tuple[int, ...]]:
    """What orders cases: the sum of the sizes, then the sizes themselves."""
    return sum(n for _, n in sizes), tuple(n for _, n in sizes)


def _pairwise(values: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Rows with a value of each column, in which every pair of values of two columns occurs."""
    columns = range(len(values))
    pending = {(i, a, j, b): None for i, j in it.combinations(columns, 2) for a, b in it.product(values[i], values[j])}
    rows: list[tuple[int, ...]] = []
    while pending:
        i, a, j, b = next(iter(pending))
        row: dict[int, int] = {i: a, j: b}
        for column in columns:
            if column not in row:
                row[column] = max(values[column], key=lambda n: _gained(pending, row, column, n))
        rows.append(tuple(row[column] for column in columns))
        for one, other in it.combinations(columns, 2):
            pending.pop((one, row[one], other, row[other]), None)
    return rows


def _gained(pending: Mapping[tuple[int, int, int, int], None], row: Mapping[int, int], column: int, n: int) -> int:
    """How many pairs that have not occurred the value `n` in a column makes with those in `row`."""
    pairs = ((column, n, k, m) if column < k else (k, m, column, n) for k, m in row.items())
    return sum(pair in pending for pair in pairs)
