"""What GitHub Actions is told, from outside: by the command line and by the pytest plugin."""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import gradproof
from gradproof._base._sources import definitions
from gradproof._render._github import within

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "how-to" / "github-actions.md"

# What the tests name stands on lines with a mark, such as "# (wrong)".
HEADER = """
import functools
import numpy as np
import pytest
import gradproof as gp

def square(x):  # (square)
    return x @ x

def right(x):  # (right)
    return 2 * x

def wrong(x):  # (wrong)
    return 3 * x  # wrong on purpose

def constant(x):
    return 1.0

def zero(x):  # (zero)
    return 0 * x

def raises(x):  # (raises)
    raise ZeroDivisionError("100 % of,\\nthe user's: ::error::no")

x = np.array([1.0, 2.0, -3.0])
"""
CASES = """
good = gp.Case(square, x, grad=right)
bad = gp.Case(square, x, grad=functools.partial(wrong))
value = gp.Case(square, x, grad=3 * x)  # wrong on purpose
foreign = gp.Case(np.sum, x, grad=2 * np.ones(3))  # (foreign) wrong on purpose
second = gp.Case(square, x, grad=right, hess=lambda x: 3 * np.eye(3))  # (second) wrong on purpose
flat = gp.Case(constant, x, grad=zero)
kink = gp.Case(abs, 0.0, grad=zero)
broken = gp.Case(raises, x, grad=right)
"""
EXPECTED = {
    "bad": ("error", "(wrong)"),
    "value": ("error", "(square)"),
    "foreign": ("error", "(foreign)"),
    "second": ("error", "(second)"),
    "broken": ("error", "(raises)"),
    "flat": ("warning", "(zero)"),
    "kink": ("warning", "(zero)"),
}
TESTS = """
def test_right(gradproof):
    gradproof(square, x, grad=right)

@pytest.mark.parametrize("name", ["a,b::c%0A"])
def test_wrong(gradproof, name):
    gradproof(square, x, grad=wrong)

def test_plain():
    gp.assert_grad(square, x, grad=functools.partial(wrong), rng=0)

def test_recorded(gradproof):
    assert gradproof.check(square, x, grad=3 * x).correct  # wrong on purpose

def test_foreign(gradproof):  # (foreign)
    gradproof(np.sum, x, grad=2 * np.ones(3))  # wrong on purpose

def test_flat(gradproof):
    gradproof(constant, x, grad=zero)

def test_kink(gradproof):
    gradproof(abs, 0.0, grad=zero)

def test_usage(gradproof):  # (usage)
    gradproof(square, x, grad=wrong, rtol=-1)

def test_expected(gradproof):
    with pytest.raises(gp.GradientError):
        gradproof(square, x, grad=wrong)

@pytest.mark.xfail
def test_known(gradproof):
    gradproof(square, x, grad=wrong)

def test_broken_otherwise(gradproof):
    gradproof(square, x, grad=right)
    gradproof(abs, 0.0, grad=zero)  # warns
    assert False
"""
EXPECTED_OF_TESTS = {
    ("error", "(wrong)", "test_wrong[a,b::c%0A]"),
    ("error", "(wrong)", "test_plain"),
    ("error", "(square)", "test_recorded"),
    ("error", "(foreign)", "test_foreign"),
    ("warning", "(zero)", "test_flat"),
    ("error", "(usage)", "test_usage"),
}


