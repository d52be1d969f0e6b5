"""Domain, level, reference and the complex step: what they promise, and what they must not do."""

import copy
import pickle

import numpy as np
import pytest

import gradproof
from gradproof import Reason, Verdict

POINT = np.array([0.0, 0.5, 1.0, 0.5, 0.3, 0.999])


def only_inside(x):
    """A function that must never be called outside [0, 1]."""
    assert np.all(x >= 0), x
    assert np.all(x <= 1), x
    return float(np.sum(np.sqrt(1 + x) * np.arange(1, x.size + 1) + x**2))


def inside_gradient(x):
    return 0.5 / np.sqrt(1 + x) * np.arange(1, x.size + 1) + 2 * x


@pytest.mark.parametrize("domain", [(0, 1), (np.zeros(6), np.ones(6)), (np.zeros(1), 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_no_step_leaves_the_domain(domain, seed):
    """Entries on a bound move inwards, f is never called outside, and right and wrong are told apart as ever."""
    right = gradproof.check(only_inside, POINT, grad=inside_gradient, domain=domain, rng=seed)
    wrong = gradproof.check(
        only_inside, POINT, grad=lambda x: 1.01 * inside_gradient(x), domain=domain, rng=seed
    )  # wrong on purpose

    assert right.correct
    assert right.leaves[0].bound < 1e-4
    assert wrong.verdict is Verdict.WRONG
    assert "domain=domain" in wrong.findings[0].reproducer


def test_one_wrong_entry_on_a_bound():
    """The sign of an entry's step is taken into account where it can move one way only."""
    claim = inside_gradient(POINT)
    claim[2] += 0.25  # wrong on purpose: the entry on the upper bound

    (finding,) = gradproof.check(only_inside, POINT, grad=claim, domain=(0, 1), rng=1).findings

    assert finding.path == "x[2]"
    assert abs(finding.reference - inside_gradient(POINT)[2]) <= finding.error_bar < 1e-4


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ((0, 0.9), r"`x\[2\]` is 1.0"),
        ((0,), "must be a tuple"),
        ([0, 1], "must be a tuple"),
        ((np.zeros(4), 1), "does not broadcast"),
        ((np.nan, 1), "must not be nan|must lie in the domain"),
        (({"a": 0.0}, 1), "structure"),
    ],
)
def test_domains_that_do_not_fit(domain, message):
    """Each is refused before f is called, with what is wrong."""
    with pytest.raises(gradproof.UsageError, match=message):
        gradproof.check(only_inside, POINT, grad=inside_gradient, domain=domain)


def test_entries_by_themselves():
    """`level="entries"` measures every entry, says so, and its bound rests on no choice of directions."""
    point = np.linspace(-1, 1, 40)
    claim = np.cos(point)
    wrong = claim.copy()
    wrong[[3, 17]] *= -1  # wrong on purpose

    right = gradproof.check(lambda x: np.sin(x).sum(), point, grad=claim, level="entries", rng=0)
    report = gradproof.check(lambda x: np.sin(x).sum(), point, grad=wrong, level="entries", rng=0)

    assert right.level == "entries"
    assert right.leaves[0].bound < 1e-7
    assert right.cost.evaluations >= 80
    assert [finding.path for finding in report.findings] == ["x[3]", "x[17]"]


def test_few_entries_are_measured_alone_by_default():
    """Where that is cheaper than directions."""
    report = gradproof.check(lambda x: np.sin(x).sum(), np.array([0.5, 1.0]), grad=np.cos, rng=0)

    assert report.level == "entries"
    assert report.cost.evaluations <= 16


def single(x):
    """float32 arithmetic all the way."""
    return np.float32(np.sum(np.sin(x.astype(np.float32)) * np.float32(3)) + np.float32(50))


def double(x):
    return float(np.sum(np.sin(x) * 3) + 50)


def test_a_reference_narrows_the_bar():
    """In single precision the differences alone are INCONCLUSIVE; with a trusted f in double they need not be."""
    point = (np.linspace(-1, 1, 200) + 0.003).astype(np.float32)
    claim = (3 * np.cos(point.astype(float))).astype(np.float32)

    alone = gradproof.check(single, point, grad=claim, rng=0)
    helped = gradproof.check(single, point, grad=claim, reference=double, rng=0)

    assert helped.correct
    assert alone.leaves[0].bound is None or helped.leaves[0].bound < alone.leaves[0].bound


def test_a_reference_makes_nothing_wrong_and_nothing_wrong_correct():
    """A claim that only the reference excludes keeps the wide bar; one that differences exclude stays WRONG."""
    point = (np.linspace(-1, 1, 200) + 0.003).astype(np.float32)
    claim = (3 * np.cos(point.astype(float))).astype(np.float32)

    slightly = gradproof.check(single, point, grad=claim * np.float32(1.003), reference=double, rng=0)
    grossly = gradproof.check(single, point, grad=-claim, reference=double, rng=0)  # wrong on purpose
    another = gradproof.check(single, point, grad=claim, reference=lambda x: 2 * double(x), rng=0)

    assert not slightly.correct or slightly.leaves[0].bound > 0.003
    assert grossly.verdict is Verdict.WRONG
    assert another.verdict is Verdict.INCONCLUSIVE
    assert another.reason is Reason.WITNESSES


def drowned(x):
    """The slope drowns in the rounding of a large offset, which the complex step does not see."""
    return 1e9 + 1e-4 * np.sum(np.sin(x))


def drowned_by_modulus(x):
    """The same, but through abs, which drops the imaginary part."""
    return 1e9 + 1e-4 * np.sum(np.sin(abs(x)))


def test_the_complex_step_helps_where_differences_drown():
    """A witness that agrees narrows the bar for CORRECT; through abs it has nothing to say, or disagrees."""
    point = np.linspace(0.2, 1, 20)
    claim = 1e-4 * np.cos(point)

    assert gradproof.check(drowned, point, grad=claim, rng=0).correct
    assert not gradproof.check(drowned, point, grad=1.02 * claim, rng=0).correct  # wrong on purpose
    assert gradproof.check(drowned, point, grad=2 * claim, rng=0).verdict is Verdict.WRONG  # wrong on purpose
    assert gradproof.check(drowned_by_modulus, point, grad=claim, rng=0).verdict is Verdict.INCONCLUSIVE


def drowned_by_a_cast(x):
    """The same, but a cast drops the imaginary part with a warning."""
    return 1e9 + 1e-4 * np.sum(np.sin(np.asarray(x).astype(float)))


def test_a_cast_in_the_way_of_the_complex_step_is_no_warning():
    """Warnings are errors here: the witness must keep its own to itself, and have nothing to say."""
    point = np.linspace(0.2, 1, 20)

    report = gradproof.check(drowned_by_a_cast, point, grad=1e-4 * np.cos(point), rng=0)

    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is Reason.NOISE


def test_levels_that_do_not_exist():
    """They are refused."""
    with pytest.raises(gradproof.UsageError):
        gradproof.check(np.sum, np.ones(3), grad=np.ones_like, level="everything")


def test_cases_can_be_copied_and_pickled():
    """A case is collected here and run elsewhere."""
    case = gradproof.Case(np.sum, np.ones(3), grad=np.ones_like, name="sum")

    for other in (copy.copy(case), copy.deepcopy(case), pickle.loads(pickle.dumps(case))):
        assert other.name == "sum"
        assert other.check(rng=1) == case.check(rng=1)


def test_another_point_is_suggested_where_this_one_proves_nothing():
    """At a stationary point or a kink `suggested_args` has the form of `args`, and a check there can tell."""

    def f(p, power):
        return float(np.sum(np.abs(p["x"]) ** power))

    def grad(p, power):
        return {"x": power * np.abs(p["x"]) ** (power - 1) * np.sign(p["x"])}

    for power in (1, 2):
        args = ({"x": np.zeros(7)}, power)
        report = gradproof.check(f, args, grad=grad, rng=3)
        moved, passed = report.suggested_args

        assert report.verdict in (Verdict.NOT_DIFFERENTIABLE, Verdict.INCONCLUSIVE)
        assert passed == power
        assert moved["x"].shape == (7,)
        assert gradproof.check(f, report.suggested_args, grad=grad, rng=3).correct
        assert gradproof.Report.from_json(report.to_json()) == report
        assert not np.any(args[0]["x"])
    assert gradproof.check(f, moved_away(), grad=grad, rng=3).suggested_args is None


def moved_away():
    return {"x": np.linspace(0.2, 1, 7)}, 2
