"""Random masks drawn anew, and masks of the forward that the backward forgets."""

import torch
from torch.utils.checkpoint import checkpoint

from zoo._frame import Animal
from zoo._rules import tensor, torch_rule

# ------------------------------------------------------------------------------------- dropout


class Dropout(torch.autograd.Function):
    """Keeps a half; the backward saves the mask."""

    @staticmethod
    def forward(ctx, x):
        ctx.mask = 2.0 * (torch.rand_like(x) < 0.5)
        return x * ctx.mask

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * ctx.mask


class DropoutDrawnAnew(Dropout):
    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * 2.0 * (torch.rand_like(cotangent) < 0.5)  # wrong on purpose


class Block(torch.nn.Module):
    """Two layers with dropout between them, made again in the backward."""

    def __init__(self, *, preserve):
        super().__init__()
        self.inner = torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(6, 2)
        ).double()
        self.preserve = preserve
        with torch.no_grad():
            for seed, parameter in enumerate(self.parameters()):
                parameter.copy_(tensor(*parameter.shape, seed=seed))

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False, preserve_rng_state=self.preserve)


def block(preserve):
    def build():
        return Block(preserve=preserve), lambda model, x: model(x).square().sum(), tensor(5, 4)

    return build


# ------------------------------------------------------------------------------------- masks

CAUSAL = torch.ones(4, 4, dtype=torch.bool).tril()
LENGTH = 3


def causal_attention(q, k, v):
    return (q @ k.mT).masked_fill(~CAUSAL, -torch.inf).softmax(-1) @ v


def causal_backward(cotangent, q, k, v, *, masked):
    """With the row sums saved in the forward, as fused kernels have them."""
    scores = q @ k.mT
    logs = scores.masked_fill(~CAUSAL, -torch.inf).logsumexp(-1, keepdim=True)
    p = (scores - logs).exp()
    p = p * CAUSAL if masked else p
    dp = cotangent @ v.mT
    ds = p * (dp - (dp * p).sum(-1, keepdim=True))
    return ds @ k, ds.mT @ q, p.mT @ cotangent


def padded_attention(q, k, v):
    """Rows from LENGTH on are padding: zero in the output, unseen as keys."""
    out = (q @ k[:LENGTH].mT).softmax(-1) @ v[:LENGTH]
    return torch.cat([out[:LENGTH], torch.zeros_like(out[LENGTH:])])


def padded_backward(cotangent, q, k, v, *, clean):
    """dq of the padding comes from the last tile that was loaded."""
    p = (q @ k[:LENGTH].mT).softmax(-1)
    real = torch.cat([cotangent[:LENGTH], torch.zeros_like(cotangent[LENGTH:])])
    dp = (real if clean else cotangent) @ v[:LENGTH].mT
    ds = p * (dp - (dp * p).sum(-1, keepdim=True))
    dk, dv = torch.zeros_like(k), torch.zeros_like(v)
    dk[:LENGTH], dv[:LENGTH] = ds[:LENGTH].mT @ q[:LENGTH], p[:LENGTH].mT @ real[:LENGTH]
    return ds @ k[:LENGTH], dk, dv


def leaky(x):
    return torch.where(x >= 0, x, 0.1 * x)


def leaky_mask_lost(cotangent, x):
    """The mask was kept in bits that the backward does not read."""
    return cotangent * torch.where(x >= 0, 0.0, 0.1)  # wrong on purpose


ANIMALS = [
    Animal(
        name="dropout that draws its mask anew",
        source="pytorch/pytorch#190758",
        mistake="the backward draws another mask than the forward applied",
        wrong=DropoutDrawnAnew.apply,
        right=Dropout.apply,
        args=lambda: tensor(4, 6),
        id="GP",
    ),
    Animal(
        name="a checkpoint that does not restore the random state",
        source="openai/guided-diffusion#167",
        mistake="the block is run again in the backward, with another dropout mask",
        wrong=block(False),
        right=block(True),
        how="module",
        id="GP",
    ),
    Animal(
        name="causal attention, no mask in the backward",
        source="triton-lang/triton#7216",
        mistake="probabilities are made again without the causal mask",
        wrong=torch_rule(causal_attention, lambda *a: causal_backward(*a, masked=False)),
        right=torch_rule(causal_attention, lambda *a: causal_backward(*a, masked=True)),
        args=lambda: (tensor(4, 3), tensor(4, 3, seed=1), tensor(4, 3, seed=2)),
    ),
    Animal(
        name="padding that gets a gradient",
        source="fla-org/flash-linear-attention#836",
        mistake="queries beyond the sequence, which the output does not feel, have dq that is not 0",
        wrong=torch_rule(padded_attention, lambda *a: padded_backward(*a, clean=False)),
        right=torch_rule(padded_attention, lambda *a: padded_backward(*a, clean=True)),
        args=lambda: (tensor(5, 2), tensor(5, 2, seed=1), tensor(5, 2, seed=2)),
        says=r"q\[3",
    ),
    Animal(
        name="a leaky unit whose mask is lost",
        source="EnzymeAD/Enzyme.jl#2858",
        mistake="the branch was kept in a bit array, and is read as nothing in reverse",
        wrong=torch_rule(leaky, leaky_mask_lost),
        right=torch_rule(leaky, lambda c, x: c * torch.where(x >= 0, 1.0, 0.1)),
        args=lambda: tensor(3, 4),
    ),
]
