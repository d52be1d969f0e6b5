"""Float32 and less: right claims are certified, wrong ones are found, and what cannot be told is declined cheaply."""

import zlib

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof._base._leaf import Leaf
from gradproof._claims._cotangents import held
from gradproof._prove import Directions, leaf_size
from gradproof._prove._tolerance import unsaturated

F16, F32 = np.float16, np.float32
SIZES = (16, 40, 100)


def log_of_squares(x):
    return np.log(1 + x * x).sum()


def grad_log_of_squares(x):
    return 2 * x / (1 + x * x)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(F32)


class Logistic:
    """Logistic regression on 60 rows, in float32."""

    def __init__(self, n, seed=3):
        rng = np.random.default_rng(seed)
        self.rows = rng.normal(size=(60, n)).astype(F32)
        self.y = (rng.random(60) < 0.5).astype(F32)
        self.w = (0.3 * rng.normal(size=n)).astype(F32)

    def __call__(self, w):
        z = self.rows @ w
        return np.mean(np.logaddexp(F32(0), z) - self.y * z)

    def grad(self, w):
        return self.rows.T @ (1 / (1 + np.exp(-(self.rows @ w))) - self.y) / F32(60)


class Inverse:
    """The sum of w / x: every entry changes f on its own scale."""

    def __init__(self, n, seed):
        self.w = normal(seed + 100, n)
        self.x = normal(seed, n)

    def __call__(self, x):
        return (self.w / x).sum()

    def grad(self, x):
        return -self.w / (x * x)


# ------------------------------------------------------------------------------------------------ plain functions


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_a_plain_float32_function_is_certified_in_few_evaluations(n, seed):
    """Steps where noise and truncation balance give bars that a certificate can multiply."""
    report = gradproof.check(log_of_squares, normal(seed, n), grad=grad_log_of_squares, rng=seed)
    assert report.verdict is Verdict.CORRECT
    assert report.leaves[0].bound <= 5e-2
    assert report.cost.evaluations <= 60


@pytest.mark.parametrize("n", SIZES)
def test_float32_logistic_regression_is_certified(n):
    f = Logistic(n)
    assert gradproof.check(f, f.w, grad=f.grad, rng=0).verdict is Verdict.CORRECT


@pytest.mark.parametrize("seed", range(4))
def test_a_lone_wrong_entry_of_a_float32_gradient_is_named(seed):
    x = normal(seed, 40)
    at = int(np.argsort(np.abs(x))[20])

    def wrong(x):  # wrong on purpose
        claimed = grad_log_of_squares(x)
        claimed[at] *= -1
        return claimed

    report = gradproof.check(log_of_squares, x, grad=wrong, rng=seed)
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].path == f"x[{at}]"


@pytest.mark.parametrize("factor", [1.1, -1.0, 1.02])
@pytest.mark.parametrize("n", SIZES)
def test_a_factor_in_a_float32_gradient_is_wrong(factor, n):
    f = Logistic(n)
    report = gradproof.check(f, f.w, grad=lambda w: F32(factor) * f.grad(w), rng=1)  # wrong on purpose
    assert report.verdict is Verdict.WRONG


@pytest.mark.parametrize("seed", range(3))
def test_no_float32_error_above_the_bound_is_certified(seed):
    """Errors from far above the bound down to far below it: CORRECT only where the stated bound holds."""
    x = normal(seed, 30)
    right = grad_log_of_squares(x).astype(float)
    error = np.random.default_rng(seed + 50).normal(size=30)
    error *= np.linalg.norm(right) / np.linalg.norm(error)
    for size in (0.3, 0.1, 0.03, 0.01, 0.001):
        claim = (right + size * error).astype(F32)  # wrong on purpose
        report = gradproof.check(log_of_squares, x, grad=claim, rng=seed)
        if report.verdict is Verdict.CORRECT:
            assert report.leaves[0].bound > 0.99 * size / np.linalg.norm(right + size * error) * np.linalg.norm(right)
        elif size >= 0.03:
            assert report.verdict is Verdict.WRONG


# ----------------------------------------------------------------------------------------------- entry by entry


@pytest.mark.parametrize("seed", range(3))
def test_entries_are_measured_alone_where_directions_cannot_tell(seed):
    """A certificate multiplies the bar of an entry near its pole; that entry by itself has steps of its own."""
    f = Inverse(40, seed)
    report = gradproof.check(f, f.x, grad=f.grad, rng=seed)
    assert report.verdict is Verdict.CORRECT
    assert report.cost.evaluations <= 1000 + 4 * 40


