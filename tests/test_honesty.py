"""What a certificate states follows from what was measured, and no error lies above a stated bound.

The law of docs/explanation/certificate.md is written down once more here, on its own, and each stated bound is held
against it: from the slopes in the report's evidence where these are all there, and else from the directions that f was
seen to be moved along and the error that was planted.
"""

import dataclasses
import math

import numpy as np
import pytest

import gradproof
from gradproof import LeafResult, Verdict
from gradproof._claims import _many
from gradproof._claims._around import Around
from gradproof._claims._identities import adopt_by_adjoint, adopt_by_equality
from gradproof._claims._proved import Proved
from gradproof._function._primal import Primal
from gradproof._prove import Options
from gradproof._prove._laws import error_bound, spread

# What may go wrong with one check, spent in equal parts over eight looks at what was measured.
MISSED = 1e-6 / 8
SIZES = [0.0, *10.0 ** np.arange(-9, 1)]

rng = np.random.default_rng(5)
POINT = rng.uniform(0.2, 1.0, 8)
FEW_ROWS, ROWS = rng.normal(size=(3, 8)), rng.normal(size=(6, 8))


def law(directions, size, missed=MISSED):
    """Bound on an error over the largest slope of it along random directions, from the angle on the sphere.

    The cosine of the angle between a direction and the error has the density c cos(angle)**(size - 2) in the angle.
    """
    share = missed ** (1 / directions)
    if size == 2:
        return 1 / (math.sqrt(2) * math.sin(math.pi * share / 2))
    angle = np.linspace(-math.pi / 2, math.pi / 2, 20_001)
    density = 1 / float(np.trapezoid(np.cos(angle) ** (size - 2), angle))
    return 2 * density / math.sqrt(size) / share


class Watched:
    """A function that remembers where it was evaluated."""

    def __init__(self, f):
        self.f, self.points = f, []

    def __call__(self, x):
        self.points.append(np.array(x, dtype=float).ravel())
        return self.f(x)

    def directions(self, x, moving=None):
        """The directions in which it was moved, on the sphere in natural sizes (k, n); those of `moving` entries."""
        x = np.asarray(x, dtype=float).ravel()
        found = []
        for point in self.points:
            u = (point - x) / rms(x)
            if np.linalg.norm(u) < 1e-5 * math.sqrt(len(x)) or (moving and np.count_nonzero(u) != moving):
                continue
            u /= np.linalg.norm(u)
            if all(abs(u @ other) < 1 - 1e-6 for other in found):
                found.append(u)
        return np.array(found) * math.sqrt(moving or len(x))


def rms(x):
    return math.sqrt(float(np.mean(np.square(x))))


def slopes(report, path=None):
    """The largest that the directions of a report leave open, and how many there are.

    One that was measured twice has one claimed slope, and leaves open what the narrower of the two does.
    """
    found = {}
    for one in report.evidence.comparisons:
        if one.entry is None and path in (None, one.path):
            open_here = abs(one.claimed - one.reference) + one.error_bar
            found[one.path, one.claimed] = min(open_here, found.get((one.path, one.claimed), math.inf))
    return max(found.values()), len(found)


def wave(x):
    return np.sum(np.sin(x), dtype=x.dtype)


def few(x):
    return np.sin(FEW_ROWS @ x)


def few_jac(x):
    return np.cos(FEW_ROWS @ x)[:, None] * FEW_ROWS


def many(x):
    return np.sin(ROWS @ x)


def many_jac(x):
    return np.cos(ROWS @ x)[:, None] * ROWS


def mixed(x):
    """A scalar with a full Hessian."""
    return float(np.sum(np.sin(ROWS @ x)))


def mixed_grad(x):
    return ROWS.T @ np.cos(ROWS @ x)


def mixed_hess(x):
    return -(ROWS.T * np.sin(ROWS @ x)) @ ROWS


def error_like(matrix, size, seed=0, *, entry=False, symmetric=False):
    """An error of a relative size: in all entries, rows relative to their own norms, or in one."""
    generator = np.random.default_rng(seed)
    error = np.zeros_like(matrix)
    if entry:
        error[(1,) * matrix.ndim] = np.linalg.norm(matrix)
        return size * error
    error += generator.normal(size=matrix.shape)
    if symmetric:
        error += error.T
    if matrix.ndim == 1 or symmetric:
        return size * error * np.linalg.norm(matrix) / np.linalg.norm(error)
    return size * error * (np.linalg.norm(matrix, axis=1) / np.linalg.norm(error, axis=1))[:, None]


