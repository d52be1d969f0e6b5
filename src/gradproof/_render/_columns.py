"""Text in lines of a given width, and in columns: paths are broken where a reader would break them.

rich breaks a long word wherever the line ends, and gives what belongs to a row the width of its first column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradproof._render._numbers import TIE

if TYPE_CHECKING:
    from rich.text import Text

GAP = 2
# Cells that a folded column keeps.
LEAST = 12
# Where a line may be broken, the first that will do: between words, code in backticks, indices in brackets and a few
# words in parentheses being one each; between words, only indices being one; before an index or an attribute and after
# a colon or a slash; between any words; anywhere.
_PLACES = (
    re.compile(r"(?:`[^`]*`|\[[^\[\]]*\]|\([^()]{,24}\)|[^ ])+ *| +"),
    re.compile(r"(?:\[[^\[\]]*\]|[^ ])+ *| +"),
    re.compile(r"[\[.]?[^\[.:/]*[:/]*"),
    re.compile(r"[^ ]+ *| +"),
    re.compile(r"."),
)


def fold(text: Text, width: int, indent: int = 0) -> Text:
    """Break a text into lines no wider than `width`, all but the first indented."""
    from rich.text import Text

    lines: list[Text] = []
    for whole in text.split("\n", allow_blank=True):
        for line in whole.divide(breaks(whole.plain, width - indent * bool(lines), width - indent)):
            line.rstrip()
            line.plain = line.plain.replace(TIE, " ")
            if lines:
                line.pad_left(indent)
            lines.append(line)
    return Text("\n").join(lines)


def breaks(line: str, width: int, later: int) -> list[int]:
    """Where to break a line, so that the first piece takes `width` cells and the others `later`, blanks aside."""
    from rich.cells import cell_len

    offsets: list[int] = []
    column = 0

    def put(start: int, piece: str, places: Sequence[re.Pattern[str]]) -> None:
        nonlocal column
        size = cell_len(piece.rstrip(" "))
        if column and column + size > (later if offsets else width):
            offsets.append(start)
            column = 0
        if size <= (later if offsets else width) or not places:
            column += cell_len(piece)
            return
        for part in places[0].findall(piece):
            put(start, part, places[1:])
            start += len(part)

    put(0, line, _PLACES)
    return offsets


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Text]],
    *,
    width: int,
    right: Sequence[str] = (),
    folded: Sequence[str] = (),
    below: Sequence[Text | None] = (),
    ascii_only: bool = False,
) -> Iterator[Text]:
    """Lines of a table: a header, a rule, and rows.

    Parameters
    ----------
    headers : sequence of str
    rows : sequence of sequences of Text
        Cells.
    width : int
    right : sequence of str
        Columns whose cells end at the same place, by their headers.
    folded : sequence of str
        Columns that give way where the width asks for it, one after the other.
    below : sequence of Text or None
        What follows a row on lines of its own.
    ascii_only : bool
        Whether the rule must not be of box-drawing characters.
    """
    from rich.text import Text

    widths = _widths(headers, rows, width, folded)
    total = sum(widths) + GAP * (len(widths) - 1)
    yield from _row([Text(header, "dim") for header in headers], headers, widths, right)
    yield Text(("-" if ascii_only else "─") * total, "dim")
    for row, text in zip(rows, below or [None] * len(rows), strict=True):
        yield from _row(row, headers, widths, right)
        if text is not None:
            yield from _indented(text, width)


def _indented(text: Text, width: int) -> Iterator[Text]:
    for line in fold(text, width - 2).split("\n"):
        line.pad_left(2)
        yield line


def _widths(headers: Sequence[str], rows: Sequence[Sequence[Text]], width: int, folded: Sequence[str]) -> list[int]:
    """The width of every column: as wide as its cells, or as is left."""
    from rich.cells import cell_len

    widths = [
        max([cell_len(header), *(max(map(cell_len, row[k].plain.split("\n"))) for row in rows)])
        for k, header in enumerate(headers)
    ]
    for header in folded:
        k = headers.index(header)
        excess = sum(widths) + GAP * (len(widths) - 1) - width
        widths[k] = max(widths[k] - max(excess, 0), min(widths[k], LEAST))
    return widths


def _row(cells: Sequence[Text], headers: Sequence[str], widths: Sequence[int], right: Sequence[str]) -> Iterator[Text]:
    """The lines of one row."""
    from rich.text import Text

    # (Numbers keep the blanks that put their decimal points below each other.)
    folded = [
        [cell] if header in right else list(fold(cell, size, indent=2 * (k == 0)).split("\n", allow_blank=True))
        for k, (cell, header, size) in enumerate(zip(cells, headers, widths, strict=True))
    ]
    for number in range(max(map(len, folded))):
        line = Text()
        for k, (pieces, size) in enumerate(zip(folded, widths, strict=True)):
            piece = pieces[number].copy() if number < len(pieces) else Text()
            blanks = max(0, size - piece.cell_len)
            if headers[k] in right:
                piece.pad_left(blanks)
            elif k < len(widths) - 1:
                piece.pad_right(blanks)
            line.append_text(piece)
            if k < len(widths) - 1:
                line.append(" " * GAP)
        line.rstrip()
        yield line