def test_entries_measured_alone_find_what_is_wrong():
    """The steepest entry is a few per cent off: less than the bar of a direction that bends so much."""
    f = Inverse(16, 5)
    at = int(np.argmin(np.abs(f.x)))

    def wrong(x):  # wrong on purpose
        claimed = f.grad(x)
        claimed[at] *= F32(1.2)
        return claimed

    report = gradproof.check(f, f.x, grad=wrong, rng=2)
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].path == f"x[{at}]"


def test_noise_that_hides_single_entries_too_is_declined_cheaply():
    """An offset of 1e5 rounds f to 4e-3: no entry is tried, and no bound below its error is stated."""
    x = normal(0, 200)
    report = gradproof.check(lambda x: F32(1e5) + log_of_squares(x), x, grad=grad_log_of_squares, rng=0)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.cost.evaluations <= 150


# ------------------------------------------------------------------------------------------------------ location


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["linear", "quartic"])
def test_one_per_cent_everywhere_is_located_within_60_evaluations(kind, seed):
    rng = np.random.default_rng(seed)
    w, x = rng.normal(size=40).astype(F32), rng.normal(size=40).astype(F32)
    if kind == "linear":
        report = gradproof.check(lambda x: w @ x, x, grad=F32(1.01) * w, rng=seed)  # wrong on purpose
    else:
        claim = F32(1.01) * 4 * x**3  # wrong on purpose
        report = gradproof.check(lambda x: (x**4).sum(), x, grad=claim, rng=seed)
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].factor == pytest.approx(1.01, rel=1e-3)
    assert report.cost.evaluations <= 60


# ------------------------------------------------------------------------------------------------- natural sizes


def leaf(x, dtype="float32"):
    return Leaf(path="x", shape=x.shape, dtype=dtype, start=0, stop=x.size)


def sizes(x, dtype="float32"):
    return np.broadcast_to(leaf_size(leaf(x, dtype), x.reshape(-1).astype(float)), x.size).reshape(x.shape)


def test_rows_of_different_size_have_natural_sizes_of_their_own_in_low_precision():
    x = normal(0, 4, 8)
    x[0] *= 4e-3
    rms = np.sqrt(np.mean(x.astype(float) ** 2, axis=1))
    np.testing.assert_allclose(sizes(x), np.repeat(rms, 8).reshape(4, 8), rtol=1e-12)
    # ... in float64 steps are so fine that one size does for all.
    assert np.ptp(sizes(x, "float64")) == 0


def test_entries_of_different_size_have_natural_sizes_of_their_own_in_low_precision():
    x = normal(1, 20)
    x[:3] *= 1e-3
    np.testing.assert_allclose(sizes(x), np.abs(x))


@pytest.mark.parametrize("seed", range(20))
def test_draws_around_zero_have_one_natural_size(seed):
    """The smallest of many is small by chance: an error in it counts as much as one elsewhere."""
    x = np.concatenate([normal(seed, 99), [F32(3e-3)]])
    x = np.where(np.abs(x) < 3e-3, F32(3e-3), x)
    assert np.ptp(sizes(x)) == 0


def test_zero_rows_take_the_size_of_the_others():
    x = normal(2, 3, 6)
    x[1] = 0
    x[2] *= 100
    assert (sizes(x) > 0).all()
    assert (sizes(np.zeros((2, 5), F32)) == 1).all()


def test_rows_of_a_layer_norm_in_float16_are_not_accused():
    """Rows 250 times smaller than the others: their steps are their own."""
    x = normal(0, 4, 8)
    x[0] *= 4e-3
    weights = normal(1, 4, 8).astype(float)

    def norm(x):
        d = x - x.mean(-1, keepdims=True)
        return d / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5)

    def grad(x):
        x = x.astype(float)
        d = x - x.mean(-1, keepdims=True)
        s = np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5)
        z = d / s
        u = weights
        return ((u - u.mean(-1, keepdims=True) - z * (u * z).mean(-1, keepdims=True)) / s).astype(F16)

    for seed in range(6):
        report = gradproof.check(
            lambda x: F16((weights * norm(x.astype(float))).sum()), x.astype(F16), grad=grad, rng=seed
        )
        assert report.verdict is not Verdict.WRONG


# ------------------------------------------------------------------------------------ cotangents, saturated outputs


