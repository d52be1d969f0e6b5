"""Kernels of low precision beside a reference: right ones CORRECT, wrong ones WRONG, and the place named."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import gradproof
from gradproof import Reason, Report, UsageError, Verdict
from gradproof._base._ratio import allowed_ratio, freedom, scatter, unseen
from gradproof._reference._regions import Tally, locate, look

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))


def torch_kernels():
    pytest.importorskip("torch")
    import reference_kernels

    return reference_kernels


def inputs_of(kernel, dtype, seed=0, long=False):
    import torch

    generator = torch.Generator().manual_seed(seed)
    drawn = kernel.draw(generator, long)
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in drawn)


def compared(name, mistake, dtype="bfloat16", victim=1, seed=0, **options):
    import torch

    kernel = torch_kernels().KERNELS[name]
    inputs = inputs_of(kernel, getattr(torch, dtype), seed, long=mistake == "low")
    low = torch.bfloat16 if dtype == "float32" else getattr(torch, dtype)
    return gradproof.torch.compare_with_reference(
        kernel.made(mistake, low, victim), kernel.reference, inputs, rng=seed, **options
    )


# ---------------------------------------------------------------------------------------------------------- the law


def test_the_ratio_exceeds_its_bound_as_seldom_as_is_stated():
    """For normal numbers: a bound for 1 in 100 is exceeded less often than that, and not much less than 1 in 1,000."""
    generator = np.random.default_rng(0)
    for ours, theirs in ((16, 16), (16, 200), (100, 30)):
        x = generator.chisquare(ours, 200_000) / ours
        y = generator.chisquare(theirs, 200_000) / theirs
        bound = float(scatter(np.array([float(ours)]), np.array([float(theirs)]), 0.01)[0])
        assert 0.0005 < np.mean(x > bound * y) < 0.01


def test_the_error_is_seldom_above_its_bound():
    """An error of rank one, which a single normal number of each draw tells of: the worst one."""
    generator = np.random.default_rng(0)
    measured = np.sqrt(np.mean(generator.standard_normal((100_000, 16)) ** 2, axis=1))
    missed = np.mean(unseen(16, 0.01) * measured < 1)
    assert 0.0005 < missed < 0.01


def test_errors_that_hang_together_have_few_degrees_of_freedom():
    generator = np.random.default_rng(0)
    apart = (generator.standard_normal((16, 500)) ** 2).sum(axis=1, keepdims=True)
    together = 500 * generator.standard_normal((16, 1)) ** 2
    assert freedom(together, np.array([500.0]))[0] < 40
    assert freedom(apart, np.array([500.0]))[0] > 1000


def test_the_order_of_sums_counts_only_beside_the_unit_of_float32():
    assert allowed_ratio(2.0**-9, 10_000) < 3.001
    assert allowed_ratio(2.0**-24, 10_000) == pytest.approx(np.sqrt(9 + 5000))


@pytest.mark.parametrize(
    ("index", "box"),
    [
        (np.s_[:], ((0, 24), (0, 40))),
        (np.s_[16:], ((16, 24), (0, 40))),
        (np.s_[7], ((7, 8), (0, 40))),
        (np.s_[:, 30:32], ((0, 24), (30, 32))),
        (np.s_[3, 5], ((3, 4), (5, 6))),
    ],
)
def test_a_place_is_found(index, box):
    """Errors of ten units there, of one unit elsewhere."""
    generator = np.random.default_rng(0)
    tally = Tally((24, 40), 2.0**-9, 0.0)
    for _ in range(16):
        truth = generator.normal(size=(24, 40))
        noise = 2.0**-9 * np.abs(truth) * generator.uniform(-1, 1, (2, 24, 40))
        wrong = np.zeros((24, 40))
        wrong[index] = 0.3
        tally.add(truth, truth + noise[0], truth + noise[1] + wrong * truth)
    looked = look(tally, 3.0, 1e-6)
    assert looked.is_wrong
    assert locate(looked, tally).box == box


def test_a_right_kernel_of_other_roundings_is_not_accused():
    """Nine times the variance of the reference's own error, in 100 tensors."""
    for seed in range(100):
        generator = np.random.default_rng(seed)
        tally = Tally((24, 40), 2.0**-9, 0.0)
        for _ in range(16):
            truth = generator.normal(size=(24, 40))
            noise = 2.0**-9 * np.abs(truth) / 3**0.5 * generator.normal(size=(2, 24, 40))
            tally.add(truth, truth + noise[0], truth + 3 * noise[1])
        assert not look(tally, 3.0, 1e-3).is_wrong


