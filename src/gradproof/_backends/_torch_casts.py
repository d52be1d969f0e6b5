"""Precisions that a function of PyTorch asks for inside, seen or replaced as its operations run."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import optree
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gradproof._backends._torch_state import undone

Tensor = torch.Tensor

SIXTEEN = (torch.bfloat16, torch.float16)
# Bits of the mantissa of float32 that TF32 drops.
DROPPED = 13
_PRODUCTS = frozenset(
    {
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "addbmm",
        "mv",
        "addmv",
        "dot",
        "convolution",
        "convolution_backward",
        "_scaled_dot_product_flash_attention_for_cpu",
    }
)


def is_low(dtype: Any) -> bool:
    """Whether a dtype is one of floats below float64."""
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype != torch.float64


class Wide(TorchDispatchMode):
    """Computes in float64 whatever a function asks to compute in less: `x.float()`, `sum(dtype=torch.float32)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if is_low(kwargs.get("dtype")):
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


class Promotes(TorchFunctionMode):
    """Takes operands of lower precision to float64 where another operand is float64.

    Autograd sees these casts, so the backward needs no mode. What a function holds besides its arguments, such as data
    and weights, stays as it is: autocast would have made all one dtype, and without it torch would refuse.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [one for one in optree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]  # pyright: ignore[reportArgumentType]
        is_mixed = any(one.dtype == torch.float64 for one in given) and any(is_low(one.dtype) for one in given)
        name = str(getattr(func, "__name__", ""))
        is_in_place = (name.endswith("_") and not name.endswith("__")) or "out" in kwargs or name == "__setitem__"
        if is_mixed and not is_in_place and name not in ("__get__", "__set__", "to", "type_as"):
            args, kwargs = optree.tree_map(_widened, (args, kwargs), none_is_leaf=True)  # pyright: ignore[reportArgumentType]
        return func(*args, **kwargs)


@contextlib.contextmanager
def all_wide() -> Generator[None]:
    """Compute in float64 what has an operand in float64, whatever is asked for."""
    with Wide(), Promotes():
        yield


def _widened(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and is_low(value.dtype) else value


class Autocasts(TorchFunctionMode):
    """Sees in which 16-bit dtype a function computes under autocast, if in any.

    (Where operations are dispatched, autocast is done already.)
    """

    seen: torch.dtype | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype in SIXTEEN and torch.is_autocast_enabled(result.device.type):
            self.seen = result.dtype
        return result


class Entered:
    """Whether autocast to 16 bits was on, or was entered, within `watching`: no operation is looked at for that."""

    def __init__(self) -> None:
        self.is_on = False

    @contextlib.contextmanager
    def watching(self, devices: set[str]) -> Generator[None]:
        """Within this context every `torch.autocast` that is entered is seen."""
        self.is_on |= any(map(torch.is_autocast_enabled, devices))
        original = torch.autocast.__enter__

        def enter(autocast: Any) -> Any:
            self.is_on |= bool(autocast._enabled) and autocast.fast_dtype in SIXTEEN
            return original(autocast)

        def put(way: Any) -> None:
            torch.autocast.__enter__ = way

        with undone(lambda: put(original)):
            put(enter)
            yield


class Lowered(TorchDispatchMode):
    """Sees which operations have results of 16 bits, other than casts."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(first, Tensor) and first.dtype in SIXTEEN and not _keeps_numbers(func):
            self.names.add(func.overloadpacket.__name__)
        return result


class RoundedAtRandom(TorchDispatchMode):
    """Computes in float64, with operands and results of operations rounded to lower precision.

    Each number is moved by up to half a rounding at random before, so that two runs are two draws of the errors.

    Parameters
    ----------
    names : set of str, or None
        Those that `Lowered` has seen, whose first result is rounded; None rounds all results of all.
    dtype : torch.dtype
    seed : int
    """

    def __init__(self, names: set[str] | None, dtype: torch.dtype, seed: int) -> None:
        super().__init__()
        self._names, self._dtype, self._seed = names, dtype, seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if is_low(kwargs.get("dtype")):
            kwargs["dtype"] = torch.float64
        is_meant = self._names is None or func.overloadpacket.__name__ in self._names
        if not is_meant or _keeps_numbers(func):
            return func(*args, **kwargs)
        args = optree.tree_map(self._rounded, args, none_is_leaf=True)  # pyright: ignore[reportArgumentType]
        result = func(*args, **kwargs)
        if isinstance(result, tuple):
            others = result[1:] if self._names is not None else map(self._rounded, result[1:])
            return (self._rounded(result[0]), *others)
        return self._rounded(result)

    def _rounded(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype == torch.complex128 and self._names is None:
            return torch.view_as_complex(self._rounded(torch.view_as_real(value.resolve_conj())))
        if not isinstance(value, Tensor) or value.dtype != torch.float64 or value.is_meta or value._is_zerotensor():
            return value  # (Forward mode has tangents without memory.)
        if value.device not in self._generators:
            self._generators[value.device] = torch.Generator(value.device).manual_seed(self._seed)
        generator = self._generators[value.device]
        drawn = torch.rand(value.shape, generator=generator, dtype=value.dtype, device=value.device) - 0.5
        moved = (value * (1 + torch.finfo(self._dtype).eps * drawn)).to(self._dtype).double()
        # (What has 16 bits already is not rounded again: `max` and `relu` return one of their operands.)
        own = value.to(self._dtype).double()
        return torch.where(value.isfinite() & (own != value), moved, own)


def _keeps_numbers(func: Any) -> bool:
    """Whether an operation moves or casts numbers, or writes in place, and so has no rounding of its own."""
    is_view = any(argument.alias_info is not None for argument in func._schema.arguments)
    return is_view or func.overloadpacket.__name__ in ("_to_copy", "clone", "copy", "detach")


class SingleInside(TorchDispatchMode):
    """Computes every operation on 16-bit tensors in float32, and rounds its result: what a right kernel may do.

    PyTorch's own operations on the CPU do not: some add up in 16 bits, and some do not run at all. Views and writes in
    place are left as they are. Of an operation with several results the first is rounded, the others are statistics.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [one for one in optree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]  # pyright: ignore[reportArgumentType]
        low = next((one.dtype for one in given if one.dtype in SIXTEEN), None)
        if low is None or _keeps_numbers(func):
            return func(*args, **kwargs)
        is_mixed = any(one.dtype in (torch.float32, torch.float64) and one.dim() for one in given)
        args, kwargs = optree.tree_map(_single, (args, kwargs), none_is_leaf=True)  # pyright: ignore[reportArgumentType]
        result = func(*args, **kwargs)
        if is_mixed or kwargs.get("dtype") is not None:
            return result
        if isinstance(result, tuple):
            return (_rounded(result[0], low), *result[1:])
        return _rounded(result, low)


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in SIXTEEN else value


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype == torch.float32 else value


class ShortProducts(TorchDispatchMode):
    """Rounds the operands of matrix products and convolutions in float32 as TF32 does, to 10 bits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _PRODUCTS:
            args = tuple(shortened(one) if isinstance(one, Tensor) else one for one in args)
        return func(*args, **(kwargs or {}))


def shortened(tensor: Tensor) -> Tensor:
    """A float32 tensor with mantissas of 10 bits, rounded to nearest."""
    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    half = 1 << (DROPPED - 1)
    even = (bits >> DROPPED) & 1
    rounded = ((bits + (half - 1) + even) & -(1 << DROPPED)).view(torch.float32)
    return torch.where(tensor.isfinite(), rounded, tensor).reshape(tensor.shape)
