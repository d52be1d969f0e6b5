"""jac, vjp, jvp, hess and hvp: right ones are CORRECT with small bounds, wrong ones are WRONG and named."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradproof import Case, ClaimError, FunctionError, Reason, UsageError, Verdict, assert_grad, check
from gradproof._claims._cotangents import FIRST, MOST
from gradproof._claims._entrywise import _best_step
from gradproof._prove._laws import adjoint_bound, apart_confidence, error_bound, kappa, spread, spread_apart
from helpers import finding, ids, snapshot

SEEDS = range(4)
RNG = np.random.default_rng(20240611)
TALL, SQUARE, LARGE = RNG.normal(size=(30, 10)), RNG.normal(size=(8, 8)), RNG.normal(size=(200, 200)) / 14
X10, X8, X200 = RNG.normal(size=10), RNG.normal(size=8), RNG.normal(size=200)


def waves(x: Any) -> Any:
    """Thirty outputs of ten inputs."""
    return np.sin(TALL @ x)


def waves_jac(x: Any) -> Any:
    return np.cos(TALL @ x)[:, None] * TALL


def waves_vjp(u: Any, x: Any) -> Any:
    return waves_jac(x).T @ u


def waves_jvp(v: Any, x: Any) -> Any:
    return waves_jac(x) @ v


def square(x: Any) -> Any:
    return np.tanh(SQUARE @ x)


def square_jac(x: Any) -> Any:
    return (1 - np.tanh(SQUARE @ x) ** 2)[:, None] * SQUARE


def large(x: Any) -> Any:
    return np.tanh(LARGE @ x)


def large_jac(x: Any) -> Any:
    return (1 - np.tanh(LARGE @ x) ** 2)[:, None] * LARGE


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_grad(x: Any) -> Any:
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def rosenbrock_hess(x: Any) -> Any:
    n = len(x)
    h = np.zeros((n, n))
    i = np.arange(n - 1)
    h[i, i] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    h[i + 1, i + 1] += 200
    h[i, i + 1] = h[i + 1, i] = -400 * x[:-1]
    return h


def rosenbrock_hvp(v: Any, x: Any) -> Any:
    return rosenbrock_hess(x) @ v


NET = {"w": RNG.normal(size=(3, 4)), "x": RNG.normal(size=4), "b": RNG.normal(size=3)}


def net(p: Any) -> Any:
    """A tree in, a tree out: three outputs and a number."""
    return {"y": np.tanh(p["w"] @ p["x"] + p["b"]), "norm": float(np.sum(p["b"] ** 2))}


def net_jac(p: Any) -> Any:
    d = 1 - np.tanh(p["w"] @ p["x"] + p["b"]) ** 2
    by_w = np.zeros((3, 3, 4))
    by_w[range(3), range(3)] = d[:, None] * p["x"]
    return {
        "y": {"w": by_w, "x": d[:, None] * p["w"], "b": np.diag(d)},
        "norm": {"w": np.zeros((3, 4)), "x": np.zeros(4), "b": 2 * p["b"]},
    }


def net_vjp(u: Any, p: Any) -> Any:
    j = net_jac(p)
    return {k: np.tensordot(u["y"], j["y"][k], 1) + u["norm"] * j["norm"][k] for k in p}


def net_jvp(t: Any, p: Any) -> Any:
    j = net_jac(p)
    return {o: sum(np.tensordot(j[o][k], t[k], np.ndim(t[k])) for k in p) for o in j}


def changed(jac: Any, change: Any) -> Any:
    """A Jacobian function with a mistake."""

    def wrong(x: Any) -> Any:
        matrix = jac(x).copy()
        result = change(matrix)
        return matrix if result is None else result

    return wrong


# ------------------------------------------------------------------------------------------------ right claims


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("f", "args", "claim"),
    [
        (waves, X10, {"jac": waves_jac}),
        (waves, X10, {"jac": waves_jac(X10)}),
        (waves, X10, {"vjp": waves_vjp}),
        (waves, X10, {"jvp": waves_jvp}),
        (large, X200, {"jac": large_jac}),
        (large, X200, {"vjp": lambda u, x: large_jac(x).T @ u}),
        (large, X200, {"jvp": lambda v, x: large_jac(x) @ v}),
        (net, NET, {"jac": net_jac}),
        (net, NET, {"vjp": net_vjp}),
        (net, NET, {"jvp": net_jvp}),
        (rosenbrock, X8, {"jac": rosenbrock_grad}),
        (rosenbrock, X8, {"vjp": lambda u, x: u * rosenbrock_grad(x)}),
        (rosenbrock, X8, {"jvp": lambda v, x: v @ rosenbrock_grad(x)}),
        (rosenbrock, X8, {"hess": rosenbrock_hess}),
        (rosenbrock, X8, {"hvp": rosenbrock_hvp}),
        (rosenbrock, X8, {"grad": rosenbrock_grad, "hess": rosenbrock_hess}),
        (rosenbrock, X8, {"grad": rosenbrock_grad, "hvp": rosenbrock_hvp}),
        (rosenbrock, X8, {"grad": rosenbrock_grad(X8), "hess": rosenbrock_hess(X8)}),
        (rosenbrock, X8, {"vjp": lambda u, x: u * rosenbrock_grad(x), "hvp": rosenbrock_hvp}),
    ],
)
def test_right_claims(f, args, claim, seed):
    """CORRECT, without a finding, with bounds far below `max_bound`, and the keywords in the report."""
    report = check(f, args, **claim, rng=seed)
    assert report.verdict is Verdict.CORRECT, str(report)
    assert report.findings == ()
    assert all(leaf.bound < 5e-3 for leaf in report.leaves)
    assert report.claim == "+".join(claim)
    assert check(f, args, **claim, rng=seed) == report


@pytest.mark.parametrize(("f", "args", "jac"), [(waves, X10, waves_jac), (large, X200, large_jac)])
def test_a_right_jacobian_costs_little(f, args, jac):
    """All outputs share every value of f: 18 evaluations where f is smooth, whatever the size."""
    for seed in SEEDS:
        report = check(f, args, jac=jac, rng=seed)
        assert report.cost.evaluations <= 24
        assert report.leaves[0].bound < 2e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_error_in_one_output(seed):
    """An error of 1e-5 of one row is found, though it is 1e-6 of the matrix; half a tolerance is not accused."""
    claim = large_jac(X200)
    claim[31] *= 1 + 1e-5  # wrong on purpose
    report = check(large, X200, jac=claim, rng=seed)
    assert report.verdict is Verdict.WRONG
    assert all(one.path.startswith("jac[31") for one in report.findings)
    claim = large_jac(X200)
    claim[31] *= 1 + 5e-8
    assert check(large, X200, jac=claim, rng=seed).correct


KERNEL, IMAGE = RNG.normal(size=(4, 2, 3, 3)) / 4, RNG.normal(size=(2, 12, 12))


def convolution(x: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.tanh(np.tensordot(KERNEL, windows, axes=([1, 2, 3], [0, 3, 4])))


def convolution_jac(x: Any) -> Any:
    jac = np.zeros((4, 10, 10, 2, 12, 12))
    for i in range(10):
        for j in range(10):
            jac[:, i, j, :, i : i + 3, j : j + 3] = KERNEL
    return (1 - convolution(x) ** 2)[..., None, None, None] * jac


def test_every_entry_of_a_convolution():
    """400 x 288 entries at two evaluations for each input; one of 115,200 that is off by 0.1 % is named."""
    right = check(convolution, IMAGE, jac=convolution_jac, level="entries", rng=0)
    assert right.correct
    assert right.level == "entries"
    assert right.cost.evaluations <= 2 * 288 + 40
    claim = convolution_jac(IMAGE)
    claim[3, 4, 5, 1, 5, 6] *= 1.001  # wrong on purpose
    report = check(convolution, IMAGE, jac=claim, level="entries", rng=0)
    assert finding(report, "GP101").path == "jac[3, 4, 5, 1, 5, 6]"
    assert report.cost.evaluations <= 2 * 288 + 200


@pytest.mark.parametrize("shape", [(3,), (2, 2), ()])
def test_shapes(shape):
    """f(x).shape + leaf.shape, or (m, n); scalars on either side."""
    weights = RNG.normal(size=shape)

    def f(x: Any) -> Any:
        return np.multiply.outer(np.exp([0.5, 1.0]), x**2).sum(axis=0) * weights

    x = np.array(RNG.normal(size=shape))
    block = np.diag((np.exp([0.5, 1.0]).sum() * 2 * x * weights).ravel())
    assert check(f, x, jac=block.reshape(shape + shape), rng=0).correct
    assert check(f, x, jac=block, rng=0).correct
    assert not check(f, x, jac=2 * block, rng=0).correct  # wrong on purpose


def test_several_arguments():
    """A tuple in `wrt` makes the innermost structure a tuple."""

    def f(a: Any, b: Any) -> Any:
        return np.array([a @ b, a.sum() ** 2])

    def jac(a: Any, b: Any) -> Any:
        return np.stack([b, 2 * a.sum() * np.ones_like(a)]), np.stack([a, np.zeros_like(b)])

    a, b = X10[:3], X10[3:6]
    assert check(f, (a, b), jac=jac, wrt=(0, 1), rng=0).correct
    assert check(f, (a, b), jac=lambda a, b: jac(a, b)[1], wrt=1, rng=0).correct
    assert check(f, (a, b), vjp=lambda u, a, b: tuple(u @ j for j in jac(a, b)), wrt=(0, 1), rng=0).correct
    assert check(
        f, (a, b), jvp=lambda t, a, b: sum(j @ v for j, v in zip(jac(a, b), t, strict=True)), wrt=(0, 1), rng=0
    ).correct
    wrong = check(f, (a, b), jac=lambda a, b: (jac(a, b)[0], 2 * jac(a, b)[1]), wrt=(0, 1), rng=0)  # wrong on purpose
    assert [leaf.verdict for leaf in wrong.leaves] == [Verdict.CORRECT, Verdict.WRONG]


def least_squares(p: Any, t: Any, y: Any) -> Any:
    return p["a"] * np.exp(-p["k"] * t) + p["c"] - y


def least_squares_jac(p: Any, t: Any, y: Any) -> Any:
    decay = np.exp(-p["k"] * t)
    return {"a": decay, "k": -p["a"] * t * decay, "c": np.ones_like(t)}


@pytest.mark.parametrize("seed", SEEDS)
def test_least_squares_residuals(seed):
    """Scalar parameters, many residuals: the leaf with the wrong column is named, the others stay right."""
    t = np.linspace(0, 4, 50)
    args = ({"a": 2.0, "k": 0.7, "c": 0.1}, t, np.cos(t))
    assert check(least_squares, args, jac=least_squares_jac, rng=seed).correct

    def wrong(p: Any, t: Any, y: Any) -> Any:
        jac = least_squares_jac(p, t, y)
        return {**jac, "k": -jac["k"]}  # wrong on purpose

    report = check(least_squares, args, jac=wrong, rng=seed)
    assert [leaf.verdict.value for leaf in report.leaves] == ["CORRECT", "WRONG", "CORRECT"]
    assert finding(report, "GP101").factor == -1


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_of_very_different_scales(seed):
    """Every output is tested relative to its own size: 1e-3 of the smallest is found, named by its row."""
    scales = np.array([1, 1e6, 1, 1e-6, 1e3, 1.0])
    offsets = np.array([0, 0, 7.0, 0, 0, 1e5])
    weights = np.random.default_rng(seed).normal(size=(6, 5))
    weights[2] = 0  # an output that does not depend on x

    def f(x: Any) -> Any:
        return scales * np.sin(weights @ x) + offsets

    def jac(x: Any) -> Any:
        return (scales * np.cos(weights @ x))[:, None] * weights

    x = X10[:5]
    assert check(f, x, jac=jac, rng=seed).correct
    for row in (0, 1, 3, 4, 5):

        def scale(matrix: Any, row: int = row) -> None:
            matrix[row] *= 1.001  # wrong on purpose

        report = check(f, x, jac=changed(jac, scale), rng=seed)
        assert report.verdict is Verdict.WRONG
        assert {one.path.split(",")[0].rstrip("]") for one in report.findings} == {f"jac[{row}"}


# ------------------------------------------------------------------------------------------------ wrong matrices


@pytest.mark.parametrize("seed", SEEDS)
def test_one_wrong_entry_of_40000(seed):
    """The entry is named exactly, with its value, at a price that does not depend on the size."""

    def flip(matrix: Any) -> None:
        matrix[17, 133] *= -1  # wrong on purpose

    report = check(large, X200, jac=changed(large_jac, flip), rng=seed)
    found = finding(report, "GP101")
    assert (found.path, found.entries, found.factor) == ("jac[17, 133]", ((17, 133),), -1)
    assert found.reference == pytest.approx(large_jac(X200)[17, 133], abs=found.error_bar)
    assert report.cost.evaluations <= 100
    by_vjp = check(large, X200, vjp=lambda u, x: changed(large_jac, flip)(x).T @ u, rng=seed)
    found = finding(by_vjp, "GP101")
    assert (found.path, found.place) == ("x[133]", "through output[17]")


def double_row(matrix: Any) -> None:
    matrix[5] *= 2


def zero_column(matrix: Any) -> None:
    matrix[:, 4] = 0


def swap_rows(matrix: Any) -> None:
    matrix[[2, 6]] = matrix[[6, 2]]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("change", "path", "kind"),
    [  # all wrong on purpose
        (double_row, "jac[5]", "claimed 2 times the true derivative"),
        (zero_column, "jac[:, 4]", "claimed zero, the true derivative is not"),
        (swap_rows, "jac", "rows 2 and 6 are swapped"),
        (lambda matrix: 2 * matrix, "jac", "claimed 2 times the true derivative"),
        (lambda matrix: -matrix, "jac", "claimed with the wrong sign"),
        (lambda matrix: matrix.T, "jac", "transposed"),
        (lambda matrix: matrix[::-1], "jac", "rows in reverse order"),
        (lambda matrix: matrix[:, ::-1], "jac", "columns in reverse order"),
        (lambda matrix: 0 * matrix, "jac", "claimed zero, the true derivative is not"),
    ],
)
def test_mistakes_of_a_matrix(change, path, kind, seed):
    """One finding that names the place and the mistake."""
    report = check(square, X8, jac=changed(square_jac, change), rng=seed)
    assert report.verdict is Verdict.WRONG
    found = finding(report, "GP101")
    assert (found.path, found.kind) == (path, kind)
    assert found.reproducer == f"gradproof.check(square, args, jac=wrong, rng={seed})"


def test_tree_entries_are_named_as_source():
    """Output, leaf and entry within the claim's own structure."""

    def wrong(p: Any) -> Any:
        jac = net_jac(p)
        jac["y"]["w"][1, 1, 2] *= 3  # wrong on purpose
        return jac

    report = check(net, NET, jac=wrong, rng=0)
    assert finding(report, "GP101").path == "jac['y']['w'][1, 1, 2]"
    assert [leaf.verdict.value for leaf in report.leaves] == ["WRONG", "CORRECT", "CORRECT"]

    def doubled(u: Any, p: Any) -> Any:
        gradient = net_vjp(u, p)
        return {**gradient, "b": 2 * gradient["b"]}  # wrong on purpose

    report = check(net, NET, vjp=doubled, rng=0)
    assert (finding(report, "GP101").path, finding(report, "GP101").factor) == ("p['b']", 2)