# ------------------------------------------------------------------------------------------------------------ NumPy


SINGLE_AND_HALF = ("float32", "float16")
HALF = np.random.default_rng(0).normal(size=(24, 40)).astype(np.float16)


def gelu(x):
    return x / (1 + np.exp(-1.702 * x))


def gelu_vjp(u, x):
    s = 1 / (1 + np.exp(-1.702 * x))
    return u * s * (1 + 1.702 * x * (1 - s))


def in_single(function):
    return lambda *args: function(*(np.asarray(one, np.float32) for one in args)).astype(np.float16)


def without_its_last_term(u, x):
    return u / (1 + np.exp(-1.702 * x))


def test_numpy_kernels():
    """A right pair is CORRECT, with values and gradients among the leaves; a wrong backward is WRONG."""
    kernel = in_single(gelu)

    def check(vjp):
        return gradproof.compare_with_reference(kernel, gelu, HALF, vjp=in_single(vjp), reference_vjp=gelu_vjp, rng=0)

    report = check(gelu_vjp)
    assert report.correct
    assert [(leaf.path, leaf.verdict) for leaf in report.leaves] == [
        ("output", Verdict.CORRECT),
        ("args[0]", Verdict.CORRECT),
    ]
    wrong = check(without_its_last_term)
    assert [(one.id, one.path) for one in wrong.findings] == [("GP131", "args[0]")]
    assert wrong.leaves[0].verdict is Verdict.CORRECT


def test_a_right_gradient_of_another_function_is_wrong():
    report = gradproof.compare_with_reference(
        lambda x: in_single(gelu)(x) + np.float16(1),
        gelu,
        HALF,
        vjp=in_single(gelu_vjp),
        reference_vjp=gelu_vjp,
        rng=0,
    )
    assert report.verdict is Verdict.WRONG
    assert report.findings[0].id == "GP130"
    assert report.leaves[1].verdict is Verdict.CORRECT


def test_tf32_is_no_mistake_where_it_is_declared():
    """Operands rounded to 10 bits are wrong for float32, and right for TF32."""
    generator = np.random.default_rng(0)
    inputs = tuple(generator.normal(size=(32, 32)).astype(np.float32) for _ in range(2))

    def kernel(a, b):
        return a.astype(np.float16).astype(np.float32) @ b.astype(np.float16).astype(np.float32)

    def check(**options):
        return gradproof.compare_with_reference(kernel, lambda a, b: a @ b, inputs, rng=0, **options)

    assert check(precision="tf32").correct
    assert check().verdict is Verdict.WRONG


def test_complex_kernels_have_two_parts():
    z = (HALF[:, ::2] + 1j * HALF[:, 1::2]).astype(np.complex64)
    report = gradproof.compare_with_reference(lambda z: z * z, lambda z: z * z, z, rng=0)
    assert report.correct
    assert [leaf.path for leaf in report.leaves] == ["output.real", "output.imag"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": HALF.astype(float)}, "every array is float64"),
        ({"vjp": gelu_vjp}, "`reference_vjp` is missing"),
        ({"draws": 2}, "at least 4"),
        ({"precision": "fp16"}, "'tf32'"),
        ({"reference": 3}, "`reference` must be callable"),
    ],
)
def test_what_cannot_be_used_is_refused(change, said):
    given = {"kernel": gelu, "reference": gelu, "inputs": HALF, **change}
    with pytest.raises(UsageError, match=said):
        gradproof.compare_with_reference(**given)


def test_the_users_arrays_are_left_alone():
    x = HALF.copy()

    def kernel(x):
        x *= 2
        return x

    gradproof.compare_with_reference(kernel, lambda x: 2 * x, x, rng=0)
    assert x.tobytes() == HALF.tobytes()


