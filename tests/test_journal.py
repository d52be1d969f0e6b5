"""A journal: a check that was killed goes on, and ends with the same report."""

from __future__ import annotations

import concurrent.futures
import functools as ft
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

import gradproof
import workers
from gradproof import FunctionError, GradproofWarning, UsageError, Verdict, check
from gradproof._run._journal import Journal, code_digest
from gradproof._run._values import CannotKeepError, decoded, encoded
from gradproof._run._worker import Outcome
from test_ask_and_tell import QUESTIONS
from workers import X, counted, layer, layer_jac, loss, wrong_cos

SCRIPT = pathlib.Path(__file__).with_name("journalled.py")


def text(report):
    return report.to_json(run=False)


def lines(path):
    return path.read_text().splitlines()


# ------------------------------------------------------------------------------------------------------- going on


def test_a_journal_changes_nothing_and_nothing_is_evaluated_twice(tmp_path):
    f = ft.partial(counted, path=tmp_path / "seen")
    first = check(f, X, grad=np.cos, rng=3, journal=tmp_path / "journal")
    assert len(lines(tmp_path / "seen")) == first.cost.evaluations
    again = check(f, X, grad=np.cos, journal=tmp_path / "journal")
    assert len(lines(tmp_path / "seen")) == first.cost.evaluations
    assert again.seed == 3
    assert text(first) == text(again) == text(check(f, X, grad=np.cos, rng=3))


