"""Twins of JAX (see `contract_twins`): `build(seed) -> (f, args)`."""

from __future__ import annotations

import functools as ft
from collections.abc import Callable
from typing import Any

import contract_twins
import jax
import jax.numpy as jnp
import numpy as np

broken = ft.partial(contract_twins.twin, framework="jax", is_broken=True)
kept = ft.partial(contract_twins.twin, framework="jax", is_broken=False)


def drawn(seed: int, count: int = 2) -> tuple[Any, ...]:
    generator = np.random.default_rng(seed)
    return tuple(jnp.asarray(generator.normal(size=4) + 2) for _ in range(count))


def product(backward: Callable[..., Any]) -> Any:
    """sin(x) y, whose backward gets ``((x, y), u)``."""

    @jax.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return jnp.sin(x) * y

    f.defvjp(lambda x, y: (jnp.sin(x) * y, (x, y)), backward)
    return f


def told(needs: Callable[[bool, bool], tuple[bool, bool]]) -> Any:
    """The same, which is told what is needed, and keeps y and x for x and y if `needs` says so."""

    @jax.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return jnp.sin(x) * y

    def forward(x: Any, y: Any) -> Any:
        of_x, of_y = needs(x.perturbed, y.perturbed)
        x, y = x.value, y.value
        return jnp.sin(x) * y, (x, y if of_x else None, jnp.sin(x) if of_y else None)

    def backward(kept: Any, u: Any) -> Any:
        x, y, sine = kept
        return u * jnp.cos(x) * (1.0 if y is None else y), jnp.zeros_like(x) if sine is None else u * sine

    f.defvjp(forward, backward, symbolic_zeros=True)
    return f


# ---- GP220: twice gives the same


@broken("GP220")
def draws_at_every_call(seed: int) -> Any:
    generator = np.random.default_rng(seed)

    def backward(kept: Any, u: Any) -> Any:
        x, y = kept
        noise = 1 + 1e-7 * generator.normal(size=x.shape)
        return u * jnp.cos(x) * y * noise, u * jnp.sin(x)

    return product(backward), drawn(seed)


@broken("GP220")
def grows_from_call_to_call(seed: int) -> Any:
    calls: list[int] = []

    def backward(kept: Any, u: Any) -> Any:
        x, y = kept
        calls.append(1)
        return u * jnp.cos(x) * y * (1 + 1e-6 * len(calls)), u * jnp.sin(x)

    return product(backward), drawn(seed)


@kept("GP220")
def draws_by_its_key(seed: int) -> Any:
    def f(x: Any, y: Any) -> Any:
        return x * y * jax.random.bernoulli(jax.random.key(seed), 0.7, x.shape)

    return f, drawn(seed)


@kept("GP220")
def counts_what_does_not_matter(seed: int) -> Any:
    calls: list[int] = []

    def backward(kept: Any, u: Any) -> Any:
        x, y = kept
        calls.append(1)
        return u * jnp.cos(x) * y, u * jnp.sin(x)

    return product(backward), drawn(seed)


# ---- GP221: zeros give zeros


@broken("GP221")
def adds_a_constant(seed: int) -> Any:
    return product(lambda kept, u: (u * jnp.cos(kept[0]) * kept[1] + 1e-2, u * jnp.sin(kept[0]))), drawn(seed)


@broken("GP221")
def takes_zero_as_one(seed: int) -> Any:
    def backward(kept: Any, u: Any) -> Any:
        return jnp.where(u == 0, 1.0, u) * jnp.cos(kept[0]) * kept[1], u * jnp.sin(kept[0])

    return product(backward), drawn(seed)


@kept("GP221")
def multiplies_all_by_its_cotangent(seed: int) -> Any:
    return product(lambda kept, u: (u * jnp.cos(kept[0]) * kept[1], u * jnp.sin(kept[0]))), drawn(seed)


@kept("GP221")
def leaves_zero_out(seed: int) -> Any:
    def backward(kept: Any, u: Any) -> Any:
        return jnp.where(u == 0, 0.0, u * jnp.cos(kept[0]) * kept[1]), u * jnp.sin(kept[0])

    return product(backward), drawn(seed)


# ---- GP225: which gradients are needed


@broken("GP225")
def swaps_what_is_needed(seed: int) -> Any:
    return told(lambda x, y: (y, x)), drawn(seed)


@broken("GP225")
def needs_both_for_one(seed: int) -> Any:
    return told(lambda x, y: (x and y, y)), drawn(seed)


@kept("GP225")
def keeps_what_is_needed(seed: int) -> Any:
    return told(lambda x, y: (x, y)), drawn(seed)


@kept("GP225")
def keeps_everything(seed: int) -> Any:
    return told(lambda x, y: (True, True)), drawn(seed)
