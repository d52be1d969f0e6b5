"""The numbers behind a verdict: they are those of the report, few enough to be read, and where they say."""

import dataclasses
import json

import numpy as np
import pytest

import gradproof
from gradproof import Report, Severity, Verdict, course
from gradproof._base._leaf import Leaf
from gradproof._claims._patterns import explain
from gradproof._line import Slope
from gradproof._prove._charge import Place, WrongEntry
from gradproof._prove._collect import MAPS, Collector
from gradproof._prove._maps import CELLS, Region, Sketch, leaf_map
from gradproof._prove._measure import KEPT
from gradproof._prove._noted import Noted
from gradproof._prove._thin_out import AGAINST, COMPARISONS, LADDERS, STEPS
from gradproof._report._evidence import Evidence

RNG = np.random.default_rng(3)
WEIGHTS = RNG.standard_normal((200, 200)) / 15
X200 = RNG.standard_normal(200)
X = RNG.standard_normal((6, 5))


def layer(x):
    return np.tanh(WEIGHTS @ x)


def jacobian(x):
    return (1 - np.tanh(WEIGHTS @ x) ** 2)[:, None] * WEIGHTS


def wrong_row(x):
    matrix = jacobian(x)
    matrix[137] *= -1  # wrong on purpose
    return matrix


def wrong_column(x):
    matrix = jacobian(x)
    matrix[:, 30] *= 2  # wrong on purpose
    return matrix


def wrong_entry(x):
    matrix = jacobian(x)
    matrix[17, 55] += 0.3  # wrong on purpose
    return matrix


def swapped_rows(x):
    matrix = jacobian(x)
    matrix[[3, 150]] = matrix[[150, 3]]  # wrong on purpose
    return matrix


def sine(x):
    return float(np.sum(np.sin(x)))


def off_in_one(x):
    gradient = np.cos(x)
    gradient[2, 3] += 0.5  # wrong on purpose
    return gradient


def off_in_a_row(x):
    gradient = np.cos(x)
    gradient[4] *= -1  # wrong on purpose
    return gradient


def twice(x):
    return 2 * np.cos(x)  # wrong on purpose


def network(backward):
    """The course's network with one of its backward passes."""
    inputs, labels, parameters = course.gradient_check_n_test_case()
    _, cache = course.forward_propagation_n(inputs, labels, parameters)
    gradients = backward(inputs, labels, cache)

    def cost(parameters):
        return course.forward_propagation_n(inputs, labels, parameters)[0]

    return gradproof.check(cost, parameters, grad={name: gradients[f"d{name}"] for name in parameters}, rng=0)


def marked(tensor):
    """Cells that hold something wrong, as a set of (row, column)."""
    return {tuple(index) for index in np.argwhere(np.array(tensor.wrong) > 0).tolist()}


CHECKS = {
    "right": lambda: gradproof.check(sine, X, grad=np.cos, rng=0),
    "twice": lambda: gradproof.check(sine, X, grad=twice, rng=0),
    "one entry": lambda: gradproof.check(sine, X, grad=off_in_one, rng=0),
    "entries": lambda: gradproof.check(sine, X, grad=off_in_one, rng=0, level="entries"),
    "network": lambda: network(course.backward_propagation_n_with_bugs),
    "row": lambda: gradproof.check(layer, X200, jac=wrong_row, rng=0),
    "vjp": lambda: gradproof.check(layer, X200, vjp=lambda u, x: u @ wrong_row(x), rng=0),
    "jvp": lambda: gradproof.check(layer, X200, jvp=lambda v, x: wrong_row(x) @ v, rng=0),
    "kink": lambda: gradproof.check(lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0]), grad=np.sign, rng=0),
    "hess": lambda: gradproof.check(sine, X200[:4], grad=np.cos, hess=lambda x: -np.diag(np.sin(x)), rng=0),
    "hess alone": lambda: gradproof.check(sine, X200[:4], hess=lambda x: np.diag(np.sin(x)), rng=0),
}


@pytest.fixture(scope="module")
def reports():
    return {name: make() for name, make in CHECKS.items()}


@pytest.mark.parametrize("name", CHECKS)
def test_every_claim_has_evidence_that_reads_back_equal(name, reports):
    """The same seed gives the same text; only a second-order claim without a gradient has no ladder."""
    report = reports[name]
    assert report.evidence.comparisons
    assert bool(report.evidence.ladders) == (name != "hess alone")
    text = report.to_json(run=False)
    assert text == CHECKS[name]().to_json(run=False)
    assert Report.from_json(text).evidence == report.evidence