@pytest.mark.parametrize(("f", "args", "claim"), QUESTIONS)
def test_all_kinds_of_claims_go_on(tmp_path, f, args, claim):
    """From a journal that is whole no value is asked for; from one that is cut in half, only the others."""
    whole = text(check(f, args, **claim, rng=0))
    path = tmp_path / "journal"
    assert text(check(f, args, **claim, rng=0, journal=path)) == whole
    with sqlite3.connect(path) as file:
        count = file.execute("SELECT COUNT(*) FROM evaluation").fetchone()[0]
        file.execute("DELETE FROM evaluation WHERE rowid > ?", (count // 2,))
    file.close()
    assert text(check(f, args, **claim, rng=0, journal=path)) == whole
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT COUNT(*) FROM evaluation").fetchone()[0] == count
    file.close()


def test_what_f_raises_and_changes_is_kept(tmp_path):
    """Points at which it is not defined, and the finding that it changes its argument."""
    for name in ("odd", "changes_x", "undefined_there"):
        f = getattr(workers, name)
        whole = text(check(f, X, grad=np.cos, rng=0))
        assert text(check(f, X, grad=np.cos, rng=0, journal=tmp_path / name)) == whole
        seen = []

        def counting(x, f=f, seen=seen):
            seen.append(1)
            return f(x)

        counting.__name__, counting.__code__ = f.__name__, f.__code__
        assert text(check(f, X, grad=np.cos, rng=0, journal=tmp_path / name)) == whole


def test_an_executor_fills_the_same_journal(tmp_path):
    import concurrent.futures

    path = tmp_path / "journal"
    f = ft.partial(counted, path=tmp_path / "seen")
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        first = check(f, X, grad=np.cos, rng=0, journal=path, executor=executor, level="entries")
    count = len(lines(tmp_path / "seen"))
    assert text(check(f, X, grad=np.cos, rng=0, journal=path, level="entries")) == text(first)
    assert len(lines(tmp_path / "seen")) == count == first.cost.evaluations


def test_a_corrected_claim_uses_the_values_again(tmp_path):
    f = ft.partial(counted, path=tmp_path / "seen")
    wrong = check(f, X, grad=wrong_cos, rng=0, journal=tmp_path / "journal")
    assert wrong.verdict is Verdict.WRONG
    before = len(lines(tmp_path / "seen"))
    report = check(f, X, grad=np.cos, journal=tmp_path / "journal")
    assert report.correct
    assert len(lines(tmp_path / "seen")) - before < report.cost.evaluations


def test_a_failure_at_the_point_is_not_kept(tmp_path):
    """It ends the check; mended, the check goes on."""
    bad = [True]

    def f(x):
        if bad:
            raise OSError("no licence")
        return loss(x)

    with pytest.raises(FunctionError, match="no licence"):
        check(f, X, grad=np.cos, rng=0, journal=tmp_path / "journal")
    bad.clear()
    assert check(f, X, grad=np.cos, rng=0, journal=tmp_path / "journal").correct


def test_a_longer_timeout_tries_again(tmp_path):
    """What took too long is known to take longer than that only."""
    journal = Journal(str(tmp_path / "journal"))
    journal.of_check(loss, (X,), name="loss", seed=1, version="1", timeout=1.0)
    key, number, _ = journal.find((X + 1,))
    journal.keep(key, number, Outcome(error=TimeoutError("no value within 1 s")))
    journal.close()
    for timeout, known in ((1.0, True), (0.5, True), (2.0, False)):
        journal = Journal(str(tmp_path / "journal"))
        journal.of_check(loss, (X,), name="loss", seed=1, version="1", timeout=timeout)
        assert (journal.find((X + 1,))[2] is not None) is known
        journal.close()


# --------------------------------------------------------------------------------------------------------- killed


def run(tmp_path, seconds, kill_after=None):
    """Run the script; whether it has ended by itself."""
    arguments = [tmp_path / "journal", tmp_path / "seen", tmp_path / "report", str(seconds)]
    with subprocess.Popen([sys.executable, SCRIPT, *arguments]) as process:
        try:
            return process.wait(kill_after) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            return False


def goes_on(tmp_path, seconds, moments):
    """Kill the check at these moments after its first evaluation; it ends with the report of an undisturbed one."""
    kills = 0
    for moment in moments:
        before = len(lines(tmp_path / "seen")) if (tmp_path / "seen").exists() else 0
        with subprocess.Popen(
            [sys.executable, SCRIPT, tmp_path / "journal", tmp_path / "seen", tmp_path / "report", str(seconds)]
        ) as process:
            while (
                process.poll() is None
                and len(lines(tmp_path / "seen") if (tmp_path / "seen").exists() else []) <= before
            ):
                time.sleep(0.001)
            time.sleep(moment)
            if process.poll() is None:
                process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
                kills += 1
    assert run(tmp_path, seconds)
    whole = check(
        ft.partial(workers.slowly_counted, path=tmp_path / "other", seconds=0),
        X,
        grad=np.cos,
        rng=5,
        level="entries",
        name="f",
    )
    assert (tmp_path / "report").read_text(encoding="utf-8") == text(whole)
    # Each kill may cost the evaluation that was running, or had just been made.
    seen = Counter(lines(tmp_path / "seen"))
    assert seen.total() <= whole.cost.evaluations + kills
    return kills


def test_a_killed_check_goes_on(tmp_path):
    assert goes_on(tmp_path, 0.005, [0.05, 0.0]) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_any_moment(tmp_path, seed):
    """A run of 3 s, killed at a random moment of it, goes on to the same report."""
    moment = random.Random(seed).uniform(0, 2.9)
    assert goes_on(tmp_path, 3 / 70, [moment]) == 1


# -------------------------------------------------------------------------------------------------- refused, or lost


@pytest.mark.parametrize(
    ("f", "args", "options", "said"),
    [
        (loss, X, {"rng": 4}, "rng=3, not rng=4"),
        (loss, X + 1, {}, "another point, or other arguments"),
        (loss, X.astype(np.float32), {}, "another point, or other arguments"),
        (layer, X, {}, "a check of `loss`, not of `layer`"),
    ],
)
def test_a_journal_of_something_else_is_refused(tmp_path, f, args, options, said):
    path = tmp_path / "journal"
    check(loss, X, grad=np.cos, rng=3, journal=path)
    before = path.read_bytes()
    claim = {"jac": layer_jac} if f is layer else {"grad": np.cos}
    with pytest.raises(UsageError) as error:
        check(f, args, **claim, **options, journal=path)
    assert said in str(error.value)
    assert "Pass another path, or delete it to start again" in str(error.value)
    assert path.read_bytes() == before


def test_another_version_and_other_code_are_refused(tmp_path):
    path = str(tmp_path / "journal")

    def made(source):
        space = {}
        exec(source, space)
        return space["f"]

    one = made("def f(x):\n    return (x**2).sum()")
    other = made("def f(x):\n    return (x**3).sum()")
    commented = made("def f(x):\n    # as before\n\n    return (x**2).sum()")
    assert code_digest(one) == code_digest(commented) != code_digest(other)
    assert code_digest(np.sin) == ""
    check(one, X, grad=lambda x: 2 * x, rng=0, journal=path)
    assert check(commented, X, grad=lambda x: 2 * x, rng=0, journal=path).correct
    with pytest.raises(UsageError, match="`f` with different code"):
        check(other, X, grad=lambda x: 2 * x, rng=0, journal=path)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE head SET value = '0.0.1' WHERE key = 'gradproof'")
    file.close()
    with pytest.raises(UsageError, match=r"a journal of gradproof 0\.0\.1, which may ask for other points than"):
        check(one, X, grad=lambda x: 2 * x, rng=0, journal=path)


def test_several_begin_the_same_journal_at_once(tmp_path):
    """One of them begins it; the others are told of another seed, whatever the order."""
    everyone = threading.Barrier(4)

    def begin(path, seed):
        everyone.wait()
        journal = Journal(path)
        try:
            journal.begin(seed=str(seed))
        except gradproof.UsageError as error:
            return str(error)
        finally:
            journal.close()
        return None

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for k in range(4):
            said = list(threads.map(ft.partial(begin, str(tmp_path / f"{k}")), range(4)))
            assert said.count(None) == 1
            assert all(one is None or "is a journal of rng=" in one for one in said)


@pytest.mark.parametrize(
    "content", [b"not a journal", b"\x00" * 5000, b"{}\n", b'{"gradproof_journal": 99, "seed": 1}\n']
)
def test_a_file_that_is_no_journal_stays(tmp_path, content):
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="journal"):
        check(loss, X, grad=np.cos, rng=0, journal=path)
    assert path.read_bytes() == content


def test_a_database_of_something_else_stays(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE mine (a)")
    file.close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match="a database of another program"):
        check(loss, X, grad=np.cos, rng=0, journal=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", ["none/journal", "."])
def test_no_file_can_be_there(tmp_path, path):
    with pytest.raises(UsageError, match=r"`journal`: there is no folder|not a journal of gradproof and cannot become"):
        check(loss, X, grad=np.cos, rng=0, journal=tmp_path / path)
    with pytest.raises(UsageError, match="`journal` must be a path"):
        check(loss, X, grad=np.cos, rng=0, journal=3)


def test_a_damaged_journal_is_said(tmp_path):
    path = tmp_path / "journal"
    check(loss, X, grad=np.cos, rng=0, journal=path)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE evaluation SET outcome = '{\"value\": 3}'")
    file.close()
    with pytest.raises(UsageError, match="is damaged"):
        check(loss, X, grad=np.cos, rng=0, journal=path)


def test_a_full_disk_costs_the_journal_and_not_the_check(tmp_path, monkeypatch):
    """SQLite itself says that it is full, after some evaluations; what was kept by then is good."""
    path = tmp_path / "journal"
    begin = Journal.of_check

    def small(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        size = self._file.execute("PRAGMA page_count").fetchone()[0]
        self._file.execute(f"PRAGMA max_page_count = {size + 1}")

    monkeypatch.setattr(Journal, "of_check", small)
    f = ft.partial(counted, path=tmp_path / "seen")
    whole = text(check(f, X, grad=np.cos, rng=0, level="entries"))
    with pytest.warns(GradproofWarning, match=r"cannot be written to \(database or disk is full\): the check goes on"):
        report = check(f, X, grad=np.cos, rng=0, level="entries", journal=path)
    assert text(report) == whole
    monkeypatch.undo()
    (tmp_path / "seen").unlink()
    assert text(check(f, X, grad=np.cos, rng=0, level="entries", journal=path)) == whole
    assert 0 < len(lines(tmp_path / "seen")) < report.cost.evaluations


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files")
def test_a_file_that_may_not_grow_costs_the_journal_and_not_the_check(tmp_path):
    """As a quota, or a disk without room for a single page, from the beginning."""
    code = (
        "import resource, signal, sys, warnings; sys.path.insert(0, sys.argv[1]); import numpy as np, gradproof\n"
        "from workers import X, loss\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "with warnings.catch_warnings(record=True) as found:\n"
        "    warnings.simplefilter('always')\n"
        "    report = gradproof.check(loss, X, grad=np.cos, rng=0, journal=sys.argv[2])\n"
        "print(report.verdict, len(found), found[0].message)\n"
    )
    for size in (0, 40_000):
        path = tmp_path / str(size)
        command = [sys.executable, "-c", code, SCRIPT.parent, path, str(size)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout.startswith("CORRECT 1 `"), done.stderr
        assert "the check goes on" in done.stdout


def test_what_has_no_written_form_is_said(tmp_path):
    class Odd(dict):
        pass

    def f(x):
        return Odd(a=x)

    with pytest.raises(UsageError, match="`journal` cannot keep what `f` returns, a Odd"):
        check(f, X, jac=lambda x: {"a": np.eye(len(x))}, rng=0, journal=tmp_path / "journal")


# --------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    "value",
    [
        0.1,
        float("nan"),
        -0.0,
        3,
        True,
        None,
        1e400j,
        "text",
        np.float32(0.1),
        np.complex64(1 + 2j),
        np.array(3.0),
        np.array([[1.0, np.inf], [np.nan, -np.inf]], dtype=np.float16),
        np.arange(6).reshape(2, 3)[:, ::2],
        [1.0, (2, {"a": np.zeros(0)})],
    ],
    ids=repr,
)
def test_values_keep_every_bit(value):
    again = decoded(encoded(value))
    assert type(again) is type(value)
    assert repr(again) == repr(value)
    if isinstance(value, np.ndarray):
        assert (again.dtype, again.shape, again.tobytes()) == (value.dtype, value.shape, value.tobytes())


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_arrays_of_frameworks_are_kept(framework):
    module = pytest.importorskip(framework)
    value = module.tensor([0.1, 2.0]) if framework == "torch" else module.numpy.asarray([0.1, 2.0])
    again = decoded(encoded((value,)))[0]
    assert type(again) is type(value)
    assert again.dtype == value.dtype
    assert np.array_equal(again, value)
    if framework == "torch":
        with pytest.raises(CannotKeepError, match="of dtype"):
            encoded(value.to(module.bfloat16))


@pytest.mark.parametrize("value", [object(), {1: 2}, np.array([None]), lambda: 0, gradproof])
def test_other_values_are_refused(value):
    with pytest.raises(CannotKeepError):
        encoded(value)


def test_a_fork_of_f_writes_nothing(tmp_path):
    """The journal belongs to the process of the check."""
    journal = Journal(str(tmp_path / "journal"))
    journal.begin(seed="1")
    journal._own = os.getpid() + 1
    journal.tell(["a"], [np.array(1.0)])
    journal._own = os.getpid()
    assert journal.told() == []
    journal.close()
