"""The user's function, point and claim, seen as named float arrays: `Primal`, then `Problem`."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from gradproof import _tree
from gradproof._backends import _numpy as backend
from gradproof._backends._numpy import Maker, Vector
from gradproof._errors import ClaimError, FunctionError, UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf:
    """One named array of the parameters.

    Attributes
    ----------
    path : str
        Python source, such as ``params['W2']``.
    shape : tuple of int
    dtype : str
    start, stop : int
        Its slice of the flat vectors.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.stop - self.start


class Primal:
    """f at its point: what is differentiated and what passes through.

    The user's arrays are never handed out. Each call gets leaves that are made anew from `point` (the differentiated
    ones) or private working copies (all others), in containers that are made anew, too.

    Parameters
    ----------
    f : callable
        ``f(*args) -> scalar``.
    args : tuple or anything else
        Exactly a tuple means positional arguments, everything else is the one argument.
    wrt : int, tuple of int or None
        Positions of the differentiated arguments; None is 0.
    name : str, optional
        Name in the report; that of f by default.

    Attributes
    ----------
    leaves : tuple of Leaf
        All differentiated leaves in the user's order, empty ones too; `slots` are their places in the order of the
        structure and `keys` the ways to them from the top.
    point : ndarray of float64, shape (n,)
    roots : tuple of str
        Names of the differentiated arguments.
    is_tuple : bool
        Whether the claim is a tuple with one member per differentiated argument.
    changed : list of str
        What f has changed in place while it was evaluated at the point itself.
    evaluations, calls : int

    Raises
    ------
    UsageError
        If something cannot be differentiated, or the point holds nan or infinity.
    """

    def __init__(
        self, f: Callable[..., Any], args: Any, wrt: int | tuple[int, ...] | None = None, *, name: str | None = None
    ) -> None:
        if not callable(f):
            raise UsageError(f"`f` must be callable, got {_type_name(f)}.")
        positional = cast("tuple[Any, ...]", args) if type(args) is tuple else (args,)
        self.f = f
        self.short_name = _name(f, "__name__")
        self.name = name if name is not None else _name(f, "__qualname__")
        self.is_tuple = isinstance(wrt, tuple)
        self.wrt = _positions(wrt, len(positional))
        self._names = _argument_names(f, len(positional))
        self.roots = tuple(self._names[i] for i in self.wrt)
        self.evaluations = 0
        self.calls = 0
        self.changed: list[str] = []

        differentiated = _tree.flatten(tuple(positional[i] for i in self.wrt), self.roots)
        self._structure = differentiated.structure
        for leaf in differentiated.leaves:
            objection = backend.objection(leaf.value, leaf.path)
            if objection is not None:
                raise UsageError(f"{objection}. To leave the whole argument out, use `wrt`.")
        vectors = [backend.to_vector(leaf.value) for leaf in differentiated.leaves]
        self.leaves = _slices(
            (leaf.path, np.shape(leaf.value), backend.dtype_of(leaf.value).name, vector.size)
            for leaf, vector in zip(differentiated.leaves, vectors, strict=True)
        )
        if not any(leaf.size for leaf in self.leaves):
            what = "every differentiated array is empty" if self.leaves else "there is no array or float in it"
            raise UsageError(f"nothing to differentiate in `{', '.join(self.roots)}`: {what}.")
        self.point = np.concatenate(vectors)
        self._require_finite()
        self.slots = tuple(leaf.slot for leaf in differentiated.leaves)
        self.keys = tuple(leaf.keys for leaf in differentiated.leaves)
        self.values = tuple(leaf.value for leaf in differentiated.leaves)
        self._makers = self.in_structure_order(
            [backend.maker(value, leaf.start) for value, leaf in zip(self.values, self.leaves, strict=True)]
        )

        self._passive = [i for i in range(len(positional)) if i not in self.wrt]
        passive = _tree.flatten(
            tuple(positional[i] for i in self._passive), [self._names[i] for i in self._passive], none_is_leaf=True
        )
        self._passive_structure = passive.structure
        self._passive_leaves = sorted(passive.leaves, key=lambda leaf: leaf.slot)
        self._must_restore = False
        self._arguments: list[Any] = [None] * len(positional)
        self._restore_passive()

        self._value_at_point: float | None = None

    def in_structure_order(self, items: Sequence[Maker]) -> list[Maker]:
        """Reorder one maker per leaf from the user's order to the one that `arguments` takes."""
        ordered = list(items)
        for slot, item in zip(self.slots, items, strict=True):
            ordered[slot] = item
        return ordered

    def arguments(self, values: Sequence[Any]) -> list[Any]:
        """Put leaves, in the structure's order, into fresh containers among the other arguments."""
        if self._must_restore:
            self._restore_passive()
        arguments = self._arguments.copy()
        for i, tree in zip(self.wrt, self._structure.unflatten(values), strict=True):
            arguments[i] = tree
        return arguments

    def value(self) -> float:
        """Evaluate f at the point itself, once for all callers that only look at it; nan where it is not finite.

        Raises
        ------
        FunctionError
            If f raises (chained) or returns no real number.
        """
        if self._value_at_point is None:
            self._value_at_point = self._evaluate()
        return self._value_at_point

    def next_value(self) -> float:
        """Return the value that `value` has fetched if nobody has had it yet, else evaluate f at the point again."""
        value, self._value_at_point = self.value(), None
        return value

    def _evaluate(self) -> float:
        self.evaluations += 1
        self.calls += 1
        try:
            returned, changed = self.call(self.f)
        except Exception as error:
            raise FunctionError(_raised(self.short_name, error, "at the point itself")) from error
        self._note_changes(changed)
        value = _scalar(returned, self.short_name)
        return value if math.isfinite(value) else math.nan

    def look_again(self) -> None:
        """Find what f has changed in place while it was evaluated elsewhere; leaves are made anew, others are not."""
        self._note_changes(self._changed_passive())

    def _note_changes(self, paths: Sequence[str]) -> None:
        self.changed += [path for path in paths if path not in self.changed]

    def claim(self, function: Callable[..., Any], keyword: str) -> tuple[Any, list[str]]:
        """Call the claim at the point; return what it returned and the paths of what it changed in place.

        Raises
        ------
        ClaimError
            If it raises (chained).
        """
        try:
            return self.call(function)
        except Exception as error:
            raise ClaimError(_raised(keyword, error, "at the point")) from error

    def call(self, function: Callable[..., Any]) -> tuple[Any, list[str]]:
        """Call `function` at the point; return what it returned and the paths of what it changed in place."""
        buffer = self.point.copy()
        with np.errstate(all="ignore"):
            values = [make(buffer) for make in self._makers]
            arguments = self.arguments(values)
            handed = [arguments[i] for i in self.wrt]
            returned = function(*arguments)
        changed = self._changed(values, handed) + self._changed_passive()
        return returned, changed

    def _changed(self, values: Sequence[Any], handed: Sequence[Any]) -> list[str]:
        paths: list[str] = []
        for leaf, slot in zip(self.leaves, self.slots, strict=True):
            value = values[slot]
            if backend.is_array(value) and not backend.same_bits(value, self._makers[slot](self.point)):
                paths.append(leaf.path)
        return paths + [
            self.roots[i] for i in _tree.changed_members(tuple(handed), self._structure, values, backend.same_leaf)
        ]

    def _changed_passive(self) -> list[str]:
        paths = [
            leaf.path
            for leaf, copy in zip(self._passive_leaves, self._passive_copies, strict=True)
            if backend.is_array(leaf.value) and not backend.same_bits(copy, leaf.value)
        ]
        handed = tuple(self._arguments[i] for i in self._passive)
        changed = _tree.changed_members(handed, self._passive_structure, self._passive_copies, backend.same_leaf)
        paths += [self._names[self._passive[i]] for i in changed]
        self._must_restore = self._must_restore or bool(paths)
        return paths

    def _restore_passive(self) -> None:
        """Give the other arguments fresh working copies; an array passed twice stays one array."""
        copies: dict[int, Any] = {}
        for leaf in self._passive_leaves:
            if backend.is_array(leaf.value) and id(leaf.value) not in copies:
                copies[id(leaf.value)] = backend.working_copy(leaf.value)
        self._passive_copies = [copies.get(id(leaf.value), leaf.value) for leaf in self._passive_leaves]
        for i, tree in zip(self._passive, self._passive_structure.unflatten(self._passive_copies), strict=True):
            self._arguments[i] = tree

    def _require_finite(self) -> None:
        if np.isfinite(self.point).all():
            return
        flat = int(np.flatnonzero(~np.isfinite(self.point))[0])
        leaf = next(leaf for leaf in self.leaves if leaf.start <= flat < leaf.stop)
        index = ", ".join(str(i) for i in np.unravel_index(flat - leaf.start, leaf.shape))
        place = f"{leaf.path}[{index}]" if leaf.shape else leaf.path
        raise UsageError(f"the point must be finite, but `{place}` is {self.point[flat]}.")


