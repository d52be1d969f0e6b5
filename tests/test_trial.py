"""A trial on made-up lines: what it asks next, and what it rules, when lines agree, bend, deviate and disagree.

Most are put to it by its driver and a meter that hands made-up lines out in turn, some by nobody at all. (Whether real
functions make such lines is for test_restraint.py.)
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradproof import Reason
from gradproof._line import Shape, ShapeKind
from gradproof._prove import _bends, _confirm, _judge
from gradproof._prove._confirm import Look, SecondLook, confirm
from gradproof._prove._judge import judge
from gradproof._prove._laws import error_bound
from gradproof._prove._measure import Measured, Tier
from gradproof._prove._tolerance import REACH, Limits
from gradproof._prove._trial import Case, Confirm, Kind, Ruling, Seen, Trial, why_wide

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))
import simulate_trial

EPS64, EPS32 = 2.0**-52, 2.0**-23
LIMITS = Limits(rtol=None, max_bound=None, confidence=1 - 1e-6)
TIER = Tier(group=(0,), scales=(1.0,), shares=(1.0,), size=12, scale=1.0)
ONE = dataclasses.replace(TIER, size=1)
TOLERANCE = REACH * 1e-7  # of a line of scale 1 in float64
H = np.array([1e-1, 1e-2, 1e-3])


def line(residual=0.0, bar=1e-9, *, jump=0.0, jump_bar=1e-9, claimed=1.0, side=0, eps=EPS64, **more: Any) -> Measured:
    """A line of scale 1: true minus claimed slope with its bar, and the difference of the one-sided slopes."""
    # (Of low precision as much noise as leaves nothing to the finest steps.)
    noise = 1e-16 if eps == EPS64 else abs(residual) * H[-1] / 10
    odd, even = (H * (claimed + residual))[:, None], (H * jump / 2)[:, None]
    values = {
        "plus": 1.0 + even + odd, "minus": 1.0 + even - odd, "noise": np.array([noise]),
        "odd": (H * (claimed + residual))[:, None], "even": (H * jump / 2)[:, None], "h": H, "f0": np.array([1.0]),
        "unit": np.array([1e-16]), "central_bar": np.array([bar]), "jump": np.array([jump]), "trouble": "",
        "jump_bar": np.array([jump_bar]), "step": None, "tread": None, "side": side, "eps": eps,
        "level": np.array([len(H) - 1]),
    }  # fmt: skip
    slope: Any = SimpleNamespace(**{**values, **{k: v for k, v in more.items() if k in values}})
    direction: Any = SimpleNamespace(floor=more.get("floor", 0.0))
    return Measured(direction=direction, slope=slope, claimed=claimed, value=claimed + residual, bar=bar, scale=1.0)


def scaled(one: Measured, factor: float) -> Measured:
    """The line of an f that is so many times as large."""
    slope: Any = SimpleNamespace(**vars(one.slope))
    for name in ("odd", "even", "central_bar", "jump", "jump_bar", "f0", "unit", "plus", "minus", "noise"):
        setattr(slope, name, factor * getattr(slope, name))
    sized = {name: factor * getattr(one, name) for name in ("claimed", "value", "bar", "scale")}
    return dataclasses.replace(one, slope=slope, **sized)


def told(answer):
    """A generator that asks for nothing."""
    yield from ()
    return answer


class MadeUp:
    """A meter whose lines, pairs of values, shapes and witnesses are given; `asked` tells what for."""

    def __init__(self, lines=(), pairs=(), shapes=(), witnessed=(), steps=None, **fields: Any) -> None:
        self.lines, self.pairs, self.shapes, self.witnessed = map(list, (lines, pairs, shapes, witnessed))
        self.asked: list[str] = []
        self.known: Any = SimpleNamespace(eps=EPS64, size=1.0, relative_bar=1e-9, question_step=1e-3, noise=np.zeros(1))
        self.eps = self.precision = EPS64
        self.balances = steps is not None
        self.directions = SimpleNamespace(
            leaves=[SimpleNamespace(size=12)] * 3, claimed_steps=lambda index: iter([np.asarray(steps)])
        )
        self.on_stairs = self.random = self.takes_sharp_slopes = self.misled = False
        self.moved, self.regularity, self.claim_floor, self.resolution = True, 0.0, 0.0, 0.0
        self.witnesses: tuple[str, ...] = ()
        self.targets: list[Any] = []
        self.knowns: list[Any] = []
        self.excuses: list[Any] = []
        self.jitter, self.phase = np.random.default_rng(0), "proving"
        vars(self).update(fields)

    def next_stream(self):
        return 0

    def slope(self, direction, scale, *, full=False, brief=False, known=None, target=None):
        self.asked.append("ladder" if full else "line")
        self.targets.append(target)
        self.knowns.append(known)
        return told(self.lines.pop(0))

    def coarse_slope(self, direction, scale, *, sparing):
        self.asked.append("balanced, sparing" if sparing else "balanced")
        return told(dataclasses.replace(self.lines.pop(0), scale=scale))

    def balanced_scale(self, tier, floor):
        return 0.1

    def pair(self, direction, step):
        self.asked.append("pair")
        value = self.pairs.pop(0)
        return told((step * value, -step * value))

    def shape(self, measured, *, far):
        self.asked.append("far shape" if far else "shape")
        return told(self.shapes.pop(0))

    def sharp_slope(self, direction, scale):
        self.asked.append("sharp")
        return told(self.lines.pop(0))

    def witness(self, measured):
        self.asked.append("witness")
        return told(self.witnessed.pop(0))

    def is_analytic(self, measured, value):
        self.asked.append("analytic")
        return told(self.witnessed.pop(0))


def run(asking):
    """The result of a generator that asks for nothing."""
    with pytest.raises(StopIteration) as end:
        next(asking)
    return end.value.value


def judged(*lines: Measured, tier: Tier = TIER, limits: Limits = LIMITS, **more: Any) -> tuple[Any, MadeUp]:
    """What is said after these lines, all of which are asked for."""
    meter: Any = MadeUp(lines, **more)
    found = run(judge(meter, tier, limits))
    assert meter.lines == []
    return found, meter


def confirmed(first: Measured, *lines: Measured, **more: Any) -> tuple[Any, MadeUp]:
    meter: Any = MadeUp(lines, **more)
    found = run(confirm(meter, first, TOLERANCE * first.scale))
    assert meter.lines == []
    return found, meter


# ------------------------------------------------------------------------------------------------- the trial by itself

SEEN = Seen(precision=EPS64)
CASE = Case(tier=TIER, limits=LIMITS, sizes=(12,), eps=EPS64)


def told_apart(*answers: Any, case: Case = CASE, seen: Seen = SEEN) -> tuple[list[str], Any]:
    """What a trial asks for until it rules, given these answers, and what it rules."""
    trial, asked = Trial(case, seen), []
    for answer in answers:
        asked.append(type(trial.next()).__name__)
        assert trial.hear(answer, seen) is trial.next()
    ruling = trial.next()
    assert isinstance(ruling, Ruling)
    return asked, ruling


def looked(look: Look, one: Measured) -> SecondLook:
    return SecondLook(look, one)


@pytest.mark.parametrize(
    ("answers", "asked", "kind", "reason"),
    [
        ((line(), line(), line()), "Look Look Look", Kind.AGREES, Reason.NOISE),
        ((line(jump=1e-3), line(jump=1e-3), True) * 2, "Look Repeat CloseIn " * 2, Kind.KINK, None),
        ((line(jump=1e-3), line(jump=1e-3), False), "Look Repeat CloseIn", Kind.UNSURE, Reason.UNSTABLE),
        ((line(jump=1e-3), line(jump=2e-3)), "Look Repeat", Kind.UNSURE, Reason.UNSTABLE),
        ((line(0.01), looked(Look.EXCLUDED, line(0.02))), "Look Confirm", Kind.WRONG, None),
        ((line(0.01), looked(Look.UNSURE, line(0.02))), "Look Confirm", Kind.UNSURE, Reason.UNSTABLE),
        ((line(0.01), looked(Look.UNSURE, line(0.02, side=1))), "Look Confirm", Kind.UNSURE, Reason.DOMAIN),
        ((line(0.01), looked(Look.AGREES, line()), line(), line()), "Look Confirm Look Look", Kind.AGREES, None),
    ],
    ids=range(8),
)
def test_a_trial_asks_and_rules_without_a_meter(answers, asked, kind, reason):
    questions, ruling = told_apart(*answers)
    assert (questions, ruling.kind) == (asked.split(), kind)
    assert reason is None or ruling.reason is reason
    assert (ruling.deviation, math.isfinite(ruling.bound)) == (0.0, kind is Kind.AGREES)
    assert (ruling.failing is answers[-1].measured) if kind is Kind.WRONG else ruling.failing is None


def test_a_witness_that_disagrees_ends_a_trial_and_one_that_agrees_narrows_it():
    case = dataclasses.replace(CASE, witnessed=True)
    wide = line(0, 1.0)
    questions, ruling = told_apart(wide, None, case=case)
    assert (questions, ruling.kind, ruling.reason) == (["Look", "Witness"], Kind.UNSURE, Reason.WITNESSES)
    questions, ruling = told_apart(*[wide, line(0, 1e-9)] * 3, case=case)
    assert (questions, ruling.kind) == (["Look", "Witness"] * 3, Kind.AGREES)
    assert told_apart(wide, wide, wide)[0] == ["Look"] * 3  # where there is none
    # A leaf that nothing is claimed of needs no narrow bar.
    tier = dataclasses.replace(TIER, group=(0, 1), scales=(1.0, 1.0), shares=(1.0, 0.0))
    assert (
        told_apart(line(), line(), line(), case=dataclasses.replace(case, tier=tier, sizes=(6, 6)))[0] == ["Look"] * 3
    )
    assert ruling.bound == pytest.approx(error_bound(1e-9, 3, 12, LIMITS.confidence))


def test_an_irregular_f_widens_bar_and_allowance():
    """The deviation counts as bar, and what is as small is not accused from there on."""
    first = line(1e-5)
    trial = Trial(CASE, SEEN)
    assert trial.hear(first, SEEN) == Confirm(first, pytest.approx(TOLERANCE))
    trial.hear(looked(Look.IRREGULAR, first), SEEN)
    assert trial.regularity == pytest.approx(1e-5)
    for answer in (line(9e-6), line()):
        trial.hear(answer, SEEN)
    ruling = trial.next()
    assert isinstance(ruling, Ruling)
    assert (ruling.kind, ruling.rtol) == (Kind.AGREES, pytest.approx(1e-5))
    assert ruling.bound == pytest.approx(error_bound(2e-5, 3, 12, LIMITS.confidence))
    # No less than what is unclear.
    trial = Trial(CASE, SEEN)
    trial.hear(line(1e-6), SEEN)
    trial.hear(looked(Look.IRREGULAR, line(1e-6)), SEEN)
    assert trial.regularity == 2e-6


@pytest.mark.parametrize(
    ("answers", "other"),
    [
        ((), True),
        ((), None),
        ((line(jump=1e-3),), False),
        ((line(jump=1e-3), line(jump=1e-3)), line()),
        ((line(0.01),), line()),
        ((line(), line(), line()), line()),
    ],
    ids=["a look", "a look, not at all", "a repeat", "closing in", "a second look", "nothing"],
)
def test_an_answer_that_was_not_asked_for_is_refused(answers, other):
    trial = Trial(CASE, SEEN)
    for answer in answers:
        trial.hear(answer, SEEN)
    with pytest.raises(TypeError, match="is not answered by"):
        trial.hear(other, SEEN)


def test_what_hides_below_rounding_is_no_lattice():
    """An f that sees its argument and stands still is rounded, unless its values are known to lie on a lattice."""
    case = dataclasses.replace(CASE, limits=dataclasses.replace(LIMITS, sees=True))
    still = dataclasses.replace(SEEN, moved=False)
    assert told_apart(line(-1e-12, claimed=1e-12), case=case, seen=still)[1].unchanged
    lattice = dataclasses.replace(case, on_lattice=True)
    assert not told_apart(*[line(-1e-12, claimed=1e-12)] * 3, case=lattice, seen=still)[1].unchanged


def test_what_is_worth_an_accusation_is_told_when_nothing_was_measured():
    """In the precision that f is known to have, or as the user has it."""
    for limits, eps, rtol in ((LIMITS, EPS32, 4e-5), (dataclasses.replace(LIMITS, rtol=1e-9), EPS64, 1e-9)):
        case = dataclasses.replace(CASE, limits=limits, eps=eps)
        for one in (line(math.nan), line(-1.0, claimed=1.0)):
            _, ruling = told_apart(one, case=case, seen=dataclasses.replace(SEEN, moved=False))
            assert (ruling.kind, ruling.rtol) == (Kind.UNSURE, rtol)


# -------------------------------------------------------------------------------------------------- lines that agree


def test_three_lines_that_agree_bound_the_error():
    """The bound is that of the largest deviation with its bar; one entry takes one line, a sparing check two."""
    found, _ = judged(line(2e-8), line(-3e-8, 2e-9), line(1e-9))
    assert (found.kind, found.deviation) == (Kind.AGREES, pytest.approx(3e-8))
    assert found.bound == pytest.approx(error_bound(3.2e-8, 3, 12, LIMITS.confidence))
    assert found.rtol == 1e-7
    assert judged(line(), tier=ONE)[0].bound == pytest.approx(1e-9)
    assert len(judged(line(), line(), line(), tier=dataclasses.replace(TIER, size=2))[1].asked) == 3
    assert judged(line(), line(), limits=dataclasses.replace(LIMITS, sparing=True))[0].kind is Kind.AGREES


@pytest.mark.parametrize(
    ("residual", "side", "count"), [(3e-7, 0, 9), (3e-7, 1, 3), (8e-8, 0, 3), (-3e-7, 0, 9)], ids=str
)
def test_a_deviation_too_small_to_be_accused_asks_for_others(residual, side, count):
    """Ten bars and more, and above rtol: six lines more; from one side, and below rtol, no more than usual."""
    found, meter = judged(line(residual, side=side), *[line()] * (count - 1))
    assert (found.kind, len(meter.asked)) == (Kind.AGREES, count)
    for bar, count in ((2.9e-8, 9), (3.1e-8, 3)):
        assert len(judged(line(3e-7, bar), *[line()] * (count - 1))[1].asked) == count


def test_a_bound_that_is_too_wide_asks_for_others_where_these_can_help():
    """Bars of 1e-4 give a bound of 1e-2 from the fourth line on, of 1e-3 from the seventh, of 1e-2 not with nine."""
    for bar, count in ((1e-9, 3), (1e-4, 4), (1e-3, 7), (1e-2, 3)):
        found, _ = judged(*[line(0, bar)] * count)  # all of them are asked for
        assert (found.bound < 1e-2) is (bar < 1e-2)
    # Single entries of many are looked for as well: 30 % of the typical one among 10,000 takes 3e-3.
    many: Any = SimpleNamespace(leaves=[SimpleNamespace(size=10_000)])
    assert len(judged(*[line(0, 1e-4)] * 5, directions=many)[1].asked) == 5
    # But not by a sparing check, which goes by the user's bound alone.
    loose = dataclasses.replace(LIMITS, max_bound=0.5)
    assert len(judged(*[line(0, 1e-4)] * 4, limits=loose)[1].asked) == 4
    assert len(judged(*[line(0, 1e-4)] * 2, limits=dataclasses.replace(loose, sparing=True))[1].asked) == 2


def test_entries_that_move_one_way_only_ask_for_more():
    """Their bound is twice as wide: more lines are asked for, and none where nine would not do."""
    folded = dataclasses.replace(TIER, folded=True)
    for bar, count in ((1e-4, 4), (1e-3, 9), (1.5e-3, 3)):
        found, _ = judged(*[line(0, bar)] * count, tier=folded)
        assert found.bound == pytest.approx(error_bound(bar, count, 12, LIMITS.confidence, folded=True))


def test_one_bar_far_wider_than_the_others_is_measured_again():
    """Once, on a longer ladder, where it alone makes the bound too wide; what comes out counts if it is better."""
    wide, better = line(0, 1e-2), line(0, 1e-6)
    found, meter = judged(wide, line(), line(), better)
    assert meter.asked == ["line", "line", "ladder", "line"] or meter.asked == ["line", "line", "line", "ladder"]
    assert found.bound == pytest.approx(error_bound(1e-6, 3, 12, LIMITS.confidence))
    assert len(judged(line(0, 1e-6), line(), line())[1].asked) == 3
    # Ten times as wide as the others.
    assert "ladder" in judged(line(0, 2.6e-3), *[line(0, 2.2e-4)] * 2, line(), line())[1].asked
    assert judged(line(0, 2.4e-3), line(0, 3e-4), line(0, 3e-4))[1].asked == ["line"] * 3


def test_a_line_that_is_not_finite_ends_it():
    found, _ = judged(line(math.nan))
    assert (found.kind, found.reason, len(found.measured)) == (Kind.UNSURE, Reason.NO_CONVERGENCE, 1)
    assert len(judged(line(), line(math.nan))[0].measured) == 2


def test_a_look_that_was_taken_is_the_first_line():
    meter: Any = MadeUp([line(), line()])
    found = run(judge(meter, TIER, LIMITS, line(3e-8)))
    assert (found.kind, found.deviation, meter.lines) == (Kind.AGREES, pytest.approx(3e-8), [])


@pytest.mark.parametrize(
    ("value", "f0", "kind"),
    [
        (4e-10, 1.0, Kind.AGREES),
        (6e-10, 1.0, Kind.WRONG),
        (1.5e-9, -4.0, Kind.AGREES),
        (2.5e-9, -4.0, Kind.WRONG),
        (1e-9, 1e-9, Kind.WRONG),
    ],
)
def test_a_claim_of_zero_is_held_to_a_thousandth_of_f(value, f0, kind):
    """For want of a size of its own; or to the slope, where that is larger."""
    tier = dataclasses.replace(ONE, scale=0.0, shares=(0.0,))
    one = dataclasses.replace(line(value, 1e-13, claimed=0.0, f0=np.array([f0])), scale=0.0)
    for moved in (True, False):  # (a claim of zero is not refuted by an f that stands still)
        assert judged(one, tier=tier, pairs=[value], moved=moved)[0].kind is kind


def test_what_does_not_move_f_says_nothing_of_the_claim():
    """But where f shows, along the line, that it would move by far more than rounding hides, it does."""
    found, _ = judged(line(-1.0), moved=False)
    assert (found.kind, found.reason, found.unchanged) == (Kind.UNSURE, Reason.DEGENERATE, True)
    seeing = dataclasses.replace(LIMITS, sees=True)
    assert judged(line(-1.0, claimed=1.0), moved=False, limits=seeing, pairs=[0.0])[0].kind is Kind.WRONG
    # Ten thousand half-ulps of f is the limit, at the coarsest step of 0.1.
    for claimed, unchanged in ((0.9e-11, True), (1.1e-11, False)):
        found, _ = judged(*[line(-claimed, claimed=claimed)] * (1 if unchanged else 3), moved=False, limits=seeing)
        assert found.unchanged is unchanged
    hidden = line(-1e-12, claimed=1e-12)
    assert judged(hidden, moved=False, limits=seeing)[0].unchanged
    # A known lattice is in the bar.
    assert not judged(*[hidden] * 3, moved=False, limits=seeing, resolution=1e-9)[0].unchanged


# -------------------------------------------------------------------------------------------------------------- kinks

KINKED = line(1e-4, jump=1e-3)
ALMOST = line(1e-4, jump=1.2e-3)


def test_the_same_kink_along_two_lines_is_a_kink():
    """Each is seen twice; of one entry one line is enough."""
    found, meter = judged(KINKED, ALMOST, KINKED, ALMOST)
    assert found.kind is Kind.KINK
    assert meter.asked == ["line", "ladder"] * 2
    assert judged(KINKED, ALMOST, tier=ONE)[0].kind is Kind.KINK


def test_a_kink_along_one_line_leaves_the_others_to_speak():
    """Three more; where these agree it is no kink, where one is excluded it is no accusation."""
    found, meter = judged(KINKED, ALMOST, line(), line(), line())
    assert (found.kind, len(meter.asked)) == (Kind.AGREES, 5)
    assert judged(KINKED, ALMOST, line(0.01), pairs=[1.01])[0].kind is Kind.KINK


def test_a_kink_that_a_longer_ladder_does_not_see_was_none():
    """The longer ladder is judged in place of the first: it agrees, or it is excluded."""
    found, meter = judged(line(0.1, jump=0.2), line(), line(), line())
    assert (found.kind, found.deviation) == (Kind.AGREES, 0.0)
    assert meter.asked == ["line", "ladder", "line", "line"]
    unclear = line(jump=1.2e-3, jump_bar=1e-3)
    assert judged(KINKED, unclear, line(), line())[0].kind is Kind.AGREES
    found, _ = judged(line(0.1, jump=0.2), line(0.01), pairs=[1.01])
    assert (found.kind, found.failing.deviation) == (Kind.WRONG, pytest.approx(0.01))


@pytest.mark.parametrize(
    "again",
    [
        line(1e-4, jump=2e-3),
        line(1e-4, jump=1.35e-3),
        line(1e-4, jump=-1e-3),
        line(math.nan),
        line(math.nan, jump=1e-3),
    ],
    ids=["twice", "a third more", "the other way", "no slope", "no slope, but a jump"],
)
def test_another_kink_or_none_at_all_on_the_longer_ladder_is_unstable(again):
    found, _ = judged(KINKED, again)
    assert (found.kind, found.reason) == (Kind.UNSURE, Reason.UNSTABLE)


@pytest.mark.parametrize(
    ("one", "is_kink"),
    [
        (line(jump=1e-3), True),
        (line(jump=-1e-3), True),
        (line(jump=5.2e-6), True),
        (line(jump=4.8e-6), False),  # within ten tolerances
        (line(jump=1e-3, jump_bar=3e-4), True),
        (line(jump=1e-3, jump_bar=5e-4), False),
        (line(0, 4e-4, jump=1e-3), True),
        (line(0, 6e-4, jump=1e-3), False),  # each slope within the other's bar
        (line(0, 4e-4, jump=1e-3, jump_bar=2.5e-4), False),
        (line(jump=1e-3, side=1), False),
    ],
    ids=range(10),
)
def test_what_is_a_kink(one, is_kink):
    assert _bends.kinked(one, TOLERANCE) is is_kink


@pytest.mark.parametrize(
    ("jump_bar", "wide", "is_curved"),
    [(3.4e-3, 0.01, True), (3.2e-3, 0.01, False), (0.0, 0.034, True), (0.0, 0.0325, False)],
)
def test_what_fades_at_finer_steps_is_curvature(jump_bar, wide, is_curved):
    """A difference of 0.01 within three bars of it, what it changes by included, or a third of what it was."""
    even = (H * np.array([wide, wide, 0.01]) / 2)[:, None]
    assert _bends.merely_curved(line(jump=0.01, jump_bar=jump_bar, even=even)) == is_curved
    assert not _bends.merely_curved(line(jump=0.01, jump_bar=jump_bar, h=H[:1]))


def test_what_lies_within_a_kink():
    """Up to half the jump from the middle, and the bars."""
    assert _bends.inside_kink(line(5e-4, jump=1e-3), 0.0)
    assert _bends.inside_kink(line(5.1e-4, 1e-5, jump=1e-3), 0.0)
    assert _bends.inside_kink(line(5.1e-4, jump=-1e-3), 1e-5)
    assert not _bends.inside_kink(line(5.1e-4, jump=1e-3), 0.0)


# -------------------------------------------------------------------------------------------------- lines that deviate


def test_an_obvious_deviation_takes_a_pair_of_values():
    """A pair that does not bear it out asks for a ladder."""
    found, meter = judged(line(0.01), pairs=[1.0105])
    assert (found.kind, meter.asked) == (Kind.WRONG, ["line", "pair"])
    found, meter = judged(line(0.01), line(0.01), pairs=[1.02])
    assert (found.kind, meter.asked) == (Kind.WRONG, ["line", "pair", "line"])


@pytest.mark.parametrize(
    ("one", "fields"),
    [
        (line(0.01, 2e-5), {}),  # 500 bars
        (line(1e-3), {}),  # less than 0.2 %
        (line(0.01, side=1), {}),
        (line(0.01), {"known": None}),
        (line(-1.0, claimed=1.0, odd=np.array([[0.1], [0.0], [0.0]]), even=np.zeros((3, 1))), {}),  # stands still
    ],
    ids=["500 bars", "small", "one side", "nothing known", "a staircase"],
)
def test_what_is_not_obvious_takes_more_than_a_pair(one, fields):
    assert not run(_confirm.plain(MadeUp(pairs=[1.01], **fields), one, 2e-3))  # pyright: ignore
    assert run(_confirm.plain(MadeUp(pairs=[1.01]), line(0.01), 2e-3))  # pyright: ignore


def test_roundings_of_the_largest_claim_are_no_deviation():
    """Two of them, and five times as much: terms of that size have cancelled in every other."""
    assert judged(line(9e-4, 1e-4), *[line()] * 6, claim_floor=1e-4)[0].kind is Kind.AGREES
    assert judged(line(9e-3), claim_floor=1e-4, pairs=[1.009])[0].kind is Kind.WRONG
    # As far as the leaf moves that moves furthest.
    both = dataclasses.replace(ONE, group=(0, 1), scales=(0.5, 0.1), shares=(0.5, 0.5))
    assert judged(line(9e-4, 1e-4), tier=both, claim_floor=2e-4)[0].kind is Kind.AGREES
    more, unclear = line(1.2e-3, 1e-4), [Shape(ShapeKind.UNCLEAR)]
    assert judged(more, more, tier=both, claim_floor=2e-4, shapes=unclear)[0].kind is Kind.WRONG
    # What the claim's own precision has lost, relative to its size.
    lost, large = dataclasses.replace(LIMITS, rounding=1e-4), dataclasses.replace(ONE, scale=10.0, shares=(10.0,))
    assert judged(line(4e-3), tier=large, limits=lost)[0].kind is Kind.AGREES


def test_a_slight_bend_beside_a_deviation_asks_for_another_line():
    """From a hundredth of it on: excluded again it is WRONG, and where others agree it cannot be told."""
    bent, again = line(0.01, 1e-4, jump=1.5e-4, jump_bar=4e-5), line(0.01)
    assert judged(bent, again, bent, again)[0].kind is Kind.WRONG
    found, meter = judged(bent, again, line(), line(), line())
    assert (found.kind, found.reason, len(meter.asked)) == (Kind.UNSURE, Reason.UNSTABLE, 5)
    for straight in (
        line(0.01, 1e-4, jump=9e-5, jump_bar=1e-5),
        line(0.01, 1e-4, jump=1.5e-4, jump_bar=6e-5),
        line(0.01, 1e-4, jump=1.5e-4, jump_bar=1e-5, side=1),
    ):
        assert judged(straight, again)[0].kind is Kind.WRONG
    assert judged(bent, again, tier=ONE)[0].kind is Kind.WRONG


def test_a_bend_that_coarse_steps_may_hide_asks_for_another_line():
    """In low precision: room for a kink of a fifth of the deviation. Twice in a row it cannot be told if it bends."""
    known = SimpleNamespace(eps=EPS32, size=1.0, relative_bar=1e-4, question_step=1e-2, noise=np.zeros(1))
    low: dict[str, Any] = {"eps": EPS32, "precision": EPS32, "known": known}

    def one(jump, jump_bar, residual=0.1):
        return line(residual, 1e-5, jump=jump, jump_bar=jump_bar, eps=EPS32)

    hiding = one(0, 0.03)
    assert judged(hiding, hiding, pairs=[1.1] * 2, **low)[0].kind is Kind.WRONG
    bending = one(0.03, 0.02)
    found, _ = judged(hiding, bending, pairs=[1.1] * 2, **low)
    assert (found.kind, found.reason, found.rtol) == (Kind.UNSURE, Reason.UNSTABLE, 4e-5)
    assert judged(one(0, 0.01), pairs=[1.1], **low)[0].kind is Kind.WRONG
    # A clear one from a twentieth on.
    assert judged(one(6e-3, 5.9e-3), one(0, 0.01), pairs=[1.1] * 2, **low)[0].kind is Kind.WRONG
    assert judged(one(4e-3, 3.9e-3), pairs=[1.1], **low)[0].kind is Kind.WRONG
    assert judged(one(6e-3, 6.5e-3), pairs=[1.1], **low)[0].kind is Kind.WRONG
    # In float64 such steps are fine.
    assert judged(line(0.1, 1e-5, jump_bar=0.03), pairs=[1.1])[0].kind is Kind.WRONG


def test_a_deviation_that_may_be_small_by_accident_waits_for_another_line():
    """Between a tenth of what is obvious and that: the larger of two is judged, and the other counts if it agrees."""
    small, large = line(1e-3), line(0.01)
    found, meter = judged(small, large, pairs=[1.01])
    assert (found.kind, meter.asked) == (Kind.WRONG, ["line", "line", "pair"])
    shape = Shape(ShapeKind.SMOOTH, 1.001)
    found, meter = judged(small, line(), shapes=[shape])
    assert (found.kind, meter.asked) == (Kind.WRONG, ["line", "line", "shape"])
    jumps = Shape(ShapeKind.JUMPS)
    found, _ = judged(small, line(2e-8), line(), line(), *[line()] * 5, shapes=[jumps])
    assert found.bound == pytest.approx(error_bound(2e-3, 9, 12, LIMITS.confidence))
    for at_once in (line(1.9e-4), line(1e-3, side=1)):
        assert judged(at_once, at_once, shapes=[Shape(ShapeKind.UNCLEAR)])[0].kind is Kind.WRONG
    assert judged(small, tier=ONE, shapes=[shape])[0].kind is Kind.WRONG


def test_no_line_waits_twice_and_a_usual_one_comes_next():
    """The larger of two is judged although it is small as well; balanced lines neither wait nor are waited for."""
    small, more = line(1e-3), line(1.5e-3)
    shape, jumps = [Shape(ShapeKind.SMOOTH, 1.0015)], [Shape(ShapeKind.JUMPS)]
    found, meter = judged(small, more, shapes=shape)
    assert (found.kind, meter.asked) == (Kind.WRONG, ["line", "line", "shape"])
    assert judged(small, more, shapes=shape, tier=dataclasses.replace(TIER, size=2))[0].kind is Kind.WRONG
    steps = np.r_[np.ones(11), 1e-3]
    assert judged(line(), small, line(0.01), pairs=[1.01], steps=steps)[1].asked == ["line", "line", "line", "pair"]
    balanced = line(1e-4, floor=0.1)  # (its scale is 0.1)
    assert judged(line(), line(), balanced, balanced, steps=steps)[1].asked == ["line", "line", "balanced", "line"]
    # Of the two the other counts only if it agrees, with its bar.
    found, _ = judged(more, small, line(), line(), more, shapes=jumps)
    assert found.bound == pytest.approx(error_bound(3e-3, 3, 12, LIMITS.confidence))
    found, _ = judged(small, line(0, 2.2e-3), *[line()] * 7, shapes=jumps)
    assert found.bound == pytest.approx(error_bound(2.2e-3, 9, 12, LIMITS.confidence))


def test_what_a_second_look_does_not_decide_is_unsure():
    """For want of a second slope; at an edge the edge is to blame."""
    for again, reason in ((line(math.nan), Reason.UNSTABLE), (line(math.nan, side=1), Reason.DOMAIN)):
        found, _ = judged(line(0.01, 2e-5), again)
        assert (found.kind, found.reason) == (Kind.UNSURE, reason)


def test_a_deviation_that_a_second_look_takes_back_agrees():
    found, _ = judged(line(0.01, 2e-5), line(), line(2e-8), line(), line())
    assert (found.kind, found.deviation) == (Kind.AGREES, pytest.approx(2e-8))


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e4])
def test_what_f_itself_is_to_blame_for_widens_the_bound(factor):
    """The deviation counts as bar, and nothing as small is accused from there on."""
    jump: Any = SimpleNamespace(at=1e-3, size=1e-8)
    found, meter = judged(
        *(scaled(one, factor) for one in (line(1e-5), line(9e-6), line())),
        shapes=[Shape(ShapeKind.JUMPS, math.nan, jump)],
        tier=dataclasses.replace(TIER, scale=factor, shares=(factor,)),
        known=MadeKnown(EPS64, factor, 1e-9),
    )
    assert found.kind is Kind.AGREES
    assert found.bound == pytest.approx(factor * error_bound(2e-5, 3, 12, LIMITS.confidence))
    assert (meter.regularity, found.rtol) == (pytest.approx(1e-5), pytest.approx(1e-5))
    assert [one.jump for one in meter.excuses] == [jump]


@pytest.mark.parametrize(
    ("residual", "at", "size", "coarse", "is_excused"),
    [
        (1e-3, 2e-3, 2e-6, 1.0, True),
        (1e-3, 2e-3, 2e-6, 1.001, False),  # steps that reach across it do not follow the claim
        (1e-3, 1.0, 1e-3, 1.001, True),  # none reaches so far
        (1e-3, 2e-3, 5e-7, 1.0, True),  # a part of what makes the deviation
        (1e-2, 2e-3, 2e-5, 1.0, True),
        (1e-2, 2e-3, 5e-6, 1.0, False),  # a large one must be made by this jump
    ],
)
def test_what_a_jump_beside_the_point_excuses(residual, at, size, coarse, is_excused):
    """It is as large as the deviation asks for, and steps across it follow the claim."""
    jump: Any = SimpleNamespace(at=at, size=size)
    one = line(residual, 1e-9, step=jump, odd=(H * np.array([coarse, coarse, 1 + residual]))[:, None])
    assert _bends.excuses(jump, one) is is_excused
    if is_excused:
        found, meter = confirmed(one)
        assert (found.look, found.jump, meter.asked) == (Look.IRREGULAR, jump, [])
    elif residual > 2e-3:
        assert confirmed(one, pairs=[1 + residual])[0].look is Look.EXCLUDED


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e4])
def test_a_jump_beside_the_point_excuses_a_twentieth_at_most(factor):
    for residual, look in ((0.049, Look.IRREGULAR), (0.051, Look.EXCLUDED)):
        jump: Any = SimpleNamespace(at=2e-3, size=factor * residual * 2e-3)
        odd = (H * np.array([1.0, 1.0, 1 + residual]))[:, None]
        found, meter = confirmed(scaled(line(residual, step=jump, odd=odd), factor), pairs=[factor * (1 + residual)])
        assert (found.look, meter.asked) == (look, [] if look is Look.IRREGULAR else ["pair"])


BENT, UNDECIDED = line(0.01, 1e-4, jump=1.5e-4, jump_bar=1e-5), line(math.nan)
# The lines up to an exit, how many of them the judgement keeps, and what is said.
ENDS: dict[str, tuple[tuple[Measured, ...], int, Kind]] = {
    "agrees": ((line(), line(), line()), 3, Kind.AGREES),
    "kinks": ((KINKED, ALMOST, KINKED, ALMOST), 2, Kind.KINK),
    "another kink": ((KINKED, line(1e-4, jump=2e-3)), 1, Kind.UNSURE),
    "excluded after a kink": ((KINKED, ALMOST, line(0.01, 2e-5), line(0.01)), 3, Kind.KINK),
    "excluded": ((line(0.01, 2e-5), line(0.01)), 2, Kind.WRONG),
    "undecided": ((line(0.01, 2e-5), UNDECIDED), 2, Kind.UNSURE),
    "bent once": ((BENT, line(0.01), line(), line(), line()), 5, Kind.UNSURE),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_tells_what_was_measured_and_what_is_worth_an_accusation(name):
    """The user's rtol here; in low precision that of the precision."""
    lines, kept, kind = ENDS[name]
    found, _ = judged(*lines, limits=dataclasses.replace(LIMITS, rtol=1e-6))
    assert (found.kind, len(found.measured), found.rtol) == (kind, kept, 1e-6)
    assert judged(*lines)[0].rtol == 1e-7


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_nothing_depends_on_the_size_of_f(name, factor):
    lines, _, kind = ENDS[name]
    tier = dataclasses.replace(TIER, scale=factor, shares=(factor,))
    known = MadeKnown(EPS64, factor, 1e-9)
    found, meter = judged(*(scaled(one, factor) for one in lines), tier=tier, known=known)
    same, other = judged(*lines)
    assert (found.kind, meter.asked) == (kind, other.asked)
    assert found.bound == (math.inf if math.isinf(same.bound) else pytest.approx(factor * same.bound))


