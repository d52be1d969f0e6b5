"""`gradproof check` outlives what the user's code does to its interpreter."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gradproof._commands._supervised import CAN_FORK
from test_cli import gradproof as command

CASES = """
import os, signal, sys
import gradproof

def square(x):
    return x**2

def double(x):
    return 2 * x

one = gradproof.Case(square, 3.0, grad=double, rng=0)
"""
LEAVES = "def leaves(x):\n    {}\n\ntwo = gradproof.Case(leaves, 3.0, grad=double, rng=0)\n"

pytestmark = pytest.mark.slow

forks = pytest.mark.skipif(not CAN_FORK, reason="the system has no safe fork")


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "cases.py"
        path.write_text(CASES + text, encoding="utf-8")
        return path

    return write


@forks
@pytest.mark.parametrize(
    ("does", "how"),
    [
        ("os._exit(0)", "ended with exit code 0"),
        ("os._exit(1)", "ended with exit code 1"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.abort()", "was killed by SIGABRT"),
    ],
)
def test_an_interpreter_that_ends_is_exit_code_2(write, tmp_path, does, how):
    """What was being checked is named, reports before it are shown, and the old file of reports stays."""
    old = tmp_path / "reports.json"
    old.write_text("old", encoding="utf-8")
    done = command("check", write(LEAVES.format(does)), "--json", old)
    assert done.returncode == 2
    assert f"could not run  two  the interpreter {how} before the checks were done." in done.stderr.replace("\n", " ")
    assert done.stdout.startswith("CORRECT  one")
    assert old.read_text(encoding="utf-8") == "old"


@forks
def test_an_end_at_import_or_after_the_checks(write):
    """The first is exit code 2; what happens once all is known changes nothing."""
    done = command("check", write("os._exit(0)\n"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "cases.py" in done.stderr
    done = command("check", write("import atexit\natexit.register(os._exit, 7)\n"))
    assert done.returncode == 0


@pytest.mark.parametrize("does", ["sys.exit(0)", "raise GeneratorExit", "raise type('Odd', (BaseException,), {})"])
@pytest.mark.parametrize("inside", [True, False])
def test_what_is_no_exception_is_exit_code_2(write, does, inside):
    """Raised in f or at import, with the name of what was raised."""
    done = command("check", write(LEAVES.format(does) if inside else f"{does}\n"))
    assert done.returncode == 2
    assert "could not run" in done.stderr


def test_escape_codes_of_the_users_do_not_reach_the_terminal(write):
    """C0, C1, ESC and bidi overrides in names, texts of exceptions and targets; a text that cannot be had."""
    text = r"\x1b[31mred\x9b2J\u202eback\x07\x08\nnext"
    raises = LEAVES.format(f"raise ValueError('{text}')")
    named = f"three = gradproof.Case(square, 3.0, grad=lambda x: 3 * x, rng=0, name='{text}')\n"
    odd = "class Odd(Exception):\n    def __str__(self): raise self\n\n"
    odd += "def odd(x):\n    raise Odd\n\nfour = gradproof.Case(odd, 3.0, grad=double, rng=0)\n"
    done = command("check", write(raises + named + odd), "none\x1b[31m.py", COLUMNS="200")
    assert done.returncode == 1  # wrong comes first
    assert "ValueError" in done.stderr
    shown = done.stdout + done.stderr
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert r"\x1b[31mred\x9b2J\u202eback\x07\x08" in shown
    done = command("check", write(f"raise ValueError('{text}')\n"))
    assert all(c.isprintable() or c == "\n" for c in done.stdout + done.stderr)


@forks
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 2)])
def test_signals_are_passed_on(write, number, code):
    """What a process sends to the command ends the checks; none is left running."""
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    waits = "import time; print(os.getpid(), flush=True); time.sleep(300)"
    path = write(heard + LEAVES.format(waits))
    with subprocess.Popen([sys.executable, "-m", "gradproof", "check", "-q", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(60) == code
    _wait_for_the_end_of(child)


@forks
@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends a child with its parent")
def test_a_killed_command_leaves_nothing_running(write):
    """As after a timeout of `subprocess.run`."""
    path = write(LEAVES.format("import time; print(os.getpid(), flush=True); time.sleep(300)"))
    with subprocess.Popen([sys.executable, "-m", "gradproof", "check", "-q", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
    _wait_for_the_end_of(child)


def _wait_for_the_end_of(child):
    for _ in range(200):
        try:
            with open(f"/proc/{child}/stat", encoding="utf-8") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child still runs")


@forks
def test_a_fork_of_the_users_reports_nothing(write):
    """The result is that of the process that was asked."""
    text = LEAVES.format("os.fork() or os._exit(3)\n    return x**2")
    done = command("check", write(text), "--json", "-")
    assert done.returncode == 0
    assert [one["verdict"] for one in json.loads(done.stdout)["reports"]] == ["CORRECT", "CORRECT"]
