"""A PyTorch module with its loss, seen as a function of its parameters, of its inputs, or of both."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools as ft
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gradproof._backends._torch import dtype_of
from gradproof._backends._torch_autodiff import TorchAutodiff, is_floating
from gradproof._backends._torch_covered import called_modules, covered
from gradproof._backends._torch_findings import summary
from gradproof._backends._torch_graph import is_by_the_user, rule_name
from gradproof._backends._torch_held import Held, find_held
from gradproof._backends._torch_inputs import marked
from gradproof._backends._torch_parts import LossPart, Scene, rules_of
from gradproof._backends._torch_sides import Call
from gradproof._backends._torch_state import Keeper, State, path_of
from gradproof._backends._torch_upcast import COPIES, Torch, doubled, fitting, is_low
from gradproof._base import _tree
from gradproof._base._advice import takes
from gradproof._base._errors import FunctionError, UsageError
from gradproof._report import EMPTY, Finding, LeafResult, Verdict

Tensor = torch.Tensor
Loss = Callable[[Any, Any], Any]

WRT = ("parameters", "inputs", "all")


def keeper(model: torch.nn.Module, loss: Loss, batch: Any, reference: Any = None) -> Keeper:
    """What a check of a module runs within: everything is left as it was found."""
    held = Held()
    held.look(model, "model")
    held.look(loss, "loss")
    held.look(batch, "batch")
    if reference is not None:
        held.look(reference, "reference")
    return Keeper(held)


class Parameters:
    """The parameters of a module by their paths, each once.

    Attributes
    ----------
    named : dict of str to Parameter
        The trainable ones, by the name that the module gives them.
    paths : dict of str to str
        Their paths as Python source.
    frozen : list of str
        Paths of those that do not require grad.
    tied : list of list of str
        Paths of parameters that are one.
    """

    def __init__(self, model: torch.nn.Module, root: str = "model") -> None:
        names: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        self.named: dict[str, Tensor] = {}
        self.paths: dict[str, str] = {}
        self.frozen: list[str] = []
        self.tied: list[list[str]] = []
        for name, parameter in model.named_parameters():
            path = root + path_of(model, name)
            same = names[id(parameter)]
            if len(same) > 1:
                self.tied.append([root + path_of(model, one) for one in same])
            if parameter.requires_grad:
                self.named[name], self.paths[name] = parameter, path
            else:
                self.frozen.append(path)


class _Holder(torch.nn.Module):
    """Calls anything with the model, so that `torch.func.functional_call` may give the model other parameters."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[torch.nn.Module], Any]) -> Any:
        return work(self.model)


def of_criterion(criterion: Callable[..., Any]) -> Loss:
    """A criterion, ``criterion(output, target)``, as the loss of a model and a batch ``(inputs, targets)``.

    A tuple of inputs stands for the arguments of the model; what follows the targets goes to the criterion, too.
    """

    def loss(model: torch.nn.Module, batch: Sequence[Any]) -> Any:
        inputs, *others = batch
        return criterion(model(*inputs) if type(inputs) is tuple else model(inputs), *others)

    loss.__name__ = str(getattr(criterion, "__name__", type(criterion).__name__))
    return loss


def with_loss(model: torch.nn.Module, loss: Loss, batch: Any, wrt: str, keeper: Keeper) -> TorchModule:
    """A module with its loss, or with a criterion where what is passed as loss can only be called as one.

    Raises
    ------
    UsageError
        If there is nothing to differentiate.
    FunctionError
        If it can be called neither way.
    """
    try:
        return TorchModule(model, loss, batch, wrt, keeper)
    except FunctionError as error:
        if not isinstance(error.__cause__, (TypeError, AttributeError, ValueError, RuntimeError)):
            raise
        called = "`loss` is called as `loss(model, batch)`"
        if not takes(loss, 2):
            raise FunctionError(f"{error} ({called}: write `lambda model, batch: ...`).") from error.__cause__
        is_known = isinstance(loss, torch.nn.Module) or loss.__module__.startswith("torch.")
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            if not is_known:
                raise
            advice = "a criterion `loss(output, target)` takes a batch `(inputs, targets)`"
            raise FunctionError(f"{error} ({called}; {advice}).") from error.__cause__
        try:
            return TorchModule(model, of_criterion(loss), batch, wrt, keeper)
        except FunctionError as other:
            if not is_known:
                raise error from error.__cause__
            raise FunctionError(f"as the criterion of `loss(model(inputs), targets)`, {other}") from other.__cause__


