"""What torch's own gradcheck takes: empty, sparse, scripted and other tensors and modules; the right and the wrong."""

import numpy as np
import pytest

import gradproof
from gradproof import GradproofWarning, UsageError, Verdict
from gradproof._base import _pieces

torch = pytest.importorskip("torch")

import gradproof.torch  # noqa: E402
from gradproof.compat.torch import GradcheckError, gradcheck, gradgradcheck  # noqa: E402

DOUBLE = torch.float64

# torch's own, where tensors of these kinds are made.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(beta state|invariant checks|nested tensors is in prototype|torch.jit)", "ignore::DeprecationWarning"
)


def drawn(*shape, dtype=DOUBLE, seed=0):
    return torch.as_tensor(np.random.default_rng((seed, *shape)).standard_normal(shape)).to(dtype)


class Scaled(torch.autograd.Function):
    """2 x, whose gradient is `factor` times what it should be."""

    @staticmethod
    def forward(x, factor):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, u):
        return 2 * ctx.factor * u, None


def doubled(factor):
    return lambda x: Scaled.apply(x, factor).sin()


RIGHT_AND_WRONG = pytest.mark.parametrize("factor", [1.0, 1.5])  # 1.5: wrong on purpose


def passes(check, f, x, **options):
    """True where it passes, False where it is WRONG."""
    if check(f, x, raise_exception=False, **options):
        return True
    with pytest.raises(GradcheckError, match=r"^WRONG"):
        check(f, x, **options)
    return False


# ------------------------------------------------------------------------------------------------ nothing to look at


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_tensors_pass(check, dtype, shape):
    assert check(torch.exp, torch.empty(shape, dtype=dtype, requires_grad=True))


def test_an_empty_complex_tensor_hides_nothing_beside_it():
    empty = torch.empty(0, dtype=torch.complex128, requires_grad=True)
    x = drawn(3).requires_grad_()

    assert gradcheck(lambda empty, x: doubled(1.0)(x) + empty.real.sum(), (empty, x))
    assert not passes(gradcheck, lambda empty, x: doubled(1.5)(x) + empty.real.sum(), (empty, x))


@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_tensors_that_store_nothing_pass(layout):
    blocks = {"blocksize": (2, 2)} if layout[0] == "b" else {}
    x = torch.zeros(4, 4, dtype=DOUBLE).to_sparse(layout=getattr(torch, f"sparse_{layout}"), **blocks)

    assert gradcheck(lambda x: x.to_dense(), x.requires_grad_(), masked=True)


def test_empty_arrays_of_jax_pass():
    jax = pytest.importorskip("jax")
    import functools as ft

    from gradproof.compat.jax import check_grads, check_jvp, check_vjp

    empty = jax.numpy.zeros((0, 3))
    check_grads(jax.numpy.sin, (empty,), order=2)
    check_jvp(jax.numpy.sin, ft.partial(jax.jvp, jax.numpy.sin), (empty,))
    check_vjp(jax.numpy.sin, ft.partial(jax.vjp, jax.numpy.sin), (empty,))
    check_grads(lambda x: x[:0], (jax.numpy.ones(3),), order=1)


# --------------------------------------------------------------------------------------------------- unusual tensors


def test_gradients_that_torch_knows_to_be_zero():
    """They come out of the backward of `sgn` without memory of their own."""
    assert gradgradcheck(torch.sgn, drawn(3).requires_grad_())
    report = gradproof.check(torch.sgn, drawn(3), order=2, rng=0)
    assert report.verdict is not Verdict.WRONG


@RIGHT_AND_WRONG
@pytest.mark.parametrize("layout", ["bsr", "bsc"])
@pytest.mark.parametrize("masked", [True, False])
def test_blocks(layout, masked, factor):
    dense = torch.zeros(4, 4, dtype=DOUBLE)
    dense[:2, :2] = drawn(2, 2)
    x = dense.to_sparse(layout=getattr(torch, f"sparse_{layout}"), blocksize=(2, 2)).requires_grad_()

    def f(x):
        return doubled(factor)(x.to_dense())

    # (Unmasked, the gradient at entries that are not stored is left out by `to_dense`, as torch says as well.)
    found = passes(gradcheck, f, x, masked=masked)
    assert found is (masked and factor == 1)


