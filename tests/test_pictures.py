"""Pictures of evidence: valid, harmless, the same every time, and showing what they say."""

import math
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

import gradproof
from gradproof._render import _svg
from gradproof._render._pictures import scatter, step_picture, tensor_picture
from gradproof._report._evidence import Comparison, Ladder, TensorMap

NASTY = "p['<script>alert(1)</script>&\"#010210 $x_1$ \\frac\x1b[31m\x00 ü']"
SVG = "{http://www.w3.org/2000/svg}"
STEPS = tuple(np.geomspace(0.3, 1e-9, 18).tolist())


def ladder(**changed):
    """A smooth slope of 1 with rounding, claimed right."""
    rng = np.random.default_rng(0)
    h = np.array(STEPS)
    plus, minus = (np.exp(sign * h) + 3e-16 * rng.standard_normal(len(h)) for sign in (1, -1))
    fields = {
        "path": "x",
        "claimed": 1.0 + 1e-12,
        "reference": 1.0,
        "error_bar": 1e-10,
        "steps": STEPS,
        "differences": tuple(((plus - minus) / (2 * h)).tolist()),
        "left": tuple(((1 - minus) / h).tolist()),
        "right": tuple(((plus - 1) / h).tolist()),
        "noise": 3e-16,
        "curvature": 1 / 6,
        "chosen": STEPS[9],
        "size": 1.0,
    }
    return Ladder(**(fields | changed))


def tensor(rows=5, columns=4, wrong=((1, 3),), **changed):
    cells = np.arange(float(rows * columns)).reshape(rows, columns)
    marks = np.zeros((rows, columns))
    for index in wrong:
        marks[index] = 1.0
    fields = {
        "path": "W",
        "shape": (rows, columns),
        "rows": rows,
        "columns": columns,
        "claimed": tuple(map(tuple, cells.tolist())),
        "wrong": tuple(map(tuple, marks.tolist())),
        "place": "[1, 3]",
    }
    return TensorMap(**(fields | changed))


def comparison(claimed, reference=1.0, bar=1e-9, **changed):
    return Comparison(claimed=claimed, reference=reference, error_bar=bar, **changed)


