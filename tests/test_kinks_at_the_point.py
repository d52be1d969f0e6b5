"""Several kinks through the point: limits of gradients nearby and mixtures of them are valid, nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradproof import Reason, Severity, Verdict, check
from gradproof._claims._subgradients import convex_weights

SEEDS = range(4)
UNITS = np.array([[1.0, -0.4], [0.3, 1.1]])
OUTER = np.array([1.0, -1.3])


def relu(x: Any) -> float:
    """Units that are 0 at the point and bend both ways."""
    return float(OUTER @ np.maximum(UNITS @ x, 0))


def relu_grad(x: Any) -> Any:
    return UNITS.T @ (OUTER * (UNITS @ x > 0))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_limit_of_gradients_nearby(seed):
    report = check(relu, np.zeros(2), grad=relu_grad, rng=seed)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    assert {one.id for one in report.findings} == {"GP110"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mixture_of_limits(seed):
    """Half of every unit."""

    def grad(x: Any) -> Any:
        return relu_grad(x) if x.any() else UNITS.T @ (OUTER / 2)

    assert check(relu, np.zeros(2), grad=grad, rng=seed).verdict is Verdict.NOT_DIFFERENTIABLE


@pytest.mark.parametrize("seed", SEEDS)
def test_outside_of_every_limit(seed):
    def special(x: Any) -> Any:
        return relu_grad(x) if x.any() else np.array([0.0, 1.5])  # wrong on purpose

    def always(x: Any) -> Any:
        return np.array([9.0, -9.0])  # wrong on purpose

    def factor(x: Any) -> Any:
        return 1.5 * relu_grad(x) + 0.1  # wrong on purpose

    for grad in (special, always, factor):
        assert check(relu, np.zeros(2), grad=grad, rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["vjp", "jac"])
def test_limits_of_several_outputs(kind, seed):
    mix = np.array([[1.0, -1.3], [0.4, 0.7], [-0.2, 1.1]])

    def f(x: Any) -> Any:
        return mix @ np.maximum(UNITS @ x, 0)

    def jac(x: Any) -> Any:
        return (mix * (UNITS @ x > 0)) @ UNITS

    def claim(more: float) -> Any:
        return {"jac": lambda x: jac(x) + more, "vjp": lambda u, x: u @ (jac(x) + more)}[kind]

    assert check(f, np.zeros(2), **{kind: claim(0.0)}, rng=seed).verdict in (
        Verdict.NOT_DIFFERENTIABLE,
        Verdict.INCONCLUSIVE,
    )
    assert check(f, np.zeros(2), **{kind: claim(3.0)}, rng=seed).verdict is Verdict.WRONG  # wrong on purpose


@pytest.mark.parametrize("seed", SEEDS)
def test_more_pieces_than_can_be_looked_at(seed):
    """110 pieces meet here: what cannot be told is no error."""
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=(8, 4)), rng.normal(size=8)
    report = check(lambda x: v @ np.maximum(w @ x, 0), np.zeros(4), grad=lambda x: w.T @ (v * (w @ x > 0)), rng=seed)
    assert report.verdict in (Verdict.NOT_DIFFERENTIABLE, Verdict.INCONCLUSIVE)
    assert report.cost.evaluations <= 1000 + 4 * 4


@pytest.mark.parametrize("f", [np.median, np.max, np.min])
@pytest.mark.parametrize("seed", SEEDS)
def test_all_entries_tied(seed, f):
    """A unit vector is the gradient in places close by; zero is that nowhere."""
    report = check(f, np.zeros(3), grad=lambda x: np.array([0.0, 1.0, 0.0]), rng=seed)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    report = check(f, np.zeros(3), grad=lambda x: np.zeros(3), rng=seed)  # wrong on purpose
    assert report.verdict is Verdict.WRONG


def nearest_to_half(x: Any) -> float:
    return float(x[np.argmin(np.abs(x - 0.5))])


# (Seeds at which six slopes in a row lie in one piece of f.)
@pytest.mark.parametrize(
    ("f", "at", "seeds"),
    [(np.median, np.zeros(3), (40, 129, 158)), (nearest_to_half, np.full(2, 0.5), range(60))],
)
def test_a_piece_that_reaches_to_both_sides(f, at, seeds):
    """All directions looked at may lie in it: f is not taken for linear, a unit vector is right, and zero is WRONG."""
    unit = np.eye(len(at))[1]
    for seed in seeds:
        assert check(f, at, grad=lambda x: unit.copy(), rng=seed).verdict is Verdict.NOT_DIFFERENTIABLE
    wrong = check(f, at, grad=np.zeros_like, rng=seeds[0])  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_gradient_of_a_smooth_function_stays_wrong(seed):
    """It is right everywhere but at the point itself, where f has no kink."""
    point = np.array([0.3, 0.7])

    def grad(x: Any) -> Any:
        return np.cos(x) * (1.01 if (x == point).all() else 1.0)  # wrong on purpose

    report = check(lambda x: np.sin(x).sum(), point, grad=grad, rng=seed)
    assert report.verdict is Verdict.WRONG


def test_weights_of_the_nearest_mixture():
    """At the nearest point of the hull no column goes further towards the target."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        n, k = rng.integers(1, 8), rng.integers(1, 60)
        columns, target = rng.normal(size=(n, k)), rng.normal(size=n) / 2
        weights = convex_weights(columns, target)
        assert (weights >= 0).all()
        assert abs(weights.sum() - 1) < 1e-5
        mixture = columns @ weights
        assert ((target - mixture) @ (columns - mixture[:, None])).max() < 1e-4


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [1e-4, 1e-9])
def test_noise_is_no_kink(seed, size):
    """A wrong claim of a noisy f, random or not, is not excused; slopes at fine steps are all noise there."""
    generator = np.random.default_rng(seed)
    x = np.array([0.5, 1.0, 2.0, -0.7])

    def scattered(x):
        return np.sum(np.sin(x)) * (1 + size * generator.normal())

    def hashed(x):
        return np.sum(np.sin(x)) + size * (x @ [3.1, 2.7, 1.4, 1.7] * 1e11 % 1 - 0.5)

    assert check(hashed, x, grad=np.sin, rng=seed).verdict is Verdict.WRONG  # wrong on purpose
    report = check(scattered, x, grad=np.sin, rng=seed)  # wrong on purpose
    assert report.verdict is Verdict.WRONG or report.reason is Reason.STOCHASTIC