@RIGHT_AND_WRONG
def test_mkldnn_tensors(factor):
    if not torch.backends.mkldnn.is_available():
        return
    x = drawn(3, 2, dtype=torch.float32).to_mkldnn().requires_grad_()

    found = passes(gradcheck, lambda x: doubled(factor)(x.to_dense()), x, atol=1e-2, rtol=1e-2)
    assert found is (factor == 1)


class Named(torch.Tensor):
    pass


@RIGHT_AND_WRONG
def test_subclasses_and_views_of_larger_storage(factor):
    views = [
        drawn(6).as_subclass(Named),
        drawn(20).as_strided((3, 2), (5, 2), 3),
        drawn(2, 3, 2, 2).to(memory_format=torch.channels_last),
    ]
    for x in views:
        assert passes(gradcheck, doubled(factor), x.requires_grad_()) is (factor == 1)
        report = gradproof.check(doubled(factor), x, rng=0)
        assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)


class Scales(torch.autograd.Function):
    """x, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(x, factor):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, cotangent):
        return ctx.factor * cotangent, None

    @staticmethod
    def jvp(ctx, tangent, _):
        return ctx.factor * tangent


def reaching(factor, *place):
    """A function of what lies at some place in the storage of its argument."""

    def f(x):
        seen = Scales.apply(x.as_strided(*place), factor)
        return seen.sin() * seen.sum()

    return f


@RIGHT_AND_WRONG
@pytest.mark.parametrize(
    ("check", "options"),
    [
        (gradcheck, {}),
        (gradcheck, {"check_forward_ad": True, "check_backward_ad": False}),
        (gradcheck, {"check_batched_grad": True}),
        (gradgradcheck, {}),
        (gradgradcheck, {"check_fwd_over_rev": True, "check_rev_over_rev": False, "check_undefined_grad": False}),
    ],
)
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_a_function_sees_the_memory_around_its_input(factor, check, options, dtype):
    memory = drawn(40, dtype=dtype)
    x = memory.as_strided((3, 2), (5, 2), 3).requires_grad_()

    # (Twelve entries from the second on, of which five are entries of x, and what lies before x.)
    for place in [((4, 3), (7, 1), 1), ((2, 2), (3, 1), 2)]:
        f = square_of(reaching(factor, *place))
        assert passes(check, f, x, **options) is (factor == 1)


def square_of(f):
    return lambda x: f(x) * f(x)


@RIGHT_AND_WRONG
def test_an_output_that_is_rounding_is_not_accused(factor):
    """The imaginary parts on the diagonal of an inverse that is Hermitian, next to a pole."""
    generator = np.random.default_rng(0)
    q, _ = np.linalg.qr(generator.standard_normal((5, 5)) + 1j * generator.standard_normal((5, 5)))
    x = torch.as_tensor((q * np.array([-2.1, -1.1, 0.0355, 1.6, 2.3])) @ q.conj().T / 2)

    def f(x):
        return Scales.apply(torch.linalg.pinv(x + x.mH, hermitian=True), factor)

    for seed in (0, 3):
        report = gradproof.check(f, x, modes=("rev",), rng=seed)
        assert (report.verdict is Verdict.WRONG) is (factor != 1)


def test_the_memory_around_an_input_is_read_and_not_written():
    memory = drawn(12)
    x = memory[4:8].requires_grad_()
    before, seen = memory.detach().clone(), []

    def f(x):
        around = x.as_strided((12,), (1,), 0)
        seen.append(around.detach().clone())
        with torch.no_grad():
            around[:4] = 7.0
        return (x * around[8:]).sum()

    assert gradcheck(f, x)
    assert torch.equal(memory, before)
    assert all(torch.equal(one[:4], before[:4]) and torch.equal(one[8:], before[8:]) for one in seen[1:])


def test_only_parts_of_larger_storage_are_looked_around():
    calls = []

    def f(x):
        calls.append(x)
        return x.sin()

    counts = {}
    for name, x in [("whole", drawn(4)), ("part", drawn(8)[2:6])]:
        calls.clear()
        assert gradcheck(f, x.requires_grad_())
        counts[name] = len(calls)
        assert all(x.untyped_storage().nbytes() == 4 * 8 for x in (calls[0], calls[-1]))
    assert counts["part"] == counts["whole"] + 1


def test_check_says_what_a_copy_has_not():
    x = drawn(12)[4:8]

    with pytest.raises(gradproof.FunctionError, match=r"f is called with copies.*`x`, part of a larger storage"):
        gradproof.check(reaching(1, (12,), (1,), 0), x, rng=0)
    with pytest.raises(gradproof.FunctionError) as caught:
        gradproof.check(reaching(1, (12,), (1,), 0), drawn(4), rng=0)
    assert "copies" not in str(caught.value)


def test_nested_tensors_are_refused_in_words():
    nested = torch.nested.nested_tensor([drawn(2), drawn(3)]).requires_grad_()

    with pytest.raises(ValueError, match="a nested tensor cannot be checked: make it inside func"):
        gradcheck(lambda x: x.to_padded_tensor(0.0), nested)
    with pytest.raises(UsageError, match="a nested tensor has no gradient of one shape"):
        gradproof.check(lambda x: x.to_padded_tensor(0.0), nested, rng=0)
    assert gradcheck(
        lambda x: torch.nested.as_nested_tensor([x, 2 * x]).to_padded_tensor(0.0), drawn(3).requires_grad_()
    )


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.register_buffer("shift", torch.ones(2))

    def forward(self, x):
        return torch.tanh(self.linear(x)) + self.shift


def test_scripted_and_traced_modules():
    layer = Layer().double()
    for module in (torch.jit.script(layer), torch.jit.trace(layer, drawn(2, 3))):
        assert gradcheck(module, drawn(2, 3).requires_grad_())
        report = gradproof.check(lambda x, module=module: doubled(1.5)(module(x)), drawn(2, 3), modes=("rev",), rng=0)
        assert report.verdict is Verdict.WRONG


# --------------------------------------------------------------------------------------------------- large problems


class Pushed(torch.autograd.Function):
    """A square whose forward rule is `factor` times what it should be."""

    factor = 1.0

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, u):
        return 2 * ctx.saved_tensors[0] * u

    @staticmethod
    def jvp(ctx, v):
        return 2 * Pushed.factor * ctx.saved_tensors[0] * v


@RIGHT_AND_WRONG
@pytest.mark.parametrize("f", [lambda x: Pushed.apply(x).sum(), lambda x: Pushed.apply(x).view(4, 10).sum(1)])
def test_default_modes_of_many_entries(f, factor, monkeypatch):
    monkeypatch.setattr(_pieces, "LARGE", 20)
    monkeypatch.setattr(_pieces, "CHUNK", 64)
    monkeypatch.setattr(Pushed, "factor", factor)
    report = gradproof.check(f, torch.linspace(0.3, 2, 40, dtype=DOUBLE), rng=0)

    verdicts = {mode.mode: mode.verdict for mode in report.modes}
    assert verdicts["rev"] is Verdict.CORRECT
    assert verdicts["fwd"] is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)


# ------------------------------------------------------------------------------------------ shapes, graphs and batches


class Product(torch.autograd.Function):
    """x @ w, whose gradient for w has `columns` columns."""

    @staticmethod
    def forward(ctx, x, w, columns):
        ctx.save_for_backward(x, w)
        ctx.columns = columns
        return x @ w

    @staticmethod
    def backward(ctx, u):
        x, w = ctx.saved_tensors
        of_w = x.T @ u
        return u @ w.T, (of_w if ctx.columns == 2 else of_w[:, :1].expand(-1, ctx.columns)), None


@pytest.mark.parametrize("columns", [2, 5])  # 5: wrong on purpose
def test_a_backward_that_returns_a_wrong_shape_is_wrong(columns):
    def f(x, w):
        return Product.apply(x, w, columns)

    report = gradproof.check(f, (drawn(4, 3), drawn(3, 2)), rng=0)

    assert report.verdict is (Verdict.CORRECT if columns == 2 else Verdict.WRONG)
    found = [(one.id, one.path, one.kind) for one in report.findings]
    kind = "claimed gradient of shape (3, 5) for an array of shape (3, 2)"
    assert found == ([] if columns == 2 else [("GP201", "w", kind)])
    assert passes(gradcheck, f, (drawn(4, 3).requires_grad_(), drawn(3, 2).requires_grad_())) is (columns == 2)


@pytest.mark.parametrize("is_detached", [False, True])
def test_a_loss_that_lost_its_graph_is_wrong(is_detached):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()

    def loss(model, batch):
        value = model(batch).square().mean()
        return value.detach() if is_detached else value

    report = gradproof.torch.check_module(model, loss, drawn(4, 3), rng=0)

    assert report.verdict is (Verdict.WRONG if is_detached else Verdict.CORRECT)
    assert [one.id for one in report.findings] == (["GP121", "GP121"] if is_detached else [])


class Weighted(torch.autograd.Function):
    """x times the sum of w, with a rule for batches by hand: `kind` says what is wrong with it."""

    @staticmethod
    def forward(x, w, kind):
        return x * w.sum()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx, u):
        x, w = ctx.saved_tensors
        return u * w.sum(), (u * x).sum() * torch.ones_like(w), None

    @staticmethod
    def vmap(info, dims, x, w, kind):
        x = x.movedim(dims[0], 0) if dims[0] is not None and kind != "axis" else x
        w = w.movedim(dims[1], 0) if dims[1] is not None and kind != "axis" else w
        if kind == "sum":
            return x * w.sum(), 0  # wrong on purpose: over all points
        sums = w.reshape(len(w), -1).sum(1, keepdim=True) if dims[1] is not None else w.sum()
        if kind == "alone" and dims[1] is None:
            sums = 2 * sums  # wrong on purpose
        return (x if dims[0] is not None else x[None]) * sums, 0


@pytest.mark.parametrize(
    ("kind", "where"),
    [("right", ""), ("sum", "in front"), ("axis", "at the end"), ("alone", "for argument 0 alone")],
)
def test_a_rule_for_batches_is_held_against_the_loop(kind, where):
    def f(x, w):
        return Weighted.apply(x.sin(), w, kind)

    report = gradproof.check(f, (drawn(4), drawn(4) + 2), rng=0)

    assert report.verdict is (Verdict.WRONG if where else Verdict.CORRECT)
    found = [(one.id, one.path) for one in report.findings]
    assert found == ([("GP231", "Weighted")] if where else [])
    assert all(where in one.kind for one in report.findings)
    assert gradproof.check(f, (drawn(4), drawn(4) + 2), modes=("rev",), rng=0).verdict is Verdict.CORRECT


# ------------------------------------------------------------------------------------------------- wrt="all" of modules


def sum_of(model, batch):
    return model(batch).sum()


def squared(model, batch):
    return (model(batch["x"]) - batch["y"]).square().mean()


def test_a_module_without_parameters_has_its_inputs():
    report = gradproof.torch.check_module(torch.nn.Tanh(), sum_of, drawn(3), wrt="all", rng=0)

    assert report.verdict is Verdict.CORRECT
    assert [leaf.path for leaf in report.leaves] == ["batch"]
    with pytest.raises(UsageError, match="no parameter"):
        gradproof.torch.check_module(torch.nn.Tanh(), sum_of, drawn(3), rng=0)
    with pytest.raises(UsageError, match="and no floating tensor"):
        gradproof.torch.check_module(
            torch.nn.Tanh(), lambda m, b: m(b.double()).sum(), torch.arange(3), wrt="all", rng=0
        )


def test_a_batch_without_floating_tensors_leaves_the_parameters():
    torch.manual_seed(0)
    model = torch.nn.Embedding(4, 2).double()
    report = gradproof.torch.check_module(model, lambda m, b: m(b).sin().sum(), torch.tensor([0, 2]), wrt="all", rng=0)

    assert report.verdict is Verdict.CORRECT
    assert [leaf.path for leaf in report.leaves] == ["model.weight"]


@pytest.mark.parametrize("marked", ["x", "y", ""])
def test_of_a_batch_what_requires_grad_or_what_the_loss_is_differentiable_in(marked):
    torch.manual_seed(0)
    batch = {"x": drawn(4, 3), "y": drawn(4, 2), "unused": drawn(2)}
    if marked:
        batch[marked].requires_grad_()
    report = gradproof.torch.check_module(torch.nn.Linear(3, 2).double(), squared, batch, wrt="all", rng=0)

    assert report.verdict is Verdict.CORRECT
    inputs = [leaf.path for leaf in report.leaves if leaf.path.startswith("batch")]
    assert inputs == [f"batch[{name!r}]" for name in (marked or "xy")]


class Blocked(torch.autograd.Function):
    """The square error of x and y, which has no derivative with respect to y."""

    @staticmethod
    def forward(ctx, x, y):
        if y.requires_grad:
            raise RuntimeError("not differentiable with respect to y")
        ctx.save_for_backward(x, y)
        return (x - y).square().sum()

    @staticmethod
    def backward(ctx, u):
        x, y = ctx.saved_tensors
        return 2 * (x - y) * u, None


@pytest.mark.parametrize("factor", [1.0, 1.5])  # 1.5: wrong on purpose
def test_inputs_that_refuse_to_be_differentiated_are_left_out(factor):
    def loss(model, batch):
        return Blocked.apply(doubled(factor)(model(batch[0])), batch[1])

    report = gradproof.torch.check_module(torch.nn.Tanh(), loss, (drawn(3), drawn(3, seed=1)), wrt="all", rng=0)

    assert report.verdict is (Verdict.CORRECT if factor == 1 else Verdict.WRONG)
    assert [leaf.path for leaf in report.leaves] == ["batch[0]"]


# ------------------------------------------------------------------------------------------------ what stands still


@pytest.mark.parametrize("f", [torch.ceil, torch.sign, lambda x: torch.round(x, decimals=3)])
def test_steps_of_many_entries_pass_with_a_warning(f):
    """One entry or another is close to a jump; within torch's own step none of them jumps."""
    x = (18 * torch.rand(20, 20, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)) - 9).requires_grad_()

    with pytest.warns(GradproofWarning, match="keeps its bits"):
        assert gradcheck(f, x)


