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
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad

from gradproof import _backends
from gradproof._backends._torch_graph import (
    Rule,
    applies_extension,
    is_of_operator,
    is_rule,
    only_rule,
    rule_name,
    rules_in,
)
from gradproof._backends._torch_held import find_held
from gradproof._backends._torch_primals import Primals
from gradproof._backends._torch_rows import fill_rows, out_of_memory
from gradproof._backends._torch_state import State
from gradproof._backends._torch_storage import is_part
from gradproof._base import _tree
from gradproof._base._advice import arity, foreign
from gradproof._base._away import is_from_handler
from gradproof._base._errors import FunctionError, NotAvailableError, UsageError
from gradproof._base._names import argument_names, function_name, type_name

Tensor = torch.Tensor
Tensors = tuple[Tensor, ...]

# Layouts of which the stored values are differentiated.
_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)

# What torch says where it has no rule for a mode, rather than a wrong one.
_NOT_THERE = re.compile(
    r"not implemented|does not support it|not supported|once_differentiable|setup_context|"
    r"must be set to True to support|You must either override|does not have vmap support|implement the jvp"
)
# What torch says where f asks for a graph and none is recorded.
_ASKS = re.compile(r"require(s|s_)? ?grad|not have been used in the graph")
# What torch says where f writes into a leaf of the graph, which it may do where nothing is recorded.
_WRITES = re.compile(r"a (view of a )?leaf Variable that requires grad is being used in an in-place operation")
# What torch says where f looks at memory that a tensor does not have.
_BEYOND = re.compile(r"out of bounds for storage")
# What torch says where a backward returns a gradient that does not fit the input it is for.
_MISSHAPEN = re.compile(r"returned an invalid gradient at index \d+ - got \[([\d, ]*)\] but expected shape")


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
    called : callable
        f, as it is called.
    refusal : str
        What a rule has raised where the cotangent of an output was None.
    rules : list of Rule, or None
        The hand-written rules that f applies; None before reverse mode has been asked for.
    has_extension : bool
        Whether it applies a rule that a C++ extension has written.
    only_rule : Rule or None
        The one that f is nothing but a call of.
    count : int
        How many are differentiated.
    is_scalar : bool
        Whether f returns one real number.
    left_out : tuple of str
        Outputs that torch says have no derivative, while others have one: `ctx.mark_non_differentiable`, or detached.
    undefined : set of str
        Differentiated tensors for which reverse mode gave None: nothing of the graph leads to them.
    of_whole : frozenset of str
        Differentiated tensors that go by these names in what this function is a part of as well.
    is_batched : bool
        Whether a batch of cotangents was asked for, so that rules for batches are part of what is checked.
    updated, spoilt : list of str
        Buffers that f itself changes, and those that its backward changes.
    hooked : list of str
        Differentiated tensors with hooks of the user's, which are part of what reverse mode says.
    records : bool
        Whether evaluations record a graph as training does: where f asks for one, and where the user's hooks may.
    primals : Primals
        What f returns at the point, differentiated and not.
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
        self.called: Callable[..., Any] = f.apply if is_rule(f) else f
        flat = _tree.flatten(positional, roots, none_is_leaf=True)
        chosen = _chosen([(int(leaf.keys[0]), leaf.value) for leaf in flat.leaves], wrt, len(positional))  # pyright: ignore[reportArgumentType]
        if not chosen:
            raise UsageError(f"nothing to differentiate in `{', '.join(roots)}`: there is no floating tensor in it.")
        order = chosen + [i for i in range(len(flat.leaves)) if i not in set(chosen)]
        self._structure = flat.structure
        self._slots = [flat.leaves[i].slot for i in order]
        self.count = len(chosen)
        self._packers = [
            None if value.layout is torch.strided else Packer(value) for value in (flat.leaves[i].value for i in chosen)
        ]
        self.arguments: tuple[Any, ...] = (
            *(_entries(flat.leaves[i].value) for i in chosen),
            *(flat.leaves[i].value for i in order[self.count :]),
        )
        self.names = tuple(
            (flat.leaves[i].path if names is None else names[i])
            + (".values()" if k < self.count and flat.leaves[i].value.layout in _SPARSE else "")
            for k, i in enumerate(order)
        )
        self._is_tuple = type(args) is tuple
        self.of_whole: frozenset[str] = frozenset()
        self.is_batched = False
        # Whether its gradient is differentiated again.
        self.is_derived = False
        if state is None:
            held = find_held(f, *positional)
            state = State(held.modules, held)
        self.state = state
        self._hooks = [_hooks(flat.leaves[i].value) for i in chosen]
        self.hooked = [name for name, hooks in zip(self.names, self._hooks, strict=False) if hooks]
        self.primals = Primals()
        self.undefined: set[str] = set()
        self.refusal = ""
        self.rules: list[Rule] | None = None
        self.has_extension = False
        self.only_rule: Rule | None = None
        self.updated: list[str] = []
        self.spoilt: list[str] = []
        self.records = bool(self.hooked)
        # (An empty list among the arguments is there, but no leaf.)
        self._is_flat = [leaf.keys for leaf in flat.leaves] == [(i,) for i in range(len(positional))]
        self._kept: list[int] | None = None
        self.is_scalar = False
        self.left_out: tuple[str, ...] = ()
        self._learn(args)

    def value(self, *arguments: Any) -> Any:
        """What f returns of floating tensors: alone if it is one, a real number of shape () where f is scalar."""
        if self.records:
            with torch.enable_grad():
                ready = [leaf.detach().requires_grad_() for leaf in arguments[: self.count]]
                return _detached(self._pick(self._call([*ready, *arguments[self.count :]])))
        with torch.no_grad():
            return self._pick(self._call(arguments))

    def at_point(self) -> list[Any]:
        """Copies of all arguments, which f may write into."""
        return [*map(_copied, self.arguments)]

    def others(self) -> list[Any]:
        """Copies of the arguments that are not differentiated."""
        return [*map(_copied, self.arguments[self.count :])]

    def many(self, leaves: Sequence[Tensor]) -> Any:
        """`value` at many points by `torch.func.vmap`, or None where that refuses f.

        Every differentiated tensor has a leading axis of k points, and so has every output; all other arguments are as
        they were given. Random numbers are the same at all points.
        """
        if self.records or any(self._packers):
            return None
        others = self.others()
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
            leaves, outputs = self.record(arguments)
            self.look_for_rules(outputs)
            if self.primals.wants("reverse"):
                self._compare("reverse", outputs, arguments)
            cotangents = [leaf.value for leaf in _tree.flatten((cotangent,), ("u",)).leaves]
            some, theirs = _taking_part(outputs, cotangents)
            before = self.state.buffers()
            if len(some) < len(outputs):
                try:
                    return pull(some, leaves, theirs)
                except Exception as error:
                    if is_from_handler(error):
                        raise
                    # The rule refuses None in place of a cotangent; with zeros it may do.
                    leaves, outputs = self.record(arguments)
                    self.refusal = first_line(error)
            try:
                gradients = pull(outputs, leaves, cotangents, undefined=self.undefined, names=self.names)
            except RuntimeError as error:
                gradients = self._misshapen(cotangents, arguments, error)
            self.spoilt += [path for path in self.state.changed(before) if path not in self.spoilt]
            return gradients

    def rows(self, *arguments: Any) -> Tensor | None:
        """The rows of J (m, n) in reverse mode from one recorded graph, as float64 on the CPU.

        A complex tensor has two rows for each entry, or two columns: all of its real part, then all of its imaginary
        part. None where the graph does not allow it.
        """
        with torch.enable_grad():
            leaves, outputs = self.record(arguments)
            parts = [(y, factor) for y in outputs for factor in ((1.0, 1j) if y.is_complex() else (1.0,))]
            columns = sum(leaf.numel() * (2 if leaf.is_complex() else 1) for leaf in leaves)
            matrix = torch.zeros(sum(y.numel() for y, _ in parts), columns, dtype=torch.float64, device="cpu")
            first = 0
            try:
                for output, factor in parts:
                    fill_rows(matrix[first : first + output.numel()], output, leaves, factor)
                    first += output.numel()
            except Exception as error:
                # (A rule may refuse None in place of the cotangents of other outputs; `vjp` sees to that.)
                if is_from_handler(error) or not isinstance(error, RuntimeError | TypeError | AttributeError):
                    raise
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
        self.refuse_operators(arguments)
        with torch.set_grad_enabled(self.records), _refusals(), forward_ad.dual_level():
            duals = tuple(
                forward_ad.make_dual(leaf.detach().requires_grad_(self.records), tangent)
                for leaf, tangent in zip(arguments[: self.count], tangents, strict=True)
            )
            returned = self._call([*duals, *arguments[self.count :]])
            tangent = _detached(self._pick(returned, _tangent))
            if not self.primals.wants("forward"):
                return tangent
            outputs = [forward_ad.unpack_dual(output).primal.detach() for output in self._floating(returned)]
        self._compare("forward", outputs, arguments)
        return tangent

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
            leaves, outputs = self.record(arguments)
            self.look_for_rules(outputs)
            self.is_batched = True
            rows = [[leaf.value for leaf in _tree.flatten((u,), ("u",)).leaves] for u in cotangents]
            together = [torch.stack(list(map(torch.as_tensor, column))) for column in zip(*rows, strict=True)]
            with warnings.catch_warnings():
                # How fast torch is here is no concern of the check.
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                found = torch.func.vmap(lambda *us: pull(outputs, leaves, us))(*together)
            return [tuple(gradient[k] for gradient in found) for k in range(len(rows))]

    def within(self, mode: Callable[[], contextlib.AbstractContextManager[Any]]) -> TorchAutodiff:
        """The same function, each call of it within some mode."""
        inside, called = copy.copy(self), self.called

        @ft.wraps(called)
        def call(*arguments: Any) -> Any:
            with mode():
                return called(*arguments)

        inside.called, inside.primals = call, Primals()
        return inside

    def _compiled(self) -> TorchAutodiff:
        """The same function, compiled by `torch.compile` at its first call."""
        compiled = copy.copy(self)
        compiled.called = torch.compile(self.called)
        compiled.rules = []  # those of the compiled graph are torch's own
        return compiled

    def outputs(self, leaves: Sequence[Tensor], others: Sequence[Any]) -> list[Tensor]:
        """All floating outputs of f, as torch records them."""
        return self._floating(self._call([*leaves, *others]))

    def record(self, arguments: Sequence[Any]) -> tuple[Tensors, list[Tensor]]:
        """Leaves at the arguments with the user's own hooks, and what f returns of them, recorded."""
        try:
            leaves = self._leaves(arguments)
            return leaves, self.outputs(leaves, arguments[self.count :])
        except RuntimeError as error:
            if not _WRITES.search(str(error)):
                raise
            # Within a model f may: there it gets what other functions return.
            leaves = self._leaves(arguments)
            return leaves, self.outputs([leaf.clone() for leaf in leaves], arguments[self.count :])

    def look_for_rules(self, outputs: Sequence[Tensor]) -> None:
        """See which hand-written rules f applies, the first time that a graph is recorded."""
        if self.rules is None:
            self.rules, self.only_rule = rules_in(outputs), only_rule(outputs)
            self.has_extension = applies_extension(outputs)

    def refuse_operators(self, arguments: Sequence[Any]) -> None:
        """Raise NotAvailableError where f applies a custom operator: forward mode says that its outputs are constant.

        torch raises nothing where no graph is recorded (seen in 2.13), and `register_autograd` takes no rule for it.
        """
        if self.rules is None:
            with torch.enable_grad():
                self.look_for_rules(self.record(arguments)[1])
        operator = next((rule_name(rule) for rule in self.rules or [] if is_of_operator(rule)), None)
        if operator is not None:
            raise NotAvailableError(f"the custom operator `{operator}` has no rule for forward mode")

    def _leaves(self, arguments: Sequence[Any]) -> Tensors:
        leaves = tuple(leaf.detach().requires_grad_() for leaf in arguments[: self.count])
        for leaf, hooks in zip(leaves, self._hooks, strict=True):
            for hook in hooks:
                leaf.register_hook(hook)
        return leaves

    def _compare(self, mode: str, outputs: Sequence[Tensor], arguments: Sequence[Any]) -> None:
        """See whether f returns, while it is differentiated, what it returns without; it is told at the point only."""
        own = self.arguments[: self.count]
        if all(_backends.same_bits(one, other) for one, other in zip(arguments, own, strict=False)):
            self.primals.compare(mode, outputs, self.evaluate)

    def evaluate(self, records: bool | None = None) -> list[Tensor]:
        """The floating outputs at the point; with a graph recorded if `records`, and as f asks for if that is None."""
        returned = self._call_at_point(records=self.records if records is None else records)
        return [output.detach() for output in self._floating(returned)]

    def argument(self, values: Sequence[Any]) -> Any:
        """Put values for all of `arguments` back into the form of `args`."""
        trees = self._structure.unflatten(self.ordered(values))
        return tuple(trees) if self._is_tuple else trees[0]

    @contextlib.contextmanager
    def at_rest(self) -> Generator[None]:
        """Leave everything besides the arguments as it was found, whatever happens."""
        try:
            yield
        finally:
            self.state.restore()

    def _learn(self, args: Any) -> None:
        """Call f once, to see which of its outputs are floating and whether it differentiates within."""
        before, is_well = self.state.buffers(), False
        try:
            returned = self._call_first()
            self.updated = self.state.changed(before)
            is_well = True
        except Exception as error:
            if is_from_handler(error):
                raise
            name = function_name(self.called)
            text = f"`{name}` raised {type(error).__name__} at the point itself: {error}"
            said = arity(self.called, args) or foreign(self.called, zip(self.names, self.arguments, strict=True), name)
            raise FunctionError((f"{text} ({said})." if said else text) + self._without_surroundings(error)) from error
        finally:
            self.state.learn()
            (self.state.rewind if is_well else self.state.restore)()
        outputs = self._floating(returned)
        if len(outputs) > 1:
            outputs = self._leave_out(outputs)
        if not any(output.requires_grad for output in outputs):
            # (What it returns may be its own argument, or a buffer that it goes on writing to.)
            self.primals.keep(outputs)
        if returned is None:
            raise FunctionError("f returned None; did you forget `return`?")
        if not outputs:
            raise FunctionError(
                "f must return a floating tensor, or a tree with some in it: there is nothing to differentiate. It "
                f"returned {type_name(returned)}; `.item()`, `.numpy()` and `float(...)` leave PyTorch."
            )
        self.is_scalar = len(outputs) == 1 and outputs[0].numel() == 1 and not outputs[0].is_complex()

    def _without_surroundings(self, error: Exception) -> str:
        """What to do where f has looked for the memory around an argument, which its copy has not; or nothing."""
        parts = [name for name, value in zip(self.names, self.arguments, strict=True) if is_part(value)]
        if not parts or not _BEYOND.search(str(error)):
            return ""
        return (
            f"\nf is called with copies of its arguments, and a copy of `{'`, `'.join(parts)}`, part of a larger "
            "storage, has no memory around it. Pass the whole tensor as the argument, and take the part in f."
        )

    def _call_first(self) -> Any:
        """Call f at the point without a graph, or as training does if it raises so: it may ask for one.

        What it has raised without one is raised again where that does not help.
        """
        try:
            return self._call_watched(records=False)
        except Exception as error:
            if is_from_handler(error) or out_of_memory(error):
                raise
            try:
                returned = self._call_watched(records=True)
            except Exception as again:
                if is_from_handler(again) or _ASKS.search(str(error)):
                    raise
                raise error from None
        self.records = True
        return returned

    def _call_watched(self, *, records: bool) -> Any:
        """Call f at the point, and see what it writes into; not if it does not run so."""
        if self.state.has_copies:
            return self._call_at_point(records=records)
        try:
            with self.state.watch():
                return self._call_at_point(records=records)
        except Exception as error:
            if is_from_handler(error) or out_of_memory(error):
                raise
            return self._call_at_point(records=records)

    def _call_at_point(self, *, records: bool) -> Any:
        with torch.set_grad_enabled(records):
            arguments = self.at_point()
            if records:
                arguments[: self.count] = [leaf.requires_grad_() for leaf in arguments[: self.count]]
            return self._call(arguments)

    def _leave_out(self, outputs: list[Tensor]) -> list[Tensor]:
        """Find the outputs that torch says have no derivative, unless it says so of all; return the others."""
        returned = self._call_at_point(records=True)
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
        ordered = self.ordered(arguments)
        return self.called(*(ordered if self._is_flat else self._structure.unflatten(ordered)))

    def _misshapen(self, cotangents: list[Any], arguments: Sequence[Any], error: RuntimeError) -> Tensors:
        """Gradients where a backward returns one that does not fit its input, so that torch raises for all of them.

        Tensor by tensor: those that torch refuses alone are zeros in the shape that it names, and the contract about
        shapes gets to see them. The error is raised again where it is another one, or that shape would fit.
        """
        if not _MISSHAPEN.search(str(error)):
            raise error
        found: list[Tensor] = []
        for k in range(self.count):
            leaves = [leaf.detach().requires_grad_(i == k) for i, leaf in enumerate(arguments[: self.count])]
            outputs = self.outputs(leaves, arguments[self.count :])
            try:
                found += pull(outputs, leaves[k : k + 1], cotangents)
            except RuntimeError as refusal:
                got = _MISSHAPEN.search(str(refusal))
                shape = [int(length) for length in re.findall(r"\d+", got[1])] if got else []
                if got is None or _squeezed(shape) == _squeezed(leaves[k].shape):
                    raise error from None
                found.append(leaves[k].new_zeros(shape))
        return tuple(found)

    def ordered(self, arguments: Sequence[Any]) -> list[Any]:
        """The arguments in the order of the leaves of `args`."""
        ordered: list[Any] = [None] * len(self._slots)
        for k, (slot, value) in enumerate(zip(self._slots, arguments, strict=True)):
            pack = self._packers[k] if k < self.count else None
            ordered[slot] = value if pack is None else pack(value, twice=self.is_derived)
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
        base.is_derived = True
        self._inner = inner
        generator = np.random.default_rng((seed, 4))
        leaves: Tensors = base.arguments[: base.count]
        base.state.rewind()
        outputs = base.evaluate()
        base.state.rewind()
        drawn = tuple(normal_like(tensor, generator) for tensor in outputs)
        tangents = tuple(normal_like(leaf, generator) * natural_size(leaf) for leaf in leaves)
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
        # <u, f>, of which h is the derivative along tangents of natural size, is rounded by that much times eps.
        us = drawn if inner == "fwd" or cotangents is None else tuple(cotangents)
        self.terms = sum(size_of_terms(u, output) for u, output in zip(us, outputs, strict=True))
        suffixes = [f"[{i}]" if len(second) > 1 else "" for i in range(len(second))]
        self.names = (
            *base.names[: base.count],
            *(f"{name}{suffix}" for suffix in suffixes),
            *base.names[base.count :],
        )

    def value(self, *arguments: Any) -> Tensor:
        """H at the arguments."""
        records = self._inner == "rev" or self._base.records
        with torch.set_grad_enabled(records), _refusals():
            leaves, second, others = self._split(arguments)
            leaves = tuple(leaf.detach().requires_grad_(records) for leaf in leaves)
            if self._inner == "rev":
                second = tuple(tensor.detach() for tensor in second)
            return self._value(leaves, second, others, create_graph=False).detach()

    def vjp(self, cotangent: Any, *arguments: Any) -> Tensors:
        """The gradient of h in reverse mode, times a number."""
        with torch.enable_grad(), _refusals():
            ready = tuple(tensor.detach().requires_grad_() for tensor in arguments[: self.count])
            leaves, second, others = ready[: self._first], ready[self._first :], arguments[self.count :]
            try:
                return pull([self._value(leaves, second, others, create_graph=True)], ready, [cotangent])
            except RuntimeError:
                with contextlib.suppress(Exception):
                    if self._inner == "rev":
                        # Some backwards of torch run for one of their gradients at a time, as its gradcheck asks them.
                        return self._pulled_apart(leaves, second, others, cotangent)
                    # Some derivatives of torch cannot be recorded with dual numbers, but under `torch.func.jvp`.
                    return pull([self._pushed(leaves, second, others)], ready, [cotangent])
                raise

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
            return inner_product(self.fixed, self._gradients(leaves, second, others, create_graph=create_graph))
        self._base.refuse_operators([*leaves, *others])
        with contextlib.nullcontext() if _in_dual_level() else forward_ad.dual_level():
            duals = tuple(forward_ad.make_dual(leaf, v) for leaf, v in zip(leaves, second, strict=True))
            return inner_product(self.fixed, [_tangent(output) for output in self._base.outputs(duals, others)])

    def _pulled_apart(
        self, leaves: Sequence[Tensor], second: Sequence[Tensor], others: Sequence[Any], cotangent: Any
    ) -> Tensors:
        """The same as `vjp` for ``inner="rev"``, as a sum over the gradients that h is a sum of."""
        ready = (*leaves, *second)
        found = [torch.zeros_like(tensor) for tensor in ready]
        for i, fixed in enumerate(self.fixed):
            gradient = self._gradients(leaves, second, others, create_graph=True)[i]
            if gradient.requires_grad:
                parts = pull([inner_product([fixed], [gradient])], ready, [cotangent])
                found = [one + part for one, part in zip(found, parts, strict=True)]
        return tuple(found)

    def _gradients(
        self, leaves: Sequence[Tensor], second: Sequence[Tensor], others: Sequence[Any], *, create_graph: bool
    ) -> Tensors:
        """The gradients that h is the inner product of, for ``inner="rev"``."""
        outputs = self._base.outputs(leaves, others)
        differentiated = iter(second)
        us = [next(differentiated) if u is None else u for u in self._constants]
        us = [with_gaps(u) for u in us] if self._is_gappy else us
        return pull(outputs, leaves, us, create_graph=create_graph)

    def _nested(self, tangents: Sequence[Tensor], arguments: Sequence[Any]) -> Tensor:
        """Forward over forward: `torch.func.jvp` twice, because dual levels do not nest."""
        others = arguments[self.count :]

        def first(*tensors: Tensor) -> Tensor:
            return self._pushed(tensors[: self._first], tensors[self._first :], others)

        with torch.no_grad(), _refusals():
            along: Any = torch.func.jvp(first, tuple(arguments[: self.count]), tuple(tangents))
            return along[1]

    def _pushed(self, leaves: Sequence[Tensor], second: Sequence[Tensor], others: Sequence[Any]) -> Tensor:
        """H for ``inner="fwd"`` by `torch.func.jvp`."""
        along: Any = torch.func.jvp(lambda *x: tuple(self._base.outputs(x, others)), tuple(leaves), tuple(second))  # pyright: ignore[reportUnknownLambdaType]
        return inner_product(self.fixed, along[1])

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


