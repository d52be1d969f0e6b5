"""A right gradient of an f that is not quite smooth is never WRONG, and the same gradient 1 % off is never CORRECT.

Each f is exact but for one thing: it stops early, rounds, jumps, bends, or ends near the point. What it is called may
become sharper; what is asserted here is what no engine may say, and where f shows enough, what it must say.
"""

import itertools as it

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof._prove import _judge

RIGHT, TOLD = "CORRECT", "WRONG"
# What cannot be told may be declined, whichever of the two it is.
MAY_DECLINE, MAY_NOT_TELL = "CORRECT INCONCLUSIVE", "WRONG INCONCLUSIVE"
AT_A_KINK = "CORRECT INCONCLUSIVE NOT_DIFFERENTIABLE"

rng = np.random.default_rng(0)
SIZE = 12
MIX = rng.normal(size=(SIZE, SIZE))
MIX *= 0.6 / np.linalg.norm(MIX, 2)
WEIGHTS = rng.normal(size=SIZE)
POINT = rng.normal(size=SIZE) * 0.5
HINGES, OFFSETS = rng.normal(size=(200, SIZE)), rng.normal(size=200) * 0.3
KINKED = np.where(np.isin(np.arange(SIZE), (3, 7)), 0.0, POINT)


def smooth(x):
    return float(np.sum(WEIGHTS * np.sin(x)))


def smooth_grad(x):
    return WEIGHTS * np.cos(x)


def settled(x, tolerance):
    """The fixed point of y = tanh(MIX y + x), iterated until it changes by less than a tolerance."""
    y = np.zeros(SIZE)
    for _ in range(500):
        y, before = np.tanh(MIX @ y + x), y
        if np.max(np.abs(y - before)) < tolerance:
            break
    return y


def solver(tolerance):
    return lambda x: float(WEIGHTS @ settled(x, tolerance))


def solver_grad(x):
    """That of the exact solution."""
    slope = 1 - settled(x, 1e-15) ** 2
    return np.linalg.solve((np.eye(SIZE) - slope[:, None] * MIX).T, WEIGHTS) * slope


def pieces(bending, width):
    """A smooth f that bends, and what a solver leaves: a piece of slope 1e-6 of it, up to a jump, and so on."""
    along = np.cos(np.arange(SIZE))
    along /= np.linalg.norm(along)

    def f(x):
        at = (x - POINT) @ along / width
        left = 1e-6 * bending * width * (at - np.floor(at + 0.5))
        return float(np.sum(WEIGHTS * np.sin(bending * x))) + left

    return f, POINT, lambda x: bending * WEIGHTS * np.cos(bending * x)


def triangles(amplitude, frequency):
    """A smooth f with a fine texture: continuous, with a kink at every step of it."""
    along = np.cos(np.arange(SIZE))

    def f(x):
        phase = frequency * (x @ along)
        return smooth(x) + 2 * amplitude * float(np.abs(phase - np.floor(phase + 0.5)))

    return f


def table(count):
    """A table of the sine, straight from node to node."""
    nodes = np.linspace(-4, 4, count)
    values = np.sin(nodes)
    return lambda x: float(WEIGHTS @ np.interp(x, nodes, values))


def hinges(near):
    """Two hundred kinks, some of them as near to the point as the finest steps."""
    offsets = HINGES @ POINT + near * OFFSETS

    def f(x):
        return smooth(x) + 1e-2 * float(np.mean(np.abs(HINGES @ x - offsets)))

    def grad(x):
        return smooth_grad(x) + 1e-2 * HINGES.T @ np.sign(HINGES @ x - offsets) / 200

    return f, grad


def far_hinges(x):
    return float(np.mean(np.abs(HINGES @ x - OFFSETS)))


def far_hinges_grad(x):
    return HINGES.T @ np.sign(HINGES @ x - OFFSETS) / 200


SMALL_BEND = 2e-6 * float(np.linalg.norm(smooth_grad(KINKED)))


def two_small_bends(x):
    """Two kinks at the point that bend f both ways, each a millionth of the slope."""
    return smooth(x) + SMALL_BEND * float(abs(x[3]) - abs(x[7]))


def two_small_bends_grad(x):
    """A valid choice at each of them."""
    return smooth_grad(x) + SMALL_BEND * np.where(np.arange(SIZE) == 3, 1.0, np.where(np.arange(SIZE) == 7, -1.0, 0.0))


