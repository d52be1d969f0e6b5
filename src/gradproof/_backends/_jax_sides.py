"""A kernel of JAX and its reference, which is run in float64 and in the kernel's own precision."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools as ft
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gradproof._backends import _jax_tree as tree
from gradproof._backends._jax_upcast import cast
from gradproof._backends._numpy import Array
from gradproof._backends._sides import PRECISIONS, TF32, Spec, Way, Ways, unknown_precision
from gradproof._base._errors import FunctionError, UsageError
from gradproof._base._names import function_name

_SIXTEEN = ("bfloat16", "float16")
_CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")
_PRODUCTS = ("dot_general", "conv_general_dilated")
# Bits of the mantissa of float32 that TF32 drops.
_DROPPED = 13


class Packed(Protocol):
    """A kernel of trees as a function of its leaves (see `gradproof._backends._jax_autodiff.Packed`)."""

    arguments: tuple[Any, ...]
    names: tuple[str, ...]
    count: int

    def function(self) -> Any:
        """The kernel at its point."""
        ...

    def run(self, *arguments: Any) -> tuple[jax.Array, ...]:
        """The floating arrays that it returns."""
        ...

    def applied(self, f: Callable[..., Any], args: Any) -> Any:
        """What another function returns for `args`."""
        ...

    def argument(self, values: Sequence[Any]) -> Any:
        """Values for all arguments in the form of `args`."""
        ...


class JaxSides:
    """See `gradproof._reference._sides.Sides`.

    Parameters
    ----------
    kernel : Packed
    reference : callable
        Called as the kernel is.
    precision : str or None
        What the kernel computes in, where that is less than its dtypes.
    """

    has_gradients = True

    def __init__(self, kernel: Packed, reference: Callable[..., Any], precision: str | None) -> None:
        self._packed, self._reference = kernel, reference
        self._name = function_name(reference)
        self._leaves = kernel.arguments[: kernel.count]
        self._others = kernel.arguments[kernel.count :]
        self._low = low = kernel.function()
        dtypes = [one.dtype for one in (*self._leaves, *low.outputs)]
        if all(jnp.finfo(dtype).bits == 64 for dtype in dtypes):
            raise UsageError(
                "every array is float64 already, so no reference can be more precise than the kernel. Check it with "
                "`gradproof.check(kernel, inputs)`, or pass inputs in the dtype that it is meant for."
            )
        self._inside = "" if precision is None else self._declared(precision)
        names = ["output"] if len(low.outputs) == 1 else [f"output[{i}]" for i in range(len(low.outputs))]
        self.outputs = tuple(map(self._spec, names, low.outputs))
        self.inputs = tuple(map(self._spec, kernel.names, self._leaves))
        self.precision = self._inside or str(max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).eps)))
        self.narrow = tuple(names) if self._casts_down() else ()
        self._ways = Ways(self._all_ways())

    def _declared(self, precision: str) -> str:
        if precision not in PRECISIONS:
            raise unknown_precision(precision)
        return "" if precision == "float32" else precision

    def _casts_down(self) -> bool:
        """Whether the reference computes in less than float64 for arguments in float64."""
        with jax.enable_x64(True):
            wide = [*map(_widened, self._leaves), *map(_widened, self._others)]
            seen = _dtypes_in(lambda *arguments: self._called(arguments), wide)
        return bool(seen & {"float32", *_SIXTEEN})

    def _spec(self, path: str, array: Any) -> Spec:
        info = jnp.finfo(array.dtype)
        inside = TF32 if self._inside == "tf32" else float(jnp.finfo(self._inside).eps) / 2 if self._inside else 0.0
        return Spec(
            path=path,
            shape=tuple(array.shape),
            dtype=str(array.dtype),
            unit=max(float(info.eps) / 2, inside),
            tiny=float(info.tiny) * float(info.eps),
            largest=float(info.max),
            is_complex=jnp.issubdtype(array.dtype, jnp.complexfloating),
        )

    def point(self) -> list[Array]:
        """The differentiated inputs."""
        return [_as_numpy(leaf) for leaf in self._leaves]

    def rounded(self, values: Sequence[Array]) -> list[Array]:
        """Values of the inputs as the kernel's dtypes hold them."""
        return [_as_numpy(cast(value, leaf.dtype)) for value, leaf in zip(values, self._leaves, strict=True)]

    def rounded_cotangents(self, cotangents: Sequence[Array]) -> list[Array]:
        """Cotangents as the dtypes of the outputs hold them."""
        pairs = zip(cotangents, self._low.outputs, strict=True)
        return [_as_numpy(cast(one, output.dtype)) for one, output in pairs]

    def kernel(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """All outputs of the kernel, then all gradients."""
        with self._low.precision():
            return self._differentiated(self._packed.run, self._own(values), self._others, cotangents, own=True)

    def truth(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The reference in float64."""
        with jax.enable_x64(True):
            leaves = [cast(value, _wide(leaf.dtype)) for value, leaf in zip(values, self._leaves, strict=True)]
            others = tuple(map(_widened, self._others))
            return self._differentiated(self._called_flat, leaves, others, cotangents, own=False)

    def baseline(self, values: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """The reference as the kernel's precision computes it: the first of several ways that runs."""
        found, self.precision = self._ways.baseline(values, cotangents)
        return found

    def _all_ways(self) -> list[tuple[str, Way]]:
        """How the baseline may be computed, with what is said of it, best first."""
        own = self.precision
        single: tuple[str, Way] = (
            f"float32, its results rounded to {own}: it does not run in {own}",
            ft.partial(self._in, "float32"),
        )
        if self._inside == "tf32":
            return [("tf32", self._short)]
        if self._inside:
            return [(self._inside, ft.partial(self._in, self._inside)), single]
        return [(own, self._in_own), single]

    def _in_own(self, values: Sequence[Array], us: Sequence[Array]) -> list[Array]:
        with self._low.precision():
            return self._differentiated(self._called_flat, self._own(values), self._others, us, own=True)

    def _short(self, values: Sequence[Array], us: Sequence[Array]) -> list[Array]:
        with self._low.precision():
            return self._differentiated(
                self._called_flat, self._own(values), self._others, us, own=True, through=with_short_products
            )

    def _in(self, dtype: str, values: Sequence[Array], us: Sequence[Array]) -> list[Array]:
        """With all floating arguments in one dtype, and results rounded to their own."""

        def narrowed(value: Any) -> Any:
            return cast(value, dtype) if tree.is_floating(value) and not jnp.iscomplexobj(value) else value

        leaves = [narrowed(leaf) for leaf in self._own(values)]
        found = self._differentiated(self._called_flat, leaves, tuple(map(narrowed, self._others)), us, own=True)
        dtypes = [*(output.dtype for output in self._low.outputs), *(leaf.dtype for leaf in self._leaves)]
        return [_as_numpy(cast(one, own)) for one, own in zip(found, dtypes, strict=True)]

    def _called(self, arguments: Sequence[Any]) -> tuple[jax.Array, ...]:
        found = tree.floating(self._packed.applied(self._reference, self._packed.argument(arguments)))
        if len(found) != len(self._low.outputs):
            raise FunctionError(
                f"`{self._name}` must return what the kernel returns: {len(self._low.outputs)} floating arrays, got "
                f"{len(found)}."
            )
        return found

    def _called_flat(self, *arguments: Any) -> tuple[jax.Array, ...]:
        return self._called(arguments)

    def _own(self, values: Sequence[Array]) -> list[Any]:
        return [cast(value, leaf.dtype) for value, leaf in zip(values, self._leaves, strict=True)]

    def _differentiated(
        self,
        call: Callable[..., Any],
        leaves: Sequence[Any],
        others: Sequence[Any],
        cotangents: Sequence[Array],
        *,
        own: bool,
        through: Callable[..., Any] | None = None,
    ) -> list[Array]:
        """Outputs and gradients; outputs and cotangents in the kernel's dtypes, or in float64."""

        def outputs(*moved: Any) -> tuple[Any, ...]:
            found = call(*moved, *others)
            for output, spec in zip(found, self.outputs, strict=True):
                if output.size != int(np.prod(spec.shape)):
                    raise FunctionError(
                        f"`{self._name}` must return what the kernel returns: `{spec.path}` has the shape "
                        f"{spec.shape}, and the reference's {output.shape}."
                    )
            pairs = zip(found, self._low.outputs, strict=True)
            return tuple(
                output.reshape(like.shape).astype(like.dtype if own else _wide(like.dtype)) for output, like in pairs
            )

        def both(us: Any, *moved: Any) -> tuple[Any, Any]:
            found, pull = jax.vjp(outputs, *moved)
            return found, pull(us)

        like = self._low.outputs
        us = tuple(cast(u, one.dtype if own else _wide(one.dtype)) for u, one in zip(cotangents, like, strict=True))
        found, gradients = both(us, *leaves) if through is None else through(both, us, *leaves)
        return [*map(_as_numpy, found), *map(_as_numpy, gradients)]


def _wide(dtype: Any) -> Any:
    return np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64


def _widened(value: Any) -> Any:
    if not tree.is_floating(value):
        return value
    wide = cast(jnp.asarray(value), _wide(jnp.asarray(value).dtype))
    return wide if isinstance(value, jax.Array) else np.asarray(wide)


def _as_numpy(array: Any) -> Array:
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _dtypes_in(function: Callable[..., Any], arguments: Sequence[Any]) -> set[str]:
    """The dtypes of everything that a function computes; none where it cannot be traced."""
    try:
        traced = jax.make_jaxpr(function)(*arguments)
    except Exception:
        return set()
    return {str(variable.aval.dtype) for equation in _equations(traced.jaxpr) for variable in equation.outvars}


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inside(equation):
            yield from _equations(inner)


def _inside(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(one, "jaxpr", one)
            if hasattr(inner, "eqns"):
                yield inner


def with_short_products(function: Callable[..., Any], *arguments: Any) -> Any:
    """Evaluate a function with the operands of products rounded to 10 bits, as TF32 does; not those within loops."""
    traced, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    flat = jax.tree_util.tree_leaves(arguments)
    found = _evaluated(traced.jaxpr, traced.consts, flat)
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(shape), found)


def _evaluated(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        inner = next((equation.params[key] for key in ("jaxpr", "call_jaxpr") if key in equation.params), None)
        if equation.primitive.name in _PRODUCTS:
            given = [_shortened(one) for one in given]
        if inner is not None and equation.primitive.name in _CALLS:
            closed = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, [])
            found = _evaluated(*closed, given)
        else:
            found = equation.primitive.bind(*given, **equation.params)
            found = found if equation.primitive.multiple_results else [found]
        known.update(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _shortened(array: Any) -> Any:
    """A float32 array with mantissas of 10 bits, rounded to nearest."""
    if array.dtype != jnp.float32:
        return array
    bits = jax.lax.bitcast_convert_type(array, jnp.int32)
    even = (bits >> _DROPPED) & 1
    rounded = (bits + ((1 << (_DROPPED - 1)) - 1) + even) & -(1 << _DROPPED)
    return jnp.where(jnp.isfinite(array), jax.lax.bitcast_convert_type(rounded, jnp.float32), array)


def of_sixteen_bits(kernel: Packed, low: Any, reference: Callable[..., Any]) -> JaxSides | None:
    """A kernel and its reference where it takes or returns numbers of 16 bits or fewer; else None."""
    dtypes = [one.dtype for one in (*low.arguments[: low.count], *low.outputs)]
    return JaxSides(kernel, reference, None) if any(jnp.finfo(dtype).bits <= 16 for dtype in dtypes) else None
