"""The benchmarks of the PyTorch side in a reduced form: what the committed tables say still holds."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.slow


def run(script, *options):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *options],
        capture_output=True,
        text=True,
        cwd=BENCHMARKS,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_operators_are_not_accused():
    """Of torch's operators with an l, none is WRONG that torch's slow mode passes, and nearly all are CORRECT."""
    pytest.importorskip("expecttest")
    shown = run("torch_operators.py", "--only", "^(?!.*ctc_loss)(?!.*multi_head).*l", "--limit", "20")

    checked = int(re.search(r"operators checked: (\d+)", shown)[1])
    correct = int(re.search(r"^ours .*CORRECT (\d+)", shown, re.MULTILINE)[1])
    assert checked > 150, shown
    assert correct > 0.88 * checked, shown
    # (A claim of zero where f is a staircase may be WRONG: the slope across its jumps is another one.)
    assert not re.search(r"WRONG +passes(?!.*GP313)", shown), shown


def test_torch_s_own_gradient_tests_pass():
    """Of some operators and modules of torch none raises or is WRONG."""
    pytest.importorskip("expecttest")
    for options in (
        ("--only", "^(sin|sgn|cat|ceil|addmm)$", "--samples", "1"),
        ("--modules", "--only", "Norm1d|Tanh$"),
    ):
        shown = run("torch_gradients.py", *options)

        assert int(re.search(r"^(\d+) checks", shown)[1]) >= 20, shown
        assert "exception" not in shown, shown
        assert "WRONG" not in shown, shown


def test_zeroed_gradients_are_named():
    """Wrong backward passes with n outputs are WRONG with place and cause, where torch's fast mode passes most."""
    shown = run("torch_zeroed.py", "--most", "5")

    rows = [line for line in shown.splitlines() if line.lstrip().startswith("100,000")]
    assert len(rows) == 6, shown
    assert "CORRECT" in rows[0], shown
    assert all("WRONG" in row for row in rows[1:]), shown
    causes = ("everywhere.*1.05 times", r"x\[33333\].*zero", "rolled by 1", "claimed zero", r"-1 times|wrong sign")
    assert all(re.search(cause, row) for cause, row in zip(causes, rows[1:], strict=True)), shown
    assert sum("passes" in row for row in rows[1:]) >= 3, shown


def test_interrupted_checks_leave_everything_as_it_was():
    """Sixty signals at random moments, and as many exceptions at random lines."""
    shown = run("interrupts.py", "--count", "60")

    assert [int(number) for number in re.findall(r"state not as before in (\d+)", shown)] == [0, 0], shown
    assert [int(number) for number in re.findall(r": (\d+) checks broken off", shown)] == [60, 60], shown


def test_a_convolution_is_certified_fast():
    """The certificate of a convolution takes a small part of what torch's slow mode takes, every entry less than it."""
    shown = run("torch_conv.py", "--entries")

    assert re.search(r"certificate +CORRECT", shown), shown
    assert re.search(r"every entry +CORRECT", shown), shown
    assert float(re.search(r"certificate .*?([\d.]+) times as fast", shown)[1]) > 8, shown
    assert float(re.search(r"every entry .*?([\d.]+) times as fast", shown)[1]) > 1.5, shown
