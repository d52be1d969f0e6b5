"""The command line from outside: exit codes, streams, names, and what it does without a terminal."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

from gradproof import Report, Verdict

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"

# Written into the files under test: a right gradient, a wrong one, and a point at which nothing can be learned.
HEADER = """
import numpy as np
import gradproof

def square(x):
    return x @ x

def right(x):
    return 2 * x

def wrong(x):
    return 3 * x  # wrong on purpose

def constant(x):
    return 1.0

def zero(x):
    return 0 * x

def raises(x):
    raise ZeroDivisionError("of the user")

x = np.array([1.0, 2.0, -3.0])
good = gradproof.Case(square, (x,), grad=right)
"""
BAD = "bad = gradproof.Case(square, (x,), grad=wrong)\n"
FLAT = "flat = gradproof.Case(constant, (x,), grad=zero)\n"
BROKEN = "broken = gradproof.Case(raises, (x,), grad=right)\n"


def gradproof(*args, cwd=None, command=("-m", "gradproof"), **env):
    """Run the command without a terminal, and return what came of it."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONIOENCODING")}
    return subprocess.run(
        [sys.executable, *command, *map(str, args)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**kept, "PYTHONIOENCODING": "utf-8", **env},
        timeout=600,
        check=False,
    )


@pytest.fixture
def write(tmp_path):
    """A function that writes a file under test and returns its path."""

    def write(body, name="cases_here.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + textwrap.dedent(body), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("body", "code", "last"),
    [
        ("", 0, "1 correct, 0 wrong, 0 inconclusive, 0 not differentiable"),
        (BAD, 1, "1 correct, 1 wrong, 0 inconclusive, 0 not differentiable"),
        (BROKEN, 2, "1 correct, 0 wrong, 0 inconclusive, 0 not differentiable, 1 could not run"),
        (FLAT, 3, "1 correct, 0 wrong, 1 inconclusive, 0 not differentiable"),
        (BROKEN + BAD, 1, "1 correct, 1 wrong, 0 inconclusive, 0 not differentiable, 1 could not run"),
        (BROKEN + FLAT, 2, "1 correct, 0 wrong, 1 inconclusive, 0 not differentiable, 1 could not run"),
    ],
)
def test_exit_codes(write, body, code, last):
    """1 before 2 before 3 before 0; the last line counts the verdicts."""
    done = gradproof("check", write(body))
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == last


def test_a_case_that_cannot_run_says_which_and_why_and_the_others_go_on(write):
    """The user's frames are shown, ours are not."""
    done = gradproof("check", write(BROKEN + "good2 = gradproof.Case(square, (2 * x,), grad=right)"))
    assert done.stderr.startswith("could not run  broken  FunctionError: ")
    assert 'ZeroDivisionError("of the user")' in done.stderr
    assert "in raises" in done.stderr
    assert os.path.join("gradproof", "_") not in done.stderr
    assert "CORRECT  good2" in done.stdout


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda write: "nowhere.py", "no such file"),
        (lambda write: "no_such_module_here", "no module named 'no_such_module_here'"),
        (lambda write: "no_such_package_here.x:y", "no module named 'no_such_package_here'"),
        (lambda write: f"{write('')}:goood", "has no Case named `goood`. Did you mean `good`?"),
        (lambda write: f"{write('')}:square", "`square` in"),
        (lambda write: f"{write('del good')}", "no gradproof.Case at module level"),
        (lambda write: "cases_here.py:", "must be FILE.py, FILE.py:NAME"),
    ],
)
def test_targets_without_cases(write, tmp_path, make, message):
    done = gradproof("check", make(write), cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError: division by zero"),
        ("x = (\n", "SyntaxError: '(' was never closed"),
        ("import not_to_be_found\n", "ModuleNotFoundError: No module named 'not_to_be_found'"),
        ("raise SystemExit('enough')\n", "SystemExit: enough"),
    ],
)
def test_errors_of_the_users_file_show_only_the_users_frames(write, body, message):
    done = gradproof("check", write(body))
    assert done.returncode == 2
    assert message in done.stderr
    assert "cases_here.py" in done.stderr
    assert "_cli.py" not in done.stderr
    assert "importlib" not in done.stderr


def test_names_and_containers(write):
    """Lists, tuples and dicts count; own names come before variables'; a Case bound twice runs once."""
    path = write("""
        again = good
        cases = [good, gradproof.Case(square, (2 * x,), grad=right), "no case"]
        table = {"relu": gradproof.Case(square, (3 * x,), grad=right, name="my [red] name"), 3: (good,)}
        nested = [(gradproof.Case(square, (4 * x,), grad=right),)]
        nested.append(nested)
        """)
    done = gradproof("check", path)
    assert done.returncode == 0, done.stderr
    banners = [line.split("  ")[1] for line in done.stdout.splitlines() if line.startswith("CORRECT  ")]
    assert banners == ["good", "cases[1]", "my [red] name", "nested[0][0]"]


