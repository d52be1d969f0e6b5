"""The parts of a PyTorch model as functions of their own: what each call of a module or rule really received."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import dataclasses
import functools as ft
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import optree
import torch

from gradproof._backends._torch_autodiff import TorchAutodiff, inner_product, is_floating, names_of, normal_like
from gradproof._backends._torch_state import State, path_of, undone
from gradproof._base import _tree

Tensor = torch.Tensor
Module = torch.nn.Module
Rule = type[torch.autograd.Function]


@dataclasses.dataclass
class _Call:
    """One call of a module, in the order of execution, and the one that it was made in (-1: the loss)."""

    path: str
    module: Module
    parent: int


@dataclasses.dataclass
class _Received:
    """What a call received: its arguments, the state of the moment, and the cotangents of its floating outputs."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: State
    cotangents: list[Tensor | None] = dataclasses.field(default_factory=list["Tensor | None"])

    def watch(self, returned: Any) -> None:
        """Keep the cotangents that will come for these outputs."""
        outputs = _floating(returned)
        self.cotangents = [None] * len(outputs)
        for i, tensor in enumerate(outputs):
            if tensor.requires_grad:
                tensor.register_hook(ft.partial(self._keep, i))

    def _keep(self, i: int, cotangent: Tensor | None) -> None:
        if cotangent is not None:
            self.cotangents[i] = cotangent.detach().clone()


class Scene:
    """The whole function, which can be run again while its modules are watched.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        By name.
    function : TorchAutodiff
        Of one real output.
    """

    def __init__(self, modules: Mapping[str, Module], function: TorchAutodiff) -> None:
        self._function = function
        self._paths: dict[Module, str] = {}
        for root, module in modules.items():
            for name, part in module.named_modules():
                self._paths.setdefault(part, root + path_of(module, name))
        self._calls: list[_Call] | None = None

    @property
    def function(self) -> TorchAutodiff:
        """The whole function."""
        return self._function

    def calls(self, parent: int) -> list[tuple[int, _Call, _Received]]:
        """The calls made directly in another one, with what they received."""
        if self._calls is None:
            self._calls, _ = self._run(())
        numbers = [i for i, call in enumerate(self._calls) if call.parent == parent]
        if not numbers:
            return []
        calls, received = self._run(numbers)
        return [(i, calls[i], received[i]) for i in numbers if i in received]

    def _run(self, numbers: Sequence[int]) -> tuple[list[_Call], dict[int, _Received]]:
        """Run everything forward and backward at the point; hooks are there for that time only."""
        calls: list[_Call] = []
        received: dict[int, _Received] = {}
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
                    received[number] = _Received(_private(args), _private(kwargs), state)

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
            _run_backward(value, leaves)
        return calls, received


class LossPart:
    """The whole, which is known to be wrong."""

    def __init__(self, scene: Scene, name: str) -> None:
        self._scene = scene
        self.path = name
        self.owner: object = scene

    def function(self, *, received: bool) -> TorchAutodiff:
        """The whole."""
        return self._scene.function

    def parts(self) -> list[ModulePart]:
        """The modules that it calls."""
        return [ModulePart(self._scene, *found) for found in self._scene.calls(-1)]

    def rules(self) -> list[RulePart]:
        """The rules applied within it."""
        return _rules(self._scene.function)


class ModulePart:
    """One call of a module."""

    def __init__(self, scene: Scene, number: int, call: _Call, received: _Received) -> None:
        self._scene = scene
        self._number = number
        self._call = call
        self._received = received
        self.path = call.path
        self.owner: object = call.module

    def function(self, *, received: bool) -> TorchAutodiff | None:
        """Its outputs times the cotangents that they received, or times random ones: of inputs and parameters."""
        module = self._call.module
        names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        parameters = [module.get_parameter(name).detach().clone().requires_grad_() for name in names]
        paths = [self.path + path_of(module, name) for name in names]

        def call(parameters: Sequence[Tensor], args: Any, kwargs: Any) -> Any:
            return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), args, kwargs)

        names_of_inputs = names_of(module, len(self._received.args))
        return _projected(call, parameters, paths, self._received, names_of_inputs, received=received)

    def parts(self) -> list[ModulePart]:
        """The modules that it calls."""
        return [ModulePart(self._scene, *found) for found in self._scene.calls(self._number)]

    def rules(self) -> list[RulePart]:
        """The rules applied within it."""
        function = self.function(received=True) or self.function(received=False)
        return [] if function is None else _rules(function)


class RulePart:
    """One application of an `autograd.Function`."""

    def __init__(self, rule: Rule, received: _Received) -> None:
        self._rule = rule
        self._received = received
        self.path = _rule_name(rule)
        self.owner: object = rule

    def function(self, *, received: bool) -> TorchAutodiff | None:
        """Its outputs times the cotangents that they received, or times random ones."""

        def call(_: Sequence[Tensor], args: Any, __: Any) -> Any:
            return self._rule.apply(*args)

        names = names_of(self._rule, len(self._received.args))
        return _projected(call, [], [], self._received, names, received=received)

    def parts(self) -> list[RulePart]:
        """A rule is the end of the search."""
        return []

    rules = parts


