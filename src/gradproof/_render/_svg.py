"""Figures as self-contained ``<svg>`` elements that take their colours from the page around them.

Every colour is a CSS variable, which a page gives a light and a dark value; where it gives none, the light value here
is used. Text takes the font of the page.

================  =========  =============================================================================
``--ink``         `#1f2328`  text, and points that agree
``--muted``       `#59636e`  labels of axes, lines for comparison
``--grid``        `#d1d9e0`  grid, frames
``--paper``       `#ffffff`  what the picture stands on: rims of marks and of text
``--claimed``     `#8250df`  what the user says
``--reference``   `#0969da`  what was measured, and its error bar
``--wrong``       `#cf222e`  what speaks against the claim
``--noise``       `#9a6700`  what rounding does
``--truncation``  `#0f7b6c`  what the length of a step does
``--heat``        `#0969da`  cells of a tensor, more opaque where it is larger
================  =========  =============================================================================

Each element scales with the width it is given, up to ``max-width``, and carries the class ``picture``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Generator
from typing import Any

# Of matplotlib, which leaves the types of most keywords open.
Figure = Any
# Names of the variables and their values where a page has none.
COLOURS = {
    "ink": "#1f2328",
    "muted": "#59636e",
    "grid": "#d1d9e0",
    "paper": "#ffffff",
    "claimed": "#8250df",
    "reference": "#0969da",
    "wrong": "#cf222e",
    "noise": "#9a6700",
    "truncation": "#0f7b6c",
    "heat": "#0969da",
}
# What stands for a variable while matplotlib draws: a colour that nothing else has.
SENTINELS = {name: f"#0102{number:02x}" for number, name in enumerate(COLOURS, 16)}

# What stands for the prefix of ids until the text is known.
_IDS = "gradproof-id-"

# Marks text that stands on lines or points, and is set off from them.
HALO = "halo"

NAMESPACE = "http://www.w3.org/2000/svg"
# Figures are drawn in these units and may grow by this factor.
GROWS = 1.4
_DRAWING = threading.Lock()
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gradproof",
    "text.parse_math": False,
    "font.size": 11.0,
    "text.color": SENTINELS["ink"],
    "axes.edgecolor": SENTINELS["grid"],
    "axes.labelcolor": SENTINELS["muted"],
    "xtick.color": SENTINELS["grid"],
    "ytick.color": SENTINELS["grid"],
    "xtick.labelcolor": SENTINELS["muted"],
    "ytick.labelcolor": SENTINELS["muted"],
    "grid.color": SENTINELS["grid"],
    "grid.linewidth": 0.6,
    "path.simplify": False,
}


@contextlib.contextmanager
def style() -> Generator[None]:
    """Draw as we do, whatever style the user has set; theirs is back afterwards."""
    from matplotlib import style as styles

    # The settings are global: one picture at a time.
    with _DRAWING, styles.context(["default", _STYLE]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in the units of the picture, known to no plotting interface."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")


def as_svg(figure: Figure, title: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element that may stand anywhere in a page, several times and beside others."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    _set_off(root)
    _rename(root)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): _plain(_local(name), value) for name, value in element.attrib.items()}
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    whole = new_root(width, height, title, description)
    whole.extend(root)
    return serialised(whole)


def new_root(width: float, height: float, title: str, description: str) -> ET.Element:
    """An empty ``<svg>`` element that says what is to be seen."""
    attributes = {
        "xmlns": NAMESPACE,
        "class": "picture",
        "viewBox": f"0 0 {width:.0f} {height:.0f}",
        "role": "img",
        "style": f"width: 100%; max-width: {GROWS * width:.0f}px; height: auto; stroke-linejoin: round",
    }
    root = ET.Element("svg", attributes)
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "desc").text = description
    return root


def serialised(root: ET.Element) -> str:
    """The text of an element; ids are made from it, so that those of other pictures differ."""
    text = re.sub(r">\s*\n\s*<", ">\n<", ET.tostring(root, encoding="unicode"))
    return text.replace(_IDS, f"gp{hashlib.sha256(text.encode()).hexdigest()[:8]}-")


def variable(name: str) -> str:
    """A colour as CSS has it."""
    return f"var(--{name}, {COLOURS[name]})"


def _local(name: Any) -> str:
    """A tag or the name of an attribute without its namespace."""
    return str(name).rpartition("}")[2]


def _set_off(root: ET.Element) -> None:
    """Give marked text a rim in the colour of the page."""
    for group in root.iter():
        if group.get("id") == HALO:
            for text in group.iter():
                if _local(text.tag) == "text":
                    rim = f"paint-order: stroke; stroke: {SENTINELS['paper']}; stroke-width: 3"
                    text.set("style", f"{text.get('style', '')}; {rim}")


def _rename(root: ET.Element) -> None:
    """Number the ids that are referred to and drop the others."""
    references = re.compile(r"(?:url\(#|^#)([^)]+)")
    used: dict[str, str] = {}
    for element in root.iter():
        for value in element.attrib.values():
            for name in references.findall(value):
                used.setdefault(name, f"{_IDS}{len(used)}")
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        for name, value in element.attrib.items():
            element.attrib[name] = references.sub(
                lambda found: found.group(0).replace(found.group(1), used[found.group(1)]), value
            )
        if identifier in used:
            element.attrib["id"] = used[identifier]


def _plain(name: str, value: str) -> str:
    """An attribute's value with short numbers, the page's font and its colours."""
    if name in ("d", "x", "y", "transform", "points", "width", "height"):
        return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number.group()):.2f}", value).replace("\n", "")
    if name == "style":
        value = re.sub(r"font-family:[^;]*;? *", "", value)
        value = re.sub(r"font: [^;]*?([\d.]+px)[^;]*", r"font-size: \1", value)  # as matplotlib < 3.10 writes it
        for colour, sentinel in SENTINELS.items():
            value = value.replace(sentinel, variable(colour))
    return value
