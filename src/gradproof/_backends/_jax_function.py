"""A function of JAX arrays, and what JAX says about its derivative: reverse and forward mode, batched and compiled."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import functools as ft
import importlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradproof._backends._jax_batch import Batched
from gradproof._backends._jax_compile import (
    COMPILATION,
    EVALUATIONS,
    Derivative,
    Traced,
    Value,
    agree,
    own,
    trace,
)
from gradproof._backends._jax_refusals import refusals
from gradproof._backends._jax_tree import is_tracer
from gradproof._base._away import is_from_handler
from gradproof._base._errors import NotAvailableError

Array = jax.Array
Arrays = tuple[Array, ...]

# A vjp takes about so many times the operations of the function.
BACKWARD = 3


class JaxFunction:
    """A function seen as one of its differentiable arrays alone (see `gradproof._claims._modes.Function`).

    Its gradients follow the convention of `gradproof.check`: by a complex z = x + iy that of a real f is
    ``df/dx + i df/dy``, the conjugate of what JAX returns, and cotangents are conjugated likewise.

    Parameters
    ----------
    run : callable
        ``run(*arguments) -> tuple of arrays``, the floating outputs, which JAX can trace.
    arguments : tuple
        The differentiated arrays, then everything else that the function depends on.
    names : sequence of str
        The same as Python source.
    count : int
        How many are differentiated.
    precision : {"", "x64", "explicit"}
        Whether it runs with 64-bit numbers as the default, or only where they are given; where any of the
        differentiated arrays has 64 bits, they are the default.
    trusted : bool
        Whether it is compiled without a comparison with what it returns otherwise.
    may_trace : bool
        Whether it may be run from a record, or compiled, at all.
    refusing : bool
        Whether `run` differentiates, so that JAX may have no rule for it: NotAvailableError is raised then.

    Attributes
    ----------
    arguments, names, count
        As passed.
    is_scalar : bool
        Whether it returns one real number.
    left_out : tuple of str
        Always empty: JAX has no outputs that are marked as having no derivative.
    precision_name : str
        As passed, or derived.
    first_modes : tuple of str
        The modes of first order that it has.
    is_entangled : bool
        Whether it uses an array that JAX is tracing outside of it, and that has no value.
    outputs : tuple of jax.ShapeDtypeStruct
        Shapes and dtypes of what `run` returns.
    """

    left_out: tuple[str, ...] = ()
    first_modes: tuple[str, ...] = ("rev", "fwd")

    def __init__(
        self,
        run: Callable[..., Arrays],
        arguments: Sequence[Any],
        names: Sequence[str],
        count: int,
        *,
        precision: str = "",
        trusted: bool = False,
        may_trace: bool = True,
        refusing: bool = False,
    ) -> None:
        self.arguments = tuple(arguments)
        self.names = tuple(names)
        self.count = count
        self._run, self._keeps_memory = run, False
        has_64 = any(jnp.finfo(leaf.dtype).bits == 64 for leaf in self.arguments[:count])
        self.precision_name = precision or ("x64" if has_64 else "")
        with self.precision(), refusals() if refusing else contextlib.nullcontext():
            self._traced = traced = trace(self.run, self.arguments)
            self.is_entangled = traced.is_entangled
            self.outputs = traced.outputs or self._looked_at()
        self._keeps_memory = not traced.takes_memory
        self.is_scalar = (
            len(self.outputs) == 1
            and self.outputs[0].size == 1
            and not jnp.issubdtype(self.outputs[0].dtype, jnp.complexfloating)
        )
        self._trusted, self._refusing, self._may_trace = trusted, refusing, may_trace
        # Modes that JAX has no rule for, as far as was seen: to hear that again takes milliseconds.
        self._refused: set[str] = set()

    @ft.cached_property
    def _value(self) -> Value:
        return Value(
            self.run,
            self._traced,
            compiles=self._compiles,
            trusted=self._trusted,
            recorded=self._may_trace and (self._refusing or (self._traced.is_slow and self._keeps_its_values)),
        )

    @property
    def _compiles(self) -> bool:
        return self._may_trace and self._traced.pays(EVALUATIONS)

    @property
    def _keeps_its_values(self) -> bool:
        """Whether its values may be taken from the record: the record's are the same, and two of its own are."""
        if self._compiles or self._traced.run is None or not self.is_steady:
            return False
        with self.precision():
            again = self.run(*self.arguments)
        return all(
            one.shape == other.shape and np.asarray(one).tobytes() == np.asarray(other).tobytes()
            for one, other in zip(self.plain, again, strict=True)
        )

    def _looked_at(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """What it returns, where it cannot be traced."""
        found = self.run(*self.arguments)
        self.is_entangled = any(map(is_tracer, found))
        return _shapes(found)

    def run(self, *arguments: Any) -> Arrays:
        """The function as it is."""
        return self._run(*self._spared(arguments))

    def _spared(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments, or copies of them where the function may take their memory."""
        return tuple(arguments) if self._keeps_memory else tuple(map(own, arguments))

    def value(self, *arguments: Any) -> Any:
        """What the function returns: alone if it is one array, a real number of shape () where it is scalar."""
        with self.precision():
            return self._pick(self._value(*arguments))

    def vjp(self, cotangent: Any, *arguments: Any) -> Arrays:
        """J^T u in reverse mode, one array for each differentiated one.

        Raises
        ------
        NotAvailableError
            If JAX has no rule for it.
        """
        with self.precision(), refusals():
            return self._vjp(self._cotangents(cotangent), *arguments)

    def jvp(self, tangents: Any, *arguments: Any) -> Any:
        """J v in forward mode, in the structure of `value`.

        Raises
        ------
        NotAvailableError
            If JAX has no rule for it.
        """
        try:
            with self.precision(), refusals():
                return self._pick(self._jvp(self._tangents(tangents, arguments), *arguments))
        except NotAvailableError:
            self._refused.add("fwd")
            raise

    def vjps(self, mode: str, cotangents: Sequence[Any], *arguments: Any) -> list[Arrays]:
        """Several vjps: ``"vmap"`` runs the backward once, on a batch of cotangents, ``"compile"`` under `jax.jit`.

        Raises
        ------
        NotAvailableError
            If JAX has no rule for it, or f cannot be traced with abstract values.
        """
        with self.precision(), refusals():
            us = [self._cotangents(cotangent) for cotangent in cotangents]
            if mode == "compile":
                compiled = jax.jit(lambda us, *leaves: self._pull(us, *leaves, *arguments[self.count :]))
                return [compiled(u, *arguments[: self.count]) for u in us]
            # (Stacked and taken apart by NumPy, which compiles nothing.)
            stacked = tuple(jnp.asarray(np.stack([np.asarray(u) for u in column])) for column in zip(*us, strict=True))
            found = self._vjp.many(stacked, *arguments) or self._pull_many(stacked, arguments)
            gradients = [np.asarray(gradient) for gradient in found]
            return [tuple(jnp.asarray(gradient[k]) for gradient in gradients) for k in range(len(us))]

    def rows(self, *arguments: Any) -> NDArray[np.float64] | None:
        """The rows of J (m, n) in reverse mode at once, in float64.

        None where there are complex arrays, or JAX cannot run the backward on a batch.
        """
        if any(jnp.iscomplexobj(leaf) for leaf in arguments[: self.count]):
            return None
        if any(jnp.issubdtype(output.dtype, jnp.complexfloating) for output in self.outputs):
            return None
        try:
            with self.precision(), refusals():
                parts = [np.asarray(part, dtype=np.float64) for part in self._all_rows(arguments)]
                return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        except Exception:
            return None  # the vjp itself is asked row by row

    def many(self, stacked: Sequence[Any]) -> Any:
        """The values at many points at once: arguments and outputs have a leading axis, as long as the batch.

        None where JAX cannot batch the function, or it returns something else then.
        """
        with self.precision():
            batched = self._batched
            if batched is None:
                return None
            found = batched(stacked)
            if found is None:
                return None
            if len(found) != 1:
                return found
            return found[0].reshape(-1) if self.is_scalar else found[0]

    @ft.cached_property
    def _batched(self) -> Batched | None:
        return Batched(self.run, self.arguments, self.count) if self._traced.outputs else None

    @ft.cached_property
    def plain(self) -> Arrays:
        """What the function returns at its point while nothing differentiates or compiles it."""
        with self.precision():
            return self.run(*self.arguments)

    @ft.cached_property
    def is_steady(self) -> bool:
        """Whether it is known to be the same when it is run from a record, or compiled."""
        traced = self._traced
        if not self._may_trace or traced.run is None or self._trusted:
            return self._may_trace and traced.run is not None
        if self._compiles:
            if self._value.is_compiled is None:
                self.value(*self.arguments)
            if self._value.is_compiled:
                return True  # it has been compared
        with self.precision():
            return agree(self.plain, traced.run(*self.arguments))

    @ft.cached_property
    def casts_down(self) -> bool:
        """Whether it turns float64 into lower precision inside."""
        if self._traced.outputs is not None:
            return self._traced.casts_down
        leaves, others = self.arguments[: self.count], self.arguments[self.count :]
        try:
            with self.precision():
                # Where f needs values, what its derivative along a tangent does can be traced at this point.
                linear = jax.linearize(lambda *leaves: self.run(*leaves, *others), *self._spared(leaves))[1]
                return trace(linear, leaves).casts_down
        except Exception:
            return False  # f has no such derivative

    @ft.cached_property
    def _vjp(self) -> Derivative:
        return self._derivative(self._pull)

    @ft.cached_property
    def _jvp(self) -> Derivative:
        return self._derivative(self._push)

    def _derivative(self, function: Callable[..., Arrays]) -> Derivative:
        # Rules may be any code of Python, and what stands for a derivative of JAX too.
        is_known = type(self) is JaxFunction and not self._traced.has_rules
        return Derivative(
            function,
            may_trace=self.is_steady,
            may_compile=self._traced.fits,
            trusted=self._trusted or self._refusing or is_known,
        )

    @ft.cached_property
    def _rows(self) -> Value:
        traced = trace(self._pull_units, self.arguments) if self._traced.fits and self._may_trace else Traced()
        return Value(self._pull_units, traced, compiles=traced.fits, trusted=True)

    def primals(self) -> Generator[tuple[str, Arrays]]:
        """What the function returns at its point while JAX differentiates it, in each mode that there is a rule for.

        Nothing where no rule of its own can make a difference.
        """
        if not self._traced.has_rules and type(self) is JaxFunction:
            return
        zeros = tuple(map(jnp.zeros_like, self.arguments[: self.count]))
        for mode in self.first_modes:
            if mode in self._refused:
                continue
            with self.precision():
                try:
                    found = self._linearized(self.arguments) if mode == "rev" else self._dual(zeros, self.arguments)
                except Exception as error:
                    if is_from_handler(error):
                        raise
                    continue  # (There is no such mode, or what ran before fails now and then: nothing to compare.)
                yield mode, found[0]

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """The context that it runs in: 64-bit numbers where it needs them, for this thread alone."""
        if self.precision_name == "explicit":
            return explicit_x64()
        return jax.enable_x64(True) if self.precision_name == "x64" else contextlib.nullcontext()

    def _linearized(self, arguments: Sequence[Any]) -> tuple[Arrays, Callable[[Arrays], Arrays]]:
        """The outputs and what pulls cotangents back, both as JAX has them."""
        others = arguments[self.count :]
        return jax.vjp(lambda *leaves: self.run(*leaves, *others), *self._spared(arguments[: self.count]))

    def _dual(self, tangents: Arrays, arguments: Sequence[Any]) -> tuple[Arrays, Arrays]:
        """The outputs and their derivatives along tangents."""
        others = arguments[self.count :]
        leaves = self._spared(arguments[: self.count])
        return jax.jvp(lambda *leaves: self.run(*leaves, *others), leaves, tangents)

    def _pull(self, us: Arrays, *arguments: Any) -> Arrays:
        return conjugated(self._linearized(arguments)[1](conjugated(us)))

    def _pull_many(self, us: Arrays, arguments: Sequence[Any]) -> Arrays:
        return conjugated(jax.vmap(self._linearized(arguments)[1])(conjugated(us)))

    def _pull_units(self, *arguments: Any) -> Arrays:
        return self._pull_many(tuple(map(jnp.asarray, self._units())), arguments)

    def _push(self, tangents: Arrays, *arguments: Any) -> Arrays:
        return self._dual(tangents, arguments)[1]

    def _all_rows(self, arguments: Sequence[Any]) -> Sequence[Any]:
        """The vjps of all unit cotangents, stacked: one after the other where that costs less than to compile them."""
        m = sum(output.size for output in self.outputs)
        if not BACKWARD * m * self._traced.cost <= COMPILATION:
            return self._rows(*arguments)
        found = [self._vjp(tuple(map(jnp.asarray, row)), *arguments) for row in zip(*self._units(), strict=True)]
        return [np.stack(column) for column in zip(*found, strict=True)]

    def _pick(self, found: Arrays) -> Any:
        if len(found) != 1:
            return found
        return found[0].reshape(()) if self.is_scalar and found[0].shape else found[0]

    def _cotangents(self, cotangent: Any) -> Arrays:
        given = (cotangent,) if len(self.outputs) == 1 else tuple(cotangent)
        return tuple(_placed(u, output.dtype, output.shape) for u, output in zip(given, self.outputs, strict=True))

    def _tangents(self, tangents: Any, arguments: Sequence[Any]) -> Arrays:
        return tuple(
            _placed(tangent, leaf.dtype, leaf.shape)
            for tangent, leaf in zip(tangents, arguments[: self.count], strict=True)
        )

    def _units(self) -> tuple[NDArray[Any], ...]:
        """All unit cotangents, stacked."""
        sizes = [output.size for output in self.outputs]
        m, start = sum(sizes), 0
        units: list[NDArray[Any]] = []
        for output, size in zip(self.outputs, sizes, strict=True):
            units.append(np.eye(m, size, -start, dtype=output.dtype).reshape(m, *output.shape))
            start += size
        return tuple(units)


def _placed(value: Any, dtype: Any, shape: tuple[int, ...]) -> Array:
    """A number or array as an array of JAX (compiles nothing where it can)."""
    if not isinstance(value, Array):
        value = jnp.asarray(np.asarray(value, dtype).reshape(shape))
    value = value if value.dtype == dtype else value.astype(dtype)
    return value if value.shape == shape else value.reshape(shape)


def explicit_x64() -> contextlib.AbstractContextManager[Any]:
    """Let 64-bit arrays be computed with while the default stays at 32 bits: random numbers stay the same, too.

    Raises
    ------
    ImportError or AttributeError
        Where this version of JAX cannot.
    """
    config = importlib.import_module("jax._src.config")  # there is no public context for it
    return config.explicit_x64_dtypes(config.ExplicitX64Mode.ALLOW)


def _shapes(outputs: Arrays) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(jax.ShapeDtypeStruct(output.shape, output.dtype) for output in outputs)


def conjugated(arrays: Sequence[Array]) -> Arrays:
    """Conjugate what is complex: from JAX's convention for gradients to ours, and back."""
    return tuple(jnp.conj(array) if jnp.iscomplexobj(array) else array for array in arrays)


def inner_product(one: Sequence[Array], other: Sequence[Array]) -> Array:
    """Sum of Re(conj(a) b) over all entries of all arrays."""
    terms = [jnp.sum(jnp.real(jnp.conj(a) * b)) for a, b in zip(one, other, strict=True)]
    return sum(terms[1:], terms[0])


def normal_like(like: Any, generator: np.random.Generator, size: float = 1.0) -> Array:
    """Random numbers of a shape and dtype, `size` times standard normal."""
    is_complex = jnp.issubdtype(like.dtype, jnp.complexfloating)
    drawn = size * generator.standard_normal((*like.shape, 2) if is_complex else like.shape)
    return jnp.asarray(drawn[..., 0] + 1j * drawn[..., 1] if is_complex else drawn, like.dtype)