def by_rows(error, matrix):
    """The norm of an error, rows relative to their own norms."""
    if error.ndim == 1:
        return np.linalg.norm(error) / np.linalg.norm(matrix)
    return rms(np.linalg.norm(error, axis=1) / np.linalg.norm(matrix, axis=1))


# ------------------------------------------------------------------------------------------------ errors of every size

KINDS = {
    "grad": (wave, np.cos, lambda g: {"grad": g}),
    "jac": (many, many_jac, lambda j: {"jac": j}),
    "vjp": (many, many_jac, lambda j: {"vjp": lambda u, x: j.T @ u}),
    "vjp of few": (few, few_jac, lambda j: {"vjp": lambda u, x: j.T @ u}),
    "jvp": (many, many_jac, lambda j: {"jvp": lambda v, x: j @ v}),
    "hess": (mixed, mixed_hess, lambda h: {"hess": h}),
    "hvp": (mixed, mixed_hess, lambda h: {"hvp": lambda v, x: h @ v}),
    "hess of grad": (mixed, mixed_hess, lambda h: {"grad": mixed_grad, "hess": h}),
    "hvp of grad": (mixed, mixed_hess, lambda h: {"grad": mixed_grad, "hvp": lambda v, x: h @ v}),
}
# Second differences see less than slopes.
ALONE = ("hess", "hvp")


def planted(kind, size, *, level="certificate", entry=False, seed=0):
    """What is said of a claim with an error, and the error's true size, relative to the norm that the bound is of."""
    f, derivative, claim = KINDS[kind]
    right = derivative(POINT)
    error = error_like(right, size, seed, entry=entry, symmetric=kind[0] == "h")  # wrong on purpose
    report = gradproof.check(f, POINT, **claim(right + error), level=level, rng=seed)
    if kind in ALONE:
        return report.leaves[-1], np.linalg.norm(error) / np.linalg.norm(right)
    return report.leaves[-1], by_rows(error, right)


@pytest.mark.parametrize(("kind", "level"), [*((k, "certificate") for k in KINDS), *((k, "entries") for k in KINDS)])
def test_no_error_lies_above_the_bound_of_a_correct_claim(kind, level):
    """Errors of 1e-9 to 1 in all entries: CORRECT only below the bound; from the first that is WRONG on all are."""
    wrong_from = math.inf
    for size in [0.0, *10.0 ** np.arange(-9, 1, 3 if kind in ALONE and level == "entries" else 1)]:
        if 10 * wrong_from <= size < 1:
            continue  # a decade above the first is enough, and 1
        leaf, true = planted(kind, size, level=level)
        if leaf.verdict is Verdict.CORRECT:
            assert true <= leaf.bound <= 1e-2
        if leaf.verdict is Verdict.WRONG:
            wrong_from = min(wrong_from, size)
        assert leaf.verdict is (Verdict.WRONG if size >= wrong_from else Verdict.CORRECT)

    assert 1e-7 <= wrong_from <= (1e-3 if kind in ALONE else 1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ALONE])
def test_no_error_of_an_entry_that_would_have_been_noticed_is_correct(kind):
    """One wrong entry, relative to the rms entry: CORRECT only below `noticeable`."""
    f, derivative, claim = KINDS[kind]
    right = derivative(POINT)
    # Rows are relative to their own norms.
    typical = rms(right) if right.ndim == 1 else np.sqrt(np.mean(right**2, axis=1, keepdims=True))
    for level in ("certificate", "entries"):
        for size in (1e-8, 1e-7, 1e-6, 1e-4):
            error = np.zeros_like(right)
            error[(1,) * right.ndim] = size * (typical if right.ndim == 1 else typical[1, 0])  # wrong on purpose
            report = gradproof.check(f, POINT, **claim(right + error), level=level, rng=2)
            leaf = report.leaves[-1]
            if leaf.verdict is Verdict.CORRECT:
                assert size <= leaf.noticeable
            assert leaf.verdict is (Verdict.CORRECT if size < 2e-7 else Verdict.WRONG) or size == 1e-6


# ------------------------------------------------------------------------------------------------ the law, once more