def _projected(
    call: Callable[..., Any],
    parameters: list[Tensor],
    paths: Sequence[str],
    given: _Received,
    names: Sequence[str],
    *,
    received: bool,
) -> TorchAutodiff | None:
    """Outputs times cotangents as a real function of parameters and of those inputs that took part in the graph."""
    args, kwargs = given.args, given.kwargs
    inputs = _tree.flatten((args, kwargs), ("args", "kwargs"), none_is_leaf=True).leaves
    if not parameters and not any(is_floating(leaf.value) and leaf.value.requires_grad for leaf in inputs):
        return None
    shown = [
        f"{names[int(leaf.keys[1])]}{leaf.path[len(f'args[{leaf.keys[1]}]') :]}"  # pyright: ignore[reportArgumentType]
        if leaf.keys[0] == 0
        else leaf.path
        for leaf in inputs
    ]

    def outputs(parameters: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        return _floating(call(parameters, args, kwargs))

    def times(*arguments: Any) -> Tensor:
        pairs = [(u, y) for u, y in zip(weights, outputs(*arguments), strict=True) if u is not None]
        return inner_product([u for u, _ in pairs], [y for _, y in pairs])

    weights = given.cotangents
    if not received:
        given.state.rewind()
        with torch.no_grad():
            templates = outputs([tensor.detach() for tensor in parameters], args, kwargs)
        generator = np.random.default_rng(7)
        weights = [normal_like(tensor, generator) for tensor in templates]
    if not any(u is not None and bool(u.any()) for u in weights):
        return None
    made = TorchAutodiff(times, (parameters, args, kwargs), None, names=[*paths, *shown], state=given.state)
    made.of_whole = frozenset(paths)
    return made


def applications(function: TorchAutodiff, is_asked: Callable[[Rule], bool]) -> list[tuple[Rule, tuple[Any, ...]]]:
    """The arguments of every application of some rules within a function of any outputs, at the point."""
    return [(rule, received.args) for rule, received in _applied(function, is_asked)]


def _rules(function: TorchAutodiff) -> list[RulePart]:
    """Every application of every rule within a function, with what it received."""
    return [RulePart(rule, received) for rule, received in _applied(function, lambda _: True)]


def _applied(function: TorchAutodiff, is_asked: Callable[[Rule], bool]) -> list[tuple[Rule, _Received]]:
    value, _ = _record(function)
    found: list[tuple[Rule, _Received]] = []
    rules = list(filter(is_asked, _rules_in_graph(value)))
    if not rules:
        return []
    with contextlib.ExitStack() as stack:
        for rule in rules:
            stack.enter_context(_watched(rule, found))
        value, leaves = _record(function)
        _run_backward(value, leaves)
    return found


def _rules_in_graph(value: Tensor) -> list[Rule]:
    """The classes of all hand-written rules that lead to a tensor."""
    found: dict[Rule, None] = {}
    seen: set[Any] = set()
    todo: list[Any] = [value.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            found.setdefault(cast("Any", node)._forward_cls)
        todo += [parent for parent, _ in node.next_functions]
    return list(found)


@contextlib.contextmanager
def _watched(rule: Rule, found: list[tuple[Rule, _Received]]) -> Generator[None]:
    """Keep what every application of a rule receives, forward and backward.

    `forward` and `backward` are watched, not `apply`: that is often bound to a name of its own.
    """
    calls: dict[Any, _Received] = {}
    has_context = rule.setup_context is torch.autograd.Function.setup_context
    backward_name = "backward" if rule.backward is not torch.autograd.Function.backward else "vjp"
    original: dict[str, Any] = {name: getattr(rule, name) for name in ("forward", backward_name)}
    if not has_context:
        original["setup_context"] = rule.setup_context
    own = {name: rule.__dict__[name] for name in original if name in rule.__dict__}
    pending: list[_Received] = []

    def keep(args: tuple[Any, ...]) -> _Received:
        received = _Received(_private(args), {}, State({}, within=True))
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
    """The value of a real function, or a sum of all that it returns, recorded, and the private leaves of the graph."""
    with torch.enable_grad():
        leaves = tuple(leaf.detach().clone().requires_grad_() for leaf in function.arguments[: function.count])
        values = function.outputs(leaves, _private(function.arguments[function.count :]))
        sums = [value.real.sum() if value.is_complex() else value.sum() for value in values]
        return torch.stack([one.double() for one in sums]).sum() if len(sums) > 1 else sums[0], leaves


def _run_backward(value: Tensor, leaves: tuple[Tensor, ...]) -> None:
    """Run the backward for those who watch it; a value that has lost its graph has none."""
    if value.requires_grad:
        torch.autograd.grad(value, leaves, allow_unused=True)


def _private(tree: Any) -> Any:
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


def _rule_name(rule: Rule) -> str:
    """The name of the class, or that of the custom operator that it was made for."""
    return rule.__name__.removeprefix("GeneratedBackwardFor_")
