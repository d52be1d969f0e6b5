"""What torch offers for a function (`autodiff`), and code of low precision beside a float64 copy of its forward.

There the claim stays as it is, and its reference gains digits.
"""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import copy
import functools as ft
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import optree
import torch

from gradproof import _backends
from gradproof._backends._off import Off
from gradproof._backends._torch_autocast import compared, reference_note
from gradproof._backends._torch_autodiff import Derivative, TorchAutodiff
from gradproof._backends._torch_batched import find_rules_apart
from gradproof._backends._torch_casts import all_wide
from gradproof._backends._torch_findings import findings
from gradproof._backends._torch_graph import is_by_the_user, is_rule_itself
from gradproof._backends._torch_held import find_held
from gradproof._backends._torch_parts import LossPart, Scene, rules_of
from gradproof._backends._torch_primals import ROUNDINGS as ROUNDINGS
from gradproof._backends._torch_primals import Casts
from gradproof._backends._torch_rounded import rounding
from gradproof._backends._torch_sides import Call, TorchSides, autocast_dtype, sixteen_bits
from gradproof._backends._torch_state import Keeper, State
from gradproof._backends._torch_subject import Subject, subjects_in
from gradproof._base import _tree
from gradproof._base._away import is_from_handler
from gradproof._base._errors import NotAvailableError
from gradproof._base._names import function_name
from gradproof._report import Finding, Verdict

Tensor = torch.Tensor

# What the reference is: a copy in float64, or one that still computes in lower precision inside.
COPY = "against differences of a float64 copy of f"
NARROW_COPY = "against differences of a copy of f at float64 arguments, which casts down inside"

# Random numbers, besides its own, for which f is compared with its copy.
OTHER_SEEDS = 1, 2