@pytest.mark.parametrize(("dtype", "sizes"), [("float64", (0, 1e-8, 1e-7)), ("float32", (0, 1e-6, 1e-5))])
@pytest.mark.parametrize("n", [6, 30, 300])
def test_the_bound_of_a_gradient_follows_from_its_slopes(n, dtype, sizes):
    """As wide as the directions' law makes the largest of all slopes, to the last digits, and no wider."""
    point = np.random.default_rng(n).uniform(0.2, 1.0, n).astype(dtype)
    right = np.cos(point.astype(float))
    for size in sizes:
        watched = Watched(wave)
        claim = (right + error_like(right, size)).astype(dtype)  # wrong on purpose
        report = gradproof.check(watched, point, grad=claim, rng=3)
        (leaf,) = report.leaves
        largest, count = slopes(report)
        norm = np.linalg.norm(claim.astype(float)) * rms(point.astype(float))

        assert count >= 3
        assert count == len(watched.directions(point))
        assert leaf.bound == pytest.approx(law(count, n) * largest / norm, rel=1e-5)
        assert leaf.noticeable == pytest.approx(math.sqrt(n) * leaf.bound, rel=1e-12)


@pytest.mark.parametrize("directions", [1, 3, 8])
@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_the_law_of_random_directions(n, directions):
    """As on the sphere, linear in the largest slope; a single entry is seen as it is; folded draws see half."""
    bound = error_bound(0.5, directions, n, 1 - 1e-6)

    assert bound == pytest.approx(0.5 * law(directions, n), rel=1e-6)
    assert error_bound(0.5, directions, n, 1 - 1e-6, folded=True) == pytest.approx(2 * bound, rel=1e-12)
    assert error_bound(0.5, directions, 1, 1 - 1e-6) == 0.5


@pytest.mark.parametrize("n", [2, 5, 40])
def test_the_law_of_matrices(n):
    """The square root of 3 times that of a row, at least; of one output a row is all there is."""
    for count in (1, 4):
        assert spread(count, n, 1 - 1e-6) >= math.sqrt(3) * law(count, n) * (1 - 1e-6)
        assert spread(count, n, 1 - 1e-6) <= (2 if n == 2 else 1) * math.sqrt(3) * law(count, n) * (1 + 1e-6)
        assert spread(count, n, 1 - 1e-6, folded=True) == pytest.approx(2 * spread(count, n, 1 - 1e-6), rel=1e-12)
    assert spread(3, 1, 1 - 1e-6) == 1


def test_the_law_in_figures():
    """Three directions and many entries: 160 times the largest slope, as docs/explanation/how-it-works.md says."""
    assert law(3, 100_000) == pytest.approx(160, abs=1)
    point = np.linspace(0.2, 1.0, 2000)
    report = gradproof.check(wave, point, grad=np.cos, rng=1)
    largest, count = slopes(report)

    assert count == 3
    norm = np.linalg.norm(np.cos(point)) * rms(point)
    assert report.leaves[0].bound * norm / largest == pytest.approx(160, abs=1)


@pytest.mark.parametrize("confidence", [0.9, 1 - 1e-3, 1 - 1e-9])
def test_confidence_widens_the_bound(confidence):
    """By the law, from the same directions."""
    point = np.linspace(0.2, 1.0, 30)
    report = gradproof.check(wave, point, grad=np.cos, confidence=confidence, rng=1)
    largest, count = slopes(report)

    norm = np.linalg.norm(np.cos(point)) * rms(point)
    assert report.leaves[0].bound == pytest.approx(law(count, 30, (1 - confidence) / 8) * largest / norm, rel=1e-6)


def test_entries_on_bounds_cost_a_factor_of_two():
    """Draws that go one way only have at most twice the density at 0."""
    point = np.linspace(0.2, 1.0, 30)
    report = gradproof.check(wave, point, grad=np.cos, domain=(np.where(point < 0.5, point, -3.0), 3.0), rng=1)
    largest, count = slopes(report)

    assert report.correct
    natural = np.minimum(rms(point), np.where(point < 0.5, 3.0 - point, np.minimum(point + 3.0, 3.0 - point)) / 2)
    norm = np.linalg.norm(np.cos(point) * natural)
    assert report.leaves[0].bound == pytest.approx(2 * law(count, 30) * largest / norm, rel=1e-6)


def test_each_array_has_its_own_norm():
    """Leaves that share directions share the law, and each is held against its own norm, all made alike."""

    def f(p):
        return 50 * wave(p["a"]) + wave(p["b"])

    a, b = np.linspace(0.2, 1.0, 20), np.linspace(2.0, 2.5, 10)
    report = gradproof.check(f, {"a": a, "b": b}, grad={"a": 50 * np.cos(a), "b": np.cos(b)}, rng=1)
    largest, count = slopes(report)
    norms = 50 * np.linalg.norm(np.cos(a)) * rms(a), np.linalg.norm(np.cos(b)) * rms(b)

    for leaf in report.leaves:
        # The larger one moves less, so that both contribute alike.
        assert leaf.bound == pytest.approx(law(count, 30) * largest / min(norms), rel=1e-6)
        assert leaf.noticeable == pytest.approx(math.sqrt(leaf.shape[0]) * leaf.bound, rel=1e-12)


