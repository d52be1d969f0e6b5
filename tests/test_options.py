"""Domain, level, reference and the complex step: what they promise, and what they must not do."""

import copy
import pickle

import numpy as np
import pytest

import gradproof
from gradproof import Reason, Verdict

POINT = np.array([0.0, 0.5, 1.0, 0.5, 0.3, 0.999])


def only_inside(x):
    """A function that must never be called outside [0, 1]."""
    assert np.all(x >= 0), x
    assert np.all(x <= 1), x
    return float(np.sum(np.sqrt(1 + x) * np.arange(1, x.size + 1) + x**2))


def inside_gradient(x):
    return 0.5 / np.sqrt(1 + x) * np.arange(1, x.size + 1) + 2 * x


@pytest.mark.parametrize("domain", [(0, 1), (np.zeros(6), np.ones(6)), (np.zeros(1), 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_no_step_leaves_the_domain(domain, seed):
    """Entries on a bound move inwards, f is never called outside, and right and wrong are told apart as ever."""
    right = gradproof.check(only_inside, POINT, grad=inside_gradient, domain=domain, rng=seed)
    wrong = gradproof.check(
        only_inside, POINT, grad=lambda x: 1.01 * inside_gradient(x), domain=domain, rng=seed
    )  # wrong on purpose

    assert right.correct
    assert right.leaves[0].bound < 1e-4
    assert wrong.verdict is Verdict.WRONG
    assert "domain=domain" in wrong.findings[0].reproducer


def test_one_wrong_entry_on_a_bound():
    """The sign of an entry's step is taken into account where it can move one way only."""
    claim = inside_gradient(POINT)
    claim[2] += 0.25  # wrong on purpose: the entry on the upper bound

    (finding,) = gradproof.check(only_inside, POINT, grad=claim, domain=(0, 1), rng=1).findings

    assert finding.path == "x[2]"
    assert abs(finding.reference - inside_gradient(POINT)[2]) <= finding.error_bar < 1e-4


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ((0, 0.9), r"`x\[2\]` is 1.0"),
        ((0,), "must be a tuple"),
        ([0, 1], "must be a tuple"),
        ((np.zeros(4), 1), "does not broadcast"),
        ((np.nan, 1), "must not be nan"),
        ((2, 1), "lower must not be above upper"),
        (({"a": 0.0}, 1), "structure"),
    ],
)
def test_domains_that_do_not_fit(domain, message):
    """Each is refused before f is called, with what is wrong."""
    with pytest.raises(gradproof.UsageError, match=message):
        gradproof.check(only_inside, POINT, grad=inside_gradient, domain=domain, rng=0)


def test_entries_by_themselves():
    """`level="entries"` measures every entry, says so, and its bound rests on no choice of directions."""
    point = np.linspace(-1, 1, 40)
    claim = np.cos(point)
    wrong = claim.copy()
    wrong[[3, 17]] *= -1  # wrong on purpose

    right = gradproof.check(lambda x: np.sin(x).sum(), point, grad=claim, level="entries", rng=0)
    report = gradproof.check(lambda x: np.sin(x).sum(), point, grad=wrong, level="entries", rng=0)

    assert right.level == "entries"
    assert right.leaves[0].bound < 1e-7
    assert right.cost.evaluations >= 80
    assert [finding.path for finding in report.findings] == ["x[3]", "x[17]"]


def test_few_entries_are_measured_alone_by_default():
    """Where that is cheaper than directions."""
    report = gradproof.check(lambda x: np.sin(x).sum(), np.array([0.5, 1.0]), grad=np.cos, rng=0)

    assert report.level == "entries"
    assert report.cost.evaluations <= 16


def single(x):
    """float32 arithmetic all the way, beside a constant whose rounding drowns directions and entries."""
    return np.float32(np.sum(np.sin(x.astype(np.float32)) * np.float32(3)) + np.float32(100_000))


def double(x):
    return float(np.sum(np.sin(x) * 3) + 100_000)


def test_a_reference_narrows_the_bar():
    """In single precision the differences alone are INCONCLUSIVE; with a trusted f in double they need not be."""
    point = (np.linspace(-1, 1, 200) + 0.003).astype(np.float32)
    claim = (3 * np.cos(point.astype(float))).astype(np.float32)

    alone = gradproof.check(single, point, grad=claim, rng=0)
    helped = gradproof.check(single, point, grad=claim, reference=double, rng=0)

    assert alone.verdict is Verdict.INCONCLUSIVE
    assert alone.reason is Reason.PRECISION
    assert alone.leaves[0].bound > alone.max_bound
    assert helped.correct
    assert helped.leaves[0].bound < 1e-4


def test_a_reference_makes_nothing_wrong_and_nothing_wrong_correct():
    """A claim that only the reference excludes keeps the wide bar; one that differences exclude stays WRONG."""
    point = (np.linspace(-1, 1, 200) + 0.003).astype(np.float32)
    claim = (3 * np.cos(point.astype(float))).astype(np.float32)

    slightly = gradproof.check(single, point, grad=claim * np.float32(1.003), reference=double, rng=1)
    grossly = gradproof.check(single, point, grad=-claim, reference=double, rng=0)  # wrong on purpose
    another = gradproof.check(single, point, grad=claim, reference=lambda x: 2 * double(x), rng=0)

    assert slightly.verdict is Verdict.INCONCLUSIVE
    assert slightly.leaves[0].bound > 0.05
    assert grossly.verdict is Verdict.WRONG
    assert [(finding.id, finding.path) for finding in grossly.findings] == [("GP101", "x")]
    assert another.verdict is Verdict.INCONCLUSIVE
    assert another.reason is Reason.WITNESSES


def drowned(x):
    """The slope drowns in the rounding of a large offset, which the complex step does not see."""
    return 1e9 + 1e-4 * np.sum(np.sin(x))


def drowned_by_modulus(x):
    """The same, but through abs, which drops the imaginary part."""
    return 1e9 + 1e-4 * np.sum(np.sin(abs(x)))


def test_the_complex_step_helps_where_differences_drown():
    """A witness that agrees narrows the bar for CORRECT; through abs it has nothing to say, or disagrees."""
    point = np.linspace(0.2, 1, 20)
    claim = 1e-4 * np.cos(point)

    assert gradproof.check(drowned, point, grad=claim, rng=0).correct
    slightly = gradproof.check(drowned, point, grad=1.02 * claim, rng=0)  # wrong on purpose
    assert slightly.verdict is Verdict.INCONCLUSIVE
    assert gradproof.check(drowned, point, grad=2 * claim, rng=0).verdict is Verdict.WRONG  # wrong on purpose
    assert gradproof.check(drowned_by_modulus, point, grad=claim, rng=0).verdict is Verdict.INCONCLUSIVE


def drowned_by_a_cast(x):
    """The same, but a cast drops the imaginary part with a warning."""
    return 1e9 + 1e-4 * np.sum(np.sin(np.asarray(x).astype(float)))


def test_a_cast_in_the_way_of_the_complex_step_is_no_warning():
    """Warnings are errors here: the witness must keep its own to itself, and have nothing to say."""
    point = np.linspace(0.2, 1, 20)

    report = gradproof.check(drowned_by_a_cast, point, grad=1e-4 * np.cos(point), rng=0)

    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason is Reason.NOISE


# ---------------------------------------------------------------------------------------- claims of all other kinds

MIX = np.random.default_rng(3).normal(size=(9, 6))
LONG = np.linspace(0, 1, 80)
LONG_MIX = np.random.default_rng(4).normal(size=(9, 80))


def mixed(x):
    """Nine outputs, called inside [0, 1] only."""
    assert np.all(x >= 0), x
    assert np.all(x <= 1), x
    return (MIX if x.size == 6 else LONG_MIX) @ np.sqrt(1 + x) + x[0] * x[1]


def mixed_jac(x):
    jac = (MIX if x.size == 6 else LONG_MIX) * (0.5 / np.sqrt(1 + x))
    jac[:, 0] += x[1]
    jac[:, 1] += x[0]
    return jac


def coupled(x):
    """The same for a scalar."""
    return only_inside(x) + float(x[0] * x[1])


def coupled_gradient(x):
    gradient = inside_gradient(x)
    gradient[0] += x[1]
    gradient[1] += x[0]
    return gradient


def coupled_hessian(x):
    hessian = np.diag(-0.25 * (1 + x) ** -1.5 * np.arange(1, x.size + 1) + 2)
    hessian[0, 1] = hessian[1, 0] = 1
    return hessian


def one_wrong(derivative):
    """A matrix with one wrong entry, and its mirror image where it is symmetric."""

    def wrong(x):
        matrix = derivative(x)
        matrix[2, 3] += 0.3
        if derivative is coupled_hessian:
            matrix[3, 2] += 0.3
        return matrix

    return wrong


def all_claims(matrix):
    """Keyword, function, point and claim for every kind that a matrix function can be claimed in."""
    if matrix.__name__ == "coupled_hessian" or matrix is WRONG_HESSIAN:
        return [
            (coupled, POINT, {"hess": matrix}),
            (coupled, POINT, {"hvp": lambda v, x: matrix(x) @ v}),
            (coupled, POINT, {"grad": coupled_gradient, "hess": matrix}),
            (coupled, POINT, {"grad": coupled_gradient, "hvp": lambda v, x: matrix(x) @ v}),
        ]
    return [
        (mixed, x, claim)
        for x in (POINT, LONG)
        for claim in (
            {"jac": matrix},
            {"vjp": lambda u, x: u @ matrix(x)},
            {"jvp": lambda v, x: matrix(x) @ v},
        )
    ]


WRONG_HESSIAN = one_wrong(coupled_hessian)
RIGHT = all_claims(mixed_jac) + all_claims(coupled_hessian)
WRONG = all_claims(one_wrong(mixed_jac)) + all_claims(WRONG_HESSIAN)


@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize(("f", "x", "claim"), RIGHT)
def test_right_claims_of_every_kind_within_a_domain(f, x, claim, level):
    """CORRECT, with entries on both bounds, f never called outside them, and the level in the report."""
    for seed in range(2):
        report = gradproof.check(f, x, **claim, domain=(0, 1), level=level, rng=seed)

        assert report.correct, str(report)
        assert report.level == level
        assert all(leaf.bound < 1e-2 for leaf in report.leaves)


@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize(("f", "x", "claim"), WRONG)
def test_wrong_claims_of_every_kind_within_a_domain(f, x, claim, level):
    """The entry is found in every kind; by its index where the claim has entries."""
    report = gradproof.check(f, x, **claim, domain=(0, 1), level=level, rng=0)

    assert report.verdict is Verdict.WRONG
    found = report.findings
    assert {finding.id for finding in found} == {"GP101"}
    # Of a gradient both the entry and its mirror image are wrong; second differences of f see their mean.
    both = "grad" in claim
    if set(claim) & {"jac", "hess"}:
        (keyword,) = set(claim) & {"jac", "hess"}
        expected = {f"{keyword}[2, 3]", f"{keyword}[3, 2]"} if both else {f"{keyword}[2, 3]"}
    elif "jvp" in claim and x is LONG and level == "certificate":
        expected = {"x"}  # its tangents mix all inputs
    else:
        expected = {"x[2]", "x[3]"} if both else {"x[2]"} if "hvp" in claim else {"x[3]"}
    assert {finding.path for finding in found} == expected
    assert all("domain=domain" in finding.reproducer for finding in found)


def test_a_domain_that_does_not_fit_any_claim():
    """It is refused for all kinds of claims."""
    for f, x, claim in RIGHT:
        with pytest.raises(gradproof.UsageError, match="must lie in the domain"):
            gradproof.check(f, x, **claim, domain=(0, 0.9), rng=0)


def test_every_entry_of_a_matrix():
    """An error that no direction shows is named, with its own bar; so are several; the bound is that of entries."""
    rng = np.random.default_rng(5)
    weights, x = rng.normal(size=(40, 30)) / 5, rng.normal(size=30)

    def f(x):
        return np.tanh(weights @ x)

    right = (1 - np.tanh(weights @ x) ** 2)[:, None] * weights
    for seed in range(3):
        report = gradproof.check(f, x, jac=right, level="entries", rng=seed)
        assert report.correct
        assert report.level == "entries"
        assert report.leaves[0].bound < 1e-6
        assert report.cost.evaluations < 5 * 30
        wrong = right.copy()
        wrong[7, 5] += 1e-4 * np.abs(right[7]).mean()  # wrong on purpose
        wrong[30, 29] *= 1.01
        report = gradproof.check(f, x, jac=wrong, level="entries", rng=seed)
        assert [finding.path for finding in report.findings] == ["jac[7, 5]", "jac[30, 29]"]
        for finding in report.findings:
            i, j = finding.entries[0]
            assert abs(finding.reference - right[i, j]) <= finding.error_bar < 1e-5


@pytest.mark.parametrize(
    ("change", "path", "kind"),
    [  # all wrong on purpose
        (lambda matrix: 2 * matrix, "jac", "claimed 2 times the true derivative"),
        (lambda matrix: matrix[::-1], "jac", "rows in reverse order"),
        (lambda matrix: matrix * np.where(np.arange(30) == 4, -1, 1), "jac[:, 4]", "claimed with the wrong sign"),
        (lambda matrix: matrix * np.where(np.arange(40) == 4, 0, 1)[:, None], "jac[4]", "claimed zero"),
    ],
)
def test_mistakes_found_entry_by_entry(change, path, kind):
    """They are told in one finding as ever."""
    rng = np.random.default_rng(5)
    weights, x = rng.normal(size=(40, 30)) / 5, rng.normal(size=30)
    claim = change(np.cos(weights @ x)[:, None] * weights)

    report = gradproof.check(lambda x: np.sin(weights @ x), x, jac=claim, level="entries", rng=0)

    (found,) = report.findings
    assert found.path == path
    assert found.kind.startswith(kind)


def test_entries_at_kinks_are_not_wrong():
    """A valid subgradient stays one, entry by entry, too."""
    x = np.array([1.0, 0.0, 2.0, 3.0, -1.0, 4.0])
    jac = np.diag(np.sign(x))

    report = gradproof.check(np.abs, x, jac=jac, level="entries", rng=0)
    jac[3, 3] = 2  # wrong on purpose
    wrong = gradproof.check(np.abs, x, jac=jac, level="entries", rng=0)

    assert report.verdict is Verdict.NOT_DIFFERENTIABLE
    assert [finding.path for finding in wrong.findings if finding.severity == "error"] == ["jac[3, 3]"]


FINE = np.random.default_rng(6).normal(size=(50, 60)) / 8
LOW_POINT = np.random.default_rng(7).normal(size=60).astype(np.float32)


def low(x, offset=30):
    """float32 arithmetic with a large offset: the slopes drown."""
    return np.tanh(FINE.astype(np.float32) @ x) + np.float32(offset)


def high(x, offset=30):
    return np.tanh(FINE @ x) + offset


def lower(x):
    """Drowns along random directions, too, where some slopes add up."""
    return low(x, 1000)


def higher(x):
    return high(x, 1000)


def low_jac(x, factor=1.0):
    return (factor * (1 - np.tanh(FINE @ x.astype(float)) ** 2)[:, None] * FINE).astype(np.float32)


@pytest.mark.parametrize("level", ["certificate", "entries"])
@pytest.mark.parametrize("kind", ["jac", "vjp", "jvp"])
def test_a_reference_for_claims_of_every_kind(kind, level):
    """It narrows the bars of a float32 f, makes nothing WRONG, lets nothing wrong be CORRECT, and may be refused."""

    def claim(factor):
        return {
            "jac": lambda x: low_jac(x, factor),
            "vjp": lambda u, x: u @ low_jac(x, factor),
            "jvp": lambda v, x: low_jac(x, factor) @ v,
        }[kind]

    f, trusted = (low, high) if level == "entries" else (lower, higher)
    alone = gradproof.check(f, LOW_POINT, **{kind: claim(1)}, level=level, rng=0)
    helped = gradproof.check(f, LOW_POINT, **{kind: claim(1)}, reference=trusted, level=level, rng=0)
    slightly = gradproof.check(f, LOW_POINT, **{kind: claim(1.003)}, reference=trusted, level=level, rng=0)
    grossly = gradproof.check(f, LOW_POINT, **{kind: claim(-1)}, reference=trusted, level=level, rng=0)
    another = gradproof.check(f, LOW_POINT, **{kind: claim(1)}, reference=lambda x: 3 * trusted(x), level=level, rng=0)

    assert alone.verdict is Verdict.INCONCLUSIVE or level == "entries"
    assert helped.correct
    assert alone.leaves[0].bound is None or helped.leaves[0].bound < alone.leaves[0].bound
    assert slightly.verdict in (Verdict.CORRECT, Verdict.INCONCLUSIVE)
    assert not slightly.correct or slightly.leaves[0].bound > 0.003
    assert grossly.verdict is Verdict.WRONG
    assert another.verdict is not Verdict.CORRECT
    with pytest.raises(gradproof.FunctionError, match="50 numbers"):
        gradproof.check(f, LOW_POINT, **{kind: claim(1)}, reference=lambda x: trusted(x)[:3], level=level, rng=0)


def test_a_reference_for_second_differences():
    """A Hessian alone, of a float32 f, is CORRECT with the help of a double one, and only if the two agree."""
    x = np.linspace(-1, 1, 4).astype(np.float32)

    def hessian(x):
        return np.diag(-np.sin(x.astype(float))).astype(np.float32)

    def f(x):
        return np.float32(np.sum(np.sin(x)) + np.float32(50))

    def reference(x):
        return float(np.sum(np.sin(x)) + 50)

    assert gradproof.check(f, x, hess=hessian, rng=0).verdict is Verdict.INCONCLUSIVE
    assert gradproof.check(f, x, hess=hessian, reference=reference, rng=0).correct
    wrong = gradproof.check(f, x, hess=lambda x: 1.5 * hessian(x), reference=reference, rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG
    assert [finding.id for finding in wrong.findings] == ["GP101"] * len(wrong.findings)


def drowned_outputs(x):
    return 1e9 + 1e-4 * np.sin(MIX @ x)


@pytest.mark.parametrize("kind", ["jac", "vjp", "jvp"])
def test_the_complex_step_for_claims_of_every_kind(kind):
    """Outputs whose slopes drown in rounding are CORRECT by the complex step, and never by it WRONG."""
    x = np.linspace(0.2, 1, 6)

    def claim(factor):
        def jac(x):
            return factor * 1e-4 * np.cos(MIX @ x)[:, None] * MIX

        return {"jac": jac, "vjp": lambda u, x: u @ jac(x), "jvp": lambda v, x: jac(x) @ v}[kind]

    assert gradproof.check(drowned_outputs, x, **{kind: claim(1)}, rng=0).correct
    slightly = gradproof.check(drowned_outputs, x, **{kind: claim(1.02)}, rng=0)  # wrong on purpose
    assert slightly.verdict is Verdict.INCONCLUSIVE
    assert gradproof.check(drowned_outputs, x, **{kind: claim(3)}, rng=0).verdict is Verdict.WRONG  # wrong on purpose
    real = gradproof.check(lambda x: drowned_outputs(np.asarray(x, dtype=float)), x, **{kind: claim(1)}, rng=0)
    assert real.verdict is Verdict.INCONCLUSIVE


def test_levels_that_do_not_exist():
    """They are refused."""
    with pytest.raises(gradproof.UsageError, match="`level` must be"):
        gradproof.check(np.sum, np.ones(3), grad=np.ones_like, level="everything", rng=0)


def test_cases_can_be_copied_and_pickled():
    """A case is collected here and run elsewhere."""
    case = gradproof.Case(np.sum, np.ones(3), grad=np.ones_like, name="sum")

    for other in (copy.copy(case), copy.deepcopy(case), pickle.loads(pickle.dumps(case))):
        assert other.name == "sum"
        assert other.check(rng=1) == case.check(rng=1)


def test_another_point_is_suggested_where_this_one_proves_nothing():
    """At a stationary point or a kink `suggested_args` has the form of `args`, and a check there can tell."""

    def f(p, power):
        return float(np.sum(np.abs(p["x"]) ** power))

    def grad(p, power):
        return {"x": power * np.abs(p["x"]) ** (power - 1) * np.sign(p["x"])}

    for power in (1, 2):
        args = ({"x": np.zeros(7)}, power)
        report = gradproof.check(f, args, grad=grad, rng=3)
        moved, passed = report.suggested_args

        assert report.verdict is (Verdict.NOT_DIFFERENTIABLE if power == 1 else Verdict.CORRECT)
        assert passed == power
        assert moved["x"].shape == (7,)
        assert gradproof.check(f, report.suggested_args, grad=grad, rng=3).correct
        assert gradproof.Report.from_json(report.to_json()) == report
        assert not np.any(args[0]["x"])
    assert gradproof.check(f, moved_away(), grad=grad, rng=3).suggested_args is None


def moved_away():
    return {"x": np.linspace(0.2, 1, 7)}, 2


# ------------------------------------------------------------------------------------- a framework's own autodiff


def within(lower, upper):
    """The sum of sin over two arguments, a dict and a tensor, and where it was called."""
    torch = pytest.importorskip("torch")
    seen = []

    def f(p, y):
        if all(type(one) is torch.Tensor for one in (p["w"], y)):
            seen.append((p["w"].detach().clone(), p["b"].detach().clone(), y.detach().clone()))
        return torch.sin(p["w"]).sum() * torch.sin(p["b"]) + (y**2).sum()

    return f, seen


@pytest.mark.parametrize(
    ("wrt", "lower"),
    [
        (None, ({"w": 0.5, "b": None}, None)),
        (None, ({"w": np.full(3, 0.5), "b": None}, np.full(2, -9.0))),
        (0, {"w": 0.5, "b": None}),
        ((1, 0), (None, {"w": 0.5, "b": None})),
        ((0,), ({"w": 0.5, "b": None},)),
    ],
)
def test_a_domain_takes_the_form_of_what_is_differentiated(wrt, lower):
    """For torch's autodiff, too: by argument, by name, with None where there is no bound."""
    torch = pytest.importorskip("torch")
    f, seen = within(0.5, None)
    point = {"w": torch.tensor([0.5, 0.7, 0.9]).double(), "b": torch.tensor(0.4).double()}, torch.ones(2).double()

    report = gradproof.check(f, point, wrt=wrt, domain=(lower, None), modes=("rev",), rng=0)

    assert report.correct
    assert min(float(w.min()) for w, _, _ in seen) == 0.5
    assert min(float(b) for _, b, _ in seen) < 0.4


@pytest.mark.parametrize(
    ("wrt", "lower", "message"),
    [
        (None, {"w": 0.5, "b": None}, "a tuple of 2, for `p, y`"),
        (None, ({"w": 0.5}, None), "structure of `p, y`"),
        (None, ({"w": 0.5, "b": None, "c": 1.0}, None), r"`p\['c'\]` is none of its arrays"),
        (0, {"w": np.zeros(5), "b": None}, r"`p\['w'\]` does not broadcast to shape \(3,\)"),
        (0, 0.6, r"`p\['w'\]\[0\]` is 0.5"),
    ],
)
def test_domains_that_do_not_fit_an_autodiff(wrt, lower, message):
    """Each is refused, with what is wrong."""
    torch = pytest.importorskip("torch")
    point = {"w": torch.tensor([0.5, 0.7, 0.9]).double(), "b": torch.tensor(0.8).double()}, torch.ones(2).double()
    with pytest.raises(gradproof.UsageError, match=message):
        gradproof.check(within(0.5, None)[0], point, wrt=wrt, domain=(lower, None), modes=("rev",), rng=0)


def test_a_variable_of_an_autodiff_that_equal_bounds_hold():
    """It is noted, as it is for a claim."""
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.5, 1.0]).double()

    report = gradproof.check(torch.sin, x, domain=(np.array([0.5, 0.0]), np.array([0.5, 2.0])), modes=("rev",), rng=0)

    assert [(one.id, one.severity.value) for one in report.findings] == [("GP420", "note")]


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_reference_of_an_autodiff_makes_nothing_wrong_correct(framework):
    """What differences of f exclude stays WRONG; a reference of another function is a disagreement."""
    numbers = pytest.importorskip("torch" if framework == "torch" else "jax.numpy")
    point = (np.linspace(-1, 1, 20) + 0.003).astype(np.float32)
    x = numbers.asarray(point)
    flat = (lambda x: x.float()) if framework == "torch" else (lambda x: x.astype(np.float32))

    def f(x):
        return numbers.sum(numbers.sin(flat(x)) * 3) + 100_000.0

    usual = {"modes": ("rev",), "rng": 0}
    another = gradproof.check(f, x, reference=lambda x: 2 * double(np.asarray(x)), **usual)
    wrong = gradproof.check(
        lambda x: f(wrongly_negative(framework)(x)), x, reference=lambda x: double(np.asarray(x)), **usual
    )

    assert gradproof.check(f, x, reference=lambda x: double(np.asarray(x)), **usual).correct
    assert another.verdict is Verdict.INCONCLUSIVE
    assert another.reason is Reason.WITNESSES
    assert wrong.verdict is Verdict.WRONG
    with pytest.raises(gradproof.FunctionError, match=r"must return one (real )?number"):
        gradproof.check(f, x, reference=lambda x: np.asarray(x), **usual)


def wrongly_negative(framework):
    """The identity, with a derivative of -1."""
    if framework == "torch":
        import torch

        class Negative(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, g):
                return -g  # wrong on purpose

        return Negative.apply
    import jax

    @jax.custom_vjp
    def negative(x):
        return x * 1

    negative.defvjp(lambda x: (x * 1, None), lambda _, g: (-g,))  # wrong on purpose
    return negative