class Problem:
    """f around its point along directions, with the claim beside it: what the engine measures and is asked about.

    Parameters
    ----------
    primal : Primal
    claims : mapping of int to ndarray
        The claimed gradient of each leaf that can be measured, by its index in ``primal.leaves``: float64, in the
        shape of the leaf or flat.
    reproducer : str
        One line of Python that runs the check again.

    Attributes
    ----------
    name, reproducer : str
    leaves : tuple of Leaf
        The measured leaves, in the user's order; the others stay where they are.
    point, claim : ndarray of float64, shape (n,)
    eps : float
        Coarsest machine epsilon among the measured leaves' dtypes.
    evaluations, calls, claims : int
        Points at which f was evaluated, calls of f, calls of the claim.
    """

    def __init__(
        self, primal: Primal, claims: Mapping[int, Any], *, reproducer: str = "", claim_calls: int = 0
    ) -> None:
        self.name = primal.name
        self.reproducer = reproducer
        self.claims = claim_calls
        self._primal = primal
        measured = sorted(claims)
        self.leaves = _slices(
            (leaf.path, leaf.shape, leaf.dtype, leaf.size) for leaf in (primal.leaves[i] for i in measured)
        )
        pieces = [primal.point[primal.leaves[i].start : primal.leaves[i].stop] for i in measured]
        self.point = np.concatenate(pieces)
        self.claim = np.concatenate([np.asarray(claims[i], dtype=np.float64).reshape(-1) for i in measured])
        self.eps = coarsest_eps(self.leaves)

        new_leaf = dict(zip(measured, self.leaves, strict=True))
        makers = [
            backend.maker(value, new_leaf[i].start) if i in new_leaf else _constant(primal, i)
            for i, value in enumerate(primal.values)
        ]
        self._makers = primal.in_structure_order(makers)
        # Leaves of lower precision land beside x + t v: (slice, slot) of each, for the first-order correction.
        self._rounded = [
            (slice(leaf.start, leaf.stop), primal.slots[i])
            for i, leaf in new_leaf.items()
            if np.dtype(leaf.dtype).itemsize < 8
        ]

    @property
    def evaluations(self) -> int:
        """Points at which f was evaluated."""
        return self._primal.evaluations

    @property
    def calls(self) -> int:
        """Calls of f."""
        return self._primal.calls

    def evaluate(self, v: Vector, step: float) -> float:
        """Evaluate ``f(x + step v)``; nan where f is not finite or not defined there.

        Where leaves are of lower precision than float64, they visit the nearest representable point instead, and
        the value is corrected for it to first order: ``f(visited) - <claim, visited - (x + step v)>``.

        Parameters
        ----------
        v : ndarray of float64, shape (n,)
        step : float
            0 evaluates exactly at x.

        Raises
        ------
        FunctionError
            If f raises anything but ValueError or ArithmeticError, or returns no real number; at step 0, if it
            raises at all.
        """
        primal = self._primal
        if step == 0.0:
            return primal.next_value()
        primal.evaluations += 1
        primal.calls += 1
        buffer = v * step
        buffer += self.point
        with np.errstate(all="ignore"):
            values = [make(buffer) for make in self._makers]
            correction = self._correction(buffer, values) if self._rounded else 0.0
            try:
                returned = primal.f(*primal.arguments(values))
            except (ValueError, ArithmeticError):
                return math.nan
            except Exception as error:
                raise FunctionError(_raised(primal.short_name, error, f"at the point + {step:.3g} v")) from error
        value = _scalar(returned, primal.short_name) - correction
        return value if math.isfinite(value) else math.nan

    def _correction(self, wanted: Vector, values: Sequence[Any]) -> float:
        return math.fsum(
            float(self.claim[part] @ (backend.to_vector(values[slot]) - wanted[part])) for part, slot in self._rounded
        )


