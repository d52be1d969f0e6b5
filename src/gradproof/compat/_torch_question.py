"""What torch's gradcheck is asked, taken apart: a function, its tensors, and which outputs it differentiates."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch

from gradproof._backends._torch_autodiff import is_floating, with_gaps
from gradproof._backends._torch_primals import differences
from gradproof._backends._torch_storage import is_part, put_in_place
from gradproof._base._away import is_from_handler
from gradproof._base._names import function_name

Tensor = torch.Tensor
Function = Callable[..., Any]

SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


class Question:
    """A function at a point, seen as torch's gradcheck sees it.

    Parameters
    ----------
    func : callable
    inputs : tuple
        Tensors that require grad are differentiated, all else passes through.
    is_dense : bool
        Whether sparse outputs are made dense. The first order leaves that to the user, as torch does.

    Attributes
    ----------
    func : callable
        The user's.
    inputs : tuple
        As the user has them.
    differentiable : tuple of int
        Places of the outputs that require grad: what torch claims to know the derivative of.
    outputs : tuple
        What func has returned.

    Raises
    ------
    ValueError
        If no input requires grad, or an output is of a layout that torch's gradcheck does not take.
    RuntimeError
        If an input that requires grad overlaps itself.
    """

    def __init__(self, func: Function, inputs: tuple[Any, ...], *, is_dense: bool = False) -> None:
        _require_inputs(inputs)
        self.func = func
        self.inputs = inputs
        self._is_dense = is_dense
        self._parts: list[int] = []
        with torch.enable_grad():
            self.outputs = self._first_returned()
        for output in self.outputs:
            if isinstance(output, Tensor) and output.layout is not torch.strided:
                raise ValueError(
                    f"an output of layout {output.layout} cannot be checked: call `.to_dense()` on it in func."
                )
        self.differentiable = tuple(
            i for i, output in enumerate(self.outputs) if isinstance(output, Tensor) and output.requires_grad
        )
        self.__name__ = name_of(func)

    def is_empty(self, *, masked: bool) -> bool:
        """Whether there is no number to differentiate, or none by which: `masked` counts those that are stored."""
        columns = sum((_values(x, masked=True) if masked else x).numel() for x in tensors_in(self.inputs))
        rows = [self.outputs[i].numel() for i in self.differentiable]
        return not columns or (bool(rows) and not sum(rows))

    def without_finite_entry(self, *, masked: bool) -> list[int]:
        """Places of the differentiated inputs that hold entries, none of them finite; `masked` as for `is_empty`."""
        return [
            i
            for i, x in enumerate(self.inputs)
            if isinstance(x, Tensor) and x.requires_grad and _is_nowhere_finite(_values(x, masked=masked))
        ]

    def is_finite(self) -> bool:
        """Whether all that is differentiated is finite at the point."""
        return all(bool(self.outputs[i].detach().isfinite().all()) for i in self.differentiable)

    def picked(self, *inputs: Any) -> Any:
        """The differentiable outputs of func, alone where it is one."""
        outputs = self.returned(*inputs)
        chosen = tuple(outputs[i] for i in self.differentiable)
        return chosen[0] if len(chosen) == 1 else chosen

    def returned(self, *inputs: Any) -> tuple[Any, ...]:
        """All outputs of func."""
        if self._parts:
            inputs = tuple(put_in_place(x, self.inputs[i]) if i in self._parts else x for i, x in enumerate(inputs))
        outputs = as_tuple(self.func(*inputs))
        return tuple(map(_dense, outputs)) if self._is_dense else outputs

    def _first_returned(self) -> tuple[Any, ...]:
        """What func returns at the point, and whether it looks at the memory around its inputs.

        Then copies of the inputs get a copy of that memory, too.
        """
        parts = [i for i, x in enumerate(self.inputs) if is_part(x)]
        if not parts:
            return self.returned(*own(self.inputs))
        alone = None
        try:
            alone = self.returned(*own(self.inputs))
        except Exception as error:
            if is_from_handler(error):
                raise
        self._parts = parts
        in_place = self.returned(*own(self.inputs))
        if alone is not None and not differences(_numbers(alone), _numbers(in_place)):
            self._parts = []
            return alone
        return in_place

    def named(self) -> Function:
        """Return `picked` under the name and the signature of func."""

        def function(*inputs: Any) -> Any:
            return self.picked(*inputs)

        function.__name__ = function.__qualname__ = self.__name__
        setattr(function, "__wrapped__", self.func)  # noqa: B010  (names of arguments are read from it)
        return function


class GradientQuestion(Question):
    """The gradient as a function of the inputs and of the cotangents: what torch's gradgradcheck looks at."""

    def __init__(self, first: Question, cotangents: tuple[Any, ...], *, is_gappy: bool) -> None:
        self._first = first
        self._count = len(first.inputs)
        self._is_gappy = is_gappy
        super().__init__(self._gradient, (*first.inputs, *cotangents), is_dense=True)
        self.__name__ = f"gradient of {first.__name__}"

    def _first_returned(self) -> tuple[Any, ...]:
        # (What func looks at is known of it.)
        return self.returned(*own(self.inputs))

    def _gradient(self, *arguments: Any) -> tuple[Tensor, ...]:
        inputs, cotangents = arguments[: self._count], arguments[self._count :]
        with torch.enable_grad():
            inputs = tuple(
                x.requires_grad_() if isinstance(x, Tensor) and given.requires_grad and not x.requires_grad else x
                for x, given in zip(inputs, self._first.inputs, strict=True)
            )
            outputs = as_tuple(self._first.picked(*inputs))
            found = torch.autograd.grad(
                outputs,
                list(tensors_in(inputs)),
                [with_gaps(u) for u in cotangents] if self._is_gappy else list(cotangents),
                create_graph=True,
                allow_unused=True,
            )
        return tuple(gradient for gradient in cast("Sequence[Tensor | None]", found) if gradient is not None)