def run(*command, cwd, **env):
    """Run a module of Python in a folder, outside of GitHub but for `env`."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80", **env},
        timeout=600,
        check=False,
    )


def commands(text):
    """The workflow commands in a log, as the runner reads them: name, properties, message."""
    found = []
    for line in text.split("\n"):
        match = re.match(r"\s*::([^: ]+)(?: (.*?))?::(.*)", line)
        if match is None:
            continue
        name, properties, message = match.groups()
        pairs = dict(pair.split("=", 1) for pair in (properties or "").split(",") if pair)
        for escape, character in {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}.items():
            pairs = {key: value.replace(escape, character) for key, value in pairs.items()}
            if escape not in ("%3A", "%2C"):
                message = message.replace(escape, character)
        found.append((name, pairs, message))
    return found


def mark(folder, properties):
    """The mark in the line that an annotation is about."""
    line = (folder / properties["file"]).read_text(encoding="utf-8").splitlines()[int(properties["line"]) - 1]
    return re.search(r"\(\w+\)", line.partition("#")[2])[0]


@pytest.fixture
def project(tmp_path):
    """A repository with blanks and a comma in its paths, and its files."""
    folder = tmp_path / "my repository" / "a, b"
    folder.mkdir(parents=True)

    def write(body, name="cases here.py"):
        (folder / name).write_text(textwrap.dedent(HEADER + body), encoding="utf-8")
        return folder

    return write


def test_the_command_line_annotates_the_claims_definition(project):
    """Or f where the claim is a value, or the Case where both are somebody else's; the rest of the output stays."""
    folder = project(CASES)
    arguments = ("gradproof", "check", "--seed", "1", "cases here.py")
    plain = run(*arguments, cwd=folder)
    told = run(*arguments, "--github", cwd=folder, GITHUB_WORKSPACE=str(folder.parent))

    assert commands(plain.stdout + plain.stderr) == []
    assert told.returncode == plain.returncode == 1
    assert told.stdout.startswith(plain.stdout)
    assert told.stderr == plain.stderr
    found = commands(told.stdout)
    assert {properties["file"] for _, properties, _ in found} == {"a, b/cases here.py"}
    named = {properties["title"].split()[-1]: (name, mark(folder.parent, properties)) for name, properties, _ in found}
    assert named == EXPECTED
    messages = {properties["title"]: message for _, properties, message in found}
    claimed = messages["gradproof: WRONG  bad"]
    assert "claimed 3/2 of the true gradient (GP101)\n" in claimed
    assert "reproduce: gradproof.check(square, args, grad=functools.partial(wrong), rng=1)" in claimed
    assert "100 % of, the user's: ::error::no" in messages["gradproof: could not run  broken"]


def test_nothing_is_told_of_what_is_correct(project):
    folder = project("good = gp.Case(square, x, grad=right)\n")
    plain, told = (
        run("gradproof", "check", "cases here.py", *more, "--seed", "1", cwd=folder) for more in ((), ("--github",))
    )

    assert (told.returncode, told.stdout) == (0, plain.stdout)


def test_hostile_names(project):
    """No name ends a command, begins one, or gets into another property; each case has one."""
    names = [
        "a\n::error::b",
        "a\r\n::stop-commands::x",
        "%0A::error file=x::",
        "a,line=1,file=b",
        "\x1b[31mµ – 名",
        "::",
    ]
    body = f"cases = [gp.Case(square, x, grad=wrong, name=name) for name in {names!r}]\n"
    told = run("gradproof", "check", "--github", "--seed", "1", "cases here.py", cwd=project(body))

    found = commands(told.stdout)
    assert len(found) == len(names)
    for (name, properties, message), given in zip(found, names, strict=True):
        assert name == "error"
        assert set(properties) == {"file", "line", "title"}
        assert properties["file"] == "cases here.py"
        shown = given.replace("\r", r"\r").replace("\n", " ").replace("\x1b", r"\x1b")
        assert properties["title"] == f"gradproof: WRONG  {shown}"
        assert message.startswith("x, everywhere: claimed 3/2")


def test_ten_annotations_and_the_number_of_the_others(project):
    """The worst come first; the others are counted by a notice, of which GitHub shows ten more."""
    body = "cases = [gp.Case(constant, x, grad=zero)] * 1 + [gp.Case(constant, x, grad=zero) for _ in range(2)]\n"
    body += "more = [gp.Case(square, x, grad=wrong) for _ in range(11)]\n"
    told = run("gradproof", "check", "--github", "-q", "--seed", "1", "cases here.py", cwd=project(body))

    found = commands(told.stdout)
    assert [name for name, _, _ in found] == ["error"] * 10 + ["notice"]
    counted = "4 more checks not shown here: 0 correct, 1 wrong, 3 inconclusive, 0 not differentiable."
    assert found[-1][2] == f"{counted} The log has all of them."


