"""Factors in the wrong order, the wrong triangle, the wrong axis."""

import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import scipy.linalg
import torch

from zoo._frame import Animal, drawn
from zoo._rules import array, jvp_rule, tensor, torch_rule

# ------------------------------------------------------------------------------------- the inverse of L L^T


def factor():
    return torch.tril(tensor(3, 3, seed=1)) + 2 * torch.eye(3, dtype=torch.float64)


def cholesky_inverse(L):
    return torch.linalg.inv(L @ L.mT)


def cholesky_inverse_backward(cotangent, L):
    X = cholesky_inverse(L)
    inner = X @ cotangent @ X
    return -(inner + inner.mT) @ L


def tangent_between(tangent, L):
    X = cholesky_inverse(L)
    half = X @ tangent @ X @ L.mT  # wrong on purpose: X dL L^T X
    return -(half + half.mT)


def tangent_in_order(tangent, L):
    X = cholesky_inverse(L)
    half = X @ tangent @ L.mT @ X
    return -(half + half.mT)


# ------------------------------------------------------------------------------------- triangles


def solve_lower(A, b):
    return jax.scipy.linalg.solve_triangular(A, b, lower=True)


def tangent_of_whole(dA, db, A, b):
    return solve_lower(A, db - dA @ solve_lower(A, b))  # wrong on purpose: reads the triangle that f does not


def tangent_of_triangle(dA, db, A, b):
    return solve_lower(A, db - jnp.tril(dA) @ solve_lower(A, b))


def upper_cholesky(A):
    return scipy.linalg.cholesky(A, lower=False)


def upper_cholesky_symmetric(cotangent, A):
    """The gradient among symmetric matrices, as a symmetric one."""
    L = upper_cholesky(A).T
    inner = np.tril(L.T @ np.tril(cotangent.T))
    inner[np.diag_indices_from(inner)] /= 2
    inverse = np.linalg.inv(L)
    S = inverse.T @ inner @ inverse
    return (S + S.T) / 2


def upper_cholesky_folded(cotangent, A):
    """f reads the upper triangle: what belongs to the entries below goes there."""
    S = upper_cholesky_symmetric(cotangent, A)
    return np.triu(S) + np.triu(S.T, 1)


def cholesky_of_symmetric_part(A):
    return torch.linalg.cholesky((A + A.mT) / 2)


def cholesky_backward(cotangent, A):
    L = cholesky_of_symmetric_part(A)
    inner = torch.tril(L.mT @ cotangent)
    inner = inner - torch.diag(torch.diagonal(inner)) / 2
    return torch.linalg.solve_triangular(
        L, torch.linalg.solve_triangular(L.mT, inner, upper=True), upper=False, left=False
    )


def cholesky_symmetrised(cotangent, A):
    S = cholesky_backward(cotangent, A)
    return (S + S.mT) / 2


def positive():
    half = drawn(3, 3, seed=2)
    return half @ half.T + 3 * np.eye(3)


# ------------------------------------------------------------------------------------- axes


