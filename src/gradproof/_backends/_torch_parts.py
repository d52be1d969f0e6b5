"""The parts of a PyTorch model as functions of their own: what each call of a module or rule really received."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import dataclasses
import functools as ft
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_unflatten

from gradproof._backends._torch_alone import SEED, Alone, Call, Copies, Received, private
from gradproof._backends._torch_autodiff import TorchAutodiff, inner_product, is_floating, names_of, normal_like
from gradproof._backends._torch_graph import (
    Rule,
    differentiated_by,
    is_by_the_user,
    leaves_behind,
    nodes_from,
    operator_of,
    rule_name,
    rule_of,
    rules_in,
)
from gradproof._backends._torch_state import State, path_of, undone

Tensor = torch.Tensor
Module = torch.nn.Module


@dataclasses.dataclass
class _Call:
    """One call of a module, in the order of execution, and the one that it was made in (-1: the loss)."""

    path: str
    module: Module
    parent: int


class Scene:
    """The whole function, which can be run again while its modules are watched.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        By name.
    function : TorchAutodiff
    copies : Copies
        How parts of low precision are measured.
    """

    def __init__(self, modules: Mapping[str, Module], function: TorchAutodiff, copies: Copies) -> None:
        self._function = function
        self.copies = copies
        self._paths: dict[Module, str] = {}
        for root, module in modules.items():
            for name, part in module.named_modules():
                self._paths.setdefault(part, root + path_of(module, name))
        self._calls: list[_Call] | None = None
        self._reached: dict[Rule, frozenset[str]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the differentiated arrays."""
        return self._function.names[: self._function.count]

    def differentiates(self, parameter: Tensor) -> bool:
        """Whether a parameter is one of the differentiated arrays."""
        return any(parameter is leaf for leaf in self._function.arguments[: self._function.count])

    def reached_by(self, rule: Rule) -> frozenset[str]:
        """The differentiated arrays whose gradients pass through a rule."""
        if self._reached is None:
            self._look_at_graph(*_record(self._function))
        assert self._reached is not None
        return self._reached.get(rule, frozenset())

    @property
    def function(self) -> TorchAutodiff:
        """The whole function."""
        return self._function

    def calls(self, parent: int) -> list[tuple[int, _Call, Received]]:
        """The calls made directly in another one, with what they received."""
        if not self._paths:
            return []
        if self._calls is None:
            self._calls, _ = self._run(())
        numbers = [i for i, call in enumerate(self._calls) if call.parent == parent]
        if not numbers:
            return []
        calls, received = self._run(numbers)
        return [(i, calls[i], received[i]) for i in numbers if i in received]

    def _run(self, numbers: Sequence[int]) -> tuple[list[_Call], dict[int, Received]]:
        """Run everything forward and backward at the point; hooks are there for that time only."""
        calls: list[_Call] = []
        received: dict[int, Received] = {}
        open_calls: list[int] = []
        wanted = frozenset(numbers)
        is_forward = True

        def enter(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if is_forward:  # a checkpoint calls modules again during the backward
                number = len(calls)
                calls.append(_Call(self._paths[module], module, open_calls[-1] if open_calls else -1))
                open_calls.append(number)
                if number in wanted:
                    state = State({calls[number].path: module}, keep_grads=False, within=True)
                    received[number] = Received.of(args, kwargs, state)

        def leave(module: Module, args: Any, kwargs: Any, returned: Any) -> None:
            if is_forward:
                number = open_calls.pop()
                if number in wanted:
                    received[number].watch(returned)

        with contextlib.ExitStack() as stack:
            for module in self._paths:
                handle = module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True)
                stack.callback(handle.remove)
                stack.callback(module.register_forward_hook(leave, with_kwargs=True).remove)
            value, leaves = _record(self._function)
            is_forward = False
            self._look_at_graph(value, leaves, list(received.values()))
            _run_backward(value, leaves)
        return calls, received

    def _look_at_graph(self, value: Tensor, leaves: tuple[Tensor, ...], received: Sequence[Received] = ()) -> None:
        """See to which arrays the rules in the graph of the whole lead, and these calls."""
        nodes = list(nodes_from([value]))
        by_rule: dict[Rule, list[Any]] = {}
        for node in nodes:
            rule = rule_of(node)
            if rule is not None:
                by_rule.setdefault(rule, []).append(node)
        self._reached = {rule: self._named(leaves_behind(own, leaves)) for rule, own in by_rule.items()}
        everything, differentiated = set(nodes), differentiated_by(value, leaves)
        for call in received:
            call.reached = self._named(leaves_behind(everything.intersection(call.nodes), leaves))
            call.settle(differentiated)

    def _named(self, indices: frozenset[int]) -> frozenset[str]:
        return frozenset(self._function.names[i] for i in indices)


