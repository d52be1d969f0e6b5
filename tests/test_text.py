"""What a report looks like as text."""

import dataclasses
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.cells import cell_len
from rich.text import Text

from gradproof import check
from gradproof._render import _numbers as numbers
from gradproof._render import report_text
from gradproof._render._columns import fold
from gradproof._report import Cost, Finding, LeafResult, ModeResult, Reason, Report, Run, Severity, Verdict

RUN = Run(started="", python="", numpy="", gradproof="", platform="")


def leaf(path, verdict=Verdict.CORRECT, bound=3.14e-7, **fields):
    fields = {"shape": (3, 5), "dtype": "float64", "deviation": 2e-11, "noticeable": 3.2e-6, **fields}
    return LeafResult(path=path, verdict=verdict, bound=bound if verdict is Verdict.CORRECT else None, **fields)


def finding(path, **fields):
    fields = {
        "id": "GP101",
        "severity": Severity.ERROR,
        "place": "every entry",
        "kind": "claimed 2 times the true gradient",
        "claimed": -0.27712345,
        "reference": -0.138561725,
        "error_bar": 2.3e-6,
        "quantity": "slope",
        "factor": 2.0,
        "advice": "Look for a factor 2 in the backward pass.",
        "reproducer": "gradproof.check(cost, (params,), grad=claimed, rng=7)",
        **fields,
    }
    return Finding(path=path, **fields)


def report(verdict=Verdict.CORRECT, leaves=(), findings=(), **fields):
    fields = {
        "reason": None,
        "cost": Cost(evaluations=1234, claims=1, calls=1234, seconds=0.5),
        "name": "cost",
        "claim": "grad",
        "level": "certificate",
        "seed": 7,
        "rtol": 1e-7,
        "max_bound": 1e-2,
        "confidence": 1 - 1e-6,
        "run": RUN,
        **fields,
    }
    leaves = tuple(leaves) or (leaf("params['W1']"), leaf("params['b1']", bound=2.06e-6, shape=()))
    return Report(verdict=verdict, leaves=leaves, findings=tuple(findings), **fields)


WRONG = report(
    Verdict.WRONG,
    leaves=[
        leaf("params['W1']"),
        leaf("params['W2']", Verdict.WRONG, deviation=1.0, note="claimed 2 times the true gradient"),
        leaf("params['b2']", bound=2.06e-6, note="flat: f does not change at this point, whatever this leaf is"),
    ],
    findings=[finding("params['W2']")],
)


def in_order(text, *parts):
    """Whether `parts` occur in `text`, one after the other."""
    at = 0
    for part in parts:
        at = text.find(part, at)
        assert at >= 0, f"{part!r} is missing, or comes too early, in\n{text}"
        at += len(part)
    return True


def test_wrong_reads_in_the_order_of_the_style_guide():
    """Verdict, where, claimed and reference, the relation, the advice, the reproducer, the leaves, the cost."""
    assert in_order(
        report_text(WRONG),
        "WRONG  cost",
        "the gradient is wrong (1 error)",
        "params['W2'], every entry  error GP101",
        "claimed -0.277123, measured -0.138562 ± 3e-6",
        "claimed 2 times the true gradient",
        "Look for a factor 2",
        "gradproof.check(cost, (params,), grad=claimed, rng=7)",
        "array",
        "params['W2']",
        "params['b2']",
        "params['W1']",
        "In each array marked CORRECT the error of the gradient is below 2.1e-6",
        "1,234 evaluations of f, 1 call of the claim. Limits: rtol 1e-7, max_bound 0.01.",
    )


def test_correct_is_one_line_and_the_table():
    """Nothing stands between the banner and the leaves; the certificate says what it rests on."""
    lines = report_text(report()).splitlines()
    assert lines[0] == "CORRECT  cost  the gradient is right to within 2.1e-6 (2 arrays, 16 entries)"
    assert lines[1] == ""
    assert lines[2].split() == ["array", "shape", "verdict", "bound", "deviation"]
    assert lines[4].split() == ["params['b1']", "()", "CORRECT", "2.1e-6", "2.0e-11"]
    text = " ".join(report_text(report()).split())
    assert "the chance of missing a larger error is 1 in a million" in text
    assert "One wrong entry would be detected if it is off by more than 3.2e-6" in text


def test_every_entry_measured_is_not_a_matter_of_directions():
    text = " ".join(report_text(report(level="entries")).split())
    assert "Every entry was measured on its own. In each array the error of the gradient is below 2.1e-6" in text
    assert "chance" not in text


