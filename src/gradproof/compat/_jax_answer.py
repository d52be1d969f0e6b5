"""What JAX's checkers are asked, answered by reports."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import dataclasses
import functools as ft
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradproof._ask._check import Options, check_autodiff
from gradproof._backends import _jax_tree as tree
from gradproof._backends._jax_autodiff import Jax, Packed
from gradproof._backends._jax_function import Arrays, JaxFunction
from gradproof._base._errors import NotFiniteError
from gradproof._base._names import function_name
from gradproof._base._sources import definitions
from gradproof._claims._by_entry import Entries, measure_entries
from gradproof._claims._consequences import excused
from gradproof._report import Reason, Report, Severity, Verdict
from gradproof.compat._nothing_tested import undefined_report
from gradproof.compat._passed_on import passed_on

# Findings that a tolerance can excuse: those about numbers, and about rounding that grows where terms cancel.
_NUMBERS = ("GP101", "GP103", "GP120", "GP205", "GP206", "GP311")
# Reasons for which a certificate is too wide, and entries of the arguments up to which each is measured alone then.
_NOISY = (Reason.NOISE, Reason.PRECISION, Reason.STOCHASTIC)
FEW = 1000


class Tolerance:
    """What a user of JAX's checkers accepts: numbers, or numbers by dtype."""

    def __init__(self, atol: Any, rtol: Any) -> None:
        self._atol, self._rtol = atol, rtol
        self.is_set = atol is not None or rtol is not None

    def of(self, function: JaxFunction) -> tuple[float, float]:
        """Absolute and relative tolerance for outputs of these dtypes; 0 for what was not passed."""
        return self._value(self._atol, function), self._value(self._rtol, function)

    @staticmethod
    def _value(given: Any, function: JaxFunction) -> float:
        if not isinstance(given, dict):
            return 0.0 if given is None else float(given)
        by_name = {np.dtype(key): float(value) for key, value in given.items()}
        return max(by_name.get(np.dtype(output.dtype), 0.0) for output in function.outputs)


