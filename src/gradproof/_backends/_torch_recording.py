"""One forward of a PyTorch function with its graph, and backwards over it under the conditions of the contracts."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gradproof._backends import _torch
from gradproof._backends._numpy import Array
from gradproof._backends._torch_autodiff import TorchAutodiff, is_floating
from gradproof._backends._torch_backward import around_backward, saved_by
from gradproof._backends._torch_conditions import address, all_bytes, laid_out, undefined
from gradproof._backends._torch_graph import Rule

Tensor = torch.Tensor
Saved = Mapping[str, tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pulled:
    """What one backward gave, and what it did to its cotangents.

    Attributes
    ----------
    gradients : list of ndarray or None
        Copies, one for each differentiated tensor.
    returned : list of Tensor or None
        The same as they were returned.
    changed : list of int
        The outputs whose cotangent has other bytes now.
    forms : list of tuple
        Of each tensor that goes into a rule: its place, its shape and dtype, and those of the gradient that the rule
        returned for it.
    """

    gradients: list[Array | None]
    returned: list[Tensor | None]
    changed: list[int]
    forms: list[tuple[int, tuple[int, ...], str, tuple[int, ...], str]]


class Recording:
    """A forward with its graph, which backwards are run of."""

    def __init__(
        self,
        function: TorchAutodiff,
        rule: Rule | None,
        leaves: Sequence[Tensor],
        outputs: list[Tensor],
        arguments: Sequence[Any],
    ) -> None:
        self._function, self._rule = function, rule
        self._leaves, self._outputs, self._arguments = leaves, outputs, arguments

    @property
    def values(self) -> list[Array]:
        """What f returned, as copies."""
        return [np.array(_torch.as_numpy(output)) for output in self._outputs]

    def saved(self) -> Saved:
        """What the rule has kept for its backward, by name, each beside a copy."""
        nodes = dict.fromkeys(output.grad_fn for output in self._outputs if output.grad_fn is not None)
        if self._rule is None:
            nodes = {}
        found = {name: tensor for node in nodes for name, tensor in saved_by(node)}
        arguments = self._arguments[: self._function.count]
        inputs = {name: leaf.detach() for name, leaf in zip(self._function.names, arguments, strict=False)}
        known = {address(tensor) for tensor in inputs.values()}
        found = {name: tensor for name, tensor in found.items() if address(tensor) not in known}
        return {name: (tensor, tensor.detach().clone()) for name, tensor in {**inputs, **found}.items()}

    def changed(self, saved: Saved) -> list[str]:
        """Which of them have other bits now."""
        return [name for name, (tensor, was) in saved.items() if not _torch.same_bits(tensor.detach(), was)]

    def pull(
        self,
        cotangents: Sequence[Tensor],
        *,
        layout: str = "",
        only: Sequence[int] | None = None,
        hidden: Collection[int] = (),
    ) -> Pulled:
        """Run the backward.

        Parameters
        ----------
        cotangents : sequence of Tensor
            Contiguous; they are copied.
        layout : str
            That the copies come in.
        only : sequence of int, optional
            The tensors whose gradients are asked for; all by default.
        hidden : collection of int
            The outputs whose cotangent is left undefined.
        """
        us = [laid_out(u.clone(), layout) for u in cotangents]
        before = [all_bytes(u) for u in us]
        outputs = [undefined(y) if i in hidden else y for i, y in enumerate(self._outputs)]
        pairs = [(y, u) for y, u in zip(outputs, us, strict=True) if y.requires_grad]
        leaves = [leaf for leaf in self._leaves if leaf.requires_grad]
        asked = [leaves[i] for i in (range(len(leaves)) if only is None else only)]
        forms: list[Any] = []
        with self._watched(forms):
            found: Sequence[Tensor | None] = (
                torch.autograd.grad(
                    [y for y, _ in pairs], asked, [u for _, u in pairs], retain_graph=True, allow_unused=True
                )
                if pairs
                else [None] * len(asked)
            )
        return Pulled(
            gradients=[None if one is None else np.array(_torch.as_numpy(one)) for one in found],
            returned=list(found),
            changed=[
                i for i, (u, was) in enumerate(zip(us, before, strict=True)) if not torch.equal(all_bytes(u), was)
            ],
            forms=forms,
        )

    def accumulated(self, cotangents: Sequence[Tensor], times: int) -> list[Array | None]:
        """What `.grad` holds after so many backwards, each added to the last."""
        for leaf in self._leaves:
            leaf.grad = None
        pairs = [(y, u) for y, u in zip(self._outputs, cotangents, strict=True) if y.requires_grad]
        for _ in range(times):
            torch.autograd.backward([y for y, _ in pairs], [u.clone() for _, u in pairs], retain_graph=True)
        return [None if leaf.grad is None else np.array(_torch.as_numpy(leaf.grad)) for leaf in self._leaves]

    @contextlib.contextmanager
    def _watched(self, forms: list[Any]) -> Generator[None]:
        """Keep the form of what the rule returns, before torch makes it fit."""
        if self._rule is None:
            yield
            return
        # (A rule returns one thing for each argument, also where that is a list of tensors.)
        args = self._function.argument(self._arguments)
        inputs = args if type(args) is tuple else (args,)

        def around(backward: Any, ctx: Any, *us: Any) -> Any:
            returned = backward(ctx, *us)
            gradients = returned if isinstance(returned, (tuple, list)) else (returned,)
            for i, (given, gradient) in enumerate(zip(inputs, gradients, strict=False)):
                if is_floating(given) and isinstance(gradient, Tensor):
                    dtypes = str(given.dtype).removeprefix("torch."), str(gradient.dtype).removeprefix("torch.")
                    forms.append((i, tuple(given.shape), dtypes[0], tuple(gradient.shape), dtypes[1]))
            return returned

        with around_backward(self._rule, around):
            yield
