"""SciPy's own arguments: what each solver accepts is checked, right and wrong."""

from __future__ import annotations

import functools as ft
import inspect
import re

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import (
    BFGS,
    SR1,
    Bounds,
    LinearConstraint,
    NonlinearConstraint,
    least_squares,
    minimize,
    root,
    rosen,
    rosen_der,
    rosen_hess,
    rosen_hess_prod,
)
from scipy.optimize._numdiff import check_derivative
from scipy.sparse import csr_array, csr_matrix, diags_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import gradproof
from gradproof import Verdict
from gradproof.scipy import check_constraint, check_ivp, check_least_squares, check_minimize, check_root
from helpers import finding, ids, leaf

X0 = [1.3, 0.7, 0.8, 1.9, 1.2]
POINT = np.array(X0)


def scaled(x, factor):
    return factor * np.sum(np.sin(x))


def scaled_der(x, factor):
    return factor * np.cos(x)


def residuals(x):
    return np.array([x[0] ** 2, 3 * x[1] + x[0], x[1] * x[2], np.exp(x[2])])


def residuals_jac(x):
    return np.array([[2 * x[0], 0, 0], [1, 3, 0], [0, x[2], x[1]], [0, 0, np.exp(x[2])]])


def wrong_jac(x):
    jac = residuals_jac(x)
    jac[2, 1] *= -1  # wrong on purpose
    return jac


def system(x):
    return [x[0] + 0.5 * (x[0] - x[1]) ** 3 - 1, 0.5 * (x[1] - x[0]) ** 3 + x[1]]


def system_jac(x):
    slope = 1.5 * (x[0] - x[1]) ** 2
    return [[1 + slope, -slope], [-slope, 1 + slope]]


# ------------------------------------------------------------------------------------------------------ minimize


@pytest.mark.parametrize("factor", [1e6, 1.0, 1e-6])
def test_verdict_does_not_depend_on_the_scale_of_f(factor):
    """SciPy's check_grad gives 0.07 for a correct gradient of 1e6 f, and 2e-6 for one of 1e-6 f that is 50 % off."""
    assert check_minimize(scaled, X0, (factor,), jac=scaled_der, rng=0).correct
    half_off = check_minimize(scaled, X0, factor, jac=lambda x, c: 1.5 * scaled_der(x, c), rng=0)  # wrong on purpose
    assert half_off.verdict is Verdict.WRONG
    assert half_off.findings[0].factor == 1.5


def test_report_speaks_of_what_the_user_wrote():
    """Function, argument and a line that runs the check again."""
    report = check_minimize(
        rosen, X0, jac=lambda x: rosen_der(x) + np.array([0, 0, 5, 0, 0]), bounds=[(0, 3)] * 5, rng=3
    )
    assert (report.name, report.findings[0].path) == ("rosen", "x[2]")
    assert report.findings[0].reproducer == "gradproof.scipy.check_minimize(rosen, x0, jac=jac, bounds=bounds, rng=3)"
    assert ft.partial(scaled, factor=2.0)(POINT) == scaled(POINT, 2.0)
    partial = check_minimize(ft.partial(scaled, factor=2.0), X0, jac=ft.partial(scaled_der, factor=2.0), rng=0)
    assert (partial.name, partial.correct) == ("scaled", True)


def test_claims_go_by_the_names_that_minimize_has_for_them():
    def raises(x):
        raise KeyError("missing")

    with pytest.raises(gradproof.ClaimError, match="`jac` raised KeyError at the point"):
        check_minimize(rosen, X0, jac=raises, rng=0)
    report = check_minimize(rosen, X0, jac=rosen_der, hessp=lambda x, p: p + 1, rng=0)  # wrong
    assert report.claim == "jac+hessp"
    assert finding(report, "GP206").path == "hessp"
    assert finding(report, "GP206").kind == "second order: `hessp` ignores its tangent"


def test_jac_true_means_value_and_gradient():
    def both(x, c):
        return scaled(x, c), scaled_der(x, c)

    def both_wrong(x, c):
        return scaled(x, c), -scaled_der(x, c)  # wrong on purpose

    assert minimize(both, X0, (2.0,), jac=True).success
    assert check_minimize(both, X0, (2.0,), jac=True, rng=0).correct
    wrong = check_minimize(both_wrong, X0, (2.0,), jac=True, rng=0)
    assert (wrong.verdict, wrong.findings[0].factor) == (Verdict.WRONG, -1.0)
    with pytest.raises(gradproof.FunctionError, match="must return \\(value, derivative\\), got float"):
        check_minimize(scaled, X0, (2.0,), jac=True, rng=0)