def two_small_bends32(x):
    """The same in float32, a thousandth of the slope each."""
    bend = np.float32(1e-3 * np.linalg.norm(smooth_grad(KINKED)))
    return np.float32(single(x) + bend * (abs(x[3]) - abs(x[7])))


def two_small_bends32_grad(x):
    bend = 1e-3 * np.linalg.norm(smooth_grad(KINKED))
    return (smooth_grad(x) + bend * (np.eye(SIZE)[3] - np.eye(SIZE)[7])).astype(np.float32)


def single(x):
    """All in float32."""
    return np.sum(WEIGHTS.astype(np.float32) * np.sin(x.astype(np.float32)), dtype=np.float32)


def edge(f, slope, start, gap):
    """The sum of f(x - start) in float32 where one entry lies just above `start`, below which there is nothing."""
    point = (start * np.array([1 + gap, 1.5, 2.2, 1.9, 1.4, 1.8])).astype(np.float32)

    def values(x):
        with np.errstate(all="ignore"):
            return np.sum(f(x - np.float32(start)), dtype=np.float32)

    return values, point, lambda x: slope(x.astype(float) - start).astype(np.float32)


def half_root(x):
    return 0.5 / np.sqrt(x)


# The function, the point, its right gradient; the verdicts that it may get, and that it may get where it is 1 % off.
CASES = {
    "a solver stopped at 1e-6": (solver(1e-6), POINT, solver_grad, RIGHT, TOLD),
    "a solver stopped at 1e-5": (solver(1e-5), POINT, solver_grad, MAY_DECLINE, TOLD),
    "a solver stopped at 1e-8": (solver(1e-8), POINT, solver_grad, RIGHT, TOLD),
    "jumps behind a bend": (*pieces(3, 2), MAY_DECLINE, TOLD),
    "jumps behind sharp bends": (*pieces(6, 1), MAY_DECLINE, TOLD),
    "values rounded to 10 digits": (lambda x: round(smooth(x), 10), POINT, smooth_grad, RIGHT, TOLD),
    "values rounded to 6 digits": (lambda x: round(smooth(x), 6), POINT, smooth_grad, MAY_DECLINE, MAY_NOT_TELL),
    "values rounded to 4 digits": (lambda x: round(smooth(x), 4), POINT, smooth_grad, MAY_DECLINE, MAY_NOT_TELL),
    "inputs rounded to 4 digits": (lambda x: smooth(np.round(x, 4)), POINT, smooth_grad, MAY_DECLINE, MAY_NOT_TELL),
    "inputs rounded to 2 digits": (lambda x: smooth(np.round(x, 2)), POINT, smooth_grad, MAY_DECLINE, MAY_NOT_TELL),
    "a binary lattice": (lambda x: np.floor(smooth(x) * 2**20) / 2**20, POINT, smooth_grad, RIGHT, TOLD),
    "a lattice far from 0": (
        lambda x: 1e6 + np.floor(smooth(x) * 2**20) / 2**20,
        POINT,
        smooth_grad,
        MAY_DECLINE,
        MAY_NOT_TELL,
    ),
    "many kinks": (far_hinges, POINT, far_hinges_grad, RIGHT, TOLD),
    "kinks near the point": (hinges(3e-6)[0], POINT, hinges(3e-6)[1], RIGHT, TOLD),
    "kinks nearer to the point": (hinges(3e-8)[0], POINT, hinges(3e-8)[1], MAY_DECLINE, TOLD),
    "two small kinks at the point": (two_small_bends, KINKED, two_small_bends_grad, AT_A_KINK, TOLD),
    "two small kinks in float32": (
        two_small_bends32,
        KINKED.astype(np.float32),
        two_small_bends32_grad,
        AT_A_KINK,
        "WRONG INCONCLUSIVE NOT_DIFFERENTIABLE",
    ),
    "a texture of kinks": (triangles(1e-9, 1e3), POINT, smooth_grad, MAY_DECLINE, TOLD),
    "a finer texture of kinks": (triangles(1e-11, 1e5), POINT, smooth_grad, MAY_DECLINE, TOLD),
    "a table": (table(1_000_000), POINT, smooth_grad, MAY_DECLINE, TOLD),
    "float32 inside": (lambda x: float(single(x)), POINT, smooth_grad, RIGHT, TOLD),
    "inputs cast to float32": (
        lambda x: smooth(x.astype(np.float32).astype(float)),
        POINT,
        smooth_grad,
        RIGHT,
        MAY_NOT_TELL,
    ),
    "an edge far below float32's steps": (*edge(np.log, np.reciprocal, 1, 3e-7), MAY_DECLINE, MAY_NOT_TELL),
    "an edge below float32's steps": (*edge(np.log, np.reciprocal, 3, 1e-6), MAY_DECLINE, MAY_NOT_TELL),
    "an edge at float32's steps": (*edge(np.log, np.reciprocal, 1, 3e-5), MAY_DECLINE, MAY_NOT_TELL),
    "an infinite slope at an edge": (*edge(np.sqrt, half_root, 3, 3e-7), MAY_DECLINE, MAY_NOT_TELL),
    "an edge within float32's steps": (*edge(np.log, np.reciprocal, 1, 1e-3), MAY_DECLINE, MAY_NOT_TELL),
    "an edge in float64": (lambda x: np.sum(np.sqrt(x)), np.abs(POINT) + 1e-3, half_root, RIGHT, TOLD),
}
SEEDS = range(5)