def test_the_same_seed_gives_the_same_report():
    one, other = (gradproof.compare_with_reference(in_single(gelu), gelu, HALF, rng=3) for _ in range(2))
    assert one == other
    assert Report.from_json(one.to_json()) == one
    assert json.loads(one.to_json())["level"] == "reference"


def test_nothing_but_zeros_is_no_proof():
    report = gradproof.compare_with_reference(lambda x: x * 0, lambda x: x * 0, HALF, rng=0)
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.DEGENERATE)


# ------------------------------------------------------------------------------------------------------------ torch


NAMES = ("attention", "layer norm", "RMS norm", "softmax", "cross entropy", "matmul", "rotary", "fused MLP")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_right_kernels_are_correct(name, dtype):
    assert compared(name, "right", dtype).correct


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mistake", ["scale", "block", "row"])
def test_wrong_kernels_are_wrong(name, mistake):
    report = compared(name, mistake)
    assert report.verdict is Verdict.WRONG
    assert report.leaves[0].verdict is Verdict.CORRECT  # the value
    assert all(one.id in ("GP131", "GP132") for one in report.findings)


def test_the_region_is_named():
    assert [one.path for one in compared("layer norm", "block").findings] == ["args[0][240:]"]
    row = compared("rotary", "row", victim=0).findings[0]
    assert (row.id, row.factor) == ("GP130", 1.5)


@pytest.mark.parametrize("name", ["attention", "softmax", "cross entropy"])
def test_a_missing_mask_is_wrong(name):
    assert compared(name, "mask", "float16").verdict is Verdict.WRONG


def test_sums_in_low_precision_are_wrong():
    report = compared("matmul", "low")
    assert report.findings[0].path.startswith("output")
    assert report.verdict is Verdict.WRONG


def test_the_references_own_casts_do_not_spoil_the_truth():
    """`x.float()` in the reference: truth is float64 all the same, or a float32 kernel would look too good."""
    torch = pytest.importorskip("torch")
    from gradproof._backends._torch_casts import Wide

    with Wide():
        assert (torch.ones(3, dtype=torch.float64) / 3).float().dtype == torch.float64
    x = torch.randn(16, 16)

    def reference(x):
        return torch.softmax(x.float(), -1, dtype=torch.float32).to(x.dtype)

    assert gradproof.torch.compare_with_reference(lambda x: torch.softmax(x, -1), reference, x, rng=0).correct


def test_check_with_a_reference_judges_16_bits():
    """A function of many outputs whose differences tell nothing; and it is wrong where its gradient is."""
    torch = pytest.importorskip("torch")
    kernels = torch_kernels()
    kernel = kernels.KERNELS["softmax"]
    inputs = inputs_of(kernel, torch.bfloat16)
    made = kernel.made("right", torch.bfloat16, 0)
    assert gradproof.check(made, inputs, rng=0).verdict is Verdict.INCONCLUSIVE
    report = gradproof.check(made, inputs, reference=kernel.reference, rng=0)
    assert report.correct
    assert (report.level, report.claim) == ("reference", "autograd")
    wrong = kernel.made("scale", torch.bfloat16, 0)
    assert gradproof.check(wrong, inputs, reference=kernel.reference, rng=0).verdict is Verdict.WRONG


@pytest.mark.parametrize("option", [{"budget": 300}, {"timeout": 60}, {"contracts": "all"}, {"rtol": 0.1}])
def test_an_option_that_asks_for_differences_is_not_dropped(option):
    torch = pytest.importorskip("torch")
    x = torch.linspace(-1, 1, 8).bfloat16()

    def kernel(x):
        return (x.float() ** 3).sum().to(x.dtype)

    def reference(x):
        return (x**3).sum()

    assert gradproof.check(kernel, x, reference=reference, rng=0).level == "reference"
    assert gradproof.check(kernel, x, reference=reference, rng=0, **option).level == "certificate"


def test_a_kernel_that_differentiates_within():
    """It asks for a graph where it is called first, too; wrong on purpose: twice the function."""
    torch = pytest.importorskip("torch")
    import gradproof.torch

    def made(factor):
        def kernel(x):
            (gradient,) = torch.autograd.grad((x.float() ** 4).sum() / 4, x, create_graph=True)
            return factor * gradient.sum(-1).to(x.dtype)

        return kernel

    def reference(x):
        return (x**3).sum(-1)

    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert gradproof.torch.compare_with_reference(made(1), reference, x, rng=0).correct
    assert gradproof.torch.compare_with_reference(made(2), reference, x, rng=0).verdict is Verdict.WRONG


