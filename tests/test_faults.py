"""Every kind of bad input and of fault that is known, with what comes of it: docs/reference/faults.md is this list.

``python tests/test_faults.py`` writes the table anew.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools as ft
import importlib.util
import pathlib
import re
import sqlite3
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradproof
import workers
from gradproof._base._clock import can_end
from workers import X, layer, layer_jac, loss

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "reference" / "faults.md"
W = 80  # characters of a message that the table shows


@dataclasses.dataclass(frozen=True)
class Fault:
    group: str
    what: str
    outcome: str
    run: Callable[[], Any]


def outcome(run):
    """What comes of it: the exception with the beginning of its text, or the verdict, its reason and its findings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            report = run()
        except BaseException as error:
            if isinstance(error, (AssertionError, NameError)):
                raise
            said = re.sub(r"0x[0-9a-f]+|/\S*/", "...", str(error)).split("\n")[0]
            cut = said if len(said) <= W else said[: said.rfind(" ", 0, W)] + " ..."
            return f"{type(error).__name__}: {cut}" if cut else type(error).__name__
    ids = list(dict.fromkeys(one.id for one in report.findings))
    reason = f", {report.reason.value}" if report.reason else ""
    found = f" ({', '.join(ids)})" if ids else ""
    warned = "".join(f", {one.category.__name__}" for one in caught if issubclass(one.category, UserWarning))
    return f"{report.verdict.value}{reason}{found}{warned}"


def check(f=loss, args=X, **options):
    """A check of a right gradient, unless something else is asked for."""
    claims = {"grad", "jac", "vjp", "jvp", "hess", "hvp"}
    return gradproof.check(f, args, **({"rng": 0} | ({} if claims & set(options) else {"grad": np.cos}) | options))


def raising(error, where="at"):
    def f(x):
        beside = workers.is_beside(x)
        if (where == "at") != beside or (where == "above" and x[3] > X[3] + 1e-3):
            raise error
        return loss(x)

    def above(x):
        if x[3] > X[3]:
            raise error
        return loss(x)

    return above if where == "above" else f


def returning(value, where="at"):
    def f(x):
        here = {"at": not workers.is_beside(x), "beside": workers.is_beside(x), "above": x[3] > X[3]}[where]
        return value if here else loss(x)

    return f


def hanging(where):
    def f(x):
        while workers.is_beside(x) == (where == "beside"):
            time.sleep(0.001)
        return loss(x)

    return f


def now_and_then(every):
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) % every == 0 and workers.is_beside(x):
            raise ValueError("now and then")
        return loss(x)

    return f


def noisy(size):
    random = np.random.default_rng(0)
    return lambda x: loss(x) + size * random.standard_normal()


def stale():
    """A gradient that adds to what it returned before."""
    buffer = np.zeros_like(X)

    def grad(x):
        nonlocal buffer
        buffer += np.cos(x)
        return buffer

    return grad


def random_claim():
    random = np.random.default_rng(0)
    return lambda x: np.cos(x) * (1 + 0.1 * random.standard_normal(x.shape))


def grad_raising(x):
    raise ValueError("no adjoint")


def raising_after(count, error=None):
    """What raises at every call but the first few."""
    calls = []

    def call():
        calls.append(1)
        if len(calls) > count:
            raise error or ValueError("no adjoint")

    return call


def by_torch(rule=None, *, entry="check", **options):
    """A check of sin(x) by a Function whose backward calls `rule` first."""
    import torch

    import gradproof.torch
    from gradproof.compat.torch import gradcheck

    rule = rule or raising_after(0)

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, u):
            rule()
            return u * ctx.saved_tensors[0].cos()

    x = torch.tensor(X[:3], requires_grad=True)
    if entry == "gradcheck":
        return gradcheck(Sine.apply, x)
    if entry == "check":
        return gradproof.check(Sine.apply, x, rng=0, **options)
    model = torch.nn.Linear(3, 2).double()
    return gradproof.torch.check_module(model, lambda model, x: Sine.apply(model(x)).sum(), x, rng=0, **options)


