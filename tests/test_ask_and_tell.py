"""A check whose values come from elsewhere: what is asked, what may be told, and a journal to go on from."""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import gradproof
from gradproof import Session, Verdict
from helpers import ids

X = np.linspace(0.1, 2.0, 30)
WEIGHTS = np.random.default_rng(0).normal(size=(4, 30))


def loss(x):
    return np.sum(np.sin(x))


def layer(x):
    return np.tanh(WEIGHTS @ x)


def layer_jac(x):
    return (1 - np.tanh(WEIGHTS @ x) ** 2)[:, None] * WEIGHTS


def wrong_jac(x):
    jac = layer_jac(x)
    jac[2, 17] *= -1  # wrong on purpose
    return jac


def wrong_cos(x):
    gradient = np.cos(x)
    gradient[7] *= 2  # wrong on purpose
    return gradient


def cubic(p, c):
    return c * np.sum(p["w"] ** 3) + p["b"]


def cubic_grad(p, c):
    return {"w": 3 * c * p["w"] ** 2, "b": 1.0}


def call(f, point):
    return f(*point) if type(point) is tuple else f(point)


def play(session, f, most=100):
    """Answer until the report is there; how many points were asked for in each round."""
    rounds = []
    while not session.done:
        points = session.ask()
        rounds.append(len(points))
        assert len(rounds) < most
        session.tell([call(f, point) for point in points])
    return rounds


QUESTIONS = [
    (loss, X, {"grad": np.cos}),
    (loss, X, {"grad": np.cos(X)}),
    (loss, X, {"grad": wrong_cos}),
    (loss, X, {"grad": np.cos, "domain": (0.1, None)}),
    (loss, X, {"grad": np.cos, "level": "entries"}),
    (loss, X, {"grad": np.cos, "hess": lambda x: np.diag(-np.sin(x))}),
    (loss, X[:3], {"hess": lambda x: np.diag(-np.sin(x))}),
    (loss, X[:3], {"hess": lambda x: np.diag(np.sin(x))}),  # wrong on purpose
    (layer, X, {"jac": layer_jac}),
    (layer, X, {"jac": wrong_jac}),
    (layer, X, {"jac": layer_jac, "level": "entries"}),
    (layer, X, {"jac": wrong_jac, "level": "entries"}),
    (layer, X, {"vjp": lambda u, x: u @ layer_jac(x)}),
    (layer, X, {"jvp": lambda v, x: layer_jac(x) @ v}),
    (cubic, ({"w": X, "b": 2.0}, 3.0), {"grad": cubic_grad}),
    (lambda x: np.float32(np.sum(np.sin(x))), X.astype(np.float32), {"grad": np.cos}),
    (lambda x: np.sum(np.abs(x) ** 2), X + 1j, {"grad": lambda x: 2 * x}),
]


@pytest.mark.parametrize(("f", "args", "claim"), QUESTIONS)
def test_a_session_reports_what_a_check_reports(f, args, claim):
    """Verdict, findings, leaves and evaluations; only the line that runs it again differs."""
    names = ("p", "c") if type(args) is tuple else None
    session = Session(args, **claim, rng=0, names=names)
    rounds = play(session, f)
    report, other = session.report, gradproof.check(f, args, **claim, rng=0)
    assert report.verdict is other.verdict
    assert report.leaves == other.leaves
    assert [(one.id, one.path, one.kind) for one in report.findings] == [
        (one.id, one.path, one.kind) for one in other.findings
    ]
    assert report.cost.evaluations == sum(rounds) == session.evaluations
    assert session.ask() == []


def test_a_correct_gradient_takes_few_rounds():
    """All steps of a direction are asked for together."""
    session = Session(X, grad=np.cos, rng=0)
    rounds = play(session, loss)
    assert len(rounds) <= 5
    assert sum(rounds) <= 24


def test_every_pair_of_a_jacobian_is_asked_for_at_once():
    rounds = play(Session(X, jac=layer_jac, level="entries", rng=0), layer)
    assert len(rounds) <= 6
    assert max(rounds) == 2 * X.size


