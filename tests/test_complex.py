"""Complex parameters and outputs: the conventions, their names when a claim follows another one, and the dtypes."""

from __future__ import annotations

import collections
import pickle
from typing import Any

import numpy as np
import pytest

import gradproof
from gradproof import FunctionError, Report, UsageError, Verdict, check
from helpers import ids, snapshot

Point = collections.namedtuple("Point", ["w", "b"])


def draw(seed: int, *shape: int) -> Any:
    """Standard complex normal numbers."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


Z = draw(0, 3, 4)
V5 = draw(1, 5)
A = draw(2, 6, 5)  # tall, so that it can be told from its transpose
H = draw(3, 5, 5) + draw(3, 5, 5).conj().T


# ---------------------------------------------------------------------- real functions, with closed-form gradients


def abs2(z: Any) -> Any:
    return np.sum(np.abs(z) ** 2)


def abs2_grad(z: Any) -> Any:
    return 2 * z


def wavy(z: Any) -> Any:
    """Not holomorphic, and no function of |z| alone."""
    return np.sum(np.abs(z) ** 2 * np.sin(z.real))


def wavy_grad(z: Any) -> Any:
    return 2 * z * np.sin(z.real) + np.abs(z) ** 2 * np.cos(z.real)


def real_part_of_exp(z: Any) -> Any:
    return np.sum(np.exp(z)).real


def real_part_of_exp_grad(z: Any) -> Any:
    """Of Re(h), h holomorphic: conj(h')."""
    return np.exp(z).conj()


def spectrum(z: Any) -> Any:
    """Sum of |FFT|**4."""
    return np.sum(np.abs(np.fft.fft(z)) ** 4)


def spectrum_grad(z: Any) -> Any:
    y = np.fft.fft(z)
    return np.fft.ifft(4 * np.abs(y) ** 2 * y) * z.shape[-1]


def product(z: Any) -> Any:
    """|Z Z^H|**2 and a term that is linear."""
    return np.sum(np.abs(z @ z.conj().T) ** 2) + np.sum(z * (1 + 2j)).imag


def product_grad(z: Any) -> Any:
    return 4 * z @ z.conj().T @ z + 1j * np.full(z.shape, 1 + 2j).conj()


REAL = [(abs2, abs2_grad), (wavy, wavy_grad), (real_part_of_exp, real_part_of_exp_grad)]
REAL += [(spectrum, spectrum_grad), (product, product_grad)]


def conjugated(grad: Any) -> Any:
    return lambda *args: np.conj(grad(*args))


def halved(grad: Any) -> Any:
    return lambda *args: grad(*args) / 2


@pytest.mark.parametrize(("f", "grad"), REAL)
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_gradient_is_by_real_plus_i_by_imaginary_part(f, grad, dtype, order):
    """df/dx + i df/dy is CORRECT; f and claim get arrays of the user's dtype and memory order."""
    z = np.array(Z / 2, dtype=dtype, order=order)
    before = snapshot(z)
    seen: list[Any] = []

    def watched(z: Any) -> Any:
        seen.append((type(z), z.dtype, z.flags.f_contiguous))
        return f(z)

    report = check(watched, z, grad=grad, rng=0)
    assert report.correct or (dtype is np.complex64 and report.verdict is Verdict.INCONCLUSIVE)
    assert [leaf.path for leaf in report.leaves] == ["z.real", "z.imag"]
    assert {leaf.dtype for leaf in report.leaves} == {"float64" if dtype is np.complex128 else "float32"}
    assert set(seen) == {(np.ndarray, np.dtype(dtype), order == "F")}
    assert snapshot(z) == before


@pytest.mark.parametrize(("f", "grad"), REAL)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (conjugated, "follows the convention of jax.grad: the conjugate of the true gradient"),
        (halved, "is the Wirtinger derivative df/d conj(z), half of the true gradient"),
        (
            lambda grad: conjugated(halved(grad)),
            "is the Wirtinger derivative df/dz, half of the conjugate of the true gradient",
        ),
        (lambda grad: lambda z: 1j * grad(z), "claimed i times the true gradient"),
        (lambda grad: lambda z: -1j * grad(z), "claimed -i times the true gradient"),
        (lambda grad: lambda z: 2 * grad(z), "claimed 2 times the true gradient"),
    ],
)
def test_other_conventions_are_wrong_and_named(f, grad, wrong, words):
    """One finding for the array, not one for each part. All of these are wrong on purpose."""
    report = check(f, Z, grad=wrong(grad), rng=0)
    assert report.verdict is Verdict.WRONG
    (finding,) = report.findings
    assert (finding.id, finding.path, finding.place) == ("GP101", "z", "everywhere")
    assert finding.kind == words
    assert finding.claimed is not None
    assert finding.reference is not None
    assert finding.error_bar is not None
    assert abs(finding.claimed - finding.reference) > finding.error_bar
    assert any(leaf.verdict is Verdict.WRONG and leaf.note for leaf in report.leaves)


