"""Rules for PyTorch and JAX, made of a function and its hand-written derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch

from zoo._frame import drawn


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(drawn(*shape, seed=seed))


def array(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(drawn(*shape, seed=seed))


def torch_rule(
    forward: Callable[..., Any], backward: Callable[..., Any], jvp: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """An `autograd.Function`: ``backward(cotangent, *inputs)`` and ``jvp(*tangents, *inputs)``."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            return backward(*cotangents, *ctx.saved_tensors)

    Rule.forward = staticmethod(forward)  # as it is: the report names its arguments
    if jvp is not None:
        Rule.jvp = staticmethod(lambda ctx, *tangents: jvp(*tangents, *ctx.saved_tensors))
    Rule.__name__ = Rule.__qualname__ = forward.__name__.title().replace("_", "")
    return Rule.apply


def vjp_rule(f: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """A `jax.custom_vjp`: ``backward(cotangent, *inputs)``, a tuple."""
    rule = jax.custom_vjp(f)
    rule.defvjp(lambda *inputs: (f(*inputs), inputs), lambda inputs, cotangent: backward(cotangent, *inputs))
    return rule


def jvp_rule(f: Callable[..., Any], tangent: Callable[..., Any]) -> Callable[..., Any]:
    """A `jax.custom_jvp`: ``tangent(*tangents, *inputs)``; the value goes through the rule again, for order two."""
    rule = jax.custom_jvp(f)
    rule.defjvp(lambda primals, tangents: (rule(*primals), tangent(*tangents, *primals)))
    return rule