class TorchModule(Torch):
    """A module with its loss, and all that torch offers for it (see `gradproof._claims._modes.Autodiff`).

    Raises
    ------
    UsageError
        If there is nothing to differentiate.
    """

    def __init__(self, model: torch.nn.Module, loss: Loss, batch: Any, wrt: str, keeper: Keeper) -> None:
        self._model, self._loss, self._wrt = model, loss, wrt
        self._parameters = Parameters(model)
        with called_modules(keeper.state.roots, loss) as self._called:
            low = _function(model, self._parameters, loss, batch, wrt, keeper.state)
        if not low.is_scalar:
            raise UsageError("`loss` must return one real number, a tensor with one entry: reduce it, with `.mean()`.")
        super().__init__(low, self._copy(low, batch) if is_low(low) else None)

    def empty_leaves(self) -> list[LeafResult]:
        """What is differentiated, where none of it has an entry; else nothing."""
        low = self._own
        tensors = low.arguments[: low.count]
        if any(tensor.numel() for tensor in tensors):
            return []
        return [
            LeafResult(
                path=name,
                shape=tuple(tensor.shape),
                dtype=dtype_of(tensor),
                verdict=Verdict.CORRECT,
                bound=0.0,
                note=EMPTY,
            )
            for name, tensor in zip(low.names, tensors, strict=False)
        ]

    @property
    def note(self) -> str:
        """What the reference is, and which rules and modules are looked at."""
        rules = [rule_name(rule) for rule in rules_of(self._low) if is_by_the_user(rule)]
        return "; ".join(filter(None, (super().note, covered(rules, self._called))))

    def _copy(self, low: TorchAutodiff, batch: Any) -> TorchAutodiff | None:
        """The same in float64; None where that does not run, or is not the same function."""
        try:
            model = doubled(self._model)
            held = find_held(self._loss)
            others = {name: part for name, part in held.modules.items() if part is not self._model}
            state = State({"model": model, **others}, held, keep_grads=False)
            wide = doubled(batch)
            return fitting(low, lambda: _function(model, Parameters(model), self._loss, wide, self._wrt, state))
        except Exception:
            return None  # whatever it is: differences of the model as it is will do

    def trusted(self, reference: Any) -> Callable[..., Any]:
        """A module or function of higher precision as one of the arguments of `function`.

        A module gets the parameters by their names, a function as a mapping; both have every floating tensor in
        float64.

        Raises
        ------
        UsageError
            If a module has no parameter of a name that is differentiated.
        """
        return super().trusted(self._evaluated(reference))

    def _call_of(self, reference: Any) -> Call:
        """The reference as one of the arguments of `function`, in any precision."""
        low, evaluated = self._own, self._evaluated(reference)

        def call(leaves: Sequence[Tensor], others: Sequence[Any], is_wide: bool) -> Any:
            return evaluated(*low.argument([*leaves, *(doubled(tuple(others)) if is_wide else others)]))

        return call

    def _evaluated(self, reference: Any) -> Callable[..., Any]:
        """``evaluated(tensors, batch)`` of a reference; the parameters that are not given are as precise as these."""
        loss, named = self._loss, dict(self._model.named_parameters())
        chosen = list(self._parameters.named)
        if isinstance(reference, torch.nn.Module):
            own = {name for name, _ in reference.named_parameters(remove_duplicate=False)}
            missing = [name for name in chosen if name not in own]
            if missing:
                raise UsageError(
                    f"`reference` has no parameter {missing[0]!r} as the model has: pass a module of such names, or "
                    "a function `reference(parameters, batch)`."
                )
            holder = _Holder(reference)

            def computed(parameters: Mapping[str, Any], batch: Any) -> Any:
                given = {f"model.{name}": value for name, value in parameters.items() if name in own}
                return torch.func.functional_call(holder, given, (lambda model: loss(model, batch),))  # pyright: ignore[reportUnknownLambdaType]
        else:
            computed = reference
        own_dtypes = {name: parameter.detach() for name, parameter in named.items()}
        wide = doubled(own_dtypes)

        @ft.wraps(computed)
        def evaluated(tensors: Sequence[Tensor], batch: Any) -> Any:
            is_low = bool(tensors) and tensors[0].dtype not in (torch.float64, torch.complex128)
            others = own_dtypes if is_low else wide
            return computed({**others, **dict(zip(chosen, tensors, strict=False))}, batch)

        return evaluated

    def argument(self, values: Sequence[Any]) -> Any:
        """Another point: parameters by name, the batch, or both."""
        tensors, batch = super().argument(values)
        parameters = dict(zip(self._parameters.named, tensors, strict=False))
        return {"parameters": parameters, "inputs": batch}.get(self._wrt, (parameters, batch))

    def findings(self, leaves: Mapping[str, Verdict]) -> list[Finding]:
        """Notes on frozen, tied and unused parameters; errors for those that lost their graph."""
        found = super().findings(leaves)
        if self._wrt == "inputs":
            return found
        found += summary("GP405", self._parameters.frozen, "frozen (`requires_grad` is False): not differentiated")
        for same in self._parameters.tied:
            found += summary("GP406", same[:1], f"tied: one parameter with {', '.join(same[1:])}, and one gradient")
        return found

    def whole(self) -> LossPart:
        """The loss, to be searched for the part that is wrong."""
        return LossPart(Scene(self._low.state.roots, self._low, COPIES), getattr(self._loss, "__name__", "loss"))


