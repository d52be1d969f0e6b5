"""What only shows with another layout of memory, with memory that is used again, or with a second call.

The numbers that one call returns for a contiguous cotangent are right in most of them: contracts find those.
"""

import torch

from zoo._frame import Animal
from zoo._rules import tensor, torch_rule


def flat(values):
    """The storage of a tensor from its first entry on, in the order of memory, as a kernel reads it by a pointer."""
    return values.as_strided(
        (values.untyped_storage().nbytes() // values.element_size() - values.storage_offset(),), (1,)
    )


def read_as(values, shape):
    """What a kernel reads that takes `values` to be contiguous, and of `shape`; nan beyond the end."""
    found, count = flat(values), torch.Size(shape).numel()
    missing = found.new_full((max(0, count - len(found)),), torch.nan)
    return torch.cat([found[:count], missing]).reshape(shape)


# ------------------------------------------------------------------------------------- layouts of the cotangent


def gated(x, y):
    return x * torch.sigmoid(y)


def gated_backward(cotangent, x, y):
    s = torch.sigmoid(y)
    return cotangent * s, cotangent * x * s * (1 - s)


def mean_of_rows(x):
    return x.mean(1)


def mean_of_rows_backward(cotangent, x):
    return (cotangent / x.shape[1])[:, None].expand(x.shape)


# ------------------------------------------------------------------------------------- layouts of the input


def batch_norm(x, w):
    """Training mode, of (batch, channel, height, width)."""
    axes = (0, 2, 3)
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * w[:, None, None]


def batch_norm_backward(cotangent, x, w, *, strides):
    axes = (0, 2, 3)
    mean, rstd = x.mean(axes, keepdim=True), (x.var(axes, keepdim=True, unbiased=False) + 1e-5).rsqrt()
    normed = (x - mean) * rstd
    c = cotangent * w[:, None, None]
    dx = rstd * (c - c.mean(axes, keepdim=True) - normed * (c * normed).mean(axes, keepdim=True))
    read = x if strides else read_as(x, x.shape)
    return dx, (cotangent * (read - mean) * rstd).sum(axes)


def pool(x):
    return torch.nn.functional.avg_pool2d(x, 2)


def pool_backward(cotangent, x, *, strides):
    spread = cotangent.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    if strides:
        return spread
    # wrong on purpose: written in the order of a contiguous tensor into memory of the input's layout
    out = torch.empty_like(x)
    flat(out).copy_(spread.contiguous().reshape(-1))
    return out


def images():
    return tensor(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------------- memory that is not one's own


class Product(torch.autograd.Function):
    """a * b, as others in this module: the backward is right as it stands."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, cotangent):
        a, b = ctx.saved_tensors
        return cotangent * b, cotangent * a


class ProductIntoSaved(Product):
    """Saves memory by writing the gradients into the tensors that were saved, which other nodes may have saved, too."""

    @staticmethod
    def backward(ctx, cotangent):
        a, b = (one.detach() for one in ctx.saved_tensors)
        da, db = cotangent * b, cotangent * a
        a.copy_(da)  # wrong on purpose
        b.copy_(db)
        return a, b


class ProductIntoCotangent(Product):
    """Writes the first gradient into the cotangent."""

    @staticmethod
    def backward(ctx, cotangent):
        a, b = ctx.saved_tensors
        db = cotangent * a
        return cotangent.mul_(b), db  # wrong on purpose


class Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * x.cos()


def sine_in_static_buffer():
    """The gradient stands in one buffer, which the next backward writes over, as in a captured graph."""
    buffers = {}

    class StaticSine(Sine):
        @staticmethod
        def backward(ctx, cotangent):
            gradient = Sine.backward(ctx, cotangent)
            return buffers.setdefault(gradient.shape, torch.empty_like(gradient)).copy_(gradient)  # wrong on purpose

    return StaticSine.apply


def sine_of_first_address():
    """The program that was cached reads the cotangent where that of the first call lay."""
    first = {}

    class CachedSine(Sine):
        @staticmethod
        def backward(ctx, cotangent):
            return Sine.backward(ctx, first.setdefault(cotangent.shape, cotangent.clone()))  # wrong on purpose

    return CachedSine.apply


def sine_of_last_forward():
    """What the backward needs is kept in one place, which the next forward writes over."""
    kept = {}

    class ForgetfulSine(Sine):
        @staticmethod
        def forward(ctx, x):
            kept["slope"] = x.cos()
            return x.sin()

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent * kept["slope"]  # wrong on purpose: that of the last forward, of whatever

    return ForgetfulSine.apply


def doubled_in_workspace(x, *, fresh):
    """2 x, made in a workspace that holds x at first, and that the backward returns unless it is told to clear it."""

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.workspace = x.clone()
            return 2 * ctx.workspace

        @staticmethod
        def backward(ctx, cotangent):
            return 2 * cotangent if fresh else ctx.workspace  # wrong on purpose: never written

    return Doubled.apply(x)


def bilinear(x, i):
    """Rows of x at places between them; the last row is never read."""
    low = i.floor().long()
    share = (i - low)[:, None]
    return (1 - share) * x[low] + share * x[low + 1]


def bilinear_backward(cotangent, x, i, *, zeroed):
    low = i.floor().long()
    share = (i - low)[:, None]
    weights = torch.zeros(len(i), len(x), dtype=x.dtype)
    weights[range(len(i)), low] = 1 - share[:, 0]
    weights[range(len(i)), low + 1] = share[:, 0]
    dx = torch.zeros_like(x) if zeroed else torch.empty_like(x)
    touched = (weights != 0).any(0)
    dx[touched] = (weights.mT @ cotangent)[touched]  # wrong on purpose: what is not touched stays as it was found
    return dx, (cotangent * (x[low + 1] - x[low])).sum(1)


ANIMALS = [
    Animal(
        name="a cotangent read by the output's strides",
        source="Dao-AILab/flash-attention#355",
        mistake="the kernel takes grad_output to be contiguous (pytorch/pytorch#194719 is another one)",
        wrong=torch_rule(gated, lambda c, x, y: gated_backward(read_as(c, x.shape), x, y)),
        right=torch_rule(gated, gated_backward),
        args=lambda: (tensor(3, 4), tensor(3, 4, seed=1)),
        id="GP216",
    ),
    Animal(
        name="an expanded cotangent read beyond its end",
        source="ROCm/TransformerEngine#623",
        mistake="the cotangent of a sum is one number with strides of 0; the kernel reads on behind it",
        wrong=torch_rule(mean_of_rows, lambda c, x: mean_of_rows_backward(read_as(c, c.shape), x)),
        right=torch_rule(mean_of_rows, mean_of_rows_backward),
        args=lambda: tensor(3, 4),
        id="GP216",
    ),
    Animal(
        name="batch norm of a channels-last input",
        source="pytorch/pytorch#175189",
        mistake="the gradient of the weight reads the input as if it were contiguous",
        wrong=torch_rule(batch_norm, lambda c, x, w: batch_norm_backward(c, x, w, strides=False)),
        right=torch_rule(batch_norm, lambda c, x, w: batch_norm_backward(c, x, w, strides=True)),
        args=lambda: (images(), tensor(3)),
        says="w",
    ),
    Animal(
        name="average pooling of a channels-last input",
        source="pytorch/pytorch#188344",
        mistake="the gradient is written in the order of a contiguous tensor",
        wrong=torch_rule(pool, lambda c, x: pool_backward(c, x, strides=False)),
        right=torch_rule(pool, lambda c, x: pool_backward(c, x, strides=True)),
        args=images,
    ),
    Animal(
        name="gradients written into saved tensors",
        source="linkedin/Liger-Kernel#254",
        mistake="the backward writes into tensors that other nodes have saved",
        wrong=ProductIntoSaved.apply,
        right=Product.apply,
        args=lambda: (tensor(3, 4), tensor(3, 4, seed=1)),
        id="GP219",
    ),
    Animal(
        name="a gradient written into the cotangent",
        source="ggml-org/ggml#1501",
        mistake="the gradient takes the memory of the cotangent, which other branches still read",
        wrong=ProductIntoCotangent.apply,
        right=Product.apply,
        args=lambda: (tensor(3, 4), tensor(3, 4, seed=1)),
        id="GP218",
    ),
    Animal(
        name="a gradient in a static buffer",
        source="pytorch/pytorch#181723",
        mistake="every backward returns the same memory, so that a later one changes what an earlier one returned",
        wrong=sine_in_static_buffer(),
        right=Sine.apply,
        args=lambda: tensor(4),
        id="GP226",
    ),
    Animal(
        name="a cotangent at the address of the first",
        source="tenstorrent/tt-metal#45137",
        mistake="the cached program reads the cotangent of the first call: right in every test of one call",
        wrong=sine_of_first_address(),
        right=Sine.apply,
        args=lambda: tensor(4),
        id="GP205",
    ),
    Animal(
        name="what the last forward has left",
        source="mancinimassimiliano/pytorch_wbn#2",
        mistake="the backward reads statistics that a second forward has written over",
        wrong=sine_of_last_forward(),
        right=Sine.apply,
        args=lambda: tensor(4),
        id="GP228",
    ),
    Animal(
        name="a workspace returned as the gradient",
        source="pytorch/pytorch#109448",
        mistake="the gradient is not written, and what the buffer held comes back: x itself",
        wrong=lambda x: doubled_in_workspace(x, fresh=False),
        right=lambda x: doubled_in_workspace(x, fresh=True),
        args=lambda: tensor(4),
        id="GP205",
        says="cotangent",
    ),
    Animal(
        name="a gradient in memory that is not cleared",
        source="pytorch/pytorch#185495",
        mistake="rows of the input that are not read get whatever the memory held (tracel-ai/burn#5296 is another one)",
        wrong=torch_rule(bilinear, lambda c, x, i: bilinear_backward(c, x, i, zeroed=False)),
        right=torch_rule(bilinear, lambda c, x, i: bilinear_backward(c, x, i, zeroed=True)),
        args=lambda: (tensor(5, 2), torch.tensor([0.3, 2.6, 1.2], dtype=torch.float64)),
        id="GP229",
    ),
]
