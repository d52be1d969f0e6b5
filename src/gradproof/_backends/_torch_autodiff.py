"""What PyTorch's own autodiff claims about a function: reverse and forward mode, and their compositions."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import copy
import functools as ft
import importlib
import math
import re
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad

from gradproof import _backends, _tree
from gradproof._away import is_from_handler
from gradproof._backends._torch_rows import fill_rows, out_of_memory
from gradproof._backends._torch_state import State, find_modules
from gradproof._errors import FunctionError, NotAvailableError, UsageError
from gradproof._names import argument_names

Tensor = torch.Tensor
Tensors = tuple[Tensor, ...]

# What torch says where it has no rule for a mode, rather than a wrong one.
_NOT_THERE = re.compile(
    r"not implemented|does not support it|not supported|once_differentiable|setup_context|"
    r"must be set to True to support|You must either override|does not have vmap support|implement the jvp"
)
# What torch says where f itself differentiates, which it cannot do while no graph is recorded.
_NO_GRAPH = re.compile(r"does not require grad|not have been used in the graph")


class TorchAutodiff:
    """A function seen as one of its differentiable tensors alone, and what torch says about its derivative.

    Parameters
    ----------
    f : callable, nn.Module, or subclass of autograd.Function
    args : tuple or any tree
        As for `gradproof.check`.
    wrt : int, tuple of int, or None
        Positions of the arguments whose floating tensors are differentiated; None takes the tensors that require grad,
        or all floating ones if none does.
    names : sequence of str, optional
        Of the leaves of `args`, as Python source; made from f's own argument names by default.
    state : State, optional
        What is put back before every evaluation; the modules that f uses, as far as they can be found, by default.

    Attributes
    ----------
    arguments : tuple
        The differentiated tensors, then every other leaf of `args`; what `value`, `vjp` and `jvp` are called with. A
        sparse tensor is differentiated by the values that it stores.
    names : tuple of str
        The same as Python source.
    roots : list of str
        The names of the members of `args`.
    count : int
        How many are differentiated.
    is_scalar : bool
        Whether f returns one real number.
    left_out : tuple of str
        Outputs that torch says have no derivative, while others have one: `ctx.mark_non_differentiable`, or detached.
    undefined : set of str
        Differentiated tensors for which reverse mode gave None: nothing of the graph leads to them.
    updated, spoilt : list of str
        Buffers that f itself changes, and those that its backward changes.
    """

    def __init__(
        self,
        f: Any,
        args: Any,
        wrt: int | tuple[int, ...] | None,
        *,
        names: Sequence[str] | None = None,
        state: State | None = None,
    ) -> None:
        positional: tuple[Any, ...] = args if type(args) is tuple else (args,)
        self.roots = roots = names_of(f, len(positional))
        self._f: Callable[..., Any] = f.apply if _is_rule(f) else f
        flat = _tree.flatten(positional, roots, none_is_leaf=True)
        chosen = _chosen([(int(leaf.keys[0]), leaf.value) for leaf in flat.leaves], wrt, len(positional))  # pyright: ignore[reportArgumentType]
        if not chosen:
            raise UsageError(f"nothing to differentiate in `{', '.join(roots)}`: there is no floating tensor in it.")
        order = chosen + [i for i in range(len(flat.leaves)) if i not in set(chosen)]
        self._structure = flat.structure
        self._slots = [flat.leaves[i].slot for i in order]
        self.count = len(chosen)
        self._packers = [_packer(flat.leaves[i].value) for i in chosen]
        self.arguments: tuple[Any, ...] = (
            *(_entries(flat.leaves[i].value) for i in chosen),
            *(flat.leaves[i].value for i in order[self.count :]),
        )
        self.names = tuple(
            (flat.leaves[i].path if names is None else names[i])
            + (".values()" if k < self.count and self._packers[k] else "")
            for k, i in enumerate(order)
        )
        self._is_tuple = type(args) is tuple
        self.state = State(find_modules(f, *positional)) if state is None else state
        self.undefined: set[str] = set()
        self.updated: list[str] = []
        self.spoilt: list[str] = []
        self._records = False
        self._is_flat = [leaf.keys for leaf in flat.leaves] == [(i,) for i in range(len(positional))]
        self._kept: list[int] | None = None
        self.is_scalar = False
        self.left_out: tuple[str, ...] = ()
        self._learn()

    def value(self, *arguments: Any) -> Any:
        """What f returns of floating tensors: alone if it is one, a real number of shape () where f is scalar."""
        if self._records:
            with torch.enable_grad():
                ready = [leaf.detach().requires_grad_() for leaf in arguments[: self.count]]
                return _detached(self._pick(self._call([*ready, *arguments[self.count :]])))
        with torch.no_grad():
            return self._pick(self._call(arguments))

    def many(self, leaves: Sequence[Tensor]) -> Any:
        """`value` at many points by `torch.func.vmap`, or None where that refuses f.

        Every differentiated tensor has a leading axis of k points, and so has every output; all other arguments are as
        they were given. Random numbers are the same at all points.
        """
        if self._records or any(self._packers):
            return None
        others = self._others()
        # What is the same at all points need not be computed for each (see `_torch.stacked`).
        moves = [len(leaf) == 1 or leaf.stride(0) > 0 for leaf in leaves]
        if not any(moves):
            return None
        leaves = [leaf if moving else leaf[0] for leaf, moving in zip(leaves, moves, strict=True)]
        axes = tuple(0 if moving else None for moving in moves)

        def at_one(*point: Tensor) -> Any:
            return self._pick(self._call([*point, *others]))

        try:
            with torch.no_grad(), warnings.catch_warnings(), self.state.attributes():
                # How fast torch is here is no concern of the check.
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                return torch.func.vmap(at_one, in_dims=axes, randomness="same")(*leaves)
        except Exception as error:
            if out_of_memory(error) or is_from_handler(error):
                raise
            return None

    def vjp(self, cotangent: Any, *arguments: Any) -> Tensors:
        """J^T u in reverse mode, one tensor for each differentiated one; zeros where torch returns None.

        Raises
        ------
        NotAvailableError
            If torch has no rule for it.
        """
        with torch.enable_grad(), _refusals():
            leaves = tuple(leaf.detach().requires_grad_() for leaf in arguments[: self.count])
            outputs = self.outputs(leaves, arguments[self.count :])
            cotangents = [leaf.value for leaf in _tree.flatten((cotangent,), ("u",)).leaves]
            some, theirs = _taking_part(outputs, cotangents)
            before = self.state.buffers()
            if len(some) < len(outputs):
                try:
                    return pull(some, leaves, theirs)
                except RuntimeError:
                    # The rule refuses None in place of a cotangent; with zeros it may do.
                    outputs = self.outputs(leaves, arguments[self.count :])
            gradients = pull(outputs, leaves, cotangents, undefined=self.undefined, names=self.names)
            self.spoilt += [path for path in self.state.changed(before) if path not in self.spoilt]
            return gradients

    def rows(self, *arguments: Any) -> Tensor | None:
        """The rows of J (m, n) in reverse mode from one recorded graph, as float64 on the CPU.

        A complex tensor has two rows for each entry, or two columns: all of its real part, then all of its imaginary
        part. None where the graph does not allow it.
        """
        with torch.enable_grad():
            leaves = tuple(leaf.detach().requires_grad_() for leaf in arguments[: self.count])
            outputs = self.outputs(leaves, arguments[self.count :])
            parts = [(y, factor) for y in outputs for factor in ((1.0, 1j) if y.is_complex() else (1.0,))]
            columns = sum(leaf.numel() * (2 if leaf.is_complex() else 1) for leaf in leaves)
            matrix = torch.zeros(sum(y.numel() for y, _ in parts), columns, dtype=torch.float64, device="cpu")
            first = 0
            try:
                for output, factor in parts:
                    fill_rows(matrix[first : first + output.numel()], output, leaves, factor)
                    first += output.numel()
            except RuntimeError:
                return None
            return matrix

    def jvp(self, tangents: Any, *arguments: Any) -> Any:
        """J v in forward mode, in the structure of `value`.

        Raises
        ------
        NotAvailableError
            If torch has no rule for it.
        """
        _load_forward_rules()
        with torch.no_grad(), _refusals(), forward_ad.dual_level():
            duals = tuple(
                forward_ad.make_dual(leaf.detach(), tangent)
                for leaf, tangent in zip(arguments[: self.count], tangents, strict=True)
            )
            return self._pick(self._call([*duals, *arguments[self.count :]]), _tangent)

    def vjps(self, mode: str, cotangents: Sequence[Any], *arguments: Any) -> list[Tensors]:
        """Several vjps: ``"vmap"`` runs the backward once, on a batch of cotangents, ``"compile"`` compiles f first.

        Raises
        ------
        NotAvailableError
            If torch has no rule for it, or cannot compile f.
        """
        if mode == "compile":
            compiled = self._compiled()
            return [compiled.vjp(cotangent, *arguments) for cotangent in cotangents]
        with torch.enable_grad(), _refusals():
            leaves = tuple(leaf.detach().requires_grad_() for leaf in arguments[: self.count])
            outputs = self.outputs(leaves, arguments[self.count :])
            rows = [[leaf.value for leaf in _tree.flatten((u,), ("u",)).leaves] for u in cotangents]
            together = [torch.stack(list(map(torch.as_tensor, column))) for column in zip(*rows, strict=True)]
            with warnings.catch_warnings():
                # How fast torch is here is no concern of the check.
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                found = torch.func.vmap(lambda *us: pull(outputs, leaves, us))(*together)
            return [tuple(gradient[k] for gradient in found) for k in range(len(rows))]

    def _compiled(self) -> TorchAutodiff:
        """The same function, compiled by `torch.compile` at its first call."""
        compiled = copy.copy(self)
        compiled._f = torch.compile(self._f)
        return compiled

    def outputs(self, leaves: Sequence[Tensor], others: Sequence[Any]) -> list[Tensor]:
        """All floating outputs of f, as torch records them."""
        return self._floating(self._call([*leaves, *others]))

    def argument(self, values: Sequence[Any]) -> Any:
        """Put values for all of `arguments` back into the form of `args`."""
        trees = self._structure.unflatten(self._ordered(values))
        return tuple(trees) if self._is_tuple else trees[0]

    @contextlib.contextmanager
    def at_rest(self) -> Generator[None]:
        """Leave everything besides the arguments as it was found, whatever happens."""
        try:
            yield
        finally:
            self.state.restore()

    def _learn(self) -> None:
        """Call f once, to see which of its outputs are floating and whether it differentiates within."""
        before, is_well = self.state.buffers(), False
        try:
            try:
                with torch.no_grad():
                    returned = self._call([*self.arguments[: self.count], *self._others()])
            except RuntimeError as error:
                if not _NO_GRAPH.search(str(error)):
                    raise
                self._records = True
                with torch.enable_grad():
                    ready = [leaf.detach().requires_grad_() for leaf in self.arguments[: self.count]]
                    returned = self._call([*ready, *self._others()])
            self.updated = self.state.changed(before)
            is_well = True
        except Exception as error:
            if is_from_handler(error):
                raise
            name = getattr(self._f, "__name__", type(self._f).__name__)
            raise FunctionError(f"`{name}` raised {type(error).__name__} at the point itself: {error}") from error
        finally:
            self.state.learn()
            (self.state.rewind if is_well else self.state.restore)()
        outputs = self._floating(returned)
        if len(outputs) > 1:
            outputs = self._leave_out(outputs)
        if not outputs:
            raise FunctionError(
                "f must return a floating tensor, or a tree with some in it: there is nothing to differentiate."
            )
        self.is_scalar = len(outputs) == 1 and outputs[0].numel() == 1 and not outputs[0].is_complex()

    def _others(self) -> list[Any]:
        """The arguments that are not differentiated: copies that f may write to."""
        others = self.arguments[self.count :]
        return [_backends.of(one).working_copy(one) if _backends.is_array(one) else one for one in others]

    def _leave_out(self, outputs: list[Tensor]) -> list[Tensor]:
        """Find the outputs that torch says have no derivative, unless it says so of all; return the others."""
        with torch.enable_grad():
            ready = [leaf.detach().requires_grad_() for leaf in self.arguments[: self.count]]
            returned = self._call([*ready, *self._others()])
        self.state.rewind()
        leaves = _tree.flatten((returned,), ("output",), none_is_leaf=True).leaves
        floating = [leaf for leaf in leaves if is_floating(leaf.value)]
        kept = [i for i, leaf in enumerate(floating) if leaf.value.requires_grad]
        if not kept or len(kept) == len(outputs) or len(floating) != len(outputs):
            return outputs
        self._kept = kept
        self.left_out = tuple(leaf.path for i, leaf in enumerate(floating) if i not in set(kept))
        return [outputs[i] for i in kept]

    def _call(self, arguments: Sequence[Any]) -> Any:
        self.state.rewind()
        ordered = self._ordered(arguments)
        return self._f(*(ordered if self._is_flat else self._structure.unflatten(ordered)))

    def _ordered(self, arguments: Sequence[Any]) -> list[Any]:
        ordered: list[Any] = [None] * len(self._slots)
        for k, (slot, value) in enumerate(zip(self._slots, arguments, strict=True)):
            pack = self._packers[k] if k < self.count else None
            ordered[slot] = value if pack is None else pack(value)
        return ordered

    def _floating(self, returned: Any) -> list[Tensor]:
        if type(returned) is Tensor:
            values = [returned]
        elif type(returned) in (tuple, list) and all(type(one) is Tensor for one in returned):
            values = list(returned)
        else:
            leaves = _tree.flatten((returned,), ("output",), none_is_leaf=True).leaves
            values = [leaf.value for leaf in leaves]
        found = [value for value in values if is_floating(value)]
        found = [tensor if tensor.layout is torch.strided else tensor.to_dense() for tensor in found]
        return found if self._kept is None else [found[i] for i in self._kept]

    def read(self, returned: Any) -> Any:
        """What `value` makes of a tree that f, or another function in its place, returned."""
        found = self._floating(returned)
        if len(found) != 1:
            return tuple(found)
        return found[0].reshape(()) if self.is_scalar and found[0].numel() == 1 else found[0]

    def _pick(self, returned: Any, part: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> Any:
        """The floating outputs, or a part of each."""
        found = [part(tensor) for tensor in self._floating(returned)]
        if len(found) != 1:
            return tuple(found)
        return found[0].reshape(()) if self.is_scalar else found[0]


class Derivative:
    """The derivative of a function in one mode as a function again: a random combination of all of its entries.

    For ``inner="rev"`` it is ``h(x, u) = <w, J(x)^T u>``, for ``inner="fwd"`` ``h(x, v) = <u, J(x) v>``, where w or u
    is random and `fixed`. It is real, and has the attributes of `TorchAutodiff`.

    Parameters
    ----------
    base : TorchAutodiff
    inner : {"rev", "fwd"}
    seed : int
    cotangents : sequence of tensors, optional
        The point in u for ``inner="rev"``, one for each output; those that do not require grad are constants there.
        Random ones by default.
    is_gappy : bool
        Whether f' gets cotangents that are not contiguous.
    """

    is_scalar = True
    left_out: tuple[str, ...] = ()

    def __init__(
        self,
        base: TorchAutodiff,
        inner: str,
        seed: int,
        *,
        cotangents: Sequence[Tensor] | None = None,
        is_gappy: bool = False,
    ) -> None:
        self._base = base
        self._inner = inner
        generator = np.random.default_rng((seed, 4))
        leaves: Tensors = base.arguments[: base.count]
        base.state.rewind()
        with torch.no_grad():
            outputs = [tensor.detach() for tensor in base.outputs(leaves, base.arguments[base.count :])]
        base.state.rewind()
        drawn = tuple(normal_like(tensor, generator) for tensor in outputs)
        tangents = tuple(normal_like(leaf, generator) * _size(leaf) for leaf in leaves)
        _load_forward_rules()
        second, name = (drawn if cotangents is None else tuple(cotangents), "cotangent")
        self._constants: list[Tensor | None] = [None] * len(second)
        if inner == "fwd":
            second, name = tangents, "tangent"
        elif cotangents is not None:
            self._constants = [None if u.requires_grad else u for u in second]
            second = tuple(u.detach() for u in second if u.requires_grad)
        self._is_gappy = is_gappy
        self.fixed = tangents if inner == "rev" else drawn
        self._first = len(leaves)
        self.count = len(leaves) + len(second)
        self.arguments = (*leaves, *second, *base.arguments[base.count :])
        suffixes = [f"[{i}]" if len(second) > 1 else "" for i in range(len(second))]
        self.names = (
            *base.names[: base.count],
            *(f"{name}{suffix}" for suffix in suffixes),
            *base.names[base.count :],
        )

    def value(self, *arguments: Any) -> Tensor:
        """H at the arguments."""
        with torch.enable_grad() if self._inner == "rev" else torch.no_grad(), _refusals():
            leaves, second, others = self._split(arguments)
            if self._inner == "rev":
                leaves = tuple(leaf.detach().requires_grad_() for leaf in leaves)
                second = tuple(tensor.detach() for tensor in second)
            return self._value(leaves, second, others, create_graph=False).detach()

    def vjp(self, cotangent: Any, *arguments: Any) -> Tensors:
        """The gradient of h in reverse mode, times a number."""
        with torch.enable_grad(), _refusals():
            ready = tuple(tensor.detach().requires_grad_() for tensor in arguments[: self.count])
            value = self._value(ready[: self._first], ready[self._first :], arguments[self.count :], create_graph=True)
            return pull([value], ready, [cotangent])

    def jvp(self, tangents: Any, *arguments: Any) -> Tensor:
        """The derivative of h along tangents in forward mode."""
        if self._inner == "fwd":
            return self._nested(tangents, arguments)
        with torch.enable_grad(), _refusals(), forward_ad.dual_level():
            duals = tuple(
                forward_ad.make_dual(tensor.detach().requires_grad_(), tangent)
                for tensor, tangent in zip(arguments[: self.count], tangents, strict=True)
            )
            value = self._value(duals[: self._first], duals[self._first :], arguments[self.count :], create_graph=True)
            return _tangent(value).detach()

    def _value(
        self, leaves: Sequence[Tensor], second: Sequence[Tensor], others: Sequence[Any], *, create_graph: bool
    ) -> Tensor:
        if self._inner == "rev":
            outputs = self._base.outputs(leaves, others)
            differentiated = iter(second)
            us = [next(differentiated) if u is None else u for u in self._constants]
            us = [with_gaps(u) for u in us] if self._is_gappy else us
            return inner_product(self.fixed, pull(outputs, leaves, us, create_graph=create_graph))
        with contextlib.nullcontext() if _in_dual_level() else forward_ad.dual_level():
            duals = tuple(forward_ad.make_dual(leaf, v) for leaf, v in zip(leaves, second, strict=True))
            return inner_product(self.fixed, [_tangent(output) for output in self._base.outputs(duals, others)])

    def _nested(self, tangents: Sequence[Tensor], arguments: Sequence[Any]) -> Tensor:
        """Forward over forward: `torch.func.jvp` twice, because dual levels do not nest."""
        others = arguments[self.count :]

        def first(*tensors: Tensor) -> Tensor:
            leaves, second = tensors[: self._first], tensors[self._first :]
            along: Any = torch.func.jvp(lambda *x: tuple(self._base.outputs(x, others)), leaves, second)  # pyright: ignore[reportUnknownLambdaType]
            return inner_product(self.fixed, along[1])

        with torch.no_grad(), _refusals():
            along: Any = torch.func.jvp(first, tuple(arguments[: self.count]), tuple(tangents))
            return along[1]

    def _split(self, arguments: Sequence[Any]) -> tuple[Tensors, Tensors, Sequence[Any]]:
        return tuple(arguments[: self._first]), tuple(arguments[self._first : self.count]), arguments[self.count :]


def _taking_part(outputs: list[Tensor], cotangents: list[Any]) -> tuple[list[Tensor], list[Any]]:
    """Leave out the outputs whose cotangent is zero, as those that a loss does not use: their rule gets None for it."""
    used = [k for k, u in enumerate(cotangents) if len(outputs) == 1 or bool(torch.as_tensor(u).any())]
    if not used:
        return outputs, cotangents
    return [outputs[k] for k in used], [cotangents[k] for k in used]


def find_tensors(args: Any) -> bool:
    """Whether there is a floating tensor anywhere in `args`."""
    positional: tuple[Any, ...] = args if type(args) is tuple else (args,)
    leaves = _tree.flatten(positional, [f"args[{i}]" for i in range(len(positional))], none_is_leaf=True).leaves
    return any(is_floating(leaf.value) for leaf in leaves)


def pull(
    outputs: Sequence[Tensor],
    leaves: Sequence[Tensor],
    cotangents: Sequence[Any],
    *,
    create_graph: bool = False,
    undefined: set[str] | None = None,
    names: Sequence[str] = (),
) -> Tensors:
    """`torch.autograd.grad` with zeros for tensors that the outputs do not depend on, whose names go to `undefined`."""
    recorded = [(y, u) for y, u in zip(outputs, cotangents, strict=True) if y.requires_grad]
    if not recorded:
        if undefined is not None:
            undefined.update(names[: len(leaves)])
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    ys, us = zip(*recorded, strict=True)
    # A cotangent may come as a number, for an output of shape (1,) too.
    us = tuple(torch.as_tensor(u, dtype=y.dtype, device=y.device).reshape(y.shape) for y, u in zip(ys, us, strict=True))
    found: list[Tensor | None] = list(_grad(ys, leaves, us, create_graph=create_graph))
    if not create_graph:
        # One after the other, so that no two copies of all gradients are there at a time.
        for i, gradient in enumerate(found):
            if gradient is not None and gradient.layout is torch.strided:
                found[i] = gradient.contiguous()
    if undefined is not None:
        undefined.update(name for name, gradient in zip(names, found, strict=False) if gradient is None)
    return tuple(
        torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(leaves, found, strict=True)
    )


def with_gaps(tensor: Tensor) -> Tensor:
    """The same values, not contiguous where there is more than one of them along the last axis."""
    return tensor.repeat_interleave(2, -1)[..., ::2] if tensor.dim() else tensor


@ft.cache
def _load_forward_rules() -> None:
    """Load what forward mode needs once, without torch's own warnings about how it is written.

    Where warnings are errors, as under pytest, they would break the first check.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")


