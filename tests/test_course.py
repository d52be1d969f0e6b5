"""`gradproof.course` is the assignment as published: its figures, its sentences, and two evaluations per parameter."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gradproof import course

NAMES = ("W1", "b1", "W2", "b2", "W3", "b3")
WRONG_SENTENCE = "\033[93mThere is a mistake in the backward propagation! difference = {}\033[0m\n"
RIGHT_SENTENCE = "\033[92mYour backward propagation works perfectly fine! difference = {}\033[0m\n"


@pytest.fixture
def assignment():
    return course.gradient_check_n_test_case()


def other_network(inputs=2, hidden=(7, 3), outputs=1, examples=5):
    """Draw data and parameters for layers of sizes that are not the assignment's."""
    rng = np.random.default_rng(3)
    sizes = (inputs, *hidden, outputs)
    parameters = {}
    for layer in (1, 2, 3):
        parameters[f"W{layer}"] = 0.5 * rng.normal(size=(sizes[layer], sizes[layer - 1]))
        parameters[f"b{layer}"] = 0.5 * rng.normal(size=(sizes[layer], 1))
    return rng.normal(size=(inputs, examples)), rng.integers(0, 2, size=examples), parameters


def gradients_of(backward, X, Y, parameters):
    _, cache = course.forward_propagation_n(X, Y, parameters)
    return backward(X, Y, cache)


def snapshot(*trees):
    """The bytes of every array, to compare bit for bit."""
    arrays = [a for tree in trees for a in (tree.values() if isinstance(tree, dict) else [tree])]
    return [a.tobytes() for a in arrays]


@pytest.fixture
def count_forwards(monkeypatch):
    """A list that grows by one with every call of `forward_propagation_n`."""
    calls, forward = [], course.forward_propagation_n

    def counted(X, Y, parameters):
        calls.append(None)
        return forward(X, Y, parameters)

    monkeypatch.setattr(course, "forward_propagation_n", counted)
    return calls


def test_published_figures_in_one_dimension(capsys):
    """x = 2 and theta = 4 give J = 8, dtheta = 2 and the published difference to the last digit."""
    assert course.forward_propagation(2, 4) == 8
    assert course.backward_propagation(2, 4) == 2
    assert course.gradient_check(2, 4) == 2.919335883291695e-10
    assert capsys.readouterr().out == "The gradient is correct!\n"


def test_a_wrong_derivative_in_one_dimension_is_called_wrong(capsys, monkeypatch):
    """The 1-D check says so when the derivative is another one."""
    monkeypatch.setattr(course, "backward_propagation", lambda x, theta: theta)  # wrong on purpose
    assert course.gradient_check(2, 4) == pytest.approx(1 / 3)
    assert capsys.readouterr().out == "The gradient is wrong!\n"


def test_published_figure_with_the_bugs(assignment, capsys):
    """The network with the planted bugs scores the published 0.2850931567761624, and is called wrong."""
    X, Y, parameters = assignment
    gradients = gradients_of(course.backward_propagation_n_with_bugs, X, Y, parameters)
    difference = course.gradient_check_n(parameters, gradients, X, Y)
    assert difference == pytest.approx(0.2850931567761624, abs=0.5e-9)
    assert capsys.readouterr().out == WRONG_SENTENCE.format(difference)


def test_published_figure_without_the_bugs(assignment, capsys):
    """The correct network scores the published 1.1885552035482147e-07, and so fails the rule of 1e-7."""
    X, Y, parameters = assignment
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    difference = course.gradient_check_n(parameters, gradients, X, Y)
    assert difference == pytest.approx(1.1885552035482147e-07, rel=0.02)
    assert capsys.readouterr().out == WRONG_SENTENCE.format(difference)


