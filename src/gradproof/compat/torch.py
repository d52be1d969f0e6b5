"""Drop-ins for `torch.autograd.gradcheck` and `gradgradcheck`, with a proof behind every answer.

One changed import line: ``from gradproof.compat.torch import gradcheck, gradgradcheck``.
"""

# No `from __future__ import annotations`: the signatures are torch's, annotations included.
# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import os
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch.autograd.gradcheck import GradcheckError as _TorchGradcheckError
from torch.types import _TensorOrOptionalTensors, _TensorOrTensors  # pyright: ignore[reportPrivateUsage]

from gradproof._ask._check import Options, check, check_autodiff
from gradproof._backends._torch_autodiff import natural_size, size_of_terms
from gradproof._backends._torch_upcast import begun
from gradproof._base._away import is_from_handler
from gradproof._base._errors import GradproofWarning, NotFiniteError
from gradproof._base._sources import definitions
from gradproof._report import Finding, GradientError, Reason, Report, Severity, Verdict
from gradproof.compat import _torch_contracts as contracts
from gradproof.compat import _torch_sparse as sparse
from gradproof.compat._nothing_tested import (
    not_finite_text,
    nothing_to_check,
    passes_untested,
    still_text,
    undefined_report,
    untested_text,
)
from gradproof.compat._passed_on import passed_on
from gradproof.compat._torch_closer import look_closer
from gradproof.compat._torch_question import GradientQuestion, Question, as_tuple, tensors_in

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]

# What torch takes where nothing is passed. The same value passed is the default, too.
_ATOL, _RTOL = 1e-5, 1e-3
# Findings that a tolerance can excuse: those about numbers.
_NUMBERS = ("GP101", "GP103", "GP120", "GP311")
# Those that a tolerance cannot excuse, but that f stands still: products of rounding are not linear.
_PRODUCTS = ("GP205", "GP206")
# Contracts that torch's own options are about: `nondet_tol`, `check_undefined_grad`.
_HELD_HERE = ("GP220", "GP221", "GP222")


class GradcheckError(GradientError, _TorchGradcheckError):
    """Raised by `gradcheck` and `gradgradcheck`: an error of gradproof and of torch, which carries the `report`.

    Its message is the report and starts with the verdict, WRONG or INCONCLUSIVE.
    """


