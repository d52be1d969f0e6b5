"""The benchmarks in a reduced form: what the committed tables say still holds."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"

sys.path.append(str(BENCHMARKS))
from families import FAMILIES  # noqa: E402

pytestmark = pytest.mark.slow


def run(script, *options):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *options], capture_output=True, text=True, cwd=BENCHMARKS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_error_bars_are_honest(tmp_path):
    """At least 99.9 % of slopes lie within their bars, over 160 families in four precisions; 97 % on staircases."""
    run("honesty.py", "--count", "12000", "--seed", "7", "--half", "both", "--totals", "--json", str(tmp_path / "h"))

    records = json.loads((tmp_path / "h").read_text())
    violated = [r for r in records if r["ratio"] > 1]

    assert len(records) > 10_000
    assert len({r["family"] for r in records}) > 160
    # The full run misses 0.026 %; but misses come in threes and fours, the slopes of one line. Where f jumps all over,
    # 15 of 513 missed when these families came; no error model says that.
    on_stairs, others = (
        [[r for r in chosen if ("staircase" in FAMILIES[r["family"]].tags) is told] for chosen in (records, violated)]
        for told in (True, False)
    )
    assert len(others[1]) <= 0.001 * len(others[0]), others[1][:20]
    assert len(on_stairs[1]) <= 0.03 * len(on_stairs[0]), on_stairs[1][:20]


def test_verdicts_are_right():
    """No correct claim is WRONG, no crash, hardly an undecided one; smooth correct claims cost what is stated."""
    shown = run("verdicts.py", "--seeds", "1", "--half", "both", "--max-size", "400", "--totals")
    tuned = shown.split("=====")[-1]

    assert re.search(r"correct claims called WRONG: +0\n", tuned), shown
    assert re.search(r"crashes: +0\n", tuned), shown
    assert re.search(r"CORRECT with an error above its bound: +0\n", tuned), shown
    assert int(re.search(r"right leaves called WRONG beside one: +(\d+)", tuned)[1]) <= 2, shown
    assert int(re.search(r"smooth, correct and CORRECT +(\d+) /", tuned)[1]) <= 24, shown


def test_true_gradients_of_hard_functions_are_not_accused():
    """Noise, steps, kinks and edges never make a correct claim WRONG in more than a few of a thousand."""
    shown = run("restraint.py", "--seeds", "2", "--half", "both", "--totals")

    claims = sum(int(n) for line in shown.splitlines() if "times 1.0:" in line for n in re.findall(r": (\d+)", line))
    assert claims > 300, shown
    assert int(re.search(r"correct claims called WRONG: (\d+)", shown)[1]) <= 0.01 * claims, shown


def test_early_solvers_are_no_mistakes():
    """Implicit gradients through solvers that stop at 1e-6 are left alone; 1 % off they are WRONG, and never CORRECT.

    (Where the jumps of a solver are as large as such an error, it cannot be told: 2 of 32.)
    """
    shown = run("solvers.py", "--seeds", "8", "--half", "both")

    wrong, of = map(int, re.search(r"implicit gradients called WRONG: (\d+) of (\d+)", shown).groups())
    assert of == 32, shown
    assert wrong <= 1, shown
    assert int(re.search(r"times 1.01: (\d+) of", shown)[1]) >= of - 2, shown
    assert not re.search(r"claim times 1.01 : .*CORRECT", shown), shown


def test_small_errors_are_found_and_look_alikes_are_not():
    """Every small error in a smooth gradient is WRONG; noise, float32 inside and offsets never are."""
    shown = run("sensitivity.py", "--seeds", "8", "--half", "both")

    assert re.findall(r" (\d+)/8 ", shown) == ["8"] * 6 + ["0"] * 3, shown


def test_certificates_hold_as_often_as_stated():
    """At a confidence of 0.99 at most 1 % of the bounds are smaller than the planted error, within sampling error."""
    shown = run("calibration.py", "--trials", "40")

    violated, of = map(int, re.search(r"violated: (\d+) of (\d+) bounds", shown).groups())
    assert of == 28 * 40, shown
    assert violated <= 0.01 * of + 4 * (0.01 * of) ** 0.5, shown


def test_simulated_trials_accuse_few_and_miss_nothing():
    """Of right claims less than 1 % are accused, however many ladders err alike; large errors are never CORRECT."""
    shown = run("simulate_trial.py", "--count", "7500")

    rows = re.findall(r"^ +(\d+)% +(\S+) +(\S+)% +\S+% +\S+% +(\S+)% +(\S+)%$", shown, flags=re.MULTILINE)
    assert len(rows) == 15, shown
    assert all(float(wrong) < 1 for _, error, wrong, *_ in rows if error == "0e+00"), shown
    assert all(
        (float(correct), float(wrong) > 90) == (0, True) for _, error, wrong, correct, _ in rows if error == "1e+00"
    )
    assert all(float(missed) == 0 for *_, missed in rows), shown


def test_places_are_exact():
    """A lone entry, five, a row, a column, a tail, everything: exact in all of 10,000 entries."""
    shown = run("location.py", "--side", "100", "--seeds", "5")

    assert len(re.findall(r" 5/5 ", shown)) == 7, shown


def test_mistakes_are_named_rightly():
    """Every planted kind is named, none wrongly, and random errors get no name."""
    shown = run("diagnosis.py", "--seeds", "4")

    named, wrongly = re.search(r"all (\d+) +(\d+) +(\d+)", shown).groups()[1:]
    assert int(wrongly) == 0, shown
    assert int(named) >= 0.97 * 27 * 4, shown
    assert "names invented: 0" in shown, shown


def test_small_checks_are_fast():
    """Our own processor time for ten parameters stays within the goal, with room for a busy machine."""
    shown = run("speed.py")

    assert float(re.search(r"n = 10 +([\d.]+)", shown)[1]) < 10, shown


def test_derivatives_by_hand_of_the_mgh_problems():
    """All 35 problems are CORRECT at three points each, and planted mistakes are WRONG and named."""
    shown = run("mgh.py")

    for what in ("jac", "grad"):
        counts, found, named, planted = re.search(
            rf"^{what}: (.*), mistakes called WRONG (\d+) of \d+, place named (\d+) of (\d+)$", shown, re.MULTILINE
        ).groups()
        assert counts == "{'CORRECT': 105}", shown
        assert int(found) == int(named) == int(planted) == 525, shown


def test_scipys_blind_spots():
    """What SciPy's checks take for right or wrong the other way round."""
    shown = run("scipy_checkers.py", "--ours-only")

    for line in (
        r"1e6 f, correct +[1-9].*e-02 .* CORRECT",
        r"1e-6 f, 50 % too large +.*e-06 .* WRONG +x: claimed 3/2 of the true gradient",
        r"sparse Jacobian without an entry +.*e-1\d .* WRONG +jac\[2, 2\]: missing from the declared",
        r"Rosenbrock, n = 100,000: CORRECT, .* (2\d|3\d|40) evaluations",
    ):
        assert re.search(line, shown), shown
