"""One mistake, one finding: the place in the inputs, and a cause only where it has earned its name."""

import importlib
import pathlib

import numpy as np
import pytest

import gradproof
from gradproof import Verdict

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
LAYERS = [
    "tanh_with_1_minus_y",
    "softplus_with_the_wrong_sigmoid",
    "square_of_a_matrix_as_of_a_number",
    "affine_with_db_a_mean",
    "bias_of_the_last_row_only",
    "batch_norm_without_its_variance_term",
    "attention_without_its_scale",
    "lstm_with_a_wrong_gate",
]
SINE = np.random.default_rng(7).permutation(np.linspace(-2, 2, 48) + 0.1).reshape(6, 8)


def errors(report):
    assert report.verdict is Verdict.WRONG
    return [one for one in report.findings if one.severity is gradproof.Severity.ERROR]


def wrong_sine(gradient, point=SINE, seed=0):
    """What is said of a claim for the sum of sines, which has one mistake."""
    report = gradproof.check(lambda x: float(np.sum(np.sin(x))), point, grad=gradient, rng=seed)
    (finding,) = errors(report)
    return finding


@pytest.mark.parametrize("n", [12, 40])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_with_one_mistake(name, n, monkeypatch):
    """One finding in the arrays that are wrong, and no more evaluations than a reader would wait for."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    cases = importlib.import_module("one_finding")
    assert set(LAYERS) == set(cases.CASES)
    for seed in range(2):
        f, args, vjp, wrong = cases.CASES[name](n, np.random.default_rng((seed, n)))
        wrt = 0 if len(args) == 1 else tuple(range(len(args)))
        report = gradproof.check(f, args, vjp=vjp, wrt=wrt, rng=seed)
        assert len(errors(report)) == 1
        assert cases.accused(report, {leaf.path for leaf in report.leaves}) == wrong
        assert {leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG} == wrong
        assert report.cost.evaluations <= 200


def test_a_part_of_several_arrays_is_the_place():
    """The part that is wrong in all of them stands first; arrays that are wrong all over follow."""

    def f(p):
        return np.tanh(p["x"] @ p["w"] + p["b"])

    def vjp(u, p):
        d = u * (1 - f(p) ** 2)
        d[:, 5:] *= 1 + p["b"][5:] ** 2  # wrong on purpose
        return {"x": d @ p["w"].T, "w": p["x"].T @ d, "b": d.sum(axis=0)}

    rng = np.random.default_rng(1)
    point = {"x": rng.normal(size=(3, 4)), "w": rng.normal(size=(4, 8)), "b": rng.normal(size=8)}
    for seed in range(3):
        (finding,) = errors(gradproof.check(f, point, vjp=vjp, rng=seed))
        assert finding.path in ("p['w'][:, 5:]", "p['b'][5:]")
        assert all(path in finding.path + finding.place for path in ("p['w'][:, 5:]", "p['b'][5:]", "p['x']"))


def six_arrays(outputs, size):
    """F of six arrays, and a vjp that takes what is added to the gradient of some of them, relative to x**2."""
    rng = np.random.default_rng(outputs)
    weights = rng.normal(size=(6, outputs, size)) / size**0.5
    args = tuple(rng.normal(size=(6, size)))

    def f(*args):
        return np.sin(np.einsum("kij,kj->i", weights, np.array(args)))

    def vjp_off_by(off):
        def vjp(u, *args):
            d = u * np.cos(np.einsum("kij,kj->i", weights, np.array(args)))
            return tuple((w.T @ d) * (1 + a * x**2) for w, a, x in zip(weights, off, args, strict=True))

        return vjp

    return f, args, vjp_off_by


@pytest.mark.parametrize(("outputs", "size"), [(12, 4), (90, 12)])
@pytest.mark.parametrize("wrong", [4, 5])
def test_arrays_beside_wrong_ones_are_certified(outputs, size, wrong):
    """By all rows at once where these are few, and else by products that share their values of f."""
    f, args, vjp_off_by = six_arrays(outputs, size)
    everything = tuple(range(6))
    for seed in range(2):
        off = [0.3] * wrong + [0.0] * (6 - wrong)
        report = gradproof.check(f, args, vjp=vjp_off_by(off), wrt=everything, rng=seed)
        assert len(errors(report)) == 1
        for leaf, one in zip(report.leaves, off, strict=True):
            assert leaf.verdict is (Verdict.WRONG if one else Verdict.CORRECT)
            assert one or 0 < leaf.bound < 1e-2
        assert report.cost.evaluations <= 300


@pytest.mark.parametrize(("outputs", "size"), [(12, 4), (90, 12)])
@pytest.mark.parametrize("slight", [1e-3, 1e-5])
def test_an_array_that_is_slightly_wrong_beside_wrong_ones(outputs, size, slight):
    """It is not certified with them."""
    f, args, vjp_off_by = six_arrays(outputs, size)
    off = [1.0] * 5 + [slight]  # wrong on purpose
    report = gradproof.check(f, args, vjp=vjp_off_by(off), wrt=tuple(range(6)), rng=0)
    assert all(leaf.verdict is Verdict.WRONG for leaf in report.leaves)


@pytest.mark.parametrize("right", [0, 1, 4])
def test_a_small_array_is_wrong_everywhere_only_if_every_entry_is(right):
    """One value tells that an entry is wrong, and a second one that it is not."""
    point = {"a": np.linspace(0.5, 1.4, 10), "b": np.linspace(-1, 1, 6).reshape(2, 3)}

    def grad(p):
        claimed = {k: np.cos(x) for k, x in p.items()}
        claimed["a"] = claimed["a"] * np.where(np.arange(10) < right, 1.0, 1 + p["a"] ** 3)  # wrong on purpose
        return claimed

    for seed in range(3):
        report = gradproof.check(
            lambda p: float(sum(np.sum(np.sin(x)) for x in p.values())), point, grad=grad, rng=seed
        )
        (finding,) = errors(report)
        place = finding.path.removeprefix("p['a']") or finding.place
        assert place == ("everywhere" if right == 0 else f"[{right}:]")


def test_a_known_mistake_of_a_jacobian_needs_no_place():
    """Columns in the wrong order are seen along the line that refutes them, and along one more."""
    rng = np.random.default_rng(3)
    matrix, x = rng.normal(size=(12, 9)), rng.normal(size=9)

    def jac(x):
        return np.cos(matrix @ x)[:, None] * matrix

    def shifted(x):
        return np.roll(jac(x), 1, axis=1)  # wrong on purpose

    for seed in range(3):
        report = gradproof.check(lambda x: np.sin(matrix @ x), x, jac=shifted, rng=seed)
        (finding,) = errors(report)
        assert finding.kind == "columns shifted by one"
        assert report.cost.evaluations <= 130
        assert gradproof.check(lambda x: np.sin(matrix @ x), x, jac=jac, rng=seed).correct


@pytest.mark.parametrize("outputs", [2, 3, 5])
def test_two_lines_that_say_the_same_name_no_cause(outputs):
    """A factor that explains all outputs along one direction explains nothing."""
    for seed in range(4):
        rng = np.random.default_rng((outputs, seed))
        matrix, x = rng.normal(size=(1, 7)) * np.ones((outputs, 1)), rng.normal(size=7)
        wrong = matrix + rng.normal(size=7)  # wrong on purpose
        report = gradproof.check(lambda x, matrix=matrix: matrix @ x, x, jac=wrong, rng=seed)
        assert not any("times" in one.kind for one in errors(report))


def test_two_mistakes_are_two_findings():
    """A factor of 2 in one array and of 4 in another, as in the course's network."""
    point = {"W2": np.linspace(0.1, 1, 12).reshape(3, 4), "b1": np.linspace(-1, 1, 5), "W1": np.linspace(1, 2, 6)}

    def grad(p):
        return {"W2": 2 * np.cos(p["W2"]), "b1": 4 * np.cos(p["b1"]), "W1": np.cos(p["W1"])}  # wrong on purpose

    for seed in range(3):
        report = gradproof.check(
            lambda p: float(sum(np.sum(np.sin(v)) for v in p.values())), point, grad=grad, rng=seed
        )
        assert {one.path: one.factor for one in errors(report)} == {"p['W2']": 2.0, "p['b1']": 4.0}