@pytest.mark.parametrize(("wrong", "name"), [(conjugated, "jax.grad"), (halved, "df/d conj(z)")])
def test_conventions_are_named_in_low_precision(wrong, name):
    """The bars of float32 are wide, and still several directions leave no doubt."""
    (finding,) = check(wavy, Z.astype(np.complex64), grad=wrong(wavy_grad), rng=0).findings
    assert finding.path == "z"
    assert name in finding.kind


@pytest.mark.parametrize("z", [1.5 + 2j, np.complex128(1.5 + 2j), np.complex64(1.5 + 2j), np.array(1.5 + 2j)])
def test_lone_numbers(z):
    """Python's complex numbers, NumPy's scalars and 0-d arrays keep their kind, and conventions are named."""
    kinds: set[type] = set()

    def f(z: Any) -> Any:
        kinds.add(type(z))
        return abs(z) ** 2 * z.real

    def grad(z: Any) -> Any:
        return 2 * z * z.real + abs(z) ** 2

    assert check(f, z, grad=grad, rng=0).correct
    assert kinds == {type(z)}
    report = check(f, z, grad=lambda z: grad(z).conjugate(), rng=0)  # wrong on purpose
    assert report.verdict is Verdict.WRONG
    if np.asarray(z).dtype == np.complex128:
        assert [(finding.path, finding.kind[:7]) for finding in report.findings] == [("z", "follows")]


def test_a_single_wrong_entry_keeps_its_place():
    """A mistake in the imaginary part of one entry is not taken for a convention."""

    def grad(z: Any) -> Any:
        g = wavy_grad(z)
        g[1, 3] += 0.25j  # wrong on purpose
        return g

    (finding,) = check(wavy, Z, grad=grad, rng=0).findings
    assert finding.path == "z.imag[1, 3]"
    assert finding.claimed == pytest.approx(finding.reference + 0.25)


def test_missing_imaginary_part():
    """A claim that is real where it should be complex is named so; where it should be real, it is right, and noted."""
    report = check(wavy, Z, grad=lambda z: wavy_grad(z).real, rng=0)  # wrong on purpose
    assert report.verdict is Verdict.WRONG
    (finding,) = report.findings
    assert finding.path == "z.imag"
    assert finding.kind.startswith("the imaginary part is missing")

    report = check(lambda z: np.sum(z.real**2), Z, grad=lambda z: 2 * z.real, rng=0)
    assert report.correct
    assert [leaf.note for leaf in report.leaves] == ["", "flat: f does not change"]


def test_right_numbers_in_another_shape():
    """Both parts are WRONG, as a real array is; those of an array beside it in its own shape are not."""

    def f(z, w):
        return float(np.sum(np.abs(z) ** 2 + np.abs(w) ** 2))

    def reshaped(z, w):
        return (2 * z)[:, None], 2 * w  # wrong on purpose

    z, w = np.array([1 + 2j, 0.5 - 1j]), np.array([2 + 0.1j, 1 - 1j])
    report = check(f, (z, w), grad=reshaped, wrt=(0, 1), rng=0)

    assert ids(report) == ["GP201"]
    of = {leaf.path: leaf.verdict for leaf in report.leaves}
    assert of == dict.fromkeys(["z.real", "z.imag"], Verdict.WRONG) | dict.fromkeys(
        ["w.real", "w.imag"], Verdict.CORRECT
    )