def relu(x):
    return float(np.sum(np.maximum(x, 0) * (2 + np.cos(x))))


def relu_grad(x):
    return np.where(x > 0, 2 + np.cos(x) - x * np.sin(x), 0.0)


def test_the_bound_of_the_others_beside_a_kink():
    """Kinked entries stay where they are, and the law is that of those that move."""
    point = np.linspace(0.2, 1.0, 30)
    point[7] = 0.0
    right = relu_grad(point)
    error = error_like(right, 1e-7)  # wrong on purpose
    error[7] = 0.0
    watched = Watched(relu)
    report = gradproof.check(watched, point, grad=right + error, rng=1)
    directions = watched.directions(point, moving=29)
    (leaf,) = report.leaves
    largest = np.max(np.abs(directions @ error)) / np.linalg.norm(right)

    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    assert 0.9 < leaf.bound / (law(len(directions), 29) * largest) < 1.5
    assert leaf.noticeable == pytest.approx(math.sqrt(29) * leaf.bound, rel=1e-12)


def test_the_bound_of_entries_rests_on_no_directions():
    """The norm of all deviations and bars; what would have been noticed is the largest of them."""
    point = np.linspace(0.2, 1.0, 30)
    right = np.cos(point)
    for size in (0, 1e-8, 1e-7):
        claim = right + error_like(right, size)  # wrong on purpose
        report = gradproof.check(wave, point, grad=claim, level="entries", rng=1)
        (leaf,) = report.leaves
        left = np.array(
            [abs(c.claimed - c.reference) + c.error_bar for c in report.evidence.comparisons if c.entry is not None]
        )

        assert len(left) == 30
        assert leaf.bound == pytest.approx(np.linalg.norm(left) / np.linalg.norm(claim), rel=1e-6)
        assert leaf.noticeable == pytest.approx(np.max(left) / rms(claim), rel=1e-6)


MATRICES = [kind for kind in KINDS if kind != "grad" and kind not in ALONE]


@pytest.mark.parametrize("kind", MATRICES)
def test_the_bound_of_the_entries_of_a_matrix(kind):
    """It covers the error with the rows relative to their norms, and hardly more."""
    leaf, true = planted(kind, 1e-7, level="entries")

    assert leaf.verdict is Verdict.CORRECT
    assert true <= leaf.bound < 3 * true
    # One entry has less than the whole, and more than a fair share of it.
    assert leaf.bound < leaf.noticeable < math.sqrt(KINDS[kind][1](POINT).size) * leaf.bound


@pytest.mark.parametrize("kind", MATRICES)
def test_a_wrong_entry_of_a_matrix_is_noticed_as_stated(kind):
    """Alone in its row it is off by `noticeable` of a typical entry of that row, but for the bars."""
    f, derivative, claim = KINDS[kind]
    right = derivative(POINT)
    error = np.zeros_like(right)
    error[1, 1] = 3e-7 * rms(right[1])  # wrong on purpose
    plain, wrong = (
        gradproof.check(f, POINT, **claim(right + e), level="entries", rng=1).leaves[-1] for e in (0 * error, error)
    )

    assert wrong.verdict is Verdict.CORRECT
    assert plain.noticeable < 1.5e-7
    assert 3e-7 <= wrong.noticeable <= 3e-7 + plain.noticeable


def stated_by_rows(directions, error, right, size):
    """What the law makes of the most that an error shows along directions, rows relative to their own norms."""
    seen = np.linalg.norm(directions @ (error / np.linalg.norm(right, axis=1)[:, None]).T, axis=1)
    return math.sqrt(3) * law(len(directions), size) * np.max(seen) / math.sqrt(len(right))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_bound_of_a_matrix_follows_from_its_directions(dtype):
    """The law of one row times the square root of 3, of what all rows show, each relative to its own norm."""
    right = many_jac(POINT)
    error = error_like(right, 1e-7 if dtype == "float64" else 2e-4)  # wrong on purpose
    watched = Watched(many)
    report = gradproof.check(watched, POINT.astype(dtype), jac=(right + error).astype(dtype), rng=3)
    (leaf,) = report.leaves
    stated = stated_by_rows(watched.directions(POINT), error, right, 8)

    assert leaf.verdict is Verdict.CORRECT
    # (In float32 the bars are wider than an error that is not WRONG.)
    assert 0.999 < leaf.bound / stated < (1.5 if dtype == "float64" else math.inf)
    assert leaf.noticeable == pytest.approx(math.sqrt(right.size) * leaf.bound, rel=1e-12)


