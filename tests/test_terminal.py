"""Progress: on a terminal a line that comes, tells, and leaves no trace; elsewhere nothing, or a callable."""

from __future__ import annotations

import dataclasses
import itertools as it
import re
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import gradproof
import gradproof.scipy
import terminal
from gradproof._progress import _progress

needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")

# A clock that stands still unless f lets it go on: how busy the machine is changes nothing.
CLOCK = """
import time

now = time.perf_counter()
time.perf_counter = lambda: now

def wait(seconds):
    global now
    now += seconds

"""

SLOW = """
import logging, signal, subprocess, sys
import numpy as np
import gradproof

calls = []
handler = logging.StreamHandler(sys.stderr)

def loss(p):
    wait({seconds})
    calls.append(1)
    {inside}
    return sum(float(np.sum(np.sin(v))) for v in p.values())

def gradient(p):
    return {{name: np.cos(v) for name, v in p.items()}}

p = {{name: np.linspace(0.1, 1, 8) for name in {names}}}
print("checking ... ", end="", flush=True)
report = gradproof.check(loss, p, grad=gradient, rng=0, progress={progress})
print("done")
assert "write" not in vars(sys.stdout) and "write" not in vars(sys.stderr)
print(report.verdict)
"""


@pytest.fixture
def program(tmp_path):
    """Return a function that writes a program and returns its path."""

    def write(body=SLOW, **fields):
        path = tmp_path / "program.py"
        fields = {"seconds": 0.02, "inside": "pass", "progress": True, "names": ("first", "second"), **fields}
        path.write_text(CLOCK + textwrap.dedent(body).format(**fields), encoding="utf-8")
        return str(path)

    return write


def progress_lines(shown):
    """The progress that was on the screen at some time, one line each."""
    return [line for look in shown.looks for line in look if line.startswith("gradproof  ")]


@needs_terminal
def test_a_line_comes_after_a_second_and_leaves_no_trace(program):
    """It stands below what the program prints, and the screen ends as it would without."""
    shown = terminal.run_in_terminal([program(seconds=0.12, progress=None)])
    lines = progress_lines(shown)
    assert lines
    told = [re.fullmatch(r"gradproof  (\d+) s  (\d+) evaluations?  loss: proving (.*)", line) for line in lines]
    assert all(told), lines
    assert (told[0][1], told[0][2]) == ("1", "9")
    assert {one[3] for one in told} <= {"all 2 arrays", "p['first']", "p['second']"}
    counts = [int(one[2]) for one in told]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert all(look[0].startswith("checking ...") for look in shown.looks)
    assert shown.lines == ["checking ... done", "CORRECT"]
    assert shown.returncode == 0


ALL_KINDS = """print('evaluated')
    print('of', len(p), file=sys.stderr)
    print('.', end='', flush=True)
    handler.emit(logging.makeLogRecord({'msg': 'logged'}))
    print('long ' * 40)
    print('.', end='', flush=True)"""
ELSEWHERE = "subprocess.run(['echo', 'from elsewhere']); wait(0.1)"


@needs_terminal
@pytest.mark.parametrize("inside", [ALL_KINDS, ELSEWHERE], ids=["of all kinds", "by a subprocess"])
def test_what_f_prints_is_left_alone(program, inside):
    """All of it stands in its place in the end, also what goes by a stream that was taken before the check."""
    shown, plain = (
        terminal.run_in_terminal([program(inside=inside, progress=progress)], rows=12) for progress in (True, False)
    )
    assert progress_lines(shown)
    assert not progress_lines(plain)
    assert shown.lines == plain.lines
    assert shown.returncode == plain.returncode == 0


@needs_terminal
def test_nothing_is_left_after_an_interrupt(program):
    """What remains is the program's own output and the traceback."""
    waits = program(seconds=0.1, inside="signal.pause() if len(calls) == 9 else None")
    shown = terminal.run_in_terminal(
        [waits], interrupt_when=lambda look: any(" 8 evaluations" in line for line in look)
    )
    assert shown.returncode != 0
    assert progress_lines(shown)
    assert shown.lines[0].startswith("checking ... ^C")
    assert shown.lines[-1] == "KeyboardInterrupt"
    assert "gradproof  " not in "\n".join(shown.lines)


@needs_terminal
def test_nothing_is_left_after_an_exception(program):
    shown = terminal.run_in_terminal([program(inside="assert len(calls) < 9")])
    assert shown.returncode == 1
    assert progress_lines(shown)
    assert shown.lines[0].startswith("checking ... Traceback")
    assert "FunctionError" in "\n".join(shown.lines)
    assert "gradproof  " not in "\n".join(shown.lines)