def test_parts_that_do_not_matter():
    """Where a part of the gradient is zero, its sign has no meaning: no convention is guessed from it."""
    for part in (np.real, np.imag):
        unit = 1.0 if part is np.real else 1j

        def f(z: Any, part: Any = part) -> Any:
            return np.sum(part(z) ** 3)

        def grad(z: Any, part: Any = part, unit: Any = unit) -> Any:
            return 3 * part(z) ** 2 * unit

        assert check(f, Z, grad=grad, rng=0).correct
        report = check(f, Z, grad=lambda z, grad=grad: -grad(z), rng=0)  # wrong on purpose
        assert report.verdict is Verdict.WRONG
        (finding,) = (one for one in report.findings if one.id == "GP101")
        assert finding.factor == -1
        assert "jax" not in finding.kind


ON_AXES = [Z.real + 0j, 1j * Z.imag, Z.real + 1e-9j * Z.imag, np.where(Z.real > 0, Z, 0)]


@pytest.mark.parametrize("z", ON_AXES)
def test_points_on_an_axis(z):
    """An imaginary part of 0, or a tiny one, is moved as far as |z| tells."""
    assert check(wavy, z, grad=wavy_grad, rng=0).correct
    assert not check(wavy, z, grad=halved(wavy_grad), rng=0).correct  # wrong on purpose
    report = check(lambda z: np.sum(np.exp(1j * z)).real, z, grad=lambda z: (1j * np.exp(1j * z)).conj(), rng=0)
    assert report.correct
    assert all(leaf.note or (leaf.bound is not None and leaf.bound < 1e-5) for leaf in report.leaves)


def test_branch_cut():
    """On the branch cut of log there is no derivative: neither CORRECT nor an accusation; beside it all is well."""
    cut = np.array([-1.0 + 0j, -2.0 + 1j])
    assert check(lambda z: np.log(z).imag.sum(), cut, grad=lambda z: (-1j / z).conj(), rng=0).verdict in (
        Verdict.INCONCLUSIVE,
        Verdict.NOT_DIFFERENTIABLE,
    )
    assert check(lambda z: np.log(z).imag.sum(), cut + 0.5j, grad=lambda z: (-1j / z).conj(), rng=0).correct


def test_kink_of_the_modulus():
    """|z| has a kink at 0; 0 is a subgradient of it, and 3 is none."""
    z = np.array([0j, 1 + 1j])

    def grad(z: Any) -> Any:
        return np.array([0, (1 + 1j) / np.sqrt(2)])

    assert check(lambda z: np.abs(z).sum(), z, grad=grad, rng=0).verdict is Verdict.NOT_DIFFERENTIABLE
    wrong = check(lambda z: np.abs(z).sum(), z, grad=lambda z: grad(z) + np.array([3, 0]), rng=0)  # wrong on purpose
    assert wrong.verdict is Verdict.WRONG


# ------------------------------------------------------------------------------------------------------- trees

TREE = {"w": draw(4, 2, 3), "scale": np.array([0.5, -1.5]), "b": 0.5 - 1j}


def layer(p: Any) -> Any:
    return np.sum(np.abs(p["w"].sum(axis=1) * p["scale"] + p["b"]) ** 2)


def layer_grad(p: Any) -> Any:
    error = 2 * (p["w"].sum(axis=1) * p["scale"] + p["b"])
    return {
        "w": np.repeat((error * p["scale"])[:, None], 3, axis=1),
        "scale": (error.conj() * p["w"].sum(axis=1)).real,
        "b": complex(error.sum()),
    }


