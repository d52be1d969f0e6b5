"""One case of a kernel: what it is wrong about at one size, in one dtype, on one device, in one layout."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from gradproof._ask._check import check
from gradproof._backends import _torch_kernel as calls
from gradproof._backends._torch_kernel import CONTIGUOUS, LOW, Called, TorchKernel
from gradproof._backends._torch_nearness import ALLOWED, Difference, Jittered, differences
from gradproof._base._away import is_from_handler, is_out_of_memory
from gradproof._base._errors import FunctionError, UsageError
from gradproof._base._names import printable
from gradproof._contracts._layouts import WORDS
from gradproof._kernels import _findings as findings
from gradproof._kernels._outcome import Case, Outcome, State, compared, errors, of_proof, wrong
from gradproof._report import EMPTY, Finding, Reason, Report, Verdict

# What torch says where it has no kernel for a dtype.
_NO_DTYPE = re.compile(r"not implemented for|not support|unsupported|expected scalar type|must have the same dtype")
# Where the outputs one by one have too wide bars, one vector-Jacobian product may still be told.
_TOO_WIDE = (Reason.NOISE, Reason.PRECISION, Reason.NO_CONVERGENCE, Reason.BUDGET)
# How large a rounding error of a gradient of exactly zero may be, in roundings of the outputs.
_ROUNDINGS = 64.0
# What of a gradient in float32 may be left of it in float64, if it is rounding: 2^-29 by itself.
_VANISHING = 1e-6
# Findings that say that numbers are wrong, and nothing else.
_OF_NUMBERS = {"GP101", "GP120", "GP122"}
# Inputs, and what a call gave for them.
Earlier: TypeAlias = tuple[Any, Called]
_EPS = {"float64": 2.0**-52, "float32": 2.0**-23}


class Trial:
    """Answers for single cases, each looked at once.

    Parameters
    ----------
    kernel : TorchKernel
    options : mapping
        Of `gradproof.check`, handed on.
    seed : int
    """

    def __init__(self, kernel: TorchKernel, options: Mapping[str, Any], seed: int) -> None:
        self._kernel = kernel
        self._options = options
        self._seed = seed
        self._known: dict[Case, Outcome] = {}

    def at(self, case: Case) -> Outcome:
        """What a case is found to be."""
        if case not in self._known:
            self._known[case] = self._contiguous(case) if case.layout == CONTIGUOUS else self._laid_out(case)
        return self._known[case]

    def remembered(self, case: Case) -> Earlier:
        """What the kernel gives now, to be looked at again later."""
        args = self._kernel.inputs(dict(case.sizes), case.dtype, case.device)
        return args, self._kernel.call(args, cotangents=self._seed, rounding=calls.dtype_of(args))

    def changed_since(self, case: Case, earlier: Earlier) -> Finding | None:
        """Whether it gives something else now: it keeps something of the sizes that it was called at in between."""
        args, before = earlier
        dtype = calls.dtype_of(args)
        try:
            now = self._kernel.call(args, cotangents=self._seed, rounding=dtype)
        except Exception as error:
            found = self._raised(case, args, error, "the call").faults
            return findings.fails_afterwards(error) if found else None
        if any(value.numel() and not bool(value.isfinite().all()) for value in before.outputs.values()):
            return None
        # (How far rounding takes results can be seen of those of now alone.)
        different = [one for one in self._compared(before, now, args, dtype, rounding=dtype) if one.is_gross]
        if not different:
            return None
        first = different[0]
        return findings.differs_afterwards(dataclasses.replace(first, got=first.wanted, wanted=first.got))

    @property
    def outcomes(self) -> Mapping[Case, Outcome]:
        """All that has been looked at."""
        return self._known

    def _contiguous(self, case: Case) -> Outcome:
        try:
            args = self._kernel.inputs(dict(case.sizes), case.dtype, case.device)
        except FunctionError as error:
            return Outcome(state=State.APART, note=str(error), error=error)
        if calls.dtype_of(args) in LOW:
            return self._in_16_bits(case, args)
        try:
            called = self._kernel.call(args)
        except Exception as error:
            return self._raised(case, args, error, "the forward")
        if not called.outputs:
            raise UsageError("the function returns no floating tensor, so there is nothing to differentiate.")
        if calls.inputs_are_finite(args) and not calls.are_finite(called.outputs):
            return self._not_finite(case, args)
        different = self._against_reference(case, args, called)
        gross = [one for one in different if one.is_gross]
        if gross:
            return wrong([findings.differs_from_reference(one) for one in gross])
        if different:
            note = findings.doubtful(different[0], "comparison with `reference`")
            return Outcome(state=State.OPEN, reason=Reason.PRECISION, note=note)
        return self._gradient(case, args, called)

    def _gradient(self, case: Case, args: Any, called: Called) -> Outcome:
        """Prove the gradient; where nothing can move, it must be zero."""
        names = self._kernel.names(args)
        if not any(value.numel() for value in called.outputs.values()) or calls.has_empty(args):
            try:
                found = self._kernel.call(args, cotangents=self._seed)
            except Exception as error:
                return self._raised(case, args, error, "the backward")
            nothing = compared(found, EMPTY)
            if not any(gradient.numel() for gradient in found.gradients.values()):
                return Outcome(state=State.RIGHT, compared=nothing)
            if self._stands_still(args, called):
                stray = [name for name in names if bool((found.gradients[name] != 0).any())]
                return (
                    wrong([findings.not_zero(name) for name in stray])
                    if stray
                    else Outcome(state=State.RIGHT, compared=nothing)
                )
        try:
            report = self._proved(args)
        except UsageError:
            raise
        except Exception as error:
            return self._raised(case, args, error, "the backward")
        told = [leaf.path for leaf in report.leaves if leaf.verdict in (Verdict.INCONCLUSIVE, Verdict.WRONG)]
        is_numbers = {one.id for one in errors(report)} <= _OF_NUMBERS
        if told and is_numbers and self._is_rounding(report, told, args, called):
            return Outcome(
                state=State.RIGHT,
                note=f"the gradient of {', '.join(f'`{path}`' for path in told)} is no more than rounding",
                compared=tuple(leaf for leaf in report.leaves if leaf.verdict is Verdict.CORRECT),
            )
        return of_proof(report)

    def _proved(self, args: Any) -> Report:
        """The proof; of one vector-Jacobian product in place of all outputs, where that says more or is shorter."""
        report = check(self._kernel.function, args, **self._options)
        is_too_wide = report.verdict is Verdict.INCONCLUSIVE and report.reason in _TOO_WIDE
        is_at_length = report.verdict is Verdict.WRONG and {one.id for one in errors(report)} <= _OF_NUMBERS
        if not (is_too_wide or is_at_length) or not self._has_several_outputs(args):
            return report
        product = self._kernel.scalar(args, self._seed)
        alone = check(product, args, **self._options, name=report.name)
        is_told = alone.verdict in (Verdict.CORRECT, Verdict.WRONG) if is_too_wide else alone.verdict is Verdict.WRONG
        return alone if is_told else report

    def _has_several_outputs(self, args: Any) -> bool:
        outputs = list(self._kernel.call(args).outputs.values())
        return any(one.is_floating_point() for one in outputs) and (len(outputs) > 1 or outputs[0].dim() > 0)

    def _stands_still(
        self, args: Any, called: Called, moving: Sequence[str] | None = None, roundings: float = 0.0
    ) -> bool:
        """Whether the outputs stay the same while some of the inputs move by half of their size."""
        allowed = roundings * _EPS[calls.dtype_of(args)]
        for number in range(3):
            moved = self._kernel.call(args, jitter=(0.5, number), moving=moving).outputs
            if any(not calls.same_values(moved[path], value, allowed) for path, value in called.outputs.items()):
                return False
        return True

    def _is_rounding(self, report: Report, paths: Sequence[str], args: Any, called: Called) -> bool:
        """Whether what could not be told, or is wrong, is worth less than rounding the outputs.

        What the gradient says of an input is worth as much as the outputs would move by it if the input moved by its
        size. Where terms cancel, as in a norm over one entry, the gradient of a right kernel is rounding alone.
        """
        dtype = calls.dtype_of(args)
        sizes = self._effects(args, dtype)
        paths = [path for path in paths if path in sizes]
        outputs = sum(float(value.abs().double().sum()) for value in called.outputs.values())
        allowed = _ROUNDINGS * _EPS[dtype] * outputs
        if report.verdict is Verdict.WRONG:
            # (Off by half or more: the claim says nothing of how large the true gradient is.)
            off = {leaf.path: leaf.deviation for leaf in report.leaves if leaf.verdict is Verdict.WRONG}
            share = [off.get(path) or 0.0 for path in paths]
            if all(part < 0.5 for part in share) and report.reason is None:
                is_small = [part * 2 * sizes[path] <= allowed for part, path in zip(share, paths, strict=True)]
                if all(is_small):
                    return True
        still = report.reason is Reason.DEGENERATE or self._stands_still(args, called, paths, _ROUNDINGS)
        if not still:
            return False
        if all(sizes[path] <= allowed for path in paths):
            return True
        # It vanishes with the precision: what is 1e-5 in float32 and 1e-14 in float64 is no gradient.
        other = "float32" if dtype == "float64" else "float64"
        try:
            others = self._effects(calls.in_dtype(args, other), other)
        except Exception as error:
            if is_from_handler(error):
                raise
            return False
        fine, coarse = (sizes, others) if dtype == "float64" else (others, sizes)
        return all(fine[path] <= _VANISHING * coarse[path] for path in paths)

    def _effects(self, args: Any, dtype: str) -> dict[str, float]:
        """How far the outputs would move, by the gradient, if an input moved by its size."""
        found = self._kernel.call(args, cotangents=self._seed, rounding=dtype)
        return {
            path: calls.typical_size(self._kernel.function, args, path) * float(gradient.abs().double().sum())
            for path, gradient in found.gradients.items()
        }

    def _not_finite(self, case: Case, args: Any) -> Outcome:
        said = "the function returns nan or infinity for finite inputs"
        expected = self._reference_outputs(args)
        if any(n == 0 for _, n in case.sizes) or (expected is not None and not calls.are_finite(expected)):
            return Outcome(state=State.APART, note=said)
        return wrong([findings.not_finite(said)])

    def _against_reference(self, case: Case, args: Any, called: Called) -> list[Difference]:
        if self._kernel.reference is None:
            return []
        wanted = self._reference_outputs(args)
        if wanted is None:
            if all(n > 0 for _, n in case.sizes):
                self._kernel.call(calls.in_dtype(args, "float64"), function=self._kernel.reference)  # raises again
            return []
        double = calls.in_dtype(args, "float64")

        def jittered(size: float, seed: int) -> Mapping[str, Any]:
            moved = self._kernel.call(double, function=self._kernel.reference, jitter=(size, seed)).outputs
            return calls.renamed(moved, called.outputs)

        # (Digits beyond those of float32 are nobody's concern where only the value is compared.)
        return differences(called.outputs, calls.renamed(wanted, called.outputs), jittered, "float32")

    def _reference_outputs(self, args: Any) -> Mapping[str, Any] | None:
        """What the reference returns in float64; None where there is none, or it raises."""
        if self._kernel.reference is None:
            return None
        try:
            return self._kernel.call(calls.in_dtype(args, "float64"), function=self._kernel.reference).outputs
        except Exception as error:
            if is_from_handler(error):
                raise
            return None

    def _raised(self, case: Case, args: Any, error: Exception, what: str) -> Outcome:
        """A refusal in words is no error; any other exception is."""
        if is_from_handler(error):
            raise error
        cause = (
            error.__cause__ if isinstance(error, FunctionError) and isinstance(error.__cause__, Exception) else error
        )
        said = printable(f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}")
        refuses = isinstance(cause, (ValueError, NotImplementedError)) or bool(_NO_DTYPE.search(str(cause)))
        refuses = refuses or (isinstance(cause, TypeError) and case.dtype is not None)
        so_does_the_reference = self._kernel.reference is not None and self._reference_outputs(args) is None
        if refuses or so_does_the_reference or is_out_of_memory(cause):
            return Outcome(state=State.APART, note=said, error=cause)
        return dataclasses.replace(wrong([findings.raises(what, said)]), error=cause)

    def _in_16_bits(self, case: Case, args: Any) -> Outcome:
        """Compare with the reference, or with the kernel itself, in higher precision, on the same numbers."""
        dtype = calls.dtype_of(args)
        function = self._kernel.reference or self._kernel.function
        truth, wide = self._in_higher_precision(function, args, dtype)
        try:
            got = self._kernel.call(args, cotangents=self._seed, rounding=dtype)
        except Exception as error:
            return self._raised(case, args, error, "the call")
        if truth is None:
            note = f"the kernel takes neither float64 nor float32, so {dtype} could not be judged"
            return Outcome(state=State.OPEN, reason=Reason.PRECISION, note=note)
        proof = State.RIGHT
        if self._kernel.reference is None:
            proof = self.at(dataclasses.replace(case, dtype=calls.dtype_of(wide))).state
        if proof not in (State.RIGHT, State.OPEN):
            return Outcome(state=State.UNKNOWN)

        inner = self._rounding_inside(function, truth, wide, dtype)
        found = self._compared(got, truth, wide, dtype, inner, function=function, rounding=dtype)
        if found and all(not one.is_gross for one in found):
            return Outcome(state=State.OPEN, reason=Reason.PRECISION, note=findings.doubtful(found[0], dtype))
        if found:
            return wrong([findings.differs_in_16_bits(one, dtype) for one in found if one.is_gross])
        if proof is State.OPEN:
            return Outcome(state=State.OPEN, reason=Reason.PRECISION)
        note = f"as in {calls.dtype_of(wide)}, to within {ALLOWED:.0f} roundings of {dtype}"
        return Outcome(state=State.RIGHT, compared=compared(got, note))

    def _in_higher_precision(self, function: Callable[..., Any], args: Any, dtype: str) -> tuple[Called | None, Any]:
        for wide in ("float64", "float32"):
            converted = calls.in_dtype(args, wide)
            try:
                found = self._kernel.call(converted, function=function, cotangents=self._seed, rounding=dtype)
            except Exception as error:
                if is_from_handler(error):
                    raise
                continue
            return found, converted
        return None, None

    def _rounding_inside(self, function: Callable[..., Any], truth: Called, wide: Any, dtype: str) -> Called | None:
        """What rounding inside makes of the results in `dtype`: what it makes of them in float32, scaled up."""
        if calls.dtype_of(wide) != "float64":
            return None
        try:
            low = calls.in_dtype(wide, "float32")
            found = self._kernel.call(low, function=function, cotangents=self._seed, rounding=dtype)
        except Exception as error:
            if is_from_handler(error):
                raise
            return None
        return calls.scaled_error(found, truth, dtype)

    def _compared(
        self, got: Called, wanted: Called, args: Any, dtype: str, inner: Called | None = None, **options: Any
    ) -> list[Difference]:
        """Differences of the outputs, or if there are none of the gradients; `args` are those of `wanted`."""

        def jittered(part: str) -> Jittered:
            def again(size: float, seed: int) -> Mapping[str, Any]:
                called = self._kernel.call(args, cotangents=self._seed, jitter=(size, seed), **options)
                return getattr(called, part)

            return again

        errors = Called(outputs={}, gradients={}) if inner is None else inner
        names = wanted.outputs
        outputs = calls.renamed(got.outputs, names)
        found = differences(outputs, names, jittered("outputs"), dtype, errors.outputs)
        return found or differences(got.gradients, wanted.gradients, jittered("gradients"), dtype, errors.gradients)

    def _laid_out(self, case: Case) -> Outcome:
        """Compare with the same values in contiguous tensors."""
        if self.at(dataclasses.replace(case, layout=CONTIGUOUS)).state not in (State.RIGHT, State.OPEN):
            return Outcome(state=State.UNKNOWN)
        args = self._kernel.inputs(dict(case.sizes), case.dtype, case.device)
        found, error = self._in_layout(args, case.layout, None)
        if error is not None:
            return self._raised(case, args, error, f"the call on {WORDS[case.layout]} inputs")
        if found is None:
            return Outcome(state=State.UNKNOWN)
        if not found:
            return Outcome(state=State.RIGHT)
        alone = ""
        names = calls.paths(self._kernel.function, args)
        if len(names) > 1:
            alone = next((name for name in names if self._in_layout(args, case.layout, name)[0]), "")
        if all(not one.is_gross for one in found):
            note = findings.doubtful(found[0], f"{WORDS[case.layout]} inputs")
            return Outcome(state=State.OPEN, reason=Reason.PRECISION, note=note)
        return wrong([findings.differs_in_layout(one, case.layout, alone) for one in found if one.is_gross][:1])

    def _in_layout(self, args: Any, layout: str, only: str | None) -> tuple[list[Difference] | None, Exception | None]:
        """What differs in a layout; None where no tensor has it."""
        moved = calls.laid_out(args, layout, only, self._kernel.function)
        if moved is None:
            return None, None
        same = calls.plain(moved)
        dtype = calls.dtype_of(args)
        try:
            wanted = self._kernel.call(same, cotangents=self._seed, rounding=dtype)
        except Exception as error:  # of other values (expanded ones), or of a kernel that writes into its inputs
            if is_from_handler(error):
                raise
            return None, None
        try:
            got = self._kernel.call(moved, cotangents=self._seed, rounding=dtype)
        except Exception as error:
            return None, error
        return self._compared(got, wanted, same, dtype, rounding=dtype), None
