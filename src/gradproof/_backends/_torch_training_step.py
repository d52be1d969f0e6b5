"""One step of a training loop in PyTorch: the loss along a line through the parameters, and what `.grad` claims there.

The parameters are never written into: the model is lent moved copies, and everything else is put back.
"""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradproof import _backends
from gradproof._backends._torch_processes import Collectives, are_several
from gradproof._backends._torch_random import RandomState
from gradproof._backends._torch_room import has_room
from gradproof._backends._torch_state import Keeper
from gradproof._backends._torch_training import Autocasts, Training
from gradproof._backends._torch_upcast import OTHER_SEEDS, ROUNDINGS, doubled
from gradproof._base import _tree
from gradproof._base._errors import FunctionError, UsageError
from gradproof._base._pieces import LARGE

Tensor = torch.Tensor
Floats = NDArray[np.float64]


def in_groups(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in an order of chance, in groups of at most so many entries (or of one array); all if these are few."""
    names = list(sizes)
    if sum(sizes.values()) < most:
        return [names]
    groups: list[list[str]] = [[]]
    for i in np.random.default_rng(0).permutation(len(names)):
        if groups[-1] and sum(sizes[one] for one in (*groups[-1], names[i])) > most:
            groups.append([])
        groups[-1].append(names[i])
    return groups


class TrainingStep:
    """The loss at the step that training has come to, along a line; use it within `Training.kept`.

    Parameters
    ----------
    batches : sequence
        Those whose gradients `.grad` adds up.
    factor : float
        What each loss was multiplied with before backward.

    Attributes
    ----------
    still : sequence of str
        Parameters that the latest direction does not move: it is the turn of others.
    autocast : callable
        A context of autocast as it was when the model was called in training.
    """

    def __init__(self, training: Training, batches: Sequence[Any], factor: float, keeper: Keeper) -> None:
        self._training, self._batches, self._factor, self._keeper = training, batches, factor, keeper
        self._calls = list(training.calls)
        self.autocast = self._calls[0].autocast if self._calls else contextlib.nullcontext
        training.look()
        self._named = training.named()
        self._own = {**dict(training.inner.named_parameters()), **dict(training.inner.named_buffers())}
        names = {id(one): name for name, one in self._own.items()}
        # Where they are, tied ones in several places: the members of a module, the key there, and the name.
        self._places: list[tuple[dict[str, Any], str, str]] = [
            (members, key, names[id(one)])
            for module in training.inner.modules()
            for members in (module._parameters, module._buffers)
            for key, one in members.items()
            if one is not None
        ]
        self._called = 0
        # What was drawn since the loss, and since the model, were called; a seed in place of the states of this step.
        self._start: RandomState | None = None
        self._since: RandomState | None = None
        self._seed: int | None = None
        self._sizes: dict[str, float] = {}
        self._moves: dict[str, Tensor] = {}
        self.still: Sequence[str] = ()
        # What is computed anew where the random numbers of this step cannot be drawn again.
        self._gradient: dict[str, Tensor | None] | None = None
        if training.is_wide is None:
            is_wide = training.processes.together(self._learned)
            training.is_wide = training.processes.every(holds=is_wide)
            # (These decide what a probe asks of all processes.)
            training.autocast_eps = training.processes.largest(training.autocast_eps)
            training.draws = bool(training.processes.largest(training.draws))

    def _learned(self) -> bool:
        """Evaluate the loss for the first time, and see what it does; return whether it is the same in float64."""
        with Collectives() if are_several() else contextlib.nullcontext():
            with Autocasts(self._training):
                low = self._first_value()
            if are_several():
                self._own_gradient()
        return self._is_same_in_double(low) and all(map(self._is_same_drawn, OTHER_SEEDS))

    @property
    def eps(self) -> float:
        """Relative precision of the values."""
        return torch.finfo(torch.float64 if self._training.is_wide else self._dtype()).eps

    @property
    def claim_eps(self) -> float:
        """Relative precision of the gradient."""
        own = torch.finfo(self._dtype()).eps
        return max(own, self._training.autocast_eps)

    @property
    def is_autocast(self) -> bool:
        """Whether the model was called under autocast."""
        return self._training.autocast_eps > 0

    def _dtype(self) -> torch.dtype:
        return max((one.dtype for one in self._named.values()), key=lambda dtype: torch.finfo(dtype).eps)

    @property
    def is_exact(self) -> bool:
        """Whether the loss is that of this step: its random numbers are none, or can be drawn again."""
        training, count = self._training, len(self._batches)
        if not training.draws:
            return True
        if training.is_told:
            return len(self._calls) == count
        is_in_model = training.calls_per_batch > 0 and not training.draws_before
        return is_in_model and len(self._calls) == training.calls_per_batch * count

    def _first_value(self) -> float:
        """The loss as it is, by which way of calling it runs."""
        training = self._training
        try:
            value = self._attempt()
        except Exception as error:
            batch = self._batches[0]
            many = len(self._batches)
            hint = f". (`step` got {many} batches: pass one batch as one argument.)" if many > 1 else ""
            said = f"`loss(model, batch)` raised {type(error).__name__}: {error}{hint}"
            if isinstance(error, UsageError):
                raise
            if not isinstance(batch, (tuple, list)) or len(batch) < 2:
                raise FunctionError(said) from error
            training.is_criterion, training.needs_graph = True, False
            try:
                value = self._attempt()
            except UsageError:
                raise
            except Exception:
                raise FunctionError(said) from error
        training.calls_per_batch = self._called // len(self._batches)
        return value

    def _attempt(self) -> float:
        try:
            return self._value({})
        except Exception:
            if self._training.needs_graph:
                raise
            self._training.needs_graph = True
            return self._value({})

    def _is_same_drawn(self, seed: int) -> bool:
        """Whether the same is computed in float64 with other random numbers: one value may agree by luck."""
        if not self._training.draws:
            return True
        self._seed = seed
        try:
            return self._is_same_in_double(self._value({}))
        finally:
            self._seed = None

    def _is_same_in_double(self, low: float) -> bool:
        """Whether the loss is the same in float64."""
        everything = list(self._training.inner.parameters())
        if self._dtype() == torch.float64:
            return True
        if sum(one.numel() for one in everything) >= LARGE and not has_room(one.double() for one in everything):
            return False
        try:
            self._training.is_wide = True
            high = self._value({})
            self._training.casts_down = bool(self._training.casts_down)
        except Exception:
            return False  # whatever it is: f does not run in float64
        finally:
            self._training.is_wide = None
        return abs(low - high) <= min(ROUNDINGS * self.claim_eps, 0.25) * abs(high)

    # The line

    def norms(self, seed: int) -> dict[str, float]:
        """The norm of the gradient times the natural size, of every parameter of the group whose turn it is."""
        processes = self._training.processes
        if self._gradient is None and not processes.every(holds=self.is_exact):
            self._calls = []
            own = processes.together(self._own_gradient)
            self._gradient = {name: self._mean(name, one) for name, one in own.items()} if processes.is_shared else own
        names = self._group()
        self._sizes: dict[str, float] = {}
        found: dict[str, float] = {}
        numbers = [number for name in names for number in self._size_and_norm(name)]
        for i, (name, number) in enumerate(zip(names, torch.stack(numbers[::2]).tolist(), strict=True)):
            size = number / math.sqrt(max(self._named[name].numel(), 1))
            self._sizes[name] = size if size > 0 else 1.0
            found[name] = float(numbers[2 * i + 1]) * self._sizes[name] / abs(self._factor)
        unequal = processes.unequal(list(found.values()))
        if unequal:
            path = self._training.paths[names[unequal[0]]]
            raise UsageError(
                f"`.grad` of `{path}` is not the same in all processes: call `guard.step` only after a `backward` that "
                "averages it, not within `no_sync()`, with all batches since the last `zero_grad`."
            )
        self._generator = torch.Generator(self._named[names[0]].device).manual_seed(seed % 2**63)
        return found

    def _mean(self, name: str, gradient: Tensor | None) -> Tensor:
        """The mean over all processes, some of which may not have used this parameter."""
        dense = torch.zeros_like(self._named[name]) if gradient is None else gradient.to_dense()
        return self._training.processes.mean(dense)

    def _group(self) -> list[str]:
        """All parameters, or of a large model as many as have `LARGE` entries, in turn and in an order of chance."""
        groups = in_groups({name: one.numel() for name, one in self._named.items() if one.numel()}, LARGE)
        self._training.turn += 1
        turn = self._training.turn % len(groups)
        self.still = [name for i, group in enumerate(groups) if i != turn for name in group]
        return groups[turn]

    def _size_and_norm(self, name: str) -> tuple[Tensor, Tensor]:
        gradient = self._claim(name)
        norm = self._named[name].detach().double().norm()
        return norm, torch.zeros_like(norm) if gradient is None else gradient.double().norm()

    def _claim(self, name: str) -> Tensor | None:
        """What training has computed, or where that step cannot be repeated what is computed anew."""
        gradient = self._named[name].grad if self._gradient is None else self._gradient[name]
        return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient

    def draw(self, factors: Mapping[str, float]) -> tuple[float, int]:
        """Draw a direction, uniform on the sphere; return what the gradient claims along it, and how many move."""
        self._moves = {}
        squares: list[Tensor] = []
        for name in factors:
            one = self._named[name]
            # (In float32, which is faster.)
            drawn = torch.randn(one.shape, generator=self._generator, dtype=torch.float32, device=one.device)
            self._moves[name] = drawn.double()
            squares.append(self._moves[name].square().sum())
        count = sum(self._named[name].numel() for name in factors)
        radius = math.sqrt(count / float(torch.stack(squares).sum()))
        claimed: list[Tensor] = []
        for name, factor in factors.items():
            self._moves[name] *= radius * factor * self._sizes[name]
            gradient = self._claim(name)
            if gradient is not None:
                claimed.append((gradient.double() * self._moves[name]).sum())
        return float(torch.stack(claimed).sum()) / self._factor if claimed else 0.0, count

    def values(self, steps: Floats) -> Floats:
        """The loss along the line, summed over the batches; nan where it raises."""
        device = next(iter(self._named.values())).device if self._training.processes.is_shared else "cpu"
        found = torch.tensor([self._along(step) for step in steps.tolist()], dtype=torch.float64, device=device)
        return self._training.processes.mean(found).cpu().numpy()

    def _along(self, step: float) -> float:
        moved: dict[str, Tensor] = {}
        correction = 0.0
        for name, v in self._moves.items():
            own = self._named[name].detach()
            to = own.double() + step * v
            if not self._training.is_wide:
                # What rounding has made of the step counts as far as the gradient tells.
                rounded, exact = to.to(own.dtype), to
                gradient = self._claim(name)
                if gradient is not None:
                    correction += float((gradient.double() * (rounded.double() - exact)).sum()) / self._factor
                to = rounded
            moved[name] = to
        try:
            return self._value(moved) - correction
        except Exception:
            return math.nan  # away from the point it may raise whatever it likes

    # Evaluations

    def _value(self, moved: Mapping[str, Tensor]) -> float:
        with contextlib.nullcontext() if self._training.needs_graph else torch.no_grad():
            return float(self.total(moved).detach())

    def total(self, moved: Mapping[str, Tensor]) -> Tensor:
        """The loss of all batches with some parameters moved."""
        self._called = 0
        self._keeper.state.rewind()
        if self._seed is not None:
            torch.manual_seed(self._seed)
        handle = self._training.inner.register_forward_pre_hook(self._replay)
        try:
            losses = [self._one(moved, i) for i in range(len(self._batches))]
        finally:
            handle.remove()
        return losses[0] if len(losses) == 1 else torch.stack([one.reshape(()) for one in losses]).sum()

    def _one(self, moved: Mapping[str, Tensor], position: int) -> Tensor:
        training, batch = self._training, self._batches[position]
        if training.is_told and self._seed is None and position < len(self._calls):
            self._calls[position].random.restore()
        # (Until it is known whether random numbers are drawn, and whether before the model is called.)
        self._start = RandomState(training.generators) if training.is_wide is None else None
        self._since = None
        if training.needs_graph:
            moved = {name: moved.get(name, one.detach()).requires_grad_() for name, one in self._named.items()}
        buffers = dict(training.inner.named_buffers())
        given = dict(moved)
        if training.is_wide:
            others = {**dict(training.inner.named_parameters()), **buffers}
            given |= {name: _wide(one) for name, one in others.items() if name not in moved}
            batch = doubled(batch)
        else:
            given |= {name: buffer.clone() for name, buffer in buffers.items()}
            batch = _copied(batch)
        loss = training.loss
        with self.autocast(), self._lent(given), training.widening():
            value = loss(training.inner, batch)
        if training.is_wide is None:
            training.draws |= any(since is not None and since.has_moved for since in (self._start, self._since))
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise UsageError("`loss` must return one real number: reduce it, for example with `.mean()`.")
        return value

    @contextlib.contextmanager
    def _lent(self, given: Mapping[str, Tensor]) -> Generator[None]:
        """Within this context the model has other parameters and buffers; as `torch.func.functional_call`, but faster.

        (Whatever breaks it off, the state that is kept puts them back.)
        """
        try:
            for members, key, name in self._places:
                if name in given:
                    members[key] = given[name]
            yield
        finally:
            for members, key, name in self._places:
                members[key] = self._own[name]

    def _replay(self, module: torch.nn.Module, args: Any) -> None:
        """Put the random states where they were when this call was made in training."""
        training = self._training
        if self._start is not None:
            training.draws_before |= self._start.has_moved
            training.draws |= training.draws_before
            self._start = None
        if self._seed is not None:
            torch.manual_seed(self._seed + self._called)
        elif self._called < len(self._calls) and not training.is_told:
            self._calls[self._called].random.restore()
        if training.is_wide is None and self._since is None:
            self._since = RandomState(training.generators)
        self._called += 1

    def _own_gradient(self) -> dict[str, Tensor | None]:
        """The gradient at this point computed anew, in the model's own precision."""
        leaves = {name: one.detach().requires_grad_() for name, one in self._named.items()}
        was, self._training.is_wide = self._training.is_wide, False
        try:
            with torch.enable_grad():
                total = self.total(leaves)
                found = torch.autograd.grad(total * self._factor, list(leaves.values()), allow_unused=True)
        finally:
            self._training.is_wide = was
        return dict(zip(leaves, found, strict=True))

    # For full checks

    def wide_copy(self) -> torch.nn.Module | None:
        """The model in float64; None where it does not run so."""
        if not self._training.is_wide:
            return None
        try:
            return copy.deepcopy(self._training.inner).double()
        except Exception:
            return None

    def delivered(
        self, deviation: float
    ) -> tuple[Callable[[dict[str, Tensor]], Tensor], dict[str, Tensor], dict[str, Tensor]] | None:
        """The loss as a function of parameters by name, these, and their `.grad`.

        None where the loss of this step cannot be repeated, or `.grad` is what autograd returns here, as far as that
        matters for a deviation along the line.
        """
        if self._gradient is not None or self._training.processes.is_shared:
            return None
        own = self._own_gradient()
        computed = [(own[name], v) for name, v in self._moves.items()]
        along = [(one.double() * v).sum() for one, v in computed if one is not None]
        claims = [(self._claim(name), v) for name, v in self._moves.items()]
        claimed = sum(float((one.double() * v).sum()) for one, v in claims if one is not None)
        if abs(float(sum(along)) - claimed) <= deviation * abs(self._factor) / 2:
            return None
        dtype = torch.float64 if self._training.is_wide else None
        point = {name: one.detach().to(dtype or one.dtype) for name, one in self._named.items() if one.numel()}
        delivered: dict[str, Tensor] = {}
        for name, one in point.items():
            claim = self._claim(name)
            delivered[name] = torch.zeros_like(one) if claim is None else claim.to(one.dtype) / self._factor

        def loss(params: dict[str, Tensor]) -> Tensor:
            return self.total(params)

        return loss, point, delivered


def _wide(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.double() if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor.clone()


def _copied(batch: Any) -> Any:
    """A batch with copies of its tensors."""
    flat = _tree.flatten((batch,), ("batch",), none_is_leaf=True)
    values: list[Any] = [None] * len(flat.leaves)
    for leaf in flat.leaves:
        values[leaf.slot] = _backends.copied(leaf.value) if isinstance(leaf.value, Tensor) else leaf.value
    return flat.structure.unflatten(values)[0]