def test_real_and_complex_arrays_together():
    """Each is held to its own convention, and named by its own path."""
    report = check(layer, TREE, grad=layer_grad, rng=0)
    assert report.correct
    paths = ["p['w'].real", "p['w'].imag", "p['scale']", "p['b'].real", "p['b'].imag"]
    assert [leaf.path for leaf in report.leaves] == paths

    all_conjugated = {key: np.conj(value) for key, value in layer_grad(TREE).items()}  # wrong on purpose
    report = check(layer, TREE, grad=all_conjugated, rng=0)
    (finding,) = report.findings
    assert (finding.path, finding.place) == ("p['w']", "everywhere, and `p['b']`")

    one_conjugated = {**layer_grad(TREE), "b": np.conj(layer_grad(TREE)["b"])}  # wrong on purpose
    (finding,) = check(layer, TREE, grad=one_conjugated, rng=0).findings
    assert finding.path == "p['b']"
    assert "conjugate" in finding.kind

    conjugated_and_halved = {**one_conjugated, "w": layer_grad(TREE)["w"] / 2}  # wrong on purpose
    findings = check(layer, TREE, grad=conjugated_and_halved, rng=0).findings
    assert {finding.path: finding.kind.split()[0] for finding in findings} == {"p['w']": "is", "p['b']": "follows"}


def test_other_mistakes_beside_a_convention():
    """A wrong real array keeps its own finding beside that of a complex one."""
    claimed = {**layer_grad(TREE), "scale": 3 * layer_grad(TREE)["scale"]}  # wrong on purpose
    claimed["w"] = claimed["w"].conj()
    findings = {finding.path: finding for finding in check(layer, TREE, grad=claimed, rng=0).findings}
    assert findings["p['scale']"].factor == 3
    assert "jax.grad" in findings["p['w']"].kind


def test_complex_claim_of_a_real_gradient():
    """An imaginary part of 0 is noted, any other is an error."""
    claimed = {**layer_grad(TREE), "scale": layer_grad(TREE)["scale"] + 0j}
    report = check(layer, TREE, grad=claimed, rng=0)
    assert report.correct
    assert [(one.id, one.path) for one in report.findings] == [("GP404", "p['scale']")]
    claimed["scale"] = claimed["scale"] + 1e-9j  # wrong on purpose
    report = check(layer, TREE, grad=claimed, rng=0)
    assert [(one.id, one.path) for one in report.findings] == [("GP204", "p['scale']")]


def test_containers_subclasses_and_empty_arrays():
    """Named tuples, subclasses of arrays and arrays without entries come as they were."""

    class Signal(np.ndarray):
        pass

    point = Point(w=Z.copy().view(Signal), b=np.zeros((0, 2), complex))
    seen: set[type] = set()

    def f(p: Any) -> Any:
        seen.update((type(p), type(p.w)))
        return abs2(np.asarray(p.w)) + abs2(p.b)

    report = check(f, point, grad=lambda p: Point(2 * p.w, 2 * p.b), rng=0)
    assert report.correct
    assert seen == {Point, Signal}
    assert [leaf.note for leaf in report.leaves][2:] == ["empty: nothing to check"] * 2


def test_form_of_complex_gradients():
    """Shape, finiteness, structure and precision are held against the array, not against its parts."""
    assert [(one.id, one.path) for one in check(abs2, Z, grad=2 * Z.ravel(), rng=0).findings] == [("GP201", "z")]
    report = check(abs2, Z, grad=np.where(Z[1, 2] == Z, complex(0, np.nan), 2 * Z), rng=0)
    assert [(one.id, one.path, one.entries) for one in report.findings] == [("GP203", "z", ((1, 2),))]
    assert ids(check(layer, TREE, grad={**layer_grad(TREE), "b": None}, rng=0)) == ["GP202"]
    report = check(abs2, Z, grad=lambda z: (2 * z).astype(np.complex64), rtol=1e-5, rng=0)
    assert [(one.id, one.path) for one in report.findings] == [("GP404", "z")]
    assert "GP204" in ids(check(abs2, Z, grad=Z.astype(object), rng=0))


