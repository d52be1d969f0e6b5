"""Where f moves at second order only, a claim of zero is tested; where it keeps its bits, nothing is."""

import warnings

import numpy as np
import pytest

import gradproof
from gradproof import GradproofWarning, Reason, Verdict

NOTE = "stationary: f changes to second order only, and the claim is zero"
SAID = "the claim is zero here: a wrong factor or sign would not show"


def bowl(x):
    return ((x - 1) ** 2).sum()


def bowls(x):
    return (x - 1) ** 2


POINTS = {
    "one number": (lambda x: x * x, 0.0, lambda x: 2 * x),
    "offset": (lambda x: 1e3 + (x * x).sum(), np.zeros(5), lambda x: 2 * x),
    "fourth order": (lambda x: (x**4).sum(), np.zeros(5), lambda x: 4 * x**3),
    "bowl": (bowl, np.ones(4), lambda x: 2 * (x - 1)),
    "rounded zero": (lambda x: np.cos(x).sum(), np.full(3, np.pi), lambda x: -np.sin(x)),
}


@pytest.mark.parametrize("name", POINTS)
def test_a_zero_gradient_is_proved(name):
    """CORRECT with a bound relative to f's movement, a note that says what does not show, and another point."""
    f, point, gradient = POINTS[name]
    for seed in range(2):
        report = gradproof.check(f, point, grad=gradient, rng=seed)

        assert report.correct
        (leaf,) = report.leaves
        assert leaf.note == NOTE
        assert leaf.bound < 1e-2
        assert [(one.id, str(one.severity), one.kind) for one in report.findings] == [("GP302", "note", SAID)]
        assert report.suggested_args is not None
        assert gradproof.check(f, report.suggested_args, grad=gradient, rng=seed).correct


@pytest.mark.parametrize("name", POINTS)
def test_a_slope_beside_the_movement_is_wrong(name):
    """A claim of zero is WRONG where f has a slope, however small beside what moves it at second order."""
    f, point, _ = POINTS[name]
    report = gradproof.check(lambda x: f(x) + 1e-3 * np.sum(x), point, grad=lambda x: 0 * x, rng=1)

    assert report.verdict is Verdict.WRONG  # wrong on purpose: f has the slope 1e-3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1, 3])
def test_what_f_does_far_away_is_no_movement(size, seed):
    """An exponential that takes off at coarse steps makes no slope of 1e5 look small, and no zero slope untested."""
    x = np.zeros(size)

    def slope(x):
        return 1e5 * x.sum() + np.exp(3000 * x).sum()

    def bowl(x):
        return np.exp(3000 * x**2).sum()

    assert gradproof.check(slope, x, grad=np.zeros(size), rng=seed).verdict is Verdict.WRONG  # wrong on purpose
    assert gradproof.check(bowl, x, grad=np.zeros(size), rng=seed).verdict is Verdict.CORRECT


def test_a_claim_that_is_not_zero():
    """What is claimed at a stationary point must be zero."""
    report = gradproof.check(bowl, np.ones(4), grad=lambda x: np.full(4, 1e-6), rng=0)  # wrong on purpose
    assert report.verdict is Verdict.WRONG


def test_too_noisy_to_be_called_stationary():
    """A bar that is not small beside the movement proves nothing."""
    report = gradproof.check(lambda x: 1e13 + (x * x).sum(), np.zeros(4), grad=lambda x: 2 * x, rng=0)
    assert report.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("kind", ["vjp", "jvp", "jac"])
@pytest.mark.parametrize("size", [3, 8])
def test_stationary_outputs(kind, size):
    """The same for every output of a function that is stationary in all of them."""
    claims = {
        "vjp": lambda u, x: 2 * (x - 1) * u,
        "jvp": lambda v, x: 2 * (x - 1) * v,
        "jac": lambda x: np.diag(2 * (x - 1)),
    }
    report = gradproof.check(bowls, np.ones(size), **{kind: claims[kind]}, rng=0)
    assert report.correct
    assert report.leaves[0].bound is not None
    assert [(one.id, one.kind) for one in report.findings] == [("GP302", SAID)]
    assert report.suggested_args is not None

    wrong = gradproof.check(lambda x: bowls(x) + 1e-3 * x, np.ones(size), **{kind: claims[kind]}, rng=0)
    assert wrong.verdict is Verdict.WRONG  # wrong on purpose: f has slopes of 1e-3


