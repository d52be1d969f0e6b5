"""What SciPy's own checks say where they are blind, and what gradproof says; and what they cost in many dimensions.

    PYTHONPATH=src python benchmarks/scipy_checkers.py --size 100000

`scipy.optimize.check_grad` returns an absolute difference, which is to be judged by the user; the private
`scipy.optimize._numdiff.check_derivative` a scaled one, "1e-6 or lower is likely correct".
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.optimize import check_grad, rosen, rosen_der
from scipy.optimize._numdiff import check_derivative
from scipy.sparse import csr_array, diags_array

import gradproof.compat.scipy
from gradproof.scipy import check_least_squares, check_minimize

X = np.random.default_rng(0).normal(size=20)


def scaled(factor, mistake=1.0):
    return lambda x: factor * np.sum(np.sin(x)), lambda x: mistake * factor * np.cos(x)


def residuals(x):
    return np.array([x[0] ** 2 + x[1] + x[2], 3 * x[1] + x[0], x[0] * x[1] + 3 * x[2]])


def jacobian(x, last=3.0):
    return csr_array(np.array([[2 * x[0], 1, 1], [1, 3, 0], [x[1], x[0], last]]))


def row(what, theirs, ours, report):
    named = next((f"{one.path}: {one.kind}" for one in report.findings), "")
    print(f"{what:42} {theirs:9.1e}  {ours:>9}  {report.verdict}  {named}")


def blind_spots():
    print(f"{'':42} {'SciPy':>9}  {'drop-in':>9}  verdict")
    for what, factor, mistake in (
        ("1e6 f, correct", 1e6, 1.0),
        ("1e-6 f, 50 % too large", 1e-6, 1.5),
        ("1e-6 f, correct", 1e-6, 1.0),
    ):
        f, gradient = scaled(factor, mistake)
        drop_in = f"{gradproof.compat.scipy.check_grad(f, gradient, X):.1e}"
        row(what, check_grad(f, gradient, X), drop_in, check_minimize(f, X, jac=gradient, rng=0))
    x = np.array([0.5, 1.0, 2.0])
    for what, last in (("sparse Jacobian, correct", 3.0), ("sparse Jacobian without an entry", 0.0)):
        jac = lambda x, last=last: jacobian(x, last)  # noqa: E731
        row(what, check_derivative(residuals, jac, x), "", check_least_squares(residuals, x, jac, rng=0))


def rosenbrock(size, theirs):
    x = np.random.default_rng(0).normal(size=size)
    started = time.perf_counter()
    report = check_minimize(rosen, x, jac=rosen_der, rng=0)
    seconds = time.perf_counter() - started
    print(f"Rosenbrock, n = {size:,}: {report.verdict}, bound {report.leaves[0].bound:.1e}, "
          f"{report.cost.evaluations} evaluations, {seconds:.2f} s")  # fmt: skip
    sparse_hessian(x)
    if theirs:
        started = time.perf_counter()
        error = check_grad(rosen, rosen_der, x)
        seconds = time.perf_counter() - started
        print(f"SciPy's check_grad:         returns {error:.3g}, {size + 1:,} evaluations, {seconds:.0f} s")


def sparse_hessian(x):
    """That of Rosenbrock's function, with one wrong entry on the diagonal."""
    middle = x.size // 2

    def hess(x, factor=1.0):
        diagonal = np.concatenate([[2.0], np.full(x.size - 2, 202.0), [200.0]])
        diagonal[:-1] += 1200 * x[:-1] ** 2 - 400 * x[1:]
        diagonal[middle] *= factor
        return diags_array([-400 * x[:-1], diagonal, -400 * x[:-1]], offsets=[-1, 0, 1]).tocsr()

    for what, factor in (("right", 1.0), ("one entry doubled", 2.0)):
        started = time.perf_counter()
        report = check_minimize(rosen, x, jac=rosen_der, hess=lambda x, c=factor: hess(x, c), rng=0)
        named = ", ".join([str(report.verdict), *(one.path for one in report.findings)])
        print(f"its sparse Hessian, {what}: {named}, {time.perf_counter() - started:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--ours-only", action="store_true", help="without SciPy's check_grad on Rosenbrock")
    options = parser.parse_args()
    blind_spots()
    rosenbrock(options.size, not options.ours_only)


if __name__ == "__main__":
    main()