def test_changes_in_place_and_shared_memory():
    """Both are reported of the array."""

    def f(z: Any) -> Any:
        z *= 2  # wrong on purpose
        return abs2(z)

    z = Z.copy()
    report = check(f, z, grad=lambda z: 8 * z, rng=0)
    assert [(one.id, one.path) for one in report.findings] == [("GP210", "z")]
    assert np.array_equal(z, Z)
    report = check(lambda p: abs2(p[0]) + abs2(p[1]), [z, z[1:]], grad=lambda p: [2 * p[0], 2 * p[1]], rng=0)
    assert [(one.id, one.path) for one in report.findings] == [("GP401", "p[1]")]


def test_points_that_cannot_be_used():
    """What is not finite or not representable is an error that names the part."""
    with pytest.raises(UsageError, match=r"`z.imag\[1\]` is inf"):
        check(abs2, np.array([1j, complex(0, np.inf)]), grad=abs2_grad, rng=0)
    with pytest.raises(UsageError, match="complex128"):
        check(abs2, Z.astype(np.clongdouble), grad=abs2_grad, rng=0)
    with pytest.raises(FunctionError, match="claim its complex derivative as `jac`"):
        check(lambda z: np.sum(z**2), Z, grad=abs2_grad, rng=0)


# ------------------------------------------------------------------------------------------ options and reports


def test_domain():
    """Complex arrays have no bounds, other arrays beside them may."""
    lower = {"w": None, "scale": np.array([0.4, -2.0]), "b": None}
    for domain in ((0.0, None), (lower | {"w": 0.0}, None)):
        with pytest.raises(UsageError, match=r"`p\['w'\]` is complex"):
            check(layer, TREE, grad=layer_grad, domain=domain, rng=0)
    assert check(layer, TREE, grad=layer_grad, domain=(lower, None), rng=0).correct
    free = {"w": None, "scale": None, "b": None}
    assert check(layer, TREE, grad=layer_grad, domain=(free, None), rng=0).correct
    with pytest.raises(UsageError, match="structure"):
        check(layer, TREE, grad=layer_grad, domain=({"w": None, "b": None}, None), rng=0)


def test_level_reference_and_suggestion():
    """The options of `grad` work with complex arrays; a suggested point is of the same kind."""
    report = check(wavy, Z, grad=wavy_grad, level="entries", rng=0)
    assert (report.correct, report.level) == (True, "entries")
    single = Z.astype(np.complex64)
    seen: set[Any] = set()

    def reference(z: Any) -> Any:
        seen.add(z.dtype)
        return wavy(z)

    assert check(wavy, single, grad=wavy_grad, reference=reference, rng=0).correct
    assert seen <= {np.dtype(np.complex128)}
    report = check(lambda z: np.sum(np.minimum(np.abs(z), 0.1)), np.array([9j, 9]), grad=lambda z: 0 * z, rng=0)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.suggested_args.dtype == np.complex128
    assert report.suggested_args.shape == (2,)


def test_reports_read_back_and_replay():
    """JSON, text and pickled cases work as for real arrays, and a seed replays the check."""
    for grad in (wavy_grad, conjugated(wavy_grad)):
        report = check(wavy, Z, grad=grad, rng=7)
        assert Report.from_json(report.to_json()) == report
        assert check(wavy, Z, grad=grad, rng=7).to_json(run=False) == report.to_json(run=False)
        assert "z.imag" in str(report)
    case = gradproof.Case(wavy, Z, grad=wavy_grad, rng=1)
    assert pickle.loads(pickle.dumps(case)).check() == case.check()


# ---------------------------------------------------------------------------------------------- complex outputs


def linear(z: Any) -> Any:
    return A @ z


def bent(z: Any) -> Any:
    """Not holomorphic."""
    return np.exp(A @ z / 4) + (A @ z).conj() * 2


def bent_jvp(v: Any, z: Any) -> Any:
    return np.exp(A @ z / 4) * (A @ v) / 4 + (A @ v).conj() * 2