def verdicts(name, factor, **options):
    f, point, gradient, *_ = CASES[name]
    claim = (factor * gradient(point)).astype(point.dtype)
    with np.errstate(all="ignore"):
        return [gradproof.check(f, point, grad=claim, rng=seed, **options) for seed in SEEDS]


@pytest.mark.parametrize("name", CASES)
def test_a_right_gradient_is_not_wrong(name):
    """Over several seeds; what cannot be told says why, and what was forgiven is in the report."""
    for report in verdicts(name, 1.0):
        assert report.verdict.value in CASES[name][3].split()
        assert report.verdict is not Verdict.INCONCLUSIVE or report.reason is not None
        assert not [one for one in report.findings if one.severity is gradproof.Severity.ERROR]


@pytest.mark.parametrize("name", CASES)
def test_the_same_gradient_off_by_one_percent_is_not_correct(name):
    """Over the same seeds; where f shows enough it is WRONG in all of them."""
    for report in verdicts(name, 1.01):  # wrong on purpose
        assert report.verdict.value in CASES[name][4].split()
        assert report.verdict is not Verdict.WRONG or [
            one for one in report.findings if one.severity is gradproof.Severity.ERROR
        ]


@pytest.mark.parametrize("level", ["certificate", "entries"])
def test_what_is_forgiven_a_solver_is_in_the_bound_and_in_the_report(level):
    """Its own slope is off by nearly 1e-6: no bound is below half of that, and the report says what was forgiven."""
    step = 1e-7
    f = solver(1e-6)
    own = np.array([(f(POINT + step * e) - f(POINT - step * e)) / (2 * step) for e in np.eye(SIZE)])
    right = solver_grad(POINT)
    departs = np.linalg.norm(own - right) / np.linalg.norm(right)
    assert departs > 5e-7

    plain = gradproof.check(smooth, POINT, grad=smooth_grad, level=level, rng=0)
    for seed in range(4):
        report = gradproof.check(f, POINT, grad=right, level=level, rng=seed)

        assert report.correct
        assert report.leaves[0].bound > departs / 2
        # (Along some directions it departs by less than is ever accused.)
        assert report.rtol > plain.rtol or report.findings or report.leaves[0].deviation < 5e-7


def two_solvers(x):
    y = settled(x, 1e-6)
    return np.array([WEIGHTS @ y, y.sum()])


def two_solvers_jac(x):
    slope = 1 - settled(x, 1e-15) ** 2
    return np.linalg.solve((np.eye(SIZE) - slope[:, None] * MIX).T, np.stack([WEIGHTS, np.ones(SIZE)]).T).T * slope


@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize("kind", ["jac", "vjp"])
def test_a_jacobian_through_a_solver(kind, level):
    """The same for several outputs."""
    for seed in range(3):
        for factor, verdict in ((1.0, Verdict.CORRECT), (1.01, Verdict.WRONG)):
            matrix = factor * two_solvers_jac(POINT)  # wrong on purpose, where it is
            claim = {"jac": matrix} if kind == "jac" else {"vjp": lambda u, x, matrix=matrix: matrix.T @ u}
            report = gradproof.check(two_solvers, POINT, **claim, level=level, rng=seed)
            assert report.verdict is verdict


