"""What torch's gradcheck asks of a backward besides its numbers, each as a finding of severity *error*."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad
from torch._vmap_internals import _vmap  # pyright: ignore[reportPrivateUsage]  (torch.func.vmap knows no dual tensors)

from gradproof._backends._torch_autodiff import normal_like
from gradproof._report import Finding, Severity
from gradproof.compat._torch_question import Question, Tensor, as_tuple, own, tensors_in

Gradients = Sequence[Tensor | None]


class Recorded:
    """A question with its graph: copies of the inputs, and the differentiable outputs computed from them."""

    def __init__(self, question: Question, seed: int) -> None:
        self.question = question
        self.generator = np.random.default_rng((seed, 7))
        self.inputs = own(question.inputs)
        self.leaves = list(tensors_in(self.inputs))
        self.outputs = self.evaluate()

    def evaluate(self) -> list[Tensor]:
        """The differentiable outputs, with a graph of their own."""
        with torch.enable_grad():
            return list(as_tuple(self.question.picked(*self.inputs)))

    def pull(self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor], **options: Any) -> Gradients:
        """`torch.autograd.grad`, None where there is no gradient."""
        return cast(
            "Gradients",
            torch.autograd.grad(
                tuple(outputs), self.leaves, tuple(cotangents), retain_graph=True, allow_unused=True, **options
            ),
        )

    def normal(self, tensor: Tensor, *, count: int = 0) -> Tensor:
        """Random values like a tensor, `count` of them along a first axis."""
        return normal_like(tensor, self.generator, count=count)

    def path(self, i: int) -> str:
        """Where differentiated tensor i stands among the inputs."""
        places = [k for k, x in enumerate(self.inputs) if isinstance(x, Tensor) and x.requires_grad]
        return f"inputs[{places[i]}]"


def find_irreproducible(recorded: Recorded, nondet_tol: float) -> list[Finding]:
    """GP220: the same backward run twice must agree within `nondet_tol` (absolute, entry by entry)."""
    us = [recorded.normal(output) for output in recorded.outputs]
    twice = [recorded.pull(recorded.outputs, [u.clone() for u in us]) for _ in range(2)]
    for i, (one, other) in enumerate(zip(*twice, strict=True)):
        if one is None or other is None or not one.numel():
            continue
        apart = float((_dense(one) - _dense(other)).abs().max())
        if apart > nondet_tol:
            return [
                _error(
                    "GP220",
                    recorded.path(i),
                    f"backward run twice gives gradients {apart:.3g} apart, more than nondet_tol={nondet_tol:g}",
                    "find what differs from one run to the next: random draws, atomic additions, or saved tensors "
                    "that backward changes; allow for what is meant to differ with `nondet_tol`.",
                )
            ]
    return []


def find_unscaled(recorded: Recorded, *, masked: bool) -> list[Finding]:
    """GP221, GP224: a cotangent of zeros gives a gradient of zeros, in the form of its input."""
    zeros = [torch.zeros_like(output, memory_format=torch.contiguous_format) for output in recorded.outputs]
    findings: list[Finding] = []
    for i, (gradient, leaf) in enumerate(zip(recorded.pull(recorded.outputs, zeros), recorded.leaves, strict=True)):
        if gradient is None:
            continue
        dense = _dense(gradient)
        if not (torch.allclose(dense, torch.zeros_like(dense)) if masked else bool((dense == 0).all())):
            findings.append(
                _error(
                    "GP221",
                    recorded.path(i),
                    "the gradient is not zero where the cotangent is",
                    "multiply everything that backward returns by its cotangent (grad_output).",
                )
            )
        odd = _difference(gradient, leaf)
        if odd:
            findings.append(
                _error("GP224", recorded.path(i), odd, "return a gradient of the same form as the input from backward.")
            )
    return findings


def find_undefined_refused(recorded: Recorded) -> list[Finding]:
    """GP222: cotangents that torch leaves undefined count as zeros, for all outputs and for each by itself."""
    undefined = cast("Callable[[], Callable[[Tensor], Tensor]]", torch._C._functions.UndefinedGrad)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    count = len(recorded.outputs)
    for hidden in [set(range(count)), *([{i} for i in range(count)] if count > 1 else [])]:
        outputs = [undefined()(y) if i in hidden else y for i, y in enumerate(recorded.evaluate())]
        which = "the cotangents are" if len(hidden) == count else f"the cotangent of output {min(hidden)} is"
        zeros = [torch.zeros_like(y, memory_format=torch.contiguous_format) for y in outputs]
        try:
            gradients = recorded.pull(outputs, zeros)
        except RuntimeError as error:
            kind = f"backward fails where {which} undefined: {_first_line(error)}"
        else:
            if all(gradient is None or bool((_dense(gradient) == 0).all()) for gradient in gradients):
                continue
            kind = f"the gradient is not zero where {which} undefined"
        advice = "take None in backward as zeros, or leave ctx.set_materialize_grads(True) as it is."
        return [_error("GP222", "", kind, advice)]
    return []


def find_batched_apart(recorded: Recorded) -> list[Finding]:
    """GP223: backward under vmap agrees with the loop over cotangents."""
    us = [recorded.normal(output, count=2) for output in recorded.outputs]
    loop = [recorded.pull(recorded.outputs, [u[k] for u in us]) for k in range(2)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of slow paths
            batch = recorded.pull(recorded.outputs, us, is_grads_batched=True)
    except RuntimeError as error:
        return [_error("GP223", "", f"backward fails under vmap: {_first_line(error)}", _BATCH_ADVICE)]
    for i, (together, *rows) in enumerate(zip(batch, *loop, strict=True)):
        expected = torch.stack([torch.zeros_like(recorded.leaves[i]) if row is None else _dense(row) for row in rows])
        found = torch.zeros_like(expected) if together is None else _dense(together)
        if not torch.allclose(found, expected):
            return [_error("GP223", recorded.path(i), "backward under vmap differs from the loop", _BATCH_ADVICE)]
    return []


def find_batched_forward_apart(recorded: Recorded) -> list[Finding]:
    """GP223: forward mode under vmap agrees with the loop over tangents."""
    question, inputs = recorded.question, recorded.inputs
    for place, x in enumerate(inputs):
        if not (isinstance(x, Tensor) and x.requires_grad):
            continue

        def push(tangent: Tensor, place: int = place, x: Tensor = x) -> tuple[Tensor, ...]:
            with forward_ad.dual_level():
                moved = [one.detach() if isinstance(one, Tensor) else one for one in inputs]
                moved[place] = forward_ad.make_dual(x.detach(), tangent)
                return tuple(_tangent(y) for y in as_tuple(question.picked(*moved)))

        v = recorded.normal(x, count=2)
        loop = [torch.stack(rows) for rows in zip(*[push(row) for row in v], strict=True)]
        try:
            batch = cast("tuple[Tensor, ...]", _vmap(push)(v))
        except RuntimeError as error:
            return [_error("GP223", "", f"forward mode fails under vmap: {_first_line(error)}", _BATCH_ADVICE)]
        for k, (found, expected) in enumerate(zip(batch, loop, strict=True)):
            if not torch.allclose(found, expected):
                kind = f"forward mode under vmap differs from the loop, for output {k}"
                return [_error("GP223", f"inputs[{place}]", kind, _BATCH_ADVICE)]
    return []


_BATCH_ADVICE = (
    "write the rule with operators that vmap knows, or give the Function a `vmap` staticmethod; leave the "
    "check out with check_batched_grad=False."
)


def _difference(gradient: Tensor, leaf: Tensor) -> str:
    """In what form a gradient is not that of its leaf; a strided gradient of a sparse leaf is as torch has it."""
    if gradient.layout is not torch.strided and gradient.layout is not leaf.layout:
        return f"the gradient is of layout {gradient.layout}, its input of {leaf.layout}"
    for what in ("dtype", "device", "shape"):
        one, other = getattr(gradient, what), getattr(leaf, what)
        if one != other:
            return f"the gradient is of {what} {one}, its input of {other}"
    if gradient.layout is torch.sparse_coo and gradient.sparse_dim() != leaf.sparse_dim():
        return f"the gradient has {gradient.sparse_dim()} sparse axes, its input {leaf.sparse_dim()}"
    return ""


def _tangent(output: Tensor) -> Tensor:
    tangent = forward_ad.unpack_dual(output).tangent
    return torch.zeros_like(output) if tangent is None else tangent


def _dense(tensor: Tensor) -> Tensor:
    return tensor.to_dense() if tensor.layout is not torch.strided else tensor


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _error(id: str, path: str, kind: str, advice: str) -> Finding:
    return Finding(id=id, severity=Severity.ERROR, path=path, kind=kind, advice=advice[0].upper() + advice[1:])
