"""The slope of a line comes with an honest bar, whatever the line looks like."""

import math

import numpy as np
import pytest

from gradproof._function._problem import Leaf
from gradproof._line import ShapeKind, learn, shape_near, slope
from gradproof._line._estimate import extrapolate, neville, pair
from gradproof._line._noise import lattice, lowest_bit, unseen_change
from gradproof._prove._directions import Directions
from gradproof._prove._measure import Meter, Residual


def run(line, phi):
    """Answer a line's questions; returns its result and the number of values."""
    count = 0
    try:
        steps = next(line)
        while True:
            count += len(steps)
            steps = line.send(np.array([phi(t) for t in steps]))
    except StopIteration as stop:
        return stop.value, count


def measure(phi, seed=0, **options):
    return run(slope(np.random.default_rng(seed), **options), phi)


def hashed(t, size):
    """Deterministic noise."""
    return size * (math.sin(1e7 * t + 1e9 * t * t) * 12345.678 % 1.0 - 0.5)


def scattered(t, size):
    """Noise that is as independent at neighbouring steps as at distant ones, and the same in each call."""
    return size * float(np.random.default_rng(int(np.float64(t).view(np.uint64))).uniform(-0.5, 0.5))


def one_sided_log(t):
    return math.log1p(t) if t > -1e-9 else math.nan


SMOOTH = {
    "exp": (lambda t: math.exp(0.7 * t), 0.7),
    "sine": (lambda t: math.sin(1 + 2 * t), 2 * math.cos(1.0)),
    "logistic": (lambda t: 1 / (1 + math.exp(-3 * t)), 0.75),
    "linear": (lambda t: 3 - 2 * t, -2.0),
    "even": (lambda t: math.cos(t), 0.0),
}
HARD = {
    "offset": (lambda t: 1e6 + math.sin(t), 1.0),
    "offset 1e9": (lambda t: 1e9 + math.sin(t), 1.0),
    "fast": (lambda t: math.sin(1e4 * t), 1e4),
    "ripple": (lambda t: math.sin(t) + 1e-6 * math.sin(1e6 * t), 2.0),
    "noise": (lambda t: math.sin(t) + hashed(t, 1e-9), 1.0),
    "kink at 1e-3": (lambda t: abs(t - 1e-3) + t, 0.0),
    "kink at 1e-6": (lambda t: abs(t - 1e-6) + 3 * t, 2.0),
    "rounded": (lambda t: round(math.sin(t), 8), 1.0),
    "cancelled": (lambda t: (math.sin(t) + 1e8) - 1e8, 1.0),
    "float32 inside": (lambda t: float(np.float32(math.sin(1 + t))), math.cos(1.0)),
    "one-sided": (one_sided_log, 1.0),
    "huge": (lambda t: 1e30 * math.sin(t), 1e30),
    "tiny": (lambda t: 1e-30 * math.sin(t), 1e-30),
}


# The typical bar of each line, on as few levels as convince and on the whole ladder, half as much again as measured:
# in the first case truncation decides, up to 3e-8 of the scale is good enough; in the second the noise of the values.
CEILINGS = {
    "exp": (1.7e-9, 2.6e-11),
    "sine": (3.6e-9, 5.1e-11),
    "logistic": (2.0e-10, 3.6e-13),
    "linear": (2.3e-11, 1.0e-13),
    "even": (1.7e-10, 1.8e-10),
    "offset": (8.5e-8, 1.0e-7),
    "offset 1e9": (4.1e-5, 5.3e-5),
    "fast": (1.2e-4, 1.7e-5),
    "ripple": (1.2e-7, 1.2e-7),
    "noise": (4.8e-7, 4.8e-7),
    "kink at 1e-3": (1.5e-12, 1.5e-12),
    "kink at 1e-6": (7.5e-8, 4.2e-8),
    "rounded": (4.0e-6, 6.8e-6),
    "cancelled": (1.8e-4, 1.1e-5),
    "float32 inside": (8.5e-4, 1.3e-4),
    "one-sided": (3.5e-14, 3.5e-14),
    "huge": (2.3e20, 1.2e17),
    "tiny": (2.3e-40, 1.2e-43),
}


def rounding_floor(found, carried):
    """Five standard deviations of a central quotient of values that are each off by up to `carried`, uniformly."""
    return 5 * carried / math.sqrt(3) / math.sqrt(2) / found.h[found.level[0]]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", [*SMOOTH, *HARD])