# ------------------------------------------------------------------------------------------------------- second looks


def test_a_second_ladder_confirms():
    """It excludes the claim, or takes the deviation back, which a third has to confirm."""
    first = line(0.01, 2e-5)
    assert confirmed(first, line(0.01))[0].look is Look.EXCLUDED
    assert confirmed(first, line(), line())[0].look is Look.AGREES
    assert confirmed(first, line(), line(0.01))[0].look is Look.UNSURE
    assert confirmed(first, line(), line(math.nan))[0].look is Look.UNSURE


def test_a_second_ladder_that_bends_decides_nothing():
    first = line(0.01, 2e-5)
    assert confirmed(first, line(0.01, jump=2.1e-3))[0].look is Look.UNSURE
    assert confirmed(first, line(0.01, jump=1.9e-3))[0].look is Look.EXCLUDED


STILL = {"odd": np.array([[0.1], [0.0], [0.0]]), "even": np.zeros((3, 1))}


@pytest.mark.parametrize("on_stairs", [False, True])
def test_an_f_that_stands_still_and_follows_from_afar_is_rounded(on_stairs):
    """Neither WRONG nor CORRECT; it must stand still, and follow the claim."""
    first = line(-1.0, 2e-3)
    for factor in (1.0, 1e-3, 1e4):
        lines = scaled(first, factor), scaled(line(-1.0, **STILL), factor)
        assert confirmed(*lines, on_stairs=on_stairs)[0].look is Look.UNSURE
    small = {**STILL, "odd": np.array([[0.3], [0.0], [0.0]])}
    assert confirmed(scaled(first, 4), scaled(line(-1.0, **small), 4), on_stairs=on_stairs)[0].look is Look.EXCLUDED
    away = {**STILL, "odd": np.array([[0.3], [0.0], [0.0]])}
    slow = {**STILL, "odd": np.array([[0.1], [0.01], [1e-5]])}
    bent = {**STILL, "even": np.array([[0.0], [0.0], [1e-9]])}
    risen = {**STILL, "level": np.array([0])}  # its slope is one of the steps that moved f, and excludes the claim
    for other in (away, slow, bent, risen):
        assert confirmed(first, line(-1.0, **other), on_stairs=on_stairs)[0].look is Look.EXCLUDED