def test_products_and_second_derivatives_are_held_to_the_law_of_their_matrix():
    """Of a jvp of few inputs the matrix is known, and a Hessian is the Jacobian of the gradient."""
    hessian = mixed_hess(POINT)
    hessian += error_like(hessian, 1e-7, symmetric=True)  # wrong on purpose
    of_gradient = gradproof.check(mixed_grad, POINT, jac=hessian, rng=0).leaves[0]
    pairs = (planted("jac", 1e-7)[0], planted("jvp", 1e-7)[0]), (of_gradient, planted("hess of grad", 1e-7)[0])

    for matrix, other in pairs:
        assert other.bound == pytest.approx(matrix.bound, rel=1e-4)
        assert other.noticeable == pytest.approx(matrix.noticeable, rel=1e-4)


def test_a_jvp_of_many_inputs_pays_for_the_tangents_it_was_not_asked_for():
    """Sixteen random tangents of 100 inputs, and random mixtures of these: one law upon the other."""
    n, rows = 100, np.random.default_rng(0).normal(size=(6, 100))
    point = np.random.default_rng(1).uniform(0.2, 1.0, n)
    right = np.cos(rows @ point)[:, None] * rows
    error = error_like(right, 3e-8)  # wrong on purpose
    asked, watched = [], Watched(lambda x: np.sin(rows @ x))

    def jvp(v, x):
        asked.append(v)
        return (right + error) @ v

    (leaf,) = gradproof.check(watched, point, jvp=jvp, rng=1).leaves
    seen = np.max(np.abs((error / np.linalg.norm(right, axis=1)[:, None]) @ watched.directions(point).T))

    assert leaf.verdict is Verdict.CORRECT
    assert 16 <= len(asked) <= 20
    assert leaf.bound > math.sqrt(3) * law(3, 16) * math.sqrt(3) * law(16, n) * seen / math.sqrt(6) > leaf.bound / 4


def test_what_would_be_noticed_of_a_jvp_of_many_inputs():
    """The bound times the square root of the number of entries of the matrix, as everywhere."""
    rows = np.random.default_rng(0).normal(size=(6, 100))
    point = np.random.default_rng(1).uniform(0.2, 1.0, 100)
    jvp = lambda v, x: np.cos(rows @ x) * (rows @ v)  # noqa: E731

    (leaf,) = gradproof.check(lambda x: np.sin(rows @ x), point, jvp=jvp, rng=1).leaves

    assert leaf.noticeable == pytest.approx(math.sqrt(6 * 100) * leaf.bound, rel=1e-12)


def test_the_bound_of_a_vjp_of_few_outputs_follows_from_its_slopes():
    """Each output is a proof of its own, with its share of what may go wrong; the widest counts.

    (Among the slopes of an output with a tiny entry is one along a balanced direction, of which there is no law.)
    """
    right = few_jac(POINT)
    for size in (0, 1e-8):
        claim = right + error_like(right, size)  # wrong on purpose
        report = gradproof.check(few, POINT, vjp=lambda u, x, c=claim: c.T @ u, rng=2)
        (leaf,) = report.leaves
        widest = 0.0
        for i in range(3):
            found = [one for one in report.evidence.comparisons if one.output == f"output[{i}]"]
            largest = max(abs(one.claimed - one.reference) + one.error_bar for one in found)
            widest = max(widest, law(3, 8, MISSED / 3) * largest / (np.linalg.norm(claim[i]) * rms(POINT)))
            assert 3 <= len(found) <= 4

        assert leaf.bound == pytest.approx(widest, rel=1e-5)
        assert leaf.noticeable == pytest.approx(math.sqrt(right.size) * leaf.bound, rel=1e-12)