# ----------------------------------------------------------------------------------------------------- vjp, jvp


@pytest.mark.parametrize("seed", SEEDS)
def test_vjp(seed):
    """Off by 2, ignoring its cotangent, not linear in it: each by name."""
    twice = check(waves, X10, vjp=lambda u, x: 2 * waves_vjp(u, x), rng=seed)  # wrong on purpose
    assert (finding(twice, "GP101").path, finding(twice, "GP101").factor) == ("x", 2)
    ignores = check(waves, X10, vjp=lambda u, x: waves_jac(x).sum(axis=0), rng=seed)  # wrong on purpose
    assert ids(ignores) == ["GP205"]
    assert "ignores its cotangent" in ignores.findings[0].kind
    squares = check(waves, X10, vjp=lambda u, x: waves_vjp(u**2, x), rng=seed)  # wrong on purpose
    assert finding(squares, "GP205").kind.endswith("not linear in its cotangent")
    adds = check(waves, X10, vjp=lambda u, x: waves_vjp(u, x) + 1, rng=seed)  # wrong on purpose
    assert "not zero for a cotangent of zeros" in finding(adds, "GP205").kind
    assert {report.verdict for report in (twice, ignores, squares, adds)} == {Verdict.WRONG}


@pytest.mark.parametrize("seed", SEEDS)
def test_jvp(seed):
    """One input wrong in every output; many inputs, one output wrong; not linear in the tangent."""
    bend = np.ones(10)
    bend[3] = -1
    report = check(waves, X10, jvp=lambda v, x: waves_jac(x) @ (bend * v), rng=seed)  # wrong on purpose
    assert (finding(report, "GP101").path, finding(report, "GP101").factor) == ("x[3]", -1)

    def row(v: Any, x: Any) -> Any:
        result = large_jac(x) @ v
        result[5] *= 2  # wrong on purpose
        return result

    report = check(large, X200, jvp=row, rng=seed)
    assert report.verdict is Verdict.WRONG
    assert (finding(report, "GP101").path, finding(report, "GP101").place) == ("x", "through output[5]")
    for f, x, jac in ((waves, X10, waves_jac), (large, X200, large_jac)):
        report = check(f, x, jvp=lambda v, x, jac=jac: jac(x) @ np.abs(v), rng=seed)  # wrong on purpose
        assert report.verdict is Verdict.WRONG
        assert ids(report) == ["GP206"]


