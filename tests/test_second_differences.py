"""A Hessian or its product without a gradient is held against second differences of f, and its mistakes are named."""

import dataclasses

import numpy as np
import pytest

import gradproof
from gradproof import Reason, Severity, Verdict
from gradproof._base._leaf import Leaf
from gradproof._claims._charge import Extent, SecondCharge
from gradproof._claims._hessian import Entries, accuse, explain_lines
from gradproof._claims._patterns import Misstep
from helpers import finding, ids

ROWS = np.random.default_rng(5).normal(size=(40, 20)) / 5


def point(n):
    return np.random.default_rng(n).uniform(0.2, 1.0, n)


def f(x):
    return float(np.sum(np.sin(1 + ROWS[:, : len(x)] @ x)))


def hess(x):
    rows = ROWS[:, : len(x)]
    return -(rows.T * np.sin(1 + rows @ x)) @ rows


def check(n, claim, **options):
    return gradproof.check(f, point(n), hess=claim, rng=1, **options)


@pytest.mark.parametrize("n", [2, 3, 4, 6, 20])
def test_a_right_hessian_is_certified_at_a_fixed_price(n):
    """Up to four inputs every entry is measured, and beyond eight directions."""
    report = check(n, hess)

    assert report.verdict is Verdict.CORRECT
    assert report.leaves[0].bound < 2e-4
    measured = n * (n + 1) // 2 if n <= 4 else 8
    assert len(report.evidence.comparisons) == measured
    assert report.cost.evaluations == 2 + 20 * measured


@pytest.mark.parametrize("n", [3, 6, 10])
@pytest.mark.parametrize("off", [0.5, 1e-4])
def test_wrong_entries_of_a_hessian_are_named_at_a_price_that_a_reader_waits_for(n, off):
    """All entries are looked at, and only those that deviate are measured again: these and no others are named."""

    def wrong(x):
        claimed = hess(x)
        claimed[0, 2] += off  # wrong on purpose
        claimed[2, 0] += off
        claimed[1, 1] -= 2 * off
        return claimed

    report = check(n, wrong)

    assert report.verdict is Verdict.WRONG
    named = {one.path: one for one in report.findings if one.id == "GP101"}
    assert set(named) in ({"hess[0, 2]", "hess[1, 1]"}, {"hess[2, 0]", "hess[1, 1]"})
    for one in named.values():
        assert abs(one.claimed - one.reference) == pytest.approx(off * (2 if "1, 1" in one.path else 1), rel=0.1)
    assert report.cost.evaluations <= 300


@pytest.mark.parametrize("n", [6, 20])
@pytest.mark.parametrize("level", ["certificate", "entries"])
def test_a_factor_explains_all_entries(n, level):
    """One finding for the whole, with the factor, and the picture is wrong everywhere."""
    report = check(n, 3 * hess(point(n)), level=level)  # wrong on purpose
    found = finding(report, "GP101")

    assert (found.path, found.place, found.factor) == ("hess", "everywhere", 3)
    assert "3 times" in found.kind
    assert all(share == 1 for row in report.evidence.maps[0].wrong for share in row)
    product = gradproof.check(f, point(n), hvp=lambda v, x: 3 * (hess(x) @ v), level=level, rng=1)  # wrong on purpose
    assert (finding(product, "GP101").path, finding(product, "GP101").factor) == ("x", 3)


@pytest.mark.parametrize(("n", "level"), [(6, "certificate"), (8, "entries"), (14, "entries")])
def test_wrong_entries_are_named(n, level):
    """By index, with the simple relation if there is one; of a product by the input."""
    wrong = hess(point(n))
    wrong[1, 1] *= 2  # wrong on purpose
    wrong[0, 2] += 0.37
    wrong[2, 0] += 0.37
    report = check(n, wrong, level=level)

    assert sorted(one.path for one in report.findings) == ["hess[0, 2]", "hess[1, 1]"]
    by_path = {one.path: one for one in report.findings}
    assert by_path["hess[1, 1]"].factor == 2
    assert "2 times the true entry" in by_path["hess[1, 1]"].kind
    assert by_path["hess[0, 2]"].kind == "this entry is wrong"
    for (i, j), path in (((1, 1), "hess[1, 1]"), ((0, 2), "hess[0, 2]")):
        one = by_path[path]
        assert one.entries == ((i, j),)
        assert one.claimed == pytest.approx(wrong[i, j])
        assert abs(one.reference - hess(point(n))[i, j]) <= one.error_bar < 1e-3