def test_every_leaf_is_moved_alone():
    """What one leaf moves says nothing of another."""

    def f(p):
        return 1e6 * (p["a"] - 1) ** 2 + 1e-5 * np.sin(p["b"]).sum()

    claim = {"a": 0.0, "b": np.zeros(3)}  # wrong on purpose: `b`
    report = gradproof.check(f, {"a": 1.0, "b": np.zeros(3)}, grad=claim, rng=0)
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.CORRECT, Verdict.WRONG]


def test_a_kink_is_no_stationary_point():
    """|x| at 0 moves at first order, to both sides."""
    report = gradproof.check(lambda x: np.abs(x).sum(), np.zeros(3), grad=lambda x: 0 * x, rng=0)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: np.floor(x).sum()])
def test_a_constant_is_not_tested(f):
    report = gradproof.check(f, np.array([0.5, 1.5]), grad=lambda x: 0 * x, rng=0)
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.DEGENERATE)


def test_torch_drop_in():
    """The drop-in passes a critical point, and with a warning an exactly zero claim where f keeps its bits."""
    torch = pytest.importorskip("torch")
    from gradproof.compat.torch import GradcheckError, gradcheck

    point = torch.ones(3, dtype=torch.float64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradcheck(lambda x: (x - 1) ** 2, (point,))
    for constant in (lambda x: x.sign(), lambda x: x.sign().sum()):
        with pytest.warns(GradproofWarning, match="keeps its bits"):
            assert gradcheck(constant, (0.7 * point.detach().requires_grad_(),))

    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sign()

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent  # wrong on purpose

    with pytest.raises(GradcheckError):
        gradcheck(Rounded.apply, (0.7 * point.detach().requires_grad_(),))


def test_jax_drop_in():
    jax = pytest.importorskip("jax")
    from gradproof.compat.jax import check_grads

    with jax.enable_x64(True):
        check_grads(lambda x: (x - 1) ** 2, (jax.numpy.ones(3),), 1)
        with pytest.warns(GradproofWarning, match="keeps its bits"):
            check_grads(jax.numpy.sign, (jax.numpy.full(3, 0.7),), 1)


# ------------------------------------------------------------------------------------------------ nan, dead zones


def power(x):
    return x[0] ** x[1]


def test_nan_where_f_is_undefined():
    """A claim of nan is no mistake where f is nan on both sides, and a mistake where it has values."""

    def gradient(x):
        return np.array([x[1] * x[0] ** (x[1] - 1), np.nan])

    def jac(x):
        return np.array([[0.0, 0.0], gradient(x)])

    point = np.array([-1.0, 2.0])
    report = gradproof.check(power, point, grad=gradient, rng=0)
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.DOMAIN)
    vjp = gradproof.check(lambda x: np.array([3.0, power(x)]), point, vjp=lambda u, x: u[1] * gradient(x), rng=0)
    matrix = gradproof.check(lambda x: np.array([3.0, power(x)]), point, jac=jac, rng=0)
    assert (vjp.verdict, matrix.verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)

    defined = gradproof.check(lambda x: x[0] ** 2 * x[1], point, grad=lambda x: [2 * x[0] * x[1], np.nan], rng=0)
    assert defined.verdict is Verdict.WRONG  # wrong on purpose


def test_nan_beside_a_leaf_that_is_wrong():
    """The other leaves are measured as usual."""
    claim = {1.0: Verdict.INCONCLUSIVE, 1.5: Verdict.WRONG}  # wrong on purpose: 1.5
    for factor, verdict in claim.items():
        report = gradproof.check(
            lambda x, y: x**y,
            (-1.0, 2.0),
            wrt=(0, 1),
            grad=lambda x, y, c=factor: (c * y * x ** (y - 1), np.nan),
            rng=0,
        )
        assert report.verdict is verdict


def cut_off(x):
    """The logarithm of a rotation, cut off."""
    return (x[:2] if np.linalg.norm(x[:2]) > 1e-5 else 0 * x[:2]).sum() + np.sin(x[2])


