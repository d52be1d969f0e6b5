"""Derivatives that break one contract each, and look-alikes that keep it: two of either for every contract.

Every twin is `build(seed) -> (f, args[, claims])`. All formulas are right: on fresh contiguous float64 inputs, called
once, each of them gives the derivative, but for those that add something where the cotangent is zero or undefined.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import gradproof

# Contracts whose broken twins are found without being asked for, where a twin does not say otherwise.
BY_DEFAULT = ("GP216", "GP218", "GP219", "GP220", "GP224", "GP226", "GP228", "GP229")


@dataclasses.dataclass(frozen=True)
class Twin:
    """`id` is the contract, `is_broken` whether it is broken, `build` makes f, its arguments and claims from a seed."""

    id: str
    framework: str
    is_broken: bool
    build: Callable[[int], tuple[Any, ...]]
    by_default: bool

    @property
    def name(self) -> str:
        return self.build.__name__.replace("_", " ")

    def check(self, seed: int, contracts: Any = "all") -> gradproof.Report:
        """The report on f, differentiated by all of its arguments."""
        f, args, *claims = self.build(seed)
        wrt = None if claims else tuple(range(len(args)))
        return gradproof.check(f, args, **(claims[0] if claims else {}), wrt=wrt, rng=seed, contracts=contracts)

    def is_told(self, report: gradproof.Report) -> bool:
        """Whether a report says what holds: the contract alone where it is broken, nothing where it is kept."""
        found = [one.id for one in report.findings]
        return found == [self.id] if self.is_broken else not found and report.correct


TWINS: list[Twin] = []


def twin(id: str, *, framework: str, is_broken: bool, by_default: bool | None = None) -> Callable[[Any], Any]:
    def add(build: Any) -> Any:
        told = framework == "torch" and id in BY_DEFAULT if by_default is None else by_default
        TWINS.append(Twin(id, framework, is_broken, build, told))
        return build

    return add


def twins(*frameworks: str) -> list[Twin]:
    """Those of some frameworks, which must be installed."""
    for framework in frameworks:
        if framework != "numpy":
            importlib.import_module(f"contract_twins_{framework}")
    return [one for one in TWINS if one.framework in frameworks]


# ---- NumPy: sin as a function of a matrix, with its vjp or the gradient of its sum

broken = ft.partial(twin, framework="numpy", is_broken=True)
kept = ft.partial(twin, framework="numpy", is_broken=False)


def matrix(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 5))


def of_vjp(seed: int, vjp: Callable[..., Any]) -> tuple[Any, ...]:
    return np.sin, (matrix(seed),), {"vjp": vjp}


def of_grad(seed: int, grad: Callable[..., Any]) -> tuple[Any, ...]:
    return lambda x: np.sin(x).sum(), (matrix(seed),), {"grad": grad}


@broken("GP216")
def ravels_the_cotangent_in_its_own_order(seed: int) -> Any:
    return of_vjp(seed, lambda u, x: (np.cos(x).ravel() * u.ravel(order="K")).reshape(x.shape))


@broken("GP216")
def reads_the_memory_of_the_cotangent(seed: int) -> Any:
    def vjp(u: Any, x: Any) -> Any:
        rows = np.lib.stride_tricks.as_strided(u, u.shape, (u.strides[0], u.itemsize))
        return np.cos(x) * rows

    return of_vjp(seed, vjp)


@kept("GP216")
def ravels_in_c_order(seed: int) -> Any:
    return of_vjp(seed, lambda u, x: (np.cos(x).ravel() * u.ravel()).reshape(x.shape))


@kept("GP216")
def reads_a_contiguous_copy(seed: int) -> Any:
    def vjp(u: Any, x: Any) -> Any:
        u = np.ascontiguousarray(u)
        return np.cos(x) * np.lib.stride_tricks.as_strided(u, u.shape, (u.strides[0], u.itemsize))

    return of_vjp(seed, vjp)


@broken("GP217")
def ravels_its_input_in_its_own_order(seed: int) -> Any:
    return of_grad(seed, lambda x: np.cos(x).ravel(order="K").reshape(x.shape))


@broken("GP217")
def fills_an_empty_like_by_memory(seed: int) -> Any:
    def grad(x: Any) -> Any:
        made = np.empty_like(x)  # in the layout of x
        made.ravel(order="K")[:] = 0  # (a copy or a view, as it comes)
        flat = np.lib.stride_tricks.as_strided(made, (x.size,), (x.itemsize,))
        flat[:] = np.cos(x).ravel()
        return made

    return of_grad(seed, grad)


@kept("GP217")
def fills_a_c_ordered_array(seed: int) -> Any:
    def grad(x: Any) -> Any:
        made = np.empty(x.shape)
        made.reshape(-1)[:] = np.cos(x).ravel()
        return made

    return of_grad(seed, grad)


@kept("GP217")
def sums_in_the_order_of_its_memory(seed: int) -> Any:
    """Other orders round otherwise."""
    x = matrix(seed)
    return lambda x: np.exp(x.sum() / 20), (x,), {"grad": lambda x: np.full(x.shape, np.exp(x.sum() / 20) / 20)}


@broken("GP221")
def adds_a_penalty_whatever_the_cotangent(seed: int) -> Any:
    return of_vjp(seed, lambda u, x: np.cos(x) * u + 1e-2 * x)


@broken("GP221")
def divides_by_the_largest_cotangent(seed: int) -> Any:
    def vjp(u: Any, x: Any) -> Any:
        size = np.max(np.abs(u))
        return np.cos(x) * (u if size else np.ones_like(u))

    return of_vjp(seed, vjp)


@kept("GP221")
def scales_by_the_largest_cotangent(seed: int) -> Any:
    def vjp(u: Any, x: Any) -> Any:
        size = np.max(np.abs(u)) or 1.0
        return np.cos(x) * (u / size) * size

    return of_vjp(seed, vjp)


@kept("GP221")
def returns_zeros_at_once(seed: int) -> Any:
    return of_vjp(seed, lambda u, x: np.cos(x) * u if np.any(u) else np.zeros_like(x))


@broken("GP226")
def returns_one_buffer(seed: int) -> Any:
    buffer = np.zeros((4, 5))
    return of_grad(seed, lambda x: np.cos(x, out=buffer))


@broken("GP226")
def returns_a_view_of_its_buffer(seed: int) -> Any:
    buffer = np.zeros(20)

    def vjp(u: Any, x: Any) -> Any:
        np.multiply(u.ravel(), np.cos(x).ravel(), out=buffer)
        return buffer.reshape(x.shape)

    return of_vjp(seed, vjp)


@kept("GP226")
def returns_a_copy_of_its_buffer(seed: int) -> Any:
    buffer = np.zeros((4, 5))
    return of_grad(seed, lambda x: np.cos(x, out=buffer).copy())


@kept("GP226")
def returns_one_constant(seed: int) -> Any:
    """Always the same array, which nobody writes into."""
    x, weights = matrix(seed), matrix(seed + 1)
    return lambda x: np.sum(weights * x), (x,), {"grad": lambda x: weights}