def test_an_error_without_a_place_or_a_cause_is_given_neither():
    """Of many inputs, at the level of directions: it is not the second derivative, and no picture says where."""
    noise = np.random.default_rng(0).normal(size=(20, 20))
    wrong = hess(point(20)) + noise + noise.T  # wrong on purpose
    for claim in ({"hess": wrong}, {"hvp": lambda v, x: wrong @ v}):
        report = gradproof.check(f, point(20), **claim, rng=1)
        found = finding(report, "GP101")

        assert found.kind == "the second derivative is wrong"
        assert found.factor is None
        assert found.place == ""
        assert not any(share > 0 for one in report.evidence.maps for row in one.wrong for share in row)


def noisy(n, at):
    """Another number in each of some entries."""
    noise = np.random.default_rng(n).normal(size=(n, n))
    return np.where(at, noise + noise.T, 0.0)


def cross(n):
    return (np.arange(n) == 1)[:, None] | (np.arange(n) == 1)


# What is done to a Hessian: whether it is symmetric still, and the place and the kind of the one finding.
PARTS = {
    "diagonal twice": (lambda h: h + np.diag(np.diag(h)), True, "", "the diagonal is claimed 2 times"),
    "diagonal half": (lambda h: h - np.diag(np.diag(h)) / 2, True, "", "the diagonal is claimed half"),
    "rest twice": (lambda h: 2 * h - np.diag(np.diag(h)), True, "", "all but the diagonal is claimed 2 times"),
    "penalty": (lambda h: h + 0.01 * np.eye(len(h)), True, "the diagonal", "has an extra 0.01 in each of these"),
    "no penalty": (lambda h: h - 0.01 * np.eye(len(h)), True, "the diagonal", "lacks 0.01 in each of these"),
    "odd factor": (lambda h: 1.3 * h, True, "everywhere", "claimed 1.3 times the true second derivative"),
    "upper triangle": (np.triu, False, "", "only the upper triangle is filled"),
    "lower triangle": (np.tril, False, "", "only the lower triangle is filled"),
    "rows reversed": (lambda h: h[::-1], False, "everywhere", "rows in reverse order"),
}
# The same where every entry has to be measured.
MORE_PARTS = {
    "row": (lambda h: h * np.where(np.arange(len(h)) == 1, 0.5, 1)[:, None], False, "row 1", "claimed 0.5 times"),
    "column": (lambda h: h * np.where(np.arange(len(h)) == 1, 0.5, 1), False, "column 1", "claimed 0.5 times"),
    "both": (lambda h: np.where(cross(len(h)), 0.5, 1) * h, True, "row 1 and column 1", "claimed 0.5 times"),
    "both, noise": (
        lambda h: h + noisy(len(h), cross(len(h))),
        True,
        "row 1 and column 1",
        "the second derivative is wrong",
    ),
    "diagonal, noise": (
        lambda h: h + noisy(len(h), np.eye(len(h))),
        True,
        "the diagonal",
        "the second derivative is wrong",
    ),
    "noise": (lambda h: h + noisy(len(h), True), True, "everywhere", "derivative is wrong"),
}


@pytest.mark.parametrize(
    ("n", "name"), [(n, name) for n in (3, 6, 20) for name in (PARTS if n > 12 else {**PARTS, **MORE_PARTS})]
)
def test_one_mistake_of_a_part_is_one_finding(n, name):
    """That the claim is not symmetric is said before, and its right numbers stand beside it."""
    spoil, is_symmetric, place, kind = {**PARTS, **MORE_PARTS}[name]
    wrong = spoil(hess(point(n)))  # wrong on purpose
    for claim in ({"hess": wrong}, {"hvp": lambda v, x: wrong @ v}):
        if n > 12 and "hvp" in claim:
            continue
        report = gradproof.check(f, point(n), **claim, rng=1)

        assert ids(report) == ["GP101"] if is_symmetric else ["GP207", "GP101"]
        one = finding(report, "GP101")
        of = " of the Hessian" if "hvp" in claim and place not in ("", "everywhere") else ""
        assert (one.path, one.place) == ("hess" if "hess" in claim else "x", place + of)
        assert kind in one.kind
        if one.quantity.startswith("entry hess["):
            i, j = (int(k) for k in one.quantity.removeprefix("entry hess[").rstrip("]").split(", "))
            assert one.claimed == wrong[i, j]
            assert abs(one.reference - hess(point(n))[i, j]) <= one.error_bar
        else:
            assert one.quantity == "v^T H v" or "hvp" in claim