class Torch:
    """f with all that torch offers for it (see `gradproof._claims._modes.Autodiff`).

    Attributes
    ----------
    function : TorchAutodiff or Upcast
    """

    claim = "autograd"
    framework = "torch"
    not_available = NotAvailableError

    def __init__(
        self,
        low: TorchAutodiff,
        high: TorchAutodiff | None,
        *,
        cotangents: Sequence[Tensor] | None = None,
        is_gappy: bool = False,
    ) -> None:
        self._own, self._autocast = low, autocast_dtype(low)
        self._copied: TorchAutodiff | None = None
        if self._autocast is not None and high is not None and cotangents is None and not low.hooked:
            # What has a float64 copy without autocast is proved there, and then compared (see `_torch_autocast`).
            low, high = high, None
            self._copied = low
        self._low, self._high = low, high
        self._cotangents, self._is_gappy = cotangents, is_gappy
        self.function = low if high is None else Upcast(low, high)
        self._reference = "" if high is None else COPY
        # Lower and upper bounds of all differentiated tensors, where there are any (see `gradproof._function._bounds`).
        self.bounds: tuple[Sequence[Any], Sequence[Any]] | None = None
        if high is not None and casts_down(high):
            self._reference = NARROW_COPY

    @property
    def note(self) -> str:
        """What the reference is, where it is not f itself."""
        return self._reference if self._autocast is None else self._note_of_copy()

    def _note_of_copy(self) -> str:
        return reference_note(self.offs, self._autocast) if self.offs and self._autocast is not None else ""

    @ft.cached_property
    def offs(self) -> list[Off]:
        """How far values and gradients under autocast are from those of the copy that is proved; else nothing."""
        if self._autocast is None or self._copied is None:
            return []
        return compared(self._own, self._copied, self._autocast)

    @ft.cached_property
    def claim_eps(self) -> float:
        """Relative precision that the claim can be expected to have; 0 where f runs in the claim's own precision."""
        if self._autocast is not None and self._copied is None:
            return torch.finfo(self._autocast).eps
        return 0.0 if self._high is None else claim_precision(self._low, self._high, self.bounds)

    @property
    def has_rules(self) -> bool:
        """Whether f applies rules written by hand, as far as graphs have shown."""
        return bool(self._low.rules)

    @property
    def copied(self) -> TorchAutodiff | None:
        """The float64 copy with its own derivative, which shows mistakes of the code without roundings."""
        return self._high

    def rounding(self, mode: str, least: float) -> list[Off]:
        """How far each derivative in a mode is from that of the copy, and how far rounding may take it."""
        try:
            return [] if self._high is None else rounding(self._low, self._high, least, is_forward=mode == "fwd")
        except Exception as error:
            if is_from_handler(error):
                raise
            return []  # it does not run in float64, or not with its operations replaced

    def roots(self) -> list[str]:
        """The names of all arguments, as Python source."""
        return self._low.roots

    def pairs(self, tree: Any, root: str) -> list[tuple[str, Any]]:
        """The leaves of a tree with their paths."""
        return [(leaf.path, leaf.value) for leaf in _tree.flatten((tree,), (root,), none_is_leaf=True).leaves]

    def trusted(self, reference: Callable[..., Any]) -> Callable[..., Any]:
        """The user's own function of higher precision as one of the arguments of `function`, with its outputs.

        It gets `args` with every floating tensor in float64, those that are not differentiated too.
        """
        low = self._low
        others = doubled(tuple(low.arguments[low.count :]))

        @ft.wraps(reference)
        def trusted(*arguments: Any) -> Any:
            args = low.argument([*arguments[: low.count], *_backends.copied(others)])
            low.state.rewind()
            returned = reference(*args) if type(args) is tuple else reference(args)
            return low.read(optree.tree_map(_as_tensor, returned, none_is_leaf=True, namespace=_tree.NAMESPACE))

        return trusted

    def against(self, reference: Any) -> TorchSides | None:
        """F and a reference that takes its arguments, where f computes in 16 bits; else None."""
        low = self._own
        if not sixteen_bits(low):
            return None
        return TorchSides(low, self._call_of(reference), function_name(reference), None)

    def _call_of(self, reference: Any) -> Call:
        """The reference as one of the arguments of `function`; a module is copied where float64 is asked for."""
        low, wide = self._own, doubled(reference)

        def call(leaves: Sequence[Tensor], others: Sequence[Any], is_wide: bool) -> Any:
            args = low.argument([*leaves, *(doubled(tuple(others)) if is_wide else others)])
            called = wide if is_wide else reference
            return called(*args) if type(args) is tuple else called(args)

        return call

    def derivative(self, inner: str, seed: int) -> Derivative | Upcast:
        """The derivative in the mode `inner` as a real function of the point and of a cotangent or tangent."""
        derivative = Derivative(self._low, inner, seed, cotangents=self._cotangents, is_gappy=self._is_gappy)
        if self._high is None:
            return derivative
        wide = None if self._cotangents is None else widened(tuple(self._cotangents))
        copied = Derivative(self._high, inner, seed, cotangents=wide, is_gappy=self._is_gappy)
        copied.fixed = widened(derivative.fixed)
        return Upcast(derivative, copied)

    def argument(self, values: Sequence[Any]) -> Any:
        """Put values for all arguments back into the form of `args`, in its own precision."""
        own = self._own.arguments
        narrowed = [
            given.to(mine.dtype) if isinstance(mine, Tensor) and mine.is_floating_point() else given
            for given, mine in zip(values, own, strict=True)
        ]
        return self._own.argument(narrowed)

    def findings(self, leaves: Mapping[str, Verdict]) -> list[Finding]:
        """What was seen besides the numbers, given the verdicts on the leaves in reverse mode."""
        found = findings(self._own, leaves)
        return found + find_rules_apart(self._low) if self._low.is_batched else found

    def subjects(self, seed: int, *, is_asked: bool) -> list[Subject]:
        """What of f is held to the contracts; f itself, where it has no rule by hand, only if `is_asked`."""
        return subjects_in(self._low, seed, is_asked=is_asked)

    @property
    def refusal(self) -> str:
        """What a rule by hand has raised where the cotangent of an output was None; empty where none has."""
        is_by_hand = any(is_by_the_user(rule) for rule in self._low.rules or [])
        return self._low.refusal if is_by_hand else ""

    def whole(self) -> LossPart | None:
        """f, to be searched for the part that is wrong; None where it has no parts."""
        if is_rule_itself(self._low.called) or not (self._low.state.roots or rules_of(self._low)):
            return None
        return LossPart(Scene(self._low.state.roots, self._low, COPIES), function_name(self._low.called))

    @contextlib.contextmanager
    def at_rest(self) -> Generator[None]:
        """Leave everything besides the arguments as it was found, whatever happens."""
        with self._own.at_rest(), self._low.at_rest():
            yield


