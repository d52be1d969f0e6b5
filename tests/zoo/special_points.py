"""Zeros, ties, edges of cases, cancellation: right almost everywhere."""

import jax.numpy as jnp
import numpy as np
import torch

from gradproof import Verdict
from zoo._frame import Animal, drawn
from zoo._rules import array, jvp_rule, tensor, torch_rule, vjp_rule

# ------------------------------------------------------------------------------------- products


def cumulative_by_division(cotangent, x):
    return np.cumsum((cotangent * np.cumprod(x))[::-1])[::-1] / x  # wrong on purpose: 0 / 0


def cumulative_by_products(cotangent, x):
    n = len(x)
    without = [[np.prod(np.delete(x[: i + 1], j)) if j <= i else 0.0 for j in range(n)] for i in range(n)]
    return cotangent @ np.array(without)


# ------------------------------------------------------------------------------------- cases of a scalar


def logsumexp_masked(a, b):
    """Weights of zero are left out, and with them the derivative by the weight."""
    top = a.max()
    return top + jnp.log(jnp.sum(jnp.where(b != 0, b * jnp.exp(a - top), 0.0)))  # wrong on purpose


def logsumexp_plain(a, b):
    top = a.max()
    return top + jnp.log(jnp.sum(b * jnp.exp(a - top)))


def softplus_by_cases(x):
    return jnp.where(x > 0, x, 0.0) + jnp.log1p(jnp.exp(-x * jnp.sign(x)))  # wrong on purpose at 0


def scaled(x):
    """ldexp(x, 2)."""
    return 4 * x


def scaled_by_ratio(dx, x):
    """Scale of the output by that of the input."""
    return dx * jnp.where(x == 0, 1.0, scaled(x) / jnp.where(x == 0, 1.0, x))  # wrong on purpose at 0


def square_root_beyond_one(x):
    return jnp.where(x < 1, x, jnp.sqrt(x))  # wrong on purpose: 0 times inf at 0


def square_root_beyond_one_safe(x):
    return jnp.where(x < 1, x, jnp.sqrt(jnp.where(x < 1, 1.0, x)))


def radius_at_least(points):
    return torch.maximum(points.square().sum(-1).sqrt(), points.new_tensor(0.1))  # wrong on purpose: 0 / 0 at 0


def radius_at_least_safe(points):
    squares = points.square().sum(-1)
    return torch.where(squares > 0.01, torch.where(squares > 0.01, squares, 1.0).sqrt(), 0.1)


def norm(x):
    return jnp.sqrt(jnp.sum(x * x))


def norm_or_zero(cotangent, x):
    length = norm(x)
    return (jnp.where(length == 0, 0.0, cotangent * x / jnp.where(length == 0, 1.0, length)),)


# ------------------------------------------------------------------------------------- branches


def renorm(x):
    """Rows longer than 1 are shortened to 1."""
    lengths = x.norm(dim=1, keepdim=True)
    return torch.where(lengths > 1, x / lengths, x)


def renorm_backward(cotangent, x, *, swapped):
    lengths = x.norm(dim=1, keepdim=True)
    shortened = (cotangent - x * (cotangent * x).sum(1, keepdim=True) / lengths**2) / lengths
    return torch.where((lengths > 1) != swapped, shortened, cotangent)


def smaller(a, b):
    return torch.minimum(a, b)


def smaller_backward(c, a, b, *, share):
    tie = share * (a == b)
    return c * ((a < b) + tie), c * ((b < a) + tie)


def blocks_of(y):
    """Pool adjacent violators: (start, stop) of the blocks of the isotonic fit."""
    blocks = []
    for i in range(len(y)):
        blocks.append((i, i + 1))
        while len(blocks) > 1 and y[slice(*blocks[-2])].mean() >= y[slice(*blocks[-1])].mean():
            (start, _), (_, stop) = blocks[-2:]
            blocks[-2:] = [(start, stop)]
    return blocks


def isotonic(y):
    out = np.empty_like(y)
    for start, stop in blocks_of(y):
        out[start:stop] = y[start:stop].mean()
    return out


def isotonic_vjp(cotangent, y, *, mean):
    out = np.empty_like(y)
    for start, stop in blocks_of(y):
        out[start:stop] = cotangent[start:stop].sum() / (stop - start if mean else 1)
    return out


# ------------------------------------------------------------------------------------- indices


def max_pool(x):
    """Windows of three, one apart."""
    return np.array([x[i : i + 3].max() for i in range(len(x) - 2)])