@pytest.mark.parametrize("name", ["table", "table['b']", "second"])
def test_target_with_a_name(write, name):
    """NAME is a container, a shown name, or a variable."""
    path = write(BAD + "second = gradproof.Case(square, (x,), grad=right)\ntable = {'b': second}\n")
    done = gradproof("check", f"{path}:{name}")
    assert done.returncode == 0, done.stderr
    assert "1 correct, 0 wrong" in done.stdout


def test_target_as_a_module(write, tmp_path):
    """The current folder is importable; a package's module is imported as such, by its dotted name or its file."""
    write("", "pack/__init__.py")
    write("from . import good as imported\n", "pack/inner.py")
    for target in ("pack.inner", "pack.inner:good", os.path.join("pack", "inner.py")):
        done = gradproof("check", target, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["json.py", "numpy.py", "test.py", "with space.py", "two-words.py"])
def test_file_with_an_awkward_name(write, name):
    """A file that is named like a library is still the file."""
    done = gradproof("check", write("", name))
    assert done.returncode == 0, done.stderr


def test_several_targets(write):
    """All are run, and names say where they come from; one that cannot be found does not stop the others."""
    one, two = write("", "one.py"), write(BAD, "two.py")
    done = gradproof("check", f"{one}:good", "nowhere.py", two)
    assert done.returncode == 1
    assert "could not run  nowhere.py" in done.stderr
    assert "two.py:bad" in "".join(done.stdout.split())
    assert done.stdout.splitlines()[-1].startswith("2 correct, 1 wrong")


def test_worst_is_last_before_the_summary_which_has_it_first(write):
    lines = gradproof("check", write(BAD + FLAT)).stdout.splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("case ")) :]
    assert [line.split()[1] for line in table[2:5]] == ["WRONG", "INCONCLUSIVE", "CORRECT"]


def test_quiet_shows_what_is_not_correct_and_the_last_line(write):
    done = gradproof("check", "-q", write(""))
    assert done.stdout == "1 correct, 0 wrong, 0 inconclusive, 0 not differentiable\n"
    done = gradproof("check", "--quiet", write(BAD))
    assert "WRONG  bad" in done.stdout
    assert "CORRECT  good" not in done.stdout


def test_json_to_a_file_reads_back(write, tmp_path):
    path = tmp_path / "reports.json"
    done = gradproof("check", write(BAD + BROKEN), "--json", path, "--seed", "5")
    assert done.returncode == 1
    assert "WRONG  bad" in done.stdout
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    reports = [Report.from_json(json.dumps(entry)) for entry in document["reports"]]
    assert [(r.name, r.verdict, r.seed) for r in reports] == [("good", Verdict.CORRECT, 5), ("bad", Verdict.WRONG, 5)]
    assert [(e["case"], e["error"]) for e in document["errors"]] == [("broken", "FunctionError")]


def test_json_to_stdout_has_it_to_itself(write):
    """What the user's code prints goes to stderr then."""
    path = write("print('hello')\ndef talks(x):\n    print('hi')\n    return x @ x\n"
                 "talking = gradproof.Case(talks, (x,), grad=right)\n")  # fmt: skip
    done = gradproof("check", path, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["reports"]) == 2
    assert "hello" in done.stderr


def test_json_that_cannot_be_written(write, tmp_path):
    """A folder that is not there is noticed before anything runs; a later failure counts as 'could not run'."""
    done = gradproof("check", write(""), "--json", tmp_path / "no" / "folder.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such folder" in done.stderr
    blocked = tmp_path / "blocked.json"
    path = write(f"import pathlib\npathlib.Path({str(blocked)!r}).mkdir(exist_ok=True)\n")
    done = gradproof("check", path, "--json", blocked)
    assert done.returncode == 2
    assert "cannot be written" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout.endswith("1 correct, 0 wrong, 0 inconclusive, 0 not differentiable\n")


def test_same_seed_same_output(write):
    path = write(BAD)
    assert gradproof("check", path, "--seed", 3).stdout == gradproof("check", path, "--seed", 3).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupt_is_quiet(write):
    # (What is started in the background ignores the signal.)
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    done = gradproof("check", write(f"import os, signal\n{heard}os.kill(os.getpid(), signal.SIGINT)\n"))
    assert done.returncode == 130
    assert done.stdout == done.stderr == ""


def test_no_escape_codes_without_a_terminal(write):
    """Whatever TERM says, and whatever the width: none wider than COLUMNS, 100 unless told."""
    path = write(BAD)
    for columns in (None, 80, 50):
        env = {} if columns is None else {"COLUMNS": str(columns)}
        done = gradproof("check", path, TERM="xterm-256color", **env)
        assert "\x1b" not in done.stdout
        lines = done.stdout.splitlines()
        assert max(map(len, lines)) <= (columns or 100)
        assert not [line for line in lines if line.endswith(" ")]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_on_a_terminal_unless_told_otherwise(write, no_color):
    import pty

    ours, theirs = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    env |= {"TERM": "xterm-256color", "NO_COLOR": no_color}
    command = [sys.executable, "-m", "gradproof", "check", str(write(BAD))]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env)
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 4096):
            output += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    process.communicate(timeout=600)
    os.close(ours)
    assert process.returncode == 1
    assert (b"\x1b[" in output) == (no_color == "")
    assert b"WRONG" in output


