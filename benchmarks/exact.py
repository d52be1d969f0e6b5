"""Exact slopes of functions written once: dual numbers in extended precision, and the same functions in mpmath.

A function that uses only operators, indexing, `sum`, `reshape`, `T` and the functions of this module runs on NumPy
arrays (the function under test), on `Dual` (its gradient, by the chain rule, in long double) and on object arrays of
mpmath numbers (to verify the gradient by high-precision differences).
"""

from __future__ import annotations

import functools as ft
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

Generic = Any  # ndarray, Dual, or object array of mpmath numbers


class Dual:
    """A value and its derivatives along k directions: value of some shape, slope (k, *shape)."""

    __array_ufunc__ = None  # ndarrays leave mixed operations to this class

    def __init__(self, value: Any, slope: np.ndarray) -> None:
        self.value = np.asarray(value, dtype=np.longdouble)
        self.slope = slope

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __len__(self) -> int:
        return len(self.value)

    @property
    def T(self) -> Dual:  # noqa: N802 (NumPy's name)
        return Dual(self.value.T, np.swapaxes(self.slope, -1, -2) if self.value.ndim == 2 else self.slope)

    def lifted(self, shape: tuple[int, ...]) -> np.ndarray:
        """The slope, broadcast to a value of `shape`."""
        k, own = self.slope.shape[0], self.slope.shape[1:]
        aligned = self.slope.reshape((k,) + (1,) * (len(shape) - len(own)) + own)
        return np.broadcast_to(aligned, (k, *shape))

    def chain(self, value: Any, derivative: Any) -> Dual:
        return Dual(value, self.slope * derivative)

    def __getitem__(self, key: Any) -> Dual:
        key = key if isinstance(key, tuple) else (key,)
        return Dual(self.value[key], self.slope[(slice(None), *key)])

    def reshape(self, *shape: int) -> Dual:
        value = self.value.reshape(*shape)
        return Dual(value, self.slope.reshape(self.slope.shape[0], *value.shape))

    def sum(self, axis: int | None = None) -> Dual:
        if axis is None:
            return Dual(self.value.sum(), self.slope.reshape(self.slope.shape[0], -1).sum(1))
        return Dual(self.value.sum(axis), self.slope.sum(axis % self.value.ndim + 1))

    def __add__(self, other: Any) -> Dual:
        value = self.value + value_of(other)
        return Dual(value, self.lifted(value.shape) + _slope(other, value.shape))

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, other: Any) -> Dual:
        return self + (-other)

    def __rsub__(self, other: Any) -> Dual:
        return -self + other

    def __mul__(self, other: Any) -> Dual:
        constant = value_of(other)
        value = self.value * constant
        return Dual(value, self.lifted(value.shape) * constant + _slope(other, value.shape) * self.value)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Dual:
        return self * other**-1 if isinstance(other, Dual) else self * (1 / np.asarray(other, dtype=np.longdouble))

    def __rtruediv__(self, other: Any) -> Dual:
        return self**-1 * other

    def __pow__(self, power: float) -> Dual:
        power = np.longdouble(power)
        return self.chain(self.value**power, power * self.value ** (power - 1))

    def __matmul__(self, other: Any) -> Dual:
        slope = np.matmul(self.slope, value_of(other))
        return Dual(self.value @ value_of(other), slope + (other._left(self.value) if isinstance(other, Dual) else 0))

    def __rmatmul__(self, other: Any) -> Dual:
        return Dual(other @ self.value, self._left(other))

    def _left(self, other: np.ndarray) -> np.ndarray:
        """Slope of other @ self with `other` held constant."""
        if self.value.ndim == 1:
            return self.slope @ other.T if other.ndim == 2 else self.slope @ other
        return np.matmul(other, self.slope)

    def __lt__(self, other: Any) -> np.ndarray:
        return self.value < value_of(other)

    def __gt__(self, other: Any) -> np.ndarray:
        return self.value > value_of(other)

    def __le__(self, other: Any) -> np.ndarray:
        return self.value <= value_of(other)

    def __ge__(self, other: Any) -> np.ndarray:
        return self.value >= value_of(other)


def value_of(x: Any) -> Any:
    """The plain value: a Dual without its slope, everything else as it is."""
    return x.value if isinstance(x, Dual) else x