@pytest.mark.parametrize("kind", ["jac", "grad"])
def test_single_entries_are_forgiven_where_others_have_met_a_jump(kind):
    """Some entries meet no jump within the steps. What excuses them is told, with both numbers."""
    f = two_solvers if kind == "jac" else lambda x: WEIGHTS @ settled(x, 1e-6)
    claim = two_solvers_jac(POINT) if kind == "jac" else two_solvers_jac(POINT)[0]
    for seed in range(2):
        report = gradproof.check(f, POINT, **{kind: claim}, level="entries", rng=seed)
        (told,) = [one for one in report.findings if one.id == "GP312"]

        assert report.correct
        assert report.rtol > 1e-6
        assert report.leaves[0].bound > np.max(np.abs(told.claimed - told.reference)) / np.linalg.norm(claim)


def test_an_output_is_not_forgiven_for_the_jumps_of_another():
    """The look-alike: an error as small as a solver's, in an output that is smooth."""
    f = lambda x: np.array([WEIGHTS @ settled(x, 1e-6), np.sum(np.sin(x))])  # noqa: E731
    claim = np.stack([two_solvers_jac(POINT)[0], (1 + 3e-6) * np.cos(POINT)])  # wrong on purpose
    for seed in range(2):
        report = gradproof.check(f, POINT, jac=claim, level="entries", rng=seed)
        assert report.verdict is Verdict.WRONG
        assert {entry[0] for one in report.findings for entry in one.entries} <= {1}


@pytest.mark.parametrize("error", [2e-6, 5e-6, 1e-5])
def test_a_smooth_f_is_not_forgiven_as_much(error):
    """The look-alike: an error as small as a solver's is WRONG where f shows itself smooth."""
    for seed in range(10):
        report = gradproof.check(smooth, POINT, grad=(1 + error) * smooth_grad(POINT), rng=seed)  # wrong on purpose
        assert report.verdict is Verdict.WRONG


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_few_parameters_are_shown_the_same_restraint(factor):
    """Three entries by themselves, of a rounded and of a stopped f."""
    point, inner = np.array([0.3, -0.5, 1.1]), np.array([[0.2, 0.1, -0.3], [0.1, 0.3, 0.2], [-0.2, 0.1, 0.3]])

    def stopped(x):
        y = np.zeros(3)
        for _ in range(200):
            y, before = np.tanh(inner @ y + x), y
            if np.max(np.abs(y - before)) < 1e-6:
                break
        return float(y.sum())

    y = np.zeros(3)
    for _ in range(500):
        y = np.tanh(inner @ y + point)
    slope = 1 - y**2
    implicit = np.linalg.solve((np.eye(3) - slope[:, None] * inner).T, np.ones(3)) * slope
    for seed in SEEDS:
        report = gradproof.check(stopped, point, grad=factor * implicit, rng=seed)  # wrong on purpose, where it is
        assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)
        rounded = lambda x: round(float(np.sum(np.sin(x))), 7)  # noqa: E731
        report = gradproof.check(rounded, point, grad=factor * np.cos(point), rng=seed)  # wrong on purpose
        assert report.verdict is not (Verdict.WRONG if factor == 1 else Verdict.CORRECT)


def test_kinks_that_hide_in_one_direction_of_float32_make_nothing_wrong():
    """Two kinks that bend f both ways cancel in one direction in twenty, and coarse steps do not show what is left."""
    point = KINKED.astype(np.float32)
    claim = two_small_bends32_grad(KINKED)
    for seed in range(5, 40):
        report = gradproof.check(two_small_bends32, point, grad=claim, rng=seed)
        assert report.verdict.value in AT_A_KINK.split()


def test_a_smooth_float32_function_is_not_forgiven_as_much():
    """The look-alike: without a kink an error of the same size as those deviations is WRONG."""
    point = POINT.astype(np.float32)
    error = np.random.default_rng(1).normal(size=SIZE)
    error *= 3e-3 * np.linalg.norm(smooth_grad(POINT)) / np.linalg.norm(error)
    claim = (smooth_grad(POINT) + error).astype(np.float32)  # wrong on purpose
    for seed in range(5, 15):
        assert gradproof.check(single, point, grad=claim, rng=seed).verdict is Verdict.WRONG


