"""Kernels as people write them: a forward and a backward in float32 on inputs of 16 or 32 bits, rounded at the end.

Each kernel comes with its reference in plain PyTorch, and can be made wrong in the ways that real ones are: a scale
left out, a last block never written, a mask left out, sums accumulated in low precision, one row wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor
MISTAKES = ("scale", "block", "mask", "low", "row")
# Rows of a last block.
BLOCK = 16


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel with its reference.

    reference(*inputs) -> output, in the dtype of its inputs.
    forward(inputs, mistake, low) -> output, saved; in float32.
    backward(saved, u, mistake, low) -> gradients of the first inputs.
    draw(generator, long) -> inputs in float64, integer ones as they are; with `long` the axis that is summed is.
    mistakes : the ones that make sense beside "block" and "row".
    """

    reference: Callable[..., Tensor]
    forward: Callable[..., Any]
    backward: Callable[..., tuple[Tensor, ...]]
    draw: Callable[[torch.Generator, bool], tuple[Tensor, ...]]
    mistakes: tuple[str, ...]

    def made(self, mistake: str, low: torch.dtype, victim: int) -> Callable[..., Tensor]:
        """The kernel as a function; `victim` says which of output and gradients a block or row is wrong in."""

        class Applied(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *inputs: Tensor) -> Tensor:
                single = tuple(x.float() if x.is_floating_point() else x for x in inputs)
                output, ctx.saved = self.forward(single, mistake, low)
                ctx.dtypes = [x.dtype for x in inputs]
                return damaged(output, mistake, victim == 0).to(inputs[0].dtype)

            @staticmethod
            def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
                found = self.backward(ctx.saved, u.float(), mistake, low)
                which = [i for i in range(len(found)) if found[i].dim()]
                chosen = which[(victim - 1) % len(which)] if victim else -1
                some = [damaged(g, mistake, i == chosen).to(ctx.dtypes[i]) for i, g in enumerate(found)]
                return (*some, *(None for _ in ctx.dtypes[len(some) :]))

        return lambda *inputs: Applied.apply(*inputs)