@pytest.mark.parametrize("name", CHECKS)
def test_the_numbers_of_a_finding_are_among_the_comparisons(name, reports):
    """And those that speak against the claim come first, and exceed their bars."""
    report = reports[name]
    against = [one for one in report.evidence.comparisons if one.against]
    assert list(report.evidence.comparisons[: len(against)]) == against
    assert bool(against) == (report.verdict is Verdict.WRONG)
    shown = {(one.claimed, one.reference, one.error_bar) for one in against}
    for finding in report.findings:
        if finding.severity is Severity.ERROR and finding.reference is not None:
            assert (finding.claimed, finding.reference, finding.error_bar) in shown
    assert all(abs(one.claimed - one.reference) > one.error_bar for one in against)


@pytest.mark.parametrize("name", CHECKS)
def test_a_ladder_leads_to_its_reference(name, reports):
    """Differences are the means of left and right quotients, some step is as close as the bar, and one was chosen."""
    for ladder in reports[name].evidence.ladders:
        differences = np.array(ladder.differences)
        assert len(ladder.steps) == len(differences) == len(ladder.left) == len(ladder.right) <= STEPS
        assert list(ladder.steps) == sorted(ladder.steps, reverse=True)
        assert ladder.chosen in ladder.steps
        assert np.allclose(differences, (np.array(ladder.left) + np.array(ladder.right)) / 2, rtol=1e-6, atol=1e-9)
        assert np.min(np.abs(differences - ladder.reference)) <= ladder.error_bar


def test_nothing_speaks_against_a_correct_claim():
    """Of any kind: no map, no comparison against it, no kink, and a short text."""
    for report in (
        CHECKS["right"](),
        network(course.backward_propagation_n),
        gradproof.check(layer, X200, jac=jacobian, rng=0),
        gradproof.check(layer, X200[:200], vjp=lambda u, x: u @ jacobian(x), rng=0),
        gradproof.check(sine, X, grad=np.cos, rng=0, level="entries"),
    ):
        assert report.verdict is Verdict.CORRECT
        assert not report.evidence.maps
        assert not any(one.against for one in report.evidence.comparisons)
        assert not any(ladder.jump or ladder.against for ladder in report.evidence.ladders)
        assert len(report.to_json()) < 20_000


def test_the_ladder_of_a_wrong_leaf_moves_that_leaf_alone(reports):
    """One of each wrong leaf, along which claim and reference have the ratio of the mistake."""
    ladders = {ladder.path: ladder for ladder in reports["network"].evidence.ladders}
    assert {"parameters['W2']", "parameters['b1']"} < set(ladders)
    for path, factor in (("parameters['W2']", 2), ("parameters['b1']", 4)):
        assert ladders[path].claimed / ladders[path].reference == pytest.approx(factor, rel=1e-4)
        assert ladders[path].against


def test_a_step_of_1e_7_has_its_place():
    """A step of ``1e-7 / size`` moves an entry by 1e-7, whatever its natural size."""
    for scale in (1e-3, 1.0, 1e5):
        x = scale * np.array([1.0, -1.0, 1.0, -1.0])
        report = gradproof.check(
            lambda x, scale=scale: sine(x / scale), x, grad=lambda x, s=scale: np.cos(x / s) / s, rng=0
        )
        assert report.evidence.ladders[0].size == pytest.approx(scale)


def test_quotients_of_a_kink_go_to_different_values(reports):
    """Whichever direction; and a valid subgradient lies between them."""
    for ladder in reports["kink"].evidence.ladders:
        assert ladder.jump
        assert ladder.right[-5] - ladder.left[-5] == pytest.approx(ladder.jump, rel=1e-3)
        assert abs(ladder.claimed - ladder.reference) <= ladder.error_bar


def test_a_wrong_entry_at_a_kink_is_shown_by_itself():
    report = gradproof.check(
        lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0]), grad=lambda x: np.array([1.5, 1.0]), rng=0
    )  # wrong on purpose
    ladder = report.evidence.ladders[0]
    assert (ladder.path, ladder.entry, ladder.against) == ("x", (0,), True)
    assert ladder.jump == pytest.approx(2)
    assert marked(report.evidence.maps[0]) == {(0, 0)}


def test_noise_shows_its_branch():
    """Where f's noise leaves the claim undecided, fine steps err by about noise over step."""

    def noisy(x):
        return sine(x) + 1e-3 * np.sin(1e9 * np.sum(x * x))

    report = gradproof.check(noisy, X, grad=np.cos, rng=0)
    assert report.verdict is Verdict.INCONCLUSIVE
    ladder = report.evidence.ladders[0]
    steps, differences = np.array(ladder.steps), np.array(ladder.differences)
    fine = steps < 1e-4
    off = np.abs(differences - ladder.reference)[fine] * steps[fine]
    assert fine.sum() >= 6
    assert 0.1 < np.sqrt(np.mean(off**2)) / ladder.noise < 3