@pytest.mark.parametrize("at", [(0, 1), (1, 0), (2, 0)])
@pytest.mark.parametrize(("n", "keyword"), [(3, "hess"), (3, "hvp"), (7, "hess"), (14, "hess")])
def test_of_two_entries_that_should_be_equal_f_tells_which_is_wrong(n, keyword, at):
    """With the number that the claim has there, not with the mean of both."""
    wrong, right = hess(point(n)), hess(point(n))
    wrong[at] += 0.2  # wrong on purpose
    claim = {"hess": wrong} if keyword == "hess" else {"hvp": lambda v, x: wrong @ v}
    report = gradproof.check(f, point(n), **claim, rng=1)

    assert ids(report) == ["GP207", "GP101"]
    one = finding(report, "GP101")
    i, j = at
    where = (f"hess[{i}, {j}]", "") if keyword == "hess" else (f"x[{i}]", f"by x[{j}]")
    assert (one.path, one.place, one.quantity) == (*where, "entry")
    assert one.claimed == pytest.approx(wrong[at], abs=1e-12)
    assert abs(one.reference - right[at]) <= one.error_bar < 1e-6


@pytest.mark.parametrize("n", [3, 7, 14])
def test_errors_that_cancel_in_every_curvature_are_seen_in_the_entries(n):
    """v^T H v knows the mean of two entries only: where that is right, both are wrong."""
    wrong = hess(point(n))
    wrong[0, 2] += 0.2  # wrong on purpose
    wrong[2, 0] -= 0.2
    report = check(n, wrong)

    assert ids(report) == ["GP207", "GP101"]
    one = finding(report, "GP101")
    assert (one.path, one.place) == ("hess[0, 2]", "and its mirror image `hess[2, 0]`")
    assert one.claimed == wrong[0, 2]
    assert report.leaves[0].verdict is Verdict.WRONG


def test_errors_that_cancel_in_every_curvature_are_counted_where_all_entries_are_known():
    """One triangle twice, the other empty: the pair that differs most is not all."""
    wrong = 2 * np.triu(hess(point(3))) - np.diag(np.diag(hess(point(3))))  # wrong on purpose
    report = check(3, wrong)

    assert ids(report) == ["GP207", "GP101"]
    assert finding(report, "GP101").place == "6 of 9 entries"


def test_an_entry_that_is_not_symmetric_is_named_where_it_is_all_that_is_wrong():
    """Beside another mistake of a large Hessian it is no explanation."""
    wrong = hess(point(14))
    wrong[3, 1] += 0.2  # wrong on purpose
    assert finding(check(14, wrong), "GP101").path == "hess[3, 1]"
    wrong[5:7, 5:7] += 1
    one = finding(check(14, wrong), "GP101")
    assert (one.path, one.place, one.kind) == ("hess", "", "the second derivative is wrong")


def test_two_entries_with_the_same_factor_are_one_mistake():
    """In a row, if they are in one; without a factor they are two."""
    value = symmetric(0)
    wrong = value.copy()
    wrong[2, [1, 4]] *= 2  # wrong on purpose
    (one,) = accuse(measured(wrong, value), LEAVES)
    assert (one.extent, one.at, one.count, one.factor) == (Extent.ROW, 2, 2, 2.0)
    wrong[2, 4] += 0.1
    assert [one.entry for one in accuse(measured(wrong, value), LEAVES)] == [(2, 4), (2, 1)]


