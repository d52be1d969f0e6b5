"""What the forward broadcasts, the backward must sum; and a gradient has the shape of its array."""

import numpy as np

from zoo._frame import Animal, drawn
from zoo._rules import tensor, torch_rule

# ------------------------------------------------------------------------------------- broadcasting


def twice(z):
    """The scalar z in a term of its own, and broadcast over 1000 others."""
    return np.exp(z) + np.sum(np.exp(z) - np.zeros(1000))


def twice_unreduced(z):
    """Each of 1000 broadcast terms gets the whole sum of the other one as well."""
    return np.exp(z) * (1000 + 1000 - 0.0)  # wrong on purpose


def affine(p):
    return p["x"] * p["scale"] + p["shift"]


def affine_vjp(cotangent, p, *, reduce):
    gradient = {"x": cotangent * p["scale"], "scale": cotangent * p["x"], "shift": cotangent}
    return {key: value.sum(0) if reduce and key != "x" else value for key, value in gradient.items()}


def scaled_mean(x, w):
    """Row means, each weighted: w of shape (n, 1) is broadcast along the rows."""
    return (x * w).mean(0)


def scaled_mean_backward(cotangent, x, w, *, axis):
    share = cotangent / len(x)
    return share.expand_as(x) * w, (share * x).sum(axis, keepdim=True).reshape(w.shape)


# ------------------------------------------------------------------------------------- heads that share keys


def grouped_attention(q, k, v):
    """Four heads of queries, two of keys and values: each serves two neighbouring heads."""
    k, v = k.repeat_interleave(2, 0), v.repeat_interleave(2, 0)
    return (q @ k.mT).softmax(-1) @ v


def grouped_attention_backward(cotangent, q, k, v, *, reduced, order="neighbours"):
    keys, values = k.repeat_interleave(2, 0), v.repeat_interleave(2, 0)
    p = (q @ keys.mT).softmax(-1)
    dp = cotangent @ values.mT
    ds = p * (dp - (dp * p).sum(-1, keepdim=True))
    dk, dv = ds.mT @ q, p.mT @ cotangent

    def to_heads(gradient):
        if order == "neighbours":
            groups = gradient.reshape(k.shape[0], 2, *gradient.shape[1:])
        else:
            groups = gradient.reshape(2, k.shape[0], *gradient.shape[1:]).transpose(0, 1)  # wrong on purpose
        return groups.sum(1) if reduced else groups[:, 0]

    return ds @ keys, to_heads(dk), to_heads(dv)


def heads():
    return tensor(4, 3, 2), tensor(2, 3, 2, seed=1), tensor(2, 3, 2, seed=2)


# ------------------------------------------------------------------------------------- along one axis


def sum_of_rows(x):
    return x.sum(1)


def tiled(cotangent, x):
    """As if all axes had been summed: the cotangent repeated until the shape fits."""
    return cotangent.repeat(x.numel() // len(cotangent)).reshape(x.shape)  # wrong on purpose


def scaled_square(x):
    return 0.5 * x**2


ANIMALS = [
    Animal(
        name="a broadcast scalar, differentiated twice over",
        source="pytorch/pytorch#13669",
        mistake="the gradient is not reduced over the broadcast axis: nearly twice the true one",
        f=twice,
        claim="grad",
        wrong=twice_unreduced,
        right=lambda z: 1001 * np.exp(z),
        args=lambda: 1.0,
        how="numpy",
    ),
    Animal(
        name="scale and shift, not summed over the batch",
        source="pytorch/pytorch#14485",
        mistake="gradients of broadcast parameters come in the shape of the output",
        f=affine,
        wrong=lambda u, p: affine_vjp(u, p, reduce=False),
        right=lambda u, p: affine_vjp(u, p, reduce=True),
        args=lambda: {"x": drawn(4, 3), "scale": drawn(3), "shift": drawn(3, seed=1)},
        how="numpy",
        id="GP201",
        says="shape",
    ),
    Animal(
        name="the derivative of a number by a number, as a vector",
        source="jax-ml/jax#6452",
        mistake="the gradient has an axis that the argument lacks",
        f=scaled_square,
        claim="grad",
        wrong=lambda x: np.array([x, x]),
        right=lambda x: x,
        args=lambda: 1.5,
        how="numpy",
        id="GP201",
        says="shape",
    ),
    Animal(
        name="a sum along one axis, spread as one along all",
        source="facebookresearch/shumai#79",
        mistake="the cotangent is repeated until the shape fits, row by row for column by column",
        wrong=torch_rule(sum_of_rows, tiled),
        right=torch_rule(sum_of_rows, lambda c, x: c[:, None].expand_as(x)),
        args=lambda: tensor(3, 4),
    ),
    Animal(
        name="keys shared by heads, not summed",
        source="marin-community/levanter#449",
        mistake="keys and values serve two heads, and get the gradient of the first",
        wrong=torch_rule(grouped_attention, lambda *a: grouped_attention_backward(*a, reduced=False)),
        right=torch_rule(grouped_attention, lambda *a: grouped_attention_backward(*a, reduced=True)),
        args=heads,
        says="k|v",
    ),
    Animal(
        name="keys shared by heads, of another order",
        source="XunhaoLai/native-sparse-attention-triton#27",
        mistake="the forward numbers heads by neighbours, the backward by turns",
        wrong=torch_rule(grouped_attention, lambda *a: grouped_attention_backward(*a, reduced=True, order="turns")),
        right=torch_rule(grouped_attention, lambda *a: grouped_attention_backward(*a, reduced=True)),
        args=heads,
        says="k|v",
    ),
]