def by_jax(rule=None, *, entry="check", kind="vjp", **options):
    """A check of sin(x) with a rule of its own, which calls `rule` first."""
    import jax
    import jax.numpy as jnp

    import gradproof.jax

    rule = rule or raising_after(0)

    def sine(x):
        return jnp.sin(x)

    sine = (jax.custom_vjp if kind == "vjp" else jax.custom_jvp)(sine)
    if kind == "vjp":
        sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (rule(), (u * jnp.cos(x),))[1])
    else:
        sine.defjvp(lambda x, v: (rule(), (jnp.sin(x[0]), v[0] * jnp.cos(x[0])))[1])
    if entry == "check":
        return gradproof.check(sine, jnp.asarray(X[:3]), rng=0, **options)
    return gradproof.jax.check_rules(sine, jnp.asarray(X[:3]), rng=0, **options)[0]


def vjp_after(count):
    """A right vjp that raises at every call but the first few."""
    call = raising_after(count)

    def vjp(u, x):
        call()
        return u * np.cos(x)

    return vjp


def in_place(x):
    value = loss(x)
    x += 1
    return value


def jump(x):
    return loss(x) + (not workers.is_beside(x))


def with_journal(make):
    with tempfile.TemporaryDirectory() as folder:
        return make(pathlib.Path(folder) / "journal")


def journal_of(change, **options):
    """A check with a journal that was begun by another one, and changed since."""

    def run(path):
        check(journal=path)
        change(path)
        return check(journal=path, **options)

    return with_journal(run)


def sql(statement):
    def change(path):
        with sqlite3.connect(path) as file:
            file.execute(statement)
        file.close()

    return change