def test_more_than_two_entries_are_one_finding():
    """Two are two; of three the clearest is the example."""
    wrong = hess(point(6))
    for k, (i, j) in enumerate([(0, 1), (2, 3), (4, 4)]):
        wrong[i, j] += 0.1 * (1 + k)  # wrong on purpose
        wrong[j, i] = wrong[i, j]
        report = check(6, wrong)
        if k < 2:
            assert len(report.findings) == k + 1
            assert all(one.quantity == "entry" for one in report.findings)
    (one,) = report.findings
    assert (one.path, one.place, one.quantity) == ("hess", "5 of 36 entries", "entry hess[4, 4]")
    assert one.kind == "the second derivative is wrong"


def blocks(h, k):
    return {"a": {"a": h[:k, :k], "b": h[:k, k:]}, "b": {"a": h[k:, :k], "b": h[k:, k:]}}


@pytest.mark.parametrize(("n", "k"), [(4, 2), (8, 4), (14, 7)])
def test_a_wrong_block_is_named_by_its_two_arrays(n, k):
    """Off by a factor, or transposed, on both sides of the diagonal; one that is right is not."""
    x, right = point(n), hess(point(n))

    def report(h):
        return gradproof.check(of_two, {"a": x[:k], "b": x[k:]}, hess=lambda p: blocks(h, k), rng=1)

    twice, turned, half = right.copy(), right.copy(), right.copy()
    twice[:k, k:] *= 2  # wrong on purpose
    twice[k:, :k] *= 2
    turned[:k, k:] = right[:k, k:].T
    turned[k:, :k] = right[k:, :k].T
    half[k:, k:] /= 2
    mirrored = "and its mirror image `hess['b']['a']`"
    for wrong, path, place, kind in (
        (twice, "hess['a']['b']", mirrored, "claimed 2 times the true second derivative"),
        (turned, "hess['a']['b']", mirrored, "transposed"),
        (half, "hess['b']['b']", "", "claimed 0.5 times the true second derivative"),
    ):
        (one,) = report(wrong).findings
        assert (one.path, one.place, one.kind) == (path, place, kind)
    assert report(right).correct


LEAVES = tuple(Leaf(path=path, shape=(3,), dtype="float64", start=s, stop=s + 3) for path, s in (("a", 0), ("b", 3)))


def measured(matrix, value, bar=1e-9, size=None):
    size = np.ones(len(matrix)) if size is None else size
    scales = np.outer(size, size)
    return Entries(matrix=matrix, value=value * scales, bar=np.broadcast_to(bar, matrix.shape), allowed=1e-9, size=size)


def symmetric(seed):
    value = np.random.default_rng(seed).normal(size=(6, 6))
    return value + value.T


@pytest.mark.parametrize("seed", range(5))
def test_entries_are_accused_as_far_as_they_are_measured(seed):
    """None within its bar, or where nothing is known, or where bounds hold x; numbers are in the user's units."""
    value = symmetric(seed)
    size = np.random.default_rng(seed).uniform(0.1, 10.0, 6)
    assert accuse(measured(value, value, size=size), LEAVES) == []
    wrong = value.copy()
    wrong[1, 4] += 1e-3
    (one,) = accuse(measured(wrong, value, 1e-5, size), LEAVES)
    assert (one.extent, one.entry, one.claimed) == (Extent.ENTRY, (1, 4), wrong[1, 4])
    assert one.reference == pytest.approx(value[1, 4])
    assert one.error_bar == pytest.approx(1e-5 / (size[1] * size[4]))
    assert accuse(measured(wrong, value, 1.0, size), LEAVES) == []
    unknown = np.where(np.arange(36).reshape(6, 6) == 10, np.inf, 1e-9)
    assert accuse(measured(wrong, value, unknown, size), LEAVES) == []
    held = np.where(np.arange(6) == 4, 0.0, size)
    assert accuse(dataclasses.replace(measured(wrong, value, size=size), size=held), LEAVES) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_cause_of_a_part_explains_all_of_it(seed):
    """One entry that is off otherwise leaves no cause, and no part that it is not in."""
    value = symmetric(seed)
    for spoil, extent, cause in (
        (lambda h: h[:3, 3:] * 2, Extent.BLOCK, "factor"),
        (lambda h: h[:3, 3:] + 0.5, Extent.BLOCK, "number"),
        (lambda h: h[:3, 3:].T, Extent.BLOCK, "is_transposed"),
    ):
        wrong = value.copy()
        wrong[:3, 3:] = spoil(value)
        wrong[3:, :3] = wrong[:3, 3:].T
        (one,) = accuse(measured(wrong, value), LEAVES)
        assert (one.extent, one.blocks, one.is_mirrored) == (extent, (0, 1), True)
        assert getattr(one, cause)
        wrong[0, 4] += 0.01
        wrong[4, 0] += 0.01
        (one,) = accuse(measured(wrong, value), LEAVES)
        assert one.extent is Extent.BLOCK
        assert not getattr(one, cause)
        wrong[5, 5] += 0.7
        (one,) = accuse(measured(wrong, value), LEAVES)
        assert (one.extent, one.is_transposed) == (Extent.SOME, False)