def test_an_edge_beside_low_precision_decides_nothing():
    first, again = line(0.01, 2e-5, side=1), line(0.01, side=1)
    assert confirmed(first, again, precision=EPS32)[0].look is Look.UNSURE
    assert confirmed(first, again)[0].look is Look.EXCLUDED
    assert confirmed(line(0.01, 2e-5), line(0.01), precision=EPS32)[0].look is Look.EXCLUDED


def test_small_deviations_ask_for_the_shape_of_f():
    """Jumps excuse them; a second slope that bears them out does not; where neither shows, the smallest are excused."""
    small, tiny = line(1e-3), line(8e-6)
    assert confirmed(small, shapes=[Shape(ShapeKind.JUMPS)])[0].look is Look.IRREGULAR
    found, meter = confirmed(small, shapes=[Shape(ShapeKind.SMOOTH, 1.00101)])
    assert (found.look, meter.asked) == (Look.EXCLUDED, ["shape"])
    found, meter = confirmed(small, small, shapes=[Shape(ShapeKind.SMOOTH, 1.0)])
    assert (found.look, meter.asked) == (Look.EXCLUDED, ["shape", "line"])
    found, meter = confirmed(tiny, tiny, shapes=[Shape(ShapeKind.UNCLEAR)])
    assert (found.look, meter.asked) == (Look.IRREGULAR, ["far shape", "line"])
    assert confirmed(line(2e-5), line(2e-5), shapes=[Shape(ShapeKind.UNCLEAR)])[0].look is Look.EXCLUDED
    for factor in (1e-3, 1e4):
        shape = Shape(ShapeKind.SMOOTH, factor * 1.00101)
        assert confirmed(scaled(small, factor), shapes=[shape])[1].asked == ["shape"]
        shape = Shape(ShapeKind.UNCLEAR)
        found, meter = confirmed(scaled(tiny, factor), scaled(tiny, factor), shapes=[shape])
        assert (found.look, meter.asked) == (Look.IRREGULAR, ["far shape", "line"])
        large = scaled(line(0.01), factor)
        assert confirmed(large, pairs=[factor * 1.01])[1].asked == ["pair"]
    # From one side, and along a balanced direction, there is none to ask for.
    assert confirmed(line(1e-3, side=1), line(1e-3, side=1))[1].asked == ["line"]
    assert confirmed(line(1e-3, floor=0.1), line(1e-3))[1].asked == ["line"]