def test_narrow_encodings(write):
    """A console that knows no plus-minus sign gets '+-', and no name can crash it."""
    body = "named = gradproof.Case(square, (x,), grad=wrong, name='größe 重み')\n"
    done = gradproof("check", write(body), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1, done.stderr
    assert "+-" in done.stdout
    assert done.stdout.isascii()


def test_help_version_and_typing_errors():
    for flag in ("-h", "--help"):
        done = gradproof(flag)
        assert done.returncode == 0
        assert "demo" in done.stdout
        assert "check" in done.stdout
    text = gradproof("check", "-h").stdout
    assert "Exit codes, the first that applies:\n    1  something is wrong\n" in text
    assert gradproof("--version").stdout.startswith("gradproof, version ")
    done = gradproof("chek")
    assert (done.returncode, done.stdout) == (2, "")
    done = gradproof("check", "x.py", "--sed", "1")
    assert done.returncode == 2
    assert "--seed" in done.stderr
    assert gradproof("check").returncode == 2


def test_help_loads_no_more_than_it_needs():
    """Neither a framework nor SciPy."""
    code = "import sys, gradproof._commands._cli; print(sorted({'torch', 'jax', 'scipy', 'rich'} & set(sys.modules)))"
    assert gradproof(command=("-c", code)).stdout == "[]\n"


def test_demo():
    """The course's rule and gradproof side by side, and why the former rejects the right network."""
    done = gradproof("demo", "--seed", "3", COLUMNS="100")
    assert done.returncode == 0, done.stdout + done.stderr
    words = " ".join(done.stdout.split())
    for part in (
        "network with two bugs mistake 0.285 94 WRONG: b1 factor 4, W2 factor 2",
        "network, fixed mistake (false) 1.19e-7 94 CORRECT, no error above",
        "claimed 2 times the true gradient",
        "claimed 4 times the true gradient",
        "turn it off",
        "gradproof demo --seed 3",
    ):
        assert part in words, done.stdout
    assert done.stdout == gradproof("demo", "--seed", "3", COLUMNS="100").stdout


@pytest.mark.parametrize("columns", [40, 50, 80, 120])
def test_demo_on_narrow_terminals(columns):
    done = gradproof("demo", COLUMNS=str(columns))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= columns


def test_demo_says_so_when_a_verdict_is_not_the_known_truth():
    """The expectation has teeth: the bugged network against other factors, and against none."""
    from gradproof import course
    from gradproof._commands import _demo

    assert _demo.network(course.backward_propagation_n_with_bugs, "", 1, {"W2": 2.0, "b1": 4.0}).as_expected
    for factors in ({"W2": 2.0}, {"W2": 2.0, "b1": 3.0}, {"W2": 2.0, "b1": 4.0, "W1": 2.0}, {}):
        assert not _demo.network(course.backward_propagation_n_with_bugs, "", 1, factors).as_expected
    assert not _demo.network(course.backward_propagation_n, "", 1, {"W2": 2.0}).as_expected


def test_demo_explains_the_false_alarm_by_rounding_noise():
    """From 1e-5 down, the relative difference is what the cost's noise divided by epsilon predicts, within 3 times."""
    from gradproof import course
    from gradproof._commands import _demo

    noise = _demo.rounding_noise()
    assert 5e-15 < noise < 5e-14
    steps = _demo.rule_at_steps(course.backward_propagation_n, _demo.EPSILONS, noise)
    for step in steps:
        if step.epsilon < 2e-5:
            assert 1 / 3 < step.difference / step.from_noise < 3
    assert [step.accepts for step in steps] == [True] * 4 + [False] * 3


@pytest.mark.parametrize(("name", "code"), [("course.py", 1), ("linear_regression.py", 0)])
def test_examples(name, code):
    done = gradproof("check", EXAMPLES / name)
    assert done.returncode == code, done.stdout + done.stderr


def test_every_example_is_run():
    """Beside those above: test_ask_and_tell, test_pytest_plugin, test_guard and test_executors run the others."""
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.suffix in (".py", ".c")}
    simulator = {"simulator/check_heat.py", "simulator/heat.py", "simulator/heat.c"}
    suite = {"suite/test_functions.py", "suite/test_layers.py"}
    cluster = {"cluster/check_cluster.py"}
    assert files == {"course.py", "linear_regression.py", "train.py"} | simulator | suite | cluster