@pytest.mark.parametrize(
    "form",
    [
        lambda H: H,
        lambda H: H.tolist(),
        csr_array,
        csr_matrix,
        aslinearoperator,
        lambda H: LinearOperator(H.shape, matvec=lambda v: H @ v),  # without rmatvec, as `minimize` allows
    ],
    ids=["dense", "list", "csr_array", "csr_matrix", "operator", "matvec only"],
)
def test_hess_in_every_form(form):
    """Right ones pass, one wrong entry does not."""

    def wrong(x):
        H = rosen_hess(x)
        H[2, 2] *= 2  # wrong on purpose
        return form(H)

    assert minimize(rosen, X0, jac=rosen_der, hess=lambda x: form(rosen_hess(x)), method="trust-constr").success
    assert check_minimize(rosen, X0, jac=rosen_der, hess=lambda x: form(rosen_hess(x)), rng=0).correct
    report = check_minimize(rosen, X0, jac=rosen_der, hess=wrong, rng=0)
    assert report.verdict is Verdict.WRONG
    assert all(one.kind.startswith("second order") and "2, 2" in one.path for one in report.findings)
    assert [one.verdict for one in report.leaves] == [Verdict.CORRECT, Verdict.WRONG]


def test_hess_alone_is_held_against_second_differences():
    assert check_minimize(rosen, X0, hess=rosen_hess, rng=0).correct
    wrong = check_minimize(rosen, X0, hess=lambda x: 2 * rosen_hess(x), rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG


def test_hessp_takes_the_vector_second():
    """SciPy calls ``hessp(x, p, *args)``."""

    def hessp(x, p, factor):
        return -factor * np.sin(x) * p

    assert check_minimize(rosen, X0, jac=rosen_der, hessp=rosen_hess_prod, rng=0).correct
    assert check_minimize(scaled, X0, (3.0,), jac=scaled_der, hessp=hessp, rng=0).correct
    wrong = check_minimize(scaled, X0, (3.0,), jac=scaled_der, hessp=lambda x, p, c: hessp(p, x, c), rng=0)
    assert wrong.verdict is Verdict.WRONG


def test_lists_and_arrays_of_one_entry_are_read_as_scipy_reads_them():
    def fun(x):
        return np.array([x[0] ** 2 + x[1]])

    assert minimize(fun, [1.0, 2.0], jac=lambda x: [2 * x[0], 1], bounds=[(0, 3), (0, 3)]).success
    assert check_minimize(fun, [1, 2], jac=lambda x: [2 * x[0], 1], rng=0).correct
    wrong = check_minimize(fun, [1, 2], jac=lambda x: [2 * x[0], 2], rng=0)  # wrong on purpose
    assert [one.path for one in wrong.findings] == ["x[1]"]


def test_gradient_of_another_shape_is_a_finding():
    report = check_minimize(rosen, X0, jac=lambda x: rosen_der(x)[:, None], rng=0)  # wrong on purpose
    assert ids(report) == ["GP201"]


@pytest.mark.parametrize("bounds", [Bounds([0.5] * 5, np.inf), [(0.5, None)] * 5], ids=["Bounds", "pairs"])
def test_bounds_are_never_left(bounds):
    """Also at a bound, where the slope is measured from the inside."""
    seen = []

    def fun(x):
        seen.append(x.copy())
        return np.sum(np.sqrt(x - 0.5) * (x - 0.5)) + x[0]

    def jac(x):
        return 1.5 * np.sqrt(x - 0.5) + [1, 0, 0, 0, 0]

    x0 = [0.5, 0.7, 0.8, 1.9, 1.2]
    assert check_minimize(fun, x0, jac=jac, bounds=bounds, rng=0).verdict is Verdict.CORRECT
    assert np.min(seen) >= 0.5
    wrong = check_minimize(fun, x0, jac=lambda x: 2 * jac(x), bounds=bounds, rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    assert np.min(seen) >= 0.5


def test_variables_that_equal_bounds_hold_are_noted():
    """No step can move them, so nothing is said of their derivatives."""
    bounds = Bounds([1.3, 0, 0, 0, 0], [1.3, 3, 3, 3, 3])
    report = check_minimize(rosen, X0, jac=rosen_der, bounds=bounds, rng=0)
    assert report.correct
    assert finding(report, "GP420").kind == "1 variable is held by equal bounds and not checked: x[0]"
    assert leaf(report, "x").note == ""
    free = check_minimize(rosen, X0, jac=rosen_der, bounds=Bounds(0, 3), rng=0)
    assert (ids(free), leaf(free, "x").note) == ([], "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jac": "2-point"}, "`jac` is none, since '2-point' asks SciPy to approximate it"),
        ({"hess": "cs"}, "`hess` is none, since 'cs' asks SciPy"),
        ({"hess": BFGS()}, "`hess` is none, since BFGS asks SciPy"),
        ({"jac": rosen_der(X0)}, "`jac` must be a callable that returns the derivative, got ndarray"),
        ({}, "a claim is missing: pass one of `jac`, `hess` and `hessp`"),
        ({"jac": False}, "a claim is missing"),
        ({"constraints": LinearConstraint(np.eye(5))}, "a claim is missing"),
        ({"constraints": [lambda x: x]}, r"`constraints[0]` must be a scipy.optimize.NonlinearConstraint or a dict"),
        ({"jac": rosen_der, "bounds": [(1, 0)] * 5}, "the upper bound of `x0[0]`, 0.0, is below the lower one, 1.0"),
        ({"jac": rosen_der, "bounds": [(0, 1)]}, "5 pairs"),
        ({"jac": rosen_der, "bounds": Bounds([0, 0], [3, 3])}, "do not fit 5 variables"),
    ],
)
def test_what_is_no_claim_is_an_error(options, message):
    with pytest.raises(gradproof.UsageError, match=re.escape(message)):
        check_minimize(rosen, X0, **options, rng=0)