def test_iterative_vjp_is_linear_enough():
    """Rounding at the level of an inner solver's tolerance breaks no identity."""
    report = check(waves, X10, vjp=lambda u, x: waves_vjp(u, x) * (1 + 1e-9 * np.sin(1e6 * u.sum())), rng=0)
    assert report.verdict is Verdict.CORRECT


# ------------------------------------------------------------------------------------------- sparse, operators


def chain(x: Any) -> Any:
    y = x**2
    y[1:] -= x[:-1]
    y[:-1] += np.sin(x[1:])
    return y


def chain_jac(x: Any) -> Any:
    return np.diag(2 * x) - np.diag(np.ones(len(x) - 1), -1) + np.diag(np.cos(x[1:]), 1)


CHAIN = np.linspace(0.3, 2, 40)


class Coordinates:
    """As little of a sparse matrix as the duck needs."""

    def __init__(self, matrix: Any) -> None:
        self.shape = matrix.shape
        self.row, self.col = np.nonzero(matrix)
        self.data = matrix[self.row, self.col]

    def tocoo(self) -> Any:
        return self

    def toarray(self) -> Any:
        dense = np.zeros(self.shape)
        dense[self.row, self.col] = self.data
        return dense


class Operator:
    """As little of a linear operator as the duck needs."""

    def __init__(self, forward: Any, backward: Any) -> None:
        self.shape = forward.shape
        self.forward, self.backward = forward, backward

    def matvec(self, v: Any) -> Any:
        return self.forward @ v

    def rmatvec(self, u: Any) -> Any:
        return self.backward.T @ u