def test_bar_covers_the_error(name, full):
    """|true error| <= bar for every seed; as a rule the bar is no wider than it has to be."""
    phi, true = {**SMOOTH, **HARD}[name]

    bars = []
    for seed in range(25):
        found, count = measure(phi, seed, full=full)

        assert abs(found.value[0] - true) <= found.bar[0], (seed, found.value, found.bar)
        assert count <= 52
        bars.append(found.bar[0])
    assert np.median(bars) <= CEILINGS[name][full]
    assert max(bars) <= 8 * CEILINGS[name][full]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("name", "carried"),
    [
        *((name, 2.0**-53 * abs(phi(0.0))) for name, (phi, _) in SMOOTH.items()),
        ("offset", 2.0**-53 * 1e6),
        ("offset 1e9", 2.0**-53 * 1e9),
        ("noise", 0.5e-9),
        ("rounded", 0.5e-8),
        ("cancelled", 2.0**-53 * 1e8),
        ("float32 inside", 2.0**-24 * math.sin(1)),
        ("huge", 2.0**-53 * 1e28),
    ],
)
def test_bar_is_no_narrower_than_the_rounding_of_the_values(name, carried, full):
    """What the values themselves are off by, at the steps that the slope rests on, is in every bar."""
    phi, _ = {**SMOOTH, **HARD}[name]

    for seed in range(25):
        found, _ = measure(phi, seed, full=full, scale=0.0)
        assert found.bar[0] >= rounding_floor(found, carried)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3, 1e6])
def test_units_are_those_of_the_values(offset):
    """Half an ulp of phi, or of x + t v seen through phi where that is more."""
    for scale in (1.0, 30.0):
        found, _ = measure(lambda t: offset + math.sin(t), scale=scale)
        unit = 2.0**-53 * max(offset, 0.6 * scale)
        assert found.unit[0] == pytest.approx(unit, rel=0.05)
        assert found.noise[0] >= unit


LINES32 = {
    "exp": (SMOOTH["exp"], 1.2e-4),
    "sine": (SMOOTH["sine"], 1.7e-4),
    "logistic": (SMOOTH["logistic"], 2.3e-5),
    "linear": (SMOOTH["linear"], 1.5e-5),
    "offset": ((lambda t: 100 + math.sin(t), 1.0), 1.2e-3),
}


@pytest.mark.parametrize("name", LINES32)
def test_float32_on_long_ladders(name):
    """The whole ladder of a float32 f: bars that cover, as narrow as its rounding allows and no narrower."""
    (phi, true), ceiling = LINES32[name]

    bars = []
    for seed in range(25):
        found, count = measure(lambda t: float(np.float32(phi(t))), seed, eps=2.0**-23, scale=1.0, full=True)

        assert abs(found.value[0] - true) <= found.bar[0]
        assert found.bar[0] >= rounding_floor(found, 2.0**-24 * abs(phi(0.0)))
        assert count <= 36
        bars.append(found.bar[0])
    assert np.median(bars) <= ceiling


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("phi", "true", "carried", "ceilings"),
    [
        (math.sin, 1.0, 0.0, (2.3e-10, 1.2e-13)),
        (lambda t: t**3, 0.0, 0.0, (2.3e-10, 3e-14)),
        (lambda t: math.sin(1 + t) - math.sin(1), math.cos(1), 2.0**-53 * math.sin(1), (2e-9, 7e-11)),
        (lambda t: 3 * (1 + t) - 3, 3.0, 2.0**-52, (1.5e-11, 1.1e-13)),
        (lambda t: 0.0, 0.0, 0.0, (4.5e-12, 2e-14)),
    ],
    ids=["sine", "cubic", "difference", "line", "nothing"],
)
def test_a_line_through_zero(phi, true, carried, ceilings, full):
    """f(x) = 0 says nothing of how far its values are rounded: x is, and what cancels in them may be."""
    bars = []
    for seed in range(25):
        found, _ = measure(phi, seed, scale=1.0, full=full)

        assert abs(found.value[0] - true) <= found.bar[0]
        # (That of x + t v, whose natural size is 1.)
        assert found.bar[0] >= rounding_floor(found, max(carried, 2.0**-53 * 0.5))
        bars.append(found.bar[0])
    assert np.median(bars) <= ceilings[full]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [1e-9, 1e-6])
