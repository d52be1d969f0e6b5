"""Each contract by itself, on both sides of its limit, and what it says."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest

import gradproof
from gradproof import Severity, Verdict
from gradproof._claims._wording import write_breach
from gradproof._contracts import _products as products
from gradproof._contracts import find_aliases, fit_block, vanishing
from gradproof._contracts._dtype import check_dtype
from gradproof._contracts._finite import check_finite
from gradproof._contracts._shape import fit_shape
from gradproof._contracts._structure import match_claim
from helpers import finding, ids

EPS = float(np.finfo(np.float64).eps)
MATRIX = np.array([[2.0, -1.0, 0.5], [0.25, 3.0, 1.0]])
U = np.array([1.0, -2.0]), np.array([0.5, 3.0])
SIZE = np.array([1.0, 0.5, 2.0])


# ---------------------------------------------------------------------------------------------------------- products


def name(i, j):
    return f"H[{i}, {j}]"


def written(breach):
    return None if breach is None else write_breach(breach, name)


def linear(u):
    return u @ MATRIX


def by_pairs(product, keyword="vjp", *, size=SIZE, eps=EPS, rounding=0.0, vectors=U):
    one, other = ((u, product(u)) for u in vectors)
    return written(products.check_linear(keyword, product, one, other, size, eps, rounding))


def shifted(by):
    """A product that is `by` (weighted) away from zero at zero, and everywhere."""
    return lambda u: linear(u) + np.array([by, 0.0, 0.0]) / SIZE


def bent(by):
    """Zero at zero, as it should be; `by` (weighted) off the line where the first entry is above 1.5."""
    return lambda u: linear(u) + np.array([0.0, 0.0, by]) / SIZE * float(u[0] > 1.5)


def test_a_linear_product_has_no_finding():
    assert by_pairs(linear) is None
    assert by_pairs(lambda u: None if not u.any() else linear(u)) is None  # (one that cannot be had is no mistake)
    one, other = ((u, linear(u)) for u in U)
    assert products.check_linear("vjp", lambda u: None, one, other, SIZE, EPS) is None
    assert products.check_linear("vjp", lambda u: linear(u) if u.any() else None, one, other, SIZE, EPS) is None


@pytest.mark.parametrize(("build", "share"), [(shifted, 1 - 0.75 + 1.5), (bent, 0.75)])
@pytest.mark.parametrize(("eps", "least"), [(EPS, 1e-5), (1e-7, 1e-3)])
def test_linearity_is_asked_as_far_as_solvers_converge(build, share, eps, least):
    """1e-5 of the terms, or 10,000 roundings; what rounding may do besides comes on top, and not in its place.

    The products of u1, u2 and 0.75 u1 - 1.5 u2 are compared, which here are off by `by`, 0 or `by`, and 0 or `by`.
    """
    vectors = np.array([2.0, -2.0]), np.array([1.0, 3.0])
    limit = least * sum(float(np.linalg.norm(SIZE * linear(u))) for u in vectors)

    def found(times, rounding=0.0):
        product = build(times * limit / share)
        return by_pairs(product, eps=eps, vectors=vectors, rounding=rounding * limit)

    assert found(0.95) is None
    assert (found(1.05).id, found(1.05).severity) == ("GP205", Severity.ERROR)
    assert found(1.05, rounding=0.1) is None
    assert found(1.15, rounding=0.1) is not None


@pytest.mark.parametrize(
    ("keyword", "id", "word"), [("vjp", "GP205", "cotangent"), ("jvp", "GP206", "tangent"), ("hvp", "GP206", "tangent")]
)
def test_the_three_ways_not_to_be_linear_are_told_apart(keyword, id, word):
    constant = by_pairs(lambda u: np.array([1.0, 2.0, 3.0]), keyword)  # wrong on purpose
    affine = by_pairs(lambda u: linear(u) + 1.0, keyword)  # wrong on purpose
    square = by_pairs(lambda u: (u * u) @ MATRIX, keyword)  # wrong on purpose
    assert [(one.id, one.path) for one in (constant, affine, square)] == [(id, keyword)] * 3
    assert constant.kind == f"`{keyword}` ignores its {word}"
    assert constant.advice == f"the result must be multiplied by the {word}."
    assert affine.kind == f"`{keyword}` is not linear in its {word}: it is not zero for a {word} of zeros"
    assert affine.advice == f"look for a term that does not contain the {word}."
    assert square.kind == f"`{keyword}` is not linear in its {word}"
    assert square.advice == f"every term must contain the {word} exactly once."


def test_equal_vectors_have_equal_products():
    """That says nothing about a product that ignores its vector."""
    found = by_pairs(lambda u: linear(u) + 1.0, vectors=(U[0], U[0]))  # wrong on purpose
    assert found.kind.endswith("it is not zero for a cotangent of zeros")


def hessian(off, at=(0, 2)):
    matrix = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 4.0]])
    matrix[at] += off
    return matrix


def allowed(matrix, size, least, at, eps):
    scaled = matrix * size[:, None] * size[None, :]
    norms = np.sqrt(np.linalg.norm(scaled, axis=0) * np.linalg.norm(scaled, axis=1))
    beside = max(least * np.sqrt(norms[at[0]] * norms[at[1]]), 4096 * eps * np.abs(scaled).max())
    return beside / (size[at[0]] * size[at[1]])


@pytest.mark.parametrize(("eps", "least"), [(EPS, 1e-6), (1e-7, 1e-3)])
@pytest.mark.parametrize("at", [(0, 2), (2, 0), (1, 2)])
def test_symmetry_is_asked_beside_the_row_and_the_column(eps, least, at):
    """1e-6 of their norms in natural units, or 10,000 roundings; and at least 4,096 roundings of the largest entry."""
    limit = allowed(hessian(0.0), SIZE, least, at, eps)
    assert written(products.check_symmetric("hess", hessian(0.95 * limit, at), SIZE, eps)) is None
    found = written(products.check_symmetric("hess", hessian(1.05 * limit, at), SIZE, eps))
    assert (found.id, found.severity, found.path) == ("GP207", Severity.ERROR, "hess")
    i, j = sorted(at)
    assert found.kind.startswith(f"not symmetric: H[{i}, {j}] is ")
    assert f", H[{j}, {i}] is " in found.kind
    assert "such pairs" not in found.kind


def test_the_largest_of_the_pairs_that_are_not_symmetric_is_named():
    matrix = hessian(0.1)
    matrix[2, 1] += 0.5
    found = written(products.check_symmetric("hess", matrix, np.ones(3), EPS))
    assert found.kind == "not symmetric: H[1, 2] is -1, H[2, 1] is -0.5, the largest of 2 such pairs"
    assert written(products.check_symmetric("hess", np.zeros((0, 0)), np.ones(0), EPS)) is None
    assert written(products.check_symmetric("hess", np.diag([1.0, 2.0]), np.ones(2), EPS)) is None


@pytest.mark.parametrize(("eps", "least"), [(EPS, 1e-6), (1e-7, 1e-3)])
def test_symmetry_of_products_is_asked_beside_their_terms(eps, least):
    vectors = [np.array([1.0, 2.0, -1.0]), np.array([0.5, -1.0, 2.0])]

    def found(off):
        pairs = [(v, hessian(off) @ v) for v in vectors]
        return written(products.check_symmetric_product("hvp", pairs, SIZE, eps))

    (u, hu), (v, hv) = [(v, hessian(0.0) @ v) for v in vectors]
    scale = np.linalg.norm(u / SIZE) * np.linalg.norm(SIZE * hv) + np.linalg.norm(v / SIZE) * np.linalg.norm(SIZE * hu)
    limit = least * scale / abs(u[0] * v[2] - v[0] * u[2])
    assert found(0.95 * limit) is None
    wrong = found(1.05 * limit)
    assert (wrong.id, wrong.severity, wrong.path) == ("GP207", Severity.ERROR, "hvp")
    assert products.check_symmetric_product("hvp", [(u, hu)], SIZE, eps) is None
    three = [(w, hessian(0.5) @ w) for w in (np.array([0.0, 1.0, 0.0]), *vectors)]
    assert written(products.check_symmetric_product("hvp", three, SIZE, eps)).id == "GP207"


@pytest.mark.parametrize(("eps", "least"), [(EPS, 1e-6), (1e-7, 1e-3)])
@pytest.mark.parametrize("sign", [1, -1])
def test_adjoints_are_asked_to_agree_beside_their_terms(eps, least, sign):
    assert products.check_adjoint("jac", 3.0, 3.0 + 0.95 * sign * least * 20, 20.0, eps) is None
    found = written(products.check_adjoint("jac", 3.0, 3.0 + 1.05 * sign * least * 20, 20.0, eps))
    assert (found.id, found.severity, found.path) == ("GP208", Severity.ERROR, "jac")
    assert "<u, A v> is 3," in found.kind


# ------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("shape", "given", "readable", "advice"),
    [
        ((3, 2), (2, 3), False, "`.T` fits"),
        ((3,), (3, 1), True, "`.ravel()` fits"),
        ((3,), (1, 3), True, "`.ravel()` fits"),
        ((3, 1), (3,), True, "`.reshape(3, 1)` fits"),
        ((2, 6), (3, 4), False, "`.reshape(2, 6)` fits"),
        ((3,), (5, 3), False, "`.sum(axis=0)` fits"),
        ((3,), (3, 5), False, "`.sum(axis=1)` fits"),
        ((3,), (5, 3, 4), False, "`.sum(axis=(0, 2))` fits"),
        ((1, 3), (5, 3), False, "`.sum(axis=0, keepdims=True)` fits"),
        ((1, 3, 1), (5, 3, 4), False, "`.sum(axis=(0, 2), keepdims=True)` fits"),
        ((3,), (4,), False, "A gradient has the shape of the array it belongs to."),
        ((3,), (), False, "`np.full((3,), ...)` fits, if all entries are the same"),
        ((), (3,), False, "`.sum(axis=0)` fits"),
        ((2, 2), (3,), False, "A gradient has the shape of the array it belongs to."),
    ],
)
def test_a_shape_that_does_not_fit_is_told_what_would(shape, given, readable, advice):
    """The numbers are measured where only axes of length 1 differ."""
    fitted, found = fit_shape("w", shape, np.arange(float(np.prod(given))).reshape(given))
    assert (found.id, found.severity, found.path) == ("GP201", Severity.ERROR, "w")
    assert found.kind == f"claimed gradient of shape {given} for an array of shape {shape}"
    assert found.advice.startswith(advice)
    assert (fitted is not None) == readable
    if readable:
        assert fitted.shape == shape


@pytest.mark.parametrize(("shape", "given"), [((3, 2), (3, 2)), ((), ()), ((1,), ()), ((1, 1), ())])
def test_a_shape_that_fits_has_no_finding(shape, given):
    """A number stands for an array with one entry."""
    fitted, found = fit_shape("w", shape, np.ones(given))
    assert found is None
    assert fitted.shape == shape


@pytest.mark.parametrize(
    ("output", "leaf", "given", "readable", "advice"),
    [
        ((4,), (2, 3), (6, 4), False, "`.T` fits"),
        ((4,), (2, 3), (2, 3, 4), False, "`np.moveaxis(..., (0, 1), (-2, -1))` fits"),
        ((4,), (2, 3), (4, 3, 2), False, "`.reshape(4, 2, 3)` fits"),
        ((4,), (2, 3), (4, 1, 6), True, "`.reshape(4, 2, 3)` fits"),
        ((4,), (2, 3), (1, 4, 2, 3), True, "`.reshape(4, 2, 3)` fits"),
        (
            (4,),
            (2, 3),
            (5, 6),
            False,
            "Its shape should be (4, 2, 3), that of the output and then of the array, or (4, 6).",
        ),
    ],
)
def test_a_block_that_does_not_fit_is_told_what_would(output, leaf, given, readable, advice):
    block, found = fit_block("w", output, leaf, np.zeros(given))
    assert (found.id, found.severity) == ("GP201", Severity.ERROR)
    assert found.advice.startswith(advice)
    assert (block is not None) == readable
    if readable:
        assert block.shape == (4, 6)


@pytest.mark.parametrize("given", [(4, 2, 3), (4, 6)])
def test_a_block_that_fits_has_no_finding(given):
    block, found = fit_block("w", (4,), (2, 3), np.zeros(given))
    assert found is None
    assert block.shape == (4, 6)


@pytest.mark.parametrize(("shape", "entry"), [((2, 2, 2, 3), (1, 0, 0, 2)), ((4, 6), (2, 2))])
def test_an_entry_of_a_jacobian_is_named_as_the_claim_has_it(shape, entry):
    x = np.arange(1.0, 7.0).reshape(2, 3)
    jacobian = np.zeros((2, 2, 2, 3))
    for i, j in np.ndindex(2, 2):
        jacobian[i, j, i, j] = np.cos(x[i, j])
    claims = [lambda x, by=by: (jacobian + by).reshape(shape) for by in (0.0, np.eye(24)[14].reshape(2, 2, 2, 3))]

    right, wrong = (gradproof.check(lambda x: np.sin(x)[:, :2], x, jac=claim, rng=0) for claim in claims)

    assert right.verdict is Verdict.CORRECT
    assert [(one.id, one.path, one.entries) for one in wrong.findings] == [("GP101", f"jac{list(entry)}", (entry,))]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.CORRECT), (2.0, Verdict.WRONG)])
def test_a_jacobian_of_lower_precision_is_measured_all_the_same(factor, verdict):
    x = np.array([0.5, 1.0, 2.0])
    report = gradproof.check(np.square, x, jac=lambda x: np.diag(2 * factor * x).astype(np.float32), rng=0)

    assert report.verdict is verdict
    assert finding(report, "GP404").severity is Severity.NOTE


# -------------------------------------------------------------------------------------------------- types and numbers


def about(gradient, *, dtype="float64", is_complex=False, may_be_complex=False):
    origin = types.SimpleNamespace(path="w", is_complex=is_complex, dtype=dtype)
    leaf = types.SimpleNamespace(numpy_dtype=np.dtype(dtype if not is_complex else "float64"))
    return check_dtype(origin, leaf, np.asarray(gradient), may_be_complex=may_be_complex)


@pytest.mark.parametrize(
    ("gradient", "options", "id"),
    [
        (np.ones(2), {}, None),
        (np.ones(2, int), {}, None),
        (np.ones(2, bool), {}, None),
        (np.ones(2, np.uint8), {}, None),
        (np.ones(2, np.longdouble), {}, None),
        (np.ones(2, np.float32), {}, "GP404"),
        (np.ones(2, np.float16), {"dtype": "float32"}, "GP404"),
        (np.ones(2, np.float32), {"dtype": "float32"}, None),
        (np.ones(2, np.float64), {"dtype": "float32"}, None),
        (np.ones(2, complex), {}, "GP404"),
        (np.array([1.0, 2.0 + 1e-9j]), {}, "GP204"),
        (np.array([1.0, 2.0 + 1j]), {"is_complex": True}, None),
        (np.array([1.0, 2.0 + 1j]), {"may_be_complex": True}, None),
        (np.ones(2, np.complex64), {"is_complex": True}, "GP404"),
        (np.array([1.0, None], object), {}, "GP204"),
        (np.array(["1", "2"]), {}, "GP204"),
    ],
)
def test_types_that_a_gradient_may_have(gradient, options, id):
    found = about(gradient, **options)
    assert (None if found is None else found.id) == id
    if found is not None:
        assert found.severity is (Severity.ERROR if id == "GP204" else Severity.NOTE)
        assert found.path == "w"
        assert gradient.dtype.name in found.kind
        if id == "GP204":
            assert found.advice.startswith(
                "The gradient with respect to a real array" if gradient.dtype == complex else "Return floats"
            )
        if id == "GP404":
            is_real = gradient.dtype.kind == "c" and not options
            assert ("`.real`" in found.advice) == is_real
            assert found.kind.startswith("claimed as " if is_real else "claimed in ")


@pytest.mark.parametrize(
    ("gradient", "entries", "text", "claimed"),
    [
        ([1.0, np.nan, 2.0], ((1,),), "in 1 of 3 entries", np.nan),
        ([np.inf, 1.0, -np.inf], ((0,), (2,)), "in 2 of 3 entries", np.inf),
        ([[1.0, -np.inf], [np.nan, np.nan]], ((0, 1), (1, 0), (1, 1)), "in 3 of 4 entries", -np.inf),
        ([np.nan] * 5, ((0,), (1,), (2,)), "in 5 of 5 entries", np.nan),
        (np.nan, (), "here", np.nan),
        ([1.0, complex(2.0, np.inf)], ((1,),), "in 1 of 2 entries", np.inf),
        ([1.0, complex(-np.inf, 2.0)], ((1,),), "in 1 of 2 entries", -np.inf),
    ],
)
def test_entries_that_are_not_finite_are_named(gradient, entries, text, claimed):
    """The first three, with the first of the values."""
    found = check_finite("w", np.asarray(gradient))
    assert (found.id, found.severity, found.path) == ("GP203", Severity.ERROR, "w")
    assert found.entries == entries
    assert found.kind == f"the claimed gradient is not finite {text}"
    np.testing.assert_equal(found.claimed, claimed)
    assert check_finite("w", np.ones(np.shape(gradient))) is None


# ---------------------------------------------------------------------------------------------------------- structure


def match(claim, keys, *, shapes=None, roots=("p",), is_tuple=False):
    paths = ["p" + "".join(f"[{k!r}]" for k in key[1:]) for key in keys]
    shapes = [(2,)] * len(keys) if shapes is None else shapes
    return match_claim(claim, paths=paths, keys=keys, shapes=shapes, roots=roots, is_tuple=is_tuple, keyword="grad")


def test_a_claim_is_matched_by_path():
    two = np.ones(2)
    found = match({"b": 2 * two, "a": two}, [(0, "a"), (0, "b")])
    assert found.finding is None
    assert [float(found.gradients[i][0]) for i in (0, 1)] == [1.0, 2.0]
    listed = match([1.0, 2.0], [(0,)])
    assert listed.finding is None
    assert listed.gradients[0].tolist() == [1.0, 2.0]
    assert match([[1.0, 2.0], [3.0]], [(0,)]).finding is not None
    assert match([np.ones(2), np.ones(2)], [(0,)]).finding is not None
    assert match(["a", "b"], [(0,)]).finding is not None


@dataclasses.dataclass
class Gradient:
    a: object


A = np.ones(2)


@pytest.mark.parametrize(
    ("claim", "keys", "options", "kind", "advice"),
    [
        (None, [(0,)], {}, "`grad` returned None", "did you forget `return`?"),
        ({"a": np.ones(2)}, [(0, "a"), (0, "b")], {}, "missing: p['b']", "A claim has the structure of the"),
        (
            {"a": np.ones(2), "z": np.ones(2)},
            [(0, "a")],
            {},
            "extra: p['z']",
            "leave it out: a claim has a gradient for",
        ),
        ({"a": np.ones(2), "b": None}, [(0, "a"), (0, "b")], {}, "missing: p['b']", "`grad` gives None for p['b']: "),
        (
            {"delta_a": np.ones(2)},
            [(0, "a")],
            {},
            "missing: p['a']; extra: p['delta_a']",
            "name each gradient as its par",
        ),
        (
            {"da": np.ones(2), "b": A},
            [(0, "a"), (0, "b")],
            {},
            "missing: p['a']; ",
            "name each gradient as its parameter",
        ),
        (
            {"da": np.ones(2)},
            [(0, "a"), (0, "b")],
            {},
            "missing: p['a'], p['b']; ",
            "name each gradient as its parameter",
        ),
        ({"da": np.ones(2), "dda": A}, [(0, "a"), (0, "da")], {}, "missing: p['a']; ", "A claim has the structure"),
        ({"da": A, "grad_a": A}, [(0, "a")], {}, "missing: p['a']; extra: p['da'], p['g", "name each gradient as its"),
        ({"dW": [A, A]}, [(0, "W", 0)], {}, "extra: p['dW'][1]", "leave it out"),
        ({"Weight": np.ones(2)}, [(0, "weights")], {}, "missing: p['weights']", "name each gradient as its parameter"),
        ({"Weight": np.ones(3)}, [(0, "weights")], {}, "missing: p['weights']", "A claim has the structure of the"),
        ((np.ones(2), np.ones(3)), [(0,)], {}, "missing: p", "`grad` gives a tuple of 2, but one argument is diff"),
        (
            np.ones(2),
            [(0, 0), (0, 1)],
            {},
            "missing: p[0], p[1]; extra: p",
            "`p` holds 2 arrays, the claim has one array",
        ),
        (
            np.ones(4),
            [(0, "a"), (0, "b")],
            {},
            "missing: p['a'], p['b']; extra: p",
            "`p` holds 2 arrays, the claim has one",
        ),
        (
            (A, A),
            [(0, "a"), (0, "b")],
            {},
            "missing: p['a'], p['b']; extra: p[0], p[1]",
            "the claim is a tuple: return `{'a'",
        ),
        (
            {"a": A, "b": A},
            [(0,)],
            {},
            "missing: p; extra: p['a'], p['b']",
            "the point is one array, the claim is a dict",
        ),
        (
            Gradient(A),
            [(0, "a")],
            {},
            "missing: p['a']; extra: p",
            "the claim has a Gradient there: return `dataclasses.a",
        ),
        (
            np.ones(2),
            [(0,), (1,)],
            {"roots": ("p", "q"), "is_tuple": True},
            "`grad` gives a ndarray, not a tuple of 2",
            "a tup",
        ),
        (
            (np.ones(2),),
            [(0,), (1,)],
            {"roots": ("p", "q"), "is_tuple": True},
            "`grad` gives a tuple of 1, not a tuple of 2",
            "a tuple in `wrt` asks for one gradient per argument.",
        ),
    ],
)
def test_what_a_claim_lacks_or_has_too_much_of_is_said(claim, keys, options, kind, advice):
    found = match(claim, keys, **options)
    assert (found.finding.id, found.finding.severity) == ("GP202", Severity.ERROR)
    assert found.finding.path == ", ".join(options.get("roots", ("p",)))
    assert found.finding.kind.startswith(kind)
    assert found.finding.advice.startswith(advice)


@pytest.mark.parametrize(
    ("claim", "keys", "kind"),
    [
        ({"dW": A, "db": 2 * A}, [(0, "W"), (0, "b")], "compared under other names: 'dW' as 'W', 'db' as 'b'"),
        ({"b_grad": 2 * A, "W_grad": A}, [(0, "W"), (0, "b")], "compared under other names: 'b_grad' as 'b', 'W_grad'"),
        ({"grad_W": A, "grad_b": 2 * A, "grad_c": None}, [(0, "W"), (0, "b")], "compared under other names: 'grad_W'"),
        ({"gW": A, "gb": 2 * A}, [(0, "W"), (0, "b")], "compared under other names"),
        (
            {"dl1": {"dW": A}, "dl2": {"db": 2 * A}},
            [(0, "l1", "W"), (0, "l2", "b")],
            "compared under other names: 'dl1' as",
        ),
        (
            {"l1": {"dW": A}, "l2": {"b": 2 * A}},
            [(0, "l1", "W"), (0, "l2", "b")],
            "compared under other names: 'dW' as 'W'",
        ),
        ({"dl": [A, 2 * A]}, [(0, "l", 0), (0, "l", 1)], "compared under other names: 'dl' as 'l'"),
    ],
)
def test_gradients_may_all_be_named_after_their_parameters(claim, keys, kind):
    found = match(claim, keys)
    assert found.finding is None
    assert [float(found.gradients[i][0]) for i in range(2)] == [1.0, 2.0]
    (note,) = found.notes
    assert (note.id, note.severity, note.path) == ("GP411", Severity.NOTE, "p")
    assert note.kind.startswith(kind)


def test_names_of_gradients_that_are_parameters_are_their_own():
    """A momentum beside its array is one of the parameters."""
    found = match({"W": A, "dW": 2 * A}, [(0, "W"), (0, "dW")])
    assert (found.finding, found.notes) == (None, ())
    assert found.gradients[1].tolist() == [2.0, 2.0]


def test_what_is_left_beside_renamed_gradients_is_extra():
    """The gradients of activations that the published assignment returns, too."""
    found = match({"dW": A, "db": A, "dZ": A}, [(0, "W"), (0, "b")])
    assert found.finding.kind == "extra: p['dZ']"
    assert sorted(found.gradients) == [0, 1]
    assert [note.id for note in found.notes] == ["GP411"]


@pytest.mark.parametrize(
    ("claim", "keys", "shape", "is_taken"),
    [
        (A, [(0, 0), (0, 1)], (), True),
        (np.eye(2), [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)], (), True),
        (np.eye(2), [(0, 0), (0, 1)], (2,), True),
        ({"a": A}, [(0, "a", 0), (0, "a", 1)], (), True),
        (np.ones(3), [(0, 0), (0, 1)], (), False),
        (np.eye(2), [(0, 0), (0, 1)], (), False),
        (A, [(0, "a"), (0, "b")], (), False),
    ],
)
def test_an_array_may_stand_for_a_list_of_its_shape(claim, keys, shape, is_taken):
    found = match(claim, keys, shapes=[shape] * len(keys))
    assert (found.finding is None) == is_taken
    assert [note.id for note in found.notes] == ["GP412"] * is_taken
    assert len(found.gradients) == len(keys) * is_taken
    assert all(gradient.shape == shape for gradient in found.gradients.values())


def test_a_list_that_stands_for_an_array_is_noted():
    assert [note.id for note in match([1.0, 2.0], [(0,)]).notes] == ["GP412"]
    assert match(A, [(0,)]).notes == ()
    assert match([1.0, 2.0], [(0, 0), (0, 1)], shapes=[(), ()]).notes == ()


@pytest.mark.parametrize(
    ("count", "advice"), [(1, "return the gradient itself."), (2, "pass `wrt=(0, 1)`, or return one of them.")]
)
def test_a_tuple_for_one_argument_is_told_what_to_return(count, advice):
    found = match((np.ones(3),) * count, [(0,)]).finding
    assert found.advice == f"`grad` gives a tuple of {count}, but one argument is differentiated: {advice}"


def test_a_few_of_many_are_listed():
    keys = [(0, f"w{k}") for k in range(9)]
    (missing,) = match({}, keys[:1]).finding.kind.split("; ")
    assert missing == "missing: p['w0']"
    assert match({}, keys[:6]).finding.kind == "missing: " + ", ".join(f"p['w{k}']" for k in range(6))
    assert match({}, keys).finding.kind == "missing: " + ", ".join(f"p['w{k}']" for k in range(6)) + " and 3 more"
    renamed = match({f"delta_w{k}": np.ones(2) for k in range(9)}, keys).finding.advice
    assert renamed.startswith("name each gradient as its parameter: rename 'delta_w0' to 'w0', 'delta_w1' to 'w1'")
    assert renamed.endswith("'delta_w5' to 'w5' and 3 more.")


# ---------------------------------------------------------------------------------------------------------- vanishing


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_what_vanishes_is_told_beside_the_largest_size(scale):
    sizes = np.array([0.5, -2.0, np.nan]) * scale, scale, np.inf
    assert vanishing(EPS, *sizes) == 4096 * EPS * 2 * scale
    assert vanishing(0.25, *sizes) == 2 * scale
    assert vanishing(EPS) == vanishing(EPS, np.zeros(0)) == 0.0


# ------------------------------------------------------------------------------------------------------------ aliases


def origins(*values):
    return [types.SimpleNamespace(path=f"a{i}", value=value, size=np.size(value)) for i, value in enumerate(values)]


def test_shared_memory_is_noted_once_and_for_the_later_one():
    base = np.arange(12.0)
    apart = base[:4], base[4:8], base[8:], np.ones(3)
    assert find_aliases(origins(*apart)) == []
    assert find_aliases(origins(base[::2], base[1::2])) == []
    found = find_aliases(origins(base[6:], np.ones(2), base[:8]))
    assert [(one.id, one.severity, one.path, one.kind) for one in found] == [
        ("GP401", Severity.NOTE, "a2", "shares memory with a0")
    ]
    assert found[0].advice.endswith("a tied parameter has one gradient, the sum of both.")
    tied = np.ones(3)
    assert [one.path for one in find_aliases(origins(tied, 1.0, tied))] == ["a2"]
    assert find_aliases(origins(base[:0], base[:0])) == []
    assert [one.path for one in find_aliases(origins(base, base[2:3], base[10:]))] == ["a1", "a2"]


# --------------------------------------------------------------------------------------------- in place, from outside


def test_what_f_and_the_claim_change_in_place_is_told_apart():
    def changes(x):
        x[0] += 1
        return float(np.sum(x))

    def claim(x):
        x[1] += 1
        return np.ones(3)

    by_f = finding(gradproof.check(changes, np.zeros(3), grad=np.ones(3), rng=0), "GP210")
    assert (by_f.severity, by_f.path, by_f.kind) == (Severity.ERROR, "x", "f changes `x` in place")
    assert by_f.advice == "Work on a copy of `x` in f: the caller's arrays must stay as they are."
    report = gradproof.check(lambda x: float(np.sum(x)), np.zeros(3), grad=claim, rng=0)
    assert (report.verdict, ids(report)) == (Verdict.WRONG, ["GP211"])
    assert finding(report, "GP211").kind == "`grad` changes `x` in place"
    assert finding(report, "GP211").advice == "Work on a copy of `x` in `grad`."


# ------------------------------------------------------------------------------------------------- what is no claim


@pytest.mark.parametrize("length", [60, 61, 200])
def test_what_is_no_claim_is_shown_in_sixty_characters(length):
    text = "w" * (length - 2)
    with pytest.raises(gradproof.UsageError) as raised:
        gradproof.check(lambda x: float(np.sum(x)), np.zeros(3), grad=text, rng=0)
    shown = repr(text) if length == 60 else repr(text)[:57] + "..."
    assert len(shown) == 60
    assert str(raised.value) == f"`grad` must be a callable or a tree of numbers, got {shown}."
