"""Pages of HTML in a real browser: nothing is loaded, nothing runs, nothing overflows, in both colour schemes."""

import numpy as np
import pytest

import chromium
import gradproof
from gradproof import course
from gradproof._render import NamedReport, run_html

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium on the PATH"),
]

SCRIPT = "<script>document.title = 'alarm'; alert(1)</script>"
IMAGE = "<img src=x onerror=\"document.title='alarm'\">"


def noisy(x):
    return np.sum(np.sin(abs(x))) + 1e15  # of which a double resolves 0.125; no complex step through abs


def network():
    """The course's network with its two planted bugs."""
    X, Y, parameters = course.gradient_check_n_test_case()
    _, cache = course.forward_propagation_n(X, Y, parameters)
    gradients = course.backward_propagation_n_with_bugs(X, Y, cache)  # wrong on purpose
    claim = {name: gradients[f"d{name}"] for name in parameters}
    return gradproof.check(lambda p: course.forward_propagation_n(X, Y, p)[0], (parameters,), grad=claim, rng=0)


def jacobian():
    """A Jacobian of 200 outputs by 200 entries, of which one row is wrong."""
    A = np.random.default_rng(0).normal(size=(200, 200))

    def f(x):
        return np.tanh(A @ x / 14)

    def jac(x):
        claimed = (1 - f(x) ** 2)[:, None] * A / 14
        claimed[137] *= -1  # wrong on purpose
        return claimed

    return gradproof.check(f, np.linspace(-1, 1, 200), jac=jac, rng=0)


def kink():
    return gradproof.check(lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0]), grad=np.sign, rng=0)


def undecided():
    return gradproof.check(noisy, np.array([0.5, 1.0, 2.0]), grad=np.cos, rng=0)


def correct():
    return gradproof.check(lambda x: np.sum(np.sin(x)), np.linspace(0, 3, 500), grad=np.cos, rng=0)


def hostile():
    """Names that would do something if they were taken for HTML."""
    point = {SCRIPT: np.array([1.0, 2.0]), IMAGE: np.array([3.0]), "x" * 300: np.array([1.0])}

    def f(p):
        return sum(np.sum(value**2) for value in p.values())

    claim = {name: (3 if name == SCRIPT else 2) * value for name, value in point.items()}  # wrong on purpose
    return gradproof.Case(f, (point,), grad=claim, name=SCRIPT, rng=0).check()


ONE = [network, jacobian, kink, undecided, correct, hostile]


def run():
    """A hundred checks, one of each kind among them."""
    A, targets = np.vander([0.3, 0.7, 1.1, 1.6], 4), np.array([1.0, -2.0, 0.5, 3.0])
    points = np.random.default_rng(0).normal(size=(100 - len(ONE), 4))
    others = [
        gradproof.check(
            lambda w: np.mean((A @ w - targets) ** 2), w, grad=lambda w: 2 * A.T @ (A @ w - targets) / 4, rng=k
        )
        for k, w in enumerate(points)
    ]
    named = [NamedReport(name=f"{make.__name__} {SCRIPT}", report=make()) for make in ONE]
    named += [NamedReport(name=f"tests/test_layers.py::test_layer[{k}]", report=one) for k, one in enumerate(others)]
    return run_html(named, [{"case": IMAGE, "error": "FunctionError", "message": SCRIPT}])


@pytest.fixture(scope="module")
def page():
    with chromium.opened() as page:
        yield page


