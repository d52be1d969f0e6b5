"""A PyTorch function, or a rule within it, whose backward is run under the conditions of the contracts."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gradproof._backends import _torch
from gradproof._backends._numpy import Array
from gradproof._backends._torch_autodiff import TorchAutodiff, is_floating, names_of
from gradproof._backends._torch_backward import around_backward, guarded
from gradproof._backends._torch_conditions import Precision, laid_out, lengthened, normal_values, rounded, shortened
from gradproof._backends._torch_graph import (
    Rule,
    is_by_the_user,
    is_rule_itself,
    leaves_behind,
    nodes_from,
    operator_of,
    rule_name,
    rule_of,
)
from gradproof._backends._torch_layouts import LAYOUTS, SHARED
from gradproof._backends._torch_parts import applications
from gradproof._backends._torch_poison import poisoned
from gradproof._backends._torch_recording import Recording
from gradproof._backends._torch_state import State
from gradproof._base._errors import GradproofError
from gradproof._base._names import function_name

Tensor = torch.Tensor

# Other values near the point, as multiples of it.
ELSEWHERE = 1.25
# Tensors of each shape that leave finite numbers in memory.
WASHED = 8


class Subject:
    """A function whose backward is held to the contracts.

    Parameters
    ----------
    function : TorchAutodiff
    name : str
        Of what is accused.
    rule : Rule or None
        The hand-written one that it is a call of.
    seed : int
    whole : TorchAutodiff, optional
        What it is a rule in; None where it is f itself.

    Attributes
    ----------
    function, name, rule
        As passed.
    is_whole : bool
        Whether it is f itself, whose arrays the report names.
    layouts : tuple of str
        By name, those that cotangents may come in.
    names : sequence of str
        Of the differentiated tensors.
    """

    def __init__(
        self,
        function: TorchAutodiff,
        name: str,
        rule: Rule | None,
        seed: int,
        whole: TorchAutodiff | None = None,
    ) -> None:
        self.function, self.name, self.rule, self.is_whole = function, name, rule, whole is None
        self._whole = whole
        self.names = function.names[: function.count]
        self.layouts = tuple(LAYOUTS)
        self._seed = seed
        self._templates: list[Tensor] | None = None

    @property
    def owner(self) -> object:
        """What is accused, to find its source."""
        return self.function.called if self.rule is None else self.rule

    @property
    def roots(self) -> list[str]:
        """The names of all arguments."""
        return self.function.roots

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Those of the differentiated tensors."""
        return [tuple(leaf.shape) for leaf in self.function.arguments[: self.function.count]]

    def draws(self) -> bool:
        """Whether f draws random numbers, which it may do in the order of its memory."""
        self.record()
        return self.function.state.has_drawn

    def shares_memory(self, one: Tensor | None, other: Tensor | None) -> bool:
        """Whether two gradients are in the same memory."""
        if one is None or other is None or not one.numel() or one.layout is not torch.strided:
            return False
        return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()

    def read(self, gradient: Tensor) -> Array:
        """The values of a tensor as they are now."""
        return np.array(_torch.as_numpy(gradient))

    @property
    def reached(self) -> frozenset[str]:
        """The differentiated arrays of the whole whose gradients pass through it."""
        whole = self._whole
        if whole is None:
            return frozenset(self.names)
        leaves, outputs = _graph(whole)
        own = [node for node in nodes_from(outputs) if rule_of(node) is self.rule]
        return frozenset(whole.names[i] for i in leaves_behind(own, leaves))

    def record(
        self,
        *,
        layout: str = "",
        is_compact: bool = False,
        needed: Collection[int] | None = None,
        is_elsewhere: bool = False,
        rounding: int = 0,
    ) -> Recording:
        """Run the forward with a graph.

        Parameters
        ----------
        layout : str
            Of all floating tensors that go in; contiguous by default.
        is_compact : bool
            Whether they only hold values that this layout can hold, and are contiguous.
        needed : collection of int, optional
            The tensors that require grad; all by default.
        is_elsewhere : bool
            Whether at other values, near the point.
        rounding : int
            Other than 0 every entry is off by a few roundings, drawn by this number.
        """
        arguments = [laid_out(one, layout) for one in self.function.at_point()]
        if is_compact:
            arguments = [one.contiguous() if is_floating(one) else one for one in arguments]
        with torch.enable_grad():
            if rounding:
                generator = torch.Generator().manual_seed(self._seed + rounding)
                leaves = arguments[: self.function.count]
                arguments[: self.function.count] = [rounded(leaf, generator) for leaf in leaves]
            if is_elsewhere:
                arguments[: self.function.count] = [leaf * ELSEWHERE for leaf in arguments[: self.function.count]]
            if needed is None:
                leaves, outputs = self.function.record(arguments)
            else:
                own = enumerate(arguments[: self.function.count])
                leaves = tuple(leaf.detach().requires_grad_(i in needed) for i, leaf in own)
                outputs = self.function.outputs(leaves, arguments[self.function.count :])
        if self._templates is None:
            self._templates = [output.detach() for output in outputs]
        return Recording(self.function, self.rule, leaves, outputs, arguments)

    def cotangents(self, shared: str = "", draw: int = 0) -> list[Tensor]:
        """Random cotangents, contiguous; those of a layout that repeats entries hold values that it can hold."""
        generator = torch.Generator().manual_seed(self._seed + draw)
        drawn = [normal_values(output, generator) for output in self.templates]
        return [laid_out(u, shared).contiguous().clone() for u in drawn] if shared else drawn

    def zeros(self) -> list[Tensor]:
        """Cotangents of zeros."""
        return [torch.zeros_like(output, memory_format=torch.contiguous_format) for output in self.templates]

    def mixed(self, cotangents: Sequence[Tensor], draw: int) -> list[Tensor]:
        """The same cotangents with other signs, at random: what they give is as large as the terms of the sums."""
        generator = torch.Generator().manual_seed(self._seed + 1 + draw)
        return [u * normal_values(u, generator).real.sign() for u in cotangents]

    @property
    def templates(self) -> list[Tensor]:
        """What f returns at the point."""
        if self._templates is None:
            self.record()
        assert self._templates is not None
        return self._templates

    def takes(self, layout: str, *, inputs: bool = False) -> bool:
        """Whether any output, or input, has a layout of that name besides its own."""
        tensors = filter(is_floating, self.function.arguments) if inputs else self.templates
        return any(one.layout is torch.strided and LAYOUTS[layout](one.detach()) is not None for one in tensors)

    def repeating(self) -> str:
        """The layout that repeats entries and leaves most of them: rows where there are some."""
        return next((name for name in reversed(SHARED) if self.takes(name)), "")

    def holds_other_values(self, layout: str) -> bool:
        """Whether tensors of a layout cannot hold the values of the point."""
        return layout in SHARED

    @property
    def eps(self) -> float:
        """The coarsest precision of what goes in and comes out."""
        tensors = [*self.function.arguments[: self.function.count], *self.templates]
        return max(torch.finfo(one.dtype).eps for one in tensors)

    @property
    def is_scalar(self) -> bool:
        """Whether it returns one number of shape () and no more."""
        return [one.dim() for one in self.templates] == [0]

    @property
    def output_eps(self) -> float:
        """The coarsest precision of the outputs, and so of cotangents."""
        return max(torch.finfo(one.dtype).eps for one in self.templates)

    @property
    def entries(self) -> int:
        """How many entries go in and come out: no sum has more terms."""
        return sum(one.numel() for one in [*self.function.arguments[: self.function.count], *self.templates])

    def coarsest(self, cotangents: Sequence[Tensor]) -> float:
        """The coarsest precision that anything is computed in, as far as torch sees it."""
        with Precision() as watch:
            self.record().pull(cotangents)
        return max(self.eps, watch.eps)

    def others(self) -> Iterator[Subject]:
        """The same at other shapes: every axis of one length is cut short by one, or doubled."""
        function = self.function
        lengths = dict.fromkeys(
            length for leaf in function.arguments[: function.count] for length in leaf.shape if length > 1
        )
        for length in lengths:
            for resize in (shortened, lengthened):
                arguments = [resize(one, length) if isinstance(one, Tensor) else one for one in function.at_point()]
                try:
                    # (Those that require grad are differentiated.)
                    for i, one in enumerate(arguments):
                        if is_floating(one):
                            arguments[i] = one.detach().requires_grad_(i < function.count)
                    called = function.called if self.rule is None else self.rule
                    made = TorchAutodiff(called, function.argument(arguments), None, state=function.state)
                except (GradproofError, RuntimeError):
                    continue  # f does not take such shapes
                yield Subject(made, self.name, self.rule, self._seed, self._whole)

    @contextlib.contextmanager
    def poisoned(self) -> Generator[None]:
        """Fresh memory holds nan."""
        with poisoned():
            yield

    def wash(self) -> None:
        """Leave finite numbers in the memory that is likely to be handed out next."""
        tensors = [*self.function.arguments[: self.function.count], *self.templates]
        held = [torch.ones(one.shape, dtype=one.dtype, device=one.device) for one in tensors for _ in range(WASHED)]
        del held

    @contextlib.contextmanager
    def guarded(self) -> Generator[None]:
        """Whatever the rule does to memory, or asks of it, is kept from it."""
        if self.rule is None:
            yield
            return
        with around_backward(self.rule, guarded):
            yield