def gradcheck(
    func: Callable[..., _TensorOrTensors],
    inputs: _TensorOrTensors,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Prove that torch's derivative of a function is its derivative.

    Like `torch.autograd.gradcheck`, but the answer rests on `gradproof.check`: step and tolerance come from what the
    function shows of its own precision, every slope has an error bar, and no tolerance grows with the size of a tensor.

    Parameters
    ----------
    func : callable
        ``func(*inputs)`` -> a tensor, or a tuple or list of tensors; those that require grad are checked.
    inputs : tensor or tuple of tensors
        The point. Tensors that require grad are differentiated; everything else passes through.
    eps : float
        Accepted and ignored: the steps are derived.
    atol, rtol : float
        None narrows what is derived. A value other than torch's default accepts every error for which
        ``|claimed - reference| <= atol + rtol * |reference|`` holds in each entry of the Jacobian, as torch means it.
        Of the two only what is passed counts, the other one is 0. This costs as many evaluations as torch's slow mode,
        and only where the derivative has not been proved without.
    raise_exception : bool
        False returns False where `GradcheckError` would be raised.
    nondet_tol : float
        Largest difference, absolute, between the gradients of two runs of the same backward.
    check_undefined_grad : bool
        Whether undefined cotangents must count as zeros.
    check_grad_dtypes : bool
        Accepted: the dtype of gradients is always checked.
    check_batched_grad, check_batched_forward_grad : bool
        Whether backward and forward mode must agree under vmap with the loop.
    check_forward_ad, check_backward_ad : bool
        The modes that are checked.
    fast_mode : bool
        Accepted and ignored: the proof is the same.
    masked : bool, optional
        For sparse inputs: whether only the entries that they store are differentiated. False by default.

    Returns
    -------
    bool
        True if the verdict is CORRECT. Also, with a `GradproofWarning`, where the function is not differentiable at the
        point and torch's derivative is a valid subgradient, where the function stands still as a derivative of zero
        says, and where no entry of an input is finite, which is left out.

    Raises
    ------
    GradcheckError
        If the verdict is WRONG or INCONCLUSIVE.
    ValueError
        If no input requires grad.

    Notes
    -----
    Whatever func or its backward raise is passed on as it is. Random states are put back, and every evaluation starts
    from the same ones, so that dropout can be checked.

    Examples
    --------
    >>> import torch
    >>> from gradproof.compat.torch import gradcheck
    >>> gradcheck(torch.sin, torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True))
    True
    """
    __tracebackhide__ = True
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if check_batched_grad and not check_backward_ad:
        raise AssertionError("Setting check_batched_grad=True requires check_backward_ad to be True")
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("Setting check_batched_forward_grad=True requires check_forward_ad to be True")
    keeper = begun(func, as_tuple(inputs))
    try:
        question = Question(func, as_tuple(inputs))
        modes = tuple(mode for mode, is_asked in (("rev", check_backward_ad), ("fwd", check_forward_ad)) if is_asked)
        answer = _Answer(question, atol=atol, rtol=rtol, masked=bool(masked))
        answer.prove(modes)
        answer.hold(
            nondet_tol=nondet_tol,
            backward=check_backward_ad,
            undefined=check_undefined_grad,
            batched=check_batched_grad,
            batched_forward=check_batched_forward_grad,
        )
    finally:
        keeper.end()
    return _give(answer, raise_exception)


def gradgradcheck(
    func: Callable[..., _TensorOrTensors],
    inputs: _TensorOrTensors,
    grad_outputs: _TensorOrOptionalTensors | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Prove that torch's derivative of its own gradient is the derivative of that gradient.

    Like `torch.autograd.gradgradcheck`: the gradient, as a function of `inputs` and of the cotangents `grad_outputs`,
    is differentiated in reverse or in forward mode and proved against differences of it. It does not ask whether the
    gradient is right itself, which is for `gradcheck`.

    Parameters
    ----------
    func, inputs
        As for `gradcheck`.
    grad_outputs : tensor or tuple of tensors, optional
        The cotangents, one for each output that requires grad; those that do not require grad are constants. Random
        ones by default, all differentiated.
    eps, atol, rtol, raise_exception, nondet_tol, check_undefined_grad, check_grad_dtypes, check_batched_grad
        As for `gradcheck`, of the gradient as a function.
    gen_non_contig_grad_outputs : bool
        Whether backward gets random cotangents that are not contiguous.
    check_fwd_over_rev, check_rev_over_rev : bool
        The modes that are checked.
    fast_mode, masked
        As for `gradcheck`.

    Returns
    -------
    bool
        As `gradcheck`.

    Raises
    ------
    GradcheckError
        If the verdict is WRONG or INCONCLUSIVE.

    Examples
    --------
    >>> import torch
    >>> from gradproof.compat.torch import gradgradcheck
    >>> gradgradcheck(torch.sin, torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True))
    True
    """
    __tracebackhide__ = True
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")
    if check_undefined_grad and not check_rev_over_rev:
        raise AssertionError("Setting check_undefined_grad=True requires check_rev_over_rev to be True")
    if check_batched_grad and not check_rev_over_rev:
        raise AssertionError("Setting check_batched_grad=True requires check_rev_over_rev to be True")
    keeper = begun(func, as_tuple(inputs))
    try:
        first = Question(func, as_tuple(inputs), is_dense=True)
        given = None if grad_outputs is None else as_tuple(grad_outputs)
        modes = tuple(
            mode for mode, is_asked in (("rev-rev", check_rev_over_rev), ("fwd-rev", check_fwd_over_rev)) if is_asked
        )
        answer = _Answer(
            first,
            atol=atol,
            rtol=rtol,
            masked=masked,
            cotangents=_drawn(first) if given is None else given,
            is_gappy=given is None and gen_non_contig_grad_outputs,
        )
        answer.prove(modes)
        answer.hold(
            nondet_tol=nondet_tol,
            backward=check_rev_over_rev,
            undefined=check_undefined_grad,
            batched=check_batched_grad,
            batched_forward=False,
        )
    finally:
        keeper.end()
    return _give(answer, raise_exception)