def test_rosenbrock_in_100_000_dimensions_takes_at_most_40_evaluations():
    x0 = np.random.default_rng(0).normal(size=100_000)
    report = check_minimize(rosen, x0, jac=rosen_der, rng=0)
    assert report.correct
    assert report.cost.evaluations <= 40

    def wrong(x):
        gradient = rosen_der(x)
        gradient[77_777] *= 2  # wrong on purpose
        return gradient

    report = check_minimize(rosen, x0, jac=wrong, rng=0)
    assert [one.path for one in report.findings] == ["x[77777]"]


# ------------------------------------------------------------------------------------------------- least_squares


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, csr_array, csr_matrix, aslinearoperator])
def test_jac_of_residuals_in_every_form(form):
    x0 = [1.0, 2.0, 3.0]
    assert check_least_squares(residuals, x0, lambda x: form(residuals_jac(x)), rng=0).correct
    report = check_least_squares(residuals, x0, lambda x: form(wrong_jac(x)), rng=0)
    assert report.verdict is Verdict.WRONG
    assert [one.path for one in report.findings] == ["jac[2, 1]"]


def overlapping(x):
    return np.array([x[0] ** 2 + x[1] + x[2], 3 * x[1] + x[0], x[0] * x[1] + 3 * x[2]])


def overlapping_jac(x, last=3):
    return csr_array(np.array([[2 * x[0], 1, 1], [1, 3, 0], [x[1], x[0], last]]))


def test_a_sparse_jacobian_that_leaves_out_an_entry_is_wrong():
    """SciPy differences on the claim's own pattern, where it cannot show."""

    def incomplete(x):
        return overlapping_jac(x, last=0)  # wrong on purpose

    x0 = [0.5, 1.0, 2.0]
    assert check_derivative(overlapping, incomplete, x0) < 1e-6
    report = check_least_squares(overlapping, x0, incomplete, rng=0)
    assert report.verdict is Verdict.WRONG
    assert [(one.path, one.kind) for one in report.findings] == [
        ("jac[2, 2]", "missing from the declared sparsity pattern")
    ]
    assert report.findings[0].reference == pytest.approx(3.0)
    assert check_least_squares(overlapping, x0, overlapping_jac, rng=0).correct


def test_a_large_sparse_jacobian_is_never_made_dense():
    """25 million entries; what the pattern lacks is named by its place still."""
    n = 5000

    def fun(x):
        y = 3 * x + x**3
        y[1:] -= x[:-1] ** 2
        y[:-1] -= np.sin(x[1:])
        return y

    def jac(x):
        return diags_array([-2 * x[:-1], 3 + 3 * x**2, -np.cos(x[1:])], offsets=[-1, 0, 1]).tocsr()

    def incomplete(x):
        found = jac(x).tolil()
        found[1234, 1235] = 0  # wrong on purpose
        return found.tocsr()

    x0 = np.random.default_rng(0).normal(size=n)
    assert check_root(fun, x0, jac=jac, rng=0).correct
    report = check_root(fun, x0, jac=incomplete, rng=0)
    assert [one.path for one in report.findings] == ["jac[1234, 1235]"]


