"""Entries whose x is tiny beside that of others count as others do where every entry is measured; claims as None."""

import warnings

import numpy as np
import pytest

import gradproof
from gradproof import UsageError, Verdict
from gradproof._line._noise import lattice
from helpers import finding, ids

TINY = 2
X = np.array([1.0, 0.5, 1e-7, 0.8, -1.2, 0.7, 1.1])


def f(x):
    return np.sum(np.sin(x))


def outputs(x):
    return np.array([np.sum(np.sin(x)), np.sum(x**2) + x[TINY], x[0] * x[3] - x[TINY]])


def jacobian(x):
    found = np.array([np.cos(x), 2 * x, np.zeros(len(x))])
    found[1, TINY] += 1
    found[2, [0, 3, TINY]] = x[3], x[0], -1
    return found


def with_error(claim, error):
    """A claim whose tiny entry is off."""

    def wrong(x):
        found = claim(x).copy()
        found[..., TINY] += error * (1 if found.ndim == 1 else np.array([1, 0, 0]))
        return found

    return wrong


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keyword", ["grad", "jac"])
def test_a_wrong_entry_of_a_tiny_input(keyword, seed):
    """It is WRONG with level="entries" although it hardly moves f; the right one beside it is CORRECT."""
    function, claim = (f, np.cos) if keyword == "grad" else (outputs, jacobian)

    def check(claim):
        return gradproof.check(function, X, **{keyword: claim}, level="entries", rng=seed)

    right = check(claim)
    wrong = check(with_error(claim, 0.1))  # wrong on purpose

    assert right.verdict is Verdict.CORRECT, str(right)
    assert wrong.verdict is Verdict.WRONG
    if keyword == "grad":
        assert finding(wrong, "GP101").path == f"x[{TINY}]"
        assert finding(wrong, "GP101").reference == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level", ["certificate", "entries"])
def test_what_one_wrong_entry_must_be_off_by(level, seed):
    """`noticeable` speaks of any entry: one that is off by more is not CORRECT, however little its x moves."""
    right = gradproof.check(f, X, grad=np.cos, level=level, rng=seed)
    assert right.verdict is Verdict.CORRECT
    noticeable = right.leaves[0].noticeable
    assert noticeable is not None

    typical = np.sqrt(np.mean(np.cos(X) ** 2))
    off = with_error(np.cos, 3 * noticeable * typical)  # wrong on purpose
    assert gradproof.check(f, X, grad=off, level=level, rng=seed).verdict is not Verdict.CORRECT


@pytest.mark.parametrize("x", [1.3, np.array([1.3, 2.0]), np.linspace(1.0, 2.0, 30)], ids=["number", "two", "many"])
@pytest.mark.parametrize("size", [1e20, 1e160, 1e300])
def test_a_claim_in_whose_rounding_f_is_lost(x, size):
    """It is WRONG, and nobody says that the true gradient is zero; where it is, that is said."""

    def line(x):
        return float(np.sum(12 * x))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lost = gradproof.check(line, x, grad=size * np.ones(np.shape(x)), rng=0)
    zero = gradproof.check(lambda x: float(3 + 0 * np.sum(x) + np.sum((x - 1.3) ** 2)), 1.3, grad=1.0, rng=0)

    assert lost.verdict is Verdict.WRONG
    assert "zero" not in str(lost)
    assert "zero" not in lost.leaves[0].note
    assert zero.verdict is Verdict.WRONG
    assert "the true gradient is zero" in finding(zero, "GP101").kind


@pytest.mark.parametrize("entry", ["check", "assert_grad", "Case"])
def test_a_gradient_that_is_none(entry):
    """A tensor's `.grad` before `backward()` is no claim, and is not replaced by what autograd returns."""
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)

    def square(x):
        return (x**2).sum()

    def check():
        if entry == "Case":
            return gradproof.Case(square, x, grad=x.grad).check(rng=0)
        return getattr(gradproof, entry)(square, x, grad=x.grad, rng=0)

    with pytest.raises(UsageError, match=r"`grad` is None.*backward\(\)"):
        check()
    square(x).backward()
    assert check().verdict is Verdict.CORRECT
    assert gradproof.check(square, x, rng=0).verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    ("step", "words"),
    [(2.0**-10, "all its values are multiples of 0.000977"), (0.0, "its values are those of float32")],
)
def test_what_values_of_few_digits_are_called(step, words):
    """Multiples of 1/1024 are no float32 numbers to the reader, though each is one."""

    def rounded(x):
        total = float(np.sum(np.sin(x)))
        return round(total / step) * step if step else float(np.float32(total))

    x = np.array([0.3, -0.7, 1.2])
    reports = [gradproof.check(rounded, x, grad=np.cos, rng=seed) for seed in range(6)]
    said = [finding(report, "GP314").kind for report in reports if "GP314" in ids(report)]

    assert said
    assert all(words in kind for kind in said)


def test_a_kink_beside_a_wrong_entry():
    """No sentence says that nothing speaks against a claim that is WRONG."""
    x = np.array([0.0, 0.5, -0.7, 1.2])
    claim = np.array([0.0, 3.0, 0.0, 1.0])  # wrong on purpose
    report = gradproof.check(lambda x: float(np.sum(np.maximum(x, 0))), x, grad=claim, rng=0)

    assert report.verdict is Verdict.WRONG
    assert "GP110" in ids(report)
    assert "Nothing speaks" not in str(report)


def test_a_lattice_of_subnormal_steps():
    """A sixth of the smallest number is 0, and nothing is divided by that."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lattice(5e-324 * np.arange(1.0, 7.0)[:, None], np.zeros(1))
    assert found == 5e-324
