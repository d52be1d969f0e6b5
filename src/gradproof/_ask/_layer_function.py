"""A layer as a function of the arrays whose gradients are compared, and what its backward claims of them."""

from __future__ import annotations

import copy
import dataclasses
import functools as ft
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from gradproof import _backends
from gradproof._ask._check import Options, check_claims
from gradproof._ask._layer_call import Convention, read_convention, split
from gradproof._ask._layer_match import Matched, Matcher, is_float, is_float_array
from gradproof._ask._layer_state import (
    Parameter,
    State,
    clear_gradients,
    find_parameters,
    forget,
    parameters_named,
)
from gradproof._base import _tree
from gradproof._base._away import is_from_handler
from gradproof._base._clock import within
from gradproof._base._errors import ClaimError, FunctionError, UsageError
from gradproof._base._names import argument_names, function_name
from gradproof._base._sources import definitions
from gradproof._function._conditions import Budget
from gradproof._report import Finding, LeafResult, Report, Severity, Verdict

Function: TypeAlias = Callable[..., Any]
Keys: TypeAlias = tuple[Hashable, ...]

# Two calls of `forward` at the same point that share fewer than half of their digits differ by more than rounding.
RANDOM = math.sqrt(float(np.finfo(np.float64).eps))
# Outputs, and entries of the Jacobian, up to which a layer whose mixtures of outputs tell nothing is measured entry by
# entry: some thousand calls of a small `forward`, which take a second.
ROWS, ENTRIES = 256, 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """An array whose gradient is compared: an argument, an array within one, or a parameter of the layer."""

    path: str
    name: str
    value: Any
    # Way to its gradient in what `backward` returns; None for a parameter that the layer keeps it of.
    way: Keys | None
    # Place of the argument's leaf in the structure of all, or the parameter.
    place: int | Parameter


