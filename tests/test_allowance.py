"""No check goes on without an end: what a claim may cost is limited, and the limit costs no verdict its truth."""

import numpy as np
import pytest

import gradproof
from gradproof import Reason, Severity, Verdict
from gradproof._prove import _low_entries, _prove

A = np.random.default_rng(0).standard_normal((7, 12))
X = {"a": np.linspace(0.3, 1.1, 5), "b": np.linspace(-0.9, 0.8, 7)}
ALLOWED = (10, 25, 45, 90, 180, 400)
FAST = (25, 180)
# Evaluations that do not serve the search for a verdict: looks at f(x), identities, another point to suggest.
BESIDES = 24
KINDS = ("grad", "jac", "vjp", "jvp", "hess", "hvp", "grad and hess")


def joined(p):
    return np.concatenate([p["a"], p["b"]])


def split(g):
    return {"a": g[..., :5], "b": g[..., 5:]}


def vector(p):
    return np.sin(A @ joined(p))


def scalar(p):
    return float(np.sum(vector(p)))


def of_array(z):
    return scalar(split(z))


def matrix(p):
    return np.cos(A @ joined(p))[:, None] * A


def wrong_matrix(p):
    m = matrix(p)
    m[2, 3] *= 1.5  # wrong on purpose
    m[5, 9] += 0.1
    return m


def gradient(p):
    return split(matrix(p).sum(axis=0))


def wrong_gradient(p):
    right = gradient(p)
    return {"a": right["a"] * np.array([1, 1.2, 1, 0.7, 1]), "b": right["b"]}  # wrong on purpose


def hessian(z):
    return -A.T @ (np.sin(A @ z)[:, None] * A)


def wrong_hessian(z):
    h = hessian(z)
    h[2, 2] *= 1.5  # wrong on purpose
    h[3, 9] = h[9, 3] = 0.0
    return h


def claims(kind, *, wrong):
    """F, the point and the claim."""
    m, h = (wrong_matrix, wrong_hessian) if wrong else (matrix, hessian)
    if kind == "grad":
        return scalar, X, {"grad": wrong_gradient if wrong else gradient}
    if kind == "jac":
        return vector, X, {"jac": lambda p: split(m(p))}
    if kind == "vjp":
        return vector, X, {"vjp": lambda u, p: split(u @ m(p))}
    if kind == "jvp":
        return vector, X, {"jvp": lambda v, p: m(p) @ joined(v)}
    second = {"hvp": lambda v, z: h(z) @ v} if kind == "hvp" else {"hess": h}
    if kind == "grad and hess":
        second["grad"] = lambda z: joined(gradient(split(z)))
    return of_array, joined(X), second


def limit(monkeypatch, allowed):
    monkeypatch.setattr(_low_entries, "WHOLE_CLAIM", allowed + _prove.BESIDE)
    monkeypatch.setattr(_low_entries, "PER_ENTRY", 0)


@pytest.mark.parametrize("allowed", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ALLOWED])
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_takes_no_verdict_its_truth(monkeypatch, kind, allowed):
    """Where evaluations end, a right claim is never WRONG, and a wrong one never CORRECT."""
    limit(monkeypatch, allowed)
    for wrong in (False, True):
        f, point, claim = claims(kind, wrong=wrong)
        report = gradproof.check(f, point, **claim, rng=3)
        assert report.cost.evaluations <= allowed + BESIDES
        if report.verdict is Verdict.INCONCLUSIVE:
            assert report.reason is Reason.BUDGET
            assert 'level="entries"' in str(report)
            assert not any(one.severity is Severity.ERROR for one in report.findings)
            assert allowed < ALLOWED[-1]
        else:
            assert report.verdict is (Verdict.WRONG if wrong else Verdict.CORRECT)
            assert allowed > 10


@pytest.mark.parametrize("kind", KINDS)
def test_where_every_entry_is_asked_for_there_is_no_limit(monkeypatch, kind):
    """`level="entries"` takes what it takes."""
    limit(monkeypatch, 10)
    f, point, claim = claims(kind, wrong=False)
    assert gradproof.check(f, point, **claim, level="entries", rng=3).verdict is Verdict.CORRECT


def test_a_verdict_that_stands_keeps_the_place_that_is_known(monkeypatch):
    """Where evaluations end in the middle of locating, what was found until then is said."""
    f, point, claim = claims("grad", wrong=True)
    whole = gradproof.check(f, point, **claim, rng=3)
    assert {one.path for one in whole.findings} == {"p['a'][1]", "p['a'][3]"}
    seen = set()
    for allowed in range(20, whole.cost.evaluations, 3):
        limit(monkeypatch, allowed)
        report = gradproof.check(f, point, **claim, rng=3)
        if report.verdict is Verdict.WRONG:
            assert [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG] == ["p['a']"]
            seen.add(tuple(sorted(one.path for one in report.findings)))
    assert ("p['a']",) in seen


@pytest.mark.parametrize("allowed", range(8, 32, 3))
def test_a_crooked_hessian_is_wrong_where_the_gradient_has_taken_all(monkeypatch, allowed):
    """The second order has evaluations of its own; a symmetric one is not accused."""
    limit(monkeypatch, allowed)
    f, point, claim = claims("grad and hess", wrong=False)

    def crooked(z):
        h = hessian(z)
        h[1, 5] *= 1.5  # wrong on purpose
        return h

    report = gradproof.check(f, point, **(claim | {"hess": crooked}), rng=1)
    assert "GP207" in [one.id for one in report.findings]
    assert gradproof.check(f, point, **claim, rng=1).verdict is not Verdict.WRONG