def test_the_score_of_the_correct_network_is_noise_divided_by_epsilon(assignment, capsys):
    """With ever smaller steps the correct gradient scores ten times worse for each, and at a larger step it passes."""
    X, Y, parameters = assignment
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    scores = [course.gradient_check_n(parameters, gradients, X, Y, epsilon) for epsilon in (1e-5, 1e-6, 1e-7, 1e-8)]
    assert np.diff(np.log10(scores)) == pytest.approx(1, abs=0.3)
    assert capsys.readouterr().out.startswith(RIGHT_SENTENCE.format(scores[0]))


def test_the_two_bugs_are_a_factor_of_two_and_one_of_four(assignment):
    """The planted bugs change dW2 and db1 by exactly these factors, and nothing else."""
    right = gradients_of(course.backward_propagation_n, *assignment)
    wrong = gradients_of(course.backward_propagation_n_with_bugs, *assignment)
    assert list(right) == list(wrong) == ["dZ3", "dW3", "db3", "dA2", "dZ2", "dW2", "db2", "dA1", "dZ1", "dW1", "db1"]
    factors = {"dW2": 2, "db1": 4}
    for name, value in right.items():
        np.testing.assert_array_equal(wrong[name], factors.get(name, 1) * value)


def test_the_test_case_is_the_published_one_and_leaves_the_global_state():
    """Seed 1 is drawn in the published order, from a generator of its own."""
    before = np.random.get_state()  # noqa: NPY002 - it is the global state that is asked about
    X, Y, parameters = course.gradient_check_n_test_case()
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_equal(after, before)

    stream = np.random.RandomState(1).randn(12 + 47)
    np.testing.assert_array_equal(X.ravel(), stream[:12])
    np.testing.assert_array_equal(course.dictionary_to_vector(parameters)[0].ravel(), stream[12:])
    assert X.shape == (4, 3)
    assert Y.tolist() == [1, 1, 0]
    assert tuple(parameters) == NAMES
    assert [p.shape for p in parameters.values()] == [(5, 4), (5, 1), (3, 5), (3, 1), (1, 3), (1, 1)]


def test_the_cost_and_the_cache_are_the_published_formulas(assignment):
    """The cost is the mean cross-entropy of A3, and the cache has the twelve arrays in the published order."""
    X, Y, parameters = assignment
    cost, cache = course.forward_propagation_n(X, Y, parameters)
    Z1, A1, W1, b1, Z2, A2, W2, b2, Z3, A3, W3, b3 = cache
    for name, value in zip(NAMES, (W1, b1, W2, b2, W3, b3), strict=True):
        assert value is parameters[name]
    np.testing.assert_array_equal(A1, np.where(Z1 > 0, Z1, 0))
    np.testing.assert_array_equal(A2, np.where(Z2 > 0, Z2, 0))
    np.testing.assert_allclose(np.log(A3 / (1 - A3)), Z3, rtol=1e-12)
    assert cost == pytest.approx(-np.mean(np.log(np.where(Y == 1, A3, 1 - A3))), rel=1e-14)


def test_exactly_two_evaluations_per_parameter(assignment, count_forwards):
    """The check calls the forward propagation 2 n times: 94 for the 47 parameters."""
    X, Y, parameters = assignment
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    count_forwards.clear()
    course.gradient_check_n(parameters, gradients, X, Y)
    assert len(count_forwards) == 2 * 47


def test_each_evaluation_moves_one_entry_and_the_others_are_put_back(assignment, monkeypatch):
    """The points visited are the point plus and minus epsilon in one entry after the other, to the bit."""
    X, Y, parameters = assignment
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    visited, forward = [], course.forward_propagation_n

    def recorded(X, Y, parameters):
        visited.append(course.dictionary_to_vector(parameters)[0])
        return forward(X, Y, parameters)

    monkeypatch.setattr(course, "forward_propagation_n", recorded)
    course.gradient_check_n(parameters, gradients, X, Y, 1e-4)
    expected = []
    for i in range(47):
        for step in (1e-4, -1e-4):
            theta = course.dictionary_to_vector(parameters)[0]
            theta[i] += step
            expected.append(theta)
    np.testing.assert_array_equal(visited, expected)


