r"""The assignment "Gradient Checking" of the deeplearning.ai specialization, as published.

Names, argument orders, returned values and printed sentences are the assignment's, so that a notebook
written for it runs with these functions instead.
It is here as the classic rule to compare `gradproof.check` with; it imports nothing else of gradproof.

The rule spends two evaluations of the cost on each parameter, with one fixed step and one fixed threshold,
and it condemns the assignment's own correct network: the Notes of `gradient_check_n` say why.

The network is LINEAR -> RELU -> LINEAR -> RELU -> LINEAR -> SIGMOID under a cross-entropy cost.
In the shapes below, m is the number of examples and n the number of entries of all parameters together.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

__all__ = [
    "backward_propagation",
    "backward_propagation_n",
    "backward_propagation_n_with_bugs",
    "dictionary_to_vector",
    "forward_propagation",
    "forward_propagation_n",
    "gradient_check",
    "gradient_check_n",
    "gradient_check_n_test_case",
    "gradients_to_vector",
    "relative_difference",
    "relu",
    "sigmoid",
    "vector_to_dictionary",
]

Array = npt.NDArray[np.float64]
Cache = tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array, Array, Array, Array]

# The order of the names is the order of the blocks in every vector of parameters or gradients.
_SHAPES = {"W1": (5, 4), "b1": (5, 1), "W2": (3, 5), "b2": (3, 1), "W3": (1, 3), "b3": (1, 1)}
_THRESHOLD = 1e-7


def sigmoid(x: npt.ArrayLike) -> Array:
    """Compute the logistic function 1 / (1 + exp(-x)) of each entry.

    Parameters
    ----------
    x : array_like of float, any shape

    Returns
    -------
    ndarray of float64, shape of `x`

    Examples
    --------
    >>> print(sigmoid(0.0))
    0.5
    """
    return np.asarray(1 / (1 + np.exp(-np.asarray(x))))


def relu(x: npt.ArrayLike) -> Array:
    """Compute max(0, x) of each entry.

    Parameters
    ----------
    x : array_like of float, any shape

    Returns
    -------
    ndarray of float64, shape of `x`

    Examples
    --------
    >>> print(relu([-1.0, 2.0]))
    [0. 2.]
    """
    return np.asarray(np.maximum(0, x))


def forward_propagation(x: float, theta: float) -> float:
    """Compute the one-dimensional cost J = theta * x.

    Parameters
    ----------
    x : float
        The input.
    theta : float
        The parameter.

    Returns
    -------
    float
        J.

    Examples
    --------
    >>> forward_propagation(2, 4)
    8
    """
    return theta * x


def backward_propagation(x: float, theta: float) -> float:
    """Compute the derivative of J = theta * x by theta, which is x.

    Parameters
    ----------
    x : float
        The input.
    theta : float
        The parameter; unused, as in the assignment.

    Returns
    -------
    float
        dtheta.

    Examples
    --------
    >>> backward_propagation(2, 4)
    2
    """
    return x


def gradient_check(x: float, theta: float, epsilon: float = 1e-7) -> float:
    """Compare `backward_propagation` with a central difference of `forward_propagation`, and print the outcome.

    Parameters
    ----------
    x : float
        The input.
    theta : float
        The parameter.
    epsilon : float
        The absolute step in `theta`.

    Returns
    -------
    float
        The relative difference of the two; below 1e-7 it is printed that the gradient is correct.

    Examples
    --------
    >>> difference = gradient_check(2, 4)
    The gradient is correct!
    >>> print(f"{difference:.3e}")
    2.919e-10
    """
    J_plus = forward_propagation(x, theta + epsilon)
    J_minus = forward_propagation(x, theta - epsilon)
    gradapprox = (J_plus - J_minus) / (2 * epsilon)
    difference = relative_difference(backward_propagation(x, theta), gradapprox)
    print("The gradient is correct!" if difference < _THRESHOLD else "The gradient is wrong!")
    return difference


def forward_propagation_n(X: Array, Y: npt.ArrayLike, parameters: Mapping[str, Array]) -> tuple[float, Cache]:
    """Compute the cost of the three-layer network.

    Parameters
    ----------
    X : ndarray of float64, shape (inputs, m)
        The examples, one per column.
    Y : array_like of float or int, shape (m,) or (1, m)
        The labels, 0 or 1.
    parameters : mapping
        ``W1`` (5, 4), ``b1`` (5, 1), ``W2`` (3, 5), ``b2`` (3, 1), ``W3`` (1, 3) and ``b3`` (1, 1), all float64;
        layers of other sizes will do.

    Returns
    -------
    cost : float
        The cross-entropy, averaged over the examples.
    cache : tuple of ndarray
        ``(Z1, A1, W1, b1, Z2, A2, W2, b2, Z3, A3, W3, b3)``, for `backward_propagation_n`.

    Examples
    --------
    >>> cost, cache = forward_propagation_n(*gradient_check_n_test_case())
    >>> print(f"{cost:.3f}", cache[9].shape)
    2.408 (1, 3)
    """
    m = X.shape[1]
    W1, b1, W2, b2, W3, b3 = (parameters[name] for name in _SHAPES)

    Z1 = np.dot(W1, X) + b1
    A1 = relu(Z1)
    Z2 = np.dot(W2, A1) + b2
    A2 = relu(Z2)
    Z3 = np.dot(W3, A2) + b3
    A3 = sigmoid(Z3)

    labels = np.asarray(Y)
    logprobs = np.multiply(-np.log(A3), labels) + np.multiply(-np.log(1 - A3), 1 - labels)
    cost = 1.0 / m * np.sum(logprobs)
    return cost, (Z1, A1, W1, b1, Z2, A2, W2, b2, Z3, A3, W3, b3)


def backward_propagation_n(X: Array, Y: npt.ArrayLike, cache: Cache) -> dict[str, Array]:
    """Compute the gradient of the cost of `forward_propagation_n`, without the two bugs that the assignment planted.

    Parameters
    ----------
    X : ndarray of float64, shape (inputs, m)
        The examples, one per column.
    Y : array_like of float or int, shape (m,) or (1, m)
        The labels, 0 or 1.
    cache : tuple of ndarray
        What `forward_propagation_n` returned second.

    Returns
    -------
    dict of str to ndarray of float64
        ``dZ3, dW3, db3, dA2, dZ2, dW2, db2, dA1, dZ1, dW1, db1``, each of the shape of what it is named after.

    Examples
    --------
    >>> X, Y, parameters = gradient_check_n_test_case()
    >>> cost, cache = forward_propagation_n(X, Y, parameters)
    >>> print(*backward_propagation_n(X, Y, cache))
    dZ3 dW3 db3 dA2 dZ2 dW2 db2 dA1 dZ1 dW1 db1
    """
    m = X.shape[1]
    _, A1, _, _, _, A2, W2, _, _, A3, W3, _ = cache

    dZ3 = A3 - np.asarray(Y)
    dW3 = 1.0 / m * np.dot(dZ3, A2.T)
    db3 = 1.0 / m * np.sum(dZ3, axis=1, keepdims=True)

    dA2 = np.dot(W3.T, dZ3)
    dZ2 = np.multiply(dA2, np.int64(A2 > 0))
    dW2 = 1.0 / m * np.dot(dZ2, A1.T)
    db2 = 1.0 / m * np.sum(dZ2, axis=1, keepdims=True)

    dA1 = np.dot(W2.T, dZ2)
    dZ1 = np.multiply(dA1, np.int64(A1 > 0))
    dW1 = 1.0 / m * np.dot(dZ1, X.T)
    db1 = 1.0 / m * np.sum(dZ1, axis=1, keepdims=True)

    return {
        "dZ3": dZ3,
        "dW3": dW3,
        "db3": db3,
        "dA2": dA2,
        "dZ2": dZ2,
        "dW2": dW2,
        "db2": db2,
        "dA1": dA1,
        "dZ1": dZ1,
        "dW1": dW1,
        "db1": db1,
    }


def backward_propagation_n_with_bugs(X: Array, Y: npt.ArrayLike, cache: Cache) -> dict[str, Array]:
    """Compute the gradient with the two bugs of the assignment: dW2 is twice, db1 four times what it should be.

    Parameters
    ----------
    X : ndarray of float64, shape (inputs, m)
        The examples, one per column.
    Y : array_like of float or int, shape (m,) or (1, m)
        The labels, 0 or 1.
    cache : tuple of ndarray
        What `forward_propagation_n` returned second.

    Returns
    -------
    dict of str to ndarray of float64
        As `backward_propagation_n`.

    Examples
    --------
    >>> X, Y, parameters = gradient_check_n_test_case()
    >>> cost, cache = forward_propagation_n(X, Y, parameters)
    >>> right, wrong = backward_propagation_n(X, Y, cache), backward_propagation_n_with_bugs(X, Y, cache)
    >>> [name for name in right if not np.array_equal(right[name], wrong[name])]
    ['dW2', 'db1']
    """
    gradients = backward_propagation_n(X, Y, cache)
    gradients["dW2"] = gradients["dW2"] * 2  # wrong on purpose: dW2 is not doubled
    gradients["db1"] = 4.0 / X.shape[1] * np.sum(gradients["dZ1"], axis=1, keepdims=True)  # wrong on purpose: 1 / m
    return gradients


def gradient_check_n(
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    X: Array,
    Y: npt.ArrayLike,
    epsilon: float = 1e-7,
) -> float:
    r"""Compare `gradients` with central differences of the cost, entry by entry, and print the outcome.

    Parameters
    ----------
    parameters : mapping
        The point, as for `forward_propagation_n`.
    gradients : mapping
        What `backward_propagation_n` returned.
    X : ndarray of float64, shape (inputs, m)
        The examples, one per column.
    Y : array_like of float or int, shape (m,) or (1, m)
        The labels, 0 or 1.
    epsilon : float
        The absolute step, the same in every entry.

    Returns
    -------
    float
        The `relative_difference` of the two gradients. Above 1e-7, and for nan, it is printed that there is a mistake.

    Notes
    -----
    The correct `backward_propagation_n` is right to 1e-16, yet it scores 1.19e-7 and is told that it has a mistake.
    What it scores is rounding noise of the cost, divided by epsilon: the cost of 2.4 is computed with an error of
    about 2e-14 (one A3 is 0.9989, so that ``1 - A3`` loses three digits), and the difference of two such costs is
    divided by 2e-7. A smaller epsilon has more noise (1.2e-6 at 1e-8), a larger one less (8e-9 at 1e-6) until the
    truncation error takes over (1.7e-8 at 1e-3). No fixed pair of step and threshold is right for every function.
    Later editions of the assignment raised the threshold to 2e-7, just above this score; here it stays as first
    published, because this is what `gradproof.check` cures.

    The score is relative to the norm of all gradients together, so that a wrong small one hides behind a large one.

    The cost is evaluated exactly 2 n times. Each time one entry of a private copy of the parameters is perturbed in
    place and then put back, where the assignment copied the whole vector: the work beside the evaluations is O(n), and
    the caller's arrays are never written to.

    Examples
    --------
    >>> import contextlib, io
    >>> X, Y, parameters = gradient_check_n_test_case()
    >>> cost, cache = forward_propagation_n(X, Y, parameters)
    >>> gradients = backward_propagation_n_with_bugs(X, Y, cache)
    >>> with contextlib.redirect_stdout(io.StringIO()) as printed:
    ...     difference = gradient_check_n(parameters, gradients, X, Y)
    >>> print(f"{difference:.9f}")
    0.285093157
    >>> printed.getvalue().startswith("\033[93mThere is a mistake in the backward propagation! difference = 0.285")
    True
    """
    grad = gradients_to_vector(gradients)
    theta = dictionary_to_vector(parameters)[0].astype(np.float64)  # a step of 1e-7 is lost on int and float32
    perturbed = vector_to_dictionary(theta, {name: np.shape(parameters[name]) for name in _SHAPES})  # views of theta
    gradapprox = np.zeros_like(theta)
    for i, original in enumerate(theta[:, 0].tolist()):
        theta[i] = original + epsilon
        J_plus, _ = forward_propagation_n(X, Y, perturbed)
        theta[i] = original - epsilon
        J_minus, _ = forward_propagation_n(X, Y, perturbed)
        theta[i] = original
        gradapprox[i] = (J_plus - J_minus) / (2 * epsilon)

    difference = relative_difference(grad, gradapprox)
    if difference <= _THRESHOLD:
        print(f"\033[92mYour backward propagation works perfectly fine! difference = {difference}\033[0m")
    else:  # nan too, which the assignment calls perfectly fine, as it asks `difference > 1e-7`
        print(f"\033[93mThere is a mistake in the backward propagation! difference = {difference}\033[0m")
    return difference


def dictionary_to_vector(parameters: Mapping[str, Array]) -> tuple[Array, list[str]]:
    """Copy the six parameters into one column, in the order W1, b1, W2, b2, W3, b3.

    Parameters
    ----------
    parameters : mapping
        As for `forward_propagation_n`; any shapes.

    Returns
    -------
    theta : ndarray, shape (n, 1)
        A copy.
    keys : list of str, length n
        The name of the parameter that each entry belongs to.

    Examples
    --------
    >>> theta, keys = dictionary_to_vector(gradient_check_n_test_case()[2])
    >>> print(theta.shape, keys[19:22])
    (47, 1) ['W1', 'b1', 'b1']
    """
    keys = [name for name in _SHAPES for _ in range(np.size(parameters[name]))]
    return np.concatenate([np.reshape(parameters[name], (-1, 1)) for name in _SHAPES]), keys


def vector_to_dictionary(theta: Array, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Array]:
    """Name the blocks of a column of parameters: the inverse of `dictionary_to_vector`.

    Parameters
    ----------
    theta : ndarray, shape (n, 1) or (n,)
        The blocks in the order W1, b1, W2, b2, W3, b3.
    shapes : mapping of str to tuple of int, optional
        The shape of each of the six; None means those of the assignment, where n is 47.

    Returns
    -------
    dict of str to ndarray
        Views of `theta` where it is contiguous: nothing is copied.

    Raises
    ------
    ValueError
        If `theta` has not as many entries as the shapes need.

    Examples
    --------
    >>> parameters = vector_to_dictionary(np.arange(47.0).reshape(47, 1))
    >>> print(parameters["b1"].T)
    [[20. 21. 22. 23. 24.]]
    """
    shapes = _SHAPES if shapes is None else shapes
    sizes = [int(np.prod(shapes[name], dtype=np.int64)) for name in _SHAPES]
    if np.size(theta) != sum(sizes):
        raise ValueError(f"`theta` must have {sum(sizes)} entries for these shapes, got {np.size(theta)}.")
    blocks = np.split(np.reshape(theta, -1), np.cumsum(sizes)[:-1])
    return {name: block.reshape(shapes[name]) for name, block in zip(_SHAPES, blocks, strict=True)}


def gradients_to_vector(gradients: Mapping[str, Array]) -> Array:
    """Copy the gradients of the six parameters into one column, in the order dW1, db1, dW2, db2, dW3, db3.

    Parameters
    ----------
    gradients : mapping
        What `backward_propagation_n` returned; the other entries of it are left out.

    Returns
    -------
    ndarray, shape (n, 1)
        A copy.

    Examples
    --------
    >>> X, Y, parameters = gradient_check_n_test_case()
    >>> gradients = backward_propagation_n(X, Y, forward_propagation_n(X, Y, parameters)[1])
    >>> gradients_to_vector(gradients).shape
    (47, 1)
    """
    return np.concatenate([np.reshape(gradients["d" + name], (-1, 1)) for name in _SHAPES])


def relative_difference(grad: npt.ArrayLike, gradapprox: npt.ArrayLike) -> float:
    """Compute ||grad - gradapprox|| / (||grad|| + ||gradapprox||), in the Euclidean norm.

    Parameters
    ----------
    grad, gradapprox : array_like of float, any shapes of one size
        The entries are compared in order, so that (n,) and (n, 1) go together.

    Returns
    -------
    float
        Between 0 (equal) and 1 (opposite, or one of them zero). Zero against zero is 0, not nan.

    Raises
    ------
    ValueError
        If the two have not the same number of entries.

    Examples
    --------
    >>> relative_difference([3.0, 4.0], [3.0, 4.0])
    0.0
    >>> relative_difference([0.0, 0.0], [3.0, 4.0])
    1.0
    >>> relative_difference(0.0, 0.0)
    0.0
    """
    a, b = np.ravel(grad), np.ravel(gradapprox)
    if a.size != b.size:
        raise ValueError(f"`grad` and `gradapprox` must have as many entries as each other, got {a.size} and {b.size}.")
    # A power of two common to both cancels without rounding, and keeps the squares from over- and underflow.
    _, exponent = np.frexp(max(np.max(np.abs(a), initial=0.0), np.max(np.abs(b), initial=0.0)))
    a, b = np.ldexp(a, -exponent), np.ldexp(b, -exponent)
    denominator = np.linalg.norm(a) + np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / denominator) if denominator != 0 else 0.0


def gradient_check_n_test_case() -> tuple[Array, npt.NDArray[np.int64], dict[str, Array]]:
    """Draw the data and the parameters of the assignment, the same at every call.

    NumPy's legacy generator with seed 1 draws them in the published order; the global state is not touched.

    Returns
    -------
    X : ndarray of float64, shape (4, 3)
        Three examples.
    Y : ndarray of int64, shape (3,)
        Their labels.
    parameters : dict of str to ndarray of float64
        ``W1`` (5, 4), ``b1`` (5, 1), ``W2`` (3, 5), ``b2`` (3, 1), ``W3`` (1, 3) and ``b3`` (1, 1).

    Examples
    --------
    >>> X, Y, parameters = gradient_check_n_test_case()
    >>> print(X.shape, Y, *parameters)
    (4, 3) [1 1 0] W1 b1 W2 b2 W3 b3
    """
    random = np.random.RandomState(1)
    X = random.randn(4, 3)
    Y = np.array([1, 1, 0], dtype=np.int64)
    return X, Y, {name: random.randn(*shape) for name, shape in _SHAPES.items()}