def test_no_cotangent_is_larger_than_its_dtype_holds():
    seen = []

    def vjp(u, x):
        seen.append(float(np.max(np.abs(u.astype(float)))))
        return (u.astype(float) * 1e-5 * np.exp(x.astype(float))).astype(F16)

    x = np.random.default_rng(0).standard_normal(600).astype(F16)
    report = gradproof.check(lambda x: (1e-5 * np.exp(x.astype(float))).astype(F16), x, vjp=vjp, rng=0)
    assert report.verdict is not Verdict.WRONG
    assert max(seen) < np.finfo(F16).max


def test_weights_that_fit_are_left_alone():
    outputs = [Leaf(path="output", shape=(3,), dtype="float16", start=0, stop=3)]
    weights = np.array([1.0, 2.0, 300.0])
    assert held(weights, outputs) is weights
    large = held(1e5 * weights, outputs)
    assert large.max() * 64 <= np.finfo(F16).max
    np.testing.assert_allclose(large / large[0], weights)


def saturated_tanh(x):
    return np.tanh(10 * x)


@pytest.mark.parametrize("seed", range(3))
def test_saturated_entries_do_not_hide_the_others(seed):
    """In float64 tanh(10 x) has come to 1 in most entries; the others carry the derivative."""
    x = np.random.default_rng(seed).uniform(-3, 3, 50)
    jac = np.diag(10 / np.cosh(10 * x) ** 2)
    assert gradproof.check(saturated_tanh, x, jac=jac, rng=seed).verdict is Verdict.CORRECT


def test_a_wrong_entry_among_saturated_ones_is_found():
    x = np.random.default_rng(0).uniform(-3, 3, 50)
    jac = np.diag(10 / np.cosh(10 * x) ** 2)
    at = int(np.argmin(np.abs(x)))
    jac[at, at] *= 1.05  # wrong on purpose
    report = gradproof.check(saturated_tanh, x, jac=jac, rng=0)
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].path.startswith(f"jac[{at}")


def test_a_claim_for_a_saturated_entry_is_wrong_where_it_would_move():
    x = np.random.default_rng(0).uniform(-3, 3, 50)
    jac = np.diag(10 / np.cosh(10 * x) ** 2)
    at = int(np.argmax(np.abs(x)))
    jac[at, at] = 1e-2  # wrong on purpose
    assert gradproof.check(saturated_tanh, x, jac=jac, rng=0).verdict is Verdict.WRONG


def test_a_small_output_is_not_taken_for_a_saturated_one():
    """An output in small units is as precise as it is small; a saturated one is rounded at the size of its value."""
    rows, values = np.array([1.0, 1e-9, 1e-9]), np.array([1.0, 1e-9, 1.0])
    np.testing.assert_array_equal(unsaturated(rows, values), [1.0, 1e-9, 1e-7])


def test_an_error_in_a_small_output_is_wrong_beside_large_ones():
    x = np.random.default_rng(0).uniform(1, 2, 6)
    scale = np.array([1, 1, 1, 1, 1e-9, 1e-9])
    jac = np.diag(scale * np.cos(x))
    jac[5, 5] *= 1.1  # wrong on purpose
    assert gradproof.check(lambda x: scale * np.sin(x), x, jac=jac, rng=0).verdict is Verdict.WRONG


def test_directions_of_float64_are_those_of_one_size():
    x = np.random.default_rng(0).normal(size=40)
    directions = Directions([leaf(x, "float64")], x, np.ones(40), 0)
    np.testing.assert_allclose(directions.natural, np.sqrt(np.mean(x**2)))


def test_a_jacobian_whose_first_direction_chose_three_close_steps():
    """What these do not settle is measured at finer steps, and not accepted at the second look (1 seed in 3 was)."""
    weights = np.random.default_rng(0).normal(size=(30, 10)).astype(F32) / F32(2)
    x = np.random.default_rng(1).uniform(-1, 1, 10).astype(F32)
    for seed in range(10):
        report = gradproof.check(
            lambda x: np.sin(weights @ x), x, jac=lambda x: np.cos(weights @ x)[:, None] * weights, rng=seed
        )
        assert report.verdict is Verdict.CORRECT


def attention(q, k, v):
    scores = np.exp(q @ k.T / F32(3))
    return (scores / scores.sum(-1, keepdims=True)) @ v