@pytest.mark.parametrize("backward", [course.backward_propagation_n, course.backward_propagation_n_with_bugs])
def test_no_argument_is_changed(assignment, backward):
    """Data, parameters, cache and gradients are bit for bit what they were; read-only ones will do."""
    X, Y, parameters = assignment
    gradients = gradients_of(backward, X, Y, parameters)
    for a in (X, Y, *parameters.values(), *gradients.values()):
        a.setflags(write=False)
    before = snapshot(X, Y, parameters, gradients)
    course.gradient_check_n(parameters, gradients, X, Y)
    assert snapshot(X, Y, parameters, gradients) == before


def test_no_argument_is_changed_when_the_cost_raises(assignment, monkeypatch):
    """An exception in the middle of the loop leaves data, parameters and gradients bit for bit as they were."""
    X, Y, parameters = assignment
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    before, left, forward = snapshot(X, Y, parameters, gradients), iter(range(20)), course.forward_propagation_n

    def failing(X, Y, parameters):
        if next(left, None) is None:
            raise RuntimeError("planted")
        return forward(X, Y, parameters)

    monkeypatch.setattr(course, "forward_propagation_n", failing)
    with pytest.raises(RuntimeError, match="planted"):
        course.gradient_check_n(parameters, gradients, X, Y)
    assert snapshot(X, Y, parameters, gradients) == before


@pytest.mark.parametrize(
    "sizes", [{}, {"inputs": 1, "hidden": (1, 1)}, {"outputs": 2, "examples": 1}, {"hidden": (4, 0)}]
)
def test_networks_of_other_sizes(sizes, count_forwards):
    """The shapes are those of the parameters: the right gradient scores below 1e-6 and a doubled one far above."""
    X, Y, parameters = other_network(**sizes)
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    count_forwards.clear()
    assert course.gradient_check_n(parameters, gradients, X, Y) < 1e-6
    assert len(count_forwards) == 2 * sum(p.size for p in parameters.values())
    gradients["db3"] = 2 * gradients["db3"]  # wrong on purpose
    assert course.gradient_check_n(parameters, gradients, X, Y) > 1e-2


def test_parameters_of_float32_are_moved_in_float64(assignment):
    """A step of 1e-7 is below the resolution of float32, so the private copy is of float64."""
    X, Y, parameters = assignment
    parameters = {name: p.astype(np.float32) for name, p in parameters.items()}
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    assert course.gradient_check_n(parameters, gradients, X, Y) < 1e-6


def test_a_gradient_of_nan_is_a_mistake(assignment, capsys):
    """nan is neither below nor above the threshold, and must not be called perfectly fine."""
    X, Y, parameters = assignment
    gradients = gradients_of(course.backward_propagation_n, X, Y, parameters)
    gradients["dW1"] = np.full((5, 4), np.nan)  # wrong on purpose
    assert np.isnan(course.gradient_check_n(parameters, gradients, X, Y))
    assert capsys.readouterr().out == WRONG_SENTENCE.format("nan")


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_column_goes_back_to_the_same_dictionary(shuffled):
    """dictionary_to_vector and vector_to_dictionary are inverse, whatever order the dictionary was written in."""
    _, _, parameters = other_network()
    if shuffled:
        parameters = dict(reversed(parameters.items()))
    theta, keys = course.dictionary_to_vector(parameters)
    assert theta.shape == (len(keys), 1)
    assert keys == [name for name in NAMES for _ in range(parameters[name].size)]
    back = course.vector_to_dictionary(theta, {name: p.shape for name, p in parameters.items()})
    assert tuple(back) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(back[name], parameters[name])
    assert not any(np.shares_memory(theta, p) for p in parameters.values())


def test_vector_to_dictionary_copies_nothing(assignment):
    """With the assignment's shapes too, the blocks are views: a change of the column is seen in them."""
    theta, _ = course.dictionary_to_vector(assignment[2])
    parameters = course.vector_to_dictionary(theta)
    theta[20] = 7.0
    assert parameters["b1"][0, 0] == 7.0