def test_noise_is_as_large_as_it_is(size, full):
    """Noise of a known size is estimated within a factor of 2 as a rule, and the bars are of its power 2/3."""
    sigma = size / math.sqrt(12)
    noises, bars = [], []
    for seed in range(25):
        found, _ = measure(lambda t: math.sin(1 + t) + scattered(t, size), seed, scale=1.0, full=full)
        assert abs(found.value[0] - math.cos(1)) <= found.bar[0]
        assert found.bar[0] >= rounding_floor(found, size / 2)
        noises.append(found.noise[0] / sigma)
        bars.append(found.bar[0])

    assert 0.9 < np.median(noises) < 1.8
    assert 0.25 < min(noises) < max(noises) < 3
    # (The best step of one central quotient gives (3 sigma)**(2/3) / 2 where the third derivative is 1.)
    assert np.median(bars) <= 15 * sigma ** (2 / 3)


def test_noise_of_one_output_is_not_that_of_another():
    """Bars and noise are per output."""
    found, _ = measure(lambda t: np.array([math.sin(1 + t), math.sin(1 + t) + hashed(t, 1e-6)]), full=True, scale=1.0)
    alone, _ = measure(lambda t: math.sin(1 + t), full=True, scale=1.0)

    assert found.bar[0] == pytest.approx(alone.bar[0], rel=1e-9)
    assert found.noise[0] == pytest.approx(alone.noise[0], rel=1e-9)
    assert found.noise[1] > 1e6 * found.noise[0]


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_lines_need_few_values(name):
    """The first stage is enough for a smooth line: two repeats and four levels."""
    phi, _ = SMOOTH[name]

    counts = [measure(phi, seed, scale=1.0)[1] for seed in range(20)]

    assert np.median(counts) == 10
    assert max(counts) <= 14


def test_later_directions_are_cheap():
    """What the first direction taught is enough for four values in the next."""
    first, _ = measure(SMOOTH["exp"][0])
    known = learn(first, float(first.bar[0]) / 0.7, 0.7)

    found, count = measure(lambda t: math.exp(-0.9 * t), 1, known=known, scale=0.7)

    assert count == 4
    assert abs(found.value[0] + 0.9) <= found.bar[0] < 1e-9


def test_wrong_slope_lies_outside_the_bar():
    """The bar is narrow enough to exclude a slope that is off by 1e-7 of itself."""
    found, _ = measure(SMOOTH["exp"][0])

    assert abs(found.value[0] - 0.7 * (1 + 1e-7)) > found.bar[0]