@pytest.mark.parametrize("reason", list(Reason))
def test_inconclusive_says_why_and_what_to_do(reason):
    inconclusive = report(Verdict.INCONCLUSIVE, [leaf("x", Verdict.INCONCLUSIVE)], reason=reason)
    text = report_text(inconclusive)
    assert in_order(text, "INCONCLUSIVE  cost", f"{reason.value}: ", "next  ", "x")
    assert "the error of" not in text


def test_advice_of_a_doubt_takes_the_place_of_the_general_one():
    doubt = finding("x", severity=Severity.DOUBT, advice="Start elsewhere.", kind="saturated", factor=None)
    text = report_text(report(Verdict.INCONCLUSIVE, findings=[doubt], reason=Reason.DEGENERATE))
    assert in_order(text, "doubt GP101", "saturated", "Start elsewhere.")
    assert text.count("  next ") == 1


def test_kink():
    text = report_text(report(Verdict.NOT_DIFFERENTIABLE, [leaf("x", Verdict.NOT_DIFFERENTIABLE)]))
    assert in_order(" ".join(text.split()), "NOT_DIFFERENTIABLE", "kink", "between its one-sided slopes")


@pytest.mark.parametrize("width", [40, 50, 64, 72, 80, 100, 120])
def test_no_line_is_wider_than_the_width_and_nothing_that_matters_is_lost(width):
    """Path, verdict and bound of each leaf, and the numbers of each finding, are there at any width."""
    long = "params['encoder']['layers'][11]['attention']['query']['kernel']"
    wide = report(
        Verdict.WRONG,
        [*WRONG.leaves, leaf(long, bound=4.4e-6), leaf("kink", Verdict.NOT_DIFFERENTIABLE)],
        [*WRONG.findings, finding(long, entries=tuple((i, i) for i in range(100)), place="")],
    )
    text = report_text(wide, width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    dense = "".join(text.split())
    for part in (
        "params['W2']",
        "2.1e-6",
        "4.4e-6",
        "-0.138562±3e-6",
        "NOT_",
        "DIFFERENTIABLE",
        "[5,5]and94more",
        "whateverthisleafis" if width >= 100 else "flat:",
    ):
        assert part in dense, part
    if width >= 80:
        assert long in text


def test_wide_characters_count_as_wide():
    text = report_text(report(leaves=[leaf("パラメータ['重み']", note="長い注釈 " * 9)]), width=50)
    assert max(cell_len(line) for line in text.splitlines()) <= 50


def test_numbers_stand_below_each_other_by_their_decimal_points():
    """Whatever their exponents; what is missing stands at the end."""
    values = (0.0041, 3.14e-7, None, 9e-12, 1234.0)
    assert numbers.column(values) == [
        "   0.0041 ",
        "   3.1e-7 ",
        "         -",
        "   9.0e-12",
        "1200      ",
    ]
    text = report_text(report(leaves=[leaf("a", deviation=value) for value in values]))
    shown = [re.search(r"CORRECT  3.1e-7  *(.*)", line) for line in text.splitlines()]
    starts = {one[1]: one.start(1) for one in shown if one}
    assert starts.pop("-") == max(starts.values()) + 6
    assert starts.pop("1200") == min(starts.values()) - 3
    assert len(starts) == 3
    assert len(set(starts.values())) == 1


def test_a_path_is_broken_before_an_index_and_what_is_short_not_at_all():
    """Also within advice, and the note of a leaf has the whole width."""
    path = "params['encoder']['layers'][11]['attention']['output_projection']['kernel']"
    found = finding(path, entries=((3, 1),), place="", advice=f"Look at `{path}[3, 1]`.")
    note = "claimed as the sum of two others, which is right for neither of them"
    text = report_text(
        report(Verdict.WRONG, [leaf(path, Verdict.WRONG, note=note), leaf("params['b']")], [found]), width=64
    )
    lines = [line.strip() for line in text.splitlines()]
    for line in lines:
        assert line.count("[") == line.count("]"), line
        assert line.count("'") % 2 == 0 or "array's" in line or "gradproof's" in line, line
    assert "['output_projection']['kernel'][3, 1]  error GP101" in lines
    assert "['output_projection']['kernel'][3, 1]`." in [line.removeprefix("advice").strip() for line in lines]
    joined = text[text.index("array") :]
    assert "  claimed as the sum of two others, which is right for neither\n  of them" in joined


def test_modes_that_were_not_checked_stand_by_their_reasons():
    """What the framework says is said once."""
    words = "You must implement the jvp function"
    text = report_text(
        report(
            Verdict.WRONG,
            modes=(
                ModeResult(mode="rev", verdict=Verdict.WRONG),
                ModeResult(mode="fwd", note=f"not available: {words}"),
                ModeResult(mode="rev-rev", note="not checked: rev is WRONG"),
                ModeResult(mode="fwd-rev", note="not checked: rev is WRONG"),
                ModeResult(mode="rev-fwd", note=f"not checked: fwd is not available: {words}"),
            ),
        ),
        width=60,
    )
    assert [line for line in text.splitlines() if "rev" in line or "fwd" in line] == [
        "Modes: rev WRONG.",
        f"  not available  fwd: {words}",
        "  not checked    rev-rev, fwd-rev: rev is WRONG",
        "  not checked    rev-fwd: fwd is not available",
    ]


@pytest.mark.parametrize("width", [1, 5, 12, 30, 80])
@pytest.mark.parametrize(
    "line",
    ["", "x", " indented", "a  b", "`code that is long` and `more`", "a[1, 2].b['c d']:e/f", "重み " * 20, "." * 50],
)
def test_folding_loses_nothing_but_blanks(line, width):
    folded = fold(Text(line), width).plain
    assert folded.replace("\n", "").replace(" ", "") == line.replace(" ", "")
    assert max(map(cell_len, folded.split("\n"))) <= max(width, 2)


@pytest.mark.parametrize("key", ["[red]", "[/]", "[bold]x[/bold]", ":smile:", "[link=http://x]", "a\\[b"])
def test_markup_in_names_is_only_text(key):
    text = report_text(
        report(
            Verdict.WRONG,
            [leaf(f"params[{key!r}]", Verdict.WRONG, note=key)],
            [finding(f"params[{key!r}]", kind=key, advice=key, reproducer=key, place=key)],
            name=key,
        )
    )
    assert text.count(key) >= 7 if "\\" not in key else text.count(key) >= 5


def test_control_characters_do_not_reach_the_terminal():
    text = report_text(report(leaves=[leaf("x\x1b[31m\r\x07", note="two\nlines")], name="a\x1b]0;b"))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\\x1b[31m" in text
    assert "two lines" in text


def test_many_leaves_are_cut_and_the_worst_are_kept():
    """Of 1000 leaves the two wrong ones come first, and the rest are counted with their largest bound."""
    leaves = [leaf(f"p[{i}]", bound=1e-9 * (i + 1)) for i in range(998)]
    leaves[500:500] = [leaf("bad[0]", Verdict.WRONG, deviation=0.1), leaf("bad[1]", Verdict.WRONG, deviation=3.0)]
    text = report_text(report(Verdict.WRONG, leaves, [finding("bad[1]"), finding("bad[0]")]))
    assert len(text.splitlines()) < 70
    assert in_order(
        text, "array ", "bad[1]", "bad[0]", "p[997]", "and 960 more arrays: 960 CORRECT, largest bound 9.6e-7"
    )


def test_many_findings_are_cut():
    text = report_text(report(Verdict.WRONG, WRONG.leaves, [finding(f"p[{i}]") for i in range(100)]))
    assert in_order(text, "(100 errors)", "p[11]", "and 88 more findings: see report.findings")


def test_verdict_is_not_shown_by_colour_alone():
    """Text without colours has each leaf's verdict as a word."""
    lines = report_text(WRONG).splitlines()
    assert [
        line.split()[3] for line in lines if line.startswith("params[") and "," in line and "error" not in line
    ] == [
        "WRONG",
        "CORRECT",
        "CORRECT",
    ]


def test_str_of_a_report_is_this_text():
    assert str(WRONG) == report_text(WRONG)


def test_text_does_not_depend_on_the_run():
    """Equal reports read the same, seconds and versions notwithstanding."""
    other = dataclasses.replace(WRONG, cost=dataclasses.replace(WRONG.cost, seconds=9.0))
    assert other == WRONG
    assert str(other) == str(WRONG)


def test_environment_does_not_change_the_text(monkeypatch):
    expected = report_text(WRONG)
    for name, value in {"COLUMNS": "30", "FORCE_COLOR": "1", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert report_text(WRONG) == expected


def test_rich_is_loaded_only_when_text_is_asked_for():
    code = "import sys, gradproof._render; print(sorted({'rich', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (0.0, "0"),
        (3.14159e-7, "3.1e-7"),
        (9.96e-7, "1e-6"),
        (0.00314, "0.0031"),
        (0.9996, "1.0"),
        (12.3, "12"),
        (1234.0, "1200"),
        (1.234e9, "1.2e9"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_two_significant_digits(value, expected):
    assert numbers.significant(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(2.3e-6, "3e-6"), (3e-6, "3e-6"), (9.2e-5, "1e-4"), (0.012, "0.02"), (0.0, "0"), (7.1, "8")]
)
def test_error_bars_are_rounded_up(value, expected):
    assert numbers.error_bar(value) == expected


@pytest.mark.parametrize(
    ("claimed", "reference", "bar", "expected"),
    [
        (-0.27712345, -0.138561725, 2.3e-6, ("-0.277123", "-0.138562")),
        (-0.27712345, -0.138561725, 2.3e-3, ("-0.277", "-0.139")),
        (1.0, 1.0 + 3.4567e-9, 1e-14, ("1.00000000000", "1.00000000346")),
        (4.2e-9, 1.05e-9, 2e-11, ("4.20e-9", "1.05e-9")),
        (1e12, 2e12, 1e8, ("1.0000e12", "2.0000e12")),
        (0.0, 0.5, 1e-3, ("0.000", "0.500")),
        (-1e-9, 0.5, 1e-3, ("0.000", "0.500")),
        (0.0, 0.0, 0.0, ("0", "0")),
        (math.nan, 0.5, 1e-3, ("nan", "0.500")),
        (math.inf, -math.inf, None, ("inf", "-inf")),
    ],
)
def test_no_digit_that_the_bar_does_not_support(claimed, reference, bar, expected):
    assert numbers.measured(claimed, reference, bar) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2.0, "2"), (0.25, "1/4"), (-1.0, "-1"), (4.0000000001, "4"), (1 / 3, "1/3"), (1.2345678, "1.2346"), (0.0, "0")],
)
def test_factors_by_their_simple_name(value, expected):
    assert numbers.factor(value) == expected