def test_a_deviation_of_few_bars_is_measured_on_a_longer_ladder():
    assert confirmed(line(0.01, 2e-3), line(0.01, 2e-3))[1].asked == ["ladder"]
    assert confirmed(line(0.01, 5e-4), line(0.01, 5e-4))[1].asked == ["line"]


def test_sharp_steps_of_low_precision_confirm_by_themselves():
    """What they measure counts; where they are not clear, bend, or disagree with the first, a ladder decides."""
    low: dict[str, Any] = {"precision": EPS32, "takes_sharp_slopes": True}
    first, sharp, ladder = line(0.1, 0.02), line(0.11, 0.01), line(0.1)
    found, meter = confirmed(first, sharp, **low)
    assert (found.look, meter.asked) == (Look.EXCLUDED, ["sharp"])
    assert found.measured is sharp
    for other in (
        line(0.11, 0.04),  # less than three bars
        line(0.14, 0.01),
        line(0.11, 0.01, jump=0.03),
        line(0.11, 0.01, side=1),
        line(math.nan),
    ):
        found, meter = confirmed(first, other, ladder, **low)
        assert (found.measured is ladder, meter.asked) == (True, ["sharp", "ladder"])
    for without in (line(0.1, 0.02, side=1), line(0.1, 0.02, floor=0.1)):
        assert confirmed(without, ladder, **low)[1].asked == ["ladder"]