def normalised(x):
    """Of sorted entries: at ties every order is a piece of its own."""
    z = np.sort(x)
    return float(SHARES @ ((z - z.mean()) / np.sqrt(z.var() + 1e-3)))


SHARES = np.array([0.9, -1.3, 0.7])


@pytest.mark.parametrize("seed", range(3))
def test_a_limit_that_is_passed_as_a_value(seed):
    """Every entry is asked for, so that f's gradients nearby are measured; one that is far from all is WRONG."""
    tied = np.full(3, 0.7)
    # The gradient of the piece in which the second entry is the smallest.
    limit = (SHARES - SHARES.mean())[[1, 0, 2]] / np.sqrt(1e-3)

    right = check(normalised, tied, grad=limit, level="entries", rng=seed)
    assert right.verdict is Verdict.NOT_DIFFERENTIABLE

    wrong = check(normalised, tied, grad=limit + np.array([0, 300, -300]), level="entries", rng=seed)
    assert wrong.verdict is Verdict.WRONG


WIDE = np.random.default_rng(2).normal(size=(12, 20))
WEIGHTS = np.random.default_rng(3).normal(size=12)


def wide(x):
    """Units through 0 that bend both ways, in too many entries for whole gradients to be measured nearby."""
    return float(WEIGHTS @ np.maximum(WIDE @ x, 0))


