"""Ask and tell: a check whose f is evaluated elsewhere, by a file, a queue or another process in between."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gradproof import _backends
from gradproof._ask import _check
from gradproof._ask._call import explained
from gradproof._base._errors import UsageError
from gradproof._base._tree import is_number
from gradproof._function._primal import Deferred
from gradproof._report import Report

if TYPE_CHECKING:
    from gradproof._run._journal import Journal


class Unanswered(BaseException):
    """Values are missing; no Exception, so that nothing between f and the session takes it for a failure of f."""


class Session:
    """A check of a claimed derivative that asks for values of f and is told them.

    For a simulator that cannot be called from here: a program of another language, a job on a cluster. `ask` hands out
    the points to evaluate, all that can be evaluated at once; `tell` takes the values back; then it asks again, until
    the report is there. A correct claim takes some 20 points in a few rounds.

    Parameters
    ----------
    args : tuple or any tree
        The point, as for `check`.
    grad, jac, vjp, jvp, hess, hvp
        The claim, as for `check`: as a value, or as a callable, which is called again after every `tell`.
    wrt, rtol, max_bound, confidence, level, domain
        As for `check`.
    rng : int or numpy.random.Generator, optional
        As for `check`; None continues with the seed of the journal, where there is one.
    name : str
        Of f, in the report.
    names : sequence of str, optional
        Of its arguments, in the report; ``x`` for one by itself and ``args[0]``, ``args[1]``, ... by default.
    journal : path, optional
        A file (SQLite) in which values are kept when they are told. A session that is made with the same journal and
        the same point starts where the last one stopped, in any process. It holds values of f by point: it may be kept
        when the claim has been corrected, not when f has changed. A journal of JSON lines, as version 0.1 wrote them,
        is read and turned into one of SQLite.

    Attributes
    ----------
    seed : int
    done : bool
        Whether the report is there.
    report : Report
    evaluations : int
        Values told so far, those of the journal included.

    Raises
    ------
    UsageError
        As `check`; if the journal is none.

    Notes
    -----
    The check is run anew from its seed after every `tell`, on the values that are known, until one is missing: its own
    time is milliseconds, and a session has no other state than these values.

    Like the ask-and-tell interface of optimizers such as Optuna or Nevergrad, but `ask` returns a list, and the same
    one until it has been told.

    Examples
    --------
    >>> import numpy as np
    >>> import gradproof
    >>> x = np.array([0.5, 1.0, 2.0])
    >>> session = gradproof.Session(x, grad=np.cos(x), rng=0)
    >>> while not session.done:
    ...     points = session.ask()
    ...     session.tell([float(np.sum(np.sin(point))) for point in points])
    >>> session.report.verdict
    <Verdict.CORRECT: 'CORRECT'>
    """

    @explained("gradproof.Session(x, grad=df)")
    def __init__(
        self,
        args: Any,
        *,
        grad: Any = None,
        jac: Any = None,
        vjp: Callable[..., Any] | None = None,
        jvp: Callable[..., Any] | None = None,
        hess: Any = None,
        hvp: Callable[..., Any] | None = None,
        wrt: int | tuple[int, ...] | None = None,
        rtol: float | None = None,
        max_bound: float | None = None,
        confidence: float = 1 - 1e-6,
        level: str = "certificate",
        domain: Any = None,
        rng: _check.Seed = None,
        name: str = "f",
        names: Sequence[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
    ) -> None:
        given = {"grad": grad, "jac": jac, "vjp": vjp, "jvp": jvp, "hess": hess, "hvp": hvp}
        self._claims = {
            keyword: claim if callable(claim) else _backends.copied(claim)
            for keyword, claim in given.items()
            if claim is not None
        }
        # The check is run anew after every `tell`: what the caller does with his arrays in between is no part of it.
        self._args = args = _backends.copied(args)
        self._journal = _journal(journal)
        seed = None if self._journal is None else self._journal.seed
        self.seed: int = _check.draw_seed(seed if rng is None else rng)
        self._options = _check.Options(
            wrt=wrt,
            rtol=rtol,
            max_bound=max_bound,
            confidence=confidence,
            level=level,
            domain=domain,
            rng=self.seed,
            progress=False,  # f is not evaluated here
        )
        named = [f"{keyword}={keyword}" for keyword in self._claims]
        named += [] if wrt is None else [f"wrt={wrt!r}"]
        named += [] if domain is None else ["domain=domain"]
        self._called = f"gradproof.Session(args, {', '.join(named)}"
        self._values = _Values(args, name, names)
        if self._journal is not None:
            if seed is None:
                self._journal.begin(seed=str(self.seed))
            for key, value in self._journal.told():
                self._values.add(key, value)
        self._report: Report | None = None
        self._advance()

    @property
    def done(self) -> bool:
        """Whether the report is there."""
        return self._report is not None

    @property
    def evaluations(self) -> int:
        """Values told so far, those of the journal included."""
        return self._values.count

    @property
    def report(self) -> Report:
        """The result.

        Raises
        ------
        UsageError
            If values are missing still.
        """
        if self._report is None:
            raise UsageError(f"the check is not done: {len(self._values.pending)} values are missing; `ask` for them.")
        return self._report

    def ask(self) -> list[Any]:
        """Return the points to evaluate f at next: copies, in the form of `args`; the same until `tell`.

        A point may come more than once: f is evaluated again where it must show whether it is deterministic. The list
        is empty when the session is done.
        """
        return [_backends.copied(point) for point in self._values.pending]

    def tell(self, values: Any) -> None:
        """Take the values of f at all points asked for, in their order, and go on.

        Parameters
        ----------
        values : sequence, or a number where one point was asked for
            For each point a number, or with `jac`, `vjp` or `jvp` an array_like of numbers in the shape of what f
            returns. nan, or None for a run that failed, says that f is not defined there.

        Raises
        ------
        UsageError
            If there are more or fewer values than points, or one is not of numbers or of another shape than the others.
        FunctionError
            If f has no value at the point itself. Nothing has been told then.
        ClaimError
            As `check`. Nothing has been told then.
        """
        values = self._listed(values)
        read = [self._values.read(value, i) for i, value in enumerate(values)]
        keys = [_backends.digest(point) for point in self._values.pending]
        for key, value in zip(keys, read, strict=True):
            self._values.add(key, value)
        try:
            self._advance()
        except Exception:
            # As if nothing had been told: a run that failed at the point itself may be told again.
            for key in reversed(keys):
                self._values.drop(key)
            with contextlib.suppress(Exception):
                self._advance()
            raise
        if self._journal is not None:
            self._journal.tell(keys, read)

    def _listed(self, values: Any) -> list[Any]:
        """The values one by one, as many as points are asked for; a number may stand for a list of one."""
        count = len(self._values.pending)
        written = "`session.tell([f(point) for point in session.ask()])`"
        is_one = is_number(values) or (hasattr(values, "shape") and np.shape(values) == ())
        if is_one and count == 1:
            return [values]
        if is_one or callable(values) or isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
            got = "one value" if is_one else f"a {type(cast('Any', values)).__name__}"
            raise UsageError(
                f"`tell` takes a list with one value for each of the points that `ask` returned, here {count}, got "
                f"{got}: {written}."
            )
        listed = list(values)
        if len(listed) != count:
            alone = " A value of several numbers is told as `[value]`." if count == 1 else f" Write {written}."
            raise UsageError(f"`tell` needs {count} values, one for each point, got {len(listed)}.{alone}")
        return listed

    def __repr__(self) -> str:
        state = self._report.verdict.value if self._report is not None else f"{len(self._values.pending)} asked"
        return f"Session({self._values.__name__!r}, {self.evaluations} told, {state})"

    def _advance(self) -> None:
        """Run the check until a value is missing, or to its end."""
        self._values.rewind()
        with contextlib.suppress(Unanswered):
            self._report = _check.check_claims(
                self._values,
                self._args,
                self._claims,
                self._options,
                name=self._values.__name__,
                called=self._called,
                started=time.perf_counter(),
            )


class _Values(Deferred):
    """f as far as it is known: the values told, by point, those of one point in their order."""

    def __init__(self, args: Any, name: str, names: Sequence[str] | None) -> None:
        self.__name__ = name
        self.is_tuple = type(args) is tuple
        count = len(args) if self.is_tuple else 1
        if names is None and not self.is_tuple:
            names = ("x",)
        if names is not None:
            if len(names) != count or isinstance(names, str) or not all(one.isidentifier() for one in names):
                raise UsageError(f"`names` must be {count} identifiers, one for each argument, got {names!r}.")
            self.__signature__ = _signature(names)
        self.pending: list[Any] = []
        self.count = 0
        self._known: dict[str, list[Any]] = {}
        self._visits: dict[str, int] = {}
        self._shape: tuple[int, ...] | None = None
        self._is_gathering = False

    def add(self, point: str, value: Any) -> None:
        """Know one more value at a point; None is a failure."""
        self.count += 1
        self._known.setdefault(point, []).append(value)
        if value is not None and self._shape is None:
            self._shape = value.shape

    def drop(self, point: str) -> None:
        """Forget the last value at a point."""
        self.count -= 1
        self._known[point].pop()

    def read(self, value: Any, i: int) -> Any:
        """A value as it was told: an array, or None."""
        if value is None:
            return None
        array = np.asarray(value)
        if array.dtype.kind not in "fciu":
            raise UsageError(f"value {i} must be a number or an array of numbers, got {type(value).__name__}.")
        if self._shape is not None and array.shape != self._shape:
            raise UsageError(f"value {i} has shape {array.shape}, those before it have {self._shape}.")
        self._shape = array.shape
        return array

    def rewind(self) -> None:
        """Begin again with the first value of every point."""
        self._visits.clear()
        self.pending.clear()

    def __call__(self, *args: Any) -> Any:
        point = args if self.is_tuple else args[0]
        key = _backends.digest(point)
        visit = self._visits[key] = self._visits.get(key, 0) + 1
        known = self._known.get(key, [])
        if visit <= len(known):
            value = known[visit - 1]
            if value is None:
                raise ArithmeticError("the run failed (None was told)")
            return value.copy() if value.shape else value[()]
        self.pending.append(_backends.copied(point))
        if not self._is_gathering or self._shape is None:
            raise Unanswered
        return np.full(self._shape, math.nan)[()]

    @contextlib.contextmanager
    def gathering(self) -> Generator[None]:
        """Collect all missing values that are asked for within, before the check stops for them."""
        self._is_gathering = True
        try:
            yield
        except Exception as error:
            # It may come from a value that only stood in for a missing one.
            if self.pending:
                raise Unanswered from error
            raise
        finally:
            self._is_gathering = False
        if self.pending:
            raise Unanswered


def _journal(path: str | os.PathLike[str] | None) -> Journal | None:
    if path is None:
        return None
    from gradproof._run._journal import Journal  # with the engine, which a session needs now

    return Journal(os.fspath(path))


def _signature(names: Sequence[str]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])