@pytest.mark.parametrize("count", [2, 5, 6, 20])
def test_wrong_entries_are_named_one_by_one_or_together(count):
    """Up to five get a finding each; more are listed in one, with the largest as its example."""
    rng = np.random.default_rng(count)
    entries = sorted(rng.choice(400, count, replace=False).tolist())
    point = rng.normal(size=400)

    def grad(x):
        claimed = np.cos(x)
        claimed[entries] += np.linspace(0.3, 0.9, count)  # wrong on purpose
        return claimed

    found = errors(gradproof.check(lambda x: float(np.sum(np.sin(x))), point, grad=grad, rng=0))
    assert len(found) == (count if count <= 5 else 1)
    assert sorted(entry[0] for one in found for entry in one.entries) == entries
    if count > 5:
        largest = entries[-1]
        assert found[0].quantity == f"entry [{largest}]"
        assert found[0].reference == pytest.approx(np.cos(point[largest]), abs=1e-6)


def test_zeros_in_some_entries():
    """All rows but one, or here and there; a claim that is zero where f is flat is right."""
    for mask in (np.arange(6)[:, None] == 2, np.random.default_rng(0).random((6, 8)) < 0.5):
        finding = wrong_sine(lambda x, mask=mask: np.cos(x) * mask)  # wrong on purpose
        count = 48 - int(np.broadcast_to(mask, (6, 8)).sum())
        assert (
            finding.kind
            == f"claimed zero in {count} of 48 entries, where the true gradient is not; the others are right"
        )
        assert "everywhere" not in finding.place

    kept = np.arange(48).reshape(6, 8) % 3 == 0
    right = gradproof.check(lambda x: float(np.sum(np.sin(x) * kept)), SINE, grad=lambda x: np.cos(x) * kept, rng=0)
    assert right.correct