def test_models_under_autocast_are_judged():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4))
    batch = torch.randn(20, 16)

    def low(model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(batch).float().square().mean()

    def reference(parameters, batch):
        return torch.func.functional_call(model, parameters, (batch,)).square().mean()

    def twice(parameters, batch):
        return 2 * reference(parameters, batch)

    report = gradproof.torch.check_module(model, low, batch, reference=reference, rng=0)
    assert report.correct
    assert "autocast" in report.modes[0].note
    assert gradproof.torch.check_module(model, low, batch, reference=twice, rng=0).verdict is Verdict.WRONG

    def forward(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    assert gradproof.check(forward, batch, reference=model, rng=0).correct


def test_outputs_of_8_bits():
    torch = pytest.importorskip("torch")
    x = torch.randn(16, 16).bfloat16()

    def check(factor):
        def kernel(x):
            return (factor * x).to(torch.float8_e4m3fn)

        return gradproof.torch.compare_with_reference(kernel, lambda x: 2 * x, x, rng=0)

    assert check(2).correct
    assert check(3).verdict is Verdict.WRONG


def test_random_states_and_parameters_are_left_as_they_were():
    torch = pytest.importorskip("torch")
    module = torch.nn.LayerNorm(8).bfloat16()
    before, state = [p.clone() for p in module.parameters()], torch.get_rng_state()
    x = torch.ones(4, 8).bfloat16().normal_()
    state = torch.get_rng_state()
    gradproof.torch.compare_with_reference(module, module, x, rng=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, module.parameters(), strict=True))
    assert module.weight.dtype is torch.bfloat16


# -------------------------------------------------------------------------------------------------------------- JAX


@pytest.mark.parametrize("dtype", ["bfloat16", *(pytest.param(one, marks=pytest.mark.slow) for one in SINGLE_AND_HALF)])
def test_jax_kernels(dtype):
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    def reference(x):
        return jax.nn.softmax(x, axis=-1)

    def made(scale):
        @jax.custom_vjp
        def kernel(x):
            return reference(x.astype(jnp.float32)).astype(x.dtype)

        def backward(x, u):
            y, u = reference(x.astype(jnp.float32)), u.astype(jnp.float32)
            return ((scale * y * (u - (u * y).sum(-1, keepdims=True))).astype(x.dtype),)

        kernel.defvjp(lambda x: (kernel(x), x), backward)
        return kernel

    x = jax.random.normal(jax.random.key(0), (16, 24), dtype)
    assert gradproof.jax.compare_with_reference(made(1.0), reference, x, draws=6, rng=0).correct
    wrong = gradproof.jax.compare_with_reference(made(1.1), reference, x, draws=6, rng=0)
    assert [one.id for one in wrong.findings] == ["GP131"]
    if dtype == "float16":
        assert gradproof.check(made(1.0), x, reference=reference, rng=0).level == "reference"


def test_tf32_in_jax():
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    a, b = (jax.random.normal(jax.random.key(i), (24, 24)) for i in range(2))

    def kernel(a, b):
        return (a.astype(jnp.float16).astype(jnp.float32)) @ (b.astype(jnp.float16).astype(jnp.float32))

    def check(**options):
        return gradproof.jax.compare_with_reference(kernel, lambda a, b: a @ b, (a, b), draws=6, rng=0, **options)

    assert check(precision="tf32").correct
    assert check().verdict is Verdict.WRONG


@pytest.mark.slow
def test_the_benchmark_in_a_reduced_form():
    """Every kernel and mistake, over two seeds: no right one accused or undecided, no wrong one passed."""
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "reference.py", "--seeds", "2"], capture_output=True, text=True, check=True
    )
    assert "right: 48 CORRECT, 0 WRONG, 0 INCONCLUSIVE" in done.stdout, done.stdout
    assert "wrong: 0 CORRECT" in done.stdout, done.stdout