def _function(
    model: torch.nn.Module, parameters: Parameters, loss: Loss, batch: Any, wrt: str, state: State
) -> TorchAutodiff:
    """The loss of trainable parameters (a list) and of the batch, of which `wrt` says what is differentiated."""
    by_parameters, by_inputs = wrt != "inputs", wrt != "parameters"
    names = list(parameters.named) if by_parameters else []
    within = _tree.flatten((batch,), ("batch",), none_is_leaf=True).leaves
    has_inputs = any(is_floating(leaf.value) for leaf in within)
    few = "it has none" if not parameters.frozen else "all are frozen (`requires_grad` is False)"
    if wrt == "all" and not names and not has_inputs:
        raise UsageError(f"there is no parameter to check ({few}), and no floating tensor in `batch`.")
    if wrt == "parameters" and not names:
        raise UsageError(f'there is no parameter of the model to check: {few}; pass `wrt="inputs"`.')
    if wrt == "inputs" and not has_inputs:
        raise UsageError("there is no floating tensor in `batch` to differentiate with respect to.")
    holder = _Holder(model)

    def evaluate(tensors: Sequence[Tensor], batch: Any) -> Any:
        given = {f"model.{name}": tensor for name, tensor in zip(names, tensors, strict=True)}
        return torch.func.functional_call(holder, given, (lambda model: loss(model, batch),))  # pyright: ignore[reportUnknownLambdaType]

    evaluate.__name__ = getattr(loss, "__name__", type(loss).__name__)
    tensors = [parameters.named[name] for name in names]
    chosen = tuple(i for i, is_chosen in enumerate((by_parameters, by_inputs)) if is_chosen)
    if wrt == "all":

        def value(batch: Any) -> Any:
            state.rewind()
            return evaluate([tensor.detach() for tensor in tensors], batch)

        batch = marked(batch, value, has_parameters=bool(names))
        state.rewind()
    return TorchAutodiff(
        evaluate,
        (tensors, batch),
        # (All parameters require grad, and of the batch what is to be differentiated.)
        None if wrt == "all" else chosen,
        names=[*(parameters.paths[name] for name in names), *(leaf.path for leaf in within)],
        state=state,
    )