def test_a_line_outside_the_repository_is_not_told(project, tmp_path):
    """GitHub shows annotations of its files alone: then the Case, or nothing, stands for the claim."""
    (tmp_path / "elsewhere.py").write_text("def wrong(x):\n    return 3 * x  # wrong on purpose\n")
    folder = project("import elsewhere\nbad = gp.Case(square, x, grad=elsewhere.wrong)\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    arguments = ("gradproof", "check", "--github", "--seed", "1", "cases here.py")

    ((_, properties, _),) = commands(run(*arguments, cwd=folder, **env).stdout)
    assert mark(folder, properties) == "(square)"
    ((_, properties, _),) = commands(run(*arguments, cwd=folder, GITHUB_WORKSPACE=str(tmp_path), **env).stdout)
    assert (properties["file"], properties["line"]) == ("elsewhere.py", "1")
    (tmp_path / "empty").mkdir()
    ((_, properties, _),) = commands(
        run(*arguments, cwd=folder, GITHUB_WORKSPACE=str(tmp_path / "empty"), **env).stdout
    )
    assert properties == {"title": "gradproof: WRONG  bad"}


def test_json_has_stdout_to_itself(project):
    folder = project("bad = gp.Case(square, x, grad=wrong)\n")
    told = run("gradproof", "check", "--github", "--json", "-", "cases here.py", "--seed", "1", cwd=folder)

    assert json.loads(told.stdout)["reports"][0]["verdict"] == "WRONG"
    assert "sources" not in told.stdout
    assert [name for name, _, _ in commands(told.stderr)] == ["error"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("import os\nprint('no end of line', end='')\nx = 1 / 0\n", "ZeroDivisionError while importing"),
        ("import os\nos._exit(7)\n", "ended with exit code 7"),
    ],
)
def test_what_cannot_run_is_told(project, body, problem):
    folder = project(body)
    told = run("gradproof", "check", "--github", "cases here.py", cwd=folder, GITHUB_STEP_SUMMARY=str(folder / "s.md"))

    assert told.returncode == 2
    ((name, properties, message),) = commands(told.stdout + told.stderr)
    assert (name, properties) == ("error", {"title": "gradproof: could not run  cases here.py"})
    assert problem in message
    assert "| could not run |" in (folder / "s.md").read_text(encoding="utf-8")


def test_the_summary_of_the_job(project, tmp_path):
    """A table is added to the file, worst first; no name leaves its cell."""
    body = CASES + "named = gp.Case(square, x, grad=wrong, name='a|b\\n<img src=x>`c` **d** @me')\n"
    folder, summary = project(body), tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    told = run("gradproof", "check", "--github", "cases here.py", "-q", cwd=folder, GITHUB_STEP_SUMMARY=str(summary))

    text = summary.read_text(encoding="utf-8")
    assert told.returncode == 1
    assert text.startswith("before\n### gradproof\n\n1 correct, 5 wrong, 1 inconclusive, 1 not differentiable, 1 could")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {5}
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert cells[0] == ["check", "verdict", "finding", "where"]
    verdicts = [row[1] for row in cells[2:]]
    assert verdicts[:6] == ["WRONG"] * 5 + ["could not run"]
    assert verdicts[-1] == "CORRECT"
    (named,) = [row for row in cells if row[0].startswith("a&#124;b")]
    assert not re.search(r"[<>`*@]", named[0])
    line = next(i for i, line in enumerate((folder / "cases here.py").read_text().splitlines(), 1) if "(wrong)" in line)
    assert named[3] == f"cases here.py&#58;{line}"

    assert run("gradproof", "check", "cases here.py", cwd=folder, GITHUB_STEP_SUMMARY=str(summary)).returncode == 1
    assert summary.read_text(encoding="utf-8") == text
    right = project("good = gp.Case(square, x, grad=right)\n")
    told = run("gradproof", "check", "--github", "cases here.py", cwd=right, GITHUB_STEP_SUMMARY=str(tmp_path))
    assert told.returncode == 2
    assert "cannot be written" in told.stderr.replace("\n", " ")


def of_tests(folder, text):
    found = set()
    for name, properties, message in commands(text):
        test = properties["title"].rpartition("::")[2] if "could not run" in properties["title"] else ""
        test = test or re.search(r"^test: test_suite\.py::(.*)$", message, re.MULTILINE)[1]
        found.add((name, mark(folder, properties), test))
    return found


