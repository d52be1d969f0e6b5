"""Where a part of f is rounded, fine steps and coarse ones give two slopes: the right one counts, on both sides."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import gradproof
from gradproof import Verdict
from gradproof._line import slope
from gradproof._line._slope import Tread
from gradproof._line._staircase import Beyond, _beyond
from gradproof._line._stairs import Bend, Step, StepKind, close_in
from gradproof._prove._bends import on_tread


def measure(phi, seed=0, **options):
    """The slope of phi at 0, and how many values it took."""
    asking, count = slope(np.random.default_rng(seed), **options), 0
    try:
        steps = next(asking)
        while True:
            count += len(steps)
            steps = asking.send(np.array([phi(float(t)) for t in steps]))
    except StopIteration as stop:
        return stop.value, count


def cast(values):
    return np.asarray(values).astype(np.float32).astype(np.float64)


def sum_of_paths(x):
    return x * x + float(np.float32(np.sin(x)))


def product_of_paths(x):
    return x * float(np.float32(np.sin(x)))


def table(x):
    return float(np.round(math.sin(x), 6)) * math.exp(x)


def cancelling(x):
    return x * ((1e8 + math.sin(x)) - 1e8)


# f, the point, its slope there, and the slope between two jumps.
STAIRS = {
    "a sum": (sum_of_paths, 0.7, 1.4 + math.cos(0.7), 1.4),
    "a product": (product_of_paths, 0.7, math.sin(0.7) + 0.7 * math.cos(0.7), math.sin(0.7)),
    "a table": (table, 0.7, math.exp(0.7) * (math.cos(0.7) + math.sin(0.7)), math.exp(0.7) * math.sin(0.7)),
    "digits that cancel": (cancelling, 0.7, math.sin(0.7) + 0.7 * math.cos(0.7), math.sin(0.7)),
    "1 - tanh": (
        lambda x: x * (1 - math.tanh(x)),
        14.0,
        1 - math.tanh(14.0) - 14 / math.cosh(14.0) ** 2,
        1 - math.tanh(14.0),
    ),
}
# The same two plateaus, and the fine slope counts.
LOOK_ALIKES = {
    "a ripple": (lambda x: x + 1e-6 * math.sin(1e6 * x), 0.3, 1 + math.cos(3e5)),
    "a steep tanh": (lambda x: x * x + 1e-7 * math.tanh((x - 0.3) / 1e-7), 0.3 + 3e-8, 0.6 + 1 / math.cosh(0.3) ** 2),
    "a kink nearby": (lambda x: abs(x - 0.7 - 1e-9) + x * x, 0.7, 0.4),
    "a true branch": (lambda x: x + (x > 0.7001), 0.7, 1.0),
    "a branch with a slope of its own": (lambda x: x * math.tanh(1e9 * (x - 0.7001)), 0.7, -1.0),
    "a floor": (lambda x: x * math.floor(10 * x), 0.75, 7.0),
}


@pytest.mark.parametrize("name", STAIRS)
def test_slope_across_the_jumps_counts(name):
    """The bar holds the slope across the jumps, and the slope between them is told beside it."""
    f, x, true, between = STAIRS[name]
    for seed in range(10):
        found, count = measure(lambda t: f(x + x * t), seed, scale=abs(true) * x)
        assert abs(found.value[0] - true * x) <= found.bar[0] < 1e-2 * abs(true) * x
        assert found.tread is not None
        assert math.isclose(found.tread.value, between * x, rel_tol=1e-3)
        assert count <= 66


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_fine_slope_counts_where_nothing_jumps_but_once(name):
    """Ripples and kinks close by, and lone jumps, change nothing."""
    f, x, true = LOOK_ALIKES[name]
    for seed in range(10):
        found, _ = measure(lambda t: f(x + x * t), seed, scale=abs(true) * x)
        assert abs(found.value[0] - true * x) <= found.bar[0] < 1e-3 * abs(true) * x
        assert found.tread is None


def read_from_text(x):
    """Four numbers written with nine digits on one path, exact on another."""
    written = np.array([float(f"{one:.8e}") for one in x])
    return float(np.sin(3 * written).sum() + (x * x).sum())


def test_slope_across_jumps_of_many_sizes_counts():
    """Several rounded numbers jump at places of their own: smooth for a while beyond one jump is not smooth."""
    x = np.array([0.31, -0.74, 1.13, 0.52])
    gradient = 3 * np.cos(3 * x) + 2 * x
    for seed in (2, 5, 23):
        v = np.random.default_rng(seed).standard_normal(4)
        found, _ = measure(lambda t, v=v: read_from_text(x + t * v), seed, scale=float(np.linalg.norm(gradient)))
        assert abs(found.value[0] - gradient @ v) <= found.bar[0] < 0.1 * np.linalg.norm(gradient), seed


@pytest.mark.parametrize(("points", "seeds"), [(30, range(6)), (60, (29, 31))])
def test_few_wide_treads_are_no_lone_jump(points, seeds):
    """The next jump lies on the other side, or farther out than the first levels: the slope of a tread is no slope."""
    for seed in seeds:
        found, _ = measure(lambda t: np.round((0.2 + 0.7 * t) * points) / points * (2 + t), seed, scale=1.6)
        assert abs(found.value[0] - (0.7 * 2 + 0.2)) <= found.bar[0], seed


def test_jump_next_to_the_far_end_is_told_from_a_kink_there():
    """A kink just before the end of the interval changes phi at that end alone, as a jump would."""
    bend = Bend(0.0, 0.0, 0.0, 1e-16)

    def kind_of(phi):
        asking = close_in(0.1, 1.0, (phi(0.1), phi(1.0)), bend)
        try:
            step = next(asking)
            while True:
                step = asking.send(np.array([phi(float(step[0]))]))
        except StopIteration as stop:
            return stop.value.kind

    assert kind_of(lambda t: 1e-3 * max(t - 0.998, 0.0)) is StepKind.SMOOTH
    assert kind_of(lambda t: 1e-3 * (t > 0.998)) is StepKind.JUMP


@pytest.mark.parametrize("f", [math.sin, math.exp, lambda x: 1 / (1 + x * x)])
def test_smooth_functions_are_not_closed_in_on(f):
    """A smooth function takes no value more than before: ten."""
    for seed in range(10):
        assert measure(lambda t: f(0.7 + 0.7 * t), seed)[1] == 10


@pytest.mark.parametrize("name", STAIRS)
def test_right_claim_is_correct(name):
    f, x, true, _ = STAIRS[name]
    reports = [gradproof.check(f, x, grad=lambda x: true, rng=seed) for seed in range(5)]
    assert sum(report.verdict is Verdict.CORRECT for report in reports) >= 4
    assert all(report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE) for report in reports)
    assert all("GP313" in [finding.id for finding in report.findings] for report in reports)


@pytest.mark.parametrize("name", STAIRS)
def test_claim_of_the_tread_is_inconclusive_with_both_slopes(name):
    """Rounding or a true staircase: f cannot say, and the slope between jumps is never certified."""
    f, x, true, between = STAIRS[name]
    report = gradproof.check(f, x, grad=lambda x: between, rng=3)  # wrong on purpose
    assert report.verdict is Verdict.INCONCLUSIVE
    (finding,) = [one for one in report.findings if one.id == "GP313"]
    assert str(finding.severity) == "doubt"
    # (Along a direction of natural size, which may point either way.)
    assert math.isclose(abs(finding.reference), abs(true * x), rel_tol=0.02)
    assert "The claim agrees with the former only" in finding.kind


@pytest.mark.parametrize("name", STAIRS)
def test_one_percent_off_is_wrong(name):
    f, x, true, _ = STAIRS[name]
    report = gradproof.check(f, x, grad=lambda x: 1.03 * true, rng=3)  # wrong on purpose
    assert report.verdict is Verdict.WRONG


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_leaf_that_is_cast_beside_one_that_is_not(factor):
    """Each leaf is looked at by itself before it is accused."""
    point = {"a": np.array([0.4, 1.2]), "b": np.array([0.7, -0.3, 1.1])}

    def f(p):
        return float((cast(p["a"]) ** 2).sum() + np.sin(p["b"]).sum())

    def gradient(p):
        return {"a": 2 * p["a"], "b": factor * np.cos(p["b"])}  # b wrong on purpose where factor is not 1

    report = gradproof.check(f, point, grad=gradient, rng=1)
    verdicts = {leaf.path: leaf.verdict for leaf in report.leaves}
    assert set(verdicts.values()) == ({Verdict.CORRECT} if factor == 1 else {Verdict.CORRECT, Verdict.WRONG})
    assert factor == 1 or verdicts["p['b']"] is Verdict.WRONG


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_outputs_in_float32_beside_float64(factor):
    """A Jacobian of two outputs, one of which has a path through float32."""
    report = gradproof.check(
        lambda x: np.array([x[0] * float(np.float32(np.sin(x[1]))), x[0] ** 2 + x[1]]),
        np.array([0.7, 0.4]),
        jac=lambda x: factor * np.array([[np.sin(x[1]), x[0] * np.cos(x[1])], [2 * x[0], 1.0]]),  # wrong on purpose
        rng=2,
    )
    assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)


@pytest.mark.slow
def test_right_vjp_of_many_outputs_is_not_wrong():
    def f(x):
        e = np.exp(x - x.max())
        return cast(e / e.sum()) * x

    def vjp(u, x):
        s = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
        return u * s + s * (u * x - s @ (u * x))

    x = np.random.default_rng(1).normal(size=6)
    assert gradproof.check(f, x, vjp=vjp, rng=0).verdict is not Verdict.WRONG


def closed(f, near, far, noise=1e-16):
    """What closing in says of f between two steps, and how many values it took."""
    bend = Bend(f(0.0), 0.0, 0.0, noise)
    asking = close_in(near, far, (bend.beyond(near, f(near)), bend.beyond(far, f(far))), bend)
    count = 0
    try:
        steps = next(asking)
        while True:
            count += 1
            steps = asking.send(np.array([f(float(steps[0]))]))
    except StopIteration as stop:
        return stop.value, count


def test_closing_in_tells_a_jump_from_a_kink_a_ripple_and_a_pole():
    jump, count = closed(lambda t: 1e-6 * (t > 3e-4), 1e-4, 1e-3)
    assert jump.kind is StepKind.JUMP
    assert math.isclose(jump.jump, 1e-6)
    assert abs(jump.at - 3e-4) < 1e-5
    assert count <= 9
    assert closed(lambda t: max(t - 3e-4, 0.0), 1e-4, 1e-3)[0].kind is StepKind.SMOOTH
    assert closed(lambda t: 1e-6 * math.sin(1e4 * t), 1e-4, 1e-3)[0].kind is StepKind.SMOOTH
    assert closed(lambda t: 1e-9 / (t - 3.1e-4), 1e-4, 1e-3)[0].kind is StepKind.UNRESOLVED


def test_copy_that_casts_down_is_not_called_a_float64_copy():
    """A softmax in float32 stays in float32 when the model is doubled; a plain one does not."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    a, v = torch.randn(4, 5), torch.randn(5, 3)

    def narrow(a, v):
        return (torch.softmax(a, -1, dtype=torch.float32).to(v.dtype) @ v).square().sum()

    def plain(a, v):
        return (torch.softmax(a, -1) @ v).square().sum()

    notes = [gradproof.check(f, (a, v), modes=("rev",), rng=0).modes[0].note for f in (narrow, plain)]
    assert "casts down inside" in notes[0]
    assert notes[1] == "against differences of a float64 copy of f"


