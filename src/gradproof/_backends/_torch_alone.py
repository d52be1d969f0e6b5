"""What was called in a PyTorch function, to be called by itself on what it really received."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools as ft
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import optree
import torch

from gradproof._backends._torch_autodiff import TorchAutodiff, inner_product, is_floating, normal_like
from gradproof._backends._torch_state import State
from gradproof._base import _tree

Tensor = torch.Tensor

# Of random cotangents.
SEED = 7

# ``call(parameters, args, kwargs)``.
Call = Callable[[Sequence[Tensor], Any, Any], Any]


class Copies(Protocol):
    """How code of low precision is measured beside a copy in float64."""

    def doubled(self, tree: Any) -> Any:
        """The same tree in float64, modules as copies."""
        ...

    def beside(self, low: TorchAutodiff, make: Callable[[], TorchAutodiff]) -> Any:
        """A function beside its copy, or alone: it is not of low precision, or the copy does not compute the same."""
        ...


@dataclasses.dataclass
class Received:
    """What a call received: its arguments, the state of the moment, and the cotangents of its floating outputs.

    `nodes` are those of the outputs in the graph of the whole, and `reached` the arrays that they lead to; `origins`
    are what made the tensors among the arguments, beside their copies.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: State
    cotangents: list[Tensor | None] = dataclasses.field(default_factory=list["Tensor | None"])
    nodes: list[Any] = dataclasses.field(default_factory=list[Any])
    reached: frozenset[str] = frozenset()
    origins: list[tuple[Tensor, Any]] = dataclasses.field(default_factory=list[tuple["Tensor", Any]])

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any], state: State) -> Received:
        """What is being passed."""
        copies = private(args), private(kwargs)
        pairs = zip(_floating(copies), _floating((args, kwargs)), strict=True)
        origins = [(copy, given if given.grad_fn is None else given.grad_fn) for copy, given in pairs]
        return cls(*copies, state, origins=origins)

    def settle(self, differentiated: set[Any]) -> None:
        """Keep the gradients of those arguments alone that are made from something differentiated."""
        for copy, origin in self.origins:
            if origin not in differentiated:
                copy.requires_grad_(False)
        self.origins, self.nodes = [], []  # (They hold the graph.)

    def watch(self, returned: Any) -> None:
        """Keep the cotangents that will come for these outputs."""
        outputs = _floating(returned)
        self.cotangents = [None] * len(outputs)
        self.nodes = [tensor.grad_fn for tensor in outputs]
        for i, tensor in enumerate(outputs):
            if tensor.requires_grad:
                tensor.register_hook(ft.partial(self._keep, i))

    def _keep(self, i: int, cotangent: Tensor | None) -> None:
        if cotangent is not None:
            self.cotangents[i] = cotangent.detach().clone()


@dataclasses.dataclass(frozen=True)
class Alone:
    """What was called, to be called again by itself: with parameters (that go by `paths`), and what it received."""

    call: Call
    # The same for arguments in float64, and what is put back before it is called.
    copied: Callable[[], tuple[Call, State]]
    parameters: list[Tensor]
    paths: Sequence[str]
    names: Sequence[str]
    given: Received
    copies: Copies

    def own(self, *, received: bool) -> TorchAutodiff | None:
        """Outputs times cotangents as a real function of parameters and of those inputs that took part in the graph."""
        inputs = self._inputs()
        if not self.parameters and not any(is_floating(leaf.value) and leaf.value.requires_grad for leaf in inputs):
            return None
        weights = self.given.cotangents if received else self._random()
        if not any(u is not None and bool(u.any()) for u in weights):
            return None
        return self._times(self.call, self.given.state, weights, lambda tree: tree)  # pyright: ignore[reportUnknownLambdaType]

    def function(self, *, received: bool) -> Any:
        """The same, beside a copy in float64 where it is of lower precision and there is one."""
        low = self.own(received=received)
        if low is None:
            return None
        weights = self.given.cotangents if received else self._random()
        copies = self.copies
        found = copies.beside(low, lambda: self._times(*self.copied(), weights, copies.doubled))
        found.of_whole = frozenset(self.paths)
        return found

    def _times(
        self, call: Call, state: State, weights: Sequence[Tensor | None], convert: Callable[[Any], Any]
    ) -> TorchAutodiff:
        us = [None if u is None else convert(u) for u in weights]

        def times(*arguments: Any) -> Tensor:
            pairs = [(u, y) for u, y in zip(us, _floating(call(*arguments)), strict=True) if u is not None]
            return inner_product([u for u, _ in pairs], [y for _, y in pairs])

        shown = [
            f"{self.names[int(leaf.keys[1])]}{leaf.path[len(f'args[{leaf.keys[1]}]') :]}"  # pyright: ignore[reportArgumentType]
            if leaf.keys[0] == 0
            else leaf.path
            for leaf in self._inputs()
        ]
        arguments = (convert(self.parameters), convert(self.given.args), convert(self.given.kwargs))
        return TorchAutodiff(times, arguments, None, names=[*self.paths, *shown], state=state)

    def _inputs(self) -> tuple[_tree.NamedLeaf, ...]:
        given = self.given
        return _tree.flatten((given.args, given.kwargs), ("args", "kwargs"), none_is_leaf=True).leaves

    def _random(self) -> list[Tensor | None]:
        """Random cotangents for all floating outputs."""
        self.given.state.rewind()
        with torch.no_grad():
            parameters = [tensor.detach() for tensor in self.parameters]
            templates = _floating(self.call(parameters, self.given.args, self.given.kwargs))
        generator = np.random.default_rng(SEED)
        return [normal_like(tensor, generator) for tensor in templates]


def private(tree: Any) -> Any:
    """The same tree with copies of all tensors, which require grad where those do."""
    return optree.tree_map(_copy, tree, none_is_leaf=True, namespace=_tree.NAMESPACE)


def _copy(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    copy = value.detach().clone()
    return copy.requires_grad_() if is_floating(value) and value.requires_grad else copy


def _floating(returned: Any) -> list[Tensor]:
    leaves = _tree.flatten((returned,), ("output",), none_is_leaf=True).leaves
    return [leaf.value for leaf in leaves if is_floating(leaf.value)]
