"""Sparse inputs as torch's gradcheck takes them: by their stored values, or as dense tensors."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gradproof._backends import _torch_upcast
from gradproof._backends._torch_autodiff import Packer, TorchAutodiff, pull
from gradproof._backends._torch_upcast import Torch
from gradproof.compat._torch_question import SPARSE, Tensor

Function = Callable[..., Any]


def autodiff(
    func: Function,
    inputs: tuple[Any, ...],
    *,
    masked: bool,
    cotangents: tuple[Tensor, ...] | None = None,
    is_gappy: bool = False,
) -> Torch:
    """Look at a function as torch does.

    Parameters
    ----------
    func : callable
    inputs : tuple
    masked : bool
        Whether the entries that a sparse input does not store stay as they are. Otherwise they are differentiated,
        too: what torch says of them, at the pattern of the input, is proved against the tensor that stores them all.
    cotangents, is_gappy
        As for `_torch_autodiff.Derivative`. With cotangents the derivative is differentiated again, and then a sparse
        input stores all its entries in the claim, too.
    """
    patterns = {
        i: Packer(x) for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad and x.layout in SPARSE
    }
    if masked or not patterns:
        return _torch_upcast.autodiff(func, inputs, None, cotangents=cotangents, is_gappy=is_gappy)
    dense = tuple(x.detach().to_dense().requires_grad_() if i in patterns else x for i, x in enumerate(inputs))
    full = {i: Packer(_filled(inputs[i], dense[i])) for i in patterns}
    twice = cotangents is not None

    def whole(*inputs: Any) -> Any:
        return func(*[full[i](full[i].gather(x), twice=twice) if i in full else x for i, x in enumerate(inputs)])

    whole.__name__ = whole.__qualname__ = func.__name__
    setattr(whole, "__wrapped__", func)  # noqa: B010  (names of arguments are read from it)
    seen = _Densified(whole, dense, func, patterns) if cotangents is None else TorchAutodiff(whole, dense, None)
    return Torch(seen, None, cotangents=cotangents, is_gappy=is_gappy)


def _filled(given: Tensor, dense: Tensor) -> Tensor:
    """A sparse tensor like another, which stores all entries."""
    ones = torch.ones_like(dense)
    if given.layout in (torch.sparse_bsr, torch.sparse_bsc):
        return ones.to_sparse(layout=given.layout, blocksize=tuple(given.values().shape[-2:]))
    return ones.to_sparse(layout=given.layout)


class _Densified(TorchAutodiff):
    """A function of dense tensors, whose reverse mode is that of its sparse ones at their own pattern."""

    def __init__(self, whole: Function, dense: tuple[Any, ...], func: Function, patterns: dict[int, Packer]) -> None:
        self._func = func
        self._patterns = patterns
        super().__init__(whole, dense, None)

    def vjp(self, cotangent: Any, *arguments: Any) -> tuple[Tensor, ...]:
        """J^T u in reverse mode, made dense."""
        with torch.enable_grad():
            leaves: list[Tensor] = []
            for place, leaf in zip(self._slots, arguments[: self.count], strict=False):
                pattern = self._patterns.get(place)
                own = leaf.detach() if pattern is None else pattern.sparse(pattern.gather(leaf.detach()))
                leaves.append(own.requires_grad_())
            self.state.rewind()
            returned = self._func(*self._structure.unflatten(self.ordered([*leaves, *arguments[self.count :]])))
            us = cotangent if isinstance(cotangent, (tuple, list)) else [cotangent]
            found = pull(self._floating(returned), leaves, us)
        return tuple(g.to_dense() if g.layout is not torch.strided else g for g in found)