@pytest.mark.parametrize("kind", ["vjp", "hvp of grad"])
def test_the_bound_of_random_products_pays_for_both_draws(kind):
    """Four cotangents and three directions: one law upon the other, with no more than the whole confidence."""
    f, derivative, _ = KINDS[kind]
    f, right, asked = (f, derivative(POINT), []) if kind == "vjp" else (mixed_grad, derivative(POINT), [])

    def product(u, x):
        asked.append(u)
        return right.T @ u

    claims = {"vjp": product} if kind == "vjp" else {"grad": mixed_grad, "hvp": product}
    report = gradproof.check(f if kind == "vjp" else mixed, POINT, **claims, rng=3)
    leaf = report.leaves[-1]
    found = [one for one in report.evidence.comparisons if "mix" in one.output]
    largest = max(abs(one.claimed - one.reference) + one.error_bar for one in found)
    norms = np.linalg.norm(np.array([u for u in asked if np.any(u)]) @ right, axis=1) * rms(POINT)
    least = math.sqrt(3) * law(4, len(right)) * law(3, 8) * largest / rms(norms)

    assert leaf.verdict is Verdict.CORRECT
    assert len(found) >= 12
    assert 1 < leaf.bound / least < 8
    assert leaf.noticeable == pytest.approx(math.sqrt(right.size) * leaf.bound, rel=1e-12)


def test_the_bound_of_products_proved_apart_follows_from_their_slopes():
    """Many arrays: four cotangents with directions of their own share what may go wrong, and all must miss at once."""
    rows = np.random.default_rng(1).normal(size=(9, 30))
    point = np.random.default_rng(2).uniform(0.5, 1.0, 30)
    right = np.cos(rows @ point)[:, None] * rows
    names = "abcdef"

    def split(x):
        return {name: x[5 * i : 5 * i + 5] for i, name in enumerate(names)}

    def f(p):
        return np.sin(rows @ np.concatenate(list(p.values())))

    report = gradproof.check(f, split(point), vjp=lambda u, p: split(right.T @ u), rng=2)
    largest, count = slopes(report)
    # Each proof may miss with probability q, and one of the four draws of cotangents with what is left.
    whole = (1e-6 / 2) ** (1 / 4)
    q = whole / 2
    stated = law(3, 30, q / 8) * math.sqrt(3) * law(1, 9, whole - q) * largest

    assert report.correct
    assert 12 <= count <= 16
    for i, leaf in enumerate(report.leaves):
        block = right[:, 5 * i : 5 * i + 5] / np.linalg.norm(right * rms(point), axis=1)[:, None]
        norm = np.linalg.norm(block) * rms(point[5 * i : 5 * i + 5])
        assert 0.3 < leaf.bound * norm / stated < 3
        assert leaf.noticeable == pytest.approx(math.sqrt(5 * 9) * leaf.bound, rel=1e-12)


def proved_of_many(f, point, vjp):
    """What is proved of a vjp of very many outputs, here of fewer, and the cotangents that it was asked for."""
    asked = []

    def watched(u, x):
        asked.append(np.array(u))
        return vjp(u, x)

    options = Options(rtol=None, max_bound=None, confidence=1 - 1e-6, seed=1)
    proved = _many.prove_many(Primal(f, point, is_vector=True), watched, options, Around(), "")
    return proved, np.unique(np.array([u for u in asked if np.any(u)]), axis=0)


@pytest.mark.parametrize("together", [True, False])
def test_the_bound_of_a_vjp_of_very_many_outputs(together, monkeypatch):
    """Three random cotangents, held along three lines, together or one by one: one law upon the other."""
    if not together:
        monkeypatch.setattr(_many._Proof, "_at_once", lambda self: None)
    rows = np.random.default_rng(0).normal(size=(40, 20))
    point = np.random.default_rng(1).uniform(0.2, 1.0, 20)
    right = np.cos(rows @ point)[:, None] * rows
    error = error_like(right, 1e-8)  # wrong on purpose
    watched = Watched(lambda x: np.sin(rows @ x))
    proved, cotangents = proved_of_many(watched, point, lambda u, x: (right + error).T @ u)
    (leaf,) = proved.leaves
    seen = np.max(np.abs(cotangents @ error @ watched.directions(point).T))
    least = (
        math.sqrt(3) * law(3, 20) * math.sqrt(3) * law(3, 40) * seen / rms(np.linalg.norm(cotangents @ right, axis=1))
    )

    assert proved.verdict is Verdict.CORRECT
    assert 1 < leaf.bound / least < 9
    assert leaf.noticeable == pytest.approx(math.sqrt(right.size) * leaf.bound, rel=1e-12)