@pytest.mark.parametrize("seed", range(3))
def test_a_dead_zone_is_named(seed):
    """Both slopes are shown, and the advice is not to drop the gradient."""
    point = np.array([0, 0, 1.0])
    beyond = gradproof.check(cut_off, point, grad=lambda x: np.r_[1, 1, np.cos(x[2])], rng=seed)
    within = gradproof.check(cut_off, point, grad=lambda x: np.r_[0, 0, np.cos(x[2])], rng=seed)
    neither = gradproof.check(cut_off, point, grad=lambda x: np.r_[2, 2, np.cos(x[2])], rng=seed)  # wrong on purpose

    assert [one.id for one in beyond.findings] == ["GP311"]
    assert "beyond it, as claimed" in beyond.findings[0].kind
    assert "cutoff" in beyond.findings[0].advice
    assert beyond.verdict is not Verdict.CORRECT
    assert within.verdict is not Verdict.WRONG
    assert neither.verdict is Verdict.WRONG
    assert "GP311" not in {one.id for one in neither.findings}


def test_a_dead_zone_of_all_entries_and_of_one_output():
    """Where nothing moves within the zone f may be rounded: a doubt."""

    def one(x):
        return x if abs(x) > 1e-5 else 0.0

    report = gradproof.check(one, 0.0, grad=1.0, rng=0)
    assert report.verdict is not Verdict.CORRECT
    assert [finding.id for finding in report.findings] == ["GP311"]
    report = gradproof.check(lambda x: np.array([cut_off(x), x[2]]), np.array([0, 0, 1.0]), rng=0, jac=CLAIMED)
    assert {finding.id for finding in report.findings} == {"GP311"}


def cut_off_at(radius, dtype):
    """The same, within a radius that no step of a ladder is as small as."""
    return lambda x: ((x[:2] if np.linalg.norm(x[:2]) > radius else 0 * x[:2]).sum() + np.sin(x[2])).astype(dtype)


@pytest.mark.parametrize(
    ("radius", "dtype"), [(1e-6, np.float64), (1e-8, np.float64), (1e-10, np.float64), (1e-4, np.float32)]
)
@pytest.mark.parametrize("seed", range(3))
def test_a_zone_that_all_steps_pass_over(radius, dtype, seed):
    """One finer value shows it: neither what holds beyond is certified, nor what holds within is accused."""
    f, point = cut_off_at(radius, dtype), np.array([0, 0, 1], dtype=dtype)

    def checked(*claim, **keywords):
        (gradient,) = claim
        return gradproof.check(f, point, grad=np.array(gradient, dtype=dtype), rng=seed, **keywords)

    beyond, within = checked([1, 1, np.cos(1)]), checked([0, 0, np.cos(1)])
    neither = checked([2, 2, np.cos(1)])  # wrong on purpose
    assert beyond.verdict is not Verdict.CORRECT
    assert within.verdict is Verdict.INCONCLUSIVE
    # (In float32 no ladder is as fine as the zone: finer steps bear no slope out.)
    assert neither.verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE)[: 1 if dtype is np.float64 else 2]
    assert "GP311" not in {one.id for one in neither.findings}
    (found,) = within.findings
    assert found.id == "GP311"
    assert "as claimed, and" in found.kind
    single = gradproof.check(lambda x: x if abs(x) > radius else 0 * x, dtype(0), grad=dtype(1), rng=seed)
    assert (single.verdict, [one.id for one in single.findings]) == (Verdict.INCONCLUSIVE, ["GP311"])


def rounded_in_part(x):
    """A part of f is a lattice finer than all steps, which none of them shows."""
    return np.sin(x[0]) + np.round(x[1] * 1e11) / 1e11


def special_at_zero(x):
    """Its value at the point is another formula's, off by twenty roundings."""
    return np.sum(np.where(x == 0, 1 + 5e-15, np.cos(x) + x))


def in_two_pieces(x):
    """Two formulas meet at the point, twenty roundings apart."""
    return np.sum(np.where(x > 0, np.exp(x), np.exp(x) * (1 + 5e-15)))


@pytest.mark.parametrize(
    ("f", "x", "claim"),
    [
        (rounded_in_part, [0.3, 0.7], lambda x: np.array([np.cos(x[0]), 1.0])),
        (special_at_zero, [0.0, 0.0, 0.0], np.ones_like),
        (in_two_pieces, [0.0, 0.0, 0.0], np.exp),
    ],
    ids=["lattice", "special", "pieces"],
)
@pytest.mark.parametrize("seed", range(3))
def test_what_looks_like_a_zone_is_none(f, x, claim, seed):
    """It looks so everywhere, or at one of several small steps only."""
    report = gradproof.check(f, np.array(x), grad=claim, rng=seed)
    assert report.verdict is Verdict.CORRECT, str(report)


