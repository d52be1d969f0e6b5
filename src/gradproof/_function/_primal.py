"""The user's function and point: what is differentiated and what passes through."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import numpy as np

from gradproof import _backends, _progress
from gradproof._backends import Matrix, Vector
from gradproof._base import _tree
from gradproof._base._advice import arity, foreign
from gradproof._base._away import BudgetSpent, OutsideError, is_from_handler, is_out_of_memory, name_of
from gradproof._base._errors import ClaimError, FunctionError, NotFiniteError, UsageError
from gradproof._base._leaf import Leaf
from gradproof._base._names import argument_names, function_name, positions, type_name
from gradproof._base._pieces import at_point, is_large
from gradproof._function import _conditions, _lists
from gradproof._function._layout import Layout, Origin
from gradproof._function._outputs import Outputs
from gradproof._function._vectorized import one_at_a_time

Result = TypeVar("Result")

# What f raised away from the point is kept so often.
REFUSALS = 3


@dataclasses.dataclass
class Together:
    """How f can be evaluated at many points in one call.

    Attributes
    ----------
    call : callable
        ``call(*args)``: as f, but every differentiated leaf has a leading axis of k points, and so has every output.
        None where that cannot be done.
    is_promised : bool
        Whether the user says that f does so itself: if it does not, that is an error.
    proven : set of tuple of bool
        Which leaves moved when it was held against f at single points: f may be computed in another way for each.
    most : int
        Points for which there was memory, at most.
    """

    call: Callable[..., Any]
    is_promised: bool = False
    proven: set[tuple[bool, ...]] = dataclasses.field(default_factory=set[tuple[bool, ...]])
    most: int = 1 << 20


class Deferred:
    """An f that only looks up values which somebody else computes, as that of a `Session` does."""

    def __call__(self, *args: Any) -> Any:
        """Return the value at a point if it is known, else see that it gets known."""
        raise NotImplementedError

    def gathering(self) -> AbstractContextManager[None]:
        """Within this context it is asked for values that do not depend on each other."""
        raise NotImplementedError


class Primal:
    """f at its point: what is differentiated and what passes through.

    The user's arrays are never handed out. Each call gets leaves that are made anew from `point` (the differentiated
    ones) or private working copies (all others), in containers that are made anew, too.

    Parameters
    ----------
    f : callable
        ``f(*args) -> scalar``, or a tree of numbers and arrays where `is_vector`.
    args : tuple or anything else
        Exactly a tuple means positional arguments, everything else is the one argument.
    wrt : int, tuple of int or None
        Positions of the differentiated arguments; None is 0.
    name : str, optional
        Name in the report; that of f by default.
    names : sequence of str, optional
        Of the arguments, as Python source; f's own by default.
    is_vector : bool
        Whether f may return more than one number.
    together : Together, optional
        How f can be evaluated at many points at once.
    vectorized : bool
        Whether f itself takes many points: differentiated arrays, and outputs, with a leading axis for them.

    Attributes
    ----------
    outputs : Outputs
        What f returns; only where `is_vector`, and known once f has been evaluated at the point.
    layout : Layout
        The differentiated arrays and their leaves; `origins` are the former.
    is_vector : bool
        As passed.
    leaves : tuple of Leaf
        All differentiated leaves in the user's order, empty ones too; `keys` are the ways to them from the top, the
        same for both parts of a complex array.
    point : ndarray of float64, shape (n,)
    given, given_wrt : args and `wrt` as they were passed.
    deferred : Deferred or None
        f, or what it calls, where that is one.
    names : list of str
        Of all arguments; `roots` are those of the differentiated ones.
    is_tuple : bool
        Whether the claim is a tuple with one member per differentiated argument.
    changed : list of str
        What f has changed in place while it was evaluated at the point itself.
    refusals : list of str
        What f raised away from the point, where it is not defined then: the first few, in words.
    evaluations, calls : int
    terms : float
        Size of what the values are the sum of, where these terms may cancel; 0 where nothing is known.
    watch : Silent
        Who is told of evaluations.

    Raises
    ------
    UsageError
        If something cannot be differentiated, or the point holds nan or infinity that f does not ignore.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        args: Any,
        wrt: int | tuple[int, ...] | None = None,
        *,
        name: str | None = None,
        names: Sequence[str] | None = None,
        is_vector: bool = False,
        together: Together | None = None,
        vectorized: bool = False,
    ) -> None:
        if not callable(f):
            raise UsageError(f"`f` must be callable, got {type_name(f)}.")
        positional = cast("tuple[Any, ...]", args) if type(args) is tuple else (args,)
        self.conditions = _conditions.current()
        self.f = self.conditions.of(f)
        self.deferred = f if isinstance(f, Deferred) else None
        self.given: Any = cast("Any", args)
        self.positional = positional
        self.given_wrt = wrt
        self.short_name = function_name(f)
        self.name = name if name is not None else self.short_name
        self.is_tuple = isinstance(wrt, tuple)
        self.names = argument_names(f, len(positional)) if names is None else list(names)
        self.wrt = positions(wrt, self.names)
        self.roots = tuple(self.names[i] for i in self.wrt)
        if vectorized:
            together = Together(self.f, is_promised=True)
            self.f = one_at_a_time(self.f, self.wrt, self.short_name)
        self.evaluations = 0
        # Leaves of which f has taken no complex numbers through: it need not be asked again.
        self.refuses_complex: set[frozenset[int]] = set()
        self.calls = 0
        self.claim_calls = 0
        self._is_counted_elsewhere = False
        # Evaluations at which the search for a verdict, or for a place, ends.
        self._last: float = math.inf
        self.watch = _progress.current()
        self.changed: list[str] = []
        self.refusals: list[str] = []

        differentiated, self.layout = self._differentiated()
        self._structure = differentiated.structure
        self.leaves, self.origins = self.layout.leaves, self.layout.origins
        self._require_finite()
        self.point = self.layout.point
        self.keys = tuple(owner.keys for owner in self.layout.owners)
        self._makers = self.layout.makers([leaf.start for leaf in self.leaves])

        self._passive = [i for i in range(len(positional)) if i not in self.wrt]
        passive = _tree.flatten(
            tuple(positional[i] for i in self._passive), [self.names[i] for i in self._passive], none_is_leaf=True
        )
        self._passive_structure = passive.structure
        self._passive_leaves = sorted(passive.leaves, key=lambda leaf: leaf.slot)
        self._must_restore = False
        self._arguments: list[Any] = [None] * len(positional)
        self._restore_passive()

        self._buffer: Vector | None = None
        self.is_vector = is_vector
        self.together = together
        self._outputs: Outputs | None = None
        # Values at the point that nobody has had yet.
        self._fetched: list[Vector] = []
        # Whether f was called at the point last; whether a claim is called without that; of what this is the gradient.
        self.is_fresh = False
        self.stands_alone = self.deferred is not None
        # What computes the claim, where a framework does: for advice.
        self.subject = ""
        self.terms = 0.0
        self.parent: Primal | None = None
        # Whether f is being called away from the point.
        self.is_away = False
        # Whether f was undefined somewhere beside the point: what is derived from it is so there, too.
        self.has_edge = False

    def _differentiated(self) -> tuple[_tree.Flat, Layout]:
        """What is differentiated, in the user's containers, and its arrays."""
        differentiated = _tree.flatten(tuple(self.positional[i] for i in self.wrt), self.roots)
        for leaf in differentiated.leaves:
            objection = _lists.objection([self.positional[i] for i in self.wrt], leaf)
            objection = objection or _backends.of(leaf.value).objection(leaf.value, leaf.path)
            if objection:
                raise UsageError(f"{objection}. To leave the whole argument out, use `wrt`.")
        layout = Layout(differentiated.leaves, [leaf.value for leaf in differentiated.leaves])
        if not any(leaf.size for leaf in layout.leaves):
            what = "every differentiated array is empty" if layout.leaves else "there is no array or float in it"
            raise UsageError(f"nothing to differentiate in `{', '.join(self.roots)}`: {what}.")
        return differentiated, layout

    def count(self, points: int = 1, calls: int = 1) -> None:
        """Count evaluations of f.

        Raises
        ------
        BudgetSpent
            If the check may take no more.
        """
        evaluator = self.conditions.evaluator
        if evaluator is not None and evaluator.holds(lambda: self.count(points, calls)):
            return
        if not self._is_counted_elsewhere:
            self.conditions.spend(points)
        self.watch.evaluated(points)
        self.evaluations += points
        self.calls += calls
        self.is_fresh = False

    def count_elsewhere(self) -> None:
        """Leave it to another, which evaluates f in turn, to tell of evaluations."""
        self.watch = _progress.SILENT
        self._is_counted_elsewhere = True

    def allow(self, points: float) -> None:
        """Let what follows take so many more evaluations beside the point."""
        self._last = self.evaluations + points

    def share_allowance(self, other: Primal) -> None:
        """Let this, all of whose evaluations are evaluations of another, take what is left to that."""
        self.allow(other._last - other.evaluations)

    def require(self, points: int = 1) -> None:
        """Raise BudgetSpent unless so many evaluations are left."""
        if self.evaluations + points > self._last:
            raise BudgetSpent
        self.conditions.require(min(points, 1))  # (of more, the values of some may be known)

    def make(self, buffer: Vector) -> list[Any]:
        """Make all leaves, in the structure's order, from a flat vector (n,), of which they may be views."""
        return [make(buffer) for make in self._makers]

    def tangent(self, v: Vector) -> Any:
        """Put a flat vector (n,) into the structure of what is differentiated: fresh arrays of the leaves' kinds."""
        v = v.copy()
        makers = self._makers
        for i, entries in self.layout.left_out.items():
            v[self.leaves[i].start + entries] = 0.0
            makers = self.layout.makers([leaf.start for leaf in self.leaves], filled=False)
        trees = self._structure.unflatten([make(v) for make in makers])
        return tuple(trees) if self.is_tuple else trees[0]

    def suffix(self, i: int) -> str:
        """Where leaf i lies within the differentiated argument, as Python source: ``['W2']``, empty for a lone one.

        The parts of a complex array lie where the array does.
        """
        position = int(cast("int", self.keys[i][0]))
        within = self.layout.owners[i].path[len(self.roots[position]) :]
        return f"[{position}]{within}" if self.is_tuple else within

    def arguments(self, values: Sequence[Any]) -> list[Any]:
        """Put leaves, in the structure's order, into fresh containers among the other arguments."""
        if self._must_restore:
            self._restore_passive()
        arguments = self._arguments.copy()
        for i, tree in zip(self.wrt, self._structure.unflatten(values), strict=True):
            arguments[i] = tree
        return arguments

    @property
    def outputs(self) -> Outputs:
        """What f returns."""
        if self._outputs is None:
            self.output_values()
        assert self._outputs is not None
        return self._outputs

    def value(self) -> float:
        """Evaluate a scalar f at the point itself, once for all callers that only look at it; nan if not finite.

        Raises
        ------
        FunctionError
            If f raises (chained) or returns no real number.
        """
        return float(self.output_values()[0])

    def output_values(self) -> Vector:
        """Evaluate f at the point itself, once for all callers that only look at it: (m,), nan where not finite."""
        if not self._fetched:
            self._fetched.append(self._evaluate())
        return self._fetched[0]

    def is_finite_at(self, point: Vector) -> bool:
        """Whether f can be evaluated at another flat point, and is finite there."""
        return self.is_defined(*self.arguments(self.make(point.copy())))

    def is_defined(self, *args: Any) -> bool:
        """Whether f can be evaluated with these arguments, and is finite there."""
        self.count()
        try:
            with np.errstate(all="ignore"):
                values = self.read(self.f(*args))
        except Exception as error:
            if is_from_handler(error):
                raise
            return False
        return bool(np.isfinite(values).all())

    def next_output_values(self) -> Vector:
        """Return what `output_values` has fetched if nobody has had it yet, else evaluate f there again."""
        values = self.output_values()
        del self._fetched[0]
        return values

    def look(self, *, anew: bool = False) -> None:
        """See that f was called at the point last, as layers ask for that keep in `forward` what `backward` needs.

        What it returns serves the next look at f's noise.

        Parameters
        ----------
        anew : bool
            Call it even if it was.
        """
        of = self if self.parent is None else self.parent
        if not of.stands_alone and (anew or not of.is_fresh):
            of._fetched.append(of._evaluate())

    def _evaluate(self) -> Vector:
        self.count()
        try:
            returned, changed = self.call(self.f, self.buffer())
        except FunctionError:
            raise
        except Exception as error:
            if is_from_handler(error):
                raise
            if self.layout.left_out:
                raise self._not_finite() from error
            said = arity(self.f, self.given) or foreign(self.f, self._given_leaves(), self.short_name)
            raise FunctionError(raised(f"`{self.short_name}`", error, "at the point itself", said)) from error
        self._note_changes(changed)
        self.is_fresh = True
        values = self.read(returned)
        if self.layout.left_out and not np.isfinite(values).all():
            raise self._not_finite()
        return values

    def elsewhere(self, values: Sequence[Any], where: str) -> Vector | None:
        """Evaluate f away from the point, at leaves in the structure's order: as `read`, None where it is not defined.

        Raises
        ------
        FunctionError
            If memory did not suffice (chained), or f returns no real number.
        """
        try:
            self.is_away = True
            returned = self.f(*self.arguments(values))
        except FunctionError:
            raise
        except OutsideError:
            return None
        except Exception as error:
            if is_from_handler(error):
                raise
            if is_out_of_memory(error):
                raise FunctionError(raised(f"`{self.short_name}`", error, where)) from error
            self.refused(error, where)
            return None
        finally:
            self.is_away = False
        return self.read(returned)

    def refused(self, error: Exception, where: str) -> None:
        """Remember what f raised away from the point."""
        if len(self.refusals) < REFUSALS:
            self.refusals.append(raised(f"`{self.short_name}`", error, where))

    def read(self, returned: Any) -> Vector:
        """Return what f returned as a private vector (m,); nan where it is not finite.

        Raises
        ------
        FunctionError
            If it is not what f should return.
        """
        if not self.is_vector:
            value = _scalar(returned, self.short_name)
            return np.array([value if math.isfinite(value) else math.nan])
        if self._outputs is None:
            self._outputs = Outputs(returned, self.short_name)
        values = self._outputs.read(returned)
        values[~np.isfinite(values)] = math.nan
        return values

    def read_many(self, returned: Any, count: int) -> Matrix:
        """Return what f returned for `count` points at once as a matrix (count, m); nan where it is not finite.

        Raises
        ------
        FunctionError
            If it is not what f should return.
        """
        if self.is_vector:
            values = self.outputs.read_many(returned, count)
            if math.isfinite(float(np.sum(values))):
                return values
        else:
            backend = _backends.of(returned)
            if np.shape(returned) != (count,) or backend.kind_of(returned) not in "fiu":
                raise FunctionError(
                    f"`{self.short_name}` must return one real number for each of {count} points, shape ({count},), "
                    f"got {type_name(returned)} of shape {np.shape(returned)}."
                )
            values = backend.to_vector(returned).reshape(count, 1)
        values[~np.isfinite(values)] = math.nan
        return values

    def look_again(self) -> None:
        """Find what f has changed in place while it was evaluated elsewhere; leaves are made anew, others are not."""
        self._note_changes(self._changed_passive())

    def _note_changes(self, paths: Sequence[str]) -> None:
        self.changed += [path for path in paths if path not in self.changed]

    def claim(self, function: Callable[..., Any], keyword: str, *, anew: bool = False) -> tuple[Any, list[str]]:
        """Call the claim, right after f, at the point: a copy of what it returned, and paths of what it changed.

        Parameters
        ----------
        anew : bool
            Whether f is called even if it was at the point last.

        Raises
        ------
        ClaimError
            If it raises (chained).
        """
        self.look(anew=anew)
        self.conditions.require()
        self.claim_calls += 1
        try:
            self.release()
            with self.watch.during("evaluating the claim"):
                self.watch.evaluated(0)
                returned, changed = self.call(function)
                # At once: it may be a buffer that the next call writes to.
                return _backends.copied(returned), changed
        except Exception as error:
            if is_from_handler(error):
                raise
            said = foreign(function, self._given_leaves(), keyword)
            raise ClaimError(raised(self.subject or f"`{keyword}`", error, "at the point", said)) from error

    def _given_leaves(self) -> list[tuple[str, Any]]:
        return [(leaf.path, leaf.value) for leaf in _tree.flatten(self.positional, self.names).leaves]

    def buffer(self) -> Vector | None:
        """Memory for a large point (n,), the same for all evaluations; None where a point is made anew each time."""
        if self._buffer is None and is_large(self.point):
            self._buffer = np.empty(self.point.size)
        return self._buffer

    def each(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        """Return what tasks return that evaluate f at points that do not depend on each other's values.

        A task may run again from its beginning, up to its first evaluation of f.
        """
        if self.deferred is not None:
            with self.deferred.gathering():
                return [task() for task in tasks]
        return self.conditions.each(tasks, len(self.point))

    def release(self) -> None:
        """Give that memory back."""
        self._buffer = None

    def call(self, function: Callable[..., Any], buffer: Vector | None = None) -> tuple[Any, list[str]]:
        """Call `function` at the point; return what it returned and the paths of what it changed in place.

        A claim gets memory of its own, which it may return.
        """
        buffer = self.point.copy() if buffer is None else at_point(self.point, buffer)
        with np.errstate(all="ignore"):
            values = self.make(buffer)
            arguments = self.arguments(values)
            handed = [arguments[i] for i in self.wrt]
            returned = function(*arguments)
        changed = self._changed(values, handed) + self._changed_passive()
        return returned, changed

    def _changed(self, values: Sequence[Any], handed: Sequence[Any]) -> list[str]:
        paths: list[str] = []
        for origin in self.origins:
            value = values[origin.slot]
            if _backends.is_array(value) and not _backends.same_bits(value, self._makers[origin.slot](self.point)):
                paths.append(origin.path)
        return paths + [
            self.roots[i] for i in _tree.changed_members(tuple(handed), self._structure, values, _backends.same_leaf)
        ]

    def _changed_passive(self) -> list[str]:
        paths = [
            leaf.path
            for leaf, copy in zip(self._passive_leaves, self._passive_copies, strict=True)
            if _backends.is_array(leaf.value) and not _backends.same_bits(copy, leaf.value)
        ]
        handed = tuple(self._arguments[i] for i in self._passive)
        changed = _tree.changed_members(handed, self._passive_structure, self._passive_copies, _backends.same_leaf)
        paths += [self.names[self._passive[i]] for i in changed]
        self._must_restore = self._must_restore or bool(paths)
        return paths

    def _restore_passive(self) -> None:
        """Give the other arguments fresh working copies; an array passed twice stays one array."""
        copies: dict[int, Any] = {}
        for leaf in self._passive_leaves:
            if _backends.is_array(leaf.value) and id(leaf.value) not in copies:
                copies[id(leaf.value)] = _backends.of(leaf.value).working_copy(leaf.value)
        self._passive_copies = [copies.get(id(leaf.value), leaf.value) for leaf in self._passive_leaves]
        for i, tree in zip(self._passive, self._passive_structure.unflatten(self._passive_copies), strict=True):
            self._arguments[i] = tree

    def _require_finite(self) -> None:
        """Leave entries that are not finite out, if others are; f must ignore them."""
        point = self.layout.point
        if all(bool(np.isfinite(point[leaf.start : leaf.stop]).all()) for leaf in self.leaves):
            return
        flat = np.flatnonzero(~np.isfinite(np.asarray(point)))
        self._first_odd = f"`{self.place(int(flat[0]))}` is {point[int(flat[0])]}"
        if len(flat) == len(point):
            raise NotFiniteError(
                f"the point must have finite entries, which can be moved, but {self._first_odd}"
                f"{', and no other is finite' if len(flat) > 1 else ''}."
            )
        if not self.layout.leave_out() or sum(map(len, self.layout.left_out.values())) == len(point):
            raise self._not_finite()

    def _not_finite(self) -> NotFiniteError:
        return NotFiniteError(f"the point must be finite where f depends on it, but {self._first_odd}.")

    def place(self, flat: int) -> str:
        """An entry of the flat point as Python source: ``params['W2'][1, 3]``."""
        leaf = next(leaf for leaf in self.leaves if leaf.start <= flat < leaf.stop)
        return _place(leaf, flat - leaf.start)

    def places_left_out(self) -> list[str]:
        """The entries of the user's arrays that are left out, as Python source."""
        left_out = self.layout.left_out
        return [_place(origin, int(entry)) for origin in self.origins for entry in left_out.get(origin.parts[0], ())]


def _place(array: Leaf | Origin, entry: int) -> str:
    """An entry of an array, as Python source."""
    index = ", ".join(str(i) for i in np.unravel_index(entry, array.shape))
    return f"{array.path}[{index}]" if array.shape else array.path


def _scalar(returned: Any, name: str) -> float:
    """Return what f returned as a float, or say what it should return."""
    if type(returned) is float or type(returned) is np.float64:
        return float(returned)
    if returned is None:
        raise FunctionError(f"`{name}` returned None; did you forget `return`?")
    if isinstance(returned, (tuple, list)):
        raise FunctionError(
            f"`{name}` returned a {type(returned).__name__} of {len(returned)}; it must return one number "  # pyright: ignore[reportUnknownArgumentType]
            f"(`lambda *args: {name if name.isidentifier() else 'f'}(*args)[0]` takes the first)."
        )
    if _backends.is_array(returned):
        returned = _backends.of(returned).as_numpy(returned)
    shape: tuple[int, ...] = getattr(returned, "shape", ())
    if shape != ():
        size = math.prod(shape)
        advice = (
            "take its only entry with `.item()`"
            if size == 1
            else "reduce it, with `.sum()` or a loss, or claim `jac=` or `vjp=`"
        )
        raise FunctionError(f"`{name}` must return one number, got an array of shape {tuple(shape)}; {advice}.")
    kind = getattr(getattr(returned, "dtype", None), "kind", "")
    if isinstance(returned, complex) or kind == "c":
        raise FunctionError(
            f"`{name}` must return a real number, got {type_name(returned)}; take `.real` or `abs`, or "
            "claim its complex derivative as `jac`."
        )
    if not isinstance(returned, (bool, str, bytes)) and kind not in ("b", "O", "U", "S"):
        try:
            return float(returned)
        except (TypeError, ValueError):
            pass
    raise FunctionError(f"`{name}` must return one real number, got {type_name(returned)}.")


def raised(subject: str, error: Exception, where: str, said: str = "") -> str:
    """What a function raised, and what to do about it, as far as that is known."""
    text = f"{subject} raised {name_of(error)} {where}: {error}"
    return f"{text} ({said})." if said else text