def max_pool_vjp(cotangent, x, *, add):
    out = np.zeros_like(x)
    for i, c in enumerate(cotangent):
        j = i + np.argmax(x[i : i + 3])
        out[j] = c + (out[j] if add else 0.0)
    return out


INDEX = torch.tensor([0, 2, 0, 1, 2, 0])


def gather(x):
    return x[INDEX]


def gather_last(cotangent, x):
    out = torch.zeros_like(x)
    for i, c in zip(INDEX.tolist(), cotangent, strict=True):
        out = torch.where(torch.arange(len(x)) == i, c, out)  # wrong on purpose: the last one stays
    return out


def fill(x, value):
    """Entries 2, twice named, and 0."""
    chosen = torch.tensor([2, 2, 0])
    return x.index_fill(0, chosen, 0.0).index_add(0, chosen.unique(), value.expand(2))


def fill_backward(cotangent, x, value, *, unique):
    chosen = torch.tensor([2, 2, 0])
    return cotangent.index_fill(0, chosen, 0.0), cotangent[chosen.unique() if unique else chosen].sum()


# ------------------------------------------------------------------------------------- cancellation


def shifted_sinc(t):
    return np.sum(np.sinc(4 * t - 1))


def sinc_quotient(t):
    p = np.pi * (4 * t - 1)
    return 4 * np.pi * (np.cos(p) / p - np.sin(p) / p**2)  # wrong on purpose: the rounding of 1 / p


def sinc_series(t):
    p = np.pi * (4 * t - 1)
    safe = np.where(np.abs(p) < 1e-2, 1.0, p)
    slope = np.where(np.abs(p) < 1e-2, -p / 3 + p**3 / 30, (np.cos(safe) - np.sin(safe) / safe) / safe)
    return 4 * np.pi * slope


def one_element_norm(x, w, b):
    """Layer normalisation over the last axis, which has one element: (x - mean) is 0."""
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * w + b


def one_element_backward(cotangent, x, w, b, *, expanded):
    mean, rstd = x.mean(-1, keepdim=True), (x.var(-1, keepdim=True, unbiased=False) + 1e-5).rsqrt()
    dw = ((cotangent * x) * rstd - cotangent * (mean * rstd)) if expanded else cotangent * ((x - mean) * rstd)
    return torch.zeros_like(x), dw.sum(0), cotangent.sum(0)


