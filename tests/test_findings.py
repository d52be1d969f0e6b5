"""Every finding, by its id: an input that yields it, and a look-alike that does not.

Each example takes `is_odd`: True makes what the finding is about, False its look-alike. What a report holds on either
side is compared as a whole, so that no finding can take the id of another, stay away, or come uncalled for.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools as ft
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gradproof
from gradproof import GradientError, Report, Severity, Verdict
from helpers import free_energy, free_energy_gradient, ids, ids_in_code

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
SEVERITIES = dict(re.findall(r"^## (GP\d{3}): .*\n\nSeverity: \*(\w+)\*", PAGE, re.MULTILINE))
check = ft.partial(gradproof.check, rng=0)
X = np.array([0.5, 1.0, 2.0])


@dataclasses.dataclass(frozen=True)
class Example:
    """`build(is_odd)` returns a report, or None where a drop-in passes and so has none to show."""

    id: str
    path: str
    before: list[str]  # ids before this one, of what it follows from
    beside: list[str]  # ids beside this one
    spared: list[str]  # ids of the look-alike
    build: Callable[[bool], Report | None]


EXAMPLES: list[Example] = []


def example(id, path="x", *, before=(), beside=(), spared=()):
    def add(build):
        EXAMPLES.append(Example(id, path, [*before], [*beside], [*spared], build))
        return build

    return add


def square(x):
    return np.sum(x**2)


# ------------------------------------------------------------------------------------------------ the numbers (GP1..)


@example("GP101")
def a_gradient_that_is_off(is_odd):
    """By more than any tolerance, or by less than can be told."""
    return check(square, X, grad=lambda x: (2 + (1e-4 if is_odd else 1e-12)) * x)


@example("GP101", "x[17]")
def one_entry_that_is_off(is_odd):
    x = np.random.default_rng(0).normal(size=100)
    claimed = np.cos(x)
    claimed[17] *= 1.5 if is_odd else 1  # wrong on purpose
    return check(lambda x: np.sum(np.sin(x)), x, grad=claimed)


@example("GP101", "a")
def two_arrays_off_by_one_factor(is_odd):
    """One finding for both."""
    k = 2 if is_odd else 1  # wrong on purpose
    arrays = X, X + 1
    return check(
        lambda a, b: np.sum(np.sin(a)) + np.sum(b**2), arrays, wrt=(0, 1), grad=lambda a, b: (k * np.cos(a), k * 2 * b)
    )


@example("GP101", "x[2]", beside=["GP110"], spared=["GP110"])
def one_entry_beside_one_at_a_kink(is_odd):
    claimed = np.array([1.0, 0.0, 1.3 if is_odd else 1.0])  # wrong on purpose
    return check(lambda x: np.sum(abs(x)), np.array([0.5, 0.0, 2.0]), grad=claimed)


@example("GP101", "p['p015'][3:]")
def forty_arrays_off_by_next_to_nothing(is_odd):
    """Together they deviate, and one of them alone: the other finding names no array."""
    arrays = {f"p{i:03}": np.random.default_rng(i).normal(size=30) for i in range(40)}
    error, errors = 3e-7 if is_odd else 0.0, np.random.default_rng(7)
    errors = {name: errors.normal(size=30) for name in arrays}
    claimed = {name: np.cos(x) * (1 + error * errors[name]) for name, x in arrays.items()}  # wrong on purpose
    return check(lambda p: sum(np.sum(np.sin(x)) for x in p.values()), (arrays,), grad=lambda p: claimed)


@example("GP101", "jac[1, 2]")
def one_entry_of_a_jacobian(is_odd):
    A = np.arange(6.0).reshape(2, 3) + 1
    claimed = A + (np.array([[0, 0, 0], [0, 0, 2]]) if is_odd else 0)  # wrong on purpose
    return check(lambda x: A @ x, X, jac=claimed)


@example("GP101", "jac[1]")
def a_row_of_an_output_that_stands_still(is_odd):
    """A row of zeros is right, and beside the other row no doubt."""
    claimed = np.array([np.ones(3), np.full(3, 1.0 if is_odd else 0.0)])  # wrong on purpose
    return check(lambda x: np.array([np.sum(x), 3.0]), X, jac=claimed)


@example("GP101", "hess[1, 1]")
def one_entry_of_a_hessian(is_odd):
    claimed = np.diag(6 * X * (1, 2 if is_odd else 1, 1))  # wrong on purpose
    return check(lambda x: np.sum(x**3), X, grad=lambda x: 3 * x**2, hess=claimed)


@example("GP101", "hess[1, 1]")
def one_entry_of_a_hessian_alone(is_odd):
    """Held against second differences of f."""
    return check(lambda x: np.sum(x**3), X, hess=np.diag(6 * X * (1, 2 if is_odd else 1, 1)))  # wrong on purpose


@example("GP101", "z")
def another_convention(is_odd):
    """The conjugate of the gradient of abs(z)**2 is the gradient of the real part of z**2."""
    z = np.array([1.0 + 2.0j, -0.5 + 1.0j])
    sign = 1 if is_odd else -1
    return check(lambda z: np.sum(z.real**2 + sign * z.imag**2), z, grad=lambda z: 2 * z.conj())  # wrong on purpose


@example("GP103", spared=["GP110"])
def a_claim_beyond_the_slopes_of_a_kink(is_odd):
    """2 is no subgradient of abs; 1 is the last that is one."""
    return check(lambda x: abs(x), 0.0, grad=lambda x: 2.0 if is_odd else 1.0)


@example("GP103", "x[1]", spared=["GP110"])
def one_entry_beyond_the_slopes_of_its_kink(is_odd):
    claimed = np.array([1.0, -1.5 if is_odd else -1.0, 1.0])  # wrong on purpose
    return check(lambda x: np.sum(abs(x)), np.array([0.5, 0.0, 2.0]), grad=claimed)


@example("GP110")
def a_kink_at_the_point(is_odd):
    """A kink beside the point is none of it."""
    return check(lambda x: abs(x), 0.0 if is_odd else 1e-3, grad=lambda x: np.sign(x))


@example("GP110")
def a_kink_of_three_outputs(is_odd):
    """One finding, not one for each."""
    weights = np.array([1.0, 2.0, 3.0])
    x = np.array([0.5, 0.0 if is_odd else 1e-3, 2.0])
    return check(lambda x: weights * np.sum(abs(x)), x, jac=np.outer(weights, np.sign(x)))


def wave(torch, factor):
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent * ctx.saved_tensors[0].cos() * factor

    class Wave(torch.nn.Module):
        def forward(self, x):
            return Sine.apply(x)

    return Wave()


def loss_of(model, x):
    return model(x).square().mean()


def batch_of(torch):
    return torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)


@example("GP120", "model[1]", beside=["GP122"])
@example("GP122", "", before=["GP120"])
def a_part_of_a_module(is_odd):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    parts = torch.nn.Linear(3, 4), wave(torch, 1.5 if is_odd else 1), torch.nn.Linear(4, 1)  # wrong on purpose
    return gradproof.torch.check_module(torch.nn.Sequential(*parts).double(), loss_of, batch_of(torch), rng=0)


@example("GP120", "loss", beside=["GP122"])
@example("GP122", "", before=["GP120"])
def a_rule_in_a_function_of_jax(is_odd):
    pytest.importorskip("jax")
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    factor = 1.5 if is_odd else 1  # wrong on purpose
    sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (factor * u * jnp.cos(x),))

    def loss(x):
        return jnp.sum(sine(x) ** 2)

    return check(loss, jnp.asarray(X), modes=("rev",))


@example("GP121", "w", spared=["GP407", "GP402"])
def a_tensor_that_lost_its_graph(is_odd):
    """One that f does not need may."""
    torch = pytest.importorskip("torch")

    def loss(v, w):
        return (v**2).sum() + (1 if is_odd else 0) * (w.detach() ** 2).sum()  # wrong on purpose

    return check(loss, (torch.ones(2).double(), torch.ones(3).double()), modes=("rev",))


# ------------------------------------------------------------------------------------ form, identities, effects (GP2..)


@example("GP201", spared=["GP412"])
def a_column_for_a_row(is_odd):
    """Numbers in a list have a shape, too."""
    return check(square, X, grad=lambda x: (2 * x)[:, np.newaxis] if is_odd else [1.0, 2.0, 4.0])  # wrong on purpose


@example("GP201")
def other_entries_than_the_leaf(is_odd):
    return check(square, X, grad=lambda x: 2 * x[: 2 if is_odd else 3])  # wrong on purpose


@example("GP201")
def a_transposed_jacobian(is_odd):
    """A Jacobian may have the shape of output and array, flat or not."""
    A = np.arange(12.0).reshape(2, 6) + 1
    x = np.linspace(1, 2, 6).reshape(2, 3)
    return check(lambda x: A @ x.ravel(), x, jac=A.T if is_odd else A)  # wrong on purpose


class Operator:
    """A Jacobian known by its products."""

    def __init__(self, matrix, *, factor=1.0):
        self.matrix, self.factor, self.shape = matrix, factor, matrix.shape

    def matvec(self, v):
        return self.factor * self.matrix @ v

    def rmatvec(self, u):
        return self.matrix.T @ u


@example("GP201")
def a_transposed_operator(is_odd):
    A = np.arange(6.0).reshape(2, 3) + 1
    return check(lambda x: A @ x, X, jac=Operator(A.T if is_odd else A))  # wrong on purpose


@example("GP201")
def a_product_of_another_shape(is_odd):
    return check(np.sin, X, vjp=lambda u, x: (u * np.cos(x))[: 2 if is_odd else 3])  # wrong on purpose


@example("GP202", "p")
def names_of_gradients_beside_those_of_parameters(is_odd):
    """The order of names does not matter."""

    def gradient(p):
        w, b = np.full(3, p["b"]), np.sum(p["w"])
        return {"dw": w, "b": b} if is_odd else {"b": b, "w": w}  # wrong on purpose

    return check(lambda p: np.sum(p["w"]) * p["b"], {"w": X, "b": 3.0}, grad=gradient)


@example("GP203")
def nan_in_a_gradient(is_odd):
    def gradient(x):
        with np.errstate(all="ignore"):
            return np.log(x + 1) + (x**2 / (x * (x + 1)) if is_odd else x / (x + 1))  # wrong on purpose: 0 / 0

    return check(lambda x: np.sum(x * np.log(x + 1)), np.array([0.0, 1.0]), grad=gradient)


@example("GP204", spared=["GP404"])
def complex_numbers_for_a_real_array(is_odd):
    """Without an imaginary part they are noted."""
    return check(square, X, grad=lambda x: 2 * x + (1e-9j if is_odd else 0j))  # wrong on purpose


@example("GP205", "vjp")
def a_vjp_that_adds_something(is_odd):
    """What is no more than rounding is let pass."""
    added = 1.0 if is_odd else 1e-14  # wrong on purpose
    return check(np.sin, X, vjp=lambda u, x: u * np.cos(x) + added)


@example("GP206", "jvp")
def a_jvp_that_adds_something(is_odd):
    added = 1.0 if is_odd else 1e-14  # wrong on purpose
    return check(np.sin, X, jvp=lambda v, x: v * np.cos(x) + added)


@example("GP206", "hvp")
def an_hvp_that_ignores_its_vector(is_odd):
    def product(v, x):
        return 6 * x * (1 if is_odd else v)  # wrong on purpose

    return check(lambda x: np.sum(x**3), X, grad=lambda x: 3 * x**2, hvp=product)


@example("GP214", "vjp")
def a_vjp_with_swapped_arguments(is_odd):
    return check(np.sin, X, vjp=(lambda x, u: u * np.cos(x)) if is_odd else (lambda u, x: u * np.cos(x)))


@example("GP214", "hvp")
def a_product_of_scipy(is_odd):
    def hessp(x, v):
        return -v * np.sin(x)

    return check(lambda x: np.sum(np.sin(x)), X, grad=np.cos, hvp=hessp if is_odd else lambda v, x: hessp(x, v))


@example("GP207", "hess", beside=["GP101"])
def a_hessian_that_is_not_symmetric(is_odd):
    """An asymmetry of rounding is none."""
    x0, x1 = 2.0, 3.0
    claimed = np.array([[2 * x1, 2 * x0], [0.0 if is_odd else 2 * x0 * (1 + 1e-14), 0.0]])  # wrong on purpose

    def gradient(x):
        return np.array([2 * x[0] * x[1], x[0] ** 2])

    return check(lambda x: x[0] ** 2 * x[1], np.array([x0, x1]), grad=gradient, hess=claimed)


@example("GP207", "hvp", beside=["GP101"])
def an_hvp_that_is_not_symmetric(is_odd):
    A = np.array([[2.0, 1.0], [1.0, 3.0]])
    claimed = A + (np.array([[0, 0.5], [0, 0]]) if is_odd else 0)  # wrong on purpose
    return check(lambda x: x @ A @ x / 2, X[:2], grad=lambda x: A @ x, hvp=lambda v, x: claimed @ v)


@example("GP208", "jac")
def two_products_that_are_not_adjoint(is_odd):
    A = np.arange(6.0).reshape(2, 3) + 1
    return check(lambda x: A @ x, X, jac=Operator(A, factor=2 if is_odd else 1 + 1e-14))  # wrong on purpose


@example("GP209", "jac")
def a_complex_jacobian_of_what_has_none(is_odd):
    """The conjugate has none; the conjugate of the conjugate has."""
    z = np.array([1.0 + 2.0j, -0.5 + 1.0j])
    return check(lambda z: np.conj(z) if is_odd else np.conj(np.conj(z)), z, jac=np.eye(2))  # wrong on purpose


@example("GP210")
def an_f_that_writes_into_its_argument(is_odd):
    """It may write into what it made."""

    def shifted(x):
        if not is_odd:
            x = x.copy()
        x -= 1  # wrong on purpose
        return np.sum(x**2)

    return check(shifted, X.copy(), grad=lambda x: 2 * (x - 1))


@example("GP211")
def a_claim_that_writes_into_its_argument(is_odd):
    def gradient(x):
        if not is_odd:
            x = x.copy()
        x *= 2  # wrong on purpose
        return x

    return check(square, X.copy(), grad=gradient)


@example("GP212", "model.count", spared=["GP408"])
def a_backward_that_changes_a_buffer(is_odd):
    """A forward may."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, count):
            ctx.count = count
            if not is_odd:
                count += 1
            return x.clone()

        @staticmethod
        def backward(ctx, cotangent):
            if is_odd:
                ctx.count += 1  # wrong on purpose
            return cotangent, None

    class Counted(torch.nn.Linear):
        def __init__(self):
            super().__init__(3, 1)
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x):
            return Counting.apply(super().forward(x), self.count)

    return gradproof.torch.check_module(Counted().double(), loss_of, batch_of(torch), rng=0)


