"""What a claim returned is kept in a journal, as long as nothing that it depends on has changed."""

from __future__ import annotations

import dataclasses
import functools as ft
import itertools
import math
import operator
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.special
from scipy.sparse.linalg import spsolve

import workers
from gradproof import UsageError, Verdict, check
from gradproof._run._identity import identity
from gradproof._run._values import decoded, encoded
from test_ask_and_tell import QUESTIONS
from workers import X, layer, loss, wrong_cos

SCRIPT = pathlib.Path(__file__).with_name("journalled_claim.py")
GLOBAL = np.arange(3.0)
SPARSE = scipy.sparse.csr_array(np.eye(30))


def text(report):
    return report.to_json(run=False)


def made(source, **known):
    """The `f` of a module of its own."""
    space = {"np": np, "__name__": "made", **known}
    exec(source, space)
    return space["f"]


# -------------------------------------------------------------------------------------------------------- identity


class Adjoint:
    """An object with a method."""

    scale = 2.0

    def __init__(self, weights):
        self.weights = weights

    def grad(self, x):
        return self.inner(x) * self.scale

    def inner(self, x):
        return self.weights * x


@dataclasses.dataclass
class Settings:
    weight: float = 2.0

    def grad(self, x):
        return self.weight * np.cos(x)


def uses_globals(x):
    return GLOBAL * helper(x)


def helper(x):
    try:
        return [math.sin(float(one)) for one in x]
    except ValueError as error:
        raise RuntimeError from error


def closure(weights, function=np.cos):
    return lambda x: weights * function(x)


def solves(x):
    return spsolve(SPARSE.tocsc(), scipy.linalg.solve(np.eye(30), x)) + scipy.special.expit(x)


