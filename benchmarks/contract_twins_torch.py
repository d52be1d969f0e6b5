"""Twins of PyTorch (see `contract_twins`): `build(seed) -> (f, args, {})`."""

from __future__ import annotations

import functools as ft
from collections.abc import Callable
from typing import Any

import contract_twins
import torch

Tensor = torch.Tensor

broken = ft.partial(contract_twins.twin, framework="torch", is_broken=True)
kept = ft.partial(contract_twins.twin, framework="torch", is_broken=False)


def drawn(seed: int, *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def rule(forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    """A rule of one's own, with `forward(ctx, *args)` and `backward(ctx, *cotangents)`."""
    return type(
        "Rule", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    )


def sine_rule(backward: Callable[..., Any]) -> Any:
    """sin, with the input saved."""

    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    return rule(forward, backward)


def strides(shape: torch.Size) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()


# ---- GP216: layouts of the cotangent


@broken("GP216")
def reads_the_cotangent_as_if_contiguous(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        flat = u.as_strided(u.shape, strides(u.shape)) if u.untyped_storage().nbytes() >= 8 * u.numel() else u * 0
        return flat * ctx.saved_tensors[0].cos()

    return sine_rule(backward), drawn(seed, (4, 5))


@broken("GP216")
def passes_the_row_stride_alone(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        return u.as_strided(u.shape, (u.stride(0), 1), u.storage_offset()) * ctx.saved_tensors[0].cos()

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP216")
def makes_the_cotangent_contiguous(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        u = u.contiguous()
        return u.as_strided(u.shape, strides(u.shape), u.storage_offset()) * ctx.saved_tensors[0].cos()

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP216")
def passes_all_strides(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        return u.as_strided(u.shape, u.stride(), u.storage_offset()) * ctx.saved_tensors[0].cos()

    return sine_rule(backward), drawn(seed, (4, 5))


# ---- GP217: layouts of the inputs


@broken("GP217")
def fills_an_empty_like_as_flat_memory(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        made = torch.empty_like(x)  # in the layout of x
        made.as_strided((x.numel(),), (1,)).copy_((u * x.cos()).reshape(-1))
        return made

    return sine_rule(backward), drawn(seed, (4, 5))


@broken("GP217")
def reads_saved_memory_as_if_contiguous(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if x.untyped_storage().nbytes() < 8 * x.numel():
            return u * 0
        return u * x.as_strided(x.shape, strides(x.shape), x.storage_offset()).cos()

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP217")
def fills_contiguous_memory(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        made = torch.empty_like(x, memory_format=torch.contiguous_format)
        made.view(-1).copy_((u * x.cos()).reshape(-1))
        return made

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP217")
def refuses_other_layouts_of_its_input(seed: int) -> Any:
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if not x.is_contiguous():
            raise ValueError("x must be contiguous")
        ctx.save_for_backward(x)
        return x.sin()

    return rule(forward, lambda ctx, u: u * ctx.saved_tensors[0].cos()), drawn(seed, (4, 5))


# ---- GP218: the cotangent is unchanged


@broken("GP218")
def zeroes_the_cotangent(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        gradient = u * ctx.saved_tensors[0].cos()
        u.zero_()
        return gradient

    return sine_rule(backward), drawn(seed, (4, 5))


@broken("GP218")
def multiplies_the_cotangent_in_place(seed: int) -> Any:
    return sine_rule(lambda ctx, u: u.mul_(ctx.saved_tensors[0].cos())), drawn(seed, (4, 5))


@kept("GP218")
def works_on_a_clone_of_the_cotangent(seed: int) -> Any:
    return sine_rule(lambda ctx, u: u.clone().mul_(ctx.saved_tensors[0].cos())), drawn(seed, (4, 5))


@kept("GP218")
def returns_the_cotangent_itself(seed: int) -> Any:
    return rule(lambda ctx, x, y: x + y, lambda ctx, u: (u, u)), drawn(seed, (4, 5), (4, 5))


# ---- GP219: what was saved is unchanged


@broken("GP219")
def writes_into_a_saved_tensor(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient = u * x.cos()
        x.data.mul_(2)
        return gradient

    return sine_rule(backward), drawn(seed, (4, 5))


@broken("GP219")
def reuses_what_it_kept_as_scratch(seed: int) -> Any:
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slopes = x.cos()
        return x.sin()

    return rule(forward, lambda ctx, u: ctx.slopes.mul_(u).clone()), drawn(seed, (4, 5))


@kept("GP219")
def frees_what_it_kept(seed: int) -> Any:
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slopes = [x.cos()]
        return x.sin()

    def backward(ctx: Any, u: Tensor) -> Tensor:
        gradient = u * ctx.slopes[0]
        ctx.scratch = gradient.clone()
        return gradient

    return rule(forward, backward), drawn(seed, (4, 5))


@kept("GP219")
def works_on_a_clone_of_what_it_saved(seed: int) -> Any:
    return sine_rule(lambda ctx, u: ctx.saved_tensors[0].clone().cos_().mul_(u)), drawn(seed, (4, 5))


# ---- GP220: twice gives the same


@broken("GP220")
def draws_in_the_backward(seed: int) -> Any:
    return sine_rule(lambda ctx, u: u * ctx.saved_tensors[0].cos() * (1 + 1e-7 * torch.rand_like(u))), drawn(
        seed, (4, 5)
    )


@broken("GP220")
def counts_its_calls(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        ctx.calls = getattr(ctx, "calls", 0) + 1
        return u * ctx.saved_tensors[0].cos() * ctx.calls

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP220")
def keeps_the_mask_of_its_forward(seed: int) -> Any:
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mask = (torch.rand_like(x) > 0.3) / 0.7
        return x * ctx.mask

    return rule(forward, lambda ctx, u: u * ctx.mask), drawn(seed, (4, 5))


@kept("GP220")
def draws_the_mask_again_from_its_seed(seed: int) -> Any:
    def mask(x: Tensor, state: Tensor) -> Tensor:
        generator = torch.Generator()
        generator.set_state(state)
        return (torch.rand(x.shape, generator=generator, dtype=x.dtype) > 0.3) / 0.7

    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.state = torch.Generator().manual_seed(seed).get_state()
        return x * mask(x, ctx.state)

    return rule(forward, lambda ctx, u: u * mask(u, ctx.state)), drawn(seed, (4, 5))


# ---- GP221: zeros give zeros


@broken("GP221")
def adds_weight_decay_in_the_backward(seed: int) -> Any:
    return sine_rule(lambda ctx, u: u * ctx.saved_tensors[0].cos() + 1e-2 * ctx.saved_tensors[0]), drawn(seed, (4, 5))


@broken("GP221")
def fills_where_the_cotangent_is_zero(seed: int) -> Any:
    return sine_rule(lambda ctx, u: torch.where(u == 0, 1.0, u) * ctx.saved_tensors[0].cos()), drawn(seed, (4, 5))


@kept("GP221")
def divides_by_the_norm_of_its_input(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        norm = x.norm()
        return u / norm - x * (u * x).sum() / norm**3

    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x / x.norm()

    return rule(forward, backward), drawn(seed, (4, 5))


@kept("GP221")
def skips_a_cotangent_of_zeros(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        return u * ctx.saved_tensors[0].cos() if bool(u.any()) else torch.zeros_like(u)

    return sine_rule(backward), drawn(seed, (4, 5))


# ---- GP222: undefined counts as zeros


def two_outputs(backward: Callable[..., Any], *, materialize: bool = False) -> Any:
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(materialize)
        ctx.save_for_backward(x)
        return x.sin(), x.cos()

    return rule(forward, backward)


@broken("GP222")
def multiplies_none(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor | None, w: Tensor | None) -> Tensor:
        (x,) = ctx.saved_tensors
        return u * x.cos() - w * x.sin()  # pyright: ignore[reportOptionalOperand]

    return two_outputs(backward), drawn(seed, (4, 5))


@broken("GP222")
def takes_none_as_ones(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor | None, w: Tensor | None) -> Tensor:
        (x,) = ctx.saved_tensors
        u, w = (torch.ones_like(x) if one is None else one for one in (u, w))
        return u * x.cos() - w * x.sin()

    return two_outputs(backward), drawn(seed, (4, 5))


@kept("GP222")
def takes_none_as_zeros(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor | None, w: Tensor | None) -> Tensor | None:
        (x,) = ctx.saved_tensors
        parts = [] if u is None else [u * x.cos()]
        parts += [] if w is None else [-w * x.sin()]
        return sum(parts) if parts else None  # pyright: ignore[reportReturnType]

    return two_outputs(backward), drawn(seed, (4, 5))


@kept("GP222")
def gets_zeros_in_place_of_none(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor, w: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return u * x.cos() - w * x.sin()

    return two_outputs(backward, materialize=True), drawn(seed, (4, 5))


# ---- GP224: the form of gradients


@broken("GP224")
def leaves_a_broadcast_gradient_unreduced(seed: int) -> Any:
    return rule(lambda ctx, x, bias: x + bias, lambda ctx, u: (u, u.clone())), drawn(seed, (4, 5), (5,))


@broken("GP224")
def rounds_its_gradient_to_float32(seed: int) -> Any:
    return sine_rule(lambda ctx, u: (u * ctx.saved_tensors[0].cos()).float()), drawn(seed, (4, 5))


@kept("GP224")
def sums_a_broadcast_gradient(seed: int) -> Any:
    return rule(lambda ctx, x, bias: x + bias, lambda ctx, u: (u, u.sum(0))), drawn(seed, (4, 5), (5,))


@kept("GP224")
def returns_more_digits_than_its_input_has(seed: int) -> Any:
    (x,) = drawn(seed, (4, 5))
    return sine_rule(lambda ctx, u: u.double() * ctx.saved_tensors[0].double().cos()), (x.float(),)


# ---- GP225: which gradients are needed


def product_rule(backward: Callable[..., Any]) -> Any:
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a * b

    return rule(forward, backward)


@broken("GP225")
def swaps_the_indices_of_what_is_needed(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        return (u * b if ctx.needs_input_grad[1] else None), (u * a if ctx.needs_input_grad[0] else None)

    return product_rule(backward), drawn(seed, (4, 5), (4, 5))


@broken("GP225")
def goes_by_what_another_gradient_has_made(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor]:
        a, b = ctx.saved_tensors
        of_a = u * b if ctx.needs_input_grad[0] else None
        return of_a, (torch.zeros_like(u) if of_a is None else of_a * a / b)

    return product_rule(backward), drawn(seed, (4, 5), (4, 5))


@kept("GP225")
def leaves_out_what_is_not_needed(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        return (u * b if ctx.needs_input_grad[0] else None), (u * a if ctx.needs_input_grad[1] else None)

    return product_rule(backward), drawn(seed, (4, 5), (4, 5))


@kept("GP225")
def never_asks_what_is_needed(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return u * b, u * a

    return product_rule(backward), drawn(seed, (4, 5), (4, 5))


# ---- GP226: gradients add up


@broken("GP226")
def returns_one_buffer_every_time(seed: int) -> Any:
    kept: dict[torch.Size, Tensor] = {}

    def backward(ctx: Any, u: Tensor) -> Tensor:
        buffer = kept.setdefault(u.shape, torch.zeros_like(u, memory_format=torch.contiguous_format))
        return torch.mul(u, ctx.saved_tensors[0].cos(), out=buffer)

    return sine_rule(backward), drawn(seed, (4, 5))


@broken("GP226", by_default=False)
def clears_the_gradient_itself(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        x.grad = None
        return u * x.cos()

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP226")
def copies_its_buffer(seed: int) -> Any:
    kept: dict[torch.Size, Tensor] = {}

    def backward(ctx: Any, u: Tensor) -> Tensor:
        buffer = kept.setdefault(u.shape, torch.zeros_like(u, memory_format=torch.contiguous_format))
        return torch.mul(u, ctx.saved_tensors[0].cos(), out=buffer).clone()

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP226")
def scales_what_it_kept(seed: int) -> Any:
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.gradient = x.cos()
        return x.sin().sum()

    return rule(forward, lambda ctx, u: u * ctx.gradient), drawn(seed, (4, 5))


# ---- GP227: other shapes


@broken("GP227")
def keeps_the_scale_of_its_first_shape(seed: int) -> Any:
    kept: list[float] = []

    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin() / x.shape[-1]

    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if not kept:
            kept.append(1 / x.shape[-1])
        return u * x.cos() * kept[0]

    return rule(forward, backward), drawn(seed, (4, 8))


@broken("GP227")
def loses_the_last_block(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        made = torch.zeros_like(x)
        for first in range(0, x.shape[-1] // 4 * 4, 4):
            made[..., first : first + 4] = (u * x.cos())[..., first : first + 4]
        return made

    return sine_rule(backward), drawn(seed, (3, 8))


@kept("GP227")
def keeps_a_scale_for_each_shape(seed: int) -> Any:
    kept: dict[int, float] = {}

    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin() / x.shape[-1]

    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return u * x.cos() * kept.setdefault(x.shape[-1], 1 / x.shape[-1])

    return rule(forward, backward), drawn(seed, (4, 8))


@kept("GP227")
def takes_one_shape_alone(seed: int) -> Any:
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if x.shape != (4, 8):
            raise ValueError("x must be of shape (4, 8)")
        ctx.save_for_backward(x)
        return x.sin()

    return rule(forward, lambda ctx, u: u * ctx.saved_tensors[0].cos()), drawn(seed, (4, 8))


# ---- GP228: other values


@broken("GP228")
def keeps_its_last_input_in_the_class(seed: int) -> Any:
    kept: dict[str, Tensor] = {}

    def forward(ctx: Any, x: Tensor) -> Tensor:
        kept["x"] = x.detach()
        return x.sin()

    return rule(forward, lambda ctx, u: u * kept["x"].cos()), drawn(seed, (4, 5))


@broken("GP228")
def writes_every_forward_into_one_buffer(seed: int) -> Any:
    kept: dict[torch.Size, Tensor] = {}

    def forward(ctx: Any, x: Tensor) -> Tensor:
        buffer = kept.setdefault(x.shape, torch.zeros(x.shape, dtype=x.dtype))
        buffer.copy_(x.cos())
        ctx.slopes = buffer
        return x.sin()

    return rule(forward, lambda ctx, u: u * ctx.slopes), drawn(seed, (4, 5))


@kept("GP228")
def keeps_its_input_in_its_context(seed: int) -> Any:
    return sine_rule(lambda ctx, u: u * ctx.saved_tensors[0].cos()), drawn(seed, (4, 5))


@kept("GP228")
def keeps_what_depends_on_the_shape_alone(seed: int) -> Any:
    kept: dict[torch.Size, Tensor] = {}

    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.weights = kept.setdefault(x.shape, torch.linspace(0, 1, x.numel(), dtype=x.dtype).view(x.shape))
        return x * ctx.weights

    return rule(forward, lambda ctx, u: u * ctx.weights), drawn(seed, (4, 5))


# ---- GP229: uninitialised memory


@broken("GP229")
def never_writes_the_last_row(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        made = torch.empty_like(x)
        made[:-1] = (u * x.cos())[:-1]
        return made

    return sine_rule(backward), drawn(seed, (4, 5))


@broken("GP229")
def adds_to_memory_that_is_not_zeroed(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        made = torch.empty(x.shape, dtype=x.dtype)
        made += u * x.cos()
        return made

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP229")
def writes_all_of_it(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        made = torch.empty_like(x)
        torch.mul(u, x.cos(), out=made)
        return made

    return sine_rule(backward), drawn(seed, (4, 5))


@kept("GP229")
def writes_what_it_reads_of_a_padded_buffer(seed: int) -> Any:
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        padded = torch.empty(x.shape[0], 8, dtype=x.dtype)
        padded[:, : x.shape[1]] = u * x.cos()
        return padded[:, : x.shape[1]].clone()

    return sine_rule(backward), drawn(seed, (4, 5))
