"""A kernel of PyTorch and its reference, which is run in float64 and in the kernel's own precision."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import functools as ft
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gradproof._backends._numpy import Array
from gradproof._backends._sides import PRECISIONS, TF32, Spec, Way, Ways, unknown_precision
from gradproof._backends._torch import dtype_of
from gradproof._backends._torch_autodiff import TorchAutodiff, pull
from gradproof._backends._torch_casts import SIXTEEN, Autocasts, ShortProducts, SingleInside, Wide
from gradproof._base._errors import FunctionError, UsageError

Tensor = torch.Tensor
# ``reference(leaves, others, is_wide)`` returns what the reference does.
Call = Callable[[Sequence[Tensor], Sequence[Any], bool], Any]

_NAMED = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchSides:
    """See `gradproof._reference._sides.Sides`.

    Parameters
    ----------
    low : TorchAutodiff
        The kernel at its point.
    reference : callable
        ``reference(leaves, others, is_wide)``; what is not differentiated comes in float64 if `is_wide`.
    name : str
        Of the reference.
    precision : str or None
        What the kernel computes in; None finds out.

    Attributes
    ----------
    narrow : tuple of str
        Outputs that the reference returned in less than float64 for arguments in float64.
    """

    has_gradients = True

    def __init__(self, low: TorchAutodiff, reference: Call, name: str, precision: str | None) -> None:
        self._low, self._reference, self._name = low, reference, name
        self._leaves = low.arguments[: low.count]
        self.narrow: tuple[str, ...] = ()
        with Autocasts() as watch:
            outputs = low.evaluate()
        dtypes = [tensor.dtype for tensor in (*self._leaves, *outputs)]
        if all(dtype in (torch.float64, torch.complex128) for dtype in dtypes):
            raise UsageError(
                "every tensor is float64 already, so no reference can be more precise than the kernel. Check it with "
                "`gradproof.check(kernel, inputs)`, or pass inputs in the dtype that it is meant for."
            )
        self._inside = self._found(dtypes, watch.seen) if precision is None else self._declared(precision)
        self._dtypes = [output.dtype for output in outputs]
        names = ["output"] if len(outputs) == 1 else [f"output[{i}]" for i in range(len(outputs))]
        self.outputs = tuple(map(self._spec, names, outputs))
        self.inputs = tuple(map(self._spec, low.names, self._leaves))
        self.precision = self._inside or dtype_of(max(self._leaves, key=lambda leaf: torch.finfo(leaf.dtype).eps))
        self._ways = Ways(self._all_ways())

    def _found(self, dtypes: Sequence[torch.dtype], seen: torch.dtype | None) -> str:
        """What is computed in, where it is less than the dtypes say; else nothing."""
        if any(torch.finfo(leaf.dtype).bits <= 16 for leaf in self._leaves):
            return ""
        if seen is not None:
            return str(seen).removeprefix("torch.")
        if any(torch.finfo(dtype).bits <= 16 for dtype in dtypes):
            return ""
        is_short = any(leaf.is_cuda for leaf in self._leaves) and torch.backends.cuda.matmul.allow_tf32
        return "tf32" if is_short else ""

    def _declared(self, precision: str) -> str:
        if precision not in PRECISIONS:
            raise unknown_precision(precision)
        return "" if precision == "float32" else precision

    def _spec(self, path: str, tensor: Tensor) -> Spec:
        info = torch.finfo(tensor.dtype)
        inside = {"": 0.0, "tf32": TF32}.get(self._inside)
        if inside is None:
            inside = torch.finfo(_NAMED[self._inside]).eps / 2
        return Spec(
            path=path,
            shape=tuple(tensor.shape),
            dtype=dtype_of(tensor),
            unit=max(info.eps / 2, inside),
            tiny=info.smallest_normal * info.eps,
            largest=info.max,
            is_complex=tensor.is_complex(),
        )

    def point(self) -> list[Array]:
        """The differentiated inputs."""
        return [_as_numpy(leaf) for leaf in self._leaves]

    def rounded(self, values: Sequence[Array]) -> list[Array]:
        """Values of the inputs as the kernel's dtypes hold them."""
        return [_rounded(value, leaf.dtype) for value, leaf in zip(values, self._leaves, strict=True)]

    def rounded_cotangents(self, cotangents: Sequence[Array]) -> list[Array]:
        """Cotangents as the dtypes of the outputs hold them."""
        return [_rounded(one, dtype) for one, dtype in zip(cotangents, self._dtypes, strict=True)]

    def kernel(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """All outputs of the kernel, then all gradients."""
        low = self._low

        def call(leaves: Sequence[Tensor]) -> list[Tensor]:
            return low.outputs(leaves, low.others())

        return self._differentiated(call, self._own(values), cotangents, self._dtypes)

    def truth(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The reference in float64."""
        wide = [_tensor(value, leaf, _wide(leaf.dtype)) for value, leaf in zip(values, self._leaves, strict=True)]
        with Wide():
            return self._differentiated(lambda leaves: self._called(leaves, is_wide=True), wide, cotangents, None)

    def baseline(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The reference as the kernel's precision computes it: the first of several ways that runs."""
        found, self.precision = self._ways.baseline(values, cotangents)
        return found

    def _all_ways(self) -> list[tuple[str, Way]]:
        """How the baseline may be computed, with what is said of it, best first."""
        lowest = max((*self._leaves, *self._like()), key=lambda one: torch.finfo(one.dtype).eps)
        own = dtype_of(lowest)
        single = f"float32, its results rounded to {own}", ft.partial(self._in, torch.float32)
        if self._inside == "tf32":
            return [("tf32", ft.partial(self._own_way, ShortProducts))]
        if self._inside:
            dtype = _NAMED[self._inside]
            return [
                (f"{self._inside} autocast", ft.partial(self._autocast, dtype)),
                (self._inside, ft.partial(self._in, dtype)),
                single,
            ]
        if torch.finfo(lowest.dtype).bits < 16:
            return [single]
        mode = SingleInside if lowest.dtype in SIXTEEN else contextlib.nullcontext
        return [(own, ft.partial(self._own_way, mode)), single]

    def _like(self) -> list[Tensor]:
        return [torch.empty(0, dtype=dtype) for dtype in self._dtypes]

    def _own_way(
        self,
        mode: Callable[[], contextlib.AbstractContextManager[Any]],
        values: Sequence[Array],
        us: Sequence[Array],
    ) -> list[Array]:
        """In the kernel's own dtypes, within some mode."""
        with mode():
            return self._differentiated(self._called, self._own(values), us, self._dtypes)

    def _autocast(self, dtype: torch.dtype, values: Sequence[Array], us: Sequence[Array]) -> list[Array] | None:
        """Under autocast; None where nothing there is computed in 16 bits."""
        device = self._leaves[0].device.type

        def call(leaves: Sequence[Tensor]) -> list[Tensor]:
            with torch.autocast(device, dtype=dtype):
                return self._called(leaves)

        with Autocasts() as watch:
            found = self._differentiated(call, self._own(values), us, self._dtypes)
        return found if watch.seen in SIXTEEN else None

    def _in(self, dtype: torch.dtype, values: Sequence[Array], us: Sequence[Array]) -> list[Array]:
        """With all floating arguments in one dtype, and results rounded to their own."""
        leaves = [
            tensor if tensor.is_complex() else tensor.to(dtype)
            for tensor in map(_tensor, map(np.asarray, values), self._leaves)
        ]
        with SingleInside() if dtype in SIXTEEN else contextlib.nullcontext():
            found = self._differentiated(lambda given: self._called(given, dtype=dtype), leaves, us, self._dtypes)
        dtypes = [*self._dtypes, *(leaf.dtype for leaf in self._leaves)]
        return [_rounded(one, own) for one, own in zip(found, dtypes, strict=True)]

    def _called(
        self, leaves: Sequence[Tensor], *, is_wide: bool = False, dtype: torch.dtype | None = None
    ) -> list[Tensor]:
        """The floating outputs of the reference."""
        low = self._low
        low.state.rewind()
        others = low.others()
        if dtype is not None:
            others = [one.to(dtype) if isinstance(one, Tensor) and one.is_floating_point() else one for one in others]
        returned = self._reference(leaves, others, is_wide)
        found = low.read(returned)
        found = list(found) if isinstance(found, tuple) else [found]
        if len(found) != len(self._dtypes):
            raise FunctionError(
                f"`{self._name}` must return what the kernel returns: {len(self._dtypes)} floating tensors, got "
                f"{len(found)}."
            )
        return [one if isinstance(one, Tensor) else torch.as_tensor(one) for one in found]

    def _own(self, values: Sequence[Array]) -> list[Tensor]:
        """Tensors of the dtypes and strides of the kernel's inputs."""
        return [_tensor(value, leaf) for value, leaf in zip(values, self._leaves, strict=True)]

    def _differentiated(
        self,
        call: Callable[[Sequence[Tensor]], list[Tensor]],
        leaves: Sequence[Tensor],
        cotangents: Sequence[Array],
        dtypes: Sequence[torch.dtype] | None,
    ) -> list[Array]:
        """Outputs and gradients; outputs and cotangents in `dtypes`, or in float64."""
        with torch.enable_grad():
            ready = [leaf.detach().requires_grad_() for leaf in leaves]
            outputs = call(ready)
            cast: list[Tensor] = []
            for i, (output, spec) in enumerate(zip(outputs, self.outputs, strict=True)):
                if tuple(output.shape) != spec.shape:
                    if output.numel() != 1 or spec.shape not in ((), (1,)):
                        raise FunctionError(
                            f"`{self._name}` must return what the kernel returns: `{spec.path}` has the shape "
                            f"{spec.shape}, and the reference's {tuple(output.shape)}."
                        )
                    output = output.reshape(spec.shape)
                wanted = _wide(output.dtype) if dtypes is None else dtypes[i]
                if dtypes is None and output.dtype != wanted and spec.path not in self.narrow:
                    self.narrow = (*self.narrow, spec.path)
                cast.append(output if output.dtype == wanted else output.to(wanted))
            us = [
                torch.from_numpy(np.ascontiguousarray(u)).to(output.device).to(output.dtype).reshape(output.shape)
                for u, output in zip(cotangents, cast, strict=True)
            ]
            gradients = pull(cast, ready, us)
        return [*map(_as_numpy, cast), *map(_as_numpy, gradients)]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64


def _as_numpy(tensor: Tensor) -> Array:
    tensor = tensor.detach()
    return np.array(tensor.to("cpu", _wide(tensor.dtype)).resolve_conj().resolve_neg().contiguous().numpy())


def _rounded(value: Array, dtype: torch.dtype) -> Array:
    return _as_numpy(torch.from_numpy(np.ascontiguousarray(value)).to(dtype)).reshape(value.shape)


def _tensor(value: Array, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the device and strides of another one, and of its dtype unless one is given."""
    made = torch.empty_like(like, dtype=dtype, requires_grad=False)
    return made.copy_(torch.from_numpy(np.ascontiguousarray(value)).reshape(like.shape))


def sixteen_bits(low: TorchAutodiff) -> bool:
    """Whether a function takes or returns numbers of 16 bits or fewer, or computes with such under autocast."""
    if any(torch.finfo(leaf.dtype).bits <= 16 for leaf in low.arguments[: low.count]):
        return True
    seen, outputs = _under_autocast(low), low.output_dtypes
    return seen is not None or any(torch.finfo(dtype).bits <= 16 for dtype in outputs)


def autocast_dtype(low: TorchAutodiff) -> torch.dtype | None:
    """The dtype of 16 bits that a function computes in under autocast, where it takes none; else None."""
    if any(torch.finfo(leaf.dtype).bits <= 16 for leaf in low.arguments[: low.count]):
        return None
    return _under_autocast(low)


def _under_autocast(low: TorchAutodiff) -> torch.dtype | None:
    """The dtype that it computes in under autocast: f is called once more only where it was seen to enter one."""
    if not low.entered.is_on:
        return None
    with Autocasts() as watch:
        low.value(*low.at_point())
    return watch.seen
