"""A kernel called by itself: on inputs made for one size, in one dtype, on one device, in one layout of memory."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import inspect
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import optree
import torch

from gradproof._backends._torch_autodiff import is_floating, names_of, natural_size, normal_like, pull
from gradproof._backends._torch_graph import is_rule
from gradproof._backends._torch_layouts import LAYOUTS as LAYOUTS
from gradproof._backends._torch_state import Keeper
from gradproof._backends._torch_upcast import keeper
from gradproof._base import _tree
from gradproof._base._errors import FunctionError, UsageError
from gradproof._progress import current

Tensor = torch.Tensor
Named = dict[str, Tensor]  # tensors by their paths

CONTIGUOUS = "contiguous"
# Of 16 bits: judged against the kernel in higher precision, as differences of such an f cannot tell.
LOW = ("float16", "bfloat16")
_COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}
_ANY = inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Called:
    """What a call gave: floating outputs, and the gradients of <cotangents, outputs>; none where none were asked for.

    Attributes
    ----------
    outputs, gradients : dict of str to Tensor
        By their paths, such as ``output[0]`` and ``x``.
    """

    outputs: Named
    gradients: Named


class TorchKernel:
    """A function of tensors, and what makes its inputs.

    Parameters
    ----------
    function : callable, nn.Module, or subclass of autograd.Function
    make_inputs : callable
    axes : sequence of str
        The parameters of `make_inputs` that are sizes.
    seed : int
    reference : callable, optional
        The same function, trusted.

    Attributes
    ----------
    calls : int
        So far.
    """

    def __init__(
        self,
        function: Any,
        make_inputs: Callable[..., Any],
        axes: Sequence[str],
        seed: int,
        reference: Callable[..., Any] | None = None,
    ) -> None:
        self.function: Callable[..., Any] = function.apply if is_rule(function) else function
        self.reference = reference
        self.calls = 0
        self._make = make_inputs
        self._axes = tuple(axes)
        self._seed = seed
        try:
            parameters = inspect.signature(make_inputs).parameters
        except (TypeError, ValueError):
            parameters = {}
        self._keywords = [name for name in ("dtype", "device", "generator") if name in parameters]
        self.keeper: Keeper = keeper(function, (make_inputs, reference))

    def inputs(self, sizes: Mapping[str, int], dtype: str | None, device: str | None) -> Any:
        """Make inputs: for the same sizes the same values, rounded to the dtype; they are contiguous.

        Raises
        ------
        FunctionError
            If `make_inputs` raises, or returns no floating tensor.
        """
        seed = np.random.SeedSequence([self._seed, *sizes.values()]).generate_state(2)
        options: dict[str, Any] = {
            "dtype": torch.float32 if dtype is None else getattr(torch, dtype),
            "device": torch.device(device or "cpu"),
            "generator": torch.Generator().manual_seed(int(seed[0])),
        }
        self.keeper.state.rewind()
        # (Undone by the next `rewind`, and by the keeper in the end.)
        torch.manual_seed(int(seed[0]))
        np.random.seed(int(seed[1]))  # noqa: NPY002  (`make_inputs` may draw from it)
        random.seed(int(seed[1]))
        values = [sizes[axis] for axis in self._axes]
        others = {axis: n for axis, n in sizes.items() if axis not in self._axes}
        try:
            made = self._make(*values, **others, **{name: options[name] for name in self._keywords})
        except Exception as error:
            written = ", ".join(f"{axis}={n}" for axis, n in sizes.items())
            raise FunctionError(f"`make_inputs` raised {type(error).__name__} at {written}: {error}") from error
        finally:
            self.keeper.state.rewind()
        if not any(map(is_floating, _leaves(made))):
            raise UsageError(
                "`make_inputs` must return a floating tensor, or a tuple of arguments with one among them."
            )
        return _mapped(made, lambda tensor: _converted(tensor, dtype, device))

    def names(self, args: Any) -> list[str]:
        """The paths of the leaves that are differentiated."""
        flat = _flat(self.function, args)
        return [path for path, value in flat if _is_differentiated(value, flat)]

    def call(
        self,
        args: Any,
        *,
        function: Callable[..., Any] | None = None,
        cotangents: int | None = None,
        rounding: str = "float32",
        jitter: tuple[float, int] | None = None,
        moving: Collection[str] | None = None,
    ) -> Called:
        """Call the kernel, or another function in its place, and its backward.

        Parameters
        ----------
        args : tuple or any tree
            Handed on as they are, but detached: their layout is what is tested.
        function : callable, optional
        cotangents : int, optional
            Seed of random cotangents; without one only the outputs are computed.
        rounding : str
            The dtype that cotangents are rounded to, so that they are the same in every dtype at least as precise.
        jitter : (float, int), optional
            Relative size and seed of random errors in all floating inputs and cotangents, by which the size of
            rounding errors is measured.
        moving : collection of str, optional
            The inputs that these are in, by their paths; all floating ones by default.
        """
        function = function or self.function
        self.calls += 1
        current().evaluated()
        self.keeper.state.rewind()
        noise = None if jitter is None else np.random.default_rng(jitter[1])
        flat = _flat(self.function, args)
        leaves: Named = {}
        ready: list[Any] = []
        for path, value in flat:
            one = value
            if isinstance(value, Tensor):
                one = value.detach()
                if (
                    jitter is not None
                    and noise is not None
                    and is_floating(value)
                    and (moving is None or path in moving)
                ):
                    one = one * (1 + jitter[0] * normal_like(one.double(), noise))
                    one = one.to(value.dtype)
                if _is_differentiated(value, flat):
                    leaves[path] = one = one.requires_grad_()
            ready.append(one)
        with torch.enable_grad():
            given = _rebuilt(args, ready)
            returned = function(*given) if type(given) is tuple else function(given)
        outputs = {path: value for path, value in _paths((returned,), ["output"]) if is_floating(value)}
        detached = {path: value.detach() for path, value in outputs.items()}
        if cotangents is None:
            return Called(outputs=detached, gradients={})
        drawn = np.random.default_rng(cotangents)
        us: list[Tensor] = []
        for value in outputs.values():
            u = normal_like(torch.empty(value.shape, dtype=getattr(torch, rounding)), drawn).to(value.device)
            if jitter is not None and noise is not None:
                u = u.double() * (1 + jitter[0] * normal_like(u.double(), noise).to(u.device))
            us.append(u.to(value.dtype))
        gradients = pull(list(outputs.values()), list(leaves.values()), us)
        found = {path: gradient.detach() for path, gradient in zip(leaves, gradients, strict=True)}
        return Called(outputs=detached, gradients=found)

    def scalar(self, args: Any, seed: int) -> Callable[..., Tensor]:
        """The function <u, f> for fixed random u, summed in float64: its gradient is one vector-Jacobian product."""
        shapes = {path: value for path, value in self.call(args).outputs.items() if value.is_floating_point()}
        drawn = np.random.default_rng(seed)
        us = {path: normal_like(value.double(), drawn) for path, value in shapes.items()}

        def product(*arguments: Any) -> Tensor:
            returned = self.function(*arguments)
            outputs = [(path, value) for path, value in _paths((returned,), ["output"]) if path in us]
            terms = [(value.double() * us[path].to(value.device)).sum() for path, value in outputs]
            return torch.stack(terms).sum()

        # Named as the kernel is; where that is a rule by itself, so is this.
        names = names_of(self.function, len(args) if type(args) is tuple else 1)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        named = [inspect.Parameter(name, kind) for name in names if name.isidentifier()]
        product.__signature__ = inspect.Signature(named if len(named) == len(names) else [_ANY])  # pyright: ignore[reportFunctionMemberAccess]
        product.__wrapped__ = self.function  # pyright: ignore[reportFunctionMemberAccess]
        return product


def laid_out(args: Any, layout: str, only: str | None = None, function: Any = None) -> Any:
    """The same inputs with their tensors in another layout, or one of them alone; None where none has it."""
    flat = _flat(function, args)
    moved = False
    ready: list[Any] = []
    for path, value in flat:
        other = None
        if isinstance(value, Tensor) and value.layout is torch.strided and only in (None, path):
            other = LAYOUTS[layout](value.detach())
        moved = moved or other is not None
        ready.append(value if other is None else other.requires_grad_(value.requires_grad))
    return _rebuilt(args, ready) if moved else None


def plain(args: Any) -> Any:
    """The same values in contiguous tensors of their own memory."""
    return _mapped(
        args,
        lambda tensor: (
            tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_(tensor.requires_grad)
        ),
    )


def in_dtype(args: Any, dtype: str) -> Any:
    """The same inputs with their floating tensors in another dtype."""
    return _mapped(args, lambda tensor: _converted(tensor, dtype, None))


def dtype_of(args: Any) -> str:
    """The dtype of the first real floating tensor, or else of the first complex one."""
    floating = [leaf for leaf in _leaves(args) if is_floating(leaf)]
    first = next((leaf for leaf in floating if not leaf.is_complex()), floating[0])
    return str(first.dtype).removeprefix("torch.")


def has_empty(args: Any) -> bool:
    """Whether a floating tensor of the inputs has no entries."""
    return any(is_floating(leaf) and leaf.numel() == 0 for leaf in _leaves(args))


def are_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no entry is nan or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def inputs_are_finite(args: Any) -> bool:
    """Whether no entry of the inputs is nan or infinite."""
    return are_finite({str(i): leaf for i, leaf in enumerate(_leaves(args)) if is_floating(leaf)})


def renamed(outputs: Mapping[str, Tensor], names: Collection[str]) -> Mapping[str, Tensor]:
    """Outputs under other names, in order: a reference may return a named tuple where the kernel returns a tuple."""
    if set(outputs) == set(names) or len(outputs) != len(names):
        return outputs
    return dict(zip(names, outputs.values(), strict=True))


def same_values(one: Tensor, other: Tensor, within: float = 0.0) -> bool:
    """Whether two tensors have the same shape and entries, relative to the largest one; nan equals itself."""
    if one.shape != other.shape:
        return False
    a, b = one.nan_to_num(), other.nan_to_num()
    if not within or not a.numel():
        return bool(torch.equal(a, b))
    return bool((a - b).abs().max() <= within * b.abs().max())


def scaled_error(low: Called, high: Called, dtype: str) -> Called:
    """The errors of a call in float32, scaled up to those of another dtype."""
    factor = torch.finfo(getattr(torch, dtype)).eps / torch.finfo(torch.float32).eps

    def scaled(one: Named, other: Named) -> Named:
        same = [path for path in one if path in other and one[path].shape == other[path].shape]
        return {path: factor * (one[path].to(other[path].dtype) - other[path]).abs() for path in same}

    return Called(outputs=scaled(low.outputs, high.outputs), gradients=scaled(low.gradients, high.gradients))


def paths(function: Any, args: Any) -> list[str]:
    """The paths of all tensors among the inputs."""
    return [path for path, value in _flat(function, args) if isinstance(value, Tensor)]


def typical_size(function: Any, args: Any, path: str) -> float:
    """The root mean square of one of the inputs; 1 where that says nothing."""
    return natural_size(dict(_flat(function, args))[path])


def name_of_dtype(dtype: Any) -> str:
    """``"float32"`` of `torch.float32` or of its name.

    Raises
    ------
    UsageError
        If it is no floating dtype of torch.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError(f"`dtypes` must be floating dtypes of torch, such as torch.float32, got {dtype!r}.")
    return str(found).removeprefix("torch.")