def test_confidence_near_one_is_one_minus():
    assert numbers.confidence(1 - 1e-6) == "1 - 1e-6"
    assert numbers.confidence(0.95) == "0.95"


def test_numbers_that_are_right_beside_a_rule_that_is_broken():
    """The headline agrees with the table: f that changes its argument makes no number wrong."""

    def changing(x):
        value = float(np.sum(x**2))
        x += 1e-3  # wrong on purpose
        return value

    x = np.array([0.5, 1.0, 2.0])
    lines = str(check(changing, x, grad=lambda x: 2 * x, rng=0)).splitlines()
    assert lines[0] == "WRONG  changing  the numbers are right, but f changes its arguments (1 error)"
    right = str(check(lambda x: np.sum(x**2), x, grad=lambda x: 3 * x, rng=0))  # wrong on purpose
    assert right.startswith("WRONG  f  the gradient is wrong (1 error)")


def test_arrays_are_counted_once_whatever_modes_and_parts_they_have():
    modes = (ModeResult(mode="rev", verdict=Verdict.CORRECT), ModeResult(mode="fwd", verdict=Verdict.CORRECT))
    text = report_text(report(leaves=[leaf("x"), leaf("x (fwd)"), leaf("y (z)")], modes=modes, claim="autograd"))
    assert text.startswith("CORRECT  cost  autograd's derivative is right to within 3.1e-7\n(2 arrays, 30 entries)")
    parts = report_text(report(leaves=[leaf("z.real"), leaf("z.imag"), leaf("p.imag")]))
    assert "(2 arrays, 30 entries)" in parts