def test_one_side_of_zero():
    """A branch that is wrong, a mask that is forgotten; the same entries drawn at random are no branch."""
    below = wrong_sine(lambda x: np.where(x <= 0, 1.2 * np.cos(x) + 0.1, np.cos(x)))  # wrong on purpose
    assert below.kind.startswith("wrong where x <= 0")

    report = gradproof.check(
        lambda x: float(np.sum(np.maximum(x, 0) ** 2)), SINE, grad=lambda x: 2 * np.abs(x) + 1 * (x < 0), rng=0
    )  # wrong on purpose
    (finding,) = errors(report)
    assert finding.kind.startswith("not zero where x <= 0")

    some = np.random.default_rng(3).random((6, 8)) < 0.5
    finding = wrong_sine(lambda x: np.where(some, 1.2 * np.cos(x) + 0.1, np.cos(x)))  # wrong on purpose
    assert finding.kind in ("these entries are wrong", "the gradient is wrong")


def test_terms_that_look_alike_are_not_told_apart():
    """At a point whose entries are all equal; elsewhere weight decay has its name."""

    weights = np.arange(1.0, 13.0)

    def f(x):
        return float(weights @ np.sin(x) + 0.05 * np.sum(x**2))

    def without(x):
        return weights * np.cos(x)  # wrong on purpose

    for point, name in ((np.full(12, 2.0), "lacks the same number, 0.2"), (np.linspace(1, 2, 12), "weight decay")):
        (finding,) = errors(gradproof.check(f, point, grad=without, rng=0))
        assert name in finding.kind


@pytest.mark.parametrize(
    ("grad", "name"),
    [
        (lambda x: 1 - np.cos(x), "is 1 minus the true gradient"),
        (lambda x: np.cos(x) / np.exp(x), "is the derivative with respect to exp(x), not x"),
        (lambda x: np.cos(x) * np.exp(x), "is the derivative with respect to log(x), not x"),
        (
            lambda x: np.cos(x) + 0.01 * x,
            "has an extra term 0.01 * x (weight decay): regularised in the gradient, not in f",
        ),
        (
            lambda x: (0.1 * np.cos(x) + 0.2 * np.cos(x)) - 0.3 * np.cos(x),
            "claimed zero up to rounding, the true gradient is not",
        ),
    ],
)
def test_names(grad, name):
    assert wrong_sine(grad).kind == name