def test_one_sided_slopes_keep_one_side():
    report = gradproof.check(
        lambda x: np.sum(x**2.5), np.array([0.0, 1.0]), grad=lambda x: 2.5 * x**1.5, domain=(0, None), rng=0
    )
    (ladder,) = report.evidence.ladders
    assert ladder.left == ()
    assert ladder.differences == ladder.right


@pytest.mark.parametrize(
    ("claim", "cells", "place"),
    [
        (off_in_one, {(2, 3)}, "[2, 3]"),
        (off_in_a_row, {(4, j) for j in range(5)}, "row 4"),
        (twice, {(i, j) for i in range(6) for j in range(5)}, "everywhere"),
    ],
)
@pytest.mark.parametrize("level", ["certificate", "entries"])
def test_the_cells_of_a_gradient_are_the_wrong_entries(claim, cells, place, level):
    """The claim is drawn as it is; where every entry was measured, so is how far each is off."""
    report = gradproof.check(sine, X, grad=claim, rng=0, level=level)
    (tensor,) = report.evidence.maps
    assert (tensor.path, tensor.shape) == ("x", (6, 5))
    assert marked(tensor) == cells
    assert np.allclose(tensor.claimed, np.abs(claim(X)), rtol=1e-2)
    if level == "entries":
        assert np.allclose(tensor.deviation, np.abs(claim(X) - np.cos(X)), rtol=1e-2, atol=1e-6)
    elif claim is not off_in_a_row:
        assert tensor.place == place


@pytest.mark.parametrize(
    ("claim", "entries", "place"),
    [
        (wrong_row, [(137, j) for j in range(200)], "row 137"),
        (wrong_column, [(i, 30) for i in range(200)], "column 30"),
        (wrong_entry, [(17, 55)], "[17, 55]"),
        (swapped_rows, [(i, j) for i in (3, 150) for j in range(200)], "rows 3 and 150"),
    ],
)
def test_the_cells_of_a_jacobian_are_the_wrong_entries(claim, entries, place):
    """Of 200 x 200 entries, 4 x 4 to a cell: each cell says what share of it is wrong."""
    report = gradproof.check(layer, X200, jac=claim, rng=0)
    (tensor,) = report.evidence.maps
    wrong = np.zeros((200, 200))
    wrong[tuple(np.transpose(entries))] = 1
    blocks = wrong.reshape(50, 4, 50, 4)
    assert np.array_equal(tensor.wrong, blocks.mean(axis=(1, 3)))
    squares = claim(X200).reshape(50, 4, 50, 4) ** 2
    assert np.allclose(tensor.claimed, np.sqrt(squares.mean(axis=(1, 3))), rtol=1e-2)
    assert (tensor.rows, tensor.columns, tensor.place) == (200, 200, place)


def test_a_transposed_matrix_is_wrong_off_its_diagonal():
    """What a rearrangement leaves in place is not marked."""
    matrix = np.arange(9.0).reshape(3, 3)
    lines = [(v, matrix.T @ v, np.full(3, 1e-12)) for v in RNG.standard_normal((2, 3))]
    cause = explain(matrix, lines, np.ones(3), square=True)
    assert cause is not None
    assert np.array_equal(cause.corrected, matrix.T)
    x = X200[:3]
    report = gradproof.check(lambda x: matrix.T @ x, x, jac=lambda _: matrix, rng=0)  # wrong on purpose
    assert report.verdict is Verdict.WRONG
    assert all(i != j for i, j in marked(report.evidence.maps[0]))


def test_outputs_are_named(reports):
    """The slopes of single outputs say whose they are; several together say so."""
    names = {one.output for one in reports["row"].evidence.comparisons}
    assert "output[137]" in names
    assert "output[137]" in {ladder.output for ladder in reports["jvp"].evidence.ladders}
    assert {one.output for one in reports["vjp"].evidence.comparisons} & {"a mix of outputs"}


def test_proofs_of_the_second_order_and_of_modes_are_labelled(reports):
    paths = {one.path for one in reports["hess"].evidence.comparisons}
    assert "x" in paths
    assert any(path.endswith("(second order)") for path in paths)
    torch = pytest.importorskip("torch")
    report = gradproof.check(lambda x: (x**3).sum(), torch.ones(3, dtype=torch.float64), order=2, rng=0)
    assert {one.path for one in report.evidence.comparisons} >= {"x"}