class LossPart:
    """The whole, a loss or any other function, which is known to be wrong."""

    # `backward` and `jvp` of a Function are written apart.
    is_one_rule_for_all_modes = False

    def __init__(self, scene: Scene, name: str) -> None:
        self._scene = scene
        self.path = name
        self.owner: object = scene
        self.reached = frozenset(scene.names)
        rule = scene.function.only_rule
        self.only_rule = "" if rule is None else rule_name(rule)

    def function(self, *, received: bool) -> TorchAutodiff:
        """The whole."""
        return self._scene.function

    def parts(self) -> list[ModulePart]:
        """The modules that it calls."""
        return [ModulePart(self._scene, *found) for found in self._scene.calls(-1)]

    def rules(self) -> list[RulePart]:
        """The rules applied within it."""
        return _rules(self._scene.function, self._scene)


# What is said where the gradient of a spectral norm in train mode is wrong, as it is by design.
POWER_ITERATION = (
    "Spectral norm in train mode makes one step of power iteration in every forward pass, and its gradient treats "
    "the vectors of that step as constants: check the model after `.eval()`."
)


def iterates(module: Module) -> bool:
    """Whether a module is a spectral norm in train mode, or has one of the older kind as a hook."""
    hooks = module._forward_pre_hooks.values()  # pyright: ignore[reportPrivateUsage]
    kinds = {type(one).__name__ for one in (module, *hooks)}
    return module.training and not kinds.isdisjoint(("_SpectralNorm", "SpectralNorm"))


class ModulePart:
    """One call of a module."""

    def __init__(self, scene: Scene, number: int, call: _Call, received: Received) -> None:
        self._scene = scene
        self._number = number
        self._call = call
        self._received = received
        self.path = call.path
        self.owner: object = call.module
        self.reached = received.reached
        self.remark = POWER_ITERATION if iterates(call.module) else ""

    def function(self, *, received: bool) -> Any:
        """Its outputs times the cotangents that they received, or times random ones.

        A function of its inputs, and of those of its parameters that the whole is differentiated by.
        """
        return self._alone().function(received=received)

    def _alone(self) -> Alone:
        module = self._call.module
        named = module.named_parameters()
        names = [name for name, parameter in named if parameter.requires_grad and self._scene.differentiates(parameter)]
        parameters = [module.get_parameter(name).detach().clone().requires_grad_() for name in names]
        paths = [self.path + path_of(module, name) for name in names]

        def calling(module: Module) -> Call:
            return lambda parameters, args, kwargs: torch.func.functional_call(
                module, dict(zip(names, parameters, strict=True)), args, kwargs
            )

        def copied() -> tuple[Call, State]:
            self._received.state.rewind()
            copy = self._scene.copies.doubled(module)
            return calling(copy), State({self.path: copy}, within=True)

        names_of_inputs = names_of(module, len(self._received.args))
        return Alone(calling(module), copied, parameters, paths, names_of_inputs, self._received, self._scene.copies)

    def parts(self) -> list[ModulePart]:
        """The modules that it calls."""
        return [ModulePart(self._scene, *found) for found in self._scene.calls(self._number)]

    def rules(self) -> list[RulePart]:
        """The rules applied within it."""
        alone = self._alone()
        function = alone.own(received=True) or alone.own(received=False)
        return [] if function is None else _rules(function, self._scene)


class RulePart:
    """One application of an `autograd.Function`."""

    def __init__(self, rule: Rule, received: Received, scene: Scene) -> None:
        self._rule = rule
        self._received = received
        self._scene = scene
        self.path = rule_name(rule)
        self.owner: object = rule

    @property
    def reached(self) -> frozenset[str]:
        """The differentiated arrays of the whole whose gradients pass through any of its applications."""
        return self._scene.reached_by(self._rule)

    def function(self, *, received: bool) -> Any:
        """Its outputs times the cotangents that they received, or times random ones."""

        def call(_: Sequence[Tensor], args: Any, __: Any) -> Any:
            return self._rule.apply(*args)

        def copied() -> tuple[Call, State]:
            return call, self._received.state

        names = names_of(self._rule, len(self._received.args))
        operator = operator_of(self._rule)
        if operator is not None:
            named = [argument.name for argument in operator._schema.arguments]
            names[: len(named)] = named[: len(names)]
        alone = Alone(call, copied, [], [], names, self._received, self._scene.copies)
        return alone.function(received=received)

    def parts(self) -> list[RulePart]:
        """A rule is the end of the search."""
        return []

    rules = parts