def test_a_path_is_missing_once_or_not_at_all():
    rng = np.random.default_rng(5)
    point = {"a": rng.normal(size=9), "b": rng.normal(size=9)}

    def f(p):
        return float(np.sum(np.sin(p["a"]) + np.exp(0.3 * p["b"]) * p["a"]))

    def grad(share):
        def claimed(p):
            b = 0.3 * np.exp(0.3 * p["b"]) * p["a"]
            return {"a": np.cos(p["a"]) + np.exp(0.3 * p["b"]) - share * b, "b": b}  # wrong on purpose

        return claimed

    (finding,) = errors(gradproof.check(f, point, grad=grad(1.0), rng=0))
    assert finding.kind == "lacks 1 times the gradient of p['b']"
    (finding,) = errors(gradproof.check(f, point, grad=grad(0.7), rng=0))
    assert "lacks" not in finding.kind


def test_a_plain_factor_in_float32():
    point = np.random.default_rng(9).normal(size=24).astype(np.float32)
    for seed in range(4):
        for factor in (-1.0, 2.0, 0.5):
            wrong = factor * np.cos(point)
            report = gradproof.check(lambda x: np.sin(x).sum(), point, grad=wrong, rng=seed)
            assert [one.factor for one in errors(report)] == [factor]


def test_what_is_nearly_right_may_have_an_epsilon():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 12)), (rng.random(30) < 0.5).astype(float)

    def f(w):
        p = 1 / (1 + np.exp(-x @ w))
        return float(-np.mean(y * np.log(p + 1e-5) + (1 - y) * np.log(1 - p + 1e-5)))

    w = rng.normal(size=12)
    (finding,) = errors(gradproof.check(f, w, grad=lambda w: x.T @ (1 / (1 + np.exp(-x @ w)) - y) / 30, rng=0))
    assert "epsilon" in finding.advice
    assert "epsilon" not in wrong_sine(lambda x: np.cos(x) * (1 + 0.1 * np.sin(7 * x))).advice


def test_transposed_must_explain_something():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    b = a + a.T
    nearly = b * (1 + 1e-6 * rng.normal(size=(6, 6))) * np.cos(0.3)  # wrong on purpose
    report = gradproof.check(lambda x: b @ np.sin(x), np.full(6, 0.3), jac=nearly, rng=0)
    assert not any("transposed" in one.kind for one in errors(report))
    report = gradproof.check(lambda x: a @ np.sin(x), np.full(6, 0.3), jac=a.T * np.cos(0.3), rng=0)  # wrong on purpose
    assert [one.kind for one in errors(report)] == ["transposed"]


def affine(rows, columns, seed=0):
    """An affine layer at a point, and its vjp from the cotangent of what goes into the activation."""
    rng = np.random.default_rng(seed)
    point = {"W": rng.normal(size=(rows, columns)), "x": rng.normal(size=columns), "b": rng.normal(size=rows)}

    def back(d, p):
        return {"W": np.outer(d, p["x"]), "x": p["W"].T @ d, "b": d.copy()}

    return (lambda p: p["W"] @ p["x"] + p["b"]), back, point


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 2), (6, 3)])
def test_two_factors_in_a_layer(shape):
    """Also where outputs are few enough to be proved one by one."""
    layer, back, point = affine(*shape)

    def vjp(u, p):
        return {**back(u, p), "W": 2 * np.outer(u, p["x"]), "b": 4 * u}  # wrong on purpose

    found = errors(gradproof.check(layer, point, vjp=vjp, rng=0))
    assert {one.path: one.factor for one in found} == {"p['W']": 2.0, "p['b']": 4.0}