def test_a_column_of_the_wrong_length_is_refused():
    """The message says how many entries are needed and how many there are."""
    with pytest.raises(ValueError, match="`theta` must have 47 entries for these shapes, got 46"):
        course.vector_to_dictionary(np.zeros((46, 1)))


def test_gradients_are_laid_out_like_parameters(assignment):
    """The column of gradients has dW1, db1, dW2, db2, dW3, db3 in this order."""
    gradients = gradients_of(course.backward_propagation_n, *assignment)
    renamed = {name: gradients["d" + name] for name in NAMES}
    np.testing.assert_array_equal(course.gradients_to_vector(gradients), course.dictionary_to_vector(renamed)[0])


@pytest.mark.parametrize("shape", [(), (3,), (3, 1), (0,)])
def test_zero_against_zero_is_zero(shape):
    """Two zero gradients agree, also when there are no entries at all."""
    assert course.relative_difference(np.zeros(shape), np.zeros(shape)) == 0.0


def test_tiny_and_huge_gradients_do_not_vanish_in_their_squares():
    """Entries whose squares underflow or overflow are compared like others."""
    assert course.relative_difference([1e-200], [-1e-200]) == 1.0
    assert course.relative_difference([3e200, 0.0], [1e200, 0.0]) == pytest.approx(0.5)
    assert course.relative_difference([5e-324], [0.0]) == 1.0


def test_sizes_that_differ_are_refused():
    """(n,) and (n, 1) are compared entry by entry, other sizes not at all."""
    assert course.relative_difference(np.ones(3), np.ones((3, 1))) == 0.0
    with pytest.raises(ValueError, match="got 3 and 1"):
        course.relative_difference(np.ones(3), np.ones(1))


FLOATS = st.floats(-1e100, 1e100)
PAIRS = st.integers(1, 6).flatmap(lambda n: st.tuples(*[npst.arrays(np.float64, n, elements=FLOATS)] * 2))


@given(pair=PAIRS, exponent=st.integers(-200, 200))
def test_the_relative_difference_is_symmetric_bounded_and_without_scale(pair, exponent):
    """It is the same for (a, b) and (b, a), lies in [0, 1] up to rounding, and ignores a common factor."""
    a, b = pair
    difference = course.relative_difference(a, b)
    assert course.relative_difference(b, a) == difference
    assert 0 <= difference <= 1 + 1e-15
    scale = 2.0**exponent
    if np.array_equal(a * scale / scale, a) and np.array_equal(b * scale / scale, b):  # nothing underflowed
        assert course.relative_difference(a * scale, b * scale) == difference


@given(a=npst.arrays(np.float64, npst.array_shapes(min_side=0), elements=FLOATS))
def test_the_relative_difference_of_equals_is_zero_and_of_opposites_one(a):
    """Equal gradients score 0, opposite ones 1 unless they are zero."""
    assert course.relative_difference(a, a) == 0.0
    assert course.relative_difference(a, -a) == pytest.approx(float(np.any(a)), rel=1e-15)


def test_the_elementary_functions():
    """sigmoid(z) + sigmoid(-z) = 1, sigmoid(0) = 1/2, and relu keeps the positive part."""
    z = np.linspace(-30, 30, 13)
    np.testing.assert_allclose(course.sigmoid(z) + course.sigmoid(-z), 1, rtol=1e-15)
    assert course.sigmoid(0.0) == 0.5
    np.testing.assert_array_equal(course.relu(z), np.where(z > 0, z, 0))


def test_the_module_imports_nothing_of_gradproof_but_its_package():
    """The published rule must not lean on what it is compared with."""
    source = (
        f"import runpy, sys; runpy.run_path({course.__file__!r}); print(*(m for m in sys.modules if 'gradproof' in m))"
    )
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