def coarsest_eps(leaves: Sequence[Leaf]) -> float:
    """Return the largest machine epsilon among the leaves' dtypes."""
    return max(float(np.finfo(leaf.dtype).eps) for leaf in leaves)


def _slices(leaves: Any) -> tuple[Leaf, ...]:
    found: list[Leaf] = []
    start = 0
    for path, shape, dtype, size in leaves:
        found.append(Leaf(path=path, shape=shape, dtype=dtype, start=start, stop=start + size))
        start += size
    return tuple(found)


def _constant(primal: Primal, i: int) -> Maker:
    """Return the maker of a leaf that stays at the point."""
    piece = primal.point[primal.leaves[i].start : primal.leaves[i].stop].copy()
    make = backend.maker(primal.values[i], 0)
    return lambda _: make(piece.copy())


def _scalar(returned: Any, name: str) -> float:
    """Return what f returned as a float, or say what it should return."""
    if type(returned) is float or type(returned) is np.float64:
        return float(returned)
    if returned is None:
        raise FunctionError(f"`{name}` returned None; did you forget `return`?")
    if isinstance(returned, (tuple, list)):
        raise FunctionError(
            f"`{name}` returned a {type(returned).__name__} of {len(returned)}; it must return one number "  # pyright: ignore[reportUnknownArgumentType]
            f"(`lambda *args: {name}(*args)[0]` takes the first)."
        )
    shape: tuple[int, ...] = getattr(returned, "shape", ())
    if shape != ():
        size = math.prod(shape)
        advice = "take its only entry with `.item()`" if size == 1 else "reduce it, with `.sum()` or a loss"
        raise FunctionError(f"`{name}` must return one number, got an array of shape {tuple(shape)}; {advice}.")
    kind = getattr(getattr(returned, "dtype", None), "kind", "")
    if isinstance(returned, complex) or kind == "c":
        raise FunctionError(f"`{name}` must return a real number, got {_type_name(returned)}; take `.real` or `abs`.")
    if not isinstance(returned, (bool, str, bytes)) and kind not in ("b", "O", "U", "S"):
        try:
            return float(returned)
        except (TypeError, ValueError):
            pass
    raise FunctionError(f"`{name}` must return one real number, got {_type_name(returned)}.")