def test_on_stairs_both_slopes_must_exclude_the_claim():
    """A tread that the claim agrees with excuses it, whatever the slope across the steps says."""
    tread = SimpleNamespace(value=1.0, bar=1e-6)
    jump: Any = SimpleNamespace(at=1e-3)
    found, meter = confirmed(line(0.1), line(0.1, step=jump, tread=tread), on_stairs=True)
    assert (found.look, meter.excuses[0].on_tread, meter.asked) == (Look.UNSURE, True, ["ladder"])
    off = SimpleNamespace(value=1.002, bar=1e-6)
    assert confirmed(line(0.1), line(0.1, step=jump, tread=off), on_stairs=True)[0].look is Look.EXCLUDED
    assert confirmed(line(0.1), line(0.1, tread=tread), on_stairs=True)[0].look is Look.EXCLUDED
    assert confirmed(line(0.1), line(), on_stairs=True)[0].look is Look.AGREES
    for again in (line(math.nan), line(0.1, side=1)):
        assert confirmed(line(0.1), again, on_stairs=True)[0].look is Look.UNSURE


def test_a_claim_lies_on_a_tread_within_its_bars_or_a_thousandth():
    def on(value, bar):
        return _bends.on_tread(line(tread=SimpleNamespace(value=value, bar=bar)))

    assert [on(1.0009, 1e-9), on(1.0011, 1e-9), on(1.01, 1.1e-3), on(1.01, 9e-4)] == [True, False, True, False]
    assert not _bends.on_tread(line())