@pytest.mark.parametrize("rows", [1, 4])
def test_sparse_jacobian_of_another_shape_is_a_finding(rows):
    report = check_least_squares(residuals, [1.0, 2.0, 3.0], lambda x: csr_array((rows, 4)), rng=0)  # wrong on purpose
    assert (report.verdict, ids(report)) == (Verdict.WRONG, ["GP201"])


def test_arguments_and_keywords_reach_both_callables():
    def fun(x, a, *, b):
        return a * x**2 + b

    def jac(x, a, *, b):
        return np.diag(2 * a * x) + 0 * b

    assert least_squares(fun, [1.0, 2.0], jac, args=(3.0,), kwargs={"b": 1.0}).success
    assert check_least_squares(fun, [1, 2], jac, args=(3.0,), kwargs={"b": 1.0}, rng=0).correct
    wrong = check_least_squares(fun, [1, 2], lambda x, a, b: np.diag(a * x), args=(3.0,), kwargs={"b": 1.0}, rng=0)
    assert (wrong.verdict, wrong.findings[0].factor) == (Verdict.WRONG, 0.5)


def cauchy(z):
    return np.array([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2])


def huber(z):
    inner = z <= 1
    return np.array(
        [
            np.where(inner, z, 2 * np.sqrt(z) - 1),
            np.where(inner, 1.0, z**-0.5),
            np.where(inner, 0.0, -0.5 * z**-1.5),
        ]
    )


@pytest.mark.parametrize(("loss", "f_scale"), [(cauchy, 1.0), (cauchy, 0.1), (cauchy, 1e3), (huber, 1.0), (huber, 0.1)])
def test_rows_of_a_loss_are_each_others_derivatives(loss, f_scale):
    x0 = [1.1, 2.0, 0.3]
    assert check_least_squares(residuals, x0, residuals_jac, loss=loss, f_scale=f_scale, rng=0).correct
    for row in (1, 2):

        def wrong(z, row=row):
            rows = loss(z)
            rows[row, 3] += 0.3 * rows[1, 3] / z[3] ** (row - 1)  # wrong on purpose
            return rows

        report = check_least_squares(residuals, x0, residuals_jac, loss=wrong, f_scale=f_scale, rng=0)
        errors = [one for one in report.findings if one.severity == "error"]
        assert report.verdict is Verdict.WRONG
        assert {one.kind.partition(":")[0] for one in errors} == {"loss"}
        # A wrong rho' is not the derivative of rho, and rho'' not its derivative.
        assert [one.path for one in errors] == ["jac['rho'][3]", 'jac["rho\'"][3]'][row - 1 :]
        assert leaf(report, "x").verdict is Verdict.CORRECT


def test_the_quadratic_part_of_a_loss():
    """Every rho' is the constant 1 there, and rho'' is 0."""
    x0 = [1.1, 2.0, 0.3]
    assert check_least_squares(residuals, x0, residuals_jac, loss=huber, f_scale=1e3, rng=0).correct

    def wrong(z):
        rho, first, second = huber(z)
        return np.array([rho, first, second + 0.3 / z])  # wrong on purpose

    report = check_least_squares(residuals, x0, residuals_jac, loss=wrong, f_scale=1e3, rng=0)
    assert report.verdict is Verdict.WRONG  # rho moves, so that it is no doubt that rho' stands still
    assert [(one.id, one.path) for one in report.findings] == [("GP101", 'jac["rho\'"]')]


def test_a_loss_by_name_and_a_loss_of_another_shape():
    assert check_least_squares(residuals, [1.1, 2.0, 0.3], residuals_jac, loss="soft_l1", rng=0).correct
    with pytest.raises(gradproof.FunctionError, match="must return shape \\(3, 4\\)"):
        check_least_squares(residuals, [1.1, 2.0, 0.3], residuals_jac, loss=lambda z: z, rng=0)


def test_bounds_of_least_squares_are_never_left():
    seen = []

    def fun(x):
        seen.append(x.copy())
        return residuals(x)

    for bounds in ((-np.inf, np.inf), ([0, 0, 0], 3.0), Bounds(0, 3)):
        assert check_least_squares(fun, [1.0, 0.0, 3.0], residuals_jac, bounds=bounds, rng=0).correct
    assert np.min(seen[-10:]) >= 0
    assert np.max(seen[-10:]) <= 3


# ----------------------------------------------------------------------------------------- root, constraints, IVPs