@pytest.mark.parametrize("seed", range(5))
def test_lines_name_a_mistake_only_where_they_exclude_the_others(seed):
    """Not where bars are wide, and not of a matrix that is off otherwise."""
    value = symmetric(seed)
    vectors = np.random.default_rng(seed + 100).normal(size=(5, 6))
    plain = SecondCharge(extent=Extent.UNKNOWN, claimed=0.0, reference=0.0, error_bar=0.0)

    def explained(matrix, bar):
        return explain_lines(matrix, [(v, float(v @ value @ v), bar) for v in vectors], LEAVES, plain)

    twice = value + np.diag(np.diag(value))
    found = explained(twice, 1e-8)
    assert found.pattern.misstep is Misstep.TWICE_DIAGONAL
    assert explained(twice, 0.3 * abs(float(vectors[0] @ value @ vectors[0]))) is None
    assert explained(value + symmetric(seed + 50), 1e-8) is None
    # (A symmetric matrix half of which is missing has two explanations; the truth is symmetric.)
    assert explained(np.triu(value), 1e-8).pattern.misstep is Misstep.UPPER_ONLY
    assert explained(value + 0.3 * np.eye(6), 1e-8).number == pytest.approx(0.3)
    assert explained(value + 0.3 * np.diag([1, 1, 1, 1, 1, 1.01]), 1e-8) is None
    # (One entry that outweighs all others says nothing of these.)
    value = np.where(np.arange(36).reshape(6, 6) == 14, value, 1e-9 * value)
    assert explained(1.3 * value, 1e-7) is None


def test_products_that_are_no_hessian_are_told_so():
    """Not symmetric, not linear: each by its id; a right one has neither."""
    skew = hess(point(8))
    skew[0, 1] = 0  # wrong on purpose
    for claim, id in (
        ({"hvp": lambda v, x: skew @ v}, "GP207"),
        ({"hess": skew}, "GP207"),
        ({"hvp": lambda v, x: hess(x) @ np.abs(v)}, "GP206"),  # wrong on purpose
        ({"hvp": lambda v, x: hess(x) @ v}, None),
        ({"hess": hess}, None),
    ):
        report = gradproof.check(f, point(8), **claim, rng=1)
        assert ids(report)[:1] == ([id] if id else [])
        assert report.verdict is (Verdict.WRONG if id else Verdict.CORRECT)


@pytest.mark.parametrize("value", [np.full((8, 8), np.nan), np.zeros((8, 7)), None])
def test_a_claim_that_has_no_form_is_not_measured(value):
    """It is set aside with its finding."""
    for claim in ({"hess": lambda x: value}, {"hvp": lambda v, x: None if value is None else value[0]}):
        report = gradproof.check(f, point(8), **claim, rng=1)

        assert report.verdict is Verdict.WRONG
        assert [one.id[:3] for one in report.findings] == ["GP2"]


def of_two(p):
    return f(np.concatenate([p["a"], p["b"]]))