def subjects_in(function: TorchAutodiff, seed: int, *, is_asked: bool) -> list[Subject]:
    """What of a function is held to the contracts: hand-written rules, each by itself on what it really received.

    A function without any is one by itself where it calls a rule of a C++ extension, or if `is_asked`: all else in it
    is torch's own.
    """
    if function.rules is None:
        _, outputs = _graph(function)
        function.look_for_rules(outputs)
    rules = [rule for rule in function.rules or [] if is_by_the_user(rule)]
    if is_rule_itself(function.called) and len(rules) == 1:
        return [Subject(function, rule_name(rules[0]), rules[0], seed)]
    if not rules:
        if not is_asked and not function.has_extension:
            return []
        return [Subject(function, function_name(function.called), None, seed)]
    found: dict[Rule, Subject] = {}
    for rule, args in applications(function, is_by_the_user):
        if rule in found:
            continue
        try:
            alone = TorchAutodiff(rule, args, None, names=_names(rule, args), state=State({}, within=True))
        except GradproofError:
            continue  # it does not run alone, which breaks no contract
        if any(one.requires_grad for one in args if is_floating(one)):
            found[rule] = Subject(alone, rule_name(rule), rule, seed, function)
    return list(found.values())


def _graph(function: TorchAutodiff) -> tuple[Sequence[Tensor], list[Tensor]]:
    with torch.enable_grad():
        return function.record(function.at_point())


def _names(rule: Rule, args: tuple[Any, ...]) -> list[str] | None:
    """The names of a custom operator's own arguments; None where they are those of a forward."""
    operator = operator_of(rule)
    if operator is None or any(isinstance(one, (list, tuple, dict)) for one in args):
        return None
    names = names_of(rule, len(args))
    named = [argument.name for argument in operator._schema.arguments]
    return [*named[: len(names)], *names[len(named) :]]