def test_a_factor_of_one_row_is_in_every_array_that_it_reaches():
    layer, back, point = affine(5, 5)

    def vjp(u, p):
        d = u * (1 - np.tanh(layer(p)) ** 2)
        d[1] *= 2  # wrong on purpose
        return back(d, p)

    found = errors(gradproof.check(lambda p: np.tanh(layer(p)), point, vjp=vjp, rng=0))
    assert len(found) == 2
    named = " ".join(one.path + one.place for one in found)
    assert all(path in named for path in ("p['W'][1]", "p['x']", "p['b'][1]"))


def test_a_forgotten_mask_in_a_layer():
    """Leaves that are searched alone have their own entries, and what has no cause is said once."""
    for seed in range(20):
        layer, back, point = affine(9 + seed % 4, 3 + seed % 5, seed)
        report = gradproof.check(lambda p, f=layer: np.maximum(f(p), 0), point, vjp=back_of(back), rng=0)
        assert len(errors(report)) <= 2


def back_of(back):
    return lambda u, p: back(u, p)  # wrong on purpose: as if every unit were active


def test_equal_arrays_are_not_swapped():
    """Two biases of one sum have the same gradient, whichever of them is wrong; swapped ones are both wrong."""
    rng = np.random.default_rng(0)
    point = {"b1": rng.normal(size=6), "b2": rng.normal(size=6)}

    def grad(p):
        g = 1 - np.tanh(p["b1"] + p["b2"]) ** 2
        return {"b1": g, "b2": g * np.where(np.arange(6) == 2, 2, 1)}  # wrong on purpose

    (finding,) = errors(gradproof.check(lambda p: float(np.sum(np.tanh(p["b1"] + p["b2"]))), point, grad=grad, rng=0))
    assert finding.path == "p['b2'][2]"

    def swapped(p):
        return {"b1": -np.sin(p["b2"]), "b2": np.cos(p["b1"])}  # wrong on purpose

    found = errors(
        gradproof.check(lambda p: float(np.sum(np.sin(p["b1"]) + np.cos(p["b2"]))), point, grad=swapped, rng=0)
    )
    assert {one.kind for one in found} == {"is the gradient of p['b1']", "is the gradient of p['b2']"}


def test_a_few_entries_are_no_side_of_zero():
    """Three wrong entries that happen to lie where x is positive, and zeros of which most are right."""
    point = np.random.default_rng(0).normal(size=20)
    claimed = np.cos(point)
    claimed[[0, 2, 3]] += [0.5, -0.4, 0.3]  # wrong on purpose
    found = errors(gradproof.check(lambda x: float(np.sum(np.sin(x))), point, grad=claimed, rng=0))
    assert [one.path for one in found] == ["x[0]", "x[2]", "x[3]"]

    rng = np.random.default_rng(17)
    point = rng.normal(size=(6, 5))
    claimed = (point > 0) * (rng.random(point.shape) < 0.8) * 1.0  # wrong on purpose
    found = errors(gradproof.check(lambda x: float(np.sum(np.maximum(x, 0))), point, grad=claimed, rng=0))
    assert {one.entries for one in found} == {((int(i), int(j)),) for i, j in np.argwhere((point > 0) & (claimed == 0))}


def test_arrays_whose_names_begin_alike():
    """`x` and `x2`: each has its own finding, where outputs are proved one by one, too."""
    rng = np.random.default_rng(4)
    point = rng.normal(size=3), rng.normal(size=4)
    a, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 4))

    def f(x, x2):
        return a @ x + b @ x2

    def vjp(u, x, x2):
        return 2 * a.T @ u, 4 * b.T @ u  # wrong on purpose

    found = errors(gradproof.check(f, point, vjp=vjp, wrt=(0, 1), rng=0))
    assert {one.path: one.factor for one in found} == {"x": 2.0, "x2": 4.0}


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 9])
def test_every_array_is_named_where_each_output_has_a_factor_of_its_own(rows):
    """tanh with 1 - y in a layer: along one output all arrays are off alike, and along another by another factor."""
    layer, back, point = affine(rows, 6)

    def vjp(u, p):
        return back(u * (1 - np.tanh(layer(p))), p)  # wrong on purpose

    for seed in range(3):
        found = errors(gradproof.check(lambda p: np.tanh(layer(p)), point, vjp=vjp, rng=seed))
        assert len(found) == (2 if rows == 2 else 1)
        for finding in found:
            assert all(f"p['{name}']" in finding.path + finding.place for name in point)