def test_a_session_and_a_journal_give_the_same_evidence():
    report = gradproof.check(sine, X, grad=np.cos, rng=0)
    session = gradproof.Session(X, grad=np.cos, rng=0)
    while not session.done:
        session.tell([sine(point) for point in session.ask()])
    assert session.report.evidence == report.evidence


def test_units_are_those_of_the_user():
    """Slopes of 1e200 are measured in another unit and shown in theirs."""
    report = gradproof.check(lambda x: 1e200 * sine(x), X, grad=lambda x: 1e200 * off_in_one(x), rng=0)
    (tensor,) = report.evidence.maps
    assert np.allclose(np.array(tensor.claimed) / 1e200, np.abs(off_in_one(X)), rtol=1e-2)
    assert all(1e195 < abs(one.claimed) < 1e203 for one in report.evidence.comparisons)
    assert all(1e195 < abs(ladder.differences[-1]) < 1e203 for ladder in report.evidence.ladders)


# ------------------------------------------------------------------------------------------------------ limits


def test_many_leaves_and_many_entries_stay_within_limits():
    """Thirty wrong leaves, and three hundred wrong entries."""
    point = {f"w{i}": RNG.standard_normal((70, 3)) for i in range(30)}
    report = gradproof.check(
        lambda p: sum(sine(leaf) for leaf in p.values()),
        point,
        grad=lambda p: {name: np.cos(leaf) * (1 + 0.1 * i) for i, (name, leaf) in enumerate(p.items(), 1)},
        rng=0,
    )  # wrong on purpose
    evidence = report.evidence
    assert sum(leaf.verdict is Verdict.WRONG for leaf in report.leaves) == 30
    assert len(evidence.maps) == MAPS
    assert len(evidence.ladders) <= LADDERS
    assert all(len(one.wrong) <= CELLS and len(one.wrong[0]) <= CELLS for one in evidence.maps)
    assert len(evidence.comparisons) <= 200
    x = RNG.standard_normal(400)
    report = gradproof.check(sine, x, grad=lambda x: np.cos(x) + (np.arange(400) < 300), rng=0, level="entries")
    assert len(report.evidence.comparisons) <= 200
    assert sum(map(sum, report.evidence.maps[0].wrong)) == pytest.approx(300 / 7, abs=0.1)  # 7 entries to a cell


def noted(value):
    """A measurement of a claim of 0, with a bar of 1."""
    return Noted(path="x", output="", claimed=0.0, value=value, bar=1.0, scale=0.0)