def _slope(x: Any, shape: tuple[int, ...]) -> Any:
    return x.lifted(shape) if isinstance(x, Dual) else np.longdouble(0)


def _function(
    numpy: Callable[..., Any], mp: Callable[..., Any], derivative: Callable[[Any, Any], Any]
) -> Callable[[Generic], Generic]:
    on_objects = np.frompyfunc(mp, 1, 1)

    def function(x: Generic) -> Generic:
        if isinstance(x, Dual):
            value = numpy(x.value)
            return x.chain(value, derivative(x.value, value))
        if isinstance(x, mpmath.mpf) or getattr(x, "dtype", np.dtype(float)).kind == "O":
            return on_objects(x)
        return numpy(x)

    return function


exp = _function(np.exp, mpmath.exp, lambda x, y: y)
log = _function(np.log, mpmath.log, lambda x, y: 1 / x)
log1p = _function(np.log1p, lambda x: mpmath.log(1 + x), lambda x, y: 1 / (1 + x))
tanh = _function(np.tanh, mpmath.tanh, lambda x, y: 1 - y * y)
sin = _function(np.sin, mpmath.sin, lambda x, y: np.cos(x))
cos = _function(np.cos, mpmath.cos, lambda x, y: -np.sin(x))
arctan = _function(np.arctan, mpmath.atan, lambda x, y: 1 / (1 + x * x))
sqrt = _function(np.sqrt, mpmath.sqrt, lambda x, y: 0.5 / y)


def where(condition: Any, a: Generic, b: Generic) -> Generic:
    """Like np.where; the branches keep their own precision."""
    if isinstance(a, Dual) or isinstance(b, Dual):
        value = np.where(condition, value_of(a), value_of(b))
        k = (a if isinstance(a, Dual) else b).slope.shape[0]
        zero = np.zeros((k, *value.shape), dtype=np.longdouble)
        return Dual(value, np.where(condition, _slope(a, value.shape) + zero, _slope(b, value.shape) + zero))
    chosen = np.where(condition, a, b)
    return chosen[()] if chosen.ndim == 0 else chosen


def maximum(a: Generic, b: Generic) -> Generic:
    return where(a > b, a, b)


def absolute(x: Generic) -> Generic:
    return where(x > 0, x, -x)


def largest(x: Generic) -> Any:
    """Maximum as a constant (for stabilised exponentials)."""
    return np.max(value_of(x))


def gather(items: list[Generic]) -> Generic:
    """A vector of scalars."""
    if any(isinstance(item, Dual) for item in items):
        k = next(item for item in items if isinstance(item, Dual)).slope.shape[0]
        zero = np.zeros(k, dtype=np.longdouble)
        return Dual(
            np.array([value_of(item) for item in items]),
            np.stack([item.slope if isinstance(item, Dual) else zero for item in items], axis=1),
        )
    return np.array(items)


def long(data: np.ndarray) -> np.ndarray:
    return np.asarray(data, dtype=np.longdouble)


@ft.lru_cache(maxsize=64)
def _unit_vectors(n: int) -> np.ndarray:
    return np.eye(n, dtype=np.longdouble)


def gradient(f: Callable[..., Generic], x: np.ndarray, data: tuple[np.ndarray, ...]) -> np.ndarray:
    """Gradient of f at x by forward-mode differentiation in long double."""
    result = f(Dual(long(x), _unit_vectors(len(x))), *(long(part) for part in data))
    return result.slope if isinstance(result, Dual) else np.zeros(len(x), dtype=np.longdouble)


def mp_slope(f: Callable[..., Generic], x: np.ndarray, data: tuple[np.ndarray, ...], v: np.ndarray) -> float:
    """Slope of f at x along v from a central difference with 80 digits and a step of 1e-25."""
    with mpmath.workdps(80):
        exactly = np.frompyfunc(lambda number: mpmath.mpf(float(number)), 1, 1)
        parts = [exactly(part) for part in data]
        point, direction, step = exactly(x), exactly(v), mpmath.mpf(10) ** -25
        rise = f(point + direction * step, *parts) - f(point - direction * step, *parts)
        return float(rise / (2 * step))