@pytest.mark.parametrize("missing", [None, np.zeros(3), np.full((4, 4), np.nan)])
def test_a_claim_of_which_a_part_has_no_form_is_not_measured(missing):
    """The finding names the part, and nothing else is said of the rest."""
    x = point(8)
    block = hess(x)[:4, :4] + np.diag(np.ones(3), 1)  # wrong on purpose, and not looked at
    claim = {"a": {"a": block, "b": hess(x)[:4, 4:]}, "b": {"a": hess(x)[4:, :4], "b": missing}}
    report = gradproof.check(of_two, {"a": x[:4], "b": x[4:]}, hess=lambda p: claim, rng=1)
    assert report.verdict is Verdict.WRONG
    assert [one.id[:3] for one in report.findings] == ["GP2"]
    assert report.findings[0].id != "GP207"

    def product(v, p):
        whole = hess(x) @ np.concatenate([v["a"], v["b"]])
        return {"a": np.abs(whole[:4]), "b": missing if missing is None else missing.ravel()[:3]}

    report = gradproof.check(of_two, {"a": x[:4], "b": x[4:]}, hvp=product, rng=1)
    assert report.verdict is Verdict.WRONG
    assert [one.id[:3] for one in report.findings] == ["GP2"]
    assert report.findings[0].id not in ("GP206", "GP207")


def test_one_look_is_not_enough():
    """What deviates is measured again: an f whose first values were off is not held against the claim."""
    calls = []

    def settling(x):
        calls.append(x)
        return f(x) + (float(np.sum((x - point(4)) ** 2)) if len(calls) < 24 else 0.0)

    assert gradproof.check(settling, point(4), hess=hess, rng=1).verdict is not Verdict.WRONG


def test_a_lucky_look_is_not_enough():
    """Of a noisy f a deviation counts when it is seen again: over many draws of the noise none is."""
    for seed in range(8):
        draw = np.random.default_rng(seed)
        report = gradproof.check(
            lambda x, draw=draw: f(x) * (1 + 1e-7 * draw.standard_normal()), point(4), hess=hess, rng=seed
        )
        assert report.verdict is not Verdict.WRONG


def one_entry_off(x):
    wrong = hess(x)
    wrong[0, 0] *= 1.1  # wrong on purpose
    return wrong


def test_where_f_ends_nearby_finer_steps_tell():
    """A bound is wider the closer the end, and a mistake is still seen."""
    for end, bound in ((1e-2, 1e-4), (1e-3, 1e-3)):
        report = gradproof.check(ending(end), point(6), hess=hess, rng=1)
        assert report.verdict is Verdict.CORRECT
        assert report.leaves[0].bound < bound
        assert gradproof.check(ending(end), point(6), hess=one_entry_off, rng=1).verdict is Verdict.WRONG


def ending(end):
    return lambda x: f(x) if np.all(x < point(6) + end) else np.nan


def test_where_f_ends_nearby_it_is_said():
    """A step beyond the end of f is no evidence, and the reason is the domain."""
    report = gradproof.check(ending(1e-5), point(6), hess=hess, rng=1)

    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is Reason.DOMAIN
    # A reference that knows more of f has no values of f to agree or disagree with.
    report = gradproof.check(ending(1e-5), point(6), hess=hess, reference=f, rng=1)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is Reason.DOMAIN


def within(end):
    return lambda x: f(x) if np.all(x < end) else np.nan


def test_few_values_from_one_side_are_no_evidence():
    """At the edge of a domain within which f is known close to the point only."""
    report = gradproof.check(within(1e-5), np.zeros(3), hess=hess, domain=(0.0, None), rng=1)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is Reason.DOMAIN


@pytest.mark.parametrize(("end", "bound"), [(1e-2, 1e-4), (7e-4, 1e-3), (np.inf, 5e-3)])
def test_values_from_one_side_are_evidence(end, bound):
    """At the edge of a domain; a mistake is seen as well as elsewhere."""
    report = gradproof.check(within(end), np.zeros(3), hess=hess, domain=(0.0, None), rng=1)
    assert report.verdict is Verdict.CORRECT
    assert report.leaves[0].bound < bound
    report = gradproof.check(within(end), np.zeros(3), hess=one_entry_off, domain=(0.0, None), rng=1)
    assert report.verdict is Verdict.WRONG


def test_a_claim_of_zero_is_held_against_how_f_moves():
    """Where f bends it is WRONG, and where it does not there is nothing to tell."""
    linear = gradproof.check(lambda x: float(ROWS[0, :6] @ x), point(6), hess=np.zeros((6, 6)), rng=1)
    assert linear.verdict is not Verdict.WRONG
    report = check(6, np.zeros((6, 6)))  # wrong on purpose
    assert report.verdict is Verdict.WRONG


