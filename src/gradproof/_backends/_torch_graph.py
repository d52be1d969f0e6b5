"""What a graph that PyTorch has recorded holds: rules written by hand, and the leaves that a node leads to."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeGuard, cast

import torch
from torch._library.custom_ops import CustomOpDef
from torch._ops import OpOverload, OpOverloadPacket

Tensor = torch.Tensor
Rule = type[torch.autograd.Function]

# What torch calls the rule that it makes for a custom operator.
_GENERATED = "GeneratedBackwardFor_"
# What it calls the node of a rule in C++.
_EXTENSION = "torch::autograd::CppNode"


def is_rule(f: Any) -> TypeGuard[Rule]:
    """Whether f is a subclass of `torch.autograd.Function`."""
    return isinstance(f, type) and issubclass(f, torch.autograd.Function)


def is_rule_itself(f: Any) -> bool:
    """Whether f is nothing but a rule or a custom operator, under whatever name."""
    while hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    operators = CustomOpDef, OpOverload, OpOverloadPacket
    return is_rule(f) or is_rule(getattr(f, "__self__", None)) or isinstance(f, operators)


def rules_in(tensors: Iterable[Tensor]) -> list[Rule]:
    """The classes of all hand-written rules that led to some tensors."""
    return list(dict.fromkeys(rule for node in nodes_from(tensors) if (rule := rule_of(node)) is not None))


def only_rule(tensors: Sequence[Tensor]) -> Rule | None:
    """The rule that has made some tensors from leaves, with nothing before or after it; None where there is more."""
    nodes = {tensor.grad_fn for tensor in tensors}
    node: Any = nodes.pop() if len(nodes) == 1 else None
    rule = rule_of(node)
    is_first = rule is not None and all(hasattr(parent, "variable") for parent, _ in node.next_functions if parent)
    return rule if is_first else None


def applies_extension(tensors: Iterable[Tensor]) -> bool:
    """Whether a rule that a C++ extension has written led to some tensors."""
    return any(node.name().startswith(_EXTENSION) for node in nodes_from(tensors))


def rule_of(node: Any) -> Rule | None:
    """The class that was applied where a node is one of a hand-written rule."""
    return cast("Any", node)._forward_cls if isinstance(node, torch.autograd.function.BackwardCFunction) else None


def is_by_the_user(rule: Rule) -> bool:
    """Whether a rule is not torch's (of a checkpoint or a compiled function, say) or gradproof's own."""
    return not rule.__module__.startswith(("torch.", "gradproof.")) or is_of_operator(rule)


def rule_name(rule: Rule) -> str:
    """The name of the class, or that of the custom operator that it was made for."""
    operator = operator_of(rule)
    return rule.__name__.removeprefix(_GENERATED) if operator is None else str(operator._schema.name)


def is_of_operator(rule: Rule) -> bool:
    """Whether torch has made a rule for a custom operator, from what `register_autograd` was given."""
    return rule.__name__.startswith(_GENERATED)


def operator_of(rule: Rule) -> Any | None:
    """The custom operator that torch has made a rule for; None where it is another one."""
    if not is_of_operator(rule):
        return None
    forward: Any = rule.forward
    while forward is not None:
        held = dict(zip(forward.__code__.co_freevars, forward.__closure__ or (), strict=True))
        if "op" in held:
            return held["op"].cell_contents
        # (Of an operator that takes lists of tensors it is another one around that.)
        forward = held["orig_forward"].cell_contents if "orig_forward" in held else None
    return None


def nodes_from(tensors: Iterable[Tensor]) -> Iterator[Any]:
    """The nodes of the graph that led to some tensors, each once."""
    return _walk([tensor.grad_fn for tensor in tensors])


def leaves_behind(nodes: Iterable[Any], leaves: Sequence[Tensor]) -> frozenset[int]:
    """Which leaves have gradients that pass through one of some nodes."""
    found = {id(variable) for node in _walk(nodes) if (variable := getattr(node, "variable", None)) is not None}
    return frozenset(i for i, leaf in enumerate(leaves) if id(leaf) in found)


def differentiated_by(value: Tensor, leaves: Sequence[Tensor]) -> set[Any]:
    """The nodes that led to a value and lead to one of some leaves, and these leaves: what gradients for them pass."""
    after: dict[Any, list[Any]] = {}
    todo: list[Any] = []
    for node in nodes_from([value]):
        for parent, _ in node.next_functions:
            after.setdefault(parent, []).append(node)
        if any(getattr(node, "variable", None) is leaf for leaf in leaves):
            todo.append(node)
    found: set[Any] = set(leaves)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += after.get(node, [])
    return found


def _walk(starts: Iterable[Any]) -> Iterator[Any]:
    seen: set[Any] = set()
    todo = list(starts)
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        todo += [parent for parent, _ in node.next_functions]