def test_points_have_the_form_of_args_and_are_copies():
    session = Session(({"w": X, "b": 2.0}, "mode"), grad={"w": X, "b": 1.0}, rng=0)
    ((point, mode),) = session.ask()
    assert (mode, point["b"], type(point["w"])) == ("mode", 2.0, np.ndarray)
    point["w"][:] = 0
    assert np.array_equal(session.ask()[0][0]["w"], X)
    assert isinstance(Session(X, grad=np.cos, rng=0).ask()[0], np.ndarray)


def test_asking_twice_asks_the_same():
    session = Session(X, grad=np.cos, rng=0)
    session.tell([loss(X)])
    first, again = session.ask(), session.ask()
    assert len(first) > 4
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_simulator_that_is_not_deterministic_is_noticed():
    """Two values at one point are two runs."""
    random = np.random.default_rng(0)
    session = Session(X, grad=np.cos, rng=0)
    play(session, lambda x: loss(x) + 1e-6 * random.normal())
    assert ids(session.report) == ["GP303"]


def test_a_run_that_failed_is_a_point_outside_the_domain():
    """None and nan say so; at the point itself nothing can be said."""

    def beyond(value):
        return lambda x: np.sum(np.sqrt(x)) if (x >= 0).all() else value

    x = np.array([1e-6, 1.0, 2.0])
    for value in (None, np.nan):
        session = Session(x, grad=lambda x: 0.5 / np.sqrt(x), rng=0)
        play(session, beyond(value))
        assert session.report.verdict is Verdict.CORRECT
    session = Session(x, grad=np.cos, rng=0)
    with pytest.raises(gradproof.FunctionError, match="the run failed"):
        session.tell([None])
    assert len(session.ask()) == 1  # as if nothing had been told
    session = Session(x, grad=np.cos, rng=0)
    session.tell([np.nan])
    assert ids(session.report) == ["GP304"]


def test_nobody_is_asked_for_complex_points():
    """The complex step, which helps where bars are wide, is for functions of Python; so for many tangents of a jvp."""
    matrix = np.random.default_rng(1).normal(size=(3, 200))
    x = np.linspace(0.1, 2.0, 200)

    def noisy(x):
        assert not np.iscomplexobj(x)
        return np.round(np.tanh(matrix @ x / 20), 5)

    def jvp(v, x):
        return (1 - np.tanh(matrix @ x / 20) ** 2) * (matrix @ v / 20)

    session = Session(x, jvp=jvp, rng=0)
    rounds = play(session, noisy, most=500)
    assert session.report.cost.evaluations == sum(rounds)
    assert max(rounds) > 8
    assert session.report.verdict is not Verdict.WRONG


@pytest.mark.parametrize("kind", [float, np.float64, np.array])
def test_one_value_for_one_point(kind):
    """Where one point is asked for, its value need not be in a list; the report is the same."""
    session, listed = Session(X, grad=np.cos, rng=0), Session(X, grad=np.cos, rng=0)
    alone = 0
    while not session.done:
        values = [kind(np.sum(np.sin(point))) for point in session.ask()]
        alone += len(values) == 1
        session.tell(values[0] if len(values) == 1 else values)
        listed.tell(values)
    assert alone
    assert session.report == listed.report


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (1.0, "got one value"),
        (np.array(1.0), "got one value"),
        (np.sum, "got a "),
        ({0: 1.0}, "got a dict"),
        ("1.0", "got a str"),
        (None, "got a NoneType"),
    ],
)
def test_values_that_are_no_list(values, got):
    """What is wrong, and the line that tells all values, are said; nothing has been told."""
    session = Session(X, grad=np.cos, rng=0)
    session.tell([float(np.sum(np.sin(X)))])
    count = len(session.ask())
    assert count > 1
    with pytest.raises(gradproof.UsageError) as error:
        session.tell(values)
    assert f"each of the points that `ask` returned, here {count}, {got}" in str(error.value)
    assert "`session.tell([f(point) for point in session.ask()])`" in str(error.value)
    assert session.evaluations == 1


