"""A check of a NumPy function leaves the global state of NumPy and Python as it was, whatever becomes of it."""

from __future__ import annotations

import contextlib
import decimal
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest

import gradproof
from gradproof import Case, FunctionError, Verdict
from helpers import snapshot

X = np.linspace(0.2, 1.4, 5)
MATRIX = np.diag(np.linspace(1.0, 2.0, 5)) + 0.1


def loss(x):
    return float(np.sum(np.sin(x)) + x @ MATRIX @ x)


def gradient(x):
    return np.cos(x) + (MATRIX + MATRIX.T) @ x


def halved(x):
    return gradient(x) / 2  # wrong on purpose


def kink(x):
    return float(np.sum(np.abs(x - X[0])))


def divides_by_zero(x):
    """Away from the point it overflows, is invalid, and divides by zero; at the point as well, if only inside."""
    np.divide(1.0, np.zeros(2))
    np.exp(np.full(2, 1e4))
    return float(np.sum(np.log(x)))


CHECKS = {
    "right": lambda: gradproof.check(loss, X, grad=gradient, rng=0),
    "wrong, located and named": lambda: gradproof.check(loss, X, grad=halved, rng=0),
    "entries": lambda: gradproof.check(loss, X, grad=gradient, level="entries", rng=0),
    "a kink": lambda: gradproof.check(kink, X, grad=np.sign(X - X[0]), rng=0),
    "floating-point errors": lambda: gradproof.check(divides_by_zero, X, grad=lambda x: 1 / x, rng=0),
    "jac": lambda: gradproof.check(np.sin, X, jac=lambda x: np.diag(np.cos(x)), rng=0),
    "vjp": lambda: gradproof.check(np.sin, X, vjp=lambda u, x: u * np.cos(x), rng=0),
    "jvp": lambda: gradproof.check(np.sin, X, jvp=lambda v, x: v * np.cos(x), rng=0),
    "hess": lambda: gradproof.check(
        loss, X, grad=gradient, hess=lambda x: MATRIX + MATRIX.T - np.diag(np.sin(x)), rng=0
    ),
    "complex": lambda: gradproof.check(lambda z: abs(z) ** 2, 1 + 2j, grad=lambda z: 2 * np.conj(z), rng=0),
    "a fresh seed": lambda: gradproof.check(loss, X, grad=gradient),
    "its text and its pages": lambda: [
        view(gradproof.check(loss, X, grad=halved, rng=0))
        for view in (str, lambda r: r.to_json(), lambda r: r.to_html())
    ],
    "an exception at the point": lambda: raised(FunctionError, gradproof.check, broken, X, grad=gradient, rng=0),
    "an exception of the claim": lambda: raised(
        gradproof.ClaimError, gradproof.check, loss, X, grad=lambda x: 1 / 0, rng=0
    ),
    "an exception of assert_grad": lambda: raised(
        gradproof.GradientError, gradproof.assert_grad, loss, X, grad=halved, rng=0
    ),
}


def broken(x):
    raise KeyError("on purpose")


def raised(error, function, *args, **kwargs):
    with pytest.raises(error):
        function(*args, **kwargs)


def of_everything():
    """The global state that a check might touch, with what generators keep for the next time."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "numpy": (kind, keys.tobytes(), *rest),
        "python": random.getstate(),
        "errors": (np.geterr(), np.geterrcall(), np.getbufsize()),
        "printing": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "recursion": sys.getrecursionlimit(),
        "switching": sys.getswitchinterval(),
        "decimal": repr(decimal.getcontext()),
        "streams": (sys.stdout, sys.stderr, *map(list, (vars(sys.stdout), vars(sys.stderr)))),
        "hooks": (sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile()),
    }


def note(kind, flag):
    """A handler of floating-point errors, for NumPy to keep."""


@pytest.fixture
def _unusual():
    """A state that nobody takes for the default one: a kept gauss in both generators, errors that are called."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(1), random.gauss(0.0, 1.0)
    np.random.seed(1), np.random.standard_normal()  # noqa: NPY002
    assert np.random.get_state()[3] == 1  # noqa: NPY002
    with np.errstate(divide="call", over="print", under="warn", invalid="log", call=note), np.printoptions(precision=3):
        yield
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002


