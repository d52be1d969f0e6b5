"""Something that depends on the input is treated as a constant."""

import jax
import jax.numpy as jnp
import torch

from zoo._frame import Animal
from zoo._rules import array, jvp_rule, tensor, torch_rule, vjp_rule

# ------------------------------------------------------------------------------------- loops


def recurrence(x, a):
    """h_t = a h_(t-1) + x_t: every h_t."""
    states, h = [], x.new_zeros(())
    for entry in x:
        h = a * h + entry
        states.append(h)
    return torch.stack(states)


def recurrence_backward(cotangent, x, a, *, carried):
    before = torch.cat([x.new_zeros(1), recurrence(x, a)[:-1]])
    carry, dx, da = x.new_zeros(()), [], x.new_zeros(())
    for t in reversed(range(len(x))):
        carry = cotangent[t] + a * carry
        dx.insert(0, carry)
        da = da + (carry if carried else cotangent[t]) * before[t]
    return torch.stack(dx), da


def running(xs, start):
    """Partial sums by scan."""
    return jax.lax.scan(lambda carry, x: (carry + jnp.sin(x), carry + jnp.sin(x)), start, xs)[1]


def running_backward(cotangent, xs, start, *, sequence):
    later = jnp.cumsum(cotangent[::-1])[::-1]
    return later * jnp.cos(xs) if sequence else jnp.zeros_like(xs), cotangent.sum()


def power(x):
    """x**4 by a loop."""
    value = jnp.ones_like(x)
    for _ in range(4):
        value = value * x
    return value


def power_tangent(dx, x, *, steps):
    """The loop's tangent; a step too many multiplies by x once more."""
    value, tangent = jnp.ones_like(x), jnp.zeros_like(x)
    for step in range(steps):
        if step < 4:
            value, tangent = value * x, tangent * x + value * dx
        else:
            tangent = tangent * x  # wrong on purpose: a no-op in the forward
    return tangent


# ------------------------------------------------------------------------------------- models


class Kernel(torch.nn.Module):
    """exp(-|x|^2 / (2 s^2)), of every row; the distances were made without the graph where rows are not contiguous."""

    def __init__(self, *, detached):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))
        self.linear = torch.nn.Linear(3, 1, dtype=torch.float64)
        with torch.no_grad():
            self.linear.weight.copy_(tensor(1, 3, seed=5))
            self.linear.bias.fill_(0.2)
        self.detached = detached

    def forward(self, x):
        scale = self.scale.detach() if self.detached and not x.is_contiguous() else self.scale
        return torch.exp(-x.square().sum(1) / (2 * scale**2)) + self.linear(x)[:, 0]


def kernel(detached):
    def build():
        batch = tensor(3, 6).T[:, :3]
        return Kernel(detached=detached), lambda model, x: model(x).square().sum(), batch

    return build


class GroupNorm(torch.nn.Module):
    """Groups of channels normalised by statistics that are, or are not, part of the graph."""

    def __init__(self, *, constant):
        super().__init__()
        self.inner = torch.nn.Linear(3, 4, dtype=torch.float64)
        self.weight = torch.nn.Parameter(tensor(4, seed=6))
        with torch.no_grad():
            self.inner.weight.copy_(tensor(4, 3, seed=7))
            self.inner.bias.copy_(tensor(4, seed=8))
        self.constant = constant

    def forward(self, x):
        groups = self.inner(x).reshape(len(x), 2, 2)
        known = groups.detach() if self.constant else groups
        mean, variance = known.mean(-1, keepdim=True), known.var(-1, keepdim=True, unbiased=False)
        return ((groups - mean) * (variance + 0.1).rsqrt()).flatten(1) * self.weight


def group_norm(constant):
    def build():
        return GroupNorm(constant=constant), lambda model, x: model(x).tanh().sum(), tensor(5, 3)

    return build


# ------------------------------------------------------------------------------------- attention


def sink_attention(q, k, v, sink):
    """The softmax has one more entry, without a value."""
    scores = torch.cat([q @ k.mT, sink.expand(len(q), 1)], 1)
    return scores.softmax(1)[:, :-1] @ v