def keeper(f: Any, args: Any) -> Keeper:
    """What a check of a function runs within: everything is left as it was found."""
    return Keeper(find_held(f, *(args if type(args) is tuple else (args,))))


def begun(f: Any, args: Any) -> Keeper:
    """Return its keeper with the check begun, where no `with` stands: call its `end` in the end."""
    kept = keeper(f, args)
    try:
        for _ in range(2):
            kept.__enter__()
    except BaseException:
        kept.end()
        raise
    return kept


def against(
    kernel: Any,
    reference: Any,
    inputs: Any,
    wrt: int | tuple[int, ...] | None,
    precision: str | None,
    keeper: Keeper,
) -> TorchSides:
    """A kernel and a reference that takes the same arguments; neither is run in any other precision than it is for."""
    plain = Torch(TorchAutodiff(kernel, inputs, wrt, state=keeper.state), None)
    return TorchSides(plain._low, plain._call_of(reference), function_name(reference), precision)  # pyright: ignore[reportPrivateUsage]


def autodiff(
    f: Any,
    args: Any,
    wrt: int | tuple[int, ...] | None,
    *,
    cotangents: Sequence[Tensor] | None = None,
    is_gappy: bool = False,
    keeper: Keeper | None = None,
) -> Torch:
    """Look at f as torch does; beside it at a float64 copy, where f is of lower precision and runs in float64.

    `cotangents` and `is_gappy` are those of `Derivative`; `keeper` is that of f, where the check runs within it.
    """
    low = TorchAutodiff(f, args, wrt, state=None if keeper is None else keeper.state)
    return Torch(low, _copied(low, f, args, wrt), cotangents=cotangents, is_gappy=is_gappy)


def _copied(low: TorchAutodiff, f: Any, args: Any, wrt: int | tuple[int, ...] | None) -> TorchAutodiff | None:
    """A float64 copy of a function of lower precision; None where there is none that computes the same."""
    if not is_low(low):
        return None
    try:
        with low.at_rest():
            wide = tuple(map(doubled, args)) if type(args) is tuple else doubled(args)
            copied = doubled(f)
            # (A module is copied, and nobody has a hold of the copy; all else that f holds is the same.)
            positional = wide if type(wide) is tuple else (wide,)
            is_same = copied is f and not find_held(None, *positional).modules
            held = find_held(copied, *positional)
            state = low.state if is_same else State(held.modules, held, keep_grads=False)
            return fitting(low, lambda: TorchAutodiff(copied, wide, wrt, state=state))
    except Exception:
        # Whatever it is: f does not run in float64, and is differenced as it is.
        return None


class _Copies:
    """See `gradproof._backends._torch_alone.Copies`."""

    def doubled(self, tree: Any) -> Any:
        return doubled(tree)

    def beside(self, low: TorchAutodiff, make: Callable[[], TorchAutodiff]) -> TorchAutodiff | Upcast:
        if not is_low(low):
            return low
        try:
            high = make()
            return Upcast(low, high) if agree(low, high) else low
        except Exception:
            # Whatever it is: the part does not run in float64, and is differenced as it is.
            return low


COPIES = _Copies()