ANIMALS = [
    Animal(
        name="cumulative product, by division",
        source="tensorflow/tensorflow#3862",
        mistake="the gradient is sum(u y) / x: nan where x is 0",
        f=np.cumprod,
        wrong=cumulative_by_division,
        right=cumulative_by_products,
        args=lambda: np.array([0.5, 0.0, 2.0, -1.5]),
        how="numpy",
        id="GP203",
        says="not finite",
    ),
    Animal(
        name="logsumexp by a weight of zero",
        source="jax-ml/jax#22398",
        mistake="weights of 0 are masked, so that their derivative is 0 rather than a softmax",
        wrong=logsumexp_masked,
        right=logsumexp_plain,
        args=lambda: (array(4), jnp.array([0.5, 0.0, 2.0, 1.0])),
        how="jax",
        slow=True,
        says="b",
    ),
    Animal(
        name="softplus at 0",
        source="jax-ml/jax#2107",
        mistake="written with cases and sign, its derivative at 0 is 0 rather than 1/2",
        wrong=softplus_by_cases,
        right=lambda x: jnp.logaddexp(x, 0.0),
        args=lambda: jnp.array([-1.0, 0.0, 2.0]),
        how="jax",
        slow=True,
        says=r"\[1.*claimed zero",
    ),
    Animal(
        name="ldexp at 0",
        source="jax-ml/jax#38001",
        mistake="the scale is taken from output over input, and is 1 where the input is 0",
        wrong=jvp_rule(scaled, scaled_by_ratio),
        right=jvp_rule(scaled, lambda dx, x: scaled(dx)),
        args=lambda: jnp.array([0.0, 1.0, -2.0]),
        how="jax",
        says=r"\[0",
    ),
    Animal(
        name="where, with inf in the branch not taken",
        source="jax-ml/jax#5798",
        mistake="0 times inf: nan at 0, where the other branch is taken",
        wrong=square_root_beyond_one,
        right=square_root_beyond_one_safe,
        args=lambda: jnp.array([0.0, 0.5, 4.0]),
        how="jax",
        id="GP203",
        says="not finite",
    ),
    Animal(
        name="a radius of at least 0.1",
        source="ml-explore/mlx#3668",
        mistake="the maximum masks the square root at 0, whose backward makes nan of the 0",
        wrong=radius_at_least,
        right=radius_at_least_safe,
        args=lambda: torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64),
        id="GP203",
        says="not finite",
    ),
    Animal(
        name="norm at 0",
        source="jax-ml/jax#3058",
        mistake="nan at the kink, where 0 is a subgradient",
        wrong=norm,
        right=vjp_rule(norm, norm_or_zero),
        args=lambda: jnp.zeros(3),
        how="jax",
        options={"modes": ("rev",)},
        id="GP203",
        says="not finite",
        twin=Verdict.NOT_DIFFERENTIABLE,
    ),
    Animal(
        name="renorm, branches swapped",
        source="pytorch/pytorch#59615",
        mistake="rows that are shortened get the derivative of those that are not, and the other way round",
        wrong=torch_rule(renorm, lambda c, x: renorm_backward(c, x, swapped=True)),
        right=torch_rule(renorm, lambda c, x: renorm_backward(c, x, swapped=False)),
        args=lambda: tensor(4, 3) * torch.tensor([[2.0], [0.2], [3.0], [0.3]], dtype=torch.float64),
    ),
    Animal(
        name="minimum of equal numbers",
        source="Theano/Theano#6470",
        mistake="at a tie both get the whole cotangent: 2 in all",
        wrong=torch_rule(smaller, lambda c, a, b: smaller_backward(c, a, b, share=1.0)),
        right=torch_rule(smaller, lambda c, a, b: smaller_backward(c, a, b, share=0.5)),
        args=lambda: (torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([1.5, 2.0, 0.5]).double()),
        id="GP103",
        twin=Verdict.NOT_DIFFERENTIABLE,
    ),
    Animal(
        name="isotonic regression",
        source="tensorflow/tensorflow#127234",
        mistake="within a pooled block the sum of the cotangents, not their mean",
        f=isotonic,
        wrong=lambda u, y: isotonic_vjp(u, y, mean=False),
        right=lambda u, y: isotonic_vjp(u, y, mean=True),
        args=lambda: np.array([1.0, 3.0, 2.0, 5.0, 4.5, 4.0]),
        how="numpy",
    ),
    Animal(
        name="max pooling with overlapping windows",
        source="FluxML/NNlib.jl#205",
        mistake="an entry that is the largest of several windows gets the cotangent of the last",
        f=max_pool,
        wrong=lambda u, x: max_pool_vjp(u, x, add=False),
        right=lambda u, x: max_pool_vjp(u, x, add=True),
        args=lambda: drawn(8),
        how="numpy",
    ),
    Animal(
        name="gather with repeated indices",
        source="pytorch/pytorch#1631",
        mistake="an entry that is read several times gets the cotangent of the last",
        wrong=torch_rule(gather, gather_last),
        right=torch_rule(gather, lambda c, x: torch.zeros_like(x).index_add(0, INDEX, c)),
        args=lambda: tensor(4),
    ),
    Animal(
        name="index_fill with an index twice",
        source="pytorch/pytorch#57006",
        mistake="an entry that is named twice, and filled once, counts twice for the value",
        wrong=torch_rule(fill, lambda c, x, v: fill_backward(c, x, v, unique=False)),
        right=torch_rule(fill, lambda c, x, v: fill_backward(c, x, v, unique=True)),
        args=lambda: (tensor(4), tensor(seed=1)),
        says="value",
    ),
    Animal(
        name="sinc near 0",
        source="jax-ml/jax#34139",
        mistake="cos(p) / p - sin(p) / p^2 is the rounding of 1 / p near 0",
        f=shifted_sinc,
        claim="grad",
        wrong=sinc_quotient,
        right=sinc_series,
        args=lambda: np.array([0.3, 0.25000000000000017, 0.7]),
        how="numpy",
        says=r"\[1",
    ),
    Animal(
        name="layer norm over one element",
        source="pytorch/pytorch#188375",
        mistake="(u x) r - u (m r) for u (x - m) r: in float32 the difference of two large numbers, exactly 0",
        wrong=torch_rule(one_element_norm, lambda c, x, w, b: one_element_backward(c, x, w, b, expanded=True)),
        right=torch_rule(one_element_norm, lambda c, x, w, b: one_element_backward(c, x, w, b, expanded=False)),
        args=lambda: (torch.tensor([[1234567.0], [765432.1]]), torch.tensor([1.5]), torch.tensor([0.5])),
        id="GP",
        says="not linear|w",
    ),
]