def bent_vjp(u: Any, z: Any) -> Any:
    return A.conj().T @ (np.exp(A @ z / 4).conj() * u) / 4 + 2 * A.conj().T @ u.conj()


def test_products():
    """vjp is the gradient of Re(conj(u) f), jvp the derivative along v, whether f is holomorphic or not."""
    for z in (V5, V5.astype(np.complex64)):
        assert check(linear, z, vjp=lambda u, z: A.conj().T @ u, rng=0).correct
        assert check(linear, z, jvp=lambda v, z: A @ v, rng=0).correct
    assert check(bent, V5, vjp=bent_vjp, rng=0).correct
    assert check(bent, V5, jvp=bent_jvp, rng=0).correct
    big = draw(5, 80)
    assert check(np.exp, big, jvp=lambda v, z: np.exp(z) * v, rng=0).correct
    assert check(np.fft.fft, big, vjp=lambda u, z: np.fft.ifft(u) * 80, rng=0).correct


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"vjp": lambda u, z: bent_vjp(u.conj(), z).conj()}, "follows the convention of jax.vjp"),
        ({"vjp": lambda u, z: bent_vjp(u, z).conj()}, "is the conjugate of the true vjp"),
        ({"vjp": lambda u, z: bent_vjp(u.conj(), z)}, "takes the conjugate of its cotangent"),
        ({"jvp": lambda v, z: bent_jvp(v, z).conj()}, "is the conjugate of the true jvp"),
        ({"jvp": lambda v, z: bent_jvp(v.conj(), z)}, "is the derivative along the conjugate of the tangent"),
        ({"jvp": lambda v, z: bent_jvp(v.conj(), z).conj()}, "multiplies with the conjugate of the Jacobian"),
    ],
)
def test_products_in_other_conventions_are_named(claim, words):
    """All of these are wrong on purpose."""
    report = check(bent, V5, **claim, rng=0)
    assert report.verdict is Verdict.WRONG
    (finding,) = report.findings
    assert finding.path == "z"
    assert finding.kind.startswith(words)


def test_real_input_of_a_complex_function():
    """df = J dx with a complex J; the vjp is real."""
    x = V5.real.copy()
    assert check(linear, x, jac=lambda x: A, rng=0).correct
    assert check(linear, x, jvp=lambda v, x: A @ v, rng=0).correct
    assert check(linear, x, vjp=lambda u, x: (A.conj().T @ u).real, rng=0).correct
    assert ids(check(linear, x, vjp=lambda u, x: A.conj().T @ u, rng=0)) == ["GP204"]  # wrong on purpose
    (finding,) = check(linear, x, vjp=lambda u, x: (A.T @ u).real, rng=0).findings  # wrong on purpose
    assert "as jax.vjp does" in finding.kind
    (finding,) = check(linear, x, jac=A.conj(), rng=0).findings  # wrong on purpose
    assert (finding.path, finding.kind) == ("jac", "is the conjugate of the true Jacobian")


@pytest.mark.parametrize(
    ("f", "derivative"),
    [(np.exp, np.exp), (np.square, lambda z: 2 * z), (np.log, lambda z: 1 / z), (np.sin, np.cos)],
)
def test_jacobian_of_a_holomorphic_function(f, derivative):
    """It is the complex derivative, df = J dz; its conjugate, its half and a wrong entry are told apart."""

    def jac(z: Any) -> Any:
        return np.diag(derivative(z))

    assert check(f, V5, jac=jac, rng=0).correct
    (finding,) = check(f, V5, jac=conjugated(jac), rng=0).findings  # wrong on purpose
    assert (finding.path, finding.kind) == ("jac", "is the conjugate of the true Jacobian")
    (finding,) = check(f, V5, jac=halved(jac), rng=0).findings  # wrong on purpose
    assert finding.factor == 0.5
    for step, part in ((0.5, "jac.real[2, 1]"), (0.5j, "jac.imag[2, 1]")):
        wrong = jac(V5)
        wrong[2, 1] += step  # wrong on purpose
        report = check(f, V5, jac=wrong, rng=0)
        assert [finding.path for finding in report.findings] == [part]