def gradchecked(f, *shape, **options):
    """The report with which the drop-in refuses f, or None."""
    import torch

    from gradproof.compat.torch import gradcheck

    point = torch.linspace(0.5, 2, int(np.prod(shape)), dtype=torch.float64).reshape(shape).requires_grad_()
    try:
        gradcheck(f, point, **options)
    except GradientError as error:
        return error.report
    return None


def rule(torch, forward, backward):
    """An `autograd.Function` that is not told about undefined cotangents."""

    def set_up(ctx, inputs, output):
        ctx.set_materialize_grads(False)

    parts = {
        "forward": staticmethod(forward),
        "setup_context": staticmethod(set_up),
        "backward": staticmethod(backward),
    }
    return type("Rule", (torch.autograd.Function,), parts).apply


def sines(backward):
    """The report on a Function for sin of a matrix, with ``backward(ctx, u, x)``, held to every contract."""
    torch = pytest.importorskip("torch")

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    def backward_of(ctx, u):
        return backward(ctx, u, ctx.saved_tensors[0])

    parts = {"forward": staticmethod(forward), "backward": staticmethod(backward_of)}
    x = torch.linspace(0.5, 2, 20, dtype=torch.float64).reshape(4, 5)
    return check(type("Sine", (torch.autograd.Function,), parts), x, contracts="all")