class Upcast:
    """A function whose values come from a copy in float64 and whose derivatives are the claims of the original.

    Its arguments are those of the original in float64, which holds them exactly; a derivative is computed at the same
    point in the original's own precision and then widened.

    Attributes
    ----------
    of_whole : frozenset of str
        As for a `TorchAutodiff`.
    """

    def __init__(self, low: TorchAutodiff | Derivative, high: TorchAutodiff | Derivative) -> None:
        self._low, self._high = low, high
        self.names, self.count = low.names, low.count
        self.arguments = (*widened(low.arguments[: low.count]), *high.arguments[low.count :])
        self.is_scalar, self.left_out = low.is_scalar, low.left_out
        self.of_whole: frozenset[str] = frozenset()

    def value(self, *arguments: Any) -> Any:
        """What the copy returns."""
        return self._high.value(*arguments)

    def many(self, leaves: Sequence[Tensor]) -> Any:
        """The copy at many points at once."""
        return self._high.many(leaves) if isinstance(self._high, TorchAutodiff) else None

    def vjp(self, cotangent: Any, *arguments: Any) -> Any:
        """Reverse mode of the original."""
        return widened(self._low.vjp(cotangent, *self._narrowed(arguments)))

    def jvp(self, tangents: Any, *arguments: Any) -> Any:
        """Forward mode of the original."""
        narrow = [
            tangent.to(_dtype_like(tangent, own))
            for tangent, own in zip(tangents, self._low.arguments[: self.count], strict=True)
        ]
        return widened(self._low.jvp(tuple(narrow), *self._narrowed(arguments)))

    def vjps(self, mode: str, cotangents: Sequence[Any], *arguments: Any) -> Any:
        """Batched or compiled reverse mode of the original."""
        assert isinstance(self._low, TorchAutodiff)
        return [widened(one) for one in self._low.vjps(mode, cotangents, *self._narrowed(arguments))]

    def _narrowed(self, arguments: Sequence[Any]) -> list[Any]:
        """The original's own arguments, the differentiated ones at the point asked for."""
        own = self._low.arguments
        moved = [given.to(mine.dtype) for given, mine in zip(arguments[: self.count], own[: self.count], strict=True)]
        return [*moved, *own[self.count :]]


def doubled(tree: Any) -> Any:
    """Return a tree with every floating tensor in float64 (complex128) and every module as a copy in float64."""
    flat = _tree.flatten((tree,), ("args",), none_is_leaf=True)
    values: list[Any] = [None] * len(flat.leaves)
    for leaf in flat.leaves:
        values[leaf.slot] = _doubled(leaf.value)
    return flat.structure.unflatten(values)[0]


def widened(tree: Any) -> Any:
    """Return the same numbers in float64."""
    return tuple(map(_doubled, tree)) if isinstance(tree, tuple) else _doubled(tree)


def _doubled(value: Any) -> Any:
    if isinstance(value, torch.nn.Module):
        return copy.deepcopy(value).double()
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value
    wide = value.detach().to(torch.complex128 if value.is_complex() else torch.float64)
    return wide.requires_grad_(value.requires_grad)


def _as_tensor(value: Any) -> Any:
    """What a reference returned, as a tensor where it is numbers: it need not be computed by torch."""
    if isinstance(value, Tensor):
        return value.detach()
    is_number = isinstance(value, (float, complex, np.floating, np.complexfloating, np.ndarray))
    return torch.as_tensor(np.asarray(value)) if is_number else value


def _dtype_like(tensor: Tensor, own: Tensor) -> torch.dtype:
    return own.dtype if tensor.is_complex() == own.is_complex() else tensor.dtype


def claim_precision(
    low: TorchAutodiff, high: TorchAutodiff, bounds: tuple[Sequence[Any], Sequence[Any]] | None = None
) -> float:
    """How precise a claim in low precision can be: its eps, or what rounding of the point does to the gradient.

    One rounding of the point at random, but within `bounds`, both gradients in float64, shows how well conditioned the
    gradient is (backward error analysis: a stable algorithm returns the exact result for slightly perturbed data).
    """
    arguments = high.arguments
    eps = max(torch.finfo(tensor.dtype).eps for tensor in low.arguments[: low.count])
    generator = torch.Generator().manual_seed(0)

    def gradient(moved: Sequence[Tensor]) -> Sequence[Tensor]:
        value = high.value(*high.at_point())
        ones = tuple(torch.ones_like(part) for part in value) if isinstance(value, tuple) else torch.ones_like(value)
        return high.vjp(ones, *moved, *high.others())

    leaves = arguments[: high.count]
    rounded = [_rounded_at_random(leaf, eps, generator) for leaf in leaves]
    if bounds is not None:
        rounded = [_clipped(*one) for one in zip(rounded, *bounds, strict=True)]
    worst = eps
    try:
        pairs = list(zip(gradient([leaf.clone() for leaf in leaves]), gradient(rounded), strict=True))
    except Exception as error:
        if is_from_handler(error):
            raise
        return worst  # the backward does not run in float64, as that of many kernels does not
    for exact, shifted in pairs:
        size = float(exact.abs().square().sum().sqrt())
        change = float((shifted - exact).abs().square().sum().sqrt())
        if 0 < size < math.inf and change < 0.03 * size:
            worst = max(worst, change / size)
    return worst