def test_a_zero_gradient_of_what_moves_is_wrong():
    x = drawn(20).requires_grad_()

    assert not passes(gradcheck, lambda x: torch.ceil(x) + Scaled.apply(x, 0.0), x[:1].detach().requires_grad_())
    # Beside jumps, too: parts that move within torch's own step.
    assert not passes(gradcheck, lambda x: Scaled.apply(x, 0.0) * 1e-3, x)


def test_kinks_next_to_few_entries_pass_entry_by_entry():
    """Random directions move all entries, and one of them is always close to its kink."""
    x = (18 * torch.rand(60, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)) - 9).requires_grad_()

    assert gradcheck(torch.nn.functional.hardswish, x)
    assert gradcheck(torch.frac, x)


# ------------------------------------------------------------------------------------- data of another library


def total_sine(x):
    return torch.sin(x).sum()


def numpy_sine(x):
    return np.sum(np.sin(x))


def said(error, *args, **options):
    with pytest.raises(error) as raised:
        gradproof.check(*args, rng=0, **options)
    return str(raised.value)


def test_integer_tensors_are_no_point():
    assert "`x` is of dtype torch.int64, which has no derivative; pass `x.double()`" in said(
        UsageError, total_sine, torch.tensor([1, 2])
    )
    assert "pass `x.double()`" in said(UsageError, total_sine, torch.tensor([1, 2]), grad=torch.cos)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.ones(2), "`x` is an array of NumPy, but `f` is written with PyTorch: pass `torch.tensor(x)`"),
        (0.5, "`x` is a number of Python, but `f` is written with PyTorch: pass `torch.tensor(x)`"),
    ],
)
def test_numpy_data_for_a_function_of_torch(x, words):
    """With and without a claim it is said what to pass; what f takes is no mistake."""
    assert words in said(UsageError, total_sine, x)
    words = words.replace("`f`", "`total_sine`")
    assert words in said(gradproof.FunctionError, total_sine, x, grad=np.cos)
    lenient = lambda x: float(torch.as_tensor(x).sin().sum())  # noqa: E731
    assert gradproof.check(lenient, x, grad=np.cos, rng=0).correct