def test_root():
    def both(x):
        return system(x), system_jac(x)

    x0 = [[0.0, 2.0]]  # any shape, as `root` takes it
    assert root(system, x0, jac=system_jac).success
    assert check_root(system, x0, jac=system_jac, rng=0).correct
    assert check_root(both, x0, jac=True, rng=0).correct
    wrong = check_root(system, x0, jac=lambda x: np.transpose(system_jac(x)) * [[1, -1], [1, 1]], rng=0)
    assert wrong.verdict is Verdict.WRONG
    with pytest.raises(gradproof.UsageError, match="no claim to check"):
        check_root(system, x0, jac=False, rng=0)


def circle(x):
    return [x[0] ** 2 + x[1] ** 2, x[0] ** 2 * x[1], x[0]]


def circle_jac(x):
    return csr_array(np.array([[2 * x[0], 2 * x[1]], [2 * x[0] * x[1], x[0] ** 2], [1, 0]]))


def circle_hess(x, v):
    return v[0] * 2 * np.eye(2) + v[1] * np.array([[2 * x[1], 2 * x[0]], [2 * x[0], 0]])


@pytest.mark.parametrize("form", [np.asarray, csr_array, aslinearoperator])
def test_constraint(form):
    def hess(x, v):
        return form(circle_hess(x, v))

    constraint = NonlinearConstraint(circle, -np.inf, 2, jac=circle_jac, hess=hess)
    report = check_constraint(constraint, [0.5, 1.5], rng=0)
    assert report.correct
    assert [one.path for one in report.leaves] == ["x", "x (v @ fun)", "x (second order) (v @ fun)"]
    assert check_constraint(NonlinearConstraint(circle, 0, 2, hess=hess), [0.5, 1.5], rng=0).correct


def test_the_wrong_constraint_is_named():
    def hess(x, v):
        return circle_hess(x, v) + v[1] * np.array([[0, 1], [1, 0]])  # wrong on purpose

    report = check_constraint(NonlinearConstraint(circle, 0, 2, jac=circle_jac, hess=hess), [0.5, 1.5], rng=0)
    assert report.verdict is Verdict.WRONG
    assert {one.kind[:8] for one in report.findings} == {"fun[1]: "}
    wrong = NonlinearConstraint(circle, 0, 2, jac=lambda x: circle_jac(x) * 2, hess=BFGS())  # wrong on purpose
    assert check_constraint(wrong, [0.5, 1.5], rng=0).verdict is Verdict.WRONG


def test_constraint_of_one_value_and_as_a_dict():
    constraint = {"type": "ineq", "fun": lambda x, c: x[0] ** 2 - c * x[1], "jac": lambda x, c: [2 * x[0], -c]}
    assert check_constraint({**constraint, "args": (3.0,)}, [0.5, 1.5], rng=0).correct
    wrong = {**constraint, "jac": lambda x, c: [2 * x[0], c], "args": 3.0}  # wrong on purpose
    report = check_constraint(wrong, [0.5, 1.5], rng=0)
    assert [one.path for one in report.findings] == ["jac[0, 1]"]


def test_constraint_without_a_claim_is_an_error():
    with pytest.raises(gradproof.UsageError, match="LinearConstraint, which has no derivative"):
        check_constraint(LinearConstraint(np.eye(2)), [0.5, 1.5], rng=0)
    with pytest.raises(gradproof.UsageError, match="asks SciPy for finite differences"):
        check_constraint(NonlinearConstraint(circle, 0, 2), [0.5, 1.5], rng=0)


def robertson(t, y, k):
    return [-k * y[0] + 1e4 * y[1] * y[2], k * y[0] - 1e4 * y[1] * y[2] - 3e7 * y[1] ** 2, 3e7 * y[1] ** 2]


def robertson_jac(t, y, k):
    return np.array(
        [
            [-k, 1e4 * y[2], 1e4 * y[1]],
            [k, -1e4 * y[2] - 6e7 * y[1], -1e4 * y[1]],
            [0, 6e7 * y[1], 0],
        ]
    )


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_ivp(form):
    y = [0.99, 3e-5, 0.01]

    def jac(t, y, k):
        return form(robertson_jac(t, y, k))

    def wrong(t, y, k):
        jac = robertson_jac(t, y, k)
        jac[2, 1] /= 2  # wrong on purpose
        return form(jac)

    assert solve_ivp(robertson, (0, 1), y, method="BDF", jac=jac, args=(0.04,)).success
    report = check_ivp(robertson, (0.0, 40.0), y, "Radau", jac=jac, args=(0.04,), rng=0)
    assert (report.verdict, report.name, report.leaves[0].path) == (Verdict.CORRECT, "robertson", "y")
    report = check_ivp(robertson, (0.0, 40.0), y, jac=wrong, args=(0.04,), rng=5)
    assert [one.path for one in report.findings] == ["jac[2, 1]"]
    assert report.findings[0].reproducer == (
        "gradproof.scipy.check_ivp(robertson, t_span, y0, args=args, jac=wrong, rng=5)"
    )