@example("GP216")
def a_cotangent_that_is_read_as_if_contiguous(is_odd):
    """One that is made contiguous first may be read so."""

    def backward(ctx, u, x):
        u = u if is_odd else u.contiguous()
        return u.as_strided(u.shape, (u.stride(0), 1), u.storage_offset()) * x.cos()

    return sines(backward)


@example("GP217")
def a_gradient_made_in_the_layout_of_the_input(is_odd):
    """Filled by its strides it is right in any."""
    torch = pytest.importorskip("torch")

    def backward(ctx, u, x):
        made = torch.empty_like(x)
        flat = made.as_strided((x.numel(),), (1,)) if is_odd else made
        flat.copy_((u * x.cos()).reshape(flat.shape))
        return made

    return sines(backward)


@example("GP218", "")
def a_cotangent_that_is_changed(is_odd):
    """A clone of it may be."""
    return sines(lambda ctx, u, x: (u if is_odd else u.clone()).mul_(x.cos()))


@example("GP219", "")
def a_saved_tensor_that_is_changed(is_odd):
    """A clone of it may be."""
    return sines(lambda ctx, u, x: (x.data if is_odd else x.clone()).cos_() * u)


@example("GP225")
def gradients_that_need_each_other(is_odd):
    torch = pytest.importorskip("torch")

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, u):
            x, y = ctx.saved_tensors
            needed = ctx.needs_input_grad[::-1] if is_odd else ctx.needs_input_grad  # wrong on purpose
            return (u * y if needed[0] else None), (u * x if needed[1] else None)

    return check(Product, (torch.as_tensor(X), torch.as_tensor(X + 1)), wrt=(0, 1), contracts="all")


