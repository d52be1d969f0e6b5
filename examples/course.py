"""The course's network as cases: `gradproof check examples/course.py` finds the two bugs and exits with 1."""

import gradproof
from gradproof import course

X, Y, parameters = course.gradient_check_n_test_case()


def cost(parameters):
    return course.forward_propagation_n(X, Y, parameters)[0]


def fixed(parameters):
    _, cache = course.forward_propagation_n(X, Y, parameters)
    gradients = course.backward_propagation_n(X, Y, cache)
    return {name: gradients["d" + name] for name in parameters}


def with_bugs(parameters):
    _, cache = course.forward_propagation_n(X, Y, parameters)
    gradients = course.backward_propagation_n_with_bugs(X, Y, cache)  # wrong on purpose: dW2 and db1
    return {name: gradients["d" + name] for name in parameters}


cases = {
    "with two bugs": gradproof.Case(cost, (parameters,), grad=with_bugs),
    "fixed": gradproof.Case(cost, (parameters,), grad=fixed),
}