@contextlib.contextmanager
def _refusals() -> Generator[None]:
    """Turn what torch says where it has no rule into NotAvailableError."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, NotImplementedError) or _NOT_THERE.search(str(error)):
            raise NotAvailableError(str(error).strip().splitlines()[0]) from error
        raise


def _in_dual_level() -> bool:
    return forward_ad._current_level >= 0  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]


def _grad(
    ys: Sequence[Tensor], leaves: Sequence[Tensor], us: Sequence[Tensor], **options: bool
) -> Sequence[Tensor | None]:
    return torch.autograd.grad(ys, tuple(leaves), us, allow_unused=True, **options)


def _tangent(tensor: Tensor) -> Tensor:
    tangent = forward_ad.unpack_dual(tensor).tangent
    return torch.zeros_like(tensor) if tangent is None else tangent


def _detached(returned: Tensor | Tensors) -> Tensor | Tensors:
    return tuple(tensor.detach() for tensor in returned) if isinstance(returned, tuple) else returned.detach()


def inner_product(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Sum of Re(conj(a) b) over all entries of all tensors."""
    terms = [(a.conj() * b).real.sum() if a.is_complex() else (a * b).sum() for a, b in zip(one, other, strict=True)]
    return torch.stack(terms).sum()


def normal_like(tensor: Tensor, generator: np.random.Generator) -> Tensor:
    shape = (*tensor.shape, 2) if tensor.is_complex() else tuple(tensor.shape)
    drawn = torch.as_tensor(generator.standard_normal(shape))
    drawn = torch.view_as_complex(drawn) if tensor.is_complex() else drawn
    return drawn.to(dtype=tensor.dtype, device=tensor.device)