@pytest.mark.parametrize("seed", SEEDS)
def test_sparse_like(seed):
    """A missing entry is named as missing, a wrong one as wrong."""
    assert check(chain, CHAIN, jac=lambda x: Coordinates(chain_jac(x)), rng=seed).correct

    def missing(matrix: Any) -> None:
        matrix[7, 8] = 0  # wrong on purpose

    def wrong(matrix: Any) -> None:
        matrix[7, 8] *= 2  # wrong on purpose

    report = check(chain, CHAIN, jac=lambda x: Coordinates(changed(chain_jac, missing)(x)), rng=seed)
    found = finding(report, "GP101")
    assert (found.path, found.kind) == ("jac[7, 8]", "missing from the declared sparsity pattern")
    report = check(chain, CHAIN, jac=lambda x: Coordinates(changed(chain_jac, wrong)(x)), rng=seed)
    found = finding(report, "GP101")
    assert (found.path, found.factor) == ("jac[7, 8]", 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_operator_like(seed):
    """`rmatvec` is held against f, `matvec` against `rmatvec`."""
    right = chain_jac(CHAIN)
    assert check(chain, CHAIN, jac=Operator(right, right), rng=seed).correct
    report = check(chain, CHAIN, jac=Operator(right, right.T), rng=seed)  # wrong on purpose
    assert ids(report) == ["GP208", "GP101"]
    assert finding(report, "GP101").kind == "transposed"
    report = check(chain, CHAIN, jac=Operator(2 * right, 2 * right), rng=seed)  # wrong on purpose
    assert finding(report, "GP101").factor == 2


def test_scipy_sparse_and_operator():
    """The real ones."""
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    linalg = pytest.importorskip("scipy.sparse.linalg", reason="SciPy is not installed")
    for convert in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array, linalg.aslinearoperator):
        assert check(chain, CHAIN, jac=lambda x, convert=convert: convert(chain_jac(x)), rng=0).correct
    half = sparse.csr_array(np.triu(chain_jac(CHAIN)))  # wrong on purpose
    report = check(chain, CHAIN, jac=half, rng=0)
    assert report.verdict is Verdict.WRONG
    report = check(chain, CHAIN, jac=sparse.csr_array(chain_jac(CHAIN)[:, :30]), rng=0)
    assert ids(report) == ["GP201"]


# ------------------------------------------------------------------------------------------------- second order


def double_diagonal(matrix: Any) -> Any:
    return matrix + np.diag(np.diag(matrix))


def one_sided(matrix: Any) -> None:
    matrix[0, 1] = 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("first", [{}, {"grad": rosenbrock_grad}])
@pytest.mark.parametrize("n", [2, 6, 30])
def test_hessian(n, first, seed):
    """Factor 2 on the diagonal, and not symmetric: each named, alone and with the gradient."""
    x = np.linspace(-1.2, 1, n)
    right = check(rosenbrock, x, **first, hess=rosenbrock_hess, rng=seed)
    assert right.verdict is Verdict.CORRECT
    assert [leaf.path for leaf in right.leaves] == (["x", "x (second order)"] if first else ["x"])

    wrong = check(rosenbrock, x, **first, hess=changed(rosenbrock_hess, double_diagonal), rng=seed)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    (found,) = wrong.findings
    assert found.path == "hess"
    assert "the diagonal is claimed 2 times" in found.kind
    if first:
        assert wrong.leaves[0].verdict is Verdict.CORRECT

    wrong = check(rosenbrock, x, **first, hess=changed(rosenbrock_hess, one_sided), rng=seed)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    assert "not symmetric: hess[0, 1] is 0, hess[1, 0] is 480" in finding(wrong, "GP207").kind
    assert finding(wrong, "GP101").path == "hess[0, 1]"
    assert finding(wrong, "GP207").severity == "error"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("first", [{}, {"grad": rosenbrock_grad}])
def test_hvp(first, seed):
    """Factor, asymmetry and nonlinearity of a product."""
    twice = check(rosenbrock, X8, **first, hvp=lambda v, x: 2 * rosenbrock_hvp(v, x), rng=seed)  # wrong on purpose
    assert finding(twice, "GP101").factor == 2
    wrong = changed(rosenbrock_hess, one_sided)
    skew = check(rosenbrock, X8, **first, hvp=lambda v, x: wrong(x) @ v, rng=seed)  # wrong on purpose
    assert finding(skew, "GP207").path == "hvp"
    bent = check(rosenbrock, X8, **first, hvp=lambda v, x: rosenbrock_hess(x) @ np.abs(v), rng=seed)  # wrong on purpose
    assert "GP206" in ids(bent)
    assert {report.verdict for report in (twice, skew, bent)} == {Verdict.WRONG}