WEIGHTS = np.array([[0.4, -0.7, 0.2], [-0.3, 0.5, 0.6], [0.8, 0.1, -0.4], [0.2, 0.3, 0.9], [-0.6, 0.4, 0.1]])
VALUES = np.array([[1.1, 0.3, -0.5], [0.2, -0.9, 0.7], [-0.4, 0.8, 0.6], [0.9, -0.2, 0.3], [0.5, 0.7, -1.2]])
START = np.array([0.7, -0.4, 1.1])


def mixed_attention(x):
    """Weights in float32, mixed with values in float64 that depend on x: five outputs."""
    e = np.exp(WEIGHTS @ x)
    return cast(e / e.sum()) * (VALUES @ x)


def jacobian_of_mixed_attention(x):
    e = np.exp(WEIGHTS @ x)
    p = e / e.sum()
    return (np.diag(p) - np.outer(p, p)) @ WEIGHTS * (VALUES @ x)[:, None] + p[:, None] * VALUES


def test_slopes_across_the_jumps_of_many_outputs():
    """Pairs of values at places shared by all outputs say which of them are staircases."""
    true = jacobian_of_mixed_attention(START)
    told = 0
    for seed in range(8):
        v = np.random.default_rng(seed).standard_normal(3)
        scale = np.linalg.norm(true, axis=1)
        found, count = measure(lambda t, v=v: mixed_attention(START + t * v), seed, scale=scale)
        assert (np.abs(found.value - true @ v) <= found.bar).all(), seed
        # (46 on the ladder; ten pairs for each of two widths of treads, and half as wide where slopes differ.)
        assert count <= 132
        told += int(np.count_nonzero(found.bar < 1e-3 * scale))
    assert told >= 36