def full_disk(path):
    from gradproof._run._journal import Journal

    begin = Journal.of_check

    def small(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self._file.execute(f"PRAGMA max_page_count = {self._file.execute('PRAGMA page_count').fetchone()[0]}")

    Journal.of_check = small
    try:
        return check(journal=path, level="entries")
    finally:
        Journal.of_check = begin


class KilledWorker(Exception):  # noqa: N818  (the name that dask gives it)
    pass


class Cluster(concurrent.futures.ThreadPoolExecutor):
    """Workers that die at some points, as far as their scheduler tells."""

    def __init__(self, dies):
        super().__init__(2)
        self._dies = dies

    def submit(self, work, f, points, *others):
        if any(self._dies(arguments[0]) for arguments in points):
            future = concurrent.futures.Future()
            future.set_exception(KilledWorker())
            return future
        return super().submit(work, f, points, *others)


class Broken(concurrent.futures.Executor):
    def submit(self, *_, **__):
        raise concurrent.futures.BrokenExecutor("it is broken")


def by_threads(f=loss, **options):
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        return check(f, executor=executor, name="f", **options)


def by_processes(f, **options):
    from test_executors import processes

    with processes() as executor:
        return check(f, executor=executor, name="f", **options)


def by_cluster(dies):
    with Cluster(dies) as executor:
        return check(executor=executor)


def shut_down():
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.shutdown()
    return check(executor=executor)


def hanging_thread():
    import gradproof._run._executor as module

    before, module.GRACE = module.GRACE, 0.05
    go = threading.Event()

    def f(x):
        if workers.is_beside(x):
            go.wait(20)
        return loss(x)

    try:
        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            try:
                return check(f, executor=executor, timeout=0.05)
            finally:
                go.set()
    finally:
        module.GRACE = before


def told(values):
    session = gradproof.Session(X, grad=np.cos, rng=0)
    session.tell(values)
    return session.report


def command(*lines):
    """What `gradproof check` says of a file with these lines."""
    from test_cli import gradproof as run

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "cases.py"
        path.write_text("\n".join(["import os, gradproof", *lines]), encoding="utf-8")
        done = run("check", path)
    raise SystemExit(f"exit code {done.returncode}")


CASE = "case = gradproof.Case(f, 3.0, grad=lambda x: 2 * x, rng=0)"
p = {"w": X, "b": 2.0}
q = lambda p: np.sum(np.sin(p["w"])) + p["b"]  # noqa: E731
dq = {"w": np.cos(X), "b": 1.0}
transposed = lambda x: np.cos(x.T).T  # noqa: E731

FAULTS: list[Fault] = []


def of(group, *rows):
    FAULTS.extend(Fault(group, *row) for row in rows)


of(
    "What is passed to `check`",
    (
        "f is not a function",
        "UsageError: `f` must be callable, got float: pass the function itself, not what it returns.",
        lambda: check(3.0),
    ),
    (
        "f and the point are swapped",
        "UsageError: `f` must be callable, got numpy.ndarray: the function comes first, then the ...",
        lambda: check(X, loss),
    ),
    (
        "the claim is passed by position",
        "UsageError: `check` takes `f`, `args` by position, got 3. The claim is passed by its ...",
        lambda: gradproof.check(loss, X, np.cos),
    ),
    (
        "no claim is passed",
        "UsageError: a claim is missing, or it is None: pass one of `grad=`, `jac=`, `vjp=`, `jvp=`, ...",
        lambda: gradproof.check(loss, X),
    ),
    (
        "two claims of the first order",
        "UsageError: `grad` and `jac` are claims of the first order: pass one of them, check the ...",
        lambda: check(grad=np.cos, jac=np.cos),
    ),
    (
        "a `vjp` that is an array",
        "UsageError: `vjp` must be callable, got ndarray: the matrix itself is claimed as `jac`.",
        lambda: check(vjp=np.cos(X)),
    ),
    (
        "an integer array is differentiated",
        "UsageError: `x` is of dtype int64, which has no derivative; pass `x.astype(float)`. To ...",
        lambda: check(args=np.arange(3)),
    ),
    (
        "an array of booleans is differentiated",
        "UsageError: `x` is of dtype bool, which has no derivative; pass `x.astype(float)`. To leave ...",
        lambda: check(args=np.ones(3, dtype=bool)),
    ),
    (
        "an array of objects is differentiated",
        "UsageError: `x` is of dtype object, which has no derivative; pass `x.astype(float)`. To ...",
        lambda: check(args=np.array([1.0, None])),
    ),
    (
        "a string is differentiated",
        "UsageError: `x` is of type str; only numbers and NumPy float or complex arrays can be ...",
        lambda: check(args="x"),
    ),
    (
        "the only differentiated array is empty",
        "UsageError: nothing to differentiate in `x`: every differentiated array is empty.",
        lambda: check(args=np.zeros(0)),
    ),
    (
        "an entry of the point is nan",
        "NotFiniteError: the point must be finite where f depends on it, but `x[1]` is nan.",
        lambda: check(args=np.array([1.0, np.nan])),
    ),
    (
        "every entry of the point is infinite",
        "NotFiniteError: the point must have finite entries, which can be moved, but `x[0]` is inf.",
        lambda: check(args=np.array([np.inf])),
    ),
    ("`wrt` names no argument", "UsageError: `wrt` names argument 3, but `args` holds 1.", lambda: check(wrt=3)),
    ("`rtol` is negative", "UsageError: `rtol` must be a positive number or None, got -1.0.", lambda: check(rtol=-1.0)),
    ("`rtol` is nan", "UsageError: `rtol` must be a positive number or None, got nan.", lambda: check(rtol=np.nan)),
    (
        "`max_bound` is 0",
        "UsageError: `max_bound` must be a positive number or None, got 0.",
        lambda: check(max_bound=0),
    ),
    ("`confidence` is 1", "UsageError: `confidence` must lie between 0 and 1, got 1.", lambda: check(confidence=1)),
    (
        "`level` is unknown",
        'UsageError: `level` must be "certificate" or "entries", got \'all\'.',
        lambda: check(level="all"),
    ),
    (
        "`modes` is passed together with a claim",
        "UsageError: `order` and `modes` are for a framework's own autodiff: pass no claim, or leave ...",
        lambda: check(modes=("rev",)),
    ),
    (
        "`contracts` is unknown",
        'UsageError: `contracts` must be "default", "all", "none" or a list of ids from GP213, ...',
        lambda: check(contracts="some"),
    ),
    (
        "`contracts` for a claim that is a value",
        "UsageError: `contracts` are tested by calling the claim, but `grad` is passed as a value: ...",
        lambda: check(grad=np.cos(X), contracts="none"),
    ),
    (
        "`elementwise` for a gradient",
        "UsageError: `elementwise` is for the derivative as `jac`, of the shape of x; got `grad`.",
        lambda: check(elementwise=True),
    ),
    (
        "`vectorized` for an f that takes one point",
        "FunctionError: `loss` must return a leading axis with one entry for each point, as ...",
        lambda: check(vectorized=True),
    ),
    (
        "`reference` is not a function",
        "UsageError: `reference` must be callable, got float.",
        lambda: check(reference=1.0),
    ),
    (
        "`rng` is negative",
        "UsageError: `rng` must be a seed (an int, not negative), a numpy.random.Generator or None, ...",
        lambda: check(rng=-1),
    ),
    (
        "`rng` is a float",
        "UsageError: `rng` must be a seed (an int, not negative), a numpy.random.Generator or None, ...",
        lambda: check(rng=0.5),
    ),
    ("`name` is not a string", "UsageError: `name` must be a str or None, got int.", lambda: check(name=3)),
    (
        "`progress` is not a function",
        "UsageError: `progress` must be True, False, None or callable, got 'bar'.",
        lambda: check(progress="bar"),
    ),
    (
        "a step size is passed, as for other checkers",
        "UsageError: `eps` is no option of `check`: gradproof chooses its own steps, from what f ...",
        lambda: check(eps=1e-6),
    ),
    (
        "a tolerance is passed, as for other checkers",
        "UsageError: `atol` is no option of `check`: every measured slope has an error bar of its ...",
        lambda: check(atol=1e-6),
    ),
    (
        "the lower bound of `domain` is above the upper one",
        "UsageError: in `domain` lower must not be above upper, but for `x[0]` it is 1.0 above 0.0.",
        lambda: check(domain=(1.0, 0.0)),
    ),
    (
        "the point lies outside `domain`",
        "UsageError: the point must lie in the domain, but `x[0]` is 0.1, bounds [5.0, 6.0].",
        lambda: check(domain=(5.0, 6.0)),
    ),
    (
        "`budget` is 0",
        'UsageError: `budget` must be a number of evaluations, or a time such as "30 s", "5 min" or ...',
        lambda: check(budget=0),
    ),
    (
        "`budget` is a time in unknown units",
        'UsageError: `budget` must be a number of evaluations, or a time such as "30 s", "5 min" or ...',
        lambda: check(budget="soon"),
    ),
    (
        "`timeout` is 0",
        "UsageError: `timeout` must be a positive number of seconds or None, got 0.",
        lambda: check(timeout=0),
    ),
    (
        "`executor` is a number of processes",
        "UsageError: `executor` must be a concurrent.futures.Executor, such as ...",
        lambda: check(executor=4),
    ),
    ("`journal` is not a path", "UsageError: `journal` must be a path or None, got int.", lambda: check(journal=3)),
    (
        "a list of numbers for an array",
        "CORRECT (GP412)",
        lambda: check(lambda x: float(np.sum(np.square(x))), [1.0, 2.0], grad=lambda x: 2 * np.asarray(x)),
    ),
)
of(
    "What f does at the point",
    (
        "f raises",
        "FunctionError: `f` raised ValueError at the point itself: no",
        lambda: check(raising(ValueError("no"))),
    ),
    (
        "f takes other arguments",
        "FunctionError: `f` raised TypeError at the point itself: <lambda>.<locals>.<lambda>() missing ...",
        lambda: check(lambda x, y: 0.0),
    ),
    ("f returns None", "FunctionError: `f` returned None; did you forget `return`?", lambda: check(returning(None))),
    (
        "f returns a tuple",
        "FunctionError: `f` returned a tuple of 2; it must return one number (`lambda *args: ...",
        lambda: check(lambda x: (loss(x), 1)),
    ),
    (
        "f returns an array, and a gradient is claimed",
        "FunctionError: `sin` must return one number, got an array of shape (30,); reduce it, with ...",
        lambda: check(np.sin),
    ),
    (
        "f returns a complex number",
        "FunctionError: `f` must return a real number, got numpy.complex128; take `.real` or `abs`, or ...",
        lambda: check(lambda x: loss(x) + 1j),
    ),
    ("f returns text", "FunctionError: `f` must return one real number, got str.", lambda: check(lambda x: "0.5")),
    (
        "f returns a boolean",
        "FunctionError: `f` must return one real number, got bool.",
        lambda: check(lambda x: True),
    ),
    ("f returns nan", "INCONCLUSIVE, domain (GP304)", lambda: check(returning(np.nan))),
    ("f returns infinity", "INCONCLUSIVE, domain (GP304)", lambda: check(returning(np.inf))),
    (
        "memory runs out",
        "FunctionError: `f` raised MemoryError at the point itself: no room",
        lambda: check(raising(MemoryError("no room"))),
    ),
    ("f exits", "SystemExit: 3", lambda: check(raising(SystemExit(3)))),
    ("Ctrl-C", "KeyboardInterrupt", lambda: check(raising(KeyboardInterrupt()))),
    (
        "f hangs, with `timeout`",
        "FunctionError: `f` raised TimeoutError at the point itself: no value within 0.02 s",
        lambda: check(hanging("at"), timeout=0.02),
    ),
    ("f hangs, with a budget of time", "INCONCLUSIVE, budget", lambda: check(hanging("at"), budget="0.05 s")),
    ("f has a kink", "NOT_DIFFERENTIABLE (GP110)", lambda: check(lambda x: np.sum(np.abs(x - X)), grad=np.zeros(30))),
    ("f jumps there", "INCONCLUSIVE, no convergence (GP310)", lambda: check(jump)),
)
of(
    "What f does away from the point",
    ("f raises everywhere", "INCONCLUSIVE, domain (GP305)", lambda: check(raising(ValueError("no"), "beside"))),
    ("f raises on one side", "CORRECT", lambda: check(raising(ValueError("no"), "above"))),
    ("f raises now and then", "CORRECT", lambda: check(now_and_then(9))),
    ("f raises at every 100th call", "CORRECT", lambda: check(now_and_then(100), level="entries")),
    (
        "f returns None",
        "FunctionError: `f` returned None; did you forget `return`?",
        lambda: check(returning(None, "beside")),
    ),
    ("f returns nan everywhere", "INCONCLUSIVE, domain", lambda: check(returning(np.nan, "beside"))),
    ("f returns nan on one side", "CORRECT", lambda: check(returning(np.nan, "above"))),
    ("f returns infinity everywhere", "INCONCLUSIVE, domain", lambda: check(returning(np.inf, "beside"))),
    (
        "f returns another shape",
        "FunctionError: `f` must return the same structure everywhere, got shape (3,) here and shape ...",
        lambda: check(lambda x: layer(x)[: 3 if workers.is_beside(x) else 4], jac=layer_jac),
    ),
    (
        "memory runs out",
        "FunctionError: `f` raised MemoryError at the point + 0.0315 v: no room",
        lambda: check(raising(MemoryError("no room"), "beside")),
    ),
    ("f exits", "SystemExit: 3", lambda: check(raising(SystemExit(3), "beside"))),
    (
        "f hangs everywhere, with `timeout`",
        "INCONCLUSIVE, domain (GP305)",
        lambda: check(hanging("beside"), timeout=0.005),
    ),
    ("f hangs, with a budget of time", "INCONCLUSIVE, budget", lambda: check(hanging("beside"), budget="0.05 s")),
    ("evaluations run out", "INCONCLUSIVE, budget", lambda: check(budget=9)),
    ("f is constant", "INCONCLUSIVE, degenerate point (GP301)", lambda: check(lambda x: 1.0)),
    ("f is random", "CORRECT (GP303)", lambda: check(noisy(1e-6))),
    ("f is a little random", "CORRECT (GP303)", lambda: check(noisy(1e-12))),
    ("f changes its argument", "WRONG (GP210)", lambda: check(in_place)),
    ("f computes in float32", "CORRECT (GP314)", lambda: check(lambda x: float(np.sum(np.sin(x.astype(np.float32)))))),
    ("f is a staircase", "INCONCLUSIVE, noise", lambda: check(lambda x: np.round(loss(x), 1))),
)
of(
    "What the claim does",
    (
        "the claim raises",
        "ClaimError: `grad` raised ValueError at the point: no adjoint",
        lambda: check(grad=grad_raising),
    ),
    ("the claim returns None", "WRONG (GP202)", lambda: check(grad=lambda x: None)),
    ("another shape with the right numbers", "WRONG (GP201)", lambda: check(grad=lambda x: np.cos(x)[:, None])),
    ("another number of entries", "WRONG (GP201)", lambda: check(grad=lambda x: np.cos(x)[:-1])),
    ("a key is missing", "WRONG (GP202)", lambda: check(q, p, grad={"w": dq["w"]})),
    ("a key too many", "WRONG (GP202)", lambda: check(q, p, grad=dq | {"c": 0.0})),
    ("an entry is nan", "WRONG (GP203)", lambda: check(grad=lambda x: np.where(x == x[3], np.nan, np.cos(x)))),
    ("the claim is an array of integers", "CORRECT", lambda: check(lambda x: np.sum(x), grad=np.ones(30, dtype=int))),
    ("the claim is in float16", "WRONG (GP101, GP404)", lambda: check(grad=lambda x: np.cos(x).astype(np.float16))),
    ("the claim is random", "INCONCLUSIVE, stochastic (GP306)", lambda: check(grad=random_claim())),
    ("the claim adds to what it returned before", "WRONG (GP213)", lambda: check(grad=stale())),
    ("twice the gradient", "WRONG (GP101)", lambda: check(grad=lambda x: 2 * np.cos(x))),
    ("the sign is wrong", "WRONG (GP101)", lambda: check(grad=lambda x: -np.cos(x))),
    ("a claim of zero", "WRONG (GP101)", lambda: check(grad=lambda x: 0 * x)),
    ("one entry is wrong", "WRONG (GP101)", lambda: check(grad=workers.wrong_cos)),
    ("a `jac` of another shape", "WRONG (GP201)", lambda: check(layer, jac=lambda x: layer_jac(x)[:3])),
    (
        "a `vjp` with its arguments swapped",
        "WRONG (GP214)",
        lambda: check(lambda x: np.sin(x), vjp=lambda x, u: u * np.cos(x)),
    ),
    (
        "a `vjp` that is not linear",
        "WRONG (GP205)",
        lambda: check(lambda x: np.sin(x), vjp=lambda u, x: u * u * np.cos(x)),
    ),
    (
        "a `vjp` that raises once contracts are tested",
        "CORRECT",
        lambda: check(lambda x: np.sin(x), vjp=vjp_after(12), contracts="all"),
    ),
    (
        "a `hess` that is not symmetric",
        "WRONG (GP207, GP101)",
        lambda: check(hess=lambda x: np.diag(-np.sin(x)) + np.triu(np.ones((30, 30)), 1)),
    ),
)
of(
    "What a backward of PyTorch or a rule of JAX does",
    (
        "the backward of a Function raises",
        "ClaimError: the backward of `Sine` raised ValueError at the point: no adjoint",
        lambda: by_torch(),
    ),
    (
        "the same in a module",
        "ClaimError: the derivative of `Linear` raised ValueError at the point: no adjoint",
        lambda: by_torch(entry="check_module"),
    ),
    ("the same, through the drop-in", "ValueError: no adjoint", lambda: by_torch(entry="gradcheck")),
    (
        "the backward is not written yet",
        "ClaimError: no mode is available (rev, vmap: later; fwd: You must implement the jvp ...",
        lambda: by_torch(raising_after(0, NotImplementedError("later"))),
    ),
    ("it raises once contracts are tested", "CORRECT", lambda: by_torch(raising_after(12), contracts="all")),
    ("it exits", "SystemExit: 3", lambda: by_torch(raising_after(0, SystemExit(3)))),
    ("Ctrl-C in a backward", "KeyboardInterrupt", lambda: by_torch(raising_after(0, KeyboardInterrupt()))),
    (
        "the rule of a `custom_vjp` raises",
        "ClaimError: the derivative of `sine` raised ValueError at the point: no adjoint",
        lambda: by_jax(),
    ),
    (
        "the rule of a `custom_jvp` raises",
        "ClaimError: the derivative of `sine` raised ValueError at the point: no adjoint",
        lambda: by_jax(kind="jvp"),
    ),
    (
        "the same, by `check_rules`",
        "ClaimError: the derivative of `sine` raised ValueError at the point: no adjoint",
        lambda: by_jax(entry="check_rules"),
    ),
    ("it raises in a second derivative", "CORRECT", lambda: by_jax(raising_after(3), order=2)),
    ("Ctrl-C in a rule", "KeyboardInterrupt", lambda: by_jax(raising_after(0, KeyboardInterrupt()))),
)
of(
    "What happens to workers (`executor=`)",
    ("one is killed", "CORRECT", lambda: by_processes(ft.partial(workers.killed_once, path=tempfile.mktemp()))),
    ("f ends its process at some points", "CORRECT (GP430)", lambda: by_cluster(lambda x: x[3] > X[3] + 1e-3)),
    (
        "f ends its process at the point",
        "FunctionError: `loss` raised CrashError at the point itself: the process that evaluated it was ...",
        lambda: by_cluster(lambda x: not workers.is_beside(x)),
    ),
    (
        "f ends its process everywhere else",
        "INCONCLUSIVE, domain (GP305, GP430)",
        lambda: by_cluster(workers.is_beside),
    ),
    (
        "the executor is broken, and cannot be replaced",
        "FunctionError: `executor` is broken: a worker was killed or crashed, and gradproof cannot make ...",
        lambda: check(executor=Broken()),
    ),
    (
        "the executor is shut down",
        "UsageError: `executor` accepts no work: cannot schedule new futures after shutdown.",
        shut_down,
    ),
    (
        "f cannot be sent",
        "UsageError: `f`, its arguments or its values cannot be sent to other processes ...",
        lambda: by_processes(lambda x: loss(x)),
    ),
    (
        "what f returns cannot be sent",
        "UsageError: `returns_what_cannot_be_sent`, its arguments or its values cannot be sent to ...",
        lambda: by_processes(workers.returns_what_cannot_be_sent),
    ),
    ("f raises what cannot be sent, on one side", "CORRECT", lambda: by_processes(workers.odd)),
    (
        "memory runs out",
        "FunctionError: `out_of_memory` raised MemoryError at the point + 0.0315 v: no room",
        lambda: by_processes(workers.out_of_memory),
    ),
    ("f hangs in a process, with `timeout`", "CORRECT", lambda: by_processes(workers.hangs_there, timeout=0.05)),
    (
        "f hangs in a thread, with `timeout`",
        "FunctionError: `f` hangs in a worker: no evaluation has ended for 0.15 s, and `timeout=0.05` ...",
        hanging_thread,
    ),
    ("f raises at every 100th call", "CORRECT", lambda: by_processes(workers.every_hundredth, level="entries")),
    ("f prints", "CORRECT", lambda: by_processes(workers.prints)),
    ("f forks", "CORRECT", lambda: by_processes(workers.forks)),
    (
        "f changes the environment, the folder and NumPy's state",
        "CORRECT",
        lambda: by_processes(workers.changes_the_world),
    ),
    ("f changes its argument", "WRONG (GP210)", lambda: by_processes(workers.changes_x)),
    ("f exits", "SystemExit: 3", lambda: by_processes(workers.exits)),
)
of(
    "What happens to a journal",
    (
        "its folder does not exist",
        "UsageError: `journal`: there is no folder `none`.",
        lambda: check(journal="none/journal"),
    ),
    (
        "it is a folder",
        "UsageError: `...journal` is not a journal of gradproof and cannot become one: unable to ...",
        lambda: with_journal(lambda path: (path.mkdir(), check(journal=path))[1]),
    ),
    (
        "it is a file of another kind",
        "UsageError: `...journal` is not a journal of gradproof and cannot become one: file is not a ...",
        lambda: journal_of(lambda path: path.write_bytes(b"notes")),
    ),
    (
        "it is a database of another program",
        "UsageError: `...journal` is a database of another program, not a journal of gradproof.",
        lambda: journal_of(sql("PRAGMA application_id = 7")),
    ),
    (
        "it has another seed",
        "UsageError: `...journal` is a journal of rng=0, not rng=5. Pass another path, or delete it ...",
        lambda: journal_of(lambda path: None, rng=5),
    ),
    (
        "it has another point",
        "UsageError: `...journal` is a journal of another point, or other arguments. Pass another ...",
        lambda: journal_of(lambda path: None, args=X + 1),
    ),
    (
        "it is about another function",
        "UsageError: `...journal` is a journal of a check of `loss`, not of `f`. Pass another path, ...",
        lambda: journal_of(lambda path: None, f=lambda x: np.sum(np.sin(x))),
    ),
    (
        "it is from another version",
        "UsageError: `...journal` is a journal of gradproof 0.0.1, which may ask for other points ...",
        lambda: journal_of(sql("UPDATE head SET value = '0.0.1' WHERE key = 'gradproof'")),
    ),
    (
        "a row is damaged",
        "UsageError: `...journal` is damaged. Pass another path, or delete it (JSONDecodeError: ...",
        lambda: journal_of(sql("UPDATE evaluation SET outcome = '{'")),
    ),
    ("rows are missing", "CORRECT", lambda: journal_of(sql("DELETE FROM evaluation WHERE rowid > 5"))),
    ("the disk is full", "CORRECT, GradproofWarning", lambda: with_journal(full_disk)),
    (
        "it cannot keep what f returns",
        "UsageError: `journal` cannot keep what `f` returns, a dict: numbers and arrays of NumPy, ...",
        lambda: with_journal(lambda path: check(lambda x: {1: x}, jac=lambda x: {1: np.eye(30)}, journal=path)),
    ),
)
of(
    "What a session is told",
    (
        "more values than points",
        "UsageError: `tell` needs 1 values, one for each point, got 2. A value of several numbers is ...",
        lambda: told([1.0, 2.0]),
    ),
    ("text", "UsageError: value 0 must be a number or an array of numbers, got str.", lambda: told(["1.0"])),
    (
        "f failed at the point",
        "FunctionError: `f` raised ArithmeticError at the point itself: the run failed (None was told)",
        lambda: told([None]),
    ),
    ("f is nan at the point", "INCONCLUSIVE, domain (GP304)", lambda: told([np.nan])),
    (
        "nothing, but the report is asked for",
        "UsageError: the check is not done: 1 values are missing; `ask` for them.",
        lambda: gradproof.Session(X, grad=np.cos, rng=0).report,
    ),
)
of(
    "What `gradproof check` runs into",
    ("a file with an error in it", "SystemExit: exit code 2", lambda: command("case = ")),
    ("a file without a case", "SystemExit: exit code 2", lambda: command("")),
    ("an import that fails", "SystemExit: exit code 2", lambda: command("import none_such")),
    ("f raises", "SystemExit: exit code 2", lambda: command("def f(x): raise ValueError", CASE)),
    (
        "f ends the interpreter with exit code 0",
        "SystemExit: exit code 2",
        lambda: command("def f(x): os._exit(0)", CASE),
    ),
    ("f is killed", "SystemExit: exit code 2", lambda: command("def f(x): os.kill(os.getpid(), 9)", CASE)),
)


CELLS = [f"| {one.what} | {one.outcome.replace('|', chr(92) + '|')} |" for one in FAULTS]
INTRO = """# Faults

This page lists the bad inputs, and the faults during a check, that gradproof is tested with, and the outcome of each.
Its tables are written by the tests: each row is a test, which fails if the outcome changes.

An outcome is the beginning of an error's text, or the [verdict](verdicts.md) with its reason and its
[findings](findings.md).
None of these faults changes or loses anything of yours, unless the row says that f does.
"""


def page():
    """The page with a table for each group."""
    parts = [INTRO]
    for group in dict.fromkeys(one.group for one in FAULTS):
        cells = [cell for one, cell in zip(FAULTS, CELLS, strict=True) if one.group == group]
        parts.append("\n".join([f"\n## {group}\n", "| fault | outcome |", "|---|---|", *cells]) + "\n")
    return "".join(parts)


def marks(one):
    """Processes take a second to start; an evaluation can be ended on some systems only."""
    names = set(one.run.__code__.co_names)
    slow = [pytest.mark.slow] if names & {"by_processes", "command"} else []
    skip = [pytest.mark.skipif(not can_end(), reason="this system cannot end an evaluation")]
    for library in ("torch", "jax"):
        if f"by_{library}" in names:
            is_missing = importlib.util.find_spec(library) is None
            return [pytest.mark.skipif(is_missing, reason=f"needs {library}")]
    return slow + (skip if "hanging" in names else [])


@pytest.mark.parametrize("one", [pytest.param(one, id=one.what, marks=marks(one)) for one in FAULTS])
def test_what_comes_of_it(one):
    assert outcome(one.run) == one.outcome


def test_the_page_is_this_list():
    assert len(FAULTS) >= 80
    assert len({(one.group, one.what) for one in FAULTS}) == len(FAULTS)
    assert PAGE.read_text(encoding="utf-8") == page()


def test_an_outcome_tells_faults_apart():
    """A right gradient, a wrong one and an error read differently."""
    assert outcome(check) == "CORRECT"
    assert outcome(lambda: check(grad=np.sin)).startswith("WRONG (GP101")
    assert outcome(lambda: check(level="none")).startswith("UsageError: `level`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
