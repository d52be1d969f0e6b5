"""What `gradproof demo` computes: the course's two checks, by the course's rule and by gradproof.

Each function returns data; `gradproof._render` has the view.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import gradproof
from gradproof import course
from gradproof._progress import current, watching
from gradproof._render import Comparison, DemoResult, RuleStep
from gradproof._report import Report, Severity, Verdict

THRESHOLD = 1e-7
EPSILONS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)

Array = npt.NDArray[np.float64]
Gradients = dict[str, Array]


def run_demo(seed: int) -> DemoResult:
    """Run the three checks, all with the same seed, and the course's rule at several steps."""
    noise = rounding_noise()
    checks: list[Callable[[], Comparison]] = [
        lambda: one_dimensional(seed),
        lambda: network(course.backward_propagation_n_with_bugs, "network with two bugs", seed, {"W2": 2.0, "b1": 4.0}),
        lambda: network(course.backward_propagation_n, "network, fixed", seed, {}),
    ]
    comparisons: list[Comparison] = []
    with watching(None, "", started=time.perf_counter()):
        for number, run in enumerate(checks, 1):
            current().look(number=number, count=len(checks))
            comparisons.append(run())
    return DemoResult(
        comparisons=tuple(comparisons),
        steps=rule_at_steps(course.backward_propagation_n, EPSILONS, noise),
        noise=noise,
        seed=seed,
    )


def one_dimensional(seed: int) -> Comparison:
    """J = theta x at x = 2, theta = 4."""
    x, theta = 2.0, 4.0

    def cost(theta: float) -> float:
        return course.forward_propagation(x, theta)

    def claimed(theta: float) -> float:
        return course.backward_propagation(x, theta)

    difference = _quietly(course.gradient_check, x, theta)
    title = "1-D, J = theta x"
    report = gradproof.Case(cost, (theta,), grad=claimed, name=title).check(rng=seed)
    return Comparison(
        title=title,
        difference=difference,
        rule_accepts=difference < THRESHOLD,
        rule_evaluations=2,
        report=report,
        as_expected=report.verdict is Verdict.CORRECT,
    )


def network(
    backward: Callable[..., Gradients], title: str, seed: int, expected_factors: Mapping[str, float]
) -> Comparison:
    """The three-layer network with one of its backward passes; `expected_factors` are the planted mistakes."""
    X, Y, parameters = course.gradient_check_n_test_case()

    def cost(parameters: Mapping[str, Array]) -> float:
        return course.forward_propagation_n(X, Y, parameters)[0]

    def claimed(parameters: Mapping[str, Array]) -> Gradients:
        gradients = backward(X, Y, course.forward_propagation_n(X, Y, parameters)[1])
        return {name: gradients[f"d{name}"] for name in parameters}

    difference = _rule(backward, 1e-7)
    report = gradproof.Case(cost, (parameters,), grad=claimed, name=title).check(rng=seed)
    return Comparison(
        title=title,
        difference=difference,
        rule_accepts=difference <= THRESHOLD,
        rule_evaluations=2 * sum(leaf.size for leaf in parameters.values()),
        report=report,
        as_expected=names_exactly(report, expected_factors),
    )


def names_exactly(report: Report, factors: Mapping[str, float]) -> bool:
    """Whether `report` accuses the leaves in `factors`, each by its factor, and finds all others CORRECT.

    With no factors: whether the report is CORRECT.
    """
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    if not factors:
        return report.verdict is Verdict.CORRECT and not errors
    found = {finding.path: finding.factor for finding in errors}
    expected = {f"parameters['{name}']": value for name, value in factors.items()}
    return (
        report.verdict is Verdict.WRONG
        and len(errors) == len(found)
        and found.keys() == expected.keys()
        and all(math.isclose(found[path] or 0.0, value, rel_tol=1e-3) for path, value in expected.items())
        and all((leaf.verdict is Verdict.WRONG) == (leaf.path in expected) for leaf in report.leaves)
        and all(leaf.verdict in (Verdict.WRONG, Verdict.CORRECT) for leaf in report.leaves)
    )


def rule_at_steps(
    backward: Callable[..., Gradients], epsilons: tuple[float, ...], noise: float
) -> tuple[RuleStep, ...]:
    """The course's relative difference for one backward pass at several epsilons, and what noise alone would make it.

    A cost with rounding noise of standard deviation sigma gives each of the n difference quotients an error of
    sqrt(2) sigma / (2 epsilon), and so the relative difference sqrt(n / 2) sigma / epsilon / (2 norm(gradient)).
    """
    X, Y, parameters = course.gradient_check_n_test_case()
    gradients = backward(X, Y, course.forward_propagation_n(X, Y, parameters)[1])
    gradient = course.gradients_to_vector(gradients)
    per_noise = math.sqrt(gradient.size / 2) / (2 * float(np.linalg.norm(gradient)))
    return tuple(
        RuleStep(
            epsilon=epsilon,
            difference=difference,
            accepts=difference <= THRESHOLD,
            from_noise=per_noise * noise / epsilon,
        )
        for epsilon in epsilons
        for difference in (_rule(backward, epsilon),)
    )


def rounding_noise() -> float:
    """Standard deviation of the rounding noise of the network's cost when one parameter moves a little.

    From the sixth differences of 17 costs 1e-8 apart in each parameter, so close together that all smooth change
    cancels: their mean square is the noise's times binomial(12, 6) (Hamming, Numerical Methods for Scientists and
    Engineers, 1973; More and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011).
    """
    order, spacing = 6, 1e-8
    X, Y, parameters = course.gradient_check_n_test_case()
    theta, _ = course.dictionary_to_vector(parameters)
    perturbed = course.vector_to_dictionary(theta)
    squares: list[float] = []
    for i, original in enumerate(theta[:, 0].tolist()):
        costs: list[float] = []
        for step in range(-8, 9):
            theta[i] = original + step * spacing
            costs.append(course.forward_propagation_n(X, Y, perturbed)[0])
        theta[i] = original
        squares.append(float(np.mean(np.diff(costs, order) ** 2)))
    return math.sqrt(float(np.mean(squares)) / math.comb(2 * order, order))


def _rule(backward: Callable[..., Gradients], epsilon: float) -> float:
    X, Y, parameters = course.gradient_check_n_test_case()
    gradients = backward(X, Y, course.forward_propagation_n(X, Y, parameters)[1])
    return _quietly(course.gradient_check_n, parameters, gradients, X, Y, epsilon)


def _quietly(check: Callable[..., float], *args: Any) -> float:
    """Call one of the course's checks without the sentence that it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return check(*args)