def test_small_wrong_arrays_stand_entry_by_entry():
    """Up to 6 x 6, every entry measured, the wrong ones marked; larger ones and right ones are not measured for it."""
    x = np.linspace(0.5, 2.0, 12).reshape(4, 3)

    def grad(x, wrong=0.25):
        found = 2 * x
        found[1, 2] += wrong  # wrong on purpose
        return found

    report = check(lambda x: np.sum(x**2), x, grad=grad, rng=0)
    assert "x, entry by entry (* marks what is wrong)" in str(report)
    (tensor,) = report.evidence.maps
    assert [one.entry for one in tensor.entries if one.against] == [(1, 2)]
    for one in tensor.entries:
        assert one.reference == pytest.approx(2 * x[one.entry], abs=max(one.error_bar, 1e-12))
        assert one.claimed == pytest.approx(grad(x)[one.entry])
    assert "2.614*" in str(report)
    shown = report_text(report, width=40)
    assert in_order(shown, "  claimed", "2.614*", "  measured", "2.364")
    assert not check(lambda x: np.sum(x**2), x, grad=lambda x: 2 * x, rng=0).evidence.maps

    tall = np.linspace(0.5, 2.0, 14).reshape(7, 2)
    report = check(lambda x: np.sum(x**2), tall, grad=lambda x: 3 * x, rng=0)  # wrong on purpose
    assert not any(tensor.entries for tensor in report.evidence.maps)
    assert "entry by entry" not in str(report)