def test_ivp_with_a_constant_matrix_a_complex_state_and_columns():
    A = np.array([[0.0, 1.0], [-4.0, -0.1]])
    y = [1.0, 0.5]
    for jac in (A, A.tolist(), csr_array(A)):
        assert check_ivp(lambda t, y: A @ y, 0.0, y, jac=jac, rng=0).correct
        assert check_ivp(lambda t, y: A @ y, 0.0, y, jac=jac, vectorized=True, rng=0).correct
    assert check_ivp(lambda t, y: A @ y, 0.0, y, jac=A.T, rng=0).verdict is Verdict.WRONG  # wrong on purpose
    assert check_ivp(lambda t, y: 1j * A @ y, 0.0, [1 + 1j, 2], jac=lambda t, y: 1j * A, rng=0).correct
    wrong = check_ivp(lambda t, y: 1j * A @ y, 0.0, [1 + 1j, 2], jac=lambda t, y: A, rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    with pytest.raises(gradproof.UsageError, match="no claim to check"):
        check_ivp(lambda t, y: A @ y, 0.0, y, jac=None, rng=0)


# ----------------------------------------------------------------------------------------------- replacing the name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (check_minimize, minimize),
        (check_least_squares, least_squares),
        (check_root, root),
        (check_ivp, solve_ivp),
    ],
)
def test_every_parameter_of_the_solver_is_taken(ours, theirs):
    """In the same order, by position or by name, with the same defaults; ours come after them, by name."""
    own, original = (inspect.signature(one).parameters for one in (ours, theirs))
    named = [one for one in original.values() if one.kind is not one.VAR_KEYWORD]
    assert [(one.name, one.kind, one.default) for one in list(own.values())[: len(named)]] == [
        (one.name, one.kind, one.default) for one in named
    ]
    more = list(own.values())[len(named) :]
    assert {one.kind for one in more} <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    takes_more = original.keys() - {one.name for one in named}  # **options
    assert {one.name for one in more if one.kind is one.VAR_KEYWORD} == takes_more


def cons_f(x):
    return [x[0] ** 2 + x[1], x[0] ** 2 - x[1]]


def cons_jac(x):
    return [[2 * x[0], 1], [2 * x[0], -1]]


def cons_jac_wrong(x):
    return [[2 * x[0], 1], [2 * x[0], 1]]  # wrong on purpose


def cons_hess(x, v):
    return v[0] * np.array([[2, 0], [0, 0]]) + v[1] * np.array([[2, 0], [0, 0]])


def product(x, p):
    return rosen_hess_prod(x, p)


LINEAR = LinearConstraint([[1, 2], [2, 1]], [-np.inf, 1], [1, 1])
BOX = Bounds([0, -0.5], [1.0, 2.0])
DICTS = (
    {"type": "ineq", "fun": lambda x: np.array([1 - x[0] - 2 * x[1]]), "jac": lambda x: np.array([[-1.0, -2.0]])},
    {"type": "eq", "fun": lambda x, c: np.array([c * x[0] + x[1] - 1]), "jac": lambda x, c: [c, 1.0], "args": (2.0,)},
)


def nonlinear(jac=cons_jac, hess=cons_hess):
    return NonlinearConstraint(cons_f, -np.inf, 1, jac=jac, hess=hess)


