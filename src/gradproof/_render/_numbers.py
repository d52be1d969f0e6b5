"""Numbers and names as people read them: no digit that the error bar does not support."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from gradproof._base._names import TIE as TIE
from gradproof._base._names import printable as printable


def significant(value: float | None, digits: int = 2, *, zeros: bool = False) -> str:
    """`value` with `digits` significant digits: ``3.1e-7``, ``0.0031``, ``-`` for None.

    As short as it goes, ``2e-7``, or with all `zeros`, ``2.0e-7``.
    """
    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    if 1e-3 <= abs(rounded) < 10 ** max(digits, 4):
        return f"{rounded:.{max(0, digits - 1 - _exponent(rounded))}f}"
    return scientific(rounded, digits - 1, zeros=zeros)


def column(values: Sequence[float | None], digits: int = 2) -> list[str]:
    """Numbers as `significant` writes them, below each other by their decimal points; what is none ends with them."""
    texts = [significant(value, digits, zeros=True) for value in values]
    points = [re.search(r"[.e]|$", text).start() for text in texts if text[0].isdigit()]  # pyright: ignore[reportOptionalMemberAccess]
    left = max(points, default=0)
    aligned = [" " * (left - points.pop(0)) + text if text[0].isdigit() else text for text in texts]
    width = max(map(len, aligned), default=0)
    return [text.ljust(width) if text.lstrip()[0].isdigit() else text.rjust(width) for text in aligned]


def error_bar(value: float) -> str:
    """A half-width with one significant digit, rounded up so that it never covers less than it did."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = _exponent(value)
    if exponent < -300:
        return significant(value, 1)  # powers of ten end there
    leading = math.ceil(value / 10.0**exponent * (1 - 1e-12))
    return significant(leading * 10.0**exponent, 1)


def measured(claimed: float, reference: float, bar: float | None) -> tuple[str, str]:
    """Claimed and reference value to the same last digit.

    That is the leading digit of the bar, or an earlier one where six digits, and three digits of the difference
    between the two, are shown already.
    """
    finite = [abs(v) for v in (claimed, reference) if math.isfinite(v)]
    size = max(finite, default=0.0)
    if size == 0:
        return _fixed(claimed, 0), _fixed(reference, 0)
    gap = abs(claimed - reference)
    last = _exponent(size) - 5
    if gap and math.isfinite(gap):
        last = min(last, _exponent(gap) - 2)
    if bar and math.isfinite(bar):
        last = max(last, _exponent(bar))
    last = max(last, _exponent(size) - 16)
    if 1e-4 <= size < 1e7:
        return _fixed(claimed, last), _fixed(reference, last)
    return _to_digit(claimed, last), _to_digit(reference, last)


def measured_entry(claimed: float, reference: float, bar: float) -> tuple[str, str]:
    """An entry of a table: four digits, more where the two differ by less, none that the bar does not support."""
    gap, size = abs(claimed - reference), max(abs(claimed), abs(reference))
    if size == 0 or not (math.isfinite(claimed) and math.isfinite(reference)):
        return f"{claimed:g}", f"{reference:g}"
    last = _exponent(size) - 3
    if gap > bar:
        last = min(last, max(_exponent(gap) - 1, _exponent(size) - 7))
    if bar and math.isfinite(bar):
        last = max(last, _exponent(bar))
    write = _fixed if 1e-3 <= size < 1e6 else _to_digit
    return write(claimed, last), write(reference, last)


def factor(value: float) -> str:
    """A ratio by its simple name, ``2``, ``-1`` or ``1/4``, else with enough digits to tell it from 1."""
    if not math.isfinite(value):
        return f"{value:g}"
    for denominator in range(1, 65):
        numerator = round(value * denominator)
        if numerator and abs(numerator) < 1e6 and abs(numerator / denominator - value) <= 1e-9 * abs(value):
            return str(numerator) if denominator == 1 else f"{numerator}/{denominator}"
    if 0 < abs(value - 1) < 1e-3:
        return f"1 {'+' if value > 1 else '-'} {significant(abs(value - 1), 2)}"
    return significant(value, 5)


def setting(value: float) -> str:
    """An option as people would type it: ``0.01``, ``1e-7``."""
    return f"{value:g}" if 1e-4 <= abs(value) < 1e6 or value == 0 or not math.isfinite(value) else scientific(value, 3)


def confidence(value: float) -> str:
    """``1 - 1e-6`` rather than ``0.999999``."""
    miss = 1 - value
    return f"1 - {scientific(miss, 0)}" if 0 < miss < 1e-2 else f"{value:g}"


def one_in(chance: float) -> str:
    """``1 in a million``, ``1 in 100``."""
    if not 0 < chance < 1:
        return f"{chance:g}"
    times = round(1 / chance)
    return "1 in a million" if times == 1_000_000 else f"1 in {times:,}" if times < 1e9 else f"1 in {times:.0e}"


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 array``, ``1,200 arrays``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def scientific(value: float, digits: int, *, zeros: bool = False) -> str:
    """``3.1e-7``: `digits` digits after the point, or no zero too many."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa and not zeros else mantissa
    return f"{mantissa}e{int(exponent)}"


def _fixed(value: float, last: int) -> str:
    if not math.isfinite(value):
        return f"{value:g}"
    text = f"{round(value, -last):.{max(0, -last)}f}"
    return text if float(text) else text.lstrip("-")


def _to_digit(value: float, last: int) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = _exponent(value) - last
    if digits < 0:
        return "0"
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