def test_hessian_of_a_tree():
    """A tree of trees; the block is named."""

    def f(p: Any) -> Any:
        return np.sum(p["a"] ** 2) * p["b"] ** 3

    def grad(p: Any) -> Any:
        return {"a": 2 * p["a"] * p["b"] ** 3, "b": 3 * np.sum(p["a"] ** 2) * p["b"] ** 2}

    def hess(p: Any) -> Any:
        mixed = 6 * p["a"] * p["b"] ** 2
        return {
            "a": {"a": 2 * p["b"] ** 3 * np.eye(2), "b": mixed},
            "b": {"a": mixed, "b": 6 * np.sum(p["a"] ** 2) * p["b"]},
        }

    point = {"a": np.array([0.7, -1.1]), "b": 1.3}
    assert check(f, point, grad=grad, hess=hess, rng=0).correct
    assert check(f, point, hess=hess, rng=0).correct

    def wrong(p: Any) -> Any:
        blocks = hess(p)
        blocks["b"]["b"] *= 2  # wrong on purpose
        return blocks

    for first in ({}, {"grad": grad}):
        report = check(f, point, **first, hess=wrong, rng=0)
        assert (finding(report, "GP101").path, finding(report, "GP101").factor) == ("hess['b']['b']", 2)


def noisy(x: Any) -> Any:
    return rosenbrock(x) * (1 + 1e-9 * math.sin(1e12 * float(x.sum())))


@pytest.mark.parametrize("level", ["certificate", "entries"])
def test_outputs_that_differ_from_call_to_call(level):
    """Their spread is in the bars: a right Jacobian is CORRECT with a note, a wrong one WRONG."""
    draw = np.random.default_rng(0)

    def f(x: Any) -> Any:
        return waves(x) + 1e-12 * draw.normal(size=30)

    right = check(f, X10, jac=waves_jac, level=level, rng=0)
    wrong = check(f, X10, jac=changed(waves_jac, double_row), level=level, rng=0)  # wrong on purpose
    assert right.verdict is Verdict.CORRECT
    assert ids(right) == ["GP303"]
    assert wrong.verdict is Verdict.WRONG
    assert {"GP101", "GP303"} == set(ids(wrong))


def test_noise_makes_second_differences_wide_not_wrong():
    """A right Hessian of a noisy f is CORRECT with a wider bound, three times as much is still WRONG."""
    for seed in SEEDS:
        plain, rough = (check(f, X8, hess=rosenbrock_hess, rng=seed) for f in (rosenbrock, noisy))
        assert rough.verdict is Verdict.CORRECT
        assert rough.leaves[0].bound > 2 * plain.leaves[0].bound
        wrong = check(noisy, X8, hess=lambda x: 3 * rosenbrock_hess(x), rng=seed)  # wrong on purpose
        assert wrong.verdict is Verdict.WRONG
        assert finding(wrong, "GP101").path == "hess"


# ---------------------------------------------------------------------------------------------------- kinks, low


def test_kinks():
    """A valid subgradient in every output is no mistake; outside of the slopes it is, and so is another entry."""
    x = np.array([1.0, 0.0, 2.0, 3.0, -1.0, 4.0])
    report = check(np.abs, x, jac=lambda x: np.diag(np.sign(x)), rng=0)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    assert ids(report) == ["GP110"]

    def outside(matrix: Any) -> None:
        matrix[1, 1] = 1.5  # wrong on purpose

    def elsewhere(matrix: Any) -> None:
        matrix[3, 3] = 1.5  # wrong on purpose

    for change in (outside, elsewhere):
        report = check(np.abs, x, jac=changed(lambda x: np.diag(np.sign(x)), change), rng=0)
        assert report.verdict is Verdict.WRONG
        assert {one.path.partition("[")[0] for one in report.findings if one.severity == "error"} == {"jac"}


def test_float32():
    """In low precision a right Jacobian is CORRECT, one that is off by 5 % is WRONG."""
    weights, x = TALL.astype(np.float32), X10.astype(np.float32)

    def f(x: Any) -> Any:
        return np.sin(weights @ x)

    def jac(x: Any) -> Any:
        return np.cos(weights @ x)[:, None] * weights

    for seed in SEEDS:
        assert check(f, x, jac=jac, rng=seed).correct
        assert check(f, x, vjp=lambda u, x: jac(x).T @ u, rng=seed).correct
        assert check(f, x, jvp=lambda v, x: jac(x) @ v, rng=seed).correct
        wrong = check(f, x, jac=lambda x: 1.05 * jac(x), rng=seed)  # wrong on purpose
        assert wrong.verdict is Verdict.WRONG
        assert (finding(wrong, "GP101").path, round(finding(wrong, "GP101").factor, 3)) == ("jac", 1.05)
        few = check(lambda x: f(x)[:3], x, jac=lambda x: jac(x)[:3], rng=seed)
        assert few.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
        assert few.verdict is Verdict.CORRECT or few.reason is Reason.PRECISION


# ---------------------------------------------------------------------------------------------------- bad input


def test_which_claims_go_together():
    """One claim of each order at most, and one at least."""
    with pytest.raises(UsageError, match="`grad` and `jac` are claims of the first order"):
        check(waves, X10, grad=waves_jac, jac=waves_jac, rng=0)
    with pytest.raises(UsageError, match="`hess` and `hvp` are claims of the second order"):
        check(rosenbrock, X8, hess=rosenbrock_hess, hvp=rosenbrock_hvp, rng=0)
    with pytest.raises(UsageError, match="a claim is missing"):
        check(rosenbrock, X8, rng=0)
    with pytest.raises(UsageError, match="a claim is missing"):
        Case(rosenbrock, X8)
    with pytest.raises(UsageError, match="`vjp` must be callable, got ndarray"):
        check(waves, X10, vjp=waves_jac(X10), rng=0)
    with pytest.raises(UsageError, match="stands for one array argument"):
        check(net, NET, jac=Operator(SQUARE, SQUARE), rng=0)


def test_case_and_assert_grad_take_them():
    """The other two entry points."""
    assert Case(waves, X10, jac=waves_jac).check(rng=0).correct
    assert assert_grad(waves, X10, vjp=waves_vjp, rng=0).correct
    with pytest.raises(AssertionError, match=r"jac\[5\]"):
        assert_grad(waves, X10, jac=changed(waves_jac, double_row), rng=0)  # wrong on purpose