# ------------------------------------------------------------------------------------------- witnesses, tiny claims


def test_a_witness_narrows_a_bar_that_is_too_wide():
    """Where both agree; where they do not it cannot be told, unless f is not analytic; it is asked for no other bar."""
    wide = line(0, 1.0)
    witnesses: dict[str, Any] = {"witnesses": ("reference",)}
    found, _ = judged(wide, wide, wide, witnessed=[(1.0, 1e-9)] * 3, **witnesses)
    assert found.bound == pytest.approx(error_bound(1e-9, 3, 12, LIMITS.confidence))
    found, _ = judged(wide, witnessed=[(2.5, 1e-9)], **witnesses)
    assert (found.kind, found.reason) == (Kind.UNSURE, Reason.WITNESSES)
    # What only the witness excludes is not believed of it.
    found, _ = judged(wide, wide, wide, witnessed=[(1.5, 1e-9)] * 3, **witnesses)
    assert found.bound == pytest.approx(error_bound(1.0, 3, 12, LIMITS.confidence))
    assert judged(wide, wide, wide, witnessed=[None] * 3, **witnesses)[0].kind is Kind.AGREES
    assert "witness" not in judged(line(), line(), line(), **witnesses)[1].asked
    analytic: dict[str, Any] = {"witnesses": ("complex",)}
    assert judged(wide, wide, wide, witnessed=[(2.5, 1e-9), False] * 3, **analytic)[0].kind is Kind.AGREES
    assert judged(wide, witnessed=[(2.5, 1e-9), True], **analytic)[0].reason is Reason.WITNESSES


