"""The cotangent is ignored, used once too rarely, or scaled by the wrong number."""

import numpy as np
import torch

from zoo._frame import Animal, drawn
from zoo._rules import tensor, torch_rule

# ------------------------------------------------------------------------------------- losses

LABELS = torch.tensor([2, 0, 1])


def blank_loss(logits):
    """A loss for each row, of two terms: a path and the blank, the last column."""
    return -logits.gather(1, LABELS[:, None])[:, 0] + logits[:, -1].square()


def blank_loss_backward(cotangent, logits, *, both):
    path = torch.zeros_like(logits).scatter(1, LABELS[:, None], -1.0)
    blank = torch.zeros_like(logits)
    blank[:, -1] = 2 * logits[:, -1]
    if both:
        return cotangent[:, None] * (path + blank)
    return cotangent[:, None] * path + blank  # wrong on purpose


def negative_log_likelihood(log_probabilities):
    return -log_probabilities.gather(1, LABELS[:, None]).sum()


def as_if_log_softmax(cotangent, log_probabilities):
    """The gradient by the logits, were there a log_softmax behind."""
    return cotangent * (log_probabilities.exp() + path(log_probabilities))  # wrong on purpose


def path(values):
    return torch.zeros_like(values).scatter(1, LABELS[:, None], -1.0)


def squared_difference(p):
    return (p["a"] - p["b"]) ** 2


def squared_difference_vjp(cotangent, p):
    difference = 2 * cotangent * (p["a"] - p["b"])
    return {"a": difference, "b": -difference}


def squared_difference_inputs(cotangent, p):
    return {"a": p["a"], "b": p["b"]}  # wrong on purpose


def losses(x):
    """One for each row."""
    return x.square().sum(1)


# ------------------------------------------------------------------------------------- bags and convolutions

BAGS = ((0, 3), (3, 7))
TOKENS = torch.tensor([0, 2, 1, 3, 3, 0, 4])


def bag_max(table):
    rows = table[TOKENS]
    return torch.stack([rows[start:stop].amax(0) for start, stop in BAGS])


def bag_backward(cotangent, table, *, mode):
    out = torch.zeros_like(table)
    for c, (start, stop) in zip(cotangent, BAGS, strict=True):
        rows = table[TOKENS[start:stop]]
        if mode == "mean":
            share = torch.full_like(rows, 1 / len(rows))
        else:
            share = torch.nn.functional.one_hot(rows.argmax(0), len(rows)).T.to(rows)
        out = out.index_add(0, TOKENS[start:stop], share * c)
    return out


def convolve(p):
    """A batch of rows with one kernel, valid."""
    return np.array([np.convolve(row, p["w"], "valid") for row in p["x"]])


def convolve_vjp(cotangent, p, *, scale=1.0):
    x, w = p["x"], p["w"]
    dx = np.array([np.correlate(c, w, "full") for c in cotangent])
    dw = sum(np.correlate(row, c, "valid")[::-1] for row, c in zip(x, cotangent, strict=True))
    return {"x": dx, "w": dw * scale}


# ------------------------------------------------------------------------------------- parameters that are equal


def weighted(p):
    return p["first"] * 2.0 + np.sin(p["second"])


def merged(p):
    """Equal constants are one node of the graph."""
    total = 2.0 + np.cos(p["second"])
    return {"first": total, "second": total}  # wrong on purpose


# ------------------------------------------------------------------------------------- statistics over shards

SHARDS = ((0, 2), (2, 7))


def normalise(x):
    return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()


def normalise_backward(cotangent, x, *, by_shard):
    """With means over the workers' means, as if their shards were equally large, or over all rows."""
    centred, rstd = x - x.mean(0), (x.var(0, unbiased=False) + 1e-5).rsqrt()

    def mean(values):
        if not by_shard:
            return values.mean(0)
        return torch.stack([values[start:stop].mean(0) for start, stop in SHARDS]).mean(0)  # wrong on purpose

    return rstd * (cotangent - mean(cotangent) - centred * rstd**2 * mean(cotangent * centred))


ANIMALS = [
    Animal(
        name="one term of a loss without its cotangent",
        source="pytorch/pytorch#11750",
        mistake="of two terms of ctc_loss's gradient one is multiplied by grad_out",
        wrong=torch_rule(blank_loss, lambda c, x: blank_loss_backward(c, x, both=False)),
        right=torch_rule(blank_loss, lambda c, x: blank_loss_backward(c, x, both=True)),
        args=lambda: tensor(3, 4),
        id="GP205",
        says="not zero for a cotangent of zeros",
    ),
    Animal(
        name="a loss differentiated as if log_softmax followed",
        source="pytorch/pytorch#52241",
        mistake="ctc_loss takes log probabilities, and returns the gradient by logits",
        wrong=torch_rule(negative_log_likelihood, as_if_log_softmax),
        right=torch_rule(negative_log_likelihood, lambda c, x: c * path(x)),
        args=lambda: tensor(3, 4).log_softmax(1),
    ),
    Animal(
        name="squared difference that returns its inputs",
        source="SciSharp/TensorFlow.NET#787",
        mistake="the gradient is the inputs, whatever the cotangent",
        f=squared_difference,
        wrong=squared_difference_inputs,
        right=squared_difference_vjp,
        args=lambda: {"a": drawn(4), "b": drawn(4, seed=1)},
        how="numpy",
        id="GP205",
        says="ignores its cotangent",
    ),
    Animal(
        name="a loss for each row, with the cotangent of the first",
        source="linkedin/Liger-Kernel#1298",
        mistake="with reduction='none' every row is multiplied by grad_output[0]",
        wrong=torch_rule(losses, lambda c, x: 2 * x * c[0]),
        right=torch_rule(losses, lambda c, x: 2 * x * c[:, None]),
        args=lambda: tensor(3, 4),
    ),
    Animal(
        name="embedding bag of maxima",
        source="flagos-ai/FlagGems#5220",
        mistake="mode='max' gets the gradient of mode='mean'",
        wrong=torch_rule(bag_max, lambda c, t: bag_backward(c, t, mode="mean")),
        right=torch_rule(bag_max, lambda c, t: bag_backward(c, t, mode="max")),
        args=lambda: tensor(5, 3),
    ),
    Animal(
        name="weights averaged over the batch",
        source="sebgao/cTensor#3",
        mistake="the gradient of a convolution's weight is divided by batch times places",
        f=convolve,
        wrong=lambda u, p: convolve_vjp(u, p, scale=1 / u.size),
        right=convolve_vjp,
        args=lambda: {"x": drawn(4, 7), "w": drawn(3)},
        how="numpy",
        says="claimed 1/20",
    ),
    Animal(
        name="equal parameters merged",
        source="tinygrad/tinygrad#9597",
        mistake="two parameters of the same value are one node, and both get the sum of their gradients",
        f=weighted,
        claim="grad",
        wrong=merged,
        right=lambda p: {"first": 2.0, "second": np.cos(p["second"])},
        args=lambda: {"first": 3.0, "second": 3.0},
        how="numpy",
    ),
    Animal(
        name="batch norm over unequal shards",
        source="pytorch/pytorch#36382",
        mistake="means over all rows are taken as means of the shards' means",
        wrong=torch_rule(normalise, lambda c, x: normalise_backward(c, x, by_shard=True)),
        right=torch_rule(normalise, lambda c, x: normalise_backward(c, x, by_shard=False)),
        args=lambda: tensor(7, 3),
    ),
]