@pytest.fixture(scope="module", params=[*ONE, run], ids=lambda make: make.__name__)
def written(request, tmp_path_factory):
    """The page of a report, or of many, as a file."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    path = folder / "page.html"
    made = request.param()
    path.write_text(made if isinstance(made, str) else made.to_html(), encoding="utf-8")
    return path


def test_a_page_that_misbehaves_is_seen(page, tmp_path):
    """What the tests below look for is there to be found, where it is."""
    path = tmp_path / "page.html"
    path.write_text(
        "<!DOCTYPE html><img src='missing.png'><div style='width: 2000px'>wide</div>"
        "<script>alert('hello'); document.title = 'alarm'; console.error('no'); nothing()</script>",  # wrong on purpose
        encoding="utf-8",
    )
    page.open(path.as_uri(), width=380)
    assert [url.rpartition("/")[2] for url in page.requests] == ["page.html", "missing.png"]
    assert page.dialogs == ["hello"]
    assert any("'no'" in line for line in page.console)
    assert any("nothing is not defined" in line for line in page.console)
    assert page.value("document.title") == "alarm"
    assert page.value("document.documentElement.scrollWidth") > 380


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [380, 1200])
def test_a_page_stands_by_itself(page, written, width, dark):
    """One request, no complaint, no dialog, no overflow, also with everything opened; its colours are the scheme's."""
    page.open(written.as_uri(), width=width, dark=dark)
    assert page.requests == [written.as_uri()]
    assert page.console == []
    assert page.dialogs == []
    assert page.value("document.title") != "alarm"
    assert page.value("document.scripts.length + document.images.length") == 0
    for opened in (False, True):
        if opened:
            page.value("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        page.screenshot(written.parent / f"{width}{'-dark' if dark else ''}{'-opened' if opened else ''}.png")
    background = page.value("getComputedStyle(document.body).backgroundColor")
    ink = page.value("getComputedStyle(document.body).color")
    assert (background, ink) == (
        ("rgb(13, 17, 23)", "rgb(230, 237, 243)") if dark else ("rgb(255, 255, 255)", "rgb(31, 35, 40)")
    )


def test_every_picture_is_drawn_and_takes_the_colours_of_the_scheme(page, written):
    """Each has an area, lies within the page, and has no colour that does not follow the scheme."""
    page.open(written.as_uri(), width=1200, dark=True)
    page.value("document.querySelectorAll('details').forEach(one => { one.open = true })")
    areas = page.value(
        "[...document.querySelectorAll('figure svg')].map(one => one.getBoundingClientRect())"
        ".map(box => [box.width, box.height, box.right])"
    )
    assert areas
    assert all(width > 200 and height > 80 and right < 1200 for width, height, right in areas)
    assert page.value(
        "[...document.querySelectorAll('svg text')].every(one => getComputedStyle(one).fill != 'rgb(0, 0, 0)')"
    )


def test_it_prints_with_everything_open(page, written):
    """What is folded on the screen is on paper, except for the JSON."""
    hidden = (
        "[...document.querySelectorAll('details > :not(summary)')]"
        ".filter(one => !one.checkVisibility()).map(one => one.tagName)"
    )
    page.open(written.as_uri(), width=1200)
    page.print(written.parent / "page.pdf")
    assert "PRE" in page.value(hidden)
    page.media("print")
    assert set(page.value(hidden)) == {"PRE"}
    page.media("screen")


def test_names_are_shown_as_they_are(page, tmp_path):
    """A name that is a script is text, in the title and in tables."""
    path = tmp_path / "page.html"
    hostile().to_html(path)
    page.open(path.as_uri(), width=1200)
    assert page.value("document.title") == f"WRONG: {SCRIPT}"
    text = page.value("document.body.textContent")
    assert SCRIPT in text
    assert repr(IMAGE)[1:-1] in text.replace("\\", "") or IMAGE in text.replace("\\", "")


def test_a_row_of_the_summary_opens_its_check(page, tmp_path):
    """A link to what lies in folded details opens them, without a script."""
    path = tmp_path / "page.html"
    path.write_text(run(), encoding="utf-8")
    page.open(path.as_uri(), width=1200)
    assert not page.value("document.querySelector('#check-50').closest('details').open")
    page.value("document.querySelector('a[href=\"#check-50\"]').click()")
    assert page.value("document.querySelector('#check-50').closest('details').open")


def test_focus_is_visible(page, tmp_path):
    """By keyboard: the link past the header comes first and shows, and what scrolls can be reached."""
    path = tmp_path / "page.html"
    network().to_html(path)
    page.open(path.as_uri(), width=380)
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert page.value("document.activeElement.className") == "skip"
    assert page.value("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    assert page.value("document.activeElement.getBoundingClientRect().left") >= 0


def test_a_notebook_shows_it_on_light_and_dark(page, tmp_path):
    """The fragment alone, on both backgrounds and in a narrow cell: nothing runs, nothing overflows."""
    path = tmp_path / "page.html"
    cells = "".join(
        f"<div style='background:{ground};color:{ink};padding:1em;overflow:auto'>{one._repr_html_()}</div>"
        for one in (network(), hostile(), kink(), undecided())
        for ground, ink in (("#ffffff", "#000000"), ("#111111", "#e0e0e0"))
    )
    path.write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>quiet</title><body>{cells}", encoding="utf-8")
    for width in (380, 1200):
        page.open(path.as_uri(), width=width)
        assert page.requests == [path.as_uri()]
        assert (page.console, page.dialogs, page.value("document.title")) == ([], [], "quiet")
        assert page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        page.screenshot(tmp_path / f"notebook-{width}.png")