def test_what_cannot_be_told_is_an_error():
    session = Session(X, jac=layer_jac, rng=0)
    with pytest.raises(gradproof.UsageError, match="needs 1 values, one for each point, got 2"):
        session.tell([1.0, 2.0])
    with pytest.raises(gradproof.UsageError, match="value 0 must be a number"):
        session.tell(["1.0"])
    with pytest.raises(gradproof.UsageError, match=r"got 4. A value of several numbers is told as `\[value\]`"):
        session.tell(layer(X))
    session.tell([layer(X)])
    values = [layer(point) for point in session.ask()]
    with pytest.raises(gradproof.UsageError, match="value 1 has shape \\(3,\\)"):
        session.tell([values[0], values[1][:3], *values[2:]])
    with pytest.raises(gradproof.UsageError, match="not done"):
        _ = session.report
    session.tell(values)  # the refused ones left nothing behind
    play(session, layer)
    assert session.report.correct
    with pytest.raises(gradproof.UsageError, match="a claim is missing"):
        Session(X, rng=0)
    with pytest.raises(gradproof.UsageError, match="`Session` takes no f"):
        Session(layer, X, jac=layer_jac)  # pyright: ignore
    with pytest.raises(gradproof.UsageError, match="must be 1 identifiers"):
        Session(X, grad=np.cos, names=("x", "y"), rng=0)


# ------------------------------------------------------------------------------------------------------- journal


def test_a_journal_goes_on_where_the_last_session_stopped(tmp_path):
    """Each round in a session of its own: the same points, the same report."""
    path = tmp_path / "check.jsonl"
    whole = Session(X, grad=wrong_cos, rng=5)
    play(whole, loss)
    sessions = 0
    while True:
        session = Session(X, grad=wrong_cos, journal=path, rng=5 if sessions == 0 else None)
        sessions += 1
        if session.done:
            break
        session.tell([loss(point) for point in session.ask()])
    assert sessions > 3
    assert session.seed == 5
    assert session.report == whole.report


@pytest.mark.parametrize(
    ("value", "args"),
    [
        (lambda x: np.float32(np.sum(np.sin(x))), X.astype(np.float32)),
        (lambda x: x[:3] * (1 + 2j), X + 1j),
        (lambda x: np.array([[x[0], np.inf], [np.nan, -np.inf]]), X),
        (lambda x: None, X),
        (lambda x: 3, X),
    ],
    ids=["float32", "complex", "not finite", "failed", "int"],
)
def test_a_journal_keeps_every_bit(tmp_path, value, args):
    from gradproof._run._journal import Journal

    told = value(args) if value(args) is None else np.asarray(value(args))
    journal = Journal(str(tmp_path / "journal"))
    journal.tell(["a"], [told])
    journal.close()
    ((key, read),) = Journal(str(tmp_path / "journal")).told()
    assert key == "a"
    if told is None:
        assert read is None
    else:
        assert (read.dtype, read.shape, read.tobytes()) == (told.dtype, told.shape, told.tobytes())


OLD = """{"gradproof_journal": 1, "seed": 5}
{"point": "%s", "value": [18.23], "dtype": "float64", "shape": []}
{"point": "b", "value": null}
{"point": "c", "value": ["nan", 1.0], "dtype": "complex128", "shape": [1]}
{"point": "d", "val"""


def test_a_journal_of_lines_is_read_and_becomes_one_of_today(tmp_path):
    """What a killed process had left of a line is dropped, as it was."""
    from gradproof._backends import digest
    from gradproof._run._journal import Journal

    path = tmp_path / "check.jsonl"
    path.write_text(OLD % digest(X))
    session = Session(X, grad=np.cos, journal=path)
    assert session.seed == 5
    assert session.evaluations == 3
    assert len(session.ask()) > 1  # the value at the point is known
    assert path.read_bytes().startswith(b"SQLite format 3")
    told = dict(Journal(str(path)).told())
    assert told["b"] is None
    assert str(told["c"]) == "[nan+1.j]"
    play(session, loss)
    assert [one.name for one in tmp_path.iterdir() if "new" in one.name] == []