def first_line(error: BaseException) -> str:
    """The first line of what was raised, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _squeezed(shape: Sequence[int]) -> list[int]:
    return [length for length in shape if length != 1]


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


def normal_like(tensor: Tensor, generator: np.random.Generator, *, count: int = 0) -> Tensor:
    """Random values like a tensor, `count` of them along a first axis."""
    shape = (count, *tensor.shape) if count else tuple(tensor.shape)
    drawn = generator.standard_normal((*shape, 2) if tensor.is_complex() else shape)
    if tensor.is_complex():
        # (torch cannot view pairs as complex numbers where there are none.)
        drawn = drawn[..., 0] + 1j * drawn[..., 1]
    return torch.as_tensor(drawn).to(dtype=tensor.dtype, device=tensor.device)


def size_of_terms(u: Tensor, output: Tensor) -> float:
    """Size of the terms of ``<u, output>``, those that are finite; 0 where they cannot be told."""
    if u.layout is not torch.strided or output.layout is not torch.strided or u.shape != output.shape:
        return 0.0
    terms = (u.detach().abs() * output.detach().abs()).double()
    return float(terms[terms.isfinite()].sum())


def natural_size(tensor: Tensor) -> float:
    """Natural size of a leaf: its root mean square, of a sparse one that of what it stores; or 1."""
    tensor = _entries(tensor)
    if tensor.numel() == 0:
        return 1.0
    size = float(tensor.detach().abs().double().square().mean().sqrt())
    return size if 0 < size < math.inf else 1.0


def _copied(value: Any) -> Any:
    return _backends.of(value).working_copy(value) if _backends.is_array(value) else value


def _hooks(value: Any) -> list[Any]:
    """The user's own hooks on a tensor: what training calls with its gradient."""
    is_hooked = isinstance(value, Tensor) and value.layout is torch.strided and value._backward_hooks  # pyright: ignore[reportPrivateUsage]
    return list(value._backward_hooks.values()) if is_hooked else []  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess]