def test_fine_slopes_count_for_outputs_that_look_alike():
    """A ripple, a kink nearby, a steep tanh and a branch beside a staircase: each output has a slope of its own."""

    def f(x):
        return np.array(
            [
                x * cast(np.sin(x)),
                x + 1e-6 * math.sin(1e6 * x),
                abs(x - 0.7 - 1e-7) + x * x,
                x * x + 1e-7 * math.tanh((x - 0.7) / 1e-7),
                x + (x > 0.7001),
            ]
        )

    true = np.array([math.sin(0.7) + 0.7 * math.cos(0.7), 1 + math.cos(7e5), 0.4, 2.4, 1.0])
    for seed in range(12):
        found, _ = measure(lambda t: f(0.7 + 0.7 * t), seed, scale=0.7 * np.abs(true))
        assert (np.abs(found.value - 0.7 * true) <= found.bar).all(), seed


def test_kinks_beside_the_point_are_no_stairs_of_many_outputs():
    """Saturated outputs that leave 1 within the steps, and others that reach it: the slope at the point counts."""
    edges = np.array([3e-4, 0.008, 0.02, 0.043, 0.066, 0.09, 0.2])
    start = np.concatenate([1 + edges, 1 - edges])
    true = np.concatenate([np.zeros(7), -np.ones(7)])
    for seed in range(12):
        found, _ = measure(lambda t: np.clip(start - t, -1, 1), seed, scale=np.abs(true))
        assert not found.stairs.any()
        assert (np.abs(found.value - true) <= found.bar).all(), seed
        assert (found.bar < 1e-6).all(), seed