@pytest.mark.parametrize(
    ("value", "id", "words"),
    [
        (waves_jac(X10).T, "GP201", r"`.T` fits"),
        (waves_jac(X10)[:, :9], "GP201", r"block of shape \(30, 9\) for an output of shape \(30,\)"),
        (waves_jac(X10).ravel(), "GP201", r"reshape\(30, 10\)"),
        (np.where(np.arange(300).reshape(30, 10) == 7, np.nan, 1.0), "GP203", "not finite"),
        (waves_jac(X10) * 1j, "GP204", "complex"),
    ],
)
def test_form_of_a_jacobian(value, id, words):
    """Shape, finiteness and dtype, each with what to do."""
    for claim in (value, lambda x: value):
        report = check(waves, X10, jac=claim, rng=0)
        assert report.verdict is Verdict.WRONG
        found = finding(report, id)
        import re

        assert re.search(words, f"{found.kind} {found.advice}")


def test_form_of_products():
    """None, wrong shapes and missing keys from vjp and jvp; a claim that raises."""
    assert ids(check(waves, X10, vjp=lambda u, x: None, rng=0)) == ["GP202"]
    assert "GP201" in ids(check(waves, X10, vjp=lambda u, x: np.ones(9), rng=0))
    assert "GP203" in ids(check(waves, X10, vjp=lambda u, x: np.full(10, np.nan), rng=0))
    assert ids(check(waves, X10, jvp=lambda v, x: None, rng=0)) == ["GP202"]
    assert "GP201" in ids(check(waves, X10, jvp=lambda v, x: np.ones(9), rng=0))
    report = check(net, NET, vjp=lambda u, p: {"w": net_vjp(u, p)["w"]}, rng=0)
    assert "GP202" in ids(report)
    assert report.verdict is Verdict.WRONG
    for keyword in ("jac", "vjp", "jvp", "hess", "hvp"):

        def broken(*args: Any) -> Any:
            raise LookupError("no such layer")

        f, x = (rosenbrock, X8) if keyword.startswith("h") else (waves, X10)
        with pytest.raises(ClaimError, match=f"`{keyword}` raised LookupError") as error:
            check(f, x, **{keyword: broken}, rng=0)
        assert isinstance(error.value.__cause__, LookupError)


def grows(x: Any) -> Any:
    return np.ones(2 if x[0] == 1.0 else 3)


def test_form_of_f():
    """No number, other shapes elsewhere; nan at the point is INCONCLUSIVE."""
    for returned, words in (
        (None, "forgot|forget"),
        ("text", "numbers"),
        ([], "nothing"),
    ):
        with pytest.raises(FunctionError, match=words):
            check(lambda x, returned=returned: returned, np.ones(2), jac=np.ones((3, 2)), rng=0)
    with pytest.raises(FunctionError, match="same structure everywhere"):
        check(grows, np.ones(2), jac=np.ones((2, 2)), rng=0)
    for claim in ({"jac": np.eye(2)}, {"vjp": lambda u, x: u}, {"jvp": lambda v, x: v}):
        report = check(lambda x: np.log(-x), np.ones(2), **claim, rng=0)
        assert ids(report) == ["GP304"]
        assert report.verdict is Verdict.INCONCLUSIVE


def test_changes_in_place():
    """The user's arrays stay as they are; a claim that changes what it is handed is reported."""
    x = X10.copy()
    before = snapshot([x, TALL])

    def greedy_jac(x: Any) -> Any:
        jac = waves_jac(x)
        x += 1
        return jac

    def greedy_vjp(u: Any, x: Any) -> Any:
        result = waves_vjp(u, x)
        u += 1
        return result

    for claim in ({"jac": greedy_jac}, {"vjp": greedy_vjp}):
        report = check(waves, x, **claim, rng=0)
        assert ids(report) == ["GP211"]
        assert report.verdict is Verdict.WRONG
    assert snapshot([x, TALL]) == before


# ----------------------------------------------------------------------------------------------------- the bound