def _rounded_at_random(leaf: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(leaf.shape, generator=generator, dtype=torch.float64).to(leaf.device)
    # (Infinity times a factor is nan in one part of a complex entry.)
    return torch.where(leaf.isfinite(), leaf * (1 + eps * (drawn - 0.5)), leaf)


def _clipped(tensor: Tensor, lower: Any, upper: Any) -> Tensor:
    """A tensor within bounds, each None, a number or an array of its shape."""
    sides = [None if side is None else torch.as_tensor(np.array(side), device=tensor.device) for side in (lower, upper)]
    return tensor if sides == [None, None] else tensor.clamp(*sides)


def casts_down(high: TorchAutodiff) -> bool:
    """Whether a float64 copy computes in lower precision inside, as norms and softmax of language models do."""
    watch = Casts()
    try:
        with high.at_rest(), torch.no_grad(), watch:
            high.value(*high.at_point())
    except Exception:
        # Whatever does not run under a dispatch mode is not known to.
        return False
    return watch.seen


def is_low(function: TorchAutodiff) -> bool:
    """Whether any differentiated tensor is of lower precision than float64."""
    return any(tensor.dtype not in (torch.float64, torch.complex128) for tensor in function.arguments[: function.count])


def fitting(low: TorchAutodiff, make: Callable[[], TorchAutodiff]) -> TorchAutodiff | None:
    """A copy that computes the same function, under autocast as if there were none; None where it is another one."""
    dtype = autocast_dtype(low)
    if dtype is None:
        high = make()
        return high if agree(low, high) else None
    with all_wide():
        high = make().within(all_wide)
    for function in (low, high):  # both are to be differentiated: where one is not, this raises
        values = function.value(*function.at_point())
        ones = tuple(map(torch.ones_like, values)) if isinstance(values, tuple) else torch.ones_like(values)
        function.vjp(ones, *function.at_point())
    return high if agree(low, high, torch.finfo(dtype).eps) else None


def agree(low: TorchAutodiff, high: TorchAutodiff, eps: float = 0.0) -> bool:
    """Whether the copy computes the same function: float64 outputs of the same shapes, equal to rounding.

    Where f draws random numbers, which some functions of torch do otherwise in float64, one value may agree by luck.
    `eps` is that of what f computes in, where it is more than that of its outputs.
    """
    return _agree_here(low, high, eps) and (
        not low.state.random_has_moved or all(_agree_drawing(low, high, eps, seed) for seed in OTHER_SEEDS)
    )


def _agree_drawing(low: TorchAutodiff, high: TorchAutodiff, eps: float, seed: int) -> bool:
    with low.state.drawing(seed), high.state.drawing(seed) if high.state is not low.state else contextlib.nullcontext():
        return _agree_here(low, high, eps)


def _agree_here(low: TorchAutodiff, high: TorchAutodiff, least: float) -> bool:
    one, other = low.value(*low.at_point()), high.value(*high.at_point())
    pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
    for mine, copied in pairs:
        if copied.dtype not in (torch.float64, torch.complex128) or mine.shape != copied.shape:
            return False
        if mine.numel() == 0 or mine.dtype == copied.dtype:
            continue
        eps = max(least, torch.finfo(mine.dtype).eps)
        largest = float(copied.abs().max())
        if not float((mine.to(copied.dtype) - copied).abs().max()) <= min(ROUNDINGS * eps, 0.25) * largest:
            return False
    return True