class Answer:
    """Reports on one function at one point.

    Parameters
    ----------
    f : callable
    args : tuple
        Numbers in it are taken as arrays.
    tolerance : Tolerance
    """

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], tolerance: Tolerance) -> None:
        self._f = f
        self._args = jax.tree_util.tree_map(_as_array, args)
        self._tolerance = tolerance
        self._seed = int.from_bytes(os.urandom(4), "little")
        # The differentiated arrays that no step moves, in words.
        arrays = [
            (keys, leaf) for keys, leaf in jax.tree_util.tree_flatten_with_path(self._args)[0] if _has_values(leaf)
        ]
        self.not_finite = [_in_words(keys) for keys, leaf in arrays if _is_nowhere_finite(leaf)]
        self._is_nowhere_finite = bool(arrays) and len(self.not_finite) == len(arrays)

    @property
    def name(self) -> str:
        """That of f."""
        return function_name(self._f)

    def of_order(self, order: int, modes: tuple[str, ...]) -> Iterator[Report]:
        """Prove or refute the modes and their compositions, up to any order."""
        if self._is_empty(modes):
            return
        named = tuple(mode for mode in ("rev", "fwd") if mode in modes)
        if named:
            yield self._report(min(max(order, 1), 2), named)
        if "lin" in modes:
            linear = self.of_claim("fwd", pushed_by(lambda primals, tangents: _linearized(self._f, primals, tangents)))
            assert linear is not None
            yield linear
        if order > 2 or (order == 2 and "lin" in modes):
            for mode in modes:
                f, args = self._derived(mode)
                yield from Answer(f, args, self._tolerance).of_order(order - 1, modes)

    def of_claim(self, mode: str, kind: Callable[[Packed], Callable[..., JaxFunction]]) -> Report | None:
        """Prove or refute a derivative that someone else computes; None where there is no number to compare."""
        with passed_on():
            packed = Packed(self._f, self._args, None)
            function = packed.made(kind(packed))
            if self._has_no_numbers(function):
                _differentiate(function, mode)
                return None
            autodiff = Jax.of(packed, function)
        return self._proved(autodiff, 1, (mode,))

    def _report(self, order: int, modes: tuple[str, ...]) -> Report:
        with passed_on():
            autodiff = Jax.of(*self._own)
        return self._proved(autodiff, order, modes)

    @ft.cached_property
    def _own(self) -> tuple[Packed, JaxFunction]:
        packed = Packed(self._f, self._args, None)
        return packed, packed.function()

    def _is_empty(self, modes: tuple[str, ...]) -> bool:
        """Whether no number can be compared: every differentiated array, or every output, is empty, or none can move.

        f is differentiated once all the same: what that raises is passed on.
        """
        with passed_on():
            _, function = self._own
            if not self._has_no_numbers(function):
                return False
            for mode in modes:
                _differentiate(function, "rev" if mode == "rev" else "fwd")
            return True

    def _has_no_numbers(self, function: JaxFunction) -> bool:
        inputs = function.arguments[: function.count]
        if not sum(one.size for one in inputs) or not sum(one.size for one in function.outputs):
            return True
        if not self._is_nowhere_finite:
            return False
        return all(bool(jnp.isfinite(one).all()) for one in tree.floating(function.value(*function.arguments)))

    def _proved(self, autodiff: Jax, order: int, modes: tuple[str, ...]) -> Report:
        started = time.perf_counter()
        try:
            return self._proved_where_finite(autodiff, order, modes, started)
        except NotFiniteError as error:
            return undefined_report(self.name, error, seed=self._seed, started=started)

    def _proved_where_finite(self, autodiff: Jax, order: int, modes: tuple[str, ...], started: float) -> Report:
        name = self.name
        options = Options(order=order, modes=modes, rng=self._seed)
        with passed_on():
            report = check_autodiff(
                autodiff,
                options,
                name=name,
                called=f"gradproof.check({name}, args",
                started=started,
                sources=definitions(self._f),
            )
            if "rev" not in modes:
                apart = autodiff.findings({})
                if apart:
                    report = dataclasses.replace(
                        report, verdict=Verdict.WRONG, reason=None, findings=(*apart, *report.findings)
                    )
            if report.verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE):
                return self._by_entry(report, autodiff)
        return report

    def _by_entry(self, report: Report, autodiff: Jax) -> Report:
        """Measure every entry of the Jacobian where that can make the verdict CORRECT.

        It can where the user has set a tolerance, which is about entries, and where a small Jacobian is too noisy for
        the certificate, which pays for all that its random combinations may have missed.
        """
        if any(one.severity is Severity.ERROR and one.id not in _NUMBERS for one in report.findings):
            return report
        columns = sum(array.size for array in autodiff.function.arguments[: autodiff.function.count])
        is_noisy = report.verdict is Verdict.INCONCLUSIVE and report.reason in _NOISY and columns <= FEW
        if not (self._tolerance.is_set or is_noisy):
            return report
        atol, rtol = self._tolerance.of(autodiff.low)
        for one in report.modes:
            if one.verdict is Verdict.CORRECT:
                continue
            outer, _, inner = one.mode.partition("-")
            function = autodiff.derivative(inner, report.seed) if inner else autodiff.function
            entries = measure_entries(function, outer, report.seed, range(function.count))
            if entries is None or not (
                (self._tolerance.is_set and entries.are_within(atol, rtol, outer))
                or (is_noisy and _is_proved(entries, report))
            ):
                return report
        return dataclasses.replace(
            report,
            verdict=Verdict.CORRECT,
            reason=None,
            findings=excused(report.findings),
            modes=tuple(dataclasses.replace(one, verdict=Verdict.CORRECT) for one in report.modes),
        )

    def _derived(self, mode: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The derivative in one mode as a function, and its point: as JAX's checker takes it one order further."""
        packed = Packed(self._f, self._args, None)
        count = packed.count
        leaves, others = packed.arguments[:count], packed.arguments[count:]

        def run(*moved: Any) -> Arrays:
            return packed.run(*moved, *others)

        if mode == "rev":

            def pulled(*moved: Any) -> Any:
                outputs, pull = jax.vjp(run, *moved)
                return pull(outputs)

            return pulled, leaves
        if mode == "fwd":
            return ft.partial(jax.jvp, run), (leaves, leaves)
        return lambda primals, tangents: _linearized(run, primals, tangents), (leaves, leaves)


def _differentiate(function: JaxFunction, mode: str) -> None:
    """Call a derivative at the point, with zeros."""
    if mode == "rev":
        zeros = tuple(jnp.zeros(one.shape, one.dtype) for one in function.outputs)
        function.vjp(zeros[0] if len(zeros) == 1 else zeros, *function.arguments)
    else:
        function.jvp(tuple(map(jnp.zeros_like, function.arguments[: function.count])), *function.arguments)


def pushed_by(f_jvp: Callable[..., Any]) -> Callable[[Packed], Callable[..., JaxFunction]]:
    """A function whose forward mode is a user's ``f_jvp(primals, tangents) -> (outputs, output tangents)``."""

    def kind(packed: Packed) -> Callable[..., JaxFunction]:
        class Pushed(JaxFunction):
            first_modes = ("fwd",)

            def _dual(self, tangents: Arrays, arguments: Sequence[Any]) -> tuple[Arrays, Arrays]:
                others = [_without_derivative(one) for one in arguments[self.count :]]
                found = f_jvp(packed.argument(arguments), packed.argument((*tangents, *others)))
                return tree.floating(found[0]), tree.floating(found[1])

        return Pushed

    return kind


def pulled_by(f_vjp: Callable[..., Any]) -> Callable[[Packed], Callable[..., JaxFunction]]:
    """A function whose reverse mode is a user's ``f_vjp(*args) -> (outputs, function of cotangents)``."""

    def kind(packed: Packed) -> Callable[..., JaxFunction]:
        class Pulled(JaxFunction):
            first_modes = ("rev",)

            def _linearized(self, arguments: Sequence[Any]) -> tuple[Arrays, Callable[[Arrays], Arrays]]:
                outputs, pull = f_vjp(*packed.argument(arguments))
                leaves, structure = jax.tree_util.tree_flatten(outputs)

                def pull_flat(us: Arrays) -> Arrays:
                    given = iter(us)
                    cotangents = [next(given) if tree.floating(leaf) else _without_derivative(leaf) for leaf in leaves]
                    returned = pull(jax.tree_util.tree_unflatten(structure, cotangents))
                    return packed.differentiated(returned)

                return tree.floating(outputs), pull_flat

        return Pulled

    return kind


def _linearized(f: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    outputs, linear = jax.linearize(f, *primals)
    return outputs, linear(*tangents)


def _is_proved(entries: Entries, report: Report) -> bool:
    return entries.agree(report.rtol) and max(entries.bounds()) <= report.max_bound


def _has_values(leaf: Any) -> bool:
    return tree.is_floating(leaf) and leaf.size > 0 and not tree.is_tracer(leaf) and not _is_deleted(leaf)


def _is_deleted(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and leaf.is_deleted()


def _is_nowhere_finite(leaf: Any) -> bool:
    """Whether no entry is finite."""
    values = np.asarray(leaf)
    # (Mostly the first one tells.)
    return not np.isfinite(values[(0,) * values.ndim]) and not np.isfinite(values).any()


def _in_words(keys: Any) -> str:
    """An array among the arguments, by the way to it."""
    return f"argument {keys[0].idx}{jax.tree_util.keystr(keys[1:])}"


def _as_array(value: Any) -> Any:
    """Numbers and arrays of NumPy as arrays of JAX, integers and keys as they are."""
    if isinstance(value, (float, complex)) or tree.is_floating(value):
        return jnp.asarray(value)
    return value


def _without_derivative(value: Any) -> Any:
    """The tangent or cotangent of what has none."""
    return np.zeros(np.shape(value), jax.dtypes.float0)