def wide_gradient(x):
    return WIDE.T @ (WEIGHTS * (WIDE @ x > 0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level", ["certificate", "entries"])
def test_entries_of_a_value_beyond_the_slopes_of_several_kinks(level, seed):
    """A limit of gradients may leave the slopes along an entry, and nothing but f can be asked nearby."""
    way = np.random.default_rng(seed).normal(size=20)
    limit = wide_gradient(way)

    assert check(wide, np.zeros(20), grad=limit, level=level, rng=seed).verdict in (
        Verdict.NOT_DIFFERENTIABLE,
        Verdict.INCONCLUSIVE,
    )
    limit[4] += 100  # wrong on purpose
    assert check(wide, np.zeros(20), grad=limit, level=level, rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("excess", [0.5, 0.05])
def test_an_entry_of_a_value_beyond_the_slopes_of_one_kink(excess, seed):
    """Slopes nearby are the two of the kink, and the claim is neither."""
    x = np.linspace(0.0, 1.0, 30)
    claim = np.sign(x)
    claim[0] = 1 + excess  # wrong on purpose

    report = check(lambda x: np.abs(x).sum(), x, grad=claim, rng=seed)
    assert report.verdict is Verdict.WRONG
    assert [one.path for one in report.findings if one.id == "GP103"] == ["x[0]"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [3, 8])
def test_an_entry_of_a_jacobian_beyond_the_slopes_of_a_kink(size, seed):
    """It is told by both slopes, and no mistake of the whole matrix is named; between them it is valid."""
    x = np.linspace(0.0, 1.0, size)
    wrong = np.diag(np.where(x == 0, 3.0, 1.0))  # wrong on purpose

    report = check(np.abs, x, jac=lambda x: wrong, rng=seed)
    assert report.verdict is Verdict.WRONG
    (found,) = [one for one in report.findings if one.id in ("GP101", "GP103")]
    assert (found.id, found.path) == ("GP103", "jac[0, 0]")
    assert found.kind == "outside the one-sided slopes -1 and 1 at a kink"
    assert (found.claimed, found.error_bar) == (3.0, pytest.approx(1.0))

    assert check(np.abs, x, jac=lambda x: np.diag(np.sign(x)), rng=seed).verdict is Verdict.NOT_DIFFERENTIABLE


LAYER, READ = np.random.default_rng(0).normal(size=(8, 4)), np.random.default_rng(1).normal(size=(5, 8))


def layer(x):
    return READ @ np.maximum(LAYER @ x, 0)


def layer_jacobian(x):
    return READ @ np.diag((LAYER @ x > 0) * 1.0) @ LAYER


@pytest.mark.parametrize("seed", range(3))
def test_another_point_is_suggested_as_the_advice_says(seed):
    """Also where the claim is a Jacobian that was excused."""
    report = check(layer, np.zeros(4), jac=layer_jacobian, rng=seed)
    excused = [one for one in report.findings if one.id == "GP110"]
    assert excused
    assert "suggested_args" in excused[0].advice
    assert report.suggested_args is not None


def least(p: Any) -> float:
    """The smallest of several numbers that are tied: a subgradient has shares of it that add up to 1."""
    return min(p.values())


def least_and_bend(p: Any) -> float:
    """A kink that bends f as the other does, and is so large that it hides it."""
    return 2 * abs(p["c"]) - min(p["a"], p["b"])


TIED = {"a": 0.4, "b": 0.4}
CLAIMED_SHARES = {
    "zero": (least, TIED, (0.0, 0.0), False),
    "a part": (least, TIED, (0.3, 0.0), False),
    "nearly all": (least, TIED, (0.45, 0.45), False),
    "both": (least, TIED, (1.0, 1.0), False),
    "one of three, half": (least, {**TIED, "c": 0.4}, (0.0, 0.5, 0.0), False),
    "beside another": (least_and_bend, {**TIED, "c": 0.0}, (0.0, 0.0, 0.0), False),
    "first": (least, TIED, (1.0, 0.0), True),
    "halves": (least, TIED, (0.5, 0.5), True),
    "one of three": (least, {**TIED, "c": 0.4}, (0.0, 1.0, 0.0), True),
    "halves beside another": (least_and_bend, {**TIED, "c": 0.0}, (-0.5, -0.5, 0.0), True),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CLAIMED_SHARES)
def test_claims_that_are_possible_alone_and_not_together(name, seed):
    """Where arrays are tied, their claims are judged together, whatever the seed and whether they are 0."""
    f, point, shares, right = CLAIMED_SHARES[name]
    report = check(f, point, grad=dict(zip(point, shares, strict=True)), rng=seed)

    assert report.verdict is (Verdict.NOT_DIFFERENTIABLE if right else Verdict.WRONG)
    if not right:
        (error,) = [one for one in report.findings if one.severity is Severity.ERROR]
        assert error.id == "GP103"
        assert error.kind.startswith("no subgradient at this kink: with these arrays moved together, f has the slope")
        if f is least_and_bend:
            assert "['c']" not in error.path + error.place
        assert "the gradient is wrong" in str(report)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_claim_of_nothing_at_many_ties(seed):
    """No random direction moves four tied entries alike."""
    report = check(np.min, np.full(4, 0.4), grad=np.zeros(4), rng=seed)
    assert report.verdict is Verdict.WRONG
    assert check(np.min, np.full(4, 0.4), grad=np.full(4, 0.25), rng=seed).verdict is Verdict.NOT_DIFFERENTIABLE


def hinge(x):
    return np.maximum(-LAYER[:, :3] @ x, 0)


SEVERAL = {
    "relu": (lambda x: np.maximum(LAYER[:5, :3] @ x, 0), LAYER[:5, :3]),
    "relu, few outputs": (lambda x: np.maximum(LAYER[:4, :3] @ x, 0), LAYER[:4, :3]),
    "hinge": (hinge, -LAYER[:, :3]),
    "clip": (lambda x: np.clip(LAYER[:5, :2] @ x, 0, 1), LAYER[:5, :2]),
    "leaky": (lambda x: np.maximum(LAYER[:5, :3] @ x, 0.2 * (LAYER[:5, :3] @ x)), LAYER[:5, :3]),
}


def claims_of(matrix):
    """The same claim in three forms."""
    return (
        {"jac": lambda x: matrix},
        {"vjp": lambda u, x: matrix.T @ u},
        {"jvp": lambda t, x: matrix @ t},
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SEVERAL)
def test_one_mistake_at_the_kinks_of_all_outputs_is_one_finding(name, seed):
    """However many entries lie outside of their slopes; what lies within them is one note for all outputs."""
    f, matrix = SEVERAL[name]
    m, n = matrix.shape
    for claim in claims_of(5 * matrix):  # wrong on purpose
        report = check(f, np.zeros(n), rng=seed, **claim)
        (error,) = [one for one in report.findings if one.severity is Severity.ERROR]
        assert (error.id, error.kind) == ("GP103", "outside the one-sided slopes at several kinks")
        assert error.quantity.startswith("entry ")
        assert "No subgradient" in error.advice

    # (The mean of the two slopes.)
    for claim in claims_of((0.6 if name == "leaky" else 0.5) * matrix):
        report = check(f, np.zeros(n), rng=seed, **claim)
        assert report.verdict is Verdict.NOT_DIFFERENTIABLE
        (note,) = report.findings
        assert (note.id, note.place) == ("GP110", f"in {m} of {m} outputs")


def test_two_mistakes_at_kinks_are_told_apart():
    wrong = 0.5 * LAYER[:5, :3]
    wrong[1, 0] += 4.0  # wrong on purpose
    wrong[3, 2] -= 4.0
    report = check(SEVERAL["relu"][0], np.zeros(3), jac=lambda x: wrong, rng=0)
    assert {one.path for one in report.findings if one.id == "GP103"} == {"jac[1, 0]", "jac[3, 2]"}


def test_the_outputs_that_have_a_kink_are_counted():
    def f(x):
        z = LAYER[:6, :3] @ x
        return np.where(np.arange(6) < 2, np.abs(z), z)

    right = LAYER[:6, :3] * (np.arange(6) >= 2)[:, None]
    for claim in claims_of(right):
        report = check(f, np.zeros(3), rng=0, **claim)
        assert report.verdict is Verdict.NOT_DIFFERENTIABLE
        assert [one.place for one in report.findings] == ["in 2 of 6 outputs: output[0], output[1]"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("columns", [4, 70])
def test_a_product_with_tangents_is_a_limit_of_those_nearby(columns, seed):
    """As the same claim in the other forms is: it is excused where it is right close by, and only there."""
    rng = np.random.default_rng(0)
    inner, outer = rng.normal(size=(3, columns)), rng.normal(size=(2, 3))

    def f(x):
        return outer @ np.maximum(inner @ x, 0)

    def jvp(t, x):
        return outer @ ((inner @ x > 0) * (inner @ t))

    def shifted(t, x):
        return jvp(t, x) + 30 * t.sum()  # wrong on purpose

    report = check(f, np.zeros(columns), jvp=jvp, rng=seed)
    assert report.verdict in (Verdict.NOT_DIFFERENTIABLE, Verdict.INCONCLUSIVE)
    assert report.suggested_args is None or report.suggested_args.shape == (columns,)
    # (Of many inputs some tangents are known only, each through many entries: kinks there do not tell.)
    wrong = check(f, np.zeros(columns), jvp=shifted, rng=seed).verdict
    assert wrong is (Verdict.WRONG if columns == 4 else Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("seed", range(2))
def test_modes_at_the_kinks_of_a_layer(seed):
    """No mode is accused where autograd is right, and a wrong backward is one finding in all modes."""
    torch = pytest.importorskip("torch")
    weight = torch.tensor(LAYER)

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.relu(weight @ x)

        @staticmethod
        def backward(ctx, g):
            return 5 * weight.T @ g  # wrong on purpose

    x = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    assert check(lambda x: torch.relu(weight @ x), x, rng=seed).verdict is not Verdict.WRONG
    (error,) = [one for one in check(Doubled.apply, x, rng=seed).findings if one.severity is Severity.ERROR]
    assert error.id == "GP103"
