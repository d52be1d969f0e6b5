"""The backward of a hand-written rule, with something around every call of it."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import functools as ft
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import optree
import torch

from gradproof._backends._torch_graph import Rule
from gradproof._backends._torch_state import undone
from gradproof._base import _tree

Tensor = torch.Tensor
# ``around(backward, ctx, *cotangents)`` calls ``backward(ctx, *cotangents)``, and returns what that does.
Around = Callable[..., Any]


@contextlib.contextmanager
def around_backward(rule: Rule, around: Around) -> Generator[None]:
    """Within this context `around` stands in place of the backward of a rule."""
    name = "backward" if rule.backward is not torch.autograd.Function.backward else "vjp"
    original: Any = getattr(rule, name)
    own: Any = rule.__dict__.get(name)

    @ft.wraps(original)
    def backward(ctx: Any, *cotangents: Any) -> Any:
        return around(original, ctx, *cotangents)

    def put_back() -> None:
        if own is not None:
            setattr(rule, name, own)
        elif name in rule.__dict__:
            delattr(rule, name)

    with undone(put_back):
        setattr(rule, name, staticmethod(backward))
        yield


def guarded(backward: Callable[..., Any], ctx: Any, *cotangents: Any) -> Any:
    """Call a backward so that the contracts about memory cannot be broken: only its formula is left to be wrong.

    It gets contiguous cotangents of its own, and what was saved is put back afterwards.
    """
    fresh = [u.clone(memory_format=torch.contiguous_format) if _is_plain(u) else u for u in cotangents]
    kept = [(tensor, tensor.detach().clone()) for _, tensor in saved_by(ctx) if _is_plain(tensor)]
    memory = {tensor.untyped_storage().data_ptr() for tensor, _ in kept}
    try:
        returned = backward(ctx, *fresh)
        # (A gradient that was written into what was saved would be put back with it.)
        return optree.tree_map(ft.partial(_apart_from, memory), returned, none_is_leaf=True)
    finally:
        for tensor, was in kept:
            if not torch.equal(tensor.detach(), was):
                tensor.data.copy_(was)


def saved_by(ctx: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a rule has kept for its backward, each with a name.

    Those of `save_for_backward`, and those in attributes of its context, in lists and dictionaries too.
    """
    try:
        tensors: Sequence[Any] = ctx.saved_tensors
    except (RuntimeError, AttributeError):
        tensors = ()  # freed, or written into, of which torch tells by itself
    for i, tensor in enumerate(tensors):
        if isinstance(tensor, Tensor):
            yield f"ctx.saved_tensors[{i}]", tensor
    for name, value in list(getattr(ctx, "__dict__", {}).items()):
        if isinstance(value, Tensor):
            yield f"ctx.{name}", value
        elif isinstance(value, (list, tuple, dict)):
            for leaf in _tree.flatten((value,), (f"ctx.{name}",), none_is_leaf=True).leaves:
                if isinstance(leaf.value, Tensor):
                    yield leaf.path, leaf.value


def _apart_from(memory: set[int], value: Any) -> Any:
    """A tensor in memory of its own, if it is in some of this memory."""
    is_shared = _is_plain(value) and value.untyped_storage().data_ptr() in memory
    return value.clone() if is_shared else value


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor with memory of its own, and none that stands for others within a transform."""
    is_tensor = isinstance(value, Tensor) and value.layout is torch.strided
    return is_tensor and not torch._C._functorch.is_functorch_wrapped_tensor(value)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
