"""Where x is large, derivatives that should be 0 are rounding: they count as 0 where f says 0, and nowhere else."""

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from helpers import finding, free_energy, free_energy_gradient, ids, log_sum_exp

WEIGHTS = np.array([0.4, -0.9, 0.7])
B = np.array([0.5, 1.0, 2.0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("a", [1234.5, 4000.3])
def test_a_gradient_of_rounding(a, seed):
    """It is CORRECT; 1e-10 is no rounding there."""
    p = {"a": np.array(a), "b": B}

    right = gradproof.check(free_energy, p, grad=free_energy_gradient, rng=seed)
    assert right.verdict is Verdict.CORRECT
    assert ids(right) == ["GP410", "GP402"]
    assert right.leaves[0].bound is None

    def off(p):
        return {**free_energy_gradient(p), "a": 1e-10}  # wrong on purpose

    wrong = gradproof.check(free_energy, p, grad=off, rng=seed)
    assert wrong.verdict is Verdict.WRONG
    assert finding(wrong, "GP101").path == "p['a']"


@pytest.mark.parametrize("seed", range(3))
def test_a_small_array_does_not_hide_behind_a_large_one(seed):
    """Its slope is as small as such rounding, but f does not say 0."""
    p = {"a": np.array(1e4), "b": B}

    def f(p):
        return np.sum(np.sin(p["b"])) + 1e-12 * p["a"]

    def gradient(factor):
        return lambda p: {"a": np.array(factor * 1e-12), "b": np.cos(p["b"])}

    assert gradproof.check(f, p, grad=gradient(1), rng=seed).verdict is Verdict.CORRECT
    wrong = gradproof.check(f, p, grad=gradient(2), rng=seed)
    assert wrong.verdict is Verdict.WRONG
    assert finding(wrong, "GP101").factor == 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [1e-8, 1e-10, 1e-12])
@pytest.mark.parametrize("unit", [1e6, 1e15])
def test_a_large_unit_is_no_rounding(unit, share, seed):
    """A frequency in hertz makes x large: the small arrays beside it are measured all the same."""
    p = {"m": 1.7 / unit, "v": np.array([2.0, 1.0, -3.0]), "nu": 1.3 * unit}

    def f(p):
        return share * (p["m"] * unit) ** 2 * np.sin(p["v"]).sum() + (p["nu"] / unit) ** 2

    def gradient(factor):
        def claim(p):
            m = factor * share * unit
            return {
                "m": m * 2 * (p["m"] * unit) * np.sin(p["v"]).sum(),
                "v": m * p["m"] ** 2 * unit * np.cos(p["v"]),
                "nu": 2 * p["nu"] / unit**2,
            }

        return claim

    assert gradproof.check(f, p, grad=gradient(1.0), rng=seed).verdict is Verdict.CORRECT
    assert gradproof.check(f, p, grad=gradient(0.97), rng=seed).verdict is not Verdict.CORRECT
    assert gradproof.check(f, p, grad=gradient(2.0), rng=seed).verdict is Verdict.WRONG


@pytest.mark.parametrize("seed", range(2))
def test_beside_a_wrong_array(seed):
    """The other array is accused, and the one that is rounding is not."""
    p = {"a": np.array(1234.5), "b": B}

    def rolled(p):
        return {**free_energy_gradient(p), "b": np.roll(np.cos(p["b"]), 1)}  # wrong on purpose

    report = gradproof.check(free_energy, p, grad=rolled, rng=seed)

    assert [leaf.verdict for leaf in report.leaves if leaf.path == "p['a']"] == [Verdict.CORRECT]
    assert report.verdict is Verdict.WRONG
    assert all(one.path != "p['a']" for one in report.findings if one.id == "GP101")


def probabilities(x):
    """Normalised by logarithms: at a large x they lack 1e-13 of 1."""
    z = WEIGHTS @ x[:3] + x[3:]
    return np.exp(z - log_sum_exp(z))


def energy(x):
    return log_sum_exp(WEIGHTS @ x[:3] + x[3:])


def gradient(x):
    p = probabilities(x)
    return np.concatenate([WEIGHTS * p.sum(), p])


def hessian(x, factor=1.0):
    p = probabilities(x)
    found = np.empty((6, 6))
    found[:3, :3] = np.outer(WEIGHTS, WEIGHTS) * (p.sum() - p.sum() ** 2)
    found[:3, 3:] = np.outer(WEIGHTS, p - p * p.sum())
    found[3:, :3] = found[:3, 3:].T
    found[3:, 3:] = factor * (np.diag(p) - np.outer(p, p))
    return found


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("keyword", ["hess", "hvp"])
@pytest.mark.parametrize("size", [1e4, 4e4, 2e6, 1e7])
def test_second_derivatives_of_rounding(size, keyword, seed):
    """f is linear in large inputs, and curves in small ones: 1e-3 too much there is WRONG."""
    x = np.concatenate([size * np.array([1.0, 0.7, 1.3]), [0.3, -0.4, 0.8]])
    assert 0 < np.abs(hessian(x)[:3, :3]).max() < 1e-14 * size

    def check(factor):
        claim = lambda x: hessian(x, factor)  # noqa: E731
        product = lambda v, x: hessian(x, factor) @ v  # noqa: E731
        claims = {keyword: claim if keyword == "hess" else product}
        return gradproof.check(energy, x, grad=gradient, **claims, rng=seed)

    if size < 1e5:
        assert check(1.0).verdict is Verdict.CORRECT
        assert check(1.001).verdict is Verdict.WRONG
    else:
        # What the gradient loses there may hide the rest.
        right = check(1.0)
        assert right.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE), str(right)
        assert check(1.1).verdict is not Verdict.CORRECT


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("place", ["row", "column"])
def test_second_derivatives_in_torch(place, seed):
    """What autograd returns for second derivatives that are 0 at 1e4; an error of 1e-3 beside it is found."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    x = torch.randn(5, 3).double()
    if place == "row":
        x[0] = 1e4
    else:
        x[:, 0] *= 1e4

    right = gradproof.check(lambda x: torch.logcumsumexp(x, 0), (x,), order=2, modes=("rev-rev",), rng=seed)
    assert right.verdict is Verdict.CORRECT

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.tanh(x)

        @staticmethod
        def backward(ctx, u):
            (x,) = ctx.saved_tensors
            return Slope.apply(x, u)

    class Slope(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, u):
            ctx.save_for_backward(x, u)
            return u * (1 - torch.tanh(x) ** 2)

        @staticmethod
        def backward(ctx, w):
            x, u = ctx.saved_tensors
            slope = 1 - torch.tanh(x) ** 2
            return -2.002 * w * u * torch.tanh(x) * slope, w * slope  # wrong on purpose

    def both(x):
        return torch.logcumsumexp(x, 0).sum() + Scaled.apply(x).sum()

    wrong = gradproof.check(both, (x,), order=2, modes=("rev-rev",), rng=seed)
    assert wrong.verdict is Verdict.WRONG


def still_and_sine(p):
    """It moves with b only, however large a is."""
    return np.array([np.sum(np.sin(p["b"])), np.sum(np.cos(p["b"]))])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("left", "verdict"), [(3e-13, Verdict.CORRECT), (1e-6, Verdict.WRONG)])
def test_tangents_of_a_large_array(left, verdict, seed):
    """Along random tangents, too, what is left of nothing is held against how large the array is."""
    generator = np.random.default_rng(2)
    p = {"a": np.full(60, 1e4), "b": generator.standard_normal(80)}

    def push(tangents, p):
        da, db = tangents["a"], tangents["b"]
        # wrong on purpose where `left` is more than rounding
        return np.array([np.sum(np.cos(p["b"]) * db) + left * np.sum(da), -np.sum(np.sin(p["b"]) * db)])

    report = gradproof.check(still_and_sine, p, jvp=push, rng=seed)

    assert report.verdict is verdict, str(report)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("claim", "verdict"),
    [(1 + 1e-13j, Verdict.CORRECT), (1 + 1e-6j, Verdict.WRONG), (1.001 + 0j, Verdict.WRONG), (-1 + 0j, Verdict.WRONG)],
)
def test_a_part_of_a_complex_derivative(claim, verdict, seed):
    """The derivative of z is 1: its imaginary part is rounding where z is large, and 1e-6 is none."""
    z = np.array(1167.6 + 1892.8j)

    report = gradproof.check(lambda z: z * 1, z, vjp=lambda u, z: u * claim, rng=seed)

    assert report.verdict is verdict, str(report)
    assert ("GP410" in ids(report)) == (claim == 1 + 1e-13j)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("left", "verdict"), [(1e-13, Verdict.CORRECT), (1e-6, Verdict.WRONG)])
def test_a_gradient_by_complex_numbers(left, verdict, seed):
    """The same for a real f, which does not depend on the imaginary part of z."""
    p = {"z": np.array(1167.6 + 1892.8j), "b": B}

    def f(p):
        return p["z"].real * 1e-3 + np.sum(np.sin(p["b"]))

    def gradient(p):
        return {"z": np.array(1e-3 + left * 1j), "b": np.cos(p["b"])}

    report = gradproof.check(f, p, grad=gradient, rng=seed)

    assert report.verdict is verdict, str(report)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("place", [1167.6 + 1892.8j, 1590814.4 + 1103817.4j, 7.3e6 + 2.9e6j])
def test_complex_second_derivatives_in_torch(place, seed):
    """What autograd returns for the second derivative of log(exp(z)) is rounding; one that is forgotten is found.

    At 1e6 it is 1e-4 of what the derivative is in natural sizes: f's own noise has to show that such digits are lost.
    """
    torch = pytest.importorskip("torch")
    z = torch.tensor(place, dtype=torch.complex128)

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z * z / abs(place)

        @staticmethod
        def backward(ctx, u):
            (z,) = ctx.saved_tensors
            return u * (2 * z.detach() / abs(place)).conj()  # wrong on purpose: the second derivative is lost

    def f(z):
        return torch.logsumexp(z, 0)

    right = gradproof.check(f, (z,), order=2, modes=("rev-rev",), rng=seed)
    wrong = gradproof.check(lambda z: f(z) + Square.apply(z), (z,), order=2, modes=("rev-rev",), rng=seed)

    assert right.verdict is Verdict.CORRECT, str(right)
    assert "GP410" in ids(right)
    assert wrong.verdict is Verdict.WRONG, str(wrong)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("keyword", ["grad", "vjp"])
def test_a_quiet_f_excuses_nothing(keyword, seed):
    """An f that loses no digits at a large x shows that the claim has none to lose: 1e-4 of the rest is WRONG."""
    x = np.array([1590814.4, 1103817.4, 0.7])

    def f(x):
        found = np.array([x[2] * np.cos(1e-6 * x[0]), x[2] ** 2])
        return found if keyword == "vjp" else float(found.sum())

    def gradient(x, left):
        across = -1e-6 * x[2] * np.sin(1e-6 * x[0])
        return np.array([[across, left, np.cos(1e-6 * x[0])], [0.0, left, 2 * x[2]]])

    def check(left):
        claims = {"grad": lambda x: gradient(x, left).sum(axis=0), "vjp": lambda u, x: u @ gradient(x, left)}
        return gradproof.check(f, x, **{keyword: claims[keyword]}, rng=seed)

    assert check(0.0).verdict is Verdict.CORRECT
    assert check(1e-10).verdict is Verdict.WRONG  # wrong on purpose