def available_devices() -> list[str]:
    """The CPU and the accelerator, if there is one."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return ["cpu"] if accelerator is None else ["cpu", accelerator.type]


def name_of_device(device: Any) -> str:
    """``"cuda:0"`` of a `torch.device` or of its name."""
    try:
        return str(torch.device(device))
    except (RuntimeError, TypeError) as error:
        raise UsageError(f'`devices` must be devices of torch, such as "cuda", got {device!r}.') from error


def _converted(tensor: Tensor, dtype: str | None, device: str | None) -> Tensor:
    wanted = tensor.dtype
    if dtype is not None and is_floating(tensor):
        wanted = getattr(torch, dtype)
        wanted = _COMPLEX.get(wanted, tensor.dtype) if tensor.is_complex() else wanted
    moved = tensor.detach().to(dtype=wanted, device=device or tensor.device)
    if moved.layout is torch.strided:
        moved = moved.clone(memory_format=torch.contiguous_format)
    return moved.requires_grad_(tensor.requires_grad)


def _is_differentiated(value: Any, flat: Sequence[tuple[str, Any]]) -> bool:
    """As `gradproof.check` has it: the tensors that require grad, or all floating ones if none does."""
    asked = any(is_floating(one) and one.requires_grad for _, one in flat)
    return is_floating(value) and (value.requires_grad or not asked)


def _flat(function: Any, args: Any) -> list[tuple[str, Any]]:
    """All leaves of the inputs with their paths, in the order of optree."""
    positional = args if type(args) is tuple else (args,)
    return _paths(positional, names_of(function, len(positional)))


def _paths(trees: tuple[Any, ...], roots: Sequence[str]) -> list[tuple[str, Any]]:
    leaves = _tree.flatten(trees, roots, none_is_leaf=True).leaves
    return [(leaf.path, leaf.value) for leaf in sorted(leaves, key=lambda leaf: leaf.slot)]


def _leaves(tree: Any) -> list[Any]:
    return optree.tree_leaves(tree, none_is_leaf=True, namespace=_tree.NAMESPACE)


def _rebuilt(args: Any, leaves: Sequence[Any]) -> Any:
    structure = optree.tree_structure(args, none_is_leaf=True, namespace=_tree.NAMESPACE)
    return structure.unflatten(leaves)


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    def changed(leaf: Any) -> Any:
        return change(leaf) if isinstance(leaf, Tensor) else leaf

    return optree.tree_map(changed, tree, none_is_leaf=True, namespace=_tree.NAMESPACE)