def damaged(tensor: Tensor, mistake: str, is_victim: bool) -> Tensor:
    """The last block of rows never written, or one row half as large again."""
    if not is_victim or mistake not in ("block", "row") or not tensor.dim():
        return tensor
    tensor = tensor.clone()
    rows = tensor if tensor.dim() == 1 else tensor.reshape(-1, tensor.shape[-1])
    if mistake == "row":
        rows[len(rows) // 3] *= 1.5
    elif tensor.dim() == 1:
        rows[-min(BLOCK, len(rows) // 2) :] = 0
    else:
        tensor[..., -min(BLOCK, tensor.shape[-2] // 2) :, :] = 0
    return tensor


def product(a: Tensor, b: Tensor, low: torch.dtype | None) -> Tensor:
    """A @ b; accumulated term by term in `low` if there is one."""
    if low is None:
        return a @ b
    total = torch.zeros(*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1], dtype=low)
    for k in range(a.shape[-1]):
        total = total + (a[..., :, k : k + 1] * b[..., k : k + 1, :]).to(low)
    return total.float()


def total(x: Tensor, dim: int, low: torch.dtype | None) -> Tensor:
    """The sum along an axis, which stays; accumulated term by term in `low` if there is one."""
    if low is None:
        return x.sum(dim, keepdim=True)
    found = torch.zeros_like(x.narrow(dim, 0, 1), dtype=low)
    for k in range(x.shape[dim]):
        found = found + x.narrow(dim, k, 1).to(low)
    return found.float()


def when(is_so: bool, low: torch.dtype) -> torch.dtype | None:
    return low if is_so else None


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def one_of(generator: torch.Generator, *sizes: int) -> int:
    return sizes[int(torch.randint(len(sizes), (1,), generator=generator))]


# -------------------------------------------------------------------------------------------------------- attention


def causal(rows: int, columns: int) -> Tensor:
    return torch.ones(rows, columns, dtype=torch.bool).triu(1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(causal(*scores.shape[-2:]), float("-inf"))
    return torch.softmax(scores, -1) @ v


def attention_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    q, k, v = inputs
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    p = torch.softmax(scores.masked_fill(causal(*scores.shape[-2:]), float("-inf")), -1)
    return p @ v, (q, k, v, scores, p)


def attention_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    q, k, v, scores, p = saved
    if mistake == "mask":
        p = torch.exp(scores - torch.logsumexp(scores.masked_fill(causal(*scores.shape[-2:]), -1e30), -1, True))
    scale = 1.0 if mistake == "scale" else q.shape[-1] ** -0.5
    dv = product(p.transpose(-1, -2), u, when(mistake == "low", low))
    dp = u @ v.transpose(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdim=True))
    return ds @ k * scale, ds.transpose(-1, -2) @ q * q.shape[-1] ** -0.5, dv


def draw_attention(generator: torch.Generator, long: bool) -> tuple[Tensor, ...]:
    n, d = 512 if long else one_of(generator, 96, 128, 200), one_of(generator, 16, 32)
    return tuple(normal(generator, 1, 2, n, d) for _ in range(3))


# ------------------------------------------------------------------------------------------------------------ norms


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:], weight, bias)


def layer_norm_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    x, weight, bias = inputs
    middle = x - x.mean(-1, keepdim=True)
    scale = torch.rsqrt(middle.square().mean(-1, keepdim=True) + 1e-5)
    return middle * scale * weight + bias, (middle * scale, scale, weight)


def layer_norm_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    y, scale, weight = saved
    v = u * weight
    dx = v - v.mean(-1, keepdim=True) - y * (v * y).mean(-1, keepdim=True)
    lowest = when(mistake == "low", low)
    return dx * (1 if mistake == "scale" else scale), total(u * y, 0, lowest)[0], total(u, 0, lowest)[0]


def draw_norm(generator: torch.Generator, long: bool) -> tuple[Tensor, ...]:
    n, d = 512 if long else one_of(generator, 128, 200, 256), one_of(generator, 32, 64, 100)
    return 2 * normal(generator, n, d) + 0.3, 1 + 0.2 * normal(generator, d), 0.2 * normal(generator, d)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


def rms_norm_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    x, weight = inputs
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
    return x * scale * weight, (x * scale, scale, weight)


def rms_norm_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    y, scale, weight = saved
    v = u * weight
    dx = v - y * (v * y).mean(-1, keepdim=True)
    return dx * (1 if mistake == "scale" else scale), total(u * y, 0, when(mistake == "low", low))[0]


# ------------------------------------------------------------------------------------------- softmax, cross entropy


def softmax(x: Tensor) -> Tensor:
    return torch.softmax((x * 0.25).masked_fill(padding(x), float("-inf")), -1)


def padding(x: Tensor) -> Tensor:
    return (torch.arange(x.shape[-1]) >= x.shape[-1] - 8).expand(x.shape)


def softmax_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    (x,) = inputs
    x = x * 0.25 if mistake == "mask" else (x * 0.25).masked_fill(padding(x), float("-inf"))
    e = torch.exp(x - x.amax(-1, keepdim=True))
    y = e / total(e, -1, when(mistake == "low", low))
    return y, y


def softmax_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    y = saved
    return (y * (u - (u * y).sum(-1, keepdim=True)) * (1 if mistake == "scale" else 0.25),)


def draw_softmax(generator: torch.Generator, long: bool) -> tuple[Tensor, ...]:
    columns = 1024 if long else one_of(generator, 128, 200, 256)
    return (4 * normal(generator, one_of(generator, 48, 64), columns),)


def cross_entropy(x: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(x, target, ignore_index=-100)


def cross_entropy_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    x, target = inputs
    valid = target >= 0
    shifted = x - x.amax(-1, keepdim=True)
    logs = shifted - torch.log(total(torch.exp(shifted), -1, when(mistake == "low", low)))
    picked = logs.gather(1, target.clamp(min=0)[:, None])[:, 0] * valid
    return -picked.sum() / valid.sum(), (torch.exp(logs), target, valid)


def cross_entropy_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    p, target, valid = saved
    dx = p - nn.functional.one_hot(target.clamp(min=0), p.shape[-1]).float()
    if mistake != "mask":
        dx = dx * valid[:, None]
    return (u * dx / (1 if mistake == "scale" else valid.sum()),)


def draw_cross_entropy(generator: torch.Generator, long: bool) -> tuple[Tensor, ...]:
    n, c = one_of(generator, 48, 64), 2048 if long else one_of(generator, 100, 128, 200)
    target = torch.randint(c, (n,), generator=generator)
    target[::5] = -100
    return 2 * normal(generator, n, c), target


# --------------------------------------------------------------------------------------------- matmul, rotary, MLP


def matmul(a: Tensor, b: Tensor) -> Tensor:
    return 0.125 * (a @ b)


def matmul_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    a, b = inputs
    return 0.125 * product(a, b, when(mistake == "low", low)), (a, b)


def matmul_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    a, b = saved
    return u @ b.T * (1 if mistake == "scale" else 0.125), a.T @ u * 0.125


def draw_matmul(generator: torch.Generator, long: bool) -> tuple[Tensor, ...]:
    k = 512 if long else one_of(generator, 128, 200, 256)
    m, n = one_of(generator, 48, 64), one_of(generator, 48, 65)
    return normal(generator, m, k), normal(generator, k, n)


def rotary(x: Tensor) -> Tensor:
    cos, sin = angles(x)
    first, second = x.chunk(2, -1)
    return 1.25 * torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def angles(x: Tensor) -> tuple[Tensor, Tensor]:
    half = x.shape[-1] // 2
    steps = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turned = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * steps
    return turned.cos().to(x.dtype), turned.sin().to(x.dtype)


def rotary_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    return rotary(inputs[0]), inputs[0]


def rotary_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    cos, sin = angles(saved)
    first, second = u.chunk(2, -1)
    return (
        torch.cat([first * cos + second * sin, second * cos - first * sin], -1) * (1 if mistake == "scale" else 1.25),
    )


def draw_rotary(generator: torch.Generator, long: bool) -> tuple[Tensor, ...]:
    return (normal(generator, 2, 2, one_of(generator, 64, 100), one_of(generator, 16, 32)),)


def mlp(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return nn.functional.silu(x @ gate) * (x @ up) @ down


def mlp_forward(inputs: Any, mistake: str, low: torch.dtype) -> Any:
    x, gate, up, down = inputs
    a, b = x @ gate, x @ up
    h = nn.functional.silu(a) * b
    return h @ down, (x, gate, up, down, a, b, h)


def mlp_backward(saved: Any, u: Tensor, mistake: str, low: torch.dtype) -> Any:
    x, gate, up, down, a, b, h = saved
    dh = u @ down.T
    s = torch.sigmoid(a)
    da = dh * b * (s if mistake == "scale" else s * (1 + a * (1 - s)))
    db = dh * a * s
    lowest = when(mistake == "low", low)
    return da @ gate.T + db @ up.T, product(x.T, da, lowest), x.T @ db, h.T @ u


def draw_mlp(generator: torch.Generator, long: bool) -> tuple[Tensor, ...]:
    n, d, h = 512 if long else one_of(generator, 128, 200), one_of(generator, 32, 48), one_of(generator, 64, 100)
    weights = (normal(generator, d, h) / d**0.5, normal(generator, d, h) / d**0.5, normal(generator, h, d) / h**0.5)
    return normal(generator, n, d), *weights


KERNELS = {
    "attention": Kernel(attention, attention_forward, attention_backward, draw_attention, ("scale", "mask", "low")),
    "layer norm": Kernel(layer_norm, layer_norm_forward, layer_norm_backward, draw_norm, ("scale", "low")),
    "RMS norm": Kernel(
        rms_norm,
        rms_norm_forward,
        rms_norm_backward,
        lambda generator, long: draw_norm(generator, long)[:2],
        ("scale", "low"),
    ),
    "softmax": Kernel(softmax, softmax_forward, softmax_backward, draw_softmax, ("scale", "mask", "low")),
    "cross entropy": Kernel(
        cross_entropy, cross_entropy_forward, cross_entropy_backward, draw_cross_entropy, ("scale", "mask", "low")
    ),
    "matmul": Kernel(matmul, matmul_forward, matmul_backward, draw_matmul, ("scale", "low")),
    "rotary": Kernel(rotary, rotary_forward, rotary_backward, draw_rotary, ("scale",)),
    "fused MLP": Kernel(mlp, mlp_forward, mlp_backward, draw_mlp, ("scale", "low")),
}