@pytest.mark.parametrize("f", [np.conj, lambda z: np.abs(z) ** 2 + 0j, lambda z: z * z.real, lambda z: z + 1j * z.real])
def test_no_jacobian_where_f_is_not_holomorphic(f):
    """No complex matrix is right, and the finding says why."""
    for jac in (np.eye(5), np.diag(V5), np.diag(2 * V5.conj())):
        report = check(f, V5, jac=jac, rng=0)
        assert report.verdict is Verdict.WRONG
        (finding,) = report.findings
        assert (finding.id, finding.path) == ("GP209", "jac")
        assert "vjp" in finding.advice


def test_jacobian_of_real_outputs():
    """Its rows are gradients; the rows of jax.jacrev are conjugated."""

    def moduli(z: Any) -> Any:
        return np.abs(A @ z) ** 2

    def jac(z: Any) -> Any:
        return 2 * (A @ z)[:, None] * A.conj()

    assert check(moduli, V5, jac=jac, rng=0).correct
    report = check(moduli, V5, jac=conjugated(jac), rng=0)  # wrong on purpose
    (finding,) = report.findings
    assert finding.path == "jac"
    assert "conjugate" in finding.kind


def mixed(p: Any) -> Any:
    return {"c": p["z"] ** 2 * p["x"], "r": np.abs(p["z"]) ** 2 + p["x"]}


def mixed_jac(p: Any) -> Any:
    z, x = p["z"], p["x"]
    return {
        "c": {"z": np.diag(2 * z * x), "x": np.diag(z**2)},
        "r": {"z": np.diag(2 * z), "x": np.eye(3)},
    }


def test_jacobian_of_trees():
    """Every block has the convention of its own output and input."""
    p = {"z": draw(6, 3), "x": np.array([1.0, -2.0, 0.5])}
    assert check(mixed, p, jac=mixed_jac, rng=0).correct
    wrong = mixed_jac(p)
    wrong["c"]["x"][1, 1] += 1j  # wrong on purpose
    (finding,) = check(mixed, p, jac=wrong, rng=0).findings
    assert finding.path == "jac['c']['x'].imag[1, 1]"
    wrong = mixed_jac(p)
    wrong["r"]["x"] = wrong["r"]["x"] + 1j  # wrong on purpose
    assert "GP204" in ids(check(mixed, p, jac=wrong, rng=0))


def test_other_forms_of_a_jacobian():
    """One matrix for all outputs, a sparse one; a linear operator is refused with what to do."""

    def two(z: Any) -> Any:
        return [z[:2] ** 2, z[2:] ** 3]

    derivative = np.diag(np.concatenate([2 * V5[:2], 3 * V5[2:] ** 2]))
    assert check(two, V5, jac=derivative, rng=0).correct

    class Sparse:
        shape = A.shape

        def toarray(self) -> Any:
            return A

    assert check(linear, V5, jac=Sparse(), rng=0).correct

    class Operator:
        shape = A.shape

        def matvec(self, v: Any) -> Any:
            return A @ v

    with pytest.raises(UsageError, match="pass its products as `vjp` or `jvp`"):
        check(linear, V5, jac=Operator(), rng=0)


def test_outputs_that_turn_complex():
    """Complex at the point counts as complex everywhere; real there and complex elsewhere is an error."""
    x = np.ones(2) + 1j

    def f(z: Any) -> Any:
        return z**2 if z[0] == x[0] else np.real_if_close(z**2)

    assert check(f, x, jvp=lambda v, z: 2 * z * v, rng=0).correct
    with pytest.raises(FunctionError, match="complex numbers here and real ones at x"):
        check(lambda x: np.emath.sqrt(x - 1), np.ones(2), jac=np.eye(2), rng=0)


# ------------------------------------------------------------------------------------------------- second order


def quadric(z: Any) -> Any:
    return (z.conj() @ H @ z).real + np.sum(z.real**3)