@pytest.mark.filterwarnings("ignore:__array_wrap__")
def test_tensors_for_a_function_of_numpy():
    """f raises, or leaves PyTorch; with a claim that takes tensors too, nothing is wrong."""
    x = torch.tensor([0.5, 1.0], dtype=DOUBLE)
    words = "`x` is a tensor of PyTorch, but `numpy_sine` is written with NumPy: pass `x.numpy()`"
    assert words in said(gradproof.FunctionError, numpy_sine, x)
    assert words in said(gradproof.FunctionError, numpy_sine, x, grad=np.cos)
    assert "`grad` is written with NumPy" in said(gradproof.ClaimError, total_sine, x, grad=lambda x: np.sum(x, axis=9))
    assert "returned None; did you forget `return`?" in said(gradproof.FunctionError, lambda x: None, x)
    assert "returned float; `.item()`, `.numpy()`" in said(gradproof.FunctionError, lambda x: x.sum().item(), x)
    assert gradproof.check(lambda x: numpy_sine(x.numpy()), x, grad=lambda x: np.cos(x.numpy()), rng=0).correct


def test_positions_and_modes_that_are_nearly_right():
    pair = (torch.ones(2), torch.ones(2))
    for wrt, words in (("b", "pass `wrt=1`"), ([0, 1], "pass `wrt=(0, 1)`"), (2, "names argument 2")):
        assert words in said(UsageError, lambda a, b: (a * b).sum(), pair, wrt=wrt)
    assert "pass `modes=('rev',)`" in said(UsageError, total_sine, torch.ones(2), modes="rev")
    assert "there is no mode 'reverse'" in said(UsageError, total_sine, torch.ones(2), modes=("reverse",))