def single(x):
    return np.float32(np.sum(np.sin(x)) + np.float32(50))


def double(x):
    return float(np.sum(np.sin(x.astype(float))) + 50)


def single_hess(x):
    return np.diag(-np.sin(x.astype(float))).astype(np.float32)


def test_a_reference_decides_nothing_alone():
    """It narrows a bar where it agrees; where it disagrees with f, or alone excludes a claim, that is said."""
    x = np.linspace(0.3, 1, 4).astype(np.float32)
    plain = gradproof.check(single, x, hess=single_hess, rng=0)
    helped = gradproof.check(single, x, hess=single_hess, reference=double, rng=0)
    assert plain.verdict is Verdict.INCONCLUSIVE
    assert helped.correct
    # What only the reference excludes keeps the wide bar.
    slightly = gradproof.check(single, x, hess=lambda x: np.float32(1.06) * single_hess(x), reference=double, rng=0)
    assert slightly.verdict is Verdict.INCONCLUSIVE
    assert slightly.reason is not Reason.WITNESSES
    other = gradproof.check(single, x, hess=single_hess, reference=lambda x: 1e4 * double(x), rng=0)
    assert other.verdict is Verdict.INCONCLUSIVE
    assert other.reason is Reason.WITNESSES


def test_a_reference_is_not_asked_where_f_is_clear():
    """In float64 the differences are narrow enough, or nearly: the reference sees no more points than f."""
    asked = []

    def reference(x):
        asked.append(x)
        return f(x)

    report = check(6, hess, reference=reference)
    assert report.correct
    assert len(asked) <= report.cost.evaluations


def far_off(x):
    """sin at 1,000: its scale is a thousandth of x, and finer than all usual steps."""
    return np.sum(np.sin(2 * x))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("keyword", ["hess", "hvp"])
@pytest.mark.parametrize("size", [1, 4, 15])
def test_an_oscillation_that_steps_do_not_resolve_is_no_noise(seed, keyword, size):
    """Finer steps resolve it, where coarse ones say that f does not bend at all."""
    x = 1000 + np.random.default_rng(seed).normal(size=size)

    def claim(off):
        h = off * np.diag(-4 * np.sin(2 * x))
        return {"hess": lambda z: h} if keyword == "hess" else {"hvp": lambda v, z: h @ v}

    assert gradproof.check(far_off, x, **claim(1.0), rng=seed).verdict is Verdict.CORRECT
    assert gradproof.check(far_off, x, **claim(1.01), rng=seed).verdict is Verdict.WRONG  # wrong on purpose


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("height", [1.0, 1e-6])
@pytest.mark.parametrize("speed", [1e2, 1e4, 1e6, 1e8])
def test_an_oscillation_is_no_noise_at_any_speed(speed, height, size, seed):
    """High or a ripple beside something smooth: it is resolved, or nothing is said."""
    generator = np.random.default_rng(seed)
    a, x = generator.normal(size=size), generator.normal(size=size) + 3

    def f(x):
        return height * np.sin(speed * (a @ x)) + np.sum(x**2)

    def hess(x):
        return -height * speed**2 * np.sin(speed * (a @ x)) * np.outer(a, a) + 2 * np.eye(size)

    right = gradproof.check(f, x, hess=hess, rng=seed)
    wrong = gradproof.check(f, x, hess=lambda x: 1.01 * hess(x), rng=seed)  # wrong on purpose
    assert right.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    assert wrong.verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE)
    if size == 1 or speed == 1e2:
        assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_no_oscillation(seed):
    """It is there at every step, so that no finer ones are taken than a guard."""
    x = np.random.default_rng(seed).normal(size=4)

    def noisy(z):
        return np.sum(np.sin(z)) + 1e-6 * (np.sum(np.sin(1e5 * z)) * 1e11 % 1 - 0.5)

    report = gradproof.check(noisy, x, hess=np.diag(-np.sin(x)), rng=seed)
    smooth = gradproof.check(lambda z: np.sum(np.sin(z)), x, hess=np.diag(-np.sin(x)), rng=seed)
    assert report.verdict is not Verdict.WRONG
    assert smooth.verdict is Verdict.CORRECT
    # (Twenty values a line, two at the point and four of the guard; noise passes for an oscillation now and then.)
    assert report.cost.evaluations <= 32 * len(x) * (len(x) + 1)