def test_a_lone_wrong_entry_at_a_large_x_is_no_weight_decay():
    """All directions move x[0] most: that a term 5e-7 * x would explain them says nothing of the others."""
    x = np.linspace(0.5, 1.5, 20)
    x[0] = 1e6
    claim = np.ones(20)
    claim[0] = 1.5  # wrong on purpose
    report = gradproof.check(lambda x: np.sum(x), x, grad=claim, rng=0)
    assert "weight decay" not in str(report)
    assert [one.path for one in report.findings] == ["x[0]"]
    y = np.linspace(0.5, 1.5, 20)
    decayed = gradproof.check(np.sum, y, grad=np.ones(20) + 0.01 * y, rng=0)  # wrong on purpose
    assert "weight decay" in str(decayed)


SQUARE = np.random.default_rng(3).normal(size=(4, 4))
WEIGHTS = np.random.default_rng(4).normal(size=(4, 4))
SYMMETRIC = "not symmetric, the true gradient is"


def of_symmetric_part(A):
    S = (A + np.swapaxes(A, -1, -2)) / 2
    return float(np.sum(WEIGHTS * np.sin(S)))


def not_symmetrised(A):
    return WEIGHTS * np.cos((A + np.swapaxes(A, -1, -2)) / 2)  # wrong on purpose


def symmetrised(A):
    G = not_symmetrised(A)
    return (G + np.swapaxes(G, -1, -2)) / 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 4)])
def test_a_gradient_that_is_not_symmetric(shape, seed):
    """One finding says it, of one matrix and of a stack; a claim with one more mistake is not explained by it."""
    point = np.resize(SQUARE, shape) + np.arange(np.prod(shape)).reshape(shape) / 50
    (finding,) = errors(gradproof.check(of_symmetric_part, point, grad=not_symmetrised, rng=seed))
    assert (finding.kind, finding.place) == (SYMMETRIC, "everywhere")
    assert gradproof.check(of_symmetric_part, point, grad=symmetrised, rng=seed).correct

    def one_wrong(A):
        G = symmetrised(A)
        G[..., 0, 1] *= 2  # wrong on purpose
        return G

    for one in errors(gradproof.check(of_symmetric_part, point, grad=one_wrong, rng=seed)):
        assert one.kind != SYMMETRIC
        assert one.path != "A" or one.entries


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keyword", ["vjp", "jac"])
def test_a_derivative_of_many_outputs_that_is_not_symmetric(keyword, seed):
    """The same of a function of the symmetric part with many outputs."""

    def f(A):
        return np.sin((A + A.T) / 2) @ WEIGHTS

    def vjp(u, A):
        return (u @ WEIGHTS.T) * np.cos((A + A.T) / 2)  # wrong on purpose

    def right(u, A):
        return (vjp(u, A) + vjp(u, A).T) / 2

    def claim(rule):
        if keyword == "vjp":
            return rule
        return lambda A: np.array([rule(u.reshape(4, 4), A) for u in np.eye(16)]).reshape(4, 4, 4, 4)

    (finding,) = errors(gradproof.check(f, SQUARE, **{keyword: claim(vjp)}, rng=seed))
    assert finding.kind == SYMMETRIC.replace("gradient", "derivative")
    assert gradproof.check(f, SQUARE, **{keyword: claim(right)}, rng=seed).correct


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [3, 4])
def test_a_loss_for_each_row_with_the_cotangent_of_the_first(count, seed):
    """What is said of some of the outputs names them."""
    point = SQUARE[:count]
    report = gradproof.check(
        lambda x: np.sum(x**2, axis=1), point, vjp=lambda u, x: 2 * x * u[0], rng=seed
    )  # wrong on purpose
    places = [(one.kind, one.place) for one in errors(report)]
    named = ", ".join(f"output[{k}]" for k in range(1, count))
    assert ("claimed zero, the true derivative is not", f"in {count - 1} of {count} outputs: {named}") in places
    assert not [place for _, place in places if place == "everywhere"]