def _positions(wrt: Any, count: int) -> tuple[int, ...]:
    """Return `wrt` as positions that are in range, not negative and different."""
    if wrt is None:
        wrt = 0
    asked = cast("tuple[Any, ...]", wrt) if isinstance(wrt, tuple) else (wrt,)
    if not asked or not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in asked):
        raise UsageError(f"`wrt` must be a position (int) or a tuple of positions of `args`, got {wrt!r}.")
    for i in asked:
        if not -count <= i < count:
            raise UsageError(f"`wrt` names argument {i}, but `args` holds {count}.")
    positions = tuple(int(i) % count for i in asked)
    if len(set(positions)) < len(positions):
        raise UsageError(f"`wrt` must not name an argument twice, got {wrt!r}.")
    return positions


def _argument_names(f: Callable[..., Any], count: int) -> list[str]:
    """Return f's own names for its positional arguments, ``args[i]`` where it has none."""
    names = [f"args[{i}]" for i in range(count)]
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return names
    for i, parameter in enumerate(parameters[:count]):
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            break
        names[i] = parameter.name
    return names


def _name(f: Any, attribute: str) -> str:
    f = inspect.unwrap(getattr(f, "func", f))  # functools.partial and wraps
    return str(getattr(f, attribute, None) or type(f).__name__)


def _raised(name: str, error: Exception, where: str) -> str:
    return f"`{name}` raised {type(error).__name__} {where}: {error}"


def _type_name(value: Any) -> str:
    module, name = type(value).__module__, type(value).__qualname__
    return name if module == "builtins" else f"{module}.{name}"