@pytest.mark.parametrize(("phi", "jump"), [(abs, 2.0), (lambda t: max(t, 0.0) + math.exp(t), 1.0)])
def test_kink_at_the_point_is_seen(phi, jump):
    """One-sided slopes that differ show as a jump well beyond its bar, and the slope's bar covers both."""
    found, _ = measure(phi)

    assert abs(found.jump[0] - jump) <= found.jump_bar[0] < 1e-3
    assert found.bar[0] >= jump / 2 * (1 - 1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_lines_have_no_jump(name):
    """The look-alike: no jump beyond three bars where there is no kink."""
    phi, _ = SMOOTH[name]

    for seed in range(50):
        found, _ = measure(phi, seed, scale=1.0)

        assert abs(found.jump[0]) <= 3 * found.jump_bar[0] + 1e-12


def test_infinite_slope_has_a_useless_bar():
    """The square root at 0: the bar is as large as the number."""
    found, _ = measure(lambda t: math.sqrt(t) if t >= 0 else math.nan)

    assert found.bar[0] > 0.1 * abs(found.value[0])


def test_random_values_are_recognised():
    """A function that changes from call to call is repeated, and its noise is in the bar."""
    rng = np.random.default_rng(3)
    found, _ = measure(lambda t: math.sin(t) + 1e-6 * rng.standard_normal(), full=True)

    assert found.repeats_differ
    assert abs(found.value[0] - 1) <= found.bar[0] < 1e-2


def test_no_value_at_the_point():
    """Where phi(0) is not finite there is no slope, and it says so."""
    found, _ = measure(lambda t: math.nan)

    assert found.trouble == "not finite"
    assert math.isinf(found.bar[0])


def test_vector_outputs_in_one_pass():
    """Every output has its own slope and bar, from the same values."""
    rates = np.linspace(-2, 2, 40)

    found, _ = measure(lambda t: np.exp(rates * t), scale=1.0)

    assert found.value.shape == (40,)
    assert np.all(np.abs(found.value - rates) <= found.bar)
    assert np.all(found.bar < 5e-8)


def test_order_of_the_table():
    """Column k of the table converges with order 2k + 2 (central quotients, Romberg)."""
    h = 0.5 * 2.0 ** -np.arange(5)
    quotients = (np.sinh(h) / h)[:, None]

    table, weights = neville(h, quotients, 2)

    for k in range(3):
        errors = np.abs(table[k:, k, 0] - 1)
        orders = np.log2(errors[:-1] / errors[1:])[:2]
        np.testing.assert_allclose(orders, 2 * k + 2, atol=0.2)
    np.testing.assert_allclose(np.einsum("jkl,lm->jkm", weights, quotients)[4], table[4], rtol=1e-12)


@pytest.mark.parametrize("ratio", [1.3, 1.7, 3.0, 20.0, 170.0])
def test_a_pair_is_a_table_of_two_levels(ratio):
    """The short way for two levels gives the value and the bar of the general one, for any gap between them."""
    h = np.array([ratio, 1.0]) * 1e-3
    rates = np.array([0.3, 1.0, 7.0])
    odd, even = np.sinh(h[:, None] * rates), np.cosh(h[:, None] * rates) - 1
    for noise in (1e-16, 1e-9):
        sigma = np.full((2, 3), noise)
        variance = (sigma / h[:, None]) ** 2
        general = extrapolate(h, odd / h[:, None], 2, lambda w, v=variance: np.sqrt(0.5 * ((w * w) @ v)))

        found = pair(h, odd, even, sigma)

        np.testing.assert_allclose(found.central_bar, general.bar, rtol=1e-9)
        np.testing.assert_allclose(found.value, general.value, rtol=1e-12)
        # The jump has the even part's t**2 removed: what is left of it is rounding.
        assert np.all(np.abs(found.jump) <= 4 * np.abs(even[0] / h[0]) * h[0] ** 2 * rates**2 + found.jump_bar)
        assert np.all(found.bar >= found.central_bar)


def test_lattice_of_quantised_values():
    """Values that are multiples of a quantum give it away; smooth ones do not."""
    t = np.geomspace(2e-3, 0.3, 12)[:, None]
    unit = np.array([1e-16])

    assert lattice(np.round(np.sin(t), 3), unit)[0] >= 1e-3
    assert lattice(np.sin(t), unit)[0] == 0


def test_lowest_bit():
    """Single precision inside double precision leaves the low bits empty."""
    values = np.array([[1.25, 0.1], [3.5, 0.7]])

    bit = lowest_bit(values)

    assert bit[0] == 0.25
    assert bit[1] <= 2.0**-52


def stopped_early(t):
    """A fixed point iteration stopped at 1e-6: its value jumps where the number of iterations changes."""
    y = 0.0
    for _ in range(200):
        previous, y = y, 0.6 * math.cos(y) + 0.3 * t + 0.2
        if abs(y - previous) < 1e-6:
            break
    return y


def many_kinks(t):
    """Continuous, with kinks at every 0.013."""
    return math.sin(t) + 1e-3 * abs((t / 0.013 + 0.3) % 2 - 1)


@pytest.mark.parametrize("phi", [math.sin, math.exp, lambda t: 1 / (2 + t), lambda t: math.tanh(3 * t + 1)])
@pytest.mark.parametrize("deviation", [1e-6, 1e-5, 1e-4])
def test_smooth_lines_are_recognised(phi, deviation):
    """A small deviation is the claim's fault on a smooth line, and the polynomial gives a second slope."""
    shape, _ = run(shape_near(deviation, phi(0.0), 1e-16, far=True), phi)

    assert shape.kind is ShapeKind.SMOOTH
    assert abs(shape.slope - measure(phi)[0].value[0]) < 0.1 * deviation


def test_jumps_are_recognised():
    """The look-alike: where f jumps from piece to piece, a small deviation may be f's own."""
    shape, _ = run(shape_near(1e-6, stopped_early(0.0), 1e-16, far=True), stopped_early)

    assert shape.kind is ShapeKind.JUMPS


def test_kinks_are_no_jumps():
    """Kinks are continuous: they explain no deviation."""
    shape, _ = run(shape_near(1e-4, many_kinks(0.0), 1e-16), many_kinks)

    assert shape.kind is not ShapeKind.JUMPS


def edged(low, high, phi):
    """Defined between two edges only."""
    return lambda t: phi(t) if low <= t <= high else math.nan


# phi, the deviation, what is said of it, where the jump is, and how many values that takes at most: looked for far out.
WALKS = {
    "smooth": (math.sin, 1e-6, "smooth", None, 31),
    "a jump far out": (lambda t: math.exp(t) + 1e-5 * (t > 1.3), 1e-5, "jumps", 1.3, 40),
    "a jump behind": (lambda t: math.exp(t) + 2e-6 * (t < -0.33), 1e-5, "jumps", 0.33, 32),
    "a jump close by": (lambda t: math.exp(t) + 2e-8 * (t > 1e-3), 1e-5, "jumps", 1e-3, 73),
    "a jump that is too small": (lambda t: math.exp(t) + 2e-8 * (t > 0.2), 1e-5, "smooth", None, 44),
    "a branch of f": (lambda t: math.exp(t) + (t > 0.2), 1e-6, "smooth", None, 47),
    "a jump seen through noise": (
        lambda t: math.exp(t) + scattered(t, 1e-10) + 2e-6 * (t > 0.4),
        1e-5,
        "jumps",
        0.4,
        35,
    ),
    "noise that hides all": (lambda t: math.exp(t) + scattered(t, 1e-6), 1e-5, "unclear", None, 54),
    "noise that may hide all": (math.exp, 1e-5, "unclear", None, 54),
    "noise that nobody knows of": (lambda t: math.exp(t) + scattered(t, 1e-3), 1e-6, "unclear", None, 54),
    "an edge, and a jump behind": (
        edged(-9, 0.1, lambda t: math.exp(t) + 2e-6 * (t < -0.5)),
        1e-5,
        "jumps",
        0.5,
        48,
    ),
    "a kink, and a jump behind": (
        lambda t: math.exp(t) + abs(t - 0.1) + 4e-6 * (t < -0.6),
        1e-5,
        "jumps",
        0.6,
        71,
    ),
    "a pole, and a jump behind": (lambda t: 1 / (0.15 - t) + 4e-6 * (t < -0.6), 1e-5, "jumps", 0.6, 232),
    "a hole, and a jump behind": (
        lambda t: math.nan if 0.26 < t < 0.34 else math.exp(t) + 1e-5 * (t > 0.3) + 4e-6 * (t < -0.6),
        1e-5,
        "jumps",
        0.6,
        34,
    ),
    "a narrow hole, and a jump behind": (
        lambda t: math.nan if 0.49 < t < 0.51 else math.exp(t) + 1e-5 * (t > 0.5) + 4e-6 * (t < -0.6),
        1e-5,
        "jumps",
        0.6,
        37,
    ),
    "a pulse far out": (lambda t: 4e-6 * (0.9 < t < 1.3), 1e-5, "jumps", 0.9, 37),
    "a pulse": (lambda t: math.exp(t) + 2e-6 * (0.4 < t < 0.6), 1e-5, "jumps", 0.4, 35),
    "nothing": (lambda t: 0.0, 1e-5, "smooth", None, 21),
    "two edges": (edged(-0.3, 0.2, lambda t: math.sqrt(0.2 - t) + math.sqrt(0.3 + t)), 1e-5, "smooth", None, 142),
    "bends that take short steps": (lambda t: math.sin(60 * t), 1e-4, "smooth", None, 327),
    "bends that no walk gets through": (lambda t: math.sin(3000 * t), 1e-4, "smooth", None, 154),
}


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_finds_what_there_is(name):
    """A jump that explains the deviation and nothing else, wherever it lies, at a bounded cost."""
    phi, deviation, kind, at, most = WALKS[name]
    noise = {"a jump seen through noise": 3e-11, "noise that hides all": 3e-7, "noise that may hide all": 3e-7}

    shape, count = run(shape_near(deviation, phi(0.0), noise.get(name, 1e-16), far=True), phi)

    assert shape.kind is ShapeKind(kind)
    # (The last bits of a fitted polynomial depend on the machine, and with them how a walk goes on.)
    assert count <= most + 2
    assert (shape.jump is None) is (at is None)
    if at is not None:
        assert shape.jump.at == pytest.approx(at, rel=1e-3)


def test_a_large_deviation_is_not_blamed_on_a_jump_far_away():
    """The look-alike: what lies beyond a third of the natural size is not walked to, unless asked for."""
    shape, count = run(shape_near(1e-5, 1.0, 1e-16), WALKS["a jump far out"][0])
    _, slow = run(shape_near(1e-4, 0.0, 1e-16), lambda t: math.sin(200 * t))

    assert shape.kind is ShapeKind.SMOOTH
    assert count <= 12
    assert slow <= 96


def test_every_look_knows_how_far_rounding_moves_f():
    """A leaf that is moved a millionth of its size still rounds like a whole one: in second looks, too."""
    leaves = tuple(Leaf(path=p, shape=(3,), dtype="float64", start=i, stop=i + 3) for p, i in (("a", 0), ("b", 3)))
    x, claim = np.full(6, 1.5), np.array([1e6] * 3 + [1.0] * 3)
    meter = Meter(Directions(leaves, x, claim, 0), 2.0**-52)
    tier = meter.tier((0, 1))
    direction = tier.direction(meter.next_stream())
    asking = meter.slope(direction, tier.scale, full=True)
    answer = None
    try:
        while True:
            question = asking.send(answer)
            v = meter.directions.vector(question.direction)
            answer = np.array([claim @ (x + t * v - x) for t in question.steps])
    except StopIteration as stop:
        measured = stop.value

    assert tier.scale < 10
    assert measured.slope.unit[0] >= 0.3 * 2.0**-52 * np.linalg.norm(claim * x)


def test_a_ripple_as_short_as_the_finest_steps_is_no_noise():
    """Its slope belongs to the slope: averaging over it, as one may over noise, is not honest."""
    for seed in range(25):
        amplitude, frequency = 10.0 ** -(10 + seed % 4), 1.3 ** (seed % 5) * 3e7

        def phi(t, a=amplitude, w=frequency):
            return math.sin(1 + t) + a * math.sin(w * t)

        found, _ = measure(phi, seed, scale=1.0)

        assert abs(found.value[0] - math.cos(1.0) - amplitude * frequency) <= found.bar[0]


def test_ripples_are_in_later_slopes_too():
    """What the first direction took for noise is not averaged away by the ones after it."""
    for seed in range(25):
        first, _ = measure(lambda t: math.sin(1 + t) + 1e-11 * math.sin(3e7 * t), seed, scale=1.0)
        known = learn(first, float(first.bar[0]), 1.0)

        found, _ = measure(lambda t: math.sin(1 + t) + 1e-11 * math.sin(5e7 * t), seed, scale=1.0, known=known)

        assert abs(found.value[0] - math.cos(1.0) - 5e-4) <= found.bar[0]


def test_inputs_rounded_to_float32_hide_at_fine_steps():
    """Entries of x that stay where they are at the finest steps may hide more than the one that moves."""
    x = np.array([0.7, 0.011, 1.9, -1.3]).astype(np.float32).astype(float)
    v = np.array([0.8, -1.1, 1.3, 0.4])

    def phi(t):
        z = (x + t * v).astype(np.float32).astype(float)
        return float(np.sum(np.sin(z) + z * z))

    true = float(np.sum((np.cos(x) + 2 * x) * v))
    for seed in range(25):
        found, _ = measure(phi, seed, scale=5.0)

        assert abs(found.value[0] - true) <= found.bar[0]


def test_values_lost_in_rounding_are_not_flat():
    """sqrt(1 + z**2) - 1 in float32 stays as it is for steps of a hundredth: that says nothing about its slope."""

    def phi(t):
        z = np.float32(np.float32(1.5e-3) * np.float32(1 + t))
        # Corrected to first order of where x + t v was rounded, as a check does.
        visited = float(z) - 1.5e-3 * (1 + t)
        return 3e2 * float(np.sqrt(1 + z * z) - np.float32(1)) - 3e2 * 1.5e-3 * visited

    for seed in range(25):
        found, _ = measure(phi, seed, eps=2.0**-23, scale=3e2 * 1.5e-3**2)

        assert abs(found.value[0] - 3e2 * 1.5e-3**2) <= found.bar[0]


@pytest.mark.parametrize("gap", [1e-6, 3e-6, 1e-5])
def test_an_edge_nearer_than_the_smallest_step_gives_no_slope(gap):
    """From one side log(gap + t) looks alike at all steps above the gap: there is no bar, and it says why."""
    for seed in range(25):

        def phi(t):
            return float(np.float32(math.log(gap + t))) if gap + t > 0 else math.nan

        found, _ = measure(phi, seed, eps=2.0**-23, scale=1 / gap)

        covered = abs(found.value[0] - 1 / gap) <= found.bar[0]
        assert covered
        assert math.isfinite(found.bar[0]) or found.trouble == "domain"


def test_tiny_values_keep_their_noise():
    """Squares of values below 1e-160 vanish, their noise must not: the bar scales with f."""
    plain, _ = measure(lambda t: math.sin(1 + t) + hashed(t, 1e-9), 3)
    tiny, _ = measure(lambda t: 1e-200 * (math.sin(1 + t) + hashed(t, 1e-9)), 3)

    assert tiny.bar[0] == pytest.approx(1e-200 * plain.bar[0], rel=1e-6)


def test_two_point_questions_allow_for_more_bending_than_seen():
    """A part of a direction that bends f more than the whole did has a wider bar, or none."""
    first, _ = measure(SMOOTH["exp"][0], scale=0.7)
    known = learn(first, float(first.bar[0]) / 0.7, 0.7)
    step, width = known.question_step, 0.02
    plus, minus = (0.1 * math.tanh(1 + t / width) + 0.7 * t for t in (step, -step))
    even = abs((plus + minus) / 2 - 0.1 * math.tanh(1))
    true = 0.1 / width / math.cosh(1) ** 2 + 0.7

    plain = known.question_bar(step, 0.0, 0.7)

    assert plain < 1e-8
    assert known.question_bar(step, even, 0.7) >= abs((plus - minus) / (2 * step) - true)
    assert math.isinf(known.question_bar(step, 1e6 * step**2, 0.7))


def test_a_ripple_below_the_levels_of_later_directions_stays_in_their_bars():
    """Two levels cannot see what the first direction saw far below them: it hands on how steep that may be."""

    def rippled(slope, frequency):
        return lambda t: 600 + slope * t + 900 * t * t + 500 * t**3 + 5.4e-10 * math.sin(0.7 + frequency * t)

    for seed in range(25):
        first, _ = measure(rippled(1e3, 2e8), seed, scale=750.0)
        known = learn(first, float(first.bar[0]) / 1e3, 750.0)

        found, _ = measure(rippled(-1e3, 4e8), seed + 1, scale=750.0, known=known)

        assert abs(found.value[0] + 1e3 - 0.216 * math.cos(0.7)) <= found.bar[0]


def test_every_output_hides_as_much_as_its_own_steps_show():
    """Two outputs on lattices of their own, and one that the finest step moves."""
    h, unit = np.array([1e-3, 1e-5, 1e-7]), np.full(3, 1e-20)
    change = np.array([[2e-6, 3e-3, 1e-3], [1e-6, 1e-3, 1e-5], [0.0, 0.0, 1e-7]])
    found = unseen_change(h, change, -change, unit, 2.0**-52, np.array([True, True, True]))
    assert found.tolist() == [1e-6, 1e-3, 0.0]


@pytest.mark.parametrize("beside", [0.0, 2e-9])
def test_one_of_many_entries_may_move_where_the_others_hide(beside):
    """Steps that give the same bits miss all that moves f, though a finer one met a jump, or 0 lies beside one."""
    h, unit = np.array([1e-3, 1e-6, 1e-8, 1e-9, 1e-10]), np.full(1, 1e-20)
    plus = np.array([[1e-3], [1e-6], [3e-8], [beside], [beside if beside else 2e-9]])
    minus = np.array([[-1e-3], [-1e-6], [-1e-8], [0.0], [0.0]])
    assert unseen_change(h, plus, minus, unit, 2.0**-52, np.zeros(1, dtype=bool)) == [3e-8]
    smooth = 2.0 * h[:, None]
    assert unseen_change(h, smooth, -smooth, unit, 2.0**-52, np.zeros(1, dtype=bool)) == [0.0]


def test_what_is_left_of_a_residual_keeps_what_its_claim_may_be_off():
    """Values are subtracted, bars and roundings add up."""
    whole = Residual(value=3.0, bar=0.1, claimed=5.0, rounding=0.02)
    rest = whole - Residual(value=1.0, bar=0.2, claimed=2.0, rounding=0.03)
    assert (rest.value, rest.claimed) == (2.0, 3.0)
    assert (rest.bar, rest.rounding) == (pytest.approx(0.3), pytest.approx(0.05))
