"""The course's network, trained and guarded: `python examples/train.py`.

The first step is checked as a whole, and the gradient is looked at every 50 steps after that. With the published bugs
the guard stops at once, or at the next look if they come later. Without them the network learns to the end.
"""

import numpy as np

import gradproof
from gradproof import course


def data(count=200):
    """Points of two classes, on both sides of a curved surface, in four features."""
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (4, count))
    return x, (x[0] + x[1] ** 2 > x[2] + 0.3).astype(int)


def start():
    """Parameters of the shapes of the course's network."""
    random = np.random.default_rng(1)
    return {
        name: 0.5 * random.normal(size=value.shape) for name, value in course.gradient_check_n_test_case()[2].items()
    }


def train(steps=1000, *, bugs_from=None, rate=0.5, every=50):
    """Train by gradient descent, with the published bugs from some step on; return the costs and the guard."""
    X, Y = data()
    parameters, step = start(), 0

    def cost(parameters):
        return course.forward_propagation_n(X, Y, parameters)[0]

    def backward(parameters):
        _, cache = course.forward_propagation_n(X, Y, parameters)
        is_wrong = bugs_from is not None and step >= bugs_from
        rule = course.backward_propagation_n_with_bugs if is_wrong else course.backward_propagation_n
        gradients = rule(X, Y, cache)
        return {name: gradients["d" + name] for name in parameters}

    # (A step takes so little that probes may take several times as long, lest they be rare.)
    gradient = gradproof.guard(cost, backward, every=every, budget=10.0, rng=0)
    costs = []
    for step in range(1, steps + 1):  # noqa: B007  (`backward` looks at it)
        costs.append(cost(parameters))
        gradients = gradient(parameters)
        parameters = {name: parameters[name] - rate * gradients[name] for name in parameters}
    gradient.off()
    return costs, gradient


def main():
    for bugs_from in (1, 300):
        try:
            train(bugs_from=bugs_from)
        except gradproof.GradientError as error:
            places = ", ".join(finding.path for finding in error.report.findings)
            print(f"bugs from step {bugs_from}: stopped, {places} wrong")
    costs, gradient = train()
    print(f"without bugs: {len(costs)} steps, cost from {costs[0]:.3f} to {costs[-1]:.3f}")
    print(gradient)


if __name__ == "__main__":
    main()