def attention_vjp(u, q, k, v):
    scores = np.exp(q @ k.T / F32(3))
    p = scores / scores.sum(-1, keepdims=True)
    dp = u @ v.T
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / F32(3)
    return ds @ k, ds.T @ q, p.T @ u


@pytest.mark.parametrize("seed", [24, 26])
def test_lines_that_are_wider_than_others_are_measured_again(seed):
    """Where they alone keep a right vjp from CORRECT; else single outputs were judged, by a thousand values."""
    arrays = tuple(np.random.default_rng(seed).normal(size=(3, 4, 8)).astype(F32))
    report = gradproof.check(attention, arrays, vjp=attention_vjp, wrt=(0, 1, 2), rng=seed)
    assert report.verdict is Verdict.CORRECT
    assert report.cost.evaluations < 400


@pytest.mark.parametrize("seed", [24, 26])
def test_a_vjp_that_is_off_is_wrong_where_lines_are_wide(seed):
    arrays = tuple(np.random.default_rng(seed).normal(size=(3, 4, 8)).astype(F32))

    def off(u, q, k, v):
        one, two, three = attention_vjp(u, q, k, v)
        return one, two * F32(1.03), three  # wrong on purpose

    assert gradproof.check(attention, arrays, vjp=off, wrt=(0, 1, 2), rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize(("smallest", "verdict"), [(1e-3, Verdict.INCONCLUSIVE), (2e-3, Verdict.CORRECT)])
def test_declining_costs_little_where_one_entry_cannot_be_told(smallest, verdict):
    """An entry that leaves all of its array too wide by itself is among the first that are measured."""
    x = np.linspace(0.5, 2, 200).astype(np.float32)
    x[17] = smallest
    report = gradproof.check(lambda x: (1 / x).sum(), x, grad=lambda x: -1 / (x * x), rng=3)
    assert report.verdict is verdict
    assert report.verdict is Verdict.CORRECT or report.cost.evaluations <= 250


@pytest.mark.parametrize("seed", [9, 13, 15])
def test_declining_is_cheap_where_the_steepest_entry_cannot_be_told(seed):
    """It is measured before all others; and where it can be told after all (seed 13), the others follow."""
    rng = np.random.default_rng((seed, 200, zlib.crc32(b"inverse")))
    w, x = rng.normal(size=(2, 200)).astype(F32)
    report = gradproof.check(lambda x: (w / x).sum(), x, grad=lambda x: -w / (x * x), rng=seed)

    assert report.verdict is (Verdict.CORRECT if seed == 13 else Verdict.INCONCLUSIVE)
    assert report.verdict is Verdict.CORRECT or report.cost.evaluations <= 100


@pytest.mark.parametrize("seed", [9, 13, 15])
def test_the_steepest_entry_is_wrong_although_it_could_not_be_told_closely(seed):
    rng = np.random.default_rng((seed, 200, zlib.crc32(b"inverse")))
    w, x = rng.normal(size=(2, 200)).astype(F32)

    def off(x):
        return np.where(np.abs(x) == np.abs(x).min(), -1, 1) * -w / (x * x)  # wrong on purpose

    assert gradproof.check(lambda x: (w / x).sum(), x, grad=off, rng=seed).verdict is Verdict.WRONG


class Attention:
    """Attention of 4 queries and keys of 16 numbers, which leaves a bound on all outputs near the largest allowed."""

    def __init__(self, seed):
        rng = np.random.default_rng((seed, zlib.crc32(b"attention")))
        self.args = tuple(rng.normal(size=(3, 4, 16)).astype(F32))

    def probabilities(self, q, k):
        z = q @ k.T / F32(4)
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def __call__(self, q, k, v):
        return self.probabilities(q, k) @ v

    def vjp(self, u, q, k, v):
        p = self.probabilities(q, k)
        dp = u @ v.T
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / F32(4)
        return ds @ k, ds.T @ q, p.T @ u


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.CORRECT), (1.1, Verdict.WRONG)])
def test_mixtures_of_outputs_are_measured_as_closely_as_the_whole_needs(factor, verdict):
    """Those with larger claims more closely than the others: the bound is relative to all of them together."""
    f = Attention(27)

    def vjp(u, q, k, v):
        one, two, three = f.vjp(u, q, k, v)
        return one, two * F32(factor), three  # wrong on purpose, unless the factor is 1

    assert gradproof.check(f, f.args, vjp=vjp, wrt=(0, 1, 2), rng=27).verdict is verdict