@pytest.mark.parametrize(
    ("arguments", "env", "is_told"),
    [
        ((), {"GITHUB_ACTIONS": "true"}, True),
        (("-n", "2"), {"GITHUB_ACTIONS": "true"}, True),
        (("--gradproof-github=on",), {}, True),
        (("--gradproof-github=off",), {"GITHUB_ACTIONS": "true"}, False),
        ((), {}, False),
        ((), {"GITHUB_ACTIONS": "false"}, False),
    ],
)
def test_pytest_annotates_what_fails(project, arguments, env, is_told):
    """In GitHub Actions by itself: not what is expected to be wrong, nor a kink that only warns."""
    folder = project(TESTS, "test_suite.py")
    done = run("pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-q", *arguments, cwd=folder, **env)

    assert done.returncode == 1
    assert of_tests(folder, done.stdout) == (EXPECTED_OF_TESTS if is_told else set())
    assert len(commands(done.stdout + done.stderr)) == len(EXPECTED_OF_TESTS) * is_told


@pytest.mark.parametrize("argument", ["--gradproof-strict", "-Werror::gradproof.GradproofWarning"])
def test_pytest_annotates_kinks_that_fail(project, argument):
    folder = project(TESTS, "test_suite.py")
    arguments = ("-p", "no:cacheprovider", "-q", "-k", "kink", "--gradproof-github=on", argument)

    ((name, properties, _),) = commands(run("pytest", *arguments, cwd=folder).stdout)
    assert name == "warning"
    assert mark(folder, properties) == "(zero)"


def test_the_workflow_of_the_page(tmp_path):
    """Its steps run on the files that it shows: they fail, annotate the gradient, and leave the pages to upload."""
    page = PAGE.read_text(encoding="utf-8")
    for name, body in re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(f"# {name}\n{body}", encoding="utf-8")
    workflow = re.search(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[1]
    steps = re.split(r"\n +- (?=name|uses)", workflow)[1:]
    _, _, install, tests, cases, keep = steps
    assert "run: python -m pip install " in install
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    for step in (tests, cases):
        command = re.search(r"run: (?:python -m )?(.*)", step)[1].split()
        done = run(*command, cwd=tmp_path, **env)
        assert done.returncode == 1
        ((name, properties, _),) = commands(done.stdout)
        assert (name, properties["file"]) == ("error", "model.py")
        line = (tmp_path / "model.py").read_text(encoding="utf-8").splitlines()[int(properties["line"]) - 1]
        assert line == "def gradient(w):"
    assert "if: always()" in keep
    uploaded = re.search(r"path: \|\n((?: +\S+\n)+)", keep)[1].split()
    assert all((tmp_path / name).read_text(encoding="utf-8").startswith("<!") for name in uploaded)
    assert len(uploaded) == 2
    assert "| regression | WRONG |" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def square(x):
    return x @ x


def wrong(x):
    return 3 * x  # wrong on purpose


def decorated(f):
    @functools.wraps(f)
    def wrapper(*args):
        return f(*args)

    return wrapper


class Layer:
    def forward(self, x):
        return 3 * x  # wrong on purpose

    def __call__(self, x):
        return self.forward(x)


class Endless:
    """It has every attribute, and each is another one."""

    asked = 0

    def __getattr__(self, name):
        Endless.asked += 1
        return Endless()

    def __call__(self, x):
        return 3 * x  # wrong on purpose


class Refusing:
    @property
    def __wrapped__(self):
        raise RuntimeError("not now")

    def __call__(self, x):
        return 3 * x  # wrong on purpose


X = np.array([1.0, 2.0, -3.0])


def lines(report):
    """What `sources` holds, as the names of the functions that begin there; of other files their paths."""
    here = pathlib.Path(__file__)
    source = here.read_text(encoding="utf-8").splitlines()
    return [
        re.sub(r".*def (\w+).*", r"\1", source[line - 1]).strip() if pathlib.Path(file) == here else file
        for file, line in report.sources
    ]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (wrong, ["wrong", "square"]),
        (functools.partial(wrong), ["wrong", "square"]),
        (decorated(wrong), ["wrong", "@functools.wraps(f)", "square"]),
        (np.vectorize(wrong), ["wrong", "square"]),
        (Layer(), ["forward", "__call__", "square"]),
        (Layer().forward, ["forward", "square"]),
        (3 * X, ["square"]),
        (np.cos, ["square"]),
        (eval("lambda x: 3 * x"), ["square"]),
        (eval(compile("lambda x: 3 * x", "<stdin>", "eval")), ["square"]),
        (eval(compile("lambda x: 3 * x", "gone.py", "eval")), ["square"]),
        (eval(compile("lambda x: 3 * x", "", "eval")), ["square"]),
    ],
)
def test_where_a_claim_is_defined(claim, expected):
    """Wrappers are opened; code without a file is left out, and so is what is installed."""
    report = gradproof.check(square, X, grad=claim, rng=0)

    assert lines(report) == expected
    assert report == gradproof.Report.from_json(report.to_json())
    assert gradproof.Report.from_json(report.to_json()).sources == ()


