"""Functions that workers import: their names are all that is sent there."""

from __future__ import annotations

import os
import pathlib
import signal
import time

import numpy as np

X = np.linspace(0.1, 2.0, 30)
WEIGHTS = np.random.default_rng(0).normal(size=(4, 30))


def loss(x):
    return np.sum(np.sin(x))


def layer(x):
    return np.tanh(WEIGHTS @ x)


def layer_jac(x):
    return (1 - np.tanh(WEIGHTS @ x) ** 2)[:, None] * WEIGHTS


def wrong_cos(x):
    gradient = np.cos(x)
    gradient[7] *= 2  # wrong on purpose
    return gradient


def busy(x, seconds=0.05):
    """As `loss`, after so much single-threaded arithmetic."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return loss(x)


def counted(x, path):
    """As `loss`; each evaluation leaves a line of its point."""
    with open(path, "ab") as file:
        file.write(x.tobytes().hex().encode() + b"\n")
    return loss(x)


def slowly_counted(x, path, seconds):
    time.sleep(seconds)
    return counted(x, path)


def is_beside(x):
    return bool((x != X).any())


def ends_its_process(x, at):
    """It crashes where one entry has grown, in the process of a check alone it raises."""
    if at == "x" or x[3] > X[3] + 1e-3:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(x)


def raises_there(x):
    """What a check without workers can know of the same function."""
    if x[3] > X[3] + 1e-3:
        raise ValueError("beyond")
    return loss(x)


def killed_once(x, path):
    """The first evaluation beside x is killed, as an operator or the system may do it."""
    if is_beside(x):
        try:
            pathlib.Path(path).touch(exist_ok=False)
        except FileExistsError:
            return loss(x)
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(x)


def out_of_memory(x):
    if is_beside(x):
        raise MemoryError("no room")
    return loss(x)


class OddError(Exception):
    """It cannot be made again from its own arguments."""

    def __init__(self, one, other):
        super().__init__(f"{one}, {other}")


def odd(x):
    if x[3] > X[3] + 1e-3:
        raise OddError(1, 2)
    return loss(x)


def every_hundredth(x, every=100, count=[0]):  # noqa: B006  (it counts its calls)
    count[0] += 1
    if count[0] % every == 0 and is_beside(x):
        raise ValueError("now and then")
    return loss(x)


def undefined_there(x):
    return loss(x) if x[3] <= X[3] else np.nan


def hangs_there(x):
    while x[3] > X[3] + 1e-3:
        pass
    return loss(x)


def prints(x):
    print("evaluated")  # noqa: T201
    return loss(x)


def forks(x):
    os.fork()
    return loss(x)


def changes_x(x):
    value = loss(x)
    x[0] += 1
    return value


def changes_the_world(x):
    np.seterr(all="raise")
    np.random.seed(0)  # noqa: NPY002  (that is what must not show)
    os.environ["GRADPROOF_TEST"] = "changed"
    os.chdir("/")
    return loss(x)


def returns_what_cannot_be_sent(x):
    return (value for value in [loss(x)])


def exits(x):
    raise SystemExit(3)


def loss_hess(x):
    return np.diag(-np.sin(x))


def slow_cos(x, rounds):
    """As np.cos, after so many rounds of arithmetic; nothing that it does depends on anything else."""
    noise = 0.0
    for k in range(rounds):
        noise += np.sum(np.cos(x + k))
    return np.cos(x) + 0.0 * noise