def as_tuple(value: Any) -> tuple[Any, ...]:
    """A tuple or list as a tuple, anything else as its only member."""
    return tuple(cast("Sequence[Any]", value)) if isinstance(value, (tuple, list)) else (value,)


def own(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Copies of the tensors, each a leaf of its own."""
    return tuple(x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


def tensors_in(inputs: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors that require grad."""
    return (x for x in inputs if isinstance(x, Tensor) and x.requires_grad)


def name_of(func: Any) -> str:
    """The name of a function; of `SomeFunction.apply` that of its class."""
    owner = getattr(func, "__self__", None)
    if inspect.isclass(owner) and issubclass(owner, torch.autograd.Function):
        return owner.__name__
    return function_name(func)


def _numbers(outputs: Sequence[Any]) -> list[Tensor]:
    """The floating tensors among some outputs, without their graphs."""
    return [one.detach() for one in outputs if is_floating(one) and one.layout is torch.strided]


def _dense(output: Any) -> Any:
    return output.to_dense() if isinstance(output, Tensor) and output.layout in SPARSE else output


def _values(tensor: Tensor, *, masked: bool) -> Tensor:
    """The entries of a tensor; of a sparse one those that it stores if `masked`, else all."""
    tensor = tensor.detach()
    if tensor.layout not in SPARSE:
        return tensor
    if not masked:
        return tensor.to_dense()
    return (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()


def _is_nowhere_finite(tensor: Tensor) -> bool:
    """Whether there are entries, and none is finite."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    # (Mostly the first one tells.)
    return bool(tensor.numel()) and not tensor[(0,) * tensor.dim()].isfinite() and not bool(tensor.isfinite().any())


def _require_inputs(inputs: Sequence[Any]) -> None:
    if not any(True for _ in tensors_in(inputs)):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    if any(isinstance(x, Tensor) and x.is_nested for x in inputs):
        raise ValueError(
            "a nested tensor cannot be checked: make it inside func, from its parts (`torch.nested.as_nested_tensor`)."
        )
    for i, x in enumerate(inputs):
        if not (isinstance(x, Tensor) and x.requires_grad) or x.layout is not torch.strided:
            continue
        if any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0: several of its entries are the same memory. "
                "Call .contiguous() on it."
            )