def test_tiny_claims_get_a_balanced_line():
    """Third, where some claims are below 3 % of the others or zero; it excludes, and it bounds nothing."""
    tiny, equal, zero = np.r_[np.ones(11), 1e-3], np.ones(12), np.r_[np.ones(11), 0.0]
    for steps in (tiny, zero):
        found, meter = judged(line(), line(), line(0, 1e-3, floor=0.1), line(), steps=steps)
        assert meter.asked == ["line", "line", "balanced", "line"]
        assert found.bound == pytest.approx(error_bound(1e-9, 3, 12, LIMITS.confidence))
    assert judged(line(), line(), line(), steps=equal)[1].asked == ["line"] * 3
    assert judged(line(), tier=ONE, steps=tiny)[1].asked == ["line"]
    flat = dataclasses.replace(TIER, scale=0.0, shares=(0.0,))
    assert judged(*[line(0, claimed=0.0)] * 3, tier=flat, steps=np.zeros(12))[1].asked == ["line"] * 3
    for factor in (1.0, 10.0):
        steps = factor * np.r_[np.ones(11), 0.02]
        assert judged(line(), line(), line(floor=0.1), line(), steps=steps)[1].asked[2] == "balanced"
        steps = factor * np.r_[np.ones(11), 0.04]
        assert judged(line(), line(), line(), steps=steps)[1].asked == ["line"] * 3
    found, _ = judged(line(), line(), line(0.01, floor=0.1), steps=tiny, pairs=[1.01])
    assert found.kind is Kind.WRONG
    # It is held to less, and what it does not decide is left to the others.
    for balanced in (line(2.9e-5, floor=0.1), line(math.nan, floor=0.1)):
        assert judged(line(), line(), balanced, line(), steps=tiny)[0].kind is Kind.AGREES
    off = line(3.1e-5, floor=0.1)
    assert judged(line(), line(), off, off, steps=tiny)[0].kind is Kind.WRONG
    # What f's own jumps do to a slope does not shrink with the claims that move.
    rough = line(4.9e-4, floor=0.1)
    assert judged(line(), line(), rough, line(), steps=tiny, regularity=1e-4)[0].kind is Kind.AGREES
    found, _ = judged(line(), line(), line(0.01, 2e-5, floor=0.1), line(math.nan), line(), steps=tiny)
    assert found.kind is Kind.AGREES


def test_a_balanced_line_that_is_merely_curved_is_no_kink():
    """What fades at finer steps; any other kink is looked at again and counts. So is a usual line that is curved."""
    steps, curved = np.r_[np.ones(11), 1e-3], (H**2)[:, None]
    fading, bent = line(jump=1e-2, floor=0.1, even=curved), line(jump=1e-2, floor=0.1)
    assert judged(line(), line(), fading, line(), steps=steps)[1].asked == ["line", "line", "balanced", "line"]
    found, meter = judged(line(), line(), bent, bent, line(), steps=steps)
    assert (found.kind, meter.asked) == (Kind.AGREES, ["line", "line", "balanced", "ladder", "line"])
    assert judged(line(), line(), bent, bent, KINKED, ALMOST, steps=steps)[0].kind is Kind.KINK
    assert judged(line(jump=1e-2, even=curved), line(), line(), line())[1].asked[1] == "ladder"
    # What the longer ladder does not bear out is left to the others.
    assert judged(line(), line(), bent, line(jump=2e-2), line(), steps=steps)[0].kind is Kind.AGREES
    assert judged(line(), line(), bent, line(math.nan), line(), steps=steps)[0].kind is Kind.AGREES


def test_a_sparing_check_takes_fewer_levels_along_a_balanced_line():
    steps, sparing = np.r_[np.ones(11), 1e-3], dataclasses.replace(LIMITS, sparing=True)
    balanced = line(0, 1e-3, floor=0.1)
    assert judged(line(), line(), balanced, steps=steps, limits=sparing)[1].asked[-1] == "balanced, sparing"
    assert "balanced" in judged(line(), line(), balanced, line(), steps=steps)[1].asked


def test_how_narrow_a_bar_is_asked_for():
    """As the ladder will have it; beside larger leaves no narrower than noise allows; a sparing check as it needs."""
    sparing = dataclasses.replace(LIMITS, sparing=True)

    def target(limits, size, relative_bar=1e-8, **fields):
        known: Any = MadeKnown(EPS64, size, relative_bar)
        meter: Any = MadeUp([line()], known=known, **fields)
        run(_judge.first_look(meter, TIER, limits))
        return meter.targets[0]

    assert target(LIMITS, 1.0) is None
    assert target(sparing, 1.0) == 1e-6
    assert target(sparing, 1.0, eps=EPS32) is None
    assert target(LIMITS, 5.0) == pytest.approx(3 * 1e-8 * 5)
    assert target(LIMITS, 5e3) == 1e-6
    # Three directions with such a bar give a bound of 0.3 times the largest that may be called CORRECT.
    assert target(sparing, 5.0) == pytest.approx(0.3 * 1e-2 / error_bound(1.0, 3, 12, LIMITS.confidence))
    assert target(sparing, 5.0) > target(sparing, 5.0, relative_bar=1e-9) - 1e-12 > 1e-6


def test_levels_are_those_of_the_lines_own_size():
    """Beside larger leaves, in float64; in low precision, and with nothing smaller than before, as they were."""
    for size, eps, levels in ((7.0, EPS64, 0.7), (0.7, EPS64, None), (7.0, EPS32, None)):
        meter: Any = MadeUp([line()], known=MadeKnown(eps, size, 1e-8))
        run(_judge.first_look(meter, dataclasses.replace(TIER, scale=0.7), LIMITS))
        assert meter.knowns[0].levels == levels
        assert meter.targets == [None if levels is None else pytest.approx(3e-7)]


def test_a_sparing_check_goes_by_the_smallest_leaf_that_moves():
    """Three directions must do for the smallest share; one that is zero takes no part."""
    sparing, targets = dataclasses.replace(LIMITS, sparing=True), []
    for shares in ((1.0, 1.0), (0.5, 1.0, 0.0)):
        tier = dataclasses.replace(TIER, scale=0.5, shares=shares, scales=shares, group=tuple(range(len(shares))))
        meter: Any = MadeUp([line()], known=MadeKnown(EPS64, 100.0, 1e-12))
        run(_judge.first_look(meter, tier, sparing))
        targets.append(meter.targets[0])
    assert targets[0] == pytest.approx(0.3 * 1e-2 / error_bound(0.5, 3, 12, LIMITS.confidence))
    assert targets[1] == pytest.approx(targets[0] / 2)