@pytest.mark.usefixtures("_unusual", "fresh_seeds")  # one of them draws its seed
@pytest.mark.parametrize("kind", list(CHECKS))
def test_a_check_leaves_global_state_alone(kind):
    before, arrays = of_everything(), snapshot((X, MATRIX))
    CHECKS[kind]()
    after = of_everything()
    assert [name for name in before if before[name] != after[name]] == []
    assert snapshot((X, MATRIX)) == arrays


@pytest.mark.usefixtures("_unusual")
@pytest.mark.parametrize("call", [1, 2, 5, 20])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_a_check_that_is_broken_off_leaves_global_state_alone(call, error):
    """In f as well as in the claim, at the point and away from it."""
    before, arrays = of_everything(), snapshot(X)
    calls = []

    def count(value):
        calls.append(1)
        if len(calls) == call:
            raise error("on purpose")
        return value

    for f, claim in (
        (lambda x: count(loss(x)), gradient),
        (loss, lambda x: count(gradient(x))),
    ):
        calls.clear()
        with contextlib.suppress(KeyboardInterrupt, MemoryError, gradproof.GradproofError):
            gradproof.check(f, X, grad=claim, rng=0)
        after = of_everything()
        assert [name for name in before if before[name] != after[name]] == []
        assert snapshot(X) == arrays


@pytest.mark.usefixtures("_unusual")
def test_floating_point_errors_that_f_sets_end_with_it():
    """f's own `np.seterr` is not what the caller computes with afterwards."""
    before = of_everything()

    def f(x):
        np.seterr(all="raise")
        np.seterrcall(None)
        return loss(x)

    assert gradproof.check(f, X, grad=gradient, rng=0).verdict is Verdict.CORRECT
    assert of_everything() == before


@pytest.mark.usefixtures("_unusual")
def test_a_series_of_checks_leaves_global_state_alone():
    before = of_everything()
    for case in (Case(loss, X, grad=gradient, rng=0), Case(loss, X, grad=halved, rng=0)):
        case.check()
    assert of_everything() == before


@pytest.mark.usefixtures("fresh_seeds")
def test_a_seed_does_not_depend_on_global_generators():
    """Nor does a report: seeding them changes nothing."""
    texts = []
    for seed in (0, 1):
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed), random.seed(seed)  # noqa: NPY002
        texts.append(gradproof.check(loss, X, grad=halved, rng=3).to_json(run=False))
        fresh = [gradproof.check(loss, X, grad=gradient).seed for _ in range(2)]
        assert fresh[0] != fresh[1]
        np.random.set_state(state)  # noqa: NPY002
    assert texts[0] == texts[1]


def test_the_callers_generator_is_drawn_from_once():
    """`rng=` a generator: one seed is drawn, whatever the check does with it."""
    drawn, alone = np.random.default_rng(5), np.random.default_rng(5)
    seeds = [gradproof.check(loss, X, grad=claim, rng=drawn).seed for claim in (gradient, halved)]
    assert seeds[0] != seeds[1]
    again = [gradproof.check(loss, X, grad=gradient, rng=alone).seed for _ in range(2)]
    assert seeds == again
    assert drawn.bit_generator.state == alone.bit_generator.state


def test_the_first_text_of_a_process_leaves_global_state_alone():
    """rich draws from Python's generator when it is imported."""
    code = """
import random, sys
import gradproof

report = gradproof.check(lambda x: x**2, 1.0, grad=2.0, rng=0)
before = random.getstate()
str(report)
print(random.getstate() == before, "rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