def still(x):
    return 0.0 * np.sum(x)


@pytest.mark.parametrize("n", [3, 20])
@pytest.mark.parametrize("keyword", ["hess", "hvp"])
def test_an_f_that_keeps_its_bits_says_so(n, keyword):
    """Nothing can be told there, whatever is claimed; where f moves along others, it can."""
    x = point(n)

    def claims(size):
        matrix = size * np.eye(n)
        return {keyword: (lambda x: matrix) if keyword == "hess" else (lambda v, x: matrix @ v)}

    for size in (0.0, 1e-18):
        report = gradproof.check(still, x, **claims(size), rng=1)
        assert report.verdict is Verdict.INCONCLUSIVE
        assert report.reason is Reason.DEGENERATE
        assert ids(report) == ["GP301"]
        assert report.suggested_args is not None

    def first_only(x):
        return float(x[0] ** 2)

    assert gradproof.check(first_only, x, **claims(2.0), rng=1).verdict is Verdict.WRONG


def treads(x):
    """What is left where terms of size 1 cancel: 0, or one rounding."""
    return 6e-17 * float(np.floor(3 * np.sum(x)) % 2)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [3, 9])
def test_treads_of_rounding_are_no_evidence(n, seed):
    """Neither of numbers nor of symmetry; beside an f that shows more, asymmetry is an error."""
    x = point(n)
    rounding = 1e-18 * np.random.default_rng(seed).normal(size=(n, n))

    report = gradproof.check(treads, x, hess=rounding, rng=seed)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert not [one for one in report.findings if one.severity is Severity.ERROR]

    crooked = hess(x) + 1e17 * rounding  # wrong on purpose
    assert "GP207" in ids(gradproof.check(f, x, hess=crooked, rng=seed))


@pytest.mark.parametrize("keyword", ["hess", "hvp"])
def test_an_f_that_is_random_says_so(keyword):
    """It is the reason why nothing can be told; one that is not says nothing."""
    generator = np.random.default_rng(0)
    matrix = 2 * np.eye(3)
    claims = {keyword: (lambda x: matrix) if keyword == "hess" else (lambda v, x: matrix @ v)}

    def noisy(x):
        return np.sum(x**2) * (1 + 1e-6 * generator.normal())  # wrong on purpose

    report = gradproof.check(noisy, point(3), **claims, rng=0)
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.STOCHASTIC)
    assert ids(report) == ["GP303"]

    report = gradproof.check(lambda x: np.sum(x**2), point(3), **claims, rng=0)
    assert report.verdict is Verdict.CORRECT
    assert ids(report) == []


def test_an_array_that_bends_nothing_is_flat_beside_one_that_does():
    """The other one has a bound of its own."""
    x = np.array([0.5, 1.0, 2.0])

    report = gradproof.check(
        lambda a, b: np.sum(a**3) + np.sum(b),
        (x, x + 1),
        wrt=(0, 1),
        hvp=lambda v, a, b: (6 * a * v[0], 0 * v[1]),
        rng=0,
    )

    moving, flat = report.leaves
    assert report.verdict is Verdict.CORRECT
    assert moving.bound is not None
    assert (flat.bound, flat.note) == (None, "flat: f does not change to second order")


@pytest.mark.parametrize("seed", range(4))
def test_a_hessian_that_is_all_rounding_is_not_called_crooked(seed):
    """The mean of a normalised vector is 0 up to rounding, and so is all that differentiating it leaves."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=6)
    rounding = 1e-15 * generator.normal(size=(6, 6))

    def mean(x):
        return np.mean((x - x.mean()) / np.sqrt(x.var() + 1e-3))

    report = gradproof.check(mean, x, hess=rounding, rng=seed)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "GP207" not in ids(report)
    crooked = gradproof.check(mean, x, hess=1e12 * rounding, rng=seed)  # wrong on purpose
    assert crooked.verdict is Verdict.WRONG