@example("GP226")
def a_gradient_in_memory_that_is_used_again(is_odd):
    """A copy of it is not."""
    buffer = np.zeros(3)

    def gradient(x):
        np.multiply(2, x, out=buffer)
        return buffer if is_odd else buffer.copy()

    return check(square, X, grad=gradient, contracts="all")


@example("GP227", "")
def a_block_that_is_lost(is_odd):
    """Where the rows are no multiple of 4."""

    def backward(ctx, u, x):
        gradient = u * x.cos()
        gradient[len(x) // 4 * 4 :] = 0 if is_odd else gradient[len(x) // 4 * 4 :].clone()
        return gradient

    return sines(backward)


@example("GP228")
def a_backward_of_the_last_forward(is_odd):
    torch = pytest.importorskip("torch")
    last = {}

    def forward(ctx, x):
        last["x"] = ctx.x = x.detach().clone()
        return x.sin()

    def backward(ctx, u):
        return u * (last["x"] if is_odd else ctx.x).cos()

    parts = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return check(type("Sine", (torch.autograd.Function,), parts), torch.as_tensor(X))


@example("GP229")
def memory_that_is_never_written(is_odd):
    """The last row alone."""
    torch = pytest.importorskip("torch")

    def backward(ctx, u, x):
        made = torch.empty_like(x)
        rows = len(x) - 1 if is_odd else len(x)
        made[:rows] = (u * x.cos())[:rows]
        return made

    return sines(backward)


@example("GP220", "inputs[0]")
def a_backward_that_draws(is_odd):
    """`nondet_tol` allows for it."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)

    def backward(ctx, u):
        return None if u is None else u * (1 + 1e-9 * torch.rand(u.shape, generator=generator, dtype=u.dtype))

    return gradchecked(rule(torch, lambda x: x.clone(), backward), 3, nondet_tol=0.0 if is_odd else 1e-8)


@example("GP221", "inputs[0]", beside=["GP205"])
def a_backward_that_adds_something(is_odd):
    torch = pytest.importorskip("torch")
    added = 1.0 if is_odd else 0.0  # wrong on purpose
    return gradchecked(rule(torch, lambda x: 2 * x, lambda ctx, u: None if u is None else 2 * u + added), 3)


@example("GP222", "")
def a_backward_that_needs_all_cotangents(is_odd):
    torch = pytest.importorskip("torch")

    def backward(ctx, one, other):
        if is_odd and (one is None or other is None):
            raise RuntimeError("both are needed")  # wrong on purpose
        if one is None and other is None:
            return None
        return (0 if one is None else 2 * one) + (0 if other is None else 3 * other)

    return gradchecked(rule(torch, lambda x: (2 * x, 3 * x), backward), 3)


@example("GP223", "")
def a_backward_that_leaves_torch(is_odd):
    torch = pytest.importorskip("torch")

    def backward(ctx, u):
        if u is None:
            return None
        return torch.as_tensor(2 * u.numpy()) if is_odd else 2 * u  # vmap cannot see into NumPy

    return gradchecked(rule(torch, lambda x: 2 * x, backward), 3, check_batched_grad=True)


@example("GP224", "inputs[0]")
def a_gradient_of_another_layout(is_odd):
    torch = pytest.importorskip("torch")

    def f(weight):
        return torch.nn.functional.embedding(torch.tensor([0, 1]), weight, sparse=is_odd)

    return gradchecked(f, 3, 1)


@example("GP230", "output")
def a_rule_with_another_value(is_odd):
    """Rounding is no other value."""
    pytest.importorskip("jax")
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    sine.defvjp(lambda x: (jnp.sin(x) + (0.01 if is_odd else 1e-8), x), lambda x, u: (u * jnp.cos(x),))
    return check(sine, jnp.asarray(X, dtype=jnp.float32), modes=("rev",))


@example("GP231", "Scaled")
def a_rule_for_batches_that_mixes_the_points(is_odd):
    torch = pytest.importorskip("torch")

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x * x.sum()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, u):
            (x,) = ctx.saved_tensors
            return u * x.sum() + (u * x).sum()

        @staticmethod
        def vmap(info, in_dims, x):
            x = x.movedim(in_dims[0], 0)
            return x * (x.sum() if is_odd else x.sum(1, keepdim=True)), 0  # wrong on purpose

    return check(Scaled, torch.as_tensor(X), modes=("rev", "vmap"))


# --------------------------------------------------------------------------------------------- f at this point (GP3..)


@example("GP301", "")
def an_f_that_reads_something_else(is_odd):
    """An argument may count for little."""

    def loss(x):
        return np.sum(X**2) + (0 if is_odd else 1e-3) * np.sum(x)  # wrong on purpose

    return check(loss, X, grad=lambda x: 2 * x if is_odd else np.full(3, 1e-3))


@example("GP301", "")
def an_f_that_is_constant(is_odd):
    """A claim of zero, too, is not proved by it."""
    return check(lambda x: 3.0 + (0 if is_odd else 1) * np.sum(x), X, grad=np.full(3, 0.0 if is_odd else 1.0))


@example("GP302", "x")
def a_stationary_point(is_odd):
    x = np.full(3, 0.0 if is_odd else 1e-3)
    return check(square, x, grad=lambda x: 2 * x)


@example("GP303", "")
def an_f_that_draws(is_odd):
    """With a seed of its own it may."""
    outside = np.random.default_rng(0)

    def noisy(x):
        generator = outside if is_odd else np.random.default_rng(0)
        return np.sum(x**2) * (1 + 1e-6 * generator.normal())

    factor = 1 + 1e-6 * np.random.default_rng(0).normal()
    return check(noisy, X, grad=lambda x: 2 * x * factor)


@example("GP303", "")
def an_f_of_two_outputs_that_draws(is_odd):
    A = np.arange(6.0).reshape(2, 3) + 1
    generator = np.random.default_rng(0)
    return check(lambda x: A @ x * (1 + (1e-6 * generator.normal() if is_odd else 0)), X, jac=A)


@example("GP304", "")
def a_point_outside_the_domain(is_odd):
    def logarithm(x):
        with np.errstate(all="ignore"):
            return np.log(x)

    return check(logarithm, 0.0 if is_odd else 1e-3, grad=lambda x: 1 / x if x else 1.0)


# --------------------------------------------------------------------------------------------- worth knowing (GP4..)


@example("GP401", "p['b']")
def arrays_that_share_memory(is_odd):
    """Two halves of one array do not."""
    whole = np.arange(1.0, 5.0)
    p = {"a": whole[:2], "b": whole[1:3] if is_odd else whole[2:]}

    def gradient(p):
        return {"a": p["b"] ** 2, "b": 2 * p["a"] * p["b"]}

    return check(lambda p: np.sum(p["a"] * p["b"] ** 2), p, grad=gradient)


@example("GP402", "p['unused']")
def a_leaf_that_f_does_not_feel(is_odd):
    """One that f hardly feels is tested."""
    weight = 0.0 if is_odd else 1e-3

    def loss(p):
        return np.sum(p["w"] ** 2) + weight * np.sum(p["unused"])

    def gradient(p):
        return {"w": 2 * p["w"], "unused": np.full(2, weight)}

    return check(loss, {"w": X, "unused": np.ones(2)}, grad=gradient)


@example("GP404")
def a_gradient_in_lower_precision(is_odd):
    """Integers are taken as numbers."""
    return check(square, np.array([1.0, 2.0, 3.0]), grad=lambda x: (2 * x).astype(np.float32 if is_odd else np.int64))


def two_layers(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3)).double()


@example("GP405", "model[0].weight")
def a_frozen_layer(is_odd):
    torch = pytest.importorskip("torch")
    model = two_layers(torch)
    model[0].requires_grad_(not is_odd)
    return gradproof.torch.check_module(model, loss_of, batch_of(torch), rng=0)


@example("GP406", "model[0].weight")
def tied_layers(is_odd):
    """Equal ones are not tied."""
    torch = pytest.importorskip("torch")
    model = two_layers(torch)
    weight = model[0].weight
    model[2].weight = weight if is_odd else torch.nn.Parameter(weight.detach().clone())
    return gradproof.torch.check_module(model, loss_of, batch_of(torch), rng=0)


@example("GP407", "spare", beside=["GP402"], spared=["GP402"])
def a_tensor_without_a_use(is_odd):
    """A gradient of zeros is one."""
    torch = pytest.importorskip("torch")
    w, spare = torch.ones(3).double(), torch.ones(2).double()
    return check(lambda w, spare: (w**2).sum() + (0 if is_odd else 0 * spare.sum()), (w, spare), modes=("rev",))


@example("GP408", "model[2].running_mean")
def a_forward_that_updates_buffers(is_odd):
    """In eval mode it does not."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(3, affine=False)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Tanh(), norm).double().train(is_odd)
    return gradproof.torch.check_module(model, lambda model, x: model(x).exp().mean(), batch_of(torch), rng=0)


@example("GP409", "model[0].weight")
def a_hook_on_a_parameter(is_odd):
    """A module's forward hook is none of the gradient's."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Tanh()).double()
    if is_odd:
        model[0].weight.register_hook(lambda gradient: 1 * gradient)
    else:
        model[0].register_forward_hook(lambda module, inputs, output: 1 * output)
    return gradproof.torch.check_module(model, lambda model, x: model(x).exp().mean(), batch_of(torch), rng=0)


@example("GP410", "p['a']", beside=["GP402"], spared=["GP402"])
def a_derivative_that_is_rounding(is_odd):
    """At a small x it is rounding as usual."""
    return check(free_energy, {"a": np.array(1234.5 if is_odd else 1.0), "b": X}, grad=free_energy_gradient)


@example("GP411", "p")
def gradients_named_after_their_parameters(is_odd):
    def gradient(p):
        w, b = np.full(3, p["b"]), np.sum(p["w"])
        return {"dw": w, "db": b} if is_odd else {"w": w, "b": b}

    return check(lambda p: np.sum(p["w"]) * p["b"], {"w": X, "b": 3.0}, grad=gradient)


@example("GP412")
def a_list_for_an_array(is_odd):
    return check(square, X, grad=lambda x: [2 * one for one in x] if is_odd else 2 * x)


@example("GP413", "")
def a_module_by_itself(is_odd):
    """Its frozen parameters are nothing to check."""
    torch = pytest.importorskip("torch")
    model = two_layers(torch).requires_grad_(is_odd)
    return check(model, batch_of(torch), modes=("rev",))


@example("GP420", "x")
def a_variable_that_bounds_hold(is_odd):
    """Narrow bounds do not."""
    optimize = pytest.importorskip("scipy.optimize")
    bounds = [(0.5, 0.5 if is_odd else 0.6), (0, 2), (0, 2)]
    x0 = [0.5, 1.0, 1.5]
    return gradproof.scipy.check_minimize(optimize.rosen, x0, jac=optimize.rosen_der, bounds=bounds, rng=0)


@example("GP422", "")
def a_start_outside_its_bounds(is_odd):
    """One inside is left where it is."""
    optimize = pytest.importorskip("scipy.optimize")
    x0 = [5.0 if is_odd else 2.0, 1.0, 1.5]
    return gradproof.scipy.check_minimize(optimize.rosen, x0, jac=optimize.rosen_der, bounds=[(0, 2)] * 3, rng=0)


@example("GP423", "")
def a_derivative_that_scipy_approximates(is_odd):
    """One that is claimed is checked."""
    optimize = pytest.importorskip("scipy.optimize")
    hess = "2-point" if is_odd else optimize.rosen_hess
    return gradproof.scipy.check_minimize(optimize.rosen, [0.5, 1.0, 1.5], jac=optimize.rosen_der, hess=hess, rng=0)


# ----------------------------------------------------------------------------------- kernels beside a reference (GP13.)

GRID = np.random.default_rng(0).normal(size=(24, 40)).astype(np.float16)


def softplus(x):
    return np.log1p(np.exp(x))


def softplus_vjp(u, x):
    return u / (1 + np.exp(-x))


def in_single(function):
    """As a right kernel computes it: in float32, rounded at the end."""
    return lambda *args: function(*(np.asarray(one, np.float32) for one in args)).astype(np.float16)


def beside(kernel, reference=softplus, inputs=GRID, **options):
    return gradproof.compare_with_reference(kernel, reference, inputs, rng=0, **options)


@example("GP130", "output")
def a_kernel_of_another_function(is_odd):
    """Its error is 1 % everywhere, or that of rounding."""
    return beside(lambda x: (in_single(softplus)(x) * (1.01 if is_odd else 1)).astype(np.float16))


@example("GP131", "x[16:]")
def a_gradient_with_a_block_that_is_not_written(is_odd):
    def kernel(x):
        return in_single(softplus)(x)

    def vjp(u, x):
        gradient = in_single(softplus_vjp)(u, x)
        gradient[16:] *= not is_odd  # wrong on purpose
        return gradient

    return beside(kernel, vjp=vjp, reference_vjp=softplus_vjp)


@example("GP132", "output")
def sums_in_float16(is_odd):
    """`cumsum` adds one term after the other, in the dtype it is told."""
    wide = np.random.default_rng(1).normal(size=(64, 512)).astype(np.float16)
    dtype = np.float16 if is_odd else np.float32  # wrong on purpose

    def reference(x):
        return x.sum(axis=-1, dtype=np.promote_types(x.dtype, np.float32)).astype(x.dtype)

    return beside(lambda x: np.cumsum(x, axis=-1, dtype=dtype)[:, -1].astype(np.float16), reference, wide)


@example("GP133", "output")
def a_kernel_that_overflows(is_odd):
    """The softplus of 12 is finite in float16, and so is exp(9), but not exp(12)."""
    kernel = softplus if is_odd else in_single(softplus)

    def reference(x):
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    inputs = GRID.copy()
    inputs[3, 5] = 12

    def quiet(x):
        with np.errstate(over="ignore"):
            return kernel(x)

    return beside(quiet, reference, inputs)


@example("GP316", "output")
def a_reference_that_is_infinite(is_odd):
    """At 0, where the kernel is not."""
    inputs = np.abs(GRID) + np.float16(0.01)
    inputs[0, 0] *= not is_odd

    def reference(x):
        with np.errstate(divide="ignore"):
            return np.log(x)

    return beside(lambda x: in_single(np.log)(np.maximum(x, np.float16(1e-4))), reference, inputs)


@example("GP317", "output")
def a_reference_that_casts_down(is_odd):
    def reference(x):
        return softplus(x).astype(np.float32 if is_odd else x.dtype)

    return beside(softplus, reference, GRID.astype(np.float32))


@example("GP318", "output")
def a_kernel_that_is_random(is_odd):
    generator = np.random.default_rng(0)

    def kernel(x):
        noise = 0.1 * generator.normal() if is_odd else 0.0
        return (in_single(softplus)(x) * (1 + noise)).astype(np.float16)

    return beside(kernel)


@example("GP319", "x")
def a_gradient_that_autocast_changes(is_odd):
    """By 20 %, or not at all."""
    torch = pytest.importorskip("torch")

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, u):
            (x,) = ctx.saved_tensors
            return (2.4 if is_odd and x.dtype is torch.bfloat16 else 2) * x * u

    def f(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return Square.apply(x @ x).sum()

    return gradproof.check(f, torch.linspace(0, 1, 16).reshape(4, 4), modes=("rev",), contracts="none", rng=0)


@example("GP315", "x[1]")
def an_entry_that_cannot_be_resolved(is_odd):
    """Where f is 1 up to rounding, or moves."""
    x = np.array([0.5, 16.5 if is_odd else 1.5])
    slope = np.array([0.7864477329659274, 3e-14 if is_odd else 0.18070663892364858])
    return gradproof.check(np.tanh, x, jac=slope, elementwise=True, rng=0)


@example("GP423", "")
def a_layer_without_one_gradient(is_odd):
    """None of the factor, or one."""
    args = np.array([1.0, 2.0]), np.array([3.0, 4.0])

    def forward(x, factor):
        return factor * x, (x, factor)

    def backward(dout, cache):
        x, factor = cache
        return factor * dout, None if is_odd else x * dout

    return gradproof.check_layer(forward, backward, args, rng=0)


class Scale:
    """A layer that keeps its factor and, if it `learns`, the gradient of it."""

    def __init__(self, learns):
        self.w, self.learns = np.array([3.0, 4.0]), learns

    def forward(self, x):
        self.x = x
        return self.w * x

    def backward(self, dout):
        if self.learns:
            self.dw = dout * self.x
        return self.w * dout


@example("GP424", "")
def a_layer_with_parameters(is_odd):
    """One that keeps a gradient, or a constant."""
    return gradproof.check_layer(Scale(is_odd), np.array([1.0, 2.0]), rng=0)


@example("GP425", "")
def a_backward_that_writes_into_dout(is_odd):
    """Or into a copy of it."""

    def backward(dout, cache):
        dx = dout if is_odd else dout.copy()
        dx[cache <= 0] = 0
        return dx

    x = np.array([1.0, -2.0])
    return gradproof.check_layer(lambda x: (np.maximum(x, 0), x), backward, x, rng=0)


@example("GP213", "x")
def a_gradient_that_remembers(is_odd):
    """A buffer that is not zeroed, or is."""
    buffer = np.zeros(3)

    def accumulated(x):
        buffer[:] = 2 * x + (buffer if is_odd else 0)
        return buffer.copy()

    return check(square, X, grad=accumulated)


@example("GP305", "")
def a_function_that_raises_beside_the_point(is_odd):
    """Everywhere, or on one side only."""

    def table(x):
        if (is_odd and (x != X).any()) or x[0] < X[0]:
            raise KeyError("not in the table")
        return np.sum(x**2)

    return check(table, X, grad=lambda x: 2 * x)


@example("GP306", "x")
def a_gradient_that_is_random(is_odd):
    """By more than `rtol`, or by rounding."""
    generator = np.random.default_rng(0)
    return check(square, X, grad=lambda x: 2 * x * (1 + (1e-3 if is_odd else 1e-15) * generator.normal()))


@example("GP421", "x")
def an_entry_that_is_nan(is_odd):
    """And that f ignores."""
    x = np.array([0.5, np.nan if is_odd else 1.0, 2.0])
    return check(lambda x: np.nansum(x**2), x, grad=lambda x: np.where(np.isnan(x), 0.0, 2 * x))


@example("GP310", "x")
def a_special_case_at_the_point(is_odd):
    """And one beside it."""
    special = X[1] + (0 if is_odd else 10)
    return check(lambda x: np.sum(np.where(x == special, 0.9, 1.0) * np.sin(x)), X, grad=np.cos)


@example("GP311", "x")
def a_zone_around_the_point(is_odd):
    """In which f has another slope; or hardly another."""
    point = np.array([0, 0, 1.0])

    def cut_off(x):
        within = np.linalg.norm(x[:2]) <= 1e-5
        return np.sum(x[:2]) * (0.0 if within and is_odd else 1.0) + np.sin(x[2])

    return check(cut_off, point, grad=lambda x: np.r_[1, 1, np.cos(x[2])])


def rounded_root(a, tolerance):
    """The solution of z = cos(a z), iterated until it moves less than `tolerance`."""
    z = np.ones_like(a)
    while True:
        new = np.cos(a * z)
        if np.max(np.abs(new - z)) <= tolerance:
            return new
        z = new


@example("GP312", "")
def a_jump_that_excuses(is_odd):
    """A solver that stops early, or hardly so."""

    def implicit(a):
        z = rounded_root(a, 1e-14)
        return -np.sin(a * z) * z / (1 + a * np.sin(a * z))

    return check(lambda a: np.sum(rounded_root(a, 1e-6 if is_odd else 1e-14)), np.array([0.3, 0.7]), grad=implicit)


@example("GP313", "")
def a_part_that_is_rounded(is_odd):
    """To float32, or not."""
    kept = np.float32 if is_odd else np.float64
    return check(lambda x: x * x + float(kept(np.sin(x))), 0.7, grad=lambda x: 2 * x + np.cos(x))


@example("GP314", "")
def values_of_float32(is_odd):
    """As float64 numbers."""
    kept = np.float32 if is_odd else np.float64
    return check(lambda x: float(kept(np.sum(np.sin(x)))), X, grad=np.cos)


# --------------------------------------------------------------------------------- kernels at many sizes (GP14., GP42.)


def kernel_of(torch, value, slope):
    """A rule for a function of one tensor, entry by entry."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return value(x)

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent * slope(*ctx.saved_tensors)

    return Rule


def checked_kernel(function, make_inputs=None, *, sizes=(2, 3), layouts=(), **options):
    import torch

    import gradproof.torch

    make_inputs = make_inputs or (lambda size: torch.rand(size) + 0.5)
    return gradproof.torch.check_kernel(function, make_inputs, sizes=sizes, layouts=layouts, rng=0, **options)


@example("GP140", "")
def a_kernel_that_raises(is_odd):
    """At one size; or at none."""
    torch = pytest.importorskip("torch")
    return checked_kernel(kernel_of(torch, lambda x: x.sin() + 0 * x[2 if is_odd else 1], lambda x: x.cos()))


@example("GP141", "output")
def a_gradient_of_another_function(is_odd):
    """Whose gradient is right; or of the reference."""
    torch = pytest.importorskip("torch")
    power = 3 if is_odd else 2
    return checked_kernel(
        kernel_of(torch, lambda x: x**power, lambda x: power * x ** (power - 1)), reference=torch.square
    )


@example("GP142", "")
def a_kernel_that_is_nan(is_odd):
    """At one size; or at none."""
    torch = pytest.importorskip("torch")
    less = 2 if is_odd else 1
    return checked_kernel(
        kernel_of(torch, lambda x: x / (len(x) - less), lambda x: torch.ones_like(x) / (len(x) - less))
    )


@example("GP143", "output")
def a_kernel_that_assumes_strides(is_odd):
    """Or works on a contiguous copy."""
    torch = pytest.importorskip("torch")

    def read(x):
        x = x if is_odd else x.contiguous()
        return torch.as_strided(x, x.shape, (1,), x.storage_offset())

    return checked_kernel(kernel_of(torch, lambda x: read(x).sin(), lambda x: read(x).cos()), layouts=["sliced"])


@example("GP144", "x")
def a_kernel_that_is_wrong_in_16_bits(is_odd):
    """A factor is missing there; or nowhere."""
    torch = pytest.importorskip("torch")
    dtypes = torch.float32, torch.float16

    def slope(x):
        return x.cos() * (2 if is_odd and x.dtype == torch.float16 else 1)

    return checked_kernel(kernel_of(torch, torch.sin, slope), dtypes=dtypes)


@example("GP145", "b")
def a_gradient_of_nothing(is_odd):
    """As of memory that nobody writes; or zero."""
    torch = pytest.importorskip("torch")

    class Shift(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, b):
            return x + b

        @staticmethod
        def backward(ctx, cotangent):
            filled = cotangent.sum(0) if len(cotangent) else torch.full((2,), 7.0 if is_odd else 0.0)
            return cotangent, filled

    return checked_kernel(Shift, lambda rows: (torch.rand(rows, 2), torch.rand(2)), sizes=(0, 1))


@example("GP426", "")
def a_size_that_a_kernel_refuses(is_odd):
    """In words; or takes."""
    torch = pytest.importorskip("torch")

    def sine(x):
        if is_odd and len(x) % 2:
            raise ValueError("the size must be even")
        return torch.sin(x)

    return checked_kernel(sine)


@example("GP427", "")
def a_kernel_of_16_bits_alone(is_odd):
    """Nothing more precise can be asked; or it takes float32."""
    torch = pytest.importorskip("torch")

    def sine(x):
        if is_odd and x.dtype != torch.float16:
            raise TypeError("float16 alone")
        return torch.sin(x)

    return checked_kernel(sine, dtypes=[torch.float16])


class KilledWorker(Exception):  # noqa: N818  (the name that dask gives it)
    """A task has ended several workers."""


class Cluster(concurrent.futures.ThreadPoolExecutor):
    """Its workers end where x[0] has grown, if `dies`."""

    def __init__(self, dies):
        super().__init__(1)
        self._dies = dies

    def submit(self, work, f, points, *others):
        if not self._dies or all(arguments[0][0] <= X[0] for arguments in points):
            return super().submit(work, f, points, *others)
        future = concurrent.futures.Future()
        future.set_exception(KilledWorker())
        return future


@example("GP430", "")
def a_function_that_ends_workers(is_odd):
    """Or one that raises there: a point at which it is undefined is no news."""

    def f(x):
        if not is_odd and x[0] > X[0]:
            raise ValueError
        return square(x)

    with Cluster(is_odd) as executor:
        return check(f, X, grad=lambda x: 2 * x, executor=executor)


# ----------------------------------------------------------------------------------------------------------- the tests

VERDICTS = {Severity.ERROR: Verdict.WRONG, Severity.DOUBT: Verdict.INCONCLUSIVE, Severity.NOTE: Verdict.CORRECT}
examples = pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: f"{one.id}-{one.build.__name__}")