def test_stairs_beyond_a_kink_stay_stairs():
    """Digits that a cast has lost between the values of a clip: the slope across the jumps counts."""
    start = np.linspace(-0.1, 0.9, 11)
    for seed in range(12):
        found, _ = measure(lambda t: cast(np.clip(start - t, -1, 1)) * (1 + t), seed, scale=np.ones(11))
        assert (np.abs(found.value - (start - 1)) <= found.bar).all(), seed


@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize("kind", ["jac", "vjp", "jvp"])
@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_many_outputs_with_float32_inside(factor, kind, level):
    """Right claims of every kind are CORRECT, and the same off by 1 % are not."""
    matrix = factor * jacobian_of_mixed_attention(START)  # wrong on purpose where factor is not 1
    claims = {"jac": lambda x: matrix, "vjp": lambda u, x: matrix.T @ u, "jvp": lambda t, x: matrix @ t}
    report = gradproof.check(mixed_attention, START, **{kind: claims[kind]}, level=level, rng=5)
    assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)


def test_what_has_no_tread_lies_on_none():
    """A lone jump shows beside the point, and no second slope: a claim is not off the hook by that."""
    for tread, lies in ((None, False), (Tread(1.0, 1e-9), True), (Tread(1.05, 1e-2), True), (Tread(0.8, 1e-2), False)):
        slope = SimpleNamespace(tread=tread)
        assert on_tread(SimpleNamespace(slope=slope, claimed=1.0005)) is lies


def looked_beyond(f, width, third):
    asking = _beyond(Step(StepKind.JUMP, 1e-7, 1e-6), width, third, np.random.default_rng(0))
    values = None
    while True:
        try:
            values = f(asking.send(values))
        except StopIteration as told:
            return told.value


@pytest.mark.parametrize("third", [0.0, 1e-3])
def test_beyond_a_jump_no_tread_is_too_wide_to_count(third):
    """Where coarse and fine steps agree to the bit, a tread seems endless: nothing is told, nor raised."""
    with np.errstate(all="ignore"):
        assert looked_beyond(lambda t: np.full_like(t, np.nan), 1e293, third) is Beyond.UNKNOWN
    assert looked_beyond(lambda t: 1e-7 * np.floor(t / 1e-3), 1e-3, 0.0) is Beyond.JUMPS
    assert looked_beyond(lambda t: 2 * t, 1e-3, third) is Beyond.SMOOTH