class LayerFunction:
    """A layer as a function of the arrays that are compared."""

    def __init__(
        self,
        forward: Function,
        backward: Function | None,
        layer: Any,
        positional: tuple[Any, ...],
        wrt: tuple[int, ...] | None,
        divided: Mapping[str, float],
        rewind: Callable[[], None],
        *,
        timeout: float | None = None,
    ) -> None:
        self.forward, self.backward, self.layer = forward, backward, layer
        self.positional, self.wrt, self.divided = positional, wrt, divided
        # Puts the global random states back, which are part of what a layer goes by.
        self._rewind = rewind
        # Seconds that a call of `forward` may take before the check, which sees to that itself.
        self._seconds = math.inf if timeout is None else float(timeout)
        self.name = kind_of(layer) if layer is not None else function_name(forward, "forward")
        self.forward_name = function_name(forward, "forward")
        self.backward_name = self.forward_name if backward is None else function_name(backward, "backward")
        self.names = argument_names(forward, len(positional))
        flat = _tree.flatten(positional, self.names, none_is_leaf=True)
        self.leaves, self._structure = flat.leaves, flat.structure
        self._by_slot = sorted(flat.leaves, key=lambda leaf: leaf.slot)
        self.parameters: list[Parameter] = []
        self._baseline: State | None = None
        self._convention: Convention | None = None
        self.compared: list[Compared] = []
        self._passive: list[_tree.NamedLeaf] = []
        self.changed: list[str] = []
        self.left_out: list[str] = []
        # Outputs that `backward` takes no cotangent of.
        self._without = 0
        # Entries of all outputs.
        self._size = 0

    # ------------------------------------------------------------------------------------------------ calling it

    def _arguments(self, values: Mapping[int, Any]) -> list[Any]:
        """The arguments of `forward`, with some leaves replaced and all containers made anew."""
        leaves = [values[leaf.slot] if leaf.slot in values else _fresh(leaf.value) for leaf in self._by_slot]
        return list(self._structure.unflatten(leaves))

    def _forward(self, values: Sequence[Any] = ()) -> tuple[Any, Any, list[Any]]:
        """Call `forward` with these values of what is compared: what it returned, taken apart, and its arguments."""
        if self.layer is not None:
            self._rewind()
        if self._baseline is not None:
            self._baseline.restore()
        arrays: dict[int, Any] = {}
        for one, value in zip([*self.compared, *self._passive], values, strict=False):
            if isinstance(one, _tree.NamedLeaf):
                arrays[one.slot] = value
            elif isinstance(one.place, Parameter):
                one.place.put(self.layer, value)
            else:
                arrays[one.place] = value
        arguments = self._arguments(arrays)
        returned = within(self._seconds, lambda: self.forward(*arguments))
        if self._convention is None:
            self._convention = self._read_convention(returned)
        if self.backward is None:
            outputs, gradients = self._with_gradients(returned)
            return outputs, gradients, arguments
        outputs, cache, self._without = split(returned, self._convention, self.forward_name)
        return outputs, cache, arguments

    def _read_convention(self, returned: Any) -> Convention:
        if self.backward is None:
            return Convention(positional=(), keywords={}, cotangents=0, has_cache=False)
        return read_convention(self.backward, self.forward, self.names, returned)

    def _with_gradients(self, returned: Any) -> tuple[Any, Any]:
        """The loss and the gradients that a function returns in one."""
        if not isinstance(returned, (tuple, list)) or len(cast("Sequence[Any]", returned)) < 2:
            raise UsageError(
                f"`{self.forward_name}` must return `(loss, gradients)` where no backward is passed: pass "
                "`check_layer(forward, backward, args)`."
            )
        loss, *gradients = cast("Sequence[Any]", returned)
        if np.shape(loss) != ():
            raise UsageError(
                f"`{self.forward_name}` must return `(loss, gradients)` with one number as loss, got an array of shape "
                f"{np.shape(loss)}: pass its backward as well, `check_layer(forward, backward, args)`."
            )
        return loss, gradients[0] if len(gradients) == 1 else gradients

    def _gradients(self, cotangent: Any, cache: Any, arguments: Sequence[Any]) -> Any:
        """Call `backward`; a change of the cotangent is remembered, and harms nobody."""
        assert self._convention is not None
        if self.backward is None:
            return cache
        count = self._convention.cotangents
        handed = _backends.copied(cotangent)
        cotangents = () if count == 0 else (handed,) if count == 1 else tuple(handed)
        returned = self._convention.call(self.backward, cotangents, cache, arguments)
        pairs = zip(_values(handed), _values(cotangent), strict=True)
        if count and not self.changed and not all(_backends.same_leaf(one, other) for one, other in pairs):
            self.changed.append(self.backward_name)
        return returned

    # ------------------------------------------------------------------------------------------------ getting ready

    def _pass(self) -> tuple[Any, Any]:
        """Go forward and back once, at the point: the outputs and the gradients."""
        try:
            with np.errstate(all="ignore"):
                outputs, cache, arguments = self._forward()
        except (FunctionError, UsageError):
            raise
        except Exception as error:
            if is_from_handler(error):
                raise
            is_list = len(self.positional) == 1 and isinstance(self.positional[0], list)
            hint = ". A list is one argument: pass several as a tuple." if is_list else ""
            raise FunctionError(_raised(self.forward_name, error) + hint) from error
        outputs = _backends.copied(outputs)
        cotangent = None
        if self._convention is not None and self._convention.cotangents:
            cotangent = self._ones(outputs)
        try:
            with np.errstate(all="ignore"):
                return outputs, _backends.copied(self._gradients(cotangent, cache, arguments))
        except UsageError:
            raise
        except Exception as error:
            if is_from_handler(error):
                raise
            raise ClaimError(_raised(self.backward_name, error)) from error

    def _ones(self, outputs: Any) -> Any:
        from gradproof._function._outputs import Outputs

        found = Outputs(outputs, self.forward_name)
        return found.tree(np.ones(found.size))

    def settle(self, layer: Any, start: State) -> None:
        """Find the parameters of a layer, and the state that each call of `forward` begins with."""
        self._pass()
        found = find_parameters(layer)
        start.restore()
        if not all(start.holds(one.value) for one in found):
            # Parameters that `forward` makes at its first call stay in a second one; inputs that it keeps do not.
            self._forward()
            first = State(layer)
            self._pass()
            kept = find_parameters(layer, first)
            (start if all(start.holds(one.value) for one in kept) else first).restore()
        if found:
            self._forget(layer, found)
        self._baseline = State(layer)
        self._pass()
        self.parameters = find_parameters(layer, self._baseline)
        self._baseline.restore()

    def _forget(self, layer: Any, found: list[Parameter]) -> None:
        """Forget earlier passes, unless the layer cannot go on from there."""
        before = State(layer)
        forget(layer)
        clear_gradients(layer, found)
        after = State(layer)
        try:
            self._pass()
        except (ClaimError, FunctionError):
            before.restore()
            clear_gradients(layer, found)
        else:
            after.restore()

    def prepare(self) -> None:
        """Look what `backward` returns, and find what is compared.

        Raises
        ------
        UsageError
            If nothing is.
        """
        outputs, returned = self._pass()
        again, _ = self._pass()
        self._size = len(_flat(outputs))
        if _differ(outputs, again):
            raise FunctionError(
                f"`{self.forward_name}` returns other values when it is called again with the same arguments, so its "
                "derivative cannot be measured. Fix its random numbers: pass it a seed, such as "
                "`{'p': 0.5, 'mode': 'train', 'seed': 0}` for dropout, and draw from `np.random.default_rng(seed)` in "
                "it, or check it in test mode."
            )
        matched = self._match(returned)
        named: dict[str, Parameter] = {}
        if self.backward is None and self.layer is not None:
            named = parameters_named(self.layer, matched.extra)
            matched.extra = [name for name in matched.extra if name not in named]
        for leaf in self.leaves:
            way, position = matched.ways.get(leaf.keys), int(cast("int", leaf.keys[0]))
            if way is not None and (self.wrt is None or position in self.wrt):
                name = str(leaf.keys[-1]) if len(leaf.keys) > 1 else self.names[position]
                self.compared.append(Compared(path=leaf.path, name=name, value=leaf.value, way=way, place=leaf.slot))
        for i in self.wrt or ():
            # It is asked for, and missing: the check says so.
            self.compared += [
                Compared(path=leaf.path, name=self.names[i], value=leaf.value, way=("missing",), place=leaf.slot)
                for leaf in self.leaves
                if leaf.keys[0] == i and is_float(leaf.value) and leaf.keys not in matched.ways
            ]
        if self.wrt is None:
            self.compared += [
                Compared(path=one.path, name=str(one.steps[-1][1]), value=one.value, way=None, place=one)
                for one in self.parameters
            ]
            self.compared += [
                Compared(path=one.path, name=str(one.steps[-1][1]), value=one.value, way=(name,), place=one)
                for name, one in named.items()
            ]
        if not self.compared:
            raise UsageError(
                f"`{self.backward_name}` returned no gradient that belongs to an argument of `{self.forward_name}` "
                f"({', '.join(self.names)}): return one for each array in their order, or a dict by name."
            )
        taken = {one.place for one in self.compared if isinstance(one.place, int)}
        self._passive = [
            leaf
            for leaf in self._by_slot
            if leaf.slot not in taken and len(leaf.keys) == 1 and _backends.is_array(leaf.value)
        ]
        self._note_left_out(matched, taken)
        unknown = sorted(set(self.divided) - {one.name for one in self.compared})
        for name, number in self.divided.items():
            if not (_tree.is_number(number) and math.isfinite(number) and number != 0):
                raise UsageError(f"`divided` must give a number other than 0 for {name!r}, got {number!r}.")
        if unknown:
            raise UsageError(
                f"`divided` names {', '.join(map(repr, unknown))}, but what is compared is "
                f"{', '.join(one.name for one in self.compared)}."
            )

    def _match(self, returned: Any) -> Matched:
        if returned is None:
            if self.layer is None:
                raise UsageError(f"`{self.backward_name}` returned None; did you forget `return`?")
            return Matched()
        return Matcher(self.positional, self.names, self.backward_name, self.wrt).match(returned)

    def _note_left_out(self, matched: Matched, taken: set[int]) -> None:
        """Name the float arrays that are not compared; those in dicts that hold settings are none."""
        if self.wrt is not None:
            return
        partly = {keys[0] for keys in matched.ways}
        missing: list[str] = []
        for leaf in self.leaves:
            is_setting = len(leaf.keys) > 1 and leaf.keys[0] not in partly
            if leaf.slot not in taken and is_float_array(leaf.value) and not is_setting:
                missing.append(f"`{leaf.path}`")
        if missing:
            words = ("is", "it") if len(missing) == 1 else ("are", "them")
            self.left_out.append(
                f"{_listed(missing)} {words[0]} not compared: `{self.backward_name}` returns no gradient for {words[1]}"
            )
        if matched.extra:
            verb = "is" if len(matched.extra) == 1 else "are"
            self.left_out.append(
                f"{_listed([f'`{name}`' for name in matched.extra])} of what `{self.backward_name}` returns {verb} not "
                "compared: no argument has that name"
            )
        if self._without:
            words = ("output is", "it") if self._without == 1 else (f"{self._without} outputs are", "them")
            self.left_out.append(
                f"the last {words[0]} left out: `{self.backward_name}` takes no gradient with respect to {words[1]}"
            )

    # ------------------------------------------------------------------------------------------------ the check

    def value(self, *values: Any) -> Any:
        """The outputs as a function of what is compared."""
        return self._forward(values)[0]

    def pulled(self, cotangent: Any, *values: Any) -> tuple[Any, ...]:
        """What `backward` claims of a cotangent."""
        _, cache, arguments = self._forward(values)
        returned = self._gradients(cotangent, cache, arguments)
        return tuple(self._claimed(one, returned) for one in self.compared)

    def _claimed(self, one: Compared, returned: Any) -> Any:
        if isinstance(one.place, Parameter) and one.way is None:
            gradient = one.place.gradient(self.layer)
        else:
            try:
                gradient = _tree.subtree(returned, cast("Keys", one.way))
            except LookupError:
                return None
        factor = self.divided.get(one.name)
        return gradient if factor is None or gradient is None else gradient * factor

    def check(self, options: Options, *, written: str, started: float, is_tuple: bool) -> Report:
        """Check what is compared, and say what is not."""
        self._seconds, budget = math.inf, Budget(options.budget, started)
        report = self._check(options, written, started, budget)
        if report.verdict is Verdict.INCONCLUSIVE and options.level == "certificate" and self._is_small():
            # Mixtures of outputs of which some are saturated leave open what every output by itself shows.
            entries = dataclasses.replace(options, level="entries", rng=report.seed)
            again = self._check(entries, written, started, budget)
            if again.verdict is not Verdict.INCONCLUSIVE:
                cost = dataclasses.replace(
                    again.cost,
                    evaluations=report.cost.evaluations + again.cost.evaluations,
                    claims=report.cost.claims + again.cost.claims,
                    calls=report.cost.calls + again.cost.calls,
                )
                report = dataclasses.replace(again, cost=cost)
        keyword = self._keyword()
        return dataclasses.replace(
            report,
            claim="backward",
            findings=tuple(self._in_own_words(one, keyword, report.leaves) for one in report.findings) + self._notes(),
            suggested_args=self._suggested(report.suggested_args, is_tuple),
            sources=definitions(self.backward, self.forward),
        )

    def _is_small(self) -> bool:
        """Whether `backward` can be asked for every output, and every array moved entry by entry."""
        entries = sum(int(np.size(one.value)) for one in self.compared)
        return self._size <= ROWS and self._size * entries <= ENTRIES

    def _keyword(self) -> str:
        assert self._convention is not None
        return "grad" if self._convention.cotangents == 0 else "vjp"

    def _check(self, options: Options, written: str, started: float, budget: Budget) -> Report:
        keyword = self._keyword()
        values = [one.value for one in self.compared] + [leaf.value for leaf in self._passive]
        names = [one.path for one in self.compared] + [leaf.path for leaf in self._passive]
        try:
            return check_claims(
                ft.wraps(self.forward)(lambda *values: self.value(*values)),
                tuple(values),
                {keyword: ft.partial(self.pulled, None) if keyword == "grad" else self.pulled},
                dataclasses.replace(options, wrt=tuple(range(len(self.compared)))),
                name=self.name,
                called=written,
                started=started,
                names=names,
                budget=budget,
            )
        except ClaimError as error:
            raise ClaimError(str(error).replace(f"`{keyword}`", f"`{self.backward_name}`")) from error.__cause__

    def _in_own_words(self, finding: Finding, keyword: str, leaves: Sequence[LeafResult]) -> Finding:
        kind, advice = (
            text.replace(f"`{keyword}`", f"`{self.backward_name}`") for text in (finding.kind, finding.advice)
        )
        count = self._mean_of(finding)
        if count:
            notes = {leaf.path: leaf.note for leaf in leaves if leaf.verdict is Verdict.WRONG}
            alike = [one.name for one in self.compared if notes.get(one.path, "") == notes.get(finding.path)]
            # (One alone is a mean in place of a sum.)
            if len(alike) > 1:
                advice += (
                    f" If `{self.backward_name}` takes the mean over {count} examples, as in the course, and the loss "
                    f"does not, pass `divided={dict.fromkeys(alike, count)}`."
                )
        return dataclasses.replace(finding, kind=kind, advice=advice)

    def _mean_of(self, finding: Finding) -> int:
        """The number of examples, where a gradient is divided by it; 0 where it is not."""
        if finding.severity is not Severity.ERROR or not finding.factor or finding.factor < 0:
            return 0
        if not any(one.path == finding.path for one in self.compared):
            return 0
        count = round(1 / finding.factor)
        sizes = {size for leaf in self.leaves if is_float_array(leaf.value) for size in np.shape(leaf.value)}
        return count if count > 1 and count in sizes and math.isclose(finding.factor * count, 1, rel_tol=1e-3) else 0

    def _notes(self) -> tuple[Finding, ...]:
        notes: list[Finding] = []
        if self.left_out:
            notes.append(Finding(id="GP423", severity=Severity.NOTE, kind="; ".join(self.left_out)))
        if self.parameters and self.wrt is None:
            pairs = ", ".join(f"`{one.path}` with `{one.gradient_path}`" for one in self.parameters)
            advice = "For a parameter that is not listed, pass functions: `check_layer(forward, backward, args)`."
            kind = f"the parameters of the layer are compared as well: {pairs}"
            notes.append(Finding(id="GP424", severity=Severity.NOTE, kind=kind, advice=advice))
        notes += [
            Finding(
                id="GP425",
                severity=Severity.NOTE,
                kind=f"`{name}` changes `dout` in place",
                advice="Work on a copy: a network that uses `dout` twice, as at a residual connection, goes wrong.",
            )
            for name in self.changed
        ]
        return tuple(notes)

    def _suggested(self, values: Any, is_tuple: bool) -> Any:
        """Another point, as arguments of `forward`."""
        if values is None:
            return None
        slots = {
            one.place: value
            for one, value in zip(self.compared, cast("Sequence[Any]", values), strict=False)
            if isinstance(one.place, int)
        }
        arguments = self._arguments(slots)
        return tuple(arguments) if is_tuple else arguments[0]


def kind_of(layer: Any) -> str:
    return f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__


def _fresh(value: Any) -> Any:
    """A copy of an argument that a call may change."""
    if _backends.is_array(value):
        return _backends.of(value).working_copy(value)
    if callable(value):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # what cannot be copied, such as an open file, is shared
        return value


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _values(tree: Any) -> list[Any]:
    return [leaf.value for leaf in _tree.flatten((tree,), ("output",), none_is_leaf=True).leaves]


def _flat(outputs: Any) -> Any:
    from gradproof._function._outputs import Outputs

    return Outputs(outputs, "forward").read(outputs)


def _differ(one: Any, other: Any) -> bool:
    """Whether two outputs at the same point differ by more than rounding."""
    from gradproof._function._outputs import Outputs

    found = Outputs(one, "forward")
    first, second = found.read(one), found.read(other)
    finite = np.isfinite(first) & np.isfinite(second)
    off = np.abs(first - second)[finite]
    scale = float(np.abs(first[finite]).max(initial=0.0))
    return bool((off > max(RANDOM, math.sqrt(found.eps)) * scale).any())


def _raised(name: str, error: Exception) -> str:
    return f"`{name}` raised {type(error).__name__} at the point: {error}"