@pytest.mark.parametrize(("factor", "off"), [(0.125, 0.875), (2.0, 1.0), (-1.0, 2.0)])
def test_the_deviation_is_relative_to_the_truth(factor, off):
    x = np.linspace(0.5, 2.0, 40)
    (leaf,) = check(lambda x: np.sum(x**2), x, grad=lambda x: factor * 2 * x, rng=0).leaves  # wrong on purpose
    assert leaf.deviation == pytest.approx(off, rel=1e-5)
    assert not leaf.estimated
    (leaf,) = check(lambda x: x**2, x, vjp=lambda u, x: factor * 2 * u * x, rng=0).leaves  # wrong on purpose
    assert leaf.deviation == pytest.approx(off, rel=1e-5)


def test_a_deviation_that_is_estimated_says_about():
    """Half of many entries are off by random shares: the ratio of norms is known from a few directions only."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=400), rng.normal(size=400) * (rng.random(400) < 0.5)
    report = check(lambda x: np.sum(x**2), x, grad=lambda x: 2 * x * (1 + noise), rng=0)  # wrong on purpose
    (leaf,) = report.leaves
    true = np.linalg.norm(2 * x * noise) / np.linalg.norm(2 * x)
    assert leaf.estimated
    assert true / 3 < leaf.deviation < 3 * true
    assert "about " in str(report)
    (right,) = check(lambda x: np.sum(x**2), x, grad=lambda x: 2 * x, rng=0).leaves
    assert right.deviation < 1e-6


def test_where_f_is_nan_the_text_says_so():
    """Of the point itself, not of what is around it; and what usually does that."""
    text = " ".join(str(check(np.log, -1.0, grad=lambda x: 1 / x, rng=0)).split())
    assert text.startswith("INCONCLUSIVE log domain: f is nan or infinite at this point")
    assert "square root of a negative number" in text
    assert "as a value" not in text


def test_a_constant_has_no_measured_slope():
    text = str(check(lambda x: 3.0, np.ones(3), grad=lambda x: 0 * x + 1, rng=0))
    assert "f does not change at all" in text
    assert "±" not in text
    assert "measured" not in text


@pytest.mark.parametrize(("chance", "words"), [(1e-6, "1 in a million"), (0.01, "1 in 100"), (1e-12, "1 in 1e+12")])
def test_a_chance_in_words(chance, words):
    assert numbers.one_in(chance) == words


def test_a_number_has_no_index():
    """Neither in its path nor beside it: a number has no entries."""

    def grad(p):
        return {"a": 2 * p["a"], "b": 3.9}  # wrong on purpose

    report = check(lambda p: p["a"] ** 2 + p["b"] ** 3, {"a": 0.7, "b": 1.3}, grad=grad, rng=0)
    (found,) = report.findings
    assert (found.path, found.entries, found.quantity) == ("p['b']", (), "slope")
    assert "[]" not in str(report)
    assert "entry" not in str(report)


def test_the_deviation_of_known_entries_does_not_depend_on_the_size_of_x():
    """|claim - true| / |true| of the numbers as they are, and every wrong entry of a small array is marked."""
    x = np.array([1e-3, 1.0, 2.0, 3.0])
    claim = 1 / x
    claim[2] *= 1.1  # wrong on purpose
    (leaf,) = check(lambda x: np.sum(np.log(x)), x, grad=claim, rng=0).leaves
    assert leaf.deviation == pytest.approx(0.05e-3, rel=0.01)

    x = np.array([0.3, 1.0, -2.0, 3.0])
    claim = np.cos(x)
    claim[2] *= 1.00001  # wrong on purpose
    (tensor,) = check(lambda x: np.sum(np.sin(x)), x, grad=claim, rng=0).evidence.maps
    assert [one.entry for one in tensor.entries if one.against] == [(2,)]