@pytest.mark.parametrize("seed", range(3))
def test_an_entry_that_stays_on_one_tread(seed):
    """What it does is hidden by the treads that another entry shows: right, or off by less than they hide."""
    x = np.array([0.7, 1.3])

    def f(x):
        return float(np.round(np.sin(x[0]) + 1e-4 * x[1], 3))

    for claim in (1e-4, 1e-3):
        report = gradproof.check(f, x, grad=np.array([np.cos(0.7), claim]), level="entries", rng=seed)
        assert report.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    report = gradproof.check(f, x, grad=np.array([np.cos(0.7), 0.1]), level="entries", rng=seed)  # wrong on purpose
    assert report.verdict is Verdict.WRONG
    assert [one.path for one in report.findings if one.id == "GP101"] == ["x[1]"]


@pytest.mark.parametrize("seed", [22, *range(4)])
def test_jumps_on_both_sides_that_cancel(seed):
    """At the finest level that meets teeth of 1e-9 one on each side is met: only the even part tells."""
    x = np.array([-0.3860426587515712, -0.8127764486559894])
    weights = np.array([0.7186499565193522, -0.03671779372270809])

    def f(x):
        return float(np.sin(x) @ weights * (1 + 1e-9 * (np.mod(x * 1e9, 1.0).sum() / 2 - 0.5)))

    right = gradproof.check(f, x, grad=np.cos(x) * weights, rng=seed)
    assert right.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    wrong = gradproof.check(f, x, grad=1.01 * np.cos(x) * weights, rng=seed)  # wrong on purpose
    assert wrong.verdict is not Verdict.CORRECT


def rounded_shares(x, digits):
    """Shares of a softmax, rounded as a format of few digits does it, times something smooth."""
    generator = np.random.default_rng(len(x))
    keys, c = generator.standard_normal((4, len(x))), generator.standard_normal(4)
    weights = np.exp(keys @ x)
    shares = weights / weights.sum()
    if digits:
        shares = np.round(shares * 2**digits) / 2**digits
    return float((shares * c).sum() * (1 + x @ x))


def gradient_of_shares(x):
    h = 1e-6
    steps = [(rounded_shares(x + e, 0) - rounded_shares(x - e, 0)) / (2 * h) for e in h * np.eye(len(x))]
    return np.array(steps)


@pytest.mark.parametrize(("n", "seed"), [(2, 8), (3, 50), (4, 48), (6, 26), (6, 32)])
def test_what_was_learnt_on_one_tread_accuses_nobody(n, seed):
    """Where jumps leave open which slope counts, no later line rests on steps that lie within one tread."""
    x = np.random.default_rng(seed).standard_normal(n)
    right = gradient_of_shares(x)

    def check(claim):
        return gradproof.check(lambda x: rounded_shares(x, 10), x, grad=claim, rng=seed).verdict

    assert check(right) is not Verdict.WRONG
    assert check(-3 * right) is Verdict.WRONG  # wrong on purpose


def test_a_lone_jump_is_learnt_from():
    """A true branch further out leaves the slope as it is, and the claim is certified in few evaluations."""
    x = np.array([0.7, -0.4, 1.1])
    report = gradproof.check(
        lambda x: float(np.sin(x).sum() + (x[0] > 0.7004)), x, grad=lambda x: np.cos(x), level="certificate", rng=1
    )
    assert report.verdict is Verdict.CORRECT
    assert report.cost.evaluations < 150


STEEP = np.array([[1.1, 0.4, -0.9], [0.3, -1.2, 0.8], [0.7, 0.5, 1.3], [-0.6, 0.9, 0.2], [1.0, 1.4, -0.3]])


@pytest.mark.parametrize("m", [3, 5])
def test_two_slopes_of_several_outputs_are_told_once(m):
    """Whatever the numbers of each output, or of each mixture of them; all of a few outputs are counted."""
    a, x = STEEP[:m], np.array([0.3, -0.7, 1.1])

    def f(x):
        return np.float32(np.sin(a @ x)).astype(float) + (a @ x) ** 2

    def jacobian(x):
        return (np.cos(a @ x) + 2 * (a @ x))[:, None] * a

    report = gradproof.check(f, x, vjp=lambda u, x: jacobian(x).T @ u, rng=0)
    assert report.verdict is Verdict.CORRECT
    (finding,) = report.findings
    assert (finding.id, finding.place) == ("GP313", "in 3 of 3 outputs" if m == 3 else "")