@pytest.mark.parametrize("law", [spread, spread_apart])
def test_spread_shrinks_with_every_cotangent(law):
    """More cotangents see more of an error."""
    widths = [law(count, 30, 1 - 1e-6) for count in (4, 5, 6, 8)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 20


def spectra(size: int) -> list[Any]:
    """Singular values of errors: one row, a dominant row, two, several equal, falling."""
    known = [np.ones(1), np.array([1.0, 1e-2]), np.array([1.0, 0.1, 0.1]), np.ones(2), 0.5 ** np.arange(size)]
    return [values for values in (*known, np.ones(max(1, size // 2))) if len(values) <= size]


@pytest.mark.parametrize("size", [2, 3, 12])
@pytest.mark.parametrize("count", [1, 4])
def test_spread_holds(size, count):
    """At confidence 0.6 (0.05 a look) an error hides from all vectors in at most that many draws, for any spectrum."""
    rng = np.random.default_rng(size)
    confidence, trials = 0.6, 4000
    g = rng.normal(size=(trials, count, size))
    g *= math.sqrt(size) / np.linalg.norm(g, axis=2, keepdims=True)
    for values in spectra(size):
        error = np.zeros(size)
        error[: len(values)] = values / np.linalg.norm(values)
        hidden = np.linalg.norm(g * error, axis=2).max(axis=1) * spread(count, size, confidence) < 1
        assert hidden.mean() <= (1 - confidence) / 8 + 3 * math.sqrt(0.05 / trials)


@pytest.mark.parametrize(("m", "n"), [(1, 5), (2, 3), (3, 2), (4, 12)])
def test_pairs_bound_a_bilinear_error(m, n):
    """An error hides from pairs u, v in at most the stated share of draws, for any spectrum; the law is as derived."""
    rng = np.random.default_rng([m, n])
    delta, trials, pairs = 0.2, 4000, 4
    u, v = rng.normal(size=(trials, pairs, m)), rng.normal(size=(trials, pairs, n))
    u, v = (g * math.sqrt(g.shape[2]) / np.linalg.norm(g, axis=2, keepdims=True) for g in (u, v))
    for values in spectra(min(m, n)):
        k = len(values)
        seen = np.abs(np.sum(u[..., :k] * v[..., :k] * values, axis=2)).max(axis=1) / np.linalg.norm(values)
        hidden = [adjoint_bound(one, pairs, m, n, delta) < 1 for one in seen.tolist()]
        assert np.mean(hidden) <= delta + 3 * math.sqrt(delta / trials)
    density = {1: math.nan, 2: 1.0, 3: kappa(3), 4: kappa(4), 5: kappa(5), 12: kappa(12)}
    law = 4 * density[m] * density[n] * 2 / math.sqrt(delta)
    assert adjoint_bound(2.0, 4, m, n, delta) == pytest.approx(error_bound(2.0, 4, n, 1 - delta) if m == 1 else law)


@pytest.mark.parametrize("size", [3, 30])
def test_one_row_hides_best(size):
    """Numerically the worst case of the law is one row: the factor sqrt(3) in `spread` is the price of the proof."""
    rng = np.random.default_rng(size)
    g = rng.normal(size=(20000, size))
    g *= math.sqrt(size) / np.linalg.norm(g, axis=1, keepdims=True)
    for t in (0.03, 0.1):
        hidden = [np.mean(np.linalg.norm(g[:, : len(s)] * s / np.linalg.norm(s), axis=1) <= t) for s in spectra(size)]
        assert max(hidden) <= hidden[0] + 4 * math.sqrt(hidden[0] / len(g))


@pytest.mark.slow
def test_verdicts_hold_over_many_problems():
    """Random problems and mistakes of random size: no right claim is WRONG, no error above the bound is CORRECT."""
    rng = np.random.default_rng(1)
    inconclusive = 0
    for trial in range(150):
        m, n = int(rng.integers(1, 40)), int(rng.integers(1, 40))
        weights, x = rng.normal(size=(m, n)) * 10 ** rng.uniform(-2, 2, (m, 1)), rng.normal(size=n)

        def f(x: Any, weights: Any = weights) -> Any:
            return weights @ np.sin(x) + (weights**2 @ x) ** 2

        def jac(x: Any, weights: Any = weights) -> Any:
            return weights * np.cos(x) + 2 * (weights**2 @ x)[:, None] * weights**2

        report = check(f, x, jac=jac, rng=trial)
        assert report.verdict is not Verdict.WRONG, str(report)
        inconclusive += report.verdict is Verdict.INCONCLUSIVE
        true = jac(x)
        i, j, size = int(rng.integers(m)), int(rng.integers(n)), 10 ** rng.uniform(-7, 0)
        claim = true.copy()
        claim[i, j] *= 1 + size  # wrong on purpose
        report = check(f, x, jac=claim, rng=trial)
        if report.verdict is Verdict.CORRECT:
            rows = np.linalg.norm(true, axis=1, keepdims=True)
            error = np.linalg.norm((claim - true) / rows) / math.sqrt(m)
            assert error <= 3 * report.leaves[0].bound
        elif size > 1e-2 and abs(true[i, j]) > 0.1 * np.linalg.norm(true[i]) / math.sqrt(n):
            assert report.verdict is Verdict.WRONG
            assert f"jac[{i}, {j}]" in {one.path for one in report.findings}
    assert inconclusive <= 3


SATURATED = np.array([-8.3, -7.6, -5.4, -5.3, -4.8, -4.1, -3.3, -3.0, -1.9, -0.6, 2.0, 2.7, 4.2, 5.6, 7.4])


def test_outputs_on_a_lattice_of_their_own():
    """(1 + erf) / 2 comes in steps of 2**-54: fine steps see no slope of 1e-14, and that is no mistake."""

    def distribution(x):
        return np.array([(1 + math.erf(one / math.sqrt(2))) / 2 for one in x.tolist()])

    def claim(factor):
        return lambda u, x: factor * u * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)

    def verdict(factor, seed):
        return check(distribution, SATURATED, vjp=claim(factor), rng=seed).verdict

    seeds = [0, 4, 5, 6, 9, 12, 15]
    assert Verdict.WRONG not in {verdict(1, seed) for seed in seeds}
    off = [verdict(1.01, seed) for seed in seeds]  # wrong on purpose
    assert Verdict.CORRECT not in off
    # (Where an output's few values end too early depends on the last digits of `erf`, which differ between machines.)
    assert off.count(Verdict.WRONG) >= 4


@pytest.mark.parametrize("seed", [6, 24])
def test_many_kinks_that_bend_both_ways(seed):
    """Ties in a sort: any order of them is a valid choice, and no choice lies between the slopes along a direction."""
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=3000), rng.normal(size=3000)
    x[200:300] = x[:100]

    def grad(x, factor=1.0):
        found = np.empty_like(x)
        found[np.argsort(x, kind="stable")] = factor * weights
        return found

    def claims(factor):
        return {"grad": lambda x: grad(x, factor)}, {"jvp": lambda v, x: grad(x, factor) @ v}

    verdicts = [check(lambda x: np.sort(x) @ weights, x, **claim, rng=seed).verdict for claim in claims(1)]
    # (Of a jvp only mixtures of many entries are known.)
    assert verdicts[0] is Verdict.NOT_DIFFERENTIABLE
    assert verdicts[1] in (Verdict.NOT_DIFFERENTIABLE, Verdict.INCONCLUSIVE)
    report = check(lambda x: np.sort(x) @ weights, x, **claims(1.1)[0], rng=seed)  # wrong on purpose
    assert report.verdict is Verdict.WRONG


@pytest.mark.parametrize("kind", ["jac", "vjp"])
def test_a_constant_output_beside_moving_ones(kind):
    """It cannot be a sign of an f that does not see its arguments; and a claim of rounding is as good as one of 0."""
    x = np.array([1.0, 2.0, 3.0])

    def claim(matrix):
        return {"jac": lambda x: matrix, "vjp": lambda u, x: u @ matrix}[kind]

    def verdict(entry):
        matrix = np.array([[2.0, 4.0, 6.0], [0.0, 0.0, entry]])
        return check(lambda x: np.array([np.sum(x**2), 4.0]), x, **{kind: claim(matrix)}, rng=0).verdict

    assert (verdict(0.0), verdict(1.0), verdict(1e-15)) == (Verdict.CORRECT, Verdict.WRONG, Verdict.CORRECT)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slope", [-0.9, 0.5, 1.0])
def test_a_kink_does_not_pass_for_noise(slope, seed):
    """|x| beside a line: what the first direction sees of the kink must not hide it from the second."""
    point = np.array([0.0, 1.0])
    report = check(lambda x: abs(x[0]) + x[1], point, grad=np.array([slope, 1.0]), rng=seed)
    wrong = check(lambda x: abs(x[0]) + x[1], point, grad=np.array([1.2, 1.0]), rng=seed)
    assert (report.verdict, wrong.verdict) == (Verdict.NOT_DIFFERENTIABLE, Verdict.WRONG)


def test_entries_are_the_same_whatever_memory_held():
    """Several checks of one seed, in float32, where f is not smooth enough for pairs of values."""
    matrix = np.random.default_rng(6).normal(size=(50, 60)) / 8
    point = np.random.default_rng(7).normal(size=60).astype(np.float32)

    def f(x):
        return np.tanh(matrix.astype(np.float32) @ x) + np.float32(30)

    jac = (1 - np.tanh(matrix @ point) ** 2)[:, None] * matrix
    reports = [check(f, point, jac=jac.astype(np.float32), level="entries", rng=9) for _ in range(3)]
    assert len({report.cost.evaluations for report in reports}) == 1
    assert reports[0] == reports[1] == reports[2]


def test_proofs_that_share_no_directions_share_what_may_go_wrong():
    """K of them miss an error with the chance of one to the power of K, less what the first look has spent."""
    for count in (FIRST, 2 * FIRST, MOST):
        left = 1e-6 ** (1 / count) - 1e-6 ** (1 / FIRST) / 2
        assert spread_apart(count, 2, 1 - 1e-6) == pytest.approx(math.sqrt(3) * 2 / (math.pi * left), rel=1e-6)
    assert (1 - apart_confidence(1 - 2e-6)) ** FIRST == pytest.approx(1e-6 / 2**FIRST, rel=1e-6)
    assert math.isinf(spread_apart(FIRST // 2, 2, 1 - 1e-6))


def test_the_step_of_all_pairs_has_the_smallest_bars():
    """Noise over the step and truncation, where neither grows any more: noise / h = 2 cubic h**2 for one output."""
    known = SimpleNamespace(levels=np.array([1e-3]), finest=1e-5)
    for noise in (1e-13, 1e-12, 1e-11):
        learned: Any = SimpleNamespace(known=known)
        step = _best_step(np.array([noise]), np.array([1e-2]), learned)
        assert step == pytest.approx((noise / 2e-2) ** (1 / 3), rel=0.1)


# ------------------------------------------------------------------------------------------- arguments in another order


def curved_hvp(v: Any, x: Any) -> Any:
    return -v * np.sin(x)


def sine_sum(x: Any) -> Any:
    return np.sum(np.sin(x))


def sine_vjp(u: Any, x: Any) -> Any:
    return u * np.cos(x)


@pytest.mark.parametrize(
    ("f", "keyword", "product"),
    [(np.sin, "vjp", sine_vjp), (np.sin, "jvp", sine_vjp), (sine_sum, "hvp", curved_hvp)],
)
def test_swapped_arguments_of_a_product(f, keyword, product):
    """Named in one finding with what to pass, where swapping makes the claim right; not where it does not."""

    def swapped(x, v):
        return product(v, x)

    def wrong(x, v):
        return 1.5 * product(v, x)  # wrong on purpose

    report = check(f, X10, **{keyword: swapped}, rng=0)
    assert (report.verdict, ids(report)) == (Verdict.WRONG, ["GP214"])
    assert f"`{keyword}=lambda v, x, *args: swapped(x, v, *args)`" in report.findings[0].advice
    assert f"it is called as `{keyword}(" in report.findings[0].kind
    assert check(f, X10, **{keyword: product}, rng=0).findings == ()
    assert "GP214" not in ids(check(f, X10, **{keyword: wrong}, rng=0))
    assert "GP214" not in ids(check(f, X10, **{keyword: lambda v, x: 1.5 * product(v, x)}, rng=0))  # wrong on purpose


def test_swapped_arguments_that_shapes_tell():
    """What a product raises is shown with the order in which it is called, if it runs in the other one."""
    matrix = np.arange(6.0).reshape(2, 3)
    with pytest.raises(ClaimError, match=r"called as `vjp\(cotangent, \*args\)`: with these two swapped it is right"):
        check(lambda x: matrix @ x, np.ones(3), vjp=lambda x, u: matrix.T @ u + 0 * x[2], rng=0)
    with pytest.raises(ClaimError, match=r"with these two swapped it runs"):
        check(lambda x: matrix @ x, np.ones(3), vjp=lambda x, u: 2 * matrix.T @ u + 0 * x[2], rng=0)  # wrong on purpose
    with pytest.raises(ClaimError) as error:
        check(lambda x: matrix @ x, np.ones(3), vjp=lambda u, x: matrix @ u, rng=0)  # wrong on purpose
    assert "swapped" not in str(error.value)


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"grad": lambda p: p}, "it is called as `grad(*args)`, here with 2 arguments"),
        ({"grad": lambda: 1.0}, "it is called as `grad(*args)`, here with 2 arguments"),
        ({"vjp": lambda u, p: p}, "it is called as `vjp(cotangent, *args)`, here with 3 arguments"),
    ],
)
def test_claims_of_other_arguments(claim, words):
    """A claim gets all arguments of f."""
    with pytest.raises(ClaimError) as error:
        check(lambda p, q: p * q, (2.0, 3.0), **claim, rng=0)
    assert words in str(error.value)


def test_a_claim_that_raises_for_its_own_reasons():
    """Its error is shown as it is, and it is called no more than once."""
    calls = []

    def broken(u, x):
        calls.append(1)
        raise LookupError("no such layer")

    with pytest.raises(ClaimError) as error:
        check(np.sin, X10, vjp=broken, rng=0)
    assert str(error.value).endswith("raised LookupError at the point: no such layer")
    assert len(calls) == 1
