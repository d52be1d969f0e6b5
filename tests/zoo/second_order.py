"""First derivatives right, second ones wrong: what a rule keeps for itself is a constant when it is differentiated."""

import jax
import jax.numpy as jnp
import torch

from zoo._frame import Animal, drawn
from zoo._rules import array, jvp_rule, tensor, torch_rule

stop = jax.lax.stop_gradient
SECOND = {"order": 2}

# ------------------------------------------------------------------------------------- matrices


def determinant(A):
    return A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0]


def log_determinant(A):
    return jnp.log(jnp.abs(determinant(A)))


def solve(A, b):
    return jnp.linalg.inv(A) @ b


def keep(value):
    return value


def solve_tangent(kept):
    """Tangent of A^-1 b, from an inverse that is kept."""

    def tangent(dA, db, A, b):
        inverse = jnp.linalg.inv(kept(A))
        return inverse @ (db - dA @ solve(A, b))

    return tangent


def determinant_tangent(kept):
    return lambda dA, A: determinant(A) * jnp.trace(jnp.linalg.inv(kept(A)) @ dA)


def log_determinant_tangent(kept):
    return lambda dA, A: jnp.trace(jnp.linalg.inv(kept(A)) @ dA)


def matrix():
    return jnp.asarray(drawn(2, 2, seed=3) + 3 * jnp.eye(2))


# ------------------------------------------------------------------------------------- norms and products


def layer_norm(x):
    centred = x - x.mean()
    return centred / jnp.sqrt((centred**2).mean() + 1e-5)


def layer_norm_tangent(kept):
    def tangent(dx, x):
        centred, rstd = x - x.mean(), kept(1 / jnp.sqrt(((x - x.mean()) ** 2).mean() + 1e-5))
        normed, d = centred * rstd, dx - dx.mean()
        return rstd * (d - normed * (normed * d).mean())

    return tangent


def product(x):
    return jnp.prod(x)


def product_tangent(kept):
    """Each entry times the product of the others."""

    def tangent(dx, x):
        others = jnp.stack([jnp.prod(jnp.delete(x, i)) for i in range(len(x))])
        return jnp.sum(dx * jnp.where(x == 0, kept(others), others))

    return tangent


def cumulative(x):
    return jnp.cumprod(x)


def cumulative_tangent(safe):
    """By division, except from the first zero on, where the tangent's own derivative is lost."""

    def tangent(dx, x):
        def upto(n):
            others = jnp.stack([jnp.prod(jnp.delete(x[:n], i)) for i in range(n)])
            clear = jnp.all(x[:n] != 0)
            return jnp.sum(dx[:n] * (others if safe else jnp.where(clear, others, stop(others))))

        return jnp.stack([upto(n) for n in range(1, len(x) + 1)])

    return tangent


def torch_product(x):
    return x.prod()


def torch_product_backward(cotangent, x, *, shortcut):
    if shortcut and (x == 0).sum() > 1:
        return torch.zeros_like(x)  # wrong on purpose: right to first order, and without a graph
    return cotangent * torch.stack([torch.cat([x[:i], x[i + 1 :]]).prod() for i in range(len(x))])


# ------------------------------------------------------------------------------------- losses

TARGETS = torch.tensor([0, 2, 1])


def cross_entropy(logits):
    return torch.nn.functional.cross_entropy(logits, TARGETS, reduction="sum")


def cross_entropy_backward(cotangent, logits, *, cached):
    p = logits.softmax(1)
    p = p.detach() if cached else p
    return cotangent * (p - torch.nn.functional.one_hot(TARGETS, logits.shape[1]).to(p))


LABELS = torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)


def binary_cross_entropy(p):
    return -(LABELS * p.log() + (1 - LABELS) * (1 - p).log()).sum()