def rules_of(function: TorchAutodiff) -> list[Rule]:
    """The hand-written rules that a function applies."""
    if function.rules is None:
        function.rules = rules_in([_record(function)[0]])
    return function.rules


def applications(function: TorchAutodiff, is_asked: Callable[[Rule], bool]) -> list[tuple[Rule, tuple[Any, ...]]]:
    """The arguments of every application of some rules within a function of any outputs, at the point."""
    return [(rule, received.args) for rule, received in _applied(function, is_asked, is_run_back=False)]


def _rules(function: TorchAutodiff, scene: Scene) -> list[RulePart]:
    """Every application of every rule within a function, with what it received."""
    return [RulePart(rule, received, scene) for rule, received in _applied(function, is_by_the_user)]


def _applied(
    function: TorchAutodiff, is_asked: Callable[[Rule], bool], *, is_run_back: bool = True
) -> list[tuple[Rule, Received]]:
    """Every application of some rules; the cotangents are there if the backward is run."""
    rules = list(filter(is_asked, rules_of(function)))
    found: list[tuple[Rule, Received]] = []
    if not rules:
        return []
    with contextlib.ExitStack() as stack:
        for rule in rules:
            stack.enter_context(_watched(rule, found))
        value, leaves = _record(function)
        differentiated = differentiated_by(value, leaves)
        for _, received in found:
            received.settle(differentiated)
        if is_run_back:
            _run_backward(value, leaves)
    return found


@contextlib.contextmanager
def _watched(rule: Rule, found: list[tuple[Rule, Received]]) -> Generator[None]:
    """Keep what every application of a rule receives, forward and backward.

    `forward` and `backward` are watched, not `apply`: that is often bound to a name of its own.
    """
    calls: dict[Any, Received] = {}
    has_context = rule.setup_context is torch.autograd.Function.setup_context
    backward_name = "backward" if rule.backward is not torch.autograd.Function.backward else "vjp"
    original: dict[str, Any] = {name: getattr(rule, name) for name in ("forward", backward_name)}
    if not has_context:
        original["setup_context"] = rule.setup_context
    own = {name: rule.__dict__[name] for name in original if name in rule.__dict__}
    pending: list[Received] = []

    def keep(args: tuple[Any, ...]) -> Received:
        # A custom operator that takes lists of tensors gets them one by one, and how to put them together.
        if hasattr(args[-1] if args else None, "input_spec"):
            args = tuple(tree_unflatten(list(args[:-1]), args[-1].input_spec))
        received = Received.of(args, {}, State({}, within=True))
        found.append((rule, received))
        return received

    @ft.wraps(original["forward"])
    def forward(*args: Any, **kwargs: Any) -> Any:
        if has_context:
            calls[args[0]] = keep(args[1:])
        else:
            pending.append(keep(args))
        return original["forward"](*args, **kwargs)

    def setup_context(ctx: Any, inputs: Any, output: Any) -> Any:
        calls[ctx] = pending.pop()
        return original["setup_context"](ctx, inputs, output)

    @ft.wraps(original[backward_name])
    def backward(ctx: Any, *cotangents: Any) -> Any:
        if ctx in calls:
            floating = [u for u in cotangents if u is None or is_floating(u)]
            calls[ctx].cotangents = [None if u is None else u.detach().clone() for u in floating]
        return original[backward_name](ctx, *cotangents)

    replaced: dict[str, Any] = {"forward": forward, backward_name: backward}
    if not has_context:
        replaced["setup_context"] = setup_context

    def put_back() -> None:
        for name in replaced:
            if name in own:
                setattr(rule, name, own[name])
            elif name in rule.__dict__:
                delattr(rule, name)

    with undone(put_back):
        for name, function in replaced.items():
            setattr(rule, name, staticmethod(function))
        yield


def _record(function: TorchAutodiff) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The value of a real function, or all that it returns times random cotangents, and the leaves of the graph."""
    with torch.enable_grad():
        leaves = tuple(leaf.detach().clone().requires_grad_() for leaf in function.arguments[: function.count])
        values = function.outputs(leaves, private(function.arguments[function.count :]))
        if function.is_scalar:
            return values[0].sum(), leaves
        generator = np.random.default_rng(SEED)
        return inner_product([normal_like(value, generator) for value in values], values), leaves


def _run_backward(value: Tensor, leaves: tuple[Tensor, ...]) -> None:
    """Run the backward for those who watch it; a value that has lost its graph has none, nor may a rule."""
    if value.requires_grad:
        with contextlib.suppress(NotImplementedError):
            torch.autograd.grad(value, leaves, allow_unused=True)
