"""Small arrays that are WRONG, entry by entry: what is claimed beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradproof._render import _numbers as numbers
from gradproof._report import Report
from gradproof._report._evidence import TensorMap

# Behind a wrong entry; and between the two halves, and between columns.
MARK, APART, GAP = "*", 4, 2
# Characters that a table may take in a page or a notebook: more scroll sideways on a phone.
PAGE_WIDTH = 90


def entry_tables(report: Report, width: int) -> Iterator[tuple[str, list[str]]]:
    """Title and lines for each array whose entries were all measured; below each other where `width` asks for it."""
    for tensor in report.evidence.maps:
        if tensor.entries:
            yield f"{tensor.path}, entry by entry ({MARK} marks what is wrong)", _lines(tensor, width)


def _lines(tensor: TensorMap, width: int) -> list[str]:
    columns = tensor.shape[-1]
    pairs = [numbers.measured_entry(one.claimed, one.reference, one.error_bar) for one in tensor.entries]
    marks = [MARK if one.against else " " for one in tensor.entries]
    claimed = _block("claimed", [pair[0] + mark for pair, mark in zip(pairs, marks, strict=True)], columns)
    measured = _block("measured", [pair[1] + " " for pair in pairs], columns)
    left, right = len(claimed[1]), len(measured[1])
    if left + APART + right > width:
        return [*claimed, *measured]
    return [f"{one.ljust(left)}{'':{APART}}{other}".rstrip() for one, other in zip(claimed, measured, strict=True)]


def _block(title: str, cells: Sequence[str], columns: int) -> list[str]:
    """A title, and rows of numbers with their ends below each other."""
    rows = [cells[k : k + columns] for k in range(0, len(cells), columns)]
    widths = [max(len(row[k]) for row in rows) for k in range(columns)]
    lines = [(" " * GAP).join(cell.rjust(size) for cell, size in zip(row, widths, strict=True)) for row in rows]
    return [f"{' ' * GAP}{title}", *(f"{' ' * GAP}{line}" for line in lines)]