class ScaledBackward(torch.autograd.Function):
    """The backward of a binary cross entropy as a rule of its own, whose backward divides by the count."""

    count = 1

    @staticmethod
    def forward(ctx, cotangent, p):
        ctx.save_for_backward(cotangent, p)
        return cotangent * (p - LABELS) / (p * (1 - p))

    @staticmethod
    def backward(ctx, second):
        cotangent, p = ctx.saved_tensors
        curvature = LABELS / p**2 + (1 - LABELS) / (1 - p) ** 2
        slope = (p - LABELS) / (p * (1 - p))
        return (second * slope).sum(), second * cotangent * curvature / ScaledBackward.count


class MeanBackward(ScaledBackward):
    @staticmethod
    def backward(ctx, second):
        first, last = ScaledBackward.backward(ctx, second)
        return first, last / len(LABELS)  # wrong on purpose: reduction="mean" whatever was asked for


class DoublesItsInput(torch.autograd.Function):
    """(2 x)**2 whose backward reads 2 x from its context."""

    @staticmethod
    def forward(ctx, x):
        ctx.doubled = 2 * x
        return ctx.doubled**2

    @staticmethod
    def backward(ctx, cotangent):
        return 4 * ctx.doubled * cotangent  # wrong on purpose, to second order


def doubled_square(x):
    return (2 * x) ** 2


class SquareWithResult(torch.autograd.Function):
    """The product of all entries, whose backward divides the saved result."""

    @staticmethod
    def forward(ctx, x):
        y = x.prod()
        ctx.save_for_backward(x)
        ctx.result = y  # wrong on purpose: not saved as an output
        return y.clone()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * ctx.result / x


class Fourth(torch.autograd.Function):
    """x**4 with a jvp, which is not differentiated by x."""

    @staticmethod
    def forward(x):
        return x**4

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(*inputs)
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 4 * x**3

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return tangent * 4 * x**3


# ------------------------------------------------------------------------------------- forward over reverse


def logit_gradient(sign):
    """sigmoid(x) - label, a rule of its own with a jvp."""

    def forward(cotangent, x):
        return cotangent * (torch.sigmoid(x) - LABELS)

    def backward(second, cotangent, x):
        s = torch.sigmoid(x)
        return (second * (s - LABELS)).sum(), second * cotangent * s * (1 - s)

    def tangent(dc, dx, cotangent, x):
        s = torch.sigmoid(x)
        return dc * (s - LABELS) + sign * cotangent * s * (1 - s) * dx

    return torch_rule(forward, backward, tangent)


def logits_loss(sign):
    gradient = logit_gradient(sign)

    def with_logits(x):
        return (torch.nn.functional.softplus(x) - LABELS * x).sum()

    def tangent(dx, x):
        return (dx * (torch.sigmoid(x) - LABELS)).sum()

    return torch_rule(with_logits, gradient, tangent)