KNOWN = {
    "ufunc": np.cos,
    "function of NumPy": np.linalg.norm,
    "lambda": lambda x: 2 * x,
    "globals": uses_globals,
    "closure": closure(np.ones(3)),
    "method": Adjoint(np.ones(3)).grad,
    "object": Settings().grad,
    "partial": ft.partial(workers.slow_cos, rounds=3),
    "solver": solves,
    "generator": lambda x: sum(a * b for a, b in itertools.pairwise(x) if operator.gt(a, b)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_depends_on_nothing_else_has_an_identity(name):
    assert identity(KNOWN[name], (X,)) == identity(KNOWN[name], (X.copy(),)) != ""
    assert identity(KNOWN[name], (X,)) != identity(KNOWN[name], (X + 1e-16 * X,))


def test_an_identity_is_the_same_in_another_process(tmp_path):
    """Where sets have another order, and modules are compiled already."""
    code = "import test_kept_claims as t\nprint(*(t.identity(t.KNOWN[name], (t.X,)) for name in t.KNOWN))"
    found = set()
    for seed in ("1", "2"):
        folders = [str(SCRIPT.parent), *sys.path]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(folders)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert not done.returncode, done.stderr
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().split()) == len(KNOWN)


def with_default(value):
    def f(x, factor=value, *, other=1):
        return factor * x

    return f


def with_keyword(value):
    def f(x, *, factor=value):
        return factor * x

    return f


def with_helper(power):
    return made(f"def g(x):\n    return x**{power}\ndef f(x):\n    return g(x)")


def with_module(power):
    module = types.ModuleType("mine")
    module.g = made(f"def f(x):\n    return x**{power}")
    return made("def f(x):\n    return mine.g(x)", mine=module)


def with_method(power):
    return made(f"class A:\n    def g(self, x):\n        return x**{power}\n\ndef f(x, a=A()):\n    return a.g(x)")


def with_base(power):
    classes = f"class A:\n    def g(self, x):\n        return x**{power}\nclass B(A): pass\n"
    return made(f"{classes}def f(x, a=B()):\n    return a.g(x)")


def with_inner(power):
    return made(f"def f(x):\n    def g(y):\n        return y**{power}\n    return g(x)")


def with_handler(name):
    return made(f"def f(x):\n    try:\n        return x[9]\n    except {name}:\n        return x")


def entry(k):
    weights = np.ones(3)
    weights[2] += k * 1e-15
    return weights


CHANGED = {
    "constant": lambda k: made(f"def f(x):\n    return {k}.5 * x"),
    "operation": lambda k: made(f"def f(x):\n    return x {'+-*'[k]} 2"),
    "default": with_default,
    "keyword": with_keyword,
    "function that is called": with_helper,
    "function of a module that is called": with_module,
    "method": with_method,
    "method of a base": with_base,
    "inner function": with_inner,
    "exception that is caught": lambda k: with_handler(("IndexError", "KeyError")[k]),
    "function of NumPy": lambda k: made(f"def f(x):\n    return np.{('cos', 'sin')[k]}(x)"),
    "an entry of an array in a closure": lambda k: closure(entry(k)),
    "a function in a closure": lambda k: closure(1.0, (np.cos, np.sin)[k]),
    "an attribute": lambda k: Adjoint(entry(k)).grad,
    "an attribute of a dataclass": lambda k: Settings(weight=2.0 + k).grad,
    "arguments of a partial": lambda k: ft.partial(workers.slow_cos, rounds=k),
    "a number in a global": lambda k: made("def f(x):\n    return scale * x", scale=float(k)),
    "a global of a set": lambda k: made("def f(x):\n    return [one for one in x if one in allowed]", allowed={"a", k}),
    "the layout of an array": lambda k: closure((np.ones((3, 3)), np.ones((3, 3)).T.copy().T)[k]),
    "zeros of two signs": lambda k: closure((0.0, -0.0)[k]),
    "a type": lambda k: closure((1, 1.0)[k]),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_a_claim_depends_on_changes_its_identity(what):
    one, same, other = (identity(CHANGED[what](k)) for k in (0, 0, 1))
    assert one == same != ""
    assert other not in ("", one)


def test_comments_do_not():
    assert identity(made("def f(x):\n    return 2 * x")) == identity(made("def f(x):\n    # twice\n\n    return 2 * x"))


def imports(x):
    import time

    return x * time.time()


def cached():
    @ft.lru_cache
    def f(x):
        return x

    return f


def through(value):
    return lambda x: value


UNSEEN = {
    "a file": lambda path: np.load(path),
    "a file of text": lambda path: np.loadtxt(path),
    "open": lambda path: open(path).read(),  # noqa: SIM115
    "a clock": lambda x: x * time.time(),
    "an import": imports,
    "random numbers": lambda x: x * np.random.rand(),  # noqa: NPY002
    "those of Python": lambda x: x * random.random(),
    "a generator": through(np.random.default_rng(0)),
    "another program": lambda x: subprocess.run(["true"]),
    "the environment": lambda x: x * float(os.environ["HOME"]),
    "whatever text says": lambda x: eval("x"),
    "a name made at run time": lambda x: getattr(np, "lo" + "ad")(x),
    "a module by itself": lambda x, m=np: m.load(x),
    "a module in a closure": through(np),
    "a lock": through(threading.Lock()),
    "a cache": cached(),
    "an array on disk": lambda x: np.memmap(x),
    "an array of objects": through(np.array([None])),
    "an iterator": through(iter([1])),
    "compiled code": through(sqlite3.connect),
    "today": lambda x: np.datetime64("now"),
    "a random sparse matrix": lambda x: scipy.sparse.random(3, 3),
    "a name that is not there": lambda x: missing(x),  # noqa: F821
}


@pytest.mark.parametrize("what", UNSEEN)
def test_what_may_change_unseen_has_no_identity(what):
    assert identity(UNSEEN[what]) == ""
    assert identity(lambda x: UNSEEN[what](x)) == ""
    assert identity(Adjoint(UNSEEN[what]).grad) == ""
    assert identity(np.cos, (X, UNSEEN[what])) == ""


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_frameworks_have_none(framework):
    module = pytest.importorskip(framework)
    array = module.tensor(X) if framework == "torch" else module.numpy.asarray(X)
    assert identity(through(array)) == identity(through(module.vmap)) == ""


# --------------------------------------------------------------------------------------------------------- journal


class Calls:
    """Counts calls of functions of Python, which do not notice."""

    def __init__(self, *functions):
        self.codes = {one.__code__ for one in functions}
        self.count = 0

    def __enter__(self):
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _see(self, frame, event, _):
        self.count += event == "call" and frame.f_code in self.codes


def half(path):
    """Forget the second half of a journal: how many calls are left in it."""
    with sqlite3.connect(path) as file:
        for table in ("evaluation", "claimed"):
            rows = file.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            file.execute(f"DELETE FROM {table} WHERE rowid > ?", (rows // 2,))
        left = file.execute("SELECT COUNT(*) FROM claimed").fetchone()[0]
    file.close()
    return left


@pytest.mark.parametrize(("f", "args", "claim"), QUESTIONS)
def test_a_claim_is_not_called_again(tmp_path, f, args, claim):
    """With all kinds of claims, right and wrong; where the journal is cut in half, for what is missing."""
    path = tmp_path / "journal"
    whole = text(check(f, args, **claim, rng=0))
    functions = [one for one in claim.values() if hasattr(one, "__code__")]
    with Calls(*functions) as first:
        assert text(check(f, args, **claim, rng=0, journal=path)) == whole
    with Calls(*functions) as again:
        assert text(check(f, args, **claim, rng=0, journal=path)) == whole
    assert again.count == 0
    left = half(path)
    with Calls(*functions) as rest:
        assert text(check(f, args, **claim, rng=0, journal=path)) == whole
    if len(functions) == len(claim):
        assert rest.count == first.count - left > 0


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("step", [1, -1, 2])
def test_the_layout_of_what_it_returns_is_kept(axes, step):
    """Sums over a transposed Jacobian are rounded otherwise."""
    value = np.random.default_rng(1).normal(size=(2, 3, 8))[:, :, ::step].transpose(axes)
    again = decoded(encoded(value))
    assert np.array_equal(again, value)
    assert again.strides == np.copy(value, order="K").strides


def test_a_corrected_claim_is_called_anew(tmp_path):
    """Also where the mistake was in what it calls."""
    source = "def g(x):\n    return {} * np.cos(x)\n\ndef f(x):\n    return g(x)"
    wrong, right = (made(source.format(factor)) for factor in ("1.5", "1.0"))  # wrong on purpose
    path = tmp_path / "journal"
    before = check(loss, X, grad=wrong, rng=0, journal=path)
    assert before.verdict is Verdict.WRONG
    assert text(check(loss, X, grad=right, journal=path)) == text(check(loss, X, grad=right, rng=0))
    assert text(check(loss, X, grad=wrong, journal=path)) == text(before)


def test_a_claim_that_reads_a_file_is_called_anew(tmp_path):
    np.save(tmp_path / "gradient.npy", wrong_cos(X))
    grad = lambda x: np.load(tmp_path / "gradient.npy")  # noqa: E731
    assert check(loss, X, grad=grad, rng=0, journal=tmp_path / "journal").verdict is Verdict.WRONG
    np.save(tmp_path / "gradient.npy", np.cos(X))
    assert check(loss, X, grad=grad, journal=tmp_path / "journal").correct


def remembers():
    """It adds to a buffer: the second call differs."""
    buffer = np.zeros_like(X)

    def grad(x):
        buffer[:] += np.cos(x)
        return buffer

    return grad


def remembers_later():
    """The third call differs, and all after it."""
    count = [0]

    def grad(x):
        count[0] += 1
        return np.cos(x) * (1 if count[0] < 3 else 1.5)

    return grad


def memoised():
    """Right, with a cache."""
    known = {}

    def grad(x):
        key = x.tobytes()
        if key not in known:
            known[key] = np.cos(x)
        return known[key].copy()

    return grad


def changes_its_argument():
    def grad(x):
        found = np.cos(x)
        x += 1
        return found

    return grad


@pytest.mark.parametrize("make", [remembers, remembers_later, memoised, changes_its_argument])
@pytest.mark.parametrize("more", [{}, {"hess": lambda x: np.diag(-np.sin(x))}])
def test_a_claim_with_a_memory_reports_as_if_it_had_never_stopped(tmp_path, make, more):
    """Wherever it stopped: what is not called again would have changed nothing."""
    path = tmp_path / "journal"
    whole = text(check(loss, X, grad=make(), **more, rng=0))
    assert text(check(loss, X, grad=make(), **more, rng=0, journal=path)) == whole
    for _ in range(4):
        assert text(check(loss, X, grad=make(), **more, rng=0, journal=path)) == whole
        half(path)


def test_other_arguments_that_are_no_numbers_count(tmp_path):
    """As settings do: the point of a journal holds numbers alone."""
    f = lambda x, mode: np.sum(np.sin(x)) if mode == "sin" else -np.sum(np.cos(x))  # noqa: E731
    grad = lambda x, mode: np.cos(x) if mode == "sin" else np.sin(x)  # noqa: E731
    keys = {identity(grad, (X, mode)) for mode in ("sin", "cos")}
    assert len(keys) == 2
    assert check(f, (X, "sin"), grad=grad, rng=0, journal=tmp_path / "journal").correct


def test_what_has_no_written_form_is_called_again(tmp_path):
    """A sparse Jacobian is no array; the journal serves f as before."""
    jac = lambda x: scipy.sparse.csr_array(workers.layer_jac(x))  # noqa: E731
    whole = text(check(layer, X, jac=jac, rng=0))
    for _ in range(2):
        with Calls(jac) as calls:
            assert text(check(layer, X, jac=jac, rng=0, journal=tmp_path / "journal")) == whole
        assert calls.count > 0


def test_what_is_too_long_is_called_again(tmp_path, monkeypatch):
    import gradproof._run._journal as module

    monkeypatch.setattr(module, "LONGEST", 100)
    for _ in range(2):
        with Calls(wrong_cos) as calls:
            check(loss, X, grad=wrong_cos, rng=0, journal=tmp_path / "journal")
        assert calls.count > 0


def test_a_damaged_call_is_said(tmp_path):
    check(loss, X, grad=wrong_cos, rng=0, journal=tmp_path / "journal")
    with sqlite3.connect(tmp_path / "journal") as file:
        file.execute("UPDATE claimed SET outcome = '{'")
    file.close()
    with pytest.raises(UsageError, match="is damaged"):
        check(loss, X, grad=wrong_cos, rng=0, journal=tmp_path / "journal")


def test_claims_of_scipy_are_kept(tmp_path):
    """Through what stands for them."""
    import gradproof.scipy

    f, jac = workers.layer, workers.layer_jac
    with Calls(jac) as first:
        report = gradproof.scipy.check_least_squares(f, X, jac, rng=0, journal=tmp_path / "journal")
    with Calls(f, jac) as again:
        assert text(gradproof.scipy.check_least_squares(f, X, jac, journal=tmp_path / "journal")) == text(report)
    assert first.count > 0
    assert again.count == 0


# ---------------------------------------------------------------------------------------------------------- killed


def run(tmp_path, rounds, kill_at=None):
    """Run the script, or kill it so long after its first kept call: how often it has called the claim, if it ended."""
    arguments = [str(tmp_path / "journal"), str(tmp_path / "report"), str(rounds)]
    with subprocess.Popen([sys.executable, SCRIPT, *arguments], stdout=subprocess.PIPE, text=True) as process:
        if kill_at is not None:
            while process.poll() is None and not kept_calls(tmp_path / "journal"):
                time.sleep(0.005)
            time.sleep(kill_at)
            process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        out, _ = process.communicate()
    return int(out) if out else None


def kept_calls(path):
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
            return file.execute("SELECT COUNT(*) FROM claimed").fetchone()[0]
    except sqlite3.Error:
        return 0


def goes_on(tmp_path, rounds, moment):
    claim = ft.partial(workers.slow_cos, rounds=rounds)
    with Calls(workers.slow_cos) as calls:
        whole = text(check(loss, X, grad=claim, hess=workers.loss_hess, rng=5))
    ended = run(tmp_path, rounds, moment)
    before = kept_calls(tmp_path / "journal")
    left = run(tmp_path, rounds)
    assert (tmp_path / "report").read_text(encoding="utf-8") == whole
    # (Calls of the Hessian are kept as well, and the gradient is the first of all.)
    assert calls.count - before <= left < calls.count
    assert run(tmp_path, rounds) == 0
    return ended is None


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system kills no processes by signals")
def test_a_killed_check_calls_the_claim_for_what_is_missing(tmp_path):
    assert goes_on(tmp_path, 4000, 0.0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system kills no processes by signals")
@pytest.mark.parametrize("seed", range(10))
def test_killed_while_the_claim_is_called(tmp_path, seed):
    goes_on(tmp_path, 20_000, random.Random(seed).uniform(0, 0.6))