def spoilt_after(f, count):
    """An f that answers so many times and then no more."""
    calls = it.count()
    return lambda x: f(x) if next(calls) < count else np.nan


def lone_jump(x, size=1e-4):
    """A jump one hundredth of x above the point: a slope of 7e-3 across it."""
    return float(np.sin(x) + size * (x > 0.7 * 1.01))


def large_jump(x):
    return lone_jump(x, 1e-3)


def rounded_part(x):
    """Between jumps its slope is 2 x."""
    return float(x * x + float(np.float32(np.sin(x))))


def case(name, factor):
    f, point, gradient, *_ = CASES[name]
    return lambda: f, point, (factor * gradient(point)).astype(point.dtype)


def edged_after(f, point, count):
    """An f that answers so many times, and then ends at the point, as steep as a root."""
    calls = it.count()

    def values(x):
        if next(calls) < count:
            return f(x)
        return f(x) + float(np.sqrt(point[0] - x[0])) if x[0] <= point[0] else np.nan

    return values


def noisy(x):
    """Noise of the same x is the same; no polynomial through near values predicts the next ones."""
    seed = int(np.float64(x @ np.cos(np.arange(SIZE))).view(np.uint64))
    return smooth(x) + 1e-7 * float(np.random.default_rng(seed).uniform(-0.5, 0.5))


def lower_edge(x):
    """From the point upwards."""
    return float(np.log1p(x - 0.7)) if x > 0.7 - 1e-9 else np.nan


def rounded32(x):
    return np.float32(np.round(single(x), 3))


SLOPE, PART_SLOPE = float(np.cos(0.7)), float(1.4 + np.cos(0.7))
# A claim; the seeds, what each second look says of it, and how many values all of them take at most. The jump: one that
# was closed in on is blamed.
EXITS = {
    "obvious": (*case("an edge in float64", 1.01), (0, 1, 2), "EXCLUDED", False, 6),
    "obvious in float32": (*case("float32 inside", 1.01), (0, 1, 2), "EXCLUDED", False, 24),
    "jumps, small": (*case("a solver stopped at 1e-6", 1.0), (0, 1, 2), "IRREGULAR", True, 170),
    "jumps, but not so large": (*case("a solver stopped at 1e-6", 1.0001), (0, 1, 2), "EXCLUDED", False, 295),
    "smooth at coarse steps": (*case("a solver stopped at 1e-8", 1.0001), (0, 1, 2), "EXCLUDED", False, 230),
    "a jump beside": (lambda: lone_jump, 0.7, SLOPE + 4.3e-3, (0, 1), "IRREGULAR", True, 0),
    "more than a jump beside makes": (lambda: lone_jump, 0.7, SLOPE + 1.4e-2, (0, 1, 2), "EXCLUDED", False, 170),
    "more than any jump excuses": (lambda: large_jump, 0.7, SLOPE + 4.3e-2, (0, 1, 2), "EXCLUDED", False, 170),
    "beyond a jump beside": (lambda: lone_jump, 0.7, SLOPE + 6e-2, (0, 1, 2), "EXCLUDED", False, 105),
    "an edge in float32": (*case("an edge far below float32's steps", 1.0), (0, 1, 2), "UNSURE", False, 95),
    "agrees twice": (*case("kinks near the point", 1.0), (0,), "AGREES", False, 130),
    "agrees once": (*case("an edge at float32's steps", 1.0), (0,), "UNSURE", False, 64),
    "kinks aside": (*case("kinks near the point", 1.01), (0, 1, 2), "EXCLUDED", False, 145),
    "a part of it a kink": (*case("two small kinks at the point", 1.0), (0, 2), "UNSURE", False, 195),
    "rounded": (*case("values rounded to 6 digits", 1.01), (0, 1, 2), "EXCLUDED", False, 155),
    "rough": (*case("a texture of kinks", 1.0), (0, 1, 2), "IRREGULAR", False, 430),
    "rough, but not so much": (*case("a texture of kinks", 1.0001), (0, 1, 2), "EXCLUDED", False, 250),
    "stairs that agree": (*case("inputs rounded to 4 digits", 1.01), (0,), "AGREES", False, 60),
    "stairs that stand still": (*case("inputs rounded to 4 digits", 1.01), (1, 2), "EXCLUDED", False, 115),
    "on the tread": (lambda: rounded_part, 0.7, 1.4, (0, 1, 2), "UNSURE", False, 155),
    "on neither slope": (lambda: rounded_part, 0.7, 1.01 * PART_SLOPE, (0, 1, 2), "EXCLUDED", False, 155),
    "near the tread": (lambda: rounded_part, 0.7, 1.0005 * 1.4, (0, 1, 2), "UNSURE", False, 155),
    "slightly off, from one side": (lambda: lower_edge, 0.7, 1.000005, (0, 1, 2), "EXCLUDED", False, 110),
    "far off, from one side": (lambda: lower_edge, 0.7, 1.01, (0, 1, 2), "EXCLUDED", False, 110),
    "behind noise": (lambda: noisy, POINT, 1.0003 * smooth_grad(POINT), (0, 1, 2), "EXCLUDED", False, 290),
    "from one side": (lambda: lower_edge, 0.7, 1.0001, (0, 1, 2), "EXCLUDED", False, 130),
    "rounded in float32": (
        lambda: rounded32,
        POINT.astype(np.float32),
        (1.2 * smooth_grad(POINT)).astype(np.float32),
        (1,),
        "EXCLUDED",
        False,
        45,
    ),
    "no second slope": (
        lambda: spoilt_after(hinges(3e-6)[0], 52),
        *case("kinks near the point", 1.01)[1:],
        (0, 2),
        "UNSURE",
        False,
        150,
    ),
    "no third slope": (
        lambda: edged_after(hinges(3e-6)[0], POINT, 180),
        *case("kinks near the point", 1.0)[1:],
        (0,),
        "UNSURE",
        False,
        140,
    ),
    "no second slope of stairs": (lambda: spoilt_after(rounded_part, 57), 0.7, 1.4, (0, 1, 2), "UNSURE", False, 130),
    "one side of stairs": (lambda: spoilt_after(rounded_part, 64), 0.7, 1.4, (0, 1, 2), "UNSURE", False, 130),
}