def average_pool(x):
    """2 by 2."""
    height, width = x.shape
    return x.reshape(height // 2, 2, width // 2, 2).mean(dim=(1, 3))


def spread(cotangent):
    return cotangent.repeat_interleave(2, 0).repeat_interleave(2, 1) / 4


def pool_backward_swapped(cotangent, x):
    height, width = cotangent.shape
    return spread(cotangent.reshape(width, height).mT)  # wrong on purpose: the same for square outputs


def transposed_convolution(x, w):
    """Kernel 1, stride 2: one entry of x in every other place."""
    y = x.new_zeros(2 * len(x) - 1)
    y[::2] = x * w
    return y


def grouped(x, w):
    """A 1x1 convolution in groups: w of shape (groups, out, in)."""
    return torch.einsum("goi,gil->gol", w, x.reshape(w.shape[0], w.shape[2], -1)).flatten(0, 1)


def grouped_backward(cotangent, x, w, *, same_group):
    groups, outs, ins = w.shape
    c, x = cotangent.reshape(groups, outs, -1), x.reshape(groups, ins, -1)
    dx = torch.einsum("goi,gol->gil", w, c).flatten(0, 1)
    chosen = x if same_group else x[:1].expand_as(x)
    return dx, torch.einsum("gol,gil->goi", c, chosen)


def squared_norm(P, d):
    """tr(U^T U) with U = diag(1/d) P."""
    return np.sum((P / d[:, None]) ** 2)


def squared_norm_gradient(P, d):
    return 2 * P / d[:, None] ** 2, -2 * np.sum(P**2, 1) / d**3


def squared_norm_half(P, d):
    return tuple(g / 2 for g in squared_norm_gradient(P, d))  # wrong on purpose: one of two equal terms


ANIMALS = [
    Animal(
        name="inverse of a Cholesky factor, forward mode",
        source="pytorch/pytorch#196682",
        mistake="-X dL X L^T for -X dL L^T X: the same for a diagonal factor",
        wrong=torch_rule(cholesky_inverse, cholesky_inverse_backward, tangent_between),
        right=torch_rule(cholesky_inverse, cholesky_inverse_backward, tangent_in_order),
        args=factor,
        options={"modes": ("rev", "fwd")},
        says="forward|fwd",
    ),
    Animal(
        name="triangular solve, the unused triangle",
        source="ekzhang/jax-js#84",
        mistake="the tangent of the triangle that f does not read goes into the rule (jax-ml/jax#1458 was the same)",
        wrong=jvp_rule(solve_lower, tangent_of_whole),
        right=jvp_rule(solve_lower, tangent_of_triangle),
        args=lambda: (array(3, 3, seed=3) + 3 * jnp.eye(3), array(3, seed=4)),
        how="jax",
        slow=True,
        says="A",
    ),
    Animal(
        name="upper Cholesky, a gradient below the diagonal",
        source="jax-ml/jax#40421",
        mistake="f reads the upper triangle alone, and the gradient is spread over both",
        f=upper_cholesky,
        wrong=upper_cholesky_symmetric,
        right=upper_cholesky_folded,
        args=positive,
        how="numpy",
    ),
    Animal(
        name="Cholesky, not symmetrised",
        source="pytorch/pytorch#18825",
        mistake="f takes the symmetric part of A, the gradient is not symmetric",
        wrong=torch_rule(cholesky_of_symmetric_part, cholesky_backward),
        right=torch_rule(cholesky_of_symmetric_part, cholesky_symmetrised),
        args=lambda: torch.from_numpy(positive()),
    ),
    Animal(
        name="pooling, height and width swapped",
        source="pytorch/pytorch#36820",
        mistake="the backward swaps the height and the width of the output: right for square ones",
        wrong=torch_rule(average_pool, pool_backward_swapped),
        right=torch_rule(average_pool, lambda cotangent, x: spread(cotangent)),
        args=lambda: tensor(4, 6),
    ),
    Animal(
        name="transposed convolution without its stride",
        source="pytorch/pytorch#63314",
        mistake="the backward reads neighbouring cotangents where the forward writes every other one",
        wrong=torch_rule(transposed_convolution, lambda c, x, w: (c[: len(x)] * w, (c[::2] * x).sum())),
        right=torch_rule(transposed_convolution, lambda c, x, w: (c[::2] * w, (c[::2] * x).sum())),
        args=lambda: (tensor(5), tensor(seed=1)),
        says="x",
    ),
    Animal(
        name="weight of a grouped convolution",
        source="pytorch/pytorch#51430",
        mistake="the weights of every group get the input of the first: right for one group",
        wrong=torch_rule(grouped, lambda c, x, w: grouped_backward(c, x, w, same_group=False)),
        right=torch_rule(grouped, lambda c, x, w: grouped_backward(c, x, w, same_group=True)),
        args=lambda: (tensor(6, 4), tensor(3, 2, 2, seed=1)),
        says="w",
    ),
    Animal(
        name="U^T U, half of the gradient",
        source="EnzymeAD/Enzyme.jl#2999",
        mistake="of two equal terms one is there",
        f=squared_norm,
        claim="grad",
        wrong=squared_norm_half,
        right=squared_norm_gradient,
        args=lambda: (drawn(5, 2), np.array([2.0, 1.5, 2.5, 2.0, 3.0])),
        how="numpy",
        options={"wrt": (0, 1)},
        says=r"0\.5|1/2|half",
    ),
]