def _size(tensor: Tensor) -> float:
    """Natural size of a leaf: its root mean square, or 1."""
    if tensor.numel() == 0:
        return 1.0
    size = float(tensor.detach().abs().double().square().mean().sqrt())
    return size if 0 < size < math.inf else 1.0


def is_floating(value: object) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _entries(tensor: Tensor) -> Tensor:
    """What of a tensor is differentiated: all of it, or the values that a sparse one stores."""
    if tensor.layout is torch.strided:
        return tensor
    tensor = tensor.detach()
    return (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()


def _packer(tensor: Tensor) -> Callable[[Tensor], Tensor] | None:
    """What puts values back into a sparse tensor of the same pattern; None for one that is not sparse."""
    layout = tensor.layout
    if layout is torch.strided:
        return None
    tensor, size = tensor.detach(), tensor.shape
    if layout is torch.sparse_coo:
        indices = tensor.coalesce().indices()
        return lambda values: torch.sparse_coo_tensor(indices, values, size, is_coalesced=True)
    by_row = layout in (torch.sparse_csr, torch.sparse_bsr)
    outer, inner = (
        (tensor.crow_indices(), tensor.col_indices()) if by_row else (tensor.ccol_indices(), tensor.row_indices())
    )
    return lambda values: torch.sparse_compressed_tensor(outer, inner, values, size, layout=layout)


def _chosen(leaves: Sequence[tuple[int, Any]], wrt: int | tuple[int, ...] | None, count: int) -> list[int]:
    """Indices of the leaves, given as (position of the argument, value), that are differentiated."""
    floating = [i for i, (_, value) in enumerate(leaves) if is_floating(value)]
    if wrt is None:
        asked = [i for i in floating if leaves[i][1].requires_grad]
        return asked or floating
    positions = wrt if isinstance(wrt, tuple) else (wrt,)
    for i in positions:
        if not -count <= i < count:
            raise UsageError(f"`wrt` names argument {i}, but `args` holds {count}.")
    allowed = {i % count for i in positions}
    return [i for i in floating if leaves[i][0] in allowed]


def _is_rule(f: Any) -> TypeGuard[type[torch.autograd.Function]]:
    return isinstance(f, type) and issubclass(f, torch.autograd.Function)


def names_of(f: Any, count: int) -> list[str]:
    """F's own names for its positional arguments: those of the `forward` of a module, or of a rule without its ctx."""
    is_rule = _is_rule(f)
    function = f.forward if is_rule or isinstance(f, torch.nn.Module) else f
    has_context = is_rule and f.setup_context is torch.autograd.Function.setup_context
    return argument_names(function, count, skip=int(has_context))