class _Answer:
    """The report on a question, as it grows."""

    report: Report

    def __init__(
        self,
        question: Question,
        *,
        atol: float,
        rtol: float,
        masked: bool,
        cotangents: tuple[torch.Tensor, ...] | None = None,
        is_gappy: bool = False,
    ) -> None:
        self.first = question
        self.masked = masked
        self.atol = atol if atol != _ATOL else 0.0
        self.rtol = rtol if rtol != _RTOL else 0.0
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.cotangents = cotangents
        self.is_gappy = is_gappy
        # Whether func keeps its bits around the point, as its derivative of zero says.
        self.is_still = False
        # The arrays around which it does, where these are not all.
        self.still: tuple[str, ...] = ()
        # What the contracts are about: func, or its gradient.
        self.whole = question
        if cotangents is not None:
            self.whole = GradientQuestion(question, cotangents, is_gappy=is_gappy)
        # The inputs that no step moves.
        self.not_finite = self.whole.without_finite_entry(masked=masked)

    def prove(self, modes: tuple[str, ...]) -> None:
        """Prove or refute the modes, within the tolerance that the user has set."""
        started = time.perf_counter()
        try:
            self._prove(modes, started)
        except NotFiniteError as error:
            if not self.whole.is_finite():
                self.report = undefined_report(self.whole.__name__, error, seed=self.seed, started=started)
            elif len(self.not_finite) == len(list(tensors_in(self.whole.inputs))):
                self.report = nothing_to_check(self.whole.__name__, seed=self.seed, started=started)
            else:
                raise

    def _prove(self, modes: tuple[str, ...], started: float) -> None:
        function = self.first.named()
        if not self.whole.differentiable or self._is_empty():
            self.report = self._of_a_constant(started)
            return
        order = 1 if self.cotangents is None else 2
        with passed_on():
            autodiff = sparse.autodiff(
                function,
                self.first.inputs,
                masked=self.masked,
                cotangents=self.cotangents,
                is_gappy=self.is_gappy,
            )
            options = Options(order=order, modes=modes, rng=self.seed, held_apart=_HELD_HERE)
            name = self.first.__name__
            self.report = check_autodiff(
                autodiff,
                options,
                name=name,
                called=f"gradproof.check({name}, args",
                started=started,
                sources=definitions(self.first.func),
            )
        if self.report.verdict in (Verdict.WRONG, Verdict.INCONCLUSIVE):
            try:
                self._look_closer()
            except Exception as error:
                # What is asked of torch there beyond the proof may fail: the report stands.
                if is_from_handler(error):
                    raise

    def hold(self, *, nondet_tol: float, backward: bool, undefined: bool, batched: bool, batched_forward: bool) -> None:
        """Hold torch's contracts against what was asked, and add what is broken to the report."""
        if not self.whole.differentiable or any(one.id == "GP201" for one in self.report.findings):
            return  # (torch cannot run the backward)
        if not self.whole.is_finite():
            return  # (There is no derivative, of which anything could be asked.)
        try:
            findings = self._broken(nondet_tol, backward, undefined, batched, batched_forward)
        except Exception as error:
            if self.report.verdict is not Verdict.WRONG or is_from_handler(error):
                raise
            return  # (WRONG already: what torch cannot run does not take that back.)
        if findings:
            self.is_still = False
            name = "gradcheck" if self.cotangents is None else "gradgradcheck"
            line = f"gradproof.compat.torch.{name}({self.first.__name__}, inputs)"
            findings = [dataclasses.replace(one, reproducer=line) for one in findings]
            self.report = dataclasses.replace(
                self.report,
                verdict=Verdict.WRONG,
                reason=None,
                findings=(*findings, *self.report.findings),
            )

    def _broken(
        self, nondet_tol: float, backward: bool, undefined: bool, batched: bool, batched_forward: bool
    ) -> list[Finding]:
        """Findings on the contracts that are broken."""
        recorded = contracts.Recorded(self.whole, self.seed)
        findings = contracts.find_batched_forward_apart(recorded) if batched_forward else []
        if backward:
            findings += contracts.find_irreproducible(recorded, nondet_tol)
            findings += contracts.find_batched_apart(recorded) if batched else []
            unscaled = contracts.find_unscaled(recorded, masked=self.masked)
            findings += unscaled
            # A gradient that zeros leave as it is is none for undefined cotangents either: said once.
            if undefined and not any(one.id == "GP221" for one in unscaled):
                findings += contracts.find_undefined_refused(recorded)
        return findings

    def _look_closer(self) -> None:
        """Look at what stands still and at every entry of the Jacobian, where that can make the report CORRECT.

        It can where the user has set a tolerance, which is about entries, and where random directions show too little
        of a small Jacobian: they add up the noise of all entries, and meet the jumps and kinks that are next to any.
        """
        errors = {one.id for one in self.report.findings if one.severity is Severity.ERROR}
        if not errors <= {*_NUMBERS, *_PRODUCTS}:
            return
        atol, rtol = (self.atol, self.rtol) if errors <= {*_NUMBERS} else (0.0, 0.0)
        with passed_on():
            function = sparse.autodiff(self.whole.named(), self.whole.inputs, masked=self.masked).function
            found = look_closer(self.report, function, seed=self.seed, atol=atol, rtol=rtol, terms=self._terms())
        self.report, self.still, self.is_still = found.report, found.still, found.is_still

    def _terms(self) -> float:
        """Size of what a gradient is the sum of, where its terms may cancel: <u, f> over the size of x."""
        if self.cotangents is None:
            return 0.0
        outputs = [self.first.outputs[i] for i in self.first.differentiable]
        sizes = [natural_size(x) for x in tensors_in(self.first.inputs)]
        terms = sum(size_of_terms(u, one) for u, one in zip(self.cotangents, outputs, strict=True))
        return terms / max(sizes, default=1.0)

    def _is_empty(self) -> bool:
        return self.whole.is_empty(masked=self.masked) or self.first.is_empty(masked=self.masked)

    def _of_a_constant(self, started: float) -> Report:
        """What torch does not differentiate must not move: the claim is 0."""
        places = [i for i, output in enumerate(self.whole.outputs) if _is_floating(output) and output.numel()]
        if places and not self.whole.differentiable and not self._is_empty():
            wrt = tuple(i for i, x in enumerate(self.whole.inputs) if isinstance(x, torch.Tensor) and x.requires_grad)

            def constant(*inputs: Any) -> list[torch.Tensor]:
                outputs = self.whole.returned(*inputs)
                return [outputs[i] for i in places]

            def zero(_: Any, *inputs: Any) -> tuple[torch.Tensor, ...]:
                return tuple(torch.zeros_like(inputs[i]) for i in wrt)

            constant.__name__ = constant.__qualname__ = self.whole.__name__
            with passed_on():
                report = check(constant, self.whole.inputs, vjp=zero, wrt=wrt, rng=self.seed)
            if report.verdict is not Verdict.INCONCLUSIVE or report.reason is not Reason.DEGENERATE:
                return report
        return nothing_to_check(self.whole.__name__, seed=self.seed, started=started)