# Calls of SciPy's tutorial of optimization and of its reference pages, with what is checked in each.
TUTORIAL = [
    (check_minimize, (rosen, X0), {"method": "BFGS", "jac": rosen_der, "options": {"disp": True}}, "jac"),
    (
        check_minimize,
        (rosen, X0),
        {"method": "Newton-CG", "jac": rosen_der, "hess": rosen_hess, "options": {"xtol": 1e-8, "disp": True}},
        "jac+hess",
    ),
    (
        check_minimize,
        (rosen, X0, (), "trust-ncg", rosen_der),
        {"hessp": product, "options": {"gtol": 1e-8}},
        "jac+hessp",
    ),
    (check_minimize, (scaled, X0, (2.0,), None, scaled_der, None, None, [(0, 2)] * 5, (), 1e-6, print), {}, "jac"),
    (
        check_minimize,
        (rosen, np.array([0.5, 0])),
        {
            "method": "trust-constr",
            "jac": rosen_der,
            "hess": rosen_hess,
            "constraints": [LINEAR, nonlinear()],
            "options": {"verbose": 1},
            "bounds": BOX,
        },
        "jac+hess+constraints",
    ),
    (
        check_minimize,
        (rosen, np.array([0.5, 0])),
        {
            "method": "trust-constr",
            "jac": "2-point",
            "hess": SR1(),
            "constraints": [LINEAR, nonlinear(hess=BFGS())],
            "bounds": BOX,
        },
        "constraints",
    ),
    (
        check_minimize,
        (rosen, np.array([0.5, 0])),
        {
            "method": "SLSQP",
            "jac": rosen_der,
            "constraints": DICTS,
            "options": {"ftol": 1e-9, "disp": True},
            "bounds": BOX,
        },
        "jac+constraints",
    ),
    (check_minimize, (rosen, X0[:2]), {"jac": rosen_der, "constraints": DICTS[0]}, "jac+constraints"),
    (check_minimize, (rosen, X0[:2]), {"jac": rosen_der, "constraints": LINEAR}, "jac"),
    (check_minimize, (rosen, X0[:2]), {"jac": rosen_der, "constraints": None}, "jac"),
    (
        check_least_squares,
        (lambda x, u, y: x[0] * u - y, [2.5], lambda x, u, y: u[:, None]),
        {"bounds": (0, 100), "args": (np.arange(1.0, 5), np.ones(4)), "verbose": 1, "loss": "cauchy", "f_scale": 0.1},
        "jac",
    ),
    (check_root, (lambda x: x + 2 * np.cos(x), 0.3), {"jac": lambda x: np.diag(1 - 2 * np.sin(x)), "tol": 1e-9}, "jac"),
    (
        check_root,
        (lambda x: [np.array([x[0] * np.cos(x[1]) - 4, x[1] * x[0] - x[1] - 5]), both_jac(x)], [1, 1]),
        {"jac": True, "method": "lm"},
        "jac",
    ),
]


def both_jac(x):
    return np.array([[np.cos(x[1]), -x[0] * np.sin(x[1])], [x[1], x[0] - 1]])


@pytest.mark.parametrize(("check", "args", "keywords", "claim"), TUTORIAL)
def test_calls_of_the_tutorial_with_the_name_replaced(check, args, keywords, claim):
    """They run, and are CORRECT; whatever is claimed is checked."""
    report = check(*args, **keywords, rng=0)
    assert (report.verdict, report.claim) == (Verdict.CORRECT, claim)
    assert all(one.severity is gradproof.Severity.NOTE for one in report.findings)


def test_constraints_are_checked_one_by_one():
    """A wrong one is named, and the right ones beside it are not; what SciPy approximates is noted."""
    limits = [LINEAR, nonlinear(), nonlinear(jac=cons_jac_wrong), nonlinear(jac="cs", hess=BFGS())]
    report = check_minimize(rosen, [0.5, 0.1], jac=rosen_der, constraints=limits, rng=0)

    assert report.verdict is Verdict.WRONG
    wrong = [one for one in report.findings if one.severity is gradproof.Severity.ERROR]
    assert {(one.path, one.kind.partition(",")[0].partition(":")[0]) for one in wrong} >= {
        ("jac[1, 1]", "constraints[2]")
    }
    assert not any("constraints[1]" in one.kind for one in wrong)
    assert finding(report, "GP423").kind == "`constraints[3].jac` is not checked: 'cs' asks SciPy to approximate it"
    verdicts = {one.path: one.verdict for one in report.leaves}
    assert verdicts["x"] is verdicts["x (constraints[1])"] is Verdict.CORRECT
    assert verdicts["x (constraints[2])"] is Verdict.WRONG
    assert "constraints=constraints" in report.findings[0].reproducer


def test_arguments_of_a_constraint():
    """They are the dict's own."""
    wrong = {**DICTS[1], "jac": lambda x, c: [c, 1.5]}  # wrong on purpose
    report = check_minimize(lambda x, a: a * rosen(x), [0.5, 0.1], (3.0,), constraints=[wrong], rng=0)
    assert [(one.path, one.severity.value) for one in report.findings] == [("jac[0, 1]", "error")]


def only_inside_the_bounds(x):
    assert (x >= 0.5).all(), x
    assert (x <= 1).all(), x
    return (x**3).sum()