NAN = math.nan
DEVIATION = tuple(tuple(float(i * j) for j in range(4)) for i in range(5))
PICTURES = {
    "right": lambda: step_picture(ladder()),
    "wrong": lambda: step_picture(ladder(claimed=2.0, against=True)),
    "nasty": lambda: step_picture(ladder(path=NASTY, output=NASTY, entry=(1, 2))),
    "kink": lambda: step_picture(ladder(jump=2.0, claimed=0.3)),
    "outside a kink": lambda: step_picture(ladder(jump=-2.0, claimed=30.0, against=True)),
    "one side": lambda: step_picture(ladder(left=(), curvature=0.0)),
    "two steps": lambda: step_picture(
        ladder(steps=(1e-3, 1e-5), differences=(1.0, 1.0), left=(1.0, 1.0), right=(1.0, 1.0), chosen=1e-5)
    ),
    "exact": lambda: step_picture(
        ladder(differences=(1.0,) * 18, claimed=1.0, error_bar=0.0, noise=0.0, curvature=0.0, size=0.0)
    ),
    "no numbers": lambda: step_picture(ladder(reference=NAN, error_bar=math.inf, left=(NAN,) * 18)),
    "no numbers at all": lambda: step_picture(
        ladder(reference=NAN, claimed=NAN, error_bar=math.inf, left=(NAN,) * 18, right=(NAN,) * 18)
    ),
    "no steps": lambda: step_picture(ladder(steps=(), differences=(), left=(), right=())),
    "no bar": lambda: step_picture(ladder(error_bar=math.inf)),
    "huge": lambda: step_picture(
        ladder(claimed=1e300, reference=-1e300, error_bar=1e290, differences=tuple(1e300 / h for h in STEPS))
    ),
    "tiny": lambda: step_picture(ladder(noise=1e-320, claimed=1 + 1e-16, error_bar=5e-324)),
    "scatter": lambda: scatter([comparison(1.0), comparison(2.0, against=True), comparison(-3.0, -3.0)]),
    "decades": lambda: scatter([comparison(10.0**k, 10.0**k, 10.0 ** (k - 3)) for k in range(-9, 5)]),
    "many": lambda: scatter([comparison(float(k), float(k)) for k in range(200)]),
    "none": lambda: scatter([]),
    "lone": lambda: scatter([comparison(0.0, 0.0, 0.0)]),
    "not finite": lambda: scatter([comparison(NAN), comparison(1.0, math.inf), comparison(1.0, 1.0, math.inf)]),
    "tensor": lambda: tensor_picture(tensor()),
    "nasty tensor": lambda: tensor_picture(tensor(path=NASTY, place=NASTY)),
    "deviation": lambda: tensor_picture(tensor(deviation=DEVIATION)),
    "large": lambda: tensor_picture(tensor(64, 64, wrong=((30, slice(None)),))),
    "flat": lambda: tensor_picture(tensor(1, 64, wrong=((0, 5),))),
    "tall": lambda: tensor_picture(tensor(64, 1, wrong=((5, 0),), deviation=((0.0,),) * 64)),
    "single": lambda: tensor_picture(tensor(1, 1, wrong=((0, 0),), shape=(), place="")),
    "zero": lambda: tensor_picture(tensor(2, 2, claimed=((0.0, 0.0), (0.0, 0.0)), wrong=())),
    "nan": lambda: tensor_picture(tensor(2, 2, claimed=((NAN, math.inf), (1.0, 0.0)), wrong=())),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_valid_and_self_contained(name):
    """One element without prolog, no address but the namespace, nothing that runs, no id without its own prefix."""
    text = PICTURES[name]()
    root = ET.fromstring(text)
    assert root.tag == SVG + "svg"
    assert text.startswith("<svg ")
    assert re.findall(r"[a-z]+://[^\"' ]*", text) == ["http://www.w3.org/2000/svg"]
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "g", "path", "text", "tspan", "title", "desc", "defs", "clipPath", "rect", "use"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not any(name.startswith(("on", "{")) for name in names)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", text))
    assert used == set(ids)
    assert all(re.fullmatch(r"gp[0-9a-f]{8}-\d+", one) for one in ids)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_say_what_is_seen_and_take_colours_from_the_page(name):
    root = ET.fromstring(PICTURES[name]())
    assert root.get("role") == "img"
    for tag in ("title", "desc"):
        words = root.findtext(SVG + tag)
        assert words
        assert words.isprintable()
    text = ET.tostring(root, encoding="unicode")
    style = " ".join(re.findall(r'style="([^"]*)"', text))
    assert not re.search(r"(?<!, )#[0-9a-f]{6}", style.replace("#ffffff; opacity: 0", ""))
    assert set(re.findall(r"var\(--([a-z]+)", text)) <= set(_svg.COLOURS)
    assert "font-family" not in style
    assert all(math.isfinite(float(number)) for number in re.findall(r"\d+\.\d+", style))
    assert "nan" not in " ".join(re.findall(r' (?:d|x|y|width|height|transform)="([^"]*)"', text))


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_the_same_every_time(name):
    assert PICTURES[name]() == PICTURES[name]()


def test_ids_of_different_pictures_differ():
    """Several may stand in one page."""
    ids = [set(re.findall(r'id="([^"]+)"', PICTURES[name]())) for name in ("right", "wrong", "kink", "scatter")]
    assert all(ids)
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_names_are_text_and_nothing_else():
    """Markup and mathematics of a leaf's name are shown as they are; control characters as escapes."""
    for name in ("nasty", "nasty tensor"):
        text = PICTURES[name]()
        assert "<script" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        root = ET.fromstring(text)
        words = "".join(root.itertext())
        assert "#010210 $x_1$ \\frac\\x1b[31m\\x00 ü" in words


def texts(picture):
    return [("".join(element.itertext())).strip() for element in ET.fromstring(picture).iter(SVG + "text")]


def test_a_wrong_claim_is_drawn_as_wrong_and_a_right_one_is_not():
    """Also where the claim lies beyond the bar, but within what is tolerated."""
    wrong, right = "var(--wrong", "the claim: off by"
    for picture, is_wrong in (
        (ladder(claimed=2.0, against=True), True),
        (ladder(), False),
        (ladder(claimed=1.0 + 1e-9), False),
        (ladder(jump=2.0, claimed=0.3), False),
        (ladder(jump=2.0, claimed=30.0, against=True), True),
    ):
        text = step_picture(picture)
        assert (wrong in text) == is_wrong
        assert any(words.startswith((right, "the claim: ")) for words in texts(text))
    assert wrong in scatter([comparison(2.0, against=True)])
    assert wrong not in scatter([comparison(1.0)])
    assert wrong in tensor_picture(tensor())
    assert wrong not in tensor_picture(tensor(wrong=()))


def test_the_fixed_step_is_shown_where_it_lies_near():
    """At 1e-7 of an axis that says how far an entry moves; not where it is decades away."""
    assert "the classic 1e-7" in texts(step_picture(ladder()))
    assert "the classic 1e-7" not in texts(step_picture(ladder(size=1e20)))


def test_quotients_of_a_kink_are_drawn_on_both_sides():
    words = texts(PICTURES["kink"]())
    assert any(one.startswith("to the right") for one in words)
    assert any(one.startswith("to the left") for one in words)
    description = ET.fromstring(PICTURES["kink"]()).findtext(SVG + "desc")
    assert "f has a kink here" in description
    assert "lies between them" in description
    assert "outside of both" in ET.fromstring(PICTURES["outside a kink"]()).findtext(SVG + "desc")


def test_the_outline_surrounds_the_wrong_cells():
    """Of a lone entry its four sides, with its indices; of a whole row one rectangle as wide as the picture."""
    text = tensor_picture(tensor())
    (outline,) = (
        element
        for element in ET.fromstring(text).iter(SVG + "path")
        if "var(--wrong" in element.get("style", "") and "stroke-width: 2" in element.get("style", "")
    )
    strokes = re.findall(r"M([\d.]+) ([\d.]+)([hv])([\d.]+)", outline.get("d"))
    cell = 40.0
    assert len(strokes) == 4
    assert {float(length) for *_, length in strokes} == {cell}
    left, top = min(float(x) for x, *_ in strokes), min(float(y) for _, y, *_ in strokes)
    assert (left - 40) / cell == 3  # column 3, right of the margin
    assert (top - 34) / cell == 1
    assert {"1", "3", "wrong: [1, 3]"} <= set(texts(text))


def test_every_cell_has_a_shade():
    """Runs of all shades, and the cells that are zero, fill the picture once."""
    (group,) = (one for one in ET.fromstring(PICTURES["large"]()).iter(SVG + "g") if one.get("shape-rendering"))
    covered = np.zeros((64, 64), dtype=int)
    for path in group:
        for column, row, length in re.findall(r"M(\d+) (\d+)\.5h(\d+)", path.get("d")):
            covered[int(row), int(column) : int(column) + int(length)] += 1
    assert covered[0, 0] == 0
    assert covered.sum() == covered.size - 1
    assert covered.max() == 1


def test_the_users_settings_do_not_matter_and_are_left_alone():
    """A style of theirs changes nothing, and is there afterwards."""
    before = PICTURES["wrong"]()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": False, "lines.linewidth": 9}):
        kept = dict(matplotlib.rcParams)
        assert PICTURES["wrong"]() == before
        assert dict(matplotlib.rcParams) == kept


def test_no_plotting_interface_is_loaded():
    code = (
        "import sys; from gradproof._render._pictures import scatter; assert 'matplotlib' not in sys.modules; "
        "scatter([]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pictures_of_real_checks_are_small():
    """All of a wrong Jacobian of 100 x 100, with its heat map."""
    weights = np.random.default_rng(0).standard_normal((100, 100)) / 10

    def jacobian(x):
        matrix = (1 - np.tanh(weights @ x) ** 2)[:, None] * weights
        matrix[42] = 0  # wrong on purpose
        return matrix

    report = gradproof.check(lambda x: np.tanh(weights @ x), np.linspace(-1, 1, 100), jac=jacobian, rng=0)
    evidence = report.evidence
    pictures = [
        *map(step_picture, evidence.ladders),
        scatter(evidence.comparisons),
        *map(tensor_picture, evidence.maps),
    ]
    assert len(pictures) >= 3
    assert all(len(text) < 60_000 for text in pictures)
    assert "wrong: row 42" in texts(pictures[-1])


def test_from_several_threads():
    """Matplotlib's settings are global while a picture is drawn."""
    expected = PICTURES["wrong"]()
    found = []
    threads = [threading.Thread(target=lambda: found.append(PICTURES["wrong"]())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