def _give(answer: _Answer, raise_exception: bool) -> bool:
    """Answer as torch does."""
    __tracebackhide__ = True
    report = answer.report
    is_right = report.verdict not in (Verdict.WRONG, Verdict.INCONCLUSIVE)
    is_untested = passes_untested(report) or answer.is_still
    if is_right or is_untested:
        for place in answer.not_finite:
            warnings.warn(not_finite_text(report.name, f"argument {place}"), GradproofWarning, stacklevel=3)
    if is_untested:
        warnings.warn(untested_text(report.name), GradproofWarning, stacklevel=3)
        return True
    if not is_right:
        if raise_exception:
            raise GradcheckError(report)
        return False
    if answer.still:
        warnings.warn(still_text(report.name, answer.still), GradproofWarning, stacklevel=3)
    if report.verdict is Verdict.NOT_DIFFERENTIABLE:
        kinked = [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.NOT_DIFFERENTIABLE]
        warnings.warn(
            f"`{report.name}` is not differentiable at this point in {', '.join(kinked)}; "
            "torch's derivative is a valid subgradient there.",
            GradproofWarning,
            stacklevel=3,
        )
    return True


def _drawn(question: Question) -> tuple[torch.Tensor, ...]:
    """Random cotangents between -1 and 1 for the differentiable outputs."""
    outputs = [question.outputs[i] for i in question.differentiable]
    return tuple((2 * torch.rand_like(output) - 1).requires_grad_() for output in outputs)


def _is_floating(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