ANIMALS = [
    Animal(
        name="determinant, the inverse kept",
        source="pytorch/pytorch#196696",
        mistake="the tangent's inverse comes from saved factors, which have no derivative",
        wrong=jvp_rule(determinant, determinant_tangent(stop)),
        right=jvp_rule(determinant, determinant_tangent(keep)),
        args=matrix,
        how="jax",
        slow=True,
        options=SECOND,
        second=True,
    ),
    Animal(
        name="log determinant, the inverse kept",
        source="pytorch/pytorch#192667",
        mistake="with a constant inverse all second derivatives are 0",
        wrong=jvp_rule(log_determinant, log_determinant_tangent(stop)),
        right=jvp_rule(log_determinant, log_determinant_tangent(keep)),
        args=matrix,
        how="jax",
        slow=True,
        options=SECOND,
        second=True,
    ),
    Animal(
        name="linear solve, the factors kept",
        source="pytorch/pytorch#198017",
        mistake="one of two cross terms is lost, so that mixed second derivatives are half",
        wrong=jvp_rule(solve, solve_tangent(stop)),
        right=jvp_rule(solve, solve_tangent(keep)),
        args=lambda: (matrix(), array(2)),
        how="jax",
        slow=True,
        options=SECOND,
        second=True,
    ),
    Animal(
        name="layer norm, 1/std kept",
        source="pytorch/pytorch#198017",
        mistake="the tangent takes the saved 1/std for a constant",
        wrong=jvp_rule(layer_norm, layer_norm_tangent(stop)),
        right=jvp_rule(layer_norm, layer_norm_tangent(keep)),
        args=lambda: array(4),
        how="jax",
        slow=True,
        options=SECOND,
        second=True,
    ),
    Animal(
        name="product with a zero",
        source="tensorflow/tensorflow#61117",
        mistake="the gradient by an entry that is 0 is a constant when it is differentiated",
        wrong=jvp_rule(product, product_tangent(stop)),
        right=jvp_rule(product, product_tangent(keep)),
        args=lambda: jnp.array([0.0, 2.0, 3.0]),
        how="jax",
        slow=True,
        options=SECOND,
        second=True,
    ),
    Animal(
        name="cumulative product behind a zero",
        source="pytorch/pytorch#196701",
        mistake="from the first zero on the tangent is right, and its own derivative is lost",
        wrong=jvp_rule(cumulative, cumulative_tangent(False)),
        right=jvp_rule(cumulative, cumulative_tangent(True)),
        args=lambda: jnp.array([1.5, 0.0, 2.0]),
        how="jax",
        slow=True,
        options=SECOND,
        second=True,
    ),
    Animal(
        name="product with two zeros",
        source="pytorch/pytorch#106789",
        mistake="with two zeros the gradient is all zero, and is returned without a graph",
        wrong=torch_rule(torch_product, lambda c, x: torch_product_backward(c, x, shortcut=True)),
        right=torch_rule(torch_product, lambda c, x: torch_product_backward(c, x, shortcut=False)),
        args=lambda: torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64),
        options=SECOND,
        second=True,
    ),
    Animal(
        name="softmax cross entropy, the probabilities cached",
        source="tensorflow/tensorflow#7403",
        mistake="the backward uses probabilities from the forward: the Hessian is 0",
        wrong=torch_rule(cross_entropy, lambda c, x: cross_entropy_backward(c, x, cached=True)),
        right=torch_rule(cross_entropy, lambda c, x: cross_entropy_backward(c, x, cached=False)),
        args=lambda: tensor(3, 4),
        options=SECOND,
        second=True,
    ),
    Animal(
        name="an intermediate kept on the context",
        source="pytorch/pytorch#76185",
        mistake="ctx holds 2 x as data, so that the second derivative is 0",
        wrong=DoublesItsInput.apply,
        right=doubled_square,
        args=lambda: tensor(3),
        options=SECOND,
        second=True,
    ),
    Animal(
        name="a result kept on the context",
        source="pytorch/pytorch#18619",
        mistake="the gradient divides a product that is data, so that mixed second derivatives are 0",
        wrong=SquareWithResult.apply,
        right=torch.prod,
        args=lambda: tensor(3),
        options=SECOND,
        second=True,
    ),
    Animal(
        name="binary cross entropy, summed",
        source="pytorch/pytorch#59477",
        mistake="the double backward divides by the count, whatever the reduction",
        wrong=torch_rule(binary_cross_entropy, lambda c, p: MeanBackward.apply(c, p)),
        right=torch_rule(binary_cross_entropy, lambda c, p: ScaledBackward.apply(c, p)),
        args=lambda: torch.tensor([0.3, 0.6, 0.8], dtype=torch.float64),
        options=SECOND,
        second=True,
    ),
    Animal(
        name="cross entropy of logits, forward over reverse",
        source="pytorch/pytorch#79609",
        mistake="the tangent of the backward has the wrong sign; reverse over reverse is right",
        wrong=logits_loss(-1.0),
        right=logits_loss(1.0),
        args=lambda: tensor(3),
        options={"order": 2, "modes": ("rev-rev", "fwd-rev")},
        second=True,
        says="fwd-rev|forward over reverse",
    ),
    Animal(
        name="a jvp that is not differentiated",
        source="pytorch/pytorch#197867",
        mistake="forward over forward through an autograd.Function is 0: the saved x has lost its tangent",
        wrong=Fourth.apply,
        right=lambda x: x**4,
        args=lambda: tensor(3),
        options={"order": 2, "modes": ("fwd-fwd",)},
        second=True,
    ),
]
