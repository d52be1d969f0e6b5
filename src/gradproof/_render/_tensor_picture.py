"""A leaf or a Jacobian as a heat map, the wrong entries outlined."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradproof._render import _numbers as numbers
from gradproof._render._svg import new_root, serialised, variable
from gradproof._report._evidence import TensorMap

Floats = NDArray[np.float64]

WIDTH, LEFT, RIGHT, GAP = 400.0, 40.0, 8.0, 34.0
# Of a panel, and of a cell.
TALLEST, LARGEST, LEAST = 300.0, 40.0, 5.0
# Cells of this size are set off from each other by lines.
GRID = 12.0
TEXT, LINE = 10.0, 15.0
# Shades, the lightest of them, and the decades that they span at most.
SHADES, PALEST, DECADES = 12, 0.08, 8.0


def tensor_picture(tensor: TensorMap) -> str:
    """Draw a leaf or a Jacobian as a heat map of the claim (and of how far it is off), the wrong entries outlined."""
    panels = [("claimed", "heat", np.array(tensor.claimed, dtype=np.float64))]
    if tensor.deviation:
        panels.append(("off by", "wrong", np.array(tensor.deviation, dtype=np.float64)))
    wrong = np.array(tensor.wrong, dtype=np.float64) > 0
    rows, columns = wrong.shape
    beside = len(panels) > 1 and columns <= 2 * rows
    room = (WIDTH - LEFT - RIGHT - (GAP if beside else 0)) / (2 if beside else 1)
    cell = _cell(rows, columns, room)
    root = new_root(WIDTH, 0.0, f"{numbers.printable(tensor.path)} as a picture", _words(tensor))
    x, y, bottom = LEFT, 0.0, 0.0
    for name, colour, values in panels:
        bottom = _panel(root, (x, y), cell, name, colour, values, wrong, tensor)
        if beside:
            x += max(cell[0] * columns, room) + GAP
        else:
            y = bottom + 6
    if wrong.any():
        place = numbers.printable(tensor.place) or "the wrong entries"
        _rectangle(
            root, LEFT, bottom + 4.5, 9.0, 9.0, style=f"fill: none; stroke: {variable('wrong')}; stroke-width: 1.8"
        )
        _text(root, LEFT + 15, bottom + 12.5, f"wrong: {place}", "wrong")
        bottom += LINE + 3
    root.attrib["viewBox"] = f"0 0 {WIDTH:.0f} {math.ceil(bottom)}"
    return serialised(root)


def _cell(rows: int, columns: int, room: float) -> tuple[float, float]:
    """Width and height of a cell: square, unless that would leave less than can be seen."""
    width, height = min(room / columns, LARGEST), min(TALLEST / rows, LARGEST)
    square = min(width, height)
    return (max(square, min(width, LEAST)), max(square, min(height, LEAST)))


def _panel(
    root: ET.Element,
    at: tuple[float, float],
    cell: tuple[float, float],
    name: str,
    colour: str,
    values: Floats,
    wrong: NDArray[np.bool_],
    tensor: TensorMap,
) -> float:
    """Draw one heat map with its scale above; return where it ends."""
    (x, y), (width, height) = at, cell
    rows, columns = wrong.shape
    right = x + width * columns
    shades = _shades(values)
    _scale(root, x, y, name, colour, values, shades)
    top = y + 2 * LINE + 4
    bottom = top + height * rows
    _rectangle(root, x, top, width * columns, height * rows, style=f"fill: none; stroke: {variable('grid')}")
    group = ET.SubElement(root, "g")
    group.attrib["transform"] = f"translate({x:.2f} {top:.2f}) scale({width:.4f} {height:.4f})"
    group.attrib["shape-rendering"] = "crispEdges"
    group.attrib["style"] = f"fill: none; stroke: {variable(colour)}"
    for shade in range(1, SHADES + 1):
        runs = "".join(f"M{start} {row}.5h{length}" for row, start, length in _runs(shades == shade))
        if runs:
            ET.SubElement(group, "path", d=runs, opacity=f"{_opacity(shade):.2f}")
    if min(cell) >= GRID:
        _grid(root, (x, top), cell, wrong.shape)
    _outline(root, (x, top), cell, wrong)
    # Indices as the user has them: the first and the last, and of what is wrong where a cell is one entry.
    for k, words, colour in _indices(np.asarray(wrong.any(axis=1)), tensor.rows):
        middle = top + height * (k + 0.5)
        _text(root, x - 5, min(max(middle + 3.5, top + 7), bottom), words, colour, anchor="end")
    for k, words, colour in _indices(np.asarray(wrong.any(axis=0)), tensor.columns):
        middle = min(max(x + width * (k + 0.5), x + 4), right - 4)
        _text(root, middle, bottom + 11, words, colour, anchor="middle")
    return bottom + LINE + 2


def _shades(values: Floats) -> NDArray[np.intp]:
    """Shade of every cell on a logarithmic scale: 0 for a zero, up to `SHADES` for the largest."""
    low, high = _range(values)
    if high == 0:
        return np.zeros(values.shape, dtype=np.intp)
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.log(values / low) / math.log(high / low) if high > low else np.ones_like(values)
    shades = 1 + np.floor(np.clip(np.nan_to_num(place, nan=1.0), 0.0, 1.0) * (SHADES - 1e-9))
    return np.where(values == 0, 0, np.minimum(shades, SHADES)).astype(np.intp)


def _range(values: Floats) -> tuple[float, float]:
    """The smallest and the largest size that the shades tell apart."""
    sizes = values[np.isfinite(values) & (values > 0)]
    high = float(sizes.max(initial=0.0))
    return (max(float(sizes.min(initial=high)), high * 10**-DECADES), high)


def _opacity(shade: int) -> float:
    return PALEST + (1 - PALEST) * (shade - 1) / (SHADES - 1)


def _runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """Row, first column and length of every run of neighbours in a row."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    for row in range(len(mask)):
        starts, stops = np.flatnonzero(edges[row] == 1), np.flatnonzero(edges[row] == -1)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            yield row, start, stop - start


