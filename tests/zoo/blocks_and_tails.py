"""Work in blocks: the last one is lost, or reads what lies beyond the end."""

import torch

from zoo._frame import Animal
from zoo._rules import tensor, torch_rule

BLOCK = 4


def scaled_norm(x, w):
    """RMS norm with a weight."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * w


def scaled_norm_backward(cotangent, x, w, *, blocks):
    rms = (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    normed, c = x * rms, cotangent * w
    dx = rms * (c - normed * (c * normed).mean(-1, keepdim=True))
    partial = [(cotangent * normed)[i * BLOCK : (i + 1) * BLOCK].sum(0) for i in range(blocks(len(x)))]
    return dx, torch.stack(partial).sum(0)


def running_sum(x):
    return x.cumsum(0)


def running_sum_backward(cotangent, x, *, reverse):
    """Block by block from the end, each with the total of those behind it."""
    parts, behind = [], torch.zeros_like(cotangent[0])
    blocks = cotangent.split(BLOCK)
    for block in reversed(blocks) if reverse else blocks:  # wrong on purpose where it begins at the front
        parts.append(block.flip(0).cumsum(0).flip(0) + behind)
        behind = behind + block.sum(0)
    return torch.cat(parts[::-1] if reverse else parts)


def decay(g, x):
    """x, weighted by exp of the running sum of g in its own block."""
    return torch.cat([a.cumsum(0).exp() * b for a, b in zip(g.split(BLOCK), x.split(BLOCK), strict=True)])


def decay_backward(cotangent, g, x, *, tail):
    parts = []
    for block, a, b in zip(cotangent.split(BLOCK), g.split(BLOCK), x.split(BLOCK), strict=True):
        weighted = block * b * a.cumsum(0).exp()
        whole = len(block) == BLOCK or tail
        parts.append(weighted.flip(0).cumsum(0).flip(0) if whole else weighted)  # wrong on purpose
    return torch.cat(parts), cotangent * torch.cat([a.cumsum(0).exp() for a in g.split(BLOCK)])


def block_attention(q, k, v):
    """Queries in blocks of four, each of which sees the keys of its own block."""
    pairs = zip(q.split(BLOCK), k.split(BLOCK), v.split(BLOCK), strict=True)
    return torch.cat([(a @ b.mT).softmax(-1) @ c for a, b, c in pairs])


def block_attention_backward(cotangent, q, k, v, *, size):
    """The probabilities of a block of fewer than `size` keys are masked, in the backward by a size of its own."""
    dq, dk, dv = [], [], []
    for c, a, b, d in zip(*(part.split(BLOCK) for part in (cotangent, q, k, v)), strict=True):
        seen = torch.arange(len(b)) < size(len(b))
        scores = a @ b.mT
        p = (scores - scores.logsumexp(-1, keepdim=True)).exp() * seen
        dp = c @ d.mT
        ds = p * (dp - (dp * p).sum(-1, keepdim=True))
        dq.append(ds @ b)
        dk.append(ds.mT @ a)
        dv.append(p.mT @ c)
    return torch.cat(dq), torch.cat(dk), torch.cat(dv)


def value_dimensions(q, k, v):
    """Values are wider than queries and keys."""
    return (q @ k.mT).softmax(-1) @ v


def value_dimensions_backward(cotangent, q, k, v, *, extent):
    p = (q @ k.mT).softmax(-1)
    dp = cotangent[:, :extent] @ v[:, :extent].mT
    ds = p * (dp - (dp * p).sum(-1, keepdim=True))
    return ds @ k, ds.mT @ q, p.mT @ cotangent


def neighbours():
    return tensor(6, 2), tensor(6, 2, seed=1), tensor(6, 2, seed=2)


ANIMALS = [
    Animal(
        name="weight of a norm, the last block lost",
        source="BobMcDear/attorch#18",
        mistake="the number of blocks is rounded down, and the rows of the last one do not count",
        wrong=torch_rule(scaled_norm, lambda *a: scaled_norm_backward(*a, blocks=lambda n: n // BLOCK)),
        right=torch_rule(scaled_norm, lambda *a: scaled_norm_backward(*a, blocks=lambda n: -(-n // BLOCK))),
        args=lambda: (tensor(10, 3), tensor(3)),
        says="w",
    ),
    Animal(
        name="a loop over blocks, run forwards in the backward",
        source="jax-ml/jax#32411",
        mistake="the loop of the backward drops its direction, and carries from the blocks before",
        wrong=torch_rule(running_sum, lambda c, x: running_sum_backward(c, x, reverse=False)),
        right=torch_rule(running_sum, lambda c, x: running_sum_backward(c, x, reverse=True)),
        args=lambda: tensor(10, 2),
    ),
    Animal(
        name="gates of the last, partial chunk",
        source="QwenLM/FlashQLA#36",
        mistake="the running sum of the gradient is left out where a chunk is not full",
        wrong=torch_rule(decay, lambda c, g, x: decay_backward(c, g, x, tail=False)),
        right=torch_rule(decay, lambda c, g, x: decay_backward(c, g, x, tail=True)),
        args=lambda: (tensor(10), tensor(10, seed=1)),
        says="g",
    ),
    Animal(
        name="blocks masked by a wrong size",
        source="hao-ai-lab/FastVideo#925",
        mistake="the backward's size of a split block leaves out the last key of partial ones",
        wrong=torch_rule(block_attention, lambda *a: block_attention_backward(*a, size=lambda n: min(n, 3))),
        right=torch_rule(block_attention, lambda *a: block_attention_backward(*a, size=lambda n: n)),
        args=neighbours,
    ),
    Animal(
        name="values cut to the width of the queries",
        source="XunhaoLai/native-sparse-attention-triton#27",
        mistake="dq and dk read only as many channels of the values as the queries have",
        wrong=torch_rule(value_dimensions, lambda *a: value_dimensions_backward(*a, extent=2)),
        right=torch_rule(value_dimensions, lambda *a: value_dimensions_backward(*a, extent=5)),
        args=lambda: (tensor(3, 2), tensor(4, 2, seed=1), tensor(4, 5, seed=2)),
        says="q|k",
    ),
]