@pytest.mark.parametrize("product", [False, True])
def test_the_bound_of_second_differences_follows_from_them(product):
    """Both sides of v^T H v hide an error: the square of the law, of the norm of H in natural sizes."""
    right = mixed_hess(POINT)
    claim = {"hvp": lambda v, x: right @ v} if product else {"hess": right}
    report = gradproof.check(mixed, POINT, **claim, rng=1)
    (leaf,) = report.leaves
    largest, count = slopes(report)
    stated = law(count, 8) ** 2 * largest / (np.linalg.norm(right) * rms(POINT) ** 2)

    assert count == 8
    # (The norm of what is known as products is estimated from two of them.)
    assert leaf.bound == pytest.approx(stated, rel=0.6 if product else 1e-6)
    assert leaf.noticeable == pytest.approx(8 * leaf.bound, rel=1e-12)


def test_the_bound_of_second_differences_entry_by_entry():
    """Entries off the diagonal are half the sum of three measurements: 3/2 of the largest for each of n x n."""
    right = mixed_hess(POINT)
    report = gradproof.check(mixed, POINT, hess=right, level="entries", rng=1)
    (leaf,) = report.leaves
    largest, count = slopes(report)

    assert count == 8 * 9 // 2
    assert leaf.bound == pytest.approx(1.5 * 8 * largest / (np.linalg.norm(right) * rms(POINT) ** 2), rel=1e-6)


def proved_as(bound):
    """A proof of reverse mode."""
    leaf = LeafResult(
        path="x", shape=(8,), dtype="float64", verdict=Verdict.CORRECT, bound=bound, deviation=0.0, noticeable=1e-4
    )
    return Proved(
        verdict=Verdict.CORRECT,
        reason=None,
        findings=(),
        leaves=(leaf,),
        level="certificate",
        rtol=1e-7,
        max_bound=1e-2,
        claim_calls=0,
    )


def sines(m):
    """m sines of mixtures of the inputs, their Jacobian, and an error of it."""
    rows = np.random.default_rng(2).normal(size=(m, 8))
    right = np.cos(rows @ POINT)[:, None] * rows
    primal = Primal(lambda x: np.sin(rows @ x), POINT, is_vector=True)
    primal.output_values()
    return primal, right, error_like(right, 1e-9)


@pytest.mark.parametrize("m", [1, 6])
def test_adopted_modes_pay_for_what_tells_them_apart(m):
    """Forward mode that differs from a proved reverse mode has the wider bound, by the laws of both sides."""
    primal, right, error = sines(m)
    proved, options = proved_as(1e-5), Options(rtol=None, max_bound=None, confidence=1 - 1e-6, seed=0)

    adopted = adopt_by_adjoint(primal, proved, lambda u, x: right.T @ u, lambda v, x: (right + error) @ v, options)

    (before,), (after,) = proved.leaves, adopted.leaves
    more = after.bound - before.bound
    # A hundredth of what may go wrong, over four pairs; of one output there is no cotangent to draw.
    both = 4 * law(1, 6, 1) * law(1, 8, 1) / 1e-8 ** (2 / 4) if m > 1 else law(4, 8, 1e-8 / 8)
    assert after.deviation > 1e-10
    assert more == pytest.approx(both * after.deviation, rel=1e-6)
    assert after.noticeable - before.noticeable == pytest.approx(math.sqrt(8) * more, rel=1e-6)


@pytest.mark.parametrize("m", [1, 6])
def test_modes_adopted_from_a_matrix_pay_for_what_tells_them_apart(m):
    """The law of products J v alone; no vjp is asked for. What differs by more than the tolerance is not adopted."""
    primal, right, error = sines(m)
    options = Options(rtol=None, max_bound=None, confidence=1 - 1e-6, seed=0)
    proved = dataclasses.replace(proved_as(1e-5), matrix=right)

    def adopted(factor):
        return adopt_by_adjoint(primal, proved, None, lambda v, x: (right + factor * error) @ v, options)

    (before,), (after,) = proved.leaves, adopted(1.0).leaves
    one = law(4, 8, 1e-8 / 8)
    assert after.deviation > 1e-10
    assert after.bound - before.bound == pytest.approx(
        one * after.deviation * (1 if m == 1 else math.sqrt(3)), rel=1e-6
    )
    assert adopted(0.0).leaves == proved.leaves
    assert adopted(1e6) is None