def _scale(
    root: ET.Element, x: float, y: float, name: str, colour: str, values: Floats, shades: NDArray[np.intp]
) -> None:
    """Say what is drawn, and what the shades mean."""
    _text(root, x, y + 11, name, "ink")
    low, high = _range(values)
    if high == 0:
        _text(root, x, y + LINE + 11, "0 everywhere", "muted")
        return
    few = low == high
    words = numbers.significant(low)
    if (shades == 0).any():
        words = f"0 (blank), {words}"
    if not few:
        _text(root, x, y + LINE + 11, words, "muted")
        x += 5.6 * len(words) + 4
        for shade in range(1, SHADES + 1):
            style = f"fill: {variable(colour)}; opacity: {_opacity(shade):.2f}"
            _rectangle(root, x + 5 * shade - 5, y + LINE + 4, 5.0, 8.0, style=style)
        x += 5 * SHADES + 5
    _text(root, x, y + LINE + 11, numbers.significant(high), "muted")


def _grid(root: ET.Element, at: tuple[float, float], cell: tuple[float, float], shape: tuple[int, ...]) -> None:
    """Draw lines between the cells."""
    (x, y), (width, height), (rows, columns) = at, cell, shape
    path = [f"M{x:.2f} {y + row * height:.2f}h{columns * width:.2f}" for row in range(1, rows)]
    path += [f"M{x + column * width:.2f} {y:.2f}v{rows * height:.2f}" for column in range(1, columns)]
    ET.SubElement(root, "path", d="".join(path), style=f"fill: none; stroke: {variable('grid')}; stroke-width: 0.6")


def _outline(root: ET.Element, at: tuple[float, float], cell: tuple[float, float], wrong: NDArray[np.bool_]) -> None:
    """Draw the border of the wrong region, on a rim that sets it off from the cells."""
    (x, y), (width, height) = at, cell
    padded = np.pad(wrong, 1)
    path: list[str] = []
    for row, start, length in _runs(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        path.append(f"M{x + start * width:.2f} {y + row * height:.2f}h{length * width:.2f}")
    for column, start, length in _runs((padded[1:-1, 1:] != padded[1:-1, :-1]).T):
        path.append(f"M{x + column * width:.2f} {y + start * height:.2f}v{length * height:.2f}")
    if not path:
        return
    for colour, thickness in (("paper", 4.0), ("wrong", 2.0)):
        style = f"fill: none; stroke: {variable(colour)}; stroke-width: {thickness}; stroke-linecap: square"
        ET.SubElement(root, "path", d="".join(path), style=style)


def _indices(wrong: NDArray[np.bool_], length: int) -> list[tuple[int, str, str]]:
    """Cells along an axis that carry an index: place, words and colour."""
    cells = len(wrong)
    found = np.flatnonzero(wrong).tolist()
    marked = found if len(found) <= 2 and cells == length and length > 1 else []
    ends = [(0, "0", "muted"), (cells - 1, str(length - 1), "muted")] if length > 1 else []
    apart = max(1.0, cells / 12)
    plain = [end for end in ends if all(abs(end[0] - k) > apart for k in marked)]
    return [*plain, *((k, str(k), "wrong") for k in marked)]


def _words(tensor: TensorMap) -> str:
    shape = " x ".join(map(str, tensor.shape)) or "a single number"
    words = f"Sizes of what is claimed for {numbers.printable(tensor.path)} ({shape}), darker where they are larger."
    share = float(np.mean(np.array(tensor.wrong, dtype=np.float64) > 0)) if tensor.wrong else 0.0
    if share:
        place = numbers.printable(tensor.place) or f"{numbers.significant(100 * share)} % of the picture"
        words += f" Outlined is what is wrong: {place}."
    return words


def _text(root: ET.Element, x: float, y: float, words: str, colour: str, *, anchor: str = "start") -> None:
    style = f"font-size: {TEXT:.0f}px; text-anchor: {anchor}; fill: {variable(colour)}"
    ET.SubElement(root, "text", x=f"{x:.2f}", y=f"{y:.2f}", style=style).text = words


def _rectangle(root: ET.Element, x: float, y: float, width: float, height: float, *, style: str) -> None:
    sizes = {"x": x, "y": y, "width": width, "height": height}
    ET.SubElement(root, "rect", {name: f"{value:.2f}" for name, value in sizes.items()}, style=style)