def test_where_a_layer_is_defined():
    """Its backward comes first."""

    def forward(x):
        return x * x, x

    def backward(dout, cache):
        return 3 * cache * dout  # wrong on purpose

    assert lines(gradproof.check_layer(forward, backward, (X,), rng=0)) == ["backward", "forward"]


@pytest.mark.parametrize("claim", [Endless(), Refusing()])
def test_objects_that_play_tricks(claim):
    """Looking for their lines neither fails nor goes on for ever."""
    Endless.asked = 0
    assert set(definitions(claim)) <= set(definitions(type(claim).__call__))
    assert Endless.asked < 100


def test_a_claim_typed_in():
    """There is no line to tell, and that is no error."""
    code = "import gradproof, sys; case = gradproof.Case(lambda x: x * x, 2.0, grad=lambda x: x, rng=0)\n"
    code += "print(case.check().verdict, case.check().sources)\n"
    for command in (["-c", code], ["-"]):
        done = subprocess.run([sys.executable, *command], input=code, capture_output=True, text=True, check=True)
        assert done.stdout == "WRONG ()\n"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode elsewhere")
def test_a_file_whose_name_is_no_unicode(tmp_path):
    """Neither the runner nor pytest-xdist could be told of it."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/claim\xff.py")
    pathlib.Path(path).write_text("def wrong(x):\n    return 3 * x  # wrong on purpose\n")
    names = {}
    exec(compile(pathlib.Path(path).read_text(), path, "exec"), names)
    assert lines(gradproof.check(square, X, grad=names["wrong"], rng=0)) == ["square"]


def test_a_rule_of_torch():
    """The backward of a Function, called directly or found to be wrong within a function."""
    torch = pytest.importorskip("torch")

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad * ctx.saved_tensors[0] ** 2  # wrong on purpose

    def loss(x):
        return Cube.apply(x).sum() + (x * x).sum()

    x = torch.tensor([0.5, 2.0], dtype=torch.float64)
    line = Cube.backward.__code__.co_firstlineno
    assert gradproof.check(Cube.apply, x, modes=("rev",), rng=0).sources[0] == (__file__, line)
    report = gradproof.check(loss, x, modes=("rev",), rng=0)
    assert report.findings[0].id == "GP120"
    assert report.findings[0].sources[0] == (__file__, line)
    assert lines(report) == ["loss"]


def test_a_rule_of_jax():
    """The backward pass of a function with a rule, and what `jax.grad` differentiates."""
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def cube(x):
        return x**3

    def backward(x, u):
        return (2 * u * x**2,)  # wrong on purpose

    cube.defvjp(lambda x: (x**3, x), backward)
    report = gradproof.check(cube, jax.numpy.array(2.0), modes=("rev",), rng=0)
    assert lines(report)[0] == "backward"
    report = gradproof.check(jax.jit(jax.grad(square)), jax.numpy.array([2.0]), jvp=lambda v, x: v, rng=0)
    assert lines(report)[-1] == "square"


@pytest.mark.parametrize(
    ("file", "workspace", "expected"),
    [
        (
            pathlib.PureWindowsPath(r"D:\a\my repo\src\model.py"),
            pathlib.PureWindowsPath(r"d:\a\my repo"),
            "src/model.py",
        ),
        (pathlib.PureWindowsPath(r"C:\hostedtoolcache\model.py"), pathlib.PureWindowsPath(r"D:\a\repo"), None),
        (pathlib.PurePosixPath(r"/repo/a\b.py"), pathlib.PurePosixPath("/repo"), r"a\b.py"),
        (pathlib.PurePosixPath("/repository/a.py"), pathlib.PurePosixPath("/repo"), None),
    ],
)
def test_paths_of_other_systems(file, workspace, expected):
    """Slashes from Windows, too; a backslash in a name on Linux stays one."""
    assert within(file, workspace) == expected