@pytest.mark.parametrize("name", EXITS)
def test_each_exit_of_the_second_look(name, monkeypatch):
    """What it says, whether it blames a jump, and what it costs; a claim that is not measured twice is another's."""
    build, point, claim, seeds, said, blames, most = EXITS[name]
    looks, values = [], 0

    def seen(meter, measured, tolerance):
        nonlocal values
        before = meter.evaluations
        again = yield from confirm(meter, measured, tolerance)
        values += meter.evaluations - before
        looks.append((again.look.name, again.jump is not None))
        return again

    confirm = _judge.confirm
    monkeypatch.setattr(_judge, "confirm", seen)
    for seed in seeds:
        with np.errstate(all="ignore"):
            gradproof.check(build(), point, grad=claim, rng=seed)

    assert looks == [(said, blames)] * len(seeds)
    assert values <= most


def test_what_a_jump_is_blamed_for_counts_as_deviation_and_as_bar():
    """What f may hide beside it is as large again."""
    for seed in range(2):
        report = gradproof.check(lone_jump, 0.7, grad=SLOPE + 4.3e-3, rng=seed)

        assert [one.id for one in report.findings] == ["GP312"]
        assert report.leaves[0].bound >= 1.99 * 4.3e-3 / (SLOPE + 4.3e-3)


def test_an_entry_that_cannot_be_told_bounds_nothing():
    """A quarter of a percent off, on the tread of a rounded part: neither WRONG nor CORRECT with a bound."""

    def f(x):
        return float(x[0] ** 2 + 5e-3 * float(np.float32(np.sin(x[0]))) + np.sin(x[1]))

    point = np.array([0.7, 1.1])
    for seed in range(3):
        right = np.array([1.4 + 5e-3 * np.cos(0.7), np.cos(1.1)])
        assert gradproof.check(f, point, grad=right, level="entries", rng=seed).verdict is Verdict.CORRECT
        right[0] = 1.4  # wrong on purpose
        assert gradproof.check(f, point, grad=right, level="entries", rng=seed).verdict is Verdict.INCONCLUSIVE