CLAIMED = np.array([[1, 1, np.cos(1.0)], [0, 0, 1]])


@pytest.mark.parametrize("bend", [lambda b: np.sum(b * b), lambda b: 1e-3 * np.sum(b**4)])
def test_a_stationary_array_beside_one_that_is_not(bend):
    """It moves f at second order: stationary, neither flat nor untested. A slope that is claimed there is WRONG."""
    a, b = np.array([0.5, 1.0, 2.0]), np.zeros(3)
    for claimed, verdict in ((0.0, Verdict.CORRECT), (1e-3, Verdict.WRONG)):  # wrong on purpose: 1e-3
        report = gradproof.check(
            lambda a, b: np.sum(np.sin(a)) + bend(b),
            (a, b),
            wrt=(0, 1),
            grad=lambda a, b, c=claimed: (np.cos(a), np.full(3, c)),
            rng=0,
        )
        assert [leaf.verdict for leaf in report.leaves] == [Verdict.CORRECT, verdict]


@pytest.mark.parametrize("claimed", [0.0, 1e-17])
def test_an_array_that_f_feels_only_far_from_the_point_is_no_flat_one(claimed):
    """At the steps of a first look f stands still; at a third of the natural size it does not."""

    def f(a, b):
        return np.sum(np.sin(a)) + np.sum(np.maximum(np.abs(b) - 0.3, 0))

    a, b = np.array([0.5, 1.0, 2.0]), np.zeros(3)
    report = gradproof.check(f, (a, b), wrt=(0, 1), grad=(np.cos(a), np.full(3, claimed)), rng=0)

    assert [leaf.verdict for leaf in report.leaves] == [Verdict.CORRECT] * 2
    assert report.leaves[1].note.startswith("stationary")
    assert [one.id for one in report.findings] == ["GP302"]


def hills(x):
    """Cardinal sines: the second entry is at a maximum but for the rounding of x."""
    return np.sinc(4 * x - 1)


def slopes(x):
    y = np.pi * (4 * x - 1)
    with np.errstate(all="ignore"):
        far = (y * np.cos(y) - np.sin(y)) / y**2
    return 4 * np.pi * np.where(np.abs(y) < 1e-3, -y / 3 + y**3 / 30, far)


NEAR = np.array([0.3, 0.25000000000000017, 0.7])
CLAIMS = {
    "vjp": lambda error: {"vjp": lambda u, x: u * (slopes(x) + error)},
    "jvp": lambda error: {"jvp": lambda v, x: v * (slopes(x) + error)},
    "jac": lambda error: {"jac": lambda x: np.diag(slopes(x) + error)},
}


@pytest.mark.parametrize("keyword", CLAIMS)
def test_an_output_that_is_stationary_but_for_rounding(keyword):
    """What rounding of x leaves of a derivative (1e-14) is held against how f moves; a slope of 1e-6 is wrong."""
    for seed in range(4):
        assert gradproof.check(hills, NEAR, **CLAIMS[keyword](0.0), rng=seed).correct
        for error in ((0, 1e-6, 0), (0, 1e-3, 0), (1e-2, 0, 0)):
            wrong = CLAIMS[keyword](np.array(error))  # wrong on purpose
            assert gradproof.check(hills, NEAR, **wrong, rng=seed).verdict is Verdict.WRONG


def test_all_outputs_stationary_but_for_rounding():
    """Their bounds are relative to how f moves, not to what rounding leaves of the claims."""
    point = np.array([np.pi, 2 * np.pi, 3 * np.pi])
    for seed in range(4):
        report = gradproof.check(np.cos, point, vjp=lambda u, x: -u * np.sin(x), rng=seed)
        assert report.correct
        assert report.leaves[0].bound < 1e-2
        wrong = gradproof.check(np.cos, point + 1e-3 * np.eye(3)[2], vjp=lambda u, x: -u * np.sin(point), rng=seed)
        assert wrong.verdict is Verdict.WRONG


def test_a_number_that_is_stationary_but_for_rounding():
    for seed in range(4):
        report = gradproof.check(hills, NEAR[1], grad=lambda x: float(slopes(x)), rng=seed)
        assert report.correct
        assert report.leaves[0].note == NOTE
        # Far from any stationary point, where no more than that is claimed.
        assert gradproof.check(hills, 0.26, grad=lambda x: 1e-14, rng=seed).verdict is Verdict.WRONG  # on purpose