@pytest.mark.parametrize(
    ("one", "scale", "taught"),
    [
        (line(), 1.0, (1e-9, 1.0)),
        (line(claimed=4.0), 1.0, (2.5e-10, 1.0)),
        (line(claimed=0.25), 1.0, (1e-9, 1.0)),
        (line(math.nan), 1.0, None),
        (line(side=1), 1.0, None),
        (line(jump=5.2e-6), 1.0, None),  # a kink teaches nothing but wide bars
        (line(jump=4.8e-6), 1.0, (1e-9, 1.0)),
        (line(jump=4.8e-6), 0.1, None),
        (line(jump=5.2e-6), 10.0, (1e-10, 10.0)),
        # Where nothing is claimed: the slope, or a thousandth of f.
        (line(claimed=0.25), 0.0, (4e-9, 0.25)),
        (line(claimed=2e-4), 0.0, (1e-6, 1e-3)),
        (line(claimed=2e-4, f0=np.array([-4.0])), 0.0, (2.5e-7, 4e-3)),
    ],
    ids=range(12),
)
def test_the_first_line_teaches_the_others(one, scale, taught, monkeypatch):
    """Its bar, relative to its size."""
    monkeypatch.setattr(_judge, "learn", lambda slope, relative_bar, size: (relative_bar, size))
    meter: Any = MadeUp([one], known=None)
    run(_judge.first_look(meter, dataclasses.replace(TIER, scale=scale), LIMITS))
    assert meter.known is taught is None or meter.known == pytest.approx(taught)
    # What is known already stays.
    before = MadeKnown(EPS64, 1.0, 1e-9)
    meter = MadeUp([one], known=before)
    run(_judge.first_look(meter, dataclasses.replace(TIER, scale=scale), LIMITS))
    assert meter.known is before


@dataclasses.dataclass(frozen=True)
class MadeKnown:
    """What a first line taught."""

    eps: float
    size: float
    relative_bar: float
    levels: Any = None
    question_step: float = 1e-3

    def levels_for(self, scale):
        """Marked by the scale that they are for."""
        return scale


# ------------------------------------------------------------------------------------------------------------ reasons


def test_why_a_bar_is_wide():
    """What the user can do something about comes first."""
    jumping = {"odd": np.array([[1.0], [1.0], [1.0]])}
    wide = line(0, 1.0)
    for one, fields, reason in (
        (line(trouble="domain"), {}, Reason.DOMAIN),
        (wide, {"random": True}, Reason.STOCHASTIC),
        (line(0, 1.0, **jumping), {}, Reason.NO_CONVERGENCE),
        (line(0, 1.0, odd=np.array([[1.9], [1.0], [1.0]])), {}, Reason.NO_CONVERGENCE),
        (line(0, 1.0, odd=np.array([[2.1], [1.0], [1.0]])), {}, Reason.NOISE),
        (line(0, 1.0, odd=np.full((3, 1), 1.1e-12)), {}, Reason.NO_CONVERGENCE),
        (line(0, 1.0, odd=np.full((3, 1), 0.9e-12)), {}, Reason.NOISE),
        (line(0, 1.0, h=H[:2], odd=np.ones((2, 1))), {}, Reason.NOISE),
        (line(0, 1.0, h=np.r_[1, H], odd=np.array([[9.0], [1.9], [1.0], [1.0]])), {}, Reason.NO_CONVERGENCE),
        (line(0, 1.0, h=np.r_[1, H], odd=np.array([[9.0], [1.9], [1.0], [1e-13]])), {}, Reason.NOISE),
        (line(0, 0.01, side=1, **jumping), {}, Reason.NOISE),
        (line(0, 1.0, side=1, **jumping), {"precision": EPS32}, Reason.NO_CONVERGENCE),
        (line(0, 0.01, side=1), {}, Reason.NOISE),
        (line(0, 0.1, side=1, claimed=2.0), {}, Reason.NOISE),
        (line(0, 0.1, side=1, claimed=0.5), {}, Reason.NO_CONVERGENCE),
        (line(math.nan), {}, Reason.NO_CONVERGENCE),
        (wide, {"precision": EPS32}, Reason.PRECISION),
        (wide, {}, Reason.NOISE),
    ):
        assert why_wide(Seen(**{"precision": EPS64, **fields}), one, LIMITS) is reason
    of_few_digits = dataclasses.replace(LIMITS, claim_eps=EPS32)
    assert why_wide(Seen(precision=EPS64), wide, of_few_digits) is Reason.PRECISION


def test_tolerances():
    """The user's, or that of the precision; in low precision it grows with eps**(2/3); balanced ones are larger."""
    assert LIMITS.tolerance(EPS64) == 1e-7
    assert LIMITS.tolerance(EPS64, balanced=True) == 6e-5
    assert LIMITS.tolerance(EPS32) == 4e-5
    assert LIMITS.tolerance(EPS32, balanced=True) == 2e-3
    assert LIMITS.tolerance(2.0**-10) == pytest.approx(0.016, rel=0.02)
    assert dataclasses.replace(LIMITS, claim_eps=EPS32).tolerance(EPS64) == 4e-5
    assert dataclasses.replace(LIMITS, rounding=1e-3).tolerance(EPS32) == 1e-3
    assert dataclasses.replace(LIMITS, rtol=1e-4).tolerance(EPS32) == 1e-4
    assert LIMITS.largest_bound(EPS64) == 1e-2
    assert LIMITS.largest_bound(EPS32) == 5e-2
    assert dataclasses.replace(LIMITS, max_bound=0.3).largest_bound(EPS32) == 0.3


# --------------------------------------------------------------------------------------------------------- simulated


def pool(*lines: Measured) -> simulate_trial.Pool:
    """Ladders of one function; the truth of each is 1."""
    ladders = [simulate_trial.Recorded(1.0, one.slope, one.value, one.bar) for one in lines]
    return simulate_trial.Pool("made up", "smooth", EPS64, 12, 1.0, ladders, ladders, ladders)


def words(ladders: simulate_trial.Pool, size: float, *, same: bool, count: int = 100) -> set[str]:
    rng = np.random.default_rng(1)
    rulings = [simulate_trial.tried(ladders, size, rng, same=same) for _ in range(count)]
    return {simulate_trial.said(one, ladders, size) for one in rulings}


@pytest.mark.parametrize("same", [False, True])
def test_honest_ladders_accuse_nobody_and_pass_no_error_above_the_bound(same):
    honest = pool(*(line(1e-9 * k, 1e-8) for k in range(-5, 6)))
    assert words(honest, 0.0, same=same) == {"correct"}
    assert words(honest, 1e-9, same=same) == {"correct"}
    assert words(honest, 1.0, same=same) == {"wrong"}
    assert words(pool(*[line(0, 0.5)] * 12), 0.0, same=same) == {"undecided"}


def test_a_dishonest_ladder_accuses_only_where_it_fools_every_look():
    """One in twelve is off by a thousand bars: the second look is another ladder, unless all of them are that one."""
    dishonest = pool(line(1e-4, 1e-7), *[line(0, 1e-7)] * 11)
    assert words(dishonest, 0.0, same=False, count=300) == {"correct"}
    assert words(dishonest, 0.0, same=True, count=300) == {"correct", "wrong"}


def test_an_error_that_all_ladders_hide_is_missed():
    """As if every bar were too small by as much as the claim is off: the simulation sees that."""
    rng = np.random.default_rng(2)
    blind = SimpleNamespace(kind=Kind.AGREES, bound=1e-7, measured=(line(),))
    assert simulate_trial.said(blind, pool(line()), 1e-6) == "missed"  # pyright: ignore
    assert simulate_trial.said(blind, pool(line()), 1e-8) == "correct"  # pyright: ignore
    drawn = np.array([simulate_trial.seen_along(5, rng) for _ in range(4000)])
    assert abs(float(np.mean(drawn**2)) - 1) < 0.1
    assert np.abs(drawn).max() <= math.sqrt(5)