def test_a_corrected_claim_uses_the_values_again(tmp_path):
    path = tmp_path / "check.jsonl"
    play(Session(X, grad=wrong_cos(X), journal=path, rng=0), loss)
    session = Session(X, grad=np.cos(X), journal=path)
    asked = sum(play(session, loss))
    assert session.report.correct
    assert asked < session.report.cost.evaluations


def test_another_point_asks_for_other_values(tmp_path):
    path = tmp_path / "check.jsonl"
    play(Session(X, grad=np.cos, journal=path, rng=0), loss)
    assert len(Session(X + 1, grad=np.cos, journal=path).ask()) == 1


@pytest.mark.parametrize("text", ["not json\n", "[1]\n", '{"gradproof_journal": 99, "seed": 1}\n', '{"a": 1}\n'])
def test_a_file_that_is_no_journal_is_an_error_and_stays(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(gradproof.UsageError, match="journal"):
        Session(X, grad=np.cos, journal=path)
    assert path.read_text() == text


# ------------------------------------------------------------------------------------------------------- example

SIMULATOR = pathlib.Path(__file__).parents[1] / "examples" / "simulator"


def check_heat(folder, rounds=12):
    """Run the example, a process for each round, to its end or for some rounds."""
    for _ in range(rounds):
        command = [sys.executable, SIMULATOR / "check_heat.py", folder]
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode != 3:
            return finished
        assert "run this again" in finished.stdout, finished.stderr
    assert rounds < 12
    return None


def imported(name):
    """A script of the example as a module."""
    sys.path.insert(0, str(SIMULATOR))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SIMULATOR))


def test_example(tmp_path):
    """A simulator outside Python, compiled if there is a compiler, with files in between; its adjoint is right."""
    finished = check_heat(tmp_path / "right")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("CORRECT  heat")


def test_example_without_a_compiler(tmp_path, monkeypatch, capsys):
    """The same with the simulator in Python, and an adjoint whose entry is changed."""
    monkeypatch.setenv("PATH", "")
    gradient = imported("heat").adjoint(imported("check_heat").X)
    gradient[5] *= 2  # wrong on purpose
    np.savetxt(tmp_path / "gradient.txt", [gradient], fmt="%.17g")
    codes = [3]
    while codes[-1] == 3:
        codes.append(imported("check_heat").main(tmp_path))
        assert len(codes) < 20
    assert codes[-1] == 1
    assert "x[5]  error GP101" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "arguments", "usage"),
    [
        ("check_heat.py", [], "usage: python check_heat.py FOLDER"),
        ("check_heat.py", ["one", "two"], "usage: python check_heat.py FOLDER"),
        ("heat.py", [], "usage: python heat.py value|adjoint < points"),
        ("heat.py", ["gradient"], "usage: python heat.py value|adjoint < points"),
    ],
)
def test_the_example_says_what_it_wants(script, arguments, usage, tmp_path):
    """One line, and a code that no round of a check ends with."""
    command = [sys.executable, SIMULATOR / script, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert (finished.returncode, finished.stdout) == (2, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith(usage)
    assert list(tmp_path.iterdir()) == []


def test_both_simulators_of_the_example_agree(tmp_path):
    """The adjoint of each is that of the same values, as complex numbers show."""
    heat = imported("heat")
    x = np.linspace(-0.5, 0.5, heat.PIECES)
    steps = x + 1e-20j * np.eye(heat.PIECES)

    def misfit(x):
        return 0.5 * np.sum((heat.temperatures(x)[-1] - 1) ** 2)

    truth = np.array([misfit(step).imag / 1e-20 for step in steps])
    np.testing.assert_allclose(heat.adjoint(x), truth, rtol=1e-12)
    check_heat(tmp_path, rounds=1)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "gradient.txt"), truth, rtol=1e-12)