@examples
def test_a_finding_is_reported(one):
    """With its severity, its place and its verdict, first among those it comes with, and with no others."""
    report = one.build(True)

    assert report is not None
    assert ids(report) == [*one.before, one.id, *one.beside]
    found = report.findings[len(one.before)]
    assert (found.path, found.severity.value) == (one.path, SEVERITIES[one.id])
    assert found.kind
    if report.claim == "grad":
        another = bool({"GP110", "GP301", "GP302", "GP310", "GP311"} & set(ids(report)))
        assert (report.suggested_args is not None) is another
    kink = one.id == "GP110"
    assert report.verdict is (Verdict.NOT_DIFFERENTIABLE if kink else VERDICTS[report.findings[0].severity])


@examples
def test_its_look_alike_is_not(one):
    """It is CORRECT, or a valid claim at a kink, with other findings or none."""
    report = one.build(False)

    assert one.id not in one.spared
    if report is None:
        return
    assert ids(report) == one.spared
    assert report.verdict is (Verdict.NOT_DIFFERENTIABLE if "GP110" in one.spared else Verdict.CORRECT)


def test_every_id_has_an_example():
    """What the code reports, the documentation describes and these examples yield are the same ids."""
    described = {one.id for one in EXAMPLES}

    assert described == set(SEVERITIES)
    assert described == ids_in_code()