def quadric_grad(z: Any) -> Any:
    return 2 * H @ z + 3 * z.real**2


def quadric_hvp(v: Any, z: Any) -> Any:
    return 2 * H @ v + 6 * z.real * v.real


def test_second_order():
    """hvp is the derivative of the gradient along v; a Hessian is refused."""
    assert check(quadric, V5, grad=quadric_grad, hvp=quadric_hvp, rng=0).correct
    assert check(quadric, V5, hvp=quadric_hvp, rng=0).correct
    lone = check(lambda z: abs(z) ** 4, 1 + 2j, grad=lambda z: 4 * abs(z) ** 2 * z, hvp=lone_hvp, rng=0)
    assert lone.correct
    for wrong, words in ((conjugated, "the conjugate of the true hvp"), (halved, "df/d conj(z)")):
        report = check(quadric, V5, grad=quadric_grad, hvp=wrong(quadric_hvp), rng=0)  # wrong on purpose
        assert report.verdict is Verdict.WRONG
        (finding,) = report.findings
        assert words in finding.kind
        assert check(quadric, V5, hvp=wrong(quadric_hvp), rng=0).verdict is Verdict.WRONG
    with pytest.raises(UsageError, match="`hvp`"):
        check(quadric, V5, grad=quadric_grad, hess=lambda z: 2 * H, rng=0)


def lone_hvp(v: Any, z: Any) -> Any:
    return 4 * abs(z) ** 2 * v + 8 * (z.conjugate() * v).real * z


# ------------------------------------------------------------------------------------------------- many functions


def random_function(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """A random f: C^n -> R of holomorphic and other parts, its gradient, and a point."""
    n, k = int(rng.choice([1, 2, 5, 12])), int(rng.integers(1, 5))

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    inner, outer, weights = normal(k, n) / np.sqrt(n), normal(k, n) / np.sqrt(n), normal(k)
    h, dh = ((np.exp, np.exp), (np.sin, np.cos), (np.square, lambda y: 2 * y))[rng.integers(3)]
    point = normal(n) * 10.0 ** rng.uniform(-1, 0.3)
    point = (point, point.real + 0j, 1j * point.imag)[rng.integers(3)]

    def f(z: Any) -> Any:
        return np.sum((weights.conj() * h(inner @ z)).real) + np.sum(np.log1p(np.abs(outer @ z) ** 2))

    def grad(z: Any) -> Any:
        y = outer @ z
        return inner.conj().T @ (weights * dh(inner @ z).conj()) + 2 * outer.conj().T @ (y / (1 + np.abs(y) ** 2))

    return f, grad, point


@pytest.mark.parametrize("seed", range(30))
def test_no_false_alarm_and_no_miss_on_random_functions(seed):
    """Right gradients are CORRECT and never WRONG; the conjugate and the half are WRONG, by name."""
    f, grad, point = random_function(np.random.default_rng(seed))
    assert check(f, point, grad=grad, rng=seed).correct
    assert check(f, point.astype(np.complex64), grad=grad, rng=seed).verdict in (
        Verdict.CORRECT,
        Verdict.INCONCLUSIVE,
    )
    for wrong, words in ((conjugated, "jax.grad"), (halved, "df/d conj(z)")):
        report = check(f, point, grad=wrong(grad), rng=seed)  # wrong on purpose
        assert [(finding.id, finding.path) for finding in report.findings] == [("GP101", "z")]
        assert words in report.findings[0].kind


def test_a_vjp_that_is_wrong_all_over_is_one_finding():
    """No convention and no factor explains it: that every entry is wrong is said once."""
    rng = np.random.default_rng(0)
    matrix, other = (rng.normal(size=(6, 5)) + 1j * rng.normal(size=(6, 5)) for _ in range(2))
    z = rng.normal(size=5) + 1j * rng.normal(size=5)
    report = gradproof.check(lambda z: np.sin(matrix @ z), z, vjp=lambda u, z: other.T @ u, rng=0)
    assert [(one.path, one.place) for one in report.findings] == [("z", "everywhere")]
