"""`gradproof check -j N`: cases in several processes, and the same document."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from test_cli import gradproof as command

CASES = """
import os, signal, time
import numpy as np
import gradproof

X = np.linspace(0.1, 1.0, 5)

def loss(x):
    print("evaluated")
    return np.sum(np.sin(x))

def raises(x):
    raise ValueError("no")

cases = [gradproof.Case(loss, X + k, grad=lambda x: np.cos(x), rng=k, name=f"case {k}") for k in range(3)]
wrong = gradproof.Case(loss, X, grad=lambda x: 2 * np.cos(x), rng=0)
failing = gradproof.Case(raises, X, grad=np.cos, rng=0)
"""
KILLED = """
def killed(x):
    os.kill(os.getpid(), signal.SIGKILL)

dead = gradproof.Case(killed, X, grad=np.cos, rng=0)
last = gradproof.Case(loss, X, grad=lambda x: np.cos(x), rng=0)
"""


def document(text):
    """All but what differs from run to run."""
    read = json.loads(text)
    for report in read["reports"]:
        report.pop("run", None)
        report["cost"].pop("seconds", None)
    return read


def lines(text):
    """What is said, without what f prints."""
    return [line for line in text.splitlines() if line.strip() and "evaluated" not in line]


@pytest.mark.slow
def test_the_document_is_the_same_in_order(tmp_path):
    """Wrong cases, and those that could not run, among them."""
    path = tmp_path / "cases.py"
    path.write_text(CASES, encoding="utf-8")
    one, two = (command("check", path, "none.py", "--json", "-", "-j", str(jobs)) for jobs in (1, 2))
    assert one.returncode == two.returncode == 1
    assert document(one.stdout) == document(two.stdout)
    assert [entry["case"] for entry in document(two.stdout)["errors"]] == ["none.py", f"{path}:failing"]
    assert lines(one.stderr) == lines(two.stderr)
    # (Prints of f and lines of reports are not to run into each other.)
    printed = command("check", path, "-j", "3", PYTHONUNBUFFERED="1").stdout
    assert {line for line in printed.splitlines() if "evaluated" in line} == {"evaluated"}
    assert lines(printed) == lines(command("check", path).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_case_that_ends_its_process_costs_no_other(tmp_path):
    """With one process it would end them all."""
    path = tmp_path / "cases.py"
    path.write_text(CASES.replace("cases = [", "cases = [] and [") + KILLED, encoding="utf-8")
    done = command("check", path, "--json", tmp_path / "reports.json", "-j", "2")
    read = document((tmp_path / "reports.json").read_text(encoding="utf-8"))
    assert [report["name"] for report in read["reports"]] == ["wrong", "last"]
    assert [(one["case"], one["error"]) for one in read["errors"]] == [
        ("failing", "FunctionError"),
        ("dead", "CrashError"),
    ]
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "could not run dead the process that ran it ended before it was done" in said


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_numbers_of_processes_that_are_none(jobs):
    assert command("check", "cases.py", "-j", jobs).returncode == 2


HANGS = """
def hangs(x):
    time.sleep(0.0 if (x == X).all() else 300.0)
    return loss(x)

stuck = gradproof.Case(hangs, X, grad=np.cos, rng=0)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_case_that_hangs(tmp_path):
    """A terminal sends it to all processes: the one that waits, one that hangs, and one that is idle."""
    path = tmp_path / "cases.py"
    path.write_text(CASES.replace("cases = [", "cases = [] and [") + HANGS, encoding="utf-8")
    arguments = [sys.executable, "-m", "gradproof", "check", path, "-j", "2"]
    started = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        assert started.stdout is not None
        while b"WRONG" not in started.stdout.readline():  # all processes have been started by then
            assert started.poll() is None
        time.sleep(0.5)
        os.killpg(started.pid, signal.SIGINT)
        _, said = started.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == 130
    assert b"KeyboardInterrupt" not in said