@pytest.mark.parametrize("is_wrong", [False, True])
def test_products_are_held_against_a_matrix_before_they_are_asked_for_again(is_wrong):
    """Where the two differ a vjp is asked for: what differs from that is not adopted, what agrees with it is."""
    right = many_jac(POINT)
    primal = Primal(many, POINT, is_vector=True)
    primal.output_values()
    options = Options(rtol=None, max_bound=None, confidence=1 - 1e-6, seed=0)
    asked = [0]

    def vjp(u, x):
        asked[0] += 1
        return right.T @ u

    def together(us, args):
        return [(1.01 if is_wrong else 1.0) * (right.T @ u) for u in us]  # wrong on purpose

    for matrix, calls in ((right, 2 if is_wrong else 0), (1.01 * right, 2)):
        asked[0] = 0
        proved = dataclasses.replace(proved_as(1e-8), matrix=matrix)
        adopted = adopt_by_equality(primal, proved, vjp, together, options)
        if matrix is right:
            assert (adopted is None) is is_wrong
            assert asked[0] == calls
        elif not is_wrong:
            assert adopted is not None
            assert asked[0] == calls


def test_adopted_products_pay_for_their_difference():
    """Another way to the same vjp that differs by 1e-9 of it has a bound that is as much wider."""
    right = many_jac(POINT)
    primal = Primal(many, POINT, is_vector=True)
    primal.output_values()
    proved, options = proved_as(1e-8), Options(rtol=None, max_bound=None, confidence=1 - 1e-6, seed=0)

    adopted = adopt_by_equality(
        primal,
        proved,
        lambda u, x: right.T @ u,
        lambda us, args: [(1 + 1e-9) * (right.T @ u) for u in us],  # wrong on purpose
        options,
    )

    assert adopted.leaves[0].bound - 1e-8 == pytest.approx(1e-9, rel=1e-6)


# ------------------------------------------------------------------------------------------------ natural units


@pytest.mark.parametrize("kind", KINDS)
def test_units_of_a_parameter_do_not_matter(kind):
    """Measured in other units, x has another gradient and the same bounds, to the last bit for a power of two."""
    f, derivative, claim = KINDS[kind]
    unit = 2.0**20
    right = derivative(POINT)
    inner = right / unit**2 if kind[0] == "h" else right / unit
    claims = claim(inner)
    if "of grad" in kind:
        claims["grad"] = lambda y: mixed_grad(y / unit) / unit
    plain = gradproof.check(f, POINT, **claim(right), rng=4)
    other = gradproof.check(lambda x: f(x / unit), unit * POINT, **claims, rng=4)

    assert other.verdict is Verdict.CORRECT
    for leaf, again in zip(plain.leaves, other.leaves, strict=True):
        assert again.bound == pytest.approx(leaf.bound, rel=1e-9)
        assert again.noticeable == pytest.approx(leaf.noticeable, rel=1e-9)


def test_units_of_entries_that_span_decades_do_not_matter():
    """Where entries differ by more than a thousand each has a natural size of its own, and norms weight it by that."""
    sizes = 4.0 ** np.array([-12, -9, -6, -3, 0, 0, 0, 0, 3, 6, 9, 12])
    at = np.random.default_rng(3).uniform(1.0, 1.5, 12)
    weights = np.random.default_rng(4).uniform(1.0, 2.0, 12)

    def f(x):
        return float(np.sum(weights * np.sin(x / sizes)))

    right = weights * np.cos(at) / sizes
    error = error_like(weights * np.cos(at), 1e-7) / sizes  # wrong on purpose
    watched = Watched(lambda z: f(z.reshape(12)))
    report = gradproof.check(watched, at * sizes, grad=right + error, rng=1)
    (leaf,) = report.leaves
    largest, count = slopes(report)
    weighted = (right + error) * at * sizes

    assert leaf.verdict is Verdict.CORRECT
    assert leaf.bound == pytest.approx(law(count, 12) * largest / np.linalg.norm(weighted), rel=1e-6)
    assert np.linalg.norm(error * at * sizes) / np.linalg.norm(weighted) < leaf.bound
    single = right.copy()
    single[0] += 1e-3 * rms(weighted) / (at[0] * sizes[0])  # wrong on purpose
    report = gradproof.check(f, at * sizes, grad=single, rng=1)
    assert [one.path for one in report.findings] == ["x[0]"]


def test_a_parameter_of_zeros_moves_by_one():
    """Its natural size is 1: so the norm is that of the gradient itself."""
    weights = np.random.default_rng(4).uniform(1.0, 2.0, 12)
    report = gradproof.check(
        lambda x: float(np.sum(weights * np.sin(x + 1))), np.zeros(12), grad=weights * np.cos(1), rng=1
    )
    largest, count = slopes(report)

    assert report.leaves[0].bound == pytest.approx(
        law(count, 12) * largest / np.linalg.norm(weights * np.cos(1)), rel=1e-6
    )