def is_floating(value: object) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _entries(tensor: Tensor) -> Tensor:
    """What of a tensor is differentiated: all of it, or the values that a sparse one stores."""
    if tensor.is_nested:
        raise UsageError(
            "a nested tensor has no gradient of one shape, and is not supported: make it inside f, from its parts "
            "(`torch.nested.as_nested_tensor(list)`)."
        )
    if tensor.layout is torch.strided:
        return tensor
    if tensor.layout is torch._mkldnn:  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        return tensor.detach().to_dense()
    tensor = tensor.detach()
    return (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()


class Packer:
    """Puts values back into a sparse tensor of the same pattern.

    torch's own ways to do that are differentiable once: of second derivatives a part is lost, or nothing runs.
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = tensor.detach()
        self._like = tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor
        self._places: Tensor | None = None

    def __call__(self, values: Tensor, *, twice: bool) -> Tensor:
        is_dual = forward_ad.unpack_dual(values).tangent is not None
        return self.sparse(values) if is_dual or not twice else _Packed.apply(values, self)  # pyright: ignore[reportReturnType]

    def sparse(self, values: Tensor) -> Tensor:
        """A tensor of this pattern, in whose derivative torch is followed."""
        like = self._like
        if like.layout is torch._mkldnn:  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
            return values.to_mkldnn()
        if like.layout is torch.sparse_coo:
            return torch.sparse_coo_tensor(
                like.indices(), values, like.shape, is_coalesced=True, check_invariants=False
            )
        by_row = like.layout in (torch.sparse_csr, torch.sparse_bsr)
        outer, inner = (
            (like.crow_indices(), like.col_indices()) if by_row else (like.ccol_indices(), like.row_indices())
        )
        return torch.sparse_compressed_tensor(
            outer, inner, values, like.shape, layout=like.layout, check_invariants=False
        )

    def gather(self, dense: Tensor) -> Tensor:
        """The values of a dense tensor at the stored entries."""
        like = self._like
        if like.layout is torch._mkldnn:  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
            return dense
        if like.layout is torch.sparse_coo:
            return dense[tuple(like.indices())]
        if self._places is None:
            places = torch.arange(like.numel(), dtype=torch.float64, device=like.device).reshape(like.shape)
            self._places = places.sparse_mask(like.to(torch.float64)).values().long()
        return dense.reshape(-1)[self._places]


class _Packed(torch.autograd.Function):
    """Values in a sparse tensor, as often differentiable as is asked for."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, packer: Packer) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.packer = packer
        return packer.sparse(values.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dense = gradient if gradient.layout is torch.strided else gradient.to_dense()
        return ctx.packer.gather(dense), None


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


def names_of(f: Any, count: int) -> list[str]:
    """F's own names for its positional arguments: those of the `forward` of a module, or of a rule without its ctx."""
    owner = getattr(f, "__self__", None)
    if is_rule(owner) and f.__name__ == "apply":
        f = owner
    is_by_hand = is_rule(f)
    function = f.forward if is_by_hand or isinstance(f, torch.nn.Module) else f
    has_context = is_by_hand and f.setup_context is torch.autograd.Function.setup_context
    return argument_names(function, count, skip=int(has_context))