def test_a_start_outside_the_bounds_is_moved_into_them():
    """As `minimize` does; the note says so, and right and wrong are told apart at the point inside."""
    usual = {"bounds": [(0.5, 1)] * 2, "method": "L-BFGS-B", "options": {"maxiter": 3}, "rng": 0}
    right = check_minimize(only_inside_the_bounds, [5.0, 0.7], jac=lambda x: 3 * x**2, **usual)
    wrong = check_minimize(only_inside_the_bounds, [5.0, 0.7], jac=lambda x: 2 * x**2, **usual)  # wrong on purpose
    inside = check_minimize(only_inside_the_bounds, [1.0, 0.7], jac=lambda x: 3 * x**2, **usual)

    assert (right.verdict, wrong.verdict) == (Verdict.CORRECT, Verdict.WRONG)
    assert finding(right, "GP422").kind == "x0 was moved into its bounds: x0[0] from 5.0 to 1.0"
    assert ids(inside) == []
    with pytest.raises(gradproof.UsageError, match="the point must lie in the domain"):  # as least_squares
        check_least_squares(np.sin, [5.0], lambda x: np.diag(np.cos(x)), bounds=(0, 1), rng=0)


def test_what_is_approximated_beside_a_claim_is_noted():
    """The claim is checked all the same, and the note says what was not."""
    report = check_minimize(rosen, X0, jac=rosen_der, hess=BFGS(), rng=0)
    assert (report.verdict, report.claim, ids(report)) == (Verdict.CORRECT, "jac", ["GP423"])
    beside = check_minimize(rosen, X0, jac=rosen_der, hess=rosen_hess, hessp=lambda x, p: p, rng=0)
    assert finding(beside, "GP423").kind == "`hessp` is not checked: `minimize` ignores it beside `hess`"
    loss = lambda z: np.array([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2])  # noqa: E731
    alone = check_least_squares(np.sin, [0.5, 1.0], "3-point", loss=loss, rng=0)
    assert (alone.verdict, alone.claim, ids(alone)) == (Verdict.CORRECT, "loss", ["GP423"])


@pytest.mark.parametrize("method", ["hybr", "lm"])
def test_columns_of_a_jacobian_of_root(method):
    """`col_deriv` says that rows are variables; elsewhere it says nothing."""

    def fun(x):
        return [x[0] * x[1] - 1, x[1] ** 3]

    def jac(x):
        return np.array([[x[1], x[0]], [0, 3 * x[1] ** 2]])

    def columns(x):
        return jac(x).T

    usual = {"method": method, "rng": 0}
    assert check_root(fun, [1.0, 2.0], jac=columns, options={"col_deriv": 1, "xtol": 1e-8}, **usual).correct
    wrong = check_root(fun, [1.0, 2.0], jac=jac, options={"col_deriv": 1}, **usual)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    assert "options=options" in wrong.findings[0].reproducer
    assert check_root(fun, [1.0, 2.0], jac=jac, options={"col_deriv": 0}, **usual).correct


def test_bands_of_a_jacobian_of_solve_ivp():
    """`jac` returns its bands where `lband` or `uband` are passed, as LSODA takes them; the rest is claimed to be 0."""

    def fun(t, y):
        return np.array([-y[0], y[0] ** 2 - y[1], y[1] * y[2], y[2] - y[3] ** 2])

    def bands(t, y):  # uband 0, lband 1: the diagonal, then what is below it
        return np.array([[-1, -1, y[1], -2 * y[3]], [2 * y[0], y[2], 1, 0]])

    y0 = [1.0, 2.0, 0.5, 0.7]
    usual = {"method": "LSODA", "lband": 1, "uband": 0, "rtol": 1e-3, "atol": 1e-9, "max_step": 0.1, "rng": 0}
    assert solve_ivp(fun, (0, 0.1), y0, "LSODA", jac=bands, lband=1, uband=0).success
    assert check_ivp(fun, (0, 0.1), y0, jac=bands, **usual).correct
    wrong = check_ivp(fun, (0, 0.1), y0, jac=lambda t, y: bands(t, y) * [[1], [1.001]], **usual)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    assert {one.path for one in wrong.findings} <= {"jac", "jac[1, 0]", "jac[2, 1]", "jac[3, 2]"}
    with pytest.raises((gradproof.UsageError, gradproof.ClaimError), match="must return 2 bands"):
        check_ivp(fun, (0, 0.1), y0, jac=lambda t, y: np.eye(4), **usual)


def test_tolerances_of_solve_ivp_are_the_solvers():
    """A wide `rtol` of the solver hides no mistake of its Jacobian."""
    A = np.array([[-1.0, 2.0], [0.5, -3.0]])
    report = check_ivp(lambda t, y: A @ y, (0, 1), [1.0, 2.0], "BDF", jac=1.01 * A, rtol=0.1, atol=1.0, rng=0)
    assert report.verdict is Verdict.WRONG  # wrong on purpose