@needs_terminal
@pytest.mark.parametrize(
    ("progress", "environment"),
    [
        (None, {"TERM": "dumb"}),
        (None, {"CI": "true"}),
        (None, {"PYTEST_CURRENT_TEST": "test_loss.py::test (call)"}),
        (False, {}),
    ],
)
def test_nothing_where_nobody_wants_it(program, progress, environment):
    shown = terminal.run_in_terminal([program(seconds=0.08, progress=progress)], **environment)
    assert shown.written == b"checking ... done\r\nCORRECT\r\n"


@needs_terminal
def test_a_short_check_shows_nothing(program):
    shown = terminal.run_in_terminal([program(seconds=0, progress=None)])
    assert shown.written == b"checking ... done\r\nCORRECT\r\n"


def test_nothing_without_a_terminal(program):
    """Also not on stderr."""
    done = subprocess.run(
        [sys.executable, program(seconds=0.08, progress=None)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "checking ... done\nCORRECT\n"
    assert done.stderr == ""


@needs_terminal
def test_no_colour(program):
    """With NO_COLOR the line comes without any."""
    coloured, plain = (terminal.run_in_terminal([program()], NO_COLOR=no_color).written for no_color in ("", "1"))
    assert re.search(rb"\x1b\[[0-9;]*m", coloured)
    assert not re.search(rb"\x1b\[[0-9;]*m", plain)
    assert b"evaluations" in plain


@needs_terminal
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_line_fits_into_a_narrow_terminal(program, encoding):
    """A long path gives way in its middle, the numbers do not; a terminal that knows no dots gets three."""
    path = program(names=("größe_und_gewicht" * 4,))
    shown = terminal.run_in_terminal([path], columns=60, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert shown.returncode == 0, shown.lines
    lines = progress_lines(shown)
    assert max(map(len, lines)) < 60
    dots = "…" if encoding == "utf-8" else "..."
    assert any(re.search(rf"evaluations  loss: proving p\['.*{re.escape(dots)}.*'\]$", line) for line in lines)


@needs_terminal
def test_several_threads_share_one_line(program):
    body = """
        import concurrent.futures, threading, gradproof

        together = threading.Barrier(4)

        def run(k):
            started = iter([together.wait])

            def square(x):
                wait(0.02)
                for join in started:
                    join()  # all four have begun
                return x**2

            return gradproof.check(square, 1.0 + k, grad=lambda x: 2 * x, progress=True)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            print(*(report.verdict for report in pool.map(run, range(8))))
    """
    shown = terminal.run_in_terminal([program(body)])
    assert progress_lines(shown)
    assert max(sum("gradproof  " in line for line in look) for look in shown.looks) == 1
    assert shown.lines == [" ".join(["CORRECT"] * 8)]


@needs_terminal
def test_the_command_line_says_which_case_of_how_many(program):
    body = """
        import numpy as np, gradproof

        def f(x):
            wait(0.03)
            return float(np.sum(np.sin(x)))

        cases = [gradproof.Case(f, np.linspace(0, 1, 4), grad=np.cos, name=f"case {{k}}") for k in range(3)]
        unnamed = gradproof.Case(f, np.ones(4), grad=np.cos)
    """
    path = program(body)
    shown = terminal.run_in_terminal(["-m", "gradproof", "check", path, "--seed", "0"], rows=60)
    lines = progress_lines(shown)
    assert any(re.match(r"gradproof  3 of 4  \d+ s  \d+ evaluations  case 2: proving x", line) for line in lines)
    assert any(re.match(r"gradproof  4 of 4  \d+ s  \d+ evaluations  unnamed, f: ", line) for line in lines)
    assert "gradproof  " not in "\n".join(shown.lines)
    assert shown.lines[-1].startswith("4 correct")


# ------------------------------------------------------------------------------------------------- a callable


def loss(p):
    return float(np.sum(np.sin(p["w"])) * np.exp(p["b"]))


def gradient(p):
    return {"w": np.cos(p["w"]) * np.exp(p["b"]), "b": np.sum(np.sin(p["w"])) * np.exp(p["b"])}


def doubled(p):
    right = gradient(p)
    right["w"][3] *= 2  # wrong on purpose
    return right


class Clock:
    """In place of the real one: it stands still unless a test lets it go on."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def wait(self, seconds):
        self.now += seconds


def tell_always(monkeypatch):
    """Let a callable be told as often as there is something to tell."""
    monkeypatch.setattr(_progress.Watch.__init__, "__kwdefaults__", {"after": 0.0, "every": 0.0})


POINT = {"w": np.linspace(0.1, 1, 12), "b": 0.3}
X = np.linspace(0.1, 1, 6)
CLAIMS = {
    "grad": lambda told: gradproof.check(loss, POINT, grad=gradient, progress=told, rng=0),
    "wrong": lambda told: gradproof.check(loss, POINT, grad=doubled, progress=told, rng=0),
    "entries": lambda told: gradproof.check(loss, POINT, grad=gradient, level="entries", progress=told, rng=0),
    "jac": lambda told: gradproof.check(np.sin, X, jac=lambda x: np.diag(np.cos(x)), progress=told, rng=0),
    "jac by entry": lambda told: gradproof.check(
        np.sin, X, jac=lambda x: np.diag(np.cos(x)), level="entries", progress=told, rng=0
    ),
    "vjp": lambda told: gradproof.check(np.sin, X, vjp=lambda u, x: u * np.cos(x), progress=told, rng=0),
    "jvp": lambda told: gradproof.check(
        np.sin, np.linspace(0, 1, 80), jvp=lambda v, x: v * np.cos(x), reference=np.sin, progress=told, rng=0
    ),
    "reference": lambda told: gradproof.check(
        lambda x: np.float32(np.sum(np.sin(x))),
        X,
        grad=np.cos,
        reference=lambda x: np.sum(np.sin(x)),
        progress=told,
        rng=0,
    ),
    "vectorized": lambda told: gradproof.check(
        lambda x: np.sum(np.sin(x), axis=-1), X, grad=np.cos, vectorized=True, level="entries", progress=told, rng=0
    ),
    "hess alone": lambda told: gradproof.check(
        lambda x: np.sum(np.sin(x)), X, hess=lambda x: -np.diag(np.sin(x)), progress=told, rng=0
    ),
    "least squares": lambda told: gradproof.scipy.check_least_squares(
        np.sin,
        X,
        lambda x: np.diag(np.cos(x)),
        loss=lambda z: np.array([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2]),
        progress=told,
        rng=0,
    ),
}


@pytest.mark.parametrize("kind", list(CLAIMS))
def test_a_callable_is_told_of_every_evaluation(kind, monkeypatch):
    """Its events are monotone, the last one has finished, and counts what the report counts."""
    tell_always(monkeypatch)
    events = []
    report = CLAIMS[kind](events.append)
    assert [event.finished for event in events] == [False] * (len(events) - 1) + [True]
    for field in ("seconds", "evaluations"):
        values = [getattr(event, field) for event in events]
        assert values == sorted(values), field
    assert events[-1].evaluations == report.cost.evaluations
    assert {event.phase for event in events} <= {"evaluating the claim", "proving", "confirming", "locating"}
    assert len({event.evaluations for event in events}) > 5
    assert report.verdict is (gradproof.Verdict.WRONG if kind == "wrong" else gradproof.Verdict.CORRECT)
    if kind == "wrong":
        assert {"proving", "locating"} < {event.phase for event in events}
        assert any(event.place == "p['w']" for event in events if event.phase == "locating")


def test_a_gradient_that_is_differentiated_is_counted():
    events = []
    point = np.linspace(0.1, 1, 5)
    report = gradproof.check(
        lambda x: np.sum(np.sin(x)),
        point,
        grad=np.cos,
        hess=lambda x: -np.diag(np.sin(x)),
        progress=events.append,
        rng=0,
    )
    assert report.correct
    # (Of the calls of the claims, two each are those for their values at the point.)
    assert events[-1].evaluations == report.cost.evaluations + report.cost.claims - 4


def test_modes_of_a_framework_are_named(monkeypatch):
    torch = pytest.importorskip("torch")
    tell_always(monkeypatch)
    events = []
    report = gradproof.check(
        lambda x: (x**3).sum(), torch.linspace(0, 1, 4, dtype=torch.float64), order=2, progress=events.append, rng=0
    )
    assert report.correct
    modes = [mode for mode, _ in it.groupby(event.mode for event in events if event.mode)]
    assert modes[:2] == ["rev", "fwd"]
    assert "rev-rev" in modes
    assert modes == list(dict.fromkeys(modes))


def test_the_module_that_is_searched_is_named(monkeypatch):
    torch = pytest.importorskip("torch")
    import gradproof.torch

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sin()

        @staticmethod
        def backward(ctx, u):
            return 2 * u  # wrong on purpose

    class Wrong(torch.nn.Module):
        def forward(self, x):
            return Doubled.apply(x)

    tell_always(monkeypatch)
    events = []
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), Wrong(), torch.nn.Linear(4, 1)).double()
    report = gradproof.torch.check_module(
        model, lambda model, x: model(x).sum(), torch.ones(5, 3).double(), rng=0, progress=events.append
    )
    assert report.verdict is gradproof.Verdict.WRONG
    places = {event.place for event in events if event.phase == "locating"}
    assert "in model[1]" in places


def test_the_time_left_is_told_where_every_entry_is_measured(monkeypatch):
    """At a steady pace it is right, and it ends near zero."""
    clock = Clock(monkeypatch)
    events = []

    def slow(x):
        clock.wait(0.02)
        return float(np.sum(np.sin(x)))

    started = clock.now
    gradproof.check(slow, np.linspace(0.1, 1, 200), grad=np.cos, level="entries", rng=0, progress=events.append)
    ended = clock.now - started
    told = [event for event in events if event.seconds_left is not None]
    assert len(told) > 3
    for event in told:
        assert event.seconds_left == pytest.approx(ended - event.seconds, abs=1e-6)
    assert "left" in str(told[0])
    events.clear()
    gradproof.check(slow, np.linspace(0.1, 1, 200), grad=np.cos, rng=0, progress=events.append)
    assert all(event.seconds_left is None for event in events)


def test_a_display_that_fails_does_not_end_the_check():
    """It is called no more, and a warning says so."""
    calls = []

    def broken(event):
        calls.append(event)
        raise RuntimeError("no display")

    with pytest.warns(gradproof.GradproofWarning, match="`progress` raised RuntimeError: no display"):
        report = gradproof.check(loss, POINT, grad=gradient, progress=broken, rng=0)
    assert report.correct
    assert len(calls) == 1


def test_the_end_is_told_when_f_raises():
    events = []

    def f(x):
        if len(calls := f.__dict__.setdefault("calls", [])) > 5:
            raise MemoryError("out of luck")
        calls.append(x)
        return x**2

    with pytest.raises(gradproof.FunctionError):
        gradproof.check(f, 2.0, grad=4.0, progress=events.append, rng=0)
    assert events[-1].finished


def test_a_report_does_not_depend_on_who_watches():
    silent, told = (
        gradproof.check(loss, POINT, grad=doubled, rng=0, progress=progress) for progress in (False, lambda event: None)
    )
    assert silent.to_json(run=False) == told.to_json(run=False)


def test_a_check_within_a_check_and_a_case():
    """The one within is counted as part of the one around it, unless it says otherwise."""
    events = []

    def with_another(x, setting):
        assert gradproof.Case(lambda y: y**2, 3.0, grad=6.0, rng=0, progress=setting).check().correct
        return x**2

    counts = []
    for setting in (None, False):
        gradproof.check(with_another, (2.0, setting), grad=4.0, rng=0, progress=events.append)
        counts.append(events[-1].evaluations)
    alone = gradproof.check(lambda x: x**2, 2.0, grad=4.0, rng=0).cost.evaluations
    assert counts[1] == alone
    assert counts[0] > 5 * alone


def test_asked_for_it_goes_to_a_log_line_by_line(monkeypatch, capsys):
    """Where stderr is no terminal, nothing can be taken back."""
    clock = Clock(monkeypatch)
    report = gradproof.check(lambda x: clock.wait(2.5) or x**2, 2.0, grad=4.0, rng=0, progress=True)
    lines = capsys.readouterr().err.splitlines()
    pattern = r"gradproof  (\d+) s  (\d+) evaluations \(2.5 s each\)  f: proving x"
    told = [re.fullmatch(pattern, line) for line in lines]
    assert all(told), lines
    assert [(int(one[1]), int(one[2])) for one in told] == [(10 * k, 4 * k) for k in range(1, len(told) + 1)]
    assert len(told) == report.cost.evaluations // 4


@pytest.mark.parametrize("progress", [1, "yes", 0.5])
def test_what_progress_may_be(progress):
    with pytest.raises(gradproof.UsageError, match="`progress` must be True, False, None or callable"):
        gradproof.check(loss, POINT, grad=gradient, progress=progress, rng=0)


# -------------------------------------------------------------------------------------------------- the line


@pytest.mark.parametrize("width", [10, 30, 50, 60, 80, 200])
def test_a_line_is_never_longer_than_told(width):
    event = gradproof.Progress(
        name="a_loss_of_some_length",
        seconds=3725,
        evaluations=1204,
        place="params['encoder']['layers'][11]['attention']['query']['kernel']",
        mode="fwd-rev",
        seconds_left=100.0,
    )
    line = event.line(width, "…")
    assert len(line) <= width
    assert line.startswith("gradproof  "[: width - 1])
    if width == 200:
        assert line == str(event)
        assert "1 h 02 min  1,204 evaluations (3.1 s each)  about 1 min 40 s left" in line
    assert "finished" in str(dataclasses.replace(event, finished=True))


def test_durations():
    texts = {0.4: "0 s", 59.9: "59 s", 60: "1 min 00 s", 185: "3 min 05 s", 7800: "2 h 10 min"}
    assert {seconds: _progress.duration(seconds) for seconds in texts} == texts
