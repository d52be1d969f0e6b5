"""Tensors of the caller's that a function may write into: what they are now, and how that is put back."""

# torch's own annotations are partial, and much of this is private there:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradproof._backends import _torch
from gradproof._backends._torch_room import has_room
from gradproof._base._errors import FunctionError
from gradproof._base._pieces import LARGE

Tensor = torch.Tensor


class KeptTensor:
    """A tensor as it is now: its memory, its version, and, where there is room, its bits.

    Attributes
    ----------
    path : str
    tensor : Tensor
    copy : Tensor or None
        None where nobody has copied it, yet: what is written then cannot be put back, but `note` lets it be seen.
    """

    def __init__(self, path: str, tensor: Tensor) -> None:
        self.path = path
        self.tensor = tensor
        self.copy: Tensor | None = None
        # The same memory, with a version of its own: what is put back must not count as a change.
        self._memory = tensor.data
        self._version = _version(tensor)
        self._is_leaf = tensor.is_leaf
        self._sum: int | None = None

    def note(self) -> None:
        """Sum up its bits, in place of a copy."""
        self._sum = _sum_of_bits(self.tensor)

    def keep(self) -> None:
        """Copy its bits, unless somebody has."""
        if self.copy is None:
            self.copy = self.tensor.detach().clone()

    def has_changed(self, *, at_all: bool = True) -> bool:
        """Whether it is not what it was; with `at_all` False as far as its version tells, which `.data` evades."""
        if not self._has_its_memory() or self.tensor.is_leaf is not self._is_leaf:
            return True
        is_counted = self._version is not None and _version(self.tensor) == self._version
        if is_counted and not at_all:
            return False
        if self.copy is not None:
            return not _torch.same_bits(self.tensor, self.copy)
        if at_all and self._sum is not None:
            return _sum_of_bits(self.tensor) != self._sum
        return not is_counted and self._version is not None

    @property
    def is_lost(self) -> bool:
        """Whether it has been written into before anybody had copied it."""
        return self.copy is None and self._has_its_memory() and self.has_changed()

    def put_back(self) -> None:
        """Give it back its memory, its bits and its version."""
        if self._is_leaf and not self.tensor.is_leaf:
            self.tensor.detach_()  # what was written into it is part of a graph
        if not self._has_its_memory():
            self.tensor.data = self._memory
        if self.copy is None:
            return
        if not _torch.same_bits(self.tensor, self.copy):
            # A tensor of inference mode can be written to within that mode only.
            with torch.inference_mode() if self.tensor.is_inference() else contextlib.nullcontext():
                self._memory.copy_(self.copy)
        # (By itself, as Ctrl-C may have come between the two.)
        if self._version is not None and _version(self.tensor) != self._version:
            torch._C._autograd._unsafe_set_version_counter((self.tensor,), (self._version,))

    def _has_its_memory(self) -> bool:
        tensor, memory = self.tensor, self._memory
        if tensor.dtype != memory.dtype or tensor.device != memory.device or tensor.layout is not memory.layout:
            return False
        try:
            return tensor.layout is not torch.strided or tensor.is_set_to(memory)
        except (RuntimeError, NotImplementedError):
            return True  # a kind of tensor for which nobody can tell


class KeptTensors:
    """Several tensors, with copies of all as long as these are small together, or there is room.

    Without copies a tensor is copied where torch is about to write into it in the first call of f. A later write is an
    error at once, and one that nobody can see coming, of NumPy or a kernel, is told by the sum of the bits.
    """

    def __init__(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        found: dict[int, KeptTensor] = {}
        for path, tensor in tensors:
            # Kinds of tensors without memory, or with that of others, are left alone.
            if id(tensor) not in found and not (tensor.is_meta or tensor.is_nested):
                with contextlib.suppress(RuntimeError, NotImplementedError):
                    found[id(tensor)] = KeptTensor(path, tensor)
        self._all = list(found.values())
        self._written: dict[int, KeptTensor] = {}
        is_small = sum(kept.tensor.numel() for kept in self._all) < LARGE
        has_copies = is_small or has_room(kept.tensor for kept in self._all)
        for kept in self._all:
            (kept.keep if has_copies else kept.note)()

    @property
    def has_copies(self) -> bool:
        """Whether there is a copy of each."""
        return all(kept.copy is not None for kept in self._all)

    def watch(self) -> contextlib.AbstractContextManager[Any]:
        """Within this context, those that have no copy get one before torch writes into them."""
        if self.has_copies:
            return contextlib.nullcontext()
        return _BeforeWrites(self._all)

    def learn(self) -> None:
        """See which have been changed: `rewind` puts these back from now on."""
        self._written |= {id(kept): kept for kept in self._all if id(kept) not in self._written and kept.has_changed()}

    def rewind(self) -> None:
        """Put back those that are known to be written into, or that have been since the last time.

        Raises
        ------
        FunctionError
            If there is no copy of one of these.
        """
        for kept in self._all:
            if id(kept) in self._written or not kept.has_changed(at_all=False):
                continue
            if kept.is_lost:
                self._written[id(kept)] = kept
                raise FunctionError(
                    f"f has written into `{kept.path}`, but not in its first call, and there is no memory for copies "
                    f"of tensors of this size: `{kept.path}` is not what it was. Work on a copy of it in f."
                )
            self._written[id(kept)] = kept
        for kept in self._written.values():
            kept.put_back()

    def restore(self) -> None:
        """Put back all that have changed."""
        for kept in self._all:
            kept.put_back()

    @property
    def written(self) -> list[str]:
        """Paths of those that have been changed: to the bit where there is a copy, also past what torch counts."""
        return [kept.path for kept in self._all if id(kept) in self._written or kept.has_changed()]

    @property
    def lost(self) -> list[str]:
        """Paths of those that have been changed and cannot be put back."""
        return [kept.path for kept in self._all if kept.is_lost]


class _BeforeWrites(TorchDispatchMode):
    """Keeps tensors before an operation writes into their memory."""

    def __init__(self, all: Sequence[KeptTensor]) -> None:
        super().__init__()
        self._by_memory: dict[int, list[KeptTensor]] = {}
        for kept in all:
            if kept.tensor.layout is torch.strided:
                self._by_memory.setdefault(kept.tensor.untyped_storage()._cdata, []).append(kept)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            given = args[i] if i < len(args) else kwargs.get(argument.name)
            for tensor in given if isinstance(given, (list, tuple)) else [given]:
                if isinstance(tensor, Tensor) and tensor.layout is torch.strided:
                    for kept in self._by_memory.get(tensor.untyped_storage()._cdata, ()):
                        kept.keep()
        return func(*args, **kwargs)


def _sum_of_bits(tensor: Tensor) -> int | None:
    """The sum of a tensor's bits, taken for integers; None where it has none that can be read so."""
    if tensor.layout is not torch.strided:
        return None
    with contextlib.suppress(RuntimeError, NotImplementedError), torch.no_grad():
        return int(_torch.as_integers(tensor).sum(dtype=torch.int64))
    return None


def _version(tensor: Tensor) -> int | None:
    """How often it has been written to; None where torch does not count."""
    return None if tensor.is_inference() else tensor._version
