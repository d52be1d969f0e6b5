"""A kernel written with NumPy and its reference, each a pair of functions: values and products with cotangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _backends
from gradproof._backends._numpy import Array
from gradproof._backends._sides import PRECISIONS, TF32, Spec, unknown_precision
from gradproof._base import _tree
from gradproof._base._errors import ClaimError, FunctionError, UsageError
from gradproof._base._names import argument_names, function_name, positions

Pair = tuple[Callable[..., Any], Callable[..., Any] | None]


class NumpySides:
    """See `gradproof._reference._sides.Sides`.

    Parameters
    ----------
    kernel, reference : tuple (function, vjp)
        ``function(*args)`` and ``vjp(cotangent, *args)``, or None in place of both products.
    inputs : tuple or any tree
    wrt : int, tuple of int or None
    precision : str or None
    """

    narrow: tuple[str, ...] = ()

    def __init__(
        self, kernel: Pair, reference: Pair, inputs: Any, wrt: int | tuple[int, ...] | None, precision: str | None
    ) -> None:
        self._kernel, self._reference = kernel, reference
        positional = cast("tuple[Any, ...]", inputs if type(inputs) is tuple else (inputs,))
        names = argument_names(kernel[0], len(positional))
        self._wrt = positions(wrt, names) if wrt is not None else None
        flat = _tree.flatten(positional, names, none_is_leaf=True)
        self._structure = flat.structure
        self._values: list[Any] = [None] * len(flat.leaves)
        for leaf in flat.leaves:
            self._values[leaf.slot] = leaf.value
        # (Dictionaries are sorted there, so that gradients may have their keys in another order.)
        chosen = sorted((leaf for leaf in flat.leaves if self._is_chosen(leaf)), key=lambda leaf: leaf.slot)
        if not chosen:
            raise UsageError(f"nothing to differentiate in `{', '.join(names)}`: there is no floating array in it.")
        self._slots = [leaf.slot for leaf in chosen]
        self._leaves = [np.asarray(leaf.value) for leaf in chosen]
        self._inside = self._declared(precision)
        self._outputs, _ = self._called(kernel, self._given(self._leaves, None))
        dtypes = [one.dtype for one in (*self._leaves, *self._outputs)]
        if all(np.finfo(dtype).bits == 64 for dtype in dtypes):
            raise UsageError(
                "every array is float64 already, so no reference can be more precise than the kernel. Check it with "
                "`gradproof.check`, or pass inputs in the dtype that it is meant for."
            )
        count = len(self._outputs)
        paths = ["output"] if count == 1 else [f"output[{i}]" for i in range(count)]
        self.outputs = tuple(map(self._spec, paths, self._outputs))
        self.has_gradients = kernel[1] is not None
        self.inputs = tuple(self._spec(leaf.path, np.asarray(leaf.value)) for leaf in chosen)
        self.precision = self._inside or str(max(dtypes, key=lambda dtype: float(np.finfo(dtype).eps)))

    def _is_chosen(self, leaf: _tree.NamedLeaf) -> bool:
        is_float = _backends.of(leaf.value).kind_of(leaf.value) in ("f", "c")
        return is_float and (self._wrt is None or leaf.keys[0] in self._wrt)

    def _declared(self, precision: str | None) -> str:
        if precision not in (None, *PRECISIONS) or precision == "bfloat16":
            raise unknown_precision(precision)
        return "" if precision in (None, "float32") else precision

    def _spec(self, path: str, array: Array) -> Spec:
        info = np.finfo(array.dtype)
        inside = TF32 if self._inside else 0.0  # float16 has as many bits
        return Spec(
            path=path,
            shape=array.shape,
            dtype=str(array.dtype),
            unit=max(float(info.eps) / 2, inside),
            tiny=float(info.tiny) * float(info.eps),
            largest=float(info.max),
            is_complex=array.dtype.kind == "c",
        )

    def point(self) -> list[Array]:
        """The differentiated inputs."""
        return [_wide(leaf) for leaf in self._leaves]

    def rounded(self, values: Sequence[Array]) -> list[Array]:
        """Values of the inputs as the kernel's dtypes hold them."""
        return [_wide(value.astype(leaf.dtype)) for value, leaf in zip(values, self._leaves, strict=True)]

    def rounded_cotangents(self, cotangents: Sequence[Array]) -> list[Array]:
        """Cotangents as the dtypes of the outputs hold them."""
        return [_wide(np.asarray(u).astype(one.dtype)) for u, one in zip(cotangents, self._outputs, strict=True)]

    def kernel(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """All outputs of the kernel, then all gradients."""
        return self._answers(self._kernel, self._given(values, None), cotangents, is_wide=False)

    def baseline(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The reference in the kernel's dtypes; of TF32 and float16 inside, at arguments rounded to these."""
        if self._inside:
            values = [_shortened(value) for value in values]
            cotangents = [_shortened(u) for u in cotangents]
        found = self._answers(self._reference, self._given(values, None), cotangents, is_wide=False)
        dtypes = [one.dtype for one in (*self._outputs, *self._leaves)]
        return [_wide(one.astype(dtype)) for one, dtype in zip(found, dtypes, strict=False)]

    def truth(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The reference in float64."""
        return self._answers(self._reference, self._given(values, np.float64), cotangents, is_wide=True)

    def _given(self, values: Sequence[Array], dtype: Any) -> Any:
        """`inputs` with other values: copies, in their own dtypes or all floating ones in float64."""
        everything = [_backends.copied(_widened(one) if dtype is not None else one) for one in self._values]
        for slot, own, value in zip(self._slots, self._leaves, values, strict=True):
            array = np.array(value, dtype=own.dtype if dtype is None else _wide_dtype(own))
            everything[slot] = array if isinstance(self._values[slot], np.ndarray) else array[()]
        return self._structure.unflatten(everything)

    def _called(self, pair: Pair, args: Any) -> tuple[list[Array], Any]:
        name = function_name(pair[0])
        try:
            returned = pair[0](*args)
        except Exception as error:
            raise FunctionError(f"`{name}` raised {type(error).__name__} at the point itself: {error}") from error
        flat = _tree.flatten((returned,), ("output",), none_is_leaf=True)
        arrays = [np.asarray(leaf.value) for leaf in flat.leaves]
        if not arrays or any(one.dtype.kind not in "fc" for one in arrays):
            raise FunctionError(f"`{name}` must return floating arrays or numbers, got {type(returned).__name__}.")
        return arrays, flat

    def _answers(self, pair: Pair, args: Any, cotangents: Sequence[Array], *, is_wide: bool) -> list[Array]:
        outputs, flat = self._called(pair, args)
        if [one.shape for one in outputs] != [one.shape for one in self._outputs]:
            raise FunctionError(
                f"`{function_name(pair[0])}` must return what the kernel returns: shapes "
                f"{[one.shape for one in self._outputs]}, got {[one.shape for one in outputs]}."
            )
        if is_wide and any(one.dtype.itemsize < 8 for one in outputs):
            self.narrow = tuple(spec.path for spec in self.outputs)
        if pair[1] is None:
            return [_wide(one) for one in outputs]
        us: list[Any] = [None] * len(outputs)
        for leaf, output, u in zip(flat.leaves, self._outputs, cotangents, strict=True):
            array = np.array(u, dtype=_wide_dtype(output) if is_wide else output.dtype)
            us[leaf.slot] = array if output.shape else array[()]
        cotangent = flat.structure.unflatten(us)[0]
        try:
            returned = pair[1](cotangent, *args)
        except Exception as error:
            raise ClaimError(f"`{function_name(pair[1])}` raised {type(error).__name__}: {error}") from error
        return [*map(_wide, outputs), *self._gradients(returned, function_name(pair[1]))]

    def _gradients(self, returned: Any, name: str) -> list[Array]:
        """What a product returned for the differentiated arrays, in their order."""
        flat = _tree.flatten((returned,), (name,), none_is_leaf=True)
        leaves = sorted(flat.leaves, key=lambda leaf: leaf.slot)
        if len(leaves) != len(self._leaves):
            raise ClaimError(
                f"`{name}` must return a gradient for each differentiated array: {len(self._leaves)}, got "
                f"{len(leaves)}."
            )
        found = [np.asarray(leaf.value) for leaf in leaves]
        for gradient, spec in zip(found, self.inputs, strict=True):
            if gradient.shape != spec.shape:
                raise ClaimError(
                    f"`{name}` returned shape {gradient.shape} for `{spec.path}`, which has shape {spec.shape}."
                )
        return [_wide(one) for one in found]


def _wide_dtype(array: Array) -> Any:
    return np.complex128 if array.dtype.kind == "c" else np.float64


def _wide(array: Array) -> Array:
    return np.array(array, dtype=_wide_dtype(np.asarray(array)))


def _widened(value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = cast("Array", np.asarray(value))  # pyright: ignore[reportUnknownArgumentType]
    return array.astype(_wide_dtype(array)) if array.dtype.kind in "fc" else array


def _shortened(value: Array) -> Array:
    """With mantissas of 10 bits, as TF32 and float16 have."""
    mantissa, exponent = np.frexp(value)
    return np.ldexp(np.round(mantissa * 2.0**11) / 2.0**11, exponent)
