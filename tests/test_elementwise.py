"""`elementwise=True`: f'(x) entry by entry, every entry judged by itself, and f held to working so."""

import numpy as np
import pytest

import gradproof
from gradproof import GradientError, UsageError, Verdict

GRID = np.linspace(-9.0, 9.0, 19)
FINE = np.linspace(-9.0, 9.0, 1001)


def softplus(x):
    return np.log1p(np.exp(x))


def logistic(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0.0)


def step(x):
    return (x > 0) * 1.0


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_slope(x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)


def lennard_jones(r):
    return 4 * (r**-12.0 - r**-6.0)


def lennard_jones_slope(r):
    return 4 * (6 * r**-7.0 - 12 * r**-13.0)


def logit(p):
    return np.log(p / (1 - p))


def check(f, x, slope, **options):
    return gradproof.check(f, x, jac=slope, elementwise=True, rng=options.pop("rng", 1), **options)


RIGHT = [
    (softplus, GRID, logistic),
    (softplus, FINE, logistic),
    (np.tanh, np.linspace(-3, 3, 300), lambda x: 1 - np.tanh(x) ** 2),
    (gelu, np.linspace(-4, 4, 17).reshape(1, 17), gelu_slope),
    (lennard_jones, np.linspace(0.7, 3, 300), lennard_jones_slope),
    (logit, np.array([1e-6, 0.1, 0.5, 0.999]), lambda p: 1 / (p * (1 - p))),
    (np.log, np.array([1e-12, 1e-3, 1.0, 1e5]), lambda x: 1 / x),
    (np.arccos, np.array([-0.999, 0.1, 0.99]), lambda x: -1 / np.sqrt(1 - x**2)),
    (np.sin, 2.0, np.cos),
    (relu, np.array([[-1.0, 2.0], [3.0, -4.0]]), step),
]


@pytest.mark.parametrize(("f", "x", "slope"), RIGHT)
def test_a_right_derivative(f, x, slope):
    report = check(f, x, slope)
    assert report.correct, report
    assert report.level == "entries"
    assert report.cost.evaluations < 400


@pytest.mark.parametrize(("f", "x", "slope"), RIGHT)
def test_one_wrong_entry(f, x, slope):
    """However small it is beside the others, and however little it is wrong."""

    def wrong(x):
        found = np.array(slope(x))
        where = np.unravel_index(np.argmin(np.where(found == 0, np.inf, np.abs(found))), found.shape)
        found[where] *= 1 + 1e-4  # wrong on purpose
        return found

    report = check(f, x, wrong)
    found = wrong(x) != slope(x)
    assert report.verdict is Verdict.WRONG
    (index,) = np.argwhere(found).tolist()
    path = report.leaves[0].path + (str(index) if index else "")
    assert [one.path for one in report.findings if one.id == "GP101"] == [path]


@pytest.mark.parametrize(
    ("wrong", "place", "kind"),
    [
        (lambda x: np.where(x > 5, 1.0, logistic(x)), "where x > 5 (223 of 1001 entries)", "these entries are wrong"),
        (lambda x: np.where(x < -2.5, 1.0, logistic(x)), "where x < -2.5 (362 of 1001 entries)", "are wrong"),
        (lambda x: np.where(np.abs(x) > 3, 0.0, logistic(x)), "where x < -3 or x > 3 (668 of 1001 ", "claimed zero"),
        (lambda x: np.where(np.abs(x) < 3, -1, 1) * logistic(x), "where -3 < x < 3 (333 of 1001 ", "the wrong sign"),
        (lambda x: 2 * logistic(x), "everywhere", "claimed 2 times the true derivative"),
        (softplus, "everywhere", "claimed f itself"),
    ],
)
def test_where_and_how_entries_are_wrong(wrong, place, kind):
    report = check(softplus, FINE, wrong)
    (finding,) = report.findings
    assert (finding.id, finding.path) == ("GP101", "x")
    assert finding.place.startswith(place)
    assert kind in finding.kind


def test_a_few_wrong_entries_are_listed():
    report = check(softplus, GRID, lambda x: np.where(x > 6, 1.0, logistic(x)))
    assert report.findings[0].entries == ((16,), (17,), (18,))
    assert report.findings[0].place == "where x > 6 (3 of 19 entries)"


def test_evaluations_do_not_grow():
    few, many = (check(softplus, np.linspace(-4, 4, n), logistic).cost.evaluations for n in (100, 10_000))
    assert many < few + 40  # the splits that show that f is elementwise: two for each digit


@pytest.mark.parametrize("x", [np.array([-1.0, 0.0, 2.0, 0.0]), np.linspace(-1, 1, 201)])
def test_a_kink_at_an_entry(x):
    for at_kink in (0.0, 0.5, 1.0):
        report = check(relu, x, lambda x, at_kink=at_kink: np.where(x == 0, at_kink, step(x)))
        assert report.verdict is Verdict.NOT_DIFFERENTIABLE
        assert "one-sided slopes 0 and 1" in report.findings[0].kind
        assert report.suggested_args is not None