def test_a_collector_keeps_a_bounded_number_and_all_that_may_be_wrong_first():
    collector = Collector()
    for k in range(10 * KEPT):
        collector.note(noted(2.0 + k if k % 50 == 0 else 0.5))
    evidence = collector.evidence(Verdict.WRONG, (), (), 1e-7)
    assert sum(one.against for one in evidence.comparisons) == -(-10 * KEPT // 50)
    assert len(evidence.comparisons) == max(-(-10 * KEPT // 50), COMPARISONS)
    for k in range(10 * KEPT):
        collector.note(noted(2.0 + k))
    assert len(collector._noted) == 2 * KEPT
    assert len(collector.evidence(Verdict.WRONG, (), (), 1e-7).comparisons) == AGAINST
    assert collector.evidence(Verdict.WRONG, (), (), 1e-7) == Evidence()


def test_a_deviation_that_was_not_borne_out_is_no_evidence_against_a_correct_claim():
    """Where nothing can be told it is shown, but speaks against nothing."""
    for verdict, shown, against in (
        (Verdict.CORRECT, 1, 0),
        (Verdict.INCONCLUSIVE, 2, 0),
        (Verdict.WRONG, 2, 1),
    ):
        collector = Collector()
        collector.note(noted(2.0))
        collector.note(noted(0.5))
        comparisons = collector.evidence(verdict, (), (), 1e-7).comparisons
        assert (len(comparisons), sum(one.against for one in comparisons)) == (shown, against)


def test_lines_of_many_outputs_keep_little():
    """Only a few outputs of each are held, and no array of all of them."""
    m, levels = 100_000, 6
    wide = {name: np.ones((levels, m)) for name in ("plus", "minus", "structure")}
    flat = ("value", "bar", "central_bar", "jump", "jump_bar", "noise", "quantum", "unit", "f0")
    place = np.zeros(m, dtype=np.intp)
    slope = Slope(
        **wide, **{name: np.ones(m) for name in flat}, h=np.logspace(-1, -6, levels), level=place, column=place,
        stage=0, eps=2.0**-52,
    )  # fmt: skip
    collector = Collector()
    value = np.ones(m)
    value[777] = 5.0
    for _ in range(100):
        collector.line(np.ones(3), np.ones(m), value, np.ones(m), np.ones(m), slope, lambda i, j: ("x", None, str(i)))
    held = [
        array.nbytes if array.base is None else array.base.nbytes
        for line in collector._lines
        for thing in (line, line.slope)
        for array in vars(thing).values()
        if isinstance(array, np.ndarray) and len(array) != levels
    ]
    assert len(collector._lines) < 40
    assert max(held) <= 1000
    (ladder,) = collector.evidence(Verdict.WRONG, (), (), 1e-7).ladders
    assert ladder.output == "777"


@pytest.mark.parametrize("shape", [(), (1,), (64,), (65,), (1000,), (3, 130), (130, 3), (2, 3, 70), (129, 129), (4, 1)])
def test_marks_of_any_shape(shape):
    """Boxes, entries and whole leaves: the shares of all cells, each times its size, count the marked entries."""
    size = int(np.prod(shape))
    leaf = Leaf(path="x", shape=shape, dtype="float64", start=5, stop=5 + size)
    claim = np.concatenate([np.full(5, np.nan), np.arange(1.0, size + 1)])
    rng = np.random.default_rng(size)
    mask = np.zeros(shape, dtype=bool)
    box = tuple((int(rng.integers(0, length)), length) for length in shape)
    mask[tuple(slice(*span) for span in box)] = True
    entries = np.unique(rng.integers(0, size, 5))
    listed = np.zeros(size, dtype=bool)
    listed[entries] = True
    wrong = tuple(WrongEntry(index=5 + int(k), reference=0.0, bar=0.0) for k in entries)
    for place, expected in (
        (Place(box=box, everywhere=True), mask),
        (Place(entries=wrong), listed),
        (Place(everywhere=True), np.ones(size, dtype=bool)),
    ):
        tensor = leaf_map(leaf, claim, Region(place, "here"))
        matrix = expected.reshape(tensor.rows, tensor.columns).astype(float)
        assert np.array_equal(np.sort(np.array(Region(place, "").indices(leaf)) - 5), np.flatnonzero(expected.ravel()))
        height, width = -(-tensor.rows // CELLS), -(-tensor.columns // CELLS)
        for i, row in enumerate(tensor.wrong):
            for j, share in enumerate(row):
                part = matrix[i * height : (i + 1) * height, j * width : (j + 1) * width]
                assert share == pytest.approx(part.mean(), rel=6e-3)
        assert len(tensor.wrong) * height >= tensor.rows
        assert np.isfinite(tensor.claimed).all()


def test_cells_hold_sizes_that_have_no_square():
    sketch = Sketch("x", (100, 100))
    assert np.allclose(sketch.picture(np.full((100, 100), 1e200)).claimed, 1e200)
    assert np.allclose(sketch.picture(np.full((100, 100), 1e-200)).claimed, 1e-200)
    assert not np.any(sketch.picture(np.zeros((100, 100))).claimed)


def test_reports_without_evidence_are_read():
    document = json.loads(CHECKS["right"]().to_json())
    del document["evidence"]
    assert Report.from_json(json.dumps(document)).evidence == Evidence()


def test_lists_of_numbers_stand_on_one_line_and_text_is_left_alone():
    """Names that look like lists keep their spaces."""
    report = dataclasses.replace(CHECKS["one entry"](), name="[\n  1,\n  2\n]", claim="[ 1,  2 ]")
    text = report.to_json()
    assert "        [2, 3]" in text
    assert Report.from_json(text) == report
    assert Report.from_json(text).name == report.name


def test_curvatures_are_those_of_the_array_that_moves():
    """One array by its path, several by none."""
    x = np.array([0.5, 1.0, 2.0])

    alone = gradproof.check(lambda x: np.sum(x**3), x, hess=np.diag(6 * x), rng=0)
    both = gradproof.check(
        lambda a, b: np.sum(a**3 + np.sin(b) * a),
        (x, x + 1),
        wrt=(0, 1),
        hvp=lambda v, a, b: (6 * a * v[0] + np.cos(b) * v[1], np.cos(b) * v[0] - np.sin(b) * a * v[1]),
        rng=0,
    )

    assert {(one.path, one.output) for one in alone.evidence.comparisons} == {("x", "v^T H v")}
    assert ("", "v^T H v") in {(one.path, one.output) for one in both.evidence.comparisons}