def sink_attention_backward(cotangent, q, k, v, sink, *, whole):
    scores = torch.cat([q @ k.mT, sink.expand(len(q), 1)], 1)
    normaliser = (scores if whole else scores[:, :-1]).logsumexp(1, keepdim=True)  # wrong on purpose: without the sink
    p = (scores - normaliser).exp()
    dp = cotangent @ v.mT
    mean = (dp * p[:, :-1]).sum(1, keepdim=True)
    ds = p[:, :-1] * (dp - mean)
    dsink = -(p[:, -1:] * mean).sum() if whole else torch.zeros_like(sink)
    return ds @ k, ds.mT @ q, p[:, :-1].mT @ cotangent, dsink.reshape(sink.shape)


def scaled_attention(q, k, v):
    return (q @ k.mT / q.shape[1] ** 0.5).softmax(-1) @ v


def scaled_attention_backward(cotangent, q, k, v, *, width):
    scale = width**-0.5
    p = (q @ k.mT / q.shape[1] ** 0.5).softmax(-1)
    dp = cotangent @ v.mT
    ds = p * (dp - (dp * p).sum(-1, keepdim=True)) * scale
    return ds @ k, ds.mT @ q, p.mT @ cotangent


ANIMALS = [
    Animal(
        name="scan, a parameter through the carry",
        source="pytorch/pytorch#184528",
        mistake="a closed-over parameter gets its direct part, and nothing through the carried state",
        wrong=torch_rule(recurrence, lambda c, x, a: recurrence_backward(c, x, a, carried=False)),
        right=torch_rule(recurrence, lambda c, x, a: recurrence_backward(c, x, a, carried=True)),
        args=lambda: (tensor(5), torch.tensor(0.7, dtype=torch.float64)),
        says="a",
    ),
    Animal(
        name="scan, the sequence",
        source="jax-ml/jax#753",
        mistake="the gradient by the scanned sequence is zero in reverse mode",
        wrong=vjp_rule(running, lambda c, xs, s: running_backward(c, xs, s, sequence=False)),
        right=vjp_rule(running, lambda c, xs, s: running_backward(c, xs, s, sequence=True)),
        args=lambda: (array(5), jnp.asarray(0.5)),
        how="jax",
        slow=True,
        says="xs",
    ),
    Animal(
        name="scan with a condition, one step too many",
        source="jax-ml/jax#5900",
        mistake="the derivative of x^4 at 3 is 324, three times the true one",
        wrong=jvp_rule(power, lambda dx, x: power_tangent(dx, x, steps=5)),
        right=jvp_rule(power, lambda dx, x: power_tangent(dx, x, steps=4)),
        args=lambda: jnp.asarray(3.0),
        how="jax",
        says="3",
    ),
    Animal(
        name="a length scale that loses its gradient",
        source="cornellius-gp/gpytorch#1543",
        mistake="for inputs that are not contiguous the length scale of a kernel has no gradient",
        wrong=kernel(True),
        right=kernel(False),
        how="module",
        id="GP",
        says="scale",
    ),
    Animal(
        name="statistics of a norm, detached",
        source="tinygrad/tinygrad#4904",
        mistake="mean and variance are taken without their graph: right for data, wrong behind another layer",
        wrong=group_norm(True),
        right=group_norm(False),
        how="module",
        says="inner",
    ),
    Animal(
        name="attention with a sink, left out of the normaliser",
        source="NVIDIA/cudnn-frontend#421",
        mistake="the backward normalises over the keys alone, and the sink gets no gradient",
        wrong=torch_rule(sink_attention, lambda *a: sink_attention_backward(*a, whole=False)),
        right=torch_rule(sink_attention, lambda *a: sink_attention_backward(*a, whole=True)),
        args=lambda: (tensor(3, 2), tensor(4, 2, seed=1), tensor(4, 2, seed=2), tensor(1, seed=3)),
    ),
    Animal(
        name="attention scaled by a padded width",
        source="tile-ai/tilelang-ascend#1670",
        mistake="the backward scales by 1/sqrt(16), the width of the buffer, for 1/sqrt(9)",
        wrong=torch_rule(scaled_attention, lambda *a: scaled_attention_backward(*a, width=16)),
        right=torch_rule(scaled_attention, lambda *a: scaled_attention_backward(*a, width=9)),
        args=lambda: (tensor(3, 9), tensor(4, 9, seed=1), tensor(4, 2, seed=2)),
        says="0.75|3/4",
    ),
]
