"""Conjugates, and factorisations of complex matrices."""

import jax.numpy as jnp
import torch

from zoo._frame import Animal, drawn
from zoo._rules import torch_rule, vjp_rule


def complex_tensor(*shape, seed=0):
    return torch.complex(*(torch.from_numpy(drawn(*shape, seed=seed + part)) for part in (0, 1)))


def absolute(z):
    return jnp.abs(z)


def product(a, b):
    return a * b


def quotient(a, b):
    return a / b


def total_product(z):
    return z.prod()


def total_product_backward(cotangent, z, *, conjugate):
    others = torch.stack([torch.cat([z[:i], z[i + 1 :]]).prod() for i in range(len(z))])
    return cotangent * (others.conj() if conjugate else others)


def cube(z):
    return z**3


class CubeBackward(torch.autograd.Function):
    """The backward of a cube as a rule of its own; its derivative by z lacks a conjugate, or does not."""

    conjugate = True

    @staticmethod
    def forward(ctx, cotangent, z):
        ctx.save_for_backward(cotangent, z)
        return cotangent * (3 * z**2).conj()

    @classmethod
    def second(cls, ctx, second):
        cotangent, z = ctx.saved_tensors
        curvature = second.conj() * cotangent * (6 * z).conj()
        # df = conj(cotangent) of the cotangent's part; by z the rule is antilinear
        by_z = (6 * z).conj() * second.conj() * cotangent if cls.conjugate else (6 * z) * second * cotangent.conj()
        return second * 3 * z**2, by_z if cls.conjugate else curvature.conj()

    @staticmethod
    def backward(ctx, second):
        return CubeBackward.second(ctx, second)


class CubeBackwardPlain(CubeBackward):
    conjugate = False

    @staticmethod
    def backward(ctx, second):
        return CubeBackwardPlain.second(ctx, second)


def real_of_cube(backward):
    rule = torch_rule(cube, lambda c, z: backward.apply(c, z))
    return lambda z: rule(z).real.sum()


# ------------------------------------------------------------------------------------- singular values


class SVD(torch.autograd.Function):
    """U, S, V^H of a square matrix, with the imaginary part of the diagonal of U^H dU, or without."""

    diagonal = True

    @staticmethod
    def forward(ctx, A):
        U, S, Vh = torch.linalg.svd(A)
        ctx.save_for_backward(U, S, Vh)
        return U, S, Vh

    @classmethod
    def pulled_back(cls, ctx, dU, dS, dVh):
        U, S, Vh = ctx.saved_tensors
        gaps = S[None, :] ** 2 - S[:, None] ** 2
        gaps = gaps + torch.eye(len(S))  # the diagonal of a skew matrix is imaginary: see below
        left, right = U.mH @ dU, Vh @ dVh.mH
        inner = ((left - left.mH) / gaps) * S[None, :] + S[:, None] * ((right - right.mH) / gaps)
        inner = inner - torch.diag(torch.diagonal(inner)) + torch.diag(dS).to(inner)
        if cls.diagonal:
            inner = inner + torch.diag(1j * torch.diagonal(left).imag / S)
        return U @ inner @ Vh

    @staticmethod
    def backward(ctx, *cotangents):
        return SVD.pulled_back(ctx, *cotangents)


class SVDWithoutDiagonal(SVD):
    diagonal = False

    @staticmethod
    def backward(ctx, *cotangents):
        return SVDWithoutDiagonal.pulled_back(ctx, *cotangents)


def polar(svd):
    """The unitary factor U V^H, which does not depend on the phases of the singular vectors."""

    def factor(A):
        U, _, Vh = svd.apply(A)
        return U @ Vh

    return factor


ANIMALS = [
    Animal(
        name="abs of a complex number, conjugated",
        source="jax-ml/jax#979",
        mistake="z / |z| in the convention of another framework, for conj(z) / |z|",
        wrong=vjp_rule(absolute, lambda c, z: (c * z / jnp.abs(z),)),
        right=vjp_rule(absolute, lambda c, z: (c * jnp.conj(z) / jnp.abs(z),)),
        args=lambda: jnp.asarray(drawn(3) + 1j * drawn(3, seed=1)),
        how="jax",
        says="conj",
    ),
    Animal(
        name="complex product of two",
        source="tensorflow/tensorflow#12514",
        mistake="the other factor is not conjugated: the derivative of Re(a b) has another sign",
        wrong=torch_rule(product, lambda c, a, b: (c * b, c * a)),
        right=torch_rule(product, lambda c, a, b: (c * b.conj(), c * a.conj())),
        args=lambda: (complex_tensor(3), complex_tensor(3, seed=2)),
    ),
    Animal(
        name="complex product of all",
        source="ml-explore/mlx#3433",
        mistake="the product of the others is not conjugated",
        wrong=torch_rule(total_product, lambda c, z: total_product_backward(c, z, conjugate=False)),
        right=torch_rule(total_product, lambda c, z: total_product_backward(c, z, conjugate=True)),
        args=lambda: complex_tensor(4),
    ),
    Animal(
        name="complex quotient",
        source="ml-explore/mlx#2178",
        mistake="the gradient by the denominator lacks a conjugate",
        wrong=torch_rule(quotient, lambda c, a, b: (c / b.conj(), -c * a / b**2)),
        right=torch_rule(quotient, lambda c, a, b: (c / b.conj(), -c * (a / b**2).conj())),
        args=lambda: (complex_tensor(3), complex_tensor(3, seed=2)),
        says="b",
    ),
    Animal(
        name="complex second derivative",
        source="tensorflow/tensorflow#27845",
        mistake="first order right; the second lacks a conjugate",
        wrong=real_of_cube(CubeBackwardPlain),
        right=real_of_cube(CubeBackward),
        args=lambda: complex_tensor(2),
        options={"order": 2, "modes": ("rev-rev",)},
        second=True,
    ),
    Animal(
        name="singular vectors, an imaginary diagonal missing",
        source="jax-ml/jax#5225",
        mistake="right for real matrices; for complex ones a term with the phases is missing",
        wrong=polar(SVDWithoutDiagonal),
        right=polar(SVD),
        args=lambda: complex_tensor(3, 3) + 3 * torch.diag(torch.tensor([1.0, 2.0, 3.5])).to(torch.complex128),
    ),
]