def test_inputs_as_the_arguments_of_a_function():
    """As `torch.autograd.gradcheck` has them, or as a list; and the methods of a Function by themselves."""
    pair = [torch.ones(2), torch.ones(2)]
    words = "a list is one argument: pass a tuple with one member for each argument of f"
    assert words in said(gradproof.FunctionError, lambda a, b: (a * b).sum(), pair)
    assert gradproof.check(lambda a, b: (a * b).sum(), tuple(pair), modes=("rev",), rng=0).correct
    assert "a tuple stands for the arguments of f, here 2" in said(
        gradproof.FunctionError, lambda both: both[0].sum(), tuple(pair)
    )
    assert "of a `torch.autograd.Function` pass the class itself" in said(
        gradproof.FunctionError, Legacy.forward, torch.ones(2)
    )
    assert gradproof.check(Legacy, torch.ones(2), modes=("rev",), rng=0).correct


class Legacy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, u):
        return 2 * u * ctx.saved_tensors[0]


def test_what_a_function_raises_itself_gets_no_advice():
    """An error of f on tensors that are meant for it is shown as it is."""

    def broken(x):
        raise LookupError("no such layer")

    shown = said(gradproof.FunctionError, broken, torch.ones(2))
    assert shown == "`broken` raised LookupError at the point itself: no such layer"


def test_a_module_by_itself_points_to_its_parameters():
    """Its inputs are checked; NumPy data, and a module as the point, are told where its parameters are checked."""
    model = torch.nn.Linear(2, 1).double()
    report = gradproof.check(model, drawn(3, 2), rng=0)
    (note,) = report.findings
    assert (report.verdict, note.id, note.severity) == (Verdict.CORRECT, "GP413", gradproof.Severity.NOTE)
    assert note.kind.startswith("2 parameters of the module were not checked")
    assert "check_module(model, loss, batch)" in note.advice
    assert gradproof.check(model.requires_grad_(False), drawn(3, 2), rng=0).findings == ()
    assert "check_module" in said(UsageError, model, np.ones((3, 2)))
    assert "check_module" in said(UsageError, lambda model: 0.0, model, grad=0.0)