def test_outside_a_kink():
    report = check(relu, np.array([-1.0, 0.0, 2.0, 0.0]), lambda x: np.where(x == 0, 2.0, step(x)))
    assert report.verdict is Verdict.WRONG
    assert [(one.id, one.entries) for one in report.findings] == [("GP103", ((1,), (3,)))]


def test_a_slope_is_claimed_where_f_stands_still():
    report = check(relu, np.array([-1.0, 0.5, 2.0, -3.0]), np.ones_like)
    assert [(one.id, one.entries) for one in report.findings] == [("GP101", ((0,), (3,)))]


def test_entries_that_cannot_be_resolved_are_named():
    """One entry lies where f is rounding, one where f is not defined; the others are judged."""
    report = check(np.tanh, np.array([0.5, 16.5, 1.0]), lambda x: np.where(x > 9, 3e-14, 1 - np.tanh(x) ** 2))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.findings[0].id == "GP315"
    assert report.findings[0].path == "x[1]"
    report = check(np.log, np.array([-1.0, 1.0, 4.0]), lambda x: 1 / x)
    assert report.findings[0].kind == "this entry cannot be resolved: f is not finite there"
    report = check(np.log, np.array([-1.0, 1.0, 4.0, -2.0]), lambda x: 1 / x)
    assert "x[0] (f is not finite there), x[3] (" in report.findings[0].kind


def test_saturated_entries_are_no_more_than_rounding():
    report = check(np.tanh, np.array([0.5, 30.0, -40.0]), lambda x: 1 / np.cosh(x) ** 2)
    assert report.correct
    assert report.leaves[0].note == "f stands still at 2 of 3 entries, where no more is claimed"


def test_nothing_is_tested_where_all_entries_stand_still():
    assert check(np.floor, np.array([0.5, 1.5]), np.zeros_like).verdict is Verdict.INCONCLUSIVE


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def last_mixes(x):
    return np.concatenate([x[:-1] ** 2, [x[-1] ** 2 + 1e-6 * x[3]]])


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (softmax, r"changes when `x\[\d+\]` moves"),
        (lambda x: x - x.mean(), r"changes when `x\[\d+\]` moves"),
        (last_mixes, r"`output\[99\]` changes when `x\[3\]` moves"),
        (lambda x: x[::-1] ** 2, "does not work entry by entry"),
        (lambda x: x[:2], r"returns shape \(2,\)"),
        (lambda x: x.sum(), r"returns shape \(\)"),
    ],
)
def test_an_f_that_mixes_entries(f, words):
    with pytest.raises(UsageError, match=words):
        check(f, np.linspace(1.0, 2.0, 100), lambda x: 2 * x)


def test_further_arguments_and_wrt():
    x, power = np.linspace(-2, 2, 41), 1.5
    slope = gradproof.check(
        lambda power, x: np.abs(x) ** power,
        (power, x),
        jac=lambda power, x: power * np.abs(x) ** (power - 1) * np.sign(x),
        wrt=1,
        elementwise=True,
        rng=1,
    )
    assert slope.correct


def test_a_value_float32_and_a_domain():
    assert check(softplus, GRID, logistic(GRID)).correct
    x = np.linspace(-3, 3, 40, dtype=np.float32)
    assert check(softplus, x, logistic).correct
    assert check(softplus, x, lambda x: np.float32(1.01) * logistic(x)).verdict is Verdict.WRONG
    x = np.array([1e-3, 1.0, 4.0])
    assert check(np.sqrt, x, lambda x: 0.5 / np.sqrt(x), domain=(0.0, None)).correct


def test_noise_is_seen_entry_by_entry():
    random = np.random.default_rng(0)

    def f(x):
        return np.where(x > 1, x**2 + 1e-3 * random.normal(size=x.shape), np.abs(x) ** 2)

    report = check(f, np.array([0.5, 0.7, 3.0]), lambda x: 2 * x)
    assert report.verdict is not Verdict.WRONG


def test_usage():
    with pytest.raises(UsageError, match=r"is for the derivative as `jac`.*got `grad`"):
        gradproof.check(softplus, GRID, grad=logistic, elementwise=True)
    with pytest.raises(UsageError, match="leave `vectorized` out"):
        gradproof.check(softplus, GRID, jac=logistic, elementwise=True, vectorized=True)
    with pytest.raises(UsageError, match="one real array"):
        gradproof.check(lambda p: p["a"], {"a": GRID, "b": GRID}, jac=lambda p: p, elementwise=True, rng=1)
    with pytest.raises(GradientError, match="where x > 5"):
        gradproof.assert_grad(softplus, GRID, jac=lambda x: np.where(x > 5, 1.0, logistic(x)), elementwise=True, rng=1)


def test_reproduces_itself():
    report = check(softplus, GRID, lambda x: 2 * logistic(x))
    assert report.findings[0].reproducer == "gradproof.check(softplus, args, jac=jac, elementwise=True, rng=1)"
    again = check(softplus, GRID, lambda x: 2 * logistic(x))
    assert again == report
